//! Callers over TLS: what is negotiated, what is refused, and that requests are the same there.

use crate::fixture::{before, free, gateway, head, post};
use crate::tls_fixture::{Caller, Certificates, Kind, carried, shake};
use rustls::{CipherSuite, HandshakeKind, NamedGroup, ProtocolVersion, version};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollkeep_testkit::{BodyEnd, Client, Gateway, Origin, PATIENCE, Step, chunk, chunked_head, ok};

/// A gateway before `origin` that speaks TLS with a certificate for `a.test` and 127.0.0.1.
pub(crate) fn over_tls(
    certificates: &Certificates,
    kind: Kind,
    origin: &Origin,
    more: &str,
) -> Gateway {
    let pair = certificates.pair("first", kind, &["a.test", "127.0.0.1"]);
    gateway(format!(
        "{}{}",
        pair.server(more),
        before(origin, &free("ANY /x"))
    ))
    .start()
}

// EDGE-10 EDGE-16
#[test]
fn requests_over_tls_are_answered_as_in_clear() {
    let certificates = Certificates::new();
    let origin = Origin::start(|request| ok(&request.body));
    for kind in [Kind::Ecdsa, Kind::Rsa, Kind::Ed25519] {
        let gateway = over_tls(&certificates, kind, &origin, "");
        for version in [&version::TLS12, &version::TLS13] {
            let caller = certificates.caller().only(version);
            let mut client = caller.connect(gateway.data(), "127.0.0.1");
            for length in [0, 1, 16_384, 16_385, 300_000, 1_000_000] {
                let body: Vec<u8> = (b'a'..=b'w').cycle().take(length).collect();
                let answer = client.call(&post("/x", "", &body));
                assert_eq!(answer.status, 200, "{length}: {}", answer.text());
                assert!(answer.body == body, "{length} bytes come back as sent");
                assert!(answer.field("strict-transport-security").is_some());
            }
            // Two requests in one record, then a head in many.
            let two = [head("GET /x", ""), head("GET /x", "")].concat();
            client.send(&two);
            for _ in 0..2 {
                assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
            }
            for byte in head("GET /x", "") {
                client.send(&[byte]);
            }
            assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
        }
    }
}

// EDGE-10
#[test]
fn each_suite_is_spoken_where_it_is_listed_and_not_where_it_is_not() {
    let certificates = Certificates::new();
    let origin = Origin::plain();
    let known = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    assert_eq!(known.len(), 9);
    for suite in known {
        let id = suite.suite();
        let name = format!("{id:?}").replace("TLS13_", "TLS_");
        let kind = if name.contains("_RSA_") {
            Kind::Rsa
        } else {
            Kind::Ecdsa
        };
        let listed = over_tls(
            &certificates,
            kind,
            &origin,
            &format!(", cipher_suites: [{name}]"),
        );
        let only = |suite: &rustls::SupportedCipherSuite| {
            certificates.caller().suited(vec![*suite], suite.version())
        };
        let (_socket, session) = only(suite).open(listed.data(), "a.test").unwrap();
        assert_eq!(
            session.negotiated_cipher_suite().map(|s| s.suite()),
            Some(id)
        );
        for other in known.iter().filter(|other| other.suite() != id) {
            let spoken = only(other).open(listed.data(), "a.test");
            let implied = id_is_old(id) && other.version() == &version::TLS13;
            assert_eq!(spoken.is_ok(), implied, "{other:?} where {name} is listed");
        }
    }
}

/// Whether a suite is of TLS 1.2.
fn id_is_old(id: CipherSuite) -> bool {
    format!("{id:?}").contains("_WITH_")
}

// EDGE-10
#[test]
fn the_oldest_version_is_as_configured_and_the_newest_is_preferred() {
    let certificates = Certificates::new();
    let origin = Origin::plain();
    for (more, old) in [("", true), (", min_version: \"1.3\"", false)] {
        let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, more);
        let (_socket, session) = certificates
            .caller()
            .open(gateway.data(), "a.test")
            .unwrap();
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let group = session
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        assert_eq!(
            group,
            Some(NamedGroup::X25519MLKEM768),
            "post-quantum first"
        );
        let old_one = certificates.caller().only(&version::TLS12);
        let spoken = old_one.open(gateway.data(), "a.test");
        assert_eq!(spoken.is_ok(), old, "{more}");
    }
}

// EDGE-10
#[test]
fn sessions_are_resumed_by_tickets_alone_and_take_no_early_data() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    for version in [&version::TLS12, &version::TLS13] {
        let mut caller = certificates.caller().only(version);
        caller.config.enable_early_data = true;
        let config = Arc::new(caller.config);
        for want in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (socket, session) = shake(&config, gateway.data(), "a.test").unwrap();
            assert_eq!(session.handshake_kind(), Some(want), "{version:?}");
            assert!(!session.is_early_data_accepted());
            let answer = carried(socket, session).call(&head("GET /x", ""));
            assert_eq!(answer.status, 200);
        }
        let no_tickets = rustls::client::Resumption::in_memory_sessions(8)
            .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
        let mut caller = certificates.caller().only(&version::TLS12);
        caller.config.resumption = no_tickets;
        let config = Arc::new(caller.config);
        for _ in 0..2 {
            let (socket, session) = shake(&config, gateway.data(), "a.test").unwrap();
            assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full), "by id");
            carried(socket, session).call(&head("GET /x", ""));
        }
    }
}

// EDGE-13
#[test]
fn the_protocol_is_one_of_ours_or_none_is_spoken() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let both = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    let old = over_tls(
        &certificates,
        Kind::Ecdsa,
        &origin,
        "}, http2: false, limits: {",
    );
    for (gateway, offered, want) in [
        (&both, &[][..], Ok(None)),
        (&both, &["http/1.1"], Ok(Some("http/1.1"))),
        (&both, &["acme/1", "http/1.1"], Ok(Some("http/1.1"))),
        (&both, &["http/1.1", "h2"], Ok(Some("h2"))),
        (&both, &["h2"], Ok(Some("h2"))),
        (&both, &["http/1.0"], Err("NoApplicationProtocol")),
        (&both, &["ftp"], Err("NoApplicationProtocol")),
        (&old, &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (&old, &["h2"], Err("NoApplicationProtocol")),
    ] {
        let opened = certificates
            .caller()
            .alpn(offered)
            .open(gateway.data(), "a.test");
        match (opened, want) {
            (Ok((_, session)), Ok(want)) => {
                assert_eq!(
                    session.alpn_protocol(),
                    want.map(str::as_bytes),
                    "{offered:?}"
                );
            }
            (Err(error), Err(want)) => assert!(error.contains(want), "{offered:?}: {error}"),
            (opened, want) => panic!("{offered:?}: {:?}, not {want:?}", opened.err()),
        }
    }
}

// EDGE-13
#[test]
fn a_server_name_chooses_the_certificate_and_an_unknown_one_is_refused() {
    let certificates = Certificates::new();
    let second = certificates.pair("second", Kind::Rsa, &["b.test", "*.b.test", "both.test"]);
    let third = certificates.pair("third", Kind::Ecdsa, &["unused.test"]);
    let fourth = certificates.pair("fourth", Kind::Ecdsa, &["both.test"]);
    let more = format!(
        ", certificates: [{{ {} }}, {{ {}, names: [c.test] }}, {{ {} }}]",
        second.yaml(),
        third.yaml(),
        fourth.yaml()
    );
    let pair = certificates.pair("first", Kind::Ecdsa, &["a.test", "127.0.0.1"]);
    let origin = Origin::plain();
    let config = format!("{}{}", pair.server(&more), before(&origin, &free("GET /x")));
    let gateway = gateway(config).set("server.allowed_hosts", "*").start();
    let served = |name: &str| {
        // Whose certificate it is does not matter here, only which one comes.
        let (_socket, session) = certificates
            .caller()
            .trusting_all()
            .open(gateway.data(), name)?;
        let leaf = session.peer_certificates().unwrap()[0].clone();
        let which = [&pair, &second, &third, &fourth]
            .into_iter()
            .position(|pair| pair.leaf() == leaf);
        Ok::<_, String>(which)
    };
    for (name, want) in [
        ("a.test", Ok(Some(0))),
        ("A.Test", Ok(Some(0))),
        ("127.0.0.1", Ok(Some(0))),
        ("b.test", Ok(Some(1))),
        ("x.b.test", Ok(Some(1))),
        ("c.test", Ok(Some(2))),
        ("both.test", Ok(Some(1))),
        ("unused.test", Err("UnrecognisedName")),
        ("x.y.b.test", Err("UnrecognisedName")),
        ("other.test", Err("UnrecognisedName")),
    ] {
        match (served(name), want) {
            (Ok(which), Ok(want)) => assert_eq!(which, want, "{name}"),
            (Err(error), Err(want)) => assert!(error.contains(want), "{name}: {error}"),
            (served, want) => panic!("{name}: {served:?}, not {want:?}"),
        }
    }

    let ask = |name: &str, host: &str| {
        let caller = certificates.caller().trusting_all();
        let mut client = caller.connect(gateway.data(), name);
        client.call(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    for (name, host, want) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.TEST:443", 200),
        ("a.test", "b.test", 421),
        ("a.test", "B.test:8443", 421),
        ("b.test", "x.b.test", 200),
        ("b.test", "both.test", 200),
        ("both.test", "b.test", 200),
        ("b.test", "a.test", 421),
        ("c.test", "a.test", 421),
        ("127.0.0.1", "a.test", 200),
        ("127.0.0.1", "b.test", 421),
        // In none of ours: not another certificate's.
        ("a.test", "127.0.0.1", 200),
        ("a.test", "unused.test", 200),
    ] {
        let answer = ask(name, host);
        assert_eq!(answer.status, want, "{name} asks for {host}");
    }
    assert_eq!(ask("a.test", "b.test").code(), "misdirected");
}

// EDGE-13
#[test]
fn what_is_not_tls_is_closed_without_an_answer() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
    for (name, bytes) in [
        ("HTTP", head("GET /x", "")),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("SSLv2", vec![0x80, 0x2e, 1, 0, 2, 0, 21, 0, 0]),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 0]),
        ("one byte", vec![0]),
    ] {
        let mut client = Client::connect(gateway.data());
        client.send(&bytes);
        assert!(
            client.closed_within(PATIENCE),
            "{name}: {:?}",
            client.unread()
        );
    }
    // What begins as TLS, a hello with nothing in it, gets an alert and no more.
    let mut client = Client::connect(gateway.data());
    client.send(&[22, 3, 1, 0, 4, 1, 0, 0, 0]);
    let alert = client.bytes(PATIENCE).unwrap();
    assert_eq!((alert.len(), alert[0]), (7, 21), "{alert:?}");
    assert!(client.closed_within(PATIENCE));
    assert_eq!(
        certificates
            .caller()
            .connect(gateway.data(), "a.test")
            .call(&head("GET /x", ""))
            .status,
        200,
        "others are served"
    );
}

// EDGE-53
#[test]
fn a_handshake_that_takes_too_long_is_closed() {
    let certificates = Certificates::new();
    let pair = certificates.pair("first", Kind::Ecdsa, &["a.test"]);
    let gateway = gateway(pair.server(""))
        .set("server.timeouts.tls_handshake_ms", "400")
        .start();
    let hello = hello_of(certificates.caller());
    for (name, bytes) in [
        ("silence", &[][..]),
        ("the first byte", &hello[..1]),
        ("half a hello", &hello[..hello.len() / 2]),
        ("a hello and no more", &hello[..]),
    ] {
        let began = Instant::now();
        let mut socket = TcpStream::connect(gateway.data()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let ended = socket.read_to_end(&mut rest);
        let took = began.elapsed();
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "{name}: not closed"
        );
        assert!(
            took >= Duration::from_millis(300),
            "{name}: too soon, {took:?}"
        );
        assert!(took < Duration::from_secs(5), "{name}: too late, {took:?}");
    }
}

/// The first flight of a caller.
fn hello_of(caller: Caller) -> Vec<u8> {
    let name = "a.test".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(caller.config), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    hello
}

// EDGE-52
#[test]
fn a_stream_over_tls_ends_whole_or_is_seen_to_be_cut() {
    let pieces = |end: Step| {
        let many = (0..200).map(|_| chunk(&[b'z'; 9_000]));
        let all: Vec<Step> = [chunked_head("text/plain")]
            .into_iter()
            .chain(many)
            .collect();
        [all, vec![end]].concat()
    };
    let certificates = Certificates::new();
    for (end, want) in [
        (Step::Send(b"0\r\n\r\n".to_vec()), BodyEnd::Whole),
        (Step::Close, BodyEnd::Cut),
    ] {
        let steps = pieces(end);
        let origin = Origin::start(move |_| steps.clone());
        let gateway = over_tls(&certificates, Kind::Ecdsa, &origin, "");
        let mut client = certificates.caller().connect(gateway.data(), "a.test");
        let answer = client.call(&head("GET /x", ""));
        assert_eq!((answer.status, answer.end), (200, want));
        assert_eq!(answer.body.len(), 1_800_000);
        // HTTP/1.0 knows no chunks: its body ends with the connection, by a record that says so.
        let mut client = certificates.caller().connect(gateway.data(), "a.test");
        let old = head("GET /x", "").to_vec();
        let old = String::from_utf8(old)
            .unwrap()
            .replace("HTTP/1.1", "HTTP/1.0");
        assert_eq!(client.call(old.as_bytes()).end, want);
    }
}

/// How long a reader may take nothing.
const STALL: Duration = Duration::from_millis(800);

// EDGE-53
#[test]
fn over_tls_a_slow_reader_is_waited_for_and_one_that_stops_is_cut() {
    let origin = Origin::start(|_| {
        let pieces = (0..2000).map(|_| chunk(&[b'z'; 16 * 1024]));
        [chunked_head("text/plain")]
            .into_iter()
            .chain(pieces)
            .collect()
    });
    let certificates = Certificates::new();
    let pair = certificates.pair("first", Kind::Ecdsa, &["a.test"]);
    let config = format!("{}{}", pair.server(""), before(&origin, &free("GET /x")));
    let gateway = gateway(config)
        .set(
            "server.timeouts.write_stall_ms",
            STALL.as_millis().to_string(),
        )
        .start();
    let mut client = certificates.caller().connect(gateway.data(), "a.test");
    rustix::net::sockopt::set_socket_recv_buffer_size(client.socket(), 16 * 1024).unwrap();
    client.send(&head("GET /x", ""));
    let mut answer = client.head(PATIENCE).unwrap();
    let began = Instant::now();
    while began.elapsed() < STALL * 3 {
        for _ in 0..8 {
            let piece = client.piece(&mut answer);
            assert!(piece.is_some(), "cut after {:?}", began.elapsed());
        }
        // A reader that is slow, not one that has stopped.
        std::thread::sleep(STALL / 6);
    }
    assert!(origin.left().is_empty());
    tollkeep_testkit::eventually("the upstream call cancelled", || {
        (!origin.left().is_empty()).then_some(())
    });
    while client.piece(&mut answer).is_some() {}
    assert_eq!(answer.end, BodyEnd::Cut);
}
