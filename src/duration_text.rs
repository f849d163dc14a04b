//! Durations as text, as settings files write them: `250ms`, `1.5s`, `1m 30s`.
//!
//! It reads what humantime and Go print, and more: numbers with units, from the largest unit to the smallest, with or
//! without spaces, each number whole or with a fraction. It prints the same value in one form: days, hours and minutes
//! as whole numbers, then seconds; or, below a second, in the largest unit that fits. Both are exact to the nanosecond.

use std::{fmt, time::Duration};

/// No end: [`Duration::MAX`].
const FOREVER: &str = "forever";

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// From the largest to the smallest, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// What is wrong with the text of a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows a duration as text.
pub(crate) struct AsText(pub(crate) Duration);

impl fmt::Display for AsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Duration::MAX {
            return f.write_str(FOREVER);
        }
        let mut left = self.0.as_nanos();
        let mut gap = "";
        for (unit, nanos) in &UNITS[..3] {
            if left >= *nanos {
                write!(f, "{gap}{}{unit}", left / nanos)?;
                (left, gap) = (left % nanos, " ");
            }
        }
        if left == 0 {
            return if gap.is_empty() { f.write_str("0s") } else { Ok(()) };
        }
        // What is left beside a minute is said in seconds, though it be less than one.
        let fits = |(_, nanos): &&(&str, u128)| left >= *nanos || (!gap.is_empty() && *nanos == NANOS_PER_SECOND);
        let (unit, nanos) = UNITS[3..].iter().find(fits).unwrap_or(&UNITS[6]);
        let (whole, fraction) = (left / nanos, left % nanos);
        write!(f, "{gap}{whole}")?;
        if fraction > 0 {
            let digits = format!("{:0width$}", fraction, width = nanos.ilog10() as usize);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

/// Reads a duration from its text.
pub(crate) fn parse(text: &str) -> Result<Duration, Unreadable> {
    let refuse = |why: String| Err(Unreadable(format!("`{text}` is not a duration: {why}")));
    let mut rest = text.trim();
    match rest {
        "" => return refuse("it is empty; write \"5s\"".into()),
        "0" => return Ok(Duration::ZERO),
        FOREVER => return Ok(Duration::MAX),
        _ if rest.starts_with('-') => return refuse("it must not be negative".into()),
        _ => {}
    }
    let (mut sum, mut smallest) = (0_u128, u128::MAX);
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split(after.trim_start(), |c| !c.is_ascii_digit() && !c.is_whitespace() && c != '.');
        rest = after.trim_start();
        let Some((whole, fraction)) = digits(number) else {
            return refuse("it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\"".into());
        };
        let nanos = match unit {
            "" => return refuse(format!("the number {number} needs a unit; write \"{number}s\"")),
            "day" | "days" => UNITS[0].1,
            "µs" | "μs" => UNITS[5].1,
            "y" | "year" | "years" | "month" | "months" => {
                return refuse("years and months have no fixed length; write days, such as \"30d\"".into());
            }
            _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, nanos)) => *nanos,
                None => return refuse(format!("`{unit}` is no unit; the units are d, h, m, s, ms, us and ns")),
            },
        };
        if nanos >= smallest {
            return refuse("units go from the largest to the smallest, each at most once".into());
        }
        smallest = nanos;
        let Some(span) = exact(whole, fraction, nanos) else {
            return refuse(format!("{number}{unit} is too long, or finer than a nanosecond"));
        };
        sum += span;
    }
    let seconds = u64::try_from(sum / NANOS_PER_SECOND);
    match seconds {
        Ok(seconds) => Ok(Duration::new(seconds, (sum % NANOS_PER_SECOND) as u32)),
        Err(_) => refuse("it is too long; for no end, write \"forever\"".into()),
    }
}

/// The longest prefix of such characters, and what follows it.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// The digits before and after the point.
fn digits(number: &str) -> Option<(&str, &str)> {
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match number.split_once('.') {
        Some((whole, fraction)) => (is_number(whole) && is_number(fraction)).then_some((whole, fraction)),
        None => is_number(number).then_some((number, "")),
    }
}

/// So many of these units in nanoseconds, if that is a whole number of at most 2^96.
fn exact(whole: &str, fraction: &str, nanos: u128) -> Option<u128> {
    const MOST: u128 = 1 << 96;
    let fraction = fraction.trim_end_matches('0');
    // No unit has more than 14 digits, and no power of ten above that divides it.
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?).filter(|scale| *scale <= MOST)?;
    let whole = whole.parse::<u128>().ok()?.checked_mul(nanos)?;
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()?.checked_mul(nanos)? };
    (part % scale == 0 && whole <= MOST).then(|| whole + part / scale)
}

/// `#[serde(with = "duration_text")]`.
pub(crate) fn serialize<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&AsText(*span))
}

/// `#[serde(with = "duration_text")]`.
pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(TextVisitor)
}

struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration as text, such as \"250ms\", \"1.5s\" or \"1m 30s\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Duration, E> {
        self.visit_str(&number.to_string())
    }
}

/// `#[serde(with = "duration_text::option")]`, for a setting that may be absent.
pub(crate) mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Text(#[serde(with = "super")] Duration);

    pub(crate) fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        span.map(Text).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

/// A duration in a JSON schema.
#[cfg(feature = "schemars")]
pub(crate) struct DurationText;

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for DurationText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^ *(0|forever|([0-9]+(\.[0-9]+)? *(d|days?|h|m|s|ms|us|µs|ns) *)+)$",
            "description": "Numbers with units, from the largest to the smallest: d, h, m, s, ms, us, ns.",
            "examples": ["250ms", "1.5s", "1m 30s", "forever"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(span: Duration) -> String {
        AsText(span).to_string()
    }

    /// Numbers of any length in bits.
    fn wide() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..u64::BITS).prop_map(|(bits, shift)| bits >> shift)
    }

    /// As Go prints a duration: `1h0m1.5s`, `1.5µs`.
    fn as_go(span: Duration) -> String {
        let (seconds, nanos) = (span.as_secs(), span.subsec_nanos());
        if seconds == 0 {
            return match nanos {
                0 => "0s".into(),
                1..1_000 => format!("{nanos}ns"),
                1_000..1_000_000 => format!("{}µs", f64::from(nanos) / 1e3),
                _ => format!("{}ms", f64::from(nanos) / 1e6),
            };
        }
        let fraction = format!("{nanos:09}");
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        let rest = format!("{}{point}{fraction}s", seconds % 60);
        match (seconds / 3600, seconds / 60 % 60) {
            (0, 0) => rest,
            (0, minutes) => format!("{minutes}m{rest}"),
            (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
        }
    }

    proptest! {
        #[test]
        fn c2_what_is_printed_is_read_as_the_same(nanos in wide()) {
            let span = Duration::from_nanos(nanos);
            let text = printed(span);
            prop_assert_eq!(parse(&text), Ok(span), "{}", text);
            prop_assert_eq!(parse(&text.replace(' ', "")), Ok(span), "{}, without spaces", text);
        }

        #[test]
        fn c2_so_is_any_other_duration(seconds: u64, nanos in 0..1_000_000_000_u32) {
            let span = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&printed(span)), Ok(span), "{}", printed(span));
        }

        #[test]
        fn c2_what_humantime_prints_is_read_as_the_same(nanos in 0..30 * 86_400_000_000_000_u64, shift in 0..50_u32) {
            let span = Duration::from_nanos(nanos >> shift);
            let text = humantime::format_duration(span).to_string();
            prop_assert_eq!(parse(&text), Ok(span), "{}", text);
        }

        #[test]
        fn c2_what_go_prints_is_read_as_the_same(nanos in wide()) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&as_go(span)), Ok(span), "{}", as_go(span));
        }

        #[test]
        fn c1_no_text_panics(text: String, numbers in "[0-9. dhmsuµn-]{0,40}") {
            let _ = (parse(&text), parse(&numbers));
        }
    }

    #[test]
    fn c2_the_printed_form_is_short() {
        for text in [
            "0s",
            "1ns",
            "1.5us",
            "250ms",
            "1s",
            "1.5s",
            "59.999999999s",
            "1m 30s",
            "1m 0.000000001s",
            "2h 5m",
            "1d",
            "10d 1h 1m 1.25s",
            "213503982334601d 7h 15.999999998s",
            "forever",
        ] {
            assert_eq!(printed(parse(text).expect(text)), text);
        }
        for (text, short) in [("90s", "1m 30s"), ("0", "0s"), ("1500ms", "1.5s"), ("1.5h", "1h 30m"), ("0.5d", "12h")] {
            assert_eq!(printed(parse(text).expect(text)), short);
        }
        for (text, same) in [("1m30s", "90s"), (" 1m  30 s ", "90s"), ("2days", "2d"), ("5µs", "5us"), ("5μs", "5us")]
        {
            assert_eq!(parse(text), parse(same), "{text}");
        }
    }

    #[test]
    fn c1_what_is_no_duration_is_refused_and_the_reason_is_told() {
        for (text, why) in [
            ("5", "the number 5 needs a unit; write \"5s\""),
            ("1.5", "the number 1.5 needs a unit; write \"1.5s\""),
            ("00", "the number 00 needs a unit; write \"00s\""),
            ("1m 30", "the number 30 needs a unit; write \"30s\""),
            ("", "it is empty; write \"5s\""),
            ("-5s", "it must not be negative"),
            ("5M", "`M` is no unit; the units are d, h, m, s, ms, us and ns"),
            ("5 sec", "`sec` is no unit; the units are d, h, m, s, ms, us and ns"),
            ("2 months", "years and months have no fixed length; write days, such as \"30d\""),
            ("30s 1m", "units go from the largest to the smallest, each at most once"),
            ("1m 1m", "units go from the largest to the smallest, each at most once"),
            ("213503982334602d", "it is too long; for no end, write \"forever\""),
            (
                "99999999999999999999999999999999999999999d",
                "99999999999999999999999999999999999999999d is too long, or finer than a nanosecond",
            ),
            ("0.5ns", "0.5ns is too long, or finer than a nanosecond"),
            ("s", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            ("+5s", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            (".5s", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            ("1.s", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            ("1.2.3s", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            ("PT5S", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
            ("never", "it must be numbers with units, such as \"250ms\", \"1.5s\" or \"1m 30s\""),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.to_string(), format!("`{text}` is not a duration: {why}"));
        }
    }
}
