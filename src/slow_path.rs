//! How results leave a `poll`, so that a success costs no more where the error is wide.
//!
//! A wide result that is somewhere in memory is copied from there as a whole, right after it was written in pieces. That
//! stalls the processor for longer than all else that a policy does. A result is not in memory as long as no function
//! gets its address. Two things would get it: a function that is not inlined and returns the same type, for the compiler
//! lets it write where a success is written too; and the clean-up of a panic while the result waits to be returned.

use std::task::Poll;

/// A `Result` by another name: what a function that is not inlined returns to a `poll`.
pub(crate) enum SlowResult<T, E> {
    Ok(T),
    Err(E),
}

impl<T, E> SlowResult<T, E> {
    #[inline(always)]
    pub(crate) fn into_result(self) -> Result<T, E> {
        match self {
            Self::Ok(answer) => Ok(answer),
            Self::Err(error) => Err(error),
        }
    }

    /// [`into_result`](Self::into_result) of what is ready.
    #[inline(always)]
    pub(crate) fn into_poll(poll: Poll<Self>) -> Poll<Result<T, E>> {
        match poll {
            Poll::Ready(Self::Ok(answer)) => Poll::Ready(Ok(answer)),
            Poll::Ready(Self::Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T, E> From<Result<T, E>> for SlowResult<T, E> {
    #[inline(always)]
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(answer) => Self::Ok(answer),
            Err(error) => Self::Err(error),
        }
    }
}

/// Returns the result after `end`, which may panic. A success is no part of a `Result` meanwhile.
#[inline(always)]
pub(crate) fn return_after<T, E>(result: Result<T, E>, end: impl FnOnce()) -> Result<T, E> {
    match result {
        Ok(answer) => {
            end();
            Ok(answer)
        }
        Err(error) => {
            end();
            Err(error)
        }
    }
}
