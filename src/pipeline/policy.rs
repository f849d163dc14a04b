use std::{future::Future, time::Duration};

use super::{
    config::PipelineBuilder,
    fallback::{NoFallback, PipelineFallback},
    future::PipelineFuture,
    settings::PipelineSettings,
    shared::Whole,
};
use crate::{
    bulkhead::Bulkhead,
    carry::CarriesRejected,
    circuit_breaker::CircuitBreaker,
    classify::{ByError, Classify, NotIdempotent},
    error::{Check, ConfigError, Name},
    rate_limiter::RateLimiter,
    retry::{Attempt, Repeat, RepeatWith, RetryWithBackoff},
    sync::Arc,
};

/// All policies around one dependency, in the right order.
///
/// See the [module](super). Clones share the parts. So do the handles with another classifier that
/// [`classify`](Self::classify) makes, and every layer.
#[derive(Debug)]
pub struct Pipeline<C = ByError, F = NoFallback> {
    pub(super) whole: Whole<C, F>,
}

impl Pipeline {
    /// Settings for a pipeline of this name, without any part.
    ///
    /// A literal name costs nothing. For borrowed text there is [`Name::copied`].
    pub fn builder(name: impl Into<Name>) -> PipelineBuilder {
        PipelineBuilder::new(name.into())
    }

    /// The pipeline that we recommend where you know nothing better: see [the table](super#standard).
    ///
    /// A literal name costs nothing. For borrowed text there is [`Name::copied`].
    pub fn standard(name: impl Into<Name>) -> Self {
        Self::standard_builder(name).unchecked()
    }

    /// The settings of [`standard`](Self::standard), to change some of them.
    pub fn standard_builder(name: impl Into<Name>) -> PipelineBuilder {
        PipelineBuilder::standard(name.into())
    }
}

impl<C, F> Pipeline<C, F> {
    /// A handle on the same parts with another classifier, for another type of result.
    pub fn classify<D>(&self, classifier: D) -> Pipeline<D, F>
    where
        F: Clone,
    {
        let (parts, fallback) = (self.whole.parts.clone(), self.whole.fallback.clone());
        Pipeline { whole: Whole { parts, classifier, fallback } }
    }

    /// A handle on the same parts for operations that are not idempotent: it sends again only what had no effect. See
    /// [`RetryWithBackoff::not_idempotent`].
    pub fn not_idempotent(&self) -> Pipeline<NotIdempotent<C>, F>
    where
        C: Clone,
        F: Clone,
    {
        self.classify(NotIdempotent::new(self.whole.classifier.clone()))
    }

    // `G` is the future of the fallback. Were it `F::Future` in the signature, the compiler would say of a fallback
    // that does not fit only that "trait bounds were not satisfied", without the cure.
    /// Makes the call, through all parts.
    ///
    /// The first attempt starts at once, before the future is polled, unless the call has to wait. What comes later
    /// (further attempts, a call that waited, the fallback) starts inside the future.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, or [`Rejected`](crate::Rejected); or what the fallback makes of it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt that runs, or the wait. Then the circuit learns that the call was dropped,
    /// and the slot of the bulkhead is free.
    ///
    /// # Panics
    ///
    /// If it has to wait and is polled outside a tokio runtime with time enabled.
    #[inline(always)]
    pub fn call<O, Fut, T, E, G>(
        &self,
        operation: O,
    ) -> PipelineFuture<Repeat<O>, Fut, Result<T, E>, G, (), &Whole<C, F>>
    where
        O: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
        C: Classify<T, E>,
        F: PipelineFallback<T, E, (), Future = G>,
        G: Future<Output = Result<T, E>>,
    {
        PipelineFuture::start(&self.whole, (), Repeat { operation })
    }

    /// [`call`](Self::call), for an operation that needs to know which attempt it is, what the error of the one before
    /// was, and how much time is left.
    ///
    /// ```
    /// # use {std::time::Duration, withstand::{retry::Attempt, Pipeline}};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
    /// let stock = Pipeline::standard("stock");
    /// let left = stock.call_with(|attempt: Attempt<'_, std::io::Error>| {
    ///     let left = attempt.remaining; // for a header to the next service
    ///     async move { Ok::<_, std::io::Error>(left) }
    /// });
    /// assert_eq!(left.await?, Some(Duration::from_secs(2)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety, and panics
    ///
    /// As [`call`](Self::call).
    pub fn call_with<O, Fut, T, E, G>(
        &self,
        operation: O,
    ) -> PipelineFuture<RepeatWith<O, E>, Fut, Result<T, E>, G, (), &Whole<C, F>>
    where
        O: FnMut(Attempt<'_, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
        C: Classify<T, E>,
        F: PipelineFallback<T, E, (), Future = G>,
        G: Future<Output = Result<T, E>>,
    {
        PipelineFuture::start(&self.whole, (), RepeatWith::new(operation))
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        self.whole.parts.name.as_str()
    }

    /// How long a call may take in all. `None` without a total timeout.
    pub fn timeout(&self) -> Option<Duration> {
        self.whole.parts.total.span()
    }

    /// How long each attempt may take. `None` without an attempt timeout.
    pub fn attempt_timeout(&self) -> Option<Duration> {
        self.whole.parts.attempt.span()
    }

    /// The settings that are in force now. A timeout without a limit is absent.
    pub fn settings(&self) -> PipelineSettings {
        PipelineSettings::of(&self.whole.parts)
    }

    /// Changes the settings while the pipeline is in use. All handles and layers that share the parts go on by them at
    /// once, other pipelines that share a part too; classifiers, the fallback, listeners and what else is code stay.
    ///
    /// A call that runs keeps its timeouts. What becomes of the rest is told at each part:
    /// [`RateLimiter::apply`], [`Bulkhead::apply`](crate::Bulkhead::apply), [`RetryWithBackoff::apply`](crate::RetryWithBackoff::apply),
    /// [`CircuitBreaker::apply`](crate::CircuitBreaker::apply). A part can be neither added nor removed.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting of all parts. Then nothing has changed.
    pub fn apply(&self, settings: &PipelineSettings) -> Result<(), ConfigError> {
        let mut check = Check::default();
        self.check(settings, &mut check);
        check.finish("pipeline", &self.whole.parts.name)?;
        self.apply_checked(settings);
        Ok(())
    }

    /// Refuses settings that cannot be applied.
    pub(crate) fn check(&self, settings: &PipelineSettings, check: &mut Check) {
        self.whole.parts.check(settings, check);
    }

    /// Applies settings that were checked.
    pub(crate) fn apply_checked(&self, settings: &PipelineSettings) {
        self.whole.parts.apply_checked(settings);
    }

    /// The rate limiter, if there is one.
    pub fn rate_limiter(&self) -> Option<&RateLimiter> {
        self.whole.parts.rate_limiter.as_ref()
    }

    /// The bulkhead, if there is one.
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.whole.parts.bulkhead.as_ref()
    }

    /// The retry, if there is one.
    pub fn retry(&self) -> Option<&RetryWithBackoff> {
        self.whole.parts.retry.as_ref()
    }

    /// The circuit breaker, if there is one.
    pub fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.whole.parts.circuit_breaker.as_ref()
    }
}

impl<C, F> Pipeline<C, F> {
    /// How many handles, layers, services and calls of services hold the parts, this handle included.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.whole.parts)
    }

    /// Takes these settings as those that it was made with.
    pub(crate) fn set_made_with(&self, settings: &PipelineSettings) {
        self.whole.parts.set_made_with(settings);
    }

    /// The pipeline's name, as it is shared.
    pub(crate) fn shared_name(&self) -> &Name {
        &self.whole.parts.name
    }

    /// Whether a timeout has another limit than it was made with.
    pub(crate) fn has_changed_timeouts(&self) -> bool {
        self.whole.parts.has_changed_timeouts()
    }
}

impl<C: Clone, F: Clone> Clone for Pipeline<C, F> {
    fn clone(&self) -> Self {
        Self { whole: self.whole.clone() }
    }
}
