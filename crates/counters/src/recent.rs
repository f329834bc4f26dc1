//! Addresses that did something lately.

use crate::hashed::{Hashed, HashedMap, SHARDS, locked};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Mutex;
use tollkeep_policy::client_ip::prefix_key;
use tollkeep_types::MonoNanos;

/// Addresses remembered at most, in each of two spans; more are strangers.
const ADDRESSES_MAX: usize = 65_536;

/// Addresses, of IPv6 by their /64, that did something in this span of time or the one before.
#[derive(Debug)]
pub struct Recent<S = RandomState> {
    hasher: S,
    span_ns: u64,
    shards: [Mutex<Spans>; SHARDS],
}

#[derive(Debug, Default)]
struct Spans {
    number: u64,
    current: HashedMap<IpAddr, ()>,
    before: HashedMap<IpAddr, ()>,
}

impl Spans {
    /// Forgets what is older than the span before `number`.
    fn turn_to(&mut self, number: u64) {
        if number == self.number + 1 {
            std::mem::swap(&mut self.current, &mut self.before);
            self.current.clear();
        } else if number > self.number {
            self.current.clear();
            self.before.clear();
        }
        self.number = self.number.max(number);
    }
}

impl<S: BuildHasher> Recent<S> {
    /// Nobody yet. An address is remembered for `span_ns` to twice that. The hasher must be
    /// seeded, or strangers choose who waits for whose lock.
    pub fn new(span_ns: u64, hasher: S) -> Self {
        Self {
            hasher,
            span_ns: span_ns.max(1),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Remembers an address.
    pub fn note(&self, ip: IpAddr, now: MonoNanos) {
        let key = Hashed::new(&self.hasher, prefix_key(ip));
        let mut spans = locked(self.shard(&key));
        spans.turn_to(now.0 / self.span_ns);
        if spans.current.len() < ADDRESSES_MAX / SHARDS {
            spans.current.insert(key, ());
        }
    }

    /// Whether an address is remembered.
    pub fn contains(&self, ip: IpAddr, now: MonoNanos) -> bool {
        let key = Hashed::new(&self.hasher, prefix_key(ip));
        let mut spans = locked(self.shard(&key));
        spans.turn_to(now.0 / self.span_ns);
        spans.current.contains_key(&key) || spans.before.contains_key(&key)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the shard of a key is below SHARDS"
    )]
    fn shard(&self, key: &Hashed<IpAddr>) -> &Mutex<Spans> {
        &self.shards[key.shard()]
    }
}
