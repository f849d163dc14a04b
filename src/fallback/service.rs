use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    event::{Listen, NoListener},
    future::FallbackFuture,
    handled::{EveryError, Handles},
    plan::Plan,
    stand_in::StandIn,
    take::{Take, TakeNothing},
};
use crate::{
    share::{Lender, Share},
    sync::Arc,
};

/// A service in whose place something else answers when it fails.
#[derive(Debug)]
pub struct FallbackService<I, S, W = EveryError, L = NoListener, X = TakeNothing> {
    inner: I,
    plan: Lender<Plan<S, W, L>>,
    take: X,
}

impl<I, S, W, L, X> FallbackService<I, S, W, L, X> {
    pub(super) fn new(inner: I, plan: Arc<Plan<S, W, L>>, take: X) -> Self {
        Self { inner, plan: Lender::new(plan), take }
    }
}

impl<I, R, S, W, L, X> Service<R> for FallbackService<I, S, W, L, X>
where
    I: Service<R>,
    X: Take<R>,
    S: StandIn<I::Response, I::Error, X::Taken>,
    W: Handles<I::Response, I::Error>,
    L: Listen<I::Response, I::Error>,
{
    type Response = I::Response;
    type Error = I::Error;
    type Future = FallbackFuture<I::Future, Share<Plan<S, W, L>>, S::Future, X::Taken>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let taken = self.take.take(&request);
        FallbackFuture::start(self.plan.lend(), taken, || self.inner.call(request))
    }
}

impl<I: Clone, S, W, L, X: Clone> Clone for FallbackService<I, S, W, L, X> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: self.plan.clone(), take: self.take.clone() }
    }
}
