//! The fallback's model: an operation, a recovery, and one rule.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{Error, Fallback, FallbackEvent};

use super::support::{
    Answer, Failure, Policy, Way, poll,
    script::{End, Operations, Try},
};

/// The answers, in the order of the polls.
fn polls(script: Try) -> (u32, Answer) {
    match script.end {
        End::Answers(answer) => (script.pending, answer.map_err(Error::Inner)),
        End::Panics => unreachable!("not in these scripts"),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Told {
    Applied(Answer),
    Failed(Failure),
}

/// What each poll yields, and what is told in all: the recovery runs once, for an error that is handled.
fn expected(operation: Try, recovery: Try) -> (Vec<Poll<Answer>>, Vec<Told>) {
    let (pending, first) = polls(operation);
    let mut yields = vec![Poll::Pending; pending as usize];
    if !matches!(first, Err(Error::Inner("handled"))) {
        yields.push(Poll::Ready(first));
        return (yields, Vec::new());
    }
    let (pending, second) = polls(recovery);
    yields.extend(vec![Poll::Pending; pending as usize]);
    let mut told = vec![Told::Applied(first)];
    told.extend(second.clone().err().map(Told::Failed));
    yields.push(Poll::Ready(second));
    (yields, told)
}

async fn agree(calls: Vec<(Try, Try, usize)>, way: Way) -> Result<(), TestCaseError> {
    for (operation, recovery, dropped_after) in calls {
        let (heard, operations, recoveries) =
            (Arc::new(Mutex::new(Vec::new())), Operations::default(), Operations::default());
        let (hears, second) = (heard.clone(), recoveries.scripted(&[recovery]));
        let fallback = Fallback::from_async_fn(move |_: Failure| second())
            .handle_if(|error: &Failure| *error == Error::Inner("handled"))
            .listener_fn(move |event: &FallbackEvent<'_, u32, Failure>| {
                hears.lock().expect("no panic").push(match event {
                    FallbackEvent::Applied { result, .. } => Told::Applied((*result).clone()),
                    FallbackEvent::Failed { error, .. } => Told::Failed((*error).clone()),
                    other => panic!("{other:?}"),
                });
            });
        let mut call = fallback.through(way, &operations.scripted(&[operation]));
        let (yields, told) = expected(operation, recovery);
        let is_over = yields.len() <= dropped_after;
        for (number, expected) in yields.into_iter().take(dropped_after).enumerate() {
            prop_assert_eq!(poll(&mut call), expected, "poll {}", number);
            tokio::time::advance(Duration::from_millis(1)).await;
            prop_assert!(operations.alive() + recoveries.alive() <= 1, "one at a time, poll {}", number);
        }
        drop(call);
        prop_assert_eq!(operations.alive() + recoveries.alive(), 0);
        prop_assert_eq!(operations.started(), 1);
        let heard = heard.lock().expect("no panic");
        prop_assert_eq!(&**heard, if is_over { &told[..] } else { &told[..heard.len()] });
        prop_assert_eq!(recoveries.started(), heard.iter().filter(|told| matches!(told, Told::Applied(_))).count());
    }
    Ok(())
}

fn script() -> impl Strategy<Value = Try> {
    let end = select(vec![Ok(1), Ok(2), Err("handled"), Err("handled"), Err("let through")]);
    (0_u32..4, end).prop_map(|(pending, end)| Try::answers(pending, end))
}

proptest! {
    #[test]
    fn the_fallback_agrees_with_its_model(
        calls in vec((script(), script(), prop_oneof![Just(usize::MAX), 0_usize..6]), 20..40),
        plain: bool,
    ) {
        super::run(agree(calls, if plain { Way::Plain } else { Way::Tower }))?;
    }
}
