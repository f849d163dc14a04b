//! withstand beside its peers, in one process. Prints a Markdown table.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! - `--short`: a smaller table, for the README
//! - `--quick`: a tenth of the rounds
//! - `--rows TEXT`: only the rows whose title has it
//! - `--no-instructions`: without the runs under valgrind
//! - `--best`: the best round, in place of the median
//! - `--all`: every contender, beneath the table
#![allow(clippy::disallowed_methods, reason = "the library's rule: what measures has to read the clock")]

mod allocations;
mod callgrind;
mod contender;
mod made_with;
mod measure;
mod operation;
mod outcome;
mod rows;
mod table;

use std::env;

use contender::{RUNTIME, Row, Unit};
use measure::Plan;
use table::{Line, Notes};

struct Options {
    plan: Plan,
    rows: String,
    short: bool,
    instructions: bool,
    all: bool,
}

fn main() {
    let _entered = RUNTIME.enter();
    let mut arguments = env::args().skip(1).peekable();
    if arguments.next_if(|first| first == callgrind::CASE).is_some() {
        return callgrind::run_case(arguments);
    }
    print(&options(arguments));
}

fn options(mut arguments: impl Iterator<Item = String>) -> Options {
    let plan = Plan { rounds: 1000, rounds_of_threads: 100, best: false };
    let mut options = Options { plan, rows: String::new(), short: false, instructions: true, all: false };
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--short" => options.short = true,
            "--quick" => options.plan = Plan { rounds: 100, rounds_of_threads: 10, ..options.plan },
            "--rows" => options.rows = arguments.next().expect("--rows takes a text"),
            "--no-instructions" => options.instructions = false,
            "--best" => options.plan.best = true,
            "--all" => options.all = true,
            unknown => panic!("no such option: {unknown}"),
        }
    }
    options.instructions &= !options.short && callgrind::is_present();
    options
}

fn print(options: &Options) {
    let (mut notes, mut lists) = (Notes::default(), String::new());
    println!("{}", if options.short { table::SHORT_HEADER } else { table::HEADER });
    for (number, row) in rows::all().iter().enumerate() {
        if !row.title.contains(&options.rows) || (options.short && !row.short) {
            continue;
        }
        let measured = measure::row(row, &options.plan);
        let line = Line::new(row, &measured);
        let instructions = if options.instructions { instructions(number, row, &line) } else { [None; 5] };
        println!("{}", if options.short { line.short(&mut notes) } else { line.full(instructions, &mut notes) });
        lists += &line.list();
    }
    println!("\n{}", made_with::words(&options.plan, options.short));
    notes.lines().for_each(|line| println!("{line}"));
    if options.all {
        println!("\n{lists}");
    }
}

/// Of those that are shown, but for threads, and for what sleeps a millisecond.
fn instructions(number: usize, row: &Row, line: &Line<'_>) -> [Option<f64>; 5] {
    line.shown().map(|one| {
        let (place, _) = one.filter(|(_, one)| row.unit == Unit::NanosPerCall && one.value < 1e6)?;
        callgrind::instructions_per_call(number, place)
    })
}
