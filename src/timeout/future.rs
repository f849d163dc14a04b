use std::{
    borrow::Borrow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::shared::Expiry;
use crate::{
    carry::CarriesRejected,
    clock::{self, Alarm},
};

pin_project! {
    /// A call under a [`Timeout`](super::Timeout).
    ///
    /// `X` is how it holds what the timeout says when it is over: borrowed (plain) or owned (tower).
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    #[project = Projection]
    pub struct TimeoutFuture<F, X> {
        // `None` once it is over: the operation goes before the caller is told.
        #[pin]
        operation: Option<F>,
        limit: Option<Duration>,
        #[pin]
        alarm: Alarm,
        expiry: X,
    }
}

impl<F, X> TimeoutFuture<F, X> {
    #[inline(always)]
    pub(super) fn start(expiry: X, limit: Option<Duration>, operation: impl FnOnce() -> F) -> Self {
        let end = limit.and_then(|span| clock::after(clock::now(), span));
        Self { operation: Some(operation()), limit, alarm: Alarm::at(end), expiry }
    }
}

impl<F, X, T, E> Future for TimeoutFuture<F, X>
where
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    X: Borrow<Expiry>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let operation = this.operation.as_mut().as_pin_mut().expect("polled after it was done");
        let Poll::Ready(answer) = operation.poll(cx) else { return wait(this, cx) };
        // Nothing outlives the call, though its future may be kept.
        this.operation.set(None);
        this.alarm.disarm();
        Poll::Ready(answer)
    }
}

/// The operation is pending: until its limit has passed?
#[inline(never)]
fn wait<F, X, T, E>(mut this: Projection<'_, F, X>, cx: &mut Context<'_>) -> Poll<Result<T, E>>
where
    E: CarriesRejected,
    X: Borrow<Expiry>,
{
    ready!(this.alarm.as_mut().poll(cx));
    this.operation.set(None);
    this.alarm.disarm();
    let limit = this.limit.unwrap_or_default();
    Poll::Ready(Err(E::from_rejected((*this.expiry).borrow().tell(limit))))
}
