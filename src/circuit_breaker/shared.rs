use std::{num::NonZeroU64, time::Duration};

use super::{
    config::Options,
    event::CircuitBreakerEvent,
    gate::{Admission, EncodedAdmission, Gate, GateState},
    live::LiveSettings,
    settings::{CircuitBreakerSettings, SharedSettings},
    state::{CallOutcome, Core, ProbeOutcome, Rejection},
    transition::{Counts, Reason, State, Transition},
};
use crate::{
    classify::Verdict,
    clock::{Clock, FOREVER, nanos},
    error::{CircuitOpen, Name, Rejected},
    event::Reporter,
    panics::catch_panic,
    random::Random,
    rejections::Rejections,
    sync::{CachePadded, Lock, LockGuard},
};

/// The circuit that a breaker's clones and layers share: the core behind its lock, and the gate in front of it.
#[derive(Debug)]
pub struct Circuit {
    gate: Gate,
    clock: Clock,
    live: LiveSettings,
    reporter: Reporter<CircuitBreakerEvent>,
    cold: CachePadded<Cold>,
}

/// What threads write that do not find the circuit calm.
///
/// The two share their cache lines, so that a circuit has 128 bytes less. While a circuit is open, each call counts its
/// rejection, and none takes the lock; while it is closed, it is the other way round.
#[derive(Debug)]
struct Cold {
    core: Lock<Core>,
    rejections: Rejections,
}

/// The clock was not read: no rule asks for the moment. A clock never reads zero.
const NOT_READ: u64 = 0;

/// The same of a call's start.
const NOT_TIMED: NonZeroU64 = NonZeroU64::MIN;

/// A call that was admitted. It must be settled once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdmittedCall {
    admission: EncodedAdmission,
    /// When it was admitted; [`NOT_TIMED`] if no rule needed that. Never zero, so that an `Option` of it is no larger.
    since: NonZeroU64,
}

impl AdmittedCall {
    #[inline]
    fn new(admission: EncodedAdmission, since: u64) -> Self {
        Self { admission, since: NonZeroU64::new(since).unwrap_or(NOT_TIMED) }
    }

    /// How long it has run. `None` if it began before a rule needed that.
    #[inline]
    fn ran(self, now: u64) -> Option<u64> {
        (self.since != NOT_TIMED).then(|| now.saturating_sub(self.since.get()))
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
    /// How many outcomes came too late to count: their calls were admitted before the last transition.
    pub stale: u64,
}

impl Circuit {
    pub(super) fn new(settings: CircuitBreakerSettings, options: Options) -> Self {
        let random = options.seed.map_or_else(Random::fresh, Random::seeded);
        let (clock, live) = (Clock::start(), LiveSettings::new(&settings));
        let core = Core::new(settings, random, clock.now());
        Self {
            gate: Gate::new(core.gate_state()),
            clock,
            live,
            reporter: options.reporter,
            cold: CachePadded(Cold { core: Lock::new(core), rejections: Rejections::new() }),
        }
    }

    pub(super) fn settings(&self) -> CircuitBreakerSettings {
        self.cold.core.lock().settings().clone()
    }

    /// Applies settings that were checked.
    pub(super) fn apply_checked(&self, settings: &CircuitBreakerSettings) {
        let settings = SharedSettings::new(settings.clone());
        self.update(|core, now| {
            self.live.apply(&settings);
            core.apply(settings, now);
            ((), None)
        });
    }

    /// Takes these settings as those that it was made with.
    pub(super) fn set_made_with(&self, settings: &CircuitBreakerSettings) {
        self.cold.core.lock().set_made_with(SharedSettings::new(settings.clone()));
    }

    pub(super) fn name(&self) -> &Name {
        self.reporter.name()
    }

    /// Admits a call, or rejects it.
    #[inline]
    pub(crate) fn admit(&self) -> Result<AdmittedCall, Rejection> {
        self.admit_or_else(true, || self.admit_by_clock())
    }

    /// Admits a call, if it may be made and calls pass and no rule needs to know when it began. Else `decide` does.
    #[inline]
    pub(super) fn admit_or_else(
        &self,
        may_be_made: bool,
        decide: impl FnOnce() -> Result<AdmittedCall, Rejection>,
    ) -> Result<AdmittedCall, Rejection> {
        match self.gate.admit() {
            Some(admission) if may_be_made => Ok(AdmittedCall::new(admission, NOT_READ)),
            _ => decide(),
        }
    }

    #[inline(never)]
    pub(super) fn admit_by_clock(&self) -> Result<AdmittedCall, Rejection> {
        self.admit_at(self.clock.now())
    }

    fn admit_at(&self, now: u64) -> Result<AdmittedCall, Rejection> {
        match self.gate.load() {
            GateState::Passing { generation, .. } => {
                Ok(AdmittedCall::new(EncodedAdmission::encode(Admission::Call { generation }), now))
            }
            GateState::Open { until } if self.is_ahead(until, now) => Err(Rejection::until(until, now)),
            GateState::Open { .. } | GateState::HalfOpen => {
                let (admission, now) = self.update(|core, now| {
                    let (admission, transition) = core.admit(now);
                    (admission.map(|admission| (admission, now)), transition)
                })?;
                Ok(AdmittedCall::new(EncodedAdmission::encode(admission), now))
            }
        }
    }

    /// Whether an opening goes on. If its end is further ahead than an opening can be, the clock has been set back
    /// since, and the core has to catch up.
    fn is_ahead(&self, until: u64, now: u64) -> bool {
        now < until && (until == FOREVER || until - now <= self.live.longest_opening())
    }

    /// How a call would be rejected now, if it would be. It makes no transition, except for a probe that ran for too
    /// long.
    #[inline]
    pub(crate) fn rejection(&self) -> Option<Rejection> {
        if self.gate.passes() { None } else { self.rejection_by_clock() }
    }

    fn rejection_by_clock(&self) -> Option<Rejection> {
        let now = self.clock.now();
        match self.gate.load() {
            GateState::Passing { .. } => None,
            GateState::Open { until } if self.is_ahead(until, now) => Some(Rejection::until(until, now)),
            GateState::Open { .. } | GateState::HalfOpen => self.update(|core, now| {
                let transition = core.expire(now);
                (core.rejection(now), transition)
            }),
        }
    }

    /// Whether it is half-open, by the last transition.
    #[cfg(feature = "tower")]
    pub(super) fn is_half_open(&self) -> bool {
        self.gate.load() == GateState::HalfOpen
    }

    /// Counts and reports the rejection of a call. Whether its future should pend once.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_rejected_call(&self, rejection: Rejection) -> bool {
        let pends = self.cold.rejections.count_call();
        self.report(rejection);
        pends
    }

    /// Counts and reports that a permit was not given.
    pub(super) fn count_rejected_permit(&self, rejection: Rejection) {
        self.cold.rejections.count_other();
        self.report(rejection);
    }

    fn report(&self, rejection: Rejection) {
        let retry_after = rejection.retry_after();
        self.reporter.emit(|name| CircuitBreakerEvent::Rejected { name, retry_after });
    }

    pub(crate) fn rejected(&self, rejection: Rejection) -> Rejected {
        Rejected::CircuitOpen(CircuitOpen::new(self.name().clone(), rejection.retry_after()))
    }

    #[inline]
    pub(crate) fn settle(&self, admitted: AdmittedCall, verdict: Verdict) {
        match verdict {
            Verdict::Healthy => self.settle_success_by_clock(admitted),
            Verdict::Transient { .. } | Verdict::Failed | Verdict::Unreached => self.settle_failure(admitted, verdict),
            // The dependency is there, and says nothing about how many calls fail.
            Verdict::Throttled { .. } => self.settle_probe(admitted, ProbeOutcome::Success),
            Verdict::Ignored => self.settle_probe(admitted, ProbeOutcome::NoAnswer),
        }
    }

    /// A call that was dropped before its end.
    ///
    /// This runs in `Drop`, perhaps while its thread ends. Tokio's paused clock panics there, because its thread-local
    /// is gone, and a panic in a thread-local's destructor ends the process. Then the moment is unknown, and the
    /// probe's slot is given back all the same.
    #[cold]
    pub(crate) fn settle_dropped(&self, admitted: AdmittedCall) {
        let is_probe = matches!(admitted.admission.decode(), Admission::Probe { .. });
        if !is_probe && !self.live.counts_dropped() {
            return;
        }
        let now = catch_panic(|| self.clock.now());
        let ran = now.and_then(|now| admitted.ran(now));
        if ran.is_some_and(|ran| self.live.counts_dropped_after(ran)) {
            self.settle_failure(admitted, Verdict::Failed);
        } else if let Admission::Probe { number } = admitted.admission.decode() {
            let mut core = self.begin_update();
            let now = now.map_or(core.latest(), |now| self.at_least(&mut core, now));
            let transition = core.settle_probe(number, ProbeOutcome::NoAnswer, now, self.cold.rejections.total());
            self.publish(core, transition);
        }
    }

    /// Settles a success, if that needs neither the lock nor the clock.
    #[inline]
    pub(crate) fn settle_success(&self, admitted: AdmittedCall) -> bool {
        if self.gate.is_calm_for(admitted.admission) {
            // A call that is not timed is not slow either.
            return admitted.since == NOT_TIMED;
        }
        !self.live.reads_clock_at_success() && self.gate.tally(admitted.admission, NOT_READ)
    }

    #[inline]
    fn settle_success_by_clock(&self, admitted: AdmittedCall) {
        let now = if self.live.reads_clock_at_success() { self.clock.now() } else { NOT_READ };
        let slow = self.is_slow(admitted, now);
        if slow || !(self.gate.is_calm_for(admitted.admission) || self.gate.tally(admitted.admission, now)) {
            self.settle_by_core(admitted, Verdict::Healthy, slow, now);
        }
    }

    #[inline]
    fn settle_failure(&self, admitted: AdmittedCall, verdict: Verdict) {
        let now = if self.live.reads_clock_at_failure() { self.clock.now() } else { NOT_READ };
        self.settle_by_core(admitted, verdict, self.is_slow(admitted, now), now);
    }

    fn is_slow(&self, admitted: AdmittedCall, now: u64) -> bool {
        admitted.ran(now).is_some_and(|ran| self.live.is_slow(ran))
    }

    /// Every outcome but a success that is ignored or tallied goes to the core.
    #[inline(never)]
    fn settle_by_core(&self, admitted: AdmittedCall, verdict: Verdict, slow: bool, now: u64) {
        let failed = verdict != Verdict::Healthy;
        match admitted.admission.decode() {
            Admission::Call { generation } => self.record(CallOutcome { generation, failed, slow }, verdict, now),
            // Where slow calls are a rule, a probe that is slow shows that the dependency is not back.
            Admission::Probe { number } if failed || slow => self.record_probe(number, ProbeOutcome::Failure(verdict)),
            Admission::Probe { number } => self.record_probe(number, ProbeOutcome::Success),
        }
    }

    /// An outcome that counts for probes only.
    fn settle_probe(&self, admitted: AdmittedCall, outcome: ProbeOutcome) {
        if let Admission::Probe { number } = admitted.admission.decode() {
            self.record_probe(number, outcome);
        }
    }

    fn record(&self, outcome: CallOutcome, verdict: Verdict, now: u64) {
        let mut core = self.begin_update();
        let now = if now == NOT_READ { now } else { self.at_least(&mut core, now) };
        match core.record_call(outcome, now) {
            None => self.gate.publish(core.gate_state()),
            Some(reason) => self.trip(core, reason, verdict, now),
        }
    }

    /// The moment that broke the rule is also when the circuit opens: the counts in the event are those that were
    /// judged.
    #[cold]
    fn trip(&self, mut core: LockGuard<'_, Core>, reason: Reason, verdict: Verdict, now: u64) {
        let now = if now == NOT_READ { self.now(&mut core) } else { now };
        let transition = core.trip(reason, verdict, now, self.cold.rejections.total());
        self.publish(core, Some(transition));
    }

    #[cold]
    fn record_probe(&self, number: u64, outcome: ProbeOutcome) {
        let rejected = self.cold.rejections.total();
        self.update(|core, now| ((), core.settle_probe(number, outcome, now, rejected)));
    }

    pub(super) fn force(&self, to: State) {
        let rejected = self.cold.rejections.total();
        self.update(|core, now| ((), Some(core.force(to, now, rejected))));
    }

    pub(super) fn state(&self) -> State {
        let mut core = self.cold.core.lock();
        let now = self.now(&mut core);
        core.state(now)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.update(|core, now| {
            let snapshot = Snapshot {
                state: core.state(now),
                generation: core.generation(),
                counts: core.counts(now),
                time_left: core.rejection(now).and_then(Rejection::retry_after),
                probes_in_flight: core.probes_in_flight(),
                rejected: self.cold.rejections.total(),
                stale: core.stale(),
            };
            (snapshot, None)
        })
    }

    /// Whether its state is worth more than that of a new circuit. `is_idle`: it was not used for `idle_for`.
    pub(super) fn must_stay(&self, is_idle: bool, idle_for: Duration) -> bool {
        self.update(|core, now| (core.must_stay(is_idle, nanos(idle_for), now), None))
    }

    /// The core, told of every success so far. The gate has to be published again.
    fn begin_update(&self) -> LockGuard<'_, Core> {
        let mut core = self.cold.core.lock();
        core.apply_tally(self.gate.begin_update());
        core
    }

    fn now(&self, core: &mut Core) -> u64 {
        self.at_least(core, self.clock.now())
    }

    /// This moment, or a later one that the core was told of already. For the thread that has the lock.
    #[inline]
    fn at_least(&self, core: &mut Core, now: u64) -> u64 {
        let now = if now < core.latest() { self.clock.catch_up(core.latest()) } else { now };
        core.advance(now);
        now
    }

    fn update<R>(&self, act: impl FnOnce(&mut Core, u64) -> (R, Option<Transition>)) -> R {
        let mut core = self.begin_update();
        let now = self.now(&mut core);
        let (answer, transition) = act(&mut core, now);
        self.publish(core, transition);
        answer
    }

    /// Publishes in the gate what has become of the core, and reports a transition once the lock is free.
    #[cold]
    fn publish(&self, core: LockGuard<'_, Core>, transition: Option<Transition>) {
        self.gate.publish(core.gate_state());
        drop(core);
        if let Some(transition) = transition {
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
            let held = circuit.cold.core.lock();
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
            let admitted = circuit.admit().expect("it is closed");
            circuit.settle(admitted, Verdict::Healthy);
            let admitted = circuit.admit().expect("it is closed");
            circuit.settle_dropped(admitted);
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
            let admitted = circuit.admit().expect("it is closed");
            circuit.settle(admitted, Verdict::Healthy);
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
