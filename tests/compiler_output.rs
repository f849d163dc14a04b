//! What the compiler says of an error that cannot carry a rejection: it names the three cures.
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

/// One word or two from each cure. Not more: rustc's own wording changes.
const CURES: [&str; 3] = ["carries_rejected!", "lift(operation)", "LiftLayer"];

#[test]
fn a_bare_reqwest_error_in_the_plain_door_is_told_the_three_cures() {
    assert_names_the_cures("plain", PLAIN);
}

#[test]
fn a_bare_reqwest_error_in_the_tower_door_is_told_the_three_cures() {
    assert_names_the_cures("tower", TOWER);
}

fn assert_names_the_cures(door: &str, program: &str) {
    let package = write_package(door, program);
    let output = check(&package, &["--offline"]);
    // Nothing is fetched that this test was not itself built from, unless a lock file has gone missing.
    let output = if output.contains("E0277") { output } else { check(&package, &[]) };
    assert!(output.contains("error[E0277]"), "another error than expected:\n{output}");
    for cure in CURES {
        assert!(output.contains(cure), "`{cure}` is not in the compiler's output:\n{output}");
    }
}

/// A package that has one program, and this library and the versions that it is tested with as dependencies.
fn write_package(door: &str, program: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(library.join("Cargo.toml")).expect("a package has a manifest");
    let (_, of_tests) = manifest.split_once("[dev-dependencies]").expect("tests have dependencies");
    let dependency = |name: &str| {
        let line = of_tests.lines().find(|line| line.starts_with(&format!("{name} = ")));
        line.expect("it is a dependency of the tests").to_owned()
    };
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiler_output").join(door);
    fs::create_dir_all(package.join("src")).expect("a directory for tests can be written to");
    let manifest = format!(
        "[package]\nname = \"bare-{door}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\nwithstand = {{ path = {library:?} }}\n{}\n{}\n\n[workspace]\n",
        dependency("reqwest"),
        dependency("tower"),
    );
    fs::write(package.join("Cargo.toml"), manifest).expect("it can be written to");
    fs::write(package.join("src/main.rs"), program).expect("it can be written to");
    if let Ok(lock) = fs::read(library.join("Cargo.lock")) {
        fs::write(package.join("Cargo.lock"), lock).expect("it can be written to");
    }
    package
}

/// What `cargo check` has to say. Both packages share a target directory, and so their dependencies.
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
