//! The story: what happens to the user service, and when; and how each order service takes it.

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time;
use withstand::{
    CircuitBreaker, CircuitBreakerEvent,
    circuit_breaker::{State, Transition},
};

use crate::{
    bare::Bare,
    order_service::{Users, app, serve},
    policies,
    protected::Protected,
    remote::Remote,
    report::{Screen, Seen},
    traffic::{Variant, flow},
    user_service::UserService,
    verdict::Evidence,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chapter {
    Healthy,
    Slow,
    Stopped,
    StartedAgain,
    Recovered,
}

/// From which second on.
const CHAPTERS: [(Chapter, u64); 5] = [
    (Chapter::Healthy, 0),
    (Chapter::Slow, 4),
    (Chapter::Stopped, 9),
    (Chapter::StartedAgain, 14),
    (Chapter::Recovered, 19),
];
pub const END: u64 = 24;

/// Four times the limit of one attempt, so that it is slow on any machine.
const SLOW: Duration = Duration::from_secs(3);

impl Chapter {
    fn beginning_at(second: u64) -> Option<Self> {
        CHAPTERS.iter().find(|(_, from)| *from == second).map(|(chapter, _)| *chapter)
    }

    /// From which second on.
    pub fn begin(self) -> u64 {
        CHAPTERS.iter().find(|(chapter, _)| *chapter == self).map_or(END, |(_, from)| *from)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow (3 s)",
            Self::Stopped => "STOPPED",
            Self::StartedAgain => "started again",
            Self::Recovered => "recovered",
        }
    }

    fn befall(self, users: &UserService) -> io::Result<()> {
        match self {
            Self::Slow => users.set_delay(SLOW),
            Self::Stopped => users.stop(),
            Self::StartedAgain => {
                users.set_delay(Duration::ZERO);
                users.start()?;
            }
            Self::Healthy | Self::Recovered => {}
        }
        Ok(())
    }
}

type Transitions = Arc<Mutex<Vec<Transition>>>;

/// Plays it, and tells whether everything that must hold has held.
pub async fn play() -> Result<bool, Box<dyn Error>> {
    let (screen, transitions) = (Screen::new(), Transitions::default());
    let users = UserService::start_on(0)?;
    let pipeline = policies::users(tell(screen, transitions.clone()))?;
    let circuit = pipeline.circuit_breaker().cloned().ok_or("the pipeline has a circuit breaker")?;
    let protected = start(&users, |users| Protected::new(users, pipeline)).await?;
    let bare = start(&users, Bare).await?;

    screen.title();
    let origin = Instant::now();
    let traffic = tokio::spawn(flow([protected.clone(), bare.clone()], origin, Duration::from_secs(END)));
    let calls_by_second = watch(screen, origin, &users, &circuit, [&protected, &bare]).await?;
    traffic.await?;

    screen.summary(&protected, &bare);
    let transitions = transitions.lock().expect("no panic under it").clone();
    let checks = Evidence { records: protected.records(), calls_by_second, transitions }.checks();
    screen.verdict(&checks);
    Ok(checks.iter().all(|(holds, _)| *holds))
}

/// Lets each chapter befall the user service, and shows each second; yields how many calls the user service had from the
/// protected variant at the beginning and at the end of each.
async fn watch(
    screen: Screen,
    origin: Instant,
    users: &UserService,
    circuit: &CircuitBreaker,
    [protected, bare]: [&Variant; 2],
) -> io::Result<Vec<u64>> {
    let mut calls_by_second = vec![protected.calls()];
    let mut seen = [Seen::default(); 2];
    for second in 0..END {
        if let Some(chapter) = Chapter::beginning_at(second) {
            screen.chapter(chapter);
            chapter.befall(users)?;
        }
        time::sleep_until((origin + Duration::from_secs(second + 1)).into()).await;
        screen.line(second + 1, circuit.state(), [protected, bare], &mut seen);
        calls_by_second.push(protected.calls());
    }
    Ok(calls_by_second)
}

async fn start<U: Users>(users: &UserService, make: impl FnOnce(Remote) -> U) -> io::Result<Variant> {
    let calls = Arc::default();
    let remote = Remote::new(users.url(), Arc::clone(&calls));
    let address = serve(app(make(remote)), 0).await?;
    Ok(Variant::new(format!("http://{address}"), calls))
}

fn tell(screen: Screen, transitions: Transitions) -> impl Fn(&CircuitBreakerEvent) + Send + Sync {
    move |event| {
        if let CircuitBreakerEvent::Transition { transition, .. } = event {
            screen.transition(transition.to);
            transitions.lock().expect("no panic under it").push(*transition);
        }
    }
}

/// What the lesson's console says.
pub fn in_the_lessons_words(state: State) -> &'static str {
    match state {
        State::Open => "Circuit OPEN - User service appears to be down",
        State::HalfOpen => "Circuit HALF-OPEN - Testing if user service is back",
        State::Closed => "Circuit CLOSED - User service is back to normal",
        _ => "Circuit changed manually",
    }
}
