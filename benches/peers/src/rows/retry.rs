//! Retries: three attempts at most.

use std::{
    future::{Ready, ready},
    iter::repeat_n,
    time::Duration,
};

use backon::{ConstantBuilder, ExponentialBuilder, Retryable as _};
use layered::{Execute, Service as _, Stack as _};
use seatbelt::{ResilienceContext, retry::Retry};
use tokio_retry::strategy::{ExponentialBackoff, jitter};
use tower::{Layer as _, ServiceBuilder, retry::Policy};
use tower_resilience_retry::RetryLayer;
use withstand::RetryWithBackoff;

use super::breaker::{clock, recovery};
use crate::{
    contender::{
        Contender, Expect, Row, TOWER_RESILIENCE, Target,
        Target::{Best, Nanos},
        Way::{Plain, Tower},
    },
    operation::{Failure, Flaky, Inner, Request, Roomy, Theirs, keep, operate, send},
};

pub(super) const FIRST: Duration = Duration::from_millis(50);
const COUNTS_ONLY: &str = "a policy written for this bench: it counts attempts, without backoff or budget";
const SLEEPS: &str = "sleeps for a millisecond at least, though the delay is zero";
const BUDGET: &str = "with its budget, which no peer has by default";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("retry, first attempt succeeds", Expect::Answers, first_attempt)
            .targets(Best(1.0), Nanos(15.0))
            .in_short(),
        Row::new("retry, two failures, no delay", Expect::Answers, two_failures).targets(Best(0.2), Target::None),
    ]
}

fn first_attempt() -> Vec<Contender> {
    let retry = keep(RetryWithBackoff::new("users"));
    let tower = || {
        let mut service = retry.layer().layer(Inner::<Roomy>::new());
        move || send(&mut service, false)
    };
    let backoff = exponential();
    let seatbelt = seatbelt::<bool>(FIRST, || false);
    let mut contenders = vec![
        Contender::us(Plain, || || retry.call(|| operate::<Roomy>(false))).note(BUDGET),
        Contender::us(Tower, tower).note(BUDGET),
        Contender::peer("backon", Plain, move || move || (|| operate::<Failure>(false)).retry(backoff)),
        Contender::peer("tokio-retry", Plain, || || tokio_retry::Retry::start(delays(), || operate::<Failure>(false))),
        tower_retry(|| false),
        tower_resilience(FIRST, || false),
    ];
    contenders.extend(seatbelt);
    contenders
}

fn two_failures() -> Vec<Contender> {
    let retry = RetryWithBackoff::builder("users").no_backoff().no_budget().build().expect("good settings");
    let retry = keep(retry);
    let plain = move || {
        let flaky = Flaky::new();
        move || retry.call(move || operate::<Roomy>(flaky))
    };
    let tower = || {
        let (mut service, flaky) = (retry.layer().layer(Inner::<Roomy>::new()), Flaky::new());
        move || send(&mut service, flaky)
    };
    let at_once = ConstantBuilder::new().with_delay(Duration::ZERO).with_max_times(2);
    let backon = move || {
        let flaky = Flaky::new();
        move || (move || operate::<Failure>(flaky)).retry(at_once).sleep(|_| ready(()))
    };
    let tokio_retry = || {
        let flaky = Flaky::new();
        move || tokio_retry::Retry::start(repeat_n(Duration::ZERO, 2), move || operate::<Failure>(flaky))
    };
    let mut contenders = vec![
        Contender::us(Plain, plain),
        Contender::us(Tower, tower),
        Contender::peer("backon", Plain, backon)
            .note("given a sleeper that does not sleep; its own sleeps for a millisecond at least"),
        Contender::waiting("tokio-retry", Plain, tokio_retry).note(SLEEPS),
        tower_retry(Flaky::new),
        tower_resilience(Duration::ZERO, Flaky::new).note(SLEEPS),
    ];
    contenders.extend(seatbelt(Duration::ZERO, Flaky::new));
    contenders
}

pub(super) fn exponential() -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(FIRST).with_max_times(2).with_jitter()
}

pub(super) fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBackoff::from_millis(2).factor(25).map(jitter).take(2)
}

fn seatbelt<R>(first: Duration, request: fn() -> R) -> [Contender; 2]
where
    R: Request + Copy + Send + Sync + 'static,
{
    let context = ResilienceContext::<R, Theirs>::new(clock());
    let layer = Retry::layer("users", &context)
        .clone_input()
        .recovery_with(|result, _| recovery(result))
        .max_retry_attempts(2)
        .base_delay(first);
    let service = layer.layer(Inner::<Failure>::new());
    let executed = keep((layer, Execute::new(|request: R| operate::<Failure>(request))).into_service());
    let plain = move || {
        let request = request();
        move || executed.execute(request)
    };
    let tower = move || {
        let (mut service, request) = (service.clone(), request());
        move || send(&mut service, request)
    };
    [Contender::peer("seatbelt", Plain, plain), Contender::peer("seatbelt", Tower, tower)]
}

/// tower brings no policy of its own.
#[derive(Clone, Copy)]
pub(super) struct TriesLeft(pub(super) u32);

impl<R: Clone, T, E> Policy<R, T, E> for TriesLeft {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut R, result: &mut Result<T, E>) -> Option<Ready<()>> {
        if result.is_ok() {
            return None;
        }
        self.0 = self.0.checked_sub(1)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

fn tower_retry<R>(request: fn() -> R) -> Contender
where
    R: Request + Copy + Send + 'static,
{
    let start = move || {
        let mut service = ServiceBuilder::new().retry(TriesLeft(2)).service(Inner::<Failure>::new());
        let request = request();
        move || send(&mut service, request)
    };
    Contender::peer("tower", Tower, start).note(COUNTS_ONLY)
}

fn tower_resilience<R>(first: Duration, request: fn() -> R) -> Contender
where
    R: Request + Copy + Send + 'static,
{
    let layer = RetryLayer::<R, u64, Failure>::builder().max_attempts(3).exponential_backoff(first).build();
    Contender::waiting(TOWER_RESILIENCE, Tower, move || {
        let (mut service, request) = (layer.layer(Inner::<Failure>::new()), request());
        move || send(&mut service, request)
    })
}
