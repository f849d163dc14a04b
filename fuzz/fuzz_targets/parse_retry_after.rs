//! Any bytes are read without a panic, and read as what they are.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use withstand::parse_retry_after;

fuzz_target!(|value: &[u8]| {
    let wait = parse_retry_after(value);
    let padded = [b" \t", value, b"\t "].concat();
    assert_eq!(parse_retry_after(&padded).is_some(), wait.is_some(), "spaces and tabs around it say nothing");
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        let seconds =
            value.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        assert_eq!(wait, Some(Duration::from_secs(seconds)), "digits are seconds");
    }
    if !value.iter().any(u8::is_ascii_digit) {
        assert_eq!(wait, None, "a number and a date have digits");
    }
});
