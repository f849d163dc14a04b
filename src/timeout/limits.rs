use std::{fmt, time::Duration};

/// How long a request may take, given the policy's own limit.
pub trait Limits<R> {
    #[doc(hidden)]
    fn limit(&self, request: &R, usual: Duration) -> Option<Duration>;
}

/// The same limit for every request: the policy's own.
#[derive(Clone, Copy, Debug)]
pub struct Fixed;

impl<R> Limits<R> for Fixed {
    fn limit(&self, _: &R, usual: Duration) -> Option<Duration> {
        Some(usual)
    }
}

/// A limit chosen by a closure.
#[derive(Clone, Copy)]
pub struct PerRequest<F>(pub(super) F);

impl<R, F> Limits<R> for PerRequest<F>
where
    F: Fn(&R) -> Option<Duration>,
{
    fn limit(&self, request: &R, _: Duration) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for PerRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerRequest").finish_non_exhaustive()
    }
}
