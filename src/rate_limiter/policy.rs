use std::{future::Future, time::Duration};

use super::{
    acquire::RateLimiterAcquire,
    config::RateLimiterBuilder,
    future::RateLimiterFuture,
    quota::Quota,
    settings::RateLimiterSettings,
    shared::{Permits, Snapshot},
};
use crate::{
    carry::CarriesRejected,
    error::{ConfigError, Name, Rejected},
    sync::Arc,
};

/// Lets only so many calls begin in each period.
///
/// See the [module](super). All clones and layers share the limit and the queue.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    pub(crate) permits: Arc<Permits>,
}

impl RateLimiter {
    /// A rate limiter without a queue: `limit` calls may begin in each `period`, and others are rejected at once.
    ///
    /// **An idle limiter lets `limit` calls begin at one instant** (its burst), and then one for each
    /// `period / limit`. So up to twice the limit may begin in the first period. For less, set a smaller
    /// [`burst`](RateLimiterBuilder::burst).
    ///
    /// A limit of zero rejects every call. A literal name costs nothing; for borrowed text there is [`Name::copied`].
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] if the period is zero or longer than 36 years, or if the limit is above one permit for each
    /// nanosecond.
    pub fn new(name: impl Into<Name>, limit: u32, period: Duration) -> Result<Self, ConfigError> {
        Self::builder(name, limit, period).build()
    }

    /// A rate limiter that counts in fixed windows, without a queue: `limit` calls may begin in each window of one
    /// `period`, and others are rejected at once.
    ///
    /// A window begins with the first call after the window before has passed. **Up to twice the limit may begin
    /// around the end of a window**: see [`fixed_window`](RateLimiterBuilder::fixed_window).
    ///
    /// A limit of zero rejects every call. A literal name costs nothing; for borrowed text there is [`Name::copied`].
    ///
    /// # Errors
    ///
    /// As those of [`new`](Self::new).
    pub fn fixed_window(name: impl Into<Name>, limit: u32, period: Duration) -> Result<Self, ConfigError> {
        Self::builder(name, limit, period).fixed_window().build()
    }

    /// Settings for a rate limiter of this name, which lets `limit` calls begin in each `period`.
    ///
    /// A literal name costs nothing; for borrowed text there is [`Name::copied`].
    pub fn builder(name: impl Into<Name>, limit: u32, period: Duration) -> RateLimiterBuilder {
        RateLimiterBuilder::new(name.into(), limit, period)
    }
}

impl RateLimiterBuilder {
    /// A rate limiter with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        Ok(RateLimiter { permits: Arc::new(self.checked()?) })
    }
}

impl RateLimiter {
    /// Starts the operation if a permit is there. If none is there, the call waits in the queue, or is rejected if its
    /// wait would be too long or the queue is full.
    ///
    /// All this is decided before `call` returns. The future waits for a permit if there is none yet, and for the
    /// operation.
    ///
    /// # Errors
    ///
    /// The operation's own error, or [`Rejected::RateLimited`], and then the operation was not started.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future while it waits, it leaves the queue, and has used no permit. If you drop it while the
    /// operation runs, the operation is dropped, and its permit is used.
    ///
    /// # Panics
    ///
    /// When it has to wait in the queue and is polled outside a tokio runtime with time enabled.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> RateLimiterFuture<F, Fut, &Permits>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
    {
        RateLimiterFuture::start(&&*self.permits, || operation)
    }

    /// Takes a permit, if one is there now and no call waits for one.
    ///
    /// # Errors
    ///
    /// [`Rejected::RateLimited`] otherwise.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Rejected> {
        self.try_acquire_many(1)
    }

    /// Takes so many permits, if all of them are there now and no call waits: for calls that cost more than others.
    /// Zero permits are always there.
    ///
    /// # Errors
    ///
    /// [`Rejected::RateLimited`] otherwise, and then none is taken. Its
    /// [`retry_after`](crate::RateLimited::retry_after) is `None` if `permits` is above the burst (in a fixed window,
    /// above the limit): so many are never there at once.
    #[inline]
    pub fn try_acquire_many(&self, permits: u32) -> Result<(), Rejected> {
        if permits == 0 {
            return Ok(());
        }
        match self.permits.try_enter(self.permits.now(), permits) {
            Ok(()) => Ok(()),
            Err(retry_after) => Err(self.permits.reject_other(retry_after).into()),
        }
    }

    /// Takes a permit. If none is there, the future waits in the queue for one.
    ///
    /// It has taken the permit, or joined the queue, before `acquire` returns. A permit is used once it is taken:
    /// nothing has to be given back.
    ///
    /// # Errors
    ///
    /// The future yields [`Rejected::RateLimited`] if the queue is full, or if the wait would be too long.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future while it waits, it leaves the queue, and has used no permit.
    ///
    /// # Panics
    ///
    /// When it has to wait in the queue and is polled outside a tokio runtime with time enabled.
    pub fn acquire(&self) -> RateLimiterAcquire {
        self.acquire_many(1)
    }

    /// Takes so many permits, all at once, as [`acquire`](Self::acquire) does: for calls that cost more than others.
    /// Zero permits are always there.
    ///
    /// # Errors
    ///
    /// As those of `acquire`. If `permits` is above the burst (in a fixed window, above the limit), it is rejected at
    /// once, and [`retry_after`](crate::RateLimited::retry_after) is `None`: so many are never there at once.
    ///
    /// # Cancel safety
    ///
    /// If you drop the future while it waits, it leaves the queue, and has used no permit.
    ///
    /// # Panics
    ///
    /// When it has to wait in the queue and is polled outside a tokio runtime with time enabled.
    pub fn acquire_many(&self, permits: u32) -> RateLimiterAcquire {
        RateLimiterAcquire::start(&self.permits, permits)
    }

    /// Changes how many calls may begin in each period.
    ///
    /// It is [`apply`](Self::apply) of the settings that are in force, with another `limit` and `period`. A burst that
    /// was not set follows the limit.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] as those of [`new`](Self::new), and then nothing has changed.
    pub fn set_rate(&self, limit: u32, period: Duration) -> Result<(), ConfigError> {
        self.permits.set_rate(limit, period)
    }

    /// How many calls may begin in each period.
    pub fn limit(&self) -> u32 {
        self.permits.rate().limit
    }

    /// The period of the limit.
    pub fn period(&self) -> Duration {
        self.permits.rate().period
    }

    /// How many calls the queue has room for. Zero if there is no queue.
    pub fn queue_capacity(&self) -> usize {
        self.permits.queue_capacity()
    }

    /// How long a call may wait in the queue. `None` if there is no queue.
    pub fn max_wait(&self) -> Option<Duration> {
        self.settings().max_wait()
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> RateLimiterSettings {
        self.permits.settings()
    }

    /// Changes the settings while the rate limiter is in use. All clones and layers go on by them at once; listeners
    /// stay.
    ///
    /// | what | what becomes of it |
    /// |---|---|
    /// | what has been used | stays used: the time until the limiter is full again is kept, but for what is longer than the new limit would ever need |
    /// | a fixed window | keeps its count, and ends one new `period` after it began |
    /// | calls that run | go on |
    /// | calls that wait | keep their positions, in a smaller queue and in none too, and their own `max_wait`; they get a new time |
    /// | those that the new limit would make wait longer than that, or whose permits are above the new burst | are rejected at once |
    /// | a limit of zero | rejects all that wait, and every call from then on |
    /// | a queue that was added | lets the next call wait that finds no permit |
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting; another [`fixed_window`](RateLimiterSettings::fixed_window) is
    /// one, because what is used of a window says nothing about a burst. Then nothing has changed.
    pub fn apply(&self, settings: &RateLimiterSettings) -> Result<(), ConfigError> {
        self.check(settings)?;
        self.apply_checked(settings);
        Ok(())
    }

    /// Whether these settings could be applied.
    pub(crate) fn check(&self, settings: &RateLimiterSettings) -> Result<(), ConfigError> {
        settings.check(self.permits.name(), Some(&self.settings()))
    }

    /// Applies settings that were checked.
    pub(crate) fn apply_checked(&self, settings: &RateLimiterSettings) {
        self.permits.apply_checked(settings);
    }

    /// Takes these settings as those that it was made with.
    pub(crate) fn set_made_with(&self, settings: &RateLimiterSettings) {
        self.permits.set_made_with(settings);
    }

    /// The rate limiter's name.
    pub fn name(&self) -> &str {
        self.permits.name().as_str()
    }

    /// How many permits are there, and how many calls wait, at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.permits.snapshot()
    }

    /// What a caller may be told of the limit at this moment.
    pub fn quota(&self) -> Quota {
        self.permits.quota()
    }

    /// How many handles, layers, services, calls that wait and waits for permits hold it, this handle included. A call
    /// that runs holds nothing of it.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.permits)
    }

    /// Whether a new rate limiter would be the same as this one.
    pub(crate) fn is_as_new(&self) -> bool {
        self.permits.is_as_new()
    }
}
