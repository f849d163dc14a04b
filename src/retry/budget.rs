use std::fmt;

use crate::sync::{Arc, AtomicU64, Ordering};

/// The bucket counts in tenths of a token, so that its sums are exact.
const TOKEN: u64 = 10;
const DEPOSIT: u64 = 1;

/// Bounds how much retries may add to the load of a dependency that fails: a bucket of tokens that retries pay with.
///
/// A retry takes a token. It comes back if the retry succeeds, is rejected by our own breaker, or is dropped while it
/// sleeps. A first try that succeeds adds a tenth of a token. So a healthy dependency keeps the bucket full, and one that
/// is down is hit by hardly more than the calls themselves.
///
/// Clones share the bucket. A [`RetryWithBackoff`](super::RetryWithBackoff) has a full one of 10 of its own unless told
/// otherwise; several policies that call the same dependency may share one.
#[derive(Clone)]
pub struct RetryBudget(Arc<Bucket>);

struct Bucket {
    level: AtomicU64,
    capacity: u64,
}

impl RetryBudget {
    /// A full bucket of this many tokens. One of zero lets no retry pass.
    pub fn new(tokens: u32) -> Self {
        let capacity = u64::from(tokens) * TOKEN;
        Self(Arc::new(Bucket { level: AtomicU64::new(capacity), capacity }))
    }

    /// How many tokens are left, to a tenth of one.
    pub fn available(&self) -> f64 {
        self.0.level.load(Ordering::Relaxed) as f64 / TOKEN as f64
    }

    /// Adds what a first try that succeeded adds.
    ///
    /// A full bucket is left alone, so that threads do not contend for it while all is well.
    #[inline]
    pub(super) fn deposit(&self) {
        let Bucket { level, capacity } = &*self.0;
        if level.load(Ordering::Relaxed) < *capacity {
            self.add(DEPOSIT);
        }
    }

    /// Takes a token, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        let take = |level: u64| level.checked_sub(TOKEN);
        self.0.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Takes a token back.
    pub(super) fn refund(&self) {
        self.add(TOKEN);
    }

    #[inline(never)]
    fn add(&self, amount: u64) {
        let Bucket { level, capacity } = &*self.0;
        let _ = level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |level| {
            (level < *capacity).then(|| (level + amount).min(*capacity))
        });
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget({} of {})", self.available(), self.0.capacity / TOKEN)
    }
}

/// What a call has paid for the retry that runs or is to come. Dropped, it gives back what is not spent.
#[derive(Debug, Default)]
pub(super) struct PaidToken(Option<Token>);

/// It keeps a share of the budget for as long as the call goes on; a call that needs no token shares it at no time.
#[derive(Debug)]
struct Token {
    budget: RetryBudget,
    is_spent: bool,
}

impl PaidToken {
    /// Takes a token from the budget, if there is one.
    pub(super) fn fill(&mut self, budget: &RetryBudget) -> bool {
        let filled = budget.withdraw();
        if filled {
            self.0.get_or_insert_with(|| Token { budget: budget.clone(), is_spent: false }).is_spent = false;
        }
        filled
    }

    /// The try is sent: the load that its token stands for is real now.
    pub(super) fn spend(&mut self) {
        if let Some(token) = &mut self.0 {
            token.is_spent = true;
        }
    }

    /// The try has succeeded, or never reached the dependency.
    pub(super) fn refund(&mut self) {
        if let Some(token) = self.0.take() {
            token.budget.refund();
        }
    }
}

impl Drop for PaidToken {
    #[inline]
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|token| !token.is_spent) {
            self.refund();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_bucket_never_passes_its_ends_and_its_sums_are_exact(
            tokens in 0_u32..5,
            steps in prop::collection::vec(0..3, 0..200),
        ) {
            let budget = RetryBudget::new(tokens);
            let capacity = u64::from(tokens) * TOKEN;
            let mut level = capacity;
            for step in steps {
                match step {
                    0 => {
                        budget.deposit();
                        level = (level + 1).min(capacity);
                    }
                    1 => {
                        prop_assert_eq!(budget.withdraw(), level >= TOKEN);
                        level = level.checked_sub(TOKEN).unwrap_or(level);
                    }
                    _ => {
                        budget.refund();
                        level = (level + TOKEN).min(capacity);
                    }
                }
                prop_assert_eq!(budget.0.level.load(Ordering::Relaxed), level);
            }
        }
    }

    #[test]
    fn the_largest_bucket_there_is_works() {
        let budget = RetryBudget::new(u32::MAX);
        budget.deposit();
        assert_eq!(budget.available(), f64::from(u32::MAX));
    }
}
