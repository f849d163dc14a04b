//! A pipeline beside the same handles nested by hand: over every subset of the parts, in both ways, with operations that do as they
//! are told. After each step both have given the same answers and told the same events in the same order, and their parts have the
//! same snapshots.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};
use withstand::{
    Bulkhead, ByErrorStatus, CircuitBreaker, Deadline, Error, Fallback, FallbackEvent, Pipeline, RateLimiter,
    RetryBudget, RetryWithBackoff, Timeout, Verdict, by_error, pipeline::BoxPipeline, retry::Exponential,
};

use super::{
    run,
    support::{
        Answer, Failure, Op, Perform, Way, ms, op,
        script::{End, Operations, Try},
    },
};

/// Which parts there are.
#[derive(Clone, Copy, Debug)]
struct Parts {
    fallback: bool,
    total: Option<u64>,
    /// Permits in each 100 ms, and the queue: how many may wait, and for how long.
    permits: Option<(u32, Option<(usize, u64)>)>,
    slots: Option<(usize, Option<(usize, u64)>)>,
    retry: Option<u32>,
    breaker: bool,
    attempt: Option<u64>,
    /// A deadline around the call that the caller has set.
    around: Option<u64>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let slots = prop::option::of((1_usize..3, prop::option::of((1_usize..3, 20_u64..300))));
    let permits = prop::option::weighted(0.4, (0_u32..4, prop::option::of((1_usize..3, 20_u64..300))));
    let limits =
        (prop::option::of(50_u64..600), prop::option::of(20_u64..300), prop::option::weighted(0.2, 10_u64..500));
    (any::<bool>(), permits, slots, prop::option::of(1_u32..4), any::<bool>(), limits).prop_map(
        |(fallback, permits, slots, retry, breaker, (total, attempt, around))| {
            // No contradictions: the total is longer than an attempt, and than the wait in the queue.
            let wait = |queue: Option<(usize, u64)>| queue.map_or(0, |(_, wait)| wait);
            let wait = wait(slots.and_then(|(_, queue)| queue)).max(wait(permits.and_then(|(_, queue)| queue)));
            let total = total.map(|total| total + attempt.unwrap_or(0).max(wait));
            Parts { fallback, total, permits, slots, retry, breaker, attempt, around }
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Call(Vec<Try>),
    Poll(usize),
    Drop(usize),
    Advance(u64),
    ForceOpen,
    Reset,
    SetSlots(usize),
}

const ERRORS: [&str; 6] = ["transient", "failed", "unreached", "throttled", "later", "healthy"];

fn attempt() -> impl Strategy<Value = Try> {
    let answer = prop_oneof![2 => (0_u32..9).prop_map(Ok), 3 => prop::sample::select(&ERRORS[..]).prop_map(Err)];
    let end = prop_oneof![20 => answer.prop_map(End::Answers), 1 => Just(End::Panics)];
    (prop_oneof![3 => Just(0_u32), 2 => 1_u32..3, 1 => Just(1000)], end).prop_map(|(pending, end)| Try { pending, end })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(attempt(), 1..4).prop_map(Step::Call),
        6 => (0_usize..4).prop_map(Step::Poll),
        1 => (0_usize..4).prop_map(Step::Drop),
        4 => prop_oneof![0_u64..40, 0_u64..700].prop_map(Step::Advance),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::Reset),
        1 => (0_usize..3).prop_map(Step::SetSlots),
    ]
}

/// What has been told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn add(&self, event: &dyn std::fmt::Debug) {
        self.0.lock().expect("no panic while it is held").push(format!("{event:?}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic while it is held"))
    }
}

fn told<E: std::fmt::Debug>(told: &Told) -> impl Fn(&E) + Send + Sync + 'static {
    let told = told.clone();
    move |event| told.add(event)
}

fn is(text: &'static str) -> fn(&&'static str) -> bool {
    match text {
        "failed" => |error| *error == "failed",
        "unreached" => |error| *error == "unreached",
        "throttled" => |error| *error == "throttled",
        "later" => |error| *error == "later",
        _ => |error| *error == "healthy",
    }
}

fn judge() -> ByErrorStatus<&'static str> {
    by_error()
        .errors_if(is("failed"), Verdict::Failed)
        .errors_if(is("unreached"), Verdict::Unreached)
        .errors_if(is("throttled"), Verdict::THROTTLED)
        .errors_if(is("later"), Verdict::Transient { retry_after: Some(ms(90)) })
        .errors_if(is("healthy"), Verdict::Healthy)
}

/// One set of handles, and what they have told.
struct Handles {
    limiter: Option<RateLimiter>,
    bulkhead: Option<Bulkhead>,
    retry: Option<RetryWithBackoff>,
    budget: RetryBudget,
    breaker: Option<CircuitBreaker>,
    total: Option<Timeout>,
    attempt: Option<Timeout>,
    around: Option<Duration>,
    has_fallback: bool,
    told: Told,
}

impl Handles {
    fn new(parts: &Parts) -> Self {
        let heard = Told::default();
        let budget = RetryBudget::new(3);
        let timeout = |limit: u64| Timeout::new(ms(limit)).named("users").listener_fn(told(&heard));
        let bulkhead = parts.slots.map(|(slots, queue)| {
            let builder = Bulkhead::builder("users", slots).listener_fn(told(&heard));
            match queue {
                Some((capacity, wait)) => builder.queue(capacity, ms(wait)),
                None => builder,
            }
            .build()
            .expect("good settings")
        });
        let limiter = parts.permits.map(|(limit, queue)| {
            let builder = RateLimiter::builder("users", limit, ms(100)).burst(limit.max(1)).listener_fn(told(&heard));
            match queue {
                Some((capacity, wait)) => builder.queue(capacity, ms(wait)),
                None => builder,
            }
            .build()
            .expect("good settings")
        });
        let retry = parts.retry.map(|attempts| {
            let backoff = Exponential::new(ms(10), ms(100));
            let builder = RetryWithBackoff::builder("users").max_attempts(attempts).backoff(backoff).budget(&budget);
            builder.seed(7).listener_fn(told(&heard)).build().expect("good settings")
        });
        let breaker = parts.breaker.then(|| {
            let builder = CircuitBreaker::builder("users").consecutive_failures(3, Duration::ZERO).seed(7);
            builder.probe_timeout(ms(400)).listener_fn(told(&heard)).build().expect("good settings")
        });
        let (total, attempt) = (parts.total.map(timeout), parts.attempt.map(timeout));
        let (around, has_fallback) = (parts.around.map(ms), parts.fallback);
        Self { limiter, bulkhead, retry, budget, breaker, total, attempt, around, has_fallback, told: heard }
    }

    /// What can be seen of the parts.
    fn seen(&self) -> String {
        let limiter = self.limiter.as_ref().map(RateLimiter::snapshot);
        let bulkhead = self.bulkhead.as_ref().map(Bulkhead::snapshot);
        let breaker = self.breaker.as_ref().map(CircuitBreaker::snapshot);
        format!("{limiter:?} {bulkhead:?} {breaker:?} {:?}", self.budget.available())
    }

    fn pipeline(&self) -> BoxPipeline<u32, Failure> {
        let mut builder = Pipeline::builder("users");
        // In another order than theirs: the setters commute.
        if let Some(attempt) = &self.attempt {
            builder = builder.attempt_timeout(attempt.clone());
        }
        if let Some(retry) = &self.retry {
            builder = builder.retry(retry.clone());
        }
        if let Some(total) = &self.total {
            builder = builder.timeout(total.clone());
        }
        if let Some(breaker) = &self.breaker {
            builder = builder.circuit_breaker(breaker.clone());
        }
        if let Some(bulkhead) = &self.bulkhead {
            builder = builder.bulkhead(bulkhead.clone());
        }
        if let Some(limiter) = &self.limiter {
            builder = builder.rate_limiter(limiter.clone());
        }
        let builder = builder.classify(judge());
        if !self.has_fallback {
            return builder.build().expect("good settings").boxed();
        }
        let heard = self.told.clone();
        let fallback = Fallback::from_fn(recover).named("users").listener_fn(move |event: &Event<'_>| heard.add(event));
        builder.fallback(fallback).build().expect("good settings").boxed()
    }

    /// The same by hand, around an operation or over a service.
    fn nest(&self, way: Way, inner: Op) -> Op {
        match way {
            Way::Plain => self.around(inner),
            Way::Tower => {
                let service = self.over();
                op(move || {
                    let (mut service, inner) = (service.clone(), inner.clone());
                    async move { service.ready().await?.call(inner).await }
                })
            }
        }
    }

    fn around(&self, mut inner: Op) -> Op {
        macro_rules! wrap {
            ($policy:expr) => {
                if let Some(policy) = $policy.clone() {
                    let within = inner;
                    inner = op(move || {
                        let (policy, within) = (policy.clone(), within.clone());
                        async move { policy.call(|| within()).await }
                    });
                }
            };
        }
        wrap!(self.attempt);
        wrap!(self.breaker.as_ref().map(|breaker| breaker.classify(judge())));
        wrap!(self.retry.as_ref().map(|retry| retry.classify(judge())));
        wrap!(self.bulkhead);
        wrap!(self.limiter);
        wrap!(self.total);
        inner = self.in_scope(inner);
        let fallback = self.has_fallback.then(|| {
            let heard = self.told.clone();
            let fallback = Fallback::from_fn(recover).named("users").classify(judge());
            fallback.listener_fn(move |event: &Event<'_>| heard.add(event))
        });
        wrap!(fallback);
        inner
    }

    fn over(&self) -> BoxService {
        let mut service = BoxService::new(Perform::default());
        macro_rules! wrap {
            ($policy:expr) => {
                if let Some(policy) = $policy {
                    service = BoxService::new(policy.layer().layer(service));
                }
            };
        }
        wrap!(&self.attempt);
        wrap!(self.breaker.as_ref().map(|breaker| breaker.classify(judge())));
        wrap!(self.retry.as_ref().map(|retry| retry.classify(judge())));
        wrap!(&self.bulkhead);
        wrap!(&self.limiter);
        wrap!(&self.total);
        if let Some(total) = self.total.as_ref().map(Timeout::limit) {
            let within = service;
            service = BoxService::new(service_fn(move |request: Op| {
                let mut within = within.clone();
                Deadline::within(total).scope(async move { within.ready().await?.call(request).await })
            }));
        }
        wrap!(self.has_fallback.then(|| {
            let heard = self.told.clone();
            let fallback = Fallback::from_fn(recover).named("users").classify(judge());
            fallback.listener_fn(move |event: &Event<'_>| heard.add(event))
        }));
        service
    }

    fn in_scope(&self, inner: Op) -> Op {
        let Some(total) = self.total.as_ref().map(Timeout::limit) else { return inner };
        op(move || {
            let inner = inner.clone();
            Deadline::within(total).scope(async move { inner().await })
        })
    }

    fn through_pipeline(&self, way: Way, inner: Op) -> Op {
        let pipeline = self.pipeline();
        match way {
            Way::Plain => op(move || {
                let (pipeline, inner) = (pipeline.clone(), inner.clone());
                async move { pipeline.call(|| inner()).await }
            }),
            Way::Tower => {
                let service = pipeline.layer().layer(Perform::default());
                op(move || {
                    let (mut service, inner) = (service.clone(), inner.clone());
                    async move { service.ready().await?.call(inner).await }
                })
            }
        }
    }
}

type Event<'a> = FallbackEvent<'a, u32, Failure>;
type BoxService = BoxCloneSyncService<Op, u32, Failure>;

/// The fallback answers for some errors, and fails for the others.
fn recover(error: Failure) -> Answer {
    match error {
        Error::Inner("failed") => Err(Error::Inner("no fallback")),
        _ => Ok(100),
    }
}

/// One side: its handles, and the calls that it has in flight.
struct Side {
    handles: Handles,
    protect: fn(&Handles, Way, Op) -> Op,
    way: Way,
    operations: Operations,
    calls: Vec<Option<BoxFuture<'static, Answer>>>,
}

impl Side {
    fn new(parts: &Parts, way: Way, protect: fn(&Handles, Way, Op) -> Op) -> Self {
        let (handles, operations) = (Handles::new(parts), Operations::default());
        Self { handles, protect, way, operations, calls: Vec::new() }
    }

    fn step(&mut self, step: &Step) -> String {
        match step {
            Step::Call(script) => {
                let protected = (self.protect)(&self.handles, self.way, self.operations.scripted(script));
                let call: BoxFuture<'static, Answer> = match self.handles.around {
                    None => protected(),
                    Some(span) => Deadline::within(span).scope(async move { protected().await }).boxed(),
                };
                self.calls.push(Some(call));
                let last = self.calls.len() - 1;
                self.poll(last)
            }
            Step::Poll(which) => self.poll(*which),
            Step::Drop(which) => {
                self.calls.get_mut(*which).map(Option::take);
                "dropped".into()
            }
            Step::ForceOpen => {
                self.handles.breaker.iter().for_each(CircuitBreaker::force_open);
                "forced".into()
            }
            Step::Reset => {
                self.handles.breaker.iter().for_each(CircuitBreaker::reset);
                "reset".into()
            }
            Step::SetSlots(slots) => {
                self.handles.bulkhead.iter().for_each(|bulkhead| bulkhead.set_max_concurrent(*slots));
                "set".into()
            }
            Step::Advance(_) => String::new(),
        }
    }

    fn poll(&mut self, which: usize) -> String {
        let Some(Some(call)) = self.calls.get_mut(which) else { return "nothing".into() };
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
        match polled {
            Ok(Poll::Pending) => "pending".into(),
            Ok(Poll::Ready(answer)) => {
                self.calls[which] = None;
                format!("{answer:?}")
            }
            Err(_) => {
                self.calls[which] = None;
                "panicked".into()
            }
        }
    }

    /// All that can be seen.
    fn seen(&self) -> (Vec<String>, String, [usize; 3]) {
        let operations = [self.operations.started(), self.operations.answered(), self.operations.alive()];
        (self.handles.told.take(), self.handles.seen(), operations)
    }
}

async fn agree(parts: Parts, way: Way, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut nested = Side::new(&parts, way, Handles::nest);
    let mut pipeline = Side::new(&parts, way, Handles::through_pipeline);
    for (number, step) in steps.iter().enumerate() {
        if let Step::Advance(millis) = step {
            tokio::time::advance(ms(*millis)).await;
        }
        let (by_hand, by_pipeline) = (nested.step(step), pipeline.step(step));
        prop_assert_eq!(by_hand, by_pipeline, "the answer of step {}, {:?}", number, step);
        prop_assert_eq!(nested.seen(), pipeline.seen(), "after step {}, {:?}", number, step);
    }
    drop((std::mem::take(&mut nested.calls), std::mem::take(&mut pipeline.calls)));
    prop_assert_eq!(nested.seen(), pipeline.seen(), "after all calls were dropped");
    Ok(())
}

proptest! {
    #[test]
    fn p2_a_pipeline_behaves_as_its_handles_nested_by_hand_plain(
        parts in parts(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(agree(parts, Way::Plain, steps))?;
    }

    #[test]
    fn p2_a_pipeline_behaves_as_its_layers_stacked_by_hand(
        parts in parts(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        run(agree(parts, Way::Tower, steps))?;
    }
}
