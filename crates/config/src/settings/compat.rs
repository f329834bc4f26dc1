//! What callers of other gateways expect to find.

use super::Llm;
use crate::check::Checks;
use crate::field::KindExt;
use crate::kind::switch;
use crate::reader::keys;

keys! {
    /// What callers of other gateways expect.
    #[derive(Copy, Eq, PartialEq)]
    pub struct Compat {
        /// Whether answers tell what is left of the caller's own limit in `X-RateLimit-Limit`,
        /// `X-RateLimit-Remaining` and `X-RateLimit-Reset` (Unix seconds) too.
        x_ratelimit: bool = switch().or(false),
        /// Whether answers say `X-PROXY-CACHE: hit` or `miss`, as llm-proxy does, where the cache was
        /// asked.
        llm_proxy_headers: bool = switch().or(false),
        /// Whether a payment of x402 version 1 may come in `PAYMENT-SIGNATURE`, as clients of
        /// tollbooth send it.
        tollbooth_headers: bool = switch().or(true),
    }
}

impl Compat {
    pub(super) fn check(self, llm: &Llm, checks: &mut Checks<'_>) {
        if self.x_ratelimit && llm.expose_upstream_limits {
            let problem = "would tell the provider's limits where `compat.x_ratelimit` tells the gateway's own";
            checks.error("llm.expose_upstream_limits", problem);
        }
    }
}
