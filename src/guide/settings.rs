//! Settings from a file, which may change while the service runs.
//!
//! The page of the [`settings`](crate::settings) module has a whole file, and says how durations are written and what
//! an error tells. This page shows the way around it.
//!
//! ```toml
//! [dependencies]
//! withstand = { version = "0.1", features = ["serde"] }
//! toml = "1"
//! ```
//!
//! # Read a file
//!
//! The settings are plain [serde](https://serde.rs) data. Put them into the configuration that you have already, in any
//! format:
//!
//! ```
//! # #[cfg(feature = "serde")] {
//! use std::collections::BTreeMap;
//! use serde::Deserialize;
//! use withstand::{pipeline::PipelineSettings, settings::Pipelines};
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     port: u16,
//!     dependencies: BTreeMap<String, PipelineSettings>,
//! }
//!
//! let config: Config = toml::from_str(
//!     r#"
//!     port = 8080
//!
//!     [dependencies.users]
//!     timeout = "5s"
//!     attempt_timeout = "2s"
//!     retry = { max_attempts = 4 }
//!     circuit_breaker = { failure_rate = { rate = 0.5, window = { calls = 100 } } }
//!
//!     [dependencies.stock]
//!     bulkhead = { max_concurrent = 16, queue = { capacity = 32, max_wait = "250ms" } }
//!     "#,
//! )
//! .unwrap();
//! let pipelines = Pipelines::build(&config.dependencies).unwrap();
//! assert_eq!(config.port, 8080);
//! # assert_eq!(pipelines.iter().count(), 2);
//! # }
//! ```
//!
//! A part that is absent is not there. To begin with all parts that we recommend, write
//! [`PipelineSettings::standard()`](crate::pipeline::PipelineSettings::standard) to a file once
//! (`toml::to_string_pretty(&settings)`), and change what you want.
//!
//! A file names a rule as the settings do, and not as the short setters of a builder. `.consecutive_failures(3,
//! Duration::ZERO)`, the rule for tests, is a list with one rule:
//!
//! ```toml
//! [dependencies.users.circuit_breaker]
//! consecutive_failure_rules = [{ failures = 3, spanning = "0s" }]
//! open_for = "10s"
//! open_jitter = 0.0
//! required_successes = 1
//! ```
//!
//! # Add what is code
//!
//! A classifier and a fallback are views on a pipeline of the set:
//!
//! ```
//! use std::collections::BTreeMap;
//! use withstand::{pipeline::PipelineSettings, settings::Pipelines, Fallback};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! # let settings = BTreeMap::from([("users".to_owned(), PipelineSettings::standard())]);
//! let pipelines = Pipelines::build(&settings)?;
//! let users = pipelines.require("users")?.clone(); // an error if the file has no such section
//! let users = users.classify(withstand::by_status(http::Response::<Vec<u8>>::status));
//! # let _ = users;
//! # Ok(()) }
//! ```
//!
//! Listeners, a backoff from a closure and a shared budget belong to a part. Build that part of its settings, and hand
//! it to the pipeline:
//!
//! ```
//! use withstand::{CircuitBreaker, Pipeline, pipeline::PipelineSettings, settings::Pipelines};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! # let settings = PipelineSettings::standard();
//! let breaker = CircuitBreaker::builder("users")
//!     .settings(settings.circuit_breaker.as_ref().expect("a section of the file"))
//!     .listener_fn(|event| println!("{event:?}"))
//!     .build()?;
//! let users = Pipeline::builder("users").settings(&settings).circuit_breaker(breaker).build()?;
//! let pipelines = Pipelines::of([users]);
//! # assert_eq!(pipelines.settings()["users"], settings);
//! # Ok(()) }
//! ```
//!
//! # Change it while the service runs
//!
//! Read the file again when it has changed, and apply it:
//!
//! ```
//! # #[cfg(feature = "serde")] {
//! use std::collections::BTreeMap;
//! use withstand::{pipeline::PipelineSettings, settings::Pipelines};
//!
//! fn reload(pipelines: &Pipelines, text: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let settings: BTreeMap<String, PipelineSettings> = toml::from_str(text)?;
//!     Ok(pipelines.apply(&settings)?)
//! }
//! # let pipelines = Pipelines::of([]);
//! # reload(&pipelines, "").unwrap();
//! # assert!(reload(&pipelines, "[users]\ntimeout = 5").is_err());
//! # }
//! ```
//!
//! - Bad settings change nothing: log the error, and go on. The next good file applies.
//! - What is counted stays: limits, circuits, budgets, slots and queues go on as they are. `apply` of each policy has a
//!   table of what becomes of what.
//! - All handles and layers see the change at once; nothing has to be built again. Calls that run keep their timeouts.
//! - A part can be neither added nor removed, and a pipeline neither: that needs a restart. A file that does so is
//!   refused as a whole, so no other change of it applies until it has the same parts again.
//!
//! `examples/settings.rs` is a service that does so. To notice that a file has changed, it reads the file every second
//! and compares the text. That is simple, and right: a watch on a file loses it when an editor, or Kubernetes, puts
//! another file in its place, and reads half a file when it is too fast. A file that is missing or empty is one that is
//! being written: keep the settings that you have.
//!
//! # From the environment
//!
//! A crate such as [figment](https://docs.rs/figment) lays variables of the environment over a file:
//! `APP_USERS__RETRY__MAX_ATTEMPTS=5`. The example does that too. Durations are text, so they need no care. A variable
//! has no place for a name with a `-` or a `.`, such as that of a host: choose names without.
