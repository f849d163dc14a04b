//! Real faults: all five policies around an HTTP client, a server, and between them a proxy that misbehaves.
//!
//! Real sockets run on the real clock: one at a time, waiting for conditions, with slack.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::{error::Error as StdError, future::Future, io, iter, net::Ipv4Addr, sync::Arc, time::Duration};

use End::*;
use io::ErrorKind::{ConnectionRefused, ConnectionReset};
use proxy::{Fault, Proxy};
use reqwest::{Client, Method, Request, Response, Url};
use support::{Log, Way, ms, secs};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{Mutex, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};
use withstand::{
    Bulkhead, ByError, CircuitBreaker, Error, Fallback, LiftLayer, Pipeline, RateLimiter, Rejected, RetryEvent,
    RetryWithBackoff, Timeout,
    circuit_breaker::State,
    fallback::ErrorFn,
    lift,
    retry::{Constant, GaveUp},
};

/// Runs each scenario both ways, under these limits, one at a time.
macro_rules! on_real_sockets {
    ($($name:ident: $limits:expr => $scenario:ident($($argument:expr),*),)*) => {
        on_real_sockets! { plain: Plain, $($name: $limits => $scenario($($argument),*),)* }
        on_real_sockets! { tower_layer: Tower, $($name: $limits => $scenario($($argument),*),)* }
    };
    ($module:ident: $way:ident, $($name:ident: $limits:expr => $scenario:ident($($argument:expr),*),)*) => {
        mod $module {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                alone(Way::$way, $limits, async |world| $scenario(world, $($argument),*).await).await
            })*
        }
    };
}

on_real_sockets! {
    a_port_that_rejects: PATIENT => outage(Fault::Rejects, NoAnswer(Some(ConnectionRefused))),
    a_reset_before_the_answer: PATIENT => outage(Fault::ResetsAfter(0), NoAnswer(Some(ConnectionReset))),
    a_reset_in_the_body: PATIENT => outage(Fault::ResetsAfter(MID_BODY), BrokenBody(Some(ConnectionReset))),
    an_answer_that_is_not_http: PATIENT => outage(Fault::Garbage, NoAnswer(None)),
    a_stall_before_the_answer: IMPATIENT => outage(Fault::StallsAfter(0), TryTimedOut),
    a_stall_in_the_body: IMPATIENT => outage(Fault::StallsAfter(MID_BODY), TryTimedOut),
    a_drip_that_does_not_end_within_the_limit: IMPATIENT => outage(Fault::Drips(ms(20)), TryTimedOut),
    a_drip_that_ends_within_the_limit: PATIENT => slow_answer(ms(1)),
    a_connection_closed_while_it_is_idle: PATIENT => idle_connection_closed(),
    a_connection_closed_as_the_next_request_arrives: PATIENT => reused_connection_closed(),
    b5_a_probe_that_the_total_limit_cuts_off_gives_its_slot_back: CUT_OFF => probe_cut_off(),
    b6_a_black_hole_behind_the_total_limit_opens_the_circuit: BLACK_HOLE => outage(Fault::StallsAfter(0), CallTimedOut),
    g1_callers_that_leave_leave_nothing_behind: PATIENT => callers_leave(Fault::StallsAfter(MID_BODY)),
    p2_a_reset_before_the_answer_of_a_pipeline: PIPELINE => outage(Fault::ResetsAfter(0), NoAnswer(Some(ConnectionReset))),
    p2_a_stall_in_the_body_of_a_pipeline: IMPATIENT_PIPELINE => outage(Fault::StallsAfter(MID_BODY), TryTimedOut),
    p2_a_drip_that_ends_within_the_limit_of_a_pipeline: PIPELINE => slow_answer(ms(1)),
    p2_a_connection_of_a_pipeline_closed_as_the_next_request_arrives: PIPELINE => reused_connection_closed(),
    r3_the_retrys_deadline_ends_the_attempts: STUBBORN => retry_deadline(Fault::StallsAfter(0)),
}

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

/// How long an answer's body is. The head before it is 118 bytes long, so the answer's 180th byte is in the body.
const BODY: usize = 128;
const MID_BODY: usize = 180;

/// So many at once, of which the bulkhead lets two run.
const CALLS: usize = 6;
const MAX_WAIT: Duration = Duration::from_secs(5);
const DELAY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
struct Limits {
    each: Duration,
    total: Duration,
    attempts: u32,
    retry_deadline: Duration,
    count_dropped_after: Duration,
    /// All policies in one pipeline, without the rate limiter.
    in_pipeline: bool,
}

impl Limits {
    /// When a call must be over, wherever it spends its time.
    fn deadline(&self) -> Duration {
        MAX_WAIT + self.total.min((self.each + DELAY) * self.attempts)
    }
}

/// None of them is near, on any machine: whatever ends a call, it is not the clock.
const PATIENT: Limits = Limits {
    each: Duration::from_secs(15),
    total: Duration::from_secs(20),
    attempts: 3,
    retry_deadline: Duration::from_secs(20),
    count_dropped_after: Duration::from_secs(20),
    in_pipeline: false,
};
const IMPATIENT: Limits = Limits { each: Duration::from_millis(200), ..PATIENT };
const PIPELINE: Limits = Limits { count_dropped_after: Duration::from_secs(14), in_pipeline: true, ..PATIENT };
const IMPATIENT_PIPELINE: Limits =
    Limits { each: Duration::from_millis(200), count_dropped_after: Duration::from_millis(199), ..PIPELINE };
const STUBBORN: Limits = Limits { attempts: 10, retry_deadline: Duration::from_millis(500), ..IMPATIENT };
const CUT_OFF: Limits = Limits { total: Duration::from_millis(300), ..PATIENT };
const BLACK_HOLE: Limits = Limits { count_dropped_after: Duration::from_millis(100), ..CUT_OFF };

/// What a call ends with: the answer, or what the fallback stands in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    /// With what the socket says, if it was the socket.
    NoAnswer(Option<io::ErrorKind>),
    BrokenBody(Option<io::ErrorKind>),
    TryTimedOut,
    CallTimedOut,
    CircuitOpen,
    OtherRefusal,
}

/// Calls end like this until the circuit opens, and it closes once all is well again.
async fn outage(world: &mut World, fault: Fault, end: End) {
    world.befalls(fault).await;
    let mut ends = world.stack.calls_until_the_circuit_opens().await;
    ends.retain(|end| *end != CircuitOpen);
    assert!(!ends.is_empty() && ends.iter().all(|one| *one == end), "{fault:?} ends in {ends:?}, not in {end:?}");
    world.recovers().await;
}

async fn slow_answer(world: &mut World, gap: Duration) {
    world.befalls(Fault::Drips(gap)).await;
    let start = Instant::now();
    assert_eq!(world.stack.call().await, Answered);
    assert!(start.elapsed() >= gap * BODY as u32);
    assert_eq!(world.stack.retries.take(), [], "the first attempt");
}

async fn idle_connection_closed(world: &mut World) {
    assert!(world.proxy.connections() > 0, "the client keeps it");
    world.befalls(Fault::ClosesIdle).await;
    for _ in 0..3 {
        until("the idle connection is closed", || world.proxy.connections() == 0).await;
        assert_eq!(world.stack.call().await, Answered);
    }
}

async fn reused_connection_closed(world: &mut World) {
    world.befalls(Fault::ClosesReused).await;
    // The first may go by a new connection, if the client has not got the old one back yet.
    for _ in 0..5 {
        assert_eq!(world.stack.call().await, Answered);
    }
    assert_ne!(world.stack.retries.take(), [], "the fault befell one of them");
}

async fn probe_cut_off(world: &mut World) {
    world.befalls(Fault::Rejects).await;
    world.stack.calls_until_the_circuit_opens().await;
    world.befalls(Fault::StallsAfter(0)).await;
    until("it is half-open", || world.stack.breaker.state() == State::HalfOpen).await;
    assert_eq!(world.stack.call().await, CallTimedOut);
    let circuit = world.stack.breaker.snapshot();
    assert_eq!((circuit.state, circuit.probes_in_flight), (State::HalfOpen, 0));
    world.recovers().await;
}

async fn callers_leave(world: &mut World, fault: Fault) {
    world.befalls(fault).await;
    for waiting_first in [false, true] {
        let mut calls = running_and_waiting(world).await;
        if waiting_first {
            calls.reverse();
        }
        for call in calls {
            call.abort();
            assert!(call.await.is_err_and(|error| error.is_cancelled()));
        }
        world.stack.assert_idle();
        until("no connection is left", || world.proxy.connections() == 0).await;
    }
    world.recovers().await;
}

/// The bulkhead's slots are taken by the first two of them.
async fn running_and_waiting(world: &World) -> Vec<JoinHandle<End>> {
    let bulkhead = &world.stack.bulkhead;
    let mut calls = world.stack.spawn_calls(2);
    until("two run", || bulkhead.snapshot().in_flight == 2).await;
    calls.extend(world.stack.spawn_calls(CALLS - 2));
    until("the others wait", || bulkhead.snapshot().queued == CALLS - 2).await;
    until("the two are connected", || world.proxy.connections() >= 2).await;
    calls
}

async fn retry_deadline(world: &mut World, fault: Fault) {
    world.befalls(fault).await;
    assert_eq!(world.stack.call().await, TryTimedOut);
    let last = world.stack.retries.take().pop();
    // Each try takes 200 ms, so a fourth would begin at 600 ms at the earliest.
    let in_time = matches!(last, Some(RetryEvent::GaveUp { attempts: 1..=3, reason: GaveUp::DeadlinePassed, .. }));
    assert!(in_time, "{last:?}");
}

/// The stack, the server, and the proxy between them.
struct World {
    stack: Arc<Stack>,
    proxy: Proxy,
    server: Server,
}

impl World {
    /// All is well, and an answer has come.
    async fn start(way: Way, limits: Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let proxy = Proxy::start(listener.local_addr().expect("it is bound")).await.expect("a free port");
        let stack = Arc::new(Stack::new(way, limits, &format!("http://{}", proxy.address())));
        let world = Self { stack, proxy, server: Server::start(listener) };
        world.stack.answers().await;
        world.stack.retries.take();
        world
    }

    async fn befalls(&mut self, fault: Fault) {
        self.proxy.set(fault).await.expect("the port is ours");
    }

    async fn recovers(&mut self) {
        self.befalls(Fault::Healthy).await;
        self.stack.answers().await;
    }

    /// Nothing is left behind.
    async fn end(self) {
        self.stack.assert_idle();
        // The client goes with it.
        drop(self.stack);
        self.proxy.stop().await.expect("the port is ours");
        self.server.stop().await;
    }
}

struct Server {
    /// Dropping it ends the server.
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(listener: TcpListener) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let app = axum::Router::new().fallback(async || "x".repeat(BODY));
        let stopped = async { stopped.await.unwrap_or_default() };
        let server = axum::serve(listener, app).with_graceful_shutdown(stopped);
        Self { stop, task: tokio::spawn(server.into_future()) }
    }

    async fn stop(self) {
        drop(self.stop);
        let ended = timeout(SLACK, self.task).await.expect("no connection keeps it");
        ended.expect("it did not panic").expect("it ran");
    }
}

type HttpError = Error<reqwest::Error>;

/// The pipeline, with its fallback.
type Users = Pipeline<ByError, Fallback<ErrorFn<fn(HttpError) -> Result<End, HttpError>>>>;

/// The client under all policies, by one of the ways. The rate limiter's burst is for a few calls, and the others wait for a while.
struct Stack {
    way: Way,
    deadline: Duration,
    limiter: RateLimiter,
    bulkhead: Bulkhead,
    total: Timeout,
    retry: RetryWithBackoff<ByError>,
    retries: Log<RetryEvent>,
    breaker: CircuitBreaker,
    each: Timeout,
    pipeline: Option<Users>,
    client: Client,
    url: Url,
    tower: BoxCloneSyncService<Request, End, HttpError>,
}

impl Stack {
    fn new(way: Way, limits: Limits, url: &str) -> Self {
        let retries = Log::new();
        let limiter = RateLimiter::builder("users", 1000, secs(1)).burst(2).queue(CALLS, MAX_WAIT);
        let limiter = limiter.build().expect("good settings");
        let bulkhead = Bulkhead::builder("users", 2).queue(CALLS, MAX_WAIT).build().expect("good settings");
        let total = Timeout::new(limits.total).named("total");
        let retry = RetryWithBackoff::builder("users")
            .backoff(Constant::new(DELAY))
            .max_attempts(limits.attempts)
            .deadline(limits.retry_deadline)
            .no_budget()
            .listener_fn(retries.listener())
            .build()
            .expect("good settings");
        let breaker = CircuitBreaker::builder("users")
            .consecutive_failures(5, Duration::ZERO)
            .open_for(ms(200))
            .no_open_growth()
            .probe_timeout(secs(60))
            .count_dropped_after(limits.count_dropped_after)
            .build()
            .expect("good settings");
        let each = Timeout::new(limits.each).named("each");
        // No proxy but ours.
        let client = Client::builder().no_proxy().build().expect("a client");
        let http = client.clone();
        let pipeline = limits.in_pipeline.then(|| {
            let parts =
                Pipeline::builder("users").timeout(total.clone()).bulkhead(bulkhead.clone()).retry(retry.clone());
            let parts = parts.circuit_breaker(breaker.clone()).attempt_timeout(each.clone());
            let fallback = Fallback::from_fn(End::in_place_of as fn(HttpError) -> Result<End, HttpError>);
            parts.fallback(fallback).build().expect("good settings")
        });
        let stacked = ServiceBuilder::new()
            .layer(Fallback::from_fn(End::in_place_of).layer())
            .layer(limiter.layer())
            .layer(bulkhead.layer())
            .layer(total.layer())
            .layer(retry.layer().clone_request(Request::try_clone))
            .layer(breaker.layer())
            .layer(each.layer())
            .layer(LiftLayer)
            .service(service_fn(move |request| read(http.execute(request))));
        let http = client.clone();
        let tower = match &pipeline {
            None => BoxCloneSyncService::new(stacked),
            Some(pipeline) => {
                let layers =
                    ServiceBuilder::new().layer(pipeline.layer().clone_request(Request::try_clone)).layer(LiftLayer);
                BoxCloneSyncService::new(layers.service(service_fn(move |request| read(http.execute(request)))))
            }
        };
        let (deadline, url) = (limits.deadline(), url.parse().expect("a URL"));
        Self { way, deadline, limiter, bulkhead, total, retry, retries, breaker, each, pipeline, client, url, tower }
    }

    /// One call, which ends within its deadline.
    async fn call(&self) -> End {
        let end = timeout(self.deadline + SLACK, self.call_by_way()).await;
        end.expect("a call ends within its deadline").expect("the fallback answers for all others")
    }

    async fn call_by_way(&self) -> Result<End, HttpError> {
        let Self { limiter, bulkhead, total, retry, breaker, each, client, .. } = self;
        let request = || Request::new(Method::GET, self.url.clone());
        match (self.way, &self.pipeline) {
            (Way::Plain, Some(pipeline)) => pipeline.call(|| lift(read(client.execute(request())))).await,
            (Way::Plain, None) => {
                let attempt = || breaker.call(|| each.call(|| lift(read(client.execute(request())))));
                let fallback = Fallback::from_fn(End::in_place_of);
                fallback.call(|| limiter.call(|| bulkhead.call(|| total.call(|| retry.call(attempt))))).await
            }
            (Way::Tower, _) => self.tower.clone().oneshot(request()).await,
        }
    }

    fn spawn_calls(self: &Arc<Self>, count: usize) -> Vec<JoinHandle<End>> {
        let call = |stack: Arc<Self>| async move { stack.call().await };
        iter::repeat_with(|| tokio::spawn(call(self.clone()))).take(count).collect()
    }

    async fn calls_until_the_circuit_opens(self: &Arc<Self>) -> Vec<End> {
        let mut ends = Vec::new();
        while !ends.contains(&CircuitOpen) {
            assert!(ends.len() < 10 * CALLS, "the circuit should have opened: {ends:?}");
            for call in self.spawn_calls(CALLS) {
                ends.push(call.await.expect("no call panics"));
            }
        }
        ends
    }

    /// Within a while, with the circuit closed.
    async fn answers(&self) {
        let answered = async {
            while self.call().await != Answered || self.breaker.state() != State::Closed {
                sleep(ms(5)).await;
            }
        };
        timeout(2 * SLACK, answered).await.expect("it answers, and the circuit is closed");
    }

    /// No slot is taken, and no one waits.
    fn assert_idle(&self) {
        let (bulkhead, circuit) = (self.bulkhead.snapshot(), self.breaker.snapshot());
        let queued = bulkhead.queued + self.limiter.snapshot().queued;
        assert_eq!((bulkhead.in_flight, queued, circuit.probes_in_flight), (0, 0, 0), "running, waiting, probing");
    }
}

/// All of an answer: the body is read where the limits cover it.
async fn read(response: impl Future<Output = reqwest::Result<Response>>) -> reqwest::Result<End> {
    let body = response.await?.text().await?;
    assert_eq!(body.len(), BODY);
    Ok(Answered)
}

impl End {
    fn in_place_of(error: HttpError) -> Result<Self, HttpError> {
        Ok(match error {
            Error::Rejected(Rejected::CircuitOpen(_)) => CircuitOpen,
            Error::Rejected(Rejected::TimedOut(elapsed)) if elapsed.name() == Some("each") => TryTimedOut,
            Error::Rejected(Rejected::TimedOut(_)) => CallTimedOut,
            Error::Rejected(_) => OtherRefusal,
            Error::Inner(error) if error.is_body() || error.is_decode() => BrokenBody(socket_error(&error)),
            Error::Inner(error) => NoAnswer(socket_error(&error)),
        })
    }
}

fn socket_error(error: &reqwest::Error) -> Option<io::ErrorKind> {
    let chain = iter::successors(error.source(), |&error| error.source());
    chain.filter_map(|error| error.downcast_ref()).map(io::Error::kind).last()
}

/// Waits for a condition, for a while.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            sleep(ms(2)).await;
        }
    };
    timeout(2 * SLACK, held).await.unwrap_or_else(|_| panic!("still not: {what}"));
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Runs a scenario, and waits until no task is left of it: neither a policy's nor a connection's.
async fn alone(way: Way, limits: Limits, scenario: impl AsyncFnOnce(&mut World)) {
    let _turn = ONE_AT_A_TIME.lock().await;
    let mut world = World::start(way, limits).await;
    scenario(&mut world).await;
    world.end().await;
    until("no task is left", || Handle::current().metrics().num_alive_tasks() == 0).await;
}
