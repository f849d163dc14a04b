//! The retry's model: a list of every call with what it has done so far, and one sum of thousandths of a token.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures::future::BoxFuture;
use proptest::{collection::vec, option, prelude::*, sample::select};
use withstand::{
    Error, RetryBudget, RetryEvent, RetryWithBackoff, Verdict, classify_fn,
    retry::{Exponential, GaveUp, Jitter},
};

use super::support::{Answer, Op, Policy, Way, op, poll};

/// So many attempts may follow each other in one poll.
const ATTEMPTS_PER_POLL: u32 = 32;

#[derive(Clone, Debug)]
enum Backoff {
    /// From `.0`, doubling up to `.1`.
    Doubling(Duration, Duration),
    /// These, and then the retry ends.
    Listed(Vec<Duration>),
}

#[derive(Clone, Debug)]
struct Settings {
    max_attempts: u32,
    backoff: Backoff,
    bucket: Option<Bucket>,
    deadline: Option<Duration>,
    max_retry_after: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// In thousandths.
    per_success: u32,
    refill_every: Option<Duration>,
}

/// How an attempt ends, after so many polls that were pending.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    pending: u32,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Healthy,
    Failed,
    Transient,
    Unreached,
    /// An answer that asks to be left alone for so many milliseconds.
    Busy(u32),
    /// The same, from a dependency that is well.
    Throttled(u32),
    Rejected,
}

/// What marks the answers that were throttled.
const THROTTLED: u32 = 1_000_000;

impl End {
    fn answer(self) -> Answer {
        match self {
            Self::Healthy => Ok(0),
            Self::Busy(millis) => Ok(millis),
            Self::Throttled(millis) => Ok(THROTTLED + millis),
            Self::Failed => Err(Error::Inner("failed")),
            Self::Transient => Err(Error::Inner("transient")),
            Self::Unreached => Err(Error::Inner("unreached")),
            Self::Rejected => Err(Error::Inner("rejected")),
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Self::Healthy => Verdict::Healthy,
            Self::Busy(millis) => Verdict::Transient { retry_after: Some(wait(millis)) },
            Self::Throttled(millis) => Verdict::Throttled { retry_after: Some(wait(millis)) },
            Self::Failed => Verdict::Failed,
            Self::Transient => Verdict::TRANSIENT,
            Self::Unreached => Verdict::Unreached,
            Self::Rejected => Verdict::Ignored,
        }
    }
}

fn wait(millis: u32) -> Duration {
    Duration::from_millis(u64::from(millis))
}

fn judge(answer: &Answer) -> Verdict {
    let end = match answer {
        Ok(0) => End::Healthy,
        Ok(millis) if *millis >= THROTTLED => End::Throttled(millis - THROTTLED),
        Ok(millis) => End::Busy(*millis),
        Err(Error::Inner("failed")) => End::Failed,
        Err(Error::Inner("transient")) => End::Transient,
        Err(Error::Inner("unreached")) => End::Unreached,
        Err(_) => End::Rejected,
    };
    end.verdict()
}

#[derive(Clone, Debug)]
enum Step {
    /// These attempts, over and over, by the handle with another classifier or not.
    Begin(bool, Vec<Attempt>),
    Poll(usize),
    Drop(usize),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Retrying { attempt: u32, verdict: Verdict, delay: Duration },
    GaveUp { attempts: u32, verdict: Verdict, reason: GaveUp },
}

fn told(event: &RetryEvent) -> Told {
    match event {
        RetryEvent::Retrying { attempt, verdict, delay, .. } => {
            Told::Retrying { attempt: *attempt, verdict: *verdict, delay: *delay }
        }
        RetryEvent::GaveUp { attempts, verdict, reason, .. } => {
            Told::GaveUp { attempts: *attempts, verdict: *verdict, reason: *reason }
        }
        other => panic!("{other:?}"),
    }
}

struct Call {
    script: Vec<Attempt>,
    since: Duration,
    /// The attempt that runs or is to come.
    attempt: u32,
    /// How the attempt before ended.
    before: Option<End>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running { pending: u32 },
    Sleeping { until: Duration, is_paid: bool },
}

impl Call {
    fn this_attempt(&self) -> Attempt {
        self.script[(self.attempt - 1) as usize % self.script.len()]
    }

    fn start(&mut self) {
        self.stage = Stage::Running { pending: self.this_attempt().pending };
    }
}

struct Model {
    settings: Settings,
    now: Duration,
    /// Thousandths of a token.
    level: u64,
    /// Up to when time has added tokens.
    refilled_at: Duration,
    calls: Vec<Call>,
    started: usize,
    told: Vec<Told>,
    /// What the retry has told. Chance has a part in it: the model checks that it is within its bounds, and goes by it.
    heard: Arc<Mutex<Vec<Told>>>,
}

impl Model {
    fn new(settings: Settings, heard: Arc<Mutex<Vec<Told>>>) -> Self {
        let mut model = Self {
            settings,
            now: Duration::ZERO,
            level: 0,
            refilled_at: Duration::ZERO,
            calls: Vec::new(),
            started: 0,
            told: Vec::new(),
            heard,
        };
        model.level = model.capacity();
        model
    }

    fn capacity(&self) -> u64 {
        self.settings.bucket.map_or(0, |bucket| u64::from(bucket.tokens) * 1000)
    }

    fn gain(&mut self, thousandths: u64) {
        self.level = (self.level + thousandths).min(self.capacity());
    }

    fn refill(&mut self) {
        let Some(token) = self.settings.bucket.and_then(|bucket| bucket.refill_every) else { return };
        while self.level < self.capacity() && self.refilled_at + token / 10 <= self.now {
            self.refilled_at += token / 10;
            self.gain(100);
        }
    }

    fn take_token(&mut self) -> bool {
        if self.settings.bucket.is_none() {
            return true;
        }
        if self.level == self.capacity() {
            self.refilled_at = self.now;
        }
        self.refill();
        let is_there = self.level >= 1000;
        self.level -= if is_there { 1000 } else { 0 };
        is_there
    }

    /// How many attempts are running.
    fn running(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call.stage, Stage::Running { .. })).count()
    }

    fn begin(&mut self, script: Vec<Attempt>) {
        let stage = Stage::Sleeping { until: self.now, is_paid: false };
        let mut call = Call { script, since: self.now, attempt: 1, before: None, stage };
        call.start();
        self.started += 1;
        self.calls.push(call);
    }

    fn drop(&mut self, index: usize) {
        if let Stage::Sleeping { is_paid: true, .. } = self.calls.remove(index).stage {
            self.gain(1000);
        }
    }

    fn poll(&mut self, index: usize) -> Poll<Answer> {
        let mut attempts = 0;
        while attempts < ATTEMPTS_PER_POLL {
            let call = &mut self.calls[index];
            match &mut call.stage {
                Stage::Sleeping { until, .. } if self.now < *until => return Poll::Pending,
                Stage::Sleeping { is_paid, .. } => {
                    if !*is_paid && !self.take_token() {
                        let call = self.calls.remove(index);
                        let last = call.before.expect("it waits for a further attempt");
                        self.give_up(call.attempt - 1, last, GaveUp::BudgetSpent);
                        return Poll::Ready(last.answer());
                    }
                    self.calls[index].start();
                    self.started += 1;
                }
                Stage::Running { pending } if *pending > 0 => {
                    *pending -= 1;
                    return Poll::Pending;
                }
                Stage::Running { .. } => {
                    let end = call.this_attempt().end;
                    let Some(stage) = self.settle(index, end) else {
                        self.calls.remove(index);
                        return Poll::Ready(end.answer());
                    };
                    let call = &mut self.calls[index];
                    (call.attempt, call.before, call.stage) = (call.attempt + 1, Some(end), stage);
                    attempts += 1;
                }
            }
        }
        Poll::Pending
    }

    /// The sleep before another attempt, if there is to be one.
    fn settle(&mut self, index: usize, end: End) -> Option<Stage> {
        let Call { attempt, before, since, .. } = self.calls[index];
        match (end, before) {
            (End::Healthy, before) => {
                self.gain(self.settings.bucket.map_or(0, |bucket| u64::from(bucket.per_success)));
                if !matches!(before, None | Some(End::Throttled(_))) {
                    self.gain(1000);
                }
                None
            }
            (End::Rejected, Some(before)) => {
                self.gain(1000);
                self.give_up(attempt - 1, before, GaveUp::Rejected);
                None
            }
            (End::Rejected, None) | (End::Failed, _) => None,
            (End::Transient | End::Unreached | End::Busy(_) | End::Throttled(_), _) => {
                match self.plan(since, attempt, end.verdict().retry_after().unwrap_or_default()) {
                    Ok((delay, is_paid)) => {
                        self.told.push(Told::Retrying { attempt, verdict: end.verdict(), delay });
                        Some(Stage::Sleeping { until: self.now + delay, is_paid })
                    }
                    Err(reason) => {
                        self.give_up(attempt, end, reason);
                        None
                    }
                }
            }
        }
    }

    fn give_up(&mut self, attempts: u32, last: End, reason: GaveUp) {
        if self.settings.max_attempts > 1 {
            self.told.push(Told::GaveUp { attempts, verdict: last.verdict(), reason });
        }
    }

    fn plan(&mut self, since: Duration, attempt: u32, hint: Duration) -> Result<(Duration, bool), GaveUp> {
        if attempt == self.settings.max_attempts {
            return Err(GaveUp::AttemptsSpent);
        }
        if hint > self.settings.max_retry_after {
            return Err(GaveUp::RetryAfterTooLong);
        }
        let backoff = self.backoff(attempt).ok_or(GaveUp::BackoffEnded)?;
        let left = self.settings.deadline.map(|span| (since + span).checked_sub(self.now));
        if left.is_some_and(|left| left.is_none_or(|left| backoff.max(hint) > left)) {
            return Err(GaveUp::DeadlinePassed);
        }
        if hint <= backoff {
            return if self.take_token() { Ok((backoff, true)) } else { Err(GaveUp::BudgetSpent) };
        }
        if self.settings.bucket.is_some_and(|bucket| bucket.tokens == 0) {
            return Err(GaveUp::BudgetSpent);
        }
        let longest = left.flatten().unwrap_or(Duration::MAX).min(self.settings.max_retry_after);
        let bounds = hint..=(hint + backoff.max(hint / 10)).min(longest);
        let delay = match self.heard.lock().expect("no panic").get(self.told.len()) {
            Some(Told::Retrying { delay, .. }) if bounds.contains(delay) => *delay,
            _ => hint,
        };
        Ok((delay, self.settings.bucket.is_none()))
    }

    fn backoff(&self, attempt: u32) -> Option<Duration> {
        match &self.settings.backoff {
            Backoff::Doubling(first, most) => {
                Some((1..attempt).fold(*first, |delay, _| (delay * 2).min(*most)).min(*most))
            }
            Backoff::Listed(delays) => delays.get(attempt as usize - 1).copied(),
        }
    }
}

/// The real operations: how many were started, and how many live.
#[derive(Clone, Default)]
struct Operations {
    started: Arc<AtomicUsize>,
    alive: Arc<()>,
}

impl Operations {
    fn scripted(&self, script: Vec<Attempt>) -> Op {
        let (operations, number) = (self.clone(), AtomicUsize::new(0));
        op(move || {
            operations.started.fetch_add(1, SeqCst);
            let Attempt { mut pending, end } = script[number.fetch_add(1, SeqCst) % script.len()];
            let alive = operations.alive.clone();
            poll_fn(move |_| {
                let _held = &alive;
                if pending == 0 {
                    return Poll::Ready(end.answer());
                }
                pending -= 1;
                Poll::Pending
            })
        })
    }

    /// How many of them live, beside the scripts that so many calls may start again.
    fn alive(&self, calls: usize) -> usize {
        Arc::strong_count(&self.alive) - 1 - calls
    }
}

async fn agree<P: Policy>(
    (retry, other, way): (&P, &P, Way),
    budget: Option<&RetryBudget>,
    heard: &Arc<Mutex<Vec<Told>>>,
    settings: Settings,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let mut model = Model::new(settings, heard.clone());
    let operations = Operations::default();
    let mut calls: Vec<(BoxFuture<'_, Answer>, Op)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let what = format!("step {number} ({step:?})");
        match step {
            Step::Begin(by_other, script) => {
                let scripted = operations.scripted(script.clone());
                let policy = if by_other { other } else { retry };
                calls.push((policy.through(way, &scripted), scripted));
                model.begin(script);
            }
            Step::Poll(which) if !calls.is_empty() => {
                let index = which % calls.len();
                let polled = poll(&mut calls[index].0);
                prop_assert_eq!(&polled, &model.poll(index), "{}", what);
                if polled.is_ready() {
                    // Kept until here: a finished call holds nothing.
                    prop_assert_eq!(operations.alive(calls.len()), model.running(), "{}", what);
                    drop(calls.remove(index));
                }
            }
            Step::Drop(which) if !calls.is_empty() => {
                let index = which % calls.len();
                drop(calls.remove(index));
                model.drop(index);
            }
            Step::Poll(_) | Step::Drop(_) => {}
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span;
            }
        }
        prop_assert_eq!(operations.alive(calls.len()), model.running(), "{}", what);
        prop_assert_eq!(operations.started.load(SeqCst), model.started, "{}", what);
        prop_assert_eq!(&*heard.lock().expect("no panic"), &model.told, "{}", what);
        if let Some(budget) = budget {
            model.refill();
            prop_assert_eq!(budget.available(), model.level as f64 / 1000.0, "{}", what);
        }
    }
    Ok(())
}

async fn agree_by(way: Way, settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let budget = settings.bucket.map(|Bucket { tokens, per_success, refill_every }| {
        let builder = RetryBudget::builder(tokens).per_success(f64::from(per_success) / 1000.0);
        let builder = match refill_every {
            Some(span) => builder.refill_every(span),
            None => builder.no_refill(),
        };
        builder.build().expect("good settings")
    });
    let mut builder = RetryWithBackoff::builder("model")
        .max_attempts(settings.max_attempts)
        .max_retry_after(settings.max_retry_after)
        .backoff(match settings.backoff.clone() {
            Backoff::Doubling(first, most) => Exponential::new(first, most).jitter(Jitter::None).into(),
            Backoff::Listed(delays) => withstand::retry::Backoff::from_fn(move || delays.clone()),
        })
        .classify(classify_fn(judge))
        .listener_fn(move |event| hear.lock().expect("no panic").push(told(event)));
    builder = match &budget {
        Some(budget) => builder.budget(budget),
        None => builder.no_budget(),
    };
    if let Some(span) = settings.deadline {
        builder = builder.deadline(span);
    }
    let retry = builder.build().expect("good settings");
    let other = retry.classify(classify_fn(judge));
    agree((&retry, &other, way), budget.as_ref(), &heard, settings, steps).await
}

fn settings() -> impl Strategy<Value = Settings> {
    let millis = |spans: &[u64]| select(spans.to_vec()).prop_map(Duration::from_millis);
    let doubling = (1_u64..200, 0_u64..1000)
        .prop_map(|(first, more)| Backoff::Doubling(Duration::from_millis(first), Duration::from_millis(first + more)));
    let backoff = prop_oneof![
        4 => doubling,
        1 => vec(millis(&[0, 1, 50, 1000]), 0..6).prop_map(Backoff::Listed),
        1 => Just(Backoff::Listed(vec![Duration::ZERO; 100])),
    ];
    let max_attempts = select(vec![1, 2, 3, 5, 40, 70]);
    let deadline = option::of(millis(&[1, 50, 100, 105, 1000]));
    let refill_every = option::of(millis(&[10, 1000, 60_000]));
    let bucket = (0_u32..40, select(vec![0, 1, 100, 1000]), refill_every)
        .prop_map(|(tokens, per_success, refill_every)| Bucket { tokens, per_success, refill_every });
    (max_attempts, backoff, option::of(bucket), deadline, millis(&[0, 99, 100, 103, 5000])).prop_map(
        |(max_attempts, backoff, bucket, deadline, max_retry_after)| Settings {
            max_attempts,
            backoff,
            bucket,
            deadline,
            max_retry_after,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let hint = || select(vec![1_u32, 99, 100, 101, 2000]);
    let end = prop_oneof![
        4 => Just(End::Healthy),
        5 => Just(End::Transient),
        1 => Just(End::Unreached),
        2 => hint().prop_map(End::Busy),
        2 => hint().prop_map(End::Throttled),
        1 => Just(End::Throttled(0)),
        1 => Just(End::Failed),
        1 => Just(End::Rejected),
    ];
    let one = (select(vec![0, 0, 0, 1, 2]), end).prop_map(|(pending, end)| Attempt { pending, end });
    let span = select(vec![0, 1, 49, 50, 100, 1000, 1_000_000]).prop_map(Duration::from_millis);
    let step = prop_oneof![
        20 => (any::<bool>(), vec(one, 1..5)).prop_map(|(by_other, script)| Step::Begin(by_other, script)),
        50 => any::<usize>().prop_map(Step::Poll),
        8 => any::<usize>().prop_map(Step::Drop),
        22 => span.prop_map(Step::Pass),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn the_retry_agrees_with_its_model(settings in settings(), steps in steps(), plain: bool) {
        let way = if plain { Way::Plain } else { Way::Tower };
        super::run(agree_by(way, settings, steps))?;
    }
}
