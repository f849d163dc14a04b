//! The tower layer and its service.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    marker::PhantomData,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{keep::KeyedPolicy, policy::Keyed};
use crate::{
    bulkhead::{self, Bulkhead},
    carry::CarriesRejected,
    circuit_breaker::{self, CircuitBreaker},
    classify::Classify,
    clone_request::{ByClone, CloneFn, CloneRequest, SendOnce},
    pipeline::{self, Pipeline, PipelineFallback},
    rate_limiter::{self, RateLimiter},
    retry::{self, RetryWithBackoff},
};

impl<K, P: KeyedPolicy> Keyed<K, P> {
    /// The policies as a tower layer. Each request goes through the policy of the key that `key` gives for it.
    ///
    /// All services that the layer makes share these policies. Where the key is part of the request,
    /// [`layer_ref_fn`](Self::layer_ref_fn) borrows it.
    pub fn layer_fn<R, F>(&self, key: F) -> KeyedLayer<K, P, ByOwnedKey<F>>
    where
        F: Fn(&R) -> K,
    {
        KeyedLayer::new(self, ByOwnedKey(key))
    }

    /// As [`layer_fn`](Self::layer_fn), for a key that is part of the request: it is borrowed from it, and copied only
    /// when a policy is made.
    ///
    /// ```
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use withstand::{CircuitBreaker, Keyed, Name};
    ///
    /// struct Request {
    ///     host: String,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
    /// let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build()?;
    /// let client = ServiceBuilder::new()
    ///     .layer(hosts.layer_ref_fn(|request: &Request| request.host.as_str()))
    ///     .service(service_fn(|request: Request| async move { Ok::<_, tower::BoxError>(request.host.len()) }));
    ///
    /// hosts.get("down.example.com").force_open();
    /// assert!(client.clone().oneshot(Request { host: "down.example.com".into() }).await.is_err());
    /// assert_eq!(client.oneshot(Request { host: "up.example.com".into() }).await?, 14);
    /// # Ok(()) }
    /// ```
    pub fn layer_ref_fn<R, Q, F>(&self, key: F) -> KeyedLayer<K, P, ByRef<F, Q>>
    where
        F: Fn(&R) -> &Q,
        K: Borrow<Q>,
        Q: ?Sized,
    {
        KeyedLayer::new(self, ByRef { key, by: PhantomData })
    }
}

/// Finds the policy of a request. Sealed.
pub trait ChooseKey<R, K, P>: sealed::ChooseKey {
    /// The policy of this request's key.
    #[doc(hidden)]
    fn policy(&self, keyed: &Keyed<K, P>, request: &R) -> P;
}

mod sealed {
    pub trait ChooseKey {}
    impl<F> ChooseKey for super::ByOwnedKey<F> {}
    impl<F, Q: ?Sized> ChooseKey for super::ByRef<F, Q> {}
}

/// By a function that makes the key; see [`Keyed::layer_fn`].
#[derive(Clone, Copy)]
pub struct ByOwnedKey<F>(F);

/// By a function that borrows the key; see [`Keyed::layer_ref_fn`].
pub struct ByRef<F, Q: ?Sized> {
    key: F,
    by: PhantomData<fn(&Q)>,
}

impl<F: Clone, Q: ?Sized> Clone for ByRef<F, Q> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), by: PhantomData }
    }
}

impl<R, K, P, F> ChooseKey<R, K, P> for ByOwnedKey<F>
where
    F: Fn(&R) -> K,
    K: Hash + Eq + Clone,
    P: KeyedPolicy,
{
    #[inline]
    fn policy(&self, keyed: &Keyed<K, P>, request: &R) -> P {
        keyed.get(&(self.0)(request))
    }
}

impl<R, K, P, Q, F> ChooseKey<R, K, P> for ByRef<F, Q>
where
    F: Fn(&R) -> &Q,
    K: Borrow<Q>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    P: KeyedPolicy,
{
    #[inline]
    fn policy(&self, keyed: &Keyed<K, P>, request: &R) -> P {
        keyed.get((self.key)(request))
    }
}

/// Sends each request through the policy of its key. See [`Keyed`].
///
/// A policy that may send a request again, a [`Pipeline`] or a [`RetryWithBackoff`], copies it by its `Clone`, unless
/// this layer says otherwise. Only what is idempotent may be sent twice, and the layer is where to say so:
///
#[cfg_attr(feature = "http", doc = "```")]
#[cfg_attr(not(feature = "http"), doc = "```ignore")]
/// use withstand::{Keyed, Name, Pipeline, http::{Idempotent, authority}};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let hosts = Keyed::builder(|_: &str, name: Name| Pipeline::standard(name)).build()?;
/// let layer = hosts
///     .layer_fn(|request: &http::Request<String>| authority(request.uri()))
///     .clone_request_by(Idempotent::<http::Request<String>>::new());
/// # let _ = layer;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct KeyedLayer<K, P, F, N = ByClone> {
    keyed: Keyed<K, P>,
    choose: F,
    cloner: N,
    /// What may send a request again.
    sends_again: Option<&'static str>,
}

impl<K, P: KeyedPolicy, F> KeyedLayer<K, P, F> {
    fn new(keyed: &Keyed<K, P>, choose: F) -> Self {
        Self { keyed: keyed.clone(), choose, cloner: ByClone, sends_again: P::SENDS_AGAIN }
    }
}

impl<K, P, F> KeyedLayer<K, P, F> {
    /// Copies requests by this function, `reqwest::Request::try_clone` for example. A request for which it gives `None`
    /// is sent once.
    pub fn clone_request<R>(self, clone: fn(&R) -> Option<R>) -> KeyedLayer<K, P, F, fn(&R) -> Option<R>> {
        self.clone_request_by(clone)
    }

    /// Copies requests by this closure. It is the place to decline what is not idempotent: a request for which it gives
    /// `None` is sent once.
    pub fn clone_request_fn<R, G>(self, clone: G) -> KeyedLayer<K, P, F, CloneFn<G>>
    where
        G: Fn(&R) -> Option<R>,
    {
        self.clone_request_by(CloneFn(clone))
    }

    /// Copies requests, and decides for each of them whether it may be sent again, by this rule: `http::Idempotent`,
    /// with the feature `http`.
    pub fn clone_request_by<N>(self, rule: N) -> KeyedLayer<K, P, F, N> {
        KeyedLayer { keyed: self.keyed, choose: self.choose, cloner: rule, sends_again: self.sends_again }
    }

    /// Sends each request once, whatever the policies say: for requests that cannot be copied, those of a server for
    /// example. There a keyed pipeline needs this even if it has no retry.
    pub fn send_once(self) -> KeyedLayer<K, P, F, SendOnce> {
        KeyedLayer { sends_again: None, ..self.clone_request_by(SendOnce) }
    }
}

impl<S, K, P, F: Clone, N: Clone> Layer<S> for KeyedLayer<K, P, F, N> {
    type Service = KeyedService<S, K, P, F, N>;

    fn layer(&self, inner: S) -> Self::Service {
        #[cfg(feature = "http")]
        if let Some(part) = self.sends_again {
            crate::on_server::refuse(part, self.keyed.name().unwrap_or("unnamed"));
        }
        let (keyed, choose, cloner) = (self.keyed.clone(), self.choose.clone(), self.cloner.clone());
        KeyedService { inner, keyed, choose, cloner }
    }
}

/// A service whose requests go through the policy of their key.
///
/// It is always ready. Each call readies a clone of the inner service, when its policy has admitted it.
pub struct KeyedService<S, K, P, F, N = ByClone> {
    inner: S,
    keyed: Keyed<K, P>,
    choose: F,
    cloner: N,
}

/// A policy through which one request can be sent to a service.
///
/// `N` is how it copies a request that it may send again. Sealed. It is implemented for the policies that
/// [`KeyedPolicy`] names.
pub trait SendThrough<S: Service<R>, R, N = ByClone>: KeyedPolicy {
    /// The call. It holds the policy while the policy has a part in it: a rate limiter's until it has its permit, all
    /// others until it is over.
    type Future: Future<Output = Result<S::Response, S::Error>>;

    /// Begins the call, as the plain call does. The service is cloned, and the clone is readied inside the call.
    #[doc(hidden)]
    fn send_through(self, service: &S, request: R, cloner: &N) -> Self::Future;
}

impl<S, R, N> SendThrough<S, R, N> for Bulkhead
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
{
    type Future = bulkhead::OwnedCall<S, R, S::Future>;

    #[inline]
    fn send_through(self, service: &S, request: R, _: &N) -> Self::Future {
        self.send(service, request)
    }
}

impl<S, R, N> SendThrough<S, R, N> for RateLimiter
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
{
    type Future = rate_limiter::OwnedCall<S, R, S::Future>;

    #[inline]
    fn send_through(self, service: &S, request: R, _: &N) -> Self::Future {
        self.send(service, request)
    }
}

impl<S, R, N, C> SendThrough<S, R, N> for CircuitBreaker<C>
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Future = circuit_breaker::OwnedCall<S, R, S::Future, C>;

    #[inline]
    fn send_through(self, service: &S, request: R, _: &N) -> Self::Future {
        self.send(service, request)
    }
}

impl<S, R, N, C> SendThrough<S, R, N> for RetryWithBackoff<C>
where
    S: Service<R> + Clone,
    N: CloneRequest<R> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Future = retry::OwnedCall<S, R, N, S::Future, S::Response, S::Error, C>;

    #[inline]
    fn send_through(self, service: &S, request: R, cloner: &N) -> Self::Future {
        self.send(service, request, cloner)
    }
}

impl<S, R, N, C, F> SendThrough<S, R, N> for Pipeline<C, F>
where
    S: Service<R> + Clone,
    S::Error: CarriesRejected,
    N: CloneRequest<R> + Clone,
    C: Classify<S::Response, S::Error> + Clone,
    F: PipelineFallback<S::Response, S::Error, ()> + Clone,
{
    type Future = pipeline::OwnedCall<S, R, N, S::Future, S::Response, S::Error, F::Future, C, F>;

    #[inline]
    fn send_through(self, service: &S, request: R, cloner: &N) -> Self::Future {
        self.send(service, request, cloner)
    }
}

impl<S, R, K, P, F, N> Service<R> for KeyedService<S, K, P, F, N>
where
    S: Service<R>,
    P: SendThrough<S, R, N>,
    F: ChooseKey<R, K, P>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = P::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        self.choose.policy(&self.keyed, &request).send_through(&self.inner, request, &self.cloner)
    }
}

impl<S: Clone, K, P, F: Clone, N: Clone> Clone for KeyedService<S, K, P, F, N> {
    fn clone(&self) -> Self {
        let (keyed, choose, cloner) = (self.keyed.clone(), self.choose.clone(), self.cloner.clone());
        Self { inner: self.inner.clone(), keyed, choose, cloner }
    }
}

impl<F> fmt::Debug for ByOwnedKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByOwnedKey").finish_non_exhaustive()
    }
}

impl<F, Q: ?Sized> fmt::Debug for ByRef<F, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRef").finish_non_exhaustive()
    }
}

impl<K, P, F, N> fmt::Debug for KeyedLayer<K, P, F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLayer").field("keyed", &self.keyed).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, K, P, F, N> fmt::Debug for KeyedService<S, K, P, F, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedService").field("inner", &self.inner).field("keyed", &self.keyed).finish_non_exhaustive()
    }
}
