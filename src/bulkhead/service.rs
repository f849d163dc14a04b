use std::task::{Context, Poll};

use tower_service::Service;

use super::{Bulkhead, future::BulkheadFuture, slots::Slots};
use crate::{carry::CarriesRejected, operation::SendRequest, sync::Arc};

/// A service of which only so many calls run at once.
///
/// It is always ready: the inner service is readied by each call, once the call has its slot.
#[derive(Clone, Debug)]
pub struct BulkheadService<S> {
    inner: S,
    bulkhead: Bulkhead,
}

impl<S> BulkheadService<S> {
    pub(super) fn new(inner: S, bulkhead: Bulkhead) -> Self {
        Self { inner, bulkhead }
    }
}

impl<S, R> Service<R> for BulkheadService<S>
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<SendRequest<S, R>, Arc<Slots>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let operation = || SendRequest { service: self.inner.clone(), request };
        BulkheadFuture::start(&self.bulkhead.slots, operation)
    }
}
