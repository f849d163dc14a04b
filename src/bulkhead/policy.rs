use std::{future::Future, time::Duration};

use super::{
    acquire::BulkheadAcquire,
    config::BulkheadBuilder,
    future::BulkheadFuture,
    permit::{BulkheadPermit, SlotGuard},
    settings::BulkheadSettings,
    shared::{Slots, Snapshot},
};
use crate::{
    carry::CarriesRejected,
    error::{ConfigError, Name, Rejected},
    sync::Arc,
};

/// Lets only so many calls run at once.
///
/// See the [module](super). All clones and layers share the slots and the queue.
#[derive(Clone, Debug)]
pub struct Bulkhead {
    pub(crate) slots: Arc<Slots>,
}

impl Bulkhead {
    /// A bulkhead without a queue: `max_concurrent` calls run at once, and others are rejected at once. Zero rejects
    /// every call.
    ///
    /// A literal name costs nothing; for borrowed text there is [`Name::copied`].
    pub fn new(name: impl Into<Name>, max_concurrent: usize) -> Self {
        Self { slots: Arc::new(Self::builder(name, max_concurrent).unchecked()) }
    }

    /// Settings for a bulkhead of this name, in which `max_concurrent` calls run at once.
    ///
    /// A literal name costs nothing; for borrowed text there is [`Name::copied`].
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
    /// Starts the operation if a slot is free. If none is free, the call waits in the queue, or is rejected if the
    /// queue is full.
    ///
    /// All this is decided before `call` returns. The future waits for a slot if there is none yet, and for the
    /// operation.
    ///
    /// # Errors
    ///
    /// The operation's own error, or [`Rejected::BulkheadFull`], and then the operation was not started.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future while the operation runs, the operation is dropped first, and then its slot is free. If
    /// you drop it while it waits, it leaves the queue, and a slot that it was granted meanwhile goes to the next
    /// call.
    ///
    /// # Panics
    ///
    /// When it has to wait in the queue and is polled outside a tokio runtime with time enabled.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> BulkheadFuture<F, Fut, &Slots>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
    {
        BulkheadFuture::start(&&*self.slots, || operation)
    }

    /// A slot, if one is free now and no call waits for one.
    ///
    /// # Errors
    ///
    /// [`Rejected::BulkheadFull`] otherwise.
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Rejected> {
        if self.slots.try_enter() {
            return Ok(BulkheadPermit::new(SlotGuard::new(self.slots.clone())));
        }
        Err(self.slots.reject_permit().into())
    }

    /// A slot. If none is free, the future waits in the queue for one.
    ///
    /// It has taken the slot, or joined the queue, before `acquire` returns.
    ///
    /// # Errors
    ///
    /// The future yields [`Rejected::BulkheadFull`] if the queue is full, or if the wait is over.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future, it leaves the queue, and a slot that it was granted meanwhile goes to the next call.
    ///
    /// # Panics
    ///
    /// When it has to wait in the queue and is polled outside a tokio runtime with time enabled.
    pub fn acquire(&self) -> BulkheadAcquire {
        BulkheadAcquire::start(self.slots.clone())
    }

    /// Changes how many calls may run at once.
    ///
    /// With a higher number, calls that wait in the queue get the new slots at once. With a lower number, calls that
    /// run go on, and their slots are not given to others. With zero, calls that run finish, and no other call
    /// begins.
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
        self.settings().queue.map(|queue| queue.max_wait)
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> BulkheadSettings {
        self.slots.settings()
    }

    /// Changes the settings while the bulkhead is in use. All clones and layers go on by them at once; listeners stay.
    ///
    /// | what | what becomes of it |
    /// |---|---|
    /// | calls that run | keep their slots; a lower `max_concurrent` takes effect as they end |
    /// | calls that wait | keep their positions, in a smaller queue and in none too, and their own `max_wait` |
    /// | new slots | go to the calls that wait, at once |
    /// | a queue that was added | lets the next call wait that finds no free slot |
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting. Then nothing has changed.
    pub fn apply(&self, settings: &BulkheadSettings) -> Result<(), ConfigError> {
        self.check(settings)?;
        self.apply_checked(settings);
        Ok(())
    }

    /// Whether these settings could be applied.
    pub(crate) fn check(&self, settings: &BulkheadSettings) -> Result<(), ConfigError> {
        settings.check(self.slots.name())
    }

    /// Applies settings that were checked.
    pub(crate) fn apply_checked(&self, settings: &BulkheadSettings) {
        self.slots.apply_checked(settings);
    }

    /// Takes these settings as those that it was made with.
    pub(crate) fn set_made_with(&self, settings: &BulkheadSettings) {
        self.slots.set_made_with(settings);
    }

    /// The bulkhead's name.
    pub fn name(&self) -> &str {
        self.slots.name().as_str()
    }

    /// How many calls run and wait at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.slots.snapshot()
    }

    /// How many handles, layers, services, permits and calls of services hold it, this handle included.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.slots)
    }

    /// Whether a new bulkhead would be the same as this one.
    pub(crate) fn is_as_new(&self) -> bool {
        self.slots.is_as_new()
    }
}
