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
    slot: Slot,
    admitted: Option<AdmittedCall>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    None,
    /// It waits in the queue, with this ticket.
    Queued(u64),
    Held,
}

impl<P> Permits<P>
where
    P: HoldsParts,
{
    #[inline]
    pub(super) fn none(whole: P) -> Self {
        Self { whole, slot: Slot::None, admitted: None }
    }

    #[inline]
    pub(super) fn parts(&self) -> &Parts {
        self.whole.parts()
    }

    #[inline]
    pub(super) fn hold_slot(&mut self) {
        self.slot = Slot::Held;
    }

    pub(super) fn queue(&mut self, ticket: u64) {
        self.slot = Slot::Queued(ticket);
    }

    /// The ticket of a call that waits in the queue.
    pub(super) fn ticket(&self) -> Option<u64> {
        match self.slot {
            Slot::Queued(ticket) => Some(ticket),
            Slot::None | Slot::Held => None,
        }
    }

    #[inline]
    pub(super) fn admit(&mut self, admitted: AdmittedCall) {
        self.admitted = Some(admitted);
    }

    /// Settles a success of the attempt, if that needs neither the lock nor the clock.
    #[inline]
    pub(super) fn settle_success(&mut self) -> bool {
        let (Some(admitted), Some(circuit)) = (self.admitted, self.whole.parts().circuit()) else { return true };
        let settled = circuit.settle_success(admitted);
        if settled {
            self.admitted = None;
        }
        settled
    }

    /// The attempt has ended.
    pub(super) fn settle(&mut self, verdict: Verdict) {
        if let (Some(admitted), Some(circuit)) = (self.admitted.take(), self.whole.parts().circuit()) {
            circuit.settle(admitted, verdict);
        }
    }

    /// The attempt was dropped before its end.
    pub(super) fn settle_dropped(&mut self) {
        if let (Some(admitted), Some(circuit)) = (self.admitted.take(), self.whole.parts().circuit()) {
            circuit.settle_dropped(admitted);
        }
    }

    /// Gives the slot back, or leaves the queue.
    #[inline]
    pub(super) fn release_slot(&mut self) {
        if let (Slot::Held | Slot::Queued(_), Some(slots)) = (self.slot, self.whole.parts().slots()) {
            match mem::replace(&mut self.slot, Slot::None) {
                Slot::Held => slots.release(),
                Slot::Queued(ticket) => slots.leave(ticket),
                Slot::None => {}
            }
        }
    }
}

impl<P> Drop for Permits<P>
where
    P: HoldsParts,
{
    #[inline]
    fn drop(&mut self) {
        if self.admitted.is_some() {
            self.settle_dropped();
        }
        self.release_slot();
    }
}
