use std::time::Duration;

use crate::{error::Name, event::Event};

/// What a bulkhead reports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkheadEvent {
    /// A call was rejected.
    #[non_exhaustive]
    Rejected {
        /// The bulkhead's name.
        name: Name,
        /// How many calls it lets run at once.
        limit: usize,
        /// How long the call had waited in line; `None` if it was rejected at once.
        waited: Option<Duration>,
    },
}

impl Event for BulkheadEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Rejected { name, limit, waited } => tracing::debug!(
                target: "withstand::bulkhead",
                name = name.as_str(),
                limit,
                waited_ms = waited.map(|waited| waited.as_secs_f64() * 1e3),
                "call rejected"
            ),
        }
    }
}
