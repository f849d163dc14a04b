//! The model of keyed circuit breakers: a list of the keys, searched from its start to its end for each new one.
//!
//! What a circuit remembers is asked of the circuit itself, which has a model of its own. This model decides who leaves.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use withstand::{CircuitBreaker, CircuitBreakerPermit, Keyed, KeyedEvent, Name, circuit_breaker::State};

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

    fn may_leave(&self, present: Present, keyed: &Keyed<u32, CircuitBreaker>) -> bool {
        let Made { holders, open_until } = self.made[present.made];
        let seen = keyed.peek(&present.key).expect("the model says it is there").snapshot();
        let stays_until = match seen.state {
            State::ForcedOpen => return false,
            _ if holders > 0 => return false,
            _ if open_until.is_some() => open_until.expect("it is open") + IDLE,
            State::HalfOpen => present.last_used + IDLE,
            State::Closed if seen.counts.consecutive_failures > 0 => present.last_used + IDLE,
            State::Closed => Duration::ZERO,
            other => panic!("{other}"),
        };
        self.now >= stays_until
    }

    /// The policy that is given out for this key.
    fn get(&mut self, key: u32, keyed: &Keyed<u32, CircuitBreaker>) -> usize {
        let now = self.now;
        if let Some(present) = self.present.iter_mut().find(|present| present.key == key) {
            present.last_used = now;
            return present.made;
        }
        let mut leaving: Vec<_> =
            self.present.iter().filter(|present| self.may_leave(**present, keyed)).copied().collect();
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
}

async fn agree(capacity: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (heard, factory_calls) = (Arc::new(Mutex::new((Vec::new(), Vec::new()))), Arc::new(AtomicUsize::new(0)));
    let (hears, counts) = (heard.clone(), factory_calls.clone());
    let make = move |_: &u32, name: Name| {
        counts.fetch_add(1, SeqCst);
        let builder = CircuitBreaker::builder(name).consecutive_failures(2, Duration::ZERO).open_for(OPEN);
        builder.no_open_jitter().build().expect("good settings")
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
    let keyed =
        Keyed::builder(make).capacity(capacity).idle_for(IDLE).listener_fn(listener).build().expect("good settings");
    let mut model = Model { capacity, ..Model::default() };
    let mut held: Vec<(usize, CircuitBreaker)> = Vec::new();
    let mut running: Vec<(usize, CircuitBreaker, CircuitBreakerPermit)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Get(key) => {
                model.get(key, &keyed);
                drop(keyed.get(&key));
            }
            Step::Hold(key) => {
                let made = model.get(key, &keyed);
                model.made[made].holders += 1;
                held.push((made, keyed.get(&key)));
            }
            Step::Force(key) => {
                let made = model.get(key, &keyed);
                let breaker = keyed.get(&key);
                breaker.force_open();
                model.observe(made, &breaker);
            }
            Step::Reset(key) => {
                let made = model.get(key, &keyed);
                let breaker = keyed.get(&key);
                breaker.reset();
                model.observe(made, &breaker);
            }
            Step::Begin(key) | Step::Succeed(key) | Step::Fail(key) => {
                let made = model.get(key, &keyed);
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
                // What came too late changed nothing.
                if breaker.state() != State::HalfOpen || model.made[made].open_until.is_none() {
                    model.observe(made, &breaker);
                }
            }
            Step::LetGo(_) | Step::End(..) => {}
            Step::Pass(span) => {
                tokio::time::advance(span).await;
                model.now += span;
            }
        }
        let mut keys = Vec::new();
        keyed.for_each(|key, _| keys.push(*key));
        keys.sort_unstable();
        let mut expected: Vec<_> = model.present.iter().map(|present| present.key).collect();
        expected.sort_unstable();
        prop_assert_eq!(&keys, &expected, "the keys after step {} ({:?})", number, step);
        prop_assert!(keys.len() <= capacity && keyed.len() == keys.len());
        {
            let (evicted, overflowed) = &*heard.lock().expect("no panic");
            prop_assert_eq!(evicted, &model.evicted, "evicted after step {} ({:?})", number, step);
            prop_assert_eq!(overflowed, &model.overflowed, "overflowed after step {} ({:?})", number, step);
        }
        prop_assert_eq!(factory_calls.load(SeqCst), model.made.len(), "made after step {} ({:?})", number, step);
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
