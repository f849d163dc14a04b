//! A server that says "not now" instead of drowning: `cargo run --example axum_server`.
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]

use std::{convert::Infallible, error::Error, time::Duration};

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::ServiceBuilder;
use withstand::{Bulkhead, LiftLayer, Rejected, Timeout};

/// 503 if there was no room, 504 if it took too long; and when to come back.
async fn reject(error: withstand::Error<Infallible>) -> Response {
    let rejected = match error {
        withstand::Error::Rejected(rejected) => rejected,
        withstand::Error::Inner(never) => match never {},
    };
    let status = match rejected {
        Rejected::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let seconds = rejected.retry_after_secs().unwrap_or(1).to_string();
    (status, [(RETRY_AFTER, seconds)], rejected.to_string()).into_response()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bulkhead = Bulkhead::new("reports", 2);
    let timeout = Timeout::new(Duration::from_millis(300)).named("report");
    let app = Router::new()
        .route("/quick", get(|| async { "a short report" }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(reject))
                .layer(bulkhead.layer())
                .layer(timeout.layer())
                .layer(LiftLayer),
        );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());

    let ask = async |path: &str| -> reqwest::Result<StatusCode> {
        let response = reqwest::get(format!("{server}{path}")).await?;
        let (status, wait) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        println!("{path:<6} {status}, Retry-After: {wait:?}, {:?}", response.text().await?);
        assert_eq!(wait.is_some(), status.is_server_error());
        Ok(status)
    };

    assert_eq!(ask("/quick").await?, StatusCode::OK);
    let mut crowd: [StatusCode; 3] = tokio::try_join!(ask("/slow"), ask("/slow"), ask("/slow"))?.into();
    crowd.sort();
    assert_eq!(crowd, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::GATEWAY_TIMEOUT]);
    assert_eq!(ask("/quick").await?, StatusCode::OK);
    Ok(())
}
