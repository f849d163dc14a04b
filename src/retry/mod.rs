//! A [`RetryWithBackoff`] tries an operation again that failed but may succeed next time.
//!
//! Many failures are over a moment later: a leader election, a deployment, an idle connection that is closed just as the next
//! request is sent on it (HTTP clients pass that error up). Running again hides them from the caller. Running again at once,
//! together with everyone else, and without an end turns them into an outage; so it waits longer each time, by chance, and
//! pays from a budget.
//!
//! ```text
//! call ─ try 1 ✗ ── sleep ── try 2 ✗ ─── sleep ─── try 3 ✓ ─ answer
//!                0..50 ms             0..100 ms
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `max_attempts` | 3, the first included |
//! | `backoff` | 50 ms, doubling up to 10 s, full jitter |
//! | `budget` | a bucket of 10 of its own; a first try that succeeds adds 0.1 |
//! | `deadline` | none |
//! | `max_retry_after` | 30 s |
//! | `seed` | none: no two calls share a sequence of delays |
//!
//! # Example
//!
//! ```
//! use withstand::RetryWithBackoff;
//!
//! # async fn fetch_stock() -> std::io::Result<u32> { Ok(3) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let retry = RetryWithBackoff::new("stock");
//! let stock = retry.call(fetch_stock).await?;
//! # assert_eq!(stock, 3);
//! # Ok(()) }
//! ```
//!
//! The closure is called once for each try. In a spawned task put `move` on the outermost `async` block, not on
//! this closure: it has to lend what it uses several times.
//!
//! # What is tried again
//!
//! Only what the classifier calls [transient](crate::Verdict::Transient). Our own rejections, an open circuit and a full
//! bulkhead, are not: no token is spent, and no one sleeps. The wait is the longer of the backoff and of the dependency's own
//! `retry_after`; one above `max_retry_after` ends the retry, and so does a sleep that would pass the deadline. Each sleep may be as
//! long as `max_retry_after`: bound the whole by a `deadline`, or by a [`Timeout`](crate::Timeout) outside.
//!
//! **Only what is idempotent may be sent twice.** A call that failed may have had its effect.
//!
//! # With tower
//!
//! `retry.layer()`. It copies a request by `Clone`, or as `clone_request` says; one that declines to be copied is sent
//! once. The last try that is allowed sends the original. Each further try readies its own clone of the inner service. A handle that is
//! kept ready without being called can starve it: over a `ConcurrencyLimit` of 1 the retry waits for the permit that the
//! handle holds.
//!
//! # Sharing
//!
//! Clones, the siblings that [`classify`](RetryWithBackoff::classify) makes, and every service that a layer is applied to share one budget. To share
//! it among several policies: [`RetryBudget`].
//!
//! # Cancel safety
//!
//! Dropping the call drops the try that runs, or the sleep. A token paid for a try that was not sent goes back to
//! the budget; one whose try was dropped while it ran does not. A failed try's future and result are dropped before the sleep.
//!
//! # Cost
//!
//! Nothing is allocated. A first try that succeeds reads the budget, and writes it only if it is not full. The clock is asked for a
//! deadline, before a sleep, and for what [`call_with`](RetryWithBackoff::call_with) tells. With tower, each call clones the inner service
//! once, and the request for each try that another may follow.
//!
//! # Errors
//!
//! It makes none: the last result is returned unchanged. That may be a rejection of a breaker inside, though earlier tries were sent. (The default
//! classifier asks that an error can carry a rejection; one of your own, by [`classify_fn`](crate::classify_fn), takes any.)

mod attempt;
mod backoff;
mod budget;
mod config;
mod event;
mod future;
mod policy;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{RetryLayer, RetryService};
pub use self::{
    attempt::Attempt,
    backoff::{Backoff, BackoffFn, Constant, Exponential, Jitter, Linear},
    budget::{RetryBudget, RetryBudgetBuilder},
    config::RetryBuilder,
    event::{GaveUp, RetryEvent},
    future::RetryFuture,
    policy::RetryWithBackoff,
};

// What only signatures name.
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::Resend;
#[doc(hidden)]
pub use self::{
    attempt::{Attempts, Repeat, RepeatWith, Started},
    shared::Shared,
};

#[cfg(all(test, withstand_loom))]
mod loom;
