//! HTTP/2 frame by frame: settings, malformed requests, what RFC 9113 and RFC 7541 ask of a
//! server.

use crate::http2::{clear_text, plain};
use tollkeep_testkit::frames::{END_HEADERS, END_STREAM, block, kind};
use tollkeep_testkit::{FrameClient, Gateway, NoFrame, Origin, PATIENCE, RawFrame, eventually};

const PROTOCOL_ERROR: u32 = 1;

/// What came of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// An answer with this status.
    Status(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, and the connection ends.
    GoAway(u32),
}

use Fate::{GoAway, Reset, Status};

fn fate(client: &mut FrameClient) -> Fate {
    let told = [kind::HEADERS, kind::RST_STREAM, kind::GOAWAY];
    let frame = client.frame_where(|frame| told.contains(&frame.kind));
    let frame = frame.unwrap_or_else(|none| panic!("{none:?}"));
    match frame.kind {
        kind::HEADERS => Status(frame.status()),
        kind::RST_STREAM => Reset(frame.code()),
        _ => GoAway(frame.code()),
    }
}

/// Whether the connection still answers.
fn lives(client: &mut FrameClient) -> bool {
    client.send(&RawFrame::new(kind::PING, 0, 0, *b"12345678"));
    let pong = client.frame_where(|frame| frame.kind == kind::PING && frame.flags & 1 == 1);
    pong.is_ok_and(|pong| pong.payload == b"12345678")
}

/// The fields of a request that is served, as far as `without` and `with` don't change them.
fn fields<'a>(without: &[&str], with: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let served = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/x"),
        (":authority", "127.0.0.1"),
    ];
    let kept = served
        .into_iter()
        .filter(|(name, _)| !without.contains(name));
    kept.chain(with.iter().copied()).collect()
}

// EDGE-41
#[test]
fn the_first_frame_tells_the_settings() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let mut client = FrameClient::connect(gateway.data());
    let first = client.frame(PATIENCE).unwrap();
    assert_eq!(
        (first.kind, first.flags, first.stream),
        (kind::SETTINGS, 0, 0)
    );
    let mut told: Vec<_> = first
        .payload
        .chunks(6)
        .map(|pair| {
            let [i0, i1, v0, v1, v2, v3] = pair.try_into().unwrap();
            (
                u16::from_be_bytes([i0, i1]),
                u32::from_be_bytes([v0, v1, v2, v3]),
            )
        })
        .collect();
    told.sort_unstable();
    let (table, streams, window, frame, list) = (1, 3, 4, 5, 6);
    assert_eq!(
        told,
        [
            (table, 4096),
            (streams, 100),
            (window, 65_536),
            (frame, 16_384),
            (list, 32_768)
        ]
    );
    let window = client
        .frame_where(|frame| frame.kind == kind::WINDOW_UPDATE)
        .unwrap();
    assert_eq!(window.stream, 0);
    let more = u32::from_be_bytes(window.payload.try_into().unwrap());
    assert_eq!(more + 65_535, 1_048_576, "of the connection");
}

type Fields = Vec<(&'static str, &'static str)>;

/// Requests whose head is all that is sent.
#[rustfmt::skip]
fn heads() -> Vec<(&'static str, Fields, Fate)> {
    let with = |with: &[(&'static str, &'static str)]| fields(&[], with);
    let instead = |name: &'static str, value: &'static str| {
        let mut fields = fields(&[], &[]);
        let field = fields.iter_mut().find(|(known, _)| *known == name);
        field.unwrap().1 = value;
        fields
    };
    let without = |name| fields(&[name], &[]);
    vec![
        ("a whole one", with(&[]), Status(200)),
        ("te: trailers", with(&[("te", "trailers")]), Status(200)),
        ("host as authority", with(&[("host", "127.0.0.1")]), Status(200)),
        ("host alone", fields(&[":authority"], &[("host", "127.0.0.1")]), Status(200)),
        ("no method", without(":method"), Reset(PROTOCOL_ERROR)),
        ("no scheme", without(":scheme"), Reset(PROTOCOL_ERROR)),
        ("no path", without(":path"), Reset(PROTOCOL_ERROR)),
        ("no authority", without(":authority"), Status(400)),
        ("two methods", with(&[(":method", "GET")]), Reset(PROTOCOL_ERROR)),
        ("two paths", with(&[(":path", "/y")]), Reset(PROTOCOL_ERROR)),
        ("two authorities", with(&[(":authority", "127.0.0.1")]), Reset(PROTOCOL_ERROR)),
        ("a pseudo-field of answers", with(&[(":status", "200")]), Reset(PROTOCOL_ERROR)),
        ("a pseudo-field after others", fields(&[":path"], &[("a", "b"), (":path", "/x")]), Reset(PROTOCOL_ERROR)),
        ("an unknown pseudo-field", with(&[(":colour", "red")]), Reset(PROTOCOL_ERROR)),
        ("an empty path", instead(":path", ""), Reset(PROTOCOL_ERROR)),
        ("a path without slash", instead(":path", "x"), Reset(PROTOCOL_ERROR)),
        ("a path that is an address", instead(":path", "http://127.0.0.1/x"), Reset(PROTOCOL_ERROR)),
        ("a fragment", instead(":path", "/x#y"), Status(400)),
        ("an asterisk", instead(":path", "*"), Status(400)),
        ("a blank in the path", instead(":path", "/x y"), Status(400)),
        ("a path beyond ASCII", instead(":path", "/\u{e4}"), Status(400)),
        ("dots in the path", instead(":path", "/../x"), Status(400)),
        ("another scheme", instead(":scheme", "ftp"), Status(400)),
        ("an authority with a user", instead(":authority", "me@127.0.0.1"), Status(400)),
        ("an authority not served", instead(":authority", "example.com"), Status(421)),
        ("an empty authority", instead(":authority", ""), Reset(PROTOCOL_ERROR)),
        ("another host", with(&[("host", "localhost")]), Status(400)),
        ("two hosts", with(&[("host", "127.0.0.1"), ("host", "127.0.0.1")]), Status(400)),
        ("an upper-case name", with(&[("X-Upper", "a")]), Reset(PROTOCOL_ERROR)),
        ("a blank in a name", with(&[("x y", "a")]), Reset(PROTOCOL_ERROR)),
        ("an empty name", with(&[("", "a")]), Reset(PROTOCOL_ERROR)),
        ("a line break in a value", with(&[("x-a", "a\r\nb: c")]), Reset(PROTOCOL_ERROR)),
        ("a NUL in a value", with(&[("x-a", "a\0")]), Reset(PROTOCOL_ERROR)),
        ("a blank before a value", with(&[("x-a", " a")]), Status(400)),
        ("a tab behind a value", with(&[("x-a", "a\t")]), Status(400)),
        ("connection", with(&[("connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("keep-alive", with(&[("keep-alive", "1")]), Reset(PROTOCOL_ERROR)),
        ("proxy-connection", with(&[("proxy-connection", "close")]), Reset(PROTOCOL_ERROR)),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")]), Reset(PROTOCOL_ERROR)),
        ("upgrade", with(&[("upgrade", "websocket")]), Reset(PROTOCOL_ERROR)),
        ("another te", with(&[("te", "gzip")]), Reset(PROTOCOL_ERROR)),
        ("a length without a body", with(&[("content-length", "5")]), Reset(PROTOCOL_ERROR)),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")]), Status(400)),
        ("two credentials of a kind", with(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), Status(400)),
        ("a reserved name with underscores", with(&[("x_api_key", "a")]), Status(400)),
        ("an unknown method", instead(":method", "BREW"), Status(501)),
        ("trace", instead(":method", "TRACE"), Status(405)),
        ("a method that is none", instead(":method", "GE T"), Reset(PROTOCOL_ERROR)),
        ("connect", vec![(":method", "CONNECT"), (":authority", "127.0.0.1")], Status(405)),
        ("connect with a path", instead(":method", "CONNECT"), Reset(PROTOCOL_ERROR)),
    ]
}

fn sends(gateway: &Gateway, fields: &[(&str, &str)]) -> (Fate, FrameClient) {
    let mut client = FrameClient::connect(gateway.data());
    client.send(&RawFrame::headers(1, END_STREAM, fields));
    (fate(&mut client), client)
}

/// What has no status is told of all the same.
fn told(gateway: &Gateway, reason: &str) {
    let metric = format!("tollkeep_requests_rejected_total{{reason=\"{reason}\"}}");
    assert!(gateway.metrics_text().contains(&metric), "{reason}");
    let event = gateway.audit_line(reason, |line| {
        line["action"] == "request.rejected" && line["reason"] == reason
    });
    assert_eq!(event["client_ip"], "127.0.0.1");
}

// EDGE-40
#[test]
fn heads_are_as_strict_as_over_http_1() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let mut wrong = Vec::new();
    for (name, fields, want) in heads() {
        let before = origin.count();
        let (fate, mut client) = sends(&gateway, &fields);
        let passed = origin.count() - before;
        let lives_on = matches!(fate, GoAway(_)) || lives(&mut client);
        if fate != want || passed != usize::from(want == Status(200)) || !lives_on {
            wrong.push((name, fate, want, passed, lives_on));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    told(&gateway, "http2_malformed");
}

// EDGE-40
#[test]
fn a_refused_stream_is_answered_by_nothing_of_an_earlier_request() {
    let origin = Origin::plain();
    let gateway = clear_text(&origin, &["GET /x", "HEAD /x"]).start();
    let mut client = FrameClient::connect(gateway.data());
    for round in 0..10 {
        let (first, second) = (round * 4 + 1, round * 4 + 3);
        let head = fields(&[":method"], &[(":method", "HEAD")]);
        client.send(&RawFrame::headers(first, END_STREAM, &head));
        let answer = client.frame_where(|frame| frame.stream == first);
        assert_eq!(answer.unwrap().status(), 200);
        let other = fields(&[":scheme"], &[(":scheme", "ftp")]);
        client.send(&RawFrame::headers(second, END_STREAM, &other));
        let answer = client
            .frame_where(|frame| frame.stream == second && frame.kind == kind::HEADERS)
            .unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.flags & END_STREAM, 0, "it has a body");
        let body = client.frame_where(|frame| frame.stream == second).unwrap();
        assert!(body.kind == kind::DATA && !body.payload.is_empty());
    }
}

// EDGE-41
#[test]
fn a_stream_beyond_the_hundredth_is_refused_and_may_be_asked_again() {
    const REFUSED_STREAM: u32 = 7;
    let origin = Origin::start(|_| vec![tollkeep_testkit::Step::Hang]);
    let gateway = plain(&origin);
    let mut client = FrameClient::connect(gateway.data());
    let held = fields(&[], &[]);
    for number in 0..=100 {
        client.send(&RawFrame::headers(number * 2 + 1, END_STREAM, &held));
    }
    let reset = client
        .frame_where(|frame| frame.kind == kind::RST_STREAM)
        .unwrap();
    assert_eq!((reset.stream, reset.code()), (201, REFUSED_STREAM));
    assert!(lives(&mut client));
    origin.wait_for(100);
    assert_eq!(origin.count(), 100);
}

// EDGE-41 EDGE-42
#[test]
fn fields_beyond_the_settings_are_refused_and_bombs_end_the_connection() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let large = "x".repeat(8_000);
    let five: Vec<_> = (0..5).map(|_| ("x-large", &*large)).collect();
    let whole = block(&fields(&[], &five));
    let mut client = FrameClient::connect(gateway.data());
    let mut pieces = whole.chunks(16_000).peekable();
    let mut kind = kind::HEADERS;
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        client.send(&RawFrame::new(kind, flags | END_STREAM, 1, piece));
        kind = kind::CONTINUATION;
    }
    let answer = client
        .frame_where(|frame| frame.kind == kind::HEADERS)
        .unwrap();
    assert_eq!(answer.status(), 431);
    let text = String::from_utf8_lossy(&answer.payload);
    for want in ["nosniff", "headers_too_large", "req_"] {
        assert!(text.contains(want), "as every answer: {want} in {text:?}");
    }
    assert!(lives(&mut client));
    eventually("its line", || {
        let mut lines = gateway.access_lines().into_iter();
        lines.find(|line| line["status"] == 431)
    });
    // One field of the table, named thousands of times by one byte each.
    let mut bomb = block(&fields(&[], &[]));
    let value = "x".repeat(3_900);
    bomb.extend([0x40, 1, b'a', 0x7f, 0xbd, 0x1d]);
    bomb.extend(value.bytes());
    bomb.resize(16_000, 0xbe);
    let before = crate::http2::resident_kib(&gateway);
    let mut client = FrameClient::connect(gateway.data());
    client.send(&RawFrame::new(
        kind::HEADERS,
        END_HEADERS | END_STREAM,
        1,
        bomb,
    ));
    let fate = fate(&mut client);
    assert!(matches!(fate, GoAway(code) if code != 0), "{fate:?}");
    assert!(crate::http2::resident_kib(&gateway) < before + 4 * 1024);
    assert_eq!(origin.count(), 0);
}

// EDGE-53
#[test]
fn a_body_that_stops_is_refused_on_its_stream_alone() {
    let origin = Origin::plain();
    let gateway = clear_text(&origin, &["POST /x"]);
    let gateway = gateway.set("server.timeouts.body_ms", "300").start();
    for with in [&[("content-length", "5")][..], &[]] {
        let begun = RawFrame::new(kind::DATA, 0, 1, *b"hel");
        let (fate, mut client) = posts(&gateway, with, &[begun]);
        assert_eq!(fate, Status(408));
        let reset = client
            .frame_where(|frame| frame.kind == kind::RST_STREAM)
            .unwrap();
        assert_eq!(
            (reset.stream, reset.code()),
            (1, 0),
            "nothing more is wanted"
        );
        assert!(lives(&mut client));
    }
    assert_eq!(origin.count(), 0);
}

/// A POST with these further fields, and frames of its body.
fn posts(gateway: &Gateway, with: &[(&str, &str)], body: &[RawFrame]) -> (Fate, FrameClient) {
    let mut client = FrameClient::connect(gateway.data());
    let fields = fields(&[":method"], with);
    let fields: Vec<_> = [(":method", "POST")].into_iter().chain(fields).collect();
    client.send(&RawFrame::headers(1, 0, &fields));
    for frame in body {
        client.send(frame);
    }
    (fate(&mut client), client)
}

// EDGE-40
#[test]
#[rustfmt::skip]
fn a_body_that_is_not_as_long_as_announced_reaches_nobody() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let data = |flags, bytes: &[u8]| RawFrame::new(kind::DATA, flags, 1, bytes);
    let trailers = |fields: &[(&str, &str)]| RawFrame::headers(1, END_STREAM, fields);
    let five = &[("content-length", "5")][..];
    for (name, with, body, want) in [
        ("as long", five, vec![data(END_STREAM, b"hello")], Status(200)),
        ("an end of its own", five, vec![data(0, b"hello"), data(END_STREAM, b"")], Status(200)),
        ("a field behind it", five, vec![data(0, b"hello"), trailers(&[("x-a", "b")])], Status(200)),
        ("a field behind one unannounced", &[], vec![data(0, b"hello"), trailers(&[("x-a", "b")])], Status(200)),
        ("shorter", five, vec![data(END_STREAM, b"hell")], Reset(PROTOCOL_ERROR)),
        ("longer", five, vec![data(END_STREAM, b"hello!")], Reset(PROTOCOL_ERROR)),
        ("longer in a frame of its own", five, vec![data(0, b"hello"), data(END_STREAM, b"!")], Reset(PROTOCOL_ERROR)),
        ("none, and some", &[("content-length", "0")], vec![data(END_STREAM, b"!")], Reset(PROTOCOL_ERROR)),
        ("a sign", &[("content-length", "+5")], vec![data(END_STREAM, b"hello")], Reset(PROTOCOL_ERROR)),
        ("a zero before", &[("content-length", "05")], vec![data(END_STREAM, b"hello")], Status(400)),
        ("a credential behind it", five, vec![data(0, b"hello"), trailers(&[("x-api-key", "b")])], Reset(PROTOCOL_ERROR)),
        ("a credential behind one unannounced", &[], vec![data(0, b"hello"), trailers(&[("x-api-key", "b")])], Status(400)),
        ("a pseudo-field behind it", five, vec![data(0, b"hello"), trailers(&[(":path", "/y")])], Reset(PROTOCOL_ERROR)),
    ] {
        let before = origin.count();
        let (fate, mut client) = posts(&gateway, with, &body);
        assert_eq!(fate, want, "{name}");
        assert_eq!(
            origin.count() - before,
            usize::from(want == Status(200)),
            "{name}"
        );
        assert!(lives(&mut client), "{name}");
    }
}

// EDGE-32
#[test]
fn leave_to_continue_is_given_on_a_stream_too() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    for with in [
        &[("expect", "100-continue")][..],
        &[("expect", "100-continue"), ("content-length", "5")],
    ] {
        let (first, mut client) = posts(&gateway, with, &[]);
        assert_eq!(first, Status(100));
        assert_eq!(
            client.frame(std::time::Duration::from_millis(100)),
            Err(NoFrame::Silent)
        );
        client.send(&RawFrame::new(kind::DATA, END_STREAM, 1, *b"hello"));
        assert_eq!(fate(&mut client), Status(200));
        assert_eq!(origin.last().text(), "hello");
    }
    let (first, _) = posts(&gateway, &[("expect", "tea")], &[]);
    assert_eq!(first, Status(417));
}

// EDGE-21
#[test]
fn without_leave_the_preface_is_another_protocol() {
    let origin = Origin::plain();
    let gateway = crate::connection::plain(&origin);
    let mut client = gateway.connect();
    client.send(tollkeep_testkit::frames::PREFACE);
    let answer = client.answer(PATIENCE).unwrap();
    assert_eq!((answer.status, answer.closes()), (505, true));
}

/// Frames that a server must not take, on a connection where stream 1 is open.
#[rustfmt::skip]
fn frames() -> Vec<(&'static str, Vec<RawFrame>, Fate)> {
    const FLOW_CONTROL_ERROR: u32 = 3;
    const STREAM_CLOSED: u32 = 5;
    const FRAME_SIZE_ERROR: u32 = 6;
    const COMPRESSION_ERROR: u32 = 9;
    let frame = |kind, flags, stream, payload: &[u8]| RawFrame::new(kind, flags, stream, payload);
    let setting = |id: u8, value: u32| {
        let payload = [&[0, id][..], &value.to_be_bytes()].concat();
        vec![frame(kind::SETTINGS, 0, 0, &payload)]
    };
    let whole = block(&fields(&[], &[]));
    let opened = |stream, flags| RawFrame::headers(stream, flags, &fields(&[], &[]));
    let open = || opened(1, 0);
    let connection = GoAway(PROTOCOL_ERROR);
    vec![
        ("4.2 too large a frame", vec![frame(kind::DATA, 0, 1, &[0; 16_385])], GoAway(FRAME_SIZE_ERROR)),
        ("4.3 fields that can't be decoded", vec![frame(kind::HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff])], GoAway(COMPRESSION_ERROR)),
        ("5.1 DATA on an idle stream", vec![frame(kind::DATA, 0, 1, b"x")], connection),
        ("5.1 RST_STREAM on an idle stream", vec![frame(kind::RST_STREAM, 0, 1, &[0; 4])], connection),
        ("5.1 WINDOW_UPDATE on an idle stream", vec![frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])], connection),
        ("5.1.1 a stream of the server's", vec![opened(2, END_STREAM)], connection),
        ("5.1.1 a stream older than the last", vec![opened(5, 0), opened(3, END_STREAM)], connection),
        ("6.1 DATA on the connection", vec![frame(kind::DATA, 0, 0, b"x")], connection),
        ("6.1 more padding than frame", vec![open(), frame(kind::DATA, 8, 1, &[9, 0])], connection),
        ("6.2 HEADERS on the connection", vec![frame(kind::HEADERS, 5, 0, &whole)], connection),
        ("6.2 another frame within a block", vec![frame(kind::HEADERS, 0, 1, &whole), frame(kind::PING, 0, 0, &[0; 8])], connection),
        ("6.2 another stream within a block", vec![frame(kind::HEADERS, 0, 1, &whole), frame(kind::CONTINUATION, 4, 3, b"")], connection),
        ("6.3 PRIORITY of another size", vec![open(), frame(kind::PRIORITY, 0, 1, &[0; 4])], Reset(FRAME_SIZE_ERROR)),
        ("6.4 RST_STREAM on the connection", vec![frame(kind::RST_STREAM, 0, 0, &[0; 4])], connection),
        ("6.4 RST_STREAM of another size", vec![open(), frame(kind::RST_STREAM, 0, 1, &[0; 3])], GoAway(FRAME_SIZE_ERROR)),
        ("6.5 SETTINGS on a stream", vec![open(), frame(kind::SETTINGS, 0, 1, b"")], connection),
        ("6.5 SETTINGS of another size", vec![frame(kind::SETTINGS, 0, 0, &[0; 3])], GoAway(FRAME_SIZE_ERROR)),
        ("6.5 an acknowledgement that says more", vec![frame(kind::SETTINGS, 1, 0, &[0; 6])], GoAway(FRAME_SIZE_ERROR)),
        ("6.5.2 push that is neither on nor off", setting(2, 2), connection),
        ("6.5.2 too large a window", setting(4, 1 << 31), GoAway(FLOW_CONTROL_ERROR)),
        ("6.5.2 too small a frame", setting(5, 100), connection),
        ("6.6 PUSH_PROMISE of a client", vec![open(), frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], connection),
        ("6.7 PING on a stream", vec![open(), frame(kind::PING, 0, 1, &[0; 8])], connection),
        ("6.7 PING of another size", vec![frame(kind::PING, 0, 0, &[0; 6])], GoAway(FRAME_SIZE_ERROR)),
        ("6.8 GOAWAY on a stream", vec![open(), frame(kind::GOAWAY, 0, 1, &[0; 8])], connection),
        ("6.9 a window by nothing", vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])], connection),
        ("6.9 WINDOW_UPDATE of another size", vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])], GoAway(FRAME_SIZE_ERROR)),
        ("6.9.1 too large a window of the connection", vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])], GoAway(FLOW_CONTROL_ERROR)),
        ("6.9.1 too large a window of a stream", vec![open(), frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])], Reset(FLOW_CONTROL_ERROR)),
        ("6.10 CONTINUATION of nothing", vec![open(), frame(kind::CONTINUATION, 4, 1, b"")], connection),
        ("5.1 DATA behind the end", vec![RawFrame::headers(1, END_STREAM, &fields(&[":path"], &[(":path", "/any/held")])), frame(kind::DATA, 0, 1, b"x")], Reset(STREAM_CLOSED)),
        ("HPACK 6.1 index 0", vec![frame(kind::HEADERS, 5, 1, &[0x80])], GoAway(COMPRESSION_ERROR)),
        ("HPACK 2.3.3 an index beyond the tables", vec![frame(kind::HEADERS, 5, 1, &[0xff, 0x20])], GoAway(COMPRESSION_ERROR)),
        ("HPACK 4.2 too large a table", vec![frame(kind::HEADERS, 5, 1, &[&[0x3f, 0xe2, 0x1f][..], &whole].concat())], GoAway(COMPRESSION_ERROR)),
        ("HPACK 4.2 a table's size behind fields", vec![frame(kind::HEADERS, 5, 1, &[&whole[..], &[0x20]].concat())], GoAway(COMPRESSION_ERROR)),
        ("HPACK 5.2 too long a padding", vec![frame(kind::HEADERS, 5, 1, &[0, 1, b'a', 0x82, 0x1f, 0xff])], GoAway(COMPRESSION_ERROR)),
    ]
}

// EDGE-40
#[test]
fn frames_that_rfc_9113_forbids_end_the_stream_or_the_connection() {
    let origin = Origin::start(|_| vec![tollkeep_testkit::Step::Hang]);
    let gateway = plain(&origin);
    let mut wrong = Vec::new();
    for (name, frames, want) in frames() {
        let mut client = FrameClient::connect(gateway.data());
        for frame in &frames {
            client.send(frame);
        }
        let fate = fate(&mut client);
        // One that must end the stream may end the connection (RFC 9113, section 5.4.1), and
        // which of the codes fits is the reader's choice.
        let ends = match (fate, want) {
            (GoAway(code), GoAway(_) | Reset(_)) => {
                code != 0 && client.frame_where(|_| false) == Err(NoFrame::Closed)
            }
            (Reset(code), Reset(_)) => code != 0 && lives(&mut client),
            _ => false,
        };
        if !ends {
            wrong.push((name, fate, want));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut client = FrameClient::connect(gateway.data());
    assert!(lives(&mut client), "everybody else goes on");
    for reason in ["http2_protocol_error", "http2_compression_error"] {
        told(&gateway, reason);
    }
}

// EDGE-40
#[test]
#[rustfmt::skip]
fn frames_that_rfc_9113_lets_pass_pass() {
    let origin = Origin::plain();
    let gateway = plain(&origin);
    let whole = block(&fields(&[], &[]));
    let (start, end) = whole.split_at(7);
    let frame = |kind, flags, stream, payload: &[u8]| RawFrame::new(kind, flags, stream, payload);
    for (name, frames) in [
        ("5.5 an unknown frame", vec![frame(0xbe, 0xff, 0, b"what"), frame(kind::HEADERS, 5, 1, &whole)]),
        ("6.5.2 an unknown setting", vec![frame(kind::SETTINGS, 0, 0, &[0x7f, 0, 0, 0, 0, 1]), frame(kind::HEADERS, 5, 1, &whole)]),
        ("6.2 padding", vec![frame(kind::HEADERS, 13, 1, &[&[3][..], &whole, &[0; 3]].concat())]),
        ("6.2 a priority", vec![frame(kind::HEADERS, 37, 1, &[&[0, 0, 0, 0, 15][..], &whole].concat())]),
        ("6.3 a priority of nothing", vec![frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 0, 15]), frame(kind::HEADERS, 5, 9, &whole)]),
        ("6.10 a block in pieces", vec![frame(kind::HEADERS, END_STREAM, 1, start), frame(kind::CONTINUATION, 0, 1, b""), frame(kind::CONTINUATION, END_HEADERS, 1, end)]),
        ("6.10 a block in nine pieces", (0..9).map(|at| {
            let kind = if at == 0 { kind::HEADERS } else { kind::CONTINUATION };
            let flags = u8::from(at == 0) * END_STREAM + u8::from(at == 8) * END_HEADERS;
            frame(kind, flags, 1, whole.chunks(whole.len().div_ceil(9)).nth(at).unwrap_or_default())
        }).collect()),
        ("HPACK 4.2 a smaller table", vec![frame(kind::HEADERS, 5, 1, &[&[0x20][..], &whole].concat())]),
        ("HPACK 6.1 what every table has", vec![frame(kind::HEADERS, 5, 1, &[&[0x82, 0x86][..], &block(&[(":path", "/x"), (":authority", "127.0.0.1")])].concat())]),
    ] {
        let mut client = FrameClient::connect(gateway.data());
        for frame in &frames {
            client.send(frame);
        }
        assert_eq!(fate(&mut client), Status(200), "{name}");
        assert!(lives(&mut client), "{name}");
    }
}
