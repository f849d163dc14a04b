//! A [`RetryWithBackoff`] sends an operation again that failed but may succeed next time.
//!
//! Many failures are over a moment later: a leader election, a deployment, an idle connection that is closed just as
//! the next request is sent on it (HTTP clients pass that error up). Another attempt hides them from the caller.
//! Attempts that follow at once, from all callers at the same time, and without an end turn them into an outage. So the
//! retry waits longer before each further attempt, for a random time, and pays for it from a budget.
//!
//! ```text
//! call ─ attempt 1 ✗ ── sleep ── attempt 2 ✗ ─── sleep ─── attempt 3 ✓ ─ answer
//!                     0..50 ms                 0..100 ms
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `max_attempts` | 3, the first included |
//! | `backoff` | 50 ms, doubling up to 10 s, full jitter |
//! | `budget` | a [bucket](RetryBudget) of 10 tokens of its own |
//! | `deadline` | none |
//! | `max_retry_after` | 10 s: two waits of that length are what a caller still waits for |
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
//! The closure is called once for each attempt. In a spawned task put `move` on the outermost `async` block, not on
//! this closure: the closure has to lend what it uses several times.
//!
//! # What is sent again
//!
//! The [classifier](crate::Classify) judges each result:
//!
//! | verdict | another attempt | the wait before it |
//! |---|---|---|
//! | [`Healthy`](crate::Verdict::Healthy) | no | |
//! | [`Transient`](crate::Verdict::Transient) | yes | the longer of the backoff and `retry_after` |
//! | [`Throttled`](crate::Verdict::Throttled) | yes | the longer of the backoff and `retry_after` |
//! | [`Unreached`](crate::Verdict::Unreached) | yes | the backoff |
//! | [`Failed`](crate::Verdict::Failed) | no | |
//! | [`Ignored`](crate::Verdict::Ignored), by default an open circuit or a full bulkhead | no | |
//!
//! By default every error is transient, a timeout included, unless a breaker or a bulkhead of ours rejected the call.
//!
//! Where a `retry_after` sets the wait, a random time is added: up to a tenth of it, or up to the backoff's own delay
//! if that is longer. So callers that were told the same time come back at different instants, and none of them comes
//! back early. The sum never passes `max_retry_after` or the deadline; to a `retry_after` of exactly `max_retry_after`
//! nothing is added.
//!
//! A `retry_after` above `max_retry_after` ends the retry, and so does a sleep that would pass the deadline. Each sleep
//! may be as long as `max_retry_after`: bound the whole call by a [`deadline`](RetryBuilder::deadline), or by a
//! [`Timeout`](crate::Timeout) outside.
//!
//! **Send again only what is idempotent.** A call that failed may have had its effect. Only after `Unreached` is it
//! certain that nothing was sent. For calls that are not idempotent,
//! [`retry.not_idempotent()`](RetryWithBackoff::not_idempotent) is a handle that sends again only what had no effect.
//!
//! # Budget
//!
//! Every retry needs a token from the [`RetryBudget`], which has the table of what takes and adds tokens. Without a
//! token the retry ends, and the last result is returned. A retry that waits for its backoff takes the token before the
//! wait. A retry that waits as a `retry_after` says takes it after the wait, just before it is sent: callers that are
//! told to come back in ten seconds do not empty the budget for all others meanwhile.
//!
//! # With tower
//!
//! `retry.layer()`. It copies a request by `Clone`, or as `clone_request` says. A request that declines to be copied is
//! sent once. There are at most `max_attempts - 1` copies, because the last attempt that is allowed sends the original.
//! Each further attempt readies the same clone of the inner service again. A service that is kept ready without being
//! called can starve it: over a `ConcurrencyLimit` of 1 the retry waits for the permit that the ready service holds.
//!
//! # Sharing
//!
//! Clones, the handles with another classifier that [`classify`](RetryWithBackoff::classify) makes, and every service
//! that a layer is applied to share one budget. To share it among several policies: [`RetryBudget`].
//!
//! # Cancel safety
//!
//! Dropping the call drops the attempt that runs, or the sleep. A token that was paid for an attempt that was not sent
//! goes back to the budget. The token of an attempt that is dropped while it runs does not: the load was real.
//!
//! The future of a failed attempt is dropped before the sleep. So is its result, unless a `retry_after` set the wait
//! and the budget is not paid yet: that result is dropped before the next attempt is sent, because it is the answer of
//! the call if no token is left by then.
//!
//! # Events
//!
//! | event | level in `tracing` |
//! |---|---|
//! | [`Retrying`](RetryEvent::Retrying): an attempt failed, and another will follow | `DEBUG` |
//! | [`GaveUp`](RetryEvent::GaveUp): the last attempt failed, and another one might have helped | `DEBUG` |
//!
//! Both happen per call, so neither is above `DEBUG`. Their target is `withstand::retry`.
//!
//! # Cost
//!
//! Nothing is allocated, except by a backoff of your own ([`Backoff::from_fn`]) when the first attempt of a call has
//! failed. An attempt that succeeds reads the budget, and adds to it only while it is not full. The clock is asked for
//! a deadline, before a sleep, when a retry takes a token, and for what [`call_with`](RetryWithBackoff::call_with)
//! tells. With tower, each call clones the inner service once, and the request for each attempt that another may
//! follow.
//!
//! # Errors
//!
//! The retry makes no error of its own: the last result is returned unchanged. One thing is added. Where the last
//! result is a rejection by our own breaker or bulkhead, [`attempts_sent`](crate::Rejected::attempts_sent) says how
//! many attempts were sent before it, and [`was_started`](crate::Rejected::was_started) speaks of the whole call.
//!
//! The default classifier asks that an error can carry a rejection. [`retry_if`](RetryWithBackoff::retry_if) takes an
//! error of any type.

mod attempt;
mod backoff;
mod budget;
mod config;
mod event;
mod future;
mod plan;
mod policy;
mod settings;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub(crate) use self::tower::OwnedCall;
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
    settings::{BackoffSettings, BudgetSettings, RetryBudgetSettings, RetrySettings},
};

// What a pipeline is built of.
pub(crate) use self::shared::{CallStart, Progress};

// What only signatures name.
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{Resend, ResendUnready};
#[doc(hidden)]
pub use self::{
    attempt::{AttemptPlan, Attempts, Repeat, RepeatWith},
    shared::Shared,
};

#[cfg(all(test, withstand_loom))]
mod loom;
