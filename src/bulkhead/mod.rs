//! A [`Bulkhead`] lets only so many calls run at once.
//!
//! When a dependency becomes slow, its callers pile up. Each of them holds memory, a connection and a task, until
//! none is left for calls to other dependencies. A bulkhead limits how many calls to one dependency run at once, and
//! rejects the others.
//!
//! ```text
//!            ┌─ max_concurrent ─┐
//! call ────▶ │ ▓ ▓ ▓ ▓ ▓ ▓ ▓ ▓ │ ────▶ operation
//!    │       └──────────────────┘
//!    │ no slot is free    ▲ first in, first out, as slots are given back
//!    ├──▶ queue ▓ ▓ ▓ ────┘
//!    │        └─ max_wait is over ─┐
//!    └── the queue is full ────────┴──▶ rejected
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | `max_concurrent` | none: you name it |
//! | `queue` | none: a call that finds no slot is rejected at once |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use withstand::Bulkhead;
//!
//! # async fn fetch_stock() -> std::io::Result<u32> { Ok(3) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bulkhead = Bulkhead::builder("stock", 16).queue(32, Duration::from_millis(250)).build()?;
//! let stock = bulkhead.call(fetch_stock).await?;
//! # assert_eq!(stock, 3);
//! # Ok(()) }
//! ```
//!
//! A call takes its slot, or joins the queue, when `call` returns, and not when its future is awaited. So if you
//! collect many futures before you await any of them, each has its slot or its position in the queue from the start.
//!
//! # With tower
//!
//! `bulkhead.layer()`. The service is always ready. It takes a slot in `call`, so a handle that is ready and idle
//! holds none. The inner service is cloned for each call, and is readied once the call has its slot. So a call holds
//! its slot while the inner service becomes ready.
//!
//! A call is over when its response is there. An HTTP response has a body that is still to come: with the feature
//! `http-body`, `bulkhead.layer().hold_until_body_ends()` holds the slot until that has ended too.
//!
//! # Sharing
//!
//! All clones, and all services that its layers make, share the slots and the queue.
//! [`set_max_concurrent`](Bulkhead::set_max_concurrent) changes the number of slots while calls run.
//!
//! # Cancel safety
//!
//! If you drop a call that runs, its operation is dropped first. Then its slot is free, and goes to the first call in
//! the queue. If you drop a call that waits, it leaves the queue; a slot that it was granted meanwhile goes to the
//! next call. A call keeps its position or its slot while it is not polled, so poll every call that you hold, or drop
//! it.
//!
//! # Fairness
//!
//! The queue is first in, first out, and a new call never overtakes a call that waits. Every 32nd call that is
//! rejected at once pends once and wakes itself. So a task that calls again after each rejection still lets other
//! tasks run. [`try_acquire`](Bulkhead::try_acquire) is not a future and cannot pend.
//!
//! # Cost
//!
//! To take a slot is one atomic exchange, and to give it back is another. Nothing is allocated. The lock is taken,
//! and a timer is started, only while calls wait in the queue. The queue has an entry of 24 bytes for each call that
//! waits. Its memory grows to at most twice the longest that it has been, and is kept. With tower, the inner service
//! is cloned for each call that has a slot or waits for one.
//!
//! # Errors
//!
//! [`Rejected::BulkheadFull`](crate::Rejected::BulkheadFull), also when a wait in the queue is over. The operation's
//! own error type carries it: see [`CarriesRejected`](crate::CarriesRejected).
//!
//! # Events
//!
//! | event | told | level in `tracing` |
//! |---|---|---|
//! | [`Rejected`](BulkheadEvent::Rejected) | when a call or a permit is rejected | DEBUG |
//!
//! It may happen at each call, so it is neither an INFO nor a WARN. The target is `withstand::bulkhead`. Any number
//! of listeners may be added: [`listener_fn`](BulkheadBuilder::listener_fn).

mod acquire;
mod config;
mod event;
mod future;
mod gate;
#[cfg(all(feature = "http-body", feature = "tower"))]
mod hold;
mod permit;
mod policy;
mod settings;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod wait;

#[cfg(all(feature = "http-body", feature = "tower"))]
pub use self::hold::{HoldBody, HoldFuture, HoldLayer, HoldService};
#[cfg(feature = "tower")]
pub(crate) use self::tower::OwnedCall;
#[cfg(feature = "tower")]
pub use self::tower::{BulkheadLayer, BulkheadService};
pub use self::{
    acquire::BulkheadAcquire, config::BulkheadBuilder, event::BulkheadEvent, future::BulkheadFuture,
    permit::BulkheadPermit, policy::Bulkhead, settings::BulkheadSettings, shared::Snapshot,
};

pub use crate::queue::QueueSettings;

// What a pipeline is built of.
pub(crate) use self::{state::Entry, wait::WaitLimit};

// Only signatures name this.
#[doc(hidden)]
pub use self::shared::Slots;

#[cfg(all(test, withstand_loom))]
mod loom;
