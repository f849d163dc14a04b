//! A [`CircuitBreaker`] stops calling a dependency that fails, and finds out when it is back.
//!
//! A dependency that is down makes each caller wait for an error, and each call makes it harder for it to come back.
//! The breaker counts how calls end. Once they fail too often the circuit **opens**, and calls are rejected at once; after a
//! while it is **half-open**, and lets a few probes through; if they succeed it **closes** again.
//!
//! ```text
//!                  a rule is broken
//!     ┌────────┐ ───────────────────────▶ ┌──────┐
//!     │ closed │                          │ open │ ◀─────────────┐
//!     └────────┘                          └──────┘               │
//!          ▲                                  │ open_for passed, │ a probe failed,
//!          │ required_successes               ▼ and a call came  │ or ran too long
//!          │ probes succeeded          ┌───────────┐             │
//!          └────────────────────────── │ half-open │ ────────────┘
//!                                      └───────────┘
//!     by hand, from any state: force_open, force_closed, metrics_only, reset
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `consecutive_failure_rules` | 20 or more failures with no success between, that span 200 ms or longer; or 8 or more that span 1.5 s or longer |
//! | `failure_rate` | off |
//! | `slow_call_rate` | off |
//! | `open_for` | 1 s |
//! | `open_growth` | 2 |
//! | `max_open_for` | 10 s, or `open_for` if that is longer |
//! | `open_jitter` | 0.2 |
//! | `probes` | 1 at once |
//! | `required_successes` | 2 |
//! | `probe_timeout` | 10 s |
//! | `count_dropped_after` | off: a dropped call says nothing |
//! | `Window::calls(n)` | no rate before it holds n calls |
//! | `Window::time(span)` | no rate before it holds 20 calls |
//!
//! No rate is on by default: a breaker that opens on a rate turns a dependency that fails half of its calls into one that fails
//! all of them. Turn one on where half an answer is worse than none.
//!
//! # Example
//!
//! ```
//! use withstand::CircuitBreaker;
//!
//! # async fn fetch_stock() -> std::io::Result<u32> { Ok(3) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let breaker = CircuitBreaker::new("stock");
//! let stock = breaker.call(fetch_stock).await?;
//! # assert_eq!(stock, 3);
//! # Ok(()) }
//! ```
//!
//! Half of the last ten calls, as in many a lesson on breakers:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{circuit_breaker::Window, CircuitBreaker};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let breaker = CircuitBreaker::builder("users")
//!     .no_consecutive_failures()
//!     .failure_rate(0.5, Window::calls(10))
//!     .open_for(Duration::from_secs(10))
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! # With tower
//!
//! `breaker.layer()`. With the circuit open the service is ready without asking the inner one, and rejects in `call`, so a load balancer
//! that routes by readiness will like it. A readiness error of the inner service counts as one call.
//!
//! # Sharing
//!
//! Clones, the siblings that [`classify`](CircuitBreaker::classify) makes, and every service that a layer is applied to share one circuit.
//! One circuit for each dependency is the rule: make it once, and clone it.
//!
//! # Cancel safety
//!
//! **The trap:** a call that its caller gives up says nothing about the dependency, so by default a dropped call is not counted. A timeout *outside* of
//! the breaker drops the calls that a black hole swallows: none of them is ever counted, and the circuit never opens. Put a
//! [`Timeout`](crate::Timeout) inside of the breaker; or let dropped calls count with
//! [`count_dropped_after`](CircuitBreakerBuilder::count_dropped_after).
//!
//! A dropped call's operation is gone before the drop returns, then a probe's slot is given back. A probe that runs longer than
//! `probe_timeout` counts as failed, dropped or not. So do probes that are dropped sooner, one after the other without an answer between,
//! for as long as that: a black hole cannot keep the circuit half-open. Set `probe_timeout` longer than your slowest healthy call. A panic in
//! the operation or the classifier counts as a dropped call.
//!
//! # What counts
//!
//! The classifier's [`Verdict`](crate::Verdict) decides: healthy is a success, transient and failed are failures, unknown (our own rejection) is ignored.
//! An outcome counts in the generation its call was let in; after a transition it is only counted as stale. If a failure that opens the circuit
//! comes with a `retry_after` longer than the opening would be, the circuit stays open that long, up to `max_open_for`.
//!
//! # Cost
//!
//! Closed and open, a circuit allocates nothing. A success is two loads while no failure is remembered. While a window remembers any, or
//! is not full, it is one exchange of a word more, and once in 256 times, or when a slice of a time window has ended, the lock. A failure
//! always takes the lock, for some ten nanoseconds; a rejection takes none. The clock is asked by time windows, by the rules about
//! slow and dropped calls, by failures where a run must span a time, as by default, and by rejections.
//!
//! # Errors
//!
//! [`Rejected::CircuitOpen`](crate::Rejected::CircuitOpen), carried by the operation's own error type, which must have room for it
//! ([`CarriesRejected`](crate::CarriesRejected)). It tells the time left.

mod config;
mod event;
mod future;
mod gate;
mod permit;
mod policy;
mod probes;
mod record;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod transition;

#[cfg(feature = "tower")]
pub use self::tower::{CircuitBreakerLayer, CircuitBreakerService};
pub use self::{
    config::{CircuitBreakerBuilder, Window},
    event::CircuitBreakerEvent,
    future::CircuitBreakerFuture,
    permit::CircuitBreakerPermit,
    policy::CircuitBreaker,
    shared::Snapshot,
    transition::{Counts, Outage, Reason, State, Transition, WindowCounts},
};

// What only signatures name.
#[doc(hidden)]
pub use self::shared::Circuit;
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{KeepReadiness, ReleaseReadiness};

#[cfg(all(test, withstand_loom))]
mod loom;
