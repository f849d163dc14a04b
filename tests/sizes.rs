//! How many bytes each policy adds to the operation's future: what a program pays for every call in flight. And how many
//! a rejection has: every result that can carry one is as wide, and each policy moves it.
#![cfg(feature = "tower")]

use std::{
    future::{Ready, ready},
    mem::size_of_val,
    num::NonZeroU16,
    time::Duration,
};

use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};
use withstand::{
    Bulkhead, BulkheadFull, CircuitBreaker, CircuitOpen, Elapsed, Fallback, Name, Pipeline, RateLimited, RateLimiter,
    Rejected, RetryWithBackoff, Timeout, pipeline::BoxPipeline,
};

type Operation = Ready<Result<u64, BoxError>>;

fn operation() -> Operation {
    ready(Ok(1))
}

fn added<F>(call: &F) -> usize {
    size_of_val(call) - size_of::<Operation>()
}

/// By the tower layer, where the request goes into the future of what may be started later.
fn added_by<L>(layer: &L) -> usize
where
    L: Layer<tower::util::ServiceFn<fn(u64) -> Operation>>,
    L::Service: Service<u64>,
{
    let start: fn(u64) -> Operation = |_| operation();
    added(&layer.layer(service_fn(start)).call(1))
}

fn assert_at_most(most: usize, what: &str, added: [usize; 2]) {
    println!("{what}: {added:?} bytes");
    assert!(added.iter().all(|bytes| *bytes <= most), "{what}: {added:?} bytes, more than {most}");
}

#[test]
fn each_policy_adds_at_most_so_many_bytes() {
    let breaker = CircuitBreaker::new("users");
    let timeout = Timeout::new(Duration::from_secs(1));
    let retry = RetryWithBackoff::new("users");
    let bulkhead = Bulkhead::builder("users", 1).queue(1, Duration::from_secs(1)).build().expect("good settings");
    let second = Duration::from_secs(1);
    let limiter = RateLimiter::builder("users", 1, second).queue(1, second).build().expect("good settings");
    let fallback = Fallback::value(7);
    assert_at_most(128, "breaker", [added(&breaker.call(operation)), added_by(&breaker.layer())]);
    assert_at_most(128, "fallback", [added(&fallback.call(operation)), added_by(&fallback.layer())]);
    assert_at_most(160, "timeout", [added(&timeout.call(operation)), added_by(&timeout.layer())]);
    // Less would lose something: what a hinted wait keeps until its retry is paid for, and the verdict that an event tells (32 bytes).
    assert_at_most(256, "retry", [added(&retry.call(operation)), added_by(&retry.layer())]);
    assert_at_most(256, "bulkhead", [added(&bulkhead.call(operation)), added_by(&bulkhead.layer())]);
    assert_at_most(256, "rate limiter", [added(&limiter.call(operation)), added_by(&limiter.layer())]);
}

#[test]
fn all_five_add_at_most_so_many_bytes() {
    let breaker = CircuitBreaker::new("users");
    let (total, each) = (Timeout::new(Duration::from_secs(9)), Timeout::new(Duration::from_secs(1)));
    let retry = RetryWithBackoff::new("users");
    let bulkhead = Bulkhead::new("users", 1);
    let fallback = Fallback::value(7);
    let one = || breaker.call(|| each.call(operation));
    let plain = added(&fallback.call(|| bulkhead.call(|| total.call(|| retry.call(one)))));
    let layers = ServiceBuilder::new()
        .layer(fallback.layer())
        .layer(bulkhead.layer())
        .layer(total.layer())
        .layer(retry.layer())
        .layer(breaker.layer())
        .layer(each.layer());
    assert_at_most(900, "all five", [plain, added_by(&layers)]);
}

/// There is one type for all subsets of the parts, and so one size. Only a fallback makes it another type, and erasing.
#[test]
fn p5_p3_a_pipeline_adds_at_most_so_many_bytes() {
    const MOST: usize = 560;
    let none = Pipeline::builder("users").build().expect("good settings");
    let all = Pipeline::standard_builder("users").fallback(Fallback::value(7)).build().expect("good settings");
    let erased: BoxPipeline<u64, BoxError> = all.clone().boxed();
    assert_at_most(MOST, "pipeline without parts", [added(&none.call(operation)), added_by(&none.layer())]);
    assert_at_most(MOST, "pipeline with all parts", [added(&all.call(operation)), added_by(&all.layer())]);
    assert_at_most(MOST, "pipeline, erased", [added(&erased.call(operation)), added_by(&erased.layer())]);
    assert_eq!(size_of::<Pipeline>(), size_of::<usize>(), "its parts are shared");
}

#[cfg(target_pointer_width = "64")]
mod a_rejection {
    use super::*;

    /// As the one in the README: `Status` has its retry-after, the others are a word.
    #[expect(dead_code, reason = "its size is looked at")]
    enum ApiError {
        Status { status: NonZeroU16, retry_after: Option<Duration> },
        Decode(Box<u8>),
        Http(Box<u8>),
        Policy(Rejected),
    }

    #[test]
    fn has_at_most_so_many_bytes() {
        assert_eq!(size_of::<Name>(), 16);
        let leaves =
            [size_of::<CircuitOpen>(), size_of::<BulkheadFull>(), size_of::<RateLimited>(), size_of::<Elapsed>()];
        assert_eq!(leaves, [32; 4]);
        assert_eq!(size_of::<Rejected>(), 40);
    }

    #[test]
    fn makes_no_error_wider_that_has_room_beside_it() {
        assert_eq!([size_of::<ApiError>(), size_of::<withstand::Error<Box<u8>>>()], [40; 2]);
        assert_eq!([size_of::<Result<u64, ApiError>>(), size_of::<Result<[u64; 4], ApiError>>()], [40; 2]);
    }
}
