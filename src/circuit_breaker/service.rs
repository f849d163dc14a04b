use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::{
    CircuitBreaker, circuit::Circuit, future::CircuitBreakerFuture, permit::CircuitBreakerPermit, state::Refusal,
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify},
    share::{Lender, Share},
};

/// A service behind a circuit breaker.
///
/// With the circuit open it is ready without asking the inner service, and refuses in `call`.
#[derive(Debug)]
pub struct CircuitBreakerService<S, C = ByError> {
    inner: S,
    circuit: Lender<Circuit>,
    classifier: C,
    /// A refusal decided in `poll_ready`, when the inner service was not asked. It holds until `call`, for half-open may
    /// begin in between.
    refusal: Option<Refusal>,
}

impl<S, C> CircuitBreakerService<S, C> {
    pub(super) fn new(inner: S, breaker: CircuitBreaker<C>) -> Self {
        Self { inner, circuit: Lender::new(breaker.circuit), classifier: breaker.classifier, refusal: None }
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
    type Future = CircuitBreakerFuture<S::Future, Share<Circuit>, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.refusal = self.circuit.refusal();
        if self.refusal.is_some() {
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
        let admitted = self.refusal.take().map_or_else(|| circuit.admit(), Err);
        CircuitBreakerFuture::start(circuit, classifier, admitted, || self.inner.call(request))
    }
}

impl<S: Clone, C: Clone> Clone for CircuitBreakerService<S, C> {
    fn clone(&self) -> Self {
        let (inner, circuit) = (self.inner.clone(), self.circuit.clone());
        Self { inner, circuit, classifier: self.classifier.clone(), refusal: None }
    }
}
