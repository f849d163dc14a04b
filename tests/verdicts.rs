//! What a result says about the dependency, and what each policy makes of it: section 3 of the design.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

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
    RetryWithBackoff, Timeout, Verdict, by_status, carries_rejected,
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
    let answer = Timeout::new(Duration::ZERO).through(Door::Plain, &hang()).await;
    rejected(answer).expect("it never ends")
}

/// A breaker that opens on the first failure.
fn fragile() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("users").failure_run(1, Duration::ZERO).no_open_jitter();
    builder.build().expect("the settings are good")
}

fn eager() -> RetryWithBackoff<ByError, withstand::retry::Constant> {
    RetryWithBackoff::builder("users").no_backoff().build().expect("the settings are good")
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
        for refusal in [circuit_open(), bulkhead_full()] {
            assert_eq!(judge(ApiError::Policy(refusal.clone())), Verdict::Unknown);
            assert_eq!(judge(Error::<&str>::Rejected(refusal.clone())), Verdict::Unknown);
            assert_eq!(judge(tower::BoxError::from_rejected(refusal.clone())), Verdict::Unknown);
            assert_eq!(judge(std::io::Error::from_rejected(refusal)), Verdict::Unknown);
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
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Unknown);
        assert_eq!(judge(ApiError::Policy(bulkhead_full())), Verdict::Unknown);
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
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Unknown);
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
        assert_eq!(judge(Error::Rejected(circuit_open())), Verdict::Unknown);
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
        let soon = std::time::SystemTime::now() + secs(3600);
        let wait = parse_retry_after(httpdate(soon)).unwrap();
        assert!((secs(3500)..=secs(3600)).contains(&wait), "{wait:?}");
    }

    /// In the spelling of HTTP, by way of the crate that reads the other spellings in tests.
    fn httpdate(moment: std::time::SystemTime) -> String {
        let text = humantime::format_rfc3339_seconds(moment).to_string();
        let (date, time) = (&text[..10], &text[11..19]);
        let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            [date[5..7].parse::<usize>().unwrap() - 1];
        let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
            [(moment.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400 % 7) as usize];
        format!("{day}, {} {month} {} {time} GMT", &date[8..], &date[..4])
    }

    proptest! {
        #[test]
        fn takes_any_bytes_without_a_panic(bytes: Vec<u8>) {
            let _ = parse_retry_after(bytes);
        }
    }
}
