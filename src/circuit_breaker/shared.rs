use std::time::Duration;

use super::{
    config::{Options, Rules},
    event::CircuitBreakerEvent,
    gate::{Admission, Gate, Pass, View},
    state::{Core, Ended, Outcome, Rejection},
    transition::{Counts, Reason, State, Transition},
};
use crate::{
    classify::Verdict,
    clock::{Clock, nanos},
    error::{CircuitOpen, Name, Rejected},
    event::Reporter,
    random::Random,
    sync::{AtomicU64, CachePadded, Lock, LockGuard, Ordering},
};

/// The circuit that a breaker's clones, siblings and layers share: the core behind its lock, and the gate in front of it.
#[derive(Debug)]
pub struct Circuit {
    gate: Gate,
    clock: Clock,
    slow_after: Option<u64>,
    count_dropped_after: Option<u64>,
    ask: Ask,
    reporter: Reporter<CircuitBreakerEvent>,
    core: CachePadded<Lock<Core>>,
    rejected: CachePadded<AtomicU64>,
}

/// When a rule asks for the time: a look at the clock is the dearest part of a call.
#[derive(Clone, Copy, Debug)]
struct Ask {
    at_start: bool,
    at_success: bool,
    at_failure: bool,
}

/// A call that was let in. It must be settled once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pass: Pass,
    /// When it was let in, if a rule asks.
    since: u64,
}

impl Ticket {
    /// No call has it.
    pub(super) const NONE: Self = Self { pass: Pass::NONE, since: 0 };

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.pass == Pass::NONE
    }
}

/// A ticket or a rejection, in two words: so small that a function returns it in registers.
#[derive(Clone, Copy)]
struct Answer(Ticket);

impl Answer {
    fn of(admitted: Result<Ticket, Rejection>) -> Self {
        Self(admitted.unwrap_or_else(|rejection| Ticket { since: rejection.left(), ..Ticket::NONE }))
    }

    #[inline]
    fn read(self) -> Result<Ticket, Rejection> {
        if self.0.is_none() { Err(Rejection::of(self.0.since)) } else { Ok(self.0) }
    }
}

/// A circuit at one moment: what its rules hold, not how many calls it has ever seen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state. An open circuit whose time is over reads half-open.
    pub state: State,
    /// How many transitions there have been.
    pub generation: u64,
    /// What the rules hold now.
    pub counts: Counts,
    /// How long the circuit stays open, if it is and was not forced.
    pub time_left: Option<Duration>,
    /// How many probes are running.
    pub probes_in_flight: usize,
    /// How many calls were rejected so far.
    pub rejected: u64,
    /// How many outcomes came too late to count: their calls were let in before the last transition.
    pub stale: u64,
}

impl Circuit {
    pub(super) fn new(rules: Rules, options: Options) -> Self {
        let random = options.seed.map_or_else(Random::fresh, Random::seeded);
        let slow_after = rules.slow_calls.map(|rule| nanos(rule.after));
        let ask = Ask {
            at_start: slow_after.is_some() || options.count_dropped_after.is_some(),
            at_success: slow_after.is_some() || rules.have_time_windows(),
            at_failure: slow_after.is_some() || rules.have_time_windows() || rules.have_spans(),
        };
        let core = Core::new(rules, random);
        Self {
            gate: Gate::new(core.view()),
            clock: Clock::start(),
            slow_after,
            count_dropped_after: options.count_dropped_after.map(nanos),
            ask,
            reporter: options.reporter,
            core: CachePadded(Lock::new(core)),
            rejected: CachePadded(AtomicU64::new(0)),
        }
    }

    pub(super) fn name(&self) -> &Name {
        self.reporter.name()
    }

    /// Lets a call in, or not.
    #[inline]
    pub(super) fn admit(&self) -> Result<Ticket, Rejection> {
        let answer = match self.gate.pass() {
            Some(pass) if !self.ask.at_start => Answer(Ticket { pass, since: 0 }),
            _ => self.admit_by_clock(),
        };
        answer.read()
    }

    #[inline(never)]
    fn admit_by_clock(&self) -> Answer {
        Answer::of(self.admit_at(self.clock.now()))
    }

    fn admit_at(&self, now: u64) -> Result<Ticket, Rejection> {
        match self.gate.view() {
            View::Passing { generation, .. } => {
                Ok(Ticket { pass: Pass::of(Admission::Call { generation }), since: now })
            }
            View::Open { until } if now < until => Err(Rejection::until(until, now)),
            View::Open { .. } | View::HalfOpen => {
                let admission = self.change(|core| core.admit(now))?;
                Ok(Ticket { pass: Pass::of(admission), since: now })
            }
        }
    }

    /// What a call would hear now instead of being let in. It makes no transition, but for a probe that ran too long.
    #[cfg(feature = "tower")]
    #[inline]
    pub(super) fn rejection(&self) -> Option<Rejection> {
        if self.gate.pass().is_some() { None } else { self.rejection_by_clock() }
    }

    #[cfg(feature = "tower")]
    fn rejection_by_clock(&self) -> Option<Rejection> {
        match self.gate.view() {
            View::Passing { .. } => None,
            View::Open { until } => {
                let now = self.clock.now();
                (now < until).then(|| Rejection::until(until, now))
            }
            View::HalfOpen => {
                let now = self.clock.now();
                self.change(|core| {
                    let moved = core.expire(now);
                    (core.rejection(now), moved)
                })
            }
        }
    }

    /// Counts a rejection that a caller is about to hear, and reports it.
    pub(super) fn count(&self, rejection: Rejection) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let retry_after = rejection.retry_after();
        self.reporter.emit(|name| CircuitBreakerEvent::Rejected { name, retry_after });
    }

    pub(super) fn rejected(&self, rejection: Rejection) -> Rejected {
        Rejected::CircuitOpen(CircuitOpen::new(self.name().clone(), rejection.retry_after()))
    }

    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, verdict: Verdict) {
        match verdict {
            Verdict::Healthy => self.settle_ended(ticket, false, None),
            Verdict::Transient { retry_after } => self.settle_ended(ticket, true, retry_after),
            Verdict::Failed | Verdict::Unreached => self.settle_ended(ticket, true, None),
            // The dependency is there. Of a call, that tells nothing about how many of them fail.
            Verdict::Throttled { .. } => self.settle_probe(ticket, Outcome::Success),
            Verdict::Ignored => self.settle_probe(ticket, Outcome::Nothing),
        }
    }

    /// A call given up before its end.
    #[cold]
    pub(super) fn settle_dropped(&self, ticket: Ticket) {
        match self.count_dropped_after {
            Some(after) if self.clock.now().saturating_sub(ticket.since) >= after => {
                self.settle_ended(ticket, true, None);
            }
            _ => self.settle_probe(ticket, Outcome::Dropped),
        }
    }

    #[inline]
    fn settle_ended(&self, ticket: Ticket, failed: bool, hint: Option<Duration>) {
        let asked = if failed { self.ask.at_failure } else { self.ask.at_success };
        // Any moment will do where no rule asks.
        let now = if asked { self.clock.now() } else { 0 };
        let slow = asked && self.is_slow(ticket, now);
        if failed || slow || !(self.gate.is_calm_for(ticket.pass) || self.gate.tally(ticket.pass, now)) {
            self.settle_by_core(ticket, failed, slow, hint, now);
        }
    }

    /// What is more than a success to be ignored or tallied is for the core.
    #[inline(never)]
    fn settle_by_core(&self, ticket: Ticket, failed: bool, slow: bool, hint: Option<Duration>, now: u64) {
        match ticket.pass.admission() {
            Admission::Call { generation } => self.record(Ended { generation, failed, slow }, hint, now),
            Admission::Probe { number } if failed => self.record_probe(number, Outcome::Failure { hint }),
            Admission::Probe { number } => self.record_probe(number, Outcome::Success),
        }
    }

    /// An end without an outcome: only a probe has anything to give back.
    fn settle_probe(&self, ticket: Ticket, end: Outcome) {
        if let Admission::Probe { number } = ticket.pass.admission() {
            self.record_probe(number, end);
        }
    }

    fn record(&self, ended: Ended, hint: Option<Duration>, now: u64) {
        let mut core = self.up_to_date();
        match core.note(ended, now) {
            None => self.gate.show(core.view()),
            Some(reason) => self.trip(core, reason, hint),
        }
    }

    /// The time is asked again: a rule may not have needed it, or this thread may have been overtaken on its way to the lock.
    #[cold]
    fn trip(&self, mut core: LockGuard<'_, Core>, reason: Reason, hint: Option<Duration>) {
        let now = self.clock.now();
        let transition = core.trip(reason, hint, now, self.rejected.load(Ordering::Relaxed));
        self.publish(core, Some(transition));
    }

    #[cold]
    fn record_probe(&self, number: u64, outcome: Outcome) {
        let (now, rejected) = (self.clock.now(), self.rejected.load(Ordering::Relaxed));
        self.change(|core| ((), core.settle_probe(number, outcome, now, rejected)));
    }

    /// Settles a success, if that takes neither the lock nor the time.
    #[inline]
    pub(super) fn settle_success(&self, ticket: Ticket) -> bool {
        if self.gate.is_calm_for(ticket.pass) {
            return self.slow_after.is_none();
        }
        !self.ask.at_success && self.gate.tally(ticket.pass, 0)
    }

    fn is_slow(&self, ticket: Ticket, now: u64) -> bool {
        self.slow_after.is_some_and(|after| now.saturating_sub(ticket.since) >= after)
    }

    pub(super) fn force(&self, to: State) {
        let now = self.clock.now();
        let rejected = self.rejected.load(Ordering::Relaxed);
        self.change(|core| ((), Some(core.force(to, now, rejected))));
    }

    pub(super) fn state(&self) -> State {
        let now = self.clock.now();
        self.core.lock().state(now)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let mut core = self.up_to_date();
        let snapshot = Snapshot {
            state: core.state(now),
            generation: core.generation(),
            counts: core.counts(now),
            time_left: core.rejection(now).and_then(Rejection::retry_after),
            probes_in_flight: core.probes_in_flight(),
            rejected: self.rejected.load(Ordering::Relaxed),
            stale: core.stale(),
        };
        self.gate.show(core.view());
        snapshot
    }

    /// The core, told of every success so far. The gate has to be shown again.
    fn up_to_date(&self) -> LockGuard<'_, Core> {
        let mut core = self.core.lock();
        core.apply_tally(self.gate.hold());
        core
    }

    fn change<R>(&self, act: impl FnOnce(&mut Core) -> (R, Option<Transition>)) -> R {
        let mut core = self.up_to_date();
        let (answer, moved) = act(&mut core);
        self.publish(core, moved);
        answer
    }

    /// Shows the gate what has become of the core, and reports a transition once the lock is free.
    #[cold]
    fn publish(&self, core: LockGuard<'_, Core>, moved: Option<Transition>) {
        self.gate.show(core.view());
        drop(core);
        if let Some(transition) = moved {
            self.reporter.emit(|name| CircuitBreakerEvent::Transition { name, transition });
        }
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use std::{sync::mpsc, thread};

    use super::{super::CircuitBreaker, *};

    /// Does this while someone else holds the lock.
    fn without_the_lock(circuit: &Circuit, act: impl FnOnce() + Send) {
        let (done, wait) = mpsc::channel();
        thread::scope(|scope| {
            let held = circuit.core.lock();
            scope.spawn(move || {
                act();
                done.send(()).expect("someone waits");
            });
            let waited = wait.recv_timeout(Duration::from_secs(5));
            drop(held);
            waited.expect("it waits for the lock");
        });
    }

    #[test]
    fn a_success_of_a_calm_circuit_takes_no_lock() {
        let breaker = CircuitBreaker::new("users");
        let circuit = &*breaker.circuit;
        without_the_lock(circuit, || {
            let ticket = circuit.admit().expect("it is closed");
            circuit.settle(ticket, Verdict::Healthy);
            let ticket = circuit.admit().expect("it is closed");
            circuit.settle_dropped(ticket);
        });
    }

    #[test]
    fn nor_does_one_of_a_circuit_with_failures_in_its_window_but_for_one_in_many() {
        let window = super::super::Window::calls(1000).min_calls(1000);
        let builder = CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, window);
        let breaker = builder.build().expect("good settings");
        breaker.try_acquire().expect("it is closed").failure();
        assert_eq!(breaker.snapshot().counts.failures.count, 1, "nor after someone has looked");
        without_the_lock(&breaker.circuit, || {
            (0..255).for_each(|_| breaker.try_acquire().expect("it is closed").success());
        });
        (0..500).for_each(|_| breaker.try_acquire().expect("it is closed").success());
        assert_eq!(breaker.snapshot().counts.failures.total, 1 + 255 + 500);
    }

    #[test]
    fn nor_does_one_that_is_not_slow_where_slow_calls_are_a_rule() {
        let window = super::super::Window::calls(1);
        let builder = CircuitBreaker::builder("users").slow_call_rate(1.0, Duration::from_secs(3600), window);
        let breaker = builder.build().expect("good settings");
        breaker.try_acquire().expect("it is closed").success();
        let circuit = &*breaker.circuit;
        without_the_lock(circuit, || {
            let ticket = circuit.admit().expect("it is closed");
            circuit.settle(ticket, Verdict::Healthy);
        });
    }

    #[test]
    fn nor_does_a_rejection_of_an_open_circuit() {
        let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO);
        let breaker = builder.open_for(Duration::from_secs(3600)).build().expect("good settings");
        breaker.try_acquire().expect("it is closed").failure();
        let circuit = &*breaker.circuit;
        without_the_lock(circuit, || {
            assert!(circuit.admit().is_err());
            #[cfg(feature = "tower")]
            assert!(circuit.rejection().is_some());
        });
    }
}
