//! What the listeners of one stack's policies hear.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use withstand::{
    BulkheadEvent, CircuitBreakerEvent, FallbackEvent, RetryEvent,
    circuit_breaker::{Reason, State, Transition},
};

use crate::{
    backend::{Failure, Reply},
    seam::note_bulkhead_rejection,
};

#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Heard {
    pub bulkhead_rejected: Count,
    pub waited_in_vain: Count,
    pub breaker_rejected: Count,
    pub total_timed_out: Count,
    pub each_timed_out: Count,
    pub retrying: Count,
    pub gave_up: Count,
    pub applied: Count,
    pub recovery_failed: Count,
    chain: Mutex<Chain>,
}

impl Heard {
    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().expect("no panic under it")
    }

    pub fn bulkhead(&self, event: &BulkheadEvent) {
        if let BulkheadEvent::Rejected { waited, .. } = event {
            note_bulkhead_rejection();
            self.bulkhead_rejected.add();
            if waited.is_some() {
                self.waited_in_vain.add();
            }
        }
    }

    pub fn breaker(&self, event: &CircuitBreakerEvent) {
        match event {
            CircuitBreakerEvent::Rejected { .. } => self.breaker_rejected.add(),
            CircuitBreakerEvent::Transition { transition, .. } => self.chain().hear(*transition),
            _ => {}
        }
    }

    pub fn retry(&self, event: &RetryEvent) {
        match event {
            RetryEvent::Retrying { .. } => self.retrying.add(),
            RetryEvent::GaveUp { .. } => self.gave_up.add(),
            _ => {}
        }
    }

    pub fn fallback(&self, event: &FallbackEvent<'_, Reply, Failure>) {
        match event {
            FallbackEvent::Applied { .. } => self.applied.add(),
            FallbackEvent::Failed { .. } => self.recovery_failed.add(),
            _ => {}
        }
    }
}

/// A circuit's transitions, each put behind the one before it: threads may deliver them out of order.
#[derive(Debug)]
pub struct Chain {
    pub generation: u64,
    pub state: State,
    pub heard: u64,
    pub forced: u64,
    pub openings: u64,
    pub closings: u64,
    /// Heard before one that they follow.
    early: BTreeMap<u64, Transition>,
    broken: Option<String>,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            generation: 0,
            state: State::Closed,
            heard: 0,
            forced: 0,
            openings: 0,
            closings: 0,
            early: BTreeMap::new(),
            broken: None,
        }
    }
}

impl Chain {
    fn hear(&mut self, transition: Transition) {
        self.heard += 1;
        let generation = transition.generation;
        if generation <= self.generation || self.early.insert(generation, transition).is_some() {
            self.broken.get_or_insert_with(|| format!("generation {generation} was heard twice"));
        }
        while let Some(next) = self.early.remove(&(self.generation + 1)) {
            self.append(next);
        }
    }

    fn append(&mut self, next: Transition) {
        let Transition { from, to, reason, generation, .. } = next;
        if from != self.state || !is_lawful(from, to, reason) {
            let before = self.state;
            self.broken
                .get_or_insert_with(|| format!("generation {generation}, {before}: from {from} to {to}, {reason}"));
        }
        self.forced += u64::from(reason == Reason::Forced);
        self.openings += u64::from(from == State::Closed && to == State::Open);
        self.closings += u64::from(reason == Reason::ProbesSucceeded);
        (self.generation, self.state) = (generation, to);
    }

    /// Why it is no chain, if it is none.
    pub fn fault(&self) -> Option<String> {
        let missing = || format!("generation {} was never heard", self.generation + 1);
        self.broken.clone().or_else(|| (!self.early.is_empty()).then(missing))
    }
}

fn is_lawful(from: State, to: State, reason: Reason) -> bool {
    use State::{Closed, ForcedClosed, ForcedOpen, HalfOpen, MetricsOnly, Open};
    match reason {
        Reason::ConsecutiveFailures | Reason::FailureRate | Reason::SlowCallRate => (from, to) == (Closed, Open),
        Reason::OpenForPassed => (from, to) == (Open, HalfOpen),
        Reason::ProbeFailed | Reason::ProbeTimedOut => (from, to) == (HalfOpen, Open),
        Reason::ProbesSucceeded => (from, to) == (HalfOpen, Closed),
        Reason::Forced => matches!(to, Closed | ForcedClosed | ForcedOpen | MetricsOnly),
        _ => false,
    }
}
