//! What a policy says of itself, so that it is known when it may leave.

use std::time::Duration;

use crate::{
    bulkhead::{Bulkhead, BulkheadSettings},
    circuit_breaker::{CircuitBreaker, CircuitBreakerSettings},
    error::{Check, ConfigError},
    pipeline::{Pipeline, PipelineSettings},
    rate_limiter::{RateLimiter, RateLimiterSettings},
    retry::{RetrySettings, RetryWithBackoff},
    sync::{Ordering, fence},
};

/// A policy that a [`Keyed`](super::Keyed) can keep for each key.
///
/// Sealed. It is implemented for [`Pipeline`], [`CircuitBreaker`], [`Bulkhead`], [`RateLimiter`] and
/// [`RetryWithBackoff`]. A timeout and a fallback have no state, so one for all keys does the same as one for each.
#[diagnostic::on_unimplemented(
    message = "a `Keyed` cannot keep a `{Self}` for each key",
    note = "it keeps what has a state: `Pipeline`, `CircuitBreaker`, `Bulkhead`, `RateLimiter`, `RetryWithBackoff`",
    note = "a `Timeout` or a `Fallback` has none: one of them for all keys does the same"
)]
pub trait KeyedPolicy: Clone + sealed::Keep {
    /// Its settings as data: what [`Keyed::apply`](super::Keyed::apply) takes.
    type Settings;

    /// Whether these settings could be applied.
    #[doc(hidden)]
    fn check_settings(&self, settings: &Self::Settings) -> Result<(), ConfigError>;

    /// Applies settings that were checked, and takes them as those that the policy was made with.
    #[doc(hidden)]
    fn renew(&self, settings: &Self::Settings);
}

/// How long no one has asked for a key.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Whether it is for `idle_for`, or longer.
    pub(crate) is_over: bool,
    /// The setting.
    pub(crate) idle_for: Duration,
}

/// Which parts of a pipeline others hold too when its key comes: they live on without it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedParts {
    rate_limiter: bool,
    bulkhead: bool,
    retry: bool,
    circuit_breaker: bool,
}

pub(crate) mod sealed {
    use super::{Idle, SharedParts};

    /// What tells whether a policy may be dropped, and made anew when its key is asked for again.
    pub trait Keep {
        /// What it is called where it has no place, if a policy of this type may send a request again.
        const SENDS_AGAIN: Option<&'static str> = None;

        /// How many hold its state: each handle, layer, service and permit, and each call of a service. This handle is
        /// one of them, so it is never below 1.
        ///
        /// A plain call borrows a handle. So a policy with one holder has no call in flight.
        fn holders(&self) -> usize;

        /// Which of its parts others hold too. It is asked once its maker has returned, and before anyone else has it:
        /// what the maker kept for itself while it made the policy is gone.
        fn shared_parts(&self) -> SharedParts {
            SharedParts::default()
        }

        /// Whether it must stay, though no one else holds it: a new one would not have what this one has.
        ///
        /// It may take the policy's own lock, for a short time, and read the clock. It makes no transition, emits no
        /// event and runs no code of the user, because it is asked under a lock. `shared` is what it told of its parts.
        fn must_stay(&self, idle: Idle, shared: SharedParts) -> bool;
    }
}

impl<C> sealed::Keep for CircuitBreaker<C> {
    #[inline]
    fn holders(&self) -> usize {
        self.holders()
    }

    fn must_stay(&self, idle: Idle, _: SharedParts) -> bool {
        self.must_stay(idle.is_over, idle.idle_for)
    }
}

impl sealed::Keep for Bulkhead {
    #[inline]
    fn holders(&self) -> usize {
        self.holders()
    }

    fn must_stay(&self, _: Idle, _: SharedParts) -> bool {
        !self.is_as_new()
    }
}

impl<C> sealed::Keep for RetryWithBackoff<C> {
    const SENDS_AGAIN: Option<&'static str> = Some("keyed retry");

    #[inline]
    fn holders(&self) -> usize {
        self.holders()
    }

    fn must_stay(&self, _: Idle, _: SharedParts) -> bool {
        self.must_stay()
    }
}

impl sealed::Keep for RateLimiter {
    #[inline]
    fn holders(&self) -> usize {
        self.holders()
    }

    fn must_stay(&self, _: Idle, _: SharedParts) -> bool {
        !self.is_as_new()
    }
}

impl<C, F> sealed::Keep for Pipeline<C, F> {
    // Whether it has a retry is known when its key comes, which is too late to refuse it.
    const SENDS_AGAIN: Option<&'static str> = Some("keyed pipeline");

    #[inline]
    fn holders(&self) -> usize {
        self.holders()
    }

    fn shared_parts(&self) -> SharedParts {
        SharedParts {
            rate_limiter: is_shared(self.rate_limiter()),
            bulkhead: is_shared(self.bulkhead()),
            retry: is_shared(self.retry()),
            circuit_breaker: is_shared(self.circuit_breaker()),
        }
    }

    fn must_stay(&self, idle: Idle, shared: SharedParts) -> bool {
        self.has_changed_timeouts()
            || part_must_stay(self.rate_limiter(), shared.rate_limiter, idle)
            || part_must_stay(self.bulkhead(), shared.bulkhead, idle)
            || part_must_stay(self.retry(), shared.retry, idle)
            || part_must_stay(self.circuit_breaker(), shared.circuit_breaker, idle)
    }
}

impl<C: Clone> KeyedPolicy for CircuitBreaker<C> {
    type Settings = CircuitBreakerSettings;

    fn check_settings(&self, settings: &CircuitBreakerSettings) -> Result<(), ConfigError> {
        self.check(settings)
    }

    fn renew(&self, settings: &CircuitBreakerSettings) {
        self.apply_checked(settings);
        self.set_made_with(settings);
    }
}

impl KeyedPolicy for Bulkhead {
    type Settings = BulkheadSettings;

    fn check_settings(&self, settings: &BulkheadSettings) -> Result<(), ConfigError> {
        self.check(settings)
    }

    fn renew(&self, settings: &BulkheadSettings) {
        self.apply_checked(settings);
        self.set_made_with(settings);
    }
}

impl<C: Clone> KeyedPolicy for RetryWithBackoff<C> {
    type Settings = RetrySettings;

    fn check_settings(&self, settings: &RetrySettings) -> Result<(), ConfigError> {
        self.check(settings)
    }

    fn renew(&self, settings: &RetrySettings) {
        self.apply_checked(settings);
        self.set_made_with(settings);
    }
}

impl KeyedPolicy for RateLimiter {
    type Settings = RateLimiterSettings;

    fn check_settings(&self, settings: &RateLimiterSettings) -> Result<(), ConfigError> {
        self.check(settings)
    }

    fn renew(&self, settings: &RateLimiterSettings) {
        self.apply_checked(settings);
        self.set_made_with(settings);
    }
}

impl<C: Clone, F: Clone> KeyedPolicy for Pipeline<C, F> {
    type Settings = PipelineSettings;

    fn check_settings(&self, settings: &PipelineSettings) -> Result<(), ConfigError> {
        let mut check = Check::default();
        self.check(settings, &mut check);
        check.finish("pipeline", self.shared_name())
    }

    fn renew(&self, settings: &PipelineSettings) {
        self.apply_checked(settings);
        self.set_made_with(settings);
    }
}

fn is_shared<P: sealed::Keep>(part: Option<&P>) -> bool {
    part.is_some_and(|part| part.holders() > 1)
}

/// Whether a part of a pipeline that no one else holds must stay, and the pipeline with it.
///
/// A part that others had before the pipeline's key came (`was_shared`), and have still, lives on with them. One that
/// others have taken out of the pipeline since is part of what they hold of the key.
fn part_must_stay<P: sealed::Keep>(part: Option<&P>, was_shared: bool, idle: Idle) -> bool {
    let Some(part) = part else { return false };
    if part.holders() > 1 {
        return !was_shared;
    }
    // As for the whole policy: "Memory ordering" in `shared.rs`, 3.
    fence(Ordering::Acquire);
    part.must_stay(idle, SharedParts::default())
}
