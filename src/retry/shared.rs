use std::{
    mem,
    // Not `crate::sync`'s: no interleaving depends on it.
    sync::atomic::AtomicU32 as SettingWord,
    time::Duration,
};

use super::{
    attempt::AttemptPlan,
    backoff::Delays,
    budget::RetryBudget,
    event::{GaveUp, RetryEvent},
    plan::{CodeParts, PaidToken, Plan},
    settings::{BudgetSettings, RetryBudgetSettings, RetrySettings},
};
use crate::{
    classify::Verdict,
    clock::{self, Instant, LiveSpan},
    deadline::{self, Deadline},
    error::{ConfigError, Name, Rejected},
    event::Reporter,
    random,
    sync::{Arc, AtomicU64, Lock, Ordering},
};

/// The settings, budget and call count that a retry's clones and layers share.
#[derive(Debug)]
pub struct Shared {
    reporter: Reporter<RetryEvent>,
    /// The bucket of this policy, also while nothing bounds the retries: then no token is taken from it.
    budget: RetryBudget,
    // What a call has to know before it fails.
    deadline: LiveSpan,
    max_attempts: SettingWord,
    /// What it has to know once it has failed.
    plan: Lock<Arc<Plan>>,
    code: CodeParts,
    made_with: Lock<RetrySettings>,
    seed: Option<u64>,
    calls: AtomicU64,
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
    pub(super) fn new(
        reporter: Reporter<RetryEvent>,
        settings: RetrySettings,
        code: CodeParts,
        seed: Option<u64>,
    ) -> Self {
        let bucket = match settings.budget {
            Some(BudgetSettings::Own(own)) => own,
            Some(BudgetSettings::Unlimited) | None => RetryBudgetSettings::default(),
        };
        let budget = code.budget.clone().unwrap_or_else(|| RetryBudget::of(bucket));
        Self {
            reporter,
            deadline: LiveSpan::new(settings.deadline),
            max_attempts: SettingWord::new(settings.max_attempts),
            made_with: Lock::new(settings.clone()),
            plan: Lock::new(Arc::new(Plan::new(settings, &code, &budget))),
            budget,
            code,
            seed,
            calls: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> &Name {
        self.reporter.name()
    }

    pub(super) fn budget(&self) -> Option<&RetryBudget> {
        let is_bounded = self.plan.lock().budget.is_some();
        is_bounded.then_some(&self.budget)
    }

    /// Whether a new one would not be the same: its budget is short of tokens, or it has other settings than it was
    /// made with. A budget that others hold too lives on with them.
    pub(super) fn must_stay(&self) -> bool {
        let plan = self.plan.lock();
        // Our own handles on the bucket: in here, in the plan, and among what code gave.
        let own = 1 + usize::from(plan.budget.is_some()) + usize::from(self.code.budget.is_some());
        plan.settings != *self.made_with.lock()
            || plan.budget.as_ref().is_some_and(|budget| budget.is_short_and_held_by(own))
    }

    /// Takes these settings as those that it was made with.
    pub(super) fn set_made_with(&self, settings: &RetrySettings) {
        *self.made_with.lock() = settings.clone();
    }

    pub(super) fn settings(&self) -> RetrySettings {
        self.plan.lock().settings.clone()
    }

    /// Whether these settings could be applied.
    pub(super) fn check(&self, settings: &RetrySettings) -> Result<(), ConfigError> {
        settings.check(self.code.given(), self.name())
    }

    /// Applies settings that were checked.
    pub(super) fn apply_checked(&self, settings: &RetrySettings) {
        let mut plan = Arc::new(Plan::new(settings.clone(), &self.code, &self.budget));
        let mut present = self.plan.lock();
        match settings.budget {
            _ if self.code.budget.is_some() => {}
            Some(BudgetSettings::Unlimited) => {}
            Some(BudgetSettings::Own(own)) => self.budget.apply(own),
            None => self.budget.apply(RetryBudgetSettings::default()),
        }
        self.deadline.set(settings.deadline);
        self.max_attempts.store(settings.max_attempts, Ordering::Relaxed);
        mem::swap(&mut *present, &mut plan);
        // The plan before may be the last to hold a closure of the user, which is dropped after the lock is released.
        drop(present);
        drop(plan);
    }

    #[inline]
    pub(crate) fn begin(&self) -> CallStart {
        let own = self.deadline.get().map_or(Deadline::NEVER, Deadline::within);
        CallStart {
            deadline: own.or_earlier(deadline::current()).end(),
            // The number is drawn in the call, so that the n-th call is the n-th whether or not it fails.
            seed: self.seed.map(|seed| random::nth_seed(seed, self.calls.fetch_add(1, Ordering::Relaxed))),
        }
    }

    /// The attempt succeeded. After an answer that was throttled its token stays spent: it stands for load that the
    /// dependency did feel.
    #[inline]
    ///
    /// `progress`: there is none if it was the first attempt.
    pub(crate) fn record_success(&self, progress: Option<&mut Progress>) {
        self.budget.deposit();
        let Some(progress) = progress else { return };
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
                self.report_give_up(progress, attempt, verdict, reason);
                None
            }
        }
    }

    /// Pays for a retry whose wait was set by a hint, now that it is about to be sent.
    pub(crate) fn pay_after_wait(&self, progress: &mut Progress) -> bool {
        let is_paid = progress.token.take();
        if !is_paid {
            self.end_without_sending(progress, GaveUp::BudgetSpent);
        }
        is_paid
    }

    /// The attempt never reached the dependency, and no other follows: what was paid for it goes back.
    pub(crate) fn end_without_sending(&self, progress: &mut Progress, reason: GaveUp) {
        progress.token.refund();
        if let Some(verdict) = progress.last_verdict {
            self.report_give_up(progress, progress.attempt - 1, verdict, reason);
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
    fn report_give_up(&self, progress: &Progress, attempts: u32, verdict: Verdict, reason: GaveUp) {
        if progress.token.plan().is_some_and(|plan| plan.settings.max_attempts > 1) {
            self.reporter.emit(|name| RetryEvent::GaveUp { name, attempts, verdict, reason });
        }
    }

    fn wait_before_retry(&self, progress: &mut Progress, verdict: Verdict, can_repeat: bool) -> Result<Wait, GaveUp> {
        let Progress { attempt, token, delays, deadline, .. } = progress;
        if token.plan().is_none() {
            token.set_plan(self.plan.lock().clone());
        }
        let Some(plan) = token.plan() else { unreachable!("it was set") };
        let (max_retry_after, deadline) = (plan.settings.max_retry_after, *deadline);
        if *attempt >= plan.settings.max_attempts {
            return Err(GaveUp::AttemptsSpent);
        }
        if !can_repeat {
            return Err(GaveUp::NotRepeatable);
        }
        let hint = verdict.retry_after().unwrap_or_default();
        if hint > max_retry_after {
            return Err(GaveUp::RetryAfterTooLong);
        }
        let backoff = plan.backoff.next_delay(delays).ok_or(GaveUp::BackoffEnded)?;
        let is_by_hint = hint > backoff;
        // Without a sleep and without a deadline nobody needs to know the time.
        let is_timed = is_by_hint || !backoff.is_zero() || deadline.is_some();
        let now = is_timed.then(clock::now);
        let delay = if is_by_hint {
            hint + spread(delays, hint, backoff, longest(max_retry_after, deadline, now))
        } else {
            backoff
        };
        let until = now.and_then(|now| clock::after(now, delay));
        if is_by_hint && until.is_none() {
            return Err(GaveUp::RetryAfterTooLong);
        }
        if deadline.is_some_and(|deadline| until.is_none_or(|until| until > deadline)) {
            return Err(GaveUp::DeadlinePassed);
        }
        // Callers that are told to come back in half a minute do not empty the budget meanwhile. They pay when they are
        // back.
        let pays_later = is_by_hint && plan.budget.as_ref().is_some_and(|budget| budget.capacity() > 0);
        if !pays_later && !token.take() {
            return Err(GaveUp::BudgetSpent);
        }
        let is_paid = !pays_later;
        Ok(Wait { delay, until, is_paid })
    }

    pub(super) fn plan_first_attempt(&self) -> AttemptPlan {
        AttemptPlan { number: 1, is_last: self.has_one_attempt(), end: None }
    }

    pub(super) fn plan_attempt(&self, progress: &Progress) -> AttemptPlan {
        let (number, is_last) = (progress.attempt, self.is_last(progress));
        AttemptPlan { number, is_last, end: None }
    }

    /// Whether no other attempt can follow the present one.
    pub(crate) fn is_last(&self, progress: &Progress) -> bool {
        progress.attempt >= progress.token.plan().map_or_else(|| self.max_attempts(), |plan| plan.settings.max_attempts)
    }

    #[inline]
    fn max_attempts(&self) -> u32 {
        self.max_attempts.load(Ordering::Relaxed)
    }

    /// Whether a call that begins now has one attempt only.
    #[inline]
    pub(crate) fn has_one_attempt(&self) -> bool {
        self.max_attempts() <= 1
    }
}

/// The longest wait by a hint.
fn longest(max_retry_after: Duration, deadline: Option<Instant>, now: Option<Instant>) -> Duration {
    let until_deadline = deadline.zip(now).map(|(deadline, now)| deadline.saturating_duration_since(now));
    until_deadline.unwrap_or(Duration::MAX).min(max_retry_after)
}

/// What is added to a `retry_after`, so that callers who were told the same time do not come back at one instant: a
/// random span up to a tenth of it, or up to the backoff's own delay if that is longer. It passes neither
/// `max_retry_after` nor the deadline.
fn spread(delays: &mut Delays, hint: Duration, backoff: Duration, longest: Duration) -> Duration {
    delays.random_span((hint / 10).max(backoff).min(longest.saturating_sub(hint)))
}
