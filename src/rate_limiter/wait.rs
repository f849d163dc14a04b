use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{shared::Permits, state::Turn};
use crate::{
    clock::{Alarm, FOREVER, nanos},
    error::Rejected,
};

/// When a wait that begins now ends.
pub(super) fn end_of_wait(now: u64, max_wait: Option<Duration>) -> u64 {
    now.saturating_add(max_wait.map_or(0, nanos)).min(FOREVER)
}

pin_project! {
    /// Waits in the queue for permits.
    pub(super) struct QueueWait<A>
    where
        A: Deref<Target = Permits>,
    {
        // `None` once it is done.
        ticket: Option<QueueTicket<A>>,
        // Of the first in the queue: when its permits are there. Of the others: when their wait ends.
        #[pin]
        alarm: Alarm,
    }
}

impl<A> QueueWait<A>
where
    A: Deref<Target = Permits>,
{
    #[inline]
    pub(super) fn new(permits: A, ticket: u64, cost: u32) -> Self {
        let ticket = QueueTicket { permits, number: ticket, cost, is_used: false };
        Self { ticket: Some(ticket), alarm: Alarm::at(None) }
    }
}

impl<A> Future for QueueWait<A>
where
    A: Deref<Target = Permits> + Clone,
{
    type Output = Result<(), Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ticket = this.ticket.as_mut().expect("polled after it was done");
        // A timer that wakes too early finds no permit, and the wait goes on.
        let end = loop {
            match ticket.permits.poll(ticket.permits.now(), ticket.number, ticket.cost, cx.waker()) {
                Turn::Permit => break Ok(()),
                Turn::Rejected(retry_after) => break Err((ticket.permits.clone(), retry_after)),
                Turn::Wait { until } => {
                    this.alarm.as_mut().reset(ticket.permits.instant(until));
                    ready!(this.alarm.as_mut().poll(cx));
                }
            }
        };
        this.alarm.disarm();
        ticket.is_used = true;
        *this.ticket = None;
        Poll::Ready(end.map_err(|(permits, retry_after)| permits.reject_waiter(retry_after)))
    }
}

/// A position in the queue. Dropped, it leaves the queue.
struct QueueTicket<A>
where
    A: Deref<Target = Permits>,
{
    permits: A,
    number: u64,
    cost: u32,
    is_used: bool,
}

impl<A> Drop for QueueTicket<A>
where
    A: Deref<Target = Permits>,
{
    fn drop(&mut self) {
        if !self.is_used {
            self.permits.leave(self.number);
        }
    }
}
