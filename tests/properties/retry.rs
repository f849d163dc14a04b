//! The retry's model: a list of every call with what it has done so far, and one sum of tenths of a token.

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

/// So many tries may follow each other in one poll.
const TRIES_A_POLL: u32 = 32;

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
    tokens: Option<u32>,
    deadline: Option<Duration>,
    max_retry_after: Duration,
}

/// How a try ends, after so many polls that were pending.
#[derive(Clone, Copy, Debug)]
struct Try {
    pending: u32,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Healthy,
    Failed,
    Transient,
    /// An answer that asks to be left alone for so many milliseconds.
    Busy(u32),
    Rejected,
}

impl End {
    fn answer(self) -> Answer {
        match self {
            Self::Healthy => Ok(0),
            Self::Busy(millis) => Ok(millis),
            Self::Failed => Err(Error::Inner("failed")),
            Self::Transient => Err(Error::Inner("transient")),
            Self::Rejected => Err(Error::Inner("rejected")),
        }
    }
}

fn judge(answer: &Answer) -> Verdict {
    match answer {
        Ok(0) => Verdict::Healthy,
        Ok(millis) => Verdict::Transient { retry_after: Some(Duration::from_millis(u64::from(*millis))) },
        Err(Error::Inner("failed")) => Verdict::Failed,
        Err(Error::Inner("transient")) => Verdict::Transient { retry_after: None },
        Err(_) => Verdict::Ignored,
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// These tries, over and over.
    Begin(bool, Vec<Try>),
    Poll(usize),
    Drop(usize),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Retrying { attempt: u32, delay: Duration },
    GaveUp { attempts: u32, reason: GaveUp },
}

fn told(event: &RetryEvent) -> Told {
    match event {
        RetryEvent::Retrying { attempt, delay, .. } => Told::Retrying { attempt: *attempt, delay: *delay },
        RetryEvent::GaveUp { attempts, reason, .. } => Told::GaveUp { attempts: *attempts, reason: *reason },
        other => panic!("{other:?}"),
    }
}

struct Call {
    script: Vec<Try>,
    since: Duration,
    attempt: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Running {
        pending: u32,
    },
    /// Its token is taken, and its try is not sent.
    Sleeping {
        until: Duration,
    },
}

impl Call {
    fn this_try(&self) -> Try {
        self.script[(self.attempt - 1) as usize % self.script.len()]
    }

    fn start(&mut self) {
        self.stage = Stage::Running { pending: self.this_try().pending };
    }
}

struct Model {
    settings: Settings,
    now: Duration,
    tenths: u32,
    calls: Vec<Call>,
    started: usize,
    told: Vec<Told>,
}

impl Model {
    fn new(settings: Settings) -> Self {
        let tenths = settings.tokens.unwrap_or(0) * 10;
        Self { settings, now: Duration::ZERO, tenths, calls: Vec::new(), started: 0, told: Vec::new() }
    }

    fn gain(&mut self, tenths: u32) {
        let most = self.settings.tokens.unwrap_or(0) * 10;
        self.tenths = (self.tenths + tenths).min(most);
    }

    /// How many tries are running.
    fn trying(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call.stage, Stage::Running { .. })).count()
    }

    fn begin(&mut self, script: Vec<Try>) {
        let mut call = Call { script, since: self.now, attempt: 1, stage: Stage::Sleeping { until: self.now } };
        call.start();
        self.started += 1;
        self.calls.push(call);
    }

    fn drop(&mut self, index: usize) {
        if let Stage::Sleeping { .. } = self.calls.remove(index).stage {
            self.gain(10);
        }
    }

    fn poll(&mut self, index: usize) -> Poll<Answer> {
        let mut tries = 0;
        while tries < TRIES_A_POLL {
            let call = &mut self.calls[index];
            match &mut call.stage {
                Stage::Sleeping { until } if self.now < *until => return Poll::Pending,
                Stage::Sleeping { .. } => {
                    call.start();
                    self.started += 1;
                }
                Stage::Running { pending } if *pending > 0 => {
                    *pending -= 1;
                    return Poll::Pending;
                }
                Stage::Running { .. } => {
                    let (end, attempt) = (call.this_try().end, call.attempt);
                    let Some(delay) = self.settle(index, end, attempt) else {
                        self.calls.remove(index);
                        return Poll::Ready(end.answer());
                    };
                    self.calls[index].attempt += 1;
                    self.calls[index].stage = Stage::Sleeping { until: self.now + delay };
                    tries += 1;
                }
            }
        }
        Poll::Pending
    }

    /// The delay before another try, if there is to be one.
    fn settle(&mut self, index: usize, end: End, attempt: u32) -> Option<Duration> {
        let hint = match end {
            End::Healthy if attempt == 1 => {
                self.gain(1);
                return None;
            }
            End::Healthy | End::Rejected => {
                self.gain(if attempt == 1 { 0 } else { 10 });
                return None;
            }
            End::Failed => return None,
            End::Transient => Duration::ZERO,
            End::Busy(millis) => Duration::from_millis(u64::from(millis)),
        };
        let answer = self.next(self.calls[index].since, attempt, hint);
        self.told.push(match answer {
            Ok(delay) => Told::Retrying { attempt, delay },
            Err(reason) => Told::GaveUp { attempts: attempt, reason },
        });
        answer.ok()
    }

    fn next(&mut self, since: Duration, attempt: u32, hint: Duration) -> Result<Duration, GaveUp> {
        if attempt == self.settings.max_attempts {
            return Err(GaveUp::AttemptsSpent);
        }
        if hint > self.settings.max_retry_after {
            return Err(GaveUp::RetryAfterTooLong);
        }
        let delay = self.backoff(attempt).ok_or(GaveUp::BackoffEnded)?.max(hint);
        if self.settings.deadline.is_some_and(|span| self.now + delay > since + span) {
            return Err(GaveUp::DeadlinePassed);
        }
        if self.settings.tokens.is_some() {
            self.tenths = self.tenths.checked_sub(10).ok_or(GaveUp::BudgetSpent)?;
        }
        Ok(delay)
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
    fn scripted(&self, script: Vec<Try>) -> Op {
        let (operations, number) = (self.clone(), AtomicUsize::new(0));
        op(move || {
            operations.started.fetch_add(1, SeqCst);
            let Try { mut pending, end } = script[number.fetch_add(1, SeqCst) % script.len()];
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
    (retry, sibling, door): (&P, &P, Way),
    budget: &RetryBudget,
    heard: &Mutex<Vec<Told>>,
    settings: Settings,
    steps: Vec<Step>,
) -> Result<(), TestCaseError> {
    let has_budget = settings.tokens.is_some();
    let mut model = Model::new(settings);
    let operations = Operations::default();
    let mut calls: Vec<(BoxFuture<'_, Answer>, Op)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let what = format!("step {number} ({step:?})");
        match step {
            Step::Begin(by_sibling, script) => {
                let scripted = operations.scripted(script.clone());
                let policy = if by_sibling { sibling } else { retry };
                calls.push((policy.through(door, &scripted), scripted));
                model.begin(script);
            }
            Step::Poll(which) if !calls.is_empty() => {
                let index = which % calls.len();
                let polled = poll(&mut calls[index].0);
                prop_assert_eq!(&polled, &model.poll(index), "{}", what);
                if polled.is_ready() {
                    // Kept until here: a finished call holds nothing.
                    prop_assert_eq!(operations.alive(calls.len()), model.trying(), "{}", what);
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
        prop_assert_eq!(operations.alive(calls.len()), model.trying(), "{}", what);
        prop_assert_eq!(operations.started.load(SeqCst), model.started, "{}", what);
        prop_assert_eq!(&*heard.lock().expect("no panic"), &model.told, "{}", what);
        if has_budget {
            prop_assert_eq!(budget.available(), f64::from(model.tenths) / 10.0, "{}", what);
        }
    }
    Ok(())
}

async fn agree_by(door: Way, settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hear = heard.clone();
    let budget = RetryBudget::new(settings.tokens.unwrap_or(0));
    let mut builder = RetryWithBackoff::builder("model")
        .max_attempts(settings.max_attempts)
        .max_retry_after(settings.max_retry_after)
        .classify(classify_fn(judge))
        .listener_fn(move |event| hear.lock().expect("no panic").push(told(event)));
    builder = if settings.tokens.is_some() { builder.budget(&budget) } else { builder.no_budget() };
    if let Some(span) = settings.deadline {
        builder = builder.deadline(span);
    }
    match settings.backoff.clone() {
        Backoff::Doubling(first, most) => {
            let retry = builder.backoff(Exponential::new(first, most).jitter(Jitter::None)).build();
            let retry = retry.expect("good settings");
            let sibling = retry.classify(classify_fn(judge));
            agree((&retry, &sibling, door), &budget, &heard, settings, steps).await
        }
        Backoff::Listed(delays) => {
            let retry = builder.backoff_fn(move || delays.clone()).build().expect("good settings");
            let sibling = retry.classify(classify_fn(judge));
            agree((&retry, &sibling, door), &budget, &heard, settings, steps).await
        }
    }
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
    let deadline = option::of(millis(&[1, 50, 100, 1000]));
    (max_attempts, backoff, option::of(0_u32..40), deadline, millis(&[0, 99, 100, 5000])).prop_map(
        |(max_attempts, backoff, tokens, deadline, max_retry_after)| Settings {
            max_attempts,
            backoff,
            tokens,
            deadline,
            max_retry_after,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        3 => Just(End::Healthy),
        6 => Just(End::Transient),
        2 => select(vec![1_u32, 99, 100, 101]).prop_map(End::Busy),
        1 => Just(End::Failed),
        1 => Just(End::Rejected),
    ];
    let one = (select(vec![0, 0, 0, 1, 2]), end).prop_map(|(pending, end)| Try { pending, end });
    let span = select(vec![0, 1, 49, 50, 100, 1000, 1_000_000]).prop_map(Duration::from_millis);
    let step = prop_oneof![
        20 => (any::<bool>(), vec(one, 1..5)).prop_map(|(sibling, script)| Step::Begin(sibling, script)),
        50 => any::<usize>().prop_map(Step::Poll),
        8 => any::<usize>().prop_map(Step::Drop),
        22 => span.prop_map(Step::Pass),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn the_retry_agrees_with_its_model(settings in settings(), steps in steps(), plain: bool) {
        let door = if plain { Way::Plain } else { Way::Tower };
        super::run(agree_by(door, settings, steps))?;
    }
}
