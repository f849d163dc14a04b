use std::fmt;

use super::verdict::{Classify, Verdict};
use crate::{carry::CarriesRejected, error::Rejected};

/// A closure that judges results.
///
/// ```
/// use withstand::{classify_fn, CircuitBreaker, Verdict};
///
/// let breaker = CircuitBreaker::new("stock").classify(classify_fn(|result: &Result<u32, std::io::Error>| {
///     match result {
///         Ok(_) => Verdict::Healthy,
///         Err(error) if error.kind() == std::io::ErrorKind::NotFound => Verdict::Healthy,
///         Err(_) => Verdict::TRANSIENT,
///     }
/// }));
/// ```
///
/// The closure also judges our own rejections: ask [`as_rejected`](CarriesRejected::as_rejected), and say
/// [`Verdict::Ignored`] of an open circuit and a full bulkhead. For an error that cannot carry a rejection, implement
/// [`Classify`], or [`lift`](crate::lift) the operation.
pub fn classify_fn<T, E, F>(judge: F) -> ClassifyFn<F>
where
    F: Fn(&Result<T, E>) -> Verdict,
{
    ClassifyFn { judge }
}

/// The classifier that [`classify_fn`] makes.
#[derive(Clone, Copy)]
pub struct ClassifyFn<F> {
    judge: F,
}

impl<T, E, F> Classify<T, E> for ClassifyFn<F>
where
    E: CarriesRejected,
    F: Fn(&Result<T, E>) -> Verdict,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (self.judge)(result)
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifyFn").finish_non_exhaustive()
    }
}

/// The classifier that [`retry_if`](crate::RetryWithBackoff::retry_if) makes: an error that the predicate names is
/// transient, every other one is [`Failed`](Verdict::Failed).
#[derive(Clone, Copy)]
pub struct RetryIf<P> {
    predicate: P,
}

impl<P> RetryIf<P> {
    pub(crate) fn new(predicate: P) -> Self {
        Self { predicate }
    }
}

impl<T, E, P> Classify<T, E> for RetryIf<P>
where
    P: Fn(&E) -> bool,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) if (self.predicate)(error) => Verdict::TRANSIENT,
            Err(_) => Verdict::Failed,
        }
    }
}

impl<P> fmt::Debug for RetryIf<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryIf").finish_non_exhaustive()
    }
}
