//! Settings from files: what is wrong is said with its place (C1), and what is written is read as the same (C2).
#![cfg(feature = "serde")]

use std::{collections::BTreeMap, fmt::Debug, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde::{Serialize, de::DeserializeOwned};
use withstand::{
    Bulkhead, BulkheadSettings, CircuitBreaker, CircuitBreakerSettings, ConfigError, Pipeline, RateLimiter,
    RateLimiterSettings, RetrySettings, RetryWithBackoff,
    bulkhead::QueueSettings,
    circuit_breaker::{ConsecutiveFailureRule, FailureRate, SlowCallRate, Window},
    pipeline::PipelineSettings,
    retry::{BackoffSettings, BudgetSettings, Constant, Exponential, Jitter, Linear, RetryBudgetSettings},
    settings::Pipelines,
};

type File = BTreeMap<String, PipelineSettings>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn read(text: &str) -> File {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Why a file is refused.
fn refused(text: &str) -> String {
    toml::from_str::<File>(text).expect_err(text).to_string()
}

/// Written as TOML, read, written as JSON, read.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(settings: &T) -> Result<(), TestCaseError> {
    let text = toml::to_string(settings).expect("TOML can say it");
    let read: T = toml::from_str(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    prop_assert_eq!(&read, settings, "{}", text);
    let json = serde_json::to_string(&read).expect("JSON can say it");
    let read: T = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{json}\n{error}"));
    prop_assert_eq!(&read, settings, "{}", json);
    Ok(())
}

/// Durations of any length from this on, and that without end.
fn spans(least: u64) -> BoxedStrategy<Duration> {
    let any =
        (least..=u64::MAX, 0..60_u32).prop_map(move |(nanos, shift)| Duration::from_nanos((nanos >> shift).max(least)));
    prop_oneof![
        20 => any,
        20 => select(vec![1, 10, 50, 250, 1000, 1500, 90_000, 3_600_000]).prop_map(ms),
        1 => Just(Duration::MAX),
    ]
    .boxed()
}

/// Numbers that TOML can say.
fn numbers() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 1..1000_usize, 1 => Just(i64::MAX as usize)]
}

fn ratios() -> impl Strategy<Value = f64> {
    (1..=1000_u32).prop_map(|thousandths| f64::from(thousandths) / 1000.0)
}

fn windows() -> impl Strategy<Value = Window> {
    let calls = (1..1000_u32, option::of(1..1000_u32)).prop_map(|(calls, min_calls)| {
        min_calls.map_or(Window::calls(calls), |min_calls| Window::calls(calls).min_calls(min_calls.min(calls)))
    });
    let time = (spans(10), option::of(1..=u32::MAX)).prop_map(|(span, min_calls)| {
        min_calls.map_or(Window::time(span), |min_calls| Window::time(span).min_calls(min_calls))
    });
    prop_oneof![calls, time]
}

prop_compose! {
    fn circuit_breakers()(
        rules in vec((1..=u32::MAX, prop_oneof![spans(1), Just(Duration::ZERO)]), 0..4),
        failure_rate in option::of((ratios(), windows())),
        slow_call_rate in option::of((ratios(), spans(1), windows())),
        (open_for, longer) in (spans(1), option::of(0..=u64::MAX)),
        (open_growth, open_jitter) in (1.0..10.0_f64, ratios()),
        (probes, required_successes, probe_timeout) in (numbers(), 1..=u32::MAX, spans(1)),
        count_dropped_after in option::of(spans(0)),
    ) -> CircuitBreakerSettings {
        let mut settings = CircuitBreakerSettings::default();
        settings.failure_rate = failure_rate.map(|(rate, window)| FailureRate::new(rate, window));
        settings.slow_call_rate = slow_call_rate.map(|(rate, after, window)| SlowCallRate::new(rate, after, window));
        let rules: Vec<_> = rules.into_iter().map(|(failures, span)| ConsecutiveFailureRule::new(failures, span)).collect();
        if !rules.is_empty() || settings.failure_rate.is_some() || settings.slow_call_rate.is_some() {
            settings.consecutive_failure_rules = rules;
        }
        settings.open_for = open_for;
        settings.max_open_for = longer.map(|longer| open_for.saturating_add(Duration::from_nanos(longer)));
        // Thousandths, for a parser of JSON need not be exact to the last bit.
        settings.open_growth = (open_growth * 1000.0).round() / 1000.0;
        settings.open_jitter = open_jitter;
        settings.probes = probes;
        settings.required_successes = required_successes;
        settings.probe_timeout = probe_timeout;
        settings.count_dropped_after = count_dropped_after;
        settings
    }
}

fn backoffs() -> impl Strategy<Value = BackoffSettings> {
    let jitter = || select(vec![Jitter::Full, Jitter::Equal, Jitter::None]);
    let range = || (spans(1), spans(1)).prop_map(|(one, other)| (one.min(other), one.max(other)));
    prop_oneof![
        (prop_oneof![spans(1), Just(Duration::ZERO)], jitter())
            .prop_map(|(delay, jitter)| Constant::new(delay).jitter(jitter).into()),
        (range(), jitter()).prop_map(|((first, max), jitter)| Linear::new(first, max).jitter(jitter).into()),
        (range(), 1..50_u8, jitter()).prop_map(|((first, max), factor, jitter)| {
            Exponential::new(first, max).factor(f64::from(factor) + 0.25).jitter(jitter).into()
        }),
    ]
}

fn budgets() -> impl Strategy<Value = BudgetSettings> {
    let own = (any::<u32>(), prop_oneof![ratios(), Just(0.0)], spans(1000)).prop_map(|(tokens, per_success, every)| {
        let mut budget = RetryBudgetSettings::new(tokens);
        (budget.per_success, budget.refill_every) = (per_success, every);
        BudgetSettings::Own(budget)
    });
    prop_oneof![4 => own, 1 => Just(BudgetSettings::Unlimited)]
}

prop_compose! {
    fn retries()(
        max_attempts in 1..=u32::MAX,
        backoff in option::of(backoffs()),
        budget in option::of(budgets()),
        deadline in option::of(spans(1)),
        max_retry_after in spans(0),
    ) -> RetrySettings {
        let mut settings = RetrySettings::default();
        settings.max_attempts = if budget.is_none() { max_attempts.min(11) } else { max_attempts };
        settings.backoff = backoff;
        settings.budget = budget;
        settings.deadline = deadline;
        settings.max_retry_after = max_retry_after;
        settings
    }
}

fn bulkheads() -> impl Strategy<Value = BulkheadSettings> {
    (numbers(), option::of((numbers(), spans(1)))).prop_map(|(max_concurrent, queue)| {
        let mut settings = BulkheadSettings::new(max_concurrent);
        settings.queue = queue.map(|(capacity, max_wait)| QueueSettings::new(capacity, max_wait));
        settings
    })
}

prop_compose! {
    fn rate_limiters()(
        limit in prop_oneof![0..1000_u32, any::<u32>()],
        period in spans(1),
        burst in option::of(prop_oneof![1..1000_u32, 1..=u32::MAX]),
        fixed_window in prop::bool::weighted(0.25),
        queue in option::of((numbers(), spans(1))),
    ) -> RateLimiterSettings {
        // From one call in 18 years to one in each nanosecond.
        let period = period.min(Duration::from_nanos(1 << 59));
        let most = u32::try_from(period.as_nanos()).unwrap_or(u32::MAX);
        let mut settings = RateLimiterSettings::new(limit.min(most), period);
        settings.fixed_window = fixed_window;
        settings.burst = burst.filter(|_| !fixed_window);
        settings.queue = queue.map(|(capacity, max_wait)| QueueSettings::new(capacity, max_wait));
        // One that would be refilled in more than 36 years.
        if settings.build("random").is_err() {
            settings.burst = None;
        }
        settings
    }
}

prop_compose! {
    fn pipelines()(
        (timeout, attempt_timeout) in prop_oneof![
            Just((None, None)),
            (spans(1).prop_filter("it has an end", |span| *span < secs(1 << 30))).prop_map(|span| (None, Some(span))),
            (1..1_000_000_u64, 1..1_000_000_u64).prop_map(|(attempt, more)| (Some(ms(attempt + more)), Some(ms(attempt)))),
        ],
        rate_limiter in option::of(rate_limiters()),
        bulkhead in option::of(bulkheads()),
        retry in option::of(retries()),
        circuit_breaker in option::of(circuit_breakers()),
    ) -> PipelineSettings {
        let mut settings = PipelineSettings::default();
        settings.timeout = timeout;
        settings.attempt_timeout = attempt_timeout;
        settings.rate_limiter = rate_limiter;
        settings.bulkhead = bulkhead;
        settings.retry = retry;
        settings.circuit_breaker = circuit_breaker;
        // What would contradict the timeouts.
        if settings.build("random").is_err() {
            settings.timeout = None;
            settings.attempt_timeout = None;
        }
        settings
    }
}

proptest! {
    #[test]
    fn c2_settings_of_a_circuit_breaker_are_read_as_they_were_written(settings in circuit_breakers()) {
        round_trip(&settings)?;
        let breaker = settings.build("random").expect("good settings");
        prop_assert_eq!(&breaker.settings(), &settings);
        let other = CircuitBreaker::new("other");
        other.apply(&settings).expect("good settings");
        prop_assert_eq!(other.settings(), settings);
    }

    #[test]
    fn c2_settings_of_a_retry_are_read_as_they_were_written(settings in retries()) {
        round_trip(&settings)?;
        let retry = settings.build("random").expect("good settings");
        prop_assert_eq!(&retry.settings(), &settings);
        let other = RetryWithBackoff::new("other");
        other.apply(&settings).expect("good settings");
        prop_assert_eq!(other.settings(), settings);
        prop_assert_eq!(retry.budget().map(|budget| budget.capacity()), other.budget().map(|budget| budget.capacity()));
    }

    #[test]
    fn c2_settings_of_a_bulkhead_are_read_as_they_were_written(settings in bulkheads()) {
        round_trip(&settings)?;
        let bulkhead = settings.build("random").expect("good settings");
        prop_assert_eq!(&bulkhead.settings(), &settings);
        let other = Bulkhead::new("other", 1);
        other.apply(&settings).expect("good settings");
        prop_assert_eq!(other.settings(), settings);
        prop_assert_eq!(bulkhead.snapshot(), other.snapshot());
    }

    #[test]
    fn c2_settings_of_a_rate_limiter_are_read_as_they_were_written(settings in rate_limiters()) {
        round_trip(&settings)?;
        let limiter = settings.build("random").expect("good settings");
        prop_assert_eq!(&limiter.settings(), &settings);
        let other = RateLimiter::builder("other", 1, secs(1));
        let other = if settings.fixed_window { other.fixed_window() } else { other }.build().expect("good settings");
        other.apply(&settings).expect("good settings");
        prop_assert_eq!(other.settings(), settings);
        prop_assert_eq!(limiter.snapshot(), other.snapshot());
    }

    #[test]
    fn c2_settings_of_a_pipeline_are_read_as_they_were_written(settings in pipelines()) {
        let file = BTreeMap::from([("random".to_owned(), settings.clone())]);
        round_trip(&file)?;
        let built = Pipelines::build(&file).expect("good settings");
        prop_assert_eq!(built.settings(), file);
        prop_assert_eq!(built.get("random").map(Pipeline::settings), Some(settings));
    }
}

#[test]
fn c2_code_and_file_say_the_same() {
    let text = r#"
        [users]
        timeout = "5s"
        attempt_timeout = "1s"

        [users.rate_limiter]
        limit = 100
        period = "1m"
        burst = 10
        queue = { capacity = 50, max_wait = "2s" }

        [users.bulkhead]
        max_concurrent = 64
        queue = { capacity = 64, max_wait = "250ms" }

        [users.retry]
        max_attempts = 4
        backoff = { exponential = { first = "100ms", max = "2s" } }
        budget = { own = { tokens = 20 } }
        deadline = "4s"
        max_retry_after = "3s"

        [users.circuit_breaker]
        consecutive_failure_rules = [{ failures = 5 }, { failures = 3, spanning = "1m 30s" }]
        failure_rate = { rate = 0.5, window = { calls = 100, min_calls = 20 } }
        slow_call_rate = { rate = 1, slow_after = "500ms", window = { time = "10s" } }
        open_for = "1s"
        open_growth = 3
        max_open_for = "1m"
        open_jitter = 0.1
        probes = 2
        required_successes = 3
        probe_timeout = "5s"
        count_dropped_after = "800ms"
    "#;
    let file = read(text);
    let in_file = |part: &str| file["users"].build(part.to_owned()).expect("good settings");
    let limiter = RateLimiter::builder("users", 100, secs(60)).burst(10).queue(50, secs(2)).build();
    let bulkhead = Bulkhead::builder("users", 64).queue(64, ms(250)).build();
    let retry = RetryWithBackoff::builder("users")
        .max_attempts(4)
        .backoff(Exponential::new(ms(100), secs(2)))
        .deadline(secs(4))
        .max_retry_after(secs(3))
        .build()
        .map(|retry| retry.settings());
    let mut retry = retry.expect("good settings");
    retry.budget = Some(BudgetSettings::Own(RetryBudgetSettings::new(20)));
    let breaker = CircuitBreaker::builder("users")
        .consecutive_failure_rules([(5, Duration::ZERO), (3, secs(90))])
        .failure_rate(0.5, Window::calls(100).min_calls(20))
        .slow_call_rate(1.0, ms(500), Window::time(secs(10)))
        .open_for(secs(1))
        .open_growth(3.0)
        .max_open_for(secs(60))
        .open_jitter(0.1)
        .probes(2)
        .required_successes(3)
        .probe_timeout(secs(5))
        .count_dropped_after(ms(800))
        .build();
    let in_code = Pipeline::builder("users")
        .timeout(secs(5))
        .rate_limiter(limiter.expect("good settings"))
        .bulkhead(bulkhead.expect("good settings"))
        .retry(retry.build("users").expect("good settings"))
        .circuit_breaker(breaker.expect("good settings"))
        .attempt_timeout(secs(1))
        .build()
        .expect("good settings");
    assert_eq!(in_file("users").settings(), in_code.settings());
    assert_eq!(file["users"], in_code.settings());
    let windows = read("[users.rate_limiter]\nlimit = 5\nperiod = \"1s\"\nfixed_window = true");
    let in_code = RateLimiter::fixed_window("users", 5, secs(1)).expect("good settings");
    assert_eq!(windows["users"].rate_limiter, Some(in_code.settings()));
}

/// The whole file in the docs: its lines that are commented out are good too.
#[test]
fn c2_the_example_in_the_docs_says_everything_that_a_file_can_say() {
    let example = include_str!("../src/settings/example.toml");
    let file = read(example);
    Pipelines::build(&file).expect("good settings");
    let written = serde_json::to_value(&file["users"]).expect("JSON can say it");
    let mut absent = Vec::new();
    fn find_absent(path: &str, value: &serde_json::Value, absent: &mut Vec<String>) {
        match value {
            serde_json::Value::Null => absent.push(path.to_owned()),
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| find_absent(&format!("{path}.{name}"), value, absent));
            }
            _ => {}
        }
    }
    find_absent("users", &written, &mut absent);
    assert_eq!(absent, [""; 0], "in the example nothing is absent");
    let alternatives: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    assert_eq!(alternatives.len(), 3);
    for alternative in alternatives {
        let file = read(&format!("[users.retry]\n{alternative}"));
        Pipelines::build(&file).expect("good settings");
    }
}

#[test]
fn c2_what_a_file_leaves_out_has_its_default() {
    let file = read("[all]\nbulkhead.max_concurrent = 7\n[all.retry]\n[all.circuit_breaker]\n[none]");
    let mut all = PipelineSettings::standard();
    (all.timeout, all.attempt_timeout, all.bulkhead) = (None, None, Some(BulkheadSettings::new(7)));
    assert_eq!(file["all"], all);
    assert_eq!(file["none"], PipelineSettings::default());
    assert_eq!(Pipeline::standard("users").settings(), PipelineSettings::standard());
    assert_eq!(CircuitBreaker::new("users").settings(), CircuitBreakerSettings::default());
    assert_eq!(RetryWithBackoff::new("users").settings(), RetrySettings::default());
    assert_eq!(Bulkhead::new("users", 7).settings(), BulkheadSettings::new(7));
    let seven = RateLimiter::new("users", 7, secs(1)).expect("good settings").settings();
    assert_eq!(seven, RateLimiterSettings::new(7, secs(1)));
    assert_eq!(read("[users.rate_limiter]\nlimit = 7\nperiod = \"1s\"")["users"].rate_limiter, Some(seven));
    let yaml_like: PipelineSettings = serde_json::from_str(r#"{"retry": null, "timeout": null}"#).expect("absent");
    assert_eq!(yaml_like, PipelineSettings::default());
    let set = |retry: &str| read(&format!("[users.retry]\n{retry}"))["users"].retry.clone().expect("it is there");
    assert_eq!(set("budget = \"unlimited\"").budget, Some(BudgetSettings::Unlimited));
    assert_eq!(set("budget = { own = {} }").budget, Some(BudgetSettings::Own(RetryBudgetSettings::new(10))));
    assert_eq!(set("backoff = { constant = { delay = 0 } }").backoff, Some(Constant::new(Duration::ZERO).into()));
    assert_eq!(set("max_retry_after = \"forever\"").max_retry_after, Duration::MAX);
}

#[test]
fn c1_a_file_whose_shape_is_wrong_gets_the_parsers_error_with_its_line() {
    let policies = [
        "",
        ".rate_limiter",
        ".rate_limiter.queue",
        ".retry",
        ".circuit_breaker",
        ".retry.budget.own",
        ".retry.backoff.linear",
    ];
    for policy in policies {
        let error = refused(&format!("[orders]\n[users{policy}]\nmax_retrys = 5"));
        assert!(error.contains("line 3") && error.contains("unknown field `max_retrys`, expected"), "{error}");
    }
    for (text, line, why) in [
        ("[users]\ntimeout = 5", 2, "`5` is not a duration: the number 5 needs a unit; write \"5s\""),
        ("[users]\ntimeout = 1.5", 2, "`1.5` is not a duration: the number 1.5 needs a unit; write \"1.5s\""),
        ("[users]\ntimeout = -1", 2, "`-1` is not a duration: it must not be negative"),
        ("[users]\ntimeout = true", 2, "expected a duration as text, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
        ("[users]\n\nbulkhead = {}", 3, "missing field `max_concurrent`"),
        ("[users]\n\nrate_limiter = { period = \"1s\" }", 3, "missing field `limit`"),
        ("[users]\n\nrate_limiter = { limit = 5 }", 3, "missing field `period`"),
        ("[users.rate_limiter]\nlimit = 5\nperiod = 1", 3, "the number 1 needs a unit; write \"1s\""),
        ("[users.rate_limiter]\nlimit = 4294967296\nperiod = \"1s\"", 2, "invalid value: integer `4294967296`"),
        ("[users.rate_limiter]\nlimit = 5\nper = \"1s\"", 3, "unknown field `per`"),
        ("[users.bulkhead]\nmax_concurrent = -1", 2, "invalid value: integer `-1`"),
        ("[users.bulkhead]\nmax_concurrent = 1\nqueue = { max_wait = \"5s\" }", 3, "missing field `capacity`"),
        ("[users.bulkhead]\nmax_concurrent = 1\nqueue = { wait = \"5s\" }", 3, "unknown field `wait`"),
        ("[users.retry]\nbackoff = { doubling = {} }", 2, "unknown variant `doubling`, expected"),
        ("[users.retry]\nbackoff = { constant = { delay = \"5s\", jitter = \"some\" } }", 2, "unknown variant `some`"),
        (
            "[users.circuit_breaker]\nfailure_rate = { rate = 0.5, window = {} }",
            2,
            "a window is of `calls` or of `time`",
        ),
        (
            "[users.circuit_breaker]\nfailure_rate = { rate = 0.5, window = { calls = 5, time = \"5s\" } }",
            2,
            "a window is of `calls` or of `time`: say one of them",
        ),
        ("[users.circuit_breaker]\nfailure_rate = { rate = 0.5, window = { hits = 5 } }", 2, "unknown field `hits`"),
        ("[users.circuit_breaker]\nfailure_rate = { rate = 0.5 }", 2, "missing field `window`"),
        ("[users.circuit_breaker]\nslow_call_rate = { rate = 0.5, slow = \"1s\" }", 2, "unknown field `slow`"),
        ("[users.circuit_breaker]\nconsecutive_failure_rules = [{ failure = 5 }]", 2, "unknown field `failure`"),
    ] {
        let error = refused(text);
        assert!(error.contains(&format!("line {line}, ")) && error.contains(why), "{text}\n{error}");
    }
}

#[test]
fn c1_values_that_are_wrong_come_all_at_once_each_with_its_path() {
    let file = read(
        r#"
        [orders]
        timeout = "1s"
        attempt_timeout = "2s"

        [stock.rate_limiter]
        limit = 2000
        period = "1us"
        burst = 0
        fixed_window = true
        queue = { capacity = 0, max_wait = "0s" }

        [stock.bulkhead]
        max_concurrent = 1
        queue = { capacity = 0, max_wait = "0s" }

        [users.rate_limiter]
        limit = 2_000_000_000
        period = "1s"

        [users.retry]
        max_attempts = 0
        backoff = { exponential = { first = "5s", max = "1s", factor = 0.5 } }
        budget = { own = { per_success = 7, refill_every = "1ns" } }
        deadline = "0s"

        [users.circuit_breaker]
        consecutive_failure_rules = [{ failures = 0 }]
        failure_rate = { rate = 150, window = { calls = 10, min_calls = 11 } }
        slow_call_rate = { rate = 0.5, slow_after = "0s", window = { time = "1ns" } }
        open_for = "5s"
        open_growth = 0.5
        max_open_for = "1s"
        open_jitter = 2
        probes = 0
        required_successes = 0
        probe_timeout = "0s"
        "#,
    );
    let error = Pipelines::build(&file).expect_err("bad settings");
    let fields = |error: &ConfigError| error.settings().iter().map(|bad| bad.field().to_owned()).collect::<Vec<_>>();
    let expected = [
        "orders.timeout",
        "stock.rate_limiter.limit",
        "stock.rate_limiter.burst",
        "stock.rate_limiter.burst",
        "stock.rate_limiter.queue",
        "stock.rate_limiter.queue",
        "stock.bulkhead.queue",
        "stock.bulkhead.queue",
        "users.rate_limiter.limit",
        "users.retry.max_attempts",
        "users.retry.backoff",
        "users.retry.backoff",
        "users.retry.budget.per_success",
        "users.retry.budget.refill_every",
        "users.retry.deadline",
        "users.circuit_breaker.failure_rate",
        "users.circuit_breaker.failure_rate",
        "users.circuit_breaker.slow_call_rate",
        "users.circuit_breaker.slow_call_rate",
        "users.circuit_breaker.consecutive_failure_rules",
        "users.circuit_breaker.max_open_for",
        "users.circuit_breaker.open_growth",
        "users.circuit_breaker.open_jitter",
        "users.circuit_breaker.probes",
        "users.circuit_breaker.required_successes",
        "users.circuit_breaker.probe_timeout",
    ];
    assert_eq!(fields(&error), expected, "{error}");
    let one = "users.circuit_breaker.failure_rate must be above 0 and at most 1, not 150; ";
    assert!(
        error.to_string().starts_with("bad settings: orders.timeout must be longer than attempt_timeout, 2s, not 1s; ")
    );
    assert!(error.to_string().contains(one), "{error}");

    let error = file["users"].build("users").expect_err("bad settings");
    assert_eq!(fields(&error).len(), 18);
    let first = "bad settings for the pipeline `users`: rate_limiter.limit must be at most one permit";
    assert!(error.to_string().starts_with(first), "{error}");
}

/// `WRITE_SCHEMA=1 cargo test --all-features --test settings schema` writes it anew.
#[cfg(feature = "schemars")]
#[test]
fn c1_the_schema_in_the_docs_is_that_of_the_settings() {
    let schema = schemars::schema_for!(File);
    let text = serde_json::to_string_pretty(&schema).expect("JSON can say it") + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.schema.json");
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &text).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("it is in the docs");
    assert!(committed == text, "docs/settings.schema.json is not that of the settings: write it anew");
    // What a typo would be is refused by an editor too: in every object, and in the only variant of each alternative.
    let objects = text.matches("\"type\": \"object\"").count();
    let closed = text.matches("\"additionalProperties\": false").count();
    assert_eq!(objects, closed + 1, "all but the map of names");
}
