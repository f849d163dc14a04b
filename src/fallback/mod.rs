//! A [`Fallback`] answers in place of an operation that failed.
//!
//! Some answer is often better than none: a default, a value from a cache, the answer of a second source. Without a
//! fallback, a failure of a small dependency becomes a failure of everything above it. But a fallback that hides a
//! failure from those who must know of it is worse than none: its answer may say less, and must not say anything wrong.
//!
//! ```text
//! call ── operation ── ✓ ─────────────────────▶ answer
//!             │
//!             ✗ handled ──── fallback ── ✓ ──▶ its answer
//!             │                  └────── ✗ ──▶ its error (the event has the first one)
//!             ✗ not handled ─────────────────▶ error
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | handled | every error, our own rejections included; no answer |
//! | name | none |
//!
//! # What is handled
//!
//! | set by | handled |
//! |---|---|
//! | nothing | every error: our own rejections, and an error that tells of a 404, too |
//! | [`handle_if(predicate)`](Fallback::handle_if) | the errors for which the predicate is true |
//! | [`classify(classifier)`](Fallback::classify) | every result that is not `Healthy`, answers too |
//!
//! A fallback does not know the classifier of the policies inside it. A `retry` and a `breaker` that call a 404 healthy
//! do not change what the fallback handles: give it the same classifier, or set `handle_if`. Of the two, the one that
//! was set last decides.
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
//! | made with | answers with |
//! |---|---|
//! | [`value`](Fallback::value) | a clone of a value |
//! | [`from_fn`](Fallback::from_fn) | what a function makes of the error |
//! | [`from_result_fn`](Fallback::from_result_fn) | what a function makes of the whole result |
//! | [`from_request_fn`](Fallback::from_request_fn) | what a function makes of the error and of what was extracted |
//! | `Fallback::service` | the answer of a second service, which is sent a copy of the request |
//!
//! Each `from_..fn` has an async form: `from_async_fn`, `from_async_result_fn`, `from_async_request_fn`.
//!
//! # Events
//!
//! | event | told | level in `tracing` |
//! |---|---|---|
//! | [`Applied`](FallbackEvent::Applied) | when a result is handled, before the fallback runs | DEBUG |
//! | [`Failed`](FallbackEvent::Failed) | when the fallback itself fails | DEBUG |
//!
//! Both may happen at each call, so neither is an INFO or a WARN. The target is `withstand::fallback`. Any number of
//! listeners may be added: [`listener_fn`](Fallback::listener_fn).
//!
//! # With tower
//!
//! `fallback.layer()`. A second service must be `Clone`. It is readied inside the future, and only if it is needed.
//! Responses need not be `Clone`. An error of the inner service's readiness passes through: there is no request to
//! answer yet.
//!
//! # Sharing
//!
//! Clones share the value, the function or the second service that answers. A fallback has no other state. So a plain
//! call may make a fallback of its own that borrows what it needs; that costs two small allocations. A fallback that is
//! kept allocates nothing per call.
//!
//! # Cancel safety
//!
//! Dropping the call drops the operation, or the fallback's own future. The operation is dropped before the fallback
//! runs.
//!
//! # Cost
//!
//! A result that is not handled costs the check whether it is, and nothing is allocated. What is extracted from a
//! request is extracted before anyone knows whether it will be needed: for a second service that is a copy of the
//! request, and a clone of the service.
//!
//! # Errors
//!
//! A fallback adds no error of its own kind. It runs at most once in a call: if it fails itself, the caller gets its
//! error.

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
