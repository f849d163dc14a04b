//! A [`Fallback`] answers in place of an operation that failed.
//!
//! Some answer is often better than none: a default, a value from a cache, a second source. Without one a failure in a
//! small dependency becomes a failure of everything above it. A fallback that hides failures from those who have to know is worse than none:
//! let it answer less, not wrongly.
//!
//! ```text
//! call ── operation ── ✓ ───────────────────────▶ answer
//!             │
//!             ✗ handled ── stands in ── ✓ ─▶ answer
//!             │                └─────── ✗ ─▶ its error (the first one is in the event)
//!             ✗ not handled ────────────────▶ error
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | handled | every error, our own rejections included; no answer |
//! | name | none |
//!
//! # Example
//!
//! ```
//! use withstand::Fallback;
//!
//! # async fn fetch_stock() -> std::io::Result<u32> { Err(std::io::Error::other("down")) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let fallback = Fallback::value(0);
//! let stock = fallback.call(fetch_stock).await?;
//! assert_eq!(stock, 0);
//! # Ok(()) }
//! ```
//!
//! | made with | stands in |
//! |---|---|
//! | [`value`](Fallback::value) | a clone of a value |
//! | [`from_fn`](Fallback::from_fn), [`from_async_fn`](Fallback::from_async_fn) | what a function makes of the error |
//! | [`from_result_fn`](Fallback::from_result_fn), [`from_async_result_fn`](Fallback::from_async_result_fn) | what a function makes of the whole result |
//! | [`from_request_fn`](Fallback::from_request_fn), [`from_async_request_fn`](Fallback::from_async_request_fn) | what a function makes of the error and of what was extracted from the request |
//! | `Fallback::service` | a second service, sent a copy of the request |
//!
//! # With tower
//!
//! `fallback.layer()`. A second service must be `Clone`; it is readied inside the future, and only if it is needed. Nothing asks that responses are `Clone`.
//! A readiness error of the inner service passes through: there is no request to answer yet.
//!
//! # Sharing
//!
//! Clones share what stands in. A fallback has no state of its own, so a plain call may as well make one that borrows what
//! it needs, for two small allocations; one that is kept costs none.
//!
//! # Cancel safety
//!
//! Dropping the call drops the operation, or what stands in for it. The operation is gone before anything stands in.
//!
//! # Cost
//!
//! A result that is not handled costs a look at it, and nothing is allocated. What is extracted from a request is extracted before anyone knows
//! whether it will be needed: for a second service a copy of it, beside a clone of the service.
//!
//! # Errors
//!
//! It makes none. It runs at most once: if it fails itself, its error is what the caller gets.

mod event;
mod future;
mod handled;
mod policy;
mod recovery;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{FallbackLayer, FallbackService};
pub use self::{event::FallbackEvent, future::FallbackFuture, policy::Fallback};

// What the type of a kept fallback names.
pub use self::{
    event::{ListenFn, NoListener},
    handled::{EveryError, HandleIf, Unhealthy},
    recovery::{AsyncErrorFn, AsyncRequestFn, AsyncResultFn, ErrorFn, RequestFn, ResultFn, Value},
};
#[cfg(feature = "tower")]
pub use self::{
    recovery::SecondService,
    tower::{ExtractCopy, ExtractFn, ExtractNothing},
};

// What only signatures name.
#[doc(hidden)]
pub use self::{
    event::Listen,
    handled::Handles,
    recovery::{PlainRecovery, Recovery},
    shared::Plan,
};
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::{recovery::SendCopy, tower::Extract};
