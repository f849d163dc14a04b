use std::{fmt, time::Duration};

use super::{
    event::KeyedEvent,
    shared::{Factory, Shared},
};
use crate::{
    error::{Check, ConfigError, Name},
    event::Reporter,
};

const CAPACITY: usize = 10_000;
const IDLE_FOR: Duration = Duration::from_secs(10 * 60);

/// Settings of a [`Keyed`](super::Keyed). The [module](super#defaults) has a table of the defaults.
#[must_use = "a builder does nothing until `build`"]
pub struct KeyedBuilder<K, P> {
    factory: Factory<K, P>,
    reporter: Reporter<KeyedEvent, Option<Name>>,
    capacity: usize,
    idle_for: Duration,
    overflow: Option<P>,
}

impl<K, P> KeyedBuilder<K, P> {
    pub(super) fn new(factory: Factory<K, P>) -> Self {
        Self { factory, reporter: Reporter::new(None), capacity: CAPACITY, idle_for: IDLE_FOR, overflow: None }
    }

    /// How many keys there may be, at least 1.
    ///
    /// Choose more than the number of different keys that are in use within [`idle_for`](Self::idle_for).
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// For how long a policy that has something to remember stays when no one asks for its key, above zero.
    ///
    /// A circuit with failures in its window leaves after this time, and an open one this time after its opening. A
    /// policy that is as good as new leaves after this time too, or sooner if there is no room for a new key.
    pub fn idle_for(mut self, span: Duration) -> Self {
        self.idle_for = span;
        self
    }

    /// The policy that new keys share when no other can leave.
    ///
    /// Without this the factory makes it when it is needed, for the key that needs it first, under the name `overflow`.
    pub fn overflow(mut self, policy: P) -> Self {
        self.overflow = Some(policy);
        self
    }

    /// Gives these policies a name together, for their events.
    ///
    /// A literal costs nothing. For borrowed text there is [`Name::copied`].
    pub fn named(mut self, name: impl Into<Name>) -> Self {
        self.reporter.set_name(Some(name.into()));
        self
    }

    /// Adds a listener. It is told when a key leaves, and when there is no room for a new one.
    ///
    /// It runs inside the [`get`](super::Keyed::get) that made this happen, on that thread and without a lock. Any
    /// number of listeners may be added. They are told in the order in which they were added. The panic of a listener is
    /// caught, and the next listener is told all the same.
    pub fn listener_fn(mut self, listener: impl Fn(&KeyedEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add(listener);
        self
    }

    pub(super) fn checked(self) -> Result<Shared<K, P>, ConfigError> {
        let mut check = Check::default();
        check.refuse_if(self.capacity == 0, "capacity", "must be at least 1");
        check.refuse_if(self.idle_for.is_zero(), "idle_for", "must be above zero");
        let unnamed = Name::from("unnamed");
        check.finish("keyed policies", self.reporter.name().as_ref().unwrap_or(&unnamed))?;
        Ok(self.shared())
    }

    /// Unchecked: the defaults are good.
    pub(super) fn shared(self) -> Shared<K, P> {
        Shared::new(self.factory, self.reporter, self.capacity, self.idle_for, self.overflow)
    }
}

impl<K, P> fmt::Debug for KeyedBuilder<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("capacity", &self.capacity)
            .field("idle_for", &self.idle_for)
            .finish_non_exhaustive()
    }
}
