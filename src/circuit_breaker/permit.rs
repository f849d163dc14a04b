use std::{mem, ops::Deref};

use super::shared::{Circuit, Ticket};
use crate::{classify::Verdict, sync::Arc};

/// Leave to make one call through a circuit.
///
/// From [`try_acquire`](super::CircuitBreaker::try_acquire), for streams, synchronous code and whoever has a control flow of their
/// own. Say how the call ended; a permit that is dropped unsaid counts as a dropped call, and gives a
/// probe's slot back.
///
/// `A` is how it holds the circuit: shared, or, inside a plain call, borrowed.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts as a dropped call"]
pub struct CircuitBreakerPermit<A = Arc<Circuit>>
where
    A: Deref<Target = Circuit>,
{
    circuit: A,
    // None once it is settled.
    ticket: Ticket,
}

impl<A> CircuitBreakerPermit<A>
where
    A: Deref<Target = Circuit>,
{
    pub(super) fn new(circuit: A, ticket: Ticket) -> Self {
        Self { circuit, ticket }
    }

    pub(super) fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Settles a success, if that takes neither the lock nor the time.
    #[inline]
    pub(super) fn settle_success(&mut self, verdict: Verdict) -> bool {
        let settled = verdict == Verdict::Healthy && self.circuit.settle_success(self.ticket);
        if settled {
            self.ticket = Ticket::NONE;
        }
        settled
    }

    #[inline]
    pub(super) fn settle(&mut self, verdict: Verdict) {
        let ticket = mem::replace(&mut self.ticket, Ticket::NONE);
        self.circuit.settle(ticket, verdict);
    }

    /// The dependency answered.
    pub fn success(self) {
        self.record(Verdict::Healthy);
    }

    /// The dependency failed.
    pub fn failure(self) {
        self.record(Verdict::Failed);
    }

    /// The call ended like this.
    pub fn record(mut self, verdict: Verdict) {
        self.settle(verdict);
    }
}

impl<A> Drop for CircuitBreakerPermit<A>
where
    A: Deref<Target = Circuit>,
{
    #[inline]
    fn drop(&mut self) {
        if !self.ticket.is_none() {
            self.circuit.settle_dropped(self.ticket);
        }
    }
}
