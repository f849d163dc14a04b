use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{permit::SlotGuard, shared::Slots};
use crate::{clock::Alarm, error::BulkheadFull};

pin_project! {
    /// Waits in the queue for a slot, until `max_wait` is over.
    pub(super) struct QueueWait<A>
    where
        A: Deref<Target = Slots>,
    {
        // `None` once it is done.
        ticket: Option<QueueTicket<A>>,
        #[pin]
        alarm: Alarm,
        // As it was when the wait began: the rejection says for how long the call has waited.
        max_wait: u64,
    }
}

impl<A> QueueWait<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    pub(super) fn new(slots: A, ticket: u64) -> Self {
        let (max_wait, deadline) = slots.wait_limit();
        let ticket = QueueTicket { slots, number: ticket };
        Self { ticket: Some(ticket), alarm: Alarm::at(deadline), max_wait }
    }
}

impl<A> Future for QueueWait<A>
where
    A: Deref<Target = Slots> + Clone,
{
    type Output = Result<SlotGuard<A>, BulkheadFull>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ticket = this.ticket.as_mut().expect("polled after it was done");
        // A slot that is granted wins over a wait that has ended.
        let acquired = match ticket.poll(cx) {
            Poll::Ready(slot) => Ok(slot),
            Poll::Pending => {
                ready!(this.alarm.as_mut().poll(cx));
                Err(ticket.slots.clone())
            }
        };
        this.alarm.disarm();
        // The ticket leaves the queue before a listener hears of the rejection.
        *this.ticket = None;
        Poll::Ready(acquired.map_err(|slots| slots.reject_queued(*this.max_wait)))
    }
}

/// A position in the queue. Dropped, it leaves the queue, or, if its slot was granted meanwhile, gives the slot to
/// the next.
struct QueueTicket<A>
where
    A: Deref<Target = Slots>,
{
    slots: A,
    /// [`USED`] once the slot is taken.
    number: u64,
}

/// No queue ever gets so far.
const USED: u64 = u64::MAX;

impl<A> QueueTicket<A>
where
    A: Deref<Target = Slots> + Clone,
{
    /// The slot, once it is granted. From then on the guard gives it back, and no longer the ticket.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SlotGuard<A>> {
        if !self.slots.is_granted(self.number, cx.waker()) {
            return Poll::Pending;
        }
        self.number = USED;
        Poll::Ready(SlotGuard::new(self.slots.clone()))
    }
}

impl<A> Drop for QueueTicket<A>
where
    A: Deref<Target = Slots>,
{
    fn drop(&mut self) {
        if self.number != USED {
            self.slots.leave(self.number);
        }
    }
}
