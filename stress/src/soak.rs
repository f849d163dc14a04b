//! The course of a soak: chaos, a last storm, recovery; with an audit whenever it is made quiet.

use std::{
    error::Error,
    slice,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    audit::{Check, checks},
    chaos, memory, queue, recovery, reload, report,
    sums::{Outcomes, totals},
    traffic,
    world::World,
};

/// A call takes as long as it may wait in the queue, and then as its total timeout allows: 130 ms, and more on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether everything has held.
pub async fn run(seconds: u64, seed: u64) -> Result<bool, Box<dyn Error>> {
    let (world, mut rng) = (Arc::new(World::new(seconds).await?), Rng::with_seed(seed));
    report::title(seconds, seed, &world.stacks);
    let memory = tokio::spawn(memory::record(world.clone()));
    let chaos = chaos::begin(&world, &mut rng);
    let mut traffic = traffic::begin(&world, &mut rng);
    reload::begin(&world, &mut rng, &mut traffic);
    let mut audits = Audits::default();

    watch(&world, seconds, &mut audits).await;
    world.is_calm.store(true, Relaxed);
    chaos.join_all().await;
    audits.audit(&world, "when the chaos ended").await;
    let stormed = recovery::storm(&world).await;
    world.is_over.store(true, Relaxed);
    let ended = end(traffic).await;
    audits.audit(&world, "when the traffic ended").await;
    let recovered = recovery::recover(&world, &mut rng).await;
    audits.audit(&world, "at the end").await;

    let totals = totals(&world.stacks);
    report::table(&totals);
    let happened = totals.iter().all(|sum| sum.witnesses().into_iter().flatten().all(|count| count > 0));
    let mut checks = audits.checks;
    checks.extend([stormed, ended, recovered, queue::check(&world)]);
    checks.push((happened, "each of these things happened".into()));
    checks.push(memory::verdict(&memory.await?));
    report::verdict(&checks);
    Ok(checks.iter().all(|(held, _)| *held))
}

/// A line each second, then an audit; until a call hangs, for then it is never quiet again.
async fn watch(world: &World, seconds: u64, audits: &mut Audits) {
    let (start, mut seen) = (Instant::now(), Outcomes::default());
    for second in 1..=seconds {
        sleep_until(start + Duration::from_secs(second)).await;
        report::line(second, world, &mut seen);
        if !audits.audit(world, &format!("at {second} s")).await {
            return;
        }
    }
}

async fn end(traffic: JoinSet<()>) -> Check {
    let has_ended = timeout(PATIENCE, traffic.join_all()).await.is_ok();
    (has_ended, "every caller came to its end".into())
}

/// What each audit found: the first fault of each check, or what the latest says.
#[derive(Default)]
struct Audits {
    checks: Vec<Check>,
}

impl Audits {
    /// Waits until it is quiet, and keeps it so while it looks; whether it ever was.
    async fn audit(&mut self, world: &World, when: &str) -> bool {
        let quiet = timeout(PATIENCE, world.quiet.write()).await;
        let mut found = checks(world);
        found.extend(reload::checks(world));
        found.push((quiet.is_ok(), "whenever it was to be quiet, every call came to its end".into()));
        self.checks.resize(found.len(), (true, String::new()));
        for (known, (held, says)) in self.checks.iter_mut().zip(found).filter(|(known, _)| known.0) {
            *known = (held, if held { says } else { format!("{when}: {says}") });
            if !held {
                report::verdict(slice::from_ref(known));
            }
        }
        quiet.is_ok()
    }
}
