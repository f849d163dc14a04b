use std::{fmt, sync::Arc};

use crate::panics::catch_panic;

/// What a fallback reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum FallbackEvent<'a, T, E> {
    /// It steps in for this result.
    #[non_exhaustive]
    Recovering {
        /// The fallback's name, if it was given one.
        name: Option<&'a str>,
        /// What the operation yielded: the first error.
        result: &'a Result<T, E>,
    },
    /// It failed itself; this is what the caller gets.
    #[non_exhaustive]
    Failed {
        /// The fallback's name, if it was given one.
        name: Option<&'a str>,
        /// Its own error. The first one was reported when it stepped in.
        error: &'a E,
    },
}

impl<T, E> FallbackEvent<'_, T, E> {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Recovering { name, result } => tracing::info!(
                target: "withstand::fallback",
                name = *name,
                instead_of = if result.is_ok() { "an answer" } else { "an error" },
                "fallback stepped in"
            ),
            Self::Failed { name, .. } => tracing::warn!(
                target: "withstand::fallback",
                name = *name,
                "fallback failed"
            ),
        }
    }
}

/// Who hears of a fallback's events.
///
/// A fallback has the first error at hand, in its own type, so its listener is generic where the other policies' are
/// not: see [`listener_fn`](super::Fallback::listener_fn).
pub trait Listen<T, E> {
    #[doc(hidden)]
    fn hear(&self, event: &FallbackEvent<'_, T, E>);
}

/// No one.
#[derive(Clone, Copy, Debug)]
pub struct NoListener;

impl<T, E> Listen<T, E> for NoListener {
    fn hear(&self, _: &FallbackEvent<'_, T, E>) {}
}

/// A closure that listens.
pub struct ListenFn<F>(Arc<F>);

impl<F> ListenFn<F> {
    pub(super) fn new(hear: F) -> Self {
        Self(Arc::new(hear))
    }
}

impl<T, E, F> Listen<T, E> for ListenFn<F>
where
    F: Fn(&FallbackEvent<'_, T, E>),
{
    fn hear(&self, event: &FallbackEvent<'_, T, E>) {
        (self.0)(event);
    }
}

impl<F> Clone for ListenFn<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> fmt::Debug for ListenFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenFn").finish_non_exhaustive()
    }
}

pub(super) fn emit<T, E>(listener: &impl Listen<T, E>, event: &FallbackEvent<'_, T, E>) {
    catch_panic(|| event.trace());
    catch_panic(|| listener.hear(event));
}
