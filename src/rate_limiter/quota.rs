use std::time::Duration;

/// What a caller may be told of a limit, as in the fields `RateLimit-Policy` and `RateLimit` of HTTP answers.
///
/// From [`RateLimiter::quota`](super::RateLimiter::quota).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quota {
    /// How many permits there are in each window.
    pub limit: u32,
    /// How many permits are there now. It is above `limit` only if the burst is.
    pub remaining: u32,
    /// How long until more permits are there than now: in a fixed window its end, otherwise the next permit. Zero if
    /// all permits are there, and the period if the limit is zero. Where nothing remains and no call waits, this is the time after which a call is admitted.
    pub reset_in: Duration,
    /// How long a window lasts: the limiter's period.
    pub window: Duration,
}
