use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use crate::panics::catch_panic;

/// What a fallback tells its listeners.
#[derive(Debug)]
#[non_exhaustive]
pub enum FallbackEvent<'a, T, E> {
    /// The fallback is applied to this result. The event comes before the fallback runs.
    #[non_exhaustive]
    Applied {
        /// The fallback's name, if it was given one.
        name: Option<&'a str>,
        /// What the operation returned: an error, or an answer that the fallback handles.
        result: &'a Result<T, E>,
    },
    /// The fallback was applied, and failed itself. The caller gets its error.
    #[non_exhaustive]
    Failed {
        /// The fallback's name, if it was given one.
        name: Option<&'a str>,
        /// The fallback's own error. The operation's error was in [`Applied`](Self::Applied).
        error: &'a E,
    },
}

impl<T, E> FallbackEvent<'_, T, E> {
    fn trace(&self) {
        #[cfg(feature = "tracing")]
        match self {
            Self::Applied { name, result } => tracing::debug!(
                target: "withstand::fallback",
                name = *name,
                instead_of = if result.is_ok() { "an answer" } else { "an error" },
                "fallback applied"
            ),
            Self::Failed { name, .. } => tracing::debug!(
                target: "withstand::fallback",
                name = *name,
                "fallback failed"
            ),
        }
    }
}

/// The listeners of a fallback's events.
///
/// An event has the operation's result in its own type, so a listener is generic here, where the listeners of the other
/// policies are not. See [`listener_fn`](super::Fallback::listener_fn).
///
/// Sealed: a listener is a closure.
pub trait Listen<T, E>: sealed::Listen {
    #[doc(hidden)]
    fn hear(&self, event: &FallbackEvent<'_, T, E>);
}

mod sealed {
    pub trait Listen {}
    impl Listen for super::NoListener {}
    impl<F, P> Listen for super::ListenFn<F, P> {}
}

/// No listener: the default.
#[derive(Clone, Copy, Debug)]
pub struct NoListener;

impl<T, E> Listen<T, E> for NoListener {
    fn hear(&self, _: &FallbackEvent<'_, T, E>) {}
}

/// A closure that listens, after the listeners that were added before it (`P`).
pub struct ListenFn<F, P = NoListener> {
    previous: P,
    listener: Arc<F>,
}

impl<F, P> ListenFn<F, P> {
    pub(super) fn new(previous: P, listener: F) -> Self {
        Self { previous, listener: Arc::new(listener) }
    }
}

impl<T, E, F, P> Listen<T, E> for ListenFn<F, P>
where
    F: Fn(&FallbackEvent<'_, T, E>),
    P: Listen<T, E>,
{
    /// The panic of a listener reaches neither the call nor the next listener.
    fn hear(&self, event: &FallbackEvent<'_, T, E>) {
        self.previous.hear(event);
        catch_panic(|| (self.listener)(event));
    }
}

impl<F, P: Clone> Clone for ListenFn<F, P> {
    fn clone(&self) -> Self {
        Self { previous: self.previous.clone(), listener: self.listener.clone() }
    }
}

// A listener's panic is caught, and nothing of ours is half changed while it runs.
impl<F, P> UnwindSafe for ListenFn<F, P> {}
impl<F, P> RefUnwindSafe for ListenFn<F, P> {}

impl<F, P: fmt::Debug> fmt::Debug for ListenFn<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenFn").field("previous", &self.previous).finish_non_exhaustive()
    }
}

pub(super) fn emit<T, E>(listener: &impl Listen<T, E>, event: &FallbackEvent<'_, T, E>) {
    catch_panic(|| event.trace());
    listener.hear(event);
}
