//! How the services of a tower layer hold what they share, so that threads do not contend for one reference count.
//!
//! Each call takes a share with it. Were that a clone of the one `Arc` that all services have, threads would pass its count to and fro
//! between their caches at each call. So a service that is called a second time, and so lives on, makes an `Arc` of its own around the
//! common one. A clone that is made for a single call allocates nothing.

use std::{fmt, ops::Deref};

use crate::sync::{Apart, Arc};

type Own<T> = Arc<Apart<Arc<T>>>;

/// What a service keeps.
#[derive(Debug)]
pub(crate) struct Lender<T> {
    share: Share<T>,
    has_lent: bool,
}

impl<T> Lender<T> {
    pub(crate) fn new(common: Arc<T>) -> Self {
        Self { share: Share(Held::Common(common)), has_lent: false }
    }

    /// A share for one call.
    #[inline]
    pub(crate) fn lend(&mut self) -> Share<T> {
        if self.has_lent {
            self.share.set_apart();
        }
        self.has_lent = true;
        self.share.clone()
    }
}

/// The clone has lent nothing yet.
impl<T> Clone for Lender<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self::new(self.share.common().clone())
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
pub struct Share<T>(Held<T>);

enum Held<T> {
    Common(Arc<T>),
    Own(Own<T>),
}

impl<T> Share<T> {
    fn common(&self) -> &Arc<T> {
        match &self.0 {
            Held::Common(common) => common,
            Held::Own(own) => own,
        }
    }

    #[inline]
    fn set_apart(&mut self) {
        if let Held::Common(common) = &self.0 {
            self.0 = Held::Own(Arc::new(Apart(common.clone())));
        }
    }
}

impl<T> Clone for Share<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Held::Common(common) => Held::Common(common.clone()),
            Held::Own(own) => Held::Own(own.clone()),
        })
    }
}

impl<T> Deref for Share<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.common()
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

    fn is_own<T>(share: &Share<T>) -> bool {
        matches!(share.0, Held::Own(_))
    }

    #[test]
    fn from_its_second_call_on_a_service_lends_of_its_own() {
        let common = Arc::new(7);
        let mut lender = Lender::new(common.clone());
        let shares = [(); 4].map(|()| lender.lend());
        assert_eq!(shares.each_ref().map(is_own), [false, true, true, true]);
        assert!(shares.iter().all(|share| **share == 7));
        assert_eq!(Arc::strong_count(&common), 3, "itself, one share, and the lender's own");
    }

    #[test]
    fn a_clone_begins_anew_and_all_of_it_is_let_go() {
        let common = Arc::new(7);
        let mut lender = Lender::new(common.clone());
        let shares = [(); 4].map(|()| lender.lend());
        let mut clone = lender.clone();
        assert!(!is_own(&clone.lend()));
        drop((shares, lender, clone));
        assert_eq!(Arc::strong_count(&common), 1);
    }
}
