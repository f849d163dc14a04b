//! What all handles and calls of a pipeline share.

use std::{num::NonZeroU64, ops::Deref, time::Duration};

use crate::{
    bulkhead::{Bulkhead, Slots},
    circuit_breaker::{Circuit, CircuitBreaker},
    clock::{FOREVER, LiveSpan},
    error::Name,
    rate_limiter::{Permits, RateLimiter},
    retry::{self, Progress, RetryWithBackoff},
    sync::{Arc, Lock},
    timeout::TimeoutReporter,
};

/// The parts of a pipeline, and its two limits.
#[derive(Debug)]
pub struct Parts {
    pub(super) name: Name,
    pub(super) total: Limit,
    pub(super) rate_limiter: Option<RateLimiter>,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) retry: Option<RetryWithBackoff>,
    pub(super) circuit_breaker: Option<CircuitBreaker>,
    pub(super) attempt: Limit,
    /// Held while settings are applied.
    pub(super) changes: Lock<()>,
}

impl Parts {
    #[inline]
    pub(super) fn limiter(&self) -> Option<&Permits> {
        self.rate_limiter.as_ref().map(|limiter| &*limiter.permits)
    }

    #[inline]
    pub(super) fn slots(&self) -> Option<&Slots> {
        self.bulkhead.as_ref().map(|bulkhead| &*bulkhead.slots)
    }

    #[inline]
    pub(super) fn retry(&self) -> Option<&retry::Shared> {
        self.retry.as_ref().map(|retry| &*retry.shared)
    }

    /// Whether no attempt can follow this one. `progress`: there is none before one has failed.
    #[inline]
    pub(super) fn is_last(&self, progress: Option<&Progress>) -> bool {
        self.retry().is_none_or(|retry| match progress {
            None => retry.has_one_attempt(),
            Some(progress) => retry.is_last(progress),
        })
    }

    /// Whether a timeout has another limit than it was made with.
    pub(super) fn has_changed_timeouts(&self) -> bool {
        self.total.is_changed() || self.attempt.is_changed()
    }

    #[inline]
    pub(super) fn circuit(&self) -> Option<&Circuit> {
        self.circuit_breaker.as_ref().map(|breaker| &*breaker.circuit)
    }
}

/// The limit of a timeout, which may change while calls run.
#[derive(Debug)]
pub(super) struct Limit {
    /// Zero is refused.
    span: LiveSpan,
    /// The limit that it was made with.
    made_with: LiveSpan,
    pub(super) reporter: TimeoutReporter,
}

impl Limit {
    pub(super) fn new(limit: Option<Duration>, reporter: TimeoutReporter) -> Self {
        Self { span: LiveSpan::new(limit), made_with: LiveSpan::new(limit), reporter }
    }

    /// Whether it has another limit than it was made with.
    fn is_changed(&self) -> bool {
        self.span.nanos() != self.made_with.nanos()
    }

    pub(super) fn set(&self, limit: Option<Duration>) {
        self.span.set(limit);
    }

    /// Takes this limit as the one that it was made with.
    pub(super) fn set_made_with(&self, limit: Option<Duration>) {
        self.made_with.set(limit);
    }

    pub(super) fn span(&self) -> Option<Duration> {
        self.span.get()
    }

    /// What a call keeps.
    #[inline]
    pub(super) fn get(&self) -> Option<Span> {
        let nanos = self.span.nanos();
        if nanos == FOREVER { None } else { NonZeroU64::new(nanos).map(Span) }
    }
}

/// A limit in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(NonZeroU64);

impl Span {
    #[inline]
    pub(super) fn get(self) -> Duration {
        Duration::from_nanos(self.0.get())
    }
}

/// A pipeline as its calls see it: the parts, which all handles share, and what each handle has of its own.
#[derive(Debug)]
pub struct Whole<C, F> {
    pub(super) parts: Arc<Parts>,
    pub(super) classifier: C,
    pub(super) fallback: F,
}

impl<C: Clone, F: Clone> Clone for Whole<C, F> {
    fn clone(&self) -> Self {
        let (parts, classifier, fallback) = (self.parts.clone(), self.classifier.clone(), self.fallback.clone());
        Self { parts, classifier, fallback }
    }
}

/// A pipeline that a call owns, for no one else holds it for the call.
#[cfg(feature = "tower")]
#[derive(Debug)]
pub struct OwnedWhole<C, F>(pub(super) Whole<C, F>);

#[cfg(feature = "tower")]
impl<C, F> Deref for OwnedWhole<C, F> {
    type Target = Whole<C, F>;

    #[inline]
    fn deref(&self) -> &Whole<C, F> {
        &self.0
    }
}

/// What has the parts of a pipeline.
///
/// Sealed.
pub trait HasParts: sealed::HasParts {
    #[doc(hidden)]
    fn parts(&self) -> &Parts;
}

mod sealed {
    pub trait HasParts {}
    impl<C, F> HasParts for super::Whole<C, F> {}
}

impl<C, F> HasParts for Whole<C, F> {
    #[inline]
    fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// How a call holds its pipeline: borrowed, shared, or as its own handle.
pub trait HoldsParts: Deref<Target: HasParts> {}
impl<P: Deref<Target: HasParts>> HoldsParts for P {}
