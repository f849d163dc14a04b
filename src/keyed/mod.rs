//! docs

mod config;
mod event;
mod keep;
mod map;
mod order;
mod policy;
mod shared;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{KeyedLayer, KeyedService, SendThrough};
pub use self::{
    config::KeyedBuilder,
    event::KeyedEvent,
    keep::KeyedPolicy,
    policy::{Keyed, Snapshot},
};

// Only signatures name these.
#[cfg(feature = "tower")]
#[doc(hidden)]
pub use self::tower::{ByOwnedKey, ByRef, ChooseKey};
