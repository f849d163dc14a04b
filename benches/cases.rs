//! What is measured: a call through each policy, each way, with each outcome. The operation is ready at once.

use std::{
    fmt,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower::{Service, ServiceBuilder};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, CircuitBreakerBuilder, Error, Fallback, RateLimiter, Rejected,
    RetryWithBackoff, Timeout, circuit_breaker::Window,
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
    "nothing, plain": plain((), |(), value| once(succeed(value)), true),
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
    "retry, first attempt, plain": plain(RetryWithBackoff::new("users"), |retry, value| once(retry.call(|| succeed(value))), true),
    "retry, first attempt, tower": tower(layered(RetryWithBackoff::new("users").layer(), succeed), true),
    "retry, two failures without delay, plain": plain(at_once(), |retry, value| {
        let mut attempts = 0;
        once(retry.call(|| third(&mut attempts, value)))
    }, true),
    "timeout, plain": plain(minute(), |timeout, value| once(timeout.call(|| succeed(value))), true),
    "timeout, tower": tower(layered(minute().layer(), succeed), true),
    "bulkhead, free, plain": plain(Bulkhead::new("users", 16), |bulkhead, value| once(bulkhead.call(|| succeed(value))), true),
    "bulkhead, free, tower": tower(layered(Bulkhead::new("users", 16).layer(), succeed), true),
    "bulkhead, full, plain": plain(Bulkhead::new("users", 0), |bulkhead, value| once(bulkhead.call(|| rejected(value))), false),
    "bulkhead, full, tower": tower(layered(Bulkhead::new("users", 0).layer(), rejected), false),
    "rate limiter, free, plain": plain(many(), |limiter, value| once(limiter.call(|| succeed(value))), true),
    "rate limiter, free, tower": tower(layered(many().layer(), succeed), true),
    "rate limiter, spent, plain": plain(spent(), |limiter, value| once(limiter.call(|| rejected(value))), false),
    "rate limiter, spent, tower": tower(layered(spent().layer(), rejected), false),
    "fallback, success, plain": plain(Fallback::value(7), |fallback, value| once(fallback.call(|| succeed(value))), true),
    "fallback, success, tower": tower(layered(Fallback::value(7).layer(), succeed), true),
    "fallback, steps in, plain": plain(Fallback::value(7), |fallback, value| once(fallback.call(|| fail(value))), true),
    "all five, plain": all_five_plain(),
    "all five, tower": all_five_tower(),
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
    now(value, false)
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
            let _ = black_box(call(&policy, black_box(number)));
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
            let _ = black_box(call(black_box(number)));
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

fn all_five_plain() -> Run {
    plain(
        AllFive::new(),
        |five, value| {
            let AllFive { fallback, bulkhead, retry, breaker, timeout } = five;
            let one = || breaker.call(|| timeout.call(|| succeed(value)));
            once(fallback.call(|| bulkhead.call(|| retry.call(one))))
        },
        true,
    )
}

fn all_five_tower() -> Run {
    let AllFive { fallback, bulkhead, retry, breaker, timeout } = AllFive::new();
    let service = ServiceBuilder::new()
        .layer(fallback.layer())
        .layer(bulkhead.layer())
        .layer(retry.layer())
        .layer(breaker.layer())
        .layer(timeout.layer())
        .service(Backend(succeed));
    tower(service, true)
}
