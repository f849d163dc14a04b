//! Every interleaving of what threads do to one budget: a token is never taken twice, and none is lost or made.

use ::loom::{model, thread};

use super::{RetryBudget, budget::Bucket, settings::RetryBudgetSettings};
use crate::sync::Arc;

/// A full bucket with one token. Time adds nothing: the clock moves while a model runs.
fn one_token() -> RetryBudget {
    RetryBudget::builder(1).no_refill().build().expect("good settings")
}

#[test]
fn the_last_token_is_taken_once() {
    model(|| {
        let budget = one_token();
        let other = budget.clone();
        let there = thread::spawn(move || other.withdraw());
        let here = budget.withdraw();
        let there = there.join().expect("no panic");
        assert!(here != there);
        budget.refund();
        assert_eq!(budget.available(), 1.0);
    });
}

#[test]
fn a_refund_and_a_deposit_do_not_lose_each_other_and_do_not_overflow() {
    model(|| {
        let budget = one_token();
        assert!(budget.withdraw());
        let other = budget.clone();
        let there = thread::spawn(move || other.deposit());
        budget.refund();
        there.join().expect("no panic");
        assert_eq!(budget.available(), 1.0);
    });
}

#[test]
fn two_deposits_are_two() {
    model(|| {
        let budget = one_token();
        assert!(budget.withdraw());
        let other = budget.clone();
        let there = thread::spawn(move || other.deposit());
        budget.deposit();
        there.join().expect("no panic");
        assert_eq!(budget.available(), 0.2);
    });
}

/// The bucket was full for an hour. The time in which it was full adds nothing, whoever looks at it first.
#[test]
fn two_takers_and_a_refill_get_no_more_out_of_a_full_bucket_than_it_holds() {
    const HOUR: u64 = 3_600_000_000_000;
    model(|| {
        let bucket = Arc::new(Bucket::full(RetryBudgetSettings::new(1)));
        let (taker, refiller) = (bucket.clone(), bucket.clone());
        let there = thread::spawn(move || taker.withdraw(|| HOUR));
        let refill = thread::spawn(move || refiller.refill(|| HOUR));
        let here = bucket.withdraw(|| HOUR);
        let there = there.join().expect("no panic");
        refill.join().expect("no panic");
        let taken = [here, there, bucket.withdraw(|| HOUR)].into_iter().filter(|is_taken| *is_taken).count();
        assert_eq!(taken, 1);
    });
}

/// Two threads see that the same minute has passed. It adds one token.
#[test]
fn a_minute_that_two_threads_see_is_counted_once() {
    const MINUTE: u64 = 60_000_000_000;
    model(|| {
        let bucket = Arc::new(Bucket::full(RetryBudgetSettings::new(2)));
        assert!(bucket.withdraw(|| 0) && bucket.withdraw(|| 0));
        let other = bucket.clone();
        let there = thread::spawn(move || other.withdraw(|| MINUTE));
        let here = bucket.withdraw(|| MINUTE);
        let there = there.join().expect("no panic");
        assert!(!(here && there), "one token is not two");
        assert!(here || there || bucket.withdraw(|| MINUTE), "and is not lost");
    });
}
