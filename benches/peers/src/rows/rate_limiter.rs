//! Rate limiters that reject at once when they are spent.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota};
use tower::Layer as _;
use tower::limit::{RateLimit, rate::Rate};
use withstand::{CarriesRejected, RateLimiter};

use crate::{
    contender::{
        Contender, Expect, Row,
        Target::Of,
        Way::{Plain, Tower},
    },
    operation::{Fails, Failure, Inner, Roomy, Wide, keep, operate, send},
    outcome::Rejection,
};

/// More than any thread calls.
const MANY: u32 = 1_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const GOVERNOR: &str = "governor";

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("rate limiter, a permit is there", Expect::Answers, free)
            .targets(Of(GOVERNOR, 1.1), Of(GOVERNOR, 1.1)),
        Row::new("rate limiter, spent", Expect::Rejects, spent).targets(Of(GOVERNOR, 1.1), Of(GOVERNOR, 1.1)),
    ]
}

fn free() -> Vec<Contender> {
    let mut contenders = Vec::from(us::<Roomy>(RateLimiter::new("users", MANY, SECOND).expect("good settings")));
    let many = NonZeroU32::new(MANY).expect("not zero");
    contenders.push(governor(DefaultDirectRateLimiter::direct(Quota::per_second(many))));
    let tower = || {
        let mut service = RateLimit::new(Inner::<Failure>::new(), Rate::new(u64::from(MANY), SECOND));
        move || send(&mut service, false)
    };
    contenders.push(Contender::peer("tower's limit", Tower, tower).note("each clone has a limit of its own"));
    contenders
}

fn spent() -> Vec<Contender> {
    let limiter = RateLimiter::new("users", 1, DAY).expect("good settings");
    limiter.try_acquire().expect("the only permit");
    let mut contenders = Vec::from(us::<Wide>(limiter));
    let theirs = DefaultDirectRateLimiter::direct(Quota::with_period(DAY).expect("not zero"));
    theirs.check().expect("the only permit");
    contenders.push(governor(theirs));
    contenders
}

fn us<E>(limiter: RateLimiter) -> [Contender; 2]
where
    E: Fails + CarriesRejected + Rejection + 'static,
{
    let limiter = keep(limiter);
    let tower = || {
        let mut service = limiter.layer().layer(Inner::<E>::new());
        move || send(&mut service, false)
    };
    [Contender::us(Plain, || || limiter.call(|| operate::<E>(false))), Contender::us(Tower, tower)]
}

fn governor(limiter: DefaultDirectRateLimiter) -> Contender {
    let limiter = keep(limiter);
    Contender::peer(GOVERNOR, Plain, || {
        || async {
            if limiter.check().is_err() {
                return Err(Failure::Rejected);
            }
            operate(false).await
        }
    })
    .note("reads the processor's counter, in half of the time that tokio's clock takes")
}
