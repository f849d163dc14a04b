use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{shared::Permits, state::Entry, wait::QueueWait};
use crate::{
    error::{RateLimited, Rejected},
    rejections::RejectedCall,
    sync::Arc,
};

pin_project! {
    /// Waits in the queue for permits.
    ///
    /// From [`acquire`](super::RateLimiter::acquire) and [`acquire_many`](super::RateLimiter::acquire_many), which have
    /// taken the permits, or joined the queue, before they return this future.
    #[must_use = "it has taken permits or joined the queue already"]
    pub struct RateLimiterAcquire {
        #[pin]
        state: State,
    }
}

pin_project! {
    #[project = StateProj]
    enum State {
        Queued { #[pin] wait: QueueWait<Arc<Permits>> },
        Acquired,
        Rejected { rejection: RejectedCall<RateLimited> },
    }
}

impl RateLimiterAcquire {
    pub(super) fn start(permits: &Arc<Permits>, cost: u32) -> Self {
        if cost == 0 {
            return Self { state: State::Acquired };
        }
        let state = match permits.enter(permits.now(), cost) {
            Entry::Permit => State::Acquired,
            Entry::Queued(ticket) => State::Queued { wait: QueueWait::new(permits.clone(), ticket, cost) },
            Entry::Rejected(retry_after) => State::Rejected { rejection: permits.reject_call(retry_after) },
        };
        Self { state }
    }
}

impl Future for RateLimiterAcquire {
    type Output = Result<(), Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acquired = match self.project().state.project() {
            StateProj::Queued { wait } => ready!(wait.poll(cx)),
            StateProj::Acquired => Ok(()),
            StateProj::Rejected { rejection } => Err(ready!(rejection.poll(cx)).into()),
        };
        Poll::Ready(acquired)
    }
}

impl fmt::Debug for RateLimiterAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiterAcquire").finish_non_exhaustive()
    }
}
