//! Time: what is slow, silent or stuck ends at its deadline, and not before.

use crate::fixture::{before, chat, free, gateway, head, llm, post};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Answer, BodyEnd, Client, Ended, Gateway, Origin, PATIENCE, Step, chunk, chunked_head,
    eventually, ok,
};

/// The deadline under test; every other one is the default, which no test waits for.
const DEADLINE: Duration = Duration::from_millis(600);
/// Deadlines are looked at ten times a second, from a clock as coarse.
const EARLY: Duration = Duration::from_millis(250);
/// How late a deadline may be seen on a busy machine.
const LATE: Duration = Duration::from_secs(4);

fn timed(origin: &Origin, key: &str) -> Gateway {
    let routes = ["GET /x", "POST /x"].map(free).concat();
    let config = format!(
        "server: {{ timeouts: {{ {key}: {} }} }}\n{}",
        DEADLINE.as_millis(),
        before(origin, &routes)
    );
    gateway(config).start()
}

fn assert_timely(name: &str, began: Instant) {
    let took = began.elapsed();
    assert!(
        took > DEADLINE - EARLY && took < DEADLINE + LATE,
        "{name}: after {took:?}"
    );
}

fn assert_late(name: &str, client: &mut Client, began: Instant) {
    let answer = client
        .answer(PATIENCE)
        .unwrap_or_else(|ended| panic!("{name}: {ended:?}"));
    assert_timely(name, began);
    assert_eq!(
        (answer.status, answer.code().as_str(), answer.closes()),
        (408, "request_timeout", true),
        "{name}"
    );
    assert!(client.closed_within(LATE), "{name}: closed");
}

/// Sends a byte every 50 ms until the gateway has answered or closed.
fn drip(client: &mut Client, byte: u8) -> Result<Answer, Ended> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        client.send(&[byte]);
        match client.answer(Duration::from_millis(50)) {
            Err(Ended::Silent) => {}
            ended => return ended,
        }
    }
    Err(Ended::Silent)
}

// EDGE-53
#[test]
fn a_connection_that_says_nothing_is_closed_without_an_answer() {
    let origin = Origin::plain();
    let gateway = timed(&origin, "first_byte_ms");
    let began = Instant::now();
    assert!(gateway.connect().closed_within(PATIENCE));
    assert_timely("silent", began);
}

// EDGE-53
#[test]
fn a_head_that_does_not_end_is_a_request_timeout_however_it_trickles() {
    let origin = Origin::plain();
    let gateway = timed(&origin, "header_ms");
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(b"GET /x HTTP/1.1\r\nHost: 127");
    assert_late("stalled", &mut client, began);

    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ");
    assert_eq!(drip(&mut client, b'y').map(|answer| answer.status), Ok(408));
    assert_timely("trickling", began);
}

// EDGE-53 EDGE-20
#[test]
fn a_body_that_stalls_is_a_request_timeout_and_no_upstream_hears_of_it() {
    let origin = Origin::plain();
    let gateway = timed(&origin, "body_ms");
    for (name, lines, start) in [
        ("length", "Content-Length: 10\r\n", "12345"),
        ("nothing of it", "Content-Length: 10\r\n", ""),
        (
            "chunked",
            "Transfer-Encoding: chunked\r\n",
            "5\r\n12345\r\n",
        ),
        (
            "within a chunk size",
            "Transfer-Encoding: chunked\r\n",
            "5\r\n12345\r\n1",
        ),
        (
            "before the trailers",
            "Transfer-Encoding: chunked\r\n",
            "5\r\n12345\r\n0\r\n",
        ),
    ] {
        let mut client = gateway.connect();
        let began = Instant::now();
        client.send(&[head("POST /x", lines), start.as_bytes().to_vec()].concat());
        assert_late(name, &mut client, began);
    }
    assert_eq!((origin.count(), origin.connections()), (0, 0));
}

// EDGE-53
#[test]
fn a_body_that_makes_progress_is_not_cut_by_the_time_between_bytes() {
    let origin = Origin::start(|request| ok(&request.body));
    let gateway = timed(&origin, "body_ms");
    let mut client = gateway.connect();
    client.send(&head("POST /x", "Content-Length: 20\r\n"));
    let began = Instant::now();
    while began.elapsed() < DEADLINE * 2 {
        let pause = DEADLINE / 10;
        assert_eq!(
            client.answer(pause).map(|answer| answer.status),
            Err(Ended::Silent)
        );
        if began.elapsed() < DEADLINE * 2 {
            client.send(b"x");
        }
    }
    client.send(&[b'x'; 20]);
    assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
}

// EDGE-53
#[test]
fn a_body_slower_than_the_least_rate_is_cut_after_the_first_seconds() {
    let routes = free("POST /x");
    let origin = Origin::plain();
    let config = format!(
        "server: {{ timeouts: {{ body_min_rate_bytes_s: 1000000 }} }}\n{}",
        before(&origin, &routes)
    );
    let gateway = gateway(config).start();
    let mut client = gateway.connect();
    let began = Instant::now();
    client.send(&head("POST /x", "Content-Length: 100000\r\n"));
    assert_eq!(drip(&mut client, b'y').map(|answer| answer.status), Ok(408));
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(4700) && took < Duration::from_secs(9),
        "{took:?}"
    );
    assert_eq!(origin.connections(), 0);
}

// EDGE-53
#[test]
fn an_idle_connection_is_closed_in_silence_and_a_busy_one_is_not() {
    let origin = Origin::plain();
    let gateway = timed(&origin, "keep_alive_idle_ms");
    let (mut idle, mut busy) = (gateway.connect(), gateway.connect());
    assert_eq!(idle.call(&head("GET /x", "")).status, 200);
    let began = Instant::now();
    while began.elapsed() < DEADLINE * 2 {
        assert_eq!(busy.call(&head("GET /x", "")).status, 200);
    }
    assert!(idle.closed_within(LATE));
    assert!(busy.closed_within(LATE));
}

// EDGE-53
#[test]
fn a_connection_ends_after_so_many_requests_or_at_its_age() {
    let origin = Origin::plain();
    let config = format!(
        "server: {{ timeouts: {{ requests_per_connection_max: 3 }} }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway(config).start();
    let mut client = gateway.connect();
    let closes: Vec<bool> = (0..3)
        .map(|_| client.call(&head("GET /x", "")).closes())
        .collect();
    assert_eq!(closes, [false, false, true]);
    assert!(client.closed_within(LATE));

    let gateway = timed(&origin, "connection_age_max_ms");
    let mut client = gateway.connect();
    let began = Instant::now();
    while !client.call(&head("GET /x", "")).closes() {
        assert!(began.elapsed() < PATIENCE, "an old connection goes on");
    }
    assert_timely("age", began);
    assert!(client.closed_within(LATE));
}

fn endless() -> Origin {
    Origin::start(|_| {
        let pieces = (0..2000).map(|_| chunk(&[b'z'; 16 * 1024]));
        [chunked_head("text/plain")]
            .into_iter()
            .chain(pieces)
            .collect()
    })
}

/// A connection whose receive buffer is small, so that an unread answer soon stops its sender.
fn narrow(gateway: &Gateway) -> Client {
    let client = gateway.connect();
    rustix::net::sockopt::set_socket_recv_buffer_size(client.socket(), 16 * 1024).unwrap();
    client
}

// EDGE-53 EDGE-52 LLM-52
#[test]
fn a_reader_that_stops_is_aborted_and_its_upstream_call_with_it() {
    let origin = endless();
    let gateway = timed(&origin, "write_stall_ms");
    let mut client = narrow(&gateway);
    client.send(&head("GET /x", ""));
    let answer = client.head(PATIENCE).unwrap();
    assert_eq!(answer.status, 200);
    let began = Instant::now();
    eventually("the upstream call cancelled", || {
        (!origin.left().is_empty()).then_some(())
    });
    assert_timely("stalled reader", began);
    let mut answer = answer;
    while client.piece(&mut answer).is_some() {}
    assert_eq!(answer.end, BodyEnd::Cut);
}

// EDGE-53
#[test]
fn a_slow_reader_that_takes_something_is_not_aborted() {
    let origin = endless();
    let gateway = timed(&origin, "write_stall_ms");
    let mut client = narrow(&gateway);
    client.send(&head("GET /x", ""));
    let mut answer = client.head(PATIENCE).unwrap();
    let began = Instant::now();
    while began.elapsed() < DEADLINE * 3 {
        for _ in 0..8 {
            assert!(
                client.piece(&mut answer).is_some(),
                "aborted after {:?}",
                began.elapsed()
            );
        }
        // A reader that is slow, not one that has stopped.
        std::thread::sleep(DEADLINE / 6);
    }
    assert!(origin.left().is_empty());
}

/// A gateway whose upstream has this timeout.
fn upstream_timed(origin: &Origin, key: &str) -> Gateway {
    let config = before(origin, &free("GET /x"));
    let timeouts = format!("32\"], timeouts: {{ {key}: {} }} }}", DEADLINE.as_millis());
    gateway(config.replace("32\"] }", &timeouts)).start()
}

// EDGE-110 LLM-54
#[test]
fn an_upstream_that_does_not_answer_is_a_gateway_timeout() {
    for (name, steps) in [
        ("nothing", vec![Step::Hang]),
        (
            "half a head",
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nx: y".to_vec()), Step::Hang],
        ),
        (
            "only interim answers",
            vec![
                Step::Send(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()),
                Step::Hang,
            ],
        ),
    ] {
        let origin = Origin::start(move |_| steps.clone());
        let gateway = upstream_timed(&origin, "first_byte_ms");
        let began = Instant::now();
        let answer = gateway.call(&head("GET /x", ""));
        assert_timely(name, began);
        assert_eq!(
            (answer.status, answer.code().as_str(), answer.closes()),
            (504, "timeout", false),
            "{name}"
        );
        assert_eq!(
            answer.text(),
            r#"{"error":"The upstream took too long.","code":"timeout"}"#
        );
        eventually("the upstream call cancelled", || {
            (!origin.left().is_empty()).then_some(())
        });
    }
}

// EDGE-110
#[test]
fn an_upstream_that_stops_within_its_answer_is_cut() {
    let steps = vec![chunked_head("text/plain"), chunk(b"one"), Step::Hang];
    let origin = Origin::start(move |_| steps.clone());
    let gateway = upstream_timed(&origin, "idle_ms");
    let began = Instant::now();
    let answer = gateway.call(&head("GET /x", ""));
    assert_timely("idle", began);
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.end),
        (200, "one", BodyEnd::Cut)
    );
    eventually("the upstream call cancelled", || {
        (!origin.left().is_empty()).then_some(())
    });
}

// EDGE-110
#[test]
fn an_answer_that_goes_on_for_too_long_is_cut() {
    let pieces = (0..200).flat_map(|_| [chunk(b"tick"), Step::Sleep(Duration::from_millis(50))]);
    let steps: Vec<_> = [chunked_head("text/plain")]
        .into_iter()
        .chain(pieces)
        .chain([chunk(b"")])
        .collect();
    let origin = Origin::start(move |_| steps.clone());
    let gateway = upstream_timed(&origin, "total_ms");
    let began = Instant::now();
    let answer = gateway.call(&head("GET /x", ""));
    assert_timely("total", began);
    assert_eq!((answer.status, answer.end), (200, BodyEnd::Cut));
}

// EDGE-110 LLM-D60 LLM-54
#[test]
fn a_model_that_stops_within_its_stream_is_told_in_the_dialect() {
    let steps = vec![
        chunked_head("text/event-stream"),
        chunk(b"data: {\"n\":1}\n\n"),
        Step::Hang,
    ];
    let origin = Origin::start(move |_| steps.clone());
    let (gateway, token) = llm(
        &origin,
        "openai",
        &format!("llm: {{ idle_timeout_ms: {} }}\n", DEADLINE.as_millis()),
    );
    let began = Instant::now();
    let answer = gateway.call(&chat(
        &token,
        r#"{"model":"m","messages":[],"stream":true}"#,
    ));
    assert_timely("idle", began);
    let text = answer.text();
    assert_eq!(answer.end, BodyEnd::Whole, "{text}");
    let (relayed, event) = text.trim_end().rsplit_once("\n\n").unwrap();
    assert!(relayed.starts_with("data: {\"n\":1}"), "{text}");
    let event: serde_json::Value =
        serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(event["error"]["code"], "timeout");
    eventually("the upstream call cancelled", || {
        (!origin.left().is_empty()).then_some(())
    });
}

// EDGE-36
#[test]
fn a_refused_body_that_does_not_come_costs_a_second_at_most() {
    let origin = Origin::plain();
    let route =
        "  \"POST /x\": { upstream: origin, access: free, request: { body_bytes_max: 10 } }\n";
    let gateway = gateway(before(&origin, route)).start();
    let mut client = gateway.connect();
    let request = post("/x", "", &[b'x'; 1000]);
    client.send(&request[..request.len() - 1]);
    assert_eq!(client.answer(PATIENCE).unwrap().status, 413);
    let began = Instant::now();
    assert!(client.closed_within(LATE));
    assert!(
        began.elapsed() > Duration::from_millis(600),
        "it was waited for"
    );
}
