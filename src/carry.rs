//! How an error type carries a [`Rejected`], so that no policy ever changes it.
//!
//! Three cures, one for each kind of error:
//!
//! - **your own enum**: one variant and one line, [`carries_rejected!`](crate::carries_rejected).
//! - **a foreign error, plain**: wrap the operation, once, at the bottom: [`lift`].
//! - **a foreign error, tower**: `LiftLayer` last, next to the service.
//!
//! `Box<dyn Error + Send + Sync>`, [`std::io::Error`] and, with the feature `anyhow`, `anyhow::Error` carry it as they
//! are.
//!
//! Lift once, and only what cannot carry. A second `lift` above a policy would wrap the rejection that the first one
//! carries, and a retry above both could no longer see it.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::error::Rejected;

/// An error that can carry a [`Rejected`], and tell whether it does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a `withstand::Rejected`",
    label = "this error has no place for a rejection",
    note = "your own enum: add a variant `Policy(#[source] Rejected)` and `withstand::carries_rejected!({Self}, Policy);`",
    note = "`anyhow::Error`: turn on the feature `anyhow` of `withstand`",
    note = "a foreign error (`reqwest::Error`, `sqlx::Error`, ..), plain call: wrap the operation, `lift(operation)`",
    note = "a foreign error, tower: put `.layer(LiftLayer)` last, next to the service",
    note = "`eyre::Report` and its like: `lift(operation)`, and behind the policies `.map_err(withstand::Error::flatten)`"
)]
pub trait CarriesRejected: Sized {
    /// Makes an error that carries `rejected`.
    fn from_rejected(rejected: Rejected) -> Self;

    /// The rejection, if this error carries one.
    fn as_rejected(&self) -> Option<&Rejected>;

    /// The rejection, if this error carries one and lets it be changed.
    ///
    /// A retry that ends with a rejection writes into it how many attempts it had sent; see
    /// [`Rejected::attempts_sent`]. Where this is `None`, as by default, that number is not told.
    fn as_rejected_mut(&mut self) -> Option<&mut Rejected> {
        None
    }
}

/// Lets an enum of yours carry a [`Rejected`] in one of its variants.
///
/// Give the variant `#[from]` or `#[source]`, and not `transparent`: that would hide the rejection from
/// [`Rejected::find`]. With `#[from]`, `breaker.try_acquire()?` works too. Give it a text of its own, "call rejected":
/// what prints a whole chain (`{:#}` of `anyhow`) then says which policy rejected the call once, and not twice.
///
/// The other variants are failures of the dependency, `NoSuchUser` among them, until a classifier says otherwise.
///
/// ```
/// use withstand::{CarriesRejected, Rejected};
///
/// #[derive(Debug, thiserror::Error)]
/// enum ApiError {
///     #[error("no such user")]
///     NoSuchUser,
///     #[error("call rejected")]
///     Policy(#[from] Rejected),
/// }
/// withstand::carries_rejected!(ApiError, Policy);
///
/// assert!(ApiError::NoSuchUser.as_rejected().is_none());
/// ```
#[macro_export]
macro_rules! carries_rejected {
    ($error:ty, $variant:ident) => {
        impl $crate::CarriesRejected for $error {
            fn from_rejected(rejected: $crate::Rejected) -> Self {
                Self::$variant(rejected)
            }

            fn as_rejected(&self) -> ::core::option::Option<&$crate::Rejected> {
                match self {
                    Self::$variant(rejected) => ::core::option::Option::Some(rejected),
                    #[allow(unreachable_patterns)]
                    _ => ::core::option::Option::None,
                }
            }

            fn as_rejected_mut(&mut self) -> ::core::option::Option<&mut $crate::Rejected> {
                match self {
                    Self::$variant(rejected) => ::core::option::Option::Some(rejected),
                    #[allow(unreachable_patterns)]
                    _ => ::core::option::Option::None,
                }
            }
        }
    };
}

/// An error that is not yours, or a rejection in its place: what [`lift`] and `LiftLayer` make of a foreign error.
///
/// It is not `#[non_exhaustive]`, because it is complete: either a policy ended the call, or the operation did. A
/// rejection prints as "call rejected" and is the [`source`](StdError::source), so a report of the whole chain says
/// once which policy it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Error<E> {
    /// A policy ended the call.
    Rejected(Rejected),
    /// The operation failed.
    Inner(E),
}

impl<E> Error<E> {
    /// The operation's own error, if it was the operation that failed.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Inner(error) => Some(error),
        }
    }

    /// The operation's own error, or one that is made of the rejection: for an `E` that takes any error, `eyre::Report`
    /// for example, or `anyhow::Error` without the feature `anyhow`.
    ///
    /// ```
    /// # use withstand::{lift, CircuitBreaker, Error};
    /// # async fn fetch() -> anyhow::Result<u32> { Ok(7) }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> anyhow::Result<()> {
    /// # let breaker = CircuitBreaker::new("users");
    /// let answer = breaker.call(|| lift(fetch())).await.map_err(Error::flatten)?;
    /// # Ok(()) }
    /// ```
    pub fn flatten(self) -> E
    where
        E: From<Rejected>,
    {
        match self {
            Self::Rejected(rejected) => rejected.into(),
            Self::Inner(error) => error,
        }
    }

    /// The operation's own error or the rejection, boxed: for an `E` that is no [`std::error::Error`] itself but turns
    /// into a box of one, `&str` and `String` for example.
    pub fn into_boxed(self) -> Box<dyn StdError + Send + Sync>
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        match self {
            Self::Rejected(rejected) => Box::new(rejected),
            Self::Inner(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(_) => f.write_str("call rejected"),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    /// The rejection, or what caused the operation's error (that error itself is already what this one says).
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => error.source(),
        }
    }
}

impl<E> CarriesRejected for Error<E> {
    fn from_rejected(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    fn as_rejected_mut(&mut self) -> Option<&mut Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }
}

impl CarriesRejected for Box<dyn StdError + Send + Sync> {
    fn from_rejected(rejected: Rejected) -> Self {
        Box::new(rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        Rejected::find(self.as_ref())
    }

    fn as_rejected_mut(&mut self) -> Option<&mut Rejected> {
        find_mut(self.as_mut())
    }
}

/// A rejection further down the chain of sources cannot be reached to be changed.
fn find_mut<'a>(error: &'a mut (dyn StdError + Send + Sync + 'static)) -> Option<&'a mut Rejected> {
    if error.is::<io::Error>() {
        return error.downcast_mut::<io::Error>()?.as_rejected_mut();
    }
    error.downcast_mut()
}

impl CarriesRejected for io::Error {
    /// A timeout has the kind [`TimedOut`](io::ErrorKind::TimedOut), every other rejection
    /// [`Other`](io::ErrorKind::Other).
    fn from_rejected(rejected: Rejected) -> Self {
        let kind = match rejected {
            Rejected::TimedOut(_) => io::ErrorKind::TimedOut,
            Rejected::CircuitOpen(_) | Rejected::BulkheadFull(_) | Rejected::RateLimited(_) => io::ErrorKind::Other,
        };
        Self::new(kind, rejected)
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        Rejected::find(self)
    }

    fn as_rejected_mut(&mut self) -> Option<&mut Rejected> {
        find_mut(self.get_mut()?)
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Rejected> for io::Error {
    fn from(rejected: Rejected) -> Self {
        Self::from_rejected(rejected)
    }
}

#[cfg(feature = "anyhow")]
impl CarriesRejected for anyhow::Error {
    fn from_rejected(rejected: Rejected) -> Self {
        rejected.into()
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        Rejected::find(self.as_ref())
    }

    fn as_rejected_mut(&mut self) -> Option<&mut Rejected> {
        if self.is::<io::Error>() {
            return self.downcast_mut::<io::Error>()?.as_rejected_mut();
        }
        self.downcast_mut()
    }
}

/// Gives an operation with a foreign error one that carries rejections: `Result<T, E>` becomes `Result<T, Error<E>>`.
///
/// ```
/// # use withstand::{lift, Error, Rejected, Timeout};
/// # use std::{fmt, future, time::Duration};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// async fn foreign() -> Result<(), fmt::Error> {
///     future::pending().await
/// }
/// let timeout = Timeout::new(Duration::from_secs(1));
/// let answer = timeout.call(|| lift(foreign())).await;
/// assert!(matches!(answer, Err(Error::Rejected(Rejected::TimedOut(_)))));
/// # }
/// ```
pub fn lift<F>(operation: F) -> LiftFuture<F> {
    LiftFuture { operation }
}

pin_project! {
    /// What [`lift`] and `LiftLayer` make of an operation.
    #[derive(Clone, Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct LiftFuture<F> {
        #[pin]
        operation: F,
    }
}

impl<F, T, E> Future for LiftFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().operation.poll(cx).map_err(Error::Inner)
    }
}

#[cfg(feature = "tower")]
pub use self::layer::{LiftLayer, LiftService};

#[cfg(feature = "tower")]
mod layer {
    use std::task::{Context, Poll};

    use tower_layer::Layer;
    use tower_service::Service;

    use super::{Error, LiftFuture, lift};

    /// [`lift`] for a service: its error `E` becomes [`Error<E>`], which carries rejections.
    ///
    /// It goes last, next to the service.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct LiftLayer;

    impl<S> Layer<S> for LiftLayer {
        type Service = LiftService<S>;

        fn layer(&self, inner: S) -> Self::Service {
            LiftService { inner }
        }
    }

    /// A service whose error carries rejections.
    #[derive(Clone, Copy, Debug)]
    pub struct LiftService<S> {
        inner: S,
    }

    impl<S> LiftService<S> {
        #[cfg(feature = "http")]
        pub(crate) fn new(inner: S) -> Self {
            Self { inner }
        }
    }

    impl<S, R> Service<R> for LiftService<S>
    where
        S: Service<R>,
    {
        type Response = S::Response;
        type Error = Error<S::Error>;
        type Future = LiftFuture<S::Future>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.inner.poll_ready(cx).map_err(Error::Inner)
        }

        fn call(&mut self, request: R) -> Self::Future {
            lift(self.inner.call(request))
        }
    }
}
