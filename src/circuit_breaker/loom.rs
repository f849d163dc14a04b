//! Every interleaving of what threads do to one circuit: the gate word beside the locked core, generations against late
//! outcomes, probe slots.
//!
//! A circuit that opens for a nanosecond is half-open by the time anyone looks, whatever the interleaving.

use std::time::Duration;

use ::loom::{model, model::Builder, thread};

use super::{
    CircuitBreaker, CircuitBreakerBuilder, State,
    gate::{Gate, GateState, Successes},
};
use crate::sync::Arc;

fn opens_on(failures: u32) -> CircuitBreakerBuilder {
    CircuitBreaker::builder("loom").consecutive_failures(failures, Duration::ZERO).no_open_jitter().seed(1)
}

fn build(builder: CircuitBreakerBuilder) -> CircuitBreaker {
    builder.build().expect("good settings")
}

fn half_open(builder: CircuitBreakerBuilder) -> CircuitBreaker {
    let breaker = build(builder.open_for(Duration::from_nanos(1)).no_open_growth());
    breaker.try_acquire().expect("it is closed").failure();
    breaker
}

/// Three threads cannot be tried exhaustively; three preemptions find what matters.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn one_probe_slot_admits_one() {
    model(|| {
        let breaker = half_open(opens_on(1));
        let other = breaker.clone();
        let there = thread::spawn(move || other.try_acquire());
        let here = breaker.try_acquire();
        let there = there.join().expect("no panic");
        assert!(here.is_ok() != there.is_ok());
        assert_eq!(breaker.snapshot().probes_in_flight, 1);
        drop((here, there));
        assert_eq!((breaker.snapshot().probes_in_flight, breaker.state()), (0, State::HalfOpen));
    });
}

#[test]
fn a_dropped_probe_and_a_newcomer_leave_no_slot_behind() {
    model(|| {
        let breaker = half_open(opens_on(1));
        let probe = breaker.try_acquire().expect("a probe");
        let there = thread::spawn(move || drop(probe));
        drop(breaker.try_acquire());
        there.join().expect("no panic");
        assert_eq!(breaker.snapshot().probes_in_flight, 0);
        assert!(breaker.try_acquire().is_ok());
    });
}

#[test]
fn two_probes_that_succeed_close_it_once() {
    model(|| {
        let breaker = half_open(opens_on(1).probes(2).required_successes(2));
        let probe = breaker.try_acquire().expect("a probe");
        let other = breaker.clone();
        let there = thread::spawn(move || probe.success());
        other.try_acquire().expect("another").success();
        there.join().expect("no panic");
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.state, snapshot.generation, snapshot.stale), (State::Closed, 3, 0));
    });
}

#[test]
fn a_late_success_never_closes_what_a_failure_opened() {
    model(|| {
        let breaker = build(opens_on(1).open_for(Duration::from_secs(1_000_000)));
        let (late, failing) = (breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed"));
        let there = thread::spawn(move || late.success());
        failing.failure();
        there.join().expect("no panic");
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.state, snapshot.generation), (State::Open, 1));
        assert!(snapshot.stale <= 1);
    });
}

#[test]
fn a_success_that_is_recorded_ends_the_run_and_one_that_is_not_was_calm() {
    model(|| {
        let breaker = build(opens_on(3));
        let (good, bad) = (breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed"));
        breaker.try_acquire().expect("closed").failure();
        let there = thread::spawn(move || good.success());
        bad.failure();
        there.join().expect("no panic");
        // The success came first and the failure stands alone, or it came last and ended the run.
        assert!(breaker.snapshot().counts.consecutive_failures <= 1);
        breaker.try_acquire().expect("closed").success();
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0, "the gate does not call it calm when it is not");
    });
}

#[test]
fn two_failures_are_two() {
    model(|| {
        let breaker = build(opens_on(2));
        let (one, two) = (breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed"));
        let there = thread::spawn(move || one.failure());
        two.failure();
        there.join().expect("no panic");
        assert_eq!(breaker.state(), State::Open);
    });
}

#[test]
fn an_outcome_counts_before_a_reset_or_is_stale_after_it() {
    model(|| {
        let breaker = build(opens_on(2));
        let call = breaker.try_acquire().expect("closed");
        let there = thread::spawn(move || call.failure());
        breaker.reset();
        there.join().expect("no panic");
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.counts.consecutive_failures, snapshot.generation), (0, 1));
        assert!(snapshot.stale <= 1);
    });
}

#[test]
fn once_forced_open_and_seen_so_it_admits_no_one() {
    model(|| {
        let breaker = build(opens_on(2));
        let other = breaker.clone();
        let there = thread::spawn(move || {
            other.force_open();
            other.try_acquire().is_err()
        });
        let here = breaker.try_acquire();
        assert!(there.join().expect("no panic"));
        drop(here);
        assert_eq!(breaker.state(), State::ForcedOpen);
    });
}

#[test]
fn after_two_transitions_gate_and_core_agree() {
    model(|| {
        let breaker = build(opens_on(2));
        let other = breaker.clone();
        let there = thread::spawn(move || other.force_open());
        breaker.reset();
        there.join().expect("no panic");
        let is_closed = breaker.state() == State::Closed;
        assert_eq!(breaker.try_acquire().is_ok(), is_closed);
    });
}

#[test]
fn three_callers_share_two_probe_slots() {
    bounded(|| {
        let breaker = half_open(opens_on(1).probes(2));
        let others = [breaker.clone(), breaker.clone()].map(|other| thread::spawn(move || other.try_acquire()));
        let here = breaker.try_acquire();
        let calls = others.map(|other| other.join().expect("no panic"));
        let admitted = calls.iter().chain([&here]).filter(|call| call.is_ok()).count();
        assert_eq!((admitted, breaker.snapshot().probes_in_flight, breaker.snapshot().rejected), (2, 2, 1));
        drop((calls, here));
        assert_eq!(breaker.snapshot().probes_in_flight, 0);
    });
}

#[test]
fn a_probe_that_fails_one_that_succeeds_and_a_newcomer_leave_no_slot_behind() {
    bounded(|| {
        let breaker = half_open(opens_on(1).probes(2).required_successes(1));
        let (good, bad) = (breaker.try_acquire().expect("a probe"), breaker.try_acquire().expect("a probe"));
        let there = [thread::spawn(move || good.success()), thread::spawn(move || bad.failure())];
        let newcomer = breaker.try_acquire();
        there.into_iter().for_each(|thread| thread.join().expect("no panic"));
        drop(newcomer);
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.probes_in_flight, 0);
        // Closed by the good one, and the bad one is stale; or reopened by the bad one, and so half-open again by now.
        assert!(matches!(snapshot.state, State::Closed | State::HalfOpen), "{snapshot:?}");
        assert!(breaker.try_acquire().is_ok());
    });
}

#[test]
fn a_failure_a_success_and_a_reset_leave_gate_and_core_agreed() {
    bounded(|| {
        let breaker = build(opens_on(2).open_for(Duration::from_secs(1_000_000)));
        breaker.try_acquire().expect("closed").failure();
        let (good, bad) = (breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed"));
        let there = [thread::spawn(move || good.success()), thread::spawn(move || bad.failure())];
        breaker.reset();
        there.into_iter().for_each(|thread| thread.join().expect("no panic"));
        // It opened before the reset, or not at all.
        assert_eq!(breaker.state(), State::Closed);
        let run = breaker.snapshot().counts.consecutive_failures;
        breaker.try_acquire().expect("closed").failure();
        assert_eq!(breaker.snapshot().counts.consecutive_failures, run + 1, "the failure belongs to this generation");
        breaker.try_acquire().expect("closed").success();
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0, "the gate does not call it calm when it is not");
    });
}

/// Two calls in the window, a failure among them: from here on successes are tallied.
fn tallying() -> CircuitBreaker {
    let window = super::Window::calls(9).min_calls(9);
    let breaker = build(CircuitBreaker::builder("loom").no_consecutive_failures().failure_rate(1.0, window));
    breaker.try_acquire().expect("closed").failure();
    breaker.try_acquire().expect("closed").success();
    breaker
}

fn calls_and_failures(breaker: &CircuitBreaker) -> (u64, u64) {
    let failures = breaker.snapshot().counts.failures;
    (failures.total, failures.count)
}

#[test]
fn no_success_is_lost_between_the_tally_and_who_takes_it() {
    model(|| {
        let breaker = tallying();
        let other = breaker.clone();
        let there = thread::spawn(move || other.try_acquire().expect("closed").success());
        breaker.try_acquire().expect("closed").failure();
        there.join().expect("no panic");
        assert_eq!(calls_and_failures(&breaker), (4, 2));
    });
}

/// Calls are timed from then on, so the word changes under a success that was not.
#[test]
fn c3_no_success_is_lost_while_settings_are_applied() {
    model(|| {
        let breaker = tallying();
        let other = breaker.clone();
        let there = thread::spawn(move || other.try_acquire().expect("closed").success());
        let mut settings = breaker.settings();
        settings.count_dropped_after = Some(Duration::from_secs(3600));
        breaker.apply(&settings).expect("good settings");
        there.join().expect("no panic");
        assert_eq!(calls_and_failures(&breaker), (3, 1));
    });
}

/// A calm circuit, which ignores successes, gets a rule that needs them. Those that begin afterwards are counted.
#[test]
fn c3_a_calm_circuit_counts_successes_from_when_a_rule_needs_them() {
    model(|| {
        let breaker = build(opens_on(9));
        let other = breaker.clone();
        let there = thread::spawn(move || other.try_acquire().expect("closed").success());
        let mut settings = breaker.settings();
        settings.failure_rate = Some(super::FailureRate::new(1.0, super::Window::calls(9)));
        breaker.apply(&settings).expect("good settings");
        breaker.try_acquire().expect("closed").success();
        there.join().expect("no panic");
        let (calls, failures) = calls_and_failures(&breaker);
        assert!((1..=2).contains(&calls) && failures == 0, "{calls}");
    });
}

#[test]
fn two_tallied_at_once_are_two_whoever_looks() {
    bounded(|| {
        let breaker = tallying();
        let others = [breaker.clone(), breaker.clone()];
        let there = others.map(|other| thread::spawn(move || other.try_acquire().expect("closed").success()));
        assert!((2..=4).contains(&calls_and_failures(&breaker).0));
        there.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(calls_and_failures(&breaker), (4, 1));
    });
}

#[test]
fn a_success_is_tallied_in_its_own_generation_alone() {
    bounded(|| {
        let breaker = tallying();
        let (one, two) = (breaker.try_acquire().expect("closed"), breaker.try_acquire().expect("closed"));
        let there = [one, two].map(|call| thread::spawn(move || call.success()));
        breaker.reset();
        breaker.try_acquire().expect("closed").failure();
        there.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(calls_and_failures(&breaker), (1, 1));
        assert!(breaker.snapshot().stale <= 2);
    });
}

/// Someone tallies at 12 while another thread updates the gate, whose tally ended at 10, and publishes these states.
fn tallied_at_12(published: Vec<GateState>, check: impl Fn(u64, bool, u64) + Send + Sync + 'static) {
    let passing =
        |until| GateState::Passing { generation: 7, is_timed: false, successes: Successes::Tallied { until } };
    model(move || {
        let gate = Arc::new(Gate::new(passing(10)));
        let (other, admission) = (gate.clone(), gate.admit().expect("all may admission"));
        let there = thread::spawn(move || other.tally(admission, 12));
        let before = gate.begin_update();
        for state in &published {
            gate.begin_update();
            gate.publish(*state);
        }
        let counted = there.join().expect("no panic");
        check(before, counted, gate.begin_update());
    });
}

#[test]
fn none_is_tallied_in_a_slice_that_has_ended() {
    let next = GateState::Passing { generation: 7, is_timed: false, successes: Successes::Tallied { until: 20 } };
    tallied_at_12(vec![next], |before, counted, after| {
        assert_eq!((before, after), (0, u64::from(counted)));
    });
}

#[test]
fn none_is_tallied_by_the_word_of_one_generation_and_the_time_of_another() {
    let next = GateState::Passing { generation: 9, is_timed: false, successes: Successes::Tallied { until: 20 } };
    tallied_at_12(vec![GateState::Open { until: 99 }, next], |before, counted, after| {
        assert_eq!((before, counted, after), (0, false, 0));
    });
}
