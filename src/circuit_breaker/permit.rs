use std::ops::Deref;

use super::circuit::{Circuit, Ticket};
use crate::{classify::Verdict, sync::Arc};

/// Leave to make one call through a circuit.
///
/// From [`try_acquire`](super::CircuitBreaker::try_acquire), for streams, synchronous code and whoever has a control flow of their
/// own. Say how the call ended; a permit that is dropped unsaid counts as a dropped call, and gives a
/// probe's slot back.
///
/// `A` is how it holds the circuit: shared, or, inside a call, borrowed.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts as a dropped call"]
pub struct CircuitBreakerPermit<A = Arc<Circuit>>
where
    A: Deref<Target = Circuit>,
{
    circuit: A,
    ticket: Option<Ticket>,
}

impl<A> CircuitBreakerPermit<A>
where
    A: Deref<Target = Circuit>,
{
    pub(super) fn new(circuit: A, ticket: Ticket) -> Self {
        Self { circuit, ticket: Some(ticket) }
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
        if let Some(ticket) = self.ticket.take() {
            self.circuit.settle(ticket, verdict);
        }
    }
}

impl<A> Drop for CircuitBreakerPermit<A>
where
    A: Deref<Target = Circuit>,
{
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.circuit.settle_dropped(ticket);
        }
    }
}
