//! The circuit breaker's model: a list of every outcome with its time, and no cleverness.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{
    CircuitBreaker, CircuitBreakerEvent, CircuitBreakerPermit, Verdict,
    circuit_breaker::{Counts, Reason, State, Window},
};

const MAX_OPEN_FOR: Duration = Duration::from_millis(5000);
const SLOW: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Calls(u32),
    Time(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    rate: f64,
    over: Over,
    min_calls: u32,
}

#[derive(Clone, Debug)]
struct Settings {
    failure_rate: Option<Rate>,
    slow_rate: Option<Rate>,
    run: Option<(u32, Duration)>,
    probes: usize,
    required_successes: u32,
    dropped_after: Option<Duration>,
    /// By what ratio chance may shorten an opening.
    jitter: f64,
    open_for: Duration,
    probe_timeout: Duration,
}

#[derive(Clone, Debug)]
enum Step {
    Admit,
    /// Ends one of the calls in flight, if there is any.
    End(usize, End),
    /// So many calls, each of which succeeds before the next, until one is rejected.
    Succeed(usize),
    /// So many calls one after the other, each of which is dropped after this time, and then none for that time.
    GiveUp(usize, Duration, Duration),
    Pass(Duration),
    Force(State),
    Apply(Settings),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Judged(Verdict),
    Dropped,
}

const SUCCESS: End = End::Judged(Verdict::Healthy);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    from: State,
    to: State,
    reason: Reason,
    generation: u64,
    verdict: Option<Verdict>,
    open_for: Option<Duration>,
    outage: Option<(Duration, u64, u32)>,
}

/// What can be seen of a circuit.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    state: State,
    generation: u64,
    failures: (u64, u64, Option<f64>),
    slow_calls: (u64, u64, Option<f64>),
    consecutive_failures: u32,
    probe_successes: u32,
    time_left: Option<Duration>,
    probes_in_flight: usize,
    rejected: u64,
    stale: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    at: Duration,
    /// When it was, for a rule about consecutive failures. `None`: no rule asked.
    told_at: Option<Duration>,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Debug)]
struct Outage {
    since: Duration,
    rejected_before: u64,
    reopenings: u32,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Closed, or counting only. Every outcome of this generation is kept.
    Counting {
        state: State,
        failures: Begun,
        slow_calls: Begun,
        outcomes: Vec<Outcome>,
    },
    Forced(State),
    Open {
        until: Duration,
        outage: Outage,
    },
    /// The probes, each with its end. `silent_until`: since the last answer, when the first of the probes would have
    /// ended that went without one. `idle_since`: when the last probe ended.
    HalfOpen {
        probes: Vec<(u64, Duration)>,
        successes: u32,
        silent_until: Option<Duration>,
        idle_since: Duration,
        outage: Outage,
    },
}

/// When a window began, and how many outcomes there were before.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Duration,
    outcomes: usize,
}

/// A call in flight, as the model knows it.
#[derive(Clone, Copy, Debug)]
struct Call {
    number: u64,
    generation: u64,
    since: Duration,
    is_probe: bool,
    /// Whether anyone asked when it began.
    is_timed: bool,
}

struct Model {
    settings: Settings,
    now: Duration,
    phase: Phase,
    generation: u64,
    calls: u64,
    rejected: u64,
    stale: u64,
    told: Vec<Told>,
    /// What the circuit has told. Where chance has a say, the model looks here for what it came to.
    really_told: Arc<Mutex<Vec<Told>>>,
    /// For each rejection how long the circuit would stay open.
    rejections: Vec<Option<Duration>>,
}

impl Phase {
    fn counting(state: State, at: Duration) -> Self {
        let begun = Begun { at, outcomes: 0 };
        Self::Counting { state, failures: begun, slow_calls: begun, outcomes: Vec::new() }
    }
}

impl Model {
    fn new(settings: Settings, really_told: Arc<Mutex<Vec<Told>>>) -> Self {
        let phase = Phase::counting(State::Closed, Duration::ZERO);
        Self {
            settings,
            now: Duration::ZERO,
            phase,
            generation: 0,
            calls: 0,
            rejected: 0,
            stale: 0,
            told: Vec::new(),
            really_told,
            rejections: Vec::new(),
        }
    }

    fn state(&self) -> State {
        match &self.phase {
            Phase::Counting { state, .. } | Phase::Forced(state) => *state,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen { .. } => State::HalfOpen,
        }
    }

    fn enter(&mut self, phase: Phase, reason: Reason) {
        let (from, before) = (self.state(), std::mem::replace(&mut self.phase, phase));
        self.generation += 1;
        let outage = match before {
            Phase::Open { outage, .. } | Phase::HalfOpen { outage, .. }
                if !matches!(self.phase, Phase::Open { .. } | Phase::HalfOpen { .. }) =>
            {
                Some((self.now - outage.since, self.rejected - outage.rejected_before, outage.reopenings))
            }
            _ => None,
        };
        let (to, generation) = (self.state(), self.generation);
        self.told.push(Told { from, to, reason, generation, verdict: None, open_for: None, outage });
    }

    fn open(&mut self, reason: Reason, verdict: Option<Verdict>, outage: Outage) {
        let own = (0..outage.reopenings).fold(self.settings.open_for, |length, _| (length * 2).min(MAX_OPEN_FOR));
        let range = self.range(own, verdict.and_then(|verdict| verdict.retry_after()).unwrap_or_default());
        let really = self.really_told.lock().expect("no panic").get(self.told.len()).copied();
        let open_for = really.and_then(|told| told.open_for).expect("it has opened too");
        assert!(range.contains(&open_for), "open for {open_for:?}, not within {range:?}");
        self.enter(Phase::Open { until: self.now + open_for, outage }, reason);
        let told = self.told.last_mut().expect("just told");
        (told.verdict, told.open_for) = (verdict, Some(open_for));
    }

    /// Between what an opening lies that the dependency asks to last for `hint`.
    fn range(&self, own: Duration, hint: Duration) -> RangeInclusive<Duration> {
        let shortened = |own: Duration| own - own.mul_f64(self.settings.jitter);
        if hint > MAX_OPEN_FOR {
            return shortened(MAX_OPEN_FOR)..=MAX_OPEN_FOR;
        }
        let told = if hint > shortened(own) { (hint + hint / 10).min(MAX_OPEN_FOR) } else { Duration::ZERO };
        hint.max(shortened(own))..=own.max(told)
    }

    fn reopen(&mut self, reason: Reason, verdict: Option<Verdict>, outage: Outage) {
        self.open(reason, verdict, Outage { reopenings: outage.reopenings + 1, ..outage });
    }

    /// A call, or for how long it is rejected.
    fn admit(&mut self) -> Result<Call, Option<Duration>> {
        match self.phase.clone() {
            Phase::Open { until, outage } if self.now >= until => {
                let (probes, idle_since) = (Vec::new(), self.now);
                let phase = Phase::HalfOpen { probes, successes: 0, silent_until: None, idle_since, outage };
                self.enter(phase, Reason::OpenForPassed);
            }
            Phase::HalfOpen { probes, outage, .. } if probes.iter().any(|(_, end)| self.now >= *end) => {
                self.reopen(Reason::ProbeTimedOut, None, outage);
            }
            _ => {}
        }
        let is_timed = self.settings.slow_rate.is_some() || self.settings.dropped_after.is_some();
        let call = Call { number: self.calls, generation: self.generation, since: self.now, is_probe: false, is_timed };
        let answer = match &mut self.phase {
            Phase::Counting { .. } | Phase::Forced(State::ForcedClosed) => Ok(call),
            Phase::Forced(_) => Err(None),
            Phase::Open { until, .. } => Err(Some(*until - self.now)),
            Phase::HalfOpen { probes, silent_until, idle_since, .. } if probes.len() < self.settings.probes => {
                if probes.is_empty() && self.now - *idle_since >= self.settings.probe_timeout {
                    *silent_until = None;
                }
                probes.push((call.number, self.now + self.settings.probe_timeout));
                Ok(Call { is_probe: true, is_timed: true, ..call })
            }
            Phase::HalfOpen { .. } => Err(None),
        };
        self.calls += 1;
        self.rejections.extend(answer.err());
        self.rejected = self.rejections.len() as u64;
        answer
    }

    fn end(&mut self, call: Call, end: End) {
        let took = self.now - call.since;
        let verdict = match end {
            End::Judged(verdict) => verdict,
            End::Dropped if call.is_timed && self.settings.dropped_after.is_some_and(|after| took >= after) => {
                Verdict::Failed
            }
            End::Dropped => Verdict::Ignored,
        };
        let is_slow = call.is_timed && took >= SLOW;
        let is_told = self.settings.tell_time_of_failures();
        match verdict {
            _ if call.is_probe && call.generation == self.generation => self.end_probe(call, verdict, is_slow),
            // It counts for probes alone.
            Verdict::Throttled { .. } if !call.is_probe => {}
            Verdict::Ignored => {}
            _ if call.generation != self.generation => self.stale += 1,
            _ => {
                let (at, failed) = (self.now, verdict.is_failure());
                self.record(Outcome { at, told_at: is_told.then_some(at), failed, slow: is_slow }, verdict);
            }
        }
    }

    fn end_probe(&mut self, call: Call, verdict: Verdict, is_slow: bool) {
        let now = self.now;
        let Phase::HalfOpen { probes, successes, silent_until, idle_since, outage } = &mut self.phase else {
            panic!("its generation is over")
        };
        let is_overdue = |end: Duration| now >= end;
        let end = probes.iter().find(|(number, _)| *number == call.number).expect("it runs").1;
        probes.retain(|(number, _)| *number != call.number);
        *idle_since = now;
        let is_another_overdue = probes.iter().any(|(_, end)| is_overdue(*end));
        let outage = outage.clone();
        let is_too_slow = self.settings.slow_rate.is_some() && is_slow && verdict == Verdict::Healthy;
        match verdict {
            _ if is_overdue(end) => self.reopen(Reason::ProbeTimedOut, None, outage),
            _ if verdict.is_failure() || is_too_slow => self.reopen(Reason::ProbeFailed, Some(verdict), outage),
            _ if is_another_overdue => self.reopen(Reason::ProbeTimedOut, None, outage),
            Verdict::Healthy | Verdict::Throttled { .. } => {
                *successes += 1;
                *silent_until = None;
                if *successes >= self.settings.required_successes {
                    self.count_from_now(State::Closed, Reason::ProbesSucceeded);
                }
            }
            _ => {
                if is_overdue(*silent_until.get_or_insert(end)) {
                    self.reopen(Reason::ProbeTimedOut, None, outage);
                }
            }
        }
    }

    fn count_from_now(&mut self, state: State, reason: Reason) {
        self.enter(Phase::counting(state, self.now), reason);
    }

    fn record(&mut self, outcome: Outcome, verdict: Verdict) {
        let Phase::Counting { state, outcomes, .. } = &mut self.phase else { return };
        outcomes.push(outcome);
        if *state != State::Closed {
            return;
        }
        let reason = match () {
            () if outcome.failed && self.run_is_broken() => Reason::ConsecutiveFailures,
            () if outcome.failed && is_over(self.settings.failure_rate, self.failures()) => Reason::FailureRate,
            () if outcome.slow && is_over(self.settings.slow_rate, self.slow_calls()) => Reason::SlowCallRate,
            () => return,
        };
        let outage = Outage { since: self.now, rejected_before: self.rejected, reopenings: 0 };
        self.open(reason, Some(verdict), outage);
    }

    /// The failures since the last success.
    fn run(&self) -> Vec<Outcome> {
        let Phase::Counting { outcomes, .. } = &self.phase else { return Vec::new() };
        outcomes.iter().rev().take_while(|outcome| outcome.failed).copied().collect()
    }

    fn run_is_broken(&self) -> bool {
        let run = self.run();
        self.settings.run.is_some_and(|(failures, spanning)| {
            let told: Vec<_> = run.iter().map_while(|outcome| outcome.told_at).collect();
            let span = if told.is_empty() { Duration::ZERO } else { told[0] - told[told.len() - 1] };
            run.len() >= failures as usize && span >= spanning
        })
    }

    fn failures(&self) -> (u64, u64, Option<f64>) {
        self.window(self.settings.failure_rate, true)
    }

    fn slow_calls(&self) -> (u64, u64, Option<f64>) {
        self.window(self.settings.slow_rate, false)
    }

    fn window(&self, rule: Option<Rate>, of_failures: bool) -> (u64, u64, Option<f64>) {
        let (Some(rule), Phase::Counting { failures, slow_calls, outcomes, .. }) = (rule, &self.phase) else {
            return (0, 0, None);
        };
        let Begun { at: since, outcomes: before } = if of_failures { *failures } else { *slow_calls };
        let outcomes = &outcomes[before..];
        let is_hit = |outcome: &Outcome| if of_failures { outcome.failed } else { outcome.slow };
        let held: Vec<_> = match rule.over {
            Over::Calls(calls) => outcomes.iter().rev().take(calls as usize).collect(),
            Over::Time(span) => {
                // The latest slice, and the ten before it. A slice is exactly a tenth of the span.
                let slice = |at: Duration| (at - since).as_nanos() * 10 / span.as_nanos();
                let is_held = |outcome: &&Outcome| {
                    let is_held = slice(self.now) - slice(outcome.at) <= 10;
                    let age = self.now - outcome.at;
                    assert!(is_held || age >= span, "younger than the span, it counts");
                    assert!(!is_held || age.as_nanos() * 10 <= span.as_nanos() * 11, "a slice older, it does not");
                    is_held
                };
                outcomes.iter().filter(is_held).collect()
            }
        };
        let hits = held.iter().filter(|outcome| is_hit(outcome)).count();
        let rate = (held.len() >= rule.min_calls as usize).then(|| hits as f64 / held.len() as f64);
        (held.len() as u64, hits as u64, rate)
    }

    fn apply(&mut self, settings: Settings) {
        let now = self.now;
        let old = std::mem::replace(&mut self.settings, settings);
        let has_changed = |old: Option<Rate>, new: Option<Rate>| old.map(|rule| rule.over) != new.map(|rule| rule.over);
        match &mut self.phase {
            Phase::Counting { failures, slow_calls, outcomes, .. } => {
                let begun = Begun { at: now, outcomes: outcomes.len() };
                if has_changed(old.failure_rate, self.settings.failure_rate) {
                    *failures = begun;
                }
                if has_changed(old.slow_rate, self.settings.slow_rate) {
                    *slow_calls = begun;
                }
            }
            Phase::HalfOpen { probes, .. } => {
                for (_, end) in probes {
                    *end = (now + self.settings.probe_timeout).min(*end);
                }
            }
            Phase::Forced(_) | Phase::Open { .. } => {}
        }
    }

    fn force(&mut self, to: State) {
        match to {
            State::Closed | State::MetricsOnly => self.count_from_now(to, Reason::Forced),
            _ => self.enter(Phase::Forced(to), Reason::Forced),
        }
    }

    fn seen(&self) -> Seen {
        let (state, time_left) = match &self.phase {
            Phase::Open { until, .. } if self.now >= *until => (State::HalfOpen, None),
            Phase::Open { until, .. } => (State::Open, Some(*until - self.now)),
            _ => (self.state(), None),
        };
        let (probe_successes, probes_in_flight) = match &self.phase {
            Phase::HalfOpen { successes, probes, .. } => (*successes, probes.len()),
            _ => (0, 0),
        };
        Seen {
            state,
            generation: self.generation,
            failures: self.failures(),
            slow_calls: self.slow_calls(),
            consecutive_failures: self.run().len() as u32,
            probe_successes,
            time_left,
            probes_in_flight,
            rejected: self.rejected,
            stale: self.stale,
        }
    }
}

fn is_over(rule: Option<Rate>, (_, _, rate): (u64, u64, Option<f64>)) -> bool {
    rule.is_some_and(|rule| rate.is_some_and(|rate| rate >= rule.rate))
}

impl Settings {
    fn tell_time_of_failures(&self) -> bool {
        let is_timed = |rule: Option<Rate>| rule.is_some_and(|rule| matches!(rule.over, Over::Time(_)));
        let has_span = self.run.is_some_and(|(_, spanning)| !spanning.is_zero());
        self.slow_rate.is_some() || is_timed(self.failure_rate) || has_span
    }

    fn build(&self, told: Arc<Mutex<Vec<Told>>>, rejections: Arc<Mutex<Vec<Option<Duration>>>>) -> CircuitBreaker {
        let window = |rate: Rate| match rate.over {
            Over::Calls(calls) => Window::calls(calls).min_calls(rate.min_calls),
            Over::Time(span) => Window::time(span).min_calls(rate.min_calls),
        };
        let mut builder = CircuitBreaker::builder("model")
            .consecutive_failure_rules(self.run)
            .open_for(self.open_for)
            .max_open_for(MAX_OPEN_FOR)
            .open_jitter(self.jitter)
            .probes(self.probes)
            .required_successes(self.required_successes)
            .probe_timeout(self.probe_timeout)
            .listener_fn(move |event| {
                let transition = match event {
                    CircuitBreakerEvent::Transition { transition, .. } => transition,
                    CircuitBreakerEvent::Rejected { retry_after, .. } => {
                        return rejections.lock().expect("no panic").push(*retry_after);
                    }
                    other => panic!("{other:?}"),
                };
                told.lock().expect("no panic").push(Told {
                    from: transition.from,
                    to: transition.to,
                    reason: transition.reason,
                    generation: transition.generation,
                    verdict: transition.verdict,
                    open_for: transition.open_for,
                    outage: transition.outage.map(|outage| (outage.lasted, outage.rejected, outage.reopenings)),
                });
            });
        if let Some(rate) = self.failure_rate {
            builder = builder.failure_rate(rate.rate, window(rate));
        }
        if let Some(rate) = self.slow_rate {
            builder = builder.slow_call_rate(rate.rate, SLOW, window(rate));
        }
        if let Some(after) = self.dropped_after {
            builder = builder.count_dropped_after(after);
        }
        builder.build().expect("good settings")
    }
}

fn seen(breaker: &CircuitBreaker) -> Seen {
    let snapshot = breaker.snapshot();
    let Counts { failures, slow_calls, consecutive_failures, probe_successes, .. } = snapshot.counts;
    assert_eq!(snapshot.state, breaker.state());
    Seen {
        state: snapshot.state,
        generation: snapshot.generation,
        failures: (failures.total, failures.count, failures.rate),
        slow_calls: (slow_calls.total, slow_calls.count, slow_calls.rate),
        consecutive_failures,
        probe_successes,
        time_left: snapshot.time_left,
        probes_in_flight: snapshot.probes_in_flight,
        rejected: snapshot.rejected,
        stale: snapshot.stale,
    }
}

fn finish(permit: CircuitBreakerPermit, end: End) {
    match end {
        SUCCESS => permit.success(),
        End::Judged(Verdict::Failed) => permit.failure(),
        End::Judged(verdict) => permit.record(verdict),
        End::Dropped => drop(permit),
    }
}

async fn agree(settings: Settings, steps: Vec<Step>, look_every: usize) -> Result<(), TestCaseError> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let rejections = Arc::new(Mutex::new(Vec::new()));
    let breaker = settings.build(told.clone(), rejections.clone());
    let mut model = Model::new(settings, told.clone());
    let mut in_flight: Vec<(CircuitBreakerPermit, Call)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let told_step = format!("{step:?}");
        match step {
            Step::Admit => match (breaker.try_acquire(), model.admit()) {
                (Ok(permit), Ok(call)) => in_flight.push((permit, call)),
                (Err(rejected), Err(left)) => prop_assert_eq!(rejected.retry_after(), left, "step {}", number),
                (real, expected) => prop_assert!(false, "step {number}: {real:?} is not {expected:?}"),
            },
            Step::End(..) if in_flight.is_empty() => {}
            Step::End(which, end) => {
                let (permit, call) = in_flight.swap_remove(which % in_flight.len());
                finish(permit, end);
                model.end(call, end);
            }
            Step::Succeed(calls) => {
                for _ in 0..calls {
                    match (breaker.try_acquire(), model.admit()) {
                        (Ok(permit), Ok(call)) => {
                            finish(permit, SUCCESS);
                            model.end(call, SUCCESS);
                        }
                        (Err(_), Err(_)) => break,
                        (real, expected) => prop_assert!(false, "step {number}: {real:?} is not {expected:?}"),
                    }
                }
            }
            Step::GiveUp(calls, after, idle) => {
                for _ in 0..calls {
                    let (real, expected) = (breaker.try_acquire(), model.admit());
                    prop_assert_eq!(real.is_ok(), expected.is_ok(), "step {}", number);
                    tokio::time::advance(after).await;
                    model.now += after;
                    if let (Ok(permit), Ok(call)) = (real, expected) {
                        finish(permit, End::Dropped);
                        model.end(call, End::Dropped);
                    }
                    tokio::time::advance(idle).await;
                    model.now += idle;
                }
            }
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span;
            }
            Step::Force(to) => {
                match to {
                    State::ForcedOpen => breaker.force_open(),
                    State::ForcedClosed => breaker.force_closed(),
                    State::MetricsOnly => breaker.metrics_only(),
                    _ => breaker.reset(),
                }
                model.force(to);
            }
            Step::Apply(settings) => {
                let data = settings.build(Arc::default(), Arc::default()).settings();
                breaker.apply(&data).expect("good settings");
                prop_assert_eq!(breaker.settings(), data, "step {}", number);
                model.apply(settings);
            }
        }
        // Whoever looks has the core told of all that it was not: it must not depend on that.
        if number % look_every == 0 {
            prop_assert_eq!(seen(&breaker), model.seen(), "after step {} ({})", number, told_step);
        }
        prop_assert_eq!(
            &*rejections.lock().expect("no panic"),
            &model.rejections,
            "after step {} ({})",
            number,
            told_step
        );
        prop_assert_eq!(&*told.lock().expect("no panic"), &model.told, "after step {} ({})", number, told_step);
    }
    prop_assert_eq!(seen(&breaker), model.seen(), "in the end");
    Ok(())
}

fn rates() -> impl Strategy<Value = Option<Rate>> {
    let over = prop_oneof![
        (1_u32..8).prop_map(Over::Calls),
        select(vec![10_u64, 100, 1000, 12_345]).prop_map(|millis| Over::Time(Duration::from_millis(millis))),
        // Those do not divide by ten.
        select(vec![19, 10_000_007, 99_999_999]).prop_map(|nanos| Over::Time(Duration::from_nanos(nanos))),
    ];
    let rate = (select(vec![0.01, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0]), over, 1_u32..6).prop_map(|(rate, over, min)| {
        let most = if let Over::Calls(calls) = over { calls } else { u32::MAX };
        Rate { rate, over, min_calls: min.min(most) }
    });
    proptest::option::of(rate)
}

fn settings() -> impl Strategy<Value = Settings> {
    let run = proptest::option::of((1_u32..5, select(vec![0_u64, 1, 30, 200]).prop_map(Duration::from_millis)));
    let dropped_after = proptest::option::of(select(vec![0_u64, 50, 700]).prop_map(Duration::from_millis));
    let spans = select(vec![(1000, 700), (1000, 300), (400, 700)]);
    (rates(), rates(), run, 1_usize..4, 1_u32..4, dropped_after, select(vec![0.0, 0.2, 1.0]), spans)
        .prop_map(|(failure_rate, slow_rate, run, probes, required_successes, dropped_after, jitter, spans)| Settings {
            failure_rate,
            slow_rate,
            run,
            probes,
            required_successes,
            dropped_after,
            jitter,
            open_for: Duration::from_millis(spans.0),
            probe_timeout: Duration::from_millis(spans.1),
        })
        .prop_filter("a rule", |settings| {
            settings.failure_rate.is_some() || settings.slow_rate.is_some() || settings.run.is_some()
        })
}

/// `applied`: how often settings are applied.
fn steps(applied: u32) -> impl Strategy<Value = Vec<Step>> {
    // Below and above the first opening, near the cap and beyond it.
    let hint = || {
        let hints = select(vec![0_u64, 500, 900, 1000, 3000, 4800, 5000, 60_000]).prop_map(Duration::from_millis);
        proptest::option::weighted(0.3, hints)
    };
    let end = prop_oneof![
        6 => Just(SUCCESS),
        6 => hint().prop_map(|retry_after| End::Judged(Verdict::Transient { retry_after })),
        1 => Just(End::Judged(Verdict::Failed)),
        1 => Just(End::Judged(Verdict::Unreached)),
        2 => hint().prop_map(|retry_after| End::Judged(Verdict::Throttled { retry_after })),
        2 => Just(End::Judged(Verdict::Ignored)),
        2 => Just(End::Dropped),
    ];
    // In microseconds: the ends of slices, of probes and of openings, and a tick before them. And some nanoseconds.
    let spans = [0, 1, 999, 1000, 9999, 10_000, 50_000, 100_000, 400_000, 699_999, 700_000];
    let longer = [999_999, 1_000_000, 2_000_000, 5_000_000, 100_000_000_000_000];
    let span = prop_oneof![
        8 => select([&spans[..], &longer[..]].concat()).prop_map(Duration::from_micros),
        2 => select(vec![1, 2, 3, 17, 9_999_993, 90_000_000]).prop_map(Duration::from_nanos),
    ];
    let states = [State::Closed, State::ForcedOpen, State::ForcedClosed, State::MetricsOnly];
    let step = prop_oneof![
        40 => Just(Step::Admit),
        40 => (any::<usize>(), end).prop_map(|(which, end)| Step::End(which, end)),
        2 => select(vec![1, 3, 10, 300]).prop_map(Step::Succeed),
        2 => (1_usize..4, select(vec![0_u64, 300, 699]), select(vec![0_u64, 1, 100, 700])).prop_map(
            |(calls, after, idle)| Step::GiveUp(calls, Duration::from_millis(after), Duration::from_millis(idle))
        ),
        18 => span.prop_map(Step::Pass),
        2 => select(states.to_vec()).prop_map(Step::Force),
        applied => settings().prop_map(Step::Apply),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn the_circuit_breaker_agrees_with_its_model(settings in settings(), steps in steps(0), look_every in 1_usize..50) {
        super::run(agree(settings, steps, look_every))?;
    }

    #[test]
    fn c3_so_it_does_while_its_settings_change(settings in settings(), steps in steps(6), look_every in 1_usize..50) {
        super::run(agree(settings, steps, look_every))?;
    }
}
