use std::ops::Deref;

use super::shared::{AdmittedCall, Circuit};
use crate::{classify::Verdict, sync::Arc};

/// Permission to make one call through a circuit.
///
/// It comes from [`try_acquire`](super::CircuitBreaker::try_acquire), for streams, synchronous code and code with a
/// control flow of its own. Say how the call ended. A permit that is dropped without that counts as a dropped call, and
/// gives a probe's slot back.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts as a dropped call"]
pub struct CircuitBreakerPermit {
    permit: Permit<Arc<Circuit>>,
}

impl CircuitBreakerPermit {
    pub(super) fn new(circuit: Arc<Circuit>, admitted: AdmittedCall) -> Self {
        Self { permit: Permit::new(circuit, Some(admitted)) }
    }

    /// The dependency answered.
    pub fn success(self) {
        self.record(Verdict::Healthy);
    }

    /// The dependency failed.
    pub fn failure(self) {
        self.record(Verdict::Failed);
    }

    /// The call ended with a result of this verdict.
    pub fn record(mut self, verdict: Verdict) {
        self.permit.settle(verdict);
    }
}

/// A permit that holds its circuit as its call does: borrowed, or shared.
#[derive(Debug)]
pub(super) struct Permit<A>
where
    A: Deref<Target = Circuit>,
{
    circuit: A,
    // `None` once it is settled, and where the call was rejected.
    admitted: Option<AdmittedCall>,
}

impl<A> Permit<A>
where
    A: Deref<Target = Circuit>,
{
    pub(super) fn new(circuit: A, admitted: Option<AdmittedCall>) -> Self {
        Self { circuit, admitted }
    }

    pub(super) fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Settles a success, if that needs neither the lock nor the clock.
    #[inline]
    pub(super) fn settle_success(&mut self, verdict: Verdict) -> bool {
        let settled = match self.admitted {
            Some(admitted) if matches!(verdict, Verdict::Healthy) => self.circuit.settle_success(admitted),
            _ => false,
        };
        if settled {
            self.admitted = None;
        }
        settled
    }

    #[inline]
    pub(super) fn settle(&mut self, verdict: Verdict) {
        if let Some(admitted) = self.admitted.take() {
            self.circuit.settle(admitted, verdict);
        }
    }
}

impl<A> Drop for Permit<A>
where
    A: Deref<Target = Circuit>,
{
    #[inline]
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted {
            self.circuit.settle_dropped(admitted);
        }
    }
}
