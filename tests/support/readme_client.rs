use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, header::RETRY_AFTER};
use withstand::{
    ByErrorStatus, CircuitBreaker, Rejected, RetryWithBackoff, Timeout, Verdict, by_error_status, carries_rejected,
    parse_retry_after,
};

#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct User {
    name: String,
}

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("the user service answered {status}")]
    Status { status: StatusCode, retry_after: Option<Duration> },
    #[error("the answer is not a user")]
    Decode(#[from] serde_json::Error),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("call rejected")]
    Policy(#[from] Rejected),
}
carries_rejected!(ApiError, Policy); // with this line every policy works with your error

impl ApiError {
    fn status(&self) -> Option<StatusCode> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }
}

/// Made once. Clones of the policies share the circuit and the retry budget.
#[derive(Clone)]
struct Users {
    client: Client,
    url: String,
    retry: RetryWithBackoff<ByErrorStatus<ApiError>>,
    breaker: CircuitBreaker<ByErrorStatus<ApiError>>,
    timeout: Timeout,
}

impl Users {
    fn new(client: Client, url: &str) -> Self {
        // The first rule that knows an error decides. An error that no rule knows is a failure.
        let judge = by_error_status(ApiError::status) // a 503 is a failure; a 404 is an answer
            .retry_after(ApiError::retry_after) // no other attempt before the server allows it
            .errors_if(|error| matches!(error, ApiError::Decode(_)), Verdict::Healthy) // it answered
            .errors_if(|error| matches!(error, ApiError::Http(error) if error.is_builder()), Verdict::Ignored)
            .errors_if(|error| matches!(error, ApiError::Http(error) if error.is_connect()), Verdict::Unreached);
        Self {
            client,
            url: url.to_owned(),
            retry: RetryWithBackoff::new("users").classify(judge.clone()),
            breaker: CircuitBreaker::new("users").classify(judge),
            timeout: Timeout::new(Duration::from_secs(2)), // for each attempt
        }
    }

    /// A GET is idempotent, so the retry may send it again.
    async fn get(&self, id: u64) -> Result<User, ApiError> {
        let request = || self.client.get(format!("{}/users/{id}", self.url));
        self.retry.call(|| self.breaker.call(|| self.timeout.call(|| send(request())))).await
    }

    /// A POST is not idempotent: two of them may create two users. So it is sent once, without the retry.
    async fn create(&self, user: &User) -> Result<User, ApiError> {
        let request = self.client.post(format!("{}/users", self.url)).json(user);
        self.breaker.call(|| self.timeout.call(|| send(request))).await
    }
}

/// The body is read in here, so that the timeout covers it.
async fn send(request: RequestBuilder) -> Result<User, ApiError> {
    let response = request.send().await?;
    let status = response.status();
    if !status.is_success() {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(parse_retry_after);
        return Err(ApiError::Status { status, retry_after });
    }
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}
