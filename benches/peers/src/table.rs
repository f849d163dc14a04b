//! The Markdown: the table, its short form, and what has to be said beneath it.

use crate::{
    contender::{
        Row, TOWER_RESILIENCE, Target, US,
        Unit::{MillionCallsPerSecond, NanosPerCall},
        Way::{self, Plain, Tower},
    },
    measure::Measured,
};

pub(crate) const HEADER: &str = "\
| ns per call | withstand, plain | withstand, tower | best peer, plain | best peer, tower | tower-resilience | ratio, plain | ratio, tower | target | allocations | bytes | instructions |
|---|--:|--:|--:|--:|--:|--:|--:|---|---|---|---|";

pub(crate) const SHORT_HEADER: &str = "\
| ns per call | withstand | best peer | withstand, tower | best peer, tower |
|---|--:|--:|--:|--:|";

/// Numbers the notes as they come.
#[derive(Default)]
pub(crate) struct Notes(Vec<&'static str>);

impl Notes {
    fn mark(&mut self, note: &'static str) -> String {
        let number = self.0.iter().position(|known| *known == note).unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        });
        format!(" [{}]", number + 1)
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().enumerate().map(|(index, note)| format!("[{}] {note}.", index + 1))
    }
}

/// A row, and what its contenders came to.
pub(crate) struct Line<'a> {
    row: &'a Row,
    all: &'a [Measured],
}

impl<'a> Line<'a> {
    pub(crate) fn new(row: &'a Row, all: &'a [Measured]) -> Self {
        Self { row, all }
    }

    fn named(&self, name: &str, way: Way) -> Option<&'a Measured> {
        self.all.iter().find(|one| one.contender.name == name && one.contender.way == way)
    }

    fn best(&self, way: Way) -> Option<&'a Measured> {
        let peers = self.all.iter().filter(|one| one.contender.way == way && !one.contender.name.starts_with(US));
        peers.reduce(|best, one| if self.row.unit.better(one.value, best.value) { one } else { best })
    }

    /// Those of the first five columns, and their places in the row.
    pub(crate) fn shown(&self) -> [Option<(usize, &'a Measured)>; 5] {
        let resilience = self.named(TOWER_RESILIENCE, Tower);
        let shown = [self.named(US, Plain), self.named(US, Tower), self.best(Plain), self.best(Tower), resilience];
        let place = |one| self.all.iter().position(|other| std::ptr::eq(one, other));
        shown.map(|one| one.and_then(|one| Some((place(one)?, one))))
    }

    /// `instructions` are in the order of the columns.
    pub(crate) fn full(&self, instructions: [Option<f64>; 5], notes: &mut Notes) -> String {
        let shown = self.shown().map(|one| one.map(|(_, one)| one));
        let [plain, tower, best_plain, best_tower, resilience] = shown;
        let targets = [Plain, Tower].into_iter().filter_map(|way| self.target(way));
        let cells = [
            self.title(),
            value(plain, notes),
            value(tower, notes),
            named_value(best_plain, notes),
            named_value(best_tower, notes),
            value(resilience, notes),
            self.ratio(Plain),
            self.ratio(Tower),
            targets.collect::<Vec<_>>().join("; "),
            in_order(shown.map(|one| one.map(|one| digits(one.allocations)))),
            in_order(shown.map(|one| one.map(bytes))),
            in_order(instructions.map(|count| count.map(digits))),
        ];
        format!("| {} |", cells.join(" | "))
    }

    pub(crate) fn short(&self, notes: &mut Notes) -> String {
        let mut cells = vec![self.title()];
        for way in [Plain, Tower] {
            cells.push(value(self.named(US, way), notes));
            cells.push(named_value(self.best(way), notes));
        }
        format!("| {} |", cells.join(" | "))
    }

    /// Every contender, for a closer look.
    pub(crate) fn list(&self) -> String {
        let line = |one: &Measured| {
            let Measured { contender, value, allocations } = one;
            let (value, allocations, bytes) = (digits(*value), digits(*allocations), bytes(one));
            let note = contender.note.map_or(String::new(), |note| format!("; {note}"));
            let who = format!("{}, {:?}", contender.name, contender.way).to_lowercase();
            format!("  - {who}: {value}; {allocations} allocations; {bytes} bytes{note}\n")
        };
        format!("- {}\n{}", self.title(), self.all.iter().map(line).collect::<String>())
    }

    fn title(&self) -> String {
        match self.row.unit {
            NanosPerCall => self.row.title.into(),
            MillionCallsPerSecond => format!("{}, million calls/s", self.row.title),
        }
    }

    fn ratio(&self, way: Way) -> String {
        let (Some(us), Some(best)) = (self.named(US, way), self.best(way)) else { return "–".into() };
        digits(us.value / best.value)
    }

    /// What is to be reached, and whether it is.
    fn target(&self, way: Way) -> Option<String> {
        let target = match way {
            Plain => self.row.plain,
            Tower => self.row.tower,
        };
        let (words, limit) = match target {
            Target::None => return None,
            Target::Best(factor) => (digits(factor), factor * self.best(way)?.value),
            Target::Of(name, factor) => {
                (format!("{} of {name}", digits(factor)), factor * self.named(name, way)?.value)
            }
            Target::Over(name, nanos) => (format!("{name} + {nanos} ns"), nanos + self.named(name, way)?.value),
            Target::Nanos(nanos) => (format!("{nanos} ns"), nanos),
        };
        let us = self.named(US, way)?.value;
        let (bound, met) = match self.row.unit {
            NanosPerCall => ("≤", us <= limit),
            MillionCallsPerSecond => ("≥", us >= limit),
        };
        let way = format!("{way:?}").to_lowercase();
        Some(format!("{way} {bound} {words}: {}", if met { "met" } else { "**missed**" }))
    }
}

fn value(one: Option<&Measured>, notes: &mut Notes) -> String {
    let Some(one) = one else { return "–".into() };
    digits(one.value) + &one.contender.note.map_or(String::new(), |note| notes.mark(note))
}

fn named_value(one: Option<&Measured>, notes: &mut Notes) -> String {
    one.map_or(String::new(), |one| format!("{} ", one.contender.name)) + &value(one, notes)
}

/// What allocates has its future in a box: its size says nothing.
fn bytes(one: &Measured) -> String {
    if one.allocations > 0.0 { "boxed".into() } else { one.contender.added.to_string() }
}

fn in_order(cells: [Option<String>; 5]) -> String {
    if cells.iter().all(Option::is_none) {
        return "–".into();
    }
    cells.map(|cell| cell.unwrap_or("–".into())).join(" · ")
}

/// As many as a reader wants.
fn digits(value: f64) -> String {
    let decimals = match value {
        0.0 => 0,
        ..0.1 => 3,
        ..1.0 => 2,
        ..10.0 => 1,
        _ => 0,
    };
    let digits = format!("{value:.decimals$}");
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.').into() } else { digits }
}
