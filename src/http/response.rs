//! Verdicts on HTTP answers, by their status and their headers.

use std::{fmt, time::Duration};

use ::http::{HeaderMap, Response, StatusCode, header::RETRY_AFTER};

use super::{quota::quota, retry_after::retry_after};
use crate::classify::{ByStatus, ErrorRules, Hint, Verdict, by_status, sealed_hint};

/// Judges an answer by its status, and reads from its headers how long the server wants to be left alone: [`by_status`]
/// with [`retry_after`].
///
/// One row is added to the table of statuses: 403 is [`Throttled`](Verdict::Throttled) where the headers say that a
/// quota is spent, or have a `Retry-After`. (GitHub says so.) Any other 403 is healthy, unless
/// [`also`](ByStatus::also) says otherwise.
///
/// A transport's errors need rules: which of them say that nothing was sent.
///
/// ```
/// use withstand::{CircuitBreaker, Verdict, http::by_response};
///
/// type Response = http::Response<hyper::body::Incoming>;
///
/// let by_response = by_response::<hyper::body::Incoming>()
///     .errors_if(hyper_util::client::legacy::Error::is_connect, Verdict::Unreached);
/// let breaker = CircuitBreaker::new("users").classify(by_response);
/// ```
pub fn by_response<B>() -> ByStatus<fn(&Response<B>) -> StatusCode, (), ReadHeaders<Response<B>>> {
    by_headers(Response::status, Response::headers)
}

/// [`by_response`] for any type of answer: functions say where its status and its headers are.
///
/// ```
/// use reqwest::Response;
/// use withstand::{CircuitBreaker, Verdict, http::by_headers};
///
/// let by_response = by_headers(Response::status, Response::headers)
///     .errors_if(|error: &reqwest::Error| error.is_builder(), Verdict::Ignored)
///     .errors_if(reqwest::Error::is_connect, Verdict::Unreached);
/// let breaker = CircuitBreaker::new("users").classify(by_response);
/// ```
///
/// With rules for errors its type is [`ByResponse`], for a struct to name.
pub fn by_headers<T>(
    status: fn(&T) -> StatusCode,
    headers: fn(&T) -> &HeaderMap,
) -> ByStatus<fn(&T) -> StatusCode, (), ReadHeaders<T>> {
    by_status(status).with_hint(ReadHeaders { status, headers })
}

/// The classifier that [`by_response`] and [`by_headers`] make, with rules for errors. `T` is the answer, and `E` is
/// what the rules take.
pub type ByResponse<T, E> = ByStatus<fn(&T) -> StatusCode, ErrorRules<E>, ReadHeaders<T>>;

/// What the headers of an answer say.
pub struct ReadHeaders<T> {
    status: fn(&T) -> StatusCode,
    headers: fn(&T) -> &HeaderMap,
}

impl<T> sealed_hint::Hint for ReadHeaders<T> {}

impl<T> Hint<T> for ReadHeaders<T> {
    fn hint(&self, answer: &T) -> Option<Duration> {
        retry_after((self.headers)(answer))
    }

    fn verdict(&self, answer: &T) -> Option<Verdict> {
        if (self.status)(answer) != StatusCode::FORBIDDEN {
            return None;
        }
        let headers = (self.headers)(answer);
        let is_limit = headers.contains_key(RETRY_AFTER) || quota(headers).is_some_and(|quota| quota.remaining == 0);
        is_limit.then_some(Verdict::THROTTLED)
    }
}

impl<T> Clone for ReadHeaders<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ReadHeaders<T> {}

impl<T> fmt::Debug for ReadHeaders<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHeaders").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::headers, *};
    use crate::{carry::Error, classify::Classify};

    fn verdict(status: u16, lines: &[(&str, &str)]) -> Verdict {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        *response.headers_mut() = headers(lines);
        by_response().classify(&Ok::<_, Error<fmt::Error>>(response))
    }

    #[test]
    fn w1_an_answer_is_judged_by_its_status_and_its_headers() {
        let seven = Some(Duration::from_secs(7));
        assert_eq!(verdict(200, &[("retry-after", "7")]), Verdict::Healthy);
        assert_eq!(verdict(404, &[("x-ratelimit-remaining", "0")]), Verdict::Healthy);
        assert_eq!(verdict(503, &[]), Verdict::TRANSIENT);
        assert_eq!(verdict(503, &[("retry-after", "7")]), Verdict::Transient { retry_after: seven });
        assert_eq!(verdict(429, &[("ratelimit", "\"a\";r=0;t=7")]), Verdict::Throttled { retry_after: seven });
        assert_eq!(verdict(999, &[("retry-after", "7")]), Verdict::Healthy, "it is no status that we know");
    }

    #[test]
    fn w1_a_403_with_a_spent_quota_is_throttled() {
        let spent = ("x-ratelimit-remaining", "0");
        let seven = Some(Duration::from_secs(7));
        assert_eq!(verdict(403, &[]), Verdict::Healthy);
        assert_eq!(verdict(403, &[("x-ratelimit-remaining", "1")]), Verdict::Healthy);
        assert_eq!(verdict(403, &[spent]), Verdict::THROTTLED);
        assert_eq!(verdict(403, &[spent, ("x-ratelimit-reset", "7")]), Verdict::Throttled { retry_after: seven });
        assert_eq!(verdict(403, &[("retry-after", "7")]), Verdict::Throttled { retry_after: seven });
    }
}
