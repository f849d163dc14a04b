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
    #[inline(always)]
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

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let StageProj::First { operation, taken } = this.stage.as_mut().project() else {
            return poll_second(this.stage, &**this.plan, cx);
        };
        let result = ready!(operation.poll(cx));
        if !this.plan.handles(&result, taken) {
            this.stage.set(Stage::Done);
            return Poll::Ready(result);
        }
        let taken = taken.take().expect("taken once");
        // The operation goes before anything stands in for it.
        this.stage.set(Stage::Done);
        step_in(this.stage, &**this.plan, result, taken, cx)
    }
}

#[inline(never)]
fn step_in<F, K, T, E, S, W, L>(
    mut stage: Pin<&mut Stage<F, S::Future, K>>,
    plan: &Plan<S, W, L>,
    result: Result<T, E>,
    taken: K,
    cx: &mut Context<'_>,
) -> Poll<Result<T, E>>
where
    S: StandIn<T, E, K>,
    L: Listen<T, E>,
{
    match plan.step_in(result, taken) {
        Ok(stand_in) => {
            stage.set(Stage::Second { stand_in });
            poll_second(stage, plan, cx)
        }
        Err(result) => Poll::Ready(result),
    }
}

#[inline(never)]
fn poll_second<F, K, T, E, S, W, L>(
    mut stage: Pin<&mut Stage<F, S::Future, K>>,
    plan: &Plan<S, W, L>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, E>>
where
    S: StandIn<T, E, K>,
    L: Listen<T, E>,
{
    let StageProj::Second { stand_in } = stage.as_mut().project() else { panic!("polled after it was done") };
    let result = ready!(stand_in.poll(cx));
    stage.set(Stage::Done);
    if let Err(error) = &result {
        plan.tell_failure::<T, E>(error);
    }
    Poll::Ready(result)
}
