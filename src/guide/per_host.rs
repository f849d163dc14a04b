//! A policy for each host, tenant or address.
//!
//! One dependency is seldom one thing. A crawler calls thousands of hosts, and some of them are down. A server has many
//! tenants, and one of them is loud. [`Keyed`] keeps a policy for each of them:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{Bulkhead, CircuitBreaker, Keyed, Name};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).capacity(50_000).build()?;
//! let tenants = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 16)).build()?;
//! # let _ = (hosts.get("a"), tenants.get(&7));
//! # Ok(()) }
//! ```
//!
//! # Choose the key
//!
//! The key decides what shares a fate. Most mistakes are made here:
//!
//! - **Never a whole URL.** With its path and query each page has a circuit of its own, and none ever sees a second
//!   failure. Take the authority: host and port, in lower case, without the user and the password. A key is in errors and
//!   logs as the policy's name.
//! - **Fill in the default port**, or leave it out, but always the same: `example.com` and `example.com:443` are two keys.
//! - **Take a prefix of an IPv6 address**, /64 or /56. One client has a whole /64, so with full addresses it has as many
//!   keys as it likes. An IPv4 address that is mapped into IPv6 is the IPv4 address.
//! - **Do not trust a header** for the address of a client, unless your own proxy has set it.
//! - **A tenant is an account, not a session or a request.**
//! - **A secret is no name.** If the key is an API key, make names with [`Keyed::named_builder`].
//!
//! # Choose the capacity
//!
//! Above the number of different keys that are in use within `idle_for` (10 minutes by default). A key takes about 1.3 KiB
//! with a circuit breaker, and 0.9 KiB with a bulkhead, beside the text of the key. If the capacity is too small, keys
//! that must stay fill it, and new keys share one policy: a WARN says so, and [`overflowed`] in the snapshot counts it.
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
//! Where one host has its own bulkhead and its own circuit, use two `Keyed` with the same key.
//!
//! # In tower
//!
//! The key is chosen for each request, so a layer stands for all of them:
//!
//! ```
//! # #[cfg(feature = "tower")] mod with_tower {
//! use withstand::{CircuitBreaker, Keyed, KeyedLayer, Name};
//!
//! # fn layers() -> Result<(), withstand::ConfigError> {
//! let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build()?;
//! // Borrowed from the request: nothing is allocated.
//! let by_host = hosts.layer_ref_fn(|request: &http::Request<()>| request.uri().host().unwrap_or_default());
//! // Made for the request.
//! let by_authority = hosts.layer_fn(|request: &http::Request<()>| {
//!     request.uri().authority().map_or_else(String::new, |authority| authority.as_str().to_lowercase())
//! });
//! # let _ = (by_host, by_authority);
//! # Ok(()) }
//! # }
//! ```
//!
//! # Seen
//!
//! [`Keyed::for_each`] shows each key and its policy, and [`Keyed::snapshot`] counts them. A metric with the key as a
//! label has a series for each key, and one that outlives it: count states, or show the worst few.
//!
//! `cargo run --example per_host` shows a crawler.
//!
//! [`Keyed`]: crate::Keyed
//! [`Keyed::for_each`]: crate::Keyed::for_each
//! [`Keyed::named_builder`]: crate::Keyed::named_builder
//! [`Keyed::snapshot`]: crate::Keyed::snapshot
//! [`overflowed`]: crate::keyed::Snapshot::overflowed
