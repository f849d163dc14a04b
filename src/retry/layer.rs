use tower_layer::Layer;

use super::{Exponential, RetryWithBackoff, service::RetryService};
use crate::{
    classify::ByError,
    clone_request::{ByClone, CloneFn},
};

impl<C: Clone, B> RetryWithBackoff<C, B> {
    /// The retry as a tower layer. Every service it is applied to shares this budget.
    ///
    /// Send only idempotent requests through it.
    pub fn layer(&self) -> RetryLayer<C, B> {
        RetryLayer { retry: self.clone(), cloner: ByClone }
    }
}

/// Sends a service's requests again when that may help; see [`RetryWithBackoff`].
///
/// Only what is idempotent may be sent twice, and the layer is where to say so:
///
/// ```
/// use reqwest::Request;
/// use withstand::RetryWithBackoff;
///
/// let idempotent = |request: &Request| if request.method().is_idempotent() { request.try_clone() } else { None };
/// let layer = RetryWithBackoff::new("users").layer().clone_request_fn(idempotent);
/// ```
#[derive(Debug)]
pub struct RetryLayer<C = ByError, B = Exponential, K = ByClone> {
    retry: RetryWithBackoff<C, B>,
    cloner: K,
}

impl<C, B> RetryLayer<C, B> {
    /// Copies requests by this function, `reqwest::Request::try_clone` say. A request for which it gives `None` is sent once.
    pub fn clone_request<R>(self, clone: fn(&R) -> Option<R>) -> RetryLayer<C, B, fn(&R) -> Option<R>> {
        RetryLayer { retry: self.retry, cloner: clone }
    }

    /// Copies requests by this closure: the place to decline what is not idempotent.
    pub fn clone_request_fn<R, F>(self, clone: F) -> RetryLayer<C, B, CloneFn<F>>
    where
        F: Fn(&R) -> Option<R>,
    {
        RetryLayer { retry: self.retry, cloner: CloneFn(clone) }
    }
}

impl<C: Clone, B, K: Clone> Clone for RetryLayer<C, B, K> {
    fn clone(&self) -> Self {
        Self { retry: self.retry.clone(), cloner: self.cloner.clone() }
    }
}

impl<S, C: Clone, B, K: Clone> Layer<S> for RetryLayer<C, B, K> {
    type Service = RetryService<S, C, B, K>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryService::new(inner, self.retry.clone(), self.cloner.clone())
    }
}
