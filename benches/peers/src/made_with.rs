//! What a table must say of itself: how it was made, on what, with which releases.

use std::{fs, process::Command, thread};

use crate::measure::Plan;

const PEERS: [&str; 14] = [
    "backon",
    "circuitbreaker-rs",
    "failsafe",
    "governor",
    "recloser",
    "seatbelt",
    "tokio",
    "tokio-retry",
    "tower",
    "tower-resilience-bulkhead",
    "tower-resilience-circuitbreaker",
    "tower-resilience-fallback",
    "tower-resilience-retry",
    "tower-resilience-timelimiter",
];

pub(crate) fn words(plan: &Plan, short: bool) -> String {
    let Plan { rounds, rounds_of_threads, best } = plan;
    let of = if *best { "best" } else { "median" };
    let made = format!(
        "The {of} of {rounds} rounds ({rounds_of_threads} with threads) in which all contenders of a row take turns. {}; {}; cargo's release \
         profile as it is; {}.\n",
        machine(),
        compiler(),
        versions().join(", "),
    );
    if short { made } else { made + COLUMNS }
}

const COLUMNS: &str = "\
The operation is ready at once, and a call is polled manually. withstand's operation fails with an error of a word, which has room for a boxed rejection (where it is rejected, for one without a box), its peers' \
with one of a byte: their rejections come in types of their own.
A ratio is withstand's figure over the best peer's in the same way; so is a target, unless it names another. With two threads, more is better.
Allocations of a call, the bytes that it adds to the operation's future, and its instructions are in the order of the first five columns. A clock \
read counts as few instructions: valgrind makes a system call of it, and does not look inside.
";

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&version).trim().into()
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    format!("{}, {} cores", model.unwrap_or("a CPU"), thread::available_parallelism().map_or(0, usize::from))
}

/// As they were resolved for this build.
fn versions() -> Vec<String> {
    fn field<'a>(package: &'a str, name: &str) -> Option<&'a str> {
        package.lines().find_map(|line| line.strip_prefix(name)?.split('"').nth(1))
    }
    let packages = include_str!("../Cargo.lock").split("[[package]]");
    let known = packages.filter_map(|package| Some((field(package, "name = ")?, field(package, "version = ")?)));
    known.filter(|(name, _)| PEERS.contains(name)).map(|(name, version)| format!("{name} {version}")).collect()
}
