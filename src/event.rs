//! Who hears of a policy's events: a listener, and `tracing`. Nothing is made when nobody listens.

use std::{fmt, sync::Arc};

use crate::panics::catch_panic;

/// What a policy reports.
pub(crate) trait Event {
    /// Reports it as a `tracing` event.
    fn trace(&self);
}

/// One listener, or none.
pub(crate) struct Listener<E>(Option<Arc<dyn Fn(&E) + Send + Sync>>);

impl<E> Listener<E> {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn new(hear: impl Fn(&E) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }
}

impl<E: Event> Listener<E> {
    /// Makes the event if anyone listens, and tells them.
    #[inline]
    pub(crate) fn emit(&self, make: impl FnOnce() -> E) {
        if self.0.is_some() || is_traced() {
            self.tell(make);
        }
    }

    #[inline(never)]
    fn tell(&self, make: impl FnOnce() -> E) {
        let event = make();
        catch_panic(|| event.trace());
        if let Some(hear) = &self.0 {
            catch_panic(|| hear(&event));
        }
    }
}

impl<E> Clone for Listener<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> fmt::Debug for Listener<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Listener" } else { "none" })
    }
}

pub(crate) fn is_traced() -> bool {
    #[cfg(feature = "tracing")]
    let is_traced = tracing::level_filters::LevelFilter::current() >= tracing::Level::ERROR;
    #[cfg(not(feature = "tracing"))]
    let is_traced = false;
    is_traced
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Event for Silent {
        fn trace(&self) {}
    }

    #[test]
    fn nothing_is_made_when_nobody_listens() {
        Listener::<Silent>::NONE.emit(|| panic!("made for no one"));
    }
}
