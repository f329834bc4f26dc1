//! Who may come at all: address lists at accept, behind a proxy, on routes and on management; and
//! that lists, limits and the audit log always mean the same address.

use crate::callers::bearer;
use crate::fixture::{before, free, gateway, head};
use crate::rates::{at_once, passed};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, PATIENCE, eventually};

/// A peer that nobody trusts.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);

const DENY: &str =
    "ip_denylist: { enabled: true, denied_ips: [\"127.0.0.9\", \"198.51.100.0/24\"] }";

/// A gateway before an origin that trusts 127.0.0.1 alone, with these lists.
fn guarded(origin: &Origin, lists: &str, routes: &str) -> Gateway {
    let server = format!(
        "server: {{ trusted_proxies: [\"127.0.0.1/32\"], security: {{ {lists} }} }}\n{}",
        before(origin, routes)
    );
    gateway(server).start()
}

fn from_client(client: &str) -> Vec<u8> {
    head("GET /x", &format!("X-Forwarded-For: {client}\r\n"))
}

#[track_caller]
fn assert_forbidden(name: &str, answer: &Answer) {
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (403, r#"{"error":"Not allowed.","code":"forbidden"}"#),
        "{name}"
    );
    assert_eq!(
        answer.field("x-tollkeep-error"),
        Some("forbidden"),
        "{name}"
    );
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{name}");
}

// EDGE-68
#[test]
fn a_denied_peer_is_closed_at_accept_and_told_nothing() {
    let origin = Origin::plain();
    let gateway = guarded(&origin, DENY, &free("GET /x"));
    let mut denied = Client::connect_from(STRANGER, gateway.data());
    assert!(denied.closed_within(PATIENCE), "before a byte was sent");
    let mut other = Client::connect_from(OTHER, gateway.data());
    assert_eq!(other.call(&head("GET /x", "")).status, 200);
    assert_eq!(origin.count(), 1);
    let event = gateway.audit_line("the denial", |event| event["action"] == "ip.denied");
    assert_eq!(event["client_ip"], "127.0.0.9", "{event}");
    assert_eq!(event["reason"], "closed_at_accept", "{event}");
    assert_eq!(event["result"], "denied", "{event}");
    let metrics = gateway.metrics_text();
    let counted = "tollkeep_refusals_total{code=\"forbidden\",listener=\"data\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

// EDGE-65 EDGE-68
#[test]
fn the_client_behind_a_proxy_is_judged_and_not_the_proxy() {
    let origin = Origin::plain();
    let gateway = guarded(
        &origin,
        "ip_denylist: { enabled: true, denied_ips: [\"127.0.0.1\", \"198.51.100.0/24\", \"2001:db8::7\"] }",
        &free("GET /x"),
    );
    let mut proxy = gateway.connect();
    for (client, status) in [
        ("198.51.100.1", 403),
        ("203.0.113.1", 200),
        ("::ffff:198.51.100.9", 403),
        ("198.51.100.1, 203.0.113.1", 200),
        ("203.0.113.1, 198.51.100.1", 403),
        ("2001:db8::ffff", 403),
        ("2001:db8:0:1::7", 200),
    ] {
        let answer = proxy.call(&from_client(client));
        assert_eq!(answer.status, status, "{client}");
        assert!(
            !answer.closes(),
            "{client}: the proxy's connection lives on"
        );
    }
    assert_eq!(origin.count(), 3, "what is denied reaches nobody");
    let own = gateway.call(&head("GET /x", ""));
    assert_forbidden("the proxy for itself", &own);
    let event = gateway.audit_line("the denial", |event| event["action"] == "ip.denied");
    assert_eq!(event["client_ip"], "198.51.100.1", "{event}");
    assert_eq!(event["reason"], "ip_list", "{event}");
}

// EDGE-65
#[test]
fn an_allow_list_lets_nobody_else_in_and_deny_beats_it() {
    let origin = Origin::plain();
    let lists = "ip_allowlist: { enabled: true, allowed_ips: [\"10.0.0.0/8\", \"192.168.1.100\"] }, ip_denylist: { enabled: true, denied_ips: [\"10.9.0.0/16\"] }";
    let gateway = guarded(&origin, lists, &free("GET /x"));
    for (client, status) in [
        ("10.1.1.1", 200),
        ("192.168.1.100", 200),
        ("192.168.1.101", 403),
        ("10.9.1.1", 403),
        ("8.8.8.8", 403),
        ("2001:db8::1", 403),
    ] {
        assert_eq!(
            gateway.call(&from_client(client)).status,
            status,
            "{client}"
        );
    }
    assert!(Client::connect_from(OTHER, gateway.data()).closed_within(PATIENCE));
}

// EDGE-68
#[test]
fn lists_come_after_framing_authority_and_expectation_and_before_limits_and_paths() {
    let origin = Origin::plain();
    let gateway = guarded(
        &origin,
        &format!(
            "{DENY}, rate_limiting: {{ enabled: true, requests_per_second: 1, burst: 1, scope: all }}"
        ),
        &free("GET /x"),
    );
    let denied = "X-Forwarded-For: 198.51.100.1\r\n";
    let call = |start: &str, lines: &str| gateway.call(&head(start, &format!("{denied}{lines}")));
    for (name, answer, status) in [
        ("framing", call("GET /x", "Content-Length: x\r\n"), 400),
        (
            "authority",
            gateway
                .call(format!("GET /x HTTP/1.1\r\nHost: other.example\r\n{denied}\r\n").as_bytes()),
            421,
        ),
        ("expectation", call("GET /x", "Expect: magic\r\n"), 417),
        ("path", call("GET /a%2", ""), 403),
        ("route", call("GET /nowhere", ""), 403),
        ("method", call("DELETE /x", ""), 403),
        (
            "credential",
            call("GET /x", "Authorization: Bearer x\r\n"),
            403,
        ),
    ] {
        assert_eq!(answer.status, status, "{name}");
    }
    for turn in 0..5 {
        let answer = call("GET /x", "");
        assert_eq!(answer.status, 403, "turn {turn}: no limit was reached");
    }
    assert_eq!(origin.count(), 0);
}

// EDGE-93
#[test]
fn an_allow_list_that_denies_nobody_takes_its_own_out_of_the_limit_by_address() {
    let origin = Origin::plain();
    let lists = "ip_allowlist: { enabled: true, allowed_ips: [\"10.0.0.0/8\"], deny_all: false }, rate_limiting: { requests_per_second: 1, burst: 2, scope: all }";
    let server = format!(
        "server: {{ trusted_proxies: [\"127.0.0.1/32\"], security: {{ {lists} }} }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway(server)
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    assert_eq!(passed(&at_once(&gateway, &from_client("10.1.1.1"), 20)), 20);
    let others = passed(&at_once(&gateway, &from_client("11.1.1.1"), 20));
    assert!((2..8).contains(&others), "{others}");
}

// EDGE-68
#[test]
fn a_route_may_be_for_some_addresses_only_whatever_the_token() {
    let origin = Origin::plain();
    let routes = "  \"GET /x\": { upstream: origin, allowed_ips: [\"10.0.0.0/8\"] }\n  \"GET /f\": { upstream: origin, access: free, allowed_ips: [\"10.0.0.0/8\"] }\n  \"GET /y\": { upstream: origin }\n";
    let gateway = guarded(&origin, "", routes);
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let call = |path: &str, client: &str, credential: &str| {
        let lines = format!("X-Forwarded-For: {client}\r\n{credential}");
        gateway.call(&head(&format!("GET {path}"), &lines))
    };
    let key = bearer(&token);
    assert_eq!(call("/x", "10.1.1.1", &key).status, 200);
    assert_eq!(call("/f", "10.1.1.1", "").status, 200);
    assert_eq!(call("/y", "11.1.1.1", &key).status, 200);
    for (name, answer) in [
        ("with a token", call("/x", "11.1.1.1", &key)),
        ("without", call("/x", "11.1.1.1", "")),
        (
            "with a wrong one",
            call("/x", "11.1.1.1", "X-Api-Key: tok-x\r\n"),
        ),
        ("free", call("/f", "11.1.1.1", "")),
    ] {
        assert_forbidden(name, &answer);
    }
    let event = gateway.audit_line("the denial", |event| event["action"] == "ip.denied");
    assert_eq!(event["reason"], "route_allowed_ips", "{event}");
    assert_eq!(origin.count(), 3);
}

// EDGE-68 ID-55
#[test]
fn management_has_a_list_of_its_own_that_is_asked_before_the_key() {
    let gateway = gateway("management: { allowed_ips: [\"127.0.0.10\"] }\n").start();
    let ask = |own: Ipv4Addr, key: &str| {
        let request = format!(
            "GET /api/v1/whoami HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n\r\n",
            gateway.management()
        );
        Client::connect_from(own, gateway.management()).call(request.as_bytes())
    };
    assert_eq!(ask(OTHER, MANAGEMENT_KEY).status, 200);
    for key in [MANAGEMENT_KEY, "mgt-wrong"] {
        let answer = ask(STRANGER, key);
        let document = answer.json();
        assert_eq!(
            (answer.status, &document["code"], &document["detail"]),
            (403, &json!("forbidden"), &json!("Not allowed.")),
        );
    }
    let event = gateway.audit_line("the denial", |event| event["action"] == "ip.denied");
    assert_eq!(event["client_ip"], "127.0.0.9", "{event}");
    assert_eq!(event["reason"], "management_ip_list", "{event}");
    let local = gateway.cli(&["status", "--json"]);
    assert!(local.status.success(), "the local socket has no address");
}

/// Sets of forwarding fields, and the client when 127.0.0.1 and 10.0.0.0/8 are trusted.
#[rustfmt::skip]
const FORGED: [(&str, &str); 30] = [
    ("", "127.0.0.1"),
    ("X-Forwarded-For: 203.0.113.1\r\n", "203.0.113.1"),
    ("X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1"),
    ("X-Forwarded-For: 198.51.100.1, 203.0.113.2\r\n", "203.0.113.2"),
    ("X-Forwarded-For: 203.0.113.3, 198.51.100.1\r\n", "198.51.100.1"),
    ("X-Forwarded-For: 203.0.113.4, 10.0.0.7\r\n", "203.0.113.4"),
    ("X-Forwarded-For: 198.51.100.1, 203.0.113.5, 10.0.0.7\r\n", "203.0.113.5"),
    ("X-Forwarded-For: 127.0.0.1\r\n", "127.0.0.1"),
    ("X-Forwarded-For: 10.1.1.1\r\n", "10.1.1.1"),
    ("X-Forwarded-For: 10.2.2.2, 10.1.1.1\r\n", "10.2.2.2"),
    ("X-Forwarded-For: 203.0.113.6\r\nX-Forwarded-For: 203.0.113.7\r\n", "203.0.113.7"),
    ("X-Forwarded-For: 203.0.113.8\r\nX-Forwarded-For: 10.0.0.7\r\n", "203.0.113.8"),
    ("X-FORWARDED-FOR: 203.0.113.9\r\n", "203.0.113.9"),
    ("X-Forwarded-For: 203.0.113.10:4711\r\n", "203.0.113.10"),
    ("X-Forwarded-For: ::ffff:203.0.113.11\r\n", "203.0.113.11"),
    ("X-Forwarded-For: ::ffff:198.51.100.2\r\n", "198.51.100.2"),
    ("X-Forwarded-For: [2001:db8:1::1]:443\r\n", "2001:db8:1::1"),
    ("X-Forwarded-For: fe80::1%eth0\r\n", "fe80::1"),
    ("X-Forwarded-For: unknown\r\n", "127.0.0.1"),
    ("X-Forwarded-For: 203.0.113.12, unknown\r\n", "127.0.0.1"),
    ("X-Forwarded-For: unknown, 203.0.113.13\r\n", "203.0.113.13"),
    ("X-Forwarded-For: 203.0.113.14,\r\n", "127.0.0.1"),
    ("X-Forwarded-For: \"203.0.113.15\"\r\n", "127.0.0.1"),
    ("X-Forwarded-For: 0313.0.0.1\r\n", "127.0.0.1"),
    ("X-Forwarded-For: 203.0.113.16 203.0.113.17\r\n", "127.0.0.1"),
    ("Forwarded: for=203.0.113.18\r\n", "127.0.0.1"),
    ("X-Real-IP: 203.0.113.19\r\n", "127.0.0.1"),
    ("CF-Connecting-IP: 203.0.113.20\r\nTrue-Client-IP: 203.0.113.20\r\n", "127.0.0.1"),
    ("X-Client-IP: 203.0.113.21\r\nX-Cluster-Client-IP: 203.0.113.21\r\n", "127.0.0.1"),
    ("X-Forwarded-For: 203.0.113.22\r\nForwarded: for=198.51.100.1\r\nX-Real-IP: 198.51.100.1\r\n", "203.0.113.22"),
];

fn same_network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits() & (u128::MAX << 64)).to_be_bytes()),
    }
}

// EDGE-60 EDGE-62 EDGE-65 EDGE-68
#[test]
fn lists_limits_and_audit_name_the_same_address_however_it_is_forged() {
    let origin = Origin::plain();
    let route = "  \"GET /x\": { upstream: origin, access: free, rate_limit: { requests: 1, window: 1h, by: ip } }\n";
    let server = "server: { trusted_proxies: [\"127.0.0.1/32\", \"10.0.0.0/8\"], security: { ip_denylist: { enabled: true, denied_ips: [\"198.51.100.0/24\", \"fe80::1\"] } } }\n";
    let gateway = gateway(format!("{server}{}", before(&origin, route))).start();
    let denied = |ip: IpAddr| {
        let text = ip.to_string();
        text.starts_with("198.51.100.") || text.starts_with("fe80::")
    };
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    let peers = [(Ipv4Addr::LOCALHOST, true), (STRANGER, false)];
    for (peer, trusted) in peers {
        // More refusals of one address in a second are told of together.
        let some = if trusted { FORGED.len() } else { 20 };
        for (number, (lines, behind)) in FORGED.iter().enumerate().take(some) {
            let client: IpAddr = if trusted {
                behind.parse().unwrap()
            } else {
                peer.into()
            };
            let id = format!("{}-{number}", if trusted { "proxy" } else { "stranger" });
            let lines = format!("{lines}X-Correlation-ID: {id}\r\n");
            let answer = Client::connect_from(peer, gateway.data()).call(&head("GET /x", &lines));
            let status = match () {
                () if denied(client) => 403,
                () if seen.insert(same_network(client)) => 200,
                () => 429,
            };
            assert_eq!(answer.status, status, "{id}: {lines} as {client}");
            wanted.push((id, client, status));
        }
    }
    assert_eq!(wanted.len(), 50);
    // Each worker hands over its own events.
    let answered = wanted
        .iter()
        .filter(|(_, _, status)| *status != 403)
        .count();
    let events = eventually("an event for each call", || {
        let events = gateway.audit_lines();
        let calls = events
            .iter()
            .filter(|event| event["action"] == "proxy_request");
        (calls.count() >= answered).then_some(events)
    });
    let mut calls = 0;
    for (id, client, status) in wanted {
        // Denials of one address and reason beyond twenty in a second are folded.
        let told: Vec<&Value> = events
            .iter()
            .filter(|event| event["correlation_id"] == *id)
            .collect();
        for event in &told {
            assert_eq!(event["client_ip"], client.to_string(), "{id}: {event}");
        }
        let call = told.iter().any(|event| event["action"] == "proxy_request");
        assert_eq!(call, status != 403, "{id}: {told:?}");
        calls += usize::from(call);
    }
    assert_eq!(calls, 50 - 4, "four name a denied client");
}

// EDGE-61
#[test]
fn tollbooths_trust_proxy_believes_a_proxy_of_this_machine_alone() {
    let origin = Origin::plain();
    for setting in [
        "gateway: { trustProxy: true }\n",
        "gateway: { trustProxy: 1 }\n",
        "trustProxy: true\n",
        "gateway: { trustProxy: { hops: 1, cidrs: [\"127.0.0.1\", \"127.0.0.9\"] } }\n",
    ] {
        let config = format!("{setting}{}", before(&origin, &free("GET /x")));
        let gateway = gateway(config).start();
        // What nginx adds as the page sets it up: the client forged the left one.
        let lines = "X-Real-IP: 203.0.113.7\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.7\r\nX-Forwarded-Proto: https\r\n";
        let request = head("GET /x", &format!("{lines}X-Correlation-ID: one\r\n"));
        let answer = Client::connect_from(STRANGER, gateway.data()).call(&request);
        assert_eq!(answer.status, 200, "{setting}");
        let hsts = answer.field("strict-transport-security");
        assert!(hsts.is_some(), "{setting}: the client came over TLS");
        let event = gateway.audit_line("the call", |event| event["correlation_id"] == "one");
        assert_eq!(event["client_ip"], "203.0.113.7", "{setting}");
        let says_so = gateway.stderr().contains("server.trusted_proxies");
        assert_eq!(says_so, !setting.contains("cidrs"), "{setting}");
    }
}
