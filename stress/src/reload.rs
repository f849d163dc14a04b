//! Settings that change while calls run: of a pipeline for each of more keys than there is room for, of one pipeline, and
//! of one whose circuit was forced open. Nothing may be lost: no slot, no count, no forced state.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fastrand::Rng;
use futures::future::BoxFuture;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::{Layer, Service, service_fn};
use withstand::{
    Bulkhead, CircuitBreaker, ConfigError, Keyed, Name, Pipeline, Rejected, RetryWithBackoff,
    bulkhead::{BulkheadSettings, QueueSettings},
    circuit_breaker::State,
    pipeline::PipelineSettings,
    rate_limiter::RateLimiterSettings,
    retry::{BudgetSettings, Constant, RetryBudgetSettings, RetrySettings},
};

use crate::{
    audit::Check,
    backend::Failure,
    heard::{Count, Heard},
    policies::ms,
    report::grouped,
    stack::Way,
    world::World,
};

const CALLERS: usize = 600;
/// The first few of them are asked for more often than all the others together.
const KEYS: u64 = 1000;
const BUSY_KEYS: u64 = 8;
const CAPACITY: usize = 64;
/// The highest limit that any settings have.
const MOST: usize = 8;

type Answer = Result<(), Failure>;

/// What a call asks for, and how it will go.
#[derive(Clone, Copy, Debug)]
struct Ask {
    target: Target,
    luck: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Key(u64),
    One,
    Forced,
}

/// A pipeline's listeners, and how many of its operations run.
#[derive(Debug, Default)]
struct Watched {
    heard: Arc<Heard>,
    running: AtomicUsize,
    most: AtomicUsize,
}

pub struct Reload {
    keyed: Keyed<u64, Pipeline>,
    /// What the bulkheads of all keys have told.
    heard: Arc<Heard>,
    /// Of each key, the plain calls that went through a pipeline of its own.
    keys: Vec<Watched>,
    one: Pipeline,
    of_one: Watched,
    forced: Pipeline,
    is_bad_weather: AtomicBool,
    sums: Sums,
    fault: Mutex<Option<String>>,
}

/// How the calls came out.
#[derive(Debug, Default)]
struct Sums {
    asked: Count,
    answered: Count,
    failed: Count,
    full: Count,
    open: Count,
    limited: Count,
    timed_out: Count,
    dropped: Count,
    applied: Count,
    refused: Count,
    through_own: AtomicU64,
}

fn pipeline(name: Name, heard: &Arc<Heard>) -> Result<Pipeline, ConfigError> {
    let [by_bulkhead, by_retry, by_breaker] = [(); 3].map(|()| heard.clone());
    let settings = settings(4, 2);
    let bulkhead = Bulkhead::builder(name.clone(), 1).settings(&settings.bulkhead.clone().expect("it has one"));
    let retry = RetryWithBackoff::builder(name.clone()).settings(&settings.retry.clone().expect("it has one"));
    let breaker =
        CircuitBreaker::builder(name.clone()).settings(&settings.circuit_breaker.clone().expect("it has one"));
    Pipeline::builder(name)
        .settings(&settings)
        .bulkhead(bulkhead.listener_fn(move |event| by_bulkhead.bulkhead(event)).build()?)
        .retry(retry.listener_fn(move |event| by_retry.retry(event)).build()?)
        .circuit_breaker(breaker.listener_fn(move |event| by_breaker.breaker(event)).build()?)
        .build()
}

/// Good settings: so many slots and attempts.
fn settings(slots: usize, attempts: u32) -> PipelineSettings {
    let mut settings = PipelineSettings::standard();
    let mut bulkhead = BulkheadSettings::new(slots);
    bulkhead.queue = Some(QueueSettings::new(4 * slots, ms(10 + slots as u64)));
    let mut retry = RetrySettings::default();
    retry.max_attempts = attempts;
    retry.backoff = Some(Constant::new(ms(1)).into());
    // It is full again soon, or it would keep its key for minutes.
    let mut budget = RetryBudgetSettings::new(10);
    budget.refill_every = ms(2);
    retry.budget = Some(BudgetSettings::Own(budget));
    let breaker = settings.circuit_breaker.as_mut().expect("the standard has one");
    breaker.consecutive_failure_rules.iter_mut().for_each(|rule| rule.spanning = Duration::ZERO);
    (breaker.open_for, breaker.max_open_for) = (ms(20), Some(ms(60)));
    (settings.bulkhead, settings.retry) = (Some(bulkhead), Some(retry));
    settings.rate_limiter = Some(RateLimiterSettings::new(5000, Duration::from_secs(1)));
    (settings.timeout, settings.attempt_timeout) = (Some(ms(100)), Some(ms(30)));
    settings
}

fn any_good(rng: &mut Rng) -> PipelineSettings {
    let mut settings = settings(rng.usize(1..=MOST), rng.u32(1..5));
    settings.rate_limiter = Some(RateLimiterSettings::new(rng.u32(500..5000), Duration::from_secs(1)));
    settings.timeout = Some(ms(rng.u64(60..200)));
    settings.attempt_timeout = rng.bool().then(|| ms(rng.u64(5..50)));
    let breaker = settings.circuit_breaker.as_mut().expect("it has one");
    breaker.probes = rng.usize(1..4);
    breaker.open_for = ms(rng.u64(5..40));
    settings
}

/// Each is wrong in one part, and good in the others.
fn any_bad(rng: &mut Rng) -> PipelineSettings {
    let mut settings = any_good(rng);
    match rng.u8(..6) {
        5 => settings.rate_limiter.as_mut().expect("it has one").period = Duration::ZERO,
        0 => settings.timeout = Some(Duration::ZERO),
        1 => settings.bulkhead = None,
        2 => settings.retry.as_mut().expect("it has one").max_attempts = 0,
        3 => settings.circuit_breaker.as_mut().expect("it has one").probes = 0,
        _ => settings.attempt_timeout = Some(Duration::from_secs(3600)),
    }
    settings
}

impl Reload {
    pub fn new() -> Result<Self, ConfigError> {
        let (heard, of_one) = (Arc::<Heard>::default(), Watched::default());
        let (one, forced) = (pipeline("one".into(), &of_one.heard)?, pipeline("forced".into(), &Arc::default())?);
        forced.circuit_breaker().expect("it has one").force_open();
        let hears = heard.clone();
        let make = move |_: &u64, name: Name| {
            let counts = hears.clone();
            let bulkhead = Bulkhead::builder(name.clone(), 1).settings(&BulkheadSettings::new(4));
            let bulkhead = bulkhead.queue(16, ms(14)).listener_fn(move |event| counts.bulkhead(event));
            let pipeline = Pipeline::builder(name).settings(&settings(4, 2));
            pipeline.bulkhead(bulkhead.build().expect("good settings")).build().expect("good settings")
        };
        // No two pipelines have one name.
        let made = AtomicU64::new(0);
        let name = move |key: &u64| format!("{key} ({})", made.fetch_add(1, SeqCst));
        let keyed = Keyed::named_builder(name, make).capacity(CAPACITY).idle_for(ms(50)).build()?;
        let keys = (0..KEYS).map(|_| Watched::default()).collect();
        Ok(Self {
            keyed,
            heard,
            keys,
            one,
            of_one,
            forced,
            is_bad_weather: AtomicBool::new(false),
            sums: Sums::default(),
            fault: Mutex::default(),
        })
    }

    fn note(&self, fault: String) {
        self.fault.lock().expect("no panic under it").get_or_insert(fault);
    }

    /// The pipelines that are there now.
    fn each(&self, mut act: impl FnMut(&Pipeline)) {
        self.keyed.for_each(|_, pipeline| act(pipeline));
        self.keyed.overflow().into_iter().chain([&self.one, &self.forced]).for_each(act);
    }
}

pub fn begin(world: &Arc<World>, rng: &mut Rng, tasks: &mut JoinSet<()>) {
    for _ in 0..CALLERS {
        tasks.spawn(call_on(world.clone(), rng.fork()));
    }
    for target in [None, Some(Target::One), Some(Target::Forced)] {
        tasks.spawn(change_on(world.clone(), target, rng.fork()));
    }
    tasks.spawn(weather(world.clone(), rng.fork()));
}

async fn weather(world: Arc<World>, mut rng: Rng) {
    while !world.is_over() {
        for (is_bad, longest) in [(false, 300), (true, 60)] {
            world.reload.is_bad_weather.store(is_bad, SeqCst);
            sleep(ms(rng.u64(20..longest))).await;
        }
    }
}

async fn call_on(world: Arc<World>, mut rng: Rng) {
    while !world.is_over() {
        sleep(ms(rng.u64(..20))).await;
        let _not_quiet = world.quiet.read().await;
        let target = match rng.u8(..10) {
            0..3 => Target::One,
            3 => Target::Forced,
            _ => Target::Key(any_key(&mut rng)),
        };
        let (ask, way) = (Ask { target, luck: rng.u64(..) }, if rng.bool() { Way::Plain } else { Way::Tower });
        world.reload.sums.asked.add();
        let counted = Counted { reload: &world.reload, target, is_over: false };
        let call = call(&world.reload, way, ask);
        if rng.u8(..5) == 0 {
            // Some give up. Their call is gone before it is counted as dropped.
            if let Ok(answer) = timeout(ms(rng.u64(..20)), call).await {
                counted.end(&answer);
            }
        } else {
            counted.end(&call.await);
        }
    }
}

fn any_key(rng: &mut Rng) -> u64 {
    let keys = if rng.u8(..3) > 0 { BUSY_KEYS } else { KEYS };
    rng.u64(..keys)
}

fn call(reload: &Reload, way: Way, ask: Ask) -> BoxFuture<'_, Answer> {
    let is_bad = reload.is_bad_weather.load(SeqCst);
    let service = || service_fn(move |ask: Ask| work(is_bad, ask.luck));
    match (way, ask.target) {
        (Way::Plain, Target::Key(key)) => Box::pin(async move {
            let handle = reload.keyed.get(&key);
            let is_own = handle.name() != "overflow";
            reload.sums.through_own.fetch_add(u64::from(is_own), SeqCst);
            let watched = is_own.then(|| &reload.keys[key as usize]);
            let answer = handle.call(|| watch(watched, is_bad, ask.luck)).await;
            let is_there = reload.keyed.peek(&key).is_some_and(|there| there.name() == handle.name());
            if is_own && !is_there {
                reload.note(format!("the pipeline of key {} left while someone held it", handle.name()));
            }
            answer
        }),
        (Way::Plain, Target::One) => Box::pin(reload.one.call(move || watch(Some(&reload.of_one), is_bad, ask.luck))),
        (Way::Plain, Target::Forced) => Box::pin(reload.forced.call(move || watch(None, is_bad, ask.luck))),
        (Way::Tower, Target::Key(key)) => {
            Box::pin(reload.keyed.layer_fn(move |_: &Ask| key).layer(service()).call(ask))
        }
        (Way::Tower, Target::One) => Box::pin(reload.one.layer().layer(service()).call(ask)),
        (Way::Tower, Target::Forced) => Box::pin(reload.forced.layer().layer(service()).call(ask)),
    }
}

/// Works, and is counted while it runs.
fn watch(watched: Option<&Watched>, is_bad: bool, luck: u64) -> impl Future<Output = Answer> + Send + '_ {
    let running = watched.map(|watched| {
        watched.most.fetch_max(watched.running.fetch_add(1, SeqCst) + 1, SeqCst);
        Running(watched)
    });
    async move {
        let _running = running;
        work(is_bad, luck).await
    }
}

struct Running<'a>(&'a Watched);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

async fn work(is_bad: bool, luck: u64) -> Answer {
    match luck % 16 {
        1..15 if is_bad => return Err(Failure::Down),
        0 => std::future::pending().await,
        1..4 => return Err(Failure::Down),
        4..8 => {}
        millis => sleep(ms(millis)).await,
    }
    Ok(())
}

/// One call. Dropped before it has ended, it was given up.
struct Counted<'a> {
    reload: &'a Reload,
    target: Target,
    is_over: bool,
}

impl Counted<'_> {
    fn end(mut self, answer: &Answer) {
        self.is_over = true;
        let Sums { answered, failed, full, open, limited, timed_out, .. } = &self.reload.sums;
        match answer {
            Ok(()) => answered.add(),
            Err(Failure::Down) => failed.add(),
            Err(Failure::Policy(Rejected::BulkheadFull(_))) => full.add(),
            Err(Failure::Policy(Rejected::TimedOut(_))) => timed_out.add(),
            Err(Failure::Policy(Rejected::RateLimited(_))) => limited.add(),
            Err(Failure::Policy(_)) => open.add(),
        }
        // While its bulkhead is full, or a call waits in its queue until the total timeout, the circuit is not asked.
        let is_admitted = matches!(answer, Ok(()) | Err(Failure::Down));
        if self.target == Target::Forced && is_admitted {
            self.reload.note(format!("a circuit that was forced open has admitted a call: {answer:?}"));
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.reload.sums.dropped.add();
        }
    }
}

/// Good settings, bad settings, good settings; and at the end those that it was made with. `None`: of any key, each of
/// which gets its own settings back at once, or it could never leave.
async fn change_on(world: Arc<World>, target: Option<Target>, mut rng: Rng) {
    let reload = &world.reload;
    while !world.is_over() {
        sleep(ms(rng.u64(..6))).await;
        let _not_quiet = world.quiet.read().await;
        let pipeline = match target {
            Some(Target::Forced) => reload.forced.clone(),
            Some(_) => reload.one.clone(),
            None => match reload.keyed.peek(&any_key(&mut rng)) {
                Some(pipeline) => pipeline,
                None => continue,
            },
        };
        for _ in 0..3 {
            let good = any_good(&mut rng);
            if let Err(error) = pipeline.apply(&good) {
                reload.note(format!("good settings were refused: {error}"));
            }
            reload.sums.applied.add();
            if pipeline.apply(&any_bad(&mut rng)).is_ok() {
                reload.note("bad settings were applied".into());
            }
            reload.sums.refused.add();
            if pipeline.settings() != good {
                reload.note(format!("bad settings have changed something: {:?}, not {good:?}", pipeline.settings()));
            }
            sleep(ms(rng.u64(..3))).await;
        }
        pipeline.apply(&settings(4, 2)).unwrap_or_else(|error| reload.note(error.to_string()));
        let state = reload.forced.circuit_breaker().map(CircuitBreaker::state);
        if state != Some(State::ForcedOpen) {
            reload.note(format!("the circuit that was forced open is {state:?}"));
        }
    }
}

/// What must hold whenever it is quiet.
pub fn checks(world: &World) -> Vec<Check> {
    let reload = &world.reload;
    vec![came_out(reload), witnesses(reload), left_behind(reload), crowded(reload), faults(reload)]
}

fn came_out(reload: &Reload) -> Check {
    let Sums { asked, answered, failed, full, open, limited, timed_out, dropped, .. } = &reload.sums;
    let ends = [answered, failed, full, open, limited, timed_out, dropped].map(Count::get);
    let [answered, failed, full, open, limited, timed_out, dropped] = ends.map(grouped);
    let says = format!(
        "per key and reloaded: {} calls = {answered} answered + {failed} failed + {full} found no slot + {open} found \
         an open circuit + {limited} were above a rate + {timed_out} timed out + {dropped} dropped",
        grouped(asked.get())
    );
    (asked.get() == ends.iter().sum(), says)
}

/// A call that was rejected, and was dropped before it heard so, is told by the listeners alone.
fn witnesses(reload: &Reload) -> Check {
    let (one, heard) = (&reload.one, &reload.of_one.heard);
    let (slots, circuit) =
        (one.bulkhead().map(Bulkhead::snapshot), one.circuit_breaker().map(CircuitBreaker::snapshot));
    let (slots, circuit) = (slots.expect("it has one"), circuit.expect("it has one"));
    let (chain, [full, open]) = (heard.chain(), [&heard.bulkhead_rejected, &heard.breaker_rejected].map(Count::get));
    let fault = chain.fault().or_else(|| {
        let agree = (full, open, chain.generation) == (slots.rejected, circuit.rejected, circuit.generation);
        (!agree).then(|| format!("{full}, {open}, {} beside {slots:?}, {circuit:?}", chain.generation))
    });
    let (of_keys, seen, dropped) =
        (reload.heard.bulkhead_rejected.get(), reload.sums.full.get(), reload.sums.dropped.get());
    let fault = fault.or_else(|| {
        let of_forced = reload.forced.bulkhead().map_or(0, |bulkhead| bulkhead.snapshot().rejected);
        let told = of_keys + full + of_forced;
        let agree = (seen..=seen + dropped).contains(&told);
        (!agree).then(|| format!("{told} rejections by bulkheads were told, and {seen} calls saw one"))
    });
    let says = format!("settings that change lose no count: {} transitions in one chain", grouped(chain.heard));
    (fault.is_none(), fault.map_or(says.clone(), |fault| format!("{says}: {fault}")))
}

fn left_behind(reload: &Reload) -> Check {
    let mut left = Vec::new();
    reload.each(|pipeline| {
        let (slots, circuit) = (
            pipeline.bulkhead().map(Bulkhead::snapshot).expect("it has one"),
            pipeline.circuit_breaker().map(CircuitBreaker::snapshot).expect("it has one"),
        );
        if (slots.in_flight, slots.queued, circuit.probes_in_flight) != (0, 0, 0) {
            left.push(format!("{}: {slots:?}, {circuit:?}", pipeline.name()));
        }
    });
    let seen = reload.keyed.snapshot();
    let says = format!(
        "{} keys have come and gone, {} calls of new ones had to share, {} went through their own, and no slot is lost",
        grouped(seen.evicted),
        grouped(seen.overflowed),
        grouped(reload.sums.through_own.load(SeqCst))
    );
    let is_running = reload.keys.iter().chain([&reload.of_one]).any(|watched| watched.running.load(SeqCst) != 0);
    if is_running {
        left.push("an operation runs".into());
    }
    (left.is_empty() && seen.keys <= CAPACITY, if left.is_empty() { says } else { format!("{says}: {left:?}") })
}

fn crowded(reload: &Reload) -> Check {
    let most = |watched: &Watched| watched.most.load(SeqCst);
    let (of_keys, of_one) = (reload.keys.iter().map(most).max().unwrap_or_default(), most(&reload.of_one));
    let says = format!("of a limit of at most {MOST}, {of_keys} ran at once for one key, and {of_one} in one pipeline");
    (of_keys <= MOST && of_one <= MOST, says)
}

fn faults(reload: &Reload) -> Check {
    let says = format!(
        "good settings were applied {} times and bad ones refused {} times, and a forced circuit stayed open",
        grouped(reload.sums.applied.get()),
        grouped(reload.sums.refused.get())
    );
    match &*reload.fault.lock().expect("no panic under it") {
        None => (true, says),
        Some(fault) => (false, format!("{says}: {fault}")),
    }
}
