//! Keeps a service answering while the services that it depends on fail.
//!
//! Make one [`Pipeline`] for each service that you call, and put each call into it:
//!
//! ```
//! use withstand::Pipeline;
//!
//! # async fn fetch_user(id: u64) -> std::io::Result<String> { Ok(format!("user {id}")) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
//! let users = Pipeline::standard("users"); // once, where you make the client
//! let user = users.call(|| fetch_user(7)).await?;
//! # assert_eq!(user, "user 7");
//! # Ok(()) }
//! ```
//!
//! The same as a tower layer:
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
//! let users = ServiceBuilder::new()
//!     .layer(Pipeline::standard("users").layer())
//!     .service(service_fn(|id: u64| async move { Ok::<_, BoxError>(format!("user {id}")) }));
//!
//! assert_eq!(users.oneshot(7).await?, "user 7");
//! # Ok(()) }
//! ```
//!
//! This pipeline ends an attempt after 2 s and the call after 5 s. It sends a failed attempt again, up to twice, while
//! its budget for that lasts. It stops calling while the service is down. All of that is in
//! [one table](pipeline#standard).
//!
//! Three questions come next:
//!
//! 1. **What is a failure?** Without a classifier it is every `Err`, and no `Ok`: see [Verdicts](#verdicts).
//! 2. **May the call be sent twice?** If not, call [`users.not_idempotent()`](Pipeline::not_idempotent).
//! 3. **Can my error type say that a call was rejected?** If the compiler says that it cannot: see [Errors](#errors).
//!
//! **The [guide]** has a page for each task: [a pipeline](guide::pipeline) from the first line to your own numbers,
//! [choosing policies](guide::choosing), [errors](guide::errors), [settings from a file](guide::settings), HTTP
//! (`guide::http`), [gRPC](guide::grpc), [one for each host](guide::per_host), [testing](guide::testing), and
//! [migrating from another library](guide::migrating).
//!
//! # The policies
//!
//! A pipeline is made of them. Each is there alone too, for where one is enough.
//!
//! | policy | answers | when not |
//! |---|---|---|
//! | [`Timeout`] | How long is it worth waiting? | never leave it out |
//! | [`RetryWithBackoff`] | May it work next time? | the call may not be sent twice, or is retried elsewhere |
//! | [`CircuitBreaker`] | Is it worth calling at all? | no other call learns from this one |
//! | [`Bulkhead`] | How many calls may run at once? | the dependency, or the client's pool, has such a limit |
//! | [`RateLimiter`] | How many calls may begin in each period? | only how many run at once matters |
//! | [`Fallback`] | What do I answer instead? | a wrong answer is worse than none |
//!
//! Each has a plain call, `policy.call(|| operation)`, and a tower layer, `policy.layer()`. A policy is a handle, and
//! so is a pipeline: clones and layers share the state. So do the handles for other types of answer that
//! `policy.classify(..)` makes. Make one for each dependency, once. What goes beyond one dependency and one program:
//!
//! - [`Keyed`] has a policy or a pipeline for each key: for each host, tenant or address.
//! - [`Deadline`] says until when your own caller waits. All policies inside its scope plan within it.
//! - [`settings`] are plain data, which can be read from a file and changed while calls run.
//! - `http` says which requests may be sent again and what headers say, and answers for a server (feature `http`).
//!
//! Handles, builders, layers, permits, events, errors and classifiers are at the root of the crate. What belongs to one
//! policy alone is in its module: [`circuit_breaker::Window`], [`circuit_breaker::State`], [`retry::Backoff`],
//! [`retry::Jitter`].
//!
//! # Order
//!
//! A pipeline always has it. If you nest policies by hand, keep it. Outermost first: [`Fallback`], [`Timeout`] (total),
//! [`RateLimiter`], [`Bulkhead`], [`RetryWithBackoff`], [`CircuitBreaker`], [`Timeout`] (attempt).
//!
//! - The breaker counts each attempt. The retry sees an open circuit, and stops.
//! - A call holds its slot of the bulkhead over all of its attempts, and over the sleeps between them.
//! - The rate limiter counts calls, not attempts. A call that waits for its permit holds no slot of the bulkhead.
//! - The total timeout limits all of that, and the waits in the queues too. If it ends while the call is queued, the
//!   call ends with [`Rejected::TimedOut`].
//! - The fallback answers for whatever is left.
//!
//! [The guide](guide::choosing#the-order-and-why) has the reasons.
//!
//! # Errors
//!
//! A policy never changes your error type. It asks that the error can carry a [`Rejected`], by [`CarriesRejected`]:
//!
//! - An enum of your own: one variant and one line, [`carries_rejected!`].
//! - A foreign error, plain call: wrap the operation once, innermost, by [`lift`].
//! - A foreign error, tower: add `LiftLayer` as the last layer, next to the service.
//! - `Box<dyn Error + Send + Sync>`, [`std::io::Error`] and, with the feature `anyhow`, `anyhow::Error`: nothing to do.
//!
//! Lift once: a second `lift` around a policy hides its rejection from a retry further out.
//! [The guide](guide::errors) shows each of them, and how to answer an HTTP caller.
//!
//! # Verdicts
//!
//! What a result says about the dependency is a [`Verdict`], the same for every policy:
//!
//! | verdict | means | breaker | retry | fallback |
//! |---|---|---|---|---|
//! | [`Healthy`](Verdict::Healthy) | It answered. A 404 is an answer too. | a success | done | left alone |
//! | [`Transient`](Verdict::Transient) | It failed. Another attempt may help. | a failure | another attempt | handled |
//! | [`Failed`](Verdict::Failed) | It failed. Another attempt would not help. | a failure | done | handled |
//! | [`Unreached`](Verdict::Unreached) | Nothing was sent. | a failure | another attempt | handled |
//! | [`Throttled`](Verdict::Throttled) | It asks you to slow down. | ignored | another attempt, later | handled |
//! | [`Ignored`](Verdict::Ignored) | It says nothing about the dependency. | ignored | done | handled |
//!
//! By default ([`ByError`]) an `Ok` is healthy. An open circuit, a full bulkhead and a spent rate limiter are ignored.
//! Every other error, a timeout included, is transient.
//!
//! - [`by_error`] adds rules for errors to that.
//! - [`by_status`] judges HTTP answers, and [`by_error_status`] judges errors that have a status. With the feature
//!   `http`, `http::by_response` reads the headers of an answer too.
//! - [`by_grpc_code`] judges the errors of a gRPC client.
//! - [`classify_fn`] wraps a closure.
//!
//! One classifier is enough for a pipeline: it serves all parts, the fallback too. A fallback alone handles every error
//! until it is given a classifier.
//!
//! # In a struct
//!
//! [`BoxPipeline<T, E>`](pipeline::BoxPipeline) names the types of the answer and of the error, and nothing else:
//!
//! ```
//! use std::io;
//! use withstand::{Pipeline, by_status, pipeline::BoxPipeline};
//!
//! struct Answer {
//!     status: u16,
//!     body: String,
//! }
//!
//! struct Users {
//!     pipeline: BoxPipeline<Answer, io::Error>,
//! }
//!
//! let by_status = by_status(|answer: &Answer| answer.status);
//! let users = Users { pipeline: Pipeline::standard("users").classify(by_status).boxed() };
//! let in_a_test = Users { pipeline: BoxPipeline::none() }; // it only makes the call
//! # let _ = (users.pipeline, in_a_test.pipeline, Answer { status: 200, body: String::new() }.body);
//! ```
//!
//! A pipeline that is not boxed, and a policy alone, have the classifier in their type, and a fallback's type says what
//! it answers with. Functions in place of closures make types that you can write:
//!
//! ```
//! use std::io;
//! use withstand::{ByErrorStatus, CircuitBreaker, Fallback, Pipeline, by_error_status, fallback};
//!
//! struct Users {
//!     pipeline: Pipeline<ByErrorStatus<io::Error>>,
//!     breaker: CircuitBreaker<ByErrorStatus<io::Error>>,
//!     nobody: Fallback<fallback::Value<String>>,
//!     cached: Fallback<fallback::ErrorFn<fn(io::Error) -> io::Result<String>>>,
//! }
//!
//! fn status_of_error(error: &io::Error) -> Option<u16> {
//!     (error.kind() == io::ErrorKind::NotFound).then_some(404)
//! }
//!
//! fn cached(_: io::Error) -> io::Result<String> {
//!     Ok("a user from the cache".to_owned())
//! }
//!
//! let users = Users {
//!     pipeline: Pipeline::standard("users").classify(by_error_status(status_of_error)),
//!     breaker: CircuitBreaker::new("users").classify(by_error_status(status_of_error)),
//!     nobody: Fallback::value("nobody".to_owned()),
//!     cached: Fallback::from_fn(cached),
//! };
//! # let _ = (users.pipeline, users.breaker, users.nobody, users.cached);
//! ```
//!
//! [The guide](guide::choosing#one-pipeline-for-each-dependency) has a whole client.
//!
//! # Tests
//!
//! All time is tokio's. Under `#[tokio::test(start_paused = true)]`, `tokio::time::advance` moves every policy. The
//! default breaker never opens if all its calls are made at one instant, because its rules ask for failures that span a
//! time. Build the breaker of a test with `.consecutive_failures(3, Duration::ZERO)`. Where a test is not about
//! policies, take [`BoxPipeline::none()`](pipeline::BoxPipeline::none). See the [guide](guide::testing).
//!
//! # Traps
//!
//! Errors and verdicts:
//!
//! - By default every `Err` is a failure of the dependency, "no such user" too. It is sent again, pays from the budget,
//!   and counts against the circuit. Make such an answer an `Ok`, or give the policy a classifier, [`by_error_status`]
//!   for example.
//! - By default every `Ok` is a success: a response with the status 503 too. Give HTTP clients [`by_status`], or
//!   `http::by_response`. A retry that is exhausted still ends as it would without a retry, as an `Ok` with the 503 in
//!   it: look at the status behind the call.
//! - tower's own rejections, load shed for example, count as failures of the dependency if they come from inside the
//!   breaker. Put that layer outside of the breaker, or name its errors by a rule: [`by_error`].
//! - In gRPC the plain form sees a status in the trailers. The tower form sees only the status in the head of the
//!   answer. See [the guide](guide::grpc#tower-form-and-the-trap-of-the-trailers).
//! - `Ok(x?)` inside a closure does not tell its error type: call a named `async fn`, or write `Ok::<_, ApiError>`.
//!
//! Time:
//!
//! - The client's own timeout, that of reqwest for example, cuts attempts below a pipeline: what it ends is an error of
//!   the client, and no [`Rejected::TimedOut`]. Leave it out; its connect timeout is good.
//! - A layer or a call sees the head of a response. A body that is read outside of it has no timeout: read it inside
//!   the operation, or give it one of its own.
//! - A total timeout that is not longer than the attempt timeout always ends the call first. A pipeline refuses that.
//! - A timeout outside of a breaker, without one inside, hides from it a dependency that never answers: see
//!   [cancel safety](circuit_breaker#cancel-safety). So does a pipeline with a total timeout and no attempt timeout.
//! - `deadline.scope(service.call(request))` does nothing for what `call` starts at once: write
//!   `deadline.scope(async { service.call(request).await })`. Around a server take `Deadline::layer_fn`.
//! - A [`Deadline`] is of its task. A task that is spawned inside its scope is outside of it. It ends waits, and by
//!   itself no operation: that needs a timeout inside. What it ends is [`Ignored`](Verdict::Ignored) by the circuit.
//!
//! Nesting:
//!
//! - Never nest a circuit in itself. When it is half-open, the outer call takes the slot of the probe. The inner call
//!   is rejected, and the circuit cannot close.
//! - Two retries around each other multiply their attempts: a retry in a pipeline and one in the client, too.
//! - `failure_rate(..)` does not replace the default rule of consecutive failures: see [`CircuitBreaker::by_rate`].
//!
//! Keys and names:
//!
//! - A whole URL is no key: each page would have a circuit of its own, and none would open. Take the host and the port,
//!   `http::authority`; of an IPv6 client its network, `http::ip_key`. See [the guide](guide::per_host#choose-the-key).
//! - Keys come from outside, so choose the capacity above what is in use at once: keys beyond it share one policy.
//! - The name of a policy is in errors and logs. A key that is a secret needs another name:
//!   [`Keyed::named_builder`].
//!
//! Futures and tasks:
//!
//! - A call begins when `call` is called, not when its future is awaited: slots and probes are taken, and clocks run.
//!   If you collect many calls before you await any, all of them have begun.
//! - In a spawned task put `move` on the outermost `async` block, not on the closure of a retry.
//! - `service.oneshot(request)` inside a spawned block, where the error is a `BoxError` or an `anyhow::Error`, may not
//!   compile: "implementation of `CarriesRejected` is not general enough". Call
//!   `service.ready().await?.call(request).await` instead. Or spawn `service.oneshot(request)` itself. Or box the
//!   service (`BoxCloneService`).
//!
//! tower:
//!
//! - A layer with a retry copies each request by `Clone`, and sends all of them again. Say which may be sent twice:
//!   `clone_request_by(http::Idempotent::new())`.
//! - An open breaker is ready, and answers fast. A load balancer that chooses by readiness or by speed prefers it.
//!   `pending_while_open()` of its layer makes it pending instead.
//! - A service clones its classifier for each call. A classifier with rules shares them, so its clone costs one atomic
//!   operation.
//!
//! # Features
//!
//! - `tower` (default): the layers and services.
//! - `tracing` (default): the policies' events as `tracing` events. The target is the policy's module, for example
//!   `withstand::circuit_breaker`. A circuit that opens, or is forced open, is a WARN. Every other change of its state
//!   is an INFO. All that may happen at each call (a rejection, another attempt, a timeout, a fallback) is a DEBUG
//!   event. The events do not say why an attempt failed, because an error need not be printable: log that in the
//!   operation.
//! - `anyhow`: `anyhow::Error` carries rejections.
//! - `http`: the module `http`, what HTTP clients and servers need. It brings the crate `http` alone.
//! - `http-body`: `bulkhead.layer().hold_until_body_ends()`, for responses whose bodies take long.
//! - `serde`: the [`settings`] can be read from files, and written.
//! - `schemars`: a JSON schema of the settings, by which editors complete and check a file.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod bulkhead;
mod carry;
pub mod circuit_breaker;
mod classify;
mod clock;
#[cfg(feature = "tower")]
mod clone_request;
mod deadline;
#[cfg(feature = "serde")]
mod duration_text;
mod error;
mod event;
pub mod fallback;
pub mod guide;
#[cfg(feature = "http")]
pub mod http;
pub mod keyed;
#[cfg(all(feature = "http", feature = "tower"))]
mod on_server;
mod operation;
mod panics;
pub mod pipeline;
mod queue;
mod random;
pub mod rate_limiter;
mod rejections;
pub mod retry;
mod retry_after;
pub mod settings;
#[cfg(feature = "tower")]
mod share;
mod slow_path;
mod sync;
pub mod timeout;
mod window;

#[doc(inline)]
pub use self::{
    bulkhead::{
        Bulkhead, BulkheadAcquire, BulkheadBuilder, BulkheadEvent, BulkheadFuture, BulkheadPermit, BulkheadSettings,
    },
    carry::{CarriesRejected, Error, LiftFuture, lift},
    circuit_breaker::{
        CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerEvent, CircuitBreakerFuture, CircuitBreakerPermit,
        CircuitBreakerSettings,
    },
    classify::{
        ByError, ByErrorStatus, ByGrpcCode, ByGrpcCodeInside, ByStatus, Classify, ClassifyFn, NotIdempotent, RetryIf,
        Verdict, by_error, by_error_status, by_grpc_code, by_status, classify_fn,
    },
    deadline::{Deadline, DeadlineScope},
    error::{BadSetting, BulkheadFull, CircuitOpen, ConfigError, Elapsed, Name, RateLimited, Rejected},
    fallback::{Fallback, FallbackEvent, FallbackFuture},
    keyed::{Keyed, KeyedBuilder, KeyedEvent, KeyedPolicy},
    pipeline::{Pipeline, PipelineBuilder, PipelineFuture},
    rate_limiter::{
        RateLimiter, RateLimiterAcquire, RateLimiterBuilder, RateLimiterEvent, RateLimiterFuture, RateLimiterSettings,
    },
    retry::{RetryBudget, RetryBudgetBuilder, RetryBuilder, RetryEvent, RetryFuture, RetrySettings, RetryWithBackoff},
    retry_after::parse_retry_after,
    timeout::{Timeout, TimeoutEvent, TimeoutFuture},
};
#[cfg(feature = "tower")]
#[doc(inline)]
pub use self::{
    bulkhead::{BulkheadLayer, BulkheadService},
    carry::{LiftLayer, LiftService},
    circuit_breaker::{CircuitBreakerLayer, CircuitBreakerService},
    deadline::{DeadlineLayer, DeadlineService},
    fallback::{FallbackLayer, FallbackService},
    keyed::{KeyedLayer, KeyedService},
    pipeline::{PipelineLayer, PipelineService},
    rate_limiter::{RateLimiterLayer, RateLimiterService},
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
    clone_request::{ByClone, CloneFn, CloneRequest, SendOnce},
    operation::{SendRequest, SendRequestFuture},
};

/// The README's examples compile.
#[cfg(all(doctest, feature = "http", feature = "serde", feature = "tower"))]
#[doc = include_str!("../README.md")]
struct Readme;
