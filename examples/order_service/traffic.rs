//! Steady traffic, and what became of each request.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// So many requests go to each variant in a second: four GETs, then a POST.
pub const PER_SECOND: u64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    Post,
}

/// What the caller of an order service got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it.
    Full,
    /// A GET without the user's details, or a POST told when to come back.
    Degraded,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub kind: Kind,
    pub outcome: Outcome,
    pub status: u16,
    /// Since the story began.
    pub started: Duration,
    pub took: Duration,
}

/// One variant of the order service, as its callers see it.
#[derive(Clone)]
pub struct Variant {
    client: Client,
    url: String,
    /// Calls that went to the user service, answered or not.
    pub calls: Arc<AtomicU64>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Variant {
    pub fn new(client: Client, url: String, calls: Arc<AtomicU64>) -> Self {
        Self { client, url, calls, records: Arc::default() }
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// All that have ended so far, in the order of their ends.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().expect("no panic under it").clone()
    }

    async fn request(&self, number: u64, origin: Instant) {
        let (kind, request) = if number % 5 == 4 {
            let order = json!({ "userId": 2, "products": [{ "name": "Mouse", "price": 25.5, "quantity": 2 }] });
            (Kind::Post, self.client.post(format!("{}/orders", self.url)).json(&order))
        } else {
            (Kind::Get, self.client.get(format!("{}/orders/1", self.url)))
        };
        let started = origin.elapsed();
        let (outcome, status) = judge(kind, request).await;
        let record = Record { kind, outcome, status, started, took: origin.elapsed() - started };
        self.records.lock().expect("no panic under it").push(record);
    }
}

async fn judge(kind: Kind, request: RequestBuilder) -> (Outcome, u16) {
    let Ok(response) = request.send().await else { return (Outcome::Failed, 0) };
    let status = response.status();
    let may_come_back = response.headers().contains_key("retry-after");
    let body: Value = response.json().await.unwrap_or_default();
    let outcome = match (kind, status) {
        (Kind::Get, StatusCode::OK) if body["user"]["email"].is_string() => Outcome::Full,
        (Kind::Get, StatusCode::OK) if body["user"]["name"].is_string() => Outcome::Degraded,
        (Kind::Post, StatusCode::CREATED) if body["userEmail"].is_string() => Outcome::Full,
        (Kind::Post, StatusCode::SERVICE_UNAVAILABLE) if may_come_back => Outcome::Degraded,
        _ => Outcome::Failed,
    };
    (outcome, status.as_u16())
}

/// Sends requests to all variants alike, until `end`, and waits for their answers.
pub async fn flow(variants: Vec<Variant>, origin: Instant, end: Duration) {
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / PER_SECOND));
    let mut requests = tokio::task::JoinSet::new();
    for number in 0.. {
        tick.tick().await;
        if origin.elapsed() >= end {
            break;
        }
        for variant in variants.clone() {
            requests.spawn(async move { variant.request(number, origin).await });
        }
    }
    requests.join_all().await;
}
