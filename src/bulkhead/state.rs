//! The core: how many slots are free, and who waits in line. `W` is whatever wakes a waiter.

use std::{collections::VecDeque, mem};

/// What became of a call that wants a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Slot,
    Queued(u64),
    Full,
}

#[derive(Debug)]
pub(super) struct Core<W> {
    max_concurrent: usize,
    /// Below zero while more calls run than a lowered limit allows. It holds while the core acts; in between, the word in front of
    /// the lock counts.
    free: i64,
    queue_capacity: usize,
    /// In the order of their tickets. Empty whenever a slot is free, but between a higher limit and the grants that follow.
    queue: VecDeque<(u64, W)>,
    next_ticket: u64,
}

impl<W> Core<W> {
    pub(super) fn new(max_concurrent: usize, queue_capacity: usize) -> Self {
        let free = slots(max_concurrent);
        Self { max_concurrent, free, queue_capacity, queue: VecDeque::new(), next_ticket: 0 }
    }

    pub(super) fn max_concurrent(&self) -> usize {
        self.max_concurrent
    }

    pub(super) fn set_max_concurrent(&mut self, max_concurrent: usize) {
        self.free += slots(max_concurrent) - slots(self.max_concurrent);
        self.max_concurrent = max_concurrent;
    }

    pub(super) fn free(&self) -> i64 {
        self.free
    }

    /// So many are free by now: slots are taken and given back without the core too.
    pub(super) fn set_free(&mut self, free: i64) {
        self.free = free;
    }

    /// How many calls run, if so many slots are free.
    pub(super) fn in_flight(&self, free: i64) -> usize {
        usize::try_from(slots(self.max_concurrent) - free).unwrap_or_default()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// A slot, if one is free.
    pub(super) fn try_enter(&mut self) -> bool {
        let enters = self.free > 0 && self.queue.is_empty();
        self.free -= i64::from(enters);
        enters
    }

    /// A slot, or a place in line.
    pub(super) fn enter(&mut self, waiter: W) -> Entry {
        if self.try_enter() {
            return Entry::Slot;
        }
        if self.queue.len() >= self.queue_capacity {
            return Entry::Full;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back((ticket, waiter));
        Entry::Queued(ticket)
    }

    /// Puts another waiter in this place, and gives back the one before. `Err` gives back the new one: no longer in line, for
    /// the slot is granted. No waiter is dropped in here.
    pub(super) fn replace(&mut self, ticket: u64, waiter: W) -> Result<W, W> {
        match self.find(ticket) {
            Some(index) => Ok(mem::replace(&mut self.queue[index].1, waiter)),
            None => Err(waiter),
        }
    }

    /// Leaves the line. `None`: no longer in line, for the slot is granted.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        let index = self.find(ticket)?;
        self.queue.remove(index).map(|(_, waiter)| waiter)
    }

    /// A call is over.
    pub(super) fn release(&mut self) {
        self.free += 1;
    }

    /// Who is next, if there is a slot: it is theirs from here on, whether they have noticed or not.
    pub(super) fn grant(&mut self) -> Option<W> {
        if self.free <= 0 {
            return None;
        }
        let (_, waiter) = self.queue.pop_front()?;
        self.free -= 1;
        Some(waiter)
    }

    fn find(&self, ticket: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }
}

/// So many slots as a signed count, capped so that two bits of a word stay free. No machine has room for more calls than the cap.
fn slots(max_concurrent: usize) -> i64 {
    const MOST: i64 = i64::MAX >> 2;
    i64::try_from(max_concurrent).map_or(MOST, |slots| slots.min(MOST))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn g5_a_waiter_is_given_back_and_never_dropped_inside() {
        let waiter = Rc::new(());
        let mut core = Core::new(1, 2);
        assert_eq!(core.enter(waiter.clone()), Entry::Slot, "a waiter that need not wait may go at once");
        let Entry::Queued(ticket) = core.enter(waiter.clone()) else { panic!("the slot is taken") };
        let (before, after) = (core.replace(ticket, waiter.clone()), Rc::strong_count(&waiter));
        assert!(before.is_ok());
        core.release();
        let granted = core.grant();
        let unneeded = core.replace(ticket, waiter.clone());
        assert!(granted.is_some() && unneeded.is_err());
        assert_eq!(Rc::strong_count(&waiter), after + 1, "the granted one and the unneeded one are both here");
    }
}
