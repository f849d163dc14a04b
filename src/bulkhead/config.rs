use std::time::Duration;

use super::{event::BulkheadEvent, settings::BulkheadSettings, shared::Slots};
use crate::{
    error::{ConfigError, Name},
    event::Reporter,
    queue::QueueSettings,
};

/// Settings of a [`Bulkhead`](super::Bulkhead).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct BulkheadBuilder {
    reporter: Reporter<BulkheadEvent>,
    settings: BulkheadSettings,
}

impl BulkheadBuilder {
    pub(super) fn new(name: Name, max_concurrent: usize) -> Self {
        Self { reporter: Reporter::new(name), settings: BulkheadSettings::new(max_concurrent) }
    }

    /// Takes all settings that are data from these: those of a file, for example. Listeners stay.
    pub fn settings(mut self, settings: &BulkheadSettings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// Lets `capacity` calls wait for a slot, each for at most `max_wait`.
    ///
    /// Without a queue, a call that finds no free slot is rejected at once.
    pub fn queue(mut self, capacity: usize, max_wait: Duration) -> Self {
        self.settings.queue = Some(QueueSettings::new(capacity, max_wait));
        self
    }

    /// Adds a listener. It is told of every rejection.
    ///
    /// It runs inside the call that is rejected, on that call's thread. Any number of listeners may be added. They
    /// are told in the order in which they were added. The panic of a listener is caught, and the next listener is
    /// told all the same.
    pub fn listener_fn(mut self, listener: impl Fn(&BulkheadEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add(listener);
        self
    }

    /// Takes the settings without a check.
    pub(super) fn unchecked(self) -> Slots {
        Slots::new(self.reporter, self.settings)
    }

    pub(super) fn checked(self) -> Result<Slots, ConfigError> {
        self.settings.check(self.reporter.name())?;
        Ok(self.unchecked())
    }
}
