//! One bounded table for every rate limit that goes by a key.

use crate::claim::{Claim, Home, Place, RateRefusal, credit_cell, debit_cell, look_at_cell};
use crate::hashed::{Hashed, SHARDS, locked};
use crate::key::Key;
use crate::shard::Shard;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use tollkeep_policy::rate::Verdict;
use tollkeep_types::MonoNanos;

/// Entries that one request to a full table pays for looking at: a sweep waits until its shard is
/// paid for, so that a flood, in which each sweep frees little, costs each request little.
const PAID_ENTRIES: usize = 64;
/// How many paid sweeps may be saved up.
const SAVED_SWEEPS_MAX: usize = 4;

/// Limits by key, for all workers together (EDGE-88). Bounded: at most `keys_max` keys. With those
/// all live, new ones share cells, so a flood of addresses makes limits coarser, never absent, and
/// never drives out a live one.
#[derive(Debug)]
pub struct RateTable<S = RandomState> {
    hasher: S,
    keys_max: usize,
    /// Entries and reservations for entries.
    keys: AtomicUsize,
    slots: [Slot; SHARDS],
    /// Entries paid for and not looked at yet.
    paid: AtomicUsize,
}

#[derive(Debug)]
struct Slot {
    shard: Mutex<Shard>,
    /// No entry of the shard passes before this time; it may be earlier than the first one does.
    earliest: AtomicU64,
}

impl<S: BuildHasher> RateTable<S> {
    /// Claims one request may make.
    pub const CLAIMS_MAX: usize = 8;
    /// Parts of [`Self::take_debts`].
    pub const PARTS: usize = SHARDS;

    /// A table of at most `keys_max` keys (`counters.keys_max`). The hasher must be seeded, or an
    /// attacker chooses who shares cells with whom.
    pub fn new(keys_max: usize, hasher: S) -> Self {
        Self {
            hasher,
            keys_max,
            keys: AtomicUsize::new(0),
            slots: std::array::from_fn(|_| Slot {
                shard: Mutex::default(),
                earliest: AtomicU64::new(u64::MAX),
            }),
            paid: AtomicUsize::new(usize::MAX),
        }
    }

    /// HOT. Debits all of `claims` or, if one refuses, none (EDGE-85). Exact under concurrency:
    /// the shards of all keys are held, in one order, from the first look to the last debit. Each
    /// place may be claimed once; more than [`Self::CLAIMS_MAX`] claims are refused.
    ///
    /// # Errors
    /// The first claim that refuses.
    pub fn admit(&self, now: MonoNanos, claims: &mut [Claim<'_>]) -> Result<(), RateRefusal> {
        if claims.len() > Self::CLAIMS_MAX {
            return Err(RateRefusal {
                claim: Self::CLAIMS_MAX,
                retry_after_ns: 0,
            });
        }
        self.make_room(now);
        let wanted = self.place(claims);
        if wanted == 0 {
            // All is in cells: there is no shard to hold.
            return check_cells(now, claims).and_then(|()| debit_cells(now, claims));
        }
        let mut held = Held::lock(&self.slots, wanted);
        let admitted = self
            .check(now, claims, &mut held)
            .and_then(|()| debit_cells(now, claims));
        for (at, claim) in claims.iter_mut().enumerate() {
            let Place::Found(key, home) = claim.place else {
                continue;
            };
            match admitted {
                Ok(()) => self.keep(&mut held, key, home, claim.tat),
                // It is known to be owed, so that it is debited when the outage is over.
                Err(refused) if refused.claim == at && claim.floor > 0 => {
                    self.keep(&mut held, key, home, claim.tat);
                }
                Err(_) if home == Home::Reserved => {
                    self.keys.fetch_sub(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        admitted
    }

    /// HOT. What a limit would say to one more request; nothing is debited.
    pub fn peek(&self, now: MonoNanos, claim: &Claim<'_>) -> Verdict {
        let quota = &claim.quota;
        let Some(key) = claim.key_of() else {
            return quota.check(claim.state(0, now), now);
        };
        self.make_room(now);
        let key = Hashed::new(&self.hasher, key);
        let mut shard = locked(&self.slot(key.shard()).shard);
        let tat = match shard.entry(&key, quota.tat_max(now)) {
            Some(tat) => tat,
            None if self.len() < self.keys_max => 0,
            None => shard.shared(&key).unwrap_or(u64::MAX),
        };
        quota.check(claim.state(tat, now), now)
    }

    /// HOT. Debits a request that was served already (EDGE-93). What it owes is never more than a
    /// full burst.
    pub fn debit(&self, now: MonoNanos, claim: &Claim<'_>) {
        let (Some(key), quota) = (claim.key_of(), &claim.quota) else {
            return;
        };
        self.make_room(now);
        let key = Hashed::new(&self.hasher, key);
        let mut held = Held::lock(&self.slots, 1 << key.shard());
        let (tat, home) = self.find(&mut held, &key, quota.tat_max(now));
        let tat = quota.charge(claim.state(tat, now), now);
        self.keep(&mut held, key, home, tat);
    }

    /// Takes back the debit of a request that another limit refused after all; `tat` is
    /// [`Claim::tat`] of then. Only what still counts is given back: a debit that was worked off
    /// meanwhile made room for others. In a cell that keys share it stays.
    pub fn give_back(&self, now: MonoNanos, claim: &Claim<'_>, tat: u64) {
        let owed = claim.quota.interval_ns().min(tat.saturating_sub(now.0));
        match claim.place {
            Place::Cell(cell) => {
                let less = |tat: u64| tat.saturating_sub(owed);
                cell.update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            Place::Table(key) => self.lower(&Hashed::new(&self.hasher, key), owed),
            Place::Found(key, _) => self.lower(&key, owed),
        }
    }

    /// What the limits of one of [`Self::PARTS`] parts accepted that still counts, in nanoseconds
    /// of each key; it is forgotten here, for it is debited elsewhere from now on (EDGE-90). Failing
    /// credentials are counted here alone, and stay.
    pub fn take_debts(&self, part: usize, now: MonoNanos) -> Vec<(Key, u64)> {
        let Some(slot) = self.slots.get(part) else {
            return Vec::new();
        };
        let (debts, freed) = locked(&slot.shard).take_debts(now);
        self.keys.fetch_sub(freed, Ordering::Relaxed);
        debts
    }

    /// Keys held now, at most `keys_max`.
    pub fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hashes the keys of `claims`; one bit for each shard they are in.
    fn place(&self, claims: &mut [Claim<'_>]) -> u64 {
        claims.iter_mut().fold(0, |wanted, claim| {
            let key = match claim.place {
                Place::Table(key) => Hashed::new(&self.hasher, key),
                Place::Found(key, _) => key,
                Place::Cell(_) => return wanted,
            };
            claim.place = Place::Found(key, Home::Shared);
            wanted | 1 << key.shard()
        })
    }

    /// Asks all claims; nothing is debited yet, but room for new keys is reserved.
    fn check(
        &self,
        now: MonoNanos,
        claims: &mut [Claim<'_>],
        held: &mut Held<'_>,
    ) -> Result<(), RateRefusal> {
        for (at, claim) in claims.iter_mut().enumerate() {
            let tat_max = claim.quota.tat_max(now);
            let tat = match &mut claim.place {
                Place::Cell(cell) => look_at_cell(cell, tat_max),
                Place::Table(_) => continue,
                Place::Found(key, home) => {
                    let (tat, found) = self.find(held, key, tat_max);
                    *home = found;
                    tat
                }
            };
            let state = claim.state(tat, now);
            match claim.quota.check(state, now) {
                Verdict::Pass { tat } => claim.tat = tat,
                Verdict::Refuse { retry_after_ns } => {
                    claim.tat = state;
                    return Err(RateRefusal {
                        claim: at,
                        retry_after_ns,
                    });
                }
            }
        }
        Ok(())
    }

    /// The state of a key and where it is kept, or will be. A key that gets an entry begins it
    /// unused, wherever it was before: what a flood left in the shared cells ends with the flood,
    /// at the price of one burst.
    fn find(&self, held: &mut Held<'_>, key: &Hashed<Key>, tat_max: u64) -> (u64, Home) {
        // Every key's shard is held; were it not, the answer would be "full", not "free".
        let Some(shard) = held.shard_mut(key) else {
            return (u64::MAX, Home::Shared);
        };
        if let Some(tat) = shard.entry(key, tat_max) {
            return (tat, Home::Entry);
        }
        let one_more = |keys: usize| (keys < self.keys_max).then_some(keys + 1);
        match self
            .keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        {
            Ok(_) => (0, Home::Reserved),
            Err(_) => (shard.shared(key).unwrap_or(u64::MAX), Home::Shared),
        }
    }

    fn keep(&self, held: &mut Held<'_>, key: Hashed<Key>, home: Home, tat: u64) {
        let is_new = held
            .shard_mut(&key)
            .is_some_and(|shard| shard.set(key, home, tat));
        if home == Home::Reserved && !is_new {
            self.keys.fetch_sub(1, Ordering::Relaxed);
        }
        if home != Home::Shared {
            self.passes_at(&key, tat);
        }
    }

    /// Lowers the state of a key's entry, if it has one.
    fn lower(&self, key: &Hashed<Key>, by: u64) {
        let mut shard = locked(&self.slot(key.shard()).shard);
        if let Some(tat) = shard.lower(key, by) {
            self.passes_at(key, tat);
        }
    }

    /// An entry passes at this time. Its shard is locked, so nobody else writes the earliest one.
    fn passes_at(&self, key: &Hashed<Key>, tat: u64) {
        let earliest = &self.slot(key.shard()).earliest;
        if tat < earliest.load(Ordering::Relaxed) {
            earliest.store(tat, Ordering::Relaxed);
        }
    }

    /// Drops keys that have passed, if the table is full: those of the shard whose first one passed
    /// longest ago. No lock is held here, and one is taken. While nothing can have passed this is
    /// one look at each shard's time.
    fn make_room(&self, now: MonoNanos) {
        if self.len() < self.keys_max {
            return;
        }
        let earliest = |slot: &&Slot| slot.earliest.load(Ordering::Relaxed);
        let Some(slot) = self.slots.iter().min_by_key(earliest) else {
            return;
        };
        if earliest(&slot) > now.0 || !self.pay_for_sweep() {
            return;
        }
        let mut shard = locked(&slot.shard);
        let (freed, next) = shard.sweep(now);
        slot.earliest.store(next, Ordering::Relaxed);
        drop(shard);
        self.keys.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Pays a request's part; whether a sweep is paid for, which is then used up.
    fn pay_for_sweep(&self) -> bool {
        let price = self.keys_max / SHARDS;
        let saved_max = price.saturating_mul(SAVED_SWEEPS_MAX);
        let after = |paid: usize| {
            let paid = paid
                .saturating_add(PAID_ENTRIES)
                .min(saved_max.max(PAID_ENTRIES));
            paid.checked_sub(price).unwrap_or(paid)
        };
        let before = self
            .paid
            .update(Ordering::Relaxed, Ordering::Relaxed, after);
        before.saturating_add(PAID_ENTRIES) >= price
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the shard of a key is below SHARDS"
    )]
    const fn slot(&self, shard: usize) -> &Slot {
        &self.slots[shard]
    }
}

/// Asks the claims on cells.
fn check_cells(now: MonoNanos, claims: &[Claim<'_>]) -> Result<(), RateRefusal> {
    for (at, claim) in claims.iter().enumerate() {
        let Place::Cell(cell) = claim.place else {
            continue;
        };
        let tat = look_at_cell(cell, claim.quota.tat_max(now));
        if let Verdict::Refuse { retry_after_ns } = claim.quota.check(tat, now) {
            return Err(RateRefusal {
                claim: at,
                retry_after_ns,
            });
        }
    }
    Ok(())
}

/// Debits the claims on cells. A cell is debited by others meanwhile, so it may refuse after all;
/// then those debited before it get it back.
fn debit_cells(now: MonoNanos, claims: &mut [Claim<'_>]) -> Result<(), RateRefusal> {
    for at in 0..claims.len() {
        let Some((claim, earlier)) = claims.get_mut(..=at).and_then(<[_]>::split_last_mut) else {
            break;
        };
        let Place::Cell(cell) = claim.place else {
            continue;
        };
        match debit_cell(cell, &claim.quota, now) {
            Ok(tat) => claim.tat = tat,
            Err(retry_after_ns) => {
                for claim in earlier {
                    if let Place::Cell(cell) = claim.place {
                        credit_cell(cell, &claim.quota);
                    }
                }
                return Err(RateRefusal {
                    claim: at,
                    retry_after_ns,
                });
            }
        }
    }
    Ok(())
}

/// The locked shards of one request, in rising order, so that no two requests wait for each other.
struct Held<'a> {
    wanted: u64,
    shards: [Option<MutexGuard<'a, Shard>>; RateTable::<RandomState>::CLAIMS_MAX],
}

impl<'a> Held<'a> {
    /// Locks the shards whose bits are set; at most as many as there may be claims.
    fn lock(slots: &'a [Slot; SHARDS], wanted: u64) -> Self {
        let mut held = Self {
            wanted,
            shards: [const { None }; RateTable::<RandomState>::CLAIMS_MAX],
        };
        let mut rest = wanted;
        for guard in &mut held.shards {
            let next = usize::try_from(rest.trailing_zeros()).unwrap_or(SHARDS);
            let Some(slot) = slots.get(next) else { break };
            *guard = Some(locked(&slot.shard));
            rest &= rest - 1;
        }
        held
    }

    /// How many of the held shards come before that of `key`.
    fn rank(&self, key: &Hashed<Key>) -> usize {
        let before = self.wanted & ((1 << key.shard()) - 1);
        usize::try_from(before.count_ones()).unwrap_or(SHARDS)
    }

    fn shard_mut(&mut self, key: &Hashed<Key>) -> Option<&mut Shard> {
        let rank = self.rank(key);
        self.shards.get_mut(rank)?.as_deref_mut()
    }
}
