//! Panics of code that is not ours: of operations, listeners, wakers, and of what is cloned.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Catches the panic of code that is not the call's own. Listeners and wakers may run inside `Drop`, where a second
/// panic ends the process. `None` if it panicked.
pub(crate) fn catch_panic<R>(act: impl FnOnce() -> R) -> Option<R> {
    // The panic hook has reported it already. The payload's own `Drop` may panic in turn.
    let payload = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => return Some(done),
        Err(payload) => payload,
    };
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
    None
}

/// Runs `act`. If it panics, `undo` takes back what was done before it.
///
/// A permit that is alive meanwhile would do as well. But it would have to be in memory for that, and not in registers
/// until it is where it belongs.
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
    fn a_panic_is_caught_and_so_is_the_one_of_its_payload() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("as asked, while it is dropped");
            }
        }
        assert_eq!(catch_panic(|| 7), Some(7));
        assert_eq!(catch_panic(|| std::panic::panic_any(Bomb)).map(|()| 7), None);
    }

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
