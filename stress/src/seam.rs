//! A seam between two policies: it counts what goes in, and how it comes out. What a policy did is what its two seams differ by.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower::{Layer, Service};
use withstand::Rejected;

use crate::backend::{Answer, Failure, Reply, Request};

/// How a call comes out at a seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Full,
    StoodIn,
    Failed,
    TimedOut,
    CircuitOpen,
    BulkheadFull,
    /// Its caller, or a policy further out, gave it up.
    Dropped,
    /// So it was, when a bulkhead had rejected it already.
    DroppedRefused,
}

const ENDS: usize = End::DroppedRefused as usize + 1;

impl From<&Answer> for End {
    fn from(answer: &Answer) -> Self {
        match answer {
            Ok(Reply::Full) => Self::Full,
            Ok(Reply::Recovery) => Self::StoodIn,
            Err(Failure::Down) => Self::Failed,
            Err(Failure::Policy(Rejected::TimedOut(_))) => Self::TimedOut,
            Err(Failure::Policy(Rejected::BulkheadFull(_))) => Self::BulkheadFull,
            Err(Failure::Policy(_)) => Self::CircuitOpen,
        }
    }
}

#[derive(Debug, Default)]
pub struct Seam {
    entered: AtomicU64,
    ends: [AtomicU64; ENDS],
    inside: AtomicU64,
    most_inside: AtomicU64,
    is_over_bulkhead: bool,
}

impl Seam {
    pub fn entered(&self) -> u64 {
        self.entered.load(Relaxed)
    }

    pub fn ended(&self, end: End) -> u64 {
        self.ends[end as usize].load(Relaxed)
    }

    /// Those that came out by themselves.
    pub fn completed(&self) -> u64 {
        self.came_out() - self.ended(End::Dropped) - self.ended(End::DroppedRefused)
    }

    pub fn came_out(&self) -> u64 {
        self.ends.iter().map(|count| count.load(Relaxed)).sum()
    }

    pub fn errors(&self) -> u64 {
        self.completed() - self.ended(End::Full) - self.ended(End::StoodIn)
    }

    /// How many are inside now.
    pub fn inside(&self) -> u64 {
        self.inside.load(Relaxed)
    }

    pub fn most_inside(&self) -> u64 {
        self.most_inside.load(Relaxed)
    }
}

/// Every seam of one stack, outermost first.
#[derive(Debug)]
pub struct Seams {
    /// Between the caller and the fallback.
    pub call: Arc<Seam>,
    pub bulkhead: Arc<Seam>,
    pub total: Arc<Seam>,
    pub retry: Arc<Seam>,
    /// Between the retry and the breaker, first attempts; and all others.
    pub first: Arc<Seam>,
    pub further: Arc<Seam>,
    /// Between the timeout of one attempt and the backend.
    pub backend: Arc<Seam>,
}

impl Seams {
    pub fn new() -> Self {
        Self {
            call: Arc::default(),
            bulkhead: Arc::new(Seam { is_over_bulkhead: true, ..Seam::default() }),
            total: Arc::default(),
            retry: Arc::default(),
            first: Arc::default(),
            further: Arc::default(),
            backend: Arc::default(),
        }
    }

    /// The seam above the breaker that this request's next attempt goes through.
    pub fn next_attempt(&self, request: &Request) -> Arc<Seam> {
        if request.count_try() == 1 { self.first.clone() } else { self.further.clone() }
    }

    pub fn all(&self) -> [(&'static str, &Seam); 7] {
        [
            ("fallback", &self.call),
            ("bulkhead", &self.bulkhead),
            ("total timeout", &self.total),
            ("retry", &self.retry),
            ("breaker, first attempts", &self.first),
            ("breaker, further attempts", &self.further),
            ("backend", &self.backend),
        ]
    }
}

thread_local! {
    /// How many rejections by bulkheads were reported on this thread.
    static REFUSALS: Cell<u64> = const { Cell::new(0) };
}

/// For a bulkhead's listener, which runs inside the call that caused the event.
pub fn note_bulkhead_rejection() {
    REFUSALS.set(REFUSALS.get() + 1);
}

/// One call's way through a seam.
#[derive(Debug)]
struct Passage {
    seam: Arc<Seam>,
    /// How it ends if it is dropped now; `None` once it has ended.
    if_dropped: Option<End>,
}

impl Passage {
    fn end(&mut self, end: End) {
        if self.if_dropped.take().is_some() {
            self.seam.ends[end as usize].fetch_add(1, Relaxed);
            self.seam.inside.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(end) = self.if_dropped {
            self.end(end);
        }
    }
}

/// Starts a call below a seam, now.
pub fn watch<F>(seam: Arc<Seam>, start: impl FnOnce() -> F) -> Watched<F> {
    seam.entered.fetch_add(1, Relaxed);
    seam.most_inside.fetch_max(seam.inside.fetch_add(1, Relaxed) + 1, Relaxed);
    let rejections = REFUSALS.get();
    let mut passage = Passage { seam, if_dropped: Some(End::Dropped) };
    let future = start();
    // A bulkhead that rejects at once has counted it, whether or not the caller stays to hear it.
    if passage.seam.is_over_bulkhead && REFUSALS.get() != rejections {
        passage.if_dropped = Some(End::DroppedRefused);
    }
    Watched { future, passage }
}

pin_project! {
    /// A call below a seam. What is below is gone before the call has come out.
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        #[pin]
        future: F,
        passage: Passage,
    }
}

impl<F: Future<Output = Answer>> Future for Watched<F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx));
        this.passage.end(End::from(&answer));
        Poll::Ready(answer)
    }
}

/// Which seam a request goes through here.
pub type Pick = fn(&Seams, &Request) -> Arc<Seam>;

/// A seam between two layers.
#[derive(Clone)]
pub struct SeamLayer {
    pub seams: Arc<Seams>,
    pub pick: Pick,
}

impl<S> Layer<S> for SeamLayer {
    type Service = SeamService<S>;

    fn layer(&self, inner: S) -> SeamService<S> {
        SeamService { inner, seam: self.clone() }
    }
}

#[derive(Clone)]
pub struct SeamService<S> {
    inner: S,
    seam: SeamLayer,
}

impl<S> Service<Request> for SeamService<S>
where
    S: Service<Request, Response = Reply, Error = Failure>,
{
    type Response = Reply;
    type Error = Failure;
    type Future = Watched<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let seam = (self.seam.pick)(&self.seam.seams, &request);
        watch(seam, || self.inner.call(request))
    }
}
