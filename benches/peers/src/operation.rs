//! What every contender protects: an operation that is ready at once, plain or as a tower service.

use std::{
    error::Error,
    fmt,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, Waker},
};

use tower::Service;
use withstand::{CarriesRejected, Rejected};

/// The peers' operation fails with this. Those that have no error of their own for a rejection say `Rejected`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Failure {
    Down,
    Rejected,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Error for Failure {}

/// An error that the operation can fail with.
pub(crate) trait Fails {
    fn down() -> Self;
}

impl Fails for Failure {
    fn down() -> Self {
        Self::Down
    }
}

/// The error of withstand's operation has room for a rejection, as withstand asks: in a box, as errors mostly keep what is seldom.
#[derive(Debug)]
pub(crate) struct Roomy(pub(crate) Option<Box<Rejected>>);

impl CarriesRejected for Roomy {
    fn from_rejected(rejected: Rejected) -> Self {
        Self(Some(Box::new(rejected)))
    }

    fn as_rejected(&self) -> Option<&Rejected> {
        self.0.as_deref()
    }
}

impl Fails for Roomy {
    fn down() -> Self {
        Self(None)
    }
}

/// Where calls are rejected, without the box.
pub(crate) type Wide = withstand::Error<Failure>;

impl Fails for Wide {
    fn down() -> Self {
        Self::Inner(Failure::Down)
    }
}

pub(crate) type Ours = Result<u64, Roomy>;
pub(crate) type Theirs = Result<u64, Failure>;

/// What the operation is to do.
pub(crate) trait Request {
    fn fails(self) -> bool;
}

impl Request for bool {
    fn fails(self) -> bool {
        self
    }
}

/// Fails twice, then succeeds, over and over.
#[derive(Clone, Copy)]
pub(crate) struct Flaky(&'static AtomicU32);

impl Flaky {
    pub(crate) fn new() -> Self {
        Self(keep(AtomicU32::new(0)))
    }
}

impl Request for Flaky {
    fn fails(self) -> bool {
        let attempts = self.0.load(Relaxed);
        self.0.store((attempts + 1) % 3, Relaxed);
        attempts < 2
    }
}

/// Ready at once; the compiler does not know how it ends.
///
/// In place of `std::future::Ready`, which would move a wide result twice before anyone has a look at it.
pub(crate) struct Operation<E> {
    answer: u64,
    error: PhantomData<fn() -> E>,
}

#[inline(always)]
pub(crate) fn operate<E>(request: impl Request) -> Operation<E> {
    Operation { answer: if request.fails() { 0 } else { 7 }, error: PhantomData }
}

impl<E: Fails> Future for Operation<E> {
    type Output = Result<u64, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match black_box(self.answer) {
            0 => Err(E::down()),
            answer => Ok(answer),
        })
    }
}

/// The operation as a tower service.
pub(crate) struct Inner<E>(PhantomData<fn() -> E>);

impl<E> Inner<E> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for Inner<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<R: Request, E: Fails> Service<R> for Inner<E> {
    type Response = u64;
    type Error = E;
    type Future = Operation<E>;

    #[inline(always)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> Self::Future {
        operate(request)
    }
}

/// One call by tower's rules.
#[inline(always)]
pub(crate) fn send<S: Service<R>, R>(service: &mut S, request: R) -> S::Future {
    match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(())) => service.call(request),
        Poll::Ready(Err(_)) | Poll::Pending => panic!("not ready at once"),
    }
}

/// One call in `EVERY` fails; none, if it is zero.
#[derive(Clone, Copy)]
pub(crate) struct Traffic<const EVERY: u32> {
    left: u32,
}

impl<const EVERY: u32> Traffic<EVERY> {
    pub(crate) fn new() -> Self {
        Self { left: EVERY }
    }

    /// Whether the next call fails.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> bool {
        if EVERY == 0 {
            return false;
        }
        self.left -= 1;
        let fails = self.left == 0;
        if fails {
            self.left = EVERY;
        }
        fails
    }
}

/// Alone on its cache lines: threads shall not meet in what is only the bench's.
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);

/// For as long as the program runs, so that a call may borrow its policy.
pub(crate) fn keep<T>(value: T) -> &'static T {
    &Box::leak(Box::new(CachePadded(value))).0
}
