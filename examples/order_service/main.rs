//! The lesson's two services: an order service calls a user service over HTTP, and survives it.
//!
//! `cargo run --example order_service` plays a story of 24 seconds and judges it; `-- --serve` leaves both services up.
//! The place to copy from is `policies.rs`, and `protected.rs` beside it.
#![allow(clippy::disallowed_methods, reason = "real sockets run on the real clock")]
#![allow(unreachable_pub, reason = "a program has no other")]

mod bare;
mod catalog;
mod order_service;
mod policies;
mod protected;
mod remote;
mod report;
mod serve;
mod story;
mod traffic;
mod user_service;
mod verdict;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => story::play().await,
        Some("--serve") => serve::until_interrupted().await.map(|()| true),
        Some(other) => Err(format!("`{other}`? Either nothing, or `--serve`.").into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
