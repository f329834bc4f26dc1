//! Counters that several threads share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One or two label values. Both are program text, so a caller cannot make a series.
type Pair = (&'static str, &'static str);

/// How many pairs one family may have; more count as `other`.
const PAIRS_MAX: usize = 128;

/// Counts by words of the program, entered as they are first used.
pub(super) struct Words {
    slots: Box<[(OnceLock<Pair>, AtomicU64)]>,
    other: AtomicU64,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            slots: (0..PAIRS_MAX).map(|_| Default::default()).collect(),
            other: AtomicU64::new(0),
        }
    }
}

impl Words {
    pub(super) fn add(&self, first: &'static str, second: &'static str, count: u64) {
        let pair = (first, second);
        let tally = self
            .slots
            .iter()
            .find(|(slot, _)| *slot.get_or_init(|| pair) == pair)
            .map_or(&self.other, |(_, tally)| tally);
        tally.fetch_add(count, Ordering::Relaxed);
    }

    /// The pairs in use and their counts, sorted.
    pub(super) fn counts(&self) -> Vec<(Pair, u64)> {
        let mut counts: Vec<_> = self
            .slots
            .iter()
            .map_while(|(slot, tally)| Some((*slot.get()?, tally.load(Ordering::Relaxed))))
            .collect();
        let other = self.other.load(Ordering::Relaxed);
        if other > 0 {
            counts.push((("other", "other"), other));
        }
        counts.sort_unstable();
        counts
    }
}

#[derive(Default)]
struct Audit {
    events: Words,
    queued: AtomicU64,
    behind: AtomicU64,
    failures: AtomicU64,
}

/// Counts for the audit writer. Clones count into the same place.
#[derive(Clone, Default)]
pub struct AuditMeter(Arc<Audit>);

impl AuditMeter {
    /// Events of a class were written.
    pub fn written(&self, class: &'static str, events: u64) {
        self.0.events.add(class, "", events);
    }

    /// So many events wait.
    pub fn queued(&self, events: usize) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.0.queued.store(events, Ordering::Relaxed);
    }

    /// The database lacks so many records that the file has.
    pub fn database_lag(&self, records: u64) {
        self.0.behind.store(records, Ordering::Relaxed);
    }

    /// A write failed.
    pub fn failed(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes that failed so far.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    pub(super) fn events(&self) -> &Words {
        &self.0.events
    }

    pub(super) fn queue(&self) -> u64 {
        self.0.queued.load(Ordering::Relaxed)
    }

    pub(super) fn behind(&self) -> u64 {
        self.0.behind.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Sink {
    given: AtomicU64,
    failures: AtomicU64,
    missed: AtomicU64,
    lag: AtomicU64,
    failing: AtomicBool,
}

/// Counts for a further place of audit records. Clones count into the same place.
#[derive(Clone, Default)]
pub struct SinkMeter(Arc<Sink>);

impl SinkMeter {
    /// Records were taken.
    pub fn given(&self, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.0.given.fetch_add(records, Ordering::Relaxed);
    }

    /// A try failed.
    pub fn failed(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last try failed.
    pub fn failing(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::Relaxed);
    }

    /// Records were gone before they could be given.
    pub fn missed(&self, records: u64) {
        self.0.missed.fetch_add(records, Ordering::Relaxed);
    }

    /// So many records wait.
    pub fn lag(&self, records: u64) {
        self.0.lag.store(records, Ordering::Relaxed);
    }

    /// Whether nothing is taken now.
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Relaxed)
    }

    /// Each of the counts, with the end of its name, its kind and what it is.
    pub(super) fn counts(&self) -> [(&'static str, &'static str, &'static str, u64); 5] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let sink = &*self.0;
        [
            (
                "records_total",
                "counter",
                "Audit records a sink took.",
                of(&sink.given),
            ),
            (
                "failures_total",
                "counter",
                "Tries of a sink that failed.",
                of(&sink.failures),
            ),
            (
                "missed_total",
                "counter",
                "Audit records that were gone before a sink took them.",
                of(&sink.missed),
            ),
            (
                "lag_records",
                "gauge",
                "Audit records a sink has yet to look at.",
                of(&sink.lag),
            ),
            (
                "failing",
                "gauge",
                "Whether a sink takes nothing now.",
                u64::from(self.is_failing()),
            ),
        ]
    }
}

/// Counts dropped log lines. Clones count into the same place.
#[derive(Clone, Debug, Default)]
pub struct LogMeter(Arc<AtomicU64>);

impl LogMeter {
    /// Lines were dropped.
    pub fn dropped(&self, lines: usize) {
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        self.0.fetch_add(lines, Ordering::Relaxed);
    }

    /// Lines dropped so far.
    pub fn lines_dropped(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_entered_once_and_bounded() {
        let words = Words::default();
        words.add("b", "data", 1);
        words.add("a", "data", 2);
        words.add("b", "data", 1);
        assert_eq!(words.counts(), [(("a", "data"), 2), (("b", "data"), 2)]);
        for _ in 0..2 * PAIRS_MAX {
            let new: &'static str = Box::leak(Box::default());
            words.add(new, "same text, so the same pair", 1);
        }
        assert_eq!(words.counts().len(), 3);
        for number in 0..2 * PAIRS_MAX {
            words.add(Box::leak(number.to_string().into_boxed_str()), "", 1);
        }
        assert_eq!(words.counts().len(), PAIRS_MAX + 1);
    }
}
