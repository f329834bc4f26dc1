//! Answers that are kept.

use super::Text;
use crate::metrics::Metrics;
use std::sync::atomic::{AtomicU64, Ordering};

impl Metrics {
    pub(super) fn render_cache(&self, text: &mut Text) {
        let counts = &self.cache.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let name = "tollkeep_cache_requests_total";
        text.family(
            name,
            "counter",
            "Calls that asked the cache, by what became of it.",
        );
        for (result, count) in self.cache.results() {
            text.sample(name, &[("result", result)], count);
        }
        for (name, kind, about, count) in [
            (
                "tollkeep_cache_stored_total",
                "counter",
                "Answers that were kept.",
                &counts.kept,
            ),
            (
                "tollkeep_cache_evicted_total",
                "counter",
                "Kept answers that went for others.",
                &counts.evicted,
            ),
            (
                "tollkeep_cache_bytes",
                "gauge",
                "Bytes of kept answers.",
                &counts.bytes,
            ),
            (
                "tollkeep_cache_waiting",
                "gauge",
                "Calls that wait for another one's answer.",
                &counts.waiting,
            ),
            (
                "tollkeep_cache_entries",
                "gauge",
                "Kept answers.",
                &counts.entries,
            ),
        ] {
            text.family(name, kind, about);
            text.sample(name, &[], read(count));
        }
    }
}
