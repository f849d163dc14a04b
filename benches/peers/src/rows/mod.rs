//! The rows of the table: one file per policy.

mod all_five;
mod breaker;
mod bulkhead;
mod fallback;
mod rate_limiter;
mod retry;
mod threads;
mod timeout;

use std::time::Duration;

use crate::{
    contender::{
        Contender, Expect, Row,
        Way::{Plain, Tower},
    },
    operation::{Failure, Inner, Ours, Roomy, Theirs, operate, send},
};

/// Long enough that nothing is over while it is measured.
const LONG: Duration = Duration::from_secs(3600);

pub(crate) fn all() -> Vec<Row> {
    let policies =
        [breaker::rows(), retry::rows(), timeout::rows(), bulkhead::rows(), rate_limiter::rows(), fallback::rows()];
    let rows = std::iter::once(bare()).chain(policies.into_iter().flatten());
    rows.chain(all_five::rows()).chain(threads::rows()).collect()
}

/// What there is to protect: all others have it in them.
fn bare() -> Row {
    Row::new("the operation, unprotected", Expect::Answers, || {
        vec![
            Contender::us(Plain, || || async { operate(false).await as Ours }),
            Contender::us(Tower, || || send(&mut Inner::<Roomy>::new(), false)),
            Contender::peer("its own", Plain, || || async { operate(false).await as Theirs }),
            Contender::peer("its own", Tower, || || send(&mut Inner::<Failure>::new(), false)),
        ]
    })
}
