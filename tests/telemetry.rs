//! The policies' events as `tracing` events: target, level, and flat fields.
#![cfg(all(feature = "tower", feature = "tracing"))]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use support::*;
use tower::{Layer as _, Service as _};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry,
};
use withstand::{
    Bulkhead, CircuitBreaker, Error, Fallback, Keyed, Name, Pipeline, RateLimiter, RetryBudget, RetryWithBackoff,
    Timeout, circuit_breaker::Window, retry::Constant,
};

both_ways! {
    a_circuit_that_opens_warns_and_one_that_closes_sums_the_outage_up,
    a_rejection_of_an_open_circuit_is_a_debug_event,
    a_retry_tells_its_delay_and_why_it_gave_up,
    a_timeout_tells_its_limit,
    a_full_bulkhead_tells_its_limit_and_the_wait,
    a_spent_rate_limiter_tells_its_limit_and_the_time,
    a_fallback_tells_that_it_was_applied_and_that_it_failed,
    y5_a_pipeline_of_a_key_tells_its_events_under_its_name,
    nothing_is_said_of_a_call_that_succeeds,
    p2_the_parts_of_a_pipeline_tell_what_they_tell_alone,
    p2_timeouts_of_a_pipeline_have_its_name,
}

#[derive(Clone, Debug, PartialEq)]
struct Told {
    target: String,
    level: Level,
    fields: BTreeMap<String, String>,
}

impl Told {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    /// Level, message and these fields, in a line.
    fn line(&self, fields: &[&str]) -> String {
        let mut line = format!("{} {}", self.level, self.field("message").expect("a message"));
        for name in fields {
            line += &format!(" {name}={}", self.field(name).unwrap_or("-"));
        }
        line
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name().into(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name().into(), value.into());
    }
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<Told>>>);

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("withstand") {
            return;
        }
        let mut told = Told { target: metadata.target().into(), level: *metadata.level(), fields: BTreeMap::default() };
        event.record(&mut told);
        self.0.lock().expect("no panic").push(told);
    }
}

/// One test at a time: an event that one thread emits for the first time, just as another sets its subscriber, may be
/// deemed of no interest to anyone.
static TURN: Mutex<()> = Mutex::new(());

impl Recorder {
    fn start() -> (Self, (DefaultGuard, MutexGuard<'static, ()>)) {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = Self::default();
        let guard = tracing::subscriber::set_default(registry().with(recorder.clone()));
        (recorder, (guard, turn))
    }

    /// What was told since, all of it under this target and with the policy's name.
    fn take(&self, target: &str) -> Vec<Told> {
        let told = self.take_all();
        told.iter().for_each(|event| assert_eq!(event.target, target));
        told
    }

    /// What was told since, all of it with the policy's name.
    fn take_all(&self) -> Vec<Told> {
        let told = std::mem::take(&mut *self.0.lock().expect("no panic"));
        told.iter().for_each(|event| assert_eq!(event.field("name"), Some("users")));
        told
    }
}

fn lines(told: &[Told], fields: &[&str]) -> Vec<String> {
    told.iter().map(|event| event.line(fields)).collect()
}

async fn a_circuit_that_opens_warns_and_one_that_closes_sums_the_outage_up(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let builder = CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, Window::calls(4));
    let builder = builder.open_for(secs(1)).no_open_jitter();
    let breaker = builder.build().expect("good settings");
    let _ = breaker.through(way, &succeed()).await;
    for _ in 0..3 {
        let _ = breaker.through(way, &fail()).await;
    }
    let _ = breaker.through(way, &succeed()).await;
    pass(secs(1)).await;
    for _ in 0..2 {
        let _ = breaker.through(way, &succeed()).await;
    }
    breaker.force_open();
    breaker.force_closed();
    breaker.metrics_only();
    let told = recorder.take("withstand::circuit_breaker");
    let transitions: Vec<_> = told.into_iter().filter(|event| event.level != Level::DEBUG).collect();
    let fields =
        ["from", "to", "reason", "failure_rate", "open_for_ms", "outage_ms", "rejected", "verdict", "reopenings"];
    assert_eq!(
        lines(&transitions, &fields),
        [
            "WARN circuit opened from=closed to=open reason=failure rate failure_rate=0.75 open_for_ms=1000.0 outage_ms=- rejected=- verdict=Transient { retry_after: None } reopenings=-",
            "INFO circuit half-open from=open to=half-open reason=open time passed failure_rate=- open_for_ms=- outage_ms=- rejected=- verdict=- reopenings=-",
            "INFO circuit closed from=half-open to=closed reason=probes succeeded failure_rate=- open_for_ms=- outage_ms=1000.0 rejected=1 verdict=- reopenings=0",
            "WARN circuit forced open from=closed to=forced open reason=manual failure_rate=- open_for_ms=- outage_ms=- rejected=- verdict=- reopenings=-",
            "INFO circuit forced closed from=forced open to=forced closed reason=manual failure_rate=- open_for_ms=- outage_ms=- rejected=- verdict=- reopenings=-",
            "INFO circuit only counts from=forced closed to=metrics only reason=manual failure_rate=- open_for_ms=- outage_ms=- rejected=- verdict=- reopenings=-",
        ]
    );
}

async fn a_rejection_of_an_open_circuit_is_a_debug_event(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).open_for(secs(1));
    let breaker = builder.no_open_jitter().build().expect("good settings");
    let _ = breaker.through(way, &fail()).await;
    recorder.take("withstand::circuit_breaker");
    let _ = breaker.through(way, &succeed()).await;
    let told = recorder.take("withstand::circuit_breaker");
    assert_eq!(lines(&told, &["retry_after_ms"]), ["DEBUG call rejected retry_after_ms=1000.0"]);
}

async fn a_retry_tells_its_delay_and_why_it_gave_up(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let builder = || RetryWithBackoff::builder("users").backoff(Constant::new(ms(100)));
    let _ = builder().max_attempts(2).build().expect("good settings").through(way, &fail()).await;
    let _ = builder().budget(&RetryBudget::new(0)).build().expect("good settings").through(way, &fail()).await;
    assert_eq!(
        lines(&recorder.take("withstand::retry"), &["attempt", "verdict", "delay_ms", "attempts", "reason"]),
        [
            "DEBUG retrying attempt=1 verdict=Transient { retry_after: None } delay_ms=100.0 attempts=- reason=-",
            "DEBUG gave up attempt=- verdict=Transient { retry_after: None } delay_ms=- attempts=2 reason=attempts spent",
            "DEBUG gave up attempt=- verdict=Transient { retry_after: None } delay_ms=- attempts=1 reason=budget spent",
        ]
    );
}

async fn a_timeout_tells_its_limit(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let _ = Timeout::new(ms(50)).named("users").through(way, &hang()).await;
    assert_eq!(lines(&recorder.take("withstand::timeout"), &["limit_ms"]), ["DEBUG timed out limit_ms=50.0"]);
}

async fn a_full_bulkhead_tells_its_limit_and_the_wait(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let _ = Bulkhead::new("users", 0).through(way, &succeed()).await;
    let queueing = Bulkhead::builder("users", 0).queue(1, ms(50)).build().expect("good settings");
    let _ = queueing.through(way, &succeed()).await;
    assert_eq!(
        lines(&recorder.take("withstand::bulkhead"), &["max_concurrent", "waited_ms"]),
        ["DEBUG call rejected max_concurrent=0 waited_ms=-", "DEBUG call rejected max_concurrent=0 waited_ms=50.0"]
    );
}

async fn a_spent_rate_limiter_tells_its_limit_and_the_time(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let limiter = RateLimiter::new("users", 2, secs(1)).expect("good settings");
    assert!(limiter.try_acquire_many(2).is_ok());
    let _ = limiter.through(way, &succeed()).await;
    limiter.set_rate(0, secs(60)).expect("a good rate");
    let _ = limiter.through(way, &succeed()).await;
    assert_eq!(
        lines(&recorder.take("withstand::rate_limiter"), &["limit", "period_ms", "retry_after_ms"]),
        [
            "DEBUG call rejected limit=2 period_ms=1000.0 retry_after_ms=500.0",
            "DEBUG call rejected limit=0 period_ms=60000.0 retry_after_ms=-"
        ]
    );
}

async fn a_fallback_tells_that_it_was_applied_and_that_it_failed(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let fallback = Fallback::from_fn(|_: Failure| Answer::Err(Error::Inner("fallback"))).named("users");
    let _ = fallback.through(way, &fail()).await;
    assert_eq!(
        lines(&recorder.take("withstand::fallback"), &["instead_of"]),
        ["DEBUG fallback applied instead_of=an error", "DEBUG fallback failed instead_of=-"]
    );
}

/// Under their own targets and names, in the order in which it happens.
async fn p2_the_parts_of_a_pipeline_tell_what_they_tell_alone(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let bulkhead = Bulkhead::new("users", 1);
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build();
    let retry = RetryWithBackoff::builder("users").backoff(Constant::new(ms(100))).build().expect("good settings");
    let fallback = Fallback::from_fn(|_: Failure| Answer::Err(Error::Inner("fallback"))).named("users");
    let pipeline = Pipeline::builder("users")
        .timeout(secs(9))
        .bulkhead(bulkhead.clone())
        .retry(retry)
        .circuit_breaker(breaker.expect("good settings"))
        .attempt_timeout(ms(500))
        .fallback(fallback)
        .build()
        .expect("good settings");
    let _ = pipeline.through(way, &hang()).await;
    let _slot = bulkhead.try_acquire().expect("it is free");
    let _ = pipeline.through(way, &succeed()).await;
    let told = std::mem::take(&mut *recorder.0.lock().expect("no panic"));
    let said: Vec<_> = told
        .iter()
        .map(|event| {
            assert_eq!(event.field("name"), Some("users"), "{event:?}");
            (event.target.trim_start_matches("withstand::"), event.line(&[]))
        })
        .collect();
    let expected = [
        ("timeout", "DEBUG timed out"),
        ("retry", "DEBUG retrying"),
        ("timeout", "DEBUG timed out"),
        ("circuit_breaker", "WARN circuit opened"),
        ("retry", "DEBUG retrying"),
        ("circuit_breaker", "DEBUG call rejected"),
        ("retry", "DEBUG gave up"),
        ("fallback", "DEBUG fallback applied"),
        ("fallback", "DEBUG fallback failed"),
        ("bulkhead", "DEBUG call rejected"),
        ("fallback", "DEBUG fallback applied"),
        ("fallback", "DEBUG fallback failed"),
    ];
    assert_eq!(said, expected.map(|(target, line)| (target, line.to_owned())));
}

async fn p2_timeouts_of_a_pipeline_have_its_name(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let pipeline = Pipeline::builder("users").timeout(ms(50)).build().expect("good settings");
    let _ = pipeline.through(way, &hang()).await;
    let pipeline = Pipeline::builder("users").attempt_timeout(ms(70)).build().expect("good settings");
    let _ = pipeline.through(way, &hang()).await;
    assert_eq!(
        lines(&recorder.take("withstand::timeout"), &["limit_ms"]),
        ["DEBUG timed out limit_ms=50.0", "DEBUG timed out limit_ms=70.0"]
    );
    // One with a name of its own keeps it.
    let own = Pipeline::builder("shop").timeout(Timeout::new(ms(50)).named("users")).build().expect("good settings");
    let _ = own.through(way, &hang()).await;
    assert_eq!(recorder.take("withstand::timeout").len(), 1);
}

async fn nothing_is_said_of_a_call_that_succeeds(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let _ = CircuitBreaker::new("users").through(way, &succeed()).await;
    let _ = RetryWithBackoff::new("users").through(way, &succeed()).await;
    let _ = Timeout::new(secs(1)).through(way, &succeed()).await;
    let _ = Bulkhead::new("users", 1).through(way, &succeed()).await;
    let _ = RateLimiter::new("users", 1, secs(1)).expect("good settings").through(way, &succeed()).await;
    let _ = Fallback::value(7).through(way, &succeed()).await;
    let _ = Pipeline::standard("users").through(way, &succeed()).await;
    assert_eq!(recorder.take("withstand"), []);
}

/// A pipeline of a key tells what its parts tell, under the name of the key.
async fn y5_a_pipeline_of_a_key_tells_its_events_under_its_name(way: Way) {
    let (recorder, _guard) = Recorder::start();
    let hosts = Keyed::builder(|_: &str, name: Name| {
        let circuit = CircuitBreaker::builder(name.clone()).consecutive_failures(2, Duration::ZERO);
        let retry = RetryWithBackoff::builder(name.clone()).no_backoff().build().expect("good settings");
        let circuit = circuit.build().expect("good settings");
        Pipeline::builder(name).retry(retry).circuit_breaker(circuit).build().expect("good settings")
    });
    let hosts = hosts.build().expect("good settings");
    let answer = match way {
        Way::Plain => {
            let (host, op) = (hosts.get("users"), fail());
            host.call(|| op()).await
        }
        Way::Tower => hosts.layer_ref_fn(|_: &Op| "users").layer(Perform::default()).call(fail()).await,
    };
    assert!(answer.is_err());
    let told = recorder.take_all();
    let targets: Vec<_> = told.iter().map(|event| event.target.trim_start_matches("withstand::")).collect();
    assert_eq!(targets, ["retry", "circuit_breaker", "retry", "circuit_breaker", "retry"]);
    assert_eq!(
        lines(&told, &["reason"]),
        [
            "DEBUG retrying reason=-",
            "WARN circuit opened reason=consecutive failures",
            "DEBUG retrying reason=-",
            "DEBUG call rejected reason=-",
            "DEBUG gave up reason=rejected",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn keys_that_leave_and_keys_without_room_are_told_and_no_warning_names_a_key() {
    let (recorder, _guard) = Recorder::start();
    let builder = Keyed::builder(|_: &str, name: Name| Bulkhead::new(name, 1)).named("users");
    let keyed = builder.capacity(1).build().expect("good settings");
    drop(keyed.get("a"));
    let _held = keyed.get("b");
    drop((keyed.get("c"), keyed.get("d")));
    assert_eq!(
        lines(&recorder.take("withstand::keyed"), &["key", "capacity"]),
        [
            "DEBUG key evicted key=a capacity=-",
            "WARN no room for new keys: they share one policy key=- capacity=1",
            "DEBUG no room for a new key key=d capacity=1",
        ]
    );
}
