use tower_layer::Layer;

use super::{CircuitBreaker, service::CircuitBreakerService};
use crate::classify::ByError;

impl<C: Clone> CircuitBreaker<C> {
    /// The breaker as a tower layer. Every service it is applied to shares this circuit.
    pub fn layer(&self) -> CircuitBreakerLayer<C> {
        CircuitBreakerLayer { breaker: self.clone() }
    }
}

/// Puts a service behind a [`CircuitBreaker`].
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = ByError> {
    breaker: CircuitBreaker<C>,
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone())
    }
}
