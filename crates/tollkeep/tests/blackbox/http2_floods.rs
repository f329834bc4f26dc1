//! HTTP/2 clients that overdo it, beside one that doesn't.

use crate::http2::{clear_text, plain};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tollkeep_testkit::frames::{END_STREAM, kind};
use tollkeep_testkit::{
    FrameClient, Gateway, Http2Client, NoFrame, Origin, PATIENCE, RawFrame, eventually, ok,
    with_fields,
};

const ENHANCE_YOUR_CALM: u32 = 11;
/// Frames a flood may send before it must be told (acceptance of the edge).
const FRAMES_MAX: usize = 5_000;

const FIELDS: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/x"),
    (":authority", "127.0.0.1"),
];

/// The frames of one round of a flood, by the round's number.
type Round = fn(u32) -> Vec<RawFrame>;

fn stream(round: u32) -> u32 {
    round * 2 + 1
}

fn request(round: u32) -> RawFrame {
    RawFrame::headers(stream(round), 0, &FIELDS)
}

/// The first round opens a stream for those that need one.
fn on_stream(round: u32, frame: RawFrame) -> Vec<RawFrame> {
    if round == 0 {
        vec![request(0), frame]
    } else {
        vec![frame]
    }
}

const FLOODS: [(&str, &str, Round); 11] = [
    ("rapid reset", "http2_resets", |round| {
        vec![
            request(round),
            RawFrame::new(kind::RST_STREAM, 0, stream(round), [0, 0, 0, 8]),
        ]
    }),
    // Streams that the server is made to reset (CVE-2025-8671).
    ("made you reset", "http2_resets", |round| {
        let over = RawFrame::new(
            kind::WINDOW_UPDATE,
            0,
            stream(round),
            [0x7f, 0xff, 0xff, 0xff],
        );
        vec![request(round), over]
    }),
    ("bodies longer than announced", "http2_resets", |round| {
        let fields: Vec<_> = FIELDS
            .into_iter()
            .chain([("content-length", "1")])
            .collect();
        vec![
            RawFrame::headers(stream(round), 0, &fields),
            RawFrame::new(kind::DATA, 0, stream(round), *b"xx"),
        ]
    }),
    ("ping", "http2_idle_frames", |_| {
        vec![RawFrame::new(kind::PING, 0, 0, [0; 8])]
    }),
    ("settings", "http2_idle_frames", |_| {
        vec![RawFrame::new(kind::SETTINGS, 0, 0, [])]
    }),
    ("priority", "http2_idle_frames", |_| {
        vec![RawFrame::new(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 1])]
    }),
    ("empty data", "http2_idle_frames", |round| {
        on_stream(round, RawFrame::new(kind::DATA, 0, 1, []))
    }),
    ("windows by one", "http2_idle_frames", |round| {
        on_stream(
            round,
            RawFrame::new(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]),
        )
    }),
    ("unknown", "http2_idle_frames", |_| {
        vec![RawFrame::new(0xbe, 0, 0, *b"what")]
    }),
    (
        "settings that thrash the table",
        "http2_idle_frames",
        |round| {
            let size = u8::from(round.is_multiple_of(2)) * 16;
            vec![RawFrame::new(kind::SETTINGS, 0, 0, [0, 1, 0, 0, size, 0])]
        },
    ),
    ("continuation", "", |round| {
        let kind = if round == 0 {
            kind::HEADERS
        } else {
            kind::CONTINUATION
        };
        vec![RawFrame::new(kind, 0, 1, [])]
    }),
];

/// How long a connection that was told to calm down may take to close: a second of its own, and
/// what a busy machine takes.
const CLOSED_WITHIN: Duration = Duration::from_secs(8);

/// Floods without reading in between; how many frames it took until nothing was taken any more,
/// and the code told.
fn flood(gateway: &Gateway, round: Round) -> (usize, Option<u32>) {
    let mut client = FrameClient::connect(gateway.data());
    let mut sent = 0;
    for number in 0..u32::MAX {
        let frames = round(number);
        let bytes: Vec<u8> = frames.iter().flat_map(RawFrame::bytes).collect();
        sent += frames.len();
        if sent >= FRAMES_MAX || !client.send_bytes(&bytes) {
            break;
        }
        // What comes back is looked at now and then, or the end would be seen too late.
        if number % 16 == 0
            && let Some(code) = told(&mut client, Duration::from_millis(1))
        {
            return (sent, code);
        }
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(code) = told(&mut client, Duration::from_millis(100)) {
            return (sent, code);
        }
    }
    panic!("neither told nor closed after {sent} frames");
}

/// The code of a GOAWAY, nothing but the end, or neither yet.
fn told(client: &mut FrameClient, patience: Duration) -> Option<Option<u32>> {
    loop {
        match client.frame(patience) {
            Ok(frame) if frame.kind == kind::GOAWAY => {
                let code = frame.code();
                let began = Instant::now();
                assert_eq!(client.frame_where(|_| false), Err(NoFrame::Closed));
                assert!(began.elapsed() < CLOSED_WITHIN, "closed at once");
                return Some(Some(code));
            }
            Ok(_) => {}
            Err(NoFrame::Closed) => return Some(None),
            Err(NoFrame::Silent) => return None,
        }
    }
}

// EDGE-42
#[test]
fn floods_are_told_to_calm_down_and_end_and_others_are_served() {
    let origin = Origin::start(|_| ok(b"hello"));
    let gateway = plain(&origin);
    let mut honest = Http2Client::connect(gateway.data());
    for (name, reason, round) in FLOODS {
        // On a machine that has no time for the gateway, what was sent says little.
        let mut floods = (0..3).map(|_| flood(&gateway, round));
        let (sent, code) = floods
            .find(|(sent, _)| *sent < FRAMES_MAX)
            .unwrap_or((FRAMES_MAX, None));
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name} after {sent} frames");
        assert!(sent < FRAMES_MAX, "{name}: {sent}");
        let request = honest.request("GET", "/x", &[]);
        assert_eq!(honest.call(request, b"").unwrap().text(), "hello", "{name}");
        if !reason.is_empty() {
            let metric = format!("tollkeep_requests_rejected_total{{reason=\"{reason}\"}}");
            let counted = || gateway.metrics_text().contains(&metric).then_some(());
            eventually(name, counted);
        }
    }
}

// EDGE-42
#[test]
fn half_of_the_streams_may_be_taken_back() {
    let origin = Origin::start(|_| ok(b"hello"));
    let gateway = plain(&origin);
    let mut client = FrameClient::connect(gateway.data());
    let get: Vec<_> = [(":method", "GET")]
        .into_iter()
        .chain(FIELDS.into_iter().skip(1))
        .collect();
    for round in 0..150 {
        let (kept, back) = (stream(round * 2), stream(round * 2 + 1));
        client.send(&RawFrame::headers(kept, END_STREAM, &get));
        client.send(&RawFrame::headers(back, END_STREAM, &get));
        client.send(&RawFrame::new(kind::RST_STREAM, 0, back, [0, 0, 0, 8]));
        let answer =
            client.frame_where(|frame| frame.stream == kept && frame.kind == kind::HEADERS);
        assert_eq!(answer.unwrap().status(), 200, "round {round}");
    }
}

// EDGE-42
#[test]
fn a_client_that_reads_nothing_ends_before_its_answers_gather() {
    let origin = Origin::plain();
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.write_stall_ms", "500").start();
    let before = resident_kib(&gateway);
    let mut client = FrameClient::connect(gateway.data());
    let ping = RawFrame::new(kind::PING, 0, 0, [0; 8]).bytes();
    let began = Instant::now();
    while client.send_bytes(&ping) {
        assert!(began.elapsed() < PATIENCE, "it was ended");
    }
    assert!(resident_kib(&gateway) < before + 4 * 1024);
}

// EDGE-42 EDGE-53
#[test]
fn clients_whose_windows_stay_shut_are_reset_stream_by_stream_and_then_ended() {
    let origin = Origin::start(|_| ok(b"hello"));
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.write_stall_ms", "300").start();
    let mut client = FrameClient::connect(gateway.data());
    let (initial_window, shut) = (4_u16.to_be_bytes(), [0; 4]);
    client.send(&RawFrame::new(
        kind::SETTINGS,
        0,
        0,
        [&initial_window[..], &shut].concat(),
    ));
    let get: Vec<_> = [(":method", "GET")]
        .into_iter()
        .chain(FIELDS.into_iter().skip(1))
        .collect();
    for round in 0..60 {
        client.send(&RawFrame::headers(stream(round), END_STREAM, &get));
    }
    let mut resets = 0;
    let code = loop {
        let told = [kind::RST_STREAM, kind::GOAWAY];
        let frame = client
            .frame_where(|frame| told.contains(&frame.kind))
            .unwrap();
        if frame.kind == kind::GOAWAY {
            break frame.code();
        }
        resets += 1;
        // As many again once the first have gone.
        if resets == 60 {
            for round in 60..120 {
                client.send(&RawFrame::headers(stream(round), END_STREAM, &get));
            }
        }
    };
    assert_eq!(code, ENHANCE_YOUR_CALM, "after {resets} resets");
    assert!((60..=120).contains(&resets), "{resets}");
    eventually("nothing is left of them", || {
        gateway
            .metrics_text()
            .contains("tollkeep_in_flight 0")
            .then_some(())
    });
}

// EDGE-53
#[test]
fn fields_that_never_end_have_the_time_of_a_head() {
    let origin = Origin::plain();
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.header_ms", "500").start();
    for (name, begin) in [
        ("a block", RawFrame::new(kind::HEADERS, 0, 1, []).bytes()),
        (
            "half a frame",
            RawFrame::headers(1, 0, &FIELDS).bytes()[..20].to_vec(),
        ),
    ] {
        let mut client = FrameClient::connect(gateway.data());
        client.send_bytes(&begin);
        let began = Instant::now();
        let away = client.frame_where(|frame| frame.kind == kind::GOAWAY);
        assert_eq!(away.unwrap().code(), ENHANCE_YOUR_CALM, "{name}");
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{name}: {:?}",
            began.elapsed()
        );
    }
}

/// A client whose streams have all the room there is, and its connection so much more than at first.
fn with_wide_windows(gateway: &Gateway, connection: u32) -> FrameClient {
    let mut client = FrameClient::connect(gateway.data());
    let wide = [&[0, 4][..], &0x7fff_ffff_u32.to_be_bytes()].concat();
    client.send(&RawFrame::new(kind::SETTINGS, 0, 0, wide));
    if connection > 0 {
        client.send(&window(connection));
    }
    client
}

fn window(bytes: u32) -> RawFrame {
    RawFrame::new(kind::WINDOW_UPDATE, 0, 0, bytes.to_be_bytes())
}

fn asks(method: &'static str, round: u32) -> RawFrame {
    let fields: Vec<_> = [(":method", method)]
        .into_iter()
        .chain(FIELDS.into_iter().skip(1))
        .collect();
    RawFrame::headers(stream(round), END_STREAM, &fields)
}

// EDGE-42 EDGE-53
#[test]
fn heads_of_answers_do_not_gather_for_who_reads_nothing() {
    let long = format!("X-Long: {}\r\n", "x".repeat(16_000));
    let origin = Origin::start(move |_| with_fields(&long, b""));
    let gateway = clear_text(&origin, &["GET /x", "HEAD /x"]);
    let gateway = gateway
        .set("server.timeouts.write_stall_ms", "1500")
        .start();
    let before = resident_kib(&gateway);
    let mut client = FrameClient::connect(gateway.data());
    let mut most = 0;
    let stopped = (0..3_000).step_by(20).find(|from| {
        for round in *from..from + 20 {
            client.send(&asks("HEAD", round));
        }
        let all = *from as usize + 20;
        let end = Instant::now() + Duration::from_secs(3);
        while origin.count() < all && Instant::now() < end {
            std::thread::yield_now();
        }
        most = most.max(resident_kib(&gateway));
        origin.count() < all
    });
    assert!(stopped.is_some(), "it is heard without end");
    assert!(most < before + 12 * 1024, "{before} {most}");
    eventually("it is ended", || {
        (!client.send(&asks("HEAD", 5_000))).then_some(())
    });
}

// EDGE-53
#[test]
fn streams_that_wait_for_their_turn_are_not_taken_for_stalled() {
    let origin = Origin::start(|_| ok(&[b'x'; 400_000]));
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.write_stall_ms", "500").start();
    let mut client = with_wide_windows(&gateway, 0);
    for round in 0..12 {
        client.send(&asks("GET", round));
    }
    let began = Instant::now();
    let mut given = Instant::now();
    let mut came = std::collections::BTreeMap::new();
    while began.elapsed() < Duration::from_secs(4) {
        if let Ok(frame) = client.frame(Duration::from_millis(100)) {
            assert!(
                ![kind::RST_STREAM, kind::GOAWAY].contains(&frame.kind),
                "{frame:?} after {:?}",
                began.elapsed()
            );
            if frame.kind == kind::DATA {
                *came.entry(frame.stream).or_insert(0) += frame.payload.len();
            }
        }
        if given.elapsed() >= Duration::from_millis(100) {
            client.send(&window(1_000));
            given = Instant::now();
        }
    }
    assert_eq!(came.len(), 12, "{came:?}");
}

// EDGE-53
#[test]
fn a_reader_of_streams_that_is_slow_is_not_taken_for_stuck() {
    let origin = Origin::start(|_| ok(&vec![b'x'; 16 * 1024 * 1024]));
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway.set("server.timeouts.write_stall_ms", "600").start();
    let mut client = with_wide_windows(&gateway, 0x7fff_0000);
    rustix::net::sockopt::set_socket_recv_buffer_size(client.socket(), 16 * 1024).unwrap();
    client.send(&asks("GET", 0));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        for _ in 0..4 {
            let frame = client.frame(PATIENCE).unwrap();
            assert!(
                ![kind::RST_STREAM, kind::GOAWAY].contains(&frame.kind),
                "{frame:?} after {:?}",
                began.elapsed()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

// EDGE-53 EDGE-56
#[test]
fn who_never_rests_and_answers_no_ping_is_told_to_leave_in_two_steps_all_the_same() {
    let origin = Origin::start(|_| ok(b"hello"));
    let gateway = clear_text(&origin, &["GET /x"]);
    let gateway = gateway
        .set("server.timeouts.connection_age_max_ms", "500")
        .start();
    for rests in [false, true] {
        let mut client = FrameClient::connect(gateway.data());
        let began = Instant::now();
        let (mut told, mut round) = (Vec::new(), 0);
        loop {
            assert!(began.elapsed() < PATIENCE, "{told:?}");
            let is_time = began.elapsed().as_millis() >= 50 * u128::from(round);
            if is_time && (!rests || round == 0) {
                client.send(&asks("GET", round));
                round += 1;
            }
            match client.frame(Duration::from_millis(20)) {
                Ok(frame) if frame.kind == kind::GOAWAY => {
                    let last: [u8; 4] = frame.payload[..4].try_into().unwrap();
                    told.push((u32::from_be_bytes(last), frame.code()));
                }
                Err(NoFrame::Closed) => break,
                _ => {}
            }
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told[0], (0x7fff_ffff, 0));
        assert!(told[1].0 < 0x7fff_ffff && told[1].1 == 0, "{told:?}");
    }
}

fn resident_kib(gateway: &Gateway) -> u64 {
    crate::http2::resident_kib(gateway)
}

/// Twenty seconds of the flood at this place, beside an honest caller.
fn lasts(at: usize) {
    let (name, _, round) = FLOODS[at];
    let origin = Origin::start(|_| ok(b"hello"));
    let gateway = plain(&origin);
    let base = slowest(&gateway, Duration::from_secs(5));
    let before = resident_kib(&gateway);
    let stop = AtomicBool::new(false);
    let flooded = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                flood(&gateway, round);
            }
        });
        let flooded = slowest(&gateway, Duration::from_secs(20));
        stop.store(true, Ordering::Relaxed);
        flooded
    });
    // The flooder takes a core of its own on the same machine: a floor keeps noise out.
    let bound = (base * 4).max(Duration::from_millis(40));
    println!("{name}: {flooded:?} beside it, {base:?} without");
    assert!(flooded < bound, "{name}: {flooded:?}, without it {base:?}");
    assert!(resident_kib(&gateway) < before + 64 * 1024, "{name}");
    let spent = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eventually("idle again", || {
        let before = spent();
        std::thread::sleep(Duration::from_secs(1));
        (spent() - before < 10).then_some(())
    });
}

macro_rules! long_floods {
    ($($name:ident: $at:literal,)*) => {$(
        #[test]
        #[ignore = "twenty seconds of a flood; run by `make soak`"]
        fn $name() {
            lasts($at);
        }
    )*};
}

long_floods! {
    twenty_seconds_of_rapid_resets: 0,
    twenty_seconds_of_made_you_reset: 1,
    twenty_seconds_of_bodies_that_are_too_long: 2,
    twenty_seconds_of_pings: 3,
    twenty_seconds_of_settings: 4,
    twenty_seconds_of_priorities: 5,
    twenty_seconds_of_empty_data: 6,
    twenty_seconds_of_windows_by_one: 7,
    twenty_seconds_of_unknown_frames: 8,
    twenty_seconds_of_table_sizes: 9,
    twenty_seconds_of_continuations: 10,
}

/// The 99th percentile of calls at 50 a second.
fn slowest(gateway: &Gateway, during: Duration) -> Duration {
    let mut client = Http2Client::connect(gateway.data());
    let end = Instant::now() + during;
    let mut took = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let request = client.request("GET", "/x", &[]);
        assert_eq!(client.call(request, b"").unwrap().status, 200);
        took.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(20).saturating_sub(began.elapsed()));
    }
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
