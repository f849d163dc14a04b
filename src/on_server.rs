//! Whether a tower stack is being built for a server. There, what sends a request again is refused.
//!
//! A layer cannot look into another one: `ServiceBuilder` is foreign, and a pipeline is one type whatever it has. But
//! all of a stack's services are made within one call of `Layer::layer`, on one thread. So that call sets a mark, and
//! a layer that has no place on a server asks for it.

use std::cell::Cell;

thread_local! {
    static IS_BUILDING: Cell<bool> = const { Cell::new(false) };
}

/// Builds a stack for a server.
pub(crate) fn build<T>(build: impl FnOnce() -> T) -> T {
    struct Restore(bool);

    impl Drop for Restore {
        fn drop(&mut self) {
            IS_BUILDING.set(self.0);
        }
    }

    let _restore = Restore(IS_BUILDING.replace(true));
    build()
}

/// What sends a request again (`part`, of this name) says here that it is part of a stack.
#[track_caller]
pub(crate) fn refuse(part: &str, name: &str) {
    assert!(
        !IS_BUILDING.get(),
        "the {part} `{name}` is inside `withstand::http::server(..)`: a server answers a request once, and its client \
         sends it again. The layer of a pipeline, or of keyed policies, may say `send_once()`",
    );
}
