use std::{sync::Arc, time::Duration};

use super::event::TimeoutEvent;
use crate::{
    error::{Elapsed, Name, Rejected},
    event::Reporter,
};

type TimeoutReporter = Reporter<TimeoutEvent, Option<Name>>;

/// What is said, and to whom, when a limit has passed. Without a name and a listener a clone of it costs nothing.
#[derive(Clone, Debug)]
pub struct Expiry(Option<Arc<TimeoutReporter>>);

impl Expiry {
    pub(super) const SILENT: Self = Self(None);

    pub(super) fn change(&mut self, change: impl FnOnce(&mut TimeoutReporter)) {
        let mut reporter = self.0.take().map_or_else(|| Reporter::new(None), Arc::unwrap_or_clone);
        change(&mut reporter);
        self.0 = Some(Arc::new(reporter));
    }

    pub(super) fn tell(&self, limit: Duration) -> Rejected {
        let silent = Reporter::new(None);
        let reporter = self.0.as_deref().unwrap_or(&silent);
        reporter.emit(|name| TimeoutEvent::TimedOut { name, limit });
        Rejected::TimedOut(Elapsed::new(reporter.name().clone(), limit))
    }
}
