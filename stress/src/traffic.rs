//! Thousands of callers, each with one call at a time, and some without patience.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use futures::future::BoxFuture;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    backend::{Answer, Request},
    policies::ms,
    stack::Way,
    world::World,
};

const CALLERS: usize = 4000;

/// Until the world says it is over.
pub fn begin(world: &Arc<World>, rng: &mut Rng) -> JoinSet<()> {
    (0..CALLERS).map(|_| call_on(world.clone(), rng.fork())).collect()
}

async fn call_on(world: Arc<World>, mut rng: Rng) {
    while !world.is_over() {
        sleep(ms(rng.u64(..40))).await;
        let _not_quiet = world.quiet.read().await;
        call_once(&world, &mut rng).await;
    }
}

/// What a caller is about to do.
struct Plan {
    stack: usize,
    way: Way,
    stands_in: bool,
    request: Request,
}

impl Plan {
    fn any(world: &World, rng: &mut Rng) -> Self {
        let way = if rng.bool() { Way::Plain } else { Way::Tower };
        Self { stack: rng.usize(..world.stacks.len()), way, stands_in: rng.bool(), request: Request::new(rng.u64(..)) }
    }

    fn begin(self, world: &World) -> BoxFuture<'_, Answer> {
        world.stacks[self.stack].call(self.way, self.stands_in, self.request)
    }
}

/// Waits for the answer; or gives up after so many polls, or so many milliseconds, or has its task aborted.
async fn call_once(world: &Arc<World>, rng: &mut Rng) {
    let plan = Plan::any(world, rng);
    match rng.u8(..20) {
        0..3 => poll_only(plan.begin(world), rng.u32(..4)).await,
        3..6 => drop(timeout(ms(rng.u64(..60)), plan.begin(world)).await),
        6..9 => abort_after(ms(rng.u64(..60)), world, plan).await,
        _ => drop(plan.begin(world).await),
    }
}

async fn poll_only(mut call: impl Future + Unpin, polls: u32) {
    let mut left = polls;
    poll_fn(|cx| {
        let is_done = left == 0 || Pin::new(&mut call).poll(cx).is_ready();
        left = left.saturating_sub(1);
        if is_done || left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn abort_after(span: Duration, world: &Arc<World>, plan: Plan) {
    let shared = world.clone();
    let task = tokio::spawn(async move { drop(plan.begin(&shared).await) });
    sleep(span).await;
    task.abort();
    // Once it is joined, its call is gone.
    if let Err(error) = task.await {
        assert!(error.is_cancelled(), "{error}");
    }
}
