//! Any bytes are read without a panic, and read as what they are.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use withstand::parse_retry_after;

fuzz_target!(|value: &[u8]| {
    let wait = parse_retry_after(value);
    let padded = [b" \t", value, b"\t "].concat();
    assert_eq!(parse_retry_after(&padded).is_some(), wait.is_some(), "spaces and tabs around it say nothing");
    if !value.iter().any(u8::is_ascii_digit) {
        assert_eq!(wait, None, "a number and a date have digits");
    }
    // A date has a space.
    if !value.iter().any(u8::is_ascii_whitespace) {
        assert_eq!(wait, number(value), "without a space it is a number, or nothing");
    }
});

/// Decimal digits, with or without a point between them, rounded up.
fn number(value: &[u8]) -> Option<Duration> {
    let is_number = value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && value.iter().filter(|byte| **byte == b'.').count() <= 1
        && value.first()?.is_ascii_digit()
        && value.last()?.is_ascii_digit();
    let mut parts = value.split(|byte| *byte == b'.');
    let whole = parts.next()?.iter().map(|digit| u64::from(digit.wrapping_sub(b'0')));
    let seconds = whole.fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
    let is_broken = parts.any(|fraction| fraction.iter().any(|digit| *digit != b'0'));
    is_number.then(|| Duration::from_secs(seconds.saturating_add(u64::from(is_broken))))
}
