//! Whether payments can be judged and found again.

use super::{Found, Severity, Status};
use crate::assemble::{differing_tokens, sold_for};
use tollkeep_config::settings::Settings;

/// Looks where something is sold for money.
pub(super) fn payments(settings: &Settings, is_online: bool) -> Vec<Found> {
    if sold_for(settings).is_empty() || settings.payments.sandbox {
        return Vec::new();
    }
    let reading = Found {
        number: 101,
        severity: Severity::Warn,
        title: "what became of a payment can be found out",
        why: "without a node of its chain nothing proves that a signature was never used: such a payment stays unknown until its facilitator says yes",
        status: unread(settings),
    };
    let tokens = Found {
        number: 102,
        severity: Severity::Error,
        title: "tokens are what the settings say",
        why: "by a wrong name or version every signature is refused, by wrong decimals amounts are wrong",
        status: tokens(settings, is_online),
    };
    vec![reading, tokens]
}

fn unread(settings: &Settings) -> Status {
    let nodes = &settings.payments.x402.rpc;
    let mut unread: Vec<String> = sold_for(settings)
        .iter()
        .filter(|asset| !nodes.iter().any(|(network, _)| *network == asset.network))
        .map(|asset| asset.network.to_string())
        .collect();
    unread.sort();
    unread.dedup();
    let Some(first) = unread.first() else {
        return Status::Pass;
    };
    let fix = format!("payments: {{ x402: {{ rpc: {{ \"{first}\": \"https://…\" }} }} }}");
    Status::Fail(format!("no node reads {}", unread.join(", ")), fix)
}

fn tokens(settings: &Settings, is_online: bool) -> Status {
    if !is_online {
        return Status::Skipped("`--online` asks the nodes".to_owned());
    }
    if settings.payments.x402.rpc.is_empty() {
        return Status::Skipped("there is no node in `payments.x402.rpc` to ask".to_owned());
    }
    match differing_tokens(settings) {
        Ok(differing) if differing.is_empty() => Status::Pass,
        Ok(differing) => {
            let fix = "mend `payments.x402.assets` or `.rpc`";
            Status::Fail(differing.join("; "), fix.to_owned())
        }
        Err(error) => Status::Skipped(error.to_string()),
    }
}
