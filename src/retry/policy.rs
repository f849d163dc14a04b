use std::future::Future;

use super::{
    attempt::{Attempt, Repeat, RepeatWith},
    backoff::{Backoff, Exponential},
    budget::RetryBudget,
    config::RetryBuilder,
    future::RetryFuture,
    shared::Plan,
};
use crate::{
    classify::{ByError, Classify, RetryIf},
    error::{ConfigError, Name},
    sync::Arc,
};

/// Tries an operation again that failed but may succeed next time.
///
/// See the [module](super) for what is tried again and when. Clones share the budget, and so do the siblings that
/// [`classify`](Self::classify) makes and every layer.
#[derive(Debug)]
pub struct RetryWithBackoff<C = ByError, B = Exponential> {
    pub(super) plan: Arc<Plan<B>>,
    pub(super) classifier: C,
}

impl RetryWithBackoff {
    /// A retry with the default settings.
    pub fn new(name: impl Into<Name>) -> Self {
        let (plan, classifier) = Self::builder(name).unchecked();
        Self { plan: Arc::new(plan), classifier }
    }

    /// Settings for a retry of this name.
    pub fn builder(name: impl Into<Name>) -> RetryBuilder {
        RetryBuilder::new(name.into())
    }
}

impl<C, B: Backoff> RetryBuilder<C, B> {
    /// A retry with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<RetryWithBackoff<C, B>, ConfigError> {
        let (plan, classifier) = self.checked()?;
        Ok(RetryWithBackoff { plan: Arc::new(plan), classifier })
    }
}

impl<C, B> RetryWithBackoff<C, B> {
    /// A sibling with the same settings and budget that judges another type of result.
    pub fn classify<D>(&self, classifier: D) -> RetryWithBackoff<D, B> {
        RetryWithBackoff { plan: self.plan.clone(), classifier }
    }

    /// A handle with the same settings and budget that sends another attempt for the errors for which `predicate` is true, and for no other
    /// error.
    ///
    /// The error may be of any type. The predicate is asked of our own rejections too: do not say `true` of an open circuit.
    ///
    /// ```
    /// # use withstand::RetryWithBackoff;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// # async fn send() -> Result<u32, std::num::ParseIntError> { "7".parse() }
    /// let retry = RetryWithBackoff::new("users").retry_if(|error: &std::num::ParseIntError| error.to_string().contains("empty"));
    /// assert_eq!(retry.call(send).await, Ok(7));
    /// # }
    /// ```
    pub fn retry_if<E, P>(&self, predicate: P) -> RetryWithBackoff<RetryIf<P>, B>
    where
        P: Fn(&E) -> bool,
    {
        self.classify(RetryIf::new(predicate))
    }

    /// The bucket that retries are paid from, if there is one.
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.plan.budget.as_ref()
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        self.plan.reporter.name().as_str()
    }
}

impl<C, B: Backoff> RetryWithBackoff<C, B> {
    /// Starts the operation, and starts it again while its result is transient and the settings allow.
    ///
    /// The first try starts at once; further ones start inside the future.
    ///
    /// # Errors
    ///
    /// The last try's own, unchanged.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the try that runs, or the sleep. A token paid for a try that was not sent goes
    /// back.
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with time enabled, and it has to sleep.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, mut operation: F) -> RetryFuture<Repeat<F>, Fut, &Plan<B>, &C, B::Delays>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let start = self.plan.begin();
        let first = operation();
        RetryFuture::new(&*self.plan, &self.classifier, start, first, Repeat { operation })
    }

    /// [`call`](Self::call), for an operation that wants to know which try it is, what the last one's error was, and
    /// how long it has taken so far.
    ///
    /// ```
    /// # use withstand::{retry::Attempt, RetryWithBackoff};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
    /// let retry = RetryWithBackoff::new("stock");
    /// let tries = retry
    ///     .call_with(|attempt: Attempt<'_, std::io::Error>| {
    ///         let number = attempt.number;
    ///         async move { if number < 2 { Err(std::io::Error::other("not yet")) } else { Ok(number) } }
    ///     })
    ///     .await?;
    /// assert_eq!(tries, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The last try's own, unchanged.
    ///
    /// # Cancel safety, and panics
    ///
    /// As [`call`](Self::call).
    pub fn call_with<F, Fut, T, E>(&self, operation: F) -> RetryFuture<RepeatWith<F, E>, Fut, &Plan<B>, &C, B::Delays>
    where
        F: FnMut(Attempt<'_, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let start = self.plan.begin();
        let mut attempts = RepeatWith::new(operation);
        let first = attempts.start(1);
        RetryFuture::new(&*self.plan, &self.classifier, start, first, attempts)
    }
}

impl<C: Clone, B> Clone for RetryWithBackoff<C, B> {
    fn clone(&self) -> Self {
        self.classify(self.classifier.clone())
    }
}
