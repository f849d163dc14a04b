use std::time::Duration;

use super::TimeoutEvent;
use crate::{
    error::{Elapsed, Name, Rejected},
    event::Listener,
};

/// What is said, and to whom, when a limit has passed.
#[derive(Clone, Debug)]
pub struct Expiry {
    pub(super) name: Option<Name>,
    pub(super) listener: Listener<TimeoutEvent>,
}

impl Expiry {
    pub(super) const SILENT: Self = Self { name: None, listener: Listener::NONE };

    pub(super) fn tell(&self, limit: Duration) -> Rejected {
        self.listener.emit(|| TimeoutEvent::TimedOut { name: self.name.clone(), limit });
        Rejected::TimedOut(Elapsed::new(self.name.clone(), limit))
    }
}
