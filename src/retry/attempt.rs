use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    classify::Verdict,
    clock::{self, Instant},
    operation::ResultFuture,
};

/// What an operation may know of its own attempt; see [`call_with`](super::RetryWithBackoff::call_with).
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt<'a, E> {
    /// 1 for the first attempt.
    pub number: u32,
    /// The error of the attempt before. `None` for the first attempt, and after an answer that was judged transient.
    pub last_error: Option<&'a E>,
    /// The time since the call began.
    pub elapsed: Duration,
}

/// Something that can be started again: a closure, or a request that can be copied.
///
/// Sealed.
pub trait Attempts: sealed::Sealed {
    /// One attempt.
    type Future: ResultFuture;

    /// Whether another attempt is possible, and safe after a result of this verdict.
    #[doc(hidden)]
    fn can_repeat(&self, verdict: Verdict) -> bool {
        let _ = verdict;
        true
    }

    /// Starts attempt `number` as soon as that is possible. `last`: no other may follow.
    #[doc(hidden)]
    fn poll_start(&mut self, cx: &mut Context<'_>, number: u32, last: bool) -> Poll<Started<Self::Future>>;

    /// Takes the result of an attempt that will be followed by another.
    #[doc(hidden)]
    fn take(&mut self, _: Result<<Self::Future as ResultFuture>::Ok, <Self::Future as ResultFuture>::Err>) {}
}

/// An attempt, or why the service that it needs will never be ready.
pub type Started<F> = Result<F, <F as ResultFuture>::Err>;

pub(super) mod sealed {
    pub trait Sealed {}
}

/// A closure, called again for each attempt.
pub struct Repeat<F> {
    pub(super) operation: F,
}

impl<F> sealed::Sealed for Repeat<F> {}

impl<F, Fut> Attempts for Repeat<F>
where
    F: FnMut() -> Fut,
    Fut: ResultFuture,
{
    type Future = Fut;

    fn poll_start(&mut self, _: &mut Context<'_>, _: u32, _: bool) -> Poll<Started<Fut>> {
        Poll::Ready(Ok((self.operation)()))
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
    pub(super) fn new(operation: F) -> Self {
        Self { operation, last_error: None, since: clock::now() }
    }
}

impl<F, Fut, E> RepeatWith<F, E>
where
    F: FnMut(Attempt<'_, E>) -> Fut,
{
    pub(super) fn start(&mut self, number: u32) -> Fut {
        let elapsed = clock::now().saturating_duration_since(self.since);
        (self.operation)(Attempt { number, last_error: self.last_error.as_ref(), elapsed })
    }
}

impl<F, E> sealed::Sealed for RepeatWith<F, E> {}

impl<F, Fut, E> Attempts for RepeatWith<F, E>
where
    F: FnMut(Attempt<'_, E>) -> Fut,
    Fut: ResultFuture<Err = E>,
{
    type Future = Fut;

    fn poll_start(&mut self, _: &mut Context<'_>, number: u32, _: bool) -> Poll<Started<Fut>> {
        Poll::Ready(Ok(self.start(number)))
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
