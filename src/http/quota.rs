//! The quota that a server announces, in each of the dialects that are in use.

use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderName, HeaderValue};

use super::retry_after::time_of_answer;
use crate::rate_limiter;

/// What a server says of how much it still takes from this client; see [`quota()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AnnouncedQuota {
    /// How many units there are in a whole window.
    pub limit: Option<u64>,
    /// How many units are left. 0: the quota is spent.
    pub remaining: u64,
    /// The time until there are more.
    pub reset_in: Option<Duration>,
    /// How long a window is.
    pub window: Option<Duration>,
}

impl AnnouncedQuota {
    /// A quota of which only so much is known. The fields take the rest.
    pub fn new(remaining: u64) -> Self {
        Self { limit: None, remaining, reset_in: None, window: None }
    }

    /// Writes what is known into the headers of an answer, as a server's quota of this name: `RateLimit`, and
    /// `RateLimit-Policy` if the limit is known, by the IETF's draft 10. Fields of that name that were
    /// there are replaced.
    ///
    /// Times are in whole seconds, rounded up. Characters that the draft does not allow in a name become `?`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use withstand::http::AnnouncedQuota;
    ///
    /// let mut headers = http::HeaderMap::new();
    /// let mut quota = AnnouncedQuota::new(37);
    /// quota.limit = Some(100);
    /// quota.window = Some(Duration::from_secs(900));
    /// quota.reset_in = Some(Duration::from_millis(411_500));
    /// quota.write("default", &mut headers);
    /// assert_eq!(headers["ratelimit"], "\"default\";r=37;t=412");
    /// assert_eq!(headers["ratelimit-policy"], "\"default\";q=100;w=900");
    /// ```
    pub fn write(&self, name: &str, headers: &mut HeaderMap) {
        let mut quoted = String::from("\"");
        for next in name.chars() {
            if matches!(next, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(if matches!(next, ' '..='~') { next } else { '?' });
        }
        quoted.push('"');
        let whole = |span: Duration| span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0));
        let time =
            |key, span: Option<Duration>| span.map_or_else(String::new, |span| format!(";{key}={}", whole(span)));
        let item = format!("{quoted};r={}{}", self.remaining, time("t", self.reset_in));
        let policy = self.limit.map(|limit| format!("{quoted};q={limit}{}", time("w", self.window)));
        for (field, text) in [(&RATE_LIMIT, Some(item)), (&RATE_LIMIT_POLICY, policy)] {
            headers.remove(field);
            if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
                // A map that is full (32,768 headers) goes without.
                let _ = headers.try_insert(field, value);
            }
        }
    }
}

/// What a server's own rate limiter tells of itself: see [`RateLimiter::quota`](crate::RateLimiter::quota).
impl From<rate_limiter::Quota> for AnnouncedQuota {
    fn from(quota: rate_limiter::Quota) -> Self {
        let rate_limiter::Quota { limit, remaining, reset_in, window } = quota;
        let (limit, remaining) = (Some(u64::from(limit)), u64::from(remaining));
        Self { limit, remaining, reset_in: Some(reset_in), window: Some(window) }
    }
}

/// So many members of a list are read. A server announces a handful.
const MOST_MEMBERS: usize = 64;

/// A longer value is not read. The headers come from a stranger, and reading them must cost little.
const LONGEST_VALUE: usize = 8 << 10;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Reads the quota that the headers of an answer announce.
///
/// The first of these that can be read counts:
///
/// | headers | where |
/// |---|---|
/// | `RateLimit: "default";r=37;t=412`, `RateLimit-Policy: "default";q=100;w=900` | the IETF's [draft], 8 to 10 |
/// | `RateLimit: limit=100, remaining=37, reset=412` | draft 7 |
/// | `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset` | draft 6 and before |
/// | `X-RateLimit-Remaining`, and so on; `X-Rate-Limit-Remaining`, and so on | what came before the drafts |
///
/// - Where several quotas are announced, the one with the fewest units left counts; of two that are spent, the one that
///   is spent for longer.
/// - A `-Reset` below 10⁹ is the number of seconds until then. A larger one is the time in seconds since 1970, and one
///   of at least 10¹¹ the time in milliseconds since 1970. These two are measured from the answer's own `Date`, where
///   there is one.
/// - `X-RateLimit-Reset-After` comes before `X-RateLimit-Reset`. Seconds may have a fraction.
///
/// What cannot be read is ignored. The function never panics, whatever the bytes are. The first 64 members of a list are
/// read, and no value that is longer than 8 KiB, so what a stranger sends costs little.
///
/// ```
/// # use std::time::Duration;
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("x-ratelimit-remaining", "37".parse().unwrap());
/// headers.insert("x-ratelimit-reset-after", "4.5".parse().unwrap());
/// let quota = withstand::http::quota(&headers).unwrap();
/// assert_eq!((quota.remaining, quota.reset_in), (37, Some(Duration::from_millis(4500))));
/// ```
///
/// [draft]: https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
pub fn quota(headers: &HeaderMap) -> Option<AnnouncedQuota> {
    read(headers, time_of_answer(headers))
}

pub(super) fn read(headers: &HeaderMap, now: SystemTime) -> Option<AnnouncedQuota> {
    read_one_field(headers).or_else(|| {
        static NAMES: [Names; 3] = [
            Names::new("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset-after", "ratelimit-reset"),
            Names::new("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset-after", "x-ratelimit-reset"),
            Names::new(
                "x-rate-limit-limit",
                "x-rate-limit-remaining",
                "x-rate-limit-reset-after",
                "x-rate-limit-reset",
            ),
        ];
        NAMES.iter().find_map(|names| names.read(headers, now))
    })
}

/// The fields of the dialects that have one for each number.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset_after: HeaderName,
    reset: HeaderName,
}

impl Names {
    const fn new(limit: &'static str, remaining: &'static str, reset_after: &'static str, reset: &'static str) -> Self {
        Self {
            limit: HeaderName::from_static(limit),
            remaining: HeaderName::from_static(remaining),
            reset_after: HeaderName::from_static(reset_after),
            reset: HeaderName::from_static(reset),
        }
    }

    fn read(&self, headers: &HeaderMap, now: SystemTime) -> Option<AnnouncedQuota> {
        let value = |name| headers.get(name).and_then(text);
        let remaining = whole(value(&self.remaining)?)?;
        let reset_in = value(&self.reset_after).and_then(seconds);
        let reset_in = reset_in.or_else(|| until(value(&self.reset)?, now));
        // Some say what the limit is made of, too: `100, 100;w=900`.
        let mut limits = value(&self.limit).into_iter().flat_map(|limits| split(limits, ','));
        let limit = limits.next().and_then(|first| whole(split(first, ';').next()?));
        let window = limits.find_map(|policy| seconds(parameter(policy, "w")?));
        Some(AnnouncedQuota { limit, remaining, reset_in, window })
    }
}

/// The dialects that have one field, `RateLimit`.
fn read_one_field(headers: &HeaderMap) -> Option<AnnouncedQuota> {
    let policies = || members(headers, &RATE_LIMIT_POLICY);
    let by_item = members(headers, &RATE_LIMIT).filter_map(|item| {
        let remaining = whole(parameter(item, "r")?)?;
        Some((remaining, parameter(item, "t").and_then(seconds), item))
    });
    let tightest = by_item.min_by_key(|(remaining, reset_in, _)| (*remaining, std::cmp::Reverse(*reset_in)));
    if let Some((remaining, reset_in, item)) = tightest {
        // Of the tightest alone: to look for the policy of each item would cost a stranger's items times its policies.
        let name = split(item, ';').next();
        let policy = policies().find(|policy| split(policy, ';').next() == name);
        return Some(AnnouncedQuota {
            limit: policy.and_then(|policy| whole(parameter(policy, "q")?)),
            remaining,
            reset_in,
            window: policy.and_then(|policy| seconds(parameter(policy, "w")?)),
        });
    }
    let value = |key: &str| {
        let mut entries = members(headers, &RATE_LIMIT).filter_map(|entry| split(entry, ';').next()?.split_once('='));
        entries.find_map(|(name, value)| name.trim().eq_ignore_ascii_case(key).then(|| value.trim()))
    };
    Some(AnnouncedQuota {
        limit: value("limit").and_then(whole),
        remaining: whole(value("remaining")?)?,
        reset_in: value("reset").and_then(seconds),
        window: policies().find_map(|policy| seconds(parameter(policy, "w")?)),
    })
}

/// The first members of a list, whose lines are one list together.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).iter().filter_map(text).flat_map(|line| split(line, ',')).take(MOST_MEMBERS)
}

/// A value that is text, and not too long.
fn text(value: &HeaderValue) -> Option<&str> {
    (value.len() <= LONGEST_VALUE).then(|| value.to_str().ok())?.map(str::trim)
}

/// The value of a member's parameter, `37` for `r` in `"default";r=37`.
fn parameter<'a>(member: &'a str, key: &str) -> Option<&'a str> {
    let parameters = split(member, ';').skip(1);
    let mut values = parameters.filter_map(|parameter| parameter.split_once('='));
    values.find_map(|(name, value)| (name.trim() == key).then(|| value.trim()))
}

/// The parts of a text between separators. A separator within quotes separates nothing.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(move |next: char| {
        #[cfg(test)]
        tests::STEPS.set(tests::STEPS.get() + 1);
        let was_escaped = std::mem::take(&mut is_escaped);
        match next {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => return next == separator && !is_quoted,
        }
        false
    });
    parts.map(str::trim)
}

/// A number of units; one that is too large for a `u64` is the largest.
fn whole(text: &str) -> Option<u64> {
    is_digits(text).then(|| text.parse().unwrap_or(u64::MAX))
}

/// A number of seconds, with a fraction or without.
fn seconds(text: &str) -> Option<Duration> {
    let (before, after) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = whole(before)?;
    if !is_digits(after) {
        return None;
    }
    // What is below a nanosecond is left out.
    let nanos = after.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(Duration::new(seconds, nanos.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))))
}

/// The time until a `-Reset`. See [`quota()`] for how its three units are told apart.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    const MOMENT: u64 = 1_000_000_000;
    const MOMENT_IN_MILLIS: u64 = 100_000_000_000;
    let value = seconds(text)?;
    let moment = match value.as_secs() {
        ..MOMENT => return Some(value),
        MOMENT..MOMENT_IN_MILLIS => value,
        millis => Duration::from_millis(millis),
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Some(moment.saturating_sub(now))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing::headers, *};

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;
    /// Sun, 13 Sep 2026 12:26:40 GMT
    const LATER: u64 = 1_789_302_400;

    fn read_at(now: u64, lines: &[(&str, &str)]) -> Option<AnnouncedQuota> {
        read(&headers(lines), SystemTime::UNIX_EPOCH + Duration::from_secs(now))
    }

    fn quota_of(lines: &[(&str, &str)]) -> Option<(u64, Option<u64>)> {
        read_at(NOW, lines).map(|quota| (quota.remaining, quota.reset_in.map(|span| span.as_secs())))
    }

    #[test]
    fn w1_the_newest_draft_is_read_with_its_policy() {
        let lines = [("ratelimit", "\"default\";r=37;t=412"), ("ratelimit-policy", "\"default\";q=100;w=900")];
        let whole = AnnouncedQuota {
            limit: Some(100),
            remaining: 37,
            reset_in: Some(Duration::from_secs(412)),
            window: Some(Duration::from_secs(900)),
        };
        assert_eq!(read_at(NOW, &lines), Some(whole));
        assert_eq!(read_at(NOW, &lines[..1]), Some(AnnouncedQuota { limit: None, window: None, ..whole }));
        let other = [lines[0], ("ratelimit-policy", "\"daily\";q=9;w=9 , \"default\" ; q=100;qu=\"a;w=1\"; w=900")];
        assert_eq!(read_at(NOW, &other), Some(whole));
    }

    #[test]
    fn w1_of_several_quotas_the_tightest_counts() {
        assert_eq!(quota_of(&[("ratelimit", "\"a\";r=9;t=1, \"b\";r=3;t=2,\"c\";r=5;t=3")]), Some((3, Some(2))));
        assert_eq!(quota_of(&[("ratelimit", "\"a\";r=0;t=1, \"b\";r=0;t=60")]), Some((0, Some(60))));
        assert_eq!(quota_of(&[("ratelimit", "\"a\";r=9;t=1"), ("ratelimit", "\"b\";r=3;t=2")]), Some((3, Some(2))));
    }

    thread_local! {
        /// How many characters were looked at.
        pub(super) static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn w1_the_cost_grows_with_the_length_of_the_headers_and_no_faster() {
        let steps = |members: usize| {
            let lines = [("ratelimit", "\"a\";r=1,".repeat(members)), ("ratelimit-policy", "\"b\",".repeat(members))];
            let before = STEPS.get();
            let quota = quota_of(&lines.each_ref().map(|(name, value)| (*name, value.as_str())));
            assert_eq!(quota, Some((1, None)));
            STEPS.get() - before
        };
        assert!(steps(MOST_MEMBERS) <= 2 * steps(MOST_MEMBERS / 2) + 100, "it grows with the length");
        assert!(steps(10 * MOST_MEMBERS) <= steps(MOST_MEMBERS) + 100, "and not for ever");
        // Nothing here has an end that could be found.
        let hostile = [("ratelimit", "a;r=1,".repeat(1300)), ("ratelimit-policy", "\"b,".repeat(2700))];
        let before = STEPS.get();
        assert!(quota_of(&hostile.each_ref().map(|(name, value)| (*name, value.as_str()))).is_some());
        assert!(STEPS.get() - before < 40_000, "{} steps for 16,000 bytes", STEPS.get() - before);
    }

    #[test]
    fn w1_what_is_too_long_is_not_read() {
        let many = |spent: usize| [vec!["\"a\";r=5"; spent], vec!["\"b\";r=0"]].concat().join(",");
        assert_eq!(quota_of(&[("ratelimit", &many(MOST_MEMBERS - 1))]), Some((0, None)));
        assert_eq!(quota_of(&[("ratelimit", &many(MOST_MEMBERS))]), Some((5, None)), "it is the 65th member");
        let long = |length: usize| format!("\"{}\";r=5", "a".repeat(length - 6));
        assert_eq!(quota_of(&[("ratelimit", &long(LONGEST_VALUE))]), Some((5, None)));
        assert_eq!(quota_of(&[("ratelimit", &long(LONGEST_VALUE + 1))]), None);
        let digits = "0".repeat(LONGEST_VALUE + 1);
        assert_eq!(quota_of(&[("x-ratelimit-remaining", &digits)]), None);
    }

    #[test]
    fn w1_separators_within_quotes_separate_nothing() {
        assert_eq!(quota_of(&[("ratelimit", "\"a, \\\" ;r=0\";r=3;t=2")]), Some((3, Some(2))));
        assert_eq!(quota_of(&[("ratelimit", "\"a\";pk=:QUJD,PQ==:;r=3;t=2")]), Some((3, Some(2))));
        // A quote that is not closed hides all that follows.
        assert_eq!(quota_of(&[("ratelimit", "\"a;r=3;t=2, \"b\";r=1")]), None);
    }

    #[test]
    fn w1_the_older_drafts_are_read() {
        let seventh = [("ratelimit", "limit=100, remaining=37, reset=412"), ("ratelimit-policy", "100;w=900")];
        let sixth = [("ratelimit-limit", "100, 100;w=900"), ("ratelimit-remaining", "37"), ("ratelimit-reset", "412")];
        for lines in [&seventh[..], &sixth] {
            let whole = AnnouncedQuota {
                limit: Some(100),
                remaining: 37,
                reset_in: Some(Duration::from_secs(412)),
                window: Some(Duration::from_secs(900)),
            };
            assert_eq!(read_at(NOW, lines), Some(whole), "{lines:?}");
        }
    }

    #[test]
    fn w1_what_came_before_the_drafts_is_read_whatever_its_reset_means() {
        let remaining = ("x-ratelimit-remaining", "3");
        let later = |reset| {
            let quota = read_at(LATER, &[remaining, ("x-ratelimit-reset", reset)]).expect("it is announced");
            quota.reset_in.map(|span| span.as_secs_f64())
        };
        assert_eq!(later("30"), Some(30.0));
        assert_eq!(later("999999999"), Some(999_999_999.0));
        assert_eq!(later("1789302430"), Some(30.0), "seconds since 1970");
        assert_eq!(later("1789302430.25"), Some(30.25), "with a fraction");
        assert_eq!(later("1789302430500"), Some(30.5), "milliseconds since 1970");
        assert_eq!(later("1789302370"), Some(0.0), "it has passed");
        assert_eq!(later("-30"), None);
        assert_eq!(later("tomorrow"), None);
        let with_after = [remaining, ("x-ratelimit-reset", "1789302430"), ("x-ratelimit-reset-after", "4.5")];
        assert_eq!(read_at(LATER, &with_after).and_then(|quota| quota.reset_in), Some(Duration::from_millis(4500)));
        let spelled = [("x-rate-limit-remaining", "3"), ("x-rate-limit-reset", "1789302430")];
        assert_eq!(read_at(LATER, &spelled).map(|quota| quota.remaining), Some(3));
    }

    #[test]
    fn w1_what_cannot_be_read_is_ignored() {
        for value in ["", " ", "-1", "1e3", "1.5", "many", "\u{661}"] {
            assert_eq!(quota_of(&[("x-ratelimit-remaining", value)]), None, "{value:?}");
        }
        for value in ["", "37", "\"default\"", "\"default\";t=412", "\"default\";r", "\"default\";r=;t=1", ";r", "r=3"]
        {
            assert_eq!(quota_of(&[("ratelimit", value)]), None, "{value:?}");
            let legacy = [("ratelimit", value), ("x-ratelimit-remaining", "3")];
            assert_eq!(quota_of(&legacy), Some((3, None)), "{value:?}: the next dialect is asked");
        }
        assert_eq!(
            quota_of(&[("ratelimit", &format!("\"a\";r={0};t={0}", "9".repeat(31)))]),
            Some((u64::MAX, Some(u64::MAX)))
        );
        let mut bytes = headers(&[]);
        bytes.insert("ratelimit", HeaderValue::from_bytes(b"\"\xff\";r=0;t=1").expect("any byte but a control"));
        assert_eq!(quota(&bytes), None);
    }

    #[test]
    fn w2_a_quota_is_written_in_whole_seconds_that_are_never_too_short() {
        let mut told = HeaderMap::new();
        let span = Some(Duration::from_millis(1001));
        let quota = AnnouncedQuota { limit: Some(100), remaining: 37, reset_in: span, window: Some(Duration::MAX) };
        quota.write("a \"b\" \\ \u{e9}\n", &mut told);
        assert_eq!(told["ratelimit"], "\"a \\\"b\\\" \\\\ ??\";r=37;t=2");
        assert_eq!(told["ratelimit-policy"], "\"a \\\"b\\\" \\\\ ??\";q=100;w=18446744073709551615");
        AnnouncedQuota { limit: None, reset_in: None, ..quota }.write("", &mut told);
        assert_eq!((&told["ratelimit"], told.get("ratelimit-policy")), (&HeaderValue::from_static("\"\";r=37"), None));
    }

    #[test]
    fn w1_of_ten_thousand_lines_the_first_are_read() {
        let mut headers = HeaderMap::new();
        for number in 0..10_000_u32 {
            headers.append("ratelimit", format!("\"{number}\";r={};t=9", 10_000 - number).parse().expect("ASCII"));
            headers.append("retry-after", "soon".parse().expect("ASCII"));
        }
        assert_eq!(quota(&headers).map(|quota| quota.remaining), Some(9_937));
        assert_eq!(super::super::retry_after(&headers), None);
    }

    proptest! {
        #[test]
        fn w1_any_bytes_in_any_header_are_read_without_a_panic(
            lines: Vec<(prop::sample::Index, Vec<u8>)>,
            grammar in prop::collection::vec("[\"\\\\a;,=rtqw0-9. :]{0,40}", 0..4),
        ) {
            const NAMES: [&str; 9] = [
                "date", "retry-after", "ratelimit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset",
                "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-reset-after",
            ];
            let mut headers = HeaderMap::new();
            for (name, bytes) in &lines {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    headers.append(*name.get(&NAMES), value);
                }
            }
            for text in grammar {
                headers.append("ratelimit", text.parse().expect("visible ASCII"));
                headers.append("ratelimit-policy", text.parse().expect("visible ASCII"));
            }
            let _ = (quota(&headers), super::super::retry_after(&headers));
        }

        /// What a server writes, a client reads.
        #[test]
        fn w2_a_quota_that_a_server_writes_is_read_by_its_client(
            name: String, limit: Option<u64>, remaining: u64, reset: Option<u32>, window: Option<u32>,
        ) {
            let [reset_in, window] = [reset, window].map(|seconds| seconds.map(|n| Duration::from_secs(n.into())));
            let written = AnnouncedQuota { limit, remaining, reset_in, window: limit.and(window) };
            let mut told = headers(&[("ratelimit", "\"old\";r=0"), ("ratelimit-policy", "\"old\";q=0")]);
            written.write(&name, &mut told);
            prop_assert_eq!(quota(&told), Some(written));
        }

        /// What is written by the newest draft is read.
        #[test]
        fn w1_a_quota_is_read_as_it_was_written(
            name in "[ !#-\\[\\]-~]{0,20}", limit: u64, remaining: u64, reset: u64, window: u64,
        ) {
            let item = format!("\"{name}\";r={remaining};t={reset}");
            let policy = format!("\"other\";q=1;w=1, \"{name}\";q={limit};w={window}");
            let [reset_in, window] = [reset, window].map(|seconds| Some(Duration::from_secs(seconds)));
            prop_assume!(name != "other");
            prop_assert_eq!(
                read_at(NOW, &[("ratelimit", &item), ("ratelimit-policy", &policy)]),
                Some(AnnouncedQuota { limit: Some(limit), remaining, reset_in, window })
            );
        }
    }
}
