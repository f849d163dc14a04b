//! Settings as data: read from files, written, and changed while calls run.
//!
//! Every policy has settings that are plain data, with public fields that are named like the setters of its builder:
//!
//! | policy | settings |
//! |---|---|
//! | [`CircuitBreaker`](crate::CircuitBreaker) | [`CircuitBreakerSettings`](crate::CircuitBreakerSettings) |
//! | [`RetryWithBackoff`](crate::RetryWithBackoff) | [`RetrySettings`](crate::RetrySettings) |
//! | [`RateLimiter`](crate::RateLimiter) | [`RateLimiterSettings`](crate::RateLimiterSettings) |
//! | [`Bulkhead`](crate::Bulkhead) | [`BulkheadSettings`](crate::BulkheadSettings) |
//! | [`Pipeline`](crate::Pipeline) | [`PipelineSettings`](crate::pipeline::PipelineSettings): those of all parts, and two timeouts |
//! | a set of pipelines, [`Pipelines`] | a map of names to `PipelineSettings` |
//!
//! - `settings.build(name)` makes a policy of them. `builder.settings(&settings)` is for what is code besides.
//! - `policy.settings()` tells those that are in force now.
//! - `policy.apply(&settings)` changes them while the policy is in use, for all of its handles and layers.
//!
//! With the feature `serde` they are `Serialize` and `Deserialize`, for files of any format. The feature `schemars` makes
//! a JSON schema of them, by which editors complete and check a file: `docs/settings.schema.json` in the repository is
//! that of a file as below. The guide has [a page on settings](crate::guide::settings) with a service that reads its
//! file anew while it runs.
//!
//! # A file
//!
//! Everything that a file can say about a pipeline, as TOML. All of it may be left out, but for what is marked: a part
//! that is absent is not there, and what is absent in a part has its default.
//!
//! ```toml
#![doc = include_str!("example.toml")]
//! ```
//!
//! The names of the pipelines are the sections. Where the file has other sections too, put them below one of them
//! (`[dependencies.users]`).
//!
//! ```
//! # #[cfg(feature = "serde")] {
//! use std::collections::BTreeMap;
//! use withstand::{pipeline::PipelineSettings, settings::Pipelines};
//!
//! # let text = include_str!("example.toml");
//! let settings: BTreeMap<String, PipelineSettings> = toml::from_str(text).unwrap();
//! let pipelines = Pipelines::build(&settings).unwrap();
//! let users = pipelines.require("users").unwrap();
//! # assert_eq!(users.settings(), settings["users"]);
//! # }
//! ```
//!
//! A field is named like the setter that takes the whole value. A setter that is short for one rule is in no file:
//! `.consecutive_failures(3, Duration::ZERO)` is `consecutive_failure_rules = [{ failures = 3, spanning = "0s" }]`.
//!
//! `apply` neither adds nor removes a part. A file that leaves one out is refused as a whole, and changes nothing.
//!
//! # Durations
//!
//! A duration is text: `"250ms"`, `"1.5s"`, `"1m 30s"`, `"1m30s"`.
//!
//! - The units are `d`, `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`. They go from the largest to the smallest, each at
//!   most once. Any number may have a fraction, as long as the whole is a number of nanoseconds.
//! - A number without a unit is refused, except 0. So are negative durations, and months and years, whose lengths
//!   differ.
//! - `"forever"` is [`Duration::MAX`](std::time::Duration::MAX): it never ends, or never comes.
//!
//! What [humantime](https://docs.rs/humantime) prints (up to a month) and what Go prints is read as the same duration.
//! It is printed in one form, which is exact.
//!
//! # Errors
//!
//! - A file whose shape is wrong gets the error of its parser, with the line: a field that does not exist, a number
//!   where a duration is asked for. Fields that do not exist are always refused, because a name with a typo would
//!   otherwise be a setting that is silently not set.
//! - Values that are wrong come all at once, in one [`ConfigError`](crate::ConfigError), each with its path:
//!   `users.circuit_breaker.failure_rate must be above 0 and at most 1, not 150`.
//!
//! # What is code
//!
//! Listeners, classifiers, fallbacks, the names, the seeds of tests, a backoff from a closure
//! ([`backoff_fn`](crate::RetryBuilder::backoff_fn)), and a [budget](crate::RetryBudget) that several policies share.
//! `apply` keeps all of these. Settings that name a backoff or a budget are refused where code gave one: nobody has to
//! know which of the two counts.
//!
//! Numbers above 9,223,372,036,854,775,807 can be said in code and in JSON; TOML has none.

mod pipelines;

pub use self::pipelines::Pipelines;
