//! A queue of calls that wait: first in, first out. `W` is what is kept of a waiter.
//!
//! A waiter that leaves the queue leaves an empty entry behind, so that leaving moves no other entry. Empty entries
//! go when they reach the front, or all together when they are more than half of the queue. So to leave costs a binary
//! search and, on average, a constant number of moves.

use std::collections::VecDeque;

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

    /// The first waiter leaves the queue.
    pub(crate) fn pop(&mut self) -> Option<W> {
        loop {
            let (_, waiter) = self.entries.pop_front()?;
            if waiter.is_some() {
                self.len -= 1;
                return waiter;
            }
        }
    }

    /// This waiter leaves the queue. `None`: its ticket is no longer in the queue.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<W> {
        let waiter = self.entry(ticket)?.take()?;
        self.len -= 1;
        if self.entries.len() > 2 * self.len {
            self.entries.retain(|(_, waiter)| waiter.is_some());
        }
        Some(waiter)
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
            // Whatever removes an entry may move all the others.
            moved += if queue.entries.len() < before { before } else { 0 };
            assert_eq!(queue.len(), WAITERS - gone);
            assert!(queue.entries.len() <= 2 * queue.len(), "at most half of the entries are of waiters that left");
        }
        assert!(moved <= 3 * WAITERS, "{moved} entries moved");
    }
}
