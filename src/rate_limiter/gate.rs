//! What is used of the limit: one atomic word in front of the locked core. While no one waits, a call takes its
//! permits by one exchange of this word, without the lock.
//!
//! ```text
//! bits 63..2                                     1         0
//! TAT (`gcra.rs`), or window (`fixed_window.rs`) version   held
//! ```
//!
//! While the word is held, only the thread that has the core's lock changes it. It stays held while the queue is not
//! empty. So a newcomer then goes through the core, and never overtakes a call that waits. The version changes when
//! the limit changes.
//!
//! # Memory ordering
//!
//! A permit protects nothing: what one call does need not be seen by the next. This is left to prove.
//!
//! 1. **No permit is given twice.** `take` exchanges the word that it has decided by, and all changes happen to this
//!    one word. For that no ordering is needed, only atomicity.
//! 2. **A call decides by settings that belong to the word.** The lock holder stores them (`Relaxed`: the interval,
//!    limit and burst, the end of a window), and then `publish` stores the word with `Release`. `take` loads the word
//!    with `Acquire`, also where its exchange fails, and then the settings. So it reads those that were published with
//!    that word, or later ones. If they are later ones, the word has changed since, and the exchange fails: a new limit
//!    has another version, and a new window another number. (Two changes of the limit while a call is between its load
//!    and its exchange, with no permit taken meanwhile, make the same word again. Then one permit may be taken by a
//!    limit that was in force when the call began.)
//! 3. `publish` may be a plain store, because no one else writes the word between `begin_update` and `publish`: `take`
//!    writes nothing while it sees `HELD`, and others that have something to update wait for the lock.
//! 4. **No permit is taken by settings of the future.** By 2 an exchange that comes *after* `begin_update` fails if the
//!    settings have changed. One that comes *before* it must not have read what the lock holder stores behind it. The
//!    Release half of the exchange and the Acquire half of `begin_update` forbid this: `begin_update` reads what the
//!    exchange wrote, or what further exchanges made of it, so the loads before the exchange happen before the stores
//!    behind `begin_update`, and a load cannot read a store that happens after it. If either half were Relaxed, the
//!    processor could let the loads read the later stores ("load buffering"), and a call would decide by parts of two
//!    limits.
//! 5. The core is ordered by its lock.
//!
//! The models in `loom.rs` fail if `take` does not look for `HELD`, if a new limit has no new version, and if `publish`
//! is `Relaxed`. They cannot check 4: loom does not make loads read later stores. The argument above is the only proof
//! of it.

use crate::sync::{AtomicU64, Ordering};

const HELD: u64 = 0b01;
const VERSION: u64 = 0b10;
/// What is used begins right above the two.
const SHIFT: u32 = 2;

/// The most that may be used: it fits above the two bits.
pub(super) const MOST_USED: u64 = u64::MAX >> SHIFT;

/// What came of an attempt to take permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken<R> {
    Permit,
    Refused(R),
    /// The word is held: the core has to decide.
    Held,
}

#[derive(Debug)]
pub(super) struct Gate(AtomicU64);

impl Gate {
    pub(super) fn new(used: u64) -> Self {
        Self(AtomicU64::new(used << SHIFT))
    }

    pub(super) fn used(&self) -> u64 {
        self.0.load(Ordering::Acquire) >> SHIFT
    }

    /// Replaces what is used by what `decide` makes of it.
    #[inline]
    pub(super) fn take<R>(&self, decide: impl Fn(u64) -> Result<u64, R>) -> Taken<R> {
        let mut seen = self.0.load(Ordering::Acquire);
        loop {
            if seen & HELD != 0 {
                return Taken::Held;
            }
            let used = match decide(seen >> SHIFT) {
                Ok(used) => used,
                Err(refusal) => return Taken::Refused(refusal),
            };
            match self.0.compare_exchange_weak(
                seen,
                used << SHIFT | seen & VERSION,
                Ordering::Release,
                Ordering::Acquire,
            ) {
                Ok(_) => return Taken::Permit,
                Err(now) => seen = now,
            }
        }
    }

    /// Only for the thread that has the lock. From here on no other thread takes permits, until it is published.
    pub(super) fn begin_update(&self) -> u64 {
        self.0.fetch_or(HELD, Ordering::Acquire) >> SHIFT
    }

    /// Only between `begin_update` and `publish`: what is published is of another limit.
    pub(super) fn change_version(&self) {
        self.0.fetch_xor(VERSION, Ordering::Relaxed);
    }

    /// Ends the update: what is used from here on, and whether the word stays held.
    pub(super) fn publish(&self, used: u64, held: bool) {
        let version = self.0.load(Ordering::Relaxed) & VERSION;
        self.0.store(used << SHIFT | version | u64::from(held), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_one_of(gate: &Gate, limit: u64) -> Taken<u64> {
        gate.take(|used| if used < limit { Ok(used + 1) } else { Err(used) })
    }

    #[test]
    fn permits_are_taken_until_none_is_left() {
        let gate = Gate::new(0);
        let taken = [(); 3].map(|()| take_one_of(&gate, 2));
        assert_eq!(taken, [Taken::Permit, Taken::Permit, Taken::Refused(2)]);
    }

    #[test]
    fn while_the_word_is_held_no_other_thread_changes_it() {
        let gate = Gate::new(MOST_USED);
        assert_eq!(gate.begin_update(), MOST_USED);
        assert_eq!((take_one_of(&gate, u64::MAX), gate.used()), (Taken::Held, MOST_USED));
        gate.publish(5, true);
        assert_eq!(take_one_of(&gate, 9), Taken::Held);
        gate.publish(5, false);
        assert_eq!((take_one_of(&gate, 9), gate.used()), (Taken::Permit, 6));
    }

    #[test]
    fn a_version_stays_until_it_is_changed() {
        let gate = Gate::new(3);
        let word = || gate.0.load(Ordering::Relaxed);
        gate.begin_update();
        gate.change_version();
        gate.publish(3, false);
        assert_eq!((word(), gate.used()), (3 << SHIFT | VERSION, 3));
        assert_eq!((take_one_of(&gate, 9), word()), (Taken::Permit, 4 << SHIFT | VERSION));
        gate.publish(gate.begin_update(), false);
        assert_eq!(word(), 4 << SHIFT | VERSION);
    }
}
