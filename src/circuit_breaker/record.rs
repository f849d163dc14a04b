//! What the rules of a circuit remember while calls pass: windows, and the consecutive failures.

use super::{
    config::{ConsecutiveRule, RateRule, Rules},
    gate::Successes,
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

/// Failures with no success between them.
#[derive(Clone, Copy, Debug, Default)]
struct ConsecutiveFailures {
    count: u32,
    first: u64,
    latest: u64,
}

impl Record {
    pub(super) fn new(rules: &Rules, now: u64) -> Self {
        Self {
            failures: rules.failure_rate.map(|rule| rule.start(now)),
            slow_calls: rules.slow_calls.map(|rule| rule.calls.start(now)),
            consecutive: ConsecutiveFailures::default(),
        }
    }

    /// Records an outcome, and tells which rule it breaks.
    #[inline]
    pub(super) fn push(&mut self, rules: &Rules, failed: bool, slow: bool, now: u64) -> Option<Reason> {
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
        let slow_calls = rules.slow_calls.map(|rule| rule.calls);
        (slow && is_broken(self.slow_calls.as_mut(), slow_calls, now)).then_some(Reason::SlowCallRate)
    }

    pub(super) fn counts(&mut self, rules: &Rules, now: u64) -> Counts {
        Counts {
            failures: counts_of(self.failures.as_mut(), rules.failure_rate, now),
            slow_calls: counts_of(self.slow_calls.as_mut(), rules.slow_calls.map(|rule| rule.calls), now),
            consecutive_failures: self.consecutive.count,
            ..Counts::default()
        }
    }

    /// Whether it holds anything that a rule counts against the dependency.
    pub(super) fn holds_failures(&mut self, rules: &Rules, now: u64) -> bool {
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

fn counts_of(window: Option<&mut SlidingWindow>, rule: Option<RateRule>, now: u64) -> WindowCounts {
    let (Some(window), Some(rule)) = (window, rule) else { return WindowCounts::default() };
    let tally = window.tally(now);
    let rate = (tally.calls >= rule.min_calls()).then(|| tally.hits as f64 / tally.calls as f64);
    WindowCounts { total: tally.calls, count: tally.hits, rate }
}

fn is_broken(window: Option<&mut SlidingWindow>, rule: Option<RateRule>, now: u64) -> bool {
    let rate = counts_of(window, rule, now).rate;
    rule.is_some_and(|rule| rate.is_some_and(|rate| rate >= rule.rate))
}

impl ConsecutiveFailures {
    /// A thread that was overtaken on its way to the lock brings an earlier time.
    fn add(self, now: u64) -> Self {
        let (first, latest) = if self.count == 0 { (now, now) } else { (self.first.min(now), self.latest.max(now)) };
        Self { count: self.count.saturating_add(1), first, latest }
    }

    fn breaks(self, rule: &ConsecutiveRule) -> bool {
        self.count >= rule.failures && self.latest.saturating_sub(self.first) >= nanos(rule.spanning)
    }
}
