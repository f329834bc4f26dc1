//! The families that are counted by words of the program.

use super::super::Metrics;
use super::Text;

impl Metrics {
    pub(super) fn render_words(&self, text: &mut Text) {
        for (name, help, words, labels) in [
            (
                "tollkeep_refusals_total",
                "Refusals by code.",
                &self.refusals,
                ["code", "listener"],
            ),
            (
                "tollkeep_requests_rejected_total",
                "Requests rejected for their form.",
                &self.rejected,
                ["reason", ""],
            ),
            (
                "tollkeep_auth_failures_total",
                "Credentials that were not accepted.",
                &self.auth_failures,
                ["reason", ""],
            ),
            (
                "tollkeep_egress_refused_total",
                "Addresses the egress policy refused.",
                &self.egress_refused,
                ["reason", ""],
            ),
            (
                "tollkeep_anomalies_total",
                "Unusual uses of tokens.",
                &self.anomalies,
                ["signal", ""],
            ),
            (
                "tollkeep_audit_events_total",
                "Audit events written.",
                self.audit.events(),
                ["class", ""],
            ),
        ] {
            text.family(name, "counter", help);
            text.words(name, labels, words);
        }
    }
}
