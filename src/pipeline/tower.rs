//! The tower layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    fallback::{NoFallback, PipelineFallback, PlainFallback},
    future::PipelineFuture,
    policy::Pipeline,
    shared::{OwnedWhole, Whole},
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify},
    clone_request::{ByClone, CloneFn, CloneRequest, SendOnce},
    fallback::{Extract, ExtractFn, ExtractNothing, Fallback, SecondService, SendCopy},
    operation::SendRequest,
    retry::Resend,
    share::{CallShare, ServiceShare},
    sync::Arc,
};

impl<C: Clone, F: PlainFallback + Clone> Pipeline<C, F> {
    /// The pipeline as a tower layer. Every service it is applied to shares these parts.
    ///
    /// Where there is a retry, send only idempotent requests through it.
    pub fn layer(&self) -> PipelineLayer<C, F> {
        let whole = Arc::new(self.whole.clone());
        PipelineLayer { whole, cloner: ByClone, sends_once: false, extract: ExtractNothing }
    }
}

impl<C: Clone, B: Clone, W, L: Clone> Pipeline<C, Fallback<SecondService<B>, W, L>> {
    /// The pipeline as a tower layer. Every service it is applied to shares these parts.
    ///
    /// The second service is sent a copy of the request, made as those for further attempts are: by `Clone`, unless
    /// `clone_request` or `clone_request_fn` is set on the layer. A request that declines to be copied has no fallback. It
    /// is sent outside of the total timeout: give that service a timeout of its own.
    pub fn layer(&self) -> PipelineLayer<C, Fallback<SendCopy, W, L>, ByClone, CopyFor<B>> {
        let Whole { parts, classifier, fallback } = &self.whole;
        let (fallback, service) = Fallback { plan: fallback.plan.clone() }.into_copies();
        let whole = Whole { parts: parts.clone(), classifier: classifier.clone(), fallback };
        PipelineLayer { whole: Arc::new(whole), cloner: ByClone, sends_once: false, extract: CopyFor(service) }
    }
}

/// Extracts a copy of the request, unless the layer's cloner declines, and adds a clone of the service it is for.
#[derive(Clone, Copy, Debug)]
pub struct CopyFor<S>(S);

/// Extracts from a request, before it is sent, what a fallback needs to answer it. It may need to copy it: `K` does.
///
/// Sealed.
pub trait ExtractBy<R, K>: sealed::ExtractBy {
    /// What is extracted.
    type Extracted;

    #[doc(hidden)]
    fn extract_by(&self, cloner: &K, request: &R) -> Self::Extracted;
}

mod sealed {
    pub trait ExtractBy {}
    impl ExtractBy for crate::fallback::ExtractNothing {}
    impl<G> ExtractBy for crate::fallback::ExtractFn<G> {}
    impl<S> ExtractBy for super::CopyFor<S> {}
}

impl<R, K> ExtractBy<R, K> for ExtractNothing {
    type Extracted = ();

    fn extract_by(&self, _: &K, _: &R) {}
}

impl<R, K, T, G> ExtractBy<R, K> for ExtractFn<G>
where
    G: Fn(&R) -> T,
{
    type Extracted = T;

    fn extract_by(&self, _: &K, request: &R) -> T {
        self.extract(request)
    }
}

impl<S: Clone, R, K: CloneRequest<R>> ExtractBy<R, K> for CopyFor<S> {
    type Extracted = Option<SendRequest<S, R>>;

    fn extract_by(&self, cloner: &K, request: &R) -> Self::Extracted {
        let request = cloner.clone_request(request)?;
        Some(SendRequest { service: self.0.clone(), request })
    }
}

/// A call of a service that owns its handle of the pipeline.
pub(crate) type OwnedCall<S, R, K, Fut, T, E, G, C, F> =
    PipelineFuture<Resend<S, R, K>, Fut, Result<T, E>, G, (), OwnedWhole<C, F>>;

impl<C, F> Pipeline<C, F> {
    /// Sends one request, as the service of the [`layer`](Self::layer) does. The call owns this handle.
    #[inline(always)]
    pub(crate) fn send<S, R, K>(
        self,
        service: &S,
        request: R,
        cloner: &K,
    ) -> OwnedCall<S, R, K, S::Future, S::Response, S::Error, F::Future, C, F>
    where
        S: Service<R> + Clone,
        S::Error: CarriesRejected,
        C: Classify<S::Response, S::Error>,
        F: PipelineFallback<S::Response, S::Error, ()>,
        K: CloneRequest<R> + Clone,
    {
        let attempts = Resend::new(service.clone(), request, cloner.clone());
        PipelineFuture::start(OwnedWhole(self.whole), (), attempts)
    }
}

/// Puts a service behind a [`Pipeline`].
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use withstand::Pipeline;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
/// let stock = ServiceBuilder::new()
///     .layer(Pipeline::standard("stock").layer())
///     .service(service_fn(|item: u32| async move { Ok::<_, tower::BoxError>(item + 1) }));
///
/// assert_eq!(stock.oneshot(7).await?, 8);
/// # Ok(()) }
/// ```
pub struct PipelineLayer<C = ByError, F = NoFallback, K = ByClone, X = ExtractNothing> {
    whole: Arc<Whole<C, F>>,
    cloner: K,
    sends_once: bool,
    extract: X,
}

impl<C, F, X> PipelineLayer<C, F, ByClone, X> {
    /// Copies requests by this function, `reqwest::Request::try_clone` for example. A request for which it gives `None`
    /// is sent once.
    pub fn clone_request<R>(self, clone: fn(&R) -> Option<R>) -> PipelineLayer<C, F, fn(&R) -> Option<R>, X> {
        self.with_cloner(clone)
    }

    /// Copies requests by this closure. It is the place to decline what is not idempotent: a request for which it gives
    /// `None` is sent once.
    pub fn clone_request_fn<R, G>(self, clone: G) -> PipelineLayer<C, F, CloneFn<G>, X>
    where
        G: Fn(&R) -> Option<R>,
    {
        self.with_cloner(CloneFn(clone))
    }

    /// Copies requests, and decides for each of them whether it may be sent again, by this rule: `http::Idempotent`,
    /// with the feature `http`.
    pub fn clone_request_by<K>(self, rule: K) -> PipelineLayer<C, F, K, X> {
        self.with_cloner(rule)
    }

    /// Sends each request once, whatever the retry says: for requests that cannot be copied, those of a server for
    /// example. A [second service](crate::Fallback::service) then answers for none of them.
    pub fn send_once(self) -> PipelineLayer<C, F, SendOnce, X> {
        PipelineLayer { sends_once: true, ..self.with_cloner(SendOnce) }
    }

    fn with_cloner<K>(self, cloner: K) -> PipelineLayer<C, F, K, X> {
        PipelineLayer { whole: self.whole, cloner, sends_once: false, extract: self.extract }
    }
}

impl<C, F, K> PipelineLayer<C, F, K> {
    /// Extracts from each request, before it is sent, what a fallback made with
    /// [`from_request_fn`](crate::Fallback::from_request_fn) needs to answer it.
    pub fn extract_fn<R, T, G>(self, extract: G) -> PipelineLayer<C, F, K, ExtractFn<G>>
    where
        G: Fn(&R) -> T,
    {
        let Self { whole, cloner, sends_once, .. } = self;
        PipelineLayer { whole, cloner, sends_once, extract: ExtractFn::new(extract) }
    }
}

impl<C, F, K: Clone, X: Clone> Clone for PipelineLayer<C, F, K, X> {
    fn clone(&self) -> Self {
        let (whole, cloner, extract) = (self.whole.clone(), self.cloner.clone(), self.extract.clone());
        Self { whole, cloner, sends_once: self.sends_once, extract }
    }
}

impl<S, C, F, K: Clone, X: Clone> Layer<S> for PipelineLayer<C, F, K, X> {
    type Service = PipelineService<S, C, F, K, X>;

    fn layer(&self, inner: S) -> Self::Service {
        #[cfg(feature = "http")]
        if let Some(retry) = self.whole.parts.retry.as_ref().filter(|_| !self.sends_once) {
            crate::on_server::refuse("retry", retry.name());
        }
        let whole = ServiceShare::new(self.whole.clone());
        PipelineService { inner, whole, cloner: self.cloner.clone(), extract: self.extract.clone() }
    }
}

/// A service behind a pipeline.
///
/// It is always ready. Each call clones the inner service once, and readies that clone for each of its attempts.
pub struct PipelineService<S, C = ByError, F = NoFallback, K = ByClone, X = ExtractNothing> {
    inner: S,
    whole: ServiceShare<Whole<C, F>>,
    cloner: K,
    extract: X,
}

impl<S, R, C, F, K, X> Service<R> for PipelineService<S, C, F, K, X>
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
    C: Classify<S::Response, S::Error>,
    F: PipelineFallback<S::Response, S::Error, X::Extracted>,
    K: CloneRequest<R> + Clone,
    X: ExtractBy<R, K>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PipelineFuture<
        Resend<S, R, K>,
        S::Future,
        Result<S::Response, S::Error>,
        F::Future,
        X::Extracted,
        CallShare<Whole<C, F>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let extracted = self.extract.extract_by(&self.cloner, &request);
        let attempts = Resend::new(self.inner.clone(), request, self.cloner.clone());
        PipelineFuture::start(self.whole.lend(), extracted, attempts)
    }
}

impl<S: Clone, C, F, K: Clone, X: Clone> Clone for PipelineService<S, C, F, K, X> {
    fn clone(&self) -> Self {
        let (cloner, extract) = (self.cloner.clone(), self.extract.clone());
        Self { inner: self.inner.clone(), whole: self.whole.clone(), cloner, extract }
    }
}

impl<C, F, K, X> fmt::Debug for PipelineLayer<C, F, K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineLayer").field("pipeline", &self.whole.parts.name).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C, F, K, X> fmt::Debug for PipelineService<S, C, F, K, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PipelineService");
        debug.field("inner", &self.inner).field("pipeline", &self.whole.parts.name).finish_non_exhaustive()
    }
}
