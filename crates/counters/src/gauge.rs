//! How many connections or requests of one address are live.

use crate::hashed::{Hashed, HashedMap, SHARDS, locked};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tollkeep_policy::client_ip::prefix_key;

type Live = HashedMap<IpAddr, Arc<AtomicUsize>>;

/// Live things by address, of IPv6 by its /64. It holds an address only while something of it is
/// live, so whatever bounds those in all (`connections_max`, `concurrent_requests_max`) bounds it.
#[derive(Debug)]
pub struct IpGauge<S = RandomState> {
    hasher: S,
    shards: [Mutex<Live>; SHARDS],
}

impl<S: BuildHasher> IpGauge<S> {
    /// An empty gauge. The hasher must be seeded, or strangers choose who waits for whose lock.
    pub fn new(hasher: S) -> Self {
        Self {
            hasher,
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// HOT. Counts one more of `ip` until the guard is dropped.
    pub fn enter(&self, ip: IpAddr) -> IpGuard<'_> {
        let key = Hashed::new(&self.hasher, prefix_key(ip));
        let shard = self.shard(&key);
        let mut live = locked(shard);
        let count = Arc::clone(live.entry(key).or_default());
        count.fetch_add(1, Ordering::Relaxed);
        drop(live);
        IpGuard { shard, key, count }
    }

    /// Addresses of which something is live.
    pub fn addresses(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the shard of a key is below SHARDS"
    )]
    fn shard(&self, key: &Hashed<IpAddr>) -> &Mutex<Live> {
        &self.shards[key.shard()]
    }
}

/// One live thing; it counts until dropped.
#[derive(Debug)]
pub struct IpGuard<'a> {
    shard: &'a Mutex<Live>,
    key: Hashed<IpAddr>,
    count: Arc<AtomicUsize>,
}

impl IpGuard<'_> {
    /// HOT. How many of this address are live now, this one included.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for IpGuard<'_> {
    fn drop(&mut self) {
        let mut live = locked(self.shard);
        // Under the lock, so that nobody enters between the last one's leaving and the removal.
        if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            live.remove(&self.key);
        }
    }
}
