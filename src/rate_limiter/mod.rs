//! A [`RateLimiter`] lets only so many calls begin in each period.
//!
//! **By default the burst is the limit**: an idle limiter of "100 per minute" lets 100 calls begin at one instant, and
//! then one each 600 ms. So up to 200 calls may begin in the first minute. With a [`burst`](RateLimiterBuilder::burst)
//! of 1 they begin evenly, never two within 600 ms.
//!
//! A dependency often has a limit of its own: so many requests in each minute, or it answers 429. A rate limiter keeps
//! a client below such a limit, so that no request is sent in vain. In front of a server it keeps one client from
//! using what is for all.
//!
//! ```text
//!              one permit each period / limit
//!                        ▼
//!              ┌────  burst  ────┐
//! call ──────▶ │ ▓ ▓ ▓ ▓ ▓ ▓ ▓ ▓ │ ────▶ operation
//!    │         └─────────────────┘
//!    │ no permit is there    ▲ first in, first out, as permits come
//!    ├──▶ queue ▓ ▓ ▓ ───────┘
//!    │
//!    └── it would wait longer than max_wait, or the queue is full ────▶ rejected
//! ```
//!
//! It counts calls that begin. To limit how many run at once, use a [`Bulkhead`](crate::Bulkhead).
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `limit` | none: you name it |
//! | `period` | none: you name it |
//! | `burst` | the limit |
//! | `queue` | none: a call that finds no permit is rejected at once |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use withstand::RateLimiter;
//!
//! # async fn fetch_stock() -> std::io::Result<u32> { Ok(3) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let minute = Duration::from_secs(60);
//! let limiter = RateLimiter::builder("stock", 100, minute).burst(10).queue(50, Duration::from_secs(5)).build()?;
//! let stock = limiter.call(fetch_stock).await?;
//! # assert_eq!(stock, 3);
//! # Ok(()) }
//! ```
//!
//! A call takes its permit, or joins the queue, when `call` returns, and not when its future is awaited.
//!
//! # The limit
//!
//! In any span of time `t`, at most `burst + limit * t / period` calls begin, over all clones and threads. The interval
//! between permits is `period / limit`, rounded up to whole nanoseconds. So permits never come faster than asked. They
//! come slower by less than a nanosecond each, which counts only for limits of millions in a second: at 300 million
//! in a second the interval is 4 ns in place of 3.33 ns.
//!
//! It is the generic cell rate algorithm (GCRA, ITU-T I.371), which is a token bucket that remembers one moment in
//! place of a count. [`RateLimiter::fixed_window`] counts in windows instead, as many HTTP middlewares do: "100 in 15
//! minutes" from a client's first request on. Then up to twice the limit may begin around the end of a window.
//!
//! Some calls cost more than others: [`acquire_many`](RateLimiter::acquire_many) takes several permits at once.
//!
//! # With tower
//!
//! `limiter.layer()`. The service is always ready. It takes a permit in `call`, so a handle that is ready and idle has
//! used none. The inner service is cloned for each call, and is readied once the call has its permit.
//!
//! # Sharing
//!
//! All clones, and all services that its layers make, share the limit and the queue.
//! [`set_rate`](RateLimiter::set_rate) changes the limit while calls run and wait, and [`apply`](RateLimiter::apply) the
//! other settings too. They can come from a file: see [`settings`](crate::settings).
//!
//! # The queue
//!
//! Only the first call in the queue waits for its time. The others wait to become the first. No call that waits has
//! reserved anything, so the drop of one loses no permit, and lets those behind it begin earlier.
//!
//! Whether a call may wait is decided at once. If it would have to wait longer than `max_wait`, it is rejected without a
//! wait, and is told the true time.
//!
//! # Cancel safety
//!
//! If you drop a call that waits, it leaves the queue and has used no permit. If you drop a call that runs, its
//! operation is dropped; its permit is used. The first call in the queue takes its permit when it is polled. While it is
//! not polled, those behind it wait too, for `max_wait` at the longest. So poll every call that you hold, or drop it.
//!
//! # Fairness
//!
//! The queue is first in, first out, and a new call never overtakes a call that waits. Every 32nd call that is
//! rejected at once pends once and wakes itself. So a task that calls again after each rejection still lets other
//! tasks run. [`try_acquire`](RateLimiter::try_acquire) is not a future and cannot pend.
//!
//! # Cost
//!
//! To take a permit reads the clock once, and is one atomic exchange. To reject a call reads the clock once. Nothing is
//! allocated. An idle limiter has no task and no timer. The lock is taken, and timers are started, only while calls
//! wait in the queue, and once for each fixed window. With each permit that comes, only the first call in the queue is
//! woken. The queue has an entry of 48 bytes for each call that waits. Its memory grows to at most twice the longest
//! that it has been, and is kept. With tower, the inner service is cloned for each call that has a permit or waits for
//! one.
//!
//! # Errors
//!
//! [`Rejected::RateLimited`](crate::Rejected::RateLimited), with the time until the call would have been admitted. The
//! operation's own error type carries it: see [`CarriesRejected`](crate::CarriesRejected).
//!
//! # Events
//!
//! | event | told | level in `tracing` |
//! |---|---|---|
//! | [`Rejected`](RateLimiterEvent::Rejected) | when a call or a permit is rejected | DEBUG |
//!
//! It may happen at each call, so it is neither an INFO nor a WARN. The target is `withstand::rate_limiter`. Any number
//! of listeners may be added: [`listener_fn`](RateLimiterBuilder::listener_fn).

mod acquire;
mod config;
mod event;
mod fixed_window;
mod future;
mod gate;
mod gcra;
mod policy;
mod quota;
mod rate;
mod settings;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod wait;

#[cfg(feature = "tower")]
pub(crate) use self::tower::OwnedCall;
#[cfg(feature = "tower")]
pub use self::tower::{RateLimiterLayer, RateLimiterService};
pub use self::{
    acquire::RateLimiterAcquire, config::RateLimiterBuilder, event::RateLimiterEvent, future::RateLimiterFuture,
    policy::RateLimiter, quota::Quota, settings::RateLimiterSettings, shared::Snapshot,
};
pub use crate::queue::QueueSettings;

// What a pipeline is built of.
pub(crate) use self::state::{Entry, Turn};

// Only signatures name this.
#[doc(hidden)]
pub use self::shared::Permits;

#[cfg(all(test, withstand_loom))]
mod loom;
