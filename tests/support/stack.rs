//! Every policy, to be put around an operation or a service by number: for scenarios over all of them and every pair.

use tower::{Layer, Service, util::BoxCloneSyncService};
use withstand::{
    Bulkhead, CircuitBreaker, Fallback, Pipeline, RateLimiter, RetryBudget, RetryWithBackoff, Timeout,
    circuit_breaker::Window,
};

use super::{Answer, Failure, Op, Way, ms, op, secs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fallback,
    Timeout,
    RateLimiter,
    Bulkhead,
    Retry,
    CircuitBreaker,
    /// All of them in one.
    Pipeline,
}

impl Kind {
    pub fn has_slots(self) -> bool {
        matches!(self, Self::Bulkhead | Self::Pipeline)
    }

    pub fn retries(self) -> bool {
        matches!(self, Self::Retry | Self::Pipeline)
    }

    pub fn has_circuit(self) -> bool {
        matches!(self, Self::CircuitBreaker | Self::Pipeline)
    }
}

pub const KINDS: [Kind; 7] = [
    Kind::Fallback,
    Kind::Timeout,
    Kind::RateLimiter,
    Kind::Bulkhead,
    Kind::Retry,
    Kind::CircuitBreaker,
    Kind::Pipeline,
];

/// Each policy alone, each pair, and all of them in the order that the docs teach; outermost first.
pub fn stacks() -> Vec<Vec<Kind>> {
    let alone = KINDS.map(|kind| vec![kind]);
    let pairs = KINDS.iter().flat_map(|outer| KINDS.map(|inner| vec![*outer, inner]));
    let mut taught = KINDS.to_vec();
    // In place of the pipeline, which is all of them.
    *taught.last_mut().expect("there are some") = Kind::Timeout;
    alone.into_iter().chain(pairs).chain([taught]).collect()
}

pub type BoxService = BoxCloneSyncService<Op, u32, Failure>;

/// One handle of each policy, and a pipeline of the same handles. None of them trips by itself in these scenarios.
#[derive(Clone, Debug)]
pub struct Policies {
    pub limiter: RateLimiter,
    pub bulkhead: Bulkhead,
    pub breaker: CircuitBreaker,
    pub budget: RetryBudget,
    retry: RetryWithBackoff,
    timeout: Timeout,
    pipeline: Pipeline,
}

impl Policies {
    /// Two slots, for a bulkhead may stand around itself.
    pub fn new() -> Self {
        Self::with_slots(2)
    }

    pub fn with_slots(slots: usize) -> Self {
        let budget = RetryBudget::new(100);
        let bulkhead = Bulkhead::builder("users", slots).queue(4, secs(60)).build().expect("good settings");
        let breaker = CircuitBreaker::builder("users").failure_rate(1.0, Window::calls(1000).min_calls(1000));
        let breaker = breaker.consecutive_failures(20, ms(200));
        let breaker = breaker.build().expect("good settings");
        let retry = RetryWithBackoff::builder("users").budget(&budget).build().expect("good settings");
        let pipeline = Pipeline::builder("users")
            .timeout(secs(90))
            .bulkhead(bulkhead.clone())
            .retry(retry.clone())
            .circuit_breaker(breaker.clone())
            .attempt_timeout(secs(9));
        let pipeline = pipeline.build().expect("good settings");
        let limiter = RateLimiter::builder("users", 1000, secs(1)).queue(4, secs(60)).build().expect("good settings");
        Self { limiter, bulkhead, breaker, budget, retry, timeout: Timeout::new(secs(60)), pipeline }
    }

    /// No slot is taken, and no one waits.
    pub fn are_idle(&self) -> bool {
        let bulkhead = self.bulkhead.snapshot();
        let queued = self.limiter.snapshot().queued;
        (bulkhead.in_flight, bulkhead.queued, queued) == (0, 0, 0) && self.breaker.snapshot().probes_in_flight == 0
    }

    /// The operation under this stack, either way.
    pub fn protect(&self, way: Way, stack: &[Kind], service: impl Fn() -> BoxService, op: Op) -> Op {
        match way {
            Way::Plain => stack.iter().rev().fold(op, |inner, kind| self.around(*kind, inner)),
            Way::Tower => {
                let service = stack.iter().rev().fold(service(), |inner, kind| self.over(*kind, inner));
                super::op(move || {
                    let (mut service, op) = (service.clone(), op.clone());
                    async move {
                        std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
                        service.call(op).await
                    }
                })
            }
        }
    }

    fn around(&self, kind: Kind, inner: Op) -> Op {
        let Self { limiter, bulkhead, breaker, retry, timeout, pipeline, .. } = self.clone();
        match kind {
            Kind::Fallback => op(move || {
                let inner = inner.clone();
                async move { Fallback::from_fn(|error: Failure| Answer::Err(error)).call(|| inner()).await }
            }),
            Kind::RateLimiter => op(move || {
                let (limiter, inner) = (limiter.clone(), inner.clone());
                async move { limiter.call(|| inner()).await }
            }),
            Kind::Bulkhead => op(move || {
                let (bulkhead, inner) = (bulkhead.clone(), inner.clone());
                async move { bulkhead.call(|| inner()).await }
            }),
            Kind::Timeout => op(move || {
                let (timeout, inner) = (timeout.clone(), inner.clone());
                async move { timeout.call(|| inner()).await }
            }),
            Kind::Retry => op(move || {
                let (retry, inner) = (retry.clone(), inner.clone());
                async move { retry.call(|| inner()).await }
            }),
            Kind::CircuitBreaker => op(move || {
                let (breaker, inner) = (breaker.clone(), inner.clone());
                async move { breaker.call(|| inner()).await }
            }),
            Kind::Pipeline => op(move || {
                let (pipeline, inner) = (pipeline.clone(), inner.clone());
                async move { pipeline.call(|| inner()).await }
            }),
        }
    }

    /// The service under one more layer.
    pub fn over(&self, kind: Kind, inner: BoxService) -> BoxService {
        match kind {
            Kind::Fallback => {
                let fallback = Fallback::from_fn(|error: Failure| Answer::Err(error));
                BoxCloneSyncService::new(fallback.layer().layer(inner))
            }
            Kind::RateLimiter => BoxCloneSyncService::new(self.limiter.layer().layer(inner)),
            Kind::Bulkhead => BoxCloneSyncService::new(self.bulkhead.layer().layer(inner)),
            Kind::Timeout => BoxCloneSyncService::new(self.timeout.layer().layer(inner)),
            Kind::Retry => BoxCloneSyncService::new(self.retry.layer().layer(inner)),
            Kind::CircuitBreaker => BoxCloneSyncService::new(self.breaker.layer().layer(inner)),
            Kind::Pipeline => BoxCloneSyncService::new(self.pipeline.layer().layer(inner)),
        }
    }
}
