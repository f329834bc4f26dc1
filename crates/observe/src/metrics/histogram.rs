//! A histogram of durations for one writer.

use super::shard::Tally;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// How many buckets every histogram has, without the last one that takes everything.
pub(super) const BUCKETS: usize = 16;

/// Upper bounds for whole requests and first tokens, in nanoseconds.
pub(super) const REQUEST_BOUNDS: [u64; BUCKETS] = [
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S / 2,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
    300 * S,
];

/// Upper bounds for our own part, in nanoseconds.
pub(super) const OVERHEAD_BOUNDS: [u64; BUCKETS] = [
    5 * US,
    10 * US,
    15 * US,
    25 * US,
    50 * US,
    75 * US,
    100 * US,
    150 * US,
    250 * US,
    500 * US,
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    100 * MS,
    S,
];

#[derive(Default)]
pub(super) struct Histogram {
    buckets: [Tally; BUCKETS],
    above: Tally,
    sum_ns: Tally,
}

impl Histogram {
    pub(super) fn observe(&self, bounds: &[u64; BUCKETS], nanos: u64) {
        let slot = bounds
            .iter()
            .zip(&self.buckets)
            .find(|(bound, _)| nanos <= **bound)
            .map_or(&self.above, |(_, slot)| slot);
        slot.add(1);
        self.sum_ns.add(nanos);
    }
}

/// Histograms of several workers, summed up.
#[derive(Clone, Copy, Default)]
pub(super) struct HistogramSum {
    /// Not cumulative yet; the last one takes everything.
    pub(super) buckets: [u64; BUCKETS + 1],
    pub(super) sum_ns: u64,
}

impl HistogramSum {
    /// For sums that are counted into directly.
    pub(super) fn observe(&mut self, bounds: &[u64; BUCKETS], nanos: u64) {
        let at = bounds.iter().position(|bound| nanos <= *bound);
        if let Some(slot) = self.buckets.get_mut(at.unwrap_or(BUCKETS)) {
            *slot += 1;
        }
        self.sum_ns = self.sum_ns.wrapping_add(nanos);
    }

    pub(super) fn add(&mut self, histogram: &Histogram) {
        let counts = histogram.buckets.iter().chain([&histogram.above]);
        for (slot, count) in self.buckets.iter_mut().zip(counts) {
            *slot += count.total();
        }
        self.sum_ns = self.sum_ns.wrapping_add(histogram.sum_ns.total());
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (slot, count) in self.buckets.iter_mut().zip(other.buckets) {
            *slot += count;
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
