use std::ops::Deref;

use super::shared::Slots;
use crate::sync::Arc;

/// A slot of a [`Bulkhead`](super::Bulkhead). Dropping it gives it back, and lets the next in line run.
///
/// `A` is how it holds the bulkhead: shared, or, inside a plain call, borrowed.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once holds no slot"]
pub struct BulkheadPermit<A = Arc<Slots>>
where
    A: Deref<Target = Slots>,
{
    slots: A,
}

impl<A> BulkheadPermit<A>
where
    A: Deref<Target = Slots>,
{
    /// Holds a slot that was taken or granted.
    pub(super) fn new(slots: A) -> Self {
        Self { slots }
    }
}

impl<A> Drop for BulkheadPermit<A>
where
    A: Deref<Target = Slots>,
{
    #[inline]
    fn drop(&mut self) {
        self.slots.release();
    }
}
