use std::future::Future;

use super::{
    attempt::{Attempt, Attempts, Repeat, RepeatWith},
    budget::RetryBudget,
    config::RetryBuilder,
    future::RetryFuture,
    settings::RetrySettings,
    shared::Shared,
};
use crate::{
    classify::{ByError, Classify, NotIdempotent, RetryIf},
    error::{ConfigError, Name},
    sync::Arc,
};

/// Sends an operation again that failed but may succeed next time.
///
/// The [module](super) says what is sent again, and when. Clones share the budget. So do the handles with another
/// classifier that [`classify`](Self::classify) makes, and every layer.
#[derive(Debug)]
pub struct RetryWithBackoff<C = ByError> {
    pub(crate) shared: Arc<Shared>,
    pub(super) classifier: C,
}

impl RetryWithBackoff {
    /// A retry with the default settings. A literal name costs nothing; for borrowed text there is [`Name::copied`].
    pub fn new(name: impl Into<Name>) -> Self {
        let (shared, classifier) = Self::builder(name).unchecked();
        Self { shared: Arc::new(shared), classifier }
    }

    /// Settings for a retry of this name. A literal costs nothing; for borrowed text there is [`Name::copied`].
    pub fn builder(name: impl Into<Name>) -> RetryBuilder {
        RetryBuilder::new(name.into())
    }
}

impl<C> RetryBuilder<C> {
    /// A retry with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<RetryWithBackoff<C>, ConfigError> {
        let (shared, classifier) = self.checked()?;
        Ok(RetryWithBackoff { shared: Arc::new(shared), classifier })
    }
}

impl<C> RetryWithBackoff<C> {
    /// A handle with the same settings and budget that judges another type of result.
    pub fn classify<D>(&self, classifier: D) -> RetryWithBackoff<D> {
        RetryWithBackoff { shared: self.shared.clone(), classifier }
    }

    /// A handle with the same settings and budget that sends another attempt for the errors for which `predicate` is
    /// true, and for no other error.
    ///
    /// The error may be of any type. So this handle does not know our own rejections: the predicate is asked of them
    /// too, and should be false for an open circuit; and a rejection that ends the retry does not tell
    /// [`attempts_sent`](crate::Rejected::attempts_sent).
    ///
    /// ```
    /// # use withstand::RetryWithBackoff;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// # async fn send() -> Result<u32, std::num::ParseIntError> { "7".parse() }
    /// # use std::num::ParseIntError;
    /// let retry = RetryWithBackoff::new("users");
    /// let retry = retry.retry_if(|error: &ParseIntError| error.to_string().contains("empty"));
    /// assert_eq!(retry.call(send).await, Ok(7));
    /// # }
    /// ```
    pub fn retry_if<E, P>(&self, predicate: P) -> RetryWithBackoff<RetryIf<P>>
    where
        P: Fn(&E) -> bool,
    {
        self.classify(RetryIf::new(predicate))
    }

    /// A handle with the same settings and budget for operations that are not idempotent: it sends again only what had
    /// no effect.
    ///
    /// These are two of the verdicts:
    ///
    /// - [`Unreached`](crate::Verdict::Unreached): nothing was sent.
    /// - [`Throttled`](crate::Verdict::Throttled): the dependency refused the request in place of acting on it. The
    ///   standard (RFC 6585, section 4) does not say so of a 429; it is what servers do, and what their clients rely
    ///   on. If a dependency of yours throttles halfway through its work, give its retry a classifier that judges this
    ///   as [`Failed`](crate::Verdict::Failed).
    ///
    /// What is [`Transient`](crate::Verdict::Transient) ends the call, and the event says
    /// [`NotRepeatable`](super::GaveUp::NotRepeatable). The default classifier judges no error as unreached: name those
    /// that are, by [`errors_if`](crate::ByStatus::errors_if) for example. The layer of this handle does the same.
    ///
    /// ```
    /// # use std::io;
    /// # use withstand::{by_error, NotIdempotent, RetryWithBackoff, Verdict};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    /// let retry = RetryWithBackoff::new("orders").classify(by_error().errors_if(is_refused, Verdict::Unreached));
    /// let orders = retry.not_idempotent();
    ///
    /// let mut attempts = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset].into_iter();
    /// let order = || std::future::ready(Err::<u32, _>(io::Error::from(attempts.next().expect("only two are sent"))));
    /// assert_eq!(orders.call(order).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    /// # }
    /// ```
    pub fn not_idempotent(&self) -> RetryWithBackoff<NotIdempotent<C>>
    where
        C: Clone,
    {
        self.classify(NotIdempotent::new(self.classifier.clone()))
    }

    /// The bucket that retries are paid from, if there is one.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.shared.budget()
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> RetrySettings {
        self.shared.settings()
    }

    /// Changes the settings while the retry is in use. All handles and layers that share the budget go on by them at
    /// once; listeners, classifiers, the seed, a backoff from a closure and a shared budget stay.
    ///
    /// | what | what becomes of it |
    /// |---|---|
    /// | a call whose first attempt has failed | goes on as it began: attempts, backoff, `max_retry_after`, deadline |
    /// | a call that has not failed yet | keeps its deadline, and goes by the new settings otherwise |
    /// | the budget's level | is as full as it was: of 5 of 10 tokens it becomes 10 of 20 |
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting, and those that are given by code. Then nothing has changed.
    pub fn apply(&self, settings: &RetrySettings) -> Result<(), ConfigError> {
        self.check(settings)?;
        self.apply_checked(settings);
        Ok(())
    }

    /// Whether these settings could be applied.
    pub(crate) fn check(&self, settings: &RetrySettings) -> Result<(), ConfigError> {
        self.shared.check(settings)
    }

    /// Applies settings that were checked.
    pub(crate) fn apply_checked(&self, settings: &RetrySettings) {
        self.shared.apply_checked(settings);
    }

    /// Takes these settings as those that it was made with.
    pub(crate) fn set_made_with(&self, settings: &RetrySettings) {
        self.shared.set_made_with(settings);
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        self.shared.name().as_str()
    }

    /// How many handles, layers, services and calls of services hold it, this handle included.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Whether a new retry would not be the same as this one.
    pub(crate) fn must_stay(&self) -> bool {
        self.shared.must_stay()
    }
}

impl<C> RetryWithBackoff<C> {
    /// Starts the operation, and starts it again while its result may be cured by that and the settings allow it.
    ///
    /// The first attempt starts at once, before the future is polled. Further ones start inside the future.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, unchanged. Our own rejection tells in
    /// [`attempts_sent`](crate::Rejected::attempts_sent) how many attempts were sent before it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt that runs, or the sleep. A token that was paid for an attempt that was not
    /// sent goes back to the budget.
    ///
    /// # Panics
    ///
    /// If it has to sleep and is polled outside a tokio runtime with time enabled.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, mut operation: F) -> RetryFuture<Repeat<F>, Fut, Result<T, E>, &Shared, &C>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let start = self.shared.begin();
        let first = operation();
        RetryFuture::new(&*self.shared, &self.classifier, start, first, Repeat { operation })
    }

    /// [`call`](Self::call), for an operation that needs to know which attempt it is, what the error of the one before
    /// was, and how long the call has taken so far.
    ///
    /// ```
    /// # use withstand::{retry::Attempt, RetryWithBackoff};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
    /// let retry = RetryWithBackoff::new("stock");
    /// let attempts = retry
    ///     .call_with(|attempt: Attempt<'_, std::io::Error>| {
    ///         let number = attempt.number;
    ///         async move { if number < 2 { Err(std::io::Error::other("not yet")) } else { Ok(number) } }
    ///     })
    ///     .await?;
    /// assert_eq!(attempts, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety, and panics
    ///
    /// As [`call`](Self::call).
    pub fn call_with<F, Fut, T, E>(&self, operation: F) -> RetryFuture<RepeatWith<F, E>, Fut, Result<T, E>, &Shared, &C>
    where
        F: FnMut(Attempt<'_, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let start = self.shared.begin();
        let mut attempts = RepeatWith::new(operation);
        let first = attempts.start(self.shared.plan_first_attempt());
        RetryFuture::new(&*self.shared, &self.classifier, start, first, attempts)
    }
}

impl<C: Clone> Clone for RetryWithBackoff<C> {
    fn clone(&self) -> Self {
        self.classify(self.classifier.clone())
    }
}
