//! The timeout's model: when each call began, and what its operation will do.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures::future::BoxFuture;
use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{Error, Rejected, Timeout, TimeoutEvent};

use super::support::{
    Answer, Policy, Way, poll,
    script::{End, Operations, Try},
};

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(Try),
    Poll(usize),
    Drop(usize),
    Pass(Duration),
}

/// What a poll yields, without what only the real error knows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Yields {
    Pending,
    Answer(Result<u32, &'static str>),
    TimedOut(Duration),
}

fn yields(polled: &Poll<Answer>) -> Yields {
    match polled {
        Poll::Pending => Yields::Pending,
        Poll::Ready(Ok(value)) => Yields::Answer(Ok(*value)),
        Poll::Ready(Err(Error::Inner(error))) => Yields::Answer(Err(error)),
        Poll::Ready(Err(Error::Rejected(Rejected::TimedOut(elapsed)))) => Yields::TimedOut(elapsed.limit()),
        Poll::Ready(other) => panic!("{other:?}"),
    }
}

struct Call {
    since: Duration,
    operation: Try,
}

impl Call {
    /// An answer that is there wins, however late.
    fn poll(&mut self, now: Duration, limit: Duration) -> Yields {
        match self.operation {
            Try { pending: 0, end: End::Answers(answer) } => Yields::Answer(answer),
            Try { pending: 0, end: End::Panics } => unreachable!("not in these scripts"),
            Try { .. } if now - self.since >= limit => Yields::TimedOut(limit),
            Try { .. } => {
                self.operation.pending -= 1;
                Yields::Pending
            }
        }
    }
}

async fn agree(limit: Duration, way: Way, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let heard = Arc::new(Mutex::new(0_usize));
    let hears = heard.clone();
    let timeout = Timeout::new(limit).listener_fn(move |event| match event {
        TimeoutEvent::TimedOut { limit: told, .. } if *told == limit => *hears.lock().expect("no panic") += 1,
        other => panic!("{other:?}"),
    });
    let operations = Operations::default();
    let (mut now, mut timed_out) = (Duration::ZERO, 0);
    let mut calls: Vec<(BoxFuture<'_, Answer>, Call)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Begin(operation) => {
                let call = timeout.through(way, &operations.scripted(&[operation]));
                calls.push((call, Call { since: now, operation }));
            }
            Step::Poll(which) if !calls.is_empty() => {
                let index = which % calls.len();
                let (real, model) = &mut calls[index];
                let (polled, expected) = (yields(&poll(real)), model.poll(now, limit));
                prop_assert_eq!(polled, expected, "step {}", number);
                timed_out += usize::from(matches!(polled, Yields::TimedOut(_)));
                if polled != Yields::Pending {
                    prop_assert_eq!(operations.alive(), calls.len() - 1, "kept beyond its call, step {}", number);
                    drop(calls.swap_remove(index));
                }
            }
            Step::Drop(which) if !calls.is_empty() => drop(calls.swap_remove(which % calls.len())),
            Step::Poll(_) | Step::Drop(_) => {}
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                now += span;
            }
        }
        prop_assert_eq!(operations.alive(), calls.len(), "after step {} ({:?})", number, step);
        prop_assert_eq!(*heard.lock().expect("no panic"), timed_out, "after step {} ({:?})", number, step);
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = select(vec![Ok(1), Err("bad")]);
    let begin = (select(vec![0, 1, 2, 1000]), end).prop_map(|(pending, end)| Step::Begin(Try::answers(pending, end)));
    let span = select(vec![0, 1, 999, 1000, 9999, 10_000, 1_000_000_000]).prop_map(Duration::from_micros);
    let step = prop_oneof![
        25 => begin,
        50 => any::<usize>().prop_map(Step::Poll),
        5 => any::<usize>().prop_map(Step::Drop),
        20 => span.prop_map(Step::Pass),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn the_timeout_agrees_with_its_model(
        limit in select(vec![Duration::ZERO, Duration::from_millis(1), Duration::from_millis(10), Duration::MAX]),
        steps in steps(),
        plain: bool,
    ) {
        super::run(agree(limit, if plain { Way::Plain } else { Way::Tower }, steps))?;
    }
}
