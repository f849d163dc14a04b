use std::{fmt, time::Duration};

use crate::{error::Name, event::Event};

/// Why a call that failed was not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GaveUp {
    /// `max_attempts` were made.
    AttemptsSpent,
    /// The budget has no token left.
    BudgetSpent,
    /// The sleep would have passed the deadline.
    DeadlinePassed,
    /// The backoff's sequence of delays ended.
    BackoffEnded,
    /// The dependency asked to be left alone for longer than `max_retry_after`.
    RetryAfterTooLong,
    /// The request declined to be copied.
    NotRepeatable,
}

impl GaveUp {
    /// The reason as it appears in `tracing` events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsSpent => "attempts spent",
            Self::BudgetSpent => "budget spent",
            Self::DeadlinePassed => "deadline passed",
            Self::BackoffEnded => "backoff ended",
            Self::RetryAfterTooLong => "retry-after too long",
            Self::NotRepeatable => "not repeatable",
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a retry reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// A try failed, and another will follow.
    #[non_exhaustive]
    Retrying {
        /// The policy's name.
        name: Name,
        /// The number of the try that failed, from 1.
        attempt: u32,
        /// How long it will sleep.
        delay: Duration,
    },
    /// A try failed, and no other will follow though its error was transient.
    #[non_exhaustive]
    GaveUp {
        /// The policy's name.
        name: Name,
        /// How many tries were made.
        attempts: u32,
        /// Why no other follows.
        reason: GaveUp,
    },
}

impl Event for RetryEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Retrying { name, attempt, delay } => tracing::info!(
                target: "withstand::retry",
                name = name.as_str(),
                attempt,
                delay_ms = delay.as_secs_f64() * 1e3,
                "trying again"
            ),
            Self::GaveUp { name, attempts, reason } => tracing::info!(
                target: "withstand::retry",
                name = name.as_str(),
                attempts,
                reason = reason.as_str(),
                "gave up"
            ),
        }
    }
}
