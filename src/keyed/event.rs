use crate::{error::Name, event::Event};

/// What a [`Keyed`](super::Keyed) reports.
///
/// A key is told by the name that was made of it, as its policy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedEvent {
    /// A policy has left, to make room or because no one has asked for it for `idle_for`.
    #[non_exhaustive]
    Evicted {
        /// The name of the keyed policies, if they were given one.
        name: Option<Name>,
        /// The name of the key.
        key: Name,
    },
    /// Someone asked for a new key, and no policy could leave to make room for it. That call got the overflow policy.
    #[non_exhaustive]
    Overflowed {
        /// The name of the keyed policies, if they were given one.
        name: Option<Name>,
        /// The name of the key.
        key: Name,
        /// How many keys there may be.
        capacity: usize,
        /// Whether this is the first time, or the first after `idle_for` without another.
        is_first: bool,
    },
}

impl Event for KeyedEvent {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Evicted { name, key } => tracing::debug!(
                target: "withstand::keyed",
                name = name.as_ref().map(Name::as_str),
                key = key.as_str(),
                "key evicted"
            ),
            // Without the key: it is the user's data, and this level is logged in production.
            Self::Overflowed { name, capacity, is_first: true, .. } => tracing::warn!(
                target: "withstand::keyed",
                name = name.as_ref().map(Name::as_str),
                capacity,
                "no room for new keys: they share one policy"
            ),
            Self::Overflowed { name, key, capacity, is_first: false } => tracing::debug!(
                target: "withstand::keyed",
                name = name.as_ref().map(Name::as_str),
                key = key.as_str(),
                capacity,
                "no room for a new key"
            ),
        }
    }
}
