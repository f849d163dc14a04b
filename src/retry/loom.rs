//! Every interleaving of what threads do to one budget: a token is never taken twice, and none is lost or made.

use ::loom::{model, thread};

use super::RetryBudget;

#[test]
fn the_last_token_is_taken_once() {
    model(|| {
        let budget = RetryBudget::new(1);
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
        let budget = RetryBudget::new(1);
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
        let budget = RetryBudget::new(1);
        assert!(budget.withdraw());
        let other = budget.clone();
        let there = thread::spawn(move || other.deposit());
        budget.deposit();
        there.join().expect("no panic");
        assert_eq!(budget.available(), 0.2);
    });
}
