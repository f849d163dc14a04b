use super::verdict::{Classify, Verdict};
use crate::error::Rejected;

/// The classifier that [`not_idempotent`](crate::RetryWithBackoff::not_idempotent) makes: each result has the verdict
/// that the classifier inside gives it, and a retry sends again only what had no effect.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotIdempotent<C> {
    inner: C,
}

impl<C> NotIdempotent<C> {
    pub(crate) fn new(inner: C) -> Self {
        Self { inner }
    }
}

impl<T, E, C: Classify<T, E>> Classify<T, E> for NotIdempotent<C> {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        self.inner.classify(result)
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        self.inner.rejected_mut(error)
    }

    fn may_repeat(&self, verdict: Verdict) -> bool {
        verdict.rules_out_effects() && self.inner.may_repeat(verdict)
    }
}
