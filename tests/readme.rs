//! The README's first client, against a real server: what it sends again, how long it waits, and what it counts.
//!
//! Real sockets run on the real clock: one at a time, waiting for conditions, with slack.
#![cfg(all(feature = "http", feature = "serde"))]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

include!("support/readme_client.rs");

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum::{body::Body, extract::Request, http::Method, response::IntoResponse};
use reqwest::{StatusCode, header::RETRY_AFTER};
use tokio::{net::TcpListener, sync::Mutex};
use withstand::{CarriesRejected, circuit_breaker::State};

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

/// The README's file, but for the timeouts: a busy machine may take longer than its client would wait.
const PATIENT: &str = "retry = { max_attempts = 3 }\ncircuit_breaker = {}";

/// Real sockets, one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

#[test]
fn this_is_the_client_of_the_readme_and_this_its_file() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(include_str!("support/readme_client.rs")), "the README has another client");
    let file = include_str!("support/readme_users.toml");
    assert!(readme.contains(file), "the README has another file");
    hosts(file).unwrap();
    let bad = hosts("retry = { max_attempts = 0 }").err().unwrap().to_string();
    assert!(bad.contains("retry.max_attempts"), "{bad}");
}

struct World {
    hosts: Hosts,
    client: Client,
    url: Url,
    /// How many requests the server has got.
    requests: Arc<AtomicUsize>,
}

/// A server whose users answer by their number, and what a client for it needs.
async fn world(file: &str) -> World {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    let app = axum::Router::new().fallback(async move |request: Request| {
        counted.fetch_add(1, SeqCst);
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/users/1") => r#"{"name":"Ada"}"#.into_response(),
            (_, "/users/404") => StatusCode::NOT_FOUND.into_response(),
            (_, "/users/429") => (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response(),
            (_, "/users/stuck") => {
                Body::from_stream(futures::stream::pending::<std::io::Result<String>>()).into_response()
            }
            _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    World { hosts: hosts(file).unwrap(), client: Client::new(), url, requests }
}

impl World {
    async fn get(&self, path: &str) -> Result<Answer, ApiError> {
        get(&self.hosts, &self.client, &self.url.join(path).unwrap()).await
    }

    async fn post(&self, path: &str) -> Result<Answer, ApiError> {
        post(&self.hosts, &self.client, &self.url.join(path).unwrap(), &serde_json::json!({ "name": "Ada" })).await
    }

    fn pipeline(&self) -> BoxPipeline<Answer, ApiError> {
        self.hosts.get(&*authority(self.url.as_str()))
    }

    fn state(&self) -> State {
        self.pipeline().circuit_breaker().unwrap().state()
    }

    /// How many requests the server has got, and how many failures in a row the circuit has counted.
    fn counts(&self) -> (usize, u32) {
        let failures = self.pipeline().circuit_breaker().unwrap().snapshot().counts.consecutive_failures;
        (self.requests.load(SeqCst), failures)
    }
}

#[tokio::test]
async fn a_user_is_an_answer() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    assert_eq!(world.get("/users/1").await.unwrap().body(), r#"{"name":"Ada"}"#);
    assert_eq!(world.counts(), (1, 0));
}

#[tokio::test]
async fn a_retry_after_is_honoured() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    let start = Instant::now();
    assert_eq!(world.get("/users/429").await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    let waits = Duration::from_secs(2)..Duration::from_secs(2) + SLACK;
    assert!(waits.contains(&start.elapsed()), "{:?} for two waits of a second", start.elapsed());
    assert_eq!((world.counts(), world.state()), ((3, 0), State::Closed), "three attempts; the service is well");
}

#[tokio::test]
async fn a_404_is_an_answer_and_a_503_is_a_failure() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    assert_eq!(world.get("/users/404").await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(world.counts(), (1, 0));
    assert_eq!(world.get("/users/503").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.counts(), (4, 3));
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_a_failure_and_is_asked_again() {
    let _alone = ALONE.lock().await;
    let world = World { url: "http://127.0.0.1:1".parse().unwrap(), ..world(PATIENT).await };
    let error = world.get("/users/1").await.err().unwrap();
    assert!(matches!(&error, ApiError::Http(error) if error.is_connect()), "{error:?}");
    assert_eq!(world.counts(), (0, 3));
    // A POST was not sent either, so it may be again.
    let world = World { url: "http://127.0.0.1:1".parse().unwrap(), ..self::world(PATIENT).await };
    assert!(world.post("/users").await.is_err());
    assert_eq!(world.counts(), (0, 3));
}

/// A circuit for each host and port, however they are written.
#[tokio::test]
async fn two_services_of_one_host_have_two_circuits() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    world.pipeline().circuit_breaker().unwrap().force_open();
    assert!(world.get("/users/1").await.is_err());
    let other = World { hosts: world.hosts.clone(), ..self::world(PATIENT).await };
    assert!(other.get("/users/1").await.is_ok());
    assert_eq!((world.requests.load(SeqCst), other.requests.load(SeqCst), world.hosts.len()), (0, 1, 2));
}

#[tokio::test]
async fn a_post_that_may_have_had_its_effect_is_sent_once_and_one_that_was_refused_again() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    assert_eq!(world.post("/users/503").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.counts(), (1, 1));
    assert_eq!(world.post("/users/429").await.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(world.counts(), (4, 1));
}

#[tokio::test]
async fn the_timeouts_of_the_file_limit_the_body_too() {
    let _alone = ALONE.lock().await;
    let world = world("attempt_timeout = \"100ms\"\ncircuit_breaker = {}").await;
    let (start, error) = (Instant::now(), world.get("/users/stuck").await.err().unwrap());
    assert!(matches!(error.as_rejected(), Some(Rejected::TimedOut(_))), "{error:?}");
    assert!(start.elapsed() < SLACK);
    assert_eq!(world.counts().1, 1);
}

#[tokio::test]
async fn an_open_circuit_says_so_once_and_is_open_for_one_host_alone() {
    let _alone = ALONE.lock().await;
    let world = world(PATIENT).await;
    world.pipeline().circuit_breaker().unwrap().force_open();
    let error = anyhow::Error::from(world.get("/users/1").await.err().unwrap());
    let port = world.url.port().unwrap();
    assert_eq!(format!("{error:#}"), format!("no answer from the user service: circuit `127.0.0.1:{port}` is open"));
    let by_name = format!("http://localhost:{port}/users/1").parse().unwrap();
    assert!(get(&world.hosts, &world.client, &by_name).await.is_ok());
    assert_eq!(world.requests.load(SeqCst), 1);
}
