//! C3: settings that change while calls run. Circuits and bulkheads also stand beside their models while theirs change:
//! `tests/properties`.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use support::{
    Answer, Log, Op, Policy, Way, fail, fail_times, hang, ms, op, pass, poll, rejected, secs, succeed, succeed_after,
};
use tower::{Layer, Service, ServiceExt};
use withstand::{
    Bulkhead, BulkheadEvent, BulkheadSettings, CircuitBreaker, CircuitBreakerSettings, ConfigError, Error, Pipeline,
    RateLimiter, RateLimiterSettings, Rejected, RetryBudget, RetryEvent, RetrySettings, RetryWithBackoff, Verdict,
    bulkhead::QueueSettings,
    circuit_breaker::{ConsecutiveFailureRule, FailureRate, SlowCallRate, State, Window},
    pipeline::PipelineSettings,
    retry::{BackoffSettings, BudgetSettings, Constant, Exponential, GaveUp, Jitter, RetryBudgetSettings},
    settings::Pipelines,
};

both_ways! {
    c3_an_open_circuit_keeps_its_state_its_generation_and_its_end,
    c3_a_circuit_that_ignored_successes_counts_them_once_a_rule_needs_them,
    c3_a_circuit_that_needs_no_successes_any_more_goes_on,
    c3_a_call_that_began_before_slow_calls_were_a_rule_is_never_slow,
    c3_a_dropped_call_that_began_before_dropped_calls_counted_does_not_count,
    c3_failures_whose_time_no_rule_asked_for_span_none,
    c3_half_open_circuits_go_on_with_the_new_numbers_of_probes,
    c3_a_bulkhead_lets_calls_wait_once_it_has_a_queue,
    c3_a_call_that_waits_keeps_its_own_wait_and_tells_it,
    c3_a_rate_limiter_lets_calls_wait_once_it_has_a_queue,
    c3_a_call_that_waits_for_its_permit_keeps_its_own_wait_and_gets_a_new_time,
    c3_a_rate_limiter_keeps_its_debt_in_time_whatever_else_changes,
    c3_a_rate_limiter_of_a_pipeline_changes_with_it,
    c3_a_call_that_has_failed_goes_on_as_it_began,
    c3_a_call_that_has_not_failed_yet_goes_by_the_new_settings,
    c3_the_deadline_of_a_retry_counts_for_calls_that_begin_later,
    c3_a_call_of_a_pipeline_keeps_its_timeouts,
}

fn rate(rate: f64, window: Window) -> Option<FailureRate> {
    Some(FailureRate::new(rate, window))
}

/// It opens on this many consecutive failures, and on nothing else.
fn opens_on(failures: u32) -> CircuitBreakerSettings {
    let mut settings = CircuitBreakerSettings::default();
    settings.consecutive_failure_rules = vec![ConsecutiveFailureRule::new(failures, Duration::ZERO)];
    settings.open_jitter = 0.0;
    settings
}

fn fields(error: &ConfigError) -> Vec<&str> {
    error.settings().iter().map(|setting| setting.field()).collect()
}

async fn c3_an_open_circuit_keeps_its_state_its_generation_and_its_end(way: Way) {
    let mut settings = opens_on(1);
    settings.open_for = secs(2);
    let breaker = settings.build("users").expect("good settings");
    assert!(breaker.through(way, &fail()).await.is_err());
    let before = breaker.snapshot();
    settings.open_for = ms(10);
    settings.max_open_for = Some(ms(10));
    breaker.apply(&settings).expect("good settings");
    assert_eq!(breaker.snapshot(), before, "nothing has happened");
    pass(secs(2) - ms(1)).await;
    let Some(Rejected::CircuitOpen(open)) = rejected(breaker.through(way, &succeed()).await) else {
        panic!("it opened")
    };
    assert_eq!(open.retry_after(), Some(ms(1)));
    pass(ms(1)).await;
    assert!(breaker.through(way, &fail()).await.is_err());
    assert_eq!(breaker.snapshot().time_left, Some(ms(10)), "the next opening is as the new settings say");
}

async fn c3_a_circuit_that_ignored_successes_counts_them_once_a_rule_needs_them(way: Way) {
    for window in [Window::calls(10).min_calls(1), Window::time(secs(10)).min_calls(1)] {
        let mut settings = opens_on(100);
        let breaker = settings.build("users").expect("good settings");
        for _ in 0..5 {
            assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
        }
        let running = breaker.through(way, &succeed_after(secs(1)));
        settings.failure_rate = rate(0.5, window);
        breaker.apply(&settings).expect("good settings");
        assert_eq!(breaker.snapshot().counts.failures.total, 0, "it begins now");
        assert_eq!(running.await, Ok(1));
        for _ in 0..3 {
            assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
        }
        let counts = breaker.snapshot().counts.failures;
        assert_eq!((counts.total, counts.count), (4, 0), "the call that ran counts too");
        for _ in 0..3 {
            assert!(breaker.through(way, &fail()).await.is_err());
        }
        assert_eq!(breaker.state(), State::Closed, "3 of 7");
        assert!(breaker.through(way, &fail()).await.is_err());
        assert_eq!(breaker.state(), State::Open, "4 of 8");
    }
}

async fn c3_a_circuit_that_needs_no_successes_any_more_goes_on(way: Way) {
    let mut settings = opens_on(2);
    settings.failure_rate = rate(1.0, Window::time(secs(10)));
    let breaker = settings.build("users").expect("good settings");
    assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
    assert!(breaker.through(way, &fail()).await.is_err());
    settings.failure_rate = None;
    breaker.apply(&settings).expect("good settings");
    let counts = breaker.snapshot().counts;
    assert_eq!((counts.failures.total, counts.consecutive_failures), (0, 1), "what is left is kept");
    assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 0, "a success still ends consecutive failures");
}

async fn c3_a_call_that_began_before_slow_calls_were_a_rule_is_never_slow(way: Way) {
    let mut settings = opens_on(100);
    let breaker = settings.build("users").expect("good settings");
    let before = breaker.through(way, &succeed_after(secs(60)));
    settings.slow_call_rate = Some(SlowCallRate::new(1.0, secs(30), Window::calls(1)));
    breaker.apply(&settings).expect("good settings");
    let after = breaker.through(way, &succeed_after(secs(60)));
    assert_eq!(before.await, Ok(1));
    let counts = breaker.snapshot().counts.slow_calls;
    assert_eq!((counts.total, counts.count, breaker.state()), (1, 0, State::Closed));
    assert_eq!(after.await, Ok(1));
    assert_eq!(breaker.state(), State::Open);
}

async fn c3_a_dropped_call_that_began_before_dropped_calls_counted_does_not_count(way: Way) {
    let mut settings = opens_on(1);
    let breaker = settings.build("users").expect("good settings");
    let before = breaker.through(way, &hang());
    settings.count_dropped_after = Some(secs(1));
    breaker.apply(&settings).expect("good settings");
    let after = breaker.through(way, &hang());
    pass(secs(1)).await;
    drop(before);
    assert_eq!(breaker.state(), State::Closed);
    drop(after);
    assert_eq!(breaker.state(), State::Open);
}

async fn c3_failures_whose_time_no_rule_asked_for_span_none(way: Way) {
    let mut settings = opens_on(5);
    let breaker = settings.build("users").expect("good settings");
    for _ in 0..4 {
        assert!(breaker.through(way, &fail()).await.is_err());
    }
    settings.consecutive_failure_rules = vec![ConsecutiveFailureRule::new(5, secs(1))];
    breaker.apply(&settings).expect("good settings");
    assert!(breaker.through(way, &fail()).await.is_err());
    assert_eq!((breaker.state(), breaker.snapshot().counts.consecutive_failures), (State::Closed, 5));
    pass(secs(1) - ms(1)).await;
    assert!(breaker.through(way, &fail()).await.is_err());
    assert_eq!(breaker.state(), State::Closed);
    pass(ms(1)).await;
    assert!(breaker.through(way, &fail()).await.is_err());
    assert_eq!(breaker.state(), State::Open, "a second after the first whose time was told");
}

async fn c3_half_open_circuits_go_on_with_the_new_numbers_of_probes(way: Way) {
    let mut settings = opens_on(1);
    settings.required_successes = 5;
    let breaker = settings.build("users").expect("good settings");
    assert!(breaker.through(way, &fail()).await.is_err());
    pass(ms(200)).await;
    let probe = breaker.through(way, &succeed_after(ms(100)));
    assert!(rejected(breaker.through(way, &succeed()).await).is_some(), "one at once");
    settings.probes = 2;
    settings.required_successes = 2;
    breaker.apply(&settings).expect("good settings");
    assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
    assert_eq!(probe.await, Ok(1));
    assert_eq!(breaker.state(), State::Closed);

    assert!(breaker.through(way, &fail()).await.is_err());
    pass(ms(200)).await;
    let probe = breaker.through(way, &hang());
    settings.probe_timeout = ms(50);
    breaker.apply(&settings).expect("good settings");
    pass(ms(49)).await;
    assert_eq!(breaker.through(way, &succeed()).await, Ok(1));
    assert_eq!(breaker.state(), State::HalfOpen);
    pass(ms(1)).await;
    assert!(rejected(breaker.through(way, &succeed()).await).is_some());
    assert_eq!(breaker.state(), State::Open, "the probe has run for the new probe_timeout since it was applied");
    drop(probe);
}

async fn c3_a_bulkhead_lets_calls_wait_once_it_has_a_queue(way: Way) {
    let mut settings = BulkheadSettings::new(1);
    let bulkhead = settings.build("stock").expect("good settings");
    let running = bulkhead.through(way, &hang());
    assert!(rejected(bulkhead.through(way, &succeed()).await).is_some());
    settings.queue = Some(QueueSettings::new(2, secs(1)));
    bulkhead.apply(&settings).expect("good settings");
    let mut waiting = [bulkhead.through(way, &succeed()), bulkhead.through(way, &succeed())];
    assert!(waiting.iter_mut().all(|call| poll(call).is_pending()));
    settings.queue = None;
    bulkhead.apply(&settings).expect("good settings");
    assert!(rejected(bulkhead.through(way, &succeed()).await).is_some(), "no one joins it");
    let queue = (bulkhead.snapshot().queued, bulkhead.queue_capacity(), bulkhead.max_wait());
    assert_eq!(queue, (2, 0, None), "those who wait go on");
    settings.max_concurrent = 2;
    bulkhead.apply(&settings).expect("good settings");
    let [first, second] = waiting;
    assert_eq!((first.await, second.await), (Ok(1), Ok(1)), "the new slot is theirs");
    drop(running);
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

async fn c3_a_call_that_waits_keeps_its_own_wait_and_tells_it(way: Way) {
    let log = Log::new();
    let builder = Bulkhead::builder("stock", 1).queue(9, ms(100)).listener_fn(log.listener());
    let bulkhead = builder.build().expect("good settings");
    let _running = bulkhead.through(way, &hang());
    let mut before = bulkhead.through(way, &succeed());
    assert!(poll(&mut before).is_pending());
    let mut settings = bulkhead.settings();
    settings.queue = Some(QueueSettings::new(9, ms(300)));
    bulkhead.apply(&settings).expect("good settings");
    let after = bulkhead.through(way, &succeed());
    let start = tokio::time::Instant::now();
    let waited = |answer| match rejected(answer) {
        Some(Rejected::BulkheadFull(full)) => (full.waited(), start.elapsed()),
        other => panic!("{other:?}"),
    };
    assert_eq!(waited(before.await), (Some(ms(100)), ms(100)));
    assert_eq!(waited(after.await), (Some(ms(300)), ms(300)));
    let told: Vec<_> = log.take();
    let spans = told.iter().map(|event| match event {
        BulkheadEvent::Rejected { waited, .. } => *waited,
        other => panic!("{other:?}"),
    });
    assert_eq!(spans.collect::<Vec<_>>(), [Some(ms(100)), Some(ms(300))]);
}

/// When a rejected call would have been admitted.
fn retry_after(answer: Answer) -> Option<Duration> {
    match rejected(answer) {
        Some(Rejected::RateLimited(limited)) => limited.retry_after(),
        other => panic!("{other:?}"),
    }
}

async fn c3_a_rate_limiter_lets_calls_wait_once_it_has_a_queue(way: Way) {
    let mut settings = RateLimiterSettings::new(1, secs(1));
    let limiter = settings.build("stock").expect("good settings");
    assert_eq!(limiter.through(way, &succeed()).await, Ok(1));
    assert_eq!(retry_after(limiter.through(way, &succeed()).await), Some(secs(1)));
    settings.queue = Some(QueueSettings::new(2, secs(5)));
    limiter.apply(&settings).expect("good settings");
    let mut waiting = [limiter.through(way, &succeed()), limiter.through(way, &succeed())];
    assert!(waiting.iter_mut().all(|call| poll(call).is_pending()));
    settings.queue = None;
    limiter.apply(&settings).expect("good settings");
    assert_eq!(retry_after(limiter.through(way, &succeed()).await), Some(secs(3)), "no one joins it");
    let queue = (limiter.snapshot().queued, limiter.queue_capacity(), limiter.max_wait());
    assert_eq!(queue, (2, 0, None), "those who wait go on");
    settings.queue = Some(QueueSettings::new(1, secs(5)));
    limiter.apply(&settings).expect("good settings");
    assert!(rejected(limiter.through(way, &succeed()).await).is_some(), "the queue is more than full");
    let start = tokio::time::Instant::now();
    let [first, second] = waiting;
    assert_eq!((first.await, start.elapsed()), (Ok(1), secs(1)));
    assert_eq!((second.await, start.elapsed()), (Ok(1), secs(2)));
    assert_eq!(limiter.snapshot().queued, 0);
}

async fn c3_a_call_that_waits_for_its_permit_keeps_its_own_wait_and_gets_a_new_time(way: Way) {
    let mut settings = RateLimiterSettings::new(1, secs(1));
    settings.queue = Some(QueueSettings::new(9, secs(2)));
    let limiter = settings.build("stock").expect("good settings");
    let ready = || limiter.through(way, &succeed());
    assert_eq!(ready().await, Ok(1));
    let mut waiting = [ready(), ready()];
    assert!(waiting.iter_mut().all(|call| poll(call).is_pending()));
    settings.queue = Some(QueueSettings::new(9, secs(60)));
    limiter.apply(&settings).expect("good settings");
    let mut patient = ready();
    assert!(poll(&mut patient).is_pending());
    // The debt of a second is kept: the first is admitted when it would have been, those behind it later.
    settings.period = secs(3);
    limiter.apply(&settings).expect("good settings");
    let start = tokio::time::Instant::now();
    let [first, second] = waiting;
    let rejected = (retry_after(second.await), start.elapsed());
    assert_eq!(rejected, (Some(secs(7)), Duration::ZERO), "it would wait for 4 s, and may for 2");
    assert_eq!((first.await, start.elapsed()), (Ok(1), secs(1)));
    settings.period = ms(500);
    limiter.apply(&settings).expect("good settings");
    assert_eq!((patient.await, start.elapsed()), (Ok(1), ms(1500)), "sooner again");
}

async fn c3_a_rate_limiter_keeps_its_debt_in_time_whatever_else_changes(way: Way) {
    let mut settings = RateLimiterSettings::new(4, secs(4));
    let limiter = settings.build("stock").expect("good settings");
    for _ in 0..3 {
        assert_eq!(limiter.through(way, &succeed()).await, Ok(1));
    }
    let available = |settings: &RateLimiterSettings| {
        limiter.apply(settings).expect("good settings");
        assert_eq!(limiter.settings(), *settings);
        limiter.snapshot().available
    };
    settings.queue = Some(QueueSettings::new(1, ms(1)));
    assert_eq!(available(&settings), 1, "a queue takes nothing");
    settings.burst = Some(10);
    assert_eq!(available(&settings), 7, "3 s of 10");
    (settings.limit, settings.burst) = (8, None);
    assert_eq!(available(&settings), 2, "3 s of 4, half a second each");
    settings.period = secs(16);
    assert_eq!(available(&settings), 6, "3 s of 16, 2 s each");
    settings.burst = Some(1);
    assert_eq!(available(&settings), 0);
    assert!(rejected(limiter.through(way, &succeed()).await).is_some());
    pass(secs(2) - ms(1)).await;
    assert_eq!(limiter.snapshot().available, 0, "no debt is longer than the burst is");
    pass(ms(1)).await;
    assert_eq!(limiter.through(way, &succeed()).await, Ok(1));
}

async fn c3_a_rate_limiter_of_a_pipeline_changes_with_it(way: Way) {
    let mut settings = PipelineSettings::default();
    settings.timeout = Some(secs(10));
    settings.rate_limiter = Some(RateLimiterSettings::new(1, secs(1)));
    let users = settings.build("users").expect("good settings");
    assert_eq!(through(&users, way, &succeed()).await, Ok(1));
    assert!(rejected(through(&users, way, &succeed()).await).is_some());
    settings.rate_limiter.as_mut().expect("it has one").queue = Some(QueueSettings::new(2, secs(5)));
    users.apply(&settings).expect("good settings");
    let mut waiting = [through(&users, way, &succeed()), through(&users, way, &succeed())];
    assert!(waiting.iter_mut().all(|call| poll(call).is_pending()));
    let limiter = settings.rate_limiter.as_mut().expect("it has one");
    (limiter.limit, limiter.queue) = (2, None);
    users.apply(&settings).expect("good settings");
    let start = tokio::time::Instant::now();
    let [first, second] = waiting;
    assert_eq!((first.await, start.elapsed()), (Ok(1), ms(500)));
    assert_eq!((second.await, start.elapsed()), (Ok(1), secs(1)));
    assert!(rejected(through(&users, way, &succeed()).await).is_some());
}

/// Constant delays of this length, without jitter.
fn constant(delay: Duration) -> Option<BackoffSettings> {
    Some(Constant::new(delay).into())
}

async fn c3_a_call_that_has_failed_goes_on_as_it_began(way: Way) {
    let log = Log::new();
    let mut settings = RetrySettings::default();
    settings.max_attempts = 4;
    settings.backoff = constant(ms(100));
    let retry = RetryWithBackoff::builder("users").settings(&settings).listener_fn(log.listener());
    let retry = retry.build().expect("good settings");
    let (flaky, starts) = fail_times(3);
    let mut call = retry.through(way, &flaky);
    assert!(poll(&mut call).is_pending(), "it sleeps");
    settings.max_attempts = 2;
    settings.backoff = constant(ms(700));
    settings.max_retry_after = Duration::ZERO;
    settings.budget = Some(BudgetSettings::Own(RetryBudgetSettings::new(10)));
    retry.apply(&settings).expect("good settings");
    assert_eq!(call.await, Ok(1));
    assert_eq!(starts.load(std::sync::atomic::Ordering::SeqCst), 4);
    let delays = log.take().into_iter().map(|event| match event {
        RetryEvent::Retrying { delay, .. } => delay,
        other => panic!("{other:?}"),
    });
    assert_eq!(delays.collect::<Vec<_>>(), [ms(100); 3]);
}

async fn c3_a_call_that_has_not_failed_yet_goes_by_the_new_settings(way: Way) {
    let mut settings = RetrySettings::default();
    settings.backoff = constant(ms(100));
    let retry = settings.build("users").expect("good settings");
    let starts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = starts.clone();
    let slowly_failing = op(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async {
            tokio::time::sleep(secs(1)).await;
            Err(Error::Inner("bad"))
        }
    });
    let start = tokio::time::Instant::now();
    let mut call = retry.through(way, &slowly_failing);
    assert!(poll(&mut call).is_pending());
    settings.max_attempts = 2;
    settings.backoff = constant(ms(300));
    retry.apply(&settings).expect("good settings");
    assert!(call.await.is_err());
    assert_eq!((starts.load(std::sync::atomic::Ordering::SeqCst), start.elapsed()), (2, ms(2300)));
}

async fn c3_the_deadline_of_a_retry_counts_for_calls_that_begin_later(way: Way) {
    let mut settings = RetrySettings::default();
    settings.backoff = constant(ms(100));
    let retry = settings.build("users").expect("good settings");
    let slowly_failing = op(|| async {
        tokio::time::sleep(secs(1)).await;
        Err(Error::Inner("bad"))
    });
    let before = retry.through(way, &slowly_failing);
    settings.deadline = Some(ms(1050));
    retry.apply(&settings).expect("good settings");
    let start = tokio::time::Instant::now();
    assert!(before.await.is_err());
    assert_eq!(start.elapsed(), ms(3200), "three attempts");
    let start = tokio::time::Instant::now();
    assert!(retry.through(way, &slowly_failing).await.is_err());
    assert_eq!(start.elapsed(), ms(1000), "no sleep would end in time");
    settings.deadline = None;
    retry.apply(&settings).expect("good settings");
    let start = tokio::time::Instant::now();
    assert!(retry.through(way, &slowly_failing).await.is_err());
    assert_eq!(start.elapsed(), ms(3200));
}

fn through(pipeline: &Pipeline, way: Way, op: &Op) -> BoxFuture<'static, Answer> {
    let (pipeline, op) = (pipeline.clone(), op.clone());
    match way {
        Way::Plain => Box::pin(async move { pipeline.call(|| op()).await }),
        Way::Tower => {
            let service = pipeline.layer().layer(support::script::Perform::default());
            Box::pin(async move { service.ready_oneshot().await?.call(op).await })
        }
    }
}

async fn c3_a_call_of_a_pipeline_keeps_its_timeouts(way: Way) {
    let mut settings = PipelineSettings::default();
    settings.timeout = Some(secs(2));
    settings.attempt_timeout = Some(secs(1));
    let users = settings.build("users").expect("good settings");
    let limits = [(Some(secs(20)), Some(secs(10)), secs(1)), (None, None, secs(10)), (Some(secs(3)), None, secs(60))];
    for (total, attempt, ends_after) in limits {
        let start = tokio::time::Instant::now();
        let mut call = through(&users, way, &succeed_after(secs(60)));
        assert!(poll(&mut call).is_pending());
        settings.timeout = total;
        settings.attempt_timeout = attempt;
        users.apply(&settings).expect("good settings");
        assert_eq!((users.timeout(), users.attempt_timeout()), (total, attempt));
        let answer = call.await;
        assert_eq!((answer.is_ok(), start.elapsed()), (ends_after == secs(60), ends_after));
    }
    let start = tokio::time::Instant::now();
    assert!(rejected(through(&users, way, &hang()).await).is_some());
    assert_eq!(start.elapsed(), secs(3));
}

#[tokio::test(start_paused = true)]
async fn c3_a_window_of_the_same_shape_keeps_its_counts_and_another_begins_anew() {
    let over = |window: Window| {
        let mut settings = opens_on(100);
        settings.failure_rate = rate(0.9, window);
        settings.slow_call_rate = Some(SlowCallRate::new(0.9, secs(1), Window::calls(50)));
        settings
    };
    let calls = |settings: &CircuitBreakerSettings| {
        let breaker = settings.build("users").expect("good settings");
        breaker.try_acquire().expect("it is closed").success();
        (0..3).for_each(|_| breaker.try_acquire().expect("it is closed").failure());
        breaker
    };
    for (before, after, kept) in [
        (Window::calls(9), Window::calls(9).min_calls(4), true),
        (Window::calls(9), Window::calls(8), false),
        (Window::calls(9), Window::time(secs(9)), false),
        (Window::time(secs(9)), Window::calls(9), false),
        (Window::time(secs(9)), Window::time(secs(9)).min_calls(4), true),
        (Window::time(secs(9)), Window::time(secs(10)), false),
    ] {
        let mut settings = over(before);
        let breaker = calls(&settings);
        let counts = breaker.snapshot().counts;
        settings.failure_rate = rate(0.5, after);
        breaker.apply(&settings).expect("good settings");
        let now = breaker.snapshot().counts;
        assert_eq!(
            (now.failures.total, now.failures.count),
            if kept { (4, 3) } else { (0, 0) },
            "{before:?} {after:?}"
        );
        assert_eq!(now.failures.rate, kept.then_some(0.75), "judged by the new min_calls");
        assert_eq!((now.slow_calls, now.consecutive_failures), (counts.slow_calls, 3), "the other rules keep theirs");
        assert_eq!(breaker.state(), State::Closed, "nothing opens before the next failure");
        breaker.try_acquire().expect("it is closed").failure();
        assert_eq!(breaker.state(), if kept { State::Open } else { State::Closed });
    }
}

#[test]
fn c3_bad_settings_change_nothing_and_the_next_good_ones_apply() {
    let mut good = PipelineSettings::standard();
    good.rate_limiter = Some(RateLimiterSettings::new(100, secs(1)));
    good.bulkhead.as_mut().expect("it has one").queue = Some(QueueSettings::new(5, ms(500)));
    let users = good.build("users").expect("good settings");
    let mut bad = good.clone();
    bad.timeout = Some(secs(1));
    bad.rate_limiter = Some(RateLimiterSettings::new(1, Duration::ZERO));
    bad.bulkhead = Some(BulkheadSettings::new(7));
    bad.bulkhead.as_mut().expect("it has one").queue = Some(QueueSettings::new(0, Duration::ZERO));
    bad.retry.as_mut().expect("it has one").max_attempts = 0;
    bad.circuit_breaker.as_mut().expect("it has one").failure_rate = rate(1.5, Window::calls(10));
    let error = users.apply(&bad).expect_err("bad settings");
    let faults = [
        "rate_limiter.period",
        "bulkhead.queue",
        "bulkhead.queue",
        "retry.max_attempts",
        "circuit_breaker.failure_rate",
        "timeout",
    ];
    assert_eq!(fields(&error), faults, "{error}");
    assert!(
        error.to_string().starts_with("bad settings for the pipeline `users`: rate_limiter.period must"),
        "{error}"
    );
    assert_eq!((users.settings(), users.bulkhead().map(Bulkhead::max_concurrent)), (good.clone(), Some(1000)));
    let mut better = good.clone();
    better.timeout = Some(secs(4));
    better.rate_limiter.as_mut().expect("it has one").limit = 7;
    better.bulkhead.as_mut().expect("it has one").max_concurrent = 7;
    users.apply(&better).expect("good settings");
    assert_eq!((users.settings(), users.bulkhead().map(Bulkhead::max_concurrent)), (better, Some(7)));
    users.apply(&bad).expect_err("bad settings");
    users.apply(&good).expect("good settings");
    assert_eq!(users.settings(), good);

    let [breaker, retry] = ["probes", "max_attempts"];
    let policy = CircuitBreaker::new("users");
    let mut settings = policy.settings();
    settings.probes = 0;
    assert_eq!(fields(&policy.apply(&settings).expect_err("bad settings")), [breaker]);
    assert_eq!(policy.settings(), CircuitBreakerSettings::default());
    let policy = RetryWithBackoff::new("users");
    let mut settings = policy.settings();
    settings.max_attempts = 0;
    assert_eq!(fields(&policy.apply(&settings).expect_err("bad settings")), [retry]);
    assert_eq!(policy.settings(), RetrySettings::default());
    let policy = Bulkhead::new("users", 1);
    let mut settings = policy.settings();
    settings.queue = Some(QueueSettings::new(0, secs(1)));
    assert_eq!(fields(&policy.apply(&settings).expect_err("bad settings")), ["queue"]);
    assert_eq!(policy.settings(), BulkheadSettings::new(1));
}

#[test]
fn c3_bad_settings_of_a_rate_limiter_change_nothing_and_its_form_stays() {
    let good = RateLimiterSettings::new(5, secs(1));
    let limiter = good.build("users").expect("good settings");
    let changes: [(&str, fn(&mut RateLimiterSettings)); 6] = [
        ("limit", |settings| settings.period = Duration::from_nanos(4)),
        ("period", |settings| settings.period = Duration::MAX),
        ("burst", |settings| settings.burst = Some(0)),
        ("burst", |settings| (settings.period, settings.burst) = (secs(86_400), Some(1_000_000))),
        ("fixed_window", |settings| settings.fixed_window = true),
        ("queue", |settings| settings.queue = Some(QueueSettings::new(0, secs(1)))),
    ];
    for (field, change) in changes {
        let mut bad = good.clone();
        bad.limit = 9;
        change(&mut bad);
        assert_eq!(fields(&limiter.apply(&bad).expect_err("bad settings")), [field]);
        assert_eq!((limiter.settings(), limiter.snapshot().available), (good.clone(), 5), "{field}");
        let mut better = good.clone();
        better.limit = 6;
        limiter.apply(&better).expect("good settings");
        assert_eq!((limiter.settings(), limiter.limit()), (better, 6));
        limiter.apply(&good).expect("good settings");
    }
    let mut bursting = good.clone();
    bursting.burst = Some(1_000_000);
    limiter.apply(&bursting).expect("good settings");
    let error = limiter.set_rate(1, secs(86_400)).expect_err("it is judged beside the burst");
    assert_eq!((fields(&error), limiter.settings()), (vec!["burst"], bursting));

    let windows = RateLimiter::fixed_window("users", 5, secs(1)).expect("good settings");
    let error = windows.apply(&good).expect_err("another form");
    let why = "bad settings for the rate limiter `users`: fixed_window cannot change while the rate limiter is in use";
    assert_eq!((error.to_string().as_str(), windows.settings().fixed_window), (why, true));
}

/// A window that runs keeps its count, and ends one new period after it began.
#[tokio::test(start_paused = true)]
async fn c3_a_window_keeps_its_count_and_its_beginning() {
    let limiter = RateLimiter::fixed_window("users", 5, secs(10)).expect("good settings");
    limiter.try_acquire_many(4).expect("there are five");
    pass(secs(3)).await;
    let mut settings = limiter.settings();
    (settings.limit, settings.period) = (7, secs(5));
    limiter.apply(&settings).expect("good settings");
    assert_eq!((limiter.snapshot().available, limiter.quota().reset_in), (3, secs(2)));
    settings.queue = Some(QueueSettings::new(3, secs(1)));
    limiter.apply(&settings).expect("good settings");
    assert_eq!((limiter.snapshot().available, limiter.quota().reset_in), (3, secs(2)));
}

#[test]
fn c3_parts_are_neither_added_nor_removed_and_pipelines_of_a_set_neither() {
    let mut all = PipelineSettings::standard();
    all.rate_limiter = Some(RateLimiterSettings::new(100, secs(1)));
    let parts = ["rate_limiter", "bulkhead", "retry", "circuit_breaker"];
    let users = all.build("users").expect("good settings");
    let error = users.apply(&PipelineSettings::default()).expect_err("it would have no part");
    assert_eq!(fields(&error), parts);
    let none = PipelineSettings::default().build("none").expect("good settings");
    assert_eq!(fields(&none.apply(&all).expect_err("it has no part")), parts);

    let settings = |names: &[&str]| {
        let all = names.iter().map(|name| ((*name).to_owned(), PipelineSettings::standard()));
        all.collect::<BTreeMap<_, _>>()
    };
    let pipelines = Pipelines::build(&settings(&["users", "orders"])).expect("good settings");
    let error = pipelines.apply(&settings(&["users", "stock"])).expect_err("another set");
    assert_eq!(fields(&error), ["orders", "stock"]);
}

#[test]
fn c3_a_set_of_pipelines_changes_as_a_whole_or_not_at_all() {
    let names = ["orders", "users"];
    let mut settings = BTreeMap::from(names.map(|name| (name.to_owned(), PipelineSettings::standard())));
    let pipelines = Pipelines::build(&settings).expect("good settings");
    let before = settings.clone();
    settings.get_mut("orders").expect("it is there").timeout = Some(secs(9));
    let users = settings.get_mut("users").expect("it is there");
    users.circuit_breaker.as_mut().expect("it is there").failure_rate = rate(1.5, Window::calls(100));
    let error = pipelines.apply(&settings).expect_err("bad settings");
    let path = "users.circuit_breaker.failure_rate";
    assert_eq!(error.to_string(), format!("bad settings: {path} must be above 0 and at most 1, not 1.5"));
    assert_eq!(pipelines.settings(), before);
    assert_eq!(fields(&Pipelines::build(&settings).expect_err("bad settings")), [path]);
    let users = settings.get_mut("users").expect("it is there");
    users.circuit_breaker.as_mut().expect("it is there").failure_rate = rate(0.5, Window::calls(100));
    pipelines.apply(&settings).expect("good settings");
    assert_eq!(pipelines.settings(), settings);
    assert_eq!(pipelines.get("orders").and_then(Pipeline::timeout), Some(secs(9)));
    assert_eq!(pipelines.iter().map(Pipeline::name).collect::<Vec<_>>(), names);
}

/// A `HashMap` has no order: the error has one all the same.
#[test]
fn c3_a_set_is_made_and_changed_by_any_pairs_of_a_name_and_settings() {
    let mut bad = PipelineSettings::standard();
    bad.timeout = Some(Duration::ZERO);
    let names = ["a", "b", "c", "d", "e"];
    let settings: HashMap<_, _> = names.map(|name| (name.to_owned(), bad.clone())).into();
    let error = Pipelines::build(&settings).expect_err("bad settings");
    assert_eq!(fields(&error)[..2], ["a.timeout", "a.timeout"], "above zero, and above the attempt's");
    assert!(fields(&error).is_sorted(), "{error}");

    let pairs = || names.map(|name| (name, PipelineSettings::standard()));
    let pipelines = Pipelines::build(pairs()).expect("good settings");
    let good: HashMap<_, _> = pairs().into();
    pipelines.apply(&good).expect("the same settings");
    assert!(pipelines.apply(good.iter().take(4)).is_err());
    pipelines.apply(good).expect("by value");
    assert_eq!(pipelines.iter().count(), 5);

    let twice = || [("a", PipelineSettings::standard()), ("a", PipelineSettings::default())];
    let error = Pipelines::build(twice()).expect_err("which of the two?");
    assert_eq!(error.to_string(), "bad settings: a comes twice");
    assert_eq!(fields(&pipelines.apply(twice()).expect_err("which of the two?"))[0], "a");

    assert_eq!(pipelines.require("e").expect("it is there").name(), "e");
    let error = pipelines.require("users").expect_err("it is not there");
    assert_eq!(error.to_string(), "bad settings: users is missing; the pipelines are a, b, c, d, e");
}

/// All single changes of the settings of a pipeline.
fn changes() -> Vec<(&'static str, fn(&mut PipelineSettings))> {
    fn breaker(settings: &mut PipelineSettings) -> &mut CircuitBreakerSettings {
        settings.circuit_breaker.as_mut().expect("it has one")
    }
    fn retry(settings: &mut PipelineSettings) -> &mut RetrySettings {
        settings.retry.as_mut().expect("it has one")
    }
    fn limiter(settings: &mut PipelineSettings) -> &mut RateLimiterSettings {
        settings.rate_limiter.as_mut().expect("it has one")
    }
    fn bulkhead(settings: &mut PipelineSettings) -> &mut BulkheadSettings {
        settings.bulkhead.as_mut().expect("it has one")
    }
    vec![
        ("timeout", |all| all.timeout = Some(secs(9))),
        ("attempt_timeout", |all| all.attempt_timeout = Some(secs(3))),
        ("limit", |all| limiter(all).limit = 200),
        ("period", |all| limiter(all).period = secs(90)),
        ("burst", |all| limiter(all).burst = Some(200)),
        ("limiter's queue", |all| limiter(all).queue = Some(QueueSettings::new(3, ms(700)))),
        ("max_concurrent", |all| bulkhead(all).max_concurrent = 9),
        ("queue", |all| bulkhead(all).queue = Some(QueueSettings::new(3, ms(700)))),
        ("max_attempts", |all| retry(all).max_attempts = 9),
        ("backoff", |all| retry(all).backoff = Some(Exponential::new(secs(1), secs(2)).jitter(Jitter::None).into())),
        ("budget", |all| retry(all).budget = Some(BudgetSettings::Unlimited)),
        ("deadline", |all| retry(all).deadline = Some(secs(4))),
        ("max_retry_after", |all| retry(all).max_retry_after = secs(4)),
        ("consecutive_failure_rules", |all| {
            breaker(all).consecutive_failure_rules = vec![ConsecutiveFailureRule::new(77, secs(7))];
        }),
        ("failure_rate", |all| breaker(all).failure_rate = rate(0.75, Window::time(secs(30)))),
        ("slow_call_rate", |all| {
            breaker(all).slow_call_rate = Some(SlowCallRate::new(0.75, secs(1), Window::calls(30)));
        }),
        ("open_for", |all| breaker(all).open_for = ms(300)),
        ("open_growth", |all| breaker(all).open_growth = 1.5),
        ("max_open_for", |all| breaker(all).max_open_for = Some(secs(5))),
        ("open_jitter", |all| breaker(all).open_jitter = 0.5),
        ("probes", |all| breaker(all).probes = 5),
        ("required_successes", |all| breaker(all).required_successes = 5),
        ("probe_timeout", |all| breaker(all).probe_timeout = secs(7)),
        ("count_dropped_after", |all| breaker(all).count_dropped_after = Some(secs(1))),
    ]
}

#[tokio::test(start_paused = true)]
async fn c3_one_field_that_changes_leaves_everything_else_as_it_was() {
    for (name, change) in changes() {
        let mut settings = PipelineSettings::standard();
        settings.rate_limiter = Some(RateLimiterSettings::new(100, secs(60)));
        settings.bulkhead.as_mut().expect("it has one").queue = Some(QueueSettings::new(2, ms(500)));
        settings.circuit_breaker.as_mut().expect("it has one").failure_rate = rate(0.9, Window::calls(100));
        let users = settings.build("users").expect("good settings");
        let [bulkhead, breaker] = [users.bulkhead().is_some(), users.circuit_breaker().is_some()];
        assert!(bulkhead && breaker);
        for _ in 0..3 {
            assert!(through(&users, Way::Plain, &fail()).await.is_err());
            assert_eq!(through(&users, Way::Plain, &succeed()).await, Ok(1));
        }
        let mut running = through(&users, Way::Plain, &succeed_after(ms(100)));
        assert!(poll(&mut running).is_pending());
        let seen = |users: &Pipeline| {
            let (bulkhead, breaker) = (users.bulkhead().expect("one"), users.circuit_breaker().expect("one"));
            let (mut slots, mut circuit) = (bulkhead.snapshot(), breaker.snapshot());
            // What a change of shape begins anew, and what is a setting itself.
            if matches!(name, "failure_rate" | "slow_call_rate") {
                circuit.counts.failures = Default::default();
                circuit.counts.slow_calls = Default::default();
            }
            if name == "queue" {
                slots.queue_capacity = 0;
            }
            if name == "max_concurrent" {
                slots.max_concurrent = 0;
            }
            // How many calls could begin is counted in permits of the new limit; what was used of it is a time.
            let limiter = users.rate_limiter().expect("one").snapshot();
            let is_limit = matches!(name, "limit" | "period" | "burst");
            let permits = (limiter.queued, limiter.rejected, (!is_limit).then_some(limiter.available));
            let budget = users.retry().and_then(RetryWithBackoff::budget).map(RetryBudget::available);
            (permits, slots, circuit, budget.filter(|_| name != "budget"))
        };
        let before = seen(&users);
        let mut changed = settings.clone();
        change(&mut changed);
        assert_ne!(changed, settings, "{name}");
        users.apply(&changed).expect("good settings");
        assert_eq!((users.settings(), seen(&users)), (changed, before), "{name}");
        assert_eq!(running.await, Ok(1), "{name}");
        users.apply(&settings).expect("good settings");
        assert_eq!(users.settings(), settings, "{name}, and back");
    }
}

/// A call all of whose attempts fail.
async fn give_up(retry: &RetryWithBackoff) {
    assert!(retry.through(Way::Plain, &fail()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn c3_a_budget_stays_as_full_as_it_was() {
    let with_budget = |tokens: u32| {
        let mut settings = RetrySettings::default();
        settings.backoff = constant(Duration::ZERO);
        settings.max_attempts = 2;
        settings.budget = Some(BudgetSettings::Own(RetryBudgetSettings::new(tokens)));
        settings
    };
    let retry = with_budget(10).build("users").expect("good settings");
    let budget = retry.budget().expect("it has one").clone();
    let available = |tokens| {
        retry.apply(&with_budget(tokens)).expect("good settings");
        (budget.capacity(), budget.available())
    };
    assert_eq!(available(20), (20, 20.0), "full");
    for _ in 0..15 {
        give_up(&retry).await;
    }
    assert_eq!(budget.available(), 5.0);
    assert_eq!(available(40), (40, 10.0));
    assert_eq!(available(4), (4, 1.0));
    assert_eq!(available(0), (0, 0.0));
    assert_eq!(available(8), (8, 8.0), "a bucket of none was not spent");

    let mut unlimited = with_budget(8);
    unlimited.budget = Some(BudgetSettings::Unlimited);
    retry.apply(&unlimited).expect("good settings");
    assert!(retry.budget().is_none());
    give_up(&retry).await;
    assert_eq!(budget.available(), 8.0, "nothing is taken");
    retry.apply(&RetrySettings::default()).expect("good settings");
    assert_eq!(retry.budget().map(RetryBudget::capacity), Some(10), "the default");
}

/// A budget that was never refilled by time has not been waiting for its tokens.
#[tokio::test(start_paused = true)]
async fn c3_time_adds_tokens_from_when_it_was_said_to() {
    let every = |refill_every: Duration| {
        let mut settings = RetrySettings::default();
        settings.backoff = constant(Duration::ZERO);
        let mut budget = RetryBudgetSettings::new(10);
        (budget.per_success, budget.refill_every) = (0.0, refill_every);
        settings.budget = Some(BudgetSettings::Own(budget));
        settings
    };
    let retry = every(Duration::MAX).build("users").expect("good settings");
    let budget = retry.budget().expect("it has one").clone();
    give_up(&retry).await;
    assert_eq!(budget.available(), 8.0);
    pass(secs(3600)).await;
    retry.apply(&every(secs(10))).expect("good settings");
    assert_eq!(budget.available(), 8.0);
    pass(secs(10)).await;
    retry.apply(&every(secs(1000))).expect("good settings");
    assert_eq!(budget.available(), 9.0, "what time has added before stays");
    pass(secs(100)).await;
    assert!((9.0..=9.1).contains(&budget.available()), "{budget:?}");
}

#[tokio::test(start_paused = true)]
async fn c3_what_code_gives_stays_and_settings_that_name_it_are_refused() {
    let budget = RetryBudget::new(3);
    let builder =
        || RetryWithBackoff::builder("users").backoff_fn(|| [7, 7].map(Duration::from_millis)).budget(&budget);
    let retry = builder().seed(1).build().expect("good settings");
    assert_eq!(retry.settings(), RetrySettings::default(), "code says the rest");
    let mut settings = RetrySettings::default();
    settings.max_attempts = 2;
    retry.apply(&settings).expect("good settings");
    let start = tokio::time::Instant::now();
    give_up(&retry).await;
    assert_eq!((start.elapsed(), budget.available()), (ms(7), 2.0));

    settings.backoff = constant(secs(1));
    settings.budget = Some(BudgetSettings::Unlimited);
    for error in [retry.apply(&settings), builder().settings(&settings).build().map(drop)] {
        assert_eq!(fields(&error.expect_err("code says it")), ["backoff", "budget"]);
    }
    let replaced = RetryWithBackoff::builder("users").settings(&settings).no_backoff().budget(&budget);
    assert_eq!(replaced.build().expect("the later setter counts").settings().budget, None);
}

#[tokio::test(start_paused = true)]
async fn c3_a_call_whose_attempts_were_lowered_is_not_told_to_go_on() {
    let log = Log::new();
    let retry = RetryWithBackoff::builder("users").no_backoff().max_attempts(1).listener_fn(log.listener()).build();
    let retry = retry.expect("good settings");
    let mut settings = retry.settings();
    settings.max_attempts = 3;
    retry.apply(&settings).expect("good settings");
    let mut call = retry.through(
        Way::Tower,
        &op(|| async {
            tokio::time::sleep(secs(1)).await;
            Err(Error::Inner("bad"))
        }),
    );
    assert!(poll(&mut call).is_pending());
    settings.max_attempts = 1;
    retry.apply(&settings).expect("good settings");
    assert!(call.await.is_err());
    assert!(log.take().is_empty(), "where one attempt is allowed, nothing is given up");
    settings.max_attempts = 3;
    retry.apply(&settings).expect("good settings");
    assert!(retry.through(Way::Tower, &fail()).await.is_err());
    let last = log.take().pop();
    assert!(matches!(last, Some(RetryEvent::GaveUp { attempts: 3, reason: GaveUp::AttemptsSpent, .. })), "{last:?}");
}

/// Threads that call, while one thread applies good and bad settings: nothing is lost, and nothing is counted twice.
#[test]
fn c3_nothing_is_lost_while_settings_change_under_load() {
    const CALLS: u64 = 20_000;
    let mut settings = opens_on(u32::MAX);
    settings.failure_rate = rate(1.0, Window::calls(1 << 20));
    let breaker = settings.build("users").expect("good settings");
    let bulkhead = BulkheadSettings::new(100).build("users").expect("good settings");
    // It has as many permits as there are calls, and none comes back while the test runs.
    let limit = u32::try_from(2 * CALLS).expect("a small number");
    let limiter = RateLimiterSettings::new(limit, secs(30 * 365 * 86_400)).build("users").expect("good settings");
    let mut timed = settings.clone();
    timed.count_dropped_after = Some(secs(3600));
    timed.open_for = secs(9);
    let mut bad = settings.clone();
    bad.probes = 0;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for number in 0..CALLS {
                        limiter.try_acquire().expect("there are enough");
                        let slot = bulkhead.try_acquire().expect("there are enough");
                        let permit = breaker.try_acquire().expect("it is closed");
                        match number % 8 {
                            0 => permit.failure(),
                            1 => permit.record(Verdict::Healthy),
                            _ => permit.success(),
                        }
                        drop(slot);
                    }
                })
            })
            .collect();
        let mut slots = bulkhead.settings();
        let (all, mut queueing) = (limiter.settings(), limiter.settings());
        queueing.queue = Some(QueueSettings::new(1, secs(1)));
        while callers.iter().any(|caller| !caller.is_finished()) {
            breaker.apply(&timed).expect("good settings");
            breaker.apply(&bad).expect_err("bad settings");
            breaker.apply(&settings).expect("good settings");
            slots.max_concurrent = if slots.max_concurrent == 100 { 50 } else { 100 };
            bulkhead.apply(&slots).expect("good settings");
            limiter.apply(&queueing).expect("good settings");
            limiter.apply(&all).expect("good settings");
        }
    });
    let counts = breaker.snapshot().counts.failures;
    assert_eq!((counts.total, counts.count, breaker.snapshot().generation), (2 * CALLS, 2 * CALLS / 8, 0));
    assert_eq!((bulkhead.snapshot().in_flight, bulkhead.snapshot().rejected), (0, 0));
    assert_eq!((limiter.snapshot().available, limiter.snapshot().rejected), (0, 0), "each permit was taken once");
}
