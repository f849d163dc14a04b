use std::sync::Arc;

use super::{
    FallbackEvent,
    event::{Listen, emit},
    handled::Handles,
    stand_in::StandIn,
};
use crate::error::Name;

/// What stands in, for which results, and who hears of it.
#[derive(Debug)]
pub struct Plan<S, W, L> {
    pub(super) stand_in: S,
    pub(super) handled: Arc<W>,
    pub(super) name: Option<Name>,
    pub(super) listener: L,
}

impl<S, W, L> Plan<S, W, L> {
    /// Whether this result is handled, and something can stand in for it.
    #[inline]
    pub(super) fn handles<T, E, K>(&self, result: &Result<T, E>, taken: &Option<K>) -> bool
    where
        S: StandIn<T, E, K>,
        W: Handles<T, E>,
    {
        self.handled.handles(result) && taken.as_ref().is_some_and(|taken| self.stand_in.can_step_in(result, taken))
    }

    /// What stands in for `result`; or `result` itself, if there is nothing it could do.
    pub(super) fn step_in<T, E, K>(&self, result: Result<T, E>, taken: K) -> Result<S::Future, Result<T, E>>
    where
        S: StandIn<T, E, K>,
        L: Listen<T, E>,
    {
        emit(&self.listener, &FallbackEvent::SteppedIn { name: self.name(), result: &result });
        self.stand_in.step_in(result, taken)
    }

    pub(super) fn tell_failure<T, E>(&self, error: &E)
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
            stand_in: self.stand_in.clone(),
            handled: self.handled.clone(),
            name: self.name.clone(),
            listener: self.listener.clone(),
        }
    }
}
