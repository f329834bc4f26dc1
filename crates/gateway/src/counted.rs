//! What is counted while it lives: requests, bytes of bodies.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts one unit in a gauge until it is dropped.
pub(crate) struct Counted<'a> {
    gauge: &'a AtomicUsize,
    amount: usize,
}

impl<'a> Counted<'a> {
    /// Adds `amount` unless the gauge would pass `max`.
    pub(crate) fn within(gauge: &'a AtomicUsize, amount: usize, max: usize) -> Option<Self> {
        let before = gauge.fetch_add(amount, Ordering::Relaxed);
        let counted = Self { gauge, amount };
        (before.saturating_add(amount) <= max).then_some(counted)
    }

    /// Gives back all but `amount`.
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        let kept = amount.min(self.amount);
        self.gauge.fetch_sub(self.amount - kept, Ordering::Relaxed);
        self.amount = kept;
    }

    /// What the gauge counts now, this unit included.
    pub(crate) fn count(&self) -> usize {
        self.gauge.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.gauge.fetch_sub(self.amount, Ordering::Relaxed);
    }
}
