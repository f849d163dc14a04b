use std::{borrow::Borrow, fmt, hash::Hash, time::Duration};

use super::{
    config::KeyedBuilder,
    keep::KeyedPolicy,
    shared::{Factory, Shared},
};
use crate::{
    error::{ConfigError, Name},
    sync::Arc,
};

/// A policy for each key: for each host, tenant or address.
///
/// See the [module](super). All clones and layers share the policies.
pub struct Keyed<K, P> {
    pub(super) shared: Arc<Shared<K, P>>,
}

/// [`Keyed`] policies at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// How many keys have a policy now.
    pub keys: usize,
    /// How many may have one.
    pub capacity: usize,
    /// How many policies have left so far. Those that [`remove`](Keyed::remove) took are not counted.
    pub evicted: u64,
    /// How many times the overflow policy was given out so far.
    pub overflowed: u64,
}

impl<K, P: KeyedPolicy> Keyed<K, P> {
    /// Policies that `make` makes, with the [defaults](super#defaults). [`builder`](Self::builder) says what `make` is,
    /// and has other settings.
    ///
    /// ```
    /// use withstand::{CircuitBreaker, Keyed, Name};
    ///
    /// let hosts = Keyed::new(|_: &str, name: Name| CircuitBreaker::new(name));
    /// assert_eq!((hosts.get("api.example.com:443").name(), hosts.len()), ("api.example.com:443", 1));
    /// ```
    pub fn new<Q>(make: impl Fn(&Q, Name) -> P + Send + Sync + 'static) -> Self
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + fmt::Display + ?Sized + 'static,
    {
        Self { shared: Arc::new(Self::builder(make).shared()) }
    }

    /// Settings for policies that `make` makes, each when its key is asked for first.
    ///
    /// The type that the closure takes the key as decides the type of the keys: `&str` is for `String`, and `&T` for any
    /// `T` that is `Clone`. The closure is given the name that the policy should have, which is the key as text.
    ///
    /// ```
    /// use std::net::IpAddr;
    /// use withstand::{Bulkhead, CircuitBreaker, Keyed, Name};
    ///
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let hosts: Keyed<String, CircuitBreaker> =
    ///     Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build()?;
    /// let clients: Keyed<IpAddr, Bulkhead> = Keyed::builder(|_: &IpAddr, name: Name| Bulkhead::new(name, 8)).build()?;
    /// let tenants: Keyed<u64, Bulkhead> = Keyed::builder(|tenant: &u64, name: Name| {
    ///     Bulkhead::new(name, if *tenant == 1 { 64 } else { 8 })
    /// })
    /// .build()?;
    /// assert_eq!(tenants.get(&7).name(), "7");
    /// # Ok(()) }
    /// ```
    ///
    /// `make` cannot fail. Where `build()` of a policy can, build one with the same settings beforehand, as a test of
    /// the settings: what was accepted once is accepted again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use withstand::{Bulkhead, BulkheadBuilder, ConfigError, Keyed, Name};
    ///
    /// fn settings(name: Name, wait: Duration) -> BulkheadBuilder {
    ///     Bulkhead::builder(name, 16).queue(32, wait)
    /// }
    ///
    /// fn tenants(wait: Duration) -> Result<Keyed<String, Bulkhead>, ConfigError> {
    ///     settings("tenants".into(), wait).build()?;
    ///     let make = move |_: &str, name: Name| settings(name, wait).build().expect("they were accepted before");
    ///     Keyed::builder(make).build()
    /// }
    /// # assert!(tenants(Duration::ZERO).is_err() && tenants(Duration::from_secs(1)).is_ok());
    /// ```
    ///
    /// It runs under no lock, so it may take its time, and may ask the same `Keyed` for another key. If two threads ask
    /// for a new key at the same time, both may run it; one policy is kept, and both threads get that one. If it panics,
    /// the panic reaches the caller, and nothing is kept.
    pub fn builder<Q>(make: impl Fn(&Q, Name) -> P + Send + Sync + 'static) -> KeyedBuilder<K, P>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + fmt::Display + ?Sized + 'static,
    {
        Self::named_builder(|key: &Q| key.to_string(), make)
    }

    /// As [`builder`](Self::builder), for keys that are not text and have no `Display`, or that should not be seen.
    ///
    /// `name` makes the name of a key's policy. Names are in errors and events, and so in logs. If a key is a secret, an
    /// API key for example, its name should tell only as much as may be logged.
    ///
    /// ```
    /// use withstand::{Bulkhead, Keyed};
    ///
    /// # fn main() -> Result<(), withstand::ConfigError> {
    /// let by_key = Keyed::named_builder(|key: &str| format!("{}...", &key[..4]), |_, name| Bulkhead::new(name, 8));
    /// let by_key = by_key.build()?;
    /// assert_eq!(by_key.get("sk_live_51H").name(), "sk_l...");
    /// # Ok(()) }
    /// ```
    pub fn named_builder<Q, N>(
        name: impl Fn(&Q) -> N + Send + Sync + 'static,
        make: impl Fn(&Q, Name) -> P + Send + Sync + 'static,
    ) -> KeyedBuilder<K, P>
    where
        K: Borrow<Q>,
        Q: ToOwned<Owned = K> + ?Sized + 'static,
        N: Into<Name>,
    {
        KeyedBuilder::new(Factory {
            name: Box::new(move |key| name(key.borrow()).into()),
            policy: Box::new(move |key, name| make(key.borrow(), name)),
        })
    }

    /// The policy of this key. If it has none, one is made for it.
    ///
    /// While the handle lives, or a call of it, the policy stays. So bind it to a variable if its call outlives the
    /// statement:
    ///
    /// ```
    /// # use withstand::{CircuitBreaker, Keyed, Name};
    /// # async fn fetch() -> std::io::Result<u32> { Ok(7) }
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hosts = Keyed::builder(|_: &str, name: Name| CircuitBreaker::new(name)).build()?;
    /// hosts.get("api.example.com").call(fetch).await?;
    ///
    /// let host = hosts.get("api.example.com");
    /// let (one, other) = (host.call(fetch), host.call(fetch));
    /// # one.await?; other.await?;
    /// # Ok(()) }
    /// ```
    ///
    /// If the [capacity](KeyedBuilder::capacity) is reached, the policy that has been idle for longest, of those that may
    /// leave, leaves. If none may, it is the overflow policy that you get. The [module](super#what-may-leave) says more.
    ///
    /// # Panics
    ///
    /// With the panic of the closure that makes the policy.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> P
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.shared.hash(key);
        match self.shared.find(hash, key) {
            Some(entry) => {
                self.shared.touch(&entry);
                entry.policy.clone()
            }
            None => self.shared.make(hash, key),
        }
    }

    /// The policy of this key, if it has one now. None is made, and this does not count as a use.
    pub fn peek<Q>(&self, key: &Q) -> Option<P>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let entry = self.shared.find(self.shared.hash(key), key)?;
        Some(entry.policy.clone())
    }

    /// Removes the policy of this key, and returns it.
    ///
    /// It is removed whatever its state is. Whoever holds a handle of it keeps using it, and the next
    /// [`get`](Self::get) makes another: until the last handle is gone, there are then two policies for one key.
    pub fn remove<Q>(&self, key: &Q) -> Option<P>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shared.remove(self.shared.hash(key), key)
    }

    /// Calls `act` with each key and its policy, in no order.
    ///
    /// No lock is held meanwhile. So keys that come or go at the same time may be seen or not.
    pub fn for_each(&self, mut act: impl FnMut(&K, &P)) {
        self.shared.entries().for_each(|entry| act(&entry.key, &entry.policy));
    }

    /// Changes the settings of all policies, or of none, while they are in use. They then count as those that the
    /// policies were made with, so that no key stays because of it.
    ///
    /// The factory has to make new policies with the same settings: see [Reload](super#reload). What the factory makes at
    /// the same time is dropped, and made again. So each key has the new settings when this returns. The overflow policy
    /// has them too, if the factory has made it.
    ///
    /// What becomes of calls that run, and of what a policy has counted, is told at the `apply` of the policy.
    ///
    /// # Errors
    ///
    /// The [`ConfigError`] of one policy that refuses them. Then nothing has changed. While there is no policy, none
    /// refuses anything.
    pub fn apply(&self, settings: &P::Settings) -> Result<(), ConfigError> {
        self.shared.apply(settings)
    }

    /// The policy that new keys share when no other can leave. `None` if it was not needed yet.
    pub fn overflow(&self) -> Option<&P> {
        self.shared.overflow()
    }
}

impl<K, P: KeyedPolicy> KeyedBuilder<K, P> {
    /// Policies for keys, none of which is made yet.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`] that names every bad setting.
    pub fn build(self) -> Result<Keyed<K, P>, ConfigError> {
        Ok(Keyed { shared: Arc::new(self.checked()?) })
    }
}

impl<K, P> Keyed<K, P> {
    /// How many keys have a policy now.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no key has a policy now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys may have a policy.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }

    /// For how long a policy stays when no one asks for its key. See [`KeyedBuilder::idle_for`].
    pub fn idle_for(&self) -> Duration {
        self.shared.idle_for()
    }

    /// How many policies have left so far.
    pub fn evicted(&self) -> u64 {
        self.shared.evicted()
    }

    /// The name of all these policies together, if they were given one.
    pub fn name(&self) -> Option<&str> {
        self.shared.name().map(Name::as_str)
    }

    /// How many keys there are and may be, and how often there was no room.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            keys: self.shared.len(),
            capacity: self.shared.capacity(),
            evicted: self.shared.evicted(),
            overflowed: self.shared.overflowed(),
        }
    }
}

impl<K, P> Clone for Keyed<K, P> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K, P> fmt::Debug for Keyed<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("name", &self.name()).field("snapshot", &self.snapshot()).finish()
    }
}
