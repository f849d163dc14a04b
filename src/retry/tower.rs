//! The tower layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    attempt::{AttemptPlan, Attempts, sealed},
    future::RetryFuture,
    policy::RetryWithBackoff,
    shared::Shared,
};
use crate::{
    classify::{ByError, Classify, Verdict},
    clone_request::{ByClone, CloneFn, CloneRequest},
    operation::{Operation, SendRequest, SendRequestFuture},
    share::{CallShare, ServiceShare},
    sync::Arc,
};

/// A call of a service that holds the retry's state, and readies the service inside each attempt.
pub(crate) type OwnedCall<S, R, K, F, T, E, C> =
    RetryFuture<ResendUnready<S, R, K>, SendRequestFuture<S, R, F>, Result<T, E>, Arc<Shared>, C>;

impl<C> RetryWithBackoff<C> {
    /// Sends one request. Each attempt has a clone of the service, and readies it.
    pub(crate) fn send<S, R, K>(
        self,
        service: &S,
        request: R,
        cloner: &K,
    ) -> OwnedCall<S, R, K, S::Future, S::Response, S::Error, C>
    where
        S: Service<R> + Clone,
        K: CloneRequest<R> + Clone,
        C: Classify<S::Response, S::Error>,
    {
        let start = self.shared.begin();
        let resend = Resend::new(service.clone(), request, cloner.clone());
        let mut attempts = ResendUnready(resend);
        let first = attempts.send(self.shared.has_one_attempt());
        RetryFuture::new(self.shared, self.classifier, start, first, attempts)
    }
}

impl<C: Clone> RetryWithBackoff<C> {
    /// The retry as a tower layer. Every service it is applied to shares this budget.
    ///
    /// Send only idempotent requests through it; the layer of [`not_idempotent`](Self::not_idempotent) is for the rest.
    pub fn layer(&self) -> RetryLayer<C> {
        RetryLayer { retry: self.clone(), cloner: ByClone }
    }
}

/// Sends a service's requests again when that may help; see [`RetryWithBackoff`].
///
/// Only what is idempotent may be sent twice, and the layer is where to say so:
///
/// ```
/// use reqwest::Request;
/// use withstand::RetryWithBackoff;
///
/// let idempotent = |request: &Request| if request.method().is_idempotent() { request.try_clone() } else { None };
/// let layer = RetryWithBackoff::new("users").layer().clone_request_fn(idempotent);
/// ```
#[derive(Debug)]
pub struct RetryLayer<C = ByError, K = ByClone> {
    retry: RetryWithBackoff<C>,
    cloner: K,
}

impl<C> RetryLayer<C> {
    /// Copies requests by this function, `reqwest::Request::try_clone` for example. A request for which it gives `None`
    /// is sent once.
    pub fn clone_request<R>(self, clone: fn(&R) -> Option<R>) -> RetryLayer<C, fn(&R) -> Option<R>> {
        RetryLayer { retry: self.retry, cloner: clone }
    }

    /// Copies requests by this closure. It is the place to decline what is not idempotent: a request for which it gives
    /// `None` is sent once.
    pub fn clone_request_fn<R, F>(self, clone: F) -> RetryLayer<C, CloneFn<F>>
    where
        F: Fn(&R) -> Option<R>,
    {
        RetryLayer { retry: self.retry, cloner: CloneFn(clone) }
    }

    /// Copies requests, and decides for each of them whether it may be sent again, by this rule: `http::Idempotent`,
    /// with the feature `http`.
    pub fn clone_request_by<K>(self, rule: K) -> RetryLayer<C, K> {
        RetryLayer { retry: self.retry, cloner: rule }
    }
}

impl<C: Clone, K: Clone> Clone for RetryLayer<C, K> {
    fn clone(&self) -> Self {
        Self { retry: self.retry.clone(), cloner: self.cloner.clone() }
    }
}

impl<S, C: Clone, K: Clone> Layer<S> for RetryLayer<C, K> {
    type Service = RetryService<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        #[cfg(feature = "http")]
        crate::on_server::refuse("retry", self.retry.name());
        RetryService::new(inner, self.retry.clone(), self.cloner.clone())
    }
}

/// A service whose requests are sent again when that may help.
#[derive(Debug)]
pub struct RetryService<S, C = ByError, K = ByClone> {
    inner: S,
    shared: ServiceShare<Shared>,
    classifier: C,
    cloner: K,
}

impl<S, C, K> RetryService<S, C, K> {
    pub(super) fn new(inner: S, retry: RetryWithBackoff<C>, cloner: K) -> Self {
        Self { inner, shared: ServiceShare::new(retry.shared), classifier: retry.classifier, cloner }
    }
}

impl<S, R, C, K> Service<R> for RetryService<S, C, K>
where
    S: Service<R> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
    K: CloneRequest<R> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<Resend<S, R, K>, S::Future, Result<S::Response, S::Error>, CallShare<Shared>, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let shared = self.shared.lend();
        let start = shared.begin();
        let (now, request) = split(request, &self.cloner, shared.has_one_attempt());
        // The instance that returned ready makes the first attempt; the clone for further ones starts unready. The
        // clone is made afterwards: what would have to be dropped if `call` panics would be kept in memory, and copied
        // from there.
        let first = self.inner.call(now);
        let attempts = Resend { service: self.inner.clone(), request, cloner: self.cloner.clone() };
        RetryFuture::new(shared, self.classifier.clone(), start, first, attempts)
    }
}

impl<S: Clone, C: Clone, K: Clone> Clone for RetryService<S, C, K> {
    fn clone(&self) -> Self {
        let (inner, shared) = (self.inner.clone(), self.shared.clone());
        Self { inner, shared, classifier: self.classifier.clone(), cloner: self.cloner.clone() }
    }
}

/// A request that can be copied, beside a service to send it through again.
pub struct Resend<S, R, K> {
    service: S,
    /// The original, until it is sent itself.
    request: Option<R>,
    cloner: K,
}

impl<S, R, K> Resend<S, R, K> {
    /// Nothing is sent yet.
    #[inline(always)]
    pub(crate) fn new(service: S, request: R, cloner: K) -> Self {
        Self { service, request: Some(request), cloner }
    }
}

impl<S, R, K> Resend<S, R, K>
where
    K: CloneRequest<R>,
{
    fn next_request(&mut self, last: bool) -> R {
        let original = self.request.take().expect("asked only while it can repeat");
        let (now, later) = split(original, &self.cloner, last);
        self.request = later;
        now
    }
}

/// A copy to send now, and the original for later; or the original, if no other attempt may follow or it declines to be
/// copied.
#[inline]
fn split<R, K: CloneRequest<R>>(original: R, cloner: &K, last: bool) -> (R, Option<R>) {
    match if last { None } else { cloner.clone_request(&original) } {
        Some(copy) => (copy, Some(original)),
        None => (original, None),
    }
}

impl<S, R, K> sealed::Sealed for Resend<S, R, K> {}

impl<S, R, K> Attempts for Resend<S, R, K>
where
    S: Service<R>,
    K: CloneRequest<R>,
{
    type Future = S::Future;

    const NEEDS_READINESS: bool = true;

    fn can_repeat(&self, verdict: Verdict) -> bool {
        self.request.as_ref().is_some_and(|request| self.cloner.may_repeat(request, verdict))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn start(&mut self, AttemptPlan { is_last, .. }: AttemptPlan) -> S::Future {
        let request = self.next_request(is_last);
        self.service.call(request)
    }
}

/// A request that can be copied, beside a service that is cloned, and readied, for each attempt.
pub struct ResendUnready<S, R, K>(Resend<S, R, K>);

impl<S, R, K> ResendUnready<S, R, K>
where
    S: Service<R> + Clone,
    K: CloneRequest<R>,
{
    fn send(&mut self, last: bool) -> SendRequestFuture<S, R, S::Future> {
        let request = self.0.next_request(last);
        SendRequest { service: self.0.service.clone(), request }.start()
    }
}

impl<S, R, K> sealed::Sealed for ResendUnready<S, R, K> {}

impl<S, R, K> Attempts for ResendUnready<S, R, K>
where
    S: Service<R> + Clone,
    K: CloneRequest<R>,
{
    type Future = SendRequestFuture<S, R, S::Future>;

    fn can_repeat(&self, verdict: Verdict) -> bool {
        self.0.can_repeat(verdict)
    }

    fn start(&mut self, AttemptPlan { is_last, .. }: AttemptPlan) -> Self::Future {
        self.send(is_last)
    }
}

impl<S, R, K> fmt::Debug for ResendUnready<S, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResendUnready").finish_non_exhaustive()
    }
}

impl<S, R, K> fmt::Debug for Resend<S, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resend").finish_non_exhaustive()
    }
}
