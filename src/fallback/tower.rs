//! The fallback as a tower layer: the layer, its service, and what is extracted from each request.

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
        FallbackLayer { plan: Arc::new(self.plan.clone()), extract: ExtractNothing }
    }
}

impl<B: Clone, W, L: Clone> Fallback<SecondService<B>, W, L> {
    /// The fallback as a tower layer. It copies requests by their `Clone`, unless `clone_request` or `clone_request_fn`
    /// is set on the layer.
    pub fn layer(&self) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, ByClone>> {
        let (Fallback { plan }, service) = Self { plan: self.plan.clone() }.into_copies();
        FallbackLayer { plan: Arc::new(plan), extract: ExtractCopy { service, cloner: ByClone } }
    }
}

impl<B, W, L> Fallback<SecondService<B>, W, L> {
    /// The fallback for copies of requests, and the service that they are for.
    pub(crate) fn into_copies(self) -> (Fallback<SendCopy, W, L>, B) {
        let Plan { recovery: SecondService(service), handled, name, listener } = self.plan;
        (Fallback { plan: Plan { recovery: SendCopy, handled, name, listener } }, service)
    }
}

/// Applies a [`Fallback`] to a service.
///
/// A function of the error and of what was extracted from the request before it was sent:
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
/// A second service, which is sent a copy of the request only if the first one fails:
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
    extract: X,
}

impl<S, W, L> FallbackLayer<S, W, L> {
    /// Extracts from each request, before it is sent, what a fallback made with
    /// [`from_request_fn`](Fallback::from_request_fn) needs to answer it.
    pub fn extract_fn<R, K, G>(self, extract: G) -> FallbackLayer<S, W, L, ExtractFn<G>>
    where
        G: Fn(&R) -> K,
    {
        FallbackLayer { plan: self.plan, extract: ExtractFn(extract) }
    }
}

impl<B, W, L> FallbackLayer<SendCopy, W, L, ExtractCopy<B, ByClone>> {
    /// Copies requests for the second service by this function. A request for which it returns `None` has no fallback.
    pub fn clone_request<R>(
        self,
        clone: fn(&R) -> Option<R>,
    ) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, fn(&R) -> Option<R>>> {
        self.with_cloner(clone)
    }

    /// Copies requests for the second service by this closure. A request for which it returns `None` has no fallback.
    pub fn clone_request_fn<R, F>(self, clone: F) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, CloneFn<F>>>
    where
        F: Fn(&R) -> Option<R>,
    {
        self.with_cloner(CloneFn(clone))
    }

    fn with_cloner<K>(self, cloner: K) -> FallbackLayer<SendCopy, W, L, ExtractCopy<B, K>> {
        FallbackLayer { plan: self.plan, extract: ExtractCopy { service: self.extract.service, cloner } }
    }
}

impl<S, W, L, X: Clone> Clone for FallbackLayer<S, W, L, X> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone(), extract: self.extract.clone() }
    }
}

impl<I, S, W, L, X: Clone> Layer<I> for FallbackLayer<S, W, L, X> {
    type Service = FallbackService<I, S, W, L, X>;

    fn layer(&self, inner: I) -> Self::Service {
        FallbackService { inner, plan: ServiceShare::new(self.plan.clone()), extract: self.extract.clone() }
    }
}

/// A service with a fallback, which answers when the service fails.
#[derive(Debug)]
pub struct FallbackService<I, S, W = EveryError, L = NoListener, X = ExtractNothing> {
    inner: I,
    plan: ServiceShare<Plan<S, W, L>>,
    extract: X,
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
        let extracted = self.extract.extract(&request);
        FallbackFuture::start(self.plan.lend(), extracted, || self.inner.call(request))
    }
}

impl<I: Clone, S, W, L, X: Clone> Clone for FallbackService<I, S, W, L, X> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: self.plan.clone(), extract: self.extract.clone() }
    }
}

/// Extracts from a request, before it is sent, what a fallback needs to answer it.
///
/// Sealed: [`extract_fn`](FallbackLayer::extract_fn) takes a closure.
pub trait Extract<R>: sealed::Extract {
    /// What is extracted.
    type Extracted;

    #[doc(hidden)]
    fn extract(&self, request: &R) -> Self::Extracted;
}

mod sealed {
    pub trait Extract {}
    impl Extract for super::ExtractNothing {}
    impl<S, K> Extract for super::ExtractCopy<S, K> {}
    impl<F> Extract for super::ExtractFn<F> {}
}

/// Extracts nothing: the default.
#[derive(Clone, Copy, Debug)]
pub struct ExtractNothing;

impl<R> Extract<R> for ExtractNothing {
    type Extracted = ();

    fn extract(&self, _: &R) {}
}

/// Extracts a copy of the request, unless the cloner declines, and adds a clone of the service it is for.
#[derive(Clone, Copy, Debug)]
pub struct ExtractCopy<S, K> {
    service: S,
    cloner: K,
}

impl<S: Clone, R, K: CloneRequest<R>> Extract<R> for ExtractCopy<S, K> {
    type Extracted = Option<SendRequest<S, R>>;

    fn extract(&self, request: &R) -> Self::Extracted {
        let request = self.cloner.clone_request(request)?;
        Some(SendRequest { service: self.service.clone(), request })
    }
}

/// Extracts what a closure returns.
#[derive(Clone, Copy)]
pub struct ExtractFn<F>(F);

impl<F> ExtractFn<F> {
    pub(crate) fn new(extract: F) -> Self {
        Self(extract)
    }
}

impl<R, K, F> Extract<R> for ExtractFn<F>
where
    F: Fn(&R) -> K,
{
    type Extracted = K;

    fn extract(&self, request: &R) -> K {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ExtractFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractFn").finish_non_exhaustive()
    }
}
