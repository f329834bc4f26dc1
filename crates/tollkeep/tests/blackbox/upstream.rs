//! What upstreams may do: every answer is read as strictly as a request, and a connection serves
//! again only when both messages ended exactly.

use crate::fixture::{before, free, gateway, head, post};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use tollkeep_testkit::{BodyEnd, Gateway, Origin, Step, eventually, ok};

fn plain(origin: &Origin) -> Gateway {
    let routes = ["GET /x", "POST /x", "GET /other"].map(free).concat();
    gateway(before(origin, &routes))
        .set("server.workers", "1")
        .start()
}

/// An origin that answers `/x` with these bytes and then waits, and all else with `ok`.
fn answering(bytes: &[u8]) -> Origin {
    let bytes = bytes.to_vec();
    Origin::start(move |request| match request.target.as_str() {
        "/x" => vec![Step::Send(bytes.clone())],
        _ => ok(b"ok"),
    })
}

/// Answers that no strict reader takes; `~` stands for a good status line.
const BROKEN: &[(&str, &str)] = &[
    (
        "two lengths",
        "~content-length: 2\r\ncontent-length: 2\r\n\r\nok",
    ),
    ("a list of lengths", "~content-length: 2, 2\r\n\r\nok"),
    ("a signed length", "~content-length: +2\r\n\r\nok"),
    ("an empty length", "~content-length:\r\n\r\nok"),
    (
        "length and chunked",
        "~content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "an unknown coding",
        "~transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "two codings",
        "~transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded line",
        "~x: y\r\n z\r\ncontent-length: 2\r\n\r\nok",
    ),
    ("NUL", "~x: \0\r\ncontent-length: 2\r\n\r\nok"),
    ("a bare LF", "~x: y\ncontent-length: 2\r\n\r\nok"),
    ("a bare CR", "~x: y\rz\r\ncontent-length: 2\r\n\r\nok"),
    (
        "a blank before the colon",
        "~x : y\r\ncontent-length: 2\r\n\r\nok",
    ),
    ("another protocol", "ICY 200 OK\r\n\r\n"),
    ("another version", "HTTP/2 200 OK\r\n\r\n"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
    ("a status of letters", "HTTP/1.1 2xx OK\r\n\r\n"),
    (
        "no request was upgraded",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: foo\r\n\r\n",
    ),
    ("101 fields", "~FIELDSx: y\r\n\r\n"),
    ("a head over 64 KiB", "~LONG"),
    (
        "nine interim answers",
        "INTERIMHTTP/1.1 103 Early Hints\r\n\r\n~content-length: 2\r\n\r\nok",
    ),
];

/// Answers that pass: name, bytes, body for the caller, connections for two requests.
const STRICT: &[(&str, &str, &str, usize)] = &[
    ("length", "~content-length: 2\r\n\r\nhi", "hi", 1),
    ("nothing", "~content-length: 0\r\n\r\n", "", 1),
    (
        "chunked, with extensions and trailers",
        "~transfer-encoding: Chunked\r\n\r\n1;a=b\r\nh\r\n1\r\ni\r\n0\r\nx-sum: 1\r\n\r\n",
        "hi",
        1,
    ),
    (
        "no reason",
        "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nhi",
        "hi",
        1,
    ),
    ("100 fields", "~content-length: 2\r\nFIELDS\r\nhi", "hi", 1),
    (
        "eight interim answers",
        "INTERIM~content-length: 2\r\n\r\nhi",
        "hi",
        1,
    ),
    (
        "it says it closes",
        "~connection: close\r\ncontent-length: 2\r\n\r\nhi",
        "hi",
        2,
    ),
    (
        "an old version",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "hi",
        2,
    ),
    (
        "bytes behind the message",
        "~content-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
        "hi",
        2,
    ),
    ("a body on 204", "HTTP/1.1 204 No Content\r\n\r\nhi", "", 2),
    (
        "a body on 304",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\nhi",
        "",
        2,
    ),
];

/// The bytes a row of these tables stands for.
fn written(text: &str) -> Vec<u8> {
    let long = format!("x: {}\r\n\r\n", "y".repeat(65 * 1024));
    let text = text
        .replace('~', "HTTP/1.1 200 OK\r\n")
        .replace("LONG", &long);
    let text = text.replace(
        "FIELDS",
        &"x: y\r\n".repeat(if text.contains("content-length") {
            99
        } else {
            100
        }),
    );
    text.replace("INTERIM", &"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(8))
        .into_bytes()
}

// EDGE-75
#[test]
fn an_answer_that_is_not_strict_is_a_bad_gateway_and_its_connection_is_discarded() {
    for (name, text) in BROKEN {
        let origin = answering(&written(text));
        let gateway = plain(&origin);
        let mut client = gateway.connect();
        let answer = client.call(&head("GET /x", ""));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream_protocol"),
            "{name}"
        );
        assert_eq!(
            answer.text(),
            r#"{"error":"The upstream could not answer.","code":"upstream_protocol"}"#,
            "{name}"
        );
        assert_eq!(
            client.call(&head("GET /other", "")).status,
            200,
            "{name}: the caller's connection lives"
        );
        assert_eq!(origin.connections(), 2, "{name}: the upstream's does not");
    }
}

// EDGE-75
#[test]
fn what_is_strict_passes_and_its_connection_serves_again() {
    for (name, text, body, connections) in STRICT {
        let origin = answering(&written(text));
        let gateway = plain(&origin);
        let mut client = gateway.connect();
        let answer = client.call(&head("GET /x", ""));
        assert_eq!(
            (answer.text().as_str(), answer.end),
            (*body, BodyEnd::Whole),
            "{name}: {answer:?}"
        );
        assert!(
            answer.interim.is_empty() && answer.field("x-sum").is_none(),
            "{name}"
        );
        assert_eq!(
            client.call(&head("GET /other", "")).text(),
            "ok",
            "{name}: never the bytes left over"
        );
        assert_eq!(origin.connections(), *connections, "{name}");
    }
}

// EDGE-75
#[test]
fn a_body_that_answers_head_discards_the_connection() {
    let origin = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    let answer = client.call(&head("HEAD /x", ""));
    assert_eq!(
        (answer.status, answer.field("content-length")),
        (200, Some("2"))
    );
    assert_eq!(client.call(&head("GET /other", "")).text(), "ok");
    assert_eq!(origin.connections(), 2);
}

// EDGE-51 EDGE-75
#[test]
fn an_answer_that_ends_early_is_cut_for_the_caller_too() {
    for (name, steps, body) in [
        (
            "length",
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()),
                Step::Close,
            ],
            "half",
        ),
        (
            "chunked",
            vec![
                Step::Send(
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n".to_vec(),
                ),
                Step::Close,
            ],
            "half",
        ),
        (
            "a malformed chunk",
            vec![
                Step::Send(
                    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nxx\r\n"
                        .to_vec(),
                ),
                Step::Hang,
            ],
            "half",
        ),
    ] {
        let origin = Origin::start(move |_| steps.clone());
        let gateway = plain(&origin);
        let answer = gateway.call(&head("GET /x", ""));
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.end),
            (200, body, BodyEnd::Cut),
            "{name}"
        );
        let record = eventually("its access line", || gateway.access_lines().pop());
        assert_eq!(record["outcome"], "cut", "{name}: {record}");
    }
}

// EDGE-75
#[test]
fn an_answer_that_never_began_is_a_bad_gateway() {
    for (name, steps, code) in [
        ("closed at once", vec![Step::Close], "upstream_error"),
        (
            "closed within the head",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nx".to_vec()), Step::Close],
            "upstream_protocol",
        ),
    ] {
        let origin = Origin::start(move |_| steps.clone());
        let gateway = plain(&origin);
        let answer = gateway.call(&head("GET /x", ""));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, code),
            "{name}"
        );
    }
    let nobody = { Origin::plain().url() };
    let config = format!(
        "upstreams:\n  origin: {{ url: \"{nobody}\", allow_private: [\"127.0.0.1/32\"] }}\nroutes:\n{}",
        free("GET /x")
    );
    let answer = gateway(config).start().call(&head("GET /x", ""));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_error")
    );
}

/// An origin whose connections each answer once and die with the next request.
fn one_shot() -> Origin {
    let last = AtomicUsize::new(usize::MAX);
    Origin::start(move |request| {
        let reused = last.swap(request.connection, Ordering::Relaxed) == request.connection;
        if reused { vec![Step::Close] } else { ok(b"ok") }
    })
}

// EDGE-111
#[test]
fn a_connection_that_died_in_the_pool_is_tried_anew_only_for_what_may_be_repeated() {
    let origin = one_shot();
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    assert_eq!(client.call(&head("GET /x", "")).status, 200);
    assert_eq!(
        client.call(&head("GET /x", "")).status,
        200,
        "tried again on a new connection"
    );
    assert_eq!((origin.count(), origin.connections()), (3, 2));
    let posted = client.call(&post("/x", "", b"pay"));
    assert_eq!(
        (posted.status, posted.code().as_str()),
        (502, "upstream_error")
    );
    assert_eq!(
        (origin.count(), origin.connections()),
        (4, 2),
        "a POST is sent once"
    );
}

// EDGE-112
#[test]
fn connections_are_kept_used_again_and_closed_when_idle_for_long() {
    let origin = Origin::plain();
    let config =
        before(&origin, &free("GET /x")).replace("32\"] }", "32\"], pool: { idle_ms: 500 } }");
    let pooled = gateway(config).set("server.workers", "1").start();
    for _ in 0..5 {
        assert_eq!(pooled.call(&head("GET /x", "")).status, 200);
    }
    assert_eq!(
        origin.connections(),
        1,
        "callers share it, one after the other"
    );
    eventually("the idle connection closed", || {
        (origin.open_connections() == 0).then_some(())
    });
    assert_eq!(pooled.call(&head("GET /x", "")).status, 200);
    assert_eq!(origin.connections(), 2);
}

// EDGE-112
#[test]
fn connections_to_one_upstream_are_bounded() {
    let gate = tollkeep_testkit::Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok(b"ok")].concat());
    let config = before(&origin, &free("GET /x"))
        .replace("32\"] }", "32\"], pool: { connections_max: 2 } }");
    let bounded = gateway(config).set("server.workers", "1").start();
    let mut clients: Vec<_> = (0..2).map(|_| bounded.connect()).collect();
    for client in &mut clients {
        client.send(&head("GET /x", ""));
    }
    origin.wait_for(2);
    let third = bounded.call(&head("GET /x", ""));
    assert_eq!((third.status, third.code().as_str()), (503, "overloaded"));
    gate.open();
    for client in &mut clients {
        assert_eq!(
            client.answer(tollkeep_testkit::PATIENCE).unwrap().status,
            200
        );
    }
}

// EDGE-112
#[test]
fn projects_may_have_connections_of_their_own() {
    for (scope, want) in [("shared", 1), ("project", 3)] {
        let origin = Origin::plain();
        let routes = format!("{}  \"POST /x\": {{ upstream: origin }}\n", free("GET /x"));
        let config = before(&origin, &routes)
            .replace("32\"] }", &format!("32\"], pool: {{ scope: {scope} }} }}"));
        let gateway = gateway(config).set("server.workers", "1").start();
        let (made, _) = gateway.api(
            "POST",
            "/api/v1/projects",
            Some(&json!({ "name": "other" })),
        );
        assert_eq!(made, 201);
        let tokens = ["default", "other"].map(|project| {
            let token = gateway.mint_token(&json!({ "project": project }));
            format!("Authorization: Bearer {token}\r\n")
        });
        for _ in 0..3 {
            for token in &tokens {
                assert_eq!(gateway.call(&post("/x", token, b"")).status, 200);
            }
            assert_eq!(gateway.call(&head("GET /x", "")).status, 200, "nobody's");
        }
        assert_eq!(origin.connections(), want, "{scope}");
    }
}

// EDGE-112 EDGE-75
#[test]
fn a_connection_that_speaks_unasked_is_closed_and_nobody_gets_what_it_said() {
    let gate = tollkeep_testkit::Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_vec();
        match request.target.as_str() {
            "/x" => [
                ok(b"first"),
                vec![Step::Wait(held.clone()), Step::Send(evil)],
            ]
            .concat(),
            _ => ok(b"own"),
        }
    });
    let routes = ["GET /x", "GET /y"].map(free).concat();
    let gateway = gateway(before(&origin, &routes))
        .set("server.workers", "1")
        .start();
    assert_eq!(gateway.call(&head("GET /x", "")).text(), "first");
    gate.open();
    // It is closed as soon as it turned readable, not when somebody wants it.
    eventually("the end of it", || {
        (origin.open_connections() == 0).then_some(())
    });
    assert_eq!(gateway.call(&head("GET /y", "")).text(), "own");
    assert_eq!(origin.connections(), 2);
}
