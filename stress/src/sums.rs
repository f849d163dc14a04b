//! The soak's own sums beside the library's: what the calls saw, what the snapshots say, what the listeners heard.

use crate::{
    report::grouped,
    seam::{End, Seam, Seams},
    stack::Stack,
};

/// One kind of thing that happened, as often as each witness says.
#[derive(Clone, Copy, Debug)]
pub struct Sum {
    pub what: &'static str,
    pub calls: Option<u64>,
    pub snapshots: Option<u64>,
    pub listeners: Option<u64>,
}

impl Sum {
    fn of(what: &'static str, calls: u64, snapshot: Option<u64>, listeners: u64) -> Self {
        Self { what, calls: Some(calls), snapshots: snapshot, listeners: Some(listeners) }
    }

    pub fn witnesses(&self) -> [Option<u64>; 3] {
        [self.calls, self.snapshots, self.listeners]
    }

    /// The counts as text, a dash for a witness who does not know.
    pub fn told(&self) -> [String; 3] {
        self.witnesses().map(|count| count.map_or("-".into(), grouped))
    }

    pub fn agrees(&self) -> bool {
        let mut told = self.witnesses().into_iter().flatten();
        let first = told.next();
        told.all(|count| Some(count) == first)
    }

    pub fn plus(self, other: Self) -> Self {
        let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        Self {
            what: self.what,
            calls: both(self.calls, other.calls),
            snapshots: both(self.snapshots, other.snapshots),
            listeners: both(self.listeners, other.listeners),
        }
    }
}

/// What the policies of this stack did. It must be quiet: nobody calls.
pub fn sums(stack: &Stack) -> [Sum; 10] {
    let Seams { call, bulkhead, total, retry, first, further, backend } = &*stack.seams;
    let (heard, chain) = (&stack.heard, stack.heard.chain());
    let (slots, circuit) = (stack.policies.bulkhead.snapshot(), stack.policies.breaker.snapshot());

    let attempts = |count: fn(&Seam) -> u64| count(first) + count(further);
    let full = bulkhead.ended(End::BulkheadFull) + bulkhead.ended(End::DroppedRefused);
    // What is not let through is rejected, also when nobody stays to hear it: `call` itself decides.
    let open = attempts(Seam::entered) - backend.entered();
    // What timed out below passes through.
    let each = attempts(|seam| seam.ended(End::TimedOut)) - backend.ended(End::TimedOut);
    let all = total.ended(End::TimedOut) - retry.ended(End::TimedOut);
    // Of a call that ends, the last attempt is not followed by another; of one that is dropped, every attempt that ended is.
    let retried = attempts(Seam::completed) - retry.completed();
    // A first attempt that the breaker rejects gives nothing up; a further one does.
    let gave_up = retry.ended(End::Failed) + retry.ended(End::TimedOut) + further.ended(End::CircuitOpen);
    [
        Sum::of("rejected by a bulkhead", full, Some(slots.rejected), heard.bulkhead_rejected.get()),
        Sum::of("rejected by a breaker", open, Some(circuit.rejected), heard.breaker_rejected.get()),
        Sum::of("timed out, one attempt", each, None, heard.each_timed_out.get()),
        Sum::of("timed out, all attempts", all, None, heard.total_timed_out.get()),
        Sum::of("retried", retried, None, heard.retrying.get()),
        Sum::of("gave up", gave_up, None, heard.gave_up.get()),
        Sum::of("fallback applied", bulkhead.errors(), None, heard.applied.get()),
        Sum::of("fallback failed", call.errors(), None, heard.recovery_failed.get()),
        Sum::of("forced manually", stack.forced.get(), None, chain.forced),
        Sum { what: "transitions", calls: None, snapshots: Some(circuit.generation), listeners: Some(chain.heard) },
    ]
}

/// The same of all stacks together.
pub fn totals(stacks: &[Stack]) -> Vec<Sum> {
    let all = stacks.iter().map(|stack| sums(stack).to_vec());
    all.reduce(|one, other| one.into_iter().zip(other).map(|(one, other)| one.plus(other)).collect())
        .unwrap_or_default()
}

/// How the calls came out, in all stacks together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes {
    pub offered: u64,
    pub full: u64,
    pub stood_in: u64,
    pub failed: u64,
    pub rejected: u64,
    pub cancelled: u64,
    pub inside: u64,
}

impl Outcomes {
    pub fn of(stacks: &[Stack]) -> Self {
        let sum = |count: &dyn Fn(&Seam) -> u64| stacks.iter().map(|stack| count(&stack.seams.call)).sum();
        Self {
            offered: sum(&Seam::entered),
            full: sum(&|seam| seam.ended(End::Full)),
            stood_in: sum(&|seam| seam.ended(End::StoodIn)),
            failed: sum(&|seam| seam.ended(End::Failed) + seam.ended(End::TimedOut)),
            rejected: sum(&|seam| seam.ended(End::CircuitOpen) + seam.ended(End::BulkheadFull)),
            cancelled: sum(&|seam| seam.ended(End::Dropped)),
            inside: sum(&Seam::inside),
        }
    }

    pub fn came_out(&self) -> u64 {
        self.full + self.stood_in + self.failed + self.rejected + self.cancelled
    }
}
