//! What a call has taken of its pipeline's parts, and gives back.

use std::mem;

use super::shared::{HasParts, HoldsParts, Parts};
use crate::{circuit_breaker::AdmittedCall, classify::Verdict};

/// The bulkhead's slot, and the circuit's permission for the attempt that runs.
///
/// Dropped, it gives both back: the attempt counts as dropped, and then its call's slot is free.
#[derive(Debug)]
pub(super) struct Permits<P>
where
    P: HoldsParts,
{
    pub(super) whole: P,
    taken: Taken,
}

#[cold]
fn leave_limiter(parts: &Parts, ticket: u64) {
    if let Some(limiter) = parts.limiter() {
        limiter.leave(ticket);
    }
}

/// What a call has taken, as plain data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    slot: Slot,
    admitted: Option<AdmittedCall>,
}

impl Taken {
    pub(super) const NOTHING: Self = Self { slot: Slot::None, admitted: None };

    /// The slot of the bulkhead, or the right to run without a bulkhead.
    pub(super) const SLOT: Self = Self { slot: Slot::Held, admitted: None };

    /// The right to run, and the circuit's permission for an attempt.
    #[inline]
    pub(super) fn attempt(admitted: Option<AdmittedCall>) -> Self {
        Self { slot: Slot::Held, admitted }
    }

    /// A place in the queue of the rate limiter.
    pub(super) fn limited(ticket: u64) -> Self {
        Self { slot: Slot::Limited(ticket), admitted: None }
    }

    /// A place in the queue of the bulkhead.
    pub(super) fn queued(ticket: u64) -> Self {
        Self { slot: Slot::Queued(ticket), admitted: None }
    }

    /// The attempt counts as dropped, and then its call's slot is free.
    #[cold]
    pub(super) fn give_back(mut self, parts: &Parts) {
        self.settle_dropped(parts);
        self.release_slot(parts);
    }

    fn settle_dropped(&mut self, parts: &Parts) {
        if let (Some(admitted), Some(circuit)) = (self.admitted.take(), parts.circuit()) {
            circuit.settle_dropped(admitted);
        }
    }

    #[inline]
    fn release_slot(&mut self, parts: &Parts) {
        match (mem::replace(&mut self.slot, Slot::None), parts.slots()) {
            (Slot::Held, Some(slots)) => slots.release(),
            (Slot::Queued(ticket), Some(slots)) => slots.leave(ticket),
            (Slot::Limited(ticket), _) => leave_limiter(parts, ticket),
            (Slot::None, _) | (_, None) => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    None,
    /// It waits in the queue of the rate limiter, with this ticket.
    Limited(u64),
    /// It waits in the queue of the bulkhead, with this ticket.
    Queued(u64),
    Held,
}

impl<P> Permits<P>
where
    P: HoldsParts,
{
    #[inline]
    pub(super) fn new(whole: P, taken: Taken) -> Self {
        Self { whole, taken }
    }

    #[inline]
    pub(super) fn parts(&self) -> &Parts {
        self.whole.parts()
    }

    #[inline]
    pub(super) fn hold_slot(&mut self) {
        self.taken.slot = Slot::Held;
    }

    /// The ticket of a call that waits in a queue.
    pub(super) fn ticket(&self) -> Option<u64> {
        match self.taken.slot {
            Slot::Limited(ticket) | Slot::Queued(ticket) => Some(ticket),
            Slot::None | Slot::Held => None,
        }
    }

    /// It has left the queue of the rate limiter.
    pub(super) fn leave_limiter(&mut self) {
        self.taken.slot = Slot::None;
    }

    /// It waits in the queue of the bulkhead.
    pub(super) fn queue(&mut self, ticket: u64) {
        self.taken.slot = Slot::Queued(ticket);
    }

    #[inline]
    pub(super) fn admit(&mut self, admitted: Option<AdmittedCall>) {
        self.taken.admitted = admitted;
    }

    /// Settles a success of the attempt, if that needs neither the lock nor the clock.
    #[inline]
    pub(super) fn settle_success(&mut self) -> bool {
        let (Some(admitted), Some(circuit)) = (self.taken.admitted, self.whole.parts().circuit()) else { return true };
        let settled = circuit.settle_success(admitted);
        if settled {
            self.taken.admitted = None;
        }
        settled
    }

    /// The attempt has ended.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        if let (Some(admitted), Some(circuit)) = (self.taken.admitted.take(), self.whole.parts().circuit()) {
            circuit.settle(admitted, verdict);
        }
    }

    /// The attempt was dropped before its end.
    pub(super) fn settle_dropped(&mut self) {
        self.taken.settle_dropped(self.whole.parts());
    }

    /// Gives the slot back, or leaves the queue.
    #[inline]
    pub(super) fn release_slot(&mut self) {
        self.taken.release_slot(self.whole.parts());
    }
}

impl<P> Drop for Permits<P>
where
    P: HoldsParts,
{
    #[inline]
    fn drop(&mut self) {
        if self.taken.admitted.is_some() || self.taken.slot != Slot::None {
            self.taken.give_back(self.whole.parts());
        }
    }
}
