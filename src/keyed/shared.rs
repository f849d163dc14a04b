//! What all handles share: the map, the ledger of who may leave, and how a key's policy is made.
//!
//! # Memory ordering
//!
//! A policy whose handle is held outside must not leave. Whether one is held is read from two reference counts, under
//! the write lock of the entry's shard. Three things are to prove: no handle is overlooked, none can come meanwhile, and
//! what its holder did to the policy is seen.
//!
//! 1. **None can come meanwhile.** A first handle of a policy is cloned from its entry, and the entry is found in the
//!    map, under the read lock of its shard. Whoever has the write lock keeps that out. A further handle is cloned from
//!    one that is held, and then the count is above 1 all the time. When the write lock is released, the entry is no
//!    longer in the map.
//! 2. **Seekers are seen.** Whoever has found an entry holds its `Arc` until the handle is cloned. So there are two
//!    counts: of the entry's `Arc`, and of the policy's. The seeker adds to the first under the read lock, then adds to
//!    the second, then takes from the first. The lock orders the first addition before our look. If we still see it, the
//!    policy stays. If we see that it was taken back, the `Release` of that drop and our `Acquire` fence order the
//!    seeker's handle before our look at the second count. Without the fence we could read an old 1 there.
//! 3. **What a holder did is seen.** A holder changes the policy (takes a slot, records a failure) and then drops its
//!    handle, with `Release`. If we see that it is gone, the second `Acquire` fence orders what it did before our look at
//!    the policy's state.
//! 4. The time of an entry's last use is a hint, written and read `Relaxed`. An old one lets the entry be looked at too
//!    early, or leave in another order than two threads would agree upon. It loses nothing: 1 to 3 do not depend on it.
//! 5. **Parts of a pipeline.** A pipeline looks at the counts of its parts too. The first handle of a part that the
//!    pipeline had alone when its key came is cloned from a handle of the pipeline; 1 and 2 have ruled that out. So a part whose
//!    count is 1 stays so while we look, and a third fence, in `keep.rs`, orders what the last holder did to the part before
//!    our look at its state. A part that others had before may get and lose holders meanwhile. If we see one, the part lives on
//!    with that one, and if that one lets go of it just then, it has let go of what the part knew.
//!
//! The models in `loom.rs` fail if the entry's count is not looked at, or if the look under the lock is left out. They
//! cannot check the fences of 2 and 3, because loom always reads the newest count. The argument above is their only
//! proof.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    mem,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::OnceLock,
    time::Duration,
};

use super::{
    event::KeyedEvent,
    keep::{Idle, KeyedPolicy, SharedParts},
    map::Map,
    order::{IdleOrder, Place},
};
use crate::{
    clock::{Clock, nanos},
    error::{ConfigError, Name},
    event::Reporter,
    sync::{Arc, AtomicU64, CachePadded, Lock, LockGuard, Ordering, fence},
};

/// Makes a key's name, and its policy. Code of the user: it runs under no lock.
pub(super) struct Factory<K, P> {
    pub(super) name: Box<dyn Fn(&K) -> Name + Send + Sync>,
    pub(super) policy: Box<dyn Fn(&K, Name) -> P + Send + Sync>,
}

/// What all handles share.
///
/// There are two kinds of locks. Each shard of the map has one, which a look-up takes for a moment. The ledger's lock is
/// taken by whoever adds or removes a key; the shard's lock is taken inside of it, never the other way round. So the
/// holder of the ledger is the only one who changes the map.
pub(super) struct Shared<K, P> {
    map: Map<Entry<K, P>>,
    hasher: RandomState,
    clock: Clock,
    factory: Factory<K, P>,
    reporter: Reporter<KeyedEvent, Option<Name>>,
    capacity: usize,
    idle_for: Duration,
    overflow: OnceLock<P>,
    /// Whether the factory makes the overflow policy.
    makes_overflow: bool,
    overflowed: AtomicU64,
    ledger: CachePadded<Lock<Ledger<K, P>>>,
    /// Held while settings are applied.
    changes: Lock<()>,
}

/// A key and its policy.
pub(super) struct Entry<K, P> {
    hash: u64,
    pub(super) key: K,
    pub(super) policy: P,
    shared_parts: SharedParts,
    name: Name,
    last_used: AtomicU64,
    /// Where it is in the ledger's order. Only the holder of the ledger's lock uses these two.
    place: AtomicU64,
    number: AtomicU64,
}

impl<K, P> Entry<K, P> {
    fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    fn place(&self) -> Place {
        Place { last_used: self.place.load(Ordering::Relaxed), number: self.number.load(Ordering::Relaxed) }
    }

    fn set_place(&self, place: Place) {
        self.place.store(place.last_used, Ordering::Relaxed);
        self.number.store(place.number, Ordering::Relaxed);
    }
}

type Entries<K, P> = Vec<Arc<Entry<K, P>>>;

/// What is known of all keys together.
struct Ledger<K, P> {
    order: IdleOrder<Arc<Entry<K, P>>>,
    /// The hashes of the keys whose policies are being made, and by how many threads. Each hash has a place.
    in_making: HashMap<u64, usize>,
    next_number: u64,
    /// How many times settings were applied to all keys. A policy whose maker began before the last time may have been
    /// made with others.
    applied: u64,
    /// The latest moment that it was told.
    latest: u64,
    /// Behind which place the search for keys that were idle for too long goes on.
    swept: Option<Place>,
    skip: Skip,
    last_overflow: Option<u64>,
    evicted: u64,
}

/// How many keys are looked at whenever one is added, to see whether they were idle for too long. It is more than one,
/// so that there are fewer and fewer of them.
const SWEPT_PER_NEW_KEY: usize = 4;

/// A search for a key that may leave begins at the one that has been idle for longest. If many must stay, the next
/// searches begin where that one ended: for so many new keys that each paid for this many looks, or for this time. So a
/// map full of keys that must stay costs each new key no more than a few looks.
const LOOKS_PER_NEW_KEY: usize = 16;
const LONGEST_SKIP: u64 = 1_000_000_000;

/// The keys at the front that are not looked at now, because they had to stay a moment ago.
#[derive(Clone, Copy, Debug, Default)]
struct Skip {
    /// The last of them.
    until_place: Option<Place>,
    /// For how many new keys.
    new_keys: usize,
    /// Until when.
    until: u64,
}

/// What becomes of someone who asked for a key that was not there.
enum Answer<K, P, D> {
    /// It is there by now.
    Found(Arc<Entry<K, P>>),
    /// There is room for it.
    Room(D),
    Overflow {
        is_first: bool,
    },
}

/// A place for a key whose policy is being made. Dropped, for the maker panicked, it is free again.
struct Reservation<'a, K, P> {
    shared: &'a Shared<K, P>,
    hash: u64,
    /// As the ledger had it when the maker began.
    applied: u64,
}

impl<K, P> Drop for Reservation<'_, K, P> {
    fn drop(&mut self) {
        self.shared.ledger.lock().release(self.hash);
    }
}

impl<K, P> Ledger<K, P> {
    fn places_taken(&self) -> usize {
        self.order.len() + self.in_making.len()
    }

    /// One of the threads that make this key's policy needs the place no longer.
    fn release(&mut self, hash: u64) {
        if let Some(makers) = self.in_making.get_mut(&hash) {
            *makers -= 1;
            if *makers == 0 {
                self.in_making.remove(&hash);
            }
        }
    }

    /// Which entry to look at next, as [`IdleOrder::next`].
    fn next(&mut self, behind: Option<Place>, now: u64) -> Option<(Place, Arc<Entry<K, P>>)> {
        let next = self.order.next(behind, now, |entry| entry.last_used(), |entry, to| entry.set_place(to));
        next.map(|(place, entry)| (place, entry.clone()))
    }
}

impl<K, P> Shared<K, P> {
    pub(super) fn new(
        factory: Factory<K, P>,
        reporter: Reporter<KeyedEvent, Option<Name>>,
        capacity: usize,
        idle_for: Duration,
        overflow: Option<P>,
    ) -> Self {
        let clock = Clock::start();
        let ledger = Ledger {
            order: IdleOrder::new(),
            in_making: HashMap::new(),
            next_number: 0,
            applied: 0,
            latest: clock.now(),
            swept: None,
            skip: Skip::default(),
            last_overflow: None,
            evicted: 0,
        };
        Self {
            map: Map::new(),
            hasher: RandomState::new(),
            clock,
            factory,
            reporter,
            capacity,
            idle_for,
            makes_overflow: overflow.is_none(),
            overflow: overflow.map_or_else(OnceLock::new, OnceLock::from),
            overflowed: AtomicU64::new(0),
            ledger: CachePadded(Lock::new(ledger)),
            changes: Lock::new(()),
        }
    }

    pub(super) fn name(&self) -> Option<&Name> {
        self.reporter.name().as_ref()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn idle_for(&self) -> Duration {
        self.idle_for
    }

    pub(super) fn len(&self) -> usize {
        self.ledger.lock().order.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.ledger.lock().evicted
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    pub(super) fn overflow(&self) -> Option<&P> {
        self.overflow.get()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Entry<K, P>>> {
        self.map.all()
    }

    #[inline]
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(super) fn find<Q>(&self, hash: u64, key: &Q) -> Option<Arc<Entry<K, P>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.map.find(hash, |entry| entry.hash == hash && entry.key.borrow() == key)
    }

    /// Marks an entry as used.
    #[inline]
    pub(super) fn touch(&self, entry: &Entry<K, P>) {
        let now = self.clock.now();
        if entry.last_used() != now {
            entry.last_used.store(now, Ordering::Relaxed);
        }
    }

    /// The ledger, and a moment that is not before the latest that it was told.
    fn open_ledger(&self) -> (LockGuard<'_, Ledger<K, P>>, u64) {
        let now = self.clock.now();
        let mut ledger = self.ledger.lock();
        let now = if now < ledger.latest { self.clock.catch_up(ledger.latest) } else { now };
        ledger.latest = now;
        (ledger, now)
    }
}

impl<K, P: KeyedPolicy> Shared<K, P> {
    /// For a key that was not found: its policy, which may have been made by another thread meanwhile; or the overflow
    /// policy.
    #[cold]
    #[inline(never)]
    pub(super) fn make<Q>(&self, hash: u64, key: &Q) -> P
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.reserve(hash, key) {
            Answer::Found(entry) => self.use_of(&entry),
            Answer::Overflow { is_first } => self.use_overflow(key.to_owned(), is_first),
            Answer::Room(reservation) => self.make_reserved(reservation, key),
        }
    }

    fn use_of(&self, entry: &Entry<K, P>) -> P {
        self.touch(entry);
        entry.policy.clone()
    }

    fn reserve<Q>(&self, hash: u64, key: &Q) -> Answer<K, P, Reservation<'_, K, P>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (mut ledger, now) = self.open_ledger();
        if let Some(entry) = self.find(hash, key) {
            return Answer::Found(entry);
        }
        if let Some(makers) = ledger.in_making.get_mut(&hash) {
            *makers += 1;
            return Answer::Room(Reservation { shared: self, hash, applied: ledger.applied });
        }
        let Ok(gone) = self.make_room(&mut ledger, now) else { return self.count_overflow(&mut ledger, now) };
        ledger.in_making.insert(hash, 1);
        let applied = ledger.applied;
        drop(ledger);
        let reservation = Reservation { shared: self, hash, applied };
        self.tell_evicted(gone);
        Answer::Room(reservation)
    }

    fn make_reserved<Q>(&self, mut reservation: Reservation<'_, K, P>, key: &Q) -> P
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        loop {
            let owned = key.to_owned();
            let name = (self.factory.name)(&owned);
            let policy = (self.factory.policy)(&owned, name.clone());
            // The caller's handle is made before others see the entry: it cannot leave before the caller has it.
            let (handle, shared_parts) = (policy.clone(), policy.shared_parts());
            let [last_used, place, number] = [(); 3].map(|()| AtomicU64::new(0));
            let hash = reservation.hash;
            let entry = Arc::new(Entry { hash, key: owned, policy, shared_parts, name, last_used, place, number });
            match self.insert(reservation, entry, key) {
                Ok(Answer::Room(())) => return handle,
                // Another thread was faster.
                Ok(Answer::Found(winner)) => return self.use_of(&winner),
                Ok(Answer::Overflow { is_first }) => return self.use_overflow(key.to_owned(), is_first),
                Err(again) => reservation = again,
            }
        }
    }

    /// Inserts the entry, unless its key is there by now. What is not inserted is dropped when the ledger is closed.
    /// `Err`: settings were applied to all keys while its policy was made. It has to be made again, with these.
    fn insert<'a, Q>(
        &self,
        mut reservation: Reservation<'a, K, P>,
        entry: Arc<Entry<K, P>>,
        key: &Q,
    ) -> Result<Answer<K, P, ()>, Reservation<'a, K, P>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (mut ledger, now) = self.open_ledger();
        let hash = entry.hash;
        if let Some(winner) = self.find(hash, key) {
            ledger.release(hash);
            mem::forget(reservation);
            return Ok(Answer::Found(winner));
        }
        if reservation.applied != ledger.applied {
            reservation.applied = ledger.applied;
            return Err(reservation);
        }
        // Others that make this key's policy find it, and need no place for it.
        ledger.in_making.remove(&hash);
        mem::forget(reservation);
        // There is room, unless another thread has inserted this key, and it was removed since.
        let Ok(mut gone) = self.make_room(&mut ledger, now) else {
            return Ok(self.count_overflow(&mut ledger, now));
        };
        let place = Place { last_used: now, number: ledger.next_number };
        ledger.next_number += 1;
        entry.last_used.store(now, Ordering::Relaxed);
        entry.set_place(place);
        self.map.insert(hash, entry.clone());
        ledger.order.insert(place, entry);
        self.sweep(&mut ledger, now, &mut gone);
        drop(ledger);
        self.tell_evicted(gone);
        Ok(Answer::Room(()))
    }

    /// Makes room for one more key, if there is none. `Err`: no policy can leave.
    fn make_room(&self, ledger: &mut Ledger<K, P>, now: u64) -> Result<Entries<K, P>, ()> {
        if ledger.places_taken() < self.capacity {
            return Ok(Vec::new());
        }
        let skips = ledger.skip.new_keys > 0 && now < ledger.skip.until;
        let (mut behind, mut looks) = (ledger.skip.until_place.filter(|_| skips), 0);
        let mut gone = None;
        while let Some((place, entry)) = ledger.next(behind, now) {
            gone = self.evict(ledger, place, entry, now);
            if gone.is_some() {
                break;
            }
            behind = Some(place);
            looks += 1;
        }
        ledger.skip = match skips {
            true => Skip { until_place: behind, new_keys: ledger.skip.new_keys - 1, ..ledger.skip },
            false => {
                let until = now.saturating_add(LONGEST_SKIP);
                Skip { until_place: behind, new_keys: looks / LOOKS_PER_NEW_KEY, until }
            }
        };
        gone.map(|gone| vec![gone]).ok_or(())
    }

    /// Evicts some of the keys that were idle for too long.
    fn sweep(&self, ledger: &mut Ledger<K, P>, now: u64, gone: &mut Entries<K, P>) {
        for _ in 0..SWEPT_PER_NEW_KEY {
            match ledger.next(ledger.swept, now) {
                Some((place, entry)) if self.is_idle(place.last_used, now) => {
                    ledger.swept = Some(place);
                    gone.extend(self.evict(ledger, place, entry, now));
                }
                // All behind it were used later. The next sweep begins at the front.
                Some(_) | None => {
                    ledger.swept = None;
                    return;
                }
            }
        }
    }

    fn is_idle(&self, last_used: u64, now: u64) -> bool {
        now.saturating_sub(last_used) >= nanos(self.idle_for)
    }

    /// Removes an entry, if it may leave. What is given back is to be dropped without a lock.
    fn evict(
        &self,
        ledger: &mut Ledger<K, P>,
        place: Place,
        entry: Arc<Entry<K, P>>,
        now: u64,
    ) -> Option<Arc<Entry<K, P>>> {
        // First without the shard's lock, so that a search past many that must stay does not hold up look-ups.
        if !self.may_leave(&entry, now) {
            return None;
        }
        let removed = self.map.remove_if(entry.hash, &entry, || {
            // The map, the ledger and `entry` hold it. Any other is about to clone its policy, or to look at it.
            let has_seekers = Arc::strong_count(&entry) > 3;
            // "Memory ordering", 2.
            fence(Ordering::Acquire);
            !has_seekers && self.may_leave(&entry, now)
        })?;
        ledger.order.remove(place);
        ledger.evicted += 1;
        Some(removed)
    }

    fn may_leave(&self, entry: &Entry<K, P>, now: u64) -> bool {
        if entry.policy.holders() > 1 {
            return false;
        }
        // "Memory ordering", 3.
        fence(Ordering::Acquire);
        let idle = Idle { is_over: self.is_idle(entry.last_used(), now), idle_for: self.idle_for };
        !entry.policy.must_stay(idle, entry.shared_parts)
    }

    fn count_overflow<D>(&self, ledger: &mut Ledger<K, P>, now: u64) -> Answer<K, P, D> {
        let is_first = ledger.last_overflow.is_none_or(|last| self.is_idle(last, now));
        ledger.last_overflow = Some(now);
        Answer::Overflow { is_first }
    }

    #[cold]
    fn use_overflow(&self, key: K, is_first: bool) -> P {
        self.overflowed.fetch_add(1, Ordering::Relaxed);
        let capacity = self.capacity;
        self.reporter.emit(|name| KeyedEvent::Overflowed { name, key: (self.factory.name)(&key), capacity, is_first });
        if let Some(overflow) = self.overflow.get() {
            return overflow.clone();
        }
        // Not by `get_or_init`, which would run the factory while other threads wait for it.
        let mut applied = self.ledger.lock().applied;
        loop {
            let made = (self.factory.policy)(&key, Name::from("overflow"));
            let ledger = self.ledger.lock();
            if applied == ledger.applied {
                let lost = self.overflow.set(made);
                drop(ledger);
                drop(lost);
                return self.overflow.get().expect("it was just set").clone();
            }
            applied = ledger.applied;
        }
    }

    /// Applies settings to all policies that the factory has made, or to none.
    pub(super) fn apply(&self, settings: &P::Settings) -> Result<(), ConfigError> {
        // Two threads that apply settings do not end with some of each.
        let _one_at_a_time = self.changes.lock();
        let made_before = {
            let mut ledger = self.ledger.lock();
            // Who has begun to make a policy makes it again. So all that come from here on know the settings.
            ledger.applied += 1;
            ledger.next_number
        };
        let entries = || self.entries().filter(|entry| entry.place().number < made_before);
        let overflow = self.overflow.get().filter(|_| self.makes_overflow);
        entries().try_for_each(|entry| entry.policy.check_settings(settings))?;
        overflow.map_or(Ok(()), |policy| policy.check_settings(settings))?;
        entries().for_each(|entry| entry.policy.renew(settings));
        overflow.into_iter().for_each(|policy| policy.renew(settings));
        Ok(())
    }

    fn tell_evicted(&self, gone: Entries<K, P>) {
        for entry in gone {
            self.reporter.emit(|name| KeyedEvent::Evicted { name, key: entry.name.clone() });
        }
    }

    pub(super) fn remove<Q>(&self, hash: u64, key: &Q) -> Option<P>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        // Keys are compared before the lock is taken. A look without it may miss the key, where another of the same hash
        // leaves meanwhile: then one with it decides.
        let found = self.find(hash, key);
        let mut ledger = self.ledger.lock();
        let entry = found.or_else(|| self.find(hash, key))?;
        let in_map = self.map.remove_if(hash, &entry, || true);
        // If it has left since it was found, nothing is there to remove.
        let in_order = in_map.as_ref().and_then(|_| ledger.order.remove(entry.place()));
        drop(ledger);
        drop(in_order);
        in_map.map(|entry| entry.policy.clone())
    }
}

// It is code of the user, and is called while nothing of ours is half changed.
impl<K, P> UnwindSafe for Factory<K, P> {}
impl<K, P> RefUnwindSafe for Factory<K, P> {}

impl<K, P> fmt::Debug for Shared<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name()).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use std::{sync::mpsc, thread};

    use super::{super::Keyed, *};
    use crate::bulkhead::Bulkhead;

    #[test]
    fn y3_a_look_up_does_not_wait_for_new_keys() {
        let keyed = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1)).build().expect("good settings");
        drop(keyed.get(&7));
        let (done, wait) = mpsc::channel();
        thread::scope(|scope| {
            let held = keyed.shared.ledger.lock();
            let keyed = keyed.clone();
            scope.spawn(move || {
                drop((keyed.get(&7), keyed.peek(&7), keyed.peek(&8)));
                done.send(()).expect("someone waits");
            });
            let waited = wait.recv_timeout(Duration::from_secs(5));
            drop(held);
            waited.expect("it waits for the lock");
        });
    }

    #[test]
    fn c3_who_applies_settings_to_all_keys_waits_for_others_that_do() {
        let keyed = Keyed::builder(|_: &u64, name: Name| Bulkhead::new(name, 1)).build().expect("good settings");
        let bulkhead = keyed.get(&7);
        let (begins, wait) = mpsc::channel();
        thread::scope(|scope| {
            let held = keyed.shared.changes.lock();
            let changes = scope.spawn(|| {
                begins.send(()).expect("someone waits");
                keyed.apply(&crate::bulkhead::BulkheadSettings::new(2))
            });
            wait.recv().expect("it begins");
            (0..10_000).for_each(|_| thread::yield_now());
            assert_eq!(bulkhead.max_concurrent(), 1);
            drop(held);
            changes.join().expect("no panic").expect("good settings");
        });
        assert_eq!(bulkhead.max_concurrent(), 2);
    }

    /// A key whose comparison uses the `Keyed` that it is a key of, when it is told to.
    #[derive(Clone)]
    struct Curious(Option<mpsc::Sender<()>>);

    impl Hash for Curious {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
    }

    impl PartialEq for Curious {
        fn eq(&self, other: &Self) -> bool {
            [self, other].into_iter().filter_map(|key| key.0.as_ref()).for_each(|compared| {
                let _ = compared.send(());
            });
            true
        }
    }

    impl Eq for Curious {}

    #[test]
    fn y3_remove_compares_a_key_that_is_there_under_no_lock() {
        let make = |_: &Curious, name: Name| Bulkhead::new(name, 1);
        let keyed = Keyed::named_builder(|_: &Curious| "curious", make).build().expect("good settings");
        drop(keyed.get(&Curious(None)));
        let (compared, wait) = mpsc::channel();
        thread::scope(|scope| {
            let held = keyed.shared.ledger.lock();
            let keyed = keyed.clone();
            let removes = scope.spawn(move || keyed.remove(&Curious(Some(compared))).is_some());
            let waited = wait.recv_timeout(Duration::from_secs(5));
            drop(held);
            assert!(removes.join().expect("no panic"));
            waited.expect("it compares under the lock");
            assert!(wait.recv().is_err(), "it was compared once");
        });
        assert!(keyed.is_empty() && keyed.remove(&Curious(None)).is_none());
    }
}
