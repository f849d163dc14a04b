use std::time::Duration;

use super::{
    backoff::Backoff,
    budget::{PaidToken, RetryBudget},
    event::{GaveUp, RetryEvent},
};
use crate::{
    clock::{self, Instant},
    event::Reporter,
    random,
    sync::{AtomicU64, Ordering},
};

/// The settings, budget and call count that a retry's clones, siblings and layers share.
#[derive(Debug)]
pub struct Plan<B> {
    pub(super) reporter: Reporter<RetryEvent>,
    pub(super) max_attempts: u32,
    pub(super) backoff: B,
    pub(super) budget: Option<RetryBudget>,
    pub(super) deadline: Option<Duration>,
    pub(super) max_retry_after: Duration,
    pub(super) seed: Option<u64>,
    pub(super) calls: AtomicU64,
}

/// One call, between its tries.
#[derive(Debug)]
pub(super) struct Progress<D> {
    /// The number of the try that runs or is to come.
    pub(super) attempt: u32,
    /// What that try has paid.
    pub(super) paid: PaidToken,
    deadline: Option<Instant>,
    seed: u64,
    /// Begun when the first try has failed.
    delays: Option<D>,
}

/// What a call knows of itself when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    deadline: Option<Instant>,
    seed: u64,
}

impl<D> Progress<D> {
    /// Before the first try.
    #[inline(always)]
    pub(super) fn new(Start { deadline, seed }: Start) -> Self {
        Self { attempt: 1, paid: PaidToken::default(), deadline, seed, delays: None }
    }
}

/// What a failed try and its call were like.
#[derive(Clone, Copy, Debug)]
pub(super) struct FailedAttempt {
    pub(super) retry_after: Option<Duration>,
    pub(super) can_repeat: bool,
}

/// The time between two tries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    /// Its end, if there is a sleep at all and the clock can count that far. It was decided by, and is not asked again: listeners and
    /// drops run in between.
    pub(super) until: Option<Instant>,
}

impl Wait {
    /// From now on. Without a sleep and without a deadline no one needs to know when that is.
    #[inline(always)]
    fn of(delay: Duration, has_deadline: bool) -> Self {
        let asked = has_deadline || !delay.is_zero();
        Self { delay, until: asked.then(clock::now).and_then(|now| clock::after(now, delay)) }
    }
}

impl<B: Backoff> Plan<B> {
    #[inline]
    pub(super) fn begin(&self) -> Start {
        Start {
            deadline: self.deadline.and_then(|span| clock::after(clock::now(), span)),
            // The number is drawn in the call, so that the n-th call is the n-th whether or not it fails.
            seed: self.seed.map_or(0, |seed| random::nth_seed(seed, self.calls.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// The try succeeded.
    #[inline]
    pub(super) fn settle_success(&self, progress: &mut Progress<B::Delays>) {
        match &self.budget {
            Some(budget) if progress.attempt == 1 => budget.deposit(),
            _ => progress.paid.refund(),
        }
    }

    /// Decides whether another try follows, pays for it, and tells how long to sleep before it.
    pub(super) fn settle_failure(
        &self,
        progress: &mut Progress<B::Delays>,
        failed_attempt: FailedAttempt,
    ) -> Option<Wait> {
        let attempt = progress.attempt;
        match self.pay(progress, failed_attempt) {
            Ok(wait) => {
                progress.attempt = attempt.saturating_add(1);
                let delay = wait.delay;
                self.reporter.emit(|name| RetryEvent::Retrying { name, attempt, delay });
                Some(wait)
            }
            Err(reason) => {
                self.reporter.emit(|name| RetryEvent::GaveUp { name, attempts: attempt, reason });
                None
            }
        }
    }

    fn pay(&self, progress: &mut Progress<B::Delays>, failed_attempt: FailedAttempt) -> Result<Wait, GaveUp> {
        if self.is_last(progress.attempt) {
            return Err(GaveUp::AttemptsSpent);
        }
        if !failed_attempt.can_repeat {
            return Err(GaveUp::NotRepeatable);
        }
        let hint = failed_attempt.retry_after.unwrap_or_default();
        if hint > self.max_retry_after {
            return Err(GaveUp::RetryAfterTooLong);
        }
        let backoff = self.next_delay(progress).ok_or(GaveUp::BackoffEnded)?;
        let delay = backoff.max(hint);
        let wait = Wait::of(delay, progress.deadline.is_some());
        if progress.deadline.is_some_and(|deadline| wait.until.is_none_or(|until| until > deadline)) {
            return Err(GaveUp::DeadlinePassed);
        }
        match &self.budget {
            Some(budget) if !progress.paid.fill(budget) => Err(GaveUp::BudgetSpent),
            _ => Ok(wait),
        }
    }

    fn next_delay(&self, progress: &mut Progress<B::Delays>) -> Option<Duration> {
        let begin = || {
            let seed = if self.seed.is_some() { progress.seed } else { random::fresh_seed() };
            self.backoff.delays(seed)
        };
        progress.delays.get_or_insert_with(begin).next()
    }

    pub(super) fn is_last(&self, attempt: u32) -> bool {
        attempt >= self.max_attempts
    }
}
