//! Out through the operator's proxy: to the vetted address, and no further than without it.

use crate::egress::{ask, config, upstream};
use crate::fixture::{UPSTREAM_KEY, chat, gateway, post};
use crate::reload::{reload, reloaded, unwatched};
use crate::upstream_tls::Trust;
use serde_json::json;
use std::net::SocketAddr;
use tollkeep_testkit::{
    Answer, Builder, Connect, ConnectProxy, Gateway, NameServer, Origin, Reply, Tunnel, eventually,
    free_addr, json as json_answer, ok,
};

/// What the names of these tests resolve to, by their first label.
fn names(name: &str) -> Reply {
    let addresses: &[&str] = match name.split('.').next().unwrap_or_default() {
        "here" | "proxy" => &["127.0.0.1"],
        "both" => &["93.184.216.34", "127.0.0.1"],
        "private" => &["10.0.0.1"],
        "metadata" => &["169.254.169.254"],
        "two" => &["93.184.216.1", "93.184.216.2"],
        _ => &["93.184.216.34"],
    };
    Reply::Addresses(addresses.iter().map(|ip| ip.parse().unwrap()).collect())
}

/// `egress` with this proxy and names resolved here.
fn by_way_of(proxy: &str, names: &NameServer, more: &str) -> String {
    format!(
        "egress: {{ proxy: {{ url: \"{proxy}\"{more} }}, resolver: {{ mode: servers, servers: [\"{}\"], attempts: 1 }} }}\n",
        names.addr()
    )
}

/// An upstream that is tried once a call, whatever became of it before.
fn once(name: &str, url: &str, more: &str) -> (String, String) {
    let more = format!(", retry: {{ connect: 0 }}, breaker: off{more}");
    upstream(name, url, &more)
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

// EDGE-103
#[test]
fn public_destinations_are_reached_through_the_proxy_by_their_address() {
    let trust = Trust::new();
    let secure = trust.origin("secure.test.example");
    let clear = Origin::start(|request| ok(request.field("host").unwrap().as_bytes()));
    let (to_secure, to_clear) = (secure.addr(), clear.addr());
    let proxy = ConnectProxy::start(move |asked| {
        Tunnel::To(match asked.target.as_str() {
            "93.184.216.34:443" => to_secure,
            _ => to_clear,
        })
    });
    let server = NameServer::start(names);
    let (port, here) = (clear.addr().port(), ", allow_private: [\"127.0.0.1/32\"]");
    let tls = format!(", tls: {{ ca_file: \"{}\" }}", trust.file().display());
    let parts = [
        once("secure", "https://secure.test.example", &tls),
        once("clear", "http://clear.test.example", ""),
        once("literal", "http://93.184.216.40:8080", ""),
        once("six", "http://[2606:4700::6810:84e5]:8080", ""),
        once("here", &format!("http://here.test.example:{port}"), here),
        once("loopback", &format!("http://127.0.0.1:{port}"), here),
    ];
    let gateway = gateway(format!(
        "{}{}",
        by_way_of(&proxy.url(), &server, ""),
        config(&parts)
    ))
    .set("server.workers", "1")
    .start();
    for (name, host, target) in [
        ("secure", "secure.test.example", Some("93.184.216.34:443")),
        ("clear", "clear.test.example", Some("93.184.216.34:80")),
        ("literal", "93.184.216.40:8080", Some("93.184.216.40:8080")),
        (
            "six",
            "[2606:4700::6810:84e5]:8080",
            Some("[2606:4700::6810:84e5]:8080"),
        ),
        ("here", &format!("here.test.example:{port}"), None),
        ("loopback", &format!("127.0.0.1:{port}"), None),
    ] {
        let before = proxy.asked().len();
        for _ in 0..3 {
            let answer = ask(&gateway, name);
            assert_eq!(
                (answer.status, answer.text()),
                (200, host.to_owned()),
                "{name}"
            );
        }
        let asked: Vec<Connect> = proxy.asked().split_off(before);
        let targets: Vec<&str> = asked.iter().map(|asked| asked.target.as_str()).collect();
        assert_eq!(
            targets,
            target.into_iter().collect::<Vec<_>>(),
            "{name}: one tunnel, kept"
        );
        for asked in asked {
            assert_eq!(asked.field("host"), target);
            assert_eq!(asked.field("proxy-authorization"), None);
            assert!(!asked.head.contains("example"), "no name: {}", asked.head);
        }
    }
    assert_eq!((secure.count(), clear.faults().len()), (3, 0));
}

// EDGE-103
#[test]
fn providers_and_keys_of_identity_providers_come_through_the_proxy_too() {
    let trust = Trust::new();
    let provider = trust.origin("api.test.example");
    let keys = Origin::start_on(trust.server("keys.test.example").carrier(), |_| {
        json_answer(&json!({ "keys": [] }))
    });
    let (to_provider, to_keys) = (provider.addr(), keys.addr());
    let proxy = ConnectProxy::start(move |asked| {
        Tunnel::To(match asked.target.as_str() {
            "93.184.216.34:8443" => to_keys,
            _ => to_provider,
        })
    });
    let server = NameServer::start(names);
    let roots = format!("egress: {{ ca_file: \"{}\", ", trust.file().display());
    let text = format!(
        "{}server: {{ front_door: {{ exempt: [\"/v1/*\"], jwt: {{ issuer: i, audience: [a], jwks_url: \"https://keys.test.example:8443/certs\" }} }} }}\n\
         providers:\n  openai:\n    base_url: \"https://api.test.example/v1\"\n    credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n",
        by_way_of(&proxy.url(), &server, "").replace("egress: { ", &roots)
    );
    let gateway = gateway(text).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    eventually("the keys", || (keys.count() == 1).then_some(()));
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let answer = gateway.call(&chat(&token, r#"{"model":"m","messages":[]}"#));
    assert_eq!(
        (answer.status, provider.count()),
        (200, 1),
        "{}",
        answer.text()
    );
    let mut targets = proxy.targets();
    targets.sort();
    assert_eq!(targets, ["93.184.216.34:443", "93.184.216.34:8443"]);
}

/// One public upstream behind a proxy of this URL, which comes from the environment.
fn behind(url: &str, server: &NameServer) -> Builder {
    let text =
        by_way_of("${PROXY_URL}", server, "") + &config(&[once("u", "http://a.test.example", "")]);
    gateway(text).env("PROXY_URL", url)
}

// EDGE-103
#[test]
fn a_login_goes_to_the_proxy_and_nowhere_else() {
    const PASSWORD: &str = "p@ss:w0rd-Zq8kTm2vXw";
    const VALUE: &str = "Basic dXNlcjpwQHNzOncwcmQtWnE4a1RtMnZYdw==";
    let origin = Origin::plain();
    let to = origin.addr();
    let proxy = ConnectProxy::start(move |asked| {
        match asked.field("proxy-authorization") {
        Some(VALUE) => Tunnel::To(to),
        _ => Tunnel::Answer(
            b"HTTP/1.1 407 Login\r\nProxy-Authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
        ),
    }
    });
    let server = NameServer::start(names);
    let good = format!("http://user:p%40ss%3Aw0rd-Zq8kTm2vXw@{}", proxy.addr());
    let gateway = behind(&good, &server).start();
    assert_eq!(ask(&gateway, "u").status, 200);
    let request = origin.last();
    assert_eq!(request.field("proxy-authorization"), None);
    let nothing_told = |gateway: &Gateway, answer: &str| {
        gateway.audit_line("the call", |line| line.to_string().contains("/u"));
        let all = [
            gateway.stderr(),
            answer.to_owned(),
            gateway.metrics_text(),
            format!("{:?}{:?}", gateway.audit_lines(), gateway.access_lines()),
        ]
        .concat();
        for secret in [PASSWORD, "w0rd", "dXNlcjpwQHNz"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    };
    nothing_told(&gateway, "");
    let bad = format!("http://user:w0rd-wrong@{}", proxy.addr());
    let gateway = behind(&bad, &server).start();
    let answer = ask(&gateway, "u");
    assert_eq!(code(&answer), (503, "proxy_unavailable".to_owned()));
    eventually("the reason", || {
        gateway.stderr().contains("refused our login").then_some(())
    });
    nothing_told(&gateway, &format!("{:?}{}", answer.fields, answer.text()));
}

// EDGE-103
#[test]
fn a_url_with_a_login_is_a_secret_and_one_without_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollkeep.yaml");
    let show = |environment: &str, url: &str| {
        std::fs::write(
            &file,
            format!("environment: {environment}\negress: {{ proxy: {{ url: \"{url}\" }} }}\n"),
        )
        .unwrap();
        let told = ["show", "check"].map(|what| {
            let mut command = std::process::Command::new(crate::fixture::TOLLKEEP);
            let command = command.args(["config", what, "--config"]).arg(&file);
            let output = command.env("PW", "from-outside").output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr)
        });
        told.concat()
    };
    let shown = show("development", "http://proxy.example:3128");
    assert!(shown.contains("http://proxy.example:3128"), "{shown}");
    assert!(!shown.contains("is a secret written out"), "{shown}");
    let hidden = show("development", "http://user:written-out@proxy.example:3128");
    assert!(!hidden.contains("written-out"), "{hidden}");
    assert!(hidden.contains("is a secret written out"), "{hidden}");
    let hidden = show("production", "http://user:written-out@proxy.example:3128");
    assert!(
        hidden.contains("egress.proxy.url: is a secret written out")
            && !hidden.contains("written-out@"),
        "{hidden}"
    );
    let hidden = show("development", "http://user:${PW}@proxy.example:3128");
    assert!(
        !hidden.contains("from-outside") && !hidden.contains("is a secret written out"),
        "{hidden}"
    );
    for url in [
        "http://user:written%0d%0aout@proxy.example",
        "socks5://user:written-out@proxy.example",
        "http://user:written-out@proxy.example/path",
    ] {
        let refused = show("development", url);
        assert!(
            refused.contains("egress.proxy.url") && !refused.contains("written"),
            "{refused}"
        );
    }
}

/// What a proxy may answer, and what becomes of it: caller's status and code, operator's words.
fn answers() -> Vec<(&'static str, Vec<u8>, u16, &'static str, &'static str)> {
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(2_000));
    let text = |text: &str| text.as_bytes().to_vec();
    let (refused, unavailable) = ("proxy_refused", "proxy_unavailable");
    #[rustfmt::skip]
    let rows = vec![
        ("forbidden", text("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"), 502, refused, "status 403"),
        ("redirect", text("HTTP/1.1 302 Go\r\nlocation: http://127.0.0.1/\r\n\r\n"), 502, refused, "status 302"),
        ("unreachable", text("HTTP/1.1 502 Bad\r\n\r\n"), 502, refused, "status 502"),
        ("too slow", text("HTTP/1.0 504 Late\r\n\r\n"), 502, refused, "status 504"),
        ("interim", text("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), 502, refused, "status 100"),
        ("login", text("HTTP/1.1 407 Login\r\n\r\n"), 503, unavailable, "refused our login"),
        ("no HTTP", text("SSH-2.0-OpenSSH_9\r\n\r\n"), 503, unavailable, "malformed status line"),
        ("HTTP/2", text("HTTP/2 200\r\n\r\n"), 503, unavailable, "malformed status line"),
        ("bare line feeds", text("HTTP/1.1 200 OK\n\n"), 503, unavailable, "does not end with CRLF"),
        ("a fold", text("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"), 503, unavailable, "folded"),
        ("switching", text("HTTP/1.1 101 Go\r\n\r\n"), 503, unavailable, "101"),
        ("an endless line", endless.into_bytes(), 503, unavailable, "head too large"),
        ("many fields", many.into_bytes(), 503, unavailable, "head too large"),
        ("half a head", text("HTTP/1.1 200 OK\r\n"), 503, unavailable, "closed without an answer"),
        ("nothing", Vec::new(), 503, unavailable, "closed without an answer"),
        ("a word too much", text("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno"), 503, unavailable, "bytes of its own"),
    ];
    rows
}

// EDGE-103
#[test]
fn a_proxy_that_opens_no_tunnel_is_told_as_such() {
    let origin = Origin::plain();
    let (to, rows) = (origin.addr(), answers());
    let port = |at: usize| 8_100 + u16::try_from(at).unwrap();
    let script: Vec<_> = rows.iter().map(|row| row.1.clone()).collect();
    let proxy = ConnectProxy::start(move |asked| {
        let port: usize = asked.target.rsplit(':').next().unwrap().parse().unwrap();
        match script.get(port.wrapping_sub(8_100)) {
            Some(bytes) => Tunnel::Answer(bytes.clone()),
            None if port == 8_090 => Tunnel::Hang,
            None => {
                let first = b"HTTP/1.0 299 Fine\r\ncontent-length: 5\r\n\r\n";
                Tunnel::After(first.to_vec(), to)
            }
        }
    });
    let server = NameServer::start(names);
    let to_port = |name: &str, port: u16, more: &str| {
        once(name, &format!("http://93.184.216.34:{port}"), more)
    };
    let mut parts: Vec<_> = (0..rows.len())
        .map(|at| to_port(&format!("u{at}"), port(at), ""))
        .collect();
    parts.push(to_port("hanging", 8_090, ", timeouts: { connect_ms: 300 }"));
    parts.push(to_port("fine", 8_091, ""));
    let gateway = gateway(by_way_of(&proxy.url(), &server, "") + &config(&parts)).start();
    for (at, (name, _, status, want, told)) in rows.iter().enumerate() {
        let answer = ask(&gateway, &format!("u{at}"));
        assert_eq!(code(&answer), (*status, (*want).to_owned()), "{name}");
        assert_eq!(
            answer.field("retry-after").is_some(),
            *status == 503,
            "{name}"
        );
        let line = |line: &str| line.contains(&format!("`u{at}`")) && line.contains(told);
        eventually(name, || gateway.stderr().lines().any(line).then_some(()));
    }
    assert_eq!(code(&ask(&gateway, "hanging")), (504, "timeout".to_owned()));
    assert_eq!(origin.connections(), 0);
    assert_eq!(ask(&gateway, "fine").status, 200, "a tunnel has no length");
    assert_eq!(origin.count(), 1);
}

// EDGE-103
#[test]
fn a_proxy_that_is_not_there_is_no_fault_of_the_upstream() {
    let nobody = free_addr();
    let server = NameServer::start(names);
    let part = upstream(
        "u",
        "http://a.test.example",
        ", breaker: { failures: 1, open_ms: 60000 }",
    );
    let text = |proxy: &str| by_way_of(proxy, &server, "") + &config(std::slice::from_ref(&part));
    let gateway = unwatched(text(&format!("http://{nobody}"))).start();
    for _ in 0..3 {
        let answer = ask(&gateway, "u");
        assert_eq!(code(&answer), (503, "proxy_unavailable".to_owned()));
    }
    let origin = Origin::plain();
    let to = origin.addr();
    let proxy = ConnectProxy::start(move |_| Tunnel::To(to));
    reloaded(&gateway, &text(&proxy.url()));
    assert_eq!(ask(&gateway, "u").status, 200, "no circuit has opened");
    // What was opened through one is not used by way of another.
    let second = ConnectProxy::start(move |_| Tunnel::To(to));
    reloaded(&gateway, &text(&second.url()));
    assert_eq!(ask(&gateway, "u").status, 200);
    assert_eq!((proxy.connections(), second.connections()), (1, 1));
}

// EDGE-103
#[test]
fn another_address_of_the_name_is_asked_for_where_the_proxy_cannot_reach_the_first() {
    let origin = Origin::plain();
    let to = origin.addr();
    let proxy = ConnectProxy::start(move |asked| match asked.target.as_str() {
        "93.184.216.2:80" => Tunnel::To(to),
        _ => Tunnel::Answer(b"HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n".to_vec()),
    });
    let server = NameServer::start(names);
    let text =
        by_way_of(&proxy.url(), &server, "") + &config(&[once("u", "http://two.test.example", "")]);
    let gateway = gateway(text).start();
    assert_eq!(ask(&gateway, "u").status, 200);
    assert!(proxy.targets().len() <= 2, "{:?}", proxy.targets());
}

// EDGE-103
#[test]
fn a_proxy_over_tls_proves_who_it_is_and_tunnels_tls() {
    let (trust, of_proxy) = (Trust::new(), Trust::new());
    let large = vec![b'x'; 300_000];
    let body = large.clone();
    let carrier = trust.server("secure.test.example").carrier();
    let secure = Origin::start_on(carrier, move |request| {
        ok(&[&request.body[..], &body].concat())
    });
    let clear = Origin::plain();
    let (to_secure, to_clear) = (secure.addr(), clear.addr());
    let carrier = of_proxy.server("proxy.test.example").carrier();
    let proxy = ConnectProxy::start_on(carrier, move |asked| {
        Tunnel::To(if asked.target.ends_with(":443") {
            to_secure
        } else {
            to_clear
        })
    });
    let server = NameServer::start(names);
    let url = format!(
        "https://user:secret@proxy.test.example:{}",
        proxy.addr().port()
    );
    let tls = format!(", tls: {{ ca_file: \"{}\" }}", trust.file().display());
    let post_too = once("secure", "https://secure.test.example", &tls);
    let post_too = (post_too.0, post_too.1.replace("GET /", "POST /"));
    let parts = [post_too, once("clear", "http://clear.test.example", "")];
    let with = |trust: &Trust| {
        let ca = format!(", ca_file: \"{}\"", trust.file().display());
        by_way_of(&url, &server, &ca) + &config(&parts)
    };
    let gateway = unwatched(with(&of_proxy))
        .set("server.workers", "1")
        .start();
    assert_eq!(ask(&gateway, "clear").status, 200);
    for _ in 0..2 {
        let answer = gateway.call(&post("/secure", "", &large));
        assert_eq!((answer.status, answer.body.len()), (200, 600_000));
    }
    assert_eq!(proxy.connections(), 2, "tunnels are kept");
    assert_eq!(
        proxy.asked()[0].field("proxy-authorization"),
        Some("Basic dXNlcjpzZWNyZXQ=")
    );
    // Its roots are its own.
    reloaded(&gateway, &with(&trust));
    let answer = ask(&gateway, "clear");
    assert_eq!(code(&answer), (503, "proxy_unavailable".to_owned()));
    eventually("the reason", || {
        gateway
            .stderr()
            .contains("failed the TLS handshake")
            .then_some(())
    });
    assert_eq!((secure.count(), clear.count()), (2, 1));
}

// EDGE-101 EDGE-103
#[test]
fn a_proxy_is_never_ourselves_nor_a_service_that_is_no_proxy() {
    let server = NameServer::start(names);
    let part = once("u", "http://a.test.example", "");
    let text = |proxy: &str| by_way_of(proxy, &server, "") + &config(std::slice::from_ref(&part));
    let data = free_addr().port();
    for (name, url, want) in [
        (
            "ourselves",
            format!("http://127.0.0.1:{data}"),
            "this gateway itself",
        ),
        ("metadata", "http://169.254.169.254".to_owned(), "metadata"),
        (
            "nowhere",
            "http://0.0.0.0:3128".to_owned(),
            "special-purpose",
        ),
        (
            "mapped",
            "http://[::ffff:127.0.0.1]:3128".to_owned(),
            "IPv6 forms",
        ),
        (
            "mail",
            "http://proxy.example:25".to_owned(),
            "egress.allow_ports: [25]",
        ),
    ] {
        let started = gateway(text(&url)).set("server.port", data.to_string());
        let refused = started.try_start().err();
        let refused = refused.unwrap_or_else(|| panic!("{name} started"));
        assert_eq!(refused.code, Some(3), "{name}: {}", refused.stderr);
        let told = &refused.stderr;
        assert!(
            told.contains("egress.proxy.url") && told.contains(want),
            "{name}: {told}"
        );
    }
    for (name, reason) in [
        ("proxy", "self"),
        ("metadata", "metadata"),
        ("both", "self"),
    ] {
        let url = format!("http://{name}.test.example:{data}");
        let gateway = gateway(text(&url))
            .set("server.port", data.to_string())
            .start();
        let answer = ask(&gateway, "u");
        assert_eq!(code(&answer), (502, "egress_refused".to_owned()), "{name}");
        let counted = format!("reason=\"{reason}\"");
        eventually(name, || {
            let text = gateway.metrics_text();
            let mut lines = text
                .lines()
                .filter(|line| line.contains("egress_refused_total"));
            lines
                .any(|line| line.contains(&counted) && line.ends_with(" 1"))
                .then_some(())
        });
    }
}

// EDGE-96 EDGE-98 EDGE-101 EDGE-103
#[test]
fn what_may_not_be_dialled_is_not_asked_of_a_proxy_either() {
    let origin = Origin::plain();
    let to: SocketAddr = origin.addr();
    let proxy = ConnectProxy::start(move |_| Tunnel::To(to));
    let server = NameServer::start(names);
    let data = free_addr().port();
    let here = ", allow_private: [\"127.0.0.0/8\"]";
    let parts = [
        once("private", "http://private.test.example", ""),
        once("loopback", "http://here.test.example", ""),
        once("metadata", "http://metadata.test.example", ""),
        once("mixed", "http://both.test.example", ""),
        once("own", &format!("http://here.test.example:{data}"), here),
    ];
    let text = by_way_of(&proxy.url(), &server, "") + &config(&parts);
    let gateway = gateway(text).set("server.port", data.to_string()).start();
    for name in ["private", "loopback", "metadata", "mixed", "own"] {
        let answer = ask(&gateway, name);
        assert_eq!(code(&answer), (502, "egress_refused".to_owned()), "{name}");
    }
    assert_eq!((proxy.connections(), origin.connections()), (0, 0));
}

// EDGE-103
#[test]
fn a_file_of_the_proxy_that_is_no_good_is_told_at_start_and_at_a_reload() {
    let server = NameServer::start(names);
    let bad = |url: &str| by_way_of(url, &server, ", ca_file: missing.pem");
    let refused = gateway(bad("https://proxy.test.example"))
        .try_start()
        .err()
        .expect("refused");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("egress.proxy.ca_file: missing.pem: can't be read"),
        "{}",
        refused.stderr
    );
    let gateway = unwatched("").start();
    for (url, want) in [
        ("https://proxy.test.example", "can't be read"),
        ("http://proxy.test.example", "has no effect"),
        ("", "has no effect"),
    ] {
        gateway.configure(bad(url));
        let (status, answer) = reload(&gateway);
        let answer = answer.to_string();
        assert_eq!(status, 422, "{answer}");
        assert!(
            answer.contains("egress.proxy.ca_file") && answer.contains(want),
            "{answer}"
        );
    }
}
