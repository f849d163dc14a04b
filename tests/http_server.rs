//! W2: policies around an axum `Router` and a tonic server, and what their clients get over real sockets.
//!
//! Real sockets run on the real clock: they wait for conditions, with slack.
#![cfg(all(feature = "http", feature = "tower"))]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

use std::{
    convert::Infallible,
    future::{Future, Ready, pending, ready},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::{Router, body::Body, routing::get};
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::MapErrLayer};
use withstand::{
    Bulkhead, CircuitBreaker, CircuitOpen, Error, Keyed, Pipeline, Rejected, RetryWithBackoff, Timeout, by_status,
    http::{self, dependency_rejection_response, server},
};

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

const SHORT: Duration = Duration::from_millis(50);

/// Routes that answer at once, never, and as they are told.
fn routes() -> Router {
    Router::new().route("/quick", get(async || "quick")).route("/hangs", get(pending::<()>)).route(
        "/upstream",
        get(async || {
            let rejected = Rejected::from(CircuitOpen::new("upstream", Some(Duration::from_millis(1500))));
            dependency_rejection_response::<Body>(&rejected)
        }),
    )
}

/// Every policy that a server may have, alone and beside the others, with axum's `Router` as it is: without an error.
#[test]
fn w2_a_router_stays_infallible_under_each_policy() {
    let bulkhead = Bulkhead::new("server", 4);
    let timeout = Timeout::new(SHORT);
    let breaker = CircuitBreaker::new("server").classify(by_status(Response::<Body>::status));

    let _: Router = routes().layer(server(bulkhead.layer()));
    let _: Router = routes().layer(server(timeout.layer()));
    let _: Router = routes().layer(server(breaker.layer()));
    let _: Router = routes().route_layer(server(bulkhead.layer()));
    let _: Router = Router::new().route("/", get(async || "one route").layer(server(timeout.layer())));
    let all = ServiceBuilder::new().layer(bulkhead.layer()).layer(breaker.layer()).layer(timeout.layer());
    let _: Router = routes().layer(server(all.clone()));
    let beside = ServiceBuilder::new().concurrency_limit(9).layer(server(all)).map_request(|request| request);
    let _: Router = routes().layer(beside);
}

/// A pipeline sends a server's requests once: they cannot be copied.
#[tokio::test]
async fn w2_a_pipeline_around_a_router() {
    let pipeline = Pipeline::builder("server")
        .timeout(SHORT)
        .bulkhead(Bulkhead::new("server", 1))
        .circuit_breaker(CircuitBreaker::new("server"))
        .classify(by_status(Response::<Body>::status))
        .build()
        .unwrap();
    let ask = serve(routes().layer(server(pipeline.layer().send_once()))).await;
    assert_eq!(ask(Method::GET, "/hangs").await.status, StatusCode::GATEWAY_TIMEOUT);
    let slot = pipeline.bulkhead().unwrap().try_acquire().unwrap();
    assert_eq!(ask(Method::GET, "/quick").await.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(slot);
    assert_eq!(ask(Method::GET, "/quick").await.body, "quick");
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    fn problem(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{:?} is JSON", self.body))
    }
}

/// Serves the routes on a real socket.
async fn serve(routes: Router) -> impl AsyncFn(Method, &str) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());
    let client = reqwest::Client::new();
    async move |method, path: &str| {
        let request = client.request(method, format!("{url}{path}")).timeout(SLACK).send();
        let response = request.await.expect("the server answers");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }
}

#[tokio::test]
async fn w2_a_full_server_says_503_and_when_to_come_back() {
    let bulkhead = Bulkhead::new("secret", 1);
    let ask = serve(routes().layer(server(bulkhead.layer()))).await;
    let slot = bulkhead.try_acquire().unwrap();
    let rejected = ask(Method::GET, "/quick").await;
    assert_eq!(rejected.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejected.header("retry-after"), Some("1"));
    assert_eq!(rejected.header("cache-control"), Some("no-store"));
    assert_eq!(rejected.header("content-type"), Some("application/problem+json"));
    assert_eq!(rejected.problem()["status"], 503);
    assert_eq!(rejected.problem()["retry_after"], 1);
    assert!(!rejected.body.contains("secret"));

    let head = ask(Method::HEAD, "/quick").await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, ""));

    drop(slot);
    let answer = ask(Method::GET, "/quick").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "quick"));
    assert_eq!(ask(Method::GET, "/nowhere").await.status, StatusCode::NOT_FOUND, "the router's own answer");
}

#[tokio::test]
async fn w2_a_handler_that_takes_too_long_is_504_and_gives_its_slot_back() {
    let bulkhead = Bulkhead::new("server", 1);
    let policies = ServiceBuilder::new().layer(bulkhead.layer()).layer(Timeout::new(SHORT).layer());
    let ask = serve(routes().layer(server(policies))).await;
    let rejected = ask(Method::GET, "/hangs").await;
    assert_eq!(rejected.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(rejected.header("retry-after"), None);
    assert_eq!(rejected.header("cache-control"), Some("no-store"));
    assert_eq!(rejected.problem()["title"], "Gateway Timeout");
    assert_eq!(bulkhead.snapshot().in_flight, 0);
    assert_eq!(ask(Method::GET, "/quick").await.status, StatusCode::OK);
}

#[tokio::test]
async fn w2_an_open_circuit_is_503_until_it_closes() {
    let breaker = CircuitBreaker::new("server").classify(by_status(Response::<Body>::status));
    let ask = serve(routes().layer(server(breaker.layer()))).await;
    breaker.force_open();
    let rejected = ask(Method::GET, "/quick").await;
    assert_eq!((rejected.status, rejected.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, None));
    breaker.reset();
    assert_eq!(ask(Method::GET, "/quick").await.status, StatusCode::OK);
}

#[tokio::test]
async fn w2_a_handler_answers_its_upstreams_rejection_in_the_same_way() {
    let ask = serve(routes()).await;
    let rejected = ask(Method::GET, "/upstream").await;
    assert_eq!((rejected.status, rejected.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("2")));
    assert_eq!(rejected.problem()["retry_after"], 2);
}

/// A tonic server's body is made of no text.
#[tokio::test]
async fn w2_a_grpc_client_gets_a_status_that_it_understands() {
    let bulkhead = Bulkhead::new("server", 1);
    let breaker = CircuitBreaker::new("server").classify(by_status(Response::<tonic::body::Body>::status));
    let policies =
        ServiceBuilder::new().layer(bulkhead.layer()).layer(breaker.layer()).layer(Timeout::new(SHORT).layer());
    let service = service_fn(|_: Request<tonic::body::Body>| pending::<Result<_, Infallible>>());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap().connect_lazy();
    let service = server(policies).without_body().layer(service);
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
    let call = async || -> Status {
        let mut channel = channel.clone();
        let request = Request::post("/stock.Stock/Get").header("content-type", "application/grpc");
        let request = request.body(tonic::body::Body::empty()).unwrap();
        let response = channel.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Status::from_header_map(response.headers()).expect("the head has a status")
    };

    assert_eq!(call().await.code(), Code::DeadlineExceeded);
    let slot = bulkhead.try_acquire().unwrap();
    assert_eq!(call().await.code(), Code::ResourceExhausted);
    drop(slot);
    breaker.force_open();
    let status = call().await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "The service is not available for the moment."));
}

/// As a generated client of tonic sees it, below a `Router` too.
#[tokio::test]
async fn w2_a_grpc_request_to_a_router_is_answered_as_grpc() {
    let bulkhead = Bulkhead::new("server", 0);
    let app: Router = routes().layer(server(bulkhead.layer()));
    let request = Request::post("/quick").header("content-type", "application/grpc+proto").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::ResourceExhausted);
}

/// A service's own error is no rejection, and comes out as it went in.
#[tokio::test]
async fn w2_the_servers_own_error_stays_as_it_is() {
    let failing =
        service_fn(|_: Request<()>| ready(Err::<Response<String>, _>(io::Error::from(io::ErrorKind::NotFound))));
    let guarded = server(Timeout::new(SHORT).layer()).layer(failing);
    let error: io::Error = guarded.oneshot(Request::new(())).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Rejects in `poll_ready`, as a layer of someone else's may.
#[derive(Clone)]
struct Unready(Arc<AtomicUsize>);

impl Service<Request<()>> for Unready {
    type Response = Response<String>;
    type Error = Error<Infallible>;
    type Future = Ready<Result<Response<String>, Error<Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Err(Error::Rejected(CircuitOpen::new("early", None).into())))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        self.0.fetch_add(1, SeqCst);
        ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn w2_a_rejection_in_place_of_readiness_is_the_next_answer() {
    let called = Arc::new(AtomicUsize::new(0));
    let unready = Unready(called.clone());
    let mut guarded = server(tower::layer::layer_fn(move |_| unready.clone())).layer(());
    for _ in 0..2 {
        let response = guarded.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(called.load(SeqCst), 0, "it was not ready");
}

/// A server answers a request once.
#[test]
fn w2_a_retry_inside_is_refused_when_the_stack_is_built() {
    let copy = |_: &Request<Body>| None;
    let retry = RetryWithBackoff::new("again").classify(by_status(Response::<Body>::status));
    let layer = retry.layer().clone_request_fn(copy);
    let build = |build: &dyn Fn() -> Router| {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(build));
        caught.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    };
    let bulkhead = Bulkhead::new("server", 1).layer();
    let alone = build(&|| routes().layer(server(layer.clone())));
    let nested = build(&|| routes().layer(server(ServiceBuilder::new().layer(bulkhead.clone()).layer(layer.clone()))));
    let pipeline = Pipeline::builder("server").retry(RetryWithBackoff::new("again"));
    let pipeline = pipeline.classify(by_status(Response::<Body>::status)).build().unwrap().layer();
    let in_a_pipeline = build(&|| routes().layer(server(pipeline.clone().clone_request_fn(copy))));
    assert!(build(&|| routes().layer(server(pipeline.clone().send_once()))).is_ok(), "it sends none again");
    for refused in [alone, nested, in_a_pipeline] {
        let sentence = refused.expect_err("it is refused");
        assert!(sentence.starts_with("the retry `again` is inside `withstand::http::server(..)`"), "{sentence}");
    }
    // Whatever the factory makes: a policy is made when its key comes, and then it is too late.
    let retries =
        Keyed::builder(|_: &u64, name| RetryWithBackoff::new(name).classify(by_status(Response::<Body>::status)));
    let retries = retries.named("hosts").build().unwrap().layer_fn(|_: &Request<Body>| 7);
    let pipelines = Keyed::builder(|_: &u64, name| {
        Pipeline::builder(name).classify(by_status(Response::<Body>::status)).build().unwrap()
    });
    let pipelines = pipelines.build().unwrap().layer_fn(|_: &Request<Body>| 7);
    let keyed = build(&|| routes().layer(server(retries.clone().clone_request_fn(copy))));
    let sentence = keyed.expect_err("it is refused");
    assert!(sentence.starts_with("the keyed retry `hosts` is inside"), "{sentence}");
    let keyed = build(&|| routes().layer(server(pipelines.clone().clone_request_fn(copy))));
    let sentence = keyed.expect_err("it is refused");
    assert!(sentence.starts_with("the keyed pipeline `unnamed` is inside"), "{sentence}");
    assert!(build(&|| routes().layer(server(retries.clone().send_once()))).is_ok(), "it sends none again");
    assert!(build(&|| routes().layer(server(pipelines.clone().send_once()))).is_ok(), "it sends none again");
    let bulkheads = Keyed::builder(|_: &u64, name| Bulkhead::new(name, 1)).build().unwrap();
    let bulkheads = bulkheads.layer_fn(|_: &Request<Body>| 7);
    assert!(build(&|| routes().layer(server(bulkheads.clone()))).is_ok(), "it can send none again");
    // What was refused leaves nothing behind: outside of a server a retry is welcome.
    let lift = ServiceBuilder::new().layer(MapErrLayer::new(|error: Error<Infallible>| match error {
        Error::Rejected(rejected) => unreachable!("a retry makes none: {rejected}"),
        Error::Inner(never) => never,
    }));
    let outside = build(&|| routes().layer(lift.clone().layer(layer.clone()).layer(withstand::LiftLayer)));
    assert!(outside.is_ok());
}

/// `call` itself decides, as without the server.
#[tokio::test]
async fn w2_a_slot_is_taken_in_the_call() {
    let bulkhead = Bulkhead::new("server", 1);
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<String>, Infallible>>());
    let mut guarded = server(bulkhead.layer()).layer(hangs);
    let call = guarded.ready().await.unwrap().call(Request::new(()));
    assert_eq!(bulkhead.snapshot().in_flight, 1);
    drop(call);
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

#[test]
fn the_services_and_futures_can_be_sent_and_shared() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug>(_: &T) {}
    fn is_send<T: Send>(_: &T) {}
    let layer = server(ServiceBuilder::new().layer(Bulkhead::new("server", 1).layer()));
    check(&layer);
    let mut service = server(Timeout::new(SHORT).layer())
        .layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    is_send(&service);
    let future: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(service.call(Request::new(())));
    is_send(&future);
    let key = http::idempotency_key();
    assert!(!key.is_sensitive(), "it is not a secret");
}
