//! What a policy says when it rejects a call or gives it up, and what `build()` says of bad settings.

use std::{error::Error as StdError, fmt, io, sync::Arc, time::Duration};

/// The name of a policy, as it appears in errors and events.
///
/// A literal costs nothing to clone; a name made at run time is shared.
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Literal(&'static str),
    Shared(Arc<str>),
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Literal(name) => name,
            Text::Shared(name) => name,
        }
    }
}

impl From<&'static str> for Name {
    fn from(name: &'static str) -> Self {
        Self(Text::Literal(name))
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Self(Text::Shared(name.into()))
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self(Text::Shared(name))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// A circuit breaker rejected the call; the operation was not started (by this try: a retry around it may have begun others).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("circuit `{name}` is open{}", in_time(.retry_after))]
pub struct CircuitOpen {
    name: Name,
    retry_after: Option<Duration>,
}

impl CircuitOpen {
    pub(crate) fn new(name: Name, retry_after: Option<Duration>) -> Self {
        Self { name, retry_after }
    }

    /// The breaker's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How long the circuit will stay open.
    ///
    /// `None` if no one can tell: it is half-open and its probe slots are taken, or it was forced open.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// A bulkhead had no slot for the call; the operation was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bulkhead `{name}` is full ({limit} at once){}", having_waited(.waited))]
pub struct BulkheadFull {
    name: Name,
    limit: usize,
    waited: Option<Duration>,
}

impl BulkheadFull {
    pub(crate) fn new(name: Name, limit: usize, waited: Option<Duration>) -> Self {
        Self { name, limit, waited }
    }

    /// The bulkhead's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How many calls the bulkhead let run at once when it rejected this one.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The `max_wait` that the call spent in the queue in vain; `None` if it was rejected at once.
    pub fn waited(&self) -> Option<Duration> {
        self.waited
    }
}

/// The operation was started, and took longer than its timeout allows.
///
/// It was dropped; what it had already caused elsewhere stays caused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}took longer than {limit:?}", quoted(.name))]
pub struct Elapsed {
    name: Option<Name>,
    limit: Duration,
}

impl Elapsed {
    pub(crate) fn new(name: Option<Name>, limit: Duration) -> Self {
        Self { name, limit }
    }

    /// The timeout's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::as_str)
    }

    /// How long the operation was allowed to take.
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

fn in_time(retry_after: &Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |left| format!(", for another {left:?}"))
}

fn having_waited(waited: &Option<Duration>) -> String {
    waited.map_or_else(String::new, |waited| format!(", and stayed full for {waited:?}"))
}

fn quoted(name: &Option<Name>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("`{name}` "))
}

/// Why a policy, and not the operation, ended a call.
///
/// The operation's own error type carries it (see [`CarriesRejected`](crate::CarriesRejected)), so that no
/// policy ever changes that type. To get at it: [`as_rejected`](crate::CarriesRejected::as_rejected), or
/// [`Rejected::find`] where only a `dyn Error` is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// A circuit breaker rejected the call.
    #[error(transparent)]
    CircuitOpen(#[from] CircuitOpen),
    /// A bulkhead had no slot for the call.
    #[error(transparent)]
    BulkheadFull(#[from] BulkheadFull),
    /// The operation took longer than its timeout allows.
    #[error(transparent)]
    TimedOut(#[from] Elapsed),
}

impl Rejected {
    /// Whether the operation was started, and may have had effects.
    ///
    /// What was not started can be sent again without harm, even if it is not idempotent. This speaks of the last try alone: outside of
    /// a retry, an earlier one may have been sent. And a timeout around a bulkhead's line says `true`, though the call may have waited
    /// there all the time.
    pub fn was_started(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// How long to wait before another call has a chance.
    ///
    /// `None` where there is no telling.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen(open) => open.retry_after(),
            Self::BulkheadFull(_) | Self::TimedOut(_) => None,
        }
    }

    /// [`retry_after`](Self::retry_after) as the header of that name counts it: in whole seconds, rounded up, for who comes back
    /// sooner comes too soon.
    ///
    /// Where there is no telling, 1 does no harm: `rejected.retry_after_secs().unwrap_or(1)`.
    pub fn retry_after_secs(&self) -> Option<u64> {
        let left = self.retry_after()?;
        Some(left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)))
    }

    /// The name of the policy that ended the call, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::CircuitOpen(open) => Some(open.name()),
            Self::BulkheadFull(full) => Some(full.name()),
            Self::TimedOut(elapsed) => elapsed.name(),
        }
    }

    /// Finds a `Rejected` in an error or anywhere in its chain of sources.
    ///
    /// A `transparent` variant hides the error in it from that chain. If it is one that can carry a rejection itself, an `io::Error` or a boxed
    /// one, ask that error for [`as_rejected`](crate::CarriesRejected::as_rejected).
    ///
    /// ```
    /// use withstand::{CarriesRejected, CircuitBreaker, Rejected};
    ///
    /// let breaker = CircuitBreaker::new("users");
    /// breaker.force_open();
    /// let rejected = std::io::Error::from_rejected(breaker.try_acquire().unwrap_err());
    /// assert!(matches!(Rejected::find(&rejected), Some(Rejected::CircuitOpen(_))));
    /// ```
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rejected) = error.downcast_ref() {
                return Some(rejected);
            }
            next = match payload(error) {
                // `io::Error::source` goes on behind its payload, so the payload itself comes first.
                Some(payload) => Some(payload),
                None => error.source(),
            };
        }
        None
    }
}

fn payload<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    let payload = error.downcast_ref::<io::Error>()?.get_ref()?;
    Some(payload)
}

/// One setting that `build()` rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting {
    field: &'static str,
    why: String,
}

impl BadSetting {
    /// Names the setting, and says in a few words what it must be and what it was.
    pub fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }

    /// The setter's name.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What the setting must be, and what it was.
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// `build()` rejected the settings; it names every bad one.
///
/// ```
/// # use withstand::CircuitBreaker;
/// let error = CircuitBreaker::builder("users").probes(0).open_jitter(f64::NAN).build().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "bad settings for the circuit breaker `users`: open_jitter must be from 0 to 1, not NaN; probes must be at least 1",
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    policy: &'static str,
    name: Name,
    settings: Vec<BadSetting>,
}

impl ConfigError {
    /// Every setting that was rejected.
    pub fn settings(&self) -> &[BadSetting] {
        &self.settings
    }
}

impl StdError for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad settings for the {} `{}`: ", self.policy, self.name)?;
        for (index, setting) in self.settings.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}{} {}", setting.field, setting.why)?;
        }
        Ok(())
    }
}

/// Collects what is wrong with a builder's settings, so that one error names all of it.
#[derive(Debug, Default)]
pub(crate) struct Check(Vec<BadSetting>);

impl Check {
    pub(crate) fn refuse_if(&mut self, bad: bool, field: &'static str, why: impl Into<String>) {
        if bad {
            self.0.push(BadSetting::new(field, why));
        }
    }

    pub(crate) fn refuse_all(&mut self, settings: Vec<BadSetting>) {
        self.0.extend(settings);
    }

    pub(crate) fn finish(self, policy: &'static str, name: &Name) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ConfigError { policy, name: name.clone(), settings: self.0 })
    }
}
