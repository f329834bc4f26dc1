//! What a request asks of the limits, and what they answer.

use crate::hashed::Hashed;
use crate::key::Key;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_policy::rate::{Quota, Verdict};
use tollkeep_types::MonoNanos;

/// One limit a request has to pass.
#[derive(Debug)]
pub struct Claim<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) quota: Quota,
    pub(crate) tat: u64,
    /// Its state counts as at least this.
    pub(crate) floor: u64,
}

/// Where the state of a limit is.
#[derive(Debug)]
pub(crate) enum Place<'a> {
    /// In the table, not looked for yet.
    Table(Key),
    /// In the table, and where there.
    Found(Hashed<Key>, Home),
    /// With the caller.
    Cell(&'a AtomicU64),
}

/// Where in its shard a key's state is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Home {
    /// It has an entry.
    Entry,
    /// It has none, and room for one is reserved.
    Reserved,
    /// There is no room: it shares a cell.
    Shared,
}

impl<'a> Claim<'a> {
    /// A limit whose state is in the table.
    pub const fn key(key: Key, quota: Quota) -> Self {
        Self {
            place: Place::Table(key),
            quota,
            tat: 0,
            floor: 0,
        }
    }

    /// A limit whose state the caller keeps, such as that of a token.
    pub const fn cell(cell: &'a AtomicU64, quota: Quota) -> Self {
        Self {
            place: Place::Cell(cell),
            quota,
            tat: 0,
            floor: 0,
        }
    }

    /// Its quota.
    pub const fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Its key, if its state is not with the caller.
    pub const fn key_of(&self) -> Option<Key> {
        match self.place {
            Place::Table(key) => Some(key),
            Place::Found(found, _) => Some(found.key),
            Place::Cell(_) => None,
        }
    }

    /// Makes it a claim on the share of one replica that counts alone `since` then, beginning with
    /// nothing saved up (EDGE-90).
    pub const fn alone(&mut self, replicas: u64, since: MonoNanos) {
        self.quota = self.quota.share(replicas);
        self.floor = self.quota.tat_max(since);
    }

    /// Notes the state after a debit that was made elsewhere.
    pub const fn set_tat(&mut self, tat: u64) {
        self.tat = tat;
    }

    /// Its state, seeing what was found.
    pub(crate) fn state(&self, found: u64, now: MonoNanos) -> u64 {
        found.max(self.floor).min(self.quota.tat_max(now))
    }

    /// The state after the debit, once [`crate::RateTable::admit`] debited it; for
    /// [`Quota::remaining`].
    pub const fn tat(&self) -> u64 {
        self.tat
    }
}

/// A limit said no; nothing was debited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateRefusal {
    /// Which of the claims, by position.
    pub claim: usize,
    /// How long until it would pass, in nanoseconds.
    pub retry_after_ns: u64,
}

/// The state of a cell; ahead of `tat_max` ([`Quota::tat_max`]) it is cut to it.
pub(crate) fn look_at_cell(cell: &AtomicU64, tat_max: u64) -> u64 {
    let tat = cell.load(Ordering::Relaxed);
    if tat > tat_max {
        cell.fetch_min(tat_max, Ordering::Relaxed);
    }
    tat.min(tat_max)
}

/// Debits a state that others may debit at the same time; how long to wait if it refuses.
pub(crate) fn debit_cell(cell: &AtomicU64, quota: &Quota, now: MonoNanos) -> Result<u64, u64> {
    let mut tat = cell.load(Ordering::Relaxed);
    loop {
        let next = match quota.check(tat, now) {
            Verdict::Pass { tat } => tat,
            Verdict::Refuse { retry_after_ns } => return Err(retry_after_ns),
        };
        match cell.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Ok(next),
            Err(changed) => tat = changed,
        }
    }
}

/// Takes the debit of one request back.
pub(crate) fn credit_cell(cell: &AtomicU64, quota: &Quota) {
    let less = |tat: u64| tat.saturating_sub(quota.interval_ns());
    cell.update(Ordering::Relaxed, Ordering::Relaxed, less);
}
