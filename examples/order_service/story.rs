//! The story: what happens to the user service, and when; and how each order service takes it.

use std::{
    error::Error,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use reqwest::Client;
use withstand::{
    CircuitBreakerEvent,
    circuit_breaker::{State, Transition},
};

use crate::{
    bare::Bare,
    order_service::{app, serve},
    protected::Protected,
    report::{self, Evidence, Screen, Seen},
    traffic::{Variant, flow},
    user_service::UserService,
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
pub const CHAPTERS: [(Chapter, u64); 5] = [
    (Chapter::Healthy, 0),
    (Chapter::Slow, 5),
    (Chapter::Stopped, 10),
    (Chapter::StartedAgain, 16),
    (Chapter::Recovered, 21),
];
pub const END: u64 = 26;

impl Chapter {
    fn at(second: u64) -> Self {
        CHAPTERS.iter().rev().find(|(_, from)| *from <= second).map_or(Self::Healthy, |(chapter, _)| *chapter)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow (2 s)",
            Self::Stopped => "STOPPED",
            Self::StartedAgain => "started again",
            Self::Recovered => "recovered",
        }
    }

    fn befall(self, users: &UserService) -> std::io::Result<()> {
        match self {
            Self::Slow => users.set_delay(Duration::from_secs(2)),
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

/// Plays it, and tells whether everything that must hold has held.
pub async fn play() -> Result<bool, Box<dyn Error>> {
    let screen = Screen::new();
    let users = UserService::start_on(0)?;
    let transitions = Arc::new(Mutex::new(Vec::new()));
    let (protected, breaker) = start_protected(&users, &transitions, screen).await?;
    let bare = start_bare(&users).await?;

    screen.title();
    let origin = Instant::now();
    let traffic = tokio::spawn(flow(vec![protected.clone(), bare.clone()], origin, Duration::from_secs(END)));
    let mut calls_by_second = vec![protected.calls()];
    let mut seen = [Seen::default(); 2];
    for second in 0..END {
        let chapter = Chapter::at(second);
        if CHAPTERS.contains(&(chapter, second)) {
            screen.chapter(chapter);
            chapter.befall(&users)?;
        }
        tokio::time::sleep_until((origin + Duration::from_secs(second + 1)).into()).await;
        screen.line(second + 1, breaker.state(), [&protected, &bare], &mut seen);
        calls_by_second.push(protected.calls());
    }
    traffic.await?;
    let transitions = transitions.lock().expect("no panic under it").clone();
    let evidence = Evidence { records: protected.records(), calls_by_second, transitions };
    screen.summary(&protected, &bare);
    Ok(report::verdict(screen, &evidence))
}

async fn start_protected(
    users: &UserService,
    transitions: &Arc<Mutex<Vec<Transition>>>,
    screen: Screen,
) -> Result<(Variant, withstand::CircuitBreaker), Box<dyn Error>> {
    let calls = Arc::new(AtomicU64::new(0));
    let transitions = transitions.clone();
    let hear = move |event: &CircuitBreakerEvent| {
        if let CircuitBreakerEvent::Transition { transition, .. } = event {
            screen.transition(transition.to);
            transitions.lock().expect("no panic under it").push(*transition);
        }
    };
    let service = Protected::new(Client::new(), users.url(), calls.clone(), hear)?;
    let breaker = service.breaker();
    let address = serve(app(service), 0).await?;
    Ok((Variant::new(Client::new(), format!("http://{address}"), calls), breaker))
}

async fn start_bare(users: &UserService) -> Result<Variant, Box<dyn Error>> {
    let calls = Arc::new(AtomicU64::new(0));
    let service = Bare { client: Client::new(), url: users.url(), calls: calls.clone() };
    let address = serve(app(service), 0).await?;
    Ok(Variant::new(Client::new(), format!("http://{address}"), calls))
}

/// What the lesson's console says.
pub fn in_the_lessons_words(state: State) -> &'static str {
    match state {
        State::Open => "Circuit OPEN - User service appears to be down",
        State::HalfOpen => "Circuit HALF-OPEN - Testing if user service is back",
        State::Closed => "Circuit CLOSED - User service is back to normal",
        State::ForcedOpen | State::ForcedClosed | State::MetricsOnly => "Circuit set by hand",
    }
}
