//! The user service, seen from the order service: how it is asked, without a word on what happens if it fails.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use reqwest::{Client, Method, Request, Response, StatusCode, Url};
use tower::{Service, ServiceBuilder};
use withstand::{Rejected, carries_rejected};

use crate::user_service::User;

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("call rejected")]
    Policy(#[source] Rejected),
}
carries_rejected!(UserError, Policy);

#[derive(Clone)]
pub struct Remote {
    client: Client,
    base: Url,
    /// How often it was called, whether it was there or not.
    calls: Arc<AtomicU64>,
}

impl Remote {
    pub fn new(base: Url, calls: Arc<AtomicU64>) -> Self {
        Self { client: Client::new(), base, calls }
    }

    /// A GET: it may be sent twice.
    pub fn request(&self, id: u64) -> Request {
        let mut url = self.base.clone();
        url.set_path(&format!("/users/{id}"));
        Request::new(Method::GET, url)
    }

    /// The user, or `None` if there is none: a 404 is an answer. (So is any other 4xx, of which this service has
    /// none: as an `Err` it would count against the service.) The body is read in here, so that a timeout covers it.
    pub async fn fetch(&self, id: u64) -> Result<Option<User>, UserError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let response = self.client.execute(self.request(id)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(response.error_for_status()?.json().await?))
    }

    /// The client as a tower service, which counts too.
    pub fn service(
        &self,
    ) -> impl Service<Request, Response = Response, Error = reqwest::Error, Future: Send> + Clone + use<> {
        let Self { client, calls, .. } = self.clone();
        let count = move |request| {
            calls.fetch_add(1, Ordering::Relaxed);
            request
        };
        ServiceBuilder::new().map_request(count).service(client)
    }
}
