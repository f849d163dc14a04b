//! How an attempt ends, and how the call does.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    fallback::PipelineFallback,
    future::{PipelineFuture, Stage, StageEnd, StageProj},
    shared::{HasParts, Whole},
};
use crate::{
    carry::CarriesRejected,
    classify::{Classify, Verdict},
    clock::Alarm,
    error::{Cause, Rejected},
    operation::ResultFuture,
    retry::{Attempts, GaveUp, Progress},
};

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
    /// The service of the next attempt will never be ready. That counts as one call.
    pub(super) fn end_unready(self: Pin<&mut Self>, error: E) -> StageEnd<T, E> {
        let this = self.project();
        let mut unready = Err(error);
        let parts = this.permits.parts();
        if let Some(Ok(admitted)) = parts.circuit().map(|circuit| circuit.admit()) {
            this.permits.admit(Some(admitted));
            let verdict = this.permits.whole.classifier.classify(&unready);
            this.permits.settle(verdict);
        }
        if let (Some(retry), Some(progress)) = (this.permits.parts().retry(), this.progress) {
            retry.end_without_sending(progress, GaveUp::NotReady);
            tell_attempts_sent(&mut unready, progress.sent_before);
        }
        StageEnd::CallEnded(unready, None)
    }

    /// The limit of the attempt has passed, or the deadline.
    pub(super) fn end_by_limit(mut self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.as_mut().project();
        let Some(limit) = this.limits.attempt else { return self.end_by_total() };
        // It is dropped before anyone is told.
        this.stage.set(Stage::Done);
        let parts = this.permits.parts();
        let rejected = match (this.limits.is_attempt_cut, this.limits.total) {
            // What cuts it short is the total, and the total's listeners hear it.
            (true, Some(_)) => parts.total.reporter.report(this.limits.deadline.span(), Cause::Deadline),
            (true, None) => parts.attempt.reporter.report(this.limits.deadline.span(), Cause::Deadline),
            (false, _) => parts.attempt.reporter.report(limit.get(), Cause::Limit),
        };
        let result = Err(E::from_rejected(rejected));
        let verdict = this.permits.whole.classifier.classify(&result);
        StageEnd::AttemptEnded(result, verdict)
    }

    /// The total timeout ends the call, whatever it is doing.
    pub(super) fn end_by_total(self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.project();
        let sent_before = this.progress.as_ref().map_or(0, |progress| progress.sent_before);
        let was_started = sent_before > 0 || matches!(*this.stage, Stage::Running { .. });
        // All that it holds is given back before anyone is told.
        this.stage.set(Stage::Done);
        this.permits.settle_dropped();
        this.permits.release_slot();
        *this.progress = None;
        let cause = match this.limits.total.unwrap_or(Cause::Limit) {
            cause if was_started => cause,
            _ => Cause::NotStarted,
        };
        let reporter = &this.permits.parts().total.reporter;
        let rejected: Rejected = reporter.report(this.limits.deadline.span(), cause);
        StageEnd::CallEnded(Err(E::from_rejected(rejected)), None)
    }

    /// Ends the call, or enters what comes before another attempt.
    pub(super) fn end_attempt(mut self: Pin<&mut Self>, mut result: Result<T, E>, verdict: Verdict) -> StageEnd<T, E> {
        let mut this = self.as_mut().project();
        this.alarm.as_mut().disarm();
        this.permits.settle(verdict);
        let Some(retry) = this.permits.whole.parts().retry() else { return StageEnd::CallEnded(result, Some(verdict)) };
        let attempts = this.attempts.as_mut().expect("an attempt has just ended");
        let progress = this.progress.get_or_insert_with(|| Progress::new(*this.call_start));
        let wait = match verdict {
            Verdict::Transient { .. } | Verdict::Throttled { .. } | Verdict::Unreached => {
                let may_repeat = this.permits.whole.classifier.may_repeat(verdict);
                retry.plan_retry(progress, verdict, may_repeat && attempts.can_repeat(verdict))
            }
            Verdict::Healthy => {
                retry.record_success(Some(progress));
                None
            }
            Verdict::Ignored => {
                let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
                retry.end_ignored(progress, rejected);
                None
            }
            Verdict::Failed => None,
        };
        let Some(wait) = wait else {
            tell_attempts_sent(&mut result, progress.sent_before);
            return StageEnd::CallEnded(result, Some(verdict));
        };
        let mut unpaid = None;
        if wait.is_paid {
            progress.sent_before += u32::from(was_sent(&result));
            attempts.take(result);
        } else {
            unpaid = Some(result);
        }
        // Zero delay means no sleep at all. (A hint is never zero, so what is not paid for does sleep.)
        if wait.delay.is_zero() {
            self.enter_starting();
        } else {
            this.stage.set(Stage::Sleeping { unpaid });
            this.alarm.set(Alarm::at(wait.until));
        }
        StageEnd::NextStageEntered
    }

    /// The attempts are over: gives back the slot, and asks the fallback.
    pub(super) fn end_call(
        mut self: Pin<&mut Self>,
        result: Result<T, E>,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, E>> {
        let mut this = self.as_mut().project();
        this.stage.set(Stage::Done);
        *this.attempts = None;
        this.alarm.disarm();
        this.permits.release_slot();
        let fallback = &this.permits.whole.fallback;
        if !fallback.handles(verdict, &result, this.extracted) {
            return Poll::Ready(result);
        }
        let extracted = this.extracted.take().expect("it is taken once, as the attempts end");
        match fallback.recover(result, extracted) {
            Ok(recovery) => {
                this.stage.set(Stage::Recovering { recovery });
                self.poll_recovery(cx)
            }
            Err(result) => Poll::Ready(result),
        }
    }

    pub(super) fn poll_recovery(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.project();
        let StageProj::Recovering { recovery } = this.stage.as_mut().project() else { unreachable!() };
        let result = ready!(recovery.poll(cx));
        this.stage.set(Stage::Done);
        if let Err(error) = &result {
            this.permits.whole.fallback.emit_failed(error);
        }
        Poll::Ready(result)
    }
}

/// Whether the attempt with this result was sent: our own breaker may have rejected it.
pub(super) fn was_sent<T, E: CarriesRejected>(result: &Result<T, E>) -> bool {
    let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
    rejected.is_none_or(Rejected::was_started)
}

/// Where a rejection ends the call, it says how many attempts were sent before.
pub(super) fn tell_attempts_sent<T, E: CarriesRejected>(last: &mut Result<T, E>, sent_before: u32) {
    if let Some(rejected) = last.as_mut().err().and_then(CarriesRejected::as_rejected_mut) {
        rejected.add_attempts_sent(sent_before);
    }
}
