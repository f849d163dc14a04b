//! The deadline's laws, Q1 to Q3.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::pending,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures::{FutureExt, future::join};
use support::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, Deadline, Error, Pipeline, Rejected, RetryBudget, RetryEvent,
    RetryWithBackoff, Timeout, Verdict,
    circuit_breaker::State,
    classify_fn,
    retry::{Constant, GaveUp},
};

both_ways! {
    q2_a_timeout_ends_at_the_deadline_at_the_latest,
    q2_an_answer_that_is_there_at_the_deadline_wins,
    q2_a_retry_begins_no_sleep_that_would_pass_the_deadline,
    q2_a_retry_after_beyond_the_deadline_ends_the_call_at_once,
    q2_a_wait_in_the_queue_ends_at_the_deadline,
    q2_a_slot_that_is_granted_at_the_deadline_wins,
    q2_a_pipeline_plans_within_the_deadline_around_it,
    q2_a_pipeline_without_a_total_timeout_is_not_ended_but_its_waits_are,
    q3_callers_in_a_hurry_open_no_circuit,
    q3_what_the_deadline_ended_is_not_sent_again_and_its_token_stays_spent,
    q3_outside_of_the_scope_it_is_a_failure,
    q3_a_timeout_of_its_own_that_ends_before_the_deadline_is_a_failure,
}

fn elapsed(answer: Answer) -> (Duration, bool, String) {
    match rejected(answer) {
        Some(Rejected::TimedOut(elapsed)) => {
            let started = Rejected::TimedOut(elapsed.clone()).was_started();
            (elapsed.limit(), started, elapsed.to_string())
        }
        other => panic!("not timed out: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn q1_a_scope_is_of_its_future_alone() {
    let deadline = Deadline::within(secs(1));
    let inside = deadline.scope(async {
        tokio::task::yield_now().await;
        let seen = Deadline::remaining();
        let spawned = tokio::spawn(async { Deadline::remaining() }).await.expect("no panic");
        (seen, spawned)
    });
    let outside = async {
        tokio::task::yield_now().await;
        Deadline::remaining()
    };
    assert_eq!(join(inside, outside).await, ((Some(secs(1)), None), None));
    assert_eq!(Deadline::current(), None);
    assert_eq!((deadline.time_left(), Deadline::within(ms(7)).time_left()), (secs(1), ms(7)));
}

#[tokio::test(start_paused = true)]
async fn q1_a_deadline_that_is_handed_on_counts_in_a_spawned_task() {
    let handed_on = async {
        let deadline = Deadline::current().expect("it runs inside");
        tokio::spawn(deadline.scope(async { Deadline::remaining() })).await.expect("no panic")
    };
    assert_eq!(Deadline::within(secs(1)).scope(handed_on).await, Some(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn q1_a_scope_that_is_dropped_drops_its_future_and_ends() {
    let alive = Arc::new(());
    let held = hang_holding(&alive);
    let mut scope = Box::pin(Deadline::within(secs(1)).scope(async move { held().await }));
    assert!(poll(&mut scope).is_pending());
    assert_eq!((Deadline::current(), Arc::strong_count(&alive)), (None, 3));
    drop(scope);
    assert_eq!((Deadline::current(), Arc::strong_count(&alive)), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn q1_g2_a_panic_inside_ends_the_scope_and_the_one_around_goes_on() {
    let inner = Deadline::within(ms(500)).scope(async { panic!("as asked") });
    let outer = async {
        let thrown = AssertUnwindSafe(inner).catch_unwind().await;
        (thrown.is_err(), Deadline::remaining())
    };
    assert_eq!(Deadline::within(secs(1)).scope(outer).await, (true, Some(secs(1))));
    assert_eq!(Deadline::current(), None);
}

/// The deadline of the scope is taken where the scope is made, and not where it is first polled.
#[tokio::test(start_paused = true)]
async fn q1_the_time_counts_from_within() {
    let scope = Deadline::within(secs(1)).scope(async { Deadline::remaining() });
    pass(ms(300)).await;
    assert_eq!(scope.await, Some(ms(700)));
}

async fn q2_a_timeout_ends_at_the_deadline_at_the_latest(way: Way) {
    for (limit, deadline, said) in [
        (ms(300), ms(100), "`users` took longer than the deadline allows, 100ms"),
        (ms(100), ms(300), "`users` took longer than 100ms"),
        (Duration::MAX, ms(100), "`users` took longer than the deadline allows, 100ms"),
        // Where both come at once, it is the timeout's own.
        (ms(100), ms(100), "`users` took longer than 100ms"),
    ] {
        let timeout = Timeout::new(limit).named("users");
        let start = Instant::now();
        let answer = Deadline::within(deadline).scope(async { timeout.through(way, &hang()).await }).await;
        assert_eq!(elapsed(answer), (ms(100), true, said.to_owned()), "{limit:?}, {deadline:?}");
        assert_eq!(start.elapsed(), ms(100));
    }
}

/// The call is made before the scope begins, so it knows nothing of it.
#[tokio::test(start_paused = true)]
async fn q1_g0_a_call_takes_its_deadline_when_it_is_made() {
    let timeout = Timeout::new(secs(1));
    let outside = Deadline::within(ms(100)).scope(timeout.call(|| hang()()));
    assert_eq!(elapsed(outside.await).0, secs(1));
    let inside = Deadline::within(ms(100)).scope(async { timeout.call(|| hang()()).await });
    assert_eq!(elapsed(inside.await).0, ms(100));
}

async fn q2_an_answer_that_is_there_at_the_deadline_wins(way: Way) {
    let timeout = Timeout::new(secs(9));
    let call = async { timeout.through(way, &succeed_after(ms(100))).await };
    assert_eq!(Deadline::within(ms(100)).scope(call).await, Ok(1));
    // It has passed already: only what is there at once passes.
    let late = async {
        pass(ms(200)).await;
        let at_once = timeout.through(way, &succeed()).await;
        (at_once, timeout.through(way, &succeed_after(ms(1))).await.is_err())
    };
    assert_eq!(Deadline::within(ms(100)).scope(late).await, (Ok(1), true));
}

async fn q2_a_retry_begins_no_sleep_that_would_pass_the_deadline(way: Way) {
    for (deadline, sent) in [(ms(999), 1), (secs(1), 2), (ms(1999), 2), (secs(2), 3)] {
        let log = Log::<RetryEvent>::new();
        let builder = RetryWithBackoff::builder("users").backoff(Constant::new(secs(1)));
        let retry = builder.listener_fn(log.listener()).build().expect("good settings");
        let (failing, starts) = fail_times(9);
        let start = Instant::now();
        let answer = Deadline::within(deadline).scope(async { retry.through(way, &failing).await }).await;
        assert_eq!(answer, Err(Error::Inner("bad")));
        assert_eq!((starts.load(SeqCst), start.elapsed()), (sent, secs(sent as u64 - 1)), "{deadline:?}");
        let reason = match log.take().pop() {
            Some(RetryEvent::GaveUp { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason == GaveUp::DeadlinePassed, sent < 3, "{deadline:?}: {reason:?}");
    }
}

async fn q2_a_retry_after_beyond_the_deadline_ends_the_call_at_once(way: Way) {
    let hinted = classify_fn(|_: &Answer| Verdict::Throttled { retry_after: Some(secs(2)) });
    let retry = RetryWithBackoff::builder("users").classify(hinted).build().expect("good settings");
    let start = Instant::now();
    let answer = Deadline::within(secs(1)).scope(async { retry.through(way, &fail()).await }).await;
    assert_eq!((answer, start.elapsed()), (Err(Error::Inner("bad")), Duration::ZERO));
}

async fn q2_a_wait_in_the_queue_ends_at_the_deadline(way: Way) {
    for (max_wait, deadline) in [(ms(300), ms(100)), (ms(100), ms(300))] {
        let bulkhead = Bulkhead::builder("users", 0).queue(2, max_wait).build().expect("good settings");
        let start = Instant::now();
        let (called, acquired) = Deadline::within(deadline)
            .scope(async {
                let (acquire, succeed) = (bulkhead.acquire(), succeed());
                join(bulkhead.through(way, &succeed), acquire).await
            })
            .await;
        assert_eq!(start.elapsed(), ms(100), "{max_wait:?}, {deadline:?}");
        let acquired = acquired.expect_err("there is no slot");
        assert!(!acquired.was_started());
        if deadline < max_wait {
            let said = "`users` was not started within 100ms";
            assert_eq!((elapsed(called), acquired.to_string()), ((ms(100), false, said.to_owned()), said.to_owned()));
        } else {
            assert!(matches!(rejected(called), Some(Rejected::BulkheadFull(_))), "{acquired}");
            assert!(matches!(acquired, Rejected::BulkheadFull(_)), "{acquired}");
        }
        let snapshot = bulkhead.snapshot();
        assert_eq!((snapshot.queued, snapshot.rejected), (0, 2), "it has left the queue, and was counted");
    }
}

async fn q2_a_slot_that_is_granted_at_the_deadline_wins(way: Way) {
    let bulkhead = Bulkhead::builder("users", 0).queue(2, secs(9)).build().expect("good settings");
    let succeed = succeed();
    let mut call = Box::pin(Deadline::within(ms(100)).scope(async { bulkhead.through(way, &succeed).await }));
    assert!(poll(&mut call).is_pending());
    bulkhead.set_max_concurrent(1);
    pass(ms(100)).await;
    assert_eq!(call.await, Ok(1));
}

fn pipeline(total: Option<Duration>) -> Pipeline {
    let mut builder = Pipeline::builder("users")
        .bulkhead(Bulkhead::builder("users", 1).queue(1, ms(800)).build().expect("good settings"))
        .retry(RetryWithBackoff::builder("users").backoff(Constant::new(ms(400))).build().expect("good settings"))
        .circuit_breaker(CircuitBreaker::new("users"));
    if let Some(total) = total {
        builder = builder.timeout(total);
    }
    builder.build().expect("good settings")
}

async fn q2_a_pipeline_plans_within_the_deadline_around_it(way: Way) {
    let pipeline = pipeline(Some(secs(1)));
    // An attempt.
    let start = Instant::now();
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &hang()).await }).await;
    let said = "`users` took longer than the deadline allows, 300ms";
    assert_eq!((elapsed(answer), start.elapsed()), ((ms(300), true, said.to_owned()), ms(300)));
    // A sleep.
    let start = Instant::now();
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &fail()).await }).await;
    assert_eq!((answer, start.elapsed()), (Err(Error::Inner("bad")), Duration::ZERO));
    // The queue.
    let slot = pipeline.bulkhead().expect("it has one").try_acquire().expect("it is free");
    let start = Instant::now();
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &succeed()).await }).await;
    let said = "`users` was not started within 300ms";
    assert_eq!((elapsed(answer), start.elapsed()), ((ms(300), false, said.to_owned()), ms(300)));
    drop(slot);
    // The pipeline's own total is the earlier one.
    let answer = Deadline::within(secs(2)).scope(async { pipeline.through(way, &hang()).await }).await;
    assert_eq!(elapsed(answer), (secs(1), true, "`users` took longer than 1s".to_owned()));
}

async fn q2_a_pipeline_without_a_total_timeout_is_not_ended_but_its_waits_are(way: Way) {
    let pipeline = pipeline(None);
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &succeed_after(secs(60))).await }).await;
    assert_eq!(answer, Ok(1), "nobody asked to end an attempt");
    let start = Instant::now();
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &fail()).await }).await;
    assert_eq!((answer, start.elapsed()), (Err(Error::Inner("bad")), Duration::ZERO));
    let _slot = pipeline.bulkhead().expect("it has one").try_acquire().expect("it is free");
    let start = Instant::now();
    let answer = Deadline::within(ms(300)).scope(async { pipeline.through(way, &succeed()).await }).await;
    assert_eq!((elapsed(answer).1, start.elapsed()), (false, ms(300)));
}

/// Inside of the breaker is the timeout, which the deadline cuts short.
async fn q3_callers_in_a_hurry_open_no_circuit(way: Way) {
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build();
    let breaker = breaker.expect("good settings");
    let timeout = Timeout::new(secs(9));
    let around = {
        let timeout = timeout.clone();
        op(move || {
            let timeout = timeout.clone();
            async move { timeout.through(way, &hang()).await }
        })
    };
    for _ in 0..9 {
        let answer = Deadline::within(ms(100)).scope(async { breaker.through(way, &around).await }).await;
        assert!(elapsed(answer).1);
    }
    assert_eq!(breaker.state(), State::Closed, "{:?}", breaker.snapshot());
    let users = Pipeline::builder("users").circuit_breaker(breaker.clone()).attempt_timeout(secs(9));
    let users = users.build().expect("good settings");
    for _ in 0..9 {
        let answer = Deadline::within(ms(100)).scope(async { users.through(way, &hang()).await }).await;
        assert!(elapsed(answer).1);
    }
    assert_eq!(breaker.state(), State::Closed, "{:?}", breaker.snapshot());
    // A dependency that is slow for those who have the time does open it.
    for _ in 0..2 {
        assert!(users.through(way, &hang()).await.is_err());
    }
    assert_eq!(breaker.state(), State::Open);
}

async fn q3_what_the_deadline_ended_is_not_sent_again_and_its_token_stays_spent(way: Way) {
    for in_pipeline in [false, true] {
        let (log, budget) = (Log::<RetryEvent>::new(), RetryBudget::new(5));
        let builder = RetryWithBackoff::builder("users").backoff(Constant::new(ms(10))).budget(&budget);
        let retry = builder.listener_fn(log.listener()).build().expect("good settings");
        // The first attempt fails at once, the second hangs.
        let starts = Arc::new(Mutex::new(0));
        let counted = starts.clone();
        let fails_then_hangs = op(move || {
            let mut starts = counted.lock().expect("no panic");
            *starts += 1;
            let is_first = *starts == 1;
            async move { if is_first { Err(Error::Inner("bad")) } else { pending().await } }
        });
        let answer = if in_pipeline {
            let users = Pipeline::builder("users").retry(retry).attempt_timeout(secs(9)).build();
            let users = users.expect("good settings");
            Deadline::within(ms(100)).scope(async { users.through(way, &fails_then_hangs).await }).await
        } else {
            let timeout = Timeout::new(secs(9)).named("users");
            let within = op(move || {
                let (timeout, inner) = (timeout.clone(), fails_then_hangs.clone());
                async move { timeout.through(way, &inner).await }
            });
            Deadline::within(ms(100)).scope(async { retry.through(way, &within).await }).await
        };
        let said = "`users` took longer than the deadline allows, 100ms";
        assert_eq!(elapsed(answer), (ms(100), true, said.to_owned()));
        assert_eq!((*starts.lock().expect("no panic"), budget.available()), (2, 4.0), "in a pipeline: {in_pipeline}");
        let reasons: Vec<_> = log
            .take()
            .iter()
            .map(|event| match event {
                RetryEvent::GaveUp { reason, .. } => Some(*reason),
                _ => None,
            })
            .collect();
        assert_eq!(reasons, [None, Some(GaveUp::DeadlinePassed)], "in a pipeline: {in_pipeline}");
    }
}

async fn q3_outside_of_the_scope_it_is_a_failure(way: Way) {
    let timeout = Timeout::new(secs(9));
    let hurried = {
        let timeout = timeout.clone();
        op(move || {
            let timeout = timeout.clone();
            Deadline::within(ms(100)).scope(async move { timeout.through(way, &hang()).await })
        })
    };
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build();
    let breaker = breaker.expect("good settings");
    for _ in 0..2 {
        assert!(elapsed(breaker.through(way, &hurried).await).1);
    }
    assert_eq!(breaker.state(), State::Open);
    // Outside of the pipeline's own total too.
    let total = Pipeline::builder("users").timeout(ms(100)).build().expect("good settings");
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build();
    let breaker = breaker.expect("good settings");
    let inner = op(move || {
        let total = total.clone();
        async move { total.through(way, &hang()).await }
    });
    for _ in 0..2 {
        assert!(elapsed(breaker.through(way, &inner).await).1);
    }
    assert_eq!(breaker.state(), State::Open);
}

/// Though there is a deadline around it.
async fn q3_a_timeout_of_its_own_that_ends_before_the_deadline_is_a_failure(way: Way) {
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build();
    let users = Pipeline::builder("users").circuit_breaker(breaker.expect("good settings")).attempt_timeout(ms(100));
    let users = users.timeout(secs(1)).build().expect("good settings");
    for _ in 0..2 {
        let answer = Deadline::within(ms(300)).scope(async { users.through(way, &hang()).await }).await;
        assert_eq!(elapsed(answer), (ms(100), true, "`users` took longer than 100ms".to_owned()));
    }
    assert_eq!(users.circuit_breaker().expect("it has one").state(), State::Open);
}

/// What a handler does with it: a rejection is found in the error, and tells whether anything was sent.
#[tokio::test(start_paused = true)]
async fn q2_a_permit_that_is_waited_for_tells_that_nothing_was_started() {
    let bulkhead = Bulkhead::builder("users", 0).queue(1, secs(9)).build().expect("good settings");
    let error = Deadline::within(ms(10)).scope(async { bulkhead.acquire().await }).await.expect_err("no slot");
    let error = Failure::from_rejected(error);
    let rejected = error.as_rejected().expect("it is one");
    assert_eq!((rejected.was_started(), rejected.attempts_sent(), rejected.retry_after()), (false, 0, None));
}

/// A request that tells how long its caller waits.
type Told = Option<Duration>;

fn told(request: &Told) -> Option<Duration> {
    *request
}

/// The pipeline's attempts know what is left: the next service is told less than this one was.
#[tokio::test(start_paused = true)]
async fn q4_the_layer_clips_a_handlers_pipeline_and_the_header_for_the_next_service_shrinks() {
    let users = Pipeline::standard("users");
    let headers = Arc::new(Mutex::new(Vec::new()));
    let sent = headers.clone();
    let handler = tower::service_fn(move |_: Told| {
        let (users, sent) = (users.clone(), sent.clone());
        async move {
            tokio::time::sleep(ms(100)).await;
            let hangs = |attempt: withstand::retry::Attempt<'_, Failure>| {
                sent.lock().expect("no panic").push(attempt.remaining);
                pending::<Answer>()
            };
            users.call_with(hangs).await
        }
    });
    let service = Deadline::layer_fn(told).layer(handler);
    let start = Instant::now();
    assert_eq!(elapsed(service.clone().oneshot(Some(ms(700))).await).0, ms(700));
    assert_eq!((start.elapsed(), Deadline::current()), (ms(700), None));
    assert_eq!(*headers.lock().expect("no panic"), [Some(ms(600))]);

    // Without a limit of its caller it has the pipeline's.
    headers.lock().expect("no panic").clear();
    assert_eq!(elapsed(service.oneshot(None).await).0, secs(5));
    assert_eq!(headers.lock().expect("no panic")[0], Some(secs(2)));
}

/// A policy's layer starts its call in `call`, before any future is polled.
#[tokio::test(start_paused = true)]
async fn q4_the_layer_clips_what_the_service_starts_at_once() {
    let hangs = tower::service_fn(|_: Told| pending::<Answer>());
    let pipeline = Deadline::layer_fn(told).layer(Pipeline::standard("users").layer().layer(hangs));
    let timeout = Deadline::layer_fn(told).layer(Timeout::new(secs(2)).layer().layer(hangs));
    for (deadline, by_pipeline, by_timeout) in [(Some(ms(700)), ms(700), ms(700)), (None, secs(5), secs(2))] {
        let start = Instant::now();
        assert_eq!(elapsed(pipeline.clone().oneshot(deadline).await).0, by_pipeline);
        assert_eq!(elapsed(timeout.clone().oneshot(deadline).await).0, by_timeout);
        assert_eq!(start.elapsed(), by_pipeline + by_timeout);
    }
}

#[tokio::test(start_paused = true)]
async fn q4_without_a_limit_the_deadline_around_the_layer_counts_and_a_longer_one_does_not_extend_it() {
    let remaining = tower::service_fn(|_: Told| {
        let in_call = Deadline::remaining();
        async move { Ok::<_, Failure>((in_call, Deadline::remaining())) }
    });
    let service = Deadline::layer_fn(told).layer(remaining);
    for (request, around, left) in [
        (None, None, None),
        (Some(Duration::MAX), None, None),
        (Some(Duration::ZERO), None, Some(Duration::ZERO)),
        (None, Some(secs(1)), Some(secs(1))),
        (Some(secs(2)), Some(secs(1)), Some(secs(1))),
        (Some(ms(500)), Some(secs(1)), Some(ms(500))),
    ] {
        let call = service.clone().oneshot(request);
        let seen = match around {
            Some(around) => Deadline::within(around).scope(call).await,
            None => call.await,
        };
        assert_eq!(seen, Ok((left, left)), "{request:?} in {around:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn q4_g2_a_panic_in_call_ends_the_scope() {
    #[allow(unreachable_code, reason = "it has to have a future")]
    let panics = tower::service_fn(|_: Told| {
        panic!("as asked");
        std::future::ready(Ok::<u32, Failure>(1))
    });
    let mut service = Deadline::layer_fn(told).layer(panics);
    let thrown = std::panic::catch_unwind(AssertUnwindSafe(|| drop(service.call(Some(secs(1))))));
    assert_eq!((thrown.is_err(), Deadline::current()), (true, None));
}
