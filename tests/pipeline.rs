//! The pipeline's laws, P1 to P9, and what G1 to G8 ask of it. That it behaves as its handles nested by hand (P2) is held by
//! `tests/properties/pipeline.rs`.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::FutureExt;
use support::{script::Scripted, *};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use withstand::{
    Bulkhead, CircuitBreaker, Classify, Deadline, Error, Fallback, FallbackEvent, Pipeline, PipelineBuilder,
    RateLimiter, Rejected, RetryBudget, RetryEvent, RetryWithBackoff, Timeout, Verdict, by_error,
    circuit_breaker::{State, Window},
    classify_fn,
    pipeline::{BoxPipeline, NoFallback},
    retry::{Attempt, Constant, GaveUp},
};

both_ways! {
    p1_a_call_ends_with_its_total_timeout_whatever_it_waited_for,
    p1_a_wait_that_reaches_its_own_limit_is_a_full_bulkhead,
    p1_a_retry_after_beyond_the_total_ends_the_call_at_once_with_the_answer_in_hand,
    p1_no_sleep_begins_that_would_pass_the_total,
    p1_a_call_that_has_waited_plans_within_the_total_too,
    p1_total_time_that_runs_out_in_a_later_attempt_was_started,
    p1_the_classifier_and_the_operation_know_the_deadline_and_the_fallback_does_not,
    p1_the_fallback_answers_for_what_any_part_rejects,
    p1_the_fallback_runs_when_the_slot_is_free_and_the_attempt_is_gone,
    p1_attempts_are_judged_by_the_pipelines_classifier_and_so_is_what_the_fallback_handles,
    p1_w1_a_view_for_calls_that_may_not_be_sent_twice,
    p1_a_fallback_with_a_rule_of_its_own_follows_that,
    p2_g1_an_attempt_is_dropped_before_its_permits_are_given_back,
    p2_t2_all_is_given_back_before_a_listener_hears_of_the_total,
    p2_r4_after_32_attempts_without_a_pending_poll_it_yields_once,
    p2_r5_a_dropped_call_gives_a_reserved_token_back_only_while_it_sleeps,
    p2_r5_r8_a_hinted_wait_that_cannot_be_paid_for_ends_with_the_last_result,
    p2_g8_a_loop_of_rejections_lets_another_task_run,
    p2_r8_an_attempt_whose_retry_cannot_be_paid_for_is_counted_once,
    p2_a_rejection_tells_the_limit_of_its_own_moment,
    p2_q1_the_operation_is_dropped_within_the_scope,
    p1_the_totals_listeners_hear_what_the_total_ends,
    p1_a_fallback_with_a_classifier_of_its_own_judges_an_answer_once,
    p1_l3_a_wait_for_a_permit_that_the_deadline_cuts_short_is_timed_out,
    p3_without_parts_it_only_makes_the_call,
    p5_g1_g3_nothing_outlives_the_call_though_its_future_is_kept,
    p5_a_call_that_is_ready_at_once_is_ready_in_one_poll,
    p8_erased_it_behaves_the_same,
}

/// Parts with short settings.
fn parts() -> (Bulkhead, RetryWithBackoff, CircuitBreaker) {
    let bulkhead = Bulkhead::builder("users", 1).queue(1, ms(800)).build().expect("good settings");
    let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).build().expect("good settings");
    (bulkhead, retry, CircuitBreaker::new("users"))
}

fn builder() -> PipelineBuilder {
    let (bulkhead, retry, breaker) = parts();
    Pipeline::builder("users")
        .timeout(secs(1))
        .bulkhead(bulkhead)
        .retry(retry)
        .circuit_breaker(breaker)
        .attempt_timeout(ms(500))
}

fn build<C, F>(builder: PipelineBuilder<C, F>) -> Pipeline<C, F> {
    builder.build().expect("good settings")
}

fn bulkhead<C, F>(pipeline: &Pipeline<C, F>) -> &Bulkhead {
    pipeline.bulkhead().expect("it has one")
}

fn breaker<C, F>(pipeline: &Pipeline<C, F>) -> &CircuitBreaker {
    pipeline.circuit_breaker().expect("it has one")
}

fn said(answer: Answer) -> (String, bool) {
    let rejected = rejected(answer).expect("it is a rejection");
    (rejected.to_string(), rejected.was_started())
}

/// A judge that the permuted builders are given: it hears `bad` as transient and `worse` as failed.
fn judge(answer: &Answer) -> Verdict {
    match answer {
        Ok(_) => Verdict::Healthy,
        Err(Error::Inner("bad")) => Verdict::Transient { retry_after: None },
        Err(Error::Inner(_)) => Verdict::Failed,
        Err(Error::Rejected(rejected)) if rejected.was_started() => Verdict::Transient { retry_after: None },
        Err(Error::Rejected(_)) => Verdict::Ignored,
    }
}

mod setters {
    use super::*;

    #[derive(Clone, Default)]
    pub(super) struct Told(Arc<Mutex<Vec<String>>>);

    impl Told {
        pub(super) fn add(&self, event: impl std::fmt::Debug) {
            self.0.lock().expect("no panic").push(format!("{event:?}"));
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().expect("no panic"))
        }
    }

    /// The five setters that leave the builder's type as it is, by number.
    fn set<C, F>(builder: PipelineBuilder<C, F>, which: usize, told: &Told) -> PipelineBuilder<C, F> {
        let told = told.clone();
        match which {
            0 => builder.timeout(Timeout::new(secs(1)).listener_fn(move |event| told.add(event))),
            1 => {
                let bulkhead =
                    Bulkhead::builder("users", 1).queue(1, ms(800)).listener_fn(move |event| told.add(event));
                builder.bulkhead(bulkhead.build().expect("good settings"))
            }
            2 => {
                let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).seed(7);
                builder.retry(retry.listener_fn(move |event| told.add(event)).build().expect("good settings"))
            }
            3 => {
                let breaker = CircuitBreaker::builder("users").consecutive_failures(9, Duration::ZERO).seed(7);
                builder
                    .circuit_breaker(breaker.listener_fn(move |event| told.add(event)).build().expect("good settings"))
            }
            _ => builder.attempt_timeout(Timeout::new(ms(500)).listener_fn(move |event| told.add(event))),
        }
    }

    fn set_all<C, F>(builder: PipelineBuilder<C, F>, order: &[usize], told: &Told) -> PipelineBuilder<C, F> {
        order.iter().fold(builder, |builder, which| set(builder, *which, told))
    }

    /// With the fallback and the classifier after so many of the others.
    fn built(order: &[usize], classify_at: usize, fallback_at: usize, told: &Told) -> BoxPipeline<u32, Failure> {
        let heard = told.clone();
        let recover = |error: Failure| if error == Error::Inner("worse") { Ok(100) } else { Err(error) };
        let fallback =
            Fallback::from_fn(recover).listener_fn(move |event: &FallbackEvent<'_, u32, Failure>| heard.add(event));
        let begun = Pipeline::builder("users");
        if classify_at <= fallback_at {
            let begun = set_all(begun, &order[..classify_at], told).classify(classify_fn(judge));
            let begun = set_all(begun, &order[classify_at..fallback_at], told).fallback(fallback);
            build(set_all(begun, &order[fallback_at..], told)).boxed()
        } else {
            let begun = set_all(begun, &order[..fallback_at], told).fallback(fallback);
            let begun = set_all(begun, &order[fallback_at..classify_at], told).classify(classify_fn(judge));
            build(set_all(begun, &order[classify_at..], told)).boxed()
        }
    }

    fn orders() -> Vec<Vec<usize>> {
        (0..5_usize.pow(5))
            .map(|number| (0..5).map(|place| number / 5_usize.pow(place) % 5).collect::<Vec<_>>())
            .filter(|order| (0..5).all(|which| order.contains(&which)))
            .collect()
    }

    /// What calls of all kinds see and tell.
    async fn story(pipeline: &BoxPipeline<u32, Failure>, way: Way, told: &Told) -> Vec<String> {
        let start = Instant::now();
        let bulkhead = bulkhead(pipeline);
        let worse = op(|| ready(Err(Error::Inner("worse"))));
        for call in [succeed(), fail(), worse, hang(), fail_times(1).0] {
            told.add(pipeline.through(way, &call).await);
            told.add(start.elapsed());
        }
        let slot = bulkhead.try_acquire().expect("it is free");
        let succeed = succeed();
        let queued = pipeline.through(way, &succeed);
        told.add(pipeline.through(way, &succeed).await);
        told.add(queued.await);
        drop(slot);
        breaker(pipeline).force_open();
        told.add(pipeline.through(way, &succeed).await);
        told.add((start.elapsed(), bulkhead.snapshot(), breaker(pipeline).snapshot()));
        told.take()
    }

    #[tokio::test(start_paused = true)]
    async fn p1_the_order_of_the_setters_changes_nothing() {
        for way in [Way::Plain, Way::Tower] {
            let told = Told::default();
            let expected = story(&built(&[0, 1, 2, 3, 4], 5, 5, &told), way, &told).await;
            assert!(expected.len() > 20, "{expected:?}");
            for order in orders() {
                for classify_at in 0..=5 {
                    for fallback_at in 0..=5 {
                        let told = Told::default();
                        let seen = story(&built(&order, classify_at, fallback_at, &told), way, &told).await;
                        assert_eq!(seen, expected, "{order:?}, {classify_at}, {fallback_at}, {way:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn there_are_all_orders() {
        assert_eq!(orders().len(), 120);
    }
}

async fn p1_a_call_ends_with_its_total_timeout_whatever_it_waited_for(way: Way) {
    // It waits 800 ms for its slot (just not too long); then an attempt would have 500 ms.
    let pipeline = build(builder());
    let bulkhead = bulkhead(&pipeline).clone();
    let slot = bulkhead.try_acquire().expect("it is free");
    let start = Instant::now();
    let release = async {
        tokio::time::sleep(ms(799)).await;
        drop(slot);
    };
    let (hang, started) = (hang(), Arc::new(Mutex::new(None)));
    let noted = started.clone();
    let hang = op(move || {
        *noted.lock().expect("no panic") = Some((start.elapsed(), Deadline::remaining()));
        hang()
    });
    let (answer, ()) = futures::future::join(pipeline.through(way, &hang), release).await;
    assert_eq!(start.elapsed(), secs(1));
    assert_eq!(*started.lock().expect("no panic"), Some((ms(799), Some(ms(201)))));
    assert_eq!(said(answer), ("`users` took longer than the deadline allows, 1s".into(), true));
    let snapshot = breaker(&pipeline).snapshot();
    assert_eq!((snapshot.counts.consecutive_failures, bulkhead.snapshot().in_flight), (0, 0), "no circuit was told");
}

async fn p1_a_wait_that_reaches_its_own_limit_is_a_full_bulkhead(way: Way) {
    let queued = Arc::new(Mutex::new(None::<Bulkhead>));
    let (seen, of) = (Arc::new(Mutex::new(Vec::new())), queued.clone());
    let noted = seen.clone();
    let slots = Bulkhead::builder("users", 1).queue(1, ms(800)).listener_fn(move |_| {
        let queued = of.lock().expect("no panic").as_ref().map(|bulkhead| bulkhead.snapshot().queued);
        noted.lock().expect("no panic").extend(queued);
    });
    let slots = slots.build().expect("good settings");
    *queued.lock().expect("no panic") = Some(slots.clone());
    let pipeline = build(builder().bulkhead(slots));
    let _slot = bulkhead(&pipeline).try_acquire().expect("it is free");
    let start = Instant::now();
    let answer = pipeline.through(way, &succeed()).await;
    assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    assert_eq!(start.elapsed(), ms(800));
    assert_eq!(*seen.lock().expect("no panic"), [0], "it has left the queue before a listener hears of it");
    *queued.lock().expect("no panic") = None;
}

async fn p1_a_retry_after_beyond_the_total_ends_the_call_at_once_with_the_answer_in_hand(way: Way) {
    let log = Log::<RetryEvent>::new();
    let retry = RetryWithBackoff::builder("users").listener_fn(log.listener()).build().expect("good settings");
    let hinted = classify_fn(|answer: &Answer| match answer {
        Ok(7) => Verdict::Throttled { retry_after: Some(ms(1001)) },
        _ => Verdict::Healthy,
    });
    let pipeline = build(Pipeline::builder("users").timeout(secs(1)).retry(retry).classify(hinted));
    let start = Instant::now();
    assert_eq!(pipeline.through(way, &op(|| ready(Ok(7)))).await, Ok(7));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(matches!(log.take()[..], [RetryEvent::GaveUp { reason: GaveUp::DeadlinePassed, attempts: 1, .. }]));
}

async fn p1_no_sleep_begins_that_would_pass_the_total(way: Way) {
    for (total, sent) in [(ms(999), 1), (secs(1), 2)] {
        // From a closure: a backoff that is known to be too long is refused when the pipeline is built.
        let retry = RetryWithBackoff::builder("users").backoff_fn(|| std::iter::repeat(secs(1))).build();
        let retry = retry.expect("good settings");
        let pipeline = build(Pipeline::builder("users").timeout(total).retry(retry));
        let (failing, starts) = fail_times(9);
        let start = Instant::now();
        assert_eq!(pipeline.through(way, &failing).await, Err(Error::Inner("bad")));
        assert_eq!((starts.load(SeqCst), start.elapsed()), (sent, secs(sent as u64 - 1)), "{total:?}");
    }
}

/// The retry of a call that had to wait begins when it has its slot, and knows the deadline too.
async fn p1_a_call_that_has_waited_plans_within_the_total_too(way: Way) {
    let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(300))).build().expect("good settings");
    let pipeline = build(builder().retry(retry));
    let slot = bulkhead(&pipeline).try_acquire().expect("it is free");
    let start = Instant::now();
    let (failing, starts) = fail_times(9);
    let release = async {
        tokio::time::sleep(ms(500)).await;
        drop(slot);
    };
    let (answer, ()) = futures::future::join(pipeline.through(way, &failing), release).await;
    assert_eq!((answer, starts.load(SeqCst), start.elapsed()), (Err(Error::Inner("bad")), 2, ms(800)));
}

async fn p1_total_time_that_runs_out_in_a_later_attempt_was_started(way: Way) {
    // Without an attempt timeout, the total itself ends the second attempt.
    let (_, retry, _) = parts();
    let pipeline = build(Pipeline::builder("users").timeout(secs(1)).retry(retry));
    let starts = AtomicUsize::new(0);
    let fails_then_hangs = op(move || {
        let is_first = starts.fetch_add(1, SeqCst) == 0;
        async move { if is_first { Err(Error::Inner("bad")) } else { pending().await } }
    });
    let start = Instant::now();
    let answer = pipeline.through(way, &fails_then_hangs).await;
    assert_eq!(said(answer), ("`users` took longer than 1s".into(), true));
    assert_eq!(start.elapsed(), secs(1));
}

async fn p1_the_classifier_and_the_operation_know_the_deadline_and_the_fallback_does_not(way: Way) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let [in_judge, in_operation, in_recovery] = [0; 3].map(|_| seen.clone());
    let note = |seen: &Mutex<Vec<_>>, who| seen.lock().expect("no panic").push((who, Deadline::remaining()));
    let judge = classify_fn(move |answer: &Answer| {
        note(&in_judge, "judge");
        if answer.is_ok() { Verdict::Healthy } else { Verdict::Failed }
    });
    let fallback = Fallback::from_async_fn(move |_: Failure| {
        note(&in_recovery, "recovery");
        let seen = in_recovery.clone();
        async move {
            tokio::task::yield_now().await;
            note(&seen, "recovery, later");
            Ok(2)
        }
    });
    let pipeline = build(Pipeline::builder("users").timeout(secs(1)).classify(judge).fallback(fallback));
    let slow = op(move || {
        note(&in_operation, "operation");
        let seen = in_operation.clone();
        async move {
            tokio::time::sleep(ms(400)).await;
            note(&seen, "operation, later");
            Err(Error::Inner("bad"))
        }
    });
    assert_eq!(pipeline.through(way, &slow).await, Ok(2));
    let seen = std::mem::take(&mut *seen.lock().expect("no panic"));
    let expected = [
        ("operation", Some(secs(1))),
        ("operation, later", Some(ms(600))),
        ("judge", Some(ms(600))),
        ("recovery", None),
        ("recovery, later", None),
    ];
    assert_eq!(seen, expected);
    assert_eq!(Deadline::remaining(), None, "and nothing is left of it");
}

async fn p1_the_fallback_answers_for_what_any_part_rejects(way: Way) {
    let pipeline = build(builder().fallback(Fallback::value(7)));
    assert_eq!(pipeline.through(way, &hang()).await, Ok(7), "a timeout");
    breaker(&pipeline).force_open();
    assert_eq!(pipeline.through(way, &succeed()).await, Ok(7), "an open circuit");
    let _slot = bulkhead(&pipeline).try_acquire().expect("it is free");
    assert_eq!(pipeline.through(way, &succeed()).await, Ok(7), "a wait that was too long");
    bulkhead(&pipeline).set_max_concurrent(0);
    let succeed = succeed();
    let _queued = pipeline.through(way, &succeed);
    assert_eq!(pipeline.through(way, &succeed).await, Ok(7), "a full queue");
}

async fn p1_the_fallback_runs_when_the_slot_is_free_and_the_attempt_is_gone(way: Way) {
    let alive = Arc::new(());
    let (watched, bulkhead) = (alive.clone(), parts().0);
    let slots = bulkhead.clone();
    let in_recovery = Arc::new(Mutex::new(None));
    let noted = in_recovery.clone();
    let fallback = Fallback::from_fn(move |error: Failure| {
        *noted.lock().expect("no panic") = Some((slots.snapshot().in_flight, Arc::strong_count(&watched)));
        Err(error)
    });
    let pipeline = build(Pipeline::builder("users").timeout(secs(1)).bulkhead(bulkhead).fallback(fallback));
    let hang = hang_holding(&alive);
    assert!(pipeline.through(way, &hang).await.is_err());
    // This test's own, the recovery's, and that of the operation, which could be started again.
    assert_eq!(*in_recovery.lock().expect("no panic"), Some((0, 3)));
}

async fn p1_attempts_are_judged_by_the_pipelines_classifier_and_so_is_what_the_fallback_handles(way: Way) {
    // The handles have classifiers of their own, which the pipeline does not ask.
    let odd_fails = classify_fn(|answer: &Answer| match answer {
        Ok(number) if number % 2 == 1 => Verdict::Failed,
        _ => Verdict::Healthy,
    });
    let from_result = Fallback::from_result_fn(|_: Answer| Ok(100));
    let rate = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(9)).build().expect("good settings");
    let pipeline = build(builder().circuit_breaker(rate).classify(odd_fails).fallback(from_result));
    for (number, expected) in [(2, 2), (3, 100)] {
        assert_eq!(pipeline.through(way, &op(move || ready(Ok(number)))).await, Ok(expected));
    }
    let failures = |pipeline: &CircuitBreaker| pipeline.snapshot().counts.failures;
    assert_eq!((failures(breaker(&pipeline)).total, failures(breaker(&pipeline)).count), (2, 1));
    // A handle with another classifier has the same parts.
    let lenient = pipeline.classify(classify_fn(|_: &Answer| Verdict::Healthy));
    assert_eq!(lenient.through(way, &op(|| ready(Ok(3)))).await, Ok(3));
    assert_eq!((failures(breaker(&pipeline)).total, failures(breaker(&pipeline)).count), (3, 1));
}

/// The retry sends again only what had no effect; the breaker counts all that failed.
async fn p1_w1_a_view_for_calls_that_may_not_be_sent_twice(way: Way) {
    let no_effect = classify_fn(|answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(Error::Inner("refused")) => Verdict::Unreached,
        Err(_) => Verdict::TRANSIENT,
    });
    let rate = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(99)).build().expect("good settings");
    let pipeline = build(builder().circuit_breaker(rate).classify(no_effect));
    let orders = pipeline.not_idempotent();
    for (error, sent) in [("bad", 1), ("refused", 3)] {
        breaker(&pipeline).reset();
        let failing = op(move || ready(Err(Error::Inner(error))));
        assert_eq!(orders.through(way, &failing).await, Err(Error::Inner(error)));
        assert_eq!(breaker(&pipeline).snapshot().counts.failures.count, sent, "{error}");
    }
    let (failing, starts) = fail_times(9);
    assert!(pipeline.through(way, &failing).await.is_err());
    assert_eq!(starts.load(SeqCst), 3, "the other view sends it again");
}

/// A rule of its own is asked for healthy results too.
async fn p1_a_fallback_with_a_rule_of_its_own_follows_that(way: Way) {
    let all_is_well = classify_fn(|_: &Answer| Verdict::Healthy);
    let handles = Fallback::value(7).handle_if(|error: &Failure| *error == Error::Inner("bad"));
    let pipeline = build(builder().classify(all_is_well).fallback(handles));
    assert_eq!(pipeline.through(way, &fail()).await, Ok(7));
    assert_eq!(pipeline.through(way, &op(|| ready(Err(Error::Inner("worse"))))).await, Err(Error::Inner("worse")));
    assert_eq!(pipeline.through(way, &succeed()).await, Ok(1));
    // An answer, by a classifier of its own.
    let own = classify_fn(|answer: &Answer| if *answer == Ok(1) { Verdict::Failed } else { Verdict::Healthy });
    let fallback = Fallback::from_result_fn(|_: Answer| Ok(100)).classify(own);
    let pipeline = build(builder().fallback(fallback));
    assert_eq!(pipeline.through(way, &succeed()).await, Ok(100));
    assert_eq!(pipeline.through(way, &op(|| ready(Ok(2)))).await, Ok(2));
}

/// What is held while an attempt is dropped: `(slots, probes)`.
fn held_at_drop(pipeline: &Pipeline, end: impl Fn(u32) -> Option<Answer> + Send + Sync + 'static) -> (Op, Arc<Held>) {
    let held = Arc::new(Held { pipeline: pipeline.clone(), seen: Mutex::default(), attempts: AtomicUsize::new(0) });
    let noted = held.clone();
    let watched = op(move || {
        let number = noted.attempts.fetch_add(1, SeqCst) as u32 + 1;
        let (guard, answer) = (Noted(noted.clone()), end(number));
        // The closure is dropped with the future, and not when it is ready.
        poll_fn(move |_| {
            let _guard = &guard;
            answer.clone().map_or(Poll::Pending, Poll::Ready)
        })
    });
    (watched, held)
}

struct Held {
    pipeline: Pipeline,
    seen: Mutex<Vec<(usize, usize)>>,
    attempts: AtomicUsize,
}

struct Noted(Arc<Held>);

impl Drop for Noted {
    fn drop(&mut self) {
        let Held { pipeline, seen, .. } = &*self.0;
        let slots = pipeline.bulkhead().map_or(0, |bulkhead| bulkhead.snapshot().in_flight);
        let probes = pipeline.circuit_breaker().map_or(0, |breaker| breaker.snapshot().probes_in_flight);
        seen.lock().expect("no panic").push((slots, probes));
    }
}

/// Half-open: an attempt is a probe.
async fn half_open() -> Pipeline {
    let breaker = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).probes(9);
    let breaker = breaker.required_successes(9).build().expect("good settings");
    breaker.try_acquire().expect("it is closed").failure();
    pass(secs(2)).await;
    let (bulkhead, ..) = parts();
    let retry = RetryWithBackoff::builder("users").no_backoff().max_attempts(2).build().expect("good settings");
    let builder = Pipeline::builder("users").timeout(secs(1)).attempt_timeout(ms(500));
    build(builder.bulkhead(bulkhead).retry(retry).circuit_breaker(breaker))
}

async fn p2_g1_an_attempt_is_dropped_before_its_permits_are_given_back(way: Way) {
    let ok = |number| Some(Ok(number));
    for (what, end, dropped_after) in [
        ("a success", ok as fn(u32) -> Option<Answer>, None),
        ("a failure", |_| Some(Err(Error::Inner("bad"))), None),
        ("an attempt that hangs", |_| None, None),
        ("a call that is dropped", |_| None, Some(ms(100))),
    ] {
        let pipeline = half_open().await;
        let (watched, held) = held_at_drop(&pipeline, end);
        let mut call = pipeline.through(way, &watched);
        match dropped_after {
            None => drop((&mut call).await),
            Some(span) => {
                assert!(poll(&mut call).is_pending());
                pass(span).await;
            }
        }
        drop(call);
        let seen = held.seen.lock().expect("no panic").clone();
        assert_eq!(seen, [(1, 1)], "{what}");
        assert_eq!(bulkhead(&pipeline).snapshot().in_flight, 0, "{what}");
        assert_eq!(breaker(&pipeline).snapshot().probes_in_flight, 0, "{what}");
    }
    // The second attempt is started inside of a poll. So is one that has waited for its slot.
    let (bulkhead, retry, _) = parts();
    let pipeline = build(Pipeline::builder("users").bulkhead(bulkhead.clone()).retry(retry));
    let (watched, held) =
        held_at_drop(&pipeline, |number| Some(if number == 1 { Err(Error::Inner("bad")) } else { Ok(number) }));
    let slot = bulkhead.try_acquire().expect("it is free");
    let mut call = pipeline.through(way, &watched);
    assert!(poll(&mut call).is_pending());
    drop(slot);
    assert_eq!(call.await, Ok(2));
    assert_eq!(*held.seen.lock().expect("no panic"), [(1, 0), (1, 0)]);
}

async fn p2_t2_all_is_given_back_before_a_listener_hears_of_the_total(way: Way) {
    for attempt_timeout in [None, Some(ms(500))] {
        let alive = Arc::new(());
        let (slots, budget) = (parts().0, RetryBudget::new(5));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let breaker = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).build();
        let breaker = breaker.expect("good settings");
        breaker.try_acquire().expect("it is closed").failure();
        pass(secs(2)).await;
        let listener = {
            let (slots, heard, alive) = (slots.clone(), heard.clone(), alive.clone());
            let breaker = breaker.clone();
            move |_: &withstand::TimeoutEvent| {
                let (slots, probes) = (slots.snapshot().in_flight, breaker.snapshot().probes_in_flight);
                heard.lock().expect("no panic").push((slots, probes, Arc::strong_count(&alive)));
            }
        };
        let retry = RetryWithBackoff::builder("users").budget(&budget).max_attempts(1).build().expect("good settings");
        let mut builder = Pipeline::builder("users").bulkhead(slots).retry(retry).circuit_breaker(breaker);
        // The attempt that runs is ended either by its own limit, or by the total.
        builder = match attempt_timeout {
            None => builder.timeout(Timeout::new(secs(1)).listener_fn(listener)),
            Some(limit) => builder.attempt_timeout(Timeout::new(limit).listener_fn(listener)),
        };
        let pipeline = build(builder);
        assert!(pipeline.through(way, &hang_holding(&alive)).await.is_err());
        // An attempt's own end is told while its call goes on: it holds its permits, but the attempt is gone.
        let held = usize::from(attempt_timeout.is_some());
        assert_eq!(*heard.lock().expect("no panic"), [(held, held, 3)], "{attempt_timeout:?}");
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

async fn p2_r4_after_32_attempts_without_a_pending_poll_it_yields_once(way: Way) {
    let builder = RetryWithBackoff::builder("users").no_backoff().max_attempts(u32::MAX).no_budget();
    let pipeline = build(Pipeline::builder("users").retry(builder.build().expect("good settings")));
    let (failing, starts) = fail_times(1000);
    let mut call = pipeline.through(way, &failing);
    for polls in 1..=3 {
        assert!(poll(&mut call).is_pending());
        assert_eq!(starts.load(SeqCst), 32 * polls);
    }
    let others_turn = tokio::time::timeout(Duration::ZERO, call).await;
    assert!(others_turn.is_err(), "it wakes itself, and a timeout beside it gets its turn");
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut call = pipeline.through(way, &failing);
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(wakes.0.load(SeqCst), 1, "it wakes itself");
    // A call that ends with its 32nd attempt has nothing to come back for.
    let builder = RetryWithBackoff::builder("users").no_backoff().max_attempts(32).no_budget();
    let pipeline = build(Pipeline::builder("users").retry(builder.build().expect("good settings")));
    let fail = fail();
    assert!(poll(&mut pipeline.through(way, &fail)).is_ready());
}

async fn p2_r5_a_dropped_call_gives_a_reserved_token_back_only_while_it_sleeps(way: Way) {
    for (waits, left) in [(ms(50), 5.0), (ms(150), 4.0)] {
        let budget = RetryBudget::new(5);
        let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).budget(&budget);
        let pipeline = build(Pipeline::builder("users").retry(retry.build().expect("good settings")));
        let starts = AtomicUsize::new(0);
        let fails_then_hangs = op(move || {
            let is_first = starts.fetch_add(1, SeqCst) == 0;
            async move { if is_first { Err(Error::Inner("bad")) } else { pending().await } }
        });
        let mut call = pipeline.through(way, &fails_then_hangs);
        assert!(poll(&mut call).is_pending());
        pass(waits).await;
        assert!(poll(&mut call).is_pending());
        drop(call);
        assert_eq!(budget.available(), left, "dropped after {waits:?}");
    }
}

/// While the retry waits as it was told, another call spends the last token.
async fn p2_r5_r8_a_hinted_wait_that_cannot_be_paid_for_ends_with_the_last_result(way: Way) {
    let hinted = |answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(Error::Inner("later") | Error::Rejected(_)) => Verdict::Transient { retry_after: Some(ms(90)) },
        Err(Error::Inner(_)) => Verdict::Transient { retry_after: None },
    };
    let budget = RetryBudget::builder(2).no_refill().build().expect("good settings");
    let retry = RetryWithBackoff::builder("users").budget(&budget).no_backoff();
    let circuit = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).open_for(secs(9));
    let pipeline = build(
        Pipeline::builder("users")
            .retry(retry.build().expect("good settings"))
            .circuit_breaker(circuit.build().expect("good settings"))
            .classify(classify_fn(hinted)),
    );
    let spend = || async {
        let retry = RetryWithBackoff::builder("others").budget(&budget).no_backoff().build().expect("good settings");
        assert!(retry.through(Way::Plain, &fail()).await.is_err());
        assert_eq!(budget.available(), 0.0);
    };
    // It was sent, and answered.
    let later = op(|| ready(Err(Error::Inner("later"))));
    let mut call = pipeline.through(way, &later);
    assert!(poll(&mut call).is_pending());
    spend().await;
    assert_eq!(call.await, Err(Error::Inner("later")));
    // It was sent once, and then rejected.
    let refilled = RetryBudget::builder(2).no_refill().build().expect("good settings");
    let retry = RetryWithBackoff::builder("users").budget(&refilled).no_backoff().build().expect("good settings");
    breaker(&pipeline).reset();
    let pipeline = build(
        Pipeline::builder("users")
            .retry(retry)
            .circuit_breaker(breaker(&pipeline).clone())
            .classify(classify_fn(hinted)),
    );
    let fail = fail();
    let mut call = pipeline.through(way, &fail);
    assert!(poll(&mut call).is_pending(), "the second attempt is rejected, and waits");
    let others = RetryWithBackoff::builder("others").budget(&refilled).no_backoff().build().expect("good settings");
    assert!(others.through(Way::Plain, &fail).await.is_err());
    let rejection = rejected(call.await).expect("the last result");
    assert_eq!((rejection.attempts_sent(), rejection.was_started()), (1, true));
}

async fn p2_g8_a_loop_of_rejections_lets_another_task_run(way: Way) {
    let open = build(builder().timeout(Timeout::never()));
    breaker(&open).force_open();
    let full = build(Pipeline::builder("users").bulkhead(Bulkhead::new("users", 0)));
    for pipeline in [open, full] {
        let has_run = Arc::new(AtomicUsize::new(0));
        let sets = has_run.clone();
        let other = tokio::spawn(async move { sets.store(1, SeqCst) });
        let mut rejections = 0;
        while has_run.load(SeqCst) == 0 {
            assert!(pipeline.through(way, &succeed()).await.is_err());
            rejections += 1;
            assert!(rejections < 100, "no other task had its turn");
        }
        assert_eq!(rejections, 32);
        other.await.expect("no panic");
    }
}

/// What the last result says of its own attempts is not said a second time.
async fn p2_r8_an_attempt_whose_retry_cannot_be_paid_for_is_counted_once(way: Way) {
    let hinted = || {
        let is_rejected: fn(&Failure) -> bool = |error| matches!(error, Error::Rejected(_));
        by_error().errors_if(is_rejected, Verdict::Transient { retry_after: Some(ms(90)) })
    };
    let inner = RetryWithBackoff::builder("inner").max_attempts(2).no_backoff().no_budget().build();
    let inner = inner.expect("good settings");
    for with_pipeline in [true, false] {
        let circuit = CircuitBreaker::builder("inner").consecutive_failures(1, Duration::ZERO).open_for(secs(9));
        let circuit = circuit.build().expect("good settings");
        let inner = inner.clone();
        // One attempt is sent, and the second is rejected.
        let nested = op(move || {
            let (inner, circuit) = (inner.clone(), circuit.clone());
            async move { inner.call(|| circuit.call(|| ready(Answer::Err(Error::Inner("bad"))))).await }
        });
        let budget = RetryBudget::builder(2).no_refill().build().expect("good settings");
        let retry = RetryWithBackoff::builder("users").budget(&budget).no_backoff().build().expect("good settings");
        let alone = retry.classify(hinted());
        let pipeline = build(Pipeline::builder("users").retry(retry).classify(hinted()));
        let mut call = if with_pipeline { pipeline.through(way, &nested) } else { alone.through(way, &nested) };
        assert!(poll(&mut call).is_pending(), "it waits for as long as it was told");
        let others = RetryWithBackoff::builder("others").budget(&budget).no_backoff().build().expect("good settings");
        assert!(others.through(Way::Plain, &fail()).await.is_err());
        let rejection = rejected(call.await).expect("the last result");
        assert_eq!(rejection.attempts_sent(), 1, "in a pipeline: {with_pipeline}");
    }
}

async fn p2_a_rejection_tells_the_limit_of_its_own_moment(way: Way) {
    let (bulkhead, limiter) =
        (Bulkhead::new("users", 0), RateLimiter::new("users", 0, secs(1)).expect("good settings"));
    let full = build(Pipeline::builder("users").bulkhead(bulkhead.clone()));
    let limited = build(Pipeline::builder("users").rate_limiter(limiter.clone()));
    let succeed = succeed();
    let calls = [full.through(way, &succeed), limited.through(way, &succeed)];
    bulkhead.set_max_concurrent(500);
    limiter.set_rate(500, secs(1)).expect("good settings");
    let [full, limited] = calls;
    match (rejected(full.await), rejected(limited.await)) {
        (Some(Rejected::BulkheadFull(full)), Some(Rejected::RateLimited(limited))) => {
            assert_eq!((full.max_concurrent(), limited.limit()), (0, 0));
        }
        others => panic!("{others:?}"),
    }
}

async fn p2_q1_the_operation_is_dropped_within_the_scope(way: Way) {
    type Seen = Arc<Mutex<Vec<bool>>>;

    /// An async block would have dropped what it holds before its own end.
    struct Answers(Option<Answer>, Seen);

    impl Future for Answers {
        type Output = Answer;

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
            Poll::Ready(self.0.take().expect("polled once"))
        }
    }

    impl Drop for Answers {
        fn drop(&mut self) {
            self.1.lock().expect("no panic").push(Deadline::current().is_some());
        }
    }

    let seen = Seen::default();
    for end in [Ok(1), Err(Error::Inner("bad"))] {
        let held = seen.clone();
        let operation: Op = Arc::new(move || Box::pin(Answers(Some(end.clone()), held.clone())));
        let _ = build(Pipeline::builder("users").timeout(secs(1))).through(way, &operation).await;
    }
    assert_eq!(*seen.lock().expect("no panic"), [true, true]);
}

async fn p1_the_totals_listeners_hear_what_the_total_ends(way: Way) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let timeout = |limit, who: &'static str| {
        let heard = heard.clone();
        Timeout::new(limit).named(who).listener_fn(move |_| heard.lock().expect("no panic").push(who))
    };
    let (total, attempt) = (timeout(secs(5), "total"), timeout(secs(4), "attempt"));
    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    let pipeline = build(Pipeline::builder("users").timeout(total).retry(retry).attempt_timeout(attempt));
    assert_eq!(
        said(pipeline.through(way, &hang()).await),
        ("`total` took longer than the deadline allows, 5s".into(), true)
    );
    assert_eq!(*heard.lock().expect("no panic"), ["attempt", "total"]);
}

async fn p1_a_fallback_with_a_classifier_of_its_own_judges_an_answer_once(way: Way) {
    for handled in [true, false] {
        let judged = Arc::new(AtomicUsize::new(0));
        let counted = judged.clone();
        let own = classify_fn(move |_: &Answer| {
            counted.fetch_add(1, SeqCst);
            if handled { Verdict::Failed } else { Verdict::Healthy }
        });
        let fallback = Fallback::from_result_fn(|_: Answer| Ok(100)).classify(own);
        let answer = build(builder().fallback(fallback)).through(way, &succeed()).await;
        assert_eq!((answer, judged.load(SeqCst)), (Ok(if handled { 100 } else { 1 }), 1));
    }
}

/// A wait that could not end in time is not begun. One that is cut short was not started. The queue's own limit is shorter
/// than the total, so it is a deadline further out that cuts it.
async fn p1_l3_a_wait_for_a_permit_that_the_deadline_cuts_short_is_timed_out(way: Way) {
    let limiter = || RateLimiter::builder("users", 1, secs(2)).queue(9, secs(60)).build().expect("good settings");
    let pipeline = build(Pipeline::builder("users").timeout(secs(90)).rate_limiter(limiter()));
    let (alone, succeed) = (limiter(), succeed());
    for with_pipeline in [true, false] {
        let call = || if with_pipeline { pipeline.through(way, &succeed) } else { alone.through(way, &succeed) };
        let calls = async {
            assert_eq!(call().await, Ok(1));
            // It is due after 2 seconds, and nobody polls it.
            let first = call();
            let (second, third) = (call(), call().await);
            assert!(matches!(rejected(third), Some(Rejected::RateLimited(_))), "it would be due after 6 seconds");
            assert_eq!(said(second.await), ("`users` was not started within 5s".into(), false));
            drop(first);
        };
        Deadline::within(secs(5)).scope(calls).await;
    }
}

async fn p3_without_parts_it_only_makes_the_call(way: Way) {
    let none = build(Pipeline::builder("users"));
    assert_eq!(none.through(way, &succeed()).await, Ok(1));
    assert_eq!(none.through(way, &fail()).await, Err(Error::Inner("bad")));
    let hang = hang();
    let mut call = none.through(way, &hang);
    pass(secs(1_000_000)).await;
    assert!(poll(&mut call).is_pending());
    assert_eq!((none.timeout(), none.attempt_timeout(), none.name()), (None, None, "users"));
    assert!(none.bulkhead().is_none() && none.retry().is_none() && none.circuit_breaker().is_none());
}

/// It needs no runtime either, for it asks nobody for the time.
#[test]
fn p3_without_parts_it_needs_no_runtime() {
    let none = build(Pipeline::builder("users"));
    for way in [Way::Plain, Way::Tower] {
        assert_eq!(poll(&mut none.through(way, &succeed())), Poll::Ready(Ok(1)));
        let hang = hang();
        assert!(poll(&mut none.through(way, &hang)).is_pending());
    }
}

#[test]
fn p4_parts_are_handles_to_take_out_and_to_share() {
    let (slots, retry, circuit) = parts();
    let build = || {
        let builder = Pipeline::builder("users").bulkhead(slots.clone()).retry(retry.clone());
        build(builder.circuit_breaker(circuit.clone()).timeout(secs(2)).attempt_timeout(secs(1)))
    };
    let (one, other) = (build(), build());
    assert_eq!((one.timeout(), one.attempt_timeout()), (Some(secs(2)), Some(secs(1))));
    assert_eq!(one.retry().map(RetryWithBackoff::name), Some("users"));
    breaker(&one).force_open();
    let _slot = bulkhead(&one).try_acquire().expect("it is free");
    assert_eq!((breaker(&other).state(), bulkhead(&other).snapshot().in_flight), (State::ForcedOpen, 1));
    let view = other.classify(classify_fn(|_: &Answer| Verdict::Failed));
    assert_eq!((view.name(), breaker(&view).state()), ("users", State::ForcedOpen));
    let clone = view.clone();
    assert!(format!("{clone:?} {view:?}").contains("users"), "{clone:?}");
}

async fn p5_g1_g3_nothing_outlives_the_call_though_its_future_is_kept(way: Way) {
    for fails in [false, true] {
        let alive = Arc::new(());
        let held = alive.clone();
        let slow = op(move || {
            let (held, mut sleep) = (held.clone(), Box::pin(tokio::time::sleep(ms(100))));
            poll_fn(move |cx| {
                let _held = &held;
                sleep.as_mut().poll_unpin(cx).map(|()| if fails { Err(Error::Inner("bad")) } else { Ok(1) })
            })
        });
        let (slots, ..) = parts();
        let once = RetryWithBackoff::builder("users").max_attempts(1).build().expect("good settings");
        let pipeline = Pipeline::builder("users").timeout(secs(1000)).bulkhead(slots).retry(once);
        let pipeline = build(pipeline.circuit_breaker(CircuitBreaker::new("users")));
        let mut call = pipeline.through(way, &slow);
        assert_eq!((&mut call).await.is_err(), fails);
        drop(slow);
        assert_eq!(Arc::strong_count(&alive), 1, "neither the attempt nor what would start another is kept");
        assert_eq!(bulkhead(&pipeline).snapshot().in_flight, 0);
        // A timer that was left behind would move a paused clock as soon as there is nothing else to do.
        let start = Instant::now();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            for _ in 0..10_000 {
                std::thread::yield_now();
            }
            sender.send(())
        });
        receiver.await.expect("it was sent");
        assert_eq!(start.elapsed(), Duration::ZERO, "a timer was left");
        let thrown = catch_unwind(AssertUnwindSafe(|| poll(&mut call)));
        assert!(thrown.is_err(), "polled after it was done");
    }
}

async fn p5_a_call_that_is_ready_at_once_is_ready_in_one_poll(way: Way) {
    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    let pipeline = build(builder().retry(retry).fallback(Fallback::value(7)));
    let (flaky, starts) = fail_times(2);
    assert_eq!(poll(&mut pipeline.through(way, &flaky)), Poll::Ready(Ok(1)));
    assert_eq!(starts.load(SeqCst), 3);
    assert_eq!(poll(&mut pipeline.through(way, &fail())), Poll::Ready(Ok(7)));
}

async fn p8_erased_it_behaves_the_same(way: Way) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let recover =
        |error: Failure| if error == Error::Inner("worse") { Ok(100) } else { Err(Error::Inner("no fallback")) };
    let fallback = Fallback::from_fn(recover).listener_fn(move |event: &FallbackEvent<'_, u32, Failure>| {
        heard.lock().expect("no panic").push(format!("{event:?}"));
    });
    let known = build(builder().classify(classify_fn(judge)).fallback(fallback));
    let erased: BoxPipeline<u32, Failure> = known.clone().boxed();
    for call in [succeed(), fail(), op(|| ready(Err(Error::Inner("worse")))), hang()] {
        let start = Instant::now();
        let expected = (known.through(way, &call).await, start.elapsed());
        let events = std::mem::take(&mut *told.lock().expect("no panic"));
        breaker(&known).reset();
        let start = Instant::now();
        assert_eq!((erased.through(way, &call).await, start.elapsed()), expected);
        assert_eq!(std::mem::take(&mut *told.lock().expect("no panic")), events);
    }
    let none = BoxPipeline::<u32, Failure>::none();
    assert_eq!(none.through(way, &fail()).await, Err(Error::Inner("bad")), "no fallback, no retry");
    assert_eq!(none.through(way, &succeed()).await, Ok(1));
    let without_fallback: BoxPipeline<u32, Failure> = build(builder()).boxed();
    assert_eq!(
        without_fallback.through(way, &op(|| ready(Err(Error::Inner("worse"))))).await,
        Err(Error::Inner("worse"))
    );
}

/// A classifier that is asked for our own rejections finds them behind the pointer too.
#[tokio::test(start_paused = true)]
async fn p8_r8_an_erased_classifier_is_the_same_classifier() {
    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    let breaker = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).build();
    let users = Pipeline::builder("users").retry(retry).circuit_breaker(breaker.expect("good settings"));
    let users: BoxPipeline<u32, Failure> = build(users).boxed();
    let answer = users.call(|| ready(Answer::Err(Error::Inner("bad")))).await;
    let rejection = rejected(answer).expect("the circuit has opened");
    assert_eq!((rejection.attempts_sent(), rejection.was_started()), (1, true));
}

mod attempts {
    use super::*;

    type Told = Vec<(u32, bool, Option<&'static str>, Duration, Option<Duration>)>;

    async fn told(pipeline: &Pipeline, each_takes: Duration) -> Told {
        let told = Mutex::new(Vec::new());
        let call = pipeline.call_with(|attempt: Attempt<'_, Failure>| {
            let last_error = attempt.last_error.map(|error| match error {
                Error::Inner(text) => *text,
                Error::Rejected(_) => "rejected",
            });
            let Attempt { number, is_last, elapsed, remaining, .. } = attempt;
            told.lock().expect("no panic").push((number, is_last, last_error, elapsed, remaining));
            async move {
                tokio::time::sleep(each_takes).await;
                Answer::Err(Error::Inner("bad"))
            }
        });
        assert!(call.await.is_err());
        told.into_inner().expect("no panic")
    }

    #[tokio::test(start_paused = true)]
    async fn p9_p1_an_attempt_knows_its_number_and_what_is_left_to_it() {
        let all = build(builder());
        let expected = vec![
            (1, false, None, ms(0), Some(ms(500))),
            (2, false, Some("bad"), ms(500), Some(ms(500))),
            (3, true, Some("bad"), ms(1000), Some(ms(0))),
        ];
        // 400 ms, then 100 ms of backoff: the total has 1 s.
        assert_eq!(told(&all, ms(400)).await, expected);
        // Each takes longer than it may. The second is clipped by the total.
        let expected =
            vec![(1, false, None, ms(0), Some(ms(500))), (2, false, Some("rejected"), ms(600), Some(ms(400)))];
        assert_eq!(told(&all, secs(9)).await, expected);
        let only_retry = build(Pipeline::builder("users").retry(parts().1));
        let expected = vec![
            (1, false, None, ms(0), None),
            (2, false, Some("bad"), ms(110), None),
            (3, true, Some("bad"), ms(220), None),
        ];
        assert_eq!(told(&only_retry, ms(10)).await, expected);
        let only_total = build(Pipeline::builder("users").timeout(secs(1)));
        assert_eq!(told(&only_total, ms(10)).await, [(1, true, None, ms(0), Some(secs(1)))]);
        let only_attempt = build(Pipeline::builder("users").attempt_timeout(ms(500)));
        let hurried = Deadline::within(ms(300)).scope(told(&only_attempt, ms(10)));
        assert_eq!(hurried.await, [(1, true, None, ms(0), Some(ms(300)))], "the deadline around it counts too");
        assert_eq!(told(&build(Pipeline::builder("users")), ms(10)).await, [(1, true, None, ms(0), None)]);
    }

    /// Also where the wait was set by a hint, and is paid for when it is over.
    #[tokio::test(start_paused = true)]
    async fn p9_an_attempt_after_a_hinted_wait_knows_the_error_before() {
        let hinted = classify_fn(|_: &Answer| Verdict::Transient { retry_after: Some(ms(90)) });
        let retry = RetryWithBackoff::builder("users").max_attempts(2).build().expect("good settings");
        let users = build(Pipeline::builder("users").retry(retry).classify(hinted));
        let mut told = Vec::new();
        let call = users.call_with(|attempt: Attempt<'_, Failure>| {
            told.push(attempt.last_error.cloned());
            ready(Answer::Err(Error::Inner("bad")))
        });
        assert!(call.await.is_err());
        assert_eq!(told, [None, Some(Error::Inner("bad"))]);
    }

    /// A slot that came late leaves less.
    #[tokio::test(start_paused = true)]
    async fn p9_p1_what_is_left_is_counted_from_the_start_of_the_attempt() {
        let users = build(builder());
        let slot = bulkhead(&users).try_acquire().expect("it is free");
        let left = users.call_with(|attempt: Attempt<'_, Failure>| ready(Ok::<_, Failure>(attempt.remaining)));
        let release = async {
            tokio::time::sleep(ms(700)).await;
            drop(slot);
        };
        assert_eq!(futures::future::join(left, release).await.0, Ok(Some(ms(300))));
    }

    /// A pipeline without a limit of its own, as a retry without one, tells what the deadline around it leaves.
    #[tokio::test(start_paused = true)]
    async fn p9_q1_without_a_limit_the_deadline_around_it_is_told() {
        let users = build(Pipeline::builder("users"));
        let retry = RetryWithBackoff::new("users");
        Deadline::within(ms(300))
            .scope(async {
                let left = |attempt: Attempt<'_, Failure>| ready(Ok::<_, Failure>(attempt.remaining));
                assert_eq!(users.call_with(left).await, Ok(Some(ms(300))));
                assert_eq!(retry.call_with(left).await, Ok(Some(ms(300))));
            })
            .await;
    }
}

mod with_a_context {
    use super::*;

    /// A connection that notices if an exchange was broken off.
    #[derive(Debug, Default)]
    struct Connection {
        asked: u32,
        answered: u32,
    }

    impl Connection {
        async fn exchange(&mut self, takes: Duration, answer: Answer) -> Answer {
            self.asked += 1;
            tokio::time::sleep(takes).await;
            self.answered += 1;
            answer
        }

        fn is_in_the_middle(&self) -> bool {
            self.asked != self.answered
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p9_each_attempt_is_lent_the_context_anew() {
        let users = build(builder());
        let mut connection = Connection::default();
        let mut numbers = Vec::new();
        let answer = users
            .call_with_context(&mut connection, |connection, attempt| {
                numbers.push((attempt.number, attempt.is_last, attempt.remaining));
                let answer = if attempt.number == 3 { Ok(7) } else { Err(Error::Inner("bad")) };
                Box::pin(async move { connection.exchange(ms(10), answer).await })
            })
            .await;
        assert_eq!((answer, connection.asked, connection.answered), (Ok(7), 3, 3));
        let left = Some(ms(500));
        assert_eq!(numbers, [(1, false, left), (2, false, left), (3, true, left)]);
    }

    #[tokio::test(start_paused = true)]
    async fn p9_the_context_comes_back_from_an_attempt_that_timed_out() {
        let users = build(builder().timeout(secs(9)));
        let mut connection = Connection::default();
        let mut was_in_the_middle = Vec::new();
        let answer = users
            .call_with_context(&mut connection, |connection: &mut Connection, attempt| {
                was_in_the_middle.push(connection.is_in_the_middle());
                let takes = if attempt.number == 1 { secs(9) } else { ms(10) };
                Box::pin(connection.exchange(takes, Ok(7)))
            })
            .await;
        assert_eq!((answer, connection.asked, connection.answered), (Ok(7), 2, 1));
        assert_eq!(was_in_the_middle, [false, true], "as the docs say: the operation has to look");
    }

    #[tokio::test(start_paused = true)]
    async fn p9_a_call_that_is_dropped_leaves_the_context_to_its_owner_and_holds_nothing() {
        let users = build(builder());
        let mut connection = Connection::default();
        {
            let mut call = Box::pin(
                users.call_with_context(&mut connection, |connection, _| Box::pin(connection.exchange(secs(9), Ok(7)))),
            );
            assert!(poll(&mut call).is_pending());
            assert_eq!(bulkhead(&users).snapshot().in_flight, 1);
        }
        assert_eq!((connection.is_in_the_middle(), bulkhead(&users).snapshot().in_flight), (true, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn p9_g2_a_panic_inside_leaves_the_context_to_its_owner() {
        for starts in [false, true] {
            let users = build(builder());
            let mut connection = Connection::default();
            let call = users.call_with_context(&mut connection, |connection, _| {
                if !starts {
                    resume_unwind(Box::new(Scripted));
                }
                Box::pin(async move {
                    connection.asked += 1;
                    resume_unwind(Box::new(Scripted))
                })
            });
            let call: Pin<Box<dyn Future<Output = Answer>>> = Box::pin(call);
            assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
            assert_eq!((connection.asked, bulkhead(&users).snapshot().in_flight), (u32::from(starts), 0));
            let again =
                users.call_with_context(&mut connection, |connection, _| Box::pin(connection.exchange(ms(1), Ok(7))));
            assert_eq!(again.await, Ok(7));
        }
    }

    /// Unsized, and spawned.
    #[tokio::test(start_paused = true)]
    async fn p9_the_context_may_be_a_trait_object_and_the_call_may_be_spawned() {
        trait Store: Send {
            fn put(&mut self, number: u32) -> u32;
        }
        impl Store for Vec<u32> {
            fn put(&mut self, number: u32) -> u32 {
                self.push(number);
                self.iter().sum()
            }
        }
        let users = build(builder());
        let call = tokio::spawn(async move {
            let mut store: Box<dyn Store> = Box::new(vec![1]);
            let text = String::from("seven");
            let call = users.call_with_context(&mut *store, |store, _| {
                let sum = store.put(text.len() as u32);
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    Ok::<_, Failure>(sum)
                })
            });
            call.await
        });
        assert_eq!(call.await.expect("no panic"), Ok(6));
    }
}

mod in_tower {
    use super::*;

    /// Counts its clones, and which instance was readied and called how often.
    struct Counted {
        counts: Arc<Counts>,
        number: usize,
        is_ready: bool,
        /// What becomes of its readiness.
        readiness: fn() -> Poll<Result<(), Failure>>,
    }

    #[derive(Default)]
    struct Counts {
        clones: AtomicUsize,
        readied: Mutex<Vec<usize>>,
        called: Mutex<Vec<usize>>,
    }

    impl Counted {
        fn new(readiness: fn() -> Poll<Result<(), Failure>>) -> (Self, Arc<Counts>) {
            let counts = Arc::<Counts>::default();
            (Self { counts: counts.clone(), number: 0, is_ready: false, readiness }, counts)
        }
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            let number = self.counts.clones.fetch_add(1, SeqCst) + 1;
            Self { counts: self.counts.clone(), number, is_ready: false, readiness: self.readiness }
        }
    }

    impl Service<Op> for Counted {
        type Response = u32;
        type Error = Failure;
        type Future = futures::future::BoxFuture<'static, Answer>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            self.counts.readied.lock().expect("no panic").push(self.number);
            let readied = (self.readiness)();
            self.is_ready = matches!(readied, Poll::Ready(Ok(())));
            readied
        }

        fn call(&mut self, op: Op) -> Self::Future {
            assert!(std::mem::take(&mut self.is_ready), "called an instance that was not ready");
            self.counts.called.lock().expect("no panic").push(self.number);
            op()
        }
    }

    fn counts(counts: &Counts) -> (usize, Vec<usize>, Vec<usize>) {
        let take = |numbers: &Mutex<Vec<usize>>| std::mem::take(&mut *numbers.lock().expect("no panic"));
        (counts.clones.load(SeqCst), take(&counts.readied), take(&counts.called))
    }

    #[tokio::test(start_paused = true)]
    async fn p6_the_inner_service_is_cloned_once_a_call_and_readied_for_each_attempt() {
        let (inner, seen) = Counted::new(|| Poll::Ready(Ok(())));
        let mut service = build(builder()).layer().layer(inner);
        assert_eq!(service.ready().await.expect("always ready").call(fail_times(2).0).await, Ok(1));
        assert_eq!(counts(&seen), (1, vec![1, 1, 1], vec![1, 1, 1]));
        assert_eq!(service.ready().await.expect("always ready").call(succeed()).await, Ok(1));
        assert_eq!(counts(&seen), (2, vec![2], vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn p6_the_service_is_always_ready_and_asks_nobody() {
        let (inner, seen) = Counted::new(|| Poll::Pending);
        let pipeline = build(builder());
        let mut service = pipeline.layer().layer(inner);
        breaker(&pipeline).force_open();
        let _slot = bulkhead(&pipeline).try_acquire().expect("it is free");
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(Service::<Op>::poll_ready(&mut service, &mut cx), Poll::Ready(Ok(()))));
        assert_eq!(counts(&seen), (0, vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn p6_p1_the_wait_for_readiness_is_inside_of_the_total_and_was_not_started() {
        let (inner, _) = Counted::new(|| Poll::Pending);
        let pipeline = build(builder());
        let start = Instant::now();
        let answer = pipeline.layer().layer(inner).oneshot(succeed()).await;
        assert_eq!(said(answer), ("`users` was not started within 1s".into(), false));
        assert_eq!(start.elapsed(), secs(1));
        assert_eq!(bulkhead(&pipeline).snapshot().in_flight, 0);
    }

    /// Ready for one call, over all clones.
    #[derive(Clone)]
    struct ReadyOnce {
        calls: Arc<AtomicUsize>,
        then: fn() -> Poll<Result<(), Failure>>,
    }

    impl Service<Op> for ReadyOnce {
        type Response = u32;
        type Error = Failure;
        type Future = futures::future::BoxFuture<'static, Answer>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            if self.calls.load(SeqCst) == 0 { Poll::Ready(Ok(())) } else { (self.then)() }
        }

        fn call(&mut self, op: Op) -> Self::Future {
            self.calls.fetch_add(1, SeqCst);
            op()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p6_r8_a_later_readiness_error_ends_the_call_and_says_what_was_sent() {
        let (budget, log) = (RetryBudget::new(5), Log::<RetryEvent>::new());
        let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).budget(&budget);
        let retry = retry.listener_fn(log.listener()).build().expect("good settings");
        let pipeline = build(builder().retry(retry));
        let full = || Poll::Ready(Err(Error::Rejected(withstand::BulkheadFull::new("below", 1, None).into())));
        let once = ReadyOnce { calls: Arc::default(), then: full };
        let rejection = rejected(pipeline.layer().layer(once).oneshot(fail()).await).expect("the readiness error");
        assert_eq!((rejection.attempts_sent(), rejection.was_started()), (1, true));
        assert_eq!(budget.available(), 5.0, "nothing was sent for the token");
        let told = log.take();
        assert!(matches!(told[..], [_, RetryEvent::GaveUp { reason: GaveUp::NotReady, attempts: 1, .. }]), "{told:?}");
    }

    /// Of a later attempt, and of a call that had to wait for its slot.
    #[tokio::test(start_paused = true)]
    async fn p6_p1_a_later_wait_for_readiness_is_inside_of_the_total_too() {
        let (budget, left) = (RetryBudget::new(5), Arc::new(Mutex::new(Vec::new())));
        let (noted, seen) = (left.clone(), budget.clone());
        let note = move |_: &withstand::TimeoutEvent| noted.lock().expect("no panic").push(seen.available());
        let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).budget(&budget);
        let builder = builder().retry(retry.build().expect("good settings"));
        let pipeline = build(builder.timeout(Timeout::new(secs(1)).listener_fn(note)));
        let once = ReadyOnce { calls: Arc::default(), then: || Poll::Pending };
        let service = pipeline.layer().layer(once);
        let start = Instant::now();
        let call = tokio::time::timeout(secs(9), service.clone().oneshot(fail()));
        let answer = call.await.expect("it ends");
        assert_eq!((said(answer), start.elapsed()), (("`users` took longer than 1s".into(), true), secs(1)));
        assert_eq!(*left.lock().expect("no panic"), [5.0], "nothing was sent for the token, so it was back by then");
        let slot = bulkhead(&pipeline).try_acquire().expect("it is free");
        let start = Instant::now();
        let release = async {
            tokio::time::sleep(ms(500)).await;
            drop(slot);
        };
        let (answer, ()) = futures::future::join(service.oneshot(succeed()), release).await;
        assert_eq!((said(answer), start.elapsed()), (("`users` was not started within 1s".into(), false), secs(1)));
        assert_eq!(bulkhead(&pipeline).snapshot().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p6_g7_a_readiness_error_passes_through_and_counts_as_one_call() {
        let (inner, seen) = Counted::new(|| Poll::Ready(Err(Error::Inner("unready"))));
        let rate = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(9)).build().expect("good settings");
        let pipeline = build(builder().circuit_breaker(rate));
        let answer = pipeline.layer().layer(inner).oneshot(succeed()).await;
        assert_eq!(answer, Err(Error::Inner("unready")));
        let failures = breaker(&pipeline).snapshot().counts.failures;
        assert_eq!((failures.total, failures.count), (1, 1));
        assert_eq!(counts(&seen), (1, vec![1], vec![]), "and no other attempt follows");
        assert_eq!(bulkhead(&pipeline).snapshot().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p6_nobody_waits_for_readiness_where_the_circuit_would_reject_the_attempt() {
        let (inner, seen) = Counted::new(|| Poll::Pending);
        let pipeline = build(builder());
        breaker(&pipeline).force_open();
        let start = Instant::now();
        let answer = pipeline.layer().layer(inner).oneshot(succeed()).await;
        assert!(matches!(rejected(answer), Some(Rejected::CircuitOpen(_))));
        assert_eq!((start.elapsed(), counts(&seen)), (Duration::ZERO, (1, vec![], vec![])));
    }

    #[tokio::test(start_paused = true)]
    async fn p6_r7_requests_are_copied_as_the_layer_was_told() {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = requests.clone();
        let inner = service_fn(move |request: u32| {
            noted.lock().expect("no panic").push(request);
            ready(Err::<u32, BoxError>("bad".into()))
        });
        let sent = || std::mem::take(&mut *requests.lock().expect("no panic")).len();
        let layer = build(builder()).layer();
        let only_even = |request: &u32| (request % 2 == 0).then_some(*request);
        let even = layer.clone().clone_request_fn(only_even).layer(inner.clone());
        for (request, times) in [(2, 3), (3, 1)] {
            assert!(even.clone().oneshot(request).await.is_err());
            assert_eq!(sent(), times, "{request}");
        }
        let by_path: fn(&u32) -> Option<u32> = |_| None;
        assert!(layer.clone().clone_request(by_path).layer(inner.clone()).oneshot(2).await.is_err());
        assert_eq!(sent(), 1);
        assert!(layer.clone().send_once().layer(inner.clone()).oneshot(2).await.is_err());
        assert_eq!(sent(), 1);
        assert!(layer.layer(inner).oneshot(2).await.is_err());
        assert_eq!(sent(), 3);
    }

    /// What cannot be copied at all.
    #[tokio::test(start_paused = true)]
    async fn p6_send_once_asks_nothing_of_the_request() {
        struct Body;
        let inner = service_fn(|_: Body| ready(Ok::<_, BoxError>(7)));
        assert_eq!(build(builder()).layer().send_once().layer(inner).oneshot(Body).await.expect("it answers"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn p6_f1_what_was_extracted_from_the_request_reaches_the_fallback() {
        let fallback = Fallback::from_request_fn(|id: u32, _: BoxError| Ok::<_, BoxError>(format!("user {id}")));
        let users = build(builder().fallback(fallback)).layer().extract_fn(|id: &u32| *id + 100);
        let inner = service_fn(|_: u32| ready(Err::<String, BoxError>("down".into())));
        let (plain, once) = (users.layer(inner), users.clone().send_once().layer(inner));
        assert_eq!(plain.oneshot(7).await.expect("it answers"), "user 107");
        assert_eq!(once.oneshot(8).await.expect("it answers"), "user 108");
    }

    #[tokio::test(start_paused = true)]
    async fn p6_f1_a_second_service_is_sent_a_copy_of_what_failed() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (noted, noted_too) = (sent.clone(), sent.clone());
        let inner = service_fn(move |id: u32| {
            noted.lock().expect("no panic").push(("first", id));
            ready(if id < 10 { Ok(id) } else { Err::<u32, BoxError>("down".into()) })
        });
        let replica = service_fn(move |id: u32| {
            noted_too.lock().expect("no panic").push(("second", id));
            async move { Deadline::remaining().is_none().then_some(100 + id).ok_or_else(|| "in the total".into()) }
        });
        let users = build(builder().fallback(Fallback::service(replica).named("users")));
        let even = |request: &u32| (request % 2 == 0).then_some(*request);
        let (every, even) = (users.layer().layer(inner.clone()), users.layer().clone_request_fn(even).layer(inner));
        let sent = || std::mem::take(&mut *sent.lock().expect("no panic"));
        assert_eq!(every.clone().oneshot(7).await.expect("it answers"), 7);
        assert_eq!(sent(), [("first", 7)]);
        for service in [every.clone().boxed_clone(), even.clone().boxed_clone()] {
            assert_eq!(service.oneshot(20).await.expect("it answers"), 120);
            assert_eq!(sent(), [("first", 20), ("first", 20), ("first", 20), ("second", 20)]);
        }
        assert_eq!(even.oneshot(21).await.expect_err("no copy, no fallback").to_string(), "down");
        assert_eq!(sent(), [("first", 21)]);
        // An open circuit sends nothing to the first one.
        breaker(&users).force_open();
        let call = tokio::spawn(every.oneshot(7));
        assert_eq!(call.await.expect("no panic").expect("it answers"), 107);
        assert_eq!(sent(), [("second", 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn p4_all_services_of_a_layer_share_the_parts() {
        let pipeline = build(builder().bulkhead(Bulkhead::new("users", 1)));
        let layer = pipeline.layer();
        let (mut one, mut other) = (layer.layer(Perform::default()), layer.clone().layer(Perform::default()));
        let _running = one.ready().await.expect("ready").call(hang());
        let answer = other.ready().await.expect("ready").call(succeed()).await;
        assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
        let shown = format!("{layer:?} {:?}", layer.layer(service_fn(|_: u32| ready(Ok::<_, BoxError>(1)))));
        assert!(shown.contains("users"), "{shown}");
    }
}

/// Where it is kept in a struct, its type can be written.
#[test]
fn p4_its_type_can_be_named() {
    struct Users {
        plain: Pipeline,
        judged: Pipeline<withstand::ClassifyFn<fn(&Answer) -> Verdict>, Fallback<withstand::fallback::Value<u32>>>,
        only_judged: Pipeline<withstand::ClassifyFn<fn(&Answer) -> Verdict>, NoFallback>,
    }
    let judge: withstand::ClassifyFn<fn(&Answer) -> Verdict> = classify_fn(judge as fn(&Answer) -> Verdict);
    assert_eq!(judge.classify(&Ok(1)), Verdict::Healthy);
    let users = Users {
        plain: build(builder()),
        judged: build(builder().classify(judge).fallback(Fallback::value(7))),
        only_judged: build(builder().classify(judge)),
    };
    assert_eq!([users.plain.name(), users.judged.name(), users.only_judged.name()], ["users"; 3]);
}
