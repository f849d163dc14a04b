//! What a call waits for before an attempt can be started: a permit, a slot, a service that is ready.

use std::{
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    fallback::PipelineFallback,
    future::{PipelineFuture, Stage, StageEnd},
    shared::{HasParts, Whole},
    start::{Hindrance, ONE_PERMIT, circuit_open, full},
};
use crate::{
    bulkhead::{Entry, Slots, WaitLimit},
    carry::CarriesRejected,
    circuit_breaker::Circuit,
    classify::Classify,
    clock::Alarm,
    operation::ResultFuture,
    rate_limiter::Turn,
    retry::{AttemptPlan, Attempts},
};

impl<A, F, T, E, G, K, P, C, B> PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    E: CarriesRejected,
    G: Future<Output = Result<T, E>>,
    P: Deref<Target = Whole<C, B>>,
    C: Classify<T, E>,
    B: PipelineFallback<T, E, K, Future = G>,
{
    /// Waits for the slot, or yields, and then rejects.
    pub(super) fn poll_hindered(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        let parts = this.permits.whole.parts();
        match this.hindrance {
            Hindrance::RateLimited { pends: pends @ true, .. }
            | Hindrance::Full { pends: pends @ true, .. }
            | Hindrance::CircuitOpen { pends: pends @ true, .. } => {
                *pends = false;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Hindrance::Limited => self.poll_limiter(cx),
            Hindrance::RateLimited { retry_after, limit, .. } => {
                let rejected = parts.limiter().map(|limiter| limiter.rejected(*limit, *retry_after));
                let rejected = rejected.expect("its rate limiter has rejected it").into();
                Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected)), None))
            }
            Hindrance::Queued(limit) => {
                let limit = *limit;
                self.poll_queue(limit, cx)
            }
            Hindrance::Full { max_concurrent, .. } => {
                let rejected = parts.slots().map(|slots| slots.rejected(*max_concurrent));
                let rejected = rejected.expect("its bulkhead has rejected it");
                Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected)), None))
            }
            Hindrance::CircuitOpen { rejection, .. } => {
                let rejected = parts.circuit().map(|circuit| circuit.rejected(*rejection));
                let result = Err(E::from_rejected(rejected.expect("its circuit has rejected it")));
                let verdict = this.permits.whole.classifier.classify(&result);
                this.stage.set(Stage::Done);
                Poll::Ready(StageEnd::AttemptEnded(result, verdict))
            }
            Hindrance::None => unreachable!("nothing hinders it"),
        }
    }

    /// Waits for a permit of the rate limiter.
    pub(super) fn poll_limiter(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        let parts = this.permits.whole.parts();
        let (Some(limiter), Some(ticket)) = (parts.limiter(), this.permits.ticket()) else {
            unreachable!("a call waits in the queue of its rate limiter")
        };
        // A timer that wakes too early finds no permit, and the wait goes on.
        let rejected = loop {
            match limiter.poll(limiter.now(), ticket, ONE_PERMIT, cx.waker()) {
                Turn::Permit => break None,
                Turn::Rejected(retry_after) => break Some(limiter.reject_waiter(retry_after)),
                Turn::Wait { until } => {
                    this.alarm.as_mut().reset(limiter.instant(until));
                    ready!(this.alarm.as_mut().poll(cx));
                }
            }
        };
        this.permits.leave_limiter();
        if let Some(rejected) = rejected {
            return Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected)), None));
        }
        self.enter_bulkhead();
        Poll::Ready(StageEnd::NextStageEntered)
    }

    /// It has waited for its permit. Takes a slot, or joins the queue.
    pub(super) fn enter_bulkhead(mut self: Pin<&mut Self>) {
        let mut this = self.as_mut().project();
        this.alarm.as_mut().disarm();
        let parts = this.permits.whole.parts();
        match parts.slots().map_or(Entry::Slot, Slots::enter) {
            Entry::Slot => self.hold_slot(),
            Entry::Queued(ticket) => {
                let (end, limit) = parts.slots().map_or((None, WaitLimit::NEVER), WaitLimit::of);
                this.permits.queue(ticket);
                *this.hindrance = Hindrance::Queued(limit);
                this.alarm.set(Alarm::at(end));
            }
            Entry::Full => *this.hindrance = full(parts),
        }
    }

    /// It has its slot, and may be started.
    pub(super) fn hold_slot(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        if let Some(retry) = this.permits.whole.parts().retry() {
            *this.call_start = retry.begin();
        }
        this.permits.hold_slot();
        self.enter_starting();
    }

    /// Waits for the slot of the bulkhead.
    pub(super) fn poll_queue(mut self: Pin<&mut Self>, limit: WaitLimit, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let this = self.as_mut().project();
        let parts = this.permits.whole.parts();
        let (Some(slots), Some(ticket)) = (parts.slots(), this.permits.ticket()) else {
            unreachable!("a call waits in the queue of its bulkhead")
        };
        // A slot that is granted wins over a wait that has ended.
        if !slots.is_granted(ticket, cx.waker()) {
            ready!(this.alarm.poll(cx));
            this.permits.release_slot();
            let rejected = this.permits.whole.parts().slots().map(|slots| limit.reject(slots));
            let rejected = E::from_rejected(rejected.expect("it has a bulkhead"));
            return Poll::Ready(StageEnd::CallEnded(Err(rejected), None));
        }
        self.hold_slot();
        Poll::Ready(StageEnd::NextStageEntered)
    }

    /// The next attempt waits until it can be started. The wait ends with the call.
    pub(super) fn enter_starting(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.stage.set(Stage::Starting);
        this.alarm.set(Alarm::at(this.limits.end_of_call()));
    }

    /// Starts the next attempt once that is possible.
    pub(super) fn poll_starting(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        let attempts = this.attempts.as_mut().expect("polled after it was done");
        // Where an open circuit would reject the attempt, nobody waits for its service.
        let rejected = match A::NEEDS_READINESS {
            true => this.permits.parts().circuit().and_then(|circuit| circuit.rejection()),
            false => None,
        };
        if rejected.is_none() {
            match attempts.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(self.end_unready(error)),
                Poll::Pending => {
                    ready!(this.alarm.poll(cx));
                    return Poll::Ready(self.end_by_total());
                }
            }
        }
        let mut number = 1;
        if let Some(progress) = this.progress {
            progress.token.mark_sent();
            number = progress.attempt;
        }
        let parts = this.permits.whole.parts();
        let decision = match rejected {
            Some(rejection) => Err(rejection),
            None => parts.circuit().map(Circuit::admit).transpose(),
        };
        let (stage, end) = match decision {
            Ok(admitted) => {
                let end = this.limits.begin_attempt();
                let plan = AttemptPlan { number, is_last: parts.is_last(this.progress.as_ref()), end };
                this.permits.admit(admitted);
                (Stage::Running { attempt: attempts.start(plan) }, end)
            }
            Err(rejection) => {
                *this.hindrance = circuit_open(parts, rejection);
                (Stage::Hindered, None)
            }
        };
        this.stage.set(stage);
        this.alarm.set(Alarm::at(end));
        Poll::Ready(StageEnd::NextStageEntered)
    }
}
