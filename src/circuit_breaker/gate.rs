//! The word in front of the lock: what a call needs to know of the core, in one load, and the successes that the core has
//! yet to be told of.
//!
//! ```text
//! bits 63..11   10..3    2           1   0
//! generation           tally    is tallied  0   is calm     passing
//! until (63..2, ns)                  1   0           open
//! 0                                  1   1           half-open: ask the core
//! ```
//!
//! A success opens nothing. So it is enough that the core is told of it before it judges the next failure, or tells what it
//! holds; until then it is counted here. Whoever has the core's lock *holds* the word first: where successes are tallied, that
//! takes the tally, and leaves a word that is neither calm nor tallied, so that whoever succeeds now queues for the lock too. From
//! there until the word is shown again no one else writes it.

use crate::sync::{AtomicU64, Ordering};

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Calls pass.
    Passing { generation: u64, successes: Successes },
    /// Calls are rejected until then.
    Open { until: u64 },
    /// Who may pass is for the core to say.
    HalfOpen,
}

/// What becomes of a success that is not slow, while calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successes {
    /// Nothing: it would change nothing.
    Ignored,
    /// It is counted in the word, until this moment.
    Tallied { until: u64 },
    /// The core is told of it at once.
    Heard,
}

const CALM: u64 = 0b01;
const NOT_PASSING: u64 = 0b10;
const OPEN: u64 = NOT_PASSING;
const HALF_OPEN: u64 = NOT_PASSING | 0b01;

const TALLIED: u64 = 1 << 2;
/// One success.
const ONE: u64 = 1 << 3;
/// So many successes find room in the word. The one after them takes the lock.
const MOST: u64 = 255;
const TALLY: u64 = MOST * ONE;
/// The generation begins right above the tally.
const GENERATION_SHIFT: u32 = (TALLY + ONE).trailing_zeros();

/// In what role a call was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Call { generation: u64 },
    Probe { number: u64 },
}

/// How a call was let in: in the word's own form, so that one comparison tells whether the circuit is calm for it.
///
/// A probe's has the low bits of a half-open circuit, and more above them than the word of one ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass(u64);

impl Pass {
    /// No call has it.
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) fn of(admission: Admission) -> Self {
        Self(match admission {
            Admission::Call { generation } => generation << GENERATION_SHIFT,
            Admission::Probe { number } => (number + 1) << 2 | HALF_OPEN,
        })
    }

    pub(super) fn admission(self) -> Admission {
        match self.0 & NOT_PASSING {
            0 => Admission::Call { generation: self.0 >> GENERATION_SHIFT },
            _ => Admission::Probe { number: (self.0 >> 2) - 1 },
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    word: AtomicU64,
    /// Until when a success may be tallied.
    ///
    /// Whoever tallies reads it between a look at the word and the exchange that succeeds only if the word is the same again. So
    /// it belongs to that word, or, if the word was held and shown as it was, to the same generation a while ago: in which it only
    /// grows, and too early a moment costs no more than a look under the lock. It cannot be a later one: that is stored after
    /// the word is held, and who holds it has seen every exchange before.
    tallied_until: AtomicU64,
}

impl Gate {
    pub(super) fn new(view: View) -> Self {
        let gate = Self { word: AtomicU64::new(0), tallied_until: AtomicU64::new(0) };
        gate.publish(view);
        gate
    }

    pub(super) fn view(&self) -> View {
        let word = self.word.load(Ordering::Acquire);
        match word & 0b11 {
            OPEN => View::Open { until: word >> 2 },
            HALF_OPEN => View::HalfOpen,
            _ => View::Passing { generation: word >> GENERATION_SHIFT, successes: self.successes(word) },
        }
    }

    fn successes(&self, word: u64) -> Successes {
        match word & (CALM | TALLIED) {
            CALM => Successes::Ignored,
            TALLIED => Successes::Tallied { until: self.tallied_until.load(Ordering::Relaxed) },
            _ => Successes::Heard,
        }
    }

    /// Lets a call pass, if all may.
    #[inline]
    pub(super) fn pass(&self) -> Option<Pass> {
        let word = self.word.load(Ordering::Acquire);
        (word & NOT_PASSING == 0).then_some(Pass(word >> GENERATION_SHIFT << GENERATION_SHIFT))
    }

    /// Whether a success of this call, if it is not slow, would change nothing now.
    #[inline]
    pub(super) fn is_calm_for(&self, pass: Pass) -> bool {
        self.word.load(Ordering::Acquire) == pass.0 | CALM
    }

    /// Counts a success of this call at this moment, if it may be counted here.
    #[inline]
    pub(super) fn tally(&self, pass: Pass, now: u64) -> bool {
        let mut seen = self.word.load(Ordering::Acquire);
        // All but the tally must agree: calls pass, in the same generation, and are tallied.
        while seen & !TALLY == pass.0 | TALLIED && seen & TALLY != TALLY {
            if now >= self.tallied_until.load(Ordering::Relaxed) {
                return false;
            }
            match self.word.compare_exchange_weak(seen, seen + ONE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }

    /// For whoever has the core's lock: takes the tally. No one else writes the word, until it is shown again.
    pub(super) fn begin_update(&self) -> u64 {
        // Where none is tallied no one else writes it anyway, and it is cheaper to look.
        let seen = self.word.load(Ordering::Relaxed);
        if seen & (NOT_PASSING | TALLIED) != TALLIED {
            return 0;
        }
        let held = self.word.swap(seen & !(TALLIED | TALLY), Ordering::AcqRel);
        (held & TALLY) / ONE
    }

    /// For whoever holds it. A word that stays the same is not written: other threads keep it in their caches.
    pub(super) fn publish(&self, view: View) {
        let word = match view {
            View::Passing { generation, successes: Successes::Ignored } => generation << GENERATION_SHIFT | CALM,
            View::Passing { generation, successes: Successes::Heard } => generation << GENERATION_SHIFT,
            View::Passing { generation, successes: Successes::Tallied { until } } => {
                self.tallied_until.store(until, Ordering::Relaxed);
                generation << GENERATION_SHIFT | TALLIED
            }
            View::Open { until } => until << 2 | OPEN,
            View::HalfOpen => HALF_OPEN,
        };
        if self.word.load(Ordering::Relaxed) != word {
            self.word.store(word, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FOREVER;

    const LAST_GENERATION: u64 = u64::MAX >> GENERATION_SHIFT;
    const FOR_LONG: Successes = Successes::Tallied { until: FOREVER };
    const OF_EVERY_KIND: [Successes; 3] = [Successes::Ignored, FOR_LONG, Successes::Heard];

    fn passing(generation: u64, successes: Successes) -> View {
        View::Passing { generation, successes }
    }

    #[test]
    fn every_view_survives_the_word() {
        let passing = [0, 1, LAST_GENERATION]
            .into_iter()
            .flat_map(|generation| OF_EVERY_KIND.map(|kind| passing(generation, kind)));
        let open = [0, 12_345, FOREVER].map(|until| View::Open { until });
        for view in passing.chain(open).chain([View::HalfOpen]) {
            let gate = Gate::new(View::HalfOpen);
            gate.publish(view);
            assert_eq!(gate.view(), view);
        }
    }

    #[test]
    fn a_pass_is_good_in_its_own_generation_alone() {
        let gate = Gate::new(passing(7, Successes::Ignored));
        let pass = gate.pass().expect("all may pass");
        assert_eq!(
            (pass, pass.admission()),
            (Pass::of(Admission::Call { generation: 7 }), Admission::Call { generation: 7 })
        );
        assert!(gate.is_calm_for(pass) && !gate.tally(pass, 0));
        gate.publish(passing(7, FOR_LONG));
        assert!(gate.tally(pass, 0) && !gate.is_calm_for(pass));
        assert_eq!(gate.pass(), Some(pass), "whatever the tally");
        let open = [7, FOREVER].map(|until| View::Open { until });
        let others = [passing(7, Successes::Heard), passing(9, Successes::Ignored), passing(9, FOR_LONG)];
        for view in others.into_iter().chain(open).chain([View::HalfOpen]) {
            gate.publish(view);
            assert!(!gate.is_calm_for(pass) && !gate.tally(pass, 0), "{view:?}");
            assert_eq!(gate.pass().is_some(), matches!(view, View::Passing { .. }));
        }
    }

    #[test]
    fn a_probe_is_counted_by_the_core_alone() {
        // Whose passes come near the words of a circuit that is open until about then, or passes in about that generation.
        let numbers = [0, 1, 2, 6, 7, 8, 511, 512, 2048, 2049, LAST_GENERATION, FOREVER - 2];
        let probes = numbers.map(|number| Pass::of(Admission::Probe { number }));
        assert_eq!(probes.map(Pass::admission), numbers.map(|number| Admission::Probe { number }));
        let near = numbers.into_iter().flat_map(|number| [number, number + 1]);
        let open = near.clone().map(|until| View::Open { until });
        let generations = near.filter(|generation| *generation <= LAST_GENERATION);
        let passing = generations.flat_map(|generation| OF_EVERY_KIND.map(|successes| passing(generation, successes)));
        for view in open.chain(passing).chain([View::HalfOpen]) {
            // Successes were tallied before, so that the time they were tallied until rejects no one.
            let gate = Gate::new(View::Passing { generation: 0, successes: FOR_LONG });
            gate.publish(view);
            for pass in probes.iter().chain([&Pass::NONE]) {
                assert!(!gate.is_calm_for(*pass) && !gate.tally(*pass, 0), "{pass:?} at {view:?}");
            }
            assert_eq!((gate.view(), gate.begin_update()), (view, 0));
        }
    }

    #[test]
    fn who_holds_it_gets_what_was_tallied_and_no_more_is_until_it_is_shown() {
        let gate = Gate::new(passing(7, Successes::Tallied { until: 100 }));
        let pass = gate.pass().expect("all may pass");
        assert!(gate.tally(pass, 0) && gate.tally(pass, 99));
        assert!(!gate.tally(pass, 100), "by then the core has to let go of something");
        assert_eq!(gate.begin_update(), 2);
        assert!(!gate.tally(pass, 0));
        assert_eq!((gate.begin_update(), gate.pass()), (0, Some(pass)), "taken once, and calls pass on");
        gate.publish(passing(7, FOR_LONG));
        assert!(gate.tally(pass, 100));
        assert_eq!(gate.begin_update(), 1);
    }

    #[test]
    fn a_full_tally_is_for_the_core_to_take() {
        let gate = Gate::new(passing(LAST_GENERATION, FOR_LONG));
        let pass = gate.pass().expect("all may pass");
        assert!((0..MOST).all(|_| gate.tally(pass, 0)));
        assert!(!gate.tally(pass, 0), "it does not run over into the generation");
        assert_eq!((gate.pass(), gate.begin_update()), (Some(pass), MOST));
    }
}
