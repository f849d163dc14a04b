//! Sliding windows over outcomes: how many calls they hold, and how many of these are hits.
//!
//! A hit is an outcome that the rule counts: a failure for the failure rate, a slow call for the slow-call rate. Every
//! other outcome is a miss.
//!
//! A window of calls holds the last N outcomes, which leave one by one. A window of time holds the outcomes of the last
//! span. It cuts time into slices of a tenth of the span, counted from when the window was made. The outcomes of a
//! slice leave together, one span after the slice has ended. So an outcome that is not older than the span always counts, and
//! one that is as old as the span and a slice, or older, never does.

use std::mem;

/// How many calls a window holds, and how many of them are hits.
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

    /// Takes in `count` misses, a word of bits at a time.
    pub(crate) fn push_misses(&mut self, count: u64) {
        // More than `size` misses leave the same window as `size` of them: only misses, wherever the next outcome goes.
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

/// Into how many slices the span of a time window is cut.
pub(crate) const SLICES: usize = 10;

/// How many slices a time window holds. The latest of them has only begun, so `SLICES` of them cover less than the
/// span: an outcome from the end of a slice would leave up to a slice too early.
const HELD_SLICES: usize = SLICES + 1;

/// The outcomes of the last `span`; the module says when each of them leaves.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    // Boxed, because a call touches one slice and all the other fields: these stay together.
    slices: Box<[Tally; HELD_SLICES]>,
    span: u64,
    origin: u64,
    /// The number of the latest slice, which outcomes go into.
    head: u64,
    /// When that slice ends: until then no outcome leaves.
    ends: u64,
    tally: Tally,
}

impl TimeWindow {
    /// `span` is at least one nanosecond for each slice.
    pub(crate) fn new(span: u64, now: u64) -> Self {
        let span = span.max(SLICES as u64);
        let ends = now.saturating_add(slice_start(1, span));
        Self { slices: Default::default(), span, origin: now, head: 0, ends, tally: Tally::default() }
    }

    #[inline]
    pub(crate) fn push(&mut self, hit: bool, now: u64) {
        self.advance(now);
        self.slices[slot_index(self.head)].add(hit);
        self.tally.add(hit);
    }

    /// Takes in `count` misses from before the latest slice ended.
    pub(crate) fn push_misses(&mut self, count: u64) {
        self.slices[slot_index(self.head)].calls += count;
        self.tally.calls += count;
    }

    pub(crate) fn tally(&mut self, now: u64) -> Tally {
        self.advance(now);
        self.tally
    }

    /// A thread that was overtaken on its way here brings an earlier time. Its outcome goes into the latest slice.
    fn advance(&mut self, now: u64) {
        if now >= self.ends {
            self.rotate(now);
        }
    }

    /// Begins the slice of `now`, which is not before the end of the latest. The slices that are too old leave.
    #[cold]
    fn rotate(&mut self, now: u64) {
        let head = slice_at(now.saturating_sub(self.origin), self.span);
        let begun = (head - self.head).min(HELD_SLICES as u64);
        for number in 1..=begun {
            let old = mem::take(&mut self.slices[slot_index(self.head + number)]);
            self.tally.take_away(old);
        }
        self.head = head;
        self.ends = self.origin.saturating_add(slice_start(u128::from(head) + 1, self.span));
    }
}

// A slice is exactly a tenth of the span, which need not be whole nanoseconds. If it were rounded down, the slices held
// would not cover the span; if it were rounded up, an outcome could stay too long. The products need more than 64 bits.

/// The number of the slice at `elapsed`. `span` is at least `SLICES`, so the number is at most `elapsed`.
fn slice_at(elapsed: u64, span: u64) -> u64 {
    (u128::from(elapsed) * SLICES as u128 / u128::from(span)) as u64
}

/// The first whole nanosecond of slice `number`; if the clock cannot count so far, the last that it can.
fn slice_start(number: u128, span: u64) -> u64 {
    u64::try_from((number * u128::from(span)).div_ceil(SLICES as u128)).unwrap_or(u64::MAX)
}

fn slot_index(slice: u64) -> usize {
    (slice % HELD_SLICES as u64) as usize
}

/// A window of either kind.
#[derive(Debug)]
pub(crate) enum SlidingWindow {
    Count(CountWindow),
    Time(TimeWindow),
}

impl SlidingWindow {
    #[inline]
    pub(crate) fn push(&mut self, hit: bool, now: u64) {
        match self {
            Self::Count(window) => window.push(hit),
            Self::Time(window) => window.push(hit, now),
        }
    }

    /// Takes in `count` misses from before its next expiry.
    pub(crate) fn push_misses(&mut self, count: u64) {
        match self {
            Self::Count(window) => window.push_misses(count),
            Self::Time(window) => window.push_misses(count),
        }
    }

    /// The time until which no outcome leaves by its age. From then on it must be told the time of each outcome.
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

    /// Whether one more miss changes nothing. A time window is never calm, because its outcomes leave.
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
        fn many_misses_are_as_many_pushes(
            size in 1_u32..300,
            steps in prop::collection::vec((0_u64..400, any::<bool>()), 0..20),
        ) {
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
        fn a_time_window_holds_the_latest_slice_and_the_ten_before_it(
            span in spans(),
            origin in 0_u64..1000,
            steps in prop::collection::vec((steps(), any::<bool>()), 0..200),
        ) {
            let mut window = TimeWindow::new(span, origin);
            let (mut model, mut now) = (Vec::new(), origin);
            for (step, hit) in steps {
                now += step.of(span);
                window.push(hit, now);
                model.push((now, hit));
                if hit {
                    window.push_misses(2);
                    model.extend([(now, false); 2]);
                }
                let slice = |at: u64| u128::from(at - origin) * 10 / u128::from(span);
                let held = |(at, _): &&(u64, bool)| slice(now) - slice(*at) <= 10;
                let tally = window.tally(now);
                prop_assert_eq!(tally, of(model.iter().filter(held).map(|(_, hit)| *hit)));
                let young = of(model.iter().filter(|(at, _)| now - at < span).map(|(_, hit)| *hit));
                let old = of(model.iter().filter(|(at, _)| is_a_slice_older(now - at, span)).map(|(_, hit)| *hit));
                let all = of(model.iter().map(|(_, hit)| *hit));
                prop_assert!(young.calls <= tally.calls && tally.calls <= all.calls - old.calls);
                prop_assert!(young.hits <= tally.hits && tally.hits <= all.hits - old.hits);
            }
        }

        #[test]
        fn an_outcome_younger_than_the_span_counts_and_one_older_than_the_span_and_a_slice_does_not(
            span in prop_oneof![spans(), wide().prop_map(|span| span.max(10))],
            origin in wide(),
            idle in wide(),
            age in any::<u64>(),
        ) {
            let at = origin.saturating_add(idle);
            let mut window = TimeWindow::new(span, origin);
            window.push(true, at);
            prop_assert_eq!(window.tally(at.saturating_add(age % span)).calls, 1, "younger than the span");
            prop_assert_eq!(window.tally(at.saturating_add(span - 1)).calls, 1, "a tick younger than the span");
            let Some(too_old) = span.checked_add(span / 10 + 1) else { return Ok(()) };
            prop_assert!(is_a_slice_older(too_old, span) && !is_a_slice_older(too_old - 1, span));
            let Some(out) = at.checked_add(too_old) else { return Ok(()) };
            prop_assert_eq!(window.tally(out).calls, 0, "older than the span and a slice");
        }
    }

    /// Numbers of any length in bits, up to the last.
    fn wide() -> impl Strategy<Value = u64> {
        prop_oneof![9 => (any::<u64>(), 0..u64::BITS).prop_map(|(bits, shift)| bits >> shift), 1 => Just(u64::MAX)]
    }

    /// Older than the span and a tenth of it.
    fn is_a_slice_older(age: u64, span: u64) -> bool {
        u128::from(age) * 10 > u128::from(span) * 11
    }

    /// Most of them do not divide by ten.
    fn spans() -> impl Strategy<Value = u64> {
        prop_oneof![10_u64..100, 100_u64..10_000]
    }

    /// How far the clock moves: some nanoseconds, or some hundredths of the span.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Nanos(u64),
        Hundredths(u64),
    }

    impl Step {
        fn of(self, span: u64) -> u64 {
            match self {
                Self::Nanos(nanos) => nanos,
                Self::Hundredths(hundredths) => span * hundredths / 100,
            }
        }
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![(0_u64..3).prop_map(Step::Nanos), (0_u64..150).prop_map(Step::Hundredths)]
    }

    #[test]
    fn a_slice_leaves_a_span_after_it_has_ended() {
        // A slice of 10, of 1, and of 1.9 nanoseconds: with the last, the third slice begins at 3.8 and ends at 5.7.
        for (span, at, leaves) in [
            (100, 0, 110),
            (100, 9, 110),
            (100, 10, 120),
            (100, 55, 160),
            (100, 99, 200),
            (10, 0, 11),
            (10, 3, 14),
            (19, 0, 21),
            (19, 1, 21),
            (19, 3, 23),
            (19, 4, 25),
            (19, 5, 25),
            (19, 18, 38),
        ] {
            let mut window = TimeWindow::new(span, 7);
            window.push(true, 7 + at);
            assert_eq!(window.tally(7 + leaves - 1).calls, 1, "{span}, pushed at {at}");
            assert_eq!(window.tally(7 + leaves).calls, 0, "{span}, pushed at {at}");
        }
    }

    #[test]
    fn a_window_of_time_expires_when_a_slice_has_ended_and_one_of_calls_never() {
        let mut window = SlidingWindow::Time(TimeWindow::new(100, 7));
        assert_eq!(window.next_expiry(), 17);
        window.push(true, 35);
        assert_eq!(window.next_expiry(), 37);
        let mut window = SlidingWindow::Time(TimeWindow::new(19, 7));
        assert_eq!(window.next_expiry(), 9, "a slice of 1.9 ns ends before its second whole nanosecond");
        window.push(true, 12);
        assert_eq!(window.next_expiry(), 13);
        assert_eq!(SlidingWindow::Count(CountWindow::new(5)).next_expiry(), u64::MAX);
    }

    #[test]
    fn a_time_window_survives_any_leap() {
        let mut window = TimeWindow::new(u64::MAX, 0);
        window.push(true, 5);
        assert_eq!(window.tally(u64::MAX / 2).calls, 1);
        assert_eq!(window.tally(u64::MAX).calls, 1);
        let mut window = TimeWindow::new(u64::MAX, u64::MAX);
        window.push(true, u64::MAX);
        assert_eq!(window.tally(u64::MAX).calls, 1);
        let mut window = TimeWindow::new(1, 0);
        window.push(true, 5);
        window.push(true, u64::MAX);
        assert_eq!(window.tally(u64::MAX).calls, 1);
        window.push(false, 3);
        assert_eq!(window.tally(u64::MAX), Tally { calls: 2, hits: 1 });
    }
}
