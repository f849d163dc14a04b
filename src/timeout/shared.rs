use std::{sync::Arc, time::Duration};

use super::event::TimeoutEvent;
use crate::{
    error::{Cause, Elapsed, Name, Rejected},
    event::Reporter,
};

/// The name and the listeners of a timeout.
///
/// A tower service clones it at each call. Without a name and a listener there is no `Arc`, and a clone costs nothing.
#[derive(Clone, Debug)]
pub struct TimeoutReporter(Option<Arc<Reporter<TimeoutEvent, Option<Name>>>>);

impl TimeoutReporter {
    /// No name and no listener.
    pub(super) const NONE: Self = Self(None);

    pub(crate) fn name(&self) -> Option<&Name> {
        self.0.as_ref().and_then(|reporter| reporter.name().as_ref())
    }

    pub(crate) fn set_name(&mut self, name: Name) {
        self.change(|reporter| reporter.set_name(Some(name)));
    }

    pub(super) fn add_listener(&mut self, listener: impl Fn(&TimeoutEvent) + Send + Sync + 'static) {
        self.change(|reporter| reporter.add(listener));
    }

    /// Changes a copy if there are clones: a clone that was made before keeps what it has.
    fn change(&mut self, change: impl FnOnce(&mut Reporter<TimeoutEvent, Option<Name>>)) {
        let mut reporter = self.0.take().map_or_else(|| Reporter::new(None), Arc::unwrap_or_clone);
        change(&mut reporter);
        self.0 = Some(Arc::new(reporter));
    }

    /// Emits the event, and returns the rejection.
    pub(crate) fn report(&self, limit: Duration, cause: Cause) -> Rejected {
        let without_listeners = Reporter::new(None);
        let reporter = self.0.as_deref().unwrap_or(&without_listeners);
        reporter.emit(|name| TimeoutEvent::TimedOut { name, limit });
        Rejected::TimedOut(Elapsed::caused_by(cause, reporter.name().clone(), limit))
    }
}
