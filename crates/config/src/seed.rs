//! Names of the environment that other gateways use, accepted as written (OPS-6).

use crate::catalog::Target;
use crate::interpolate;
use crate::kind::Secrecy;
use crate::overlay::{Overlay, names};
use crate::tree::{KeyPath, Node, Source, Value};
use std::collections::BTreeMap;

/// One accepted name.
struct Seed {
    name: &'static str,
    /// The keys it sets.
    keys: &'static [&'static str],
    meaning: Meaning,
}

/// How the value becomes that of the key.
#[derive(Clone, Copy)]
enum Meaning {
    /// As it stands.
    Same,
    /// In lower case.
    LowerCase,
    /// `host:port`, `:port` being every address; sets host and port.
    HostAndPort,
    /// Addresses between commas or blanks: an allow list that is in force.
    AllowList,
    /// A number of mebibytes.
    Mebibytes,
    /// A whole number, brought into these bounds.
    Clamped(u64, u64),
    /// A whole number of seconds.
    Seconds,
    /// Origins, or `*` for all; sets the list and the switch.
    Origins,
    /// As it stands for the second key; the first one is switched on.
    SwitchingOn,
}

const fn seed(name: &'static str, keys: &'static [&'static str]) -> Seed {
    meant(name, keys, Meaning::Same)
}

const fn meant(name: &'static str, keys: &'static [&'static str], meaning: Meaning) -> Seed {
    Seed {
        name,
        keys,
        meaning,
    }
}

const BODY: &str = "server.limits.request_body_bytes_max";
const LLM_BODY: &str = "llm.max_request_body_bytes";
const FIRST_BYTE: &str = "llm.upstream_timeout_ms";
const MANAGEMENT_KEY: &str = "management.key";
const ORIGINS: &str = "server.cors.allowed_origins";
const ALLOW_ALL: &str = "server.cors.allow_all";
const ENCRYPTION_KEY: &str = "auth.encryption.key";

/// Not a seed's name, but one more source of a key for which sources have no order (ID-64).
pub(crate) const OWN_ENCRYPTION_KEY: &str = "TOLLKEEP_ENCRYPTION_KEY";

const ALLOW_LIST: &[&str] = &[
    "server.security.ip_allowlist.allowed_ips",
    "server.security.ip_allowlist.enabled",
    "server.security.ip_allowlist.deny_all",
];

const SEEDS: &[Seed] = &[
    seed("MANAGEMENT_TOKEN", &[MANAGEMENT_KEY]),
    seed("MANAGEMENT_PASSWORD", &[MANAGEMENT_KEY]),
    seed(OWN_ENCRYPTION_KEY, &[ENCRYPTION_KEY]),
    seed("ENCRYPTION_KEY", &[ENCRYPTION_KEY]),
    seed("CLIPROXY_ENCRYPTION_KEY", &[ENCRYPTION_KEY]),
    seed("CLIPRO_ENCRYPTION_KEY", &[ENCRYPTION_KEY]),
    meant(
        "LISTEN_ADDR",
        &["server.host", "server.port"],
        Meaning::HostAndPort,
    ),
    seed("PORT", &["server.port"]),
    seed("REQUEST_TIMEOUT", &[FIRST_BYTE]),
    meant(
        "LLM_ROUTER_UPSTREAM_TIMEOUT_MS",
        &[FIRST_BYTE],
        Meaning::Clamped(1_000, 300_000),
    ),
    seed("MAX_REQUEST_SIZE", &[BODY]),
    meant(
        "LLM_ROUTER_MAX_REQUEST_BODY_BYTES",
        &[BODY, LLM_BODY],
        Meaning::Clamped(4_096, 20_971_520),
    ),
    meant("LLM_ROUTER_ALLOWED_IPS", ALLOW_LIST, Meaning::AllowList),
    meant("LLM_ROUTER_IP_ALLOWLIST", ALLOW_LIST, Meaning::AllowList),
    seed(
        "MAX_CONCURRENT_REQUESTS",
        &["server.limits.concurrent_requests_max"],
    ),
    seed("DB_DRIVER", &["store.driver"]),
    seed("DATABASE_PATH", &["store.path"]),
    seed("DATABASE_URL", &["store.url"]),
    seed("DATABASE_POOL_SIZE", &["store.pool_size"]),
    seed("DATABASE_CONN_MAX_LIFETIME", &["store.conn_max_lifetime"]),
    meant("LOG_LEVEL", &["logging.level"], Meaning::LowerCase),
    meant("LOG_FORMAT", &["logging.format"], Meaning::LowerCase),
    seed("LOG_FILE", &["logging.output"]),
    meant(
        "LOG_MAX_SIZE_MB",
        &["logging.rotation.max_size"],
        Meaning::Mebibytes,
    ),
    seed("LOG_MAX_BACKUPS", &["logging.rotation.max_backups"]),
    seed("ENABLE_STREAMING", &["policy.allow_stream"]),
    seed("AUDIT_ENABLED", &["audit.enabled"]),
    seed("AUDIT_LOG_FILE", &["audit.file"]),
    seed("AUDIT_CREATE_DIR", &["audit.create_dir"]),
    seed("AUDIT_STORE_IN_DB", &["audit.store_in_db"]),
    seed("DEFAULT_TOKEN_LIFETIME", &["auth.token_default_ttl"]),
    seed(
        "DEFAULT_TOKEN_REQUEST_LIMIT",
        &["auth.token_default_max_requests"],
    ),
    seed("TOKEN_CLEANUP_INTERVAL", &["auth.token_cleanup_interval"]),
    seed("ENABLE_METRICS", &["metrics.enabled"]),
    seed("METRICS_PATH", &["metrics.path"]),
    seed("ENABLE_TLS", &["server.tls.enabled"]),
    seed("TLS_CERT_FILE", &["server.tls.cert_file"]),
    seed("TLS_KEY_FILE", &["server.tls.key_file"]),
    seed("TLS_MIN_VERSION", &["server.tls.min_version"]),
    meant(
        "CORS_ALLOWED_ORIGINS",
        &[ORIGINS, ALLOW_ALL],
        Meaning::Origins,
    ),
    meant("LLM_ROUTER_CORS_ALLOWED_ORIGINS", &[ORIGINS], Meaning::Same),
    seed("LLM_ROUTER_CORS_ALLOW_ALL", &[ALLOW_ALL]),
    seed("CORS_ALLOWED_METHODS", &["server.cors.allowed_methods"]),
    seed("CORS_ALLOWED_HEADERS", &["server.cors.allowed_headers"]),
    seed("CORS_MAX_AGE", &["server.cors.max_age_s"]),
    seed("HTTP_CACHE_ENABLED", &["cache.enabled"]),
    seed("HTTP_CACHE_BACKEND", &["cache.backend"]),
    seed("HTTP_CACHE_MAX_OBJECT_BYTES", &["cache.max_object_bytes"]),
    meant(
        "HTTP_CACHE_DEFAULT_TTL",
        &["cache.default_ttl"],
        Meaning::Seconds,
    ),
    seed("HTTP_CACHE_STREAM_RESPONSES", &["cache.streams"]),
    seed("REDIS_URL", &["redis.url"]),
    seed("UPSTASH_REDIS_URL", &["redis.url"]),
    meant(
        "GLOBAL_RATE_LIMIT",
        &[
            "server.rate_limit.enabled",
            "server.rate_limit.requests_per_minute",
        ],
        Meaning::SwitchingOn,
    ),
    meant(
        "IP_RATE_LIMIT",
        &[
            "server.security.rate_limiting.enabled",
            "server.security.rate_limiting.requests_per_minute",
        ],
        Meaning::SwitchingOn,
    ),
];

/// Names that would make the gateway stricter or put data elsewhere: ignoring them is no choice.
const REFUSED: &[&str] = &[
    "LLM_ROUTER_MASTER_KEY",
    "ROUTER_API_KEY",
    "DISTRIBUTED_RATE_LIMIT_ENABLED",
];

/// Names of the full product whose absence does no harm.
const IGNORED: &[&str] = &[
    "DATABASE_MAX_IDLE_CONNS",
    "REDIS_ADDR",
    "FILE_EVENT_LOG",
    "LLM_PROXY_EVENT_BUS",
    "ADMIN_UI_ENABLED",
    "ADMIN_UI_PATH",
    "API_CONFIG_PATH",
    "OPENAI_API_URL",
];

/// Every accepted name and the keys it sets, for the reference.
pub(crate) fn accepted() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let seeds = SEEDS.iter().filter(|seed| seed.name != OWN_ENCRYPTION_KEY);
    seeds.map(|seed| (seed.name, seed.keys))
}

/// Lays every accepted name over the tree. Two that disagree about a key are an error.
pub(crate) fn apply(overlay: &mut Overlay<'_>) {
    let mut first: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    if let Some(value) = in_file(overlay, ENCRYPTION_KEY) {
        first.insert(ENCRYPTION_KEY, ("the file", value));
    }
    for seed in SEEDS {
        let Some(value) = value_of(overlay, seed) else {
            continue;
        };
        let values = match seed.meaning.read(&value) {
            Ok(values) => values,
            Err(problem) => {
                overlay.error(seed.name, problem);
                continue;
            }
        };
        for (key, value) in seed.keys.iter().zip(values.into_iter().cycle()) {
            match first.get(key) {
                None => {
                    overlay.put(&names(key), seed.name, &value);
                    first.insert(key, (seed.name, value));
                }
                Some((_, other)) if *other == value => {}
                Some((name, _)) => {
                    let problem = format!("says something else about `{key}` than {name}");
                    overlay.error(seed.name, problem);
                }
            }
        }
        if seed.name != OWN_ENCRYPTION_KEY {
            let keys = seed.keys.join("`, `");
            overlay
                .report
                .warn(format!("{} is read as `{keys}`", seed.name));
        }
    }
    without_key(overlay);
}

/// Moves a `cors` section that stands by itself, as in some guides, to where it belongs. Where
/// one is there already, this one is reported like any unknown key.
pub(crate) fn lift_cors(tree: &mut Node) {
    let server = |name: &str| if name == "gateway" { "server" } else { name }.to_owned();
    let Value::Map(entries) = &mut tree.value else {
        return;
    };
    let Some(at) = entries.iter().position(|entry| entry.name == "cors") else {
        return;
    };
    let mut servers = entries
        .iter()
        .filter(|entry| server(&entry.name) == "server");
    if servers.any(|entry| entry.node.get("cors").is_some()) {
        return;
    }
    let cors = entries.remove(at);
    tree.put(&names("server.cors"), cors.node, &server);
}

/// The names that set no key.
fn without_key(overlay: &mut Overlay<'_>) {
    const PROJECTS: &str = "LLM_PROXY_ENFORCE_PROJECT_ACTIVE";
    if overlay
        .env
        .set(PROJECTS)
        .is_some_and(|value| value != "true")
    {
        overlay.error(
            PROJECTS,
            "can only be `true`: inactive projects are never served",
        );
    }
    const MASK: &str = "MASK_API_KEYS";
    if overlay.env.set(MASK).is_some_and(|value| value != "true") {
        let warning = format!("{MASK} has no effect: what is secret is always masked");
        overlay.report.warn(warning);
    }
    let on = |name: &&str| !matches!(overlay.env.set(name), None | Some("false" | "0"));
    let refused: Vec<_> = REFUSED.iter().copied().filter(on).collect();
    let ignored: Vec<_> = IGNORED.iter().copied().filter(on).collect();
    for name in refused {
        overlay.error(name, "is not supported yet");
    }
    for name in ignored {
        overlay
            .report
            .warn(format!("{name} is not supported yet and has no effect"));
    }
}

fn value_of(overlay: &mut Overlay<'_>, seed: &Seed) -> Option<String> {
    let first = names(seed.keys.first()?);
    let target = overlay.catalog.find(&first).map(|(target, _)| target);
    if target == Some(Target::Key(Secrecy::Secret)) {
        return overlay.secret(seed.name);
    }
    let value = match seed.name {
        // Empty, it says that no file is wanted.
        "AUDIT_LOG_FILE" => overlay.env.get(seed.name),
        name => overlay.env.set(name),
    };
    value.map(str::to_owned)
}

/// What the file says about a key, if it can be known by now.
fn in_file(overlay: &Overlay<'_>, key: &str) -> Option<String> {
    let Node { value, source, .. } = overlay.tree.find(&KeyPath::of(key))?;
    match (value, source) {
        (Value::Text(text), Source::File { .. }) => {
            let text = interpolate::filled(text, overlay.env, Secrecy::Secret)?;
            (!text.is_empty()).then_some(text)
        }
        _ => None,
    }
}

impl Meaning {
    /// One value for each key, or one for all.
    fn read(self, value: &str) -> Result<Vec<String>, String> {
        match self {
            Self::Same => Ok(vec![value.to_owned()]),
            Self::LowerCase => Ok(vec![value.to_ascii_lowercase()]),
            Self::HostAndPort => {
                let (host, port) = value
                    .rsplit_once(':')
                    .ok_or("want `host:port` or `:port`")?;
                let host = if host.is_empty() { "0.0.0.0" } else { host };
                Ok(vec![host.to_owned(), port.to_owned()])
            }
            Self::SwitchingOn => Ok(vec!["true".to_owned(), value.to_owned()]),
            Self::AllowList => {
                // In one order, so that two names that list the same agree.
                let parts = value.split([',', ' ', '\t', '\n']);
                let mut ips: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
                ips.sort_unstable();
                ips.dedup();
                Ok(vec![ips.join(","), "true".to_owned(), "true".to_owned()])
            }
            Self::Mebibytes => {
                let number: u64 = value.parse().map_err(|_| "want a whole number")?;
                Ok(vec![format!("{number}MiB")])
            }
            Self::Clamped(min, max) => {
                let number: u64 = value.parse().map_err(|_| "want a whole number")?;
                Ok(vec![number.clamp(min, max).to_string()])
            }
            Self::Seconds => {
                let number: u64 = value
                    .parse()
                    .map_err(|_| "want a whole number of seconds")?;
                Ok(vec![format!("{number}s")])
            }
            Self::Origins if value.trim() == "*" => Ok(vec!["[]".to_owned(), "true".to_owned()]),
            Self::Origins => Ok(vec![value.to_owned(), "false".to_owned()]),
        }
    }
}
