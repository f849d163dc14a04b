//! Migrating from another library: what its settings are called here, and what differs.
//!
//! "Theirs" is what the sources and docs of these libraries said when this page was written. Check the version that you
//! use. The defaults here are in one table for each policy: [`circuit_breaker`], [`retry`], [`timeout`], [`bulkhead`],
//! [`rate_limiter`], [`fallback`]; for a [`Pipeline`] in [this one](crate::pipeline#standard).
//!
//! # What differs from nearly all of them
//!
//! | subject | elsewhere | here |
//! |---|---|---|
//! | error type | the library's own, or an exception | yours: it [carries](crate::guide::errors) a rejection |
//! | default rule of a breaker | a rate of failures | consecutive failures that span a time |
//! | openings | all of one length | grow after each failed probe; jitter shortens them |
//! | what is a failure | every error | every error but our own rejections |
//! | an open circuit inside a retry | an error like others | ends the retry at once |
//! | a full bulkhead, or a spent rate limiter, inside a breaker | a failure like others | ignored |
//! | an answer of 429 | an answer, or a failure | with [`by_status`]: throttled |
//! | a timeout of zero | off, or not allowed | only an answer that is there at once passes |
//! | the number of retries in all | not limited | each retry pays from a [budget](crate::RetryBudget) |
//! | who owns the state | a function, a registry, or a service | a handle: clones and layers share it |
//! | the order of the policies | that in which you add them | a [`Pipeline`] has [one](crate::pipeline#order) |
//! | a total timeout | ends the call when it comes | a [`Deadline`]: no sleep is begun that ends after it |
//! | a registry by name or key | grows without end | [`Keyed`] has a bound |
//! | settings that change | policies are made anew, and forget | [`apply`]: circuits, budgets and slots stay |
//!
//! - Each line speaks of defaults. Most of these libraries have settings that change them.
//! - [`CircuitBreaker::by_rate`] has the rule of the others: a rate, and openings of one length without jitter. The
//!   default of failsafe-go is another one: it opens after one failure.
//! - A throttled answer does not count against the circuit. The retry waits for as long as `Retry-After` says.
//! - Without a classifier a 429 or a 503 is healthy, because the result is `Ok`. Give HTTP clients [`by_status`], or
//!   [`by_error_status`]. A [`Verdict`] has six values, not two.
//! - A timeout that is off is [`Timeout::never`].
//!
//! # A breaker like theirs
//!
//! ```
//! use std::time::Duration;
//! use withstand::{CircuitBreaker, circuit_breaker::Window};
//!
//! # fn main() -> Result<(), withstand::ConfigError> {
//! let secs = Duration::from_secs;
//!
//! let opossum = CircuitBreaker::by_rate("users", 0.5, Window::time(secs(10)).min_calls(1), secs(30)).build()?;
//! let polly = CircuitBreaker::by_rate("users", 0.1, Window::time(secs(30)).min_calls(100), secs(5)).build()?;
//! let tower_resilience = CircuitBreaker::by_rate("users", 0.5, Window::calls(100), secs(30)).build()?;
//! let resilience4j = CircuitBreaker::by_rate("users", 0.5, Window::calls(100), secs(60))
//!     .probes(10)
//!     .required_successes(10)
//!     .build()?;
//! let failsafe_go = CircuitBreaker::builder("users")
//!     .consecutive_failures(1, Duration::ZERO)
//!     .open_for(secs(60))
//!     .no_open_growth()
//!     .no_open_jitter()
//!     .required_successes(1)
//!     .build()?;
//! # Ok(()) }
//! ```
//!
//! # opossum
//!
//! | theirs | ours |
//! |---|---|
//! | `new CircuitBreaker(action, options)`, `fire(..)` | [`CircuitBreaker::new`], `breaker.call(\|\| action(..))` |
//! | `timeout` (10 s; `false` switches it off) | [`Timeout`] inside of the breaker, no default; [`Timeout::never`] |
//! | `errorThresholdPercentage` (50; opens above it) | `failure_rate(0.5, ..)` (opens at it) |
//! | `rollingCountTimeout` (10 s), `rollingCountBuckets` (10) | [`Window::time`]; the slices are always tenths |
//! | `volumeThreshold` (0), `allowWarmUp` | [`Window::min_calls`] |
//! | `resetTimeout` (30 s) | `open_for` |
//! | `capacity` (no limit) | [`Bulkhead`]`::new(name, capacity)` |
//! | `timeout`, `capacity` and `fallback` together | a [`Pipeline`] |
//! | a breaker for each host, in a map of your own | [`Keyed`] |
//! | `new CircuitBreaker(action, { state })` | none: a circuit begins closed |
//! | `errorFilter` | [`by_error`]`().errors_if(is, Verdict::Healthy)` |
//! | `fallback(fn)` | [`Fallback`]`::from_fn` |
//! | `open`, `halfOpen`, `close` events | `listener_fn`, [`Transition`] |
//! | `status`, `stats`, `toJSON()` | [`snapshot`] |
//! | `open()`, `close()`, `disable()` | `force_open()`, `reset()`, `force_closed()` |
//! | `cache`, `coalesce`, `healthCheck` | none |
//!
//! - A breaker there has one action. Here it is made for a dependency, and serves many operations.
//! - A call that finds no `capacity` is a failure there. Here a full bulkhead is ignored by the breaker.
//! - After a timeout the action goes on there, unless an `AbortController` ends it. Here the operation is dropped.
//! - `open()` ends after `resetTimeout` there. `force_open` lasts until you say otherwise.
//!
//! # resilience4j
//!
//! | theirs | ours |
//! |---|---|
//! | `failureRateThreshold` (50 %) | `failure_rate(0.5, ..)` |
//! | `slidingWindowType` `COUNT_BASED`, `slidingWindowSize` (100) | [`Window::calls`]`(100)` |
//! | `TIME_BASED`, a size in seconds | [`Window::time`] |
//! | `minimumNumberOfCalls` (100) | [`Window::min_calls`] |
//! | `slowCallRateThreshold` (100 %), `slowCallDurationThreshold` (60 s) | `slow_call_rate`, off by default |
//! | `waitDurationInOpenState` (60 s) | `open_for` |
//! | `permittedNumberOfCallsInHalfOpenState` (10) | `probes` (at once), and `required_successes` |
//! | `maxWaitDurationInHalfOpenState` (no limit) | `probe_timeout`, on by default |
//! | `recordExceptions`, `ignoreExceptions` | [`by_error`]`().errors_if(is, verdict)` |
//! | `recordResult` | [`by_status`], or [`classify_fn`] |
//! | the states `FORCED_OPEN`, `DISABLED`, `METRICS_ONLY` | `force_open`, `force_closed`, `metrics_only` |
//! | Retry: `maxAttempts` (3, the first included) | `max_attempts`, the same |
//! | `waitDuration` (500 ms, without jitter) | `backoff`; [`Constant`], [`Linear`], [`Exponential`] |
//! | `intervalFunction` | `backoff_fn` |
//! | `retryExceptions`, `retryOnException` | [`retry_if`], or a classifier |
//! | TimeLimiter: `timeoutDuration` (1 s) | [`Timeout`], no default |
//! | Bulkhead: `maxConcurrentCalls` (25), `maxWaitDuration` (0) | [`Bulkhead::builder`], `queue(capacity, max_wait)` |
//! | RateLimiter: `limitForPeriod` (50), `limitRefreshPeriod` (500 ns) | [`RateLimiter`]`::new(name, limit, period)` |
//! | RateLimiter: `timeoutDuration` (5 s, any number of callers wait) | `queue(capacity, max_wait)` |
//! | `Decorators.ofSupplier(..).withRetry(..)`, annotations | a [`Pipeline`] |
//! | `CircuitBreakerRegistry` and the others | [`Keyed`], [`Pipelines`] |
//! | `resilience4j.circuitbreaker.instances.users` in `application.yml` | `[users.circuit_breaker]` in a [file] |
//! | `replace(name, ..)` of a registry | [`apply`], which keeps the state |
//! | Cache | none |
//!
//! - Half-open: they judge the rate over the permitted calls. Here one failed probe opens the circuit again.
//! - Their wait for a bulkhead has no limit on how many wait. Here the queue has a capacity.
//! - The order of their annotations is Retry, CircuitBreaker, RateLimiter, TimeLimiter, Bulkhead, outermost first. Here
//!   the [bulkhead is outside of the retry](crate::guide::choosing#the-order-and-why).
//!
//! # Polly v8
//!
//! | theirs | ours |
//! |---|---|
//! | `FailureRatio` (0.1) | `failure_rate(0.1, ..)` |
//! | `SamplingDuration` (30 s), `MinimumThroughput` (100) | [`Window::time`], [`Window::min_calls`] |
//! | `BreakDuration` (5 s) | `open_for` |
//! | `BreakDurationGenerator` | `open_growth`, `max_open_for` |
//! | `ManualControl`: `IsolateAsync`, `CloseAsync` | `force_open`, `reset` |
//! | `StateProvider` | [`state`](crate::CircuitBreaker::state), [`snapshot`] |
//! | `ShouldHandle` | `classify` |
//! | `MaxRetryAttempts` (3, **without** the first call) | `max_attempts` (the first included): theirs plus one |
//! | `Delay` (2 s), `BackoffType` (constant), `UseJitter` (off) | `backoff`; full jitter by default |
//! | `DelayGenerator` | `backoff_fn`; for `Retry-After`: `retry_after` of the classifier |
//! | `Timeout` (30 s), `TimeoutGenerator` | [`Timeout`], [`with_limit`]; in tower `limit_fn` |
//! | `AddConcurrencyLimiter(permits, queue)` | [`Bulkhead::builder`], `queue(capacity, max_wait)` |
//! | `AddFallback` | [`Fallback`] |
//! | `ResiliencePipelineBuilder`, in your order | [`Pipeline::builder`], in one order |
//! | `ResiliencePipeline<T>` | [`BoxPipeline<T, E>`](crate::pipeline::BoxPipeline) |
//! | `ResiliencePipeline.Empty` | [`BoxPipeline::none()`](crate::pipeline::BoxPipeline::none) |
//! | `ExecuteAsync(callback, state)` | [`call_with_context`] |
//! | `ResiliencePipelineRegistry<TKey>` | [`Keyed`], which has a bound; [`Pipelines`] for a fixed set |
//! | `EnableReloads` | [`apply`]: the state stays |
//! | `AddRateLimiter`: token bucket, fixed window | [`RateLimiter`], [`RateLimiter::fixed_window`] |
//! | hedging, chaos, metrics | none |
//!
//! The standard handler for `HttpClient` (`AddStandardResilienceHandler`) is [`Pipeline::standard`], with other
//! numbers:
//!
//! | part, outermost first | theirs | ours |
//! |---|---|---|
//! | concurrency limit | 1000, no queue; outside of the total timeout | 1000, no queue; inside of it |
//! | total timeout | 30 s | 5 s |
//! | retry | 3 more, from 2 s, with jitter | 2 more, from 50 ms, with jitter and a budget |
//! | breaker | 10 % of at least 100 calls in 30 s; open for 5 s | consecutive failures; open for 0.2 s to 1 s |
//! | attempt timeout | 10 s | 2 s |
//! | what is sent again | every method, unless you disable some | every call, unless it is [`not_idempotent`] |
//! | what is a failure | 408, 429, 5xx, an exception | an error; with [`by_status`] 408 and 5xx too |
//! | a pipeline for each authority | `SelectPipelineByAuthority` | [`Keyed`] with `http::authority` |
//! | `Retry-After` | honoured | honoured with `http::by_response`, up to `max_retry_after` |
//!
//! - Their jitter may make a delay longer. Here jitter only shortens it.
//! - Their timeout cancels a token, and waits until the operation obeys. Here the operation is dropped.
//! - A generated timeout of zero means the configured one there. Here zero is zero.
//!
//! # failsafe-go
//!
//! | theirs | ours |
//! |---|---|
//! | `WithFailureThreshold(n)` (1) | `consecutive_failures(n, Duration::ZERO)` |
//! | `WithFailureThresholdRatio(5, 10)` | `failure_rate(0.5, Window::calls(10))` |
//! | `WithFailureRateThreshold(20, 5, period)` | `failure_rate(0.2, Window::time(period).min_calls(5))` |
//! | `WithFailureThresholdPeriod(n, period)` | none: a rule here is a rate, or an unbroken run |
//! | `WithDelay` (1 min) | `open_for` |
//! | `WithSuccessThreshold(n)` | `required_successes(n)` |
//! | `HandleErrors`, `HandleResult`, `HandleIf` | `classify` |
//! | Retry: `WithMaxAttempts` (3), `WithMaxRetries` (2) | `max_attempts` |
//! | `WithDelay` (none), `WithBackoff(first, max)` | `backoff`: [`Constant`], [`Exponential`]`::new(first, max)` |
//! | `WithJitter`, `WithJitterFactor` | [`Jitter`] |
//! | `WithMaxDuration` | `deadline` |
//! | `AbortOnErrors`, `AbortIf` | a verdict that is not sent again: [`Verdict::Failed`] |
//! | `OnRetry`, `OnRetriesExceeded` | `listener_fn`, [`RetryEvent`](crate::RetryEvent) |
//! | Bulkhead: a size, `WithMaxWaitTime` | [`Bulkhead::builder`], `queue(capacity, max_wait)` |
//! | Timeout: a duration | [`Timeout::new`] |
//! | `With(a, b, c)`: `a` is the outermost | [`Pipeline::builder`], whose order is fixed |
//! | `failsafehttp.NewRoundTripper` | `pipeline.layer()` with `http::by_response` and `http::Idempotent` |
//! | `failsafehttp.NewHandler` | `http::server(..)`: 503 and 504, and 429 for a rate limiter alone |
//! | Rate limiter: bursty (a fixed window), smooth | [`RateLimiter::fixed_window`], [`RateLimiter`] with `burst(1)` |
//! | hedge, adaptive limiter, cache | none |
//!
//! - After the last attempt they return `ErrRetriesExceeded`, unless you ask for the last failure. Here you get the
//!   last result, unchanged.
//! - Their default retry has no delay, and their jitter is added or subtracted. Here jitter only shortens.
//! - A ratio here is taken once the window is full, unless [`Window::min_calls`] says otherwise.
//!
//! # tower-resilience
//!
//! | theirs | ours |
//! |---|---|
//! | `CircuitBreakerLayer::builder()`, `build_with_handle()` | `breaker.layer()`: the policy itself is the handle |
//! | `failure_rate_threshold` (0.5), `sliding_window_size` (100) | `failure_rate(0.5, Window::calls(100))` |
//! | `sliding_window_duration` | [`Window::time`] |
//! | `minimum_number_of_calls` (the window's size) | [`Window::min_calls`], with the same default |
//! | `consecutive_failures(n)` | `consecutive_failures(n, Duration::ZERO)` |
//! | `wait_duration_in_open` (30 s), `permitted_calls_in_half_open` (1) | `open_for`, `probes` |
//! | `slow_call_duration_threshold`, `slow_call_rate_threshold` | `slow_call_rate` |
//! | `failure_classifier`, `classify_response` | `classify` |
//! | `backpressure()` of the breaker | `pending_while_open()` of the layer |
//! | `on_state_transition`, `on_call_rejected` | `listener_fn` |
//! | `RetryLayer`: `max_attempts` (3), exponential from 100 ms | `max_attempts`, `backoff` |
//! | `retry_on`, `retry_on_response` | [`retry_if`], `classify` |
//! | `budget(..)` (none) | `budget(..)`; one by default |
//! | `BulkheadLayer`: `max_concurrent_calls` (25) | [`Bulkhead::new`] |
//! | `max_wait_duration` (no limit) | `queue(capacity, max_wait)` |
//! | `reject_when_full()` | the default |
//! | `TimeLimiterLayer`: `timeout_duration` (5 s), `timeout_fn` | [`Timeout`], no default; `limit_fn` |
//! | `FallbackLayer`: `value`, `from_error`, `service` | [`Fallback`]`::value`, `from_fn`, `service` |
//! | `from_request_error` | `from_request_fn` |
//! | `handle(predicate)` | [`handle_if`](crate::Fallback::handle_if) |
//! | `ResilienceError<E>` | [`Error<E>`](crate::Error) by `LiftLayer`, or your own type |
//! | layers in a `ServiceBuilder` | the one layer of a [`Pipeline`] |
//! | rate limiter | [`RateLimiter`] |
//! | cache, hedging, adaptive limits, health checks, chaos | none |
//!
//! - Their bulkhead lets calls wait without end by default. Here a full bulkhead rejects at once if it has no queue.
//! - Their retry sends again on every error unless told otherwise, an open circuit of a layer below included.
//! - Every policy here has a plain call beside its layer.
//!
//! # backon
//!
//! | theirs | ours |
//! |---|---|
//! | `fetch.retry(ExponentialBuilder::default()).await` | `retry.call(fetch).await` |
//! | `with_min_delay` (1 s), `with_max_delay` (60 s) | [`Exponential`]`::new(first, max)` |
//! | `with_factor` (2) | `factor`, the same default |
//! | `with_max_times` (3, **without** the first call) | `max_attempts` (the first included): theirs plus one |
//! | `with_jitter` (off; makes a delay longer) | [`Jitter`] (full; makes a delay shorter) |
//! | `with_jitter_seed` | `seed` |
//! | `with_total_delay` (the sum of the sleeps) | `deadline` (the time since the call began) |
//! | `ConstantBuilder`, `FibonacciBuilder` | [`Constant`], [`Linear`]; `backoff_fn` for any other sequence |
//! | `.when(predicate)` | [`retry_if`] |
//! | `.notify(..)` | `listener_fn` |
//! | `.adjust(..)`, for `Retry-After` | `retry_after` of the classifier |
//! | `RetryableWithContext` | [`call_with_context`] of a pipeline, which may have only a retry |
//! | `BlockingRetryable` | none: async only |
//!
//! - backon builds a retry for each call. A retry here is made once, because its budget is shared by all calls.
//!
//! # tower's own middleware
//!
//! | theirs | ours |
//! |---|---|
//! | `timeout::TimeoutLayer` | `Timeout::layer`; the error type stays yours, and is not boxed |
//! | `limit::ConcurrencyLimitLayer` | `Bulkhead::layer` with a queue |
//! | `load_shed` over `concurrency_limit` | `Bulkhead::layer` without a queue |
//! | `retry::RetryLayer` with a `Policy` | `RetryWithBackoff::layer`, `classify`, `clone_request_fn` |
//! | `retry::budget::TpsBudget` (10 a second, and 20 % of the calls) | [`RetryBudget`](crate::RetryBudget) |
//! | `limit::RateLimitLayer` | `RateLimiter::layer` with a queue; clones share the limit |
//! | `hedge` | none |
//!
//! - A bulkhead's service is always ready, and takes its slot in `call`. `ConcurrencyLimit` takes it in `poll_ready`.
//! - Below a breaker, the errors of tower's `load_shed` and `buffer` count as failures. Put these layers outside of the
//!   breaker, or name their errors by a rule: [`by_error`]`().errors_if(is_overloaded, Verdict::Ignored)`.
//!
//! # seatbelt
//!
//! | theirs | ours |
//! |---|---|
//! | a tuple of layers, in your order | a [`Pipeline`] |
//! | `into_dynamic()` | [`boxed()`](crate::Pipeline::boxed), which allocates nothing for a success |
//! | `breaker_id(..)`, unbounded | [`Keyed`] |
//! | settings by `serde`; most fields have to be said | [settings][file]: what is absent has its default |
//! | hedging, chaos, OpenTelemetry metrics | none |
//!
//! # What is not here yet
//!
//! Hedging, limits that adapt, and metrics. A listener can count what a policy does, and `tracing` events tell it.
//!
//! [file]: crate::settings#a-file
//! [`apply`]: crate::Pipeline::apply
//! [`call_with_context`]: crate::Pipeline::call_with_context
//! [`Deadline`]: crate::Deadline
//! [`Keyed`]: crate::Keyed
//! [`not_idempotent`]: crate::Pipeline::not_idempotent
//! [`Pipeline`]: crate::Pipeline
//! [`Pipeline::builder`]: crate::Pipeline::builder
//! [`Pipeline::standard`]: crate::Pipeline::standard
//! [`Pipelines`]: crate::settings::Pipelines
//! [`Bulkhead`]: crate::Bulkhead
//! [`RateLimiter`]: crate::RateLimiter
//! [`RateLimiter::fixed_window`]: crate::RateLimiter::fixed_window
//! [`Bulkhead::builder`]: crate::Bulkhead::builder
//! [`Bulkhead::new`]: crate::Bulkhead::new
//! [`CircuitBreaker::by_rate`]: crate::CircuitBreaker::by_rate
//! [`CircuitBreaker::new`]: crate::CircuitBreaker::new
//! [`Constant`]: crate::retry::Constant
//! [`Exponential`]: crate::retry::Exponential
//! [`Fallback`]: crate::Fallback
//! [`Jitter`]: crate::retry::Jitter
//! [`Linear`]: crate::retry::Linear
//! [`Timeout`]: crate::Timeout
//! [`Timeout::never`]: crate::Timeout::never
//! [`Timeout::new`]: crate::Timeout::new
//! [`Transition`]: crate::circuit_breaker::Transition
//! [`Verdict`]: crate::Verdict
//! [`Verdict::Failed`]: crate::Verdict::Failed
//! [`Window::calls`]: crate::circuit_breaker::Window::calls
//! [`Window::min_calls`]: crate::circuit_breaker::Window::min_calls
//! [`Window::time`]: crate::circuit_breaker::Window::time
//! [`bulkhead`]: crate::bulkhead
//! [`rate_limiter`]: mod@crate::rate_limiter
//! [`by_error`]: crate::by_error
//! [`by_error_status`]: crate::by_error_status
//! [`by_status`]: crate::by_status
//! [`circuit_breaker`]: crate::circuit_breaker
//! [`classify_fn`]: crate::classify_fn
//! [`fallback`]: crate::fallback
//! [`retry`]: crate::retry
//! [`retry_if`]: crate::RetryWithBackoff::retry_if
//! [`snapshot`]: crate::CircuitBreaker::snapshot
//! [`timeout`]: crate::timeout
//! [`with_limit`]: crate::Timeout::with_limit
