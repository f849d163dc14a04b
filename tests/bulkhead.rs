//! The bulkhead's laws, K1 to K3, and what G1 to G7 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use support::*;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, limit::ConcurrencyLimit, service_fn};
use withstand::{Bulkhead, BulkheadEvent, Error, Rejected};

both_ways! {
    k1_at_most_so_many_run_at_once,
    k1_without_a_queue_it_rejects_at_once,
    k1_queued_calls_run_in_order,
    k1_a_dropped_waiter_lets_the_next_run,
    k1_a_waiter_dropped_after_its_slot_was_granted_passes_it_on,
    k1_a_free_slot_is_taken_without_awaiting_anything,
    k1_a_wait_that_is_over_is_bulkhead_full,
    k1_a_granted_slot_wins_over_the_end_of_the_wait,
    k1_the_longest_wait_there_is_never_ends,
    k3_raising_the_limit_lets_queued_calls_run,
    k3_lowering_the_limit_takes_effect_as_calls_finish,
    k3_zero_drains,
    g0_the_call_takes_its_slot_before_it_is_polled,
    g1_the_operation_is_dropped_before_its_slot_is_free,
    g1_a_slot_returns_when_the_call_completes_though_the_future_is_kept,
    g2_a_panic_gives_the_slot_back,
    g2_a_panicking_listener_is_caught,
    g5_it_reports_rejections,
    g5_all_listeners_are_told_in_order_though_one_panics,
    g8_a_loop_on_rejections_lets_another_task_run,
    g8_a_loop_on_rejections_lets_a_timer_fire,
    g8_every_32nd_rejected_call_pends_once_and_wakes_itself,
}

fn queueing(slots: usize, queue_capacity: usize) -> Bulkhead {
    Bulkhead::builder("users", slots).queue(queue_capacity, secs(10)).build().expect("good settings")
}

fn running_and_queued(bulkhead: &Bulkhead) -> (usize, usize) {
    let snapshot = bulkhead.snapshot();
    (snapshot.in_flight, snapshot.queued)
}

fn full_after(answer: Answer) -> Option<Option<Duration>> {
    match rejected(answer) {
        Some(Rejected::BulkheadFull(full)) => Some(full.waited()),
        _ => None,
    }
}

fn start<'a>(bulkhead: &'a Bulkhead, way: Way, op: &Op) -> BoxFuture<'a, Answer> {
    let mut call = bulkhead.through(way, op);
    assert!(poll(&mut call).is_pending());
    call
}

async fn k1_at_most_so_many_run_at_once(way: Way) {
    let bulkhead = queueing(3, 100);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let watched = op(move || {
        let (running, most) = (running.clone(), seen.clone());
        async move {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(ms(100)).await;
            running.fetch_sub(1, SeqCst);
            Ok(1)
        }
    });
    let start = Instant::now();
    let answers = futures::future::join_all((0..10).map(|_| bulkhead.through(way, &watched))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((most.load(SeqCst), start.elapsed()), (3, ms(400)));
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

async fn k1_without_a_queue_it_rejects_at_once(way: Way) {
    let bulkhead = Bulkhead::new("users", 1);
    let _running = start(&bulkhead, way, &hang());
    let answer = bulkhead.through(way, &succeed()).await;
    let error = rejected(answer).expect("rejected");
    assert_eq!(error.to_string(), "bulkhead `users` is full (1 at once)");
    assert_eq!((error.was_started(), error.retry_after(), bulkhead.snapshot().rejected), (false, None, 1));
}

async fn k1_queued_calls_run_in_order(way: Way) {
    let bulkhead = queueing(1, 3);
    let order = Arc::new(Mutex::new(Vec::new()));
    let numbered = |number| {
        let order = order.clone();
        op(move || {
            order.lock().expect("no panic").push(number);
            async {
                tokio::time::sleep(ms(10)).await;
                Ok(1)
            }
        })
    };
    let calls: Vec<_> = (0..4).map(|number| bulkhead.through(way, &numbered(number))).collect();
    assert_eq!(running_and_queued(&bulkhead), (1, 3));
    assert_eq!(full_after(bulkhead.through(way, &succeed()).await), Some(None), "the queue is full");
    // Polled in the other order, which must not matter.
    futures::future::join_all(calls.into_iter().rev()).await;
    assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3]);
}

async fn k1_a_dropped_waiter_lets_the_next_run(way: Way) {
    let bulkhead = queueing(1, 3);
    let running = start(&bulkhead, way, &hang());
    let waiting = start(&bulkhead, way, &hang());
    let (next, starts) = fail_times(0);
    let mut next = start(&bulkhead, way, &next);
    drop(waiting);
    assert_eq!(running_and_queued(&bulkhead), (1, 1));
    drop(running);
    assert!(poll(&mut next).is_ready());
    assert_eq!((starts.load(SeqCst), running_and_queued(&bulkhead)), (1, (0, 0)));
}

async fn k1_a_waiter_dropped_after_its_slot_was_granted_passes_it_on(way: Way) {
    let bulkhead = queueing(1, 3);
    let running = start(&bulkhead, way, &hang());
    let granted = start(&bulkhead, way, &hang());
    let next = bulkhead.clone();
    let next = tokio::spawn(async move { next.through(way, &succeed()).await });
    tokio::task::yield_now().await;
    assert_eq!(running_and_queued(&bulkhead), (1, 2));
    drop(running);
    assert_eq!(running_and_queued(&bulkhead), (1, 1), "granted, though it has not noticed");
    drop(granted);
    let woken = tokio::time::timeout(ms(1), next).await.expect("woken");
    assert!(woken.expect("no panic").is_ok());
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

async fn k1_a_free_slot_is_taken_without_awaiting_anything(way: Way) {
    let bulkhead = queueing(1, 3);
    let succeed = succeed();
    let mut call = bulkhead.through(way, &succeed);
    assert!(poll(&mut call).is_ready());
}

async fn k1_a_wait_that_is_over_is_bulkhead_full(way: Way) {
    let bulkhead = queueing(1, 3);
    let _running = start(&bulkhead, way, &hang());
    let start = Instant::now();
    assert_eq!(full_after(bulkhead.through(way, &succeed()).await), Some(Some(secs(10))));
    assert_eq!((start.elapsed(), running_and_queued(&bulkhead)), (secs(10), (1, 0)));
}

async fn k1_a_granted_slot_wins_over_the_end_of_the_wait(way: Way) {
    let bulkhead = queueing(1, 3);
    let running = start(&bulkhead, way, &hang());
    let succeed = succeed();
    let mut waiting = bulkhead.through(way, &succeed);
    pass(secs(60)).await;
    drop(running);
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(1))));
}

async fn k1_the_longest_wait_there_is_never_ends(way: Way) {
    let bulkhead = Bulkhead::builder("users", 1).queue(usize::MAX, Duration::MAX).build().expect("good settings");
    let running = start(&bulkhead, way, &hang());
    let mut waiting = start(&bulkhead, way, &succeed());
    pass(secs(3_000_000_000)).await;
    assert!(poll(&mut waiting).is_pending());
    drop(running);
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(1)));
}

async fn k3_raising_the_limit_lets_queued_calls_run(way: Way) {
    let bulkhead = queueing(1, 9);
    let calls: Vec<_> = (0..5).map(|_| start(&bulkhead, way, &hang())).collect();
    bulkhead.set_max_concurrent(3);
    assert_eq!((bulkhead.snapshot().max_concurrent, running_and_queued(&bulkhead)), (3, (3, 2)));
    bulkhead.set_max_concurrent(usize::MAX);
    assert_eq!(running_and_queued(&bulkhead), (5, 0));
    drop(calls);
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

async fn k3_lowering_the_limit_takes_effect_as_calls_finish(way: Way) {
    let bulkhead = queueing(3, 9);
    let mut running: Vec<_> = (0..3).map(|_| start(&bulkhead, way, &hang())).collect();
    let waiting = start(&bulkhead, way, &hang());
    bulkhead.set_max_concurrent(1);
    running.pop();
    running.pop();
    assert_eq!(running_and_queued(&bulkhead), (1, 1));
    running.pop();
    assert_eq!(running_and_queued(&bulkhead), (1, 0));
    drop(waiting);
}

async fn k3_zero_drains(way: Way) {
    let bulkhead = Bulkhead::new("users", 2);
    let running = start(&bulkhead, way, &hang());
    bulkhead.set_max_concurrent(0);
    assert_eq!(full_after(bulkhead.through(way, &succeed()).await), Some(None));
    drop(running);
    assert_eq!(full_after(bulkhead.through(way, &succeed()).await), Some(None));
    bulkhead.set_max_concurrent(1);
    assert!(bulkhead.through(way, &succeed()).await.is_ok());
}

async fn g0_the_call_takes_its_slot_before_it_is_polled(way: Way) {
    let bulkhead = Bulkhead::new("users", 1);
    let succeed = succeed();
    let unpolled = bulkhead.through(way, &succeed);
    assert!(full_after(bulkhead.through(way, &succeed).await).is_some());
    drop(unpolled);
    assert!(bulkhead.through(way, &succeed).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn g0_the_plain_call_starts_the_operation_before_it_is_polled() {
    let bulkhead = queueing(1, 1);
    let starts = AtomicUsize::new(0);
    let count = || {
        starts.fetch_add(1, SeqCst);
        ready(Answer::Ok(1))
    };
    let (running, waiting) = (bulkhead.call(count), bulkhead.call(count));
    assert_eq!(starts.load(SeqCst), 1, "the queued operation starts when it has its slot");
    assert!(running.await.is_ok() && waiting.await.is_ok());
    assert_eq!(starts.load(SeqCst), 2);
}

async fn g1_the_operation_is_dropped_before_its_slot_is_free(way: Way) {
    struct Seen(Bulkhead, Arc<AtomicUsize>);
    impl Drop for Seen {
        fn drop(&mut self) {
            self.1.store(self.0.snapshot().in_flight, SeqCst);
        }
    }
    // Dropped while it runs; done; and none, for it panics while it starts.
    for is_pending in [Some(true), Some(false), None] {
        let bulkhead = Bulkhead::new("users", 1);
        let slots_taken = Arc::new(AtomicUsize::new(9));
        let (watched, slots) = (bulkhead.clone(), slots_taken.clone());
        let watching = op(move || {
            let seen = Seen(watched.clone(), slots.clone());
            assert!(is_pending.is_some(), "as asked");
            async move {
                let _seen = seen;
                if is_pending == Some(true) { pending().await } else { Ok(1) }
            }
        });
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut bulkhead.through(way, &watching)).is_pending()));
        assert_eq!(polled.ok(), is_pending);
        assert_eq!((slots_taken.load(SeqCst), bulkhead.snapshot().in_flight), (1, 0));
    }
}

async fn g1_a_slot_returns_when_the_call_completes_though_the_future_is_kept(way: Way) {
    let bulkhead = Bulkhead::new("users", 1);
    let succeed = succeed();
    let mut finished = bulkhead.through(way, &succeed);
    assert!(poll(&mut finished).is_ready());
    assert!(bulkhead.through(way, &succeed).await.is_ok());
    drop(finished);
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

async fn g2_a_panic_gives_the_slot_back(way: Way) {
    let bulkhead = queueing(1, 1);
    for panics in [op(|| -> std::future::Ready<Answer> { panic!("while it starts") }), op(|| async { panic!("runs") })]
    {
        let panicking = bulkhead.clone();
        assert!(tokio::spawn(async move { panicking.through(way, &panics).await }).await.is_err());
        assert_eq!(running_and_queued(&bulkhead), (0, 0));
    }
    let running = start(&bulkhead, way, &hang());
    let panicking = bulkhead.clone();
    let panics = op(|| -> std::future::Ready<Answer> { panic!("while it starts, from the queue") });
    let panicked = tokio::spawn(async move { panicking.through(way, &panics).await });
    tokio::task::yield_now().await;
    drop(running);
    assert!(panicked.await.is_err());
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

async fn g2_a_panicking_listener_is_caught(way: Way) {
    let bulkhead = Bulkhead::builder("users", 0).listener_fn(|_| panic!("listener")).build().expect("good settings");
    assert!(full_after(bulkhead.through(way, &succeed()).await).is_some());
}

async fn g5_all_listeners_are_told_in_order_though_one_panics(way: Way) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = |number| {
        let told = told.clone();
        move |_: &BulkheadEvent| {
            told.lock().expect("no panic while pushing").push(number);
            assert_ne!(number, 2, "the second listener panics");
        }
    };
    let builder = Bulkhead::builder("users", 0).listener_fn(tell(1)).listener_fn(tell(2)).listener_fn(tell(3));
    let bulkhead = builder.build().expect("good settings");
    assert!(full_after(bulkhead.through(way, &succeed()).await).is_some());
    assert_eq!(*told.lock().expect("no panic while pushing"), [1, 2, 3]);
}

async fn g5_it_reports_rejections(way: Way) {
    let log = Log::new();
    let builder = Bulkhead::builder("users", 1).queue(1, secs(10)).listener_fn(log.listener());
    let bulkhead = builder.build().expect("good settings");
    let _running = start(&bulkhead, way, &hang());
    let mut waiting = start(&bulkhead, way, &hang());
    assert_eq!(log.take(), []);
    assert!(bulkhead.through(way, &succeed()).await.is_err());
    pass(secs(10)).await;
    assert!(matches!(poll(&mut waiting), Poll::Ready(Err(_))));
    let waits: Vec<_> = log
        .take()
        .into_iter()
        .map(|event| match event {
            BulkheadEvent::Rejected { name, max_concurrent: 1, waited, .. } if name.as_str() == "users" => waited,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(waits, [None, Some(secs(10))]);
}

/// How many calls are rejected, one after another, until this is set.
async fn rejections_until(is_set: &AtomicUsize, bulkhead: &Bulkhead, way: Way) -> usize {
    let mut rejections = 0;
    while is_set.load(SeqCst) == 0 {
        let answer = tokio::time::timeout(secs(60), bulkhead.through(way, &succeed())).await.expect("it wakes itself");
        assert!(full_after(answer).is_some());
        rejections += 1;
        assert!(rejections < 100_000, "the loop keeps the thread to itself");
    }
    rejections
}

async fn g8_a_loop_on_rejections_lets_another_task_run(way: Way) {
    let (bulkhead, has_run) = (Bulkhead::new("users", 0), Arc::new(AtomicUsize::new(0)));
    let sets = has_run.clone();
    let other = tokio::spawn(async move { sets.store(1, SeqCst) });
    assert_eq!(rejections_until(&has_run, &bulkhead, way).await, 32);
    other.await.expect("no panic");
}

async fn g8_a_loop_on_rejections_lets_a_timer_fire(way: Way) {
    let (bulkhead, has_fired) = (Bulkhead::new("users", 0), Arc::new(AtomicUsize::new(0)));
    let sets = has_fired.clone();
    let sleeper = tokio::spawn(async move {
        tokio::time::sleep(ms(10)).await;
        sets.store(1, SeqCst);
    });
    // The clock stands still while a task is awake, so another one has to move it.
    let mover = tokio::spawn(async { pass(ms(11)).await });
    rejections_until(&has_fired, &bulkhead, way).await;
    sleeper.await.expect("no panic");
    mover.await.expect("no panic");
}

async fn g8_every_32nd_rejected_call_pends_once_and_wakes_itself(way: Way) {
    let bulkhead = Bulkhead::new("users", 0);
    let (wakes, succeed) = (Arc::<Wakes>::default(), succeed());
    let waker = std::task::Waker::from(wakes.clone());
    let mut pended = Vec::new();
    for number in 1..=96 {
        // A permit is no call: it cannot pend, and does not take a call's turn.
        assert!(bulkhead.try_acquire().is_err());
        let mut call = bulkhead.through(way, &succeed);
        if call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            pended.push(number);
            assert_eq!(wakes.0.load(SeqCst), pended.len());
            assert!(poll(&mut call).is_ready(), "it pends once");
        }
    }
    assert_eq!((pended, wakes.0.load(SeqCst), bulkhead.snapshot().rejected), (vec![32, 64, 96], 3, 192));
}

#[tokio::test(start_paused = true)]
async fn g8_every_32nd_rejected_acquire_pends_once_and_wakes_itself() {
    let bulkhead = Bulkhead::new("users", 0);
    let wakes = Arc::<Wakes>::default();
    let waker = std::task::Waker::from(wakes.clone());
    let mut pended = Vec::new();
    for number in 1..=64 {
        let mut acquire = Box::pin(bulkhead.acquire());
        if acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            pended.push(number);
            assert!(poll(&mut acquire).is_ready(), "it pends once");
        }
    }
    assert_eq!((pended, wakes.0.load(SeqCst)), (vec![32, 64], 2));
}

#[tokio::test(start_paused = true)]
async fn k1_permits_alone_hold_slots() {
    let bulkhead = queueing(1, 1);
    let permit = bulkhead.try_acquire().expect("a slot is free");
    assert!(matches!(bulkhead.try_acquire(), Err(Rejected::BulkheadFull(_))));
    let waiting = bulkhead.acquire();
    assert!(bulkhead.acquire().await.is_err(), "the queue is full");
    drop(permit);
    let permit = waiting.await.expect("it was next");
    assert_eq!(running_and_queued(&bulkhead), (1, 0));
    let start = Instant::now();
    assert!(bulkhead.acquire().await.is_err());
    assert_eq!(start.elapsed(), secs(10));
    drop(permit);
    let kept = bulkhead.acquire();
    assert_eq!(running_and_queued(&bulkhead), (1, 0), "taken at once");
    drop(kept);
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn k1_a_new_call_does_not_overtake_those_in_the_queue() {
    let bulkhead = queueing(1, 5);
    let permit = bulkhead.try_acquire().expect("a slot is free");
    let waiting = bulkhead.acquire();
    drop(permit);
    assert!(bulkhead.try_acquire().is_err());
    drop(waiting);
    assert!(bulkhead.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn k2_idle_ready_clones_hold_no_slot() {
    let bulkhead = Bulkhead::new("users", 1);
    let service = bulkhead.layer().layer(Perform::default());
    let mut ready = Vec::new();
    for _ in 0..5 {
        let mut clone = service.clone();
        clone.ready().await.expect("always ready");
        ready.push(clone);
    }
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
    assert!(service.oneshot(succeed()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn k2_a_slow_readiness_counts_inside_the_slot() {
    let bulkhead = Bulkhead::new("users", 2);
    let service = bulkhead.layer().layer(ConcurrencyLimit::new(Perform::default(), 1));
    let calls = (0..5).map(|_| service.clone().oneshot(succeed_after(ms(10))));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn g7_a_queued_call_holds_no_readiness() {
    let limited = ConcurrencyLimit::new(Perform::default(), 1);
    let bulkhead = queueing(1, 1);
    let permit = bulkhead.try_acquire().expect("a slot is free");
    let mut service = bulkhead.layer().layer(limited.clone());
    let waiting = tokio::spawn(service.ready().await.expect("always ready").call(succeed()));
    tokio::task::yield_now().await;
    assert_eq!(running_and_queued(&bulkhead), (1, 1));
    let other = tokio::time::timeout(ms(1), limited.oneshot(succeed())).await.expect("its permit is free");
    assert!(other.is_ok());
    drop(permit);
    assert!(waiting.await.expect("no panic").is_ok());
}

#[tokio::test(start_paused = true)]
async fn g7_an_inner_readiness_error_passes_through() {
    #[derive(Clone)]
    struct Dead;
    impl Service<Op> for Dead {
        type Response = u32;
        type Error = Failure;
        type Future = std::future::Ready<Answer>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Err(Error::Inner("dead")))
        }

        fn call(&mut self, _: Op) -> Self::Future {
            ready(Ok(1))
        }
    }
    let bulkhead = Bulkhead::new("users", 1);
    assert_eq!(bulkhead.layer().layer(Dead).oneshot(succeed()).await, Err(Error::Inner("dead")));
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

#[test]
fn k1_threads_never_exceed_the_limit_and_lose_no_slot() {
    let bulkhead = Bulkhead::new("users", 3);
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if let Ok(_permit) = bulkhead.try_acquire() {
                        most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                        running.fetch_sub(1, SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.load(SeqCst) <= 3);
    assert_eq!(running_and_queued(&bulkhead), (0, 0));
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn g3_no_timer_outlives_the_wait_for_a_slot() {
    let bulkhead = queueing(1, 1);
    let permit = bulkhead.try_acquire().expect("it is free");
    let wakes = Arc::<Wakes>::default();
    let waker = std::task::Waker::from(wakes.clone());
    let mut acquire = Box::pin(bulkhead.acquire());
    assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(permit);
    assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
    let told = wakes.0.load(SeqCst);
    tokio::time::sleep(secs(20)).await;
    assert_eq!(wakes.0.load(SeqCst), told, "its future is kept, and so is its timer");
}

#[tokio::test(start_paused = true)]
async fn g1_the_request_is_dropped_before_its_slot_or_ticket_is_free_when_a_service_panics_while_it_is_cloned() {
    struct PanicsWhenCloned;

    impl Clone for PanicsWhenCloned {
        fn clone(&self) -> Self {
            panic!("as asked")
        }
    }

    impl<R> Service<R> for PanicsWhenCloned {
        type Response = u32;
        type Error = BoxError;
        type Future = std::future::Ready<Result<u32, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: R) -> Self::Future {
            ready(Ok(1))
        }
    }

    /// A request that looks, when it is dropped.
    struct Looks(Bulkhead, Arc<Mutex<(usize, usize)>>);

    impl Drop for Looks {
        fn drop(&mut self) {
            *self.1.lock().expect("no panic") = running_and_queued(&self.0);
        }
    }

    for must_wait in [false, true] {
        let bulkhead = queueing(1, 1);
        let slot = must_wait.then(|| bulkhead.try_acquire().expect("free"));
        let seen = Arc::new(Mutex::new((0, 0)));
        let request = Looks(bulkhead.clone(), seen.clone());
        let mut service = bulkhead.layer().layer(PanicsWhenCloned);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(request)))).is_err());
        assert_eq!(*seen.lock().expect("no panic"), (1, usize::from(must_wait)));
        drop(slot);
        assert_eq!(running_and_queued(&bulkhead), (0, 0));
    }
}

/// Calls whose operation is an `async` block, spawned: the compiler has to see that they are `Send` for every lifetime
/// in the block.
mod spawned {
    use withstand::{CircuitBreaker, Timeout};

    use super::*;

    async fn answer(text: &str) -> Result<usize, BoxError> {
        tokio::task::yield_now().await;
        Ok(text.len())
    }

    macro_rules! is_spawned_around {
        ($($test:ident: $make:expr;)*) => {
            $(#[tokio::test(start_paused = true)]
            async fn $test() -> Result<(), BoxError> {
                let (bulkhead, inner) = (queueing(1, 1), $make);
                let (borrowing, inner_of_borrowing) = (bulkhead.clone(), inner.clone());
                let borrows = tokio::spawn(async move {
                    let text = String::from("four");
                    let inner_call = || {
                        inner_of_borrowing.call(|| async {
                            let length = answer(&text).await?;
                            Ok::<_, BoxError>(length)
                        })
                    };
                    borrowing.call(inner_call).await
                });
                let owns = tokio::spawn(async move {
                    let text = String::from("seven..");
                    let inner_call = || {
                        inner.call(|| async move {
                            let length = answer(&text).await?;
                            Ok::<_, BoxError>(length)
                        })
                    };
                    bulkhead.call(inner_call).await
                });
                assert_eq!((borrows.await??, owns.await??), (4, 7));
                Ok(())
            })*
        };
    }

    is_spawned_around! {
        around_a_circuit_breaker: CircuitBreaker::new("users");
        around_a_timeout: Timeout::new(secs(1));
        around_a_bulkhead: queueing(1, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn alone() -> Result<(), BoxError> {
        let bulkhead = queueing(1, 1);
        let spawned = tokio::spawn(async move {
            let text = String::from("four");
            let operation = || async {
                let length = answer(&text).await?;
                Ok::<_, BoxError>(length)
            };
            bulkhead.call(operation).await
        });
        assert_eq!(spawned.await??, 4);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn as_a_layer() -> Result<(), BoxError> {
        let bulkhead = queueing(2, 1);
        let spawned = tokio::spawn(async move {
            let mut stack = ServiceBuilder::new()
                .layer(bulkhead.layer())
                .layer(CircuitBreaker::new("users").layer())
                .layer(bulkhead.layer())
                .service(service_fn(|text: String| async move {
                    let length = answer(&text).await?;
                    Ok::<_, BoxError>(length)
                }));
            stack.ready().await?.call("four".to_owned()).await
        });
        assert_eq!(spawned.await??, 4);
        Ok(())
    }
}

/// A function can ask for "a permit" without a type parameter, wherever the permit is from.
#[tokio::test(start_paused = true)]
async fn k1_permits_are_of_one_type() {
    fn keep(permits: &mut Vec<withstand::BulkheadPermit>, permit: withstand::BulkheadPermit) {
        permits.push(permit);
    }

    let bulkhead = queueing(2, 1);
    let mut permits = Vec::new();
    keep(&mut permits, bulkhead.try_acquire().expect("a slot is free"));
    keep(&mut permits, bulkhead.acquire().await.expect("a slot is free"));
    assert_eq!(format!("{:?}", permits[0]), "BulkheadPermit { bulkhead: \"users\" }");
    drop(bulkhead);
    drop(permits);
}

#[tokio::test(start_paused = true)]
async fn k3_its_settings_can_be_asked_for() {
    let bulkhead = queueing(2, 3);
    assert_eq!((bulkhead.max_concurrent(), bulkhead.queue_capacity(), bulkhead.max_wait()), (2, 3, Some(secs(10))));
    bulkhead.set_max_concurrent(1);
    let snapshot = bulkhead.snapshot();
    assert_eq!((bulkhead.max_concurrent(), snapshot.max_concurrent, snapshot.queue_capacity), (1, 1, 3));
    let without_queue = Bulkhead::new("users", 2);
    assert_eq!((without_queue.queue_capacity(), without_queue.max_wait()), (0, None));
    assert_eq!(without_queue.snapshot().queue_capacity, 0);
}

#[test]
fn g2_handle_builder_and_permit_are_unwind_safe() {
    use std::panic::{RefUnwindSafe, UnwindSafe};

    static_assertions::assert_impl_all!(Bulkhead: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(withstand::BulkheadBuilder: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(withstand::BulkheadPermit: UnwindSafe, RefUnwindSafe);
}
