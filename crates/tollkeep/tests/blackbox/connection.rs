//! Many requests on one connection: order, HEAD, methods, expectations, bodies left over.

use crate::fixture::{before, free, gateway, head, llm, post};
use std::time::Duration;
use tollkeep_testkit::{Ended, Gate, Gateway, Origin, PATIENCE, Step, ok, with_fields};

const SHORT: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(4);

pub(crate) fn plain(origin: &Origin) -> Gateway {
    let routes = ["GET /x", "POST /x", "PUT /x", "POST /y", "GET /any/*"]
        .map(free)
        .concat();
    gateway(before(origin, &routes)).start()
}

/// An origin that tells each request's own target and body.
pub(crate) fn echo() -> Origin {
    Origin::start(|request| ok(format!("{} {}", request.target, request.text()).as_bytes()))
}

// EDGE-35
#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let wait = if request.target.ends_with("=0") {
            vec![Step::Wait(held.clone())]
        } else {
            Vec::new()
        };
        [wait, ok(request.target.as_bytes())].concat()
    });
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    let requests = (0..16).map(|number| match number % 2 {
        0 => head(&format!("GET /x?n={number}"), ""),
        _ => post(&format!("/x?n={number}"), "", b"a body"),
    });
    client.send(&requests.collect::<Vec<_>>().concat());
    origin.wait_for(1);
    assert_eq!(
        client.answer(SHORT).map(|answer| answer.status),
        Err(Ended::Silent)
    );
    assert_eq!(origin.count(), 1, "one in work at a time");
    gate.open();
    for number in 0..16 {
        let answer = client.answer(PATIENCE).unwrap();
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("/x?n={number}"))
        );
    }
    assert_eq!(client.call(&head("GET /x?last", "")).status, 200);
}

// EDGE-35
#[test]
fn more_than_the_look_ahead_is_not_buffered_and_nothing_of_it_is_lost() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        [
            vec![Step::Wait(held.clone())],
            ok(request.target.as_bytes()),
        ]
        .concat()
    });
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    let count = 60;
    let padding = format!("X: {}\r\n", "x".repeat(4000));
    client.send(
        &(0..count)
            .flat_map(|number| head(&format!("GET /x?n={number}"), &padding))
            .collect::<Vec<_>>(),
    );
    origin.wait_for(1);
    gate.open();
    for number in 0..count {
        assert_eq!(
            client.answer(PATIENCE).unwrap().text(),
            format!("/x?n={number}")
        );
    }
}

// EDGE-33
#[test]
fn bytes_behind_a_close_are_never_read() {
    let origin = echo();
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    client.send(
        &[
            head("GET /x", "Connection: close\r\n"),
            head("GET /x?second", ""),
        ]
        .concat(),
    );
    let answer = client.answer(PATIENCE).unwrap();
    assert!(answer.status == 200 && answer.closes());
    assert!(client.closed_within(LATE));
    assert_eq!(origin.count(), 1);
}

// EDGE-30
#[test]
fn head_follows_get_with_the_same_fields_and_no_body() {
    let origin = Origin::start(|request| match request.method.as_str() {
        "HEAD" => vec![Step::Send(
            b"HTTP/1.1 200 OK\r\nx-kind: page\r\ncontent-length: 5\r\n\r\n".to_vec(),
        )],
        _ => with_fields("x-kind: page\r\n", b"hello"),
    });
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    let get = client.call(&head("GET /x", ""));
    let headed = client.call(&head("HEAD /x", ""));
    let shown = |answer: &tollkeep_testkit::Answer| {
        let fields = answer
            .fields
            .iter()
            .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()));
        (answer.status, fields.cloned().collect::<Vec<_>>())
    };
    assert_eq!(shown(&get), shown(&headed));
    assert_eq!(origin.last().method, "HEAD");
    assert_eq!(
        client.call(&head("GET /x", "")).text(),
        "hello",
        "the connection goes on"
    );
    // Refusals to HEAD have no body either.
    assert_eq!(client.call(&head("HEAD /nowhere", "")).status, 404);
    assert_eq!(client.call(&head("HEAD /y", "")).status, 405);
    assert_eq!(client.call(&head("GET /x", "")).text(), "hello");
}

// EDGE-30 LLM-1
#[test]
fn methods_that_a_path_lacks_are_told_with_those_it_has() {
    let origin = echo();
    let (with_models, token) = llm(&origin, "openai", "");
    let gateway = plain(&origin);
    for (name, gateway, start, allow) in [
        (
            "several routes",
            &gateway,
            "DELETE /x",
            "GET, HEAD, POST, PUT",
        ),
        ("one", &gateway, "GET /y", "POST"),
        (
            "options is a method like others",
            &gateway,
            "OPTIONS /y",
            "POST",
        ),
        (
            "a surface",
            &with_models,
            "GET /v1/chat/completions",
            "POST",
        ),
        ("a surface, put", &with_models, "PUT /v1/embeddings", "POST"),
        ("models", &with_models, "POST /v1/models", "GET, HEAD"),
    ] {
        let mut client = gateway.connect();
        let answer = client.call(&head(start, &format!("Authorization: Bearer {token}\r\n")));
        assert_eq!(
            (answer.status, answer.field("allow")),
            (405, Some(allow)),
            "{name}"
        );
        assert_eq!(answer.code(), "method_not_allowed", "{name}");
        assert_eq!(
            client.call(&head("GET /health", "")).status,
            200,
            "{name}: the connection lives"
        );
    }
    assert_eq!(origin.connections(), 0);
}

// EDGE-32
#[test]
fn leave_to_continue_is_given_once_all_that_a_head_can_be_refused_for_has_passed() {
    let origin = Origin::start(|request| ok(request.field("expect").unwrap_or("none").as_bytes()));
    let gateway = plain(&origin);
    let mut client = gateway.connect();
    client.send(&head(
        "POST /x",
        "Content-Length: 5\r\nExpect: 100-Continue\r\n",
    ));
    assert_eq!(
        client.bytes(PATIENCE).unwrap(),
        b"HTTP/1.1 100 Continue\r\n\r\n"
    );
    assert_eq!(origin.connections(), 0, "no contact before the body");
    let answer = client.call(b"hello");
    assert_eq!(
        (answer.status, answer.interim.len(), answer.text().as_str()),
        (200, 0, "none"),
        "not forwarded"
    );
    // A body that is there already needs no leave, and a chunked one may get it too.
    client.send(
        &[
            head(
                "POST /x",
                "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
            ),
            b"0\r\n\r\n".to_vec(),
        ]
        .concat(),
    );
    assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
}

// EDGE-32
#[test]
fn a_refusal_takes_the_place_of_leave_to_continue_and_ends_the_connection() {
    let origin = echo();
    let (gateway, token) = llm(&origin, "openai", "llm: { max_request_body_bytes: 4096 }\n");
    let expecting =
        |lines: &str| format!("{lines}Content-Type: application/json\r\nExpect: 100-continue\r\n");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    for (name, start, lines, status) in [
        (
            "no credential",
            "POST /v1/chat/completions",
            expecting("Content-Length: 5\r\n"),
            401,
        ),
        (
            "no route",
            "POST /nowhere",
            expecting("Content-Length: 5\r\n"),
            404,
        ),
        (
            "no such method",
            "PUT /v1/chat/completions",
            expecting("Content-Length: 5\r\n"),
            405,
        ),
        (
            "too large",
            "POST /v1/chat/completions",
            expecting(&format!("{bearer}Content-Length: 4097\r\n")),
            413,
        ),
        (
            "another expectation",
            "POST /v1/chat/completions",
            format!("{bearer}Content-Length: 5\r\nExpect: tea\r\n"),
            417,
        ),
    ] {
        let mut client = gateway.connect();
        client.send(&head(start, &lines));
        let answer = client.answer(PATIENCE).unwrap();
        assert_eq!(
            (answer.status, answer.interim.as_slice(), answer.closes()),
            (status, &[][..], true),
            "{name}"
        );
        assert!(client.closed_within(LATE), "{name}");
    }
    assert_eq!(origin.connections(), 0);
}

// EDGE-36
#[test]
fn a_refused_body_never_becomes_a_request() {
    let origin = echo();
    let (gateway, token) = llm(&origin, "openai", "");
    let smuggled = head(
        "GET /v1/models",
        &format!("Authorization: Bearer {token}\r\n"),
    );
    let mut client = gateway.connect();
    // The body of a refused call is drained, the request behind it is the next one.
    client.send(
        &[
            post(
                "/v1/chat/completions",
                "Content-Type: application/json\r\n",
                &smuggled,
            ),
            head("GET /health", ""),
        ]
        .concat(),
    );
    let statuses = [
        client.answer(PATIENCE).unwrap().status,
        client.answer(PATIENCE).unwrap().status,
    ];
    assert_eq!(statuses, [401, 200]);
    assert_eq!(
        client.answer(SHORT).map(|answer| answer.status),
        Err(Ended::Silent),
        "two requests, two answers"
    );
    // Too much to drain, or of unknown length: the connection ends.
    let lines = "Content-Type: application/json\r\n";
    let large = [smuggled.clone(), vec![b'x'; 200 * 1024]].concat();
    let chunked = [
        head(
            "POST /v1/chat/completions",
            "Transfer-Encoding: chunked\r\n",
        ),
        smuggled,
    ]
    .concat();
    for (name, request) in [
        ("large", post("/v1/chat/completions", lines, &large)),
        ("chunked", chunked),
    ] {
        let mut client = gateway.connect();
        client.send(&request);
        let answer = client.answer(PATIENCE).unwrap();
        assert_eq!((answer.status, answer.closes()), (401, true), "{name}");
        assert!(client.closed_within(LATE), "{name}");
    }
}

// EDGE-31
#[test]
fn a_route_may_allow_a_body_on_get() {
    let origin = echo();
    let route = "  \"GET /x\": { upstream: origin, access: free, request: { allow_body: true } }\n";
    let gateway = gateway(before(&origin, route)).start();
    let request = [head("GET /x", "Content-Length: 5\r\n"), b"hello".to_vec()].concat();
    assert_eq!(gateway.call(&request).text(), "/x hello");
}
