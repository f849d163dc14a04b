use std::{sync::Arc, time::Duration};

use crate::error::Rejected;

/// What a result says about the dependency that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// It answered. "Your request is wrong", a 404 for example, is an answer too.
    Healthy,
    /// It failed, and another attempt may cure it.
    Transient {
        /// The dependency asks for no other attempt before this time has passed.
        retry_after: Option<Duration>,
    },
    /// It failed, and another attempt would not help, or is not safe.
    Failed,
    /// It was not reached: nothing was sent, because the connection was refused or could not be made. It is safe to
    /// send any request again.
    Unreached,
    /// It is well, and asks *you* to slow down: 429, `RESOURCE_EXHAUSTED`.
    Throttled {
        /// The dependency asks for no other attempt before this time has passed.
        retry_after: Option<Duration>,
    },
    /// The result says nothing about the dependency: our own rejection, or a request that could not be built.
    Ignored,
}

impl Verdict {
    /// Transient, and the dependency says nothing about when to send another attempt.
    pub const TRANSIENT: Self = Self::Transient { retry_after: None };

    /// Throttled, and the dependency says nothing about when to send another attempt.
    pub const THROTTLED: Self = Self::Throttled { retry_after: None };

    /// Whether the dependency failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Transient { .. } | Self::Failed | Self::Unreached => true,
            Self::Healthy | Self::Throttled { .. } | Self::Ignored => false,
        }
    }

    /// Whether the result says that the operation had no effect: nothing was sent, or the dependency refused it in
    /// place of doing it.
    pub(crate) fn rules_out_effects(self) -> bool {
        match self {
            Self::Unreached | Self::Throttled { .. } => true,
            Self::Healthy | Self::Transient { .. } | Self::Failed | Self::Ignored => false,
        }
    }

    /// How long the dependency asks to be left alone, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after } | Self::Throttled { retry_after } => *retry_after,
            Self::Healthy | Self::Failed | Self::Unreached | Self::Ignored => None,
        }
    }

    /// The same verdict with this hint, where it can have one and has none yet.
    pub(super) fn or_retry_after(self, hint: impl FnOnce() -> Option<Duration>) -> Self {
        match self {
            Self::Transient { retry_after: None } => Self::Transient { retry_after: hint() },
            Self::Throttled { retry_after: None } => Self::Throttled { retry_after: hint() },
            other => other,
        }
    }
}

/// Judges the result of a call.
///
/// It is called once for each result, never under a lock, and should be quick.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot judge a `Result<{T}, {E}>`",
    label = "this policy's classifier does not know this result",
    note = "a closure: wrap it, `classify_fn(|result: &Result<T, E>| ..)`",
    note = "another type of answer through the same policy: `policy.classify(..)` is a handle that shares its state",
    note = "the default classifier asks that the error can carry a rejection: see `withstand::CarriesRejected`"
)]
pub trait Classify<T, E> {
    /// What `result` says about the dependency.
    fn classify(&self, result: &Result<T, E>) -> Verdict;

    /// The rejection in an error, if the classifier knows that errors can carry one. A retry tells it how many attempts
    /// it has sent ([`Rejected::attempts_sent`]).
    #[doc(hidden)]
    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        let _ = error;
        None
    }

    /// Whether the operation may be sent again after a result of this verdict, though it may have had an effect. A
    /// retry asks this of what another attempt may cure.
    #[doc(hidden)]
    fn may_repeat(&self, verdict: Verdict) -> bool {
        let _ = verdict;
        true
    }
}

impl<T, E, C: Classify<T, E> + ?Sized> Classify<T, E> for &C {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (**self).classify(result)
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        (**self).rejected_mut(error)
    }

    fn may_repeat(&self, verdict: Verdict) -> bool {
        (**self).may_repeat(verdict)
    }
}

impl<T, E, C: Classify<T, E> + ?Sized> Classify<T, E> for Arc<C> {
    fn classify(&self, result: &Result<T, E>) -> Verdict {
        (**self).classify(result)
    }

    fn rejected_mut<'a>(&self, error: &'a mut E) -> Option<&'a mut Rejected> {
        (**self).rejected_mut(error)
    }

    fn may_repeat(&self, verdict: Verdict) -> bool {
        (**self).may_repeat(verdict)
    }
}
