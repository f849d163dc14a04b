//! The probes of one half-open state: who runs, until when, and what they came to.

use std::collections::BTreeMap;

/// The probes of one half-open state. What an admission or an end costs grows with the logarithm of their number.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// When each running probe times out, by its number. Numbers count up with time, and so do deadlines: the first one is the earliest.
    deadlines: BTreeMap<u64, u64>,
    pub(super) successes: u32,
    /// When the first of the probes that ended without an answer, since the last answer, would have timed out.
    silent_until: Option<u64>,
    latest_admission: u64,
}

impl Probes {
    pub(super) fn running(&self) -> usize {
        self.deadlines.len()
    }

    /// Silence lapses where no probe was admitted for a whole `timeout`: two callers that give up, an hour apart, say nothing about the
    /// dependency.
    pub(super) fn admit(&mut self, number: u64, timeout: u64, now: u64) {
        if now.saturating_sub(self.latest_admission) >= timeout {
            self.silent_until = None;
        }
        self.latest_admission = now;
        self.deadlines.insert(number, now.saturating_add(timeout));
    }

    /// Whether a probe has run for too long.
    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.deadlines.first_key_value().is_some_and(|(_, deadline)| *deadline <= now)
    }

    /// Gives a probe's slot back, and tells when it would have timed out. `None` if it is not of this half-open state.
    pub(super) fn remove(&mut self, number: u64) -> Option<u64> {
        self.deadlines.remove(&number)
    }

    /// A probe succeeded: that many have by now.
    pub(super) fn succeed(&mut self) -> u32 {
        self.silent_until = None;
        self.successes = self.successes.saturating_add(1);
        self.successes
    }

    /// A probe ended without an answer: its caller gave up, or our own policies rejected it. Whether there has been no answer for so
    /// long that this counts as one: until the first such probe would have timed out.
    pub(super) fn end_without_answer(&mut self, deadline: u64, now: u64) -> bool {
        *self.silent_until.get_or_insert(deadline) <= now
    }
}
