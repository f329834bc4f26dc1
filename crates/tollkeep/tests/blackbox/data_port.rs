//! Management on the data listener: for what a program of this machine sends itself, and nobody
//! else; and the commands of another gateway's page, as they stand there.

use crate::fixture::{before, gateway, head, post};
use serde_json::json;
use std::net::Ipv4Addr;
use tollkeep_testkit::{Answer, Builder, Client, Gateway, MANAGEMENT_KEY, Origin};

const DENY: &str = "/v0/management/security/ip-denylist";

fn with_door(config: &str) -> Builder {
    gateway(config).set("management.on_data_port", "loopback")
}

/// A request as curl sends it to `http://localhost:<port>`.
fn curl(gateway: &Gateway, start: &str, host: &str, lines: &str, body: &str) -> Answer {
    let request = format!(
        "{start} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.call(request.as_bytes())
}

fn key() -> String {
    format!("X-Management-Key: {MANAGEMENT_KEY}\r\n")
}

// EDGE-4 EDGE-67
#[test]
fn the_denylist_command_of_the_page_works_with_a_key() {
    let gateway = with_door("").start();
    let host = format!("localhost:{}", gateway.data().port());
    // The body of the page, as it stands there.
    let body = "{\n\"ip\": \"192.168.1.100\",\n\"reason\": \"Suspicious activity\"\n}";
    let json_lines = "Content-Type: application/json\r\n";
    let start = format!("POST {DENY}");
    let unkeyed = curl(&gateway, &start, &host, json_lines, body);
    assert_eq!(unkeyed.status, 401);
    let problem = unkeyed.json();
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("X-Management-Key")
    );
    assert_eq!(problem["error"], problem["detail"], "for its clients' eyes");
    let keyed = curl(
        &gateway,
        &start,
        &host,
        &format!("{json_lines}{}", key()),
        body,
    );
    assert_eq!(keyed.status, 201, "{}", keyed.text());
    let entry = keyed.json();
    assert_eq!(entry["ip"], "192.168.1.100");
    assert_eq!(entry["reason"], "Suspicious activity");
    assert_eq!(entry["expires_at"], serde_json::Value::Null);
    assert_eq!(keyed.values("x-request-id").len(), 1);
    assert_eq!(keyed.values("date").len(), 1);
    assert_eq!(keyed.field("cache-control"), Some("no-store"));
    let same = curl(
        &gateway,
        &start,
        &host,
        &format!("{json_lines}{}", key()),
        body,
    );
    assert_eq!((same.status, &same.json()["id"]), (200, &entry["id"]));
    let gone = curl(
        &gateway,
        &format!("DELETE {DENY}/192.168.1.100"),
        &host,
        &key(),
        "",
    );
    assert_eq!(gone.status, 204, "{}", gone.text());
    let event = gateway.audit_line("the entry", |event| event["action"] == "ip_list.add");
    assert_eq!(event["client_ip"], "127.0.0.1", "{event}");
}

// EDGE-4
#[test]
fn whoever_is_not_of_this_machine_finds_nothing_there() {
    let origin = Origin::plain();
    let routes = before(&origin, "  \"ANY /*\": { upstream: origin }\n");
    let config = format!("server: {{ allowed_hosts: [\"127.0.0.1\", \"gw.example\"] }}\n{routes}");
    let gateway = with_door(&config).start();
    let call = |host: &str, path: &str, lines: &str| {
        curl(
            &gateway,
            &format!("GET {path}"),
            host,
            &format!("{}{lines}", key()),
            "",
        )
    };
    let whoami = "/api/v1/whoami";
    for host in ["127.0.0.1", "localhost", "LOCALHOST:8317", "[::1]:1"] {
        assert_eq!(call(host, whoami, "").status, 200, "{host}");
    }
    assert_eq!(call("gw.example", whoami, "").status, 404, "another name");
    assert_eq!(call("other.example", whoami, "").status, 421);
    for lines in [
        "X-Forwarded-For: 127.0.0.1\r\n",
        "Forwarded: for=127.0.0.1\r\n",
        "X-Real-IP: 127.0.0.1\r\n",
        "Via: 1.1 proxy\r\n",
        "X-Forwarded-Proto: https\r\n",
        "CF-Ray: 1\r\n",
        "True-Client-IP: 127.0.0.1\r\n",
        "Client-Cert: :MIIB:\r\n",
    ] {
        let answer = call("127.0.0.1", whoami, lines);
        assert_eq!(answer.status, 404, "{lines}");
        assert_eq!(answer.code(), "endpoint_not_found", "{lines}");
    }
    for path in ["/%61pi/v1/whoami", "/%760/management/security/ip-denylist"] {
        assert_eq!(call("127.0.0.1", path, "").status, 404, "{path}");
    }
    assert_eq!(origin.count(), 0, "no route takes what is management's");
    let encoded = call("127.0.0.1", "/V0/x", "");
    assert_eq!(encoded.status, 401, "that one is a route's");
}

// EDGE-4 ID-50
#[test]
fn the_door_keeps_the_manners_of_either_side() {
    let gateway = with_door("").start();
    let send = |request: &[u8]| gateway.call(request);
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let with_token = head(
        "GET /api/v1/whoami",
        &format!("Authorization: Bearer {token}\r\n"),
    );
    assert_eq!(send(&with_token).status, 401, "no caller operates");
    let large = post(DENY, &key(), &[b'x'; 1_048_577]);
    assert_eq!(send(&large).status, 413);
    let text = post(
        DENY,
        &format!("{}Content-Type: text/plain\r\n", key()),
        b"x",
    );
    assert_eq!(send(&text).status, 415);
    let smuggled = head("GET /api/v1/whoami", "Transfer-Encoding: identity\r\n");
    assert_eq!(send(&smuggled).status, 400);
    let mut client = gateway.connect();
    let chunked = format!(
        "POST {DENY} HTTP/1.1\r\nHost: localhost\r\n{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{{\"ip\":\"198.51.100.7\"\r\n1\r\n}}\r\n0\r\n\r\n",
        key()
    );
    assert_eq!(client.call(chunked.as_bytes()).status, 201);
    let next = client.call(&head("GET /api/v1/whoami", &key()));
    assert_eq!(next.status, 200, "the connection goes on");
    assert_eq!(next.json()["id"], "env");
    assert_eq!(client.call(&head("GET /v1/models", "")).status, 404);
}

// EDGE-4
#[test]
fn another_loopback_peer_is_local_too_and_off_means_not_found() {
    let gateway_on = with_door("").start();
    let request = head("GET /api/v1/whoami", &key());
    let own = Ipv4Addr::new(127, 0, 0, 9);
    assert_eq!(
        Client::connect_from(own, gateway_on.data())
            .call(&request)
            .status,
        200
    );
    let gateway_off = gateway("").start();
    let answer = gateway_off.call(&request);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "endpoint_not_found")
    );
}

// EDGE-4
#[test]
fn a_trusted_proxy_on_loopback_and_the_door_exclude_each_other() {
    for proxies in [
        "trusted_proxies: [\"127.0.0.1\"]",
        "trusted_proxies: [\"127.0.0.0/8\"]",
        "trusted_proxies: [\"10.0.0.0/8\", \"::1\"]",
        "trustProxy: true",
    ] {
        let config = format!("server: {{ {proxies} }}\n");
        let failed = with_door(&config).try_start().map(drop).unwrap_err();
        assert_eq!(failed.code, Some(3), "{proxies}");
        assert!(
            failed.stderr.contains("management.on_data_port"),
            "{}",
            failed.stderr
        );
    }
    let fine = with_door("server: { trusted_proxies: [\"10.0.0.0/8\"] }\n").start();
    assert_eq!(fine.call(&head("GET /api/v1/whoami", &key())).status, 200);
}
