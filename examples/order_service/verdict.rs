//! What must have held for the story to have gone well.

use std::time::Duration;

use withstand::circuit_breaker::{State, Transition};

use crate::{
    story::{Chapter, END},
    traffic::{Kind, Outcome, Record},
};

/// What the protected service did.
pub struct Evidence {
    pub records: Vec<Record>,
    /// How many calls had gone to the user service by the end of each second; the first entry is the beginning.
    pub calls_by_second: Vec<u64>,
    pub transitions: Vec<Transition>,
}

impl Evidence {
    /// Whether each of them held, and what it says.
    pub fn checks(&self) -> [(bool, String); 6] {
        let (gets, answered) = self.tally(Kind::Get, |record| record.status == 200);
        let (posts, told) = self.tally(Kind::Post, |record| record.outcome != Outcome::Failed);
        // What began just before the user service grew slow may have met it slow.
        let healthy = self.in_full(0.0, Chapter::Slow.begin() as f64 - 0.5);
        let after = self.in_full(Chapter::Recovered.begin() as f64, END as f64);
        let spared = self.spared(Chapter::Stopped.begin(), Chapter::StartedAgain.begin());
        [
            (gets > 0 && answered == gets, format!("{answered} of {gets} GETs were answered 200")),
            (healthy >= 0.99, format!("{:.1} % of them in full while healthy", healthy * 100.0)),
            (after >= 0.99, format!("{:.1} % of them in full from 5 s after the restart", after * 100.0)),
            (told == posts, format!("{told} of {posts} POSTs were answered 201, or 503 and when to come back")),
            (spared >= 0.80, format!("{:.1} % of the outage's calls were spared the user service", spared * 100.0)),
            (self.has_opened_and_closed_again(), "the circuit opened, and closed again".into()),
        ]
    }

    /// How many there were of this kind, and how many of them were good.
    fn tally(&self, kind: Kind, is_good: impl Fn(&Record) -> bool) -> (usize, usize) {
        let of_kind = || self.records.iter().filter(|record| record.kind == kind);
        (of_kind().count(), of_kind().filter(|record| is_good(record)).count())
    }

    fn begun(&self, from: f64, to: f64) -> impl Iterator<Item = &Record> {
        let within = Duration::from_secs_f64(from)..Duration::from_secs_f64(to);
        self.records.iter().filter(move |record| within.contains(&record.started))
    }

    /// The share of GETs begun in these seconds that were answered in full.
    fn in_full(&self, from: f64, to: f64) -> f64 {
        let gets = || self.begun(from, to).filter(|record| record.kind == Kind::Get);
        let full = gets().filter(|record| record.outcome == Outcome::Full).count();
        full as f64 / gets().count().max(1) as f64
    }

    /// What the user service was spared of the calls that came in these seconds; retries count against it.
    fn spared(&self, from: u64, to: u64) -> f64 {
        let requests = self.begun(from as f64, to as f64).count();
        let calls = self.calls_by_second[to as usize] - self.calls_by_second[from as usize];
        1.0 - calls as f64 / requests.max(1) as f64
    }

    fn has_opened_and_closed_again(&self) -> bool {
        let mut transitions = self.transitions.clone();
        transitions.sort_by_key(|transition| transition.generation);
        transitions.iter().any(|transition| transition.to == State::Open)
            && transitions.last().is_some_and(|last| last.to == State::Closed)
    }
}
