//! The retry's laws, R1 to R9, and what G1 to G7 ask of it.
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
    Bulkhead, ByError, CarriesRejected, CircuitBreaker, Classify, Error, NotIdempotent, Rejected, RetryBudget,
    RetryBuilder, RetryEvent, RetryWithBackoff, Verdict, classify_fn,
    retry::{Attempt, Constant, Exponential, GaveUp, Jitter},
};

both_ways! {
    r1_max_attempts_counts_the_first_attempt,
    r1_the_last_result_is_returned_unchanged,
    r2_delays_double_up_to_their_cap,
    r2_a_backoff_that_ends_ends_the_retry,
    r2_with_a_seed_the_nth_calls_delays_depend_on_these_two_alone,
    r2_without_a_seed_no_two_calls_share_a_sequence,
    r3_waits_the_longer_of_hint_and_backoff,
    r3_a_hint_above_its_cap_ends_the_retry,
    r3_callers_that_were_told_the_same_time_come_back_at_different_instants,
    r3_a_hint_with_its_jitter_never_passes_its_cap_and_callers_do_not_meet_there,
    r3_jitter_on_a_hint_never_passes_the_deadline,
    r3_a_hint_beyond_the_clock_ends_the_retry_without_a_sleep,
    r3_with_a_seed_the_jitter_on_a_hint_is_repeatable,
    r3_a_sleep_that_would_pass_the_deadline_is_not_begun,
    r3_no_sleep_passes_the_deadline_though_a_listener_takes_its_time,
    r3_the_deadline_cuts_no_attempt_short,
    r4_zero_delay_means_no_sleep_at_all,
    r4_after_32_attempts_without_a_pending_poll_it_yields_once,
    r5_a_retry_takes_a_token_and_gives_it_back_if_it_succeeds,
    r5_every_attempt_that_succeeds_adds_a_tenth_and_the_bucket_never_overflows,
    r5_an_empty_bucket_ends_the_retry,
    r5_a_token_comes_back_when_our_own_breaker_rejects_the_attempt,
    r5_a_token_comes_back_when_the_call_is_dropped_while_it_sleeps,
    r5_a_token_is_lost_when_the_call_is_dropped_while_its_attempt_runs,
    r5_clones_and_handles_with_another_classifier_share_one_budget,
    r5_a_retry_that_repeats_a_throttled_answer_gets_no_token_back,
    r5_callers_that_wait_as_they_were_told_hold_no_tokens,
    r5_a_retry_that_waited_as_it_was_told_pays_when_it_is_sent,
    r5_a_retry_that_failed_gets_no_token_back_though_the_next_cannot_pay,
    r5_a_bucket_of_zero_ends_a_hinted_retry_without_a_sleep,
    r5_a_quiet_client_gets_a_token_a_minute_back,
    r6_our_own_rejections_are_not_retried,
    r7_a_failed_response_is_dropped_before_the_sleep_or_before_the_attempt_that_pays_late,
    r7_what_is_not_idempotent_is_sent_again_only_if_it_had_no_effect,
    r8_a_rejection_after_attempts_were_sent_says_so,
    r8_what_is_no_rejection_is_unchanged_and_a_call_that_sent_nothing_says_so,
    r8_an_attempt_that_was_rejected_is_not_counted_whatever_it_was_judged,
    r9_a_retry_with_a_custom_backoff_is_the_type_of_a_plain_field,
    r9_custom_delays_are_begun_at_the_first_failure_of_a_call,
    g0_the_first_attempt_starts_in_the_call,
    g1_a_dropped_call_drops_its_attempt,
    g2_a_panicking_attempt_counts_as_dropped,
    g5_it_reports_retries_and_why_it_gave_up,
    g5_a_retry_of_one_attempt_gives_nothing_up,
    retry_if_attempts_again_what_its_predicate_says,
    only_transient_throttled_and_unreached_results_are_attempted_again,
}

/// Three attempts, a second apart.
fn each_second() -> RetryBuilder<ByError> {
    RetryWithBackoff::builder("users").backoff(Constant::new(secs(1)))
}

fn at_once() -> RetryBuilder<ByError> {
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

async fn starts_of(retry: &impl Policy, way: Way) -> Vec<Duration> {
    let (failing, starts) = timed();
    assert!(retry.through(way, &failing).await.is_err());
    drop(failing);
    Arc::try_unwrap(starts).expect("the call is over").into_inner().expect("no panic")
}

async fn r1_max_attempts_counts_the_first_attempt(way: Way) {
    for attempts in [1, 2, 5] {
        let retry = at_once().max_attempts(attempts).build().expect("good settings");
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), attempts as usize);
    }
    let endless = at_once().max_attempts(u32::MAX).no_budget().build().expect("good settings");
    let (flaky, starts) = fail_times(1000);
    assert!(endless.through(way, &flaky).await.is_ok());
    assert_eq!(starts.load(SeqCst), 1001);
}

async fn r1_the_last_result_is_returned_unchanged(way: Way) {
    let retry = at_once().build().expect("good settings");
    let numbered = Arc::new(AtomicUsize::new(0));
    let failing = op(move || ready(Err(Error::Inner(["first", "second", "third"][numbered.fetch_add(1, SeqCst)]))));
    assert_eq!(retry.through(way, &failing).await, Err(Error::Inner("third")));
    let judge = |_: &Answer| Verdict::TRANSIENT;
    assert_eq!(retry.classify(classify_fn(judge)).through(way, &succeed()).await, Ok(1));
}

async fn r2_delays_double_up_to_their_cap(way: Way) {
    let backoff = Exponential::new(secs(1), secs(4)).jitter(Jitter::None);
    let retry = RetryWithBackoff::builder("users").backoff(backoff).max_attempts(5).build().expect("good settings");
    assert_eq!(starts_of(&retry, way).await, [0, 1, 3, 7, 11].map(secs));
}

async fn r2_a_backoff_that_ends_ends_the_retry(way: Way) {
    let retry = RetryWithBackoff::builder("users").backoff_fn(|| [secs(2)]).max_attempts(9).build();
    assert_eq!(starts_of(&retry.expect("good settings"), way).await, [0, 2].map(secs));
}

async fn r2_with_a_seed_the_nth_calls_delays_depend_on_these_two_alone(way: Way) {
    let sequences = async |seed| {
        let retry = RetryWithBackoff::builder("users").seed(seed).build().expect("good settings");
        let mut sequences = Vec::new();
        for _ in 0..3 {
            sequences.push(starts_of(&retry, way).await);
            assert!(retry.through(way, &succeed()).await.is_ok());
        }
        sequences
    };
    let first = sequences(7).await;
    assert_eq!(first, sequences(7).await);
    assert_ne!(first, sequences(8).await);
    assert!(first[0] != first[1] && first[1] != first[2], "{first:?}");
    let interleaved = RetryWithBackoff::builder("users").seed(7).build().expect("good settings");
    let (second, third) = (timed(), timed());
    let calls = [&second.0, &third.0].map(|failing| interleaved.through(way, failing));
    futures::future::join_all(calls).await;
    assert_eq!(*second.1.lock().expect("no panic"), first[0], "whatever runs beside it");
}

async fn r2_without_a_seed_no_two_calls_share_a_sequence(way: Way) {
    let log = Log::new();
    let builder = RetryWithBackoff::builder("users").no_budget().listener_fn(log.listener());
    let retry = builder.build().expect("good settings");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        assert!(retry.through(way, &fail()).await.is_err());
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

async fn r3_waits_the_longer_of_hint_and_backoff(way: Way) {
    // Up to a second more, as the backoff: that is more than a tenth. Not above ten seconds.
    for (hint, shortest, longest) in [(0, 1, 1), (1, 1, 1), (5, 5, 6), (10, 10, 10)] {
        let judge = classify_fn(hinting(secs(hint)));
        let retry = each_second().max_attempts(2).build().expect("good settings").classify(judge);
        let starts = starts_of(&retry, way).await;
        assert_eq!(starts.len(), 2);
        assert!((secs(shortest)..=secs(longest) + ms(1)).contains(&starts[1]), "{hint} s: {starts:?}");
    }
}

async fn r3_a_hint_above_its_cap_ends_the_retry(way: Way) {
    for hint in [secs(10) + ms(1), Duration::MAX] {
        let retry = each_second().build().expect("good settings").classify(classify_fn(hinting(hint)));
        assert_eq!(starts_of(&retry, way).await, [Duration::ZERO]);
    }
    let longer = each_second().max_retry_after(secs(60)).build().expect("good settings");
    let retry = longer.classify(classify_fn(hinting(secs(60))));
    assert_eq!(starts_of(&retry, way).await, [0, 60, 120].map(secs), "the cap holds after jitter");
}

/// The first delay of each of so many calls that were all told this, as the events say it.
async fn hinted_delays(builder: RetryBuilder<ByError>, hint: Duration, calls: usize, way: Way) -> Vec<Duration> {
    let log = Log::new();
    let retry = builder.max_attempts(2).no_budget().listener_fn(log.listener()).build().expect("good settings");
    let retry = retry.classify(classify_fn(hinting(hint)));
    let fail = fail();
    futures::future::join_all((0..calls).map(|_| retry.through(way, &fail))).await;
    let delays = log.take().into_iter().filter_map(|event| match event {
        RetryEvent::Retrying { delay, .. } => Some(delay),
        _ => None,
    });
    delays.collect()
}

fn distinct(delays: &[Duration]) -> usize {
    delays.iter().collect::<std::collections::HashSet<_>>().len()
}

async fn r3_callers_that_were_told_the_same_time_come_back_at_different_instants(way: Way) {
    let delays = hinted_delays(RetryWithBackoff::builder("users"), secs(1), 50, way).await;
    assert_eq!(distinct(&delays), 50, "{delays:?}");
    assert!(delays.iter().all(|delay| (secs(1)..=ms(1100)).contains(delay)), "by default a tenth: {delays:?}");
    assert!(delays.iter().any(|delay| *delay > ms(1050)), "{delays:?}");
    let delays = hinted_delays(each_second(), secs(2), 50, way).await;
    assert_eq!(distinct(&delays), 50, "{delays:?}");
    assert!(delays.iter().all(|delay| (secs(2)..=secs(3)).contains(delay)), "the backoff's own: {delays:?}");
    assert!(delays.iter().any(|delay| *delay > ms(2500)), "{delays:?}");
}

async fn r3_a_hint_with_its_jitter_never_passes_its_cap_and_callers_do_not_meet_there(way: Way) {
    let delays = hinted_delays(each_second(), ms(9_900), 50, way).await;
    assert!(delays.iter().all(|delay| (ms(9_900)..=secs(10)).contains(delay)), "{delays:?}");
    assert_eq!(distinct(&delays), 50, "{delays:?}");
}

async fn r3_jitter_on_a_hint_never_passes_the_deadline(way: Way) {
    let delays = hinted_delays(each_second().deadline(ms(2_010)), secs(2), 50, way).await;
    assert_eq!(distinct(&delays), 50, "each waits: {delays:?}");
    assert!(delays.iter().all(|delay| (secs(2)..=ms(2_010)).contains(delay)), "{delays:?}");
    assert_eq!(hinted_delays(each_second().deadline(ms(1_999)), secs(2), 1, way).await, []);
}

async fn r3_a_hint_beyond_the_clock_ends_the_retry_without_a_sleep(way: Way) {
    let log = Log::new();
    let builder = each_second().max_retry_after(Duration::MAX).listener_fn(log.listener());
    let retry = builder.build().expect("good settings").classify(classify_fn(hinting(Duration::from_secs(u64::MAX))));
    let fail = fail();
    assert!(poll(&mut retry.through(way, &fail)).is_ready(), "without a sleep");
    assert!(matches!(log.take()[..], [RetryEvent::GaveUp { attempts: 1, reason: GaveUp::RetryAfterTooLong, .. }]));
}

async fn r3_with_a_seed_the_jitter_on_a_hint_is_repeatable(way: Way) {
    let delays = async |seed| hinted_delays(RetryWithBackoff::builder("users").seed(seed), secs(1), 3, way).await;
    assert_eq!(delays(7).await, delays(7).await);
    assert_ne!(delays(7).await, delays(8).await);
}

async fn r3_a_sleep_that_would_pass_the_deadline_is_not_begun(way: Way) {
    for (deadline, attempts) in [(ms(999), 1), (secs(1), 2), (ms(1999), 2), (secs(2), 3), (Duration::MAX, 3)] {
        let retry = each_second().deadline(deadline).build().expect("good settings");
        let start = Instant::now();
        assert_eq!(starts_of(&retry, way).await.len(), attempts, "{deadline:?}");
        assert_eq!(start.elapsed(), secs(attempts as u64 - 1), "no sleep was begun in vain");
    }
}

async fn r3_no_sleep_passes_the_deadline_though_a_listener_takes_its_time(way: Way) {
    let slow = |_: &RetryEvent| {
        let _ = pass(ms(500)).now_or_never();
    };
    let retry = each_second().max_attempts(2).deadline(secs(1)).listener_fn(slow).build().expect("good settings");
    let start = Instant::now();
    assert_eq!(starts_of(&retry, way).await.len(), 2);
    assert!(
        start.elapsed() < secs(2),
        "the second attempt began at the deadline, not {:?} after the call",
        start.elapsed()
    );
}

async fn r3_the_deadline_cuts_no_attempt_short(way: Way) {
    let retry = each_second().deadline(secs(1)).build().expect("good settings");
    assert!(retry.through(way, &succeed_after(secs(60))).await.is_ok());
}

async fn r4_zero_delay_means_no_sleep_at_all(way: Way) {
    let (flaky, starts) = fail_times(2);
    let retry = at_once().build().expect("good settings");
    let mut call = retry.through(way, &flaky);
    assert!(poll(&mut call).is_ready(), "in one poll");
    assert_eq!(starts.load(SeqCst), 3);
}

async fn r4_after_32_attempts_without_a_pending_poll_it_yields_once(way: Way) {
    let (failing, starts) = fail_times(1000);
    let retry = at_once().max_attempts(u32::MAX).no_budget().build().expect("good settings");
    let mut call = retry.through(way, &failing);
    for polls in 1..=3 {
        assert!(poll(&mut call).is_pending());
        assert_eq!(starts.load(SeqCst), 32 * polls);
    }
    let others_turn = tokio::time::timeout(Duration::ZERO, call).await;
    assert!(others_turn.is_err(), "it wakes itself, and a timeout beside it gets its turn");
}

async fn r5_a_retry_takes_a_token_and_gives_it_back_if_it_succeeds(way: Way) {
    let budget = RetryBudget::new(5);
    let retry = each_second().budget(&budget).build().expect("good settings");
    let (flaky, _) = fail_times(1);
    let mut call = retry.through(way, &flaky);
    assert!(poll(&mut call).is_pending());
    assert_eq!(budget.available(), 4.0, "paid before the sleep");
    assert!(call.await.is_ok());
    assert_eq!(budget.available(), 5.0);
    assert!(retry.through(way, &fail()).await.is_err());
    assert_eq!(budget.available(), 3.0, "two retries that failed");
    let (flaky, _) = fail_times(2);
    assert!(retry.through(way, &flaky).await.is_ok());
    assert_eq!(budget.available(), 2.1, "one that failed, one that succeeded");
}

async fn r5_every_attempt_that_succeeds_adds_a_tenth_and_the_bucket_never_overflows(way: Way) {
    let budget = RetryBudget::new(2);
    let retry = at_once().budget(&budget).build().expect("good settings");
    assert!(retry.through(way, &fail()).await.is_err());
    assert_eq!(budget.available(), 0.0);
    for tenths in 1..=30 {
        assert!(retry.through(way, &succeed()).await.is_ok());
        assert_eq!(budget.available(), f64::from(tenths.min(20)) / 10.0);
    }
}

async fn r5_an_empty_bucket_ends_the_retry(way: Way) {
    let retry = at_once().max_attempts(11).build().expect("good settings");
    let count = async || {
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        starts.load(SeqCst)
    };
    assert_eq!(count().await, 11, "ten tokens by default");
    assert_eq!(count().await, 1);
    for _ in 0..9 {
        assert!(retry.through(way, &succeed()).await.is_ok());
    }
    assert_eq!(count().await, 1, "nine tenths do not pay for it");
    assert!(retry.through(way, &succeed()).await.is_ok());
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

async fn r5_a_token_comes_back_when_our_own_breaker_rejects_the_attempt(way: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let (answers, starts) = then_rejected();
    assert!(rejected(retry.through(way, &answers).await).is_some());
    assert_eq!((starts.load(SeqCst), budget.available()), (2, 5.0));
}

async fn r5_a_token_comes_back_when_the_call_is_dropped_while_it_sleeps(way: Way) {
    let budget = RetryBudget::new(5);
    let retry = each_second().budget(&budget).build().expect("good settings");
    let fail = fail();
    let mut call = retry.through(way, &fail);
    assert!(poll(&mut call).is_pending());
    assert_eq!(budget.available(), 4.0);
    drop(call);
    assert_eq!(budget.available(), 5.0);
}

async fn r5_a_token_is_lost_when_the_call_is_dropped_while_its_attempt_runs(way: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let starts = AtomicUsize::new(0);
    let fails_then_hangs = op(move || {
        let first = starts.fetch_add(1, SeqCst) == 0;
        async move { if first { Err(Error::Inner("bad")) } else { pending().await } }
    });
    let mut call = retry.through(way, &fails_then_hangs);
    assert!(poll(&mut call).is_pending());
    drop(call);
    assert_eq!(budget.available(), 4.0);
}

async fn r5_clones_and_handles_with_another_classifier_share_one_budget(way: Way) {
    let retry = at_once().max_attempts(11).build().expect("good settings");
    let other = retry.classify(classify_fn(|answer: &Answer| match answer {
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::TRANSIENT,
    }));
    assert!(retry.clone().through(way, &fail()).await.is_err());
    let (failing, starts) = fail_times(usize::MAX);
    assert!(other.through(way, &failing).await.is_err());
    assert_eq!(starts.load(SeqCst), 1, "the clone has emptied it");
}

/// What the answers of a scripted operation are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Fine,
    Bad,
    /// Transient, with a hint.
    Hint(Duration),
    /// Throttled, with a hint.
    Slow(Duration),
}

/// An operation that answers these in order, and a classifier for them. The operation is of one call.
fn answers(said: &[Said]) -> (Op, impl Fn(&Answer) -> Verdict + Clone + Send + Sync + use<>) {
    let (table, number) = (said.to_vec(), AtomicUsize::new(0));
    let operation = op(move || ready(Ok(number.fetch_add(1, SeqCst) as u32)));
    let judge = move |answer: &Answer| match table[answer.as_ref().map_or(0, |number| *number as usize)] {
        Said::Fine => Verdict::Healthy,
        Said::Bad => Verdict::TRANSIENT,
        Said::Hint(hint) => Verdict::Transient { retry_after: Some(hint) },
        Said::Slow(hint) => Verdict::Throttled { retry_after: Some(hint) },
    };
    (operation, judge)
}

/// What is left of five tokens after one call with these answers.
async fn left_after(said: &[Said], way: Way) -> f64 {
    let budget = RetryBudget::builder(5).no_refill().build().expect("good settings");
    let (operation, judge) = answers(said);
    let retry = each_second().budget(&budget).build().expect("good settings").classify(classify_fn(judge));
    assert_eq!(retry.through(way, &operation).await, Ok(said.len() as u32 - 1));
    budget.available()
}

async fn r5_a_retry_that_repeats_a_throttled_answer_gets_no_token_back(way: Way) {
    use Said::*;
    assert_eq!(left_after(&[Bad, Fine], way).await, 5.0);
    assert_eq!(left_after(&[Hint(secs(5)), Fine], way).await, 5.0);
    assert_eq!(left_after(&[Slow(secs(5)), Fine], way).await, 4.1, "a success adds a tenth all the same");
    assert_eq!(left_after(&[Slow(Duration::ZERO), Fine], way).await, 4.1, "nor where it asked for no time");
    assert_eq!(left_after(&[Slow(secs(5)), Bad, Fine], way).await, 4.1, "the last one repeats another answer");
    assert_eq!(left_after(&[Bad, Slow(secs(5)), Fine], way).await, 3.1);
}

async fn r5_callers_that_wait_as_they_were_told_hold_no_tokens(way: Way) {
    let budget = RetryBudget::builder(10).no_refill().build().expect("good settings");
    let retry = each_second().max_retry_after(secs(30)).budget(&budget).build().expect("good settings");
    let waiting = retry.classify(classify_fn(hinting(secs(30))));
    let fail = fail();
    let mut calls: Vec<_> = (0..10).map(|_| waiting.through(way, &fail)).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!(budget.available(), 10.0, "nothing was sent again");
    let (flaky, _) = fail_times(1);
    assert!(retry.through(way, &flaky).await.is_ok(), "another caller's hiccup is cured");
    drop(calls);
    assert_eq!(budget.available(), 10.0, "what was not taken does not come back");
}

async fn r5_a_retry_that_waited_as_it_was_told_pays_when_it_is_sent(way: Way) {
    let log = Log::new();
    let budget = RetryBudget::builder(3).no_refill().build().expect("good settings");
    let builder = each_second().max_attempts(2).budget(&budget).listener_fn(log.listener());
    let retry = builder.build().expect("good settings").classify(classify_fn(hinting(secs(5))));
    let (failing, starts) = fail_times(usize::MAX);
    let answers = futures::future::join_all((0..5).map(|_| retry.through(way, &failing))).await;
    assert!(answers.iter().all(|answer| *answer == Err(Error::Inner("bad"))), "the last result");
    assert_eq!((starts.load(SeqCst), budget.available()), (8, 0.0), "three of five could pay");
    let unpaid = log.take().into_iter().filter(|event| match event {
        RetryEvent::GaveUp { attempts: 1, reason: GaveUp::BudgetSpent, verdict, .. } => {
            *verdict == Verdict::Transient { retry_after: Some(secs(5)) }
        }
        _ => false,
    });
    assert_eq!(unpaid.count(), 2);
}

async fn r5_a_retry_that_failed_gets_no_token_back_though_the_next_cannot_pay(way: Way) {
    let budget = RetryBudget::builder(1).no_refill().build().expect("good settings");
    let (operation, judge) = answers(&[Said::Bad, Said::Hint(secs(5)), Said::Fine]);
    let retry = each_second().budget(&budget).build().expect("good settings").classify(classify_fn(judge));
    assert_eq!(retry.through(way, &operation).await, Ok(1), "the second answer was the last");
    assert_eq!(budget.available(), 0.0);
}

async fn r5_a_bucket_of_zero_ends_a_hinted_retry_without_a_sleep(way: Way) {
    let retry = each_second().budget(&RetryBudget::new(0)).build().expect("good settings");
    let retry = retry.classify(classify_fn(hinting(secs(5))));
    let fail = fail();
    assert!(poll(&mut retry.through(way, &fail)).is_ready(), "it can never pay");
}

async fn r5_a_quiet_client_gets_a_token_a_minute_back(way: Way) {
    let retry = at_once().max_attempts(11).build().expect("good settings");
    let count = async || {
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        starts.load(SeqCst)
    };
    assert_eq!(count().await, 11);
    pass(ms(59_999)).await;
    assert_eq!(count().await, 1, "not yet");
    pass(ms(1)).await;
    assert_eq!(count().await, 2);
    pass(secs(30 * 24 * 3600)).await;
    assert_eq!(count().await, 11, "a month after an outage it is full, and not fuller");
}

async fn r6_our_own_rejections_are_not_retried(way: Way) {
    let (breaker, bulkhead) = (CircuitBreaker::new("users"), Bulkhead::new("users", 0));
    breaker.force_open();
    let rejections: [Box<dyn Fn() -> Rejected + Send + Sync>; 2] = [
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
        assert!(rejected(retry.through(way, &rejecting).await).is_some());
        assert_eq!((starts.load(SeqCst), budget.available(), start.elapsed()), (1, 5.0, Duration::ZERO));
    }
}

/// An answer that tells, by the count of what it holds, whether it is alive.
type Held = Result<Arc<()>, Failure>;

async fn r7_a_failed_response_is_dropped_before_the_sleep_or_before_the_attempt_that_pays_late(way: Way) {
    let hint = |retry_after| classify_fn(move |_: &Held| Verdict::Transient { retry_after });
    let budget = RetryBudget::new(5);
    let paying = each_second().budget(&budget).build().expect("good settings");
    let free = each_second().no_budget().build().expect("good settings");
    // While it sleeps, the response is kept only where a token may be missing when it wakes: then it is the answer.
    let cases = [(&paying, None, 0), (&paying, Some(secs(5)), 1), (&free, None, 0), (&free, Some(secs(5)), 0)];
    for (retry, retry_after, kept) in cases {
        let retry = retry.classify(hint(retry_after));
        let alive = Arc::new(());
        let answers_alive_at_start = Arc::new(Mutex::new(Vec::new()));
        let (held, seen) = (alive.clone(), answers_alive_at_start.clone());
        let start = move || {
            seen.lock().expect("no panic").push(Arc::strong_count(&held) - 2);
            ready(Held::Ok(held.clone()))
        };
        let mut call: futures::future::BoxFuture<'_, Held> = match way {
            Way::Plain => Box::pin(retry.call(start)),
            Way::Tower => {
                let start = Arc::new(start);
                let mut service = retry.layer().layer(service_fn(move |()| start()));
                Box::pin(service.call(()))
            }
        };
        assert!(poll(&mut call).is_pending());
        assert_eq!(Arc::strong_count(&alive) - 2, kept, "{retry:?}, {retry_after:?}");
        assert!(call.await.is_ok());
        assert_eq!(*answers_alive_at_start.lock().expect("no panic"), [0; 3], "{retry:?}, {retry_after:?}");
    }
}

/// Two attempts fail, which opens the circuit below the retry; so it rejects the third.
async fn two_sent_then_rejected<E: CarriesRejected + 'static>(
    retry: &RetryWithBackoff,
    way: Way,
    bad: fn() -> E,
) -> Result<(), E> {
    let breaker = CircuitBreaker::builder("below").consecutive_failures(2, Duration::ZERO).build();
    let breaker = breaker.expect("good settings");
    match way {
        Way::Plain => retry.call(|| breaker.call(|| ready(Err(bad())))).await,
        Way::Tower => {
            let dependency = service_fn(move |()| ready(Err(bad())));
            let layers = ServiceBuilder::new().layer(retry.layer()).layer(breaker.layer());
            layers.service(dependency).oneshot(()).await
        }
    }
}

async fn r8_a_rejection_after_attempts_were_sent_says_so(way: Way) {
    #[derive(Debug)]
    enum Own {
        Bad,
        Policy(Rejected),
    }
    withstand::carries_rejected!(Own, Policy);

    async fn tells<E: CarriesRejected + 'static>(way: Way, bad: fn() -> E) {
        let log = Log::new();
        let retry = at_once().max_attempts(5).listener_fn(log.listener()).build().expect("good settings");
        let error = two_sent_then_rejected(&retry, way, bad).await.expect_err("it was rejected");
        let rejected = error.as_rejected().expect("our own rejection");
        assert!(matches!(rejected, Rejected::CircuitOpen(_)));
        assert_eq!((rejected.attempts_sent(), rejected.was_started()), (2, true));
        let name = withstand::Name::from("users");
        let end = RetryEvent::GaveUp { name, attempts: 2, verdict: Verdict::TRANSIENT, reason: GaveUp::Rejected };
        assert_eq!(log.take().pop(), Some(end));
    }
    tells::<Own>(way, || Own::Bad).await;
    tells::<Failure>(way, || Error::Inner("bad")).await;
    tells::<BoxError>(way, || "bad".into()).await;
    tells::<std::io::Error>(way, || std::io::ErrorKind::ConnectionReset.into()).await;
    #[cfg(feature = "anyhow")]
    tells::<anyhow::Error>(way, || anyhow::anyhow!("bad")).await;
    assert!(matches!(Own::from_rejected(Rejected::from(withstand::CircuitOpen::new("x", None))), Own::Policy(_)));
}

async fn r8_what_is_no_rejection_is_unchanged_and_a_call_that_sent_nothing_says_so(way: Way) {
    let retry = at_once().build().expect("good settings");
    assert_eq!(retry.through(way, &fail()).await, Err(Error::Inner("bad")));
    let breaker = CircuitBreaker::new("below");
    breaker.force_open();
    let rejecting = op(move || ready(Err(Error::from_rejected(breaker.try_acquire().expect_err("it is open")))));
    let rejection = rejected(retry.through(way, &rejecting).await).expect("our own rejection");
    assert_eq!((rejection.attempts_sent(), rejection.was_started()), (0, false));
}

async fn r8_an_attempt_that_was_rejected_is_not_counted_whatever_it_was_judged(way: Way) {
    let (breaker, log) = (CircuitBreaker::new("below"), Log::new());
    breaker.force_open();
    let everything = classify_fn(|answer: &Answer| if answer.is_ok() { Verdict::Healthy } else { Verdict::TRANSIENT });
    let retry = at_once().listener_fn(log.listener()).build().expect("good settings").classify(everything);
    for first_is_sent in [false, true] {
        let (breaker, number) = (breaker.clone(), AtomicUsize::new(0));
        let operation = op(move || {
            let is_sent = number.fetch_add(1, SeqCst) == 0 && first_is_sent;
            let rejection = breaker.try_acquire().expect_err("it is open");
            ready(Err(if is_sent { Error::Inner("bad") } else { Error::from_rejected(rejection) }))
        });
        let rejection = rejected(retry.through(way, &operation).await).expect("our own rejection");
        assert_eq!((rejection.attempts_sent(), rejection.was_started()), (u32::from(first_is_sent), first_is_sent));
        let reasons = log.take().into_iter().filter(|event| matches!(event, RetryEvent::GaveUp { .. }));
        assert_eq!(reasons.count(), 1);
    }
}

async fn r9_a_retry_with_a_custom_backoff_is_the_type_of_a_plain_field(way: Way) {
    struct Client {
        retry: RetryWithBackoff,
    }
    let delays = || (1..).map(secs);
    let client =
        Client { retry: RetryWithBackoff::builder("users").backoff_fn(delays).build().expect("good settings") };
    assert_eq!(starts_of(&client.retry, way).await, [0, 1, 3].map(secs));
}

async fn r9_custom_delays_are_begun_at_the_first_failure_of_a_call(way: Way) {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = begun.clone();
    let delays = move || {
        counted.fetch_add(1, SeqCst);
        std::iter::repeat(secs(1))
    };
    let retry = RetryWithBackoff::builder("users").backoff_fn(delays).build().expect("good settings");
    assert!(retry.through(way, &succeed()).await.is_ok());
    assert_eq!(begun.load(SeqCst), 0, "a call that succeeds needs none");
    assert!(retry.through(way, &fail()).await.is_err());
    assert_eq!(begun.load(SeqCst), 1, "once for all of its attempts");
}

async fn g0_the_first_attempt_starts_in_the_call(way: Way) {
    let (flaky, starts) = fail_times(1);
    let retry = at_once().build().expect("good settings");
    let call = retry.through(way, &flaky);
    assert_eq!(starts.load(SeqCst), 1);
    assert!(call.await.is_ok());
}

async fn g1_a_dropped_call_drops_its_attempt(way: Way) {
    let alive = Arc::new(());
    let hang = hang_holding(&alive);
    let retry = at_once().build().expect("good settings");
    let mut call = retry.through(way, &hang);
    assert!(poll(&mut call).is_pending());
    drop((call, hang));
    assert_eq!(Arc::strong_count(&alive), 1);
}

async fn g2_a_panicking_attempt_counts_as_dropped(way: Way) {
    let budget = RetryBudget::new(5);
    let retry = at_once().budget(&budget).build().expect("good settings");
    let panicking = retry.clone();
    let starts = AtomicUsize::new(0);
    let fails_then_panics = op(move || {
        let first = starts.fetch_add(1, SeqCst) == 0;
        async move { if first { Err(Error::Inner("bad")) } else { panic!("second attempt") } }
    });
    assert!(tokio::spawn(async move { panicking.through(way, &fails_then_panics).await }).await.is_err());
    assert_eq!(budget.available(), 4.0, "it had been sent");
    let (flaky, _) = fail_times(2);
    assert!(retry.through(way, &flaky).await.is_ok());
}

async fn g5_it_reports_retries_and_why_it_gave_up(way: Way) {
    let told = async |retry: &dyn Policy, log: &Log<RetryEvent>, op: &Op| {
        let _ = retry.through(way, op).await;
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
    let asked = asked.classify(classify_fn(hinting(secs(11))));
    assert_eq!(told(&asked, &log, &fail()).await, [Ok((1, GaveUp::RetryAfterTooLong))]);
    assert_eq!(GaveUp::BudgetSpent.to_string(), "budget spent", "as it is traced");
}

async fn g5_a_retry_of_one_attempt_gives_nothing_up(way: Way) {
    let log = Log::new();
    let retry = at_once().max_attempts(1).listener_fn(log.listener()).build().expect("good settings");
    assert!(retry.through(way, &fail()).await.is_err());
    assert_eq!(log.take(), []);
}

async fn only_transient_throttled_and_unreached_results_are_attempted_again(way: Way) {
    let again = [Verdict::TRANSIENT, Verdict::THROTTLED, Verdict::Unreached].map(|verdict| (verdict, 3));
    let once = [Verdict::Healthy, Verdict::Failed, Verdict::Ignored].map(|verdict| (verdict, 1));
    for (verdict, attempts) in again.into_iter().chain(once) {
        let retry = at_once().build().expect("good settings").classify(classify_fn(move |_: &Answer| verdict));
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), attempts, "{verdict:?}");
    }
}

async fn r7_what_is_not_idempotent_is_sent_again_only_if_it_had_no_effect(way: Way) {
    let log = Log::new();
    let base = at_once().no_budget().listener_fn(log.listener()).build().expect("good settings");
    let again = [Verdict::THROTTLED, Verdict::Unreached].map(|verdict| (verdict, 3, GaveUp::AttemptsSpent));
    let once = [(Verdict::TRANSIENT, 1, GaveUp::NotRepeatable)];
    for (of_failure, attempts, why) in again.into_iter().chain(once) {
        let retry = base.classify(classify_fn(move |_: &Answer| of_failure)).not_idempotent();
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), attempts, "{of_failure:?}");
        let Some(RetryEvent::GaveUp { verdict, reason, .. }) = log.take().pop() else { panic!("it gave up") };
        assert_eq!((verdict, reason), (of_failure, why), "the verdict is told as it was");
    }
    for result in [Verdict::Healthy, Verdict::Failed, Verdict::Ignored] {
        let retry = base.classify(classify_fn(move |_: &Answer| result)).not_idempotent();
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        assert_eq!((starts.load(SeqCst), log.take().len()), (1, 0), "{result:?}");
    }
    // Behind a pointer it is the same.
    let boxed: Arc<dyn Classify<u32, Failure> + Send + Sync> = Arc::new(NotIdempotent::<ByError>::default());
    let (failing, starts) = fail_times(usize::MAX);
    assert!(base.classify(boxed).through(way, &failing).await.is_err());
    assert_eq!(starts.load(SeqCst), 1);
}

async fn retry_if_attempts_again_what_its_predicate_says(way: Way) {
    for (is_bad, attempts) in [(true, 3), (false, 1)] {
        let retry = at_once().build().expect("good settings").retry_if(move |error: &Failure| match error {
            Error::Inner("bad") => is_bad,
            _ => false,
        });
        let (failing, starts) = fail_times(usize::MAX);
        assert!(retry.through(way, &failing).await.is_err());
        assert_eq!(starts.load(SeqCst), attempts);
    }
}

#[test]
fn g2_handles_and_budgets_are_unwind_safe() {
    fn assert_unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    assert_unwind_safe::<RetryWithBackoff>();
    assert_unwind_safe::<RetryBudget>();
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
        assert!(starts.load(SeqCst) <= 64, "{} attempts in one poll", starts.load(SeqCst));
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
async fn call_with_tells_each_attempt_its_number_the_last_error_and_the_time() {
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
async fn r7_at_most_max_attempts_minus_one_clones_and_the_last_attempt_sends_the_original() {
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
async fn g7_each_further_attempt_readies_its_instance_again() {
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
    service.ready().await.expect("between the attempts its permit is free");
    assert!(tokio::time::timeout(secs(60), call).await.is_err(), "the documented trap, inherent in tower");
}

#[tokio::test(start_paused = true)]
async fn r5_a_token_comes_back_when_its_service_will_never_be_ready_and_the_event_has_the_cause() {
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

    let (budget, log) = (RetryBudget::new(5), Log::new());
    let retry = at_once().budget(&budget).listener_fn(log.listener()).build().expect("good settings");
    let service = Breaks::default();
    let mut retried = retry.layer().layer(service.clone());
    let mut call = Box::pin(retried.ready().await.expect("ready").call(1));
    let Poll::Ready(Err(error)) = poll(&mut call) else { panic!("it is over") };
    assert_eq!((error.to_string().as_str(), service.0.load(SeqCst)), ("broken", 1));
    assert_eq!(budget.available(), 5.0, "that attempt was never sent, though the future is kept");
    let name = withstand::Name::from("users");
    let end = RetryEvent::GaveUp { name, attempts: 1, verdict: Verdict::TRANSIENT, reason: GaveUp::NotReady };
    assert_eq!(log.take().pop(), Some(end));
}
