//! A guide in pages. It has no code of its own: each page explains one task, and its examples compile and run.
//!
//! | page | answers |
//! |---|---|
//! | [`pipeline`] | **Begin here.** How do I protect all calls to one dependency, with one object? |
//! | [`choosing`] | Which parts do I need, and why in this order? How many pipelines, and where do I keep them? |
//! | [`errors`] | How does my error type carry a rejection? What does a rejection tell, and how do I answer a caller? |
//! | [`per_host`] | How do I have a pipeline or a policy for each host, tenant or address? What is a good key? |
//! | [`grpc`] | How do I protect calls of a tonic client, and what does each gRPC code count as? |
//! | `http` | How do I protect an HTTP client and an HTTP server? (Needs the feature `http`.) |
//! | [`settings`] | How do I keep the settings in a file, and change them while the service runs? |
//! | [`testing`] | How do I test code that uses policies, without waiting for real time? |
//! | [`migrating`] | What is the setting that I know from another library called here, and what differs? |
//!
//! The defaults of each policy are in a table on the page of its module: [`circuit_breaker`](crate::circuit_breaker),
//! [`retry`](crate::retry), [`timeout`](crate::timeout), [`bulkhead`](crate::bulkhead),
//! [`rate_limiter`](crate::rate_limiter), [`fallback`](crate::fallback), [`pipeline`](crate::pipeline),
//! [`keyed`](crate::keyed).

pub mod choosing;
pub mod errors;
pub mod grpc;
#[cfg(all(feature = "http", feature = "tower"))]
pub mod http;
pub mod migrating;
pub mod per_host;
pub mod pipeline;
pub mod settings;
pub mod testing;
