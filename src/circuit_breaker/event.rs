use std::{fmt, time::Duration};

use super::state::State;
use crate::{error::Name, event::Event};

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Too large a share of calls failed.
    FailureRate,
    /// Too large a share of calls was slow.
    SlowCallRate,
    /// Nothing but failures for too long.
    FailureRun,
    /// The time to be open is over.
    OpenForPassed,
    /// A probe failed.
    ProbeFailed,
    /// A probe ran longer than `probe_timeout`.
    ProbeTimedOut,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// By hand.
    Forced,
}

impl Reason {
    /// The reason as it appears in `tracing` events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure rate",
            Self::SlowCallRate => "slow call rate",
            Self::FailureRun => "failure run",
            Self::OpenForPassed => "open time passed",
            Self::ProbeFailed => "probe failed",
            Self::ProbeTimedOut => "probe timed out",
            Self::ProbesSucceeded => "probes succeeded",
            Self::Forced => "by hand",
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
    pub calls: u64,
    /// Those of them that failed, or were slow, whichever the window is for.
    pub hits: u64,
    /// Their share, once the window holds its `min_calls`.
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
    pub failure_run: u32,
    /// How many probes have succeeded in this half-open state.
    pub probe_successes: u32,
}

/// What an outage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// From the first opening until the circuit closed.
    pub lasted: Duration,
    /// How many calls were refused in that time.
    pub refused: u64,
}

/// One change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The state left.
    pub from: State,
    /// The state entered; the same after a `reset` of a closed circuit.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The era that begins. Eras count up; listeners on several threads may hear of them out of order.
    pub era: u64,
    /// What the state left had counted.
    pub counts: Counts,
    /// How long the circuit will be open, if it opened.
    pub open_for: Option<Duration>,
    /// The whole outage, if the circuit closed after one.
    pub outage: Option<Outage>,
}

/// What a circuit breaker reports.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CircuitBreakerEvent {
    /// The circuit changed its state.
    #[non_exhaustive]
    Transition {
        /// The breaker's name.
        name: Name,
        /// From what, to what, and why.
        transition: Transition,
    },
    /// A call was refused.
    #[non_exhaustive]
    Refused {
        /// The breaker's name.
        name: Name,
        /// How long the circuit stays open; `None` if it is half-open or was forced open.
        retry_after: Option<Duration>,
    },
}

impl Event for CircuitBreakerEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Transition { name, transition } => trace_transition(name.as_str(), transition),
            Self::Refused { name, retry_after } => tracing::debug!(
                target: "withstand::circuit_breaker",
                name = name.as_str(),
                retry_after_ms = retry_after.map(millis),
                "call refused"
            ),
        }
    }
}

#[cfg(feature = "tracing")]
fn trace_transition(name: &str, transition: &Transition) {
    let Transition { from, to, reason, era, counts, open_for, outage } = transition;
    macro_rules! transition {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                target: "withstand::circuit_breaker",
                name,
                from = from.as_str(),
                to = to.as_str(),
                reason = reason.as_str(),
                era,
                failure_rate = counts.failures.rate,
                slow_call_rate = counts.slow_calls.rate,
                failure_run = counts.failure_run,
                open_for_ms = open_for.map(millis),
                outage_ms = outage.map(|outage| millis(outage.lasted)),
                refused = outage.map(|outage| outage.refused),
                $message
            )
        };
    }
    match to {
        State::Open => transition!(warn, "circuit opened"),
        State::HalfOpen => transition!(info, "circuit half-open"),
        State::Closed => transition!(info, "circuit closed"),
        State::ForcedOpen => transition!(warn, "circuit forced open"),
        State::ForcedClosed => transition!(info, "circuit forced closed"),
        State::MetricsOnly => transition!(info, "circuit only counts"),
    }
}

#[cfg(feature = "tracing")]
fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
