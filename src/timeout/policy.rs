use std::{future::Future, time::Duration};

use super::{event::TimeoutEvent, future::TimeoutFuture, shared::TimeoutReporter};
use crate::{carry::CarriesRejected, error::Name};

/// Gives up an operation that takes too long.
///
/// See the [module](super) for what it does and does not cover. Clones share the listeners; a timeout has no other
/// state.
#[derive(Clone, Debug)]
pub struct Timeout {
    pub(crate) limit: Duration,
    pub(crate) reporter: TimeoutReporter,
}

impl Timeout {
    /// Lets each operation take at most `limit`, counted from [`call`](Self::call).
    ///
    /// **Zero does not switch the timeout off.** A limit of zero means that only an answer that is there at once
    /// passes. For no limit at all there is [`never`](Self::never). A limit that is longer than the clock can count
    /// never ends either.
    pub const fn new(limit: Duration) -> Self {
        Self { limit, reporter: TimeoutReporter::NONE }
    }

    /// Has no limit at all: no call ever times out.
    ///
    /// It is for settings in which a limit can be switched off. Some libraries write zero for "off"; here that is
    /// `never`, and [`limit`](Self::limit) is then [`Duration::MAX`].
    ///
    /// ```
    /// # use {std::time::Duration, withstand::Timeout};
    /// # let limit_ms = 0;
    /// let timeout = if limit_ms == 0 { Timeout::never() } else { Timeout::new(Duration::from_millis(limit_ms)) };
    /// # assert_eq!(timeout.limit(), Duration::MAX);
    /// ```
    pub const fn never() -> Self {
        Self::new(Duration::MAX)
    }

    /// Gives the timeout a name, for errors and events.
    ///
    /// A literal costs nothing. For borrowed text there is [`Name::copied`].
    #[must_use]
    pub fn named(mut self, name: impl Into<Name>) -> Self {
        self.reporter.set_name(name.into());
        self
    }

    /// Adds a listener. It is told of every call that takes too long.
    ///
    /// It runs inside the call that timed out, on that thread. All listeners are told, in the order in which they were
    /// added. The panic of a listener is caught, and the next listener is told all the same.
    #[must_use]
    pub fn listener_fn(mut self, listener: impl Fn(&TimeoutEvent) + Send + Sync + 'static) -> Self {
        self.reporter.add_listener(listener);
        self
    }

    /// The same timeout with another limit, with the same name and the same listeners: for a single call, for example.
    ///
    /// ```
    /// # use {std::{io, time::Duration}, withstand::Timeout};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> io::Result<()> {
    /// # async fn report() -> io::Result<u32> { tokio::time::sleep(Duration::from_secs(20)).await; Ok(7) }
    /// let timeout = Timeout::new(Duration::from_secs(2)).named("users");
    /// let report = timeout.with_limit(Duration::from_secs(30)).call(report).await?;
    /// # assert_eq!(report, 7);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_limit(&self, limit: Duration) -> Self {
        Self { limit, reporter: self.reporter.clone() }
    }

    /// How long an operation may take. [`Duration::MAX`] is [`never`](Self::never).
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Starts the operation, and waits for it until the limit, or the [`Deadline`](crate::Deadline) around it, has
    /// passed.
    ///
    /// # Errors
    ///
    /// The operation's own, or [`Rejected::TimedOut`](crate::Rejected::TimedOut).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the operation with it.
    ///
    /// # Panics
    ///
    /// The future panics when it is polled outside a tokio runtime with time enabled and the operation is still
    /// pending.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> TimeoutFuture<Fut, &TimeoutReporter>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
    {
        TimeoutFuture::start(&self.reporter, Some(self.limit), operation)
    }
}

/// A timeout of this limit, without a name: where a timeout is asked for, a `Duration` will do.
impl From<Duration> for Timeout {
    fn from(limit: Duration) -> Self {
        Self::new(limit)
    }
}
