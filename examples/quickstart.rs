//! A pipeline around a function that stumbles, then breaks down: `cargo run --example quickstart`.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use withstand::{CircuitBreaker, Fallback, Pipeline};

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
    let breaker = CircuitBreaker::builder("stock")
        .consecutive_failures(3, Duration::ZERO)
        .open_for(Duration::from_secs(5))
        .build()?;
    let stock =
        Pipeline::standard_builder("stock").circuit_breaker(breaker.clone()).fallback(Fallback::value(0)).build()?;

    for order in 1..=6 {
        let pieces: io::Result<u32> = stock.call(fetch_stock).await;
        let calls = CALLS.load(Relaxed);
        println!("order {order}: {:>2} in stock; {calls} calls so far, the circuit is {}", pieces?, breaker.state());
    }

    assert_eq!(CALLS.load(Relaxed), 7, "a retry cured the first failure, and an open circuit spared the last orders");
    Ok(())
}
