//! Bad settings (G4): one error names every one of them, nothing is clamped, and the longest durations there are work.
//! And the defaults: the table in each module's docs is what the code does.

use std::time::Duration;

use withstand::{
    Bulkhead, CircuitBreaker, CircuitBreakerBuilder, ConfigError, Pipeline, PipelineBuilder, RateLimiter, RetryBudget,
    RetryWithBackoff, Timeout,
    circuit_breaker::Window,
    retry::{Constant, Exponential, Jitter, Linear},
};

fn fields(error: &ConfigError) -> Vec<&str> {
    error.settings().iter().map(|setting| setting.field()).collect()
}

fn rejected(builder: CircuitBreakerBuilder) -> ConfigError {
    builder.build().expect_err("bad settings")
}

#[test]
fn g4_one_error_names_every_bad_setting_of_a_circuit_breaker() {
    let builder = CircuitBreaker::builder("users")
        .failure_rate(f64::NAN, Window::calls(0))
        .slow_call_rate(1.5, Duration::ZERO, Window::time(Duration::from_nanos(9)).min_calls(0))
        .consecutive_failures(0, Duration::ZERO)
        .open_for(Duration::ZERO)
        .open_growth(0.5)
        .open_jitter(f64::INFINITY)
        .probes(0)
        .required_successes(0)
        .probe_timeout(Duration::ZERO);
    let error = rejected(builder);
    let expected = [
        "failure_rate",
        "failure_rate",
        "failure_rate",
        "slow_call_rate",
        "slow_call_rate",
        "slow_call_rate",
        "slow_call_rate",
        "consecutive_failure_rules",
        "open_for",
        "open_growth",
        "open_jitter",
        "probes",
        "required_successes",
        "probe_timeout",
    ];
    assert_eq!(fields(&error), expected, "{error}");
}

#[test]
fn g4_rates_out_of_range_are_rejected() {
    for rate in [0.0, -0.5, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let builder = CircuitBreaker::builder("users").failure_rate(rate, Window::calls(10));
        assert_eq!(fields(&rejected(builder)), ["failure_rate"], "{rate}");
    }
    for growth in [0.0, 0.999, f64::NAN, f64::INFINITY] {
        assert_eq!(fields(&rejected(CircuitBreaker::builder("users").open_growth(growth))), ["open_growth"]);
    }
    for jitter in [-0.1, 1.1, f64::NAN] {
        assert_eq!(fields(&rejected(CircuitBreaker::builder("users").open_jitter(jitter))), ["open_jitter"]);
    }
}

#[test]
fn g4_contradictions_are_rejected() {
    let builder = CircuitBreaker::builder("users");
    let shorter = rejected(builder.open_for(Duration::from_secs(60)).max_open_for(Duration::from_secs(59)));
    assert_eq!(
        shorter.to_string(),
        "bad settings for the circuit breaker `users`: max_open_for must be at least open_for, 60s, not 59s"
    );
    assert_eq!(shorter.settings()[0].why(), "must be at least open_for, 60s, not 59s");
    let never_full = CircuitBreaker::builder("users").failure_rate(0.5, Window::calls(10).min_calls(11));
    assert_eq!(fields(&rejected(never_full)), ["failure_rate"]);
    assert_eq!(
        fields(&rejected(CircuitBreaker::builder("users").no_consecutive_failures())),
        ["consecutive_failure_rules"]
    );
}

#[test]
fn g4_bad_settings_of_a_retry_are_rejected() {
    let error = RetryWithBackoff::builder("users")
        .max_attempts(0)
        .backoff(Exponential::new(Duration::from_secs(2), Duration::from_secs(1)).factor(f64::NAN))
        .deadline(Duration::ZERO)
        .build()
        .expect_err("bad settings");
    assert_eq!(fields(&error), ["max_attempts", "backoff", "backoff", "deadline"], "{error}");
    let zero = Exponential::new(Duration::ZERO, Duration::from_secs(1));
    let error = RetryWithBackoff::builder("users").backoff(zero).build().expect_err("it could not grow");
    assert_eq!(fields(&error), ["backoff"]);
    for factor in [0.0, 0.999, f64::INFINITY, f64::NEG_INFINITY] {
        let shrinking = Exponential::new(Duration::from_secs(1), Duration::from_secs(2)).factor(factor);
        let error = RetryWithBackoff::builder("users").backoff(shrinking).build().expect_err("it must not shrink");
        assert_eq!(fields(&error), ["backoff"], "{factor}");
    }
}

#[test]
fn r5_attempts_that_the_default_bucket_could_not_pay_are_rejected_until_a_budget_is_said() {
    let builder = || RetryWithBackoff::builder("users").max_attempts(12);
    let error = builder().build().expect_err("contradictory");
    assert_eq!(
        error.to_string(),
        "bad settings for the retry `users`: max_attempts of 12 is more than the default budget of 10 retries pays for: say `budget` or `no_budget`"
    );
    assert!(RetryWithBackoff::builder("users").max_attempts(11).build().is_ok());
    assert!(builder().no_budget().build().is_ok());
    assert!(builder().budget(&RetryBudget::new(1)).build().is_ok());
    assert!(builder().max_attempts(u32::MAX).no_budget().build().is_ok());
}

#[test]
fn g4_bad_settings_of_a_bulkhead_are_rejected() {
    let error = Bulkhead::builder("users", 1).queue(0, Duration::ZERO).build().expect_err("bad settings");
    assert_eq!(fields(&error), ["queue", "queue"], "{error}");
}

#[test]
fn g4_bad_settings_of_a_rate_limiter_are_rejected() {
    const SECOND: Duration = Duration::from_secs(1);
    let builder = RateLimiter::builder("api", 2, Duration::ZERO).burst(0).fixed_window().queue(0, Duration::ZERO);
    let error = builder.build().expect_err("bad settings");
    assert_eq!(fields(&error), ["period", "burst", "burst", "queue", "queue"], "{error}");
    for new in [RateLimiter::new, RateLimiter::fixed_window] {
        let error = new("api", 1_000_000_001, SECOND).expect_err("faster than the clock");
        assert_eq!(
            error.to_string(),
            "bad settings for the rate limiter `api`: limit must be at most one permit for each nanosecond of the period"
        );
        assert!(new("api", 1_000_000_000, SECOND).is_ok());
        assert_eq!(fields(&new("api", 1, Duration::MAX).expect_err("too long to count")), ["period"]);
        assert!(new("api", 0, SECOND).expect("it rejects every call").try_acquire().is_err());
    }
    let day = Duration::from_secs(86_400);
    let error = RateLimiter::builder("api", 1, day).burst(20_000).build().expect_err("54 years");
    assert_eq!(fields(&error), ["burst"], "{error}");
    assert!(RateLimiter::builder("api", 1, day).burst(10_000).build().is_ok());
}

#[test]
fn g4_the_largest_settings_there_are_work_or_are_rejected() {
    let most = CircuitBreaker::builder("users")
        .failure_rate(1.0, Window::time(Duration::MAX).min_calls(u32::MAX))
        .slow_call_rate(1.0, Duration::MAX, Window::time(Duration::MAX))
        .consecutive_failures(u32::MAX, Duration::MAX)
        .open_for(Duration::MAX)
        .open_growth(f64::MAX)
        .max_open_for(Duration::MAX)
        .probes(usize::MAX)
        .required_successes(u32::MAX)
        .probe_timeout(Duration::MAX)
        .count_dropped_after(Duration::MAX)
        .seed(u64::MAX)
        .build()
        .expect("good settings");
    for _ in 0..100 {
        most.try_acquire().expect("it is closed").failure();
        drop(most.try_acquire().expect("it is closed"));
    }
    let too_many = CircuitBreaker::builder("users").failure_rate(0.5, Window::calls(u32::MAX));
    assert_eq!(fields(&rejected(too_many)), ["failure_rate"]);
    let longest = Exponential::new(Duration::MAX, Duration::MAX).factor(f64::MAX);
    let retry = RetryWithBackoff::builder("users").backoff(longest).deadline(Duration::MAX);
    assert!(retry.max_retry_after(Duration::MAX).build().is_ok());
    assert!(RetryWithBackoff::builder("users").backoff(Constant::new(Duration::MAX)).build().is_ok());
    let bulkhead = Bulkhead::builder("users", usize::MAX).queue(usize::MAX, Duration::MAX).build();
    assert!(bulkhead.expect("good settings").try_acquire().is_ok());
    let years = 36 * Duration::from_secs(365 * 86_400);
    let limiter = RateLimiter::builder("users", u32::MAX, years).queue(usize::MAX, Duration::MAX).build();
    assert!(limiter.expect("good settings").try_acquire_many(u32::MAX).is_ok());
    drop(Timeout::new(Duration::MAX).call(|| std::future::ready(Ok::<_, std::io::Error>(()))));
}

#[test]
fn g4_the_smallest_settings_there_are_work() {
    const TICK: Duration = Duration::from_nanos(1);
    let least = CircuitBreaker::builder("users")
        .failure_rate(f64::MIN_POSITIVE, Window::calls(1))
        .slow_call_rate(f64::MIN_POSITIVE, TICK, Window::time(10 * TICK).min_calls(1))
        .consecutive_failures(1, Duration::ZERO)
        .open_for(TICK)
        .open_growth(1.0)
        .max_open_for(TICK)
        .open_jitter(0.0)
        .probes(1)
        .required_successes(1)
        .probe_timeout(TICK)
        .count_dropped_after(Duration::ZERO)
        .seed(0)
        .build()
        .expect("good settings");
    for _ in 0..100 {
        let _ = least.try_acquire().map(|permit| permit.failure());
    }
    let backoff = Exponential::new(TICK, TICK).factor(1.0);
    let retry = RetryWithBackoff::builder("users").max_attempts(1).backoff(backoff).deadline(TICK).seed(0);
    assert!(retry.max_retry_after(Duration::ZERO).budget(&RetryBudget::new(0)).build().is_ok());
    assert!(Bulkhead::builder("users", 0).queue(1, TICK).build().is_ok());
    let limiter = RateLimiter::builder("users", 1, TICK).burst(1).queue(1, TICK).build().expect("good settings");
    assert!(limiter.try_acquire().is_ok());
}

#[test]
fn a_policy_tells_the_name_it_was_given() {
    assert_eq!(CircuitBreaker::new("users").name(), "users");
    assert_eq!(RetryWithBackoff::new("users").name(), "users");
    assert_eq!(Bulkhead::new("users", 1).name(), "users");
    let limiter = RateLimiter::new("users", 1, Duration::from_secs(1)).expect("good settings");
    assert_eq!(limiter.name(), "users");
}

/// The rows of the table under `# Defaults` in a module's docs.
fn defaults(source: &str) -> Vec<(&str, &str)> {
    rows(source, "# Defaults")
}

/// The rows of the table under a heading in a module's docs.
fn rows<'s>(source: &'s str, heading: &str) -> Vec<(&'s str, &'s str)> {
    let section = source.split(&format!("//! {heading}\n")).nth(1).expect("a section of that name");
    let rows = section.lines().skip(1).skip_while(|line| !line.starts_with("//! |"));
    let rows = rows.take_while(|line| line.starts_with("//! |")).skip(2);
    rows.map(|row| {
        let mut cells = row.trim_start_matches("//!").split('|').map(str::trim).skip(1);
        (cells.next().expect("a setting"), cells.next().expect("a default"))
    })
    .collect()
}

/// Each default as the docs say it, beside what must stand in the builder for that to be true.
fn assert_defaults(source: &str, built: &str, expected: &[(&str, &str, &str)]) {
    let said: Vec<_> = expected.iter().map(|(setting, default, _)| (*setting, *default)).collect();
    assert_eq!(defaults(source), said);
    for (setting, _, code) in expected {
        assert!(built.contains(code), "{setting}: no `{code}` in {built}");
    }
}

#[test]
fn defaults_of_the_circuit_breaker_are_those_of_its_table() {
    let windows = format!("{:?} {:?}", Window::calls(7), Window::time(Duration::from_secs(7)));
    let built = format!("{:?} {windows}", CircuitBreaker::builder("users"));
    assert_defaults(
        include_str!("../src/circuit_breaker/mod.rs"),
        &built,
        &[
            (
                "`consecutive_failure_rules`",
                "at least 20 that span at least 200 ms, or at least 8 that span at least 1.5 s",
                "ConsecutiveFailureRule { failures: 20, spanning: 200ms }",
            ),
            ("`failure_rate`", "off", "failure_rate: None"),
            ("`slow_call_rate`", "off", "slow_call_rate: None"),
            ("`open_for`", "200 ms", "open_for: 200ms"),
            ("`open_growth`", "2", "open_growth: 2.0"),
            ("`max_open_for`", "1 s, or `open_for` if that is longer", "max_open_for: None"),
            ("`open_jitter`", "0.2", "open_jitter: 0.2"),
            ("`probes`", "1 at once", "probes: 1,"),
            ("`required_successes`", "2", "required_successes: 2"),
            ("`probe_timeout`", "10 s", "probe_timeout: 10s"),
            ("`count_dropped_after`", "off: a dropped call says nothing", "count_dropped_after: None"),
            ("`Window::calls(n)`", "no rate before it holds n calls", "Calls(7), min_calls: 7"),
            ("`Window::time(span)`", "no rate before it holds 20 calls", "Time(7s), min_calls: 20"),
        ],
    );
}

/// What `max_open_for` is when it is not set cannot be seen in a builder.
#[tokio::test(start_paused = true)]
async fn defaults_of_the_circuit_breaker_cap_openings_at_a_second_or_at_a_longer_first_one() {
    #![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]
    let longest_opening = async |builder: CircuitBreakerBuilder| {
        let breaker = builder.consecutive_failures(1, Duration::ZERO).no_open_jitter().build().expect("good settings");
        let mut openings = Vec::new();
        for _ in 0..9 {
            breaker.try_acquire().expect("closed, or a probe").failure();
            openings.push(breaker.snapshot().time_left.expect("it is open"));
            tokio::time::advance(*openings.last().expect("just pushed")).await;
        }
        assert!(openings.is_sorted());
        openings[8]
    };
    let builder = || CircuitBreaker::builder("users");
    assert_eq!(longest_opening(builder()).await, Duration::from_secs(1));
    assert_eq!(longest_opening(builder().open_for(Duration::from_secs(7))).await, Duration::from_secs(7));
}

#[test]
fn defaults_of_the_retry_are_those_of_its_table() {
    assert_defaults(
        include_str!("../src/retry/mod.rs"),
        &format!("{:?} {:?}", RetryWithBackoff::builder("users"), RetryWithBackoff::new("users")),
        &[
            ("`max_attempts`", "3, the first included", "max_attempts: 3"),
            (
                "`backoff`",
                "50 ms, doubling up to 10 s, full jitter",
                "Exponential { first: 50ms, max: 10s, factor: 2.0, jitter: Full }",
            ),
            ("`budget`", "a [bucket](RetryBudget) of 10 tokens of its own", "budget: Some(RetryBudget(10 of 10))"),
            ("`deadline`", "none", "deadline: None"),
            (
                "`max_retry_after`",
                "10 s: two waits of that length are what a caller still waits for",
                "max_retry_after: 10s",
            ),
            ("`seed`", "none: no two calls share a sequence of delays", "seed: None"),
        ],
    );
}

#[test]
fn r5_settings_of_a_budget_that_cannot_be_are_refused_and_the_smallest_ones_work() {
    for tokens in [-0.1, 0.000_9, 1.1, f64::NAN, f64::INFINITY] {
        let error = RetryBudget::builder(10).per_success(tokens).build().expect_err("it would be rounded to another");
        assert_eq!(fields(&error), ["per_success"], "{tokens}");
    }
    let error =
        RetryBudget::builder(10).per_success(2.0).refill_every(Duration::ZERO).build().expect_err("bad settings");
    assert_eq!(
        error.to_string(),
        "bad settings for the retry budget `10 tokens`: per_success must be 0, or from 0.001 to 1, not 2; \
         refill_every must be at least 1 µs, not 0ns"
    );
    for tokens in [0.0, 0.001, 1.0] {
        assert!(RetryBudget::builder(u32::MAX).per_success(tokens).refill_every(Duration::MAX).build().is_ok());
    }
    assert!(RetryBudget::builder(0).no_refill().build().is_ok());
}

#[test]
fn defaults_of_the_budget_are_those_of_its_table() {
    let built = format!("{:?} {:?}", RetryBudget::builder(10), RetryBudget::new(10));
    let table = include_str!("../src/retry/budget.rs");
    for (row, code) in [
        ("/// | an attempt succeeds | + 0.1 |", "per_success: 0.1"),
        ("/// | a minute passes | + 1 |", "refill_every: 60s"),
    ] {
        assert!(table.contains(row) && built.contains(code), "{row}: {built}");
    }
}

#[test]
fn defaults_of_the_others_are_those_of_their_tables() {
    assert_defaults(
        include_str!("../src/timeout/mod.rs"),
        &format!("{:?}", Timeout::new(Duration::from_secs(2))),
        &[("limit", "none: you name it", "limit: 2s"), ("name", "none", "reporter: TimeoutReporter(None)")],
    );
    assert_defaults(
        include_str!("../src/bulkhead/mod.rs"),
        &format!("{:?}", Bulkhead::builder("users", 16)),
        &[
            ("`max_concurrent`", "none: you name it", "max_concurrent: 16"),
            ("`queue`", "none: a call that finds no slot is rejected at once", "queue: None"),
        ],
    );
    assert_defaults(
        include_str!("../src/rate_limiter/mod.rs"),
        &format!("{:?}", RateLimiter::builder("users", 16, Duration::from_secs(9))),
        &[
            ("`limit`", "none: you name it", "limit: 16"),
            ("`period`", "none: you name it", "period: 9s"),
            ("`burst`", "the limit", "burst: None"),
            ("`queue`", "none: a call that finds no permit is rejected at once", "queue: None"),
        ],
    );
    assert_defaults(
        include_str!("../src/fallback/mod.rs"),
        &format!("{:?}", withstand::Fallback::value(7)),
        &[
            ("handled", "every error, our own rejections included; no answer", "handled: EveryError"),
            ("name", "none", "name: None"),
        ],
    );
}

#[test]
fn p7_the_standard_pipeline_is_that_of_its_table() {
    let builder = Pipeline::standard_builder("users");
    let built = format!("{builder:?}");
    let standard = builder.build().expect("nothing in it contradicts anything");
    let expected = [
        ("`timeout`", "5 s in all", "total: Some(Timeout { limit: 5s,"),
        ("`bulkhead`", "1000 calls at once; no queue", "BulkheadSettings { max_concurrent: 1000, queue: None }"),
        ("`retry`", "[`RetryWithBackoff::new`](crate::retry#defaults): 3 attempts", "max_attempts: 3, backoff: None"),
        (
            "`circuit_breaker`",
            "[`CircuitBreaker::new`](crate::circuit_breaker#defaults)",
            "ConsecutiveFailureRule { failures: 20, spanning: 200ms }",
        ),
        ("`attempt_timeout`", "2 s for each attempt", "attempt: Some(Timeout { limit: 2s,"),
        (
            "`classify`",
            "[by the error](crate::ByError): every error of the operation is a failure",
            "classifier: ByError, fallback",
        ),
        ("`fallback`", "none", "fallback: NoFallback"),
    ];
    let said: Vec<_> = expected.iter().map(|(setting, default, _)| (*setting, *default)).collect();
    assert_eq!(rows(include_str!("../src/pipeline/mod.rs"), "# Standard"), said);
    for (setting, _, code) in expected {
        assert!(built.contains(code), "{setting}: no `{code}` in {built}");
    }
    // The parts are those that `new` makes, under the pipeline's name.
    let retry = format!("{:?}", RetryWithBackoff::new("users"));
    assert_eq!(format!("{:?}", standard.retry().expect("it has one")), retry);
    let names = [standard.name(), standard.bulkhead().expect("it has one").name()];
    assert_eq!((names, standard.circuit_breaker().expect("it has one").name()), (["users"; 2], "users"));
    let seconds = [standard.timeout(), standard.attempt_timeout()].map(|limit| limit.map(|limit| limit.as_secs()));
    assert_eq!(seconds, [Some(5), Some(2)]);
}

/// Builders that contradict themselves in one way each, in the order of the table, with the setting that is named and why.
fn contradictions() -> Vec<(&'static str, PipelineBuilder, &'static str, &'static str)> {
    let (second, ms) = (Duration::from_secs(1), Duration::from_millis);
    let new = || Pipeline::builder("users");
    let retry = |backoff: Constant| RetryWithBackoff::builder("users").backoff(backoff).build().expect("good settings");
    let breaker =
        |builder: CircuitBreakerBuilder| new().attempt_timeout(second).circuit_breaker(builder.build().expect("good"));
    let users = || CircuitBreaker::builder("users");
    vec![
        ("a `timeout` of zero", new().timeout(Duration::ZERO), "timeout", "must be above zero"),
        (
            "an `attempt_timeout` of zero",
            new().attempt_timeout(Duration::ZERO),
            "attempt_timeout",
            "must be above zero",
        ),
        (
            "a `timeout` not longer than `attempt_timeout`",
            new().timeout(second).attempt_timeout(second),
            "timeout",
            "must be longer than attempt_timeout, 1s, not 1s",
        ),
        (
            "a `rate_limiter` in whose queue a call waits for `timeout` or longer",
            new()
                .timeout(second)
                .rate_limiter(RateLimiter::builder("users", 1, ms(1)).queue(1, second).build().expect("good settings")),
            "rate_limiter",
            "has a queue in which a call waits for 1s, not shorter than timeout, 1s",
        ),
        (
            "a `bulkhead` in whose queue a call waits for `timeout` or longer",
            new()
                .timeout(second)
                .bulkhead(Bulkhead::builder("users", 1).queue(1, second).build().expect("good settings")),
            "bulkhead",
            "has a queue in which a call waits for 1s, not shorter than timeout, 1s",
        ),
        (
            "a `retry` whose first sleep is never shorter than `timeout`",
            new().timeout(second).retry(retry(Constant::new(second))),
            "retry",
            "sleeps for at least 1s before a second attempt, not shorter than timeout, 1s",
        ),
        (
            "a `circuit_breaker` with a time window shorter than two attempts of `attempt_timeout`",
            breaker(users().failure_rate(0.5, Window::time(ms(1999)))),
            "circuit_breaker",
            "has a window shorter than two attempts of attempt_timeout, 1s: it would never hold two failures",
        ),
        (
            "one that counts a call as slow only after `attempt_timeout`",
            breaker(users().slow_call_rate(0.5, second, Window::calls(10))),
            "circuit_breaker",
            "counts a call as slow only after attempt_timeout, 1s, has ended it",
        ),
        (
            "one that counts a dropped call only after `attempt_timeout`",
            breaker(users().count_dropped_after(second)),
            "circuit_breaker",
            "counts a dropped call only after attempt_timeout, 1s, has ended it",
        ),
        (
            "one whose `probe_timeout` is not longer than `attempt_timeout`",
            breaker(users().probe_timeout(second)),
            "circuit_breaker",
            "has a probe_timeout of 1s, not longer than attempt_timeout, 1s",
        ),
    ]
}

#[test]
fn p7_g4_each_contradiction_of_the_table_is_refused_with_its_reason() {
    let said = rows(include_str!("../src/pipeline/mod.rs"), "# Contradictions");
    let contradictions = contradictions();
    assert_eq!(
        said.iter().map(|(refused, _)| *refused).collect::<Vec<_>>(),
        contradictions.iter().map(|row| row.0).collect::<Vec<_>>()
    );
    for (what, builder, field, why) in contradictions {
        let error = builder.build().expect_err(what);
        let settings: Vec<_> = error.settings().iter().map(|setting| (setting.field(), setting.why())).collect();
        assert_eq!(settings, [(field, why)], "{what}");
        assert_eq!(error.to_string(), format!("bad settings for the pipeline `users`: {field} {why}"));
    }
}

#[test]
fn p7_g4_all_contradictions_are_in_one_error() {
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder("users")
        .failure_rate(0.5, Window::time(second))
        .slow_call_rate(0.5, 2 * second, Window::calls(10))
        .count_dropped_after(2 * second)
        .probe_timeout(second);
    let sleeps = RetryWithBackoff::builder("users").backoff(Constant::new(2 * second)).build().expect("good settings");
    let error = Pipeline::builder("users")
        .timeout(second)
        .rate_limiter(RateLimiter::builder("users", 1, second).queue(1, 2 * second).build().expect("good settings"))
        .bulkhead(Bulkhead::builder("users", 1).queue(1, 2 * second).build().expect("good settings"))
        .retry(sleeps)
        .circuit_breaker(breaker.build().expect("good settings"))
        .attempt_timeout(second)
        .build()
        .expect_err("nothing of it fits");
    let breakers = ["circuit_breaker"; 4];
    assert_eq!(fields(&error), [&["timeout", "rate_limiter", "bulkhead", "retry"][..], &breakers].concat(), "{error}");
    let both = Pipeline::builder("users").timeout(Duration::ZERO).attempt_timeout(Duration::ZERO).build();
    assert_eq!(fields(&both.expect_err("both are zero")), ["timeout", "attempt_timeout", "timeout"]);
}

/// One nanosecond less, or more.
#[test]
fn p7_g4_what_just_fits_is_accepted() {
    const TICK: Duration = Duration::from_nanos(1);
    let second = Duration::from_secs(1);
    let breaker = CircuitBreaker::builder("users")
        .failure_rate(0.5, Window::time(2 * second))
        .slow_call_rate(0.5, second - TICK, Window::calls(10))
        .count_dropped_after(second - TICK)
        .probe_timeout(second + TICK);
    let retry = RetryWithBackoff::builder("users").backoff(Constant::new(second)).build().expect("good settings");
    let builder = || {
        Pipeline::builder("users")
            .timeout(second + TICK)
            .rate_limiter(RateLimiter::builder("users", 1, second).queue(1, second).build().expect("good settings"))
            .bulkhead(Bulkhead::builder("users", 1).queue(1, second).build().expect("good settings"))
            .retry(retry.clone())
            .attempt_timeout(second)
    };
    assert!(builder().circuit_breaker(breaker.build().expect("good settings")).build().is_ok());
    // What has no limit contradicts nothing.
    for never in [Timeout::never(), Timeout::new(Duration::MAX)] {
        assert!(builder().timeout(never.clone()).build().is_ok());
        let unlimited = builder().attempt_timeout(never).build().expect("good settings");
        assert_eq!((unlimited.timeout(), unlimited.attempt_timeout()), (Some(second + TICK), None));
    }
    assert!(Pipeline::builder("users").build().is_ok(), "it has no part at all");
}

#[test]
fn p7_a_sleep_is_judged_by_the_shortest_that_chance_makes_of_it() {
    let (second, ms) = (Duration::from_secs(1), Duration::from_millis);
    let is_refused = |retry: RetryWithBackoff| Pipeline::builder("users").timeout(second).retry(retry).build().is_err();
    let retry = || RetryWithBackoff::builder("users");
    for (jitter, half, whole) in
        [(Jitter::Full, false, false), (Jitter::Equal, false, true), (Jitter::None, true, true)]
    {
        for (delay, expected) in [(ms(1500), half), (ms(2000), whole)] {
            let constant = retry().backoff(Constant::new(delay).jitter(jitter)).build().expect("good settings");
            let linear = retry().backoff(Linear::new(delay, 9 * delay).jitter(jitter)).build().expect("good settings");
            let doubling = retry().backoff(Exponential::new(delay, 9 * delay).jitter(jitter)).build().expect("good");
            for retry in [constant, linear, doubling] {
                assert_eq!(is_refused(retry), expected, "{jitter:?}, {delay:?}");
            }
        }
    }
    // Where there is no second attempt, and where only a closure knows.
    let long = Constant::new(9 * second);
    assert!(!is_refused(retry().backoff(long).max_attempts(1).build().expect("good settings")));
    assert!(!is_refused(retry().backoff_fn(move || std::iter::repeat(9 * second)).build().expect("good settings")));
}
