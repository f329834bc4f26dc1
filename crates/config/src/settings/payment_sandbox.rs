//! Payments that move no money, to try selling out: where they may be, and that it is told.

use super::payments::{Facilitator, FacilitatorAt, Payments, USUAL, X402};
use super::{Route, Server};
use crate::check::Checks;
use crate::tree::KeyPath;
use tollkeep_payments::x402::{PLAY_NETWORK, Transfer};

/// What the sandbox is called where payments and metrics name who settled.
const NAME: &str = "sandbox";

/// The key that switches it on.
const fn key(is_mock: bool) -> &'static str {
    if is_mock {
        "facilitator"
    } else {
        "payments.sandbox"
    }
}

/// The same with the sandbox in the place of those who settle.
pub(super) fn played(x402: X402, is_mock: bool, checks: &mut Checks<'_>) -> X402 {
    let is_beside = !x402.facilitators.is_empty()
        || checks.is_written("payments.x402.use")
        || !x402.rpc.is_empty();
    if is_beside {
        let problem = "switches the payment sandbox on, which is refused beside facilitators \
                       (`facilitator`, `payments.x402.facilitators`, `.use`) and `.rpc`: there is \
                       no chain";
        checks.error(key(is_mock), problem);
    }
    X402 {
        facilitators: vec![Facilitator {
            name: NAME.to_owned(),
            at: FacilitatorAt::Sandbox,
            headers: Vec::new(),
            timeouts: USUAL,
        }],
        uses: vec![(Some(PLAY_NETWORK), vec![0])],
        rpc: Vec::new(),
        ..x402
    }
}

/// No goods are to be had for play money but where nobody else can come, and everybody is told.
pub(super) fn check(
    payments: &Payments,
    server: &Server,
    routes: &[Route],
    checks: &mut Checks<'_>,
) {
    if !payments.sandbox {
        return;
    }
    let place = KeyPath::of(key(!checks.is_written("payments.sandbox")));
    if checks.in_production() {
        let problem = "switches the payment sandbox on, which is refused in production";
        checks.error_at(&place, problem);
    }
    if !server.is_local() {
        let problem = "switches the payment sandbox on, which is refused while `server.host` is \
                       not a loopback address";
        checks.error_at(&place, problem);
    }
    for route in routes {
        let accepts = route.sale.iter().flat_map(|sale| &sale.accepts);
        let mut assets = accepts.map(|accept| &accept.asset);
        if assets.any(|asset| asset.transfer == Transfer::Permit2) {
            let problem = "takes a token by Permit2, which is not supported in the payment \
                           sandbox: it judges EIP-3009 alone";
            checks.error_at(&KeyPath::of("routes").name(&route.name()), problem);
        }
        if route
            .sale
            .as_ref()
            .is_some_and(|sale| sale.tokens.is_some_and(|tokens| !tokens.keeps_rest))
        {
            let problem = "costs what it uses (`pricing.model: tokens`), and nothing is left to pay \
                           it with: scheme `upto` is not supported in the payment sandbox (write \
                           `overpay: credit`)";
            checks.error_at(&KeyPath::of("routes").name(&route.name()), problem);
        }
    }
    let problem = "takes payments that move no money, on base-sepolia (eip155:84532) only; every \
                   answer says `X-Tollkeep-Sandbox: 1`";
    checks.warn_at(&place, problem);
}
