//! The core: the limit, what is used of it, and which calls wait in the queue. `W` is what wakes a waiter.
//!
//! No one in the queue has reserved anything. The first in the queue takes its permits when it is polled and they are
//! there. So a waiter that leaves has nothing to give back.

use std::mem;

use super::{
    fixed_window::{Line, Window},
    rate::{Form, Rate},
    settings::RateLimiterSettings,
};
use crate::queue::Queue;

/// What a call gets that asks for permits. `None` in a rejection: no wait would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Permit,
    Queued(u64),
    /// With the nanoseconds until it would have been admitted.
    Rejected(Option<u64>),
}

/// What a waiter is told when it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has its permits, and has left the queue.
    Permit,
    /// It has to be polled again at this moment, if it is not woken before.
    Wait { until: u64 },
    /// It waits no longer, and has left the queue.
    Rejected(Option<u64>),
}

/// What is used of the limit.
#[derive(Clone, Copy, Debug)]
enum Used {
    Gcra { tat: u64 },
    FixedWindow(Window),
}

#[derive(Debug)]
struct Waiter<W> {
    wakes: W,
    cost: u32,
    /// When its wait ends.
    end: u64,
}

#[derive(Debug)]
pub(super) struct Core<W> {
    settings: RateLimiterSettings,
    /// That of the settings.
    rate: Rate,
    /// It is true only while the core is used. Between two uses, the word in `gate.rs` has it.
    used: Used,
    queue: Queue<Waiter<W>>,
    /// The sum over all that wait.
    queued_cost: u64,
    /// Where the line of all that wait ends (the second) if it begins there (the first). It is known if it was needed
    /// since a call left the queue.
    line: Option<(Line, Line)>,
}

impl<W> Core<W> {
    pub(super) fn new(settings: RateLimiterSettings) -> Self {
        let rate = settings.rate();
        let used = match rate.form {
            Form::Gcra => Used::Gcra { tat: 0 },
            Form::FixedWindow => Used::FixedWindow(Window::default()),
        };
        Self { settings, rate, used, queue: Queue::new(), queued_cost: 0, line: None }
    }

    pub(super) fn settings(&self) -> &RateLimiterSettings {
        &self.settings
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Tells the core what is used now: permits are also taken without it.
    pub(super) fn unpack(&mut self, packed: u64) {
        match &mut self.used {
            Used::Gcra { tat } => *tat = packed,
            Used::FixedWindow(window) => *window = Window::unpack(packed, window.ends_at),
        }
    }

    pub(super) fn pack(&self) -> u64 {
        match self.used {
            Used::Gcra { tat } => tat,
            Used::FixedWindow(window) => window.pack(),
        }
    }

    /// When the window ends. Zero where there is none.
    pub(super) fn window_ends_at(&self) -> u64 {
        match self.used {
            Used::Gcra { .. } => 0,
            Used::FixedWindow(window) => window.ends_at,
        }
    }

    /// A moment that had come when permits were taken last, if it is later than `now`: then `now` is old, or the clock
    /// was set back.
    ///
    /// Of a burst it is the moment by which nothing would be left. So a clock that was set back gives no permit more,
    /// and the next comes after one interval.
    pub(super) fn later_moment(&self, now: u64) -> Option<u64> {
        let moment = match self.used {
            Used::Gcra { .. } if self.rate.limit == 0 => return None,
            Used::Gcra { tat } => tat.saturating_sub(self.rate.pace.longest_debt()),
            Used::FixedWindow(window) => window.ends_at.saturating_sub(self.rate.period_nanos()),
        };
        (moment > now).then_some(moment)
    }

    /// Permits, if they are there and no one waits.
    pub(super) fn try_enter(&mut self, now: u64, cost: u32) -> Result<(), Option<u64>> {
        if self.queue.is_empty() && self.take(now, cost) { Ok(()) } else { Err(self.wait(now, cost)) }
    }

    /// Permits, or a ticket of the queue, if they will come before `end`.
    pub(super) fn enter(&mut self, now: u64, cost: u32, end: u64, waiter: W) -> Entry {
        let wait = match self.try_enter(now, cost) {
            Ok(()) => return Entry::Permit,
            Err(wait) => wait,
        };
        match wait {
            Some(wait) if self.queue.len() < self.settings.queue_capacity() && now.saturating_add(wait) <= end => {
                self.queued_cost += u64::from(cost);
                self.line = self.line.map(|(from, to)| (from, to.with(self.rate.limit, cost)));
                Entry::Queued(self.queue.push(Waiter { wakes: waiter, cost, end }))
            }
            _ => Entry::Rejected(wait),
        }
    }

    /// What has become of this ticket's wait. If it goes on, `waiter` is exchanged for the one before. If not, also gives
    /// back the one that was in the queue. No waiter is dropped in here.
    pub(super) fn poll(&mut self, now: u64, ticket: u64, cost: u32, waiter: &mut W) -> (Turn, Option<W>) {
        let is_first = self.is_first(ticket);
        let Some(end) = self.queue.get_mut(ticket).map(|waiting| waiting.end) else {
            return (Turn::Rejected(self.wait(now, cost)), None);
        };
        if is_first && self.take(now, cost) {
            return (Turn::Permit, self.leave(ticket));
        }
        if now >= end {
            let left = self.leave(ticket);
            return (Turn::Rejected(self.wait(now, cost)), left);
        }
        if let Some(waiting) = self.queue.get_mut(ticket) {
            mem::swap(&mut waiting.wakes, waiter);
        }
        // Those behind the first are woken when they become the first. They only watch the end of their wait.
        let due = if is_first { Due::now(self.rate, self.used, now).with(cost).wait() } else { None };
        let until = due.map_or(end, |due| now.saturating_add(due).min(end));
        (Turn::Wait { until }, None)
    }

    /// Leaves the queue. `None`: the ticket is no longer in the queue.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<W> {
        let waiter = self.queue.remove(ticket)?;
        self.queued_cost -= u64::from(waiter.cost);
        self.line = None;
        Some(waiter.wakes)
    }

    pub(super) fn is_first(&self, ticket: u64) -> bool {
        self.queue.first() == Some(ticket)
    }

    /// What wakes the first in the queue, which has to be told that it is the first, or that its time has changed.
    /// `replacement` wakes it no more: it is polled before it waits again.
    pub(super) fn first(&mut self, replacement: W) -> Option<W> {
        let ticket = self.queue.first()?;
        Some(mem::replace(&mut self.queue.get_mut(ticket)?.wakes, replacement))
    }

    /// Goes on by these settings. The debt in time is kept, but none that is longer than the new limit knows. Calls
    /// that wait keep their positions, though they be too many by now, and the ends of their waits. Returns those whose
    /// wait would no longer be in time: they have left the queue.
    pub(super) fn apply(&mut self, now: u64, settings: RateLimiterSettings) -> Vec<W> {
        let rate = settings.rate();
        self.settings = settings;
        match &mut self.used {
            // It is kept whole while there is no limit to compare it with.
            Used::Gcra { .. } if rate.limit == 0 => {}
            Used::Gcra { tat } => *tat = (*tat).min(now + rate.pace.longest_debt()),
            Used::FixedWindow(window) => {
                if !window.has_passed(now) {
                    window.ends_at = window.ends_at - self.rate.period_nanos() + rate.period_nanos();
                }
            }
        }
        self.rate = rate;
        let (mut ahead, mut queued_cost) = (Due::now(rate, self.used, now), 0);
        let late = self.queue.remove_if(|waiter| {
            let due = ahead.with(waiter.cost);
            let is_late =
                waiter.cost > rate.pace.burst || due.wait().is_none_or(|wait| now.saturating_add(wait) > waiter.end);
            if !is_late {
                ahead = due;
                queued_cost += u64::from(waiter.cost);
            }
            is_late
        });
        (self.queued_cost, self.line) = (queued_cost, None);
        late.into_iter().map(|waiter| waiter.wakes).collect()
    }

    /// Whether a new limiter would give the same permits at the same times: nothing is used of the limit, and no one waits.
    pub(super) fn is_unused(&self, now: u64) -> bool {
        let is_free = match self.used {
            Used::Gcra { tat } => tat <= now,
            Used::FixedWindow(window) => window.has_passed(now),
        };
        is_free && self.queue.is_empty()
    }

    pub(super) fn available(&self, now: u64) -> u32 {
        match self.used {
            Used::Gcra { tat } => self.rate.pace.available(tat, now),
            Used::FixedWindow(window) => window.available(self.rate.limit, now),
        }
    }

    /// How long until more is available than now. Zero if all is. Where nothing ever is, a period.
    pub(super) fn more_in(&self, now: u64) -> u64 {
        match self.used {
            _ if self.rate.limit == 0 => self.rate.period_nanos(),
            Used::Gcra { tat } => self.rate.pace.next_permit_in(tat, now),
            Used::FixedWindow(window) => window.ends_at.saturating_sub(now),
        }
    }

    fn take(&mut self, now: u64, cost: u32) -> bool {
        if cost > self.rate.pace.burst {
            return false;
        }
        match &mut self.used {
            Used::Gcra { tat } => match self.rate.pace.take(*tat, now, cost) {
                Ok(taken) => *tat = taken,
                Err(_) => return false,
            },
            Used::FixedWindow(window) => {
                if window.has_passed(now) {
                    *window = window.next(now, self.rate.period_nanos());
                }
                match window.take(self.rate.limit, cost) {
                    Some(taken) => *window = taken,
                    None => return false,
                }
            }
        }
        true
    }

    /// How long a newcomer would wait behind all that wait already.
    fn wait(&mut self, now: u64, cost: u32) -> Option<u64> {
        if cost > self.rate.pace.burst || self.rate.limit == 0 {
            return None;
        }
        let due = Due::now(self.rate, self.used, now);
        Due { cost: self.queued_cost, line: self.end_of_line(due.line), ..due }.with(cost).wait()
    }

    /// Where the line of all that wait ends, if it begins there.
    fn end_of_line(&mut self, from: Line) -> Line {
        if self.queued_cost == self.queue.len() as u64 {
            return from.with_ones(self.rate.limit, self.queued_cost);
        }
        // One after the other. What came of it is kept, so that callers who are all rejected do not pay for it each.
        match self.line {
            Some((known, to)) if known == from => to,
            _ => {
                let to = self.queue.iter().fold(from, |line, waiter| line.with(self.rate.limit, waiter.cost));
                self.line = Some((from, to));
                to
            }
        }
    }
}

/// When calls that take their permits one after the other, each as soon as they are there, have all of them.
#[derive(Clone, Copy, Debug)]
struct Due {
    rate: Rate,
    used: Used,
    now: u64,
    /// Of all together.
    cost: u64,
    /// Where they end, in a fixed window.
    line: Line,
}

impl Due {
    /// No call.
    fn now(rate: Rate, used: Used, now: u64) -> Self {
        let line = match used {
            Used::Gcra { .. } => Line::default(),
            Used::FixedWindow(window) => window.line(now),
        };
        Self { rate, used, now, cost: 0, line }
    }

    /// One more.
    fn with(self, cost: u32) -> Self {
        Self { cost: self.cost + u64::from(cost), line: self.line.with(self.rate.limit, cost), ..self }
    }

    /// How long until then. `None`: it never comes.
    fn wait(self) -> Option<u64> {
        if self.rate.limit == 0 {
            return None;
        }
        Some(match self.used {
            Used::Gcra { tat } => self.rate.pace.wait(tat, self.now, self.cost),
            Used::FixedWindow(window) => window.wait(self.line, self.rate.period_nanos(), self.now),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, time::Duration};

    use super::*;
    use crate::queue::QueueSettings;

    const START: u64 = 1 << 40;
    const END: u64 = START + 1_000;

    /// One permit in 10 ns, at most so many at once.
    fn core<W>(burst: u32) -> Core<W> {
        Core::new(settings(10, Some(burst), 3))
    }

    /// One permit in so many nanoseconds, and a queue.
    fn settings(nanos: u64, burst: Option<u32>, capacity: usize) -> RateLimiterSettings {
        let queue = Some(QueueSettings::new(capacity, Duration::from_nanos(1_000)));
        RateLimiterSettings { burst, queue, ..RateLimiterSettings::new(1, Duration::from_nanos(nanos)) }
    }

    fn queue_up(core: &mut Core<()>, now: u64) -> u64 {
        let Entry::Queued(ticket) = core.enter(now, 1, END, ()) else { panic!("the queue has room") };
        ticket
    }

    #[test]
    fn l3_only_the_first_in_the_queue_waits_for_its_time() {
        let mut core = core(1);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        let [first, second] = [(); 2].map(|()| queue_up(&mut core, START));
        assert_eq!(core.poll(START, second, 1, &mut ()).0, Turn::Wait { until: END });
        assert_eq!(core.poll(START, first, 1, &mut ()).0, Turn::Wait { until: START + 10 });
        assert_eq!(core.poll(START + 9, first, 1, &mut ()).0, Turn::Wait { until: START + 10 }, "woken early");
        assert_eq!(core.poll(START + 99, second, 1, &mut ()).0, Turn::Wait { until: END }, "no one overtakes");
        assert_eq!(core.enter(START + 99, 1, START + 99, ()), Entry::Rejected(Some(20)), "not even a newcomer");
        assert_eq!(core.poll(START + 10, first, 1, &mut ()).0, Turn::Permit);
        assert_eq!(core.poll(START + 10, second, 1, &mut ()).0, Turn::Wait { until: START + 20 });
    }

    #[test]
    fn l3_a_waiter_that_left_has_reserved_nothing() {
        let mut core = core(1);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        let [first, second, third] = [(); 3].map(|()| queue_up(&mut core, START));
        assert_eq!(core.enter(START, 1, END, ()), Entry::Rejected(Some(40)), "the queue is full");
        assert_eq!([second, first, first].map(|ticket| core.leave(ticket)), [Some(()), Some(()), None]);
        assert_eq!((core.is_first(third), core.queued()), (true, 1));
        assert_eq!(core.poll(START + 10, third, 1, &mut ()).0, Turn::Permit);
        assert_eq!((core.try_enter(START + 10, 1), core.queued()), (Err(Some(10)), 0));
    }

    #[test]
    fn l3_a_wait_that_would_end_too_early_is_not_begun() {
        let mut core = core(1);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        queue_up(&mut core, START);
        assert_eq!(core.enter(START, 1, START + 19, ()), Entry::Rejected(Some(20)));
        assert!(matches!(core.enter(START, 1, START + 20, ()), Entry::Queued(_)));
        assert_eq!(core.enter(START, 2, END, ()), Entry::Rejected(None), "above the burst");
    }

    #[test]
    fn l4_waiters_that_a_lower_rate_makes_late_leave_and_the_others_move_up() {
        let mut core = core(2);
        assert_eq!(core.enter(START, 2, END, ()), Entry::Permit);
        let [first, heavy, last] = [1, 2, 1].map(|cost| match core.enter(START, cost, END, ()) {
            Entry::Queued(ticket) => ticket,
            other => panic!("{other:?}"),
        });
        let slower = settings(400, Some(1), 3);
        assert_eq!(core.apply(START, slower.clone()).len(), 1);
        assert_eq!(core.poll(START, heavy, 2, &mut ()).0, Turn::Rejected(None), "its cost is above the burst now");
        assert_eq!(core.poll(START, first, 1, &mut ()).0, Turn::Wait { until: START + 20 }, "the debt in time is kept");
        assert_eq!((core.poll(START + 20, first, 1, &mut ()).0, core.queued()), (Turn::Permit, 1));
        assert_eq!(core.poll(START + 20, last, 1, &mut ()).0, Turn::Wait { until: START + 420 });
        assert_eq!(
            core.apply(START + 22, RateLimiterSettings { limit: 0, ..slower }).len(),
            1,
            "no permit will ever come"
        );
    }

    /// Two of three, and one that no one can use: the next call needs two as well.
    #[test]
    fn l6_what_does_not_fill_a_window_makes_those_behind_wait_for_longer() {
        let settings = RateLimiterSettings { limit: 3, fixed_window: true, ..settings(10, None, 9) };
        let mut core = Core::new(settings.clone());
        let enter = |core: &mut Core<()>, cost| core.enter(START, cost, END, ());
        assert_eq!(enter(&mut core, 3), Entry::Permit);
        let Entry::Queued(first) = enter(&mut core, 2) else { panic!("it waits") };
        let Entry::Queued(second) = enter(&mut core, 2) else { panic!("it waits") };
        assert_eq!([2, 1].map(|cost| core.try_enter(START, cost)), [Err(Some(30)), Err(Some(20))]);
        assert!(matches!(enter(&mut core, 2), Entry::Queued(_)));
        assert_eq!([2, 1].map(|cost| core.try_enter(START, cost)), [Err(Some(40)), Err(Some(30))], "it is one of them");
        assert_eq!(core.leave(second), Some(()));
        assert_eq!(core.try_enter(START, 2), Err(Some(30)), "it is none of them any more");
        assert_eq!(core.poll(START + 10, first, 2, &mut ()).0, Turn::Permit);
        assert_eq!(core.try_enter(START + 10, 2), Err(Some(20)), "it has taken its permits");
        assert_eq!(core.try_enter(START + 25, 2), Err(Some(10)), "a window that passed gives all of its permits");
        let wider = RateLimiterSettings { limit: 4, ..settings };
        assert_eq!(core.apply(START + 10, wider).len(), 0);
        assert_eq!(core.try_enter(START + 10, 2), Err(Some(10)), "two fit into each window");
    }

    #[test]
    fn l4_l6_a_lower_limit_makes_those_late_that_do_not_fit_into_a_window_together() {
        let settings = RateLimiterSettings { limit: 4, fixed_window: true, ..settings(10, None, 9) };
        let mut core = Core::new(settings.clone());
        assert_eq!(core.enter(START, 4, END, ()), Entry::Permit);
        for _ in 0..3 {
            assert!(matches!(core.enter(START, 2, START + 20, ()), Entry::Queued(_)), "the third in the second window");
        }
        assert_eq!(core.apply(START, RateLimiterSettings { limit: 3, ..settings }).len(), 1, "in the third window now");
        assert_eq!(core.queued(), 2);
    }

    #[test]
    fn c3_calls_that_wait_keep_their_positions_and_their_ends_in_a_smaller_queue() {
        let mut core = core(1);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        let [first, second] = [(); 2].map(|()| queue_up(&mut core, START));
        assert_eq!(core.apply(START, RateLimiterSettings { queue: None, ..settings(10, None, 1) }).len(), 0);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Rejected(Some(30)), "no one joins it");
        assert_eq!(core.apply(START, settings(500, None, 3)).len(), 0);
        assert_eq!(core.enter(START, 1, END, ()), Entry::Rejected(Some(1_010)), "a newcomer would be too late");
        assert_eq!(core.poll(START + 10, first, 1, &mut ()).0, Turn::Permit);
        assert_eq!(core.poll(START + 10, second, 1, &mut ()).0, Turn::Wait { until: START + 510 });
        assert_eq!(core.apply(START + 10, settings(995, None, 3)).len(), 0, "the debt is kept");
        assert_eq!(core.apply(START + 10, settings(5, None, 3)).len(), 0);
        assert_eq!(core.poll(START + 15, second, 1, &mut ()).0, Turn::Permit, "the longest debt there is by now");
    }

    #[test]
    fn l4_no_debt_is_longer_than_the_new_limit_knows() {
        let mut core = Core::new(settings(3_600_000_000_000, None, 1));
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        assert_eq!(core.apply(START, settings(10, None, 1)).len(), 0);
        assert_eq!((core.try_enter(START + 9, 1), core.try_enter(START + 10, 1)), (Err(Some(1)), Ok(())));
    }

    #[test]
    fn y2_it_is_unused_when_its_debt_is_over_and_no_one_waits() {
        let mut core = core(1);
        assert!(core.is_unused(START));
        assert_eq!(core.enter(START, 1, END, ()), Entry::Permit);
        assert_eq!((core.is_unused(START + 9), core.is_unused(START + 10)), (false, true));
        let ticket = queue_up(&mut core, START);
        assert!(!core.is_unused(START + 10), "it has not taken its permit yet");
        assert_eq!(core.leave(ticket), Some(()));
        assert!(core.is_unused(START + 10));
    }

    #[test]
    fn g3_a_clock_that_was_set_back_is_noticed() {
        let mut core = core(3);
        assert_eq!(core.enter(START, 3, END, ()), Entry::Permit);
        assert_eq!(core.later_moment(START), None);
        assert_eq!((core.later_moment(START - 1), core.later_moment(7)), (Some(START), Some(START)));
        let window = RateLimiterSettings { limit: 3, fixed_window: true, ..settings(10, None, 1) };
        let mut core = Core::new(window);
        assert_eq!((core.later_moment(0), core.enter(START, 1, END, ())), (None, Entry::Permit));
        assert_eq!((core.later_moment(START), core.later_moment(START - 1)), (None, Some(START)));
    }

    #[test]
    fn g5_a_waiter_is_given_back_and_never_dropped_inside() {
        let waiter = Rc::new(());
        let mut core = core(1);
        assert_eq!(core.enter(START, 1, END, waiter.clone()), Entry::Permit);
        assert_eq!(Rc::strong_count(&waiter), 1, "a call that gets permits needs no waiter, and it may be dropped");
        let Entry::Queued(ticket) = core.enter(START, 1, END, waiter.clone()) else { panic!("there is none left") };
        let mut polls = [(); 3].map(|()| waiter.clone());
        let waits = core.poll(START, ticket, 1, &mut polls[0]);
        let woken = core.first(waiter.clone());
        let admitted = core.poll(START + 10, ticket, 1, &mut polls[1]);
        let too_late = core.poll(START + 10, ticket, 1, &mut polls[2]);
        assert_eq!(
            (waits.0, admitted.0, too_late.0),
            (Turn::Wait { until: START + 10 }, Turn::Permit, Turn::Rejected(Some(10)))
        );
        assert_eq!(Rc::strong_count(&waiter), 6, "none was dropped");
        drop((polls, waits, woken, admitted, too_late));
    }
}
