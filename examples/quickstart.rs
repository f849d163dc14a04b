//! All five policies around a function that stumbles, then breaks down: `cargo run --example quickstart`.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use withstand::{Bulkhead, CircuitBreaker, Fallback, RetryWithBackoff, Timeout};

static CALLS: AtomicU32 = AtomicU32::new(0);

/// Fails its first call, works for three, and is down from then on.
async fn fetch_stock() -> io::Result<u32> {
    match CALLS.fetch_add(1, Relaxed) {
        1..4 => Ok(12),
        _ => Err(io::Error::other("connection reset")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fallback = Fallback::value(0);
    let bulkhead = Bulkhead::new("stock", 10);
    let total = Timeout::new(Duration::from_secs(5));
    let retry = RetryWithBackoff::new("stock");
    let breaker =
        CircuitBreaker::builder("stock").consecutive_failures(3, Duration::ZERO).open_for(total.limit()).build()?;
    let per_attempt = Timeout::new(Duration::from_secs(1));

    for order in 1..=6 {
        let guarded = || retry.call(|| breaker.call(|| per_attempt.call(fetch_stock)));
        let stock = fallback.call(|| total.call(|| bulkhead.call(guarded))).await?;
        let calls = CALLS.load(Relaxed);
        println!("order {order}: {stock:>2} in stock; {calls} calls so far, the circuit is {}", breaker.state());
    }

    assert_eq!(CALLS.load(Relaxed), 7, "a retry cured the first failure, and an open circuit spared the last orders");
    Ok(())
}
