//! The settings as data, their defaults and their checks.

use std::{
    ops::Deref,
    // Not `crate::sync`'s: no interleaving depends on it.
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{config::CircuitBreakerBuilder, policy::CircuitBreaker};
#[cfg(feature = "serde")]
use crate::duration_text;
use crate::{
    clock::nanos,
    error::{Check, ConfigError, Name},
    window::{CountWindow, SLICES, SlidingWindow, TimeWindow},
};

/// The most calls that a window can hold. Each of them takes a bit: 2 MiB.
const MAX_CALLS: u32 = 1 << 24;

/// How many calls a time window must hold before a rate is taken, unless told otherwise.
const MIN_CALLS_OF_TIME: u32 = 20;

/// The calls that a rate is taken over.
///
/// In a settings file: `{ calls = 100 }` or `{ time = "10s" }`, either of them with `min_calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(try_from = "WindowText", into = "WindowText"))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
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
        Self { span: Span::Time(span), min_calls: MIN_CALLS_OF_TIME }
    }

    /// How many calls it must hold before a rate is taken.
    #[must_use]
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    pub(super) fn start(self, now: u64) -> SlidingWindow {
        match self.span {
            Span::Calls(calls) => SlidingWindow::Count(CountWindow::new(calls)),
            Span::Time(span) => SlidingWindow::Time(TimeWindow::new(nanos(span), now)),
        }
    }

    /// Whether the same calls belong to both.
    pub(super) fn has_shape_of(self, other: Self) -> bool {
        self.span == other.span
    }

    fn is_of_time(self) -> bool {
        matches!(self.span, Span::Time(_))
    }

    /// Whether less than two attempts of this length fit in.
    fn is_short_for(self, attempt: Duration) -> bool {
        matches!(self.span, Span::Time(span) if span / 2 < attempt)
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

/// A [`Window`] as a file says it.
#[cfg(feature = "serde")]
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(rename = "Window"))]
#[serde(deny_unknown_fields)]
struct WindowText {
    /// The last so many calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<u32>,
    /// The calls of the last so much time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration_text::option")]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    time: Option<Duration>,
    /// How many calls it must hold before a rate is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_calls: Option<u32>,
}

#[cfg(feature = "serde")]
impl TryFrom<WindowText> for Window {
    type Error = &'static str;

    fn try_from(WindowText { calls, time, min_calls }: WindowText) -> Result<Self, Self::Error> {
        let window = match (calls, time) {
            (Some(calls), None) => Self::calls(calls),
            (None, Some(span)) => Self::time(span),
            _ => return Err("a window is of `calls` or of `time`: say one of them"),
        };
        Ok(min_calls.map_or(window, |calls| window.min_calls(calls)))
    }
}

#[cfg(feature = "serde")]
impl From<Window> for WindowText {
    fn from(window: Window) -> Self {
        let (calls, time, default) = match window.span {
            Span::Calls(calls) => (Some(calls), None, calls),
            Span::Time(span) => (None, Some(span), MIN_CALLS_OF_TIME),
        };
        Self { calls, time, min_calls: (window.min_calls != default).then_some(window.min_calls) }
    }
}

/// The ratio of failed calls that opens the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct FailureRate {
    /// The ratio: above 0, at most 1.
    pub rate: f64,
    /// The calls that the ratio is taken over.
    pub window: Window,
}

impl FailureRate {
    /// This ratio of the window's calls.
    pub const fn new(rate: f64, window: Window) -> Self {
        Self { rate, window }
    }

    fn check(self, check: &mut Check, field: &'static str) {
        let fits = self.rate > 0.0 && self.rate <= 1.0;
        check.refuse_if(!fits, field, format!("must be above 0 and at most 1, not {}", self.rate));
        self.window.check(check, field);
    }

    pub(super) fn min_calls(self) -> u64 {
        u64::from(self.window.min_calls)
    }
}

/// How slow a call must be, and the ratio of slow calls that opens the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SlowCallRate {
    /// The ratio: above 0, at most 1.
    pub rate: f64,
    /// A call that takes this long, or longer, is slow.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub slow_after: Duration,
    /// The calls that the ratio is taken over.
    pub window: Window,
}

impl SlowCallRate {
    /// This ratio of the window's calls, where a call is slow that takes `slow_after` or longer.
    pub const fn new(rate: f64, slow_after: Duration, window: Window) -> Self {
        Self { rate, slow_after, window }
    }

    pub(super) fn of_calls(self) -> FailureRate {
        FailureRate::new(self.rate, self.window)
    }
}

/// How many consecutive failures open the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ConsecutiveFailureRule {
    /// How many: at least 1.
    pub failures: u32,
    /// How long before the latest of them the first must have been. It may be zero.
    #[cfg_attr(feature = "serde", serde(with = "duration_text", default))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub spanning: Duration,
}

impl ConsecutiveFailureRule {
    /// So many failures, the first of them at least `spanning` before the latest.
    pub const fn new(failures: u32, spanning: Duration) -> Self {
        Self { failures, spanning }
    }
}

/// The settings of a [`CircuitBreaker`] as data: what a file can say.
///
/// Each field is named like the setter of the [`CircuitBreakerBuilder`], which tells more of it. Listeners, the
/// classifier and the seed are code, and only the builder sets them. The [module](super) has the table of defaults,
/// which are those of [`Default`].
///
/// ```
/// use std::time::Duration;
/// use withstand::circuit_breaker::{CircuitBreakerSettings, FailureRate, Window};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let mut settings = CircuitBreakerSettings::default();
/// settings.failure_rate = Some(FailureRate::new(0.5, Window::calls(100)));
/// let breaker = settings.build("users")?;
///
/// settings.open_for = Duration::from_millis(500);
/// breaker.apply(&settings)?;
/// assert_eq!(breaker.settings(), settings);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(default, deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CircuitBreakerSettings {
    /// The circuit opens when one of these rules is broken. Empty: consecutive failures do not open it.
    pub consecutive_failure_rules: Vec<ConsecutiveFailureRule>,
    /// The circuit opens when at least this ratio of calls failed.
    pub failure_rate: Option<FailureRate>,
    /// The circuit opens when at least this ratio of calls was slow.
    pub slow_call_rate: Option<SlowCallRate>,
    /// How long the circuit stays open, before growth and jitter.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub open_for: Duration,
    /// By what factor each reopening is longer than the opening before it: at least 1.
    pub open_growth: f64,
    /// The longest time the circuit stays open. Absent: 1 s, or `open_for` if that is longer.
    #[cfg_attr(feature = "serde", serde(with = "duration_text::option"))]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    pub max_open_for: Option<Duration>,
    /// By what ratio, from 0 to 1, chance may shorten each opening.
    pub open_jitter: f64,
    /// How many probes of a half-open circuit may run at once.
    pub probes: usize,
    /// How many probes must succeed before the circuit closes.
    pub required_successes: u32,
    /// After which time a probe that is still running counts as failed.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub probe_timeout: Duration,
    /// A call that is dropped counts as failed if it had run for at least this long. Absent: dropped calls say nothing.
    #[cfg_attr(feature = "serde", serde(with = "duration_text::option"))]
    #[cfg_attr(feature = "schemars", schemars(with = "Option<duration_text::DurationText>"))]
    pub count_dropped_after: Option<Duration>,
}

impl Default for CircuitBreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failure_rules: vec![
                ConsecutiveFailureRule::new(20, Duration::from_millis(200)),
                ConsecutiveFailureRule::new(8, Duration::from_millis(1500)),
            ],
            failure_rate: None,
            slow_call_rate: None,
            open_for: Duration::from_millis(200),
            open_growth: 2.0,
            max_open_for: None,
            open_jitter: 0.2,
            probes: 1,
            required_successes: 2,
            probe_timeout: Duration::from_secs(10),
            count_dropped_after: None,
        }
    }
}

impl CircuitBreakerSettings {
    /// A closed circuit with these settings. For listeners, a classifier or a seed besides:
    /// [`CircuitBreakerBuilder::settings`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(&self, name: impl Into<Name>) -> Result<CircuitBreaker, ConfigError> {
        CircuitBreakerBuilder::new(name.into()).settings(self).build()
    }

    pub(super) fn longest_opening(&self) -> Duration {
        self.max_open_for.unwrap_or(self.open_for.max(Duration::from_secs(1)))
    }

    /// Whether a rule asks when each call began.
    pub(super) fn time_calls(&self) -> bool {
        self.slow_call_rate.is_some() || self.count_dropped_after.is_some()
    }

    /// Whether a window asks for the time of each outcome.
    pub(super) fn has_time_windows(&self) -> bool {
        self.windows().any(Window::is_of_time)
    }

    fn windows(&self) -> impl Iterator<Item = Window> {
        let slow_calls = self.slow_call_rate.map(|rule| rule.window);
        self.failure_rate.map(|rule| rule.window).into_iter().chain(slow_calls)
    }

    /// Where attempts end after `limit`, a rule that can never be met, or that ends an attempt too early, is a mistake.
    pub(crate) fn check_attempt_timeout(&self, limit: Duration, check: &mut Check) {
        check.refuse_if(
            self.windows().any(|window| window.is_short_for(limit)),
            "circuit_breaker",
            format!(
                "has a window shorter than two attempts of attempt_timeout, {limit:?}: it would never hold two failures"
            ),
        );
        check.refuse_if(
            self.slow_call_rate.is_some_and(|rule| rule.slow_after >= limit),
            "circuit_breaker",
            format!("counts a call as slow only after attempt_timeout, {limit:?}, has ended it"),
        );
        check.refuse_if(
            self.count_dropped_after.is_some_and(|after| after >= limit),
            "circuit_breaker",
            format!("counts a dropped call only after attempt_timeout, {limit:?}, has ended it"),
        );
        check.refuse_if(
            self.probe_timeout <= limit,
            "circuit_breaker",
            format!("has a probe_timeout of {:?}, not longer than attempt_timeout, {limit:?}", self.probe_timeout),
        );
    }

    /// Whether consecutive failures must span a time.
    pub(super) fn has_spans(&self) -> bool {
        self.consecutive_failure_rules.iter().any(|rule| !rule.spanning.is_zero())
    }

    /// Refuses bad settings for the circuit of this name.
    pub(super) fn check(&self, name: &Name) -> Result<(), ConfigError> {
        let mut check = Check::default();
        self.check_rules(&mut check);
        self.check_opening(&mut check);
        check.refuse_if(self.probes == 0, "probes", "must be at least 1");
        check.refuse_if(self.required_successes == 0, "required_successes", "must be at least 1");
        check.refuse_if(self.probe_timeout.is_zero(), "probe_timeout", "must be above zero");
        check.finish("circuit breaker", name)
    }

    fn check_rules(&self, check: &mut Check) {
        if let Some(rule) = self.failure_rate {
            rule.check(check, "failure_rate");
        }
        if let Some(rule) = self.slow_call_rate {
            check.refuse_if(rule.slow_after.is_zero(), "slow_call_rate", "must be of calls slower than zero");
            rule.of_calls().check(check, "slow_call_rate");
        }
        let is_empty = self.consecutive_failure_rules.iter().any(|rule| rule.failures == 0);
        check.refuse_if(is_empty, "consecutive_failure_rules", "must be of at least 1 failure");
        let no_rule =
            self.consecutive_failure_rules.is_empty() && self.failure_rate.is_none() && self.slow_call_rate.is_none();
        check.refuse_if(
            no_rule,
            "consecutive_failure_rules",
            "are off, and no rate is set: the circuit could never open",
        );
    }

    fn check_opening(&self, check: &mut Check) {
        let Self { open_for, open_growth, max_open_for, open_jitter, .. } = *self;
        check.refuse_if(open_for.is_zero(), "open_for", "must be above zero");
        check.refuse_if(
            max_open_for.is_some_and(|max| max < open_for),
            "max_open_for",
            format!("must be at least open_for, {open_for:?}, not {:?}", self.longest_opening()),
        );
        let grows = open_growth.is_finite() && open_growth >= 1.0;
        check.refuse_if(!grows, "open_growth", format!("must be at least 1, not {open_growth}"));
        let is_ratio = (0.0..=1.0).contains(&open_jitter);
        check.refuse_if(!is_ratio, "open_jitter", format!("must be from 0 to 1, not {open_jitter}"));
    }
}

/// The settings of a circuit. Circuits that are made one after the other by the same settings, as those of many hosts
/// are, have one copy of them together.
#[derive(Clone, Debug)]
pub(super) struct SharedSettings(Arc<CircuitBreakerSettings>);

impl SharedSettings {
    pub(super) fn new(settings: CircuitBreakerSettings) -> Self {
        static LATEST: Mutex<Weak<CircuitBreakerSettings>> = Mutex::new(Weak::new());

        // Nobody waits for it: then these settings have a copy of their own.
        let Ok(mut latest) = LATEST.try_lock() else { return Self(Arc::new(settings)) };
        if let Some(same) = latest.upgrade().filter(|latest| **latest == settings) {
            return Self(same);
        }
        let settings = Arc::new(settings);
        *latest = Arc::downgrade(&settings);
        Self(settings)
    }
}

impl Deref for SharedSettings {
    type Target = CircuitBreakerSettings;

    #[inline]
    fn deref(&self) -> &CircuitBreakerSettings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circuits_of_the_same_settings_have_one_copy_of_them_and_no_other_circuit_has() {
        let settings = |open_for| CircuitBreakerSettings { open_for, ..CircuitBreakerSettings::default() };
        let [one, other] = [1234, 1235].map(|span| settings(Duration::from_millis(span)));
        // Other tests make circuits too, and may come between.
        assert!((0..1000).any(|_| {
            let first = SharedSettings::new(one.clone());
            Arc::ptr_eq(&first.0, &SharedSettings::new(one.clone()).0)
        }));
        let (first, second) = (SharedSettings::new(one.clone()), SharedSettings::new(other.clone()));
        assert_eq!((&*first, &*second), (&one, &other));
    }
}
