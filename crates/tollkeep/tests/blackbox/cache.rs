//! Answers of models that are kept and given again to the very same call.

use crate::budgets::{api, id, made, named};
use crate::fixture::{chat, llm, llm_call, post};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{
    Answer, Gate, Gateway, Origin, Request, Step, chunk, chunked_head, eventually, json as answer,
    with_fields,
};

pub(crate) const ON: &str = "cache: { enabled: true }\n";
const COLD: &str =
    r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"temperature":0}"#;

/// A whole answer whose text is how often somebody was asked.
fn told(number: usize) -> Value {
    json!({
        "id": format!("c-{number}"), "object": "chat.completion", "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": format!("answer {number}")},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
    })
}

/// Answers each call with another text.
pub(crate) fn counting() -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |_| answer(&told(count.fetch_add(1, Ordering::Relaxed) + 1)))
}

pub(crate) fn status(answer: &Answer) -> &str {
    answer.field("cache-status").unwrap_or("-")
}

fn with(token: &str, lines: &str, body: &str) -> Vec<u8> {
    let lines =
        format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{lines}");
    post("/v1/chat/completions", &lines, body.as_bytes())
}

fn token_of(gateway: &Gateway, project: &str) -> String {
    gateway.mint_token(&json!({ "project": project }))
}

// LLM-80 LLM-82 LLM-86 LED-56
#[test]
fn the_same_call_is_answered_again_without_its_upstream_and_costs_nothing() {
    let origin = counting();
    let (gateway, token) = llm(&origin, "openai", ON);
    let first = gateway.call(&chat(&token, COLD));
    assert_eq!(
        (first.status, status(&first)),
        (200, "tollkeep; fwd=miss; stored")
    );
    assert_eq!(first.field("age"), None);
    // The same in another spelling.
    let other = r#"{ "temperature" : 0, "messages":[{"content":"\u0068i","role":"user"}], "model":"gpt-4o" }"#;
    for body in [COLD, other] {
        let again = gateway.call(&chat(&token, body));
        assert_eq!(again.status, 200);
        assert_eq!(again.body, first.body);
        assert!(
            status(&again).starts_with("tollkeep; hit; ttl=2"),
            "{}",
            status(&again)
        );
        assert!(again.field("age").is_some());
        assert_eq!(again.field("content-type"), first.field("content-type"));
        assert_ne!(again.field("x-request-id"), first.field("x-request-id"));
        assert_eq!(again.field("x-proxy-cache"), None);
    }
    assert_eq!(origin.count(), 1);
    let mut lines = eventually("usage lines", || {
        Some(gateway.usage_lines()).filter(|lines| lines.len() == 3)
    });
    // Each worker writes its own.
    lines.sort_by_key(|line| line["from_cache"] == true);
    assert_eq!(lines[0]["from_cache"], Value::Null, "{}", lines[0]);
    assert_eq!(lines[0]["cost_nano_usd"], 2_600_000, "{}", lines[0]);
    for line in &lines[1..] {
        assert_eq!(line["from_cache"], true, "{line}");
        assert_eq!(line["cost_nano_usd"], 0, "{line}");
        assert_eq!(line["model_served"], "gpt-4o", "{line}");
    }
    let events = eventually("events", || {
        let lines = gateway.audit_lines().into_iter();
        let calls: Vec<_> = lines
            .filter(|line| line["action"] == "proxy_request")
            .collect();
        Some(calls).filter(|calls| calls.len() == 3)
    });
    for event in events {
        assert_eq!(event["details"]["status_code"], 200, "{event}");
    }
    let metrics = gateway.metrics_text();
    for want in [
        r#"tollkeep_cache_requests_total{result="hit"} 2"#,
        r#"tollkeep_cache_requests_total{result="miss"} 1"#,
        "tollkeep_cache_stored_total 1",
        "tollkeep_cache_entries 1",
    ] {
        assert!(metrics.contains(want), "{want}: {metrics}");
    }
}

// LLM-80
#[test]
fn nothing_is_kept_where_nobody_asked_for_it() {
    let origin = counting();
    let (gateway, token) = llm(&origin, "openai", "");
    for number in 1..3 {
        let got = gateway.call(&with(&token, "Cache-Control: max-age=60, public\r\n", COLD));
        assert_eq!((got.status, status(&got)), (200, "-"));
        assert_eq!(origin.count(), number);
    }
    // Nor is a caller's wish to have nothing else a reason to refuse it.
    let only = gateway.call(&with(&token, "Cache-Control: only-if-cached\r\n", COLD));
    assert_eq!(only.status, 200);
}

// LLM-83
#[test]
fn only_calls_that_ask_for_the_same_answer_are_answered_so() {
    let origin = counting();
    let (gateway, token) = llm(&origin, "openai", ON);
    let warm = COLD.replace(r#""temperature":0"#, r#""temperature":1"#);
    let seeded = COLD.replace(r#""temperature":0"#, r#""seed":7"#);
    let silent = COLD.replace(r#","temperature":0"#, "");
    let streamed = COLD.replace(r#""temperature":0"#, r#""temperature":0,"stream":true"#);
    for (name, body, is_kept) in [
        ("warm", &warm, false),
        ("nothing said", &silent, false),
        ("a stream", &streamed, false),
        ("a seed", &seeded, true),
    ] {
        let before = origin.count();
        let answers = [(); 2].map(|()| gateway.call(&chat(&token, body)));
        let asked = origin.count() - before;
        assert_eq!(asked, if is_kept { 1 } else { 2 }, "{name}");
        let says = status(&answers[1]).contains("hit");
        assert_eq!(says, is_kept, "{name}");
    }
    let all = "cache: { enabled: true, only_deterministic: false }\n";
    let (gateway, token) = llm(&origin, "openai", all);
    let before = origin.count();
    for _ in 0..2 {
        gateway.call(&chat(&token, &warm));
    }
    assert_eq!(origin.count() - before, 1);
}

/// What an upstream may answer that nobody else may have.
fn odd(request: &Request) -> Vec<Step> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let good = told(1).to_string();
    match body["user"].as_str().unwrap_or_default() {
        "error" => vec![Step::Send(
            b"HTTP/1.1 500 No\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        )],
        "inside" => answer(&json!({"error": {"message": "x"}, "choices": [{"finish_reason": "stop"}]})),
        "unended" => answer(&json!({"choices": [{"finish_reason": null}]})),
        "tools" => answer(&json!({"choices": [{"finish_reason": "tool_calls", "message": {
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]})),
        "cookie" => with_fields("content-type: application/json\r\nset-cookie: a=b\r\n", good.as_bytes()),
        "vary" => with_fields("content-type: application/json\r\nvary: *\r\n", good.as_bytes()),
        "long" => answer(&json!({"choices": [{"finish_reason": "stop", "message": {"content": "x".repeat(3_000)}}]})),
        "until close" => vec![
            Step::Send(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{good}").into_bytes()),
            Step::Close,
        ],
        "private" => with_fields("content-type: application/json\r\ncache-control: private, no-store\r\n", good.as_bytes()),
        _ => answer(&told(1)),
    }
}

// LLM-83 LLM-D21
#[test]
fn what_is_no_whole_answer_for_everybody_is_never_kept() {
    let origin = Origin::start(odd);
    let small = "cache: { enabled: true, max_object_bytes: 2KiB }\n";
    let (gateway, token) = llm(&origin, "openai", small);
    for (name, is_kept) in [
        ("error", false),
        ("inside", false),
        ("unended", false),
        ("tools", false),
        ("cookie", false),
        ("vary", false),
        ("long", false),
        ("until close", false),
        // Providers say so of everything.
        ("private", true),
        ("good", true),
    ] {
        let user = format!(r#""temperature":0,"user":"{name}""#);
        let body = COLD.replace(r#""temperature":0"#, &user);
        let before = origin.count();
        let first = gateway.call(&chat(&token, &body));
        let asked = origin.count() - before;
        assert_eq!(
            status(&first).contains("stored"),
            is_kept,
            "{name}: {}",
            status(&first)
        );
        let again = gateway.call(&chat(&token, &body));
        let asked_again = origin.count() - before - asked;
        assert_eq!(asked_again == 0, is_kept, "{name}");
        assert_eq!(status(&again).contains("hit"), is_kept, "{name}");
    }
}

// LLM-83
#[test]
fn answers_that_call_tools_are_kept_where_the_settings_say_so() {
    let origin = Origin::start(odd);
    let config = "cache: { enabled: true, tools: true, ignore_upstream_directives: false }\n";
    let (gateway, token) = llm(&origin, "openai", config);
    for (name, is_kept) in [("tools", true), ("private", false)] {
        let user = format!(r#""temperature":0,"user":"{name}""#);
        let body = COLD.replace(r#""temperature":0"#, &user);
        gateway.call(&chat(&token, &body));
        let again = gateway.call(&chat(&token, &body));
        assert_eq!(status(&again).contains("hit"), is_kept, "{name}");
    }
}

// LLM-86
#[test]
fn a_caller_may_refresh_bypass_or_want_nothing_else() {
    let origin = counting();
    let compat = format!("{ON}compat: {{ llm_proxy_headers: true }}\n");
    let (gateway, token) = llm(&origin, "openai", &compat);
    let say = |lines: &str| gateway.call(&with(&token, lines, COLD));
    let missed = say("Cache-Control: only-if-cached\r\n");
    assert_eq!((missed.status, missed.code().as_str()), (504, "not_cached"));
    assert_eq!(origin.count(), 0);
    for (lines, word, proxy, count, text) in [
        ("", "tollkeep; fwd=miss; stored", "miss", 1, "answer 1"),
        ("", "tollkeep; hit", "hit", 1, "answer 1"),
        (
            "Cache-Control: no-store\r\n",
            "tollkeep; fwd=bypass",
            "miss",
            2,
            "answer 2",
        ),
        ("", "tollkeep; hit", "hit", 2, "answer 1"),
        (
            "cache-control: No-Cache\r\n",
            "tollkeep; fwd=request; stored",
            "miss",
            3,
            "answer 3",
        ),
        ("", "tollkeep; hit", "hit", 3, "answer 3"),
        (
            "Pragma: no-cache\r\n",
            "tollkeep; fwd=request; stored",
            "miss",
            4,
            "answer 4",
        ),
        (
            "Cache-Control: max-age=0\r\n",
            "tollkeep; fwd=request; stored",
            "miss",
            5,
            "answer 5",
        ),
        (
            "Cache-Control: only-if-cached\r\n",
            "tollkeep; hit",
            "hit",
            5,
            "answer 5",
        ),
        (
            "Cache-Control: max-age=3600\r\n",
            "tollkeep; hit",
            "hit",
            5,
            "answer 5",
        ),
    ] {
        let got = say(lines);
        assert_eq!(got.status, 200, "{lines}");
        assert!(status(&got).starts_with(word), "{lines}: {}", status(&got));
        assert_eq!(got.field("x-proxy-cache"), Some(proxy), "{lines}");
        assert_eq!(origin.count(), count, "{lines}");
        assert!(got.text().contains(text), "{lines}: {}", got.text());
    }
    for lines in ["no-cache", "no-store", "max-age=0"] {
        let both = say(&format!("Cache-Control: only-if-cached, {lines}\r\n"));
        assert_eq!(both.status, 504, "{lines}");
    }
    assert_eq!(origin.count(), 5);
}

// LLM-81
#[test]
fn nobody_is_given_what_was_made_for_somebody_else() {
    let origin = counting();
    let project = "cache: { enabled: true, scope: project }\n";
    for (config, same_project) in [(ON, false), (project, true)] {
        let (gateway, token) = llm(&origin, "openai", config);
        let (created, other) =
            gateway.api("POST", "/api/v1/projects", Some(&json!({"name": "other"})));
        assert_eq!(created, 201, "{other}");
        let tokens = [token_of(&gateway, "default"), token_of(&gateway, "other")];
        let before = origin.count();
        gateway.call(&chat(&token, COLD));
        let mine = gateway.call(&chat(&tokens[0], COLD));
        assert_eq!(status(&mine).contains("hit"), same_project);
        let foreign = gateway.call(&chat(&tokens[1], COLD));
        assert_eq!(status(&foreign), "tollkeep; fwd=miss; stored");
        assert_eq!(origin.count() - before, if same_project { 2 } else { 3 });
    }
    let tenant = "cache: { enabled: true, scope: tenant }\n";
    let (gateway, token) = llm(&origin, "openai", tenant);
    gateway.api("POST", "/api/v1/projects", Some(&json!({"name": "other"})));
    let other = token_of(&gateway, "other");
    gateway.call(&chat(&token, COLD));
    assert!(status(&gateway.call(&chat(&other, COLD))).contains("hit"));
}

// LLM-81
#[test]
fn calls_that_differ_in_anything_the_provider_sees_are_not_the_same() {
    let origin = counting();
    let (gateway, token) = llm(&origin, "openai", ON);
    gateway.call(&chat(&token, COLD));
    for (name, lines, body) in [
        ("text", "", COLD.replace("hi", "hello")),
        ("model", "", COLD.replace("gpt-4o", "gpt-4o-mini")),
        (
            "user",
            "",
            COLD.replace(r#""temperature":0"#, r#""temperature":0,"user":"u""#),
        ),
        (
            "metadata",
            "",
            COLD.replace(
                r#""temperature":0"#,
                r#""temperature":0,"metadata":{"a":"b"}"#,
            ),
        ),
        ("beta", "OpenAI-Beta: x\r\n", COLD.to_owned()),
        ("accept", "Accept: text/plain\r\n", COLD.to_owned()),
    ] {
        let before = origin.count();
        let got = gateway.call(&with(&token, lines, &body));
        assert_eq!(status(&got), "tollkeep; fwd=miss; stored", "{name}");
        assert_eq!(origin.count(), before + 1, "{name}");
    }
    // What it does not see decides nothing: neither do hashes that callers send.
    for lines in [
        "X-Cache-Key: x\r\n",
        "User-Agent: other\r\n",
        "X-Request-Id: other\r\n",
    ] {
        assert!(
            status(&gateway.call(&with(&token, lines, COLD))).contains("hit"),
            "{lines}"
        );
    }
}

// LLM-82 LLM-88
#[test]
fn a_call_that_is_refused_is_refused_whatever_is_kept() {
    let origin = counting();
    let project = "cache: { enabled: true, scope: project }\n";
    let (gateway, token) = llm(&origin, "openai", project);
    let (_, minted) = gateway.api(
        "POST",
        "/api/v1/tokens",
        Some(&json!({"project": "default", "max_requests": 2})),
    );
    let few = minted["token"].as_str().unwrap();
    let bound =
        gateway.mint_token(&json!({"project": "default", "bindings": {"models": ["other-*"]}}));
    assert_eq!(gateway.call(&chat(&token, COLD)).status, 200);
    assert_eq!(gateway.call(&chat(&bound, COLD)).status, 404);
    for _ in 0..2 {
        assert!(status(&gateway.call(&chat(few, COLD))).contains("hit"));
    }
    // Hits count.
    assert_eq!(gateway.call(&chat(few, COLD)).status, 429);
    let id = minted["id"].as_str().unwrap();
    let (revoked, _) = gateway.api(
        "POST",
        &format!("/api/v1/tokens/{id}/revoke"),
        Some(&json!({})),
    );
    assert_eq!(revoked, 200);
    assert_eq!(gateway.call(&chat(few, COLD)).status, 401);
    // And what was decided before is decided anew.
    assert_eq!(
        status(&gateway.call(&chat(&token, COLD))),
        "tollkeep; fwd=miss; stored"
    );
    assert!(status(&gateway.call(&chat(&token, COLD))).contains("hit"));
    let (changed, project) = gateway.api(
        "PATCH",
        "/api/v1/projects/default",
        Some(&json!({"policy": {"denied_models": ["gpt-4o"]}})),
    );
    assert_eq!(changed, 200, "{project}");
    assert_eq!(gateway.call(&chat(&token, COLD)).status, 404);
    gateway.api(
        "PATCH",
        "/api/v1/projects/default",
        Some(&json!({"is_active": false})),
    );
    assert_eq!(gateway.call(&chat(&token, COLD)).status, 403);
}

// LED-56 LLM-82
#[test]
fn a_hit_counts_as_a_request_and_costs_what_the_settings_say() {
    let origin = counting();
    for (config, cost) in [
        (ON, 0),
        ("cache: { enabled: true, hit_price: full }\n", 2_600_000),
    ] {
        let (gateway, token) = llm(&origin, "openai", config);
        made(
            &gateway,
            &json!({"name": "dollars", "scope": {"project": "default"}, "limit": "$1", "window": "month"}),
        );
        made(
            &gateway,
            &json!({"name": "requests", "scope": {"project": "default"}, "unit": "requests", "limit": 3, "window": "month"}),
        );
        for _ in 0..3 {
            assert_eq!(gateway.call(&chat(&token, COLD)).status, 200);
        }
        let no = gateway.call(&chat(&token, COLD));
        assert_eq!((no.status, no.code().as_str()), (402, "budget_exhausted"));
        eventually("spent", || {
            let spent = |name: &str| {
                let path = format!("/{}/windows", id(&named(&gateway, name)));
                api(&gateway, "GET", &path, &Value::Null).1[0]["spent"].as_i64()
            };
            let now = (spent("dollars"), spent("requests"));
            (now == (Some(2_600_000 + 2 * cost), Some(3))).then_some(())
        });
        let records = eventually("records", || {
            let (_, page) = gateway.api("GET", "/api/v1/usage/records?limit=10", None);
            let rows = page["data"].as_array()?.clone();
            (rows.len() == 3).then_some(rows)
        });
        let hits: Vec<_> = records
            .iter()
            .filter(|row| row["from_cache"] == true)
            .collect();
        assert_eq!(hits.len(), 2, "{records:?}");
        for hit in hits {
            assert_eq!(hit["cost_nano_usd"], cost, "{hit}");
            assert_eq!(hit["upstream_cost_nano_usd"], 0, "{hit}");
        }
    }
}

/// So many wait for another one's answer.
fn waiting(gateway: &Gateway, count: usize) {
    let line = format!("tollkeep_cache_waiting {count}\n");
    eventually(&line, || {
        gateway.metrics_text().contains(&line).then_some(())
    });
}

// LLM-85
#[test]
fn those_who_ask_for_the_same_at_once_wait_for_the_first() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = vec![Step::Wait(opened.clone())];
        steps.extend(answer(&told(1)));
        steps
    });
    let (gateway, token) = llm(&origin, "openai", ON);
    let gateway = Arc::new(gateway);
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let (gateway, call) = (Arc::clone(&gateway), chat(&token, COLD));
            thread::spawn(move || gateway.call(&call))
        })
        .collect();
    waiting(&gateway, 5);
    gate.open();
    let answers: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    assert_eq!(origin.count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == 200 && answer.body == answers[0].body)
    );
    let words: Vec<_> = answers.iter().map(status).collect();
    let count = |word: &str| words.iter().filter(|it| it.contains(word)).count();
    assert_eq!(count("stored"), 1, "{words:?}");
    assert_eq!(count("fwd=miss; collapsed"), 5, "{words:?}");
    let lines = eventually("usage lines", || {
        Some(gateway.usage_lines()).filter(|lines| lines.len() == 6)
    });
    let hits = lines.iter().filter(|line| line["from_cache"] == true);
    assert_eq!(hits.count(), 5);
}

// LLM-85
#[test]
fn a_first_one_that_fails_lets_the_others_go_by_themselves() {
    let gate = Gate::default();
    let (opened, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| {
        let mut steps = vec![Step::Wait(opened.clone())];
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            let failed = json!({"choices": [{"finish_reason": null}]});
            steps.extend(answer(&failed));
        } else {
            steps.extend(answer(&told(2)));
        }
        steps
    });
    let (gateway, token) = llm(&origin, "openai", ON);
    let gateway = Arc::new(gateway);
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, call) = (Arc::clone(&gateway), chat(&token, COLD));
            thread::spawn(move || gateway.call(&call))
        })
        .collect();
    waiting(&gateway, 3);
    gate.open();
    let answers: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    let whole = answers
        .iter()
        .filter(|answer| answer.text().contains("answer 2"));
    assert_eq!(whole.count(), 3);
    assert!(origin.count() > 1);
}

/// A stream whose text is how often somebody was asked, with its usage.
fn streaming(breaks: bool) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let event = |json: Value| chunk(format!("data: {json}\n\n").as_bytes());
        let mut steps = vec![
            chunked_head("text/event-stream"),
            event(
                json!({"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": format!("answer {number}")}}]}),
            ),
        ];
        if breaks {
            steps.push(Step::Close);
            return steps;
        }
        steps.extend([
            event(json!({"model": "gpt-4o", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
            event(json!({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 10}})),
            chunk(b"data: [DONE]\n\n"),
            chunk(b""),
        ]);
        steps
    })
}

// LLM-84
#[test]
fn a_stream_is_given_again_as_a_stream_where_the_settings_say_so() {
    let streams = "cache: { enabled: true, streams: true }\n";
    let streamed = COLD.replace(
        r#""temperature":0"#,
        r#""temperature":0,"stream":true,"stream_options":{"include_usage":true}"#,
    );
    let origin = streaming(false);
    let (gateway, token) = llm(&origin, "openai", streams);
    let first = gateway.call(&chat(&token, &streamed));
    assert_eq!(status(&first), "tollkeep; fwd=miss");
    let again = gateway.call(&chat(&token, &streamed));
    assert!(status(&again).contains("hit"), "{}", status(&again));
    assert_eq!(again.body, first.body);
    assert_eq!(again.field("content-type"), first.field("content-type"));
    assert!(again.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(origin.count(), 1);
    // One that was cut is never kept.
    let origin = streaming(true);
    let (gateway, token) = llm(&origin, "openai", streams);
    for number in 1..3 {
        gateway.call(&chat(&token, &streamed));
        assert_eq!(origin.count(), number);
    }
}

// LLM-83
#[test]
fn sealed_answers_are_kept_for_the_token_alone() {
    let body = r#"{"model":"claude-sonnet-4-5","max_tokens":10,"temperature":0,"messages":[{"role":"user","content":"hi"}]}"#;
    let origin = Origin::start(|_| {
        answer(&json!({
            "type": "message", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
            "content": [{"type": "thinking", "thinking": "x", "signature": "c2ln"}],
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }))
    });
    for (config, is_kept) in [
        (ON, true),
        ("cache: { enabled: true, scope: project }\n", false),
    ] {
        let (gateway, token) = llm(&origin, "anthropic", config);
        let call = llm_call("/v1/messages", &token, body);
        assert_eq!(gateway.call(&call).status, 200);
        assert_eq!(
            status(&gateway.call(&call)).contains("hit"),
            is_kept,
            "{config}"
        );
    }
}
