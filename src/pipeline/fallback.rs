//! What a pipeline answers with when a call has failed.

use std::future::{Future, Pending};

use crate::{
    classify::Verdict,
    fallback::{Fallback, Handles, Listen, PlainRecovery, Recovery},
};

/// What answers for a call that has failed: a [`Fallback`], or nothing.
///
/// `K` is what was extracted from the request beforehand; it is `()` in a plain call. Sealed.
#[diagnostic::on_unimplemented(
    message = "this pipeline's fallback cannot answer with a `Result<{T}, {E}>`",
    label = "it has `{K}` from the request, and returns another type",
    note = "a value or a closure must return the operation's own `Result`",
    note = "what answers from the request needs it: `.layer().extract_fn(..)` for `Fallback::from_request_fn`, `.layer()` for \
            `Fallback::service`; neither has a plain call or can be `boxed`"
)]
pub trait PipelineFallback<T, E, K>: sealed::PipelineFallback {
    /// The future that returns the fallback's own result.
    type Future: Future<Output = Result<T, E>>;

    /// Whether it never answers.
    #[doc(hidden)]
    const IS_NONE: bool = false;

    /// Whether it may answer for an answer that the pipeline's classifier calls healthy.
    #[doc(hidden)]
    const JUDGES_ANSWERS: bool = false;

    /// Whether it answers for this result.
    #[doc(hidden)]
    fn handles(&self, verdict: Verdict, result: &Result<T, E>, extracted: &Option<K>) -> bool;

    /// Starts to recover from `result`; gives `result` back where it cannot.
    #[doc(hidden)]
    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<Self::Future, Result<T, E>>;

    /// Tells that the fallback itself has failed.
    #[doc(hidden)]
    fn emit_failed(&self, error: &E);
}

pub(super) mod sealed {
    pub trait PipelineFallback {}
    impl PipelineFallback for super::NoFallback {}
    impl<S, W, L> PipelineFallback for crate::fallback::Fallback<S, W, L> {}
}

/// What needs no copy of the request: every fallback but a second service.
///
/// Sealed.
pub trait PlainFallback: sealed::PipelineFallback {}
impl PlainFallback for NoFallback {}
impl<S: PlainRecovery, W, L> PlainFallback for Fallback<S, W, L> {}

/// No fallback: what a call ends with is what its caller gets. The default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFallback;

impl<T, E, K> PipelineFallback<T, E, K> for NoFallback {
    type Future = Pending<Result<T, E>>;

    const IS_NONE: bool = true;

    #[inline(always)]
    fn handles(&self, _: Verdict, _: &Result<T, E>, _: &Option<K>) -> bool {
        false
    }

    fn recover(&self, result: Result<T, E>, _: K) -> Result<Self::Future, Result<T, E>> {
        Err(result)
    }

    fn emit_failed(&self, _: &E) {}
}

impl<T, E, K, S, W, L> PipelineFallback<T, E, K> for Fallback<S, W, L>
where
    S: Recovery<T, E, K>,
    W: Handles<T, E>,
    L: Listen<T, E>,
{
    type Future = S::Future;

    const JUDGES_ANSWERS: bool = W::JUDGES_ANSWERS;

    #[inline]
    fn handles(&self, verdict: Verdict, result: &Result<T, E>, extracted: &Option<K>) -> bool {
        self.plan.handles_verdict(verdict, result, extracted)
    }

    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<S::Future, Result<T, E>> {
        self.plan.recover(result, extracted)
    }

    fn emit_failed(&self, error: &E) {
        self.plan.emit_failed::<T, E>(error);
    }
}
