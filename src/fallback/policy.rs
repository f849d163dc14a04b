use std::{future::Future, sync::Arc};

#[cfg(feature = "tower")]
use super::recovery::SecondService;
use super::{
    event::{FallbackEvent, Listen, ListenFn, NoListener},
    future::FallbackFuture,
    handled::{EveryError, HandleIf, Handles, Unhealthy},
    recovery::{AsyncErrorFn, AsyncRequestFn, AsyncResultFn, ErrorFn, Recovery, RequestFn, ResultFn, Value},
    shared::Plan,
};
use crate::error::Name;

/// Answers in place of an operation that failed.
///
/// See the [module](super) for what it handles. Clones share what the fallback answers with; there is no other state.
#[derive(Debug)]
pub struct Fallback<S, W = EveryError, L = NoListener> {
    pub(crate) plan: Plan<S, W, L>,
}

impl<S> Fallback<S> {
    fn new(recovery: S) -> Self {
        let plan = Plan { recovery, handled: Arc::new(EveryError), name: None, listener: NoListener };
        Self { plan }
    }
}

impl<V: Clone> Fallback<Value<V>> {
    /// Answers with a clone of `value`.
    pub fn value(value: V) -> Self {
        Self::new(Value::new(value))
    }
}

impl<F> Fallback<ErrorFn<F>> {
    /// Answers with what `recover` makes of the error; it may give an error back.
    pub fn from_fn<T, E>(recover: F) -> Self
    where
        F: Fn(E) -> Result<T, E>,
    {
        Self::new(ErrorFn::new(recover))
    }
}

impl<F> Fallback<AsyncErrorFn<F>> {
    /// [`from_fn`](Fallback::from_fn), async.
    pub fn from_async_fn<T, E, Fut>(recover: F) -> Self
    where
        F: Fn(E) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Self::new(AsyncErrorFn::new(recover))
    }
}

impl<F> Fallback<ResultFn<F>> {
    /// Answers with what `recover` makes of the whole result: for answers that count as failed, a 503 for example.
    ///
    /// It handles errors only, until [`classify`](Fallback::classify) says which answers it handles too.
    pub fn from_result_fn<T, E>(recover: F) -> Self
    where
        F: Fn(Result<T, E>) -> Result<T, E>,
    {
        Self::new(ResultFn::new(recover))
    }
}

impl<F> Fallback<AsyncResultFn<F>> {
    /// [`from_result_fn`](Fallback::from_result_fn), async.
    pub fn from_async_result_fn<T, E, Fut>(recover: F) -> Self
    where
        F: Fn(Result<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Self::new(AsyncResultFn::new(recover))
    }
}

impl<F> Fallback<RequestFn<F>> {
    /// Answers with what `recover` makes of the error and of what the layer extracted from the request before it was
    /// sent: see the layer's `extract_fn`.
    pub fn from_request_fn<K, T, E>(recover: F) -> Self
    where
        F: Fn(K, E) -> Result<T, E>,
    {
        Self::new(RequestFn::new(recover))
    }
}

impl<F> Fallback<AsyncRequestFn<F>> {
    /// [`from_request_fn`](Fallback::from_request_fn), async.
    pub fn from_async_request_fn<K, T, E, Fut>(recover: F) -> Self
    where
        F: Fn(K, E) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Self::new(AsyncRequestFn::new(recover))
    }
}

#[cfg(feature = "tower")]
impl<B> Fallback<SecondService<B>> {
    /// Sends a copy of the request to a second service. It has a tower layer only, and no plain call.
    ///
    /// The copy, and a clone of the service for it, are made before each request is sent.
    pub fn service(second: B) -> Self {
        Self::new(SecondService(second))
    }
}

impl<S, W, L> Fallback<S, W, L> {
    /// Handles only the errors for which `predicate` is true.
    ///
    /// It replaces what an earlier `handle_if` or [`classify`](Self::classify) has set.
    pub fn handle_if<E, P>(self, predicate: P) -> Fallback<S, HandleIf<P>, L>
    where
        P: Fn(&E) -> bool,
    {
        self.handling(HandleIf(predicate))
    }

    /// Handles every result that `classifier` does not call [`Healthy`](crate::Verdict::Healthy): errors, answers, and
    /// our own rejections.
    ///
    /// A fallback that is a function of the error never handles an answer: there is no error to give to the function.
    /// It replaces what an earlier `classify` or [`handle_if`](Self::handle_if) has set.
    pub fn classify<C>(self, classifier: C) -> Fallback<S, Unhealthy<C>, L> {
        self.handling(Unhealthy(classifier))
    }

    /// Gives the fallback a name, for events.
    ///
    /// A literal costs nothing. For borrowed text there is [`Name::copied`].
    #[must_use]
    pub fn named(mut self, name: impl Into<Name>) -> Self {
        self.plan.name = Some(name.into());
        self
    }

    /// Adds a listener. It is told when the fallback is applied, and when the fallback itself fails.
    ///
    /// It runs inside the call that caused the event, on that thread. All listeners are told, in the order in which
    /// they were added. The panic of a listener is caught, and the next listener is told all the same. The type of the
    /// fallback grows with each one: two are `ListenFn<Second, ListenFn<First>>`.
    pub fn listener_fn<T, E, F>(self, listener: F) -> Fallback<S, W, ListenFn<F, L>>
    where
        F: Fn(&FallbackEvent<'_, T, E>),
    {
        let Plan { recovery, handled, name, listener: previous } = self.plan;
        Fallback { plan: Plan { recovery, handled, name, listener: ListenFn::new(previous, listener) } }
    }

    fn handling<X>(self, handled: X) -> Fallback<S, X, L> {
        let Plan { recovery, name, listener, .. } = self.plan;
        Fallback { plan: Plan { recovery, handled: Arc::new(handled), name, listener } }
    }

    /// Starts the operation, and answers in its place if it fails.
    ///
    /// The operation starts at once, before the future is polled. The fallback runs inside the future.
    ///
    /// # Errors
    ///
    /// The operation's own if it is not handled; otherwise the fallback's own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the operation, or the fallback's own future.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> FallbackFuture<Fut, &Plan<S, W, L>, S::Future>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        S: Recovery<T, E, ()>,
        W: Handles<T, E>,
        L: Listen<T, E>,
    {
        FallbackFuture::start(&self.plan, (), operation)
    }
}

impl<S: Clone, W, L: Clone> Clone for Fallback<S, W, L> {
    fn clone(&self) -> Self {
        Self { plan: self.plan.clone() }
    }
}
