//! What calls cost, and how far their usage is trusted.

use super::{Series, Text, named};
use crate::metrics::Metrics;
use crate::metrics::labels::{Names, USAGE_REASONS};
use crate::metrics::shard::{Shard, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollkeep_types::usage::Quality;

const SPEND: &str = "tollkeep_spend_nano_usd_total";
const QUALITY: &str = "tollkeep_usage_quality_total";

impl Metrics {
    pub(super) fn render_spend(&self, text: &mut Text, shards: &[Arc<Shard>], left: &mut usize) {
        let mut sums: BTreeMap<(usize, usize), Counts<{ Quality::ALL.len() }>> = BTreeMap::new();
        for (place, cell) in shards.iter().flat_map(|shard| shard.spend.used()) {
            let sum = sums.entry(place).or_default();
            sum.add(cell.iter().map(Tally::total));
        }
        let merge = |sum: &mut Counts<{ Quality::ALL.len() }>,
                     other: &Counts<{ Quality::ALL.len() }>| {
            sum.add(other.0.into_iter());
        };
        let names = [&self.providers, &self.models].map(Names::list);
        let sums = named(sums, &names, left, merge);
        text.family(SPEND, "counter", "Nano-dollars that calls cost.");
        for ((provider, model), sum) in &sums {
            for (quality, count) in Quality::ALL.iter().zip(sum.0) {
                if count > 0 {
                    let labels = [
                        ("provider", *provider),
                        ("model", *model),
                        ("quality", quality.name()),
                    ];
                    text.sample(SPEND, &labels, count);
                }
            }
        }
    }

    pub(super) fn render_qualities(text: &mut Text, shards: &[Arc<Shard>]) {
        text.family(
            QUALITY,
            "counter",
            "Calls by how far their usage is trusted, and why no further.",
        );
        for quality in Quality::ALL {
            for (at, reason) in USAGE_REASONS.iter().enumerate() {
                let of = |shard: &Arc<Shard>| {
                    let by_reason = shard.qualities.get(quality as usize);
                    let tally = by_reason.and_then(|by| by.get(at));
                    tally.map_or(0, Tally::total)
                };
                let count = shards
                    .iter()
                    .fold(0_u64, |sum, shard| sum.wrapping_add(of(shard)));
                if count > 0 {
                    let labels = [("quality", quality.name()), ("reason", *reason)];
                    text.sample(QUALITY, &labels, count);
                }
            }
        }
    }
}

/// Counts of all workers, one by one.
#[derive(Clone)]
pub(super) struct Counts<const N: usize>(pub(super) [u64; N]);

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Counts<N> {
    pub(super) fn add(&mut self, counts: impl Iterator<Item = u64>) {
        for (slot, count) in self.0.iter_mut().zip(counts) {
            *slot += count;
        }
    }
}

impl<const N: usize> Series for Counts<N> {
    fn series(&self) -> usize {
        self.0.iter().filter(|count| **count > 0).count()
    }
}
