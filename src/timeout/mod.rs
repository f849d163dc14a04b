//! A [`Timeout`] gives up an operation that takes too long.
//!
//! A dependency that never answers is worse than one that fails: each caller that waits holds a connection, memory and
//! its own caller's patience. A limit turns the silence into an error that a breaker can count and a retry can cure.
//!
//! ```text
//! call ──────────── polled ─────────── polled ─────── limit
//!  │ the clock runs   │ an answer wins    │ timer       │ the operation is dropped,
//!  │ from here        │ if it is there    │ armed       ┴ then the caller is told
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | limit | none: you name it |
//! | name | none |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use withstand::Timeout;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let timeout = Timeout::new(Duration::from_secs(2)).named("users");
//! let answer = timeout.call(|| async { Ok::<_, std::io::Error>("John Doe") }).await?;
//! assert_eq!(answer, "John Doe");
//! # Ok(()) }
//! ```
//!
//! # With tower
//!
//! `timeout.layer()`; `.limit_fn(..)` on the layer chooses the limit by the request. The limit counts from `call` and
//! does not cover `poll_ready`: a service that is never ready is a matter for a load shed or a bulkhead.
//!
//! # What it covers
//!
//! With an HTTP client, the future that yields a response is done once the headers are there. Read the body inside the
//! operation, or the limit does not cover it. In tower, over a bare client, the body is always outside: put a service
//! that reads it at the bottom, `service_fn(|request| read(client.execute(request)))`.
//!
//! Place one timeout outside a retry to bound the whole, and one inside to bound each try.
//!
//! A limit for one call: with tower, `timeout.layer().limit_fn(..)`; in the plain door,
//! `timeout.with_limit(limit).call(..)`.
//!
//! # Sharing
//!
//! There is nothing to share: a timeout has no state. Clones tell the same listener.
//!
//! # Cancel safety
//!
//! Dropping the call drops the operation, and so does the limit, before the caller is told. What the operation had
//! already caused elsewhere stays caused: [`Rejected::was_started`](crate::Rejected::was_started) is true of a timeout.
//!
//! # Cost
//!
//! One look at the clock in the call, which is nearly all of it, and one for each poll that the operation does not
//! answer; the first of these arms a timer. Nothing is allocated.
//!
//! # Errors
//!
//! [`Rejected::TimedOut`](crate::Rejected::TimedOut), carried by the operation's own error type, which must have room
//! for it ([`CarriesRejected`](crate::CarriesRejected)).

mod event;
mod future;
mod policy;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{TimeoutLayer, TimeoutService};
pub use self::{event::TimeoutEvent, future::TimeoutFuture, policy::Timeout};

// What only signatures name.
#[doc(hidden)]
pub use self::shared::Expiry;
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{FixedLimit, LimitFn, Limits};
