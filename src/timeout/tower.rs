//! The timeout as a tower layer: the layer, its service, and the limit of each request.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::TimeoutFuture, policy::Timeout, shared::TimeoutReporter};
use crate::carry::CarriesRejected;

impl Timeout {
    /// The timeout as a tower layer.
    pub fn layer(&self) -> TimeoutLayer {
        TimeoutLayer { timeout: self.clone(), limits: FixedLimit }
    }
}

/// Applies a [`Timeout`] to a service.
///
/// The limit covers a call, and not the wait until the service is ready.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<L = FixedLimit> {
    timeout: Timeout,
    limits: L,
}

impl TimeoutLayer {
    /// Chooses the limit by the request.
    ///
    /// The closure is given the policy's own limit as its second argument. **`None` means no limit**: such a request
    /// may take as long as it likes. For the policy's own limit return that argument.
    ///
    /// ```
    /// use {std::time::Duration, withstand::Timeout};
    ///
    /// let layer = Timeout::new(Duration::from_secs(2)).layer().limit_fn(|request: &reqwest::Request, usual| {
    ///     match request.url().path() {
    ///         "/reports" => Some(10 * usual),
    ///         "/events" => None, // a stream: no limit
    ///         _ => Some(usual),
    ///     }
    /// });
    /// ```
    pub fn limit_fn<R, F>(self, limit: F) -> TimeoutLayer<LimitFn<F>>
    where
        F: Fn(&R, Duration) -> Option<Duration>,
    {
        TimeoutLayer { timeout: self.timeout, limits: LimitFn(limit) }
    }
}

impl<S, L: Clone> Layer<S> for TimeoutLayer<L> {
    type Service = TimeoutService<S, L>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService { inner, timeout: self.timeout.clone(), limits: self.limits.clone() }
    }
}

/// A service whose calls end with a rejection when they take too long.
#[derive(Clone, Debug)]
pub struct TimeoutService<S, L = FixedLimit> {
    inner: S,
    timeout: Timeout,
    limits: L,
}

impl<S, R, L> Service<R> for TimeoutService<S, L>
where
    S: Service<R>,
    S::Error: CarriesRejected,
    L: Limits<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, TimeoutReporter>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let limit = self.limits.limit(&request, self.timeout.limit);
        TimeoutFuture::start(self.timeout.reporter.clone(), limit, || self.inner.call(request))
    }
}

/// How long a request may take, given the policy's own limit. `None` is no limit.
///
/// Sealed: [`limit_fn`](TimeoutLayer::limit_fn) takes a closure.
///
/// ```compile_fail,E0277
/// struct NoLimits;
///
/// impl withstand::timeout::Limits<u32> for NoLimits {
///     fn limit(&self, _: &u32, _: std::time::Duration) -> Option<std::time::Duration> {
///         None
///     }
/// }
/// ```
pub trait Limits<R>: sealed::Limits {
    #[doc(hidden)]
    fn limit(&self, request: &R, usual: Duration) -> Option<Duration>;
}

mod sealed {
    pub trait Limits {}
    impl Limits for super::FixedLimit {}
    impl<F> Limits for super::LimitFn<F> {}
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
pub struct LimitFn<F>(F);

impl<R, F> Limits<R> for LimitFn<F>
where
    F: Fn(&R, Duration) -> Option<Duration>,
{
    fn limit(&self, request: &R, usual: Duration) -> Option<Duration> {
        (self.0)(request, usual)
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
        assert_eq!(LimitFn(|times: &u32, usual| Some(*times * usual)).limit(&7, usual), Some(7 * usual));
        assert_eq!(LimitFn(|_: &u32, _| None).limit(&7, usual), None);
    }
}
