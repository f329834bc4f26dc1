//! A graceful end: running requests finish, new ones find nobody, records are whole.

use crate::fixture::{before, chat, free, gateway, head, llm};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    BodyEnd, Client, Gate, Gateway, Origin, PATIENCE, Signal, Step, chunk, chunked_head,
    eventually, ok,
};

const STREAM: &str = r#"{"model":"m","messages":[],"stream":true}"#;

/// An origin whose streams begin at once and end when the gate opens.
fn gated() -> (Origin, Gate) {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        let begin = [
            chunked_head("text/event-stream"),
            chunk(b"data: 1\n\n"),
            Step::Wait(held.clone()),
        ];
        begin
            .into_iter()
            .chain([chunk(b"data: [DONE]\n\n"), chunk(b"")])
            .collect()
    });
    (origin, gate)
}

fn streaming(gateway: &Gateway, token: &str, count: usize) -> Vec<Client> {
    let started = (0..count).map(|_| {
        let mut client = gateway.connect();
        client.send(&chat(token, STREAM));
        client
    });
    let mut clients: Vec<_> = started.collect();
    for client in &mut clients {
        assert!(!client.bytes(PATIENCE).unwrap().is_empty());
    }
    clients
}

fn refused(gateway: &Gateway) -> bool {
    TcpStream::connect_timeout(&gateway.data(), Duration::from_secs(1)).is_err()
}

fn read_to_end(client: &mut Client) -> String {
    let mut text = String::new();
    while let Ok(bytes) = client.bytes(PATIENCE) {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text
}

/// The audit log ends with the stop, its own closing and a signature, in that order.
fn assert_closed_in_order(events: &[serde_json::Value]) {
    let actions: Vec<_> = events
        .iter()
        .rev()
        .take(3)
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["audit.checkpoint", "audit.close", "system.stop"]);
}

// EDGE-56
#[test]
fn two_hundred_streams_finish_and_nobody_else_gets_in() {
    const STREAMS: usize = 200;
    let (origin, gate) = gated();
    let limits = "server: { limits: { concurrent_requests_per_ip_max: 1000 } }\n";
    let (mut gateway, token) = llm(&origin, "openai", limits);
    let mut idle = gateway.connect();
    assert_eq!(idle.call(&head("GET /health", "")).status, 200);
    let mut clients = streaming(&gateway, &token, STREAMS);
    gateway.signal(Signal::TERM);
    eventually("the listener closed", || refused(&gateway).then_some(()));
    assert!(
        idle.closed_within(Duration::from_secs(4)),
        "an idle connection has nothing to wait for"
    );
    assert_eq!(
        gateway.wait_exit(Duration::from_millis(300)),
        None,
        "it waits for the streams"
    );
    eventually("the gauge", || {
        gateway
            .metrics_text()
            .contains("tollkeep_draining 1")
            .then_some(())
    });
    assert_eq!(
        gateway.api("GET", "/api/v1/status", None).1["draining"],
        true
    );
    gate.open();
    for client in &mut clients {
        let text = read_to_end(client);
        assert!(
            text.contains("data: [DONE]") && text.ends_with("\r\n0\r\n\r\n"),
            "{text:?}"
        );
    }
    let status = gateway
        .wait_exit(PATIENCE)
        .expect("it ends when the last stream has");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    assert_eq!(gateway.usage_lines().len(), STREAMS);
    let events = gateway.audit_lines();
    assert_eq!(
        events
            .iter()
            .filter(|event| event["action"] == "proxy_request")
            .count(),
        STREAMS
    );
    assert_closed_in_order(&events);
    assert_eq!(
        gateway
            .access_lines()
            .iter()
            .filter(|line| line["outcome"] == "served")
            .count(),
        STREAMS
    );
}

// EDGE-56
#[test]
fn streams_that_outlast_the_wait_are_cut_and_recorded() {
    let (origin, _gate) = gated();
    let drain = "server: { drain: { timeout_ms: 500 } }\n";
    let (mut gateway, token) = llm(&origin, "openai", drain);
    let mut clients = streaming(&gateway, &token, 3);
    let began = Instant::now();
    gateway.signal(Signal::INT);
    let status = gateway.wait_exit(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    assert!(
        began.elapsed() >= Duration::from_millis(450),
        "{:?}",
        began.elapsed()
    );
    for client in &mut clients {
        let text = read_to_end(client);
        assert!(
            !text.contains("[DONE]") && !text.ends_with("0\r\n\r\n"),
            "not a clean end: {text:?}"
        );
    }
    let events = gateway.audit_lines();
    assert_eq!(
        events
            .iter()
            .filter(|event| event["action"] == "proxy_request")
            .count(),
        3,
        "{events:?}"
    );
    assert_closed_in_order(&events);
    assert_eq!(gateway.usage_lines().len(), 3);
}

// EDGE-56
#[test]
fn a_second_signal_skips_the_wait() {
    for first in [Signal::TERM, Signal::INT] {
        let (origin, _gate) = gated();
        let (mut gateway, token) = llm(&origin, "openai", "");
        let _clients = streaming(&gateway, &token, 1);
        gateway.signal(first);
        eventually("the drain", || refused(&gateway).then_some(()));
        assert_eq!(gateway.wait_exit(Duration::from_millis(200)), None);
        let began = Instant::now();
        gateway.signal(Signal::TERM);
        let status = gateway.wait_exit(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
    }
}

// EDGE-56
#[test]
fn while_the_delay_lasts_the_gateway_serves_but_says_that_it_is_going() {
    let origin = Origin::plain();
    let config = format!(
        "server: {{ drain: {{ delay_ms: 60000 }} }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let mut gateway = gateway(config).start();
    assert_eq!(gateway.call(&head("GET /ready", "")).text(), "ready");
    gateway.signal(Signal::TERM);
    let answer = eventually("unready", || {
        let answer = gateway.call(&head("GET /ready", ""));
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(
        answer.json()["reasons"],
        serde_json::json!(["draining"]),
        "{}",
        answer.text()
    );
    assert_eq!(gateway.call(&head("GET /live", "")).status, 200);
    assert_eq!(
        gateway.call(&head("GET /x", "")).status,
        200,
        "a balancer has not yet seen it"
    );
    gateway.signal(Signal::TERM);
    let status = gateway
        .wait_exit(PATIENCE)
        .expect("the second signal skips the delay");
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
}

// EDGE-56
#[test]
fn a_request_in_work_is_answered_and_its_connection_ends() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| [vec![Step::Wait(held.clone())], ok(b"done")].concat());
    let mut gateway = gateway(before(&origin, &free("GET /x"))).start();
    let mut client = gateway.connect();
    client.send(&[head("GET /x?1", ""), head("GET /x?2", "")].concat());
    origin.wait_for(1);
    gateway.signal(Signal::TERM);
    eventually("the drain", || refused(&gateway).then_some(()));
    gate.open();
    let answer = client.answer(PATIENCE).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.end),
        (200, "done", BodyEnd::Whole)
    );
    // What was sent before the gateway spoke of closing may be answered too, and is the last then.
    if !answer.closes() {
        let answer = client.answer(PATIENCE).unwrap();
        assert!(answer.status == 200 && answer.closes());
    }
    assert!(client.closed_within(Duration::from_secs(4)));
    assert_eq!(
        gateway.wait_exit(PATIENCE).unwrap().code(),
        Some(0),
        "{}",
        gateway.stderr()
    );
}

// EDGE-56
#[test]
fn a_gateway_with_nothing_to_do_ends_at_once() {
    let mut gateway = gateway("").start();
    let began = Instant::now();
    gateway.signal(Signal::TERM);
    assert_eq!(
        gateway.wait_exit(PATIENCE).unwrap().code(),
        Some(0),
        "{}",
        gateway.stderr()
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let again = gateway
        .restart()
        .expect("it starts again in the same folder");
    assert_eq!(again.call(&head("GET /health", "")).status, 200);
}
