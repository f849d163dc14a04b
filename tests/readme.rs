//! The README's first client, against a real server: what it sends again, how long it waits, and what it counts.
//!
//! Real sockets run on the real clock: one at a time, waiting for conditions, with slack.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

include!("support/readme_client.rs");

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use axum::{extract::Request, http::Method, response::IntoResponse};
use tokio::{net::TcpListener, sync::Mutex};
use withstand::circuit_breaker::State;

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

/// Real sockets, one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

#[test]
fn this_is_the_client_of_the_readme() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(include_str!("support/readme_client.rs")), "the README has another client");
}

/// A server whose users answer by their number, the client for it, and how many requests the server has got.
async fn world() -> (Users, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let app = axum::Router::new().fallback(async move |request: Request| {
        counted.fetch_add(1, SeqCst);
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/users/1") => r#"{"name":"Ada"}"#.into_response(),
            (&Method::GET, "/users/429") => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response(),
            (&Method::GET, "/users/2") => "not a user".into_response(),
            (_, "/users/404") => StatusCode::NOT_FOUND.into_response(),
            _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    // The one thing that differs: a busy machine may take longer than the client would wait.
    let timeout = Timeout::new(2 * SLACK);
    (Users { timeout, ..Users::new(Client::new(), &url) }, requests)
}

impl Users {
    /// How many failures in a row the circuit has counted.
    fn failures(&self) -> u64 {
        u64::from(self.breaker.snapshot().counts.consecutive_failures)
    }

    /// Whether the retry has spent nothing: no other attempt followed.
    fn has_not_retried(&self) -> bool {
        self.retry.budget().unwrap().available() >= 10.0
    }
}

#[tokio::test]
async fn a_user_is_an_answer() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    assert_eq!(users.get(1).await.unwrap().name, "Ada");
    assert_eq!((requests.load(SeqCst), users.failures()), (1, 0));
}

#[tokio::test]
async fn a_retry_after_is_honoured() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    let start = Instant::now();
    let error = users.get(429).await.unwrap_err();
    assert!(matches!(error, ApiError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. }), "{error:?}");
    assert_eq!(requests.load(SeqCst), 3, "three attempts");
    let waits = Duration::from_secs(2)..Duration::from_secs(2) + SLACK;
    assert!(waits.contains(&start.elapsed()), "{:?} for two waits of a second", start.elapsed());
    assert_eq!((users.failures(), users.breaker.state()), (0, State::Closed), "the service is well");
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_not_sent_again_and_not_counted() {
    let _alone = ALONE.lock().await;
    let users = Users::new(Client::new(), "not a url");
    let error = users.get(1).await.unwrap_err();
    assert!(matches!(&error, ApiError::Http(error) if error.is_builder()), "{error:?}");
    assert!(users.has_not_retried());
    assert_eq!(users.failures(), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_decode_is_not_asked_for_again_and_not_counted() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    let error = users.get(2).await.unwrap_err();
    assert!(matches!(error, ApiError::Decode(_)), "{error:?}");
    assert_eq!((requests.load(SeqCst), users.failures()), (1, 0));
    assert!(users.has_not_retried());
}

#[tokio::test]
async fn a_404_is_an_answer_and_a_503_is_a_failure() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    users.get(404).await.unwrap_err();
    assert_eq!((requests.load(SeqCst), users.failures()), (1, 0));
    users.get(503).await.unwrap_err();
    assert_eq!((requests.load(SeqCst), users.failures()), (4, 3));
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_a_failure_and_is_asked_again() {
    let _alone = ALONE.lock().await;
    let users = Users::new(Client::new(), "http://127.0.0.1:1");
    let error = users.get(1).await.unwrap_err();
    assert!(matches!(&error, ApiError::Http(error) if error.is_connect()), "{error:?}");
    assert_eq!(users.failures(), 3);
    assert!(!users.has_not_retried());
}

#[tokio::test]
async fn a_post_is_sent_once() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    users.create(&User { name: "Ada".into() }).await.unwrap_err();
    assert_eq!((requests.load(SeqCst), users.failures()), (1, 1));
}

#[tokio::test]
async fn an_open_circuit_says_so_once() {
    let _alone = ALONE.lock().await;
    let (users, requests) = world().await;
    users.breaker.force_open();
    let error = anyhow::Error::from(users.get(1).await.unwrap_err());
    assert_eq!(format!("{error:#}"), "call rejected: circuit `users` is open");
    assert_eq!(requests.load(SeqCst), 0);
}
