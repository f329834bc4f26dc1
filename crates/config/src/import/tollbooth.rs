//! The sections of a tollbooth's file but its routes, which stand in `routes`.

use super::Import;
use super::ImportFate::{Changed, Dropped, NeedsYou};
use super::keys::{Keys, items, json, members, text, whole};
use super::routes;
use super::write::Lines;
use crate::field::plain_name;
use crate::lift::{NO_CODE, NO_STRATEGY};
use crate::tree::{KeyPath, Node, Value};
use serde_json::{Value as Json, json};
use std::net::{IpAddr, Ipv4Addr};
use tollkeep_policy::egress::{Giver, Host, Purpose, parse_url};

/// What its file may say.
const SECTIONS: [&str; 10] = [
    "gateway",
    "wallets",
    "accepts",
    "defaults",
    "stores",
    "upstreams",
    "routes",
    "hooks",
    "facilitator",
    "settlement",
];

/// What holds there where nothing is written.
const PORT: u64 = 3000;
const PRICE: &str = "$0.001";
const FACILITATOR: &str = "https://x402.org/facilitator";

/// Why its hooks are not taken.
pub(super) const HOOKS: &str = "is code, which is not run here: take it out, and write what it decides as \
     `hooks: {onRequest: [{cel: \"…\"}]}` or `hooks: {onRequest: [{http: {url: …}}]}`, or as `rate_limit`, \
     `min_price`, `max_price` and `policy` of the route";

/// Rewrites the whole.
pub(super) fn import(tree: &Node, import: &mut Import) -> String {
    let all = Keys::of(&KeyPath::default(), Some(tree), &SECTIONS, import);
    let mut lines = Lines::default();
    lines.remark(
        0,
        "Imported from a tollbooth's file. What stands beside `#` is not as it was there.",
    );
    lines.key(0, "version", &json!(1));
    lines.blank();
    gateway(&all, &mut lines, import);
    wallets(&all, &mut lines, import);
    let accepts = accepts(all.get("accepts"), import);
    if let Some(listed) = &accepts {
        lines.key(0, "accepts", listed);
    }
    facilitator(&all, &mut lines, import);
    stores(&all, &mut lines, import);
    let usual = defaults(&all, &mut lines, import);
    let symbol = accepts
        .as_ref()
        .and_then(|listed| listed.pointer("/0/asset"));
    let symbol = symbol.and_then(Json::as_str).unwrap_or("USDC").to_owned();
    upstreams(&all, &symbol, &mut lines, import);
    hooks(&all, import);
    let usual = routes::Usual {
        symbol,
        rate_limit: usual,
    };
    routes::routes(all.get("routes"), &usual, &mut lines, import);
    lines.into_text()
}

fn gateway(all: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    const KEYS: [&str; 6] = [
        "port",
        "hostname",
        "discovery",
        "cors",
        "trust_proxy",
        "metrics",
    ];
    let (path, node) = all
        .get("gateway")
        .map_or((KeyPath::of("gateway"), None), |(path, node)| {
            (path, Some(node))
        });
    let keys = Keys::of(&path, node, &KEYS, import);
    lines.section(0, "server");
    match keys.get("port") {
        Some((at, node)) => {
            if let Some(port) = whole(&at, node, import) {
                lines.key(1, "port", &json!(port));
            }
        }
        None => lines.told(1, "port", &json!(PORT), "tollbooth's own default"),
    }
    host(&keys, lines, import);
    if let Some((_, node)) = keys.get("discovery") {
        lines.key(1, "discovery", &json(node));
    }
    if let Some((_, node)) = keys.get("trust_proxy") {
        let is_vague = matches!(node.value, Value::Bool(true) | Value::Number(_));
        let remark = if is_vague {
            import.note(
                NeedsYou,
                &keys.path.name("trustProxy"),
                "trusts a proxy on this machine only; name others: `{hops: 1, cidrs: [10.0.0.0/8]}`",
            );
            "a proxy on this machine; others: {hops: 1, cidrs: [10.0.0.0/8]}"
        } else {
            ""
        };
        lines.told(1, "trust_proxy", &json(node), remark);
    }
    cors(&keys, lines, import);
    if let Some((at, node)) = keys.get("metrics") {
        metrics(&at, node, lines, import);
    }
    lines.blank();
}

/// Counters: on or off, or that and where.
fn metrics(at: &KeyPath, node: &Node, lines: &mut Lines, import: &mut Import) {
    const REMARK: &str = "on a listener of its own, not on the port of callers";
    let why = "metrics have a listener of their own: see `metrics` in the reference";
    import.note(Changed, at, why);
    lines.section(0, "metrics");
    if !matches!(node.value, Value::Map(_)) {
        lines.told(1, "enabled", &json(node), REMARK);
        return;
    }
    let keys = Keys::of(at, Some(node), &["enabled", "path"], import);
    if let Some((_, node)) = keys.get("enabled") {
        lines.told(1, "enabled", &json(node), REMARK);
    }
    if let Some((_, node)) = keys.get("path") {
        lines.key(1, "path", &json(node));
    }
}

/// The address of the listener: here it is this machine's own unless somebody makes it safe.
fn host(keys: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    let written = keys.get("hostname");
    let at = keys.path.name("hostname");
    let name = written.and_then(|(at, node)| text(&at, node, import));
    let address = match name {
        Some("localhost") => Some(IpAddr::from(Ipv4Addr::LOCALHOST)),
        Some(name) => name.parse::<IpAddr>().ok(),
        None => None,
    };
    let loopback = json!("127.0.0.1");
    match address {
        Some(address) if address.is_loopback() => lines.key(1, "host", &json!(address.to_string())),
        Some(_) | None => {
            let why = "callers reach it from this machine alone: for others set `server.host` with \
                       `tls` or `trusted_proxies`, and `allowed_hosts`";
            import.note(NeedsYou, &at, why);
            let remark =
                "for others than this machine: with tls or trusted_proxies, and allowed_hosts";
            lines.told(1, "host", &loopback, remark);
        }
    }
}

fn cors(keys: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    const KEYS: [&str; 5] = ["origin", "origins", "methods", "headers", "enabled"];
    let Some((at, node)) = keys.get("cors") else {
        return;
    };
    let all = "every page may call: name the origins that may, `allowed_origins: [https://…]`; \
               production refuses this";
    let allow_all = |lines: &mut Lines, import: &mut Import| {
        import.note(NeedsYou, &at, all);
        lines.told(
            2,
            "allow_all",
            &json!(true),
            "name the origins instead; production refuses this",
        );
    };
    if let Value::Bool(on) = node.value {
        if on {
            lines.section(1, "cors");
            allow_all(lines, import);
        }
        return;
    }
    let keys = Keys::of(&at, Some(node), &KEYS, import);
    let listed = |node: &Node| match &node.value {
        Value::List(_) => json(node),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Text(_)
        | Value::Loose(_)
        | Value::Map(_) => json!([json(node)]),
    };
    lines.section(1, "cors");
    let origins = keys.get("origin").or_else(|| keys.get("origins"));
    match origins.map(|(_, node)| listed(node)) {
        Some(origins) if origins != json!(["*"]) => lines.key(2, "allowed_origins", &origins),
        Some(_) | None => allow_all(lines, import),
    }
    for (theirs, ours) in [
        ("methods", "allowed_methods"),
        ("headers", "allowed_headers"),
    ] {
        if let Some((_, node)) = keys.get(theirs) {
            lines.key(2, ours, &listed(node));
        }
    }
}

/// Whether a network is one of Solana.
fn is_solana(network: &str) -> bool {
    network.starts_with("solana")
}

const NO_SOLANA: &str = "payments on Solana are not supported yet";

fn wallets(all: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    let Some((path, node)) = all.get("wallets") else {
        return;
    };
    let mut kept = serde_json::Map::new();
    for wallet in members(&path, Some(node), import) {
        let at = path.name(&wallet.name);
        if is_solana(&wallet.name) {
            import.note(Dropped, &at, NO_SOLANA);
        } else if let Some(address) = text(&at, &wallet.node, import) {
            kept.insert(wallet.name.clone(), address.into());
        }
    }
    lines.key(0, "wallets", &Json::Object(kept));
}

/// A list of what is taken.
pub(super) fn accepts(written: Option<(KeyPath, &Node)>, import: &mut Import) -> Option<Json> {
    let (path, node) = written?;
    let mut kept = Vec::new();
    for (index, item) in items(&path, node, import).iter().enumerate() {
        let at = path.index(index);
        let keys = Keys::of(&at, Some(item), &["asset", "network", "scheme"], import);
        let network = keys.get("network").and_then(|(_, node)| node.as_text());
        if network.is_some_and(is_solana) {
            import.note(Dropped, &at, NO_SOLANA);
        } else {
            kept.push(json(item));
        }
    }
    Some(Json::Array(kept))
}

fn facilitator(all: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    const KEYS: [&str; 5] = ["strategy", "url", "module", "network", "methods"];
    let mut url = None;
    if let Some((at, node)) = all.get("settlement") {
        let keys = Keys::of(&at, Some(node), &KEYS, import);
        let strategy = keys.get("strategy").and_then(|(_, node)| node.as_text());
        let problem = match strategy {
            Some("facilitator") => "",
            Some("custom") => NO_CODE,
            Some("nanopayments" | "mpp" | "tempo") => NO_STRATEGY,
            Some(_) | None => "want `strategy: facilitator`",
        };
        if !problem.is_empty() {
            import
                .report
                .error(&at.name("strategy"), &node.source, problem);
        }
        url = keys.get("url").map(|(_, node)| json(node));
    }
    let written = all.get("facilitator").map(|(_, node)| json(node));
    match url.or(written) {
        Some(said) if said == "mock" => {
            lines.section(0, "payments");
            lines.told(
                1,
                "sandbox",
                &json!(true),
                "no money moves; as `facilitator: mock`",
            );
        }
        Some(said) => lines.key(0, "facilitator", &said),
        None => {
            let why = "tollbooth settles there where nothing is written; here money goes to nobody who \
                       is not named: is it the one you want?";
            import.note(NeedsYou, &KeyPath::of("facilitator"), why);
            lines.told(
                0,
                "facilitator",
                &json!(FACILITATOR),
                "tollbooth's own default: is it the one you want?",
            );
        }
    }
}

fn stores(all: &Keys<'_>, lines: &mut Lines, import: &mut Import) {
    const KEYS: [&str; 4] = ["redis", "rate_limit", "verification_cache", "time_session"];
    let Some((path, node)) = all.get("stores") else {
        return;
    };
    let keys = Keys::of(&path, Some(node), &KEYS, import);
    for name in ["rate_limit", "verification_cache", "time_session"] {
        if let Some((at, _)) = keys.get(name) {
            import.note(
                Dropped,
                &at,
                "limits are shared where `redis.url` is set; payments stand in the store",
            );
        }
    }
    let Some((at, node)) = keys.get("redis") else {
        return;
    };
    let url = if node.as_text().is_some() {
        Some(node)
    } else {
        let keys = Keys::of(&at, Some(node), &["url", "prefix", "options"], import);
        for name in ["prefix", "options"] {
            if let Some((at, _)) = keys.get(name) {
                import.note(Dropped, &at, "see `redis` in the reference");
            }
        }
        keys.get("url").map(|(_, node)| node)
    };
    if let Some(url) = url {
        lines.section(0, "redis");
        lines.told(
            1,
            "url",
            &json(url),
            "shares rate limits; payments stand in the store",
        );
    }
}

/// Writes what holds for all routes; gives the rate limit, which each route has for itself here.
fn defaults(all: &Keys<'_>, lines: &mut Lines, import: &mut Import) -> Option<Json> {
    const KEYS: [&str; 4] = ["price", "timeout", "rate_limit", "verification_cache"];
    let (path, node) = all
        .get("defaults")
        .map_or((KeyPath::of("defaults"), None), |(path, node)| {
            (path, Some(node))
        });
    let keys = Keys::of(&path, node, &KEYS, import);
    lines.section(0, "defaults");
    match keys.get("price") {
        Some((at, node)) => {
            if let Some((price, remark)) = routes::price(&at, node, "USDC", import) {
                lines.told(1, "price", &price, &remark);
            }
        }
        None => lines.told(1, "price", &json!(PRICE), "tollbooth's own default"),
    }
    if let Some((at, node)) = keys.get("timeout")
        && let Some(seconds) = whole(&at, node, import)
    {
        lines.key(1, "timeout", &json!(format!("{seconds}s")));
    }
    if let Some((at, _)) = keys.get("verification_cache") {
        let why = "stands on routes here: write it on those that want it";
        import.note(Dropped, &at, why);
    }
    lines.blank();
    let (at, node) = keys.get("rate_limit")?;
    import.note(
        Changed,
        &at,
        "stands on each route that has none of its own",
    );
    routes::rate_limit(&at, node, import)
}

fn upstreams(all: &Keys<'_>, symbol: &str, lines: &mut Lines, import: &mut Import) {
    lines.section(0, "upstreams");
    let Some((path, node)) = all.get("upstreams") else {
        return;
    };
    for upstream in members(&path, Some(node), import) {
        let at = path.name(&upstream.name);
        if let Err(problem) = plain_name(&upstream.name) {
            import.report.error(&at, &upstream.source, problem);
        }
        lines.section(1, &upstream.name);
        one_upstream(&at, &upstream.node, symbol, lines, import);
    }
    lines.blank();
}

fn one_upstream(at: &KeyPath, node: &Node, symbol: &str, lines: &mut Lines, import: &mut Import) {
    const KEYS: [&str; 5] = ["url", "headers", "timeout", "openapi", "default_price"];
    let keys = Keys::of(at, Some(node), &KEYS, import);
    match keys.get("url") {
        None => import
            .report
            .error(&at.name("url"), &node.source, "is missing"),
        Some((at, node)) => {
            if let Some(url) = text(&at, node, import) {
                lines.key(2, "url", &json!(url));
                if let Some(networks) = own_networks(url) {
                    import.note(
                        Changed,
                        &at,
                        "private addresses are called where they are allowed only",
                    );
                    lines.told(
                        2,
                        "allow_private",
                        &networks,
                        "private addresses are refused elsewhere",
                    );
                }
            }
        }
    }
    if let Some((at, node)) = keys.get("headers") {
        for field in members(&at, Some(node), import) {
            text(&at.name(&field.name), &field.node, import);
        }
        lines.section(2, "headers");
        lines.key(3, "set", &json(node));
    }
    if let Some((at, node)) = keys.get("timeout") {
        match whole(&at, node, import) {
            Some(ms) if ms >= 1_000 => lines.told(
                2,
                "timeout",
                &json!(format!("{ms}ms")),
                "milliseconds there",
            ),
            Some(ms) => {
                let problem = format!(
                    "is {ms} milliseconds to tollbooth: write {}, if seconds are meant",
                    ms.saturating_mul(1_000)
                );
                import.report.error(&at, &node.source, problem);
            }
            None => {}
        }
    }
    document(&keys, symbol, lines, import);
}

/// Its routes from a document, which tollbooth fetched at each start.
fn document(keys: &Keys<'_>, symbol: &str, lines: &mut Lines, import: &mut Import) {
    let written = keys.get("openapi");
    if let Some((at, node)) = &written
        && let Some(place) = text(at, node, import)
    {
        lines.key(2, "openapi", &json!(place));
        if place.contains("://") {
            let remark = "as there; without it only `tollkeep import --from openapi` fetches it";
            lines.told(2, "openapi_refresh", &json!("start"), remark);
        }
    }
    if let Some((at, node)) = keys.get("default_price") {
        if written.is_none() {
            import.note(
                Dropped,
                &at,
                "there is no `openapi` whose routes it could be for",
            );
        } else if let Some((price, remark)) = routes::price(&at, node, symbol, import) {
            lines.told(2, "default_price", &price, &remark);
        }
    }
}

/// The private networks that an address is in; names are looked up when they are called.
fn own_networks(url: &str) -> Option<Json> {
    let url = parse_url(url, Purpose::Upstream, Giver::Operator).ok()?;
    let ip = match url.host() {
        Host::V4(ip) => IpAddr::from(*ip),
        Host::V6(ip) => IpAddr::from(*ip),
        Host::Name(name) if name.to_string() == "localhost" => {
            return Some(json!(["127.0.0.0/8", "::1/128"]));
        }
        Host::Name(_) => return None,
    };
    let is_private = match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    is_private.then(|| json!([format!("{ip}/{bits}")]))
}

fn hooks(all: &Keys<'_>, import: &mut Import) {
    let Some((path, node)) = all.get("hooks") else {
        return;
    };
    for hook in members(&path, Some(node), import) {
        let at = path.name(&hook.name);
        import.report.error(&at, &hook.source, HOOKS);
    }
}
