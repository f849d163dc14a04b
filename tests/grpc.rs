//! gRPC: what a breaker and a retry make of a real tonic server's codes, around a client's call and as layers around
//! its channel.
//!
//! Real sockets run on the real clock: one at a time, waiting for conditions, with slack.
#![cfg(feature = "tower")]
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(clippy::unwrap_used, reason = "a scenario is a test")]

use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use futures::stream;
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::Mutex};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    client::GrpcService,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{ServiceBuilder, service_fn};
use withstand::{
    ByGrpcCode, CircuitBreaker, Classify, Error, LiftLayer, Rejected, RetryWithBackoff, Verdict, by_grpc_code,
    by_status, carries_rejected,
    circuit_breaker::{State, Window},
    lift,
};

type HttpResponse = http::Response<Body>;

/// What a busy machine may add to any limit.
const SLACK: Duration = Duration::from_secs(5);

/// Real sockets, one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How the server answers its calls, by their number from 0.
type Script = fn(usize) -> Answer;

enum Answer {
    Succeeds,
    Fails(Status),
    /// With a message, and only then the status.
    FailsAtTheEnd(Status),
    Hangs,
}
use Answer::*;

struct Stock {
    endpoint: Endpoint,
    calls: Arc<AtomicUsize>,
}

impl Stock {
    async fn serve(script: Script) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let service = service_fn(move |request: http::Request<Body>| {
            let answer = script(counted.fetch_add(1, SeqCst));
            async move {
                let mut grpc = tonic::server::Grpc::new(Nothing);
                Ok::<_, Infallible>(match answer {
                    Succeeds => grpc.unary(service_fn(|_| ready(Ok(Response::new(())))), request).await,
                    Fails(status) => {
                        let failing = service_fn(|_: Request<()>| ready(Err::<Response<()>, _>(status.clone())));
                        grpc.unary(failing, request).await
                    }
                    FailsAtTheEnd(status) => {
                        let items = stream::iter([Ok(()), Err(status)]);
                        let mut items = Some(Response::new(items));
                        let streaming = service_fn(|_: Request<()>| ready(Ok(items.take().unwrap())));
                        grpc.server_streaming(streaming, request).await
                    }
                    Hangs => pending().await,
                })
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
        Self { endpoint, calls }
    }

    fn channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

/// What a generated client does.
async fn get<S>(service: S) -> Result<(), Status>
where
    S: GrpcService<Body, ResponseBody = Body>,
{
    let mut grpc = tonic::client::Grpc::new(service);
    let not_ready = |error: S::Error| Status::unknown(format!("Service was not ready: {}", error.into()));
    grpc.ready().await.map_err(not_ready)?;
    grpc.unary(Request::new(()), PathAndQuery::from_static("/stock.Stock/Get"), Nothing).await.map(drop)
}

/// Messages that are empty.
#[derive(Clone, Copy, Default)]
struct Nothing;

impl Codec for Nothing {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Nothing {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Nothing {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

fn judge() -> ByGrpcCode<Status> {
    by_grpc_code(Status::code).metadata(|status, name| Some(status.metadata().get(name)?.as_encoded_bytes()))
}

fn judge_head() -> impl Classify<HttpResponse, Error<tonic::transport::Error>> + Clone + Send + Sync + 'static {
    by_status(HttpResponse::status).grpc_headers(|response, name| Some(response.headers().get(name)?.as_bytes()))
}

/// Opens at the tenth failure, for the shortest time, or for as long as it is told.
fn breaker() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("stock").consecutive_failures(10, Duration::ZERO);
    let builder = builder.failure_rate(1.0, Window::calls(100)).open_for(Duration::from_secs(60)).no_open_jitter();
    builder.max_open_for(Duration::from_secs(600)).build().unwrap()
}

fn with_pushback(code: Code, pushback: &'static str) -> Status {
    let mut status = Status::new(code, "not now");
    status.metadata_mut().insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
    status
}

/// The circuit around the client's call.
async fn plain(stock: &Stock, breaker: &CircuitBreaker) -> Result<(), Error<Status>> {
    breaker.classify(judge()).call(|| lift(get(stock.channel()))).await
}

/// The circuit as a layer around the client's channel.
async fn layered(stock: &Stock, breaker: &CircuitBreaker) -> Result<(), Status> {
    let breaker = breaker.classify(judge_head());
    get(ServiceBuilder::new().layer(breaker.layer()).layer(LiftLayer).service(stock.channel())).await
}

/// So many calls, and what the breaker then has in its window: calls, and failures among them.
async fn counted(script: Script, calls: usize, in_tower: bool) -> (State, u64, u64) {
    let (stock, breaker) = (Stock::serve(script).await, breaker());
    for _ in 0..calls {
        if in_tower {
            let _ = layered(&stock, &breaker).await;
        } else {
            let _ = plain(&stock, &breaker).await;
        }
    }
    assert_eq!(stock.calls(), calls, "each was sent");
    let snapshot = breaker.snapshot();
    let failures = snapshot.counts.failures;
    (snapshot.state, failures.total, failures.count)
}

fn unavailable(_: usize) -> Answer {
    Fails(Status::unavailable("away"))
}

#[tokio::test]
async fn ten_unavailable_answers_open_the_circuit() {
    let _alone = ALONE.lock().await;
    for in_tower in [false, true] {
        assert_eq!(counted(unavailable, 9, in_tower).await, (State::Closed, 9, 9), "in tower: {in_tower}");
        assert_eq!(counted(unavailable, 10, in_tower).await.0, State::Open, "in tower: {in_tower}");
    }
}

#[tokio::test]
async fn a_server_that_is_well_does_not_count_as_failing() {
    let _alone = ALONE.lock().await;
    for in_tower in [false, true] {
        let closed = (State::Closed, 20, 0);
        assert_eq!(counted(|_| Succeeds, 20, in_tower).await, closed, "in tower: {in_tower}");
        assert_eq!(counted(|_| Fails(Status::not_found("")), 20, in_tower).await, closed, "in tower: {in_tower}");
        assert_eq!(counted(|_| Fails(Status::unknown("")), 20, in_tower).await, closed, "in tower: {in_tower}");
        let ignored = (State::Closed, 0, 0);
        let exhausted = |_| Fails(Status::resource_exhausted(""));
        assert_eq!(counted(exhausted, 20, in_tower).await, ignored, "in tower: {in_tower}");
    }
}

/// The head of such an answer says nothing: the call around the client sees what the layer around the channel does not.
#[tokio::test]
async fn a_code_at_the_end_of_the_body_is_seen_around_the_client_alone() {
    let _alone = ALONE.lock().await;
    let script: Script = |_| FailsAtTheEnd(Status::unavailable("away"));
    assert_eq!(counted(script, 5, false).await, (State::Closed, 5, 5));
    assert_eq!(counted(script, 5, true).await, (State::Closed, 5, 0));
}

#[tokio::test]
async fn no_connection_is_a_failure() {
    let _alone = ALONE.lock().await;
    let stock = Stock { endpoint: Endpoint::from_static("http://127.0.0.1:1"), calls: Arc::default() };
    let breaker = breaker();
    let Err(Error::Inner(status)) = plain(&stock, &breaker).await else { panic!("nobody listens there") };
    assert_eq!(status.code(), Code::Unavailable);
    layered(&stock, &breaker).await.unwrap_err();
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 2);
}

/// tonic says `CANCELLED` then, which from a server would be an answer.
#[tokio::test]
async fn a_call_that_the_channels_own_timeout_ends_is_a_failure() {
    let _alone = ALONE.lock().await;
    let mut stock = Stock::serve(|_| Hangs).await;
    stock.endpoint = stock.endpoint.timeout(Duration::from_millis(50));
    let breaker = breaker();
    let Err(Error::Inner(status)) = plain(&stock, &breaker).await else { panic!("it hangs") };
    assert_eq!(status.code(), Code::Cancelled);
    layered(&stock, &breaker).await.unwrap_err();
    assert_eq!(breaker.snapshot().counts.consecutive_failures, 2);
    assert_eq!(counted(|_| Fails(Status::cancelled("")), 5, false).await, (State::Closed, 5, 0));
}

/// The retry, and how many attempts were sent in what time.
async fn attempts(script: Script) -> (usize, Duration, Option<Code>) {
    let (stock, retry) = (Stock::serve(script).await, RetryWithBackoff::new("stock").classify(judge()));
    let (channel, start) = (stock.channel(), Instant::now());
    // A retry makes no error of its own, so the status need not be lifted.
    let answer = retry.call(|| get(channel.clone())).await;
    (stock.calls(), start.elapsed(), answer.err().map(|status| status.code()))
}

#[tokio::test]
async fn a_retry_waits_as_long_as_it_is_pushed_back() {
    let _alone = ALONE.lock().await;
    for script in
        [(|n| if n == 0 { Fails(with_pushback(Code::Unavailable, "700")) } else { Succeeds }) as Script, |n| {
            if n == 0 { Fails(with_pushback(Code::ResourceExhausted, "700")) } else { Succeeds }
        }]
    {
        let (calls, elapsed, code) = attempts(script).await;
        assert_eq!((calls, code), (2, None));
        assert!((Duration::from_millis(700)..SLACK).contains(&elapsed), "{elapsed:?}");
    }
}

#[tokio::test]
async fn a_retry_that_is_pushed_back_for_good_sends_nothing_more() {
    let _alone = ALONE.lock().await;
    let script: Script = |_| Fails(with_pushback(Code::Unavailable, "-1"));
    let (calls, _, code) = attempts(script).await;
    assert_eq!((calls, code), (1, Some(Code::Unavailable)));
    let script: Script = |_| Fails(with_pushback(Code::ResourceExhausted, "-1"));
    let (calls, _, code) = attempts(script).await;
    assert_eq!((calls, code), (1, Some(Code::ResourceExhausted)));
    // And yet only the first counts against the server.
    assert_eq!(counted(|_| Fails(with_pushback(Code::Unavailable, "-1")), 5, true).await, (State::Closed, 5, 5));
    assert_eq!(counted(|_| Fails(with_pushback(Code::ResourceExhausted, "-1")), 5, true).await.2, 0);
}

#[tokio::test]
async fn what_a_retry_may_not_send_again_it_does_not() {
    let _alone = ALONE.lock().await;
    let (calls, _, code) = attempts(|_| Fails(Status::internal(""))).await;
    assert_eq!((calls, code), (1, Some(Code::Internal)));
    let (calls, _, code) = attempts(unavailable).await;
    assert_eq!((calls, code), (3, Some(Code::Unavailable)));
}

#[tokio::test]
async fn a_pushback_keeps_the_circuit_open() {
    let _alone = ALONE.lock().await;
    for in_tower in [false, true] {
        let stock = Stock::serve(|_| Fails(with_pushback(Code::Unavailable, "300000"))).await;
        let breaker = breaker();
        while breaker.state() == State::Closed {
            if in_tower {
                layered(&stock, &breaker).await.unwrap_err();
            } else {
                plain(&stock, &breaker).await.unwrap_err();
            }
        }
        let left = breaker.snapshot().time_left.unwrap();
        assert!(left > Duration::from_secs(200), "{left:?}, in tower: {in_tower}");
    }
}

#[tokio::test]
async fn a_rejection_by_a_layer_reaches_the_client_as_unknown_and_is_found() {
    let _alone = ALONE.lock().await;
    let (stock, breaker) = (Stock::serve(|_| Succeeds).await, breaker());
    breaker.force_open();
    let status = layered(&stock, &breaker).await.unwrap_err();
    assert_eq!((status.code(), stock.calls()), (Code::Unknown, 0));
    assert!(matches!(Rejected::find(&status), Some(Rejected::CircuitOpen(_))), "{status:?}");
    // So a retry around the client sees it, and does not hammer the circuit.
    let retry = RetryWithBackoff::new("stock").classify(judge());
    let rejected = breaker.snapshot().rejected;
    retry.call(|| layered(&stock, &breaker)).await.unwrap_err();
    assert_eq!(breaker.snapshot().rejected, rejected + 1);
}

/// As the docs of `grpc_headers` show it.
#[tokio::test]
async fn a_layer_outside_of_all_gives_a_rejection_the_code_that_says_what_it_is() {
    fn status(error: Error<tonic::transport::Error>) -> Status {
        match error {
            Error::Rejected(rejected) => {
                let mut status = Status::new(rejected.grpc_code().into(), rejected.to_string());
                status.set_source(Arc::new(rejected));
                status
            }
            Error::Inner(error) => Status::from_error(error.into()),
        }
    }
    let _alone = ALONE.lock().await;
    let (stock, breaker) = (Stock::serve(|_| Succeeds).await, breaker());
    let judged = breaker.classify(judge_head());
    let layers = || ServiceBuilder::new().map_err(status).layer(judged.layer()).layer(LiftLayer);
    get(layers().service(stock.channel())).await.unwrap();
    breaker.force_open();
    let status = get(layers().service(stock.channel())).await.unwrap_err();
    assert_eq!((status.code(), stock.calls()), (Code::Unavailable, 1));
    assert!(matches!(Rejected::find(&status), Some(Rejected::CircuitOpen(_))), "{status:?}");
    let verdict = judge().classify(&Err::<(), _>(status));
    assert_eq!(verdict, Verdict::Ignored, "ours, whatever its code is");
}

mod judged {
    use super::*;

    #[derive(Debug)]
    enum ApiError {
        Grpc(Status),
        Broken,
        Policy(Rejected),
    }
    carries_rejected!(ApiError, Policy);

    fn status(error: &ApiError) -> Option<&Status> {
        if let ApiError::Grpc(status) = error { Some(status) } else { None }
    }

    fn open() -> Rejected {
        withstand::CircuitOpen::new("stock", None).into()
    }

    #[test]
    fn a_status_inside_of_an_error_of_ones_own() {
        let inside = judge().inside(status);
        let judge = |error| inside.classify(&Err::<(), _>(error));
        assert_eq!(judge(ApiError::Grpc(Status::unavailable(""))), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Grpc(Status::not_found(""))), Verdict::Healthy);
        assert_eq!(judge(ApiError::Broken), Verdict::TRANSIENT);
        assert_eq!(judge(ApiError::Policy(open())), Verdict::Ignored);
        assert_eq!(inside.classify(&Ok::<_, ApiError>(())), Verdict::Healthy);
    }

    #[test]
    fn a_status_bare_and_lifted_alike() {
        for code in (0..=16).map(Code::from_i32) {
            let bare = judge().classify(&Err::<(), _>(Status::new(code, "")));
            assert_eq!(bare, judge().classify(&Err::<(), _>(Error::Inner(Status::new(code, "")))), "{code:?}");
        }
        assert_eq!(judge().classify(&Err::<(), Error<Status>>(Error::Rejected(open()))), Verdict::Ignored);
    }

    /// Every status has a code, so a rule that was asked after the table would never be asked.
    #[test]
    fn by_its_rules_first_in_their_order() {
        let by_rules = judge()
            .errors_if(|status| status.message() == "busy", Verdict::THROTTLED)
            .errors_if(|status| status.code() == Code::Unavailable, Verdict::Failed);
        let verdict = |status| by_rules.classify(&Err::<(), _>(status));
        assert_eq!(verdict(Status::unavailable("busy")), Verdict::THROTTLED);
        assert_eq!(verdict(Status::unavailable("")), Verdict::Failed);
        assert_eq!(verdict(Status::data_loss("")), Verdict::Failed);
    }

    #[test]
    fn an_answer_of_a_proxy_by_its_http_status_and_retry_after() {
        let answer = |headers: &[(&str, &str)], status: u16| {
            let mut answer = http::Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(*name, *value);
            }
            judge_head().classify(&Ok(answer.body(Body::default()).unwrap()))
        };
        let waiting = |secs| Some(Duration::from_secs(secs));
        assert_eq!(answer(&[], 200), Verdict::Healthy);
        assert_eq!(answer(&[], 502), Verdict::TRANSIENT);
        assert_eq!(answer(&[("retry-after", "7")], 503), Verdict::Transient { retry_after: waiting(7) });
        assert_eq!(answer(&[("retry-after", "7")], 429), Verdict::Throttled { retry_after: waiting(7) });
        assert_eq!(answer(&[("grpc-status", "14")], 200), Verdict::TRANSIENT);
        assert_eq!(answer(&[("grpc-status", "0")], 503), Verdict::Healthy, "gRPC has the last word");
        let pushed_back = [("grpc-status", "14"), ("grpc-retry-pushback-ms", "2000"), ("retry-after", "7")];
        assert_eq!(answer(&pushed_back, 200), Verdict::Transient { retry_after: waiting(2) });
        assert_eq!(answer(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "-1")], 200), Verdict::Failed);
    }
}
