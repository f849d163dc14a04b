//! What the compiler says of an error that cannot carry a rejection: it names the cure for each kind of error.
#![cfg(feature = "tower")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PLAIN: &str = "\
use withstand::CircuitBreaker;

async fn fetch(breaker: &CircuitBreaker, client: &reqwest::Client) -> Result<reqwest::Response, reqwest::Error> {
    breaker.call(|| client.get(\"http://localhost\").send()).await
}

fn main() {
    drop(fetch(&CircuitBreaker::new(\"users\"), &reqwest::Client::new()));
}
";

/// In method syntax the reason would hide behind \"trait bounds were not satisfied\".
const TOWER: &str = "\
use tower::{Service, ServiceBuilder};
use withstand::CircuitBreaker;

fn is_a_service<S: Service<reqwest::Request>>(service: S) -> S {
    service
}

fn main() {
    let breaker = CircuitBreaker::new(\"users\");
    is_a_service(ServiceBuilder::new().layer(breaker.layer()).service(reqwest::Client::new()));
}
";

/// A plain call whose operation fails with an error of this type, and what that type is.
fn failing_with(error: &str, is: &str) -> String {
    format!(
        "use withstand::CircuitBreaker;

{is}

async fn fetch(breaker: &CircuitBreaker) -> Result<u32, {error}> {{
    breaker.call(|| async {{ Ok::<u32, {error}>(7) }}).await
}}

fn main() {{
    drop(fetch(&CircuitBreaker::new(\"users\")));
}}
"
    )
}

/// A word or two from each cure. Not more: rustc's own wording changes.
const OWN: &str = "`withstand::carries_rejected!(";
const PLAIN_CALL: &str = "lift(operation)";
const TOWER_LAYER: &str = "LiftLayer";
const ANYHOW: &str = "turn on the feature `anyhow`";
const EYRE: &str = "withstand::Error::flatten";

const CURES: [&str; 5] = [OWN, PLAIN_CALL, TOWER_LAYER, ANYHOW, EYRE];

#[test]
fn a_bare_reqwest_error_in_a_plain_call_is_told_the_cures() {
    assert_names("plain", PLAIN, &CURES);
}

#[test]
fn a_bare_reqwest_error_in_tower_is_told_the_cures() {
    assert_names("tower", TOWER, &CURES);
}

#[test]
fn anyhow_without_its_feature_is_told_of_it() {
    assert_names("anyhow", &failing_with("anyhow::Error", ""), &["`anyhow::Error` cannot carry", ANYHOW]);
}

/// `eyre::Report` takes any error, and is none itself.
#[test]
fn a_report_like_eyres_is_told_to_lift_and_to_flatten() {
    let is = "#[derive(Debug)] struct Report;
        impl<E: std::error::Error> From<E> for Report { fn from(_: E) -> Self { Self } }";
    assert_names("report", &failing_with("Report", is), &["`Report` cannot carry", PLAIN_CALL, EYRE]);
}

/// Through a pipeline, which asks for more than a policy alone.
#[test]
fn a_bare_reqwest_error_in_a_pipeline_is_told_the_cures() {
    assert_names(
        "pipeline",
        &PLAIN.replace("CircuitBreaker::new", "Pipeline::standard").replace("CircuitBreaker", "Pipeline"),
        &CURES,
    );
}

/// It needs the request.
#[test]
fn a_second_service_in_a_plain_call_is_told_to_use_the_layer() {
    let program = "\
use tower::{BoxError, service_fn};
use withstand::{Fallback, Pipeline};

fn main() {
    let replica = service_fn(|id: u32| async move { Ok::<u32, BoxError>(id) });
    let users = Pipeline::standard_builder(\"users\").fallback(Fallback::service(replica)).build().unwrap();
    drop(users.call(|| async { Ok::<u32, BoxError>(7) }));
}
";
    assert_names("second-service", program, &["`Fallback::service` has no plain call: use `.layer()`"]);
}

/// With the line to write, the enum's name in it.
#[test]
fn an_enum_of_ones_own_is_told_the_line_to_add() {
    let is = "#[derive(Debug)] struct ApiError;";
    let line = "`withstand::carries_rejected!(ApiError, Policy);`";
    assert_names(
        "own",
        &failing_with("ApiError", is),
        &["`ApiError` cannot carry", "Policy(#[source] Rejected)", line],
    );
}

/// The bodies of a server's requests cannot be copied, and its clients send again: that cure is the first.
#[test]
fn a_server_behind_a_pipeline_that_copies_is_told_to_send_once() {
    let program = "\
use tower::{Layer, Service, service_fn};
use withstand::{Pipeline, http};

struct Body;

fn is_a_service<S: Service<::http::Request<Body>>>(service: S) -> S {
    service
}

fn main() {
    let routes = service_fn(|_: ::http::Request<Body>| async {
        Ok::<_, std::convert::Infallible>(::http::Response::new(String::new()))
    });
    is_a_service(http::server(Pipeline::standard(\"requests\").layer()).layer(routes));
}
";
    let output = assert_names("server", program, &["`.layer().send_once()`", "clone_request("]);
    let place = |cure| output.find(cure).expect("it was just found");
    assert!(place("send_once()") < place("clone_request("), "{output}");
}

fn assert_names(kind: &str, program: &str, cures: &[&str]) -> String {
    let package = write_package(kind, program);
    let output = check(&package, &["--offline"]);
    // Nothing is fetched that this test was not itself built from, unless a lock file has gone missing.
    let output = if output.contains("E0277") { output } else { check(&package, &[]) };
    assert!(output.contains("error[E0277]"), "another error than expected:\n{output}");
    for cure in cures {
        assert!(output.contains(cure), "`{cure}` is not in the compiler's output:\n{output}");
    }
    output
}

/// A package that has one program, and this library and the versions that it is tested with as dependencies.
fn write_package(kind: &str, program: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(library.join("Cargo.toml")).expect("a package has a manifest");
    let (_, of_tests) = manifest.split_once("[dev-dependencies]").expect("tests have dependencies");
    let dependency = |name: &str| {
        let line = of_tests.lines().find(|line| line.starts_with(&format!("{name} = ")));
        line.expect("it is a dependency of the tests").to_owned()
    };
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiler_output").join(kind);
    fs::create_dir_all(package.join("src")).expect("a directory for tests can be written to");
    let manifest = format!(
        "[package]\nname = \"bare-{kind}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nwithstand = {{ path = {library:?}, features = [\"http\"] }}\n\
         {}\n{}\n{}\n{}\n\n[workspace]\n",
        dependency("http"),
        dependency("reqwest"),
        dependency("tower"),
        dependency("anyhow"),
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("it can be written to");
    fs::write(package.join("src/main.rs"), program).expect("it can be written to");
    if let Ok(lock) = fs::read(library.join("Cargo.lock")) {
        fs::write(package.join("Cargo.lock"), lock).expect("it can be written to");
    }
    package
}

/// What `cargo check` has to say. The packages share a target directory, and so their dependencies.
fn check(package: &Path, options: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["check", "--color", "never", "--target-dir"])
        .arg(package.with_file_name("target"))
        .args(options)
        .current_dir(package)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("the cargo that built this test runs");
    assert!(!output.status.success(), "it compiles, and nothing is there to be told");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
