//! The order service's way to the user service, through one pipeline: GET by plain calls, POST by tower layers. Both
//! share its circuit, its slots and its budget.

use std::time::Duration;

use reqwest::{Request, Response, StatusCode, header::RETRY_AFTER};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use withstand::{
    CarriesRejected, Error, Fallback, LiftLayer, Pipeline, Rejected, Timeout, by_status, lift, parse_retry_after,
};

use crate::{
    catalog::{ApiError, Shown, whole_seconds},
    order_service::Users,
    remote::{Remote, UserError},
    user_service::User,
};

type HttpError = Error<reqwest::Error>;

pub struct Protected {
    remote: Remote,
    users: Pipeline,
    tower: BoxCloneSyncService<Request, Response, HttpError>,
    body: Timeout,
}

impl Protected {
    pub fn new(remote: Remote, users: Pipeline) -> Self {
        let by_status = by_status(Response::status);
        let tower = ServiceBuilder::new()
            .layer(Fallback::from_result_fn(unavailable).classify(by_status.clone()).layer())
            .layer(users.classify(by_status).layer().clone_request(Request::try_clone))
            .layer(LiftLayer)
            .service(remote.service());
        let body = Timeout::new(users.attempt_timeout().unwrap_or(Duration::MAX)).named("users, body");
        Self { tower: BoxCloneSyncService::new(tower), remote, users, body }
    }
}

impl Users for Protected {
    async fn show(&self, id: u64) -> Result<Shown, ApiError> {
        let without = Fallback::from_fn(|_: UserError| Ok(None));
        let user = without.call(|| self.users.call(|| self.remote.fetch(id))).await;
        Ok(user.map_err(ApiError::internal)?.map_or(Shown::unavailable(id), Shown::Full))
    }

    async fn get(&self, id: u64) -> Result<User, ApiError> {
        let response = self.tower.clone().oneshot(self.remote.request(id)).await.map_err(ApiError::internal)?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(ApiError::NoSuchUser(id)),
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(ApiError::Unavailable(response.headers().get(RETRY_AFTER).and_then(parse_retry_after)))
            }
            // The layers are done once the head of the answer is there, so its body needs a limit of its own.
            _ => self.body.call(|| lift(response.json())).await.map_err(|_| ApiError::Unavailable(None)),
        }
    }
}

/// There is no fallback for an e-mail address: all that is left to say is when to come back.
fn unavailable(failed: Result<Response, HttpError>) -> Result<Response, HttpError> {
    let retry_after = failed.as_ref().err().and_then(CarriesRejected::as_rejected).and_then(Rejected::retry_after);
    let answer = http::Response::builder()
        .status(StatusCode::SERVICE_UNAVAILABLE)
        .header(RETRY_AFTER, whole_seconds(retry_after))
        .body("")
        .expect("a status and a number make a response");
    Ok(answer.into())
}
