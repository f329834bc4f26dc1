//! What every answer on a surface of models has, what is served without a word about it, and how much
//! a call may be.

use crate::callers::{bearer, get};
use crate::fixture::{chat, gateway, llm, llm_call};
use crate::http2::resident_kib;
use serde_json::json;
use std::fs;
use tollkeep_testkit::{
    Answer, Gate, Gateway, Origin, Step, chunk, chunked_head, json as answer, ok,
};

const ASK: &str = r#"{"model":"m","max_tokens":9,"messages":[]}"#;

/// Answers as it is asked for by `user`.
fn origin() -> Origin {
    Origin::start(|request| {
        let text = request.text();
        if text.contains("\"stream\":true") {
            return vec![
                chunked_head("text/event-stream"),
                chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n"),
                chunk(b""),
            ];
        }
        if text.contains("\"fails\"") {
            let head = "HTTP/1.1 400 No\r\nx-request-id: theirs\r\nrequest-id: theirs\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
            return vec![Step::Send(head.as_bytes().to_vec())];
        }
        answer(&json!({"id": "x"}))
    })
}

fn assert_named(name: &str, answer: &Answer, is_anthropic: bool) {
    let id = answer.field("x-request-id").unwrap_or_default();
    assert!(id.starts_with("req_") && id.len() > 20, "{name}: {id}");
    let own = answer.field("request-id");
    assert_eq!(own, is_anthropic.then_some(id), "{name}");
    let others = answer
        .fields
        .iter()
        .filter(|(field, _)| field.starts_with("x-tollkeep-"));
    let others: Vec<&str> = others.map(|(field, _)| field.as_str()).collect();
    let known = ["x-tollkeep-error", "x-tollkeep-token-count"];
    assert!(
        others.iter().all(|field| known.contains(field)),
        "{name}: nothing of cost or routing is told unasked: {others:?}"
    );
}

// LLM-5
#[test]
fn every_answer_names_its_request_and_tells_nothing_unasked() {
    let origin = origin();
    for provider in ["openai", "anthropic"] {
        let (gateway, token) = llm(&origin, provider, "");
        let surfaces: &[&str] = match provider {
            "openai" => &[
                "/v1/chat/completions",
                "/v1/responses",
                "/v1/embeddings",
                "/v1/completions",
            ],
            _ => &["/v1/messages", "/v1/messages/count_tokens"],
        };
        let is_anthropic = provider == "anthropic";
        for path in surfaces {
            let call = |token: &str, body: &str| gateway.call(&llm_call(path, token, body));
            let stream = ASK.replace('}', r#","stream":true}"#);
            for (name, token, body, status) in [
                ("an answer", &*token, ASK, 200),
                ("a stream", &*token, &stream, 200),
                (
                    "an error of theirs",
                    &*token,
                    &ASK.replace('}', r#","user":"fails"}"#),
                    400,
                ),
                ("no JSON", &*token, "{", 400),
                ("a stranger", "tok-nobody", ASK, 401),
            ] {
                let answer = call(token, body);
                assert_eq!(answer.status, status, "{path} {name}: {}", answer.text());
                assert_named(&format!("{path} {name}"), &answer, is_anthropic);
            }
            let other = gateway.call(&get(path, &bearer(&token)));
            assert_eq!(other.status, 405, "{path}");
            assert_named(&format!("{path} by GET"), &other, is_anthropic);
        }
        for (path, is_anthropic) in [
            ("/v1/models", false),
            ("/v1/models/none", false),
            ("/anthropic/v1/models", true),
            ("/anthropic/v1/models/none", true),
            ("/anthropic/none", true),
            ("/v1/none", false),
        ] {
            let answer = gateway.call(&get(path, &bearer(&token)));
            assert_named(path, &answer, is_anthropic);
        }
    }
}

/// The status of each surface, and of two plain paths.
fn served(gateway: &Gateway, token: &str) -> Vec<(&'static str, u16)> {
    let posts = [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
    ];
    let posts = posts.map(|path| (path, gateway.call(&llm_call(path, token, ASK)).status));
    let gets = ["/v1/models", "/anthropic/v1/models", "/v1/none"];
    let gets = gets.map(|path| (path, gateway.call(&get(path, &bearer(token))).status));
    posts.into_iter().chain(gets).collect()
}

// LLM-2
#[test]
fn a_file_with_one_provider_serves_what_that_provider_can() {
    let origin = origin();
    let chats = [200, 200, 200];
    for (provider, config, want) in [
        ("openai", "", [200, 404, 200]),
        ("groq", "", [404, 404, 200]),
        ("openai", "llm: { surfaces: none }\n", [404, 404, 404]),
        (
            "openai",
            "llm: { surfaces: [responses] }\n",
            [200, 404, 404],
        ),
    ] {
        let (gateway, token) = llm(&origin, provider, config);
        let [responses, messages, models] = want;
        let chat = if config.is_empty() { chats } else { [404; 3] };
        let found = served(&gateway, &token);
        let statuses: Vec<u16> = found.iter().map(|(_, status)| *status).collect();
        assert_eq!(statuses[..3], chat, "{provider} {config}: {found:?}");
        assert_eq!(
            statuses[3..5],
            [responses, messages],
            "{provider} {config}: {found:?}"
        );
        assert_eq!(statuses[6], models, "{provider} {config}: {found:?}");
        assert_eq!(statuses[8], 404, "{provider} {config}: {found:?}");
        // All of them want a token.
        let stranger = served(&gateway, "tok-nobody");
        for ((path, status), (_, of_token)) in stranger.iter().zip(&found) {
            let want = if *of_token == 200 { 401 } else { *status };
            assert_eq!(*status, want, "{provider} {config}: {path}");
        }
    }
}

// LLM-2
#[test]
fn a_written_route_replaces_the_one_that_is_built_in() {
    let origin = Origin::start(|request| ok(request.target.as_bytes()));
    let url = origin.url();
    let config = format!(
        "providers:\n  openai: {{ base_url: \"{url}/v1\", allow_private: [\"127.0.0.1/32\"], credentials: [{{ secret: none }}] }}\n\
         upstreams:\n  own: {{ url: \"{url}/own\", allow_private: [\"127.0.0.1/32\"] }}\n\
         routes:\n  \"POST /v1/chat/completions\": {{ upstream: own, access: free, rate_limit: {{ requests: 100, window: 1s }} }}\n"
    );
    let gateway = gateway(config).start();
    let answer = gateway.call(&llm_call("/v1/chat/completions", "", ASK));
    assert_eq!(answer.text(), "/own/v1/chat/completions");
    assert_eq!(
        gateway.call(&llm_call("/v1/responses", "", ASK)).status,
        401
    );
}

/// The most memory that a process ever had.
fn peak_kib(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// LLM-31
#[test]
fn a_call_takes_no_more_memory_than_its_body() {
    const BODY: usize = 16 * 1024 * 1024;
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let mut steps = answer(&json!({"bytes": request.body.len()}));
        if request.body.len() > 1000 {
            steps.insert(0, Step::Wait(held.clone()));
        }
        steps
    });
    let (gateway, token) = llm(&origin, "openai", "");
    // What is made once is made.
    for _ in 0..3 {
        assert_eq!(gateway.call(&chat(&token, ASK)).status, 200);
    }
    let before = resident_kib(&gateway);
    let start = r#"{"model":"m","messages":[{"role":"user","content":""#;
    let body = format!("{start}{}\"}}]}}", "é".repeat((BODY - start.len() - 4) / 2));
    gate.open();
    let answered = gateway.call(&chat(&token, &body));
    assert_eq!(answered.json()["bytes"], body.len(), "{}", answered.text());
    let more = peak_kib(&gateway).saturating_sub(before);
    // Threads of the process that have nothing to do with it may take some pages meanwhile.
    let most = u64::try_from(body.len()).unwrap() / 1024 + 64 + 1024;
    assert!(
        more <= most,
        "{more} KiB for a body of {} KiB",
        body.len() / 1024
    );
    assert!(more > most / 2, "it was in memory: {more} KiB");
}
