//! Every interleaving of what threads do to one bulkhead: slots that are taken, returned and granted, waiters that
//! leave, a limit that changes, and what the calls may rely on between them.
//!
//! If a wake-up is lost, a waiter is blocked for ever, and the checker reports a deadlock.

use std::time::Duration;

use ::loom::{
    future::block_on,
    model,
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use super::Bulkhead;

fn queueing(slots: usize, queue_capacity: usize) -> Bulkhead {
    Bulkhead::builder("loom", slots).queue(queue_capacity, Duration::MAX).build().expect("good settings")
}

fn is_idle(bulkhead: &Bulkhead) -> bool {
    let snapshot = bulkhead.snapshot();
    (snapshot.in_flight, snapshot.queued) == (0, 0)
}

/// The interleavings of three threads are too many to try all of them. Those with at most three preemptions are tried.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn one_slot_is_never_taken_twice() {
    model(|| {
        let bulkhead = Bulkhead::new("loom", 1);
        let other = bulkhead.clone();
        let there = thread::spawn(move || {
            let permit = other.try_acquire();
            assert!(other.snapshot().in_flight <= 1);
            permit.is_ok()
        });
        let here = bulkhead.try_acquire();
        let there = there.join().expect("no panic");
        assert!(here.is_ok() || there);
        drop(here);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_slot_that_returns_wakes_the_waiter() {
    model(|| {
        let bulkhead = queueing(1, 1);
        let permit = bulkhead.try_acquire().expect("free");
        let there = thread::spawn(move || drop(permit));
        let permit = block_on(bulkhead.acquire()).expect("it may wait for ever");
        there.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_waiter_that_leaves_while_its_slot_is_granted_passes_it_on() {
    bounded(|| {
        let bulkhead = queueing(1, 2);
        let permit = bulkhead.try_acquire().expect("free");
        let leaver = bulkhead.acquire();
        let next = bulkhead.acquire();
        let releasing = thread::spawn(move || drop(permit));
        let leaving = thread::spawn(move || drop(leaver));
        let permit = block_on(next).expect("it may wait for ever");
        releasing.join().expect("no panic");
        leaving.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_higher_limit_and_a_returning_slot_wake_both_waiters() {
    bounded(|| {
        let bulkhead = queueing(1, 2);
        let permit = bulkhead.try_acquire().expect("free");
        let (first, second) = (bulkhead.acquire(), bulkhead.acquire());
        let releasing = thread::spawn(move || drop(permit));
        let other = bulkhead.clone();
        let raising = thread::spawn(move || other.set_max_concurrent(2));
        let permits = (block_on(first), block_on(second));
        releasing.join().expect("no panic");
        raising.join().expect("no panic");
        assert!(permits.0.is_ok() && permits.1.is_ok());
        drop(permits);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_lower_limit_holds_for_slots_that_return() {
    model(|| {
        let bulkhead = queueing(2, 1);
        let permits = (bulkhead.try_acquire().expect("free"), bulkhead.try_acquire().expect("free"));
        let waiting = bulkhead.acquire();
        let other = bulkhead.clone();
        let lowering = thread::spawn(move || other.set_max_concurrent(1));
        drop(permits.0);
        lowering.join().expect("no panic");
        assert!(bulkhead.snapshot().in_flight <= 2);
        drop(permits.1);
        drop(block_on(waiting));
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn once_the_limit_is_zero_no_call_enters() {
    model(|| {
        let bulkhead = Bulkhead::new("loom", 1);
        let other = bulkhead.clone();
        let there = thread::spawn(move || {
            let permit = other.try_acquire();
            drop(permit);
        });
        bulkhead.set_max_concurrent(0);
        let before = bulkhead.snapshot().in_flight;
        assert!(bulkhead.try_acquire().is_err());
        there.join().expect("no panic");
        assert!(before <= 1 && is_idle(&bulkhead));
        bulkhead.set_max_concurrent(1);
        assert!(bulkhead.try_acquire().is_ok(), "no slot was lost on the way");
    });
}

#[test]
fn a_newcomer_a_slot_that_returns_and_a_waiter_lose_no_slot() {
    bounded(|| {
        let bulkhead = queueing(1, 1);
        let permit = bulkhead.try_acquire().expect("free");
        let there = thread::spawn(move || drop(permit));
        let other = bulkhead.clone();
        let newcomer = thread::spawn(move || drop(other.try_acquire()));
        let permit = block_on(bulkhead.acquire()).expect("it may wait for ever");
        there.join().expect("no panic");
        newcomer.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
        assert!(bulkhead.try_acquire().is_ok());
    });
}

/// Adds one in two steps, as only one thread at a time may: without the happens-before of `gate.rs` an addition is
/// lost.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

#[test]
fn a_call_sees_what_the_call_did_that_had_its_slot_before() {
    model(|| {
        let bulkhead = Bulkhead::new("loom", 1);
        let count = Arc::new(AtomicU64::new(0));
        let (other, count_there) = (bulkhead.clone(), count.clone());
        let add_if_free = |bulkhead: &Bulkhead, count: &AtomicU64| match bulkhead.try_acquire() {
            Ok(_permit) => {
                add_one(count);
                1
            }
            Err(_) => 0,
        };
        let there = thread::spawn(move || add_if_free(&other, &count_there));
        let here = add_if_free(&bulkhead, &count);
        let there = there.join().expect("no panic");
        assert_eq!(count.load(Relaxed), here + there);
    });
}

#[test]
fn a_call_sees_what_the_calls_before_it_did_though_the_limit_changed_meanwhile() {
    bounded(|| {
        let bulkhead = queueing(1, 2);
        let count = Arc::new(AtomicU64::new(0));
        let (other, count_there) = (bulkhead.clone(), count.clone());
        let there = thread::spawn(move || {
            let _permit = block_on(other.acquire()).expect("it may wait for ever");
            add_one(&count_there);
        });
        // An update of the word between a slot that returns and one that is taken.
        let changing = bulkhead.clone();
        let changing = thread::spawn(move || changing.set_max_concurrent(1));
        let permit = block_on(bulkhead.acquire()).expect("it may wait for ever");
        add_one(&count);
        drop(permit);
        there.join().expect("no panic");
        changing.join().expect("no panic");
        assert_eq!(count.load(Relaxed), 2);
    });
}
