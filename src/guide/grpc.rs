//! gRPC: policies around a tonic client, and what each code counts as.
//!
//! There are two ways, and the codes have the same verdicts in both:
//!
//! - **Plain form**, around the call of a generated client: [`by_grpc_code`]. It sees every code.
//! - **Tower form**, around the channel beneath the client: [`ByStatus::grpc_headers`]. It sees the head of an answer
//!   only.
//!
//! Choose the plain form where you can. A retry belongs there in any case: the body of a request to a channel cannot be
//! copied. The library does not depend on tonic: it is given the functions that read a code or a header.
//!
//! # What each code counts as
//!
//! | code | verdict | why |
//! |---|---|---|
//! | `OK` | [`Healthy`] | |
//! | `UNAVAILABLE` | [`Transient`] | The server, or the way to it, is down for now. |
//! | `RESOURCE_EXHAUSTED` | [`Throttled`] | The server is well, and asks you to slow down. |
//! | `DEADLINE_EXCEEDED`, `INTERNAL`, `DATA_LOSS` | [`Failed`] | Another attempt would not help, or is not safe. |
//! | `UNKNOWN`, `CANCELLED`, made by the client | [`Failed`] | The connection broke, or the channel's timeout passed. |
//! | `UNKNOWN`, `CANCELLED`, sent by the server | [`Healthy`] | Many servers say `UNKNOWN` for any error. |
//! | every other code | [`Healthy`] | It is an answer: the request was wrong, or nothing was found. |
//!
//! A status that the client made has a [`source`](std::error::Error::source). A status that the server sent has none.
//! [`errors_if`](crate::ByGrpcCode::errors_if) changes the verdict of the statuses that you name, before the table is
//! asked.
//!
//! A `RESOURCE_EXHAUSTED` never opens a circuit, and a retry sends another attempt for it. Where your server means by
//! it that a quota is spent for the day, say so: `.errors_if(is_quota, Verdict::Ignored)`.
//!
//! # Plain form
//!
//! ```
//! use std::time::Duration;
//! use tonic::Status;
//! use withstand::{ByGrpcCode, CircuitBreaker, Error, RetryWithBackoff, Timeout, by_grpc_code, lift};
//!
//! struct Stock {
//!     retry: RetryWithBackoff<ByGrpcCode<Status>>,
//!     breaker: CircuitBreaker<ByGrpcCode<Status>>,
//!     attempt: Timeout,
//! }
//!
//! impl Stock {
//!     fn new() -> Self {
//!         let by_code = by_grpc_code(Status::code)
//!             .metadata(|status, name| Some(status.metadata().get(name)?.as_encoded_bytes()));
//!         Self {
//!             retry: RetryWithBackoff::new("stock").classify(by_code.clone()),
//!             breaker: CircuitBreaker::new("stock").classify(by_code),
//!             attempt: Timeout::new(Duration::from_secs(1)),
//!         }
//!     }
//!
//!     async fn get(&self, item: u32) -> Result<u32, Error<Status>> {
//!         let Self { retry, breaker, attempt } = self;
//!         retry.call(|| breaker.call(|| attempt.call(|| lift(get_stock(item))))).await
//!     }
//! }
//!
//! /// What a generated client does: `client.clone().get_stock(request)`.
//! async fn get_stock(item: u32) -> Result<u32, Status> {
//!     // ...
//! #   if item == 7 { Ok(3) } else { Err(Status::not_found("no such item")) }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let stock = Stock::new();
//! assert_eq!(stock.get(7).await.unwrap(), 3);
//! // `NOT_FOUND` is an answer. It is not sent again, and does not count against the circuit.
//! let Err(Error::Inner(status)) = stock.get(8).await else { panic!("it is the server's own") };
//! assert_eq!(status.code(), tonic::Code::NotFound);
//! # assert_eq!(stock.breaker.snapshot().counts.consecutive_failures, 0);
//! # }
//! ```
//!
//! Where the status is inside an enum of yours, add [`.inside(..)`](crate::ByGrpcCode::inside). No `lift` is needed
//! then.
//!
//! # Pushback
//!
//! A server may say in `grpc-retry-pushback-ms` how many milliseconds to wait before the next attempt. The plain form
//! reads the entry if `metadata` is set; the tower form always reads it. A retry then waits at least that long. If the
//! value is negative, or cannot be read, the server asks for no other attempt, and the retry ends.
//!
//! ```
//! use std::time::Duration;
//! use tonic::Status;
//! use withstand::{Classify, Verdict, by_grpc_code};
//!
//! let by_code = by_grpc_code(Status::code)
//!     .metadata(|status, name| Some(status.metadata().get(name)?.as_encoded_bytes()));
//! let mut status = Status::unavailable("restarting");
//! status.metadata_mut().insert("grpc-retry-pushback-ms", "700".parse().unwrap());
//!
//! let retry_after = Some(Duration::from_millis(700));
//! assert_eq!(by_code.classify(&Err::<(), _>(status)), Verdict::Transient { retry_after });
//! ```
//!
//! # Tower form, and the trap of the trailers
//!
//! Around a channel every answer of a server is `Ok`, whatever its code is: the code is in the header `grpc-status`. It
//! is in the *head* of the answer only if the answer has no body ("trailers-only"), as most errors of unary calls are.
//! **A code that comes after a body is in the trailers, and a layer does not see it**: the answer counts as healthy.
//! Calls that stream are the common case. The plain form sees the code of a unary call there too, because a generated
//! client reads the answer to its end. An error in the middle of a stream that was already handed to you is seen by
//! neither: record it with a permit, [`CircuitBreaker::try_acquire`](crate::CircuitBreaker::try_acquire).
//!
//! Where the head has no `grpc-status`, the answer is judged by its HTTP status. A proxy answers 503 in that way.
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use withstand::{CircuitBreaker, LiftLayer, by_status};
//!
//! type Response = http::Response<()>; // a channel's is `http::Response<tonic::body::Body>`
//!
//! // In place of a channel: a server that is away.
//! let channel = service_fn(|_request: ()| async {
//!     Ok::<_, Infallible>(Response::builder().header("grpc-status", "14").body(()).unwrap())
//! });
//!
//! let by_head =
//!     by_status(Response::status).grpc_headers(|response, name| Some(response.headers().get(name)?.as_bytes()));
//! let breaker = CircuitBreaker::new("stock").classify(by_head);
//! let stock = ServiceBuilder::new().layer(breaker.layer()).layer(LiftLayer).service(channel);
//!
//! assert_eq!(stock.oneshot(()).await.unwrap().status(), 200);
//! assert_eq!(breaker.snapshot().counts.consecutive_failures, 1);
//! # }
//! ```
//!
//! # The time of the caller
//!
//! A client of gRPC tells in `grpc-timeout` how long it waits. With the features `http` and `tower` a server gives each
//! request that deadline. Inside, `attempt.remaining` of a pipeline, or `Deadline::remaining()`, is what to tell the
//! next service:
//!
//! ```
//! # #[cfg(all(feature = "http", feature = "tower"))]
//! # fn main() {
//! use std::time::Duration;
//! use http::Request;
//! use tonic::{body::Body, transport::Server};
//! use withstand::{Deadline, http::grpc_timeout};
//!
//! let server = Server::builder().layer(Deadline::layer_fn(|request: &Request<Body>| grpc_timeout(request.headers())));
//!
//! fn ask(left: Option<Duration>) -> tonic::Request<()> {
//!     let mut request = tonic::Request::new(());
//!     if let Some(left) = left {
//!         request.set_timeout(left);
//!     }
//!     request
//! }
//! # drop(server);
//! # let written = |left| grpc_timeout(&ask(left).metadata().clone().into_headers());
//! # assert_eq!(written(Some(Duration::from_millis(700))), Some(Duration::from_millis(700)));
//! # assert_eq!(written(Some(Duration::from_secs(7_000_000))), Some(Duration::from_secs(7_000_000)));
//! # assert_eq!(written(None), None);
//! # }
//! # #[cfg(not(all(feature = "http", feature = "tower")))]
//! # fn main() {}
//! ```
//!
//! # A rejection that reaches a generated client
//!
//! A generated client makes a status of an error that comes from a layer below it. For an error that tonic does not
//! know the code is `UNKNOWN`, and the error is the source of the status. So the rejection can be found:
//!
//! ```
//! use tonic::{Code, Status};
//! use withstand::{CircuitOpen, Error, Rejected};
//!
//! // What tonic makes of the error of a layer.
//! let error: Error<tonic::transport::Error> = Error::Rejected(CircuitOpen::new("stock", None).into());
//! let status = Status::from_error(error.into());
//!
//! assert_eq!(status.code(), Code::Unknown);
//! assert!(matches!(Rejected::find(&status), Some(Rejected::CircuitOpen(_))));
//! ```
//!
//! [`by_grpc_code`] looks for the rejection too. So a retry around the client sees the open circuit of a layer below
//! the client, and does not send another attempt.
//!
//! For a code that says what it is, turn the error into a status yourself, in a `map_err` outside of all policies.
//! [`Rejected::grpc_code`](crate::Rejected::grpc_code) is `UNAVAILABLE` for an open circuit, `RESOURCE_EXHAUSTED` for a
//! full bulkhead and for a spent rate limiter, and `DEADLINE_EXCEEDED` for a timeout. Keep the rejection as the source;
//! the docs of [`ByStatus::grpc_headers`] have the function.
//!
//! [`ByStatus::grpc_headers`]: crate::ByStatus::grpc_headers
//! [`Failed`]: crate::Verdict::Failed
//! [`Healthy`]: crate::Verdict::Healthy
//! [`Throttled`]: crate::Verdict::Throttled
//! [`Transient`]: crate::Verdict::Transient
//! [`by_grpc_code`]: crate::by_grpc_code
