//! The counters of a line of tokens: rotating a token never refills them.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use tollkeep_types::{LineageId, MonoNanos};

/// What all tokens of a line share.
#[derive(Debug)]
pub struct Lineage {
    /// Its id.
    pub id: LineageId,
    /// Calls granted in all.
    granted: AtomicU64,
    /// Calls granted since the last flush, less the refunded ones.
    pending: AtomicI64,
    /// How its calls are counted with those of other processes, where there are any.
    leases: Option<Leases>,
    /// Theoretical arrival time of the per-second rate limit, for `policy::rate`.
    pub second_tat: AtomicU64,
    /// Theoretical arrival time of the per-minute rate limit.
    pub minute_tat: AtomicU64,
    /// The same of its tokens a minute, and in a day, for `policy::token_rate`.
    pub tokens_tat: [AtomicU64; 2],
    /// Calls going on.
    pub in_flight: AtomicU32,
}

/// Calls of a counted line that the store has counted already, for this process to grant.
#[derive(Debug, Default)]
struct Leases {
    /// Those not granted yet.
    left: AtomicU64,
    /// Whether one was granted, or given back, since the last flush.
    touched: AtomicBool,
    /// Until when the store need not be asked again, since it had none left.
    spent_until: AtomicU64,
}

/// Whether a call may be made, as far as its count goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Granting {
    /// It may, and is counted.
    Granted,
    /// As many as may be were made.
    UsedUp,
    /// The store must be asked ([`crate::Store::take_call`]): other processes count too.
    Ask,
}

impl Granting {
    /// Whether the call may be made.
    pub fn is_granted(self) -> bool {
        self == Self::Granted
    }
}

impl Lineage {
    pub(crate) const fn new(id: LineageId, granted: u64) -> Self {
        Self {
            id,
            granted: AtomicU64::new(granted),
            pending: AtomicI64::new(0),
            leases: None,
            second_tat: AtomicU64::new(0),
            minute_tat: AtomicU64::new(0),
            tokens_tat: [AtomicU64::new(0), AtomicU64::new(0)],
            in_flight: AtomicU32::new(0),
        }
    }

    /// One whose calls other processes count too.
    pub(crate) fn shared(id: LineageId, granted: u64) -> Self {
        Self {
            leases: Some(Leases::default()),
            ..Self::new(id, granted)
        }
    }

    /// Counts one call if fewer than `max` were granted so far. Exact however many ask at once, in
    /// this process and in others.
    #[must_use]
    pub fn try_grant(&self, max: Option<NonZeroU64>) -> Granting {
        if let (Some(leases), Some(_)) = (&self.leases, max) {
            return if leases.take() {
                self.granted.fetch_add(1, Ordering::Relaxed);
                Granting::Granted
            } else {
                Granting::Ask
            };
        }
        if self.count_one(max) {
            Granting::Granted
        } else {
            Granting::UsedUp
        }
    }

    fn count_one(&self, max: Option<NonZeroU64>) -> bool {
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

    /// Whether it is certain that no call is left, without asking anybody.
    pub fn is_used_up(&self, max: Option<NonZeroU64>) -> bool {
        self.leases.is_none() && max.is_some_and(|max| self.granted() >= max.get())
    }

    /// Takes one granted call back: its hold was fully released.
    pub fn refund(&self, max: Option<NonZeroU64>) {
        let less = |granted: u64| granted.checked_sub(1);
        let refunded = self
            .granted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        match (&self.leases, max) {
            (Some(leases), Some(_)) => leases.add(1),
            _ if refunded => {
                self.pending.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Calls granted in all, as of now.
    pub fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    /// What the store must add. Leases that were not touched since the last time go back.
    pub(crate) fn take_pending(&self) -> i64 {
        let pending = self.pending.swap(0, Ordering::Relaxed);
        pending.saturating_sub(self.leases.as_ref().map_or(0, Leases::unused))
    }

    /// All leases go back with the next flush.
    pub(crate) fn let_go(&self) {
        if let Some(leases) = &self.leases {
            leases.touched.store(false, Ordering::Relaxed);
        }
    }

    /// Calls that the store has counted and that were not granted yet.
    pub(crate) fn add_leased(&self, calls: u64) {
        if let Some(leases) = &self.leases {
            leases.add(calls);
        }
    }

    /// Counts a call that the store has counted.
    pub(crate) fn note_granted(&self) {
        self.granted.fetch_add(1, Ordering::Relaxed);
    }

    /// The store has no call left; it need not be asked again until then.
    pub(crate) fn set_spent(&self, until: MonoNanos) {
        if let Some(leases) = &self.leases {
            leases.spent_until.store(until.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_spent(&self, now: MonoNanos) -> bool {
        let until = |leases: &Leases| leases.spent_until.load(Ordering::Relaxed);
        self.leases
            .as_ref()
            .is_some_and(|leases| now.0 < until(leases))
    }

    /// Takes a leased call, if there is one.
    pub(crate) fn take_leased(&self) -> bool {
        self.leases.as_ref().is_some_and(Leases::take)
    }

    pub(crate) fn put_back(&self, count: i64) {
        self.pending.fetch_add(count, Ordering::Relaxed);
    }
}

impl Leases {
    fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        if taken {
            self.touched.store(true, Ordering::Relaxed);
        }
        taken
    }

    fn add(&self, calls: u64) {
        self.left.fetch_add(calls, Ordering::Relaxed);
        self.touched.store(true, Ordering::Relaxed);
    }

    /// Takes out what nobody touched since the last time.
    fn unused(&self) -> i64 {
        if self.left.load(Ordering::Relaxed) == 0 || self.touched.swap(false, Ordering::Relaxed) {
            return 0;
        }
        i64::try_from(self.left.swap(0, Ordering::Relaxed)).unwrap_or(i64::MAX)
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
                            usize::from(lineage.try_grant(NonZeroU64::new(10)).is_granted())
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
        assert!(lineage.try_grant(max).is_granted());
        assert_eq!(lineage.try_grant(max), Granting::UsedUp);
        lineage.refund(max);
        assert!(lineage.try_grant(max).is_granted());
        assert_eq!(lineage.take_pending(), 1);
        lineage.refund(max);
        assert_eq!(lineage.take_pending(), -1, "refunded after the flush");
    }

    #[test]
    fn without_a_maximum_every_call_is_granted() {
        let lineage = lineage(u64::MAX - 2);
        assert!(lineage.try_grant(None).is_granted());
        lineage.refund(None);
        assert_eq!(lineage.granted(), u64::MAX - 2);
    }

    // ID-20
    #[test]
    fn what_is_shared_is_granted_from_leases_and_those_left_alone_go_back() {
        let (line, max) = (
            Lineage::shared(LineageId::from_bytes([1; 16]), 5),
            NonZeroU64::new(9),
        );
        assert_eq!(line.try_grant(max), Granting::Ask);
        assert!(
            line.try_grant(None).is_granted(),
            "what has no maximum is counted as it comes"
        );
        assert_eq!(line.take_pending(), 1);
        line.add_leased(3);
        assert!(line.try_grant(max).is_granted());
        line.refund(max);
        assert_eq!(line.take_pending(), 0, "they were touched");
        assert_eq!(line.take_pending(), -3, "and then were not");
        assert_eq!(line.try_grant(max), Granting::Ask);
        line.add_leased(2);
        line.let_go();
        assert_eq!(line.take_pending(), -2);
        line.set_spent(MonoNanos(10));
        assert!(line.is_spent(MonoNanos(9)) && !line.is_spent(MonoNanos(10)));
    }
}
