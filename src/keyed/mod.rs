//! [`Keyed`] has a pipeline, or one policy, for each key: for each host, each tenant, each address.
//!
//! One circuit for all hosts opens for all of them when one is down. One bulkhead for all tenants is filled by the one
//! that is loud. A policy for each key keeps them apart. It is made when its key is asked for first, and leaves when it
//! is no longer worth its memory.
//!
//! ```text
//! get("api.example.com") ──▶ is there a policy? ──yes──▶ a handle of it
//!                                   │ no
//!                                   ▼
//!                            is there room? ──yes──▶ the factory makes one
//!                                   │ no
//!                                   ▼
//!              may one leave? the longest idle first ──yes──▶ it leaves, and the factory makes one
//!                                   │ no
//!                                   ▼
//!                          the one overflow policy
//! ```
//!
//! # Defaults
//!
//! | setting | default |
//! |---|---|
//! | [`capacity`](KeyedBuilder::capacity) | 10,000 keys |
//! | [`idle_for`](KeyedBuilder::idle_for) | 10 minutes |
//! | [`overflow`](KeyedBuilder::overflow) | the factory makes it when it is needed, under the name `overflow` |
//! | [`named`](KeyedBuilder::named) | no name |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use withstand::{Keyed, Name, Pipeline};
//!
//! # async fn fetch(host: &str) -> std::io::Result<usize> { Ok(host.len()) }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hosts = Keyed::builder(|_: &str, name: Name| Pipeline::standard(name))
//!     .capacity(50_000)
//!     .idle_for(Duration::from_secs(300))
//!     .build()?;
//!
//! let host = "api.example.com:443"; // `http::authority(url.as_str())`
//! let answer = hosts.get(host).call(|| fetch(host)).await?;
//! # assert_eq!((answer, hosts.len()), (19, 1));
//! # Ok(()) }
//! ```
//!
//! In a struct its type is `Keyed<String, Pipeline>`. [`get`](Keyed::get) takes the key by reference, text as `&str`.
//!
//! In `Keyed<K, P>`, `P` is a [`Pipeline`](crate::Pipeline), also a [`BoxPipeline`](crate::pipeline::BoxPipeline), or
//! one policy that has a state: a [`CircuitBreaker`](crate::CircuitBreaker), a [`Bulkhead`](crate::Bulkhead), a
//! [`RateLimiter`](crate::RateLimiter), or a [`RetryWithBackoff`](crate::RetryWithBackoff), which then has a budget for
//! each key.
//!
//! # What may leave
//!
//! A policy leaves only if a new one in its place would do the same:
//!
//! | a policy | leaves |
//! |---|---|
//! | whose handle, layer, service or permit is held by someone | never |
//! | that has a call in flight or in its queue | never |
//! | that someone has forced, or whose settings someone has changed by hand | never |
//! | whose retry budget is short | never; a budget that others hold too does not count |
//! | a rate limiter of whose limit something is used | when a new one would give as many permits |
//! | whose circuit is open | when the opening and `idle_for` more are over |
//! | whose circuit is half-open, or holds failures in its window | when no one has asked for its key for `idle_for` |
//! | that is as good as new | when no one has asked for its key for `idle_for`, or to make room |
//!
//! A pipeline stays while any of its parts must stay, and while its timeouts are not those that it was made with. A part
//! that others held too when the factory had returned, one circuit for all keys for example, lives on with them: it keeps no
//! key, unless only this pipeline still has it. A part that someone has taken out of the pipeline later counts as a handle
//! of the pipeline; so does its permit.
//!
//! To make room, the one that no one has asked for the longest leaves first. Besides, each new key looks at up to four
//! of those that no one has asked for in `idle_for`, and lets them leave. So memory falls without a background task; but
//! while no new key comes, all stay.
//!
//! Circuits of dead hosts leave too, in the end. So a crawler does not keep each dead host for ever.
//!
//! If no policy may leave, new keys share one overflow policy, and an event says so. It is never a fresh one for each:
//! that would be no limit at all. Then the capacity is too small: it has to be above the number of different keys in
//! use within `idle_for`. An open overflow circuit rejects calls for all keys that share it.
//!
//! A search for room that had to pass 16 or more policies that must stay does not begin at the first one the next time.
//! It skips them for one new key per 16 of them, and for at most a second. So a map full of policies that must stay costs
//! each new key a few microseconds, and one of them that could leave by now may leave a second later.
//!
//! # Reload
//!
//! [`Keyed::apply`] changes the settings of all keys, or of none. The factory has to make new policies with the same
//! settings. So let it read them from a template, a policy that no call goes through, and change the template first:
//!
//! ```
//! use withstand::{ConfigError, Keyed, Name, Pipeline, pipeline::PipelineSettings};
//!
//! # fn main() -> Result<(), ConfigError> {
//! let template = PipelineSettings::standard().build("hosts")?;
//! let made_like = template.clone();
//! let hosts = Keyed::builder(move |_: &str, name: Name| {
//!     made_like.settings().build(name).expect("the template has accepted them")
//! })
//! .build()?;
//! drop(hosts.get("a.example.com"));
//!
//! let reload = |new: &PipelineSettings| -> Result<(), ConfigError> {
//!     template.apply(new)?;
//!     hosts.apply(new)
//! };
//! let mut new = PipelineSettings::standard();
//! new.timeout = None;
//! reload(&new)?;
//! assert_eq!(hosts.get("a.example.com").timeout(), None);
//! assert_eq!(hosts.get("b.example.com").timeout(), None);
//! # Ok(()) }
//! ```
//!
//! Reload from one task, or under a lock of your own: of two tasks at the same time, one might be the last to change the
//! template, and the other the last to change the keys.
//!
//! Settings that are applied to a single policy, by its own `apply` or with [`for_each`](Keyed::for_each), are a change
//! by hand: while they are not those that the policy was made with, its key cannot leave.
//!
//! # With tower
//!
//! `layer_fn` and `layer_ref_fn`. The service is always ready. A call finds
//! the policy of its request's key and goes through it as the plain call would: a clone of the inner service is the
//! operation, and is readied inside. So a circuit breaker counts an error of the inner service's readiness as a failed
//! call of that key. The call holds the policy until it is over; a rate limiter, only until it has its permit.
//!
//! A call goes through a pipeline as through the service of its own layer. A pipeline or a retry copies requests by
//! `Clone`, unless `clone_request`, `clone_request_fn` or `clone_request_by` of the layer says otherwise: what is not
//! idempotent must not be sent twice. A fallback that needs the request, a second service for
//! example, is refused by the compiler: put it around this layer.
//!
//! A `Keyed` is for policies. For a service for each key (a client with its own connections for each host, say), its
//! maker has to decide what may leave.
//!
//! # Sharing
//!
//! All clones and layers share the policies. Keep a handle where you call one key often: a handle costs no look-up, and
//! its policy stays as long as you hold it.
//!
//! # Cancel safety
//!
//! Nothing here waits. To drop a call does what it does for its policy. A dropped call, like a finished one, no longer
//! holds its policy.
//!
//! # Panics
//!
//! A panic of the factory reaches the caller of [`get`](Keyed::get). The key has no policy then, and the next `get`
//! runs the factory again.
//!
//! # Cost
//!
//! To look up a key that is there takes about 55 ns: a hash (SipHash with random keys, so that no one can choose keys
//! that collide), a shared lock of one of 64 shards, the clone of two `Arc`s, and a look at the clock. It allocates
//! nothing. Threads that look up different keys do not wait for each other. Threads that look up one key contend for
//! the reference count of its policy.
//!
//! A new key costs what the factory costs, and about a microsecond. Its key, name, entry and places take about 250
//! bytes, and the policy comes on top. Together, of a key that is a number and of a policy without listeners:
//!
//! | a key with | takes about |
//! |---|--:|
//! | a circuit breaker of the default rules | 0.8 KiB |
//! | a bulkhead | 0.9 KiB |
//! | a rate limiter | 1.1 KiB |
//! | [`Pipeline::standard`](crate::Pipeline::standard) | 2.2 KiB |
//!
//! A window of calls or of time comes on top of it.
//!
//! The factory, listeners, classifiers and all drops run under no lock. The `Eq` of keys may run under the lock that
//! new keys take: it must not use the same `Keyed`.
//!
//! # Errors
//!
//! Those of the policies. [`build`](KeyedBuilder::build) rejects a capacity or an `idle_for` of zero.
//!
//! # Events
//!
//! | event | told | level in `tracing` |
//! |---|---|---|
//! | [`Evicted`](KeyedEvent::Evicted) | when a policy leaves | DEBUG |
//! | [`Overflowed`](KeyedEvent::Overflowed) | when a new key gets the overflow policy | WARN for the first, or the first after `idle_for` without another; else DEBUG |
//!
//! The target is `withstand::keyed`. The WARN does not name the key. The others name it, and so do the events of its
//! policy: if keys are secrets, make their names with [`named_builder`](Keyed::named_builder).

mod config;
mod event;
mod keep;
mod map;
mod order;
mod policy;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{KeyedLayer, KeyedService, SendThrough};
pub use self::{
    config::KeyedBuilder,
    event::KeyedEvent,
    keep::KeyedPolicy,
    policy::{Keyed, Snapshot},
};

// Only signatures name these.
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{ByOwnedKey, ByRef, ChooseKey};

#[cfg(all(test, withstand_loom))]
mod loom;
