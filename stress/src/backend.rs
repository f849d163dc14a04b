//! A dependency as it is in bad weather: it answers, fails, is slow, or says nothing at all.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use fastrand::Rng;
use futures::future::BoxFuture;
use tokio::time::sleep;
use tower::Service;
use withstand::Rejected;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Full,
    Recovery,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("down")]
    Down,
    #[error("call rejected")]
    Policy(#[source] Rejected),
}
withstand::carries_rejected!(Failure, Policy);

pub type Answer = Result<Reply, Failure>;

/// Copies share the count of attempts.
#[derive(Clone, Debug)]
pub struct Request {
    luck: u64,
    attempts: Arc<AtomicU32>,
}

impl Request {
    pub fn new(luck: u64) -> Self {
        Self { luck, attempts: Arc::default() }
    }

    /// The number of the attempt that begins, from 1.
    pub fn count_try(&self) -> u32 {
        self.attempts.fetch_add(1, Relaxed) + 1
    }

    /// Another for each attempt, and the same each time.
    fn luck(&self) -> Rng {
        Rng::with_seed(self.luck.wrapping_add(self.attempts.load(Relaxed).into()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Healthy,
    Flaky,
    Slow,
    Failing,
    Stalled,
}

/// Healthy more often than anything else.
const MOODS: [Mood; 8] =
    [Mood::Healthy, Mood::Healthy, Mood::Healthy, Mood::Healthy, Mood::Flaky, Mood::Slow, Mood::Failing, Mood::Stalled];

impl Mood {
    pub fn any(rng: &mut Rng) -> Self {
        MOODS[rng.usize(..MOODS.len())]
    }
}

#[derive(Debug)]
pub struct Backend {
    mood: AtomicU8,
    readied: AtomicU64,
    was_called_unready: AtomicBool,
}

impl Backend {
    pub fn new(mood: Mood) -> Self {
        Self { mood: AtomicU8::new(mood as u8), readied: AtomicU64::new(0), was_called_unready: AtomicBool::new(false) }
    }

    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Relaxed);
    }

    /// Whether tower's contract was broken.
    pub fn was_called_unready(&self) -> bool {
        self.was_called_unready.load(Relaxed)
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Relaxed) == mood as u8
    }

    /// Its mood at the start decides.
    pub fn answer(&self, request: &Request) -> BoxFuture<'static, Answer> {
        let mut luck = request.luck();
        if self.is(Mood::Stalled) {
            return Box::pin(pending());
        }
        let is_bad = self.is(Mood::Failing) || self.is(Mood::Flaky) && luck.bool();
        let answer = if is_bad { Err(Failure::Down) } else { Ok(Reply::Full) };
        let takes = if self.is(Mood::Slow) { luck.u64(10..80) } else { luck.u64(..15) };
        Box::pin(async move {
            // Zero is an answer that is there at once.
            if takes > 0 {
                sleep(Duration::from_millis(takes)).await;
            }
            answer
        })
    }
}

/// The backend behind the tower layer. Now and then it is not ready when first asked.
#[derive(Debug)]
pub struct BackendService {
    backend: Arc<Backend>,
    is_ready: bool,
}

impl BackendService {
    pub fn new(backend: Arc<Backend>) -> Self {
        Self { backend, is_ready: false }
    }
}

/// Readiness is an instance's own.
impl Clone for BackendService {
    fn clone(&self) -> Self {
        Self::new(self.backend.clone())
    }
}

impl Service<Request> for BackendService {
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.backend.readied.fetch_add(1, Relaxed) % 8 == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !std::mem::take(&mut self.is_ready) {
            self.backend.was_called_unready.store(true, Relaxed);
        }
        self.backend.answer(&request)
    }
}
