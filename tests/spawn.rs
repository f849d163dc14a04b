//! Calls that must be `Send`: every policy, every pair and all five around an inline `async` block, in a spawned task, over every kind of error.
//!
//! They compile or they do not; they run too, and answer. What the compiler has to prove here is that a call is `Send` while it does not know
//! the lifetimes inside a block. It fails ("implementation of `CarriesRejected` is not general enough") where a future names a trait's projection.
#![cfg(feature = "tower")]

use std::{convert::Infallible, io, time::Duration};

use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};
use withstand::{
    Bulkhead, CircuitBreaker, Deadline, Error, Fallback, LiftLayer, Pipeline, RateLimiter, Rejected, RetryWithBackoff,
    Timeout, carries_rejected, lift,
    pipeline::{BoxPipeline, PipelineFallback},
    retry::Attempt,
};

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("call rejected")]
    Policy(#[from] Rejected),
}
carries_rejected!(ApiError, Policy);

type NoAnswer<E> = Fallback<withstand::fallback::ErrorFn<fn(E) -> Result<usize, E>>>;

struct Policies<E> {
    fallback: NoAnswer<E>,
    limiter: RateLimiter,
    bulkhead: Bulkhead,
    retry: RetryWithBackoff,
    breaker: CircuitBreaker,
    timeout: Timeout,
}

fn policies<E>() -> Policies<E> {
    Policies {
        fallback: Fallback::from_fn(Err as fn(E) -> Result<usize, E>),
        limiter: RateLimiter::builder("users", 1000, Duration::from_secs(1))
            .queue(8, Duration::from_secs(1))
            .build()
            .expect("the settings are good"),
        bulkhead: Bulkhead::builder("users", 8)
            .queue(8, Duration::from_secs(1))
            .build()
            .expect("the settings are good"),
        retry: RetryWithBackoff::new("users"),
        breaker: CircuitBreaker::new("users"),
        timeout: Timeout::new(Duration::from_secs(1)),
    }
}

async fn answer() -> io::Result<usize> {
    tokio::task::yield_now().await;
    Ok(1)
}

macro_rules! nest {
    ($policies:ident, [$policy:ident], $operation:expr) => { $policies.$policy.call($operation) };
    ($policies:ident, [$policy:ident $($inner:ident)+], $operation:expr) => {
        $policies.$policy.call(|| nest!($policies, [$($inner)+], $operation))
    };
}

/// Spawns these policies around a block that borrows a local of its task, and around one that owns what it needs.
macro_rules! spawn_around {
    ($error:ty, [$($policy:ident)+]) => {{
        let policies = policies::<$error>();
        let borrowing = tokio::spawn(async move {
            let text = String::from("seven");
            let path = text.as_str();
            let operation = || async {
                let number = answer().await?;
                Ok::<_, $error>(number + path.len())
            };
            nest!(policies, [$($policy)+], operation).await
        });
        assert_eq!(borrowing.await.expect("no panic").expect("it answers"), 6, stringify!($($policy)+));

        let policies = self::policies::<$error>();
        let owning = tokio::spawn(async move {
            let operation = || {
                let text = String::from("seven");
                async move {
                    let number = answer().await?;
                    Ok::<_, $error>(number + text.len())
                }
            };
            nest!(policies, [$($policy)+], operation).await
        });
        assert_eq!(owning.await.expect("no panic").expect("it answers"), 6, stringify!($($policy)+));
    }};
}

macro_rules! every_policy_and_every_pair {
    ($error:ty) => {
        every_policy_and_every_pair!(@each $error, fallback limiter bulkhead timeout retry breaker);
        spawn_around!($error, [fallback bulkhead timeout retry breaker timeout]);
        spawn_around!($error, [fallback timeout limiter bulkhead retry breaker timeout]);
    };
    (@each $error:ty, $($policy:ident)+) => {
        $(spawn_around!($error, [$policy]);)+
        $(every_policy_and_every_pair!(@around $error, $policy);)+
    };
    (@around $error:ty, $outer:ident) => {
        spawn_around!($error, [$outer fallback]);
        spawn_around!($error, [$outer limiter]);
        spawn_around!($error, [$outer bulkhead]);
        spawn_around!($error, [$outer timeout]);
        spawn_around!($error, [$outer retry]);
        spawn_around!($error, [$outer breaker]);
    };
}

#[tokio::test(start_paused = true)]
async fn g0_spawned_over_boxed_errors() {
    every_policy_and_every_pair!(BoxError);
}

#[tokio::test(start_paused = true)]
async fn g0_spawned_over_io_errors() {
    every_policy_and_every_pair!(io::Error);
}

#[tokio::test(start_paused = true)]
async fn g0_spawned_over_an_enum_of_ones_own() {
    every_policy_and_every_pair!(ApiError);
}

#[cfg(feature = "anyhow")]
#[tokio::test(start_paused = true)]
async fn g0_spawned_over_anyhow() {
    every_policy_and_every_pair!(anyhow::Error);
}

/// Spawns a pipeline around a block that borrows, one that owns, one that is told of its attempt, and one with a context.
macro_rules! spawn_pipeline {
    ($error:ty, $pipeline:expr) => {{
        let pipeline = $pipeline;
        let users = pipeline.clone();
        let borrowing = tokio::spawn(async move {
            let text = String::from("seven");
            let path = text.as_str();
            let operation = || async {
                let number = answer().await?;
                Ok::<_, $error>(number + path.len())
            };
            let told = |attempt: Attempt<'_, $error>| {
                let number = attempt.number as usize;
                async move {
                    let answer = answer().await?;
                    Ok::<_, $error>(answer + number + path.len())
                }
            };
            let deadline = Deadline::within(Duration::from_secs(1));
            let sum = users.call(operation).await? + deadline.scope(users.call_with(told)).await?;
            Ok::<_, $error>(sum)
        });
        assert_eq!(borrowing.await.expect("no panic").expect("it answers"), 13);

        let owning = tokio::spawn(async move {
            let operation = || {
                let text = String::from("seven");
                async move {
                    let number = answer().await?;
                    Ok::<_, $error>(number + text.len())
                }
            };
            let sum = pipeline.call(operation).await?;
            let mut connection = vec![0_u8; 3];
            let path = String::from("seven");
            let lent = pipeline.call_with_context(&mut connection, |connection, _| {
                let path = path.as_str();
                Box::pin(async move {
                    let number = answer().await?;
                    connection.push(7);
                    Ok::<_, $error>(connection.len() + number + path.len())
                })
            });
            Ok::<_, $error>(sum + lent.await?)
        });
        assert_eq!(owning.await.expect("no panic").expect("it answers"), 16);
    }};
}

/// Without a fallback and with one, and erased.
macro_rules! every_pipeline {
    ($error:ty) => {
        let fallback = policies::<$error>().fallback;
        let with_fallback = Pipeline::standard_builder("users").fallback(fallback).build().expect("good settings");
        spawn_pipeline!($error, Pipeline::standard("users"));
        let erased: BoxPipeline<usize, $error> = with_fallback.clone().boxed();
        spawn_pipeline!($error, with_fallback);
        spawn_pipeline!($error, erased);
    };
}

#[tokio::test(start_paused = true)]
async fn p4_pipelines_spawned_over_boxed_errors() {
    every_pipeline!(BoxError);
}

#[tokio::test(start_paused = true)]
async fn p4_pipelines_spawned_over_io_errors() {
    every_pipeline!(io::Error);
}

#[tokio::test(start_paused = true)]
async fn p4_pipelines_spawned_over_an_enum_of_ones_own() {
    every_pipeline!(ApiError);
}

#[cfg(feature = "anyhow")]
#[tokio::test(start_paused = true)]
async fn p4_pipelines_spawned_over_anyhow() {
    every_pipeline!(anyhow::Error);
}

#[tokio::test(start_paused = true)]
async fn p4_pipelines_spawned_over_a_foreign_error_that_is_lifted() {
    let users = Pipeline::standard("users");
    let client = reqwest::Client::new();
    let call = tokio::spawn(async move {
        let url = String::from("http://127.0.0.1:9/");
        let operation = || {
            lift(async {
                let response = client.get(&url).send().await?.error_for_status()?;
                Ok(response.text().await?.len())
            })
        };
        users.call(operation).await
    });
    let answer: Result<usize, Error<reqwest::Error>> = call.await.expect("no panic");
    assert!(matches!(answer, Err(Error::Inner(error)) if error.is_connect()));
}

/// A library that lets its user choose the policies.
#[tokio::test(start_paused = true)]
async fn p8_pipelines_spawned_inside_of_a_generic_function() {
    async fn twice<C, F>(users: Pipeline<C, F>) -> io::Result<usize>
    where
        C: withstand::Classify<usize, io::Error> + Send + Sync + 'static,
        F: PipelineFallback<usize, io::Error, (), Future: Send> + Send + Sync + 'static,
    {
        Ok(users.call(answer).await? + users.call(answer).await?)
    }
    let sum = tokio::spawn(twice(Pipeline::standard("users")));
    assert_eq!(sum.await.expect("no panic").expect("it answers"), 2);
    let sum = tokio::spawn(twice(BoxPipeline::<usize, io::Error>::none()));
    assert_eq!(sum.await.expect("no panic").expect("it answers"), 2);
}

/// A foreign error is lifted, at the bottom.
#[tokio::test(start_paused = true)]
async fn g0_spawned_over_a_foreign_error_that_is_lifted() {
    let policies = policies::<Error<reqwest::Error>>();
    let client = reqwest::Client::new();
    let call = tokio::spawn(async move {
        let url = String::from("http://127.0.0.1:9/");
        let operation = || {
            lift(async {
                let response = client.get(&url).send().await?.error_for_status()?;
                Ok(response.text().await?.len())
            })
        };
        nest!(policies, [fallback bulkhead timeout retry breaker timeout], operation).await
    });
    assert!(matches!(call.await.expect("no panic"), Err(Error::Inner(_))), "nobody listens there");
}

mod tower_layers {
    use super::*;

    /// What needs no more than a `Service` to be spawned.
    async fn spawned<S>(service: S) -> usize
    where
        S: Service<usize, Response = usize, Error: std::fmt::Debug + Send, Future: Send> + Send + 'static,
    {
        tokio::spawn(service.oneshot(1)).await.expect("no panic").expect("it answers")
    }

    macro_rules! over {
        ($error:ty) => {{
            let Policies { fallback, limiter, bulkhead, retry, breaker, timeout } = policies::<$error>();
            let service = service_fn(|number: usize| async move {
                let answer = answer().await?;
                Ok::<_, $error>(number + answer)
            });
            assert_eq!(spawned(breaker.layer().layer(service)).await, 2);
            assert_eq!(spawned(retry.layer().layer(service)).await, 2);
            assert_eq!(spawned(timeout.layer().layer(service)).await, 2);
            assert_eq!(spawned(bulkhead.layer().layer(service)).await, 2);
            assert_eq!(spawned(limiter.layer().layer(service)).await, 2);
            assert_eq!(spawned(Pipeline::standard("users").layer().layer(service)).await, 2);
            let all = Pipeline::standard_builder("users").fallback(fallback.clone()).build().expect("good settings");
            assert_eq!(spawned(all.layer().layer(service)).await, 2);
            let erased: BoxPipeline<usize, $error> = all.boxed();
            let mut piped = erased.layer().layer(service);
            let block = tokio::spawn(async move { piped.ready().await?.call(1).await });
            assert_eq!(block.await.expect("no panic").expect("it answers"), 2);
            let stack = ServiceBuilder::new()
                .layer(fallback.layer())
                .layer(limiter.layer())
                .layer(bulkhead.layer())
                .layer(timeout.layer())
                .layer(retry.layer())
                .layer(breaker.layer())
                .layer(timeout.layer())
                .service(service);
            assert_eq!(spawned(stack.clone()).await, 2);
            // The call is spawned, or the service is boxed where it is called inside of a block.
            assert_eq!(tokio::spawn(stack.clone().oneshot(1)).await.expect("no panic").expect("it answers"), 2);
            let boxed = BoxCloneService::new(stack);
            let block = tokio::spawn(async move { boxed.oneshot(1).await });
            assert_eq!(block.await.expect("no panic").expect("it answers"), 2);
        }};
    }

    #[tokio::test(start_paused = true)]
    async fn g0_spawned_over_boxed_errors() {
        over!(BoxError);
    }

    #[tokio::test(start_paused = true)]
    async fn g0_spawned_over_io_errors() {
        over!(io::Error);
    }

    #[tokio::test(start_paused = true)]
    async fn g0_spawned_over_an_enum_of_ones_own() {
        over!(ApiError);
    }

    #[cfg(feature = "anyhow")]
    #[tokio::test(start_paused = true)]
    async fn g0_spawned_over_anyhow() {
        over!(anyhow::Error);
    }

    #[tokio::test(start_paused = true)]
    async fn g0_spawned_inside_a_block_over_a_foreign_error() {
        let Policies { bulkhead, retry, breaker, timeout, .. } = policies::<Error<Infallible>>();
        let stack = ServiceBuilder::new()
            .layer(bulkhead.layer())
            .layer(timeout.layer())
            .layer(retry.layer())
            .layer(breaker.layer())
            .layer(LiftLayer)
            .service(service_fn(|number: usize| async move { Ok::<_, Infallible>(number + 1) }));
        let block = tokio::spawn(async move { stack.oneshot(1).await });
        assert_eq!(block.await.expect("no panic").expect("it answers"), 2);
    }

    /// `oneshot` inside the block would not compile: tower's future names the service's future as a projection. The crate's Traps say so.
    #[tokio::test(start_paused = true)]
    async fn g0_spawned_inside_a_block_over_boxed_errors() {
        let breaker = policies::<BoxError>().breaker;
        let service = service_fn(|number: usize| async move { Ok::<_, BoxError>(number + 1) });
        let mut service = breaker.layer().layer(service);
        let block = tokio::spawn(async move { service.ready().await?.call(1).await });
        assert_eq!(block.await.expect("no panic").expect("it answers"), 2);
    }
}
