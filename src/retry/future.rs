use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    attempt::Attempts,
    event::GaveUp,
    shared::{CallStart, Progress, Shared},
};
use crate::{
    classify::{Classify, Verdict},
    clock::Alarm,
    error::Rejected,
    operation::ResultFuture,
    slow_path::{SlowResult, return_after},
};

/// So many attempts may follow each other in one poll. Then other tasks get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

pin_project! {
    /// A call through a [`RetryWithBackoff`](super::RetryWithBackoff).
    ///
    /// `A` is what is attempted, `F` the future of one attempt and `R` its result; `P` and `C` are how the call holds
    /// the retry and the classifier (borrowed or owned).
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct RetryFuture<A, F, R, P, C> {
        #[pin]
        stage: Stage<F, R>,
        // `None` once it is over: a request goes with its call, though the future may be kept.
        attempts: Option<A>,
        progress: Progress,
        shared: P,
        classifier: C,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProj]
    enum Stage<F, R> {
        Running { #[pin] attempt: F },
        // Where the next attempt is not paid for yet, the last result is kept: if there is no token then, it ends the
        // call.
        Sleeping { #[pin] alarm: Alarm, unpaid: Option<R> },
        // Also once the call is over: then there is nothing left to start.
        Starting,
    }
}

/// How a stage ended.
enum StageEnd<T, E> {
    AttemptEnded(Result<T, E>, Verdict),
    NextStageEntered,
    CallEnded(Result<T, E>),
}

impl<A, F, R, P, C> RetryFuture<A, F, R, P, C> {
    #[inline(always)]
    pub(super) fn new(shared: P, classifier: C, start: CallStart, first: F, attempts: A) -> Self {
        let progress = Progress::new(start);
        Self { stage: Stage::Running { attempt: first }, attempts: Some(attempts), progress, shared, classifier }
    }
}

impl<A, F, P, C, T, E> Future for RetryFuture<A, F, Result<T, E>, P, C>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Shared>,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let StageProj::Running { attempt } = this.stage.as_mut().project() else {
            return SlowResult::into_poll(self.poll_stages(StageEnd::NextStageEntered, cx));
        };
        let result = ready!(attempt.poll(cx));
        let verdict = this.classifier.classify(&result);
        if verdict != Verdict::Healthy {
            return SlowResult::into_poll(self.poll_stages(StageEnd::AttemptEnded(result, verdict), cx));
        }
        Poll::Ready(return_after(result, || {
            this.stage.set(Stage::Starting);
            *this.attempts = None;
            this.shared.record_success(Some(this.progress));
        }))
    }
}

impl<A, F, P, C, T, E> RetryFuture<A, F, Result<T, E>, P, C>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Shared>,
    C: Classify<T, E>,
{
    /// Polls stage after stage, until one is pending or the call ends.
    #[inline(never)]
    fn poll_stages(mut self: Pin<&mut Self>, mut end: StageEnd<T, E>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        let mut attempts = 0;
        loop {
            match end {
                StageEnd::CallEnded(last) => return Poll::Ready(last.into()),
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

    /// Ends the call, or enters what comes before another attempt.
    fn end_attempt(self: Pin<&mut Self>, mut result: Result<T, E>, verdict: Verdict) -> StageEnd<T, E> {
        let mut this = self.project();
        let attempts = this.attempts.as_mut().expect("an attempt has just ended");
        let wait = match verdict {
            Verdict::Transient { .. } | Verdict::Throttled { .. } | Verdict::Unreached => {
                let can_repeat = attempts.can_repeat(verdict) && this.classifier.may_repeat(verdict);
                this.shared.plan_retry(this.progress, verdict, can_repeat)
            }
            Verdict::Healthy => {
                this.shared.record_success(Some(this.progress));
                None
            }
            Verdict::Ignored => {
                let rejected = own_rejection(this.classifier, &mut result);
                this.shared.end_ignored(this.progress, rejected.as_deref());
                None
            }
            Verdict::Failed => None,
        };
        // The attempt's future goes first, then its result, then the sleep begins.
        this.stage.set(Stage::Starting);
        let Some(wait) = wait else {
            *this.attempts = None;
            tell_attempts_sent(this.classifier, &mut result, this.progress.sent_before);
            return StageEnd::CallEnded(result);
        };
        let mut unpaid = None;
        if wait.is_paid {
            this.progress.sent_before += u32::from(was_sent(this.classifier, &mut result));
            attempts.take(result);
        } else {
            unpaid = Some(result);
        }
        // Zero delay means no sleep at all. (A hint is never zero, so what is not paid for does sleep.)
        if !wait.delay.is_zero() {
            this.stage.set(Stage::Sleeping { alarm: Alarm::at(wait.until), unpaid });
        }
        StageEnd::NextStageEntered
    }

    /// Polls the present stage. When it is over, the next one has been entered, or the attempt or the call has ended.
    fn poll_stage(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProj::Running { attempt } => {
                let result = ready!(attempt.poll(cx));
                let verdict = this.classifier.classify(&result);
                return Poll::Ready(StageEnd::AttemptEnded(result, verdict));
            }
            StageProj::Sleeping { alarm, unpaid } => {
                ready!(alarm.poll(cx));
                let unpaid = unpaid.take();
                this.stage.set(Stage::Starting);
                if let Some(mut last) = unpaid {
                    if !this.shared.pay_after_wait(this.progress) {
                        *this.attempts = None;
                        tell_attempts_sent(this.classifier, &mut last, this.progress.sent_before);
                        return Poll::Ready(StageEnd::CallEnded(last));
                    }
                    this.progress.sent_before += u32::from(was_sent(this.classifier, &mut last));
                    this.attempts.as_mut().expect("the call goes on").take(last);
                }
            }
            StageProj::Starting => {
                let attempts = this.attempts.as_mut().expect("polled after it was done");
                match ready!(attempts.poll_ready(cx)) {
                    Ok(()) => {
                        let attempt = attempts.start(this.shared.plan_attempt(this.progress));
                        this.progress.token.mark_sent();
                        this.stage.set(Stage::Running { attempt });
                    }
                    Err(error) => {
                        *this.attempts = None;
                        this.shared.end_without_sending(this.progress, GaveUp::NotReady);
                        let mut unready = Err(error);
                        tell_attempts_sent(this.classifier, &mut unready, this.progress.sent_before);
                        return Poll::Ready(StageEnd::CallEnded(unready));
                    }
                }
            }
        }
        Poll::Ready(StageEnd::NextStageEntered)
    }
}

/// The rejection that a result carries, if the classifier knows that it can carry one.
fn own_rejection<'a, T, E>(classifier: &impl Classify<T, E>, result: &'a mut Result<T, E>) -> Option<&'a mut Rejected> {
    result.as_mut().err().and_then(|error| classifier.rejected_mut(error))
}

/// Whether the attempt with this result was sent: our own breaker may have rejected it.
fn was_sent<T, E>(classifier: &impl Classify<T, E>, result: &mut Result<T, E>) -> bool {
    own_rejection(classifier, result).is_none_or(|rejected| rejected.was_started())
}

/// Where a rejection ends the call, it says how many attempts were sent before.
fn tell_attempts_sent<T, E>(classifier: &impl Classify<T, E>, last: &mut Result<T, E>, sent_before: u32) {
    if let Some(rejected) = own_rejection(classifier, last) {
        rejected.add_attempts_sent(sent_before);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::ready, io, pin::pin, task::Waker};

    use super::{super::RetryWithBackoff, *};

    #[test]
    fn r1_a_success_and_the_last_failure_end_it() {
        let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
        for result in [Ok(()), Err(io::ErrorKind::Other)] {
            let mut call = pin!(retry.call(|| ready(result.map_err(io::Error::from))));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
    }
}
