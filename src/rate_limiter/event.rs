use std::time::Duration;

use crate::{error::Name, event::Event};

/// What a rate limiter reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimiterEvent {
    /// A call, or a permit that was asked for, was rejected.
    #[non_exhaustive]
    Rejected {
        /// The rate limiter's name.
        name: Name,
        /// How many permits there are in each period.
        limit: u32,
        /// The period.
        period: Duration,
        /// How long until the call would have been admitted. `None` if no wait would help.
        retry_after: Option<Duration>,
    },
}

impl Event for RateLimiterEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Rejected { name, limit, period, retry_after } => tracing::debug!(
                target: "withstand::rate_limiter",
                name = name.as_str(),
                limit,
                period_ms = period.as_secs_f64() * 1e3,
                retry_after_ms = retry_after.map(|left| left.as_secs_f64() * 1e3),
                "call rejected"
            ),
        }
    }
}
