//! The gate: one atomic word in front of the core's lock. One load of it tells a call what it needs to know of the
//! core. It also counts successes that the core has yet to be told of: the tally.
//!
//! ```text
//! bits 63..12   11         10..3    2           1   0
//! generation    is timed   tally    is tallied  0   is calm     calls pass
//! until (63..2, ns)                             1   0           open
//! 0                                             1   1           half-open: ask the core
//! ```
//!
//! A success opens nothing. So it is enough that the core is told of it before it judges the next failure, or tells
//! what it holds; until then it is counted here. A thread that has the core's lock begins an update first: where
//! successes are tallied, it takes the tally and leaves a word that is neither calm nor tallied. So a thread that
//! succeeds meanwhile waits for the lock too. Until the word is published again, no other thread writes it.
//!
//! # Memory ordering
//!
//! The lock holder writes `tallied_until` and the word. A successful call, without the lock, adds
//! one to a word that says "is tallied". The core itself is read and written under its lock only.
//!
//! 1. **Each success is counted once.** [`Gate::tally`] adds by a compare-exchange, and [`Gate::begin_update`] takes by
//!    a swap. Both are read-modify-writes of one word, so no order between them loses or doubles a success. This needs
//!    no ordering, only atomicity. The exchange compares the generation and the "is tallied" bit too, so a success of
//!    an earlier generation is never added, and none is added during an update.
//! 2. **The look before the swap may be Relaxed.** In `begin_update` the lock holder looks whether the word is tallied.
//!    The lock orders this load after the last publication. Calls change the tally, but never the "is tallied" bit, so
//!    the answer is right. The look in [`Gate::publish`] is ordered in the same way.
//! 3. **A published moment is seen with its word.** `publish` stores `tallied_until` (Relaxed) and then the word
//!    (Release). `tally` loads the word (Acquire, also where the exchange fails) and then `tallied_until` (Relaxed). So
//!    it reads the moment that was published with that word, or a later one. Without this pair it could read an earlier
//!    moment. That would be safe, because moments only grow, but the success would take the lock for nothing.
//! 4. **No success is tallied by a moment of the future.** Suppose a slice has ended at 10, and a call succeeds at 12.
//!    It must not be added to the tally of the ended slice. It would be, if it read the *next* moment (20) and its
//!    exchange still came *before* the swap that takes the old tally. The Release half of the exchange and the Acquire
//!    half of the swap forbid this: the swap reads what the exchange wrote, or what was written after it, so the
//!    exchange happens before the swap, and so does the load of `tallied_until`, which precedes the exchange in its
//!    thread. The store of the next moment follows the swap in the lock holder's thread. So the load happens before
//!    that store, and a load cannot read a store that happens after it. If either half were Relaxed, the processor
//!    could let the load read the later store ("load buffering"), and the success would leave its window up to a slice
//!    too early.
//! 5. **A word that comes back is as good as one that stayed.** Between the load and the exchange of `tally`, an update
//!    may begin, end, and publish the same word again. The exchange then succeeds on the new word, with a moment that
//!    was read earlier. By 3 and 4 that moment is the new one or an earlier one of the same generation, and an earlier
//!    one is safe.
//! 6. **The other loads need no more than the word.** [`Gate::admit`], [`Gate::load`] and [`Gate::is_calm_for`] decide
//!    by the word alone, or then take the lock. Their Acquire makes what the publishing thread did before visible to
//!    the call that is admitted.
//!
//! 7. **New settings may bring the moment forward.** Only then is a later moment published before an earlier one. A
//!    success that read the later one may still be tallied, if its thread stood still between its load and its exchange
//!    while the settings were applied and the same word was published again. It is then counted in the slice in which
//!    they were applied: it may leave its window earlier, by as long as its thread stood still. Nothing is lost.
//! 8. **Whether calls are timed is for admissions only.** "Is timed" may change within a generation. The end of a call
//!    compares all but this bit: a call that began before is counted like the others.
//!
//! The models in `loom.rs` check 1, 2 and 5. They cannot check 4: loom does not make loads read later stores, so all
//! models pass even where every ordering is Relaxed. The argument above is the only proof of it.

use crate::sync::{AtomicU64, Ordering};

/// What the word says of the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GateState {
    /// Calls pass. Where they are timed, a rule asks when each of them began.
    Passing { generation: u64, is_timed: bool, successes: Successes },
    /// Calls are rejected until then.
    Open { until: u64 },
    /// The core decides which call passes.
    HalfOpen,
}

/// What becomes of a success that is not slow, while calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successes {
    /// Nothing: it would change nothing.
    Ignored,
    /// It is counted in the word, until this moment.
    Tallied { until: u64 },
    /// The core records it at once.
    Recorded,
}

const CALM: u64 = 0b01;
const NOT_PASSING: u64 = 0b10;
const OPEN: u64 = NOT_PASSING;
const HALF_OPEN: u64 = NOT_PASSING | 0b01;

const TALLIED: u64 = 1 << 2;
/// One success in the tally.
const TALLY_UNIT: u64 = 1 << 3;
/// The most successes that the tally holds. The next one takes the lock.
const MAX_TALLY: u64 = 255;
const TALLY_MASK: u64 = MAX_TALLY * TALLY_UNIT;
/// Right above the tally.
const TIMED: u64 = TALLY_MASK + TALLY_UNIT;
const GENERATION_SHIFT: u32 = (TIMED << 1).trailing_zeros();

/// As what a call was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Call { generation: u64 },
    Probe { number: u64 },
}

/// An [`Admission`] in the form of the gate's word: one comparison tells whether the circuit is calm for this call.
///
/// That of a probe has the low bits of a half-open circuit, and above them a number that the word of such a circuit
/// never has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EncodedAdmission(u64);

impl EncodedAdmission {
    pub(super) fn encode(admission: Admission) -> Self {
        Self(match admission {
            Admission::Call { generation } => generation << GENERATION_SHIFT,
            Admission::Probe { number } => (number + 1) << 2 | HALF_OPEN,
        })
    }

    pub(super) fn decode(self) -> Admission {
        match self.0 & NOT_PASSING {
            0 => Admission::Call { generation: self.0 >> GENERATION_SHIFT },
            _ => Admission::Probe { number: (self.0 >> 2) - 1 },
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    word: AtomicU64,
    /// Until when a success may be tallied: then an outcome leaves a window, and the core has to know the time. These
    /// moments only grow, but where settings are applied. See "Memory ordering", 3, 4 and 7.
    tallied_until: AtomicU64,
}

impl Gate {
    pub(super) fn new(state: GateState) -> Self {
        let gate = Self { word: AtomicU64::new(0), tallied_until: AtomicU64::new(0) };
        gate.publish(state);
        gate
    }

    pub(super) fn load(&self) -> GateState {
        let word = self.word.load(Ordering::Acquire);
        match word & 0b11 {
            OPEN => GateState::Open { until: word >> 2 },
            HALF_OPEN => GateState::HalfOpen,
            _ => GateState::Passing {
                generation: word >> GENERATION_SHIFT,
                is_timed: word & TIMED != 0,
                successes: self.successes(word),
            },
        }
    }

    fn successes(&self, word: u64) -> Successes {
        match word & (CALM | TALLIED) {
            CALM => Successes::Ignored,
            TALLIED => Successes::Tallied { until: self.tallied_until.load(Ordering::Relaxed) },
            _ => Successes::Recorded,
        }
    }

    /// Whether calls pass.
    #[inline]
    pub(super) fn passes(&self) -> bool {
        self.word.load(Ordering::Acquire) & NOT_PASSING == 0
    }

    /// Admits a call, if calls pass and are not timed.
    #[inline]
    pub(super) fn admit(&self) -> Option<EncodedAdmission> {
        let word = self.word.load(Ordering::Acquire);
        (word & (NOT_PASSING | TIMED) == 0).then_some(EncodedAdmission(word >> GENERATION_SHIFT << GENERATION_SHIFT))
    }

    /// Whether a success of this call, if it is not slow, would change nothing now.
    #[inline]
    pub(super) fn is_calm_for(&self, admission: EncodedAdmission) -> bool {
        self.word.load(Ordering::Acquire) & !TIMED == admission.0 | CALM
    }

    /// Counts a success of this call at this moment, if it may be counted here. "Memory ordering", 1, 3, 4 and 5.
    #[inline]
    pub(super) fn tally(&self, admission: EncodedAdmission, now: u64) -> bool {
        let mut seen = self.word.load(Ordering::Acquire);
        // All but the tally must agree: calls pass, in the same generation, and are tallied.
        while seen & !(TALLY_MASK | TIMED) == admission.0 | TALLIED && seen & TALLY_MASK != TALLY_MASK {
            if now >= self.tallied_until.load(Ordering::Relaxed) {
                return false;
            }
            match self.word.compare_exchange_weak(seen, seen + TALLY_UNIT, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }

    /// For the thread that has the core's lock: takes the tally. No other thread writes the word until it is published.
    /// "Memory ordering", 2 and 4.
    pub(super) fn begin_update(&self) -> u64 {
        // A word that is not tallied is written by the lock holder only. A look is cheaper than a swap.
        let seen = self.word.load(Ordering::Relaxed);
        if seen & (NOT_PASSING | TALLIED) != TALLIED {
            return 0;
        }
        let taken = self.word.swap(seen & !(TALLIED | TALLY_MASK), Ordering::AcqRel);
        (taken & TALLY_MASK) / TALLY_UNIT
    }

    /// For the thread that has the core's lock. A word that stays the same is not written, so that other threads keep
    /// it in their caches.
    pub(super) fn publish(&self, state: GateState) {
        let word = match state {
            GateState::Passing { generation, is_timed, successes } => {
                let timed = if is_timed { TIMED } else { 0 };
                generation << GENERATION_SHIFT | timed | self.publish_successes(successes)
            }
            GateState::Open { until } => until << 2 | OPEN,
            GateState::HalfOpen => HALF_OPEN,
        };
        if self.word.load(Ordering::Relaxed) != word {
            self.word.store(word, Ordering::Release);
        }
    }

    fn publish_successes(&self, successes: Successes) -> u64 {
        match successes {
            Successes::Ignored => CALM,
            Successes::Recorded => 0,
            Successes::Tallied { until } => {
                self.tallied_until.store(until, Ordering::Relaxed);
                TALLIED
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FOREVER;

    const LAST_GENERATION: u64 = u64::MAX >> GENERATION_SHIFT;
    const FOR_LONG: Successes = Successes::Tallied { until: FOREVER };
    const OF_EVERY_KIND: [Successes; 3] = [Successes::Ignored, FOR_LONG, Successes::Recorded];

    fn passing(generation: u64, successes: Successes) -> GateState {
        GateState::Passing { generation, is_timed: false, successes }
    }

    fn timed(generation: u64, successes: Successes) -> GateState {
        GateState::Passing { generation, is_timed: true, successes }
    }

    #[test]
    fn every_state_survives_the_word() {
        let passing = [0, 1, LAST_GENERATION]
            .into_iter()
            .flat_map(|generation| OF_EVERY_KIND.map(|kind| [passing(generation, kind), timed(generation, kind)]))
            .flatten();
        let open = [0, 12_345, FOREVER].map(|until| GateState::Open { until });
        for state in passing.chain(open).chain([GateState::HalfOpen]) {
            let gate = Gate::new(GateState::HalfOpen);
            gate.publish(state);
            assert_eq!(gate.load(), state);
        }
    }

    #[test]
    fn an_admission_is_good_in_its_own_generation_alone() {
        let gate = Gate::new(passing(7, Successes::Ignored));
        let admission = gate.admit().expect("all may pass");
        assert_eq!(
            (admission, admission.decode()),
            (EncodedAdmission::encode(Admission::Call { generation: 7 }), Admission::Call { generation: 7 })
        );
        assert!(gate.is_calm_for(admission) && !gate.tally(admission, 0));
        gate.publish(passing(7, FOR_LONG));
        assert!(gate.tally(admission, 0) && !gate.is_calm_for(admission));
        assert_eq!(gate.admit(), Some(admission), "whatever the tally");
        let open = [7, FOREVER].map(|until| GateState::Open { until });
        let others = [passing(7, Successes::Recorded), passing(9, Successes::Ignored), passing(9, FOR_LONG)];
        for state in others.into_iter().chain(open).chain([GateState::HalfOpen]) {
            gate.publish(state);
            assert!(!gate.is_calm_for(admission) && !gate.tally(admission, 0), "{state:?}");
            assert_eq!(gate.admit().is_some(), matches!(state, GateState::Passing { .. }));
        }
    }

    #[test]
    fn c3_whether_calls_are_timed_changes_while_they_run() {
        for kind in [Successes::Ignored, FOR_LONG] {
            let gate = Gate::new(passing(7, kind));
            let admission = gate.admit().expect("all may pass");
            gate.publish(timed(7, kind));
            assert_eq!((gate.load(), gate.admit()), (timed(7, kind), None), "it has to be timed");
            let is_counted = [gate.is_calm_for(admission), gate.tally(admission, 0)];
            assert_eq!(
                is_counted,
                [kind == Successes::Ignored, kind == FOR_LONG],
                "those that began before are the same"
            );
            assert_eq!(gate.begin_update(), u64::from(kind == FOR_LONG));
            assert!(matches!(gate.load(), GateState::Passing { generation: 7, is_timed: true, .. }));
            gate.publish(passing(7, kind));
            assert_eq!(gate.admit(), Some(admission));
        }
    }

    #[test]
    fn a_probe_is_counted_by_the_core_alone() {
        // Whose passes come near the words of a circuit that is open until about then, or passes in about that
        // generation.
        let numbers = [0, 1, 2, 6, 7, 8, 511, 512, 2048, 2049, LAST_GENERATION, FOREVER - 2];
        let probes = numbers.map(|number| EncodedAdmission::encode(Admission::Probe { number }));
        assert_eq!(probes.map(EncodedAdmission::decode), numbers.map(|number| Admission::Probe { number }));
        let near = numbers.into_iter().flat_map(|number| [number, number + 1]);
        let open = near.clone().map(|until| GateState::Open { until });
        let generations = near.filter(|generation| *generation <= LAST_GENERATION);
        let pass = generations.flat_map(|generation| OF_EVERY_KIND.map(|successes| passing(generation, successes)));
        for state in open.chain(pass).chain([GateState::HalfOpen]) {
            // Successes were tallied before, so that the time they were tallied until rejects no one.
            let gate = Gate::new(passing(0, FOR_LONG));
            gate.publish(state);
            for admission in &probes {
                assert!(!gate.is_calm_for(*admission) && !gate.tally(*admission, 0), "{admission:?} at {state:?}");
            }
            assert_eq!((gate.load(), gate.begin_update()), (state, 0));
        }
    }

    #[test]
    fn begin_update_takes_the_tally_and_no_more_is_tallied_until_it_is_published() {
        let gate = Gate::new(passing(7, Successes::Tallied { until: 100 }));
        let admission = gate.admit().expect("all may pass");
        assert!(gate.tally(admission, 0) && gate.tally(admission, 99));
        assert!(!gate.tally(admission, 100), "by then the core has to let go of something");
        assert_eq!(gate.begin_update(), 2);
        assert!(!gate.tally(admission, 0));
        assert_eq!((gate.begin_update(), gate.admit()), (0, Some(admission)), "taken once, and calls pass on");
        gate.publish(passing(7, FOR_LONG));
        assert!(gate.tally(admission, 100));
        assert_eq!(gate.begin_update(), 1);
    }

    #[test]
    fn a_full_tally_is_for_the_core_to_take() {
        let gate = Gate::new(passing(LAST_GENERATION, FOR_LONG));
        let admission = gate.admit().expect("all may pass");
        assert!((0..MAX_TALLY).all(|_| gate.tally(admission, 0)));
        assert!(!gate.tally(admission, 0), "it does not run over into the generation");
        assert_eq!((gate.admit(), gate.begin_update()), (Some(admission), MAX_TALLY));
    }
}
