//! The counters of a line of tokens: rotating a token never refills them.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use tollkeep_types::LineageId;

/// What all tokens of a line share.
#[derive(Debug)]
pub struct Lineage {
    /// Its id.
    pub id: LineageId,
    /// Calls granted in all.
    granted: AtomicU64,
    /// Calls granted since the last flush, less the refunded ones.
    pending: AtomicI64,
    /// Theoretical arrival time of the per-second rate limit, for `policy::rate`.
    pub second_tat: AtomicU64,
    /// Theoretical arrival time of the per-minute rate limit.
    pub minute_tat: AtomicU64,
    /// Calls going on.
    pub in_flight: AtomicU32,
}

impl Lineage {
    pub(crate) const fn new(id: LineageId, granted: u64) -> Self {
        Self {
            id,
            granted: AtomicU64::new(granted),
            pending: AtomicI64::new(0),
            second_tat: AtomicU64::new(0),
            minute_tat: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
        }
    }

    /// Counts one call if fewer than `max` were granted so far. Exact however many ask at once.
    #[must_use]
    pub fn try_grant(&self, max: Option<NonZeroU64>) -> bool {
        let max = max.map_or(u64::MAX, NonZeroU64::get);
        let next = |granted: u64| (granted < max).then_some(granted.saturating_add(1));
        let granted = self
            .granted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok();
        if granted {
            self.pending.fetch_add(1, Ordering::Relaxed);
        }
        granted
    }

    /// Takes one granted call back: its hold was fully released.
    pub fn refund(&self) {
        let less = |granted: u64| granted.checked_sub(1);
        let refunded = self
            .granted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        if refunded {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Calls granted in all, as of now.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    pub(crate) fn take_pending(&self) -> i64 {
        self.pending.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn put_back(&self, count: i64) {
        self.pending.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lineage(granted: u64) -> Lineage {
        Lineage::new(LineageId::from_bytes([1; 16]), granted)
    }

    // ID-20
    #[test]
    fn a_hundred_callers_share_exactly_ten_calls() {
        for _ in 0..50 {
            let lineage = lineage(0);
            let barrier = std::sync::Barrier::new(100);
            let granted: usize = std::thread::scope(|scope| {
                let callers: Vec<_> = (0..100)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            usize::from(lineage.try_grant(NonZeroU64::new(10)))
                        })
                    })
                    .collect();
                callers
                    .into_iter()
                    .map(|caller| caller.join().unwrap())
                    .sum()
            });
            assert_eq!(granted, 10);
            assert_eq!((lineage.granted(), lineage.take_pending()), (10, 10));
        }
    }

    // ID-20
    #[test]
    fn a_refunded_call_can_be_granted_again() {
        let lineage = lineage(9);
        let max = NonZeroU64::new(10);
        assert!(lineage.try_grant(max));
        assert!(!lineage.try_grant(max));
        lineage.refund();
        assert!(lineage.try_grant(max));
        assert_eq!(lineage.take_pending(), 1);
        lineage.refund();
        assert_eq!(lineage.take_pending(), -1, "refunded after the flush");
    }

    #[test]
    fn without_a_maximum_every_call_is_granted() {
        let lineage = lineage(u64::MAX - 2);
        assert!(lineage.try_grant(None));
        lineage.refund();
        assert_eq!(lineage.granted(), u64::MAX - 2);
    }
}
