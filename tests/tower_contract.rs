//! tower's contract (G7), with a probe beneath and between all layers: only a ready instance is called, and readied again for
//! each call; a clone starts unready; pending readiness is waited for, not spun on; no readiness is taken and left unused. So it is with
//! tower's own middleware in those places.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use futures::{FutureExt, future::join_all};
use support::{
    script::{Operations, Readiness, Try},
    stack::{BoxService, KINDS, Kind, Policies, stacks},
    *,
};
use tower::{
    BoxError, Layer, Service, ServiceExt,
    balance::p2c::Balance,
    buffer::Buffer,
    discover::ServiceList,
    limit::{ConcurrencyLimit, RateLimit, rate::Rate},
    load::Constant,
    load_shed::LoadShed,
    util::BoxCloneSyncService,
};
use withstand::{CircuitBreaker, Error};

/// What the clones of a [`Probe`] share.
#[derive(Default)]
struct Ledger {
    polls: AtomicUsize,
    calls: AtomicUsize,
    /// Instances that have said they are ready, and wait to be called.
    reserved: AtomicUsize,
    is_closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Ledger {
    fn open(&self) {
        self.is_closed.store(false, SeqCst);
        self.waiting.lock().expect("no panic").drain(..).for_each(Waker::wake);
    }
}

/// Stands between a layer and what is beneath it: ready only while its ledger is not closed, and panics when called without
/// having been ready on that very instance.
struct Probe<S> {
    inner: S,
    ledger: Arc<Ledger>,
    is_ready: bool,
}

impl<S> Probe<S> {
    fn over(inner: S, ledger: &Arc<Ledger>) -> Self {
        Self { inner, ledger: ledger.clone(), is_ready: false }
    }

    fn set_ready(&mut self, is_ready: bool) {
        match (self.is_ready, is_ready) {
            (false, true) => self.ledger.reserved.fetch_add(1, SeqCst),
            (true, false) => self.ledger.reserved.fetch_sub(1, SeqCst),
            _ => 0,
        };
        self.is_ready = is_ready;
    }
}

impl<S: Clone> Clone for Probe<S> {
    fn clone(&self) -> Self {
        Self::over(self.inner.clone(), &self.ledger)
    }
}

impl<S> Drop for Probe<S> {
    fn drop(&mut self) {
        self.set_ready(false);
    }
}

impl<S: Service<Op>> Service<Op> for Probe<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.ledger.polls.fetch_add(1, SeqCst);
        if self.ledger.is_closed.load(SeqCst) {
            self.ledger.waiting.lock().expect("no panic").push(cx.waker().clone());
            return Poll::Pending;
        }
        let readied = self.inner.poll_ready(cx);
        self.set_ready(matches!(readied, Poll::Ready(Ok(()))));
        readied
    }

    fn call(&mut self, op: Op) -> Self::Future {
        assert!(self.is_ready, "called an instance that was not ready");
        self.set_ready(false);
        self.ledger.calls.fetch_add(1, SeqCst);
        self.inner.call(op)
    }
}

/// A stack with a probe beneath each of its layers: the last of these ledgers is that of the probe at the bottom.
struct Probed {
    policies: Policies,
    service: BoxService,
    ledgers: Vec<Arc<Ledger>>,
}

impl Probed {
    fn new(stack: &[Kind], bottom: BoxService) -> Self {
        let policies = Policies::new();
        let ledgers: Vec<_> = stack.iter().map(|_| Arc::<Ledger>::default()).collect();
        let service = stack.iter().zip(&ledgers).rev().fold(bottom, |inner, (kind, ledger)| {
            policies.over(*kind, BoxCloneSyncService::new(Probe::over(inner, ledger)))
        });
        Self { policies, service, ledgers }
    }

    fn perform(stack: &[Kind]) -> Self {
        Self::new(stack, BoxCloneSyncService::new(Perform::default()))
    }

    fn reserved(&self) -> Vec<usize> {
        self.ledgers.iter().map(|ledger| ledger.reserved.load(SeqCst)).collect()
    }

    fn is_idle(&self) -> bool {
        self.policies.are_idle() && self.reserved().iter().all(|reserved| *reserved == 0)
    }
}

#[tokio::test(start_paused = true)]
async fn g7_no_layer_and_no_pair_calls_an_instance_that_was_not_ready() {
    for stack in stacks() {
        let mut probed = Probed::perform(&stack);
        for (op, expected) in [(succeed(), Ok(1)), (fail(), Err(Error::Inner("bad"))), (fail_times(1).0, Ok(1))] {
            let answer = probed.service.ready().await.expect("ready").call(op).await;
            if stack.iter().any(|kind| kind.retries()) || expected.is_err() {
                assert_eq!(answer, expected, "{stack:?}");
            }
            // A clone of an instance that is ready, and is left so.
            probed.service.ready().await.expect("ready");
            assert_eq!(probed.service.clone().oneshot(succeed()).await, Ok(1), "{stack:?}");
        }
        let calls = probed.ledgers.last().expect("the bottom").calls.load(SeqCst);
        assert!(calls >= 6, "it is reached: {stack:?}");
        probed.service = BoxCloneSyncService::new(Perform::default());
        assert!(probed.is_idle(), "no readiness is left over: {stack:?}, {:?}", probed.reserved());
    }
}

#[tokio::test(start_paused = true)]
async fn g7_no_call_that_is_dropped_leaves_a_reservation_behind() {
    let failed = Try::answers(1, Err("bad"));
    for stack in stacks() {
        for polls in 0..12 {
            let Probed { policies, service, ledgers } =
                Probed::new(&stack, BoxCloneSyncService::new(Perform::when(Readiness::AfterOnePoll)));
            let operations = Operations::default();
            let mut call = service.oneshot(operations.scripted(&[failed]));
            for _ in 0..polls {
                if poll(&mut call).is_ready() {
                    break;
                }
                pass(ms(200)).await;
            }
            drop(call);
            let reserved: usize = ledgers.iter().map(|ledger| ledger.reserved.load(SeqCst)).sum();
            assert_eq!((reserved, operations.alive()), (0, 0), "{stack:?} after {polls} polls");
            assert!(policies.are_idle(), "{stack:?} after {polls} polls");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g7_pending_readiness_is_waited_for_and_not_spun_on() {
    for stack in stacks() {
        for place in 0..stack.len() {
            let Probed { policies, service, ledgers } = Probed::perform(&stack);
            let closed = &ledgers[place];
            closed.is_closed.store(true, SeqCst);
            let call = tokio::spawn(service.oneshot(succeed()));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert!(!call.is_finished(), "{stack:?}");
            let polls: Vec<_> = ledgers.iter().map(|ledger| ledger.polls.load(SeqCst)).collect();
            assert!(polls.iter().all(|polls| *polls <= 2), "spun on: {stack:?}, {polls:?}");
            closed.open();
            let woken = tokio::time::timeout(ms(1), call).await.expect("its waker was registered");
            assert_eq!(woken.expect("no panic"), Ok(1), "{stack:?}");
            assert!(policies.are_idle(), "{stack:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g7_a_retry_waits_for_readiness_and_does_not_spin_on_it() {
    for stack in stacks().into_iter().filter(|stack| stack.iter().any(|kind| kind.retries())) {
        let Probed { service, ledgers, .. } = Probed::perform(&stack);
        let bottom = ledgers.last().expect("the bottom").clone();
        let closes = bottom.clone();
        let (flaky, starts) = fail_times(1);
        let flaky = op(move || {
            closes.is_closed.store(true, SeqCst);
            flaky()
        });
        let call = tokio::spawn(service.oneshot(flaky));
        pass(secs(1)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(starts.load(SeqCst), 1, "the second attempt waits: {stack:?}");
        assert!(bottom.polls.load(SeqCst) <= 4, "spun on: {stack:?}, {} polls", bottom.polls.load(SeqCst));
        bottom.open();
        let answer = tokio::time::timeout(secs(1), call).await.expect("its waker was registered");
        assert_eq!(answer.expect("no panic"), Ok(1), "{stack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g7_an_inner_readiness_error_passes_through_every_stack() {
    for stack in stacks() {
        let dead = Probed::new(&stack, BoxCloneSyncService::new(Perform::when(Readiness::Fails)));
        let answer = dead.service.clone().oneshot(succeed()).await;
        assert_eq!(answer, Err(Error::Inner("unready")), "{stack:?}");
        assert!(dead.is_idle(), "{stack:?}");
    }
}

/// tower's own middleware.
#[derive(Clone, Copy, Debug)]
enum Towers {
    ConcurrencyLimit,
    RateLimit,
    Buffer,
    LoadShed,
    Balance,
}

const TOWERS: [Towers; 5] =
    [Towers::ConcurrencyLimit, Towers::RateLimit, Towers::Buffer, Towers::LoadShed, Towers::Balance];

impl Towers {
    fn over(self, inner: BoxService) -> BoxService {
        let boxed = |error: Failure| BoxError::from(error.to_string());
        let unboxed = |_: BoxError| Error::Inner("bad");
        match self {
            Self::ConcurrencyLimit => BoxCloneSyncService::new(ConcurrencyLimit::new(inner, 1)),
            Self::Buffer => BoxCloneSyncService::new(Buffer::new(inner.map_err(boxed), 1).map_err(unboxed)),
            Self::RateLimit => {
                let limited = RateLimit::new(inner.map_err(boxed), Rate::new(1, ms(10)));
                BoxCloneSyncService::new(Buffer::new(limited, 2).map_err(unboxed))
            }
            Self::LoadShed => {
                let limited = ConcurrencyLimit::new(inner.map_err(boxed), 1);
                BoxCloneSyncService::new(LoadShed::new(limited).map_err(unboxed))
            }
            Self::Balance => {
                let one = || Constant::new(inner.clone().map_err(boxed), 1);
                let balance = Balance::new(ServiceList::new([one(), one()]));
                BoxCloneSyncService::new(Buffer::new(balance, 2).map_err(unboxed))
            }
        }
    }
}

/// The stack with `towers` beneath its first `place` layers, over one that panics if it was not ready.
fn with_towers(policies: &Policies, stack: &[Kind], place: usize, towers: Towers, ledger: &Arc<Ledger>) -> BoxService {
    let over = |inner, kinds: &[Kind]| kinds.iter().rev().fold(inner, |inner, kind| policies.over(*kind, inner));
    let (outer, inner) = stack.split_at(place);
    let bottom = BoxCloneSyncService::new(Probe::over(Perform::default(), ledger));
    over(towers.over(over(bottom, inner)), outer)
}

#[tokio::test(start_paused = true)]
async fn g7_towers_own_middleware_works_beneath_above_and_between_all_of_them() {
    for stack in stacks() {
        for towers in TOWERS {
            for place in 0..=stack.len() {
                let what = format!("{towers:?} beneath {place} of {stack:?}");
                // Around itself it takes two slots a call.
                let has_two_bulkheads = stack.iter().filter(|kind| kind.has_slots()).count() == 2;
                let policies = if has_two_bulkheads { Policies::with_slots(12) } else { Policies::new() };
                let ledger = Arc::<Ledger>::default();
                let service = with_towers(&policies, &stack, place, towers, &ledger);
                // Four that go on, and two that are dropped where they are.
                let given_up = [service.clone().oneshot(hang()), service.clone().oneshot(hang())];
                let calls = join_all((0..4).map(|_| service.clone().oneshot(fail_times(1).0)));
                let mut given_up = join_all(given_up);
                assert!(poll_fn(|cx| Poll::Ready(given_up.poll_unpin(cx).is_pending())).await, "{what}");
                pass(ms(1)).await;
                drop(given_up);
                drop(service);
                let answers =
                    tokio::time::timeout(secs(30), calls).await.unwrap_or_else(|_| panic!("a deadlock: {what}"));
                if stack.iter().any(|kind| kind.retries()) && !matches!(towers, Towers::LoadShed) {
                    assert!(answers.iter().all(Result::is_ok), "{what}: {answers:?}");
                }
                settled(&policies, &ledger).await;
                assert!(policies.are_idle(), "{what}: {policies:?}");
                assert_eq!(ledger.reserved.load(SeqCst), 0, "no readiness is left over: {what}");
                let (polls, calls) = (ledger.polls.load(SeqCst), ledger.calls.load(SeqCst));
                assert!(polls <= 20 + 4 * calls, "spun on: {what}, {polls} polls for {calls} calls");
            }
        }
    }
}

/// Lets the workers of tower's buffers end.
async fn settled(policies: &Policies, ledger: &Ledger) {
    for _ in 0..100 {
        if policies.are_idle() && ledger.reserved.load(SeqCst) == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Readied, and rejected because the circuit opened since: polled again in between or not.
#[tokio::test(start_paused = true)]
async fn g7_a_rejection_gives_the_readiness_back_where_the_layer_was_told_to() {
    for polled_again in [false, true] {
        let ledger = Arc::<Ledger>::default();
        let breaker = CircuitBreaker::new("users");
        let mut service = breaker.layer().release_readiness().layer(Probe::over(Perform::default(), &ledger));
        service.ready().await.expect("ready");
        assert_eq!(ledger.reserved.load(SeqCst), 1);
        breaker.force_open();
        if polled_again {
            service.ready().await.expect("ready, to reject");
        }
        assert!(service.call(succeed()).await.is_err());
        assert_eq!(ledger.reserved.load(SeqCst), 0, "polled again: {polled_again}");
        breaker.reset();
        // Against the contract. But the new instance was never ready, so it must not be called.
        for _ in 0..2 {
            let answer = rejected(service.call(succeed()).await).expect("the inner service is not ready");
            assert_eq!(answer.retry_after(), Some(ms(0)));
        }
        assert_eq!(service.ready().await.expect("ready").call(succeed()).await, Ok(1), "it is readied anew");
        assert_eq!((ledger.reserved.load(SeqCst), ledger.calls.load(SeqCst)), (0, 1));
    }
}

/// Pending because the circuit is open, it asks neither the inner service nor the circuit over and over.
#[tokio::test(start_paused = true)]
async fn g7_a_service_that_is_pending_while_open_does_not_spin() {
    let (ledger, polls) = (Arc::<Ledger>::default(), Arc::new(AtomicUsize::new(0)));
    let breaker = CircuitBreaker::new("users");
    breaker.force_open();
    let mut service = breaker.layer().pending_while_open().layer(Probe::over(Perform::default(), &ledger));
    let counted = polls.clone();
    let call = tokio::spawn(async move {
        poll_fn(|cx| {
            counted.fetch_add(1, SeqCst);
            service.poll_ready(cx)
        })
        .await?;
        service.call(succeed()).await
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(polls.load(SeqCst), 1, "spun on");
    for _ in 0..10 {
        pass(secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert!((2..=11).contains(&polls.load(SeqCst)), "{} looks in ten seconds", polls.load(SeqCst));
    assert_eq!(ledger.polls.load(SeqCst), 0, "the inner service is left alone");
    breaker.reset();
    assert_eq!(tokio::time::timeout(secs(2), call).await.expect("it wakes by itself").expect("no panic"), Ok(1));
}

#[test]
fn every_pair_is_there() {
    assert_eq!(stacks().len(), KINDS.len() * (KINDS.len() + 1) + 1);
}
