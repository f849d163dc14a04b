//! What a call's result says about the dependency: one [`Verdict`], used by every policy.
//!
//! | verdict | breaker | retry | fallback |
//! |---|---|---|---|
//! | [`Healthy`](Verdict::Healthy) | a success | done | left alone |
//! | [`Transient`](Verdict::Transient) | a failure | another attempt | handled |
//! | [`Failed`](Verdict::Failed) | a failure | done | handled |
//! | [`Unreached`](Verdict::Unreached) | a failure | another attempt | handled |
//! | [`Throttled`](Verdict::Throttled) | ignored; a probe's success | another attempt, not before that time | handled |
//! | [`Ignored`](Verdict::Ignored) | ignored | done | handled |
//!
//! By default ([`ByError`]) `Ok` is healthy, an open circuit and a full bulkhead are ignored, and every other error, a
//! timeout included, is transient; [`by_error`] adds rules to that. For HTTP there are [`by_status`] and
//! [`by_error_status`], for gRPC [`by_grpc_code`] and [`grpc_headers`](ByStatus::grpc_headers), for anything else
//! [`classify_fn`]. A policy's state does not depend on its classifier: `policy.classify(..)` is a handle on the same
//! state that judges another type of answer.

mod by_error;
mod closure;
mod error_rules;
mod grpc;
mod hint;
mod not_idempotent;
mod status;
mod verdict;

#[cfg(feature = "http")]
pub(crate) use self::hint::sealed as sealed_hint;
pub use self::{
    by_error::ByError,
    closure::{ClassifyFn, RetryIf, classify_fn},
    grpc::{ByGrpcCode, ByGrpcCodeInside, by_grpc_code},
    not_idempotent::NotIdempotent,
    status::{ByErrorStatus, ByStatus, by_error, by_error_status, by_status},
    verdict::{Classify, Verdict},
};
#[doc(hidden)]
pub use self::{
    error_rules::{ErrorRules, JudgeError},
    grpc::{GrpcHeaders, HeaderFn},
    hint::Hint,
};
