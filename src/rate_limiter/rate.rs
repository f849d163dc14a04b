//! The limit, as the core counts by it.

use std::time::Duration;

use super::gcra::Pace;
use crate::clock::nanos;

/// How permits come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One after the other, evenly.
    Gcra,
    /// All at once, when a window begins.
    FixedWindow,
}

/// So many permits in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) period: Duration,
    pub(super) form: Form,
    pub(super) pace: Pace,
}

impl Rate {
    /// Takes the settings without a check.
    pub(super) fn new(limit: u32, period: Duration, burst: Option<u32>, form: Form) -> Self {
        let interval = match form {
            // Zero permits are asked for, and none comes.
            Form::Gcra => nanos(period).div_ceil(u64::from(limit.max(1))).max(1),
            Form::FixedWindow => nanos(period),
        };
        let burst = if limit == 0 { 0 } else { burst.unwrap_or(limit) };
        Self { limit, period, form, pace: Pace { interval, burst } }
    }

    pub(super) fn period_nanos(&self) -> u64 {
        nanos(self.period)
    }
}
