//! A crawler over many hosts, of which some are down and some are slow: a pipeline for each host, so that no host costs
//! the others anything. `cargo run --features http --example per_host` takes about a second.
#![allow(clippy::disallowed_methods, reason = "the hosts take their time on tokio's clock")]

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Uri;
use tokio::{task::JoinSet, time::sleep};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, ConfigError, Keyed, KeyedEvent, Name, Pipeline, RetryWithBackoff,
    circuit_breaker::State, http::authority, retry::Constant,
};

const HOSTS: usize = 12;
const PAGES: usize = 25;
const WORKERS: usize = 6;
/// No host is asked for more pages at once.
const AT_ONCE: usize = 2;
const ATTEMPTS: usize = 2;
/// So many failures in a row open the circuit of a host.
const FAILURES: u32 = 3;

/// What became of the pages of one host.
#[derive(Default)]
struct Row {
    sent: AtomicUsize,
    running: AtomicUsize,
    answered: AtomicUsize,
    rejected: AtomicUsize,
    failed: AtomicUsize,
}

/// All of it is about one host. What can be wrong is the same for all names, and is found out once: see `main`.
fn pipeline(name: Name) -> Result<Pipeline, ConfigError> {
    let bulkhead = Bulkhead::builder(name.clone(), AT_ONCE).queue(WORKERS, Duration::from_secs(2));
    let retry = RetryWithBackoff::builder(name.clone()).max_attempts(ATTEMPTS as u32);
    let circuit = CircuitBreaker::builder(name.clone()).consecutive_failures(FAILURES, Duration::ZERO);
    Pipeline::builder(name)
        .timeout(Duration::from_secs(5))
        .bulkhead(bulkhead.build()?)
        .retry(retry.backoff(Constant::new(Duration::from_millis(5))).build()?)
        .circuit_breaker(circuit.open_for(Duration::from_secs(30)).build()?)
        .attempt_timeout(Duration::from_secs(1))
        .build()
}

/// Every fourth host is down, and takes its time to say so.
fn is_down(host: &str) -> bool {
    host.starts_with("down")
}

fn page_of(host: usize, page: usize) -> Uri {
    let kind = match host % 4 {
        3 => "down",
        0 => "Slow",
        _ => "up",
    };
    format!("https://{kind}-{host:02}.example/pages/{page}").parse().expect("a good URI")
}

async fn fetch(host: &str, row: &Row) -> io::Result<()> {
    row.sent.fetch_add(1, Relaxed);
    assert!(row.running.fetch_add(1, Relaxed) < AT_ONCE, "{host} is asked for too much at once");
    sleep(Duration::from_millis(if host.starts_with("slow") { 20 } else { 4 })).await;
    row.running.fetch_sub(1, Relaxed);
    if is_down(host) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

/// The key is host and port alone. With the whole URI each page would have a pipeline, and no circuit would ever open.
async fn crawl(hosts: &Keyed<String, Pipeline>, rows: &BTreeMap<String, Row>, page: &Uri) {
    let key = authority(page);
    let row = &rows[&key];
    let count = match hosts.get(&*key).call(|| fetch(&key, row)).await {
        Ok(()) => &row.answered,
        Err(error) if error.as_rejected().is_some() => &row.rejected,
        Err(_) => &row.failed,
    };
    count.fetch_add(1, Relaxed);
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `build` cannot fail inside of the factory: these settings are checked here, once.
    pipeline("a test of the settings".into())?;
    let hosts = Keyed::builder(|_: &str, name| pipeline(name).expect("these settings were accepted before"))
        .named("hosts")
        .capacity(100)
        .listener_fn(|event| match event {
            KeyedEvent::Evicted { key, .. } => println!("{key} left"),
            other => println!("{other:?}"),
        })
        .build()?;

    let key = |host| authority(page_of(host, 0));
    let rows: Arc<BTreeMap<String, Row>> = Arc::new((0..HOSTS).map(|host| (key(host), Row::default())).collect());
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (hosts, rows) = (hosts.clone(), rows.clone());
        workers.spawn(async move {
            for number in (worker..PAGES * HOSTS).step_by(WORKERS) {
                crawl(&hosts, &rows, &page_of(number % HOSTS, number / HOSTS)).await;
            }
        });
    }
    workers.join_all().await;

    println!("{:<20} {:>5} {:>9} {:>7} {:>9}  circuit", "host", "sent", "answered", "failed", "rejected");
    for (host, row) in &*rows {
        let counts = [&row.sent, &row.answered, &row.failed, &row.rejected].map(|count| count.load(Relaxed));
        let [sent, answered, failed, rejected] = counts;
        let state = hosts.peek(&**host).and_then(|host| host.circuit_breaker().map(CircuitBreaker::state));
        let state = state.expect("its pipeline is there");
        println!("{host:<20} {sent:>5} {answered:>9} {failed:>7} {rejected:>9}  {state}");
        assert_eq!(answered + failed + rejected, PAGES, "each page was asked for, or was rejected at once");
        if is_down(host) {
            let most = FAILURES as usize + AT_ONCE;
            assert!(
                answered == 0 && sent <= most && state == State::Open,
                "a dead host costs a few calls, and no more"
            );
        } else {
            assert_eq!((sent, answered), (PAGES, PAGES), "no live host suffers");
        }
    }
    println!("{:?}", hosts.snapshot());
    assert_eq!((hosts.len(), hosts.evicted()), (HOSTS, 0));
    Ok(())
}
