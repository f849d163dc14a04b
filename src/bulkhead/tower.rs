//! The tower layer and its service.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{future::BulkheadFuture, policy::Bulkhead, shared::Slots};
use crate::{
    carry::CarriesRejected,
    operation::{SendRequest, SendRequestFuture},
    sync::Arc,
};

impl Bulkhead {
    /// The bulkhead as a tower layer. All services that the layer makes share this bulkhead's slots and queue.
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer { bulkhead: self.clone() }
    }
}

/// A call of a service that holds the bulkhead.
pub(crate) type OwnedCall<S, R, F> = BulkheadFuture<SendRequest<S, R>, SendRequestFuture<S, R, F>, Arc<Slots>>;

impl Bulkhead {
    /// Sends one request. The call holds the bulkhead.
    #[inline(always)]
    pub(crate) fn send<S, R>(&self, service: &S, request: R) -> OwnedCall<S, R, S::Future>
    where
        S: Service<R> + Clone,
        S::Error: CarriesRejected,
    {
        BulkheadFuture::start(&self.slots, || SendRequest { service: service.clone(), request })
    }
}

/// Lets only so many calls of a service run at once. See [`Bulkhead`].
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use withstand::{Bulkhead, CarriesRejected, Rejected};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
/// let bulkhead = Bulkhead::new("reports", 1);
/// let reports = ServiceBuilder::new()
///     .layer(bulkhead.layer())
///     .service(service_fn(|page: u32| async move { Ok::<_, tower::BoxError>(page) }));
///
/// let slot = bulkhead.try_acquire()?;
/// let error = reports.clone().oneshot(1).await.unwrap_err();
/// assert!(matches!(error.as_rejected(), Some(Rejected::BulkheadFull(_))));
/// drop(slot);
/// assert_eq!(reports.oneshot(1).await?, 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    pub(super) bulkhead: Bulkhead,
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService::new(inner, self.bulkhead.clone())
    }
}

/// A service of which only so many calls run at once.
///
/// It is always ready. Each call readies a clone of the inner service once the call has its slot.
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
    type Future = OwnedCall<S, R, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        self.bulkhead.send(&self.inner, request)
    }
}
