//! The word in front of the lock: what a call needs to know of the core, in one load.
//!
//! ```text
//! bits 63..2     bit 1      bit 0
//! era            0          calm        passing
//! until (ns)     1          1           open
//! 0              1          0           half-open: ask the core
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
const OPEN: u64 = 0b11;

impl View {
    fn encode(self) -> u64 {
        match self {
            Self::Passing { era, calm } => era << 2 | u64::from(calm),
            Self::Open { until } => until << 2 | OPEN,
            Self::HalfOpen => NOT_PASSING,
        }
    }

    fn decode(word: u64) -> Self {
        match word & 0b11 {
            OPEN => Self::Open { until: word >> 2 },
            NOT_PASSING => Self::HalfOpen,
            calm => Self::Passing { era: word >> 2, calm: calm == CALM },
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
}
