//! What threads cost each other: all on one handle, or each on its own. Time per thousand calls of one thread: flat is perfect.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench contention`

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
};

use cases::{Backend, Failure, Now, calm, once, rate_over, seldom_fail, succeed, time_window};
use divan::{Bencher, counter::ItemsCount};
use tower::{Layer, Service};
use withstand::{Bulkhead, CircuitBreaker, Keyed, Name, RetryWithBackoff, circuit_breaker::Window};

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

/// As many hosts as a crawler has.
fn hosts() -> (Keyed<String, CircuitBreaker>, Vec<String>) {
    let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build().expect("good settings");
    let names: Vec<_> = (0..1000).map(|number| format!("host-{number}.example.com")).collect();
    names.iter().for_each(|name| drop(hosts.get(name.as_str())));
    (hosts, names)
}

/// So many look-ups take far longer than a thread needs to start, and than its turn on a busy core: the threads do overlap.
const LOOK_UPS: u64 = 1_000_000;

fn look_up(bencher: Bencher<'_, '_>, name_of: fn(usize, &[String]) -> &str) {
    let (hosts, names) = hosts();
    let threads = AtomicUsize::new(0);
    let inputs = || threads.fetch_add(1, Ordering::Relaxed);
    bencher.counter(ItemsCount::new(LOOK_UPS)).with_inputs(inputs).bench_values(|thread| {
        let name = name_of(thread, &names);
        for _ in 0..LOOK_UPS {
            black_box(hosts.get(black_box(name)));
        }
    });
}

#[divan::bench(threads = [1, 2], sample_count = 10, sample_size = 1)]
fn one_key_looked_up(bencher: Bencher<'_, '_>) {
    look_up(bencher, |_, names| &names[0]);
}

#[divan::bench(threads = [1, 2], sample_count = 10, sample_size = 1)]
fn a_key_each_looked_up(bencher: Bencher<'_, '_>) {
    look_up(bencher, |thread, names| &names[thread % names.len()]);
}

/// Beside what it costs to clone a handle that all threads have.
#[divan::bench(threads = [1, 2], sample_count = 10, sample_size = 1)]
fn one_handle_cloned(bencher: Bencher<'_, '_>) {
    let breaker = calm();
    bencher.counter(ItemsCount::new(LOOK_UPS)).bench(|| {
        for _ in 0..LOOK_UPS {
            black_box(breaker.clone());
        }
    });
}

#[divan::bench(threads = THREADS)]
fn a_key_each_looked_up_and_called(bencher: Bencher<'_, '_>) {
    let (hosts, names) = hosts();
    let threads = AtomicUsize::new(0);
    let inputs = || threads.fetch_add(1, Ordering::Relaxed);
    bencher.counter(ItemsCount::new(CALLS)).with_inputs(inputs).bench_values(|thread| {
        let name = &*names[thread % names.len()];
        for number in 0..CALLS {
            let _ = black_box(once(hosts.get(black_box(name)).call(|| succeed(black_box(number)))));
        }
    });
}
