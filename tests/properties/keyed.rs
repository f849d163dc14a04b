//! The model of keyed policies: a list of the keys, searched from its start to its end for each new one.
//!
//! What a circuit or a budget remembers is asked of itself, for it has a model of its own. This model decides who leaves.
//! It is asked of circuit breakers, whose permits are values, and of pipelines, through which calls go either way.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{CircuitBreaker, CircuitBreakerPermit, Keyed, KeyedEvent, KeyedPolicy, Name, circuit_breaker::State};

const KEYS: u32 = 7;
const OPEN: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
enum Step {
    Get(u32),
    Hold(u32),
    Begin(u32),
    Succeed(u32),
    Fail(u32),
    Force(u32),
    Reset(u32),
    Remove(u32),
    LetGo(usize),
    End(usize, Option<bool>),
    Pass(Duration),
}

/// One policy that was made.
#[derive(Clone, Copy, Debug, Default)]
struct Made {
    holders: usize,
    /// Until when it is open, as far as calls have brought about.
    open_until: Option<Duration>,
    /// Whether someone has given it other settings.
    is_changed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Present {
    key: u32,
    made: usize,
    last_used: Duration,
}

#[derive(Default)]
struct Model {
    capacity: usize,
    now: Duration,
    made: Vec<Made>,
    /// In the order in which they were made.
    present: Vec<Present>,
    overflow: Option<usize>,
    evicted: Vec<u32>,
    overflowed: Vec<u32>,
}

impl Model {
    fn make(&mut self) -> usize {
        self.made.push(Made::default());
        self.made.len() - 1
    }

    /// By the state of its circuit, as that tells it.
    fn may_leave(&self, present: Present, circuit: &CircuitBreaker) -> bool {
        let Made { holders, open_until, is_changed } = self.made[present.made];
        let seen = circuit.snapshot();
        let stays_until = match seen.state {
            State::ForcedOpen => return false,
            _ if holders > 0 || is_changed => return false,
            _ if open_until.is_some() => open_until.expect("it is open").max(present.last_used) + IDLE,
            State::HalfOpen => present.last_used + IDLE,
            State::Closed if seen.counts.consecutive_failures > 0 => present.last_used + IDLE,
            State::Closed => Duration::ZERO,
            other => panic!("{other}"),
        };
        self.now >= stays_until
    }

    /// The policy that is given out for this key.
    fn get(&mut self, key: u32, may_leave: impl Fn(&Self, Present) -> bool) -> usize {
        let now = self.now;
        if let Some(present) = self.present.iter_mut().find(|present| present.key == key) {
            present.last_used = now;
            return present.made;
        }
        let mut leaving: Vec<_> = self.present.iter().filter(|present| may_leave(self, **present)).copied().collect();
        // The order of two that were used at one moment is that in which they were made.
        leaving.sort_by_key(|present| present.last_used);
        let for_room = usize::from(self.present.len() == self.capacity);
        if for_room > leaving.len() {
            self.overflowed.push(key);
            return self.overflow.unwrap_or_else(|| {
                let made = self.make();
                *self.overflow.insert(made)
            });
        }
        let is_idle = |present: &Present| now - present.last_used >= IDLE;
        for (index, present) in leaving.into_iter().enumerate() {
            if index < for_room || is_idle(&present) {
                self.present.retain(|other| other.key != present.key);
                self.evicted.push(present.key);
            }
        }
        let made = self.make();
        self.present.push(Present { key, made, last_used: now });
        made
    }

    /// After a call was admitted or has ended.
    fn observe(&mut self, made: usize, breaker: &CircuitBreaker) {
        let seen = breaker.snapshot();
        self.made[made].open_until = seen.time_left.map(|left| self.now + left);
    }

    /// After a call has ended that may have begun long ago. What came too late changed nothing.
    fn observe_late(&mut self, made: usize, breaker: &CircuitBreaker) {
        if breaker.state() != State::HalfOpen || self.made[made].open_until.is_none() {
            self.observe(made, breaker);
        }
    }
}

type Heard = Arc<Mutex<(Vec<u32>, Vec<u32>)>>;

/// Policies that count how many of them are made, and tell which keys have left and which have overflowed.
fn keyed<P: KeyedPolicy + 'static>(
    capacity: usize,
    make: impl Fn(Name) -> P + Send + Sync + 'static,
) -> (Keyed<u32, P>, Heard, Arc<AtomicUsize>) {
    let (heard, factory_calls) = (Heard::default(), Arc::new(AtomicUsize::new(0)));
    let (hears, counts) = (heard.clone(), factory_calls.clone());
    let make = move |_: &u32, name: Name| {
        counts.fetch_add(1, SeqCst);
        make(name)
    };
    let number = |key: &Name| key.as_str().parse::<u32>().expect("the name of a key is its text");
    let listener = move |event: &KeyedEvent| {
        let (evicted, overflowed) = &mut *hears.lock().expect("no panic");
        match event {
            KeyedEvent::Evicted { key, .. } => evicted.push(number(key)),
            KeyedEvent::Overflowed { key, .. } => overflowed.push(number(key)),
            other => panic!("{other:?}"),
        }
    };
    let builder = Keyed::builder(make).capacity(capacity).idle_for(IDLE).listener_fn(listener);
    (builder.build().expect("good settings"), heard, factory_calls)
}

fn circuit(name: Name) -> CircuitBreaker {
    let builder = CircuitBreaker::builder(name).consecutive_failures(2, Duration::ZERO).open_for(OPEN);
    builder.no_open_jitter().build().expect("good settings")
}

/// Whether the keys are those of the model, and all that has been told and made.
fn compare<P: KeyedPolicy>(
    model: &Model,
    keyed: &Keyed<u32, P>,
    heard: &Heard,
    factory_calls: usize,
    after: &str,
) -> Result<(), TestCaseError> {
    let mut keys = Vec::new();
    keyed.for_each(|key, _| keys.push(*key));
    keys.sort_unstable();
    let mut expected: Vec<_> = model.present.iter().map(|present| present.key).collect();
    expected.sort_unstable();
    prop_assert_eq!(&keys, &expected, "the keys after {}", after);
    prop_assert!(keys.len() <= model.capacity && keyed.len() == keys.len());
    let (evicted, overflowed) = &*heard.lock().expect("no panic");
    prop_assert_eq!(evicted, &model.evicted, "evicted after {}", after);
    prop_assert_eq!(overflowed, &model.overflowed, "overflowed after {}", after);
    prop_assert_eq!(factory_calls, model.made.len(), "made after {}", after);
    Ok(())
}

async fn agree(capacity: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (keyed, heard, factory_calls) = keyed(capacity, circuit);
    let may_leave = |model: &Model, present: Present| {
        model.may_leave(present, &keyed.peek(&present.key).expect("the model says it is there"))
    };
    let mut model = Model { capacity, ..Model::default() };
    let mut held: Vec<(usize, CircuitBreaker)> = Vec::new();
    let mut running: Vec<(usize, CircuitBreaker, CircuitBreakerPermit)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Get(key) => {
                model.get(key, may_leave);
                drop(keyed.get(&key));
            }
            Step::Hold(key) => {
                let made = model.get(key, may_leave);
                model.made[made].holders += 1;
                held.push((made, keyed.get(&key)));
            }
            Step::Force(key) => {
                let made = model.get(key, may_leave);
                let breaker = keyed.get(&key);
                breaker.force_open();
                model.observe(made, &breaker);
            }
            Step::Reset(key) => {
                let made = model.get(key, may_leave);
                let breaker = keyed.get(&key);
                breaker.reset();
                model.observe(made, &breaker);
            }
            Step::Begin(key) | Step::Succeed(key) | Step::Fail(key) => {
                let made = model.get(key, may_leave);
                let breaker = keyed.get(&key);
                let permit = breaker.try_acquire();
                // It is observed though it was rejected: a probe that has run for too long reopens it.
                model.observe(made, &breaker);
                match (step, permit) {
                    (_, Err(_)) => {}
                    (Step::Begin(_), Ok(permit)) => {
                        model.made[made].holders += 1;
                        running.push((made, breaker, permit));
                    }
                    (step, Ok(permit)) => {
                        if matches!(step, Step::Fail(_)) {
                            permit.failure()
                        } else {
                            permit.success()
                        };
                        model.observe(made, &breaker);
                    }
                }
            }
            Step::Remove(key) => {
                let index = model.present.iter().position(|present| present.key == key);
                prop_assert_eq!(keyed.remove(&key).is_some(), index.is_some(), "step {}", number);
                index.map(|index| model.present.remove(index));
            }
            Step::LetGo(which) if !held.is_empty() => {
                let (made, _) = held.remove(which % held.len());
                model.made[made].holders -= 1;
            }
            Step::End(which, outcome) if !running.is_empty() => {
                let (made, breaker, permit) = running.remove(which % running.len());
                model.made[made].holders -= 1;
                match outcome {
                    Some(true) => permit.success(),
                    Some(false) => permit.failure(),
                    None => drop(permit),
                }
                model.observe_late(made, &breaker);
            }
            Step::LetGo(_) | Step::End(..) => {}
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span;
            }
        }
        let after = format!("step {number} ({step:?})");
        compare(&model, &keyed, &heard, factory_calls.load(SeqCst), &after)?;
    }
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let outcome = select(vec![Some(true), Some(false), None]);
    let spans = [0, 1, 10_000, 29_999, 30_000, 59_999, 60_000, 90_000].map(Duration::from_millis).to_vec();
    let step = prop_oneof![
        20 => key().prop_map(Step::Get),
        6 => key().prop_map(Step::Hold),
        6 => key().prop_map(Step::Begin),
        8 => key().prop_map(Step::Succeed),
        16 => key().prop_map(Step::Fail),
        1 => key().prop_map(Step::Force),
        2 => key().prop_map(Step::Reset),
        2 => key().prop_map(Step::Remove),
        8 => any::<usize>().prop_map(Step::LetGo),
        8 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::End(which, outcome)),
        12 => select(spans).prop_map(Step::Pass),
    ];
    vec(step, 150..=250)
}

proptest! {
    #[test]
    fn keyed_circuits_agree_with_their_model(capacity in 1_usize..5, steps in steps()) {
        super::run(agree(capacity, steps))?;
    }
}

/// Calls go through pipelines, either way.
#[cfg(feature = "tower")]
mod pipelines {
    use futures::future::BoxFuture;
    use tower::{Layer, Service};
    use withstand::{Bulkhead, Pipeline, RetryBudget, RetryWithBackoff};

    use super::{
        super::support::{Answer, Op, Perform, Way, fail, hang, poll, succeed},
        *,
    };

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Get(u32),
        Hold(u32),
        LetGo(usize),
        Call(u32, Way, bool),
        /// A call that hangs, until it is dropped.
        Begin(u32, Way),
        Drop(usize),
        Force(u32),
        Reset(u32),
        /// Gives it another timeout or another limit, or its own back.
        Change(u32, Option<bool>),
        Pass(Duration),
    }

    /// Has two slots, sends again once, and opens on the second failure in a row.
    fn pipeline(name: Name) -> Pipeline {
        let retry =
            RetryWithBackoff::builder(name.clone()).max_attempts(2).no_backoff().build().expect("good settings");
        let bulkhead = Bulkhead::new(name.clone(), 2);
        let builder = Pipeline::builder(name.clone()).circuit_breaker(circuit(name)).bulkhead(bulkhead).retry(retry);
        builder.build().expect("good settings")
    }

    fn circuit_of(pipeline: &Pipeline) -> &CircuitBreaker {
        pipeline.circuit_breaker().expect("it has one")
    }

    /// What a key that was asked for just now has got, without another use of it.
    fn of(keyed: &Keyed<u32, Pipeline>, key: u32) -> Pipeline {
        keyed.peek(&key).unwrap_or_else(|| keyed.overflow().expect("no key could leave").clone())
    }

    /// The call, which has begun when this returns. It looks its pipeline up.
    fn begin(keyed: &Keyed<u32, Pipeline>, way: Way, key: u32, op: Op) -> BoxFuture<'static, Answer> {
        match way {
            Way::Plain => {
                let handle = keyed.get(&key);
                Box::pin(async move { handle.call(|| op()).await })
            }
            Way::Tower => Box::pin(keyed.layer_fn(move |_: &Op| key).layer(Perform::default()).call(op)),
        }
    }

    async fn agree(capacity: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let (keyed, heard, factory_calls) = keyed(capacity, pipeline);
        let made_with = pipeline("settings".into()).settings();
        let may_leave = |model: &Model, present: Present| {
            let pipeline = keyed.peek(&present.key).expect("the model says it is there");
            let budget = pipeline.retry().and_then(|retry| retry.budget()).expect("it has one");
            budget.available() == f64::from(budget.capacity()) && model.may_leave(present, circuit_of(&pipeline))
        };
        let mut model = Model { capacity, ..Model::default() };
        let mut held: Vec<(usize, Pipeline)> = Vec::new();
        let mut running: Vec<(usize, CircuitBreaker, BoxFuture<'static, Answer>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Get(key) => {
                    model.get(key, may_leave);
                    drop(keyed.get(&key));
                }
                Step::Hold(key) => {
                    let made = model.get(key, may_leave);
                    model.made[made].holders += 1;
                    held.push((made, keyed.get(&key)));
                }
                Step::Call(key, way, succeeds) => {
                    let made = model.get(key, may_leave);
                    let mut call = begin(&keyed, way, key, if succeeds { succeed() } else { fail() });
                    // One that is rejected may pend once.
                    let is_over = poll(&mut call).is_ready() || poll(&mut call).is_ready();
                    prop_assert!(is_over, "step {number}");
                    drop(call);
                    model.observe(made, circuit_of(&of(&keyed, key)));
                }
                Step::Begin(key, way) => {
                    let made = model.get(key, may_leave);
                    let mut call = begin(&keyed, way, key, hang());
                    let is_over = poll(&mut call).is_ready() || poll(&mut call).is_ready();
                    let circuit = circuit_of(&of(&keyed, key)).clone();
                    model.observe(made, &circuit);
                    if !is_over {
                        model.made[made].holders += 1;
                        running.push((made, circuit, call));
                    }
                }
                Step::Drop(which) if !running.is_empty() => {
                    let (made, circuit, call) = running.remove(which % running.len());
                    model.made[made].holders -= 1;
                    drop(call);
                    model.observe_late(made, &circuit);
                }
                Step::LetGo(which) if !held.is_empty() => {
                    let (made, _) = held.remove(which % held.len());
                    model.made[made].holders -= 1;
                }
                Step::Drop(_) | Step::LetGo(_) => {}
                Step::Force(key) | Step::Reset(key) => {
                    let made = model.get(key, may_leave);
                    let handle = keyed.get(&key);
                    match step {
                        Step::Force(_) => circuit_of(&handle).force_open(),
                        _ => circuit_of(&handle).reset(),
                    }
                    model.observe(made, circuit_of(&handle));
                }
                Step::Change(key, change) => {
                    let made = model.get(key, may_leave);
                    let mut settings = made_with.clone();
                    match change {
                        Some(true) => settings.timeout = Some(Duration::from_secs(9)),
                        Some(false) => settings.bulkhead.as_mut().expect("it has one").max_concurrent = 3,
                        None => {}
                    }
                    keyed.get(&key).apply(&settings).expect("good settings");
                    model.made[made].is_changed = change.is_some();
                }
                Step::Pass(span) => {
                    tokio::time::advance(span).await;
                    model.now += span;
                }
            }
            compare(&model, &keyed, &heard, factory_calls.load(SeqCst), &format!("step {number} ({step:?})"))?;
        }
        // Nothing is left behind in those that stay.
        drop((held, running));
        keyed.for_each(|key, pipeline| {
            assert_eq!(pipeline.bulkhead().map(|bulkhead| bulkhead.snapshot().in_flight), Some(0), "{key}");
        });
        Ok(())
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (key, way) = (|| 0..KEYS, || select(vec![Way::Plain, Way::Tower]));
        let spans = [0, 1, 10_000, 29_999, 30_000, 59_999, 60_000, 90_000].map(Duration::from_millis).to_vec();
        let changes = select(vec![Some(true), Some(false), None, None]);
        let step = prop_oneof![
            16 => key().prop_map(Step::Get),
            4 => key().prop_map(Step::Hold),
            8 => any::<usize>().prop_map(Step::LetGo),
            12 => (key(), way()).prop_map(|(key, way)| Step::Call(key, way, true)),
            12 => (key(), way()).prop_map(|(key, way)| Step::Call(key, way, false)),
            6 => (key(), way()).prop_map(|(key, way)| Step::Begin(key, way)),
            8 => any::<usize>().prop_map(Step::Drop),
            1 => key().prop_map(Step::Force),
            2 => key().prop_map(Step::Reset),
            4 => (key(), changes).prop_map(|(key, change)| Step::Change(key, change)),
            12 => select(spans).prop_map(Step::Pass),
        ];
        vec(step, 150..=250)
    }

    proptest! {
        #[test]
        fn keyed_pipelines_agree_with_their_model(capacity in 1_usize..5, steps in steps()) {
            super::super::run(agree(capacity, steps))?;
        }

        /// What is called through a pipeline of a key is called as through that pipeline alone, in both ways.
        #[test]
        fn a_key_has_what_a_pipeline_of_its_own_would_have(
            calls in vec((select(vec![Way::Plain, Way::Tower]), any::<bool>(), 0_u64..40_000), 1..40),
        ) {
            super::super::run(async {
                let keyed = Keyed::builder(|_: &u32, name: Name| pipeline(name)).build().expect("good settings");
                let alone = pipeline("7".into());
                for (way, succeeds, span) in calls {
                    let op = if succeeds { succeed() } else { fail() };
                    let through_key = begin(&keyed, way, 7, op.clone()).await;
                    let through_one = match way {
                        Way::Plain => alone.call(|| op()).await,
                        Way::Tower => alone.layer().layer(Perform::default()).call(op.clone()).await,
                    };
                    prop_assert_eq!(through_key, through_one);
                    let kept = keyed.get(&7);
                    prop_assert_eq!(circuit_of(&kept).snapshot(), circuit_of(&alone).snapshot());
                    let tokens = |pipeline: &Pipeline| pipeline.retry()?.budget().map(RetryBudget::available);
                    prop_assert_eq!(tokens(&kept), tokens(&alone));
                    tokio::time::advance(Duration::from_millis(span)).await;
                }
                Ok(())
            })?;
        }
    }
}
