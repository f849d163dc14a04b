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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t2_a_request_has_the_policys_own_limit_unless_a_closure_chooses() {
        let usual = Duration::from_secs(1);
        assert_eq!(Fixed.limit(&7_u64, usual), Some(usual));
        assert_eq!(PerRequest(|seconds: &u64| Some(Duration::from_secs(*seconds))).limit(&7, usual), Some(7 * usual));
        assert_eq!(PerRequest(|_: &u64| None).limit(&7, usual), None);
    }
}
