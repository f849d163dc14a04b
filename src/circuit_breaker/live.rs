//! What a call reads of the settings without the lock.
//!
//! # Memory ordering
//!
//! The lock holder writes these words when settings are applied, before the gate is published. All orders are Relaxed:
//!
//! 1. **A call that begins after `apply` has returned sees the new words**, if it knows of that return at all: whatever
//!    told it of the return orders the stores before its loads.
//! 2. **A call beside `apply` may see some words old and some new.** Then it is judged as if it had ended a moment
//!    before or after. What may not be mixed is the moments. A call that was admitted without a look at the clock says
//!    so in its admission, and is then never slow, and never counted when it is dropped. A failure that comes to the
//!    lock without its time begins the span of consecutive failures anew.
//! 3. **A success that is tallied beside `apply`** may have read that no time is needed, or the end of a slice of the
//!    window before. It is counted in the slice that ends first after the change, at the latest: it may leave its
//!    window earlier than another, by as long as its thread stood still between two steps.

use std::{
    // Not `crate::sync`'s: a model checker would try every interleaving of loads that nearly never differ.
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::settings::CircuitBreakerSettings;
use crate::clock::nanos;

/// No span is as long.
const NEVER: u64 = u64::MAX;

const AT_SUCCESS: u64 = 1;
const AT_FAILURE: u64 = 1 << 1;

#[derive(Debug)]
pub(super) struct LiveSettings {
    /// When the clock is read at the end of a call. Only rules that need the moment ask for it, because reading it is
    /// the most expensive part of a call. (Whether it is read at the start is in the gate's word.)
    clock_reads: AtomicU64,
    slow_after: AtomicU64,
    count_dropped_after: AtomicU64,
    /// The longest that an opening of this circuit may be, by any settings that it has had.
    longest_opening: AtomicU64,
}

impl LiveSettings {
    pub(super) fn new(settings: &CircuitBreakerSettings) -> Self {
        let word = || AtomicU64::new(0);
        let live =
            Self { clock_reads: word(), slow_after: word(), count_dropped_after: word(), longest_opening: word() };
        live.apply(settings);
        live
    }

    /// For the thread that has the core's lock.
    pub(super) fn apply(&self, settings: &CircuitBreakerSettings) {
        let span = |span: Option<Duration>| span.map_or(NEVER, nanos);
        let has_slow_calls = settings.slow_call_rate.is_some();
        let at_success = has_slow_calls || settings.has_time_windows();
        let at_failure = at_success || settings.has_spans();
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        let reads = flag(at_success, AT_SUCCESS) | flag(at_failure, AT_FAILURE);
        self.clock_reads.store(reads, Relaxed);
        self.slow_after.store(span(settings.slow_call_rate.map(|rule| rule.slow_after)), Relaxed);
        self.count_dropped_after.store(span(settings.count_dropped_after), Relaxed);
        // An opening that began by longer settings goes on by them.
        self.longest_opening.fetch_max(nanos(settings.longest_opening()), Relaxed);
    }

    #[inline]
    fn reads_clock(&self, flag: u64) -> bool {
        self.clock_reads.load(Relaxed) & flag != 0
    }

    #[inline]
    pub(super) fn reads_clock_at_success(&self) -> bool {
        self.reads_clock(AT_SUCCESS)
    }

    #[inline]
    pub(super) fn reads_clock_at_failure(&self) -> bool {
        self.reads_clock(AT_FAILURE)
    }

    /// Whether a call is slow that took so long.
    #[inline]
    pub(super) fn is_slow(&self, took: u64) -> bool {
        took >= self.slow_after.load(Relaxed)
    }

    /// Whether a call counts that was dropped, if it had run for long enough.
    pub(super) fn counts_dropped(&self) -> bool {
        self.count_dropped_after.load(Relaxed) != NEVER
    }

    /// Whether a call counts that was dropped after so long.
    pub(super) fn counts_dropped_after(&self, ran: u64) -> bool {
        ran >= self.count_dropped_after.load(Relaxed)
    }

    pub(super) fn longest_opening(&self) -> u64 {
        self.longest_opening.load(Relaxed)
    }
}
