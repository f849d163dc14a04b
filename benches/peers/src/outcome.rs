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
    pub(crate) refused: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: &impl Outcome) {
        match outcome.refused() {
            None => self.answered += 1,
            Some(false) => self.failed += 1,
            Some(true) => self.refused += 1,
        }
    }
}

/// The result of a call.
pub(crate) trait Outcome {
    /// Whether the policy said it rather than the operation; `None` if it answered.
    fn refused(&self) -> Option<bool>;
}

impl<E: Refusal> Outcome for Result<u64, E> {
    fn refused(&self) -> Option<bool> {
        self.as_ref().err().map(Refusal::is_refusal)
    }
}

/// An error of which one can tell.
pub(crate) trait Refusal {
    fn is_refusal(&self) -> bool;
}

impl Refusal for Failure {
    fn is_refusal(&self) -> bool {
        *self == Self::Refused
    }
}

impl Refusal for Roomy {
    fn is_refusal(&self) -> bool {
        self.0.is_some()
    }
}

impl Refusal for BoxError {
    fn is_refusal(&self) -> bool {
        self.is::<Overloaded>()
    }
}

macro_rules! refusals {
    ($($error:ty: $refusal:pat),* $(,)?) => {
        $(impl<E> Refusal for $error {
            fn is_refusal(&self) -> bool {
                matches!(self, $refusal)
            }
        })*
    };
}

refusals! {
    withstand::Error<E>: Self::Rejected(_),
    recloser::Error<E>: Self::Rejected,
    failsafe::Error<E>: Self::Rejected,
    BreakerError<E>: Self::Open,
    CircuitBreakerError<E>: Self::OpenCircuit,
    TimeLimiterError<E>: Self::Timeout,
    // Its "reject when full" is a wait of zero, and says so.
    BulkheadServiceError<E>: Self::Bulkhead(BulkheadError::BulkheadFull { .. } | BulkheadError::Timeout),
}

impl<E> Refusal for FallbackError<E> {
    fn is_refusal(&self) -> bool {
        false
    }
}
