//! How a call begins: what it takes of the parts at once, and what keeps it from being started.

use std::ops::Deref;

use super::{
    future::{PipelineFuture, Stage},
    limits::Limits,
    permits::{Permits, Taken},
    shared::{Parts, Whole},
};
use crate::{
    bulkhead::{Entry, Slots, WaitLimit},
    circuit_breaker::{self, Circuit},
    clock::Alarm,
    operation::ResultFuture,
    panics::with_rollback,
    rate_limiter,
    retry::{AttemptPlan, Attempts, CallStart},
};

/// What a call costs at the rate limiter.
pub(super) const ONE_PERMIT: u32 = 1;

/// What keeps a call, or an attempt, from being started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hindrance {
    None,
    /// It waits for a permit of the rate limiter.
    Limited,
    /// The rate limiter rejected it: the nanoseconds until it would have been admitted, if that is known.
    RateLimited {
        retry_after: Option<u64>,
        limit: u32,
        pends: bool,
    },
    /// It waits for a slot of the bulkhead.
    Queued(WaitLimit),
    /// The bulkhead rejected it.
    Full {
        max_concurrent: usize,
        pends: bool,
    },
    /// The circuit breaker rejected the attempt.
    CircuitOpen {
        rejection: circuit_breaker::Rejection,
        pends: bool,
    },
}

/// How a call begins.
#[derive(Clone, Copy, Debug)]
enum Opening {
    Runs,
    Limited(u64),
    RateLimited(Option<u64>),
    Queued(u64),
    Full,
}

impl From<Entry> for Opening {
    #[inline(always)]
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Slot => Self::Runs,
            Entry::Queued(ticket) => Self::Queued(ticket),
            Entry::Full => Self::Full,
        }
    }
}

impl<A, F, T, E, G, K, P, C, B> PipelineFuture<A, F, Result<T, E>, G, K, P>
where
    A: Attempts<Future = F>,
    F: ResultFuture<Ok = T, Err = E>,
    P: Deref<Target = Whole<C, B>>,
{
    /// Begins a call. The first attempt is started here, unless the call or the attempt has to wait.
    ///
    /// Every call is built in here, in one place, and of what is in registers: a part that is alive while the operation
    /// starts, and has to be dropped if that panics, would be in memory, and would be copied from there.
    #[inline(always)]
    pub(super) fn start(whole: P, extracted: K, mut attempts: A) -> Self {
        let parts = &*whole.parts;
        let mut limits = Limits::new(parts);
        let entered = limits.enter();
        let opening = match parts.limiter().map(|limiter| limiter.enter(limiter.now(), ONE_PERMIT)) {
            None | Some(rate_limiter::Entry::Permit) => Opening::from(parts.slots().map_or(Entry::Slot, Slots::enter)),
            Some(rate_limiter::Entry::Queued(ticket)) => Opening::Limited(ticket),
            Some(rate_limiter::Entry::Rejected(retry_after)) => Opening::RateLimited(retry_after),
        };
        let mut call_start = CallStart::default();
        let mut hindrance = Hindrance::None;
        let (stage, taken, end) = match opening {
            Opening::Runs => {
                if let Some(retry) = parts.retry() {
                    call_start = retry.begin();
                }
                match A::NEEDS_READINESS {
                    true => (Stage::Starting, Taken::SLOT, limits.end_of_call()),
                    false => match parts.circuit().map(Circuit::admit).transpose() {
                        Ok(admitted) => {
                            let end = limits.begin_attempt();
                            let taken = Taken::attempt(admitted);
                            let plan = AttemptPlan { number: 1, is_last: parts.is_last(None), end };
                            let attempt = with_rollback(|| attempts.start(plan), || taken.give_back(parts));
                            (Stage::Running { attempt }, taken, end)
                        }
                        Err(rejection) => {
                            hindrance = circuit_open(parts, rejection);
                            (Stage::Hindered, Taken::SLOT, None)
                        }
                    },
                }
            }
            Opening::Queued(ticket) => {
                let (end, limit) = parts.slots().map_or((None, WaitLimit::NEVER), WaitLimit::of);
                hindrance = Hindrance::Queued(limit);
                (Stage::Hindered, Taken::queued(ticket), end)
            }
            Opening::Full => {
                hindrance = full(parts);
                (Stage::Hindered, Taken::NOTHING, None)
            }
            Opening::Limited(ticket) => {
                hindrance = Hindrance::Limited;
                (Stage::Hindered, Taken::limited(ticket), None)
            }
            Opening::RateLimited(retry_after) => {
                hindrance = rate_limited(parts, retry_after);
                (Stage::Hindered, Taken::NOTHING, None)
            }
        };
        drop(entered);
        Self {
            stage,
            permits: Permits::new(whole, taken),
            hindrance,
            attempts: Some(attempts),
            extracted: Some(extracted),
            call_start,
            progress: None,
            limits,
            alarm: Alarm::at(end),
        }
    }
}

/// The rate limiter has no permit.
#[inline(always)]
fn rate_limited(parts: &Parts, retry_after: Option<u64>) -> Hindrance {
    let (limit, pends) = parts.limiter().map_or((0, false), |limiter| limiter.count_rejected_call(retry_after));
    Hindrance::RateLimited { retry_after, limit, pends }
}

/// The bulkhead has neither a slot nor room in its queue.
#[inline(always)]
pub(super) fn full(parts: &Parts) -> Hindrance {
    let (max_concurrent, pends) = parts.slots().map_or((0, false), Slots::count_rejected_call);
    Hindrance::Full { max_concurrent, pends }
}

/// The circuit breaker rejects the attempt.
#[inline(always)]
pub(super) fn circuit_open(parts: &Parts, rejection: circuit_breaker::Rejection) -> Hindrance {
    let pends = parts.circuit().is_some_and(|circuit| circuit.count_rejected_call(rejection));
    Hindrance::CircuitOpen { rejection, pends }
}
