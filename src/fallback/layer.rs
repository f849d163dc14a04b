use tower_layer::Layer;

use super::{
    Fallback,
    event::NoListener,
    handled::EveryError,
    plan::Plan,
    service::FallbackService,
    stand_in::{SecondService, SendsCopy, StandsAlone},
    take::{TakeCopy, TakeFn, TakeNothing},
};
use crate::{
    clone_request::{ByClone, CloneFn},
    sync::Arc,
};

impl<S: StandsAlone + Clone, W, L: Clone> Fallback<S, W, L> {
    /// The fallback as a tower layer.
    pub fn layer(&self) -> FallbackLayer<S, W, L> {
        FallbackLayer { plan: Arc::new(self.plan.clone()), take: TakeNothing }
    }
}

impl<B: Clone, W, L: Clone> Fallback<SecondService<B>, W, L> {
    /// The fallback as a tower layer. It copies requests by `Clone`, unless it is told otherwise.
    pub fn layer(&self) -> FallbackLayer<SendsCopy, W, L, TakeCopy<B, ByClone>> {
        let Plan { stand_in: SecondService(service), handled, name, listener } = self.plan.clone();
        let plan = Plan { stand_in: SendsCopy, handled, name, listener };
        FallbackLayer { plan: Arc::new(plan), take: TakeCopy { service, cloner: ByClone } }
    }
}

/// Lets something answer in place of a service that fails; see [`Fallback`].
///
/// With what it needs from the request, taken before the request is sent:
///
/// ```
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
/// use withstand::Fallback;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), BoxError> {
/// let fallback = Fallback::from_taken_fn(|id: u32, _: BoxError| Ok(format!("user {id}, details unavailable")));
/// let users = ServiceBuilder::new()
///     .layer(fallback.layer().take_fn(|id: &u32| *id))
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
pub struct FallbackLayer<S, W = EveryError, L = NoListener, X = TakeNothing> {
    plan: Arc<Plan<S, W, L>>,
    take: X,
}

impl<S, W, L> FallbackLayer<S, W, L> {
    /// Takes from each request, before it is sent, what a fallback made with [`from_taken_fn`](Fallback::from_taken_fn)
    /// needs to answer it.
    pub fn take_fn<R, K, G>(self, take: G) -> FallbackLayer<S, W, L, TakeFn<G>>
    where
        G: Fn(&R) -> K,
    {
        FallbackLayer { plan: self.plan, take: TakeFn(take) }
    }
}

impl<B, W, L> FallbackLayer<SendsCopy, W, L, TakeCopy<B, ByClone>> {
    /// Copies requests for the second service by this function. One for which it gives `None` has no fallback.
    pub fn clone_request<R>(
        self,
        clone: fn(&R) -> Option<R>,
    ) -> FallbackLayer<SendsCopy, W, L, TakeCopy<B, fn(&R) -> Option<R>>> {
        self.copying(clone)
    }

    /// Copies requests for the second service by this closure.
    pub fn clone_request_fn<R, F>(self, clone: F) -> FallbackLayer<SendsCopy, W, L, TakeCopy<B, CloneFn<F>>>
    where
        F: Fn(&R) -> Option<R>,
    {
        self.copying(CloneFn(clone))
    }

    fn copying<K>(self, cloner: K) -> FallbackLayer<SendsCopy, W, L, TakeCopy<B, K>> {
        FallbackLayer { plan: self.plan, take: TakeCopy { service: self.take.service, cloner } }
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
