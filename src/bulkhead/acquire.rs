use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    permit::{BulkheadPermit, SlotGuard},
    shared::Slots,
    state::Entry,
    wait::QueueWait,
};
use crate::{
    error::{BulkheadFull, Rejected},
    rejections::RejectedCall,
    sync::Arc,
};

pin_project! {
    /// Waits in the queue for a slot. The wait ends `max_wait` after this future was made.
    ///
    /// From [`acquire`](super::Bulkhead::acquire), which has taken a free slot, or joined the queue, before it
    /// returns this future.
    #[must_use = "it has taken a slot or joined the queue already, and dropping it undoes that"]
    pub struct BulkheadAcquire {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Queued { #[pin] wait: QueueWait<Arc<Slots>> },
        // `None` once it is done.
        Acquired { slot: Option<SlotGuard<Arc<Slots>>> },
        Rejected { rejection: RejectedCall<BulkheadFull> },
    }
}

impl BulkheadAcquire {
    pub(super) fn start(slots: Arc<Slots>) -> Self {
        let state = match slots.enter() {
            Entry::Slot => State::Acquired { slot: Some(SlotGuard::new(slots)) },
            Entry::Queued(ticket) => State::Queued { wait: QueueWait::new(slots, ticket) },
            Entry::Full => State::Rejected { rejection: slots.reject_call() },
        };
        Self { state }
    }
}

impl Future for BulkheadAcquire {
    type Output = Result<BulkheadPermit, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acquired = match self.project().state.project() {
            StateProj::Queued { wait } => ready!(wait.poll(cx)),
            StateProj::Acquired { slot } => Ok(slot.take().expect("polled after it was done")),
            StateProj::Rejected { rejection } => Err(ready!(rejection.poll(cx)).into()),
        };
        Poll::Ready(acquired.map(BulkheadPermit::new))
    }
}

impl fmt::Debug for BulkheadAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadAcquire").finish_non_exhaustive()
    }
}
