//! What threads share. It is in one file, so that a model checker can replace it (`--cfg withstand_loom`).

use std::{ops::Deref, sync::PoisonError};

#[cfg(all(test, withstand_loom))]
use loom::sync::Mutex;
#[cfg(all(test, withstand_loom))]
pub(crate) use loom::sync::{
    Arc, MutexGuard as LockGuard,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(all(test, withstand_loom)))]
use std::sync::Mutex;
#[cfg(not(all(test, withstand_loom)))]
pub(crate) use std::sync::{
    Arc, MutexGuard as LockGuard,
    atomic::{AtomicU64, Ordering},
};

/// A mutex that no panic poisons. No user code runs under it, and each method of a core leaves the core consistent.
#[derive(Debug)]
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what one thread writes off the cache lines that other threads read. Processors fetch lines in pairs: 128
/// bytes.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
