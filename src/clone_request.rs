//! How a request is copied, for a policy that may send it twice.

use std::fmt;

use crate::classify::Verdict;

/// Copies a request, or declines to copy it.
///
/// Sealed: a layer's `clone_request` takes a function, and its `clone_request_fn` a closure. So [`ByClone`] is always
/// what it says:
///
/// ```compile_fail,E0277
/// struct Upload;
///
/// impl withstand::CloneRequest<Upload> for withstand::ByClone {
///     fn clone_request(&self, _: &Upload) -> Option<Upload> {
///         Some(Upload)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a `{R}` cannot be sent a second time by `{Self}`",
    label = "this layer does not know how to copy a `{R}`",
    note = "around a server: `.layer().send_once()`, for its clients send again",
    note = "around a client say how: `.clone_request({R}::try_clone)`, or any `fn(&{R}) -> Option<{R}>`",
    note = "only what is idempotent may be sent twice: for the rest give `None`, in `.clone_request_fn(|request| ..)`"
)]
pub trait CloneRequest<R>: sealed::CloneRequest<R> {
    /// Returns a copy, or `None`: then the request is sent once.
    fn clone_request(&self, request: &R) -> Option<R>;

    /// Whether this request, of which there is a copy, may be sent again after a result of this verdict.
    #[doc(hidden)]
    fn may_repeat(&self, request: &R, verdict: Verdict) -> bool {
        let _ = (request, verdict);
        true
    }
}

pub(crate) mod sealed {
    /// It has the same bounds as [`CloneRequest`](super::CloneRequest): otherwise a user could implement that for
    /// `ByClone` and a request of their own that is not `Clone`.
    pub trait CloneRequest<R> {}
    impl<R: Clone> CloneRequest<R> for super::ByClone {}
    impl<R> CloneRequest<R> for fn(&R) -> Option<R> {}
    impl<R, F: Fn(&R) -> Option<R>> CloneRequest<R> for super::CloneFn<F> {}
    impl<R> CloneRequest<R> for super::SendOnce {}
}

/// Copies a request by its `Clone`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByClone;

#[diagnostic::do_not_recommend]
impl<R: Clone> CloneRequest<R> for ByClone {
    fn clone_request(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

impl<R> CloneRequest<R> for fn(&R) -> Option<R> {
    fn clone_request(&self, request: &R) -> Option<R> {
        self(request)
    }
}

/// Copies a request by a closure.
#[derive(Clone, Copy)]
pub struct CloneFn<F>(pub(crate) F);

impl<R, F> CloneRequest<R> for CloneFn<F>
where
    F: Fn(&R) -> Option<R>,
{
    fn clone_request(&self, request: &R) -> Option<R> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for CloneFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloneFn").finish_non_exhaustive()
    }
}

/// Copies no request: each is sent once.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendOnce;

impl<R> CloneRequest<R> for SendOnce {
    fn clone_request(&self, _: &R) -> Option<R> {
        None
    }
}
