//! Testing code that uses policies.
//!
//! # Without policies
//!
//! Most tests of your code are not about policies. Give them a pipeline that only makes the call:
//!
//! ```
//! use std::io;
//! use withstand::{Pipeline, pipeline::BoxPipeline};
//!
//! struct Users {
//!     pipeline: BoxPipeline<String, io::Error>,
//! }
//!
//! impl Users {
//!     async fn greet(&self, id: u64) -> io::Result<String> {
//!         self.pipeline.call(|| async move { Ok(format!("Hello, user {id}!")) }).await
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
//! let users = Users { pipeline: BoxPipeline::none() }; // in the service: `Pipeline::standard("users").boxed()`
//! assert_eq!(users.greet(7).await?, "Hello, user 7!");
//! # let _ = Pipeline::standard("users").boxed::<String, io::Error>();
//! # Ok(()) }
//! ```
//!
//! It needs no runtime with time, starts nothing twice, and ends nothing.
//!
//! # Time
//!
//! All time of the policies is tokio's. In a test with a paused clock no test waits for real time:
//!
//! ```toml
//! [dev-dependencies]
//! tokio = { version = "1", features = ["macros", "rt", "time", "test-util"] }
//! ```
//!
//! ```
//! use std::{future::pending, io, time::Duration};
//! use tokio::time::Instant;
//! use withstand::{CarriesRejected, Rejected, Timeout};
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() { a_hung_call_is_given_up().await }
//! async fn a_hung_call_is_given_up() {
//!     let (timeout, start) = (Timeout::new(Duration::from_secs(60)), Instant::now());
//!
//!     let error = timeout.call(pending::<io::Result<()>>).await.unwrap_err();
//!
//!     assert!(matches!(error.as_rejected(), Some(Rejected::TimedOut(_))));
//!     assert_eq!(start.elapsed(), Duration::from_secs(60)); // of the paused clock: at once
//! }
//! ```
//!
//! - While every task waits for a timer, tokio moves a paused clock to the next timer by itself. So sleeps and timeouts
//!   pass at once.
//! - `tokio::time::advance(..)` moves the clock where no timer does. An open circuit has no timer: it reads the clock
//!   when the next call comes.
//! - Real sockets and a paused clock do not fit together. While every task waits for a socket, the clock moves to the
//!   next timeout.
//! - Make the policies inside of the test. Then no test sees the circuit of another one.
//!
//! # A pipeline
//!
//! A whole pipeline takes no real time either. Where it sleeps, jitter makes the time differ from run to run: ask for a
//! range, or take a backoff without [chance](#chance).
//!
//! ```
//! use std::{future::pending, io, time::Duration};
//! use tokio::time::Instant;
//! use withstand::{CarriesRejected, Pipeline, Rejected};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let (users, start) = (Pipeline::standard("users"), Instant::now());
//! let mut attempts = 0;
//! let hung = || {
//!     attempts += 1;
//!     pending::<io::Result<()>>()
//! };
//!
//! let error = users.call(hung).await.unwrap_err();
//!
//! assert!(matches!(error.as_rejected(), Some(Rejected::TimedOut(_))));
//! assert_eq!(start.elapsed(), Duration::from_secs(5)); // the total timeout
//! assert_eq!(attempts, 3); // two of 2 s, and one with what was left
//! # }
//! ```
//!
//! A test of the settings themselves, with the text of a file and a fake operation. Settings without chance make the
//! elapsed time exact:
//!
//! ```
//! # #[cfg(feature = "serde")] mod with_serde {
//! use std::{future::pending, io, time::Duration};
//! use tokio::time::Instant;
//! use withstand::{circuit_breaker::State, pipeline::PipelineSettings};
//!
//! const SETTINGS: &str = r#"
//!     timeout = "5s"
//!     attempt_timeout = "2s"
//!     retry = { max_attempts = 3, backoff = { constant = { delay = "100ms", jitter = "none" } } }
//!     circuit_breaker = { consecutive_failure_rules = [{ failures = 3, spanning = "0s" }] }
//! "#;
//!
//! # /*
//! #[tokio::test(start_paused = true)]
//! # */
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] pub async fn main() { run().await }
//! # async fn run() { a_call_survives_two_failures_and_three_in_a_row_open_the_circuit().await }
//! async fn a_call_survives_two_failures_and_three_in_a_row_open_the_circuit() {
//!     let settings: PipelineSettings = toml::from_str(SETTINGS).unwrap();
//!     let users = settings.build("users").unwrap();
//!
//!     let start = Instant::now();
//!     let mut attempts = 0;
//!     let flaky = || {
//!         attempts += 1;
//!         let attempt = attempts;
//!         async move {
//!             match attempt {
//!                 1 => pending().await, // hangs, for the attempt timeout
//!                 2 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
//!                 _ => Ok(7),
//!             }
//!         }
//!     };
//!     assert_eq!(users.call(flaky).await.unwrap(), 7);
//!     assert_eq!(start.elapsed(), Duration::from_millis(2000 + 100 + 100)); // a timeout and two sleeps
//!
//!     let down = || async { Err::<u32, _>(io::Error::other("down")) };
//!     assert!(users.call(down).await.is_err());
//!     assert_eq!(users.circuit_breaker().unwrap().state(), State::Open);
//! }
//! # }
//! # #[cfg(feature = "serde")] with_serde::main();
//! ```
//!
//! To see what your code does with an open circuit, or a full bulkhead, take the part out:
//!
//! ```
//! use std::io;
//! use withstand::{CarriesRejected, Pipeline, Rejected};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let users = Pipeline::standard("users");
//! users.circuit_breaker().expect("a standard pipeline has one").force_open();
//!
//! let error = users.call(|| async { Ok::<_, io::Error>(7) }).await.unwrap_err();
//! assert!(matches!(error.as_rejected(), Some(Rejected::CircuitOpen(_))));
//! # }
//! ```
//!
//! # A breaker that opens at once
//!
//! **In a paused test the default breaker never opens.** Its rules ask for consecutive failures that span a time, and
//! in a paused test a thousand failures may happen at one instant. Give the breaker of a test a rule without a time:
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{CircuitBreaker, circuit_breaker::State};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fail = || async { Err::<u32, _>(io::Error::other("down")) };
//!
//! let by_default = CircuitBreaker::new("users");
//! for _ in 0..1000 {
//!     let _ = by_default.call(fail).await;
//! }
//! assert_eq!(by_default.state(), State::Closed);
//!
//! let breaker = CircuitBreaker::builder("users")
//!     .consecutive_failures(3, Duration::ZERO)
//!     .open_for(Duration::from_secs(10))
//!     .no_open_jitter()
//!     .required_successes(1)
//!     .build()?;
//! for _ in 0..3 {
//!     let _ = breaker.call(fail).await;
//! }
//! assert_eq!(breaker.state(), State::Open);
//!
//! tokio::time::advance(Duration::from_secs(10)).await;
//! assert_eq!(breaker.call(|| async { Ok::<_, io::Error>(7) }).await?, 7);
//! assert_eq!(breaker.state(), State::Closed);
//! # Ok(()) }
//! ```
//!
//! In a file the same rule is `consecutive_failure_rules = [{ failures = 3, spanning = "0s" }]`.
//!
//! Where a test is about what your code does with an open circuit, open it:
//! [`force_open`](crate::CircuitBreaker::force_open) and [`force_closed`](crate::CircuitBreaker::force_closed). The
//! other policies have such a setting too: `Bulkhead::new("users", 0)` is always full, a `RateLimiter` with a limit of
//! zero is always spent, and a `Timeout` of zero passes only an answer that is there at once.
//!
//! # Chance
//!
//! The sleeps of a retry and the openings of a circuit are jittered. [`RetryBuilder::seed`](crate::RetryBuilder::seed)
//! and [`CircuitBreakerBuilder::seed`](crate::CircuitBreakerBuilder::seed) make them repeatable. With
//! [`Jitter::None`](crate::retry::Jitter::None), or [`no_open_jitter`](crate::CircuitBreakerBuilder::no_open_jitter),
//! there is no chance at all:
//!
//! ```
//! use std::{io, time::Duration};
//! use tokio::time::Instant;
//! use withstand::{RetryWithBackoff, retry::Constant};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let second = Duration::from_secs(1);
//! let retry = RetryWithBackoff::builder("users").backoff(Constant::new(second)).build()?;
//! let start = Instant::now();
//! let _ = retry.call(|| async { Err::<(), _>(io::Error::other("down")) }).await;
//! assert_eq!(start.elapsed(), 2 * second); // three attempts, and a sleep before the second and the third
//!
//! // The same seed, the same sleeps.
//! let mut took = Vec::new();
//! for _ in 0..2 {
//!     let retry = RetryWithBackoff::builder("users").seed(7).build()?;
//!     let start = Instant::now();
//!     let _ = retry.call(|| async { Err::<(), _>(io::Error::other("down")) }).await;
//!     took.push(start.elapsed());
//! }
//! assert_eq!(took[0], took[1]);
//! # Ok(()) }
//! ```
//!
//! # Rejections without a policy
//!
//! A test of your own error handling needs no circuit. The rejections have constructors: [`CircuitOpen::new`],
//! [`BulkheadFull::new`], [`RateLimited::new`], [`Elapsed::new`].
//!
//! ```
//! use std::{io, time::Duration};
//! use withstand::{BulkheadFull, CarriesRejected, CircuitOpen, Elapsed, Rejected};
//!
//! fn is_worth_another_call(error: &io::Error) -> bool {
//!     error.as_rejected().is_some_and(|rejected| !rejected.was_started())
//! }
//!
//! let open = CircuitOpen::new("users", Some(Duration::from_secs(2)));
//! assert!(is_worth_another_call(&Rejected::from(open).into()));
//! let full = BulkheadFull::new("users", 8, None);
//! assert!(is_worth_another_call(&Rejected::from(full).into()));
//! let late = Elapsed::new(Some("users".into()), Duration::from_secs(1));
//! assert!(!is_worth_another_call(&Rejected::from(late).into()));
//! ```
//!
//! # Events
//!
//! A listener sees what a policy did. It is a closure, so it can collect the events:
//!
//! ```
//! use std::{io, sync::{Arc, Mutex}, time::Duration};
//! use withstand::{CircuitBreaker, circuit_breaker::{Reason, State}};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let seen = Arc::new(Mutex::new(Vec::new()));
//! let breaker = CircuitBreaker::builder("users")
//!     .consecutive_failures(1, Duration::ZERO)
//!     .listener_fn({
//!         let seen = seen.clone();
//!         move |event| seen.lock().unwrap().extend(event.transition().map(|change| (change.to, change.reason)))
//!     })
//!     .build()?;
//!
//! let _ = breaker.call(|| async { Err::<(), _>(io::Error::other("down")) }).await;
//! assert_eq!(*seen.lock().unwrap(), [(State::Open, Reason::ConsecutiveFailures)]);
//! # Ok(()) }
//! ```
//!
//! To test a listener of your own, make the event. [`Transition::new`] makes a change of state that tells nothing else;
//! its fields can be set:
//!
//! ```
//! use std::time::Duration;
//! use withstand::{CircuitBreakerEvent, circuit_breaker::{Reason, State, Transition}};
//!
//! /// What your listener says to whoever is on call.
//! fn page(event: &CircuitBreakerEvent) -> Option<String> {
//!     let transition = event.transition().filter(|transition| transition.to == State::Open)?;
//!     Some(format!("{}: {}, for {:?}", event.name(), transition.reason, transition.open_for?))
//! }
//!
//! let mut transition = Transition::new(State::Closed, State::Open, Reason::ConsecutiveFailures);
//! transition.open_for = Some(Duration::from_secs(1));
//! let event = CircuitBreakerEvent::Transition { name: "users".into(), transition };
//! assert_eq!(page(&event).as_deref(), Some("users: consecutive failures, for 1s"));
//! ```
//!
//! [`BulkheadFull::new`]: crate::BulkheadFull::new
//! [`CircuitOpen::new`]: crate::CircuitOpen::new
//! [`Elapsed::new`]: crate::Elapsed::new
//! [`RateLimited::new`]: crate::RateLimited::new
//! [`Transition::new`]: crate::circuit_breaker::Transition::new
