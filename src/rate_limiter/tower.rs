//! The tower layer and its service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::RateLimiterFuture, policy::RateLimiter, shared::Permits};
use crate::{
    carry::CarriesRejected,
    operation::{SendRequest, SendRequestFuture},
    sync::Arc,
};

impl RateLimiter {
    /// The rate limiter as a tower layer. All services that the layer makes share this limiter's limit and queue.
    pub fn layer(&self) -> RateLimiterLayer {
        RateLimiterLayer { limiter: self.clone() }
    }
}

/// A call of a service that holds the rate limiter while it waits.
pub(crate) type OwnedCall<S, R, F> = RateLimiterFuture<SendRequest<S, R>, SendRequestFuture<S, R, F>, Arc<Permits>>;

impl RateLimiter {
    /// Sends one request. The call holds the rate limiter while it waits.
    #[inline(always)]
    pub(crate) fn send<S, R>(&self, service: &S, request: R) -> OwnedCall<S, R, S::Future>
    where
        S: Service<R> + Clone,
        S::Error: CarriesRejected,
    {
        RateLimiterFuture::start(&self.permits, || SendRequest { service: service.clone(), request })
    }
}

/// Lets only so many calls of a service begin in each period. See [`RateLimiter`].
///
/// ```
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use withstand::{CarriesRejected, RateLimiter, Rejected};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
/// let limiter = RateLimiter::new("reports", 1, Duration::from_secs(1))?;
/// let reports = ServiceBuilder::new()
///     .layer(limiter.layer())
///     .service(service_fn(|page: u32| async move { Ok::<_, tower::BoxError>(page) }));
///
/// assert_eq!(reports.clone().oneshot(1).await?, 1);
/// let error = reports.oneshot(2).await.unwrap_err();
/// assert!(matches!(error.as_rejected(), Some(Rejected::RateLimited(_))));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RateLimiterLayer {
    limiter: RateLimiter,
}

impl<S> Layer<S> for RateLimiterLayer {
    type Service = RateLimiterService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimiterService::new(inner, self.limiter.clone())
    }
}

/// A service of which only so many calls begin in each period.
///
/// It is always ready. Each call readies a clone of the inner service once the call has its permit.
#[derive(Clone, Debug)]
pub struct RateLimiterService<S> {
    inner: S,
    limiter: RateLimiter,
}

impl<S> RateLimiterService<S> {
    pub(super) fn new(inner: S, limiter: RateLimiter) -> Self {
        Self { inner, limiter }
    }
}

impl<S, R> Service<R> for RateLimiterService<S>
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = OwnedCall<S, R, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        self.limiter.send(&self.inner, request)
    }
}
