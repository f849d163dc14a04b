//! Verdicts by HTTP status.

use std::{sync::Arc, time::Duration};

use super::{
    error_rules::{ErrorRules, JudgeError, Rule, judge},
    grpc::{GrpcHeaders, HeaderFn},
    hint::Hint,
    verdict::{Classify, Verdict},
};
use crate::{carry::CarriesRejected, error::Rejected};

/// Judges an answer by its HTTP status, and an error as [`ByError`](super::ByError) does.
///
/// | status | verdict |
/// |---|---|
/// | 408, 425, 500, 502, 503, 504, and every 5xx that is not named here | [`Transient`](Verdict::Transient) |
/// | 429, 529 | [`Throttled`](Verdict::Throttled) |
/// | 507, 508 | [`Failed`](Verdict::Failed) |
/// | 501, 505, 506, 510, 511, and everything else | [`Healthy`](Verdict::Healthy) |
///
/// 501, 505, 506 and 510 speak of the request, and 511 of a proxy's login: another attempt gives the same answer, and
/// the dependency is well. [`also`](ByStatus::also) changes a row.
///
/// Any `fn(&T) -> S` will do whose `S` is `Into<u16>`, so no HTTP client becomes a dependency:
///
/// ```
/// use withstand::{by_status, parse_retry_after, CircuitBreaker, Verdict};
///
/// let by_status = by_status(reqwest::Response::status)
///     .retry_after(|response| response.headers().get("retry-after").and_then(parse_retry_after))
///     .errors_if(|error: &reqwest::Error| error.is_builder(), Verdict::Ignored) // it was never sent
///     .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
/// let breaker = CircuitBreaker::new("users").classify(by_status);
/// ```
///
/// In a plain call, judge the response itself, or an answer of yours that keeps its status and `Retry-After`:
/// `error_for_status()` loses the headers.
pub fn by_status<T, S: Into<u16>>(status: fn(&T) -> S) -> ByStatus<fn(&T) -> S> {
    ByStatus { status, errors: (), hint: (), rows: Rows::default() }
}

/// Judges an error by the HTTP status that it has: for calls that yield what they have decoded, and whose error keeps
/// the status.
///
/// Every answer is healthy. An error that has a status is judged by the table of [`by_status`]: one with a 404 is
/// healthy, because the dependency answered. An error without a status is judged as [`ByError`](super::ByError) does,
/// unless a rule ([`errors_if`](ByStatus::errors_if)) says otherwise.
///
/// ```
/// use std::time::Duration;
/// use withstand::{by_error_status, ByErrorStatus, CircuitBreaker, Rejected, Verdict};
///
/// #[derive(Debug, thiserror::Error)]
/// enum ApiError {
///     #[error("answered {status}")]
///     Status { status: u16, retry_after: Option<Duration> },
///     #[error(transparent)]
///     Http(#[from] reqwest::Error),
///     #[error("call rejected")]
///     Policy(#[from] Rejected),
/// }
/// withstand::carries_rejected!(ApiError, Policy);
///
/// impl ApiError {
///     fn status(&self) -> Option<u16> {
///         if let Self::Status { status, .. } = self { Some(*status) } else { None }
///     }
///
///     fn retry_after(&self) -> Option<Duration> {
///         if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
///     }
///
///     fn is_unreached(&self) -> bool {
///         matches!(self, Self::Http(error) if error.is_connect())
///     }
/// }
///
/// let by_status = by_error_status(ApiError::status)
///     .retry_after(ApiError::retry_after)
///     .errors_if(ApiError::is_unreached, Verdict::Unreached);
/// let breaker: CircuitBreaker<ByErrorStatus<ApiError>> = CircuitBreaker::new("users").classify(by_status);
/// ```
pub fn by_error_status<E: 'static, S: Into<u16> + 'static>(status: fn(&E) -> Option<S>) -> ByErrorStatus<E> {
    ByStatus { status: (), errors: ErrorRules::none().with_status(status), hint: (), rows: Rows::default() }
}

/// Judges an error as [`ByError`](super::ByError) does, unless a rule says otherwise:
/// [`errors_if`](ByStatus::errors_if).
///
/// For errors that say nothing about the dependency, tower's own among them: `load_shed` beneath a breaker rejects
/// calls that the dependency never gets, and without the rule they open its circuit. (With `load_shed` outside of the
/// breaker, or a [`Bulkhead`](crate::Bulkhead) in its place, no rule is needed.)
///
/// ```
/// use tower::{load_shed::error::Overloaded, BoxError};
/// use withstand::{by_error, CircuitBreaker, Verdict};
///
/// let not_overloaded = by_error().errors_if(|error: &BoxError| error.is::<Overloaded>(), Verdict::Ignored);
/// let breaker = CircuitBreaker::new("users").classify(not_overloaded);
/// ```
pub fn by_error() -> ByStatus<()> {
    ByStatus { status: (), errors: (), hint: (), rows: Rows::default() }
}

/// The classifier that [`by_error_status`] makes, and [`by_error`] with rules.
pub type ByErrorStatus<E> = ByStatus<(), ErrorRules<E>>;

/// The classifier that [`by_status`], [`by_error_status`] and [`by_error`] make.
///
/// A clone shares its rules.
#[derive(Clone, Debug)]
pub struct ByStatus<F, X = (), H = ()> {
    status: F,
    errors: X,
    hint: H,
    rows: Rows,
}

/// The rows of the table that a user has changed.
#[derive(Clone, Debug, Default)]
struct Rows(Option<Arc<Vec<(u16, Verdict)>>>);

impl Rows {
    fn verdict(&self, status: u16) -> Verdict {
        let changed = self.0.as_ref().and_then(|rows| rows.iter().rfind(|(row, _)| *row == status));
        changed.map_or_else(|| verdict_of(status), |(_, verdict)| *verdict)
    }
}

fn verdict_of(status: u16) -> Verdict {
    match status {
        429 | 529 => Verdict::THROTTLED,
        507 | 508 => Verdict::Failed,
        501 | 505 | 506 | 510 | 511 => Verdict::Healthy,
        408 | 425 | 500..=599 => Verdict::TRANSIENT,
        _ => Verdict::Healthy,
    }
}

impl<F, X, H> ByStatus<F, X, H> {
    /// Judges this status by this verdict: for an API that means something else by it than the table says.
    #[must_use]
    pub fn also(mut self, status: u16, verdict: Verdict) -> Self {
        Arc::make_mut(self.rows.0.get_or_insert_default()).push((status, verdict));
        self
    }
}

impl<F, H> ByStatus<F, (), H> {
    /// Judges an error that has a status by it, as an answer would be: what `error_for_status()` makes, for example.
    ///
    /// Rules for errors are asked in the order in which they were added; the first that knows the error decides. The
    /// function may take the operation's own error, or the foreign one inside an
    /// [`Error`](crate::Error).
    pub fn errors<E: 'static, S: Into<u16> + 'static>(
        self,
        status: fn(&E) -> Option<S>,
    ) -> ByStatus<F, ErrorRules<E>, H> {
        self.with_rules(ErrorRules::none().with_status(status))
    }

    /// Judges the errors for which `is` is true by this verdict.
    ///
    /// Rules for errors are asked in the order in which they were added; the first that knows the error decides. The
    /// function may take the operation's own error, or the foreign one inside an
    /// [`Error`](crate::Error).
    pub fn errors_if<E>(self, is: fn(&E) -> bool, verdict: Verdict) -> ByStatus<F, ErrorRules<E>, H> {
        self.with_rules(ErrorRules::none().with(Rule::If(is, verdict)))
    }

    fn with_rules<E>(self, errors: ErrorRules<E>) -> ByStatus<F, ErrorRules<E>, H> {
        ByStatus { status: self.status, errors, hint: self.hint, rows: self.rows }
    }
}

impl<F, E, H> ByStatus<F, ErrorRules<E>, H> {
    /// One more rule for errors; see [`errors`](ByStatus::errors).
    #[must_use]
    pub fn errors<S: Into<u16> + 'static>(self, status: fn(&E) -> Option<S>) -> Self
    where
        E: 'static,
    {
        Self { errors: self.errors.with_status(status), ..self }
    }

    /// One more rule for errors: judges those for which `is` is true by this verdict.
    #[must_use]
    pub fn errors_if(self, is: fn(&E) -> bool, verdict: Verdict) -> Self {
        Self { errors: self.errors.with(Rule::If(is, verdict)), ..self }
    }
}

impl<T, S, X> ByStatus<fn(&T) -> S, X> {
    /// Reads from an answer how long the dependency asks to be left alone. It is asked of answers that are transient or
    /// throttled.
    pub fn retry_after(self, hint: fn(&T) -> Option<Duration>) -> ByStatus<fn(&T) -> S, X, fn(&T) -> Option<Duration>> {
        self.with_hint(hint)
    }

    pub(crate) fn with_hint<H>(self, hint: H) -> ByStatus<fn(&T) -> S, X, H> {
        ByStatus { status: self.status, errors: self.errors, hint, rows: self.rows }
    }
}

impl<T, S, X> ByStatus<fn(&T) -> S, X> {
    /// Judges a gRPC answer by the header `grpc-status`, where its head has one; else by its HTTP status, which is then
    /// a proxy's. For a tower service around a channel, whose answers are `Ok` whatever the server says.
    ///
    /// `header` reads a header by its name. The codes have the verdicts that [`by_grpc_code`](super::by_grpc_code)
    /// gives them, and `UNKNOWN` is healthy. `grpc-retry-pushback-ms`, or a proxy's `Retry-After`, says how long to
    /// wait; a negative pushback says: not again.
    ///
    /// The head has a `grpc-status` only where the answer is an error and nothing else ("trailers-only"), as most
    /// errors of unary calls are. A code that comes after the body is not seen here: judge the decoded answer by
    /// [`by_grpc_code`](super::by_grpc_code).
    ///
    /// ```
    /// use withstand::{by_status, CircuitBreaker};
    ///
    /// type Response = http::Response<tonic::body::Body>;
    ///
    /// let by_grpc_status =
    ///     by_status(Response::status).grpc_headers(|response, name| Some(response.headers().get(name)?.as_bytes()));
    /// let breaker = CircuitBreaker::new("stock").classify(by_grpc_status);
    /// ```
    ///
    /// A retry belongs around the client's call: the body of a request to a channel cannot be cloned.
    ///
    /// # A rejection that reaches a generated client
    ///
    /// tonic makes a status of every error that comes from beneath a client: `UNKNOWN`, for an error that it does not
    /// know. The rejection is then in the status' chain of sources, so [`Rejected::find(&status)`](Rejected::find)
    /// finds it. For a code that says what it is, turn the error into a status yourself, outside of the policies:
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use tower::{Service, ServiceBuilder};
    /// # #[cfg(feature = "tower")]
    /// # use withstand::LiftLayer;
    /// # use withstand::{CircuitBreaker, Error};
    /// use tonic::{transport, Status};
    ///
    /// fn status(error: Error<transport::Error>) -> Status {
    ///     match error {
    ///         Error::Inner(error) => Status::from_error(error.into()),
    ///         Error::Rejected(rejected) => {
    ///             // `UNAVAILABLE` for an open circuit, for example.
    ///             let mut status = Status::new(rejected.grpc_code().into(), rejected.to_string());
    ///             status.set_source(Arc::new(rejected));
    ///             status
    ///         }
    ///     }
    /// }
    /// # #[cfg(feature = "tower")]
    /// # fn guard(breaker: CircuitBreaker, channel: transport::Channel)
    /// # -> impl Service<http::Request<tonic::body::Body>, Error = Status> {
    /// ServiceBuilder::new().map_err(status).layer(breaker.layer()).layer(LiftLayer).service(channel)
    /// # }
    /// ```
    pub fn grpc_headers(self, header: HeaderFn<T>) -> ByStatus<fn(&T) -> S, X, GrpcHeaders<T>> {
        self.with_hint(GrpcHeaders(header))
    }
}

impl<E> ByStatus<(), ErrorRules<E>> {
    /// Reads from an error how long the dependency asks to be left alone. It is asked of errors that are transient or
    /// throttled.
    #[must_use]
    pub fn retry_after(self, hint: fn(&E) -> Option<Duration>) -> Self {
        Self { errors: self.errors.with_hint(hint), ..self }
    }
}

impl<T, S, E, X, H> Classify<T, E> for ByStatus<fn(&T) -> S, X, H>
where
    S: Into<u16>,
    E: CarriesRejected,
    X: JudgeError<E>,
    H: Hint<T>,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(answer) => {
                let by_status = || self.rows.verdict((self.status)(answer).into());
                self.hint.verdict(answer).unwrap_or_else(by_status).or_retry_after(|| self.hint.hint(answer))
            }
            Err(error) => judge(&self.errors, &|status| self.rows.verdict(status), error),
        }
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

impl<T, E, X> Classify<T, E> for ByStatus<(), X>
where
    E: CarriesRejected,
    X: JudgeError<E>,
{
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) => judge(&self.errors, &|status| self.rows.verdict(status), error),
        }
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `by_status`' docs, row by row.
    #[test]
    fn every_status_has_the_verdict_of_its_row() {
        let rows: [(&[u16], Verdict); 4] = [
            (&[408, 425, 500, 502, 503, 504, 509, 520, 521, 599], Verdict::TRANSIENT),
            (&[429, 529], Verdict::THROTTLED),
            (&[507, 508], Verdict::Failed),
            (&[501, 505, 506, 510, 511, 0, 101, 200, 302, 400, 404, 409, 428, 499, 600, u16::MAX], Verdict::Healthy),
        ];
        for (statuses, verdict) in rows {
            for status in statuses {
                assert_eq!(verdict_of(*status), verdict, "{status}");
            }
        }
    }
}
