//! Callers that speak HTTP/2: whole exchanges, streams beside each other, ends.

use crate::fixture::{before, free, gateway, head, llm};
use crate::headers::{CANARY, NEVER_UPSTREAM, canaries_in};
use crate::returned_headers::talkative;
use h2::Reason;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Answer, BodyEnd, Builder, Gate, Gateway, Http2Client, Origin, PATIENCE, Reset, Signal, Step,
    chunk, chunked_head, eventually, ok,
};

const SHORT: Duration = Duration::from_millis(300);

/// A gateway that speaks HTTP/2 in clear text before an origin with these routes.
pub(crate) fn clear_text(origin: &Origin, routes: &[&str]) -> Builder {
    let routes: String = routes.iter().map(|route| free(route)).collect();
    gateway(before(origin, &routes)).set("server.h2c", "true")
}

pub(crate) fn plain(origin: &Origin) -> Gateway {
    clear_text(origin, &["GET /x", "POST /x", "GET /any/*"]).start()
}

fn get(client: &mut Http2Client, path: &str) -> Result<Answer, Reset> {
    let request = client.request("GET", path, &[]);
    client.call(request, b"")
}

/// An origin that tells each request's method, target and body.
fn echo() -> Origin {
    Origin::start(|request| {
        let told = format!("{} {} {}", request.method, request.target, request.text());
        ok(told.as_bytes())
    })
}

// EDGE-40 EDGE-21
#[test]
fn both_protocols_are_served_on_one_port() {
    let origin = echo();
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    let request = client.request("POST", "/x?q=1", &[("content-type", "text/plain")]);
    let answer = client.call(request, b"hello").unwrap();
    assert_eq!(
        (answer.status, answer.text()),
        (200, "POST /x?q=1 hello".into())
    );
    assert_eq!(answer.field("content-length"), Some("17"));
    assert!(answer.field("x-request-id").unwrap().starts_with("req_"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.values("connection"), [""; 0]);
    let first = gateway.call(&head("GET /x", ""));
    assert_eq!((first.status, first.text()), (200, "GET /x ".into()));
    // A P alone may become either.
    let mut slow = gateway.connect();
    slow.send(b"P");
    origin.wait_for(2);
    slow.send(b"OST /x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(slow.answer(PATIENCE).unwrap().text(), "POST /x hi");
    let upstream = origin.last();
    assert_eq!(upstream.field("transfer-encoding"), None);
}

// EDGE-21
#[test]
fn a_connection_that_may_become_either_protocol_has_the_time_of_a_first_byte() {
    let origin = echo();
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.first_byte_ms", "300").start();
    let mut client = gateway.connect();
    client.send(b"PRI * HT");
    let began = Instant::now();
    assert!(client.closed_within(PATIENCE), "without an answer");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

// EDGE-40
#[test]
fn a_body_of_unknown_length_is_sent_upstream_with_one() {
    let origin = echo();
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    for (name, pieces, want) in [
        ("two pieces", &["hel", "lo"][..], "POST /x hello"),
        ("nothing but an end", &[""], "POST /x "),
    ] {
        let request = client.request("POST", "/x", &[]);
        let mut exchange = client.begin(request, false).unwrap();
        for (at, piece) in pieces.iter().enumerate() {
            let ends = at + 1 == pieces.len();
            exchange.send.send_data((*piece).into(), ends).unwrap();
        }
        assert_eq!(exchange.head().unwrap().status, 200, "{name}");
        let told = exchange.piece().unwrap().unwrap();
        assert_eq!(told, want, "{name}");
        assert_eq!(exchange.piece(), Ok(None), "{name}");
    }
    // A GET whose stream ends with an empty frame has no body.
    let request = client.request("GET", "/x", &[]);
    let mut exchange = client.begin(request, false).unwrap();
    exchange.send.send_data("".into(), true).unwrap();
    assert_eq!(exchange.head().unwrap().status, 200);
    assert_eq!(origin.count(), 3);
}

// EDGE-30 EDGE-36
#[test]
fn refusals_are_whole_answers_and_other_streams_live_on() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let wait = vec![Step::Wait(held.clone())];
        [wait, ok(request.target.as_bytes())].concat()
    });
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    let request = client.request("GET", "/x?first", &[]);
    let mut first = client.begin(request, true).unwrap();
    origin.wait_for(1);
    let large = vec![b'x'; 1_048_577];
    for (name, method, path, body, status) in [
        ("no route", "GET", "/nowhere", &b""[..], 404),
        ("no such method", "DELETE", "/x", b"", 405),
        ("an unknown method", "BREW", "/x", b"", 501),
        ("a body on GET", "GET", "/x", b"hello", 400),
        ("too large a body", "POST", "/x", &large, 413),
        ("another path", "GET", "/a/../x", b"", 400),
        ("HEAD of nothing", "HEAD", "/nowhere", b"", 404),
    ] {
        let request = client.request(method, path, &[]);
        let answer = client.call(request, body).unwrap();
        assert_eq!(
            (answer.status, answer.end),
            (status, BodyEnd::Whole),
            "{name}"
        );
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{name}");
        assert!(!answer.code().is_empty(), "{name}");
    }
    assert_eq!(origin.count(), 1);
    gate.open();
    assert_eq!(first.head().unwrap().status, 200);
    assert_eq!(first.piece().unwrap().unwrap(), "/x?first");
}

// EDGE-41
#[test]
fn a_hundred_streams_run_beside_each_other_and_more_wait() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let wait = vec![Step::Wait(held.clone())];
        [wait, ok(request.target.as_bytes())].concat()
    });
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    assert_eq!(
        get(&mut client, "/health").unwrap().status,
        200,
        "its settings are known"
    );
    let begun: Vec<_> = (0..=100)
        .map(|number| {
            let request = client.request("GET", &format!("/any/{number}"), &[]);
            client.begin(request, true).unwrap()
        })
        .collect();
    origin.wait_for(100);
    assert_eq!(origin.count(), 100, "the hundred-and-first waits");
    gate.open();
    for (number, mut exchange) in begun.into_iter().enumerate() {
        assert_eq!(exchange.head().unwrap().status, 200);
        let told = exchange.piece().unwrap().unwrap();
        assert_eq!(told, format!("/any/{number}"));
        assert_eq!(exchange.piece(), Ok(None));
    }
    assert_eq!(get(&mut client, "/any/more").unwrap().status, 200);
}

// EDGE-40 LLM-56
#[test]
fn calls_of_models_are_served_as_over_http_1() {
    const JSON: &str =
        r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;
    let origin = Origin::start(|request| {
        if !request.text().contains("\"stream\":true") {
            return tollkeep_testkit::json(&serde_json::from_str(JSON).unwrap());
        }
        let begin = chunked_head("text/event-stream");
        let events = ["data: {\"choices\":[]}\n\n", "data: [DONE]\n\n", ""];
        let events = events.map(|event| chunk(event.as_bytes()));
        [begin].into_iter().chain(events).collect()
    });
    let (gateway, token) = llm(&origin, "openai", "server: { h2c: true }\n");
    let mut client = Http2Client::connect(gateway.data());
    let bearer = format!("Bearer {token}");
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
    ];
    let path = "/v1/chat/completions";
    let whole = br#"{"model":"m","messages":[]}"#;
    let request = client.request("POST", path, &fields);
    let answer = client.call(request, whole).unwrap();
    assert_eq!((answer.status, answer.text()), (200, JSON.to_owned()));
    let streamed = br#"{"model":"m","messages":[],"stream":true}"#;
    let request = client.request("POST", path, &fields);
    let answer = client.call(request, streamed).unwrap();
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Whole));
    assert!(
        answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    assert_eq!(
        answer.field("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    // And refused as over HTTP/1.
    let request = client.request("POST", path, &[("content-type", "application/json")]);
    let answer = client.call(request, whole).unwrap();
    assert_eq!(
        (answer.status, answer.field("www-authenticate")),
        (401, Some("Bearer realm=\"tollkeep\""))
    );
    eventually("the usage of both calls", || {
        (gateway.usage_lines().len() == 2).then_some(())
    });
    eventually("their events", || {
        let calls = |event: &serde_json::Value| event["action"] == "proxy_request";
        (gateway
            .audit_lines()
            .iter()
            .filter(|event| calls(event))
            .count()
            == 3)
            .then_some(())
    });
}

// EDGE-110 EDGE-42
#[test]
fn a_stream_that_is_taken_back_ends_its_upstream_call_within_a_tenth_of_a_second() {
    let origin = Origin::start(|_| vec![Step::Hang]);
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    let request = client.request("GET", "/x", &[]);
    let exchange = client.begin(request, true).unwrap();
    origin.wait_for(1);
    let began = Instant::now();
    exchange.cancel();
    let left = eventually("the upstream's connection ended", || {
        origin.left().first().copied()
    });
    assert!(
        left - began < Duration::from_millis(100),
        "{:?}",
        left - began
    );
    assert_eq!(
        get(&mut client, "/health").unwrap().status,
        200,
        "the connection lives on"
    );
    let line = eventually("its line", || {
        gateway
            .access_lines()
            .into_iter()
            .find(|line| line["route"] == "GET /x")
    });
    assert_eq!(line["outcome"], "caller_gone");
}

// EDGE-51
#[test]
fn an_answer_that_breaks_is_reset_and_never_ends() {
    let long = "server: { limits: { response_stream_bytes_max: 100000 } }\n";
    for (name, begin, pieces) in [
        (
            "chunks that stop",
            "transfer-encoding: chunked",
            vec![chunk(b"half"), Step::Close],
        ),
        (
            "a length that is not reached",
            "content-length: 10",
            vec![Step::Send(b"half".to_vec()), Step::Close],
        ),
        (
            "more than the cap",
            "transfer-encoding: chunked",
            vec![chunk(&[b'x'; 60_000]), chunk(&[b'x'; 60_000]), chunk(b"")],
        ),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{begin}\r\n\r\n").into_bytes();
        let origin = Origin::start(move |request| match &*request.target {
            "/x" => [vec![Step::Send(head.clone())], pieces.clone()].concat(),
            _ => ok(b"whole"),
        });
        let routes = ["GET /x", "GET /y"].map(free).concat();
        let gateway = gateway(format!("{long}{}", before(&origin, &routes)));
        let gateway = gateway.set("server.h2c", "true").start();
        let mut client = Http2Client::connect(gateway.data());
        let request = client.request("GET", "/x", &[]);
        let mut exchange = client.begin(request, true).unwrap();
        let reset = exchange.head().err().unwrap_or_else(|| {
            loop {
                match exchange.piece() {
                    Ok(Some(piece)) => exchange.make_room(piece.len()),
                    Ok(None) => panic!("{name}: it looks whole"),
                    Err(reset) => break reset,
                }
            }
        });
        assert_eq!(reset, Reset(Some(Reason::INTERNAL_ERROR)), "{name}");
        assert_eq!(get(&mut client, "/y").unwrap().text(), "whole", "{name}");
    }
}

// EDGE-52
#[test]
fn a_client_that_opens_no_window_holds_its_upstream_back_and_nobody_else() {
    let origin = Origin::start(|request| {
        if request.target != "/x" {
            return ok(b"quick");
        }
        let begin = chunked_head("text/plain");
        let pieces = (0..600).map(|_| chunk(&[b'x'; 64 * 1024]));
        [begin]
            .into_iter()
            .chain(pieces)
            .chain([chunk(b"")])
            .collect()
    });
    let gateway = clear_text(&origin, &["GET /x", "GET /y"]).start();
    let mut client = Http2Client::with_window(gateway.data(), 20_000);
    let request = client.request("GET", "/x", &[]);
    let mut exchange = client.begin(request, true).unwrap();
    exchange.head().unwrap();
    let mut came = 0;
    while let Some(piece) = exchange.piece_within(SHORT) {
        came += piece.unwrap().unwrap().len();
    }
    assert_eq!(came, 20_000, "the window, and not a byte more");
    assert_eq!(get(&mut client, "/y").unwrap().text(), "quick");
    let memory = resident_kib(&gateway);
    assert_eq!(exchange.piece_within(SHORT), None);
    assert!(
        resident_kib(&gateway) < memory + 8 * 1024,
        "nothing gathers"
    );
    exchange.make_room(came);
    while let Some(piece) = exchange.piece().unwrap() {
        came += piece.len();
        exchange.make_room(piece.len());
    }
    assert_eq!(came, 600 * 64 * 1024);
}

pub(crate) fn resident_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// EDGE-53
#[test]
fn a_client_that_takes_no_byte_for_too_long_is_reset() {
    let origin = Origin::start(|_| ok(&[b'x'; 100_000]));
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.write_stall_ms", "400").start();
    let mut client = Http2Client::with_window(gateway.data(), 1_000);
    let request = client.request("GET", "/x", &[]);
    let mut exchange = client.begin(request, true).unwrap();
    exchange.head().unwrap();
    let end = loop {
        match exchange.piece() {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end, Err(Reset(Some(Reason::INTERNAL_ERROR))));
    assert_eq!(get(&mut client, "/health").unwrap().status, 200);
}

// EDGE-56
#[test]
fn a_drain_tells_the_client_to_go_and_lets_its_streams_finish() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let begin = [
            chunked_head("text/plain"),
            chunk(b"first"),
            Step::Wait(held.clone()),
        ];
        begin
            .into_iter()
            .chain([chunk(b"last"), chunk(b"")])
            .collect()
    });
    let mut gateway = plain(&origin);
    let mut idle = Http2Client::connect(gateway.data());
    assert_eq!(get(&mut idle, "/health").unwrap().status, 200);
    let mut client = Http2Client::connect(gateway.data());
    let request = client.request("GET", "/x", &[]);
    let mut exchange = client.begin(request, true).unwrap();
    assert_eq!(exchange.head().unwrap().status, 200);
    assert_eq!(exchange.piece().unwrap().unwrap(), "first");
    gateway.signal(Signal::TERM);
    assert_eq!(
        idle.ended(Duration::from_secs(4)),
        Reset(None),
        "a regular end"
    );
    eventually("GOAWAY", || client.is_going_away().then_some(()));
    assert_eq!(gateway.wait_exit(SHORT), None, "it waits for the stream");
    gate.open();
    assert_eq!(exchange.piece().unwrap().unwrap(), "last");
    assert_eq!(exchange.piece(), Ok(None));
    assert_eq!(client.ended(Duration::from_secs(4)), Reset(None));
    let status = gateway
        .wait_exit(PATIENCE)
        .expect("it ends with the last stream");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
}

// EDGE-53
#[test]
fn connections_end_when_they_are_idle_old_or_much_used() {
    let origin = echo();
    for (name, key, value, calls) in [
        ("idle", "keep_alive_idle_ms", "300", 1),
        ("old", "connection_age_max_ms", "300", 1),
        ("much used", "requests_per_connection_max", "3", 3),
    ] {
        let gateway = clear_text(&origin, &["GET /x"]);
        let gateway = gateway
            .set(&format!("server.timeouts.{key}"), value)
            .start();
        let mut client = Http2Client::connect(gateway.data());
        for _ in 0..calls {
            assert_eq!(get(&mut client, "/x").unwrap().status, 200, "{name}");
        }
        assert_eq!(client.ended(Duration::from_secs(4)), Reset(None), "{name}");
    }
}

// EDGE-60
#[test]
fn an_address_with_too_many_connections_is_told_so_on_each_stream() {
    let origin = echo();
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway
        .set("server.limits.connections_per_ip_max", "2")
        .start();
    let mut clients: Vec<_> = (0..3)
        .map(|_| Http2Client::connect(gateway.data()))
        .collect();
    let statuses: Vec<_> = clients
        .iter_mut()
        .map(|client| get(client, "/x").unwrap().status)
        .collect();
    assert!(statuses.contains(&429), "{statuses:?}");
    drop(clients.pop());
    eventually("room again", || {
        (get(&mut clients[0], "/x").unwrap().status == 200).then_some(())
    });
}

// EDGE-70
#[test]
fn no_field_of_the_list_reaches_an_upstream_from_a_stream() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    // Those of HTTP/1.1 connections are malformed here.
    let of_connections = ["keep-alive", "proxy-connection", "te", "upgrade"];
    let names = NEVER_UPSTREAM.iter().map(|name| name.to_lowercase());
    let names: Vec<_> = names
        .filter(|name| !of_connections.contains(&&**name))
        .collect();
    let canaries: Vec<_> = names
        .iter()
        .map(|name| (&**name, format!("{CANARY}-{name}")))
        .collect();
    let mut fields: Vec<_> = canaries
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    fields.extend([
        ("te", "trailers"),
        ("cookie", "canary=1"),
        ("cookie", "canary=2"),
        ("x-kept", "kept"),
    ]);
    let request = client.request("GET", "/x", &fields);
    assert_eq!(client.call(request, b"").unwrap().status, 200);
    assert_eq!(canaries_in(&origin.raw().concat()), [""; 0]);
    assert_eq!(origin.last().field("x-kept"), Some("kept"));
    assert_eq!(origin.last().field("te"), None);
}

// EDGE-73
#[test]
fn no_field_of_the_list_comes_back_on_a_stream() {
    let origin = talkative("text/plain");
    let gateway = plain(&origin);
    let mut client = Http2Client::connect(gateway.data());
    for case in 0..5 {
        let answer = get(&mut client, &format!("/x?{case}")).unwrap();
        assert_eq!(answer.status, 200);
        let passed: Vec<_> = answer
            .fields
            .iter()
            .filter(|(_, value)| value.contains(CANARY))
            .collect();
        assert!(passed.is_empty(), "{case}: {passed:?}");
        assert_eq!(answer.field("x-custom"), Some("kept"));
    }
}
