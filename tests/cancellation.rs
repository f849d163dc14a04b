//! Dropped at every await: each policy, each pair and all of them, either way, over every script of an operation and of its service.
//! Each call is polled k times and dropped, for every k until it is done; then nothing of it is left, what had to be counted is, and the
//! next call works.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::future::BoxFuture;
use support::{
    script::{End, Operations, Readiness, Scripted, Try},
    stack::{BoxService, Kind, Policies, stacks},
    *,
};
use tower::util::BoxCloneSyncService;

both_ways! {
    g1_g2_nothing_is_left_of_a_call_dropped_after_any_number_of_polls,
    g1_g2_nothing_is_left_of_a_call_that_had_to_wait_in_the_queue,
    g1_g2_nothing_is_left_of_a_probe_dropped_after_any_number_of_polls,
}

/// No call takes more polls than this.
const MOST_POLLS: usize = 40;

/// In what state a call finds the policies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Idle,
    /// Every slot is taken, and free again after two polls; or, if the call is dropped sooner, just before that or just after. And
    /// every permit is used, and the next comes after the first poll.
    SlotsTaken {
        freed_before_drop: bool,
    },
    HalfOpen,
}

/// One call, to be dropped.
#[derive(Clone, Debug)]
struct Case<'a> {
    way: Way,
    stack: &'a [Kind],
    before: Before,
    readiness: Readiness,
    script: &'a [Try],
    /// After so many polls.
    polls: usize,
}

/// Tells by its count how many wakers are alive.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn service(readiness: Readiness) -> BoxService {
    BoxCloneSyncService::new(Perform::when(readiness))
}

/// Polls, and passes on any panic but a scripted one.
fn poll_scripted(call: &mut BoxFuture<'static, Answer>, cx: &mut Context<'_>) -> Result<Poll<Answer>, Scripted> {
    catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)))
        .map_err(|thrown| thrown.downcast::<Scripted>().map_or_else(|other| resume_unwind(other), |scripted| *scripted))
}

/// How a call ended, if it was not dropped before.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ended {
    Answered,
    Panicked,
    Dropped,
}

impl Case<'_> {
    /// Whether it was over before it could be dropped.
    async fn leaves_nothing_behind(&self) -> bool {
        let policies = self.policies().await;
        let operations = Operations::default();
        let call = policies.protect(self.way, self.stack, || service(self.readiness), operations.scripted(self.script));
        let ended = self.drop_after_polls(&policies, call()).await;
        drop(call);

        assert_eq!(operations.alive(), 0, "the operation is gone: {self:?}");
        assert!(policies.are_idle(), "every slot is back: {self:?}");
        if self.before != Before::HalfOpen {
            self.counted(&policies, &operations, ended);
        }
        self.works(&policies).await;
        ended != Ended::Dropped
    }

    async fn policies(&self) -> Policies {
        let policies = Policies::new();
        if self.before == Before::HalfOpen {
            for _ in 0..20 {
                policies.breaker.try_acquire().expect("it is closed").failure();
                pass(ms(20)).await;
            }
            pass(secs(2)).await;
        }
        policies
    }

    async fn drop_after_polls(&self, policies: &Policies, mut call: BoxFuture<'static, Answer>) -> Ended {
        let mut slots = match self.before {
            Before::SlotsTaken { .. } => {
                while policies.limiter.try_acquire().is_ok() {}
                vec![policies.bulkhead.try_acquire(), policies.bulkhead.try_acquire()]
            }
            Before::Idle | Before::HalfOpen => Vec::new(),
        };
        let wakes = Arc::<Wakes>::default();
        let waker = Waker::from(wakes.clone());
        let mut ended = Ended::Dropped;
        for polled in 0..self.polls {
            if polled == 2 {
                slots.clear();
            }
            match poll_scripted(&mut call, &mut Context::from_waker(&waker)) {
                Ok(Poll::Ready(_)) => ended = Ended::Answered,
                Ok(Poll::Pending) => {}
                Err(Scripted) => ended = Ended::Panicked,
            }
            if ended != Ended::Dropped {
                break;
            }
            // Long enough for a retry to wake.
            pass(ms(200)).await;
        }
        if self.before == (Before::SlotsTaken { freed_before_drop: true }) {
            slots.clear();
        }
        drop(call);
        drop(waker);
        assert_eq!(Arc::strong_count(&wakes), 1, "the last waker is gone: {self:?}");
        ended
    }

    /// What the breaker and the budget hold of it.
    fn counted(&self, policies: &Policies, operations: &Operations, ended: Ended) {
        let is_unready = self.way == Way::Tower && self.readiness == Readiness::Fails;
        let attempts = if is_unready { usize::from(ended == Ended::Answered) } else { operations.answered() };
        let breakers = self.stack.iter().enumerate().filter(|(_, kind)| kind.has_circuit());
        let outcomes = breakers.map(|(place, kind)| {
            // A pipeline's circuit is inside of its own retry.
            let within = if *kind == Kind::Pipeline { place + 1 } else { place };
            match self.stack[within..].iter().any(|kind| kind.retries()) {
                true => usize::from(ended == Ended::Answered),
                false => attempts,
            }
        });
        let window = policies.breaker.snapshot().counts.failures;
        // Where a pipeline retries what retries by itself, or what is always ready and then fails, the attempts that it
        // saw are not counted here.
        let retries = self.stack.iter().filter(|kind| kind.retries()).count();
        let is_over_retry = self.stack.contains(&Kind::Pipeline) && retries > 1;
        let is_over_ready = is_unready && matches!(self.stack, [Kind::Pipeline, Kind::Bulkhead | Kind::RateLimiter]);
        if !(is_over_retry || is_over_ready) {
            assert_eq!(window.total as usize, outcomes.sum::<usize>(), "{self:?}");
        }
        // A try that is sent may wait for its service: only where it does not, those that were sent are those that were started.
        if retries == 1 && self.readiness == Readiness::AtOnce {
            let succeeded = (1..=operations.answered())
                .any(|number| number > 1 && self.script[(number - 1) % self.script.len()].end == End::Answers(Ok(1)));
            let spent = operations.started().saturating_sub(1) - usize::from(succeeded);
            // A success adds a tenth, unless the bucket is full.
            let tenths = (1000 - 10 * spent + usize::from(succeeded)).min(1000);
            assert_eq!(policies.budget.available(), tenths as f64 / 10.0, "{self:?}");
        }
    }

    async fn works(&self, policies: &Policies) {
        if self.before == Before::HalfOpen {
            // It may have opened again.
            pass(secs(20)).await;
        }
        let well = policies.protect(self.way, self.stack, || service(Readiness::AtOnce), succeed());
        assert_eq!(well().await, Ok(1), "the next call works: {self:?}");
        assert!(policies.are_idle(), "{self:?}");
    }
}

/// Every script of one attempt, and of three where a second is made at all.
fn scripts(stack: &[Kind]) -> Vec<Vec<Try>> {
    let ends = [End::Answers(Ok(1)), End::Answers(Err("bad")), End::Panics];
    let attempts = |pendings: &[u32]| -> Vec<Try> {
        pendings.iter().flat_map(|pending| ends.map(|end| Try { pending: *pending, end })).collect()
    };
    let alone = attempts(&[0, 1, 2]).into_iter().map(|first| vec![first]);
    if !stack.iter().any(|kind| kind.retries()) {
        return alone.collect();
    }
    let failed = [Try::answers(0, Err("bad")), Try::answers(1, Err("bad"))];
    let after_failures = failed.iter().flat_map(|first| {
        let second = attempts(&[0, 1]).into_iter().map(|second| vec![*first, second]);
        let third = attempts(&[1]).into_iter().map(|third| vec![*first, *first, third]);
        second.chain(third)
    });
    alone.chain(after_failures).collect()
}

async fn every_case(way: Way, before: Before, stacks: &[Vec<Kind>]) {
    let readinesses: &[Readiness] = match way {
        Way::Plain => &[Readiness::AtOnce],
        Way::Tower => &[Readiness::AtOnce, Readiness::AfterOnePoll, Readiness::Fails, Readiness::Panics],
    };
    for stack in stacks {
        for script in &scripts(stack) {
            for readiness in readinesses {
                let mut polls = 0;
                let case = |polls| Case { way, stack, before, readiness: *readiness, script, polls };
                while !case(polls).leaves_nothing_behind().await {
                    polls += 1;
                    assert!(polls < MOST_POLLS, "it never ends: {:?}", case(polls));
                }
            }
        }
    }
}

async fn g1_g2_nothing_is_left_of_a_call_dropped_after_any_number_of_polls(way: Way) {
    every_case(way, Before::Idle, &stacks()).await;
}

async fn g1_g2_nothing_is_left_of_a_call_that_had_to_wait_in_the_queue(way: Way) {
    let has_queue = |kind: &Kind| kind.has_slots() || *kind == Kind::RateLimiter;
    let with_queue: Vec<_> = stacks().into_iter().filter(|stack| stack.iter().any(has_queue)).collect();
    for freed_before_drop in [false, true] {
        every_case(way, Before::SlotsTaken { freed_before_drop }, &with_queue).await;
    }
}

async fn g1_g2_nothing_is_left_of_a_probe_dropped_after_any_number_of_polls(way: Way) {
    // A breaker around itself would reject its own probe.
    let with_one_breaker =
        stacks().into_iter().filter(|stack| stack.iter().filter(|kind| kind.has_circuit()).count() == 1);
    every_case(way, Before::HalfOpen, &with_one_breaker.collect::<Vec<_>>()).await;
}
