//! A server that says "not now" instead of drowning: `cargo run --features http --example axum_server`.
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]

use std::{error::Error, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::RETRY_AFTER},
    routing::get,
};
use tower::ServiceBuilder;
use withstand::{Bulkhead, Timeout, http::server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bulkhead = Bulkhead::new("reports", 2);
    let timeout = Timeout::new(Duration::from_millis(300)).named("report");
    let app = Router::new()
        .route("/quick", get(|| async { "a short report" }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
        // 503 if there is no room, 504 if it takes too long.
        .layer(server(ServiceBuilder::new().layer(bulkhead.layer()).layer(timeout.layer())));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, app).into_future());

    let ask = async |path: &str| -> reqwest::Result<StatusCode> {
        let response = reqwest::get(format!("{address}{path}")).await?;
        let (status, wait) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        println!("{path:<6} {status}, Retry-After: {wait:?}, {:?}", response.text().await?);
        // A slot may be free again in a second. A report that takes too long now will do so then.
        assert_eq!(wait.is_some(), status == StatusCode::SERVICE_UNAVAILABLE);
        Ok(status)
    };

    assert_eq!(ask("/quick").await?, StatusCode::OK);
    let mut crowd: [StatusCode; 3] = tokio::try_join!(ask("/slow"), ask("/slow"), ask("/slow"))?.into();
    crowd.sort();
    assert_eq!(crowd, [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT, StatusCode::GATEWAY_TIMEOUT]);
    assert_eq!(ask("/quick").await?, StatusCode::OK);
    Ok(())
}
