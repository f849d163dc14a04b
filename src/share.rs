//! How the services of a tower layer hold what they share, so that threads do not contend for one reference count.
//!
//! Each call takes a share with it. Were that a clone of the one `Arc` that all services have, threads would pass its
//! count to and fro between their caches at each call. So a service that lives on makes an `Arc` of its own around the
//! common one, and its calls count there. A clone that is made for a single call counts where the service does that it
//! was cloned from, and allocates nothing.

use std::{fmt, ops::Deref};

use crate::sync::{Arc, CachePadded};

/// What a service keeps.
#[derive(Debug)]
pub(crate) struct ServiceShare<T> {
    share: CallShare<T>,
    lifetime: Lifetime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    /// It counts where another does, and has not been called.
    New,
    /// It counts where another does: a second call shows that it lives on.
    Called,
    /// It has a count of its own.
    LivesOn,
}

impl<T> ServiceShare<T> {
    pub(crate) fn new(common: Arc<T>) -> Self {
        Self { share: CallShare::around(common), lifetime: Lifetime::LivesOn }
    }

    /// A share for one call.
    #[inline]
    pub(crate) fn lend(&mut self) -> CallShare<T> {
        match self.lifetime {
            Lifetime::New => self.lifetime = Lifetime::Called,
            Lifetime::Called => self.live_on(),
            Lifetime::LivesOn => {}
        }
        self.share.clone()
    }

    #[inline(never)]
    fn live_on(&mut self) {
        self.share = CallShare::around(self.share.0.0.clone());
        self.lifetime = Lifetime::LivesOn;
    }
}

/// The clone is new.
impl<T> Clone for ServiceShare<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { share: self.share.clone(), lifetime: Lifetime::New }
    }
}

impl<T> Deref for ServiceShare<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

/// What a call of a service holds of what the services share.
pub struct CallShare<T>(Arc<CachePadded<Arc<T>>>);

impl<T> CallShare<T> {
    fn around(common: Arc<T>) -> Self {
        Self(Arc::new(CachePadded(common)))
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

    fn count_together<T>(one: &CallShare<T>, other: &CallShare<T>) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[test]
    fn from_its_second_call_on_a_clone_counts_on_its_own() {
        let mut lender = ServiceShare::new(Arc::new(7));
        let mut clone = lender.clone();
        let (first, second, third) = (clone.lend(), clone.lend(), clone.lend());
        assert!(count_together(&first, &lender.lend()) && count_together(&second, &third));
        assert!(!count_together(&second, &first) && !count_together(&second, &lender.lend()));
        assert_eq!((*first, *second), (7, 7));
    }

    #[test]
    fn all_of_it_is_let_go() {
        let common = Arc::new(7);
        let mut lender = ServiceShare::new(common.clone());
        let mut clone = lender.clone();
        let shares = [lender.lend(), clone.lend(), clone.lend(), clone.clone().lend()];
        drop((lender, clone));
        assert!(shares.iter().all(|share| **share == 7));
        drop(shares);
        assert_eq!(Arc::strong_count(&common), 1);
    }
}
