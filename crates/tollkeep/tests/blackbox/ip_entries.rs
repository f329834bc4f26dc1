//! Address lists that operators change while the gateway runs: at once, on open connections too,
//! over restarts, and never by a slip.

use crate::callers::{bearer, stream};
use crate::fixture::{before, chat, free, gateway, head, llm};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Client, Ended, Gate, Gateway, Http2Client, Origin, PATIENCE, eventually};

/// A caller that nobody trusts, and one that stays.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
/// How long a change may take to hold.
const SOON: Duration = Duration::from_secs(1);

const DENY: &str = "/api/v1/security/ip-denylist";
const ALLOW: &str = "/api/v1/security/ip-allowlist";

fn proxied(origin: &Origin) -> Gateway {
    let server = "server: { trusted_proxies: [\"127.0.0.1/32\"] }\n";
    gateway(format!("{server}{}", before(origin, &free("GET /x")))).start()
}

/// Denies an address of the loopback network, as only a test would.
fn deny(gateway: &Gateway, ip: &str) -> Value {
    let body = json!({ "ip": ip, "reason": "test", "force": true });
    let (status, entry) = gateway.api("POST", DENY, Some(&body));
    assert_eq!(status, 201, "{entry}");
    entry
}

fn status_of(gateway: &Gateway, client: &str) -> u16 {
    let request = head("GET /x", &format!("X-Forwarded-For: {client}\r\n"));
    gateway.call(&request).status
}

// EDGE-67
#[test]
fn a_denied_address_loses_its_idle_connections_and_gets_no_new_ones() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, &free("GET /x"))).start();
    let mut idle = Client::connect_from(CALLER, gateway.data());
    let mut other = Client::connect_from(OTHER, gateway.data());
    let mut silent = Client::connect_from(CALLER, gateway.data());
    for client in [&mut idle, &mut other] {
        assert_eq!(client.call(&head("GET /x", "")).status, 200);
    }
    deny(&gateway, "127.0.0.9");
    assert!(idle.closed_within(SOON), "an idle connection closes");
    assert!(silent.closed_within(SOON), "so does one that said nothing");
    assert!(Client::connect_from(CALLER, gateway.data()).closed_within(PATIENCE));
    assert_eq!(other.call(&head("GET /x", "")).status, 200);
    let event = gateway.audit_line("the entry", |event| event["action"] == "ip_list.add");
    assert_eq!(event["details"]["cidr"], "127.0.0.9/32", "{event}");
    assert_eq!(event["details"]["list"], "deny", "{event}");
    assert_eq!(event["details"]["reason"], "test", "{event}");
    assert_eq!(event["result"], "success", "{event}");
}

// EDGE-67 EDGE-68
#[test]
fn a_running_stream_of_a_denied_address_is_aborted_and_recorded() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| stream(Some(&held)));
    let (gateway, token) = llm(&origin, "openai", "");
    let body = r#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
    let (mut denied, mut other) = (
        Client::connect_from(CALLER, gateway.data()),
        Client::connect_from(OTHER, gateway.data()),
    );
    for client in [&mut denied, &mut other] {
        client.send(&chat(&token, body));
        let mut answer = client.head(PATIENCE).unwrap();
        assert_eq!(answer.status, 200);
        assert!(client.piece(&mut answer).is_some(), "the stream runs");
    }
    deny(&gateway, "127.0.0.9");
    let rest = eventually("the abort", || denied.bytes(SOON).err());
    assert_eq!(rest, Ended::Closed, "no last chunk, no error event");
    let event = gateway.audit_line("the cut call", |event| {
        event["action"] == "proxy_request" && event["client_ip"] == "127.0.0.9"
    });
    assert_eq!(event["reason"], "forbidden", "{event}");
    gateway.audit_line("the denial", |event| {
        event["action"] == "ip.denied" && event["client_ip"] == "127.0.0.9"
    });
    let usage = eventually("its usage line", || {
        let lines = gateway.usage_lines();
        lines.into_iter().find(|line| line["outcome"] == "cut")
    });
    assert_eq!(usage["status"], 200, "{usage}");
    gate.open();
    assert!(other.bytes(PATIENCE).is_ok(), "the other stream goes on");
}

// EDGE-67 EDGE-68
#[test]
fn a_denied_address_loses_its_connections_of_http2_and_their_streams() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| stream(Some(&held)));
    let (gateway, token) = llm(&origin, "openai", "server: { h2c: true }\n");
    let bearer = format!("Bearer {token}");
    let fields = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let models = |client: &mut Http2Client| {
        let request = client.request("GET", "/v1/models", &fields);
        client.call(request, b"").map(|answer| answer.status)
    };
    let (mut idle, mut running) = (
        Http2Client::connect(gateway.data()),
        Http2Client::connect(gateway.data()),
    );
    assert_eq!(models(&mut idle), Ok(200));
    let request = running.request("POST", "/v1/chat/completions", &fields);
    let mut stream = running.begin(request, false).unwrap();
    let body: &[u8] = br#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
    stream.send.send_data(body.into(), true).unwrap();
    assert_eq!(stream.head().unwrap().status, 200);
    assert!(stream.piece().unwrap().is_some(), "the stream runs");
    // Somebody else of this machine goes on.
    let mut other = Client::connect_from(OTHER, gateway.data());
    other.send(&chat(
        &token,
        r#"{"model":"gpt-4o","stream":true,"messages":[]}"#,
    ));
    assert_eq!(other.head(PATIENCE).unwrap().status, 200);
    let began = Instant::now();
    deny(&gateway, "127.0.0.1");
    let cut = eventually("the abort", || match stream.piece() {
        Ok(Some(_)) => None,
        ended => Some(ended),
    });
    assert!(cut.is_err(), "an abort and no regular end: {cut:?}");
    drop(stream);
    idle.ended(PATIENCE);
    running.ended(PATIENCE);
    assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
    gateway.audit_line("the cut call", |event| {
        event["action"] == "proxy_request" && event["reason"] == "forbidden"
    });
    assert!(
        Client::connect(gateway.data()).closed_within(PATIENCE),
        "no new one either"
    );
    gate.open();
    assert!(other.bytes(PATIENCE).is_ok(), "the other stream goes on");
}

// EDGE-67
#[test]
fn the_next_request_of_a_denied_client_behind_a_proxy_is_403() {
    let origin = Origin::plain();
    let gateway = proxied(&origin);
    let mut proxy = gateway.connect();
    let mut ask = |client: &str| {
        let request = head("GET /x", &format!("X-Forwarded-For: {client}\r\n"));
        proxy.call(&request).status
    };
    assert_eq!(ask("198.51.100.7"), 200);
    let entry = deny(&gateway, "198.51.100.0/24");
    assert_eq!(ask("198.51.100.7"), 403, "at once");
    assert_eq!(ask("203.0.113.7"), 200, "the proxy's connection lives on");
    let path = format!("{DENY}/{}", entry["id"].as_str().unwrap());
    assert_eq!(gateway.api("DELETE", &path, None).0, 204);
    assert_eq!(ask("198.51.100.7"), 200);
    gateway.audit_line("the removal", |event| event["action"] == "ip_list.remove");
}

// EDGE-67
#[test]
fn an_entry_ends_by_itself_and_others_hold_over_a_restart() {
    let origin = Origin::plain();
    let gateway = proxied(&origin);
    let short = json!({ "ip": "198.51.100.1", "ttl": "1s" });
    let (status, entry) = gateway.api("POST", DENY, Some(&short));
    assert_eq!(status, 201, "{entry}");
    assert!(entry["expires_at"].is_string(), "{entry}");
    let long = json!({ "ip": "198.51.100.2", "ttl": "24h", "reason": "probing" });
    assert_eq!(gateway.api("POST", DENY, Some(&long)).0, 201);
    assert_eq!(status_of(&gateway, "198.51.100.1"), 403);
    eventually("the end of the short one", || {
        (status_of(&gateway, "198.51.100.1") == 200).then_some(())
    });
    let gateway = gateway.restart().unwrap();
    assert_eq!(status_of(&gateway, "198.51.100.2"), 403);
    assert_eq!(status_of(&gateway, "198.51.100.1"), 200);
    let (_, list) = gateway.api("GET", DENY, None);
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(list["data"][0]["reason"], "probing", "{list}");
    assert_eq!(list["data"][0]["created_by"], "env", "{list}");
}

// EDGE-67
#[test]
fn the_same_entry_again_is_the_same_entry() {
    let origin = Origin::plain();
    let gateway = proxied(&origin);
    let first = json!({ "ip": "198.51.100.7", "ttl": "1h" });
    let (made, one) = gateway.api("POST", DENY, Some(&first));
    let again = json!({ "ip": "198.51.100.7/32", "reason": "again" });
    let (kept, two) = gateway.api("POST", "/v0/management/security/ip-denylist", Some(&again));
    assert_eq!((made, kept), (201, 200), "{two}");
    assert_eq!(one["id"], two["id"]);
    assert_eq!(two["reason"], "again");
    assert_eq!(two["expires_at"], Value::Null, "it holds for good now");
    let (_, list) = gateway.api("GET", "/v0/management/security/ip-denylist", None);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    // By its addresses, as they are written.
    let network = json!({ "cidr": "203.0.113.0/24" });
    assert_eq!(gateway.api("POST", DENY, Some(&network)).0, 201);
    assert_eq!(status_of(&gateway, "203.0.113.9"), 403);
    let path = format!("{DENY}/203.0.113.0/24");
    assert_eq!(gateway.api("DELETE", &path, None).0, 204);
    assert_eq!(gateway.api("DELETE", &path, None).0, 404);
    assert_eq!(status_of(&gateway, "203.0.113.9"), 200);
}

// EDGE-67
#[test]
fn a_slip_needs_to_be_meant() {
    let origin = Origin::plain();
    let gateway = proxied(&origin);
    for (name, ip) in [
        ("the caller", "127.0.0.1"),
        ("a network of the caller", "127.0.0.0/30"),
        ("loopback", "127.8.0.0/16"),
        ("loopback of IPv6", "::1"),
        ("nearly everybody", "64.0.0.0/7"),
        ("everybody", "0.0.0.0/0"),
        ("much of IPv6", "2001::/23"),
    ] {
        let body = json!({ "ip": ip });
        let (status, problem) = gateway.api("POST", DENY, Some(&body));
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("conflict")),
            "{name}"
        );
        assert!(problem["detail"].as_str().unwrap().contains("force"));
    }
    for (name, ip, status) in [
        ("as wide as may be", "64.0.0.0/8", 201),
        ("as wide as may be", "2002::/24", 201),
    ] {
        let body = json!({ "ip": ip });
        assert_eq!(gateway.api("POST", DENY, Some(&body)).0, status, "{name}");
    }
    let wide = json!({ "ip": "0.0.0.0/1" });
    assert_eq!(gateway.api("POST", ALLOW, Some(&wide)).0, 409);
    let meant = json!({ "ip": "96.0.0.0/7", "force": true });
    assert_eq!(gateway.api("POST", DENY, Some(&meant)).0, 201);
    for (name, body, place) in [
        ("host bits", json!({ "ip": "10.1.2.3/8" }), "/ip"),
        ("no address", json!({ "ip": "banana" }), "/ip"),
        ("nothing", json!({}), "/ip"),
        (
            "twice",
            json!({ "ip": "10.0.0.1", "cidr": "10.0.0.2" }),
            "/cidr",
        ),
        ("no time", json!({ "ip": "10.0.0.1", "ttl": "0s" }), "/ttl"),
        ("no unit", json!({ "ip": "10.0.0.1", "ttl": "60" }), "/ttl"),
        ("unknown", json!({ "ip": "10.0.0.1", "until": 1 }), "/until"),
        ("a number", json!({ "ip": 1 }), "/ip"),
    ] {
        let (status, problem) = gateway.api("POST", DENY, Some(&body));
        assert_eq!(status, 422, "{name}: {problem}");
        assert_eq!(problem["errors"][0]["path"], place, "{name}: {problem}");
    }
}

// EDGE-65 EDGE-67 EDGE-93
#[test]
fn an_allowed_address_joins_the_list_of_the_settings_or_is_only_exempt() {
    let origin = Origin::plain();
    let allow = |gateway: &Gateway| {
        let body = json!({ "ip": "203.0.113.7" });
        assert_eq!(gateway.api("POST", ALLOW, Some(&body)).0, 201);
    };
    let limited = "server: { trusted_proxies: [\"127.0.0.1/32\"], security: { rate_limiting: { requests_per_second: 1, burst: 1, scope: all } } }\n";
    let open = gateway(format!("{limited}{}", before(&origin, &free("GET /x"))))
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    allow(&open);
    for _ in 0..5 {
        assert_eq!(status_of(&open, "203.0.113.7"), 200, "it has no limit");
    }
    let others: Vec<u16> = (0..5).map(|_| status_of(&open, "203.0.113.8")).collect();
    assert!(others.contains(&200) && others.contains(&429), "{others:?}");
    let only = "server: { trusted_proxies: [\"127.0.0.1/32\"], security: { ip_allowlist: { enabled: true, allowed_ips: [\"10.0.0.0/8\"] } } }\n";
    let closed = gateway(format!("{only}{}", before(&origin, &free("GET /x")))).start();
    assert_eq!(status_of(&closed, "203.0.113.7"), 403);
    allow(&closed);
    assert_eq!(status_of(&closed, "203.0.113.7"), 200);
    assert_eq!(status_of(&closed, "203.0.113.8"), 403);
}

// EDGE-67
#[test]
fn commands_do_what_the_api_does() {
    let origin = Origin::plain();
    let gateway = proxied(&origin);
    let run = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        (output.status.code().unwrap(), value)
    };
    let (code, entry) = run(&[
        "ip",
        "deny",
        "198.51.100.7",
        "--reason",
        "probing",
        "--ttl",
        "24h",
    ]);
    assert_eq!((code, &entry["ip"]), (0, &json!("198.51.100.7")));
    assert!(entry["created_by"].as_str().unwrap().starts_with("local:"));
    assert_eq!(status_of(&gateway, "198.51.100.7"), 403);
    let (code, list) = run(&["ip", "list"]);
    assert_eq!((code, &list["data"][0]["id"]), (0, &entry["id"]));
    assert_eq!(run(&["ip", "deny", "0.0.0.0/0"]).0, 6, "a conflict");
    assert_eq!(run(&["ip", "deny", "banana"]).0, 3);
    assert_eq!(run(&["ip", "remove", "198.51.100.7"]).0, 0);
    assert_eq!(run(&["ip", "remove", "198.51.100.7"]).0, 4);
    assert_eq!(status_of(&gateway, "198.51.100.7"), 200);
    assert_eq!(run(&["ip", "allow", "10.0.0.0/8"]).0, 0);
    let (_, allowed) = run(&["ip", "list", "--list", "allow"]);
    assert_eq!(allowed["data"][0]["cidr"], "10.0.0.0/8");
    assert_eq!(run(&["ip", "remove", "10.0.0.0/8", "--list", "allow"]).0, 0);
}

// EDGE-67 ID-50
#[test]
fn nobody_without_a_key_changes_a_list() {
    let gateway = gateway("sandbox: { upstream: true }\n").start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    for path in [DENY, "/v0/management/security/ip-denylist"] {
        for key in ["", &bearer(&token)] {
            let body = r#"{"ip":"198.51.100.7"}"#;
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: {}\r\n{key}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                gateway.management(),
                body.len()
            );
            let answer = Client::connect(gateway.management()).call(request.as_bytes());
            assert_eq!(answer.status, 401, "{path}");
            let of_seed = path.starts_with("/v0");
            assert_eq!(answer.json()["error"].is_string(), of_seed, "{path}");
        }
    }
    let (_, list) = gateway.api("GET", DENY, None);
    assert_eq!(list["data"], json!([]));
}
