//! What a policy may start later, inside its future: a closure, or a request and the service it is for.
//!
//! A bulkhead queues a call before it starts, and a fallback sends a request to a second service only when the first
//! has failed. Both keep an [`Operation`] until then. A plain call's operation is a closure; a tower service's is a
//! `SendRequest`. One trait for the two lets such a policy have one future type for its plain call and for its tower
//! service.

use std::future::Future;

/// A future that returns a `Result`. It names the types in the result.
///
/// Sealed, and implemented for every such future.
pub trait ResultFuture: Future<Output = Result<Self::Ok, Self::Err>> + sealed::ResultFuture {
    /// The type in `Ok`.
    type Ok;
    /// The type in `Err`.
    type Err;
}

impl<F, T, E> ResultFuture for F
where
    F: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;
}

/// An operation that can be started once.
///
/// Sealed; implemented for closures that return a future of a `Result`, and, with the feature `tower`, for
/// `SendRequest`.
pub trait Operation: sealed::Operation {
    /// The future of the started operation.
    type Future: ResultFuture;

    /// Starts the operation.
    fn start(self) -> Self::Future;
}

impl<F, Fut> Operation for F
where
    F: FnOnce() -> Fut,
    Fut: ResultFuture,
{
    type Future = Fut;

    #[inline(always)]
    fn start(self) -> Fut {
        self()
    }
}

pub(crate) mod sealed {
    use std::future::Future;

    pub trait ResultFuture {}
    impl<F, T, E> ResultFuture for F where F: Future<Output = Result<T, E>> {}

    pub trait Operation {}
    impl<F, Fut> Operation for F
    where
        F: FnOnce() -> Fut,
        Fut: super::ResultFuture,
    {
    }
}

#[cfg(feature = "tower")]
pub use self::request::{SendRequest, SendRequestFuture};

#[cfg(feature = "tower")]
mod request {
    use std::{
        fmt,
        future::Future,
        pin::Pin,
        task::{Context, Poll, ready},
    };

    use pin_project_lite::pin_project;
    use tower_service::Service;

    use super::{Operation, sealed};

    /// A request and the service it is for. The service is made ready after the operation was started, inside its
    /// future.
    #[derive(Debug)]
    pub struct SendRequest<S, R> {
        pub(crate) service: S,
        pub(crate) request: R,
    }

    impl<S: Service<R>, R> sealed::Operation for SendRequest<S, R> {}

    impl<S: Service<R>, R> Operation for SendRequest<S, R> {
        type Future = SendRequestFuture<S, R, S::Future>;

        #[inline(always)]
        fn start(self) -> Self::Future {
            let Self { service, request } = self;
            SendRequestFuture { state: State::WaitingForReady { service, request: Some(request) } }
        }
    }

    pin_project! {
        /// Waits until a service is ready, and then sends the request to it.
        ///
        /// `F` is the service's own future. It is a parameter, and not `S::Future` with a bound on `S`: where a field
        /// names a projection, the compiler proves `Send` through the bounds of the service, and fails for an error
        /// with an erased lifetime.
        #[must_use = "futures do nothing unless polled"]
        pub struct SendRequestFuture<S, R, F> {
            #[pin]
            state: State<S, R, F>,
        }
    }

    pin_project! {
        #[project = StateProjection]
        enum State<S, R, F> {
            WaitingForReady { service: S, request: Option<R> },
            Sent { #[pin] response: F },
        }
    }

    impl<S, R, F, T, E> Future for SendRequestFuture<S, R, F>
    where
        S: Service<R, Response = T, Error = E, Future = F>,
        F: Future<Output = Result<T, E>>,
    {
        type Output = Result<T, E>;

        #[inline]
        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let mut state = self.project().state;
            loop {
                let response = match state.as_mut().project() {
                    StateProjection::WaitingForReady { service, request } => {
                        ready!(service.poll_ready(cx))?;
                        service.call(request.take().expect("polled after it was done"))
                    }
                    StateProjection::Sent { response } => return response.poll(cx),
                };
                state.set(State::Sent { response });
            }
        }
    }

    impl<S, R, F> fmt::Debug for SendRequestFuture<S, R, F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("SendRequestFuture").finish_non_exhaustive()
        }
    }
}
