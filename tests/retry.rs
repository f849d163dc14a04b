//! The retry's laws, R1 to R7, and what G1 to G7 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    cell::RefCell,
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt;
use support::*;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, Error, RetryBudget, RetryBuilder, RetryEvent, RetryWithBackoff, Verdict,
    classify_fn,
    retry::{Attempt, Constant, Exponential, GaveUp, Jitter},
};

both_ways! {
    r1_max_attempts_counts_the_first_try,
    r1_the_last_result_is_returned_unchanged,
    r2_delays_double_up_to_their_cap,
    r2_a_backoff_that_ends_ends_the_retry,
    r2_with_a_seed_the_nth_calls_delays_depend_on_these_two_alone,
    r2_without_a_seed_no_two_calls_share_a_sequence,
    r3_waits_the_longer_of_hint_and_backoff,
    r3_a_hint_above_its_cap_ends_the_retry,
    r3_a_sleep_that_would_pass_the_deadline_is_not_begun,
    r3_no_sleep_passes_the_deadline_though_a_listener_takes_its_time,
    r3_the_deadline_cuts_no_try_short,
    r4_zero_delay_means_no_sleep_at_all,
    r4_after_32_tries_without_a_pending_poll_it_yields_once,
    r5_a_retry_takes_a_token_and_gives_it_back_if_it_succeeds,
    r5_a_first_try_that_succeeds_adds_a_tenth_and_the_bucket_never_overflows,
    r5_an_empty_bucket_ends_the_retry,
    r5_a_token_comes_back_when_our_own_breaker_rejects_the_try,
    r5_a_token_comes_back_when_the_call_is_dropped_while_it_sleeps,
    r5_a_token_is_lost_when_the_call_is_dropped_while_its_try_runs,
    r5_clones_and_siblings_share_one_budget,
    r6_our_own_rejections_are_not_retried,
    g0_the_first_try_starts_in_the_call,
    g1_a_dropped_call_drops_its_try,
    g2_a_panicking_try_counts_as_dropped,
    g5_it_reports_retries_and_why_it_gave_up,
    only_transient_results_are_tried_again,
}

/// Three tries, a second apart.
fn each_second() -> RetryBuilder<withstand::ByError> {
    RetryWithBackoff::builder("users").backoff(Constant::new(secs(1)))
}

fn at_once() -> RetryBuilder<withstand::ByError> {
    RetryWithBackoff::builder("users").no_backoff()
}

/// Fails always, and notes when it was started.
fn timed() -> (Op, Arc<Mutex<Vec<Duration>>>) {
    let (origin, starts) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let noted = starts.clone();
    let failing = op(move || {
        noted.lock().expect("no panic").push(origin.elapsed());
        ready(Err(Error::Inner("bad")))
    });
    (failing, starts)
}

async fn starts_of(retry: &impl Policy, door: Way) -> Vec<Duration> {
    let (failing, starts) = timed();
    assert!(retry.through(door, &failing).await.is_err());
    drop(failing);
    Arc::try_unwrap(starts).expect("the call is over").into_inner().expect("no panic")
}

async fn r1_max_attempts_counts_the_first_try(door: Way) {
    for attempts in [1, 2, 5] {
        let retry = at_once().max_attempts(attempts).build().expect("good settings");
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(door, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), attempts as usize);
    }
    let endless = at_once().max_attempts(u32::MAX).no_budget().build().expect("good settings");
    let (flaky, starts) = fail_times(1000);
    assert!(endless.through(door, &flaky).await.is_ok());
    assert_eq!(starts.load(SeqCst), 1001);
}

async fn r1_the_last_result_is_returned_unchanged(door: Way) {
    let retry = at_once().build().expect("good settings");
    let numbered = Arc::new(AtomicUsize::new(0));
    let failing = op(move || ready(Err(Error::Inner(["first", "second", "third"][numbered.fetch_add(1, SeqCst)]))));
    assert_eq!(retry.through(door, &failing).await, Err(Error::Inner("third")));
    let judge = |_: &Answer| Verdict::TRANSIENT;
    assert_eq!(retry.classify(classify_fn(judge)).through(door, &succeed()).await, Ok(1));
}

async fn r2_delays_double_up_to_their_cap(door: Way) {
    let backoff = Exponential::new(secs(1), secs(4)).jitter(Jitter::None);
    let retry = RetryWithBackoff::builder("users").backoff(backoff).max_attempts(5).build().expect("good settings");
    assert_eq!(starts_of(&retry, door).await, [0, 1, 3, 7, 11].map(secs));
}

async fn r2_a_backoff_that_ends_ends_the_retry(door: Way) {
    let retry = RetryWithBackoff::builder("users").backoff_fn(|| [secs(2)]).max_attempts(9).build();
    assert_eq!(starts_of(&retry.expect("good settings"), door).await, [0, 2].map(secs));
}

async fn r2_with_a_seed_the_nth_calls_delays_depend_on_these_two_alone(door: Way) {
    let sequences = async |seed| {
        let retry = RetryWithBackoff::builder("users").seed(seed).build().expect("good settings");
        let mut sequences = Vec::new();
        for _ in 0..3 {
            sequences.push(starts_of(&retry, door).await);
            assert!(retry.through(door, &succeed()).await.is_ok());
        }
        sequences
    };
    let first = sequences(7).await;
    assert_eq!(first, sequences(7).await);
    assert_ne!(first, sequences(8).await);
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    let interleaved = RetryWithBackoff::builder("users").seed(7).build().expect("good settings");
    let (second, third) = (timed(), timed());
    let calls = [&second.0, &third.0].map(|failing| interleaved.through(door, failing));
    futures::future::join_all(calls).await;
    assert_eq!(*second.1.lock().expect("no panic"), first[0], "whatever runs beside it");
}

async fn r2_without_a_seed_no_two_calls_share_a_sequence(door: Way) {
    let log = Log::new();
    let builder = RetryWithBackoff::builder("users").no_budget().listener_fn(log.listener());
    let retry = builder.build().expect("good settings");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        assert!(retry.through(door, &fail()).await.is_err());
        let delays = log.take().into_iter().filter_map(|event| match event {
            RetryEvent::Retrying { delay, .. } => Some(delay),
            _ => None,
        });
        assert!(seen.insert(delays.collect::<Vec<_>>()), "to the nanosecond");
    }
}

fn hinting(hint: Duration) -> impl Fn(&Answer) -> Verdict + Clone + Send + Sync {
    move |answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Transient { retry_after: Some(hint) },
    }
}

async fn r3_waits_the_longer_of_hint_and_backoff(door: Way) {
    for (hint, waits) in [(ms(10), secs(1)), (secs(5), secs(5)), (secs(30), secs(30))] {
        let retry = each_second().max_attempts(2).build().expect("good settings").classify(classify_fn(hinting(hint)));
        assert_eq!(starts_of(&retry, door).await, [Duration::ZERO, waits]);
    }
}

async fn r3_a_hint_above_its_cap_ends_the_retry(door: Way) {
    for hint in [secs(30) + ms(1), Duration::MAX] {
        let retry = each_second().build().expect("good settings").classify(classify_fn(hinting(hint)));
        assert_eq!(starts_of(&retry, door).await, [Duration::ZERO]);
    }
    let longer = each_second().max_retry_after(secs(60)).build().expect("good settings");
    let retry = longer.classify(classify_fn(hinting(secs(60))));
    assert_eq!(starts_of(&retry, door).await, [0, 60, 120].map(secs));
}

async fn r3_a_sleep_that_would_pass_the_deadline_is_not_begun(door: Way) {
    for (deadline, tries) in [(ms(999), 1), (secs(1), 2), (ms(1999), 2), (secs(2), 3), (Duration::MAX, 3)] {
        let retry = each_second().deadline(deadline).build().expect("good settings");
        let start = Instant::now();
        assert_eq!(starts_of(&retry, door).await.len(), tries, "{deadline:?}");
        assert_eq!(start.elapsed(), secs(tries as u64 - 1), "no sleep was begun in vain");
    }
}

async fn r3_no_sleep_passes_the_deadline_though_a_listener_takes_its_time(door: Way) {
    let slow = |_: &RetryEvent| {
        let _ = pass(ms(500)).now_or_never();
    };
    let retry = each_second().max_attempts(2).deadline(secs(1)).listener_fn(slow).build().expect("good settings");
    let start = Instant::now();
    assert_eq!(starts_of(&retry, door).await.len(), 2);
    assert!(
        start.elapsed() < secs(2),
        "the second try began at the deadline, not {:?} after the call",
        start.elapsed()
    );
}

async fn r3_the_deadline_cuts_no_try_short(door: Way) {
    let retry = each_second().deadline(secs(1)).build().expect("good settings");
    assert!(retry.through(door, &succeed_after(secs(60))).await.is_ok());
}

async fn r4_zero_delay_means_no_sleep_at_all(door: Way) {
    let (flaky, starts) = fail_times(2);
    let retry = at_once().build().expect("good settings");
    let mut call = retry.through(door, &flaky);
    assert!(poll(&mut call).is_ready(), "in one poll");
    assert_eq!(starts.load(SeqCst), 3);
}

async fn r4_after_32_tries_without_a_pending_poll_it_yields_once(door: Way) {
    let (failing, starts) = fail_times(1000);
    let retry = at_once().max_attempts(u32::MAX).no_budget().build().expect("good settings");
    let mut call = retry.through(door, &failing);
    for polls in 1..=3 {
        assert!(poll(&mut call).is_pending());
        assert_eq!(starts.load(SeqCst), 32 * polls);
    }
    let others_turn = tokio::time::timeout(Duration::ZERO, call).await;
    assert!(others_turn.is_err(), "it wakes itself, and a timeout beside it gets its turn");
}

async fn r5_a_retry_takes_a_token_and_gives_it_back_if_it_succeeds(door: Way) {
    let budget = RetryBudget::new(5);
    let retry = each_second().budget(&budget).build().expect("good settings");
    let (flaky, _) = fail_times(1);
    let mut call = retry.through(door, &flaky);
    assert!(poll(&mut call).is_pending());
    assert_eq!(budget.available(), 4.0, "paid before the sleep");
    assert!(call.await.is_ok());
    assert_eq!(budget.available(), 5.0);
    assert!(retry.through(door, &fail()).await.is_err());
    assert_eq!(budget.available(), 3.0, "two retries that failed");
    let (flaky, _) = fail_times(2);
    assert!(retry.through(door, &flaky).await.is_ok());
    assert_eq!(budget.available(), 2.0, "one that failed, one that succeeded");
}

async fn r5_a_first_try_that_succeeds_adds_a_tenth_and_the_bucket_never_overflows(door: Way) {
    let budget = RetryBudget::new(2);
    let retry = at_once().budget(&budget).build().expect("good settings");
    assert!(retry.through(door, &fail()).await.is_err());
    assert_eq!(budget.available(), 0.0);
    for tenths in 1..=30 {
        assert!(retry.through(door, &succeed()).await.is_ok());
        assert_eq!(budget.available(), f64::from(tenths.min(20)) / 10.0);
    }
}

async fn r5_an_empty_bucket_ends_the_retry(door: Way) {
    let retry = at_once().max_attempts(11).build().expect("good settings");
    let count = async || {
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(door, &failing).await.is_err());
        starts.load(SeqCst)
    };
    assert_eq!(count().await, 11, "ten tokens by default");
    assert_eq!(count().await, 1);
    for _ in 0..9 {
        assert!(retry.through(door, &succeed()).await.is_ok());
    }
    assert_eq!(count().await, 1, "nine tenths do not pay for it");
    assert!(retry.through(door, &succeed()).await.is_ok());
    assert_eq!(count().await, 2);
}

/// Fails once, then our own breaker rejects.
fn then_rejected() -> (Op, Arc<AtomicUsize>) {
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let answers = op(move || {
        let first = counted.fetch_add(1, SeqCst) == 0;
        let rejection = Error::from_rejected(breaker.try_acquire().expect_err("it is open"));
        ready(Err(if first { Error::Inner("bad") } else { rejection }))
    });
    (answers, starts)
}

async fn r5_a_token_comes_back_when_our_own_breaker_rejects_the_try(door: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let (answers, starts) = then_rejected();
    assert!(rejected(retry.through(door, &answers).await).is_some());
    assert_eq!((starts.load(SeqCst), budget.available()), (2, 5.0));
}

async fn r5_a_token_comes_back_when_the_call_is_dropped_while_it_sleeps(door: Way) {
    let budget = RetryBudget::new(5);
    let retry = each_second().budget(&budget).build().expect("good settings");
    let fail = fail();
    let mut call = retry.through(door, &fail);
    assert!(poll(&mut call).is_pending());
    assert_eq!(budget.available(), 4.0);
    drop(call);
    assert_eq!(budget.available(), 5.0);
}

async fn r5_a_token_is_lost_when_the_call_is_dropped_while_its_try_runs(door: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let starts = AtomicUsize::new(0);
    let fails_then_hangs = op(move || {
        let first = starts.fetch_add(1, SeqCst) == 0;
        async move { if first { Err(Error::Inner("bad")) } else { pending().await } }
    });
    let mut call = retry.through(door, &fails_then_hangs);
    assert!(poll(&mut call).is_pending());
    drop(call);
    assert_eq!(budget.available(), 4.0);
}

async fn r5_clones_and_siblings_share_one_budget(door: Way) {
    let retry = at_once().max_attempts(11).build().expect("good settings");
    let sibling = retry.classify(classify_fn(|answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::TRANSIENT,
    }));
    assert!(retry.clone().through(door, &fail()).await.is_err());
    let (failing, starts) = fail_times(usize::MAX);
    assert!(sibling.through(door, &failing).await.is_err());
    assert_eq!(starts.load(SeqCst), 1, "the clone has emptied it");
}

async fn r6_our_own_rejections_are_not_retried(door: Way) {
    let (breaker, bulkhead) = (CircuitBreaker::new("users"), Bulkhead::new("users", 0));
    breaker.force_open();
    let rejections: [Box<dyn Fn() -> withstand::Rejected + Send + Sync>; 2] = [
        Box::new(move || breaker.try_acquire().expect_err("it is open")),
        Box::new(move || bulkhead.try_acquire().expect_err("it is full")),
    ];
    for reject in rejections {
        let budget = RetryBudget::new(5);
        let retry = each_second().budget(&budget).build().expect("good settings");
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = starts.clone();
        let rejecting = op(move || {
            counted.fetch_add(1, SeqCst);
            ready(Err(Error::from_rejected(reject())))
        });
        let start = Instant::now();
        assert!(rejected(retry.through(door, &rejecting).await).is_some());
        assert_eq!((starts.load(SeqCst), budget.available(), start.elapsed()), (1, 5.0, Duration::ZERO));
    }
}

async fn g0_the_first_try_starts_in_the_call(door: Way) {
    let (flaky, starts) = fail_times(1);
    let retry = at_once().build().expect("good settings");
    let call = retry.through(door, &flaky);
    assert_eq!(starts.load(SeqCst), 1);
    assert!(call.await.is_ok());
}

async fn g1_a_dropped_call_drops_its_try(door: Way) {
    let alive = Arc::new(());
    let hang = hang_holding(&alive);
    let retry = at_once().build().expect("good settings");
    let mut call = retry.through(door, &hang);
    assert!(poll(&mut call).is_pending());
    drop((call, hang));
    assert_eq!(Arc::strong_count(&alive), 1);
}

async fn g2_a_panicking_try_counts_as_dropped(door: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let panicking = retry.clone();
    let starts = AtomicUsize::new(0);
    let fails_then_panics = op(move || {
        let first = starts.fetch_add(1, SeqCst) == 0;
        async move { if first { Err(Error::Inner("bad")) } else { panic!("second try") } }
    });
    assert!(tokio::spawn(async move { panicking.through(door, &fails_then_panics).await }).await.is_err());
    assert_eq!(budget.available(), 4.0, "it had been sent");
    let (flaky, _) = fail_times(2);
    assert!(retry.through(door, &flaky).await.is_ok());
}

async fn g5_it_reports_retries_and_why_it_gave_up(door: Way) {
    let told = async |retry: &dyn Policy, log: &Log<RetryEvent>, op: &Op| {
        let _ = retry.through(door, op).await;
        let brief = |event| match event {
            RetryEvent::Retrying { attempt, delay, .. } => Err((attempt, delay)),
            RetryEvent::GaveUp { attempts, reason, .. } => Ok((attempts, reason)),
            _ => unreachable!("there are two kinds"),
        };
        log.take().into_iter().map(brief).collect::<Vec<_>>()
    };
    let log = Log::new();
    let spent = each_second().listener_fn(log.listener()).max_attempts(2).build().expect("good settings");
    let events = told(&spent, &log, &fail()).await;
    assert_eq!(events, [Err((1, secs(1))), Ok((2, GaveUp::AttemptsSpent))]);
    assert_eq!(told(&spent, &log, &succeed()).await, []);
    let broke = each_second().listener_fn(log.listener()).budget(&RetryBudget::new(0)).build().expect("good settings");
    assert_eq!(told(&broke, &log, &fail()).await, [Ok((1, GaveUp::BudgetSpent))]);
    let late = each_second().listener_fn(log.listener()).deadline(ms(1)).build().expect("good settings");
    assert_eq!(told(&late, &log, &fail()).await, [Ok((1, GaveUp::DeadlinePassed))]);
    let brief = RetryWithBackoff::builder("users").listener_fn(log.listener()).backoff_fn(Vec::new).build();
    assert_eq!(told(&brief.expect("good settings"), &log, &fail()).await, [Ok((1, GaveUp::BackoffEnded))]);
    let asked = each_second().listener_fn(log.listener()).build().expect("good settings");
    let asked = asked.classify(classify_fn(hinting(secs(31))));
    assert_eq!(told(&asked, &log, &fail()).await, [Ok((1, GaveUp::RetryAfterTooLong))]);
    assert_eq!(GaveUp::BudgetSpent.to_string(), "budget spent", "as it is traced");
}

async fn only_transient_results_are_tried_again(door: Way) {
    let verdicts = [(Verdict::Healthy, 1), (Verdict::Failed, 1), (Verdict::Ignored, 1), (Verdict::TRANSIENT, 3)];
    for (verdict, tries) in verdicts {
        let retry = at_once().build().expect("good settings").classify(classify_fn(move |_: &Answer| verdict));
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(door, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), tries, "{verdict:?}");
    }
}

#[tokio::test]
async fn r4_delays_that_are_over_before_they_are_slept_yield_too() {
    // On the real clock a nanosecond has passed by the time it is looked at; nothing here waits for it.
    for nanos in [|_: u64| 1, |number| u64::from(number == 32)] {
        let delays = move || (1..).map(move |number| Duration::from_nanos(nanos(number)));
        let builder = RetryWithBackoff::builder("users").max_attempts(100_000).no_budget().backoff_fn(delays);
        let retry = builder.build().expect("good settings");
        let (failing, starts) = fail_times(usize::MAX);
        let mut call = retry.through(Way::Plain, &failing);
        assert!(poll(&mut call).is_pending());
        assert!(starts.load(SeqCst) <= 64, "{} tries in one poll", starts.load(SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn r7_a_call_that_is_over_keeps_neither_its_request_nor_a_service() {
    let (request, service) = (Arc::new(()), Arc::new(()));
    let held = service.clone();
    let inner = service_fn(move |_: Arc<()>| {
        let _held = &held;
        ready(Ok::<_, BoxError>(()))
    });
    let mut call = Box::pin(RetryWithBackoff::new("users").layer().layer(inner).call(request.clone()));
    assert!(poll(&mut call).is_ready());
    assert_eq!((Arc::strong_count(&request), Arc::strong_count(&service)), (1, 1), "though the call is kept");
}

#[tokio::test(start_paused = true)]
async fn r5_the_budget_of_a_retry_can_be_asked() {
    let retry = at_once().build().expect("good settings");
    assert!(retry.through(Way::Plain, &fail()).await.is_err());
    assert_eq!(retry.budget().map(RetryBudget::available), Some(8.0));
    assert!(at_once().no_budget().build().expect("good settings").budget().is_none());
}

#[tokio::test(start_paused = true)]
async fn call_with_tells_each_try_its_number_the_last_error_and_the_time() {
    let retry = each_second().build().expect("good settings");
    let seen = RefCell::new(Vec::new());
    let last = retry
        .call_with(|attempt: Attempt<'_, Failure>| {
            let error = attempt.last_error.map(ToString::to_string);
            seen.borrow_mut().push((attempt.number, error, attempt.elapsed));
            ready(if attempt.number == 2 { Err(Error::Inner("second")) } else { Answer::Err(Error::Inner("other")) })
        })
        .await;
    assert_eq!(last, Err(Error::Inner("other")));
    let expected =
        [(1, None, secs(0)), (2, Some("other".to_owned()), secs(1)), (3, Some("second".to_owned()), secs(2))];
    assert_eq!(*seen.borrow(), expected);
}

/// A request that counts its clones, and drops of its answer.
#[derive(Debug)]
struct Counted {
    clones: Arc<AtomicUsize>,
    is_original: bool,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, SeqCst);
        Self { clones: self.clones.clone(), is_original: false }
    }
}

#[tokio::test(start_paused = true)]
async fn r7_at_most_max_attempts_minus_one_clones_and_the_last_try_sends_the_original() {
    for (failures, attempts, clones, originals) in
        [(0, 3, 1, 0), (1, 3, 2, 0), (2, 3, 2, 1), (9, 3, 2, 1), (0, 1, 0, 1), (9, 1, 0, 1)]
    {
        let (sent, original) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seen = original.clone();
        let inner = service_fn(move |request: Counted| {
            seen.fetch_add(usize::from(request.is_original), SeqCst);
            let failed = sent.fetch_add(1, SeqCst) < failures;
            ready(if failed { Err(BoxError::from("bad")) } else { Ok(()) })
        });
        let retry = at_once().max_attempts(attempts).build().expect("good settings");
        let counted = Arc::new(AtomicUsize::new(0));
        let request = Counted { clones: counted.clone(), is_original: true };
        let _ = ServiceBuilder::new().layer(retry.layer()).service(inner).oneshot(request).await;
        let what = format!("{failures} failures, {attempts} attempts");
        assert_eq!((counted.load(SeqCst), original.load(SeqCst)), (clones, originals), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn r7_a_request_that_declines_to_be_cloned_is_sent_once() {
    let log = Log::new();
    let retry = at_once().listener_fn(log.listener()).build().expect("good settings");
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let inner = service_fn(move |_: u32| {
        counted.fetch_add(1, SeqCst);
        ready(Err::<(), _>(BoxError::from("bad")))
    });
    let only_even = |request: &u32| (request % 2 == 0).then_some(*request);
    let by_closure = retry.layer().clone_request_fn(only_even).layer(inner.clone());
    assert!(by_closure.clone().oneshot(1).await.is_err());
    assert_eq!(sent.swap(0, SeqCst), 1);
    assert!(matches!(log.take()[..], [RetryEvent::GaveUp { reason: GaveUp::NotRepeatable, .. }]));
    assert!(by_closure.oneshot(2).await.is_err());
    assert_eq!(sent.swap(0, SeqCst), 3);
    let by_function = retry.layer().clone_request(only_even).layer(inner);
    assert!(by_function.clone().oneshot(1).await.is_err());
    assert_eq!(sent.swap(0, SeqCst), 1);
    assert!(by_function.oneshot(2).await.is_err());
    assert_eq!(sent.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn r7_a_failed_response_is_dropped_before_the_sleep() {
    let alive = Arc::new(());
    let held = alive.clone();
    let judge = classify_fn(|_: &Result<Arc<()>, Failure>| Verdict::TRANSIENT);
    let retry = each_second().build().expect("good settings").classify(judge);
    let inner = service_fn(move |_: u32| ready(Ok::<_, Failure>(held.clone())));
    let mut call = Box::pin(retry.layer().layer(inner).call(1));
    assert!(poll(&mut call).is_pending());
    assert_eq!(Arc::strong_count(&alive), 2, "one here, one in the service, none in an answer");
}

#[tokio::test(start_paused = true)]
async fn g7_each_further_try_readies_its_instance_again() {
    let retry = each_second().build().expect("good settings");
    let (flaky, starts) = fail_times(2);
    // `Perform` panics when it is called without having been ready, and a clone of it starts unready.
    assert!(retry.layer().layer(Perform::default()).oneshot(flaky).await.is_ok());
    assert_eq!(starts.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn g7_over_a_concurrency_limit_of_one_it_does_not_deadlock() {
    let retry = each_second().build().expect("good settings");
    let limited = tower::limit::ConcurrencyLimit::new(Perform::default(), 1);
    let service = retry.layer().layer(limited);
    let calls = (0..3).map(|_| service.clone().oneshot(fail_times(2).0));
    let answers = tokio::time::timeout(secs(60), futures::future::join_all(calls)).await.expect("no deadlock");
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn g7_a_handle_kept_ready_without_a_call_starves_its_own_retry() {
    let retry = each_second().build().expect("good settings");
    let mut service = retry.layer().layer(tower::limit::ConcurrencyLimit::new(Perform::default(), 1));
    let call = tokio::spawn(service.ready().await.expect("ready").call(fail_times(1).0));
    service.ready().await.expect("between the tries its permit is free");
    assert!(tokio::time::timeout(secs(60), call).await.is_err(), "the documented trap, inherent in tower");
}

#[tokio::test(start_paused = true)]
async fn r5_a_token_comes_back_when_its_service_will_never_be_ready_though_the_future_is_kept() {
    /// Fails its one call, and is broken from then on.
    #[derive(Clone, Default)]
    struct Breaks(Arc<AtomicUsize>);

    impl Service<u32> for Breaks {
        type Response = u32;
        type Error = BoxError;
        type Future = std::future::Ready<Result<u32, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            let is_broken = self.0.load(SeqCst) > 0;
            Poll::Ready(if is_broken { Err("broken".into()) } else { Ok(()) })
        }

        fn call(&mut self, _: u32) -> Self::Future {
            self.0.fetch_add(1, SeqCst);
            ready(Err("bad".into()))
        }
    }

    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let service = Breaks::default();
    let mut retried = retry.layer().layer(service.clone());
    let mut call = Box::pin(retried.ready().await.expect("ready").call(1));
    let Poll::Ready(Err(error)) = poll(&mut call) else { panic!("it is over") };
    assert_eq!((error.to_string().as_str(), service.0.load(SeqCst)), ("broken", 1));
    assert_eq!(budget.available(), 5.0, "that try was never sent");
}
