//! Keeps a service answering while the services it depends on fail.
//!
//! ```
//! use std::time::Duration;
//! use withstand::{CircuitBreaker, RetryWithBackoff, Timeout};
//!
//! # async fn fetch_user(id: u64) -> std::io::Result<String> { Ok(format!("user {id}")) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let retry = RetryWithBackoff::new("users");
//! let breaker = CircuitBreaker::new("users");
//! let timeout = Timeout::new(Duration::from_secs(2));
//!
//! let user = retry.call(|| breaker.call(|| timeout.call(|| fetch_user(7)))).await?;
//! # assert_eq!(user, "user 7");
//! # Ok(()) }
//! ```
//!
//! # The policies
//!
//! | policy | answers | when not |
//! |---|---|---|
//! | [`CircuitBreaker`] | is it worth asking at all? | no other call profits from what this one learned |
//! | [`RetryWithBackoff`] | may it work next time? | the call is not idempotent |
//! | [`Timeout`] | how long is it worth waiting? | never leave it out |
//! | [`Bulkhead`] | how much of me may it take? | the dependency bounds itself |
//! | [`Fallback`] | what do I say instead? | a wrong answer is worse than none |
//!
//! Each opens through two doors: `policy.call(|| operation)`, and `policy.layer()` for tower. A policy is a handle:
//! clones share its state, and so do layers, and the siblings for other types of answer that `policy.classify(..)`
//! makes. Make one for each dependency, once.
//!
//! # Order
//!
//! Outermost first: [`Fallback`], [`Bulkhead`], [`Timeout`] (total), [`RetryWithBackoff`], [`CircuitBreaker`],
//! [`Timeout`] (per attempt). So the breaker sees each attempt, the retry sees an open circuit and stops, the total
//! bounds all tries and the sleeps between them (a wait in the bulkhead's line, of at most its `max_wait`, comes
//! before), and the fallback answers for whatever is left.
//!
//! # Errors
//!
//! A policy never changes your error type. It asks that the error can carry a [`Rejected`], by [`CarriesRejected`]:
//!
//! - your own enum: one variant and one line, [`carries_rejected!`];
//! - a foreign error, plain: wrap the operation, once, at the bottom: [`lift`];
//! - a foreign error, tower: `LiftLayer` last, next to the service;
//! - `Box<dyn Error + Send + Sync>`, [`std::io::Error`] and `anyhow::Error` carry it as they are.
//!
//! Lift once: a second `lift` above a policy hides its rejection from a retry further up.
//!
//! # Verdicts
//!
//! What a result says about the dependency is a [`Verdict`], the same for every policy:
//!
//! | verdict | means | breaker | retry | fallback |
//! |---|---|---|---|---|
//! | [`Healthy`](Verdict::Healthy) | it answered; a 404 is an answer too | a success | done | left alone |
//! | [`Transient`](Verdict::Transient) | it failed, another attempt may cure it | a failure | another attempt | handled |
//! | [`Failed`](Verdict::Failed) | it failed, another attempt would not help | a failure | done | handled |
//! | [`Unreached`](Verdict::Unreached) | nothing was sent | a failure | another attempt | handled |
//! | [`Throttled`](Verdict::Throttled) | it is well, and asks you to slow down | ignored | another attempt, not before its time | handled |
//! | [`Ignored`](Verdict::Ignored) | it says nothing about the dependency | ignored | done | handled |
//!
//! By default ([`ByError`]) `Ok` is healthy, an open circuit and a full bulkhead are ignored, and every other error, a
//! timeout included, is transient. [`by_error`] adds rules to that. [`by_status`] judges HTTP answers,
//! [`by_error_status`] errors that have a status, [`by_grpc_code`] errors of a gRPC client. [`classify_fn`] wraps a
//! closure.
//!
//! # In a struct
//!
//! What a policy is classified by is part of its type, and so is what a fallback yields. Functions in place of
//! closures, or `Arc<dyn Classify>`, give them names:
//!
//! ```
//! use std::{io, sync::Arc};
//! use withstand::{by_status, fallback, ByStatus, CircuitBreaker, Classify, Fallback, RetryWithBackoff};
//!
//! struct Answer {
//!     status: u16,
//!     body: String,
//! }
//!
//! struct Users {
//!     retry: RetryWithBackoff,
//!     breaker: CircuitBreaker<ByStatus<fn(&Answer) -> u16>>,
//!     other: CircuitBreaker<Arc<dyn Classify<Answer, io::Error> + Send + Sync>>,
//!     nobody: Fallback<fallback::Value<String>>,
//!     cached: Fallback<fallback::ErrorFn<fn(io::Error) -> io::Result<String>>>,
//! }
//! # fn status(answer: &Answer) -> u16 { answer.status }
//! # fn cached(_: io::Error) -> io::Result<String> { Ok(String::new()) }
//! # let breaker = CircuitBreaker::new("users");
//! # let by_status = by_status(status as fn(&Answer) -> u16);
//! # let users = Users {
//! #     retry: RetryWithBackoff::new("users"),
//! #     breaker: breaker.classify(by_status.clone()),
//! #     other: breaker.classify(Arc::new(by_status)),
//! #     nobody: Fallback::value(String::new()),
//! #     cached: Fallback::from_fn(cached),
//! # };
//! # let _ = (users.retry, users.breaker, users.other, users.nobody, users.cached, Answer { status: 200, body: String::new() }.body);
//! ```
//!
//! # Tests
//!
//! All time is tokio's: under `#[tokio::test(start_paused = true)]`, `tokio::time::advance` moves every policy.
//!
//! # Traps
//!
//! - An `Err` is a failure of the dependency, "no such user" among them: it is tried again, pays from the budget and
//!   counts against the circuit. Make what the dependency says of a request a part of the answer, or
//!   [`classify`](CircuitBreaker::classify), by [`by_error_status`] say.
//! - A call is made when `call` is, not when it is awaited: slots and probes are taken, clocks run. Collecting many
//!   calls before awaiting any has them all begun.
//! - In a spawned task put `move` on the outermost `async` block, not on the closure of a retry.
//! - `Ok(x?)` inside a closure does not tell its error type: name an `async fn`, or write `Ok::<_, ApiError>`.
//! - A timeout outside of a breaker hides a black hole from it: see [cancel safety](circuit_breaker#cancel-safety).
//! - An open breaker is ready, and fast: a load balancer that routes by either will like it.
//!
//! # Features
//!
//! - `tower` (default): the layers and services.
//! - `tracing` (default): the policies' events as `tracing` events, the target being the policy's module
//!   (`withstand::circuit_breaker`). A circuit that opens is a WARN, one that closes or is half-open an INFO, a retry
//!   an INFO, a rejection a DEBUG event. They do not say why a try failed, for an error need not be printable: say that
//!   in the operation.
//! - `anyhow`: `anyhow::Error` carries rejections.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod bulkhead;
mod carry;
pub mod circuit_breaker;
mod classify;
mod clock;
#[cfg(feature = "tower")]
mod clone_request;
mod error;
mod event;
pub mod fallback;
mod operation;
mod panics;
mod random;
pub mod retry;
mod retry_after;
#[cfg(feature = "tower")]
mod share;
mod sync;
pub mod timeout;
mod window;

#[doc(inline)]
pub use self::{
    bulkhead::{Bulkhead, BulkheadAcquire, BulkheadBuilder, BulkheadEvent, BulkheadFuture, BulkheadPermit},
    carry::{CarriesRejected, Error, LiftFuture, lift},
    circuit_breaker::{
        CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerEvent, CircuitBreakerFuture, CircuitBreakerPermit,
    },
    classify::{
        ByError, ByErrorStatus, ByGrpcCode, ByGrpcCodeInside, ByStatus, Classify, ClassifyFn, RetryIf, Verdict,
        by_error, by_error_status, by_grpc_code, by_status, classify_fn,
    },
    error::{BadSetting, BulkheadFull, CircuitOpen, ConfigError, Elapsed, Name, Rejected},
    fallback::{Fallback, FallbackEvent, FallbackFuture},
    retry::{RetryBudget, RetryBudgetBuilder, RetryBuilder, RetryEvent, RetryFuture, RetryWithBackoff},
    retry_after::parse_retry_after,
    timeout::{Timeout, TimeoutEvent, TimeoutFuture},
};
#[cfg(feature = "tower")]
#[doc(inline)]
pub use self::{
    bulkhead::{BulkheadLayer, BulkheadService},
    carry::{LiftLayer, LiftService},
    circuit_breaker::{CircuitBreakerLayer, CircuitBreakerService},
    fallback::{FallbackLayer, FallbackService},
    retry::{RetryLayer, RetryService},
    timeout::{TimeoutLayer, TimeoutService},
};

// What only signatures name.
#[doc(hidden)]
pub use self::{
    classify::{ErrorRules, GrpcHeaders, HeaderFn, Hint, JudgeError},
    operation::{Operation, ResultFuture},
};
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::{
    clone_request::{ByClone, CloneFn, CloneRequest},
    operation::{SendRequest, SendRequestFuture},
};

/// The README's examples compile.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../README.md")]
struct Readme;
