use std::error::Error;

use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;
use withstand::{
    Keyed, Rejected,
    Verdict::Unreached,
    carries_rejected,
    http::{authority, by_response},
    pipeline::{BoxPipeline, PipelineSettings},
};

type Answer = http::Response<String>;

/// The body is read in here, so that the timeouts limit that too.
async fn send(request: RequestBuilder) -> Result<Answer, ApiError> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut answer = Answer::new(response.text().await?);
    (*answer.status_mut(), *answer.headers_mut()) = (status, headers);
    Ok(answer)
}

#[derive(Debug, thiserror::Error)]
#[error("no answer from the user service")]
enum ApiError {
    Http(#[from] reqwest::Error),
    Policy(#[from] Rejected),
}
carries_rejected!(ApiError, Policy); // with this line every policy works with your error

/// A pipeline for each host, so that each has a circuit of its own.
type Hosts = Keyed<String, BoxPipeline<Answer, ApiError>>;

fn hosts(file: &str) -> Result<Hosts, Box<dyn Error>> {
    let template = toml::from_str::<PipelineSettings>(file)?.build("users")?; // a bad file is refused here
    // By the status: a 503 is a failure, a 404 is an answer. By the headers: no attempt before `Retry-After` allows it.
    // A connection that was not made is `Unreached`: nothing was sent, so even a `POST` may be sent again.
    let judge = by_response().errors_if(|error| matches!(error, ApiError::Http(e) if e.is_connect()), Unreached);
    // `template` makes no calls. Each host gets a pipeline of its own, with the template's settings.
    Ok(Keyed::new(move |_: &str, name| template.settings().build(name).expect("valid").classify(judge.clone()).boxed()))
}

/// Another attempt may follow any failure.
async fn get(hosts: &Hosts, client: &Client, url: &Url) -> Result<Answer, ApiError> {
    hosts.get(&*authority(url.as_str())).call(|| send(client.get(url.clone()))).await
}

/// Two of them may create two users. So another attempt follows only where the one before had no effect.
async fn post(hosts: &Hosts, client: &Client, url: &Url, user: &Value) -> Result<Answer, ApiError> {
    hosts.get(&*authority(url.as_str())).not_idempotent().call(|| send(client.post(url.clone()).json(user))).await
}
