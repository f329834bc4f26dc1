//! What settings of several sections must be to each other.

use super::audit::AuditFile;
use super::{
    AcmeChallenge, Audit, FreeRoutes, Hooks, Limits, Logging, Management, OnDataPort, Provider,
    Route, Sandbox, Server, Tls, Webhook,
};
use crate::check::Checks;
use crate::tree::KeyPath;
use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use tollkeep_policy::ip_list::covers_loopback;
use tollkeep_types::tls::ClientCertNeed;

/// What is paid for is written down, in production.
pub(super) fn check_audit(audit: &AuditFile, routes: &[Route], checks: &mut Checks<'_>) {
    if !audit.enabled && checks.in_production() && routes.iter().any(Route::is_paid) {
        let problem = "is off, which production refuses where routes are paid for";
        checks.error("audit.enabled", problem);
    }
}

/// The log and the audit log can't be one file: each begins a new one by rules of its own.
pub(super) fn check_log(logging: &Logging, audit: &Audit, checks: &mut Checks<'_>) {
    if audit.enabled && logging.output.is_some() && logging.output == audit.file {
        checks.error("logging.output", "is the file of the audit log");
    }
}

/// What a receiver is still to be told is kept under its URL alone, so one URL has one secret.
pub(super) fn check_receivers(
    webhooks: &[Webhook],
    hooks: &Hooks,
    routes: &[Route],
    checks: &mut Checks<'_>,
) {
    let of_routes = routes.iter().map(|route| &route.hooks);
    let of_hooks = iter::once(hooks).chain(of_routes);
    let of_hooks = of_hooks.flat_map(|hooks| hooks.settled.iter().chain(hooks.error.iter()));
    let of_webhooks = webhooks.iter().map(|webhook| &webhook.receiver);
    let mut secrets = BTreeMap::new();
    let mut told = BTreeSet::new();
    for receiver in of_webhooks.chain(of_hooks) {
        let (url, secret) = (receiver.url.to_string(), receiver.secret.expose());
        let known = secrets.entry(url.clone()).or_insert(secret);
        if *known != secret && told.insert(url.clone()) {
            let problem = format!("name {url} with two secrets, here and in hooks: it has one");
            checks.error("webhooks", problem);
        }
    }
}

/// A free route whose limit nobody thought about.
pub(super) fn check_limits(free: &FreeRoutes, routes: &[Route], checks: &mut Checks<'_>) {
    if !free.require_explicit_limit {
        return;
    }
    let is_default = |route: &&Route| route.rate.as_ref().is_some_and(|rate| rate.is_default);
    for route in routes.iter().filter(is_default) {
        let problem = "is free and has no `rate_limit`, which `free_routes.require_explicit_limit` \
                       asks for";
        checks.error_at(&KeyPath::of("routes").name(&route.name()), problem);
    }
}

/// A challenge in clear text needs a listener in clear text. `all` is TLS of the data, the
/// management and the metrics listener.
pub(super) fn check_challenges(server: &Server, all: [&Option<Tls>; 3], checks: &mut Checks<'_>) {
    let in_clear = server.listen.iter().any(|listen| !listen.tls);
    for (section, tls) in ["server", "management", "metrics"].into_iter().zip(all) {
        let acme = tls.as_ref().and_then(|tls| tls.acme.as_ref());
        let by_http = acme.is_some_and(|acme| acme.challenge == AcmeChallenge::Http01);
        if by_http && !in_clear {
            let problem = "`http-01` is asked for in clear text, and every data listener speaks \
                           TLS: use `tls-alpn-01`, or add a listener with `redirect_http`";
            checks.error(&format!("{section}.tls.acme.challenge"), problem);
        }
    }
}

/// Behind a proxy of this machine every caller would be local (EDGE-4).
pub(super) fn check_local(management: &Management, server: &Server, checks: &mut Checks<'_>) {
    let mut trusted = server.trusted_proxies.iter();
    if management.on_data_port == OnDataPort::Loopback && trusted.any(|net| covers_loopback(*net)) {
        let problem = "is refused while a proxy on loopback is trusted: every caller behind it \
                       would be local";
        checks.error("management.on_data_port", problem);
    }
    let tls = management.tls.as_ref();
    let asked = tls.and_then(|tls| tls.client_auth.as_ref());
    let door = management.front_door.as_ref();
    if management.on_data_port == OnDataPort::Loopback
        && asked.is_some_and(|asked| asked.need == ClientCertNeed::Required)
        && door.is_none_or(|door| door.mtls.is_none())
    {
        let problem = "is a way around the certificate that `management.tls.client_auth` \
                       requires: set `management.front_door.mtls`, or this to `off`";
        checks.error("management.on_data_port", problem);
    }
}

/// The sandbox answers anybody with nothing true, so it never stands where callers may be real.
pub(super) fn check_sandbox(
    sandbox: &Sandbox,
    server: &Server,
    providers: &[Provider],
    checks: &mut Checks<'_>,
) {
    let path = match providers.iter().find(|provider| provider.is_sandbox()) {
        _ if sandbox.upstream => KeyPath::of("sandbox.upstream"),
        Some(provider) => KeyPath::of("providers").name(&provider.name),
        None => return,
    };
    if checks.in_production() {
        checks.error_at(
            &path,
            "switches the sandbox on, which is refused in production",
        );
    }
    if !server.is_local() {
        let problem = "switches the sandbox on, which is refused while `server.host` is not a \
                       loopback address";
        checks.error_at(&path, problem);
    }
}

/// A body that is allowed must fit into the memory of all bodies.
pub(super) fn check_memory(limits: &Limits, llm_body_bytes_max: u64, checks: &mut Checks<'_>) {
    let memory = limits.request_body_memory_bytes_max;
    if memory < limits.request_body_bytes_max.max(llm_body_bytes_max) {
        let problem = "is smaller than one body of the largest size allowed by \
                       `server.limits.request_body_bytes_max` and \
                       `llm.max_request_body_bytes`";
        checks.error("server.limits.request_body_memory_bytes_max", problem);
    }
    let room = limits.memory_bytes_max.map_or(0, Limits::room_for_bodies);
    if room != 0 && room < limits.request_body_bytes_max.max(llm_body_bytes_max) {
        let problem = "is less than three times the largest body allowed by \
                       `server.limits.request_body_bytes_max` and \
                       `llm.max_request_body_bytes`: a third of it is for bodies";
        checks.error("server.limits.memory_bytes_max", problem);
    }
}
