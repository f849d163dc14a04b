use std::{
    // Not `crate::sync`'s: a model checker would try every interleaving of loads that nearly never differ.
    sync::atomic::AtomicUsize,
    task::Waker,
    time::Duration,
};

use super::{
    event::BulkheadEvent,
    gate::{FreeSlots, Taken},
    settings::BulkheadSettings,
    state::{Core, Entry},
};
use crate::{
    clock::LiveSpan,
    error::{BulkheadFull, Name, Rejected},
    event::Reporter,
    panics::catch_panic,
    rejections::{RejectedCall, Rejections},
    sync::{AtomicU64, CachePadded, Lock, Ordering},
};

/// The slots and the queue that a bulkhead's clones and layers share.
#[derive(Debug)]
pub struct Slots {
    free: CachePadded<FreeSlots>,
    core: CachePadded<Lock<Core<Waker>>>,
    rejections: CachePadded<Rejections>,
    // The core's settings, which are read here without the lock.
    max_concurrent: AtomicU64,
    made_with: Lock<BulkheadSettings>,
    /// Zero if there is no queue.
    queue_capacity: AtomicUsize,
    /// How long a call that begins to wait now may wait.
    max_wait: LiveSpan,
    reporter: Reporter<BulkheadEvent>,
}

/// A bulkhead at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many calls may run at once.
    pub max_concurrent: usize,
    /// How many calls run. It is above `max_concurrent` for a while after that was lowered.
    pub in_flight: usize,
    /// How many calls wait in the queue.
    pub queued: usize,
    /// How many calls the queue has room for. Zero if there is no queue.
    pub queue_capacity: usize,
    /// How many calls and permits were rejected so far.
    pub rejected: u64,
}

impl Slots {
    pub(super) fn new(reporter: Reporter<BulkheadEvent>, settings: BulkheadSettings) -> Self {
        let core = Core::new(settings.clone());
        let slots = Self {
            free: CachePadded(FreeSlots::new(core.free())),
            core: CachePadded(Lock::new(core)),
            rejections: CachePadded(Rejections::new()),
            max_concurrent: AtomicU64::new(0),
            queue_capacity: AtomicUsize::new(0),
            max_wait: LiveSpan::new(None),
            made_with: Lock::new(settings.clone()),
            reporter,
        };
        slots.show(&settings);
        slots
    }

    /// Stores what is read without the lock.
    fn show(&self, settings: &BulkheadSettings) {
        self.max_concurrent.store(settings.max_concurrent as u64, Ordering::Relaxed);
        self.queue_capacity.store(settings.queue_capacity(), Ordering::Relaxed);
        if let Some(queue) = settings.queue {
            self.max_wait.set(Some(queue.max_wait));
        }
    }

    pub(crate) fn name(&self) -> &Name {
        self.reporter.name()
    }

    pub(super) fn max_concurrent(&self) -> usize {
        self.max_concurrent.load(Ordering::Relaxed) as usize
    }

    /// Whether a new one would be the same: no call runs or waits, and the settings are those that it was made with.
    pub(super) fn is_as_new(&self) -> bool {
        let core = self.core.lock();
        let is_idle = core.in_flight(self.free.count()) == 0 && core.queued() == 0;
        is_idle && *core.settings() == *self.made_with.lock()
    }

    /// Takes these settings as those that it was made with.
    pub(super) fn set_made_with(&self, settings: &BulkheadSettings) {
        *self.made_with.lock() = settings.clone();
    }

    pub(super) fn queue_capacity(&self) -> usize {
        self.queue_capacity.load(Ordering::Relaxed)
    }

    #[inline]
    fn has_queue(&self) -> bool {
        self.queue_capacity() > 0
    }

    pub(super) fn settings(&self) -> BulkheadSettings {
        self.core.lock().settings().clone()
    }

    /// Runs `act` on the core. Meanwhile no other thread takes a slot or gives one back.
    fn with_core<R>(&self, act: impl FnOnce(&mut Core<Waker>) -> R) -> R {
        let mut core = self.core.lock();
        core.set_free(self.free.begin_update());
        let answer = act(&mut core);
        self.free.publish(core.free(), core.queued() > 0);
        answer
    }

    pub(super) fn try_enter(&self) -> bool {
        match self.free.take() {
            Taken::Slot => true,
            Taken::Full => false,
            Taken::Held => self.with_core(Core::try_enter),
        }
    }

    #[inline]
    pub(crate) fn enter(&self) -> Entry {
        match self.free.take() {
            Taken::Slot => Entry::Slot,
            Taken::Full if !self.has_queue() => Entry::Full,
            Taken::Full | Taken::Held => self.queue_up(),
        }
    }

    #[inline(never)]
    fn queue_up(&self) -> Entry {
        // Until its first poll a waiter has a waker that does nothing. That poll finds a slot that was granted before it.
        self.with_core(|core| core.enter(Waker::noop().clone()))
    }

    /// How long a wait that begins now may last. `None` is without end.
    pub(super) fn max_wait(&self) -> Option<Duration> {
        self.max_wait.get()
    }

    /// Whether the slot that this ticket waits for is granted. If not, `waker` is woken when it is granted.
    pub(crate) fn is_granted(&self, ticket: u64, waker: &Waker) -> bool {
        // Cloned before the lock is taken, and dropped after it is released: a waker is the caller's code, and may do
        // anything.
        let waker = waker.clone();
        let replaced = self.with_core(|core| core.replace(ticket, waker));
        replaced.is_err()
    }

    /// Leaves the queue. If the slot was granted meanwhile, gives it back.
    pub(crate) fn leave(&self, ticket: u64) {
        let left = self.with_core(|core| core.leave(ticket));
        if left.is_none() {
            self.release();
        }
    }

    #[inline]
    pub(crate) fn release(&self) {
        if !self.free.give_back() {
            self.hand_over();
        }
    }

    /// Gives a slot back through the core, which grants it to the first waiter in the queue.
    #[inline(never)]
    fn hand_over(&self) {
        let next = self.with_core(|core| {
            core.release();
            core.grant()
        });
        wake(next);
    }

    pub(super) fn set_max_concurrent(&self, max_concurrent: usize) {
        self.change(|settings| settings.max_concurrent = max_concurrent);
    }

    /// Applies settings that were checked.
    pub(super) fn apply_checked(&self, settings: &BulkheadSettings) {
        self.change(|present| present.clone_from(settings));
    }

    fn change(&self, change: impl FnOnce(&mut BulkheadSettings)) {
        self.with_core(|core| {
            let mut settings = core.settings().clone();
            change(&mut settings);
            self.show(&settings);
            core.apply(settings);
        });
        // Perhaps there are more slots than before.
        loop {
            // A statement of its own, so that the lock is released before the waiter is woken.
            let next = self.with_core(Core::grant);
            if next.is_none() {
                return;
            }
            wake(next);
        }
    }

    /// Rejects a call that has not waited.
    #[inline(always)]
    pub(crate) fn reject_call(&self) -> RejectedCall<BulkheadFull> {
        let pends = self.rejections.count_call();
        RejectedCall::new(self.report_rejected(None), pends)
    }

    /// [`reject_call`](Self::reject_call), for a call that makes the rejection later: the limit that rejected it, and
    /// whether it should pend once.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_rejected_call(&self) -> (usize, bool) {
        let pends = self.rejections.count_call();
        (self.report_rejected(None).max_concurrent(), pends)
    }

    /// The rejection of a call that was counted before.
    pub(crate) fn rejected(&self, max_concurrent: usize) -> Rejected {
        BulkheadFull::new(self.name().clone(), max_concurrent, None).into()
    }

    /// Rejects a call whose wait has ended.
    pub(super) fn reject_queued(&self, waited: Option<Duration>) -> BulkheadFull {
        self.rejections.count_other();
        self.report_rejected(waited)
    }

    /// Rejects a permit that is asked for at this moment only.
    pub(super) fn reject_permit(&self) -> BulkheadFull {
        self.rejections.count_other();
        self.report_rejected(None)
    }

    #[inline(always)]
    fn report_rejected(&self, waited: Option<Duration>) -> BulkheadFull {
        let max_concurrent = self.max_concurrent();
        self.reporter.emit(|name| BulkheadEvent::Rejected { name, max_concurrent, waited });
        BulkheadFull::new(self.name().clone(), max_concurrent, waited)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let core = self.core.lock();
        Snapshot {
            max_concurrent: core.settings().max_concurrent,
            in_flight: core.in_flight(self.free.count()),
            queued: core.queued(),
            queue_capacity: core.settings().queue_capacity(),
            rejected: self.rejections.total(),
        }
    }
}

/// A waker that panics harms neither the waiters behind it in the queue, nor the call that gave the slot back, which
/// may be in its `Drop`.
fn wake(waiter: Option<Waker>) {
    if let Some(waker) = waiter {
        catch_panic(|| waker.wake());
    }
}
