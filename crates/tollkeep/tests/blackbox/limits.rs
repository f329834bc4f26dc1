//! Sizes and counts: exactly at each cap and one over.

use crate::fixture::{before, chat, free, gateway, head, llm, llm_call, post};
use std::time::Duration;
use tollkeep_testkit::{
    Answer, BodyEnd, Client, Gate, Gateway, Origin, PATIENCE, Step, chunk, chunked_head,
    eventually, json, ok,
};

const MIB: usize = 1024 * 1024;

/// A POST in chunks of 64 KiB.
fn post_chunked(target: &str, body: &[u8]) -> Vec<u8> {
    let mut request = head(&format!("POST {target}"), "Transfer-Encoding: chunked\r\n");
    for piece in body.chunks(64 * 1024) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

fn plain(origin: &Origin, config: &str) -> Gateway {
    let routes = ["GET /x", "POST /x"].map(free).concat();
    gateway(format!("{config}\n{}", before(origin, &routes))).start()
}

/// Calls `/x` and expects a refusal with this status and code, without any contact upstream.
fn refused_alone(
    gateway: &Gateway,
    origin: &Origin,
    request: &[u8],
    (status, code): (u16, &str),
) -> Answer {
    let contacts = (origin.count(), origin.connections());
    let answer = gateway.call(request);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{}",
        answer.text()
    );
    assert_eq!(
        (origin.count(), origin.connections()),
        contacts,
        "no contact upstream"
    );
    answer
}

// EDGE-50
#[test]
fn a_body_of_one_mebibyte_passes_and_one_byte_more_does_not() {
    let origin = Origin::start(|request| ok(request.body.len().to_string().as_bytes()));
    let gateway = plain(&origin, "");
    let body = vec![b'x'; MIB + 1];
    for make in [
        |body: &[u8]| post("/x", "", body),
        |body: &[u8]| post_chunked("/x", body),
    ] {
        refused_alone(&gateway, &origin, &make(&body), (413, "body_too_large"));
        assert_eq!(gateway.call(&make(&body[..MIB])).text(), MIB.to_string());
    }
}

// EDGE-36 EDGE-50
#[test]
fn a_route_has_its_own_cap_and_a_small_refused_body_leaves_the_connection_alive() {
    let origin = Origin::plain();
    let route =
        "  \"POST /x\": { upstream: origin, access: free, request: { body_bytes_max: 10 } }\n";
    let gateway = gateway(before(&origin, route)).start();
    let mut client = gateway.connect();
    assert_eq!(client.call(&post("/x", "", b"0123456789!")).status, 413);
    assert_eq!(
        client.call(&post("/x", "", b"0123456789")).status,
        200,
        "the body was drained"
    );
    // More than 64 KiB are not waited for.
    let large = client.call(&post("/x", "", &[b'x'; 65 * 1024 + 11]));
    assert_eq!((large.status, origin.count()), (413, 1));
    let announced = gateway.call(&head("POST /x", "Content-Length: 70000\r\n"));
    assert_eq!(announced.status, 413, "from the head alone");
    assert!(announced.closes());
}

// EDGE-50
#[test]
fn llm_surfaces_have_their_own_body_cap_told_in_the_callers_dialect() {
    let origin = Origin::start(|_| json(&serde_json::json!({ "ok": true })));
    let (gateway, token) = llm(&origin, "openai", "llm: { max_request_body_bytes: 4096 }\n");
    let body = |len: usize| {
        let start = r#"{"model":"m","messages":[],"user":""#;
        format!("{start}{}\"}}", "x".repeat(len - start.len() - 2))
    };
    assert_eq!(gateway.call(&chat(&token, &body(4096))).status, 200);
    let over = refused_alone(
        &gateway,
        &origin,
        &chat(&token, &body(4097)),
        (413, "body_too_large"),
    );
    assert_eq!(over.json()["error"]["code"], "request_too_large");
    let over = refused_alone(
        &gateway,
        &origin,
        &llm_call("/v1/messages", &token, &body(4097)),
        (413, "body_too_large"),
    );
    assert_eq!(over.json()["error"]["type"], "request_too_large");
}

// EDGE-51 LLM-55
#[test]
fn an_answer_that_must_be_whole_is_refused_over_its_cap_and_nothing_of_it_is_sent() {
    let body = |len: usize| format!("{{\"filler\":\"{}\"}}", "x".repeat(len - 13));
    let origin = Origin::start(move |request| {
        let asked = request.json();
        let body = body(usize::try_from(asked["max_tokens"].as_u64().unwrap()).unwrap());
        if asked["user"] == "chunked" {
            return vec![
                chunked_head("application/json"),
                chunk(body.as_bytes()),
                chunk(b""),
            ];
        }
        json(&serde_json::from_str(&body).unwrap())
    });
    let (gateway, token) = llm(
        &origin,
        "openai",
        "server: { limits: { response_buffer_bytes_max: 1000 } }\n",
    );
    for framing in ["length", "chunked"] {
        let ask = |len: usize| {
            let body =
                format!(r#"{{"model":"m","messages":[],"max_tokens":{len},"user":"{framing}"}}"#);
            gateway.call(&chat(&token, &body))
        };
        let whole = ask(1000);
        assert_eq!((whole.status, whole.body.len()), (200, 1000), "{framing}");
        let over = ask(1001);
        assert_eq!(
            (over.status, over.code().as_str()),
            (502, "response_too_large"),
            "{framing}"
        );
        assert!(!over.text().contains("xxx"), "{framing}: nothing of it");
    }
}

/// An origin that answers `/x` with the length its query names, chunked or not.
fn sized() -> Origin {
    Origin::start(|request| {
        let (_, asked) = request.target.split_once('?').unwrap();
        let (framing, len) = asked.split_once('=').unwrap();
        let body = vec![b'y'; len.parse().unwrap()];
        match framing {
            "length" => ok(&body),
            "chunked" => {
                let pieces = body.chunks(100).map(chunk);
                [chunked_head("text/plain")]
                    .into_iter()
                    .chain(pieces)
                    .chain([chunk(b"")])
                    .collect()
            }
            _ => vec![
                Step::Send(
                    [
                        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(),
                        body,
                    ]
                    .concat(),
                ),
                Step::Close,
            ],
        }
    })
}

// EDGE-51
#[test]
fn a_plain_stream_over_its_cap_is_cut_and_never_ends_cleanly() {
    let origin = sized();
    let gateway = plain(
        &origin,
        "server: { limits: { response_stream_bytes_max: 1000 } }",
    );
    let ask = |query: &str| gateway.call(&head(&format!("GET /x?{query}"), ""));
    for framing in ["length", "chunked", "close"] {
        let whole = ask(&format!("{framing}=1000"));
        assert_eq!(
            (whole.status, whole.body.len(), whole.end),
            (200, 1000, BodyEnd::Whole),
            "{framing}"
        );
    }
    for framing in ["chunked", "close"] {
        let over = ask(&format!("{framing}=1001"));
        assert_eq!((over.status, over.end), (200, BodyEnd::Cut), "{framing}");
        assert_eq!(
            over.body.len(),
            1000,
            "{framing}: what is within the cap passes"
        );
    }
    // An old caller knows the end of a body by that of the connection alone.
    let mut old = gateway.connect();
    old.send(b"GET /x?chunked=1001 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(
        !old.answer(PATIENCE)
            .is_ok_and(|answer| answer.end == BodyEnd::Whole)
    );
    let announced = ask("length=1001");
    assert_eq!(
        (announced.status, announced.code().as_str()),
        (502, "response_too_large"),
        "before the first byte"
    );
}

// EDGE-51 LLM-55
#[test]
fn a_route_has_its_own_cap_for_answers() {
    let origin = sized();
    let route =
        "  \"GET /x\": { upstream: origin, access: free, response: { stream_bytes_max: 10 } }\n";
    let gateway = gateway(before(&origin, route)).start();
    let ask = |query: &str| gateway.call(&head(&format!("GET /x?{query}"), ""));
    assert_eq!(ask("chunked=10").end, BodyEnd::Whole);
    assert_eq!(ask("chunked=11").end, BodyEnd::Cut);
}

// EDGE-51 LLM-D60 LLM-55
#[test]
fn an_event_stream_over_its_cap_ends_with_an_error_event_and_a_regular_end() {
    let origin = Origin::start(|_| {
        let events =
            (0..50).map(|number| chunk(format!("data: {{\"n\":{number:04}}}\n\n").as_bytes()));
        [chunked_head("text/event-stream")]
            .into_iter()
            .chain(events)
            .chain([chunk(b"")])
            .collect()
    });
    let limits = "server: { limits: { response_stream_bytes_max: 200 } }\n";
    let (gateway, token) = llm(&origin, "openai", limits);
    let answer = gateway.call(&chat(
        &token,
        r#"{"model":"m","messages":[],"stream":true}"#,
    ));
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Whole));
    let text = answer.text();
    let (relayed, last) = text.trim_end().rsplit_once("\n\n").unwrap();
    // An event has 18 bytes, and eleven of them are within the cap. A blank line is no event.
    let events: Vec<_> = relayed.split("\n\n").map(str::trim).collect();
    assert_eq!(
        events.iter().filter(|event| !event.is_empty()).count(),
        11,
        "{text}"
    );
    assert!(
        events
            .iter()
            .all(|event| event.is_empty() || event.ends_with('}')),
        "{text}"
    );
    let event: serde_json::Value =
        serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], "response_too_large", "{text}");
}

// EDGE-50
#[test]
fn sizes_of_the_head_are_settings() {
    let origin = Origin::plain();
    let config = "server:\n  limits: { header_fields_max: 5, header_bytes_max: 2048, header_line_bytes_max: 300, target_bytes_max: 64 }";
    let gateway = plain(&origin, config);
    let fields = |count: usize| head("GET /x", &"X: y\r\n".repeat(count));
    let line = |len: usize| head("GET /x", &format!("X: {}\r\n", "y".repeat(len - 5)));
    let target = |len: usize| head(&format!("GET /x?{}", "y".repeat(len - 3)), "");
    for (name, request, status) in [
        ("fields at the cap", fields(4), 200),
        ("fields over", fields(5), 431),
        ("a line at the cap", line(300), 200),
        ("a line over", line(303), 431),
        (
            "a long head of short lines",
            head(
                "GET /x",
                &format!("{0}{0}{0}{0}", format!("X: {}\r\n", "y".repeat(250))),
            ),
            200,
        ),
        ("a target at the cap", target(64), 200),
        ("a target over", target(65), 414),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert_eq!(answer.closes(), status != 200, "{name}");
    }
    let gateway = plain(
        &origin,
        "server: { limits: { header_bytes_max: 1024, header_line_bytes_max: 1024 } }",
    );
    for (name, len, status) in [
        ("a head at the cap", 1024, 200),
        ("a long head of short lines", 1025, 431),
    ] {
        let bare = head("GET /x", "X: \r\n").len();
        let answer = gateway.call(&head(
            "GET /x",
            &format!("X: {}\r\n", "y".repeat(len - bare)),
        ));
        assert_eq!(answer.status, status, "{name}");
    }
}

// EDGE-50 LLM-33
#[test]
fn bodies_held_in_memory_have_a_common_budget() {
    let origin = Origin::plain();
    let gateway = plain(
        &origin,
        "llm: { max_request_body_bytes: 1MiB }\nserver: { limits: { request_body_memory_bytes_max: 1MiB } }",
    );
    let body = vec![b'x'; 600 * 1024];
    let request = post("/x", "", &body);
    let mut first = gateway.connect();
    let expecting = format!("Content-Length: {}\r\nExpect: 100-continue\r\n", body.len());
    first.send(&head("POST /x", &expecting));
    assert!(
        first.bytes(PATIENCE).unwrap().starts_with(b"HTTP/1.1 100 "),
        "room for it is taken"
    );
    let refused = gateway.call(&request);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.code(), "overloaded");
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(
        first.call(&body).status,
        200,
        "the first is served all the same"
    );
    assert_eq!(
        gateway.call(&request).status,
        200,
        "the budget is given back"
    );
}

/// Starts `count` requests that the origin holds back, and waits until they are all there.
fn held(gateway: &Gateway, origin: &Origin, count: usize) -> Vec<Client> {
    let so_far = origin.count();
    let clients = (0..count).map(|_| {
        let mut client = gateway.connect();
        client.send(&head("GET /x", ""));
        client
    });
    let clients = clients.collect();
    origin.wait_for(so_far + count);
    clients
}

fn gated() -> (Origin, Gate) {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok(b"ok")].concat());
    (origin, gate)
}

// EDGE-50
#[test]
fn requests_in_work_are_bounded_in_all_and_by_address() {
    for (key, status, code) in [
        ("concurrent_requests_max", 503, "overloaded"),
        ("concurrent_requests_per_ip_max", 429, "connection_limit"),
    ] {
        let (origin, gate) = gated();
        let gateway = plain(&origin, &format!("server: {{ limits: {{ {key}: 3 }} }}"));
        let mut clients = held(&gateway, &origin, 3);
        let answer = refused_alone(&gateway, &origin, &head("GET /x", ""), (status, code));
        let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        let most = if status == 503 { 5 } else { 1 };
        assert!((1..=most).contains(&wait), "{key}: {wait}");
        assert_eq!(
            gateway.call(&head("GET /health", "")).status,
            200,
            "{key}: probes are exempt"
        );
        gate.open();
        for client in &mut clients {
            assert_eq!(client.answer(PATIENCE).unwrap().status, 200, "{key}");
        }
        eventually("room again", || {
            (gateway.call(&head("GET /x", "")).status == 200).then_some(())
        });
    }
}

// EDGE-53
#[test]
fn connections_are_bounded_in_all_and_by_address() {
    let origin = Origin::plain();
    let gateway = plain(&origin, "server: { limits: { connections_max: 3 } }");
    let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&head("GET /x", "")).status, 200);
    }
    assert!(
        gateway.connect().closed_within(Duration::from_secs(5)),
        "accepted and closed"
    );
    clients.pop();
    eventually("a free seat", || {
        let mut client = gateway.connect();
        client.send(&head("GET /x", ""));
        client
            .answer(PATIENCE)
            .ok()
            .filter(|answer| answer.status == 200)
    });

    let gateway = plain(&origin, "server: { limits: { connections_per_ip_max: 3 } }");
    let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call(&head("GET /x", "")).status, 200);
    }
    let crowded = gateway.call(&head("GET /x", ""));
    assert_eq!(
        (crowded.status, crowded.code().as_str()),
        (429, "connection_limit")
    );
    clients.pop();
    eventually("a free seat", || {
        (gateway.call(&head("GET /x", "")).status == 200).then_some(())
    });
}
