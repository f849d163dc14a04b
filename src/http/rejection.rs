//! What a server answers in place of a call that a policy rejected.

use ::http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use crate::error::Rejected;

/// The answer to an HTTP request that a policy of this server rejected: a limiter for each client, for example, that a
/// handler or a middleware asks itself. [`server`](super::server) answers so by itself.
///
/// A spent rate limiter is a 429: this client has asked too often. For a rejection of a handler's own call to another
/// service take [`dependency_rejection_response`].
///
/// ```
/// use std::time::Duration;
/// use withstand::{RateLimiter, http::rejection_response};
///
/// # fn main() -> Result<(), withstand::ConfigError> {
/// let client = RateLimiter::new("198.51.100.7", 1, Duration::from_secs(60))?;
/// # client.try_acquire().unwrap();
/// if let Err(rejected) = client.try_acquire() {
///     let response = rejection_response::<String>(&rejected);
///     assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"60".parse().unwrap()));
/// }
/// # Ok(()) }
/// ```
pub fn rejection_response<B: From<String>>(rejected: &Rejected) -> Response<B> {
    problem(rejected, rejected.http_status(), |text| text.unwrap_or_default().into(), true)
}

/// The answer to an HTTP request whose handler called another service, where a policy of that call rejected it.
///
/// As [`rejection_response`], but a spent rate limiter is a 503: it keeps this server below the quota of the other
/// service, and the client has done nothing wrong.
///
/// ```
/// use withstand::{CircuitOpen, Rejected, http::dependency_rejection_response};
///
/// let rejected = Rejected::from(CircuitOpen::new("stock", Some(std::time::Duration::from_secs(3))));
/// let response = dependency_rejection_response::<String>(&rejected);
/// assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"3".parse().unwrap()));
/// ```
pub fn dependency_rejection_response<B: From<String>>(rejected: &Rejected) -> Response<B> {
    let status = match rejected {
        Rejected::RateLimited(_) => 503,
        Rejected::CircuitOpen(_) | Rejected::BulkheadFull(_) | Rejected::TimedOut(_) => rejected.http_status(),
    };
    problem(rejected, status, |text| text.unwrap_or_default().into(), true)
}

/// What is known of a request, once it is gone, to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Http { takes_body: bool },
    Grpc { content_type: &'static str },
}

impl Caller {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        for grpc in ["application/grpc-web-text", "application/grpc-web", "application/grpc"] {
            if content_type.get(..grpc.len()).is_some_and(|start| start.eq_ignore_ascii_case(grpc.as_bytes())) {
                return Self::Grpc { content_type: grpc };
            }
        }
        Self::Http { takes_body: request.method() != Method::HEAD }
    }
}

/// `body` makes the body of a text, or an empty one.
pub(super) fn response_to<B>(
    rejected: &Rejected,
    caller: Caller,
    body: impl FnOnce(Option<String>) -> B,
) -> Response<B> {
    match caller {
        Caller::Http { takes_body } => problem(rejected, rejected.http_status(), body, takes_body),
        Caller::Grpc { content_type } => {
            let mut response = Response::new(body(None));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            headers.insert("grpc-status", HeaderValue::from(rejected.grpc_code()));
            headers.insert("grpc-message", HeaderValue::from_static(Said::of(rejected).detail));
            if let Some(wait) = rejected.retry_after() {
                let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                headers.insert("grpc-retry-pushback-ms", HeaderValue::from(millis));
            }
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
    }
}

/// The answer in plain HTTP.
fn problem<B>(
    rejected: &Rejected,
    status: u16,
    body: impl FnOnce(Option<String>) -> B,
    takes_body: bool,
) -> Response<B> {
    let said = Said::of(rejected);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = Response::new(body(takes_body.then(|| said.problem(status))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = said.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a client is told: what happened, and when to come back. No policy's name and no limit is in it, for they say
/// how the server is built.
struct Said {
    detail: &'static str,
    /// In whole seconds, at least 1.
    retry_after: Option<u64>,
}

impl Said {
    fn of(rejected: &Rejected) -> Self {
        let (detail, otherwise) = match rejected {
            Rejected::CircuitOpen(_) => ("The service is not available for the moment.", None),
            // A slot is free again at any moment.
            Rejected::BulkheadFull(_) => ("The service has as many requests as it can take.", Some(1)),
            Rejected::RateLimited(_) => ("The service has had as many requests as it takes for the moment.", None),
            Rejected::TimedOut(_) => ("The service took too long to answer.", None),
        };
        Self { detail, retry_after: rejected.retry_after_secs().map(|seconds| seconds.max(1)).or(otherwise) }
    }

    /// RFC 9457. Its `type` is left out, which means: nothing more is to be known than what the status says.
    fn problem(&self, status: StatusCode) -> String {
        // Nothing in the texts needs to be escaped.
        let title = status.canonical_reason().unwrap_or_default();
        let (status, detail) = (status.as_u16(), self.detail);
        let retry_after = self.retry_after.map_or_else(String::new, |seconds| format!(",\"retry_after\":{seconds}"));
        format!("{{\"title\":\"{title}\",\"status\":{status},\"detail\":\"{detail}\"{retry_after}}}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{BulkheadFull, CircuitOpen, Elapsed, RateLimited};

    fn answer(rejected: impl Into<Rejected>, caller: Caller) -> Response<String> {
        response_to(&rejected.into(), caller, Option::unwrap_or_default)
    }

    fn header<'a>(response: &'a Response<String>, name: &str) -> Option<&'a str> {
        Some(response.headers().get(name)?.to_str().expect("visible ASCII"))
    }

    const HTTP: Caller = Caller::Http { takes_body: true };
    const GRPC: Caller = Caller::Grpc { content_type: "application/grpc" };

    fn open(wait: Option<Duration>) -> CircuitOpen {
        CircuitOpen::new("secret-upstream", wait)
    }

    fn full() -> BulkheadFull {
        BulkheadFull::new("secret-upstream", 4321, Some(Duration::from_millis(4321)))
    }

    fn elapsed() -> Elapsed {
        Elapsed::new(Some("secret-upstream".into()), Duration::from_millis(4321))
    }

    #[test]
    fn w2_http_is_told_when_to_come_back_where_that_is_known() {
        let wait = |millis| Some(Duration::from_millis(millis));
        let cases: [(Rejected, u16, Option<&str>); 7] = [
            (open(wait(2001)).into(), 503, Some("3")),
            (open(wait(2000)).into(), 503, Some("2")),
            (open(wait(0)).into(), 503, Some("1")),
            // A span of more than 584 years is told as that.
            (open(Some(Duration::MAX)).into(), 503, Some("18446744074")),
            (open(None).into(), 503, None),
            (full().into(), 503, Some("1")),
            (elapsed().into(), 504, None),
        ];
        for (rejected, status, retry_after) in cases {
            let response = answer(rejected.clone(), HTTP);
            assert_eq!(response.status(), status, "{rejected}");
            assert_eq!(header(&response, "retry-after"), retry_after, "{rejected}");
            assert_eq!(header(&response, "cache-control"), Some("no-store"));
            assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
            let problem: serde_json::Value = serde_json::from_str(response.body()).expect("it is JSON");
            assert_eq!(problem["status"], status);
            assert_eq!(problem["title"].as_str(), response.status().canonical_reason());
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.starts_with("The service")));
            assert_eq!(problem["retry_after"].as_u64().map(|seconds| seconds.to_string()).as_deref(), retry_after);
        }
    }

    /// The one that keeps this server below a dependency's quota is nothing that the client has done.
    #[test]
    fn w2_a_spent_limiter_is_429_if_it_is_the_servers_own_and_503_if_it_is_of_a_dependency() {
        let limited = || RateLimited::new("stock", 100, Some(Duration::from_secs(3)));
        let cases: [(Rejected, u16, u16); 4] = [
            (limited().into(), 429, 503),
            (open(None).into(), 503, 503),
            (full().into(), 503, 503),
            (elapsed().into(), 504, 504),
        ];
        for (rejected, own, dependency) in cases {
            let (own_answer, answer): (Response<String>, Response<String>) =
                (rejection_response(&rejected), dependency_rejection_response(&rejected));
            assert_eq!((own_answer.status().as_u16(), answer.status().as_u16()), (own, dependency), "{rejected}");
            assert_eq!(own_answer.headers(), answer.headers(), "{rejected}");
            let problem: serde_json::Value = serde_json::from_str(answer.body()).expect("it is JSON");
            assert_eq!(problem["status"], dependency);
        }
        let answer = dependency_rejection_response::<String>(&limited().into());
        assert_eq!(header(&answer, "retry-after"), Some("3"));
    }

    #[test]
    fn w2_no_name_and_no_limit_is_told() {
        for rejected in [open(None).into(), full().into(), Rejected::from(elapsed())] {
            for caller in [HTTP, GRPC] {
                let told = format!("{:?}", answer(rejected.clone(), caller));
                assert!(!told.contains("secret") && !told.contains("4321") && !told.contains("4.321"), "{told}");
            }
        }
    }

    #[test]
    fn w2_a_head_request_has_no_body_and_the_same_head() {
        let rejected = || open(Some(Duration::from_secs(3)));
        let (get, head) = (answer(rejected(), HTTP), answer(rejected(), Caller::Http { takes_body: false }));
        assert_eq!((head.status(), head.headers()), (get.status(), get.headers()));
        assert!(head.body().is_empty());
    }

    #[test]
    fn w2_grpc_is_told_in_its_own_way() {
        let cases: [(Rejected, &str, Option<&str>); 5] = [
            (open(Some(Duration::from_micros(2_000_001))).into(), "14", Some("2001")),
            (open(Some(Duration::MAX)).into(), "14", Some("18446744073710")),
            (open(None).into(), "14", None),
            (full().into(), "8", None),
            (elapsed().into(), "4", None),
        ];
        for (rejected, code, pushback) in cases {
            let response = answer(rejected, GRPC);
            assert_eq!((response.status(), response.body().as_str()), (StatusCode::OK, ""));
            assert_eq!(header(&response, "grpc-status"), Some(code));
            assert_eq!(header(&response, "grpc-retry-pushback-ms"), pushback);
            assert_eq!(header(&response, "content-type"), Some("application/grpc"));
            assert!(header(&response, "grpc-message").is_some_and(|text| text.starts_with("The service")));
        }
    }

    #[test]
    fn w2_who_calls_is_known_by_the_content_type_and_the_method() {
        let caller = |method, content_type: Option<&[u8]>| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            if let Some(value) = content_type {
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_bytes(value).expect("no control"));
            }
            Caller::of(&request)
        };
        let grpc = |content_type| Caller::Grpc { content_type };
        assert_eq!(caller(Method::GET, None), HTTP);
        assert_eq!(caller(Method::HEAD, None), Caller::Http { takes_body: false });
        assert_eq!(caller(Method::POST, Some(b"application/json")), HTTP);
        assert_eq!(caller(Method::POST, Some(b"application/gr\xff")), HTTP);
        assert_eq!(caller(Method::POST, Some(b"application/grpc")), GRPC);
        assert_eq!(caller(Method::POST, Some(b"application/grpc+proto")), GRPC);
        assert_eq!(caller(Method::POST, Some(b"Application/GRPC;a=b")), GRPC);
        assert_eq!(caller(Method::POST, Some(b"application/grpc-web+proto")), grpc("application/grpc-web"));
        assert_eq!(caller(Method::POST, Some(b"application/grpc-web-text")), grpc("application/grpc-web-text"));
    }
}
