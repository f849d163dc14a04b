use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    classify::Verdict,
    clock::{self, Instant},
    deadline,
    operation::ResultFuture,
};

/// What an operation may know of its own attempt; see [`call_with`](super::RetryWithBackoff::call_with).
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt<'a, E> {
    /// 1 for the first attempt.
    pub number: u32,
    /// Whether no other attempt can follow it.
    pub is_last: bool,
    /// The error of the attempt before. `None` for the first attempt, and after an answer that was judged transient.
    pub last_error: Option<&'a E>,
    /// The time since the call began.
    pub elapsed: Duration,
    /// The time until the call ends the attempt: what its timeout and the [`Deadline`](crate::Deadline) leave. `None` if
    /// nothing ends it. A retry alone ends no attempt, and tells the time until the deadline around it.
    pub remaining: Option<Duration>,
}

/// Something that can be started again: a closure, or a request that can be copied.
///
/// Sealed.
pub trait Attempts: sealed::Sealed {
    /// One attempt.
    type Future: ResultFuture;

    /// Whether an attempt has to wait until its service is ready.
    #[doc(hidden)]
    const NEEDS_READINESS: bool = false;

    /// Whether another attempt is possible, and safe after a result of this verdict.
    #[doc(hidden)]
    fn can_repeat(&self, verdict: Verdict) -> bool {
        let _ = verdict;
        true
    }

    /// Waits until an attempt can be started.
    #[doc(hidden)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), <Self::Future as ResultFuture>::Err>> {
        Poll::Ready(Ok(()))
    }

    /// Starts an attempt, after [`poll_ready`](Self::poll_ready) was ready.
    #[doc(hidden)]
    fn start(&mut self, plan: AttemptPlan) -> Self::Future;

    /// Takes the result of an attempt that will be followed by another.
    #[doc(hidden)]
    fn take(&mut self, _: Result<<Self::Future as ResultFuture>::Ok, <Self::Future as ResultFuture>::Err>) {}
}

/// What is known of an attempt when it is started.
#[derive(Clone, Copy, Debug)]
pub struct AttemptPlan {
    pub(crate) number: u32,
    pub(crate) is_last: bool,
    /// When the call will end it, if it will.
    pub(crate) end: Option<Instant>,
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A closure, called again for each attempt.
pub struct Repeat<F> {
    pub(crate) operation: F,
}

impl<F> sealed::Sealed for Repeat<F> {}

impl<F, Fut> Attempts for Repeat<F>
where
    F: FnMut() -> Fut,
    Fut: ResultFuture,
{
    type Future = Fut;

    fn start(&mut self, _: AttemptPlan) -> Fut {
        (self.operation)()
    }
}

impl<F> fmt::Debug for Repeat<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeat").finish_non_exhaustive()
    }
}

/// A closure, told about each of its attempts.
pub struct RepeatWith<F, E> {
    operation: F,
    last_error: Option<E>,
    since: Instant,
}

impl<F, E> RepeatWith<F, E> {
    pub(crate) fn new(operation: F) -> Self {
        Self { operation, last_error: None, since: clock::now() }
    }
}

impl<F, E> sealed::Sealed for RepeatWith<F, E> {}

impl<F, Fut, E> Attempts for RepeatWith<F, E>
where
    F: FnMut(Attempt<'_, E>) -> Fut,
    Fut: ResultFuture<Err = E>,
{
    type Future = Fut;

    fn start(&mut self, AttemptPlan { number, is_last, end }: AttemptPlan) -> Fut {
        let now = clock::now();
        let end = end.or_else(|| deadline::current().end());
        let remaining = end.map(|end| end.saturating_duration_since(now));
        let (elapsed, last_error) = (now.saturating_duration_since(self.since), self.last_error.as_ref());
        (self.operation)(Attempt { number, is_last, last_error, elapsed, remaining })
    }

    fn take(&mut self, result: Result<Fut::Ok, E>) {
        self.last_error = result.err();
    }
}

impl<F, E> fmt::Debug for RepeatWith<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepeatWith").finish_non_exhaustive()
    }
}
