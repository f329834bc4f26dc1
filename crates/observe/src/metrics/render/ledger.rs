//! Holds, slices, and how well bounds fit.

use super::Text;
use crate::metrics::Metrics;
use crate::metrics::histogram::{BUCKETS, Histogram, HistogramSum, REQUEST_BOUNDS};
use crate::metrics::ledger::RATIO_BOUNDS;
use crate::metrics::shard::Shard;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Row<'m> = (
    &'static str,
    &'static str,
    &'static [u64; BUCKETS],
    &'m Histogram,
);

impl Metrics {
    pub(super) fn render_ledger(&self, text: &mut Text, shards: &[Arc<Shard>]) {
        let counts = &self.ledger.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let open = shards.iter().map(|shard| shard.holds.total());
        let name = "tollkeep_holds";
        text.family(
            name,
            "gauge",
            "Holds of calls under way, and ends that wait to be written.",
        );
        let open = open.fold(0_u64, u64::wrapping_add);
        text.sample(name, &[("state", "open")], open);
        text.sample(name, &[("state", "unwritten")], read(&counts.unwritten));
        let name = "tollkeep_leases";
        text.family(
            name,
            "gauge",
            "Slices of budgets in hand, and those lost since the start.",
        );
        text.sample(name, &[("state", "active")], read(&counts.leases));
        text.sample(name, &[("state", "lost")], read(&counts.lost));
        self.render_losses(text);
        let name = "tollkeep_budget_refusals_total";
        text.family(name, "counter", "Calls that did not fit a budget.");
        text.words(name, ["unit", ""], &counts.refusals);
        let rows: [Row<'_>; 3] = [
            (
                "tollkeep_hold_seconds",
                "How long holds of calls lived.",
                &REQUEST_BOUNDS,
                &counts.held,
            ),
            (
                "tollkeep_bound_ratio",
                "The part of its bound that a call used.",
                &RATIO_BOUNDS,
                &counts.ratio,
            ),
            (
                "tollkeep_ledger_flush_seconds",
                "How long transactions of the ledger took.",
                &REQUEST_BOUNDS,
                &counts.flush,
            ),
        ];
        for (name, help, bounds, histogram) in rows {
            text.family(name, "histogram", help);
            let mut sum = HistogramSum::default();
            sum.add(histogram);
            text.histogram(name, &[], bounds, &sum);
        }
    }

    /// What went wrong with money, and with its records.
    fn render_losses(&self, text: &mut Text) {
        let counts = &self.ledger.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (name, kind, help, value) in [
            (
                "tollkeep_unresolved_nano_usd",
                "gauge",
                "Nano-dollars of slices lost since the start, which count as spent.",
                read(&counts.unresolved),
            ),
            (
                "tollkeep_overruns_total",
                "counter",
                "Calls that were billed at more than their bound.",
                read(&counts.overruns),
            ),
            (
                "tollkeep_usage_records_lost_total",
                "counter",
                "Usage records of calls that no budget counts, lost as the store was too slow.",
                read(&counts.records_lost),
            ),
        ] {
            text.single(name, kind, help, value);
        }
    }
}
