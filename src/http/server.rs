//! Policies around an HTTP server, which answer their rejections themselves.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::rejection::{Caller, response_to};
use crate::{
    carry::{Error, LiftService},
    error::Rejected,
    on_server,
};

/// Puts policies around a server, and answers what they reject.
///
/// `policies` is the layer of a policy, or a `ServiceBuilder` of several, outermost first. The server's own error stays
/// as it is: an axum `Router` stays infallible, and no `HandleErrorLayer` is needed.
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use tower::ServiceBuilder;
/// use withstand::{Bulkhead, Timeout, http::server};
///
/// let policies = ServiceBuilder::new()
///     .layer(Bulkhead::new("requests", 512).layer())
///     .layer(Timeout::new(Duration::from_secs(10)).layer());
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(server(policies));
/// ```
///
/// | rejection | status | `Retry-After` |
/// |---|---|---|
/// | [`CircuitOpen`](Rejected::CircuitOpen) | 503 | the time left, where it is known |
/// | [`BulkheadFull`](Rejected::BulkheadFull) | 503 | 1 |
/// | [`RateLimited`](Rejected::RateLimited) | 429 | the time until a permit, where it is known |
/// | [`TimedOut`](Rejected::TimedOut) | 504 | |
///
/// Each of these answers has `Cache-Control: no-store`, and a body that says what and when (`application/problem+json`,
/// RFC 9457); the answer to a `HEAD` request has none. No policy's name and no limit is told.
///
/// The body is made of a `String`, as `axum::body::Body` and `http_body_util::Full` can be. Others, tonic's among
/// them, need [`without_body`](ServerLayer::without_body).
///
/// A gRPC request, by its `Content-Type`, is answered with the status 200 and
/// [`grpc-status`](Rejected::grpc_code): `UNAVAILABLE`, `RESOURCE_EXHAUSTED` or `DEADLINE_EXCEEDED`. The time left is
/// in `grpc-retry-pushback-ms`.
///
/// In an axum `Router`, `layer` makes the service anew for each route, and all of them share the policy: it is a limit
/// for the routes together.
///
/// A pipeline's layer sends each request of a server once: `server(pipeline.layer().send_once())`.
///
/// # Panics
///
/// When the stack is built, if a retry is among the policies, or in a pipeline that does not send once. A server
/// answers a request once, and its client sends it again. A retry of a call that a handler makes to another service is
/// the handler's business, and is no part of this; [`dependency_rejection_response`] answers for it.
///
/// [`dependency_rejection_response`]: super::dependency_rejection_response
pub fn server<L>(policies: L) -> ServerLayer<L> {
    ServerLayer { policies, body: WithBody }
}

/// The layer that [`server`] makes.
#[derive(Clone, Copy, Debug)]
pub struct ServerLayer<L, P = WithBody> {
    policies: L,
    body: P,
}

impl<L> ServerLayer<L> {
    /// Answers without a body, for a server whose body cannot be made of a text.
    ///
    /// ```
    /// use tonic::transport::Server;
    /// use withstand::{Bulkhead, http::server};
    ///
    /// let server = Server::builder().layer(server(Bulkhead::new("requests", 512).layer()).without_body());
    /// ```
    pub fn without_body(self) -> ServerLayer<L, NoBody> {
        ServerLayer { policies: self.policies, body: NoBody }
    }
}

impl<L, S, P: Clone> Layer<S> for ServerLayer<L, P>
where
    L: Layer<LiftService<S>>,
{
    type Service = ServerService<L::Service, P>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = on_server::build(|| self.policies.layer(LiftService::new(inner)));
        ServerService { inner, body: self.body.clone(), unready: None }
    }
}

/// A server that answers what its policies reject.
#[derive(Debug)]
pub struct ServerService<S, P = WithBody> {
    inner: S,
    body: P,
    /// A rejection in place of readiness. The next request gets it as its answer.
    unready: Option<Rejected>,
}

impl<S: Clone, P: Clone> Clone for ServerService<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), body: self.body.clone(), unready: None }
    }
}

impl<S, P, B, T, E> Service<Request<B>> for ServerService<S, P>
where
    S: Service<Request<B>, Response = Response<T>, Error = Error<E>>,
    P: RejectionBody<T> + Clone,
{
    type Response = Response<T>;
    type Error = E;
    type Future = ServerFuture<S::Future, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.unready.is_some() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Ok(()),
            Err(Error::Inner(error)) => Err(error),
            Err(Error::Rejected(rejected)) => {
                self.unready = Some(rejected);
                Ok(())
            }
        })
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = Caller::of(&request);
        let state = match self.unready.take() {
            Some(rejected) => State::Rejected { rejected },
            None => State::Called { response: self.inner.call(request) },
        };
        ServerFuture { state, caller, body: self.body.clone() }
    }
}

pin_project! {
    /// The answer of a server, or to a rejection.
    #[must_use = "futures do nothing unless polled"]
    pub struct ServerFuture<F, P = WithBody> {
        #[pin]
        state: State<F>,
        caller: Caller,
        body: P,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Called { #[pin] response: F },
        Rejected { rejected: Rejected },
    }
}

impl<F, P, T, E> Future for ServerFuture<F, P>
where
    F: Future<Output = Result<Response<T>, Error<E>>>,
    P: RejectionBody<T>,
{
    type Output = Result<Response<T>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = |rejected: &Rejected| response_to(rejected, *this.caller, |text| this.body.body(text));
        Poll::Ready(match this.state.project() {
            StateProjection::Called { response } => match ready!(response.poll(cx)) {
                Ok(response) => Ok(response),
                Err(Error::Inner(error)) => Err(error),
                Err(Error::Rejected(rejected)) => Ok(answer(&rejected)),
            },
            StateProjection::Rejected { rejected } => Ok(answer(rejected)),
        })
    }
}

impl<F, P> fmt::Debug for ServerFuture<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFuture").finish_non_exhaustive()
    }
}

/// Makes the body of a rejection's answer.
///
/// Sealed.
#[diagnostic::on_unimplemented(
    message = "a `{B}` cannot be made of a text",
    label = "the server's body is a `{B}`",
    note = "answer rejections without a body: `withstand::http::server(..).without_body()`"
)]
pub trait RejectionBody<B>: sealed::RejectionBody {
    /// A body of this text, or an empty one.
    #[doc(hidden)]
    fn body(&self, text: Option<String>) -> B;
}

mod sealed {
    pub trait RejectionBody {}
    impl RejectionBody for super::WithBody {}
    impl RejectionBody for super::NoBody {}
}

/// A body that says what and when.
#[derive(Clone, Copy, Debug)]
pub struct WithBody;

impl<B: From<String>> RejectionBody<B> for WithBody {
    fn body(&self, text: Option<String>) -> B {
        text.unwrap_or_default().into()
    }
}

/// No body.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl<B: Default> RejectionBody<B> for NoBody {
    fn body(&self, _: Option<String>) -> B {
        B::default()
    }
}
