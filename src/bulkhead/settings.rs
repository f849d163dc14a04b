//! The settings as data, and their checks.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{config::BulkheadBuilder, policy::Bulkhead};
use crate::{
    error::{Check, ConfigError, Name},
    queue::QueueSettings,
};

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
        if let Some(queue) = self.queue {
            queue.check(&mut check);
        }
        check.finish("bulkhead", name)
    }
}
