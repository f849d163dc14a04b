//! Sliding windows over outcomes: how many calls, and how many of them were hits (failures, or slow calls).

use std::mem;

/// How many calls a window holds, and how many of them were hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) hits: u64,
}

impl Tally {
    fn add(&mut self, hit: bool) {
        self.calls += 1;
        self.hits += u64::from(hit);
    }

    fn take_away(&mut self, old: Self) {
        self.calls -= old.calls;
        self.hits -= old.hits;
    }
}

/// The last `size` outcomes, a bit each: a new one takes the place of the oldest.
#[derive(Debug)]
pub(crate) struct CountWindow {
    hits: Box<[u64]>,
    size: u32,
    next: u32,
    tally: Tally,
}

impl CountWindow {
    pub(crate) fn new(size: u32) -> Self {
        let words = size.div_ceil(u64::BITS) as usize;
        Self { hits: vec![0; words].into(), size, next: 0, tally: Tally::default() }
    }

    #[inline]
    pub(crate) fn push(&mut self, hit: bool) {
        let was_full = self.is_full();
        let word = &mut self.hits[(self.next / u64::BITS) as usize];
        let bit = 1 << (self.next % u64::BITS);
        if was_full {
            self.tally.take_away(Tally { calls: 1, hits: u64::from(*word & bit != 0) });
        }
        self.tally.add(hit);
        *word = if hit { *word | bit } else { *word & !bit };
        self.next = if self.next + 1 == self.size { 0 } else { self.next + 1 };
    }

    /// So many that were no hits, a word of bits at a time.
    pub(crate) fn push_misses(&mut self, count: u64) {
        // With as many as it holds, it does not matter any more where the next one goes.
        let mut left = u32::try_from(count).unwrap_or(u32::MAX).min(self.size);
        while left > 0 {
            let bit = self.next % u64::BITS;
            let run = left.min(u64::BITS - bit).min(self.size - self.next);
            let misses = (u64::MAX >> (u64::BITS - run)) << bit;
            let word = &mut self.hits[(self.next / u64::BITS) as usize];
            self.tally.hits -= u64::from((*word & misses).count_ones());
            *word &= !misses;
            self.next = if self.next + run == self.size { 0 } else { self.next + run };
            left -= run;
        }
        self.tally.calls = self.tally.calls.saturating_add(count).min(u64::from(self.size));
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Full, and without a hit: one more call that is none changes nothing.
    pub(crate) fn is_calm(&self) -> bool {
        self.is_full() && self.tally.hits == 0
    }

    fn is_full(&self) -> bool {
        self.tally.calls == u64::from(self.size)
    }
}

/// Into how many slices a time window is cut.
pub(crate) const SLICES: usize = 10;

/// The outcomes of the last while, in slices counted from when the window was made: the oldest slice leaves as a whole, the
/// moment its first possible outcome has the window's age.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    // CachePadded from the rest, which every call needs: so that stays small.
    slices: Box<[Tally; SLICES]>,
    slice: u64,
    origin: u64,
    /// The number of the slice that outcomes go into now.
    head: u64,
    /// When that slice ends: until then nothing is too old.
    ends: u64,
    tally: Tally,
}

impl TimeWindow {
    /// `span` is at least one nanosecond for each slice.
    pub(crate) fn new(span: u64, now: u64) -> Self {
        let slice = (span / SLICES as u64).max(1);
        let ends = now.saturating_add(slice);
        Self { slices: Default::default(), slice, origin: now, head: 0, ends, tally: Tally::default() }
    }

    #[inline]
    pub(crate) fn push(&mut self, hit: bool, now: u64) {
        self.advance(now);
        self.slices[place(self.head)].add(hit);
        self.tally.add(hit);
    }

    /// So many that were no hits, while the slice that outcomes go into had not ended.
    pub(crate) fn push_misses(&mut self, count: u64) {
        self.slices[place(self.head)].calls += count;
        self.tally.calls += count;
    }

    pub(crate) fn tally(&mut self, now: u64) -> Tally {
        self.advance(now);
        self.tally
    }

    fn advance(&mut self, now: u64) {
        if now >= self.ends {
            self.turn(now);
        }
    }

    /// Lets go of what is too old. A time before the last one, from a thread that was overtaken, never comes here.
    #[cold]
    fn turn(&mut self, now: u64) {
        let head = now.saturating_sub(self.origin) / self.slice;
        let ended = head.saturating_sub(self.head).min(SLICES as u64);
        for number in 1..=ended {
            let old = mem::take(&mut self.slices[place(self.head + number)]);
            self.tally.take_away(old);
        }
        self.head = self.head.max(head);
        self.ends = head.saturating_add(1).saturating_mul(self.slice).saturating_add(self.origin);
    }
}

fn place(number: u64) -> usize {
    (number % SLICES as u64) as usize
}

/// Either kind of window.
#[derive(Debug)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    #[inline]
    pub(crate) fn push(&mut self, hit: bool, now: u64) {
        match self {
            Self::Count(window) => window.push(hit),
            Self::Time(window) => window.push(hit, now),
        }
    }

    /// So many that were no hits, before it lets go of anything.
    pub(crate) fn push_misses(&mut self, count: u64) {
        match self {
            Self::Count(window) => window.push_misses(count),
            Self::Time(window) => window.push_misses(count),
        }
    }

    /// The moment from which on it has to be told the time.
    pub(crate) fn next_expiry(&self) -> u64 {
        match self {
            Self::Count(_) => u64::MAX,
            Self::Time(window) => window.ends,
        }
    }

    pub(crate) fn tally(&mut self, now: u64) -> Tally {
        match self {
            Self::Count(window) => window.tally(),
            Self::Time(window) => window.tally(now),
        }
    }

    /// Whether one more call that is no hit changes nothing. A time window is never calm: it forgets.
    pub(crate) fn is_calm(&self) -> bool {
        match self {
            Self::Count(window) => window.is_calm(),
            Self::Time(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn of(hits: impl Iterator<Item = bool>) -> Tally {
        hits.fold(Tally::default(), |mut tally, hit| {
            tally.add(hit);
            tally
        })
    }

    proptest! {
        #[test]
        fn a_count_window_holds_the_last_outcomes(size in 1_u32..200, hits: Vec<bool>) {
            let mut window = CountWindow::new(size);
            let mut model = VecDeque::new();
            for hit in hits {
                window.push(hit);
                model.push_back(hit);
                if model.len() > size as usize {
                    model.pop_front();
                }
                prop_assert_eq!(window.tally(), of(model.iter().copied()));
                let calm = model.len() == size as usize && !model.contains(&true);
                prop_assert_eq!(window.is_calm(), calm);
            }
        }

        #[test]
        fn many_misses_are_as_many_pushes(size in 1_u32..300, steps in prop::collection::vec((0_u64..400, any::<bool>()), 0..20)) {
            let (mut one, mut other) = (CountWindow::new(size), CountWindow::new(size));
            for (misses, hit) in steps {
                (0..misses).for_each(|_| one.push(false));
                other.push_misses(misses);
                for window in [&mut one, &mut other] {
                    window.push(hit);
                }
                prop_assert_eq!((one.tally(), one.is_calm()), (other.tally(), other.is_calm()));
            }
            for _ in 0..size {
                one.push(false);
                other.push(false);
                prop_assert_eq!(one.tally(), other.tally(), "each outcome leaves in its turn");
            }
        }

        #[test]
        fn a_time_window_holds_the_last_ten_slices(
            slice in 1_u64..50,
            origin in 0_u64..1000,
            steps in prop::collection::vec((0_u64..200, any::<bool>()), 0..200),
        ) {
            let mut window = TimeWindow::new(slice * SLICES as u64, origin);
            let (mut model, mut now) = (Vec::new(), origin);
            for (step, hit) in steps {
                now += step;
                window.push(hit, now);
                model.push((now, hit));
                if hit {
                    window.push_misses(2);
                    model.extend([(now, false); 2]);
                }
                let head = (now - origin) / slice;
                let held = model.iter().filter(|(at, _)| head - (at - origin) / slice < SLICES as u64);
                prop_assert_eq!(window.tally(now), of(held.map(|(_, hit)| *hit)));
            }
        }
    }

    #[test]
    fn an_outcome_aged_exactly_the_window_is_out() {
        for at in [0, 1, 9, 10, 55, 99] {
            let mut window = TimeWindow::new(100, 0);
            window.push(true, at);
            assert_eq!(window.tally(at + 90 - at % 10).calls, 1, "pushed at {at}");
            assert_eq!(window.tally(at + 100).calls, 0, "pushed at {at}");
        }
    }

    #[test]
    fn a_window_of_time_lets_go_when_a_slice_has_ended_and_one_of_calls_whatever_the_time() {
        let mut window = Window::Time(TimeWindow::new(100, 7));
        assert_eq!(window.next_expiry(), 17);
        window.push(true, 35);
        assert_eq!(window.next_expiry(), 37);
        assert_eq!(Window::Count(CountWindow::new(5)).next_expiry(), u64::MAX);
    }

    #[test]
    fn a_time_window_survives_any_leap() {
        let mut window = TimeWindow::new(u64::MAX, 0);
        window.push(true, 5);
        assert_eq!(window.tally(u64::MAX / 2).calls, 1);
        let mut window = TimeWindow::new(1, 0);
        window.push(true, 5);
        window.push(true, u64::MAX);
        assert_eq!(window.tally(u64::MAX).calls, 1);
        window.push(false, 3);
        assert_eq!(window.tally(u64::MAX), Tally { calls: 2, hits: 1 });
    }
}
