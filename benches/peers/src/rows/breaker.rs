//! Circuit breakers, closed and open. Rates are over the last 100 calls, or over 10 s.

use std::time::Duration;

use layered::{Execute, Service as _, Stack as _};
use recloser::{AsyncRecloser, Recloser};
use seatbelt::{RecoveryInfo, ResilienceContext, breaker::Breaker};
use tick::Clock;
use tower::Layer;
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, DefaultClassifier, SlidingWindowType,
};
use withstand::{CarriesRejected, CircuitBreaker, circuit_breaker::Window};

use super::LONG;
use crate::{
    contender::{
        Contender, Expect, RUNTIME, Row, TOWER_RESILIENCE,
        Target::Best,
        Way::{Plain, Tower},
    },
    operation::{Fails, Failure, Inner, Roomy, Theirs, Traffic, Wide, keep, operate, send},
    outcome::Rejection,
};

pub(super) const CALLS: u32 = 100;
pub(super) const SPAN: Duration = Duration::from_secs(10);
/// Failures in a row, for those that count no rate.
pub(super) const RUN: u32 = 20;

const NEVER_SLIDES: &str = "counts since the circuit last changed: the window never slides";
const COUNTS_BY_TIME: &str = "knows no window of calls: counts over 10 s, by the clock";
const AVERAGES: &str = "a moving average in place of a window";
const COUNTS_A_RATE: &str = "knows no run of failures: counts a rate";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("breaker, closed, success, count window", Expect::Answers, || by_calls::<0>(0.5))
            .targets(Best(0.15), Best(0.2))
            .in_short(),
        Row::new("breaker, closed, count window, 1 in 100 fails", Expect::Fails(100), || by_calls::<100>(0.5))
            .targets(Best(0.7), Best(0.7))
            .in_short(),
        Row::new("breaker, failing below the threshold, 1 in 2", Expect::Fails(2), || by_calls::<2>(0.9))
            .targets(Best(0.7), Best(0.7)),
        Row::new("breaker, closed, success, time window", Expect::Answers, by_time)
            .targets(Best(0.45), Best(0.45))
            .in_short(),
        Row::new("breaker, closed, default rule, 1 in 100 fails", Expect::Fails(100), by_run::<100>),
        // Every call that is let in fails, so all are open before they are measured.
        Row::new("breaker, open", Expect::Rejects, || {
            by_calls::<1>(0.5).into_iter().chain([failsafe_by_run::<1>()]).collect()
        })
        .targets(Best(0.9), Best(0.9))
        .in_short(),
    ]
}

/// Open at this rate of failures over the last calls.
pub(super) fn by_calls<const EVERY: u32>(rate: f64) -> Vec<Contender> {
    let breaker = CircuitBreaker::builder("users")
        .no_consecutive_failures()
        .failure_rate(rate, Window::calls(CALLS))
        .open_for(LONG)
        .build()
        .expect("good settings");
    let recloser = Recloser::custom().error_rate(rate as f32).closed_len(CALLS as usize).open_wait(LONG).build();
    let counted = CircuitBreakerLayer::builder()
        .failure_rate_threshold(rate)
        .sliding_window_size(CALLS as usize)
        .minimum_number_of_calls(CALLS as usize);
    [
        // Those that all fail are rejected before they are measured.
        if EVERY == 1 { us::<EVERY, Wide>(breaker) } else { us::<EVERY, Roomy>(breaker) },
        vec![self::recloser::<EVERY>(recloser), circuitbreaker_rs::<EVERY>(rate).note(NEVER_SLIDES)],
        seatbelt::<EVERY>(rate).map(|seatbelt| seatbelt.note(COUNTS_BY_TIME)).into(),
        vec![tower_resilience::<EVERY>(counted).note(NEVER_SLIDES)],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Open after so many failures without a success.
pub(super) fn by_run<const EVERY: u32>() -> Vec<Contender> {
    let breaker = CircuitBreaker::builder("users").open_for(LONG).build().expect("good settings");
    let recloser = Recloser::custom().error_rate(0.5).closed_len(CALLS as usize).open_wait(LONG).build();
    let counted = CircuitBreakerLayer::builder().consecutive_failures(RUN as usize);
    let mut contenders = us::<EVERY, Roomy>(breaker);
    contenders.push(failsafe_by_run::<EVERY>());
    contenders.push(circuitbreaker_rs::<EVERY>(0.5));
    contenders.push(self::recloser::<EVERY>(recloser).note(COUNTS_A_RATE));
    contenders.extend(seatbelt::<EVERY>(0.5).map(|seatbelt| seatbelt.note(COUNTS_A_RATE)));
    contenders.push(tower_resilience::<EVERY>(counted));
    contenders
}

/// Open at half the calls of the last seconds.
fn by_time() -> Vec<Contender> {
    let breaker = CircuitBreaker::builder("users")
        .no_consecutive_failures()
        .failure_rate(0.5, Window::time(SPAN))
        .open_for(LONG)
        .build()
        .expect("good settings");
    let mut contenders = us::<0, Roomy>(breaker);
    contenders.push(failsafe_by_time::<0>());
    contenders.extend(seatbelt::<0>(0.5));
    contenders.push(tower_resilience_by_time());
    contenders
}

fn us<const EVERY: u32, E>(breaker: CircuitBreaker) -> Vec<Contender>
where
    E: Fails + CarriesRejected + Rejection + 'static,
{
    let breaker = keep(breaker);
    let plain = move || {
        let mut traffic = Traffic::<EVERY>::new();
        move || {
            let fails = traffic.next();
            breaker.call(|| operate::<E>(fails))
        }
    };
    let tower = move || {
        let (mut service, mut traffic) = (breaker.layer().layer(Inner::<E>::new()), Traffic::<EVERY>::new());
        move || send(&mut service, traffic.next())
    };
    vec![Contender::us(Plain, plain), Contender::us(Tower, tower)]
}

fn recloser<const EVERY: u32>(recloser: Recloser) -> Contender {
    let recloser = keep(AsyncRecloser::from(recloser));
    Contender::peer("recloser", Plain, move || {
        let mut traffic = Traffic::<EVERY>::new();
        move || recloser.call(operate::<Failure>(traffic.next()))
    })
}

fn failsafe_by_run<const EVERY: u32>() -> Contender {
    let policy = failsafe::failure_policy::consecutive_failures(RUN, failsafe::backoff::constant(LONG));
    failsafe::<EVERY, _>(policy)
}

pub(super) fn failsafe_by_time<const EVERY: u32>() -> Contender {
    let backoff = failsafe::backoff::constant(LONG);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 20, SPAN, backoff);
    failsafe::<EVERY, _>(policy).note(AVERAGES)
}

fn failsafe<const EVERY: u32, P>(policy: P) -> Contender
where
    P: failsafe::FailurePolicy + Send + Sync + 'static,
{
    use failsafe::futures::CircuitBreaker as _;

    let breaker = keep(failsafe::Config::new().failure_policy(policy).build());
    Contender::peer("failsafe", Plain, move || {
        let mut traffic = Traffic::<EVERY>::new();
        move || breaker.call(operate::<Failure>(traffic.next()))
    })
}

fn circuitbreaker_rs<const EVERY: u32>(rate: f64) -> Contender {
    let breaker = circuitbreaker_rs::CircuitBreaker::<circuitbreaker_rs::DefaultPolicy, Failure>::builder()
        .failure_threshold(rate)
        .min_throughput(CALLS.into())
        .consecutive_failures(RUN.into())
        .cooldown(LONG)
        .build();
    let breaker = keep(breaker);
    Contender::peer("circuitbreaker-rs", Plain, move || {
        let mut traffic = Traffic::<EVERY>::new();
        move || {
            let fails = traffic.next();
            breaker.call_async(move || operate(fails))
        }
    })
}

pub(super) fn seatbelt<const EVERY: u32>(rate: f64) -> [Contender; 2] {
    let context = ResilienceContext::<bool, Theirs>::new(clock());
    let layer = Breaker::layer("users", &context)
        .recovery_with(|result, _| recovery(result))
        .rejected_input_error(|_, _| Failure::Rejected)
        .failure_threshold(rate as f32)
        .min_throughput(20)
        .sampling_duration(SPAN)
        .break_duration(LONG);
    let service = layer.layer(Inner::<Failure>::new());
    let executed = keep((layer, Execute::new(|fails: bool| operate::<Failure>(fails))).into_service());
    let plain = move || {
        let mut traffic = Traffic::<EVERY>::new();
        move || executed.execute(traffic.next())
    };
    let tower = move || {
        let (mut service, mut traffic) = (service.clone(), Traffic::<EVERY>::new());
        move || send(&mut service, traffic.next())
    };
    [Contender::peer("seatbelt", Plain, plain), Contender::peer("seatbelt", Tower, tower)]
}

pub(super) fn clock() -> Clock {
    let _entered = RUNTIME.enter();
    Clock::new_tokio()
}

pub(super) fn recovery<T, E>(result: &Result<T, E>) -> RecoveryInfo {
    if result.is_ok() { RecoveryInfo::never() } else { RecoveryInfo::retry() }
}

fn tower_resilience<const EVERY: u32>(builder: CircuitBreakerConfigBuilder<DefaultClassifier>) -> Contender {
    let layer = builder.wait_duration_in_open(LONG).build().expect("good settings");
    let service = layer.layer(Inner::<Failure>::new());
    let start = move || {
        let (mut service, mut traffic) = (service.clone(), Traffic::<EVERY>::new());
        move || send(&mut service, traffic.next())
    };
    // Two threads wait for each other in its async lock.
    Contender::waiting(TOWER_RESILIENCE, Tower, start)
}

fn tower_resilience_by_time() -> Contender {
    const MOST: u32 = 1000;
    let builder = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .minimum_number_of_calls(20)
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(SPAN)
        .wait_duration_in_open(LONG);
    let layer = builder.build().expect("good settings");
    let empty = layer.layer(Inner::<Failure>::new());
    let contender = Contender::peer(TOWER_RESILIENCE, Tower, move || {
        let (mut service, empty, mut calls) = (empty.clone(), empty.clone(), 0);
        move || {
            calls += 1;
            if calls % MOST == 0 {
                // Only a transition empties it: `reset` leaves a closed circuit as it is.
                RUNTIME.block_on(empty.force_open());
                RUNTIME.block_on(empty.force_closed());
            }
            send(&mut service, false)
        }
    });
    contender
        .note("goes over every call in its window at each call; emptied every 1,000 calls, so it holds 500 on average")
}
