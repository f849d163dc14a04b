//! Rules for errors: what `by_error`, `by_status` and `by_grpc_code` know of them.

use std::{fmt, sync::Arc, time::Duration};

use super::{by_error::judge_error, verdict::Verdict};
use crate::carry::{CarriesRejected, Error};

pub(super) fn judge<E: CarriesRejected>(
    rules: &impl JudgeError<E>,
    of_status: &dyn Fn(u16) -> Verdict,
    error: &E,
) -> Verdict {
    let by_rule = rules.judge_error(error, of_status);
    by_rule.unwrap_or_else(|| judge_error(error))
}

/// What a classifier knows of errors of type `E`: rules, in the order in which they were added.
pub struct ErrorRules<E> {
    rules: Arc<Vec<Rule<E>>>,
    hint: Option<fn(&E) -> Option<Duration>>,
}

pub(super) enum Rule<E> {
    Status(Arc<dyn Fn(&E) -> Option<u16> + Send + Sync>),
    If(fn(&E) -> bool, Verdict),
}

impl<E> ErrorRules<E> {
    pub(super) fn none() -> Self {
        Self { rules: Arc::default(), hint: None }
    }

    pub(super) fn with_status<S: Into<u16> + 'static>(self, status: fn(&E) -> Option<S>) -> Self
    where
        E: 'static,
    {
        self.with(Rule::Status(Arc::new(move |error| status(error).map(Into::into))))
    }

    pub(super) fn with(mut self, rule: Rule<E>) -> Self {
        Arc::make_mut(&mut self.rules).push(rule);
        self
    }

    pub(super) fn with_hint(self, hint: fn(&E) -> Option<Duration>) -> Self {
        Self { hint: Some(hint), ..self }
    }

    pub(super) fn judge(&self, error: &E, of_status: &dyn Fn(u16) -> Verdict) -> Option<Verdict> {
        let verdict = self.rules.iter().find_map(|rule| match rule {
            Rule::Status(status) => status(error).map(of_status),
            Rule::If(is, verdict) => is(error).then_some(*verdict),
        })?;
        Some(verdict.or_retry_after(|| self.hint.and_then(|hint| hint(error))))
    }
}

impl<E> Clone for ErrorRules<E> {
    fn clone(&self) -> Self {
        Self { rules: self.rules.clone(), hint: self.hint }
    }
}

impl<E> Clone for Rule<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Status(status) => Self::Status(status.clone()),
            Self::If(is, verdict) => Self::If(*is, *verdict),
        }
    }
}

impl<E> fmt::Debug for ErrorRules<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorRules({})", self.rules.len())
    }
}

/// Where an error's verdict comes from.
///
/// Sealed: its methods may change.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not judge a `{E}`",
    label = "the operation fails with `{E}`",
    note = "the rules take a function of the operation's own error, `fn(&{E}) -> ..`",
    note = "or of the foreign error that `lift` has put into a `withstand::Error`"
)]
pub trait JudgeError<E>: sealed::JudgeError {
    /// `None`: no rule knows the error.
    fn judge_error(&self, error: &E, of_status: &dyn Fn(u16) -> Verdict) -> Option<Verdict>;
}

mod sealed {
    pub trait JudgeError {}
    impl JudgeError for () {}
    impl<E> JudgeError for super::ErrorRules<E> {}
}

impl<E> JudgeError<E> for () {
    fn judge_error(&self, _: &E, _: &dyn Fn(u16) -> Verdict) -> Option<Verdict> {
        None
    }
}

impl<E> JudgeError<E> for ErrorRules<E> {
    fn judge_error(&self, error: &E, of_status: &dyn Fn(u16) -> Verdict) -> Option<Verdict> {
        self.judge(error, of_status)
    }
}

impl<E> JudgeError<Error<E>> for ErrorRules<E> {
    fn judge_error(&self, error: &Error<E>, of_status: &dyn Fn(u16) -> Verdict) -> Option<Verdict> {
        match error {
            Error::Inner(error) => self.judge(error, of_status),
            Error::Rejected(_) => None,
        }
    }
}
