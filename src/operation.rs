//! What a policy may start later, inside its future: a closure, or a request that waits for its service.
//!
//! One trait for both lets a policy that queues or falls back have a single future, whichever door made it.

use std::future::Future;

/// A future of a `Result`, with the result's halves named.
///
/// Sealed, and implemented for every such future.
pub trait ResultFuture: Future<Output = Result<Self::Ok, Self::Err>> + sealed::ResultFuture {
    /// What it yields when all is well.
    type Ok;
    /// What it yields when not.
    type Err;
}

impl<F, T, E> ResultFuture for F
where
    F: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;
}

/// Something that can be started once.
///
/// Sealed; implemented for closures that return a future of a `Result` and, with the feature `tower`, for
/// `SendRequest`.
pub trait Operation: sealed::Operation {
    /// What runs once it is started.
    type Future: ResultFuture;

    /// Starts it.
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

    /// A request beside the service it is for. The service is readied once the operation is started.
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
            SendRequestFuture { state: State::Readying { service: self.service, request: Some(self.request) } }
        }
    }

    pin_project! {
        /// Waits until a service is ready, and sends it its request.
        // `F` is `S::Future`, which is not named here: see the futures of the policies.
        #[must_use = "futures do nothing unless polled"]
        pub struct SendRequestFuture<S, R, F> {
            #[pin]
            state: State<S, R, F>,
        }
    }

    pin_project! {
        #[project = StateProj]
        enum State<S, R, F> {
            Readying { service: S, request: Option<R> },
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
                    StateProj::Readying { service, request } => {
                        ready!(service.poll_ready(cx))?;
                        service.call(request.take().expect("polled after it was done"))
                    }
                    StateProj::Sent { response } => return response.poll(cx),
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
