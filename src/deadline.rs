//! Until when the caller waits, known to everything that runs inside a scope.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::clock::{self, FOREVER, Instant, nanos};

#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "tower")]
pub use self::tower::{DeadlineLayer, DeadlineService};

/// Until when the caller waits. Every policy inside its scope plans within it.
///
/// A total timeout limits one call. A deadline goes further: it is known to everything that runs inside its scope,
/// however deep, so that no part of it waits for an answer that nobody awaits any more.
///
/// | inside the scope | what the deadline does |
/// |---|---|
/// | a [`Timeout`](crate::Timeout) | ends at the deadline at the latest |
/// | a retry | begins no sleep that would end after the deadline, and returns the last result at once |
/// | a bulkhead's queue | the wait ends at the deadline at the latest |
/// | a rate limiter's queue | a call whose permit would come after the deadline is rejected at once; a wait ends at the deadline at the latest |
/// | a [`Pipeline`](crate::Pipeline) | all of that; its own total timeout is a deadline for all that is inside |
/// | a scope inside of the scope | the earlier of the two deadlines counts |
///
/// What the deadline ends is [`Rejected::TimedOut`](crate::Rejected::TimedOut), with the deadline's own span as its
/// limit. Inside the scope it is judged [`Ignored`](crate::Verdict::Ignored): the caller was in a hurry, and that says
/// nothing about the dependency. So callers with little time left do not open a circuit.
///
/// The deadline itself ends nothing: without any timeout inside, an operation runs on for as long as it likes. The
/// other way round, a [`Timeout`](crate::Timeout) alone is no deadline for what is inside of it: it ends the operation,
/// but what runs in there does not know until when it may plan. The total timeout of a pipeline is both.
///
/// ```
/// use std::time::Duration;
/// use withstand::{Deadline, Timeout};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # async fn fetch() -> std::io::Result<u32> { std::future::pending().await }
/// let timeout = Timeout::new(Duration::from_secs(2));
/// let handler = async {
///     assert_eq!(Deadline::remaining(), Some(Duration::from_millis(500))); // for a header to the next service
///     timeout.call(fetch).await
/// };
/// let error = Deadline::within(Duration::from_millis(500)).scope(handler).await.unwrap_err();
/// assert_eq!(error.to_string(), "took longer than the deadline allows, 500ms");
/// # }
/// ```
///
/// A call takes its deadline when it is made: make it inside of the scope, in an `async` block as above, and not as
/// [the scope's argument](Self::scope). Around a server the layer
/// `Deadline::layer_fn` does that.
///
/// A task that is spawned inside the scope is outside of it: give it a scope of its own, `deadline.scope(..)`.
/// [`Deadline::current`] is the deadline to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// `None` is never.
    end: Option<Instant>,
    /// The whole span, in nanoseconds, which errors tell.
    span: u64,
}

thread_local! {
    /// The deadline of the scope that is being polled on this thread.
    static CURRENT: Cell<Deadline> = const { Cell::new(Deadline::NEVER) };
}

impl Deadline {
    pub(crate) const NEVER: Self = Self { end: None, span: FOREVER };

    /// The deadline that is `span` from now. One that is later than the clock can count never comes.
    pub fn within(span: Duration) -> Self {
        Self::after(clock::now(), span)
    }

    pub(crate) fn after(start: Instant, span: Duration) -> Self {
        Self { end: clock::after(start, span), span: nanos(span) }
    }

    /// The deadline of the scope that this code runs in. `None` outside of any scope.
    pub fn current() -> Option<Self> {
        Some(current()).filter(|deadline| deadline.end.is_some())
    }

    /// The time until the deadline of the scope that this code runs in: zero if it has passed, `None` outside of any
    /// scope.
    pub fn remaining() -> Option<Duration> {
        Self::current().map(|deadline| deadline.time_left())
    }

    /// The time until this deadline: zero if it has passed, [`Duration::MAX`] if it never comes.
    pub fn time_left(&self) -> Duration {
        self.end.map_or(Duration::MAX, |end| end.saturating_duration_since(clock::now()))
    }

    /// Runs `future` with this deadline, or with that of the scope around it if that is earlier.
    ///
    /// **The scope begins when it is polled.** `service.call(request)`, and `call` of a policy, start at once, before
    /// that: `deadline.scope(service.call(request))` does nothing for what they have started. Write
    /// `deadline.scope(async { service.call(request).await })`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the scope drops the future.
    pub fn scope<F>(self, future: F) -> DeadlineScope<F> {
        DeadlineScope { future, deadline: self }
    }

    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    pub(crate) fn span(&self) -> Duration {
        Duration::from_nanos(self.span)
    }

    /// Whether it comes before `moment`, where `None` is never.
    #[inline]
    pub(crate) fn is_before(&self, moment: Option<Instant>) -> bool {
        self.end.is_some_and(|end| moment.is_none_or(|moment| end < moment))
    }

    /// The earlier of the two; this one if they are equal.
    #[inline]
    pub(crate) fn or_earlier(self, other: Self) -> Self {
        if other.is_before(self.end) { other } else { self }
    }

    /// The deadline is the current one until the guard is dropped, unless one that is earlier is already.
    #[inline]
    pub(crate) fn enter(self) -> Entered {
        Entered { outer: CURRENT.replace(self.or_earlier(current())) }
    }
}

/// The deadline of the scope that is being polled on this thread, [`Deadline::NEVER`] if there is none.
#[inline]
pub(crate) fn current() -> Deadline {
    CURRENT.get()
}

/// Whether the deadline of the scope that is being polled on this thread has passed.
pub(crate) fn has_passed() -> bool {
    current().end.is_some_and(|end| end <= clock::now())
}

/// Brings back the deadline that was the current one, also when code of the user panics.
pub(crate) struct Entered {
    outer: Deadline,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.set(self.outer);
    }
}

pin_project! {
    /// A future in the scope of a [`Deadline`]. From [`Deadline::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineScope<F> {
        #[pin]
        future: F,
        deadline: Deadline,
    }
}

impl<F: Future> Future for DeadlineScope<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.deadline.enter();
        this.future.poll(cx)
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn q1_the_earlier_of_two_scopes_counts_and_each_ends_with_its_future() {
        assert_eq!((Deadline::current(), Deadline::remaining()), (None, None));
        Deadline::within(2 * SECOND)
            .scope(async {
                let inner = async { Deadline::remaining() };
                assert_eq!(Deadline::within(3 * SECOND).scope(inner).await, Some(2 * SECOND));
                let inner = async { Deadline::remaining() };
                assert_eq!(Deadline::within(SECOND).scope(inner).await, Some(SECOND));
                let inner = async { Deadline::remaining() };
                assert_eq!(Deadline::within(Duration::MAX).scope(inner).await, Some(2 * SECOND));
                tokio::time::advance(3 * SECOND).await;
                assert_eq!(Deadline::remaining(), Some(Duration::ZERO));
            })
            .await;
        assert_eq!(Deadline::remaining(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn q1_g2_a_panic_ends_the_scope() {
        let deadline = Deadline::within(SECOND);
        let thrown = catch_unwind(AssertUnwindSafe(|| {
            let _entered = deadline.enter();
            panic!("as asked");
        }));
        assert!(thrown.is_err() && Deadline::current().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_never_comes_is_none() {
        assert_eq!(Deadline::within(Duration::MAX).scope(async { Deadline::current() }).await, None);
        assert_eq!(Deadline::within(Duration::MAX).time_left(), Duration::MAX);
    }
}
