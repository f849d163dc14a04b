use std::{
    fmt,
    future::Future,
    ops::Deref,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    fallback::PipelineFallback,
    permits::{Permits, Taken},
    shared::{HasParts, HoldsParts, Parts, Span, Whole},
};
use crate::{
    bulkhead::{Entry, Slots, WaitLimit},
    carry::CarriesRejected,
    circuit_breaker::{self, Circuit},
    classify::{Classify, Verdict},
    clock::{self, Alarm, Instant},
    deadline::{self, Deadline, Entered},
    error::{Cause, Rejected},
    operation::ResultFuture,
    panics::with_rollback,
    rate_limiter::{self, Turn},
    retry::{AttemptPlan, Attempts, CallStart, GaveUp, Progress},
    slow_path::SlowResult,
};

/// So many attempts may follow each other in one poll. Then other tasks get a turn.
const MAX_ATTEMPTS_PER_POLL: u32 = 32;

/// What a call costs at the rate limiter.
const ONE_PERMIT: u32 = 1;

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
        hindrance: Hindrance,
        // `None` once the attempts are over: a request goes with its call, though the future may be kept.
        attempts: Option<A>,
        extracted: Option<K>,
        call_start: CallStart,
        // `None` until an attempt has failed.
        progress: Option<Progress>,
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
        // What hinders it is in the field of that name: here it would be copied with every call.
        Hindered,
        // The next attempt waits until it can be started.
        Starting,
        Running { #[pin] attempt: F },
        // Where the next attempt is not paid for yet, the last result is kept: if there is no token then, it ends the
        // call.
        Sleeping { unpaid: Option<R> },
        Recovering { #[pin] recovery: G },
        Done,
    }
}

/// What keeps a call, or an attempt, from being started.
#[derive(Clone, Copy, Debug)]
enum Hindrance {
    None,
    /// It waits for a permit of the rate limiter.
    Limited,
    /// The rate limiter rejected it: the nanoseconds until it would have been admitted, if that is known.
    RateLimited {
        retry_after: Option<u64>,
        pends: bool,
    },
    /// It waits for a slot of the bulkhead.
    Queued(WaitLimit),
    /// The bulkhead rejected it.
    Full {
        pends: bool,
    },
    /// The circuit breaker rejected the attempt.
    CircuitOpen {
        rejection: circuit_breaker::Rejection,
        pends: bool,
    },
}

/// What a call may take, as it was when the call began.
///
/// Where there is neither a total nor an attempt timeout, the deadline around the call is left to the parts that wait.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The pipeline's own total, or the deadline around the call if that is earlier.
    deadline: Deadline,
    /// Whether the pipeline ends the call at the deadline, and what the rejection then says. Without a total timeout it
    /// does not: then the deadline only shortens waits and attempts.
    total: Option<Cause>,
    attempt: Option<Span>,
    /// Whether the deadline ends the attempt that runs before its own limit does.
    is_attempt_cut: bool,
}

impl Limits {
    #[inline(always)]
    fn new(parts: &Parts) -> Self {
        let (total, attempt) = (parts.total.get(), parts.attempt.get());
        let none = Self { deadline: Deadline::NEVER, total: None, attempt, is_attempt_cut: false };
        match (total, attempt) {
            (None, None) => none,
            (None, Some(_)) => Self { deadline: deadline::current(), ..none },
            (Some(total), _) => {
                let own = Deadline::after(clock::now(), total.get());
                let around = deadline::current();
                match around.is_before(own.end()) {
                    true => Self { deadline: around, total: Some(Cause::Deadline), ..none },
                    false => Self { deadline: own, total: Some(Cause::Limit), ..none },
                }
            }
        }
    }

    /// All that runs inside of the total timeout knows its deadline.
    #[inline(always)]
    fn enter(&self) -> Option<Entered> {
        self.total.map(|_| self.deadline.enter())
    }

    /// When a stage ends that would end at `end` by itself.
    #[inline(always)]
    fn end_of_stage(&self, end: Option<Instant>) -> Option<Instant> {
        if self.total.is_some() && self.deadline.is_before(end) { self.deadline.end() } else { end }
    }

    /// The end of an attempt that begins now, by its own limit or by the deadline.
    #[inline(always)]
    fn begin_attempt(&mut self) -> Option<Instant> {
        let Some(limit) = self.attempt else { return self.end_of_stage(None) };
        let end = clock::after(clock::now(), limit.get());
        self.is_attempt_cut = self.deadline.is_before(end);
        if self.is_attempt_cut { self.deadline.end() } else { end }
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
    /// Begins a call. The first attempt is started here, unless the call or the attempt has to wait.
    ///
    /// Every call is built in here, in one place, and of what is in registers: a part that is alive while the operation
    /// starts, and has to be dropped if that panics, would be in memory, and would be copied from there.
    #[inline(always)]
    pub(super) fn start(whole: P, extracted: K, mut attempts: A) -> Self {
        let parts = &*whole.parts;
        let mut limits = Limits::new(parts);
        let entered = limits.enter();
        let opening = match parts.limiter().map(|limiter| limiter.enter(limiter.now(), ONE_PERMIT)) {
            None | Some(rate_limiter::Entry::Permit) => Opening::from(parts.slots().map_or(Entry::Slot, Slots::enter)),
            Some(rate_limiter::Entry::Queued(ticket)) => Opening::Limited(ticket),
            Some(rate_limiter::Entry::Rejected(retry_after)) => Opening::RateLimited(retry_after),
        };
        let mut call_start = CallStart::default();
        let mut hindrance = Hindrance::None;
        let (stage, taken, end) = match opening {
            Opening::Runs => {
                if let Some(retry) = parts.retry() {
                    call_start = retry.begin();
                }
                match A::NEEDS_READINESS {
                    true => (Stage::Starting, Taken::SLOT, limits.end_of_stage(None)),
                    false => match parts.circuit().map(Circuit::admit).transpose() {
                        Ok(admitted) => {
                            let end = limits.begin_attempt();
                            let taken = Taken::attempt(admitted);
                            let plan = AttemptPlan { number: 1, is_last: parts.is_last(None), end };
                            let attempt = with_rollback(|| attempts.start(plan), || taken.give_back(parts));
                            (Stage::Running { attempt }, taken, end)
                        }
                        Err(rejection) => {
                            hindrance = circuit_open(parts, rejection);
                            (Stage::Hindered, Taken::SLOT, None)
                        }
                    },
                }
            }
            Opening::Queued(ticket) => {
                let (end, limit) = parts.slots().map_or((None, WaitLimit::NEVER), WaitLimit::of);
                hindrance = Hindrance::Queued(limit);
                (Stage::Hindered, Taken::queued(ticket), end)
            }
            Opening::Full => {
                hindrance = full(parts);
                (Stage::Hindered, Taken::NOTHING, None)
            }
            Opening::Limited(ticket) => {
                hindrance = Hindrance::Limited;
                (Stage::Hindered, Taken::limited(ticket), None)
            }
            Opening::RateLimited(retry_after) => {
                hindrance = rate_limited(parts, retry_after);
                (Stage::Hindered, Taken::NOTHING, None)
            }
        };
        drop(entered);
        Self {
            stage,
            permits: Permits::new(whole, taken),
            hindrance,
            attempts: Some(attempts),
            extracted: Some(extracted),
            call_start,
            progress: None,
            limits,
            alarm: Alarm::at(end),
        }
    }
}

/// How a call begins.
#[derive(Clone, Copy, Debug)]
enum Opening {
    Runs,
    Limited(u64),
    RateLimited(Option<u64>),
    Queued(u64),
    Full,
}

impl From<Entry> for Opening {
    #[inline(always)]
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Slot => Self::Runs,
            Entry::Queued(ticket) => Self::Queued(ticket),
            Entry::Full => Self::Full,
        }
    }
}

/// The rate limiter has no permit.
#[inline(always)]
fn rate_limited(parts: &Parts, retry_after: Option<u64>) -> Hindrance {
    let pends = parts.limiter().is_some_and(|limiter| limiter.count_rejected_call(retry_after));
    Hindrance::RateLimited { retry_after, pends }
}

/// The bulkhead has neither a slot nor room in its queue.
#[inline(always)]
fn full(parts: &Parts) -> Hindrance {
    Hindrance::Full { pends: parts.slots().is_some_and(Slots::count_rejected_call) }
}

/// The circuit breaker rejects the attempt.
#[inline(always)]
fn circuit_open(parts: &Parts, rejection: circuit_breaker::Rejection) -> Hindrance {
    let pends = parts.circuit().is_some_and(|circuit| circuit.count_rejected_call(rejection));
    Hindrance::CircuitOpen { rejection, pends }
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
        if A::NEEDS_READINESS && matches!(self.stage, Stage::Starting) {
            // A service that is ready at once goes the short way too.
            let entered = self.limits.enter();
            let started = self.as_mut().poll_starting(cx);
            drop(entered);
            match started {
                Poll::Ready(StageEnd::NextStageEntered) => {}
                Poll::Ready(end) => return SlowResult::into_poll(self.poll_stages(end, cx)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let mut this = self.as_mut().project();
        let StageProj::Running { attempt } = this.stage.as_mut().project() else {
            return SlowResult::into_poll(self.poll_stages(StageEnd::NextStageEntered, cx));
        };
        let entered = this.limits.enter();
        let polled = attempt.poll(cx);
        let Poll::Ready(result) = polled else {
            drop(entered);
            return SlowResult::into_poll(self.poll_limit(cx));
        };
        let whole = &*this.permits.whole;
        let verdict = whole.classifier.classify(&result);
        drop(entered);
        let is_success = verdict == Verdict::Healthy && !whole.fallback.handles(verdict, &result, this.extracted);
        // The attempt goes first, then its permits.
        this.stage.set(Stage::Done);
        match result {
            Ok(answer) if is_success && this.permits.settle_success() => {
                if let Some(retry) = this.permits.parts().retry() {
                    retry.record_success(this.progress.as_mut());
                }
                *this.attempts = None;
                this.alarm.disarm();
                this.permits.release_slot();
                Poll::Ready(Ok(answer))
            }
            result => SlowResult::into_poll(self.poll_stages(StageEnd::AttemptEnded(result, verdict), cx)),
        }
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
    fn poll_limit(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        ready!(self.as_mut().project().alarm.poll(cx));
        let entered = self.limits.enter();
        let end = self.as_mut().end_by_limit();
        drop(entered);
        self.poll_stages(end, cx)
    }

    /// Polls stage after stage, until one is pending or the call has ended.
    #[inline(never)]
    fn poll_stages(mut self: Pin<&mut Self>, mut end: StageEnd<T, E>, cx: &mut Context<'_>) -> Poll<SlowResult<T, E>> {
        if let StageProj::Recovering { .. } = self.as_mut().project().stage.project() {
            return self.poll_recovery(cx).map(SlowResult::from);
        }
        let entered = self.limits.enter();
        let mut attempts = 0;
        loop {
            match end {
                StageEnd::CallEnded(result, verdict) => {
                    let verdict = verdict.unwrap_or_else(|| self.permits.whole.classifier.classify(&result));
                    // The fallback is outside of the total timeout.
                    drop(entered);
                    return self.end_call(result, verdict, cx).map(SlowResult::from);
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
            StageProj::Hindered => self.poll_hindered(cx),
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
            StageProj::Sleeping { unpaid } => {
                ready!(this.alarm.as_mut().poll(cx));
                if let Some(mut last) = unpaid.take() {
                    let progress = this.progress.as_mut().expect("an attempt has failed");
                    let is_paid = this.permits.parts().retry().is_none_or(|retry| retry.pay_after_wait(progress));
                    if !is_paid {
                        tell_attempts_sent(&mut last, progress.sent_before);
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

    /// Waits for the slot, or yields, and then rejects.
    fn poll_hindered(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        let parts = this.permits.whole.parts();
        match this.hindrance {
            Hindrance::RateLimited { pends: pends @ true, .. }
            | Hindrance::Full { pends: pends @ true }
            | Hindrance::CircuitOpen { pends: pends @ true, .. } => {
                *pends = false;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Hindrance::Limited => self.poll_limiter(cx),
            Hindrance::RateLimited { retry_after, .. } => {
                let rejected = parts.limiter().map(|limiter| limiter.rejected(*retry_after));
                let rejected = rejected.expect("its rate limiter has rejected it").into();
                Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected)), None))
            }
            Hindrance::Queued(limit) => {
                let limit = *limit;
                self.poll_queue(limit, cx)
            }
            Hindrance::Full { .. } => {
                let rejected = parts.slots().map(Slots::rejected).expect("its bulkhead has rejected it");
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
    fn poll_limiter(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
        let mut this = self.as_mut().project();
        let parts = this.permits.whole.parts();
        let (Some(limiter), Some(ticket)) = (parts.limiter(), this.permits.ticket()) else {
            unreachable!("a call waits in the queue of its rate limiter")
        };
        // A timer that wakes too early finds no permit, and the wait goes on.
        let rejected = loop {
            match limiter.poll(limiter.now(), ticket, ONE_PERMIT, cx.waker()) {
                Turn::Permit => break None,
                Turn::Rejected(retry_after) => break Some(limiter.reject_other(retry_after)),
                Turn::Wait { until } => {
                    this.alarm.as_mut().reset(limiter.instant(until));
                    ready!(this.alarm.as_mut().poll(cx));
                }
            }
        };
        this.permits.leave_limiter();
        if let Some(rejected) = rejected {
            return Poll::Ready(StageEnd::CallEnded(Err(E::from_rejected(rejected.into())), None));
        }
        self.enter_bulkhead();
        Poll::Ready(StageEnd::NextStageEntered)
    }

    /// It has waited for its permit. Takes a slot, or joins the queue.
    fn enter_bulkhead(mut self: Pin<&mut Self>) {
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
    fn hold_slot(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        if let Some(retry) = this.permits.whole.parts().retry() {
            *this.call_start = retry.begin();
        }
        this.permits.hold_slot();
        self.enter_starting();
    }

    /// Waits for the slot of the bulkhead.
    fn poll_queue(mut self: Pin<&mut Self>, limit: WaitLimit, cx: &mut Context<'_>) -> Poll<StageEnd<T, E>> {
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

    /// The service of the next attempt will never be ready. That counts as one call.
    fn end_unready(self: Pin<&mut Self>, error: E) -> StageEnd<T, E> {
        let this = self.project();
        let mut unready = Err(error);
        let parts = this.permits.parts();
        if let Some(Ok(admitted)) = parts.circuit().map(|circuit| circuit.admit()) {
            this.permits.admit(Some(admitted));
            let verdict = this.permits.whole.classifier.classify(&unready);
            this.permits.settle(verdict);
        }
        if let (Some(retry), Some(progress)) = (this.permits.parts().retry(), this.progress) {
            retry.end_without_sending(progress, GaveUp::NotReady);
            tell_attempts_sent(&mut unready, progress.sent_before);
        }
        StageEnd::CallEnded(unready, None)
    }

    /// The limit of the attempt has passed, or the deadline.
    fn end_by_limit(mut self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.as_mut().project();
        let Some(limit) = this.limits.attempt else { return self.end_by_total() };
        // It is dropped before anyone is told.
        this.stage.set(Stage::Done);
        let reporter = &this.permits.parts().attempt.reporter;
        let rejected = match this.limits.is_attempt_cut {
            true => reporter.report(this.limits.deadline.span(), Cause::Deadline),
            false => reporter.report(limit.get(), Cause::Limit),
        };
        let result = Err(E::from_rejected(rejected));
        let verdict = this.permits.whole.classifier.classify(&result);
        StageEnd::AttemptEnded(result, verdict)
    }

    /// The total timeout ends the call, whatever it is doing.
    fn end_by_total(self: Pin<&mut Self>) -> StageEnd<T, E> {
        let mut this = self.project();
        let sent_before = this.progress.as_ref().map_or(0, |progress| progress.sent_before);
        let was_started = sent_before > 0 || matches!(*this.stage, Stage::Running { .. });
        // All that it holds is given back before anyone is told.
        this.stage.set(Stage::Done);
        this.permits.settle_dropped();
        this.permits.release_slot();
        *this.progress = None;
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
        let progress = this.progress.get_or_insert_with(|| Progress::new(*this.call_start));
        let wait = match verdict {
            Verdict::Transient { .. } | Verdict::Throttled { .. } | Verdict::Unreached => {
                let may_repeat = this.permits.whole.classifier.may_repeat(verdict);
                retry.plan_retry(progress, verdict, may_repeat && attempts.can_repeat(verdict))
            }
            Verdict::Healthy => {
                retry.record_success(Some(progress));
                None
            }
            Verdict::Ignored => {
                let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
                retry.end_ignored(progress, rejected);
                None
            }
            Verdict::Failed => None,
        };
        let Some(wait) = wait else {
            tell_attempts_sent(&mut result, progress.sent_before);
            return StageEnd::CallEnded(result, Some(verdict));
        };
        let rejected = result.as_ref().err().and_then(CarriesRejected::as_rejected);
        progress.sent_before += u32::from(rejected.is_none_or(Rejected::was_started));
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
