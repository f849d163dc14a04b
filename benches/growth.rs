//! What grows: windows, calls in a window, live breakers, layers. Cost per call and bytes stay flat where the design says so.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench growth`

use std::{
    hint::black_box,
    task::{Context, Waker},
    time::Duration,
};

use cases::{Backend, Failure, calm, once, rate_over, seldom_fail, succeed};
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use tower::{Layer, Service};
use withstand::{Bulkhead, CircuitBreaker, Keyed, KeyedPolicy, Name, Pipeline, RateLimiter, circuit_breaker::Window};

/// Its columns show the bytes.
#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const CALLS: u64 = 1000;

fn main() {
    divan::main();
}

fn calls(bencher: Bencher<'_, '_>, breaker: &CircuitBreaker) {
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for number in 0..CALLS {
            let _ = black_box(once(breaker.call(|| seldom_fail(black_box(number)))));
        }
    });
}

#[divan::bench(args = [10, 1_000, 100_000, 1_000_000])]
fn a_count_window_of(bencher: Bencher<'_, '_>, size: u32) {
    let breaker = rate_over(Window::calls(size));
    for number in 0..u64::from(size) {
        let _ = once(breaker.call(|| seldom_fail(number)));
    }
    calls(bencher, &breaker);
}

#[divan::bench(args = [1_000, 100_000, 10_000_000])]
fn a_time_window_that_holds(bencher: Bencher<'_, '_>, held: u64) {
    let breaker = rate_over(Window::time(Duration::from_secs(3600)));
    for number in 0..held {
        let _ = once(breaker.call(|| seldom_fail(number)));
    }
    calls(bencher, &breaker);
}

/// The allocations of one sample are those of so many breakers.
#[divan::bench(args = [1, 1_000, 100_000, 1_000_000], sample_count = 5, sample_size = 1)]
fn live_breakers_made(bencher: Bencher<'_, '_>, live: usize) {
    bencher.counter(ItemsCount::new(live)).bench_local(|| (0..live).map(|_| calm()).collect::<Vec<_>>());
}

/// Calls go round all of them.
#[divan::bench(args = [1, 1_000, 100_000, 1_000_000], sample_count = 20)]
fn live_breakers_called(bencher: Bencher<'_, '_>, live: usize) {
    let breakers: Vec<_> = (0..live).map(|_| calm()).collect();
    let mut next = 0;
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for number in 0..CALLS {
            next = (next + 7919) % live;
            let _ = black_box(once(breakers[next].call(|| succeed(black_box(number)))));
        }
    });
}

/// A policy for each of so many keys. The bytes of one sample are those of all of them; beside them, the keys alone.
const KEYS: [u64; 3] = [1_000, 100_000, 1_000_000];

fn keys_made<P: KeyedPolicy + 'static>(bencher: Bencher<'_, '_>, keys: u64, make: fn(Name) -> P) {
    bencher.counter(ItemsCount::new(keys)).bench_local(|| {
        let builder = Keyed::builder(move |_: &u64, name: Name| make(name)).capacity(keys as usize);
        let keyed = builder.build().expect("good settings");
        (0..keys).for_each(|key| drop(keyed.get(&key)));
        keyed
    });
}

#[divan::bench(args = KEYS, sample_count = 3, sample_size = 1)]
fn keyed_breakers_made(bencher: Bencher<'_, '_>, keys: u64) {
    keys_made(bencher, keys, CircuitBreaker::new);
}

#[divan::bench(args = KEYS, sample_count = 3, sample_size = 1)]
fn keyed_bulkheads_made(bencher: Bencher<'_, '_>, keys: u64) {
    keys_made(bencher, keys, |name| Bulkhead::new(name, 16));
}

#[divan::bench(args = KEYS, sample_count = 3, sample_size = 1)]
fn keyed_rate_limiters_made(bencher: Bencher<'_, '_>, keys: u64) {
    keys_made(bencher, keys, |name| RateLimiter::new(name, 100, Duration::from_secs(1)).expect("good settings"));
}

/// A million of them would take several GiB: what a key takes does not depend on how many there are.
#[divan::bench(args = [1_000, 100_000], sample_count = 3, sample_size = 1)]
fn keyed_pipelines_made(bencher: Bencher<'_, '_>, keys: u64) {
    keys_made(bencher, keys, Pipeline::standard);
}

/// One new key drives out another: each is as good as new.
#[divan::bench(args = [1_000, 100_000])]
fn keyed_breakers_replaced(bencher: Bencher<'_, '_>, capacity: u64) {
    let builder = Keyed::builder(|_: &u64, name: Name| CircuitBreaker::new(name)).capacity(capacity as usize);
    let keyed = builder.build().expect("good settings");
    (0..capacity).for_each(|key| drop(keyed.get(&key)));
    let mut next = capacity;
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for _ in 0..CALLS {
            drop(keyed.get(&next));
            next += 1;
        }
    });
}

/// All keys must stay: a new one gets the overflow policy.
#[divan::bench(args = [10, 1_000, 100_000])]
fn keyed_breakers_that_must_all_stay(bencher: Bencher<'_, '_>, capacity: u64) {
    let builder = Keyed::builder(|_: &u64, name: Name| CircuitBreaker::new(name)).capacity(capacity as usize);
    let keyed = builder.build().expect("good settings");
    (0..capacity).for_each(|key| keyed.get(&key).force_open());
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for key in 0..CALLS {
            drop(black_box(keyed.get(&(capacity + key))));
        }
    });
}

/// The service under one breaker for each dot.
macro_rules! under {
    ($inner:expr;) => { $inner };
    ($inner:expr; . $($more:tt)*) => { calm().layer().layer(under!($inner; $($more)*)) };
}

fn through<S>(bencher: Bencher<'_, '_>, mut service: S)
where
    S: Service<u64, Response = u64, Error = Failure>,
{
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| {
        for number in 0..CALLS {
            let _ = service.poll_ready(&mut Context::from_waker(Waker::noop()));
            let _ = black_box(once(service.call(black_box(number))));
        }
    });
}

#[divan::bench(args = [1, 8, 32])]
fn layers(bencher: Bencher<'_, '_>, layers: usize) {
    let backend = Backend::<Failure>(succeed);
    match layers {
        1 => through(bencher, under!(backend; .)),
        8 => through(bencher, under!(backend; . . . . . . . .)),
        _ => through(bencher, under!(backend; . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . .)),
    }
}
