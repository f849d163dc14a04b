//! What a call costs beside the operation itself, which is ready at once.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench overhead`

use cases::{CASES, Case};
use divan::{Bencher, counter::ItemsCount};

const CALLS: u64 = 1000;

fn main() {
    divan::main();
}

#[divan::bench(args = CASES)]
fn overhead(bencher: Bencher<'_, '_>, case: &Case) {
    let mut run = (case.prepare)();
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| run(CALLS));
}
