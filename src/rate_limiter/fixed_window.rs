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

    /// How long until so many permits have come, if each window is used up, and the next one starts at its end.
    /// `limit` is not zero.
    pub(super) fn wait(self, limit: u32, period: u64, now: u64, cost: u64) -> u64 {
        let later = cost.saturating_sub(u64::from(self.available(limit, now)));
        let windows = later.div_ceil(u64::from(limit));
        match self.has_passed(now) {
            _ if windows == 0 => 0,
            true => windows.saturating_mul(period),
            false => (self.ends_at - now).saturating_add((windows - 1).saturating_mul(period)),
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
        assert_eq!([1, 2, 4, 5].map(|cost| window.wait(3, 60, 130, cost)), [0, 30, 30, 90]);
        assert_eq!([3, 4, 7].map(|cost| window.wait(3, 60, 160, cost)), [0, 60, 120]);
    }

    #[test]
    fn l5_it_is_packed_in_62_bits() {
        let last = Window { number: NUMBER_MASK, count: u32::MAX, ends_at: 7 };
        assert_eq!((last.pack() >> 62, Window::unpack(last.pack(), 7)), (0, last));
        assert_eq!(last.next(8, 1).number, 0);
    }
}
