use std::sync::Arc;

use super::{
    event::{FallbackEvent, Listen, emit},
    handled::Handles,
    recovery::Recovery,
};
use crate::{classify::Verdict, error::Name};

/// What a fallback consists of: what it answers with, which results it handles, its name and its listeners.
#[derive(Debug)]
pub struct Plan<S, W, L> {
    pub(super) recovery: S,
    pub(super) handled: Arc<W>,
    pub(super) name: Option<Name>,
    pub(super) listener: L,
}

impl<S, W, L> Plan<S, W, L> {
    /// Whether this result is handled, and the fallback can recover from it.
    #[inline]
    pub(super) fn handles<T, E, K>(&self, result: &Result<T, E>, extracted: &Option<K>) -> bool
    where
        S: Recovery<T, E, K>,
        W: Handles<T, E>,
    {
        self.handled.handles(result) && self.can_recover(result, extracted)
    }

    /// [`handles`](Self::handles), where the verdict of the result is known.
    #[inline]
    pub(crate) fn handles_verdict<T, E, K>(
        &self,
        verdict: Verdict,
        result: &Result<T, E>,
        extracted: &Option<K>,
    ) -> bool
    where
        S: Recovery<T, E, K>,
        W: Handles<T, E>,
    {
        self.handled.handles_verdict(verdict, result) && self.can_recover(result, extracted)
    }

    #[inline]
    fn can_recover<T, E, K>(&self, result: &Result<T, E>, extracted: &Option<K>) -> bool
    where
        S: Recovery<T, E, K>,
    {
        extracted.as_ref().is_some_and(|extracted| self.recovery.can_recover(result, extracted))
    }

    /// Emits the event and starts to recover from `result`; gives `result` back where the fallback cannot recover from
    /// it.
    pub(crate) fn recover<T, E, K>(&self, result: Result<T, E>, extracted: K) -> Result<S::Future, Result<T, E>>
    where
        S: Recovery<T, E, K>,
        L: Listen<T, E>,
    {
        emit(&self.listener, &FallbackEvent::Applied { name: self.name(), result: &result });
        self.recovery.recover(result, extracted)
    }

    pub(crate) fn emit_failed<T, E>(&self, error: &E)
    where
        L: Listen<T, E>,
    {
        emit(&self.listener, &FallbackEvent::Failed { name: self.name(), error });
    }

    fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::as_str)
    }
}

impl<S: Clone, W, L: Clone> Clone for Plan<S, W, L> {
    fn clone(&self) -> Self {
        Self {
            recovery: self.recovery.clone(),
            handled: self.handled.clone(),
            name: self.name.clone(),
            listener: self.listener.clone(),
        }
    }
}
