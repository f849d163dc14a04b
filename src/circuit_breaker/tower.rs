//! The tower layer and its service.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::CircuitBreakerFuture,
    permit::Permit,
    policy::CircuitBreaker,
    shared::{AdmittedCall, Circuit},
    state::Rejection,
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify},
    clock::{self, Alarm},
    operation::{Operation, SendRequest, SendRequestFuture},
    share::{CallShare, ServiceShare},
    sync::Arc,
};

/// A call of a service that holds the circuit, and readies the service inside.
pub(crate) type OwnedCall<S, R, F, C> = CircuitBreakerFuture<SendRequestFuture<S, R, F>, Arc<Circuit>, C>;

impl<C> CircuitBreaker<C> {
    /// Sends one request through a clone of the service. The call holds the circuit.
    ///
    /// The service is readied inside the call, as in a plain call: what it says of its readiness counts.
    #[inline(always)]
    pub(crate) fn send<S, R>(self, service: &S, request: R) -> OwnedCall<S, R, S::Future, C>
    where
        S: Service<R> + Clone,
        S::Error: CarriesRejected,
        C: Classify<S::Response, S::Error>,
    {
        let admitted = self.circuit.admit();
        let operation = || SendRequest { service: service.clone(), request }.start();
        CircuitBreakerFuture::start(self.circuit, self.classifier, admitted, operation)
    }
}

impl<C: Clone> CircuitBreaker<C> {
    /// The breaker as a tower layer. Every service it is applied to shares this circuit.
    pub fn layer(&self) -> CircuitBreakerLayer<C> {
        CircuitBreakerLayer { breaker: self.clone(), while_open: WhileOpen::Ready, readiness: PhantomData }
    }
}

/// Puts a service behind a [`CircuitBreaker`].
///
/// ```
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use withstand::CircuitBreaker;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), tower::BoxError> {
/// let breaker = CircuitBreaker::new("stock");
/// let stock = ServiceBuilder::new()
///     .layer(breaker.layer())
///     .service(service_fn(|item: u32| async move { Ok::<_, tower::BoxError>(item + 1) }));
///
/// assert_eq!(stock.clone().oneshot(7).await?, 8);
/// breaker.force_open(); // the handle and every service share the circuit
/// assert!(stock.oneshot(7).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = ByError, N = KeepReadiness> {
    breaker: CircuitBreaker<C>,
    while_open: WhileOpen,
    readiness: PhantomData<N>,
}

impl<C, N> CircuitBreakerLayer<C, N> {
    /// The service is pending, and not ready, while the circuit is open. A load balancer then sends its requests to
    /// other replicas.
    ///
    /// Without this an open breaker is ready and rejects in `call`, and a balancer that looks for ready services sends
    /// it as many requests as the others. A half-open breaker is ready in any case, and rejects what its probe slots do
    /// not admit. A pending service looks at the circuit again when the opening is over, and once a second besides, in
    /// case the circuit was changed manually. Do not use this where nothing else takes the requests: callers would wait
    /// for as long as the circuit is open.
    #[must_use]
    pub fn pending_while_open(mut self) -> Self {
        self.while_open = WhileOpen::Pending;
        self
    }

    /// After a rejection, the inner service is replaced by a clone of itself. This gives back what its readiness had
    /// reserved, a permit of tower's `ConcurrencyLimit` for example.
    ///
    /// Without this a service that was ready and then rejected keeps that readiness for its next call. While it sits
    /// idle, it keeps the permit from all its clones.
    #[must_use]
    pub fn release_readiness(self) -> CircuitBreakerLayer<C, ReleaseReadiness> {
        CircuitBreakerLayer { breaker: self.breaker, while_open: self.while_open, readiness: PhantomData }
    }
}

/// What the service says of its readiness while the circuit is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhileOpen {
    Ready,
    Pending,
}

/// After a rejection the inner service stays ready for the next call.
#[derive(Clone, Copy, Debug)]
pub struct KeepReadiness;

/// After a rejection the inner service is replaced by a clone; see [`CircuitBreakerLayer::release_readiness`].
#[derive(Clone, Copy, Debug)]
pub struct ReleaseReadiness;

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone(), self.while_open, None)
    }
}

impl<S: Clone, C: Clone> Layer<S> for CircuitBreakerLayer<C, ReleaseReadiness> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone(), self.while_open, Some(S::clone))
    }
}

/// A service behind a circuit breaker.
///
/// While the circuit is open, it is ready without asking the inner service, and rejects in `call`. The
/// [module](super#with-tower) says what that means for load balancers and for reservations of the inner service.
pub struct CircuitBreakerService<S, C = ByError> {
    inner: S,
    circuit: ServiceShare<Circuit>,
    classifier: C,
    /// It must not be called: `poll_ready` found the circuit open and did not ask it, or it was renewed since.
    is_inner_unready: bool,
    /// Clones the inner service, where a rejection has to give its readiness back.
    renew: Option<fn(&S) -> S>,
    while_open: WhileOpen,
    /// Set while the service is pending because the circuit is open.
    alarm: Option<Pin<Box<Alarm>>>,
}

/// A service that is pending because the circuit is open looks at it again after at most this time, in case it was
/// changed manually.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl<S, C> CircuitBreakerService<S, C> {
    fn new(inner: S, breaker: CircuitBreaker<C>, while_open: WhileOpen, renew: Option<fn(&S) -> S>) -> Self {
        let (circuit, classifier) = (ServiceShare::new(breaker.circuit), breaker.classifier);
        Self { inner, circuit, classifier, is_inner_unready: false, renew, while_open, alarm: None }
    }

    /// Counts a readiness error as one call.
    fn count<T, E>(&self, unready: &Result<T, E>)
    where
        C: Classify<T, E>,
    {
        let circuit = &*self.circuit;
        if let Ok(admitted) = circuit.admit() {
            let mut permit = Permit::new(circuit, Some(admitted));
            permit.settle(self.classifier.classify(unready));
        }
    }

    /// The circuit would reject a call. Pending until the opening is over, where the layer was told to be; ready in a
    /// half-open circuit that has no slot for another probe.
    #[cold]
    #[inline(never)]
    fn poll_rejecting(&mut self, rejection: Rejection, cx: &mut Context<'_>) -> Poll<()> {
        // The inner service may have been ready before, and the circuit has opened since.
        self.release();
        self.is_inner_unready = true;
        if self.while_open == WhileOpen::Ready || self.circuit.is_half_open() {
            self.alarm = None;
            return Poll::Ready(());
        }
        let wait = rejection.retry_after().map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
        let next = Alarm::at(clock::after(clock::now(), wait));
        let alarm = match &mut self.alarm {
            Some(alarm) => {
                alarm.set(next);
                alarm
            }
            none => none.insert(Box::pin(next)),
        };
        if alarm.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    #[cold]
    #[inline(never)]
    fn admit_again(&mut self) {
        self.is_inner_unready = false;
        self.alarm = None;
    }

    /// Decides a call that is not simply admitted. If the inner service was not readied, the call is rejected though it
    /// would be admitted by now, and is told that it may come back at once.
    #[inline(never)]
    fn decide(&mut self) -> Result<AdmittedCall, Rejection> {
        let decision = match self.is_inner_unready {
            false => self.circuit.admit_by_clock(),
            true => Err(self.circuit.rejection().unwrap_or(Rejection::of(0))),
        };
        if decision.is_err() {
            self.release();
        }
        decision
    }

    /// Gives back what the inner service has reserved, if the layer was told to.
    fn release(&mut self) {
        if let (Some(renew), false) = (self.renew, self.is_inner_unready) {
            self.inner = renew(&self.inner);
            self.is_inner_unready = true;
        }
    }
}

impl<S, R, C> Service<R> for CircuitBreakerService<S, C>
where
    S: Service<R>,
    S::Error: CarriesRejected,
    C: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S::Future, CallShare<Circuit>, C>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(rejection) = self.circuit.rejection() {
            return self.poll_rejecting(rejection, cx).map(Ok);
        }
        if self.is_inner_unready {
            self.admit_again();
        }
        match ready!(self.inner.poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                let unready: Result<S::Response, _> = Err(error);
                self.count(&unready);
                Poll::Ready(unready.map(|_| ()))
            }
        }
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        let (circuit, classifier) = (self.circuit.lend(), self.classifier.clone());
        let admitted = circuit.admit_or_else(!self.is_inner_unready, || self.decide());
        CircuitBreakerFuture::start(circuit, classifier, admitted, || self.inner.call(request))
    }
}

/// The clone is not ready.
impl<S: Clone, C: Clone> Clone for CircuitBreakerService<S, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            circuit: self.circuit.clone(),
            classifier: self.classifier.clone(),
            is_inner_unready: false,
            renew: self.renew,
            while_open: self.while_open,
            alarm: None,
        }
    }
}

impl<S: fmt::Debug, C: fmt::Debug> fmt::Debug for CircuitBreakerService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerService")
            .field("inner", &self.inner)
            .field("circuit", &self.circuit)
            .field("classifier", &self.classifier)
            .finish_non_exhaustive()
    }
}
