use std::{future::Future, time::Duration};

use super::{
    acquire::BulkheadAcquire,
    config::BulkheadBuilder,
    future::BulkheadFuture,
    permit::{BulkheadPermit, SlotGuard},
    shared::{Slots, Snapshot},
};
use crate::{
    carry::CarriesRejected,
    error::{ConfigError, Name, Rejected},
    sync::Arc,
};

/// Lets only so many calls run at once.
///
/// See the [module](super). Clones share the slots, and so does every layer.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    pub(super) slots: Arc<Slots>,
}

impl Bulkhead {
    /// Lets `max_concurrent` calls run at once, and rejects others at once. Zero rejects all.
    pub fn new(name: impl Into<Name>, max_concurrent: usize) -> Self {
        Self { slots: Arc::new(Self::builder(name, max_concurrent).unchecked()) }
    }

    /// Settings for a bulkhead of this name and size.
    pub fn builder(name: impl Into<Name>, max_concurrent: usize) -> BulkheadBuilder {
        BulkheadBuilder::new(name.into(), max_concurrent)
    }
}

impl BulkheadBuilder {
    /// A bulkhead with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        Ok(Bulkhead { slots: Arc::new(self.checked()?) })
    }
}

impl Bulkhead {
    /// Starts the operation if a slot is free; if not, waits in line for one, or rejects.
    ///
    /// The slot or the place in line is taken at once; awaiting the future only waits.
    ///
    /// # Errors
    ///
    /// The operation's own, or [`Rejected::BulkheadFull`], and then the operation was not started.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the operation, then frees its slot; or leaves the line, and a slot
    /// that was granted meanwhile goes to the next.
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with time enabled, and it has to wait in line.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> BulkheadFuture<F, Fut, &Slots>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
    {
        BulkheadFuture::start(&&*self.slots, || operation)
    }

    /// A slot, if one is free now.
    ///
    /// # Errors
    ///
    /// [`Rejected::BulkheadFull`].
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Rejected> {
        if self.slots.try_enter() {
            return Ok(BulkheadPermit::new(SlotGuard::new(self.slots.clone())));
        }
        Err(self.slots.reject_permit().into())
    }

    /// A slot, waiting in line for it if there is a queue. The slot or the place is taken at once.
    ///
    /// # Errors
    ///
    /// The future yields [`Rejected::BulkheadFull`] if there is no place, or the wait is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the line.
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with time enabled, and it has to wait in line.
    pub fn acquire(&self) -> BulkheadAcquire {
        BulkheadAcquire::start(self.slots.clone())
    }

    /// Changes how many calls may run at once.
    ///
    /// More lets those who wait run; fewer takes effect as calls finish; zero lets those that run finish and no
    /// other begin.
    pub fn set_max_concurrent(&self, max_concurrent: usize) {
        self.slots.set_max_concurrent(max_concurrent);
    }

    /// How many calls may run at once.
    pub fn max_concurrent(&self) -> usize {
        self.slots.max_concurrent()
    }

    /// How many calls the queue has room for. Zero if there is no queue.
    pub fn queue_capacity(&self) -> usize {
        self.slots.queue_capacity()
    }

    /// How long a call may wait in the queue. `None` if there is no queue.
    pub fn max_wait(&self) -> Option<Duration> {
        self.slots.max_wait
    }

    /// The bulkhead's name.
    pub fn name(&self) -> &str {
        self.slots.name().as_str()
    }

    /// How many calls run and wait now. It waits for none of them.
    pub fn snapshot(&self) -> Snapshot {
        self.slots.snapshot()
    }
}
