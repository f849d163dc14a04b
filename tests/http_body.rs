//! W3: a slot that is held until the body of a response ends.
#![cfg(all(feature = "http-body", feature = "tower"))]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

use std::{
    cell::Cell,
    convert::Infallible,
    future::{pending, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{Request, Response, StatusCode};
use axum::{Router, routing::get};
use futures::{FutureExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use withstand::{Bulkhead, CarriesRejected, Error, LiftLayer, Rejected, Timeout, bulkhead::HoldBody, http::server};

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

type Frames = Vec<Result<Frame<Bytes>, &'static str>>;

fn text(text: &'static str) -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn streamed(frames: Frames) -> StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, &'static str>>>> {
    StreamBody::new(stream::iter(frames))
}

fn in_flight(bulkhead: &Bulkhead) -> usize {
    bulkhead.snapshot().in_flight
}

/// The answer of a service with this body, behind a bulkhead with one slot.
async fn answered<B: Body>(body: B) -> (Bulkhead, HoldBody<B>) {
    let bulkhead = Bulkhead::new("bodies", 1);
    let body = Rc::new(Cell::new(Some(body)));
    let service = service_fn(move |()| ready(Ok::<_, Infallible>(Response::new(body.take().expect("called once")))));
    let layers = ServiceBuilder::new().layer(bulkhead.layer().hold_until_body_ends()).layer(LiftLayer);
    let response = layers.service(service).oneshot(()).await.unwrap();
    (bulkhead, response.into_body())
}

#[tokio::test]
async fn w3_a_slot_is_held_until_the_body_has_ended_though_the_body_is_kept() {
    let (bulkhead, mut body) = answered(streamed(vec![text("a "), text("user")])).await;
    let mut read = String::new();
    while let Some(frame) = body.frame().await {
        assert_eq!(in_flight(&bulkhead), 1, "after {read:?}");
        let rejected = bulkhead.try_acquire().unwrap_err();
        assert!(matches!(rejected, Rejected::BulkheadFull(_)));
        read += std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap();
    }
    assert_eq!((read.as_str(), in_flight(&bulkhead)), ("a user", 0));
    drop(body);
    assert_eq!(in_flight(&bulkhead), 0, "it is given back once");
}

/// Whoever knows that a body has ended does not ask it again: hyper, for example.
#[tokio::test]
async fn w3_a_slot_returns_with_the_last_frame_where_the_body_says_that_it_is_the_last() {
    let (bulkhead, mut body) = answered(Full::new(Bytes::from_static(b"whole"))).await;
    assert_eq!((in_flight(&bulkhead), body.size_hint().exact()), (1, Some(5)));
    assert!(!body.is_end_stream());
    assert!(body.frame().await.is_some());
    assert!(body.is_end_stream());
    assert_eq!(in_flight(&bulkhead), 0);
    let (bulkhead, _body) = answered(Empty::<Bytes>::new()).await;
    assert_eq!(in_flight(&bulkhead), 0, "there is nothing to wait for");
}

#[tokio::test]
async fn w3_a_body_that_fails_or_is_dropped_gives_its_slot_back() {
    let (bulkhead, mut body) = answered(streamed(vec![text("a "), Err("broken"), text("user")])).await;
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(in_flight(&bulkhead), 1);
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "broken");
    assert_eq!(in_flight(&bulkhead), 0);

    let (bulkhead, mut body) = answered(streamed(vec![text("a "), text("user")])).await;
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(in_flight(&bulkhead), 0);
}

/// Looks at the bulkhead when it is dropped.
struct Watching(Bulkhead, Rc<Cell<Option<usize>>>);

impl Body for Watching {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.1.set(Some(in_flight(&self.0)));
    }
}

#[test]
fn w3_the_body_is_dropped_before_its_slot_returns() {
    let (bulkhead, seen) = (Bulkhead::new("bodies", 1), Rc::new(Cell::new(None)));
    let permit = bulkhead.try_acquire().unwrap();
    let mut body = HoldBody::new(Watching(bulkhead.clone(), seen.clone()), permit);
    assert!(body.frame().now_or_never().is_none(), "it is pending");
    assert_eq!(in_flight(&bulkhead), 1);
    drop(body);
    assert_eq!((seen.get(), in_flight(&bulkhead)), (Some(1), 0));
}

#[tokio::test(start_paused = true)]
async fn w3_a_call_is_rejected_queued_and_dropped_as_without_it() {
    let bulkhead = Bulkhead::builder("bodies", 1).queue(1, Duration::from_secs(1)).build().unwrap();
    let service = service_fn(|hangs: bool| async move {
        if hangs { pending().await } else { Ok::<_, Infallible>(Response::new(streamed(vec![text("a user")]))) }
    });
    let layers = ServiceBuilder::new().layer(bulkhead.layer().hold_until_body_ends()).layer(LiftLayer);
    let mut service = layers.service(service);

    let first = service.ready().await.unwrap().call(false);
    assert_eq!(in_flight(&bulkhead), 1, "the slot is taken in the call");
    let mut queued = Box::pin(service.ready().await.unwrap().call(false));
    assert_eq!(bulkhead.snapshot().queued, 1);
    let error = service.ready().await.unwrap().call(false).await.unwrap_err();
    assert!(matches!(error.as_rejected(), Some(Rejected::BulkheadFull(_))));

    let body = first.await.unwrap().into_body();
    assert!(futures::poll!(queued.as_mut()).is_pending(), "the body has the slot");
    drop(body);
    let body = queued.await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "a user");
    assert_eq!(in_flight(&bulkhead), 0);

    let mut hangs = Box::pin(service.ready().await.unwrap().call(true));
    assert!(futures::poll!(hangs.as_mut()).is_pending());
    assert_eq!(in_flight(&bulkhead), 1);
    drop(hangs);
    assert_eq!(in_flight(&bulkhead), 0);

    let _running = service.ready().await.unwrap().call(true);
    let error = service.ready().await.unwrap().call(false).await.unwrap_err();
    let Error::Rejected(Rejected::BulkheadFull(full)) = error else { panic!("{error:?}") };
    assert_eq!(full.waited(), Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn w3_an_error_gives_the_slot_back() {
    let bulkhead = Bulkhead::new("bodies", 1);
    let fails = service_fn(|()| ready(Err::<Response<Empty<Bytes>>, _>("bad")));
    let layers = ServiceBuilder::new().layer(bulkhead.layer().hold_until_body_ends()).layer(LiftLayer);
    assert_eq!(layers.service(fails).oneshot(()).await.err(), Some(Error::Inner("bad")));
    assert_eq!(in_flight(&bulkhead), 0);
}

/// A client that reads slowly keeps its slot; the next one is told to come back. Over real sockets.
#[tokio::test]
async fn w3_a_server_counts_a_response_until_it_is_read() {
    let bulkhead = Bulkhead::new("bodies", 1);
    let (more, pieces) = futures::channel::mpsc::unbounded::<Result<&str, Infallible>>();
    let pieces = std::sync::Mutex::new(Some(pieces));
    let stream = move || ready(axum::body::Body::from_stream(pieces.lock().unwrap().take().expect("asked once")));
    let pieces = std::sync::Arc::new(stream);
    let routes = Router::new().route("/stream", get(move || pieces())).route("/quick", get(async || "quick"));
    let policies =
        ServiceBuilder::new().layer(bulkhead.layer().hold_until_body_ends()).layer(Timeout::new(SLACK).layer());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes.layer(server(policies))).into_future());

    let client = reqwest::Client::builder().timeout(SLACK).build().unwrap();
    let get = async |path: &str| client.get(format!("{url}{path}")).send().await.unwrap();
    more.unbounded_send(Ok("a ")).unwrap();
    let streaming = get("/stream").await;
    assert_eq!(streaming.status(), StatusCode::OK);
    let rejected = get("/quick").await;
    assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejected.headers()["retry-after"], "1");
    assert!(rejected.text().await.unwrap().contains("\"status\":503"));
    more.unbounded_send(Ok("user")).unwrap();
    drop(more);
    assert_eq!(streaming.text().await.unwrap(), "a user");
    // The server drops the body when it has written it, which the client need not see.
    let start = std::time::Instant::now();
    while in_flight(&bulkhead) > 0 {
        assert!(start.elapsed() < SLACK, "the slot never returns");
        tokio::task::yield_now().await;
    }
    assert_eq!(get("/quick").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn w3_a_rejection_has_a_body_without_a_slot() {
    let bulkhead = Bulkhead::new("bodies", 0);
    let service = || service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    let layer = server(bulkhead.layer().hold_until_body_ends());
    let with_text = layer.layer(service()).oneshot(Request::new(())).await.unwrap().into_body();
    assert!(!with_text.collect().await.unwrap().to_bytes().is_empty());
    let without = layer.without_body().layer(service()).oneshot(Request::new(())).await.unwrap().into_body();
    assert!(without.collect().await.unwrap().to_bytes().is_empty());
}
