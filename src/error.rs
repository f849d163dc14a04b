//! What a policy says when it rejects a call or gives it up, and what `build()` says of bad settings.

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    error::Error as StdError,
    fmt,
    hash::{Hash, Hasher},
    io,
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

/// The name of a policy, as it appears in errors and events.
///
/// A literal costs nothing to clone. A name made at run time (from a `String`, an `Arc<str>`, or borrowed text by
/// [`Name::copied`]) is shared by all clones. To make one copies the text, that of an `Arc<str>` too, and allocates at
/// most twice.
#[derive(Clone)]
pub struct Name(Text);

/// 16 bytes. An `Arc<str>` has as many itself, and no niche that `Literal` fits beside.
#[derive(Clone)]
enum Text {
    Literal(&'static str),
    Shared(Arc<Box<str>>),
}

impl Name {
    /// A copy of borrowed text: for a name that is neither a literal nor a `String`.
    ///
    /// ```
    /// use withstand::{CircuitBreaker, Name};
    ///
    /// fn for_host(host: &str) -> CircuitBreaker {
    ///     CircuitBreaker::new(Name::copied(host))
    /// }
    /// assert_eq!(for_host("api.example.com").name(), "api.example.com");
    /// ```
    pub fn copied(name: &str) -> Self {
        Self::shared(name.into())
    }

    fn shared(name: Box<str>) -> Self {
        Self(Text::Shared(Arc::new(name)))
    }

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
        Self::shared(name.into())
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Self::copied(&name)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// As its text: so a map with names for keys can be asked for a `&str`.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

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

/// A span of whole nanoseconds, at most 584 years: a longer one is held as that. `None` fits in its 8 bytes too, for it
/// holds one more than there are. An `Option<Duration>` has 16.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Nanos(NonZeroU64);

impl Nanos {
    fn get(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }
}

impl From<u64> for Nanos {
    #[inline]
    fn from(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }
}

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Self {
        u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).into()
    }
}

impl fmt::Debug for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

// What each policy tells of its rejection has at most 32 bytes: a name (16), a span (8), and two counts or a few flags
// (8). So a `Rejected` has 40, and so has your error with one in it. Every result of every call is as wide as that,
// and is moved through each policy. Of what does not fit, such as a second span that is a setting, keep an `Arc` that
// is made with the policy. `tests/sizes.rs` holds this.

/// A circuit breaker rejected the call. The operation was not started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("circuit `{name}` is open{}", for_another(.retry_after))]
pub struct CircuitOpen {
    name: Name,
    retry_after: Option<Nanos>,
    attempts_sent: u32,
}

impl CircuitOpen {
    /// The rejection of a breaker of this name. Policies make their own; this is for tests of how your code handles
    /// one.
    pub fn new(name: impl Into<Name>, retry_after: Option<Duration>) -> Self {
        Self { name: name.into(), retry_after: retry_after.map(Nanos::from), attempts_sent: 0 }
    }

    /// The breaker's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How long the circuit will stay open.
    ///
    /// `None` if this is not known: the circuit is half-open and its probe slots are taken, or it was forced open.
    /// More than 584 years are told as 584 years.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.map(Nanos::get)
    }
}

/// A bulkhead had no free slot for the call. The operation was not started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("bulkhead `{name}` is full ({max_concurrent} at once){}", after_waiting(.waited))]
pub struct BulkheadFull {
    name: Name,
    max_concurrent: u32,
    waited: Option<Nanos>,
    attempts_sent: u32,
}

impl BulkheadFull {
    /// The rejection of a bulkhead of this name. Policies make their own; this is for tests of how your code handles
    /// one.
    pub fn new(name: impl Into<Name>, max_concurrent: usize, waited: Option<Duration>) -> Self {
        let max_concurrent = u32::try_from(max_concurrent).unwrap_or(u32::MAX);
        Self { name: name.into(), max_concurrent, waited: waited.map(Nanos::from), attempts_sent: 0 }
    }

    /// The bulkhead's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How many calls the bulkhead let run at once when it rejected this one. More than [`u32::MAX`] are told as that
    /// many.
    pub fn max_concurrent(&self) -> usize {
        usize::try_from(self.max_concurrent).unwrap_or(usize::MAX)
    }

    /// The `max_wait` that the call spent in the queue before it was rejected. `None` if it was rejected at once.
    /// More than 584 years are told as 584 years.
    pub fn waited(&self) -> Option<Duration> {
        self.waited.map(Nanos::get)
    }
}

/// A rate limiter had no permit for the call. The operation was not started.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("rate limiter `{name}` is spent (limit {limit}){}", until_a_permit(.retry_after))]
pub struct RateLimited {
    name: Name,
    /// `None`: no wait would help.
    retry_after: Option<Nanos>,
    limit: u32,
    attempts_sent: u32,
}

impl RateLimited {
    /// The rejection of a rate limiter of this name. Policies make their own; this is for tests of how your code
    /// handles one. `retry_after` counts up to 584 years.
    pub fn new(name: impl Into<Name>, limit: u32, retry_after: Option<Duration>) -> Self {
        Self { name: name.into(), retry_after: retry_after.map(Nanos::from), limit, attempts_sent: 0 }
    }

    /// As [`new`](Self::new), of a time in nanoseconds: without the wide arithmetic of a `Duration`.
    #[inline(always)]
    pub(crate) fn after_nanos(name: Name, limit: u32, retry_after: Option<u64>) -> Self {
        Self { name, retry_after: retry_after.map(Nanos::from), limit, attempts_sent: 0 }
    }

    /// The rate limiter's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// How many permits the rate limiter had for each period when it rejected the call.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How long until the call would have been admitted, behind all calls that waited then.
    ///
    /// `None` if no wait would help: the call asked for more permits than there ever are at once, or the limit is zero.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.map(Nanos::get)
    }
}

/// The operation took longer than its timeout, or than the [`Deadline`](crate::Deadline) around it, allows.
///
/// It was dropped. What it had already caused elsewhere is not undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}{}", quoted(self.name()), took_longer(*.limit, *.cause))]
pub struct Elapsed {
    // In place of an `Option<Name>`, which has 24 bytes: a `Name` has no niche left. Empty if there is none.
    name: Name,
    has_name: bool,
    cause: Cause,
    limit: Nanos,
}

/// What ended an operation that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// A timeout's own limit.
    Limit,
    /// The deadline of the scope around it, which was earlier.
    Deadline,
    /// A limit or a deadline, while the call waited to be started.
    NotStarted,
}

impl Elapsed {
    /// What a timeout of this name and limit says. Policies make their own; this is for tests of how your code handles
    /// one.
    pub fn new(name: Option<Name>, limit: Duration) -> Self {
        Self::caused_by(Cause::Limit, name, limit)
    }

    pub(crate) fn caused_by(cause: Cause, name: Option<Name>, limit: Duration) -> Self {
        let has_name = name.is_some();
        Self { name: name.unwrap_or_else(|| Name::from("")), has_name, cause, limit: limit.into() }
    }

    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// The timeout's name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.has_name.then(|| self.name.as_str())
    }

    /// How long the operation was allowed to take: the timeout's limit, or the whole span of the deadline. More than 584
    /// years are told as 584 years.
    pub fn limit(&self) -> Duration {
        self.limit.get()
    }
}

fn for_another(retry_after: &Option<Nanos>) -> String {
    retry_after.map_or_else(String::new, |left| format!(", for another {left:?}"))
}

fn until_a_permit(retry_after: &Option<Nanos>) -> String {
    retry_after.map_or_else(|| ", and no wait would help".to_owned(), |left| format!(", for another {left:?}"))
}

fn after_waiting(waited: &Option<Nanos>) -> String {
    waited.map_or_else(String::new, |waited| format!(", and stayed full for {waited:?}"))
}

fn took_longer(limit: Nanos, cause: Cause) -> String {
    match cause {
        Cause::Limit => format!("took longer than {limit:?}"),
        Cause::Deadline => format!("took longer than the deadline allows, {limit:?}"),
        Cause::NotStarted => format!("was not started within {limit:?}"),
    }
}

fn quoted(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!("`{name}` "))
}

/// Why a policy, and not the operation, ended a call.
///
/// The operation's own error type carries it (see [`CarriesRejected`](crate::CarriesRejected)), so no policy ever
/// changes that type. Read it by [`as_rejected`](crate::CarriesRejected::as_rejected), or by [`Rejected::find`] where
/// only a `dyn Error` is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// A circuit breaker rejected the call.
    #[error(transparent)]
    CircuitOpen(#[from] CircuitOpen),
    /// A bulkhead had no free slot for the call.
    #[error(transparent)]
    BulkheadFull(#[from] BulkheadFull),
    /// A rate limiter had no permit for the call.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The operation took longer than its timeout allows.
    #[error(transparent)]
    TimedOut(#[from] Elapsed),
}

impl Rejected {
    /// Whether the operation was started, and may have had effects.
    ///
    /// An operation that was not started can be sent again without harm, even if it is not idempotent. Where a retry
    /// ended with this rejection, it speaks of all the retry's attempts: see [`attempts_sent`](Self::attempts_sent). A
    /// timeout around a bulkhead's queue says `true`, although the call may have spent all of the time in the queue. A
    /// pipeline, and a queue in the scope of a [`Deadline`](crate::Deadline), know it: they say `false`.
    pub fn was_started(&self) -> bool {
        match self {
            Self::TimedOut(elapsed) => elapsed.cause != Cause::NotStarted,
            Self::CircuitOpen(_) | Self::BulkheadFull(_) | Self::RateLimited(_) => self.attempts_sent() > 0,
        }
    }

    /// How many attempts a retry had sent before one was rejected, and ended the call with this rejection. 0 where no
    /// retry was around.
    ///
    /// A timeout counts its own operation as one attempt.
    pub fn attempts_sent(&self) -> u32 {
        match self {
            Self::CircuitOpen(open) => open.attempts_sent,
            Self::BulkheadFull(full) => full.attempts_sent,
            Self::RateLimited(limited) => limited.attempts_sent,
            Self::TimedOut(elapsed) => u32::from(elapsed.cause != Cause::NotStarted),
        }
    }

    /// Adds what a retry has sent before this rejection ended it.
    pub(crate) fn add_attempts_sent(&mut self, sent: u32) {
        let sum = match self {
            Self::CircuitOpen(open) => &mut open.attempts_sent,
            Self::BulkheadFull(full) => &mut full.attempts_sent,
            Self::RateLimited(limited) => &mut limited.attempts_sent,
            // It says that it was started in any case.
            Self::TimedOut(_) => return,
        };
        *sum = sum.saturating_add(sent);
    }

    /// How long to wait before another call has a chance. `None` where this is not known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen(open) => open.retry_after(),
            Self::RateLimited(limited) => limited.retry_after(),
            Self::BulkheadFull(_) | Self::TimedOut(_) => None,
        }
    }

    /// [`retry_after`](Self::retry_after) in whole seconds, rounded up, as the HTTP header `Retry-After` counts it.
    ///
    /// Where it is `None`, 1 second is a good value for the header: `rejected.retry_after_secs().unwrap_or(1)`.
    pub fn retry_after_secs(&self) -> Option<u64> {
        let left = self.retry_after()?;
        Some(left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0)))
    }

    /// The HTTP status that says the same: 503 (Service Unavailable) for an open circuit and for a full bulkhead, 429
    /// (Too Many Requests) for a spent rate limiter, 504 (Gateway Timeout) for a timeout.
    ///
    /// It is never 408 (Request Timeout): that says that the *client* was too slow, and browsers send the request again
    /// by themselves.
    ///
    /// ```
    /// use withstand::{CircuitOpen, Rejected};
    ///
    /// assert_eq!(Rejected::from(CircuitOpen::new("stock", None)).http_status(), 503);
    /// ```
    pub fn http_status(&self) -> u16 {
        match self {
            Self::CircuitOpen(_) | Self::BulkheadFull(_) => 503,
            Self::RateLimited(_) => 429,
            Self::TimedOut(_) => 504,
        }
    }

    /// The gRPC code that says the same: `UNAVAILABLE` for an open circuit, `RESOURCE_EXHAUSTED` for a full bulkhead
    /// and for a spent rate limiter, `DEADLINE_EXCEEDED` for a timeout.
    ///
    /// ```
    /// use withstand::{CircuitOpen, Rejected};
    ///
    /// let rejected = Rejected::from(CircuitOpen::new("stock", None));
    /// let status = tonic::Status::new(rejected.grpc_code().into(), rejected.to_string());
    /// assert_eq!(status.code(), tonic::Code::Unavailable);
    /// ```
    pub fn grpc_code(&self) -> i32 {
        match self {
            Self::CircuitOpen(_) => 14,
            Self::BulkheadFull(_) | Self::RateLimited(_) => 8,
            Self::TimedOut(_) => 4,
        }
    }

    /// The name of the policy that ended the call, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::CircuitOpen(open) => Some(open.name()),
            Self::BulkheadFull(full) => Some(full.name()),
            Self::RateLimited(limited) => Some(limited.name()),
            Self::TimedOut(elapsed) => elapsed.name(),
        }
    }

    /// Finds a `Rejected` in an error or anywhere in its chain of sources.
    ///
    /// A `transparent` variant hides its error from that chain. If it is one that can carry a rejection itself, an
    /// `io::Error` or a boxed one, ask that error for [`as_rejected`](crate::CarriesRejected::as_rejected).
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

/// One setting that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BadSetting {
    field: Cow<'static, str>,
    why: String,
}

impl BadSetting {
    /// Names the setting, and says in a few words what it must be and what it was.
    pub fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }

    /// The name of the setting, which is also the setter's. Where the settings are part of others, such as those of a
    /// file, the whole path to it: `users.circuit_breaker.failure_rate`.
    pub fn field(&self) -> &str {
        &self.field
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
    /// What kind of policy the settings are for, and which. `None`: for several; then the paths say which.
    policy: Option<(&'static str, Name)>,
    settings: Vec<BadSetting>,
}

impl ConfigError {
    /// One thing is wrong with a set of policies: what has this path.
    pub(crate) fn of_set(path: &str, why: String) -> Self {
        Self { policy: None, settings: vec![BadSetting { field: path.to_owned().into(), why }] }
    }

    /// Every setting that was rejected.
    pub fn settings(&self) -> &[BadSetting] {
        &self.settings
    }
}

impl StdError for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some((policy, name)) => write!(f, "bad settings for the {policy} `{name}`: ")?,
            None => f.write_str("bad settings: ")?,
        }
        for (index, setting) in self.settings.iter().enumerate() {
            let gap = if index == 0 { "" } else { "; " };
            write!(f, "{gap}{} {}", setting.field, setting.why)?;
        }
        Ok(())
    }
}

/// Collects what is wrong with a builder's settings, so that one error names all of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Check(Vec<BadSetting>);

impl Check {
    pub(crate) fn refuse_if(&mut self, bad: bool, field: &'static str, why: impl Into<String>) {
        if bad {
            self.0.push(BadSetting::new(field, why));
        }
    }

    /// Refuses what has this path.
    pub(crate) fn refuse(&mut self, path: &str, why: &str) {
        self.0.push(BadSetting { field: path.to_owned().into(), why: why.to_owned() });
    }

    /// What is refused in here is part of that setting: its path begins with it.
    pub(crate) fn inside(&mut self, setting: &str, check: impl FnOnce(&mut Self)) {
        let before = self.0.len();
        check(self);
        for bad in &mut self.0[before..] {
            bad.field = format!("{setting}.{}", bad.field).into();
        }
    }

    /// Takes over what was refused of a part.
    pub(crate) fn part<T>(&mut self, part: &str, checked: Result<T, ConfigError>) -> Option<T> {
        match checked {
            Ok(part) => Some(part),
            Err(error) => {
                self.inside(part, |check| check.refuse_all(error.settings));
                None
            }
        }
    }

    pub(crate) fn refuse_all(&mut self, settings: Vec<BadSetting>) {
        self.0.extend(settings);
    }

    pub(crate) fn finish(self, policy: &'static str, name: &Name) -> Result<(), ConfigError> {
        self.finish_for(Some((policy, name.clone())))
    }

    /// For several policies, whose names the paths begin with.
    pub(crate) fn finish_all(self) -> Result<(), ConfigError> {
        self.finish_for(None)
    }

    fn finish_for(self, policy: Option<(&'static str, Name)>) -> Result<(), ConfigError> {
        let settings = self.0;
        if settings.is_empty() { Ok(()) } else { Err(ConfigError { policy, settings }) }
    }
}
