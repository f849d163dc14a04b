//! The policies between the order service and the user service: one set, for whoever asks it for whatever.

use std::time::Duration;

use withstand::{
    Bulkhead, CircuitBreaker, CircuitBreakerEvent, ConfigError, RetryWithBackoff, Timeout, circuit_breaker::Window,
    retry::Exponential,
};

/// Outermost first. The fallback outside of them all differs from call to call, and has no state to share.
pub struct Policies {
    pub total: Timeout,
    pub bulkhead: Bulkhead,
    pub retry: RetryWithBackoff,
    pub breaker: CircuitBreaker,
    pub each: Timeout,
}

impl Policies {
    pub fn new(hear: impl Fn(&CircuitBreakerEvent) + Send + Sync + 'static) -> Result<Self, ConfigError> {
        Ok(Self {
            total: Timeout::new(ms(2000)).named("users, all attempts"),
            bulkhead: Bulkhead::builder("users", 64).queue(64, ms(250)).build()?,
            retry: RetryWithBackoff::builder("users").backoff(Exponential::new(ms(50), ms(200))).build()?,
            breaker: CircuitBreaker::builder("users")
                .no_consecutive_failures()
                .failure_rate(0.5, Window::calls(10))
                .open_for(ms(1000)) // the lesson's is 10 s: too long to watch
                .max_open_for(ms(2000))
                .probe_timeout(ms(1500))
                .listener_fn(hear)
                .build()?,
            each: Timeout::new(ms(750)).named("users, one attempt"),
        })
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
