//! The core: how many slots are free, and which calls wait in the queue. `W` is what wakes a waiter.

use std::mem;

use super::settings::BulkheadSettings;
use crate::queue::Queue;

/// What a call gets that asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
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
    /// No one waits while a slot is free, except between a higher limit and the grants that follow it.
    queue: Queue<W>,
}

impl<W> Core<W> {
    pub(super) fn new(settings: BulkheadSettings) -> Self {
        let free = slots(settings.max_concurrent);
        Self { settings, free, queue: Queue::new() }
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
        self.queue.len()
    }

    /// A slot, if one is free.
    pub(super) fn try_enter(&mut self) -> bool {
        let enters = self.free > 0 && self.queue.is_empty();
        self.free -= i64::from(enters);
        enters
    }

    /// A slot, or a ticket of the queue.
    pub(super) fn enter(&mut self, waiter: W) -> Entry {
        if self.try_enter() {
            return Entry::Slot;
        }
        if self.queue.len() >= self.settings.queue_capacity() {
            return Entry::Full;
        }
        Entry::Queued(self.queue.push(waiter))
    }

    /// Gives this ticket another waiter, and gives back the one before. `Err` gives back the new one: the ticket is
    /// no longer in the queue, because its slot is granted. No waiter is dropped in here.
    pub(super) fn replace(&mut self, ticket: u64, waiter: W) -> Result<W, W> {
        match self.queue.get_mut(ticket) {
            Some(queued) => Ok(mem::replace(queued, waiter)),
            None => Err(waiter),
        }
    }

    /// Leaves the queue. `None`: the ticket is no longer in the queue, because its slot is granted.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        self.queue.remove(ticket)
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
        let waiter = self.queue.pop()?;
        self.free -= 1;
        Some(waiter)
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

    use super::*;
    use crate::queue::QueueSettings;

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
