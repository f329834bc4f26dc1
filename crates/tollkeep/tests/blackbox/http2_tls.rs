//! HTTP/2 behind TLS, as callers agree on it by ALPN.

use crate::fixture::{before, free, gateway};
use crate::http2::resident_kib;
use crate::tls::over_tls;
use crate::tls_fixture::{Certificates, Kind};
use h2::Reason;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tollkeep_testkit::{
    Gateway, Http2Client, Origin, PATIENCE, Reset, Signal, Step, chunk, chunked_head, ok,
};

const SHORT: Duration = Duration::from_millis(300);

fn connect(certificates: &Certificates, gateway: &Gateway, window: u32) -> Http2Client {
    connect_to("127.0.0.1", certificates, gateway, window)
}

fn connect_to(
    name: &'static str,
    certificates: &Certificates,
    gateway: &Gateway,
    window: u32,
) -> Http2Client {
    let config = certificates.caller().alpn(&["h2", "http/1.1"]).config;
    let connector = TlsConnector::from(Arc::new(config));
    Http2Client::over(gateway.data(), window, |socket| async move {
        let name = ServerName::try_from(name).unwrap();
        connector.connect(name, socket).await.unwrap()
    })
}

// EDGE-13 EDGE-16 EDGE-40
#[test]
fn streams_are_served_behind_tls_as_in_clear() {
    let certificates = Certificates::new();
    let origin = Origin::start(|request| ok(&request.body));
    let mut gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    let mut client = connect(&certificates, &gateway, 65_535);
    let bodies = [0, 1, 16_384, 16_385, 65_536, 300_000, 1_000_000];
    let bodies = bodies.map(|length| (b'a'..=b'w').cycle().take(length).collect::<Vec<_>>());
    let calls: Vec<_> = bodies
        .iter()
        .cycle()
        .take(35)
        .map(|body| (client.request("POST", "/x", &[]), &**body))
        .collect();
    for (answer, (_, body)) in client.call_all(&calls).into_iter().zip(&calls) {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", body.len());
        assert!(
            answer.body == *body,
            "{} bytes come back as sent",
            body.len()
        );
        assert!(answer.field("strict-transport-security").is_some());
    }
    gateway.signal(Signal::TERM);
    assert_eq!(client.ended(PATIENCE), Reset(None), "a regular end");
    assert_eq!(gateway.wait_exit(PATIENCE).unwrap().code(), Some(0));
}

// EDGE-51 EDGE-52
#[test]
fn streams_are_held_back_and_cut_behind_tls_as_in_clear() {
    let certificates = Certificates::new();
    let origin = Origin::start(|request| {
        let begin = chunked_head("text/plain");
        if request.target == "/x?cut" {
            return vec![begin, chunk(b"half"), Step::Close];
        }
        let pieces = (0..400).map(|_| chunk(&[b'x'; 64 * 1024]));
        [begin]
            .into_iter()
            .chain(pieces)
            .chain([chunk(b"")])
            .collect()
    });
    let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    let mut client = connect(&certificates, &gateway, 30_000);
    let request = client.request("GET", "/x", &[]);
    let mut exchange = client.begin(request, true).unwrap();
    exchange.head().unwrap();
    let mut came = 0;
    while let Some(piece) = exchange.piece_within(SHORT) {
        came += piece.unwrap().unwrap().len();
    }
    assert_eq!(came, 30_000, "the window, and not a byte more");
    let memory = resident_kib(&gateway);
    let request = client.request("GET", "/x?cut", &[]);
    let mut cut = client.begin(request, true).unwrap();
    let end = cut.head().err().unwrap_or_else(|| {
        loop {
            match cut.piece() {
                Ok(piece) => assert!(piece.is_some(), "it looks whole"),
                Err(reset) => break reset,
            }
        }
    });
    assert_eq!(end, Reset(Some(Reason::INTERNAL_ERROR)));
    exchange.make_room(came);
    while let Some(piece) = exchange.piece().unwrap() {
        came += piece.len();
        exchange.make_room(piece.len());
    }
    assert_eq!(came, 400 * 64 * 1024);
    assert!(resident_kib(&gateway) < memory + 8 * 1024);
}

// EDGE-13
#[test]
fn who_agreed_on_http_2_and_speaks_another_gets_no_answer() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    let caller = certificates.caller().alpn(&["h2"]);
    let mut client = caller.connect(gateway.data(), "127.0.0.1");
    client.send(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let heard = client.bytes(PATIENCE).unwrap_or_default();
    assert!(!heard.starts_with(b"HTTP/"), "{heard:?}");
    // And who agreed on nothing does not get HTTP/2.
    let mut client = certificates.caller().connect(gateway.data(), "127.0.0.1");
    client.send(tollkeep_testkit::frames::PREFACE);
    assert_eq!(client.answer(PATIENCE).unwrap().status, 505);
    assert_eq!(origin.count(), 0);
}

// EDGE-13
#[test]
fn a_stream_for_a_name_of_another_certificate_is_misdirected_and_the_others_live_on() {
    let certificates = Certificates::new();
    let first = certificates.pair("first", Kind::Ecdsa, &["a.test", "*.a.test"]);
    let second = certificates.pair("second", Kind::Ecdsa, &["b.test"]);
    let more = format!(", certificates: [{{ {} }}]", second.yaml());
    let origin = Origin::plain();
    let config = format!(
        "{}{}",
        first.server(&more),
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway(config).set("server.allowed_hosts", "*").start();
    let mut client = connect_to("a.test", &certificates, &gateway, 65_535);
    for (authority, status) in [
        ("a.test", 200),
        ("b.test", 421),
        ("x.a.test", 200),
        ("b.test", 421),
        ("a.test", 200),
    ] {
        let request = http::Request::get(format!("https://{authority}/x"));
        let answer = client.call(request.body(()).unwrap(), b"").unwrap();
        assert_eq!(answer.status, status, "{authority}");
    }
    assert_eq!(origin.count(), 3);
}
