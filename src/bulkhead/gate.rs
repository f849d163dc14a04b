//! How many slots are free: one atomic word in front of the locked core, so that a call takes its slot and gives it back without
//! the lock while no one waits.
//!
//! Whoever has the lock may *hold* the word: then no one else changes it. It stays held while anyone waits in line, so that every slot
//! that returns goes through the core, to the next in line.

use crate::sync::{AtomicU64, Ordering};

const HELD: u64 = 1;

/// What became of an attempt to take a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Slot,
    /// None is free, and no one waits.
    Full,
    /// Ask the core.
    Held,
}

/// The count is below zero while more calls run than a lowered limit allows.
#[derive(Debug)]
pub(super) struct Free(AtomicU64);

fn word(free: i64, held: bool) -> u64 {
    (free << 1) as u64 | u64::from(held)
}

fn count(word: u64) -> i64 {
    word as i64 >> 1
}

impl Free {
    pub(super) fn new(free: i64) -> Self {
        Self(AtomicU64::new(word(free, false)))
    }

    pub(super) fn count(&self) -> i64 {
        count(self.0.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn take(&self) -> Taken {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen & HELD != 0 {
                return Taken::Held;
            }
            if count(seen) <= 0 {
                return Taken::Full;
            }
            match self.0.compare_exchange_weak(seen, seen - word(1, false), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Taken::Slot,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether the slot is given back. If not, the word is held, and the core has to take the slot.
    #[inline]
    pub(super) fn give_back(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen & HELD == 0 {
            let more = seen.wrapping_add(word(1, false));
            match self.0.compare_exchange_weak(seen, more, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// For whoever has the lock: no one else changes the count, until it is shown again.
    pub(super) fn hold(&self) -> i64 {
        count(self.0.fetch_or(HELD, Ordering::AcqRel))
    }

    /// For whoever holds it: the count from here on, and whether it stays held.
    pub(super) fn show(&self, free: i64, held: bool) {
        self.0.store(word(free, held), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_until_none_is_left() {
        let free = Free::new(2);
        assert_eq!([(); 3].map(|()| free.take()), [Taken::Slot, Taken::Slot, Taken::Full]);
        assert!(free.give_back());
        assert_eq!((free.count(), free.take(), free.count()), (1, Taken::Slot, 0));
    }

    #[test]
    fn while_it_is_held_no_one_else_changes_it() {
        let free = Free::new(1);
        assert_eq!(free.hold(), 1);
        assert_eq!((free.take(), free.give_back(), free.count()), (Taken::Held, false, 1));
        free.show(5, false);
        assert_eq!((free.take(), free.give_back(), free.count()), (Taken::Slot, true, 5));
    }

    #[test]
    fn a_limit_lowered_below_the_calls_that_run_leaves_less_than_none() {
        let free = Free::new(0);
        free.show(-2, false);
        assert_eq!((free.take(), free.count()), (Taken::Full, -2));
        assert!(free.give_back() && free.give_back() && free.give_back());
        assert_eq!((free.count(), free.take()), (1, Taken::Slot));
    }
}
