//! The generic cell rate algorithm (GCRA) of ITU-T I.371, as plain arithmetic.
//!
//! All that it remembers is one moment, the *theoretical arrival time* (TAT): when the limiter will be full again.
//! Each permit moves it on by one interval. What lies between now and that moment is the debt. A call is admitted if
//! the debt with its permits in it is at most `burst` intervals.

use super::gate::MOST_USED;

/// The longest debt there may be, in nanoseconds: 36 years.
pub(super) const LONGEST_DEBT: u64 = MOST_USED >> 2;

/// The latest moment that is told apart from others: 64 years after the limiter was made. So a moment and a debt fit
/// the word together.
pub(super) const LATEST: u64 = MOST_USED >> 1;

/// How fast permits come, and how many of them are kept for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Nanoseconds from one permit to the next. They are rounded up, so that permits never come faster than asked. In
    /// a fixed window, which has nothing else from here but the burst, those from one window to the next.
    pub(super) interval: u64,
    /// Zero admits nothing.
    pub(super) burst: u32,
}

impl Pace {
    /// The debt at which nothing is left.
    #[inline]
    pub(super) fn longest_debt(self) -> u64 {
        // The two are read one after the other, so that a call may see one from before a change and one from after
        // it. Therefore their product may be one that the settings would not allow.
        self.interval.saturating_mul(u64::from(self.burst)).min(LONGEST_DEBT)
    }

    #[inline]
    fn debt(self, tat: u64, now: u64, cost: u64) -> u64 {
        tat.saturating_sub(now).saturating_add(self.interval.saturating_mul(cost))
    }

    /// Takes so many permits: the new TAT, or how long they are still to come. It knows nothing of a cost above the
    /// burst, which would never be admitted.
    #[inline]
    pub(super) fn take(self, tat: u64, now: u64, cost: u32) -> Result<u64, u64> {
        match self.wait(tat, now, u64::from(cost)) {
            0 => Ok(now + self.debt(tat, now, u64::from(cost))),
            wait => Err(wait),
        }
    }

    /// How long until so many permits have come, one call after the other.
    #[inline]
    pub(super) fn wait(self, tat: u64, now: u64, cost: u64) -> u64 {
        self.debt(tat, now, cost).saturating_sub(self.longest_debt())
    }

    pub(super) fn available(self, tat: u64, now: u64) -> u32 {
        let left = self.longest_debt().saturating_sub(tat.saturating_sub(now));
        u32::try_from(left / self.interval).unwrap_or(u32::MAX)
    }

    /// How long until one permit more is there than now. Zero if all are there.
    pub(super) fn next_permit_in(self, tat: u64, now: u64) -> u64 {
        match tat.saturating_sub(now) {
            0 => 0,
            debt if debt > self.longest_debt() => debt - self.longest_debt() + self.interval,
            debt => (debt - 1) % self.interval + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { interval: 10, burst: 3 };

    #[test]
    fn l1_a_burst_and_then_one_for_each_interval() {
        let mut tat = 0;
        for _ in 0..3 {
            tat = PACE.take(tat, 1000, 1).expect("of the burst");
        }
        assert_eq!((tat, PACE.take(tat, 1000, 1)), (1030, Err(10)));
        assert_eq!((PACE.take(tat, 1009, 1), PACE.take(tat, 1010, 1)), (Err(1), Ok(1040)));
    }

    #[test]
    fn l2_one_that_was_idle_has_its_burst_and_no_more() {
        let tat = PACE.take(0, 1_000_000, 3).expect("the burst");
        assert_eq!(PACE.take(tat, 1_000_000, 1), Err(10));
    }

    #[test]
    fn l1_available_permits_are_those_that_can_be_taken() {
        for debt in 0..=35 {
            let tat = 1000 + debt;
            let available = PACE.available(tat, 1000);
            assert!(PACE.take(tat, 1000, available).is_ok() || available == 0, "debt {debt}");
            assert!(PACE.take(tat, 1000, available + 1).is_err(), "debt {debt}");
            let next = PACE.next_permit_in(tat, 1000);
            if debt > 0 {
                let [before, then] = [next - 1, next].map(|wait| PACE.available(tat, 1000 + wait));
                assert_eq!((before, then), (available, available + 1), "debt {debt}");
            }
        }
    }

    #[test]
    fn g4_the_largest_numbers_do_not_overflow() {
        let slow = Pace { interval: LONGEST_DEBT, burst: 1 };
        let tat = slow.take(LATEST, LATEST, 1).expect("it is free");
        assert!(tat == LATEST + LONGEST_DEBT && tat <= MOST_USED, "it fits the word");
        assert_eq!(slow.take(tat, LATEST, 1), Err(LONGEST_DEBT));
        // As a call may see them while they change.
        let mixed = Pace { interval: LONGEST_DEBT, burst: u32::MAX };
        assert!(mixed.take(0, LATEST, 1).expect("it is free") <= MOST_USED);
        assert!(mixed.wait(u64::MAX, 0, u64::MAX) > 0);
    }
}
