//! Payments: what they come to, what is owed, what was earned.

use super::Text;
use crate::metrics::Metrics;
use std::sync::atomic::Ordering;

impl Metrics {
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
