//! What is repeated at an upstream, and what never is.

use crate::egress::{answers, config, resolver, upstream};
use crate::fixture::{before, chat, free, gateway, head, llm, llm_call, post};
use crate::held::{PRICES, body, bound, budget, settled};
use crate::upstream_tls::{Trust, clear_text};
use serde_json::json;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use tollkeep_testkit::{Gateway, NameServer, Origin, Reply, Step, eventually, ok};

/// An origin whose connections each answer once and swallow the next request.
fn one_shot() -> Origin {
    let last = AtomicUsize::new(usize::MAX);
    Origin::start(move |request| {
        let reused = last.swap(request.connection, Ordering::Relaxed) == request.connection;
        if reused { vec![Step::Close] } else { ok(b"{}") }
    })
}

fn plain(origin: &Origin, retry: &str) -> Gateway {
    let routes = ["GET /x", "POST /x"].map(free).concat();
    let more = format!("32\"], retry: {{ {retry} }} }}");
    gateway(before(origin, &routes).replace("32\"] }", &more))
        .set("server.workers", "1")
        .start()
}

// EDGE-111
#[test]
fn what_a_dead_connection_swallowed_is_sent_again_if_it_may_be() {
    const KEY: &str = "Idempotency-Key: 7\r\n";
    for (name, retry, request, want) in [
        ("GET", "reused: 1", head("GET /x", ""), 200),
        ("GET, but not wanted", "reused: 0", head("GET /x", ""), 502),
        ("POST", "reused: 1", post("/x", "", b"pay"), 502),
        ("POST with a key", "reused: 1", post("/x", KEY, b"pay"), 502),
        (
            "POST without a key",
            "with_idempotency_key: true",
            post("/x", "", b"pay"),
            502,
        ),
        (
            "POST with a key where that is enough",
            "with_idempotency_key: true",
            post("/x", KEY, b"pay"),
            200,
        ),
        (
            "an empty key",
            "with_idempotency_key: true",
            post("/x", "Idempotency-Key:\r\n", b"pay"),
            502,
        ),
    ] {
        let origin = one_shot();
        let gateway = plain(&origin, retry);
        let mut client = gateway.connect();
        assert_eq!(client.call(&head("GET /x", "")).status, 200, "{name}");
        let answer = client.call(&request);
        assert_eq!(answer.status, want, "{name}: {}", answer.text());
        let (sent, opened) = if want == 200 { (3, 2) } else { (2, 1) };
        assert_eq!(
            (origin.count(), origin.connections()),
            (sent, opened),
            "{name}"
        );
        if want == 200 {
            assert_eq!(origin.last().body, origin.requests()[1].body, "{name}");
            let attempts =
                "tollkeep_upstream_attempts_total{provider=\"origin\",result=\"reset\"} 1";
            assert!(gateway.metrics_text().contains(attempts), "{name}");
        }
    }
}

// EDGE-111
#[test]
fn a_call_to_a_model_is_never_sent_twice() {
    let origin = one_shot();
    let (gateway, token) = llm(&origin, "openai", "server: { workers: 1 }\n");
    let call = || {
        let lines = token.clone() + "\r\nIdempotency-Key: 7";
        llm_call(
            "/v1/chat/completions",
            &lines,
            r#"{"model":"m","messages":[]}"#,
        )
    };
    let mut client = gateway.connect();
    let statuses: Vec<_> = (0..2).map(|_| client.call(&call()).status).collect();
    assert_eq!(statuses, [200, 502]);
    assert_eq!((origin.count(), origin.connections()), (2, 1));
}

// LED-50 LED-52
#[test]
fn what_a_dead_connection_swallowed_is_charged_and_what_none_took_is_free() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let mut answer = ok(b"{}");
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => answer,
            1 => vec![Step::Close],
            // As origins do that keep nobody waiting.
            _ => {
                answer.push(Step::Close);
                answer
            }
        }
    });
    let config = format!("{PRICES}server: {{ workers: 1 }}\n");
    let (gateway, token) = llm(&origin, "openai", &config);
    let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
    let id = budget(&gateway, &rules);
    let (call, most) = (body(false), bound(&body(false)));
    let mut client = gateway.connect();
    let mut asked = || client.call(&chat(&token, &call)).status;
    // Nothing tells what the first one cost, nor whether the second was done: it was sent.
    assert_eq!(asked(), 200);
    settled(&gateway, &id, most);
    assert_eq!(asked(), 502);
    settled(&gateway, &id, 2 * most);
    assert_eq!(asked(), 200);
    settled(&gateway, &id, 3 * most);
    // The kept connection is closed, and nobody takes another.
    let addr = origin.addr();
    drop(origin);
    eventually("nobody listens", || TcpStream::connect(addr).err());
    assert_eq!(asked(), 502);
    settled(&gateway, &id, 3 * most);
    let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
    let qualities: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["quality"])
        .collect();
    assert_eq!(
        qualities,
        ["reported", "unknown", "unknown", "unknown"],
        "{page}"
    );
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

/// A gateway before an upstream behind TLS under a name; `more` stands in the upstream.
fn behind_tls(port: u16, server: &NameServer, trust: &Trust, more: &str) -> Gateway {
    let url = format!("https://secure.test.example:{port}");
    let more = format!(", allow_private: [\"127.0.0.0/8\"], breaker: off, {more}");
    let (upstream, route) = upstream("u", &url, &more);
    let route = route.replace("GET", "POST");
    gateway(format!(
        "{}{}",
        resolver(server),
        config(&[(upstream, route)])
    ))
    .set("server.workers", "1")
    .set("egress.ca_file", trust.file().display().to_string())
    .start()
}

// EDGE-111
#[test]
fn connecting_is_tried_again_at_another_address_whatever_the_method() {
    let trust = Trust::new();
    let good = trust.origin("secure.test.example");
    let port = good.addr().port();
    // At the first address somebody hangs up in the middle of the handshake.
    let bad = TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::thread::spawn(move || bad.incoming().take(20).for_each(drop));
    let server = NameServer::start(|_| {
        Reply::Addresses(vec![
            IpAddr::from([127, 0, 0, 2]),
            IpAddr::from([127, 0, 0, 1]),
        ])
    });
    for (retry, want) in [("connect: 0", 502), ("connect: 1", 200)] {
        let more = format!("retry: {{ {retry} }}, pool: {{ idle_per_host_max: 0 }}");
        let gateway = behind_tls(port, &server, &trust, &more);
        for _ in 0..3 {
            let answer = gateway.call(&post("/u", "", b"pay"));
            assert_eq!(answer.status, want, "{retry}");
        }
    }
    assert_eq!(good.count(), 3);
}

// EDGE-111
#[test]
fn connecting_is_tried_so_often_and_no_more_than_the_budget_bears() {
    let (trust, server) = (Trust::new(), NameServer::start(answers));
    for (retry, tries) in [
        ("", 3),
        ("retry: { connect: 0 }", 1),
        ("retry: { connect: 4 }", 5),
    ] {
        let origin = clear_text();
        let gateway = behind_tls(origin.addr().port(), &server, &trust, retry);
        assert_eq!(
            gateway.call(&post("/u", "", b"pay")).code(),
            "upstream_error"
        );
        assert_eq!(origin.connections(), tries, "{retry}");
    }
    let origin = clear_text();
    let gateway = behind_tls(
        origin.addr().port(),
        &server,
        &trust,
        "retry: { connect: 10 }",
    );
    let mut client = gateway.connect();
    for _ in 0..100 {
        assert_eq!(client.call(&post("/u", "", b"pay")).status, 502);
    }
    let repeated = origin.connections() - 100;
    // The first ten are free, then it is a fifth of the calls; a minute may have passed.
    assert!((10..=30).contains(&repeated), "{repeated} tries more");
}
