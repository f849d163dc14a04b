//! The states, and the transitions between them.

use std::{fmt, time::Duration};

use crate::classify::Verdict;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls are admitted and counted.
    Closed,
    /// Calls are rejected, for a while.
    Open,
    /// A few calls are admitted, to find out whether the dependency is back.
    HalfOpen,
    /// Calls are rejected until the next manual change.
    ForcedOpen,
    /// Calls are admitted, and not counted, until the next manual change.
    ForcedClosed,
    /// Calls are admitted and counted, but nothing opens the circuit until the next manual change.
    MetricsOnly,
}

impl State {
    /// The state as it appears in `tracing` events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
            Self::MetricsOnly => "metrics only",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too large a ratio of calls failed.
    FailureRate,
    /// Too large a ratio of calls was slow.
    SlowCallRate,
    /// Too many failures, for too long, with no success between them.
    ConsecutiveFailures,
    /// The time to be open is over.
    OpenForPassed,
    /// A probe failed; or it was slow, where slow calls are a rule.
    ProbeFailed,
    /// A probe ran longer than `probe_timeout`, or probes went without an answer for as long.
    ProbeTimedOut,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// A manual change: one of the four methods of the breaker.
    Forced,
}

impl Reason {
    /// The reason as it appears in `tracing` events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure rate",
            Self::SlowCallRate => "slow call rate",
            Self::ConsecutiveFailures => "consecutive failures",
            Self::OpenForPassed => "open time passed",
            Self::ProbeFailed => "probe failed",
            Self::ProbeTimedOut => "probe timed out",
            Self::ProbesSucceeded => "probes succeeded",
            Self::Forced => "manual",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WindowCounts {
    /// The calls in it.
    pub total: u64,
    /// How many of them failed or, in the window of the slow-call rate, were slow.
    pub count: u64,
    /// The ratio of these to all, once the window holds its `min_calls`.
    pub rate: Option<f64>,
}

/// What the rules of a circuit hold. All zero for a rule that is not set, and in states that record nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// The window of the failure rate.
    pub failures: WindowCounts,
    /// The window of the slow-call rate.
    pub slow_calls: WindowCounts,
    /// How many failures came since the last success.
    pub consecutive_failures: u32,
    /// How many probes have succeeded in this half-open state.
    pub probe_successes: u32,
}

/// A whole outage, told when it ends. Make one with `Outage::default()` and set its fields, in tests of your own
/// listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// From the first opening until its end.
    pub lasted: Duration,
    /// How many calls were rejected in that time.
    pub rejected: u64,
    /// How often the circuit reopened in that time, because a probe failed or gave no answer.
    pub reopenings: u32,
}

/// One change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that begins; the same after a `reset` of a closed circuit.
    pub to: State,
    /// Why it changed.
    pub reason: Reason,
    /// The number of the generation that begins. Two threads may tell listeners of two transitions out of order.
    pub generation: u64,
    /// What was counted in the state that ended.
    pub counts: Counts,
    /// If it opened: the verdict on the result that opened it, `Healthy` for a slow success. `None` if a probe gave no
    /// answer in time.
    pub verdict: Option<Verdict>,
    /// How long the circuit will be open, if it opened.
    pub open_for: Option<Duration>,
    /// The whole outage, if this ends one: the circuit closes, or is changed manually.
    pub outage: Option<Outage>,
}

impl Transition {
    /// A transition that tells nothing else, for tests of your own listeners. Set the fields that matter.
    pub fn new(from: State, to: State, reason: Reason) -> Self {
        let counts = Counts::default();
        Self { from, to, reason, generation: 0, counts, verdict: None, open_for: None, outage: None }
    }
}
