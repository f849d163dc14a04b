//! tower's contract (G7), beneath every layer and pair of layers: only a ready instance is called, and readied again for
//! each call; a clone starts unready; pending readiness is waited for, not spun on; nothing ready is lost.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use support::{
    stack::{self, KINDS, Kind, Policies, stacks},
    *,
};
use tower::{
    Service, ServiceExt,
    buffer::Buffer,
    limit::{ConcurrencyLimit, RateLimit, rate::Rate},
    util::BoxCloneSyncService,
};
use withstand::Error;

/// What the clones of a [`Strict`] share.
#[derive(Default)]
struct Ledger {
    polls: AtomicUsize,
    calls: AtomicUsize,
    ready_now: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
    is_closed: std::sync::atomic::AtomicBool,
}

/// Ready only while its ledger is not closed; panics when called without having been ready on that very instance.
struct Strict {
    ledger: Arc<Ledger>,
    is_ready: bool,
}

impl Strict {
    fn new() -> (Self, Arc<Ledger>) {
        let ledger = Arc::<Ledger>::default();
        (Self { ledger: ledger.clone(), is_ready: false }, ledger)
    }

    fn set_ready(&mut self, is_ready: bool) {
        match (self.is_ready, is_ready) {
            (false, true) => self.ledger.ready_now.fetch_add(1, SeqCst),
            (true, false) => self.ledger.ready_now.fetch_sub(1, SeqCst),
            _ => 0,
        };
        self.is_ready = is_ready;
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), is_ready: false }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.set_ready(false);
    }
}

impl Service<Op> for Strict {
    type Response = u32;
    type Error = Failure;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.ledger.polls.fetch_add(1, SeqCst);
        if self.ledger.is_closed.load(SeqCst) {
            self.ledger.waiting.lock().expect("no panic").push(cx.waker().clone());
            return Poll::Pending;
        }
        self.set_ready(true);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, op: Op) -> Self::Future {
        assert!(self.is_ready, "called an instance that was not ready");
        self.set_ready(false);
        self.ledger.calls.fetch_add(1, SeqCst);
        op()
    }
}

fn layered(policies: &Policies, stack: &[Kind], inner: stack::BoxService) -> stack::BoxService {
    stack.iter().rev().fold(inner, |inner, kind| policies.over(*kind, inner))
}

#[tokio::test(start_paused = true)]
async fn g7_no_layer_and_no_pair_calls_an_instance_that_was_not_ready() {
    for stack in stacks() {
        let (strict, ledger) = Strict::new();
        let policies = Policies::new();
        let mut service = layered(&policies, &stack, BoxCloneSyncService::new(strict));
        for (op, expected) in [(succeed(), Ok(1)), (fail(), Err(Error::Inner("bad"))), (fail_times(1).0, Ok(1))] {
            let retried = stack.contains(&Kind::Retry);
            let answer = service.ready().await.expect("ready").call(op).await;
            if retried || expected.is_err() {
                assert_eq!(answer, expected, "{stack:?}");
            }
            let _ = service.clone().oneshot(succeed()).await.expect("a clone is readied anew");
        }
        drop(service);
        assert_eq!(ledger.ready_now.load(SeqCst), 0, "no readiness is left over: {stack:?}");
        assert!(policies.are_idle());
    }
}

#[tokio::test(start_paused = true)]
async fn g7_pending_readiness_is_waited_for_and_not_spun_on() {
    for stack in stacks() {
        let (strict, ledger) = Strict::new();
        ledger.is_closed.store(true, SeqCst);
        let service = layered(&Policies::new(), &stack, BoxCloneSyncService::new(strict));
        let call = tokio::spawn(service.oneshot(succeed()));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(ledger.polls.load(SeqCst) <= 2, "{} polls: {stack:?}", ledger.polls.load(SeqCst));
        assert!(!call.is_finished(), "{stack:?}");
        ledger.is_closed.store(false, SeqCst);
        for waker in ledger.waiting.lock().expect("no panic").drain(..) {
            waker.wake();
        }
        let woken = tokio::time::timeout(ms(1), call).await.expect("its waker was registered");
        assert_eq!(woken.expect("no panic"), Ok(1), "{stack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g7_over_towers_own_limits_and_buffer_no_stack_deadlocks() {
    for stack in stacks() {
        let boxed = |error: Failure| tower::BoxError::from(error.to_string());
        let unboxed = |_: tower::BoxError| Error::Inner("bad");
        let limited = BoxCloneSyncService::new(ConcurrencyLimit::new(Strict::new().0, 1));
        let buffered = BoxCloneSyncService::new(Buffer::new(Strict::new().0.map_err(boxed), 1).map_err(unboxed));
        let rated = RateLimit::new(Strict::new().0.map_err(boxed), Rate::new(1, ms(10)));
        let rated = BoxCloneSyncService::new(Buffer::new(rated, 4).map_err(unboxed));
        for inner in [limited, buffered, rated] {
            let policies = Policies::new();
            let service = layered(&policies, &stack, inner);
            // No more than the bulkhead lets in, also where it stands around itself.
            let calls = (0..1).map(|_| service.clone().oneshot(fail_times(1).0));
            let answers = tokio::time::timeout(secs(30), futures::future::join_all(calls)).await;
            let answers = answers.unwrap_or_else(|_| panic!("a deadlock: {stack:?}"));
            assert!(!stack.contains(&Kind::Retry) || answers.iter().all(Result::is_ok), "{stack:?}");
            assert!(policies.are_idle(), "{stack:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g7_an_inner_readiness_error_passes_through_every_stack() {
    #[derive(Clone)]
    struct Dead;
    impl Service<Op> for Dead {
        type Response = u32;
        type Error = Failure;
        type Future = BoxFuture<'static, Answer>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
            Poll::Ready(Err(Error::Inner("dead")))
        }

        fn call(&mut self, _: Op) -> Self::Future {
            panic!("called although it is dead")
        }
    }
    for stack in stacks() {
        let policies = Policies::new();
        let service = layered(&policies, &stack, BoxCloneSyncService::new(Dead));
        assert_eq!(service.oneshot(succeed()).await, Err(Error::Inner("dead")), "{stack:?}");
        assert!(policies.are_idle(), "{stack:?}");
    }
}

#[test]
fn every_pair_is_there() {
    assert_eq!(stacks().len(), KINDS.len() * (KINDS.len() + 1) + 1);
}
