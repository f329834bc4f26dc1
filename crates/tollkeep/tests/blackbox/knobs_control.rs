//! Knobs of the management and metrics listeners: each turned, and seen from outside.

use crate::fixture::TOLLKEEP;
use crate::knobs::declared;
use crate::tls_fixture::{Certificates, Kind};
use rustls::version;
use serde_json::{Value, json};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tollkeep_testkit::{Client, Gateway, MANAGEMENT_KEY};

/// A caller of its own address, so that lists can name it.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// What is seen at a listener: status or nothing.
fn ask(addr: SocketAddr, host: &str, path: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {MANAGEMENT_KEY}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut client = Client::connect_from(CALLER, addr);
    client.call(request.as_bytes()).status.to_string()
}

fn managed(gateway: &Gateway) -> String {
    ask(gateway.management(), "127.0.0.1", "/api/v1/status")
}

type Look = fn(&Gateway) -> String;

/// A key, what else is set all along, its two values, and what is seen.
type Row = (&'static str, Value, Value, Value, Look);

/// What is exchanged while the gateway serves.
fn live() -> Vec<Row> {
    let none = || json!({});
    let scraped: Look = |gateway| ask(gateway.metrics(), "127.0.0.1", "/metrics");
    let local: Look = |gateway| ask(gateway.data(), "localhost", "/api/v1/status");
    vec![
        (
            "management.allowed_hosts",
            none(),
            json!([]),
            json!(["a.example"]),
            managed,
        ),
        (
            "management.allowed_ips",
            none(),
            json!(["127.0.0.0/8"]),
            json!(["10.0.0.1"]),
            managed,
        ),
        (
            "management.security.ip_allowlist.enabled",
            json!({ "allowed_ips": ["10.0.0.1"] }),
            json!(false),
            json!(true),
            managed,
        ),
        (
            "management.security.ip_allowlist.allowed_ips",
            json!({ "enabled": true }),
            json!(["127.0.0.9"]),
            json!(["127.0.0.8"]),
            managed,
        ),
        (
            "management.security.ip_denylist.enabled",
            json!({ "denied_ips": ["127.0.0.9"] }),
            json!(false),
            json!(true),
            managed,
        ),
        (
            "management.security.ip_denylist.denied_ips",
            json!({ "enabled": true }),
            json!(["127.0.0.8"]),
            json!(["127.0.0.9"]),
            managed,
        ),
        (
            "management.on_data_port",
            none(),
            json!("off"),
            json!("loopback"),
            local,
        ),
        (
            "metrics.path",
            none(),
            json!("/metrics"),
            json!("/counters"),
            scraped,
        ),
        (
            "metrics.allowed_hosts",
            none(),
            json!([]),
            json!(["a.example"]),
            scraped,
        ),
    ]
}

/// A file in which `key` has this value, and the section around it also what is in `beside`.
fn file(key: &str, beside: &Value, value: &Value) -> Value {
    let names: Vec<&str> = key.split('.').collect();
    let (last, sections) = names.split_last().unwrap();
    let mut file = json!({ "reload": { "watch": false } });
    let mut at = &mut file;
    for name in sections {
        at = &mut at[*name];
    }
    *at = beside.clone();
    at[*last] = value.clone();
    file
}

// EDGE-136
#[test]
fn each_knob_of_operators_is_turned_while_the_gateway_serves() {
    for (key, beside, plain, turned, look) in live() {
        let text = |value: &Value| file(key, &beside, value).to_string();
        let gateway = Gateway::builder(TOLLKEEP).config(text(&plain)).start();
        let before = look(&gateway);
        // By the local socket, which nobody locks themselves out of.
        let turn = |value: &Value| {
            gateway.configure(text(value));
            let reloaded = gateway.cli(&["config", "reload"]);
            assert!(reloaded.status.success(), "{key}: {reloaded:?}");
        };
        turn(&turned);
        assert_ne!(look(&gateway), before, "{key} does nothing");
        turn(&plain);
        assert_eq!(look(&gateway), before, "{key} can't be turned back");
    }
}

/// What is read at start only: how a gateway starts with the first value, and with the second.
fn at_start() -> Vec<Row> {
    let none = || json!({});
    let public = json!({
        "listen": "0.0.0.0:0", "allowed_hosts": ["a.example"], "allowed_ips": ["10.0.0.1"],
    });
    let at: Look = |gateway| format!("{} {}", gateway.management().ip(), gateway.metrics().ip());
    let socket: Look = |gateway| gateway.cli(&["status"]).status.success().to_string();
    vec![
        (
            "management.listen",
            none(),
            json!("127.0.0.1:0"),
            json!("127.0.0.2:0"),
            at,
        ),
        (
            "management.insecure_public_http",
            public,
            json!(true),
            json!(false),
            at,
        ),
        (
            "management.local_socket",
            none(),
            json!(true),
            json!(false),
            socket,
        ),
        (
            "management.security.ip_allowlist.deny_all",
            json!({ "enabled": true, "allowed_ips": ["127.0.0.1"] }),
            json!(true),
            json!(false),
            at,
        ),
        (
            "metrics.host",
            none(),
            json!("127.0.0.1"),
            json!("127.0.0.2"),
            at,
        ),
        (
            "metrics.enabled",
            none(),
            json!(true),
            json!(false),
            |gateway| (gateway.metrics().port() == 0).to_string(),
        ),
    ]
}

// EDGE-136
#[test]
fn each_knob_of_operators_that_is_read_at_start_does_something_there() {
    for (key, beside, first, second, look) in at_start() {
        let seen = |value: &Value| {
            let mut builder =
                Gateway::builder(TOLLKEEP).config(file(key, &beside, value).to_string());
            if key == "management.listen" || beside.get("listen").is_some() {
                builder = builder.in_file("management.listen");
            }
            match builder.try_start() {
                Ok(gateway) => look(&gateway),
                Err(failed) => {
                    assert_eq!(failed.code, Some(3), "{key}: {}", failed.stderr);
                    assert!(failed.stderr.contains("management."), "{}", failed.stderr);
                    "refused".to_owned()
                }
            }
        };
        assert_ne!(seen(&first), seen(&second), "{key} does nothing");
    }
}

/// How a listener of the control plane takes callers of TLS 1.2 and 1.3, of one suite only, and
/// of another certificate's name; or that it does not start.
fn spoken(section: &str, certificates: &Certificates, tls: &str) -> String {
    let first = certificates.pair("first", Kind::Ecdsa, &["localhost"]);
    let config = format!(
        "{section}: {{ tls: {{ enabled: true, {}{tls} }} }}\n",
        first.yaml()
    );
    let gateway = match Gateway::builder(TOLLKEEP).config(config).try_start() {
        Ok(gateway) => gateway,
        Err(failed) => return format!("{:?} {}", failed.code, failed.stderr.contains("chmod 600")),
    };
    let addr = match section {
        "management" => gateway.management(),
        _ => gateway.metrics(),
    };
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let callers = [
        certificates.caller().only(&version::TLS12),
        certificates.caller().only(&version::TLS13),
        certificates.caller().suited(vec![suite], &version::TLS12),
    ];
    let mut told: Vec<_> = callers
        .into_iter()
        .map(|caller| caller.open(addr, "localhost").is_ok())
        .collect();
    told.push(certificates.caller().open(addr, "b.localhost").is_ok());
    format!("{told:?}")
}

// EDGE-10 EDGE-11 EDGE-136
#[test]
fn each_knob_of_tls_does_on_control_listeners_what_it_does_for_callers() {
    let certificates = Certificates::new();
    let open = certificates.pair("open", Kind::Ecdsa, &["b.localhost"]);
    fs::set_permissions(&open.key, fs::Permissions::from_mode(0o644)).unwrap();
    let second = certificates.pair("second", Kind::Ecdsa, &["b.localhost"]);
    let listed = |pair: &str| format!(", certificates: [{{ {pair} }}]");
    for section in ["management", "metrics"] {
        let spoken = |tls: &str| spoken(section, &certificates, tls);
        assert_eq!(spoken(""), "[true, true, true, false]", "{section}");
        assert_eq!(
            spoken(", min_version: '1.3'"),
            "[false, true, false, false]",
            "{section}"
        );
        let suites = ", cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]";
        assert_eq!(spoken(suites), "[true, true, false, false]", "{section}");
        assert_eq!(
            spoken(&listed(&second.yaml())),
            "[true, true, true, true]",
            "{section}"
        );
        let readable = listed(&open.yaml());
        assert_eq!(spoken(&readable), "Some(3) true", "{section}");
        let wished = format!("{readable}, insecure_key_mode: true");
        assert_eq!(spoken(&wished), "[true, true, true, true]", "{section}");
    }
}

/// Keys that other tests turn, with the file and the name of one.
const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (
        &["management.tls.enabled", "metrics.tls.enabled"],
        include_str!("tls_control.rs"),
        "management_and_metrics_are_served_over_tls_alone",
    ),
    (
        &["management.session.idle", "management.session.absolute"],
        include_str!("sessions.rs"),
        "a_session_ends_by_disuse_and_by_its_age",
    ),
    (
        &[
            "management.oidc.issuer",
            "management.oidc.client_id",
            "management.oidc.client_secret",
            "management.oidc.role_map",
            "management.oidc.allow_private",
        ],
        include_str!("oidc.rs"),
        "somebody_the_provider_vouches_for_is_an_operator_with_the_role_of_their_group",
    ),
    (
        &["management.oidc.allowed_domains"],
        include_str!("oidc.rs"),
        "tokens_that_are_not_this_login_of_this_provider_are_refused_alike",
    ),
    (
        &[
            "management.oidc.scopes",
            "management.oidc.role_claim",
            "management.oidc.default_role",
        ],
        include_str!("oidc.rs"),
        "scopes_claim_and_default_role_are_those_of_the_settings",
    ),
    (
        &["management.session.proof"],
        include_str!("sessions.rs"),
        "what_shows_a_secret_or_changes_a_role_needs_a_fresh_proof",
    ),
    (
        &["metrics.seed_names"],
        include_str!("seed_names.rs"),
        "the_names_are_there_from_the_start_and_nowhere_if_they_are_not_wanted",
    ),
    (
        &["metrics.compat_ip_label"],
        include_str!("rates.rs"),
        "an_event_tells_of_a_limit_once_a_minute_and_key_and_addresses_are_shown_on_request",
    ),
    (
        &["metrics.port"],
        include_str!("cli.rs"),
        "a_port_that_is_taken_is_told_with_its_address",
    ),
    (
        &["management.front_door"],
        include_str!("front_door.rs"),
        "management_has_a_door_of_its_own_and_the_local_socket_none",
    ),
    (
        &["management.front_door.jwt"],
        include_str!("front_door_jwt.rs"),
        "management_takes_tokens_of_the_provider_too",
    ),
    (
        &["management.front_door.mtls"],
        include_str!("mtls_door.rs"),
        "operators_have_a_door_of_their_own",
    ),
    (
        &["management.lockout"],
        include_str!("lockout.rs"),
        "a_ban_ends_by_itself_and_the_next_is_longer",
    ),
    (
        &["management.require_if_match"],
        include_str!("versions.rs"),
        "settings_may_want_a_version_with_every_change",
    ),
    (
        &["management.insecure_allow_loopback_without_key"],
        include_str!("loopback.rs"),
        "programs_of_this_machine_need_no_key_where_settings_say_so",
    ),
    (
        &["management.tls.acme", "metrics.tls.acme"],
        include_str!("acme.rs"),
        "management_and_metrics_prove_and_share_what_the_data_listener_orders",
    ),
];

// EDGE-136
#[test]
fn no_key_of_operators_is_without_a_test_that_turns_it() {
    let output = Command::new(TOLLKEEP)
        .args(["config", "schema"])
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut keys = Vec::new();
    for section in ["management", "metrics"] {
        declared(&schema["properties"][section], section, &mut keys);
    }
    assert!(keys.len() > 25, "{keys:?}");
    for (_, file, test) in ELSEWHERE {
        assert!(file.contains(&format!("fn {test}()")), "{test} is no test");
    }
    let rows: Vec<_> = live()
        .into_iter()
        .chain(at_start())
        .map(|row| row.0)
        .collect();
    let tls = [
        "cert_file",
        "key_file",
        "min_version",
        "cipher_suites",
        "certificates",
        "insecure_key_mode",
        "client_auth",
        "client_ca_file",
        "client_crl_file",
    ];
    for key in keys {
        let below = |known: &&&str| key == ***known || key.starts_with(&format!("{}.", **known));
        let elsewhere = ELSEWHERE
            .iter()
            .any(|(known, ..)| known.iter().any(|known| below(&known)));
        let of_tls = key
            .split_once(".tls.")
            .is_some_and(|(_, name)| tls.contains(&name));
        let is_turned = rows.contains(&key.as_str()) || elsewhere || of_tls;
        assert!(is_turned, "{key} is turned by no test");
    }
}
