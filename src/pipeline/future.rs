use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    ends::{tell_attempts_sent, was_sent},
    fallback::PipelineFallback,
    limits::Limits,
    permits::Permits,
    shared::{HoldsParts, Whole},
    start::Hindrance,
};
use crate::{
    carry::CarriesRejected,
    classify::{Classify, Verdict},
    clock::Alarm,
    operation::ResultFuture,
    retry::{Attempts, CallStart, Progress},
    slow_path::SlowResult,
};

/// So many attempts may follow each other in one poll. Then other tasks get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

pin_project! {
    /// A call through a [`Pipeline`](super::Pipeline).
    ///
    /// `A` is what is attempted, `F` the future of one attempt and `R` its result; `G` is the future of the fallback and
    /// `K` what was extracted for it; `P` is how the call holds the pipeline: borrowed (plain) or shared (tower).
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct PipelineFuture<A, F, R, G, K, P>
    where
        P: HoldsParts,
    {
        // In this order: an attempt is dropped before its permits are given back.
        #[pin]
        pub(super) stage: Stage<F, R, G>,
        pub(super) permits: Permits<P>,
        pub(super) hindrance: Hindrance,
        // `None` once the attempts are over: a request goes with its call, though the future may be kept.
        pub(super) attempts: Option<A>,
        pub(super) extracted: Option<K>,
        pub(super) call_start: CallStart,
        // `None` until an attempt has failed.
        pub(super) progress: Option<Progress>,
        pub(super) limits: Limits,
        // One timer for the whole call. It is set to the end of the present stage, or to the end of the call if that is
        // earlier.
        #[pin]
        pub(super) alarm: Alarm,
    }
}

pin_project! {
    #[project = StageProj]
    pub(super) enum Stage<F, R, G> {
        // What hinders it is in the field of that name: here it would be copied with every call.
        Hindered,
        // The next attempt waits until it can be started.
        Starting,
        Running { #[pin] attempt: F },
        // Where the next attempt is not paid for yet, the last result is kept: if there is no token then, it ends the
        // call.
        Sleeping { unpaid: Option<R> },
        Recovering { #[pin] recovery: G },
        Done,
    }
}

/// What a stage has led to.
pub(super) enum StageEnd<T, E> {
    NextStageEntered,
    AttemptEnded(Result<T, E>, Verdict),
    /// With the verdict of the result, if it is known.
    CallEnded(Result<T, E>, Option<Verdict>),
}

impl<A, F, T, E, G, K, P, C, B> Future for PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    E: CarriesRejected,
    G: Future<Output = Result<T, E>>,
    P: Deref<Target = Whole<C, B>>,
    C: Classify<T, E>,
    B: PipelineFallback<T, E, K, Future = G>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if A::NEEDS_READINESS && matches!(self.stage, Stage::Starting) {
            // A service that is ready at once goes the short way too.
            let entered = self.limits.enter();
            let started = self.as_mut().poll_starting(cx);
            drop(entered);
            match started {
                Poll::Ready(StageEnd::NextStageEntered) => {}
                Poll::Ready(end) => return SlowResult::into_poll(self.poll_stages(end, cx)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut this = self.as_mut().project();
        let StageProj::Running { attempt } = this.stage.as_mut().project() else {
            return SlowResult::into_poll(self.poll_stages(StageEnd::NextStageEntered, cx));
        };
        let entered = this.limits.enter();
        let polled = attempt.poll(cx);
        let Poll::Ready(result) = polled else {
            drop(entered);
            return SlowResult::into_poll(self.poll_limit(cx));
        };
        let whole = &*this.permits.whole;
        let verdict = whole.classifier.classify(&result);
        let is_success = verdict == Verdict::Healthy && !B::JUDGES_ANSWERS;
        // The attempt goes first, within the scope of its deadline, and then its permits.
        this.stage.set(Stage::Done);
        drop(entered);
        match result {
            Ok(answer) if is_success && this.permits.settle_success() => {
                if let Some(retry) = this.permits.parts().retry() {
                    retry.record_success(this.progress.as_mut());
                }
                *this.attempts = None;
                this.alarm.disarm();
                this.permits.release_slot();
                Poll::Ready(Ok(answer))
            }
            result => SlowResult::into_poll(self.poll_stages(StageEnd::AttemptEnded(result, verdict), cx)),
        }
    }
}

impl<A, F, T, E, G, K, P, C, B> PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    E: CarriesRejected,
    G: Future<Output = Result<T, E>>,
    P: Deref<Target = Whole<C, B>>,
    C: Classify<T, E>,
    B: PipelineFallback<T, E, K, Future = G>,
{
    /// The attempt is pending: waits for its end.
    #[inline(never)]
    fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        ready!(self.as_mut().project().alarm.poll(cx));
        let entered = self.limits.enter();
        let end = self.as_mut().end_by_limit();
        drop(entered);
        self.poll_stages(end, cx)
    }

    /// Polls stage after stage, until one is pending or the call has ended.
    #[inline(never)]
    fn poll_stages(mut self: Pin<&mut Self>, mut end: StageEnd<T, E>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        if let StageProj::Recovering { .. } = self.as_mut().project().stage.project() {
            return self.poll_recovery(cx).map(SlowResult::from);
        }
        let entered = self.limits.enter();
        let mut attempts = 0;
        loop {
            match end {
                StageEnd::CallEnded(result, verdict) => {
                    let verdict = verdict.unwrap_or_else(|| self.permits.whole.classifier.classify(&result));
                    // The fallback is outside of the total timeout.
                    drop(entered);
                    return self.end_call(result, verdict, cx).map(SlowResult::from);
                }
                StageEnd::NextStageEntered => end = ready!(self.as_mut().poll_stage(cx)),
                StageEnd::AttemptEnded(result, verdict) => {
                    end = self.as_mut().end_attempt(result, verdict);
                    attempts += 1;
                    // Counted whatever the delay: one that is over before it is slept does not pend.
                    if attempts == MAX_ATTEMPTS_PER_POLL && matches!(end, StageEnd::NextStageEntered) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Polls the present stage. When it is over, the next one has been entered, or the attempt or the call has ended.
    fn poll_stage(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        match this.stage.as_mut().project() {
            StageProj::Hindered => self.poll_hindered(cx),
            StageProj::Starting => self.poll_starting(cx),
            StageProj::Running { attempt } => match attempt.poll(cx) {
                Poll::Ready(result) => {
                    let verdict = this.permits.whole.classifier.classify(&result);
                    this.stage.set(Stage::Done);
                    Poll::Ready(StageEnd::AttemptEnded(result, verdict))
                }
                Poll::Pending => {
                    ready!(this.alarm.poll(cx));
                    Poll::Ready(self.end_by_limit())
                }
            },
            StageProj::Sleeping { unpaid } => {
                ready!(this.alarm.as_mut().poll(cx));
                if let Some(mut last) = unpaid.take() {
                    let progress = this.progress.as_mut().expect("an attempt has failed");
                    let is_paid = this.permits.parts().retry().is_none_or(|retry| retry.pay_after_wait(progress));
                    if !is_paid {
                        tell_attempts_sent(&mut last, progress.sent_before);
                        return Poll::Ready(StageEnd::CallEnded(last, None));
                    }
                    progress.sent_before += u32::from(was_sent(&last));
                    this.attempts.as_mut().expect("the call goes on").take(last);
                }
                self.enter_starting();
                Poll::Ready(StageEnd::NextStageEntered)
            }
            StageProj::Recovering { .. } | StageProj::Done => panic!("polled after it was done"),
        }
    }
}

impl<A, F, R, G, K, P> fmt::Debug for PipelineFuture<A, F, R, G, K, P>
where
    P: HoldsParts,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineFuture").field("pipeline", &self.permits.parts().name).finish_non_exhaustive()
    }
}
