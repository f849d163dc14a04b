//! The compositions that must compile, in each way; they run too, against nothing that answers.
#![cfg(feature = "tower")]

use std::{
    convert::Infallible,
    future::ready,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::join_all;
use http::StatusCode;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use withstand::{
    Bulkhead, ByErrorStatus, CarriesRejected, CircuitBreaker, Error, Fallback, LiftLayer, Pipeline, PipelineService,
    RateLimiter, Rejected, RetryWithBackoff, Timeout, by_error_status, by_status, carries_rejected, fallback::Value,
    lift, pipeline::BoxPipeline, retry::Attempt,
};

/// The five policies around one dependency, but for the fallback: that is about an answer.
#[derive(Clone)]
struct Policies {
    bulkhead: Bulkhead,
    total: Timeout,
    retry: RetryWithBackoff,
    breaker: CircuitBreaker,
    per_attempt: Timeout,
}

fn policies() -> Policies {
    Policies {
        bulkhead: Bulkhead::builder("users", 8).queue(8, secs(1)).build().expect("the settings are good"),
        total: Timeout::new(secs(10)),
        retry: RetryWithBackoff::new("users"),
        breaker: CircuitBreaker::new("users"),
        per_attempt: Timeout::new(secs(2)),
    }
}

fn limiter() -> RateLimiter {
    RateLimiter::builder("users", 8, secs(1)).queue(99, secs(99)).build().expect("the settings are good")
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Nobody listens there.
const REFUSED: &str = "http://127.0.0.1:9/";

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("call rejected")]
    Policy(#[source] Rejected),
}
carries_rejected!(ApiError, Policy);

#[derive(Debug, PartialEq)]
struct User {
    id: u64,
    name: String,
}

impl User {
    fn unavailable(id: u64) -> Self {
        Self { id, name: "unavailable".to_owned() }
    }
}

async fn fetch_user(client: &reqwest::Client, id: u64) -> Result<User, ApiError> {
    let response = client.get(format!("{REFUSED}users/{id}")).send().await?.error_for_status()?;
    Ok(User { id, name: response.text().await? })
}

/// How many calls in a row have failed.
fn failures<C>(breaker: &CircuitBreaker<C>) -> u32 {
    breaker.snapshot().counts.consecutive_failures
}

fn is_send<T: Send>(value: T) -> T {
    value
}

mod plain {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_five_over_reqwest_with_an_enum_of_ones_own() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let (client, id) = (reqwest::Client::new(), 7);
        let fallback = Fallback::from_fn(|_: ApiError| Ok(User::unavailable(id)));

        let user = fallback
            .call(|| {
                bulkhead.call(|| {
                    total.call(|| retry.call(|| breaker.call(|| per_attempt.call(|| fetch_user(&client, id)))))
                })
            })
            .await;

        assert_eq!(user.unwrap(), User::unavailable(7));
        assert_eq!(failures(&breaker), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn all_five_over_reqwest_lifted_and_judged_by_status() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let by_status = by_status(reqwest::Response::status).errors(reqwest::Error::status);
        let (retry, breaker) = (retry.classify(by_status.clone()), breaker.classify(by_status));
        let client = reqwest::Client::new();
        let fallback = Fallback::from_async_fn(|error: Error<reqwest::Error>| async { Err(error) });

        let send = || lift(client.get(REFUSED).send());
        let answer = fallback
            .call(|| bulkhead.call(|| total.call(|| retry.call(|| breaker.call(|| per_attempt.call(send))))))
            .await;

        assert!(answer.is_err());
        assert_eq!(failures(&breaker), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn in_any_order_with_the_same_error() {
        let Policies { bulkhead, total, retry, breaker, .. } = policies();
        let client = reqwest::Client::new();
        let fetch = || fetch_user(&client, 1);

        let limiter = limiter();
        let answers: [Result<User, ApiError>; 5] = [
            fetch().await,
            breaker.call(|| retry.call(|| bulkhead.call(fetch))).await,
            retry.call(|| total.call(|| bulkhead.call(|| breaker.call(fetch)))).await,
            total.call(|| total.call(|| breaker.call(|| breaker.call(fetch)))).await,
            limiter.call(|| retry.call(|| limiter.call(|| bulkhead.call(fetch)))).await,
        ];
        assert!(answers.iter().all(Result::is_err));
    }

    #[tokio::test(start_paused = true)]
    async fn over_every_error_that_carries_rejections() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        macro_rules! through_all {
            ($error:ty) => {
                let op = || ready(Ok::<_, $error>(1));
                let limiter = limiter();
                let call = bulkhead.call(|| total.call(|| retry.call(|| breaker.call(|| per_attempt.call(op)))));
                let call = limiter.call(|| call);
                assert_eq!(call.await.unwrap(), 1);
            };
        }
        through_all!(ApiError);
        through_all!(BoxError);
        through_all!(std::io::Error);
        through_all!(Error<Infallible>);
        #[cfg(feature = "anyhow")]
        through_all!(anyhow::Error);
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_spawned_task_that_owns_all_of_it() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let (client, id) = (reqwest::Client::new(), 7);
        let fallback = Fallback::from_fn(move |_: ApiError| Ok(User::unavailable(id)));

        let task = tokio::spawn(async move {
            let fetch = || fetch_user(&client, id);
            fallback
                .call(|| bulkhead.call(|| total.call(|| retry.call(|| breaker.call(|| per_attempt.call(fetch))))))
                .await
        });
        assert_eq!(task.await.unwrap().unwrap(), User::unavailable(7));
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_spawned_task_with_closures_that_borrow_its_locals() {
        let shared = Arc::new(policies());
        let task = tokio::spawn(async move {
            let (client, path, ids) = (reqwest::Client::new(), String::from("users"), vec![1, 2]);
            let mut failed = 0;
            for id in &ids {
                let fetch = || async {
                    let url = format!("{REFUSED}{path}/{id}");
                    client.get(&url).send().await?.error_for_status()?;
                    Ok::<_, ApiError>(())
                };
                let call = shared.retry.call(|| shared.breaker.call(|| shared.bulkhead.call(fetch)));
                failed += usize::from(call.await.is_err());
            }
            failed
        });
        assert_eq!(task.await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_axum_handler() {
        #[derive(Clone)]
        struct App {
            policies: Policies,
            client: reqwest::Client,
        }

        async fn show(State(app): State<App>, Path(id): Path<u64>) -> Response {
            let App { policies: Policies { bulkhead, total, retry, breaker, per_attempt }, client } = &app;
            let fetch = || fetch_user(client, id);
            match bulkhead.call(|| total.call(|| retry.call(|| breaker.call(|| per_attempt.call(fetch))))).await {
                Ok(user) => user.name.into_response(),
                Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
            }
        }

        let app = App { policies: policies(), client: reqwest::Client::new() };
        let router = Router::new().route("/users/{id}", get(show)).with_state(app);
        let response = router.oneshot(http::Request::get("/users/1").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_in_join_all() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let op = |n: u32| ready(Ok::<_, BoxError>(n));
        let answers = join_all((0..20).map(|n| {
            let (total, retry, breaker, per_attempt) = (&total, &retry, &breaker, &per_attempt);
            bulkhead.call(move || {
                total.call(move || retry.call(move || breaker.call(move || per_attempt.call(move || op(n)))))
            })
        }))
        .await;
        assert!(answers[..16].iter().all(Result::is_ok), "eight at once, and eight in the queue");
        assert!(answers[16..].iter().all(Result::is_err), "a call takes its slot or place at once");
    }

    #[tokio::test(start_paused = true)]
    async fn operations_that_are_not_send_on_a_local_set() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let fallback = Fallback::from_fn(|error: Error<&'static str>| Err(error));
        let task = async move {
            let shared = Rc::new(7);
            let op = || {
                let shared = shared.clone();
                lift(async move {
                    tokio::task::yield_now().await;
                    Ok(*shared)
                })
            };
            fallback
                .call(|| bulkhead.call(|| total.call(|| retry.call(|| breaker.call(|| per_attempt.call(op))))))
                .await
        };
        let local = tokio::task::LocalSet::new();
        assert_eq!(local.run_until(async { tokio::task::spawn_local(task).await.unwrap() }).await, Ok(7));
    }

    /// None of the futures does anything with what its closure borrows when it is dropped.
    #[tokio::test(start_paused = true)]
    async fn what_a_closure_borrows_is_free_again_once_its_call_is_over_though_pinned() {
        let Policies { bulkhead, total, retry, breaker, .. } = policies();
        let (fallback, limiter) = (Fallback::value(0), limiter());
        let mut calls = 0;
        macro_rules! count {
            ($($policy:ident)*) => {
                $(let mut call = pin!($policy.call(|| {
                    calls += 1;
                    async { Ok::<_, std::io::Error>(1) }
                }));
                assert_eq!(call.as_mut().await.unwrap(), 1);
                calls += 1;)*
            };
        }
        count!(fallback limiter bulkhead total retry breaker);
        assert_eq!(calls, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_told_of_its_attempt() {
        let retry = policies().retry;
        let (client, mut told) = (reqwest::Client::new(), Vec::new());
        let answer = retry
            .call_with(|attempt: Attempt<'_, ApiError>| {
                told.push((attempt.number, attempt.last_error.is_some()));
                fetch_user(&client, u64::from(attempt.number))
            })
            .await;
        assert!(answer.is_err());
        assert_eq!(told, [(1, false), (2, true), (3, true)]);
    }
}

mod tower_layers {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_five_over_reqwest_lifted_and_judged_by_status() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let by_status = by_status(reqwest::Response::status).errors(reqwest::Error::status);
        let (retry, breaker) = (retry.classify(by_status.clone()), breaker.classify(by_status));
        let fallback = Fallback::from_async_fn(|error: Error<reqwest::Error>| async { Err(error) });
        let client = reqwest::Client::new();

        let mut users = ServiceBuilder::new()
            .layer(fallback.layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer().clone_request(reqwest::Request::try_clone))
            .layer(breaker.layer())
            .layer(per_attempt.layer())
            .layer(LiftLayer)
            .service(client.clone());

        let request = client.get(REFUSED).build().unwrap();
        let answer = tokio::spawn(is_send(users.ready().await.unwrap().call(request))).await.unwrap();
        assert!(answer.is_err());
        assert_eq!(failures(&breaker), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_one_request_type_is_said_on_the_layer() {
        let Policies { bulkhead, total, retry, .. } = policies();
        let client = reqwest::Client::new();
        let fallback = Fallback::from_async_request_fn(|path: String, error: Error<reqwest::Error>| async move {
            assert_eq!(path, "/users/7");
            Err(error)
        });
        let stack = ServiceBuilder::new()
            .layer(fallback.layer().extract_fn(|request: &reqwest::Request| request.url().path().to_owned()))
            .layer(bulkhead.layer())
            .layer(total.layer().limit_fn(|request: &reqwest::Request, usual| {
                Some(request.timeout().map_or(usual, |wanted| usual.min(*wanted)))
            }))
            .layer(retry.layer().clone_request_fn(|request: &reqwest::Request| {
                if request.method().is_idempotent() { request.try_clone() } else { None }
            }))
            .layer(LiftLayer);
        let request = client.get(format!("{REFUSED}users/7")).build().unwrap();
        assert!(stack.service(client).oneshot(request).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_service_stands_in() {
        let Policies { bulkhead, per_attempt, .. } = policies();
        let client = reqwest::Client::new();
        let second = ServiceBuilder::new().layer(per_attempt.layer()).layer(LiftLayer).service(client.clone());
        let service = ServiceBuilder::new()
            .layer(Fallback::service(second).layer().clone_request(reqwest::Request::try_clone))
            .layer(bulkhead.layer())
            .layer(LiftLayer)
            .service(client.clone());
        assert!(service.oneshot(client.get(REFUSED).build().unwrap()).await.is_err());
    }

    /// Answers small numbers.
    fn small() -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone {
        service_fn(|n: u32| async move { if n > 1 { Err(BoxError::from("too large")) } else { Ok(n) } })
    }

    #[tokio::test(start_paused = true)]
    async fn all_five_over_a_service_with_a_boxed_error() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let service = ServiceBuilder::new()
            .layer(Fallback::value(0).layer())
            .layer(limiter().layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer())
            .layer(breaker.layer())
            .layer(per_attempt.layer())
            .service(small());
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
        assert_eq!(service.oneshot(2).await.unwrap(), 0);
        assert_eq!(failures(&breaker), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_boxed_clone_of_a_stack_inside_and_beside_another_stack() {
        let Policies { bulkhead, retry, breaker, .. } = policies();
        let boxed = ServiceBuilder::new().layer(breaker.layer()).service(small()).boxed_clone();
        let service = ServiceBuilder::new()
            .layer(Fallback::service(boxed.clone()).layer())
            .layer(bulkhead.layer())
            .layer(retry.layer())
            .service(boxed)
            .boxed_clone();
        assert!(tokio::spawn(service.oneshot(2)).await.unwrap().is_err());
        assert_eq!(failures(&breaker), 4, "three attempts, and the second service");
    }

    #[tokio::test(start_paused = true)]
    async fn option_layer_never_changes_the_error() {
        for on in [true, false] {
            let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
            let service = ServiceBuilder::new()
                .option_layer(on.then(|| limiter().layer()))
                .option_layer(on.then(|| bulkhead.layer()))
                .option_layer(on.then(|| total.layer()))
                .option_layer(on.then(|| retry.layer()))
                .option_layer(on.then(|| breaker.layer()))
                .option_layer(on.then(|| per_attempt.layer()))
                .layer(LiftLayer)
                .service(service_fn(|(): ()| ready(Err::<u32, _>("down"))));
            let answer: Result<u32, Error<&str>> = service.oneshot(()).await;
            assert_eq!(answer, Err(Error::Inner("down")));
            assert_eq!(failures(&breaker), if on { 3 } else { 0 });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_five_around_an_axum_router() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let breaker = breaker.classify(by_status(Response::status));
        let stale = Fallback::from_fn(|_: Error<Infallible>| Ok("stale".into_response()))
            .handle_if(|error: &Error<Infallible>| matches!(error.as_rejected(), Some(Rejected::CircuitOpen(_))));
        let router = Router::new().route("/", get(|| async { "fresh" })).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(answer))
                .layer(stale.layer())
                .layer(limiter().layer())
                .layer(bulkhead.layer())
                .layer(total.layer())
                .layer(retry.layer().clone_request_fn(|_: &axum::extract::Request| None))
                .layer(breaker.layer())
                .layer(per_attempt.layer())
                .layer(LiftLayer),
        );

        assert_eq!(ask(&router).await, (StatusCode::OK, "fresh".to_owned()));
        breaker.force_open();
        assert_eq!(ask(&router).await, (StatusCode::OK, "stale".to_owned()));
        bulkhead.set_max_concurrent(0);
        // The queue is there still; nobody frees a slot.
        assert_eq!(ask(&router).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    async fn answer(error: Error<Infallible>) -> (StatusCode, String) {
        (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }

    async fn ask(router: &Router) -> (StatusCode, String) {
        let request = http::Request::get("/").body(Body::empty()).expect("a good request");
        let response = router.clone().oneshot(request).await.expect("a router does not fail");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1024).await.expect("a short body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn all_five_over_a_tonic_channel() {
        type Request = http::Request<tonic::body::Body>;

        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let channel = tonic::transport::Endpoint::from_static(REFUSED).connect_lazy();
        let fallback = Fallback::from_async_fn(|error: Error<tonic::transport::Error>| async { Err(error) });
        let channel = ServiceBuilder::new()
            .layer(fallback.layer())
            .layer(limiter().layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer().clone_request(|_: &Request| None))
            .layer(breaker.layer())
            .layer(per_attempt.layer())
            .layer(LiftLayer)
            .service(channel);

        // What a generated client is made of.
        let mut client = is_send(tonic::client::Grpc::new(channel.clone()));
        client.ready().await.unwrap();
        assert!(channel.oneshot(Request::new(tonic::body::Body::empty())).await.is_err());
        assert_eq!(failures(&breaker), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_in_join_all_and_in_spawned_tasks() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let service = ServiceBuilder::new()
            .layer(limiter().layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer())
            .layer(breaker.layer())
            .layer(per_attempt.layer())
            .service(service_fn(move |n: u32| {
                counted.fetch_add(1, SeqCst);
                ready(Ok::<_, BoxError>(n))
            }));
        let answers = join_all((0..20).map(|n| service.clone().oneshot(n))).await;
        assert!(answers.iter().all(Result::is_ok));
        let tasks = join_all((0..20).map(|n| tokio::spawn(service.clone().oneshot(n)))).await;
        assert!(tasks.iter().all(|task| matches!(task, Ok(Ok(_)))));
        assert_eq!(calls.load(SeqCst), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn operations_that_are_not_send_on_a_local_set() {
        let Policies { bulkhead, total, retry, breaker, per_attempt } = policies();
        let shared = Rc::new(7);
        let service = ServiceBuilder::new()
            .layer(Fallback::value(0).layer())
            .layer(limiter().layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer())
            .layer(breaker.layer())
            .layer(per_attempt.layer())
            .layer(LiftLayer)
            .service(service_fn(move |(): ()| {
                let shared = shared.clone();
                async move {
                    tokio::task::yield_now().await;
                    Ok::<_, &str>(*shared)
                }
            }));
        let local = tokio::task::LocalSet::new();
        let task = async { tokio::task::spawn_local(service.oneshot(())).await.unwrap() };
        assert_eq!(local.run_until(task).await, Ok(7));
    }
}

/// Where a pipeline is kept, and how it is handed on.
mod pipelines {
    use super::*;

    type Judge = ByErrorStatus<reqwest::Error>;

    /// Fields of all kinds: no part is named.
    #[derive(Clone)]
    struct Users {
        client: reqwest::Client,
        /// Where classifier and fallback can be named.
        named: Pipeline<Judge, Fallback<Value<String>>>,
        /// Where they cannot, or where the caller chooses.
        erased: BoxPipeline<String, Error<reqwest::Error>>,
    }

    impl Users {
        fn new(erased: BoxPipeline<String, Error<reqwest::Error>>) -> Self {
            let builder = Pipeline::standard_builder("users").classify(by_error_status(reqwest::Error::status));
            let named = builder.fallback(Fallback::value("nobody".to_owned())).build().expect("the settings are good");
            Self { client: reqwest::Client::new(), named, erased }
        }

        async fn fetch(&self, path: &str) -> Result<String, Error<reqwest::Error>> {
            let url = format!("{REFUSED}{path}");
            let text = || lift(async { self.client.get(&url).send().await?.error_for_status()?.text().await });
            let (one, other) = (self.named.call(text).await?, self.erased.call(text).await?);
            Ok(format!("{one}, {other}"))
        }
    }

    fn with_fallback() -> BoxPipeline<String, Error<reqwest::Error>> {
        let pipeline = Pipeline::standard_builder("users")
            .fallback(Fallback::from_fn(|_: Error<reqwest::Error>| Ok("no one".to_owned())));
        pipeline.build().expect("the settings are good").boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn p8_fields_of_a_struct_in_a_spawned_task() {
        let users = Users::new(with_fallback());
        assert_eq!(users.named.retry().map(RetryWithBackoff::name), Some("users"));
        let call = tokio::spawn(async move { users.fetch("users").await });
        assert_eq!(call.await.unwrap().unwrap(), "nobody, no one");
        let in_a_test = Users::new(BoxPipeline::none());
        assert!(in_a_test.fetch("users").await.unwrap_err().to_string().contains("error"));
    }

    #[tokio::test(start_paused = true)]
    async fn p8_behind_a_trait_object() {
        trait Directory: Send + Sync {
            fn find<'a>(&'a self, path: &'a str) -> futures::future::BoxFuture<'a, Option<String>>;
        }
        impl Directory for Users {
            fn find<'a>(&'a self, path: &'a str) -> futures::future::BoxFuture<'a, Option<String>> {
                Box::pin(async move { self.fetch(path).await.ok() })
            }
        }
        let directory: Arc<dyn Directory> = Arc::new(Users::new(with_fallback()));
        let call = tokio::spawn(async move { directory.find("users").await });
        assert_eq!(call.await.unwrap().as_deref(), Some("nobody, no one"));
    }

    #[tokio::test(start_paused = true)]
    async fn p4_a_parameter_of_a_function() {
        async fn through(users: &BoxPipeline<u32, BoxError>, number: u32) -> Result<u32, BoxError> {
            users.call(|| async move { Ok(number) }).await
        }
        assert_eq!(through(&BoxPipeline::none(), 7).await.unwrap(), 7);
        assert_eq!(through(&Pipeline::standard("users").boxed(), 7).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn p4_in_the_state_of_an_axum_application() {
        async fn show(State(users): State<Users>, Path(id): Path<u64>) -> Response {
            match users.fetch(&format!("users/{id}")).await {
                Ok(names) => names.into_response(),
                Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
            }
        }

        let router = Router::new().route("/users/{id}", get(show)).with_state(Users::new(with_fallback()));
        let response = router.oneshot(http::Request::get("/users/1").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn p6_around_reqwest_as_a_tower_service_whose_type_can_be_named() {
        struct Client {
            service:
                PipelineService<withstand::LiftService<reqwest::Client>, Judge, withstand::pipeline::NoFallback, Copy>,
        }
        type Copy = fn(&reqwest::Request) -> Option<reqwest::Request>;

        let client = reqwest::Client::new();
        let users = Pipeline::standard_builder("users").classify(by_error_status(reqwest::Error::status));
        let users = users.build().expect("the settings are good");
        let layer = users.layer().clone_request(reqwest::Request::try_clone);
        let mut kept = Client { service: ServiceBuilder::new().layer(layer).layer(LiftLayer).service(client.clone()) };
        let request = client.get(REFUSED).build().unwrap();
        let call = tokio::spawn(is_send(kept.service.ready().await.unwrap().call(request)));
        assert!(call.await.unwrap().is_err());
        assert_eq!(failures(users.circuit_breaker().expect("it has one")), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn p6_around_an_axum_router() {
        let users = Pipeline::builder("users").bulkhead(Bulkhead::new("users", 8)).timeout(secs(9));
        let users = users.classify(by_status(Response::status)).build().expect("the settings are good");
        let router = Router::new().route("/", get(|| async { "fresh" })).layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|error: Error<Infallible>| async move { error.to_string() }))
                .layer(users.layer().send_once())
                .layer(LiftLayer),
        );
        let request = http::Request::get("/").body(Body::empty()).unwrap();
        assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn p4_operations_that_are_not_send_on_a_local_set() {
        let users = Pipeline::standard("users");
        let task = async move {
            let shared = Rc::new(7);
            users
                .call(|| {
                    let shared = shared.clone();
                    lift(async move {
                        tokio::task::yield_now().await;
                        Ok::<_, &str>(*shared)
                    })
                })
                .await
        };
        let local = tokio::task::LocalSet::new();
        assert_eq!(local.run_until(async { tokio::task::spawn_local(task).await.unwrap() }).await, Ok(7));
    }

    /// The future does nothing with what its closure borrows when it is dropped.
    #[tokio::test(start_paused = true)]
    async fn p5_what_a_closure_borrows_is_free_again_once_its_call_is_over() {
        let users = Pipeline::standard("users");
        let mut calls = 0;
        let answer = users
            .call(|| {
                calls += 1;
                async { Ok::<_, std::io::Error>(1) }
            })
            .await;
        assert_eq!((answer.unwrap(), calls), (1, 1));
    }
}
