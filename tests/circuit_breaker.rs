//! The circuit breaker's laws, B1 to B8, and what G1 to G6 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    cell::RefCell,
    collections::HashSet,
    future::{pending, ready},
    panic::{self, AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use support::*;
use tower::{
    BoxError, Layer, Service, ServiceExt, balance::p2c::Balance, discover::ServiceList, limit::ConcurrencyLimit,
    load::Constant, util::BoxCloneSyncService,
};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerEvent, CircuitBreakerLayer,
    CircuitBreakerPermit, Error, Rejected, RetryBudget, RetryWithBackoff, Verdict,
    circuit_breaker::{Counts, Outage, Reason, Snapshot, State, Transition, Window},
    classify_fn,
};

both_ways! {
    b1_after_a_thousand_successes_the_fifth_failure_of_ten_opens,
    b1_old_outcomes_leave_a_count_window_one_by_one,
    b1_a_time_window_forgets_slice_by_slice,
    b1_a_slice_leaves_a_span_after_its_end_counted_from_the_start_of_the_generation,
    b1_an_outcome_younger_than_the_span_counts_whenever_the_first_call_came,
    b1_an_outcome_older_than_the_span_and_a_slice_does_not_count,
    b1_spans_that_do_not_divide_by_ten_obey_too,
    b1_a_window_that_a_success_fills_is_not_judged_until_the_next_failure,
    b1_no_rate_is_taken_below_min_calls,
    b1_slow_calls_open_by_their_rate,
    b1_each_rule_owns_its_window,
    b1_a_run_must_be_long_enough_and_span_its_time,
    b1_the_default_runs_are_twenty_in_200_ms_and_eight_in_1500_ms,
    b1_ignored_and_dropped_calls_do_not_break_a_run_and_a_success_does,
    b2_rejections_never_enter_a_window,
    b2_a_success_never_opens,
    b3_an_outcome_of_an_earlier_generation_is_stale_and_changes_nothing,
    b3_a_probe_of_an_earlier_half_open_state_is_stale_too,
    b4_rejects_one_tick_before_and_admits_at_the_instant,
    b4_each_reopening_is_longer_up_to_the_cap,
    b4_without_growth_the_opening_is_fixed,
    b4_jitter_only_shortens,
    b4_stays_open_as_long_as_the_dependency_asks_up_to_the_cap,
    b4_fifty_circuits_that_are_told_the_same_time_do_not_come_back_at_one_instant,
    b4_the_longest_duration_there_is_never_ends,
    b5_at_most_so_many_probes_run_at_once_over_all_clones,
    b5_closes_after_the_required_successes,
    b5_one_failed_probe_reopens,
    b5_a_dropped_probe_gives_its_slot_back,
    b5_an_ignored_probe_gives_its_slot_back,
    b5_a_panicking_probe_gives_its_slot_back,
    b5_a_probe_that_outlives_its_timeout_counts_as_failed,
    b5_a_probe_that_ends_after_its_timeout_counts_as_failed,
    b5_a_black_hole_behind_an_outer_timeout_does_not_keep_it_half_open,
    b5_nor_does_it_by_default_once_it_was_given_up_for_as_long_as_a_probe_may_take,
    b5_a_probe_that_outlived_its_timeout_fails_it_though_another_succeeds,
    b5_one_circuit_nested_in_itself_reopens_after_the_probe_timeout,
    b5_ignored_probes_are_silence_as_dropped_ones_are,
    b5_b6_probes_that_hang_until_just_before_their_timeout_reopen,
    b5_a_throttled_probe_succeeds_and_a_throttled_call_is_ignored,
    b5_a_slow_probe_reopens_and_the_opening_grows,
    b5_an_unreached_probe_reopens,
    b6_two_probes_dropped_an_hour_apart_do_not_reopen,
    b6_a_dropped_call_says_nothing_by_default,
    b6_a_dropped_call_counts_once_it_has_run_for_long,
    b6_a_call_that_has_ended_is_not_counted_as_dropped_too,
    b7_manual_states,
    b7_each_transition_emits_one_event,
    g0_the_call_itself_decides_and_starts,
    g1_the_operation_is_dropped_before_its_slot_returns,
    g1_a_slot_returns_when_the_call_completes_though_the_future_is_kept,
    g2_a_panic_counts_as_a_dropped_call,
    g2_a_panicking_listener_is_caught,
    g5_all_listeners_are_told_and_an_event_says_the_name,
    g6_reading_makes_no_transition,
    g8_a_loop_of_rejections_lets_a_timer_and_another_task_run,
    g8_one_rejected_call_in_32_pends_once_and_permits_are_exempt,
    the_breaker_by_rate_is_what_its_docs_say,
}

/// Opens for a second, doubling to ten, whatever the defaults are.
fn one_second_doubling_to_ten() -> CircuitBreakerBuilder {
    CircuitBreaker::builder("users").open_for(secs(1)).open_growth(2.0).max_open_for(secs(10)).no_open_jitter()
}

fn fifty_percent_of_ten() -> CircuitBreakerBuilder {
    one_second_doubling_to_ten().no_consecutive_failures().failure_rate(0.5, Window::calls(10))
}

/// Opens on the third consecutive failure.
fn three_in_a_row() -> CircuitBreakerBuilder {
    one_second_doubling_to_ten().consecutive_failures(3, Duration::ZERO)
}

fn build(builder: CircuitBreakerBuilder) -> CircuitBreaker {
    builder.build().expect("good settings")
}

async fn calls(breaker: &impl Policy, way: Way, op: &Op, count: usize) {
    for _ in 0..count {
        let _ = breaker.through(way, op).await;
    }
}

async fn open(breaker: &CircuitBreaker, way: Way) {
    calls(breaker, way, &fail(), 3).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn half_open(breaker: &CircuitBreaker, way: Way) {
    open(breaker, way).await;
    pass(secs(1)).await;
    assert_eq!(breaker.state(), State::HalfOpen);
}

fn failures(breaker: &CircuitBreaker) -> (u64, u64) {
    let window = breaker.snapshot().counts.failures;
    (window.total, window.count)
}

fn rejected<T: std::fmt::Debug>(answer: Result<T, Failure>) -> Option<Option<Duration>> {
    match answer {
        Err(Error::Rejected(Rejected::CircuitOpen(open))) => Some(open.retry_after()),
        _ => None,
    }
}

async fn b1_after_a_thousand_successes_the_fifth_failure_of_ten_opens(way: Way) {
    let breaker = build(fifty_percent_of_ten());
    calls(&breaker, way, &succeed(), 1000).await;
    calls(&breaker, way, &fail(), 4).await;
    assert_eq!((breaker.state(), failures(&breaker)), (State::Closed, (10, 4)));
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b1_old_outcomes_leave_a_count_window_one_by_one(way: Way) {
    let breaker = build(fifty_percent_of_ten());
    calls(&breaker, way, &fail(), 4).await;
    calls(&breaker, way, &succeed(), 6).await;
    assert_eq!(failures(&breaker), (10, 4));
    for left in (0..4).rev() {
        calls(&breaker, way, &succeed(), 1).await;
        assert_eq!(failures(&breaker), (10, left));
    }
}

/// Only counts: too many calls are asked for before a rate is taken.
fn counting_over(span: Duration) -> CircuitBreaker {
    let window = Window::time(span).min_calls(1000);
    build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, window))
}

async fn b1_a_time_window_forgets_slice_by_slice(way: Way) {
    let breaker = counting_over(secs(1));
    calls(&breaker, way, &fail(), 2).await;
    pass(ms(100)).await;
    calls(&breaker, way, &fail(), 1).await;
    pass(ms(999)).await;
    assert_eq!(failures(&breaker), (3, 3), "one tick before the first slice ended a second ago");
    pass(ms(1)).await;
    assert_eq!(failures(&breaker), (1, 1));
    pass(ms(99)).await;
    assert_eq!(failures(&breaker), (1, 1), "one tick before the second slice ended a second ago");
    pass(ms(1)).await;
    assert_eq!(failures(&breaker), (0, 0));
    calls(&breaker, way, &succeed(), 3).await;
    pass(secs(3_000_000_000)).await;
    assert_eq!(failures(&breaker), (0, 0), "and so it is after a century");
}

async fn b1_a_slice_leaves_a_span_after_its_end_counted_from_the_start_of_the_generation(way: Way) {
    let breaker = counting_over(secs(1));
    pass(ms(50)).await;
    breaker.reset();
    pass(ms(99)).await;
    calls(&breaker, way, &fail(), 1).await;
    pass(ms(1000)).await;
    assert_eq!(failures(&breaker), (1, 1), "1,099 ms into the generation its first slice is still in");
    pass(ms(1)).await;
    assert_eq!(failures(&breaker), (0, 0));
}

async fn b1_an_outcome_younger_than_the_span_counts_whenever_the_first_call_came(way: Way) {
    for idle in [0, 1, 500, 998, 999, 1000, 1001, 9999, 123_456] {
        let window = Window::time(secs(10)).min_calls(4);
        let breaker = build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, window));
        pass(ms(idle)).await;
        calls(&breaker, way, &fail(), 3).await;
        pass(Duration::from_micros(9_999_900)).await;
        assert_eq!(failures(&breaker), (3, 3), "the first call came after {idle} ms");
        calls(&breaker, way, &fail(), 1).await;
        assert_eq!(breaker.state(), State::Open, "the first call came after {idle} ms");
    }
}

async fn b1_an_outcome_older_than_the_span_and_a_slice_does_not_count(way: Way) {
    for idle in [0, 1, 500, 998, 999, 1000, 1001, 9999, 123_456] {
        let window = Window::time(secs(10)).min_calls(4);
        let breaker = build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, window));
        pass(ms(idle)).await;
        calls(&breaker, way, &fail(), 3).await;
        pass(secs(11) + Duration::from_nanos(1)).await;
        assert_eq!(failures(&breaker), (0, 0), "the first call came after {idle} ms");
        calls(&breaker, way, &fail(), 1).await;
        assert_eq!(breaker.state(), State::Closed, "the first call came after {idle} ms");
    }
}

async fn b1_spans_that_do_not_divide_by_ten_obey_too(way: Way) {
    for span in [10, 11, 19, 99, 101] {
        for idle in 0..2 * span {
            let breaker = counting_over(Duration::from_nanos(span));
            pass(Duration::from_nanos(idle)).await;
            calls(&breaker, way, &fail(), 1).await;
            pass(Duration::from_nanos(span - 1)).await;
            assert_eq!(failures(&breaker), (1, 1), "younger than {span} ns, first call after {idle} ns");
            pass(Duration::from_nanos(span / 10 + 2)).await;
            assert_eq!(failures(&breaker), (0, 0), "older than {span} ns and a tenth, first call after {idle} ns");
        }
    }
}

async fn b1_a_window_that_a_success_fills_is_not_judged_until_the_next_failure(way: Way) {
    let builder = CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.9, Window::calls(10));
    let breaker = build(builder);
    calls(&breaker, way, &fail(), 9).await;
    calls(&breaker, way, &succeed(), 1).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts.failures.rate), (State::Closed, Some(0.9)));
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b1_no_rate_is_taken_below_min_calls(way: Way) {
    let window = Window::calls(100).min_calls(4);
    let breaker = build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, window));
    calls(&breaker, way, &fail(), 3).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts.failures.rate), (State::Closed, None));
    calls(&breaker, way, &succeed(), 1).await;
    let rate = breaker.snapshot().counts.failures.rate;
    assert_eq!((breaker.state(), rate), (State::Closed, Some(0.75)), "a success does not open");
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b1_slow_calls_open_by_their_rate(way: Way) {
    let builder =
        CircuitBreaker::builder("users").no_consecutive_failures().slow_call_rate(0.5, ms(100), Window::calls(4));
    let breaker = build(builder);
    calls(&breaker, way, &succeed_after(ms(99)), 4).await;
    assert_eq!(breaker.snapshot().counts.slow_calls.rate, Some(0.0));
    calls(&breaker, way, &succeed_after(ms(100)), 1).await;
    assert_eq!(breaker.snapshot().counts.slow_calls.rate, Some(0.25));
    let slow_failure = op(|| async {
        tokio::time::sleep(ms(200)).await;
        Err(Error::Inner("bad"))
    });
    calls(&breaker, way, &slow_failure, 1).await;
    assert_eq!(breaker.state(), State::Open, "a failed call may be slow too");
}

async fn b1_each_rule_owns_its_window(way: Way) {
    let builder = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(2)).slow_call_rate(
        1.0,
        ms(100),
        Window::time(secs(60)).min_calls(3),
    );
    let breaker = build(builder);
    calls(&breaker, way, &fail(), 1).await;
    calls(&breaker, way, &succeed_after(ms(100)), 2).await;
    let Counts { failures, slow_calls, consecutive_failures, .. } = breaker.snapshot().counts;
    assert_eq!((failures.total, failures.count), (2, 0), "the failure has left the window of two");
    assert_eq!((slow_calls.total, slow_calls.count), (3, 2), "the window of a minute holds all");
    assert_eq!(consecutive_failures, 0);
    calls(&breaker, way, &fail(), 2).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b1_a_run_must_be_long_enough_and_span_its_time(way: Way) {
    let breaker = build(CircuitBreaker::builder("users").consecutive_failures(3, secs(1)));
    calls(&breaker, way, &fail(), 10).await;
    assert_eq!(breaker.state(), State::Closed, "long, but not for a second");
    pass(ms(999)).await;
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Closed);
    pass(ms(1)).await;
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b1_the_default_runs_are_twenty_in_200_ms_and_eight_in_1500_ms(way: Way) {
    let after = async |count: usize, span| {
        let breaker = CircuitBreaker::new("users");
        calls(&breaker, way, &fail(), count - 1).await;
        pass(span).await;
        calls(&breaker, way, &fail(), 1).await;
        breaker.state()
    };
    assert_eq!(after(19, ms(1499)).await, State::Closed);
    assert_eq!(after(20, ms(199)).await, State::Closed);
    assert_eq!(after(20, ms(200)).await, State::Open);
    assert_eq!(after(7, secs(60)).await, State::Closed);
    assert_eq!(after(8, ms(1499)).await, State::Closed);
    assert_eq!(after(8, ms(1500)).await, State::Open);
}

async fn b1_ignored_and_dropped_calls_do_not_break_a_run_and_a_success_does(way: Way) {
    let breaker = build(three_in_a_row());
    let full = Bulkhead::new("full", 0);
    let rejected = op(move || ready(Err(Error::from_rejected(full.try_acquire().expect_err("it is full")))));
    calls(&breaker, way, &fail(), 2).await;
    calls(&breaker, way, &rejected, 5).await;
    drop(breaker.through(way, &hang()));
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 2);
    calls(&breaker, way, &succeed(), 1).await;
    calls(&breaker, way, &fail(), 2).await;
    assert_eq!(breaker.state(), State::Closed);
    calls(&breaker, way, &rejected, 5).await;
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b2_rejections_never_enter_a_window(way: Way) {
    let breaker = build(fifty_percent_of_ten().required_successes(1));
    calls(&breaker, way, &fail(), 10).await;
    calls(&breaker, way, &succeed(), 20).await;
    assert_eq!(breaker.snapshot().rejected, 20);
    pass(secs(1)).await;
    calls(&breaker, way, &succeed(), 1).await;
    assert_eq!((breaker.state(), failures(&breaker)), (State::Closed, (0, 0)));
}

async fn b2_a_success_never_opens(way: Way) {
    let breaker = build(fifty_percent_of_ten());
    calls(&breaker, way, &fail(), 9).await;
    calls(&breaker, way, &succeed(), 1).await;
    assert_eq!(breaker.snapshot().counts.failures.rate, Some(0.9));
    assert_eq!(breaker.state(), State::Closed);
}

async fn b3_an_outcome_of_an_earlier_generation_is_stale_and_changes_nothing(way: Way) {
    let breaker = build(three_in_a_row().required_successes(1));
    let late = |outcome: &Op| {
        let outcome = outcome.clone();
        op(move || {
            let outcome = outcome();
            async move {
                tokio::time::sleep(secs(5)).await;
                outcome.await
            }
        })
    };
    let late_success = breaker.through(way, &late(&succeed()));
    let late_failures: Vec<_> = (0..3).map(|_| breaker.through(way, &late(&fail()))).collect();
    half_open(&breaker, way).await;
    let probe = breaker.through(way, &succeed_after(secs(1)));
    assert!(late_success.await.is_ok());
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::HalfOpen, 1), "it does not close");
    assert!(probe.await.is_ok());
    assert_eq!(breaker.state(), State::Closed);
    futures::future::join_all(late_failures).await;
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::Closed, 4), "they do not open");
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 0);

    for begin_generation in [CircuitBreaker::reset, CircuitBreaker::metrics_only, CircuitBreaker::reset] {
        let before = breaker.through(way, &late(&fail()));
        begin_generation(&breaker);
        assert!(before.await.is_err());
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0);
    }
    assert_eq!(breaker.snapshot().stale, 7);

    let before = breaker.through(way, &late(&succeed()));
    breaker.reset();
    assert!(before.await.is_ok());
    assert_eq!(breaker.snapshot().stale, 8, "a success is tallied too, though it would change nothing");
}

async fn b3_a_probe_of_an_earlier_half_open_state_is_stale_too(way: Way) {
    let breaker = build(three_in_a_row().probes(2).required_successes(1));
    half_open(&breaker, way).await;
    let late = breaker.through(way, &succeed_after(secs(5)));
    calls(&breaker, way, &fail(), 1).await;
    pass(secs(2)).await;
    let hang = hang();
    let _probe = breaker.through(way, &hang);
    assert!(late.await.is_ok());
    let Snapshot { state, probes_in_flight, stale, .. } = breaker.snapshot();
    assert_eq!((state, probes_in_flight, stale), (State::HalfOpen, 1, 1));
}

async fn b4_rejects_one_tick_before_and_admits_at_the_instant(way: Way) {
    let breaker = build(three_in_a_row());
    open(&breaker, way).await;
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(Some(secs(1))));
    pass(ms(999)).await;
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(Some(ms(1))));
    assert_eq!(breaker.snapshot().time_left, Some(ms(1)));
    pass(ms(1)).await;
    assert!(breaker.through(way, &succeed()).await.is_ok());
    let breaker = build(three_in_a_row());
    open(&breaker, way).await;
    pass(secs(3600)).await;
    assert!(breaker.through(way, &succeed()).await.is_ok(), "and long after it");
}

async fn b4_each_reopening_is_longer_up_to_the_cap(way: Way) {
    let breaker = build(three_in_a_row().open_growth(3.0).max_open_for(secs(10)));
    open(&breaker, way).await;
    for seconds in [1, 3, 9, 10, 10] {
        assert_eq!(breaker.snapshot().time_left, Some(secs(seconds)));
        pass(secs(seconds)).await;
        calls(&breaker, way, &fail(), 1).await;
    }
    pass(secs(10)).await;
    calls(&breaker, way, &succeed(), 2).await;
    open(&breaker, way).await;
    assert_eq!(breaker.snapshot().time_left, Some(secs(1)), "once closed, it begins anew");
}

async fn b4_without_growth_the_opening_is_fixed(way: Way) {
    let breaker = build(three_in_a_row().open_for(secs(30)).max_open_for(secs(30)).no_open_growth());
    open(&breaker, way).await;
    for _ in 0..5 {
        assert_eq!(breaker.snapshot().time_left, Some(secs(30)));
        pass(secs(30)).await;
        calls(&breaker, way, &fail(), 1).await;
    }
}

async fn b4_jitter_only_shortens(way: Way) {
    let lengths = async |seed| {
        let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).seed(seed);
        let breaker = build(builder.open_for(secs(10)).max_open_for(secs(10)).open_jitter(0.2));
        let mut lengths = Vec::new();
        for _ in 0..200 {
            calls(&breaker, way, &fail(), 1).await;
            let length = breaker.snapshot().time_left.expect("it is open");
            lengths.push(length);
            pass(length).await;
        }
        lengths
    };
    let first = lengths(1).await;
    assert!(first.iter().all(|length| (secs(8)..=secs(10)).contains(length)), "{first:?}");
    assert!(first.iter().min() < Some(&ms(8100)) && first.iter().max() > Some(&ms(9900)), "{first:?}");
    assert_eq!(first, lengths(1).await, "a seed repeats it");
    assert_ne!(first, lengths(2).await);
}

/// How long each of these circuits stays open that are told to come back after `asked`.
async fn openings_when_told(
    way: Way,
    circuits: u64,
    builder: fn() -> CircuitBreakerBuilder,
    asked: Duration,
) -> Vec<Duration> {
    let asks = move |answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Transient { retry_after: Some(asked) },
    };
    let mut openings = Vec::new();
    for seed in 0..circuits {
        let breaker = build(builder().seed(seed)).classify(classify_fn(asks));
        calls(&breaker, way, &fail(), 3).await;
        openings.push(breaker.snapshot().time_left.expect("it is open"));
    }
    openings
}

async fn b4_stays_open_as_long_as_the_dependency_asks_up_to_the_cap(way: Way) {
    let tenth_more = |span: Duration| span..=span + span / 10;
    let exactly = |span: Duration| span..=span;
    for (asked, stays) in [
        (Duration::ZERO, exactly(secs(1))),
        (ms(10), exactly(secs(1))),
        (secs(1), exactly(secs(1))),
        (ms(1001), tenth_more(ms(1001))),
        (secs(5), tenth_more(secs(5))),
        (ms(9990), ms(9990)..=secs(10)),
        (secs(10), exactly(secs(10))),
        (secs(60), exactly(secs(10))),
        (Duration::MAX, exactly(secs(10))),
    ] {
        for opening in openings_when_told(way, 20, three_in_a_row, asked).await {
            assert!(stays.contains(&opening), "asked for {asked:?}, open for {opening:?}");
        }
    }
}

async fn b4_fifty_circuits_that_are_told_the_same_time_do_not_come_back_at_one_instant(way: Way) {
    let with_jitter = || three_in_a_row().open_jitter(0.2);
    // What is asked, and between what the circuits stay open. Beyond the cap it is the cap that chance shortens.
    for (asked, shortest, longest) in
        [(secs(5), secs(5), ms(5500)), (ms(9500), ms(9500), secs(10)), (secs(60), secs(8), secs(10))]
    {
        let openings = openings_when_told(way, 50, with_jitter, asked).await;
        assert!(openings.iter().all(|opening| (shortest..=longest).contains(opening)), "{asked:?}: {openings:?}");
        let distinct: HashSet<_> = openings.iter().collect();
        assert!(distinct.len() >= 49, "{asked:?}: {openings:?}");
        let spread = *openings.iter().max().expect("fifty") - *openings.iter().min().expect("fifty");
        assert!(spread > (longest - shortest) / 2, "{asked:?}: spread over {spread:?} only");
    }
}

async fn b4_the_longest_duration_there_is_never_ends(way: Way) {
    let breaker = build(three_in_a_row().open_for(Duration::MAX).max_open_for(Duration::MAX).open_growth(f64::MAX));
    open(&breaker, way).await;
    pass(secs(3_000_000_000)).await;
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(None));
}

async fn b5_at_most_so_many_probes_run_at_once_over_all_clones(way: Way) {
    for slots in [1, 3] {
        let breaker = build(three_in_a_row().probes(slots));
        half_open(&breaker, way).await;
        let clones = vec![breaker.clone(); 5];
        let hang = hang();
        let mut running: Vec<_> = clones.iter().map(|clone| clone.through(way, &hang)).collect();
        let admitted = running.iter_mut().filter_map(|call| poll(call).is_pending().then_some(())).count();
        assert_eq!((admitted, breaker.snapshot().probes_in_flight), (slots, slots));
        assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(None), "no one can tell for how long");
    }
}

async fn b5_closes_after_the_required_successes(way: Way) {
    let breaker = build(three_in_a_row().required_successes(3));
    half_open(&breaker, way).await;
    calls(&breaker, way, &succeed(), 2).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts.probe_successes), (State::HalfOpen, 2));
    calls(&breaker, way, &succeed(), 1).await;
    assert_eq!(breaker.state(), State::Closed);
}

async fn b5_one_failed_probe_reopens(way: Way) {
    let breaker = build(three_in_a_row().probes(3).required_successes(3));
    half_open(&breaker, way).await;
    let other = breaker.through(way, &succeed_after(ms(10)));
    calls(&breaker, way, &succeed(), 1).await;
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::Open, Some(secs(2))));
    assert!(other.await.is_ok());
    assert_eq!((breaker.state(), breaker.snapshot().stale), (State::Open, 1), "a probe of the old generation is stale");
}

async fn b5_a_dropped_probe_gives_its_slot_back(way: Way) {
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    let hang = hang();
    let mut probe = breaker.through(way, &hang);
    assert!(poll(&mut probe).is_pending());
    assert!(rejected(breaker.through(way, &succeed()).await).is_some());
    drop(probe);
    drop(breaker.through(way, &hang));
    assert_eq!((breaker.state(), breaker.snapshot().probes_in_flight), (State::HalfOpen, 0));
    calls(&breaker, way, &succeed(), 2).await;
    assert_eq!(breaker.state(), State::Closed);
}

async fn b5_an_ignored_probe_gives_its_slot_back(way: Way) {
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    let full = Bulkhead::new("full", 0);
    let rejected = op(move || ready(Err(Error::from_rejected(full.try_acquire().expect_err("it is full")))));
    calls(&breaker, way, &rejected, 5).await;
    let Snapshot { state, probes_in_flight, counts, .. } = breaker.snapshot();
    assert_eq!((state, probes_in_flight, counts.probe_successes), (State::HalfOpen, 0, 0));
}

async fn b5_a_panicking_probe_gives_its_slot_back(way: Way) {
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    let starting = breaker.clone();
    let panicked = tokio::spawn(async move {
        let panics = op(|| -> std::future::Ready<Answer> { panic!("while it starts") });
        starting.through(way, &panics).await
    });
    assert!(panicked.await.is_err());
    let running = breaker.clone();
    let panicked = tokio::spawn(async move { running.through(way, &op(|| async { panic!("while it runs") })).await });
    assert!(panicked.await.is_err());
    assert_eq!((breaker.state(), breaker.snapshot().probes_in_flight), (State::HalfOpen, 0));
}

async fn b5_a_probe_that_outlives_its_timeout_counts_as_failed(way: Way) {
    let breaker = build(three_in_a_row().probe_timeout(secs(4)));
    half_open(&breaker, way).await;
    let hang = hang();
    let _hung = breaker.through(way, &hang);
    pass(ms(3999)).await;
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(None), "still its slot");
    pass(ms(1)).await;
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(Some(secs(2))), "reopened, and for longer");
    pass(secs(2)).await;
    calls(&breaker, way, &succeed(), 2).await;
    assert_eq!(breaker.state(), State::Closed);
}

async fn b5_a_probe_that_ends_after_its_timeout_counts_as_failed(way: Way) {
    let breaker = build(three_in_a_row().probe_timeout(secs(4)));
    half_open(&breaker, way).await;
    assert!(breaker.through(way, &succeed_after(secs(4))).await.is_ok());
    assert_eq!(breaker.state(), State::Open);
    pass(secs(2)).await;
    let hang = hang();
    let dropped = breaker.through(way, &hang);
    pass(secs(4)).await;
    drop(dropped);
    assert_eq!(breaker.state(), State::Open);
}

async fn b5_a_black_hole_behind_an_outer_timeout_does_not_keep_it_half_open(way: Way) {
    let breaker = build(three_in_a_row().count_dropped_after(secs(1)));
    half_open(&breaker, way).await;
    for opening in [2, 4, 8] {
        let swallowed = tokio::time::timeout(secs(1), breaker.through(way, &hang())).await;
        assert!(swallowed.is_err());
        assert_eq!(breaker.snapshot().time_left, Some(secs(opening)));
        pass(secs(opening)).await;
    }
}

async fn b5_nor_does_it_by_default_once_it_was_given_up_for_as_long_as_a_probe_may_take(way: Way) {
    let breaker = build(three_in_a_row().probe_timeout(secs(10)));
    half_open(&breaker, way).await;
    let give_up = async || {
        assert!(tokio::time::timeout(secs(2), breaker.through(way, &hang())).await.is_err());
        breaker.snapshot().time_left
    };
    for _ in 0..4 {
        assert_eq!(give_up().await, None, "it may still answer");
    }
    assert_eq!(give_up().await, Some(secs(2)), "ten seconds, and five probes, without an answer");
    pass(secs(2)).await;
    for _ in 0..4 {
        give_up().await;
    }
    assert!(breaker.through(way, &succeed()).await.is_ok());
    assert_eq!(give_up().await, None, "an answer begins it anew");
}

async fn b5_a_probe_that_outlived_its_timeout_fails_it_though_another_succeeds(way: Way) {
    for other in [succeed(), hang()] {
        let breaker = build(three_in_a_row().probes(2).required_successes(1).probe_timeout(secs(10)));
        half_open(&breaker, way).await;
        let hang = hang();
        let _hung = breaker.through(way, &hang);
        pass(secs(9)).await;
        let mut other = breaker.through(way, &other);
        pass(secs(2)).await;
        let _ = poll(&mut other);
        drop(other);
        assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::Open, Some(secs(2))));
    }
}

/// Around itself: the inner call needs a second probe slot.
fn nested(breaker: &CircuitBreaker, way: Way) -> Op {
    let inner = breaker.clone();
    op(move || {
        let inner = inner.clone();
        async move { inner.through(way, &succeed()).await }
    })
}

async fn b5_one_circuit_nested_in_itself_reopens_after_the_probe_timeout(way: Way) {
    let log = Log::new();
    let breaker = build(three_in_a_row().probe_timeout(secs(10)).listener_fn(log.listener()));
    half_open(&breaker, way).await;
    log.take();
    let nested = nested(&breaker, way);
    let (mut reopenings, mut half_open_for) = (0, Duration::ZERO);
    // An hour.
    for _ in 0..7200 {
        let _ = breaker.through(way, &nested).await;
        for event in log.take() {
            let Some(transition) = event.transition() else { continue };
            half_open_for = Duration::ZERO;
            if transition.to == State::Open {
                assert_eq!((transition.reason, transition.verdict), (Reason::ProbeTimedOut, None));
                reopenings += 1;
            }
        }
        pass(ms(500)).await;
        half_open_for += ms(500);
        assert!(breaker.state() == State::Open || half_open_for <= secs(11), "half-open for {half_open_for:?}");
    }
    assert!(reopenings >= 3600 / 21, "ten seconds half-open, ten open: {reopenings}");
    assert_ne!(breaker.state(), State::Closed);
}

/// Rejected by a policy of our own, inside of the breaker.
fn rejected_within() -> Op {
    let full = Bulkhead::new("full", 0);
    op(move || ready(Err(Error::from_rejected(full.try_acquire().expect_err("it is full")))))
}

async fn b5_ignored_probes_are_silence_as_dropped_ones_are(way: Way) {
    let breaker = build(three_in_a_row().probe_timeout(secs(4)));
    half_open(&breaker, way).await;
    for _ in 0..4 {
        calls(&breaker, way, &rejected_within(), 1).await;
        assert_eq!(breaker.state(), State::HalfOpen, "an answer may still come");
        pass(secs(1)).await;
    }
    calls(&breaker, way, &rejected_within(), 1).await;
    assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::Open, Some(secs(2))));
}

async fn b5_b6_probes_that_hang_until_just_before_their_timeout_reopen(way: Way) {
    let breaker = build(three_in_a_row().probe_timeout(secs(10)));
    half_open(&breaker, way).await;
    let give_up = async || assert!(tokio::time::timeout(ms(9900), breaker.through(way, &hang())).await.is_err());
    give_up().await;
    assert_eq!(breaker.state(), State::HalfOpen);
    // The slot was taken for nearly all of the time: that no one else was admitted in it is no lapse.
    pass(ms(100)).await;
    give_up().await;
    assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::Open, Some(secs(2))));
}

async fn b5_a_throttled_probe_succeeds_and_a_throttled_call_is_ignored(way: Way) {
    let throttled = |answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Throttled { retry_after: Some(secs(60)) },
    };
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    let breaker = breaker.classify(classify_fn(throttled));
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts.probe_successes), (State::HalfOpen, 1));
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Closed, "it answered twice, whatever it asked for");
    calls(&breaker, way, &fail(), 100).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts), (State::Closed, Counts::default()));
}

async fn b5_a_slow_probe_reopens_and_the_opening_grows(way: Way) {
    let log = Log::new();
    let builder = one_second_doubling_to_ten().no_consecutive_failures().listener_fn(log.listener());
    let breaker = build(builder.slow_call_rate(0.5, ms(100), Window::calls(2)));
    calls(&breaker, way, &succeed_after(ms(100)), 2).await;
    for opening in [1, 2, 4, 8, 10, 10] {
        assert_eq!(breaker.snapshot().time_left, Some(secs(opening)));
        pass(secs(opening)).await;
        calls(&breaker, way, &succeed_after(ms(99)), 1).await;
        assert_eq!(breaker.state(), State::HalfOpen, "quick enough");
        calls(&breaker, way, &succeed_after(ms(100)), 1).await;
    }
    let reasons = log.take().into_iter().filter_map(|event| event.transition().map(|told| (told.reason, told.verdict)));
    let mut openings: Vec<_> = reasons.filter(|(reason, _)| *reason != Reason::OpenForPassed).collect();
    assert_eq!(openings.remove(0), (Reason::SlowCallRate, Some(Verdict::Healthy)));
    assert_eq!(openings, [(Reason::ProbeFailed, Some(Verdict::Healthy)); 6]);

    // Where slow calls are no rule, a slow probe has answered.
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    calls(&breaker, way, &succeed_after(ms(9999)), 2).await;
    assert_eq!(breaker.state(), State::Closed);
}

async fn b5_an_unreached_probe_reopens(way: Way) {
    let breaker = build(three_in_a_row());
    half_open(&breaker, way).await;
    let unreached = |answer: &Answer| if answer.is_ok() { Verdict::Healthy } else { Verdict::Unreached };
    calls(&breaker.classify(classify_fn(unreached)), way, &fail(), 1).await;
    assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::Open, Some(secs(2))));
}

async fn b6_two_probes_dropped_an_hour_apart_do_not_reopen(way: Way) {
    for idle in [secs(10), secs(3600), secs(1_000_000)] {
        let breaker = build(three_in_a_row().probe_timeout(secs(10)));
        half_open(&breaker, way).await;
        for _ in 0..3 {
            drop(breaker.through(way, &hang()));
            assert_eq!(breaker.state(), State::HalfOpen, "{idle:?} apart");
            pass(idle).await;
        }
    }
}

async fn b6_a_dropped_call_says_nothing_by_default(way: Way) {
    let breaker = build(three_in_a_row());
    for _ in 0..10 {
        let given_up = tokio::time::timeout(secs(60), breaker.through(way, &hang())).await;
        assert!(given_up.is_err());
    }
    assert_eq!((breaker.state(), breaker.snapshot().counts), (State::Closed, Counts::default()));
}

async fn b6_a_call_that_has_ended_is_not_counted_as_dropped_too(way: Way) {
    let breaker = build(three_in_a_row().count_dropped_after(secs(1)));
    for _ in 0..3 {
        assert_eq!(breaker.through(way, &succeed_after(secs(2))).await, Ok(1));
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0);
    }
}

async fn b6_a_dropped_call_counts_once_it_has_run_for_long(way: Way) {
    let breaker = build(three_in_a_row().count_dropped_after(secs(1)));
    let give_up_after = async |span| {
        let given_up = tokio::time::timeout(span, breaker.through(way, &hang())).await;
        assert!(given_up.is_err());
        breaker.snapshot().counts.consecutive_failures
    };
    assert_eq!(give_up_after(ms(999)).await, 0);
    assert_eq!(give_up_after(secs(1)).await, 1);
    assert_eq!(give_up_after(secs(2)).await, 2);
    give_up_after(secs(1)).await;
    assert_eq!(breaker.state(), State::Open);
}

async fn b7_manual_states(way: Way) {
    let breaker = build(three_in_a_row());
    breaker.force_open();
    assert_eq!(rejected(breaker.through(way, &succeed()).await), Some(None));
    pass(secs(1_000_000)).await;
    assert_eq!((breaker.state(), breaker.snapshot().time_left), (State::ForcedOpen, None));
    breaker.force_closed();
    calls(&breaker, way, &fail(), 100).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts), (State::ForcedClosed, Counts::default()));
    breaker.metrics_only();
    calls(&breaker, way, &fail(), 100).await;
    assert_eq!((breaker.state(), breaker.snapshot().counts.consecutive_failures), (State::MetricsOnly, 100));
    breaker.reset();
    assert_eq!((breaker.state(), breaker.snapshot().counts), (State::Closed, Counts::default()));
    open(&breaker, way).await;
    breaker.reset();
    open(&breaker, way).await;
    assert_eq!(breaker.snapshot().time_left, Some(secs(1)), "a reset forgets the outage");
}

async fn b7_each_transition_emits_one_event(way: Way) {
    let log = Log::new();
    let breaker = build(three_in_a_row().listener_fn(log.listener()));
    half_open(&breaker, way).await;
    calls(&breaker, way, &fail(), 1).await;
    calls(&breaker, way, &succeed(), 4).await;
    pass(secs(2)).await;
    calls(&breaker, way, &succeed(), 2).await;
    breaker.force_open();
    breaker.reset();
    breaker.reset();
    assert_eq!(breaker.snapshot().generation, 8);
    let (mut transitions, mut rejections) = (Vec::new(), 0);
    for event in log.take() {
        match event {
            CircuitBreakerEvent::Transition { name, transition, .. } => {
                assert_eq!(name.as_str(), "users");
                transitions.push(transition);
            }
            CircuitBreakerEvent::Rejected { retry_after, .. } => {
                assert_eq!(retry_after, Some(secs(2)));
                rejections += 1;
            }
            _ => unreachable!("there are two kinds"),
        }
    }
    let told: Vec<_> = transitions.iter().map(|told| (told.from, told.to, told.reason, told.generation)).collect();
    assert_eq!(
        told,
        [
            (State::Closed, State::Open, Reason::ConsecutiveFailures, 1),
            (State::Open, State::HalfOpen, Reason::OpenForPassed, 2),
            (State::HalfOpen, State::Open, Reason::ProbeFailed, 3),
            (State::Open, State::HalfOpen, Reason::OpenForPassed, 4),
            (State::HalfOpen, State::Closed, Reason::ProbesSucceeded, 5),
            (State::Closed, State::ForcedOpen, Reason::Forced, 6),
            (State::ForcedOpen, State::Closed, Reason::Forced, 7),
            (State::Closed, State::Closed, Reason::Forced, 8),
        ]
    );
    assert_eq!(rejections, 4);
    let of = |index: usize| -> Transition { transitions[index] };
    assert_eq!((of(0).counts.consecutive_failures, of(0).open_for), (3, Some(secs(1))), "the counts of the state left");
    assert_eq!((of(4).counts.probe_successes, of(4).open_for), (2, None));
    let Outage { lasted, rejected, reopenings, .. } = of(4).outage.expect("it closed after an outage");
    assert_eq!((lasted, rejected, reopenings), (secs(3), 4, 1));
    assert_eq!(of(6).outage, None);
    let verdicts: Vec<_> = transitions.iter().map(|told| told.verdict).collect();
    let judged = Some(Verdict::TRANSIENT);
    assert_eq!(verdicts, [judged, None, judged, None, None, None, None, None], "what opened it, and it alone");
}

#[test]
fn b7_states_and_reasons_read_as_they_are_traced() {
    assert_eq!(State::HalfOpen.to_string(), "half-open");
    assert_eq!(Reason::ProbeTimedOut.to_string(), "probe timed out");
}

async fn g0_the_call_itself_decides_and_starts(way: Way) {
    let breaker = build(three_in_a_row());
    let (flaky, starts) = fail_times(usize::MAX);
    let call = breaker.through(way, &flaky);
    assert_eq!(starts.load(SeqCst), 1, "it has started before anyone polls it");
    breaker.force_open();
    assert!(rejected(call.await).is_none(), "and is not rejected any more");
    let decided = breaker.through(way, &flaky);
    breaker.reset();
    assert!(rejected(decided.await).is_some());
}

async fn g1_the_operation_is_dropped_before_its_slot_returns(way: Way) {
    struct Seen(CircuitBreaker, Arc<AtomicUsize>);
    impl Drop for Seen {
        fn drop(&mut self) {
            self.1.store(self.0.snapshot().probes_in_flight, SeqCst);
        }
    }
    // Dropped while it runs; done; and none, for it panics while it starts.
    for is_pending in [Some(true), Some(false), None] {
        let breaker = build(three_in_a_row());
        half_open(&breaker, way).await;
        let slots_taken = Arc::new(AtomicUsize::new(9));
        let (watched, slots) = (breaker.clone(), slots_taken.clone());
        let watching = op(move || {
            let seen = Seen(watched.clone(), slots.clone());
            assert!(is_pending.is_some(), "as asked");
            async move {
                let _seen = seen;
                if is_pending == Some(true) { pending().await } else { Ok(1) }
            }
        });
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut breaker.through(way, &watching)).is_pending()));
        assert_eq!(polled.ok(), is_pending);
        assert_eq!((slots_taken.load(SeqCst), breaker.snapshot().probes_in_flight), (1, 0));
    }
}

async fn g1_a_slot_returns_when_the_call_completes_though_the_future_is_kept(way: Way) {
    let breaker = build(three_in_a_row().required_successes(9));
    half_open(&breaker, way).await;
    let succeed = succeed();
    let mut finished = breaker.through(way, &succeed);
    assert!(poll(&mut finished).is_ready());
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
    drop(finished);
    assert_eq!(breaker.snapshot().counts.probe_successes, 1);
}

async fn g2_a_panic_counts_as_a_dropped_call(way: Way) {
    let breaker = build(three_in_a_row());
    for _ in 0..5 {
        let panicking = breaker.clone();
        let call = async move { panicking.through(way, &op(|| async { panic!("operation") })).await };
        assert!(tokio::spawn(call).await.is_err());
        let panicking = breaker.classify(classify_fn(|_: &Answer| -> Verdict { panic!("classifier") }));
        assert!(tokio::spawn(async move { panicking.through(way, &succeed()).await }).await.is_err());
    }
    assert_eq!((breaker.state(), breaker.snapshot().counts), (State::Closed, Counts::default()));
    open(&breaker, way).await;
}

async fn g2_a_panicking_listener_is_caught(way: Way) {
    let breaker = build(three_in_a_row().listener_fn(|_| panic!("listener")).required_successes(1));
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    half_open(&breaker, way).await;
    calls(&breaker, way, &succeed(), 1).await;
    panic::set_hook(hook);
    assert_eq!(breaker.state(), State::Closed);
}

async fn g5_all_listeners_are_told_and_an_event_says_the_name(way: Way) {
    let logs = [Log::new(), Log::new()];
    let breaker = build(three_in_a_row().listener_fn(logs[0].listener()).listener_fn(logs[1].listener()));
    open(&breaker, way).await;
    calls(&breaker, way, &succeed(), 1).await;
    let told = logs.map(|log| log.take());
    assert_eq!((told[0].len(), told[0].iter().all(|event| event.name().as_str() == "users")), (2, true));
    assert_eq!(told[0], told[1]);
}

async fn g6_reading_makes_no_transition(way: Way) {
    let log = Log::new();
    let breaker = build(three_in_a_row().listener_fn(log.listener()));
    half_open(&breaker, way).await;
    assert_eq!(log.take().len(), 1);
    let Snapshot { state, generation, time_left, .. } = breaker.snapshot();
    assert_eq!(
        (state, generation, time_left),
        (State::HalfOpen, 1, None),
        "it reads half-open, in the generation of the opening"
    );
    assert_eq!(log.take(), []);
}

async fn g8_a_loop_of_rejections_lets_a_timer_and_another_task_run(way: Way) {
    let breaker = build(three_in_a_row());
    breaker.force_open();
    let done = Arc::new(AtomicUsize::new(0));
    let stop = done.clone();
    let looping = tokio::spawn(async move {
        let mut rejections = 0;
        while stop.load(SeqCst) == 0 {
            assert!(breaker.through(way, &succeed()).await.is_err());
            rejections += 1;
            assert!(rejections < 10_000, "no other task had its turn");
        }
    });
    let timer = tokio::spawn(async move {
        tokio::time::sleep(secs(1)).await;
        done.store(1, SeqCst);
    });
    tokio::task::yield_now().await;
    pass(secs(1)).await;
    timer.await.expect("no panic");
    let looped = tokio::time::timeout(secs(60), looping).await.expect("it wakes itself");
    looped.expect("it lets others run");
}

async fn g8_one_rejected_call_in_32_pends_once_and_permits_are_exempt(way: Way) {
    for with_permits in [false, true] {
        let breaker = build(three_in_a_row());
        breaker.force_open();
        let mut pending = 0;
        for _ in 0..320 {
            if with_permits {
                assert!(breaker.try_acquire().is_err());
            }
            let op = succeed();
            let mut call = breaker.through(way, &op);
            if poll(&mut call).is_pending() {
                pending += 1;
                assert!(matches!(poll(&mut call), Poll::Ready(Err(_))), "once");
            }
        }
        assert_eq!(pending, 10, "with permits: {with_permits}");
        assert_eq!(breaker.snapshot().rejected, if with_permits { 640 } else { 320 });
    }
}

async fn the_breaker_by_rate_is_what_its_docs_say(way: Way) {
    let breaker = build(CircuitBreaker::by_rate("users", 0.5, Window::calls(100), secs(10)));
    for _ in 0..60 {
        pass(secs(1)).await;
        calls(&breaker, way, &fail(), 1).await;
    }
    assert_eq!(breaker.state(), State::Closed, "no rule about consecutive failures, and no rate before 100 calls");
    calls(&breaker, way, &succeed(), 39).await;
    calls(&breaker, way, &fail(), 1).await;
    for _ in 0..5 {
        assert_eq!(breaker.snapshot().time_left, Some(secs(10)), "no growth, no jitter");
        pass(secs(10)).await;
        calls(&breaker, way, &fail(), 1).await;
    }
    pass(secs(10)).await;
    calls(&breaker, way, &succeed(), 1).await;
    assert_eq!(breaker.state(), State::Closed, "one probe that succeeds closes it");
    calls(&breaker, way, &succeed(), 51).await;
    calls(&breaker, way, &fail(), 49).await;
    assert_eq!(breaker.state(), State::Closed, "less than half");
    calls(&breaker, way, &fail(), 1).await;
    assert_eq!(breaker.state(), State::Open, "half");
}

#[tokio::test(start_paused = true)]
async fn b5_five_clones_on_five_threads_and_one_slot_admit_one() {
    let breaker = build(three_in_a_row());
    half_open(&breaker, Way::Plain).await;
    let clock = tokio::runtime::Handle::current();
    let acquire = || {
        let _paused = clock.enter();
        breaker.clone().try_acquire()
    };
    let permits: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..5).map(|_| scope.spawn(acquire)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(permits.iter().filter(|permit| permit.is_ok()).count(), 1);
}

#[test]
fn g5_threads_lose_no_outcome() {
    let window = Window::calls(1 << 16);
    let breaker = build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(1.0, window));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                for call in 0..8000 {
                    let permit = breaker.try_acquire().expect("it is closed");
                    if (call + thread) % 10 == 0 { permit.failure() } else { permit.success() }
                }
            });
        }
    });
    assert_eq!(failures(&breaker), (32_000, 3200));
}

#[test]
fn g5_no_user_code_runs_under_a_lock() {
    static BREAKER: std::sync::OnceLock<CircuitBreaker> = std::sync::OnceLock::new();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let asks_back = |_: &CircuitBreakerEvent| {
            let breaker = BREAKER.get().expect("made before it is used");
            let _ = (breaker.state(), breaker.snapshot());
        };
        let breaker = BREAKER.get_or_init(|| build(three_in_a_row().listener_fn(asks_back)));
        for _ in 0..3 {
            breaker.try_acquire().expect("it is closed").failure();
        }
        let _ = breaker.try_acquire();
        breaker.reset();
        done.send(()).expect("someone waits");
    });
    wait.recv_timeout(secs(30)).expect("a listener that asks the breaker waits for ever");
}

#[tokio::test(start_paused = true)]
async fn b5_permits_alone_drive_the_circuit() {
    let breaker = build(three_in_a_row());
    for _ in 0..3 {
        breaker.try_acquire().expect("it is closed").failure();
    }
    let by_question_mark = || -> std::io::Result<()> {
        breaker.try_acquire()?.success();
        Ok(())
    };
    let error = by_question_mark().expect_err("it is open");
    assert!(error.as_rejected().is_some());
    let rejected = breaker.try_acquire().expect_err("it is open");
    assert_eq!((rejected.retry_after(), rejected.was_started()), (Some(secs(1)), false));
    pass(secs(1)).await;
    drop(breaker.try_acquire().expect("a probe"));
    breaker.try_acquire().expect("its slot is back").success();
    breaker.try_acquire().expect("a probe").record(Verdict::Healthy);
    assert_eq!(breaker.state(), State::Closed);
}

/// Ready when told to be, and counts how often it is asked.
#[derive(Clone)]
struct Reluctant {
    polls: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
    readiness: Arc<dyn Fn() -> Poll<Result<(), Failure>> + Send + Sync>,
}

impl Reluctant {
    fn new(readiness: impl Fn() -> Poll<Result<(), Failure>> + Send + Sync + 'static) -> Self {
        Self { polls: Arc::default(), calls: Arc::default(), readiness: Arc::new(readiness) }
    }
}

impl Service<u32> for Reluctant {
    type Response = u32;
    type Error = Failure;
    type Future = std::future::Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.polls.fetch_add(1, SeqCst);
        (self.readiness)()
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        ready(Ok(request))
    }
}

fn poll_ready<S: Service<u32>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn b8_an_open_circuit_is_ready_without_asking_and_rejects_in_call() {
    let breaker = build(three_in_a_row());
    let inner = Reluctant::new(|| Poll::Pending);
    let mut service = breaker.layer().layer(inner.clone());
    assert!(poll_ready(&mut service).is_pending());
    open(&breaker, Way::Plain).await;
    assert!(poll_ready(&mut service).is_ready());
    assert_eq!(inner.polls.load(SeqCst), 1);
    assert_eq!(rejected(service.call(1).await), Some(Some(secs(1))));
}

#[tokio::test(start_paused = true)]
async fn b8_a_rejection_is_remembered_until_call_and_decided_anew() {
    let breaker = build(three_in_a_row().open_for(secs(7200)).max_open_for(secs(7200)));
    let inner = Reluctant::new(|| Poll::Ready(Ok(())));
    let mut service = breaker.layer().layer(inner.clone());
    open(&breaker, Way::Plain).await;
    assert!(poll_ready(&mut service).is_ready());
    let mut clone = service.clone();
    pass(secs(3600)).await;
    assert_eq!(rejected(service.call(1).await), Some(Some(secs(3600))), "the present time left");

    assert!(poll_ready(&mut service).is_ready());
    pass(secs(3600)).await;
    assert_eq!(rejected(service.call(1).await), Some(Some(Duration::ZERO)), "half-open: the inner one was never asked");
    assert_eq!((inner.polls.load(SeqCst), inner.calls.load(SeqCst)), (0, 0));
    assert_eq!(breaker.snapshot().probes_in_flight, 0, "no probe slot is taken for it");
    assert!(service.ready().await.expect("ready").call(1).await.is_ok());
    assert!(clone.ready().await.expect("ready").call(1).await.is_ok(), "a clone remembers no rejection");
    assert_eq!((inner.polls.load(SeqCst), inner.calls.load(SeqCst)), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn b8_a_rejection_is_told_zero_after_a_reset_and_the_inner_service_is_not_called() {
    for reopen in [CircuitBreaker::reset, CircuitBreaker::force_closed, CircuitBreaker::metrics_only] {
        let breaker = build(three_in_a_row());
        let inner = Reluctant::new(|| Poll::Ready(Ok(())));
        let mut service = breaker.layer().layer(inner.clone());
        open(&breaker, Way::Plain).await;
        assert!(poll_ready(&mut service).is_ready());
        pass(ms(999)).await;
        reopen(&breaker);
        assert_eq!(rejected(service.call(1).await), Some(Some(Duration::ZERO)));
        assert_eq!((inner.polls.load(SeqCst), inner.calls.load(SeqCst)), (0, 0));
        assert!(service.ready().await.expect("ready").call(1).await.is_ok());
    }
    // Forced open since: no time is known.
    let breaker = build(three_in_a_row());
    let mut service = breaker.layer().layer(Reluctant::new(|| Poll::Ready(Ok(()))));
    open(&breaker, Way::Plain).await;
    assert!(poll_ready(&mut service).is_ready());
    breaker.force_open();
    assert_eq!(rejected(service.call(1).await), Some(None));
}

#[tokio::test(start_paused = true)]
async fn b8_half_open_with_its_slots_taken_is_ready_and_rejects() {
    let breaker = build(three_in_a_row().probe_timeout(secs(4)));
    half_open(&breaker, Way::Plain).await;
    let _probe = breaker.try_acquire().expect("a probe");
    let inner = Reluctant::new(|| Poll::Pending);
    let mut service = breaker.layer().layer(inner.clone());
    assert!(poll_ready(&mut service).is_ready());
    assert_eq!(rejected(service.call(1).await), Some(None));
    pass(secs(4)).await;
    assert!(poll_ready(&mut service).is_ready(), "the probe ran too long, so it has reopened");
    assert_eq!(rejected(service.call(1).await), Some(Some(secs(2))));
    assert_eq!(inner.polls.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn b8_one_layer_on_fifty_failing_services_rejects_47() {
    let breaker = build(three_in_a_row());
    let layer = breaker.layer();
    let mut rejections = 0;
    for _ in 0..50 {
        let service = layer.layer(Perform::default());
        rejections += usize::from(rejected(service.oneshot(fail()).await).is_some());
    }
    assert_eq!(rejections, 47);
}

#[tokio::test(start_paused = true)]
async fn g7_a_readiness_error_passes_through_and_counts_once() {
    let breaker = build(three_in_a_row());
    for run in 1..=3 {
        let inner = Reluctant::new(|| Poll::Ready(Err(Error::Inner("dead"))));
        let mut service = breaker.layer().layer(inner);
        assert!(matches!(poll_ready(&mut service), Poll::Ready(Err(Error::Inner("dead")))));
        let snapshot = breaker.snapshot();
        assert!(snapshot.counts.consecutive_failures == run || snapshot.state == State::Open);
    }
    assert_eq!(breaker.state(), State::Open);
    pass(secs(1)).await;
    let mut service = breaker.layer().layer(Reluctant::new(|| Poll::Ready(Err(Error::Inner("dead")))));
    assert!(matches!(poll_ready(&mut service), Poll::Ready(Err(Error::Inner("dead")))));
    assert_eq!(breaker.snapshot().time_left, Some(secs(2)), "a probe that failed");
}

#[tokio::test(start_paused = true)]
async fn g2_a_classifier_that_panics_while_readiness_is_polled_gives_the_slot_back() {
    let breaker = build(three_in_a_row());
    half_open(&breaker, Way::Plain).await;
    let judged = breaker.classify(classify_fn(|_: &Answer| -> Verdict { panic!("classifier") }));
    let mut service = judged.layer().layer(Reluctant::new(|| Poll::Ready(Err(Error::Inner("dead")))));
    let polled = catch_unwind(AssertUnwindSafe(|| poll_ready(&mut service)));
    assert!(polled.is_err());
    assert_eq!((breaker.state(), breaker.snapshot().probes_in_flight), (State::HalfOpen, 0));
}

#[tokio::test(start_paused = true)]
async fn g2_not_even_a_panic_in_the_drop_of_a_listeners_panic_escapes() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let breaker = build(three_in_a_row().listener_fn(|_| panic::panic_any(Bomb)));
    breaker.force_open();
    assert_eq!(breaker.state(), State::ForcedOpen);
}

#[tokio::test(start_paused = true)]
async fn g7_a_rejection_after_readiness_keeps_that_readiness_for_the_next_call_unless_told_to_release_it() {
    let breaker = build(three_in_a_row());
    let mut service = breaker.layer().layer(Perform::default());
    service.ready().await.expect("ready");
    open(&breaker, Way::Plain).await;
    assert!(rejected(service.call(succeed()).await).is_some());
    pass(secs(1)).await;
    assert!(service.call(succeed()).await.is_ok(), "`Perform` panics when it is not ready");
}

#[tokio::test(start_paused = true)]
async fn g7_release_readiness_frees_a_permit_after_a_rejection_so_that_a_clone_can_probe() {
    for polled_again in [false, true] {
        let breaker = build(three_in_a_row());
        let limited = ConcurrencyLimit::new(Perform::default(), 1);
        let mut service = breaker.layer().release_readiness().layer(limited);
        let mut clone = service.clone();
        service.ready().await.expect("ready");
        open(&breaker, Way::Plain).await;
        if polled_again {
            // Now the circuit is open, and the inner service is not asked: but it was ready before.
            service.ready().await.expect("ready");
        }
        assert!(rejected(service.call(succeed()).await).is_some());
        pass(secs(1)).await;
        for _ in 0..2 {
            let ready = tokio::time::timeout(secs(1), clone.ready()).await;
            let clone = ready.expect("the permit is free, though the service sits idle").expect("ready");
            assert!(clone.call(succeed()).await.is_ok());
        }
        assert_eq!(breaker.state(), State::Closed);
        assert!(service.ready().await.expect("ready").call(succeed()).await.is_ok(), "it works on");
    }
}

/// Answers with its number.
type Replica = BoxCloneSyncService<(), usize, BoxError>;

fn replica<N>(number: usize, layer: &CircuitBreakerLayer<withstand::ByError, N>) -> Replica
where
    CircuitBreakerLayer<withstand::ByError, N>: Layer<Replica>,
    <CircuitBreakerLayer<withstand::ByError, N> as Layer<Replica>>::Service:
        Service<(), Response = usize, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
{
    let answers = BoxCloneSyncService::new(tower::service_fn(move |()| async move { Ok::<_, BoxError>(number) }));
    BoxCloneSyncService::new(layer.layer(answers))
}

/// How many of so many requests each replica answered, and how many were rejected.
async fn balanced(balance: &mut Balance<ServiceList<Vec<Constant<Replica, u32>>>, ()>, requests: usize) -> [usize; 4] {
    let mut answered = [0; 4];
    for _ in 0..requests {
        let answer = balance.ready().await.expect("two replicas are well").call(()).await;
        answered[answer.unwrap_or(3)] += 1;
    }
    answered
}

fn three_replicas<N>(
    layer: impl Fn(&CircuitBreaker) -> CircuitBreakerLayer<withstand::ByError, N>,
) -> (Vec<CircuitBreaker>, Balance<ServiceList<Vec<Constant<Replica, u32>>>, ()>)
where
    CircuitBreakerLayer<withstand::ByError, N>: Layer<Replica>,
    <CircuitBreakerLayer<withstand::ByError, N> as Layer<Replica>>::Service:
        Service<(), Response = usize, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
{
    let breakers: Vec<_> = (0..3).map(|_| build(three_in_a_row())).collect();
    let replicas =
        breakers.iter().enumerate().map(|(number, breaker)| Constant::new(replica(number, &layer(breaker)), 1));
    let balance = Balance::new(ServiceList::new(replicas.collect()));
    (breakers, balance)
}

#[tokio::test(start_paused = true)]
async fn g7_a_balancer_leaves_a_replica_alone_that_is_pending_while_open() {
    let (breakers, mut balance) = three_replicas(|breaker| breaker.layer().pending_while_open());
    open(&breakers[1], Way::Plain).await;
    let [zero, one, two, rejected] = balanced(&mut balance, 200).await;
    assert_eq!((one, rejected), (0, 0));
    assert!(zero > 0 && two > 0);
    assert_eq!(breakers[1].snapshot().rejected, 0, "it is not even asked");
    pass(secs(1)).await;
    let [_, one, _, rejected] = balanced(&mut balance, 200).await;
    assert!(one > 2 && rejected == 0, "{one}: it is probed, closes, and is used again");
    assert_eq!(breakers[1].state(), State::Closed);

    // The trap: an open breaker is ready.
    let (breakers, mut balance) = three_replicas(CircuitBreaker::layer);
    open(&breakers[1], Way::Plain).await;
    assert!(balanced(&mut balance, 200).await[3] > 0);
}

#[tokio::test(start_paused = true)]
async fn g7_a_service_that_is_pending_while_open_wakes_when_the_opening_is_over() {
    let breaker = build(three_in_a_row());
    open(&breaker, Way::Plain).await;
    let mut service = breaker.layer().pending_while_open().layer(Perform::default());
    let start = tokio::time::Instant::now();
    assert!(service.ready().await.is_ok());
    assert_eq!((start.elapsed(), breaker.state()), (secs(1), State::HalfOpen));
    let _probe = breaker.try_acquire().expect("a probe");
    assert!(service.ready().await.is_ok(), "half-open is ready in any case");
    assert!(rejected(service.call(succeed()).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn g7_a_service_that_is_pending_while_open_wakes_within_a_second_of_a_reset() {
    let for_an_hour = || three_in_a_row().open_for(secs(3600)).max_open_for(secs(3600));
    for (is_forced, pending_for) in
        [false, true].into_iter().flat_map(|forced| (0..8).map(move |n| (forced, ms(n * 777))))
    {
        let breaker = build(for_an_hour());
        if is_forced {
            breaker.force_open()
        } else {
            open(&breaker, Way::Plain).await
        }
        let mut service = breaker.layer().pending_while_open().layer(Perform::default());
        let woken = tokio::spawn(async move { service.ready().await.expect("ready").call(succeed()).await });
        tokio::time::sleep(pending_for).await;
        assert!(!woken.is_finished());
        breaker.reset();
        // And a tick, for both to be polled.
        let answer = tokio::time::timeout(ms(1001), woken).await.expect("within a second").expect("no panic");
        assert_eq!(answer, Ok(1), "forced: {is_forced}");
    }
}

/// One runtime with a paused clock, as each `#[tokio::test(start_paused = true)]` has its own.
fn in_a_runtime_of_its_own<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().expect("a runtime").block_on(test)
}

#[test]
fn g3_a_breaker_that_outlives_a_paused_clock_moves_in_the_next_runtime() {
    let window = || Window::time(secs(10)).min_calls(2);
    let builder = || three_in_a_row().failure_rate(1.0, window()).probe_timeout(secs(10));
    let twenty_years = secs(20 * 366 * 24 * 3600);
    for ahead in [secs(1), secs(3600), twenty_years] {
        let (closed, by_default, opened, half_opened) = in_a_runtime_of_its_own(async {
            pass(ahead).await;
            let breakers = (build(builder()), CircuitBreaker::new("users"), build(builder()), build(builder()));
            open(&breakers.2, Way::Plain).await;
            half_open(&breakers.3, Way::Plain).await;
            std::mem::forget(breakers.3.try_acquire().expect("a probe"));
            calls(&breakers.0, Way::Plain, &fail(), 1).await;
            calls(&breakers.1, Way::Plain, &fail(), 1).await;
            breakers
        });
        in_a_runtime_of_its_own(async {
            assert_eq!(failures(&closed), (1, 1));
            pass(secs(11)).await;
            assert_eq!(failures(&closed), (0, 0), "{ahead:?}: what is too old leaves");
            for _ in 0..7 {
                pass(ms(250)).await;
                calls(&by_default, Way::Plain, &fail(), 1).await;
            }
            assert_eq!(by_default.state(), State::Open, "{ahead:?}: failures span time");
        });
        in_a_runtime_of_its_own(async {
            assert!(half_opened.try_acquire().is_err(), "{ahead:?}: the first look is the moment it goes on from");
            pass(secs(10)).await;
            assert!(half_opened.try_acquire().is_err());
            assert_eq!(half_opened.state(), State::Open, "{ahead:?}: its probe has timed out");
        });
        in_a_runtime_of_its_own(async {
            let _ = opened.try_acquire();
            // It is open for a second, at the most by its cap.
            pass(secs(10)).await;
            calls(&opened, Way::Plain, &succeed(), 2).await;
            assert_eq!(opened.state(), State::Closed, "{ahead:?}");
        });
    }
}

#[test]
fn g3_a_retry_budget_that_outlives_a_paused_clock_is_refilled_in_the_next_runtime() {
    let (budget, left) = in_a_runtime_of_its_own(async {
        pass(secs(3600)).await;
        let budget = RetryBudget::new(3);
        let retry = RetryWithBackoff::builder("users").budget(&budget).build().expect("good settings");
        assert!(retry.through(Way::Plain, &fail()).await.is_err());
        let left = budget.available();
        (budget, left)
    });
    assert!(left < 2.0, "{left}");
    in_a_runtime_of_its_own(async {
        budget.available();
        pass(secs(60)).await;
        assert!(budget.available() >= left + 1.0, "{} of {left}", budget.available());
    });
}

/// Whoever drops it when its thread ends, drops it after tokio's own thread-locals are gone.
#[test]
fn g2_g3_a_permit_that_a_thread_local_drops_does_not_abort_and_gives_its_slot_back() {
    thread_local!(static KEPT: RefCell<Vec<CircuitBreakerPermit>> = const { RefCell::new(Vec::new()) });
    for dropped_after in [None, Some(Duration::ZERO)] {
        let builder = three_in_a_row().probes(2);
        let breaker = build(match dropped_after {
            Some(after) => builder.count_dropped_after(after),
            None => builder,
        });
        let made = breaker.clone();
        let thread = std::thread::spawn(move || {
            // Registered before tokio's, it is dropped after them.
            KEPT.with_borrow_mut(Vec::clear);
            in_a_runtime_of_its_own(async {
                half_open(&made, Way::Plain).await;
                KEPT.with_borrow_mut(|kept| kept.push(made.try_acquire().expect("a probe")));
                assert_eq!(made.snapshot().probes_in_flight, 1);
            });
        });
        thread.join().expect("no panic");
        assert_eq!(breaker.snapshot().probes_in_flight, 0);
    }
}

#[test]
fn g2_handles_layers_and_permits_can_cross_a_caught_panic() {
    fn is_unwind_safe<T: UnwindSafe + RefUnwindSafe>(_: &T) {}
    let breaker = build(three_in_a_row().listener_fn(|_| {}));
    is_unwind_safe(&breaker);
    is_unwind_safe(&breaker.layer());
    is_unwind_safe(&breaker.layer().release_readiness());
    is_unwind_safe(&breaker.try_acquire().expect("it is closed"));
    let caught = catch_unwind(|| {
        breaker.try_acquire().expect("it is closed").failure();
        panic::resume_unwind(Box::new("as asked"));
    });
    assert!(caught.is_err());
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 1);
}

/// The clock is real here: slices of 40 ns end between any two looks at it.
#[test]
fn b7_an_opening_by_rate_always_tells_its_rate() {
    let log = Log::new();
    let window = Window::time(Duration::from_nanos(400)).min_calls(1);
    let breaker = build(fifty_percent_of_ten().failure_rate(0.5, window).listener_fn(log.listener()));
    for _ in 0..2000 {
        breaker.try_acquire().expect("it is closed").failure();
        breaker.reset();
    }
    let told = log.take();
    let openings = told.iter().filter_map(CircuitBreakerEvent::transition).filter(|told| told.to == State::Open);
    let rates: Vec<_> = openings.map(|told| (told.reason, told.counts.failures.rate)).collect();
    assert_eq!(rates, vec![(Reason::FailureRate, Some(1.0)); 2000]);
}

/// As a user's test of their own listener does.
#[test]
fn events_can_be_built_and_compared() {
    let mut closed = Transition::new(State::HalfOpen, State::Closed, Reason::ProbesSucceeded);
    closed.generation = 5;
    closed.counts.probe_successes = 2;
    let mut outage = Outage::default();
    outage.lasted = secs(3);
    outage.reopenings = 1;
    closed.outage = Some(outage);
    let event = CircuitBreakerEvent::Transition { name: "users".into(), transition: closed };
    assert_eq!((event.name().as_str(), event.transition()), ("users", Some(&closed)));
    let rejected = CircuitBreakerEvent::Rejected { name: "users".into(), retry_after: Some(secs(1)) };
    assert_eq!((rejected.name().as_str(), rejected.transition()), ("users", None));
    assert_ne!(event, rejected);
    assert_eq!(HashSet::from([Reason::ProbeFailed, Reason::ProbeFailed]).len(), 1);
}
