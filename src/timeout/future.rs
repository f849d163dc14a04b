use std::{
    borrow::Borrow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;

use super::shared::TimeoutReporter;
use crate::{
    carry::CarriesRejected,
    clock::{self, Alarm},
    deadline,
    error::Cause,
    slow_path::return_after,
};

pin_project! {
    /// A call under a [`Timeout`](super::Timeout).
    ///
    /// `P` is how it holds the timeout's name and listeners: borrowed in a plain call, owned in a tower service.
    #[derive(Debug)]
    #[must_use = "the call has begun already, and dropping it cancels it"]
    #[project = TimeoutProjection]
    pub struct TimeoutFuture<F, P> {
        // `None` once the call is over: the operation is dropped before the caller is told.
        #[pin]
        operation: Option<F>,
        // What the rejection tells: the timeout's own limit, or the span of an earlier deadline.
        limit: Duration,
        cause: Cause,
        #[pin]
        alarm: Alarm,
        reporter: P,
    }
}

impl<F, P> TimeoutFuture<F, P> {
    #[inline(always)]
    pub(super) fn start(reporter: P, limit: Option<Duration>, operation: impl FnOnce() -> F) -> Self {
        let end = limit.and_then(|span| clock::after(clock::now(), span));
        let deadline = deadline::current();
        let (end, limit, cause) = match deadline.is_before(end) {
            false => (end, limit.unwrap_or_default(), Cause::Limit),
            true => (deadline.end(), deadline.span(), Cause::Deadline),
        };
        Self { operation: Some(operation()), limit, cause, alarm: Alarm::at(end), reporter }
    }
}

impl<F, P, T, E> Future for TimeoutFuture<F, P>
where
    F: Future<Output = Result<T, E>>,
    E: CarriesRejected,
    P: Borrow<TimeoutReporter>,
{
    type Output = Result<T, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let operation = this.operation.as_mut().as_pin_mut().expect("polled after it was done");
        let Poll::Ready(answer) = operation.poll(cx) else { return wait(this, cx).map(Err) };
        // The future may be kept after it is done. Neither the operation nor the timer stays in it.
        Poll::Ready(return_after(answer, || {
            this.operation.set(None);
            this.alarm.disarm();
        }))
    }
}

/// The operation is pending: waits for the limit, and then ends the call.
#[inline(never)]
fn wait<F, P, E>(mut this: TimeoutProjection<'_, F, P>, cx: &mut Context<'_>) -> Poll<E>
where
    E: CarriesRejected,
    P: Borrow<TimeoutReporter>,
{
    ready!(this.alarm.as_mut().poll(cx));
    this.operation.set(None);
    this.alarm.disarm();
    Poll::Ready(E::from_rejected((*this.reporter).borrow().report(*this.limit, *this.cause)))
}
