//! What the ledger counts: holds, slices, and how well bounds fit. None of it on the path of a call.

use super::histogram::{BUCKETS, Histogram};
use super::meters::Words;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper bounds of a part of one, in millionths of a thousandth.
pub(super) const RATIO_BOUNDS: [u64; BUCKETS] = {
    const HUNDREDTH: u64 = 10_000_000;
    [
        HUNDREDTH / 10,
        HUNDREDTH / 4,
        HUNDREDTH / 2,
        HUNDREDTH,
        5 * HUNDREDTH / 2,
        5 * HUNDREDTH,
        10 * HUNDREDTH,
        20 * HUNDREDTH,
        30 * HUNDREDTH,
        40 * HUNDREDTH,
        50 * HUNDREDTH,
        60 * HUNDREDTH,
        70 * HUNDREDTH,
        80 * HUNDREDTH,
        90 * HUNDREDTH,
        100 * HUNDREDTH,
    ]
};

#[derive(Default)]
pub(super) struct Counts {
    pub(super) unwritten: AtomicU64,
    pub(super) leases: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) unresolved: AtomicU64,
    pub(super) overruns: AtomicU64,
    pub(super) records_lost: AtomicU64,
    pub(super) held: Histogram,
    pub(super) ratio: Histogram,
    pub(super) flush: Histogram,
    pub(super) refusals: Words,
}

/// Counts for the ledger. Clones count into the same place.
#[derive(Clone, Default)]
pub struct LedgerMeter(pub(super) Arc<Counts>);

impl LedgerMeter {
    /// So many ends wait to be written.
    pub fn unwritten(&self, ends: usize) {
        let ends = u64::try_from(ends).unwrap_or(u64::MAX);
        self.0.unwritten.store(ends, Ordering::Relaxed);
    }

    /// So many slices are in hand.
    pub fn leases(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.leases.store(count, Ordering::Relaxed);
    }

    /// A slice was lost, and so many nano-dollars of it count as spent.
    pub fn lost(&self, nano_usd: u64) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
        self.0.unresolved.fetch_add(nano_usd, Ordering::Relaxed);
    }

    /// An upstream billed more than its call's bound.
    pub fn overrun(&self) {
        self.0.overruns.fetch_add(1, Ordering::Relaxed);
    }

    /// So many usage records of calls that no budget counts found no room.
    pub fn records_lost(&self, records: u64) {
        self.0.records_lost.fetch_add(records, Ordering::Relaxed);
    }

    /// A hold ended after so long. By one task alone.
    pub fn held(&self, ns: u64) {
        self.0.held.observe(&super::histogram::REQUEST_BOUNDS, ns);
    }

    /// So much of a bound was used. By one task alone.
    pub fn used(&self, actual: u64, bound: u64) {
        let Some(ratio) = u128::from(actual)
            .saturating_mul(1_000_000_000)
            .checked_div(bound.into())
        else {
            return;
        };
        let ratio = u64::try_from(ratio).unwrap_or(u64::MAX);
        self.0.ratio.observe(&RATIO_BOUNDS, ratio);
    }

    /// A transaction of the ledger took so long. By one task alone.
    pub fn flushed(&self, ns: u64) {
        self.0.flush.observe(&super::histogram::REQUEST_BOUNDS, ns);
    }

    /// A call did not fit a budget of this unit.
    pub fn refused(&self, unit: &'static str) {
        self.0.refusals.add(unit, "", 1);
    }
}
