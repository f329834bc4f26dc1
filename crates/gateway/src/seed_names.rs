//! Finished requests, as they are counted under the names of other gateways.

use crate::paid::PaymentNo;
use crate::record::{Facts, RefusedAs};
use tollkeep_observe::RequestOutcome;
use tollkeep_observe::metrics::{Metrics, Payment, ProviderLabel, SeedRequest};

/// What a call failed of that its upstream refused, or told so.
const REJECTED: &str = "upstream_rejected";
/// The provider did not accept our credential.
const UPSTREAM_AUTH: &str = "upstream_auth";

/// Counts a batch, where somebody wants these names.
pub(crate) fn count(metrics: &Metrics, batch: &[Facts]) {
    if let Some(seeds) = metrics.seeds() {
        let requests = batch.iter().filter(|facts| !facts.is_probe);
        seeds.count(requests.map(request));
    }
}

fn request(facts: &Facts) -> SeedRequest {
    let asked = facts.asked.as_ref().map(|asked| asked.label);
    let sort = facts.refusal.map(|(_, sort)| sort);
    let told = asked.filter(|_| !facts.from_cache);
    SeedRequest {
        route: facts.route_label,
        method: facts.method,
        status: facts.status,
        provider: asked,
        model: facts.llm.as_ref().map(|llm| llm.model_label),
        duration_ns: facts.duration_ns,
        upstream_ns: facts.upstream_ns,
        payment: payment(facts),
        fault: fault(facts),
        is_upstream_fault: told.is_some() && is_upstream_fault(facts),
        auth_failure: match facts.refusal {
            Some((_, RefusedAs::Authn(_))) => Some(ProviderLabel::NONE),
            Some((UPSTREAM_AUTH, _)) => told,
            Some(_) | None => None,
        },
        suspicious: [
            facts.header_spoof.then_some("header_spoof"),
            match sort {
                Some(RefusedAs::Violation(kind)) => Some(kind),
                Some(RefusedAs::Egress(_)) => Some("egress"),
                Some(
                    RefusedAs::Other
                    | RefusedAs::Unpaid
                    | RefusedAs::Rejected(_)
                    | RefusedAs::Authn(_)
                    | RefusedAs::Binding(_)
                    | RefusedAs::RateLimit(..)
                    | RefusedAs::Denied(_),
                )
                | None => None,
            },
        ],
    }
}

/// What became of its payment. Nothing is said of one that nobody could judge.
fn payment(facts: &Facts) -> Option<Payment> {
    let Some((code, RefusedAs::Unpaid)) = facts.refusal else {
        return facts.paid.is_some().then_some(Payment::Success);
    };
    match facts.status {
        402 if code == PaymentNo::REQUIRED => Some(Payment::Missing),
        400 if PaymentNo::is_of_credit(code) => None,
        400 | 402 | 412 => Some(Payment::Rejected),
        _ => None,
    }
}

/// Why it failed.
fn fault(facts: &Facts) -> Option<&'static str> {
    if let Some((code, _)) = facts.refusal {
        return Some(code);
    }
    match facts.outcome {
        RequestOutcome::Served if facts.status < 400 => None,
        RequestOutcome::Served => Some(REJECTED),
        RequestOutcome::Refused
        | RequestOutcome::UpstreamError
        | RequestOutcome::Timeout
        | RequestOutcome::Cut
        | RequestOutcome::CallerGone
        | RequestOutcome::Error => Some(facts.outcome.as_str()),
    }
}

/// What it was told by its upstream is an error, or it was told nothing.
fn is_upstream_fault(facts: &Facts) -> bool {
    match facts.outcome {
        RequestOutcome::UpstreamError => true,
        // A deadline of the answer's head, not of the request's.
        RequestOutcome::Timeout => facts.status == 504,
        RequestOutcome::Served
        | RequestOutcome::Cut
        | RequestOutcome::CallerGone
        | RequestOutcome::Refused
        | RequestOutcome::Error => facts.refusal.is_none() && facts.status >= 400,
    }
}
