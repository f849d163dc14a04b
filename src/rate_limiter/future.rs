use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{shared::Permits, state::Entry, wait::QueueWait};
use crate::{
    carry::CarriesRejected,
    error::{RateLimited, Rejected},
    operation::Operation,
    panics::with_rollback,
    rejections::RejectedCall,
    slow_path::{SlowResult, return_after},
};

/// What one call costs.
const ONE: u32 = 1;

pin_project! {
    /// A call through a [`RateLimiter`](super::RateLimiter).
    ///
    /// `A` is how it holds the rate limiter while it waits: borrowed (plain) or shared (tower).
    // `F` is the operation's future. A field that named it `O::Future` would have the compiler prove `Send` through
    // the bounds on `O`, which fails for a spawned `async` block.
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct RateLimiterFuture<O, F, A>
    where
        A: Deref<Target = Permits>,
    {
        #[pin]
        call: Call<O, F, A>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<O, F, A>
    where
        A: Deref<Target = Permits>,
    {
        Queued { operation: Option<O>, #[pin] wait: QueueWait<A> },
        // A permit needs no giving back, so a call that runs holds nothing of the limiter.
        Running { #[pin] operation: F },
        Rejected { rejection: RejectedCall<RateLimited> },
        Done,
    }
}

impl<O, F, A> RateLimiterFuture<O, F, A>
where
    O: Operation<Future = F>,
    A: Deref<Target = Permits> + Clone,
{
    #[inline(always)]
    pub(super) fn start(permits: &A, operation: impl FnOnce() -> O) -> Self {
        let call = match permits.enter(permits.now(), ONE) {
            Entry::Permit => Call::Running { operation: operation().start() },
            Entry::Queued(ticket) => {
                let operation = with_rollback(operation, || permits.leave(ticket));
                Call::Queued { operation: Some(operation), wait: QueueWait::new(permits.clone(), ticket, ONE) }
            }
            Entry::Rejected(retry_after) => Call::Rejected { rejection: permits.reject_call(retry_after) },
        };
        Self { call }
    }
}

impl<O, F, A, T, E> Future for RateLimiterFuture<O, F, A>
where
    O: Operation<Future = F>,
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    A: Deref<Target = Permits> + Clone,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = self.project().call;
        match call.as_mut().project() {
            CallProj::Running { operation } => {
                let result = ready!(operation.poll(cx));
                Poll::Ready(return_after(result, || call.set(Call::Done)))
            }
            CallProj::Rejected { rejection } => SlowResult::into_poll(poll_rejected(rejection, cx)),
            _ => SlowResult::into_poll(call.poll_start(cx)),
        }
    }
}

impl<O, F, A, T, E> Call<O, F, A>
where
    O: Operation<Future = F>,
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    A: Deref<Target = Permits> + Clone,
{
    /// Waits in the queue, then starts the operation.
    #[inline(never)]
    fn poll_start(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        let result = match self.as_mut().project() {
            CallProj::Queued { operation, wait } => match ready!(wait.poll(cx)) {
                Ok(()) => {
                    let operation = operation.take().expect("started once").start();
                    self.set(Self::Running { operation });
                    let CallProj::Running { operation } = self.as_mut().project() else { unreachable!() };
                    ready!(operation.poll(cx))
                }
                Err(rejected) => Err(E::from_rejected(rejected)),
            },
            CallProj::Running { .. } | CallProj::Rejected { .. } | CallProj::Done => panic!("polled after it was done"),
        };
        self.set(Self::Done);
        Poll::Ready(result.into())
    }
}

#[inline(never)]
fn poll_rejected<T, E>(rejection: &mut RejectedCall<RateLimited>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>>
where
    E: CarriesRejected,
{
    let limited = ready!(rejection.poll(cx));
    Poll::Ready(SlowResult::Err(E::from_rejected(Rejected::RateLimited(limited))))
}

impl<O, F, A> fmt::Debug for RateLimiterFuture<O, F, A>
where
    A: Deref<Target = Permits>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterFuture").finish_non_exhaustive()
    }
}
