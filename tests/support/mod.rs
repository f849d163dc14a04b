//! What the scenarios share: operations to protect, the two ways, and a service that insists on tower's contract.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod script;
pub mod stack;

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
pub use script::Perform;
use tower::{Layer, Service};
use withstand::{
    Bulkhead, CircuitBreaker, Classify, Error, Fallback, Pipeline, RateLimiter, Rejected, RetryWithBackoff, Timeout,
    fallback,
    pipeline::{PipelineFallback, PlainFallback},
};

pub type Failure = Error<&'static str>;
pub type Answer = Result<u32, Failure>;

/// An operation that can be started again; in tower it is the request.
pub type Op = Arc<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>;

pub fn op<F, Fut>(start: F) -> Op
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move || Box::pin(start()))
}

pub fn succeed() -> Op {
    op(|| ready(Ok(1)))
}

pub fn fail() -> Op {
    op(|| ready(Err(Error::Inner("bad"))))
}

pub fn hang() -> Op {
    op(std::future::pending)
}

/// Hangs, and holds a clone of this while it runs.
pub fn hang_holding(alive: &Arc<()>) -> Op {
    let held = alive.clone();
    op(move || {
        let held = held.clone();
        async move {
            let _held = held;
            std::future::pending().await
        }
    })
}

/// Succeeds after a while.
pub fn succeed_after(span: Duration) -> Op {
    op(move || async move {
        tokio::time::sleep(span).await;
        Ok(1)
    })
}

/// Fails so many times, then succeeds; counts its starts.
pub fn fail_times(failures: usize) -> (Op, Arc<AtomicUsize>) {
    let starts = Arc::new(AtomicUsize::new(0));
    let counted = starts.clone();
    let flaky = op(move || {
        let failed = counted.fetch_add(1, SeqCst) < failures;
        ready(if failed { Err(Error::Inner("bad")) } else { Ok(1) })
    });
    (flaky, starts)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Moves the clock.
pub async fn pass(span: Duration) {
    tokio::time::advance(span).await;
}

pub fn rejected(answer: Answer) -> Option<Rejected> {
    match answer {
        Err(Error::Rejected(rejected)) => Some(rejected),
        Ok(_) | Err(Error::Inner(_)) => None,
    }
}

pub fn poll<F: Future + Unpin + ?Sized>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Collects what a listener hears.
#[derive(Clone)]
pub struct Log<E>(Arc<Mutex<Vec<E>>>);

impl<E: Clone + Send + 'static> Log<E> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn listener(&self) -> impl Fn(&E) + Send + Sync + 'static {
        let events = self.0.clone();
        move |event| events.lock().expect("no panic while pushing").push(event.clone())
    }

    pub fn take(&self) -> Vec<E> {
        std::mem::take(&mut self.0.lock().expect("no panic while pushing"))
    }
}

/// By which way a scenario goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    Tower,
}

/// Runs each scenario both ways, on a clock that moves manually.
#[macro_export]
macro_rules! both_ways {
    ($($scenario:ident),* $(,)?) => {
        mod plain {
            $(#[tokio::test(start_paused = true)]
            async fn $scenario() {
                super::$scenario(super::Way::Plain).await
            })*
        }

        mod tower_layer {
            $(#[tokio::test(start_paused = true)]
            async fn $scenario() {
                super::$scenario(super::Way::Tower).await
            })*
        }
    };
}

/// A policy, called either way. What the call decides, it has decided when this returns.
pub trait Policy {
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer>;
}

fn by_layer<L>(layer: &L, op: Op) -> BoxFuture<'static, Answer>
where
    L: Layer<Perform>,
    L::Service: Service<Op, Response = u32, Error = Failure>,
    <L::Service as Service<Op>>::Future: Send + 'static,
{
    let mut service = layer.layer(Perform::default());
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "`Perform` is ready at once");
    Box::pin(service.call(op))
}

impl<C> Policy for CircuitBreaker<C>
where
    C: Classify<u32, Failure> + Clone + Send + Sync + 'static,
{
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        match way {
            Way::Plain => Box::pin(self.call(|| op())),
            Way::Tower => by_layer(&self.layer(), op.clone()),
        }
    }
}

impl<C> Policy for RetryWithBackoff<C>
where
    C: Classify<u32, Failure> + Clone + Send + Sync + 'static,
{
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        let op = op.clone();
        match way {
            Way::Plain => Box::pin(self.call(move || op())),
            Way::Tower => by_layer(&self.layer(), op),
        }
    }
}

impl Policy for Timeout {
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        match way {
            Way::Plain => Box::pin(self.call(|| op())),
            Way::Tower => by_layer(&self.layer(), op.clone()),
        }
    }
}

impl Policy for Bulkhead {
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        let op = op.clone();
        match way {
            Way::Plain => Box::pin(self.call(move || op())),
            Way::Tower => by_layer(&self.layer(), op),
        }
    }
}

impl Policy for RateLimiter {
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        let op = op.clone();
        match way {
            Way::Plain => Box::pin(self.call(move || op())),
            Way::Tower => by_layer(&self.layer(), op),
        }
    }
}

impl<S, W, L> Policy for Fallback<S, W, L>
where
    S: fallback::Recovery<u32, Failure, ()> + fallback::PlainRecovery + Clone + Send + Sync + 'static,
    S::Future: Send,
    W: fallback::Handles<u32, Failure> + Send + Sync + 'static,
    L: fallback::Listen<u32, Failure> + Clone + Send + Sync + 'static,
{
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        match way {
            Way::Plain => Box::pin(self.call(|| op())),
            Way::Tower => by_layer(&self.layer(), op.clone()),
        }
    }
}

impl<C, F> Policy for Pipeline<C, F>
where
    C: Classify<u32, Failure> + Clone + Send + Sync + 'static,
    F: PipelineFallback<u32, Failure, (), Future: Send> + PlainFallback + Clone + Send + Sync + 'static,
{
    fn through(&self, way: Way, op: &Op) -> BoxFuture<'_, Answer> {
        let op = op.clone();
        match way {
            Way::Plain => Box::pin(self.call(move || op())),
            Way::Tower => by_layer(&self.layer(), op),
        }
    }
}
