//! The word in front of the lock: what a call needs to know of the core, in one load, and the successes that the core has
//! yet to be told of.
//!
//! ```text
//! bits 63..11   10..3    2           1   0
//! era           tally    is tallied  0   is calm     passing
//! until (63..2, ns)                  1   0           open
//! 0                                  1   1           half-open: ask the core
//! ```
//!
//! A success opens nothing. So it is enough that the core is told of it before it judges the next failure, or tells what it
//! holds; until then it is counted here. Whoever has the core's lock *holds* the word first, and takes the tally; from
//! there until the word is shown again no one else writes it.

use crate::sync::{AtomicU64, Ordering};

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Calls pass.
    Passing { era: u64 },
    /// Calls are refused until then.
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
    /// The core is told of it.
    Heard,
}

const CALM: u64 = 0b01;
const NOT_PASSING: u64 = 0b10;
const OPEN: u64 = NOT_PASSING;
const HALF_OPEN: u64 = NOT_PASSING | 0b01;

const TALLIED: u64 = 1 << 2;
const ONE: u64 = 1 << 3;
/// So many successes find room in the word. One in so many takes the lock.
const MOST: u64 = 255;
const TALLY: u64 = MOST * ONE;
/// Where the era begins: right above the tally.
const ERA: u32 = (TALLY + ONE).trailing_zeros();

/// In what role a call was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Call { era: u64 },
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
            Admission::Call { era } => era << ERA,
            Admission::Probe { number } => (number + 1) << 2 | HALF_OPEN,
        })
    }

    pub(super) fn admission(self) -> Admission {
        match self.0 & NOT_PASSING {
            0 => Admission::Call { era: self.0 >> ERA },
            _ => Admission::Probe { number: (self.0 >> 2) - 1 },
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    word: AtomicU64,
    /// Until when a success may be tallied.
    tallied_until: AtomicU64,
}

impl Gate {
    pub(super) fn new(view: View, successes: Successes) -> Self {
        let gate = Self { word: AtomicU64::new(0), tallied_until: AtomicU64::new(0) };
        gate.show(view, successes);
        gate
    }

    pub(super) fn view(&self) -> View {
        let word = self.word.load(Ordering::Acquire);
        match word & 0b11 {
            OPEN => View::Open { until: word >> 2 },
            HALF_OPEN => View::HalfOpen,
            _ => View::Passing { era: word >> ERA },
        }
    }

    /// Lets a call pass, if all may.
    #[inline]
    pub(super) fn pass(&self) -> Option<Pass> {
        let word = self.word.load(Ordering::Acquire);
        (word & NOT_PASSING == 0).then_some(Pass(word >> ERA << ERA))
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
        // Nothing is above the era, and a probe's pass is no word of a circuit that passes.
        while seen & !TALLY == pass.0 | TALLIED && seen & TALLY != TALLY {
            if now >= self.tallied_until.load(Ordering::Relaxed) {
                return false;
            }
            match self.word.compare_exchange_weak(seen, seen + ONE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// For whoever has the core's lock: takes the tally. No one else writes the word, until it is shown again.
    pub(super) fn hold(&self) -> u64 {
        // Where none is tallied no one else writes it anyway, and it is cheaper to look.
        let seen = self.word.load(Ordering::Relaxed);
        if seen & (NOT_PASSING | TALLIED) != TALLIED {
            return 0;
        }
        let held = self.word.swap(seen & !(TALLIED | TALLY), Ordering::AcqRel);
        (held & TALLY) / ONE
    }

    /// For whoever holds it. A word that stays the same is not written: other threads keep it in their caches.
    pub(super) fn show(&self, view: View, successes: Successes) {
        let word = match (view, successes) {
            (View::Passing { era }, Successes::Ignored) => era << ERA | CALM,
            (View::Passing { era }, Successes::Heard) => era << ERA,
            (View::Passing { era }, Successes::Tallied { until }) => {
                self.tallied_until.store(until, Ordering::Relaxed);
                era << ERA | TALLIED
            }
            (View::Open { until }, _) => until << 2 | OPEN,
            (View::HalfOpen, _) => HALF_OPEN,
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

    const LAST_ERA: u64 = u64::MAX >> ERA;
    const TALLIED_FOR_LONG: Successes = Successes::Tallied { until: FOREVER };

    fn gate(era: u64, successes: Successes) -> Gate {
        Gate::new(View::Passing { era }, successes)
    }

    #[test]
    fn every_view_survives_the_word() {
        for successes in [Successes::Ignored, TALLIED_FOR_LONG, Successes::Heard] {
            let passing = [0, 1, LAST_ERA].map(|era| View::Passing { era });
            let open = [0, 12_345, FOREVER].map(|until| View::Open { until });
            for view in passing.into_iter().chain(open).chain([View::HalfOpen]) {
                let gate = Gate::new(View::HalfOpen, Successes::Heard);
                gate.show(view, successes);
                assert_eq!(gate.view(), view);
            }
        }
    }

    #[test]
    fn a_pass_is_good_in_its_own_era_alone() {
        let gate = gate(7, Successes::Ignored);
        let pass = gate.pass().expect("all may pass");
        assert_eq!((pass, pass.admission()), (Pass::of(Admission::Call { era: 7 }), Admission::Call { era: 7 }));
        assert!(gate.is_calm_for(pass) && !gate.tally(pass, 0));
        gate.show(View::Passing { era: 7 }, TALLIED_FOR_LONG);
        assert!(gate.tally(pass, 0) && !gate.is_calm_for(pass));
        assert_eq!(gate.pass(), Some(pass), "whatever the tally");
        let others = [
            (View::Passing { era: 7 }, Successes::Heard),
            (View::Passing { era: 9 }, Successes::Ignored),
            (View::Passing { era: 9 }, TALLIED_FOR_LONG),
            (View::Open { until: 7 }, Successes::Heard),
            (View::Open { until: FOREVER }, Successes::Heard),
            (View::HalfOpen, Successes::Heard),
        ];
        for (view, successes) in others {
            gate.show(view, successes);
            assert!(!gate.is_calm_for(pass) && !gate.tally(pass, 0), "{view:?}");
            assert_eq!(gate.pass().is_some(), matches!(view, View::Passing { .. }));
        }
    }

    #[test]
    fn a_probe_is_counted_by_the_core_alone() {
        // Of every form that a word takes, about where a probe's number could be mistaken for an era, a tally, or a moment.
        let numbers = [0, 1, 2, 6, 7, 8, 511, 512, 2048, 2049, LAST_ERA, FOREVER - 2];
        let probes = numbers.map(|number| Pass::of(Admission::Probe { number }));
        assert_eq!(probes.map(Pass::admission), numbers.map(|number| Admission::Probe { number }));
        let moments = numbers.into_iter().flat_map(|number| [number, number + 1]);
        let open = moments.clone().map(|until| (View::Open { until }, Successes::Heard));
        let eras = moments.filter(|era| *era <= LAST_ERA);
        let passing = eras.flat_map(|era| {
            let successes = [Successes::Ignored, TALLIED_FOR_LONG, Successes::Heard];
            successes.map(|successes| (View::Passing { era }, successes))
        });
        for (view, successes) in open.chain(passing).chain([(View::HalfOpen, Successes::Heard)]) {
            // Until when successes were tallied does not save it.
            let gate = gate(0, TALLIED_FOR_LONG);
            gate.show(view, successes);
            for pass in probes.iter().chain([&Pass::NONE]) {
                assert!(!gate.is_calm_for(*pass) && !gate.tally(*pass, 0), "{pass:?} at {view:?}, {successes:?}");
            }
            assert_eq!((gate.view(), gate.hold()), (view, 0));
        }
    }

    #[test]
    fn who_holds_it_gets_what_was_tallied_and_no_more_is_until_it_is_shown() {
        let gate = gate(7, Successes::Tallied { until: 100 });
        let pass = gate.pass().expect("all may pass");
        assert!(gate.tally(pass, 0) && gate.tally(pass, 99));
        assert!(!gate.tally(pass, 100), "by then the core has to let go of something");
        assert_eq!(gate.hold(), 2);
        assert!(!gate.tally(pass, 0));
        assert_eq!((gate.hold(), gate.pass()), (0, Some(pass)), "taken once, and calls pass on");
        gate.show(View::Passing { era: 7 }, TALLIED_FOR_LONG);
        assert!(gate.tally(pass, 100));
        assert_eq!(gate.hold(), 1);
    }

    #[test]
    fn a_full_tally_is_for_the_core_to_take() {
        let gate = gate(LAST_ERA, TALLIED_FOR_LONG);
        let pass = gate.pass().expect("all may pass");
        assert!((0..MOST).all(|_| gate.tally(pass, 0)));
        assert!(!gate.tally(pass, 0), "it does not run over into the era");
        assert_eq!((gate.pass(), gate.hold()), (Some(pass), MOST));
    }
}
