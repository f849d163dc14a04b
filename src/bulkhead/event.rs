use std::time::Duration;

use crate::{error::Name, event::Event};

/// What a bulkhead reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkheadEvent {
    /// A call, or a permit that was asked for, was rejected.
    #[non_exhaustive]
    Rejected {
        /// The bulkhead's name.
        name: Name,
        /// How many calls it let run at once when it rejected this one.
        max_concurrent: usize,
        /// The `max_wait` that the call spent in the queue. `None` if it was rejected at once.
        waited: Option<Duration>,
    },
}

impl Event for BulkheadEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Rejected { name, max_concurrent, waited } => tracing::debug!(
                target: "withstand::bulkhead",
                name = name.as_str(),
                max_concurrent,
                waited_ms = waited.map(|waited| waited.as_secs_f64() * 1e3),
                "call rejected"
            ),
        }
    }
}
