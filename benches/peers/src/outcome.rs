//! How a call ended, in the words of each crate.

use circuitbreaker_rs::BreakerError;
use tower::{BoxError, load_shed::error::Overloaded};
use tower_resilience_bulkhead::{BulkheadError, BulkheadServiceError};
use tower_resilience_circuitbreaker::CircuitBreakerError;
use tower_resilience_fallback::FallbackError;
use tower_resilience_timelimiter::TimeLimiterError;

use crate::operation::{Failure, Roomy};

/// How so many calls ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) answered: u32,
    pub(crate) failed: u32,
    pub(crate) rejected: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: &impl Outcome) {
        match outcome.rejected() {
            None => self.answered += 1,
            Some(false) => self.failed += 1,
            Some(true) => self.rejected += 1,
        }
    }
}

/// The result of a call.
pub(crate) trait Outcome {
    /// Whether the policy said it rather than the operation; `None` if it answered.
    fn rejected(&self) -> Option<bool>;
}

impl<E: Rejection> Outcome for Result<u64, E> {
    fn rejected(&self) -> Option<bool> {
        self.as_ref().err().map(Rejection::is_rejection)
    }
}

/// An error of which one can tell.
pub(crate) trait Rejection {
    fn is_rejection(&self) -> bool;
}

impl Rejection for Failure {
    fn is_rejection(&self) -> bool {
        *self == Self::Rejected
    }
}

impl Rejection for Roomy {
    fn is_rejection(&self) -> bool {
        self.0.is_some()
    }
}

impl Rejection for BoxError {
    fn is_rejection(&self) -> bool {
        self.is::<Overloaded>()
    }
}

macro_rules! rejections {
    ($($error:ty: $rejection:pat),* $(,)?) => {
        $(impl<E> Rejection for $error {
            fn is_rejection(&self) -> bool {
                matches!(self, $rejection)
            }
        })*
    };
}

rejections! {
    withstand::Error<E>: Self::Rejected(_),
    recloser::Error<E>: Self::Rejected,
    failsafe::Error<E>: Self::Rejected,
    BreakerError<E>: Self::Open,
    CircuitBreakerError<E>: Self::OpenCircuit,
    TimeLimiterError<E>: Self::Timeout,
    // Its "reject when full" is a wait of zero, and says so.
    BulkheadServiceError<E>: Self::Bulkhead(BulkheadError::BulkheadFull { .. } | BulkheadError::Timeout),
}

impl<E> Rejection for FallbackError<E> {
    fn is_rejection(&self) -> bool {
        false
    }
}
