//! What the soak's tasks share.

use std::{
    error::Error,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tokio::sync::RwLock;
use withstand::{RetryBudget, RetryWithBackoff};

use crate::{
    backend::{Answer, Failure},
    heard::Count,
    policies::{PLACES, SLOTS, settings},
    reload::Reload,
    stack::Stack,
};

/// So many tokens are drained for each second. Callers wait for 20 ms on average, so not half as many can be earned back.
const DRAINED_A_SECOND: u32 = 20_000;

pub struct World {
    pub stacks: [Stack; 4],
    /// Pipelines whose settings change.
    pub reload: Reload,
    /// A budget so deep that it never touches an end: what is in it can be told exactly.
    pub shared: RetryBudget,
    /// What was in it at the start, in tenths.
    pub shared_at_start: u64,
    /// Held shared by whatever calls or changes anything.
    pub quiet: RwLock<()>,
    pub glances: Count,
    pub first_fault: Mutex<Option<String>>,
    pub is_calm: AtomicBool,
    pub is_over: AtomicBool,
}

impl World {
    pub async fn new(seconds: u64) -> Result<Self, Box<dyn Error>> {
        let shared = RetryBudget::builder(u32::MAX).no_refill().build()?;
        let tokens = u32::try_from(seconds.max(1)).ok().and_then(|seconds| seconds.checked_mul(DRAINED_A_SECOND));
        drain(&shared, tokens.ok_or("that is too long")?).await?;
        let [users, stock, prices, mail] = settings(&shared);
        Ok(Self {
            stacks: [Stack::new(users)?, Stack::new(stock)?, Stack::new(prices)?, Stack::new(mail)?],
            reload: Reload::new()?,
            shared_at_start: tenths(&shared),
            shared,
            quiet: RwLock::new(()),
            glances: Count::default(),
            first_fault: Mutex::new(None),
            is_calm: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        })
    }

    pub fn is_calm(&self) -> bool {
        self.is_calm.load(Relaxed)
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// Whether what may be seen at any moment is within its bounds.
    pub fn glance(&self, stack: &Stack) {
        self.glances.add();
        if let Some(fault) = fault(stack) {
            self.first_fault.lock().expect("no panic under it").get_or_insert(fault);
        }
    }
}

/// Pays for so many retries that fail.
async fn drain(budget: &RetryBudget, tokens: u32) -> Result<(), Box<dyn Error>> {
    let attempts = tokens.checked_add(1).ok_or("that is too long")?;
    let retry = RetryWithBackoff::builder("drain").max_attempts(attempts).no_backoff().budget(budget).build()?;
    let answer = retry.call(|| async { Answer::Err(Failure::Down) }).await;
    assert!(answer.is_err(), "every attempt failed");
    Ok(())
}

fn fault(stack: &Stack) -> Option<String> {
    let (bulkhead, breaker) = (stack.policies.bulkhead.snapshot(), stack.policies.breaker.snapshot());
    let (name, probes) = (stack.settings.name, stack.settings.probes);
    let (tenths, tokens) = (tenths(&stack.settings.budget), stack.settings.tokens);
    let faults = [
        (bulkhead.in_flight > SLOTS, format!("{name}: {} in flight", bulkhead.in_flight)),
        (bulkhead.queued > PLACES, format!("{name}: {} waited in the queue", bulkhead.queued)),
        (breaker.probes_in_flight > probes, format!("{name}: {} probes at once", breaker.probes_in_flight)),
        (tenths > 10 * u64::from(tokens), format!("{name}: {tenths} tenths of {tokens} tokens")),
    ];
    faults.into_iter().find(|(is_fault, _)| *is_fault).map(|(_, what)| what)
}

/// What is in a budget.
pub fn tenths(budget: &RetryBudget) -> u64 {
    (budget.available() * 10.0).round() as u64
}
