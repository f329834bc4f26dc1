//! Cells that this replica took from the shared counters and did not use yet.
//!
//! A lease is a stretch of its limit's time: so many cells of one interval each. A cell may be used
//! until its own time has come; after that the limit has worked it off, and using it as well would
//! let more pass than the limit says. So over all replicas no window sees more than `limit + burst`,
//! however leases lie about.

use crate::claim::{Claim, RateRefusal};
use crate::hashed::{Hashed, SHARDS, locked};
use crate::key::Key;
use crate::take::{Given, first_cell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use tollkeep_policy::rate::Quota;
use tollkeep_types::MonoNanos;

/// How long a lease lives, and how long a refusal is believed without asking again.
const LEASE_NS: u64 = 1_000_000_000;
/// How often a full shard is swept.
const SWEEP_NS: u64 = 100_000_000;

/// The leases of this replica, in bounded memory: one for which there is no room is lost, which
/// costs its cells and lets nothing pass.
#[derive(Debug)]
pub struct Leases<S = RandomState> {
    hasher: S,
    shard_max: usize,
    shards: [Mutex<Shard<S>>; SHARDS],
}

#[derive(Debug)]
struct Shard<S> {
    leases: HashMap<Key, Lease, S>,
    swept: MonoNanos,
}

/// Cells from `next` to `end`, or a refusal until `next` where `end` is 0.
#[derive(Clone, Copy, Debug)]
struct Lease {
    next: u64,
    end: u64,
    expires: u64,
}

/// What the leases make of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leased {
    /// Every claim has its cell.
    All,
    /// A limit has no room, as is known from before; nothing is taken.
    Refused(RateRefusal),
    /// Claims without a lease, a bit for each by position; the others have their cell.
    Missing(u8),
}

enum Found {
    Cell { tat: u64 },
    Refused { retry_after_ns: u64 },
    Nothing,
}

impl Lease {
    /// Takes a cell; `None` if there is nothing in the lease any more.
    fn take(&mut self, now: MonoNanos, interval_ns: u64) -> Found {
        if now.0 > self.expires {
            return Found::Nothing;
        }
        if self.end == 0 {
            return match self.next.saturating_sub(now.0) {
                0 => Found::Nothing,
                retry_after_ns => Found::Refused { retry_after_ns },
            };
        }
        let tat = self.next.max(now.0).saturating_add(interval_ns);
        if tat > self.end {
            return Found::Nothing;
        }
        self.next = tat;
        Found::Cell { tat }
    }

    /// How much of it can still be used.
    fn worth(&self, now: MonoNanos) -> u64 {
        if now.0 > self.expires {
            return 0;
        }
        self.end.saturating_sub(self.next.max(now.0))
    }
}

impl<S: BuildHasher + Clone> Leases<S> {
    /// Leases for about `keys_max` limits.
    pub fn new(keys_max: usize, hasher: S) -> Self {
        Self {
            shard_max: (keys_max / SHARDS).max(1),
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard {
                    leases: HashMap::with_hasher(hasher.clone()),
                    swept: MonoNanos(0),
                })
            }),
            hasher,
        }
    }

    /// HOT. Takes a cell for each claim from what is there. Claims on cells are none of ours.
    pub fn take(&self, now: MonoNanos, claims: &mut [Claim<'_>]) -> Leased {
        let mut missing = 0_u8;
        for at in 0..claims.len() {
            let Some((claim, earlier)) = claims.get_mut(..=at).and_then(<[_]>::split_last_mut)
            else {
                break;
            };
            let Some(key) = claim.key_of() else {
                continue;
            };
            match self.take_one(now, key, &claim.quota) {
                Found::Cell { tat } => claim.tat = tat,
                Found::Nothing => missing |= bit(at),
                Found::Refused { retry_after_ns } => {
                    self.put_back_all(now, earlier, missing);
                    return Leased::Refused(RateRefusal {
                        claim: at,
                        retry_after_ns,
                    });
                }
            }
        }
        if missing == 0 {
            Leased::All
        } else {
            Leased::Missing(missing)
        }
    }

    /// Puts the cells of claims back that were taken and not used, but for those `missing`.
    pub fn put_back_all(&self, now: MonoNanos, claims: &[Claim<'_>], missing: u8) {
        for (at, claim) in claims.iter().enumerate() {
            if missing & bit(at) == 0 {
                self.put_back(now, claim, claim.tat);
            }
        }
    }

    /// Puts one cell back, whose state after it was taken is `tat`; one whose time has come is
    /// worth nothing any more.
    pub fn put_back(&self, now: MonoNanos, claim: &Claim<'_>, tat: u64) {
        let Some(key) = claim.key_of() else {
            return;
        };
        let start = tat.saturating_sub(claim.quota.interval_ns());
        let mut shard = self.shard(&key);
        if let Some(lease) = shard.leases.get_mut(&key)
            && lease.end != 0
            && lease.next == tat
        {
            lease.next = start;
            return;
        }
        let lease = Lease {
            next: start,
            end: tat,
            expires: now.0.saturating_add(LEASE_NS),
        };
        shard.keep(now, key, lease, self.shard_max);
    }

    /// Keeps what a limit gave beyond the first cell, which is for the claim that asked: its state.
    pub fn keep(&self, asked: MonoNanos, key: Key, quota: &Quota, given: Given) -> u64 {
        let interval = quota.interval_ns();
        let first = first_cell(asked, given);
        let tat = first.saturating_add(interval);
        if given.cells > 1 {
            let lease = Lease {
                next: tat,
                end: first.saturating_add(interval.saturating_mul(given.cells)),
                expires: asked.0.saturating_add(LEASE_NS),
            };
            self.shard(&key).keep(asked, key, lease, self.shard_max);
        }
        tat
    }

    /// Remembers that a limit has no room before `retry_after_ns` have passed since `asked`.
    pub fn refuse(&self, asked: MonoNanos, key: Key, retry_after_ns: u64) {
        let lease = Lease {
            next: asked.0.saturating_add(retry_after_ns),
            end: 0,
            expires: asked.0.saturating_add(LEASE_NS),
        };
        self.shard(&key).keep(asked, key, lease, self.shard_max);
    }

    /// Whether it is known that a limit has no room, and until when; nothing is taken.
    pub fn refused(&self, now: MonoNanos, key: Key) -> Option<u64> {
        let shard = self.shard(&key);
        let lease = shard.leases.get(&key)?;
        let wait = lease.next.saturating_sub(now.0);
        (lease.end == 0 && now.0 <= lease.expires && wait > 0).then_some(wait)
    }

    /// Leases held now.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| locked(shard).leases.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_one(&self, now: MonoNanos, key: Key, quota: &Quota) -> Found {
        let mut shard = self.shard(&key);
        let Some(lease) = shard.leases.get_mut(&key) else {
            return Found::Nothing;
        };
        let found = lease.take(now, quota.interval_ns());
        if matches!(found, Found::Nothing) {
            shard.leases.remove(&key);
        }
        found
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the shard of a key is below SHARDS"
    )]
    fn shard(&self, key: &Key) -> std::sync::MutexGuard<'_, Shard<S>> {
        locked(&self.shards[Hashed::new(&self.hasher, *key).shard()])
    }
}

impl<S: BuildHasher> Shard<S> {
    /// Keeps a lease, unless a better one is there or there is no room.
    fn keep(&mut self, now: MonoNanos, key: Key, lease: Lease, shard_max: usize) {
        if let Some(known) = self.leases.get_mut(&key) {
            if known.worth(now) <= lease.worth(now) {
                *known = lease;
            }
            return;
        }
        if self.leases.len() >= shard_max && now.since(self.swept) >= SWEEP_NS {
            self.swept = now;
            self.leases.retain(|_, lease| now.0 <= lease.expires);
        }
        if self.leases.len() < shard_max {
            self.leases.insert(key, lease);
        }
    }
}

fn bit(at: usize) -> u8 {
    u32::try_from(at)
        .ok()
        .and_then(|at| 1_u8.checked_shl(at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash map keeps at most 7 of 8 buckets full, with a byte beside each, and doubles.
    // EDGE-88
    #[test]
    fn a_lease_takes_no_more_than_128_bytes() {
        let bucket = size_of::<(Key, Lease)>() + 1;
        assert!(bucket * 16 / 7 <= 128, "{bucket}");
    }
}
