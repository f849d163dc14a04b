//! Calls that need `&mut` access to something of the caller's, a connection for example.

use std::{fmt, future::Future, marker::PhantomData, pin::Pin, sync::Mutex, time::Duration};

use super::{fallback::PipelineFallback, policy::Pipeline};
use crate::{carry::CarriesRejected, classify::Classify, retry::Attempt};

/// The future of one attempt that borrows the caller's context.
pub type ContextFuture<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// What an operation may know of its own attempt; see [`call_with_context`](Pipeline::call_with_context).
///
/// `'a` is how long the attempt has the context. `'env` is what else the operation borrows: it outlives `'a`, and the
/// compiler knows that because it is named here.
#[non_exhaustive]
pub struct ContextAttempt<'a, 'env> {
    /// 1 for the first attempt.
    pub number: u32,
    /// Whether no other attempt can follow it.
    pub is_last: bool,
    /// The time since the call began.
    pub elapsed: Duration,
    /// The time until the call ends the attempt. `None` if nothing ends it.
    pub remaining: Option<Duration>,
    scope: PhantomData<&'a &'env ()>,
}

impl fmt::Debug for ContextAttempt<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, is_last, elapsed, remaining, .. } = self;
        let mut debug = f.debug_struct("ContextAttempt");
        debug.field("number", number).field("is_last", is_last).field("elapsed", elapsed).field("remaining", remaining);
        debug.finish()
    }
}

impl<C, F> Pipeline<C, F> {
    /// [`call_with`](Self::call_with), for an operation that needs `&mut` access to something: a connection in a
    /// transaction, a `&mut` client. Each attempt is given it anew.
    ///
    /// It is an `async fn`: it begins when it is polled first. Each attempt is one allocation, that of its boxed
    /// future. There is no tower form of it.
    ///
    /// ```
    /// # use withstand::Pipeline;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> std::io::Result<()> {
    /// # struct Connection(u32);
    /// # impl Connection { async fn insert(&mut self, row: u32) -> std::io::Result<u32> { self.0 += row; Ok(self.0) } }
    /// let orders = Pipeline::standard("orders");
    /// let mut connection = Connection(0);
    /// let sum = orders
    ///     .call_with_context(&mut connection, |connection, _| {
    ///         Box::pin(async move { connection.insert(7).await })
    ///     })
    ///     .await?;
    /// assert_eq!(sum, 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call). **An attempt that is dropped, by a timeout too, may leave the connection in the middle
    /// of its protocol.** Look whether your client repairs that by itself (a pool that checks connections, `sqlx` for
    /// example); else close the connection after [`Rejected::TimedOut`](crate::Rejected::TimedOut).
    ///
    /// # Panics
    ///
    /// As [`call`](Self::call).
    pub async fn call_with_context<'env, X, O, T, E, G>(&self, context: &mut X, operation: O) -> Result<T, E>
    where
        X: Send + ?Sized,
        O: for<'a> FnMut(&'a mut X, ContextAttempt<'a, 'env>) -> ContextFuture<'a, T, E> + Send,
        E: CarriesRejected,
        C: Classify<T, E>,
        // A parameter: where the future named a projection, the compiler could not prove that it is `Send`, see
        // `operation.rs`.
        F: PipelineFallback<T, E, (), Future = G>,
        G: Future<Output = Result<T, E>>,
    {
        let idle = Mutex::new(Some(Lent { context, operation }));
        let attempt = |attempt: Attempt<'_, E>| {
            let Attempt { number, is_last, elapsed, remaining, .. } = attempt;
            let attempt = ContextAttempt { number, is_last, elapsed, remaining, scope: PhantomData };
            let mut taken = Taken::from(&idle);
            async move {
                let Lent { context, operation } = taken.lent();
                operation(context, attempt).await
            }
        };
        self.call_with(attempt).await
    }
}

/// What one attempt at a time may use.
struct Lent<'c, X: ?Sized, O> {
    context: &'c mut X,
    operation: O,
}

/// The attempt that runs has it, and gives it back when it ends or is dropped. The mutex is never contended: it only
/// lets the next attempt have it.
struct Taken<'i, 'c, X: ?Sized, O> {
    idle: &'i Mutex<Option<Lent<'c, X, O>>>,
    lent: Option<Lent<'c, X, O>>,
}

impl<'i, 'c, X: ?Sized, O> Taken<'i, 'c, X, O> {
    fn from(idle: &'i Mutex<Option<Lent<'c, X, O>>>) -> Self {
        Self { idle, lent: idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() }
    }

    fn lent(&mut self) -> &mut Lent<'c, X, O> {
        self.lent.as_mut().expect("one attempt runs at a time")
    }
}

impl<X: ?Sized, O> Drop for Taken<'_, '_, X, O> {
    fn drop(&mut self) {
        let lent = self.lent.take();
        *self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = lent;
    }
}
