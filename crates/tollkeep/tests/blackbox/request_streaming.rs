//! Bodies that are sent on while they arrive.

use crate::fixture::{before, gateway, head, post};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tollkeep_testkit::{BodyEnd, Gateway, Http2Client, Origin, Step, eventually, free_addr, ok};

const PATIENCE: Duration = Duration::from_secs(20);

/// Routes to `origin`: `/s` sends bodies on while they arrive, `/w` once they are whole.
fn config(url: &str, upstream: &str, request: &str) -> String {
    let limit = "access: free, rate_limit: { requests: 1000000, window: 1s }";
    format!(
        "server: {{}}\nupstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"]{upstream} }}\nroutes:\n  \
         \"ANY /s\": {{ upstream: origin, {limit}, request: {{ streaming: true, allow_body: true{request} }} }}\n  \
         \"POST /w\": {{ upstream: origin, {limit} }}\n"
    )
}

/// With one worker, so that connections to the origin are used again.
fn start_of(config: String) -> Gateway {
    gateway(config).set("server.workers", "1").start()
}

fn streaming(origin: &Origin, request: &str) -> Gateway {
    start_of(config(&origin.url(), "", request))
}

/// What reached the origin so far, of all connections.
fn seen(origin: &Origin) -> String {
    let raw = origin.raw().concat();
    String::from_utf8_lossy(&raw).into_owned()
}

// EDGE-20
#[test]
fn a_body_goes_on_while_it_arrives_only_where_the_route_says_so() {
    let origin = Origin::plain();
    let gateway = streaming(&origin, "");
    let whole = post("/s", "", b"first second");
    let (begun, rest) = whole.split_at(whole.len() - " second".len());
    let mut client = gateway.connect();
    assert!(client.send(begun));
    eventually("the first bytes at the origin", || {
        seen(&origin).ends_with("\r\n\r\nfirst").then_some(())
    });
    assert_eq!(origin.count(), 0, "it is not whole yet");
    assert_eq!(client.call(rest).status, 200);
    let request = origin.last();
    assert_eq!(request.text(), "first second");
    assert_eq!(request.field("content-length"), Some("12"));
    assert_eq!(gateway.call(&post("/w", "", b"x")).status, 200);

    // The nearest route without it: nothing goes on before the end.
    origin.forget();
    let whole = post("/w", "", b"first second");
    let (begun, rest) = whole.split_at(whole.len() - " second".len());
    let mut other = gateway.connect();
    assert!(other.send(begun));
    // A request behind it on another connection of the one worker is through.
    assert_eq!(client.call(&post("/s", "", b"third")).status, 200);
    assert!(!seen(&origin).contains("first"), "{}", seen(&origin));
    assert_eq!(other.call(rest).status, 200);
    assert_eq!(origin.connections(), 1, "they are kept and used again");
}

// EDGE-20
#[test]
fn chunks_go_on_framed_anew() {
    let origin = Origin::start_chunked(|_| ok(b"ok"));
    let gateway = streaming(&origin, "");
    let mut client = gateway.connect();
    let lines = "Transfer-Encoding: chunked\r\n";
    assert!(client.send(&head("POST /s", lines)));
    assert!(client.send(b"5;name=value\r\nfirst\r\n"));
    eventually("the first chunk at the origin", || {
        seen(&origin).ends_with("5\r\nfirst\r\n").then_some(())
    });
    assert!(client.send(b"00007\r\n second\r\n0\r\n"));
    // Behind a message is the next one.
    let mut rest = b"X-Trailer: dropped\r\n\r\n".to_vec();
    rest.extend(post("/s", "", b"next"));
    let answer = client.call(&rest);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    let requests = origin.requests();
    assert_eq!(requests[0].text(), "first second");
    assert_eq!(requests[1].text(), "next");
    let seen = seen(&origin);
    assert!(
        !seen.contains("name=value") && !seen.contains("railer"),
        "{seen}"
    );
    eventually("its line", || {
        let line = gateway.access_lines().into_iter().next()?;
        assert_eq!(line["bytes_in"], 12);
        Some(())
    });
}

// EDGE-20
#[test]
fn a_body_over_http2_goes_on_while_it_arrives() {
    let origin = Origin::start_chunked(|_| ok(b"ok"));
    let config = format!("{}\n", config(&origin.url(), "", "")).replace("{}", "{ h2c: true }");
    let gateway = start_of(config);
    let mut client = Http2Client::connect(gateway.data());
    let request = client.request("POST", "/s", &[]);
    let mut exchange = client.begin(request, false).unwrap();
    exchange.send.send_data("first".into(), false).unwrap();
    eventually("the first bytes at the origin", || {
        seen(&origin).ends_with("5\r\nfirst\r\n").then_some(())
    });
    exchange.send.send_data(" second".into(), true).unwrap();
    assert_eq!(exchange.head().unwrap().status, 200);
    assert_eq!(origin.last().text(), "first second");
}

/// What a caller sends, what it is told, and what the upstream found wrong.
type Faulty = (&'static str, Vec<u8>, u16);

// EDGE-20
#[test]
fn a_faulty_body_ends_the_upstreams_connection_before_it_looks_whole() {
    let chunked = |body: &str| {
        let mut request = head("POST /s", "Transfer-Encoding: chunked\r\n");
        request.extend_from_slice(body.as_bytes());
        request
    };
    let cases: [Faulty; 4] = [
        ("a bad size", chunked("3\r\nabc\r\nx\r\n"), 400),
        ("no line end", chunked("3\r\nabcd\r\n0\r\n\r\n"), 400),
        ("a bare line feed", chunked("3\nabc\r\n0\r\n\r\n"), 400),
        (
            "beyond the bound",
            chunked("5\r\nabcde\r\n6\r\nfghijk\r\n0\r\n\r\n"),
            413,
        ),
    ];
    for (name, request, status) in cases {
        let origin = Origin::start_chunked(|_| ok(b"ok"));
        let gateway = streaming(&origin, ", body_bytes_max: 10");
        let mut client = gateway.connect();
        let answer = client.call(&request);
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        assert!(client.closed_within(PATIENCE), "{name}");
        eventually("the fault at the origin", || {
            (!origin.faults().is_empty()).then_some(())
        });
        assert_eq!(origin.count(), 0, "{name}");
        let own = "tollkeep_upstream_attempts_total{provider=\"origin\",result=\"cancelled\"} 1";
        assert!(gateway.metrics_text().contains(own), "{name}");
        // It says nothing about the upstream.
        assert_eq!(gateway.call(&post("/s", "", b"fine")).status, 200, "{name}");
    }
    let origin = Origin::plain();
    let gateway = streaming(&origin, ", body_bytes_max: 10");
    let announced = head("POST /s", "Content-Length: 11\r\n");
    assert_eq!(gateway.call(&announced).status, 413);
    let coded = post("/s", "Content-Encoding: gzip\r\n", b"x");
    assert_eq!(gateway.call(&coded).status, 415, "it is not decoded");
    assert_eq!(origin.connections(), 0);
    assert_eq!(gateway.call(&post("/s", "", b"ten bytes.")).status, 200);
}

// EDGE-20
#[test]
fn a_caller_who_goes_away_or_stops_ends_the_upstreams_connection() {
    let origin = Origin::plain();
    let config = config(&origin.url(), "", "");
    let config = config.replace("{}", "{ timeouts: { body_ms: 300 } }");
    let gateway = start_of(config);
    let begun = |mut body: Vec<u8>| {
        body.truncate(body.len() - 3);
        let mut client = gateway.connect();
        assert!(client.send(&body));
        client
    };
    let client = begun(post("/s", "", b"one two"));
    eventually("its beginning", || {
        seen(&origin).ends_with("one ").then_some(())
    });
    drop(client);
    eventually("its end", || (origin.faults().len() == 1).then_some(()));

    let mut client = begun(post("/s", "", b"one two"));
    let answer = client.answer(PATIENCE).unwrap();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    eventually("its end", || (origin.faults().len() == 2).then_some(()));
    assert_eq!(origin.count(), 0);
}

/// A port whose connections are each handed to `serve` in turn.
fn scripted(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    url
}

/// Reads until what came ends with `end`.
fn read_to(stream: &mut TcpStream, end: &[u8]) {
    let (mut came, mut piece) = (Vec::new(), [0; 4096]);
    while !came.ends_with(end) {
        match stream.read(&mut piece) {
            Ok(read) if read > 0 => came.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
}

// EDGE-20
#[test]
fn an_upstream_that_answers_early_gets_no_more_and_its_answer_arrives() {
    let (left, gone) = mpsc::channel();
    let url = scripted(move |mut stream| {
        read_to(&mut stream, b"begin");
        // An interim answer is none.
        stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
            .unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        left.send(rest.len()).unwrap();
    });
    let gateway = start_of(config(&url, "", ", body_bytes_max: 100MB"));
    // Of a known, small rest the connection lives on; else it closes.
    for (name, length, closes) in [("small", 100, false), ("large", 90_000_000, true)] {
        let mut client = gateway.connect();
        let mut request = head("POST /s", &format!("Content-Length: {length}\r\n"));
        request.extend_from_slice(b"begin");
        let answer = client.call(&request);
        assert_eq!(
            (answer.status, answer.text()),
            (403, "no".to_owned()),
            "{name}"
        );
        assert_eq!(
            (answer.closes(), answer.end),
            (closes, BodyEnd::Whole),
            "{name}"
        );
        let more = gone
            .recv_timeout(PATIENCE)
            .expect("the upstream's connection ends");
        assert_eq!(more, 0, "{name}");
        if closes {
            assert!(client.closed_within(PATIENCE), "{name}");
        } else {
            assert!(client.send(&[b'x'; 95]));
            let mut again = head("POST /s", "Content-Length: 100\r\n");
            again.extend_from_slice(b"begin");
            assert_eq!(
                client.call(&again).status,
                403,
                "{name}: the connection lives"
            );
            gone.recv_timeout(PATIENCE).unwrap();
        }
    }
}

// EDGE-20 EDGE-52
#[test]
fn an_upstream_that_takes_nothing_holds_its_caller_back_and_is_late_in_the_end() {
    let (keep, kept) = mpsc::channel();
    let url = scripted(move |stream| keep.send(stream).unwrap());
    let timeouts = ", timeouts: { idle_ms: 1000 }";
    let gateway = start_of(config(&url, timeouts, ", body_bytes_max: 256MiB"));
    let mut client = gateway.connect();
    let lines = format!("Content-Length: {}\r\n", 256 << 20);
    assert!(client.send(&head("POST /s", &lines)));
    let mut socket = client.socket().try_clone().unwrap();
    let sender = thread::spawn(move || {
        let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0_usize);
        while sent < 256 << 20 && socket.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        sent
    });
    let _held = kept.recv_timeout(PATIENCE).expect("a connection");
    let answer = client.answer(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
    // What the kernel holds on both sides, and what we do: far from the whole.
    let taken = sender.join().unwrap();
    let held = eventually("its line", || {
        gateway.access_lines().first()?["bytes_in"].as_u64()
    });
    assert!(held < 32 << 20, "{held} of {taken}");
}

// EDGE-20 EDGE-32
#[test]
fn leave_to_send_is_given_once_the_upstream_is_there() {
    let expects = "Expect: 100-continue\r\nContent-Length: 4\r\n";
    let origin = Origin::plain();
    let gateway = streaming(&origin, "");
    let mut client = gateway.connect();
    assert!(client.send(&head("POST /s", expects)));
    eventually("the head at the origin", || {
        seen(&origin).ends_with("\r\n\r\n").then_some(())
    });
    assert!(!seen(&origin).contains("xpect"));
    let answer = client.call(b"body");
    assert_eq!((answer.status, answer.interim), (200, vec![100]));
    assert_eq!(origin.last().text(), "body");

    let url = format!("http://{}", free_addr());
    let gateway = start_of(config(&url, "", ""));
    let mut client = gateway.connect();
    let answer = client.call(&head("POST /s", expects));
    assert!(answer.closes());
    assert_eq!((answer.status, answer.interim), (502, vec![]));
}

// EDGE-20 EDGE-111
#[test]
fn a_body_that_was_sent_on_is_never_sent_again() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let origin = Origin::start(move |_| {
        let is_first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
        if is_first {
            ok(b"ok")
        } else {
            vec![Step::Close]
        }
    });
    let retry = ", retry: { reused: 1, with_idempotency_key: true }";
    let gateway = start_of(config(&origin.url(), retry, ""));
    assert_eq!(gateway.call(&post("/s", "", b"x")).status, 200);
    let mut client = gateway.connect();
    let lines = "Idempotency-Key: 7\r\nContent-Length: 4\r\n";
    origin.forget();
    assert!(client.send(&head("POST /s", lines)));
    eventually("the head at the origin", || {
        seen(&origin).ends_with("\r\n\r\n").then_some(())
    });
    assert_eq!(client.call(b"body").status, 502);
    assert_eq!(origin.count(), 1);
    // One that was kept whole may be.
    assert_eq!(
        gateway
            .call(&post("/s", "Idempotency-Key: 7\r\n", b"x"))
            .status,
        502
    );
    assert_eq!(origin.count(), 2, "no kept connection was there to die");
}

// EDGE-75
#[test]
fn a_head_that_broke_off_does_not_spoil_the_next_answer() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/cut" => {
            let begun = b"HTTP/1.1 200 OK\r\nx-first: 1\r\nx-second: 2\r\nx-thi";
            vec![Step::Send(begun.to_vec()), Step::Close]
        }
        _ => ok(b"fine"),
    });
    let routes = ["GET /cut", "GET /x"].map(crate::fixture::free).concat();
    let gateway = gateway(before(&origin, &routes))
        .set("server.workers", "1")
        .start();
    for _ in 0..3 {
        assert_eq!(gateway.call(&head("GET /cut", "")).status, 502);
        let answer = gateway.call(&head("GET /x", ""));
        assert_eq!((answer.status, answer.text()), (200, "fine".to_owned()));
    }
}
