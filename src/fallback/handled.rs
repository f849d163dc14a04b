use std::fmt;

use crate::classify::{Classify, Verdict};

/// Which results a fallback handles.
pub trait Handles<T, E> {
    #[doc(hidden)]
    fn handles(&self, result: &Result<T, E>) -> bool;
}

/// Every error, our own rejections included: the default.
#[derive(Clone, Copy, Debug)]
pub struct EveryError;

impl<T, E> Handles<T, E> for EveryError {
    fn handles(&self, result: &Result<T, E>) -> bool {
        result.is_err()
    }
}

/// The errors that a closure names.
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

/// What a classifier does not call healthy: failures, answers among them, and our own rejections.
#[derive(Clone, Copy, Debug)]
pub struct Unhealthy<C>(pub(super) C);

impl<T, E, C> Handles<T, E> for Unhealthy<C>
where
    C: Classify<T, E>,
{
    fn handles(&self, result: &Result<T, E>) -> bool {
        self.0.classify(result) != Verdict::Healthy
    }
}
