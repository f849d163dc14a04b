//! W1: a retry around HTTP clients (reqwest's and hyper's), and servers that refuse, throttle and break off.
//!
//! Real sockets run on the real clock: they wait for conditions, with slack.
#![cfg(all(feature = "http", feature = "tower"))]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

mod support;

use std::{
    collections::HashSet,
    fmt,
    future::ready,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ::http::{HeaderMap, Method, Request, Response, StatusCode};
use axum::{Router, extract::State};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::{client::legacy, rt::TokioExecutor};
use support::Log;
use tokio::{io::AsyncReadExt, net::TcpListener};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use withstand::{
    Error, LiftLayer, Pipeline, RetryBuilder, RetryEvent, RetryWithBackoff, Verdict,
    http::{ByResponse, IdempotencyKeyLayer, Idempotent, by_headers, by_response, idempotency_key},
    lift,
    retry::{Constant, GaveUp},
};

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

/// Three attempts, soon after each other.
fn soon() -> RetryBuilder<withstand::ByError> {
    RetryWithBackoff::builder("users").backoff(Constant::new(Duration::from_millis(20)))
}

type ReqwestJudge = ByResponse<reqwest::Response, reqwest::Error>;

fn by_reqwest() -> ReqwestJudge {
    by_headers(reqwest::Response::status, reqwest::Response::headers)
        .errors_if(reqwest::Error::is_connect, Verdict::Unreached)
}

fn reqwest_rule() -> Idempotent<reqwest::Request> {
    Idempotent::of(reqwest::Request::try_clone, reqwest::Request::method, reqwest::Request::headers)
}

/// How the server answers its requests, one after the other; the last one over and over.
type Script = &'static [(u16, &'static [(&'static str, &'static str)])];

/// What the server was asked.
#[derive(Clone)]
struct Seen(Arc<Mutex<Vec<(Method, HeaderMap, Bytes)>>>, Script);

impl Seen {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn keys(&self) -> Vec<Option<String>> {
        let requests = self.0.lock().unwrap();
        let key = |headers: &HeaderMap| Some(headers.get("idempotency-key")?.to_str().unwrap().to_owned());
        requests.iter().map(|(_, headers, _)| key(headers)).collect()
    }
}

async fn answer(State(seen): State<Seen>, request: axum::extract::Request) -> Response<String> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let number = {
        let mut requests = seen.0.lock().unwrap();
        requests.push((head.method, head.headers, body));
        requests.len()
    };
    let (status, headers) = seen.1[(number - 1).min(seen.1.len() - 1)];
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(format!("answer {number}")).unwrap()
}

async fn serve_on(listener: TcpListener, script: Script) -> Seen {
    let seen = Seen(Arc::default(), script);
    tokio::spawn(axum::serve(listener, Router::new().fallback(answer).with_state(seen.clone())).into_future());
    seen
}

async fn serve(script: Script) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/users", listener.local_addr().unwrap());
    (url, serve_on(listener, script).await)
}

/// A server that is started by the first attempt that fails.
fn starts_late(address: SocketAddr) -> (impl Fn(&RetryEvent) + Send + Sync, Arc<Mutex<Option<Seen>>>) {
    let started = Arc::new(Mutex::new(None));
    let slot = started.clone();
    let listener = move |event: &RetryEvent| {
        let RetryEvent::Retrying { verdict: Verdict::Unreached, .. } = event else { panic!("{event:?}") };
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let serving = serve_on(TcpListener::from_std(listener).unwrap(), &[(201, &[])]);
        *slot.lock().unwrap() = serving.now_or_never();
    };
    (listener, started)
}

/// A port at which nobody listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

type ReqwestService = tower::util::BoxCloneSyncService<reqwest::Request, reqwest::Response, Error<reqwest::Error>>;

/// A retry around reqwest, as a layer.
fn through<K>(retry: &RetryWithBackoff<ReqwestJudge>, rule: K) -> ReqwestService
where
    K: withstand::CloneRequest<reqwest::Request> + Clone + Send + Sync + 'static,
{
    let client = reqwest::Client::builder().timeout(SLACK).build().unwrap();
    let retry = retry.layer().clone_request_by(rule);
    ReqwestService::new(ServiceBuilder::new().layer(retry).layer(LiftLayer).service(client))
}

fn request(method: Method, url: &str) -> reqwest::Request {
    reqwest::Client::new().request(method, url).body("a user").build().unwrap()
}

#[tokio::test]
async fn w1_a_post_to_a_refused_port_is_sent_again() {
    let address = closed_port().await;
    let (listener, server) = starts_late(address);
    let retry = soon().listener_fn(listener).build().unwrap().classify(by_reqwest());
    let response = through(&retry, reqwest_rule()).oneshot(request(Method::POST, &format!("http://{address}"))).await;
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);
    let seen = server.lock().unwrap().take().expect("it was started");
    let [(method, _, body)] = &seen.0.lock().unwrap()[..] else { panic!("it was sent once") };
    assert_eq!((method, &body[..]), (&Method::POST, &b"a user"[..]), "whole");
}

#[tokio::test]
async fn w1_a_plain_call_that_is_not_idempotent_is_sent_again_to_a_refused_port() {
    let address = closed_port().await;
    let (listener, server) = starts_late(address);
    let retry = soon().listener_fn(listener).build().unwrap().classify(by_reqwest()).not_idempotent();
    let client = reqwest::Client::new();
    let response = retry.call(|| lift(client.post(format!("http://{address}")).body("a user").send())).await;
    assert_eq!(response.unwrap().status(), StatusCode::CREATED);
    assert_eq!(server.lock().unwrap().take().map(|seen| seen.count()), Some(1));
}

#[tokio::test]
async fn w1_hypers_client_sends_a_post_to_a_refused_port_again() {
    let address = closed_port().await;
    let (listener, server) = starts_late(address);
    let judge = by_response::<Incoming>().errors_if(legacy::Error::is_connect, Verdict::Unreached);
    let retry = soon().listener_fn(listener).build().unwrap().classify(judge);
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let retry = retry.layer().clone_request_by(Idempotent::new());
    let client = ServiceBuilder::new().layer(retry).layer(LiftLayer).service(client);
    let request = Request::post(format!("http://{address}")).body(Full::from("a user")).unwrap();
    assert_eq!(client.oneshot(request).await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(server.lock().unwrap().take().map(|seen| seen.count()), Some(1));
}

/// Reads a request, and breaks the connection off: it may have had its effect.
async fn breaks_off() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 1024];
            if stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                *counted.lock().unwrap() += 1;
            }
        }
    });
    (url, requests)
}

#[tokio::test]
async fn w1_what_may_have_had_an_effect_is_sent_again_by_its_method() {
    let (url, requests) = breaks_off().await;
    let log = Log::new();
    let retry = soon().no_budget().listener_fn(log.listener()).build().unwrap().classify(by_reqwest());
    for (method, rule, attempts) in [
        (Method::POST, reqwest_rule(), 1),
        (Method::PUT, reqwest_rule(), 3),
        (Method::PUT, reqwest_rule().safe_only(), 1),
        (Method::POST, reqwest_rule().also(Method::POST), 3),
        (Method::GET, reqwest_rule().safe_only(), 3),
    ] {
        *requests.lock().unwrap() = 0;
        let answer = through(&retry, rule.clone()).oneshot(request(method.clone(), &url)).await;
        assert!(answer.is_err(), "it breaks off");
        assert_eq!(*requests.lock().unwrap(), attempts, "{method} {rule:?}");
        let why = if attempts == 1 { GaveUp::NotRepeatable } else { GaveUp::AttemptsSpent };
        assert!(matches!(log.take().pop(), Some(RetryEvent::GaveUp { reason, .. }) if reason == why), "{method}");
    }
    // A pipeline, by the same rule.
    let pipeline = Pipeline::builder("users").retry(soon().no_budget().build().unwrap()).classify(by_reqwest());
    let pipeline = pipeline.build().unwrap();
    let client = || ServiceBuilder::new().layer(LiftLayer).service(reqwest::Client::new());
    for (method, attempts) in [(Method::POST, 1), (Method::PUT, 3)] {
        *requests.lock().unwrap() = 0;
        let service = pipeline.layer().clone_request_by(reqwest_rule()).layer(client());
        assert!(service.oneshot(request(method.clone(), &url)).await.is_err());
        assert_eq!(*requests.lock().unwrap(), attempts, "{method} through a pipeline");
    }
    *requests.lock().unwrap() = 0;
    let client = reqwest::Client::new();
    let send = || lift(client.post(&url).body("a user").send());
    assert!(pipeline.not_idempotent().call(send).await.is_err());
    assert!(pipeline.not_idempotent().boxed().call(send).await.is_err());
    assert_eq!(*requests.lock().unwrap(), 2, "in a pipeline's plain form");
    *requests.lock().unwrap() = 0;
    assert!(retry.not_idempotent().call(|| lift(client.post(&url).body("a user").send())).await.is_err());
    assert_eq!(*requests.lock().unwrap(), 1, "in the plain form too");
}

#[tokio::test]
async fn w1_a_throttled_post_is_sent_again_when_the_server_wants_it() {
    let (url, seen) = serve(&[(429, &[("retry-after", "1")]), (201, &[])]).await;
    let log = Log::new();
    let retry = soon().listener_fn(log.listener()).build().unwrap().classify(by_reqwest());
    let start = Instant::now();
    let response = through(&retry, reqwest_rule()).oneshot(request(Method::POST, &url)).await.unwrap();
    assert_eq!((response.status(), seen.count()), (StatusCode::CREATED, 2));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let events = log.take();
    let [RetryEvent::Retrying { verdict, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(verdict, Verdict::Throttled { retry_after: Some(Duration::from_secs(1)) });
}

#[tokio::test]
async fn w1_a_wait_above_the_cap_ends_the_call_at_once() {
    let cases: [Script; 3] = [
        &[(503, &[("retry-after", "1000000000000000000000000000000")])],
        &[(429, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "99999999999999999999999999")])],
        &[(403, &[("ratelimit", "\"a\";r=0;t=86400")])],
    ];
    for script in cases {
        let (url, seen) = serve(script).await;
        let log = Log::new();
        let retry = soon().listener_fn(log.listener()).build().unwrap().classify(by_reqwest());
        let answer = through(&retry, reqwest_rule()).oneshot(request(Method::GET, &url)).await.unwrap();
        assert_eq!((answer.status().as_u16(), seen.count()), (script[0].0, 1));
        assert!(matches!(log.take()[..], [RetryEvent::GaveUp { reason: GaveUp::RetryAfterTooLong, .. }]));
    }
}

#[tokio::test]
async fn w1_a_status_that_nobody_knows_is_an_answer() {
    let (url, seen) = serve(&[(999, &[("retry-after", "soon")])]).await;
    let retry = soon().build().unwrap().classify(by_reqwest());
    let answer = through(&retry, reqwest_rule()).oneshot(request(Method::GET, &url)).await.unwrap();
    assert_eq!((answer.status().as_u16(), seen.count()), (999, 1));
}

#[tokio::test]
async fn w1_a_body_that_cannot_be_copied_is_sent_once_and_the_event_says_so() {
    let address = closed_port().await;
    let (url, seen) = serve(&[(503, &[])]).await;
    for (url, count) in [(url, 1), (format!("http://{address}"), 1)] {
        let log = Log::new();
        let retry = soon().listener_fn(log.listener()).build().unwrap().classify(by_reqwest());
        let mut request = request(Method::PUT, &url);
        let pieces = stream::iter(["a ", "user"]).map(Ok::<_, std::io::Error>);
        *request.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
        let _ = through(&retry, reqwest_rule()).oneshot(request).await;
        let events = log.take();
        assert!(
            matches!(events[..], [RetryEvent::GaveUp { attempts: 1, reason: GaveUp::NotRepeatable, .. }]),
            "{events:?}"
        );
        assert_eq!(seen.count(), count);
    }
}

#[tokio::test]
async fn w1_all_attempts_of_a_call_have_one_key_and_each_call_its_own() {
    let (url, seen) = serve(&[(503, &[]), (503, &[]), (201, &[]), (503, &[]), (201, &[])]).await;
    let retry = soon().no_budget().build().unwrap().classify(by_reqwest());
    let keys = IdempotencyKeyLayer::of(reqwest::Request::method, reqwest::Request::headers_mut);
    let service = keys.layer(through(&retry, reqwest_rule()));
    for _ in 0..2 {
        let answer = service.clone().oneshot(request(Method::POST, &url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "the key lets it be sent again");
    }
    let sent = seen.keys();
    assert_eq!(sent.len(), 5);
    assert!(sent[0].is_some() && sent[..3].iter().all(|key| *key == sent[0]), "{sent:?}");
    assert!(sent[3] != sent[0] && sent[3] == sent[4], "{sent:?}");
}

/// The key's layer around any service: which requests get one.
#[tokio::test]
async fn w1_a_post_or_a_patch_without_a_key_gets_one() {
    let echo = service_fn(|request: Request<()>| ready(Ok::<_, BoxError>(request.headers().clone())));
    let mut service = IdempotencyKeyLayer::new().layer(echo);
    let mut send = async |method: &str, key: Option<&str>| {
        let mut request = Request::builder().method(method);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let headers = service.ready().await.unwrap().call(request.body(()).unwrap()).await.unwrap();
        headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned())
    };
    for method in ["GET", "HEAD", "PUT", "DELETE", "PURGE"] {
        assert_eq!(send(method, None).await, None, "{method}");
    }
    let mut fresh = HashSet::new();
    for method in ["POST", "PATCH", "POST"] {
        assert!(fresh.insert(send(method, None).await.expect("a key")), "{method}");
        assert_eq!(send(method, Some("mine")).await.as_deref(), Some("mine"), "{method}");
    }
    // A map of headers that is full: without a panic.
    let mut full = Request::post("/").body(()).unwrap();
    for number in 0_u32.. {
        let name: ::http::HeaderName = format!("x-{number}").parse().unwrap();
        if full.headers_mut().try_insert(name, number.into()).is_err() {
            break;
        }
    }
    assert_eq!(service.call(full).await.unwrap().get("idempotency-key"), None);
}

#[tokio::test]
async fn w1_in_the_plain_form_a_key_is_made_once_for_each_call() {
    let (url, seen) = serve(&[(503, &[]), (201, &[])]).await;
    let retry = soon().build().unwrap().classify(by_reqwest());
    let client = reqwest::Client::new();
    let key = idempotency_key();
    let answer = retry.call(|| lift(client.post(&url).header("Idempotency-Key", &key).send())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(seen.keys(), vec![Some(key.to_str().unwrap().to_owned()); 2]);
}

/// An inner service of any kind: the request of the crate `http`, copied by its `Clone`.
#[tokio::test(start_paused = true)]
async fn w1_requests_of_the_crate_http_are_copied_with_all_that_they_have() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let seen = sent.clone();
    let fails =
        service_fn(move |request: Request<String>| -> BoxFuture<'static, Result<Response<()>, Error<fmt::Error>>> {
            let extension = request.extensions().get::<u32>().copied();
            seen.lock().unwrap().push((request.uri().to_string(), request.into_body(), extension));
            Box::pin(ready(Err(Error::Inner(fmt::Error))))
        });
    let retry = soon().build().unwrap();
    let service = retry.layer().clone_request_by(Idempotent::new()).layer(fails);
    let request = Request::put("/users/7").extension(7_u32).body("a user".to_owned()).unwrap();
    assert!(service.oneshot(request).await.is_err());
    assert_eq!(*sent.lock().unwrap(), vec![("/users/7".to_owned(), "a user".to_owned(), Some(7)); 3]);
}
