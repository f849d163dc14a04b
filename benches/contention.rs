//! What threads cost each other: all on one handle, or each on its own. Time per thousand calls of one thread: flat is perfect.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench contention`

use std::{
    hint::black_box,
    task::{Context, Waker},
};

use cases::{Backend, Failure, Now, calm, once, rate_over, seldom_fail, succeed, time_window};
use divan::{Bencher, counter::ItemsCount};
use tower::{Layer, Service};
use withstand::{Bulkhead, CircuitBreaker, RetryWithBackoff, circuit_breaker::Window};

const CALLS: u64 = 1000;
const THREADS: [usize; 3] = [1, 2, 4];

fn main() {
    divan::main();
}

fn through(breaker: &CircuitBreaker, answer: fn(u64) -> Now) {
    for number in 0..CALLS {
        let _ = black_box(once(breaker.call(|| answer(black_box(number)))));
    }
}

fn on_one(bencher: Bencher<'_, '_>, breaker: &CircuitBreaker, answer: fn(u64) -> Now) {
    bencher.counter(ItemsCount::new(CALLS)).bench(|| through(breaker, answer));
}

#[divan::bench(threads = THREADS)]
fn one_breaker_calm(bencher: Bencher<'_, '_>) {
    on_one(bencher, &calm(), succeed);
}

#[divan::bench(threads = THREADS)]
fn one_breaker_default_rules_and_two_failures_in_a_hundred(bencher: Bencher<'_, '_>) {
    on_one(bencher, &calm(), seldom_fail);
}

#[divan::bench(threads = THREADS)]
fn one_breaker_failures_in_the_count_window(bencher: Bencher<'_, '_>) {
    on_one(bencher, &rate_over(Window::calls(100)), seldom_fail);
}

#[divan::bench(threads = THREADS)]
fn one_breaker_failures_in_the_time_window(bencher: Bencher<'_, '_>) {
    on_one(bencher, &rate_over(time_window()), seldom_fail);
}

#[divan::bench(threads = THREADS)]
fn a_breaker_each(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(CALLS)).with_inputs(calm).bench_refs(|breaker| through(breaker, succeed));
}

#[divan::bench(threads = THREADS)]
fn one_bulkhead(bencher: Bencher<'_, '_>) {
    let bulkhead = Bulkhead::new("users", 16);
    bencher.counter(ItemsCount::new(CALLS)).bench(|| {
        for number in 0..CALLS {
            let _ = black_box(once(bulkhead.call(|| succeed(black_box(number)))));
        }
    });
}

#[divan::bench(threads = THREADS)]
fn one_retry_with_its_budget(bencher: Bencher<'_, '_>) {
    let retry = RetryWithBackoff::new("users");
    bencher.counter(ItemsCount::new(CALLS)).bench(|| {
        for number in 0..CALLS {
            let _ = black_box(once(retry.call(|| succeed(black_box(number)))));
        }
    });
}

/// Each thread has a clone of one service, as a server's connections have.
#[divan::bench(threads = THREADS)]
fn one_breaker_calm_in_tower(bencher: Bencher<'_, '_>) {
    let service = calm().layer().layer(Backend::<Failure>(succeed));
    bencher.counter(ItemsCount::new(CALLS)).with_inputs(|| service.clone()).bench_refs(|service| {
        for number in 0..CALLS {
            let _ = service.poll_ready(&mut Context::from_waker(Waker::noop()));
            let _ = black_box(once(service.call(black_box(number))));
        }
    });
}
