//! A queue of calls that wait: first in, first out. `W` is what is kept of a waiter.
//!
//! A waiter that leaves the queue leaves an empty entry behind, so that leaving moves no other entry. Empty entries
//! go when they reach the front, or all together when they are more than half of the queue. So to leave costs a binary
//! search and, on average, a constant number of moves.

use std::{collections::VecDeque, time::Duration};

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

#[cfg(feature = "serde")]
use crate::duration_text;
use crate::error::Check;

/// The queue of a bulkhead or of a rate limiter, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct QueueSettings {
    /// How many calls may wait: at least 1.
    pub capacity: usize,
    /// How long each of them may wait: above zero.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub max_wait: Duration,
}

impl QueueSettings {
    /// Room for `capacity` calls, each of which waits for at most `max_wait`.
    pub const fn new(capacity: usize, max_wait: Duration) -> Self {
        Self { capacity, max_wait }
    }

    pub(crate) fn check(&self, check: &mut Check) {
        let Self { capacity, max_wait } = self;
        check.refuse_if(*capacity == 0, "queue", "must have a capacity of at least 1; for no queue, leave it out");
        check.refuse_if(max_wait.is_zero(), "queue", "must have a max_wait above zero; for no queue, leave it out");
    }
}

#[derive(Debug)]
pub(crate) struct Queue<W> {
    /// In the order of their tickets. `None` is a waiter that left.
    entries: VecDeque<(u64, Option<W>)>,
    /// How many entries are not `None`.
    len: usize,
    next_ticket: u64,
}

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        Self { entries: VecDeque::new(), len: 0, next_ticket: 0 }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Joins the queue at its end, and gets a ticket for it.
    pub(crate) fn push(&mut self, waiter: W) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.entries.push_back((ticket, Some(waiter)));
        self.len += 1;
        ticket
    }

    /// `None`: the ticket is no longer in the queue.
    pub(crate) fn get_mut(&mut self, ticket: u64) -> Option<&mut W> {
        self.entry(ticket)?.as_mut()
    }

    /// The ticket of the first waiter.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(ticket, _)| *ticket)
    }

    /// All that wait, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &W> {
        self.entries.iter().filter_map(|(_, waiter)| waiter.as_ref())
    }

    /// The first waiter leaves the queue.
    pub(crate) fn pop(&mut self) -> Option<W> {
        let first = self.first()?;
        self.remove(first)
    }

    /// This waiter leaves the queue. `None`: its ticket is no longer in the queue.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<W> {
        let waiter = self.entry(ticket)?.take()?;
        self.len -= 1;
        self.drop_empty_entries();
        Some(waiter)
    }

    /// Those for whom it holds leave the queue.
    pub(crate) fn remove_if(&mut self, mut leaves: impl FnMut(&W) -> bool) -> Vec<W> {
        let leavers = self.entries.iter_mut().filter_map(|(_, entry)| entry.take_if(|waiter| leaves(waiter)));
        let removed: Vec<_> = leavers.collect();
        self.len -= removed.len();
        self.drop_empty_entries();
        removed
    }

    /// From here on the first entry is that of a waiter.
    fn drop_empty_entries(&mut self) {
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.len {
            self.entries.retain(|(_, waiter)| waiter.is_some());
        }
    }

    fn entry(&mut self, ticket: u64) -> Option<&mut Option<W>> {
        let index = self.entries.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        Some(&mut self.entries[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k1_leaving_the_queue_in_random_order_moves_few_entries() {
        const WAITERS: usize = 10_000;
        let mut queue = Queue::new();
        let mut tickets: Vec<_> = (0..WAITERS).map(|_| queue.push(())).collect();
        fastrand::Rng::with_seed(27).shuffle(&mut tickets);
        let mut moved = 0;
        for (gone, ticket) in (1..).zip(tickets) {
            let before = queue.entries.len();
            assert!(queue.remove(ticket).is_some());
            let after = queue.entries.len();
            // From the front they go without a move. If none is empty any more, all of them may have moved.
            moved += if after < before && after == queue.len() { before } else { 0 };
            assert_eq!(queue.len(), WAITERS - gone);
            assert!(queue.entries.len() <= 2 * queue.len(), "at most half of the entries are of waiters that left");
        }
        assert!(moved <= 3 * WAITERS, "{moved} entries moved");
    }

    #[test]
    fn k1_l3_the_first_is_one_that_waits() {
        let mut queue = Queue::new();
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|number| queue.push(number));
        assert_eq!((queue.remove(b), queue.first()), (Some(1), Some(a)));
        assert_eq!((queue.pop(), queue.first()), (Some(0), Some(c)), "the entry of one that left is skipped");
        assert_eq!((queue.remove(c), queue.first(), queue.len()), (Some(2), Some(d), 2));
        assert_eq!((queue.remove_if(|number| *number == 3), queue.first(), queue.len()), (vec![3], Some(e), 1));
        assert_eq!((queue.get_mut(d).copied(), queue.get_mut(e).copied()), (None, Some(4)));
        assert_eq!((queue.pop(), queue.first(), queue.is_empty()), (Some(4), None, true));
    }
}
