//! The end: one last storm, which every circuit must notice, and then good weather, in which everything must come back.

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use withstand::circuit_breaker::State;

use crate::{
    audit::Check,
    backend::{Mood, Reply, Request},
    policies::ms,
    stack::{Stack, Way},
    world::{World, tenths},
};

/// Far more than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// So few calls at once that a slow machine answers all of them in time.
const CALLS_A_ROUND: usize = 64;

/// While the traffic goes on, every backend fails until every circuit has opened by itself.
pub async fn storm(world: &World) -> Check {
    let openings = || world.stacks.each_ref().map(|stack| stack.heard.chain().openings);
    let quiet = timeout(PATIENCE, world.quiet.write()).await;
    // One that is open already would not open.
    world.stacks.iter().for_each(|stack| stack.force(State::Closed));
    weather(world, Mood::Failing);
    let before = openings();
    drop(quiet);
    let all_opened = async || openings().iter().zip(before).all(|(now, before)| *now > before);
    (wait_until(all_opened).await, "in the last storm every circuit opened".into())
}

/// Calls until all of them succeed in full, every circuit is closed and every small budget full.
pub async fn recover(world: &World, rng: &mut Rng) -> Check {
    weather(world, Mood::Healthy);
    let mut rounds = 0;
    let recovers = wait_until(async || {
        rounds += 1;
        round(world, rng).await && world.stacks.iter().all(|stack| is_closed(stack) && is_budget_full(stack))
    });
    let has_recovered = recovers.await;
    let says = format!("in good weather every circuit closed and every call succeeded in full, within {rounds} rounds");
    (has_recovered, says)
}

fn weather(world: &World, mood: Mood) {
    world.stacks.iter().for_each(|stack| stack.backend.set(mood));
}

/// Calls through each stack, both ways; whether all of them succeeded in full.
async fn round(world: &World, rng: &mut Rng) -> bool {
    let ways = [Way::Plain, Way::Tower].into_iter().cycle().take(CALLS_A_ROUND);
    let calls = world.stacks.iter().flat_map(|stack| ways.clone().map(move |way| (stack, way)));
    let calls = calls.map(|(stack, way)| stack.call(way, false, Request::new(rng.u64(..))));
    join_all(calls).await.iter().all(|answer| matches!(answer, Ok(Reply::Full)))
}

fn is_closed(stack: &Stack) -> bool {
    stack.policies.breaker.state() == State::Closed
}

/// The shared one is too deep to fill.
fn is_budget_full(stack: &Stack) -> bool {
    let tokens = stack.settings.tokens;
    tokens == u32::MAX || tenths(&stack.settings.budget) == 10 * u64::from(tokens)
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if condition().await {
            return true;
        }
        sleep(ms(10)).await;
    }
    false
}
