use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    Timeout,
    expiry::Expiry,
    future::TimeoutFuture,
    limits::{Fixed, Limits},
};
use crate::carry::CarriesRejected;

/// A service whose calls are given up when they take too long.
#[derive(Clone, Debug)]
pub struct TimeoutService<S, L = Fixed> {
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
