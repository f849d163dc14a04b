//! The laws Y1 to Y5: a policy for each key.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::ready,
    net::IpAddr,
    panic::catch_unwind,
    sync::{
        Arc, Barrier, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use futures::future::BoxFuture;
use support::{
    Answer, Failure, Log, Op, Perform, Policy, Way, fail, fail_times, hang, hang_holding, pass, poll, rejected, secs,
    succeed,
};
use tower::{Layer, Service};
use withstand::{
    Bulkhead, ByError, CircuitBreaker, Keyed, KeyedBuilder, KeyedEvent, KeyedPolicy, Name, Pipeline, RateLimiter,
    RateLimiterSettings, Rejected, RetryBudget, RetryWithBackoff, bulkhead::BulkheadSettings, circuit_breaker::State,
    keyed::SendThrough, pipeline::PipelineSettings, rate_limiter::QueueSettings,
};

const IDLE: Duration = Duration::from_secs(60);
const OPEN: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(1);

/// Opens on the first failure.
fn sensitive(name: Name) -> CircuitBreaker {
    let builder = CircuitBreaker::builder(name).consecutive_failures(1, Duration::ZERO).open_for(OPEN);
    builder.no_open_jitter().build().expect("good settings")
}

fn builder_of<P: KeyedPolicy + 'static>(
    capacity: usize,
    make: impl Fn(Name) -> P + Send + Sync + 'static,
) -> KeyedBuilder<String, P> {
    Keyed::builder(move |_: &str, name: Name| make(name)).capacity(capacity).idle_for(IDLE)
}

fn keyed<P: KeyedPolicy + 'static>(
    capacity: usize,
    make: impl Fn(Name) -> P + Send + Sync + 'static,
) -> Keyed<String, P> {
    builder_of(capacity, make).build().expect("good settings")
}

fn circuits(capacity: usize) -> Keyed<String, CircuitBreaker> {
    keyed(capacity, sensitive)
}

fn bulkheads(capacity: usize) -> Keyed<String, Bulkhead> {
    keyed(capacity, |name| Bulkhead::new(name, 2))
}

/// One permit in five seconds, at most two at once.
fn limiters(capacity: usize) -> Keyed<String, RateLimiter> {
    keyed(capacity, |name| RateLimiter::new(name, 2, secs(10)).expect("good settings"))
}

fn two_attempts(name: Name) -> RetryWithBackoff {
    RetryWithBackoff::builder(name).max_attempts(2).no_backoff().build().expect("good settings")
}

/// Two calls at once, of two attempts each; opens on the third failure in a row.
fn pipeline(name: Name) -> Pipeline {
    let circuit = CircuitBreaker::builder(name.clone()).consecutive_failures(3, Duration::ZERO).open_for(OPEN);
    let builder = Pipeline::builder(name.clone())
        .timeout(secs(3600))
        .bulkhead(Bulkhead::new(name.clone(), 2))
        .retry(two_attempts(name))
        .circuit_breaker(circuit.no_open_jitter().build().expect("good settings"));
    builder.build().expect("good settings")
}

fn pipelines(capacity: usize) -> Keyed<String, Pipeline> {
    keyed(capacity, pipeline)
}

/// The keys that have a policy, in the order of their names.
fn keys<P: KeyedPolicy>(keyed: &Keyed<String, P>) -> Vec<String> {
    let mut keys = Vec::new();
    keyed.for_each(|key, _| keys.push(key.clone()));
    keys.sort();
    assert_eq!(keys.len(), keyed.len());
    keys
}

/// Asks for keys in this order, a tick apart.
async fn use_in_turn<P: KeyedPolicy>(keyed: &Keyed<String, P>, keys: &[&str]) {
    for key in keys {
        drop(keyed.get(*key));
        pass(TICK).await;
    }
}

type Request = (&'static str, Op);

/// Performs what a request says, for whatever key.
#[derive(Clone, Default)]
struct ForKey(Perform);

impl Service<Request> for ForKey {
    type Response = u32;
    type Error = Failure;
    type Future = <Perform as Service<Op>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, (_, op): Request) -> Self::Future {
        self.0.call(op)
    }
}

/// A call for a key, either way. What the call decides, it has decided when this returns.
trait ThroughKey {
    fn through(&self, way: Way, key: &'static str, op: &Op) -> BoxFuture<'static, Answer>;
}

impl<P> ThroughKey for Keyed<String, P>
where
    P: Policy + SendThrough<ForKey, Request> + Send + Sync + 'static,
    P::Future: Send + 'static,
{
    fn through(&self, way: Way, key: &'static str, op: &Op) -> BoxFuture<'static, Answer> {
        match way {
            Way::Plain => {
                let (handle, op) = (self.get(key), op.clone());
                // The call borrows the handle, so that the two are kept in one future. Its first poll begins the call.
                let mut call: BoxFuture<'static, Answer> =
                    Box::pin(async move { handle.through(Way::Plain, &op).await });
                match poll(&mut call) {
                    Poll::Ready(answer) => Box::pin(ready(answer)),
                    Poll::Pending => call,
                }
            }
            Way::Tower => {
                let mut service = self.layer_ref_fn(|request: &Request| request.0).layer(ForKey::default());
                let is_ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(is_ready, Poll::Ready(Ok(()))), "it is always ready");
                Box::pin(service.call((key, op.clone())))
            }
        }
    }
}

/// Fails once for this key.
async fn fail_once<P>(keyed: &Keyed<String, P>, way: Way, key: &'static str)
where
    Keyed<String, P>: ThroughKey,
{
    assert!(keyed.through(way, key, &fail()).await.is_err());
}

both_ways! {
    y1_calls_for_one_key_share_a_policy_and_other_keys_have_others,
    y2_a_call_in_flight_keeps_its_policy,
    y2_an_open_circuit_stays_for_its_opening_and_idle_for_more,
    y2_a_dead_dependency_that_is_asked_again_stays,
    y2_failures_stay_until_idle_for_has_passed,
    y2_a_spent_budget_stays_until_it_is_full_again,
    y2_new_keys_share_one_policy_when_none_can_leave,
    y4_a_retry_sends_again_from_the_budget_of_its_key,
    y4_a_bulkhead_limits_each_key,
    y2_a_rate_limiter_stays_until_nothing_of_its_limit_is_used,
    y2_a_call_that_waits_for_its_permit_keeps_its_policy,
    y4_a_rate_limiter_limits_each_key,
    y4_a_pipeline_does_for_each_key_what_its_parts_do,
    y2_a_call_in_flight_keeps_its_pipeline,
    y2_a_pipeline_stays_while_one_of_its_parts_must,
    y2_a_pipeline_stays_while_its_rate_limiter_must,
    y2_a_part_that_others_had_before_keeps_no_key,
}

async fn y1_calls_for_one_key_share_a_policy_and_other_keys_have_others(way: Way) {
    let keyed = circuits(9);
    fail_once(&keyed, way, "down").await;
    assert!(rejected(keyed.through(way, "down", &succeed()).await).is_some_and(|open| open.name() == Some("down")));
    assert_eq!(keyed.through(way, "up", &succeed()).await.ok(), Some(1));
    assert_eq!((keyed.get("down").state(), keyed.get("up").state()), (State::Open, State::Closed));
    pass(OPEN).await;
    assert_eq!(keyed.through(way, "down", &succeed()).await.ok(), Some(1), "half-open");
    assert_eq!(keys(&keyed), ["down", "up"]);
}

async fn y2_a_call_in_flight_keeps_its_policy(way: Way) {
    let keyed = bulkheads(1);
    let mut call = keyed.through(way, "a", &hang());
    assert!(poll(&mut call).is_pending());
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"], "there is no room for another");
    assert_eq!(keyed.get("a").snapshot().in_flight, 1);
    drop(call);
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
}

async fn y2_an_open_circuit_stays_for_its_opening_and_idle_for_more(way: Way) {
    let keyed = circuits(1);
    fail_once(&keyed, way, "a").await;
    for span in [OPEN - TICK, TICK, IDLE - TICK] {
        pass(span).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["a"], "{span:?} later");
    }
    pass(TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "nobody has called a dead dependency for so long");
}

async fn y2_a_dead_dependency_that_is_asked_again_stays(way: Way) {
    let keyed = circuits(1);
    fail_once(&keyed, way, "a").await;
    pass(OPEN).await;
    // As a probe, which hangs and is given up: it stays half-open.
    let mut probe = keyed.through(way, "a", &hang());
    assert!(poll(&mut probe).is_pending());
    drop(probe);
    assert_eq!(keyed.peek("a").map(|breaker| breaker.state()), Some(State::HalfOpen));
    pass(IDLE - TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    pass(TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
}

async fn y2_failures_stay_until_idle_for_has_passed(way: Way) {
    // One failure of three is remembered, and opens nothing.
    let make = |name| {
        let builder = CircuitBreaker::builder(name).consecutive_failures(3, Duration::ZERO);
        builder.build().expect("good settings")
    };
    let keyed = keyed(1, make);
    assert_eq!(keyed.through(way, "well", &succeed()).await.ok(), Some(1));
    fail_once(&keyed, way, "a").await;
    assert_eq!(keys(&keyed), ["a"], "one that has only succeeded is as good as new");
    pass(IDLE - TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    pass(TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
}

async fn y2_a_spent_budget_stays_until_it_is_full_again(way: Way) {
    let own = keyed(1, |name| RetryWithBackoff::builder(name).no_backoff().build().expect("good settings"));
    fail_once(&own, way, "a").await;
    let tokens = own.peek("a").and_then(|retry| retry.budget().map(RetryBudget::available));
    assert_eq!(tokens, Some(8.0), "two retries are paid");
    pass(secs(119)).await;
    drop(own.get("b"));
    assert_eq!(keys(&own), ["a"], "though it is idle for longer than idle_for");
    pass(secs(1)).await;
    drop(own.get("b"));
    assert_eq!(keys(&own), ["b"]);

    let budget = RetryBudget::new(10);
    let shared = budget.clone();
    let common = keyed(1, move |name| {
        let builder = RetryWithBackoff::builder(name).no_backoff().budget(&shared);
        builder.build().expect("good settings")
    });
    fail_once(&common, way, "a").await;
    drop(common.get("b"));
    assert_eq!((keys(&common), budget.available()), (vec!["b".to_owned()], 8.0), "it lives on without the key");
}

async fn y2_new_keys_share_one_policy_when_none_can_leave(way: Way) {
    let heard = Log::new();
    let keyed = builder_of(2, sensitive).named("hosts").listener_fn(heard.listener()).build().expect("good settings");
    assert!(keyed.overflow().is_none());
    fail_once(&keyed, way, "a").await;
    fail_once(&keyed, way, "b").await;
    assert_eq!(heard.take(), []);
    assert_eq!(keyed.through(way, "c", &succeed()).await.ok(), Some(1));
    assert_eq!(keyed.through(way, "c", &succeed()).await.ok(), Some(1));
    fail_once(&keyed, way, "d").await;
    let open = rejected(keyed.through(way, "e", &succeed()).await);
    assert!(open.is_some_and(|open| open.name() == Some("overflow")), "never a fresh one");
    assert_eq!(keyed.overflow().map(CircuitBreaker::state), Some(State::Open));
    let told: Vec<_> = heard.take().iter().map(overflowed).collect();
    assert_eq!(told, [("c", true), ("c", false), ("d", false), ("e", false)]);
    let seen = keyed.snapshot();
    assert_eq!((seen.keys, seen.capacity, seen.evicted, seen.overflowed), (2, 2, 0, 4));

    pass(OPEN + IDLE).await;
    assert_eq!(keyed.through(way, "e", &succeed()).await.ok(), Some(1), "by a policy of its own");
    assert!(matches!(&heard.take()[..], [
        KeyedEvent::Evicted { name: Some(name), key, .. },
        KeyedEvent::Evicted { key: swept, .. },
    ] if name.as_str() == "hosts" && key.as_str() == "a" && swept.as_str() == "b"));
    assert_eq!((keys(&keyed), keyed.evicted()), (vec!["e".to_owned()], 2));
}

fn overflowed(event: &KeyedEvent) -> (&'static str, bool) {
    match event {
        KeyedEvent::Overflowed { name: Some(name), key, capacity: 2, is_first, .. } if name.as_str() == "hosts" => {
            (["c", "d", "e"].into_iter().find(|known| *known == key.as_str()).expect("one of these"), *is_first)
        }
        other => panic!("{other:?}"),
    }
}

async fn y4_a_retry_sends_again_from_the_budget_of_its_key(way: Way) {
    let keyed = keyed_retries();
    let (flaky, starts) = fail_times(1);
    assert_eq!(keyed.through(way, "a", &flaky).await.ok(), Some(1));
    assert_eq!(starts.load(SeqCst), 2);
    for _ in 0..9 {
        let _ = keyed.through(way, "down", &fail()).await;
    }
    let left = |key: &str| keyed.get(key).budget().map(RetryBudget::available);
    assert_eq!((left("a"), left("down")), (Some(10.0), Some(0.0)));
}

async fn y4_a_bulkhead_limits_each_key(way: Way) {
    let keyed = bulkheads(9);
    let alive = Arc::new(());
    let calls: Vec<_> = (0..2).map(|_| keyed.through(way, "a", &hang_holding(&alive))).collect();
    let full = keyed.through(way, "a", &succeed()).await;
    assert!(matches!(rejected(full), Some(Rejected::BulkheadFull(full)) if full.name() == "a"));
    assert_eq!(keyed.through(way, "b", &succeed()).await.ok(), Some(1));
    drop(calls);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(keyed.through(way, "a", &succeed()).await.ok(), Some(1));
}

async fn y2_a_rate_limiter_stays_until_nothing_of_its_limit_is_used(way: Way) {
    let windows = keyed(1, |name| RateLimiter::fixed_window(name, 2, secs(5)).expect("good settings"));
    for keyed in [limiters(1), windows] {
        assert_eq!(keyed.through(way, "a", &succeed()).await.ok(), Some(1));
        pass(secs(5) - TICK).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["a"]);
        pass(TICK).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["b"], "though it was used a moment ago");
    }
}

async fn y2_a_call_that_waits_for_its_permit_keeps_its_policy(way: Way) {
    let keyed =
        keyed(1, |name| RateLimiter::builder(name, 1, secs(5)).queue(1, secs(60)).build().expect("good settings"));
    assert_eq!(keyed.through(way, "a", &succeed()).await.ok(), Some(1));
    let mut call = keyed.through(way, "a", &succeed());
    assert!(poll(&mut call).is_pending());
    pass(secs(50)).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"], "its permit is there, and it has not taken it yet");
    assert_eq!(call.await.ok(), Some(1));
    pass(secs(5)).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
}

async fn y4_a_rate_limiter_limits_each_key(way: Way) {
    let keyed = limiters(9);
    for key in ["a", "a", "b"] {
        assert_eq!(keyed.through(way, key, &succeed()).await.ok(), Some(1));
    }
    let limited = rejected(keyed.through(way, "a", &succeed()).await);
    assert!(matches!(limited, Some(Rejected::RateLimited(limited)) if limited.name() == "a"));
    assert_eq!(keyed.through(way, "b", &succeed()).await.ok(), Some(1));
}

async fn y4_a_pipeline_does_for_each_key_what_its_parts_do(way: Way) {
    let keyed = pipelines(9);
    let (flaky, starts) = fail_times(1);
    assert_eq!(keyed.through(way, "flaky", &flaky).await.ok(), Some(1));
    assert_eq!(starts.load(SeqCst), 2, "it is sent again");

    let (down, starts) = fail_times(usize::MAX);
    for _ in 0..2 {
        assert!(keyed.through(way, "down", &down).await.is_err());
    }
    let open = rejected(keyed.through(way, "down", &down).await);
    assert!(open.is_some_and(|open| open.name() == Some("down")));
    assert_eq!(starts.load(SeqCst), 3, "of the second call, one attempt");
    assert_eq!(keyed.through(way, "up", &succeed()).await.ok(), Some(1));

    let calls: Vec<_> = (0..2).map(|_| keyed.through(way, "slow", &hang())).collect();
    let full = rejected(keyed.through(way, "slow", &succeed()).await);
    assert!(matches!(full, Some(Rejected::BulkheadFull(full)) if full.name() == "slow"));
    assert_eq!(keyed.through(way, "up", &succeed()).await.ok(), Some(1));
    drop(calls);
    assert_eq!(keyed.through(way, "slow", &succeed()).await.ok(), Some(1));
}

async fn y2_a_call_in_flight_keeps_its_pipeline(way: Way) {
    let keyed = keyed(1, |name| Pipeline::builder(name).build().expect("good settings"));
    let mut call = keyed.through(way, "a", &hang());
    assert!(poll(&mut call).is_pending());
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"], "without any part too");
    drop(call);
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
}

async fn y2_a_pipeline_stays_while_one_of_its_parts_must(way: Way) {
    let keyed = pipelines(1);
    assert_eq!(keyed.through(way, "new", &succeed()).await.ok(), Some(1));
    fail_once(&keyed, way, "budget").await;
    assert_eq!(keys(&keyed), ["budget"], "one that has only succeeded is as good as new");
    let tokens = |key: &str| keyed.peek(key)?.retry()?.budget().map(RetryBudget::available);
    assert_eq!(tokens("budget"), Some(9.0));
    pass(IDLE - TICK).await;
    drop(keyed.get("circuit"));
    assert_eq!(keys(&keyed), ["budget"], "its circuit holds failures, and its budget is short of a token");
    assert_eq!(keyed.through(way, "budget", &succeed()).await.ok(), Some(1));
    pass(TICK).await;
    assert_eq!(tokens("budget"), Some(10.0));
    drop(keyed.get("half"));
    assert_eq!(keys(&keyed), ["half"], "it succeeded, and its budget is full");
    fail_once(&keyed, way, "half").await;
    assert_eq!(keyed.through(way, "half", &succeed()).await.ok(), Some(1));
    drop(keyed.get("circuit"));
    assert_eq!((keys(&keyed), tokens("half")), (vec!["half".to_owned()], Some(9.1)), "its budget alone is short");
    pass(IDLE).await;
    drop(keyed.get("circuit"));
    assert_eq!(keys(&keyed), ["circuit"]);

    keyed.get("circuit").circuit_breaker().expect("it has one").force_open();
    pass(100 * IDLE).await;
    drop(keyed.get("bulkhead"));
    assert_eq!(keys(&keyed), ["circuit"]);
    keyed.get("circuit").circuit_breaker().expect("it has one").reset();
    let permit = keyed.get("bulkhead").bulkhead().expect("it has one").try_acquire().expect("it is free");
    pass(100 * IDLE).await;
    drop(keyed.get("other"));
    assert_eq!(keys(&keyed), ["bulkhead"], "someone holds one of its permits");
    drop(permit);
    drop(keyed.get("other"));
    assert_eq!(keys(&keyed), ["other"]);
}

async fn y2_a_pipeline_stays_while_its_rate_limiter_must(way: Way) {
    let keyed = keyed(1, |name| {
        let limiter = RateLimiter::new(name.clone(), 2, secs(10)).expect("good settings");
        Pipeline::builder(name).rate_limiter(limiter).build().expect("good settings")
    });
    for _ in 0..2 {
        assert_eq!(keyed.through(way, "a", &succeed()).await.ok(), Some(1));
    }
    let limited = rejected(keyed.through(way, "a", &succeed()).await);
    assert!(matches!(limited, Some(Rejected::RateLimited(limited)) if limited.name() == "a"));
    pass(secs(10) - TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    pass(TICK).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"]);
    keyed.get("b").rate_limiter().expect("it has one").set_rate(3, secs(10)).expect("a good rate");
    pass(100 * IDLE).await;
    drop(keyed.get("c"));
    assert_eq!(keys(&keyed), ["b"]);
}

/// What the factory gives to all pipelines lives on without any of them.
async fn y2_a_part_that_others_had_before_keeps_no_key(way: Way) {
    let (circuit, bulkhead) = (sensitive("all".into()), Bulkhead::new("all", 1));
    let (of_all, slots) = (circuit.clone(), bulkhead.clone());
    let keyed = keyed(1, move |name| {
        let builder = Pipeline::builder(name).circuit_breaker(of_all.clone()).bulkhead(slots.clone());
        builder.build().expect("good settings")
    });
    bulkhead.set_max_concurrent(2);
    let permit = bulkhead.try_acquire().expect("it is free");
    fail_once(&keyed, way, "a").await;
    drop(keyed.get("b"));
    assert_eq!((keys(&keyed), circuit.state()), (vec!["b".to_owned()], State::Open));
    drop(permit);

    let limiter = RateLimiter::new("all", 2, secs(3600)).expect("good settings");
    let of_all = limiter.clone();
    let keyed = self::keyed(1, move |name| {
        Pipeline::builder(name).rate_limiter(of_all.clone()).build().expect("good settings")
    });
    assert_eq!(keyed.through(way, "a", &succeed()).await.ok(), Some(1));
    drop(keyed.get("b"));
    assert_eq!((keys(&keyed), limiter.snapshot().available), (vec!["b".to_owned()], 1));

    let own = RetryBudget::new(10);
    let budget = own.clone();
    let keyed = self::keyed(1, move |name| {
        let retry = RetryWithBackoff::builder(name.clone()).no_backoff().budget(&budget);
        Pipeline::builder(name).retry(retry.build().expect("good settings")).build().expect("good settings")
    });
    fail_once(&keyed, way, "a").await;
    drop(keyed.get("b"));
    assert_eq!((keys(&keyed), own.available()), (vec!["b".to_owned()], 8.0));
}

#[test]
fn y1_all_threads_get_the_one_policy_of_a_new_key() {
    const THREADS: usize = 8;
    let made = Arc::new(AtomicUsize::new(0));
    let counts = made.clone();
    let keyed = keyed(1000, move |name| {
        counts.fetch_add(1, SeqCst);
        Bulkhead::new(name, 1000)
    });
    for round in 0..200 {
        let (key, together) = (format!("key {round}"), Barrier::new(THREADS));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    // Kept for good: each counts as one in flight.
                    std::mem::forget(keyed.get(&*key).try_acquire().expect("it has room"));
                });
            }
        });
        assert_eq!(keyed.get(&*key).snapshot().in_flight, THREADS, "{key}");
    }
    assert_eq!(keyed.len(), 200);
    println!("{} policies were made for 200 keys", made.load(SeqCst));
}

/// The threads of a race, one after the other: the factory itself asks for the key that it is making.
#[test]
fn y1_the_policy_of_a_maker_that_comes_second_is_dropped() {
    type Circuits = Keyed<String, CircuitBreaker<Arc<ByError>>>;
    let myself: Arc<OnceLock<Circuits>> = Arc::default();
    let token = Arc::new(ByError);
    let (me, classifier, made) = (myself.clone(), token.clone(), AtomicUsize::new(0));
    let make = move |key: &str, name: Name| {
        if made.fetch_add(1, SeqCst) == 0 {
            me.get().expect("it is set").get(key).force_open();
        }
        CircuitBreaker::new(name).classify(classifier.clone())
    };
    // There is room for one, and that one is enough.
    let keyed = Keyed::builder(make).capacity(1).build().expect("good settings");
    assert!(myself.set(keyed.clone()).is_ok());
    assert_eq!(keyed.get("a").state(), State::ForcedOpen, "it is the other's");
    assert_eq!(Arc::strong_count(&token), 3, "of the test, of the factory, and of one policy");
    assert_eq!((keyed.len(), keyed.snapshot().overflowed), (1, 0));
}

#[test]
fn y1_the_factory_may_ask_for_other_keys() {
    let myself: Arc<OnceLock<Keyed<u64, Bulkhead>>> = Arc::default();
    let me = myself.clone();
    let make = move |key: &u64, name: Name| {
        let limit = if *key == 0 { 1 } else { me.get().expect("it is set").get(&(key - 1)).max_concurrent() + 1 };
        Bulkhead::new(name, limit)
    };
    let keyed = Keyed::builder(make).build().expect("good settings");
    assert!(myself.set(keyed.clone()).is_ok());
    assert_eq!((keyed.get(&99).max_concurrent(), keyed.len()), (100, 100));
}

#[test]
fn g2_y1_a_factory_that_panics_leaves_nothing_behind() {
    let calls = AtomicUsize::new(0);
    let make = move |_: &str, name: Name| {
        assert_ne!(calls.fetch_add(1, SeqCst), 0, "the first one panics, as asked");
        Bulkhead::new(name, 1)
    };
    let keyed = Keyed::builder(make).capacity(1).build().expect("good settings");
    assert!(catch_unwind(|| keyed.get("a")).is_err());
    assert_eq!((keyed.len(), keyed.peek("a").is_none()), (0, true));
    // The place is free again, for any key.
    assert_eq!((keyed.get("b").name(), keyed.len(), keyed.snapshot().overflowed), ("b", 1, 0));
}

/// A key whose drop panics leaves, and the place that it left is not lost.
#[test]
fn g2_y2_a_key_that_panics_when_it_leaves_takes_no_place_with_it() {
    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Key(u32, bool);
    impl Drop for Key {
        fn drop(&mut self) {
            assert!(!self.1 || thread::panicking(), "as asked");
        }
    }
    let builder = Keyed::named_builder(|key: &Key| key.0.to_string(), |_, name| Bulkhead::new(name, 1));
    let keyed = builder.capacity(1).build().expect("good settings");
    let bomb = std::mem::ManuallyDrop::new(Key(1, true));
    let harmless = Key(2, false);
    drop(keyed.get(&*bomb));
    assert!(catch_unwind(|| keyed.get(&harmless)).is_err(), "the first key is dropped");
    assert_eq!((keyed.get(&harmless).name(), keyed.snapshot().overflowed), ("2", 0));
}

#[tokio::test(start_paused = true)]
async fn y2_the_longest_idle_leaves_first() {
    let keyed = circuits(3);
    use_in_turn(&keyed, &["a", "b", "c", "a", "d", "e"]).await;
    assert_eq!(keys(&keyed), ["a", "d", "e"]);
    use_in_turn(&keyed, &["a", "e", "d", "f"]).await;
    assert_eq!(keys(&keyed), ["d", "e", "f"]);
    assert!(keyed.peek("e").is_some(), "to peek is no use");
    use_in_turn(&keyed, &["g"]).await;
    assert_eq!((keys(&keyed), keyed.evicted()), (["d", "f", "g"].map(String::from).to_vec(), 4));
}

#[tokio::test(start_paused = true)]
async fn y2_a_policy_whose_handle_is_held_stays() {
    let keyed = circuits(2);
    let held = keyed.get("a");
    let layer = keyed.get("b").layer();
    pass(100 * IDLE).await;
    drop(keyed.get("c"));
    assert_eq!(keys(&keyed), ["a", "b"]);
    drop(layer);
    drop(keyed.get("c"));
    assert_eq!(keys(&keyed), ["a", "c"]);
    drop(held);
    let permit = keyed.get("c").try_acquire().expect("it is closed");
    pass(100 * IDLE).await;
    use_in_turn(&keyed, &["d", "e", "f"]).await;
    assert!(keys(&keyed).contains(&"c".to_owned()));
    permit.success();
    use_in_turn(&keyed, &["g", "h"]).await;
    assert_eq!(keys(&keyed), ["g", "h"]);
}

#[tokio::test(start_paused = true)]
async fn y2_what_someone_has_set_by_hand_stays() {
    let forced: [fn(&CircuitBreaker); 3] =
        [CircuitBreaker::force_open, CircuitBreaker::force_closed, CircuitBreaker::metrics_only];
    for force in forced {
        let keyed = circuits(1);
        force(&keyed.get("a"));
        pass(100 * IDLE).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["a"]);
        keyed.get("a").reset();
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["b"]);
    }
    let keyed = bulkheads(1);
    keyed.get("a").set_max_concurrent(5);
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    keyed.get("a").set_max_concurrent(2);
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "the limit is as it was made");

    let keyed = circuits(1);
    let made_with = keyed.get("a").settings();
    let mut settings = made_with.clone();
    settings.probes = 7;
    keyed.get("a").apply(&settings).expect("good settings");
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    keyed.get("a").apply(&made_with).expect("good settings");
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "its settings are those that it was made with");
}

#[tokio::test(start_paused = true)]
async fn y2_a_retry_whose_settings_someone_has_changed_stays() {
    let keyed = keyed(1, RetryWithBackoff::new);
    let made_with = keyed.get("a").settings();
    let mut settings = made_with.clone();
    settings.max_attempts = 7;
    keyed.get("a").apply(&settings).expect("good settings");
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    keyed.get("a").apply(&made_with).expect("good settings");
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "its settings are those that it was made with");
}

#[tokio::test(start_paused = true)]
async fn y2_a_rate_limiter_whose_limit_someone_has_changed_stays() {
    let keyed = limiters(1);
    keyed.get("a").set_rate(3, secs(10)).expect("a good rate");
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
    keyed.get("a").set_rate(2, secs(10)).expect("a good rate");
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "its limit is the one that it was made with");
}

#[tokio::test(start_paused = true)]
async fn y2_a_rate_limiter_whose_settings_someone_has_changed_stays() {
    let changes: [fn(&mut RateLimiterSettings); 4] = [
        |settings| settings.limit = 3,
        |settings| settings.period = secs(9),
        |settings| settings.burst = Some(2),
        |settings| settings.queue = Some(QueueSettings::new(1, secs(1))),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let keyed = limiters(1);
        let made_with = keyed.get("a").settings();
        let mut settings = made_with.clone();
        change(&mut settings);
        keyed.get("a").apply(&settings).expect("good settings");
        pass(100 * IDLE).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["a"], "change {number}");
        keyed.get("a").apply(&made_with).expect("good settings");
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["b"], "change {number} was taken back");
    }
}

#[tokio::test(start_paused = true)]
async fn y2_a_pipeline_whose_settings_someone_has_changed_stays() {
    let changes: [fn(&mut PipelineSettings); 5] = [
        |settings| settings.timeout = Some(secs(1800)),
        |settings| settings.attempt_timeout = Some(secs(7)),
        |settings| settings.bulkhead = Some(BulkheadSettings::new(3)),
        |settings| settings.retry.as_mut().expect("it has one").max_attempts = 3,
        |settings| settings.circuit_breaker.as_mut().expect("it has one").probes = 3,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let keyed = pipelines(1);
        let made_with = keyed.get("a").settings();
        let mut settings = made_with.clone();
        change(&mut settings);
        keyed.get("a").apply(&settings).expect("good settings");
        pass(100 * IDLE).await;
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["a"], "change {number}");
        keyed.get("a").apply(&made_with).expect("good settings");
        drop(keyed.get("b"));
        assert_eq!(keys(&keyed), ["b"], "change {number} was taken back");
    }
}

/// Applies the settings that `change` makes to all keys. Then nothing was set by hand, but for what is set afterwards.
async fn y2_settings_of_all_keys_keep_none<P>(
    keyed: Keyed<String, P>,
    settings: impl Fn(&P) -> P::Settings,
    change: impl Fn(&mut P::Settings),
    apply: impl Fn(&P, &P::Settings),
) where
    P: KeyedPolicy,
    P::Settings: Clone + PartialEq + std::fmt::Debug,
{
    let before = settings(&keyed.get("a"));
    let mut after = before.clone();
    change(&mut after);
    keyed.apply(&after).expect("good settings");
    assert_eq!(settings(&keyed.peek("a").expect("it has one")), after);
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["b"], "it was as good as new");
    keyed.apply(&after).expect("good settings");
    apply(&keyed.get("b"), &before);
    drop(keyed.get("c"));
    assert_eq!(keys(&keyed), ["b"], "someone has set the old ones by hand");
    apply(&keyed.get("b"), &after);
    drop(keyed.get("c"));
    assert_eq!(keys(&keyed), ["c"]);
    assert_eq!(settings(&keyed.get("c")), before, "the factory knows nothing of the new ones");
}

#[tokio::test(start_paused = true)]
async fn c3_y2_settings_that_were_applied_to_all_keys_keep_none() {
    y2_settings_of_all_keys_keep_none(
        circuits(1),
        CircuitBreaker::settings,
        |settings| settings.probes = 7,
        |circuit, settings| circuit.apply(settings).expect("good settings"),
    )
    .await;
    y2_settings_of_all_keys_keep_none(
        bulkheads(1),
        Bulkhead::settings,
        |settings| settings.max_concurrent = 7,
        |bulkhead, settings| bulkhead.apply(settings).expect("good settings"),
    )
    .await;
    y2_settings_of_all_keys_keep_none(
        limiters(1),
        RateLimiter::settings,
        |settings| settings.limit = 7,
        |limiter, settings| limiter.apply(settings).expect("good settings"),
    )
    .await;
    y2_settings_of_all_keys_keep_none(
        keyed(1, two_attempts),
        RetryWithBackoff::settings,
        |settings| settings.max_attempts = 3,
        |retry, settings| retry.apply(settings).expect("good settings"),
    )
    .await;
    let changes: [fn(&mut PipelineSettings); 5] = [
        |settings| settings.timeout = Some(secs(1800)),
        |settings| settings.attempt_timeout = Some(secs(7)),
        |settings| settings.bulkhead = Some(BulkheadSettings::new(3)),
        |settings| settings.retry.as_mut().expect("it has one").max_attempts = 3,
        |settings| settings.circuit_breaker.as_mut().expect("it has one").probes = 3,
    ];
    for change in changes {
        y2_settings_of_all_keys_keep_none(pipelines(1), Pipeline::settings, change, |pipeline, settings| {
            pipeline.apply(settings).expect("good settings");
        })
        .await;
    }
    let limited = keyed(1, |name| {
        let limiter = RateLimiter::new(name.clone(), 2, secs(10)).expect("good settings");
        Pipeline::builder(name).rate_limiter(limiter).build().expect("good settings")
    });
    let change = |settings: &mut PipelineSettings| settings.rate_limiter.as_mut().expect("it has one").limit = 3;
    y2_settings_of_all_keys_keep_none(limited, Pipeline::settings, change, |pipeline, settings| {
        pipeline.apply(settings).expect("good settings");
    })
    .await;
}

#[test]
fn c3_settings_are_applied_to_all_keys_or_to_none() {
    let given = Pipeline::builder("given").build().expect("good settings");
    let keyed = builder_of(9, |name: Name| {
        let builder = Pipeline::builder(name.clone());
        let builder = if name.as_str() == "5" { builder } else { builder.bulkhead(Bulkhead::new(name, 2)) };
        builder.build().expect("good settings")
    });
    let keyed = keyed.overflow(given.clone()).build().expect("good settings");
    let mut settings = keyed.get("0").settings();
    settings.timeout = Some(secs(9));
    keyed.apply(&settings).expect("the overflow policy was given: it is not asked");
    assert_eq!((keyed.get("0").timeout(), given.timeout()), (Some(secs(9)), None));
    (1..9).for_each(|key| drop(keyed.get(&*key.to_string())));
    settings.timeout = Some(secs(8));
    let error = keyed.apply(&settings).expect_err("5 has no bulkhead");
    let sentence = "bad settings for the pipeline `5`: bulkhead cannot be added while the pipeline is in use";
    assert_eq!(error.to_string(), sentence);
    keyed.for_each(|key, pipeline| assert_eq!(pipeline.timeout(), (key == "0").then_some(secs(9)), "{key}"));
    drop(keyed.remove("5"));
    keyed.apply(&settings).expect("good settings");
    keyed.for_each(|key, pipeline| assert_eq!(pipeline.timeout(), Some(secs(8)), "{key}"));
}

/// The factory has read the template when the template changes.
#[test]
fn c3_keys_that_are_made_while_settings_are_applied_have_them() {
    let template = Bulkhead::new("template", 1);
    let meanwhile: Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>> = Arc::default();
    let (made_like, run, made) = (template.clone(), meanwhile.clone(), Arc::new(AtomicUsize::new(0)));
    let count = made.clone();
    let keyed = keyed(2, move |name| {
        count.fetch_add(1, SeqCst);
        let bulkhead = made_like.settings().build(name).expect("the template has accepted them");
        let run = run.lock().expect("no panic").take();
        run.into_iter().for_each(|run| run());
        bulkhead
    });
    let change_meanwhile = |max_concurrent| {
        let (keyed, template) = (keyed.clone(), template.clone());
        *meanwhile.lock().expect("no panic") = Some(Box::new(move || {
            let settings = BulkheadSettings::new(max_concurrent);
            template.apply(&settings).expect("good settings");
            keyed.apply(&settings).expect("good settings");
        }));
    };
    let max_concurrent = |key| keyed.get(key).max_concurrent();
    assert_eq!(max_concurrent("a"), 1);
    change_meanwhile(2);
    assert_eq!((max_concurrent("b"), max_concurrent("a"), made.load(SeqCst)), (2, 2, 3), "made again");
    let _held = [keyed.get("a"), keyed.get("b")];
    change_meanwhile(3);
    assert_eq!((max_concurrent("c"), made.load(SeqCst)), (3, 5), "the overflow policy too");
    keyed.apply(&BulkheadSettings::new(4)).expect("good settings");
    assert_eq!(["a", "b", "c"].map(max_concurrent), [4; 3]);
}

/// Nobody else holds it by now, so it is the pipeline's alone.
#[tokio::test(start_paused = true)]
async fn y2_a_part_that_others_had_once_keeps_its_key_like_any_other() {
    let keyed = keyed(1, |name| {
        let circuit = sensitive(name.clone());
        let pipeline = Pipeline::builder(name).circuit_breaker(circuit.clone()).build().expect("good settings");
        drop(circuit);
        pipeline
    });
    let circuit = keyed.get("a").circuit_breaker().expect("it has one").clone();
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"], "who has taken it out of the pipeline may force it open");
    circuit.force_open();
    drop(circuit);
    pass(100 * IDLE).await;
    drop(keyed.get("b"));
    assert_eq!(keys(&keyed), ["a"]);
}

/// What may be sent twice is the layer's to say, for a pipeline and for a retry.
#[tokio::test(start_paused = true)]
async fn y4_the_layer_says_how_a_request_is_copied() {
    async fn sent(mut service: impl Service<Request, Response = u32, Error = Failure>) -> usize {
        let (flaky, starts) = fail_times(1);
        let _ = service.call(("a", flaky)).await;
        starts.load(SeqCst)
    }
    let (pipelines, retries) = (pipelines(9), keyed_retries());
    let pipeline_for = || pipelines.layer_ref_fn(|request: &Request| request.0);
    let retry_for = || retries.layer_ref_fn(|request: &Request| request.0);
    let inner = ForKey::default;
    let copies: fn(&Request) -> Option<Request> = |request| Some(request.clone());
    let declines = |request: &Request| (request.0 != "a").then(|| request.clone());
    assert_eq!(sent(pipeline_for().clone_request(copies).layer(inner())).await, 2);
    assert_eq!(sent(retry_for().clone_request(copies).layer(inner())).await, 2);
    assert_eq!(sent(pipeline_for().clone_request_fn(declines).layer(inner())).await, 1);
    assert_eq!(sent(retry_for().clone_request_fn(declines).layer(inner())).await, 1);
    assert_eq!(sent(pipeline_for().send_once().layer(inner())).await, 1);
    assert_eq!(sent(retry_for().send_once().layer(inner())).await, 1);
}

/// An HTTP client: a pipeline for each host, and only what is idempotent is sent again.
#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn w1_y4_a_client_has_a_pipeline_for_each_host_and_repeats_what_is_idempotent() {
    use http::{Request, Response, StatusCode};
    use withstand::http::{Idempotent, authority, by_response};

    let sent: Log<String> = Log::new();
    let hears = Arc::new(sent.listener());
    let service = tower::service_fn(move |request: Request<u32>| {
        hears(&format!("{} {}", request.method(), request.uri()));
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        ready(Ok::<_, tower::BoxError>(response))
    });
    let keyed = keyed(9, |name| pipeline(name).classify(by_response()));
    let by_authority = |request: &Request<u32>| authority(request.uri());
    let mut client = keyed.layer_fn(by_authority).clone_request_by(Idempotent::new()).layer(service);
    for (method, uri) in [("GET", "https://A.example/1"), ("POST", "https://a.example:443/2"), ("PUT", "http://b/3")] {
        let request = Request::builder().method(method).uri(uri).body(7).expect("a good request");
        let _ = client.call(request).await;
    }
    let expected = ["GET https://A.example/1", "GET https://A.example/1", "POST https://a.example:443/2"];
    assert_eq!(sent.take(), [&expected[..], &["PUT http://b/3"; 2]].concat());
    assert_eq!(keys(&keyed), ["a.example:443", "b:80"]);
    let state = |key: &str| keyed.peek(key)?.circuit_breaker().map(CircuitBreaker::state);
    assert_eq!((state("a.example:443"), state("b:80")), (Some(State::Open), Some(State::Closed)));
}

#[tokio::test(start_paused = true)]
async fn y2_the_overflow_policy_may_be_given() {
    let builder = builder_of(1, |name| Bulkhead::new(name, 2)).overflow(Bulkhead::new("everyone else", 1));
    let keyed = builder.build().expect("good settings");
    let _held = keyed.get("a");
    let _slot = keyed.get("b").try_acquire().expect("it is free");
    let full = keyed.get("c").try_acquire().expect_err("it is taken");
    assert_eq!(full.name(), Some("everyone else"));
}

#[tokio::test(start_paused = true)]
async fn y2_no_room_is_first_again_after_idle_for_without_another() {
    let heard = Log::new();
    let keyed = builder_of(1, sensitive).listener_fn(heard.listener()).build().expect("good settings");
    let _held = keyed.get("a");
    for (span, is_first) in [(TICK, true), (IDLE - TICK, false), (IDLE - TICK, false), (IDLE, true)] {
        pass(span).await;
        drop(keyed.get("b"));
        let told = heard.take();
        assert!(matches!(told[..], [KeyedEvent::Overflowed { is_first: told, .. }] if told == is_first), "{told:?}");
    }
}

/// Keys that no one asks for any more leave as new ones come, though there is room for all.
#[tokio::test(start_paused = true)]
async fn y2_idle_keys_leave_a_few_for_each_new_one() {
    const DEAD: usize = 100_000;
    let keyed = circuits(2 * DEAD);
    for host in 0..DEAD {
        keyed.get(&*format!("dead {host}")).try_acquire().expect("it is closed").failure();
    }
    let held = keyed.get("held");
    assert_eq!((keyed.len(), keyed.evicted()), (DEAD + 1, 0));
    pass(OPEN + IDLE - TICK).await;
    keyed.get("live and open").try_acquire().expect("it is closed").failure();
    assert_eq!(keyed.evicted(), 0);
    pass(TICK).await;
    for host in 0..DEAD / 3 {
        drop(keyed.get(&*format!("new {host}")));
    }
    assert_eq!(keyed.len(), 2 + DEAD / 3);
    assert!(["held", "live and open"].iter().all(|key| keyed.peek(*key).is_some()));
    drop(held);
}

/// Someone asks for ever new keys. Their number is bounded, and what is in use stays.
#[tokio::test(start_paused = true)]
async fn y2_a_hundred_thousand_keys_of_an_attacker_drive_no_active_key_out() {
    let keyed = circuits(100);
    let active: Vec<_> = (0..50).map(|number| format!("active {number}")).collect();
    let made: Vec<_> = active.iter().map(|key| keyed.get(&**key)).collect();
    drop(made);
    for attack in 0..100_000 {
        if attack % 40 == 0 {
            // Within one moment of the clock too.
            pass(TICK * (attack % 3)).await;
            active.iter().for_each(|key| drop(keyed.get(&**key)));
        }
        pass(TICK).await;
        drop(keyed.get(&*format!("attack {attack}")));
        assert!(keyed.len() <= 100);
    }
    assert!(active.iter().all(|key| keyed.peek(&**key).is_some()));
    assert_eq!(keyed.evicted(), 100_000 - 50);
}

/// A map full of keys that must stay is not searched from the front for each new key.
#[tokio::test(start_paused = true)]
async fn y2_after_a_long_search_the_next_ones_begin_where_it_ended() {
    let keyed = circuits(200);
    let mut held: Vec<_> = (0..200).map(|number| keyed.get(&*format!("held {number}"))).collect();
    drop(keyed.get("new"));
    held.remove(0);
    for _ in 0..200 / 16 {
        drop(keyed.get("new"));
        assert!(keyed.peek("new").is_none(), "sixteen looks are paid for by one new key");
    }
    drop(keyed.get("new"));
    assert!(keyed.peek("new").is_some() && keyed.peek("held 0").is_none());

    let newest = keyed.get("new");
    drop(keyed.get("other"));
    held.remove(0);
    pass(secs(1)).await;
    drop(keyed.get("other"));
    assert!(keyed.peek("other").is_some(), "or a second has passed");
    drop(newest);
}

#[tokio::test(start_paused = true)]
async fn y2_remove_takes_a_policy_whatever_its_state_is() {
    let keyed = circuits(2);
    let held = keyed.get("a");
    keyed.get("a").force_open();
    assert!(keyed.remove("a").is_some_and(|removed| removed.state() == State::ForcedOpen));
    assert!(keyed.remove("a").is_none() && keyed.is_empty());
    assert_eq!((held.state(), keyed.get("a").state()), (State::ForcedOpen, State::Closed));
    use_in_turn(&keyed, &["b", "c", "d"]).await;
    assert_eq!((keys(&keyed), keyed.evicted()), (["c", "d"].map(String::from).to_vec(), 2));
}

/// Threads call through few keys, for which there is not enough room. Were there ever two policies for one key, or were
/// a slot lost, the sums would not be right.
#[test]
fn y1_y2_no_slot_is_lost_or_taken_twice_while_keys_come_and_go() {
    const KEYS: usize = 6;
    const LIMIT: usize = 2;
    let keyed = keyed(3, |name| Bulkhead::new(name, LIMIT));
    let names: Vec<_> = (0..KEYS).map(|number| number.to_string()).collect();
    let running: [AtomicUsize; KEYS] = Default::default();
    let (admitted, own) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for seed in 0..4 {
            let (keyed, names, running, admitted, own) = (&keyed, &names, &running, &admitted, &own);
            scope.spawn(move || {
                let mut random = seed * 7919 + 1;
                for _ in 0..20_000 {
                    random = random * 1_103_515_245 % 2_147_483_647 + 12_345;
                    let number = random % KEYS;
                    let handle = keyed.get(&*names[number]);
                    let Ok(permit) = handle.try_acquire() else { continue };
                    admitted.fetch_add(1, SeqCst);
                    if handle.name() == names[number] {
                        own.fetch_add(1, SeqCst);
                        // Only the permit holds it now.
                        drop(handle);
                        let others = running[number].fetch_add(1, SeqCst);
                        assert!(others < LIMIT, "{others} calls and this one run for one key");
                        if random % 3 == 0 {
                            thread::yield_now();
                        }
                        running[number].fetch_sub(1, SeqCst);
                    }
                    drop(permit);
                }
            });
        }
    });
    println!("{:?}: {admitted:?} admitted, {own:?} of them by a policy of their own", keyed.snapshot());
    assert!(keyed.len() <= 3 && keyed.evicted() > 0);
    keyed.for_each(|key, bulkhead| assert_eq!(bulkhead.snapshot().in_flight, 0, "{key}"));
}

#[test]
fn y5_the_factory_is_given_the_key_and_a_name_made_of_it() {
    let seen: Arc<Mutex<Vec<(String, Name)>>> = Arc::default();
    let sees = seen.clone();
    let make = move |key: &str, name: Name| {
        sees.lock().expect("no panic").push((key.to_owned(), name.clone()));
        Bulkhead::new(name, key.len())
    };
    let keyed = Keyed::builder(make).build().expect("good settings");
    assert_eq!((keyed.get("tenant").name(), keyed.get("tenant").max_concurrent()), ("tenant", 6));
    assert_eq!(*seen.lock().expect("no panic"), [("tenant".to_owned(), Name::from("tenant"))]);
}

#[test]
fn y5_keys_that_are_not_text_are_named_by_their_text() {
    let by_address = Keyed::builder(|_: &IpAddr, name: Name| Bulkhead::new(name, 1)).build().expect("good settings");
    let address: IpAddr = [127, 0, 0, 1].into();
    assert_eq!(by_address.get(&address).name(), "127.0.0.1");
    let by_number = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1)).build().expect("good settings");
    assert_eq!(by_number.get(&7).name(), "7");
    let name_of = |(tenant, secret): &(u32, String)| format!("{tenant}, {} letters", secret.len());
    let builder = Keyed::named_builder(name_of, |key: &(u32, String), name| Bulkhead::new(name, key.0 as usize));
    let by_both = builder.build().expect("good settings");
    assert_eq!(by_both.get(&(7, "secret".to_owned())).name(), "7, 6 letters");
}

#[test]
fn g2_handle_and_builder_are_unwind_safe() {
    use std::panic::{RefUnwindSafe, UnwindSafe};

    static_assertions::assert_impl_all!(Keyed<String, CircuitBreaker>: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(Keyed<u64, Bulkhead>: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(KeyedBuilder<u64, Bulkhead>: UnwindSafe, RefUnwindSafe);
    static_assertions::assert_impl_all!(KeyedEvent: UnwindSafe, RefUnwindSafe);
}

/// What is spawned owns its handle, or is a request of the layer.
#[tokio::test]
async fn y4_calls_can_be_spawned_whatever_the_error_is() {
    use tower::{BoxError, ServiceExt, service_fn};

    let (circuits, bulkheads) = (circuits(9), bulkheads(9));
    let host = String::from("a");
    let (keyed, outer) = (circuits.clone(), bulkheads.clone());
    let plain = tokio::spawn(async move {
        let (outer, inner) = (outer.get(&*host), keyed.get(&*host));
        outer.call(|| inner.call(|| async { Ok::<_, BoxError>(host.len()) })).await
    });
    assert_eq!(plain.await.expect("no panic").ok(), Some(1));

    let retries = keyed_retries();
    let service = tower::ServiceBuilder::new()
        .layer(bulkheads.layer_fn(|request: &(u32, &'static str)| request.1.to_owned()))
        .layer(retries.layer_ref_fn(|request: &(u32, &'static str)| request.1))
        .layer(circuits.layer_ref_fn(|request: &(u32, &'static str)| request.1))
        .service(service_fn(|(number, _): (u32, &'static str)| async move { Ok::<_, BoxError>(number) }));
    let layered = tokio::spawn(service.oneshot((7, "b")));
    assert_eq!(layered.await.expect("no panic").ok(), Some(7));
    assert_eq!(
        (keys(&circuits), keys(&bulkheads), keys(&retries)),
        (keys(&bulkheads), keys(&circuits), vec!["b".to_owned()])
    );
}

fn keyed_retries() -> Keyed<String, RetryWithBackoff> {
    keyed(9, |name| RetryWithBackoff::builder(name).no_backoff().build().expect("good settings"))
}

#[test]
fn g4_bad_settings_are_named_in_one_error() {
    let builder = builder_of(0, sensitive).idle_for(Duration::ZERO).named("hosts");
    let error = builder.build().expect_err("bad settings").to_string();
    let expected =
        "bad settings for the keyed policies `hosts`: capacity must be at least 1; idle_for must be above zero";
    assert_eq!(error, expected);
    let longest = builder_of(usize::MAX, sensitive).idle_for(Duration::MAX).build().expect("good settings");
    drop(longest.get("a"));
    assert_eq!(longest.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn y2_the_defaults_are_those_of_the_table() {
    let keyed = Keyed::builder(|_: &str, name: Name| sensitive(name)).build().expect("good settings");
    assert_eq!((keyed.capacity(), keyed.idle_for(), keyed.name()), (10_000, secs(600), None));
}

#[tokio::test(start_paused = true)]
async fn g2_g5_a_listener_that_panics_or_asks_for_keys_harms_nothing() {
    let myself: Arc<OnceLock<Keyed<String, CircuitBreaker>>> = Arc::default();
    let (me, heard) = (myself.clone(), Log::new());
    let builder = builder_of(1, sensitive)
        .listener_fn(move |_| {
            assert!(me.get().expect("it is set").peek("b").is_some());
            panic!("as asked");
        })
        .listener_fn(heard.listener());
    let keyed = builder.build().expect("good settings");
    assert!(myself.set(keyed.clone()).is_ok());
    use_in_turn(&keyed, &["a"]).await;
    drop(keyed.get("b"));
    let told = heard.take();
    assert!(matches!(&told[..], [KeyedEvent::Evicted { name: None, key, .. }] if key.as_str() == "a"), "{told:?}");
}
