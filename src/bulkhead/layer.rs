use tower_layer::Layer;

use super::{Bulkhead, service::BulkheadService};

impl Bulkhead {
    /// The bulkhead as a tower layer. Every service it is applied to shares these slots.
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer { bulkhead: self.clone() }
    }
}

/// Lets only so many calls of a service run at once; see [`Bulkhead`].
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
    bulkhead: Bulkhead,
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService::new(inner, self.bulkhead.clone())
    }
}
