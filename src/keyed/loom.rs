//! Interleavings of look-ups, calls and evictions: no slot of a key is taken twice, because no key has two policies.

use ::loom::{
    model,
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use super::Keyed;
use crate::{bulkhead::Bulkhead, error::Name};

fn of_capacity(capacity: usize) -> Keyed<u64, Bulkhead> {
    let builder = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1));
    builder.capacity(capacity).build().expect("good settings")
}

/// The interleavings of three threads are too many to try all of them. Those with at most two preemptions are tried.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(check);
}

#[test]
fn two_threads_that_ask_for_a_new_key_get_one_policy() {
    model(|| {
        let keyed = of_capacity(1);
        let other = keyed.clone();
        let there = thread::spawn(move || other.get(&7));
        let here = keyed.get(&7);
        let there = there.join().expect("no panic");
        let permit = here.try_acquire().expect("it is free");
        assert!(there.try_acquire().is_err(), "it is another's slot");
        drop(permit);
        assert_eq!((keyed.len(), keyed.snapshot().overflowed), (1, 0));
    });
}

#[test]
fn a_key_that_is_asked_for_while_it_may_leave_has_one_policy() {
    bounded(|| {
        let keyed = of_capacity(1);
        drop(keyed.get(&7));
        let running = Arc::new(AtomicU64::new(0));
        let call = |keyed: &Keyed<u64, Bulkhead>, running: &AtomicU64| {
            let handle = keyed.get(&7);
            if handle.name() != "7" {
                return;
            }
            if let Ok(_permit) = handle.try_acquire() {
                assert_eq!(running.fetch_add(1, SeqCst), 0, "two policies for one key");
                running.fetch_sub(1, SeqCst);
            }
        };
        let threads = [keyed.clone(), keyed.clone()].map(|keyed| {
            let running = running.clone();
            thread::spawn(move || call(&keyed, &running))
        });
        // It drives the first key out, if that may leave.
        drop(keyed.get(&8));
        threads.map(|thread| thread.join().expect("no panic"));
    });
}
