//! The management API's manners: what it refuses, and how it says so.

use crate::callers::{bearer, made, models};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin};

fn gateway() -> Gateway {
    crate::fixture::gateway("sandbox: { upstream: true }\n").start()
}

/// One request to the management listener with the key; `lines` each end with CRLF.
fn ask(gateway: &Gateway, start: &str, lines: &str, body: &[u8]) -> Answer {
    let host = if lines.contains("host:") {
        String::new()
    } else {
        format!("host: {}\r\n", gateway.management())
    };
    let key = bearer(MANAGEMENT_KEY);
    let mut request =
        format!("{start} HTTP/1.1\r\n{host}{key}{lines}connection: close\r\n\r\n").into_bytes();
    request.extend_from_slice(body);
    Client::connect(gateway.management()).call(&request)
}

fn post(gateway: &Gateway, path: &str, body: &[u8]) -> Answer {
    let lines = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    ask(gateway, &format!("POST {path}"), &lines, body)
}

/// Asserts a problem document and what every answer has (ID-101, ID-102).
fn assert_problem(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{name}: {}", answer.text());
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json"),
        "{name}"
    );
    let document = answer.json();
    let members: Vec<_> = document
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| *key != "errors")
        .collect();
    assert_eq!(
        members,
        ["type", "title", "status", "detail", "code", "request_id"],
        "{name}"
    );
    assert_eq!(
        document["type"],
        format!("urn:tollkeep:problem:{code}"),
        "{name}"
    );
    assert_eq!(
        (&document["status"], &document["code"]),
        (&json!(status), &json!(code)),
        "{name}"
    );
    assert_eq!(
        document["request_id"].as_str(),
        answer.field("x-request-id"),
        "{name}"
    );
    assert!(!document["detail"].as_str().unwrap().is_empty(), "{name}");
    assert_hardened(name, answer);
}

fn assert_hardened(name: &str, answer: &Answer) {
    for (field, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        assert_eq!(answer.field(field), Some(value), "{name}: {field}");
    }
    assert!(
        answer.field("x-request-id").unwrap().starts_with("req_"),
        "{name}"
    );
    let cors = answer
        .fields
        .iter()
        .find(|(name, _)| name.to_ascii_lowercase().starts_with("access-control"));
    assert_eq!(cors, None, "{name}");
}

/// The places of the faults in a 422.
fn places(answer: &Answer) -> Vec<String> {
    let document = answer.json();
    let faults = document["errors"].as_array().unwrap().clone();
    faults
        .iter()
        .map(|fault| fault["path"].as_str().unwrap().to_owned())
        .collect()
}

// ID-101 ID-102
#[test]
fn a_body_that_can_not_be_taken_is_refused_with_the_place_of_every_fault() {
    let gateway = gateway();
    for (name, body, want) in [
        ("unknown member", json!({ "nmae": "x" }), &["/nmae"][..]),
        ("a later feature", json!({ "budgets": [] }), &["/budgets"]),
        ("escaped name", json!({ "a/b~c": 1 }), &["/a~1b~0c"]),
        (
            "wrong types",
            json!({ "name": 5, "max_requests": "10", "ttl": 60 }),
            &["/ttl", "/max_requests", "/name"],
        ),
        (
            "negative",
            json!({ "max_requests": -1 }),
            &["/max_requests"],
        ),
        (
            "fraction",
            json!({ "max_requests": 1.5 }),
            &["/max_requests"],
        ),
        ("no unit", json!({ "ttl": "60" }), &["/ttl"]),
        (
            "no time",
            json!({ "expires_at": "tomorrow" }),
            &["/expires_at"],
        ),
        (
            "in the past",
            json!({ "expires_at": "2020-01-01T00:00:00Z" }),
            &["/expires_at"],
        ),
        (
            "too long a life",
            json!({ "ttl": "366d" }),
            &["/expires_at"],
        ),
        ("no life", json!({ "ttl": "0s" }), &["/expires_at"]),
        ("eternal", json!({ "expires_at": null }), &["/expires_at"]),
        ("prefix", json!({ "prefix": "9x" }), &["/prefix"]),
        ("length", json!({ "length": 20 }), &["/length"]),
        (
            "limits",
            json!({ "limits": { "requests_per_second": 0 } }),
            &["/limits"],
        ),
        (
            "address",
            json!({ "bindings": { "ips": ["banana"] } }),
            &["/bindings/ips"],
        ),
        (
            "bound to nothing",
            json!({ "bindings": { "models": [] } }),
            &["/bindings/models"],
        ),
        ("control characters", json!({ "name": "a\nb" }), &["/name"]),
        ("too long", json!({ "name": "n".repeat(201) }), &["/name"]),
    ] {
        let answer = post(&gateway, "/api/v1/tokens", body.to_string().as_bytes());
        assert_problem(name, &answer, 422, "invalid");
        assert_eq!(places(&answer), want, "{name}: {}", answer.text());
    }
    let nameless = post(&gateway, "/api/v1/projects", b"{\"name\":\"  \"}");
    assert_problem("no name", &nameless, 422, "invalid");
    let (_, list) = gateway.api("GET", "/api/v1/tokens", None);
    assert_eq!(list["data"], json!([]), "nothing was made");
}

// ID-101
#[test]
fn a_body_is_plain_json_and_every_change_refuses_what_it_does_not_know() {
    let gateway = gateway();
    let body = b"{\"name\":\"x\"}";
    let typed = format!("content-type: {JSON}\r\ncontent-length: {}\r\n", body.len());
    for (name, further, want) in [
        ("coded", "content-encoding: gzip\r\n", 415),
        ("of two types", "content-type: text/plain\r\n", 415),
        ("plain", "", 201),
    ] {
        let lines = format!("{typed}{further}");
        let answer = ask(&gateway, "POST /api/v1/projects", &lines, body);
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
    }
    let entry = br#"{"ip":"192.0.2.9"}"#;
    assert_eq!(
        post(&gateway, "/api/v1/security/ip-denylist", entry).status,
        201
    );
    // Somebody means something by it, so nothing is removed.
    let path = "DELETE /api/v1/security/ip-denylist/192.0.2.9";
    let refused = ask(&gateway, path, &typed, body);
    assert_problem("a body of a removal", &refused, 422, "invalid");
    assert_eq!(ask(&gateway, path, "", b"").status, 204);
    // An answer does not grow with the question.
    let many: Vec<_> = (0..20_000)
        .map(|number| format!("\"k{number}\":0"))
        .collect();
    let many = format!("{{{}}}", many.join(","));
    let refused = post(&gateway, "/api/v1/projects", many.as_bytes());
    assert_problem("many faults", &refused, 422, "invalid");
    assert!(refused.body.len() < 20_000, "{}", refused.body.len());
    let long = format!("/api/v1/projects?{}=1", "n".repeat(5_000));
    let refused = ask(&gateway, &format!("GET {long}"), "", b"");
    assert_problem("a long name", &refused, 400, "bad_request");
    assert!(refused.body.len() < 1_000, "{}", refused.body.len());
}

// ID-11
#[test]
fn a_token_that_would_be_too_short_is_refused_with_the_smallest_length() {
    let gateway = gateway();
    let answer = post(
        &gateway,
        "/api/v1/tokens",
        br#"{"prefix":"gw_","length":51}"#,
    );
    assert_problem("short", &answer, 422, "invalid");
    assert!(answer.text().contains("52"), "{}", answer.text());
    for (members, start, length) in [
        (json!({}), "tok-", 53),
        (json!({ "prefix": "gw_", "length": 52 }), "gw_", 52),
        (json!({ "length": 256 }), "tok-", 256),
    ] {
        let (_, secret) = made(&gateway, &members);
        assert!(
            secret.starts_with(start) && secret.len() == length,
            "{secret}"
        );
        assert!(tollkeep_crypto::mint::well_formed(&secret));
    }
}

const JSON: &str = "application/json";
const SOME_ID: &str = "tid_00000000000070008000000000000000";

/// What is refused: the request's start, the type of its body, the body, and the answer.
const REFUSED: [(&str, &str, &str, u16, &str); 16] = [
    ("POST /api/v1/tokens", JSON, "{x", 400, "bad_request"),
    ("POST /api/v1/tokens", JSON, "[]", 400, "bad_request"),
    ("POST /api/v1/tokens", JSON, "{}{}", 400, "bad_request"),
    (
        "POST /api/v1/tokens",
        "text/plain",
        "{}",
        415,
        "unsupported_media_type",
    ),
    (
        "POST /api/v1/tokens",
        "",
        "{}",
        415,
        "unsupported_media_type",
    ),
    (
        "POST /api/v1/tokens",
        "application/json-seq",
        "{}",
        415,
        "unsupported_media_type",
    ),
    ("GET /api/v1/nothing", "", "", 404, "not_found"),
    ("GET /", "", "", 404, "not_found"),
    ("GET /api/v1/tokens/5", "", "", 404, "not_found"),
    ("GET /api/v1/tokens/ID", "", "", 404, "not_found"),
    (
        "GET /api/v1/tokens/prj_00000000000070008000000000000000",
        "",
        "",
        404,
        "not_found",
    ),
    ("GET /api/v1/tokens/%FF", "", "", 400, "bad_request"),
    ("GET /api/v1/tokens?limit=0", "", "", 400, "bad_request"),
    ("GET /api/v1/tokens?limit=%FF", "", "", 400, "bad_request"),
    ("GET /api/v1/tokens?sort=name", "", "", 400, "bad_request"),
    ("GET /api/v1/tokens?cursor=abc", "", "", 400, "bad_cursor"),
];

/// Every path, and what it allows.
const ALLOWED: [(&str, &str); 8] = [
    ("/api/v1/tokens", "GET, HEAD, POST"),
    ("/api/v1/tokens/ID", "GET, HEAD, PATCH"),
    ("/api/v1/tokens/ID/revoke", "POST"),
    ("/api/v1/tokens/ID/rotate", "POST"),
    ("/api/v1/projects", "GET, HEAD, POST"),
    ("/api/v1/status", "GET, HEAD"),
    ("/api/v1/whoami", "GET, HEAD"),
    ("/ready", "GET, HEAD"),
];

// ID-101 ID-102
#[test]
fn what_is_no_request_of_the_api_is_refused_in_its_own_form() {
    let gateway = gateway();
    for (start, kind, body, status, code) in REFUSED {
        let mut lines = format!("content-length: {}\r\n", body.len());
        if !kind.is_empty() {
            lines.push_str(&format!("content-type: {kind}\r\n"));
        }
        let answer = ask(
            &gateway,
            &start.replace("ID", SOME_ID),
            &lines,
            body.as_bytes(),
        );
        assert_problem(&format!("{start} {body}"), &answer, status, code);
    }
    let large = format!("content-type: {JSON}\r\ncontent-length: 1048577\r\n");
    let answer = ask(&gateway, "POST /api/v1/tokens", &large, b"");
    assert_problem("one byte over 1 MiB", &answer, 413, "too_large");
    for (path, want) in ALLOWED {
        let answer = ask(
            &gateway,
            &format!("DELETE {path}").replace("ID", SOME_ID),
            "",
            b"",
        );
        assert_problem(path, &answer, 405, "method_not_allowed");
        assert_eq!(answer.field("allow"), Some(want), "{path}");
    }
}

// ID-101
#[test]
fn a_chunked_body_is_bounded_too() {
    let gateway = gateway();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(0x10_0000));
    let body = format!("{chunk}2\r\n{{}}\r\n0\r\n\r\n");
    let lines = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let answer = ask(&gateway, "POST /api/v1/tokens", lines, body.as_bytes());
    assert_problem("1 MiB and 2 bytes", &answer, 413, "too_large");
}

#[test]
fn a_name_that_is_not_served_is_refused_on_both_inner_listeners() {
    let gateway = gateway();
    for (host, want) in [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
    ] {
        let answer = ask(
            &gateway,
            "GET /api/v1/status",
            &format!("host: {host}\r\n"),
            b"",
        );
        assert_eq!(answer.status, want, "management for {host:?}");
        if want == 421 {
            assert_problem(host, &answer, 421, "misdirected");
        }
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = Client::connect(gateway.metrics()).call(request.as_bytes());
        assert_eq!(answer.status, want, "metrics for {host:?}");
        assert_hardened(host, &answer);
    }
}

// ID-103
#[test]
fn lists_are_paged_newest_first_and_a_cursor_fits_its_own_list_only() {
    let gateway = gateway();
    let ids: Vec<_> = (0..5).map(|_| made(&gateway, &json!({})).0).collect();
    let page = |query: &str| gateway.api("GET", &format!("/api/v1/tokens?{query}"), None);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, list) = page(&format!("limit=2{cursor}"));
        assert_eq!(status, 200, "{list}");
        seen.extend(
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token["id"].as_str().unwrap().to_owned()),
        );
        if seen.len() == 2 {
            // Stable under inserts.
            made(&gateway, &json!({}));
        }
        match list["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => {
                assert_eq!(list["has_more"], false);
                break;
            }
        }
    }
    assert_eq!(seen, ids.into_iter().rev().collect::<Vec<_>>());
    let (_, list) = page("limit=2");
    let cursor = list["next_cursor"].as_str().unwrap();
    assert_eq!(
        page(&format!("active=true&cursor={cursor}")).0,
        400,
        "another filter"
    );
    let (front, last) = cursor.split_at(cursor.len() - 1);
    let changed = format!("{front}{}", if last == "0" { "1" } else { "0" });
    assert_eq!(page(&format!("cursor={changed}")).1["code"], "bad_cursor");
}

// ID-102
#[test]
fn what_collides_is_a_conflict() {
    let gateway = gateway();
    let create = |members: Value| gateway.api("POST", "/api/v1/projects", Some(&members));
    let (status, made) = create(json!({ "name": "Team A" }));
    assert_eq!((status, &made["slug"]), (201, &json!("team-a")));
    for members in [
        json!({ "name": "Team A" }),
        json!({ "name": "Other", "slug": "team-a" }),
    ] {
        let (status, problem) = create(members);
        assert_eq!(
            (status, &problem["code"]),
            (409, &json!("conflict")),
            "{problem}"
        );
    }
    let (status, problem) = create(json!({ "name": "Third", "slug": "Not A Slug" }));
    assert_eq!(status, 422, "{problem}");
}

// ID-57
#[test]
fn the_local_socket_needs_no_key_and_is_for_its_user_alone() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    let origin = Origin::plain();
    let gateway = models(&origin).start();
    let socket = std::fs::metadata(gateway.data_dir().join("tollkeep.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o077, 0);
    let told = gateway.cli(&["status"]);
    assert!(told.status.success());
    let off = models(&origin)
        .set("management.local_socket", "false")
        .start();
    assert!(!off.data_dir().join("tollkeep.sock").exists());
    assert_eq!(off.cli(&["status"]).status.code(), Some(7));
}

// ID-91 ID-101
#[test]
fn a_body_that_says_a_thing_twice_is_refused_by_every_operation() {
    let gateway = gateway();
    for (path, body) in [
        (
            "/api/v1/tokens",
            r#"{"project":"default","project":"other"}"#,
        ),
        ("/api/v1/tokens", r#"{"name":"a","n\u0061me":"b"}"#),
        (
            "/api/v1/tokens",
            r#"{"bindings":{"ips":["127.0.0.1"],"ips":["0.0.0.0/0"]}}"#,
        ),
        (
            "/api/v1/tokens",
            r#"{"limits":{"requests_per_minute":1,"requests_per_minute":9}}"#,
        ),
        ("/api/v1/projects", r#"{"name":"a","name":"b"}"#),
        (
            "/api/v1/security/ip-denylist",
            r#"{"ip":"192.0.2.1","ip":"192.0.2.2"}"#,
        ),
    ] {
        let answer = post(&gateway, path, body.as_bytes());
        assert_problem(body, &answer, 400, "duplicate_key");
        assert!(
            answer.text().contains("line 1, column"),
            "{}",
            answer.text()
        );
    }
    let (_, list) = gateway.api("GET", "/api/v1/tokens", None);
    assert_eq!(list["data"], json!([]), "nothing was made");
}
