//! The retry budget: a bucket of tokens.
//!
//! # Memory ordering
//!
//! 1. The level is one word, and each change of it is one atomic read-modify-write: no token is taken twice, and none is lost.
//! 2. Whoever takes the first token of a full bucket first stores `refilled_at`, then takes the token (`AcqRel`). Whoever sees that level
//!    (`Acquire`) therefore sees that moment too, or a later one. An older moment would add the tokens of the time in which the bucket was full.
//! 3. `refilled_at` is moved forward by a compare-exchange. The thread that wins it adds the tokens of the time in between, once.
//!
//! Nothing else is published through the bucket: a token gives leave to send, and says nothing about other memory.

use std::{fmt, time::Duration};

use crate::{
    clock::{Clock, nanos},
    error::{Check, ConfigError, Name},
    sync::{Arc, AtomicU64, Ordering},
};

/// The bucket counts in thousandths of a token, so that its sums are exact.
const TOKEN: u64 = 1000;

/// Bounds how much retries may add to the load of a dependency that fails: a bucket of tokens that retries pay with.
///
/// | event | tokens |
/// |---|---|
/// | a retry is planned (or, where a `Retry-After` sets the wait, sent) | - 1 |
/// | an attempt succeeds | + 0.1 |
/// | a retry succeeds, unless it repeats an answer that was throttled | + 1, its own |
/// | a retry is rejected by our own breaker or bulkhead, or is dropped before it is sent | + 1, its own |
/// | a minute passes | + 1 |
///
/// So a healthy dependency keeps the bucket full, and one that is down gets hardly more than the calls themselves. The minute's token keeps a quiet
/// client able to retry long after an outage.
///
/// Clones share the bucket. A [`RetryWithBackoff`](super::RetryWithBackoff) has one of its own with 10 tokens unless told otherwise. Several
/// policies that call the same dependency may share one. Two retries around each other that have a budget each multiply their attempts; give
/// only one of them more than one attempt.
#[derive(Clone)]
pub struct RetryBudget(Arc<Bucket>);

struct Bucket {
    level: AtomicU64,
    capacity: u64,
    per_success: u64,
    /// In how many nanoseconds a tenth of a token is added; 0 for never.
    refill_interval: u64,
    /// Up to when the tokens of time have been added. It says nothing while the bucket is full.
    refilled_at: AtomicU64,
    clock: Clock,
}

/// Settings of a [`RetryBudget`]. The defaults: 0.1 tokens per success, and one token a minute.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryBudgetBuilder {
    tokens: u32,
    per_success: f64,
    refill_every: Option<Duration>,
}

impl RetryBudgetBuilder {
    /// How many tokens, from 0 to 1, an attempt that succeeds adds. Thousandths count.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.per_success = tokens;
        self
    }

    /// In which time one token is added, whatever the calls do.
    pub fn refill_every(mut self, span: Duration) -> Self {
        self.refill_every = Some(span);
        self
    }

    /// Adds no tokens by time: a client that never succeeds never retries again.
    pub fn no_refill(mut self) -> Self {
        self.refill_every = None;
        self
    }

    /// A full bucket with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let mut check = Check::default();
        let Self { tokens, per_success, refill_every } = self;
        let fits = (0.0..=1.0).contains(&per_success);
        check.refuse_if(!fits, "per_success", format!("must be from 0 to 1, not {per_success}"));
        let too_fast = refill_every.is_some_and(|span| span < Duration::from_micros(1));
        check.refuse_if(too_fast, "refill_every", format!("must be at least 1 µs, not {refill_every:?}"));
        check.finish("retry budget", &Name::from("tokens"))?;
        Ok(RetryBudget::with(tokens, (per_success * TOKEN as f64).round() as u64, refill_every))
    }
}

impl RetryBudget {
    /// A full bucket of this many tokens. One of zero lets no retry pass.
    pub fn new(tokens: u32) -> Self {
        Self::with(tokens, TOKEN / 10, Some(Duration::from_secs(60)))
    }

    /// Settings for a bucket of this many tokens.
    pub fn builder(tokens: u32) -> RetryBudgetBuilder {
        RetryBudgetBuilder { tokens, per_success: 0.1, refill_every: Some(Duration::from_secs(60)) }
    }

    fn with(tokens: u32, per_success: u64, refill_every: Option<Duration>) -> Self {
        let capacity = u64::from(tokens) * TOKEN;
        Self(Arc::new(Bucket {
            level: AtomicU64::new(capacity),
            capacity,
            per_success,
            refill_interval: refill_every.map_or(0, |span| nanos(span) / 10),
            refilled_at: AtomicU64::new(0),
            clock: Clock::start(),
        }))
    }

    /// How many tokens there are when the bucket is full.
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.0.capacity / TOKEN).unwrap_or(u32::MAX)
    }

    /// How many tokens are left now.
    pub fn available(&self) -> f64 {
        self.refill();
        self.0.level.load(Ordering::Relaxed) as f64 / TOKEN as f64
    }

    /// Adds what an attempt that succeeds adds.
    ///
    /// A full bucket is left alone, so that threads do not contend for it while all is well.
    #[inline]
    pub(super) fn deposit(&self) {
        let Bucket { level, capacity, per_success, .. } = &*self.0;
        if level.load(Ordering::Relaxed) < *capacity {
            self.add(*per_success);
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        let Bucket { level, capacity, refilled_at, clock, .. } = &*self.0;
        if level.load(Ordering::Relaxed) >= *capacity {
            // From here on time adds tokens.
            refilled_at.store(clock.now(), Ordering::Relaxed);
        } else {
            self.refill();
        }
        let take = |level: u64| level.checked_sub(TOKEN);
        level.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a token back.
    pub(super) fn refund(&self) {
        self.add(TOKEN);
    }

    /// Adds the tokens of the time that has passed. A full bucket needs none, and the clock is not read.
    fn refill(&self) {
        let Bucket { level, capacity, refill_interval, refilled_at, clock, .. } = &*self.0;
        if *refill_interval == 0 || level.load(Ordering::Acquire) >= *capacity {
            return;
        }
        let (now, since) = (clock.now(), refilled_at.load(Ordering::Relaxed));
        let passed = now.checked_sub(since).map_or(0, |span| span / refill_interval);
        // A clock that was set back (tests pause a new one for each runtime) would add nothing until it has caught up.
        let next = if now < since { now } else { since + passed * refill_interval };
        let moved = refilled_at.compare_exchange(since, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && passed > 0 {
            self.add(passed.saturating_mul(TOKEN / 10));
        }
    }

    #[inline(never)]
    fn add(&self, amount: u64) {
        let Bucket { level, capacity, .. } = &*self.0;
        let _ = level.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |level| {
            (level < *capacity).then(|| level.saturating_add(amount).min(*capacity))
        });
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget({} of {})", self.0.level.load(Ordering::Relaxed) as f64 / TOKEN as f64, self.capacity())
    }
}

/// The token that a call has paid for the retry that runs or is to come. Dropped before the retry is sent, it is given back.
#[derive(Debug, Default)]
pub(super) struct PaidToken(Option<Paid>);

/// It holds the budget for as long as the call goes on. A call that needs no token never clones it.
#[derive(Debug)]
struct Paid {
    budget: RetryBudget,
    is_sent: bool,
}

impl PaidToken {
    /// Takes a token from the budget, if there is one.
    pub(super) fn take(&mut self, budget: &RetryBudget) -> bool {
        let taken = budget.withdraw();
        if taken {
            self.0.get_or_insert_with(|| Paid { budget: budget.clone(), is_sent: false }).is_sent = false;
        }
        taken
    }

    /// The retry is sent: the load that its token stands for is real now.
    pub(super) fn sent(&mut self) {
        if let Some(paid) = &mut self.0 {
            paid.is_sent = true;
        }
    }

    /// The retry has succeeded, or never reached the dependency.
    pub(super) fn refund(&mut self) {
        if let Some(paid) = self.0.take() {
            paid.budget.refund();
        }
    }
}

impl Drop for PaidToken {
    #[inline]
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|paid| !paid.is_sent) {
            self.refund();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
                prop_assert_eq!(budget.0.level.load(Ordering::Relaxed), level);
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
    fn r5_settings_that_cannot_be_are_refused_all_at_once() {
        let builder = RetryBudget::builder(1).per_success(f64::NAN).refill_every(Duration::ZERO);
        let error = builder.build().expect_err("both are bad");
        assert_eq!(
            error.settings().iter().map(|setting| setting.field()).collect::<Vec<_>>(),
            ["per_success", "refill_every"]
        );
    }
}
