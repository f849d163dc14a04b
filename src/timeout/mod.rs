//! A [`Timeout`] gives up an operation that takes too long.
//!
//! A dependency that never answers is worse than one that fails: each caller that waits holds a connection and memory,
//! and keeps its own caller waiting. A limit turns the silence into an error, which a breaker counts and a retry can
//! cure.
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
//! For no limit at all there is [`Timeout::never`]. A limit of zero is not "off": only an answer that is there at once
//! passes.
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
//! # Events
//!
//! | event | told | level in `tracing` |
//! |---|---|---|
//! | [`TimedOut`](TimeoutEvent::TimedOut) | when an operation took too long, and was dropped | DEBUG |
//!
//! It may happen at each call, so it is neither an INFO nor a WARN. The target is `withstand::timeout`. Any number of
//! listeners may be added: [`listener_fn`](Timeout::listener_fn).
//!
//! # With tower
//!
//! `timeout.layer()`. The limit counts from the service's `call`, and does not cover `poll_ready`: against a service
//! that is never ready use a load shed or a bulkhead.
//!
//! A limit for one request: `timeout.layer().limit_fn(..)` chooses it by the request. A plain call has
//! [`timeout.with_limit(limit).call(..)`](Timeout::with_limit) for this.
//!
//! # What it covers
//!
//! The future of an HTTP client that yields a response is done when the headers have arrived. Read the body inside the
//! operation, or the limit does not cover it. In tower, over a bare client, the body is always outside. Put a service
//! that reads it below all layers: `service_fn(|request| read(client.execute(request)))`.
//!
//! # Total and attempt timeout
//!
//! A timeout outside a retry limits all attempts together, with the waits between them: the total timeout. One inside
//! the retry limits each attempt: the attempt timeout. **The total must be longer than the attempt timeout.** If it is
//! shorter, it always ends the call first: the attempt timeout never acts, an attempt that hangs is never followed by
//! another, and a breaker between the two sees no timeout, only a call that was dropped. If the two are equal, the
//! attempt timeout acts too late, for no time is left for another attempt. Make the total long enough for two attempts
//! that time out and the wait between them.
//!
//! # Sharing
//!
//! A timeout has no state. Clones have the same listeners.
//!
//! # Cancel safety
//!
//! Dropping the call drops the operation. When the limit has passed, the operation is dropped before the caller is
//! told. What the operation has already caused elsewhere remains:
//! [`Rejected::was_started`](crate::Rejected::was_started) is true of a timeout.
//!
//! # Cost
//!
//! The call reads the clock once, which is nearly all of its cost. Each poll after which the operation is still pending
//! reads it once more, and the first such poll arms a timer. Nothing is allocated.
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
pub use self::shared::TimeoutReporter;
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{FixedLimit, LimitFn, Limits};
