use std::time::Duration;

use super::{
    event::CircuitBreakerEvent,
    settings::{CircuitBreakerSettings, ConsecutiveFailureRule, FailureRate, SlowCallRate, Window},
};
use crate::{
    classify::ByError,
    error::{ConfigError, Name},
    event::Reporter,
};

/// What only code can say.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) seed: Option<u64>,
    pub(super) reporter: Reporter<CircuitBreakerEvent>,
}

/// Settings of a [`CircuitBreaker`](super::CircuitBreaker).
///
/// The [module](super) has the table of defaults.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct CircuitBreakerBuilder<C = ByError> {
    settings: CircuitBreakerSettings,
    options: Options,
    classifier: C,
}

impl CircuitBreakerBuilder {
    pub(super) fn new(name: Name) -> Self {
        Self {
            settings: CircuitBreakerSettings::default(),
            options: Options { seed: None, reporter: Reporter::new(name) },
            classifier: ByError,
        }
    }
}

impl<C> CircuitBreakerBuilder<C> {
    /// Takes all settings that are data from these: those of a file, for example. What the builder was told before of
    /// listeners, the classifier and the seed stays.
    pub fn settings(mut self, settings: &CircuitBreakerSettings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// Opens when at least this ratio of the window's calls failed: above 0, at most 1.
    ///
    /// The default rules about consecutive failures stay active beside it. Turn them off with
    /// [`no_consecutive_failures`](Self::no_consecutive_failures).
    /// [`CircuitBreaker::by_rate`](super::CircuitBreaker::by_rate) is a breaker that opens by a rate alone.
    ///
    /// A success never opens the circuit, so a window that a success fills is judged at the next failure. With a rate
    /// of 0.9 over ten calls, nine failures and then a success leave the circuit closed until another call fails.
    pub fn failure_rate(mut self, rate: f64, window: Window) -> Self {
        self.settings.failure_rate = Some(FailureRate::new(rate, window));
        self
    }

    /// Opens when at least this ratio of the window's calls, failed or not, took `slow_after` or longer.
    ///
    /// The slow call itself opens the circuit, even if it succeeded. In a half-open circuit a slow probe reopens it.
    /// The default rules about consecutive failures stay active beside it.
    pub fn slow_call_rate(mut self, rate: f64, slow_after: Duration, window: Window) -> Self {
        self.settings.slow_call_rate = Some(SlowCallRate::new(rate, slow_after, window));
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
        let rule = |(failures, spanning)| ConsecutiveFailureRule::new(failures, spanning);
        self.settings.consecutive_failure_rules = rules.into_iter().map(rule).collect();
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
        self.settings.open_for = first;
        self
    }

    /// By what factor each reopening is longer than the opening before it: at least 1.
    pub fn open_growth(mut self, factor: f64) -> Self {
        self.settings.open_growth = factor;
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
        self.settings.max_open_for = Some(longest);
        self
    }

    /// By what ratio, from 0 to 1, chance may shorten each opening, so that callers do not come back all at once.
    pub fn open_jitter(mut self, ratio: f64) -> Self {
        self.settings.open_jitter = ratio;
        self
    }

    /// Never shortens an opening by chance. A time that the dependency asks for is still made up to a tenth longer.
    pub fn no_open_jitter(self) -> Self {
        self.open_jitter(0.0)
    }

    /// How many probes of a half-open circuit may run at once.
    pub fn probes(mut self, at_once: usize) -> Self {
        self.settings.probes = at_once;
        self
    }

    /// How many probes must succeed before the circuit closes.
    pub fn required_successes(mut self, probes: u32) -> Self {
        self.settings.required_successes = probes;
        self
    }

    /// After which time a probe that is still running counts as failed. Set it longer than your slowest healthy call.
    ///
    /// The circuit also reopens when probes have gone without an answer for as long as this; see
    /// [cancel safety](super#cancel-safety).
    pub fn probe_timeout(mut self, timeout: Duration) -> Self {
        self.settings.probe_timeout = timeout;
        self
    }

    /// Counts a call that is dropped as failed if it had run for at least this long.
    ///
    /// Without it, dropped calls say nothing; see [cancel safety](super#cancel-safety).
    pub fn count_dropped_after(mut self, running: Duration) -> Self {
        self.settings.count_dropped_after = Some(running);
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
        CircuitBreakerBuilder { settings: self.settings, options: self.options, classifier }
    }

    /// Takes the settings as they are.
    pub(super) fn unchecked(self) -> (CircuitBreakerSettings, Options, C) {
        (self.settings, self.options, self.classifier)
    }

    pub(super) fn checked(self) -> Result<(CircuitBreakerSettings, Options, C), ConfigError> {
        self.settings.check(self.options.reporter.name())?;
        Ok(self.unchecked())
    }
}
