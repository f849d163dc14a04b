use tower_layer::Layer;

use super::{Bulkhead, service::BulkheadService};

impl Bulkhead {
    /// The bulkhead as a tower layer. Every service it is applied to shares these slots.
    pub fn layer(&self) -> BulkheadLayer {
        BulkheadLayer { bulkhead: self.clone() }
    }
}

/// Lets only so many calls of a service run at once; see [`Bulkhead`].
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
