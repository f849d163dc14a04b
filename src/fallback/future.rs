use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{event::Listen, handled::Handles, plan::Plan, stand_in::StandIn};

pin_project! {
    /// A call with a [`Fallback`](super::Fallback).
    ///
    /// `P` is how it holds the plan (borrowed or shared), `G` the future of what stands in, `K` what was taken from the request.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<F, P, G, K = ()> {
        #[pin]
        stage: Stage<F, G, K>,
        plan: P,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProj]
    enum Stage<F, G, K> {
        First { #[pin] operation: F, taken: Option<K> },
        Second { #[pin] stand_in: G },
        Done,
    }
}

impl<F, P, G, K> FallbackFuture<F, P, G, K> {
    pub(super) fn start(plan: P, taken: K, operation: impl FnOnce() -> F) -> Self {
        Self { stage: Stage::First { operation: operation(), taken: Some(taken) }, plan }
    }
}

impl<F, P, K, T, E, S, W, L> Future for FallbackFuture<F, P, S::Future, K>
where
    F: Future<Output = Result<T, E>>,
    P: Deref<Target = Plan<S, W, L>>,
    S: StandIn<T, E, K>,
    W: Handles<T, E>,
    L: Listen<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StageProj::First { operation, taken } = this.stage.as_mut().project() {
            let result = ready!(operation.poll(cx));
            let taken = taken.take().expect("taken once");
            // The operation goes before anything stands in for it.
            this.stage.set(Stage::Done);
            match this.plan.step_in(result, taken) {
                Ok(stand_in) => this.stage.set(Stage::Second { stand_in }),
                Err(result) => return Poll::Ready(result),
            }
        }
        let StageProj::Second { stand_in } = this.stage.as_mut().project() else { panic!("polled after it was done") };
        let result = ready!(stand_in.poll(cx));
        this.stage.set(Stage::Done);
        if let Err(error) = &result {
            this.plan.tell_failure::<T, E>(error);
        }
        Poll::Ready(result)
    }
}
