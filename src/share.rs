//! How the services of a tower layer hold the state that they share, so that threads do not contend for one reference
//! count.
//!
//! Each call has to hold the shared state until it is over. If it cloned one `Arc` that all services have in common,
//! every call would write to the same reference count, and its cache line would move from one processor core to another
//! with each call. So there are two levels of `Arc`: the inner one holds the state and is common to all services; an
//! outer one, around it, is counted by the calls of one service only.
//!
//! - [`ServiceShare`] is what a service keeps.
//! - [`CallShare`] is what a call holds: a clone of the outer `Arc` of its service.
//!
//! A new outer `Arc` is an allocation, and many services are cloned for a single call and then dropped. Therefore a
//! clone begins with the outer `Arc` of the service that it was cloned from, and makes its own at its second call.

use std::{fmt, ops::Deref};

use crate::sync::{Arc, CachePadded};

/// What a service keeps of the shared state.
#[derive(Debug)]
pub(crate) struct ServiceShare<T> {
    share: CallShare<T>,
    count: Count,
}

/// Which reference count the calls of a service use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// That of the service it was cloned from. It has not been called yet.
    OfOriginal,
    /// That of the service it was cloned from. It has been called once: a second call shows that it is kept.
    OfOriginalCalledOnce,
    /// Its own.
    Own,
}

impl<T> ServiceShare<T> {
    pub(crate) fn new(state: Arc<T>) -> Self {
        Self { share: CallShare::new(state), count: Count::Own }
    }

    /// Returns what one call holds.
    #[inline]
    pub(crate) fn lend(&mut self) -> CallShare<T> {
        match self.count {
            Count::OfOriginal => self.count = Count::OfOriginalCalledOnce,
            Count::OfOriginalCalledOnce => self.make_own_count(),
            Count::Own => {}
        }
        self.share.clone()
    }

    #[inline(never)]
    fn make_own_count(&mut self) {
        self.share = CallShare::new(self.share.0.0.clone());
        self.count = Count::Own;
    }
}

/// A clone uses the count of its original until its second call.
impl<T> Clone for ServiceShare<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { share: self.share.clone(), count: Count::OfOriginal }
    }
}

impl<T> Deref for ServiceShare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

/// What a call of a service holds of the shared state.
pub struct CallShare<T>(Arc<CachePadded<Arc<T>>>);

impl<T> CallShare<T> {
    fn new(state: Arc<T>) -> Self {
        Self(Arc::new(CachePadded(state)))
    }
}

impl<T> Clone for CallShare<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for CallShare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: fmt::Debug> fmt::Debug for CallShare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have_one_count<T>(one: &CallShare<T>, other: &CallShare<T>) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[test]
    fn from_its_second_call_on_a_clone_has_a_count_of_its_own() {
        let mut original = ServiceShare::new(Arc::new(7));
        let mut clone = original.clone();
        let (first, second, third) = (clone.lend(), clone.lend(), clone.lend());
        assert!(have_one_count(&first, &original.lend()) && have_one_count(&second, &third));
        assert!(!have_one_count(&second, &first) && !have_one_count(&second, &original.lend()));
        assert_eq!((*first, *second), (7, 7));
    }

    #[test]
    fn the_shared_state_is_dropped_with_the_last_service_and_call() {
        let state = Arc::new(7);
        let mut original = ServiceShare::new(state.clone());
        let mut clone = original.clone();
        let shares = [original.lend(), clone.lend(), clone.lend(), clone.clone().lend()];
        drop((original, clone));
        assert!(shares.iter().all(|share| **share == 7));
        drop(shares);
        assert_eq!(Arc::strong_count(&state), 1);
    }
}
