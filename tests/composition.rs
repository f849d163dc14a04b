//! The policies together, in the order that the docs teach: what each sees of the others.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::atomic::Ordering::SeqCst,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use support::*;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use withstand::{
    Bulkhead, CircuitBreaker, Error, Fallback, Rejected, RetryBudget, RetryWithBackoff, Timeout, Verdict,
    circuit_breaker::State, classify_fn, retry::Constant,
};

both_ways! {
    all_five_answer_while_the_dependency_fails,
    an_open_circuit_is_not_retried_and_costs_no_token,
    a_timeout_of_each_attempt_counts_against_the_dependency_and_is_retried,
    the_total_timeout_bounds_attempts_and_sleeps,
    a_breaker_over_a_full_bulkhead_stays_closed,
    a_circuit_that_opens_between_two_attempts_ends_the_retry,
    a_slot_of_the_bulkhead_is_held_over_all_attempts,
    order_of_the_layers_does_not_change_the_error_type,
}

struct Stack {
    bulkhead: Bulkhead,
    total: Timeout,
    budget: RetryBudget,
    retry: RetryWithBackoff<withstand::ByError>,
    breaker: CircuitBreaker,
    each: Timeout,
}

impl Stack {
    fn new() -> Self {
        let budget = RetryBudget::new(100);
        let retry = RetryWithBackoff::builder("users").backoff(Constant::new(secs(1))).budget(&budget);
        Self {
            bulkhead: Bulkhead::new("users", 2),
            total: Timeout::new(secs(10)).named("total"),
            retry: retry.build().expect("good settings"),
            budget,
            breaker: CircuitBreaker::builder("users")
                .consecutive_failures(5, Duration::ZERO)
                .build()
                .expect("good settings"),
            each: Timeout::new(secs(4)).named("each"),
        }
    }

    /// Without the fallback, so that one sees what it would have to answer for.
    fn call(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        let Self { bulkhead, total, retry, breaker, each, .. } = self;
        let op = op.clone();
        match way {
            Way::Plain => Box::pin(
                total.call(move || bulkhead.call(move || retry.call(move || breaker.call(|| each.call(|| op()))))),
            ),
            Way::Tower => {
                let service = ServiceBuilder::new()
                    .layer(total.layer())
                    .layer(bulkhead.layer())
                    .layer(retry.layer())
                    .layer(breaker.layer())
                    .layer(each.layer())
                    .service(Perform::default());
                Box::pin(service.oneshot(op))
            }
        }
    }
}

async fn all_five_answer_while_the_dependency_fails(way: Way) {
    let stack = Stack::new();
    let Stack { bulkhead, total, retry, breaker, each, .. } = &stack;
    let fallback = Fallback::value(7);
    let (failing, starts) = fail_times(usize::MAX);
    let layers = ServiceBuilder::new().layer(fallback.layer()).layer(total.layer()).layer(bulkhead.layer());
    let layers = layers.layer(retry.layer()).layer(breaker.layer()).layer(each.layer());
    let service = layers.service(Perform::default());
    for _ in 0..100 {
        let answer = match way {
            Way::Plain => fallback.call(|| stack.call(way, &failing)).await,
            Way::Tower => service.clone().oneshot(failing.clone()).await,
        };
        assert_eq!(answer, Ok(7));
    }
    // The fifth opens the circuit. The retry that it belongs to sleeps for as long, and finds it half-open.
    assert_eq!((starts.load(SeqCst), stack.breaker.state()), (6, State::Open));
    assert_eq!(stack.breaker.snapshot().rejected, 98, "each of the others at once");
}

async fn an_open_circuit_is_not_retried_and_costs_no_token(way: Way) {
    let stack = Stack::new();
    stack.breaker.force_open();
    let start = Instant::now();
    assert!(matches!(rejected(stack.call(way, &succeed()).await), Some(Rejected::CircuitOpen(_))));
    assert_eq!((start.elapsed(), stack.budget.available()), (Duration::ZERO, 100.0));
    assert_eq!(stack.breaker.snapshot().rejected, 1);
}

async fn a_timeout_of_each_attempt_counts_against_the_dependency_and_is_retried(way: Way) {
    let stack = Stack::new();
    let error = rejected(stack.call(way, &hang()).await).expect("a timeout");
    assert_eq!((error.name(), error.was_started()), (Some("total"), true), "4 + 1 + 4 + 1 seconds are ten");
    assert_eq!(stack.breaker.snapshot().counts.consecutive_failures, 2);
}

async fn the_total_timeout_bounds_attempts_and_sleeps(way: Way) {
    let stack = Stack::new();
    let start = Instant::now();
    assert!(stack.call(way, &hang()).await.is_err());
    assert_eq!(start.elapsed(), secs(10));
    assert_eq!(stack.bulkhead.snapshot().in_flight, 0);
}

async fn a_breaker_over_a_full_bulkhead_stays_closed(way: Way) {
    let full = Bulkhead::new("full", 0);
    let breaker =
        CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).build().expect("good settings");
    for _ in 0..10 {
        let answer = match way {
            Way::Plain => breaker.call(|| full.call(|| std::future::ready(Answer::Ok(1)))).await,
            Way::Tower => {
                let layers = ServiceBuilder::new().layer(breaker.layer()).layer(full.layer());
                layers.service(Perform::default()).oneshot(succeed()).await
            }
        };
        assert!(matches!(rejected(answer), Some(Rejected::BulkheadFull(_))));
    }
    assert_eq!(breaker.state(), State::Closed);
}

async fn a_circuit_that_opens_between_two_attempts_ends_the_retry(way: Way) {
    let stack = Stack::new();
    let fail = fail();
    let mut call = stack.call(way, &fail);
    assert!(poll(&mut call).is_pending());
    stack.breaker.force_open();
    assert!(matches!(rejected(call.await), Some(Rejected::CircuitOpen(_))));
    assert_eq!(stack.budget.available(), 100.0, "the token of the rejected attempt came back");
}

async fn a_slot_of_the_bulkhead_is_held_over_all_attempts(way: Way) {
    let stack = Stack::new();
    let fail = fail();
    let mut sleeping = [stack.call(way, &fail), stack.call(way, &fail)];
    for call in &mut sleeping {
        assert!(poll(call).is_pending());
    }
    assert!(matches!(rejected(stack.call(way, &succeed()).await), Some(Rejected::BulkheadFull(_))));
    drop(sleeping);
    assert!(stack.call(way, &succeed()).await.is_ok());
}

async fn order_of_the_layers_does_not_change_the_error_type(way: Way) {
    let Stack { bulkhead, total, retry, breaker, .. } = Stack::new();
    let mut answers: Vec<Answer> = Vec::new();
    match way {
        Way::Plain => {
            answers.push(breaker.call(|| bulkhead.call(|| succeed()())).await);
            answers.push(bulkhead.call(|| breaker.call(|| succeed()())).await);
            answers.push(total.call(|| retry.call(|| total.call(|| succeed()()))).await);
        }
        Way::Tower => {
            let one = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer());
            let other = ServiceBuilder::new().layer(bulkhead.layer()).layer(breaker.layer());
            let optional = ServiceBuilder::new().layer(retry.layer()).option_layer(Some(total.layer()));
            answers.push(one.service(Perform::default()).oneshot(succeed()).await);
            answers.push(other.service(Perform::default()).oneshot(succeed()).await);
            answers.push(optional.service(Perform::default()).oneshot(succeed()).await);
        }
    }
    assert_eq!(answers, [Ok(1), Ok(1), Ok(1)]);
}

/// One that ends anew each time it is polled: so whoever polls it too often is not told by it.
struct Endless(Result<u32, Error<&'static str>>);

impl Future for Endless {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        Poll::Ready(self.0.clone())
    }
}

fn assert_over(call: impl Future<Output = Answer>, answers: bool) {
    let mut call = Box::pin(call);
    assert!(matches!(poll(&mut call), Poll::Ready(answer) if answer.is_ok() == answers));
    let thrown = catch_unwind(AssertUnwindSafe(|| poll(&mut call))).expect_err("it is over");
    let said = thrown.downcast_ref::<String>().map(String::as_str).or(thrown.downcast_ref::<&str>().copied());
    assert_eq!(said, Some("polled after it was done"));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_over_yields_nothing_more() {
    let (total, retry, breaker) = (Timeout::new(secs(1)), RetryWithBackoff::new("users"), CircuitBreaker::new("users"));
    let (open, bulkhead, full) = (CircuitBreaker::new("open"), Bulkhead::new("users", 1), Bulkhead::new("full", 0));
    let (fallback, none) = (Fallback::value(7), Fallback::from_fn(Err));
    open.force_open();
    macro_rules! over {
        ($($policy:ident answers $answers:literal),* $(,)?) => {
            $(assert_over($policy.call(|| Endless(Ok(1))), $answers);
            let inner = service_fn(|(): ()| Endless(Ok(1)));
            assert_over($policy.layer().layer(inner).ready().await.expect("ready").call(()), $answers);)*
        };
    }
    over!(total answers true, retry answers true, breaker answers true, bulkhead answers true, fallback answers true);
    over!(open answers false, full answers false);
    assert_over(none.call(|| Endless(Err(Error::Inner("bad")))), false);
    assert_over(retry.classify(classify_fn(|_: &Answer| Verdict::Failed)).call(|| Endless(Ok(1))), true);
}

/// tower's own rejections: they come from beneath the breaker as errors like any other.
mod towers_own {
    use std::sync::{Arc, atomic::AtomicU32};

    use futures::future::join_all;
    use tower::{
        BoxError,
        buffer::{Buffer, error::Closed},
        load_shed::error::Overloaded,
        timeout::error::Elapsed,
    };
    use withstand::{CarriesRejected, by_error};

    use super::*;

    /// What says nothing about the dependency.
    fn is_towers(error: &BoxError) -> bool {
        error.is::<Overloaded>() || error.is::<Closed>()
    }

    /// Opens at the fifth failure in a row.
    fn breaker() -> CircuitBreaker {
        CircuitBreaker::builder("users").consecutive_failures(5, Duration::ZERO).build().expect("good settings")
    }

    /// Answers every call that it gets, in a while, and counts them.
    fn dependency(
        calls: &Arc<AtomicU32>,
    ) -> impl Service<(), Response = (), Error = BoxError, Future: Send> + Clone + Send + 'static {
        let calls = calls.clone();
        service_fn(move |()| {
            calls.fetch_add(1, SeqCst);
            async {
                tokio::time::sleep(ms(10)).await;
                Ok::<_, BoxError>(())
            }
        })
    }

    /// Forty calls at once, of which one finds room; the others end with `Overloaded`.
    async fn forty_calls<S>(service: S)
    where
        S: Service<(), Response = (), Error = BoxError> + Clone,
    {
        let answers = join_all((0..40).map(|_| service.clone().oneshot(()))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        let overloaded = |answer: &&Result<(), BoxError>| answer.as_ref().is_err_and(|error| error.is::<Overloaded>());
        assert_eq!(answers.iter().filter(overloaded).count(), 39);
    }

    /// The trap.
    #[tokio::test(start_paused = true)]
    async fn load_shed_beneath_a_breaker_opens_it_which_the_documentation_warns_of() {
        let (breaker, calls) = (breaker(), Arc::default());
        let layers = ServiceBuilder::new().layer(breaker.layer()).load_shed().concurrency_limit(1);
        let service = layers.service(dependency(&calls));
        let answers = join_all((0..40).map(|_| service.clone().oneshot(()))).await;
        assert_eq!(breaker.state(), State::Open);
        let rejected =
            |answer: &&Result<(), BoxError>| answer.as_ref().is_err_and(|error| error.as_rejected().is_some());
        assert_eq!(
            answers.iter().filter(rejected).count(),
            34,
            "all but the one that was answered and five overloaded"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn load_shed_outside_of_the_breaker_is_not_counted() {
        let (breaker, calls) = (breaker(), Arc::default());
        let layers = ServiceBuilder::new().load_shed().concurrency_limit(1).layer(breaker.layer());
        forty_calls(layers.service(dependency(&calls))).await;
        assert_eq!((breaker.state(), calls.load(SeqCst)), (State::Closed, 1));
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn load_shed_beneath_a_breaker_that_knows_it_is_not_counted() {
        let (breaker, calls) = (breaker(), Arc::default());
        let judged = breaker.classify(by_error().errors_if(is_towers, Verdict::Ignored));
        let layers = ServiceBuilder::new().layer(judged.layer()).load_shed().concurrency_limit(1);
        forty_calls(layers.service(dependency(&calls))).await;
        assert_eq!((breaker.state(), calls.load(SeqCst)), (State::Closed, 1));
        assert_eq!(breaker.snapshot().counts.consecutive_failures, 0);
    }

    /// And a retry does not make more of what is too much already.
    #[tokio::test(start_paused = true)]
    async fn load_shed_beneath_a_retry_that_knows_it_is_not_sent_again() {
        let (calls, budget) = (Arc::default(), RetryBudget::new(10));
        let retry = RetryWithBackoff::builder("users").budget(&budget).build().expect("good settings");
        let retry = retry.classify(by_error().errors_if(is_towers, Verdict::Ignored));
        let layers = ServiceBuilder::new().layer(retry.layer()).load_shed().concurrency_limit(1);
        forty_calls(layers.service(dependency(&calls))).await;
        assert_eq!(budget.available(), 10.0);
    }

    /// No rule and no order is needed.
    #[tokio::test(start_paused = true)]
    async fn a_bulkhead_in_its_place_is_not_counted() {
        let (breaker, calls, bulkhead) = (breaker(), Arc::default(), Bulkhead::new("users", 1));
        let service = ServiceBuilder::new().layer(breaker.layer()).layer(bulkhead.layer()).service(dependency(&calls));
        let answers = join_all((0..40).map(|_| service.clone().oneshot(()))).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        assert_eq!((breaker.state(), calls.load(SeqCst)), (State::Closed, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_that_is_closed_is_not_counted_by_a_breaker_that_knows_it() {
        let (breaker, calls) = (breaker(), Arc::default());
        let (closed, worker) = Buffer::pair(dependency(&calls), 1);
        drop(worker);
        let judged = breaker.classify(by_error().errors_if(is_towers, Verdict::Ignored));
        let service = ServiceBuilder::new().layer(judged.layer()).service(closed);
        for _ in 0..40 {
            assert!(service.clone().oneshot(()).await.expect_err("nobody works").is::<Closed>());
        }
        assert_eq!(breaker.state(), State::Closed);
    }

    /// It tells of the dependency what our own timeout does.
    #[tokio::test(start_paused = true)]
    async fn a_timeout_counts_as_ours_does() {
        let (breaker, calls) = (breaker(), Arc::default());
        let judged = breaker.classify(by_error().errors_if(is_towers, Verdict::Ignored));
        let service = ServiceBuilder::new().layer(judged.layer()).timeout(ms(1)).service(dependency(&calls));
        for _ in 0..5 {
            assert!(service.clone().oneshot(()).await.expect_err("it is late").is::<Elapsed>());
        }
        assert_eq!(breaker.state(), State::Open);
    }
}
