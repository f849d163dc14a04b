//! The fallback's laws, F1 and F2, and what G1 to G7 ask of it.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "tokio's clock, paused")]

mod support;

use std::{
    future::{pending, ready},
    panic::{RefUnwindSafe, UnwindSafe},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use static_assertions::{assert_impl_all, assert_not_impl_any};
use support::*;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, service_fn};
use withstand::{
    Bulkhead, CarriesRejected, CircuitBreaker, Error, Fallback, FallbackEvent, FallbackLayer, Rejected, Verdict,
    classify_fn, fallback,
};

both_ways! {
    f1_it_answers_with_a_value,
    f1_it_answers_with_a_function_of_the_error,
    f1_it_answers_with_an_async_function_of_the_error,
    f1_it_answers_with_a_function_of_the_whole_result,
    f1_it_answers_with_an_async_function_of_the_whole_result,
    f2_runs_only_for_the_results_it_was_told_to_handle,
    f2_handles_our_own_rejections_too,
    f2_handles_every_error_until_it_is_classified,
    f2_runs_at_most_once_and_its_own_failure_is_what_the_caller_gets,
    f2_the_event_has_the_first_error_and_then_its_own,
    f2_a_function_of_the_error_leaves_an_answer_alone,
    f2_nothing_is_told_when_it_cannot_recover,
    g0_the_operation_starts_in_the_call_and_the_fallback_does_not,
    g1_the_operation_is_dropped_before_the_fallback_runs,
    g1_a_dropped_call_drops_the_fallbacks_own_future,
    g2_a_panic_propagates_and_the_fallback_works_on,
    g2_a_panicking_listener_is_caught,
    g5_all_listeners_are_told_in_the_order_they_were_added_though_one_panics,
}

/// Answers of 503 and above count as failed.
fn by_number() -> impl withstand::Classify<u32, Failure> + Clone + Send + Sync {
    classify_fn(|answer: &Answer| match answer {
        Ok(503..) => Verdict::TRANSIENT,
        Ok(_) => Verdict::Healthy,
        Err(_) => Verdict::Failed,
    })
}

fn unavailable() -> Op {
    op(|| ready(Ok(503)))
}

async fn f1_it_answers_with_a_value(way: Way) {
    let fallback = Fallback::value(7);
    assert_eq!(fallback.through(way, &fail()).await, Ok(7));
    assert_eq!(fallback.through(way, &succeed()).await, Ok(1));
}

async fn f1_it_answers_with_a_function_of_the_error(way: Way) {
    let fallback = Fallback::from_fn(|error: Failure| if error == Error::Inner("bad") { Ok(7) } else { Err(error) });
    assert_eq!(fallback.through(way, &fail()).await, Ok(7));
    let other = op(|| ready(Err(Error::Inner("other"))));
    assert_eq!(fallback.through(way, &other).await, Err(Error::Inner("other")));
}

async fn f1_it_answers_with_an_async_function_of_the_error(way: Way) {
    let fallback = Fallback::from_async_fn(|_: Failure| async {
        tokio::time::sleep(secs(1)).await;
        Ok(7)
    });
    assert_eq!(fallback.through(way, &fail()).await, Ok(7));
}

async fn f1_it_answers_with_a_function_of_the_whole_result(way: Way) {
    let fallback = Fallback::from_result_fn(|answer: Answer| answer.map(|number| number + 1)).classify(by_number());
    assert_eq!(fallback.through(way, &unavailable()).await, Ok(504));
    assert_eq!(fallback.through(way, &succeed()).await, Ok(1));
}

async fn f1_it_answers_with_an_async_function_of_the_whole_result(way: Way) {
    let fallback = Fallback::from_async_result_fn(|answer: Answer| async move { answer.map(|number| number + 1) });
    assert_eq!(fallback.through(way, &fail()).await, Err(Error::Inner("bad")));
    assert_eq!(fallback.classify(by_number()).through(way, &unavailable()).await, Ok(504));
}

async fn f2_runs_only_for_the_results_it_was_told_to_handle(way: Way) {
    let only_bad = Fallback::value(7).handle_if(|error: &Failure| *error == Error::Inner("bad"));
    assert_eq!(only_bad.through(way, &fail()).await, Ok(7));
    let other = op(|| ready(Err(Error::Inner("other"))));
    assert_eq!(only_bad.through(way, &other).await, Err(Error::Inner("other")));
    assert_eq!(Fallback::value(7).through(way, &unavailable()).await, Ok(503), "answers are left alone by default");
    assert_eq!(Fallback::value(7).classify(by_number()).through(way, &unavailable()).await, Ok(7));
    let healthy = Fallback::value(7).classify(classify_fn(|_: &Answer| Verdict::Healthy));
    assert_eq!(healthy.through(way, &fail()).await, Err(Error::Inner("bad")));
}

async fn f2_handles_our_own_rejections_too(way: Way) {
    let full = Bulkhead::new("full", 0);
    let rejected = op(move || ready(Err(Error::from_rejected(full.try_acquire().expect_err("it is full")))));
    assert_eq!(Fallback::value(7).through(way, &rejected).await, Ok(7));
    assert_eq!(Fallback::value(7).classify(withstand::ByError).through(way, &rejected).await, Ok(7));
}

/// An error that tells of a 404 is healthy for a classified policy inside. A fallback does not know that.
async fn f2_handles_every_error_until_it_is_classified(way: Way) {
    let healthy_404 = || {
        classify_fn(|answer: &Answer| match answer {
            Ok(_) | Err(Error::Inner("404")) => Verdict::Healthy,
            Err(_) => Verdict::TRANSIENT,
        })
    };
    let breaker = CircuitBreaker::new("users").classify(healthy_404());
    let inner = op(move || {
        let breaker = breaker.clone();
        async move { breaker.call(|| ready(Err(Error::Inner("404")))).await }
    });
    assert_eq!(Fallback::value(7).through(way, &inner).await, Ok(7));
    assert_eq!(Fallback::value(7).classify(healthy_404()).through(way, &inner).await, Err(Error::Inner("404")));
    let not_404 = Fallback::value(7).handle_if(|error: &Failure| *error != Error::Inner("404"));
    assert_eq!(not_404.through(way, &inner).await, Err(Error::Inner("404")));
}

async fn f2_runs_at_most_once_and_its_own_failure_is_what_the_caller_gets(way: Way) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let fallback = Fallback::from_fn(move |_: Failure| {
        counted.fetch_add(1, SeqCst);
        Err(Error::Inner("fallback"))
    });
    assert_eq!(fallback.through(way, &fail()).await, Err(Error::Inner("fallback")));
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(fallback.through(way, &succeed()).await, Ok(1));
    assert_eq!(runs.load(SeqCst), 1);
}

async fn f2_the_event_has_the_first_error_and_then_its_own(way: Way) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let fallback = Fallback::from_fn(|_: Failure| Answer::Err(Error::Inner("fallback"))).named("users").listener_fn(
        move |event: &FallbackEvent<'_, u32, Failure>| {
            let said = match event {
                FallbackEvent::Applied { name, result, .. } => format!("{name:?} for {result:?}"),
                FallbackEvent::Failed { name, error, .. } => format!("{name:?} failed: {error}"),
                _ => unreachable!("there are two kinds"),
            };
            heard.lock().expect("no panic").push(said);
        },
    );
    assert!(fallback.through(way, &fail()).await.is_err());
    assert!(fallback.through(way, &succeed()).await.is_ok());
    let told = told.lock().expect("no panic");
    assert_eq!(*told, [r#"Some("users") for Err(Inner("bad"))"#, r#"Some("users") failed: fallback"#]);
}

async fn f2_a_function_of_the_error_leaves_an_answer_alone(way: Way) {
    let fallback = Fallback::from_fn(|_: Failure| Ok(7)).classify(by_number());
    assert_eq!(fallback.through(way, &unavailable()).await, Ok(503));
}

async fn g0_the_operation_starts_in_the_call_and_the_fallback_does_not(way: Way) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let fallback = Fallback::from_fn(move |_: Failure| Ok(counted.fetch_add(1, SeqCst) as u32));
    let (failing, starts) = fail_times(usize::MAX);
    let call = fallback.through(way, &failing);
    assert_eq!((starts.load(SeqCst), runs.load(SeqCst)), (1, 0));
    assert!(call.await.is_ok());
    assert_eq!(runs.load(SeqCst), 1);
}

async fn g1_the_operation_is_dropped_before_the_fallback_runs(way: Way) {
    struct Held(Arc<AtomicUsize>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    let held = alive.clone();
    let failing = op(move || {
        held.fetch_add(1, SeqCst);
        let guard = Held(held.clone());
        std::future::poll_fn(move |_| {
            let _ = &guard;
            std::task::Poll::Ready(Err(Error::Inner("bad")))
        })
    });
    let fallback = Fallback::from_fn(move |_: Failure| Ok(alive.load(SeqCst) as u32));
    assert_eq!(fallback.through(way, &failing).await, Ok(0));
}

async fn g1_a_dropped_call_drops_the_fallbacks_own_future(way: Way) {
    let alive = Arc::new(());
    let held = alive.clone();
    let fallback = Fallback::from_async_fn(move |_: Failure| {
        let held = held.clone();
        async move {
            let _held = held;
            pending::<Answer>().await
        }
    });
    let fail = fail();
    let mut call = fallback.through(way, &fail);
    assert!(poll(&mut call).is_pending());
    assert_eq!(Arc::strong_count(&alive), 3);
    drop(call);
    assert_eq!(Arc::strong_count(&alive), 2);
}

async fn g2_a_panic_propagates_and_the_fallback_works_on(way: Way) {
    let fallback =
        Fallback::from_fn(|error: Failure| if error == Error::Inner("bad") { panic!("fallback") } else { Ok(7) });
    let panicking = fallback.clone();
    assert!(tokio::spawn(async move { panicking.through(way, &fail()).await }).await.is_err());
    let panicking = fallback.clone();
    let panics = op(|| async { panic!("operation") });
    assert!(tokio::spawn(async move { panicking.through(way, &panics).await }).await.is_err());
    let other = op(|| ready(Err(Error::Inner("other"))));
    assert_eq!(fallback.through(way, &other).await, Ok(7));
}

async fn g2_a_panicking_listener_is_caught(way: Way) {
    let fallback = Fallback::value(7).listener_fn(|_: &FallbackEvent<'_, u32, Failure>| panic!("listener"));
    assert_eq!(fallback.through(way, &fail()).await, Ok(7));
}

async fn g5_all_listeners_are_told_in_the_order_they_were_added_though_one_panics(way: Way) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = |number: u32| {
        let told = told.clone();
        move |event: &FallbackEvent<'_, u32, Failure>| {
            let what = if matches!(event, FallbackEvent::Applied { .. }) { "applied" } else { "failed" };
            told.lock().expect("no panic while pushing").push((number, what));
            assert_ne!(number, 2, "the second listener panics");
        }
    };
    let fallback = Fallback::from_fn(|_: Failure| Answer::Err(Error::Inner("fallback")));
    let fallback = fallback.listener_fn(listener(1)).listener_fn(listener(2)).listener_fn(listener(3));
    assert!(fallback.through(way, &fail()).await.is_err());
    let expected = [(1, "applied"), (2, "applied"), (3, "applied"), (1, "failed"), (2, "failed"), (3, "failed")];
    assert_eq!(*told.lock().expect("no panic while pushing"), expected);
}

/// Counts what a fallback tells.
fn counting() -> (Arc<AtomicUsize>, impl Fn(&FallbackEvent<'_, u32, Failure>) + Send + Sync) {
    let told = Arc::new(AtomicUsize::new(0));
    let tells = told.clone();
    let count = move |_: &FallbackEvent<'_, u32, Failure>| {
        tells.fetch_add(1, SeqCst);
    };
    (told, count)
}

async fn f2_nothing_is_told_when_it_cannot_recover(way: Way) {
    let (told, count) = counting();
    let at_once = Fallback::from_fn(Answer::Err).classify(by_number()).listener_fn(count);
    assert_eq!(at_once.through(way, &unavailable()).await, Ok(503), "it has no error to go by");
    assert_eq!(told.load(SeqCst), 0);
    let (told, count) = counting();
    let later = Fallback::from_async_fn(|error| ready(Answer::Err(error))).classify(by_number()).listener_fn(count);
    assert_eq!(later.through(way, &unavailable()).await, Ok(503), "it has no error to go by");
    assert_eq!(told.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn f2_nothing_is_told_when_what_was_extracted_meets_no_error() {
    let unavailable = service_fn(|_: u32| ready(Answer::Ok(503)));
    let (told, count) = counting();
    let at_once =
        Fallback::from_request_fn(|_: u32, error| Answer::Err(error)).classify(by_number()).listener_fn(count);
    let service = at_once.layer().extract_fn(|request: &u32| *request).layer(unavailable);
    assert_eq!(service.oneshot(3).await, Ok(503));
    assert_eq!(told.load(SeqCst), 0);
    let (told, count) = counting();
    let later = Fallback::from_async_request_fn(|_: u32, error| ready(Answer::Err(error)));
    let service = later.classify(by_number()).listener_fn(count).layer().extract_fn(|request: &u32| *request);
    assert_eq!(service.layer(unavailable).oneshot(3).await, Ok(503));
    assert_eq!(told.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn f2_nothing_is_told_when_the_second_service_has_no_copy_of_the_request() {
    let (told, count) = counting();
    let second = service_fn(|request: u32| ready(Answer::Ok(request + 100)));
    let fallback = Fallback::service(second).listener_fn(count);
    let layer = fallback.layer().clone_request(|_: &u32| None);
    let service = layer.layer(service_fn(|_: u32| ready(Answer::Err(Error::Inner("bad")))));
    assert_eq!(service.oneshot(3).await, Err(Error::Inner("bad")));
    assert_eq!(told.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn f1_what_was_extracted_from_the_request_helps_to_answer() {
    let failing = service_fn(|_: (u32, String)| ready(Answer::Err(Error::Inner("bad"))));
    let extract = |request: &(u32, String)| request.0;
    let at_once = Fallback::from_request_fn(|id: u32, _: Failure| Ok(id + 100));
    let service = at_once.layer().extract_fn(extract).layer(failing);
    assert_eq!(service.oneshot((7, "not Clone is fine".into())).await, Ok(107));
    let later = Fallback::from_async_request_fn(|id: u32, _: Failure| async move { Ok(id + 200) });
    let service = later.layer().extract_fn(extract).layer(failing);
    assert_eq!(service.oneshot((7, "not Clone is fine".into())).await, Ok(207));
}

#[tokio::test(start_paused = true)]
async fn f1_a_second_service_is_readied_inside_the_future_and_only_if_needed() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let second = Buffer::new(
        service_fn(move |request: u32| {
            counted.fetch_add(1, SeqCst);
            ready(Ok::<_, tower::BoxError>(request + 100))
        }),
        1,
    );
    let first = service_fn(|request: u32| ready(if request < 5 { Ok(request) } else { Err("bad".into()) }));
    let service = Fallback::service(second).layer().layer(first);
    assert_eq!(service.clone().oneshot(1).await.expect("answered"), 1);
    assert_eq!(sent.load(SeqCst), 0);
    assert_eq!(service.oneshot(7).await.expect("answered"), 107);
    assert_eq!(sent.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn f1_a_request_that_declines_to_be_copied_has_no_second_service() {
    let second = service_fn(|request: u32| ready(Answer::Ok(request + 100)));
    let layer = Fallback::service(second).layer().clone_request(|request: &u32| (request % 2 == 0).then_some(*request));
    let service = layer.layer(service_fn(|_: u32| ready(Answer::Err(Error::Inner("bad")))));
    assert_eq!(service.clone().oneshot(2).await, Ok(102));
    assert_eq!(service.oneshot(3).await, Err(Error::Inner("bad")));
}

#[tokio::test(start_paused = true)]
async fn f1_responses_need_not_be_clone() {
    #[derive(Debug, PartialEq)]
    struct NotClone(u32);
    let fallback = Fallback::from_fn(|_: Failure| Ok(NotClone(7)));
    let answer = fallback.call(|| ready(Err::<NotClone, _>(Error::Inner("bad")))).await;
    assert_eq!(answer, Ok(NotClone(7)));
}

/// An error of one's own that carries rejections.
#[derive(Debug, thiserror::Error)]
enum OwnError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("call rejected")]
    Rejected(#[source] Rejected),
}
withstand::carries_rejected!(OwnError, Rejected);

/// A fallback alone, around a breaker and around itself, spawned, over an operation that is an `async` block.
macro_rules! spawned_fallbacks {
    ($($name:ident: $error:ty,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            async fn fetch(number: &u32) -> std::io::Result<u32> {
                tokio::task::yield_now().await;
                if *number == 7 { Err(std::io::Error::other("down")) } else { Ok(*number) }
            }
            let (fallback, breaker, number) = (Fallback::value(8), CircuitBreaker::new("users"), 7);
            let borrowing = tokio::spawn(async move {
                let block = || async {
                    let answer = fetch(&number).await?;
                    Ok::<_, $error>(answer)
                };
                let to_nine = Fallback::from_async_fn(|_: $error| async {
                    let answer = fetch(&9).await?;
                    Ok::<_, $error>(answer)
                });
                let result = Fallback::from_async_result_fn(|result: Result<u32, $error>| async move {
                    fetch(&10).await?;
                    result.or(Ok(10))
                })
                .handle_if(|_: &$error| true);
                let alone = fallback.call(block).await?;
                let nested = to_nine.call(|| result.call(block)).await?;
                let around = fallback.call(|| breaker.call(block)).await?;
                let inside = breaker.call(|| to_nine.call(block)).await?;
                Ok::<_, $error>(alone + nested + around + inside)
            });
            assert_eq!(borrowing.await.expect("no panic").expect("it answers"), 8 + 10 + 8 + 9);
            let breaker = CircuitBreaker::new("users");
            let owning = tokio::spawn(async move {
                let text = String::from("users");
                let fallback = Fallback::from_fn(|_: $error| Ok(5));
                fallback
                    .call(|| {
                        breaker.call(|| async move {
                            let answer = fetch(&7).await?;
                            Ok::<_, $error>(text.len() as u32 + answer)
                        })
                    })
                    .await
            });
            assert_eq!(owning.await.expect("no panic").expect("it answers"), 5);
            let failing = || {
                service_fn(|number: u32| async move {
                    let answer = fetch(&number).await?;
                    Ok::<_, $error>(answer)
                })
            };
            let second = CircuitBreaker::new("second").layer().layer(service_fn(|number: u32| async move {
                let answer = fetch(&(number + 1)).await?;
                Ok::<_, $error>(answer)
            }));
            let layers = ServiceBuilder::new()
                .layer(Fallback::from_request_fn(|_: (), error: $error| Err(error)).layer().extract_fn(|_: &u32| ()))
                .layer(Fallback::service(second).layer())
                .layer(CircuitBreaker::new("users").layer());
            let task = tokio::spawn(layers.clone().service(failing()).oneshot(7));
            assert_eq!(task.await.expect("no panic").expect("it answers"), 8);
            let in_a_block = tokio::spawn(async move {
                let mut service = layers.service(failing());
                let answer = service.ready().await?.call(7).await?;
                let boxed = service.boxed_clone();
                Ok::<_, $error>(answer + boxed.oneshot(1).await?)
            });
            assert_eq!(in_a_block.await.expect("no panic").expect("it answers"), 9);
        }
    )*};
}

spawned_fallbacks! {
    a_spawned_fallback_over_a_boxed_error: tower::BoxError,
    a_spawned_fallback_over_an_io_error: std::io::Error,
    a_spawned_fallback_over_an_enum_of_ones_own: OwnError,
}
#[cfg(feature = "anyhow")]
spawned_fallbacks! { a_spawned_fallback_over_anyhow: anyhow::Error, }

#[test]
fn g2_a_fallback_is_unwind_safe_if_its_parts_are() {
    type ToZero = fn(Failure) -> Answer;
    type Listener = Box<dyn Fn(&FallbackEvent<'_, u32, Failure>) + Send + Sync>;
    type Listening = Fallback<fallback::Value<u32>, fallback::EveryError, fallback::ListenFn<Listener>>;
    assert_impl_all!(Fallback<fallback::Value<u32>>: UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Fallback<fallback::ErrorFn<ToZero>, fallback::HandleIf<ToZero>>: UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Fallback<fallback::SecondService<u32>>: UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Listening: UnwindSafe, RefUnwindSafe);
    assert_impl_all!(FallbackLayer<fallback::Value<u32>>: UnwindSafe, RefUnwindSafe);
    assert_not_impl_any!(Fallback<fallback::Value<std::cell::Cell<u32>>>: UnwindSafe, RefUnwindSafe);
}
