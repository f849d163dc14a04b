//! The way to a success allocates nothing, either way: counted by this test's own allocator.
#![cfg(feature = "tower")]

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};
use withstand::{
    Bulkhead, CircuitBreaker, CircuitBreakerBuilder, Deadline, Fallback, Keyed, Name, Pipeline, RateLimiter,
    RetryWithBackoff, Timeout, circuit_breaker::Window, pipeline::BoxPipeline, retry::Attempt,
};

type Answer = Result<u32, BoxError>;

/// Pending so many times, then a success.
async fn succeed_after(pending: u32) -> Answer {
    let mut left = pending;
    poll_fn(|_| match left {
        0 => Poll::Ready(()),
        _ => {
            left -= 1;
            Poll::Pending
        }
    })
    .await;
    Ok(pending)
}

fn finish<E>(call: impl Future<Output = Result<u32, E>>) {
    let mut call = pin!(call);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut cx) {
            return assert!(answer.is_ok());
        }
    }
    panic!("still pending");
}

/// Runs `call` until it is warm, then counts what it allocates: ready at once, and pending twice (timers are armed).
fn assert_none(what: &str, mut call: impl FnMut(u32)) {
    for pending in [0, 2] {
        for _ in 0..50 {
            call(pending);
        }
        let counted = allocation_counter::measure(|| call(pending));
        assert_eq!(counted.count_total, 0, "{what}, pending {pending} times");
    }
}

fn assert_none_in_tower<S>(what: &str, mut service: S)
where
    S: Service<u32, Response = u32, Error = BoxError>,
{
    assert_none(&format!("{what}, tower"), |pending| {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))));
        finish(service.call(pending));
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

#[test]
fn no_allocation_in_a_timeout() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let timeout = Timeout::new(Duration::from_secs(60)).named("users");
    assert_none("timeout, plain", |pending| finish(timeout.call(|| succeed_after(pending))));
    assert_none_in_tower("timeout", timeout.layer().layer(service_fn(succeed_after)));
}

#[test]
fn no_allocation_in_a_circuit_breaker() {
    let rate = |window| CircuitBreaker::builder("users").failure_rate(1.0, window);
    let circuits: [(&str, CircuitBreakerBuilder); 4] = [
        ("default", CircuitBreaker::builder("users")),
        ("count window", rate(Window::calls(10))),
        ("time window", rate(Window::time(Duration::from_secs(10)))),
        ("slow calls", CircuitBreaker::builder("users").slow_call_rate(1.0, Duration::from_secs(9), Window::calls(10))),
    ];
    for (what, builder) in circuits {
        let breaker = builder.build().expect("good settings");
        breaker.try_acquire().expect("it is closed").failure();
        assert_none(what, |pending| finish(breaker.call(|| succeed_after(pending))));
        assert_none_in_tower(what, breaker.layer().layer(service_fn(succeed_after)));
    }
}

#[test]
fn no_allocation_in_a_retry() {
    let retry = RetryWithBackoff::new("users");
    assert_none("retry, plain", |pending| finish(retry.call(|| succeed_after(pending))));
    assert_none_in_tower("retry", retry.layer().layer(service_fn(succeed_after)));
}

#[test]
fn no_allocation_in_a_retry_whose_second_attempt_succeeds() {
    use std::{cell::Cell, future::ready, io};

    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    assert_none("retry of a failure", |_| {
        let attempts = Cell::new(0);
        let mut call = pin!(retry.call(|| {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() == 1 { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok(1) })
        }));
        let answer = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(1))) && attempts.get() == 2);
    });
}

#[test]
fn no_allocation_in_a_bulkhead() {
    let bulkhead = Bulkhead::builder("users", 1).queue(1, Duration::from_secs(9)).build().expect("good settings");
    assert_none("bulkhead, plain", |pending| finish(bulkhead.call(|| succeed_after(pending))));
    assert_none_in_tower("bulkhead", bulkhead.layer().layer(service_fn(succeed_after)));
}

#[test]
fn no_allocation_in_a_rate_limiter() {
    let second = Duration::from_secs(1);
    let builder = || RateLimiter::builder("users", 1_000_000, second).queue(1, second);
    for builder in [builder(), builder().fixed_window()] {
        let limiter = builder.build().expect("good settings");
        assert_none("rate limiter, plain", |pending| finish(limiter.call(|| succeed_after(pending))));
        assert_none_in_tower("rate limiter", limiter.layer().layer(service_fn(succeed_after)));
    }
}

#[test]
fn no_allocation_in_a_fallback() {
    let fallback = Fallback::value(7).named("users");
    assert_none("fallback, plain", |pending| finish(fallback.call(|| succeed_after(pending))));
    assert_none_in_tower("fallback", fallback.layer().layer(service_fn(succeed_after)));
}

#[test]
fn y3_no_allocation_in_a_look_up_by_borrowed_text_and_the_call() {
    let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build().expect("good settings");
    let host = String::from("api.example.com");
    assert_none("keyed, plain", |pending| finish(hosts.get(host.as_str()).call(|| succeed_after(pending))));
    let by_host = hosts.layer_ref_fn(|_: &u32| "api.example.com");
    assert_none_in_tower("keyed", by_host.layer(service_fn(succeed_after)));
    let tenants = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1)).build().expect("good settings");
    assert_none_in_tower("keyed by numbers", tenants.layer_fn(|_: &u32| 7).layer(service_fn(succeed_after)));
    let limiters = Keyed::builder(|_: &u64, name: Name| {
        RateLimiter::new(name, 1_000_000, Duration::from_secs(1)).expect("good settings")
    });
    let limiters = limiters.build().expect("good settings");
    assert_none("keyed rate limiters, plain", |pending| finish(limiters.get(&7).call(|| succeed_after(pending))));
    assert_none_in_tower("keyed rate limiters", limiters.layer_fn(|_: &u32| 7).layer(service_fn(succeed_after)));
}

#[test]
fn y3_no_allocation_in_a_look_up_of_a_pipeline_and_the_call() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let hosts = Keyed::builder(|_: &str, name: Name| Pipeline::standard(name)).build().expect("good settings");
    let host = String::from("api.example.com");
    assert_none("keyed pipelines, plain", |pending| finish(hosts.get(host.as_str()).call(|| succeed_after(pending))));
    let by_host = || hosts.layer_ref_fn(|_: &u32| "api.example.com");
    assert_none_in_tower("keyed pipelines", by_host().layer(service_fn(succeed_after)));
    assert_none_in_tower("keyed pipelines, sent once", by_host().send_once().layer(service_fn(succeed_after)));
}

#[test]
fn no_allocation_in_all_five_together() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let fallback = Fallback::value(7);
    let bulkhead = Bulkhead::new("users", 16);
    let total = Timeout::new(Duration::from_secs(60));
    let retry = RetryWithBackoff::new("users");
    let breaker = CircuitBreaker::new("users");
    let each = Timeout::new(Duration::from_secs(9));
    assert_none("all five, plain", |pending| {
        let call = || breaker.call(|| each.call(|| succeed_after(pending)));
        finish(fallback.call(|| bulkhead.call(|| total.call(|| retry.call(call)))));
    });
    let service = ServiceBuilder::new()
        .layer(fallback.layer())
        .layer(bulkhead.layer())
        .layer(total.layer())
        .layer(retry.layer())
        .layer(breaker.layer())
        .layer(each.layer())
        .service(service_fn(succeed_after));
    assert_none_in_tower("all five", service);
}

#[cfg(feature = "http")]
#[test]
fn no_allocation_in_http() {
    use http::{Request, Response};
    use withstand::{LiftLayer, http as manners};

    let runtime = runtime();
    let _entered = runtime.enter();
    let answer = |request: Request<u32>| async move {
        let pending = succeed_after(*request.body()).await.expect("it does");
        Ok::<_, BoxError>(Response::new([pending; 0]))
    };
    let judge = manners::by_response()
        .errors_if(|error: &BoxError| error.is::<std::fmt::Error>(), withstand::Verdict::Unreached);
    let retry = RetryWithBackoff::new("users").classify(judge);
    let mut client = ServiceBuilder::new()
        .layer(retry.layer().clone_request_by(manners::Idempotent::new().safe_only()))
        .layer(LiftLayer)
        .service_fn(answer);
    let policies = ServiceBuilder::new()
        .layer(Bulkhead::new("server", 16).layer())
        .layer(Timeout::new(Duration::from_secs(60)).layer());
    let mut server = ServiceBuilder::new().layer(manners::server(policies).without_body()).service_fn(answer);
    let mut cx = Context::from_waker(Waker::noop());
    assert_none("http client", |pending| {
        assert!(client.poll_ready(&mut cx).is_ready());
        let call = client.call(Request::new(pending));
        finish(async { call.await.map(|_| 0).map_err(withstand::Error::into_boxed) });
    });
    assert_none("http server", |pending| {
        assert!(server.poll_ready(&mut cx).is_ready());
        let call = server.call(Request::new(pending));
        finish(async { call.await.map(|_| 0) });
    });
}

#[test]
fn p5_no_allocation_in_a_pipeline() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let all = Pipeline::standard_builder("users").fallback(Fallback::value(7)).build().expect("good settings");
    assert_none("pipeline, plain", |pending| finish(all.call(|| succeed_after(pending))));
    assert_none("pipeline, told of its attempt", |pending| {
        finish(all.call_with(|_: Attempt<'_, BoxError>| succeed_after(pending)));
    });
    assert_none_in_tower("pipeline", all.layer().layer(service_fn(succeed_after)));
    let none = Pipeline::builder("users").build().expect("good settings");
    assert_none("pipeline without parts, plain", |pending| finish(none.call(|| succeed_after(pending))));
    assert_none_in_tower("pipeline without parts", none.layer().layer(service_fn(succeed_after)));
}

#[test]
fn p5_no_allocation_in_a_pipeline_whose_second_attempt_succeeds() {
    use std::{cell::Cell, future::ready, io};

    let runtime = runtime();
    let _entered = runtime.enter();
    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    let all = Pipeline::standard_builder("users").retry(retry).build().expect("good settings");
    assert_none("pipeline, a retry of a failure", |_| {
        let attempts = Cell::new(0);
        let mut call = pin!(all.call(|| {
            attempts.set(attempts.get() + 1);
            ready(if attempts.get() == 1 { Err(io::Error::from(io::ErrorKind::ConnectionReset)) } else { Ok(1) })
        }));
        let answer = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(1))) && attempts.get() == 2);
    });
}

#[test]
fn p8_p5_no_allocation_in_an_erased_pipeline() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let all = Pipeline::standard_builder("users").fallback(Fallback::value(7)).build().expect("good settings");
    for erased in [all.boxed(), Pipeline::standard("users").boxed(), BoxPipeline::<u32, BoxError>::none()] {
        assert_none("erased pipeline, plain", |pending| finish(erased.call(|| succeed_after(pending))));
        assert_none_in_tower("erased pipeline", erased.layer().layer(service_fn(succeed_after)));
    }
}

/// Its future, boxed: one for each attempt.
#[test]
fn p9_one_allocation_for_each_attempt_that_is_lent_a_context() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let retry = RetryWithBackoff::builder("users").no_backoff().build().expect("good settings");
    let all = Pipeline::standard_builder("users").retry(retry).build().expect("good settings");
    let mut calls = 0_u32;
    let mut call = |attempts: u32| {
        let context = &mut calls;
        finish(all.call_with_context(context, |calls, attempt| {
            Box::pin(async move {
                *calls += 1;
                if attempt.number < attempts {
                    Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
                } else {
                    Ok(*calls)
                }
            })
        }));
    };
    call(3);
    for attempts in 1..=3 {
        let counted = allocation_counter::measure(|| call(attempts));
        assert_eq!(counted.count_total, u64::from(attempts));
    }
}

#[test]
fn q1_no_allocation_in_the_scope_of_a_deadline() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let all = Pipeline::standard("users");
    assert_none("deadline", |pending| {
        let deadline = Deadline::within(Duration::from_secs(9));
        finish(deadline.scope(async { all.call(|| succeed_after(pending)).await }));
    });
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7))));
    assert_eq!(counted.count_total, 1);
}
