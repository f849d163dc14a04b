use std::time::Duration;

use super::{
    event::RateLimiterEvent,
    gcra::{LONGEST_DEBT, Pace},
    shared::Permits,
};
use crate::{
    clock::nanos,
    error::{Check, ConfigError, Name},
    event::Reporter,
};

/// How permits come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One after the other, evenly.
    Gcra,
    /// All at once, when a window begins.
    FixedWindow,
}

/// So many permits in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) limit: u32,
    pub(super) period: Duration,
    pub(super) form: Form,
    pub(super) pace: Pace,
}

impl Rate {
    /// Takes the settings without a check.
    pub(super) fn new(limit: u32, period: Duration, burst: Option<u32>, form: Form) -> Self {
        let interval = match form {
            // Zero permits are asked for, and none comes.
            Form::Gcra => nanos(period).div_ceil(u64::from(limit.max(1))).max(1),
            Form::FixedWindow => nanos(period),
        };
        let burst = if limit == 0 { 0 } else { burst.unwrap_or(limit) };
        Self { limit, period, form, pace: Pace { interval, burst } }
    }

    pub(super) fn check(&self, burst: Option<u32>, check: &mut Check) {
        let (span, is_window) = (nanos(self.period), self.form == Form::FixedWindow);
        let is_too_fast = u64::from(self.limit) > span && span > 0;
        check.refuse_if(is_too_fast, "limit", "must be at most one permit for each nanosecond of the period");
        check.refuse_if(span == 0, "period", "must be above zero");
        check.refuse_if(span > LONGEST_DEBT, "period", "must be at most 36 years");
        check.refuse_if(burst == Some(0), "burst", "must be at least 1; for no permits at all, set a limit of zero");
        check.refuse_if(is_window && burst.is_some(), "burst", "must be left out, because a fixed window has none");
        let refills_in = self.pace.interval.saturating_mul(u64::from(self.pace.burst));
        let is_too_large = !is_window && span <= LONGEST_DEBT && refills_in > LONGEST_DEBT;
        check.refuse_if(is_too_large, "burst", "must be refilled within 36 years");
    }

    pub(super) fn period_nanos(&self) -> u64 {
        nanos(self.period)
    }
}

/// Settings of a [`RateLimiter`](super::RateLimiter).
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RateLimiterBuilder {
    reporter: Reporter<RateLimiterEvent>,
    limit: u32,
    period: Duration,
    burst: Option<u32>,
    form: Form,
    queue: Option<Queue>,
}

#[derive(Clone, Copy, Debug)]
struct Queue {
    capacity: usize,
    max_wait: Duration,
}

impl RateLimiterBuilder {
    pub(super) fn new(name: Name, limit: u32, period: Duration) -> Self {
        Self { reporter: Reporter::new(name), limit, period, burst: None, form: Form::Gcra, queue: None }
    }

    /// How many permits an idle limiter keeps for later. The default is `limit`.
    ///
    /// At most `burst` calls begin at one instant. With 1, calls are spread evenly. A burst that is set stays as it is
    /// when [`set_rate`](super::RateLimiter::set_rate) changes the limit.
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// Counts in fixed windows, in place of letting permits come one after the other.
    ///
    /// A window begins with the first call after the window before has passed. It has `limit` permits, and lasts one
    /// `period`. Then the count begins anew. So up to twice the limit may begin around the end of a window, in any
    /// short span: `limit` calls just before it, and as many just after it.
    pub fn fixed_window(mut self) -> Self {
        self.form = Form::FixedWindow;
        self
    }

    /// Lets `capacity` calls wait for their permits, each for at most `max_wait`.
    ///
    /// A call that would have to wait longer is rejected at once. Without a queue, a call that finds no permit is
    /// rejected at once.
    pub fn queue(mut self, capacity: usize, max_wait: Duration) -> Self {
        self.queue = Some(Queue { capacity, max_wait });
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
        let mut check = Check::default();
        let rate = Rate::new(self.limit, self.period, self.burst, self.form);
        rate.check(self.burst, &mut check);
        if let Some(Queue { capacity, max_wait }) = self.queue {
            check.refuse_if(capacity == 0, "queue", "must have a capacity of at least 1; for no queue, leave it out");
            check.refuse_if(max_wait.is_zero(), "queue", "must have a max_wait above zero; for no queue, leave it out");
        }
        check.finish("rate limiter", self.reporter.name())?;
        let queue_capacity = self.queue.map_or(0, |queue| queue.capacity);
        let max_wait = self.queue.map(|queue| queue.max_wait);
        Ok(Permits::new(self.reporter, rate, self.burst, queue_capacity, max_wait))
    }
}
