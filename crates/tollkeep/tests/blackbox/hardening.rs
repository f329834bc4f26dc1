//! The fields that every answer of every listener has.

use crate::fixture::{before, chat, free, gateway, head, llm, post};
use tollkeep_testkit::{
    Answer, Client, Gateway, MANAGEMENT_KEY, Origin, PATIENCE, chunk, chunked_head, eventually, ok,
};

const DEFAULTS: [(&str, &str); 7] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-xss-protection", "0"),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

fn assert_hardened(name: &str, answer: &Answer) {
    for (field, value) in DEFAULTS {
        assert_eq!(
            answer.field(field),
            Some(value),
            "{name}: {field}: {answer:?}"
        );
    }
    assert_eq!(
        answer.field("strict-transport-security"),
        None,
        "{name}: clear text must not have it"
    );
    assert_eq!(
        (answer.field("server"), answer.field("x-powered-by")),
        (None, None),
        "{name}"
    );
    let date = answer
        .field("date")
        .unwrap_or_else(|| panic!("{name}: no Date"));
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{name}: {date}");
    assert!(
        answer
            .field("x-request-id")
            .is_some_and(|id| id.starts_with("req_")),
        "{name}"
    );
    if answer.status >= 400 {
        assert!(
            answer
                .field("cache-control")
                .is_some_and(|value| value.contains("no-store")),
            "{name}: {answer:?}"
        );
    }
}

fn ask(addr: std::net::SocketAddr, start: &str, lines: &str) -> Answer {
    Client::connect(addr)
        .call(format!("{start} HTTP/1.1\r\nHost: {addr}\r\n{lines}\r\n").as_bytes())
}

// EDGE-76
#[test]
fn every_kind_of_answer_on_the_data_listener_is_hardened() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/v1/chat/completions" => vec![
            chunked_head("text/event-stream"),
            chunk(b"data: [DONE]\n\n"),
            chunk(b""),
        ],
        "/x?404" => vec![tollkeep_testkit::Step::Send(
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
        "/x?broken" => vec![tollkeep_testkit::Step::Send(b"nonsense\r\n\r\n".to_vec())],
        "/x?204" => vec![tollkeep_testkit::Step::Send(
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        )],
        _ => ok(b"ok"),
    });
    let routes = ["GET /x", "POST /x"].map(free).concat();
    let upstream = before(&origin, &routes);
    let timeouts = "server: { timeouts: { header_ms: 300 } }\n";
    let (gateway, token) = llm(&origin, "openai", &format!("{timeouts}{upstream}"));
    let limited = "  \"GET /limited\": { upstream: origin, access: free, rate_limit: { requests: 1, window: 1h } }\n";
    let limited = crate::fixture::gateway(before(&origin, limited)).start();
    limited.call(&head("GET /limited", ""));
    let raw = |gateway: &Gateway, bytes: &[u8]| gateway.call(bytes);
    for (name, answer, status) in [
        ("relayed", gateway.call(&head("GET /x", "")), 200),
        (
            "relayed, no body",
            gateway.call(&head("GET /x?204", "")),
            204,
        ),
        (
            "relayed, an error",
            gateway.call(&head("GET /x?404", "")),
            404,
        ),
        ("HEAD", gateway.call(&head("HEAD /x", "")), 200),
        (
            "a stream",
            gateway.call(&chat(
                &token,
                r#"{"model":"m","messages":[],"stream":true}"#,
            )),
            200,
        ),
        (
            "models",
            gateway.call(&head(
                "GET /v1/models",
                &format!("Authorization: Bearer {token}\r\n"),
            )),
            200,
        ),
        ("health", gateway.call(&head("GET /health", "")), 200),
        ("healthz", gateway.call(&head("GET /healthz", "")), 200),
        ("live", gateway.call(&head("GET /live", "")), 200),
        ("ready", gateway.call(&head("GET /ready", "")), 200),
        ("options", gateway.call(&head("OPTIONS *", "")), 204),
        ("bad head", raw(&gateway, b"GET /x\r\n\r\n"), 400),
        ("bad path", gateway.call(&head("GET /x//y", "")), 400),
        ("bad JSON", gateway.call(&chat(&token, "{")), 400),
        (
            "no credential",
            gateway.call(&post("/v1/chat/completions", "", b"{}")),
            401,
        ),
        ("no route", gateway.call(&head("GET /nowhere", "")), 404),
        ("no method", gateway.call(&head("DELETE /x", "")), 405),
        ("refused method", gateway.call(&head("TRACE /x", "")), 405),
        ("slow head", raw(&gateway, b"GET /x HTTP/1.1\r\n"), 408),
        (
            "large body",
            gateway.call(&head("POST /x", "Content-Length: 9999999\r\n")),
            413,
        ),
        (
            "long target",
            gateway.call(&head(&format!("GET /{}", "x".repeat(9000)), "")),
            414,
        ),
        (
            "content",
            gateway.call(&post(
                "/v1/chat/completions",
                &format!("Authorization: Bearer {token}\r\n"),
                b"{}",
            )),
            415,
        ),
        (
            "expectation",
            gateway.call(&head("POST /x", "Expect: tea\r\nContent-Length: 1\r\n")),
            417,
        ),
        (
            "another host",
            raw(&gateway, b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
            421,
        ),
        ("rate limit", limited.call(&head("GET /limited", "")), 429),
        (
            "fields",
            gateway.call(&head("GET /x", &"X: y\r\n".repeat(101))),
            431,
        ),
        ("unknown method", gateway.call(&head("BREW /x", "")), 501),
        (
            "bad upstream",
            gateway.call(&head("GET /x?broken", "")),
            502,
        ),
        (
            "version",
            raw(&gateway, b"GET /x HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n"),
            505,
        ),
    ] {
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_hardened(name, &answer);
    }
}

// EDGE-76
#[test]
fn every_kind_of_answer_on_the_other_listeners_is_hardened() {
    let gateway = gateway("").start();
    let key = format!("X-Management-Key: {MANAGEMENT_KEY}\r\n");
    let (management, metrics) = (gateway.management(), gateway.metrics());
    for (name, addr, start, lines, status) in [
        (
            "status",
            management,
            "GET /api/v1/status",
            key.as_str(),
            200,
        ),
        ("HEAD", management, "HEAD /api/v1/status", &key, 200),
        ("health", management, "GET /health", "", 200),
        ("no key", management, "GET /api/v1/status", "", 401),
        (
            "nothing there",
            management,
            "GET /api/v1/nothing",
            &key,
            404,
        ),
        ("no method", management, "DELETE /api/v1/status", &key, 405),
        (
            "not JSON",
            management,
            "POST /api/v1/tokens",
            &format!("{key}Content-Length: 2\r\n"),
            415,
        ),
        ("metrics", metrics, "GET /metrics", "", 200),
        ("nothing there", metrics, "GET /nothing", "", 404),
        ("health", metrics, "GET /health", "", 200),
    ] {
        let answer = if start.starts_with("POST") {
            Client::connect(addr)
                .call(format!("{start} HTTP/1.1\r\nHost: {addr}\r\n{lines}\r\n{{}}").as_bytes())
        } else {
            ask(addr, start, lines)
        };
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_hardened(name, &answer);
    }
    for (name, addr) in [("management", management), ("metrics", metrics)] {
        let answer = Client::connect(addr)
            .call(format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n{key}\r\n").as_bytes());
        assert_eq!(answer.status, 421, "{name}");
        assert_hardened(name, &answer);
    }
}

// EDGE-76
#[test]
fn the_values_are_settings_and_may_be_off_in_development_only() {
    let origin = Origin::plain();
    let headers = "server: { security: { headers: { xss_protection: \"1; mode=block\", content_security_policy: \"default-src 'self'\", frame_options: SAMEORIGIN } } }\n";
    let set = gateway(format!("{headers}{}", before(&origin, &free("GET /x")))).start();
    for request in [
        head("GET /x", ""),
        head("GET /nowhere", ""),
        head("GET /health", ""),
    ] {
        let answer = set.call(&request);
        assert_eq!(answer.field("x-xss-protection"), Some("1; mode=block"));
        assert_eq!(
            answer.field("content-security-policy"),
            Some("default-src 'self'")
        );
        assert_eq!(answer.field("x-frame-options"), Some("SAMEORIGIN"));
        assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
    }
    let off = "server: { security: { headers: { enabled: false } } }\n";
    let bare = gateway(format!("{off}{}", before(&origin, &free("GET /x")))).start();
    assert_eq!(
        bare.call(&head("GET /x", "")).field("x-frame-options"),
        None
    );
    let refused = gateway(off)
        .set("environment", "production")
        .try_start()
        .err()
        .expect("refused in production");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("server.security.headers"),
        "{}",
        refused.stderr
    );
}

// EDGE-16
#[test]
fn transport_security_is_asked_for_only_behind_a_trusted_proxy_that_speaks_tls() {
    let origin = Origin::plain();
    let trusting = "server: { trusted_proxies: [\"127.0.0.1/32\"] }\n";
    for (name, server, proto, want) in [
        ("trusted, https", trusting, "https", true),
        ("trusted, http", trusting, "http", false),
        ("trusted, odd", trusting, "HTTPS", false),
        ("not trusted", "", "https", false),
    ] {
        let gateway = gateway(format!("{server}{}", before(&origin, &free("GET /x")))).start();
        let answer = gateway.call(&head("GET /x", &format!("X-Forwarded-Proto: {proto}\r\n")));
        assert_eq!(
            answer.field("strict-transport-security").is_some(),
            want,
            "{name}"
        );
    }
}

// EDGE-76
#[test]
fn an_answer_is_dated_now() {
    let gateway = gateway("").start();
    let mut client = gateway.connect();
    let first = client
        .call(&head("GET /health", ""))
        .field("date")
        .unwrap()
        .to_owned();
    eventually("a later date", || {
        client.send(&head("GET /health", ""));
        let answer = client.answer(PATIENCE).unwrap();
        (answer.field("date") != Some(first.as_str())).then_some(())
    });
}
