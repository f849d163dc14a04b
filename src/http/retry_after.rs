//! When a server wants to be asked again.

use std::time::{Duration, SystemTime};

use ::http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

use super::quota;
use crate::{clock, retry_after};

/// How long the server that sent these headers wants to be left alone.
///
/// - **`Retry-After`** comes first: seconds or a date, as [`parse_retry_after`](crate::parse_retry_after) reads them. A
///   date is measured from the answer's own `Date`, where there is one, so a wrong clock on either side does not
///   matter. Of several lines that can be read the longest wait counts.
/// - **A spent quota** otherwise: if the headers that [`quota()`](super::quota()) reads say that nothing is left, the
///   time until there is more.
/// - **Anything else** gives `None`, and a quota that is not spent too.
///
/// What cannot be read is ignored. The function never panics, whatever the bytes are. A wait may be of any length:
/// a retry gives up above its `max_retry_after`.
///
/// ```
/// # use std::time::Duration;
/// use http::HeaderMap;
/// use withstand::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("date", "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
/// headers.insert("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT".parse().unwrap());
/// assert_eq!(retry_after(&headers), Some(Duration::from_secs(30)));
///
/// let mut headers = HeaderMap::new();
/// headers.insert("ratelimit", "\"default\";r=0;t=12".parse().unwrap());
/// assert_eq!(retry_after(&headers), Some(Duration::from_secs(12)));
/// ```
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let now = time_of_answer(headers);
    let lines = headers.get_all(RETRY_AFTER).iter();
    let told = lines.filter_map(|line| retry_after::parse(line.as_bytes(), now)).max();
    told.or_else(|| quota::read(headers, now).filter(|quota| quota.remaining == 0)?.reset_in)
}

/// The answer's own date, by the server's clock. Where it tells none, ours.
pub(super) fn time_of_answer(headers: &HeaderMap) -> SystemTime {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    date.unwrap_or_else(clock::wall)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::headers, *};

    fn seconds(lines: &[(&str, &str)]) -> Option<u64> {
        retry_after(&headers(lines)).map(|wait| wait.as_secs())
    }

    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");

    #[test]
    fn w1_a_date_is_measured_from_the_answers_own_date() {
        assert_eq!(seconds(&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(60));
        assert_eq!(seconds(&[DATE, ("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT")]), Some(0));
        // Without a date of its own, and with one that cannot be read, it is measured from our clock.
        assert_eq!(seconds(&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(0));
        assert_eq!(seconds(&[("date", "today"), ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")]), Some(0));
    }

    #[test]
    fn w1_of_several_lines_the_longest_that_can_be_read_counts() {
        assert_eq!(seconds(&[("retry-after", "2"), ("retry-after", "7"), ("retry-after", "soon")]), Some(7));
        assert_eq!(seconds(&[("retry-after", "soon")]), None);
        assert_eq!(seconds(&[("retry-after", &"9".repeat(31))]), Some(u64::MAX));
    }

    #[test]
    fn w1_retry_after_comes_before_a_quota_and_a_quota_counts_only_when_it_is_spent() {
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")];
        assert_eq!(seconds(&spent), Some(30));
        assert_eq!(seconds(&[("retry-after", "7"), spent[0], spent[1]]), Some(7));
        assert_eq!(seconds(&[("retry-after", "soon"), spent[0], spent[1]]), Some(30));
        assert_eq!(seconds(&[("x-ratelimit-remaining", "1"), spent[1]]), None);
        assert_eq!(seconds(&[spent[0]]), None);
        assert_eq!(seconds(&[]), None);
    }
}
