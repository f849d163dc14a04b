use std::task::{Context, Poll};

use crate::error::BulkheadFull;

/// One rejected call in so many pends once, so that other tasks run.
///
/// Otherwise a task that calls again and again while the bulkhead is full would never pend. No timer and no other
/// task would run on its thread.
const REJECTIONS_PER_YIELD: u64 = 32;

/// What a call that was rejected at once has inside.
pub(crate) struct Rejection {
    // `None` once it is done.
    full: Option<BulkheadFull>,
    /// Whether the next poll lets other tasks run.
    pends: bool,
}

impl Rejection {
    /// `number` counts the calls that were rejected at once.
    #[inline(always)]
    pub(super) fn new(full: BulkheadFull, number: u64) -> Self {
        Self { full: Some(full), pends: number % REJECTIONS_PER_YIELD == 0 }
    }

    #[inline(always)]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BulkheadFull> {
        if self.pends {
            self.pends = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.full.take().expect("polled after it was done"))
    }
}
