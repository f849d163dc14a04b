//! The word in front of the lock: what a call needs to know of the core, in one load.
//!
//! ```text
//! bits 63..2     bit 1      bit 0
//! era            0          calm        passing
//! until (ns)     1          0           open
//! 0              1          1           half-open: ask the core
//! ```
//!
//! Only who holds the core's lock writes it, so the two never disagree for longer than the lock is held.

use crate::sync::{AtomicU64, Ordering};

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Calls pass. `calm`: a success that is not slow would change nothing now.
    Passing { era: u64, calm: bool },
    /// Calls are refused until then.
    Open { until: u64 },
    /// Who may pass is for the core to say.
    HalfOpen,
}

const CALM: u64 = 0b01;
const NOT_PASSING: u64 = 0b10;
const OPEN: u64 = NOT_PASSING;
const HALF_OPEN: u64 = NOT_PASSING | 0b01;

impl View {
    fn encode(self) -> u64 {
        match self {
            Self::Passing { era, calm } => era << 2 | u64::from(calm),
            Self::Open { until } => until << 2 | OPEN,
            Self::HalfOpen => HALF_OPEN,
        }
    }

    fn decode(word: u64) -> Self {
        match word & 0b11 {
            OPEN => Self::Open { until: word >> 2 },
            HALF_OPEN => Self::HalfOpen,
            calm => Self::Passing { era: word >> 2, calm: calm == CALM },
        }
    }
}

/// In what role a call was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Call { era: u64 },
    Probe { number: u64 },
}

/// How a call was let in: in the word's own form, so that one comparison tells whether the circuit is calm for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pass(u64);

impl Pass {
    /// No call has it.
    pub(super) const NONE: Self = Self(u64::MAX << 2 | CALM);

    pub(super) fn of(admission: Admission) -> Self {
        Self(match admission {
            Admission::Call { era } => era << 2,
            // From one on, for with CALM in it, it must be no word that the gate ever shows.
            Admission::Probe { number } => (number + 1) << 2 | NOT_PASSING,
        })
    }

    pub(super) fn admission(self) -> Admission {
        match self.0 & NOT_PASSING {
            0 => Admission::Call { era: self.0 >> 2 },
            _ => Admission::Probe { number: (self.0 >> 2) - 1 },
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate(AtomicU64);

impl Gate {
    pub(super) fn new(view: View) -> Self {
        Self(AtomicU64::new(view.encode()))
    }

    pub(super) fn view(&self) -> View {
        View::decode(self.0.load(Ordering::Acquire))
    }

    /// Lets a call pass, if all may.
    #[inline]
    pub(super) fn pass(&self) -> Option<Pass> {
        let word = self.0.load(Ordering::Acquire);
        (word & NOT_PASSING == 0).then_some(Pass(word & !CALM))
    }

    /// Whether a success of this call, if it is not slow, would change nothing now.
    #[inline]
    pub(super) fn is_calm_for(&self, pass: Pass) -> bool {
        self.0.load(Ordering::Acquire) == pass.0 | CALM
    }

    /// Shows another view. A word that stays the same is not written: other threads keep it in their caches.
    pub(super) fn show(&self, view: View) {
        let word = view.encode();
        if self.0.load(Ordering::Relaxed) != word {
            self.0.store(word, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FOREVER;

    #[test]
    fn every_view_survives_the_word() {
        let views = [
            View::Passing { era: 0, calm: false },
            View::Passing { era: 1, calm: true },
            View::Passing { era: u64::MAX >> 2, calm: true },
            View::Open { until: 0 },
            View::Open { until: 12_345 },
            View::Open { until: FOREVER },
            View::HalfOpen,
        ];
        for view in views {
            let gate = Gate::new(View::HalfOpen);
            gate.show(view);
            assert_eq!(gate.view(), view);
        }
    }

    #[test]
    fn a_pass_is_calm_in_its_own_era_alone() {
        let gate = Gate::new(View::Passing { era: 7, calm: true });
        let pass = gate.pass().expect("all may pass");
        assert_eq!((pass, pass.admission()), (Pass::of(Admission::Call { era: 7 }), Admission::Call { era: 7 }));
        assert!(gate.is_calm_for(pass));
        let probes = [0, 6, 7, 8].map(|number| Pass::of(Admission::Probe { number }));
        assert_eq!(probes[2].admission(), Admission::Probe { number: 7 });
        let is_calm_for_any = || probes.iter().chain([&Pass::NONE]).any(|pass| gate.is_calm_for(*pass));
        assert!(!is_calm_for_any());
        let others =
            [View::Passing { era: 7, calm: false }, View::Passing { era: 9, calm: true }, View::Open { until: 7 }];
        for view in others.into_iter().chain([View::Open { until: FOREVER }, View::HalfOpen]) {
            gate.show(view);
            assert!(!gate.is_calm_for(pass) && !is_calm_for_any(), "{view:?}");
            assert_eq!(gate.pass().is_some(), matches!(view, View::Passing { .. }));
        }
    }
}
