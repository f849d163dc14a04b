//! The fixed window, as plain arithmetic: so many permits until a moment, then the count begins anew.
//!
//! A window starts with the first call after the window before has passed, and not at a full minute.

/// The number of a window is kept in so many bits.
const NUMBER_MASK: u32 = u32::MAX >> 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// Tells windows apart.
    number: u32,
    /// How many permits of it are taken.
    count: u32,
    pub(super) ends_at: u64,
}

impl Window {
    /// From its packed form, and the moment that is kept apart.
    #[inline]
    pub(super) fn unpack(packed: u64, ends_at: u64) -> Self {
        Self { number: (packed >> 32) as u32, count: packed as u32, ends_at }
    }

    /// Its number and count. The two highest bits are zero.
    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.count)
    }

    #[inline]
    pub(super) fn has_passed(self, now: u64) -> bool {
        now >= self.ends_at
    }

    /// Takes so many permits of a window that has not passed, if it has so many left.
    #[inline]
    pub(super) fn take(mut self, limit: u32, cost: u32) -> Option<Self> {
        self.count = self.count.checked_add(cost)?;
        (self.count <= limit).then_some(self)
    }

    /// The next window, from which nothing is taken.
    pub(super) fn next(self, now: u64, period: u64) -> Self {
        Self { number: self.number.wrapping_add(1) & NUMBER_MASK, count: 0, ends_at: now + period }
    }

    pub(super) fn available(self, limit: u32, now: u64) -> u32 {
        if self.has_passed(now) { limit } else { limit.saturating_sub(self.count) }
    }

    /// Where a line of calls begins that take their permits one after the other, from `now` on.
    pub(super) fn line(self, now: u64) -> Line {
        Line { windows: 0, used: if self.has_passed(now) { 0 } else { self.count } }
    }

    /// How long until the last of the line takes its permits, if each next window starts at the end of the one before.
    pub(super) fn wait(self, line: Line, period: u64, now: u64) -> u64 {
        match line.windows.checked_sub(1) {
            None => 0,
            Some(whole) if self.has_passed(now) => (whole + 1).saturating_mul(period),
            Some(whole) => (self.ends_at - now).saturating_add(whole.saturating_mul(period)),
        }
    }
}

/// Where a line of calls ends.
///
/// A call takes all of its permits from one window. If too few are left, they stay, for no one overtakes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// So many windows behind the first.
    windows: u64,
    /// How many permits of that window are taken.
    used: u32,
}

impl Line {
    /// With one more call at its end. Its cost is at most the limit.
    pub(super) fn with(self, limit: u32, cost: u32) -> Self {
        match self.used.checked_add(cost) {
            Some(used) if used <= limit => Self { used, ..self },
            _ => Self { windows: self.windows + 1, used: cost },
        }
    }

    /// With so many more calls of one permit each. `limit` is not zero.
    pub(super) fn with_ones(self, limit: u32, calls: u64) -> Self {
        let later = calls.saturating_sub(u64::from(limit.saturating_sub(self.used)));
        match later.checked_sub(1) {
            // They fit, so they are fewer than the limit.
            None => Self { used: self.used + calls as u32, ..self },
            Some(before) => {
                let limit = u64::from(limit);
                Self { windows: self.windows + before / limit + 1, used: (before % limit + 1) as u32 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l5_a_window_gives_its_permits_and_the_next_begins_when_it_has_passed() {
        let window = Window::default();
        assert!(window.has_passed(100), "the first window starts with the first call");
        let window = window.next(100, 60);
        let full = window.take(3, 2).and_then(|window| window.take(3, 1)).expect("three");
        assert_eq!((full.take(3, 1), full.available(3, 159), full.available(3, 160)), (None, 0, 3));
        assert_eq!((full.has_passed(159), full.has_passed(160)), (false, true));
        assert_eq!(window.take(u32::MAX, u32::MAX).and_then(|full| full.take(u32::MAX, 1)), None, "it does not wrap");
    }

    #[test]
    fn l5_the_wait_counts_the_windows_that_are_ahead() {
        let window = Window::default().next(100, 60).take(3, 2).expect("two of three");
        let wait = |now, cost| window.wait(window.line(now).with_ones(3, cost), 60, now);
        assert_eq!([1, 2, 4, 5].map(|cost| wait(130, cost)), [0, 30, 30, 90]);
        assert_eq!([3, 4, 7].map(|cost| wait(160, cost)), [0, 60, 120]);
    }

    #[test]
    fn l6_a_call_that_does_not_fit_waits_for_the_next_window() {
        let window = Window::default().next(100, 60).take(3, 3).expect("all of it");
        let line = window.line(100).with(3, 2);
        assert_eq!(window.wait(line, 60, 100), 60);
        assert_eq!([1, 2].map(|cost| window.wait(line.with(3, 2).with(3, cost), 60, 100)), [120, 180]);
        let lowered = window.line(100).with(2, 1);
        assert_eq!(lowered, Line { windows: 1, used: 1 }, "more is taken than a lower limit allows");
    }

    #[test]
    fn l6_calls_of_one_permit_are_counted_as_one_by_one() {
        for (limit, used, calls) in (1..5)
            .flat_map(|limit| (0..7).map(move |used| (limit, used)))
            .flat_map(|(limit, used)| (0..20).map(move |calls| (limit, used, calls)))
        {
            let line = Line { windows: 7, used };
            let one_by_one = (0..calls).fold(line, |line, _| line.with(limit, 1));
            assert_eq!(line.with_ones(limit, calls), one_by_one, "{calls} calls, {used} of {limit} used");
        }
    }

    #[test]
    fn l5_it_is_packed_in_62_bits() {
        let last = Window { number: NUMBER_MASK, count: u32::MAX, ends_at: 7 };
        assert_eq!((last.pack() >> 62, Window::unpack(last.pack(), 7)), (0, last));
        assert_eq!(last.next(8, 1).number, 0);
    }
}
