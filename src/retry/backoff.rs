//! How long to wait between attempts.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

#[cfg(feature = "serde")]
use crate::duration_text;
use crate::{
    clock::nanos,
    error::{BadSetting, Check},
    random::{self, Random},
};

/// How long to wait between the attempts of a call.
///
/// [`Exponential`], [`Linear`] and [`Constant`] are data; each of them is a `Backoff` by `From`. Any other sequence
/// comes from a closure ([`Backoff::from_fn`]).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Backoff {
    /// The same delay each time.
    Constant(Constant),
    /// Delays that grow by the same amount each time.
    Linear(Linear),
    /// Delays that grow by the same factor each time.
    Exponential(Exponential),
    /// Delays from a closure.
    Custom(BackoffFn),
}

impl Backoff {
    /// The shortest that the first delay may be. `None` where only a closure knows.
    pub(super) fn shortest_first_delay(&self) -> Option<Duration> {
        match self {
            Self::Constant(Constant { delay, jitter }) => Some(jitter.shortest(*delay)),
            Self::Linear(Linear { first, max, jitter }) | Self::Exponential(Exponential { first, max, jitter, .. }) => {
                Some(jitter.shortest(*first.min(max)))
            }
            Self::Custom(_) => None,
        }
    }

    /// Delays from a closure. The closure is called once for each call that fails, and begins the delays of that call.
    /// When they end, the retry ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use withstand::{retry::Backoff, RetryWithBackoff};
    ///
    /// fn squares() -> Backoff {
    ///     Backoff::from_fn(|| (1..).map(|n: u64| Duration::from_millis(n * n)))
    /// }
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let retry = RetryWithBackoff::builder("users").backoff(squares()).build()?;
    /// # Ok(()) }
    /// ```
    pub fn from_fn<F, I>(delays: F) -> Self
    where
        F: Fn() -> I + Send + Sync + 'static,
        I: IntoIterator<Item = Duration>,
        I::IntoIter: Send + Sync + 'static,
    {
        Self::from_seed_fn(move |_| delays())
    }

    /// [`from_fn`](Self::from_fn) for delays that are drawn at random: the closure is given a seed, another one for
    /// each call. With [`seed`](super::RetryBuilder::seed) the seeds are repeatable.
    pub fn from_seed_fn<F, I>(delays: F) -> Self
    where
        F: Fn(u64) -> I + Send + Sync + 'static,
        I: IntoIterator<Item = Duration>,
        I::IntoIter: Send + Sync + 'static,
    {
        Self::Custom(BackoffFn(Arc::new(move |seed| Box::new(delays(seed).into_iter()))))
    }

    /// The next delay of a call. The first one begins the sequence.
    pub(super) fn next_delay(&self, delays: &mut Delays) -> Option<Duration> {
        if let Delays::NotBegun { seed } = *delays {
            let seed = seed.unwrap_or_else(random::fresh_seed);
            *delays = Delays::Begun { sequence: self.begin(seed), random: Random::seeded(seed) };
        }
        match delays {
            Delays::Begun { sequence: Sequence::Computed { next }, random } => {
                let delay = *next;
                *next = self.after(delay);
                Some(Duration::from_nanos(self.jitter().shorten(delay, random)))
            }
            Delays::Begun { sequence: Sequence::Custom(delays), .. } => delays.next(),
            Delays::NotBegun { .. } => None,
        }
    }

    fn begin(&self, seed: u64) -> Sequence {
        match self {
            Self::Constant(Constant { delay, .. }) => Sequence::Computed { next: nanos(*delay) },
            Self::Linear(Linear { first, max, .. }) | Self::Exponential(Exponential { first, max, .. }) => {
                Sequence::Computed { next: nanos(*first.min(max)) }
            }
            Self::Custom(custom) => Sequence::Custom((custom.0)(seed)),
        }
    }

    /// How long the delay after this one is, before jitter.
    fn after(&self, delay: u64) -> u64 {
        let (longer, max) = match self {
            Self::Constant(_) | Self::Custom(_) => return delay,
            Self::Linear(Linear { first, max, .. }) => (delay.saturating_add(nanos(*first)), max),
            // The cast saturates. A product is below the delay only by rounding.
            Self::Exponential(Exponential { max, factor, .. }) => (((delay as f64 * factor) as u64).max(delay), max),
        };
        longer.min(nanos(*max))
    }

    fn jitter(&self) -> Jitter {
        match self {
            Self::Constant(Constant { jitter, .. })
            | Self::Linear(Linear { jitter, .. })
            | Self::Exponential(Exponential { jitter, .. }) => *jitter,
            Self::Custom(_) => Jitter::None,
        }
    }

    pub(super) fn check(&self, check: &mut Check) {
        match self {
            Self::Exponential(Exponential { first, max, factor, .. }) => {
                check.refuse_all(bad_range(*first, *max));
                let grows = factor.is_finite() && *factor >= 1.0;
                check.refuse_if(!grows, "backoff", format!("must grow by a factor of at least 1, not {factor}"));
            }
            Self::Linear(Linear { first, max, .. }) => check.refuse_all(bad_range(*first, *max)),
            Self::Constant(_) | Self::Custom(_) => {}
        }
    }
}

fn bad_range(first: Duration, max: Duration) -> Vec<BadSetting> {
    let mut bad = Vec::new();
    if first.is_zero() {
        bad.push(BadSetting::new("backoff", "must begin above zero to grow; without delay, say `no_backoff`"));
    }
    if first > max {
        let why = format!(
            "must begin at its longest delay, {max:?}, or below, not at {first:?}: `new` takes the first delay, then the longest"
        );
        bad.push(BadSetting::new("backoff", why));
    }
    bad
}

impl From<Constant> for Backoff {
    fn from(constant: Constant) -> Self {
        Self::Constant(constant)
    }
}

impl From<Linear> for Backoff {
    fn from(linear: Linear) -> Self {
        Self::Linear(linear)
    }
}

impl From<Exponential> for Backoff {
    fn from(exponential: Exponential) -> Self {
        Self::Exponential(exponential)
    }
}

/// What chance does to a delay of the backoff. No kind of jitter makes a delay longer, so a cap holds after jitter.
///
/// The formulas are those of Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum Jitter {
    /// A random delay from zero to the full delay. It spreads callers best.
    #[default]
    Full,
    /// A random delay from half the delay to the full delay.
    Equal,
    /// The delay as it is.
    None,
}

impl Jitter {
    /// The shortest that chance may make of `delay`.
    fn shortest(self, delay: Duration) -> Duration {
        match self {
            Self::Full => Duration::ZERO,
            Self::Equal => delay / 2,
            Self::None => delay,
        }
    }

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
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Exponential {
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    first: Duration,
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    max: Duration,
    #[cfg_attr(feature = "serde", serde(default = "Exponential::default_factor"))]
    factor: f64,
    #[cfg_attr(feature = "serde", serde(default))]
    jitter: Jitter,
}

impl Exponential {
    /// From `first`, doubling up to `max`, with full jitter.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, factor: Self::default_factor(), jitter: Jitter::Full }
    }

    const fn default_factor() -> f64 {
        2.0
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

/// Delays that grow by the first delay each time, up to a cap: 1 s, 2 s, 3 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Linear {
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    first: Duration,
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    max: Duration,
    #[cfg_attr(feature = "serde", serde(default))]
    jitter: Jitter,
}

impl Linear {
    /// From `first`, longer by `first` each time, up to `max`, with full jitter.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, jitter: Jitter::Full }
    }

    /// What chance does to each delay.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }
}

/// The same delay each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Constant {
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    delay: Duration,
    #[cfg_attr(feature = "serde", serde(default = "Constant::default_jitter"))]
    jitter: Jitter,
}

impl Constant {
    /// Always `delay`, without jitter. Zero means no sleep at all.
    pub const fn new(delay: Duration) -> Self {
        Self { delay, jitter: Self::default_jitter() }
    }

    const fn default_jitter() -> Jitter {
        Jitter::None
    }

    /// What chance does to each delay.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }
}

type BoxDelays = Box<dyn Iterator<Item = Duration> + Send + Sync>;

/// Delays from a closure; see [`Backoff::from_fn`].
#[derive(Clone)]
pub struct BackoffFn(Arc<dyn Fn(u64) -> BoxDelays + Send + Sync>);

// The closure runs inside a call, whose panic leaves nothing of ours half changed.
impl UnwindSafe for BackoffFn {}
impl RefUnwindSafe for BackoffFn {}

impl fmt::Debug for BackoffFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackoffFn").finish_non_exhaustive()
    }
}

/// The delays of one call. What they are computed from stays in the [`Backoff`].
pub(super) enum Delays {
    /// No attempt has failed yet. Without a seed, one is drawn at the first failure.
    NotBegun {
        seed: Option<u64>,
    },
    Begun {
        sequence: Sequence,
        random: Random,
    },
}

pub(super) enum Sequence {
    Computed { next: u64 },
    Custom(BoxDelays),
}

impl Delays {
    /// A random span from zero to `most`.
    pub(super) fn random_span(&mut self, most: Duration) -> Duration {
        match self {
            Self::NotBegun { .. } => Duration::ZERO,
            Self::Begun { random, .. } => Duration::from_nanos(random.up_to(nanos(most))),
        }
    }
}

impl fmt::Debug for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delays").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take(backoff: impl Into<Backoff>, seed: u64, count: usize) -> Vec<Duration> {
        let (backoff, mut delays) = (backoff.into(), Delays::NotBegun { seed: Some(seed) });
        (0..count).map_while(|_| backoff.next_delay(&mut delays)).collect()
    }

    #[test]
    fn r2_exponential_doubles_up_to_its_cap() {
        let backoff = Exponential::new(SECOND, 5 * SECOND).jitter(Jitter::None);
        assert_eq!(take(backoff, 0, 5), [1, 2, 4, 5, 5].map(|n| n * SECOND));
        assert_eq!(take(backoff.factor(1.5), 0, 3), [1000, 1500, 2250].map(Duration::from_millis));
    }

    #[test]
    fn r2_linear_grows_by_its_first_delay_up_to_its_cap() {
        let backoff = Linear::new(2 * SECOND, 7 * SECOND).jitter(Jitter::None);
        assert_eq!(take(backoff, 0, 5), [2, 4, 6, 7, 7].map(|n| n * SECOND));
    }

    #[test]
    fn r2_the_same_seed_gives_the_same_delays() {
        let backoff = Exponential::new(SECOND, 60 * SECOND);
        assert_eq!(take(backoff, 7, 10), take(backoff, 7, 10));
        assert_ne!(take(backoff, 7, 10), take(backoff, 8, 10));
        let custom = Backoff::from_seed_fn(|seed| [seed, seed + 1].map(Duration::from_nanos));
        assert_eq!(take(custom, 7, 10), [7, 8].map(Duration::from_nanos));
    }

    #[test]
    fn r2_full_jitter_reaches_both_ends_and_equal_jitter_the_upper_half() {
        let ends = |jitter| {
            let delays = take(Constant::new(100 * SECOND).jitter(jitter), 1, 2000);
            (delays.iter().min().unwrap().as_secs(), delays.iter().max().unwrap().as_secs())
        };
        assert_eq!(ends(Jitter::Full), (0, 99));
        assert_eq!(ends(Jitter::Equal), (50, 99));
        assert_eq!(ends(Jitter::None), (100, 100));
    }

    proptest! {
        #[test]
        fn r2_no_settings_and_no_attempt_overflow_or_pass_the_cap(
            first: u64, max: u64, factor in 1.0_f64..1e308, seed: u64, jitter in 0..3, is_linear: bool,
        ) {
            let jitter = [Jitter::Full, Jitter::Equal, Jitter::None][jitter as usize];
            let (first, max) = (Duration::from_nanos(first), Duration::from_nanos(max.max(first)));
            let backoff: Backoff = if is_linear {
                Linear::new(first, max).jitter(jitter).into()
            } else {
                Exponential::new(first, max).factor(factor).jitter(jitter).into()
            };
            let mut before = Duration::ZERO;
            for delay in take(backoff, seed, 200) {
                prop_assert!(delay <= max);
                if jitter == Jitter::None {
                    prop_assert!(delay >= before, "it wrapped");
                }
                before = delay;
            }
        }
    }

    #[test]
    fn r2_one_that_begins_above_its_cap_begins_at_it_where_no_builder_refuses_it() {
        let backoff = Exponential::new(2 * SECOND, SECOND).jitter(Jitter::None);
        assert_eq!(take(backoff, 0, 2), [SECOND; 2]);
    }

    #[test]
    fn r2_the_longest_durations_there_are_work() {
        let delays = take(Exponential::new(Duration::MAX, Duration::MAX).factor(f64::MAX).jitter(Jitter::None), 0, 3);
        assert!(delays.iter().all(|delay| *delay > Duration::from_secs(4_000_000_000)), "{delays:?}");
    }
}
