//! The policies of each stack: one of each kind, and a fallback more.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use withstand::{
    Bulkhead, CircuitBreaker, CircuitBreakerBuilder, ConfigError, Fallback, FallbackEvent, RetryBudget,
    RetryWithBackoff, Timeout,
    circuit_breaker::Window,
    fallback::{AsyncErrorFn, EveryError, ListenFn},
    retry::Exponential,
};

use crate::{
    backend::{Answer, Failure, Reply},
    heard::Heard,
};

/// The bulkheads' usual limit, and the highest that the hand ever sets.
pub const SLOTS: usize = 512;
pub const PLACES: usize = 512;

/// So long that a probe whose slot is lost is still out at an audit: there is one each second.
const LONG: Duration = Duration::from_secs(3);

/// What differs from one stack to another.
#[derive(Clone)]
pub struct Settings {
    pub name: &'static str,
    pub probes: usize,
    /// The bucket of the retry, and how many tokens it can hold.
    pub budget: RetryBudget,
    pub tokens: u32,
    each: Duration,
    trip: fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder,
}

/// Four ways to trip, and to be half-open; two stacks share a budget.
pub fn settings(shared: &RetryBudget) -> [Settings; 4] {
    let users = Settings {
        name: "users",
        probes: 1,
        budget: shared.clone(),
        tokens: u32::MAX,
        each: ms(30),
        trip: |breaker| breaker.consecutive_failures(10, ms(5)).probe_timeout(LONG),
    };
    let stock = Settings { name: "stock", probes: 3, trip: on_half_of_forty, ..users.clone() };
    let prices = Settings { name: "prices", probes: 2, trip: on_rates_over_time, ..users.clone() }.with_tokens(10);
    let mail = Settings { name: "mail", each: ms(60), trip: on_impatient_callers, ..users.clone() }.with_tokens(25);
    [users, stock, prices, mail]
}

impl Settings {
    fn with_tokens(self, tokens: u32) -> Self {
        Self { budget: RetryBudget::new(tokens), tokens, ..self }
    }
}

fn on_half_of_forty(breaker: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    breaker.no_consecutive_failures().failure_rate(0.5, Window::calls(40)).required_successes(5).probe_timeout(LONG)
}

fn on_rates_over_time(breaker: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    let window = Window::time(ms(300));
    let breaker = breaker.no_consecutive_failures().failure_rate(0.4, window).slow_call_rate(0.6, ms(20), window);
    breaker.probe_timeout(LONG)
}

/// Its probes can outlive their `probe_timeout`: one attempt may take longer.
fn on_impatient_callers(breaker: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    breaker
        .consecutive_failure_rules([(30, Duration::ZERO), (5, ms(20))])
        .count_dropped_after(ms(15))
        .probe_timeout(ms(25))
}

pub struct Policies {
    /// One that gives the error back, and one that answers.
    pub fallbacks: [Recovery; 2],
    pub bulkhead: Bulkhead,
    pub total: Timeout,
    pub retry: RetryWithBackoff,
    pub breaker: CircuitBreaker,
    pub each: Timeout,
}

pub type Recovery = Fallback<AsyncErrorFn<Recover>, EveryError, ListenFn<Hear>>;
type Recover = fn(Failure) -> BoxFuture<'static, Answer>;
type Hear = Box<dyn Fn(&FallbackEvent<'_, Reply, Failure>) + Send + Sync>;

impl Policies {
    pub fn new(settings: &Settings, heard: &Arc<Heard>) -> Result<Self, ConfigError> {
        let Settings { name, probes, budget, each, trip, .. } = settings;
        let [by_bulkhead, by_total, by_retry, by_breaker, by_each] = [(); 5].map(|()| heard.clone());
        let breaker = CircuitBreaker::builder(*name).probes(*probes).open_for(ms(30)).max_open_for(ms(150));
        Ok(Self {
            fallbacks: [give_back, recovery].map(|recover: Recover| fallback(recover, heard.clone())),
            bulkhead: Bulkhead::builder(*name, SLOTS)
                .queue(PLACES, ms(40))
                .listener_fn(move |event| by_bulkhead.bulkhead(event))
                .build()?,
            total: Timeout::new(ms(90)).named(*name).listener_fn(move |_| by_total.total_timed_out.add()),
            retry: RetryWithBackoff::builder(*name)
                .max_attempts(4)
                .backoff(Exponential::new(ms(2), ms(30)))
                .budget(budget)
                .listener_fn(move |event| by_retry.retry(event))
                .build()?,
            breaker: trip(breaker).listener_fn(move |event| by_breaker.breaker(event)).build()?,
            each: Timeout::new(*each).named(*name).listener_fn(move |_| by_each.each_timed_out.add()),
        })
    }
}

fn fallback(recover: Recover, heard: Arc<Heard>) -> Recovery {
    let hear: Hear = Box::new(move |event| heard.fallback(event));
    Fallback::from_async_fn(recover).listener_fn(hear)
}

fn give_back(failure: Failure) -> BoxFuture<'static, Answer> {
    Box::pin(std::future::ready(Err(failure)))
}

/// After a moment in which a caller may give up.
fn recovery(_: Failure) -> BoxFuture<'static, Answer> {
    Box::pin(async {
        tokio::task::yield_now().await;
        Ok(Reply::Recovery)
    })
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
