//! The storage: entries by the hash of their key, in shards, so that threads that look up different keys do not contend.
//!
//! The hash is computed by the caller, and keys are compared by the caller too, on an entry that was taken out. So a
//! look-up runs no code of the user under a lock.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasherDefault, Hasher},
};

use crate::sync::{Arc, CachePadded, SharedLock};

/// Enough that a dozen threads seldom meet, at 128 bytes each.
#[cfg(not(all(test, withstand_loom)))]
const SHARDS: usize = 64;
/// A model checker tries each order in which locks are taken.
#[cfg(all(test, withstand_loom))]
const SHARDS: usize = 1;

#[derive(Debug)]
pub(super) struct Map<E> {
    shards: Box<[CachePadded<SharedLock<Shard<E>>>]>,
}

type Shard<E> = HashMap<u64, Bucket<E>, BuildHasherDefault<TheHashItself>>;

/// The entries of one hash. Two keys with one 64-bit hash are hardly ever seen, and must still not be mixed up.
#[derive(Debug)]
struct Bucket<E> {
    first: Arc<E>,
    others: Vec<Arc<E>>,
}

impl<E> Bucket<E> {
    fn nth(&self, index: usize) -> Option<&Arc<E>> {
        if index == 0 { Some(&self.first) } else { self.others.get(index - 1) }
    }
}

impl<E> Map<E> {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| CachePadded(SharedLock::new(Shard::default()))).collect() }
    }

    /// The table in a shard uses the low bits of the hash and the highest ones, so the shard is chosen by others.
    #[inline]
    fn shard(&self, hash: u64) -> &SharedLock<Shard<E>> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// The entry of this hash for which `is_it` is true.
    ///
    /// It may miss one that is there, if meanwhile another of the same hash is removed.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&E) -> bool) -> Option<Arc<E>> {
        let mut index = 0;
        loop {
            // The lock is released before the entries are compared.
            let entry = self.nth(hash, index)?;
            if is_it(&entry) {
                return Some(entry);
            }
            index += 1;
        }
    }

    #[inline]
    fn nth(&self, hash: u64, index: usize) -> Option<Arc<E>> {
        self.shard(hash).read().get(&hash)?.nth(index).cloned()
    }

    pub(super) fn insert(&self, hash: u64, entry: Arc<E>) {
        match self.shard(hash).write().entry(hash) {
            hash_map::Entry::Occupied(bucket) => bucket.into_mut().others.push(entry),
            hash_map::Entry::Vacant(place) => {
                place.insert(Bucket { first: entry, others: Vec::new() });
            }
        }
    }

    /// Removes the entry, if `may_leave` says so. Meanwhile no other thread finds it, nor any entry of its shard.
    ///
    /// The map's own reference to it is given back, to be dropped without a lock.
    pub(super) fn remove_if(&self, hash: u64, entry: &Arc<E>, may_leave: impl FnOnce() -> bool) -> Option<Arc<E>> {
        let mut shard = self.shard(hash).write();
        let hash_map::Entry::Occupied(mut bucket) = shard.entry(hash) else { return None };
        let index = (0..).map_while(|index| bucket.get().nth(index)).position(|other| Arc::ptr_eq(other, entry))?;
        if !may_leave() {
            return None;
        }
        let Bucket { first, others } = bucket.get_mut();
        match (index, others.pop()) {
            (0, None) => Some(bucket.remove().first),
            (0, Some(last)) => Some(std::mem::replace(first, last)),
            (index, Some(last)) if index > others.len() => Some(last),
            (index, Some(last)) => Some(std::mem::replace(&mut others[index - 1], last)),
            (_, None) => None,
        }
    }

    /// All entries, as they are shard by shard.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<E>> {
        self.shards.iter().flat_map(|shard| {
            let shard = shard.read();
            let entries = shard.values().flat_map(|bucket| (0..).map_while(|index| bucket.nth(index).cloned()));
            // Collected, so that no lock is held while they are looked at.
            entries.collect::<Vec<_>>()
        })
    }
}

/// The keys of a shard's table are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct TheHashItself(u64);

impl Hasher for TheHashItself {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a hash is a `u64`");
    }
}

#[cfg(test)]
#[cfg(not(withstand_loom))]
mod tests {
    use super::*;

    #[test]
    fn y1_keys_of_one_hash_are_not_mixed_up() {
        const HASH: u64 = 7;
        // Each is removed first, second and last, from one to four of them.
        for count in 1..=4 {
            for removed in 0..count {
                let map = Map::new();
                let entries: Vec<_> = (0..count).map(Arc::new).collect();
                entries.iter().for_each(|entry| map.insert(HASH, entry.clone()));
                let find = |number| map.find(HASH, |entry| *entry == number).map(|entry| *entry);
                assert!((0..count).all(|number| find(number) == Some(number)));
                assert!(map.remove_if(HASH, &entries[removed], || false).is_none());
                assert_eq!(find(removed), Some(removed), "it was not to be removed");
                assert_eq!(map.remove_if(HASH, &entries[removed], || true).as_deref(), Some(&removed));
                assert!(map.remove_if(HASH, &entries[removed], || true).is_none(), "only once");
                assert!((0..count).all(|number| find(number) == (number != removed).then_some(number)));
                let mut left: Vec<_> = map.all().map(|entry| *entry).collect();
                left.sort_unstable();
                assert_eq!(left, (0..count).filter(|number| *number != removed).collect::<Vec<_>>());
            }
        }
    }
}
