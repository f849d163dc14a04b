use std::{fmt, time::Duration};

use crate::{classify::Verdict, error::Name, event::Event};

/// Why a call that failed was not attempted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// The dependency asked to be left alone for longer than `max_retry_after`, or for longer than the clock can count.
    RetryAfterTooLong,
    /// The request cannot be copied, or another attempt would not be safe: the one that failed may have had an effect,
    /// and the request, or the whole retry ([`not_idempotent`](crate::RetryWithBackoff::not_idempotent)), is not
    /// idempotent.
    NotRepeatable,
    /// After others were sent, an attempt did not reach the dependency: our own breaker or bulkhead rejected it, or the
    /// classifier judged its result [`Ignored`](Verdict::Ignored) for another reason.
    Rejected,
    /// The service failed to become ready for another attempt.
    NotReady,
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
            Self::Rejected => "rejected",
            Self::NotReady => "not ready",
        }
    }
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a retry reports. In `tracing` all of it has the level `DEBUG`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// An attempt failed, and another will follow.
    Retrying {
        /// The policy's name.
        name: Name,
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// What that attempt's result was judged.
        verdict: Verdict,
        /// How long the call sleeps before the next attempt.
        delay: Duration,
    },
    /// The last attempt failed, and no other follows, although another one might have helped. A retry that allows one
    /// attempt only (`max_attempts(1)`) gives nothing up, and does not report this.
    GaveUp {
        /// The policy's name.
        name: Name,
        /// How many attempts were made. An attempt that was rejected, or whose service was not ready, and that ended
        /// the call with [`Rejected`](GaveUp::Rejected) or [`NotReady`](GaveUp::NotReady) is not counted.
        attempts: u32,
        /// What the result of the last of these attempts was judged.
        verdict: Verdict,
        /// Why no other attempt follows.
        reason: GaveUp,
    },
}

impl Event for RetryEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Retrying { name, attempt, verdict, delay } => tracing::debug!(
                target: "withstand::retry",
                name = name.as_str(),
                attempt,
                ?verdict,
                delay_ms = delay.as_secs_f64() * 1e3,
                "retrying"
            ),
            Self::GaveUp { name, attempts, verdict, reason } => tracing::debug!(
                target: "withstand::retry",
                name = name.as_str(),
                attempts,
                ?verdict,
                reason = reason.as_str(),
                "gave up"
            ),
        }
    }
}
