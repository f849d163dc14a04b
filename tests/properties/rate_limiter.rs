//! The rate limiter's model: a list of all calls in the order in which they came, and the status of each. Beside it, the
//! law itself: what was taken in any span of time.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use proptest::{collection::vec, option, prelude::*, sample::select};
use withstand::{
    RateLimiter, RateLimiterAcquire, RateLimiterEvent, RateLimiterSettings, Rejected, rate_limiter::QueueSettings,
};

const MAX_WAIT: Duration = Duration::from_millis(700);
const QUEUE: Option<(usize, Duration)> = Some((5, MAX_WAIT));

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire(u32),
    TryAcquire(u32),
    Poll(usize),
    Drop(usize),
    SetRate(Rate),
    Apply(Change),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    limit: u32,
    period: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    rate: Rate,
    /// `None`: as much as the limit.
    burst: Option<u32>,
    is_window: bool,
    /// Its capacity, and how long a call may wait.
    queue: Option<(usize, Duration)>,
}

/// What settings that are applied may change.
#[derive(Clone, Copy, Debug)]
struct Change {
    rate: Rate,
    /// It is left out of a window.
    burst: Option<u32>,
    queue: Option<(usize, Duration)>,
}

impl Settings {
    fn with(self, Change { rate, burst, queue }: Change) -> Self {
        Self { rate, burst: burst.filter(|_| !self.is_window), queue, ..self }
    }

    fn as_data(&self) -> RateLimiterSettings {
        let mut settings = RateLimiterSettings::new(self.rate.limit, self.rate.period);
        settings.burst = self.burst;
        settings.fixed_window = self.is_window;
        settings.queue = self.queue.map(|(capacity, max_wait)| QueueSettings::new(capacity, max_wait));
        settings
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    /// `polled`: it has a waker in the queue.
    Queued { end: u128, polled: bool },
    /// A new limit made it too late. `woken`: its waker must have been called.
    Late { woken: bool },
    /// It has its permits, and has not been told.
    Admitted,
    /// It was rejected at once, and has not been told. `pends`: its first poll lets other tasks run.
    Rejected { pends: bool, retry_after: Option<Duration> },
}

#[derive(Clone, Copy, Debug)]
struct Call {
    cost: u32,
    status: Status,
}

struct Model {
    settings: Settings,
    /// All moments are nanoseconds since the beginning.
    now: u128,
    /// When it is full again.
    full_at: u128,
    /// The end of a window, and what was taken of it.
    window: (u128, u32),
    calls: Vec<Call>,
    rejected: u64,
    rejected_at_once: u64,
    /// When permits were taken, and how many, under each limit.
    taken: Vec<(Settings, Vec<(u128, u32)>)>,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            now: 0,
            full_at: 0,
            window: (0, 0),
            calls: Vec::new(),
            rejected: 0,
            rejected_at_once: 0,
            taken: vec![(settings, Vec::new())],
        }
    }

    fn period(&self) -> u128 {
        self.settings.rate.period.as_nanos()
    }

    fn interval(&self) -> u128 {
        self.period().div_ceil(u128::from(self.settings.rate.limit.max(1)))
    }

    fn burst(&self) -> u32 {
        let limit = self.settings.rate.limit;
        if limit == 0 { 0 } else { self.settings.burst.unwrap_or(limit) }
    }

    fn queued(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| matches!(call.status, Status::Queued { .. }))
    }

    fn first(&self) -> Option<usize> {
        self.calls.iter().position(|call| matches!(call.status, Status::Queued { .. }))
    }

    /// How long until a call has its permits, behind others that take theirs first.
    fn wait(&self, ahead: &[u32], cost: u32) -> Option<u128> {
        let limit = self.settings.rate.limit;
        if cost > self.burst() || limit == 0 {
            return None;
        }
        if !self.settings.is_window {
            let needs =
                self.full_at.saturating_sub(self.now) + self.interval() * u128::from(ahead.iter().sum::<u32>() + cost);
            return Some(needs.saturating_sub(self.interval() * u128::from(self.burst())));
        }
        let (mut end, mut left) = (self.window.0, limit.saturating_sub(self.window.1));
        if self.now >= end {
            (end, left) = (self.now + self.period(), limit);
        }
        // Each takes all of its permits from one window, and none before the one ahead of it.
        let mut start = self.now;
        for cost in ahead.iter().chain([&cost]) {
            if *cost > left {
                (start, end, left) = (end, end + self.period(), limit);
            }
            left -= cost;
        }
        Some(start - self.now)
    }

    fn wait_behind_the_queue(&self, cost: u32) -> Option<u128> {
        self.wait(&self.queued().map(|call| call.cost).collect::<Vec<_>>(), cost)
    }

    fn take(&mut self, cost: u32) -> bool {
        if self.wait(&[], cost) != Some(0) {
            return false;
        }
        if self.settings.is_window {
            if self.now >= self.window.0 {
                self.window = (self.now + self.period(), 0);
            }
            self.window.1 += cost;
        } else {
            self.full_at = self.full_at.max(self.now) + self.interval() * u128::from(cost);
        }
        let now = self.now;
        self.taken.last_mut().expect("there is a limit").1.push((now, cost));
        true
    }

    fn try_acquire(&mut self, cost: u32) -> Result<(), Option<Duration>> {
        if cost == 0 || self.first().is_none() && self.take(cost) {
            return Ok(());
        }
        self.rejected += 1;
        Err(self.wait_behind_the_queue(cost).map(nanos))
    }

    fn acquire(&mut self, cost: u32) {
        let wait = self.wait_behind_the_queue(cost);
        let (capacity, max_wait) = self.settings.queue.unwrap_or_default();
        let has_room = self.queued().count() < capacity;
        let status = if cost == 0 || self.first().is_none() && self.take(cost) {
            Status::Admitted
        } else if has_room && wait.is_some_and(|wait| wait <= max_wait.as_nanos()) {
            Status::Queued { end: self.now + max_wait.as_nanos(), polled: false }
        } else {
            self.rejected += 1;
            self.rejected_at_once += 1;
            Status::Rejected { pends: self.rejected_at_once % 32 == 0, retry_after: wait.map(nanos) }
        };
        self.calls.push(Call { cost, status });
    }

    fn poll(&mut self, index: usize) -> Poll<Result<(), Option<Duration>>> {
        let Call { cost, status } = self.calls[index];
        match status {
            Status::Admitted => {
                self.calls.remove(index);
                Poll::Ready(Ok(()))
            }
            Status::Rejected { pends: true, retry_after } => {
                self.calls[index].status = Status::Rejected { pends: false, retry_after };
                Poll::Pending
            }
            Status::Rejected { pends: false, retry_after } => {
                self.calls.remove(index);
                Poll::Ready(Err(retry_after))
            }
            Status::Queued { .. } if self.first() == Some(index) && self.take(cost) => {
                self.calls.remove(index);
                Poll::Ready(Ok(()))
            }
            Status::Queued { end, .. } if self.now < end => {
                self.calls[index].status = Status::Queued { end, polled: true };
                Poll::Pending
            }
            Status::Queued { .. } | Status::Late { .. } => {
                self.calls.remove(index);
                self.rejected += 1;
                Poll::Ready(Err(self.wait_behind_the_queue(cost).map(nanos)))
            }
        }
    }

    fn apply(&mut self, settings: Settings) {
        let began = self.window.0.saturating_sub(self.period());
        let has_passed = self.now >= self.window.0;
        self.settings = settings;
        if !has_passed {
            self.window.0 = began + self.period();
        }
        if settings.rate.limit > 0 {
            let longest = self.interval() * u128::from(self.burst());
            self.full_at = self.full_at.min(self.now + longest);
        }
        self.taken.push((self.settings, Vec::new()));
        let mut ahead = Vec::new();
        for index in 0..self.calls.len() {
            let Call { cost, status: Status::Queued { end, polled } } = self.calls[index] else { continue };
            if self.wait(&ahead, cost).is_some_and(|wait| self.now + wait <= end) {
                ahead.push(cost);
            } else {
                self.calls[index].status = Status::Late { woken: polled };
            }
        }
    }

    /// L1 and L5, by all spans from one call to another.
    fn check_what_was_taken(&self) -> Result<(), TestCaseError> {
        for (Settings { rate, burst, is_window, .. }, taken) in &self.taken {
            let (limit, period) = (u128::from(rate.limit), rate.period.as_nanos());
            for (first, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end, cost) in &taken[first..] {
                    sum += u128::from(*cost);
                    let span = end - start;
                    let most = if *is_window {
                        limit * (span / period + 2)
                    } else {
                        burst.map_or(limit, u128::from) + span * limit / period
                    };
                    prop_assert!(sum <= most, "{} in {} ns, of {:?} and {:?}", sum, span, rate, burst);
                }
            }
        }
        Ok(())
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).expect("a short time"))
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

fn retry_after(rejected: &Rejected) -> Option<Duration> {
    match rejected {
        Rejected::RateLimited(limited) => limited.retry_after(),
        other => panic!("{other}"),
    }
}

async fn agree(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let heard = Arc::new(Mutex::new(0));
    let hears = heard.clone();
    let builder = RateLimiter::builder("model", 1, MAX_WAIT).settings(&settings.as_data()).listener_fn(move |event| {
        assert!(matches!(event, RateLimiterEvent::Rejected { .. }), "{event:?}");
        *hears.lock().expect("no panic") += 1;
    });
    let limiter = builder.build().expect("good settings");
    let mut model = Model::new(settings);
    let mut calls: Vec<(Pin<Box<RateLimiterAcquire>>, Arc<Woken>)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let first_before = model.first().map(|first| calls[first].1.clone());
        match step {
            Step::Acquire(cost) => {
                calls.push((Box::pin(limiter.clone().acquire_many(cost)), Arc::default()));
                model.acquire(cost);
            }
            Step::TryAcquire(cost) => {
                let told = limiter.try_acquire_many(cost).map_err(|rejected| retry_after(&rejected));
                prop_assert_eq!(told, model.try_acquire(cost), "step {}", number);
            }
            Step::Poll(which) if !calls.is_empty() => {
                let index = which % calls.len();
                let (acquire, woken) = &mut calls[index];
                let waker = Waker::from(woken.clone());
                woken.0.store(false, SeqCst);
                let told = acquire.as_mut().poll(&mut Context::from_waker(&waker));
                let told = told.map_err(|rejected| retry_after(&rejected));
                if told.is_ready() {
                    drop(calls.remove(index));
                }
                prop_assert_eq!(told, model.poll(index), "step {}", number);
            }
            Step::Drop(which) if !calls.is_empty() => {
                let index = which % calls.len();
                drop(calls.remove(index));
                model.calls.remove(index);
            }
            Step::Poll(_) | Step::Drop(_) => {}
            Step::SetRate(rate) => {
                limiter.set_rate(rate.limit, rate.period).expect("a good rate");
                model.apply(Settings { rate, ..model.settings });
            }
            Step::Apply(change) => {
                let settings = model.settings.with(change);
                limiter.apply(&settings.as_data()).expect("good settings");
                model.apply(settings);
            }
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span.as_nanos();
            }
        }
        prop_assert_eq!(limiter.settings(), model.settings.as_data(), "step {}", number);
        let seen = limiter.snapshot();
        prop_assert_eq!(
            (seen.limit, seen.burst, seen.queued, seen.queue_capacity, seen.rejected, *heard.lock().expect("no panic")),
            (
                model.settings.rate.limit,
                model.burst(),
                model.queued().count(),
                model.settings.queue.map_or(0, |(capacity, _)| capacity),
                model.rejected,
                model.rejected
            ),
            "after step {} ({:?})",
            number,
            step
        );
        let available = (0..=model.burst()).rev().find(|cost| *cost == 0 || model.wait(&[], *cost) == Some(0));
        prop_assert_eq!(Some(seen.available), available, "after step {} ({:?})", number, step);
        let is_new_first = |woken: &Arc<Woken>| first_before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, woken));
        for (index, ((_, woken), call)) in calls.iter().zip(&model.calls).enumerate() {
            let must_be_woken = match call.status {
                Status::Late { woken } => woken,
                Status::Queued { polled, .. } => polled && model.first() == Some(index) && is_new_first(woken),
                Status::Admitted | Status::Rejected { .. } => false,
            };
            prop_assert!(!must_be_woken || woken.0.load(SeqCst), "a wake-up was lost at step {} ({:?})", number, step);
        }
    }
    model.check_what_was_taken()
}

fn rate(lowest: u32) -> impl Strategy<Value = Rate> {
    let periods = select(vec![7, 1_000_000, 100_000_000, 1_000_000_000]).prop_map(Duration::from_nanos);
    (lowest..7, periods).prop_map(|(limit, period)| Rate { limit, period })
}

fn settings() -> impl Strategy<Value = Settings> {
    let burst_and_form = prop_oneof![
        3 => option::of(1_u32..7).prop_map(|burst| (burst, false)),
        1 => Just((None, true)),
    ];
    (rate(0), burst_and_form).prop_map(|(rate, (burst, is_window))| Settings { rate, burst, is_window, queue: QUEUE })
}

fn change() -> impl Strategy<Value = Change> {
    let wait = select(vec![1, 50, 700, 5_000]).prop_map(Duration::from_millis);
    let queue = prop_oneof![2 => Just(QUEUE), 2 => option::of((1_usize..7, wait))];
    (rate(0), option::of(1_u32..7), queue).prop_map(|(rate, burst, queue)| Change { rate, burst, queue })
}

/// `applied`: how often settings are applied.
fn steps(applied: u32) -> impl Strategy<Value = Vec<Step>> {
    let spans = vec![0, 1, 2, 142_857, 14_285_715, 33_333_333, 33_333_334, 100_000_000, 700_000_000, 10_000_000_000];
    let span = prop_oneof![select(spans), 0_u64..300_000_000].prop_map(Duration::from_nanos);
    let cost = || prop_oneof![6 => Just(1_u32), 1 => 0_u32..8];
    let step = prop_oneof![
        25 => cost().prop_map(Step::Acquire),
        10 => cost().prop_map(Step::TryAcquire),
        40 => any::<usize>().prop_map(Step::Poll),
        12 => any::<usize>().prop_map(Step::Drop),
        2 => rate(0).prop_map(Step::SetRate),
        25 => span.prop_map(Step::Pass),
        applied => change().prop_map(Step::Apply),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn l1_l3_l4_l5_the_rate_limiter_agrees_with_its_model(settings in settings(), steps in steps(0)) {
        super::run(agree(settings, steps))?;
    }

    #[test]
    fn c3_so_it_does_while_its_settings_change(settings in settings(), steps in steps(8)) {
        super::run(agree(settings, steps))?;
    }
}
