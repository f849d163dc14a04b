use std::{
    fmt,
    future::{Future, Ready, ready},
};

use crate::sync::Arc;

/// What stands in for a result: a value, a function, or a second service.
///
/// `K` is what was extracted from the request beforehand; `()` in the plain door.
#[diagnostic::on_unimplemented(
    message = "this fallback cannot stand in for a `Result<{T}, {E}>`",
    label = "it has `{K}` from the request, and yields another type",
    note = "a value or a closure must yield the operation's own `Result`",
    note = "`Fallback::service` stands in for services: use `.layer()`"
)]
pub trait Recovery<T, E, K> {
    /// What yields the other result.
    type Future: Future<Output = Result<T, E>>;

    /// Whether there is anything it could do.
    #[doc(hidden)]
    fn can_recover(&self, _result: &Result<T, E>, _extracted: &K) -> bool {
        true
    }

    /// Steps in for `result`, or gives it back: there is nothing it could do.
    #[doc(hidden)]
    fn recover(&self, result: Result<T, E>, extracted: K) -> Result<Self::Future, Result<T, E>>;
}

/// What needs nothing but the result: all of them but a second service.
pub trait PlainRecovery {}

/// Always the same value.
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

        impl<F> PlainRecovery for $name<F> {}

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

function! {
    /// A function of the error.
    ErrorFn
}
function! {
    /// An async function of the error.
    AsyncErrorFn
}
function! {
    /// A function of the whole result.
    ResultFn
}
function! {
    /// An async function of the whole result.
    AsyncResultFn
}
function! {
    /// A function of what was extracted from the request, and the error.
    RequestFn
}
function! {
    /// An async function of what was extracted from the request, and the error.
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
        Ok(ready((self.0)(error(result)?)))
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
        Ok((self.0)(error(result)?))
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
        Ok(ready((self.0)(extracted, error(result)?)))
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
        Ok((self.0)(extracted, error(result)?))
    }
}

/// The error; a function of the error cannot do anything about an answer.
fn error<T, E>(result: Result<T, E>) -> Result<E, Result<T, E>> {
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

    use super::Recovery;
    use crate::operation::{Operation, SendRequest, SendRequestFuture};

    /// A second service. Its layer takes a copy of each request, beside a clone of the service to send it through.
    #[derive(Clone, Copy, Debug)]
    pub struct SecondService<S>(pub(in crate::fallback) S);

    /// Sends what the layer has extracted: a copy of the request, to a second service.
    #[derive(Clone, Copy, Debug)]
    pub struct SendCopy;

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
