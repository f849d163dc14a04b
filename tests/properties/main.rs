//! The policies beside models of them that are obviously right. Both are driven by the same random steps, and must agree on all
//! that can be seen, after each of them.
//!
//! `PROPTEST_CASES=10000 cargo test --all-features --test properties` attempts more of them. A case that fails is printed, shrunk, and
//! kept under `tests/proptest-regressions`, so that it is tried first from then on.
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod bulkhead;
mod circuit_breaker;
#[cfg(feature = "tower")]
mod fallback;
mod keyed;
#[cfg(feature = "tower")]
mod pipeline;
mod rate_limiter;
#[cfg(feature = "tower")]
mod retry;
#[cfg(feature = "tower")]
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tower")]
mod timeout;

use std::future::Future;

/// On a clock that moves manually.
fn run<T>(agree: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(agree)
}
