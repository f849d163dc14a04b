use std::time::Duration;

use crate::{error::Name, event::Event};

/// What a timeout tells its listeners.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TimeoutEvent {
    /// An operation took too long, and was dropped.
    #[non_exhaustive]
    TimedOut {
        /// The timeout's name, if it was given one.
        name: Option<Name>,
        /// How long the operation was allowed to take.
        limit: Duration,
    },
}

impl Event for TimeoutEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::TimedOut { name, limit } => tracing::debug!(
                target: "withstand::timeout",
                name = name.as_ref().map(Name::as_str),
                limit_ms = limit.as_secs_f64() * 1e3,
                "timed out"
            ),
        }
    }
}
