use std::time::Duration;

use super::{
    backoff::{Backoff, Constant, Exponential},
    budget::RetryBudget,
    event::RetryEvent,
    shared::Shared,
};
use crate::{
    classify::ByError,
    error::{Check, ConfigError, Name},
    event::Reporter,
    sync::AtomicU64,
};

/// The tokens of the bucket that a policy has unless told otherwise.
const DEFAULT_TOKENS: u32 = 10;

/// Settings of a [`RetryWithBackoff`](super::RetryWithBackoff).
///
/// The [module](super) has the table of defaults.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryBuilder<C = ByError> {
    settings: Settings,
    classifier: C,
}

#[derive(Debug)]
struct Settings {
    reporter: Reporter<RetryEvent>,
    max_attempts: u32,
    backoff: Backoff,
    budget: Budget,
    deadline: Option<Duration>,
    max_retry_after: Duration,
    seed: Option<u64>,
}

#[derive(Debug)]
enum Budget {
    /// Nothing was said: a bucket of its own.
    Default,
    Shared(RetryBudget),
    None,
}

impl RetryBuilder {
    pub(super) fn new(name: Name) -> Self {
        let settings = Settings {
            reporter: Reporter::new(name),
            max_attempts: 3,
            backoff: Exponential::new(Duration::from_millis(50), Duration::from_secs(10)).into(),
            budget: Budget::Default,
            deadline: None,
            max_retry_after: Duration::from_secs(10),
            seed: None,
        };
        Self { settings, classifier: ByError }
    }
}

impl<C> RetryBuilder<C> {
    /// How many attempts there may be in all, the first included.
    ///
    /// More than 11 need [`budget`](Self::budget) or [`no_budget`](Self::no_budget): the default bucket could not pay
    /// for them.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// How long to wait before each further attempt: [`Exponential`], [`Linear`](super::Linear), [`Constant`], or any
    /// [`Backoff`].
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        self.settings.backoff = backoff.into();
        self
    }

    /// How long to wait before each further attempt. The closure is called once for each call that fails, and begins
    /// the delays of that call. When they end, the retry ends.
    ///
    /// ```
    /// # use {std::time::Duration, withstand::RetryWithBackoff};
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let retry = RetryWithBackoff::builder("users").backoff_fn(|| [10, 100].map(Duration::from_millis)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn backoff_fn<F, I>(self, delays: F) -> Self
    where
        F: Fn() -> I + Send + Sync + 'static,
        I: IntoIterator<Item = Duration>,
        I::IntoIter: Send + Sync + 'static,
    {
        self.backoff(Backoff::from_fn(delays))
    }

    /// Sends further attempts at once, without any sleep.
    pub fn no_backoff(self) -> Self {
        self.backoff(Constant::new(Duration::ZERO))
    }

    /// Pays for retries from this bucket, which other policies may share.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.settings.budget = Budget::Shared(budget.clone());
        self
    }

    /// Does not bound what retries add to the load of a dependency that fails.
    pub fn no_budget(mut self) -> Self {
        self.settings.budget = Budget::None;
        self
    }

    /// Begins no sleep that would end later than this after the call began. It does not cut an attempt short; a
    /// [`Timeout`](crate::Timeout) does.
    pub fn deadline(mut self, span: Duration) -> Self {
        self.settings.deadline = Some(span);
        self
    }

    /// The longest time for which the dependency may ask to be left alone. Where it asks for more, the retry ends. The
    /// random time that is added to what it asks for does not pass this either.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.settings.max_retry_after = longest;
        self
    }

    /// Makes the jitter repeatable: the delays of the n-th call then depend on the seed and n alone.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Adds a listener. It is told of every retry, and of every call that is given up although another attempt might
    /// have helped.
    ///
    /// A listener runs on the thread, and inside the call, that caused the event. All listeners are told, in the order
    /// in which they were added. The panic of one is caught, and does not stop the next.
    pub fn listener_fn(mut self, listener: impl Fn(&RetryEvent) + Send + Sync + 'static) -> Self {
        self.settings.reporter.add(listener);
        self
    }

    /// Judges results by `classifier`.
    pub fn classify<D>(self, classifier: D) -> RetryBuilder<D> {
        RetryBuilder { settings: self.settings, classifier }
    }

    /// Takes the settings as they are.
    pub(super) fn unchecked(self) -> (Shared, C) {
        let Settings { reporter, max_attempts, backoff, budget, deadline, max_retry_after, seed } = self.settings;
        let budget = match budget {
            Budget::Default => Some(RetryBudget::new(DEFAULT_TOKENS)),
            Budget::Shared(budget) => Some(budget),
            Budget::None => None,
        };
        let calls = AtomicU64::new(0);
        let shared = Shared { reporter, max_attempts, backoff, budget, deadline, max_retry_after, seed, calls };
        (shared, self.classifier)
    }

    pub(super) fn checked(self) -> Result<(Shared, C), ConfigError> {
        let mut check = Check::default();
        let Settings { max_attempts, deadline, .. } = self.settings;
        check.refuse_if(max_attempts == 0, "max_attempts", "must be at least 1");
        let unpaid = matches!(self.settings.budget, Budget::Default) && max_attempts > DEFAULT_TOKENS + 1;
        let why = format!(
            "of {max_attempts} is more than the default budget of {DEFAULT_TOKENS} retries pays for: say `budget` or `no_budget`",
        );
        check.refuse_if(unpaid, "max_attempts", why);
        self.settings.backoff.check(&mut check);
        check.refuse_if(deadline.is_some_and(|span| span.is_zero()), "deadline", "must be above zero");
        check.finish("retry", self.settings.reporter.name())?;
        Ok(self.unchecked())
    }
}
