//! The settings as data, and their checks.

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{config::BulkheadBuilder, policy::Bulkhead};
#[cfg(feature = "serde")]
use crate::duration_text;
use crate::error::{Check, ConfigError, Name};

/// The settings of a [`Bulkhead`] as data: what a file can say.
///
/// Each field is named like the setter of the [`BulkheadBuilder`], which tells more of it. Listeners are code, and
/// only the builder adds them. `max_concurrent` has no default: you name it.
///
/// ```
/// use std::time::Duration;
/// use withstand::bulkhead::{BulkheadSettings, QueueSettings};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let mut settings = BulkheadSettings::new(16);
/// let bulkhead = settings.build("stock")?;
///
/// settings.queue = Some(QueueSettings::new(32, Duration::from_millis(250)));
/// bulkhead.apply(&settings)?;
/// assert_eq!(bulkhead.queue_capacity(), 32);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BulkheadSettings {
    /// How many calls may run at once. Zero rejects every call.
    pub max_concurrent: usize,
    /// The queue for calls that find no free slot. Absent: they are rejected at once.
    #[cfg_attr(feature = "serde", serde(default))]
    pub queue: Option<QueueSettings>,
}

/// The queue of a [`Bulkhead`] as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(deny_unknown_fields))]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct QueueSettings {
    /// How many calls may wait for a slot: at least 1.
    pub capacity: usize,
    /// How long each of them may wait: above zero.
    #[cfg_attr(feature = "serde", serde(with = "duration_text"))]
    #[cfg_attr(feature = "schemars", schemars(with = "duration_text::DurationText"))]
    pub max_wait: Duration,
}

impl QueueSettings {
    /// Room for `capacity` calls, each of which waits for at most `max_wait`.
    pub const fn new(capacity: usize, max_wait: Duration) -> Self {
        Self { capacity, max_wait }
    }
}

impl BulkheadSettings {
    /// `max_concurrent` calls at once, and no queue.
    pub const fn new(max_concurrent: usize) -> Self {
        Self { max_concurrent, queue: None }
    }

    /// A bulkhead with these settings. For listeners besides: [`BulkheadBuilder::settings`].
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(&self, name: impl Into<Name>) -> Result<Bulkhead, ConfigError> {
        BulkheadBuilder::new(name.into(), self.max_concurrent).settings(self).build()
    }

    pub(super) fn queue_capacity(&self) -> usize {
        self.queue.map_or(0, |queue| queue.capacity)
    }

    /// Refuses bad settings for the bulkhead of this name.
    pub(super) fn check(&self, name: &Name) -> Result<(), ConfigError> {
        let mut check = Check::default();
        if let Some(QueueSettings { capacity, max_wait }) = self.queue {
            check.refuse_if(capacity == 0, "queue", "must have a capacity of at least 1; for no queue, leave it out");
            check.refuse_if(max_wait.is_zero(), "queue", "must have a max_wait above zero; for no queue, leave it out");
        }
        check.finish("bulkhead", name)
    }
}
