//! The rate limiter's laws, L1 to L6, and what G0 to G8 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use support::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use withstand::{RateLimiter, RateLimiterEvent, Rejected};

both_ways! {
    l1_an_idle_limiter_lets_its_burst_begin_and_then_one_in_each_interval,
    l1_a_burst_of_one_spreads_calls_evenly,
    l1_the_interval_is_rounded_up,
    l1_a_dropped_call_has_used_its_permit,
    l2_it_rejects_at_once_and_tells_the_true_time,
    l2_a_permit_that_is_there_is_taken_without_awaiting_anything,
    l3_queued_calls_begin_in_order_each_at_its_time,
    l3_a_wait_that_would_be_too_long_is_not_begun,
    l3_a_dropped_waiter_lets_the_others_begin_earlier,
    l3_a_dropped_waiter_that_was_due_passes_its_permit_on,
    l3_the_time_of_a_rejection_counts_those_that_wait,
    l3_behind_a_call_that_is_not_polled_a_wait_ends_too,
    l3_a_permit_that_is_there_wins_over_the_end_of_the_wait,
    l3_the_longest_wait_there_is,
    l4_a_higher_limit_lets_waiters_begin_earlier,
    l4_a_lower_limit_rejects_waiters_that_would_be_late,
    l4_zero_rejects_all_and_what_was_used_stays_used,
    l5_a_window_begins_with_the_first_call,
    l5_around_the_end_of_a_window_it_may_be_twice_the_limit,
    l5_waiters_begin_in_the_windows_to_come,
    g0_the_call_takes_its_permit_before_it_is_polled,
    g2_a_panic_uses_its_permit_and_harms_nothing,
    g2_a_panicking_listener_is_caught,
    g5_it_reports_rejections,
    g8_a_loop_on_rejections_lets_another_task_run,
    g8_every_32nd_rejected_call_pends_once_and_wakes_itself,
}

/// One permit each 100 ms; so many at once, and so many may wait, each for 10 s.
fn queueing(burst: u32, queue_capacity: usize) -> RateLimiter {
    let builder = RateLimiter::builder("api", 10, secs(1)).burst(burst).queue(queue_capacity, secs(10));
    builder.build().expect("good settings")
}

fn spent(limit: u32, period: Duration) -> RateLimiter {
    let limiter = RateLimiter::new("api", limit, period).expect("good settings");
    while limiter.try_acquire().is_ok() {}
    limiter
}

/// The time that a rejected call was told.
fn told(answer: Answer) -> Option<Option<Duration>> {
    match rejected(answer) {
        Some(Rejected::RateLimited(limited)) => Some(limited.retry_after()),
        _ => None,
    }
}

fn told_permit(answer: Result<(), Rejected>) -> Option<Duration> {
    match answer {
        Err(Rejected::RateLimited(limited)) => limited.retry_after(),
        other => panic!("{other:?}"),
    }
}

fn available_and_queued(limiter: &RateLimiter) -> (u32, usize) {
    let snapshot = limiter.snapshot();
    (snapshot.available, snapshot.queued)
}

fn start<'a>(limiter: &'a RateLimiter, way: Way, op: &Op) -> BoxFuture<'a, Answer> {
    let mut call = limiter.through(way, op);
    assert!(poll(&mut call).is_pending());
    call
}

/// When each call began, since this was made.
#[derive(Clone)]
struct Starts(Instant, Arc<Mutex<Vec<(u32, Duration)>>>);

impl Starts {
    fn new() -> Self {
        Self(Instant::now(), Arc::default())
    }

    fn numbered(&self, number: u32) -> Op {
        let Self(start, seen) = self.clone();
        op(move || {
            seen.lock().expect("no panic").push((number, start.elapsed()));
            ready(Ok(number))
        })
    }

    fn take(&self) -> Vec<(u32, Duration)> {
        std::mem::take(&mut self.1.lock().expect("no panic"))
    }
}

async fn l1_an_idle_limiter_lets_its_burst_begin_and_then_one_in_each_interval(way: Way) {
    let limiter = RateLimiter::new("api", 10, secs(1)).expect("good settings");
    pass(secs(1_000_000)).await;
    for _ in 0..2 {
        for _ in 0..10 {
            assert!(limiter.through(way, &succeed()).await.is_ok());
        }
        for _ in 0..3 {
            pass(ms(100) - Duration::from_nanos(1)).await;
            assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(Duration::from_nanos(1))));
            pass(Duration::from_nanos(1)).await;
            assert!(limiter.through(way, &succeed()).await.is_ok());
        }
        assert!(limiter.clone().through(way, &succeed()).await.is_err(), "clones share it");
        pass(secs(1)).await;
    }
}

async fn l1_a_burst_of_one_spreads_calls_evenly(way: Way) {
    let limiter = RateLimiter::builder("api", 10, secs(1)).burst(1).build().expect("good settings");
    pass(secs(60)).await;
    for _ in 0..5 {
        assert!(limiter.through(way, &succeed()).await.is_ok());
        assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(ms(100))));
        pass(ms(100)).await;
    }
}

async fn l1_the_interval_is_rounded_up(way: Way) {
    // A third of a second is 333_333_333 ns and a third more.
    let limiter = RateLimiter::builder("api", 3, secs(1)).burst(1).build().expect("good settings");
    assert!(limiter.through(way, &succeed()).await.is_ok());
    let interval = Duration::from_nanos(333_333_334);
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(interval)));
    pass(interval).await;
    assert!(limiter.through(way, &succeed()).await.is_ok());
}

async fn l1_a_dropped_call_has_used_its_permit(way: Way) {
    let limiter = RateLimiter::new("api", 1, secs(1)).expect("good settings");
    drop(start(&limiter, way, &hang()));
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(secs(1))));
}

async fn l2_it_rejects_at_once_and_tells_the_true_time(way: Way) {
    let limiter = spent(2, secs(1));
    let error = rejected(limiter.through(way, &hang()).await).expect("rejected");
    assert_eq!(error.to_string(), "rate limiter `api` is spent (limit 2), for another 500ms");
    assert_eq!((error.was_started(), error.name(), error.grpc_code()), (false, Some("api"), 8));
    let retry_after = error.retry_after().expect("known");
    pass(retry_after - Duration::from_nanos(1)).await;
    assert!(limiter.through(way, &succeed()).await.is_err());
    pass(Duration::from_nanos(1)).await;
    assert!(limiter.through(way, &succeed()).await.is_ok());
}

async fn l2_a_permit_that_is_there_is_taken_without_awaiting_anything(way: Way) {
    let (limiter, succeed) = (queueing(1, 3), succeed());
    let mut call = limiter.through(way, &succeed);
    assert!(poll(&mut call).is_ready());
}

#[test]
fn l2_an_idle_limiter_needs_no_runtime_and_a_spent_one_neither() {
    let limiter = RateLimiter::new("api", 1, secs(3600)).expect("good settings");
    assert!(limiter.try_acquire().is_ok());
    assert!(limiter.try_acquire().is_err());
    assert!(poll(&mut Box::pin(limiter.acquire())).is_ready());
}

async fn l3_queued_calls_begin_in_order_each_at_its_time(way: Way) {
    let (limiter, starts) = (queueing(2, 4), Starts::new());
    let ops: Vec<_> = (0..6).map(|number| starts.numbered(number)).collect();
    let calls: Vec<_> = ops.iter().map(|op| limiter.through(way, op)).collect();
    assert_eq!(available_and_queued(&limiter), (0, 4));
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(ms(500))), "the queue is full");
    // Polled in the other order, which must not matter.
    let answers = futures::future::join_all(calls.into_iter().rev()).await;
    assert!(answers.iter().all(Result::is_ok));
    let mut seen = starts.take();
    // The first two were not queued. A tower service's operation begins when its future is polled.
    seen[..2].sort_unstable();
    assert_eq!(seen, (0..6).zip([0, 0, 100, 200, 300, 400].map(ms)).collect::<Vec<_>>());
    assert_eq!(available_and_queued(&limiter), (0, 0));
}

async fn l3_a_wait_that_would_be_too_long_is_not_begun(way: Way) {
    let limiter = RateLimiter::builder("api", 10, secs(1)).burst(1).queue(100, ms(250)).build().expect("good settings");
    assert!(limiter.try_acquire().is_ok());
    let waiting = [(); 2].map(|()| start(&limiter, way, &hang()));
    let begun = Instant::now();
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(ms(300))));
    assert_eq!((begun.elapsed(), available_and_queued(&limiter)), (Duration::ZERO, (0, 2)));
    drop(waiting);
    assert!(limiter.through(way, &succeed()).await.is_ok());
    assert_eq!(begun.elapsed(), ms(100));
}

async fn l3_a_dropped_waiter_lets_the_others_begin_earlier(way: Way) {
    let (limiter, starts) = (queueing(1, 3), Starts::new());
    assert!(limiter.try_acquire().is_ok());
    let [first, second] = [(); 2].map(|()| start(&limiter, way, &hang()));
    let third = starts.numbered(3);
    let third = limiter.through(way, &third);
    drop(second);
    drop(first);
    assert_eq!((third.await, starts.take()), (Ok(3), vec![(3, ms(100))]));
    assert_eq!(told_permit(limiter.try_acquire()), Some(ms(100)), "no permit was made");
}

async fn l3_a_dropped_waiter_that_was_due_passes_its_permit_on(way: Way) {
    let limiter = queueing(1, 3);
    assert!(limiter.try_acquire().is_ok());
    let due = start(&limiter, way, &hang());
    let next = limiter.clone();
    let next = tokio::spawn(async move { next.through(way, &succeed()).await });
    tokio::task::yield_now().await;
    pass(ms(100)).await;
    assert_eq!(available_and_queued(&limiter), (1, 2), "it is due, though it has not noticed");
    assert!(limiter.try_acquire().is_err(), "no one overtakes it");
    drop(due);
    let begun = Instant::now();
    assert!(next.await.expect("no panic").is_ok());
    assert_eq!((begun.elapsed(), available_and_queued(&limiter)), (Duration::ZERO, (0, 0)));
}

async fn l3_the_time_of_a_rejection_counts_those_that_wait(way: Way) {
    let limiter = queueing(1, 2);
    assert!(limiter.try_acquire().is_ok());
    let _waiting = [(); 2].map(|()| start(&limiter, way, &hang()));
    pass(ms(40)).await;
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(ms(260))));
    assert_eq!(told_permit(limiter.try_acquire()), Some(ms(260)));
}

async fn l3_behind_a_call_that_is_not_polled_a_wait_ends_too(way: Way) {
    let limiter = queueing(1, 2);
    assert!(limiter.try_acquire().is_ok());
    let _not_polled_again = start(&limiter, way, &hang());
    let begun = Instant::now();
    assert!(told(limiter.through(way, &succeed()).await).is_some());
    assert_eq!((begun.elapsed(), available_and_queued(&limiter)), (secs(10), (1, 1)));
}

async fn l3_a_permit_that_is_there_wins_over_the_end_of_the_wait(way: Way) {
    let (limiter, succeed) = (queueing(1, 2), succeed());
    assert!(limiter.try_acquire().is_ok());
    let mut waiting = limiter.through(way, &succeed);
    pass(secs(60)).await;
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)));
}

async fn l3_the_longest_wait_there_is(way: Way) {
    let year = secs(365 * 24 * 3600);
    let builder = RateLimiter::builder("api", 1, 30 * year).queue(usize::MAX, Duration::MAX);
    let limiter = builder.build().expect("good settings");
    assert!(limiter.try_acquire().is_ok());
    let mut waiting = start(&limiter, way, &succeed());
    pass(29 * year).await;
    assert!(poll(&mut waiting).is_pending());
    pass(year).await;
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)));
}

async fn l4_a_higher_limit_lets_waiters_begin_earlier(way: Way) {
    let limiter = RateLimiter::builder("api", 1, secs(5)).queue(9, secs(60)).build().expect("good settings");
    assert!(limiter.try_acquire().is_ok());
    let calls: Vec<_> = (0..2)
        .map(|_| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.through(way, &succeed()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    pass(ms(10)).await;
    limiter.set_rate(10, secs(1)).expect("a good rate");
    assert_eq!((limiter.limit(), limiter.period(), limiter.snapshot().burst), (10, secs(1), 10));
    let begun = Instant::now();
    for call in calls {
        assert!(call.await.expect("no panic").is_ok());
    }
    assert_eq!(begun.elapsed(), ms(200), "as if the new limiter were spent");
}

async fn l4_a_lower_limit_rejects_waiters_that_would_be_late(way: Way) {
    let limiter = queueing(1, 9);
    assert!(limiter.try_acquire().is_ok());
    let mut calls: Vec<_> = (0..3).map(|_| start(&limiter, way, &succeed())).collect();
    limiter.set_rate(1, secs(6)).expect("a good rate");
    assert_eq!(available_and_queued(&limiter), (0, 2), "the burst was set, and stays");
    let late = poll(&mut calls.pop().expect("the last"));
    assert!(matches!(late, Poll::Ready(Err(_))), "rejected before its wait is over: {late:?}");
    let begun = Instant::now();
    for call in calls {
        assert!(call.await.is_ok());
    }
    // What was used before counts as the time that it was.
    assert_eq!(begun.elapsed(), ms(6100));
}

async fn l4_zero_rejects_all_and_what_was_used_stays_used(way: Way) {
    let limiter = queueing(3, 9);
    for _ in 0..3 {
        assert!(limiter.try_acquire().is_ok());
    }
    let mut waiting = start(&limiter, way, &succeed());
    limiter.set_rate(0, secs(1)).expect("a good rate");
    for _ in 0..2 {
        let answer = limiter.through(way, &succeed()).await;
        assert_eq!(told(answer), Some(None), "no wait helps");
        let answer = poll(&mut waiting);
        assert!(matches!(answer, Poll::Ready(Err(_))), "{answer:?}");
        waiting = Box::pin(ready(Err(withstand::Error::Inner("done"))));
    }
    let error = limiter.try_acquire().expect_err("no permits");
    assert_eq!(error.to_string(), "rate limiter `api` is spent (limit 0), and no wait would help");
    assert_eq!((available_and_queued(&limiter), limiter.quota().reset_in), ((0, 0), secs(1)));
    limiter.set_rate(10, secs(1)).expect("a good rate");
    assert_eq!(available_and_queued(&limiter), (0, 0));
    assert_eq!(told_permit(limiter.try_acquire()), Some(ms(100)));
}

#[tokio::test(start_paused = true)]
async fn l4_a_bad_rate_changes_nothing() {
    let limiter = spent(2, secs(1));
    for (limit, period, field) in [(1, Duration::ZERO, "period"), (11, Duration::from_nanos(10), "limit")] {
        let error = limiter.set_rate(limit, period).expect_err("a bad rate");
        assert_eq!(error.settings().iter().map(|bad| bad.field()).collect::<Vec<_>>(), [field]);
    }
    assert_eq!((limiter.limit(), limiter.period(), told_permit(limiter.try_acquire())), (2, secs(1), Some(ms(500))));
}

async fn l5_a_window_begins_with_the_first_call(way: Way) {
    let limiter = RateLimiter::fixed_window("api", 2, secs(60)).expect("good settings");
    pass(secs(59)).await;
    for _ in 0..3 {
        assert!(limiter.through(way, &succeed()).await.is_ok());
        pass(secs(20)).await;
        assert!(limiter.through(way, &succeed()).await.is_ok());
        assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(secs(40))));
        pass(secs(40) - Duration::from_nanos(1)).await;
        assert!(limiter.through(way, &succeed()).await.is_err());
        // The next one begins later than this one ends.
        pass(secs(7)).await;
    }
}

async fn l5_around_the_end_of_a_window_it_may_be_twice_the_limit(way: Way) {
    let limiter = RateLimiter::fixed_window("api", 3, secs(60)).expect("good settings");
    assert!(limiter.through(way, &succeed()).await.is_ok());
    pass(ms(59_999)).await;
    assert!(limiter.through(way, &succeed()).await.is_ok() && limiter.through(way, &succeed()).await.is_ok());
    pass(ms(1)).await;
    for _ in 0..3 {
        assert!(limiter.through(way, &succeed()).await.is_ok());
    }
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(secs(60))));
}

async fn l5_waiters_begin_in_the_windows_to_come(way: Way) {
    let builder = RateLimiter::builder("api", 2, secs(1)).fixed_window().queue(9, ms(2500));
    let (limiter, starts) = (builder.build().expect("good settings"), Starts::new());
    let ops: Vec<_> = (0..6).map(|number| starts.numbered(number)).collect();
    let calls: Vec<_> = ops.iter().map(|op| limiter.through(way, op)).collect();
    assert_eq!(told(limiter.through(way, &succeed()).await), Some(Some(secs(3))), "later than it may wait");
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(starts.take(), (0..6).zip([0, 0, 1, 1, 2, 2].map(secs)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn l5_a_limit_that_changes_keeps_the_count_and_the_beginning() {
    let limiter = RateLimiter::fixed_window("api", 2, secs(60)).expect("good settings");
    assert!(limiter.try_acquire_many(2).is_ok());
    pass(secs(10)).await;
    limiter.set_rate(3, secs(30)).expect("a good rate");
    assert_eq!((limiter.try_acquire(), told_permit(limiter.try_acquire())), (Ok(()), Some(secs(20))));
    limiter.set_rate(9, secs(5)).expect("a good rate");
    assert!(limiter.try_acquire_many(9).is_ok(), "its window has passed");
    assert_eq!(told_permit(limiter.try_acquire()), Some(secs(5)));
}

#[tokio::test(start_paused = true)]
async fn l6_several_permits_are_taken_all_at_once_or_not_at_all() {
    let limiter = RateLimiter::builder("tokens", 10, secs(1)).burst(5).build().expect("good settings");
    assert!(limiter.try_acquire_many(4).is_ok());
    assert_eq!(told_permit(limiter.try_acquire_many(3)), Some(ms(200)));
    assert_eq!(limiter.snapshot().available, 1, "none was taken");
    assert!(limiter.try_acquire_many(1).is_ok() && limiter.acquire_many(0).await.is_ok());
    pass(ms(300)).await;
    assert!(limiter.acquire_many(3).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn l6_more_than_the_burst_is_rejected_at_once_and_never_waits() {
    let limiter = queueing(5, 3);
    let window = RateLimiter::builder("api", 5, secs(1)).fixed_window().queue(3, secs(10)).build();
    for limiter in [limiter, window.expect("good settings")] {
        assert_eq!(told_permit(limiter.try_acquire_many(6)), None);
        assert_eq!(told_permit(limiter.acquire_many(6).await), None);
        let _waiting = (limiter.acquire_many(5).await, limiter.acquire());
        assert_eq!(told_permit(limiter.acquire_many(u32::MAX).await), None, "though others wait");
        assert_eq!((limiter.snapshot().queued, limiter.snapshot().rejected), (1, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn l6_heavy_waiters_begin_in_order_when_all_their_permits_are_there() {
    let limiter = queueing(5, 3);
    assert!(limiter.try_acquire_many(5).is_ok());
    let begun = Instant::now();
    let wait = |permits| {
        let limiter = limiter.clone();
        async move {
            limiter.acquire_many(permits).await.expect("in time");
            begun.elapsed()
        }
    };
    let times = futures::future::join3(wait(5), wait(1), wait(2)).await;
    assert_eq!(times, (ms(500), ms(600), ms(800)));
}

#[tokio::test(start_paused = true)]
async fn l1_threads_never_take_more_than_there_are() {
    const LIMIT: u32 = 1000;
    for limiter in [RateLimiter::new("api", LIMIT, secs(3600)), RateLimiter::fixed_window("api", LIMIT, secs(3600))] {
        let (limiter, taken) = (limiter.expect("good settings"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Their clocks are real, and the test is over long before another permit comes.
                scope.spawn(|| {
                    while limiter.clone().try_acquire().is_ok() {
                        taken.fetch_add(1, SeqCst);
                    }
                });
            }
        });
        assert!((LIMIT..LIMIT + 3).contains(&(taken.load(SeqCst) as u32)), "{taken:?}");
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

#[test]
fn g3_a_clock_that_was_set_back_gives_no_permit_more_and_blocks_no_one() {
    let make = [
        || RateLimiter::new("api", 3, secs(3)).expect("good settings"),
        || RateLimiter::fixed_window("api", 3, secs(3)).expect("good settings"),
    ];
    for (make, next) in make.into_iter().zip([secs(1), secs(3)]) {
        let limiter = paused().block_on(async {
            pass(secs(100_000)).await;
            let limiter = make();
            assert!(limiter.try_acquire_many(3).is_ok());
            limiter
        });
        paused().block_on(async {
            assert_eq!(limiter.snapshot().available, 0);
            let told = told_permit(limiter.try_acquire()).expect("known");
            assert!(told <= next, "{told:?}");
            pass(next).await;
            assert!(limiter.try_acquire().is_ok(), "it moves");
            pass(secs(3)).await;
            assert!(limiter.try_acquire_many(3).is_ok() && limiter.try_acquire().is_err());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn g3_no_timer_outlives_the_wait() {
    let limiter = RateLimiter::builder("api", 1, secs(5)).queue(1, secs(10)).build().expect("good settings");
    assert!(limiter.try_acquire().is_ok());
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(wakes.clone());
    let mut acquire = Box::pin(limiter.acquire());
    assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // So it is there long before its timer would have fired.
    limiter.set_rate(1, ms(1)).expect("a good rate");
    pass(ms(1)).await;
    assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    let told = wakes.0.load(SeqCst);
    tokio::time::sleep(secs(20)).await;
    assert_eq!(wakes.0.load(SeqCst), told, "its future is kept, and so is its timer");
}

#[tokio::test(start_paused = true)]
async fn l3_each_permit_wakes_one_waiter() {
    let limiter = queueing(1, 50);
    assert!(limiter.try_acquire().is_ok());
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(wakes.clone());
    let mut waiting: Vec<_> = (0..50).map(|_| Box::pin(limiter.acquire())).collect();
    for acquire in &mut waiting {
        assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    for (number, mut first) in (1..).zip(waiting) {
        tokio::time::sleep(ms(100)).await;
        assert!(first.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        // The timer of the first, and the first itself, which makes the next one the first.
        let woken = wakes.0.load(SeqCst);
        assert!(woken <= 2 * number, "{woken} after {number}");
    }
}

async fn g0_the_call_takes_its_permit_before_it_is_polled(way: Way) {
    let (limiter, starts) = (RateLimiter::new("api", 1, secs(1)).expect("good settings"), Starts::new());
    let counted = starts.numbered(1);
    let unpolled = limiter.through(way, &counted);
    assert_eq!(starts.take().len(), usize::from(way == Way::Plain));
    assert!(told(limiter.through(way, &succeed()).await).is_some());
    drop(unpolled);
}

async fn g2_a_panic_uses_its_permit_and_harms_nothing(way: Way) {
    let limiter = queueing(1, 2);
    for panics in [op(|| -> std::future::Ready<Answer> { panic!("while it starts") }), op(|| async { panic!("runs") })]
    {
        let panicking = limiter.clone();
        assert!(tokio::spawn(async move { panicking.through(way, &panics).await }).await.is_err());
        assert_eq!(available_and_queued(&limiter), (0, 0));
        assert!(limiter.through(way, &succeed()).await.is_ok(), "after a wait");
    }
}

async fn g2_a_panicking_listener_is_caught(way: Way) {
    let builder = RateLimiter::builder("api", 0, secs(1)).listener_fn(|_| panic!("listener"));
    let limiter = builder.build().expect("good settings");
    assert!(told(limiter.through(way, &succeed()).await).is_some());
}

async fn g5_it_reports_rejections(way: Way) {
    let log = Log::new();
    let builder = RateLimiter::builder("api", 1, secs(1)).queue(1, ms(1500)).listener_fn(log.listener());
    let limiter = builder.build().expect("good settings");
    assert!(limiter.through(way, &succeed()).await.is_ok());
    let mut waiting = start(&limiter, way, &hang());
    assert_eq!(log.take(), []);
    assert!(limiter.through(way, &succeed()).await.is_err());
    assert!(limiter.try_acquire().is_err());
    limiter.set_rate(1, secs(9)).expect("a good rate");
    limiter.set_rate(0, secs(9)).expect("a good rate");
    assert_eq!(log.take().len(), 2, "it is told when it is polled");
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(_))));
    let told = log.take();
    assert!(
        matches!(&told[..], [RateLimiterEvent::Rejected { name, limit: 0, period, retry_after: None, .. }]
            if name.as_str() == "api" && *period == secs(9)),
        "{told:?}"
    );
}

async fn g8_a_loop_on_rejections_lets_another_task_run(way: Way) {
    let (limiter, has_run) = (spent(1, secs(3600)), Arc::new(AtomicUsize::new(0)));
    let sets = has_run.clone();
    let other = tokio::spawn(async move { sets.store(1, SeqCst) });
    let mut rejections = 0;
    while has_run.load(SeqCst) == 0 {
        assert!(told(limiter.through(way, &succeed()).await).is_some());
        rejections += 1;
        assert!(rejections < 100_000, "the loop keeps the thread to itself");
    }
    assert_eq!(rejections, 32);
    other.await.expect("no panic");
}

async fn g8_every_32nd_rejected_call_pends_once_and_wakes_itself(way: Way) {
    let limiter = spent(1, secs(3600));
    let (wakes, succeed) = (Arc::<Wakes>::default(), succeed());
    let waker = Waker::from(wakes.clone());
    let mut pended = Vec::new();
    for number in 1..=96 {
        // A permit is no call: it cannot pend, and does not take a call's turn.
        assert!(limiter.try_acquire().is_err());
        let mut call = limiter.through(way, &succeed);
        if call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            pended.push(number);
            assert_eq!(wakes.0.load(SeqCst), pended.len());
            assert!(poll(&mut call).is_ready(), "it pends once");
        }
    }
    assert_eq!((pended, wakes.0.load(SeqCst), limiter.snapshot().rejected), (vec![32, 64, 96], 3, 193));
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn g7_a_queued_call_holds_no_readiness() {
    let limited = ConcurrencyLimit::new(Perform::default(), 1);
    let limiter = queueing(1, 1);
    assert!(limiter.try_acquire().is_ok());
    let mut service = limiter.layer().layer(limited.clone());
    let waiting = tokio::spawn(service.ready().await.expect("always ready").call(succeed()));
    tokio::task::yield_now().await;
    assert_eq!(available_and_queued(&limiter), (0, 1));
    let other = tokio::time::timeout(ms(1), limited.oneshot(succeed())).await.expect("its permit is free");
    assert!(other.is_ok());
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn g7_idle_ready_clones_have_used_no_permit() {
    let limiter = RateLimiter::new("api", 1, secs(1)).expect("good settings");
    let service = limiter.layer().layer(Perform::default());
    for _ in 0..5 {
        service.clone().ready().await.expect("always ready");
    }
    assert!(service.oneshot(succeed()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn g2_the_queue_is_left_when_a_service_panics_while_it_is_cloned() {
    struct PanicsWhenCloned;

    impl Clone for PanicsWhenCloned {
        fn clone(&self) -> Self {
            panic!("as asked")
        }
    }

    impl<R> Service<R> for PanicsWhenCloned {
        type Response = u32;
        type Error = Failure;
        type Future = std::future::Ready<Answer>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: R) -> Self::Future {
            ready(Ok(1))
        }
    }

    let limiter = queueing(1, 1);
    let mut service = limiter.layer().layer(PanicsWhenCloned);
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(())))).is_err());
        assert_eq!(available_and_queued(&limiter), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn g6_what_it_tells_of_itself() {
    let limiter = queueing(4, 2);
    let snapshot = limiter.snapshot();
    assert_eq!((limiter.name(), limiter.queue_capacity(), limiter.max_wait()), ("api", 2, Some(secs(10))));
    assert_eq!((snapshot.limit, snapshot.period, snapshot.burst, snapshot.queue_capacity), (10, secs(1), 4, 2));
    assert!(limiter.try_acquire_many(4).is_ok());
    pass(ms(250)).await;
    assert_eq!(limiter.snapshot().available, 2);
    assert!(limiter.try_acquire_many(2).is_ok());
    let _waiting = limiter.acquire();
    assert_eq!((limiter.snapshot().available, limiter.snapshot().queued), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn g6_a_quota_tells_when_more_is_there() {
    let quota = |limiter: &RateLimiter| {
        let quota = limiter.quota();
        (quota.limit, quota.remaining, quota.reset_in, quota.window)
    };
    let limiter = RateLimiter::new("api", 4, secs(2)).expect("good settings");
    assert_eq!(quota(&limiter), (4, 4, Duration::ZERO, secs(2)));
    assert!(limiter.try_acquire().is_ok());
    pass(ms(200)).await;
    assert_eq!(quota(&limiter), (4, 3, ms(300), secs(2)));
    assert!(limiter.try_acquire_many(3).is_ok());
    let (_, remaining, reset_in, _) = quota(&limiter);
    assert_eq!((remaining, Some(reset_in)), (0, told_permit(limiter.try_acquire())));

    let window = RateLimiter::fixed_window("api", 100, secs(900)).expect("good settings");
    assert_eq!(quota(&window), (100, 100, Duration::ZERO, secs(900)));
    assert!(window.try_acquire_many(63).is_ok());
    pass(secs(488)).await;
    assert_eq!(quota(&window), (100, 37, secs(412), secs(900)));
    pass(secs(412)).await;
    assert_eq!(quota(&window), (100, 100, Duration::ZERO, secs(900)));
}

#[test]
fn g2_handle_and_builder_are_unwind_safe() {
    use std::panic::{RefUnwindSafe, UnwindSafe};

    static_assertions::assert_impl_all!(RateLimiter: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(withstand::RateLimiterBuilder: UnwindSafe, RefUnwindSafe);
}
