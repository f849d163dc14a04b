//! Choosing policies, their order, and keeping them in a struct.
//!
//! # Begin with a pipeline
//!
//! [`Pipeline::standard`] has two timeouts, a bulkhead, a retry and a circuit breaker, in the right order. Make one for
//! each dependency. Then ask three questions:
//!
//! | question | if so |
//! |---|---|
//! | May a call not be sent twice? | [`not_idempotent()`](crate::Pipeline::not_idempotent), a view of it |
//! | Do you know what to say when it fails? | [`fallback(..)`](crate::PipelineBuilder::fallback) |
//! | Does the dependency have a quota? | [`rate_limiter(..)`](crate::PipelineBuilder::rate_limiter) |
//!
//! And change its numbers to yours: [pipeline](super::pipeline#your-own-numbers). The rest of this page is for those
//! who want to know why, who leave parts out, or who nest policies by hand.
//!
//! # Which policy for which failure
//!
//! | what goes wrong | policy | when not |
//! |---|---|---|
//! | The dependency answers too late, or never. | [`Timeout`] (attempt) | never leave it out |
//! | The caller has only so much time in all. | [`Timeout`] (total) | there is no retry and no queue inside |
//! | A failure is over a moment later. | [`RetryWithBackoff`] | the call is not idempotent, or is retried elsewhere |
//! | The dependency is down for seconds or minutes. | [`CircuitBreaker`] | no other call learns from this one |
//! | A slow dependency holds more and more tasks. | [`Bulkhead`] | the client's pool has such a limit already |
//! | The dependency allows only so many requests in a period. | [`RateLimiter`] | it never says so, by a 429 for example |
//! | The caller can go on with a lesser answer. | [`Fallback`] | a wrong answer is worse than none |
//!
//! A failure that is over a moment later is, for example, a deployment, or an idle connection that was closed. No other
//! call learns from the single call of a batch job.
//!
//! *Idempotent* means that sending a request twice has the same effect as sending it once. A call that failed may have
//! had its effect all the same: the answer may have been lost. So send only idempotent calls again.
//!
//! Where one policy is enough, take it alone: a [`Timeout`] around a local call, a [`RetryWithBackoff`] in a batch job.
//!
//! # The order, and why
//!
//! A pipeline always has this order. Outermost first:
//!
//! | | policy | why it stands here |
//! |---|---|---|
//! | 1 | [`Fallback`] | It answers for every failure and every rejection of the policies inside it. |
//! | 2 | [`Timeout`] (total) | It limits all that the caller waits for: the queue, the attempts, the sleeps between. |
//! | 3 | [`RateLimiter`] | It counts calls, not attempts. A call that waits here holds no slot of the bulkhead. |
//! | 4 | [`Bulkhead`] | It counts calls, not attempts: a call holds its slot over all of its attempts and sleeps. |
//! | 5 | [`RetryWithBackoff`] | It sees the result of each attempt, and an open circuit too: then it stops. |
//! | 6 | [`CircuitBreaker`] | It counts each attempt, so it learns from one that times out. |
//! | 7 | [`Timeout`] (attempt) | It ends an attempt that hangs, and leaves time for another one. |
//!
//! Leave out what you do not need. The order of the others stays.
//!
//! Where the dependency's quota counts each request, further attempts count too. Then put the rate limiter inside the
//! pipeline's operation: `users.call(|| limiter.call(|| fetch(7)))`. A spent limiter ends the retry, because its
//! rejection is not sent again, and it does not count against the circuit. Give it no queue there: the wait would be
//! part of the attempt, and of its timeout.
//!
//! ## Nested by hand
//!
//! Nested calls, or layers, keep the order too. They lack the one deadline: a retry sleeps on while the total timeout
//! is nearly over, and a timeout cannot know that the call only waited. [`Deadline::within(total).scope(..)`] around
//! them gives them one.
//!
//! A total timeout that ends while the call waits in the bulkhead's queue ends the call with
//! [`Rejected::TimedOut`](crate::Rejected::TimedOut). A wait that reaches the bulkhead's own `max_wait` first ends with
//! [`Rejected::BulkheadFull`](crate::Rejected::BulkheadFull):
//!
//! ```
//! use std::{future::pending, io, time::Duration};
//! use withstand::{Bulkhead, CarriesRejected, Rejected, Timeout};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let total = Timeout::new(Duration::from_secs(1));
//! let bulkhead = Bulkhead::builder("users", 1).queue(10, Duration::from_secs(5)).build()?;
//! let _running = bulkhead.call(pending::<io::Result<u32>>); // it holds the only slot
//!
//! let error = total.call(|| bulkhead.call(|| async { Ok::<_, io::Error>(7) })).await.unwrap_err();
//! assert!(matches!(error.as_rejected(), Some(Rejected::TimedOut(_))));
//! # Ok(()) }
//! ```
//!
//! [`was_started`](crate::Rejected::was_started) says `true` here. In a pipeline, and inside the scope of a deadline,
//! it says `false`.
//!
//! The work of a fallback is outside of the total timeout. Where a fallback asks a second dependency, give that call a
//! timeout of its own.
//!
//! # One pipeline for each dependency
//!
//! Make it once, and keep it in the struct that has the client. All clones share its state. So the struct can be
//! cloned, or put into an `Arc`.
//!
//! The type of a pipeline names its classifier and its fallback. A classifier made of function paths has a type that
//! you can write: [`ByErrorStatus<E>`](crate::ByErrorStatus) for an error that knows its HTTP status. Where you do not
//! want to write it, [`BoxPipeline<T, E>`](crate::pipeline::BoxPipeline) names only the answer and the error:
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{
//!     Bulkhead, ConfigError, Fallback, Pipeline, Rejected, Verdict, by_error_status, carries_rejected,
//!     pipeline::BoxPipeline,
//! };
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ApiError {
//!     #[error("answered {status}")]
//!     Status { status: u16, retry_after: Option<Duration> },
//!     #[error("no answer")]
//!     NoAnswer(#[from] io::Error),
//!     #[error("call rejected")]
//!     Policy(#[from] Rejected),
//! }
//! carries_rejected!(ApiError, Policy);
//!
//! impl ApiError {
//!     fn status(&self) -> Option<u16> {
//!         if let Self::Status { status, .. } = self { Some(*status) } else { None }
//!     }
//!
//!     fn retry_after(&self) -> Option<Duration> {
//!         if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
//!     }
//!
//!     fn is_refused(&self) -> bool {
//!         matches!(self, Self::NoAnswer(error) if error.kind() == io::ErrorKind::ConnectionRefused)
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Users {
//!     pipeline: BoxPipeline<String, ApiError>,
//! }
//!
//! impl Users {
//!     fn new() -> Result<Self, ConfigError> {
//!         let by_status = by_error_status(ApiError::status)
//!             .retry_after(ApiError::retry_after)
//!             .errors_if(ApiError::is_refused, Verdict::Unreached);
//!         let pipeline = Pipeline::standard_builder("users")
//!             .bulkhead(Bulkhead::builder("users", 64).queue(64, Duration::from_millis(250)).build()?)
//!             .attempt_timeout(Duration::from_secs(1))
//!             .classify(by_status)
//!             .fallback(Fallback::value("nobody".to_owned()))
//!             .build()?;
//!         Ok(Self { pipeline: pipeline.boxed() })
//!     }
//!
//!     async fn get(&self, id: u64) -> Result<String, ApiError> {
//!         self.pipeline.call(|| self.fetch(id)).await
//!     }
//!
//!     /// Sends one request, reads the whole body, and keeps status and `Retry-After` in the error.
//!     async fn fetch(&self, id: u64) -> Result<String, ApiError> {
//!         // ...
//! #       match id {
//! #           7 => Ok("John Doe".to_owned()),
//! #           8 => Err(ApiError::Status { status: 404, retry_after: None }),
//! #           9 => Err(ApiError::Status { status: 503, retry_after: Some(Duration::from_secs(1)) }),
//! #           _ => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
//! #       }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let users = Users::new()?;
//! assert_eq!(users.get(7).await?, "John Doe");
//! // A 404 is an answer: it is not sent again, it does not count against the circuit, and nobody replaces it.
//! assert!(matches!(users.get(8).await, Err(ApiError::Status { status: 404, .. })));
//! // A 503 is sent again. At last the fallback answers.
//! assert_eq!(users.get(9).await?, "nobody");
//! # assert_eq!(users.get(10).await?, "nobody");
//! # Ok(()) }
//! ```
//!
//! A dependency with two kinds of answer still has one pipeline: `pipeline.classify(another)` is a view of the same
//! parts that judges the other type. It keeps the fallback, so let a pipeline with two views have none. Put a
//! `Fallback` around the call instead, or build two pipelines of clones of the same parts.
//!
//! Some kinds of call belong to pipelines of their own: those with another time limit (a report, an upload), and those
//! that may fail while the others go on.
//!
//! In tower it is one layer. By hand the same order is the order of the layers, because the first layer of a
//! `ServiceBuilder` is the outermost:
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower::BoxError> {
//! use std::time::Duration;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use withstand::{Bulkhead, CircuitBreaker, Fallback, Pipeline, RetryWithBackoff, Timeout};
//!
//! let service = service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("user {id}")) });
//!
//! let users = ServiceBuilder::new().layer(Pipeline::standard("users").layer()).service(service);
//! assert_eq!(users.oneshot(7).await?, "user 7");
//!
//! let by_hand = ServiceBuilder::new()
//!     .layer(Fallback::value("nobody".to_owned()).layer())
//!     .layer(Timeout::new(Duration::from_secs(5)).layer())
//!     .layer(Bulkhead::new("users", 64).layer())
//!     .layer(RetryWithBackoff::new("users").layer())
//!     .layer(CircuitBreaker::new("users").layer())
//!     .layer(Timeout::new(Duration::from_secs(1)).layer())
//!     .service(service);
//! assert_eq!(by_hand.oneshot(7).await?, "user 7");
//! # Ok(()) }
//! ```
//!
//! # How many pipelines
//!
//! | you call | have |
//! |---|---|
//! | one service, at one address | one pipeline |
//! | many hosts, or a service with a host for each tenant | one for each host: [`Keyed`](super::per_host) |
//! | one service, with settings that operators change | one, with its [settings](super::settings) in a file |
//! | nothing, but are called by more than you can serve | a pipeline around the server: `guide::http` |
//! | nothing, but are called by some far too often | a rate limiter for each client: `guide::http` |
//!
//! # What not to do
//!
//! **Do not nest a circuit in itself**: `breaker.call(|| breaker.call(..))`, or two services of one layer around each
//! other. When the circuit is half-open, the outer call takes the slot of the probe and the inner call is rejected. The
//! probe then says nothing about the dependency, and the circuit cannot close.
//!
//! **Do not put a retry around another retry.** Their attempts multiply, and each of them pays from its own budget:
//!
//! ```
//! use std::{cell::Cell, io};
//! use withstand::RetryWithBackoff;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (outer, inner) = (RetryWithBackoff::new("gateway"), RetryWithBackoff::new("users"));
//! let sent = Cell::new(0);
//! let fetch = || async {
//!     sent.set(sent.get() + 1);
//!     Err::<(), _>(io::Error::other("down"))
//! };
//! let _ = outer.call(|| inner.call(fetch)).await;
//! assert_eq!(sent.get(), 9); // 3 attempts, each of 3 attempts
//! # }
//! ```
//!
//! The other retry may be in another program: an HTTP client, a proxy, or the service that calls yours. Let one of them
//! retry, the one that is next to the failure.
//!
//! **Do not make the total timeout as short as the attempt timeout, or shorter.** A pipeline refuses that. By hand, it
//! ends each call first. The attempt timeout never acts, no attempt that hangs is followed by another, and the breaker
//! sees only calls that were dropped. Make the total long enough for two attempts that time out and for the sleep
//! between them.
//!
//! **Do not put the only timeout outside of the breaker**, for the same reason; in a pipeline, do not leave out the
//! attempt timeout: dropped calls are not counted, so a dependency that never answers never opens the circuit. See
//! [cancel safety](crate::circuit_breaker#cancel-safety).
//!
//! **Do not expect `failure_rate` to replace the default rule.** A breaker has a rule of consecutive failures from the
//! beginning. [`failure_rate`](crate::CircuitBreakerBuilder::failure_rate) adds a second rule, and each of them opens
//! the circuit. For the rate alone add
//! [`no_consecutive_failures`](crate::CircuitBreakerBuilder::no_consecutive_failures), or use
//! [`CircuitBreaker::by_rate`]:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{CircuitBreaker, circuit_breaker::Window};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! // Opens at half of the last ten calls, for ten seconds each time; one probe that succeeds closes it.
//! let breaker = CircuitBreaker::by_rate("users", 0.5, Window::calls(10), Duration::from_secs(10)).build()?;
//! # Ok(()) }
//! ```
//!
//! **Do not set a timeout of the client below a pipeline.** What it ends is an error of the client, and the circuit
//! counts it as any other. See [pipeline](super::pipeline#reqwest).
//!
//! **Do not make a pipeline or a policy for each call.** A new breaker is closed, a new budget is full, and a new
//! bulkhead is empty. Only a fallback has no state, and may be made for a single call.
//!
//! **Do not share a circuit between dependencies.** One that fails then closes the way to the other.
//!
//! [`Bulkhead`]: crate::Bulkhead
//! [`Deadline::within(total).scope(..)`]: crate::Deadline::scope
//! [`Pipeline::standard`]: crate::Pipeline::standard
//! [`RateLimiter`]: crate::RateLimiter
//! [`CircuitBreaker`]: crate::CircuitBreaker
//! [`CircuitBreaker::by_rate`]: crate::CircuitBreaker::by_rate
//! [`Fallback`]: crate::Fallback
//! [`RetryWithBackoff`]: crate::RetryWithBackoff
//! [`Timeout`]: crate::Timeout
