//! What befalls each stack: weather at its backend, and a hand on its policies.

use std::sync::Arc;

use fastrand::Rng;
use tokio::{task::JoinSet, time::sleep};
use withstand::circuit_breaker::State;

use crate::{
    backend::Mood,
    policies::{SLOTS, ms},
    stack::Stack,
    world::World,
};

/// Limits that the hand sets. Zero lets no call begin.
const LIMITS: [usize; 6] = [0, 8, 128, SLOTS, SLOTS, SLOTS];

/// Until the world says it is calm.
pub fn begin(world: &Arc<World>, rng: &mut Rng) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for stack in 0..world.stacks.len() {
        tasks.spawn(weather(world.clone(), stack, rng.fork()));
        tasks.spawn(hand(world.clone(), stack, rng.fork()));
    }
    tasks
}

async fn weather(world: Arc<World>, stack: usize, mut rng: Rng) {
    while !world.is_calm() {
        sleep(ms(rng.u64(50..400))).await;
        world.stacks[stack].backend.set(Mood::any(&mut rng));
    }
}

async fn hand(world: Arc<World>, stack: usize, mut rng: Rng) {
    let stack = &world.stacks[stack];
    while !world.is_calm() {
        sleep(ms(rng.u64(..60))).await;
        let _not_quiet = world.quiet.read().await;
        match rng.u8(..40) {
            0..12 => stack.policies.bulkhead.set_max_concurrent(LIMITS[rng.usize(..LIMITS.len())]),
            12 => take_over(stack, &mut rng),
            // What was forced does not stay so for long, or the circuit would have no life of its own.
            _ if stack.is_forced() => stack.force(State::Closed),
            _ => {}
        }
        world.glance(stack);
    }
    stack.restore();
}

fn take_over(stack: &Stack, rng: &mut Rng) {
    let states = [State::ForcedOpen, State::ForcedClosed, State::MetricsOnly, State::Closed];
    stack.force(states[rng.usize(..states.len())]);
}
