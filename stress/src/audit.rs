//! What must hold whenever it is quiet: nobody calls, and nothing is changed manually.

use crate::{
    policies::SLOTS,
    report::grouped,
    seam::{End, Seams},
    stack::Stack,
    sums::{Outcomes, sums},
    world::{World, tenths},
};

/// Whether it held, and what it says.
pub type Check = (bool, String);

pub fn checks(world: &World) -> Vec<Check> {
    vec![
        outcomes(world),
        each(world, "at every seam as many calls came out as went in", crossed),
        each(world, "the calls, the snapshots and the listeners agree on every sum", disagreement),
        each(world, "every circuit's transitions form an unbroken chain", unchained),
        each(world, "nothing in flight, nothing in the queue, no probe out", left_behind),
        each(world, "no bulkhead let more calls in than its limit ever was", crowded),
        glances(world),
        shared_budget(world),
        each(world, "no service was called that was not ready", |stack| {
            stack.backend.was_called_unready().then(|| "one was".into())
        }),
    ]
}

/// Holds if there is no fault in any stack.
fn each(world: &World, what: &str, fault: impl Fn(&Stack) -> Option<String>) -> Check {
    let faults = world.stacks.iter().filter_map(|stack| Some(format!("{}: {}", stack.settings.name, fault(stack)?)));
    let faults: Vec<_> = faults.collect();
    if faults.is_empty() { (true, what.into()) } else { (false, format!("{what}: {}", faults.join("; "))) }
}

fn outcomes(world: &World) -> Check {
    let outcomes = Outcomes::of(&world.stacks);
    let Outcomes { offered, full, stood_in, failed, rejected, cancelled, .. } = outcomes;
    let [offered, answered, stood_in, failed, rejected, cancelled] =
        [offered, full + stood_in, stood_in, failed, rejected, cancelled].map(grouped);
    let says = format!(
        "{offered} calls = {answered} succeeded ({stood_in} by a fallback) + {failed} failed + {rejected} rejected + {cancelled} cancelled"
    );
    (outcomes.offered == outcomes.came_out(), says)
}

fn crossed(stack: &Stack) -> Option<String> {
    let (name, seam) = stack.seams.all().into_iter().find(|(_, seam)| seam.entered() != seam.came_out())?;
    Some(format!("{} into the {name}, {} out", seam.entered(), seam.came_out()))
}

fn disagreement(stack: &Stack) -> Option<String> {
    let wrong = sums(stack).into_iter().filter(|sum| !sum.agrees());
    let wrong: Vec<_> = wrong.map(|sum| format!("{} {}", sum.what, sum.told().join(" / "))).collect();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

fn unchained(stack: &Stack) -> Option<String> {
    let (chain, circuit) = (stack.heard.chain(), stack.policies.breaker.snapshot());
    let is_last = chain.generation == circuit.generation;
    chain.fault().or_else(|| {
        (!is_last).then(|| format!("it ends with generation {} of {}", chain.generation, circuit.generation))
    })
}

fn left_behind(stack: &Stack) -> Option<String> {
    let (slots, circuit) = (stack.policies.bulkhead.snapshot(), stack.policies.breaker.snapshot());
    let left =
        [slots.in_flight as u64, slots.queued as u64, circuit.probes_in_flight as u64, stack.seams.backend.inside()];
    let [in_flight, waiting, probes, operations] = left;
    let says = || format!("{in_flight} in flight, {waiting} in the queue, {probes} probes, {operations} operations");
    (left != [0; 4]).then(says)
}

fn crowded(stack: &Stack) -> Option<String> {
    let most = stack.seams.total.most_inside();
    (most > SLOTS as u64).then(|| format!("{most} at once"))
}

fn glances(world: &World) -> Check {
    let says = format!(
        "at {} glances nothing was out of bounds, neither slots nor places, probes or budgets",
        grouped(world.glances.get())
    );
    match &*world.first_fault.lock().expect("no panic under it") {
        Some(fault) => (false, format!("{says}: {fault}")),
        None => (true, says),
    }
}

/// Every attempt that succeeds adds a tenth of a token. A further one costs a token, unless it succeeds or is rejected by the breaker.
fn shared_budget(world: &World) -> Check {
    let sharing = || world.stacks.iter().filter(|stack| stack.settings.tokens == u32::MAX).map(|stack| &*stack.seams);
    let earned: u64 = sharing().map(|seams| seams.first.ended(End::Full) + seams.further.ended(End::Full)).sum();
    let spent: u64 = sharing().map(tokens_spent).sum();
    let (now, due) = (tenths(&world.shared), world.shared_at_start + earned - 10 * spent);
    let says = format!(
        "the shared budget is exact: {} tenths of a token earned, {} tokens spent",
        grouped(earned),
        grouped(spent)
    );
    let off = now.abs_diff(due);
    (off == 0, if off == 0 { says } else { format!("{says}, but it is off by {off} tenths") })
}

fn tokens_spent(seams: &Seams) -> u64 {
    let further = &seams.further;
    further.entered() - further.ended(End::Full) - further.ended(End::CircuitOpen)
}
