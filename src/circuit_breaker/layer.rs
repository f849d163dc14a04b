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
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use withstand::CircuitBreaker;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
/// let breaker = CircuitBreaker::new("stock");
/// let stock = ServiceBuilder::new()
///     .layer(breaker.layer())
///     .service(service_fn(|item: u32| async move { Ok::<_, tower::BoxError>(item + 1) }));
///
/// assert_eq!(stock.clone().oneshot(7).await?, 8);
/// breaker.force_open(); // the handle and every service share the circuit
/// assert!(stock.oneshot(7).await.is_err());
/// # Ok(()) }
/// ```
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
