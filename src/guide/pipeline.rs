//! One pipeline for each dependency: from the first line to one that is made for your service.
//!
//! # Begin
//!
//! Make one [`Pipeline`](crate::Pipeline) for each service that you call, once, and keep it where you keep the client.
//! Then put each call into it:
//!
//! ```
//! use reqwest::Client;
//! use withstand::{ByErrorStatus, Error, Pipeline, Verdict, by_error_status, lift};
//!
//! type HttpError = Error<reqwest::Error>; // the client's error, or a rejection
//!
//! #[derive(Clone)]
//! struct Users {
//!     client: Client,
//!     pipeline: Pipeline<ByErrorStatus<reqwest::Error>>,
//! }
//!
//! impl Users {
//!     fn new(client: Client) -> Result<Self, withstand::ConfigError> {
//!         // What a result says about the service. A 503 is a failure, and a 404 is an answer.
//!         let judge = by_error_status(reqwest::Error::status)
//!             .errors_if(reqwest::Error::is_builder, Verdict::Ignored)
//!             .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
//!         let pipeline = Pipeline::standard_builder("users").classify(judge).build()?;
//!         Ok(Self { client, pipeline })
//!     }
//!
//!     async fn name(&self, id: u64) -> Result<String, HttpError> {
//!         let url = format!("http://users.internal/users/{id}/name");
//!         let get = || lift(async { self.client.get(&url).send().await?.error_for_status()?.text().await });
//!         self.pipeline.call(get).await
//!     }
//! }
//! # let _ = (Users::new, Users::name);
//! ```
//!
//! The operation is a closure, because it may run more than once. [`lift`](crate::lift) puts the client's error into
//! one that can carry a rejection; an error type of your own does that without it, see [errors](super::errors).
//!
//! That pipeline ends each attempt after 2 s and the call after 5 s, sends a failed attempt again after a short sleep
//! while the budget for that lasts, and stops calling while the service fails. All of its settings are in
//! [one table](crate::pipeline#standard).
//!
//! # Your own numbers
//!
//! Take them from what you know of the service:
//!
//! - **`attempt_timeout`**: a little longer than its slowest healthy answer.
//! - **`timeout`**: as long as your own caller waits. It should leave room for two attempts; if it is not longer than
//!   one, [`build`](crate::PipelineBuilder::build) says so.
//! - **`bulkhead`**: how many calls to it you can afford to have waiting when it hangs. With a short queue, a burst
//!   waits instead of failing.
//!
//! ```
//! use std::time::Duration;
//! use withstand::{Bulkhead, Pipeline};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let users = Pipeline::standard_builder("users")
//!     .timeout(Duration::from_secs(2))
//!     .attempt_timeout(Duration::from_millis(800))
//!     .bulkhead(Bulkhead::builder("users", 64).queue(128, Duration::from_millis(500)).build()?)
//!     .build()?;
//! # drop(users);
//! # Ok(()) }
//! ```
//!
//! # What may not be sent twice
//!
//! A call that failed may have had its effect all the same. For an order, a payment or a message, use the view
//! [`not_idempotent`](crate::Pipeline::not_idempotent). It sends again only what certainly had no effect, and shares
//! all parts with the pipeline that it was made of, so both learn from each other's calls:
//!
//! ```
//! # use {std::io, withstand::Pipeline};
//! # async fn send_order(item: &str) -> io::Result<u32> { Ok(item.len() as u32) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
//! let shop = Pipeline::standard("shop");
//! let orders = shop.not_idempotent();
//!
//! let number = orders.call(|| send_order("hammer")).await?;
//! # assert_eq!(number, 6);
//! # Ok(()) }
//! ```
//!
//! # When it fails anyway
//!
//! A fallback answers for every failure and every rejection. Give one where a lesser answer is better than none:
//!
//! ```
//! # use {std::io, withstand::{Fallback, Pipeline}};
//! # async fn fetch_hints() -> io::Result<Vec<String>> { Err(io::ErrorKind::ConnectionReset.into()) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hints = Pipeline::standard_builder("hints").fallback(Fallback::value(Vec::new())).build()?;
//! let shown: io::Result<Vec<String>> = hints.call(fetch_hints).await;
//! assert!(shown?.is_empty());
//! # Ok(()) }
//! ```
//!
//! # The time of your caller
//!
//! Your service was called too, and its caller does not wait for ever. Run the handler inside of a
//! [`Deadline`](crate::Deadline): then no pipeline, retry, queue or timeout inside plans past it. Around a whole server
//! a layer does that: `Deadline::layer_fn`.
//!
//! Tell the next service what is left. In a pipeline that is `attempt.remaining`, the time of this attempt; elsewhere
//! it is [`Deadline::remaining()`](crate::Deadline::remaining). Where there is no limit, send no header: a 0 would say
//! that no time is left.
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{Deadline, Pipeline, retry::Attempt};
//!
//! async fn fetch(left: Option<Duration>) -> io::Result<String> {
//!     let mut request = http::Request::new(());
//!     if let Some(left) = left {
//!         request.headers_mut().insert("x-timeout-ms", (left.as_millis() as u64).into());
//!     }
//!     send(request).await
//! }
//! # async fn send(request: http::Request<()>) -> io::Result<String> {
//! #     Ok(request.headers().get("x-timeout-ms").map_or("none", |value| value.to_str().unwrap()).to_owned())
//! # }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
//! let users = Pipeline::standard("users"); // 2 s for each attempt
//! let handler = async { users.call_with(|attempt: Attempt<'_, io::Error>| fetch(attempt.remaining)).await };
//! assert_eq!(Deadline::within(Duration::from_millis(700)).scope(handler).await?, "700");
//!
//! let too_early = users.call_with(|attempt: Attempt<'_, io::Error>| fetch(attempt.remaining));
//! assert_eq!(Deadline::within(Duration::from_millis(700)).scope(too_early).await?, "2000");
//! # Ok(()) }
//! ```
//!
//! The two differ in one point. `call_with` itself takes the deadline and starts the first attempt. The second one runs
//! before the scope begins. So make calls inside of the scope, in an `async` block or function, as the first.
//!
//! # Clients
//!
//! ## reqwest
//!
//! **Leave out reqwest's own `.timeout()`**, on the client and on the request. Below a pipeline it cuts attempts
//! silently: the shorter of the two limits counts, and what reqwest ends is an error of reqwest, and not a timeout of
//! ours. A `connect_timeout` is good: a connection that was not made is safe to send again, whatever the request.
//!
//! As a tower service, a copy of each request is kept for another attempt:
//!
//! ```
//! # #[cfg(not(feature = "tower"))]
//! # fn main() {}
//! # #[cfg(feature = "tower")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use reqwest::{Client, Request, Response};
//! use tower::{ServiceBuilder, ServiceExt};
//! use withstand::{LiftLayer, Pipeline, by_status};
//!
//! let judge = by_status(Response::status).errors(reqwest::Error::status);
//! let users = Pipeline::standard_builder("users").classify(judge).build()?;
//! let client = Client::new();
//! let service = ServiceBuilder::new()
//!     .layer(users.layer().clone_request_fn(|request: &Request| {
//!         if request.method().is_idempotent() { request.try_clone() } else { None } // `None`: it is sent once
//!     }))
//!     .layer(LiftLayer)
//!     .service(client.clone());
//!
//! let answer = service.oneshot(client.get("http://127.0.0.1:9/").build()?).await; // nobody listens there
//! assert!(answer.is_err());
//! # Ok(()) }
//! ```
//!
//! ## sqlx, redis, and others that are called with `&mut`
//!
//! A connection, and a transaction more so, is lent to one attempt after the other by
//! [`call_with_context`](crate::Pipeline::call_with_context). For sqlx the context is `&mut *transaction`, for redis
//! `&mut connection`:
//!
//! ```
//! # use {std::io, withstand::Pipeline};
//! # struct Connection(Vec<String>);
//! # impl Connection {
//! #     async fn insert(&mut self, item: &str) -> io::Result<usize> { self.0.push(item.into()); Ok(self.0.len()) }
//! # }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
//! async fn insert(orders: &Pipeline, connection: &mut Connection, item: &str) -> io::Result<usize> {
//!     orders.call_with_context(connection, |connection, _| Box::pin(connection.insert(item))).await
//! }
//! # assert_eq!(insert(&Pipeline::standard("orders"), &mut Connection(Vec::new()), "hammer").await?, 1);
//! # Ok(()) }
//! ```
//!
//! What an attempt has done in a transaction stays done when the attempt is dropped, by its timeout for example. Where
//! that matters, run each attempt in a savepoint. A statement that could not be sent because the pool has no free
//! connection says nothing about the database: judge it [`Ignored`](crate::Verdict::Ignored).
//!
//! # Looking at it, and testing
//!
//! The parts are there to look at: `users.circuit_breaker()` tells the state of the circuit, `users.bulkhead()` how
//! many calls run. In tests of your own code, [`BoxPipeline::none()`](crate::pipeline::BoxPipeline::none) only makes
//! the call, and with tokio's paused clock a real pipeline needs no real time: see [testing](super::testing).
