use std::time::Duration;

use super::{event::BulkheadEvent, shared::Slots};
use crate::{
    error::{Check, ConfigError, Name},
    event::Reporter,
};

/// Settings of a [`Bulkhead`](super::Bulkhead).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct BulkheadBuilder {
    reporter: Reporter<BulkheadEvent>,
    max_concurrent: usize,
    queue: Option<Queue>,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    capacity: usize,
    max_wait: Duration,
}

impl BulkheadBuilder {
    pub(super) fn new(name: Name, max_concurrent: usize) -> Self {
        Self { reporter: Reporter::new(name), max_concurrent, queue: None }
    }

    /// Lets `capacity` calls wait for a slot, each for at most `max_wait`.
    ///
    /// Without a queue, a call that finds no free slot is rejected at once.
    pub fn queue(mut self, capacity: usize, max_wait: Duration) -> Self {
        self.queue = Some(Queue { capacity, max_wait });
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
        let queue_capacity = self.queue.map_or(0, |queue| queue.capacity);
        let max_wait = self.queue.map(|queue| queue.max_wait);
        Slots::new(self.reporter, self.max_concurrent, queue_capacity, max_wait)
    }

    pub(super) fn checked(self) -> Result<Slots, ConfigError> {
        let mut check = Check::default();
        if let Some(Queue { capacity, max_wait }) = self.queue {
            check.refuse_if(capacity == 0, "queue", "must have a capacity of at least 1; for no queue, leave it out");
            check.refuse_if(max_wait.is_zero(), "queue", "must have a max_wait above zero; for no queue, leave it out");
        }
        check.finish("bulkhead", self.reporter.name())?;
        Ok(self.unchecked())
    }
}
