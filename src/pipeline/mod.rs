//! A [`Pipeline`] is all policies around one dependency, in the right order.
//!
//! Each policy alone is a call around a call. Nested by hand, they are as good as their order, and each of them plans
//! for itself: a retry sleeps on while nobody waits any more. A pipeline is one call. It knows the order, takes one
//! deadline for all that the call waits for, and judges every result once, by one classifier for all parts.
//!
//! # Example
//!
//! ```
//! use std::io;
//! use withstand::Pipeline;
//!
//! # async fn fetch_stock() -> io::Result<u32> { Ok(3) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
//! let stock = Pipeline::standard("stock"); // once, for each dependency
//! let pieces = stock.call(fetch_stock).await?;
//! # assert_eq!(pieces, 3);
//! # Ok(()) }
//! ```
//!
//! With settings of your own, and a fallback:
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{Bulkhead, CircuitBreaker, Fallback, Pipeline, RetryWithBackoff};
//!
//! # async fn fetch_stock() -> io::Result<u32> { Err(io::ErrorKind::ConnectionReset.into()) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stock = Pipeline::builder("stock")
//!     .timeout(Duration::from_secs(3))
//!     .bulkhead(Bulkhead::builder("stock", 64).queue(64, Duration::from_millis(250)).build()?)
//!     .retry(RetryWithBackoff::builder("stock").max_attempts(2).build()?)
//!     .circuit_breaker(CircuitBreaker::new("stock"))
//!     .attempt_timeout(Duration::from_secs(1))
//!     .fallback(Fallback::value(0))
//!     .build()?;
//! let pieces: io::Result<u32> = stock.call(fetch_stock).await;
//! assert_eq!(pieces?, 0); // both attempts have failed
//! # Ok(()) }
//! ```
//!
//! All parts may be left out. To change some settings of the [standard](#standard) pipeline, begin with
//! [`standard_builder`](Pipeline::standard_builder).
//!
//! # Order
//!
//! Outermost first, whatever the order of the setters:
//!
//! ```text
//! ┌ fallback ────────────────────────────────────────────────────┐
//! │ ┌ timeout ─────────────────────────────────────────────────┐ │
//! │ │ ┌ rate limiter ────────────────────────────────────────┐ │ │
//! │ │ │ ┌ bulkhead ────────────────────────────────────────┐ │ │ │
//! │ │ │ │ ┌ retry ───────────────────────────────────────┐ │ │ │ │
//! │ │ │ │ │ ┌ circuit breaker ─────────────────────────┐ │ │ │ │ │
//! │ │ │ │ │ │ ┌ attempt timeout ─────────────────────┐ │ │ │ │ │ │
//! │ │ │ │ │ │ │ your operation                       │ │ │ │ │ │ │
//! │ │ │ │ │ │ └──────────────────────────────────────┘ │ │ │ │ │ │
//! │ │ │ │ │ └──────────────────────────────────────────┘ │ │ │ │ │
//! │ │ │ │ └──────────────────────────────────────────────┘ │ │ │ │
//! │ │ │ └──────────────────────────────────────────────────┘ │ │ │
//! │ │ └──────────────────────────────────────────────────────┘ │ │
//! │ └──────────────────────────────────────────────────────────┘ │
//! └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! | part | why it stands there |
//! |---|---|
//! | fallback | It answers for every failure and every rejection of the other parts. Its own work is outside of the total timeout, and begins when the slot is free again. |
//! | timeout (total) | It limits all that the caller waits for: the queue, the attempts, the sleeps between them. |
//! | rate limiter | It counts calls, and not attempts. A call that it rejects has taken no slot. |
//! | bulkhead | It counts calls, and not attempts: a call holds its slot over all of its attempts and sleeps. |
//! | retry | It sees the result of each attempt. When the circuit is open, it stops. |
//! | circuit breaker | It counts each attempt, also one that timed out. |
//! | attempt timeout | It ends an attempt that hangs, while there is time for another one. |
//!
//! Slots that are counted by calls limit how many callers wait at once, which is what fills memory. Where a retry
//! sleeps long, those slots are held by sleepers: leave room for them, or keep the sleeps short.
//!
//! A circuit breaker needs the attempt timeout. Attempts that only the total timeout ends were given up by the caller,
//! and say nothing about the dependency; so a dependency that never answers would never open the circuit.
//!
//! # One deadline
//!
//! The total timeout is a [`Deadline`](crate::Deadline), taken when the call is made. Everything inside plans within
//! it:
//!
//! - An attempt has its attempt timeout or what is left, whichever is shorter.
//!   [`Attempt::remaining`](crate::retry::Attempt) tells it, for a header to the next service.
//! - A sleep that would end after the deadline is not begun, and neither is one that a `retry_after` asks for. Then the
//!   call ends at once with the last result.
//! - A wait in a queue that the deadline ends is [`TimedOut`](crate::Rejected::TimedOut), and
//!   [`was_started`](crate::Rejected::was_started) is false. A wait that reaches the queue's own `max_wait` first is
//!   [`BulkheadFull`](crate::Rejected::BulkheadFull), or [`RateLimited`](crate::Rejected::RateLimited).
//! - A permit of the rate limiter that comes after the deadline is not waited for. The call is `RateLimited` at once.
//!
//! A deadline around the call counts too, if it is earlier. An attempt that the deadline has ended is judged
//! [`Ignored`](crate::Verdict::Ignored): callers in a hurry open no circuit.
//!
//! # Standard
//!
//! What [`Pipeline::standard`] has:
//!
//! | part | setting |
//! |---|---|
//! | `timeout` | 5 s in all |
//! | `bulkhead` | 1000 calls at once; no queue |
//! | `retry` | [`RetryWithBackoff::new`](crate::retry#defaults): 3 attempts |
//! | `circuit_breaker` | [`CircuitBreaker::new`](crate::circuit_breaker#defaults) |
//! | `attempt_timeout` | 2 s for each attempt |
//! | `classify` | [by the error](crate::ByError): every error of the operation is a failure |
//! | `fallback` | none |
//!
//! **It sends a failed call again.** Use it for calls that may be sent twice. For the others there is
//! [`not_idempotent`](Pipeline::not_idempotent), a view of the same parts.
//!
//! 1000 calls at once is a guard for memory and connections. It is far above what a healthy dependency needs, and it is
//! no limit that protects the dependency: set that yourself, where you know it.
//!
//! # Contradictions
//!
//! [`build`](PipelineBuilder::build) refuses settings that cannot all be meant. One [`ConfigError`](crate::ConfigError)
//! names all of them:
//!
//! | refused | because |
//! |---|---|
//! | a `timeout` of zero | nothing could be waited for |
//! | an `attempt_timeout` of zero | nothing could be waited for |
//! | a `timeout` not longer than `attempt_timeout` | the total would end each attempt, and no second one would follow |
//! | a `rate_limiter` in whose queue a call waits for `timeout` or longer | a call that gets its permit late would have no time left |
//! | a `bulkhead` in whose queue a call waits for `timeout` or longer | a call that gets its slot late would have no time left |
//! | a `retry` whose first sleep is never shorter than `timeout` | no second attempt would ever be sent |
//! | a `circuit_breaker` with a time window shorter than two attempts of `attempt_timeout` | attempts that time out one after the other would leave it again |
//! | one that counts a call as slow only after `attempt_timeout` | no attempt takes that long |
//! | one that counts a dropped call only after `attempt_timeout` | no attempt takes that long |
//! | one whose `probe_timeout` is not longer than `attempt_timeout` | a probe would count as failed before its attempt has timed out |
//!
//! The parts are finished when the builder is given them. So nothing of them is derived or changed: a window that is
//! too short is refused, and not made longer. `Duration::MAX` and [`Timeout::never`](crate::Timeout::never) are no
//! limit, and contradict nothing.
//!
//! # In a struct
//!
//! A pipeline's type names its classifier and its fallback, and no other part. [`Pipeline`] alone has neither. Where
//! the two cannot be named, or the caller chooses them, there is [`BoxPipeline`]:
//!
//! ```
//! use std::io;
//! use withstand::{Fallback, Pipeline, pipeline::BoxPipeline};
//!
//! struct Stock {
//!     pipeline: BoxPipeline<u32, io::Error>, // by the operation's answer and its error
//! }
//!
//! impl Stock {
//!     async fn pieces(&self, item: &str) -> io::Result<u32> {
//!         self.pipeline.call(|| async move { Ok(item.len() as u32) }).await
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let zero = Fallback::from_fn(|_: io::Error| Ok(0));
//! let stock = Stock { pipeline: Pipeline::standard_builder("stock").fallback(zero).build()?.boxed() };
//! assert_eq!(stock.pieces("hammer").await?, 6);
//!
//! let in_a_test = Stock { pipeline: BoxPipeline::none() }; // it only makes the call
//! assert_eq!(in_a_test.pieces("nail").await?, 4);
//! # Ok(()) }
//! ```
//!
//! # Sharing
//!
//! Clones share the parts, and so do all services of its layers. The parts are handles: take one out
//! ([`circuit_breaker`](Pipeline::circuit_breaker)) to look at it, or give a clone of it to two pipelines, for two
//! kinds of call to one dependency. [`classify`](Pipeline::classify) is another view of the same parts, for another
//! type of result.
//!
//! [`apply`](Pipeline::apply) changes the settings of all parts while calls run. There are no other setters.
//!
//! # With tower
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower::BoxError> {
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use withstand::Pipeline;
//!
//! let stock = ServiceBuilder::new()
//!     .layer(Pipeline::standard("stock").layer())
//!     .service(service_fn(|item: u32| async move { Ok::<_, BoxError>(item + 1) }));
//!
//! assert_eq!(stock.oneshot(7).await?, 8);
//! # Ok(()) }
//! ```
//!
//! The service is always ready. Each call clones the inner service once, and readies that clone before each attempt,
//! inside of the total timeout. A readiness error counts as one call of the circuit breaker.
//!
//! What belongs to one type of request is said on the layer:
//!
//! | | |
//! |---|---|
//! | `.clone_request(function)` | how a request is copied for another attempt, `reqwest::Request::try_clone` for example |
//! | `.clone_request_fn(closure)` | likewise; decline there, with `None`, what may not be sent twice |
//! | `.send_once()` | no request is copied, whatever the retry says |
//! | `.extract_fn(closure)` | what [`Fallback::from_request_fn`](crate::Fallback::from_request_fn) needs of the request |
//!
//! A [second service](crate::Fallback) is a fallback here too. It is sent a copy that was made in the same way. It
//! needs the request, so such a pipeline has no plain call, and cannot be erased.
//!
//! # Cancel safety
//!
//! If you drop a call, its attempt or its wait is dropped first. Then the circuit learns that the call was dropped,
//! which says nothing unless it counts dropped calls. Then the slot is free. Nothing runs on.
//!
//! # Cost
//!
//! A call is one future of at most 560 bytes besides the operation's own, whatever the parts are. A part that is not
//! there costs a branch. A success allocates nothing and takes no lock while the circuit is calm; an attempt timeout or
//! a total timeout reads the clock, and starts a timer only if the operation is pending. [`BoxPipeline`] asks its
//! classifier and its fallback through a pointer; it allocates only when the fallback has to answer.
//! [`call_with_context`](Pipeline::call_with_context) allocates once for each attempt.
//!
//! # Errors
//!
//! The error of the last attempt, or a [`Rejected`](crate::Rejected): `TimedOut`, `BulkheadFull`, `CircuitOpen`. The
//! operation's own error type carries it: see [`CarriesRejected`](crate::CarriesRejected). With a fallback, what that
//! makes of the error.
//!
//! # Events
//!
//! A pipeline has none of its own. Each part tells its events as it does alone, under the name that it was given. A
//! timeout without a name has that of the pipeline.

mod config;
mod context;
mod ends;
mod erased;
mod fallback;
mod future;
mod limits;
mod permits;
mod policy;
mod settings;
mod shared;
mod start;
#[cfg(feature = "tower")]
mod tower;
mod waits;

#[cfg(feature = "tower")]
pub(crate) use self::tower::OwnedCall;
#[cfg(feature = "tower")]
pub use self::tower::{PipelineLayer, PipelineService};
pub use self::{
    config::PipelineBuilder,
    context::{ContextAttempt, ContextFuture},
    erased::{BoxClassify, BoxFallback, BoxPipeline},
    fallback::NoFallback,
    future::PipelineFuture,
    policy::Pipeline,
    settings::PipelineSettings,
};

// What only signatures name.
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{CopyFor, ExtractBy};
#[doc(hidden)]
pub use self::{
    fallback::{PipelineFallback, PlainFallback},
    shared::{HasParts, HoldsParts, Parts, Whole},
};
