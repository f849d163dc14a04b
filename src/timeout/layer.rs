use std::time::Duration;

use tower_layer::Layer;

use super::{
    Timeout,
    limits::{Fixed, PerRequest},
    service::TimeoutService,
};

impl Timeout {
    /// The timeout as a tower layer.
    pub fn layer(&self) -> TimeoutLayer {
        TimeoutLayer { timeout: self.clone(), limits: Fixed }
    }
}

/// Applies a [`Timeout`] to a service.
///
/// It covers a call, not the wait for the service's readiness.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<L = Fixed> {
    timeout: Timeout,
    limits: L,
}

impl TimeoutLayer {
    /// Chooses the limit by the request; `None` lets a request take as long as it likes.
    ///
    /// ```
    /// use {std::time::Duration, withstand::Timeout};
    ///
    /// let timeout = Timeout::new(Duration::from_secs(2));
    /// let usual = timeout.limit();
    /// let layer = timeout.layer().limit_fn(move |request: &reqwest::Request| {
    ///     if request.url().path().starts_with("/reports") { None } else { Some(usual) }
    /// });
    /// ```
    pub fn limit_fn<R, F>(self, limit: F) -> TimeoutLayer<PerRequest<F>>
    where
        F: Fn(&R) -> Option<Duration>,
    {
        TimeoutLayer { timeout: self.timeout, limits: PerRequest(limit) }
    }
}

impl<S, L: Clone> Layer<S> for TimeoutLayer<L> {
    type Service = TimeoutService<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.timeout.clone(), self.limits.clone())
    }
}
