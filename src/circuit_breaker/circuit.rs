use std::time::Duration;

use super::{
    CircuitBreakerEvent,
    config::{Options, Rules},
    gate::{Gate, View},
    state::{Admission, Core, Outcome, Refusal},
    transition::{Counts, State, Transition},
};
use crate::{
    classify::Verdict,
    clock::{Clock, nanos},
    error::{CircuitOpen, Name, Rejected},
    event::Listener,
    random::Random,
    sync::{AtomicU64, Lock, Ordering},
};

/// The circuit that a breaker's clones, siblings and layers share: the core behind its lock, and the gate in front of it.
#[derive(Debug)]
pub struct Circuit {
    gate: Gate,
    core: Lock<Core>,
    clock: Clock,
    refused: AtomicU64,
    slow_after: Option<u64>,
    count_dropped_after: Option<u64>,
    name: Name,
    listener: Listener<CircuitBreakerEvent>,
}

/// A call that was let in. It must be settled once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    admission: Admission,
    /// When it was let in, if a rule asks.
    since: u64,
}

/// A circuit at one moment: what its rules hold, not how many calls it has ever seen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state. An open circuit whose time is over reads half-open.
    pub state: State,
    /// How many transitions there have been.
    pub era: u64,
    /// What the rules hold now.
    pub counts: Counts,
    /// How long the circuit stays open, if it is and was not forced.
    pub time_left: Option<Duration>,
    /// How many probes are running.
    pub probes_in_flight: usize,
    /// How many calls were refused so far.
    pub refused: u64,
    /// How many outcomes came too late to count: their calls were let in before the last transition.
    pub stale: u64,
}

impl Circuit {
    pub(super) fn new(rules: Rules, options: Options) -> Self {
        let random = options.seed.map_or_else(Random::fresh, Random::seeded);
        let slow_after = rules.slow_calls.map(|rule| nanos(rule.after));
        let core = Core::new(rules, random);
        Self {
            gate: Gate::new(core.view()),
            core: Lock::new(core),
            clock: Clock::start(),
            refused: AtomicU64::new(0),
            slow_after,
            count_dropped_after: options.count_dropped_after.map(nanos),
            name: options.name,
            listener: options.listener,
        }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn admit(&self) -> Result<Ticket, Refusal> {
        let now = match self.gate.view() {
            View::Passing { era, .. } => {
                return Ok(Ticket { admission: Admission::Call { era }, since: self.start() });
            }
            View::Open { until } => match self.clock.now() {
                now if now < until => return Err(Refusal::until(until, now)),
                now => now,
            },
            View::HalfOpen => self.clock.now(),
        };
        let admission = self.change(|core| core.admit(now))?;
        Ok(Ticket { admission, since: now })
    }

    /// What a call would hear now instead of being let in. It makes no transition, but for a probe that ran too long.
    #[cfg(feature = "tower")]
    pub(super) fn refusal(&self) -> Option<Refusal> {
        match self.gate.view() {
            View::Passing { .. } => None,
            View::Open { until } => {
                let now = self.clock.now();
                (now < until).then(|| Refusal::until(until, now))
            }
            View::HalfOpen => {
                let now = self.clock.now();
                self.change(|core| {
                    let moved = core.expire(now);
                    (core.refusal(now), moved)
                })
            }
        }
    }

    /// Counts a refusal that a caller is about to hear, and reports it.
    pub(super) fn count(&self, refusal: Refusal) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after = refusal.retry_after;
        self.listener.emit(|| CircuitBreakerEvent::Refused { name: self.name.clone(), retry_after });
    }

    pub(super) fn rejected(&self, refusal: Refusal) -> Rejected {
        Rejected::CircuitOpen(CircuitOpen::new(self.name.clone(), refusal.retry_after))
    }

    pub(super) fn settle(&self, ticket: Ticket, verdict: Verdict) {
        match verdict {
            Verdict::Healthy if self.slow_after.is_none() && self.is_calm_for(ticket) => {}
            Verdict::Healthy => self.settle_success(ticket),
            Verdict::Transient { retry_after } => self.settle_failure(ticket, retry_after),
            Verdict::Failed => self.settle_failure(ticket, None),
            Verdict::Unknown => self.settle_probe(ticket, Outcome::Nothing),
        }
    }

    /// A call given up before its end.
    pub(super) fn settle_dropped(&self, ticket: Ticket) {
        match self.count_dropped_after {
            Some(after) if self.clock.now().saturating_sub(ticket.since) >= after => {
                self.settle_failure(ticket, None);
            }
            _ => self.settle_probe(ticket, Outcome::Dropped),
        }
    }

    fn settle_success(&self, ticket: Ticket) {
        let now = self.clock.now();
        let slow = self.is_slow(ticket, now);
        if slow || !self.is_calm_for(ticket) {
            self.record(ticket, Outcome::Success { slow }, now);
        }
    }

    fn settle_failure(&self, ticket: Ticket, hint: Option<Duration>) {
        let now = self.clock.now();
        self.record(ticket, Outcome::Failure { slow: self.is_slow(ticket, now), hint }, now);
    }

    /// An end without an outcome: only a probe has anything to give back.
    fn settle_probe(&self, ticket: Ticket, end: Outcome) {
        if let Admission::Probe { .. } = ticket.admission {
            self.record(ticket, end, self.clock.now());
        }
    }

    fn record(&self, ticket: Ticket, outcome: Outcome, now: u64) {
        let refused = self.refused.load(Ordering::Relaxed);
        self.change(|core| ((), core.settle(ticket.admission, outcome, now, refused)));
    }

    /// Whether a success of this call would change nothing.
    fn is_calm_for(&self, ticket: Ticket) -> bool {
        let View::Passing { era, calm: true } = self.gate.view() else { return false };
        ticket.admission == Admission::Call { era }
    }

    fn is_slow(&self, ticket: Ticket, now: u64) -> bool {
        self.slow_after.is_some_and(|after| now.saturating_sub(ticket.since) >= after)
    }

    /// The time a call starts, if a rule asks how long it took.
    fn start(&self) -> u64 {
        if self.slow_after.is_some() || self.count_dropped_after.is_some() { self.clock.now() } else { 0 }
    }

    pub(super) fn force(&self, to: State) {
        let now = self.clock.now();
        let refused = self.refused.load(Ordering::Relaxed);
        self.change(|core| ((), Some(core.force(to, now, refused))));
    }

    pub(super) fn state(&self) -> State {
        let now = self.clock.now();
        self.core.lock().state(now)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        let mut core = self.core.lock();
        Snapshot {
            state: core.state(now),
            era: core.era(),
            counts: core.counts(now),
            time_left: core.refusal(now).and_then(|refusal| refusal.retry_after),
            probes_in_flight: core.probes_in_flight(),
            refused: self.refused.load(Ordering::Relaxed),
            stale: core.stale(),
        }
    }

    /// Lets the core change, shows the gate what has become of it, and reports a transition once the lock is free.
    fn change<R>(&self, act: impl FnOnce(&mut Core) -> (R, Option<Transition>)) -> R {
        let mut core = self.core.lock();
        let (answer, moved) = act(&mut core);
        self.gate.show(core.view());
        drop(core);
        if let Some(transition) = moved {
            self.listener.emit(|| CircuitBreakerEvent::Transition { name: self.name.clone(), transition });
        }
        answer
    }
}
