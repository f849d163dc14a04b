//! Panics (G2): all of a user's code that the policies run panics in turn, in each state, either way. Each time the panic reaches
//! the caller (a listener's does not), and the policies work on: no slot is lost, no lock is poisoned.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    collections::BTreeSet,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use support::{ms, pass, secs};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use withstand::{
    Bulkhead, ByError, CircuitBreaker, Classify, Error, Fallback, Pipeline, RateLimiter, RetryBudget, RetryWithBackoff,
    Timeout, Verdict,
    circuit_breaker::{State, Window},
    retry::Backoff,
};

/// Where a user's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Start,
    Poll,
    OperationDrop,
    ResponseDrop,
    BreakerJudge,
    RetryJudge,
    FallbackJudge,
    Backoff,
    Delay,
    Recovery,
    StandInPoll,
    BreakerListener,
    RetryListener,
    TimeoutListener,
    BulkheadListener,
    RateLimiterListener,
    FallbackListener,
    RequestClone,
    ServiceClone,
    Readiness,
}

const PLACES: [Place; 20] = [
    Place::Start,
    Place::Poll,
    Place::OperationDrop,
    Place::ResponseDrop,
    Place::BreakerJudge,
    Place::RetryJudge,
    Place::FallbackJudge,
    Place::Backoff,
    Place::Delay,
    Place::Recovery,
    Place::StandInPoll,
    Place::BreakerListener,
    Place::RetryListener,
    Place::TimeoutListener,
    Place::BulkheadListener,
    Place::RateLimiterListener,
    Place::FallbackListener,
    Place::RequestClone,
    Place::ServiceClone,
    Place::Readiness,
];

impl Place {
    fn is_listener(self) -> bool {
        use Place::*;
        matches!(
            self,
            BreakerListener
                | RetryListener
                | TimeoutListener
                | BulkheadListener
                | RateLimiterListener
                | FallbackListener
        )
    }

    /// Only a service is cloned, or readied.
    fn is_of_tower(self) -> bool {
        matches!(self, Self::RequestClone | Self::ServiceClone | Self::Readiness)
    }
}

/// What the operation does, and in what state its call finds the policies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Succeeds,
    Fails,
    /// An answer that the classifiers call transient.
    AnswersBusy,
    Hangs,
    OpensTheCircuit,
    HalfOpenAndSucceeds,
    HalfOpenAndFails,
    HalfOpenAndHangs,
    Open,
    /// It waits in the queue for a slot.
    Queues,
    /// There is no slot, and no place in the queue.
    IsFull,
    /// It waits in the queue for a permit.
    QueuesForAPermit,
    /// There is no permit, and no place in the queue.
    IsSpent,
}

const CASES: [Case; 13] = [
    Case::Succeeds,
    Case::Fails,
    Case::AnswersBusy,
    Case::Hangs,
    Case::OpensTheCircuit,
    Case::HalfOpenAndSucceeds,
    Case::HalfOpenAndFails,
    Case::HalfOpenAndHangs,
    Case::Open,
    Case::Queues,
    Case::IsFull,
    Case::QueuesForAPermit,
    Case::IsSpent,
];

/// Goes off once, where it is armed.
#[derive(Clone, Debug, Default)]
struct Bomb(Arc<BombState>);

#[derive(Debug, Default)]
struct BombState {
    armed: std::sync::Mutex<Option<Place>>,
    went_off: AtomicBool,
}

impl Bomb {
    fn arm(&self, place: Place) {
        *self.0.armed.lock().expect("not poisoned") = Some(place);
    }

    fn disarm(&self) {
        *self.0.armed.lock().expect("not poisoned") = None;
    }

    fn went_off(&self) -> bool {
        self.0.went_off.load(SeqCst)
    }

    fn at(&self, place: Place) {
        let mut armed = self.0.armed.lock().expect("not poisoned");
        if *armed == Some(place) {
            *armed = None;
            drop(armed);
            self.0.went_off.store(true, SeqCst);
            resume_unwind(Box::new(place));
        }
    }
}

/// An answer whose drop may panic.
#[derive(Debug)]
struct Response {
    busy: bool,
    bomb: Bomb,
}

impl Drop for Response {
    fn drop(&mut self) {
        self.bomb.at(Place::ResponseDrop);
    }
}

type Failure = Error<std::fmt::Error>;
type Answer = Result<Response, Failure>;

#[derive(Clone)]
struct Judge(Bomb, Place);

impl Classify<Response, Failure> for Judge {
    fn classify(&self, answer: &Answer) -> Verdict {
        self.0.at(self.1);
        match answer {
            Ok(response) if !response.busy => Verdict::Healthy,
            Err(Error::Rejected(rejected)) if !rejected.was_started() => Verdict::Ignored,
            _ => Verdict::Transient { retry_after: None },
        }
    }
}

#[derive(Clone, Debug)]
struct Delays(Bomb);

impl Delays {
    fn backoff(bomb: Bomb) -> Backoff {
        Backoff::from_fn(move || {
            bomb.at(Place::Backoff);
            Self(bomb.clone())
        })
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.at(Place::Delay);
        Some(ms(10))
    }
}

/// Does as its case says.
struct Running {
    case: Case,
    bomb: Bomb,
}

impl Future for Running {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        self.bomb.at(Place::Poll);
        match self.case {
            Case::Hangs | Case::HalfOpenAndHangs => Poll::Pending,
            Case::Fails | Case::OpensTheCircuit | Case::HalfOpenAndFails => {
                Poll::Ready(Err(Error::Inner(std::fmt::Error)))
            }
            case => Poll::Ready(Ok(Response { busy: case == Case::AnswersBusy, bomb: self.bomb.clone() })),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bomb.at(Place::OperationDrop);
    }
}

fn start(case: Case, bomb: &Bomb) -> Running {
    bomb.at(Place::Start);
    Running { case, bomb: bomb.clone() }
}

struct Request(Case, Bomb);

impl Clone for Request {
    fn clone(&self) -> Self {
        self.1.at(Place::RequestClone);
        Self(self.0, self.1.clone())
    }
}

struct Backend(Bomb);

impl Clone for Backend {
    fn clone(&self) -> Self {
        self.0.at(Place::ServiceClone);
        Self(self.0.clone())
    }
}

impl Service<Request> for Backend {
    type Response = Response;
    type Error = Failure;
    type Future = Running;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.0.at(Place::Readiness);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Request(case, bomb): Request) -> Running {
        start(case, &bomb)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Tower,
    /// In one pipeline, whose classifier is that of the breaker.
    Pipeline,
    PipelineLayer,
}

const WAYS: [Way; 4] = [Way::Plain, Way::Tower, Way::Pipeline, Way::PipelineLayer];

impl Way {
    /// What no call of this way runs.
    fn never_runs(self, place: Place) -> bool {
        let by_layers = matches!(self, Self::Tower | Self::PipelineLayer);
        let in_pipeline = matches!(self, Self::Pipeline | Self::PipelineLayer);
        (place.is_of_tower() && !by_layers)
            || (in_pipeline && matches!(place, Place::RetryJudge | Place::FallbackJudge | Place::RateLimiterListener))
    }
}

/// One of each policy, all of it told by a user's code.
#[derive(Clone)]
struct Policies {
    bomb: Bomb,
    limiter: RateLimiter,
    bulkhead: Bulkhead,
    breaker: CircuitBreaker<Judge>,
    retry: RetryWithBackoff<Judge>,
    timeout: Timeout,
    budget: RetryBudget,
}

impl Policies {
    fn new() -> Self {
        let bomb = Bomb::default();
        let at = |place| {
            let bomb = bomb.clone();
            move || bomb.at(place)
        };
        let (opened, tried, expired, rejected, limited) = (
            at(Place::BreakerListener),
            at(Place::RetryListener),
            at(Place::TimeoutListener),
            at(Place::BulkheadListener),
            at(Place::RateLimiterListener),
        );
        let budget = RetryBudget::new(100);
        Self {
            limiter: RateLimiter::builder("panics", 10, secs(1))
                .queue(1, secs(60))
                .listener_fn(move |_| limited())
                .build()
                .expect("good settings"),
            bulkhead: Bulkhead::builder("panics", 1)
                .queue(1, secs(60))
                .listener_fn(move |_| rejected())
                .build()
                .expect("good settings"),
            breaker: CircuitBreaker::builder("panics")
                .failure_rate(0.9, Window::calls(6))
                .no_consecutive_failures()
                .classify(Judge(bomb.clone(), Place::BreakerJudge))
                .listener_fn(move |_| opened())
                .build()
                .expect("good settings"),
            retry: RetryWithBackoff::builder("panics")
                .backoff(Delays::backoff(bomb.clone()))
                .budget(&budget)
                .classify(Judge(bomb.clone(), Place::RetryJudge))
                .listener_fn(move |_| tried())
                .build()
                .expect("good settings"),
            timeout: Timeout::new(ms(100)).listener_fn(move |_| expired()),
            budget,
            bomb,
        }
    }

    async fn call(self, way: Way, case: Case) -> Answer {
        let (recover, heard) = (self.bomb.clone(), self.bomb.clone());
        let fallback = Fallback::from_async_result_fn(move |result: Answer| {
            recover.at(Place::Recovery);
            drop(result);
            let bomb = recover.clone();
            poll_fn(move |_| {
                bomb.at(Place::StandInPoll);
                Poll::Ready(Answer::Err(Error::Inner(std::fmt::Error)))
            })
        })
        .listener_fn(move |_: &withstand::FallbackEvent<'_, Response, Failure>| heard.at(Place::FallbackListener));
        let Self { bomb, limiter, bulkhead, breaker, retry, timeout, .. } = self;
        let pipeline = Pipeline::builder("panics")
            .timeout(secs(90))
            .bulkhead(bulkhead.clone())
            .retry(retry.classify(ByError))
            .circuit_breaker(breaker.classify(ByError))
            .attempt_timeout(timeout.clone())
            .classify(Judge(bomb.clone(), Place::BreakerJudge))
            .fallback(fallback.clone())
            .build()
            .expect("good settings");
        let fallback = fallback.classify(Judge(bomb.clone(), Place::FallbackJudge));
        match way {
            Way::Pipeline => pipeline.call(|| start(case, &bomb)).await,
            Way::PipelineLayer => {
                let service = pipeline.layer().layer(Backend(bomb.clone()));
                service.oneshot(Request(case, bomb)).await
            }
            Way::Plain => {
                let one = || breaker.call(|| timeout.call(|| start(case, &bomb)));
                fallback.call(|| limiter.call(|| bulkhead.call(|| retry.call(one)))).await
            }
            Way::Tower => {
                let service = ServiceBuilder::new()
                    .layer(fallback.layer())
                    .layer(limiter.layer())
                    .layer(bulkhead.layer())
                    .layer(retry.layer())
                    .layer(breaker.layer())
                    .layer(timeout.layer())
                    .service(Backend(bomb.clone()));
                service.oneshot(Request(case, bomb)).await
            }
        }
    }

    /// A call that may panic.
    fn spawn(&self, way: Way, case: Case) -> tokio::task::JoinHandle<Result<(), Failure>> {
        let call = self.clone().call(way, case);
        tokio::spawn(async move {
            // What is answered belongs to the caller, and so does a panic in its drop.
            call.await.map(std::mem::forget)
        })
    }

    async fn prepare(&self, case: Case) {
        let fails = match case {
            Case::OpensTheCircuit => 5,
            Case::HalfOpenAndSucceeds | Case::HalfOpenAndFails | Case::HalfOpenAndHangs | Case::Open => 6,
            _ => 0,
        };
        for _ in 0..fails {
            self.breaker.try_acquire().expect("it is closed").failure();
        }
        if fails == 6 && case != Case::Open {
            pass(secs(2)).await;
            assert_eq!(self.breaker.state(), State::HalfOpen);
        }
    }

    /// Whether the bomb went off.
    async fn work_on_after(&self, way: Way, case: Case, place: Place) -> bool {
        let what = format!("{place:?} in {case:?} by {way:?}");
        self.prepare(case).await;
        let is_full = matches!(case, Case::Queues | Case::IsFull);
        let slot = is_full.then(|| self.bulkhead.try_acquire().expect("it is free"));
        let place_in_the_queue = (case == Case::IsFull).then(|| self.bulkhead.acquire());
        if matches!(case, Case::QueuesForAPermit | Case::IsSpent) {
            self.limiter.try_acquire_many(10).expect("it is full");
        }
        let waits_for_a_permit = (case == Case::IsSpent).then(|| self.limiter.acquire());
        let before = self.breaker.snapshot().counts.failures.total;
        self.bomb.arm(place);
        let call = self.spawn(way, case);
        pass(ms(1)).await;
        drop((slot, place_in_the_queue, waits_for_a_permit));
        let ended = tokio::time::timeout(secs(30), call).await.unwrap_or_else(|_| panic!("it never ends: {what}"));
        let went_off = self.bomb.went_off();
        match ended {
            Ok(_) => assert!(!went_off || place.is_listener(), "the panic was swallowed: {what}"),
            Err(error) => {
                let thrown = error.try_into_panic().expect("not aborted");
                assert_eq!(thrown.downcast_ref(), Some(&place), "another panic: {what}");
                assert!(!place.is_listener(), "a listener's panic came through: {what}");
            }
        }
        if went_off && matches!(place, Place::Start | Place::Poll | Place::BreakerJudge) && case == Case::Succeeds {
            assert_eq!(self.breaker.snapshot().counts.failures.total, before, "it counts as dropped: {what}");
        }
        self.bomb.disarm();
        self.are_whole(way, &what).await;
        went_off
    }

    async fn are_whole(&self, way: Way, what: &str) {
        let bulkhead = self.bulkhead.snapshot();
        assert_eq!((bulkhead.in_flight, bulkhead.queued, self.limiter.snapshot().queued), (0, 0, 0), "{what}");
        assert_eq!(self.breaker.snapshot().probes_in_flight, 0, "{what}");
        assert!((90.0..=100.0).contains(&self.budget.available()), "{what}");
        self.breaker.reset();
        let again = self.spawn(way, Case::Succeeds).await.expect("no panic");
        assert_eq!(again, Ok(()), "works on: {what}");
    }
}

#[tokio::test(start_paused = true)]
async fn g2_every_piece_of_a_users_code_panics_in_every_state_and_the_policies_work_on() {
    for way in WAYS {
        let mut reached = BTreeSet::new();
        for place in PLACES {
            for case in CASES {
                if Policies::new().work_on_after(way, case, place).await {
                    reached.insert(place);
                }
            }
        }
        let missed: Vec<_> = PLACES.iter().filter(|place| !reached.contains(place)).collect();
        let expected: Vec<_> = PLACES.iter().filter(|place| way.never_runs(**place)).collect();
        assert_eq!(missed, expected, "nothing panicked there by {way:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn g2_an_operation_that_panics_when_its_call_is_dropped_gives_its_slot_back() {
    for way in WAYS {
        for case in [Case::Hangs, Case::HalfOpenAndHangs] {
            let policies = Policies::new();
            policies.prepare(case).await;
            let mut call = Box::pin(policies.clone().call(way, case));
            assert!(support::poll(&mut call).is_pending());
            policies.bomb.arm(Place::OperationDrop);
            let thrown = catch_unwind(AssertUnwindSafe(|| drop(call)));
            assert!(thrown.is_err() && policies.bomb.went_off(), "{case:?} by {way:?}");
            policies.are_whole(way, &format!("{case:?} by {way:?}")).await;
        }
    }
}

/// Panics when woken, or counts.
struct Alarm {
    panics: bool,
    woken: AtomicUsize,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, SeqCst);
        if self.panics {
            resume_unwind(Box::new("woken"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g2_a_waker_that_panics_leaves_no_one_behind_it_in_the_queue_unwoken() {
    let wait = |bulkhead: &Bulkhead, panics| {
        let alarm = Arc::new(Alarm { panics, woken: AtomicUsize::new(0) });
        let mut acquire = Box::pin(bulkhead.acquire());
        let waker = Waker::from(alarm.clone());
        assert!(acquire.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        (acquire, alarm)
    };
    let bulkhead = Bulkhead::builder("panics", 0).queue(3, secs(60)).build().expect("good settings");
    let waiting = [true, false, true].map(|panics| wait(&bulkhead, panics));
    bulkhead.set_max_concurrent(3);
    for (acquire, alarm) in waiting {
        assert_eq!(alarm.woken.load(SeqCst), 1);
        drop(acquire.await.expect("its slot is granted"));
    }
    let held = [(); 3].map(|()| bulkhead.try_acquire().expect("it is free"));
    let (acquire, alarm) = wait(&bulkhead, true);
    drop(held);
    assert_eq!(alarm.woken.load(SeqCst), 1);
    drop(acquire.await.expect("its slot is granted"));
    assert_eq!(bulkhead.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn g2_a_waker_that_panics_leaves_the_queue_of_a_rate_limiter_whole() {
    let limiter = RateLimiter::builder("panics", 1, secs(1)).queue(3, secs(60)).build().expect("good settings");
    limiter.try_acquire().expect("it is full");
    let mut waiting = Vec::new();
    for panics in [false, true, false] {
        let alarm = Arc::new(Alarm { panics, woken: AtomicUsize::new(0) });
        let mut acquire = Box::pin(limiter.acquire());
        assert!(acquire.as_mut().poll(&mut Context::from_waker(&Waker::from(alarm.clone()))).is_pending());
        waiting.push((acquire, alarm));
    }
    let (last, second) = (waiting.pop().expect("three"), waiting.pop().expect("two"));
    // Each that leaves wakes the next.
    drop(waiting);
    assert_eq!(second.1.woken.load(SeqCst), 1);
    drop(second);
    assert_eq!(last.1.woken.load(SeqCst), 1);
    last.0.await.expect("it is the first");
    assert_eq!(limiter.snapshot().queued, 0);
}
