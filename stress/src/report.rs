//! What a person sees: a line each second, the sums, and the verdict.

use crate::{
    audit::Check,
    memory,
    stack::Stack,
    sums::{Outcomes, Sum},
    world::World,
};

pub fn title(seconds: u64, seed: u64, stacks: &[Stack]) {
    println!("{seconds} s of calls through full stacks over backends that fail, stall and recover; --seed {seed}\n");
    let names = stacks.iter().map(|stack| format!("{:<14}", stack.settings.name)).collect::<String>();
    println!("   s  calls/s    full fallback  failed rejected cancelled inside   MiB  {names}");
}

/// What came out in the second that is over.
pub fn line(second: u64, world: &World, before: &mut Outcomes) {
    let now = Outcomes::of(&world.stacks);
    let came_out = now.came_out() - before.came_out();
    let (full, stood_in, failed) = (now.full - before.full, now.stood_in - before.stood_in, now.failed - before.failed);
    let (rejected, cancelled) = (now.rejected - before.rejected, now.cancelled - before.cancelled);
    let mib = memory::resident().map_or("-".into(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 20)));
    let states: String =
        world.stacks.iter().map(|stack| format!("{:<14}", stack.policies.breaker.state().as_str())).collect();
    println!(
        "{second:>4} {came_out:>8} {full:>7} {stood_in:>8} {failed:>7} {rejected:>7} {cancelled:>9} {:>6} {mib:>5}  {states}",
        now.inside,
    );
    *before = now;
}

pub fn table(totals: &[Sum]) {
    println!("\n{:<22} {:>13} {:>13} {:>13}", "", "the calls saw", "snapshots say", "listeners");
    for sum in totals {
        let [calls, snapshots, listeners] = sum.told();
        println!("{:<22} {calls:>13} {snapshots:>13} {listeners:>13}", sum.what);
    }
    println!();
}

pub fn verdict(checks: &[Check]) {
    for (held, what) in checks {
        println!("{}  {what}", if *held { "held  " } else { "BROKEN" });
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
