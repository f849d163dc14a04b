//! HTTP: policies around a client (reqwest) and around a server (axum). Needs the feature `http`.
//!
//! # A client, plain call
//!
//! ```
//! use std::time::Duration;
//! use reqwest::{Client, Response};
//! use withstand::{
//!     CircuitBreaker, Error, NotIdempotent, RetryWithBackoff, Timeout, Verdict,
//!     http::{ByResponse, by_headers},
//!     lift,
//! };
//!
//! type Judge = ByResponse<Response, reqwest::Error>;
//!
//! struct Users {
//!     client: Client,
//!     retry: RetryWithBackoff<Judge>,
//!     retry_orders: RetryWithBackoff<NotIdempotent<Judge>>,
//!     breaker: CircuitBreaker<Judge>,
//!     attempt: Timeout,
//! }
//!
//! impl Users {
//!     fn new(client: Client) -> Self {
//!         let judge = by_headers(Response::status, Response::headers)
//!             .errors_if(|error: &reqwest::Error| error.is_builder(), Verdict::Ignored) // it was never sent
//!             .errors_if(reqwest::Error::is_connect, Verdict::Unreached); // it was not sent either, but may be again
//!         let retry = RetryWithBackoff::new("users").classify(judge.clone());
//!         Self {
//!             client,
//!             retry_orders: retry.not_idempotent(),
//!             retry,
//!             breaker: CircuitBreaker::new("users").classify(judge),
//!             attempt: Timeout::new(Duration::from_secs(2)),
//!         }
//!     }
//!
//!     /// A GET is sent again after any failure that another attempt may cure.
//!     async fn get(&self, url: &str) -> Result<Response, Error<reqwest::Error>> {
//!         let Self { client, retry, breaker, attempt, .. } = self;
//!         retry.call(|| breaker.call(|| attempt.call(|| lift(client.get(url).send())))).await
//!     }
//!
//!     /// A POST is sent again only if it had no effect: the connection was refused, or the server said 429.
//!     async fn order(&self, url: &str, body: &str) -> Result<Response, Error<reqwest::Error>> {
//!         let Self { client, retry_orders, breaker, attempt, .. } = self;
//!         let send = || client.post(url).body(body.to_owned()).send();
//!         retry_orders.call(|| breaker.call(|| attempt.call(|| lift(send())))).await
//!     }
//! }
//! # let _ = (Users::get, Users::order, Users::new);
//! ```
//!
//! The circuit counts an answer by its status: a 404 is an answer, a 503 is a failure. `Retry-After`, and the headers
//! of a quota that is spent, set the wait before the next attempt.
//!
//! # A client, tower layer
//!
//! One retry serves all methods, because it can ask the request:
//!
//! ```
//! use reqwest::{Request, Response};
//! use tower::ServiceBuilder;
//! use withstand::{
//!     LiftLayer, RetryWithBackoff, Verdict,
//!     http::{Idempotent, IdempotencyKeyLayer, by_headers},
//! };
//!
//! let judge = by_headers(Response::status, Response::headers)
//!     .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
//! let idempotent = Idempotent::of(Request::try_clone, Request::method, Request::headers);
//! let client = ServiceBuilder::new()
//!     .layer(IdempotencyKeyLayer::of(Request::method, Request::headers_mut)) // if the server knows these keys
//!     .layer(RetryWithBackoff::new("payments").classify(judge).layer().clone_request_by(idempotent))
//!     .layer(LiftLayer)
//!     .service(reqwest::Client::new());
//! ```
//!
//! For requests of the crate `http`, as hyper's client takes them, it is `Idempotent::new()`,
//! `IdempotencyKeyLayer::new()` and [`by_response()`].
//!
//! # Which requests are sent again
//!
//! | request | after a failure | after `Unreached` or `Throttled` |
//! |---|---|---|
//! | `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE` | yes | yes |
//! | any method, with an `Idempotency-Key` | yes | yes |
//! | any other | no | yes |
//! | one whose body cannot be copied | no | no |
//!
//! # Traps of a client
//!
//! - A key that is made inside the closure of a retry is another one for each attempt, and the server acts on each.
//!   Make it before: [`idempotency_key`].
//! - `error_for_status()` loses the headers, and with them `Retry-After`. Call it behind the policies.
//! - A body that streams cannot be copied, so it is sent once. A retry's event says `NotRepeatable`.
//! - A policy judges the head of an answer. What fails while the body is read is behind it: read the body inside the
//!   closure, where that matters.
//! - Redirects and a client's own retries are inside of an attempt: count them in its timeout.
//!
//! # A server
//!
//! [`server()`] answers what the policies reject, so the `Router` stays as it is:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use tower::ServiceBuilder;
//! use withstand::{Bulkhead, Timeout, http};
//!
//! # fn app() -> Result<Router, withstand::ConfigError> {
//! let requests = Bulkhead::builder("requests", 512).queue(512, Duration::from_millis(250)).build()?;
//! let policies =
//!     ServiceBuilder::new().layer(requests.layer()).layer(Timeout::new(Duration::from_secs(10)).layer());
//! let app = Router::new()
//!     .route("/users", get(async || "all users"))
//!     .layer(http::server(policies))
//!     .route("/health", get(async || "well")); // is not limited
//! # Ok(app) }
//! # app().unwrap();
//! ```
//!
//! A client gets 503 or 504, `Retry-After` where that is known, and a problem in JSON:
//!
//! ```text
//! HTTP/1.1 503 Service Unavailable
//! content-type: application/problem+json
//! retry-after: 1
//! cache-control: no-store
//!
//! {"title":"Service Unavailable","status":503,
//!  "detail":"The service has as many requests as it can take.","retry_after":1}
//! ```
//!
//! A handler whose own call to another service is rejected answers in the same way:
//!
//! ```
//! use axum::{body::Body, response::{IntoResponse, Response}};
//! use withstand::{Error, http::rejection_response};
//!
//! struct Failure(Error<reqwest::Error>);
//!
//! impl IntoResponse for Failure {
//!     fn into_response(self) -> Response {
//!         match self.0 {
//!             Error::Rejected(rejected) => rejection_response::<Body>(&rejected),
//!             Error::Inner(_) => axum::http::StatusCode::BAD_GATEWAY.into_response(),
//!         }
//!     }
//! }
//! ```
//!
//! # Traps of a server
//!
//! - No retry on a server: a stack that has one is refused when it is built.
//! - A slot is free again when the head of the response is there. For bodies that stream, hold it for longer:
//!   `bulkhead.layer().hold_until_body_ends()`, with the feature `http-body`.
//! - A timeout covers the handler, and not the body that it streams.
//! - `X-Forwarded-For` is written by anyone. [`client_ip`] reads it from the right, past as many proxies as are yours;
//!   under IPv6 count clients by [`ip_key`].
//!
//! [`by_response()`]: crate::http::by_response
//! [`client_ip`]: crate::http::client_ip
//! [`idempotency_key`]: crate::http::idempotency_key
//! [`ip_key`]: crate::http::ip_key
//! [`server()`]: crate::http::server()
