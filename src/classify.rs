//! What a call's result says about the dependency: one [`Verdict`], used by every policy.
//!
//! | verdict | breaker | retry | fallback |
//! |---|---|---|---|
//! | [`Healthy`](Verdict::Healthy) | a success | done | left alone |
//! | [`Transient`](Verdict::Transient) | a failure | tried again | handled |
//! | [`Failed`](Verdict::Failed) | a failure | done | handled |
//! | [`Unknown`](Verdict::Ignored) | ignored | done | handled |
//!
//! By default ([`ByError`]) `Ok` is healthy, an open circuit and a full bulkhead are unknown, and every other error, a timeout
//! included, is transient. For HTTP there are [`by_status`] and [`by_error_status`], for anything else [`classify_fn`]. A policy that
//! has a state keeps it apart from its classifier: `policy.classify(..)` is a sibling on the same state that judges another type of answer.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    carry::{CarriesRejected, Error},
    error::Rejected,
};

/// What a result says about the dependency that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered. "Your request is wrong", a 404 say, is an answer too.
    Healthy,
    /// It failed, and another try may cure it.
    Transient {
        /// Not before this, says the dependency.
        retry_after: Option<Duration>,
    },
    /// It failed, and another try would not help or is not safe.
    Failed,
    /// It says nothing about the dependency: our own rejection.
    Ignored,
}

impl Verdict {
    /// Transient, with no word on when to try again.
    pub const TRANSIENT: Self = Self::Transient { retry_after: None };

    /// Whether the dependency failed.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Failed)
    }
}

/// Judges the result of a call.
///
/// It is called once for each result, never under a lock, and should be quick.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a `Result<{T}, {E}>`",
    label = "this policy's classifier does not know this result",
    note = "a closure: wrap it, `classify_fn(|result: &Result<T, E>| ..)`",
    note = "another type of answer through the same policy: `policy.classify(..)` is a sibling that shares its state",
    note = "the default classifier asks that the error carries a rejection: see `withstand::CarriesRejected`"
)]
pub trait Classify<T, E> {
    /// What `result` says about the dependency.
    fn classify(&self, result: &Result<T, E>) -> Verdict;
}

impl<T, E, C: Classify<T, E> + ?Sized> Classify<T, E> for &C {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (**self).classify(result)
    }
}

impl<T, E, C: Classify<T, E> + ?Sized> Classify<T, E> for Arc<C> {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (**self).classify(result)
    }
}

/// The default: an error is a failure that another try may cure, unless it is our own rejection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByError;

impl<T, E: CarriesRejected> Classify<T, E> for ByError {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) => judge_error(error),
        }
    }
}

fn judge_error<E: CarriesRejected>(error: &E) -> Verdict {
    match error.as_rejected() {
        None | Some(Rejected::TimedOut(_)) => Verdict::TRANSIENT,
        Some(Rejected::CircuitOpen(_) | Rejected::BulkheadFull(_)) => Verdict::Ignored,
    }
}

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
    F: Fn(&Result<T, E>) -> Verdict,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (self.judge)(result)
    }
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClassifyFn").finish_non_exhaustive()
    }
}

/// Judges an answer by its HTTP status.
///
/// 5xx (and whatever is above), 408 and 429 are transient, every other status is healthy; an error is judged as [`ByError`] does.
///
/// In the plain door, judge the response itself, or an answer of yours that keeps status and hint: `error_for_status()` loses the headers,
/// and an error of a 404 is transient unless [`errors`](ByStatus::errors) knows its status.
/// Any `fn(&T) -> S` will do whose `S` is `Into<u16>`, so no HTTP client becomes a dependency:
///
/// ```
/// use withstand::{by_status, parse_retry_after, CircuitBreaker};
///
/// let by_status = by_status(reqwest::Response::status)
///     .errors(reqwest::Error::status)
///     .retry_after(|response| response.headers().get("retry-after").and_then(parse_retry_after));
/// let breaker = CircuitBreaker::new("users").classify(by_status);
/// ```
pub fn by_status<T, S: Into<u16>>(status: fn(&T) -> S) -> ByStatus<fn(&T) -> S> {
    ByStatus { status, error_status: (), hint: () }
}

/// Judges an error by the HTTP status that it has: for calls that yield what they have decoded, and whose errors
/// `error_for_status()` has made.
///
/// Every answer is healthy. So is an error that tells of a status below 500, but for 408 and 429: the dependency answered that the request is
/// wrong. Every other error is judged as [`ByError`] does.
///
/// ```
/// use reqwest::StatusCode;
/// use withstand::{by_error_status, ByStatus, CircuitBreaker, Rejected};
///
/// #[derive(Debug, thiserror::Error)]
/// enum ApiError {
///     #[error(transparent)]
///     Http(#[from] reqwest::Error),
///     #[error("{0}")]
///     Policy(#[from] Rejected),
/// }
/// withstand::carries_rejected!(ApiError, Policy);
///
/// impl ApiError {
///     fn status(&self) -> Option<StatusCode> {
///         if let Self::Http(error) = self { error.status() } else { None }
///     }
/// }
///
/// let breaker: CircuitBreaker<ByStatus<(), fn(&ApiError) -> Option<StatusCode>>> =
///     CircuitBreaker::new("users").classify(by_error_status(ApiError::status));
/// ```
pub fn by_error_status<E, S: Into<u16>>(status: fn(&E) -> Option<S>) -> ByStatus<(), fn(&E) -> Option<S>> {
    ByStatus { status: (), error_status: status, hint: () }
}

/// The classifier that [`by_status`] and [`by_error_status`] make.
#[derive(Clone, Copy, Debug)]
pub struct ByStatus<F, X = (), H = ()> {
    status: F,
    error_status: X,
    hint: H,
}

impl<F, X, H> ByStatus<F, X, H> {
    /// Judges an error that has a status by it, as an answer would be: what `error_for_status()` makes, say.
    ///
    /// The function may take the stack's own error, or the foreign one inside an [`Error`].
    pub fn errors<E, S: Into<u16>>(self, status: fn(&E) -> Option<S>) -> ByStatus<F, fn(&E) -> Option<S>, H> {
        ByStatus { status: self.status, error_status: status, hint: self.hint }
    }
}

impl<T, S, X, H> ByStatus<fn(&T) -> S, X, H> {
    /// Reads from a transient answer how long the dependency asks to be left alone.
    pub fn retry_after(self, hint: fn(&T) -> Option<Duration>) -> ByStatus<fn(&T) -> S, X, fn(&T) -> Option<Duration>> {
        ByStatus { status: self.status, error_status: self.error_status, hint }
    }
}

impl<T, S, E, X, H> Classify<T, E> for ByStatus<fn(&T) -> S, X, H>
where
    S: Into<u16>,
    E: CarriesRejected,
    X: ErrorStatus<E>,
    H: Hint<T>,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(answer) if is_transient((self.status)(answer).into()) => {
                Verdict::Transient { retry_after: self.hint.hint(answer) }
            }
            Ok(_) => Verdict::Healthy,
            Err(error) => judge_error_with(&self.error_status, error),
        }
    }
}

impl<T, E, X> Classify<T, E> for ByStatus<(), X>
where
    E: CarriesRejected,
    X: ErrorStatus<E>,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) => judge_error_with(&self.error_status, error),
        }
    }
}

fn judge_error_with<E: CarriesRejected>(status: &impl ErrorStatus<E>, error: &E) -> Verdict {
    match status.error_status(error) {
        Some(status) if !is_transient(status) => Verdict::Healthy,
        _ => judge_error(error),
    }
}

/// 408 Request Timeout, 429 Too Many Requests, and what the server calls its own fault.
fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..)
}

/// Where an error's status comes from.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not read the status of a `{E}`",
    label = "the operation fails with `{E}`",
    note = "`by_error_status` and `.errors` take a function of the operation's own error, `fn(&{E}) -> Option<S>`, or of the foreign one that `lift` has put into a `withstand::Error`"
)]
pub trait ErrorStatus<E> {
    #[doc(hidden)]
    fn error_status(&self, error: &E) -> Option<u16>;
}

impl<E> ErrorStatus<E> for () {
    fn error_status(&self, _: &E) -> Option<u16> {
        None
    }
}

impl<E, S: Into<u16>> ErrorStatus<E> for fn(&E) -> Option<S> {
    fn error_status(&self, error: &E) -> Option<u16> {
        self(error).map(Into::into)
    }
}

impl<E, S: Into<u16>> ErrorStatus<Error<E>> for fn(&E) -> Option<S> {
    fn error_status(&self, error: &Error<E>) -> Option<u16> {
        match error {
            Error::Inner(error) => self(error).map(Into::into),
            Error::Rejected(_) => None,
        }
    }
}

/// Where an answer's wish to be left alone comes from.
pub trait Hint<T> {
    #[doc(hidden)]
    fn hint(&self, answer: &T) -> Option<Duration>;
}

impl<T> Hint<T> for () {
    fn hint(&self, _: &T) -> Option<Duration> {
        None
    }
}

impl<T> Hint<T> for fn(&T) -> Option<Duration> {
    fn hint(&self, answer: &T) -> Option<Duration> {
        self(answer)
    }
}
