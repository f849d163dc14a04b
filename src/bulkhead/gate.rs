//! How many slots are free: one atomic word in front of the locked core. While no one waits, a call takes its slot
//! and gives it back with this word alone, without the lock.
//!
//! The word has the count and one bit, `HELD`. While the bit is set, only the thread that has the core's lock changes
//! the word. It stays set while the queue is not empty. So every slot that is given back then goes through the core,
//! to the first waiter in the queue.
//!
//! # Memory ordering
//!
//! There are two things to prove. No slot is lost or taken twice: for that it is enough that all of this happens to
//! one word. And what a call did before it gave its slot back *happens before* what the next call does with that
//! slot, as with a mutex or a semaphore: that needs `Acquire` and `Release`.
//!
//! 1. `take` exchanges the word with `Acquire`, and `give_back` with `Release`. They pair: a call that takes a slot
//!    sees what the call did that gave it back. Exchanges by other threads between the two do not break the pair,
//!    because an exchange continues a release sequence. If either were `Relaxed`, the next call could read what was
//!    there before the last call.
//! 2. `begin_update` sets `HELD` with `Acquire`, under the lock. It pairs with the `Release` of `give_back`: the core
//!    may hand out, or count as free, a slot that came back through the word.
//! 3. `publish` stores the word with `Release`, under the lock, and pairs with the `Acquire` of `take`. A store,
//!    unlike an exchange, ends the release sequences of step 1. Together with step 2 it carries them on: `give_back`,
//!    `begin_update`, `publish`, `take`. If it were `Relaxed`, a slot that came back before the update would be taken
//!    without its call's effects.
//! 4. `publish` may be a plain store, because no one else writes the word between `begin_update` and `publish`:
//!    `take` and `give_back` write nothing while they see `HELD`, and others that have something to update wait for
//!    the lock. If someone wrote in between, the store would undo that, and a slot would be lost or taken twice.
//! 5. No wake-up is lost. A `give_back` comes before `begin_update` in the order of the word's changes, or after it.
//!    If it comes before, `begin_update` returns the slot as free, and the call that wants to wait takes it. If it
//!    comes after, its exchange fails, it sees `HELD`, and gives the slot back through the core, whose lock it gets
//!    after the waiter has joined the queue.
//! 6. A slot that the core grants is handed over under the lock: the lock orders the two calls.
//! 7. `count` loads with `Acquire`: whoever sees in a snapshot that a slot is free sees what its last call did.
//!
//! The load before an exchange is `Relaxed`. What it saw is used only if the exchange finds the same, or to reject a
//! call, or to take the lock.
//!
//! The models in `loom.rs` fail if an ordering of step 1, 2 or 3 is `Relaxed`.

use crate::sync::{AtomicU64, Ordering};

const HELD: u64 = 1;

/// What came of an attempt to take a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Slot,
    /// No slot is free, and no one waits.
    Full,
    /// The word is held: the core has to decide.
    Held,
}

/// The count of free slots. It is below zero while more calls run than a lowered `max_concurrent` allows.
#[derive(Debug)]
pub(super) struct FreeSlots(AtomicU64);

fn word(free: i64, held: bool) -> u64 {
    (free << 1) as u64 | u64::from(held)
}

fn count(word: u64) -> i64 {
    word as i64 >> 1
}

impl FreeSlots {
    pub(super) fn new(free: i64) -> Self {
        Self(AtomicU64::new(word(free, false)))
    }

    pub(super) fn count(&self) -> i64 {
        count(self.0.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn take(&self) -> Taken {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            if seen & HELD != 0 {
                return Taken::Held;
            }
            if count(seen) <= 0 {
                return Taken::Full;
            }
            match self.0.compare_exchange_weak(seen, seen - word(1, false), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Taken::Slot,
                Err(now) => seen = now,
            }
        }
    }

    /// Whether the slot is given back. If not, the word is held, and the slot has to be given back to the core.
    #[inline]
    pub(super) fn give_back(&self) -> bool {
        let mut seen = self.0.load(Ordering::Relaxed);
        while seen & HELD == 0 {
            let more = seen.wrapping_add(word(1, false));
            match self.0.compare_exchange_weak(seen, more, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Only for the thread that has the lock. From here on no other thread changes the count, until it is published.
    pub(super) fn begin_update(&self) -> i64 {
        count(self.0.fetch_or(HELD, Ordering::Acquire))
    }

    /// Ends the update: the count from here on, and whether the word stays held.
    pub(super) fn publish(&self, free: i64, held: bool) {
        self.0.store(word(free, held), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_taken_until_none_is_free() {
        let free = FreeSlots::new(2);
        assert_eq!([(); 3].map(|()| free.take()), [Taken::Slot, Taken::Slot, Taken::Full]);
        assert!(free.give_back());
        assert_eq!((free.count(), free.take(), free.count()), (1, Taken::Slot, 0));
    }

    #[test]
    fn while_the_word_is_held_no_other_thread_changes_it() {
        let free = FreeSlots::new(1);
        assert_eq!(free.begin_update(), 1);
        assert_eq!((free.take(), free.give_back(), free.count()), (Taken::Held, false, 1));
        free.publish(5, false);
        assert_eq!((free.take(), free.give_back(), free.count()), (Taken::Slot, true, 5));
    }

    #[test]
    fn a_limit_below_the_calls_that_run_makes_the_count_negative() {
        let free = FreeSlots::new(0);
        free.publish(-2, false);
        assert_eq!((free.take(), free.count()), (Taken::Full, -2));
        assert!(free.give_back() && free.give_back() && free.give_back());
        assert_eq!((free.count(), free.take()), (1, Taken::Slot));
    }
}
