//! The order service's way to the user service, under all five policies: GET by the plain door, POST by tower layers,
//! both through one circuit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Request, Response, StatusCode, header::RETRY_AFTER};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, CircuitBreakerEvent, ConfigError, Error, Fallback, LiftLayer, Rejected,
    RetryWithBackoff, Timeout, by_status, carries_rejected, circuit_breaker::Window, parse_retry_after,
    retry::Exponential,
};

use crate::{
    catalog::{ApiError, Shown, whole_seconds},
    order_service::Users,
    user_service::User,
};

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("{0}")]
    Policy(#[source] Rejected),
}
carries_rejected!(UserError, Policy);

type Tower = BoxCloneSyncService<Request, Response, Error<reqwest::Error>>;

pub struct Protected {
    users: Remote,
    bulkhead: Bulkhead,
    total: Timeout,
    retry: RetryWithBackoff,
    breaker: CircuitBreaker,
    each: Timeout,
    tower: Tower,
}

impl Protected {
    pub fn new(
        client: Client,
        url: String,
        calls: Arc<AtomicU64>,
        hear: impl Fn(&CircuitBreakerEvent) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let users = Remote { client, url, calls };
        let bulkhead = Bulkhead::builder("users", 64).queue(64, Duration::from_millis(200)).build()?;
        let total = Timeout::new(Duration::from_millis(1500)).named("users, all tries");
        let retry = RetryWithBackoff::builder("users")
            .backoff(Exponential::new(Duration::from_millis(50), Duration::from_millis(200)))
            .build()?;
        let breaker = CircuitBreaker::builder("users")
            .no_failure_runs()
            .failure_rate(0.5, Window::calls(10))
            .open_for(Duration::from_secs(1))
            .max_open_for(Duration::from_secs(2))
            .probe_timeout(Duration::from_secs(2))
            .listener_fn(hear)
            .build()?;
        let each = Timeout::new(Duration::from_millis(400)).named("users, one try");

        let by_status = by_status(Response::status);
        let calls = users.calls.clone();
        let tower = ServiceBuilder::new()
            .layer(Fallback::from_result_fn(unavailable).classify(by_status).layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.classify(by_status).layer().clone_request(Request::try_clone))
            .layer(breaker.classify(by_status).layer())
            .layer(each.layer())
            .layer(LiftLayer)
            .map_request(move |request| {
                calls.fetch_add(1, Ordering::Relaxed);
                request
            })
            .service(users.client.clone());
        Ok(Self { users, bulkhead, total, retry, breaker, each, tower: BoxCloneSyncService::new(tower) })
    }

    pub fn breaker(&self) -> CircuitBreaker {
        self.breaker.clone()
    }
}

impl Users for Protected {
    async fn show(&self, id: u64) -> Result<Shown, ApiError> {
        let Self { users, bulkhead, total, retry, breaker, each, .. } = self;
        let fallback = Fallback::from_fn(|_: UserError| Ok(Shown::unavailable(id)));
        let fetch = || breaker.call(|| each.call(|| users.fetch(id)));
        let shown = fallback.call(|| bulkhead.call(|| total.call(|| retry.call(fetch)))).await;
        shown.map_err(|error| ApiError::Internal(error.to_string()))
    }

    async fn get(&self, id: u64) -> Result<User, ApiError> {
        let internal = |error: &dyn std::error::Error| ApiError::Internal(error.to_string());
        let request = self.users.request(id).build().map_err(|error| internal(&error))?;
        let response = self.tower.clone().oneshot(request).await.map_err(|error| internal(&error))?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(ApiError::NoSuchUser(id)),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(ApiError::Unavailable(response.headers().get(RETRY_AFTER).and_then(parse_retry_after)))
            }
            _ => response.json().await.map_err(|error| internal(&error)),
        }
    }
}

/// There is no stand-in for an e-mail address: all that is left to say is when to come back.
fn unavailable(failed: Result<Response, Error<reqwest::Error>>) -> Result<Response, Error<reqwest::Error>> {
    let retry_after = failed.as_ref().err().and_then(CarriesRejected::as_rejected).and_then(Rejected::retry_after);
    let answer = http::Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(RETRY_AFTER, whole_seconds(retry_after))
        .body("")
        .expect("a valid response");
    Ok(answer.into())
}

/// The user service, from here.
struct Remote {
    client: Client,
    url: String,
    calls: Arc<AtomicU64>,
}

impl Remote {
    /// A GET: it may be repeated.
    fn request(&self, id: u64) -> reqwest::RequestBuilder {
        self.client.get(format!("{}/users/{id}", self.url))
    }

    /// The body is read in here, so that the timeout covers it. A 404 is an answer.
    async fn fetch(&self, id: u64) -> Result<Shown, UserError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let response = self.request(id).send().await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Shown::unavailable(id));
        }
        Ok(Shown::Full(response.error_for_status()?.json().await?))
    }
}
