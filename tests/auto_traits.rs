//! What is `Send`, `Sync`, `Clone` and `Debug`, and which futures are `Send` when.

use std::{
    fmt::Debug,
    future::{Future, Pending, Ready},
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use static_assertions::{assert_impl_all, assert_not_impl_any};
use withstand::{
    BadSetting, Bulkhead, BulkheadAcquire, BulkheadBuilder, BulkheadEvent, BulkheadFull, BulkheadFuture,
    BulkheadPermit, ByError, ByStatus, CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerEvent,
    CircuitBreakerFuture, CircuitBreakerPermit, CircuitOpen, ClassifyFn, ConfigError, Deadline, DeadlineScope, Elapsed,
    Error, Fallback, FallbackEvent, FallbackFuture, Keyed, KeyedBuilder, KeyedEvent, LiftFuture, Name, Pipeline,
    PipelineBuilder, PipelineFuture, RateLimited, RateLimiter, RateLimiterAcquire, RateLimiterBuilder,
    RateLimiterEvent, RateLimiterFuture, Rejected, RetryBudget, RetryBuilder, RetryEvent, RetryFuture,
    RetryWithBackoff, Timeout, TimeoutEvent, TimeoutFuture, Verdict, bulkhead, circuit_breaker, fallback,
    pipeline::{self, BoxPipeline, NoFallback},
    rate_limiter, retry, timeout,
};

/// Sendable, but not to be shared: a dependency's response often is.
type SendOnly = std::cell::Cell<u8>;
type NotSend = Rc<u8>;

type Answer<T> = Result<T, Error<&'static str>>;
type Sendable = Pin<Box<dyn Future<Output = Answer<SendOnly>> + Send>>;
type Local = Pin<Box<dyn Future<Output = Answer<NotSend>>>>;
type Start<F> = fn() -> F;

#[test]
fn handles_can_be_shared_cloned_and_shown() {
    assert_impl_all!(CircuitBreaker: Send, Sync, Clone, Debug);
    assert_impl_all!(RetryWithBackoff: Send, Sync, Clone, Debug);
    assert_impl_all!(Timeout: Send, Sync, Clone, Debug);
    assert_impl_all!(Bulkhead: Send, Sync, Clone, Debug);
    assert_impl_all!(RateLimiter: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::Value<u8>>: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::ErrorFn<Start<u8>>>: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::AsyncErrorFn<Start<u8>>>: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::ResultFn<Start<u8>>>: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::AsyncResultFn<Start<u8>>>: Send, Sync, Clone, Debug);
    assert_impl_all!(Fallback<fallback::RequestFn<Start<u8>>>: Send, Sync, Clone, Debug);
    assert_impl_all!(RetryBudget: Send, Sync, Clone, Debug);
    assert_impl_all!(Keyed<String, CircuitBreaker>: Send, Sync, Clone, Debug);
    assert_impl_all!(Keyed<u64, Bulkhead>: Send, Sync, Clone, Debug);
    assert_impl_all!(Keyed<u64, RateLimiter>: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Keyed<String, Pipeline>: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Keyed<String, BoxPipeline<NotSend, Error<u8>>>: Send, Sync, Clone, Debug);
}

#[test]
fn p4_p8_a_pipeline_can_be_shared_cloned_and_shown_and_survives_a_panic() {
    type Judged = Pipeline<ByStatus<fn(&NotSend) -> u16>, Fallback<fallback::Value<u8>>>;
    assert_impl_all!(Pipeline: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(Judged: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    // Whatever the answer is: a pipeline keeps none.
    assert_impl_all!(BoxPipeline<u8, Error<u8>>: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(BoxPipeline<NotSend, Error<NotSend>>: Send, Sync, Clone, Debug, UnwindSafe, RefUnwindSafe);
    assert_impl_all!(NoFallback: Send, Sync, Copy, Debug);
    assert_not_impl_any!(Pipeline<Judge>: Sync);
    type Judge = ClassifyFn<std::cell::Cell<u8>>;
}

#[test]
fn q1_a_deadline_can_be_sent_and_copied() {
    assert_impl_all!(Deadline: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(DeadlineScope<Sendable>: Send);
    assert_not_impl_any!(DeadlineScope<Local>: Send);
}

#[test]
fn builders_can_be_shared_and_shown() {
    assert_impl_all!(PipelineBuilder: Send, Sync, Debug);
    assert_impl_all!(CircuitBreakerBuilder: Send, Sync, Debug);
    assert_impl_all!(RetryBuilder: Send, Sync, Debug);
    assert_impl_all!(BulkheadBuilder: Send, Sync, Debug);
    assert_impl_all!(RateLimiterBuilder: Send, Sync, Debug);
    assert_impl_all!(KeyedBuilder<String, Bulkhead>: Send, Sync, Debug);
}

#[test]
fn a_permit_can_be_sent_but_not_copied() {
    assert_impl_all!(CircuitBreakerPermit: Send, Sync, Debug);
    assert_impl_all!(BulkheadPermit: Send, Sync, Debug);
    assert_not_impl_any!(CircuitBreakerPermit: Clone);
    assert_not_impl_any!(BulkheadPermit: Clone);
}

#[test]
fn errors_can_be_shared_cloned_compared_and_shown() {
    assert_impl_all!(Rejected: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(CircuitOpen: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(BulkheadFull: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(RateLimited: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(Elapsed: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(Error<std::fmt::Error>: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(ConfigError: std::error::Error, Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(BadSetting: Send, Sync, Clone, Debug, Eq);
    assert_impl_all!(Name: Send, Sync, Clone, Debug, Eq);
    assert_not_impl_any!(Error<NotSend>: Send);
}

#[test]
fn events_and_snapshots_can_be_shared_and_shown() {
    assert_impl_all!(CircuitBreakerEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(RetryEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(TimeoutEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(BulkheadEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(RateLimiterEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(KeyedEvent: Send, Sync, Clone, Debug);
    assert_impl_all!(FallbackEvent<'static, u8, u8>: Send, Sync, Debug);
    assert_impl_all!(circuit_breaker::Snapshot: Send, Sync, Copy, Debug);
    assert_impl_all!(circuit_breaker::State: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(circuit_breaker::Window: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(bulkhead::Snapshot: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(rate_limiter::Snapshot: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(rate_limiter::Quota: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(retry::Attempt<'static, u8>: Send, Sync, Debug);
}

#[test]
fn verdicts_classifiers_and_backoffs_can_be_shared_copied_and_shown() {
    assert_impl_all!(Verdict: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(ByError: Send, Sync, Copy, Debug);
    assert_impl_all!(ClassifyFn<Start<u8>>: Send, Sync, Copy, Debug);
    assert_impl_all!(ByStatus<fn(&NotSend) -> u16>: Send, Sync, Clone, Debug);
    assert_impl_all!(retry::Exponential: Send, Sync, Copy, Debug);
    assert_impl_all!(retry::Constant: Send, Sync, Copy, Debug);
    assert_impl_all!(retry::Linear: Send, Sync, Copy, Debug);
    assert_impl_all!(retry::Backoff: Send, Sync, Clone, Debug);
    assert_impl_all!(retry::Jitter: Send, Sync, Copy, Debug, Eq);
}

#[cfg(all(feature = "http-body", feature = "tower"))]
#[test]
fn what_http_asks_for_can_be_shared_whatever_it_is_for() {
    use withstand::{NotIdempotent, bulkhead::HoldBody, http};

    assert_impl_all!(http::Idempotent<NotSend>: Send, Sync, Clone, Debug);
    assert_impl_all!(http::ByResponse<NotSend, NotSend>: Send, Sync, Clone, Debug);
    assert_impl_all!(http::IdempotencyKeyLayer<NotSend>: Send, Sync, Copy, Debug);
    assert_impl_all!(http::IdempotencyKeyService<u8, NotSend>: Send, Sync, Clone, Debug);
    assert_impl_all!(http::ServerLayer<withstand::BulkheadLayer>: Send, Sync, Clone, Debug);
    assert_impl_all!(http::ServerService<u8>: Send, Sync, Clone, Debug);
    assert_impl_all!(http::ServerFuture<Sendable>: Send, Debug);
    assert_not_impl_any!(http::ServerFuture<Local>: Send);
    assert_impl_all!(http::AnnouncedQuota: Send, Sync, Copy, Debug, Eq);
    assert_impl_all!(NotIdempotent<ByError>: Send, Sync, Copy, Debug);
    assert_impl_all!(bulkhead::HoldService<u8>: Send, Sync, Clone, Debug);
    assert_impl_all!(bulkhead::HoldFuture<u8, SendOnly, Sendable>: Send, Debug);
    assert_impl_all!(HoldBody<SendOnly>: Send, Debug);
}

/// Declares the futures that the plain call's `call` returns, for an operation `F`.
macro_rules! plain_calls {
    ($check:ident, $operation:ty) => {
        $check!(LiftFuture<$operation>: Send);
        $check!(CircuitBreakerFuture<$operation, &circuit_breaker::Circuit, &ByError>: Send);
        $check!(RetryFuture<retry::Repeat<Start<$operation>>, $operation, Result<u8, u8>, &retry::Shared, &ByError>: Send);
        $check!(TimeoutFuture<$operation, &timeout::TimeoutReporter>: Send);
        $check!(BulkheadFuture<Start<$operation>, $operation, &bulkhead::Slots>: Send);
        $check!(RateLimiterFuture<Start<$operation>, $operation, &rate_limiter::Permits>: Send);
        $check!(FallbackFuture<$operation, &Standing, Ready<u8>>: Send);
        $check!(PlainPipeline<Start<$operation>, $operation, SendOnly>: Send);
    };
}

/// As `Pipeline::call` returns it.
type PlainPipeline<O, F, T> = PipelineFuture<
    retry::Repeat<O>,
    F,
    Answer<T>,
    Pending<Answer<T>>,
    (),
    &'static pipeline::Whole<ByError, NoFallback>,
>;

type Standing = fallback::Plan<fallback::Value<u8>, fallback::EveryError, fallback::NoListener>;

#[test]
fn a_plain_call_is_send_when_its_operation_is() {
    plain_calls!(assert_impl_all, Sendable);
}

#[test]
fn a_plain_call_is_not_send_when_its_operation_is_not() {
    plain_calls!(assert_not_impl_any, Local);
}

/// The closure is kept while the call waits in the queue.
#[test]
fn a_plain_call_that_may_wait_is_send_only_if_its_closure_is_too() {
    type SentLimited =
        RateLimiterFuture<Box<dyn FnOnce() -> Sendable + Send>, Sendable, &'static rate_limiter::Permits>;
    type KeptLimited = RateLimiterFuture<Box<dyn FnOnce() -> Sendable>, Sendable, &'static rate_limiter::Permits>;
    assert_impl_all!(SentLimited: Send);
    assert_not_impl_any!(KeptLimited: Send);
    type Sent = BulkheadFuture<Box<dyn FnOnce() -> Sendable + Send>, Sendable, &'static bulkhead::Slots>;
    type Kept = BulkheadFuture<Box<dyn FnOnce() -> Sendable>, Sendable, &'static bulkhead::Slots>;
    assert_impl_all!(Sent: Send);
    assert_not_impl_any!(Kept: Send);
}

/// The closure is kept for further attempts.
#[test]
fn p4_a_pipelines_plain_call_is_send_only_if_its_closure_is_too() {
    type Sent = PlainPipeline<Box<dyn FnMut() -> Sendable + Send>, Sendable, SendOnly>;
    type Kept = PlainPipeline<Box<dyn FnMut() -> Sendable>, Sendable, SendOnly>;
    assert_impl_all!(Sent: Send);
    assert_not_impl_any!(Kept: Send);
}

#[test]
fn a_wait_for_a_slot_or_for_permits_is_send() {
    assert_impl_all!(BulkheadAcquire: Send, Debug);
    assert_impl_all!(RateLimiterAcquire: Send, Debug);
}

#[test]
fn a_shared_trait_object_serves_as_a_classifier_for_threads() {
    type Judge = Arc<dyn withstand::Classify<u8, Error<u8>> + Send + Sync>;
    assert_impl_all!(CircuitBreaker<Judge>: Send, Sync, Clone);
    assert_impl_all!(RetryWithBackoff<Judge>: Send, Sync, Clone);
}

#[cfg(feature = "tower")]
mod in_tower {
    use std::{
        task::{Context, Poll},
        time::Duration,
    };

    use tower::{Service, util::BoxCloneService};
    use withstand::{
        BulkheadLayer, BulkheadService, ByClone, CircuitBreakerLayer, CircuitBreakerService, CloneFn, DeadlineLayer,
        DeadlineService, FallbackLayer, FallbackService, LiftLayer, LiftService, PipelineLayer, PipelineService,
        RateLimiterLayer, RateLimiterService, RetryLayer, RetryService, SendRequest, SendRequestFuture, TimeoutLayer,
        TimeoutService,
    };

    use super::*;

    /// A service whose call is `F`.
    struct Via<F>(Start<F>);

    impl<F> Clone for Via<F> {
        fn clone(&self) -> Self {
            Self(self.0)
        }
    }

    impl<F> Debug for Via<F> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Via")
        }
    }

    impl<F, T> Service<u8> for Via<F>
    where
        F: Future<Output = Answer<T>>,
    {
        type Response = T;
        type Error = Error<&'static str>;
        type Future = F;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: u8) -> F {
            (self.0)()
        }
    }

    type Call<S> = <S as Service<u8>>::Future;
    type Recovery<V> = fallback::ErrorFn<fn(Error<&'static str>) -> Answer<V>>;

    #[test]
    fn layers_can_be_shared_cloned_and_shown() {
        assert_impl_all!(CircuitBreakerLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(RetryLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(RetryLayer<ByError, CloneFn<Start<u8>>>: Send, Sync, Clone, Debug);
        assert_impl_all!(TimeoutLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(TimeoutLayer<timeout::LimitFn<Start<u8>>>: Send, Sync, Clone, Debug);
        assert_impl_all!(BulkheadLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(RateLimiterLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(FallbackLayer<fallback::Value<u8>>: Send, Sync, Clone, Debug);
        assert_impl_all!(PipelineLayer: Send, Sync, Clone, Debug);
        assert_impl_all!(LiftLayer: Send, Sync, Copy, Debug);
        assert_impl_all!(DeadlineLayer<fn(&u8) -> Option<Duration>>: Send, Sync, Copy, Debug);
        assert_impl_all!(ByClone: Send, Sync, Copy, Debug);
    }

    #[test]
    fn services_can_be_shared_cloned_and_shown_when_the_inner_one_can() {
        type Inner = Via<Sendable>;
        assert_impl_all!(CircuitBreakerService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(RetryService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(TimeoutService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(BulkheadService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(RateLimiterService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(FallbackService<Inner, fallback::Value<u8>>: Send, Sync, Clone, Debug);
        assert_impl_all!(PipelineService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(LiftService<Inner>: Send, Sync, Clone, Debug);
        assert_impl_all!(DeadlineService<Inner, fn(&u8) -> Option<Duration>>: Send, Sync, Clone, Debug);
    }

    #[test]
    fn a_service_that_is_send_but_not_sync_may_be_inside() {
        type Inner = BoxCloneService<u8, u8, Error<&'static str>>;
        assert_not_impl_any!(Inner: Sync);
        assert_impl_all!(CircuitBreakerService<Inner>: Send, Clone);
        assert_impl_all!(RetryService<Inner>: Send, Clone);
        assert_impl_all!(TimeoutService<Inner>: Send, Clone);
        assert_impl_all!(BulkheadService<Inner>: Send, Clone);
        assert_impl_all!(RateLimiterService<Inner>: Send, Clone);
        assert_impl_all!(FallbackService<Inner, fallback::Value<u8>>: Send, Clone);
        assert_impl_all!(PipelineService<Inner>: Send, Clone);
        assert_impl_all!(Call<RetryService<Inner>>: Send);
        assert_impl_all!(Call<BulkheadService<Inner>>: Send);
        assert_impl_all!(Call<RateLimiterService<Inner>>: Send);
        assert_impl_all!(Call<PipelineService<Inner>>: Send);
    }

    #[test]
    fn a_second_service_that_is_send_but_not_sync_may_recovery_and_the_stack_stays_send() {
        type Inner = BoxCloneService<u8, u8, Error<&'static str>>;
        type Extract = fallback::ExtractCopy<Inner, ByClone>;
        type Stack = FallbackService<Inner, fallback::SendCopy, fallback::EveryError, fallback::NoListener, Extract>;
        assert_impl_all!(Fallback<fallback::SecondService<Inner>>: Send, Clone);
        assert_impl_all!(Stack: Send, Clone);
        assert_impl_all!(Call<Stack>: Send);
    }

    macro_rules! tower_calls {
        ($check:ident, $operation:ty, $answer:ty) => {
            $check!(Call<CircuitBreakerService<Via<$operation>>>: Send);
            $check!(Call<RetryService<Via<$operation>>>: Send);
            $check!(Call<TimeoutService<Via<$operation>>>: Send);
            $check!(Call<BulkheadService<Via<$operation>>>: Send);
            $check!(Call<RateLimiterService<Via<$operation>>>: Send);
            $check!(Call<FallbackService<Via<$operation>, Recovery<$answer>>>: Send);
            $check!(Call<PipelineService<Via<$operation>>>: Send);
            $check!(Call<LiftService<Via<$operation>>>: Send);
            $check!(SendRequestFuture<Via<$operation>, u8, $operation>: Send);
        };
    }

    #[test]
    fn a_tower_call_is_send_when_its_operation_is() {
        tower_calls!(assert_impl_all, Sendable, SendOnly);
    }

    #[test]
    fn a_tower_call_is_not_send_when_its_operation_is_not() {
        tower_calls!(assert_not_impl_any, Local, NotSend);
    }

    #[test]
    fn a_tower_call_is_static_and_a_kept_request_decides_too() {
        fn is_static<T: 'static>() {}
        is_static::<Call<RetryService<Via<Sendable>>>>();
        is_static::<Call<CircuitBreakerService<Via<Sendable>>>>();
        assert_impl_all!(SendRequest<Via<Sendable>, SendOnly>: Send, Debug);
        assert_not_impl_any!(SendRequest<Via<Sendable>, NotSend>: Send);
    }
}
