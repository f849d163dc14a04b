//! A [`CircuitBreaker`] stops calling a dependency that fails, and finds out when it is back.
//!
//! When a dependency is down, each caller waits for an error, and each call makes it harder for the dependency to come
//! back. The breaker counts how calls end. When they fail too often, the circuit **opens**, and calls are rejected at
//! once. After a while the circuit is **half-open**, and admits a few calls, the *probes*. If the probes succeed, it
//! **closes** again.
//!
//! ```text
//!                  a rule is broken
//!     ┌────────┐ ───────────────────────▶ ┌──────┐
//!     │ closed │                          │ open │ ◀─────────────┐
//!     └────────┘                          └──────┘               │
//!          ▲                                  │ open_for passed, │ a probe failed,
//!          │ required_successes               ▼ and a call came  │ or gave no answer in time
//!          │ probes succeeded          ┌───────────┐             │
//!          └────────────────────────── │ half-open │ ────────────┘
//!                                      └───────────┘
//!     manual, from any state: force_open, force_closed, metrics_only, reset
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `consecutive_failure_rules` | at least 20 that span at least 200 ms, or at least 8 that span at least 1.5 s |
//! | `failure_rate` | off |
//! | `slow_call_rate` | off |
//! | `open_for` | 200 ms |
//! | `open_growth` | 2 |
//! | `max_open_for` | 1 s, or `open_for` if that is longer |
//! | `open_jitter` | 0.2 |
//! | `probes` | 1 at once |
//! | `required_successes` | 2 |
//! | `probe_timeout` | 10 s |
//! | `count_dropped_after` | off: a dropped call says nothing |
//! | `Window::calls(n)` | no rate before it holds n calls |
//! | `Window::time(span)` | no rate before it holds 20 calls |
//!
//! Openings are short, 0.2 s to 1 s, because an open circuit also rejects the calls that a recovered dependency would
//! answer. In simulated outages, openings of 1 s to 10 s cost callers more calls than the outage alone. The two numbers
//! are provisional: they may change when more kinds of outage have been measured.
//!
//! No rate is on by default. A dependency that fails half of its calls still answers the other half, and a breaker that
//! opens on a rate turns that into no answers at all. Turn a rate on where half an answer is worse than none.
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
//! The breaker that other libraries have opens when a ratio of the last calls failed, and only then. It has a
//! constructor of its own, [`CircuitBreaker::by_rate`]:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{circuit_breaker::Window, CircuitBreaker};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let breaker = CircuitBreaker::by_rate("users", 0.5, Window::calls(10), Duration::from_secs(10)).build()?;
//! # Ok(()) }
//! ```
//!
//! # With tower
//!
//! `breaker.layer()` makes the layer. While the circuit is open, the service is ready without asking the inner service,
//! and rejects in `call`. A readiness error of the inner service counts as one call.
//!
//! - **Load balancers.** A service that is always ready, and rejects at once, looks like the best replica of all. A
//!   balancer over three replicas sends the one with the open circuit as many requests as the others, or more. Say
//!   `breaker.layer().pending_while_open()` there: an open breaker is then pending, and the balancer leaves it alone.
//! - **Reservations.** A service that was ready and then rejected keeps what its readiness has reserved, a permit of
//!   tower's `ConcurrencyLimit` for example, until its next call. While it sits idle, no clone can use that permit, not
//!   even for a probe. Say `breaker.layer().release_readiness()` where the inner service is `Clone`. Where it is not,
//!   do not keep a service that was rejected: call it again, or drop it.
//!
//! # Sharing
//!
//! Clones share one circuit. So do the handles with another classifier that [`classify`](CircuitBreaker::classify)
//! makes, and all services that a layer is applied to. Make one circuit for each dependency, once, and clone it.
//!
//! Never nest a circuit in itself, as a call within a call. While it is half-open, the outer call takes the slot of the
//! probe, and the inner call is rejected, so no probe can succeed. The circuit then alternates between open and
//! half-open for as long as nested calls come.
//!
//! # Cancel safety
//!
//! **The trap:** when a caller gives up a call, that says nothing about the dependency. So by default a dropped call is
//! not counted. A timeout *outside* of the breaker drops the calls that a dependency never answers: none of them is
//! counted, and the circuit never opens. Put a [`Timeout`](crate::Timeout) inside of the breaker, or let dropped calls
//! count, with [`count_dropped_after`](CircuitBreakerBuilder::count_dropped_after).
//!
//! The operation of a dropped call is dropped first. Then the slot of a probe is given back, and then the drop of the
//! call returns. A panic in the operation or in the classifier counts as a dropped call.
//!
//! A probe that runs longer than `probe_timeout` counts as failed, dropped or not. Set `probe_timeout` longer than your
//! slowest healthy call. A probe that is dropped sooner, or that one of our own policies rejects, gives no answer. When
//! probes have gone without an answer until the first of them would have timed out, the circuit reopens. This silence
//! lapses where no probe ran for `probe_timeout`: two callers that give up, an hour apart, say nothing.
//!
//! # What counts
//!
//! The classifier judges each result by a [`Verdict`](crate::Verdict):
//!
//! | verdict | while closed | as a probe |
//! |---|---|---|
//! | `Healthy` | a success | a success |
//! | `Transient` | a failure | reopens |
//! | `Failed` | a failure | reopens |
//! | `Unreached` | a failure | reopens |
//! | `Throttled` | ignored | a success: the dependency answered |
//! | `Ignored` | ignored | no answer, as if it was dropped |
//!
//! Where `slow_call_rate` is set, a slow probe reopens the circuit even if it was healthy. An outcome counts in the
//! generation in which its call was admitted; after a transition it is only counted as stale.
//!
//! If the failure that opens the circuit has a `retry_after` that is longer than the circuit's own time, the circuit
//! stays open for that long and up to a tenth longer, but never longer than `max_open_for`. Chance picks the addition,
//! so that callers who were told the same time do not come back at one instant.
//!
//! # Events
//!
//! [`listener_fn`](CircuitBreakerBuilder::listener_fn) adds a listener for [`CircuitBreakerEvent`]s. With the feature
//! `tracing` they are also `tracing` events, with the target `withstand::circuit_breaker`:
//!
//! | event | level |
//! |---|---|
//! | the circuit opened, or was forced open | WARN |
//! | any other transition | INFO |
//! | a call was rejected | DEBUG |
//!
//! # Tests
//!
//! All time is tokio's. Under `#[tokio::test(start_paused = true)]` the clock stands still until the test moves it, and
//! there the default rules never open the circuit: consecutive failures must also span a time. Use a rule without a
//! span in such a test:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{circuit_breaker::State, CircuitBreaker};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), withstand::ConfigError> {
//! let breaker = CircuitBreaker::builder("users").consecutive_failures(3, Duration::ZERO).build()?;
//! for _ in 0..3 {
//!     let _ = breaker.call(|| async { Err::<(), _>(std::io::Error::other("down")) }).await;
//! }
//! assert_eq!(breaker.state(), State::Open);
//! # Ok(()) }
//! ```
//!
//! To test a listener of your own, make events with [`Transition::new`], and set the fields that matter.
//!
//! # Cost
//!
//! While closed or open, a circuit allocates nothing. A success is two loads while no failure is remembered. While a
//! window remembers a failure, or is not full, a success is one exchange of a word more. It takes the lock once in 256
//! times, and when a slice of a time window has ended. A failure always takes the lock, for some ten nanoseconds. A
//! rejection by an open circuit takes no lock; in a half-open circuit both an admission and a rejection take it. The
//! clock is read by time windows, by the rules about slow and dropped calls, by failures where consecutive failures
//! must span a time (the default), and by rejections. In every 32 rejected calls, one is pending once, so that a caller
//! that loops on rejections lets other tasks run.
//!
//! # Errors
//!
//! [`Rejected::CircuitOpen`](crate::Rejected::CircuitOpen). The operation's own error type carries it, and must have
//! room for it ([`CarriesRejected`](crate::CarriesRejected)). It tells the time left.

mod config;
mod event;
mod future;
mod gate;
mod live;
mod permit;
mod policy;
mod probes;
mod record;
mod settings;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod transition;

#[cfg(feature = "tower")]
pub(crate) use self::tower::OwnedCall;
#[cfg(feature = "tower")]
pub use self::tower::{CircuitBreakerLayer, CircuitBreakerService};
pub use self::{
    config::CircuitBreakerBuilder,
    event::CircuitBreakerEvent,
    future::CircuitBreakerFuture,
    permit::CircuitBreakerPermit,
    policy::CircuitBreaker,
    settings::{CircuitBreakerSettings, ConsecutiveFailureRule, FailureRate, SlowCallRate, Window},
    shared::Snapshot,
    transition::{Counts, Outage, Reason, State, Transition, WindowCounts},
};

// What a pipeline is built of.
pub(crate) use self::{shared::AdmittedCall, state::Rejection};

// What only signatures name.
#[doc(hidden)]
pub use self::shared::Circuit;
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{KeepReadiness, ReleaseReadiness};

#[cfg(all(test, withstand_loom))]
mod loom;
