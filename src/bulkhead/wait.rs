use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{permit::SlotGuard, shared::Slots};
use crate::{
    clock::{self, Alarm, FOREVER, Instant, nanos},
    deadline,
    error::{Cause, Elapsed, Rejected},
};

pin_project! {
    /// Waits in the queue for a slot, until `max_wait` is over or the deadline has passed.
    pub(super) struct QueueWait<A>
    where
        A: Deref<Target = Slots>,
    {
        // `None` once it is done.
        ticket: Option<QueueTicket<A>>,
        #[pin]
        alarm: Alarm,
        limit: WaitLimit,
    }
}

/// What ends a wait in the queue that does not get its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WaitLimit {
    /// The queue's `max_wait`, as it was when the wait began, in nanoseconds.
    MaxWait { waited: u64 },
    /// The deadline around the call, which is earlier. The wait began `waited` before it; both are in nanoseconds.
    Deadline { waited: u64, span: u64 },
}

impl WaitLimit {
    /// Nothing ends the wait.
    pub(crate) const NEVER: Self = Self::MaxWait { waited: FOREVER };

    /// When a wait that begins now ends (`None` is never), and what ends it.
    #[inline(never)]
    pub(crate) fn of(slots: &Slots) -> (Option<Instant>, Self) {
        let now = clock::now();
        let max_wait = slots.max_wait();
        let end = max_wait.and_then(|span| clock::after(now, span));
        let deadline = deadline::current();
        match deadline.end() {
            Some(earlier) if deadline.is_before(end) => {
                let waited = nanos(earlier.saturating_duration_since(now));
                (Some(earlier), Self::Deadline { waited, span: nanos(deadline.span()) })
            }
            _ => (end, Self::MaxWait { waited: max_wait.map_or(FOREVER, nanos) }),
        }
    }

    /// Counts and tells the rejection of a call whose wait has ended. It has left the queue.
    pub(crate) fn reject(self, slots: &Slots) -> Rejected {
        match self {
            Self::MaxWait { waited } => slots.reject_queued(Some(Duration::from_nanos(waited))).into(),
            Self::Deadline { waited, span } => {
                slots.reject_queued(Some(Duration::from_nanos(waited)));
                let span = Duration::from_nanos(span);
                Elapsed::caused_by(Cause::NotStarted, Some(slots.name().clone()), span).into()
            }
        }
    }
}

impl<A> QueueWait<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    pub(super) fn new(slots: A, ticket: u64) -> Self {
        let (end, limit) = WaitLimit::of(&slots);
        let ticket = QueueTicket { slots, number: ticket };
        Self { ticket: Some(ticket), alarm: Alarm::at(end), limit }
    }
}

impl<A> Future for QueueWait<A>
where
    A: Deref<Target = Slots> + Clone,
{
    type Output = Result<SlotGuard<A>, Rejected>;

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
        Poll::Ready(acquired.map_err(|slots| this.limit.reject(&slots)))
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
