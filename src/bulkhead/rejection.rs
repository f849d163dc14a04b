use std::task::{Context, Poll};

use crate::error::BulkheadFull;

/// One rejected call in so many pends once, so that other tasks run.
///
/// Otherwise a task that calls again and again while the bulkhead is full would never pend. No timer and no other
/// task would run on its thread.
const REJECTIONS_PER_YIELD: u64 = 32;

/// What a call that was rejected at once has inside.
pub(super) struct Rejection {
    full: BulkheadFull,
    next: Next,
}

/// What the next poll does.
enum Next {
    Yield,
    Reject,
    Panic,
}

impl Rejection {
    /// `number` counts the calls that were rejected at once.
    #[inline]
    pub(super) fn new(full: BulkheadFull, number: u64) -> Self {
        let next = if number % REJECTIONS_PER_YIELD == 0 { Next::Yield } else { Next::Reject };
        Self { full, next }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<BulkheadFull> {
        match self.next {
            Next::Yield => {
                self.next = Next::Reject;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Next::Reject => {
                self.next = Next::Panic;
                Poll::Ready(self.full.clone())
            }
            Next::Panic => panic!("polled after it was done"),
        }
    }
}
