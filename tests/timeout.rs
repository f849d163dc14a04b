//! The timeout's laws, T1 and T2, and what G1 to G5 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::{pending, ready},
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use support::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};
use withstand::{
    CircuitBreaker, Rejected, RetryWithBackoff, Timeout, TimeoutEvent, TimeoutLayer, TimeoutService, retry::Constant,
};

both_ways! {
    t1_the_limit_counts_from_the_call,
    t1_an_answer_that_is_there_wins,
    t1_an_operation_that_spends_the_cooperative_budget_times_out,
    t2_ends_at_the_limit_and_not_before,
    t2_a_limit_of_zero_lets_only_an_answer_pass_that_is_there_at_once,
    t2_the_longest_limits_there_are_never_end,
    t2_never_has_no_limit,
    g5_all_listeners_are_told_in_the_order_they_were_added_though_one_panics,
    t2_the_operation_is_dropped_before_the_caller_is_told,
    t2_the_error_tells_the_name_and_the_limit,
    t2_with_another_limit_it_keeps_its_name_and_its_listener,
    g0_the_call_itself_starts,
    g1_a_dropped_call_drops_its_operation,
    g3_neither_operation_nor_timer_outlives_the_call,
    g2_a_panicking_listener_is_caught,
    g5_it_reports_each_call_that_took_too_long,
}

fn timed_out(answer: Answer) -> Option<Duration> {
    match rejected(answer) {
        Some(Rejected::TimedOut(elapsed)) => Some(elapsed.limit()),
        _ => None,
    }
}

async fn t1_the_limit_counts_from_the_call(way: Way) {
    let timeout = Timeout::new(ms(100));
    let hang = hang();
    let mut call = timeout.through(way, &hang);
    pass(ms(99)).await;
    assert!(poll(&mut call).is_pending());
    pass(ms(1)).await;
    assert!(poll(&mut call).is_ready());
}

async fn t1_an_answer_that_is_there_wins(way: Way) {
    let timeout = Timeout::new(ms(100));
    let succeed = succeed();
    let call = timeout.through(way, &succeed);
    pass(secs(60)).await;
    assert!(call.await.is_ok());
    assert!(timeout.through(way, &succeed_after(ms(100))).await.is_ok(), "there at the very limit");
}

async fn t1_an_operation_that_spends_the_cooperative_budget_times_out(way: Way) {
    let greedy = op(|| async {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..1000 {
            sender.send(()).expect("it is open");
        }
        while receiver.recv().await.is_some() {
            sender.send(()).expect("it is open");
        }
        Ok(1)
    });
    let timeout = Timeout::new(ms(20));
    let mut call = timeout.through(way, &greedy);
    for _ in 0..20 {
        assert!(poll(&mut call).is_pending());
        pass(ms(1)).await;
    }
    assert!(poll(&mut call).is_ready(), "it is never out of work, so its timer is never asked");
}

async fn t2_ends_at_the_limit_and_not_before(way: Way) {
    let timeout = Timeout::new(ms(100));
    assert_eq!(timeout.limit(), ms(100));
    assert!(timeout.through(way, &succeed_after(ms(99))).await.is_ok());
    let start = Instant::now();
    assert_eq!(timed_out(timeout.through(way, &hang()).await), Some(ms(100)));
    assert_eq!(start.elapsed(), ms(100));
}

async fn t2_a_limit_of_zero_lets_only_an_answer_pass_that_is_there_at_once(way: Way) {
    let timeout = Timeout::new(Duration::ZERO);
    assert!(timeout.through(way, &succeed()).await.is_ok());
    let start = Instant::now();
    assert_eq!(timed_out(timeout.through(way, &succeed_after(ms(1))).await), Some(Duration::ZERO));
    assert_eq!(start.elapsed(), Duration::ZERO, "without any sleep");
}

async fn t2_the_longest_limits_there_are_never_end(way: Way) {
    for limit in [Duration::MAX, secs(u64::MAX), secs(4_000_000_000)] {
        assert!(Timeout::new(limit).through(way, &succeed_after(secs(3_000_000))).await.is_ok());
    }
}

async fn t2_never_has_no_limit(way: Way) {
    let timeout = Timeout::never().named("users");
    assert_eq!(timeout.limit(), Duration::MAX);
    assert!(timeout.through(way, &succeed_after(secs(3_000_000))).await.is_ok());
    let hang = hang();
    let mut call = timeout.through(way, &hang);
    assert!(poll(&mut call).is_pending());
    pass(secs(1_000_000_000)).await;
    assert!(poll(&mut call).is_pending());
    assert_eq!(timed_out(timeout.with_limit(ms(10)).through(way, &hang).await), Some(ms(10)));
}

async fn t2_the_operation_is_dropped_before_the_caller_is_told(way: Way) {
    let alive = Arc::new(());
    let hang = hang_holding(&alive);
    let timeout = Timeout::new(ms(100));
    let mut call = timeout.through(way, &hang);
    assert!(poll(&mut call).is_pending());
    assert_eq!(Arc::strong_count(&alive), 3);
    pass(ms(100)).await;
    assert!(poll(&mut call).is_ready());
    drop(hang);
    let left_in_the_call = Arc::strong_count(&alive) - 1;
    assert_eq!(left_in_the_call, 0, "though the call is still there");
}

async fn t2_with_another_limit_it_keeps_its_name_and_its_listener(way: Way) {
    let heard = Arc::new(AtomicUsize::new(0));
    let hears = heard.clone();
    let timeout = Timeout::new(ms(100)).named("users").listener_fn(move |_| {
        hears.fetch_add(1, SeqCst);
    });
    let shorter = timeout.with_limit(ms(10));
    assert_eq!((shorter.limit(), timeout.limit()), (ms(10), ms(100)));
    let start = Instant::now();
    let Some(Rejected::TimedOut(elapsed)) = rejected(shorter.through(way, &hang()).await) else { panic!("it hangs") };
    assert_eq!((elapsed.name(), elapsed.limit(), start.elapsed()), (Some("users"), ms(10), ms(10)));
    assert_eq!(heard.load(SeqCst), 1);
}

async fn t2_the_error_tells_the_name_and_the_limit(way: Way) {
    let nameless = timeout_error(way, Timeout::new(ms(100))).await;
    assert_eq!(nameless.to_string(), "took longer than 100ms");
    assert_eq!((nameless.name(), nameless.was_started(), nameless.retry_after()), (None, true, None));
    let named = timeout_error(way, Timeout::new(ms(100)).named(String::from("users"))).await;
    assert_eq!((named.to_string().as_str(), named.name()), ("`users` took longer than 100ms", Some("users")));
}

async fn timeout_error(way: Way, timeout: Timeout) -> Rejected {
    rejected(timeout.through(way, &hang()).await).expect("it hangs")
}

async fn g0_the_call_itself_starts(way: Way) {
    let (flaky, starts) = fail_times(0);
    let timeout = Timeout::new(ms(100));
    drop(timeout.through(way, &flaky));
    assert_eq!(starts.load(SeqCst), 1);
}

async fn g1_a_dropped_call_drops_its_operation(way: Way) {
    let alive = Arc::new(());
    let hang = hang_holding(&alive);
    let timeout = Timeout::new(ms(100));
    let mut call = timeout.through(way, &hang);
    assert!(poll(&mut call).is_pending());
    drop((call, hang));
    assert_eq!(Arc::strong_count(&alive), 1);
}

async fn g3_neither_operation_nor_timer_outlives_the_call(way: Way) {
    let alive = Arc::new(());
    let held = alive.clone();
    let slow = op(move || {
        let (held, mut sleep) = (held.clone(), Box::pin(tokio::time::sleep(secs(1))));
        std::future::poll_fn(move |cx| {
            let _held = &held;
            Future::poll(sleep.as_mut(), cx).map(|()| Ok(1))
        })
    });
    let timeout = Timeout::new(secs(1000));
    let mut call = timeout.through(way, &slow);
    assert!((&mut call).await.is_ok());
    drop(slow);
    assert_eq!(Arc::strong_count(&alive), 1, "though the call is kept");
    // A timer that was left behind would move a paused clock as soon as there is nothing else to do.
    let start = Instant::now();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for _ in 0..10_000 {
            std::thread::yield_now();
        }
        sender.send(())
    });
    receiver.await.expect("the thread ends");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

async fn g2_a_panicking_listener_is_caught(way: Way) {
    let timeout = Timeout::new(ms(100)).listener_fn(|_| panic!("listener"));
    assert!(timed_out(timeout.through(way, &hang()).await).is_some());
}

async fn g5_it_reports_each_call_that_took_too_long(way: Way) {
    let log = Log::new();
    let timeout = Timeout::new(ms(100)).named("users").listener_fn(log.listener());
    let _ = timeout.through(way, &succeed()).await;
    let _ = timeout.through(way, &fail()).await;
    assert_eq!(log.take(), []);
    let _ = timeout.through(way, &hang()).await;
    let events = log.take();
    assert!(
        matches!(&events[..], [TimeoutEvent::TimedOut { name: Some(name), limit, .. }] if name.as_str() == "users" && *limit == ms(100)),
        "{events:?}"
    );
}

async fn g5_all_listeners_are_told_in_the_order_they_were_added_though_one_panics(way: Way) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = |number: u32| {
        let told = told.clone();
        move |_: &TimeoutEvent| {
            told.lock().expect("no panic while pushing").push(number);
            assert_ne!(number, 2, "the second listener panics");
        }
    };
    let timeout = Timeout::new(ms(100)).listener_fn(listener(1)).listener_fn(listener(2)).listener_fn(listener(3));
    assert!(timed_out(timeout.through(way, &hang()).await).is_some());
    assert_eq!(*told.lock().expect("no panic while pushing"), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn t2_a_limit_may_be_chosen_by_the_request_and_a_request_may_have_none() {
    let wait = tower::service_fn(|(_, span): (Option<Duration>, Duration)| async move {
        tokio::time::sleep(span).await;
        Ok::<_, tower::BoxError>(())
    });
    let layer = Timeout::new(secs(1)).layer();
    let layer = layer.limit_fn(|request: &(Option<Duration>, Duration), usual| {
        assert_eq!(usual, secs(1), "the policy's own limit");
        request.0
    });
    let mut service = layer.layer(wait);
    assert!(service.call((Some(ms(50)), ms(49))).await.is_ok());
    assert!(service.call((Some(ms(50)), ms(51))).await.is_err());
    assert!(service.call((None, secs(1_000_000))).await.is_ok());
}

#[test]
fn t1_no_timer_is_armed_for_a_call_that_is_ready_at_once() {
    let timeout = Timeout::new(ms(100));
    let mut call = Box::pin(timeout.call(|| ready(Answer::Ok(1))));
    assert!(poll(&mut call).is_ready(), "outside any runtime, where arming one would panic");
}

#[test]
fn g3_a_call_can_be_made_outside_the_runtime_that_polls_it() {
    let timeout = Timeout::new(ms(10));
    let call = timeout.call(pending::<Answer>);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    assert!(timed_out(runtime.block_on(call)).is_some());
}

#[tokio::test(start_paused = true)]
async fn g2_a_panic_propagates() {
    let timeout = Timeout::new(ms(100));
    let counted = Arc::new(AtomicUsize::new(0));
    let held = counted.clone();
    let call = async move {
        timeout
            .call(|| async move {
                held.fetch_add(1, SeqCst);
                if true {
                    panic!("operation");
                }
                Answer::Ok(1)
            })
            .await
    };
    assert!(tokio::spawn(call).await.is_err_and(|error| error.is_panic()));
    assert_eq!((counted.load(SeqCst), Arc::strong_count(&counted)), (1, 1));
}

/// An error of one's own that carries rejections.
#[derive(Debug, thiserror::Error)]
enum OwnError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("call rejected")]
    Rejected(#[source] Rejected),
}
withstand::carries_rejected!(OwnError, Rejected);

/// A timeout alone, around a breaker and around itself, spawned, over an operation that is an `async` block.
macro_rules! spawned_timeouts {
    ($($name:ident: $error:ty,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            async fn fetch(number: &u32) -> std::io::Result<u32> {
                tokio::task::yield_now().await;
                Ok(*number)
            }
            let (timeout, breaker) = (Timeout::new(secs(1)), CircuitBreaker::new("users"));
            let (total, number) = (Timeout::new(secs(2)), 7);
            let borrowing = tokio::spawn(async move {
                let block = || async {
                    let answer = fetch(&number).await?;
                    Ok::<_, $error>(answer)
                };
                let alone = timeout.call(block).await?;
                let nested = total.call(|| timeout.call(block)).await?;
                let around = timeout.call(|| breaker.call(block)).await?;
                let inside = breaker.call(|| timeout.call(block)).await?;
                Ok::<_, $error>(alone + nested + around + inside)
            });
            assert_eq!(borrowing.await.expect("no panic").expect("it answers"), 28);
            let (timeout, breaker) = (Timeout::new(secs(1)), CircuitBreaker::new("users"));
            let owning = tokio::spawn(async move {
                let text = String::from("users");
                timeout
                    .call(|| {
                        breaker.call(|| async move {
                            let answer = fetch(&7).await?;
                            Ok::<_, $error>(text.len() as u32 + answer)
                        })
                    })
                    .await
            });
            assert_eq!(owning.await.expect("no panic").expect("it answers"), 12);
            let layers = tower::ServiceBuilder::new()
                .layer(Timeout::new(secs(2)).layer())
                .layer(Timeout::new(secs(1)).layer().limit_fn(|_: &u32, usual| Some(usual / 2)))
                .layer(CircuitBreaker::new("users").layer());
            let service = layers.service(tower::service_fn(|number: u32| async move {
                let answer = fetch(&number).await?;
                Ok::<_, $error>(answer)
            }));
            let task = tokio::spawn(service.clone().oneshot(7));
            assert_eq!(task.await.expect("no panic").expect("it answers"), 7);
            let in_a_block = tokio::spawn(async move {
                let mut service = service;
                let answer = service.ready().await?.call(1).await?;
                let boxed = service.boxed_clone();
                Ok::<_, $error>(answer + boxed.oneshot(2).await?)
            });
            assert_eq!(in_a_block.await.expect("no panic").expect("it answers"), 3);
        }
    )*};
}

spawned_timeouts! {
    a_spawned_timeout_over_a_boxed_error: tower::BoxError,
    a_spawned_timeout_over_an_io_error: std::io::Error,
    a_spawned_timeout_over_an_enum_of_ones_own: OwnError,
}
#[cfg(feature = "anyhow")]
spawned_timeouts! { a_spawned_timeout_over_anyhow: anyhow::Error, }

#[test]
fn g2_a_timeout_and_its_layer_are_unwind_safe() {
    static_assertions::assert_impl_all!(Timeout: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(TimeoutLayer: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(TimeoutService<u8>: UnwindSafe, RefUnwindSafe);
}

/// A total at or below the attempt timeout ends the call before any attempt can follow; see the module's docs.
#[tokio::test(start_paused = true)]
async fn t2_an_attempt_timeout_acts_only_below_the_total() {
    for (total, attempts_timed_out) in [(ms(99), 0), (ms(150), 1), (ms(250), 2)] {
        let log = Log::new();
        let attempt = Timeout::new(ms(100)).listener_fn(log.listener());
        assert_eq!(end_of_a_retry_in(total, &attempt).await, total);
        assert_eq!(log.take().len(), attempts_timed_out, "within {total:?}");
    }
    let attempt = Timeout::new(ms(100));
    assert_eq!(
        end_of_a_retry_in(ms(100), &attempt).await,
        ms(100),
        "another attempt gets no time where the two are equal"
    );
}

/// How long a retry takes whose attempts all hang, until the total timeout ends it.
async fn end_of_a_retry_in(total: Duration, attempt: &Timeout) -> Duration {
    let retry = RetryWithBackoff::builder("users").backoff(Constant::new(Duration::ZERO)).build();
    let (retry, total, start) = (retry.expect("good settings"), Timeout::new(total).named("total"), Instant::now());
    let answer = total.call(|| retry.call(|| attempt.call(pending::<Answer>))).await;
    assert_eq!(rejected(answer).expect("it hangs").name(), Some("total"));
    start.elapsed()
}
