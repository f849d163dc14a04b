//! The tower layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::TimeoutFuture, policy::Timeout, shared::Expiry};
use crate::carry::CarriesRejected;

impl Timeout {
    /// The timeout as a tower layer.
    pub fn layer(&self) -> TimeoutLayer {
        TimeoutLayer { timeout: self.clone(), limits: FixedLimit }
    }
}

/// Applies a [`Timeout`] to a service.
///
/// It covers a call, not the wait for the service's readiness.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<L = FixedLimit> {
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
    pub fn limit_fn<R, F>(self, limit: F) -> TimeoutLayer<LimitFn<F>>
    where
        F: Fn(&R) -> Option<Duration>,
    {
        TimeoutLayer { timeout: self.timeout, limits: LimitFn(limit) }
    }
}

impl<S, L: Clone> Layer<S> for TimeoutLayer<L> {
    type Service = TimeoutService<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService::new(inner, self.timeout.clone(), self.limits.clone())
    }
}

/// How long a request may take, given the policy's own limit.
pub trait Limits<R> {
    #[doc(hidden)]
    fn limit(&self, request: &R, usual: Duration) -> Option<Duration>;
}

/// The same limit for every request: the policy's own.
#[derive(Clone, Copy, Debug)]
pub struct FixedLimit;

impl<R> Limits<R> for FixedLimit {
    fn limit(&self, _: &R, usual: Duration) -> Option<Duration> {
        Some(usual)
    }
}

/// A limit chosen by a closure.
#[derive(Clone, Copy)]
pub struct LimitFn<F>(pub(super) F);

impl<R, F> Limits<R> for LimitFn<F>
where
    F: Fn(&R) -> Option<Duration>,
{
    fn limit(&self, request: &R, _: Duration) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for LimitFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitFn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t2_a_request_has_the_policys_own_limit_unless_a_closure_chooses() {
        let usual = Duration::from_secs(1);
        assert_eq!(FixedLimit.limit(&7_u64, usual), Some(usual));
        assert_eq!(LimitFn(|seconds: &u64| Some(Duration::from_secs(*seconds))).limit(&7, usual), Some(7 * usual));
        assert_eq!(LimitFn(|_: &u64| None).limit(&7, usual), None);
    }
}

/// A service whose calls are given up when they take too long.
#[derive(Clone, Debug)]
pub struct TimeoutService<S, L = FixedLimit> {
    inner: S,
    timeout: Timeout,
    limits: L,
}

impl<S, L> TimeoutService<S, L> {
    pub(super) fn new(inner: S, timeout: Timeout, limits: L) -> Self {
        Self { inner, timeout, limits }
    }
}

impl<S, R, L> Service<R> for TimeoutService<S, L>
where
    S: Service<R>,
    S::Error: CarriesRejected,
    L: Limits<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, Expiry>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let limit = self.limits.limit(&request, self.timeout.limit);
        TimeoutFuture::start(self.timeout.expiry.clone(), limit, || self.inner.call(request))
    }
}
