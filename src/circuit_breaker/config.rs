use std::time::Duration;

use super::event::CircuitBreakerEvent;
use crate::{
    classify::ByError,
    clock::nanos,
    error::{Check, ConfigError, Name},
    event::Reporter,
    window::{CountWindow, SLICES, SlidingWindow, TimeWindow},
};

/// The most calls that a window can hold. Each of them takes a bit: 2 MiB.
const MAX_CALLS: u32 = 1 << 24;

/// The calls that a rate is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    span: Span,
    min_calls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Calls(u32),
    Time(Duration),
}

impl Window {
    /// The last `calls` calls, at most 16,777,216. Old ones leave one by one.
    ///
    /// No rate is taken before the window is full, unless [`min_calls`](Self::min_calls) says so.
    pub const fn calls(calls: u32) -> Self {
        Self { span: Span::Calls(calls), min_calls: calls }
    }

    /// The calls of the last `span`, at least 10 ns.
    ///
    /// A call that ended less than `span` ago always counts. A call that ended more than `span` and a tenth of it ago
    /// never counts. Between the two it depends on when the call ended: time is cut into slices of a tenth of `span`,
    /// counted from the start of the generation, and the calls of a slice leave together, `span` after it has ended.
    ///
    /// No rate is taken before it holds 20 calls, unless [`min_calls`](Self::min_calls) says otherwise.
    pub const fn time(span: Duration) -> Self {
        Self { span: Span::Time(span), min_calls: 20 }
    }

    /// How many calls it must hold before a rate is taken.
    #[must_use]
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    fn check(self, check: &mut Check, field: &'static str) {
        check.refuse_if(self.min_calls == 0, field, "must have min_calls of at least 1");
        match self.span {
            Span::Calls(calls) => {
                let fits = (1..=MAX_CALLS).contains(&calls);
                check.refuse_if(!fits, field, format!("must be over 1 to {MAX_CALLS} calls, not {calls}"));
                let never = fits && self.min_calls > calls;
                let why = format!("can never hold min_calls of {}: the window is {calls} calls", self.min_calls);
                check.refuse_if(never, field, why);
            }
            Span::Time(span) => {
                let too_short = nanos(span) < SLICES as u64;
                check.refuse_if(too_short, field, format!("must be over at least 10 ns, not {span:?}"));
            }
        }
    }
}

/// The ratio of calls that opens the circuit.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateRule {
    pub(super) rate: f64,
    window: Window,
}

impl RateRule {
    pub(super) fn start(&self, now: u64) -> SlidingWindow {
        match self.window.span {
            Span::Calls(calls) => SlidingWindow::Count(CountWindow::new(calls)),
            Span::Time(span) => SlidingWindow::Time(TimeWindow::new(nanos(span), now)),
        }
    }

    pub(super) fn min_calls(&self) -> u64 {
        u64::from(self.window.min_calls)
    }

    fn check(&self, check: &mut Check, field: &'static str) {
        let fits = self.rate > 0.0 && self.rate <= 1.0;
        check.refuse_if(!fits, field, format!("must be above 0 and at most 1, not {}", self.rate));
        self.window.check(check, field);
    }
}

/// How slow a call must be, and the ratio of slow calls that opens the circuit.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlowRule {
    pub(super) after: Duration,
    pub(super) calls: RateRule,
}

/// How many consecutive failures open the circuit.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConsecutiveRule {
    pub(super) failures: u32,
    pub(super) spanning: Duration,
}

/// How long the circuit stays open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) first: Duration,
    pub(super) growth: f64,
    max: Option<Duration>,
    pub(super) jitter: f64,
}

impl Opening {
    pub(super) fn longest(&self) -> Duration {
        self.max.unwrap_or(self.first.max(Duration::from_secs(1)))
    }

    fn check(&self, check: &mut Check) {
        let Self { first, growth, max, jitter } = *self;
        check.refuse_if(first.is_zero(), "open_for", "must be above zero");
        check.refuse_if(
            max.is_some_and(|max| max < first),
            "max_open_for",
            format!("must be at least open_for, {first:?}, not {:?}", self.longest()),
        );
        let grows = growth.is_finite() && growth >= 1.0;
        check.refuse_if(!grows, "open_growth", format!("must be at least 1, not {growth}"));
        let is_ratio = (0.0..=1.0).contains(&jitter);
        check.refuse_if(!is_ratio, "open_jitter", format!("must be from 0 to 1, not {jitter}"));
    }
}

/// The settings of the core.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) failure_rate: Option<RateRule>,
    pub(super) slow_calls: Option<SlowRule>,
    pub(super) consecutive_failure_rules: Vec<ConsecutiveRule>,
    pub(super) open: Opening,
    pub(super) probes: usize,
    pub(super) required_successes: u32,
    pub(super) probe_timeout: Duration,
}

impl Rules {
    /// Whether a window asks for the time of each outcome.
    pub(super) fn have_time_windows(&self) -> bool {
        let slow_calls = self.slow_calls.as_ref().map(|rule| &rule.calls);
        self.failure_rate.iter().chain(slow_calls).any(|rule| matches!(rule.window.span, Span::Time(_)))
    }

    /// Whether consecutive failures must span a time.
    pub(super) fn have_spans(&self) -> bool {
        self.consecutive_failure_rules.iter().any(|rule| !rule.spanning.is_zero())
    }

    /// Where attempts end after `limit`, a rule that can never be met, or that ends an attempt too early, is a mistake.
    pub(super) fn check_attempt_timeout(&self, limit: Duration, check: &mut Check) {
        let slow_calls = self.slow_calls.as_ref().map(|rule| &rule.calls);
        let is_short = |rule: &RateRule| matches!(rule.window.span, Span::Time(span) if span / 2 < limit);
        check.refuse_if(
            self.failure_rate.iter().chain(slow_calls).any(is_short),
            "circuit_breaker",
            format!(
                "has a window shorter than two attempts of attempt_timeout, {limit:?}: it would never hold two failures"
            ),
        );
        check.refuse_if(
            self.slow_calls.as_ref().is_some_and(|rule| rule.after >= limit),
            "circuit_breaker",
            format!("counts a call as slow only after attempt_timeout, {limit:?}, has ended it"),
        );
        check.refuse_if(
            self.probe_timeout <= limit,
            "circuit_breaker",
            format!("has a probe_timeout of {:?}, not longer than attempt_timeout, {limit:?}", self.probe_timeout),
        );
    }

    fn check(&self, check: &mut Check) {
        if let Some(rule) = &self.failure_rate {
            rule.check(check, "failure_rate");
        }
        if let Some(rule) = &self.slow_calls {
            check.refuse_if(rule.after.is_zero(), "slow_call_rate", "must be of calls slower than zero");
            rule.calls.check(check, "slow_call_rate");
        }
        let is_empty = self.consecutive_failure_rules.iter().any(|rule| rule.failures == 0);
        check.refuse_if(is_empty, "consecutive_failure_rules", "must be of at least 1 failure");
        let no_rule =
            self.consecutive_failure_rules.is_empty() && self.failure_rate.is_none() && self.slow_calls.is_none();
        check.refuse_if(
            no_rule,
            "consecutive_failure_rules",
            "are off, and no rate is set: the circuit could never open",
        );
        self.open.check(check);
        check.refuse_if(self.probes == 0, "probes", "must be at least 1");
        check.refuse_if(self.required_successes == 0, "required_successes", "must be at least 1");
        check.refuse_if(self.probe_timeout.is_zero(), "probe_timeout", "must be above zero");
    }
}

/// The settings of the handle.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) count_dropped_after: Option<Duration>,
    pub(super) seed: Option<u64>,
    pub(super) reporter: Reporter<CircuitBreakerEvent>,
}

/// Settings of a [`CircuitBreaker`](super::CircuitBreaker).
///
/// The [module](super) has the table of defaults.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct CircuitBreakerBuilder<C = ByError> {
    rules: Rules,
    options: Options,
    classifier: C,
}

impl CircuitBreakerBuilder {
    pub(super) fn new(name: Name) -> Self {
        Self {
            rules: Rules {
                failure_rate: None,
                slow_calls: None,
                consecutive_failure_rules: vec![
                    ConsecutiveRule { failures: 20, spanning: Duration::from_millis(200) },
                    ConsecutiveRule { failures: 8, spanning: Duration::from_millis(1500) },
                ],
                open: Opening { first: Duration::from_millis(200), growth: 2.0, max: None, jitter: 0.2 },
                probes: 1,
                required_successes: 2,
                probe_timeout: Duration::from_secs(10),
            },
            options: Options { count_dropped_after: None, seed: None, reporter: Reporter::new(name) },
            classifier: ByError,
        }
    }
}

impl<C> CircuitBreakerBuilder<C> {
    /// Opens when at least this ratio of the window's calls failed: above 0, at most 1.
    ///
    /// The default rules about consecutive failures stay active beside it. Turn them off with
    /// [`no_consecutive_failures`](Self::no_consecutive_failures).
    /// [`CircuitBreaker::by_rate`](super::CircuitBreaker::by_rate) is a breaker that opens by a rate alone.
    ///
    /// A success never opens the circuit, so a window that a success fills is judged at the next failure. With a rate
    /// of 0.9 over ten calls, nine failures and then a success leave the circuit closed until another call fails.
    pub fn failure_rate(mut self, rate: f64, over: Window) -> Self {
        self.rules.failure_rate = Some(RateRule { rate, window: over });
        self
    }

    /// Opens when at least this ratio of the window's calls, failed or not, took `slow` or longer.
    ///
    /// The slow call itself opens the circuit, even if it succeeded. In a half-open circuit a slow probe reopens it.
    /// The default rules about consecutive failures stay active beside it.
    pub fn slow_call_rate(mut self, rate: f64, slow: Duration, over: Window) -> Self {
        self.rules.slow_calls = Some(SlowRule { after: slow, calls: RateRule { rate, window: over } });
        self
    }

    /// Opens on at least this many consecutive failures, the first of them at least `spanning` before the latest.
    ///
    /// It replaces the default rules. `spanning` may be zero, as it should be in tests with a paused clock. Only a
    /// success ends consecutive failures; ignored and dropped calls between them change nothing.
    pub fn consecutive_failures(self, failures: u32, spanning: Duration) -> Self {
        self.consecutive_failure_rules([(failures, spanning)])
    }

    /// Opens when any of these rules is broken; see [`consecutive_failures`](Self::consecutive_failures).
    pub fn consecutive_failure_rules(mut self, rules: impl IntoIterator<Item = (u32, Duration)>) -> Self {
        let rule = |(failures, spanning)| ConsecutiveRule { failures, spanning };
        self.rules.consecutive_failure_rules = rules.into_iter().map(rule).collect();
        self
    }

    /// Does not open on consecutive failures. Then a rate must be set.
    pub fn no_consecutive_failures(self) -> Self {
        self.consecutive_failure_rules([])
    }

    /// How long the circuit stays open, before growth and jitter.
    ///
    /// While it is open it also rejects the calls that a recovered dependency would answer: keep it short.
    pub fn open_for(mut self, first: Duration) -> Self {
        self.rules.open.first = first;
        self
    }

    /// By what factor each reopening is longer than the opening before it: at least 1.
    pub fn open_growth(mut self, factor: f64) -> Self {
        self.rules.open.growth = factor;
        self
    }

    /// Stays open for the same time, however often it reopens.
    pub fn no_open_growth(self) -> Self {
        self.open_growth(1.0)
    }

    /// The longest time the circuit stays open, whatever the growth, and whatever the dependency asks for.
    ///
    /// Raise it to honour a `Retry-After` of more than a second.
    pub fn max_open_for(mut self, longest: Duration) -> Self {
        self.rules.open.max = Some(longest);
        self
    }

    /// By what ratio, from 0 to 1, chance may shorten each opening, so that callers do not come back all at once.
    pub fn open_jitter(mut self, ratio: f64) -> Self {
        self.rules.open.jitter = ratio;
        self
    }

    /// Never shortens an opening by chance. A time that the dependency asks for is still made up to a tenth longer.
    pub fn no_open_jitter(self) -> Self {
        self.open_jitter(0.0)
    }

    /// How many probes of a half-open circuit may run at once.
    pub fn probes(mut self, at_once: usize) -> Self {
        self.rules.probes = at_once;
        self
    }

    /// How many probes must succeed before the circuit closes.
    pub fn required_successes(mut self, probes: u32) -> Self {
        self.rules.required_successes = probes;
        self
    }

    /// After which time a probe that is still running counts as failed. Set it longer than your slowest healthy call.
    ///
    /// The circuit also reopens when probes have gone without an answer for as long as this; see
    /// [cancel safety](super#cancel-safety).
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.rules.probe_timeout = timeout;
        self
    }

    /// Counts a call that is dropped as failed if it had run for at least this long.
    ///
    /// Without it, dropped calls say nothing; see [cancel safety](super#cancel-safety).
    pub fn count_dropped_after(mut self, running: Duration) -> Self {
        self.options.count_dropped_after = Some(running);
        self
    }

    /// Makes the jitter repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = Some(seed);
        self
    }

    /// Adds a listener, which is told of every transition and rejection.
    ///
    /// All listeners are told, in the order in which they were added. A listener runs on the thread that caused the
    /// event, and inside the call. Its panic is caught, and does not stop the next listener.
    pub fn listener_fn(mut self, listener: impl Fn(&CircuitBreakerEvent) + Send + Sync + 'static) -> Self {
        self.options.reporter.add(listener);
        self
    }

    /// Judges results by `classifier`.
    pub fn classify<D>(self, classifier: D) -> CircuitBreakerBuilder<D> {
        CircuitBreakerBuilder { rules: self.rules, options: self.options, classifier }
    }

    /// Takes the settings as they are.
    pub(super) fn unchecked(self) -> (Rules, Options, C) {
        (self.rules, self.options, self.classifier)
    }

    pub(super) fn checked(self) -> Result<(Rules, Options, C), ConfigError> {
        let mut check = Check::default();
        self.rules.check(&mut check);
        check.finish("circuit breaker", self.options.reporter.name())?;
        Ok(self.unchecked())
    }
}
