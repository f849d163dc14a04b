//! A crawler over many hosts, of which some are down: a circuit for each host, so that the dead ones cost the others
//! nothing. `cargo run --example per_host` takes about a second.
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

use tokio::{task::JoinSet, time::sleep};
use withstand::{CarriesRejected, CircuitBreaker, Keyed, KeyedEvent, Name};

const HOSTS: usize = 12;
const PAGES: usize = 25;
const WORKERS: usize = 6;

/// What became of the pages of one host.
#[derive(Default)]
struct Row {
    sent: AtomicUsize,
    rejected: AtomicUsize,
    answered: AtomicUsize,
}

/// Every fourth host is down, and takes its time to say so.
fn is_down(host: &str) -> bool {
    host.starts_with("down")
}

fn host(number: usize) -> String {
    format!("{}-{number:02}.example", if number % 4 == 3 { "down" } else { "up" })
}

async fn fetch(host: &str, _page: usize, row: &Row) -> io::Result<()> {
    row.sent.fetch_add(1, Relaxed);
    if is_down(host) {
        sleep(Duration::from_millis(40)).await;
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    sleep(Duration::from_millis(4)).await;
    row.answered.fetch_add(1, Relaxed);
    Ok(())
}

/// The key is the host alone. A whole URL would make a circuit for each page, and none would ever open.
async fn crawl(hosts: &Keyed<String, CircuitBreaker>, host: &str, page: usize, row: &Row) {
    match hosts.get(host).call(|| fetch(host, page, row)).await {
        Err(error) if error.as_rejected().is_some() => {
            row.rejected.fetch_add(1, Relaxed);
        }
        Ok(()) | Err(_) => {}
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `build` cannot fail inside of the factory: these settings are checked here, once.
    let circuit = |name: Name| {
        let builder = CircuitBreaker::builder(name).consecutive_failures(3, Duration::ZERO);
        builder.open_for(Duration::from_secs(30)).build()
    };
    circuit("a test of the settings".into())?;
    let hosts = Keyed::builder(move |_: &str, name| circuit(name).expect("these settings were accepted before"))
        .named("hosts")
        .capacity(100)
        .listener_fn(|event| match event {
            KeyedEvent::Evicted { key, .. } => println!("{key} left"),
            other => println!("{other:?}"),
        })
        .build()?;

    let rows: Arc<BTreeMap<String, Row>> = Arc::new((0..HOSTS).map(|number| (host(number), Row::default())).collect());
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (hosts, rows) = (hosts.clone(), rows.clone());
        workers.spawn(async move {
            for page in (worker..PAGES * HOSTS).step_by(WORKERS) {
                let host = host(page % HOSTS);
                crawl(&hosts, &host, page / HOSTS, &rows[&host]).await;
            }
        });
    }
    workers.join_all().await;

    println!("{:<18} {:>5} {:>9} {:>9}  circuit", "host", "sent", "answered", "rejected");
    for (host, row) in &*rows {
        let [sent, answered, rejected] = [&row.sent, &row.answered, &row.rejected].map(|count| count.load(Relaxed));
        let state = hosts.peek(&**host).map_or_else(|| "none".to_owned(), |circuit| circuit.state().to_string());
        println!("{host:<18} {sent:>5} {answered:>9} {rejected:>9}  {state}");
        assert_eq!(sent + rejected, PAGES, "each page was asked for, or was rejected at once");
        if is_down(host) {
            assert!(answered == 0 && sent <= 3 + WORKERS, "a dead host costs a few calls, and no more");
        } else {
            assert_eq!((answered, rejected), (PAGES, 0), "no live host suffers");
        }
    }
    println!("{:?}", hosts.snapshot());
    assert_eq!((hosts.len(), hosts.evicted()), (HOSTS, 0));
    Ok(())
}
