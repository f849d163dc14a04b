//! Bulkheads that reject at once when they are full.

use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use tokio::sync::Semaphore;
use tower::{
    Layer as _, Service as _, ServiceBuilder,
    limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer},
    service_fn,
};
use tower_resilience_bulkhead::BulkheadLayer;
use withstand::{Bulkhead, CarriesRejected};

use crate::{
    contender::{
        Contender, Expect, Row, TOWER_RESILIENCE,
        Target::{Nanos, Of},
        Way::{Plain, Tower},
    },
    operation::{Fails, Failure, Inner, Roomy, Wide, keep, operate, send},
    outcome::Rejection,
};

const MOST: usize = 10;
const SEMAPHORE: &str = "tokio's semaphore";
const SHED_LIMIT: &str = "tower's limit, shed";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("bulkhead, free slot", Expect::Answers, free)
            .targets(Of(SEMAPHORE, 0.75), Of(SHED_LIMIT, 0.75))
            .in_short(),
        Row::new("bulkhead, full", Expect::Rejects, full).targets(Nanos(10.0), Nanos(10.0)),
    ]
}

fn free() -> Vec<Contender> {
    let limit = || {
        let mut service = ConcurrencyLimit::new(Inner::<Failure>::new(), MOST);
        move || send(&mut service, false)
    };
    let tower_resilience = || {
        let layer = BulkheadLayer::builder().max_concurrent_calls(MOST).reject_when_full().build();
        let mut service = layer.expect("good settings").layer(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    let mut contenders = Vec::from(us::<Roomy>(Bulkhead::new("users", MOST)));
    contenders.extend(semaphore(Semaphore::new(MOST)));
    contenders.push(Contender::peer("tower's limit", Tower, limit).note("would wait for a slot, not reject"));
    contenders.push(Contender::peer(TOWER_RESILIENCE, Tower, tower_resilience));
    contenders
}

fn full() -> Vec<Contender> {
    let bulkhead = Bulkhead::new("users", 1);
    keep(bulkhead.try_acquire().expect("the only slot"));
    let taken = Semaphore::new(1);
    taken.try_acquire().expect("the only slot").forget();
    let mut contenders = Vec::from(us::<Wide>(bulkhead));
    contenders.extend(semaphore(taken));
    contenders.push(tower_resilience_full());
    contenders
}

fn us<E>(bulkhead: Bulkhead) -> [Contender; 2]
where
    E: Fails + CarriesRejected + Rejection + 'static,
{
    let bulkhead = keep(bulkhead);
    let tower = || {
        let mut service = bulkhead.layer().layer(Inner::<E>::new());
        move || send(&mut service, false)
    };
    [Contender::us(Plain, || || bulkhead.call(|| operate::<E>(false))), Contender::us(Tower, tower)]
}

fn semaphore(semaphore: Semaphore) -> [Contender; 2] {
    let semaphore = keep(Arc::new(semaphore));
    let plain = || {
        || async {
            let Ok(_slot) = semaphore.try_acquire() else { return Err(Failure::Rejected) };
            operate(false).await
        }
    };
    let tower = || {
        let limit = GlobalConcurrencyLimitLayer::with_semaphore(semaphore.clone());
        let mut service = ServiceBuilder::new().load_shed().layer(limit).service(Inner::<Failure>::new());
        move || send(&mut service, false)
    };
    [Contender::peer(SEMAPHORE, Plain, plain), Contender::peer(SHED_LIMIT, Tower, tower)]
}

fn tower_resilience_full() -> Contender {
    let layer = BulkheadLayer::builder().max_concurrent_calls(1).reject_when_full().build().expect("good settings");
    let mut service = layer.layer(service_fn(|hangs: bool| async move {
        if hangs {
            pending::<()>().await;
        }
        operate::<Failure>(false).await
    }));
    let mut holder = service.call(true);
    assert!(pin!(&mut holder).poll(&mut Context::from_waker(Waker::noop())).is_pending(), "it has the only slot");
    std::mem::forget(holder);
    let start = move || {
        let mut service = service.clone();
        move || send(&mut service, false)
    };
    Contender::waiting(TOWER_RESILIENCE, Tower, start).note("rejects after a wait of a millisecond at least")
}
