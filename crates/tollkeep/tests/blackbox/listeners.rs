//! Several data listeners: each with its protocols, all with the same routes, and the one that
//! leads to TLS.

use crate::fixture::{TOLLKEEP, before, free, gateway, head, post};
use crate::tls_fixture::{Certificates, Kind};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use tollkeep_testkit::{
    Builder, Client, Gateway, Http2Client, Origin, PATIENCE, Reset, Signal, eventually, free_addr,
};

/// A gateway with these listeners before `origin`; `TLS` among them is a `tls` section.
fn listening(certificates: &Certificates, origin: &Origin, server: &str) -> Builder {
    let pair = certificates.pair("first", Kind::Ecdsa, &["a.test", "127.0.0.1"]);
    let tls = format!("tls: {{ enabled: true, {} }}", pair.yaml());
    let server = server.replace("TLS", &tls);
    let routes = before(origin, &free("ANY /x"));
    gateway(format!("server: {{ {server} }}\n{routes}")).in_file("server.port")
}

const ALL: &str = "listen: [{ port: 0 }, { port: 0, tls: false }, \
                   { port: 0, http2: false }, { port: 0, redirect_http: true }], TLS";

// EDGE-1 EDGE-2 EDGE-13
#[test]
fn each_listener_speaks_what_it_is_told_and_serves_the_same_routes() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let gateway = listening(&certificates, &origin, ALL).start();
    let [tls, clear, old, away] = <[SocketAddr; 4]>::try_from(gateway.listen()).unwrap();
    assert_eq!(gateway.data(), tls, "the first that serves");
    for (addr, agreed) in [(tls, "h2"), (old, "http/1.1")] {
        let caller = certificates.caller().alpn(&["h2", "http/1.1"]);
        let (_socket, session) = caller.open(addr, "a.test").unwrap();
        assert_eq!(session.alpn_protocol(), Some(agreed.as_bytes()));
        let mut client = certificates.caller().connect(addr, "127.0.0.1");
        let answer = client.call(&head("GET /x", ""));
        assert_eq!(answer.status, 200);
        assert!(answer.field("strict-transport-security").is_some());
    }
    let answer = Client::connect(clear).call(&head("GET /x", ""));
    assert_eq!(answer.status, 200);
    assert!(answer.field("strict-transport-security").is_none());
    assert_eq!(origin.count(), 3);
    // Clear text at a port of TLS gets no answer, TLS at one of clear text no handshake.
    for addr in [tls, old] {
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.write_all(&head("GET /x", "")).unwrap();
        let mut said = Vec::new();
        drop(socket.read_to_end(&mut said));
        assert!(said.is_empty(), "{said:?}");
    }
    for addr in [clear, away] {
        assert!(certificates.caller().open(addr, "a.test").is_err());
    }
    assert_eq!(origin.count(), 3);
}

// EDGE-13
#[test]
fn callers_are_led_to_the_port_that_is_public() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    for (name, port, want) in [
        (
            "another one",
            ", redirect_port: 8443",
            "https://127.0.0.1:8443/x?y=1".to_owned(),
        ),
        (
            "the usual one",
            ", redirect_port: 443",
            "https://127.0.0.1/x?y=1".to_owned(),
        ),
        ("none is named", "", String::new()),
    ] {
        let listen =
            format!("listen: [{{ port: 0 }}, {{ port: 0, redirect_http: true{port} }}], TLS");
        let gateway = listening(&certificates, &origin, &listen).start();
        let [tls, away] = <[SocketAddr; 2]>::try_from(gateway.listen()).unwrap();
        let bound = format!("https://127.0.0.1:{}/x?y=1", tls.port());
        let want = if want.is_empty() { bound } else { want };
        let answer = Client::connect(away).call(&head("GET /x?y=1", ""));
        assert_eq!(
            (answer.status, answer.field("location")),
            (308, Some(&*want)),
            "{name}"
        );
        assert_eq!(
            Client::connect(away).call(&head("POST /x", "")).status,
            403,
            "{name}"
        );
    }
    assert_eq!(origin.count(), 0);
}

// EDGE-21
#[test]
fn clear_text_speaks_http2_where_its_listener_says_so() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    for (h2c, spoken) in [(false, [false, true, false]), (true, [true, true, false])] {
        let listen = format!(
            "h2c: {h2c}, listen: [{{ port: 0 }}, {{ port: 0, http2: true }}, {{ port: 0, http2: false }}]"
        );
        let gateway = listening(&certificates, &origin, &listen).start();
        for (addr, spoken) in gateway.listen().iter().zip(spoken) {
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            if spoken {
                let mut client = Http2Client::connect(*addr);
                let call = client.request("GET", "/x", &[]);
                let answers = client.call_all(&[(call, b"")]);
                assert_eq!(answers.into_iter().next().unwrap().unwrap().status, 200);
            } else {
                let answer = Client::connect(*addr).call(preface);
                assert_eq!(answer.status, 505, "{h2c} {addr}");
            }
        }
    }
}

/// What a listener that leads to TLS answers to these bytes.
fn led(gateway: &Gateway, request: &[u8]) -> (u16, Option<String>) {
    let mut client = Client::connect(*gateway.listen().last().unwrap());
    let answer = client.call(request);
    assert!(answer.field("x-content-type-options").is_some());
    assert!(answer.field("strict-transport-security").is_none());
    let location = answer.field("location").map(str::to_owned);
    (answer.status, location)
}

// EDGE-13
#[test]
fn a_listener_that_leads_to_tls_serves_nothing_else() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let hosts = "allowed_hosts: [127.0.0.1, a.test, '[::1]']";
    let gateway = listening(&certificates, &origin, &format!("{ALL}, {hosts}"))
        .set("management.on_data_port", "loopback")
        .set("server.h2c", "true")
        .set("server.cors.allowed_origins", "https://page.example")
        .start();
    let port = gateway.data().port();
    for (start, host, to) in [
        ("GET /x", "127.0.0.1", "127.0.0.1"),
        ("HEAD /x", "a.test", "a.test"),
        ("GET /x?a=%2F&b", "a.test:80", "a.test"),
        ("GET /no/such%20path/", "A.test", "A.test"),
        ("GET /x", "[::1]:8080", "[::1]"),
        // Places that other listeners serve without a route.
        ("GET /health", "a.test", "a.test"),
        ("GET /ready", "a.test", "a.test"),
        ("GET /api/v1/status", "127.0.0.1", "127.0.0.1"),
        ("GET http://a.test/x", "a.test", "a.test"),
    ] {
        let request = format!("{start} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let path = start
            .split(' ')
            .nth(1)
            .unwrap()
            .trim_start_matches("http://a.test");
        let want = format!("https://{to}:{port}{path}");
        assert_eq!(
            led(&gateway, request.as_bytes()),
            (308, Some(want)),
            "{start} {host}"
        );
    }
    for request in [
        post("/x", "", b"secret"),
        head("DELETE /x", ""),
        head("OPTIONS /x", ""),
        head("OPTIONS *", ""),
        head(
            "OPTIONS /x",
            "Origin: https://page.example\r\nAccess-Control-Request-Method: GET\r\n",
        ),
        post("/api/v1/tokens", "", b"{}"),
    ] {
        assert_eq!(led(&gateway, &request), (403, None));
    }
    for (request, status) in [
        ("GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /a/../x HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (
            "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            400,
        ),
        ("GET /x HTTP/1.1\nHost: a.test\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        assert_eq!(
            led(&gateway, request.as_bytes()),
            (status, None),
            "{request}"
        );
    }
    assert_eq!(origin.count(), 0);
    gateway.audit_line("the refusal of clear text", |event| {
        event["action"] == "request.rejected" && event.to_string().contains("clear_text")
    });
}

// EDGE-13 EDGE-68 EDGE-85
#[test]
fn who_is_led_to_tls_is_bound_by_lists_and_limits() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let gateway = listening(&certificates, &origin, ALL)
        .set("server.security.rate_limiting.enabled", "true")
        .set("server.security.rate_limiting.burst", "3")
        .set("server.security.rate_limiting.requests_per_second", "1")
        .start();
    let statuses: Vec<_> = (0..4)
        .map(|_| led(&gateway, &head("GET /x", "")).0)
        .collect();
    assert_eq!(statuses, [308, 308, 308, 429]);
    let denied = listening(&certificates, &origin, ALL)
        .set("server.trusted_proxies", "127.0.0.1/32")
        .set("server.security.ip_denylist.enabled", "true")
        .set("server.security.ip_denylist.denied_ips", "192.0.2.7")
        .start();
    let from = |ip: &str| {
        led(
            &denied,
            &head("GET /x", &format!("X-Forwarded-For: {ip}\r\n")),
        )
        .0
    };
    assert_eq!((from("192.0.2.7"), from("192.0.2.8")), (403, 308));
}

// EDGE-2
#[test]
fn one_address_that_is_taken_keeps_all_from_serving() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let free_one = free_addr();
    let listen = format!(
        "listen: [{{ port: {} }}, {{ port: {} }}]",
        free_one.port(),
        addr.port()
    );
    let Err(failed) = listening(&certificates, &origin, &listen).try_start() else {
        panic!("it started");
    };
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    let told = format!("data listener: cannot listen on {addr}");
    assert!(failed.stderr.contains(&told), "{}", failed.stderr);
    assert!(
        TcpStream::connect(free_one).is_err(),
        "nothing is half open"
    );
}

// EDGE-3
#[test]
fn every_address_bound_is_a_host_that_is_served() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let listen = "listen: [{ port: 0 }, { host: 127.0.0.2, port: 0 }]";
    let gateway = listening(&certificates, &origin, listen).start();
    for addr in gateway.listen() {
        for (host, status) in [("127.0.0.1", 200), ("127.0.0.2", 200), ("127.0.0.3", 421)] {
            let request = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = Client::connect(*addr).call(request.as_bytes());
            assert_eq!(answer.status, status, "{host} at {addr}");
        }
    }
}

// EDGE-101
#[test]
fn none_of_the_listeners_is_dialled() {
    let (first, second) = (free_addr().port(), free_addr().port());
    let upstreams: String = [("a", first), ("b", second)]
        .map(|(name, port)| {
            format!("  {name}: {{ url: \"http://127.0.0.1:{port}\", allow_private: [\"127.0.0.0/8\"] }}\n")
        })
        .concat();
    let routes: String = ["a", "b"]
        .map(|name| free(&format!("GET /{name}")).replace("origin", name))
        .concat();
    let config = format!(
        "server: {{ listen: [{{ port: {first} }}, {{ port: {second} }}] }}\nupstreams:\n{upstreams}routes:\n{routes}"
    );
    let gateway = gateway(config).in_file("server.port").start();
    for name in ["a", "b"] {
        let answer = gateway.call(&head(&format!("GET /{name}"), ""));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "egress_refused"),
            "{name}"
        );
    }
}

// EDGE-56
#[test]
fn a_signal_closes_every_listener_and_lets_requests_of_each_finish() {
    let certificates = Certificates::new();
    let origin = Origin::start(|_| {
        let wait = tollkeep_testkit::Step::Sleep(std::time::Duration::from_millis(600));
        [vec![wait], tollkeep_testkit::ok(b"done")].concat()
    });
    let listen = "listen: [{ port: 0 }, { port: 0, tls: false }], TLS";
    let mut gateway = listening(&certificates, &origin, listen).start();
    let [tls, clear] = <[SocketAddr; 2]>::try_from(gateway.listen()).unwrap();
    let mut clients = [
        certificates.caller().connect(tls, "127.0.0.1"),
        Client::connect(clear),
    ];
    for client in &mut clients {
        client.send(&head("GET /x", ""));
    }
    eventually("both are upstream", || (origin.count() == 2).then_some(()));
    gateway.signal(Signal::TERM);
    for addr in [tls, clear] {
        eventually("nobody accepts", || {
            TcpStream::connect(addr).is_err().then_some(())
        });
    }
    for client in &mut clients {
        let answer = client.answer(PATIENCE).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    }
    assert_eq!(gateway.wait_exit(PATIENCE).unwrap().code(), Some(0));
}

// EDGE-1 EDGE-136
#[test]
fn listeners_change_by_a_restart_and_certificates_for_all_of_them_without() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let both = "listen: [{ port: 0 }, { port: 0, http2: false }], TLS";
    let started = listening(&certificates, &origin, both);
    let gateway = started.set("reload.watch", "false").start();
    let config = std::fs::read_to_string(gateway.config_file()).unwrap();
    gateway.configure(config.replace("http2: false", "http2: true"));
    let (status, refused) = gateway.api("POST", "/api/v1/config/reload", None);
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("server.listen"), "{refused}");
    gateway.configure(&config);
    let serial = |addr: SocketAddr| {
        let (_socket, session) = certificates.caller().open(addr, "a.test").unwrap();
        session.peer_certificates().unwrap()[0].to_vec()
    };
    let before: Vec<_> = gateway.listen().iter().copied().map(serial).collect();
    assert!(before[0] == before[1], "one certificate for all");
    certificates.pair("first", Kind::Ecdsa, &["a.test", "127.0.0.1"]);
    let (status, _) = gateway.api("POST", "/api/v1/tls/reload", None);
    assert_eq!(status, 200);
    for addr in gateway.listen() {
        assert!(serial(*addr) != before[0], "{addr}");
    }
}

// EDGE-40 EDGE-56
#[test]
fn a_connection_of_http2_takes_leave_at_each_listener() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let listen = "h2c: true, listen: [{ port: 0 }, { port: 0 }]";
    let mut gateway = listening(&certificates, &origin, listen).start();
    let mut clients: Vec<_> = gateway
        .listen()
        .iter()
        .map(|addr| Http2Client::connect(*addr))
        .collect();
    for client in &mut clients {
        let call = client.request("GET", "/x", &[]);
        assert!(client.call_all(&[(call, b"")])[0].is_ok());
    }
    gateway.signal(Signal::TERM);
    for client in clients {
        assert_eq!(client.ended(PATIENCE), Reset(None), "a regular end");
    }
    assert_eq!(gateway.wait_exit(PATIENCE).unwrap().code(), Some(0));
}

// EDGE-1 EDGE-2
#[test]
fn the_start_tells_every_address_and_warns_of_public_ones() {
    let (certificates, origin) = (Certificates::new(), Origin::plain());
    let public = "listen: [{ host: 127.0.0.1, port: 0, tls: true }, \
                  { host: 0.0.0.0, port: 0, redirect_http: true }], \
                  allowed_hosts: [a.test], TLS";
    let gateway = listening(&certificates, &origin, public).start();
    let stderr = gateway.stderr();
    assert!(
        stderr.contains("server.listen[1].host: 0.0.0.0 is reached from beyond this machine"),
        "{stderr}"
    );
    // Without `--print-addr` they stand in the greeting.
    let told = std::process::Command::new(TOLLKEEP)
        .args(["serve", "--config"])
        .arg(gateway.config_file())
        .args([
            "--set",
            "management.listen=127.0.0.1:0",
            "--set",
            "metrics.port=0",
        ])
        .args(["--set", "data_dir=./greeted"])
        .current_dir(gateway.folder())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(gateway.folder().join("greeting")).unwrap())
        .spawn();
    let mut child = told.unwrap();
    let text = eventually("the greeting", || {
        let text = std::fs::read_to_string(gateway.folder().join("greeting")).unwrap();
        text.contains("  metrics ").then_some(text)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text.contains("  callers     https://127.0.0.1:"), "{text}");
    assert!(
        text.contains("  management  http://127.0.0.1:"),
        "where `/v0/management` is while it is not on the data port: {text}"
    );
    let away = text.lines().find(|line| line.contains("http://0.0.0.0:"));
    assert!(away.unwrap().ends_with("  (leads to https)"), "{text}");
}

// EDGE-1
#[test]
fn a_public_address_has_to_be_wished_for() {
    let start = |wished: &str| {
        Gateway::builder(TOLLKEEP)
            .set("server.host", "0.0.0.0")
            .set("server.allowed_hosts", "api.example.com")
            .set("server.insecure_public_http", wished)
            .try_start()
    };
    let refused = start("false").err().expect("refused");
    assert!(refused.stderr.contains("server.host"), "{}", refused.stderr);
    assert!(start("true").is_ok());
}
