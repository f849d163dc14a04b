//! What a result says about the dependency, and what each policy makes of it: section 3 of the design.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

mod support;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use http::StatusCode;
use proptest::prelude::*;
use support::*;
use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use withstand::{
    Bulkhead, ByError, CarriesRejected, CircuitBreaker, Classify, Error, Fallback, Rejected, RetryBudget,
    RetryWithBackoff, Timeout, Verdict, by_error_status, by_status, carries_rejected,
    circuit_breaker::{State, Window},
    classify_fn, parse_retry_after,
};

type Response = http::Response<()>;

/// An error whose status is known without a client: what `error_for_status()` would make.
#[derive(Debug)]
enum ApiError {
    Status(u16),
    Broken,
    Policy(Rejected),
}
carries_rejected!(ApiError, Policy);

impl ApiError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            Self::Broken | Self::Policy(_) => None,
        }
    }
}

fn response(status: u16) -> Response {
    http::Response::builder().status(status).body(()).expect("a status there is")
}

fn asking_to_wait(status: u16, retry_after: &str) -> Response {
    let builder = http::Response::builder().status(status).header("retry-after", retry_after);
    builder.body(()).expect("a status and a header there are")
}

fn header(response: &Response) -> Option<Duration> {
    response.headers().get("retry-after").and_then(parse_retry_after)
}

fn transient(retry_after: Duration) -> Verdict {
    Verdict::Transient { retry_after: Some(retry_after) }
}

fn circuit_open() -> Rejected {
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    breaker.try_acquire().expect_err("it is open")
}

fn bulkhead_full() -> Rejected {
    Bulkhead::new("api", 0).try_acquire().expect_err("it has no slots")
}

async fn timed_out() -> Rejected {
    let answer = Timeout::new(Duration::ZERO).through(Way::Plain, &hang()).await;
    rejected(answer).expect("it never ends")
}

/// A breaker that opens on the first failure.
fn fragile() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).no_open_jitter();
    builder.build().expect("the settings are good")
}

fn eager() -> RetryWithBackoff {
    RetryWithBackoff::builder("users").no_backoff().build().expect("the settings are good")
}

#[test]
fn transient_and_failed_are_failures_and_the_others_are_not() {
    assert!(Verdict::TRANSIENT.is_failure() && transient(secs(7)).is_failure() && Verdict::Failed.is_failure());
    assert!(!Verdict::Healthy.is_failure() && !Verdict::Ignored.is_failure());
}

mod by_error {
    use super::*;

    fn judge<E: CarriesRejected>(error: E) -> Verdict {
        ByError.classify(&Err::<u32, E>(error))
    }

    #[test]
    fn an_answer_is_healthy() {
        assert_eq!(ByError.classify(&Ok::<_, ApiError>(response(500))), Verdict::Healthy);
    }

    #[test]
    fn an_error_is_transient() {
        assert_eq!(judge(ApiError::Broken), Verdict::TRANSIENT);
        assert_eq!(judge(Error::Inner("bad")), Verdict::TRANSIENT);
        assert_eq!(judge(tower::BoxError::from("bad")), Verdict::TRANSIENT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_transient() {
        assert_eq!(judge(ApiError::Policy(timed_out().await)), Verdict::TRANSIENT);
        assert_eq!(judge(std::io::Error::from_rejected(timed_out().await)), Verdict::TRANSIENT);
    }

    #[test]
    fn an_open_circuit_and_a_full_bulkhead_are_unknown() {
        for rejection in [circuit_open(), bulkhead_full()] {
            assert_eq!(judge(ApiError::Policy(rejection.clone())), Verdict::Ignored);
            assert_eq!(judge(Error::<&str>::Rejected(rejection.clone())), Verdict::Ignored);
            assert_eq!(judge(tower::BoxError::from_rejected(rejection.clone())), Verdict::Ignored);
            assert_eq!(judge(std::io::Error::from_rejected(rejection)), Verdict::Ignored);
        }
    }
}

mod by_http_status {
    use super::*;

    #[test]
    fn _5xx_408_and_429_are_transient_and_every_other_answer_is_healthy() {
        let by_status = by_status(Response::status);
        for status in 100..600 {
            let expected = match status {
                408 | 429 | 500..=599 => Verdict::TRANSIENT,
                _ => Verdict::Healthy,
            };
            assert_eq!(by_status.classify(&Ok::<_, ApiError>(response(status))), expected, "{status}");
        }
    }

    /// As RFC 9110, section 15, asks.
    #[test]
    fn a_status_that_is_none_counts_as_5xx() {
        let by_status = by_status(Response::status);
        assert_eq!(by_status.classify(&Ok::<_, ApiError>(response(600))), Verdict::TRANSIENT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_judged_as_by_default() {
        let by_status = by_status(Response::status);
        let judge = |error| by_status.classify(&Err::<Response, _>(error));
        assert_eq!(judge(ApiError::Status(404)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(timed_out().await)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Ignored);
        assert_eq!(judge(ApiError::Policy(bulkhead_full())), Verdict::Ignored);
    }

    #[tokio::test(start_paused = true)]
    async fn with_errors_a_status_in_an_error_is_judged_like_an_answers() {
        let by_status = by_status(Response::status).errors(ApiError::status);
        let judge = |error| by_status.classify(&Err::<Response, _>(error));
        for status in [400, 401, 404, 422] {
            assert_eq!(judge(ApiError::Status(status)), Verdict::Healthy, "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert_eq!(judge(ApiError::Status(status)), Verdict::TRANSIENT, "{status}");
        }
        assert_eq!(judge(ApiError::Broken), Verdict::TRANSIENT, "no status");
        assert_eq!(judge(ApiError::Policy(timed_out().await)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Ignored);
    }

    #[test]
    fn with_errors_a_foreign_error_is_judged_inside_of_error_too() {
        fn failed(status: u16) -> reqwest::Error {
            let answer = reqwest::Response::from(http::Response::builder().status(status).body("").unwrap());
            answer.error_for_status().unwrap_err()
        }
        let by_status = by_status(reqwest::Response::status).errors(reqwest::Error::status);
        let judge = |error| by_status.classify(&Err::<reqwest::Response, _>(error));
        assert_eq!(judge(Error::Inner(failed(404))), Verdict::Healthy);
        assert_eq!(judge(Error::Inner(failed(503))), Verdict::TRANSIENT);
        assert_eq!(judge(Error::Rejected(circuit_open())), Verdict::Ignored);
        let by_error_status = by_error_status(reqwest::Error::status);
        let judge = |error| by_error_status.classify(&Err::<String, _>(error));
        assert_eq!(judge(Error::Inner(failed(404))), Verdict::Healthy);
        assert_eq!(judge(Error::Inner(failed(503))), Verdict::TRANSIENT);
    }

    #[tokio::test(start_paused = true)]
    async fn by_an_errors_status_alone_every_answer_is_healthy_and_errors_are_judged_the_same() {
        let by_error_status = by_error_status(ApiError::status);
        assert_eq!(by_error_status.classify(&Ok::<_, ApiError>("whatever it is")), Verdict::Healthy);
        let with_answers = by_status(Response::status).errors(ApiError::status);
        for status in 100..=600 {
            let judged = by_error_status.classify(&Err::<&str, _>(ApiError::Status(status)));
            assert_eq!(judged, with_answers.classify(&Err(ApiError::Status(status))), "{status}");
            assert_eq!(judged == Verdict::Healthy, status < 500 && status != 408 && status != 429, "{status}");
        }
        let judge = |error| by_error_status.classify(&Err::<&str, _>(error));
        assert_eq!(judge(ApiError::Broken), Verdict::TRANSIENT, "no status");
        assert_eq!(judge(ApiError::Policy(timed_out().await)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Ignored);
        // And a breaker counts as it says.
        let breaker = fragile().classify(withstand::by_error_status(ApiError::status));
        let _ = breaker.call(|| ready(Err::<u8, _>(ApiError::Status(404)))).await;
        assert_eq!(breaker.state(), State::Closed);
        let _ = breaker.call(|| ready(Err::<u8, _>(ApiError::Status(503)))).await;
        assert_eq!(breaker.state(), State::Open);
    }

    #[test]
    fn with_retry_after_a_transient_answer_says_how_long_to_wait() {
        let by_status = by_status(Response::status).retry_after(header);
        let judge = |answer| by_status.classify(&Ok::<_, ApiError>(answer));
        assert_eq!(judge(asking_to_wait(503, "7")), transient(secs(7)));
        assert_eq!(judge(asking_to_wait(429, "Fri, 31 Dec 1999 23:59:59 GMT")), transient(Duration::ZERO));
        assert_eq!(judge(asking_to_wait(503, "soon")), Verdict::TRANSIENT);
        assert_eq!(judge(response(503)), Verdict::TRANSIENT);
        assert_eq!(judge(asking_to_wait(404, "7")), Verdict::Healthy);
    }

    #[test]
    fn errors_and_retry_after_go_together_in_either_order() {
        let one = by_status(Response::status).errors(ApiError::status).retry_after(header);
        let other = by_status(Response::status).retry_after(header).errors(ApiError::status);
        for result in [Ok(asking_to_wait(503, "7")), Err(ApiError::Status(404))] {
            assert_eq!(one.classify(&result), other.classify(&result));
        }
    }

    #[test]
    fn a_status_may_be_anything_that_turns_into_a_number() {
        struct Plain(u16);
        let by_status = by_status(|plain: &Plain| plain.0);
        assert_eq!(by_status.classify(&Ok::<_, ApiError>(Plain(503))), Verdict::TRANSIENT);
    }
}

mod retry_after_header {
    use super::*;

    #[test]
    fn is_read_as_seconds_or_as_a_date() {
        assert_eq!(parse_retry_after("120"), Some(secs(120)));
        assert_eq!(parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let in_an_hour = httpdate::fmt_http_date(std::time::SystemTime::now() + secs(3600));
        let wait = parse_retry_after(in_an_hour).unwrap();
        assert!((secs(3500)..=secs(3600)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn says_nothing_if_it_is_neither() {
        for value in ["", "soon", "-1", "1.5", "Sun, 06 Nov 1994"] {
            assert_eq!(parse_retry_after(value), None, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn takes_any_bytes_without_a_panic(bytes: Vec<u8>) {
            let _ = parse_retry_after(bytes);
        }
    }
}

both_ways! {
    the_breaker_counts_transient_and_failed_and_ignores_unknown,
    the_retry_tries_again_only_what_is_transient,
    the_fallback_handles_all_but_healthy,
    classify_fn_says_what_a_failure_is,
    a_classifier_may_be_a_shared_trait_object,
    a_404_never_opens_a_circuit_and_a_503_does,
    a_retry_after_is_waited_for_by_the_retry,
    a_retry_after_keeps_the_circuit_open_up_to_its_cap,
    siblings_over_different_results_share_one_circuit,
    siblings_over_different_results_share_one_budget,
    a_full_bulkhead_never_counts_against_the_dependency,
    an_open_circuit_never_counts_against_the_dependency,
    a_timeout_counts_against_the_dependency,
    an_open_circuit_is_never_retried,
    a_full_bulkhead_is_never_retried,
    a_timeout_is_retried,
    the_fallback_handles_our_own_rejections,
}

/// A call through one policy, whatever its result's type.
macro_rules! call {
    ($door:expr, $policy:expr, $answer:expr) => {
        match $door {
            Way::Plain => $policy.call(|| ready($answer)).await,
            Way::Tower => {
                let service = service_fn(|()| ready($answer));
                ServiceBuilder::new().layer($policy.layer()).service(service).oneshot(()).await
            }
        }
    };
}

/// A call through two policies.
macro_rules! call_both {
    ($door:expr, $outer:expr, $inner:expr, $op:expr) => {
        match $door {
            Way::Plain => $outer.call(|| $inner.call(|| $op())).await,
            Way::Tower => {
                let stack = ServiceBuilder::new().layer($outer.layer()).layer($inner.layer());
                stack.service(Perform::default()).oneshot($op.clone()).await
            }
        }
    };
}

const EVERY_VERDICT: [Verdict; 4] = [Verdict::Healthy, Verdict::TRANSIENT, Verdict::Failed, Verdict::Ignored];

/// Judges every result alike.
fn always(verdict: Verdict) -> impl Classify<u32, Failure> + Clone + Send + Sync + 'static {
    classify_fn(move |_: &Answer| verdict)
}

async fn the_breaker_counts_transient_and_failed_and_ignores_unknown(door: Way) {
    let counts = EVERY_VERDICT.map(|verdict| async move {
        let builder = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(10));
        let breaker = builder.classify(always(verdict)).build().unwrap();
        breaker.through(door, &succeed()).await.unwrap();
        let window = breaker.snapshot().counts.failures;
        (window.total, window.count)
    });
    assert_eq!(futures::future::join_all(counts).await, [(1, 0), (1, 1), (1, 1), (0, 0)]);
}

async fn the_retry_tries_again_only_what_is_transient(door: Way) {
    let tries = EVERY_VERDICT.map(|verdict| async move {
        let (op, starts) = fail_times(0);
        eager().classify(always(verdict)).through(door, &op).await.unwrap();
        starts.load(SeqCst)
    });
    assert_eq!(futures::future::join_all(tries).await, [1, 3, 1, 1]);
}

async fn the_fallback_handles_all_but_healthy(door: Way) {
    let answers = EVERY_VERDICT
        .map(|verdict| async move { Fallback::value(9).classify(always(verdict)).through(door, &succeed()).await });
    assert_eq!(futures::future::join_all(answers).await, [Ok(1), Ok(9), Ok(9), Ok(9)]);
}

async fn classify_fn_says_what_a_failure_is(door: Way) {
    let breaker = fragile().classify(classify_fn(|answer: &Answer| match answer {
        Err(Error::Inner("no such user")) | Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Failed,
    }));
    breaker.through(door, &op(|| ready(Err(Error::Inner("no such user"))))).await.unwrap_err();
    assert_eq!(breaker.state(), State::Closed);
    breaker.through(door, &fail()).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

async fn a_classifier_may_be_a_shared_trait_object(door: Way) {
    let judge: Arc<dyn Classify<u32, Failure> + Send + Sync> = Arc::new(always(Verdict::Failed));
    let breaker = fragile().classify(judge.clone());
    breaker.through(door, &succeed()).await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    let (op, starts) = fail_times(1);
    eager().classify(judge.clone()).through(door, &op).await.unwrap_err();
    assert_eq!(starts.load(SeqCst), 1);
    assert_eq!(Fallback::value(9).classify(judge).through(door, &succeed()).await, Ok(9));
}

async fn a_404_never_opens_a_circuit_and_a_503_does(door: Way) {
    let breaker = fragile().classify(by_status(Response::status));
    for _ in 0..100 {
        let answer: Result<Response, ApiError> = call!(door, breaker, Ok(response(404)));
        assert_eq!(answer.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(breaker.state(), State::Closed);
    let _: Result<Response, ApiError> = call!(door, breaker, Ok(response(503)));
    assert_eq!(breaker.state(), State::Open);
}

async fn a_retry_after_is_waited_for_by_the_retry(door: Way) {
    let retry = eager().classify(by_status(Response::status).retry_after(header));
    let (start, tries) = (Instant::now(), AtomicUsize::new(0));
    let answer: Result<_, ApiError> = call!(door, retry, {
        let first = tries.fetch_add(1, SeqCst) == 0;
        Ok(if first { asking_to_wait(503, "7") } else { response(200) })
    });
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(start.elapsed(), secs(7));
}

async fn a_retry_after_keeps_the_circuit_open_up_to_its_cap(door: Way) {
    for (asked, open_for) in [("0", secs(1)), ("7", secs(7)), ("600", secs(10))] {
        let breaker = fragile().classify(by_status(Response::status).retry_after(header));
        let _: Result<_, ApiError> = call!(door, breaker, Ok(asking_to_wait(503, asked)));
        assert_eq!(breaker.snapshot().time_left, Some(open_for), "asked for {asked} s");
    }
}

async fn siblings_over_different_results_share_one_circuit(door: Way) {
    let users = fragile();
    let responses = users.classify(by_status(Response::status));
    let failed: Result<Response, ApiError> = call!(door, responses, Ok(response(503)));
    assert!(failed.is_ok());
    let answer = users.through(door, &succeed()).await;
    assert!(matches!(rejected(answer), Some(Rejected::CircuitOpen(_))));
    let rejected: Result<Response, ApiError> = call!(door, responses, Ok(response(200)));
    assert!(rejected.unwrap_err().as_rejected().is_some());
    assert_eq!((users.snapshot(), users.snapshot().rejected), (responses.snapshot(), 2));
}

async fn siblings_over_different_results_share_one_budget(door: Way) {
    let budget = RetryBudget::new(2);
    let users = RetryWithBackoff::builder("users").no_backoff().budget(&budget).build().unwrap();
    let responses = users.classify(by_status(Response::status));
    let failed: Result<Response, ApiError> = call!(door, responses, Ok(response(503)));
    assert_eq!(failed.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(budget.available(), 0.0, "two retries have spent it");
    let (op, starts) = fail_times(1);
    users.through(door, &op).await.unwrap_err();
    assert_eq!(starts.load(SeqCst), 1, "nothing is left for the sibling");
}

async fn a_full_bulkhead_never_counts_against_the_dependency(door: Way) {
    let (breaker, full) = (fragile(), Bulkhead::new("api", 0));
    let succeed = succeed();
    for _ in 0..100 {
        let answer = call_both!(door, breaker, full, succeed);
        assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    }
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.counts.consecutive_failures), (State::Closed, 0));
}

async fn an_open_circuit_never_counts_against_the_dependency(door: Way) {
    let (breaker, open) = (fragile(), CircuitBreaker::new("inner"));
    open.force_open();
    let succeed = succeed();
    for _ in 0..100 {
        let answer = call_both!(door, breaker, open, succeed);
        assert_eq!(rejected(answer).unwrap().name(), Some("inner"));
    }
    assert_eq!(breaker.state(), State::Closed);
}

async fn a_timeout_counts_against_the_dependency(door: Way) {
    let (breaker, per_attempt) = (fragile(), Timeout::new(ms(100)));
    let hang = hang();
    let late = call_both!(door, breaker, per_attempt, hang);
    assert!(matches!(rejected(late), Some(Rejected::TimedOut(_))));
    assert_eq!(breaker.state(), State::Open);
}

/// One rejection, no token, no sleep.
async fn an_open_circuit_is_never_retried(door: Way) {
    let budget = RetryBudget::new(10);
    let retry = RetryWithBackoff::builder("users").budget(&budget).build().unwrap();
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    let (start, succeed) = (Instant::now(), succeed());
    let answer = call_both!(door, retry, breaker, succeed);
    assert!(matches!(rejected(answer), Some(Rejected::CircuitOpen(_))));
    assert_eq!(breaker.snapshot().rejected, 1);
    assert_eq!((budget.available(), start.elapsed()), (10.0, Duration::ZERO));
}

async fn a_full_bulkhead_is_never_retried(door: Way) {
    let budget = RetryBudget::new(10);
    let retry = RetryWithBackoff::builder("users").budget(&budget).build().unwrap();
    let full = Bulkhead::new("api", 0);
    let (start, succeed) = (Instant::now(), succeed());
    let answer = call_both!(door, retry, full, succeed);
    assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    assert_eq!(full.snapshot().rejected, 1);
    assert_eq!((budget.available(), start.elapsed()), (10.0, Duration::ZERO));
}

async fn a_timeout_is_retried(door: Way) {
    let (retry, per_attempt) = (eager(), Timeout::new(ms(100)));
    let (start, hang) = (Instant::now(), hang());
    let late = call_both!(door, retry, per_attempt, hang);
    assert!(matches!(rejected(late), Some(Rejected::TimedOut(_))));
    assert_eq!(start.elapsed(), ms(300), "three tries");
}

async fn the_fallback_handles_our_own_rejections(door: Way) {
    let (fallback, full) = (Fallback::value(9), Bulkhead::new("api", 0));
    let succeed = succeed();
    assert_eq!(call_both!(door, fallback, full, succeed), Ok(9));
}
