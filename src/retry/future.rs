use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    attempt::Attempts,
    backoff::Backoff,
    shared::{FailedAttempt, Plan, Progress, Start, Wait},
};
use crate::{
    classify::{Classify, Verdict},
    clock::Alarm,
    operation::ResultFuture,
};

/// A try's result, and what it was judged.
type Ended<T, E> = (Result<T, E>, Verdict);

/// So many tries may follow each other in one poll. Then others get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

pin_project! {
    /// A call through a [`RetryWithBackoff`](super::RetryWithBackoff).
    ///
    /// `A` is what is tried, `P` and `C` are how it holds the plan and the classifier (borrowed or owned), `D`
    /// are the delays. `F` is the attempts' future.
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct RetryFuture<A, F, P, C, D> {
        #[pin]
        stage: Stage<F>,
        // `None` once it is over: a request goes with its call, though the future may be kept.
        attempts: Option<A>,
        progress: Progress<D>,
        plan: P,
        classifier: C,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProj]
    enum Stage<F> {
        Running { #[pin] attempt: F },
        Sleeping { #[pin] alarm: Alarm },
        // Also once it is over: then there is nothing left to start.
        Starting,
    }
}

impl<F> Stage<F> {
    /// Before another try: zero delay means no sleep at all.
    fn before_next(wait: Wait) -> Self {
        match wait.delay {
            Duration::ZERO => Self::Starting,
            _ => Self::Sleeping { alarm: Alarm::at(wait.until) },
        }
    }
}

impl<A, F, P, C, D> RetryFuture<A, F, P, C, D>
where
    A: Attempts<Future = F>,
{
    #[inline(always)]
    pub(super) fn new(plan: P, classifier: C, start: Start, first: F, attempts: A) -> Self {
        let progress = Progress::new(start);
        Self { stage: Stage::Running { attempt: first }, attempts: Some(attempts), progress, plan, classifier }
    }
}

impl<A, F, P, C, B, T, E> Future for RetryFuture<A, F, P, C, B::Delays>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Plan<B>>,
    B: Backoff,
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
        this.plan.settle_success(this.progress);
        Poll::Ready(result)
    }
}

impl<A, F, P, C, B, T, E> RetryFuture<A, F, P, C, B::Delays>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Plan<B>>,
    B: Backoff,
    C: Classify<T, E>,
{
    /// Goes on from a try that did not succeed, from a sleep, or to a try that has to be started.
    #[inline(never)]
    fn drive(mut self: Pin<&mut Self>, mut ended: Option<Ended<T, E>>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut tries = 0;
        loop {
            if let Some(ended) = ended.take() {
                if let Some(last) = self.as_mut().end_attempt(ended) {
                    return Poll::Ready(last);
                }
                tries += 1;
                // Counted whatever the delay: one that is over before it is slept does not pend.
                if tries == MAX_ATTEMPTS_PER_POLL {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            ended = match ready!(self.as_mut().step(cx)) {
                Ok(ended) => ended,
                Err(unready) => return Poll::Ready(Err(unready)),
            };
        }
    }

    /// Gives the result back if it is the last. If not, what comes next is a sleep or another try.
    fn end_attempt(self: Pin<&mut Self>, (result, verdict): Ended<T, E>) -> Option<Result<T, E>> {
        let mut this = self.project();
        let attempts = this.attempts.as_mut().expect("a try has just ended");
        let wait = settle(&**this.plan, this.progress, attempts.can_repeat(), verdict);
        // The try's future goes first, then its result, then the sleep begins.
        this.stage.set(Stage::Starting);
        let Some(wait) = wait else {
            *this.attempts = None;
            return Some(result);
        };
        attempts.take(result);
        this.stage.set(Stage::before_next(wait));
        None
    }

    /// Waits for the stage to be over, and enters the next. `Err`: the next try's service will never be ready.
    fn step(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Option<Ended<T, E>>, E>> {
        let mut this = self.project();
        match this.stage.as_mut().project() {
            StageProj::Running { attempt } => {
                let result = ready!(attempt.poll(cx));
                let verdict = this.classifier.classify(&result);
                return Poll::Ready(Ok(Some((result, verdict))));
            }
            StageProj::Sleeping { alarm } => {
                ready!(alarm.poll(cx));
                this.stage.set(Stage::Starting);
            }
            StageProj::Starting => {
                let number = this.progress.attempt;
                let attempts = this.attempts.as_mut().expect("polled after it was done");
                match ready!(attempts.poll_start(cx, number, this.plan.is_last(number))) {
                    Ok(attempt) => {
                        this.progress.paid.spend();
                        this.stage.set(Stage::Running { attempt });
                    }
                    Err(unready) => {
                        *this.attempts = None;
                        this.progress.paid.refund();
                        return Poll::Ready(Err(unready));
                    }
                }
            }
        }
        Poll::Ready(Ok(None))
    }
}

/// How long to sleep before another try; `None` if this result is the last.
fn settle<B: Backoff>(
    plan: &Plan<B>,
    progress: &mut Progress<B::Delays>,
    can_repeat: bool,
    verdict: Verdict,
) -> Option<Wait> {
    match verdict {
        Verdict::Transient { retry_after } | Verdict::Throttled { retry_after } => {
            return plan.settle_failure(progress, FailedAttempt { retry_after, can_repeat });
        }
        Verdict::Unreached => {
            return plan.settle_failure(progress, FailedAttempt { retry_after: None, can_repeat });
        }
        Verdict::Healthy => plan.settle_success(progress),
        // Our own rejection: the try never reached the dependency.
        Verdict::Ignored => progress.paid.refund(),
        Verdict::Failed => {}
    }
    None
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
