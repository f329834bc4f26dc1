//! The fields that every answer of every listener has.

use crate::fixture::{before, chat, free, gateway, head, llm};
use tollkeep_testkit::{
    Answer, Client, MANAGEMENT_KEY, Origin, PATIENCE, Step, chunk, chunked_head, eventually, ok,
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

/// Requests of every kind: start, further lines, status. `TOKEN` stands for a good credential.
const KINDS: &[(&str, &str, u16)] = &[
    ("GET /x", "", 200),
    ("GET /x?204", "", 204),
    ("GET /x?404", "", 404),
    ("HEAD /x", "", 200),
    ("GET /v1/models", "TOKEN", 200),
    ("GET /health", "", 200),
    ("GET /healthz", "", 200),
    ("GET /live", "", 200),
    ("GET /ready", "", 200),
    ("OPTIONS *", "", 204),
    ("GET /x", "Bad Name: x\r\n", 400),
    ("GET /x//y", "", 400),
    ("GET /nowhere", "", 404),
    ("DELETE /x", "", 405),
    ("TRACE /x", "", 405),
    ("POST /x", "Content-Length: 9999999\r\n", 413),
    ("POST /x", "Expect: tea\r\nContent-Length: 1\r\n", 417),
    ("BREW /x", "", 501),
    ("GET /x?broken", "", 502),
    ("POST /v1/chat/completions", "Content-Length: 0\r\n", 401),
    (
        "POST /v1/chat/completions",
        "TOKENContent-Length: 0\r\n",
        415,
    ),
    (
        "POST /v1/chat/completions",
        "TOKENContent-Type: application/json\r\nContent-Length: 0\r\n",
        400,
    ),
];

/// An origin whose answers are of several kinds.
fn of_all_kinds() -> Origin {
    let send = |text: &str| vec![Step::Send(text.as_bytes().to_vec())];
    Origin::start(move |request| match request.target.as_str() {
        "/v1/chat/completions" => vec![
            chunked_head("text/event-stream"),
            chunk(b"data: [DONE]\n\n"),
            chunk(b""),
        ],
        "/x?404" => send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        "/x?204" => send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/x?broken" => send("nonsense\r\n\r\n"),
        _ => ok(b"ok"),
    })
}

// EDGE-76
#[test]
fn every_kind_of_answer_on_the_data_listener_is_hardened() {
    let origin = of_all_kinds();
    let upstream = before(&origin, &["GET /x", "POST /x"].map(free).concat());
    let timeouts = "server: { timeouts: { header_ms: 300 } }\n";
    let (gateway, token) = llm(&origin, "openai", &format!("{timeouts}{upstream}"));
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (start, lines, status) in KINDS {
        let answer = gateway.call(&head(start, &lines.replace("TOKEN", &bearer)));
        assert_eq!(answer.status, *status, "{start} {lines}: {}", answer.text());
        assert_hardened(&format!("{start} {lines}"), &answer);
    }
    for (name, request, status) in [
        (
            "a stream",
            chat(&token, r#"{"model":"m","messages":[],"stream":true}"#),
            200,
        ),
        ("a slow head", b"GET /x HTTP/1.1\r\n".to_vec(), 408),
        (
            "a long target",
            head(&format!("GET /{}", "x".repeat(9000)), ""),
            414,
        ),
        (
            "another host",
            b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_vec(),
            421,
        ),
        ("many fields", head("GET /x", &"X: y\r\n".repeat(101)), 431),
        (
            "another version",
            b"GET /x HTTP/1.2\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
            505,
        ),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_hardened(name, &answer);
    }
    let limit = "  \"GET /limited\": { upstream: origin, access: free, rate_limit: { requests: 1, window: 1h } }\n";
    let limited = crate::fixture::gateway(before(&origin, limit)).start();
    let answers = [(); 2].map(|()| limited.call(&head("GET /limited", "")));
    assert_eq!(answers[1].status, 429);
    assert_hardened("a limit", &answers[1]);
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
