use std::time::Duration;

use super::{
    backoff::{Backoff, Delays},
    budget::{PaidToken, RetryBudget},
    event::{GaveUp, RetryEvent},
};
use crate::{
    classify::Verdict,
    clock::{self, Instant},
    event::Reporter,
    random,
    sync::{AtomicU64, Ordering},
};

/// The settings, budget and call count that a retry's clones and layers share.
#[derive(Debug)]
pub struct Shared {
    pub(super) reporter: Reporter<RetryEvent>,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) budget: Option<RetryBudget>,
    pub(super) deadline: Option<Duration>,
    pub(super) max_retry_after: Duration,
    pub(super) seed: Option<u64>,
    pub(super) calls: AtomicU64,
}

/// One call, between its attempts.
#[derive(Debug)]
pub(super) struct Progress {
    /// The number of the attempt that runs or is to come.
    pub(super) attempt: u32,
    /// The token that this attempt has paid.
    pub(super) token: PaidToken,
    /// What the result of the attempt before was judged.
    before: Option<Verdict>,
    deadline: Option<Instant>,
    seed: u64,
    /// Begun when the first attempt has failed.
    delays: Option<Delays>,
}

/// What a call knows of itself when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallStart {
    deadline: Option<Instant>,
    seed: u64,
}

impl Progress {
    /// Before the first attempt.
    #[inline(always)]
    pub(super) fn new(CallStart { deadline, seed }: CallStart) -> Self {
        Self { attempt: 1, token: PaidToken::default(), before: None, deadline, seed, delays: None }
    }
}

/// The time between two attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) delay: Duration,
    /// Its end, if there is a sleep at all. It was decided by, and is not computed again: listeners and drops run in between.
    pub(super) until: Option<Instant>,
    /// Whether a `retry_after` set it. Its token is then paid when the attempt is sent: callers that are told to come back in half a minute
    /// do not empty the budget meanwhile.
    pub(super) is_by_hint: bool,
}

impl Shared {
    #[inline]
    pub(super) fn begin(&self) -> CallStart {
        CallStart {
            deadline: self.deadline.and_then(|span| clock::after(clock::now(), span)),
            // The number is drawn in the call, so that the n-th call is the n-th whether or not it fails.
            seed: self.seed.map_or(0, |seed| random::nth_seed(seed, self.calls.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// The attempt succeeded. Its token stands for load that a dependency which throttles did feel.
    #[inline]
    pub(super) fn settle_success(&self, progress: &mut Progress) {
        let Some(budget) = &self.budget else { return };
        budget.deposit();
        if progress.attempt > 1 && !matches!(progress.before, Some(Verdict::Throttled { .. })) {
            progress.token.refund();
        }
    }

    /// Decides whether another attempt follows, pays for it unless a hint sets the wait, and tells how long to sleep before it.
    pub(super) fn settle_failure(&self, progress: &mut Progress, verdict: Verdict, can_repeat: bool) -> Option<Wait> {
        let attempt = progress.attempt;
        match self.plan_next(progress, verdict, can_repeat) {
            Ok(wait) => {
                progress.attempt = attempt.saturating_add(1);
                progress.before = Some(verdict);
                let delay = wait.delay;
                self.reporter.emit(|name| RetryEvent::Retrying { name, attempt, verdict, delay });
                Some(wait)
            }
            Err(reason) => {
                self.report_end(attempt, verdict, reason);
                None
            }
        }
    }

    /// Pays for an attempt whose wait was set by a hint, now that it is about to be sent.
    pub(super) fn pay_for_next(&self, progress: &mut Progress) -> bool {
        let is_paid = self.budget.as_ref().is_none_or(|budget| progress.token.take(budget));
        if !is_paid {
            self.settle_unsent(progress, GaveUp::BudgetSpent);
        }
        is_paid
    }

    /// The attempt was not sent after all, and no other follows.
    ///
    /// Gives back what was paid for it, and tells how many attempts were sent before it.
    pub(super) fn settle_unsent(&self, progress: &mut Progress, reason: GaveUp) -> u32 {
        progress.token.refund();
        let sent = progress.attempt - 1;
        if let Some(verdict) = progress.before {
            self.report_end(sent, verdict, reason);
        }
        sent
    }

    fn report_end(&self, attempts: u32, verdict: Verdict, reason: GaveUp) {
        if self.max_attempts > 1 {
            self.reporter.emit(|name| RetryEvent::GaveUp { name, attempts, verdict, reason });
        }
    }

    fn plan_next(&self, progress: &mut Progress, verdict: Verdict, can_repeat: bool) -> Result<Wait, GaveUp> {
        if self.is_last(progress.attempt) {
            return Err(GaveUp::AttemptsSpent);
        }
        if !can_repeat {
            return Err(GaveUp::NotRepeatable);
        }
        let hint = verdict.retry_after().unwrap_or_default();
        if hint > self.max_retry_after {
            return Err(GaveUp::RetryAfterTooLong);
        }
        let wait = self.wait(progress, hint)?;
        if progress.deadline.is_some_and(|deadline| wait.until.is_none_or(|until| until > deadline)) {
            return Err(GaveUp::DeadlinePassed);
        }
        match &self.budget {
            Some(budget) if !wait.is_by_hint && !progress.token.take(budget) => Err(GaveUp::BudgetSpent),
            _ => Ok(wait),
        }
    }

    /// The longer of the backoff and of the hint with its jitter, from now on.
    fn wait(&self, progress: &mut Progress, hint: Duration) -> Result<Wait, GaveUp> {
        let begin = || {
            let seed = if self.seed.is_some() { progress.seed } else { random::fresh_seed() };
            self.backoff.delays(seed)
        };
        let delays = progress.delays.get_or_insert_with(begin);
        let backoff = delays.next().ok_or(GaveUp::BackoffEnded)?;
        let is_by_hint = hint > backoff;
        let delay = match is_by_hint {
            true => hint.saturating_add(delays.spread(hint, backoff)).min(self.max_retry_after),
            false => backoff,
        };
        // Without a sleep and without a deadline nobody needs to know when it ends.
        let is_timed = progress.deadline.is_some() || !delay.is_zero();
        let until = is_timed.then(clock::now).and_then(|now| clock::after(now, delay));
        match until {
            None if is_by_hint => Err(GaveUp::RetryAfterTooLong),
            until => Ok(Wait { delay, until, is_by_hint }),
        }
    }

    pub(super) fn is_last(&self, attempt: u32) -> bool {
        attempt >= self.max_attempts
    }
}
