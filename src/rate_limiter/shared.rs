use std::{
    convert::Infallible,
    // Not `crate::sync`'s: a model checker would try every interleaving of loads that nearly never differ.
    sync::atomic::AtomicUsize,
    task::Waker,
    time::Duration,
};

use super::{
    event::RateLimiterEvent,
    fixed_window::Window,
    gate::{Gate, Taken},
    gcra::{LATEST, Pace},
    quota::Quota,
    rate::{Form, Rate},
    settings::RateLimiterSettings,
    state::{Core, Entry, Turn},
    wait::end_of_wait,
};
use crate::{
    clock::{Clock, FOREVER, Instant},
    deadline,
    error::{Cause, ConfigError, Elapsed, Name, RateLimited, Rejected},
    event::Reporter,
    panics::catch_panic,
    rejections::{RejectedCall, Rejections},
    sync::{AtomicU64, CachePadded, Lock, Ordering},
};

/// The limit and the queue that a rate limiter's clones and layers share.
#[derive(Debug)]
pub struct Permits {
    gate: CachePadded<Gate>,
    settings: CachePadded<Settings>,
    core: CachePadded<Lock<Core<Waker>>>,
    rejections: CachePadded<Rejections>,
}

/// What calls read.
#[derive(Debug)]
struct Settings {
    form: Form,
    clock: Clock,
    /// That of the core's pace: from one permit to the next, or from one window to the next.
    interval: AtomicU64,
    /// Those of the core: the limit in the upper half, the burst in the lower.
    limit_and_burst: AtomicU64,
    /// That of the core. Zero where there is no window.
    window_ends_at: AtomicU64,
    /// That of the core. Zero if there is no queue.
    queue_capacity: AtomicUsize,
    made_with: Lock<RateLimiterSettings>,
    reporter: Reporter<RateLimiterEvent>,
}

/// Why the word alone gave no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// They are still to come: in so many nanoseconds, or never.
    Spent(Option<u64>),
    /// The core has to decide: a window has passed, or the clock was set back.
    AskCore,
}

/// A rate limiter at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many permits there are in each period.
    pub limit: u32,
    /// The period.
    pub period: Duration,
    /// How many permits there can be at one instant. In a fixed window that is the limit.
    pub burst: u32,
    /// How many permits are there now.
    pub available: u32,
    /// How many calls wait in the queue.
    pub queued: usize,
    /// How many calls the queue has room for. Zero if there is no queue.
    pub queue_capacity: usize,
    /// How many calls and permits were rejected so far.
    pub rejected: u64,
}

impl Permits {
    pub(super) fn new(reporter: Reporter<RateLimiterEvent>, settings: RateLimiterSettings) -> Self {
        let core = Core::new(settings.clone());
        let rate = core.rate();
        let settings = Settings {
            form: rate.form,
            clock: Clock::start(),
            interval: AtomicU64::new(rate.pace.interval),
            limit_and_burst: AtomicU64::new(limit_and_burst(rate)),
            window_ends_at: AtomicU64::new(core.window_ends_at()),
            queue_capacity: AtomicUsize::new(settings.queue_capacity()),
            made_with: Lock::new(settings),
            reporter,
        };
        Self {
            gate: CachePadded(Gate::new(core.pack())),
            settings: CachePadded(settings),
            core: CachePadded(Lock::new(core)),
            rejections: CachePadded(Rejections::new()),
        }
    }

    pub(crate) fn name(&self) -> &Name {
        self.settings.reporter.name()
    }

    pub(super) fn queue_capacity(&self) -> usize {
        self.settings.queue_capacity.load(Ordering::Relaxed)
    }

    /// Those that are in force now.
    pub(super) fn settings(&self) -> RateLimiterSettings {
        self.core.lock().settings().clone()
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.settings.clock.now().min(LATEST)
    }

    /// When the clock will read so. `None` is never.
    pub(crate) fn instant(&self, moment: u64) -> Option<Instant> {
        self.settings.clock.instant(moment)
    }

    /// Takes permits by the word alone.
    #[inline]
    fn take(&self, now: u64, cost: u32) -> Taken<Refusal> {
        let settings = &*self.settings;
        // The settings are read after the word: see "Memory ordering" in `gate.rs`.
        self.gate.take(|used| match settings.form {
            Form::Gcra => {
                let burst = settings.limit_and_burst.load(Ordering::Relaxed) as u32;
                let pace = Pace { interval: settings.interval.load(Ordering::Relaxed), burst };
                pace.take(used, now, cost).map_err(|wait| {
                    if cost > burst {
                        Refusal::Spent(None)
                    } else if used.saturating_sub(now) > pace.longest_debt() {
                        Refusal::AskCore
                    } else {
                        Refusal::Spent(Some(wait))
                    }
                })
            }
            Form::FixedWindow => self.take_of_window(used, now, cost),
        })
    }

    #[inline(never)]
    fn take_of_window(&self, used: u64, now: u64, cost: u32) -> Result<u64, Refusal> {
        let window = Window::unpack(used, self.settings.window_ends_at.load(Ordering::Relaxed));
        let limit = (self.settings.limit_and_burst.load(Ordering::Relaxed) >> 32) as u32;
        let left = window.ends_at.saturating_sub(now);
        if left == 0 || left > self.settings.interval.load(Ordering::Relaxed) {
            return Err(Refusal::AskCore);
        }
        let left = (cost <= limit).then_some(left);
        window.take(limit, cost).map(Window::pack).ok_or(Refusal::Spent(left))
    }

    /// Permits at this moment, if no call waits for some. Otherwise how long a call would wait.
    #[inline]
    pub(super) fn try_enter(&self, now: u64, cost: u32) -> Result<(), Option<u64>> {
        match self.take(now, cost) {
            Taken::Permit => Ok(()),
            Taken::Refused(Refusal::Spent(wait)) => Err(wait),
            Taken::Refused(Refusal::AskCore) | Taken::Held => self.ask_core(now, cost),
        }
    }

    #[inline(never)]
    fn ask_core(&self, now: u64, cost: u32) -> Result<(), Option<u64>> {
        self.update(now, |core, now| core.try_enter(now, cost))
    }

    #[inline]
    pub(crate) fn enter(&self, now: u64, cost: u32) -> Entry {
        match self.take(now, cost) {
            Taken::Permit => Entry::Permit,
            Taken::Refused(Refusal::Spent(wait)) if self.queue_capacity() == 0 => Entry::Rejected(wait),
            Taken::Refused(_) | Taken::Held => self.queue_up(now, cost),
        }
    }

    #[inline(never)]
    fn queue_up(&self, now: u64, cost: u32) -> Entry {
        // Until its first poll a waiter has a waker that does nothing. That poll finds out that it is the first.
        self.update(now, |core, now| {
            let end = self.end_of_wait(now, core.settings().max_wait());
            core.enter(now, cost, end, Waker::noop().clone())
        })
    }

    /// When a wait that begins now ends: by `max_wait`, or by the deadline around the call if that is earlier. A call
    /// that would be admitted later is rejected at once.
    fn end_of_wait(&self, now: u64, max_wait: Option<Duration>) -> u64 {
        let deadline = deadline::current().end().map_or(FOREVER, |end| self.settings.clock.at(end));
        end_of_wait(now, max_wait).min(deadline)
    }

    /// What has become of this ticket's wait at this moment. If it goes on, `waker` is woken when it has to be polled
    /// again, unless that is only because of the time.
    pub(crate) fn poll(&self, now: u64, ticket: u64, cost: u32, waker: &Waker) -> Turn {
        // Cloned before the lock is taken, and dropped after it is released: a waker is the caller's code, and may do
        // anything.
        let mut waker = waker.clone();
        let (turn, left, next) = self.update(now, |core, now| {
            let was_first = core.is_first(ticket);
            let (turn, left) = core.poll(now, ticket, cost, &mut waker);
            (turn, left, if was_first && !core.is_first(ticket) { first(core) } else { None })
        });
        drop(left);
        wake(next);
        turn
    }

    /// Leaves the queue.
    pub(crate) fn leave(&self, ticket: u64) {
        // No time is read: a `Drop` needs none to know who is the next.
        let (left, next) = self.update_anytime(|core| {
            let was_first = core.is_first(ticket);
            (core.leave(ticket), if was_first { first(core) } else { None })
        });
        drop(left);
        wake(next);
    }

    /// Changes the limit and the period.
    pub(super) fn set_rate(&self, limit: u32, period: Duration) -> Result<(), ConfigError> {
        self.change(|present| {
            let settings = RateLimiterSettings { limit, period, ..present.clone() };
            // They are checked beside those that they stay with, whoever changes these meanwhile.
            settings.check(self.name(), Some(present))?;
            Ok(settings)
        })
    }

    /// Applies settings that were checked.
    pub(super) fn apply_checked(&self, settings: &RateLimiterSettings) {
        let Ok(()) = self.change(|_| Ok::<_, Infallible>(settings.clone()));
    }

    /// Goes on by the settings that `change` makes of those that are in force, if it makes some.
    fn change<E>(&self, change: impl FnOnce(&RateLimiterSettings) -> Result<RateLimiterSettings, E>) -> Result<(), E> {
        let (late, next) = self.update_anytime(|core| {
            let settings = change(core.settings())?;
            self.gate.change_version();
            self.settings.queue_capacity.store(settings.queue_capacity(), Ordering::Relaxed);
            // The time is read once no permit is taken any more: an earlier moment would not know of all the debt.
            let now = self.caught_up(core, self.now());
            Ok((core.apply(now, settings), first(core)))
        })?;
        late.into_iter().for_each(|waker| wake(Some(waker)));
        wake(next);
        Ok(())
    }

    /// Runs `act` on the core. Meanwhile no other thread takes permits.
    fn update<R>(&self, now: u64, act: impl FnOnce(&mut Core<Waker>, u64) -> R) -> R {
        self.update_anytime(|core| {
            let now = self.caught_up(core, now);
            act(core, now)
        })
    }

    /// `now`, or a later moment if `now` is old or the clock was set back. Only for the thread that has the lock.
    fn caught_up(&self, core: &Core<Waker>, now: u64) -> u64 {
        core.later_moment(now).map_or(now, |latest| self.settings.clock.catch_up(latest).min(LATEST))
    }

    fn update_anytime<R>(&self, act: impl FnOnce(&mut Core<Waker>) -> R) -> R {
        let mut core = self.core.lock();
        core.unpack(self.gate.begin_update());
        let answer = act(&mut core);
        let (settings, rate) = (&*self.settings, core.rate());
        settings.interval.store(rate.pace.interval, Ordering::Relaxed);
        settings.limit_and_burst.store(limit_and_burst(rate), Ordering::Relaxed);
        settings.window_ends_at.store(core.window_ends_at(), Ordering::Relaxed);
        self.gate.publish(core.pack(), core.queued() > 0);
        answer
    }

    /// Reads the core at this moment. Permits may be taken meanwhile.
    fn read<R>(&self, tell: impl FnOnce(&Core<Waker>, u64) -> R) -> R {
        let mut core = self.core.lock();
        core.unpack(self.gate.used());
        let now = self.caught_up(&core, self.now());
        tell(&core, now)
    }

    /// Rejects a call that has not waited.
    #[inline(always)]
    pub(super) fn reject_call(&self, retry_after: Option<u64>) -> RejectedCall<RateLimited> {
        let pends = self.rejections.count_call();
        RejectedCall::new(self.report_rejected(retry_after), pends)
    }

    /// [`reject_call`](Self::reject_call), for a call that makes the rejection later: the limit that rejected it, and
    /// whether it should pend once.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_rejected_call(&self, retry_after: Option<u64>) -> (u32, bool) {
        let pends = self.rejections.count_call();
        (self.report_rejected(retry_after).limit(), pends)
    }

    /// The rejection of a call that was counted before.
    pub(crate) fn rejected(&self, limit: u32, retry_after: Option<u64>) -> RateLimited {
        RateLimited::new(self.name().clone(), limit, retry_after.map(Duration::from_nanos))
    }

    /// Rejects a call whose wait has ended: by `max_wait`, or by the deadline around it.
    pub(crate) fn reject_waiter(&self, retry_after: Option<u64>) -> Rejected {
        let limited = self.reject_other(retry_after);
        match deadline::has_passed() {
            false => limited.into(),
            true => {
                let span = deadline::current().span();
                Elapsed::caused_by(Cause::NotStarted, Some(self.name().clone()), span).into()
            }
        }
    }

    /// Rejects a permit that is asked for at this moment only.
    pub(crate) fn reject_other(&self, retry_after: Option<u64>) -> RateLimited {
        self.rejections.count_other();
        self.report_rejected(retry_after)
    }

    #[inline(always)]
    fn report_rejected(&self, retry_after: Option<u64>) -> RateLimited {
        let limit = (self.settings.limit_and_burst.load(Ordering::Relaxed) >> 32) as u32;
        // By value: what is borrowed is in memory, whether anyone listens or not.
        self.settings.reporter.emit(move |name| RateLimiterEvent::Rejected {
            name,
            limit,
            period: self.rate().period,
            retry_after: retry_after.map(Duration::from_nanos),
        });
        RateLimited::after_nanos(self.name().clone(), limit, retry_after)
    }

    pub(super) fn rate(&self) -> Rate {
        self.core.lock().rate()
    }

    /// Whether a new one would be the same: nothing is used of the limit, no one waits, and the settings are those
    /// that it was made with.
    pub(super) fn is_as_new(&self) -> bool {
        self.read(|core, now| core.is_unused(now) && *core.settings() == *self.settings.made_with.lock())
    }

    /// Takes these settings as those that it was made with.
    pub(super) fn set_made_with(&self, settings: &RateLimiterSettings) {
        *self.settings.made_with.lock() = settings.clone();
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.read(|core, now| {
            let Rate { limit, period, pace, .. } = core.rate();
            Snapshot {
                limit,
                period,
                burst: pace.burst,
                available: core.available(now),
                queued: core.queued(),
                queue_capacity: core.settings().queue_capacity(),
                rejected: self.rejections.total(),
            }
        })
    }

    pub(super) fn quota(&self) -> Quota {
        self.read(|core, now| {
            let Rate { limit, period, .. } = core.rate();
            let reset_in = Duration::from_nanos(core.more_in(now));
            Quota { limit, remaining: core.available(now), reset_in, window: period }
        })
    }
}

fn limit_and_burst(rate: Rate) -> u64 {
    u64::from(rate.limit) << 32 | u64::from(rate.pace.burst)
}

/// What wakes the first in the queue. It is polled before it waits again, so it needs nothing in its place.
fn first(core: &mut Core<Waker>) -> Option<Waker> {
    core.first(Waker::noop().clone())
}

/// A waker that panics harms neither the waiters behind it in the queue, nor the call that left it, which may be in
/// its `Drop`.
fn wake(waiter: Option<Waker>) {
    if let Some(waker) = waiter {
        catch_panic(|| waker.wake());
    }
}
