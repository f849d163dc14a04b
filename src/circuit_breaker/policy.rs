use std::{future::Future, time::Duration};

use super::{
    config::CircuitBreakerBuilder,
    future::CircuitBreakerFuture,
    permit::CircuitBreakerPermit,
    settings::{CircuitBreakerSettings, Window},
    shared::{Circuit, Snapshot},
    transition::State,
};
use crate::{
    carry::CarriesRejected,
    classify::{ByError, Classify},
    error::{ConfigError, Name, Rejected},
    sync::Arc,
};

/// Stops calling a dependency that fails, and finds out when it is back.
///
/// See the [module](super) for the states and the defaults. Clones share the circuit. So do the handles with another
/// classifier that [`classify`](Self::classify) makes, and every layer.
#[derive(Debug)]
pub struct CircuitBreaker<C = ByError> {
    pub(crate) circuit: Arc<Circuit>,
    pub(super) classifier: C,
}

impl CircuitBreaker {
    /// A closed circuit with the default settings.
    ///
    /// A literal name costs nothing. For borrowed text there is [`Name::copied`].
    pub fn new(name: impl Into<Name>) -> Self {
        let (settings, options, classifier) = Self::builder(name).unchecked();
        Self { circuit: Arc::new(Circuit::new(settings, options)), classifier }
    }

    /// Settings for a circuit that opens when at least this ratio of the window's calls failed: the breaker that most
    /// other libraries have.
    ///
    /// It opens by this rule alone, for `open_for` each time, without growth and without jitter. One probe that
    /// succeeds closes it. The other settings are the defaults.
    ///
    /// ```
    /// use std::time::Duration;
    /// use withstand::{circuit_breaker::Window, CircuitBreaker};
    ///
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let breaker = CircuitBreaker::by_rate("users", 0.5, Window::calls(10), Duration::from_secs(10)).build()?;
    /// # Ok(()) }
    /// ```
    pub fn by_rate(name: impl Into<Name>, rate: f64, window: Window, open_for: Duration) -> CircuitBreakerBuilder {
        let builder = Self::builder(name).no_consecutive_failures().failure_rate(rate, window);
        builder.open_for(open_for).no_open_growth().no_open_jitter().required_successes(1)
    }

    /// Settings for a circuit of this name.
    ///
    /// A literal name costs nothing. For borrowed text there is [`Name::copied`].
    pub fn builder(name: impl Into<Name>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(name.into())
    }
}

impl<C> CircuitBreakerBuilder<C> {
    /// A closed circuit with these settings.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<CircuitBreaker<C>, ConfigError> {
        let (settings, options, classifier) = self.checked()?;
        Ok(CircuitBreaker { circuit: Arc::new(Circuit::new(settings, options)), classifier })
    }
}

impl<C> CircuitBreaker<C> {
    /// A handle on the same circuit with another classifier, for another type of result.
    pub fn classify<D>(&self, classifier: D) -> CircuitBreaker<D> {
        CircuitBreaker { circuit: self.circuit.clone(), classifier }
    }

    /// Starts the operation, unless the circuit is open, and counts how it ends.
    ///
    /// It decides and starts at once; awaiting the future only waits.
    ///
    /// # Errors
    ///
    /// The operation's own, or [`Rejected::CircuitOpen`], and then the operation was not started.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the operation, then gives a probe's slot back. See the
    /// [module](super#cancel-safety) for what a dropped call counts as.
    #[inline(always)]
    pub fn call<F, Fut, T, E>(&self, operation: F) -> CircuitBreakerFuture<Fut, &Circuit, &C>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CarriesRejected,
        C: Classify<T, E>,
    {
        CircuitBreakerFuture::start(&*self.circuit, &self.classifier, self.circuit.admit(), operation)
    }

    /// A permit to make one call, without a closure.
    ///
    /// # Errors
    ///
    /// [`Rejected::CircuitOpen`].
    pub fn try_acquire(&self) -> Result<CircuitBreakerPermit, Rejected> {
        match self.circuit.admit() {
            Ok(admitted) => Ok(CircuitBreakerPermit::new(self.circuit.clone(), admitted)),
            Err(rejection) => {
                self.circuit.count_rejected_permit(rejection);
                Err(self.circuit.rejected(rejection))
            }
        }
    }

    /// The circuit's name.
    pub fn name(&self) -> &str {
        self.circuit.name().as_str()
    }

    /// The settings that are in force now.
    pub fn settings(&self) -> CircuitBreakerSettings {
        self.circuit.settings()
    }

    /// Changes the settings of the circuit while it is in use. All handles and layers of the circuit go on by them at
    /// once; listeners, classifiers and the seed stay.
    ///
    /// | what | what becomes of it |
    /// |---|---|
    /// | the state, its generation, and the growth of openings | kept |
    /// | a window whose `calls` or `time` changed, or whose rule is new | begins anew |
    /// | other windows, and the consecutive failures | keep their counts; the next outcome is judged by the new rules |
    /// | an opening that runs | keeps its end; the next one is as the new settings say |
    /// | probes that run | keep their time, but never more than the new `probe_timeout` from now |
    /// | calls that run | are judged by the new rules; one that began before a rule needed its start is never slow |
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting. Then nothing has changed.
    pub fn apply(&self, settings: &CircuitBreakerSettings) -> Result<(), ConfigError> {
        self.check(settings)?;
        self.apply_checked(settings);
        Ok(())
    }

    /// Whether these settings could be applied.
    pub(crate) fn check(&self, settings: &CircuitBreakerSettings) -> Result<(), ConfigError> {
        settings.check(self.circuit.name())
    }

    /// Applies settings that were checked.
    pub(crate) fn apply_checked(&self, settings: &CircuitBreakerSettings) {
        self.circuit.apply_checked(settings);
    }

    /// Takes these settings as those that it was made with.
    pub(crate) fn set_made_with(&self, settings: &CircuitBreakerSettings) {
        self.circuit.set_made_with(settings);
    }

    /// The state now. An open circuit whose time is over reads half-open.
    pub fn state(&self) -> State {
        self.circuit.state()
    }

    /// The state, and what the rules hold now. It waits for no call, and makes no transition.
    pub fn snapshot(&self) -> Snapshot {
        self.circuit.snapshot()
    }

    /// Rejects every call, until another of these four is called.
    pub fn force_open(&self) {
        self.circuit.force(State::ForcedOpen);
    }

    /// Admits every call and counts none, until another of these four is called.
    pub fn force_closed(&self) {
        self.circuit.force(State::ForcedClosed);
    }

    /// Admits and counts every call, but never opens, until another of these four is called.
    pub fn metrics_only(&self) {
        self.circuit.force(State::MetricsOnly);
    }

    /// Makes it a closed circuit that has counted nothing.
    pub fn reset(&self) {
        self.circuit.force(State::Closed);
    }

    /// How many handles, layers, services, permits and calls of services hold the circuit, this handle included.
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.circuit)
    }

    /// Whether its state is worth more than that of a new circuit. `is_idle`: it was not used for `idle_for`.
    pub(crate) fn must_stay(&self, is_idle: bool, idle_for: Duration) -> bool {
        self.circuit.must_stay(is_idle, idle_for)
    }
}

impl<C: Clone> Clone for CircuitBreaker<C> {
    fn clone(&self) -> Self {
        self.classify(self.classifier.clone())
    }
}
