//! Which request may be sent again.

use std::{fmt, sync::Arc};

use ::http::{HeaderMap, Method, Request};

use super::idempotency_key::IDEMPOTENCY_KEY;
use crate::{
    classify::Verdict,
    clone_request::{CloneRequest, sealed},
};

/// Which requests a retry may send again, by the standard (RFC 9110, section 9.2.2).
///
/// | request | sent again after |
/// |---|---|
/// | `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE` | each result that another attempt may cure |
/// | any method, with the header `Idempotency-Key` | each result that another attempt may cure |
/// | any other | [`Unreached`](Verdict::Unreached): not sent; [`Throttled`](Verdict::Throttled): it was refused |
/// | one whose body cannot be copied, a stream for example | nothing |
///
/// [`safe_only`](Self::safe_only) and [`also`](Self::also) change the first row. So that a refused connection is judged
/// as unreached, the classifier has to know it: see [`by_response`](super::by_response).
///
/// ```
/// use withstand::{RetryWithBackoff, http::Idempotent};
/// # use withstand::retry::RetryLayer;
///
/// let layer = RetryWithBackoff::new("users").layer();
/// # let of_layer: fn(RetryLayer) -> RetryLayer<_, Idempotent<http::Request<String>>> = |layer|
/// layer.clone_request_by(Idempotent::new())
/// # ; of_layer(layer);
/// ```
///
/// For another type of request, functions say how to copy it, and where its method and its headers are:
///
/// ```
/// use reqwest::Request;
/// use withstand::{RetryWithBackoff, http::Idempotent};
///
/// let idempotent = Idempotent::of(Request::try_clone, Request::method, Request::headers);
/// let layer = RetryWithBackoff::new("users").layer().clone_request_by(idempotent);
/// ```
///
/// The request is kept until its answer is there, for another attempt may follow. A body of `Bytes` is not copied: the
/// copies share it.
pub struct Idempotent<R> {
    copy: fn(&R) -> Option<R>,
    method: fn(&R) -> &Method,
    headers: fn(&R) -> &HeaderMap,
    safe_only: bool,
    also: Option<Arc<Vec<Method>>>,
}

impl<B: Clone> Idempotent<Request<B>> {
    /// For requests of the crate `http`. Their bodies and their extensions are copied by `Clone`.
    pub fn new() -> Self {
        Self::of(|request| Some(request.clone()), Request::method, Request::headers)
    }
}

impl<B: Clone> Default for Idempotent<Request<B>> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> Idempotent<R> {
    /// For any type of request. `copy` gives `None` for a request that cannot be copied.
    pub fn of(copy: fn(&R) -> Option<R>, method: fn(&R) -> &Method, headers: fn(&R) -> &HeaderMap) -> Self {
        Self { copy, method, headers, safe_only: false, also: None }
    }

    /// Treats `PUT` and `DELETE` as a `POST`: only `GET`, `HEAD`, `OPTIONS` and `TRACE` are sent again after any
    /// failure.
    ///
    /// For those who fear lost updates. A `PUT` that is sent again after its answer was lost may undo what another
    /// client has written in between.
    #[must_use]
    pub fn safe_only(mut self) -> Self {
        self.safe_only = true;
        self
    }

    /// Treats requests of this method as idempotent: for a `POST` that only reads, for example.
    #[must_use]
    pub fn also(mut self, method: Method) -> Self {
        Arc::make_mut(self.also.get_or_insert_default()).push(method);
        self
    }

    fn is_idempotent(&self, request: &R) -> bool {
        let method = (self.method)(request);
        let by_method = if self.safe_only { method.is_safe() } else { method.is_idempotent() };
        by_method
            || self.also.as_ref().is_some_and(|also| also.contains(method))
            || (self.headers)(request).contains_key(&IDEMPOTENCY_KEY)
    }
}

impl<R> sealed::CloneRequest<R> for Idempotent<R> {}

impl<R> CloneRequest<R> for Idempotent<R> {
    fn clone_request(&self, request: &R) -> Option<R> {
        (self.copy)(request)
    }

    fn may_repeat(&self, request: &R, verdict: Verdict) -> bool {
        verdict.rules_out_effects() || self.is_idempotent(request)
    }
}

impl<R> Clone for Idempotent<R> {
    fn clone(&self) -> Self {
        let Self { copy, method, headers, safe_only, ref also } = *self;
        Self { copy, method, headers, safe_only, also: also.clone() }
    }
}

impl<R> fmt::Debug for Idempotent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotent")
            .field("safe_only", &self.safe_only)
            .field("also", &self.also)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated_after_any_failure(rule: &Idempotent<Request<()>>) -> Vec<&'static str> {
        let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "PURGE"];
        let is_repeated = |method: &&str| {
            let request = Request::builder().method(*method).body(()).expect("a request");
            for verdict in [Verdict::Unreached, Verdict::THROTTLED] {
                assert!(rule.may_repeat(&request, verdict), "{method} had no effect");
            }
            rule.may_repeat(&request, Verdict::TRANSIENT)
        };
        methods.into_iter().filter(is_repeated).collect()
    }

    #[test]
    fn w1_a_request_is_sent_again_by_its_method() {
        let rule = Idempotent::new();
        let idempotent = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];
        assert_eq!(repeated_after_any_failure(&rule), idempotent);
        let safe = rule.safe_only();
        assert_eq!(repeated_after_any_failure(&safe), idempotent[..4]);
        let also = safe.also(Method::PATCH).also("PURGE".parse().expect("a method"));
        assert_eq!(repeated_after_any_failure(&also), [&idempotent[..4], &["PATCH", "PURGE"]].concat());
    }

    #[test]
    fn w1_an_idempotency_key_makes_any_method_idempotent() {
        let rule = Idempotent::new().safe_only();
        let post = Request::post("/").header("Idempotency-Key", "7").body(()).expect("a request");
        assert!(rule.may_repeat(&post, Verdict::TRANSIENT));
    }
}
