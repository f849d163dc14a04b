use std::time::Duration;

use super::{
    fallback::NoFallback,
    policy::Pipeline,
    settings::PipelineSettings,
    shared::{Limit, Parts, Whole},
};
use crate::{
    bulkhead::Bulkhead,
    circuit_breaker::CircuitBreaker,
    classify::ByError,
    error::{Check, ConfigError, Name},
    fallback::Fallback,
    rate_limiter::RateLimiter,
    retry::RetryWithBackoff,
    sync::{Arc, Lock},
    timeout::Timeout,
};

/// The total timeout of [`Pipeline::standard`]: time for two attempts that time out and the backoff between them.
pub(super) const STANDARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The attempt timeout of [`Pipeline::standard`].
pub(super) const STANDARD_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// How many calls of [`Pipeline::standard`] run at once. It is a guard for memory and connections, and far above what a
/// healthy dependency needs.
pub(super) const STANDARD_MAX_CONCURRENT: usize = 1000;

/// Settings of a [`Pipeline`].
///
/// The setters commute: the [order](super#order) of the parts is always the same.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PipelineBuilder<C = ByError, F = NoFallback> {
    name: Name,
    total: Option<Timeout>,
    rate_limiter: Option<RateLimiter>,
    bulkhead: Option<Bulkhead>,
    retry: Option<RetryWithBackoff>,
    circuit_breaker: Option<CircuitBreaker>,
    attempt: Option<Timeout>,
    /// What was refused of the settings of parts.
    bad_parts: Check,
    classifier: C,
    fallback: F,
}

impl PipelineBuilder {
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            total: None,
            rate_limiter: None,
            bulkhead: None,
            retry: None,
            circuit_breaker: None,
            attempt: None,
            classifier: ByError,
            fallback: NoFallback,
            bad_parts: Check::default(),
        }
    }

    pub(super) fn standard(name: Name) -> Self {
        Self::new(name.clone())
            .timeout(STANDARD_TIMEOUT)
            .bulkhead(Bulkhead::new(name.clone(), STANDARD_MAX_CONCURRENT))
            .retry(RetryWithBackoff::new(name.clone()))
            .circuit_breaker(CircuitBreaker::new(name))
            .attempt_timeout(STANDARD_ATTEMPT_TIMEOUT)
    }
}

impl<C, F> PipelineBuilder<C, F> {
    /// Takes the timeouts and all parts from these settings: those of a file, for example. The parts have the name of
    /// the pipeline. Setters that follow replace single parts, by some that have listeners for example.
    pub fn settings(mut self, settings: &PipelineSettings) -> Self {
        let name = &self.name;
        let mut check = Check::default();
        self.total = settings.timeout.map(Timeout::new);
        self.attempt = settings.attempt_timeout.map(Timeout::new);
        let limiter = settings.rate_limiter.as_ref().map(|settings| settings.build(name.clone()));
        self.rate_limiter = limiter.and_then(|limiter| check.part("rate_limiter", limiter));
        let bulkhead = settings.bulkhead.as_ref().map(|settings| settings.build(name.clone()));
        self.bulkhead = bulkhead.and_then(|bulkhead| check.part("bulkhead", bulkhead));
        let retry = settings.retry.as_ref().map(|settings| settings.build(name.clone()));
        self.retry = retry.and_then(|retry| check.part("retry", retry));
        let breaker = settings.circuit_breaker.as_ref().map(|settings| settings.build(name.clone()));
        self.circuit_breaker = breaker.and_then(|breaker| check.part("circuit_breaker", breaker));
        self.bad_parts = check;
        self
    }

    /// The total timeout: how long a call may take, with all of its waits and attempts. The fallback is outside of it.
    ///
    /// A `Duration`, or a [`Timeout`] with listeners. They hear each call that the total ends, and each attempt that it
    /// cuts short. All that runs inside knows the [`Deadline`](crate::Deadline).
    pub fn timeout(mut self, total: impl Into<Timeout>) -> Self {
        self.total = Some(total.into());
        self
    }

    /// How many calls may begin in each period. Attempts are not counted, calls are.
    pub fn rate_limiter(mut self, rate_limiter: RateLimiter) -> Self {
        self.rate_limiter = Some(rate_limiter);
        self
    }

    /// How many calls may run at once. A call holds its slot over all of its attempts.
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.bulkhead = Some(bulkhead);
        self
    }

    /// Sends an attempt again that failed. Its results are judged by the pipeline's classifier.
    pub fn retry(mut self, retry: RetryWithBackoff) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Stops calling while the dependency fails. It counts each attempt, which is judged by the pipeline's classifier.
    pub fn circuit_breaker(mut self, circuit_breaker: CircuitBreaker) -> Self {
        self.circuit_breaker = Some(circuit_breaker);
        self
    }

    /// How long each attempt may take. A `Duration`, or a [`Timeout`] with listeners, which hear each attempt that
    /// reaches this limit.
    pub fn attempt_timeout(mut self, limit: impl Into<Timeout>) -> Self {
        self.attempt = Some(limit.into());
        self
    }

    /// Answers in place of a call that failed.
    ///
    /// It handles what the pipeline's classifier does not call [`Healthy`](crate::Verdict::Healthy), unless the
    /// fallback was given a rule of its own, [`handle_if`](Fallback::handle_if) or [`classify`](Fallback::classify).
    pub fn fallback<S, W, L>(self, fallback: Fallback<S, W, L>) -> PipelineBuilder<C, Fallback<S, W, L>> {
        let Self {
            name, total, rate_limiter, bulkhead, retry, circuit_breaker, attempt, classifier, bad_parts, ..
        } = self;
        PipelineBuilder {
            name,
            total,
            rate_limiter,
            bulkhead,
            retry,
            circuit_breaker,
            attempt,
            classifier,
            fallback,
            bad_parts,
        }
    }

    /// Judges results by `classifier`, for all parts.
    pub fn classify<D>(self, classifier: D) -> PipelineBuilder<D, F> {
        let Self { name, total, rate_limiter, bulkhead, retry, circuit_breaker, attempt, fallback, bad_parts, .. } =
            self;
        PipelineBuilder {
            name,
            total,
            rate_limiter,
            bulkhead,
            retry,
            circuit_breaker,
            attempt,
            classifier,
            fallback,
            bad_parts,
        }
    }

    /// A pipeline of these parts.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every contradiction between the parts: see [the table](super#contradictions).
    pub fn build(self) -> Result<Pipeline<C, F>, ConfigError> {
        let (name, mut check) = (self.name.clone(), self.bad_parts.clone());
        let pipeline = self.unchecked();
        pipeline.settings().check(&mut check);
        check.finish("pipeline", &name)?;
        Ok(pipeline)
    }

    /// Takes the parts as they are.
    pub(super) fn unchecked(self) -> Pipeline<C, F> {
        let Self { name, total, rate_limiter, bulkhead, retry, circuit_breaker, attempt, classifier, fallback, .. } =
            self;
        let (total, attempt) = (limit(total, &name), limit(attempt, &name));
        let changes = Lock::new(());
        let parts = Parts { name, total, rate_limiter, bulkhead, retry, circuit_breaker, attempt, changes };
        let parts = Arc::new(parts);
        Pipeline { whole: Whole { parts, classifier, fallback } }
    }
}

/// A timeout without a name of its own has that of the pipeline.
fn limit(timeout: Option<Timeout>, name: &Name) -> Limit {
    let Some(Timeout { limit, mut reporter }) = timeout else {
        return Limit::new(None, Timeout::never().named(name.clone()).reporter);
    };
    if reporter.name().is_none() {
        reporter.set_name(name.clone());
    }
    Limit::new(Some(limit), reporter)
}
