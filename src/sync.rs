//! What threads share. It is in one file, so that a model checker can replace it (`--cfg withstand_loom`).

use std::{ops::Deref, sync::PoisonError};

#[cfg(all(test, withstand_loom))]
pub(crate) use loom::sync::{
    Arc, MutexGuard as LockGuard,
    atomic::{AtomicU64, Ordering, fence},
};
#[cfg(all(test, withstand_loom))]
use loom::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, withstand_loom)))]
pub(crate) use std::sync::{
    Arc, MutexGuard as LockGuard,
    atomic::{AtomicU64, Ordering, fence},
};
#[cfg(not(all(test, withstand_loom)))]
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

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

/// A lock for many readers or one writer that no panic poisons. No user code runs while it is held.
#[derive(Debug)]
pub(crate) struct SharedLock<T>(RwLock<T>);

impl<T> SharedLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    #[inline]
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
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
