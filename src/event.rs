//! Who is told of a policy's events: its listeners, and `tracing`. No event is built when nobody listens.

use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::Arc,
};

use crate::{error::Name, panics::catch_panic};

/// What a policy reports.
pub(crate) trait Event {
    /// Reports it as a `tracing` event.
    fn trace(&self);
}

/// A policy's name (`N` is `Option<Name>` where it may have none), and the listeners of its events, in the order in
/// which they were added.
pub(crate) struct Reporter<E, N = Name> {
    name: N,
    listeners: Vec<Arc<dyn Fn(&E) + Send + Sync>>,
}

impl<E, N> Reporter<E, N> {
    pub(crate) const fn new(name: N) -> Self {
        Self { name, listeners: Vec::new() }
    }

    pub(crate) fn name(&self) -> &N {
        &self.name
    }

    pub(crate) fn set_name(&mut self, name: N) {
        self.name = name;
    }

    pub(crate) fn add(&mut self, listener: impl Fn(&E) + Send + Sync + 'static) {
        self.listeners.push(Arc::new(listener));
    }
}

impl<E: Event, N: Clone> Reporter<E, N> {
    /// Builds the event if anyone listens, and tells them.
    #[inline]
    pub(crate) fn emit(&self, build: impl FnOnce(N) -> E) {
        if !self.listeners.is_empty() || is_traced() {
            self.tell(build);
        }
    }

    /// Listeners run inside calls, and inside `Drop`: the panic of one reaches neither the call nor the next listener.
    #[inline(never)]
    fn tell(&self, build: impl FnOnce(N) -> E) {
        let event = build(self.name.clone());
        catch_panic(|| event.trace());
        for listener in &self.listeners {
            catch_panic(|| listener(&event));
        }
    }
}

impl<E, N: Clone> Clone for Reporter<E, N> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), listeners: self.listeners.clone() }
    }
}

// A listener's panic is caught, and nothing of ours is half changed while it runs.
impl<E, N> UnwindSafe for Reporter<E, N> {}
impl<E, N> RefUnwindSafe for Reporter<E, N> {}

impl<E, N: fmt::Debug> fmt::Debug for Reporter<E, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("name", &self.name).field("listeners", &self.listeners.len()).finish()
    }
}

#[inline]
pub(crate) fn is_traced() -> bool {
    #[cfg(feature = "tracing")]
    let is_traced = tracing::level_filters::LevelFilter::current() >= tracing::Level::ERROR;
    #[cfg(not(feature = "tracing"))]
    let is_traced = false;
    is_traced
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Silent;

    impl Event for Silent {
        fn trace(&self) {}
    }

    #[test]
    fn no_event_is_built_when_nobody_listens() {
        Reporter::<Silent>::new("users".into()).emit(|_| panic!("built for nobody"));
    }

    #[test]
    fn g5_all_listeners_are_told_in_order_though_one_panics() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut reporter = Reporter::<Silent>::new("users".into());
        for number in 1..=3 {
            let told = told.clone();
            reporter.add(move |_| {
                told.lock().expect("no panic while pushing").push(number);
                assert_ne!(number, 2, "the second listener panics");
            });
        }
        reporter.emit(|_| Silent);
        assert_eq!(*told.lock().expect("no panic while pushing"), [1, 2, 3]);
    }
}
