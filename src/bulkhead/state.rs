//! The core: how many slots are free, and which calls wait in the queue. `W` is what wakes a waiter.
//!
//! A waiter that leaves the queue leaves an empty entry behind, so that leaving moves no other entry. Empty entries
//! go when they reach the front, or all together when they are more than half of the queue. So to leave costs a binary
//! search and, on average, a constant number of moves.

use std::{collections::VecDeque, mem};

use super::settings::BulkheadSettings;

/// What a call gets that asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Slot,
    Queued(u64),
    Full,
}

#[derive(Debug)]
pub(super) struct Core<W> {
    settings: BulkheadSettings,
    /// Below zero while more calls run than a lowered `max_concurrent` allows.
    ///
    /// It is true only while the core is used. Between two uses, the word in `gate.rs` has the count.
    free: i64,
    /// In the order of their tickets. `None` is a waiter that left.
    ///
    /// No one waits while a slot is free, except between a higher limit and the grants that follow it.
    queue: VecDeque<(u64, Option<W>)>,
    /// How many waiters are in the queue: its entries that are not `None`.
    queued: usize,
    next_ticket: u64,
}

impl<W> Core<W> {
    pub(super) fn new(settings: BulkheadSettings) -> Self {
        let free = slots(settings.max_concurrent);
        Self { settings, free, queue: VecDeque::new(), queued: 0, next_ticket: 0 }
    }

    pub(super) fn settings(&self) -> &BulkheadSettings {
        &self.settings
    }

    /// Calls that run keep their slots, and calls that wait keep their positions, though they be too many by now.
    pub(super) fn apply(&mut self, settings: BulkheadSettings) {
        self.free += slots(settings.max_concurrent) - slots(self.settings.max_concurrent);
        self.settings = settings;
    }

    pub(super) fn free(&self) -> i64 {
        self.free
    }

    /// Tells the core how many slots are free now: slots are also taken and given back without it.
    pub(super) fn set_free(&mut self, free: i64) {
        self.free = free;
    }

    /// How many calls run, if so many slots are free.
    pub(super) fn in_flight(&self, free: i64) -> usize {
        usize::try_from(slots(self.settings.max_concurrent) - free).unwrap_or_default()
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// A slot, if one is free.
    pub(super) fn try_enter(&mut self) -> bool {
        let enters = self.free > 0 && self.queued == 0;
        self.free -= i64::from(enters);
        enters
    }

    /// A slot, or a ticket of the queue.
    pub(super) fn enter(&mut self, waiter: W) -> Entry {
        if self.try_enter() {
            return Entry::Slot;
        }
        if self.queued >= self.settings.queue_capacity() {
            return Entry::Full;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back((ticket, Some(waiter)));
        self.queued += 1;
        Entry::Queued(ticket)
    }

    /// Gives this ticket another waiter, and gives back the one before. `Err` gives back the new one: the ticket is
    /// no longer in the queue, because its slot is granted. No waiter is dropped in here.
    pub(super) fn replace(&mut self, ticket: u64, waiter: W) -> Result<W, W> {
        match self.entry(ticket) {
            Some(Some(queued)) => Ok(mem::replace(queued, waiter)),
            Some(None) | None => Err(waiter),
        }
    }

    /// Leaves the queue. `None`: the ticket is no longer in the queue, because its slot is granted.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        let waiter = self.entry(ticket)?.take()?;
        self.queued -= 1;
        if self.queue.len() > 2 * self.queued {
            self.queue.retain(|(_, waiter)| waiter.is_some());
        }
        Some(waiter)
    }

    /// A call gives its slot back.
    pub(super) fn release(&mut self) {
        self.free += 1;
    }

    /// The first waiter of the queue, if a slot is free. The slot is the waiter's from then on, whether it has
    /// noticed or not.
    pub(super) fn grant(&mut self) -> Option<W> {
        if self.free <= 0 {
            return None;
        }
        loop {
            let (_, waiter) = self.queue.pop_front()?;
            if waiter.is_some() {
                self.free -= 1;
                self.queued -= 1;
                return waiter;
            }
        }
    }

    fn entry(&mut self, ticket: u64) -> Option<&mut Option<W>> {
        let index = self.queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        Some(&mut self.queue[index].1)
    }
}

/// So many slots as a signed count, capped so that two bits of a word stay free. No machine has room for more calls
/// than the cap.
fn slots(max_concurrent: usize) -> i64 {
    const MOST: i64 = i64::MAX >> 2;
    i64::try_from(max_concurrent).map_or(MOST, |slots| slots.min(MOST))
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, time::Duration};

    use super::{super::settings::QueueSettings, *};

    fn settings(max_concurrent: usize, queue_capacity: usize) -> BulkheadSettings {
        let queue = Some(QueueSettings::new(queue_capacity, Duration::MAX));
        BulkheadSettings { queue, ..BulkheadSettings::new(max_concurrent) }
    }

    #[test]
    fn g5_a_waiter_is_given_back_and_never_dropped_inside() {
        let waiter = Rc::new(());
        let mut core = Core::new(settings(1, 2));
        assert_eq!(
            core.enter(waiter.clone()),
            Entry::Slot,
            "a call that gets a slot needs no waiter, and it may be dropped"
        );
        let Entry::Queued(ticket) = core.enter(waiter.clone()) else { panic!("the slot is taken") };
        let (before, after) = (core.replace(ticket, waiter.clone()), Rc::strong_count(&waiter));
        assert!(before.is_ok());
        core.release();
        let granted = core.grant();
        let unneeded = core.replace(ticket, waiter.clone());
        assert!(granted.is_some() && unneeded.is_err());
        assert_eq!(Rc::strong_count(&waiter), after + 1, "the granted one and the unneeded one are both here");
    }

    fn queue_up(core: &mut Core<()>) -> u64 {
        let Entry::Queued(ticket) = core.enter(()) else { panic!("the queue has room") };
        ticket
    }

    #[test]
    fn k1_leaving_the_queue_in_random_order_moves_few_entries() {
        const WAITERS: usize = 10_000;
        let mut core = Core::new(settings(0, WAITERS));
        let mut tickets: Vec<_> = (0..WAITERS).map(|_| queue_up(&mut core)).collect();
        fastrand::Rng::with_seed(27).shuffle(&mut tickets);
        let mut moved = 0;
        for (gone, ticket) in (1..).zip(tickets) {
            let before = core.queue.len();
            assert!(core.leave(ticket).is_some());
            // Whatever removes an entry may move all the others.
            moved += if core.queue.len() < before { before } else { 0 };
            assert_eq!(core.queued(), WAITERS - gone);
            assert!(core.queue.len() <= 2 * core.queued(), "at most half of the entries are of waiters that left");
        }
        assert!(moved <= 3 * WAITERS, "{moved} entries moved");
    }

    #[test]
    fn k1_a_waiter_that_left_takes_no_capacity_and_no_slot() {
        let mut core = Core::new(settings(0, 3));
        let [first, second, third] = [(); 3].map(|()| queue_up(&mut core));
        assert_eq!((core.enter(()), core.leave(first), core.leave(first)), (Entry::Full, Some(()), None));
        let fourth = queue_up(&mut core);
        assert_eq!((core.enter(()), core.queued()), (Entry::Full, 3));
        core.apply(settings(1, 3));
        assert!(!core.try_enter(), "the new slot is for the queue");
        assert_eq!((core.grant(), core.free(), core.queued()), (Some(()), 0, 2));
        let left = [second, third, fourth].map(|ticket| core.replace(ticket, ()).is_err());
        assert_eq!(left, [true, false, false], "the second was granted the slot, and not the first");
        assert_eq!([third, fourth].map(|ticket| core.leave(ticket)), [Some(()); 2]);
        core.release();
        assert_eq!((core.grant(), core.try_enter()), (None, true), "nobody waits: the slot is free");
    }
}
