//! A key hashed once: the hash chooses the lock, then the bucket behind it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks of one table.
pub(crate) const SHARDS: usize = 64;

/// A key with its keyed hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hashed<K> {
    hash: u64,
    pub(crate) key: K,
}

impl<K: Hash> Hashed<K> {
    pub(crate) fn new(hasher: &impl std::hash::BuildHasher, key: K) -> Self {
        Self {
            hash: hasher.hash_one(&key),
            key,
        }
    }
}

impl<K> Hashed<K> {
    /// Which of [`SHARDS`] holds the key. The map takes its buckets from the low bits of the hash
    /// and its tags from the high ones, so this and [`Self::cell`] come from between.
    pub(crate) const fn shard(&self) -> usize {
        let [_, _, _, _, byte, _, _, _] = self.hash.to_le_bytes();
        byte as usize % SHARDS
    }

    /// Which of `count` cells the key shares with others.
    pub(crate) const fn cell(&self, count: usize) -> usize {
        let [_, _, _, _, _, byte, _, _] = self.hash.to_le_bytes();
        byte as usize % count
    }
}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A map that trusts the hash its keys bring along.
pub(crate) type HashedMap<K, V> = HashMap<Hashed<K>, V, BuildHasherDefault<Brought>>;

/// Hands on the hash of a [`Hashed`].
#[derive(Default)]
pub(crate) struct Brought(u64);

impl Hasher for Brought {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Locks `mutex`. Nothing behind these locks is left half done by a panic, so a poisoned one is as
/// good as any.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
