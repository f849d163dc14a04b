//! A slot that is held until the body of a response ends.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{acquire::BulkheadAcquire, permit::BulkheadPermit, policy::Bulkhead, tower::BulkheadLayer};
use crate::{
    carry::CarriesRejected,
    operation::{Operation, SendRequest, SendRequestFuture},
};

impl BulkheadLayer {
    /// Holds each slot until the body of the response has ended, or was dropped. Needs the feature `http-body`.
    ///
    /// Without it a call is over when the head of its response is there: then a server that streams, or a client whose
    /// answers are long, has more requests at work than `max_concurrent`.
    ///
    /// **A body that nobody reads, and nobody drops, keeps its slot.** On a server, a client that reads slowly does so:
    /// let the server's connection time out.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use withstand::{Bulkhead, http::server};
    ///
    /// let downloads = Bulkhead::new("downloads", 64).layer().hold_until_body_ends();
    /// let app: Router = Router::new().route("/", get(async || "a long text")).layer(server(downloads));
    /// ```
    ///
    /// The plain form is [`acquire`](Bulkhead::acquire) and [`HoldBody::new`].
    pub fn hold_until_body_ends(self) -> HoldLayer {
        HoldLayer { bulkhead: self.bulkhead }
    }
}

/// Lets only so many responses be at work at once, their bodies included; see
/// [`hold_until_body_ends`](BulkheadLayer::hold_until_body_ends).
#[derive(Clone, Debug)]
pub struct HoldLayer {
    bulkhead: Bulkhead,
}

impl<S> Layer<S> for HoldLayer {
    type Service = HoldService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HoldService { inner, bulkhead: self.bulkhead.clone() }
    }
}

/// A service of which only so many responses are at work at once, their bodies included.
///
/// It is always ready. Each call readies a clone of the inner service once the call has its slot.
#[derive(Clone, Debug)]
pub struct HoldService<S> {
    inner: S,
    bulkhead: Bulkhead,
}

impl<S, R, B> Service<R> for HoldService<S>
where
    S: Service<R, Response = Response<B>> + Clone,
    S::Error: CarriesRejected,
    B: Body,
{
    type Response = Response<HoldBody<B>>;
    type Error = S::Error;
    type Future = HoldFuture<S, R, S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let operation = Some(SendRequest { service: self.inner.clone(), request });
        HoldFuture { state: State::Acquiring { operation, acquire: self.bulkhead.acquire() } }
    }
}

pin_project! {
    /// A call whose slot goes with the body of its response.
    #[must_use = "the call has begun already, and dropping it cancels it"]
    pub struct HoldFuture<S, R, F> {
        #[pin]
        state: State<S, R, F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, R, F> {
        // In this order: what is called is dropped before its slot is given back.
        Acquiring { operation: Option<SendRequest<S, R>>, #[pin] acquire: BulkheadAcquire },
        Running { #[pin] response: SendRequestFuture<S, R, F>, permit: Option<BulkheadPermit> },
        Done,
    }
}

impl<S, R, F, B, E> Future for HoldFuture<S, R, F>
where
    S: Service<R, Response = Response<B>, Error = E, Future = F>,
    F: Future<Output = Result<Response<B>, E>>,
    E: CarriesRejected,
    B: Body,
{
    type Output = Result<Response<HoldBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Acquiring { operation, acquire } => match ready!(acquire.poll(cx)) {
                    Ok(permit) => {
                        let operation = operation.take().expect("it is started once");
                        State::Running { response: operation.start(), permit: Some(permit) }
                    }
                    Err(rejected) => {
                        state.set(State::Done);
                        return Poll::Ready(Err(E::from_rejected(rejected)));
                    }
                },
                StateProjection::Running { response, permit } => {
                    let result = ready!(response.poll(cx));
                    let permit = permit.take();
                    // The operation is dropped before its slot goes on.
                    state.set(State::Done);
                    return Poll::Ready(result.map(|response| response.map(|body| HoldBody::holding(body, permit))));
                }
                StateProjection::Done => panic!("polled after it was done"),
            };
            state.set(next);
        }
    }
}

impl<S, R, F> fmt::Debug for HoldFuture<S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body with a slot, which it gives back when it ends, fails, or is dropped.
    pub struct HoldBody<B> {
        // In this order: the body is dropped before its slot is given back.
        #[pin]
        body: B,
        permit: Option<BulkheadPermit>,
    }
}

impl<B: Body> HoldBody<B> {
    /// Holds the slot until this body ends.
    pub fn new(body: B, permit: BulkheadPermit) -> Self {
        Self::holding(body, Some(permit))
    }

    /// A body that has ended already holds nothing.
    fn holding(body: B, permit: Option<BulkheadPermit>) -> Self {
        let permit = permit.filter(|_| !body.is_end_stream());
        Self { body, permit }
    }
}

impl<B: Body> Body for HoldBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        let is_over = !matches!(frame, Some(Ok(_))) || this.body.is_end_stream();
        if is_over {
            // Whoever reads may keep a body that has ended.
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body without a slot: for the answer to a rejection.
impl<B: From<String>> From<String> for HoldBody<B> {
    fn from(text: String) -> Self {
        Self { body: text.into(), permit: None }
    }
}

/// A body without a slot: for the answer to a rejection.
impl<B: Default> Default for HoldBody<B> {
    fn default() -> Self {
        Self { body: B::default(), permit: None }
    }
}

impl<B> fmt::Debug for HoldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldBody").field("permit", &self.permit).finish_non_exhaustive()
    }
}
