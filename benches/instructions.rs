//! How many instructions a call takes, counted by valgrind: what a clock says differs from run to run, this does not.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench instructions` prints the table beside the committed one,
//! `instructions.md`; `-- --write` writes it anew, and `-- breaker` counts only what has that in its name. Without valgrind it says
//! so, and is content.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use cases::{CASES, Case};

const FEW: u64 = 1_000;
const MANY: u64 = 11_000;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    match &args[..] {
        [run, case, calls, ..] if run == "--run" => {
            let number: usize = case.parse().expect("a number");
            (CASES[number].prepare)()(calls.parse().expect("a number"));
            ExitCode::SUCCESS
        }
        _ if Command::new("valgrind").arg("--version").output().is_err() => {
            println!("not counted: valgrind is not here");
            ExitCode::SUCCESS
        }
        args => {
            let filter = args.iter().find(|arg| !arg.starts_with("--")).map_or("", String::as_str);
            let chosen = CASES.iter().enumerate().filter(|(_, case)| case.name.contains(filter));
            let counted: Vec<_> = chosen.map(|(number, case)| (*case, per_call(number))).collect();
            if args.iter().any(|arg| arg == "--write") {
                write(&counted)
            } else {
                compare(&counted)
            }
            ExitCode::SUCCESS
        }
    }
}

/// The difference between many calls and few: what is done once falls out.
fn per_call(number: usize) -> f64 {
    (count(number, MANY) - count(number, FEW)) as f64 / (MANY - FEW) as f64
}

fn count(number: usize, calls: u64) -> u64 {
    let this = env::current_exe().expect("its own path");
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["--run", &number.to_string(), &calls.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&counted.stderr).into_owned();
    let total = said.lines().find_map(|line| line.split_once("Collected : ")).unwrap_or_else(|| panic!("{said}"));
    total.1.trim().parse().expect("a number")
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.md")
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output().expect("rustc runs").stdout;
    format!("{}, {}", String::from_utf8_lossy(&version).trim(), env::consts::ARCH)
}

fn write(counted: &[(Case, f64)]) {
    let rows: String = counted.iter().map(|(case, now)| format!("| {case} | {now:.0} |\n")).collect();
    let text = format!(
        "# Instructions per call\n\nCounted by `cargo bench --manifest-path benches/Cargo.toml --bench instructions -- --write`, with {}.\n\n\
         | call | instructions |\n|---|--:|\n{rows}",
        compiler()
    );
    fs::write(table(), text).expect("it can be written");
}

/// Prints, and judges nothing: another compiler has other counts.
fn compare(counted: &[(Case, f64)]) {
    let committed = fs::read_to_string(table()).unwrap_or_default();
    let before: HashMap<_, _> = committed.lines().filter_map(row).collect();
    println!("counted with {}; committed: {}", compiler(), committed.lines().nth(2).unwrap_or("nothing"));
    println!("| call | committed | now |\n|---|--:|--:|");
    for (case, now) in counted {
        println!("| {case} | {} | {now:.0} |", before.get(case.name).copied().unwrap_or("–"));
    }
}

fn row(line: &str) -> Option<(&str, &str)> {
    let mut cells = line.trim_matches('|').split('|').map(str::trim);
    Some((cells.next()?, cells.next()?))
}
