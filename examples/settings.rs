//! A service whose policies are set by a file, and by the environment. The file is edited while calls run.
//!
//! ```sh
//! cargo run --example settings --features serde
//! WITHSTAND_USERS__RETRY__MAX_ATTEMPTS=5 cargo run --example settings --features serde
//! cargo run --example settings --features serde -- path/to/settings.toml   # edit it yourself; ends after a minute
//! ```
//!
//! Without a path it writes a file of its own, and edits it: a good change, a bad one, and a good one again.
#![allow(clippy::disallowed_methods, reason = "a file is looked at on the real clock")]

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    providers::{Env, Serialized},
};
use withstand::{Error, Pipeline, lift, pipeline::PipelineSettings, settings::Pipelines};

type Settings = BTreeMap<String, PipelineSettings>;
type AnyError = Box<dyn std::error::Error + Send + Sync>;

const FIRST: &str = r#"
[users]
timeout = "2s"
retry = { max_attempts = 2, backoff = { constant = { delay = "10ms" } } }
circuit_breaker = { probe_timeout = "5s" }
"#;

/// What is written over the file, one after the other.
const EDITS: [&str; 3] = [
    // More attempts.
    r#"
[users]
timeout = "2s"
retry = { max_attempts = 4, backoff = { constant = { delay = "10ms" } } }
circuit_breaker = { probe_timeout = "5s" }
"#,
    // A typo, and a value that cannot be.
    r#"
[users]
timeout = "2s"
retry = { max_attempts = 0, backoff = { constant = { delay = "10ms" } } }
circuit_breaker = { probe_timeout = "0s" }
"#,
    // A circuit that opens by a rate.
    r#"
[users]
timeout = "2s"
retry = { max_attempts = 1 }
circuit_breaker = { failure_rate = { rate = 0.5, window = { calls = 10 } } }
"#,
];

/// The file first, then the environment. The parser's error has the line.
fn parse(text: &str) -> Result<Settings, AnyError> {
    let file: toml::Table = toml::from_str(text)?;
    // Read once as it is, for errors with a line.
    toml::from_str::<Settings>(text)?;
    let environment = Env::prefixed("WITHSTAND_").split("__");
    Ok(Figment::from(Serialized::defaults(file)).merge(environment).extract()?)
}

/// Applies the file whenever its text has changed, looking once a second. A file that is missing or empty is one that is
/// being written.
async fn follow(path: PathBuf, pipelines: Pipelines, mut applied: String) {
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if text.trim().is_empty() || text == applied {
            continue;
        }
        match parse(&text).and_then(|settings| Ok(pipelines.apply(&settings)?)) {
            Ok(()) => println!("-- the settings have changed"),
            Err(error) => println!("-- the settings stay as they are: {error}"),
        }
        applied = text;
    }
}

/// A dependency that is down.
async fn fetch_user() -> io::Result<u32> {
    Err(io::ErrorKind::ConnectionReset.into())
}

async fn call(users: &Pipeline) -> String {
    let mut attempts = 0;
    let answer: Result<u32, Error<io::Error>> = users
        .call(|| {
            attempts += 1;
            lift(fetch_user())
        })
        .await;
    let said = answer.map_or_else(|error| error.to_string(), |user| user.to_string());
    format!("{attempts} attempts: {said}")
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let given = env::args().nth(1).map(PathBuf::from);
    let path = given.clone().unwrap_or_else(|| env::temp_dir().join(format!("withstand-{}.toml", std::process::id())));
    if given.is_none() {
        fs::write(&path, FIRST)?;
    }
    let text = fs::read_to_string(&path)?;
    let pipelines = Pipelines::build(&parse(&text)?)?;
    tokio::spawn(follow(path.clone(), pipelines.clone(), text));

    let edits: &[&str] = if given.is_none() { &EDITS } else { &[] };
    for second in 0..if given.is_none() { 8 } else { 60 } {
        for users in pipelines.iter() {
            println!("{}: {}", users.name(), call(users).await);
        }
        if let (0, Some(edit)) = (second % 2, edits.get(second / 2)) {
            replace(&path, edit)?;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    if given.is_none() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// As editors do: another file takes its place, so that nobody reads half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}
