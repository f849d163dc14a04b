//! The `Retry-After` header.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use crate::clock;

/// Reads the value of an HTTP `Retry-After` header: how long to wait from now.
///
/// The header holds a number of seconds or a date: see
/// [RFC 9110, section 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3).
///
/// - **A number** is a number of seconds. Some servers send a fraction, though the RFC allows whole seconds only. A
///   fraction is rounded up to the next whole second. A number above `u64::MAX` gives `u64::MAX` seconds.
/// - **A date** may have any of the three spellings that HTTP allows. A date that has passed gives zero. This is also
///   true of dates before 1970. A date with a wrong day of the week is not a date.
/// - **Anything else** gives `None`. Examples are `-1`, `1e3`, `.5`, `5.` and the empty value.
///
/// Spaces and tabs around the value are ignored. The function never panics, whatever the bytes are.
///
/// ```
/// # use {std::time::Duration, withstand::parse_retry_after};
/// assert_eq!(parse_retry_after("120"), Some(Duration::from_secs(120)));
/// assert_eq!(parse_retry_after("299.997"), Some(Duration::from_secs(300)));
/// assert_eq!(parse_retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
/// assert_eq!(parse_retry_after("soon"), None);
/// ```
pub fn parse_retry_after(value: impl AsRef<[u8]>) -> Option<Duration> {
    parse(value.as_ref(), clock::wall())
}

pub(crate) fn parse(value: &[u8], now: SystemTime) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    parse_seconds(value).map(Duration::from_secs).or_else(|| parse_date(value, now))
}

fn parse_seconds(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let rounded_up = u64::from(fraction.bytes().any(|digit| digit != b'0'));
    // Digits alone fail to parse only if the number is too large.
    Some(whole.parse().unwrap_or(u64::MAX).saturating_add(rounded_up))
}

fn parse_date(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(date) = httpdate::parse_http_date(value) {
        return Some(date.duration_since(now).unwrap_or(Duration::ZERO));
    }
    httpdate::parse_http_date(&two_thousand_years_later(value)?).ok().map(|_| Duration::ZERO)
}

/// The same date 2,000 years later, in a spelling that `httpdate` reads; `None` if the value cannot be a date.
///
/// `httpdate` knows no year before 1970. The calendar repeats every 400 years, and so do the days of the week. So a
/// value that `httpdate` does not read, but reads with 2,000 years added, is a date before 1970.
fn two_thousand_years_later(value: &str) -> Option<String> {
    match value.len() {
        // Wed, 31 Dec 1969 23:59:59 GMT
        29 => add_two_thousand_years(value, 12..16),
        // Wed Dec 31 23:59:59 1969
        24 => add_two_thousand_years(value, 20..24),
        // Wednesday, 31-Dec-69 23:59:59 GMT
        _ => from_two_digits(value),
    }
}

fn add_two_thousand_years(value: &str, place: Range<usize>) -> Option<String> {
    let (before, after) = (value.get(..place.start)?, value.get(place.end..)?);
    let year = value.get(place).filter(|year| is_digits(year))?.parse::<u16>().ok()?;
    Some(format!("{before}{}{after}", year + 2000))
}

/// `httpdate` reads two digits as a year from 1970 to 2069. If the day of the week is wrong in that year, the digits
/// may still mean a year from 1900 to 1969.
fn from_two_digits(value: &str) -> Option<String> {
    const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let (weekday, rest) = value.split_once(", ").filter(|(weekday, _)| WEEKDAYS.contains(weekday))?;
    let (date, time) = rest.split_once(' ')?;
    let (day, month_and_year) = date.split_once('-')?;
    let (month, year) = month_and_year.split_once('-')?;
    Some(format!("{}, {day} {month} 39{year} {time}", &weekday[..3]))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
    fn a_fraction_of_a_second_is_rounded_up() {
        assert_eq!(seconds("299.997"), Some(300));
        assert_eq!(seconds(" 0.5 "), Some(1));
        assert_eq!(seconds("0.00000000000000000000000000000000000000000000000000001"), Some(1));
        assert_eq!(seconds("0.0"), Some(0));
        assert_eq!(seconds("120.000"), Some(120));
        assert_eq!(seconds("007.5"), Some(8));
        assert_eq!(seconds("18446744073709551615.5"), Some(u64::MAX));
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
    fn a_date_before_1970_has_passed() {
        for date in [
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Wednesday, 31-Dec-69 23:59:59 GMT",
            "Wed Dec 31 23:59:59 1969",
            "Thu, 29 Feb 1968 00:00:00 GMT",
            "Thursday, 29-Feb-68 00:00:00 GMT",
            "Thu Feb 29 00:00:00 1968",
            "Mon Jan  1 00:00:00 1900",
            // What `0000-01-01` and `0001-01-01` become, the zeros of some databases and languages.
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Mon, 01 Jan 0001 00:00:00 GMT",
        ] {
            assert_eq!(seconds(date), Some(0), "{date:?}");
        }
    }

    /// 100 years are never a whole number of weeks, so one century alone fits.
    #[test]
    fn the_weekday_says_which_century_two_digits_mean() {
        assert_eq!(seconds("Monday, 01-Jan-00 00:00:00 GMT"), Some(0), "1900");
        assert_eq!(seconds("Saturday, 01-Jan-00 00:00:00 GMT"), Some(162_573_023), "2000");
        assert_eq!(seconds("Sunday, 01-Jan-00 00:00:00 GMT"), None, "neither");
    }

    #[test]
    fn a_date_before_1970_that_is_in_no_calendar_is_nothing() {
        for value in [
            "Thu, 31 Dec 1969 23:59:59 GMT",
            "Thursday, 31-Dec-69 23:59:59 GMT",
            "Thu Dec 31 23:59:59 1969",
            "Wed, 29 Feb 1967 00:00:00 GMT",
            "Wed, 31 Dec 1969 24:00:00 GMT",
            "Sun, 31 Dec +969 23:59:59 GMT",
            "Wed, 31 Dec 969 23:59:59 GMT",
            "Wed, 31 Dec -999 23:59:59 GMT",
            "Wed, 31 Dec 1969 23:59:59 CET",
            "Wedding, 31-Dec-69 23:59:59 GMT",
            "Wed, 31-Dec-69 23:59:59 GMT",
            "Wednesday, 31 Dec 69 23:59:59 GMT",
            "Wednesday, 31-Dec-1969 23:59:59 GMT",
            "Wednesday, 31-Dec-\u{661} 23:59:59 GMT",
            "Wed, 31 Dec \u{661}\u{662} 23:59:59 GMT",
            "Wed Dec 31 23:59:59 \u{661}\u{662}",
        ] {
            assert_eq!(seconds(value), None, "{value:?}");
        }
    }

    #[test]
    fn anything_else_is_nothing() {
        for value in ["", " ", "soon", "12 0", "Sun, 06 Nov 1994", "\u{661}\u{662}"] {
            assert_eq!(seconds(value), None, "{value:?}");
        }
        for value in ["-1", "+1", "-0.5", "1e3", "1.5e3", "0x10", "1_000", "1,5", "1.5s", "1.+5", "1.-5", "inf", "NaN"]
        {
            assert_eq!(seconds(value), None, "{value:?}");
        }
        // A number has digits on both sides of its point, or no point.
        for value in [".", ".5", "5.", "1.5.2", "1..5", "1 .5", "1. 5"] {
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

        /// The calendar repeats itself after 400 years.
        #[test]
        fn what_is_a_date_after_1970_was_one_400_years_before(second in 0..400 * 31_556_952_u64) {
            let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            let [weekday, day, month, year, time, _] = date.split(' ').collect::<Vec<_>>()[..] else { panic!("{date}") };
            let year = year.parse::<u16>().expect("it has four digits") - 400;
            for earlier in [
                format!("{weekday} {day} {month} {year} {time} GMT"),
                format!("{} {month} {day} {time} {year}", &weekday[..3]),
            ] {
                prop_assert_eq!(seconds(&earlier), Some(0), "{}", earlier);
            }
        }
    }
}
