//! A soak: thousands of calls at once over backends that fail, stall and recover at random, given up at random, while a hand moves limits
//! and forces circuits; and at each second, and at the end, everything must add up.
//!
//! `cargo run --release --manifest-path stress/Cargo.toml -- --seconds 60`, and `--seed n` for the same random decisions again; the threads interleave as they like.
#![allow(clippy::disallowed_methods, reason = "a soak runs on the real clock")]
#![allow(unreachable_pub, reason = "a program has no other")]

mod audit;
mod backend;
mod chaos;
mod heard;
mod memory;
mod policies;
mod queue;
mod recovery;
mod reload;
mod report;
mod seam;
mod soak;
mod stack;
mod sums;
mod traffic;
mod world;

use std::{error::Error, process::ExitCode};

// More threads than a small machine has cores: they are interrupted where they would not be otherwise.
#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let outcome = match arguments() {
        Ok((seconds, seed)) => soak::run(seconds, seed).await,
        Err(error) => Err(error),
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

/// For how many seconds, and by which seed.
fn arguments() -> Result<(u64, u64), Box<dyn Error>> {
    let (mut seconds, mut seed) = (60, fastrand::u64(..));
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let wanted = match name.as_str() {
            "--seconds" => &mut seconds,
            "--seed" => &mut seed,
            other => return Err(format!("`{other}`? Either `--seconds n` or `--seed n`.").into()),
        };
        let value = arguments.next().ok_or_else(|| format!("`{name}` needs a number"))?;
        *wanted = value.parse().map_err(|error| format!("`{name} {value}`: {error}"))?;
    }
    Ok((seconds, seed))
}
