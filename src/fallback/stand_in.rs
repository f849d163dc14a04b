use std::{
    fmt,
    future::{Future, Ready, ready},
};

/// What stands in for a result: a value, a function, or a second service.
///
/// `K` is what was taken from the request beforehand; `()` in the plain door.
#[diagnostic::on_unimplemented(
    message = "this fallback cannot stand in for a `Result<{T}, {E}>`",
    label = "it has `{K}` from the request, and yields another type",
    note = "a value or a closure must yield the operation's own `Result`",
    note = "`Fallback::service` stands in for services: use `.layer()`"
)]
pub trait StandIn<T, E, K> {
    /// What yields the other result.
    type Future: Future<Output = Result<T, E>>;

    /// Steps in for `result`, or gives it back: there is nothing it could do.
    #[doc(hidden)]
    fn step_in(&self, result: Result<T, E>, taken: K) -> Result<Self::Future, Result<T, E>>;
}

/// Always the same value.
#[derive(Clone, Copy, Debug)]
pub struct Value<V>(pub(super) V);

impl<V: Clone, E, K> StandIn<V, E, K> for Value<V> {
    type Future = Ready<Result<V, E>>;

    fn step_in(&self, _: Result<V, E>, _: K) -> Result<Self::Future, Result<V, E>> {
        Ok(ready(Ok(self.0.clone())))
    }
}

macro_rules! function {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<F>(pub(super) F);

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
    /// An async function of what was taken from the request, and the error.
    TakenFn
}

impl<T, E, F> StandIn<T, E, ()> for ErrorFn<F>
where
    F: Fn(E) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn step_in(&self, result: Result<T, E>, (): ()) -> Result<Self::Future, Result<T, E>> {
        Ok(ready((self.0)(error(result)?)))
    }
}

impl<T, E, F, Fut> StandIn<T, E, ()> for AsyncErrorFn<F>
where
    F: Fn(E) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn step_in(&self, result: Result<T, E>, (): ()) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(error(result)?))
    }
}

impl<T, E, F> StandIn<T, E, ()> for ResultFn<F>
where
    F: Fn(Result<T, E>) -> Result<T, E>,
{
    type Future = Ready<Result<T, E>>;

    fn step_in(&self, result: Result<T, E>, (): ()) -> Result<Self::Future, Result<T, E>> {
        Ok(ready((self.0)(result)))
    }
}

impl<T, E, F, Fut> StandIn<T, E, ()> for AsyncResultFn<F>
where
    F: Fn(Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn step_in(&self, result: Result<T, E>, (): ()) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(result))
    }
}

impl<T, E, K, F, Fut> StandIn<T, E, K> for TakenFn<F>
where
    F: Fn(K, E) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn step_in(&self, result: Result<T, E>, taken: K) -> Result<Fut, Result<T, E>> {
        Ok((self.0)(taken, error(result)?))
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
pub use self::service::SecondService;

#[cfg(feature = "tower")]
mod service {
    use tower_service::Service;

    use super::StandIn;
    use crate::operation::{Operation, SendRequest, SendRequestFuture};

    /// A second service, which is sent a copy of the request.
    #[derive(Clone, Copy, Debug)]
    pub struct SecondService<S>(pub(in crate::fallback) S);

    impl<S, R, T, E> StandIn<T, E, Option<R>> for SecondService<S>
    where
        S: Service<R, Response = T, Error = E> + Clone,
    {
        type Future = SendRequestFuture<S, R>;

        fn step_in(&self, result: Result<T, E>, copy: Option<R>) -> Result<Self::Future, Result<T, E>> {
            match copy {
                Some(request) => Ok(SendRequest { service: self.0.clone(), request }.start()),
                None => Err(result),
            }
        }
    }
}
