use std::fmt;

use crate::{clone_request::CloneRequest, operation::SendRequest};

/// What is taken from a request before it is sent, for a fallback to use.
pub trait Take<R> {
    /// What was taken.
    type Taken;

    #[doc(hidden)]
    fn take(&self, request: &R) -> Self::Taken;
}

/// Nothing.
#[derive(Clone, Copy, Debug)]
pub struct TakeNothing;

impl<R> Take<R> for TakeNothing {
    type Taken = ();

    fn take(&self, _: &R) {}
}

/// A copy of the whole request, if it allows that, beside a clone of the service it is for.
#[derive(Clone, Copy, Debug)]
pub struct TakeCopy<S, K> {
    pub(super) service: S,
    pub(super) cloner: K,
}

impl<S: Clone, R, K: CloneRequest<R>> Take<R> for TakeCopy<S, K> {
    type Taken = Option<SendRequest<S, R>>;

    fn take(&self, request: &R) -> Self::Taken {
        let request = self.cloner.clone_request(request)?;
        Some(SendRequest { service: self.service.clone(), request })
    }
}

/// What a closure takes.
#[derive(Clone, Copy)]
pub struct TakeFn<F>(pub(super) F);

impl<R, K, F> Take<R> for TakeFn<F>
where
    F: Fn(&R) -> K,
{
    type Taken = K;

    fn take(&self, request: &R) -> K {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for TakeFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeFn").finish_non_exhaustive()
    }
}
