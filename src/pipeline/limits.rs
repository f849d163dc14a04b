//! How long a call, and each of its attempts, may take.

use super::shared::{Parts, Span};
use crate::{
    clock::{self, Instant},
    deadline::{self, Deadline, Entered},
    error::Cause,
};

/// What a call may take, as it was when the call began.
///
/// Where there is neither a total nor an attempt timeout, the deadline around the call is left to the parts that wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The pipeline's own total, or the deadline around the call if that is earlier.
    pub(super) deadline: Deadline,
    /// Whether the pipeline ends the call at the deadline, and what the rejection then says. Without a total timeout it
    /// does not: then the deadline only shortens waits and attempts.
    pub(super) total: Option<Cause>,
    pub(super) attempt: Option<Span>,
    /// Whether the deadline ends the attempt that runs before its own limit does.
    pub(super) is_attempt_cut: bool,
}

impl Limits {
    #[inline(always)]
    pub(super) fn new(parts: &Parts) -> Self {
        let (total, attempt) = (parts.total.get(), parts.attempt.get());
        let none = Self { deadline: Deadline::NEVER, total: None, attempt, is_attempt_cut: false };
        match (total, attempt) {
            (None, None) => none,
            (None, Some(_)) => Self { deadline: deadline::current(), ..none },
            (Some(total), _) => {
                let own = Deadline::after(clock::now(), total.get());
                let around = deadline::current();
                match around.is_before(own.end()) {
                    true => Self { deadline: around, total: Some(Cause::Deadline), ..none },
                    false => Self { deadline: own, total: Some(Cause::Limit), ..none },
                }
            }
        }
    }

    /// All that runs inside of the total timeout knows its deadline.
    #[inline(always)]
    pub(super) fn enter(&self) -> Option<Entered> {
        self.total.map(|_| self.deadline.enter())
    }

    /// When the pipeline ends the call. `None` is never.
    #[inline(always)]
    pub(super) fn end_of_call(&self) -> Option<Instant> {
        if self.total.is_some() { self.deadline.end() } else { None }
    }

    /// The end of an attempt that begins now, by its own limit or by the deadline.
    #[inline(always)]
    pub(super) fn begin_attempt(&mut self) -> Option<Instant> {
        let Some(limit) = self.attempt else { return self.end_of_call() };
        let end = clock::after(clock::now(), limit.get());
        self.is_attempt_cut = self.deadline.is_before(end);
        if self.is_attempt_cut { self.deadline.end() } else { end }
    }
}
