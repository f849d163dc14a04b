//! Interleavings of look-ups, calls and evictions: no slot of a key is taken twice, because no key has two policies.

use ::loom::{model, model::Builder, thread};

use super::Keyed;
use crate::{bulkhead::Bulkhead, error::Name};

fn of_capacity(capacity: usize) -> Keyed<u64, Bulkhead> {
    let builder = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1));
    builder.capacity(capacity).build().expect("good settings")
}

/// The interleavings are too many to try all of them. Those with at most three preemptions are tried.
fn bounded(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
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

/// Either thread keeps the slot that it got. If both have one of this key, there were two policies for it.
#[test]
fn a_key_that_is_asked_for_while_it_may_leave_has_one_policy() {
    bounded(|| {
        let keyed = of_capacity(1);
        drop(keyed.get(&7));
        let slot = |keyed: &Keyed<u64, Bulkhead>| {
            let handle = keyed.get(&7);
            // The overflow policy has slots of its own.
            if handle.name() == "7" { handle.try_acquire().ok() } else { None }
        };
        let other = keyed.clone();
        let there = thread::spawn(move || slot(&other));
        // It drives the first key out, if that may leave.
        drop(keyed.get(&8));
        let here = slot(&keyed);
        let there = there.join().expect("no panic");
        assert!(here.is_none() || there.is_none(), "two policies for one key");
    });
}

/// A slot that is taken and given back by one thread while another looks whether the key may leave.
#[test]
fn a_key_whose_slot_was_taken_does_not_leave_before_it_is_given_back() {
    bounded(|| {
        let keyed = of_capacity(1);
        let permit = keyed.get(&7).try_acquire().expect("it is free");
        let there = thread::spawn(move || drop(permit));
        let is_overflow = keyed.get(&8).name() != "8";
        there.join().expect("no panic");
        if !is_overflow {
            assert!(keyed.peek(&7).is_none() && keyed.evicted() == 1);
        }
        assert!(keyed.get(&7).try_acquire().is_ok());
    });
}
