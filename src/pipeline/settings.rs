//! The settings as data: those of all parts.

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{
    config::{PipelineBuilder, STANDARD_ATTEMPT_TIMEOUT, STANDARD_MAX_CONCURRENT, STANDARD_TIMEOUT},
    policy::Pipeline,
    shared::Parts,
};
#[cfg(feature = "serde")]
use crate::duration_text;
use crate::{
    bulkhead::BulkheadSettings,
    circuit_breaker::CircuitBreakerSettings,
    error::{Check, ConfigError, Name},
    queue::QueueSettings,
    rate_limiter::RateLimiterSettings,
    retry::RetrySettings,
};

/// The settings of a [`Pipeline`] as data: what a file can say.
///
/// Each field is named like the setter of the [`PipelineBuilder`]. A part that is absent is not there; a part whose
/// table is empty has its defaults. So [`Default`] has no part at all, and [`standard`](Self::standard) has those that
/// we recommend. Classifiers, fallbacks and listeners are code, and so is what the settings of a part cannot say.
///
/// ```
/// use std::time::Duration;
/// use withstand::pipeline::PipelineSettings;
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let mut settings = PipelineSettings::standard();
/// let users = settings.build("users")?;
///
/// settings.timeout = Some(Duration::from_secs(3));
/// users.apply(&settings)?;
/// assert_eq!(users.settings(), settings);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct PipelineSettings {
    /// How long a call may take, with all of its waits and attempts.
    #[cfg_attr(feature = "serde", serde(with = "duration_text::option"))]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    pub timeout: Option<Duration>,
    /// How many calls may begin in each period.
    pub rate_limiter: Option<RateLimiterSettings>,
    /// How many calls may run at once.
    pub bulkhead: Option<BulkheadSettings>,
    /// Sends an attempt again that failed.
    pub retry: Option<RetrySettings>,
    /// Stops calling while the dependency fails.
    pub circuit_breaker: Option<CircuitBreakerSettings>,
    /// How long each attempt may take.
    #[cfg_attr(feature = "serde", serde(with = "duration_text::option"))]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    pub attempt_timeout: Option<Duration>,
}

impl PipelineSettings {
    /// The settings of [`Pipeline::standard`].
    pub fn standard() -> Self {
        Self {
            timeout: Some(STANDARD_TIMEOUT),
            rate_limiter: None,
            bulkhead: Some(BulkheadSettings::new(STANDARD_MAX_CONCURRENT)),
            retry: Some(RetrySettings::default()),
            circuit_breaker: Some(CircuitBreakerSettings::default()),
            attempt_timeout: Some(STANDARD_ATTEMPT_TIMEOUT),
        }
    }

    /// A pipeline with these settings. For a classifier, a fallback and what else is code besides:
    /// [`PipelineBuilder::settings`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting of all parts by its path, `circuit_breaker.failure_rate`, and
    /// every contradiction between them.
    pub fn build(&self, name: impl Into<Name>) -> Result<Pipeline, ConfigError> {
        PipelineBuilder::new(name.into()).settings(self).build()
    }

    /// Those of the parts, as they are in force now.
    pub(super) fn of(parts: &Parts) -> Self {
        Self {
            timeout: parts.total.span(),
            rate_limiter: parts.rate_limiter.as_ref().map(|limiter| limiter.settings()),
            bulkhead: parts.bulkhead.as_ref().map(|bulkhead| bulkhead.settings()),
            retry: parts.retry.as_ref().map(|retry| retry.settings()),
            circuit_breaker: parts.circuit_breaker.as_ref().map(|breaker| breaker.settings()),
            attempt_timeout: parts.attempt.span(),
        }
    }

    /// Refuses contradictions between the parts.
    pub(super) fn check(&self, check: &mut Check) {
        let span = |limit: Option<Duration>| limit.filter(|limit| *limit != Duration::MAX);
        let (total, attempt) = (span(self.timeout), span(self.attempt_timeout));
        check.refuse_if(total.is_some_and(|total| total.is_zero()), "timeout", "must be above zero");
        check.refuse_if(attempt.is_some_and(|attempt| attempt.is_zero()), "attempt_timeout", "must be above zero");
        if let (Some(total), Some(attempt)) = (total, attempt) {
            let why = format!("must be longer than attempt_timeout, {attempt:?}, not {total:?}");
            check.refuse_if(total <= attempt, "timeout", why);
        }
        let of_limiter = self.rate_limiter.as_ref().and_then(|limiter| limiter.queue);
        let of_bulkhead = self.bulkhead.as_ref().and_then(|bulkhead| bulkhead.queue);
        for (part, queue) in [("rate_limiter", of_limiter), ("bulkhead", of_bulkhead)] {
            if let (Some(total), Some(QueueSettings { max_wait: wait, .. })) = (total, queue) {
                let why =
                    format!("has a queue in which a call waits for {wait:?}, not shorter than timeout, {total:?}");
                check.refuse_if(wait >= total, part, why);
            }
        }
        let sleep = self.retry.as_ref().and_then(RetrySettings::shortest_sleep);
        if let (Some(total), Some(sleep)) = (total, sleep) {
            let why =
                format!("sleeps for at least {sleep:?} before a second attempt, not shorter than timeout, {total:?}");
            check.refuse_if(sleep >= total, "retry", why);
        }
        if let (Some(attempt), Some(breaker)) = (attempt, &self.circuit_breaker) {
            breaker.check_attempt_timeout(attempt, check);
        }
    }
}

impl Parts {
    /// Whether these settings could be applied.
    pub(super) fn check(&self, settings: &PipelineSettings, check: &mut Check) {
        let Self { rate_limiter, bulkhead, retry, circuit_breaker, .. } = self;
        if let Some((limiter, settings)) = both("rate_limiter", rate_limiter, &settings.rate_limiter, check) {
            check.part("rate_limiter", limiter.check(settings));
        }
        if let Some((bulkhead, settings)) = both("bulkhead", bulkhead, &settings.bulkhead, check) {
            check.part("bulkhead", bulkhead.check(settings));
        }
        if let Some((retry, settings)) = both("retry", retry, &settings.retry, check) {
            check.part("retry", retry.check(settings));
        }
        if let Some((breaker, settings)) = both("circuit_breaker", circuit_breaker, &settings.circuit_breaker, check) {
            check.part("circuit_breaker", breaker.check(settings));
        }
        settings.check(check);
    }

    /// Applies settings that were checked.
    pub(super) fn apply_checked(&self, settings: &PipelineSettings) {
        // Two threads that apply settings do not end with some of each.
        let _one_at_a_time = self.changes.lock();
        self.total.set(settings.timeout);
        self.attempt.set(settings.attempt_timeout);
        if let (Some(limiter), Some(settings)) = (&self.rate_limiter, &settings.rate_limiter) {
            limiter.apply_checked(settings);
        }
        if let (Some(bulkhead), Some(settings)) = (&self.bulkhead, &settings.bulkhead) {
            bulkhead.apply_checked(settings);
        }
        if let (Some(retry), Some(settings)) = (&self.retry, &settings.retry) {
            retry.apply_checked(settings);
        }
        if let (Some(breaker), Some(settings)) = (&self.circuit_breaker, &settings.circuit_breaker) {
            breaker.apply_checked(settings);
        }
    }

    /// Takes these settings as those that the pipeline was made with.
    pub(super) fn set_made_with(&self, settings: &PipelineSettings) {
        self.total.set_made_with(settings.timeout);
        self.attempt.set_made_with(settings.attempt_timeout);
        if let (Some(limiter), Some(settings)) = (&self.rate_limiter, &settings.rate_limiter) {
            limiter.set_made_with(settings);
        }
        if let (Some(bulkhead), Some(settings)) = (&self.bulkhead, &settings.bulkhead) {
            bulkhead.set_made_with(settings);
        }
        if let (Some(retry), Some(settings)) = (&self.retry, &settings.retry) {
            retry.set_made_with(settings);
        }
        if let (Some(breaker), Some(settings)) = (&self.circuit_breaker, &settings.circuit_breaker) {
            breaker.set_made_with(settings);
        }
    }
}

/// The part and its settings, if both are there. A part that is there and has to go, or the other way round, is
/// refused: calls that run hold what it counts.
fn both<'a, P, S>(
    field: &'static str,
    part: &'a Option<P>,
    settings: &'a Option<S>,
    check: &mut Check,
) -> Option<(&'a P, &'a S)> {
    let has_to_go = part.is_some() && settings.is_none();
    check.refuse_if(has_to_go, field, "cannot be removed while the pipeline is in use");
    let has_to_come = part.is_none() && settings.is_some();
    check.refuse_if(has_to_come, field, "cannot be added while the pipeline is in use");
    part.as_ref().zip(settings.as_ref())
}
