//! Who is measured, at what, and what withstand is to reach.

use std::{
    hint::black_box,
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    operation::{CachePadded, Failure, Operation, Roomy},
    outcome::{Outcome, Tally},
};

/// Entered by every thread that measures. It runs only for calls that sleep.
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("timers need nothing else"));

pub(crate) const US: &str = "withstand";
pub(crate) const TOWER_RESILIENCE: &str = "tower-resilience";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Plain,
    Tower,
}

/// One way to protect the operation.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) way: Way,
    /// What differs from the others' work.
    pub(crate) note: Option<&'static str>,
    /// How many threads call it at once.
    pub(crate) threads: usize,
    /// The size of a call beyond the operation's own.
    pub(crate) added: usize,
    /// Makes for each thread what makes its calls.
    pub(crate) start: Box<dyn Fn() -> Box<dyn Runner>>,
}

impl Contender {
    /// withstand; `start` gives for each thread what makes its calls.
    pub(crate) fn us<C, F>(way: Way, start: impl Fn() -> C + 'static) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output: Outcome> + 'static,
    {
        let start = Box::new(move || Box::new(CachePadded(Polled(start()))) as Box<dyn Runner>);
        Self::new(US, way, size_of::<F>() - size_of::<Operation<Roomy>>(), start)
    }

    /// A peer whose calls are done when they are polled once.
    pub(crate) fn peer<C, F>(name: &'static str, way: Way, start: impl Fn() -> C + 'static) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output: Outcome> + 'static,
    {
        let start = Box::new(move || Box::new(CachePadded(Polled(start()))) as Box<dyn Runner>);
        Self::new(name, way, size_of::<F>() - size_of::<Operation<Failure>>(), start)
    }

    /// A peer whose calls may have to wait, for a timer or for another thread.
    pub(crate) fn waiting<C, F>(name: &'static str, way: Way, start: impl Fn() -> C + 'static) -> Self
    where
        C: FnMut() -> F + Send + 'static,
        F: Future<Output: Outcome> + 'static,
    {
        let start = Box::new(move || Box::new(CachePadded(Awaited(start()))) as Box<dyn Runner>);
        Self::new(name, way, size_of::<F>() - size_of::<Operation<Failure>>(), start)
    }

    fn new(name: &'static str, way: Way, added: usize, start: Box<dyn Fn() -> Box<dyn Runner>>) -> Self {
        Self { name, way, note: None, threads: 1, added, start }
    }

    pub(crate) fn note(mut self, note: &'static str) -> Self {
        self.note = Some(note);
        self
    }

    pub(crate) fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) fn on(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

/// Makes calls, and counts how they end if asked to.
///
/// Each kind calls from one place only, so that the compiler has no reason not to inline the call there.
pub(crate) trait Runner: Send {
    fn run(&mut self, calls: u64, tally: Option<&mut Tally>);
}

struct Polled<C>(C);

impl<C, F> Runner for CachePadded<Polled<C>>
where
    C: FnMut() -> F + Send,
    F: Future<Output: Outcome>,
{
    fn run(&mut self, calls: u64, mut tally: Option<&mut Tally>) {
        for _ in 0..calls {
            let mut call = pin!((self.0.0)());
            // Left where it is: to move the wide result of a call is not the call's work.
            let mut polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                // One in 32 of withstand's rejections pends once.
                polled = call.poll(&mut Context::from_waker(Waker::noop()));
            }
            match black_box(&polled) {
                Poll::Ready(outcome) => count(&mut tally, outcome),
                Poll::Pending => panic!("not done at once"),
            }
        }
    }
}

fn count(tally: &mut Option<&mut Tally>, outcome: &impl Outcome) {
    if let Some(tally) = tally {
        tally.add(outcome);
    }
}

struct Awaited<C>(C);

impl<C, F> Runner for CachePadded<Awaited<C>>
where
    C: FnMut() -> F + Send,
    F: Future<Output: Outcome>,
{
    fn run(&mut self, calls: u64, mut tally: Option<&mut Tally>) {
        for _ in 0..calls {
            let mut call = pin!((self.0.0)());
            let outcome = match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => RUNTIME.block_on(call),
            };
            count(&mut tally, black_box(&outcome));
        }
    }
}

/// What calls must come to, before and after they are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    Answers,
    /// One in so many fails, the others are answered.
    Fails(u32),
    Rejects,
}

impl Expect {
    pub(crate) fn of(self, calls: u32) -> Tally {
        let (failed, rejected) = match self {
            Self::Answers => (0, 0),
            Self::Fails(every) => (calls / every, 0),
            Self::Rejects => (0, calls),
        };
        Tally { answered: calls - failed - rejected, failed, rejected }
    }
}

/// In what a row is told, and which way is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    NanosPerCall,
    MillionCallsPerSecond,
}

impl Unit {
    pub(crate) fn better(self, one: f64, other: f64) -> bool {
        match self {
            Self::NanosPerCall => one < other,
            Self::MillionCallsPerSecond => one > other,
        }
    }
}

/// What withstand is to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    None,
    /// This much of the best peer.
    Best(f64),
    /// This much of the one of this name, in the same way.
    Of(&'static str, f64),
    /// So many more than the one of this name, in the same way.
    Over(&'static str, f64),
    Nanos(f64),
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    pub(crate) expect: Expect,
    pub(crate) contenders: fn() -> Vec<Contender>,
    pub(crate) plain: Target,
    pub(crate) tower: Target,
    /// Whether the short form has it.
    pub(crate) short: bool,
}

impl Row {
    pub(crate) fn new(title: &'static str, expect: Expect, contenders: fn() -> Vec<Contender>) -> Self {
        let (plain, tower) = (Target::None, Target::None);
        Self { title, unit: Unit::NanosPerCall, expect, contenders, plain, tower, short: false }
    }

    pub(crate) fn of_threads(self) -> Self {
        Self { unit: Unit::MillionCallsPerSecond, ..self }
    }

    pub(crate) fn targets(self, plain: Target, tower: Target) -> Self {
        Self { plain, tower, ..self }
    }

    pub(crate) fn in_short(self) -> Self {
        Self { short: true, ..self }
    }
}
