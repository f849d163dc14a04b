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
use tokio::{task::JoinSet, time};

/// So many requests go to each variant in a second: four GETs, then a POST.
pub const PER_SECOND: u64 = 50;

/// How long callers wait for the answers that are out when the traffic ends.
const LAST_WAIT: Duration = Duration::from_secs(3);

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
    /// Zero if there was no answer.
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
    asked: Arc<AtomicU64>,
    records: Arc<Mutex<Vec<Record>>>,
    /// Calls that went to the user service, answered or not.
    calls: Arc<AtomicU64>,
}

impl Variant {
    pub fn new(url: String, calls: Arc<AtomicU64>) -> Self {
        Self { client: Client::new(), url, asked: Arc::default(), records: Arc::default(), calls }
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// All that have ended so far, in the order of their ends.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().expect("no panic under it").clone()
    }

    async fn ask(&self, number: u64, origin: Instant, give_up: Instant) {
        let (kind, request) = self.request(number);
        self.asked.fetch_add(1, Ordering::Relaxed);
        let started = origin.elapsed();
        let answer = time::timeout_at(give_up.into(), answer(kind, request)).await;
        let (outcome, status) = answer.unwrap_or((Outcome::Failed, 0));
        let record = Record { kind, outcome, status, started, took: origin.elapsed() - started };
        self.records.lock().expect("no panic under it").push(record);
    }

    fn request(&self, number: u64) -> (Kind, RequestBuilder) {
        if number % 5 < 4 {
            return (Kind::Get, self.client.get(format!("{}/orders/1", self.url)));
        }
        let order = json!({ "userId": 2, "products": [{ "name": "Mouse", "price": 25.5, "quantity": 2 }] });
        (Kind::Post, self.client.post(format!("{}/orders", self.url)).json(&order))
    }
}

async fn answer(kind: Kind, request: RequestBuilder) -> (Outcome, u16) {
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
pub async fn flow(variants: [Variant; 2], origin: Instant, end: Duration) {
    let mut tick = time::interval(Duration::from_secs(1) / PER_SECOND as u32);
    let give_up = origin + end + LAST_WAIT;
    let mut requests = JoinSet::new();
    for number in 0.. {
        tick.tick().await;
        if origin.elapsed() >= end {
            break;
        }
        for variant in variants.clone() {
            requests.spawn(async move { variant.ask(number, origin, give_up).await });
        }
    }
    requests.join_all().await;
}
