//! The part of a budget that a replica has in hand, as one atomic number. HOT: a call takes its
//! bound from here and puts back what it did not use, without a lock and without the store.
//!
//! The store has counted the whole slice before any of it is here. So whatever happens to this
//! number, to this process or to its clock, the budget is not overspent.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::amount::{Amount, Measure};
use crate::window::WindowKey;
use tollkeep_types::{LeaseId, MonoNanos, WallMillis};

/// No amount: what the number is once the slice is closed. Nothing fits into it any more.
const CLOSED: i64 = i64::MIN;

/// How long before its lease ends a slice may no longer be taken from: a call that is already on
/// its way from the check to the taking has this time.
pub const STOP_EARLY_NS: u64 = 5_000_000_000;

/// A slice in hand.
#[derive(Debug)]
pub struct Slice {
    pub lease: LeaseId,
    pub epoch: u64,
    pub key: WindowKey,
    pub measure: Measure,
    /// Of a rolling window: how long a bucket is.
    bucket_ms: Option<u64>,
    /// How far the store's clock, in nanoseconds, was ahead of the boot-time clock when the lease was
    /// taken or renewed last.
    ahead: AtomicU64,
    free: AtomicI64,
    /// Below this a refill is due.
    low_water: AtomicI64,
    stop_at: AtomicU64,
}

/// What a slice is made from.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub lease: LeaseId,
    pub epoch: u64,
    pub key: WindowKey,
    pub measure: Measure,
    pub amount: Amount,
    pub bucket_ms: Option<u64>,
    pub store_at: WallMillis,
    pub asked_at: MonoNanos,
    pub ttl_ns: u64,
}

/// What became of a wish to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Take {
    Done,
    /// Done, and less than half is left: a refill is due.
    DoneAndLow,
    /// Too little is left, the slice is closed, or its lease ends too soon.
    Short,
}

impl Slice {
    pub fn new(taken: &Taken) -> Self {
        Self {
            lease: taken.lease,
            epoch: taken.epoch,
            key: taken.key,
            measure: taken.measure,
            bucket_ms: taken.bucket_ms,
            ahead: AtomicU64::new(ahead(taken.store_at, taken.asked_at)),
            free: AtomicI64::new(taken.amount.units()),
            low_water: AtomicI64::new(taken.amount.units() / 2),
            stop_at: AtomicU64::new(stop_at(taken.asked_at, taken.ttl_ns)),
        }
    }

    /// Takes a bound, all of it or nothing. `now` is a clock that also runs while the machine sleeps.
    pub fn take(&self, bound: Amount, now: MonoNanos) -> Take {
        if now.0 >= self.stop_at.load(Ordering::Acquire) {
            return Take::Short;
        }
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            if free < bound.units() {
                return Take::Short;
            }
            let rest = free - bound.units();
            match self
                .free
                .compare_exchange_weak(free, rest, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) if rest < self.low_water.load(Ordering::Relaxed) => return Take::DoneAndLow,
                Ok(_) => return Take::Done,
                Err(changed) => free = changed,
            }
        }
    }

    /// Adds to what is free, unless the slice is closed: then false, and whoever asked has to tell
    /// the keeper, who returns it to the store.
    #[must_use]
    pub fn put_back(&self, amount: Amount) -> bool {
        let mut free = self.free.load(Ordering::Acquire);
        loop {
            let Some(sum) = free.checked_add(amount.units()).filter(|_| free != CLOSED) else {
                return false;
            };
            match self
                .free
                .compare_exchange_weak(free, sum, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(changed) => free = changed,
            }
        }
    }

    /// Adds what the store has just counted for this replica. False if the slice was closed.
    #[must_use]
    pub fn refill(&self, amount: Amount) -> bool {
        let low = self.free().plus(amount).map_or(0, |full| full.units() / 2);
        self.low_water.store(low, Ordering::Relaxed);
        self.put_back(amount)
    }

    /// Ends the slice and gives what was free, once.
    pub fn close(&self) -> Amount {
        Amount::new(self.free.swap(CLOSED, Ordering::AcqRel)).unwrap_or(Amount::ZERO)
    }

    /// The lease was renewed by an answer to what was asked at this time, and that told the store's.
    ///
    /// The slice follows the store's clock from here on: one that went back may have stood still
    /// meanwhile, and no grant is booked further ahead of it than a lease lives.
    pub fn renewed(&self, store_at: WallMillis, asked_at: MonoNanos, ttl_ns: u64) {
        let shift = ahead(store_at, asked_at);
        self.ahead.store(shift, Ordering::Release);
        self.stop_at
            .store(stop_at(asked_at, ttl_ns), Ordering::Release);
    }

    /// What is free, nothing once closed.
    pub fn free(&self) -> Amount {
        Amount::new(self.free.load(Ordering::Acquire)).unwrap_or(Amount::ZERO)
    }

    /// The bucket that a grant of this moment counts in, of a rolling window.
    pub fn bucket(&self, now: MonoNanos) -> Option<WallMillis> {
        match self.bucket_ms {
            Some(length) if length > 0 => {
                let at = self.store_time(now).0;
                Some(WallMillis(at - at % length))
            }
            Some(_) | None => None,
        }
    }

    /// The store's time at this moment of the boot-time clock, or a little later than that: from
    /// the asking on, so that a cost is never booked into a bucket that leaves too early.
    fn store_time(&self, now: MonoNanos) -> WallMillis {
        let nanos = self.ahead.load(Ordering::Acquire).saturating_add(now.0);
        WallMillis(nanos.div_ceil(1_000_000))
    }
}

const fn ahead(store_at: WallMillis, asked_at: MonoNanos) -> u64 {
    store_at
        .0
        .saturating_mul(1_000_000)
        .saturating_sub(asked_at.0)
}

const fn stop_at(asked_at: MonoNanos, ttl_ns: u64) -> u64 {
    asked_at
        .0
        .saturating_add(ttl_ns.saturating_sub(STOP_EARLY_NS))
}
