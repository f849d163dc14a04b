//! A [`Bulkhead`] lets only so many calls run at once.
//!
//! A dependency that grows slow gathers callers: each holds memory, a connection, a task, until none is left for calls to
//! anything else. A bulkhead keeps the leak in one compartment: it rejects what does not fit.
//!
//! ```text
//!            ┌─ max_concurrent ─┐
//! call ────▶ │ ▓ ▓ ▓ ▓ ▓ ▓ ▓ ▓ │ ────▶ operation
//!    │       └──────────────────┘
//!    │ no slot is free    ▲ in order, as slots return
//!    ├──▶ queue ▓ ▓ ▓ ────┘
//!    │        └─ max_wait is over ─┐
//!    └── no place is free ─────────┴──▶ rejected
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
//! A call takes its slot or its place when it is made, not when it is awaited: collecting many calls before awaiting any takes as many
//! of them.
//!
//! # With tower
//!
//! `bulkhead.layer()`. The service is always ready and takes its slot in `call`, so ready handles that sit idle hold none. The inner service is
//! cloned for each call, and readied once the call has its slot: a slow readiness counts against the limit.
//!
//! # Sharing
//!
//! Clones, and every service that a layer is applied to, share the slots.
//! [`set_max_concurrent`](Bulkhead::set_max_concurrent) changes their number while calls run.
//!
//! # Cancel safety
//!
//! Dropping a call drops its operation, then frees the slot for the next in line. Dropping one that waits leaves the line; a slot that was granted to it
//! meanwhile goes to the next. A call keeps its place while it is not polled, so poll what you hold.
//!
//! # Cost
//!
//! A slot is one exchange of a word to take, and one to give back; nothing is allocated. The lock is taken, and a timer armed, only
//! while someone waits in line, whose memory grows to the longest it has been. With tower, the inner service is cloned for each call
//! that is let in.
//!
//! # Errors
//!
//! [`Rejected::BulkheadFull`](crate::Rejected::BulkheadFull), also when a wait in line is over; carried by the operation's own error type, which must have
//! room for it ([`CarriesRejected`](crate::CarriesRejected)).

mod acquire;
mod config;
mod event;
mod future;
mod gate;
mod permit;
mod policy;
mod rejection;
mod shared;
mod state;
#[cfg(feature = "tower")]
mod tower;
mod wait;

#[cfg(feature = "tower")]
pub use self::tower::{BulkheadLayer, BulkheadService};
pub use self::{
    acquire::BulkheadAcquire, config::BulkheadBuilder, event::BulkheadEvent, future::BulkheadFuture,
    permit::BulkheadPermit, policy::Bulkhead, shared::Snapshot,
};

// What only signatures name.
#[doc(hidden)]
pub use self::shared::Slots;

#[cfg(all(test, withstand_loom))]
mod loom;
