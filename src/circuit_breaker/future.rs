use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    permit::Permit,
    shared::{AdmittedCall, Circuit},
    state::Rejection,
};
use crate::{
    carry::CarriesRejected,
    classify::{Classify, Verdict},
    panics::with_rollback,
    slow_path::SlowResult,
};

pin_project! {
    /// A call through a [`CircuitBreaker`](super::CircuitBreaker).
    ///
    /// `A` is how it holds the circuit, and `C` how it holds the classifier: borrowed (plain) or owned (tower).
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct CircuitBreakerFuture<F, A, C>
    where
        A: Deref<Target = Circuit>,
    {
        // The order matters: the operation is dropped before its slot returns.
        #[pin]
        call: Call<F>,
        permit: Permit<A>,
        classifier: C,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = CallProj]
    enum Call<F> {
        Running { #[pin] operation: F },
        Rejected { rejection: Rejection },
        // It is pending once, and then rejected.
        RejectedAfterYield { rejection: Rejection },
        Done,
    }
}

impl<F, A, C> CircuitBreakerFuture<F, A, C>
where
    A: Deref<Target = Circuit>,
{
    /// Every call is built in here, in one place: handed through other functions, or built in two, it would be copied
    /// from where it is built to where it is polled.
    #[inline(always)]
    pub(super) fn start(
        circuit: A,
        classifier: C,
        admitted: Result<AdmittedCall, Rejection>,
        operation: impl FnOnce() -> F,
    ) -> Self {
        let (call, admitted) = match admitted {
            Ok(admitted) => {
                let operation = with_rollback(operation, || circuit.settle_dropped(admitted));
                (Call::Running { operation }, Some(admitted))
            }
            Err(rejection) => {
                let call = match circuit.count_rejected_call(rejection) {
                    false => Call::Rejected { rejection },
                    true => Call::RejectedAfterYield { rejection },
                };
                (call, None)
            }
        };
        Self { call, permit: Permit::new(circuit, admitted), classifier }
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

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let CallProj::Running { operation } = this.call.as_mut().project() else {
            return rejected(this.call, this.permit, cx).map(Err);
        };
        let result = ready!(operation.poll(cx));
        let verdict = this.classifier.classify(&result);
        this.call.set(Call::Done);
        if this.permit.settle_success(verdict) {
            return Poll::Ready(result);
        }
        Poll::Ready(settled(this.permit, verdict, result).into_result())
    }
}

#[cold]
fn rejected<F, A, E>(mut call: Pin<&mut Call<F>>, permit: &Permit<A>, cx: &mut Context<'_>) -> Poll<E>
where
    A: Deref<Target = Circuit>,
    E: CarriesRejected,
{
    let rejection = match call.as_mut().project() {
        CallProj::Rejected { rejection } => *rejection,
        CallProj::RejectedAfterYield { rejection } => {
            let rejection = *rejection;
            call.set(Call::Rejected { rejection });
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        CallProj::Running { .. } | CallProj::Done => panic!("polled after it was done"),
    };
    let rejected = permit.circuit().rejected(rejection);
    call.set(Call::Done);
    Poll::Ready(E::from_rejected(rejected))
}

/// The result is passed by value, although it is not looked at. So a call that does not come here keeps its result in
/// registers.
#[inline(never)]
fn settled<A, T, E>(permit: &mut Permit<A>, verdict: Verdict, result: Result<T, E>) -> SlowResult<T, E>
where
    A: Deref<Target = Circuit>,
{
    permit.settle(verdict);
    result.into()
}
