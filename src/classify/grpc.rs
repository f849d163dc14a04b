//! Verdicts by gRPC code.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use super::{
    by_error::{judge_error, judge_rejected},
    error_rules::{ErrorRules, Rule},
    hint::{Hint, sealed},
    verdict::{Classify, Verdict},
};
use crate::{
    carry::{CarriesRejected, Error},
    error::Rejected,
    retry_after::parse_retry_after,
};

/// Judges an error by its gRPC code: for calls by a generated client. `Ok` is healthy.
///
/// | code | verdict |
/// |---|---|
/// | `UNAVAILABLE` | [`Transient`](Verdict::Transient) |
/// | `RESOURCE_EXHAUSTED` | [`Throttled`](Verdict::Throttled) |
/// | `DEADLINE_EXCEEDED`, `INTERNAL`, `DATA_LOSS` | [`Failed`](Verdict::Failed) |
/// | `UNKNOWN`, `CANCELLED` with a [`source`](StdError::source): made by the client | [`Failed`](Verdict::Failed) |
/// | `UNKNOWN`, `CANCELLED`, sent by the server; every other code | [`Healthy`](Verdict::Healthy) |
///
/// Many servers say `UNKNOWN` for any error of their own. A client says it of a connection that broke, and tonic says
/// `CANCELLED` where `Endpoint::timeout` ended the call.
///
/// The error is the status itself, or the status inside an [`Error`] (see [`lift`](crate::lift)); where an enum of
/// yours holds it, add [`inside`](ByGrpcCode::inside). A rejection of ours that a status has in its chain of sources is
/// judged as [`ByError`](super::ByError) judges it, so a retry around a client sees the open circuit of a layer
/// beneath.
///
/// ```
/// use tonic::Status;
/// use withstand::{by_grpc_code, lift, CircuitBreaker, RetryWithBackoff};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// # async fn get_stock() -> Result<u32, Status> { Ok(7) }
/// let by_grpc_code = by_grpc_code(Status::code)
///     .metadata(|status, name| Some(status.metadata().get(name)?.as_encoded_bytes())); // `grpc-retry-pushback-ms`
/// let retry = RetryWithBackoff::new("stock").classify(by_grpc_code.clone());
/// let breaker = CircuitBreaker::new("stock").classify(by_grpc_code);
///
/// // `get_stock` is what a generated client does: `client.clone().get_stock(request)`.
/// let stock = retry.call(|| breaker.call(|| lift(get_stock()))).await;
/// # assert_eq!(stock.unwrap(), 7);
/// # }
/// ```
///
/// In tower, around a channel, answers are `Ok` whatever their code is: see
/// [`ByStatus::grpc_headers`](super::ByStatus::grpc_headers).
pub fn by_grpc_code<E: 'static, C: Into<i32> + 'static>(code: fn(&E) -> C) -> ByGrpcCode<E> {
    ByGrpcCode { code: Arc::new(move |status| code(status).into()), metadata: None, rules: ErrorRules::none() }
}

/// The classifier that [`by_grpc_code`] makes.
///
/// A clone shares its rules.
pub struct ByGrpcCode<E> {
    code: Arc<dyn Fn(&E) -> i32 + Send + Sync>,
    metadata: Option<HeaderFn<E>>,
    rules: ErrorRules<E>,
}

/// Reads a header, or an entry of the metadata, by its name.
pub type HeaderFn<T> = for<'a> fn(&'a T, &'static str) -> Option<&'a [u8]>;

impl<E> ByGrpcCode<E> {
    /// Reads an entry of the status' metadata: `grpc-retry-pushback-ms` says how long to wait, a negative one says: not
    /// again.
    #[must_use]
    pub fn metadata(self, metadata: HeaderFn<E>) -> Self {
        Self { metadata: Some(metadata), ..self }
    }

    /// Judges the statuses for which `is` is true by this verdict.
    ///
    /// Rules are asked before the table, because every status has a code. The first that is true decides.
    #[must_use]
    pub fn errors_if(self, is: fn(&E) -> bool, verdict: Verdict) -> Self {
        Self { rules: self.rules.with(Rule::If(is, verdict)), ..self }
    }

    /// The same for an error of yours that may hold such a status. One that holds none is judged as
    /// [`ByError`](super::ByError) does.
    ///
    /// ```
    /// use tonic::Status;
    /// use withstand::{by_grpc_code, ByGrpcCodeInside, CircuitBreaker, Rejected};
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// enum ApiError {
    ///     #[error(transparent)]
    ///     Grpc(#[from] Status),
    ///     #[error("call rejected")]
    ///     Policy(#[from] Rejected),
    /// }
    /// withstand::carries_rejected!(ApiError, Policy);
    ///
    /// fn status(error: &ApiError) -> Option<&Status> {
    ///     if let ApiError::Grpc(status) = error { Some(status) } else { None }
    /// }
    ///
    /// let breaker: CircuitBreaker<ByGrpcCodeInside<ApiError, Status>> =
    ///     CircuitBreaker::new("stock").classify(by_grpc_code(Status::code).inside(status));
    /// ```
    pub fn inside<O>(self, status: fn(&O) -> Option<&E>) -> ByGrpcCodeInside<O, E> {
        ByGrpcCodeInside { status, by_code: self }
    }

    fn pushback(&self, status: &E) -> Option<Pushback> {
        (self.metadata?)(status, PUSHBACK).map(Pushback::parse)
    }
}

impl<E: StdError + 'static> ByGrpcCode<E> {
    fn judge(&self, status: &E) -> Verdict {
        if let Some(rejected) = Rejected::find(status) {
            return judge_rejected(rejected);
        }
        // No rule of these asks for an HTTP status.
        let by_rule = self.rules.judge(status, &|_| Verdict::TRANSIENT);
        let verdict = by_rule.unwrap_or_else(|| verdict_of((self.code)(status), status.source().is_some()));
        or_pushback(verdict, || self.pushback(status))
    }
}

impl<T, E: StdError + 'static> Classify<T, E> for ByGrpcCode<E> {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        result.as_ref().map_or_else(|status| self.judge(status), |_| Verdict::Healthy)
    }
}

impl<T, E: StdError + 'static> Classify<T, Error<E>> for ByGrpcCode<E> {
    fn classify(&self, result: &Result<T, Error<E>>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(Error::Inner(status)) => self.judge(status),
            Err(Error::Rejected(rejected)) => judge_rejected(rejected),
        }
    }

    fn rejected_mut<'a>(&self, error: &'a mut Error<E>) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

impl<E> Clone for ByGrpcCode<E> {
    fn clone(&self) -> Self {
        Self { code: self.code.clone(), metadata: self.metadata, rules: self.rules.clone() }
    }
}

impl<E> fmt::Debug for ByGrpcCode<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByGrpcCode").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// The classifier that [`ByGrpcCode::inside`] makes: for an error `O` that may hold a status `E`.
pub struct ByGrpcCodeInside<O, E> {
    status: fn(&O) -> Option<&E>,
    by_code: ByGrpcCode<E>,
}

impl<T, O: CarriesRejected, E: StdError + 'static> Classify<T, O> for ByGrpcCodeInside<O, E> {
    fn classify(&self, result: &Result<T, O>) -> Verdict {
        match result {
            Ok(_) => Verdict::Healthy,
            Err(error) => (self.status)(error).map_or_else(|| judge_error(error), |status| self.by_code.judge(status)),
        }
    }

    fn rejected_mut<'a>(&self, error: &'a mut O) -> Option<&'a mut Rejected> {
        error.as_rejected_mut()
    }
}

impl<O, E> Clone for ByGrpcCodeInside<O, E> {
    fn clone(&self) -> Self {
        Self { status: self.status, by_code: self.by_code.clone() }
    }
}

impl<O, E> fmt::Debug for ByGrpcCodeInside<O, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByGrpcCodeInside").field("by_code", &self.by_code).finish_non_exhaustive()
    }
}

/// The headers of an answer through a channel; see [`ByStatus::grpc_headers`](super::ByStatus::grpc_headers).
pub struct GrpcHeaders<T>(pub(super) HeaderFn<T>);

impl<T> sealed::Hint for GrpcHeaders<T> {}

impl<T> Hint<T> for GrpcHeaders<T> {
    /// Of an answer that `verdict` does not judge.
    fn hint(&self, answer: &T) -> Option<Duration> {
        (self.0)(answer, "retry-after").and_then(parse_retry_after)
    }

    fn verdict(&self, answer: &T) -> Option<Verdict> {
        let code = code((self.0)(answer, "grpc-status")?);
        Some(or_pushback(verdict_of(code, false), || (self.0)(answer, PUSHBACK).map(Pushback::parse)))
    }
}

impl<T> Clone for GrpcHeaders<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GrpcHeaders<T> {}

impl<T> fmt::Debug for GrpcHeaders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcHeaders").finish_non_exhaustive()
    }
}

const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const DATA_LOSS: i32 = 15;

/// `by_client`: the code was not sent by the server, the client made it from an error.
fn verdict_of(code: i32, by_client: bool) -> Verdict {
    match code {
        UNAVAILABLE => Verdict::TRANSIENT,
        RESOURCE_EXHAUSTED => Verdict::THROTTLED,
        DEADLINE_EXCEEDED | INTERNAL | DATA_LOSS => Verdict::Failed,
        CANCELLED | UNKNOWN if by_client => Verdict::Failed,
        _ => Verdict::Healthy,
    }
}

/// The code in a `grpc-status` header. What is not a number is `UNKNOWN`, as gRPC says.
fn code(header: &[u8]) -> i32 {
    std::str::from_utf8(header).ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN)
}

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a server says about another attempt, as gRPC's proposal A6 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pushback {
    After(Duration),
    Never,
}

impl Pushback {
    /// A value that is negative or cannot be read asks the client not to send another attempt at all.
    fn parse(header: &[u8]) -> Self {
        let millis = std::str::from_utf8(header).ok().and_then(|millis| millis.parse().ok());
        millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis)))
    }
}

fn or_pushback(verdict: Verdict, pushback: impl FnOnce() -> Option<Pushback>) -> Verdict {
    match verdict {
        Verdict::Transient { retry_after: None } => match pushback() {
            None => verdict,
            Some(Pushback::After(span)) => Verdict::Transient { retry_after: Some(span) },
            Some(Pushback::Never) => Verdict::Failed,
        },
        Verdict::Throttled { retry_after: None } => match pushback() {
            None => verdict,
            Some(Pushback::After(span)) => Verdict::Throttled { retry_after: Some(span) },
            // `Failed` would count against a dependency that is well. No retry waits for ever.
            Some(Pushback::Never) => Verdict::Throttled { retry_after: Some(Duration::MAX) },
        },
        decided => decided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: i32 = 0;

    /// The table of `by_grpc_code`'s docs, row by row.
    #[test]
    fn every_code_has_the_verdict_of_its_row() {
        for code in OK - 1..=17 {
            let (by_client, by_server) = match code {
                UNAVAILABLE => (Verdict::TRANSIENT, Verdict::TRANSIENT),
                RESOURCE_EXHAUSTED => (Verdict::THROTTLED, Verdict::THROTTLED),
                DEADLINE_EXCEEDED | INTERNAL | DATA_LOSS => (Verdict::Failed, Verdict::Failed),
                UNKNOWN | CANCELLED => (Verdict::Failed, Verdict::Healthy),
                _ => (Verdict::Healthy, Verdict::Healthy),
            };
            assert_eq!((verdict_of(code, true), verdict_of(code, false)), (by_client, by_server), "{code}");
        }
    }

    #[test]
    fn a_header_that_is_no_code_is_unknown() {
        assert_eq!(
            [&b"14"[..], b"0", b"", b"soon", b"\xff", b"99999999999"].map(code),
            [UNAVAILABLE, OK, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
        );
    }

    #[test]
    fn a_pushback_is_milliseconds_and_anything_else_means_never() {
        assert_eq!(Pushback::parse(b"250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!(Pushback::parse(b"0"), Pushback::After(Duration::ZERO));
        for never in [&b"-1"[..], b"", b"soon", b"1.5", b"\xff", b"99999999999999999999"] {
            assert_eq!(Pushback::parse(never), Pushback::Never, "{never:?}");
        }
    }

    #[test]
    fn never_is_failed_but_does_not_count_against_a_dependency_that_is_well() {
        let never = |verdict| or_pushback(verdict, || Some(Pushback::Never));
        assert_eq!(never(Verdict::TRANSIENT), Verdict::Failed);
        assert_eq!(never(Verdict::THROTTLED), Verdict::Throttled { retry_after: Some(Duration::MAX) });
        assert!(!never(Verdict::THROTTLED).is_failure());
        for decided in [Verdict::Healthy, Verdict::Failed, Verdict::Unreached, Verdict::Ignored] {
            assert_eq!(never(decided), decided);
        }
    }
}
