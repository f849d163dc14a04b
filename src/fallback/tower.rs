//! The tower layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    event::{Listen, NoListener},
    future::FallbackFuture,
    handled::{EveryError, Handles},
    policy::Fallback,
    recovery::{PlainRecovery, Recovery, SecondService, SendCopy},
    shared::Plan,
};
use crate::{
    clone_request::{ByClone, CloneFn, CloneRequest},
    operation::SendRequest,
    share::{CallShare, ServiceShare},
    sync::Arc,
};

impl<S: PlainRecovery + Clone, W, L: Clone> Fallback<S, W, L> {
    /// The fallback as a tower layer.
    pub fn layer(&self) -> FallbackLayer<S, W, L> {
        FallbackLayer { plan: Arc::new(self.plan.clone()), take: ExtractNothing }
    }
}

impl<B: Clone, W, L: Clone> Fallback<SecondService<B>, W, L> {
    /// The fallback as a tower layer. It copies requests by `Clone`, unless it is told otherwise.
    pub fn layer(&self) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, ByClone>> {
        let Plan { recovery: SecondService(service), handled, name, listener } = self.plan.clone();
        let plan = Plan { recovery: SendCopy, handled, name, listener };
        FallbackLayer { plan: Arc::new(plan), take: ExtractCopy { service, cloner: ByClone } }
    }
}

/// Lets something answer in place of a service that fails; see [`Fallback`].
///
/// With what it needs from the request, extracted before the request is sent:
///
/// ```
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
/// use withstand::Fallback;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), BoxError> {
/// let fallback = Fallback::from_request_fn(|id: u32, _: BoxError| Ok(format!("user {id}, details unavailable")));
/// let users = ServiceBuilder::new()
///     .layer(fallback.layer().extract_fn(|id: &u32| *id))
///     .service(service_fn(|_: u32| async { Err::<String, BoxError>("down".into()) }));
///
/// assert_eq!(users.oneshot(7).await?, "user 7, details unavailable");
/// # Ok(()) }
/// ```
///
/// With a second service, readied and sent a copy only if the first fails:
///
/// ```
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
/// use withstand::Fallback;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), BoxError> {
/// let replica = service_fn(|id: u32| async move { Ok::<_, BoxError>(format!("user {id}, from the replica")) });
/// let users = ServiceBuilder::new()
///     .layer(Fallback::service(replica).layer())
///     .service(service_fn(|_: u32| async { Err::<String, BoxError>("down".into()) }));
///
/// assert_eq!(users.oneshot(7).await?, "user 7, from the replica");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct FallbackLayer<S, W = EveryError, L = NoListener, X = ExtractNothing> {
    plan: Arc<Plan<S, W, L>>,
    take: X,
}

impl<S, W, L> FallbackLayer<S, W, L> {
    /// Takes from each request, before it is sent, what a fallback made with
    /// [`from_request_fn`](Fallback::from_request_fn) needs to answer it.
    pub fn extract_fn<R, K, G>(self, take: G) -> FallbackLayer<S, W, L, ExtractFn<G>>
    where
        G: Fn(&R) -> K,
    {
        FallbackLayer { plan: self.plan, take: ExtractFn(take) }
    }
}

impl<B, W, L> FallbackLayer<SendCopy, W, L, ExtractCopy<B, ByClone>> {
    /// Copies requests for the second service by this function. One for which it gives `None` has no fallback.
    pub fn clone_request<R>(
        self,
        clone: fn(&R) -> Option<R>,
    ) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, fn(&R) -> Option<R>>> {
        self.copying(clone)
    }

    /// Copies requests for the second service by this closure.
    pub fn clone_request_fn<R, F>(self, clone: F) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, CloneFn<F>>>
    where
        F: Fn(&R) -> Option<R>,
    {
        self.copying(CloneFn(clone))
    }

    fn copying<K>(self, cloner: K) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, K>> {
        FallbackLayer { plan: self.plan, take: ExtractCopy { service: self.take.service, cloner } }
    }
}

impl<S, W, L, X: Clone> Clone for FallbackLayer<S, W, L, X> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone(), take: self.take.clone() }
    }
}

impl<I, S, W, L, X: Clone> Layer<I> for FallbackLayer<S, W, L, X> {
    type Service = FallbackService<I, S, W, L, X>;

    fn layer(&self, inner: I) -> Self::Service {
        FallbackService::new(inner, self.plan.clone(), self.take.clone())
    }
}

/// A service in whose place something else answers when it fails.
#[derive(Debug)]
pub struct FallbackService<I, S, W = EveryError, L = NoListener, X = ExtractNothing> {
    inner: I,
    plan: ServiceShare<Plan<S, W, L>>,
    take: X,
}

impl<I, S, W, L, X> FallbackService<I, S, W, L, X> {
    pub(super) fn new(inner: I, plan: Arc<Plan<S, W, L>>, take: X) -> Self {
        Self { inner, plan: ServiceShare::new(plan), take }
    }
}

impl<I, R, S, W, L, X> Service<R> for FallbackService<I, S, W, L, X>
where
    I: Service<R>,
    X: Extract<R>,
    S: Recovery<I::Response, I::Error, X::Extracted>,
    W: Handles<I::Response, I::Error>,
    L: Listen<I::Response, I::Error>,
{
    type Response = I::Response;
    type Error = I::Error;
    type Future = FallbackFuture<I::Future, CallShare<Plan<S, W, L>>, S::Future, X::Extracted>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let extracted = self.take.take(&request);
        FallbackFuture::start(self.plan.lend(), extracted, || self.inner.call(request))
    }
}

impl<I: Clone, S, W, L, X: Clone> Clone for FallbackService<I, S, W, L, X> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: self.plan.clone(), take: self.take.clone() }
    }
}

/// What is extracted from a request before it is sent, for a fallback to use.
pub trait Extract<R> {
    /// What was extracted.
    type Extracted;

    #[doc(hidden)]
    fn take(&self, request: &R) -> Self::Extracted;
}

/// Nothing.
#[derive(Clone, Copy, Debug)]
pub struct ExtractNothing;

impl<R> Extract<R> for ExtractNothing {
    type Extracted = ();

    fn take(&self, _: &R) {}
}

/// A copy of the whole request, if it allows that, beside a clone of the service it is for.
#[derive(Clone, Copy, Debug)]
pub struct ExtractCopy<S, K> {
    pub(super) service: S,
    pub(super) cloner: K,
}

impl<S: Clone, R, K: CloneRequest<R>> Extract<R> for ExtractCopy<S, K> {
    type Extracted = Option<SendRequest<S, R>>;

    fn take(&self, request: &R) -> Self::Extracted {
        let request = self.cloner.clone_request(request)?;
        Some(SendRequest { service: self.service.clone(), request })
    }
}

/// What a closure takes.
#[derive(Clone, Copy)]
pub struct ExtractFn<F>(pub(super) F);

impl<R, K, F> Extract<R> for ExtractFn<F>
where
    F: Fn(&R) -> K,
{
    type Extracted = K;

    fn take(&self, request: &R) -> K {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ExtractFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractFn").finish_non_exhaustive()
    }
}
