//! Timeouts.

use layered::{Execute, Service as _, Stack as _};
use seatbelt::{ResilienceContext, timeout::Timeout as Seatbelt};
use tower::{Layer as _, timeout::TimeoutLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;
use withstand::Timeout;

use super::{LONG, breaker::clock};
use crate::{
    contender::{
        Contender, Expect, Row, TOWER_RESILIENCE,
        Target::Of,
        Way::{Plain, Tower},
    },
    operation::{Failure, Inner, Roomy, Theirs, keep, operate, send},
};

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new("timeout, ready at once", Expect::Answers, ready_at_once);
    vec![row.targets(Of("tokio", 0.65), Of("tower", 0.65)).in_short()]
}

fn ready_at_once() -> Vec<Contender> {
    let timeout = keep(Timeout::new(LONG));
    let us = || {
        let mut service = timeout.layer().layer(Inner::<Roomy>::new());
        move || send(&mut service, false)
    };
    let tokio = || || async { tokio::time::timeout(LONG, operate(false)).await.unwrap_or(Err(Failure::Rejected)) };
    let tower = || {
        let mut service = TimeoutLayer::new(LONG).layer(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    let tower_resilience = || {
        let layer = TimeLimiterLayer::builder().timeout_duration(LONG).build();
        let mut service = layer.layer(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    let mut contenders = vec![
        Contender::us(Plain, || || timeout.call(|| operate::<Roomy>(false))),
        Contender::us(Tower, us),
        Contender::peer("tokio", Plain, tokio),
        Contender::peer("tower", Tower, tower),
        Contender::peer(TOWER_RESILIENCE, Tower, tower_resilience),
    ];
    contenders.extend(seatbelt());
    contenders
}

fn seatbelt() -> [Contender; 2] {
    let context = ResilienceContext::<bool, Theirs>::new(clock());
    let layer = Seatbelt::layer("users", &context).timeout_error(|_| Failure::Rejected).timeout(LONG);
    let service = layer.layer(Inner::<Failure>::new());
    let executed = keep((layer, Execute::new(|fails: bool| operate::<Failure>(fails))).into_service());
    let tower = move || {
        let mut service = service.clone();
        move || send(&mut service, false)
    };
    [
        Contender::peer("seatbelt", Plain, move || move || executed.execute(false)),
        Contender::peer("seatbelt", Tower, tower),
    ]
}
