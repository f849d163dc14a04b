use std::{
    fmt,
    future::{Future, Ready, ready},
};

use crate::sync::Arc;

/// What a fallback answers with: a value, a function's result, or the answer of a second service.
///
/// `K` is what was extracted from the request beforehand; it is `()` in a plain call. Sealed: every constructor of
/// [`Fallback`](super::Fallback) makes one.
#[diagnostic::on_unimplemented(
    message = "this fallback cannot answer with a `Result<{T}, {E}>`",
    label = "it has `{K}` from the request, and returns another type",
    note = "a value or a closure must return the operation's own `Result`",
    note = "`Fallback::service` has no plain call: use `.layer()`"
)]
pub trait Recovery<T, E, K>: sealed::Recovery {
    /// The future that returns the fallback's own result.
    type Future: Future<Output = Result<T, E>>;

    /// Whether it can recover from this result. A function of the error cannot recover from an answer, and a second
    /// service not without a copy of the request.
    #[doc(hidden)]
    fn can_recover(&self, _result: &Result<T, E>, _extracted: &K) -> bool {
        true
    }

    /// Starts to recover from `result`; gives `result` back where [`can_recover`](Self::can_recover) is false.
    #[doc(hidden)]
    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<Self::Future, Result<T, E>>;
}

/// A recovery that needs no service: all of them except a second service.
///
/// Sealed.
pub trait PlainRecovery: sealed::Recovery {}

mod sealed {
    pub trait Recovery {}
}

/// Answers always with the same value.
#[derive(Debug)]
pub struct Value<V>(Arc<V>);

impl<V> Value<V> {
    pub(super) fn new(value: V) -> Self {
        Self(Arc::new(value))
    }
}

impl<V> Clone for Value<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> sealed::Recovery for Value<V> {}
impl<V> PlainRecovery for Value<V> {}

impl<V: Clone, E, K> Recovery<V, E, K> for Value<V> {
    type Future = Ready<Result<V, E>>;

    fn recover(&self, _: Result<V, E>, _: K) -> Result<Self::Future, Result<V, E>> {
        Ok(ready(Ok((*self.0).clone())))
    }
}

macro_rules! function {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name<F>(Arc<F>);

        impl<F> $name<F> {
            pub(super) fn new(function: F) -> Self {
                Self(Arc::new(function))
            }
        }

        impl<F> Clone for $name<F> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<F> sealed::Recovery for $name<F> {}
        impl<F> PlainRecovery for $name<F> {}

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

function! {
    /// Answers with what a function makes of the error.
    ErrorFn
}
function! {
    /// Answers with what an async function makes of the error.
    AsyncErrorFn
}
function! {
    /// Answers with what a function makes of the whole result.
    ResultFn
}
function! {
    /// Answers with what an async function makes of the whole result.
    AsyncResultFn
}
function! {
    /// Answers with what a function makes of the error and of what was extracted from the request.
    RequestFn
}
function! {
    /// Answers with what an async function makes of the error and of what was extracted from the request.
    AsyncRequestFn
}

impl<T, E, F> Recovery<T, E, ()> for ErrorFn<F>
where
    F: Fn(E) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn can_recover(&self, result: &Result<T, E>, _: &()) -> bool {
        result.is_err()
    }

    fn recover(&self, result: Result<T, E>, (): ()) -> Result<Self::Future, Result<T, E>> {
        Ok(ready((self.0)(error_of(result)?)))
    }
}

impl<T, E, F, Fut> Recovery<T, E, ()> for AsyncErrorFn<F>
where
    F: Fn(E) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn can_recover(&self, result: &Result<T, E>, _: &()) -> bool {
        result.is_err()
    }

    fn recover(&self, result: Result<T, E>, (): ()) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(error_of(result)?))
    }
}

impl<T, E, F> Recovery<T, E, ()> for ResultFn<F>
where
    F: Fn(Result<T, E>) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn recover(&self, result: Result<T, E>, (): ()) -> Result<Self::Future, Result<T, E>> {
        Ok(ready((self.0)(result)))
    }
}

impl<T, E, F, Fut> Recovery<T, E, ()> for AsyncResultFn<F>
where
    F: Fn(Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn recover(&self, result: Result<T, E>, (): ()) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(result))
    }
}

impl<T, E, K, F> Recovery<T, E, K> for RequestFn<F>
where
    F: Fn(K, E) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn can_recover(&self, result: &Result<T, E>, _: &K) -> bool {
        result.is_err()
    }

    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<Self::Future, Result<T, E>> {
        Ok(ready((self.0)(extracted, error_of(result)?)))
    }
}

impl<T, E, K, F, Fut> Recovery<T, E, K> for AsyncRequestFn<F>
where
    F: Fn(K, E) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn can_recover(&self, result: &Result<T, E>, _: &K) -> bool {
        result.is_err()
    }

    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(extracted, error_of(result)?))
    }
}

/// Returns the error, or gives an answer back: a function of the error cannot recover from it.
fn error_of<T, E>(result: Result<T, E>) -> Result<E, Result<T, E>> {
    match result {
        Ok(answer) => Err(Ok(answer)),
        Err(error) => Ok(error),
    }
}

#[cfg(feature = "tower")]
pub use self::service::{SecondService, SendCopy};

#[cfg(feature = "tower")]
mod service {
    use tower_service::Service;

    use super::{Recovery, sealed};
    use crate::operation::{Operation, SendRequest, SendRequestFuture};

    /// Answers with what a second service answers. Its layer makes a copy of each request, and a clone of the service
    /// for it.
    #[derive(Clone, Copy, Debug)]
    pub struct SecondService<S>(pub(in crate::fallback) S);

    /// Sends what the layer has extracted, a copy of the request, to the second service.
    #[derive(Clone, Copy, Debug)]
    pub struct SendCopy;

    impl sealed::Recovery for SendCopy {}

    impl<S, R, T, E> Recovery<T, E, Option<SendRequest<S, R>>> for SendCopy
    where
        S: Service<R, Response = T, Error = E>,
    {
        type Future = SendRequestFuture<S, R, S::Future>;

        fn can_recover(&self, _: &Result<T, E>, copy: &Option<SendRequest<S, R>>) -> bool {
            copy.is_some()
        }

        fn recover(&self, result: Result<T, E>, copy: Option<SendRequest<S, R>>) -> Result<Self::Future, Result<T, E>> {
            copy.map(Operation::start).ok_or(result)
        }
    }
}
