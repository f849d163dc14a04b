use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    permit::{BulkheadPermit, SlotGuard},
    shared::Slots,
};
use crate::{
    clock::Alarm,
    error::{BulkheadFull, Rejected},
    sync::Arc,
};

pin_project! {
    /// Waits in the queue for a slot. The wait ends `max_wait` after this future was made.
    ///
    /// From [`acquire`](super::Bulkhead::acquire), which has taken a free slot, or joined the queue, before it returns this future.
    #[must_use = "it has taken a slot or joined the queue already, and dropping it undoes that"]
    pub struct BulkheadAcquire {
        #[pin]
        acquire: Acquire<Arc<Slots>>,
    }
}

impl BulkheadAcquire {
    pub(super) fn new(acquire: Acquire<Arc<Slots>>) -> Self {
        Self { acquire }
    }
}

impl Future for BulkheadAcquire {
    type Output = Result<BulkheadPermit, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acquired = ready!(self.project().acquire.poll(cx));
        Poll::Ready(acquired.map(BulkheadPermit::new).map_err(Rejected::from))
    }
}

impl fmt::Debug for BulkheadAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAcquire").finish_non_exhaustive()
    }
}

pin_project! {
    /// What a call that has to wait, and a [`BulkheadAcquire`], have inside.
    pub(super) struct Acquire<A>
    where
        A: Deref<Target = Slots>,
    {
        state: State<A>,
        #[pin]
        alarm: Alarm,
    }
}

enum State<A>
where
    A: Deref<Target = Slots>,
{
    Queued(QueueTicket<A>),
    Acquired(SlotGuard<A>),
    Rejected(BulkheadFull),
    Done,
}

/// A position in the queue. Dropped, it leaves the queue, or, if its slot was granted meanwhile, gives the slot to the next.
struct QueueTicket<A>
where
    A: Deref<Target = Slots>,
{
    slots: A,
    number: u64,
    is_used: bool,
}

impl<A> Drop for QueueTicket<A>
where
    A: Deref<Target = Slots>,
{
    fn drop(&mut self) {
        if !self.is_used {
            self.slots.leave(self.number);
        }
    }
}

impl<A> QueueTicket<A>
where
    A: Deref<Target = Slots> + Clone,
{
    /// The slot, once it is granted. From then on the guard gives it back, and no longer the ticket.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SlotGuard<A>> {
        if !self.slots.is_granted(self.number, cx.waker()) {
            return Poll::Pending;
        }
        self.is_used = true;
        Poll::Ready(SlotGuard::new(self.slots.clone()))
    }
}

impl<A> Acquire<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    pub(super) fn queued(slots: A, ticket: u64) -> Self {
        let deadline = slots.wait_deadline();
        let ticket = QueueTicket { slots, number: ticket, is_used: false };
        Self { state: State::Queued(ticket), alarm: Alarm::at(deadline) }
    }

    pub(super) fn acquired(slot: SlotGuard<A>) -> Self {
        Self { state: State::Acquired(slot), alarm: Alarm::at(None) }
    }

    pub(super) fn rejected(rejected: BulkheadFull) -> Self {
        Self { state: State::Rejected(rejected), alarm: Alarm::at(None) }
    }
}

impl<A> Future for Acquire<A>
where
    A: Deref<Target = Slots> + Clone,
{
    type Output = Result<SlotGuard<A>, BulkheadFull>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let State::Queued(ticket) = this.state {
            // A slot that is granted wins over a wait that has ended.
            if let Poll::Ready(slot) = ticket.poll(cx) {
                *this.state = State::Done;
                this.alarm.disarm();
                return Poll::Ready(Ok(slot));
            }
            ready!(this.alarm.as_mut().poll(cx));
            this.alarm.disarm();
        }
        match std::mem::replace(this.state, State::Done) {
            State::Queued(ticket) => {
                let slots = ticket.slots.clone();
                drop(ticket);
                Poll::Ready(Err(slots.reject(slots.max_wait)))
            }
            State::Acquired(slot) => Poll::Ready(Ok(slot)),
            State::Rejected(rejected) => Poll::Ready(Err(rejected)),
            State::Done => panic!("polled after it was done"),
        }
    }
}
