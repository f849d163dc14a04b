//! HTTP: policies around a client (reqwest) and around a server (axum). Needs the feature `http`.
//!
//! # A client, plain call
//!
//! ```
//! use reqwest::{Client, Response};
//! use withstand::{Error, Pipeline, Verdict, http::by_headers, lift, pipeline::BoxPipeline};
//!
//! type HttpError = Error<reqwest::Error>; // the client's error, or a rejection
//!
//! #[derive(Clone)]
//! struct Users {
//!     client: Client,
//!     pipeline: BoxPipeline<Response, HttpError>,
//! }
//!
//! impl Users {
//!     fn new(client: Client) -> Self {
//!         let judge = by_headers(Response::status, Response::headers)
//!             .errors_if(reqwest::Error::is_builder, Verdict::Ignored) // it was never sent
//!             .errors_if(reqwest::Error::is_connect, Verdict::Unreached); // it was not sent either, but may be again
//!         Self { client, pipeline: Pipeline::standard("users").classify(judge).boxed() }
//!     }
//!
//!     /// A GET is sent again after any failure that another attempt may cure.
//!     async fn get(&self, url: &str) -> Result<Response, HttpError> {
//!         self.pipeline.call(|| lift(self.client.get(url).send())).await
//!     }
//!
//!     /// A POST is sent again only if it had no effect: the connection was refused, or the server said 429.
//!     async fn order(&self, url: &str, body: &str) -> Result<Response, HttpError> {
//!         let send = || lift(self.client.post(url).body(body.to_owned()).send());
//!         self.pipeline.not_idempotent().call(send).await
//!     }
//! }
//! # let _ = (Users::get, Users::order, Users::new);
//! ```
//!
//! The circuit counts an answer by its status: a 404 is an answer, a 503 is a failure. `Retry-After`, and the headers
//! of a quota that is spent, set the wait before the next attempt. A client that gives `http::Response`, as hyper's,
//! takes [`by_response()`] in place of `by_headers(..)`.
//!
//! By status, a retry that is exhausted ends with the last answer: an `Ok` with the 503 in it. So look at the status
//! behind the call.
//!
//! # A client, tower layer
//!
//! One pipeline serves all methods, because it can ask the request:
//!
//! ```
//! use reqwest::{Request, Response};
//! use tower::ServiceBuilder;
//! use withstand::{
//!     LiftLayer, Pipeline, Verdict,
//!     http::{Idempotent, IdempotencyKeyLayer, by_headers},
//! };
//!
//! let judge = by_headers(Response::status, Response::headers)
//!     .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
//! let payments = Pipeline::standard("payments").classify(judge);
//! let idempotent = Idempotent::of(Request::try_clone, Request::method, Request::headers);
//! let client = ServiceBuilder::new()
//!     .layer(IdempotencyKeyLayer::of(Request::method, Request::headers_mut)) // if the server knows these keys
//!     .layer(payments.layer().clone_request_by(idempotent))
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
//! [`server()`] answers what the policies reject, so the `Router` stays as it is. `send_once()` says that a server's
//! requests are not sent again:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, routing::get};
//! use withstand::{Bulkhead, ConfigError, Pipeline, http::server};
//!
//! fn app() -> Result<Router, ConfigError> {
//!     let requests = Bulkhead::builder("requests", 512).queue(512, Duration::from_millis(250)).build()?;
//!     let requests = Pipeline::builder("requests").timeout(Duration::from_secs(10)).bulkhead(requests).build()?;
//!     Ok(Router::new()
//!         .route("/users", get(async || "all users"))
//!         .layer(server(requests.layer().send_once()))
//!         .route("/health", get(async || "well"))) // is not limited
//! }
//! # app().unwrap();
//! ```
//!
//! Import `withstand::http::server`, and not `withstand::http`: that name would hide the crate `http`.
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
//! A handler whose own call to another service is rejected answers in the same way, but for a spent rate limiter. That
//! is a 429 only where it counts the requests of this client. One that keeps the handler below the quota of the other
//! service is a 503:
//!
//! ```
//! use axum::{body::Body, response::{IntoResponse, Response}};
//! use withstand::{Error, http::dependency_rejection_response};
//!
//! struct Failure(Error<reqwest::Error>);
//!
//! impl IntoResponse for Failure {
//!     fn into_response(self) -> Response {
//!         match self.0 {
//!             Error::Rejected(rejected) => dependency_rejection_response::<Body>(&rejected),
//!             Error::Inner(_) => axum::http::StatusCode::BAD_GATEWAY.into_response(),
//!         }
//!     }
//! }
//! ```
//!
//! # The time of the caller
//!
//! A caller that tells how long it waits needs no answer later. [`Deadline::layer_fn`] gives each request that
//! deadline, and all policies inside plan within it: the server's own, and the pipelines of its calls to others. In axum
//! the layer that is added later is the outer one:
//!
//! ```
//! use std::time::Duration;
//! use axum::{Router, extract::Request, routing::get};
//! use withstand::{Deadline, Timeout, http::server};
//!
//! /// Plain HTTP has no standard header for this: take the one that your services have.
//! fn timeout_of(request: &Request) -> Option<Duration> {
//!     let millis = request.headers().get("x-timeout-ms")?.to_str().ok()?.parse().ok()?;
//!     Some(Duration::from_millis(millis))
//! }
//!
//! /// In a handler: `Deadline::remaining()` is for the header to the next service.
//! async fn left() -> String {
//!     Deadline::remaining().map_or("no limit".to_owned(), |left| format!("{} ms", left.as_millis()))
//! }
//!
//! let app: Router = Router::new()
//!     .route("/left", get(left))
//!     .layer(server(Timeout::new(Duration::from_secs(10)).layer())) // ends the request, at the deadline at the latest
//!     .layer(Deadline::layer_fn(timeout_of));
//! # use {axum::body::to_bytes, tower::ServiceExt};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main_(app: Router) {
//! # for (header, expected) in [(Some("700"), "700 ms"), (None, "no limit")] {
//! #     let mut request = Request::new(axum::body::Body::empty());
//! #     *request.uri_mut() = "/left".parse().unwrap();
//! #     if let Some(millis) = header { request.headers_mut().insert("x-timeout-ms", millis.parse().unwrap()); }
//! #     let body = app.clone().oneshot(request).await.unwrap().into_body();
//! #     assert_eq!(to_bytes(body, 99).await.unwrap(), expected);
//! # } }
//! # main_(app);
//! ```
//!
//! In a handler's pipeline the header's number is `attempt.remaining`: see
//! [the time of your caller](super::pipeline#the-time-of-your-caller). For gRPC the function is [`grpc_timeout`].
//!
//! # A limit for each client
//!
//! A rate limiter for each address that calls, whose quota each answer tells. This is a middleware of axum:
//!
//! ```
//! use std::{net::{IpAddr, SocketAddr}, time::Duration};
//! use axum::{
//!     Router,
//!     extract::{ConnectInfo, Request, State},
//!     middleware::{Next, from_fn_with_state},
//!     response::Response,
//!     routing::get,
//! };
//! use withstand::{
//!     ConfigError, Keyed, Name, RateLimiter,
//!     http::{AnnouncedQuota, client_ip, ip_key, rejection_response},
//! };
//!
//! type Clients = Keyed<IpAddr, RateLimiter>;
//!
//! fn clients() -> Result<Clients, ConfigError> {
//!     let limiter = |name: Name| RateLimiter::builder(name, 100, Duration::from_secs(60)).burst(20).build();
//!     limiter("clients".into())?; // bad numbers are refused here
//!     Keyed::builder(move |_: &IpAddr, name| limiter(name).expect("valid")).capacity(100_000).build()
//! }
//!
//! async fn limit(
//!     State(clients): State<Clients>,
//!     ConnectInfo(peer): ConnectInfo<SocketAddr>,
//!     request: Request,
//!     next: Next,
//! ) -> Response {
//!     let client = client_ip(peer.ip(), request.headers(), 1); // one proxy of ours is in front
//!     let limiter = clients.get(&ip_key(client));
//!     let mut response = match limiter.try_acquire() {
//!         Ok(()) => next.run(request).await,
//!         Err(rejected) => rejection_response(&rejected), // 429
//!     };
//!     AnnouncedQuota::from(limiter.quota()).write("client", response.headers_mut());
//!     response
//! }
//!
//! fn app() -> Result<Router, ConfigError> {
//!     Ok(Router::new().route("/", get(async || "hello")).layer(from_fn_with_state(clients()?, limit)))
//! }
//!
//! async fn serve(listener: tokio::net::TcpListener) -> Result<(), Box<dyn std::error::Error>> {
//!     // Without this an address is in no request.
//!     let app = app()?.into_make_service_with_connect_info::<SocketAddr>();
//!     Ok(axum::serve(listener, app).await?)
//! }
//! # let _ = serve;
//! # use {axum::extract::connect_info::MockConnectInfo, tower::ServiceExt};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main_() {
//! # let app = app().unwrap().layer(MockConnectInfo(SocketAddr::from(([10, 0, 0, 1], 80))));
//! # let ask = async |client: &str| {
//! #     let mut request = Request::new(axum::body::Body::empty());
//! #     request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
//! #     let response = app.clone().oneshot(request).await.unwrap();
//! #     (response.status().as_u16(), response.headers()["ratelimit"].to_str().unwrap().to_owned())
//! # };
//! # let mut answers = Vec::new();
//! # for _ in 0..21 { answers.push(ask("198.51.100.7").await); }
//! # assert_eq!((answers[0].0, answers[19].0, answers[20].0), (200, 200, 429), "{answers:?}");
//! # assert!(answers[20].1.contains("r=0"), "{answers:?}");
//! # assert_eq!(ask("198.51.100.8").await.0, 200);
//! # }
//! # main_();
//! ```
//!
//! # Traps of a server
//!
//! - No retry on a server: a stack that has one is refused when it is built.
//! - A slot is free again when the head of the response is there. For bodies that stream, hold it for longer:
//!   `bulkhead.layer().hold_until_body_ends()`, with the feature `http-body`.
//! - A timeout covers the handler, and not the body that it streams.
//! - Without `send_once()` a pipeline's layer asks for requests that are `Clone`, which a server's are not.
//! - `X-Forwarded-For` is written by anyone. [`client_ip`] reads it from the right, past as many proxies as are yours;
//!   under IPv6 count clients by [`ip_key`].
//!
//! [`Deadline::layer_fn`]: crate::Deadline::layer_fn
//! [`by_response()`]: crate::http::by_response
//! [`client_ip`]: crate::http::client_ip
//! [`grpc_timeout`]: crate::http::grpc_timeout
//! [`idempotency_key`]: crate::http::idempotency_key
//! [`ip_key`]: crate::http::ip_key
//! [`server()`]: crate::http::server()
