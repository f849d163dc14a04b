use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{permit::SlotGuard, shared::Slots, state::Entry, wait::QueueWait};
use crate::{
    carry::CarriesRejected,
    error::{BulkheadFull, Rejected},
    operation::Operation,
    panics::with_rollback,
    rejections::RejectedCall,
};

pin_project! {
    /// A call through a [`Bulkhead`](super::Bulkhead).
    ///
    /// `A` is how it holds the bulkhead: borrowed (plain) or shared (tower).
    // `F` is the operation's future. A field that named it `O::Future` would have the compiler prove `Send` through
    // the bounds on `O`, which fails for a spawned `async` block.
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct BulkheadFuture<O, F, A>
    where
        A: Deref<Target = Slots>,
    {
        #[pin]
        call: Call<O, F, A>,
    }
}

pin_project! {
    #[project = CallProj]
    enum Call<O, F, A>
    where
        A: Deref<Target = Slots>,
    {
        Queued { operation: Option<O>, #[pin] wait: QueueWait<A> },
        // In this order: the operation is dropped before its slot is given back.
        Running { #[pin] operation: F, slot: SlotGuard<A> },
        Rejected { rejection: RejectedCall<BulkheadFull> },
        Done,
    }
}

impl<O, F, A> BulkheadFuture<O, F, A>
where
    O: Operation<Future = F>,
    A: Deref<Target = Slots> + Clone,
{
    #[inline(always)]
    pub(super) fn start(slots: &A, operation: impl FnOnce() -> O) -> Self {
        let call = match slots.enter() {
            Entry::Slot => {
                // The guard is only a pointer, so it stays in a register while the operation starts.
                let slot = SlotGuard::new(slots.clone());
                Call::Running { operation: operation().start(), slot }
            }
            Entry::Queued(ticket) => {
                // Made before the `QueueWait`, which is larger and would be in memory meanwhile.
                let operation = with_rollback(operation, || slots.leave(ticket));
                Call::Queued { operation: Some(operation), wait: QueueWait::new(slots.clone(), ticket) }
            }
            Entry::Full => Call::Rejected { rejection: slots.reject_call() },
        };
        Self { call }
    }
}

impl<O, F, A, T, E> Future for BulkheadFuture<O, F, A>
where
    O: Operation<Future = F>,
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    A: Deref<Target = Slots> + Clone,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut call = self.project().call;
        match call.as_mut().project() {
            CallProj::Running { operation, .. } => {
                let result = ready!(operation.poll(cx));
                call.set(Call::Done);
                Poll::Ready(result)
            }
            CallProj::Rejected { rejection } => poll_rejected(rejection, cx),
            _ => call.poll_start(cx),
        }
    }
}

impl<O, F, A, T, E> Call<O, F, A>
where
    O: Operation<Future = F>,
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    A: Deref<Target = Slots> + Clone,
{
    /// Waits in the queue, then starts the operation.
    #[inline(never)]
    fn poll_start(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let result = match self.as_mut().project() {
            CallProj::Queued { operation, wait } => match ready!(wait.poll(cx)) {
                Ok(slot) => {
                    let operation = operation.take().expect("started once").start();
                    self.set(Self::Running { operation, slot });
                    let CallProj::Running { operation, .. } = self.as_mut().project() else { unreachable!() };
                    ready!(operation.poll(cx))
                }
                Err(rejected) => Err(E::from_rejected(rejected)),
            },
            CallProj::Running { .. } | CallProj::Rejected { .. } | CallProj::Done => panic!("polled after it was done"),
        };
        self.set(Self::Done);
        Poll::Ready(result)
    }
}

#[inline(never)]
fn poll_rejected<T, E: CarriesRejected>(
    rejection: &mut RejectedCall<BulkheadFull>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, E>> {
    let full = ready!(rejection.poll(cx));
    Poll::Ready(Err(E::from_rejected(Rejected::BulkheadFull(full))))
}

impl<O, F, A> fmt::Debug for BulkheadFuture<O, F, A>
where
    A: Deref<Target = Slots>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadFuture").finish_non_exhaustive()
    }
}
