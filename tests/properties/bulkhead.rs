//! The bulkhead's model: a list of all calls in the order in which they came, and the status of each.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{
    Bulkhead, BulkheadAcquire, BulkheadEvent, BulkheadPermit, BulkheadSettings, Rejected, bulkhead::QueueSettings,
};

const MAX_WAIT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire,
    TryAcquire,
    Poll(usize),
    Drop(usize),
    SetLimit(usize),
    /// The limit, and what the queue is: its capacity and `max_wait`.
    Apply(usize, Option<(usize, Duration)>),
    Pass(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Status {
    /// It is in the queue, until then. `polled`: it has a waker there.
    Queued { until: Duration, wait: Duration, polled: bool },
    /// It has a slot, and may not have noticed. `woken`: its waker must have been called.
    Granted { woken: bool },
    /// It has noticed its slot, and runs.
    Running,
    /// It was rejected at once, and has not been told. `pends`: its first poll lets other tasks run.
    Rejected { pends: bool },
}

struct Model {
    max_concurrent: usize,
    /// Its capacity, and how long a call may wait.
    queue: Option<(usize, Duration)>,
    now: Duration,
    calls: Vec<Status>,
    /// For each rejection `max_concurrent` at that time, and how long the call had waited.
    rejected: Vec<(usize, Option<Duration>)>,
    /// How many of them were not permits, and had not waited.
    rejected_at_once: usize,
}

impl Model {
    fn in_flight(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Status::Granted { .. } | Status::Running)).count()
    }

    fn queued(&self) -> usize {
        self.calls.iter().filter(|call| matches!(call, Status::Queued { .. })).count()
    }

    fn has_free_slot(&self) -> bool {
        self.queued() == 0 && self.in_flight() < self.max_concurrent
    }

    /// Free slots go to the calls in the queue, in order.
    fn hand_over(&mut self) {
        while self.in_flight() < self.max_concurrent {
            let next = self.calls.iter_mut().find(|call| matches!(call, Status::Queued { .. }));
            let Some(call) = next else { return };
            let Status::Queued { polled, .. } = *call else { return };
            *call = Status::Granted { woken: polled };
        }
    }

    fn acquire(&mut self) {
        let status = if self.has_free_slot() {
            Status::Granted { woken: false }
        } else if let Some((_, wait)) = self.queue.filter(|(capacity, _)| self.queued() < *capacity) {
            Status::Queued { until: self.now + wait, wait, polled: false }
        } else {
            self.reject(None);
            self.rejected_at_once += 1;
            Status::Rejected { pends: self.rejected_at_once % 32 == 0 }
        };
        self.calls.push(status);
    }

    fn reject(&mut self, waited: Option<Duration>) {
        self.rejected.push((self.max_concurrent, waited));
    }

    /// What a poll of this call yields; `Err` has how long it waited in vain.
    fn poll(&mut self, index: usize) -> Poll<Result<(), Option<Duration>>> {
        match &mut self.calls[index] {
            Status::Granted { .. } => {
                self.calls[index] = Status::Running;
                Poll::Ready(Ok(()))
            }
            Status::Queued { until, wait, .. } if self.now >= *until => {
                let waited = Some(*wait);
                self.calls.remove(index);
                self.reject(waited);
                Poll::Ready(Err(waited))
            }
            Status::Queued { polled, .. } => {
                *polled = true;
                Poll::Pending
            }
            Status::Rejected { pends: pends @ true } => {
                *pends = false;
                Poll::Pending
            }
            Status::Rejected { pends: false } => {
                self.calls.remove(index);
                Poll::Ready(Err(None))
            }
            Status::Running => unreachable!("it is not polled any more"),
        }
    }

    fn drop(&mut self, index: usize) {
        self.calls.remove(index);
        self.hand_over();
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

enum Call {
    Acquiring(Pin<Box<BulkheadAcquire>>, Arc<Woken>),
    Running { _permit: BulkheadPermit },
}

fn waited(rejected: &Rejected) -> Option<Duration> {
    match rejected {
        Rejected::BulkheadFull(full) => full.waited(),
        other => panic!("{other}"),
    }
}

async fn agree(max_concurrent: usize, queue_capacity: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let bulkhead = Bulkhead::builder("model", max_concurrent)
        .queue(queue_capacity, MAX_WAIT)
        .listener_fn(move |event| match event {
            BulkheadEvent::Rejected { max_concurrent, waited, .. } => {
                hears.lock().expect("no panic").push((*max_concurrent, *waited));
            }
            other => panic!("{other:?}"),
        })
        .build()
        .expect("good settings");
    let mut model = Model {
        max_concurrent,
        queue: Some((queue_capacity, MAX_WAIT)),
        now: Duration::ZERO,
        calls: Vec::new(),
        rejected: Vec::new(),
        rejected_at_once: 0,
    };
    let mut calls: Vec<Call> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Acquire => {
                calls.push(Call::Acquiring(Box::pin(bulkhead.acquire()), Arc::default()));
                model.acquire();
            }
            Step::TryAcquire => {
                let has_free_slot = model.has_free_slot();
                match bulkhead.try_acquire() {
                    Ok(permit) => {
                        calls.push(Call::Running { _permit: permit });
                        model.calls.push(Status::Running);
                        prop_assert!(has_free_slot, "step {}", number);
                    }
                    Err(rejected) => {
                        model.reject(None);
                        prop_assert!(!has_free_slot && waited(&rejected).is_none(), "step {}", number);
                    }
                }
            }
            Step::Poll(which) if !calls.is_empty() => {
                let index = which % calls.len();
                if let Call::Acquiring(acquire, woken) = &mut calls[index] {
                    let waker = Waker::from(woken.clone());
                    let polled = acquire.as_mut().poll(&mut Context::from_waker(&waker));
                    let told = match &polled {
                        Poll::Ready(result) => Poll::Ready(result.as_ref().map(|_| ()).map_err(waited)),
                        Poll::Pending => Poll::Pending,
                    };
                    prop_assert_eq!(told, model.poll(index), "step {}", number);
                    match polled {
                        Poll::Ready(Ok(permit)) => calls[index] = Call::Running { _permit: permit },
                        Poll::Ready(Err(_)) => drop(calls.remove(index)),
                        Poll::Pending => {}
                    }
                }
            }
            Step::Drop(which) if !calls.is_empty() => {
                let index = which % calls.len();
                drop(calls.remove(index));
                model.drop(index);
            }
            Step::Poll(_) | Step::Drop(_) => {}
            Step::SetLimit(limit) => {
                bulkhead.set_max_concurrent(limit);
                model.max_concurrent = limit;
                model.hand_over();
            }
            Step::Apply(limit, queue) => {
                let mut settings = BulkheadSettings::new(limit);
                settings.queue = queue.map(|(capacity, max_wait)| QueueSettings::new(capacity, max_wait));
                bulkhead.apply(&settings).expect("good settings");
                prop_assert_eq!(bulkhead.settings(), settings, "step {}", number);
                (model.max_concurrent, model.queue) = (limit, queue);
                model.hand_over();
            }
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span;
            }
        }
        let seen = bulkhead.snapshot();
        prop_assert_eq!(
            (seen.max_concurrent, seen.queue_capacity, seen.in_flight, seen.queued, seen.rejected),
            (
                model.max_concurrent,
                model.queue.map_or(0, |(capacity, _)| capacity),
                model.in_flight(),
                model.queued(),
                model.rejected.len() as u64
            ),
            "after step {} ({:?})",
            number,
            step
        );
        prop_assert_eq!(&*heard.lock().expect("no panic"), &model.rejected, "after step {} ({:?})", number, step);
        for (call, status) in calls.iter().zip(&model.calls) {
            if let (Call::Acquiring(_, woken), Status::Granted { woken: true }) = (call, status) {
                prop_assert!(woken.0.load(SeqCst), "a wake-up was lost at step {} ({:?})", number, step);
            }
        }
    }
    Ok(())
}

/// `applied`: how often settings are applied.
fn steps(applied: u32) -> impl Strategy<Value = Vec<Step>> {
    let span = select(vec![0, 1, 50, 99, 100, 1_000_000]).prop_map(Duration::from_millis);
    let wait = select(vec![1, 50, 100, 1000]).prop_map(Duration::from_millis);
    let queue = proptest::option::of((1_usize..8, wait));
    let step = prop_oneof![
        30 => Just(Step::Acquire),
        8 => Just(Step::TryAcquire),
        30 => any::<usize>().prop_map(Step::Poll),
        20 => any::<usize>().prop_map(Step::Drop),
        4 => (0_usize..6).prop_map(Step::SetLimit),
        8 => span.prop_map(Step::Pass),
        applied => (0_usize..6, queue).prop_map(|(limit, queue)| Step::Apply(limit, queue)),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn the_bulkhead_agrees_with_its_model(max_concurrent in 0_usize..4, queue_capacity in 1_usize..8, steps in steps(0)) {
        super::run(agree(max_concurrent, queue_capacity, steps))?;
    }

    #[test]
    fn c3_so_it_does_while_its_settings_change(max_concurrent in 0_usize..4, capacity in 1_usize..8, steps in steps(8)) {
        super::run(agree(max_concurrent, capacity, steps))?;
    }
}
