//! Errors: how an error type carries a rejection, what a rejection tells, and how to answer a caller.
//!
//! A pipeline, like each policy alone, never changes the error type of an operation. When it ends a call itself, it
//! needs a place in that type for a [`Rejected`]. A type that has such a place implements [`CarriesRejected`].
//!
//! # Which types carry a rejection
//!
//! | the operation's error | what to do |
//! |---|---|
//! | an enum of your own | one variant, and one line: [`carries_rejected!`](crate::carries_rejected) |
//! | `Box<dyn Error + Send + Sync>` | nothing |
//! | [`std::io::Error`] | nothing |
//! | `anyhow::Error` | turn on the feature `anyhow` |
//! | a foreign error (`reqwest::Error`, `sqlx::Error`), plain call | wrap the operation: [`lift`] |
//! | a foreign error, tower | add `LiftLayer` as the last layer, next to the service |
//! | `eyre::Report`, and other types that take any error | [`lift`], and then [`flatten`] or [`into_boxed`] |
//!
//! ## An enum of your own
//!
//! ```
//! use std::time::Duration;
//! use withstand::{CarriesRejected, CircuitOpen, Rejected, carries_rejected};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ApiError {
//!     #[error("no such user")]
//!     NoSuchUser,
//!     #[error("call rejected")]
//!     Policy(#[from] Rejected),
//! }
//! carries_rejected!(ApiError, Policy);
//!
//! let error = ApiError::from(Rejected::from(CircuitOpen::new("users", Some(Duration::from_secs(2)))));
//! assert!(error.as_rejected().is_some());
//! assert!(ApiError::NoSuchUser.as_rejected().is_none());
//! ```
//!
//! Give the variant a text of its own, and `#[from]` or `#[source]`. Do not make it `transparent`: a transparent
//! variant is not in its own chain of sources, and [`Rejected::find`] does not see it.
//!
//! ## A foreign error
//!
//! [`lift`] turns the error `E` of an operation into [`Error<E>`](crate::Error). It has two variants: `Rejected` when a
//! policy ended the call, and `Inner` when the operation failed.
//!
//! ```
//! use std::{num::ParseIntError, time::Duration};
//! use withstand::{Error, Timeout, lift};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # async fn fetch() -> Result<u32, ParseIntError> { "seven".parse() }
//! let timeout = Timeout::new(Duration::from_secs(1));
//! match timeout.call(|| lift(fetch())).await {
//!     Ok(number) => println!("{number}"),
//!     Err(Error::Inner(error)) => println!("the operation failed: {error}"),
//!     Err(Error::Rejected(rejected)) => println!("a policy ended the call: {rejected}"),
//! }
//! # }
//! ```
//!
//! Lift once, and only what cannot carry a rejection itself. A second `lift` around a policy hides its rejection: a
//! retry outside of both no longer sees it.
//!
//! In tower, `LiftLayer` does the same. It goes last:
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use std::num::ParseIntError;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use withstand::{CircuitBreaker, Error, LiftLayer, Rejected};
//!
//! let breaker = CircuitBreaker::new("numbers");
//! let numbers = ServiceBuilder::new()
//!     .layer(breaker.layer())
//!     .layer(LiftLayer)
//!     .service(service_fn(|text: &'static str| async move { text.parse::<u32>() }));
//!
//! assert_eq!(numbers.clone().oneshot("7").await, Ok(7));
//! breaker.force_open();
//! let answer: Result<u32, Error<ParseIntError>> = numbers.oneshot("7").await;
//! assert!(matches!(answer, Err(Error::Rejected(Rejected::CircuitOpen(_)))));
//! # }
//! ```
//!
//! ## `eyre::Report`, and `anyhow::Error` without the feature
//!
//! These types take any error, but they are no [`std::error::Error`] themselves. Lift the operation, and outside of all
//! policies turn the two variants into one type again. [`flatten`] gives the operation's own error type back, and
//! [`into_boxed`] gives a `Box<dyn Error + Send + Sync>`:
//!
//! ```
//! use withstand::{CircuitBreaker, Error, Rejected, lift};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! # async fn fetch() -> anyhow::Result<u32> { Ok(7) }
//! # async fn name() -> Result<u32, String> { Ok(7) }
//! let breaker = CircuitBreaker::new("users");
//! let answer: anyhow::Result<u32> = breaker.call(|| lift(fetch())).await.map_err(Error::flatten);
//! # assert_eq!(answer.unwrap(), 7);
//!
//! breaker.force_open();
//! let error = breaker.call(|| lift(name())).await.map_err(Error::into_boxed).unwrap_err();
//! assert!(matches!(Rejected::find(error.as_ref()), Some(Rejected::CircuitOpen(_))));
//! # }
//! ```
//!
//! # What a rejection tells
//!
//! | ask | answer |
//! |---|---|
//! | the variant: [`CircuitOpen`], [`BulkheadFull`], [`RateLimited`], [`TimedOut`] | which kind of policy ended the call |
//! | [`name`](crate::Rejected::name) | which policy it was |
//! | [`was_started`] | whether the operation was started, and may have had effects |
//! | [`attempts_sent`] | how many attempts a retry had sent before |
//! | [`retry_after`] | how long to wait before another call has a chance, if this is known |
//! | [`http_status`] | the HTTP status that says the same |
//! | [`grpc_code`](crate::Rejected::grpc_code) | the gRPC code that says the same |
//!
//! [`CarriesRejected::as_rejected`] reads the rejection from an error whose type is known. [`Rejected::find`] searches
//! a `dyn Error` and its whole chain of sources.
//!
//! A call that was not started can be made again, whatever it does. `TimedOut` is not always that: a call that has
//! waited in a queue for all of its time was not started, and then its text says "was not started within 5s". A
//! pipeline knows that, and so do policies inside the scope of a [`Deadline`](crate::Deadline); a
//! [`Timeout`](crate::Timeout) that is nested by hand does not, and says that it was.
//!
//! A circuit may open between two attempts of a retry. The call then ends with a rejection, although something was
//! sent. The rejection says so:
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{CarriesRejected, CircuitBreaker, Pipeline, Rejected};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let breaker = CircuitBreaker::builder("users").consecutive_failures(1, Duration::ZERO).build()?;
//! let users = Pipeline::standard_builder("users").circuit_breaker(breaker).build()?;
//!
//! let error = users.call(|| async { Err::<(), _>(io::Error::other("down")) }).await.unwrap_err();
//! let rejected = error.as_rejected().expect("the second attempt was rejected");
//! assert!(matches!(rejected, Rejected::CircuitOpen(_)));
//! assert_eq!((rejected.attempts_sent(), rejected.was_started()), (1, true));
//! # Ok(()) }
//! ```
//!
//! # Answering an HTTP caller
//!
//! - An open circuit and a full bulkhead are a **503** with a `Retry-After`. Its unit is whole seconds;
//!   [`retry_after_secs`](crate::Rejected::retry_after_secs) rounds up. Where the time is not known, 1 is a good value.
//! - A spent rate limiter that counts your caller's requests is a **429** with a `Retry-After`. One that keeps you
//!   below the quota of a dependency is a 503: the caller has done nothing wrong.
//! - A timeout is a **504**. It is not a 408: that status says that the *caller* was too slow to send its request.
//!
//! [`http_status`] knows these three, and takes a rate limiter for one that counts your caller's requests.
//!
//! ```
//! use std::time::Duration;
//! use http::{Response, StatusCode, header::RETRY_AFTER};
//! use withstand::{CircuitOpen, Elapsed, Rejected};
//!
//! fn answer(rejected: &Rejected) -> Response<String> {
//!     let mut response = Response::new(String::new());
//!     *response.status_mut() = StatusCode::from_u16(rejected.http_status()).expect("it is one of three");
//!     if !matches!(rejected, Rejected::TimedOut(_)) {
//!         response.headers_mut().insert(RETRY_AFTER, rejected.retry_after_secs().unwrap_or(1).into());
//!     }
//!     response
//! }
//!
//! let open = answer(&CircuitOpen::new("users", Some(Duration::from_millis(1500))).into());
//! assert_eq!((open.status().as_u16(), open.headers()[RETRY_AFTER].as_bytes()), (503, &b"2"[..]));
//! let late = answer(&Elapsed::new(None, Duration::from_secs(1)).into());
//! assert_eq!(late.status().as_u16(), 504);
//! ```
//!
//! The body is empty here. The text of a rejection names your policies, and so the services behind yours: log it, and
//! think twice before you show it to a stranger.
//!
//! With the feature `http` there are three that tell no name:
//!
//! | rejected by | answers | a spent rate limiter is |
//! |---|---|---|
//! | the policies around a server | `http::server` | a 429 |
//! | this server's own policies, asked in a handler or a middleware | `http::rejection_response` | a 429 |
//! | the policies of a handler's own call to another service | `http::dependency_rejection_response` | a 503 |
//!
//! # A report says a rejection once
//!
//! A report prints an error and then all of its sources: `{:#}` of `anyhow`, for example. So an error that carries a
//! rejection has a text of its own, "call rejected", and the rejection is its source:
//!
//! ```
//! use withstand::{BulkheadFull, Rejected};
//!
//! # #[derive(Debug, thiserror::Error)]
//! # enum ApiError {
//! #     #[error("call rejected")]
//! #     Policy(#[from] Rejected),
//! # }
//! let error = ApiError::Policy(BulkheadFull::new("users", 8, None).into());
//! assert_eq!(error.to_string(), "call rejected");
//! assert_eq!(format!("{:#}", anyhow::Error::new(error)), "call rejected: bulkhead `users` is full (8 at once)");
//! ```
//!
//! With `#[error("{0}")]` on that variant the report would say the same text twice, because the source says it again.
//! The other way round, a log of `error.to_string()` alone does not say which policy it was: log the whole chain.
//!
//! [`BulkheadFull`]: crate::Rejected::BulkheadFull
//! [`CarriesRejected`]: crate::CarriesRejected
//! [`CarriesRejected::as_rejected`]: crate::CarriesRejected::as_rejected
//! [`CircuitOpen`]: crate::Rejected::CircuitOpen
//! [`RateLimited`]: crate::Rejected::RateLimited
//! [`Rejected`]: crate::Rejected
//! [`Rejected::find`]: crate::Rejected::find
//! [`TimedOut`]: crate::Rejected::TimedOut
//! [`flatten`]: crate::Error::flatten
//! [`http_status`]: crate::Rejected::http_status
//! [`into_boxed`]: crate::Error::into_boxed
//! [`attempts_sent`]: crate::Rejected::attempts_sent
//! [`lift`]: crate::lift
//! [`retry_after`]: crate::Rejected::retry_after
//! [`was_started`]: crate::Rejected::was_started
