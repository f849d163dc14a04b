//! What threads share: one room, so that a model checker can stand in for it (`--cfg withstand_loom`).

use std::sync::PoisonError;

#[cfg(withstand_loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
#[cfg(withstand_loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(withstand_loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(withstand_loom))]
use std::sync::{Mutex, MutexGuard};

/// A mutex that no panic poisons: no user code runs under it, and a core is whole between any two of its calls.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
