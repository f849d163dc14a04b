//! The probes of one half-open state: which of them run, until when, and how they ended.

use std::collections::BTreeMap;

/// The probes of one half-open state. The cost of an admission and of an end grows with the logarithm of their number.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// When each running probe times out, by its number. Numbers grow with time, and so do deadlines: the first one is
    /// the earliest.
    deadlines: BTreeMap<u64, u64>,
    pub(super) successes: u32,
    /// Since the last answer, some probes ended without one: when the first of these would have timed out.
    silent_until: Option<u64>,
    /// When a probe last ended.
    latest_end: u64,
}

impl Probes {
    pub(super) fn running(&self) -> usize {
        self.deadlines.len()
    }

    /// Silence lapses where no probe ran for a whole `timeout`. Two callers that give up, an hour apart, say nothing
    /// about the dependency.
    pub(super) fn admit(&mut self, number: u64, timeout: u64, now: u64) {
        if self.deadlines.is_empty() && now.saturating_sub(self.latest_end) >= timeout {
            self.silent_until = None;
        }
        self.deadlines.insert(number, now.saturating_add(timeout));
    }

    /// Those that run time out no later than one that would be admitted now: the first deadline has to stay the
    /// earliest.
    pub(super) fn shorten(&mut self, timeout: u64, now: u64) {
        let latest = now.saturating_add(timeout);
        for deadline in self.deadlines.values_mut() {
            *deadline = latest.min(*deadline);
        }
    }

    /// Whether a probe has run for too long.
    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.deadlines.first_key_value().is_some_and(|(_, deadline)| *deadline <= now)
    }

    /// Gives a probe's slot back, and tells when the probe would have timed out. `None` if it is not of this half-open
    /// state.
    pub(super) fn end(&mut self, number: u64, now: u64) -> Option<u64> {
        let deadline = self.deadlines.remove(&number)?;
        self.latest_end = now;
        Some(deadline)
    }

    /// A probe succeeded. How many have by now.
    pub(super) fn succeed(&mut self) -> u32 {
        self.silent_until = None;
        self.successes = self.successes.saturating_add(1);
        self.successes
    }

    /// A probe ended without an answer: its caller gave up, or one of our own policies rejected it. Whether probes have
    /// gone without an answer for so long that the first of them would have timed out.
    pub(super) fn end_without_answer(&mut self, deadline: u64, now: u64) -> bool {
        *self.silent_until.get_or_insert(deadline) <= now
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use super::*;

    /// What 8,000 probes cost is what the map costs: no pass over all of them, whoever is admitted or ends.
    #[test]
    fn b5_eight_thousand_probes_are_found_by_number_and_expire_by_the_earliest() {
        const PROBES: u64 = 8000;
        let mut probes = Probes::default();
        (0..PROBES).for_each(|number| probes.admit(number, 1000, number));
        assert_eq!(probes.running(), PROBES as usize);
        let deadlines: Vec<_> = probes.deadlines.values().copied().collect();
        assert!(deadlines.is_sorted(), "so a look at the first one finds the earliest");
        assert!(!probes.has_expired(999) && probes.has_expired(1000));
        assert_eq!(probes.end(0, 1000), Some(1000));
        assert!(!probes.has_expired(1000), "the earliest has gone, and the next one is due a tick later");
        assert_eq!((probes.end(7999, 1000), probes.end(7999, 1000)), (Some(8999), None), "from any place, once");
    }

    #[test]
    fn b6_silence_lapses_when_no_probe_ran_for_the_timeout_and_not_while_one_runs() {
        let is_silent = |idle: u64| {
            let mut probes = Probes::default();
            probes.admit(0, 10, 100);
            let deadline = probes.end(0, 109).expect("it runs");
            assert!(!probes.end_without_answer(deadline, 109));
            probes.admit(1, 10, 109 + idle);
            let deadline = probes.end(1, 110 + idle).expect("it runs");
            probes.end_without_answer(deadline, 110 + idle)
        };
        assert_eq!([0, 1, 9, 10, 11, 3600].map(is_silent), [true, true, true, false, false, false]);
    }
}
