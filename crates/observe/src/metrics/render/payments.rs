//! Payments: what they come to, what is owed, what was earned.

use super::Text;
use crate::metrics::Metrics;
use crate::metrics::histogram::{HistogramSum, REQUEST_BOUNDS};
use crate::metrics::payments::PaymentPhase;
use std::sync::atomic::Ordering;

impl Metrics {
    fn render_phases(&self, text: &mut Text) {
        let name = "tollkeep_payment_seconds";
        text.family(name, "histogram", "How long the parts of payments took.");
        for (rail, phases) in self.payments.0.phases.rails().iter() {
            for (phase, histogram) in PaymentPhase::ALL.iter().zip(phases) {
                let mut sum = HistogramSum::default();
                sum.add(histogram);
                let labels = [("rail", *rail), ("phase", phase.as_str())];
                text.histogram(name, &labels, &REQUEST_BOUNDS, &sum);
            }
        }
    }

    pub(super) fn render_payments(&self, text: &mut Text) {
        let counts = &self.payments.0;
        let name = "tollkeep_payments_total";
        text.family(
            name,
            "counter",
            "Changes of payments, by where they came to.",
        );
        text.words(name, ["rail", "state"], &counts.changes);
        let name = "tollkeep_challenges_total";
        text.family(name, "counter", "How often callers were asked to pay.");
        let asked = counts.challenges.load(Ordering::Relaxed);
        text.sample(name, &[("rail", "x402")], asked);
        let name = "tollkeep_payments_uncollected_total";
        text.family(
            name,
            "counter",
            "Payments that could not be settled when all was delivered.",
        );
        text.words(name, ["rail", ""], &counts.uncollected);
        text.single(
            "tollkeep_payment_unknown",
            "gauge",
            "Payments of which nobody knows whether they were settled.",
            counts.unknown.load(Ordering::Relaxed),
        );
        self.render_phases(text);
        for (name, kind, help, labels, table) in [
            (
                "tollkeep_credit_owed",
                "gauge",
                "What was paid and not delivered, in the smallest unit of a token.",
                ["unit", "asset"],
                &counts.owed,
            ),
            (
                "tollkeep_revenue_total",
                "counter",
                "What was earned, in the smallest unit of a token.",
                ["rail", "asset"],
                &counts.earned,
            ),
            (
                "tollkeep_facilitator_errors_total",
                "counter",
                "Calls of facilitators that failed.",
                ["facilitator", "kind"],
                &counts.failures,
            ),
        ] {
            text.family(name, kind, help);
            let [first, second] = labels;
            for (one, other, count) in table.rows().iter() {
                text.sample(
                    name,
                    &[(first, one.as_str()), (second, other.as_str())],
                    count,
                );
            }
        }
    }
}
