use std::{
    borrow::Borrow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::expiry::Expiry;
use crate::{
    carry::CarriesRejected,
    clock::{self, Alarm, Instant},
};

pin_project! {
    /// A call under a [`Timeout`](super::Timeout).
    ///
    /// `X` is how it holds what the timeout says when it is over: borrowed (plain) or owned (tower).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F, X> {
        // `None` once it is over: the operation goes before the caller is told.
        #[pin]
        operation: Option<F>,
        limit: Option<Limit>,
        #[pin]
        alarm: Option<Alarm>,
        expiry: X,
    }
}

#[derive(Clone, Copy, Debug)]
struct Limit {
    span: Duration,
    since: Instant,
}

impl<F, X> TimeoutFuture<F, X> {
    pub(super) fn start(expiry: X, span: Option<Duration>, operation: impl FnOnce() -> F) -> Self {
        let limit = span.map(|span| Limit { span, since: clock::now() });
        Self { operation: Some(operation()), limit, alarm: None, expiry }
    }
}

impl<F, X, T, E> Future for TimeoutFuture<F, X>
where
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    X: Borrow<Expiry>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let operation = this.operation.as_mut().as_pin_mut().expect("polled after it was done");
        if let Poll::Ready(answer) = operation.poll(cx) {
            // Nothing outlives the call, though its future may be kept.
            this.operation.set(None);
            this.alarm.set(None);
            return Poll::Ready(answer);
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        if this.alarm.is_none() {
            this.alarm.set(Some(Alarm::at(clock::after(limit.since, limit.span))));
        }
        if let Some(alarm) = this.alarm.as_mut().as_pin_mut() {
            ready!(alarm.poll(cx));
        }
        this.operation.set(None);
        this.alarm.set(None);
        Poll::Ready(Err(E::from_rejected((*this.expiry).borrow().tell(limit.span))))
    }
}
