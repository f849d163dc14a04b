//! The deadline as a tower layer: each request is handled in a scope of its own.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Deadline, DeadlineScope};

impl Deadline {
    /// A tower layer for a server, that handles each request within the time that its caller has.
    ///
    /// The closure reads from the request how long its caller waits, counted from now. `None` is no deadline. For gRPC
    /// that is `http::grpc_timeout`. For plain HTTP there is no standard: take the header that your services have.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Request;
    /// use withstand::Deadline;
    ///
    /// fn timeout_of<B>(request: &Request<B>) -> Option<Duration> {
    ///     let millis = request.headers().get("x-timeout-ms")?.to_str().ok()?.parse().ok()?;
    ///     Some(Duration::from_millis(millis))
    /// }
    ///
    /// let app: axum::Router = axum::Router::new()
    ///     .route("/", axum::routing::get(async || format!("{:?} are left", Deadline::remaining())))
    ///     .layer(Deadline::layer_fn(timeout_of));
    /// ```
    ///
    /// Both the inner service's `call` and its future run inside of the scope, so a pipeline that is started by either
    /// plans within the deadline. The deadline by itself ends nothing. Put this layer outside of the server's own
    /// policies: then their timeout ends the request at the deadline at the latest.
    ///
    /// A caller can only shorten what a server's timeout allows, and never extend it.
    pub fn layer_fn<F>(time_left: F) -> DeadlineLayer<F> {
        DeadlineLayer { time_left }
    }
}

/// Handles each request in the scope of its caller's deadline. From [`Deadline::layer_fn`].
#[derive(Clone, Copy)]
pub struct DeadlineLayer<F> {
    time_left: F,
}

impl<S, F: Clone> Layer<S> for DeadlineLayer<F> {
    type Service = DeadlineService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, time_left: self.time_left.clone() }
    }
}

impl<F> fmt::Debug for DeadlineLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineLayer").finish_non_exhaustive()
    }
}

/// A service that handles each request in the scope of its caller's deadline.
#[derive(Clone)]
pub struct DeadlineService<S, F> {
    inner: S,
    time_left: F,
}

impl<S, R, F> Service<R> for DeadlineService<S, F>
where
    S: Service<R>,
    F: Fn(&R) -> Option<Duration>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineScope<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let deadline = (self.time_left)(&request).map_or(Deadline::NEVER, Deadline::within);
        let future = {
            // What `call` starts at once has to know the deadline too.
            let _entered = deadline.enter();
            self.inner.call(request)
        };
        deadline.scope(future)
    }
}

impl<S: fmt::Debug, F> fmt::Debug for DeadlineService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
