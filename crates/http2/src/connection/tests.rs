//! A connection, frame by frame: what is answered, when, and with how much.

use super::*;
use crate::frame::{ACK, END_HEADERS, END_STREAM, Frame, HEAD_BYTES, PADDED, write_head};
use crate::send::Write;
use crate::stream::StreamEnd;
use proptest::prelude::*;

mod sending;

const NOW: MonoNanos = MonoNanos(1);

type Conn = Connection<()>;

/// A connection whose settings were exchanged.
fn conn() -> Conn {
    begun()
}

fn begun<T: Default>() -> Connection<T> {
    let mut conn = Connection::new(32 * 1024, NOW);
    heard(&mut conn, PREFACE).unwrap();
    heard(&mut conn, &frame(Kind::Settings, 0, 0, b"")).unwrap();
    sent(&mut conn);
    conn
}

fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(&mut out, kind, flags, stream, payload.len());
    out.extend_from_slice(payload);
    out
}

/// Fields as literals that enter no table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

fn post(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/x"),
        (":authority", "a"),
    ];
    let fields: Vec<_> = fields.iter().chain(more).copied().collect();
    frame(Kind::Headers, END_HEADERS | flags, stream, &block(&fields))
}

/// What frames have changed, but for nothing.
fn heard<T: Default>(conn: &mut Connection<T>, mut bytes: &[u8]) -> Result<Vec<Told>, Ended> {
    let mut all = Vec::new();
    while let Some((used, told)) = conn.receive(bytes, NOW)? {
        assert!(used > 0 && used <= bytes.len());
        bytes = &bytes[used..];
        all.extend((told != Told::Nothing).then_some(told));
    }
    Ok(all)
}

/// The frames that wait to be sent.
fn sent<T>(conn: &mut Connection<T>) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let bytes = conn.to_send().to_vec();
    conn.was_sent(bytes.len());
    let (mut rest, mut frames) = (&bytes[..], Vec::new());
    while let Some(head) = rest.first_chunk::<HEAD_BYTES>() {
        let frame = Frame::of(*head);
        let end = HEAD_BYTES + frame.length as usize;
        frames.push((
            frame.kind,
            frame.flags,
            frame.stream,
            rest[HEAD_BYTES..end].to_vec(),
        ));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    frames
}

fn code(code: Reason) -> Vec<u8> {
    vec![0, 0, 0, code as u8]
}

fn number(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn text(conn: &mut Conn, id: u32) -> String {
    let mut text = Vec::new();
    conn.read_head(id, false, &mut text).unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

// EDGE-40
#[test]
fn a_request_is_read_as_text_and_answered_in_frames() {
    let mut conn = conn();
    let bytes = [
        post(1, 0, &[("content-length", "5")]),
        frame(Kind::Data, END_STREAM, 1, b"hello"),
    ];
    assert_eq!(
        heard(&mut conn, &bytes.concat()),
        Ok(vec![Told::Request(1), Told::Changed(1)])
    );
    let want = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(text(&mut conn, 1), want);
    assert_eq!(conn.read(1, &mut Vec::new()), Read::Bytes(0));
    conn.answer(1, 200, b"HTTP/1.1 200 OK\r\na: b\r\n", StreamEnd::Length(2));
    assert_eq!(conn.write(1, b"hi"), Write::Taken(2));
    assert_eq!(conn.write(1, b"more"), Write::Broken);
    conn.end(1);
    conn.leave(1);
    assert_eq!(
        sent(&mut conn),
        [
            (
                Kind::Headers,
                END_HEADERS,
                1,
                vec![0x88, 0, 1, b'a', 1, b'b']
            ),
            (Kind::Data, END_STREAM, 1, b"hi".to_vec()),
        ]
    );
    assert_eq!(conn.streams(), 0);
}

// EDGE-40
#[test]
fn a_body_of_unknown_length_is_read_in_chunks_once_it_is_known_to_be_there() {
    let mut conn = conn();
    heard(&mut conn, &post(1, 0, &[])).unwrap();
    assert_eq!(
        conn.read_head(1, false, &mut Vec::new()),
        None,
        "it may be none"
    );
    heard(&mut conn, &frame(Kind::Data, 0, 1, b"hel")).unwrap();
    let head = text(&mut conn, 1);
    assert!(
        head.ends_with("transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n"),
        "{head}"
    );
    assert_eq!(conn.read(1, &mut Vec::new()), Read::Wait);
    let trailers = frame(
        Kind::Headers,
        END_HEADERS | END_STREAM,
        1,
        &block(&[("a", "b")]),
    );
    heard(
        &mut conn,
        &[frame(Kind::Data, 0, 1, b"lo"), trailers].concat(),
    )
    .unwrap();
    let mut rest = Vec::new();
    conn.read(1, &mut rest);
    assert_eq!(rest, b"2\r\nlo\r\n0\r\na: b\r\n\r\n");
    assert_eq!(conn.read(1, &mut rest), Read::Bytes(0));
    // One that ends with an empty frame has no body.
    heard(
        &mut conn,
        &[post(3, 0, &[]), frame(Kind::Data, END_STREAM, 3, b"")].concat(),
    )
    .unwrap();
    assert!(!text(&mut conn, 3).contains("chunked"));
}

// EDGE-40
#[test]
fn the_last_bytes_of_an_announced_body_wait_for_the_end_of_the_stream() {
    let mut conn = conn();
    heard(&mut conn, &post(1, 0, &[("content-length", "5")])).unwrap();
    heard(&mut conn, &frame(Kind::Data, 0, 1, b"hello")).unwrap();
    let mut all = Vec::new();
    conn.read_head(1, false, &mut all).unwrap().unwrap();
    assert!(all.ends_with(b"\r\n\r\n"));
    assert_eq!(conn.read(1, &mut all), Read::Wait);
    heard(&mut conn, &frame(Kind::Data, END_STREAM, 1, b"!")).unwrap();
    assert_eq!(conn.read(1, &mut all), Read::Broken);
    assert_eq!(
        sent(&mut conn),
        [(Kind::ResetStream, 0, 1, code(Reason::ProtocolError))]
    );
    assert!(conn.is_gone(1));
}

// EDGE-41
#[test]
fn windows_are_opened_again_as_bodies_are_read_or_thrown_away() {
    let mut conn = conn();
    let piece = [b'x'; 16_384];
    heard(&mut conn, &post(1, 0, &[])).unwrap();
    for _ in 0..4 {
        heard(&mut conn, &frame(Kind::Data, 0, 1, &piece)).unwrap();
    }
    assert_eq!(sent(&mut conn), []);
    let mut over = conn_like(&conn);
    text(&mut conn, 1);
    assert_eq!(
        sent(&mut conn),
        [(Kind::WindowUpdate, 0, 1, number(65_536))]
    );
    heard(&mut over, &frame(Kind::Data, 0, 1, b"x")).unwrap();
    let reset = (Kind::ResetStream, 0, 1, code(Reason::FlowControlError));
    assert_eq!(sent(&mut over), [reset], "more than the window");
    // What nobody reads counts for the connection.
    for stream in (3..).step_by(2).take(7) {
        heard(&mut conn, &post(stream, 0, &[])).unwrap();
        for _ in 0..4 {
            heard(&mut conn, &frame(Kind::Data, 0, stream, &piece)).unwrap();
        }
        conn.answer(stream, 200, b"", StreamEnd::Head);
        conn.leave(stream);
    }
    let told = sent(&mut conn)
        .into_iter()
        .filter(|frame| frame.0 == Kind::WindowUpdate);
    let told: Vec<_> = told.map(|frame| (frame.2, frame.3)).collect();
    assert_eq!(told, [(0, number(524_288))]);
}

/// One that stands where another stands: a stream whose window is used up.
fn conn_like(_: &Conn) -> Conn {
    let mut conn = conn();
    heard(&mut conn, &post(1, 0, &[])).unwrap();
    for _ in 0..4 {
        heard(&mut conn, &frame(Kind::Data, 0, 1, &[b'x'; 16_384])).unwrap();
    }
    conn
}

// EDGE-42
#[test]
fn settings_in_one_frame_are_bounded() {
    for (count, want) in [
        (32, Ok(vec![Told::Windows])),
        (33, Err(Ended::Fault(Reason::EnhanceYourCalm))),
    ] {
        let settings = [0, 4, 0, 0, 0, 9].repeat(count);
        let told = heard(&mut conn(), &frame(Kind::Settings, 0, 0, &settings));
        assert_eq!(told, want, "{count}");
    }
}

// EDGE-42
#[test]
fn requests_behind_the_last_words_are_counted() {
    let mut conn = conn();
    conn.part(Reason::NoError);
    let passed = (1..)
        .step_by(2)
        .take(2_000)
        .take_while(|stream| heard(&mut conn, &post(*stream, END_STREAM, &[])).is_ok());
    assert_eq!(passed.count(), 999, "and the SETTINGS");
}

// EDGE-41
#[test]
fn a_long_head_goes_on_in_further_frames() {
    let mut conn = conn();
    heard(&mut conn, &post(1, END_STREAM, &[])).unwrap();
    let lines = format!("HTTP/1.1 200 OK\r\na: {}\r\n", "x".repeat(40_000));
    conn.answer(1, 200, lines.as_bytes(), StreamEnd::Head);
    let frames = sent(&mut conn);
    let told: Vec<_> = frames
        .iter()
        .map(|frame| (frame.0, frame.1, frame.3.len()))
        .collect();
    assert_eq!(
        told,
        [
            (Kind::Headers, END_STREAM, 16_384),
            (Kind::Continuation, 0, 16_384),
            (Kind::Continuation, END_HEADERS, 40_008 - 32_768),
        ]
    );
}

// EDGE-56
#[test]
fn who_leaves_serves_what_was_on_its_way_and_nothing_after() {
    let mut conn = conn();
    heard(&mut conn, &post(1, END_STREAM, &[])).unwrap();
    conn.go_away();
    conn.go_away();
    let frames = sent(&mut conn);
    let last = [number(u32::MAX >> 1), number(0)].concat();
    assert_eq!(frames[0], (Kind::GoAway, 0, 0, last));
    assert_eq!((frames.len(), frames[1].0), (2, Kind::Ping));
    assert_eq!(
        heard(&mut conn, &post(3, END_STREAM, &[])),
        Ok(vec![Told::Request(3)])
    );
    heard(&mut conn, &frame(Kind::Ping, ACK, 0, &LEAVING_PING)).unwrap();
    let last = [number(3), number(0)].concat();
    assert_eq!(sent(&mut conn), [(Kind::GoAway, 0, 0, last)]);
    assert_eq!(heard(&mut conn, &post(5, END_STREAM, &[])), Ok(vec![]));
    assert!(!conn.is_over());
    conn.leave(1);
    conn.leave(3);
    assert!(conn.is_over());
}

// EDGE-42
#[test]
fn a_stream_left_before_its_end_is_reset_and_what_still_comes_for_it_is_ignored() {
    let mut conn = conn();
    for stream in (1..).step_by(2).take(90) {
        heard(&mut conn, &post(stream, 0, &[])).unwrap();
        conn.answer(stream, 413, b"", StreamEnd::Head);
        conn.leave(stream);
        let frames = sent(&mut conn);
        assert_eq!(frames.last().unwrap().3, code(Reason::NoError));
        heard(&mut conn, &frame(Kind::Data, 0, stream, b"late")).unwrap();
    }
    // One that the client has ended is closed for good.
    heard(&mut conn, &post(2001, END_STREAM, &[])).unwrap();
    conn.answer(2001, 200, b"", StreamEnd::Head);
    conn.leave(2001);
    let late = heard(&mut conn, &frame(Kind::Data, 0, 2001, b"late"));
    assert_eq!(late, Err(Ended::Fault(Reason::StreamClosed)));
}

// EDGE-42
#[test]
fn answers_to_frames_of_who_does_not_read_are_bounded() {
    let mut conn = conn();
    let ended = (0..).find_map(|at: u64| {
        let now = MonoNanos(at * 1_000_000_000);
        let ping = frame(Kind::Ping, 0, 0, &[0; 8]).repeat(90);
        let mut rest = &ping[..];
        loop {
            match conn.receive(rest, now) {
                Ok(Some((used, _))) => rest = &rest[used..],
                Ok(None) => return None,
                Err(ended) => return Some(ended),
            }
        }
    });
    assert_eq!(ended, Some(Ended::Breach(Breach::Unread)));
    assert!(conn.to_send().len() < CONTROL_BYTES_MAX + 1_000);
}

// EDGE-40
#[test]
fn a_stream_that_was_passed_over_is_told_from_one_that_has_closed() {
    for (stream, want) in [
        (3, Reason::ProtocolError),
        (5, Reason::ProtocolError),
        (1, Reason::StreamClosed),
    ] {
        let mut conn = conn();
        for stream in [1, 7] {
            heard(&mut conn, &post(stream, END_STREAM, &[])).unwrap();
            conn.answer(stream, 200, b"", StreamEnd::Head);
            conn.leave(stream);
        }
        let late = heard(&mut conn, &post(stream, END_STREAM, &[]));
        assert_eq!(late, Err(Ended::Fault(want)), "{stream}");
        let frames = sent(&mut conn);
        let last = [number(7), code(want)].concat();
        assert_eq!(frames.last(), Some(&(Kind::GoAway, 0, 0, last)));
    }
}

// EDGE-42
#[test]
fn frames_that_look_like_work_and_are_none_are_counted() {
    let nothing = frame(Kind::Data, PADDED, 1, &[3, 0, 0, 0]);
    let trailers = frame(
        Kind::Headers,
        END_HEADERS | END_STREAM,
        1,
        &block(&[("a", "b")]),
    );
    for (name, flood, reset, left) in [
        ("padding", nothing, false, false),
        ("fields for who left", trailers.clone(), true, true),
        ("fields for who was reset", trailers, true, false),
    ] {
        let mut conn = conn();
        heard(&mut conn, &post(1, 0, &[])).unwrap();
        if reset {
            conn.reset(1, Reason::InternalError);
        }
        if left {
            conn.leave(1);
        }
        let passed = (0..2_000)
            .take_while(|_| heard(&mut conn, &flood).is_ok())
            .count();
        assert_eq!(heard(&mut conn, b""), Ok(vec![]), "told once");
        assert!((998..=1_001).contains(&passed), "{name}: {passed}");
    }
}

// EDGE-53
#[test]
fn fields_on_their_way_are_timed_from_their_first_byte() {
    let mut conn = conn();
    assert_eq!(conn.fields_since(), None);
    let whole = post(1, END_STREAM, &[]);
    let later = |seconds: u64| MonoNanos(seconds * 1_000_000_000);
    conn.receive(&whole[..4], later(1)).unwrap();
    conn.receive(&whole[..20], later(2)).unwrap();
    assert_eq!(conn.fields_since(), Some(later(1)));
    conn.receive(&whole, later(3)).unwrap();
    conn.receive(b"", later(3)).unwrap();
    assert_eq!(conn.fields_since(), None);
    conn.receive(&frame(Kind::Headers, 0, 3, b""), later(4))
        .unwrap();
    conn.receive(b"", later(5)).unwrap();
    assert_eq!(conn.fields_since(), Some(later(4)));
    assert_eq!(
        Conn::new(100, later(6)).fields_since(),
        Some(later(6)),
        "its first frames"
    );
}

proptest! {
    /// Whatever comes, in whatever pieces, makes the same of the connection, and only so much.
    #[test]
    fn frames_are_heard_alike_however_they_are_cut(
        sent_frames in proptest::collection::vec(
            (0_u8..11, any::<u8>(), 0_u32..8, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        cut in 1_usize..40,
    ) {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(Kind::Settings, 0, 0, b""));
        bytes.extend(post(1, 0, &[]));
        for (code, flags, stream, payload) in &sent_frames {
            let mut one = frame(Kind::Data, *flags, *stream, payload);
            one[3] = *code;
            bytes.extend(one);
        }
        let mut whole = Conn::new(1_000, NOW);
        let told = heard(&mut whole, &bytes);
        let mut pieces = Conn::new(1_000, NOW);
        let (mut unread, mut all, mut end) = (Vec::new(), Vec::new(), None);
        for piece in bytes.chunks(cut) {
            unread.extend_from_slice(piece);
            while end.is_none() {
                match pieces.receive(&unread, NOW) {
                    Ok(Some((used, told))) => {
                        unread.drain(..used);
                        all.extend((told != Told::Nothing).then_some(told));
                    }
                    Ok(None) => break,
                    Err(ended) => end = Some(ended),
                }
            }
        }
        prop_assert_eq!(told, end.map_or(Ok(all), Err));
        prop_assert_eq!(whole.to_send(), pieces.to_send());
    }
}
