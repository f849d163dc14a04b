//! Every interleaving of what threads do to one bulkhead: slots, hand-over, waiters that give up, a limit that changes.
//!
//! A wake-up that is lost leaves a waiter blocked for ever, which the checker reports as a deadlock.

use std::time::Duration;

use ::loom::{future::block_on, model, model::Builder, thread};

use super::Bulkhead;

fn queueing(slots: usize, places: usize) -> Bulkhead {
    Bulkhead::builder("loom", slots).queue(places, Duration::MAX).build().expect("good settings")
}

fn is_idle(bulkhead: &Bulkhead) -> bool {
    let snapshot = bulkhead.snapshot();
    (snapshot.in_flight, snapshot.queued) == (0, 0)
}

/// Three threads cannot be tried exhaustively; three preemptions find what matters.
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
fn a_slot_that_returns_wakes_the_one_who_waits() {
    model(|| {
        let bulkhead = queueing(1, 1);
        let permit = bulkhead.try_acquire().expect("free");
        let there = thread::spawn(move || drop(permit));
        let permit = block_on(bulkhead.acquire()).expect("it waits without end");
        there.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_waiter_that_gives_up_while_its_slot_is_granted_passes_it_on() {
    bounded(|| {
        let bulkhead = queueing(1, 2);
        let permit = bulkhead.try_acquire().expect("free");
        let given_up = bulkhead.acquire();
        let next = bulkhead.acquire();
        let releasing = thread::spawn(move || drop(permit));
        let giving_up = thread::spawn(move || drop(given_up));
        let permit = block_on(next).expect("it waits without end");
        releasing.join().expect("no panic");
        giving_up.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
    });
}

#[test]
fn a_higher_limit_and_a_returning_slot_wake_both_who_wait() {
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
fn once_the_limit_is_zero_and_seen_so_no_one_enters() {
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
fn a_newcomer_a_slot_that_returns_and_one_who_waits_lose_no_slot() {
    bounded(|| {
        let bulkhead = queueing(1, 1);
        let permit = bulkhead.try_acquire().expect("free");
        let there = thread::spawn(move || drop(permit));
        let other = bulkhead.clone();
        let newcomer = thread::spawn(move || drop(other.try_acquire()));
        let permit = block_on(bulkhead.acquire()).expect("it waits without end");
        there.join().expect("no panic");
        newcomer.join().expect("no panic");
        drop(permit);
        assert!(is_idle(&bulkhead));
        assert!(bulkhead.try_acquire().is_ok());
    });
}
