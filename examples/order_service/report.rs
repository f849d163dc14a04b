//! What a person sees: a line each second, the transitions, a summary, and the verdict.

use std::{io::IsTerminal, time::Duration};

use withstand::circuit_breaker::{State, Transition};

use crate::{
    story::{CHAPTERS, Chapter, END, in_the_lessons_words},
    traffic::{Kind, Outcome, Record, Variant},
};

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const BOLD: &str = "1";

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

    fn paint(self, colour: &str, text: impl std::fmt::Display) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// A count that is bad if it is not zero.
    fn warn(self, colour: &str, count: usize) -> String {
        let text = format!("{count:>5}");
        if count == 0 { text } else { self.paint(colour, text) }
    }

    pub fn title(self) {
        println!("Two order services, alike but for the policies, each at 40 GET and 10 POST a second.\n");
        let columns = "full  degr  fail    p50     p99  calls";
        println!("{:>4}  {:<38}  circuit    {:<38}", "", "   with withstand", "   without");
        println!("{:>4}  {columns}  {:<9}  {columns}", "s", "");
    }

    pub fn chapter(self, chapter: Chapter) {
        println!("{}", self.paint(BOLD, format_args!("      the user service: {}", chapter.as_str())));
    }

    pub fn transition(self, to: State) {
        let colour = match to {
            State::Open => RED,
            State::Closed => GREEN,
            _ => YELLOW,
        };
        println!("      {}", self.paint(colour, in_the_lessons_words(to)));
    }

    /// What ended in the second that is over.
    pub fn line(self, second: u64, state: State, variants: [&Variant; 2], seen: &mut [Seen; 2]) {
        let mut cells = variants.into_iter().zip(seen).map(|(variant, seen)| {
            let (records, calls) = (variant.records(), variant.calls());
            let cell = self.cell(&records[seen.records..], calls - seen.calls);
            *seen = Seen { records: records.len(), calls };
            cell
        });
        let (protected, bare) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        println!("{second:>4}  {protected}  {:<9}  {bare}", state.as_str());
    }

    fn cell(self, records: &[Record], calls: u64) -> String {
        let count = |outcome| records.iter().filter(|record| record.outcome == outcome).count();
        let (full, degraded, failed) = (count(Outcome::Full), count(Outcome::Degraded), count(Outcome::Failed));
        let (p50, p99) = (percentile(records, 0.50), percentile(records, 0.99));
        let (degraded, failed) = (self.warn(YELLOW, degraded), self.warn(RED, failed));
        format!("{full:>4} {degraded} {failed}  {p50:>5} {p99:>7} {calls:>6}")
    }

    pub fn summary(self, protected: &Variant, bare: &Variant) {
        println!("\n{}", self.paint(BOLD, "In all"));
        println!("{:<16} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7}", "", "asked", "full", "degr", "fail", "p50", "p99");
        for (name, variant) in [("with withstand", protected), ("without", bare)] {
            let records = variant.records();
            let count = |outcome| records.iter().filter(|record| record.outcome == outcome).count();
            println!(
                "{name:<16} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7}",
                records.len(),
                count(Outcome::Full),
                count(Outcome::Degraded),
                count(Outcome::Failed),
                percentile(&records, 0.50),
                percentile(&records, 0.99),
            );
        }
    }
}

/// In milliseconds, or a dash where there is nothing.
fn percentile(records: &[Record], share: f64) -> String {
    let mut times: Vec<_> = records.iter().map(|record| record.took).collect();
    times.sort_unstable();
    let index = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
    times.get(index).map_or("-".into(), |took| format!("{}ms", took.as_millis()))
}

/// What the protected service did, second by second.
pub struct Evidence {
    pub records: Vec<Record>,
    /// How many calls had gone to the user service by the end of each second; the first entry is the beginning.
    pub calls_by_second: Vec<u64>,
    pub transitions: Vec<Transition>,
}

impl Evidence {
    fn gets(&self, from: f64, to: f64) -> impl Iterator<Item = &Record> {
        let within = Duration::from_secs_f64(from)..Duration::from_secs_f64(to);
        self.records.iter().filter(move |record| record.kind == Kind::Get && within.contains(&record.started))
    }

    /// The share of GETs begun in these seconds that were answered in full.
    fn in_full(&self, from: f64, to: f64) -> f64 {
        let full = self.gets(from, to).filter(|record| record.outcome == Outcome::Full).count();
        full as f64 / self.gets(from, to).count().max(1) as f64
    }

    /// The share of requests begun while the user service was stopped for which it was not called.
    fn spared(&self, from: u64, to: u64) -> f64 {
        let within = Duration::from_secs(from)..Duration::from_secs(to);
        let requests = self.records.iter().filter(|record| within.contains(&record.started)).count();
        let calls = self.calls_by_second[to as usize] - self.calls_by_second[from as usize];
        1.0 - calls as f64 / requests.max(1) as f64
    }

    fn has_opened_and_closed_again(&self) -> bool {
        let opened = self.transitions.iter().position(|transition| transition.to == State::Open);
        opened.is_some_and(|at| self.transitions[at..].iter().any(|transition| transition.to == State::Closed))
    }
}

/// Whether everything that must hold has held; says each.
pub fn verdict(screen: Screen, evidence: &Evidence) -> bool {
    let begin = |chapter| CHAPTERS.iter().find(|(of, _)| *of == chapter).map_or(0, |(_, second)| *second);
    let (slow, stopped) = (begin(Chapter::Slow), begin(Chapter::Stopped));
    let (started, recovered) = (begin(Chapter::StartedAgain), begin(Chapter::Recovered));
    let gets = evidence.gets(0.0, END as f64).count();
    let answered = evidence.gets(0.0, END as f64).filter(|record| record.status == 200).count();
    // A request begun just before the chapter ends may be overtaken by what happens then.
    let healthy = evidence.in_full(0.0, slow as f64 - 0.5);
    let after = evidence.in_full(recovered as f64, END as f64);
    let spared = evidence.spared(stopped, started);
    let checks = [
        (gets > 0 && answered == gets, format!("{answered} of {gets} GETs were answered 200")),
        (healthy >= 0.99, format!("{:.1} % of them in full while healthy", healthy * 100.0)),
        (after >= 0.99, format!("{:.1} % in full from 5 s after the restart", after * 100.0)),
        (spared >= 0.80, format!("{:.1} % of the outage's calls were spared the user service", spared * 100.0)),
        (evidence.has_opened_and_closed_again(), "the circuit opened and closed again".into()),
    ];
    println!();
    for (holds, what) in &checks {
        let mark = if *holds { screen.paint(GREEN, "held  ") } else { screen.paint(RED, "FAILED") };
        println!("{mark}  {what}");
    }
    checks.iter().all(|(holds, _)| *holds)
}
