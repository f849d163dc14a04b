//! Instructions per call: the program runs itself under valgrind, twice, with one contender.

use std::{
    env,
    process::{Command, Stdio},
    str::FromStr,
};

use crate::{measure, rows};

/// Multiples of every period in the rows' traffic.
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;

/// Which contender to run, as an argument: the row's number, the contender's in it, and how many calls.
pub(crate) const CASE: &str = "--case";

pub(crate) fn is_present() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

pub(crate) fn instructions_per_call(row: usize, contender: usize) -> Option<f64> {
    let (few, many) = (instructions(row, contender, FEW)?, instructions(row, contender, MANY)?);
    Some((many - few) / (MANY - FEW) as f64)
}

fn instructions(row: usize, contender: usize, calls: u64) -> Option<f64> {
    let case = [row.to_string(), contender.to_string(), calls.to_string()];
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .arg(CASE)
        .args(case)
        .output()
        .ok()?;
    let report = String::from_utf8_lossy(&output.stderr);
    report.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// What runs under valgrind.
pub(crate) fn run_case(mut case: impl Iterator<Item = String>) {
    let mut next = || usize::from_str(&case.next()?).ok();
    let (Some(row), Some(contender), Some(calls)) = (next(), next(), next()) else {
        panic!("{CASE} takes three numbers")
    };
    let contender = (rows::all()[row].contenders)().swap_remove(contender);
    let mut runner = (contender.start)();
    measure::warm(&mut *runner);
    runner.run(calls as u64, None);
}
