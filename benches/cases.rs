//! What is measured: a call through each policy, each way, with each outcome. The operation is ready at once.

use std::{
    fmt,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    num::NonZeroU16,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{Service, ServiceBuilder};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, CircuitBreakerBuilder, Classify, Error, Fallback, Pipeline, RateLimiter,
    Rejected, RetryWithBackoff, Timeout, carries_rejected,
    circuit_breaker::Window,
    fallback::Value,
    pipeline::{PipelineFallback, PlainFallback},
};

/// A word, as errors mostly are: something boxed. A wide one costs its own moves, whoever moves it.
#[derive(Debug)]
pub struct Failure(Option<Box<Rejected>>);

impl CarriesRejected for Failure {
    fn from_rejected(rejected: Rejected) -> Self {
        Self(Some(Box::new(rejected)))
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        self.0.as_deref()
    }
}

/// An operation's own failure.
pub trait Fails: CarriesRejected + 'static {
    fn bad() -> Self;
}

impl Fails for Failure {
    fn bad() -> Self {
        Self(None)
    }
}

/// As the README's own error is: an enum that carries the rejection without a box, as wide as that makes it.
#[derive(Debug)]
pub enum ApiError {
    Status { status: NonZeroU16, retry_after: Option<Duration> },
    Decode(Box<&'static str>),
    Http(Box<&'static str>),
    Policy(Rejected),
}

carries_rejected!(ApiError, Policy);

impl From<Rejected> for ApiError {
    fn from(rejected: Rejected) -> Self {
        Self::Policy(rejected)
    }
}

impl Fails for ApiError {
    fn bad() -> Self {
        Self::Status { status: NonZeroU16::MAX, retry_after: None }
    }
}

/// For those that are rejected: this carries a rejection without a box.
pub type Wide = Error<&'static str>;

impl Fails for Wide {
    fn bad() -> Self {
        Self::Inner("bad")
    }
}

pub type Answer<E = Failure> = Result<u64, E>;

/// Makes so many calls.
pub type Run = Box<dyn FnMut(u64)>;

#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub prepare: fn() -> Run,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! cases {
    ($($name:literal: $prepare:expr,)*) => {
        pub const CASES: &[Case] = &[$(Case { name: $name, prepare: || $prepare },)*];
    };
}

cases! {
    "nothing, plain": nothing_plain::<Failure>(),
    "nothing, tower": tower(Backend(succeed), true),
    "breaker, calm, plain": breaker_plain(calm(), succeed),
    "breaker, calm, tower": breaker_tower(calm(), succeed),
    "breaker, failures in the count window, plain": breaker_plain(rate_over(Window::calls(100)), seldom_fail),
    "breaker, failures in the count window, tower": breaker_tower(rate_over(Window::calls(100)), seldom_fail),
    "breaker, failures in the time window, plain": breaker_plain(rate_over(time_window()), seldom_fail),
    "breaker, failures in the time window, tower": breaker_tower(rate_over(time_window()), seldom_fail),
    "breaker, failing, plain": breaker_plain(failing(), fail),
    "breaker, failing, tower": breaker_tower(failing(), fail),
    "breaker, open, plain": breaker_plain(open(), rejected),
    "breaker, open, tower": breaker_tower(open(), rejected),
    "retry, first attempt, plain": retry_plain::<Failure>(),
    "retry, first attempt, tower": retry_tower::<Failure>(),
    "retry, two failures without delay, plain": plain(at_once(), |retry, value| {
        let mut attempts = 0;
        once(retry.call(|| third(&mut attempts, value)))
    }, true),
    "timeout, plain": timeout_plain::<Failure>(),
    "timeout, tower": timeout_tower::<Failure>(),
    "bulkhead, free, plain": bulkhead_plain::<Failure>(),
    "bulkhead, free, tower": bulkhead_tower::<Failure>(),
    "bulkhead, full, plain": plain(Bulkhead::new("users", 0), |bulkhead, value| once(bulkhead.call(|| rejected(value))), false),
    "bulkhead, full, tower": tower(layered(Bulkhead::new("users", 0).layer(), rejected), false),
    "rate limiter, free, plain": rate_limiter_plain::<Failure>(),
    "rate limiter, free, tower": rate_limiter_tower::<Failure>(),
    "rate limiter, spent, plain": plain(spent(), |limiter, value| once(limiter.call(|| rejected(value))), false),
    "rate limiter, spent, tower": tower(layered(spent().layer(), rejected), false),
    "fallback, success, plain": fallback_plain::<Failure>(),
    "fallback, success, tower": fallback_tower::<Failure>(),
    "fallback, steps in, plain": plain(Fallback::value(7), |fallback, value| once(fallback.call(|| fail(value))), true),
    "all five, plain": all_five_plain::<Failure>(),
    "all five, tower": all_five_tower::<Failure>(),
    "pipeline, five parts, plain": pipeline_plain::<Failure, _, _>(five_parts()),
    "pipeline, five parts, tower": pipeline_tower::<Failure, _, _>(five_parts()),
    "pipeline, breaker alone, plain": pipeline_plain::<Failure, _, _>(breaker_alone()),
    "pipeline, breaker alone, tower": pipeline_tower::<Failure, _, _>(breaker_alone()),
    "pipeline, no part, plain": pipeline_plain::<Failure, _, _>(no_part()),
    "pipeline, no part, tower": pipeline_tower::<Failure, _, _>(no_part()),
    "pipeline, standard, plain": pipeline_plain::<Failure, _, _>(Pipeline::standard("users")),
    "pipeline, standard, tower": pipeline_tower::<Failure, _, _>(Pipeline::standard("users")),
    "README's error: nothing, plain": nothing_plain::<ApiError>(),
    "README's error: nothing, tower": tower(Backend(succeed_or::<ApiError>), true),
    "README's error: breaker, calm, plain": breaker_plain(calm(), succeed_or::<ApiError>),
    "README's error: breaker, calm, tower": breaker_tower(calm(), succeed_or::<ApiError>),
    "README's error: retry, first attempt, plain": retry_plain::<ApiError>(),
    "README's error: retry, first attempt, tower": retry_tower::<ApiError>(),
    "README's error: timeout, plain": timeout_plain::<ApiError>(),
    "README's error: timeout, tower": timeout_tower::<ApiError>(),
    "README's error: bulkhead, free, plain": bulkhead_plain::<ApiError>(),
    "README's error: bulkhead, free, tower": bulkhead_tower::<ApiError>(),
    "README's error: rate limiter, free, plain": rate_limiter_plain::<ApiError>(),
    "README's error: rate limiter, free, tower": rate_limiter_tower::<ApiError>(),
    "README's error: fallback, success, plain": fallback_plain::<ApiError>(),
    "README's error: fallback, success, tower": fallback_tower::<ApiError>(),
    "README's error: all five, plain": all_five_plain::<ApiError>(),
    "README's error: all five, tower": all_five_tower::<ApiError>(),
    "README's error: pipeline, five parts, plain": pipeline_plain::<ApiError, _, _>(five_parts()),
    "README's error: pipeline, five parts, tower": pipeline_tower::<ApiError, _, _>(five_parts()),
}

/// An operation that is ready at once, and has nothing to drop.
pub struct Now<E = Failure> {
    value: u64,
    fails: bool,
    error: PhantomData<fn() -> E>,
}

impl<E: Fails> Future for Now<E> {
    type Output = Answer<E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer<E>> {
        Poll::Ready(if self.fails { Err(E::bad()) } else { Ok(black_box(self.value)) })
    }
}

fn now<E>(value: u64, fails: bool) -> Now<E> {
    Now { value, fails, error: PhantomData }
}

pub fn succeed(value: u64) -> Now {
    succeed_or(value)
}

/// It does not fail with this error.
fn succeed_or<E>(value: u64) -> Now<E> {
    now(value, false)
}

pub fn fail(value: u64) -> Now {
    now(value, true)
}

/// Fails once in fifty calls.
pub fn seldom_fail(value: u64) -> Now {
    now(value, value.is_multiple_of(50))
}

/// It will not be started.
fn rejected(value: u64) -> Now<Wide> {
    succeed_or(value)
}

/// Fails twice.
fn third(attempts: &mut u32, value: u64) -> Now {
    *attempts += 1;
    now(value, *attempts < 3)
}

/// The answer of a call that is ready at once, or, as one in 32 that are rejected, as soon as it is polled again. As inlined as an
/// `await` is.
#[inline(always)]
pub fn once<E>(call: impl Future<Output = Answer<E>>) -> Answer<E> {
    let mut call = pin!(call);
    for _ in 0..2 {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
    }
    panic!("it is not ready")
}

/// Calls through `policy`, and checks how they end before it measures.
fn plain<P: 'static, E: 'static>(policy: P, call: impl Fn(&P, u64) -> Answer<E> + 'static, succeeds: bool) -> Run {
    assert_eq!(call(&policy, 1).is_ok(), succeeds);
    Box::new(move |calls| {
        for number in 0..calls {
            black_box(&call(&policy, black_box(number)));
        }
    })
}

/// Calls this service, and checks how they end before it measures.
fn tower<S>(mut service: S, succeeds: bool) -> Run
where
    S: Service<u64, Response = u64> + 'static,
{
    let mut call = move |number| {
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(ready.is_ready());
        once(service.call(number))
    };
    assert_eq!(call(1).is_ok(), succeeds);
    Box::new(move |calls| {
        for number in 0..calls {
            black_box(&call(black_box(number)));
        }
    })
}

/// The service at the bottom.
pub struct Backend<E = Failure>(pub fn(u64) -> Now<E>);

impl<E> Clone for Backend<E> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<E: Fails> Service<u64> for Backend<E> {
    type Response = u64;
    type Error = E;
    type Future = Now<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, value: u64) -> Now<E> {
        (self.0)(value)
    }
}

fn layered<E, L: tower::Layer<Backend<E>>>(layer: L, answer: fn(u64) -> Now<E>) -> L::Service {
    layer.layer(Backend(answer))
}

fn breaker_plain<E: Fails>(breaker: CircuitBreaker, answer: fn(u64) -> Now<E>) -> Run {
    let succeeds = breaker.try_acquire().is_ok() && once(answer(1)).is_ok();
    // A pair, so that the operation is as unknown to the compiler here as the other way.
    plain((breaker, answer), |(breaker, answer), value| once(breaker.call(|| answer(value))), succeeds)
}

fn breaker_tower<E: Fails>(breaker: CircuitBreaker, answer: fn(u64) -> Now<E>) -> Run {
    let succeeds = breaker.try_acquire().is_ok() && once(answer(1)).is_ok();
    tower(layered(breaker.layer(), answer), succeeds)
}

fn build(builder: CircuitBreakerBuilder) -> CircuitBreaker {
    builder.build().expect("good settings")
}

/// The default: what a success changes nothing of.
pub fn calm() -> CircuitBreaker {
    CircuitBreaker::new("users")
}

pub fn time_window() -> Window {
    Window::time(Duration::from_secs(10))
}

/// A rate rule that is far from tripping.
pub fn rate_over(window: Window) -> CircuitBreaker {
    build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(0.9, window))
}

/// A rate rule that never trips: it is not judged before more calls than are made.
fn failing() -> CircuitBreaker {
    let window = Window::calls(10_000_000).min_calls(10_000_000);
    build(CircuitBreaker::builder("users").no_consecutive_failures().failure_rate(1.0, window))
}

fn open() -> CircuitBreaker {
    let day = Duration::from_secs(86_400);
    let builder = CircuitBreaker::builder("users").open_for(day).max_open_for(day);
    let breaker = build(builder.consecutive_failures(1, Duration::ZERO));
    breaker.try_acquire().expect("it is closed").failure();
    breaker
}

fn at_once() -> RetryWithBackoff {
    RetryWithBackoff::builder("users").no_backoff().build().expect("good settings")
}

fn minute() -> Timeout {
    Timeout::new(Duration::from_secs(60))
}

/// More permits than are taken.
fn many() -> RateLimiter {
    RateLimiter::new("users", 1_000_000_000, Duration::from_secs(1)).expect("good settings")
}

fn spent() -> RateLimiter {
    let limiter = RateLimiter::new("users", 1, Duration::from_secs(86_400)).expect("good settings");
    limiter.try_acquire().expect("the only permit");
    limiter
}

fn nothing_plain<E: Fails>() -> Run {
    plain((), |(), value| once(succeed_or::<E>(value)), true)
}

fn retry_plain<E: Fails>() -> Run {
    plain(RetryWithBackoff::new("users"), |retry, value| once(retry.call(|| succeed_or::<E>(value))), true)
}

fn retry_tower<E: Fails>() -> Run {
    tower(layered(RetryWithBackoff::new("users").layer(), succeed_or::<E>), true)
}

fn timeout_plain<E: Fails>() -> Run {
    plain(minute(), |timeout, value| once(timeout.call(|| succeed_or::<E>(value))), true)
}

fn timeout_tower<E: Fails>() -> Run {
    tower(layered(minute().layer(), succeed_or::<E>), true)
}

fn bulkhead_plain<E: Fails>() -> Run {
    plain(Bulkhead::new("users", 16), |bulkhead, value| once(bulkhead.call(|| succeed_or::<E>(value))), true)
}

fn bulkhead_tower<E: Fails>() -> Run {
    tower(layered(Bulkhead::new("users", 16).layer(), succeed_or::<E>), true)
}

fn rate_limiter_plain<E: Fails>() -> Run {
    plain(many(), |limiter, value| once(limiter.call(|| succeed_or::<E>(value))), true)
}

fn rate_limiter_tower<E: Fails>() -> Run {
    tower(layered(many().layer(), succeed_or::<E>), true)
}

fn fallback_plain<E: Fails>() -> Run {
    plain(Fallback::value(7), |fallback, value| once(fallback.call(|| succeed_or::<E>(value))), true)
}

fn fallback_tower<E: Fails>() -> Run {
    tower(layered(Fallback::value(7).layer(), succeed_or::<E>), true)
}

struct AllFive {
    fallback: Fallback<withstand::fallback::Value<u64>>,
    bulkhead: Bulkhead,
    retry: RetryWithBackoff,
    breaker: CircuitBreaker,
    timeout: Timeout,
}

impl AllFive {
    fn new() -> Self {
        Self {
            fallback: Fallback::value(7),
            bulkhead: Bulkhead::new("users", 16),
            retry: RetryWithBackoff::new("users"),
            breaker: calm(),
            timeout: minute(),
        }
    }
}

fn all_five_plain<E: Fails>() -> Run {
    plain(
        AllFive::new(),
        |five, value| {
            let AllFive { fallback, bulkhead, retry, breaker, timeout } = five;
            let one = || breaker.call(|| timeout.call(|| succeed_or::<E>(value)));
            once(fallback.call(|| bulkhead.call(|| retry.call(one))))
        },
        true,
    )
}

fn all_five_tower<E: Fails>() -> Run {
    let AllFive { fallback, bulkhead, retry, breaker, timeout } = AllFive::new();
    let service = ServiceBuilder::new()
        .layer(fallback.layer())
        .layer(bulkhead.layer())
        .layer(retry.layer())
        .layer(breaker.layer())
        .layer(timeout.layer())
        .service(Backend(succeed_or::<E>));
    tower(service, true)
}

/// The same five as above.
fn five_parts() -> Pipeline<withstand::ByError, Fallback<Value<u64>>> {
    let AllFive { fallback, bulkhead, retry, breaker, .. } = AllFive::new();
    let builder = Pipeline::builder("users").fallback(fallback).bulkhead(bulkhead).retry(retry);
    builder.circuit_breaker(breaker).attempt_timeout(Duration::from_secs(5)).build().expect("good settings")
}

fn breaker_alone() -> Pipeline {
    Pipeline::builder("users").circuit_breaker(calm()).build().expect("good settings")
}

fn no_part() -> Pipeline {
    Pipeline::builder("users").build().expect("good settings")
}

fn pipeline_plain<E, C, F>(pipeline: Pipeline<C, F>) -> Run
where
    E: Fails,
    C: Classify<u64, E> + 'static,
    F: PipelineFallback<u64, E, ()> + 'static,
{
    plain(pipeline, |pipeline, value| once(pipeline.call(|| succeed_or::<E>(value))), true)
}

fn pipeline_tower<E, C, F>(pipeline: Pipeline<C, F>) -> Run
where
    E: Fails,
    C: Classify<u64, E> + Clone + 'static,
    F: PipelineFallback<u64, E, ()> + PlainFallback + Clone + 'static,
{
    tower(layered(pipeline.layer(), succeed_or::<E>), true)
}
