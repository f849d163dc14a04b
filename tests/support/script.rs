//! Operations and a service that do as they are told, poll by poll, and are counted.

use std::{
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use tower::Service;

use super::{Answer, Failure, Op, op};

/// One try: so many polls that are pending, then its end.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    pub pending: u32,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Answers(Result<u32, &'static str>),
    Panics,
}

impl Try {
    pub const fn answers(pending: u32, answer: Result<u32, &'static str>) -> Self {
        Self { pending, end: End::Answers(answer) }
    }
}

/// What a scripted panic is thrown with.
pub struct Scripted;

/// What is counted of the operations that were made here.
#[derive(Clone, Default)]
pub struct Operations(Arc<Counts>);

#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    answered: AtomicUsize,
    alive: AtomicUsize,
}

impl Operations {
    pub fn started(&self) -> usize {
        self.0.started.load(SeqCst)
    }

    /// How many came to their end, but for a panic.
    pub fn answered(&self) -> usize {
        self.0.answered.load(SeqCst)
    }

    pub fn alive(&self) -> usize {
        self.0.alive.load(SeqCst)
    }

    /// Does one of these attempts after the other, over and over.
    pub fn scripted(&self, script: &[Try]) -> Op {
        let (counts, script, number) = (self.0.clone(), script.to_vec(), AtomicUsize::new(0));
        op(move || {
            counts.started.fetch_add(1, SeqCst);
            counts.alive.fetch_add(1, SeqCst);
            let Try { pending, end } = script[number.fetch_add(1, SeqCst) % script.len()];
            Running { pending, end, counts: counts.clone(), waker: None }
        })
    }
}

struct Running {
    pending: u32,
    end: End,
    counts: Arc<Counts>,
    /// Kept, as whoever waits for something keeps it.
    waker: Option<Waker>,
}

impl Future for Running {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if self.pending > 0 {
            self.pending -= 1;
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        match self.end {
            End::Answers(answer) => {
                self.counts.answered.fetch_add(1, SeqCst);
                Poll::Ready(answer.map_err(withstand::Error::Inner))
            }
            End::Panics => resume_unwind(Box::new(Scripted)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.counts.alive.fetch_sub(1, SeqCst);
    }
}

/// What becomes of each readiness of a [`Perform`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Readiness {
    AtOnce,
    AfterOnePoll,
    Fails,
    Panics,
}

/// The innermost service: performs the operation that is its request. It panics when called without having been ready on that
/// very instance.
#[derive(Debug)]
pub struct Perform {
    readiness: Readiness,
    waited: bool,
    waker: Option<Waker>,
    is_ready: bool,
}

impl Perform {
    pub fn when(readiness: Readiness) -> Self {
        Self { readiness, waited: false, waker: None, is_ready: false }
    }
}

impl Default for Perform {
    fn default() -> Self {
        Self::when(Readiness::AtOnce)
    }
}

impl Clone for Perform {
    fn clone(&self) -> Self {
        Self::when(self.readiness)
    }
}

impl Service<Op> for Perform {
    type Response = u32;
    type Error = Failure;
    type Future = BoxFuture<'static, Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self.readiness {
            Readiness::Fails => return Poll::Ready(Err(withstand::Error::Inner("unready"))),
            Readiness::Panics => resume_unwind(Box::new(Scripted)),
            Readiness::AfterOnePoll if !self.waited => {
                self.waited = true;
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Readiness::AtOnce | Readiness::AfterOnePoll => self.is_ready = true,
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, op: Op) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called an instance that was not ready");
        self.waited = false;
        self.waker = None;
        op()
    }
}
