use tower_layer::Layer;

use super::{
    Fallback,
    event::NoListener,
    handled::EveryError,
    plan::Plan,
    service::FallbackService,
    stand_in::{AsyncErrorFn, AsyncResultFn, ErrorFn, ResultFn, SecondService, TakenFn, Value},
    take::{TakeCopy, TakeFn, TakeNothing},
};
use crate::{
    clone_request::{ByClone, CloneFn},
    sync::Arc,
};

/// What a layer takes from a request unless it is told otherwise.
pub trait TakesByDefault {
    /// How it is taken.
    type Take: Default;
}

impl<V> TakesByDefault for Value<V> {
    type Take = TakeNothing;
}

impl<F> TakesByDefault for ErrorFn<F> {
    type Take = TakeNothing;
}

impl<F> TakesByDefault for AsyncErrorFn<F> {
    type Take = TakeNothing;
}

impl<F> TakesByDefault for ResultFn<F> {
    type Take = TakeNothing;
}

impl<F> TakesByDefault for AsyncResultFn<F> {
    type Take = TakeNothing;
}

impl<F> TakesByDefault for TakenFn<F> {
    type Take = TakeNothing;
}

impl<B> TakesByDefault for SecondService<B> {
    type Take = TakeCopy<ByClone>;
}

impl<S: TakesByDefault, W, L: Clone> Fallback<S, W, L> {
    /// The fallback as a tower layer.
    pub fn layer(&self) -> FallbackLayer<S, W, L, S::Take> {
        FallbackLayer { plan: Arc::new(self.plan.clone()), take: S::Take::default() }
    }
}

/// Lets something answer in place of a service that fails; see [`Fallback`].
#[derive(Debug)]
pub struct FallbackLayer<S, W = EveryError, L = NoListener, X = TakeNothing> {
    plan: Arc<Plan<S, W, L>>,
    take: X,
}

impl<F, W, L> FallbackLayer<TakenFn<F>, W, L> {
    /// Takes from each request, before it is sent, what the fallback needs to answer it.
    pub fn take_fn<R, K, G>(self, take: G) -> FallbackLayer<TakenFn<F>, W, L, TakeFn<G>>
    where
        G: Fn(&R) -> K,
    {
        FallbackLayer { plan: self.plan, take: TakeFn(take) }
    }
}

impl<B, W, L> FallbackLayer<SecondService<B>, W, L, TakeCopy<ByClone>> {
    /// Copies requests for the second service by this function. One for which it gives `None` has no fallback.
    pub fn clone_request<R>(
        self,
        clone: fn(&R) -> Option<R>,
    ) -> FallbackLayer<SecondService<B>, W, L, TakeCopy<fn(&R) -> Option<R>>> {
        FallbackLayer { plan: self.plan, take: TakeCopy(clone) }
    }

    /// Copies requests for the second service by this closure.
    pub fn clone_request_fn<R, F>(self, clone: F) -> FallbackLayer<SecondService<B>, W, L, TakeCopy<CloneFn<F>>>
    where
        F: Fn(&R) -> Option<R>,
    {
        FallbackLayer { plan: self.plan, take: TakeCopy(CloneFn(clone)) }
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
