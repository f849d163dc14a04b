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
    shared::{CallStart, Progress, Shared, Wait},
};
use crate::{
    classify::{Classify, Verdict},
    clock::Alarm,
    operation::ResultFuture,
};

/// So many attempts may follow each other in one poll. Then other tasks get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

pin_project! {
    /// A call through a [`RetryWithBackoff`](super::RetryWithBackoff).
    ///
    /// `A` is what is attempted, `F` the future of one attempt and `R` its result; `P` and `C` are how the call holds the retry and the
    /// classifier (borrowed or owned).
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
        // The result is kept where the next attempt is not paid for yet: without a token it is the last one.
        Sleeping { #[pin] alarm: Alarm, unpaid: Option<R> },
        // Also once it is over: then there is nothing left to start.
        Starting,
    }
}

impl<F, R> Stage<F, R> {
    /// Before another attempt: zero delay means no sleep at all.
    fn before_next(wait: Wait, unpaid: Option<R>) -> Self {
        match wait.delay.is_zero() {
            true => Self::Starting,
            false => Self::Sleeping { alarm: Alarm::at(wait.until), unpaid },
        }
    }
}

/// What a stage came to.
enum StageEnd<T, E> {
    /// The attempt is over.
    Attempt(Result<T, E>, Verdict),
    /// The next stage was entered.
    Next,
    /// The call is over.
    Call(Result<T, E>),
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
        let StageProj::Running { attempt } = this.stage.as_mut().project() else { return self.drive(None, cx) };
        let result = ready!(attempt.poll(cx));
        let verdict = this.classifier.classify(&result);
        if verdict != Verdict::Healthy {
            return self.drive(Some((result, verdict)), cx);
        }
        this.stage.set(Stage::Starting);
        *this.attempts = None;
        this.shared.settle_success(this.progress);
        Poll::Ready(result)
    }
}

impl<A, F, P, C, T, E> RetryFuture<A, F, Result<T, E>, P, C>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Shared>,
    C: Classify<T, E>,
{
    /// Goes on from an attempt that did not succeed, from a sleep, or to an attempt that has to be started.
    #[inline(never)]
    fn drive(
        mut self: Pin<&mut Self>,
        ended: Option<(Result<T, E>, Verdict)>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, E>> {
        let mut attempts = 0;
        let mut end = ended.map_or(StageEnd::Next, |(result, verdict)| StageEnd::Attempt(result, verdict));
        loop {
            match end {
                StageEnd::Call(last) => return Poll::Ready(last),
                StageEnd::Next => end = ready!(self.as_mut().poll_stage(cx)),
                StageEnd::Attempt(result, verdict) => {
                    if let Some(last) = self.as_mut().end_attempt(result, verdict) {
                        return Poll::Ready(last);
                    }
                    attempts += 1;
                    // Counted whatever the delay: one that is over before it is slept does not pend.
                    if attempts == MAX_ATTEMPTS_PER_POLL {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    end = StageEnd::Next;
                }
            }
        }
    }

    /// Gives the result back if it is the last. If not, what comes next is a sleep or another attempt.
    fn end_attempt(self: Pin<&mut Self>, mut result: Result<T, E>, verdict: Verdict) -> Option<Result<T, E>> {
        let mut this = self.project();
        let attempts = this.attempts.as_mut().expect("an attempt has just ended");
        let wait = match verdict {
            Verdict::Transient { .. } | Verdict::Throttled { .. } | Verdict::Unreached => {
                this.shared.settle_failure(this.progress, verdict, attempts.can_repeat())
            }
            Verdict::Healthy => {
                this.shared.settle_success(this.progress);
                None
            }
            // Our own rejection: the attempt never reached the dependency.
            Verdict::Ignored => {
                let sent = this.shared.settle_unsent(this.progress, GaveUp::Rejected);
                tell_attempts_sent(this.classifier, &mut result, sent);
                None
            }
            Verdict::Failed => None,
        };
        // The attempt's future goes first, then its result, then the sleep begins.
        this.stage.set(Stage::Starting);
        let Some(wait) = wait else {
            *this.attempts = None;
            return Some(result);
        };
        let unpaid = match wait.is_by_hint {
            true => Some(result),
            false => {
                attempts.take(result);
                None
            }
        };
        this.stage.set(Stage::before_next(wait, unpaid));
        None
    }

    /// Waits until the stage is over, and enters the next.
    fn poll_stage(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProj::Running { attempt } => {
                let result = ready!(attempt.poll(cx));
                let verdict = this.classifier.classify(&result);
                return Poll::Ready(StageEnd::Attempt(result, verdict));
            }
            StageProj::Sleeping { alarm, unpaid } => {
                ready!(alarm.poll(cx));
                let unpaid = unpaid.take();
                this.stage.set(Stage::Starting);
                if let Some(result) = unpaid {
                    if !this.shared.pay_for_next(this.progress) {
                        *this.attempts = None;
                        return Poll::Ready(StageEnd::Call(result));
                    }
                    this.attempts.as_mut().expect("the call goes on").take(result);
                }
            }
            StageProj::Starting => {
                let number = this.progress.attempt;
                let attempts = this.attempts.as_mut().expect("polled after it was done");
                match ready!(attempts.poll_start(cx, number, this.shared.is_last(number))) {
                    Ok(attempt) => {
                        this.progress.token.sent();
                        this.stage.set(Stage::Running { attempt });
                    }
                    Err(error) => {
                        *this.attempts = None;
                        let sent = this.shared.settle_unsent(this.progress, GaveUp::NotReady);
                        let mut unready = Err(error);
                        tell_attempts_sent(this.classifier, &mut unready, sent);
                        return Poll::Ready(StageEnd::Call(unready));
                    }
                }
            }
        }
        Poll::Ready(StageEnd::Next)
    }
}

/// Where a rejection ends the call, it says how many attempts were sent before.
fn tell_attempts_sent<T, E>(classifier: &impl Classify<T, E>, result: &mut Result<T, E>, sent: u32) {
    if let Err(error) = result {
        if let Some(rejected) = classifier.rejected_mut(error) {
            rejected.add_attempts_sent(sent);
        }
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
