use std::{fmt, ops::Deref};

use super::shared::Slots;
use crate::sync::Arc;

/// A slot of a [`Bulkhead`](super::Bulkhead). Dropping it gives the slot back, and the next call in the queue gets it.
///
/// From [`acquire`](super::Bulkhead::acquire) and [`try_acquire`](super::Bulkhead::try_acquire).
#[must_use = "a permit that is dropped at once holds no slot"]
pub struct BulkheadPermit {
    slot: SlotGuard<Arc<Slots>>,
}

impl BulkheadPermit {
    pub(super) fn new(slot: SlotGuard<Arc<Slots>>) -> Self {
        Self { slot }
    }
}

impl fmt::Debug for BulkheadPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadPermit").field("bulkhead", &self.slot.slots.name()).finish()
    }
}

/// Gives its slot back when it is dropped. `A` is how it holds the bulkhead: borrowed or shared.
pub(super) struct SlotGuard<A>
where
    A: Deref<Target = Slots>,
{
    slots: A,
}

impl<A> SlotGuard<A>
where
    A: Deref<Target = Slots>,
{
    /// Holds a slot that was taken or granted.
    pub(super) fn new(slots: A) -> Self {
        Self { slots }
    }
}

impl<A> Drop for SlotGuard<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    fn drop(&mut self) {
        self.slots.release();
    }
}
