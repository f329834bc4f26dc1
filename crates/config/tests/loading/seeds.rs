//! Names of the environment, and blocks of files, that other gateways' guides print.

use crate::support::Case;
use std::time::Duration;
use tollkeep_config::settings::{Rate, RateScope, Settings};
use tollkeep_policy::cors::AllowedOrigins;

type Read = fn(&Settings) -> String;

/// Name, value, what it sets, to what.
const SEEDS: &[(&str, &str, Read, &str)] = &[
    (
        "MANAGEMENT_TOKEN",
        "t1",
        |s| s.management.key.as_ref().unwrap().expose().into(),
        "t1",
    ),
    (
        "MANAGEMENT_PASSWORD",
        "t2",
        |s| s.management.key.as_ref().unwrap().expose().into(),
        "t2",
    ),
    (
        "LISTEN_ADDR",
        "127.0.0.1:81",
        |s| s.server.listen[0].addr.to_string(),
        "127.0.0.1:81",
    ),
    (
        "PORT",
        "81",
        |s| s.server.listen[0].addr.port().to_string(),
        "81",
    ),
    ("ENABLE_STREAMING", "false", streaming, "Some(false)"),
    ("ENABLE_STREAMING", "true", streaming, "None"),
    ("REQUEST_TIMEOUT", "45s", first_byte, "45000"),
    ("LLM_ROUTER_UPSTREAM_TIMEOUT_MS", "500", first_byte, "1000"),
    (
        "MAX_REQUEST_SIZE",
        "10MB",
        |s| s.server.limits.request_body_bytes_max.to_string(),
        "10000000",
    ),
    (
        "LLM_ROUTER_MAX_REQUEST_BODY_BYTES",
        "99999999",
        |s| s.llm.max_request_body_bytes.to_string(),
        "20971520",
    ),
    (
        "LLM_ROUTER_MAX_REQUEST_BODY_BYTES",
        "5000",
        |s| s.server.limits.request_body_bytes_max.to_string(),
        "5000",
    ),
    (
        "MAX_CONCURRENT_REQUESTS",
        "7",
        |s| s.server.limits.concurrent_requests_max.to_string(),
        "7",
    ),
    (
        "DB_DRIVER",
        "sqlite",
        |s| s.store.path.display().to_string(),
        "./data/tollkeep.db",
    ),
    (
        "DATABASE_PATH",
        "/x/y.db",
        |s| s.store.path.display().to_string(),
        "/x/y.db",
    ),
    (
        "ENCRYPTION_KEY",
        "k3",
        |s| s.auth.encryption_key.as_ref().unwrap().expose().into(),
        "k3",
    ),
    (
        "LOG_LEVEL",
        "DEBUG",
        |s| format!("{:?}", s.logging.level),
        "Debug",
    ),
    (
        "LOG_FORMAT",
        "console",
        |s| format!("{:?}", s.logging.format),
        "Text",
    ),
    (
        "LOG_FILE",
        "/x.log",
        |s| format!("{:?}", s.logging.output),
        "Some(\"/x.log\")",
    ),
    (
        "LOG_MAX_SIZE_MB",
        "12",
        |s| s.logging.rotation.max_size.to_string(),
        "12582912",
    ),
    (
        "LOG_MAX_BACKUPS",
        "7",
        |s| s.logging.rotation.max_backups.to_string(),
        "7",
    ),
    (
        "AUDIT_ENABLED",
        "false",
        |s| s.audit.enabled.to_string(),
        "false",
    ),
    (
        "AUDIT_LOG_FILE",
        "/a.log",
        |s| format!("{:?}", s.audit.file),
        "Some(\"/a.log\")",
    ),
    (
        "AUDIT_STORE_IN_DB",
        "No",
        |s| s.audit.store_in_db.to_string(),
        "false",
    ),
    (
        "AUDIT_CREATE_DIR",
        "false",
        |s| s.audit.create_dir.to_string(),
        "false",
    ),
    (
        "DEFAULT_TOKEN_LIFETIME",
        "720h",
        |s| s.auth.token_default_ttl.as_secs().to_string(),
        "2592000",
    ),
    (
        "DEFAULT_TOKEN_REQUEST_LIMIT",
        "5",
        |s| s.auth.token_default_max_requests.to_string(),
        "5",
    ),
    (
        "TOKEN_CLEANUP_INTERVAL",
        "2h",
        |s| s.auth.token_cleanup_interval.as_secs().to_string(),
        "7200",
    ),
    (
        "ENABLE_METRICS",
        "false",
        |s| s.metrics.enabled.to_string(),
        "false",
    ),
    ("METRICS_PATH", "/m", |s| s.metrics.path.clone(), "/m"),
    (
        "CORS_ALLOWED_ORIGINS",
        "https://a.example, http://localhost:3000",
        origins,
        "https://a.example http://localhost:3000",
    ),
    ("CORS_ALLOWED_ORIGINS", "*", origins, "all"),
    (
        "LLM_ROUTER_CORS_ALLOWED_ORIGINS",
        "https://A.example:443",
        origins,
        "https://a.example",
    ),
    ("LLM_ROUTER_CORS_ALLOW_ALL", "true", origins, "all"),
    ("LLM_ROUTER_CORS_ALLOW_ALL", "false", origins, "none"),
];

// EDGE-80
#[test]
fn names_of_other_gateways_set_our_keys() {
    for (name, value, read, want) in SEEDS {
        let case = Case::bare()
            .env(&[(name, value)])
            .set("sandbox.upstream=true");
        assert_eq!(read(&case.settings()), *want, "{name}");
        let told = format!("{name} is read as `");
        assert!(
            case.warnings().contains(&told),
            "{name}: {}",
            case.warnings()
        );
    }
}

// EDGE-11
#[test]
fn the_names_of_llm_proxy_switch_tls_on() {
    let env = [
        ("ENABLE_TLS", "true"),
        ("TLS_CERT_FILE", "a.pem"),
        ("TLS_KEY_FILE", "a.key"),
        ("TLS_MIN_VERSION", "1.3"),
    ];
    let case = Case::bare().env(&env);
    let tls = case.settings().server.tls.unwrap();
    let files = &tls.certificates[0];
    assert_eq!(
        (files.cert_file.to_str(), files.key_file.to_str()),
        (Some("a.pem"), Some("a.key"))
    );
    assert_eq!(tls.min_version.to_string(), "1.3");
    assert!(
        case.warnings()
            .contains("ENABLE_TLS is read as `server.tls.enabled`")
    );
    let off = Case::bare().env(&[("ENABLE_TLS", "false"), env[1], env[2]]);
    assert!(off.settings().server.tls.is_none());
    let alone = Case::bare().env(&[("ENABLE_TLS", "true")]).errors();
    assert!(alone.contains("no certificate is named"), "{alone}");
}

/// Whose pages may call.
fn origins(settings: &Settings) -> String {
    match settings
        .server
        .cors
        .as_ref()
        .map(|cors| &cors.rules.origins)
    {
        None => "none".to_owned(),
        Some(AllowedOrigins::All) => "all".to_owned(),
        Some(AllowedOrigins::Listed(origins)) => {
            let texts: Vec<_> = origins.iter().map(|origin| origin.as_str()).collect();
            texts.join(" ")
        }
    }
}

/// A provider that says nothing itself has what `llm` says.
fn streaming(s: &Settings) -> String {
    let allowed = s.policy.as_ref();
    format!(
        "{:?}",
        allowed.and_then(|policy| policy.written().allow_stream)
    )
}

fn first_byte(settings: &Settings) -> String {
    let timeouts = &settings.providers[0].timeouts;
    timeouts.first_byte.as_millis().to_string()
}

// OPS-2
#[test]
fn names_that_disagree_are_both_told() {
    for (name, env, want) in [
        (
            "one key",
            [("MANAGEMENT_TOKEN", "a"), ("MANAGEMENT_PASSWORD", "b")],
            "MANAGEMENT_PASSWORD: says something else about `management.key` than MANAGEMENT_TOKEN",
        ),
        (
            "half of an address",
            [("LISTEN_ADDR", "127.0.0.1:1"), ("PORT", "2")],
            "PORT: says something else about `server.port` than LISTEN_ADDR",
        ),
        (
            "sources without an order",
            [("TOLLKEEP_ENCRYPTION_KEY", "a"), ("ENCRYPTION_KEY", "b")],
            "ENCRYPTION_KEY: says something else about `auth.encryption.key` than TOLLKEEP_ENCRYPTION_KEY",
        ),
    ] {
        assert_eq!(Case::bare().env(&env).errors(), want, "{name}");
    }
    let same = [("MANAGEMENT_TOKEN", "a"), ("MANAGEMENT_PASSWORD", "a")];
    assert!(Case::bare().env(&same).load().is_ok());
    let over = [
        ("TOLLKEEP_MANAGEMENT_KEY", "own"),
        ("MANAGEMENT_TOKEN", "other"),
    ];
    let settings = Case::bare().env(&over).settings();
    assert_eq!(settings.management.key.unwrap().expose(), "own");
}

// ID-64
#[test]
fn the_file_is_one_more_source_of_the_encryption_key() {
    let file = "auth: {encryption: {key: '${MINE}'}}\n";
    let env = [("MINE", "a"), ("ENCRYPTION_KEY", "b")];
    assert_eq!(
        Case::yaml(file).env(&env).errors(),
        "ENCRYPTION_KEY: says something else about `auth.encryption.key` than the file"
    );
    let env = [("MINE", "a"), ("ENCRYPTION_KEY", "a")];
    assert!(Case::yaml(file).env(&env).load().is_ok());
}

#[test]
fn names_we_can_not_obey_are_never_silent() {
    for name in ["LLM_ROUTER_MASTER_KEY", "ROUTER_API_KEY"] {
        let case = Case::bare().env(&[(name, "1")]);
        assert_eq!(case.errors(), format!("{name}: is not supported yet"));
        assert!(Case::bare().env(&[(name, "false")]).load().is_ok());
    }
    let case = Case::bare().env(&[("REDIS_ADDR", "x:1")]);
    assert_eq!(
        case.warnings(),
        "REDIS_ADDR is not supported yet and has no effect"
    );
    let case = Case::bare().env(&[("LLM_PROXY_ENFORCE_PROJECT_ACTIVE", "false")]);
    assert!(case.errors().contains("can only be `true`"));
}

#[test]
fn a_bare_port_is_every_address_and_refused_like_one() {
    let errors = Case::bare().env(&[("LISTEN_ADDR", ":8080")]).errors();
    assert!(
        errors.contains("LISTEN_ADDR: server.host: 0.0.0.0 is a public address"),
        "{errors}"
    );
}

// EDGE-93
#[test]
fn the_rate_block_of_the_guide_pastes_and_limits_everybody() {
    let page = "server:\n  security:\n    rate_limiting:\n      enabled: true\n      requests_per_second: 10\n      burst: 20\n      per_ip: true\n";
    let case = Case::yaml(page);
    let rate = case.settings().server.ip_rate.unwrap();
    assert_eq!(
        (rate.rate.requests, rate.rate.burst, rate.scope),
        (10, 20, RateScope::All)
    );
    assert_eq!(
        case.warnings(),
        "tollkeep.yaml:5:7: server.security.rate_limiting.scope: is `all`, since the block speaks of a rate; \
         write `scope: unproven` to spare callers with a token"
    );
    for (block, want) in [
        ("{burst: 5}", RateScope::Unproven),
        ("{per_ip: true}", RateScope::All),
        (
            "{requests_per_second: 5, scope: unproven}",
            RateScope::Unproven,
        ),
        ("{scope: all}", RateScope::All),
    ] {
        let file = format!("server: {{security: {{rate_limiting: {block}}}}}\n");
        let rate = Case::yaml(&file).settings().server.ip_rate.unwrap();
        assert_eq!(rate.scope, want, "{block}");
    }
    let off = Case::yaml("server: {security: {rate_limiting: {enabled: false}}}\n").settings();
    assert_eq!(off.server.ip_rate, None);
    let global = "server: {security: {rate_limiting: {per_ip: false}}}\n";
    let rate = Case::yaml(global).settings().server.ip_rate.unwrap();
    assert_eq!((rate.per_ip, rate.scope), (false, RateScope::All));
}

// EDGE-85
#[test]
fn the_limit_of_all_is_off_until_written_and_pastes_from_the_guide() {
    let rate = |yaml: &str| Case::yaml(yaml).settings().server.rate;
    assert_eq!(rate("server: {}\n"), None);
    assert_eq!(rate("server: {rate_limit: {burst: 5}}\n"), None);
    let second = Duration::from_secs(1);
    let of = |requests, burst| Rate {
        requests,
        window: second,
        burst,
    };
    let page =
        "server:\n  rate_limit:\n    enabled: true\n    requests_per_second: 100\n    burst: 200\n";
    assert_eq!(rate(page), Some(of(100, 200)));
    let on = "server: {rate_limit: {enabled: true}}\n";
    assert_eq!(rate(on), Some(of(1_000, 2_000)));
    let both = "server: {rate_limit: {requests_per_second: 1, requests_per_minute: 9}}\n";
    let errors = Case::yaml(both).errors();
    assert!(errors.ends_with("write one of them"), "{errors}");
}

// EDGE-85
#[test]
fn limits_of_llm_proxy_are_by_the_minute_and_count_everybody() {
    let env = [("GLOBAL_RATE_LIMIT", "100"), ("IP_RATE_LIMIT", "30")];
    let server = Case::bare().env(&env).settings().server;
    let of = |requests| Rate {
        requests,
        window: Duration::from_secs(60),
        burst: requests,
    };
    assert_eq!(server.rate, Some(of(100)));
    let by_address = server.ip_rate.unwrap();
    assert_eq!((by_address.rate, by_address.per_ip), (of(30), true));
    assert_eq!(by_address.scope, RateScope::All);
    let none = Case::bare().env(&[("GLOBAL_RATE_LIMIT", "0")]).errors();
    assert!(none.contains("requests_per_minute"), "{none}");
}

#[test]
fn the_headers_of_the_guide_paste_and_are_sent_as_given() {
    let page = "server:\n  security:\n    headers:\n      enabled: true\n      strict_transport_security: \"max-age=31536000; includeSubDomains\"\n      content_type_options: \"nosniff\"\n      frame_options: \"DENY\"\n      xss_protection: \"1; mode=block\"\n      content_security_policy: \"default-src 'self'\"\nmetrics:\n  enabled: true\n  port: 9090\n  path: \"/metrics\"\n";
    let headers = Case::yaml(page).settings().server.security_headers.unwrap();
    assert_eq!(headers.xss_protection, "1; mode=block");
    assert_eq!(headers.content_security_policy, "default-src 'self'");
    assert_eq!(headers.referrer_policy, "no-referrer");
    let control = "server: {security: {headers: {frame_options: \"a\\r\\nb\"}}}\n";
    assert!(
        Case::yaml(control)
            .errors()
            .contains("is not a field value")
    );
    let off = Case::yaml("server: {security: {headers: {enabled: false}}}\n").settings();
    assert_eq!(off.server.security_headers, None);
}

// ID-64
#[test]
fn the_encryption_block_of_the_guide_pastes_but_its_placeholder_is_refused() {
    let page =
        "auth:\n  encryption:\n    enabled: true\n    key: \"YOUR_32_BYTE_ENCRYPTION_KEY_HERE\"\n";
    let errors = Case::yaml(page).errors();
    assert_eq!(
        errors,
        "tollkeep.yaml:4:10: auth.encryption.key: is the placeholder of a guide, not a key"
    );
}
