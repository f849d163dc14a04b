use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{circuit::Circuit, permit::CircuitBreakerPermit, state::Refusal};
use crate::{carry::CarriesRejected, classify::Classify};

pin_project! {
    /// A call through a [`CircuitBreaker`](super::CircuitBreaker).
    ///
    /// `A` is how it holds the circuit, and `C` how it holds the classifier: borrowed (plain) or owned (tower).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct CircuitBreakerFuture<F, A, C>
    where
        A: Deref<Target = Circuit>,
    {
        #[pin]
        call: Call<F, A>,
        classifier: C,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = CallProj]
    #[project_replace = Ended]
    enum Call<F, A>
    where
        A: Deref<Target = Circuit>,
    {
        // In this order: the operation is gone before its slot returns.
        Running { #[pin] operation: F, permit: CircuitBreakerPermit<A> },
        Refused { circuit: A, refusal: Refusal },
        Done,
    }
}

impl<F, A, C> CircuitBreakerFuture<F, A, C>
where
    A: Deref<Target = Circuit>,
{
    pub(super) fn start(circuit: A, classifier: C, operation: impl FnOnce() -> F) -> Self {
        match circuit.admit() {
            Ok(ticket) => {
                let permit = CircuitBreakerPermit::new(circuit, ticket);
                Self { call: Call::Running { operation: operation(), permit }, classifier }
            }
            Err(refusal) => Self::refuse(circuit, classifier, refusal),
        }
    }

    pub(super) fn refuse(circuit: A, classifier: C, refusal: Refusal) -> Self {
        circuit.count(refusal);
        Self { call: Call::Refused { circuit, refusal }, classifier }
    }
}

impl<F, A, C, T, E> Future for CircuitBreakerFuture<F, A, C>
where
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    A: Deref<Target = Circuit>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let result = match this.call.as_mut().project() {
            CallProj::Running { operation, .. } => ready!(operation.poll(cx)),
            CallProj::Refused { circuit, refusal } => {
                let rejected = circuit.rejected(*refusal);
                this.call.set(Call::Done);
                return Poll::Ready(Err(E::from_rejected(rejected)));
            }
            CallProj::Done => panic!("polled after it was done"),
        };
        let verdict = this.classifier.classify(&result);
        if let Ended::Running { permit, .. } = this.call.project_replace(Call::Done) {
            permit.record(verdict);
        }
        Poll::Ready(result)
    }
}
