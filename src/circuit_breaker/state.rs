//! The core: plain data and arithmetic. Moments are nanoseconds since the circuit was made.

use std::{mem, time::Duration};

use super::{
    gate::{Admission, GateState, Successes},
    probes::Probes,
    record::Record,
    settings::{CircuitBreakerSettings, SharedSettings},
    transition::{self, Counts, Reason, State, Transition},
};
use crate::{
    classify::Verdict,
    clock::{FOREVER, nanos},
    random::Random,
};

/// The outcome of a call that was admitted while calls passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallOutcome {
    pub(super) generation: u64,
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeOutcome {
    Success,
    Failure(Verdict),
    /// No answer: it was dropped before its end, or our own policies rejected it and it never reached the dependency.
    NoAnswer,
}

/// A rejected call: how long the circuit stays open, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// [`FOREVER`]: not known.
    left: u64,
}

impl Rejection {
    const UNKNOWN_TIME: Self = Self { left: FOREVER };

    pub(crate) fn of(left: u64) -> Self {
        Self { left }
    }

    /// At `now`, with the circuit open until `until`.
    pub(super) fn until(until: u64, now: u64) -> Self {
        if until == FOREVER { Self::UNKNOWN_TIME } else { Self::of(until.saturating_sub(now)) }
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        (self.left != FOREVER).then(|| Duration::from_nanos(self.left))
    }
}

/// An outage so far: it begins when a closed circuit opens, and ends when it closes again.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: u64,
    rejected_before: u64,
    reopenings: u32,
}

#[derive(Debug)]
enum Phase {
    Closed(Record),
    MetricsOnly(Record),
    ForcedClosed,
    ForcedOpen,
    Open { until: u64, outage: Outage },
    HalfOpen { probes: Probes, outage: Outage },
}

#[derive(Debug)]
pub(super) struct Core {
    // Apart from the rest, because the rules are large and seldom change, and many circuits have the same. The rest is
    // small and changes.
    rules: SharedSettings,
    /// Those that it was made with, if others were applied since.
    made_with: Option<SharedSettings>,
    /// Whether a rule asks when each call began.
    times_calls: bool,
    phase: Phase,
    generation: u64,
    next_probe: u64,
    stale: u64,
    /// The latest moment that it was told.
    latest: u64,
    random: Random,
}

impl Phase {
    fn closed(rules: &CircuitBreakerSettings, now: u64) -> Self {
        Self::Closed(Record::new(rules, now))
    }

    fn half_open(outage: Outage) -> Self {
        Self::HalfOpen { probes: Probes::default(), outage }
    }

    /// The state, without regard to the time.
    fn state(&self) -> State {
        match self {
            Self::Closed(_) => State::Closed,
            Self::MetricsOnly(_) => State::MetricsOnly,
            Self::ForcedClosed => State::ForcedClosed,
            Self::ForcedOpen => State::ForcedOpen,
            Self::Open { .. } => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn outage(&self) -> Option<Outage> {
        match self {
            Self::Open { outage, .. } | Self::HalfOpen { outage, .. } => Some(*outage),
            _ => None,
        }
    }
}

impl Core {
    pub(super) fn new(rules: CircuitBreakerSettings, random: Random, now: u64) -> Self {
        let (phase, times_calls) = (Phase::closed(&rules, now), rules.time_calls());
        Self {
            rules: SharedSettings::new(rules),
            made_with: None,
            times_calls,
            phase,
            generation: 0,
            next_probe: 0,
            stale: 0,
            latest: now,
            random,
        }
    }

    pub(super) fn settings(&self) -> &CircuitBreakerSettings {
        &self.rules
    }

    /// Goes on by other settings, in the same state and generation. An opening keeps its end.
    pub(super) fn apply(&mut self, settings: SharedSettings, now: u64) {
        let old = mem::replace(&mut self.rules, settings);
        self.times_calls = self.rules.time_calls();
        match &mut self.phase {
            Phase::Closed(record) | Phase::MetricsOnly(record) => record.change_rules(&old, &self.rules, now),
            Phase::HalfOpen { probes, .. } => probes.shorten(nanos(self.rules.probe_timeout), now),
            Phase::ForcedClosed | Phase::ForcedOpen | Phase::Open { .. } => {}
        }
        self.made_with.get_or_insert(old);
    }

    /// Takes these settings as those that it was made with.
    pub(super) fn set_made_with(&mut self, settings: SharedSettings) {
        self.made_with = Some(settings);
    }

    /// What the gate publishes of it.
    pub(super) fn gate_state(&self) -> GateState {
        match &self.phase {
            Phase::Closed(record) | Phase::MetricsOnly(record) => self.passing(record.successes()),
            Phase::ForcedClosed => self.passing(Successes::Ignored),
            Phase::ForcedOpen => GateState::Open { until: FOREVER },
            Phase::Open { until, .. } => GateState::Open { until: *until },
            Phase::HalfOpen { .. } => GateState::HalfOpen,
        }
    }

    fn passing(&self, successes: Successes) -> GateState {
        GateState::Passing { generation: self.generation, is_timed: self.times_calls, successes }
    }

    /// Records the successes that the gate has tallied.
    pub(super) fn apply_tally(&mut self, tally: u64) {
        match &mut self.phase {
            _ if tally == 0 => {}
            Phase::Closed(record) | Phase::MetricsOnly(record) => record.push_successes(tally),
            phase => debug_assert!(false, "successes were tallied for {phase:?}"),
        }
    }

    /// The latest moment that it was told.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    /// Sets the latest moment.
    pub(super) fn advance(&mut self, now: u64) {
        self.latest = now;
    }

    /// The state as it reads at `now`: an open circuit whose time is over reads half-open.
    pub(super) fn state(&self, now: u64) -> State {
        match self.phase {
            Phase::Open { until, .. } if until <= now => State::HalfOpen,
            _ => self.phase.state(),
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// How many outcomes came from calls of an earlier generation.
    pub(super) fn stale(&self) -> u64 {
        self.stale
    }

    pub(super) fn probes_in_flight(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen { probes, .. } => probes.running(),
            _ => 0,
        }
    }

    pub(super) fn counts(&mut self, now: u64) -> Counts {
        match &mut self.phase {
            Phase::Closed(record) | Phase::MetricsOnly(record) => record.counts(&self.rules, now),
            Phase::HalfOpen { probes, .. } => Counts { probe_successes: probes.successes, ..Counts::default() },
            Phase::ForcedClosed | Phase::ForcedOpen | Phase::Open { .. } => Counts::default(),
        }
    }

    /// Whether its state is worth more than that of a new circuit. `is_idle`: it was not used for `idle_for`.
    ///
    /// A circuit that someone forced, or gave other settings, says what that person wants. A dead dependency, which
    /// nobody calls any more, is forgotten when its opening is over and `idle_for` has passed since.
    pub(super) fn must_stay(&mut self, is_idle: bool, idle_for: u64, now: u64) -> bool {
        if self.made_with.as_ref().is_some_and(|made_with| **made_with != *self.rules) {
            return true;
        }
        match &mut self.phase {
            Phase::ForcedOpen | Phase::ForcedClosed | Phase::MetricsOnly(_) => true,
            // When its opening is over it is half-open, though no call has found that out yet.
            Phase::Open { until, .. } => !is_idle || now < until.saturating_add(idle_for),
            Phase::HalfOpen { .. } => !is_idle,
            Phase::Closed(record) => !is_idle && record.holds_failures(&self.rules, now),
        }
    }

    /// How a call at `now` would be rejected, if it would be. Changes nothing.
    pub(super) fn rejection(&self, now: u64) -> Option<Rejection> {
        match &self.phase {
            Phase::Closed(_) | Phase::MetricsOnly(_) | Phase::ForcedClosed => None,
            Phase::ForcedOpen => Some(Rejection::UNKNOWN_TIME),
            Phase::Open { until, .. } => (now < *until).then(|| Rejection::until(*until, now)),
            Phase::HalfOpen { probes, .. } => {
                (probes.running() >= self.rules.probes).then_some(Rejection::UNKNOWN_TIME)
            }
        }
    }

    /// Reopens a half-open circuit with a probe that has run for too long.
    pub(super) fn expire(&mut self, now: u64) -> Option<Transition> {
        match &self.phase {
            Phase::HalfOpen { probes, outage } if probes.has_expired(now) => {
                let outage = *outage;
                Some(self.reopen(Reason::ProbeTimedOut, None, outage, now))
            }
            _ => None,
        }
    }

    /// Admits a call, or rejects it, after the transition that time alone has brought about.
    pub(super) fn admit(&mut self, now: u64) -> (Result<Admission, Rejection>, Option<Transition>) {
        let moved = match self.phase {
            Phase::Open { until, outage } if until <= now => {
                Some(self.enter(Phase::half_open(outage), Reason::OpenForPassed, now))
            }
            _ => self.expire(now),
        };
        let answer = match self.rejection(now) {
            Some(rejection) => Err(rejection),
            None => Ok(self.grant(now)),
        };
        (answer, moved)
    }

    /// The admission of a call that is not rejected.
    fn grant(&mut self, now: u64) -> Admission {
        let Phase::HalfOpen { probes, .. } = &mut self.phase else {
            return Admission::Call { generation: self.generation };
        };
        let number = self.next_probe;
        self.next_probe += 1;
        probes.admit(number, nanos(self.rules.probe_timeout), now);
        Admission::Probe { number }
    }

    /// Counts the outcome of a call. If it breaks a rule, the circuit has to [`trip`](Self::trip). The time may be
    /// anything if no rule needs it.
    #[inline]
    pub(super) fn record_call(&mut self, outcome: CallOutcome, now: u64) -> Option<Reason> {
        let CallOutcome { generation, failed, slow } = outcome;
        if generation != self.generation {
            self.stale += 1;
            return None;
        }
        match &mut self.phase {
            Phase::Closed(record) => record.push(&self.rules, failed, slow, now),
            Phase::MetricsOnly(record) => {
                record.push(&self.rules, failed, slow, now);
                None
            }
            Phase::ForcedClosed | Phase::ForcedOpen | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Opens a closed circuit. `rejected` is how many calls were rejected so far.
    pub(super) fn trip(&mut self, reason: Reason, verdict: Verdict, now: u64, rejected: u64) -> Transition {
        let outage = Outage { since: now, rejected_before: rejected, reopenings: 0 };
        self.open(reason, Some(verdict), outage, now)
    }

    /// Counts the outcome of a probe.
    pub(super) fn settle_probe(
        &mut self,
        number: u64,
        outcome: ProbeOutcome,
        now: u64,
        rejected: u64,
    ) -> Option<Transition> {
        let Some((deadline, outage)) = self.end_probe(number, now) else {
            self.stale += u64::from(outcome != ProbeOutcome::NoAnswer);
            return None;
        };
        match outcome {
            _ if deadline <= now => Some(self.reopen(Reason::ProbeTimedOut, None, outage, now)),
            ProbeOutcome::Failure(verdict) => Some(self.reopen(Reason::ProbeFailed, Some(verdict), outage, now)),
            ProbeOutcome::Success => self.expire(now).or_else(|| self.probe_succeeded(now, rejected)),
            ProbeOutcome::NoAnswer => self.expire(now).or_else(|| self.probe_without_answer(deadline, now)),
        }
    }

    /// Gives a probe's slot back, and tells when it would have timed out. `None` if its half-open state is over.
    fn end_probe(&mut self, number: u64, now: u64) -> Option<(u64, Outage)> {
        let Phase::HalfOpen { probes, outage } = &mut self.phase else { return None };
        Some((probes.end(number, now)?, *outage))
    }

    fn probe_succeeded(&mut self, now: u64, rejected: u64) -> Option<Transition> {
        let Phase::HalfOpen { probes, .. } = &mut self.phase else { return None };
        if probes.succeed() < self.rules.required_successes {
            return None;
        }
        let closed = Phase::closed(&self.rules, now);
        Some(self.close(closed, Reason::ProbesSucceeded, now, rejected))
    }

    /// One caller that gives up sooner than `probe_timeout` proves nothing about the dependency. Callers that keep
    /// giving up until the first of their probes would have timed out do.
    fn probe_without_answer(&mut self, deadline: u64, now: u64) -> Option<Transition> {
        let Phase::HalfOpen { probes, outage } = &mut self.phase else { return None };
        if !probes.end_without_answer(deadline, now) {
            return None;
        }
        let outage = *outage;
        Some(self.reopen(Reason::ProbeTimedOut, None, outage, now))
    }

    /// A manual change of state. [`State::Open`] and [`State::HalfOpen`] cannot be forced, and mean closed.
    pub(super) fn force(&mut self, to: State, now: u64, rejected: u64) -> Transition {
        let next = match to {
            State::ForcedOpen => Phase::ForcedOpen,
            State::ForcedClosed => Phase::ForcedClosed,
            State::MetricsOnly => Phase::MetricsOnly(Record::new(&self.rules, now)),
            State::Closed | State::Open | State::HalfOpen => Phase::closed(&self.rules, now),
        };
        self.close(next, Reason::Forced, now, rejected)
    }

    /// The verdict is `None` where a probe gave no answer.
    fn reopen(&mut self, reason: Reason, verdict: Option<Verdict>, outage: Outage, now: u64) -> Transition {
        let reopenings = outage.reopenings.saturating_add(1);
        self.open(reason, verdict, Outage { reopenings, ..outage }, now)
    }

    fn open(&mut self, reason: Reason, verdict: Option<Verdict>, outage: Outage, now: u64) -> Transition {
        let hint = verdict.and_then(|verdict| verdict.retry_after());
        let open_for = self.open_for(outage.reopenings, hint);
        let until = now.saturating_add(open_for).min(FOREVER);
        let mut transition = self.enter(Phase::Open { until, outage }, reason, now);
        transition.open_for = Some(Duration::from_nanos(open_for));
        transition.verdict = verdict;
        transition
    }

    /// The circuit's own time grows with each reopening, up to the cap, and chance shortens it.
    ///
    /// Where the dependency asks for longer, the circuit stays open for as long as asked. Chance adds up to a tenth, up
    /// to the cap, so that callers who were told the same time do not come back at one instant. Where the dependency
    /// asks for more than the cap, the cap is the circuit's own time, and chance shortens it.
    fn open_for(&mut self, reopenings: u32, hint: Option<Duration>) -> u64 {
        let rules = &self.rules;
        let (cap, jitter, hint) = (nanos(rules.longest_opening()), rules.open_jitter, hint.map_or(0, nanos));
        let own = match nanos(rules.open_for) as f64 * rules.open_growth.powi(reopenings.min(i32::MAX as u32) as i32) {
            grown if grown < cap as f64 && hint <= cap => grown as u64,
            _ => cap,
        };
        let shortened_by = own as f64 * jitter * self.random.fraction();
        let own = own.saturating_sub(shortened_by as u64);
        if hint <= own || hint > cap {
            return own;
        }
        hint + self.random.up_to((hint / 10).min(cap - hint))
    }

    /// Ends the outage, if there is one, and tells it.
    fn close(&mut self, next: Phase, reason: Reason, now: u64, rejected: u64) -> Transition {
        let outage = self.phase.outage();
        let mut transition = self.enter(next, reason, now);
        transition.outage = outage.map(|outage| transition::Outage {
            lasted: Duration::from_nanos(now.saturating_sub(outage.since)),
            rejected: rejected.saturating_sub(outage.rejected_before),
            reopenings: outage.reopenings,
        });
        transition
    }

    fn enter(&mut self, next: Phase, reason: Reason, now: u64) -> Transition {
        let counts = self.counts(now);
        let from = mem::replace(&mut self.phase, next).state();
        self.generation += 1;
        let to = self.phase.state();
        Transition { generation: self.generation, counts, ..Transition::new(from, to, reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::CircuitBreaker, *};

    /// Opens on the first failure.
    fn core(open_for: Duration) -> Core {
        let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).no_open_jitter();
        Core::new(builder.open_for(open_for).unchecked().0, Random::seeded(0), 0)
    }

    #[test]
    fn b4_no_opening_passes_its_cap_not_even_by_rounding() {
        assert_eq!(core(Duration::MAX).open_for(0, None), FOREVER, "which is one more as an `f64`");
    }

    #[test]
    fn b4_a_call_that_was_overtaken_by_an_opening_is_rejected() {
        let mut core = core(Duration::from_nanos(100));
        let reason = core.record_call(CallOutcome { generation: 0, failed: true, slow: false }, 0);
        core.trip(reason.expect("a rule is broken"), Verdict::Failed, 0, 0);
        // The gate admitted it before that opening was published.
        let rejection = Rejection::of(1);
        assert_eq!(core.admit(99), (Err(rejection), None));
        assert_eq!(core.state(99), State::Open);
    }

    #[test]
    fn b1_a_run_spans_to_its_latest_failure_though_an_earlier_one_was_overtaken() {
        let builder = CircuitBreaker::builder("users").consecutive_failures(2, Duration::from_nanos(200));
        let mut core = Core::new(builder.unchecked().0, Random::seeded(0), 0);
        let failed = CallOutcome { generation: 0, failed: true, slow: false };
        assert_eq!(core.record_call(failed, 300), None);
        assert_eq!(core.record_call(failed, 100), Some(Reason::ConsecutiveFailures));
    }
}
