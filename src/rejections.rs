//! What all policies do with the calls that they reject: they count them, and let one in 32 of them pend once.

use std::task::{Context, Poll};

use crate::sync::{AtomicU64, Ordering};

/// One rejected call in this many pends once, so that other tasks run.
///
/// Otherwise a task that calls again and again while a policy rejects it would never pend. No timer and no other task
/// would run on its thread.
const REJECTIONS_PER_YIELD: u64 = 32;

/// How many rejections callers were told of, since the policy was made.
#[derive(Debug)]
pub(crate) struct Rejections {
    /// Calls that were rejected at once. This number decides whether such a call pends.
    calls: AtomicU64,
    /// Those that cannot pend, or have pended already: permits that were asked for at one moment, and calls whose wait
    /// ended. They count apart, so that none of them takes the number at which a call would have pended. Otherwise a
    /// caller that alternates between the two could be the one whose calls never pend.
    others: AtomicU64,
}

impl Rejections {
    pub(crate) fn new() -> Self {
        Self { calls: AtomicU64::new(0), others: AtomicU64::new(0) }
    }

    /// Counts a call that was rejected at once. Tells whether it has to pend once.
    #[inline(always)]
    pub(crate) fn count_call(&self) -> bool {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        before % REJECTIONS_PER_YIELD == REJECTIONS_PER_YIELD - 1
    }

    #[inline]
    pub(crate) fn count_other(&self) {
        self.others.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.calls.load(Ordering::Relaxed) + self.others.load(Ordering::Relaxed)
    }
}

/// What a call that was rejected at once has inside.
pub(crate) struct RejectedCall<R> {
    // `None` once it is done.
    rejection: Option<R>,
    /// Whether the next poll lets other tasks run.
    pends: bool,
}

impl<R> RejectedCall<R> {
    #[inline(always)]
    pub(crate) fn new(rejection: R, pends: bool) -> Self {
        Self { rejection: Some(rejection), pends }
    }

    #[inline(always)]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<R> {
        if self.pends {
            self.pends = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.rejection.take().expect("polled after it was done"))
    }
}
