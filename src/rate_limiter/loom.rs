//! Every interleaving of what threads do to one rate limiter: permits that are taken, waiters that leave and waiters
//! that get their permits, a limit that changes.
//!
//! All of it happens at one moment, or at a later one that the test names. The interval is an hour, so the time that
//! the test itself takes brings no permit.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use ::loom::{future::block_on, model, model::Builder, thread};

use super::{RateLimiter, RateLimiterBuilder, RateLimiterSettings, shared::Permits, state::Entry, state::Turn};
use crate::{clock::nanos, sync::Arc};

const HOUR: Duration = Duration::from_secs(3600);

fn hourly(burst: u32) -> RateLimiterBuilder {
    RateLimiter::builder("loom", 1, HOUR).burst(burst)
}

fn queueing(burst: u32) -> Arc<Permits> {
    let builder = hourly(burst).queue(3, Duration::MAX);
    builder.build().expect("good settings").permits
}

fn later(now: u64, hours: u32) -> u64 {
    now + nanos(HOUR * hours)
}

fn queue_up(permits: &Permits, now: u64) -> u64 {
    let Entry::Queued(ticket) = permits.enter(now, 1) else { panic!("none is left, and the queue has room") };
    ticket
}

/// Waits until the permit is there; it is polled when it is woken, and at no other time.
fn wait(permits: &Permits, now: u64, ticket: u64) -> Result<(), Option<u64>> {
    block_on(poll_fn(|cx| match permits.poll(now, ticket, 1, cx.waker()) {
        Turn::Permit => Poll::Ready(Ok(())),
        Turn::Rejected(retry_after) => Poll::Ready(Err(retry_after)),
        Turn::Wait { .. } => Poll::Pending,
    }))
}

/// The interleavings of three threads are too many to try all of them. Those with at most three preemptions are tried.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn one_permit_is_never_taken_twice() {
    model(|| {
        let permits = hourly(1).build().expect("good settings").permits;
        let (now, other) = (permits.now(), permits.clone());
        let there = thread::spawn(move || other.try_enter(now, 1).is_ok());
        let here = permits.try_enter(now, 1).is_ok();
        let there = there.join().expect("no panic");
        assert!(here != there);
        assert!(permits.try_enter(now, 1).is_err());
    });
}

#[test]
fn two_permits_are_for_two_threads() {
    model(|| {
        let permits = hourly(2).build().expect("good settings").permits;
        let (now, other) = (permits.now(), permits.clone());
        let there = thread::spawn(move || other.try_enter(now, 1).is_ok());
        assert!(permits.try_enter(now, 1).is_ok() && there.join().expect("no panic"));
        assert!(permits.try_enter(now, 1).is_err());
    });
}

#[test]
fn a_window_gives_no_permit_twice_and_begins_once() {
    model(|| {
        let limiter = RateLimiter::fixed_window("loom", 1, HOUR).expect("good settings");
        let (permits, now) = (limiter.permits.clone(), limiter.permits.now());
        assert!(permits.try_enter(now, 1).is_ok());
        let (then, other) = (later(now, 1), permits.clone());
        let there = thread::spawn(move || other.try_enter(then, 1).is_ok());
        let here = permits.try_enter(then, 1).is_ok();
        let there = there.join().expect("no panic");
        assert!(here != there, "one window, one permit");
    });
}

#[test]
fn the_first_leaves_while_its_permit_comes_and_the_next_gets_it() {
    bounded(|| {
        let permits = queueing(1);
        let now = permits.now();
        assert!(permits.try_enter(now, 1).is_ok());
        let (first, next) = (queue_up(&permits, now), queue_up(&permits, now));
        let then = later(now, 1);
        let leaver = permits.clone();
        let leaving = thread::spawn(move || leaver.leave(first));
        assert_eq!(wait(&permits, then, next), Ok(()), "it is woken when it becomes the first");
        leaving.join().expect("no panic");
        assert_eq!(permits.snapshot().queued, 0);
        assert!(permits.try_enter(then, 1).is_err(), "no permit was made");
        assert!(permits.try_enter(later(now, 2), 1).is_ok(), "none was lost");
    });
}

#[test]
fn the_first_gets_its_permit_while_the_next_begins_to_wait() {
    bounded(|| {
        let permits = queueing(2);
        let now = permits.now();
        assert!(permits.try_enter(now, 2).is_ok());
        let (first, next) = (queue_up(&permits, now), queue_up(&permits, now));
        let then = later(now, 2);
        let other = permits.clone();
        let there = thread::spawn(move || other.poll(then, first, 1, Waker::noop()) == Turn::Permit);
        assert_eq!(wait(&permits, then, next), Ok(()));
        assert!(there.join().expect("no panic"));
        assert!(permits.try_enter(then, 1).is_err());
    });
}

#[test]
fn a_newcomer_never_takes_what_the_queue_waits_for() {
    bounded(|| {
        let permits = queueing(1);
        let now = permits.now();
        assert!(permits.try_enter(now, 1).is_ok());
        let ticket = queue_up(&permits, now);
        let (then, other) = (later(now, 1), permits.clone());
        let newcomer = thread::spawn(move || other.try_enter(then, 1).is_ok());
        let mut turn = permits.poll(then, ticket, 1, Waker::noop());
        assert_eq!(turn, Turn::Permit);
        assert!(!newcomer.join().expect("no panic"));
        turn = permits.poll(then, ticket, 1, Waker::noop());
        assert!(matches!(turn, Turn::Rejected(_)), "its ticket is used");
    });
}

#[test]
fn a_limit_of_zero_wakes_and_rejects_who_waits() {
    bounded(|| {
        let limiter = hourly(1).queue(3, Duration::MAX).build().expect("good settings");
        let (permits, now) = (limiter.permits.clone(), limiter.permits.now());
        assert!(permits.try_enter(now, 1).is_ok());
        let ticket = queue_up(&permits, now);
        let changing = thread::spawn(move || limiter.set_rate(0, HOUR).expect("a good rate"));
        assert_eq!(wait(&permits, now, ticket), Err(None));
        changing.join().expect("no panic");
        assert_eq!(permits.snapshot().queued, 0);
    });
}

#[test]
fn c3_settings_that_change_keep_who_waits_and_tell_it_of_its_new_time() {
    bounded(|| {
        let limiter = hourly(1).queue(3, Duration::MAX).build().expect("good settings");
        let (permits, now) = (limiter.permits.clone(), limiter.permits.now());
        assert!(permits.try_enter(now, 1).is_ok());
        let ticket = queue_up(&permits, now);
        let settings = RateLimiterSettings { burst: Some(2), queue: None, ..limiter.settings() };
        let changing = thread::spawn(move || limiter.apply(&settings).expect("good settings"));
        assert_eq!(wait(&permits, now, ticket), Ok(()), "the burst has a permit for it, whoever is the first to know");
        changing.join().expect("no panic");
        assert_eq!(
            permits.enter(now, 1),
            Entry::Rejected(Some(nanos(HOUR))),
            "no permit was made, and no queue is left"
        );
        assert_eq!(permits.snapshot().queued, 0);
    });
}

#[test]
fn a_call_decides_by_one_limit_and_not_by_parts_of_two() {
    model(|| {
        let limiter = RateLimiter::new("loom", 2, HOUR).expect("good settings");
        let (permits, now) = (limiter.permits.clone(), limiter.permits.now());
        // A debt of an hour: nothing is left of either limit. The old burst with the new interval would leave something.
        assert!(permits.try_enter(now, 2).is_ok());
        let changing = thread::spawn(move || limiter.set_rate(1, 2 * HOUR).expect("a good rate"));
        assert!(permits.try_enter(now, 1).is_err());
        changing.join().expect("no panic");
        assert!(permits.try_enter(permits.now(), 1).is_err());
    });
}
