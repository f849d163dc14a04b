//! How the services of a tower layer hold what they share, so that threads do not contend for one reference count.
//!
//! Each call takes a share with it. Were that a clone of the one `Arc` that all services have, threads would pass its count to and fro
//! between their caches at each call. So a service that lives on makes an `Arc` of its own around the common one, and its calls count
//! there. A clone that is made for a single call counts where the service does that it was cloned from, and allocates nothing.

use std::{fmt, ops::Deref};

use crate::sync::{Apart, Arc};

/// What a service keeps.
#[derive(Debug)]
pub(crate) struct Lender<T> {
    share: Share<T>,
    tenure: Tenure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenure {
    /// It counts where another does, and has not been called.
    New,
    /// It counts where another does: a second call shows that it lives on.
    Called,
    /// It has a count of its own.
    LivesOn,
}

impl<T> Lender<T> {
    pub(crate) fn new(common: Arc<T>) -> Self {
        Self { share: Share::around(common), tenure: Tenure::LivesOn }
    }

    /// A share for one call.
    #[inline]
    pub(crate) fn lend(&mut self) -> Share<T> {
        match self.tenure {
            Tenure::New => self.tenure = Tenure::Called,
            Tenure::Called => self.live_on(),
            Tenure::LivesOn => {}
        }
        self.share.clone()
    }

    #[inline(never)]
    fn live_on(&mut self) {
        self.share = Share::around(self.share.0.0.clone());
        self.tenure = Tenure::LivesOn;
    }
}

/// The clone is new.
impl<T> Clone for Lender<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { share: self.share.clone(), tenure: Tenure::New }
    }
}

impl<T> Deref for Lender<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.share
    }
}

/// What a call of a service holds of what the services share.
pub struct Share<T>(Arc<Apart<Arc<T>>>);

impl<T> Share<T> {
    fn around(common: Arc<T>) -> Self {
        Self(Arc::new(Apart(common)))
    }
}

impl<T> Clone for Share<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Share<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Share<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_together<T>(one: &Share<T>, other: &Share<T>) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[test]
    fn from_its_second_call_on_a_clone_counts_on_its_own() {
        let mut lender = Lender::new(Arc::new(7));
        let mut clone = lender.clone();
        let (first, second, third) = (clone.lend(), clone.lend(), clone.lend());
        assert!(count_together(&first, &lender.lend()) && count_together(&second, &third));
        assert!(!count_together(&second, &first) && !count_together(&second, &lender.lend()));
        assert_eq!((*first, *second), (7, 7));
    }

    #[test]
    fn all_of_it_is_let_go() {
        let common = Arc::new(7);
        let mut lender = Lender::new(common.clone());
        let mut clone = lender.clone();
        let shares = [lender.lend(), clone.lend(), clone.lend(), clone.clone().lend()];
        drop((lender, clone));
        assert!(shares.iter().all(|share| **share == 7));
        drop(shares);
        assert_eq!(Arc::strong_count(&common), 1);
    }
}
