use std::time::Duration;

use super::{event::RateLimiterEvent, settings::RateLimiterSettings, shared::Permits};
use crate::{
    error::{ConfigError, Name},
    event::Reporter,
    queue::QueueSettings,
};

/// Settings of a [`RateLimiter`](super::RateLimiter).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RateLimiterBuilder {
    reporter: Reporter<RateLimiterEvent>,
    settings: RateLimiterSettings,
}

impl RateLimiterBuilder {
    pub(super) fn new(name: Name, limit: u32, period: Duration) -> Self {
        Self { reporter: Reporter::new(name), settings: RateLimiterSettings::new(limit, period) }
    }

    /// Takes all settings that are data from these: those of a file, for example. Listeners stay.
    pub fn settings(mut self, settings: &RateLimiterSettings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// How many permits an idle limiter keeps for later. The default is `limit`.
    ///
    /// At most `burst` calls begin at one instant. With 1, calls are spread evenly. A burst that is set stays as it is
    /// when [`set_rate`](super::RateLimiter::set_rate) changes the limit.
    pub fn burst(mut self, burst: u32) -> Self {
        self.settings.burst = Some(burst);
        self
    }

    /// Counts in fixed windows, in place of letting permits come one after the other.
    ///
    /// A window begins with the first call after the window before has passed. It has `limit` permits, and lasts one
    /// `period`. Then the count begins anew. So up to twice the limit may begin around the end of a window, in any
    /// short span: `limit` calls just before it, and as many just after it.
    pub fn fixed_window(mut self) -> Self {
        self.settings.fixed_window = true;
        self
    }

    /// Lets `capacity` calls wait for their permits, each for at most `max_wait`.
    ///
    /// A call that would have to wait longer is rejected at once. Without a queue, a call that finds no permit is
    /// rejected at once.
    pub fn queue(mut self, capacity: usize, max_wait: Duration) -> Self {
        self.settings.queue = Some(QueueSettings::new(capacity, max_wait));
        self
    }

    /// Adds a listener. It is told of every rejection.
    ///
    /// It runs inside the call that is rejected, on that call's thread. Any number of listeners may be added. They
    /// are told in the order in which they were added. The panic of a listener is caught, and the next listener is
    /// told all the same.
    pub fn listener_fn(mut self, listener: impl Fn(&RateLimiterEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add(listener);
        self
    }

    pub(super) fn checked(self) -> Result<Permits, ConfigError> {
        self.settings.check(self.reporter.name(), None)?;
        Ok(Permits::new(self.reporter, self.settings))
    }
}
