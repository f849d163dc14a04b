use super::verdict::{Classify, Verdict};
use crate::{
    carry::CarriesRejected,
    deadline,
    error::{Cause, Rejected},
};

/// The default: an error is a failure that another attempt may cure, unless it is our own rejection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByError;

impl<T, E: CarriesRejected> Classify<T, E> for ByError {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) => judge_error(error),
        }
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

pub(super) fn judge_error<E: CarriesRejected>(error: &E) -> Verdict {
    error.as_rejected().map_or(Verdict::TRANSIENT, judge_rejected)
}

/// A caller's deadline says nothing about the dependency, as long as it is the caller's own: outside of the scope of
/// that deadline, what it has ended is a timeout like any other.
pub(super) fn judge_rejected(rejected: &Rejected) -> Verdict {
    match rejected {
        Rejected::TimedOut(elapsed) => match elapsed.cause() {
            Cause::NotStarted => Verdict::Ignored,
            Cause::Deadline if deadline::has_passed() => Verdict::Ignored,
            Cause::Deadline | Cause::Limit => Verdict::TRANSIENT,
        },
        Rejected::CircuitOpen(_) | Rejected::BulkheadFull(_) | Rejected::RateLimited(_) => Verdict::Ignored,
    }
}
