use std::{
    fmt,
    future::Future,
    mem,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::{
    fallback::PipelineFallback,
    permits::Permits,
    shared::{HasParts, HoldsParts, Parts, Whole},
};
use crate::{
    bulkhead::{Entry, WaitLimit},
    carry::CarriesRejected,
    circuit_breaker,
    classify::{Classify, Verdict},
    clock::{self, Alarm, Instant},
    deadline::{self, Deadline, Entered},
    error::{BulkheadFull, Cause, Rejected},
    operation::ResultFuture,
    rejections::RejectedCall,
    retry::{AttemptPlan, Attempts, CallStart, GaveUp, Progress},
};

/// So many attempts may follow each other in one poll. Then other tasks get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

pin_project! {
    /// A call through a [`Pipeline`](super::Pipeline).
    ///
    /// `A` is what is attempted, `F` the future of one attempt and `R` its result; `G` is the future of the fallback and
    /// `K` what was extracted for it; `P` is how the call holds the pipeline: borrowed (plain) or shared (tower).
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct PipelineFuture<A, F, R, G, K, P>
    where
        P: HoldsParts,
    {
        // In this order: an attempt is dropped before its permits are given back.
        #[pin]
        stage: Stage<F, R, G>,
        permits: Permits<P>,
        // `None` once the attempts are over: a request goes with its call, though the future may be kept.
        attempts: Option<A>,
        extracted: Option<K>,
        progress: Progress,
        limits: Limits,
        // One timer for the whole call. It is set to the end of the present stage, or to the end of the call if that is
        // earlier.
        #[pin]
        alarm: Alarm,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, R, G> {
        // It waits for a slot of the bulkhead.
        Queued { limit: WaitLimit },
        // The bulkhead rejected it.
        Full { rejection: RejectedCall<BulkheadFull> },
        // The next attempt waits until it can be started.
        Starting,
        Running { #[pin] attempt: F },
        // The circuit breaker rejected the attempt.
        CircuitOpen { rejection: circuit_breaker::Rejection, pends: bool },
        // Where the next attempt is not paid for yet, the last result is kept: if there is no token then, it ends the
        // call.
        Sleeping { unpaid: Option<R> },
        Recovering { #[pin] recovery: G },
        Done,
    }
}

/// What a call may take, as it was when the call began.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The pipeline's own total, or the deadline around the call if that is earlier.
    deadline: Deadline,
    /// Whether the pipeline ends the call at the deadline, and what the rejection then says. Without a total timeout it
    /// does not: then the deadline only shortens waits and attempts.
    total: Option<Cause>,
    attempt: Option<Duration>,
    /// The end of the attempt that runs, by its own limit.
    attempt_end: Option<Instant>,
}

impl Limits {
    #[inline]
    fn new(parts: &Parts) -> Self {
        let around = deadline::current();
        let (deadline, total) = match parts.total.get() {
            None => (around, None),
            Some(total) => {
                let own = Deadline::after(clock::now(), total);
                let deadline = own.or_earlier(around);
                (deadline, Some(if deadline == own { Cause::Limit } else { Cause::Deadline }))
            }
        };
        Self { deadline, total, attempt: parts.attempt.get(), attempt_end: None }
    }

    /// All that runs inside of the total timeout knows its deadline.
    #[inline]
    fn enter(&self) -> Option<Entered> {
        self.total.map(|_| self.deadline.enter())
    }

    /// When a stage ends that would end at `end` by itself.
    fn end_of_stage(&self, end: Option<Instant>) -> Option<Instant> {
        if self.total.is_some() && self.deadline.is_before(end) { self.deadline.end() } else { end }
    }

    /// The end of an attempt that begins now, by its own limit or by the deadline.
    #[inline]
    fn begin_attempt(&mut self) -> Option<Instant> {
        let Some(limit) = self.attempt else { return self.end_of_stage(None) };
        self.attempt_end = clock::after(clock::now(), limit);
        if self.deadline.is_before(self.attempt_end) { self.deadline.end() } else { self.attempt_end }
    }
}

/// What a stage has led to.
enum StageEnd<T, E> {
    NextStageEntered,
    AttemptEnded(Result<T, E>, Verdict),
    /// With the verdict of the result, if it is known.
    CallEnded(Result<T, E>, Option<Verdict>),
}

impl<A, F, T, E, G, K, P, C, B> PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Whole<C, B>>,
{
    /// Begins a call. `starts_now`: the first attempt needs no readiness, and is started here unless the call has to
    /// wait.
    #[inline(always)]
    pub(super) fn start(whole: P, extracted: K, attempts: A, starts_now: bool) -> Self {
        let mut permits = Permits::none(whole);
        let mut limits = Limits::new(permits.parts());
        let entered = limits.enter();
        let mut progress = Progress::new(CallStart::default());
        let mut attempts = attempts;
        let (stage, end) = match permits.parts().slots().map_or(Entry::Slot, |slots| slots.enter()) {
            Entry::Slot => {
                permits.hold_slot();
                if let Some(retry) = permits.parts().retry() {
                    progress = Progress::new(retry.begin());
                }
                match starts_now {
                    true => start_attempt(&mut permits, &mut limits, &mut progress, &mut attempts, None),
                    false => (Stage::Starting, limits.end_of_stage(None)),
                }
            }
            Entry::Queued(ticket) => {
                permits.queue(ticket);
                let (end, limit) = permits.parts().slots().map_or((None, WaitLimit::MaxWait(None)), WaitLimit::of);
                (Stage::Queued { limit }, end)
            }
            Entry::Full => (full(permits.parts()), None),
        };
        drop(entered);
        let alarm = Alarm::at(end);
        Self { stage, permits, attempts: Some(attempts), extracted: Some(extracted), progress, limits, alarm }
    }
}

/// The bulkhead has neither a slot nor room in its queue.
#[cold]
fn full<F, R, G>(parts: &Parts) -> Stage<F, R, G> {
    match parts.slots() {
        Some(slots) => Stage::Full { rejection: slots.reject_call() },
        None => Stage::Done,
    }
}

/// Starts the next attempt, unless the circuit rejects it. `rejected`: it does, whatever it says by now.
///
/// With the stage comes its end.
#[inline(always)]
fn start_attempt<A, R, G, P>(
    permits: &mut Permits<P>,
    limits: &mut Limits,
    progress: &mut Progress,
    attempts: &mut A,
    rejected: Option<circuit_breaker::Rejection>,
) -> (Stage<A::Future, R, G>, Option<Instant>)
where
    A: Attempts,
    P: HoldsParts,
{
    progress.token.mark_sent();
    let decision = match (permits.parts().circuit(), rejected) {
        (Some(circuit), None) => circuit.admit().map(Some).map_err(|rejection| (circuit, rejection)),
        (Some(circuit), Some(rejection)) => Err((circuit, rejection)),
        (None, _) => Ok(None),
    };
    match decision {
        Ok(admitted) => {
            if let Some(admitted) = admitted {
                permits.admit(admitted);
            }
            let end = limits.begin_attempt();
            let number = progress.attempt;
            let is_last = permits.parts().retry().is_none_or(|retry| retry.is_last(progress));
            let attempt = attempts.start(AttemptPlan { number, is_last, end });
            (Stage::Running { attempt }, end)
        }
        Err((circuit, rejection)) => {
            let pends = circuit.count_rejected_call(rejection);
            (Stage::CircuitOpen { rejection, pends }, None)
        }
    }
}

impl<A, F, T, E, G, K, P, C, B> Future for PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    E: CarriesRejected,
    G: Future<Output = Result<T, E>>,
    P: Deref<Target = Whole<C, B>>,
    C: Classify<T, E>,
    B: PipelineFallback<T, E, K, Future = G>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let StageProj::Running { attempt } = this.stage.as_mut().project() else {
            return self.poll_stages(StageEnd::NextStageEntered, cx);
        };
        let entered = this.limits.enter();
        let polled = attempt.poll(cx);
        let Poll::Ready(result) = polled else {
            drop(entered);
            return self.poll_limit(cx);
        };
        let whole = &*this.permits.whole;
        let verdict = whole.classifier.classify(&result);
        drop(entered);
        let is_success = verdict == Verdict::Healthy && !whole.fallback.handles(verdict, &result, this.extracted);
        // The attempt goes first, then its permits.
        this.stage.set(Stage::Done);
        if !(is_success && this.permits.settle_success()) {
            return self.poll_stages(StageEnd::AttemptEnded(result, verdict), cx);
        }
        if let Some(retry) = this.permits.parts().retry() {
            retry.record_success(this.progress);
        }
        *this.attempts = None;
        this.alarm.disarm();
        this.permits.release_slot();
        Poll::Ready(result)
    }
}

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
    /// The attempt is pending: waits for its end.
    #[inline(never)]
    fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        ready!(self.as_mut().project().alarm.poll(cx));
        let entered = self.limits.enter();
        let end = self.as_mut().end_by_limit();
        drop(entered);
        self.poll_stages(end, cx)
    }

    /// Polls stage after stage, until one is pending or the call has ended.
    #[inline(never)]
    fn poll_stages(mut self: Pin<&mut Self>, mut end: StageEnd<T, E>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        if let StageProj::Recovering { .. } = self.as_mut().project().stage.project() {
            return self.poll_recovery(cx);
        }
        let entered = self.limits.enter();
        let mut attempts = 0;
        loop {
            match end {
                StageEnd::CallEnded(result, verdict) => {
                    let verdict = verdict.unwrap_or_else(|| self.permits.whole.classifier.classify(&result));
                    // The fallback is outside of the total timeout.
                    drop(entered);
                    return self.end_call(result, verdict, cx);
                }
                StageEnd::NextStageEntered => end = ready!(self.as_mut().poll_stage(cx)),
                StageEnd::AttemptEnded(result, verdict) => {
                    end = self.as_mut().end_attempt(result, verdict);
                    attempts += 1;
                    // Counted whatever the delay: one that is over before it is slept does not pend.
                    if attempts == MAX_ATTEMPTS_PER_POLL && matches!(end, StageEnd::NextStageEntered) {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Polls the present stage. When it is over, the next one has been entered, or the attempt or the call has ended.
    fn poll_stage(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        match this.stage.as_mut().project() {
            StageProj::Queued { limit } => {
                let (Some(slots), Some(ticket)) = (this.permits.parts().slots(), this.permits.ticket()) else {
                    unreachable!("a call waits in the queue of its bulkhead")
                };
                // A slot that is granted wins over a wait that has ended.
                if slots.is_granted(ticket, cx.waker()) {
                    this.permits.hold_slot();
                    if let Some(retry) = this.permits.parts().retry() {
                        *this.progress = Progress::new(retry.begin());
                    }
                } else {
                    ready!(this.alarm.as_mut().poll(cx));
                    let limit = *limit;
                    this.permits.release_slot();
                    let slots = this.permits.parts().slots();
                    let rejected = slots.map(|slots| limit.reject(slots)).expect("it has a bulkhead");
                    return Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected)), None));
                }
                self.enter_starting();
                Poll::Ready(StageEnd::NextStageEntered)
            }
            StageProj::Full { rejection } => {
                let full = ready!(rejection.poll(cx));
                Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(full.into())), None))
            }
            StageProj::Starting => self.poll_starting(cx),
            StageProj::Running { attempt } => match attempt.poll(cx) {
                Poll::Ready(result) => {
                    let verdict = this.permits.whole.classifier.classify(&result);
                    this.stage.set(Stage::Done);
                    Poll::Ready(StageEnd::AttemptEnded(result, verdict))
                }
                Poll::Pending => {
                    ready!(this.alarm.poll(cx));
                    Poll::Ready(self.end_by_limit())
                }
            },
            StageProj::CircuitOpen { pends, .. } if *pends => {
                *pends = false;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            StageProj::CircuitOpen { rejection, .. } => {
                let circuit = this.permits.parts().circuit().expect("it was rejected by its circuit");
                let result = Err(E::from_rejected(circuit.rejected(*rejection)));
                let verdict = this.permits.whole.classifier.classify(&result);
                this.stage.set(Stage::Done);
                Poll::Ready(StageEnd::AttemptEnded(result, verdict))
            }
            StageProj::Sleeping { unpaid } => {
                ready!(this.alarm.as_mut().poll(cx));
                if let Some(mut last) = unpaid.take() {
                    let is_paid = this.permits.parts().retry().is_none_or(|retry| retry.pay_after_wait(this.progress));
                    if !is_paid {
                        tell_attempts_sent(&mut last, this.progress.sent_before);
                        return Poll::Ready(StageEnd::CallEnded(last, None));
                    }
                    this.attempts.as_mut().expect("the call goes on").take(last);
                }
                self.enter_starting();
                Poll::Ready(StageEnd::NextStageEntered)
            }
            StageProj::Recovering { .. } | StageProj::Done => panic!("polled after it was done"),
        }
    }

    /// The next attempt waits until it can be started. The wait ends with the call.
    fn enter_starting(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.stage.set(Stage::Starting);
        this.alarm.set(Alarm::at(this.limits.end_of_stage(None)));
    }

    /// Starts the next attempt once that is possible.
    fn poll_starting(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
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
        let (stage, end) = start_attempt(this.permits, this.limits, this.progress, attempts, rejected);
        this.stage.set(stage);
        this.alarm.set(Alarm::at(end));
        Poll::Ready(StageEnd::NextStageEntered)
    }

    /// The service of the next attempt will never be ready. That counts as one call.
    fn end_unready(self: Pin<&mut Self>, error: E) -> StageEnd<T, E> {
        let this = self.project();
        let mut unready = Err(error);
        let parts = this.permits.parts();
        if let Some(Ok(admitted)) = parts.circuit().map(|circuit| circuit.admit()) {
            this.permits.admit(admitted);
            let verdict = this.permits.whole.classifier.classify(&unready);
            this.permits.settle(verdict);
        }
        if let Some(retry) = this.permits.parts().retry() {
            retry.end_without_sending(this.progress, GaveUp::NotReady);
        }
        tell_attempts_sent(&mut unready, this.progress.sent_before);
        StageEnd::CallEnded(unready, None)
    }

    /// The limit of the attempt has passed, or the deadline.
    fn end_by_limit(mut self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.as_mut().project();
        let by_deadline = this.limits.deadline.is_before(this.limits.attempt_end);
        let Some(limit) = this.limits.attempt else { return self.end_by_total() };
        // It is dropped before anyone is told.
        this.stage.set(Stage::Done);
        let reporter = &this.permits.parts().attempt.reporter;
        let rejected = match by_deadline {
            true => reporter.report(this.limits.deadline.span(), Cause::Deadline),
            false => reporter.report(limit, Cause::Limit),
        };
        let result = Err(E::from_rejected(rejected));
        let verdict = this.permits.whole.classifier.classify(&result);
        StageEnd::AttemptEnded(result, verdict)
    }

    /// The total timeout ends the call, whatever it is doing.
    fn end_by_total(self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.project();
        let was_started = this.progress.sent_before > 0 || matches!(*this.stage, Stage::Running { .. });
        // All that it holds is given back before anyone is told.
        this.stage.set(Stage::Done);
        this.permits.settle_dropped();
        this.permits.release_slot();
        drop(mem::take(&mut this.progress.token));
        let cause = match this.limits.total.unwrap_or(Cause::Limit) {
            cause if was_started => cause,
            _ => Cause::NotStarted,
        };
        let reporter = &this.permits.parts().total.reporter;
        let rejected: Rejected = reporter.report(this.limits.deadline.span(), cause);
        StageEnd::CallEnded(Err(E::from_rejected(rejected)), None)
    }

    /// Ends the call, or enters what comes before another attempt.
    fn end_attempt(mut self: Pin<&mut Self>, mut result: Result<T, E>, verdict: Verdict) -> StageEnd<T, E> {
        let mut this = self.as_mut().project();
        this.alarm.as_mut().disarm();
        this.permits.settle(verdict);
        let Some(retry) = this.permits.whole.parts().retry() else { return StageEnd::CallEnded(result, Some(verdict)) };
        let attempts = this.attempts.as_mut().expect("an attempt has just ended");
        let wait = match verdict {
            Verdict::Transient { .. } | Verdict::Throttled { .. } | Verdict::Unreached => {
                retry.plan_retry(this.progress, verdict, attempts.can_repeat(verdict))
            }
            Verdict::Healthy => {
                retry.record_success(this.progress);
                None
            }
            Verdict::Ignored => {
                let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
                retry.end_ignored(this.progress, rejected);
                None
            }
            Verdict::Failed => None,
        };
        let Some(wait) = wait else {
            tell_attempts_sent(&mut result, this.progress.sent_before);
            return StageEnd::CallEnded(result, Some(verdict));
        };
        let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
        this.progress.sent_before += u32::from(rejected.is_none_or(Rejected::was_started));
        let mut unpaid = None;
        if wait.is_paid {
            attempts.take(result);
        } else {
            unpaid = Some(result);
        }
        // Zero delay means no sleep at all. (A hint is never zero, so what is not paid for does sleep.)
        if wait.delay.is_zero() {
            self.enter_starting();
        } else {
            this.stage.set(Stage::Sleeping { unpaid });
            this.alarm.set(Alarm::at(wait.until));
        }
        StageEnd::NextStageEntered
    }

    /// The attempts are over: gives back the slot, and asks the fallback.
    fn end_call(
        mut self: Pin<&mut Self>,
        result: Result<T, E>,
        verdict: Verdict,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T, E>> {
        let mut this = self.as_mut().project();
        this.stage.set(Stage::Done);
        *this.attempts = None;
        this.alarm.disarm();
        this.permits.release_slot();
        let fallback = &this.permits.whole.fallback;
        if !fallback.handles(verdict, &result, this.extracted) {
            return Poll::Ready(result);
        }
        let extracted = this.extracted.take().expect("it is taken once, as the attempts end");
        match fallback.recover(result, extracted) {
            Ok(recovery) => {
                this.stage.set(Stage::Recovering { recovery });
                self.poll_recovery(cx)
            }
            Err(result) => Poll::Ready(result),
        }
    }

    fn poll_recovery(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.project();
        let StageProj::Recovering { recovery } = this.stage.as_mut().project() else { unreachable!() };
        let result = ready!(recovery.poll(cx));
        this.stage.set(Stage::Done);
        if let Err(error) = &result {
            this.permits.whole.fallback.emit_failed(error);
        }
        Poll::Ready(result)
    }
}

/// Where a rejection ends the call, it says how many attempts were sent before.
fn tell_attempts_sent<T, E: CarriesRejected>(last: &mut Result<T, E>, sent_before: u32) {
    if let Some(rejected) = last.as_mut().err().and_then(CarriesRejected::as_rejected_mut) {
        rejected.add_attempts_sent(sent_before);
    }
}

impl<A, F, R, G, K, P> fmt::Debug for PipelineFuture<A, F, R, G, K, P>
where
    P: HoldsParts,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineFuture").field("pipeline", &self.permits.parts().name).finish_non_exhaustive()
    }
}
