use std::fmt;

use crate::classify::{Classify, Verdict};

/// Decides which results a fallback handles.
///
/// Sealed: [`handle_if`](super::Fallback::handle_if) takes a closure, [`classify`](super::Fallback::classify) a
/// classifier.
pub trait Handles<T, E>: sealed::Handles {
    /// Whether it may handle an answer that a pipeline's classifier calls healthy.
    #[doc(hidden)]
    const JUDGES_ANSWERS: bool = false;

    #[doc(hidden)]
    fn handles(&self, result: &Result<T, E>) -> bool;

    /// In a pipeline, which knows the verdict of the result.
    #[doc(hidden)]
    fn handles_verdict(&self, _: Verdict, result: &Result<T, E>) -> bool {
        self.handles(result)
    }
}

mod sealed {
    pub trait Handles {}
    impl Handles for super::EveryError {}
    impl<P> Handles for super::HandleIf<P> {}
    impl<C> Handles for super::Unhealthy<C> {}
}

/// Handles every error, our own rejections included, and no answer: the default.
#[derive(Clone, Copy, Debug)]
pub struct EveryError;

impl<T, E> Handles<T, E> for EveryError {
    fn handles(&self, result: &Result<T, E>) -> bool {
        result.is_err()
    }

    /// Nothing was said of what is handled, so the pipeline's classifier says it.
    fn handles_verdict(&self, verdict: Verdict, _: &Result<T, E>) -> bool {
        verdict != Verdict::Healthy
    }
}

/// Handles the errors for which a closure returns true.
#[derive(Clone, Copy)]
pub struct HandleIf<P>(pub(super) P);

impl<T, E, P> Handles<T, E> for HandleIf<P>
where
    P: Fn(&E) -> bool,
{
    fn handles(&self, result: &Result<T, E>) -> bool {
        result.as_ref().is_err_and(&self.0)
    }
}

impl<P> fmt::Debug for HandleIf<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandleIf").finish_non_exhaustive()
    }
}

/// Handles every result that a classifier does not call healthy: errors, answers, and our own rejections.
#[derive(Clone, Copy, Debug)]
pub struct Unhealthy<C>(pub(super) C);

impl<T, E, C> Handles<T, E> for Unhealthy<C>
where
    C: Classify<T, E>,
{
    const JUDGES_ANSWERS: bool = true;

    fn handles(&self, result: &Result<T, E>) -> bool {
        self.0.classify(result) != Verdict::Healthy
    }
}
