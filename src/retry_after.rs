//! The `Retry-After` header.

use std::time::{Duration, SystemTime};

use crate::clock;

/// Reads the value of an HTTP `Retry-After` header: how long to wait from now.
///
/// Both forms of [RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3) are read: a
/// number of seconds, and a date. A date that has passed gives zero, a number beyond what a `u64` holds the longest span there is, and
/// anything else `None`. It never panics, whatever the bytes.
///
/// ```
/// # use {std::time::Duration, withstand::parse_retry_after};
/// assert_eq!(parse_retry_after("120"), Some(Duration::from_secs(120)));
/// assert_eq!(parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
/// assert_eq!(parse_retry_after("soon"), None);
/// ```
pub fn parse_retry_after(value: impl AsRef<[u8]>) -> Option<Duration> {
    parse(value.as_ref(), clock::wall())
}

fn parse(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the date of the RFC's examples.
    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn seconds(value: &str) -> Option<u64> {
        parse(value.as_bytes(), moment()).map(|span| span.as_secs())
    }

    #[test]
    fn a_number_is_seconds() {
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" \t120 "), Some(120));
        assert_eq!(seconds("18446744073709551616"), Some(u64::MAX));
    }

    #[test]
    fn a_date_in_any_of_its_three_spellings_is_measured_from_now() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(seconds("Sun Nov  6 08:50:37 1994"), Some(60));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0));
    }

    #[test]
    fn anything_else_is_nothing() {
        for value in ["", " ", "-1", "+1", "1.5", "1e3", "0x10", "soon", "12 0", "Sun, 06 Nov 1994", "\u{661}\u{662}"] {
            assert_eq!(seconds(value), None, "{value:?}");
        }
        assert_eq!(parse(b"\xff\xfe1", moment()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, moment());
        }

        #[test]
        fn any_text_that_looks_like_a_date_is_read_without_a_panic(
            text in "[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,5} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        ) {
            let _ = parse(text.as_bytes(), moment());
        }
    }
}
