//! How many connections or requests of one address are live.

use crate::hashed::{Hashed, HashedMap, SHARDS, locked};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tollkeep_policy::client_ip::prefix_key;

type Live = HashedMap<IpAddr, Arc<Cell>>;

/// What is counted of one address.
#[derive(Debug, Default)]
struct Cell {
    /// Changed under the shard's lock only.
    seats: AtomicUsize,
    live: AtomicUsize,
}

/// Live things by address, of IPv6 by its /64. It holds an address only while it has a seat, so
/// whatever bounds those in all (`connections_max`, `concurrent_requests_max`) bounds it.
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

    /// A place to count things of `ip` at, for as long as it may have some.
    pub fn seat(&self, ip: IpAddr) -> IpSeat<'_> {
        let key = Hashed::new(&self.hasher, prefix_key(ip));
        let shard = self.shard(&key);
        let mut live = locked(shard);
        let cell = Arc::clone(live.entry(key).or_default());
        cell.seats.fetch_add(1, Ordering::Relaxed);
        drop(live);
        IpSeat { shard, key, cell }
    }

    /// Counts one more of `ip` until the guard is dropped.
    pub fn enter(&self, ip: IpAddr) -> IpGuard<'_> {
        let seat = self.seat(ip);
        seat.cell.live.fetch_add(1, Ordering::Relaxed);
        IpGuard { seat }
    }

    /// Addresses that have a seat.
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

/// Where things of one address are counted. It counts nothing by itself.
#[derive(Debug)]
pub struct IpSeat<'a> {
    shard: &'a Mutex<Live>,
    key: Hashed<IpAddr>,
    cell: Arc<Cell>,
}

impl IpSeat<'_> {
    /// HOT. Counts one more until the guard is dropped: one atomic, no look-up.
    pub fn enter(&self) -> SeatGuard<'_> {
        self.cell.live.fetch_add(1, Ordering::Relaxed);
        SeatGuard(&self.cell)
    }
}

impl Drop for IpSeat<'_> {
    fn drop(&mut self) {
        let mut live = locked(self.shard);
        // Under the lock, so that nobody takes a seat between the last one's leaving and the
        // removal.
        if self.cell.seats.fetch_sub(1, Ordering::Relaxed) == 1 {
            live.remove(&self.key);
        }
    }
}

/// One live thing, counted at a seat until dropped.
#[derive(Debug)]
pub struct SeatGuard<'a>(&'a Cell);

impl SeatGuard<'_> {
    /// HOT. How many of this address are live now, this one included.
    pub fn count(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }
}

impl Drop for SeatGuard<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One live thing with a seat of its own; it counts until dropped.
#[derive(Debug)]
pub struct IpGuard<'a> {
    seat: IpSeat<'a>,
}

impl IpGuard<'_> {
    /// How many of this address are live now, this one included.
    pub fn count(&self) -> usize {
        self.seat.cell.live.load(Ordering::Relaxed)
    }
}

impl Drop for IpGuard<'_> {
    fn drop(&mut self) {
        self.seat.cell.live.fetch_sub(1, Ordering::Relaxed);
    }
}
