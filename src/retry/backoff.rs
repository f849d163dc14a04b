use std::{fmt, time::Duration};

use crate::{clock::nanos, error::BadSetting, random::Random};

/// How long to wait between tries: makes a sequence of delays for each call.
///
/// [`Exponential`], [`Constant`], or any closure that returns an iterator
/// ([`backoff_fn`](super::RetryBuilder::backoff_fn)). A sequence that ends, ends the retry.
pub trait Backoff {
    /// The delays between the tries of one call.
    type Delays: Iterator<Item = Duration>;

    /// Begins a sequence. What it draws by chance follows from `seed` alone; each call has another.
    fn delays(&self, seed: u64) -> Self::Delays;

    /// What is wrong with the settings. `build()` rejects them if there is anything.
    fn bad_settings(&self) -> Vec<BadSetting> {
        Vec::new()
    }
}

/// What chance does to a delay. None of them makes it longer, so a cap holds after jitter.
///
/// The formulas are those of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// Anything from zero to the delay: spreads callers best.
    #[default]
    Full,
    /// Anything from half the delay to the delay.
    Equal,
    /// Nothing.
    None,
}

impl Jitter {
    fn shorten(self, delay: u64, random: &mut Random) -> u64 {
        match self {
            Self::Full => random.up_to(delay),
            Self::Equal => delay - random.up_to(delay / 2),
            Self::None => delay,
        }
    }
}

/// Delays that grow by a factor up to a cap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    first: Duration,
    max: Duration,
    factor: f64,
    jitter: Jitter,
}

impl Exponential {
    /// From `first`, doubling up to `max`, with full jitter.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, factor: 2.0, jitter: Jitter::Full }
    }

    /// By what factor each delay is longer than the one before: at least 1.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// What chance does to each delay.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }
}

impl Backoff for Exponential {
    type Delays = Delays;

    fn delays(&self, seed: u64) -> Delays {
        let (first, max) = (nanos(self.first), nanos(self.max));
        Delays { next: first.min(max), max, factor: self.factor, jitter: self.jitter, random: Random::seeded(seed) }
    }

    fn bad_settings(&self) -> Vec<BadSetting> {
        let Self { first, max, factor, .. } = *self;
        let mut bad = Vec::new();
        if first.is_zero() {
            bad.push(BadSetting::new("backoff", "must begin above zero to grow; without delay, say `no_backoff`"));
        }
        if first > max {
            bad.push(BadSetting::new(
                "backoff",
                format!("must begin at its longest, {max:?}, or below, not at {first:?}"),
            ));
        }
        if !(factor.is_finite() && factor >= 1.0) {
            bad.push(BadSetting::new("backoff", format!("must grow by a factor of at least 1, not {factor}")));
        }
        bad
    }
}

/// The same delay each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    delay: Duration,
    jitter: Jitter,
}

impl Constant {
    /// Always `delay`, without jitter. Zero means no sleep at all.
    pub const fn new(delay: Duration) -> Self {
        Self { delay, jitter: Jitter::None }
    }

    /// What chance does to each delay.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }
}

impl Backoff for Constant {
    type Delays = Delays;

    fn delays(&self, seed: u64) -> Delays {
        let delay = nanos(self.delay);
        Delays { next: delay, max: delay, factor: 1.0, jitter: self.jitter, random: Random::seeded(seed) }
    }
}

/// The delays of an [`Exponential`] or a [`Constant`]. They never end.
#[derive(Clone, Debug)]
pub struct Delays {
    next: u64,
    max: u64,
    factor: f64,
    jitter: Jitter,
    random: Random,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.next;
        if delay < self.max {
            // The cast saturates, and the product is never below the delay but by rounding.
            self.next = ((delay as f64 * self.factor) as u64).clamp(delay, self.max);
        }
        Some(Duration::from_nanos(self.jitter.shorten(delay, &mut self.random)))
    }
}

/// Delays from a closure.
#[derive(Clone, Copy)]
pub struct BackoffFn<F>(pub(super) F);

impl<F, I> Backoff for BackoffFn<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item = Duration>,
{
    type Delays = I::IntoIter;

    fn delays(&self, _: u64) -> Self::Delays {
        (self.0)().into_iter()
    }
}

impl<F> fmt::Debug for BackoffFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackoffFn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take(backoff: &impl Backoff, seed: u64, count: usize) -> Vec<Duration> {
        backoff.delays(seed).take(count).collect()
    }

    #[test]
    fn exponential_doubles_up_to_its_cap() {
        let backoff = Exponential::new(SECOND, 5 * SECOND).jitter(Jitter::None);
        assert_eq!(take(&backoff, 0, 5), [1, 2, 4, 5, 5].map(|n| n * SECOND));
        assert_eq!(take(&backoff.factor(1.5), 0, 3), [1000, 1500, 2250].map(Duration::from_millis));
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let backoff = Exponential::new(SECOND, 60 * SECOND);
        assert_eq!(take(&backoff, 7, 10), take(&backoff, 7, 10));
        assert_ne!(take(&backoff, 7, 10), take(&backoff, 8, 10));
    }

    #[test]
    fn full_jitter_reaches_both_ends_and_equal_jitter_the_upper_half() {
        let ends = |jitter| {
            let delays = take(&Constant::new(100 * SECOND).jitter(jitter), 1, 2000);
            (delays.iter().min().unwrap().as_secs(), delays.iter().max().unwrap().as_secs())
        };
        assert_eq!(ends(Jitter::Full), (0, 99));
        assert_eq!(ends(Jitter::Equal), (50, 99));
        assert_eq!(ends(Jitter::None), (100, 100));
    }

    proptest! {
        #[test]
        fn no_settings_and_no_attempt_overflow_or_pass_the_cap(
            first: u64, max: u64, factor in 1.0_f64..1e308, seed: u64, jitter in 0..3,
        ) {
            let jitter = [Jitter::Full, Jitter::Equal, Jitter::None][jitter as usize];
            let max = Duration::from_nanos(max.max(first));
            let backoff = Exponential::new(Duration::from_nanos(first), max).factor(factor).jitter(jitter);
            let mut before = Duration::ZERO;
            for delay in backoff.delays(seed).take(200) {
                prop_assert!(delay <= max);
                if jitter == Jitter::None {
                    prop_assert!(delay >= before, "it wrapped");
                }
                before = delay;
            }
        }
    }

    #[test]
    fn one_that_begins_above_its_cap_begins_at_it_where_no_builder_rejects_it() {
        let backoff = Exponential::new(2 * SECOND, SECOND).jitter(Jitter::None);
        assert_eq!(take(&backoff, 0, 2), [SECOND; 2]);
    }

    #[test]
    fn the_longest_durations_there_are_work() {
        let delays = take(&Exponential::new(Duration::MAX, Duration::MAX).factor(f64::MAX).jitter(Jitter::None), 0, 3);
        assert!(delays.iter().all(|delay| *delay > Duration::from_secs(4_000_000_000)), "{delays:?}");
    }
}
