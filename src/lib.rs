//! Keeps a service answering while the services it depends on fail.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod bulkhead;
mod carry;
pub mod circuit_breaker;
mod classify;
mod clock;
#[cfg(feature = "tower")]
mod clone_request;
mod error;
mod event;
pub mod fallback;
mod operation;
mod random;
pub mod retry;
mod retry_after;
mod sync;
pub mod timeout;
mod window;

pub use self::{
    bulkhead::{Bulkhead, BulkheadAcquire, BulkheadBuilder, BulkheadEvent, BulkheadFuture, BulkheadPermit},
    carry::{CarriesRejected, Error, LiftFuture, lift},
    circuit_breaker::{
        CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerEvent, CircuitBreakerFuture, CircuitBreakerPermit,
    },
    classify::{ByError, ByStatus, Classify, ClassifyFn, Verdict, by_status, classify_fn},
    error::{BadSetting, BulkheadFull, CircuitOpen, ConfigError, Elapsed, Name, Rejected},
    fallback::{Fallback, FallbackEvent, FallbackFuture},
    operation::{Operation, TryFuture},
    retry::{RetryBudget, RetryBuilder, RetryEvent, RetryFuture, RetryWithBackoff},
    retry_after::parse_retry_after,
    timeout::{Timeout, TimeoutEvent, TimeoutFuture},
};
#[cfg(feature = "tower")]
pub use self::{
    bulkhead::{BulkheadLayer, BulkheadService},
    carry::{LiftLayer, LiftService},
    circuit_breaker::{CircuitBreakerLayer, CircuitBreakerService},
    clone_request::{ByClone, CloneFn, CloneRequest},
    fallback::{FallbackLayer, FallbackService},
    operation::{SendRequest, SendRequestFuture},
    retry::{RetryLayer, RetryService},
    timeout::{TimeoutLayer, TimeoutService},
};
