use std::time::Duration;

use super::{
    backoff::{Backoff, BackoffFn, Constant, Exponential},
    budget::RetryBudget,
    event::RetryEvent,
    shared::Plan,
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
pub struct RetryBuilder<C = ByError, B = Exponential> {
    reporter: Reporter<RetryEvent>,
    max_attempts: u32,
    backoff: B,
    budget: Budget,
    deadline: Option<Duration>,
    max_retry_after: Duration,
    seed: Option<u64>,
    classifier: C,
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
        Self {
            reporter: Reporter::new(name),
            max_attempts: 3,
            backoff: Exponential::new(Duration::from_millis(50), Duration::from_secs(10)),
            budget: Budget::Default,
            deadline: None,
            max_retry_after: Duration::from_secs(30),
            seed: None,
            classifier: ByError,
        }
    }
}

impl<C, B> RetryBuilder<C, B> {
    /// How many tries there may be in all, the first included.
    ///
    /// More than 11 need [`budget`](Self::budget) or [`no_budget`](Self::no_budget): the default bucket could not pay for them.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// How long to wait before each further try.
    pub fn backoff<D: Backoff>(self, backoff: D) -> RetryBuilder<C, D> {
        self.with(backoff)
    }

    /// How long to wait before each further try: `delays` begins a sequence for each call, and its end ends the retry.
    ///
    /// ```
    /// # use {std::time::Duration, withstand::RetryWithBackoff};
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let retry = RetryWithBackoff::builder("users").backoff_fn(|| [10, 100].map(Duration::from_millis)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn backoff_fn<F, I>(self, delays: F) -> RetryBuilder<C, BackoffFn<F>>
    where
        F: Fn() -> I,
        I: IntoIterator<Item = Duration>,
    {
        self.with(BackoffFn(delays))
    }

    /// Tries again at once, without any sleep.
    pub fn no_backoff(self) -> RetryBuilder<C, Constant> {
        self.with(Constant::new(Duration::ZERO))
    }

    /// Pays for retries from this bucket, which others may share.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.budget = Budget::Shared(budget.clone());
        self
    }

    /// Does not bound what retries add to the load of a dependency that fails.
    pub fn no_budget(mut self) -> Self {
        self.budget = Budget::None;
        self
    }

    /// Begins no sleep that would end later than this after the call began. It cuts no try short: for that there is
    /// [`Timeout`](crate::Timeout).
    pub fn deadline(mut self, span: Duration) -> Self {
        self.deadline = Some(span);
        self
    }

    /// Does not try again if the dependency asks to be left alone for longer than this.
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Makes the jitter repeatable: the delays of the n-th call then depend on the seed and n alone.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Tells `hear` of every retry, and of every call that is given up though another try might have cured it.
    ///
    /// It runs on the thread, and inside the call, that caused the event. Its panic is caught. There is one: a second takes its place.
    pub fn listener_fn(mut self, hear: impl Fn(&RetryEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add(hear);
        self
    }

    /// Judges results by `classifier`.
    pub fn classify<D>(self, classifier: D) -> RetryBuilder<D, B> {
        RetryBuilder {
            reporter: self.reporter,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            budget: self.budget,
            deadline: self.deadline,
            max_retry_after: self.max_retry_after,
            seed: self.seed,
            classifier,
        }
    }

    fn with<D>(self, backoff: D) -> RetryBuilder<C, D> {
        RetryBuilder {
            reporter: self.reporter,
            max_attempts: self.max_attempts,
            backoff,
            budget: self.budget,
            deadline: self.deadline,
            max_retry_after: self.max_retry_after,
            seed: self.seed,
            classifier: self.classifier,
        }
    }

    /// Takes the settings as they are.
    pub(super) fn unchecked(self) -> (Plan<B>, C) {
        let plan = Plan {
            reporter: self.reporter,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            budget: match self.budget {
                Budget::Default => Some(RetryBudget::new(DEFAULT_TOKENS)),
                Budget::Shared(budget) => Some(budget),
                Budget::None => None,
            },
            deadline: self.deadline,
            max_retry_after: self.max_retry_after,
            seed: self.seed,
            calls: AtomicU64::new(0),
        };
        (plan, self.classifier)
    }
}

impl<C, B: Backoff> RetryBuilder<C, B> {
    pub(super) fn checked(self) -> Result<(Plan<B>, C), ConfigError> {
        let mut check = Check::default();
        check.refuse_if(self.max_attempts == 0, "max_attempts", "must be at least 1");
        let unpaid = matches!(self.budget, Budget::Default) && self.max_attempts > DEFAULT_TOKENS + 1;
        let why = format!(
            "of {} is more than the default budget of {DEFAULT_TOKENS} retries pays for: say `budget` or `no_budget`",
            self.max_attempts,
        );
        check.refuse_if(unpaid, "max_attempts", why);
        check.refuse_all(self.backoff.bad_settings());
        check.refuse_if(self.deadline.is_some_and(|span| span.is_zero()), "deadline", "must be above zero");
        check.finish("retry", self.reporter.name())?;
        Ok(self.unchecked())
    }
}
