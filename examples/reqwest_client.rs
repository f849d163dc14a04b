//! A careful HTTP client, by plain calls and as a tower service, against a server that is busy or stuck:
//! `cargo run --example reqwest_client`.
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]

use std::{
    collections::HashMap,
    error::Error,
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{body::Body, response::IntoResponse};
use reqwest::{Client, Method, Request, StatusCode, header::RETRY_AFTER};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use withstand::{LiftLayer, Pipeline, Verdict, by_status, lift, parse_retry_after};

/// All of a response: the body is read where the timeout still covers it.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: String,
}

async fn read(response: impl Future<Output = reqwest::Result<reqwest::Response>>) -> reqwest::Result<Answer> {
    let response = response.await?;
    let retry_after = response.headers().get(RETRY_AFTER).and_then(parse_retry_after);
    Ok(Answer { status: response.status(), retry_after, body: response.text().await? })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (server, hits) = start_server().await?;
    let (client, asked) = (Client::new(), Duration::from_secs(1));

    // A 503 may be sent again, not before the server allows it. A 404 is an answer. What could not be built says
    // nothing about the server, and what could not connect was not sent.
    let by_status = by_status(|answer: &Answer| answer.status)
        .retry_after(|answer| answer.retry_after)
        .errors_if(reqwest::Error::is_builder, Verdict::Ignored)
        .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
    let per_attempt = Duration::from_millis(500);
    let pipeline = Pipeline::standard_builder("stock").attempt_timeout(per_attempt).classify(by_status).build()?;

    // Plain calls.
    let get = async |path: &str| {
        let url = format!("{server}{path}");
        pipeline.call(|| lift(read(client.get(&url).send()))).await
    };
    show("GET /plain/busy", asked, get("/plain/busy")).await?;
    show("GET /plain/stuck", per_attempt, get("/plain/stuck")).await?;

    // A tower service. Only what is idempotent is ever sent twice.
    let idempotent = |request: &Request| if request.method().is_idempotent() { request.try_clone() } else { None };
    let stock = ServiceBuilder::new()
        .layer(pipeline.layer().clone_request_fn(idempotent))
        .layer(LiftLayer)
        .service(service_fn(|request| read(client.execute(request))));
    let send = async |method: Method, path: &str| {
        let request = client.request(method, format!("{server}{path}")).build().map_err(withstand::Error::Inner)?;
        stock.clone().oneshot(request).await
    };
    show("GET /tower/busy", asked, send(Method::GET, "/tower/busy")).await?;
    show("GET /tower/stuck", per_attempt, send(Method::GET, "/tower/stuck")).await?;
    show("POST /tower/busy", Duration::ZERO, send(Method::POST, "/tower/busy")).await?;

    // That is no fault of the server: it is not sent again, and the circuit does not count it.
    let breaker = pipeline.circuit_breaker().ok_or("a standard pipeline has one")?;
    let failures = || breaker.snapshot().counts.consecutive_failures;
    let before = failures();
    let unbuilt = pipeline.call(|| lift(read(client.get("not a url").send()))).await;
    println!("GET not a url     {}", unbuilt.err().ok_or("it is no URL")?);
    assert_eq!(failures(), before);

    let hits = hits.lock().map_err(|_| "the server panicked")?;
    println!("the server saw {hits:?}");
    assert!(hits.iter().all(|(request, &times)| times == if request.starts_with("GET") { 2 } else { 1 }));
    Ok(())
}

/// Prints what came of a request, and that it was not answered before its time.
async fn show<E>(request: &str, patience: Duration, answer: impl Future<Output = Result<Answer, E>>) -> Result<(), E> {
    let start = Instant::now();
    let Answer { status, body, .. } = answer.await?;
    println!("{request:<17} {status} {body:?} after {:?}", start.elapsed());
    assert!(start.elapsed() >= patience);
    Ok(())
}

type Hits = Arc<Mutex<HashMap<String, u32>>>;

/// Fails the first of each request: `busy` asks for a second's patience, `stuck` never ends its body.
async fn start_server() -> std::io::Result<(String, Hits)> {
    let hits = Hits::default();
    let counted = hits.clone();
    let app = axum::Router::new().fallback(async move |request: axum::extract::Request| {
        let key = format!("{} {}", request.method(), request.uri().path());
        let is_first = {
            let mut hits = counted.lock().expect("nothing panics while it is held");
            let times = hits.entry(key.clone()).or_default();
            *times += 1;
            *times == 1
        };
        match is_first {
            true if key.ends_with("busy") => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")]).into_response(),
            true => Body::from_stream(futures::stream::pending::<std::io::Result<String>>()).into_response(),
            false => "12 in stock".into_response(),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok((address, hits))
}
