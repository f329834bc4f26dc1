//! What lives on when settings change under a gateway that serves, and what changes at once.

use crate::fixture::{TOLLKEEP, before, chat, free, gateway, head, llm};
use crate::rates::{at_once, passed};
use crate::reload::{reloaded, status_of};
use serde_json::json;
use std::fs;
use tollkeep_testkit::{
    Client, Gate, Gateway, Origin, PATIENCE, Signal, Step, chunk, chunked_head, eventually,
};

// EDGE-136 LLM-56
#[test]
fn a_stream_goes_on_with_the_upstream_it_began_with() {
    let gate = Gate::default();
    let held = gate.clone();
    let old = Origin::start(move |_| {
        vec![
            chunked_head("text/event-stream"),
            chunk(b"data: 1\n\n"),
            Step::Wait(held.clone()),
            chunk(b"data: [DONE]\n\n"),
            chunk(b""),
        ]
    });
    let new = Origin::start(|_| tollkeep_testkit::json(&json!({ "from": "new" })));
    let (gateway, token) = llm(&old, "openai", "");
    let mut client = gateway.connect();
    client.send(&chat(
        &token,
        r#"{"model":"m","messages":[],"stream":true}"#,
    ));
    let mut answer = client.head(PATIENCE).unwrap();
    assert_eq!(client.piece(&mut answer).unwrap(), b"data: 1\n\n");
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    reloaded(&gateway, &config.replace(&old.url(), &new.url()));
    let other = gateway.call(&chat(&token, r#"{"model":"m","messages":[]}"#));
    assert_eq!((other.status, &other.json()["from"]), (200, &json!("new")));
    gate.open();
    let mut rest = Vec::new();
    while let Some(piece) = client.piece(&mut answer) {
        rest.extend(piece);
    }
    assert_eq!(rest, b"data: [DONE]\n\n");
    let again = client.call(&chat(&token, r#"{"model":"m","messages":[]}"#));
    assert_eq!(
        again.json()["from"],
        "new",
        "the next request of the same connection"
    );
    assert_eq!((old.count(), new.count()), (1, 2));
    eventually("the end of the connection to the old upstream", || {
        (old.open_connections() == 0).then_some(())
    });
}

// EDGE-136
#[test]
fn connections_to_upstreams_that_stay_the_same_are_used_again() {
    let (same, moved, elsewhere) = (Origin::plain(), Origin::plain(), Origin::plain());
    let config = |moved: &Origin, idle: u32, key: &str| {
        format!(
            "upstreams:\n  same: {{ url: \"{}\", allow_private: [\"127.0.0.1/32\"], pool: {{ idle_per_host_max: {idle} }}, headers: {{ x-key: {key} }} }}\n  \
             moved: {{ url: \"{}\", allow_private: [\"127.0.0.1/32\"] }}\nroutes:\n{}{}",
            same.url(),
            moved.url(),
            free("GET /same").replace("origin", "same"),
            free("GET /moved").replace("origin", "moved"),
        )
    };
    let gateway = gateway(config(&moved, 8, "a"))
        .set("server.workers", "1")
        .start();
    let mut client = gateway.connect();
    for target in ["/same", "/moved"] {
        assert_eq!(client.call(&head(&format!("GET {target}"), "")).status, 200);
    }
    reloaded(&gateway, &config(&elsewhere, 9, "b"));
    eventually("the old upstream's connections end", || {
        (moved.open_connections() == 0).then_some(())
    });
    for target in ["/same", "/moved"] {
        assert_eq!(client.call(&head(&format!("GET {target}"), "")).status, 200);
    }
    assert_eq!(
        (
            same.connections(),
            moved.connections(),
            elsewhere.connections()
        ),
        (1, 1, 1)
    );
    assert_eq!(
        same.last().field("x-key"),
        Some("b"),
        "with the new settings"
    );
}

// EDGE-91 EDGE-136
#[test]
fn what_a_limit_counted_is_kept_and_a_lowered_one_binds_at_once() {
    let origin = Origin::plain();
    let limited = |route: &str, requests: u32| {
        format!(
            "  \"GET {route}\": {{ upstream: origin, access: free, rate_limit: {{ requests: {requests}, window: 1h, by: global }} }}\n"
        )
    };
    let gateway = gateway(before(
        &origin,
        &[limited("/m", 4), limited("/n", 4)].concat(),
    ))
    .start();
    let get = |target: &str, times| {
        passed(&at_once(
            &gateway,
            &head(&format!("GET {target}"), ""),
            times,
        ))
    };
    assert_eq!(get("/m", 3), 3);
    // Another order and a newcomer before both: each keeps what it counted.
    let config = [limited("/a", 2), limited("/n", 4), limited("/m", 4)].concat();
    reloaded(&gateway, &before(&origin, &config));
    assert_eq!(get("/m", 4), 1, "three of four were used up");
    assert_eq!((get("/n", 6), get("/a", 4)), (4, 2), "nobody else's were");
    let config = [limited("/a", 1000), limited("/m", 1_000_000)].concat();
    reloaded(&gateway, &before(&origin, &config));
    eventually("a raised limit", || (get("/m", 1) == 1).then_some(()));
    reloaded(&gateway, &before(&origin, &limited("/b", 1000)));
    assert_eq!(get("/b", 100), 100);
    reloaded(&gateway, &before(&origin, &limited("/b", 5)));
    assert!(get("/b", 20) <= 5, "a lowered limit binds at once");
    assert_eq!(get("/b", 20), 0);
}

// EDGE-91
#[test]
fn the_limit_of_an_address_is_kept_and_lowered_too() {
    let origin = Origin::plain();
    let config = |burst: u32| {
        format!(
            "server: {{ security: {{ rate_limiting: {{ requests_per_second: 1, burst: {burst}, scope: all }} }} }}\n{}",
            before(&origin, &free("GET /x"))
        )
    };
    let gateway = Gateway::builder(TOLLKEEP).config(config(300)).start();
    let get = |times| passed(&at_once(&gateway, &head("GET /x", ""), times));
    assert_eq!(get(200), 200);
    reloaded(&gateway, &config(300));
    assert!(
        (100..140).contains(&get(200)),
        "the rest of the burst, and some seconds' worth"
    );
    reloaded(&gateway, &config(2));
    assert!(
        get(20) <= 3,
        "the old burst is owed still, as far as the new one reaches"
    );
}

// EDGE-136
#[test]
fn operators_and_counters_see_the_new_settings() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, &free("GET /x"))).start();
    let config = format!(
        "auth: {{ token_default_ttl: 1h, token_max_ttl: 2h }}\nmetrics: {{ path: /counters }}\n\
         upstreams:\n  newcomer: {{ url: \"{}\", allow_private: [\"127.0.0.1/32\"] }}\nroutes:\n{}",
        origin.url(),
        free("GET /new").replace("origin", "newcomer")
    );
    reloaded(&gateway, &config);
    let (status, answer) = gateway.api(
        "POST",
        "/api/v1/tokens",
        Some(&json!({ "project": "default", "ttl": "3h" })),
    );
    assert_eq!(status, 422, "{answer}");
    assert_eq!(status_of(&gateway, "/new"), 200);
    let scrape = |path: &str| {
        let host = gateway.metrics();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        Client::connect(host).call(request.as_bytes())
    };
    assert_eq!(scrape("/metrics").status, 404);
    let series = "tollkeep_requests_total{route=\"GET /new\",provider=\"newcomer\",status=\"2xx\",outcome=\"served\"} 1";
    eventually("the series", || {
        scrape("/counters").text().contains(series).then_some(())
    });
}

// EDGE-136
#[test]
fn bounds_on_connections_and_the_drain_follow_the_settings() {
    let origin = Origin::plain();
    let limits = |more: &str| format!("server: {{ {more} }}\n{}", before(&origin, &free("GET /x")));
    let mut gateway = gateway(limits("drain: { timeout_ms: 60000 }")).start();
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&head("GET /x", "")).status, 200);
    reloaded(
        &gateway,
        &limits("limits: { connections_max: 1 }, drain: { timeout_ms: 1 }"),
    );
    assert!(
        gateway.connect().closed_within(PATIENCE),
        "there is room for one only"
    );
    assert_eq!(kept.call(&head("GET /x", "")).status, 200, "which lives on");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait_exit(PATIENCE).unwrap().code(), Some(0));
}

// EDGE-136
#[test]
fn the_log_is_as_talkative_as_the_settings_say() {
    let config = |level: &str| format!("logging: {{ level: {level} }}\n");
    let gateway = gateway(config("warn")).in_file("logging.level").start();
    reloaded(&gateway, &config("info"));
    eventually("a line", || {
        gateway.stderr().contains("Settings 2 are").then_some(())
    });
    reloaded(&gateway, &config("error"));
    reloaded(&gateway, &config("info"));
    eventually("a line", || {
        gateway.stderr().contains("Settings 4 are").then_some(())
    });
    assert!(
        !gateway.stderr().contains("Settings 3 are"),
        "{}",
        gateway.stderr()
    );
}
