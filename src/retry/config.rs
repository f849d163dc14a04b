use std::time::Duration;

use super::{
    backoff::{Backoff, Constant},
    budget::RetryBudget,
    event::RetryEvent,
    plan::CodeParts,
    settings::{BudgetSettings, RetrySettings},
    shared::Shared,
};
use crate::{
    classify::ByError,
    error::{ConfigError, Name},
    event::Reporter,
};

/// Settings of a [`RetryWithBackoff`](super::RetryWithBackoff).
///
/// The [module](super) has the table of defaults.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RetryBuilder<C = ByError> {
    settings: RetrySettings,
    code: CodeParts,
    seed: Option<u64>,
    reporter: Reporter<RetryEvent>,
    classifier: C,
}

impl RetryBuilder {
    pub(super) fn new(name: Name) -> Self {
        let (settings, code) = (RetrySettings::default(), CodeParts::default());
        Self { settings, code, seed: None, reporter: Reporter::new(name), classifier: ByError }
    }
}

impl<C> RetryBuilder<C> {
    /// Takes all settings that are data from these: those of a file, for example. A backoff from a closure and a shared
    /// budget stay, and are refused beside settings that name another; so do listeners, the classifier and the seed.
    pub fn settings(mut self, settings: &RetrySettings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// How many attempts there may be in all, the first included.
    ///
    /// More than 11 need [`budget`](Self::budget) or [`no_budget`](Self::no_budget): the default bucket could not pay
    /// for them.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// How long to wait before each further attempt: [`Exponential`](super::Exponential), [`Linear`](super::Linear), [`Constant`], or any
    /// [`Backoff`].
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        (self.settings.backoff, self.code.backoff) = match backoff.into() {
            Backoff::Constant(constant) => (Some(constant.into()), None),
            Backoff::Linear(linear) => (Some(linear.into()), None),
            Backoff::Exponential(exponential) => (Some(exponential.into()), None),
            Backoff::Custom(custom) => (None, Some(custom)),
        };
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
        (self.settings.budget, self.code.budget) = (None, Some(budget.clone()));
        self
    }

    /// Does not bound what retries add to the load of a dependency that fails.
    pub fn no_budget(mut self) -> Self {
        (self.settings.budget, self.code.budget) = (Some(BudgetSettings::Unlimited), None);
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
        self.seed = Some(seed);
        self
    }

    /// Adds a listener. It is told of every retry, and of every call that is given up although another attempt might
    /// have helped.
    ///
    /// A listener runs on the thread, and inside the call, that caused the event. All listeners are told, in the order
    /// in which they were added. The panic of one is caught, and does not stop the next.
    pub fn listener_fn(mut self, listener: impl Fn(&RetryEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add(listener);
        self
    }

    /// Judges results by `classifier`.
    pub fn classify<D>(self, classifier: D) -> RetryBuilder<D> {
        let Self { settings, code, seed, reporter, .. } = self;
        RetryBuilder { settings, code, seed, reporter, classifier }
    }

    /// Takes the settings as they are.
    pub(super) fn unchecked(self) -> (Shared, C) {
        (Shared::new(self.reporter, self.settings, self.code, self.seed), self.classifier)
    }

    pub(super) fn checked(self) -> Result<(Shared, C), ConfigError> {
        self.settings.check(self.code.given(), self.reporter.name())?;
        Ok(self.unchecked())
    }
}
