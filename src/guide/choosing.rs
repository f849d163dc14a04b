//! Choosing policies, nesting them, and keeping them in a struct.
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
//! Begin with a [`Timeout`]. Add a [`RetryWithBackoff`] and a [`CircuitBreaker`] where calls go over a network. Add a
//! [`Bulkhead`] where many callers share one dependency, and a [`RateLimiter`] where it has a quota. Add a [`Fallback`]
//! where you know what to say instead.
//!
//! # The order, and why
//!
//! Outermost first:
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
//! retry: `retry.call(|| limiter.call(|| breaker.call(..)))`. A spent limiter ends the retry, because it is not retried.
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
//! A timeout cannot know that the call only waited, so [`was_started`](crate::Rejected::was_started) says `true` here.
//!
//! The work of a fallback is outside of the total timeout. Where a fallback asks a second dependency, give that call a
//! timeout of its own.
//!
//! # One struct for each dependency
//!
//! Make the policies of a dependency once, and keep them together. All clones of a policy share its state. So the
//! struct can be cloned, or put into an `Arc`.
//!
//! The type of a policy names its classifier, and a classifier made of function paths has a type that you can write:
//! [`ByErrorStatus<E>`](crate::ByErrorStatus) for an error that knows its HTTP status.
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{
//!     Bulkhead, ByErrorStatus, CircuitBreaker, ConfigError, Fallback, Rejected, RetryWithBackoff, Timeout, Verdict,
//!     by_error_status, carries_rejected, fallback,
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
//!     nobody: Fallback<fallback::Value<String>, fallback::Unhealthy<ByErrorStatus<ApiError>>>,
//!     total: Timeout,
//!     bulkhead: Bulkhead,
//!     retry: RetryWithBackoff<ByErrorStatus<ApiError>>,
//!     breaker: CircuitBreaker<ByErrorStatus<ApiError>>,
//!     attempt: Timeout,
//! }
//!
//! impl Users {
//!     fn new() -> Result<Self, ConfigError> {
//!         let by_status = by_error_status(ApiError::status)
//!             .retry_after(ApiError::retry_after)
//!             .errors_if(ApiError::is_refused, Verdict::Unreached);
//!         Ok(Self {
//!             nobody: Fallback::value("nobody".to_owned()).classify(by_status.clone()),
//!             total: Timeout::new(Duration::from_secs(5)).named("users, total"),
//!             bulkhead: Bulkhead::builder("users", 64).queue(64, Duration::from_millis(250)).build()?,
//!             retry: RetryWithBackoff::new("users").classify(by_status.clone()),
//!             breaker: CircuitBreaker::new("users").classify(by_status),
//!             attempt: Timeout::new(Duration::from_secs(1)).named("users, attempt"),
//!         })
//!     }
//!
//!     async fn get(&self, id: u64) -> Result<String, ApiError> {
//!         let Self { nobody, total, bulkhead, retry, breaker, attempt } = self;
//!         let fetch = || self.fetch(id);
//!         let call = || total.call(|| bulkhead.call(|| retry.call(|| breaker.call(|| attempt.call(fetch)))));
//!         nobody.call(call).await
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
//! A dependency with two kinds of answer still has one circuit and one budget: `breaker.classify(another)` is a handle
//! on the same circuit that judges the other type.
//!
//! In tower the same order is the order of the layers, because the first layer of a `ServiceBuilder` is the outermost:
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), tower::BoxError> {
//! use std::time::Duration;
//! use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
//! use withstand::{Bulkhead, CircuitBreaker, Fallback, RetryWithBackoff, Timeout};
//!
//! let users = ServiceBuilder::new()
//!     .layer(Fallback::value("nobody".to_owned()).layer())
//!     .layer(Timeout::new(Duration::from_secs(5)).layer())
//!     .layer(Bulkhead::new("users", 64).layer())
//!     .layer(RetryWithBackoff::new("users").layer())
//!     .layer(CircuitBreaker::new("users").layer())
//!     .layer(Timeout::new(Duration::from_secs(1)).layer())
//!     .service(service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("user {id}")) }));
//!
//! assert_eq!(users.oneshot(7).await?, "user 7");
//! # Ok(()) }
//! ```
//!
//! # What not to do
//!
//! **Do not nest a circuit in itself**: `breaker.call(|| breaker.call(..))`, or two services of one layer around each
//! other. When the circuit is half-open, the outer call takes the slot of the probe and the inner call is rejected. The
//! probe then says nothing about the dependency, and the circuit never closes again.
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
//! **Do not make the total timeout as short as the attempt timeout, or shorter.** It then ends each call first. The
//! attempt timeout never acts, no attempt that hangs is followed by another, and the breaker sees only calls that were
//! dropped. Make the total long enough for two attempts that time out and for the sleep between them.
//!
//! **Do not put the only timeout outside of the breaker**, for the same reason: dropped calls are not counted, so a
//! dependency that never answers never opens the circuit. See
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
//! **Do not make a policy for each call.** A new breaker is closed, a new budget is full, and a new bulkhead is empty.
//! Only a fallback has no state, and may be made for a single call.
//!
//! **Do not share a circuit between dependencies.** One that fails then closes the way to the other.
//!
//! [`Bulkhead`]: crate::Bulkhead
//! [`RateLimiter`]: crate::RateLimiter
//! [`CircuitBreaker`]: crate::CircuitBreaker
//! [`CircuitBreaker::by_rate`]: crate::CircuitBreaker::by_rate
//! [`Fallback`]: crate::Fallback
//! [`RetryWithBackoff`]: crate::RetryWithBackoff
//! [`Timeout`]: crate::Timeout
