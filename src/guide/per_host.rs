//! A pipeline or a policy for each host, tenant or address.
//!
//! One dependency is seldom one thing. A crawler calls thousands of hosts, and some of them are down. A server has many
//! tenants, and one of them is loud. [`Keyed`] keeps a pipeline for each of them, or one policy:
//!
//! ```
//! use std::{net::IpAddr, time::Duration};
//! use withstand::{Bulkhead, Keyed, Name, Pipeline, RateLimiter};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let hosts = Keyed::builder(|_: &str, name: Name| Pipeline::standard(name)).capacity(50_000).build()?;
//! let tenants = Keyed::new(|_: &u64, name: Name| Bulkhead::new(name, 16));
//!
//! let rate = |name| RateLimiter::new(name, 100, Duration::from_secs(60));
//! rate("a test of the settings".into())?;
//! let clients = Keyed::new(move |_: &IpAddr, name: Name| rate(name).expect("it was accepted before"));
//! # let _ = (hosts.get("a"), tenants.get(&7), clients.get(&IpAddr::from([10, 0, 0, 1])));
//! # Ok(()) }
//! ```
//!
//! The factory cannot fail. Where `build()` of a policy can, build one with the same settings beforehand.
//!
//! # A pipeline for each host
//!
//! One call is all: the pipeline of the host has a circuit, a bulkhead and a budget of its own.
//!
//! ```
//! # mod http_client {
//! use reqwest::{Client, Response, Url};
//! # #[cfg(feature = "http")]
//! use withstand::{Error, Keyed, Name, Pipeline, Verdict, http::{ByResponse, authority, by_headers}, lift};
//!
//! # #[cfg(feature = "http")]
//! struct Crawler {
//!     client: Client,
//!     hosts: Keyed<String, Pipeline<ByResponse<Response, reqwest::Error>>>,
//! }
//!
//! # #[cfg(feature = "http")]
//! impl Crawler {
//!     fn new(client: Client) -> Result<Self, withstand::ConfigError> {
//!         let judge = by_headers(Response::status, Response::headers)
//!             .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
//!         let host = move |_: &str, name: Name| Pipeline::standard(name).classify(judge.clone());
//!         Ok(Self { client, hosts: Keyed::builder(host).capacity(50_000).build()? })
//!     }
//!
//!     async fn page(&self, url: &Url) -> Result<Response, Error<reqwest::Error>> {
//!         let host = self.hosts.get(&*authority(url.as_str()));
//!         host.call(|| lift(self.client.get(url.clone()).send())).await
//!     }
//! }
//! # }
//! ```
//!
//! As a tower layer, which asks each request for its key, and whether it may be sent twice:
//!
//! ```
//! # #[cfg(all(feature = "http", feature = "tower"))] mod with_tower {
//! use withstand::{Keyed, Name, Pipeline, http::{Idempotent, authority, by_response}};
//! # use tower::{ServiceBuilder, service_fn};
//! # type Body = String;
//!
//! # fn client() -> Result<(), withstand::ConfigError> {
//! # let service = service_fn(|_: http::Request<Body>| async { Ok::<_, tower::BoxError>(http::Response::new(Body::new())) });
//! let hosts = Keyed::builder(|_: &str, name: Name| Pipeline::standard(name).classify(by_response())).build()?;
//! let key = |request: &http::Request<Body>| authority(request.uri());
//! let client = ServiceBuilder::new()
//!     .layer(hosts.layer_fn(key).clone_request_by(Idempotent::new()))
//!     .service(service);
//! # let _ = tower::ServiceExt::oneshot(client, http::Request::new(Body::new()));
//! # Ok(()) }
//! # }
//! ```
//!
//! The layer's service is always ready: the call readies a clone of the inner service. A POST is sent again only if it
//! had no effect; see the page `http`. That page has a limit for each client of a server, too.
//!
//! # Choose the key
//!
//! The key decides what shares a fate. Most mistakes are made here:
//!
//! - **Never a whole URL.** With its path and query each page has a circuit of its own, and none ever sees a second
//!   failure. `http::authority` takes the host and the port out of it. Its key is in lower case, has no user and no
//!   password, and always has the default port: `example.com` and `example.com:443` would be two keys. A key is in
//!   errors and logs as the policy's name.
//! - **Never the host without its port.** Two services of one machine would share a circuit.
//! - **Never a whole IPv6 address.** One client has 2⁶⁴ of them or more, so it has as many keys as it likes.
//!   `http::ip_key` takes its network, a /56. It makes an IPv4 address of one that is mapped into IPv6.
//! - **Do not trust a header** for the address of a client, unless your own proxy has set it: `http::client_ip` reads
//!   as much of it as your proxies have written.
//! - **A tenant is an account, not a session or a request.**
//! - **A secret is no name.** If the key is an API key, make names with [`Keyed::named_builder`].
//!
//! # Choose the capacity
//!
//! Above the number of different keys that are in use within `idle_for` (10 minutes by default). A key takes about 0.8
//! KiB with a circuit breaker, 1.1 KiB with a rate limiter and 2.2 KiB with a standard pipeline, beside the text of the
//! key. If the capacity is too small, keys that must stay fill it, and new keys share one policy: a WARN says so, and
//! [`overflowed`] in the snapshot counts it.
//!
//! # A bulkhead for each tenant, under one circuit
//!
//! What all tenants share has one policy. What keeps them apart has a key. The order stays the one of
//! [choosing](super::choosing#the-order-and-why): the bulkhead outside, the circuit inside.
//!
//! ```
//! use withstand::{Bulkhead, CircuitBreaker, Keyed, Name};
//!
//! struct Reports {
//!     tenants: Keyed<u64, Bulkhead>,
//!     database: CircuitBreaker,
//! }
//!
//! impl Reports {
//!     async fn report(&self, tenant: u64) -> std::io::Result<u32> {
//!         let query = || async { Ok(7) };
//!         self.tenants.get(&tenant).call(|| self.database.call(query)).await
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let reports = Reports {
//!     tenants: Keyed::builder(|tenant: &u64, name: Name| Bulkhead::new(name, if *tenant == 1 { 64 } else { 8 })).build()?,
//!     database: CircuitBreaker::new("reports"),
//! };
//! assert_eq!(reports.report(1).await?, 7);
//! # Ok(()) }
//! ```
//!
//! A pipeline can do the same: each tenant's has the one circuit as a part. What all share is not forgotten when a
//! tenant leaves, and keeps no tenant's memory:
//!
//! ```
//! # use withstand::{Bulkhead, CircuitBreaker, Keyed, Name, Pipeline};
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let database = CircuitBreaker::new("reports");
//! let build = move |name: Name| {
//!     let bulkhead = Bulkhead::new(name.clone(), 8);
//!     Pipeline::builder(name).bulkhead(bulkhead).circuit_breaker(database.clone()).build()
//! };
//! build("a test of the settings".into())?;
//! let tenants = Keyed::builder(move |_: &u64, name| build(name).expect("it was accepted before")).build()?;
//! # let _ = tenants.get(&7);
//! # Ok(()) }
//! ```
//!
//! # The key of a request
//!
//! The key is chosen for each request, so a layer stands for all of them. It is borrowed from the request, or made:
//!
//! ```
//! # #[cfg(all(feature = "http", feature = "tower"))] mod with_tower {
//! use http::Request;
//! use withstand::{Bulkhead, Keyed, Name, Pipeline, http::authority};
//!
//! # fn layers() {
//! // Made for the request.
//! let hosts = Keyed::new(|_: &str, name: Name| Pipeline::standard(name));
//! let by_host = hosts.layer_fn(|request: &Request<()>| authority(request.uri()));
//! // Borrowed from the request: nothing is allocated.
//! let tenants = Keyed::new(|_: &str, name: Name| Bulkhead::new(name, 16));
//! let by_tenant = tenants.layer_ref_fn(|request: &Request<()>| {
//!     request.headers().get("tenant").and_then(|name| name.to_str().ok()).unwrap_or_default()
//! });
//! # let _ = (by_host, by_tenant);
//! # }
//! # }
//! ```
//!
//! # Seen
//!
//! [`Keyed::for_each`] shows each key and its policy, and [`Keyed::snapshot`] counts them. A metric with the key as a
//! label has a series for each key, and one that outlives it: count states, or show the worst few.
//!
//! # Settings that change
//!
//! [`Pipeline::apply`](crate::Pipeline::apply) changes one host's settings while its calls run. Then its key stays: what
//! someone has set must not be forgotten. Give it the settings that it was made with, and it may leave again. For all
//! hosts at once, let the factory read the settings of a template. Change the template, and then the hosts that are
//! there, with [`Keyed::apply`]: that keeps no key.
//!
//! `cargo run --features http --example per_host` shows a crawler.
//!
//! [`Keyed`]: crate::Keyed
//! [`Keyed::apply`]: crate::Keyed::apply
//! [`Keyed::for_each`]: crate::Keyed::for_each
//! [`Keyed::named_builder`]: crate::Keyed::named_builder
//! [`Keyed::snapshot`]: crate::Keyed::snapshot
//! [`overflowed`]: crate::keyed::Snapshot::overflowed
