use std::{sync::Arc, time::Duration};

use super::event::TimeoutEvent;
use crate::{
    error::{Elapsed, Name, Rejected},
    event::Listener,
};

/// What is said, and to whom, when a limit has passed. Without a name and a listener a clone of it costs nothing.
#[derive(Clone, Debug)]
pub struct Expiry(Option<Arc<Reporter>>);

#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) name: Option<Name>,
    pub(super) listener: Listener<TimeoutEvent>,
}

impl Expiry {
    pub(super) const SILENT: Self = Self(None);

    pub(super) fn change(&mut self, change: impl FnOnce(&mut Reporter)) {
        let silent = || Reporter { name: None, listener: Listener::NONE };
        let mut voice = self.0.take().map_or_else(silent, Arc::unwrap_or_clone);
        change(&mut voice);
        self.0 = Some(Arc::new(voice));
    }

    pub(super) fn tell(&self, limit: Duration) -> Rejected {
        let silent = Reporter { name: None, listener: Listener::NONE };
        let Reporter { name, listener } = self.0.as_deref().unwrap_or(&silent);
        listener.emit(|| TimeoutEvent::TimedOut { name: name.clone(), limit });
        Rejected::TimedOut(Elapsed::new(name.clone(), limit))
    }
}
