use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{permit::BulkheadPermit, shared::Slots};
use crate::{
    clock::Alarm,
    error::{BulkheadFull, Rejected},
    sync::Arc,
};

pin_project! {
    /// Waits in line for a slot, at most `max_wait` from when it was made.
    ///
    /// From [`acquire`](super::Bulkhead::acquire); a slot that is free is taken when it is made.
    #[derive(Debug)]
    #[must_use = "its place in the queue is taken already, and dropping it gives it up"]
    pub struct BulkheadAcquire<A = Arc<Slots>>
    where
        A: Deref<Target = Slots>,
    {
        place: Place<A>,
        #[pin]
        alarm: Alarm,
    }
}

#[derive(Debug)]
enum Place<A>
where
    A: Deref<Target = Slots>,
{
    InLine(Ticket<A>),
    Slot(BulkheadPermit<A>),
    Rejected(BulkheadFull),
    Done,
}

/// A place in line. Dropped, it is left, and a slot that was granted meanwhile goes to the next.
#[derive(Debug)]
struct Ticket<A>
where
    A: Deref<Target = Slots>,
{
    slots: A,
    number: u64,
    is_used: bool,
}

impl<A> Drop for Ticket<A>
where
    A: Deref<Target = Slots>,
{
    fn drop(&mut self) {
        if !self.is_used {
            self.slots.leave(self.number);
        }
    }
}

impl<A> Ticket<A>
where
    A: Deref<Target = Slots> + Clone,
{
    /// The slot, if it is granted: it is the permit's from here on.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BulkheadPermit<A>> {
        if !self.slots.is_granted(self.number, cx.waker()) {
            return Poll::Pending;
        }
        self.is_used = true;
        Poll::Ready(BulkheadPermit::new(self.slots.clone()))
    }
}

impl<A> BulkheadAcquire<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    pub(super) fn in_line(slots: A, ticket: u64) -> Self {
        let end = slots.end_of_wait();
        let ticket = Ticket { slots, number: ticket, is_used: false };
        Self { place: Place::InLine(ticket), alarm: Alarm::at(end) }
    }

    pub(super) fn slot(permit: BulkheadPermit<A>) -> Self {
        Self { place: Place::Slot(permit), alarm: Alarm::at(None) }
    }

    pub(super) fn rejected(rejected: BulkheadFull) -> Self {
        Self { place: Place::Rejected(rejected), alarm: Alarm::at(None) }
    }
}

impl<A> Future for BulkheadAcquire<A>
where
    A: Deref<Target = Slots> + Clone,
{
    type Output = Result<BulkheadPermit<A>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Place::InLine(ticket) = this.place {
            // A slot that is there wins over the end of the wait.
            if let Poll::Ready(permit) = ticket.poll(cx) {
                *this.place = Place::Done;
                this.alarm.disarm();
                return Poll::Ready(Ok(permit));
            }
            ready!(this.alarm.as_mut().poll(cx));
            this.alarm.disarm();
        }
        match std::mem::replace(this.place, Place::Done) {
            Place::InLine(ticket) => {
                let slots = ticket.slots.clone();
                drop(ticket);
                Poll::Ready(Err(slots.reject(slots.max_wait).into()))
            }
            Place::Slot(permit) => Poll::Ready(Ok(permit)),
            Place::Rejected(rejected) => Poll::Ready(Err(rejected.into())),
            Place::Done => panic!("polled after it was done"),
        }
    }
}
