use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{event::Listen, handled::Handles, recovery::Recovery, shared::Plan};
use crate::slow_path::{SlowResult, return_after};

pin_project! {
    /// A call with a [`Fallback`](super::Fallback).
    ///
    /// `P` is how it holds the plan (borrowed or shared), `G` the fallback's own future, `K` what was extracted from
    /// the request.
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct FallbackFuture<F, P, G, K = ()> {
        #[pin]
        stage: Stage<F, G, K>,
        plan: P,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProjection]
    enum Stage<F, G, K> {
        Operation { #[pin] operation: F, extracted: Option<K> },
        Recovery { #[pin] recovery: G },
        Done,
    }
}

impl<F, P, G, K> FallbackFuture<F, P, G, K> {
    #[inline(always)]
    pub(super) fn start(plan: P, extracted: K, operation: impl FnOnce() -> F) -> Self {
        Self { stage: Stage::Operation { operation: operation(), extracted: Some(extracted) }, plan }
    }
}

impl<F, P, K, T, E, S, W, L> Future for FallbackFuture<F, P, S::Future, K>
where
    F: Future<Output = Result<T, E>>,
    P: Deref<Target = Plan<S, W, L>>,
    S: Recovery<T, E, K>,
    W: Handles<T, E>,
    L: Listen<T, E>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let StageProjection::Operation { operation, extracted } = this.stage.as_mut().project() else {
            return SlowResult::into_poll(poll_recovery(this.stage, &**this.plan, cx));
        };
        let result = ready!(operation.poll(cx));
        if !this.plan.handles(&result, extracted) {
            return Poll::Ready(return_after(result, || this.stage.set(Stage::Done)));
        }
        let extracted = extracted.take().expect("it is taken once, as the operation ends");
        // The operation is dropped before the fallback runs.
        this.stage.set(Stage::Done);
        SlowResult::into_poll(recover(this.stage, &**this.plan, result, extracted, cx))
    }
}

#[inline(never)]
fn recover<F, K, T, E, S, W, L>(
    mut stage: Pin<&mut Stage<F, S::Future, K>>,
    plan: &Plan<S, W, L>,
    result: Result<T, E>,
    extracted: K,
    cx: &mut Context<'_>,
) -> Poll<SlowResult<T, E>>
where
    S: Recovery<T, E, K>,
    L: Listen<T, E>,
{
    match plan.recover(result, extracted) {
        Ok(recovery) => {
            stage.set(Stage::Recovery { recovery });
            poll_recovery(stage, plan, cx)
        }
        Err(result) => Poll::Ready(result.into()),
    }
}

#[inline(never)]
fn poll_recovery<F, K, T, E, S, W, L>(
    mut stage: Pin<&mut Stage<F, S::Future, K>>,
    plan: &Plan<S, W, L>,
    cx: &mut Context<'_>,
) -> Poll<SlowResult<T, E>>
where
    S: Recovery<T, E, K>,
    L: Listen<T, E>,
{
    let StageProjection::Recovery { recovery } = stage.as_mut().project() else { panic!("polled after it was done") };
    let result = ready!(recovery.poll(cx));
    stage.set(Stage::Done);
    if let Err(error) = &result {
        plan.emit_failed::<T, E>(error);
    }
    Poll::Ready(result.into())
}
