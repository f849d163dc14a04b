//! All five policies: fallback, bulkhead, retry, breaker, timeout, from the outside in.

use std::time::Duration;

use backon::Retryable as _;
use layered::{Execute, Service as _, Stack as _};
use recloser::{AsyncRecloser, Error::Rejected, Recloser};
use seatbelt::{ResilienceContext, breaker::Breaker, fallback, retry, timeout};
use tokio::sync::Semaphore;
use tower::{BoxError, Layer as _, ServiceBuilder};
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::{CircuitBreakerError, CircuitBreakerLayer};
use tower_resilience_fallback::FallbackLayer;
use tower_resilience_retry::RetryLayer;
use tower_resilience_timelimiter::{TimeLimiterError, TimeLimiterLayer};
use withstand::{Bulkhead, CircuitBreaker, Fallback, Pipeline, RetryWithBackoff, Timeout, circuit_breaker::Window};

use super::{
    LONG,
    breaker::{CALLS, SPAN, clock, recovery},
    retry::{FIRST, TriesLeft, delays, exponential},
};
use crate::{
    contender::{
        Contender, Expect, Row, TOWER_RESILIENCE,
        Target::{Best, Of},
        Way::{Plain, Tower},
    },
    operation::{Failure, Inner, Roomy, Theirs, keep, operate, send},
};

const LIMIT: Duration = LONG;
/// Shorter than the time that a circuit's probe may take.
const LIMIT_OF_ATTEMPT: Duration = Duration::from_secs(5);
const MOST: usize = 10;
const NO_BREAKER: &str = "tower, no breaker";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("all five, success", Expect::Answers, || all(us())).targets(Best(0.4), Of(NO_BREAKER, 0.75)),
        Row::new("all five in a pipeline, success", Expect::Answers, || all(pipeline()))
            .targets(Best(0.4), Of(NO_BREAKER, 0.9))
            .in_short(),
    ]
}

fn all(mut contenders: Vec<Contender>) -> Vec<Contender> {
    contenders.extend(plain_peers());
    contenders.extend(seatbelt());
    contenders.extend([tower_without_a_breaker(), tower_resilience()]);
    contenders
}

fn us() -> Vec<Contender> {
    let breaker =
        CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, Window::calls(CALLS)).build();
    let (fallback, bulkhead) = (keep(Fallback::value(0)), keep(Bulkhead::new("users", MOST)));
    let (retry, breaker) = (keep(RetryWithBackoff::new("users")), keep(breaker.expect("good settings")));
    let timeout = keep(Timeout::new(LIMIT));
    let plain = || {
        || fallback.call(|| bulkhead.call(|| retry.call(|| breaker.call(|| timeout.call(|| operate::<Roomy>(false))))))
    };
    let tower = || {
        let mut service = ServiceBuilder::new()
            .layer(fallback.layer())
            .layer(bulkhead.layer())
            .layer(retry.layer())
            .layer(breaker.layer())
            .layer(timeout.layer())
            .service(Inner::<Roomy>::new());
        move || send(&mut service, false)
    };
    vec![Contender::us(Plain, plain), Contender::us(Tower, tower)]
}

fn pipeline() -> Vec<Contender> {
    let breaker =
        CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.5, Window::calls(CALLS)).build();
    let builder = Pipeline::builder("users")
        .fallback(Fallback::value(0))
        .bulkhead(Bulkhead::new("users", MOST))
        .retry(RetryWithBackoff::new("users"))
        .circuit_breaker(breaker.expect("good settings"))
        .attempt_timeout(LIMIT_OF_ATTEMPT);
    let pipeline = keep(builder.build().expect("good settings"));
    let plain = || || pipeline.call(|| operate::<Roomy>(false));
    let tower = || {
        let mut service = pipeline.layer().layer(Inner::<Roomy>::new());
        move || send(&mut service, false)
    };
    vec![Contender::us(Plain, plain), Contender::us(Tower, tower)]
}

fn plain_peers() -> [Contender; 2] {
    let semaphore = keep(Semaphore::new(MOST));
    let recloser = Recloser::custom().error_rate(0.5).closed_len(CALLS as usize).open_wait(LONG).build();
    let recloser = keep(AsyncRecloser::from(recloser));
    let attempt =
        || recloser.call(async { tokio::time::timeout(LIMIT, operate(false)).await.unwrap_or(Err(Failure::Rejected)) });
    let backoff = exponential();
    let backon = move || {
        move || async move {
            let Ok(_slot) = semaphore.try_acquire() else { return Ok::<_, Failure>(0) };
            attempt.retry(backoff).when(|error| !matches!(error, Rejected)).await.or(Ok(0))
        }
    };
    let tokio_retry = move || {
        move || async move {
            let Ok(_slot) = semaphore.try_acquire() else { return Ok::<_, Failure>(0) };
            let let_in = |error: &recloser::Error<Failure>| !matches!(error, Rejected);
            tokio_retry::RetryIf::start(delays(), attempt, let_in).await.or(Ok(0))
        }
    };
    [
        Contender::peer("backon, recloser, tokio", Plain, backon),
        Contender::peer("tokio-retry, recloser, tokio", Plain, tokio_retry),
    ]
}

fn seatbelt() -> [Contender; 2] {
    let clock = clock();
    let context = ResilienceContext::<bool, Theirs>::new(&clock);
    let boxed = ResilienceContext::<bool, Result<u64, BoxError>>::new(&clock);
    let retry = retry::Retry::layer("users", &context)
        .clone_input()
        .recovery_with(|result, _| recovery(result))
        .max_retry_attempts(2)
        .base_delay(FIRST);
    let breaker = Breaker::layer("users", &context)
        .recovery_with(|result, _| recovery(result))
        .rejected_input_error(|_, _| Failure::Rejected)
        .failure_threshold(0.5)
        .min_throughput(20)
        .sampling_duration(SPAN);
    let timeout = timeout::Timeout::layer("users", &context).timeout_error(|_| Failure::Rejected).timeout(LIMIT);
    let service = ServiceBuilder::new()
        .layer(fallback::Fallback::layer("users", &boxed).should_fallback(Result::is_err).fallback(|_, _| Ok(0)))
        .load_shed()
        .concurrency_limit(MOST)
        .layer(&retry)
        .layer(&breaker)
        .layer(&timeout)
        .service(Inner::<Failure>::new());
    let tower = move || {
        let mut service = service.clone();
        move || send(&mut service, false)
    };
    let semaphore = keep(Semaphore::new(MOST));
    let attempt = keep((retry, breaker, timeout, Execute::new(|fails: bool| operate::<Failure>(fails))).into_service());
    let limited = Execute::new(move |fails: bool| async move {
        let Ok(_slot) = semaphore.try_acquire() else { return Err(Failure::Rejected) };
        attempt.execute(fails).await
    });
    let fallback = fallback::Fallback::layer("users", &context).should_fallback(Result::is_err).fallback(|_, _| Ok(0));
    let executed = keep((fallback, limited).into_service());
    [
        Contender::peer("seatbelt, tokio", Plain, move || move || executed.execute(false)),
        Contender::peer("seatbelt, tower's limit", Tower, tower),
    ]
}

fn tower_without_a_breaker() -> Contender {
    let start = || {
        let mut service = ServiceBuilder::new()
            .map_result(|result: Result<u64, BoxError>| result.or(Ok::<_, BoxError>(0)))
            .load_shed()
            .concurrency_limit(MOST)
            .retry(TriesLeft(2))
            .timeout(LIMIT)
            .service(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    Contender::peer(NO_BREAKER, Tower, start).note("four of the five: tower has no breaker")
}

fn tower_resilience() -> Contender {
    let breaker =
        CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(CALLS as usize).build();
    let bulkhead = BulkheadLayer::builder().max_concurrent_calls(MOST).reject_when_full().build();
    let retry = RetryLayer::<bool, u64, CircuitBreakerError<TimeLimiterError<Failure>>>::builder()
        .max_attempts(3)
        .exponential_backoff(FIRST)
        .retry_on(|error| !error.is_circuit_open())
        .build();
    let service = ServiceBuilder::new()
        .layer(FallbackLayer::<bool, u64, _>::value(0))
        .layer(bulkhead.expect("good settings"))
        .layer(retry)
        .layer(breaker.expect("good settings"))
        .layer(TimeLimiterLayer::builder().timeout_duration(LIMIT).build())
        .service(Inner::<Failure>::new());
    Contender::peer(TOWER_RESILIENCE, Tower, move || {
        let mut service = service.clone();
        move || send(&mut service, false)
    })
}
