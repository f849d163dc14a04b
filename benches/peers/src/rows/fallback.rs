//! Fallbacks that have nothing to do.

use layered::{Execute, Service as _, Stack as _};
use seatbelt::{ResilienceContext, fallback::Fallback as Seatbelt};
use tower::{Layer as _, ServiceBuilder};
use tower_resilience_fallback::FallbackLayer;
use withstand::Fallback;

use super::breaker::clock;
use crate::{
    contender::{
        Contender, Expect, Row, TOWER_RESILIENCE,
        Target::{Best, Over},
        Way::{Plain, Tower},
    },
    operation::{Failure, Inner, Roomy, Theirs, keep, operate, send},
};

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new("fallback, success", Expect::Answers, success);
    vec![row.targets(Best(1.0), Over("tower's map", 12.0)).in_short()]
}

fn success() -> Vec<Contender> {
    let fallback = keep(Fallback::value(0));
    let us = || {
        let mut service = fallback.layer().layer(Inner::<Roomy>::new());
        move || send(&mut service, false)
    };
    let tower = || {
        let or_zero = |result: Theirs| result.or(Ok::<_, Failure>(0));
        let mut service = ServiceBuilder::new().map_result(or_zero).service(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    let tower_resilience = || {
        let mut service = FallbackLayer::<bool, u64, Failure>::value(0).layer(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    let mut contenders = vec![
        Contender::us(Plain, || || fallback.call(|| operate::<Roomy>(false))),
        Contender::us(Tower, us),
        Contender::peer("tower's map", Tower, tower),
        Contender::peer(TOWER_RESILIENCE, Tower, tower_resilience),
    ];
    contenders.extend(seatbelt());
    contenders
}

fn seatbelt() -> [Contender; 2] {
    let context = ResilienceContext::<bool, Theirs>::new(clock());
    let layer = Seatbelt::layer("users", &context).should_fallback(Result::is_err).fallback(|_, _| Ok(0));
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
