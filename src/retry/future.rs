use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    Backoff,
    attempt::Attempts,
    plan::{Plan, Progress, Setback},
};
use crate::{
    classify::{Classify, Verdict},
    clock::{self, Alarm},
    operation::TryFuture,
};

/// So many tries may follow each other in one poll. Then others get a turn.
const MOST_TRIES_A_POLL: u32 = 32;

pin_project! {
    /// A call through a [`RetryWithBackoff`](super::RetryWithBackoff).
    ///
    /// `A` is what is tried, `P` and `C` are how it holds the plan and the classifier (borrowed or owned), `D`
    /// are the delays.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<A, P, C, D>
    where
        A: Attempts,
    {
        #[pin]
        stage: Stage<A::Future>,
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
        Trying { #[pin] attempt: F },
        Sleeping { #[pin] alarm: Alarm },
        // Also once it is over: then there is nothing left to start.
        Starting,
    }
}

impl<F> Stage<F> {
    /// Before another try: zero delay means no sleep at all.
    fn after(delay: Duration) -> Self {
        match delay {
            Duration::ZERO => Self::Starting,
            _ => Self::Sleeping { alarm: Alarm::at(clock::after(clock::now(), delay)) },
        }
    }
}

impl<A, P, C, D> RetryFuture<A, P, C, D>
where
    A: Attempts,
{
    pub(super) fn new(plan: P, classifier: C, progress: Progress<D>, first: A::Future, attempts: A) -> Self {
        Self { stage: Stage::Trying { attempt: first }, attempts: Some(attempts), progress, plan, classifier }
    }
}

impl<A, P, C, B, T, E> Future for RetryFuture<A, P, C, B::Delays>
where
    A: Attempts,
    A::Future: TryFuture<Ok = T, Err = E>,
    P: Deref<Target = Plan<B>>,
    B: Backoff,
    C: Classify<T, E>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut tries = 0;
        loop {
            let Some(attempts) = this.attempts else { panic!("polled after it was done") };
            let next = match this.stage.as_mut().project() {
                StageProj::Trying { attempt } => {
                    let result = ready!(attempt.poll(cx));
                    let Some(delay) = judge(&**this.plan, this.classifier, this.progress, attempts, &result) else {
                        this.stage.set(Stage::Starting);
                        *this.attempts = None;
                        return Poll::Ready(result);
                    };
                    // The try's future goes first, then its result, then the sleep begins.
                    this.stage.set(Stage::Starting);
                    attempts.take(result);
                    tries += 1;
                    this.stage.set(Stage::after(delay));
                    // Counted whatever the delay: one that is over before it is slept does not pend.
                    if tries == MOST_TRIES_A_POLL {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                StageProj::Sleeping { alarm } => {
                    ready!(alarm.poll(cx));
                    Stage::Starting
                }
                StageProj::Starting => {
                    let number = this.progress.attempt;
                    match ready!(attempts.poll_start(cx, number, this.plan.is_last(number))) {
                        Ok(attempt) => {
                            this.progress.spend();
                            Stage::Trying { attempt }
                        }
                        Err(unready) => {
                            this.stage.set(Stage::Starting);
                            *this.attempts = None;
                            this.progress.refund();
                            return Poll::Ready(Err(unready));
                        }
                    }
                }
            };
            this.stage.set(next);
        }
    }
}

/// How long to sleep before another try; `None` if this result is the last.
fn judge<A, B, C, T, E>(
    plan: &Plan<B>,
    classifier: &C,
    progress: &mut Progress<B::Delays>,
    attempts: &A,
    result: &Result<T, E>,
) -> Option<Duration>
where
    A: Attempts,
    B: Backoff,
    C: Classify<T, E>,
{
    match classifier.classify(result) {
        Verdict::Transient { retry_after } => {
            let setback = Setback { retry_after, can_repeat: attempts.can_repeat() };
            return plan.settle_setback(progress, setback);
        }
        Verdict::Healthy => plan.settle_success(progress),
        // Our own refusal: the try never reached the dependency.
        Verdict::Unknown => progress.refund(),
        Verdict::Failed => progress.token = None,
    }
    None
}
