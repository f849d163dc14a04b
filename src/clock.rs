//! The only file that asks for the time or sleeps.
//!
//! All of it is tokio's time, so a test that pauses and advances that clock moves every policy. Policies with a
//! state count in nanoseconds since they were made ([`Clock`]): such a moment fits an atomic word and saturates.

use std::{
    future::Future,
    pin::Pin,
    // Not `crate::sync`'s: no interleaving depends on it, and a model checker would try them all.
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use pin_project_lite::pin_project;

pub(crate) use tokio::time::Instant;
use tokio::time::{Sleep, sleep_until};

/// Longer than anyone waits: 146 years. It leaves two bits of a word free.
pub(crate) const FOREVER: u64 = (1 << 62) - 1;

/// A span in nanoseconds; what is longer counts as [`FOREVER`].
#[inline]
pub(crate) fn nanos(span: Duration) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    // So many seconds fit in any case, whatever is added below a second: no wide arithmetic, no branch that is ever
    // taken.
    if span.as_secs() < FOREVER / SECOND { span.as_secs() * SECOND + u64::from(span.subsec_nanos()) } else { FOREVER }
}

#[inline]
pub(crate) fn now() -> Instant {
    #![expect(clippy::disallowed_methods, reason = "the one place")]
    Instant::now()
}

/// The wall clock, which an HTTP date is measured against.
pub(crate) fn wall() -> SystemTime {
    #![expect(clippy::disallowed_methods, reason = "the one place")]
    SystemTime::now()
}

/// `None` is later than the clock can count: never.
#[inline]
pub(crate) fn after(start: Instant, span: Duration) -> Option<Instant> {
    start.checked_add(span)
}

/// A limit in time that may change while calls run. It is read without a lock.
#[derive(Debug)]
pub(crate) struct LiveSpan(AtomicU64);

impl LiveSpan {
    pub(crate) fn new(span: Option<Duration>) -> Self {
        let live = Self(AtomicU64::new(FOREVER));
        live.set(span);
        live
    }

    pub(crate) fn set(&self, span: Option<Duration>) {
        self.0.store(span.map_or(FOREVER, nanos), Ordering::Relaxed);
    }

    /// [`FOREVER`] is no limit.
    #[inline]
    pub(crate) fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// `None` is no limit; so is what counts as [`FOREVER`].
    #[inline]
    pub(crate) fn get(&self) -> Option<Duration> {
        let nanos = self.nanos();
        (nanos != FOREVER).then(|| Duration::from_nanos(nanos))
    }
}

/// Counts nanoseconds from a moment of its own.
///
/// It starts at 9 years and not at zero, so that it can also tell moments before it was made. A test makes a policy
/// under one runtime's paused clock and uses it under the next one's, which may be behind.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    /// What the clock reads at `origin`. It grows where time went back; see [`catch_up`](Self::catch_up).
    start: AtomicU64,
}

/// What a clock reads when it is made: 2^58 ns, 9 years.
const START: u64 = 1 << 58;

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: now(), start: AtomicU64::new(START) }
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.at(now())
    }

    /// When it will read so. `None` is never.
    pub(crate) fn instant(&self, reading: u64) -> Option<Instant> {
        let start = self.start.load(Ordering::Relaxed);
        match reading.checked_sub(start) {
            _ if reading >= FOREVER => None,
            Some(ahead) => after(self.origin, Duration::from_nanos(ahead)),
            None => self.origin.checked_sub(Duration::from_nanos(start - reading)),
        }
    }

    /// What it reads at this moment.
    #[inline]
    pub(crate) fn at(&self, moment: Instant) -> u64 {
        let start = self.start.load(Ordering::Relaxed);
        match moment.checked_duration_since(self.origin) {
            // Neither is above 2^63: the sum does not overflow.
            Some(passed) => (nanos(passed) + start).min(FOREVER),
            // Never zero: that is what a moment is that was not read.
            None => start.saturating_sub(nanos(self.origin.duration_since(moment))).max(1),
        }
    }

    /// Reads the clock again for someone who was told `latest` before, and never tells an earlier moment. One thread at
    /// a time may do this.
    ///
    /// A moment that was read before `latest` is merely old. But a clock that reads less *after* that was set back.
    /// Then it goes on from `latest`. Real clocks never go back, but a policy may outlive the paused clock of a test's
    /// runtime.
    #[cold]
    pub(crate) fn catch_up(&self, latest: u64) -> u64 {
        let moment = now();
        let reading = self.at(moment);
        if reading >= latest {
            return reading;
        }
        // From here on, `moment` reads as `latest`.
        let start = match moment.checked_duration_since(self.origin) {
            Some(passed) => latest.saturating_sub(nanos(passed)),
            None => latest.saturating_add(nanos(self.origin.duration_since(moment))),
        };
        self.start.store(start, Ordering::Relaxed);
        latest
    }
}

pin_project! {
    /// A moment to wait for; `None` never comes.
    ///
    /// Its timer is armed by the first poll that has to wait: making one needs no runtime and costs nothing.
    #[derive(Debug)]
    pub(crate) struct Alarm {
        at: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl Alarm {
    #[inline]
    pub(crate) fn at(at: Option<Instant>) -> Self {
        Self { at, timer: None }
    }

    /// Waits for another moment. A timer that is armed for the same moment is kept.
    pub(crate) fn reset(self: Pin<&mut Self>, at: Option<Instant>) {
        let mut this = self.project();
        if *this.at != at {
            *this.at = at;
            this.timer.set(None);
        }
    }

    /// It never comes, and no timer is left.
    #[inline]
    pub(crate) fn disarm(self: Pin<&mut Self>) {
        let mut this = self.project();
        *this.at = None;
        this.timer.set(None);
    }
}

impl Future for Alarm {
    type Output = ();

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        #![expect(clippy::disallowed_methods, reason = "the one place")]
        let mut this = self.project();
        let Some(at) = *this.at else { return Poll::Pending };
        // The clock is asked beside the timer: one that shares a task with an operation that spends tokio's
        // cooperative budget never fires, and one set very far ahead fires early.
        while now() < at {
            if this.timer.is_none() {
                this.timer.set(Some(sleep_until(at)));
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
            this.timer.set(None);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_further_off_than_the_clock_can_count_is_never() {
        let (start, second) = (now(), Duration::from_secs(1));
        assert_eq!(after(start, second), Some(start + second));
        assert_eq!(after(start, Duration::MAX), None);
    }

    fn paused() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
    }

    #[test]
    fn g3_a_clock_that_was_set_back_goes_on_from_the_latest_moment_however_far_back() {
        const SECOND: u64 = 1_000_000_000;
        for years in [0, 1, 8, 9, 10, 30, 100] {
            let ahead = Duration::from_secs(years * 366 * 24 * 3600 + 3600);
            let (clock, latest) = paused().block_on(async {
                tokio::time::advance(ahead).await;
                let clock = Clock::start();
                tokio::time::advance(Duration::from_secs(5)).await;
                let latest = clock.now();
                assert_eq!(latest, START + 5 * SECOND);
                (clock, latest)
            });
            paused().block_on(async {
                assert!(clock.now() < latest, "it was set back");
                assert_eq!(clock.catch_up(latest), latest, "{years} years");
                tokio::time::advance(Duration::from_secs(1)).await;
                assert_eq!(clock.now(), latest + SECOND, "{years} years: and moves");
                assert_eq!(clock.catch_up(latest), latest + SECOND, "what is not back is left alone");
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_at_its_moment_and_not_a_tick_before() {
        let tick = Duration::from_millis(1);
        let mut alarm = pin!(Alarm::at(Some(now() + 2 * tick)));
        for is_due in [false, false, true] {
            assert_eq!(futures::poll!(alarm.as_mut()).is_ready(), is_due);
            tokio::time::advance(tick).await;
        }
        assert!(futures::poll!(pin!(Alarm::at(Some(now())))).is_ready(), "without a sleep");
    }

    #[tokio::test(start_paused = true)]
    async fn an_alarm_that_is_reset_rings_at_its_new_moment() {
        let tick = Duration::from_millis(1);
        let mut alarm = pin!(Alarm::at(Some(now() + tick)));
        assert!(futures::poll!(alarm.as_mut()).is_pending());
        alarm.as_mut().reset(Some(now() + 2 * tick));
        for is_due in [false, false, true] {
            assert_eq!(futures::poll!(alarm.as_mut()).is_ready(), is_due);
            tokio::time::advance(tick).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_tells_when_it_will_read_so() {
        let (clock, start, second) = (Clock::start(), now(), Duration::from_secs(1));
        let reading = clock.now();
        assert_eq!(clock.instant(reading + nanos(second)), Some(start + second));
        assert_eq!(
            (clock.instant(reading - 1), clock.instant(FOREVER)),
            (start.checked_sub(Duration::from_nanos(1)), None)
        );
    }
}
