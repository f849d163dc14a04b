//! One dependency under a full stack of policies, in the order that the docs teach, with a seam between any two; both ways.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::future::BoxFuture;
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};
use withstand::{ConfigError, circuit_breaker::State};

use crate::{
    backend::{Answer, Backend, BackendService, Failure, Mood, Reply, Request},
    heard::{Count, Heard},
    policies::{Policies, Recovery, SLOTS, Settings},
    seam::{Pick, SeamLayer, Seams, watch},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Plain,
    Tower,
}

type BoxService = BoxCloneSyncService<Request, Reply, Failure>;

pub struct Stack {
    pub settings: Settings,
    pub policies: Policies,
    pub backend: Arc<Backend>,
    pub seams: Arc<Seams>,
    pub heard: Arc<Heard>,
    /// How often the circuit was taken over manually.
    pub forced: Count,
    /// The policies as layers, under either fallback.
    services: [BoxService; 2],
}

impl Stack {
    pub fn new(settings: Settings) -> Result<Self, ConfigError> {
        let (backend, seams, heard) = (Arc::new(Backend::new(Mood::Stalled)), Arc::new(Seams::new()), Arc::default());
        let policies = Policies::new(&settings, &heard)?;
        let services = policies.fallbacks.each_ref().map(|fallback| layers(fallback, &policies, &seams, &backend));
        Ok(Self { settings, policies, backend, seams, heard, forced: Count::default(), services })
    }

    /// A call that has begun when this returns, for `call` decides and starts. `stands_in`: the fallback answers.
    pub fn call(&self, way: Way, stands_in: bool, request: Request) -> BoxFuture<'_, Answer> {
        Box::pin(watch(self.seams.call.clone(), || match way {
            Way::Plain => self.plain(stands_in, request),
            Way::Tower => self.tower(stands_in, request),
        }))
    }

    fn plain(&self, stands_in: bool, request: Request) -> BoxFuture<'_, Answer> {
        let Self { policies, backend, seams, .. } = self;
        let Policies { fallbacks, bulkhead, total, retry, breaker, each } = policies;
        let attempt = move || {
            let answer = || watch(seams.backend.clone(), || backend.answer(&request));
            watch(seams.next_attempt(&request), || breaker.call(|| each.call(answer)))
        };
        let retried = move || watch(seams.retry.clone(), || retry.call(attempt));
        let limited = move || watch(seams.total.clone(), || total.call(retried));
        let bounded = || watch(seams.bulkhead.clone(), || bulkhead.call(limited));
        Box::pin(fallbacks[usize::from(stands_in)].call(bounded))
    }

    fn tower(&self, stands_in: bool, request: Request) -> BoxFuture<'_, Answer> {
        let mut service = self.services[usize::from(stands_in)].clone();
        let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(()))), "a bulkhead is always ready");
        service.call(request)
    }

    pub fn force(&self, to: State) {
        let breaker = &self.policies.breaker;
        self.forced.add();
        match to {
            State::ForcedOpen => breaker.force_open(),
            State::ForcedClosed => breaker.force_closed(),
            State::MetricsOnly => breaker.metrics_only(),
            _ => breaker.reset(),
        }
    }

    pub fn is_forced(&self) -> bool {
        matches!(self.policies.breaker.state(), State::ForcedOpen | State::ForcedClosed | State::MetricsOnly)
    }

    /// Takes back what was done manually.
    pub fn restore(&self) {
        self.policies.bulkhead.set_max_concurrent(SLOTS);
        if self.is_forced() {
            self.force(State::Closed);
        }
    }
}

fn layers(fallback: &Recovery, policies: &Policies, seams: &Arc<Seams>, backend: &Arc<Backend>) -> BoxService {
    let Policies { bulkhead, total, retry, breaker, each, .. } = policies;
    let seam = |pick: Pick| SeamLayer { seams: seams.clone(), pick };
    BoxService::new(
        ServiceBuilder::new()
            .layer(fallback.layer())
            .layer(seam(|seams, _| seams.bulkhead.clone()))
            .layer(bulkhead.layer())
            .layer(seam(|seams, _| seams.total.clone()))
            .layer(total.layer())
            .layer(seam(|seams, _| seams.retry.clone()))
            .layer(retry.layer())
            .layer(seam(Seams::next_attempt))
            .layer(breaker.layer())
            .layer(each.layer())
            .layer(seam(|seams, _| seams.backend.clone()))
            .service(BackendService::new(backend.clone())),
    )
}
