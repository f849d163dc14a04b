//! Many short rounds in which all contenders of a row take turns, so that whatever else the machine does hits all alike.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    allocations,
    contender::{Contender, RUNTIME, Row, Runner},
    outcome::Tally,
};

/// How long to measure, and what to make of the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) rounds_of_threads: usize,
    /// The best round, in place of the median.
    pub(crate) best: bool,
}

/// A round of one contender.
const SLICE: Duration = Duration::from_micros(100);
const SLICE_OF_THREADS: Duration = Duration::from_millis(10);

/// What a contender came to, in its row's unit.
pub(crate) struct Measured {
    pub(crate) contender: Contender,
    pub(crate) value: f64,
    pub(crate) allocations: f64,
}

pub(crate) fn row(row: &Row, plan: &Plan) -> Vec<Measured> {
    let contenders = (row.contenders)();
    let mut runners: Vec<_> = contenders.iter().map(|contender| (contender.start)()).collect();
    for (contender, runner) in contenders.iter().zip(&mut runners) {
        warm(&mut **runner);
        verify(row, contender, &mut **runner);
    }
    let samples = if contenders.iter().any(|contender| contender.threads > 1) {
        take_turns(contenders.len(), plan.rounds_of_threads, |index| hammer(&contenders[index]))
    } else {
        let calls: Vec<_> = runners.iter_mut().map(|runner| calls_in_a_slice(&mut **runner)).collect();
        take_turns(contenders.len(), plan.rounds, |index| nanos_per_call(&mut *runners[index], calls[index]))
    };
    let allocations: Vec<_> = runners.iter_mut().map(|runner| allocations_per_call(&mut **runner)).collect();
    for (contender, runner) in contenders.iter().zip(&mut runners) {
        verify(row, contender, &mut **runner);
    }
    let values = samples.into_iter().map(|samples| settle(row, plan, samples));
    let measured = contenders.into_iter().zip(values).zip(allocations);
    measured.map(|((contender, value), allocations)| Measured { contender, value, allocations }).collect()
}

/// Also opens what is to be open.
pub(crate) fn warm(runner: &mut dyn Runner) {
    runner.run(200, None);
}

fn verify(row: &Row, contender: &Contender, runner: &mut dyn Runner) {
    const CALLS: u32 = 200;
    let mut tally = Tally::default();
    runner.run(CALLS.into(), Some(&mut tally));
    let Contender { name, way, .. } = contender;
    assert_eq!(tally, row.expect.of(CALLS), "{}, {name}, {way:?}", row.title);
}

/// Each begins a round once in a while.
fn take_turns(contenders: usize, rounds: usize, mut sample: impl FnMut(usize) -> f64) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::with_capacity(rounds); contenders];
    for round in 0..rounds {
        for turn in 0..contenders {
            let index = (round + turn) % contenders;
            samples[index].push(sample(index));
        }
    }
    samples
}

/// The fastest of three: one that was interrupted says nothing.
fn calls_in_a_slice(runner: &mut dyn Runner) -> u64 {
    let mut calls = 1;
    while (0..3).map(|_| time(runner, calls)).min() < Some(SLICE) {
        calls *= 2;
    }
    calls
}

fn nanos_per_call(runner: &mut dyn Runner, calls: u64) -> f64 {
    // The others have had the caches meanwhile.
    runner.run(calls / 8, None);
    time(runner, calls).as_nanos() as f64 / calls as f64
}

fn time(runner: &mut dyn Runner, calls: u64) -> Duration {
    let began = Instant::now();
    runner.run(calls, None);
    began.elapsed()
}

/// Million calls a second, of all its threads together.
fn hammer(contender: &Contender) -> f64 {
    const BATCH: u64 = 100;
    let (ready, over) = (Barrier::new(contender.threads + 1), AtomicBool::new(false));
    let hammer = |mut runner: Box<dyn Runner>| {
        let _entered = RUNTIME.enter();
        runner.run(BATCH, None);
        ready.wait();
        let (began, mut calls) = (Instant::now(), 0);
        while !over.load(Relaxed) {
            runner.run(BATCH, None);
            calls += BATCH;
        }
        calls as f64 / began.elapsed().as_secs_f64() / 1e6
    };
    let runners: Vec<_> = (0..contender.threads).map(|_| (contender.start)()).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = runners.into_iter().map(|runner| scope.spawn(|| hammer(runner))).collect();
        ready.wait();
        thread::sleep(SLICE_OF_THREADS);
        over.store(true, Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}

fn allocations_per_call(runner: &mut dyn Runner) -> f64 {
    const CALLS: u64 = 200;
    allocations::count(|| runner.run(CALLS, None)) as f64 / CALLS as f64
}

fn settle(row: &Row, plan: &Plan, mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    match plan.best {
        false => samples[samples.len() / 2],
        true if row.unit.better(0.0, 1.0) => samples[0],
        true => samples[samples.len() - 1],
    }
}
