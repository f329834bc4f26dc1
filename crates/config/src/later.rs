//! Keys of the full product that this version does not have.
//!
//! They are refused like every unknown key, but by name: a setting that has no effect must not
//! look as if it had one. When a key gets its effect it is declared in `settings` and leaves
//! this list; a test keeps the two apart.

use crate::reader::ANY_NAME;
use crate::tree::{KeyPath, Step};

/// Whether a path is one of them, or below one.
pub(crate) fn is_later(path: &KeyPath) -> bool {
    let names: Vec<&str> = path
        .0
        .iter()
        .filter_map(|step| match step {
            Step::Name(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    LATER.iter().any(|later| {
        let later: Vec<&str> = later.split('.').collect();
        let same = |(later, name): (&&str, &&str)| later == name || *later == ANY_NAME;
        later.len() <= names.len() && later.iter().zip(&names).all(same)
    })
}

/// Paths, each with everything below it.
pub(crate) const LATER: &[&str] = &[
    "config.source",
    "server.listen.proxy_protocol",
    "server.shared_runtime",
    "server.banner",
    "management.console",
    "management.console_path",
    "management.session.remember",
    "metrics.token",
    "metrics.max_series",
    "auth.credential_cache_ttl",
    "auth.credential_cache_max",
    "auth.selection_strategy",
    "store.max_idle",
    "defaults.access",
    "defaults.rate_limit",
    "upstreams.<name>.http2",
    "upstreams.<name>.h2c",
    "upstreams.<name>.websocket",
    "routes.<name>.pay_to_mode",
    "routes.<name>.provider",
    "routes.<name>.websocket",
    "providers.<name>.dialects",
    "providers.<name>.headers.request",
    "providers.<name>.health",
    "providers.<name>.max_concurrency",
    "providers.<name>.path_prefix",
    "providers.<name>.prefix",
    "providers.<name>.proxy",
    "providers.<name>.quirks",
    "providers.<name>.quota_probe",
    "providers.<name>.request_retry",
    "providers.<name>.tags",
    "providers.<name>.weight",
    "providers.<name>.credentials.expires_at",
    "providers.<name>.credentials.prefix",
    "providers.<name>.credentials.quota",
    "providers.<name>.credentials.rate_limit",
    "models.aliases",
    "models.force_prefix",
    "models.alias_grants",
    "routing",
    "llm.auto_default",
    "llm.default_max_output_tokens",
    "llm.translation",
    "llm.forward_end_user",
    "llm.chat_reasoning",
    "llm.expose_upstream_ids",
    "llm.list_prices",
    "llm.debug_headers",
    "llm.nonstream_keepalive_s",
    "llm.stream.max_event_bytes",
    "llm.media_fetch",
    "llm.catalog_file",
    "llm.catalog_refresh",
    "payload",
    "budgets.list.carry_over",
    "budgets.list.selector",
    "payments.l402",
    "payments.lightning",
    "payments.mpp",
    "payments.stripe",
    "rates",
    "discovery",
    "tracing",
    "events",
    "dispatch",
    "compat.llm_router_headers",
    "public_pages",
    "alerts",
    "process",
    "backup",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn no_key_is_here_and_declared_too() {
        for line in &Catalog::new().lines {
            assert!(!is_later(line.path()), "{}", line.path());
        }
    }
}
