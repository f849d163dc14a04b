//! The retry budget: a bucket of tokens.
//!
//! # Memory ordering
//!
//! 1. The level is one word, and each change of it is one atomic read-modify-write. So no token is taken twice, and
//!    none is lost.
//! 2. Whoever takes the first token of a full bucket first moves `refilled_at` to the present, then takes the token
//!    (`AcqRel`). Whoever sees that level (`Acquire`) therefore sees that moment too, or a later one. An older moment
//!    would add the tokens of the time in which the bucket was full.
//! 3. `refilled_at` is moved forward by a compare-exchange, and the thread that wins it adds the tokens of the time in
//!    between. So no span of time is counted twice. It moves back only when the clock itself has been set back.
//!
//! One race is left, and does little harm. A thread that finds the bucket not full, and adds tokens only after others
//! have filled the bucket and emptied it again, adds what it would otherwise have added before: at most one bucket.
//!
//! The models in `loom.rs` hold the order of step 2, but cannot show that it needs `Acquire`: in a model a
//! compare-exchange always finds the newest `refilled_at`.
//!
//! Nothing else is published through the bucket: a token gives leave to send, and says nothing about other memory.

use std::{
    fmt,
    // Not `crate::sync`'s: a model checker would try every interleaving of loads that nearly never differ.
    sync::atomic::AtomicU64 as SettingWord,
    time::Duration,
};

use super::settings::RetryBudgetSettings;
use crate::{
    clock::{Clock, nanos},
    error::{Check, ConfigError, Name},
    sync::{Arc, AtomicU64, Ordering, fence},
};

/// The bucket counts in thousandths of a token, so that its sums are exact.
pub(super) const TOKEN: u64 = 1000;

/// Bounds how much retries may add to the load of a dependency that fails: a bucket of tokens that retries pay with.
///
/// | event | tokens |
/// |---|---|
/// | a retry is planned; or, where a `Retry-After` sets the wait, it is about to be sent | - 1 |
/// | an attempt succeeds | + 0.1 |
/// | a retry succeeds, unless the answer before it was throttled | + 1, its own |
/// | a retry is rejected by our own breaker or bulkhead, or is dropped before it is sent | + 1, its own |
/// | a minute passes | + 1 |
///
/// The bucket never holds more than its capacity. So a healthy dependency keeps it full, and a dependency that is down
/// gets hardly more attempts than calls. The token a minute lets a quiet client retry long after an outage. Time is
/// counted while the bucket is not full.
///
/// Clones share the bucket. A [`RetryWithBackoff`](super::RetryWithBackoff) has one of its own with 10 tokens unless
/// told otherwise. Several policies that call the same dependency may share one
/// ([`budget`](super::RetryBuilder::budget)). Two retries around each other do not share one by themselves, and
/// multiply their attempts: allow more than one attempt to only one of them.
#[derive(Clone)]
pub struct RetryBudget(Arc<ClockedBucket>);

struct ClockedBucket {
    bucket: Bucket,
    clock: Clock,
}

/// Settings of a [`RetryBudget`]. The defaults: 0.1 tokens per success, and one token a minute.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryBudgetBuilder {
    settings: RetryBudgetSettings,
}

impl RetryBudgetBuilder {
    /// How many tokens an attempt that succeeds adds: 0, or from 0.001 to 1. It is rounded to thousandths.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.settings.per_success = tokens;
        self
    }

    /// In which time one token is added, whatever the calls do.
    pub fn refill_every(mut self, span: Duration) -> Self {
        self.settings.refill_every = span;
        self
    }

    /// Adds no tokens by time. A client that has spent its tokens then retries again only after some of its calls have
    /// succeeded.
    pub fn no_refill(self) -> Self {
        self.refill_every(Duration::MAX)
    }

    /// A full bucket with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let mut check = Check::default();
        self.settings.check(&mut check);
        check.finish("retry budget", &Name::from(format!("{} tokens", self.settings.tokens)))?;
        Ok(RetryBudget::of(self.settings))
    }
}

impl RetryBudget {
    /// A full bucket of this many tokens. One of zero lets no retry pass.
    pub fn new(tokens: u32) -> Self {
        Self::of(RetryBudgetSettings::new(tokens))
    }

    /// Settings for a bucket of this many tokens.
    pub fn builder(tokens: u32) -> RetryBudgetBuilder {
        RetryBudgetBuilder { settings: RetryBudgetSettings::new(tokens) }
    }

    /// A full bucket, with settings that were checked.
    pub(super) fn of(settings: RetryBudgetSettings) -> Self {
        Self(Arc::new(ClockedBucket { bucket: Bucket::full(settings), clock: Clock::start() }))
    }

    /// Changes the settings, which were checked. One thread at a time may do this.
    pub(super) fn apply(&self, settings: RetryBudgetSettings) {
        self.0.bucket.apply(settings, || self.0.clock.now());
    }

    /// How many tokens there are when the bucket is full.
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.0.bucket.capacity() / TOKEN).unwrap_or(u32::MAX)
    }

    /// How many tokens are left now.
    pub fn available(&self) -> f64 {
        self.0.bucket.refill(|| self.0.clock.now());
        self.0.bucket.tokens()
    }

    /// Whether tokens are missing that would be lost with the `own` handles of a policy, because no one else has one.
    pub(super) fn is_short_and_held_by(&self, own: usize) -> bool {
        if Arc::strong_count(&self.0) > own {
            return false;
        }
        // Whoever has let go of it meanwhile may have taken a token before.
        fence(Ordering::Acquire);
        self.available() < f64::from(self.capacity())
    }

    /// Adds what an attempt that succeeds adds.
    #[inline]
    pub(super) fn deposit(&self) {
        self.0.bucket.deposit();
    }

    /// Takes a token, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        self.0.bucket.withdraw(|| self.0.clock.now())
    }

    /// Takes a token back.
    pub(super) fn refund(&self) {
        self.0.bucket.add(TOKEN);
    }
}

/// The bucket itself. Time is an argument, in nanoseconds, and is asked for only where it matters.
pub(super) struct Bucket {
    level: AtomicU64,
    /// Up to when the tokens of time have been added. It says nothing while the bucket is full.
    refilled_at: AtomicU64,
    capacity: SettingWord,
    per_success: SettingWord,
    /// In how many nanoseconds a tenth of a token is added; 0 for never.
    refill_interval: SettingWord,
}

/// The words of the settings: capacity, what a success adds, and the interval of a tenth of a token.
fn words(settings: RetryBudgetSettings) -> [u64; 3] {
    let RetryBudgetSettings { tokens, per_success, refill_every } = settings;
    let interval = if refill_every == Duration::MAX { 0 } else { nanos(refill_every) / 10 };
    [u64::from(tokens) * TOKEN, (per_success * TOKEN as f64).round() as u64, interval]
}

impl Bucket {
    pub(super) fn full(settings: RetryBudgetSettings) -> Self {
        let [capacity, per_success, refill_interval] = words(settings);
        Self {
            level: AtomicU64::new(capacity),
            refilled_at: AtomicU64::new(0),
            capacity: SettingWord::new(capacity),
            per_success: SettingWord::new(per_success),
            refill_interval: SettingWord::new(refill_interval),
        }
    }

    /// Goes on by other settings, as full as it was. For one thread at a time.
    fn apply(&self, settings: RetryBudgetSettings, now: impl Fn() -> u64) {
        let [capacity, per_success, refill_interval] = words(settings);
        // Up to now time adds tokens as before.
        self.refill(&now);
        if self.refill_interval() == 0 {
            self.refilled_at.fetch_max(now(), Ordering::Relaxed);
        }
        let old = self.capacity();
        let as_full = |level: u64| match old {
            0 => capacity,
            old => (u128::from(level) * u128::from(capacity) / u128::from(old)) as u64,
        };
        // The level first: a bucket that was full is then never taken for one that time has long been filling.
        let _ = self.level.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |level| Some(as_full(level)));
        self.capacity.store(capacity, Ordering::Relaxed);
        self.per_success.store(per_success, Ordering::Relaxed);
        self.refill_interval.store(refill_interval, Ordering::Relaxed);
        // What others have added between the two.
        let _ = self
            .level
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |level| (level > capacity).then_some(capacity));
    }

    #[inline]
    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    fn refill_interval(&self) -> u64 {
        self.refill_interval.load(Ordering::Relaxed)
    }

    fn tokens(&self) -> f64 {
        self.level.load(Ordering::Relaxed) as f64 / TOKEN as f64
    }

    /// A full bucket is left alone, so that threads do not contend for it while all is well.
    #[inline]
    fn deposit(&self) {
        if self.level.load(Ordering::Relaxed) < self.capacity() {
            self.add(self.per_success.load(Ordering::Relaxed));
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn withdraw(&self, now: impl FnOnce() -> u64) -> bool {
        if self.level.load(Ordering::Relaxed) >= self.capacity() {
            // From here on time adds tokens. A thread that comes late with an older moment does not move it back.
            self.refilled_at.fetch_max(now(), Ordering::Relaxed);
        } else {
            self.refill(now);
        }
        let take = |level: u64| level.checked_sub(TOKEN);
        self.level.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok()
    }

    /// Adds the tokens of the time that has passed. A full bucket needs none, and the clock is not read.
    pub(super) fn refill(&self, now: impl FnOnce() -> u64) {
        let interval = self.refill_interval();
        if interval == 0 || self.level.load(Ordering::Acquire) >= self.capacity() {
            return;
        }
        let (since, now) = (self.refilled_at.load(Ordering::Relaxed), now());
        let (next, passed) = match now.checked_sub(since) {
            Some(span) => {
                let passed = span / interval;
                (since + passed * interval, passed)
            }
            // The clock was set back (tests pause a new one for each runtime). Otherwise no token would come until it
            // has caught up.
            None => (now, 0),
        };
        let has_moved = next != since
            && self.refilled_at.compare_exchange(since, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if has_moved {
            self.add(passed.saturating_mul(TOKEN / 10));
        }
    }

    #[inline(never)]
    fn add(&self, amount: u64) {
        let capacity = self.capacity();
        let _ = self.level.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |level| {
            (level < capacity).then(|| level.saturating_add(amount).min(capacity))
        });
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget({} of {})", self.0.bucket.tokens(), self.capacity())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn without_deposits(tokens: u32) -> RetryBudgetSettings {
        RetryBudgetSettings { per_success: 0.0, ..RetryBudgetSettings::new(tokens) }
    }

    proptest! {
        #[test]
        fn r5_the_bucket_never_passes_its_ends_and_its_sums_are_exact(
            tokens in 0_u32..5,
            steps in prop::collection::vec(0..3, 0..200),
        ) {
            let budget = RetryBudget::builder(tokens).no_refill().build().expect("good settings");
            let capacity = u64::from(tokens) * TOKEN;
            let mut level = capacity;
            for step in steps {
                match step {
                    0 => {
                        budget.deposit();
                        level = (level + TOKEN / 10).min(capacity);
                    }
                    1 => {
                        prop_assert_eq!(budget.withdraw(), level >= TOKEN);
                        level = level.checked_sub(TOKEN).unwrap_or(level);
                    }
                    _ => {
                        budget.refund();
                        level = (level + TOKEN).min(capacity);
                    }
                }
                prop_assert_eq!(budget.0.bucket.level.load(Ordering::Relaxed), level);
            }
        }
    }

    #[test]
    fn r5_the_largest_bucket_there_is_works() {
        let budget = RetryBudget::new(u32::MAX);
        budget.deposit();
        assert_eq!((budget.available(), budget.capacity()), (f64::from(u32::MAX), u32::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn r5_a_minute_adds_a_token_counted_from_when_the_bucket_was_last_full() {
        let budget = RetryBudget::new(2);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw(), "no more than it holds");
        tokio::time::advance(Duration::from_millis(5_999)).await;
        assert_eq!(budget.available(), 0.0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(budget.available(), 0.1);
        tokio::time::advance(Duration::from_secs(54)).await;
        assert!(budget.withdraw() && !budget.withdraw());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(budget.available(), 2.0, "no more than it holds");
    }

    #[test]
    fn r5_time_that_was_counted_once_is_not_counted_again_by_a_thread_that_comes_late() {
        const MINUTE: u64 = 60_000_000_000;
        let bucket = Bucket::full(without_deposits(2));
        assert!(bucket.withdraw(|| {
            // While this thread finds the bucket full and asks for the time, others take both tokens, and wait for
            // another two.
            assert!(bucket.withdraw(|| MINUTE) && bucket.withdraw(|| MINUTE));
            bucket.refill(|| 3 * MINUTE);
            MINUTE
        }));
        assert!(bucket.withdraw(|| 3 * MINUTE) && !bucket.withdraw(|| 3 * MINUTE));
    }

    #[test]
    fn g3_a_clock_that_was_set_back_still_adds_tokens() {
        const MINUTE: u64 = 60_000_000_000;
        let bucket = Bucket::full(without_deposits(1));
        assert!(bucket.withdraw(|| 1000 * MINUTE) && !bucket.withdraw(|| MINUTE));
        assert!(!bucket.withdraw(|| 2 * MINUTE - 1) && bucket.withdraw(|| 2 * MINUTE));
    }
}
