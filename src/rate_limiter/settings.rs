//! The settings as data, and their checks.

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{
    config::RateLimiterBuilder,
    gcra::LONGEST_DEBT,
    policy::RateLimiter,
    rate::{Form, Rate},
};
#[cfg(feature = "serde")]
use crate::duration_text;
use crate::{
    clock::nanos,
    error::{Check, ConfigError, Name},
    queue::QueueSettings,
};

/// The settings of a [`RateLimiter`] as data: what a file can say.
///
/// Each field is named like the argument or the setter of the [`RateLimiterBuilder`], which tells more of it. Listeners
/// are code, and only the builder adds them. `limit` and `period` have no default: you name them.
///
/// ```
/// use std::time::Duration;
/// use withstand::rate_limiter::{QueueSettings, RateLimiterSettings};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let mut settings = RateLimiterSettings::new(100, Duration::from_secs(60));
/// let limiter = settings.build("stock")?;
///
/// settings.queue = Some(QueueSettings::new(50, Duration::from_secs(5)));
/// limiter.apply(&settings)?;
/// assert_eq!(limiter.queue_capacity(), 50);
/// # Ok(()) }
/// ```
// The form is a flag and no enum, because the builder's word is `fixed_window()`, and nobody has to know the name of
// what is used otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RateLimiterSettings {
    /// How many calls may begin in each period. Zero rejects every call.
    pub limit: u32,
    /// The period: above zero, and at most 36 years.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub period: Duration,
    /// How many permits an idle limiter keeps for later: at least 1. Absent: as many as the limit.
    #[cfg_attr(feature = "serde", serde(default))]
    pub burst: Option<u32>,
    /// Whether it counts in fixed windows. Then it has no burst. It cannot change while the limiter is in use.
    #[cfg_attr(feature = "serde", serde(default))]
    pub fixed_window: bool,
    /// The queue for calls that find no permit. Absent: they are rejected at once.
    #[cfg_attr(feature = "serde", serde(default))]
    pub queue: Option<QueueSettings>,
}

impl RateLimiterSettings {
    /// `limit` calls in each `period`, the burst that follows the limit, and no queue.
    pub const fn new(limit: u32, period: Duration) -> Self {
        Self { limit, period, burst: None, fixed_window: false, queue: None }
    }

    /// A rate limiter with these settings. For listeners besides: [`RateLimiterBuilder::settings`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(&self, name: impl Into<Name>) -> Result<RateLimiter, ConfigError> {
        RateLimiterBuilder::new(name.into(), self.limit, self.period).settings(self).build()
    }

    pub(super) fn rate(&self) -> Rate {
        let form = if self.fixed_window { Form::FixedWindow } else { Form::Gcra };
        Rate::new(self.limit, self.period, self.burst, form)
    }

    pub(super) fn queue_capacity(&self) -> usize {
        self.queue.map_or(0, |queue| queue.capacity)
    }

    pub(super) fn max_wait(&self) -> Option<Duration> {
        self.queue.map(|queue| queue.max_wait)
    }

    /// Refuses bad settings for the rate limiter of this name. `in_use`: those that they are to replace.
    pub(super) fn check(&self, name: &Name, in_use: Option<&Self>) -> Result<(), ConfigError> {
        let mut check = Check::default();
        let (span, pace) = (nanos(self.period), self.rate().pace);
        let is_too_fast = u64::from(self.limit) > span && span > 0;
        check.refuse_if(is_too_fast, "limit", "must be at most one permit for each nanosecond of the period");
        check.refuse_if(span == 0, "period", "must be above zero");
        check.refuse_if(span > LONGEST_DEBT, "period", "must be at most 36 years");
        let is_zero = self.burst == Some(0);
        check.refuse_if(is_zero, "burst", "must be at least 1; for no permits at all, set a limit of zero");
        let is_idle = self.fixed_window && self.burst.is_some();
        check.refuse_if(is_idle, "burst", "must be left out, because a fixed window has none");
        let refills_in = pace.interval.saturating_mul(u64::from(pace.burst));
        let is_too_large = !self.fixed_window && span <= LONGEST_DEBT && refills_in > LONGEST_DEBT;
        check.refuse_if(is_too_large, "burst", "must be refilled within 36 years");
        let has_changed = in_use.is_some_and(|in_use| in_use.fixed_window != self.fixed_window);
        check.refuse_if(has_changed, "fixed_window", "cannot change while the rate limiter is in use");
        if let Some(queue) = self.queue {
            queue.check(&mut check);
        }
        check.finish("rate limiter", name)
    }
}
