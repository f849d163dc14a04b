//! One circuit that two threads call all the time.

use super::breaker::{by_calls, by_run, failsafe_by_time};
use crate::contender::{
    Contender, Expect, Row,
    Target::{Best, Of},
    US,
};

const ALONE: &str = "withstand, one thread";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("breaker, two threads, calm", Expect::Answers, || {
            let alone = by_calls::<0>(0.5).into_iter().filter(|contender| contender.name == US);
            let alone = alone.map(|contender| contender.named(ALONE));
            on_two_threads(by_calls::<0>(0.5)).chain(alone).collect()
        })
        .of_threads()
        .targets(Of(ALONE, 1.8), Of(ALONE, 1.8)),
        Row::new("breaker, two threads, default rule, 1 in 100 fails", Expect::Fails(100), || {
            on_two_threads(by_run::<100>()).collect()
        })
        .of_threads()
        .targets(Best(3.0), Best(3.0))
        .in_short(),
        Row::new("breaker, two threads, count window, 1 in 100 fails", Expect::Fails(100), || {
            let by_time = [failsafe_by_time::<100>()];
            on_two_threads(by_calls::<100>(0.5).into_iter().chain(by_time).collect()).collect()
        })
        .of_threads()
        .targets(Best(1.0), Best(1.0)),
    ]
}

fn on_two_threads(contenders: Vec<Contender>) -> impl Iterator<Item = Contender> {
    contenders.into_iter().map(|contender| contender.on(2))
}
