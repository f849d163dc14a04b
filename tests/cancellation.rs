//! A call can be dropped at any await, under any policy and pair of policies, by either door: nothing is left behind.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use support::{
    stack::{self, BoxService, Policies, stacks},
    *,
};
use tower::util::BoxCloneSyncService;
use withstand::Error;

both_doors! {
    g1_dropped_after_any_number_of_polls_nothing_is_left_behind,
    g1_dropped_while_a_retry_sleeps_or_a_call_waits_in_line_nothing_is_left_behind,
    g2_after_a_panic_at_any_poll_every_stack_works_on,
}

fn perform() -> BoxService {
    BoxCloneSyncService::new(Perform::default())
}

/// How an operation ends, after so many polls that were pending.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Succeeds,
    Fails,
    Panics,
}

/// An operation that counts those of its futures that are alive.
fn scripted(pending: usize, end: End, alive: &Arc<AtomicUsize>) -> Op {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let alive = alive.clone();
    op(move || {
        alive.fetch_add(1, SeqCst);
        let guard = Alive(alive.clone());
        async move {
            let _guard = guard;
            for _ in 0..pending {
                tokio::task::yield_now().await;
            }
            match end {
                End::Succeeds => Ok(1),
                End::Fails => Err(Error::Inner("bad")),
                End::Panics => panic!("scripted"),
            }
        }
    })
}

async fn works(policies: &Policies, door: Door, stack: &[stack::Kind]) {
    let answer = policies.protect(door, stack, perform, succeed())().await;
    assert_eq!(answer, Ok(1), "{stack:?} works on");
    assert!(policies.are_idle());
}

async fn g1_dropped_after_any_number_of_polls_nothing_is_left_behind(door: Door) {
    for stack in stacks() {
        for end in [End::Succeeds, End::Fails] {
            for polls in 0..8 {
                let policies = Policies::new();
                let alive = Arc::new(AtomicUsize::new(0));
                let protected = policies.protect(door, &stack, perform, scripted(2, end, &alive));
                let mut call = protected();
                for _ in 0..polls {
                    if poll(&mut call).is_ready() {
                        break;
                    }
                }
                drop(call);
                let what = format!("{stack:?}, {end:?}, {polls} polls");
                assert_eq!(alive.load(SeqCst), 0, "the operation is gone: {what}");
                assert!(policies.are_idle(), "every slot is back: {what}");
                works(&policies, door, &stack).await;
            }
        }
    }
}

async fn g1_dropped_while_a_retry_sleeps_or_a_call_waits_in_line_nothing_is_left_behind(door: Door) {
    for stack in stacks() {
        let policies = Policies::new();
        let held = [policies.bulkhead.try_acquire(), policies.bulkhead.try_acquire()];
        let alive = Arc::new(AtomicUsize::new(0));
        let protected = policies.protect(door, &stack, perform, scripted(0, End::Fails, &alive));
        let mut call = protected();
        let _ = poll(&mut call);
        drop(call);
        drop(held);
        assert_eq!(alive.load(SeqCst), 0, "{stack:?}");
        assert!(policies.are_idle(), "{stack:?}");
        assert_eq!(policies.budget.available(), 100.0, "no try was sent twice: {stack:?}");
        works(&policies, door, &stack).await;
    }
}

async fn g2_after_a_panic_at_any_poll_every_stack_works_on(door: Door) {
    for stack in stacks() {
        for pending in 0..2 {
            let policies = Policies::new();
            let alive = Arc::new(AtomicUsize::new(0));
            let protected = policies.protect(door, &stack, perform, scripted(pending, End::Panics, &alive));
            assert!(tokio::spawn(protected()).await.is_err_and(|error| error.is_panic()));
            assert_eq!(alive.load(SeqCst), 0, "{stack:?}");
            assert!(policies.are_idle(), "{stack:?}");
            works(&policies, door, &stack).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g1_a_dropped_probe_under_all_five_gives_its_slot_back() {
    let policies = Policies::new();
    for _ in 0..20 {
        policies.breaker.try_acquire().expect("it is closed").failure();
        pass(ms(20)).await;
    }
    pass(secs(2)).await;
    let stack = stacks().pop().expect("all five");
    for door in [Door::Plain, Door::Tower] {
        let alive = Arc::new(AtomicUsize::new(0));
        let mut call = policies.protect(door, &stack, perform, scripted(3, End::Succeeds, &alive))();
        assert!(poll(&mut call).is_pending());
        assert_eq!(policies.breaker.snapshot().probes_in_flight, 1);
        drop(call);
        assert_eq!(policies.breaker.snapshot().probes_in_flight, 0);
        works(&policies, door, &stack).await;
    }
}
