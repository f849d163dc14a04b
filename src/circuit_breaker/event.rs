use std::time::Duration;

#[cfg(feature = "tracing")]
use super::transition::State;
use super::transition::Transition;
use crate::{error::Name, event::Event};

/// What a circuit breaker reports. The [module](super#events) says at which level each event is logged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CircuitBreakerEvent {
    /// The circuit changed its state.
    Transition {
        /// The breaker's name.
        name: Name,
        /// From what, to what, and why.
        transition: Transition,
    },
    /// A call was rejected.
    Rejected {
        /// The breaker's name.
        name: Name,
        /// How long the circuit stays open; `None` if it is half-open or was forced open.
        retry_after: Option<Duration>,
    },
}

impl CircuitBreakerEvent {
    /// The transition, if this event tells of one.
    pub fn transition(&self) -> Option<&Transition> {
        match self {
            Self::Transition { transition, .. } => Some(transition),
            Self::Rejected { .. } => None,
        }
    }

    /// The breaker's name.
    pub fn name(&self) -> &Name {
        match self {
            Self::Transition { name, .. } | Self::Rejected { name, .. } => name,
        }
    }
}

impl Event for CircuitBreakerEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Transition { name, transition } => trace_transition(name.as_str(), transition),
            Self::Rejected { name, retry_after } => tracing::debug!(
                target: "withstand::circuit_breaker",
                name = name.as_str(),
                retry_after_ms = retry_after.map(millis),
                "call rejected"
            ),
        }
    }
}

#[cfg(feature = "tracing")]
fn trace_transition(name: &str, transition: &Transition) {
    let Transition { from, to, reason, generation, counts, verdict, open_for, outage } = transition;
    macro_rules! transition {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                target: "withstand::circuit_breaker",
                name,
                from = from.as_str(),
                to = to.as_str(),
                reason = reason.as_str(),
                generation,
                verdict = verdict.map(tracing::field::debug),
                failure_rate = counts.failures.rate,
                slow_call_rate = counts.slow_calls.rate,
                consecutive_failures = counts.consecutive_failures,
                open_for_ms = open_for.map(millis),
                outage_ms = outage.map(|outage| millis(outage.lasted)),
                rejected = outage.map(|outage| outage.rejected),
                reopenings = outage.map(|outage| outage.reopenings),
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
