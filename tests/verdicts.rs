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
    Bulkhead, ByError, ByErrorStatus, ByStatus, CarriesRejected, CircuitBreaker, Classify, Error, Fallback,
    RateLimiter, Rejected, RetryBudget, RetryWithBackoff, Timeout, Verdict, by_error, by_error_status, by_status,
    carries_rejected,
    circuit_breaker::{State, Window},
    classify_fn, parse_retry_after,
};

type Response = http::Response<()>;

/// An error whose status is known without a client: what `error_for_status()` would make.
#[derive(Debug)]
enum ApiError {
    Status(u16),
    /// A status, and the `Retry-After` that came with it.
    Busy(u16, Duration),
    Broken,
    Policy(Rejected),
}
carries_rejected!(ApiError, Policy);

impl ApiError {
    fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Busy(status, _) => Some(*status),
            Self::Broken | Self::Policy(_) => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy(_, retry_after) = self { Some(*retry_after) } else { None }
    }

    fn is_broken(&self) -> bool {
        matches!(self, Self::Broken)
    }

    fn is_404(&self) -> bool {
        self.status() == Some(404)
    }
}

/// What the table of `by_status` says.
fn row(status: u16) -> Verdict {
    match status {
        408 | 425 | 500 | 502 | 503 | 504 | 509 | 512..=528 | 530..=599 => Verdict::TRANSIENT,
        429 | 529 => Verdict::THROTTLED,
        507 | 508 => Verdict::Failed,
        _ => Verdict::Healthy,
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

fn throttled(retry_after: Duration) -> Verdict {
    Verdict::Throttled { retry_after: Some(retry_after) }
}

fn circuit_open() -> Rejected {
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    breaker.try_acquire().expect_err("it is open")
}

fn bulkhead_full() -> Rejected {
    Bulkhead::new("api", 0).try_acquire().expect_err("it has no slots")
}

fn no_permits() -> RateLimiter {
    RateLimiter::new("api", 0, secs(1)).expect("the settings are good")
}

fn rate_limited() -> Rejected {
    no_permits().try_acquire().expect_err("it has no permits")
}

async fn timed_out() -> Rejected {
    let answer = Timeout::new(Duration::ZERO).through(Way::Plain, &hang()).await;
    rejected(answer).expect("it never ends")
}

/// A breaker that opens on the first failure.
fn fragile() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO);
    let builder = builder.open_for(secs(1)).max_open_for(secs(10)).no_open_jitter();
    builder.build().expect("the settings are good")
}

fn eager() -> RetryWithBackoff {
    RetryWithBackoff::builder("users").no_backoff().build().expect("the settings are good")
}

#[test]
fn transient_failed_and_unreached_are_failures_and_the_others_are_not() {
    assert!(Verdict::TRANSIENT.is_failure() && transient(secs(7)).is_failure());
    assert!(Verdict::Failed.is_failure() && Verdict::Unreached.is_failure());
    assert!(!Verdict::Healthy.is_failure() && !Verdict::THROTTLED.is_failure() && !Verdict::Ignored.is_failure());
}

#[test]
fn transient_and_throttled_alone_say_when_another_attempt_may_come() {
    assert_eq!((transient(secs(7)).retry_after(), throttled(secs(8)).retry_after()), (Some(secs(7)), Some(secs(8))));
    for verdict in EVERY_VERDICT {
        assert_eq!(verdict.retry_after(), None, "{verdict:?}");
    }
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
    fn an_open_circuit_a_full_bulkhead_and_a_spent_rate_limiter_are_ignored() {
        for rejection in [circuit_open(), bulkhead_full(), rate_limited()] {
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
    fn every_answer_is_judged_by_the_row_of_its_status() {
        let by_status = by_status(Response::status);
        for status in 100..=999 {
            assert_eq!(by_status.classify(&Ok::<_, ApiError>(response(status))), row(status), "{status}");
        }
    }

    /// What a 5xx says of the request or of a proxy is no fault of the dependency.
    #[test]
    fn a_501_and_its_like_are_healthy_and_507_and_508_are_failed() {
        assert_eq!([501, 505, 506, 510, 511].map(row), [Verdict::Healthy; 5]);
        assert_eq!([507, 508].map(row), [Verdict::Failed; 2]);
    }

    #[test]
    fn also_changes_a_row_for_answers_and_for_errors_and_the_last_word_counts() {
        let by_status = by_status(Response::status)
            .errors(ApiError::status)
            .also(404, Verdict::Failed)
            .also(503, Verdict::Failed)
            .also(503, Verdict::THROTTLED)
            .retry_after(header);
        let answer = |status| by_status.classify(&Ok::<_, ApiError>(response(status)));
        assert_eq!(
            [404, 503, 502, 200].map(answer),
            [Verdict::Failed, Verdict::THROTTLED, Verdict::TRANSIENT, Verdict::Healthy,]
        );
        assert_eq!(by_status.classify(&Ok::<_, ApiError>(asking_to_wait(503, "7"))), throttled(secs(7)));
        let error = |status| by_status.classify(&Err::<Response, _>(ApiError::Status(status)));
        assert_eq!([404, 503, 502].map(error), [Verdict::Failed, Verdict::THROTTLED, Verdict::TRANSIENT]);
        let errors = by_error_status(ApiError::status).also(404, Verdict::Failed);
        assert_eq!(errors.classify(&Err::<u32, _>(ApiError::Status(404))), Verdict::Failed);
    }

    #[test]
    fn also_leaves_the_classifier_that_it_was_cloned_from_alone() {
        let plain = by_status(Response::status).also(404, Verdict::Failed);
        let changed = plain.clone().also(404, Verdict::Ignored);
        let judge = |by_status: &ByStatus<_>| by_status.classify(&Ok::<_, ApiError>(response(404)));
        assert_eq!((judge(&plain), judge(&changed)), (Verdict::Failed, Verdict::Ignored));
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
        for status in [408, 425, 429, 500, 503, 507, 511] {
            assert_eq!(judge(ApiError::Status(status)), row(status), "{status}");
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
            assert_eq!(judged, row(status), "{status}");
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
    fn of_rules_for_errors_the_first_that_knows_the_error_decides() {
        let judge = |rules: &ByErrorStatus<ApiError>, status| rules.classify(&Err::<u8, _>(ApiError::Status(status)));
        let status_first = by_error_status(ApiError::status).errors_if(ApiError::is_404, Verdict::Failed);
        assert_eq!(judge(&status_first, 404), Verdict::Healthy, "by its status");
        let rule_first = by_error()
            .errors_if(ApiError::is_404, Verdict::Failed)
            .errors_if(|error: &ApiError| error.status().is_some_and(|status| status < 500), Verdict::Ignored)
            .errors(ApiError::status);
        assert_eq!(
            [404, 400, 503].map(|status| judge(&rule_first, status)),
            [Verdict::Failed, Verdict::Ignored, Verdict::TRANSIENT]
        );
        let before_and_after = by_error_status(|error: &ApiError| error.status().filter(|status| *status != 404))
            .errors_if(ApiError::is_404, Verdict::Unreached)
            .errors_if(ApiError::is_404, Verdict::Ignored)
            .errors_if(ApiError::is_broken, Verdict::Failed);
        assert_eq!([404, 400].map(|status| judge(&before_and_after, status)), [Verdict::Unreached, Verdict::Healthy]);
        assert_eq!(before_and_after.classify(&Err::<u8, _>(ApiError::Broken)), Verdict::Failed);
    }

    /// Two attempts fail, and then our own breaker rejects the third.
    #[tokio::test(start_paused = true)]
    async fn r8_by_every_classifier_a_rejection_tells_how_many_attempts_were_sent() {
        async fn attempts_sent(classifier: impl Classify<Response, Failure>) -> u32 {
            let breaker = CircuitBreaker::builder("users").consecutive_failures(2, Duration::ZERO).build().unwrap();
            let retry = RetryWithBackoff::builder("users").no_backoff().classify(classifier).build().unwrap();
            let answer = retry.call(|| breaker.call(|| ready(Err::<Response, Failure>(Error::Inner("bad"))))).await;
            answer.unwrap_err().as_rejected().expect("the circuit is open").attempts_sent()
        }
        assert_eq!(attempts_sent(ByError).await, 2);
        assert_eq!(attempts_sent(by_status(Response::status)).await, 2);
        assert_eq!(attempts_sent(by_error_status(|_: &&str| None::<u16>)).await, 2);
        assert_eq!(attempts_sent(by_error().errors_if(|error: &&str| *error == "bad", Verdict::TRANSIENT)).await, 2);
        assert_eq!(attempts_sent(Arc::new(by_status(Response::status))).await, 2);
        let closure = classify_fn(|result: &Result<Response, Failure>| match result {
            Err(Error::Rejected(_)) => Verdict::Ignored,
            _ => Verdict::TRANSIENT,
        });
        assert_eq!(attempts_sent(closure).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_no_rule_knows_is_judged_as_by_default() {
        let by_error = by_error().errors_if(ApiError::is_404, Verdict::Healthy);
        let judge = |error| by_error.classify(&Err::<u8, _>(error));
        assert_eq!(judge(ApiError::Status(404)), Verdict::Healthy);
        assert_eq!(judge(ApiError::Status(400)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Broken), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(timed_out().await)), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(circuit_open())), Verdict::Ignored);
        assert_eq!(judge(ApiError::Policy(bulkhead_full())), Verdict::Ignored);
        assert_eq!(by_error.classify(&Ok::<_, ApiError>(7)), Verdict::Healthy);
    }

    #[test]
    fn a_rule_knows_the_operations_own_error_and_the_foreign_one_inside_of_error() {
        fn is_bad(error: &Bad) -> bool {
            error.0
        }
        #[derive(Debug)]
        struct Bad(bool);
        impl CarriesRejected for Bad {
            fn from_rejected(_: Rejected) -> Self {
                Self(false)
            }
            fn as_rejected(&self) -> Option<&Rejected> {
                None
            }
        }
        let with_answers = by_status(Response::status).errors_if(is_bad, Verdict::Unreached);
        assert_eq!(with_answers.classify(&Err::<Response, _>(Bad(true))), Verdict::Unreached);
        assert_eq!(with_answers.classify(&Err::<Response, _>(Bad(false))), Verdict::TRANSIENT);
        assert_eq!(with_answers.classify(&Err::<Response, _>(Error::Inner(Bad(true)))), Verdict::Unreached);
        assert_eq!(with_answers.classify(&Err::<Response, _>(Error::Inner(Bad(false)))), Verdict::TRANSIENT);
        assert_eq!(
            with_answers.classify(&Err::<Response, Error<Bad>>(Error::Rejected(circuit_open()))),
            Verdict::Ignored
        );
        assert_eq!(with_answers.classify(&Ok::<_, Bad>(response(503))), Verdict::TRANSIENT, "an answer is no error");
    }

    /// `is_builder` is not asked of what was sent, and `is_connect` not of what was not built.
    #[tokio::test]
    async fn a_request_that_cannot_be_built_is_ignored_and_one_that_cannot_connect_was_unreached() {
        let by_error = by_error()
            .errors_if(reqwest::Error::is_builder, Verdict::Ignored)
            .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
        let unbuilt = reqwest::Client::new().get("not a url").build().unwrap_err();
        assert_eq!(by_error.classify(&Err::<(), _>(Error::Inner(unbuilt))), Verdict::Ignored);
        let unreached = reqwest::get("http://127.0.0.1:1").await.unwrap_err();
        assert_eq!(by_error.classify(&Err::<(), _>(Error::Inner(unreached))), Verdict::Unreached);
    }

    #[test]
    fn with_retry_after_an_error_that_may_be_sent_again_says_how_long_to_wait() {
        let by_error_status = by_error_status(ApiError::status)
            .errors_if(ApiError::is_broken, transient(secs(3)))
            .retry_after(ApiError::retry_after);
        let judge = |error| by_error_status.classify(&Err::<u8, _>(error));
        assert_eq!(judge(ApiError::Busy(503, secs(7))), transient(secs(7)));
        assert_eq!(judge(ApiError::Busy(429, secs(7))), throttled(secs(7)));
        assert_eq!(judge(ApiError::Status(429)), Verdict::THROTTLED);
        assert_eq!(judge(ApiError::Busy(404, secs(7))), Verdict::Healthy);
        assert_eq!(judge(ApiError::Busy(507, secs(7))), Verdict::Failed);
        assert_eq!(judge(ApiError::Broken), transient(secs(3)), "the rule says it");
    }

    #[test]
    fn with_retry_after_a_transient_answer_says_how_long_to_wait() {
        let by_status = by_status(Response::status).retry_after(header);
        let judge = |answer| by_status.classify(&Ok::<_, ApiError>(answer));
        assert_eq!(judge(asking_to_wait(503, "7")), transient(secs(7)));
        assert_eq!(judge(asking_to_wait(429, "7")), throttled(secs(7)));
        assert_eq!(judge(asking_to_wait(503, "Fri, 31 Dec 1999 23:59:59 GMT")), transient(Duration::ZERO));
        assert_eq!(judge(response(429)), Verdict::THROTTLED);
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
        assert_eq!(parse_retry_after("1.5"), Some(secs(2)), "rounded up");
        assert_eq!(parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        let in_an_hour = httpdate::fmt_http_date(std::time::SystemTime::now() + secs(3600));
        let wait = parse_retry_after(in_an_hour).unwrap();
        assert!((secs(3500)..=secs(3600)).contains(&wait), "{wait:?}");
    }

    #[test]
    fn says_nothing_if_it_is_neither() {
        for value in ["", "soon", "-1", "1,5", "Sun, 06 Nov 1994"] {
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
    the_breaker_counts_failures_and_ignores_throttled_and_ignored,
    the_retry_sends_again_what_is_transient_unreached_or_throttled,
    a_throttled_answer_is_sent_again_not_before_its_time_and_is_not_counted,
    a_throttled_probe_has_succeeded,
    what_was_not_reached_is_a_failure_and_is_sent_again,
    retry_if_sends_again_for_the_errors_it_names_alone,
    the_fallback_handles_all_but_healthy,
    classify_fn_says_what_a_failure_is,
    a_classifier_may_be_a_shared_trait_object,
    a_404_never_opens_a_circuit_and_a_503_does,
    a_retry_after_is_waited_for_by_the_retry,
    a_retry_after_keeps_the_circuit_open_up_to_its_cap,
    handles_for_different_results_share_one_circuit,
    handles_for_different_results_share_one_budget,
    a_full_bulkhead_never_counts_against_the_dependency,
    a_spent_rate_limiter_never_counts_against_the_dependency,
    an_open_circuit_never_counts_against_the_dependency,
    a_timeout_counts_against_the_dependency,
    an_open_circuit_is_never_retried,
    a_full_bulkhead_is_never_retried,
    a_spent_rate_limiter_is_never_retried,
    a_timeout_is_retried,
    the_fallback_handles_our_own_rejections,
}

/// A call through one policy, whatever its result's type.
macro_rules! call {
    ($way:expr, $policy:expr, $answer:expr) => {
        match $way {
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
    ($way:expr, $outer:expr, $inner:expr, $op:expr) => {
        match $way {
            Way::Plain => $outer.call(|| $inner.call(|| $op())).await,
            Way::Tower => {
                let stack = ServiceBuilder::new().layer($outer.layer()).layer($inner.layer());
                stack.service(Perform::default()).oneshot($op.clone()).await
            }
        }
    };
}

const EVERY_VERDICT: [Verdict; 6] =
    [Verdict::Healthy, Verdict::TRANSIENT, Verdict::Failed, Verdict::Unreached, Verdict::THROTTLED, Verdict::Ignored];

/// Judges every result alike.
fn always(verdict: Verdict) -> impl Classify<u32, Failure> + Clone + Send + Sync + 'static {
    classify_fn(move |_: &Answer| verdict)
}

async fn the_breaker_counts_failures_and_ignores_throttled_and_ignored(way: Way) {
    let counts = EVERY_VERDICT.map(|verdict| async move {
        let builder = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(10));
        let breaker = builder.classify(always(verdict)).build().unwrap();
        breaker.through(way, &succeed()).await.unwrap();
        let window = breaker.snapshot().counts.failures;
        (window.total, window.count)
    });
    assert_eq!(futures::future::join_all(counts).await, [(1, 0), (1, 1), (1, 1), (1, 1), (0, 0), (0, 0)]);
}

async fn the_retry_sends_again_what_is_transient_unreached_or_throttled(way: Way) {
    let attempts = EVERY_VERDICT.map(|verdict| async move {
        let (op, starts) = fail_times(0);
        eager().classify(always(verdict)).through(way, &op).await.unwrap();
        starts.load(SeqCst)
    });
    assert_eq!(futures::future::join_all(attempts).await, [1, 3, 1, 3, 3, 1]);
}

async fn the_fallback_handles_all_but_healthy(way: Way) {
    let answers = EVERY_VERDICT
        .map(|verdict| async move { Fallback::value(9).classify(always(verdict)).through(way, &succeed()).await });
    assert_eq!(futures::future::join_all(answers).await, [Ok(1), Ok(9), Ok(9), Ok(9), Ok(9), Ok(9)]);
}

async fn a_throttled_answer_is_sent_again_not_before_its_time_and_is_not_counted(way: Way) {
    let by_status = by_status(Response::status).retry_after(header);
    let breaker = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(10)).classify(by_status.clone());
    let breaker = breaker.consecutive_failures(1, Duration::ZERO).build().unwrap();
    let (start, attempts) = (Instant::now(), AtomicUsize::new(0));
    let ask = || {
        let first = attempts.fetch_add(1, SeqCst) == 0;
        ready(Ok::<_, ApiError>(if first { asking_to_wait(429, "7") } else { response(200) }))
    };
    let retry = eager().classify(by_status);
    let answer = match way {
        Way::Plain => retry.call(|| breaker.call(ask)).await,
        Way::Tower => {
            let stack = ServiceBuilder::new().layer(retry.layer()).layer(breaker.layer());
            stack.service(service_fn(|()| ask())).oneshot(()).await
        }
    };
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!((attempts.load(SeqCst), start.elapsed() >= secs(7)), (2, true));
    let counts = breaker.snapshot().counts;
    assert_eq!((breaker.state(), counts.failures.total, counts.failures.count), (State::Closed, 1, 0));
}

async fn a_throttled_probe_has_succeeded(way: Way) {
    let breaker = fragile();
    breaker.through(way, &fail()).await.unwrap_err();
    let left = breaker.snapshot().time_left.expect("it is open");
    pass(left).await;
    let throttled = breaker.classify(always(Verdict::THROTTLED));
    // As many as close it by default; one at a time.
    for _ in 0..2 {
        throttled.through(way, &succeed()).await.unwrap();
    }
    assert_eq!(breaker.state(), State::Closed);
}

async fn what_was_not_reached_is_a_failure_and_is_sent_again(way: Way) {
    let unreached = by_error().errors_if(|error: &&str| *error == "refused", Verdict::Unreached);
    let refused = op(|| ready(Err(Error::Inner("refused"))));
    let breaker = CircuitBreaker::builder("users").consecutive_failures(3, Duration::ZERO).build().unwrap();
    let (retry, breaker) = (eager().classify(unreached.clone()), breaker.classify(unreached));
    assert_eq!(call_both!(way, retry, breaker, refused), Err(Error::Inner("refused")));
    assert_eq!(breaker.state(), State::Open, "three attempts, three failures");
}

/// As short as backon's `.when(..)`.
async fn retry_if_sends_again_for_the_errors_it_names_alone(way: Way) {
    for (error, starts) in [("busy", 3), ("wrong", 1)] {
        let started = AtomicUsize::new(0);
        let retry = eager().retry_if(|error: &&str| *error == "busy");
        let answer = call!(way, retry, {
            started.fetch_add(1, SeqCst);
            Err::<u32, &str>(error)
        });
        assert_eq!((answer, started.load(SeqCst)), (Err(error), starts));
    }
}

async fn classify_fn_says_what_a_failure_is(way: Way) {
    let breaker = fragile().classify(classify_fn(|answer: &Answer| match answer {
        Err(Error::Inner("no such user")) | Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Failed,
    }));
    breaker.through(way, &op(|| ready(Err(Error::Inner("no such user"))))).await.unwrap_err();
    assert_eq!(breaker.state(), State::Closed);
    breaker.through(way, &fail()).await.unwrap_err();
    assert_eq!(breaker.state(), State::Open);
}

async fn a_classifier_may_be_a_shared_trait_object(way: Way) {
    let judge: Arc<dyn Classify<u32, Failure> + Send + Sync> = Arc::new(always(Verdict::Failed));
    let breaker = fragile().classify(judge.clone());
    breaker.through(way, &succeed()).await.unwrap();
    assert_eq!(breaker.state(), State::Open);
    let (op, starts) = fail_times(1);
    eager().classify(judge.clone()).through(way, &op).await.unwrap_err();
    assert_eq!(starts.load(SeqCst), 1);
    assert_eq!(Fallback::value(9).classify(judge).through(way, &succeed()).await, Ok(9));
}

async fn a_404_never_opens_a_circuit_and_a_503_does(way: Way) {
    let breaker = fragile().classify(by_status(Response::status));
    for _ in 0..100 {
        let answer: Result<Response, ApiError> = call!(way, breaker, Ok(response(404)));
        assert_eq!(answer.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(breaker.state(), State::Closed);
    let _: Result<Response, ApiError> = call!(way, breaker, Ok(response(503)));
    assert_eq!(breaker.state(), State::Open);
}

async fn a_retry_after_is_waited_for_by_the_retry(way: Way) {
    let retry = eager().classify(by_status(Response::status).retry_after(header));
    let (start, attempts) = (Instant::now(), AtomicUsize::new(0));
    let answer: Result<_, ApiError> = call!(way, retry, {
        let first = attempts.fetch_add(1, SeqCst) == 0;
        Ok(if first { asking_to_wait(503, "7") } else { response(200) })
    });
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert!((secs(7)..=ms(7_700)).contains(&start.elapsed()), "{:?}, with jitter", start.elapsed());
}

async fn a_retry_after_keeps_the_circuit_open_up_to_its_cap(way: Way) {
    // What is asked gets up to a tenth of jitter, within the cap.
    for (asked, open_for) in [("0", secs(1)..=secs(1)), ("7", secs(7)..=ms(7_700)), ("600", secs(10)..=secs(10))] {
        let breaker = fragile().classify(by_status(Response::status).retry_after(header));
        let _: Result<_, ApiError> = call!(way, breaker, Ok(asking_to_wait(503, asked)));
        let time_left = breaker.snapshot().time_left.expect("it is open");
        assert!(open_for.contains(&time_left), "asked for {asked} s, open for {time_left:?}");
    }
}

async fn handles_for_different_results_share_one_circuit(way: Way) {
    let users = fragile();
    let responses = users.classify(by_status(Response::status));
    let failed: Result<Response, ApiError> = call!(way, responses, Ok(response(503)));
    assert!(failed.is_ok());
    let answer = users.through(way, &succeed()).await;
    assert!(matches!(rejected(answer), Some(Rejected::CircuitOpen(_))));
    let rejected: Result<Response, ApiError> = call!(way, responses, Ok(response(200)));
    assert!(rejected.unwrap_err().as_rejected().is_some());
    assert_eq!((users.snapshot(), users.snapshot().rejected), (responses.snapshot(), 2));
}

async fn handles_for_different_results_share_one_budget(way: Way) {
    let budget = RetryBudget::new(2);
    let users = RetryWithBackoff::builder("users").no_backoff().budget(&budget).build().unwrap();
    let responses = users.classify(by_status(Response::status));
    let failed: Result<Response, ApiError> = call!(way, responses, Ok(response(503)));
    assert_eq!(failed.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(budget.available(), 0.0, "two retries have spent it");
    let (op, starts) = fail_times(1);
    users.through(way, &op).await.unwrap_err();
    assert_eq!(starts.load(SeqCst), 1, "nothing is left for the other handle");
}

async fn a_full_bulkhead_never_counts_against_the_dependency(way: Way) {
    let (breaker, full) = (fragile(), Bulkhead::new("api", 0));
    let succeed = succeed();
    for _ in 0..100 {
        let answer = call_both!(way, breaker, full, succeed);
        assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    }
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.counts.consecutive_failures), (State::Closed, 0));
}

async fn a_spent_rate_limiter_never_counts_against_the_dependency(way: Way) {
    let (breaker, spent) = (fragile(), no_permits());
    let succeed = succeed();
    for _ in 0..100 {
        let answer = call_both!(way, breaker, spent, succeed);
        assert!(matches!(rejected(answer), Some(Rejected::RateLimited(_))));
    }
    assert_eq!(breaker.state(), State::Closed);
}

async fn an_open_circuit_never_counts_against_the_dependency(way: Way) {
    let (breaker, open) = (fragile(), CircuitBreaker::new("inner"));
    open.force_open();
    let succeed = succeed();
    for _ in 0..100 {
        let answer = call_both!(way, breaker, open, succeed);
        assert_eq!(rejected(answer).unwrap().name(), Some("inner"));
    }
    assert_eq!(breaker.state(), State::Closed);
}

async fn a_timeout_counts_against_the_dependency(way: Way) {
    let (breaker, per_attempt) = (fragile(), Timeout::new(ms(100)));
    let hang = hang();
    let late = call_both!(way, breaker, per_attempt, hang);
    assert!(matches!(rejected(late), Some(Rejected::TimedOut(_))));
    assert_eq!(breaker.state(), State::Open);
}

/// One rejection, no token, no sleep.
async fn an_open_circuit_is_never_retried(way: Way) {
    let budget = RetryBudget::new(10);
    let retry = RetryWithBackoff::builder("users").budget(&budget).build().unwrap();
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    let (start, succeed) = (Instant::now(), succeed());
    let answer = call_both!(way, retry, breaker, succeed);
    assert!(matches!(rejected(answer), Some(Rejected::CircuitOpen(_))));
    assert_eq!(breaker.snapshot().rejected, 1);
    assert_eq!((budget.available(), start.elapsed()), (10.0, Duration::ZERO));
}

async fn a_full_bulkhead_is_never_retried(way: Way) {
    let budget = RetryBudget::new(10);
    let retry = RetryWithBackoff::builder("users").budget(&budget).build().unwrap();
    let full = Bulkhead::new("api", 0);
    let (start, succeed) = (Instant::now(), succeed());
    let answer = call_both!(way, retry, full, succeed);
    assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    assert_eq!(full.snapshot().rejected, 1);
    assert_eq!((budget.available(), start.elapsed()), (10.0, Duration::ZERO));
}

async fn a_spent_rate_limiter_is_never_retried(way: Way) {
    let budget = RetryBudget::new(10);
    let retry = RetryWithBackoff::builder("users").budget(&budget).build().unwrap();
    let spent = RateLimiter::new("api", 1, secs(1)).expect("the settings are good");
    let (start, fail) = (Instant::now(), fail());
    assert_eq!(call_both!(way, spent, retry, fail), Err(Error::Inner("bad")), "a permit is for all attempts");
    let (begun, tokens) = (Instant::now(), budget.available());
    let answer = call_both!(way, retry, spent, fail);
    assert!(matches!(rejected(answer), Some(Rejected::RateLimited(_))), "{:?}", begun - start);
    assert_eq!(spent.snapshot().rejected, 1);
    assert_eq!((budget.available(), begun.elapsed()), (tokens, Duration::ZERO));
}

async fn a_timeout_is_retried(way: Way) {
    let (retry, per_attempt) = (eager(), Timeout::new(ms(100)));
    let (start, hang) = (Instant::now(), hang());
    let late = call_both!(way, retry, per_attempt, hang);
    assert!(matches!(rejected(late), Some(Rejected::TimedOut(_))));
    assert_eq!(start.elapsed(), ms(300), "three attempts");
}

async fn the_fallback_handles_our_own_rejections(way: Way) {
    let (fallback, full) = (Fallback::value(9), Bulkhead::new("api", 0));
    let succeed = succeed();
    assert_eq!(call_both!(way, fallback, full, succeed), Ok(9));
}
