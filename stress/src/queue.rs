//! Whether every bulkhead still has all its slots, and wakes those in the queue who get one. Nobody calls meanwhile.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use withstand::{Bulkhead, BulkheadAcquire, BulkheadPermit};

use crate::{audit::Check, policies::SLOTS, world::World};

const TRIES: usize = 10;

pub fn check(world: &World) -> Check {
    let all = world.stacks.iter().all(|stack| gives_all_slots(&stack.policies.bulkhead));
    (all, format!("every bulkhead has {SLOTS} slots, and wakes those in the queue who get one"))
}

/// To those in the queue when the limit is raised, and to those behind them when the slots come back.
fn gives_all_slots(bulkhead: &Bulkhead) -> bool {
    bulkhead.set_max_concurrent(0);
    let taken = line_up(bulkhead, || bulkhead.set_max_concurrent(SLOTS));
    taken.is_some_and(|permits| line_up(bulkhead, || drop(permits)).is_some())
}

/// As many as there are slots stand in the queue until it opens. What they get, if all of them are woken for it.
fn line_up(bulkhead: &Bulkhead, open: impl FnOnce()) -> Option<Vec<BulkheadPermit>> {
    let line: Option<Vec<_>> = (0..SLOTS).map(|_| Place::in_the_queue(bulkhead)).collect();
    open();
    line?.into_iter().map(Place::slot).collect()
}

struct Place {
    slot: Pin<Box<BulkheadAcquire>>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.has_rung.store(true, Relaxed);
    }
}

impl Place {
    /// Tried again, for a thread that is interrupted before the first poll may have waited too long already.
    fn in_the_queue(bulkhead: &Bulkhead) -> Option<Self> {
        (0..TRIES).find_map(|_| Self { slot: Box::pin(bulkhead.acquire()), bell: Arc::default() }.waiting())
    }

    fn waiting(mut self) -> Option<Self> {
        let waker = Waker::from(self.bell.clone());
        let is_waiting = self.slot.as_mut().poll(&mut Context::from_waker(&waker)).is_pending();
        // tokio rings at once for a task that polls so many timers, to let others have a turn.
        self.bell.has_rung.store(false, Relaxed);
        is_waiting.then_some(self)
    }

    /// What the bell has rung for.
    fn slot(mut self) -> Option<BulkheadPermit> {
        let has_rung = self.bell.has_rung.load(Relaxed);
        match self.slot.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) if has_rung => slot.ok(),
            _ => None,
        }
    }
}
