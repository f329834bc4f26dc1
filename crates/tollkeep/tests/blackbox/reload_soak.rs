//! Many reloads under load, half of them of settings that can't be taken over.

use crate::fixture::{before, free, head, llm_call};
use crate::reload::{events, generation, reload, unwatched};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{Client, Gateway, Origin, Request, chunk, chunked_head, eventually, ok};

/// Callers of each kind at a time.
const CALLERS: usize = 3;

/// Two upstreams that stay, one that moves to and fro, a provider with streams.
fn config(origins: &[Origin; 2], round: usize) -> String {
    let moving = &origins[round % 2];
    let provider = format!(
        "providers:\n  openai: {{ base_url: \"{}/v1\", allow_private: [\"127.0.0.1/32\"], credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}] }}\n",
        moving.url()
    );
    let routes = [
        free("GET /stays"),
        free("GET /moves").replace("origin", "moving"),
        free(&format!("GET /round-{round}")),
    ];
    let upstreams = format!(
        "upstreams:\n  moving: {{ url: \"{}\", allow_private: [\"127.0.0.1/32\"] }}\n",
        moving.url()
    );
    let routes = before(&origins[0], &routes.concat()).replace("upstreams:\n", &upstreams);
    format!(
        "{provider}llm: {{ max_depth: {} }}\n{routes}",
        64 + round % 64
    )
}

/// The same, but for something that can't be taken over.
fn bad(good: String, round: usize) -> String {
    match round % 4 {
        0 => good.split_at(good.len() / 2).0.to_owned() + "\": [",
        1 => String::new(),
        2 => good.replace("max_depth", "max_deepness"),
        _ => good + "server: { backlog: 7 }\n",
    }
}

/// Calls again and again on kept connections until told to stop; how many were answered.
fn load(gateway: &Gateway, request: &[u8], whole: &str, stop: &AtomicBool, calls: &AtomicUsize) {
    let mut client: Option<Client> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut on = client.take().unwrap_or_else(|| gateway.connect());
        let answer = on.call(request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().ends_with(whole), "{}", answer.text());
        calls.fetch_add(1, Ordering::Relaxed);
        // What ends by the rules (so many requests) is followed by another.
        client = (!answer.closes()).then_some(on);
    }
}

fn run(reloads: usize) {
    let streams = |request: &Request| {
        if request.method == "GET" {
            return ok(b"ok");
        }
        let pieces = (0..20).map(|_| chunk(b"data: {}\n\n"));
        let begin = [chunked_head("text/event-stream")]
            .into_iter()
            .chain(pieces);
        begin
            .chain([chunk(b"data: [DONE]\n\n"), chunk(b"")])
            .collect()
    };
    let origins = [Origin::start(streams), Origin::start(streams)];
    let gateway = unwatched(config(&origins, 0))
        .env("UPSTREAM_KEY", crate::fixture::UPSTREAM_KEY)
        .set("logging.level", "error")
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let stream = r#"{"model":"m","messages":[],"stream":true}"#;
    let kinds = [
        (head("GET /stays", ""), "ok"),
        (head("GET /moves", ""), "ok"),
        (
            llm_call("/v1/chat/completions", &token, stream),
            "data: [DONE]\n\n",
        ),
    ];
    let (stop, calls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let callers: Vec<_> = kinds
            .iter()
            .flat_map(|kind| [kind; CALLERS])
            .map(|(request, whole)| scope.spawn(|| load(&gateway, request, whole, &stop, &calls)))
            .collect();
        for round in 1..=reloads {
            let before = calls.load(Ordering::Relaxed);
            let good = config(&origins, round);
            let (config, wanted) = match round % 2 {
                0 => (good, 200),
                _ => (bad(good, round / 2), 422),
            };
            gateway.configure(config);
            let (status, answer) = reload(&gateway);
            assert_eq!(status, wanted, "{round}: {answer}");
            // Each of them meets requests.
            eventually("calls", || {
                let failed = callers.iter().any(thread::ScopedJoinHandle::is_finished);
                (failed || calls.load(Ordering::Relaxed) > before + CALLERS).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(generation(&gateway), 1 + reloads as u64 / 2);
    let refusals = || events(&gateway, "config.reject").len();
    eventually("the refusals", || {
        (refusals() == reloads.div_ceil(2)).then_some(())
    });
    println!("{reloads} reloads, {} calls", calls.load(Ordering::Relaxed));
}

// EDGE-136 OPS-8
#[test]
fn no_request_fails_while_settings_change() {
    run(60);
}

// EDGE-136 OPS-8
#[test]
#[ignore = "soak"]
fn no_request_fails_while_settings_change_a_thousand_times() {
    run(1_000);
}
