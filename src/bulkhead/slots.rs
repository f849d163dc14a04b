use std::{task::Waker, time::Duration};

use super::{
    BulkheadEvent,
    state::{Core, Entry},
};
use crate::{
    error::{BulkheadFull, Name, Rejected},
    event::{Listener, unharmed},
    sync::{AtomicU64, Lock, Ordering},
};

/// The slots and the queue that a bulkhead's clones and layers share.
#[derive(Debug)]
pub struct Slots {
    core: Lock<Core<Option<Waker>>>,
    refused: AtomicU64,
    pub(super) max_wait: Option<Duration>,
    name: Name,
    listener: Listener<BulkheadEvent>,
}

/// A bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many calls may run at once.
    pub max_concurrent: usize,
    /// How many calls run. More than `max_concurrent` for a while after that was lowered.
    pub in_flight: usize,
    /// How many calls wait in line.
    pub waiting: usize,
    /// How many calls were refused so far.
    pub refused: u64,
}

impl Slots {
    pub(super) fn new(
        name: Name,
        limit: usize,
        places: usize,
        max_wait: Option<Duration>,
        listener: Listener<BulkheadEvent>,
    ) -> Self {
        Self { core: Lock::new(Core::new(limit, places)), refused: AtomicU64::new(0), max_wait, name, listener }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn try_enter(&self) -> bool {
        self.core.lock().try_enter()
    }

    pub(super) fn enter(&self) -> Entry {
        self.core.lock().enter(None)
    }

    /// Whether the slot that this ticket waits for is granted. If not, `waker` is woken when it is.
    pub(super) fn is_granted(&self, ticket: u64, waker: &Waker) -> bool {
        // Cloned before the lock and dropped behind it: a waker is somebody's code.
        let waker = waker.clone();
        let replaced = self.core.lock().replace(ticket, Some(waker));
        replaced.is_err()
    }

    /// Out of the line; or, if the slot was granted meanwhile, gives it to the next.
    pub(super) fn leave(&self, ticket: u64) {
        let left = self.core.lock().leave(ticket);
        if left.is_none() {
            self.release();
        }
    }

    pub(super) fn release(&self) {
        let next = {
            let mut core = self.core.lock();
            core.release();
            core.grant()
        };
        wake(next);
    }

    pub(super) fn set_limit(&self, limit: usize) {
        self.core.lock().set_limit(limit);
        loop {
            // Its own statement, so that the lock is free before anyone is woken.
            let next = self.core.lock().grant();
            if next.is_none() {
                return;
            }
            wake(next);
        }
    }

    /// Counts a refusal, reports it, and says it.
    pub(super) fn refuse(&self, waited: Option<Duration>) -> Rejected {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let limit = self.core.lock().limit();
        self.listener.emit(|| BulkheadEvent::Refused { name: self.name.clone(), limit, waited });
        Rejected::BulkheadFull(BulkheadFull::new(self.name.clone(), limit, waited))
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let core = self.core.lock();
        Snapshot {
            max_concurrent: core.limit(),
            in_flight: core.in_flight(),
            waiting: core.waiting(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

/// A waiter that has not been polled yet has no waker, and finds its slot when it is. One whose waker panics harms no one
/// behind it in line, nor the call whose slot it gets: that may be in its `Drop`.
fn wake(waiter: Option<Option<Waker>>) {
    if let Some(waker) = waiter.flatten() {
        unharmed(|| waker.wake());
    }
}
