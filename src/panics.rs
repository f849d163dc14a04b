//! Panics of code that is not ours: of operations, listeners, wakers, and of what is cloned.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Keeps to itself the panic of code that is not the call's own: listeners and wakers may run inside `Drop`, where a second panic
/// ends the process.
pub(crate) fn catch_panic(hear: impl FnOnce()) {
    // The panic hook has reported it already. What it was thrown with may panic in turn when it is dropped.
    let Err(thrown) = catch_unwind(AssertUnwindSafe(hear)) else { return };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(thrown))) {
        mem::forget(again);
    }
}

/// Does this, and undoes on the way out what was done before it, should it panic.
///
/// A permit that is alive meanwhile would do as well. But it would have to be in memory for that, and not in registers until it
/// is where it belongs.
#[inline(always)]
pub(crate) fn with_rollback<R>(act: impl FnOnce() -> R, undo: impl Fn()) -> R {
    let undo = Undo(undo);
    let done = act();
    mem::forget(undo);
    done
}

struct Undo<F: Fn()>(F);

impl<F: Fn()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn it_is_undone_only_if_it_panics() {
        let undone = Cell::new(0);
        let undo = || undone.set(undone.get() + 1);
        assert_eq!((with_rollback(|| 7, undo), undone.get()), (7, 0));
        let thrown = catch_unwind(AssertUnwindSafe(|| with_rollback(|| panic!("as asked"), undo)));
        assert!(thrown.is_err());
        assert_eq!(undone.get(), 1);
    }
}
