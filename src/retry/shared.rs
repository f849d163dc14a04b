use std::time::Duration;

use super::{
    attempt::AttemptPlan,
    backoff::{Backoff, Delays},
    budget::{PaidToken, RetryBudget},
    event::{GaveUp, RetryEvent},
};
use crate::{
    classify::Verdict,
    clock::{self, Instant},
    deadline::{self, Deadline},
    error::Rejected,
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
pub(crate) struct Progress {
    /// The number of the attempt that runs or is to come.
    pub(crate) attempt: u32,
    /// How many attempts were sent before this one. An attempt that our own breaker or bulkhead rejected was not.
    pub(crate) sent_before: u32,
    /// The token that this attempt has paid.
    pub(crate) token: PaidToken,
    /// What the attempt before this one was judged.
    last_verdict: Option<Verdict>,
    deadline: Option<Instant>,
    delays: Delays,
}

/// What a call knows of itself when it begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallStart {
    deadline: Option<Instant>,
    seed: Option<u64>,
}

impl Progress {
    /// Before the first attempt.
    #[inline(always)]
    pub(crate) fn new(CallStart { deadline, seed }: CallStart) -> Self {
        Self {
            attempt: 1,
            sent_before: 0,
            token: PaidToken::default(),
            last_verdict: None,
            deadline,
            delays: Delays::NotBegun { seed },
        }
    }
}

/// The time between two attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) delay: Duration,
    /// Its end, if there is a sleep at all. The decision was made by it, and it is not computed again: listeners and
    /// drops run in between.
    pub(crate) until: Option<Instant>,
    /// Whether the next attempt needs no token any more.
    pub(crate) is_paid: bool,
}

impl Shared {
    #[inline]
    pub(crate) fn begin(&self) -> CallStart {
        let own = self.deadline.map_or(Deadline::NEVER, Deadline::within);
        CallStart {
            deadline: own.or_earlier(deadline::current()).end(),
            // The number is drawn in the call, so that the n-th call is the n-th whether or not it fails.
            seed: self.seed.map(|seed| random::nth_seed(seed, self.calls.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// The attempt succeeded. After an answer that was throttled its token stays spent: it stands for load that the
    /// dependency did feel.
    #[inline]
    pub(crate) fn record_success(&self, progress: &mut Progress) {
        let Some(budget) = &self.budget else { return };
        budget.deposit();
        if progress.attempt > 1 && !matches!(progress.last_verdict, Some(Verdict::Throttled { .. })) {
            progress.token.refund();
        }
    }

    /// The attempt failed in a way that another may cure. Decides whether another follows, and how long to sleep before
    /// it.
    pub(crate) fn plan_retry(&self, progress: &mut Progress, verdict: Verdict, can_repeat: bool) -> Option<Wait> {
        let attempt = progress.attempt;
        progress.token.forfeit();
        match self.wait_before_retry(progress, verdict, can_repeat) {
            Ok(wait) => {
                progress.attempt = attempt.saturating_add(1);
                progress.last_verdict = Some(verdict);
                let delay = wait.delay;
                self.reporter.emit(|name| RetryEvent::Retrying { name, attempt, verdict, delay });
                Some(wait)
            }
            Err(reason) => {
                self.report_give_up(attempt, verdict, reason);
                None
            }
        }
    }

    /// Pays for a retry whose wait was set by a hint, now that it is about to be sent.
    pub(crate) fn pay_after_wait(&self, progress: &mut Progress) -> bool {
        let is_paid = self.budget.as_ref().is_none_or(|budget| progress.token.take(budget));
        if !is_paid {
            self.end_without_sending(progress, GaveUp::BudgetSpent);
        }
        is_paid
    }

    /// The attempt never reached the dependency, and no other follows: what was paid for it goes back.
    pub(crate) fn end_without_sending(&self, progress: &mut Progress, reason: GaveUp) {
        progress.token.refund();
        if let Some(verdict) = progress.last_verdict {
            self.report_give_up(progress.attempt - 1, verdict, reason);
        }
    }

    /// The result says nothing about the dependency, and no other attempt follows: our own rejection, or an attempt that
    /// the deadline has ended.
    pub(crate) fn end_ignored(&self, progress: &mut Progress, rejected: Option<&Rejected>) {
        if rejected.is_none_or(|rejected| !rejected.was_started()) {
            return self.end_without_sending(progress, GaveUp::Rejected);
        }
        // It was sent, so its token stays spent.
        progress.token.forfeit();
        let by_deadline = matches!(rejected, Some(Rejected::TimedOut(_)));
        let reason = if by_deadline { GaveUp::DeadlinePassed } else { GaveUp::Rejected };
        self.end_without_sending(progress, reason);
    }

    /// Where only one attempt is allowed, nothing is given up.
    fn report_give_up(&self, attempts: u32, verdict: Verdict, reason: GaveUp) {
        if self.max_attempts > 1 {
            self.reporter.emit(|name| RetryEvent::GaveUp { name, attempts, verdict, reason });
        }
    }

    fn wait_before_retry(&self, progress: &mut Progress, verdict: Verdict, can_repeat: bool) -> Result<Wait, GaveUp> {
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
        let backoff = self.backoff.next_delay(&mut progress.delays).ok_or(GaveUp::BackoffEnded)?;
        let is_by_hint = hint > backoff;
        // Without a sleep and without a deadline nobody needs to know the time.
        let is_timed = is_by_hint || !backoff.is_zero() || progress.deadline.is_some();
        let now = is_timed.then(clock::now);
        let delay = if is_by_hint { hint + self.spread(progress, hint, backoff, now) } else { backoff };
        let until = now.and_then(|now| clock::after(now, delay));
        if is_by_hint && until.is_none() {
            return Err(GaveUp::RetryAfterTooLong);
        }
        if progress.deadline.is_some_and(|deadline| until.is_none_or(|until| until > deadline)) {
            return Err(GaveUp::DeadlinePassed);
        }
        let is_paid = match &self.budget {
            None => true,
            // Callers that are told to come back in half a minute do not empty the budget meanwhile. They pay when they
            // are back.
            Some(budget) if is_by_hint && budget.capacity() > 0 => false,
            Some(budget) if progress.token.take(budget) => true,
            Some(_) => return Err(GaveUp::BudgetSpent),
        };
        Ok(Wait { delay, until, is_paid })
    }

    /// What is added to a `retry_after`, so that callers who were told the same time do not come back at one instant: a
    /// random span up to a tenth of it, or up to the backoff's own delay if that is longer. It passes neither
    /// `max_retry_after` nor the deadline.
    fn spread(&self, progress: &mut Progress, hint: Duration, backoff: Duration, now: Option<Instant>) -> Duration {
        let until_deadline = progress.deadline.zip(now).map(|(deadline, now)| deadline.saturating_duration_since(now));
        let longest = until_deadline.unwrap_or(Duration::MAX).min(self.max_retry_after);
        progress.delays.random_span((hint / 10).max(backoff).min(longest.saturating_sub(hint)))
    }

    pub(crate) fn plan_attempt(&self, number: u32) -> AttemptPlan {
        AttemptPlan { number, is_last: self.is_last(number), end: deadline::current().end() }
    }

    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        attempt >= self.max_attempts
    }
}
