//! The core: plain data and arithmetic. Moments are nanoseconds since the circuit was made.

use std::{mem, time::Duration};

use super::{
    config::Rules,
    gate::{Admission, Successes, View},
    record::Record,
    transition::{self, Counts, Reason, State, Transition},
};
use crate::{
    clock::{FOREVER, nanos},
    random::Random,
};

/// How a call ended that was let in by a passing circuit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) generation: u64,
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// What a probe's end means to the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure {
        hint: Option<Duration>,
    },
    /// It was given up before its end.
    Dropped,
    /// Our own rejection: it never reached the dependency.
    Nothing,
}

/// A call rejected: how long the circuit stays open, if anyone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// [`FOREVER`]: no one can tell.
    left: u64,
}

impl Rejection {
    const UNKNOWN_TIME: Self = Self { left: FOREVER };

    pub(super) fn of(left: u64) -> Self {
        Self { left }
    }

    /// At `now`, with the circuit open until `until`.
    pub(super) fn until(until: u64, now: u64) -> Self {
        if until == FOREVER { Self::UNKNOWN_TIME } else { Self::of(until.saturating_sub(now)) }
    }

    pub(super) fn left(self) -> u64 {
        self.left
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
    reopenings: i32,
}

#[derive(Debug)]
struct Probe {
    number: u64,
    deadline: u64,
}

#[derive(Debug)]
enum Phase {
    Closed(Record),
    MetricsOnly(Record),
    ForcedClosed,
    ForcedOpen,
    Open {
        until: u64,
        outage: Outage,
    },
    HalfOpen {
        probes: Vec<Probe>,
        successes: u32,
        /// When the first of the probes that were given up since the last answer would have timed out.
        silent_until: Option<u64>,
        outage: Outage,
    },
}

#[derive(Debug)]
pub(super) struct Core {
    // CachePadded from the rest, which changes: the rules are long, and never do.
    rules: Box<Rules>,
    phase: Phase,
    generation: u64,
    next_probe: u64,
    stale: u64,
    random: Random,
}

impl Phase {
    fn closed(rules: &Rules, now: u64) -> Self {
        Self::Closed(Record::new(rules, now))
    }

    fn half_open(outage: Outage) -> Self {
        Self::HalfOpen { probes: Vec::new(), successes: 0, silent_until: None, outage }
    }

    /// The state it is, whatever the time.
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
    pub(super) fn new(rules: Rules, random: Random) -> Self {
        let phase = Phase::closed(&rules, 0);
        Self { rules: rules.into(), phase, generation: 0, next_probe: 0, stale: 0, random }
    }

    /// What the gate shows of it.
    pub(super) fn view(&self) -> View {
        match &self.phase {
            Phase::Closed(record) | Phase::MetricsOnly(record) => {
                View::Passing { generation: self.generation, successes: record.successes() }
            }
            Phase::ForcedClosed => View::Passing { generation: self.generation, successes: Successes::Ignored },
            Phase::ForcedOpen => View::Open { until: FOREVER },
            Phase::Open { until, .. } => View::Open { until: *until },
            Phase::HalfOpen { .. } => View::HalfOpen,
        }
    }

    /// Takes in the successes that were tallied for it.
    pub(super) fn apply_tally(&mut self, tally: u64) {
        match &mut self.phase {
            _ if tally == 0 => {}
            Phase::Closed(record) | Phase::MetricsOnly(record) => record.note_successes(tally),
            phase => debug_assert!(false, "successes were tallied for {phase:?}"),
        }
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
            Phase::HalfOpen { probes, .. } => probes.len(),
            _ => 0,
        }
    }

    pub(super) fn counts(&mut self, now: u64) -> Counts {
        match &mut self.phase {
            Phase::Closed(record) | Phase::MetricsOnly(record) => record.counts(&self.rules, now),
            Phase::HalfOpen { successes, .. } => Counts { probe_successes: *successes, ..Counts::default() },
            Phase::ForcedClosed | Phase::ForcedOpen | Phase::Open { .. } => Counts::default(),
        }
    }

    /// What a call at `now` would hear instead of being let in. Changes nothing.
    pub(super) fn rejection(&self, now: u64) -> Option<Rejection> {
        match &self.phase {
            Phase::Closed(_) | Phase::MetricsOnly(_) | Phase::ForcedClosed => None,
            Phase::ForcedOpen => Some(Rejection::UNKNOWN_TIME),
            Phase::Open { until, .. } => (now < *until).then(|| Rejection::until(*until, now)),
            Phase::HalfOpen { probes, .. } => (probes.len() >= self.rules.probes).then_some(Rejection::UNKNOWN_TIME),
        }
    }

    /// Reopens a half-open circuit with a probe that has run for too long.
    pub(super) fn expire(&mut self, now: u64) -> Option<Transition> {
        match &self.phase {
            Phase::HalfOpen { probes, outage, .. } if probes.iter().any(|probe| probe.deadline <= now) => {
                let outage = *outage;
                Some(self.reopen(Reason::ProbeTimedOut, None, outage, now))
            }
            _ => None,
        }
    }

    /// Lets a call in, or not, after the transition that time alone has brought about.
    pub(super) fn admit(&mut self, now: u64) -> (Result<Admission, Rejection>, Option<Transition>) {
        let moved = match self.phase {
            Phase::Open { until, outage } if until <= now => {
                Some(self.enter(Phase::half_open(outage), Reason::OpenForPassed, now))
            }
            _ => self.expire(now),
        };
        let answer = match self.rejection(now) {
            Some(rejection) => Err(rejection),
            None => Ok(self.take_in(now)),
        };
        (answer, moved)
    }

    fn take_in(&mut self, now: u64) -> Admission {
        let Phase::HalfOpen { probes, .. } = &mut self.phase else {
            return Admission::Call { generation: self.generation };
        };
        let number = self.next_probe;
        self.next_probe += 1;
        probes.push(Probe { number, deadline: now.saturating_add(nanos(self.rules.probe_timeout)) });
        Admission::Probe { number }
    }

    /// Counts what became of a call. If that breaks a rule, the circuit has to [`trip`](Self::trip). The time may be anything if no
    /// rule asks for it.
    #[inline]
    pub(super) fn note(&mut self, Ended { generation, failed, slow }: Ended, now: u64) -> Option<Reason> {
        if generation != self.generation {
            self.stale += 1;
            return None;
        }
        match &mut self.phase {
            Phase::Closed(record) => record.note(&self.rules, failed, slow, now),
            Phase::MetricsOnly(record) => {
                record.note(&self.rules, failed, slow, now);
                None
            }
            Phase::ForcedClosed | Phase::ForcedOpen | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        }
    }

    /// Opens a closed circuit. `rejected` is how many calls were rejected so far.
    pub(super) fn trip(&mut self, reason: Reason, hint: Option<Duration>, now: u64, rejected: u64) -> Transition {
        self.open(reason, hint, Outage { since: now, rejected_before: rejected, reopenings: 0 }, now)
    }

    /// Counts what became of a probe.
    pub(super) fn settle_probe(
        &mut self,
        number: u64,
        outcome: Outcome,
        now: u64,
        rejected: u64,
    ) -> Option<Transition> {
        let Some((deadline, outage)) = self.take_probe(number) else {
            self.stale += u64::from(matches!(outcome, Outcome::Success | Outcome::Failure { .. }));
            return None;
        };
        match outcome {
            _ if deadline <= now => Some(self.reopen(Reason::ProbeTimedOut, None, outage, now)),
            Outcome::Failure { hint } => Some(self.reopen(Reason::ProbeFailed, hint, outage, now)),
            Outcome::Success => self.expire(now).or_else(|| self.probe_succeeded(now, rejected)),
            Outcome::Dropped => self.expire(now).or_else(|| self.probe_given_up(deadline, now)),
            Outcome::Nothing => self.expire(now),
        }
    }

    /// Gives a probe's slot back. `None` if its half-open state is over.
    fn take_probe(&mut self, number: u64) -> Option<(u64, Outage)> {
        let Phase::HalfOpen { probes, outage, .. } = &mut self.phase else { return None };
        let index = probes.iter().position(|probe| probe.number == number)?;
        Some((probes.swap_remove(index).deadline, *outage))
    }

    fn probe_succeeded(&mut self, now: u64, rejected: u64) -> Option<Transition> {
        let Phase::HalfOpen { successes, silent_until, .. } = &mut self.phase else { return None };
        *successes += 1;
        *silent_until = None;
        if *successes < self.rules.required_successes {
            return None;
        }
        let closed = Phase::closed(&self.rules, now);
        Some(self.close(closed, Reason::ProbesSucceeded, now, rejected))
    }

    /// A caller that gives up sooner than `probe_timeout` is no proof against the dependency; callers that go on giving up
    /// until the first of their probes would have timed out are.
    fn probe_given_up(&mut self, deadline: u64, now: u64) -> Option<Transition> {
        let Phase::HalfOpen { silent_until, outage, .. } = &mut self.phase else { return None };
        if *silent_until.get_or_insert(deadline) > now {
            return None;
        }
        let outage = *outage;
        Some(self.reopen(Reason::ProbeTimedOut, None, outage, now))
    }

    /// By hand: into `to`. A state that comes about by itself alone means closed.
    pub(super) fn force(&mut self, to: State, now: u64, rejected: u64) -> Transition {
        let next = match to {
            State::ForcedOpen => Phase::ForcedOpen,
            State::ForcedClosed => Phase::ForcedClosed,
            State::MetricsOnly => Phase::MetricsOnly(Record::new(&self.rules, now)),
            State::Closed | State::Open | State::HalfOpen => Phase::closed(&self.rules, now),
        };
        self.close(next, Reason::Forced, now, rejected)
    }

    fn reopen(&mut self, reason: Reason, hint: Option<Duration>, outage: Outage, now: u64) -> Transition {
        let reopenings = outage.reopenings.saturating_add(1);
        self.open(reason, hint, Outage { reopenings, ..outage }, now)
    }

    fn open(&mut self, reason: Reason, hint: Option<Duration>, outage: Outage, now: u64) -> Transition {
        let open_for = self.open_for(outage.reopenings, hint);
        let until = now.saturating_add(open_for).min(FOREVER);
        let mut transition = self.enter(Phase::Open { until, outage }, reason, now);
        transition.open_for = Some(Duration::from_nanos(open_for));
        transition
    }

    /// Grown and capped, then shortened by chance, then as long as the dependency asks, if the cap allows.
    fn open_for(&mut self, reopenings: i32, hint: Option<Duration>) -> u64 {
        let rule = &self.rules.open;
        let cap = nanos(rule.most());
        let grown = match nanos(rule.first) as f64 * rule.growth.powi(reopenings) {
            grown if grown < cap as f64 => grown as u64,
            _ => cap,
        };
        let shortened_by = grown as f64 * rule.jitter * self.random.fraction();
        let jittered = grown.saturating_sub(shortened_by as u64);
        jittered.max(hint.map_or(0, nanos).min(cap))
    }

    /// Leaves an outage behind, if there was one.
    fn close(&mut self, next: Phase, reason: Reason, now: u64, rejected: u64) -> Transition {
        let outage = self.phase.outage();
        let mut transition = self.enter(next, reason, now);
        transition.outage = outage.map(|outage| transition::Outage {
            lasted: Duration::from_nanos(now.saturating_sub(outage.since)),
            rejected: rejected.saturating_sub(outage.rejected_before),
        });
        transition
    }

    fn enter(&mut self, next: Phase, reason: Reason, now: u64) -> Transition {
        let counts = self.counts(now);
        let from = mem::replace(&mut self.phase, next).state();
        self.generation += 1;
        let to = self.phase.state();
        Transition { from, to, reason, generation: self.generation, counts, open_for: None, outage: None }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::CircuitBreaker, *};

    /// Opens on the first failure.
    fn core(open_for: Duration) -> Core {
        let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).no_open_jitter();
        Core::new(builder.open_for(open_for).unchecked().0, Random::seeded(0))
    }

    #[test]
    fn b4_no_opening_passes_its_cap_not_even_by_rounding() {
        assert_eq!(core(Duration::MAX).open_for(0, None), FOREVER, "which is one more as an `f64`");
    }

    #[test]
    fn b4_a_call_that_was_overtaken_by_an_opening_is_rejected() {
        let mut core = core(Duration::from_nanos(100));
        let reason = core.note(Ended { generation: 0, failed: true, slow: false }, 0);
        core.trip(reason.expect("a rule is broken"), None, 0, 0);
        // The gate let it through to here before it showed that opening.
        let rejection = Rejection::of(1);
        assert_eq!(core.admit(99), (Err(rejection), None));
        assert_eq!(core.state(99), State::Open);
    }

    #[test]
    fn b1_a_run_spans_to_its_latest_failure_though_an_earlier_one_was_overtaken() {
        let builder = CircuitBreaker::builder("users").consecutive_failures(2, Duration::from_nanos(200));
        let mut core = Core::new(builder.unchecked().0, Random::seeded(0));
        let failed = Ended { generation: 0, failed: true, slow: false };
        assert_eq!(core.note(failed, 300), None);
        assert_eq!(core.note(failed, 100), Some(Reason::ConsecutiveFailures));
    }
}
