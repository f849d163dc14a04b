//! The tower layer and its service.

use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::CircuitBreakerFuture, permit::CircuitBreakerPermit, policy::CircuitBreaker, shared::Circuit,
    state::Rejection,
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify},
    share::{CallShare, ServiceShare},
};

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

/// A service behind a circuit breaker.
///
/// With the circuit open it is ready without asking the inner service, and rejects in `call`.
#[derive(Debug)]
pub struct CircuitBreakerService<S, C = ByError> {
    inner: S,
    circuit: ServiceShare<Circuit>,
    classifier: C,
    /// A rejection decided in `poll_ready`, when the inner service was not asked. It holds until `call`, for half-open may
    /// begin in between.
    rejection: Option<Rejection>,
}

impl<S, C> CircuitBreakerService<S, C> {
    pub(super) fn new(inner: S, breaker: CircuitBreaker<C>) -> Self {
        Self { inner, circuit: ServiceShare::new(breaker.circuit), classifier: breaker.classifier, rejection: None }
    }

    /// Counts a service that cannot even be readied as one call.
    fn count<T, E>(&self, unready: &Result<T, E>)
    where
        C: Classify<T, E>,
    {
        let circuit = &*self.circuit;
        if let Ok(ticket) = circuit.admit() {
            let permit = CircuitBreakerPermit::new(circuit, ticket);
            permit.record(self.classifier.classify(unready));
        }
    }
}

impl<S, R, C> Service<R> for CircuitBreakerService<S, C>
where
    S: Service<R>,
    S::Error: CarriesRejected,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S::Future, CallShare<Circuit>, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.rejection = self.circuit.rejection();
        if self.rejection.is_some() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                let unready: Result<S::Response, _> = Err(error);
                self.count(&unready);
                Poll::Ready(unready.map(|_| ()))
            }
        }
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let (circuit, classifier) = (self.circuit.lend(), self.classifier.clone());
        let admitted = self.rejection.take().map_or_else(|| circuit.admit(), Err);
        CircuitBreakerFuture::start(circuit, classifier, admitted, || self.inner.call(request))
    }
}

impl<S: Clone, C: Clone> Clone for CircuitBreakerService<S, C> {
    fn clone(&self) -> Self {
        let (inner, circuit) = (self.inner.clone(), self.circuit.clone());
        Self { inner, circuit, classifier: self.classifier.clone(), rejection: None }
    }
}
