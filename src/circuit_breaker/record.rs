//! What the rules of a circuit remember while calls pass: windows, and the consecutive failures.

use super::{
    gate::Successes,
    settings::{CircuitBreakerSettings, ConsecutiveFailureRule, FailureRate, SlowCallRate, Window},
    transition::{Counts, Reason, WindowCounts},
};
use crate::{clock::nanos, window::SlidingWindow};

/// What the rules remember in one generation.
#[derive(Debug)]
pub(super) struct Record {
    failures: Option<SlidingWindow>,
    slow_calls: Option<SlidingWindow>,
    consecutive: ConsecutiveFailures,
}

/// The time of a failure, while no rule asks for it.
const NOT_TOLD: u64 = 0;

/// Failures with no success between them.
#[derive(Clone, Copy, Debug, Default)]
struct ConsecutiveFailures {
    count: u32,
    /// When the first of them was; or, where settings were applied meanwhile, the first whose time was told since.
    first: u64,
    latest: u64,
}

impl Record {
    pub(super) fn new(rules: &CircuitBreakerSettings, now: u64) -> Self {
        Self {
            failures: rules.failure_rate.map(|rule| rule.window.start(now)),
            slow_calls: rules.slow_call_rate.map(|rule| rule.window.start(now)),
            consecutive: ConsecutiveFailures::default(),
        }
    }

    /// Goes on by other rules. What they count by the same windows stays counted; another window begins anew.
    pub(super) fn change_rules(&mut self, old: &CircuitBreakerSettings, new: &CircuitBreakerSettings, now: u64) {
        let windows = |rules: &CircuitBreakerSettings| {
            (rules.failure_rate.map(|rule| rule.window), rules.slow_call_rate.map(|rule| rule.window))
        };
        let ((old_failures, old_slow_calls), (failures, slow_calls)) = (windows(old), windows(new));
        change_window(&mut self.failures, old_failures, failures, now);
        change_window(&mut self.slow_calls, old_slow_calls, slow_calls, now);
    }

    /// Records an outcome, and tells which rule it breaks.
    #[inline]
    pub(super) fn push(
        &mut self,
        rules: &CircuitBreakerSettings,
        failed: bool,
        slow: bool,
        now: u64,
    ) -> Option<Reason> {
        self.consecutive = if failed { self.consecutive.add(now) } else { ConsecutiveFailures::default() };
        if let Some(window) = &mut self.failures {
            window.push(failed, now);
        }
        if let Some(window) = &mut self.slow_calls {
            window.push(slow, now);
        }
        if failed && rules.consecutive_failure_rules.iter().any(|rule| self.consecutive.breaks(rule)) {
            return Some(Reason::ConsecutiveFailures);
        }
        if failed && is_broken(self.failures.as_mut(), rules.failure_rate, now) {
            return Some(Reason::FailureRate);
        }
        if slow && is_broken(self.slow_calls.as_mut(), rules.slow_call_rate.map(SlowCallRate::of_calls), now) {
            return Some(Reason::SlowCallRate);
        }
        None
    }

    pub(super) fn counts(&mut self, rules: &CircuitBreakerSettings, now: u64) -> Counts {
        Counts {
            failures: counts_of(self.failures.as_mut(), rules.failure_rate, now),
            slow_calls: counts_of(self.slow_calls.as_mut(), rules.slow_call_rate.map(SlowCallRate::of_calls), now),
            consecutive_failures: self.consecutive.count,
            ..Counts::default()
        }
    }

    /// Whether it holds anything that a rule counts against the dependency.
    pub(super) fn holds_failures(&mut self, rules: &CircuitBreakerSettings, now: u64) -> bool {
        let counts = self.counts(rules, now);
        counts.failures.count > 0 || counts.slow_calls.count > 0 || counts.consecutive_failures > 0
    }

    /// Records this many successes that were not slow. No outcome has left a window since they came.
    pub(super) fn push_successes(&mut self, count: u64) {
        self.consecutive = ConsecutiveFailures::default();
        for window in self.failures.iter_mut().chain(&mut self.slow_calls) {
            window.push_misses(count);
        }
    }

    /// What becomes of one more success that is not slow.
    pub(super) fn successes(&self) -> Successes {
        let is_calm = |window: &Option<SlidingWindow>| window.as_ref().is_none_or(SlidingWindow::is_calm);
        let until = |window: &Option<SlidingWindow>| window.as_ref().map_or(u64::MAX, SlidingWindow::next_expiry);
        if self.consecutive.count == 0 && is_calm(&self.failures) && is_calm(&self.slow_calls) {
            return Successes::Ignored;
        }
        if self.failures.is_none() && self.slow_calls.is_none() {
            // It ends the consecutive failures, and then the circuit is calm. So it is recorded at once.
            return Successes::Recorded;
        }
        Successes::Tallied { until: until(&self.failures).min(until(&self.slow_calls)) }
    }
}

fn change_window(window: &mut Option<SlidingWindow>, old: Option<Window>, new: Option<Window>, now: u64) {
    match (old, new) {
        (Some(old), Some(new)) if new.has_shape_of(old) => {}
        (_, new) => *window = new.map(|new| new.start(now)),
    }
}

fn counts_of(window: Option<&mut SlidingWindow>, rule: Option<FailureRate>, now: u64) -> WindowCounts {
    let (Some(window), Some(rule)) = (window, rule) else { return WindowCounts::default() };
    let tally = window.tally(now);
    let rate = (tally.calls >= rule.min_calls()).then(|| tally.hits as f64 / tally.calls as f64);
    WindowCounts { total: tally.calls, count: tally.hits, rate }
}

fn is_broken(window: Option<&mut SlidingWindow>, rule: Option<FailureRate>, now: u64) -> bool {
    let rate = counts_of(window, rule, now).rate;
    rule.is_some_and(|rule| rate.is_some_and(|rate| rate >= rule.rate))
}

impl ConsecutiveFailures {
    /// A thread that was overtaken on its way to the lock brings an earlier time.
    fn add(self, now: u64) -> Self {
        let is_first = self.first == NOT_TOLD;
        let (first, latest) = if is_first { (now, now) } else { (self.first.min(now), self.latest.max(now)) };
        Self { count: self.count.saturating_add(1), first, latest }
    }

    fn breaks(self, rule: &ConsecutiveFailureRule) -> bool {
        let span = || if self.first == NOT_TOLD { 0 } else { self.latest.saturating_sub(self.first) };
        self.count >= rule.failures && span() >= nanos(rule.spanning)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A thread that read no clock before settings were applied brings no time to a rule that asks for it.
    #[test]
    fn c3_a_failure_without_its_time_begins_the_span_anew() {
        let consecutive_failure_rules = vec![ConsecutiveFailureRule::new(2, Duration::from_nanos(100))];
        let rules = CircuitBreakerSettings { consecutive_failure_rules, ..CircuitBreakerSettings::default() };
        let mut record = Record::new(&rules, 1000);
        let mut opens_at = |now| record.push(&rules, true, false, now).is_some();
        assert_eq!([1000, NOT_TOLD, 1100, 1199, 1200].map(&mut opens_at), [false, false, false, false, true]);
    }
}
