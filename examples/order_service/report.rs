//! What a person sees: a line each second, the transitions, the summary and the verdict.

use std::{fmt, io::IsTerminal};

use withstand::circuit_breaker::State;

use crate::{
    story::{Chapter, in_the_lessons_words},
    traffic::{Kind, Outcome, PER_SECOND, Record, Variant},
};

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BOLD: &str = "1";

const COLUMNS: &str = "full degr fail wait    p50    p99 calls";

/// What earlier lines have told of a variant.
#[derive(Clone, Copy, Default)]
pub struct Seen {
    records: usize,
    calls: u64,
}

#[derive(Clone, Copy)]
pub struct Screen {
    has_colour: bool,
}

impl Screen {
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none();
        Self { has_colour: wanted && std::io::stdout().is_terminal() }
    }

    pub fn title(self) {
        println!(
            "Two order services, alike but for the policies, each asked {PER_SECOND} times a second: 4 GETs, then a POST."
        );
        println!(
            "full: all of it   degr: a GET without the user's details, a POST told when to come back   fail: neither"
        );
        println!("wait: still without an answer   calls: what went to the user service\n");
        println!("{:>4}  {:<39}  {:<9}  without", "", "with withstand", "circuit");
        println!("{:>4}  {COLUMNS}  {:<9}  {COLUMNS}", "s", "");
    }

    pub fn chapter(self, chapter: Chapter) {
        println!("      {}", self.paint(BOLD, format_args!("The user service: {}", chapter.as_str())));
    }

    pub fn transition(self, to: State) {
        println!("      {}", self.paint(colour_of(to), in_the_lessons_words(to)));
    }

    /// What ended in the second that is over.
    pub fn line(self, second: u64, state: State, variants: [&Variant; 2], seen: &mut [Seen; 2]) {
        let [protected, bare] = [0, 1].map(|side| self.cell(variants[side], &mut seen[side]));
        let state = self.paint(colour_of(state), format_args!("{:<9}", state.as_str()));
        println!("{second:>4}  {protected}  {state}  {bare}");
    }

    fn cell(self, variant: &Variant, seen: &mut Seen) -> String {
        let (records, calls) = (variant.records(), variant.calls());
        let ended = &records[seen.records..];
        let [full, degraded, failed] = self.outcomes(ended);
        let waiting = variant.asked() - records.len() as u64;
        let (p50, p99) = (percentile(ended, 0.50), percentile(ended, 0.99));
        let made = calls - seen.calls;
        *seen = Seen { records: records.len(), calls };
        format!("{full} {degraded} {failed} {waiting:>4} {p50:>6} {p99:>6} {made:>5}")
    }

    pub fn summary(self, protected: &Variant, bare: &Variant) {
        println!("\n{} asked full degr fail    p50    p99", self.paint(BOLD, format_args!("{:<20}", "In all")));
        for (name, variant) in [("with withstand", protected), ("without", bare)] {
            for (method, kind) in [("GET", Kind::Get), ("POST", Kind::Post)] {
                let mut records = variant.records();
                records.retain(|record| record.kind == kind);
                let [full, degraded, failed] = self.outcomes(&records);
                let (p50, p99) = (percentile(&records, 0.50), percentile(&records, 0.99));
                let asked = records.len();
                println!("{name:<15} {method:<4} {asked:>5} {full} {degraded} {failed} {p50:>6} {p99:>6}");
            }
        }
        println!("The user service was called {} and {} times.\n", protected.calls(), bare.calls());
    }

    pub fn verdict(self, checks: &[(bool, String)]) {
        for (holds, what) in checks {
            let mark = if *holds { self.paint(GREEN, "held  ") } else { self.paint(RED, "FAILED") };
            println!("{mark}  {what}");
        }
    }

    /// How many were answered in full, how many degraded, how many failed.
    fn outcomes(self, records: &[Record]) -> [String; 3] {
        [(Outcome::Full, GREEN), (Outcome::Degraded, YELLOW), (Outcome::Failed, RED)].map(|(outcome, colour)| {
            let count = records.iter().filter(|record| record.outcome == outcome).count();
            let text = format!("{count:>4}");
            if count == 0 { text } else { self.paint(colour, text) }
        })
    }

    fn paint(self, colour: &str, text: impl fmt::Display) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn colour_of(state: State) -> &'static str {
    match state {
        State::Open => RED,
        State::Closed => GREEN,
        _ => YELLOW,
    }
}

/// In milliseconds, or a dash where there is nothing.
fn percentile(records: &[Record], share: f64) -> String {
    let mut times: Vec<_> = records.iter().map(|record| record.took).collect();
    times.sort_unstable();
    let index = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
    times.get(index).map_or("-".into(), |took| format!("{}ms", took.as_millis()))
}
