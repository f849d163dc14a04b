//! How long a gRPC caller waits.

use std::time::Duration;

use ::http::HeaderMap;

/// How long the caller of a gRPC request waits, by its header `grpc-timeout`.
///
/// The [gRPC protocol](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) says how it is written: at most
/// eight digits, and a unit: `H`, `M`, `S`, `m`, `u` or `n`, which is hours, minutes, seconds, milliseconds,
/// microseconds or nanoseconds. Anything else is `None`, as if there were no header. 0 says that no time is left.
///
/// ```
/// # use std::time::Duration;
/// use http::{HeaderMap, Request};
/// use withstand::{Deadline, http::grpc_timeout};
///
/// let mut headers = HeaderMap::new();
/// headers.insert("grpc-timeout", "250m".parse().unwrap());
/// assert_eq!(grpc_timeout(&headers), Some(Duration::from_millis(250)));
///
/// # #[cfg(feature = "tower")]
/// let layer = Deadline::layer_fn(|request: &Request<tonic::body::Body>| grpc_timeout(request.headers()));
/// ```
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 60 * 60),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::{super::testing::headers, *};

    #[test]
    fn w2_a_grpc_timeout_is_read_as_the_protocol_writes_it() {
        for (text, nanos) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
            ("6n", 6),
            ("0S", 0),
            ("00000010m", 10_000_000),
            ("99999999H", 99_999_999 * 3_600_000_000_000),
        ] {
            let read = grpc_timeout(&headers(&[("grpc-timeout", text)])).map(|span| span.as_nanos());
            assert_eq!(read, Some(nanos), "{text}");
        }
        for garbage in ["", "S", "1", "1s", "1h", "-1S", "+1S", "1.5S", " 1S", "1 S", "1S ", "100000000n", "١S"] {
            let mut told = HeaderMap::new();
            told.insert("grpc-timeout", HeaderValue::from_bytes(garbage.as_bytes()).expect("no control characters"));
            assert_eq!(grpc_timeout(&told), None, "{garbage:?}");
        }
        assert_eq!(grpc_timeout(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn w2_any_bytes_are_a_grpc_timeout_or_none_without_a_panic(bytes: Vec<u8>) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = grpc_timeout(&HeaderMap::from_iter([(::http::HeaderName::from_static("grpc-timeout"), value)]));
            }
        }
    }
}
