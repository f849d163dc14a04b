//! The settings as data, their defaults and their checks.

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{
    backoff::{Backoff, Constant, Exponential, Linear},
    config::RetryBuilder,
    policy::RetryWithBackoff,
};
#[cfg(feature = "serde")]
use crate::duration_text;
use crate::error::{Check, ConfigError, Name};

/// The settings of a [`RetryWithBackoff`] as data: what a file can say.
///
/// Each field is named like the setter of the [`RetryBuilder`], which tells more of it. Listeners, the classifier, the
/// seed, a backoff from a closure, and a budget that several policies share are code, and only the builder sets them.
/// The [module](super) has the table of defaults, which are those of [`Default`].
///
/// ```
/// use std::time::Duration;
/// use withstand::retry::{BackoffSettings, Constant, RetrySettings};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let mut settings = RetrySettings::default();
/// settings.backoff = Some(Constant::new(Duration::from_millis(100)).into());
/// let retry = settings.build("users")?;
///
/// settings.max_attempts = 5;
/// retry.apply(&settings)?;
/// assert_eq!(retry.settings(), settings);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RetrySettings {
    /// How many attempts there may be in all, the first included.
    pub max_attempts: u32,
    /// How long to wait before each further attempt. Absent: 50 ms, doubling up to 10 s, with full jitter; or what code
    /// gives.
    pub backoff: Option<BackoffSettings>,
    /// What bounds the retries of all calls together. Absent: a bucket of 10 tokens; or the budget that code shares.
    pub budget: Option<BudgetSettings>,
    /// No sleep begins that would end later than this after the call began. Absent: no such limit.
    #[cfg_attr(feature = "serde", serde(with = "duration_text::option"))]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    pub deadline: Option<Duration>,
    /// The longest time for which the dependency may ask to be left alone.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub max_retry_after: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { max_attempts: 3, backoff: None, budget: None, deadline: None, max_retry_after: Duration::from_secs(10) }
    }
}

/// A [`Backoff`] as data.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum BackoffSettings {
    /// The same delay each time.
    Constant(Constant),
    /// Delays that grow by the same amount each time.
    Linear(Linear),
    /// Delays that grow by the same factor each time.
    Exponential(Exponential),
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self::Exponential(Exponential::new(Duration::from_millis(50), Duration::from_secs(10)))
    }
}

impl From<Constant> for BackoffSettings {
    fn from(constant: Constant) -> Self {
        Self::Constant(constant)
    }
}

impl From<Linear> for BackoffSettings {
    fn from(linear: Linear) -> Self {
        Self::Linear(linear)
    }
}

impl From<Exponential> for BackoffSettings {
    fn from(exponential: Exponential) -> Self {
        Self::Exponential(exponential)
    }
}

impl From<BackoffSettings> for Backoff {
    fn from(settings: BackoffSettings) -> Self {
        match settings {
            BackoffSettings::Constant(constant) => constant.into(),
            BackoffSettings::Linear(linear) => linear.into(),
            BackoffSettings::Exponential(exponential) => exponential.into(),
        }
    }
}

/// What bounds the retries of all calls together, as data.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum BudgetSettings {
    /// A bucket of this policy alone.
    Own(RetryBudgetSettings),
    /// Nothing does.
    Unlimited,
}

/// A [`RetryBudget`](super::RetryBudget) as data.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RetryBudgetSettings {
    /// How many tokens the full bucket holds.
    pub tokens: u32,
    /// How many tokens an attempt that succeeds adds: 0, or from 0.001 to 1. It is rounded to thousandths.
    pub per_success: f64,
    /// In which time one token is added, whatever the calls do. [`Duration::MAX`]: time adds none.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub refill_every: Duration,
}

impl RetryBudgetSettings {
    /// A bucket of this many tokens, to which a success adds 0.1 and a minute adds one.
    pub const fn new(tokens: u32) -> Self {
        Self { tokens, per_success: 0.1, refill_every: Duration::from_secs(60) }
    }

    pub(super) fn check(self, check: &mut Check) {
        let Self { per_success, refill_every, .. } = self;
        let fits = per_success == 0.0 || (0.001..=1.0).contains(&per_success);
        check.refuse_if(!fits, "per_success", format!("must be 0, or from 0.001 to 1, not {per_success}"));
        let is_too_fast = refill_every < Duration::from_micros(1);
        check.refuse_if(is_too_fast, "refill_every", format!("must be at least 1 µs, not {refill_every:?}"));
    }
}

/// The bucket that a policy has unless told otherwise.
impl Default for RetryBudgetSettings {
    fn default() -> Self {
        Self::new(10)
    }
}

/// Which settings code has given, so that data cannot.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenByCode {
    pub(super) backoff: bool,
    pub(super) budget: bool,
}

impl RetrySettings {
    /// A retry with these settings. For listeners, a classifier and what else is code besides:
    /// [`RetryBuilder::settings`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(&self, name: impl Into<Name>) -> Result<RetryWithBackoff, ConfigError> {
        RetryBuilder::new(name.into()).settings(self).build()
    }

    /// The shortest sleep before a second attempt, where there may be a second one and the settings say the backoff.
    pub(crate) fn shortest_sleep(&self) -> Option<Duration> {
        let backoff = self.backoff.filter(|_| self.max_attempts > 1)?;
        Backoff::from(backoff).shortest_first_delay()
    }

    /// Refuses bad settings for the retry of this name.
    pub(super) fn check(&self, given: GivenByCode, name: &Name) -> Result<(), ConfigError> {
        let mut check = Check::default();
        let Self { max_attempts, deadline, .. } = *self;
        check.refuse_if(max_attempts == 0, "max_attempts", "must be at least 1");
        let tokens = RetryBudgetSettings::default().tokens;
        let unpaid = self.budget.is_none() && !given.budget && max_attempts > tokens.saturating_add(1);
        let why = format!(
            "of {max_attempts} is more than the default budget of {tokens} retries pays for: say `budget` or `no_budget`",
        );
        check.refuse_if(unpaid, "max_attempts", why);
        let is_refused = self.backoff.is_some() && given.backoff;
        check.refuse_if(is_refused, "backoff", "is a closure in the code, which settings cannot replace: leave it out");
        Backoff::from(self.backoff.unwrap_or_default()).check(&mut check);
        let is_refused = self.budget.is_some() && given.budget;
        check.refuse_if(is_refused, "budget", "is shared by the code, and settings cannot replace it: leave it out");
        if let Some(BudgetSettings::Own(budget)) = self.budget {
            check.inside("budget", |check| budget.check(check));
        }
        check.refuse_if(deadline.is_some_and(|span| span.is_zero()), "deadline", "must be above zero");
        check.finish("retry", name)
    }
}
