//! Streams whose head waits for their first content: what fails before it is asked for elsewhere, or
//! told with a status.

use crate::credentials::{ONE, TWO, add, bare};
use crate::fixture::{llm, llm_call};
use crate::held::{PRICES, answer, body, budget, settled};
use serde_json::{Value, json};
use tollkeep_testkit::{
    BodyEnd, Gate, Gateway, Origin, PATIENCE, Request, Step, chunk, chunked_head, eventually,
};

const ASK: &str = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true}"#;
const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
const SAYS: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
const ENDS: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const OVERLOADED: &str =
    "data: {\"error\":{\"message\":\"Busy in eu-7\",\"type\":\"server_error\",\"code\":503}}\n\n";

/// A stream of these pieces, each a chunk.
fn stream(pieces: &[&str]) -> Vec<Step> {
    let chunks = pieces.iter().map(|piece| chunk(piece.as_bytes()));
    let head = [chunked_head("text/event-stream")];
    head.into_iter().chain(chunks).chain([chunk(b"")]).collect()
}

fn shows(request: &Request, secret: &str) -> bool {
    let field = request.field("authorization").unwrap_or_default();
    field.ends_with(secret)
}

/// A gateway with two credentials, of which the first gets `first` and the second a clean stream.
fn two(first: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> (Origin, Gateway, String) {
    let origin = Origin::start(move |request| {
        if shows(request, ONE) {
            first()
        } else {
            stream(&[ROLE, SAYS, ENDS])
        }
    });
    let gateway = bare(&origin, "");
    add(&gateway, ONE, &json!({ "priority": 1 }));
    add(&gateway, TWO, &json!({}));
    let token = gateway.mint_token(&json!({}));
    (origin, gateway, token)
}

fn ask(gateway: &Gateway, token: &str) -> tollkeep_testkit::Answer {
    gateway.call(&llm_call("/v1/chat/completions", token, ASK))
}

// LLM-50 LLM-R40
#[test]
fn a_stream_that_fails_at_once_is_asked_for_with_another_credential() {
    type First = Box<dyn Fn() -> Vec<Step> + Send + Sync>;
    let firsts: [(&str, First); 6] = [
        ("an event", Box::new(|| stream(&[OVERLOADED]))),
        ("after a greeting", Box::new(|| stream(&[ROLE, OVERLOADED]))),
        (
            "within a greeting's piece",
            Box::new(|| stream(&[": hm\n\n", &format!("{ROLE}{OVERLOADED}{SAYS}")])),
        ),
        ("nothing", Box::new(|| stream(&[]))),
        (
            "broken off",
            Box::new(|| {
                let head = chunked_head("text/event-stream");
                vec![head, chunk(ROLE.as_bytes()), Step::Close]
            }),
        ),
        (
            "garbled",
            Box::new(|| {
                let head = chunked_head("text/event-stream");
                vec![head, chunk(ROLE.as_bytes()), Step::Send(b"zz\r\n".to_vec())]
            }),
        ),
    ];
    for (name, first) in firsts {
        let (origin, gateway, token) = two(first);
        let answer = ask(&gateway, &token);
        assert_eq!(
            (answer.status, answer.end),
            (200, BodyEnd::Whole),
            "{name}: {}",
            answer.text()
        );
        assert_eq!(answer.text(), format!("{ROLE}{SAYS}{ENDS}"), "{name}");
        assert_eq!(origin.count(), 2, "{name}");
        let line = eventually("the access line", || gateway.access_lines().pop());
        assert_eq!(line["outcome"], "served", "{name}: {line}");
    }
}

// LLM-50
#[test]
fn after_the_first_content_nobody_else_is_asked() {
    let (origin, gateway, token) = two(|| stream(&[ROLE, SAYS, OVERLOADED]));
    let answer = ask(&gateway, &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), format!("{ROLE}{SAYS}{OVERLOADED}"));
    assert_eq!(origin.count(), 1);
}

// LLM-50 LLM-60
#[test]
fn where_nobody_else_can_be_asked_the_caller_is_told_with_a_status() {
    let invalid = r#"data: {"error":{"message":"too odd","type":"invalid_request_error","param":"messages","code":"odd"}}"#;
    let anthropic =
        r#"data: {"type":"error","error":{"type":"overloaded_error","message":"Busy in eu-7"}}"#;
    let start = r#"data: {"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#;
    let failed = r#"data: {"type":"response.failed","response":{"error":{"code":"server_error","message":"in eu-7"}}}"#;
    for (name, provider, path, events, want) in [
        (
            "overload",
            "openai",
            "/v1/chat/completions",
            format!("{ROLE}{OVERLOADED}"),
            (503, "overloaded", false),
        ),
        (
            "the call",
            "openai",
            "/v1/chat/completions",
            format!("{ROLE}{invalid}\n\n"),
            (400, "odd", true),
        ),
        (
            "no word",
            "openai",
            "/v1/chat/completions",
            ROLE.to_owned(),
            (502, "upstream_interrupted", false),
        ),
        (
            "messages",
            "anthropic",
            "/v1/messages",
            format!("{start}\n\n{anthropic}\n\n"),
            (529, "", false),
        ),
        (
            "responses",
            "openai",
            "/v1/responses",
            format!("{failed}\n\n"),
            (502, "upstream_error", false),
        ),
    ] {
        let origin = Origin::start(move |_| stream(&[&events]));
        let (gateway, token) = llm(&origin, provider, "");
        let answer = gateway.call(&llm_call(path, &token, ASK));
        assert_eq!(answer.status, want.0, "{name}: {}", answer.text());
        assert_eq!(
            answer.field("content-type"),
            Some("application/json"),
            "{name}"
        );
        assert!(!answer.text().contains("eu-7"), "{name}: {}", answer.text());
        let error = &answer.json()["error"];
        assert_eq!(
            error["code"].as_str().unwrap_or_default(),
            want.1,
            "{name}: {error}"
        );
        assert_eq!(error["message"] == "too odd", want.2, "{name}: {error}");
        if want.2 {
            assert_eq!(error["param"], "messages", "{error}");
        }
        assert_eq!(
            answer.json()["type"] == "error",
            provider == "anthropic",
            "{name}"
        );
        assert_eq!(origin.count(), 1, "{name}");
    }
}

// LLM-50 LLM-51
#[test]
fn greetings_wait_and_go_out_with_the_first_content_as_it_comes() {
    let thinks = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"Hm\"}}]}\n\n";
    let steps = vec![
        chunked_head("text/event-stream"),
        chunk(ROLE.as_bytes()),
        chunk(thinks.as_bytes()),
        Step::Hang,
    ];
    let origin = Origin::start(move |_| steps.clone());
    let (gateway, token) = llm(&origin, "openai", "");
    let mut client = gateway.connect();
    client.send(&llm_call("/v1/chat/completions", &token, ASK));
    let mut answer = client.head(PATIENCE).unwrap();
    let mut got = Vec::new();
    while got.len() < ROLE.len() + thinks.len() {
        got.extend(client.piece(&mut answer).unwrap());
    }
    assert_eq!(String::from_utf8(got).unwrap(), format!("{ROLE}{thinks}"));
}

// LLM-50
#[test]
fn a_head_waits_no_longer_and_for_no_more_than_its_bounds() {
    let gate = Gate::default();
    let (held, many) = (gate.clone(), ROLE.repeat(64 * 1024 / ROLE.len() + 1));
    let origin = Origin::start(move |request| {
        let greeting = if request.text().contains("many") {
            many.clone()
        } else {
            ROLE.to_owned()
        };
        vec![
            chunked_head("text/event-stream"),
            chunk(greeting.as_bytes()),
            Step::Wait(held.clone()),
            chunk(OVERLOADED.as_bytes()),
            chunk(b""),
        ]
    });
    // The gate opens once the head is there: it did not wait for what comes behind.
    for (name, hold, user) in [
        ("time", 300, "few"),
        ("size", 60_000, "many"),
        ("none", 0, "few"),
    ] {
        gate.close();
        let config = format!("llm: {{ stream: {{ head_hold_ms: {hold} }} }}\n");
        let (gateway, token) = llm(&origin, "openai", &config);
        let before = origin.count();
        let mut client = gateway.connect();
        let ask = ASK.replace('}', &format!(r#","user":"{user}"}}"#));
        client.send(&llm_call("/v1/chat/completions", &token, &ask));
        let mut answer = client.head(PATIENCE).unwrap();
        assert_eq!(answer.status, 200, "{name}");
        let mut got = client.piece(&mut answer).unwrap();
        gate.open();
        while let Some(piece) = client.piece(&mut answer) {
            got.extend(piece);
        }
        let text = String::from_utf8(got).unwrap();
        assert!(
            text.starts_with(ROLE) && text.ends_with(OVERLOADED),
            "{name}: {text}"
        );
        assert_eq!(origin.count(), before + 1, "{name}: nobody else is asked");
    }
}

// LLM-50
#[test]
fn a_caller_that_hangs_up_while_the_head_waits_ends_its_call() {
    let steps = vec![
        chunked_head("text/event-stream"),
        chunk(ROLE.as_bytes()),
        Step::Hang,
    ];
    let origin = Origin::start(move |_| steps.clone());
    let (gateway, token) = llm(&origin, "openai", "");
    let mut client = gateway.connect();
    client.send(&llm_call("/v1/chat/completions", &token, ASK));
    origin.wait_for(1);
    drop(client);
    eventually("the upstream call cancelled", || origin.left().pop());
    let line = eventually("the access line", || gateway.access_lines().pop());
    assert_eq!(line["outcome"], "caller_gone", "{line}");
}

// LLM-50 LED-54
#[test]
fn what_a_stream_that_failed_at_once_was_billed_is_charged_once() {
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":11,\"total_tokens\":20},\"error\":{\"message\":\"m\",\"code\":503}}\n\n";
    for (name, event, spent) in [("billed", usage, 20 + 39), ("free", OVERLOADED, 39)] {
        let origin = Origin::start(move |request| {
            if shows(request, "sk-second-Zq8kTm2vXw7pLs4n") {
                let last = answer(9, 30);
                let last = json!({"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}], "usage": last["usage"]});
                return stream(&[ROLE, &format!("data: {last}\n\n"), "data: [DONE]\n\n"]);
            }
            stream(&[ROLE, event])
        });
        let (gateway, token) = llm(&origin, "openai", PRICES);
        let second =
            json!({"provider": "openai", "secret": "sk-second-Zq8kTm2vXw7pLs4n", "priority": -1});
        let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&second));
        assert_eq!(status, 201, "{made}");
        let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
        let id = budget(&gateway, &rules);
        let served = gateway.call(&llm_call("/v1/chat/completions", &token, &body(true)));
        assert_eq!(served.status, 200, "{name}: {}", served.text());
        assert_eq!(origin.count(), 2, "{name}");
        settled(&gateway, &id, spent);
        let rows = eventually("both attempts are told", || {
            let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
            let rows = page["data"].as_array().cloned().unwrap_or_default();
            (rows.len() == 2).then_some(rows)
        });
        let sum: i64 = rows
            .iter()
            .filter_map(|row| row["cost_nano_usd"].as_i64())
            .sum();
        assert_eq!(sum, spent, "{name}: {rows:?}");
        let (_, report) = gateway.api("GET", "/api/v1/ledger/check", None);
        assert_eq!(report["valid"], Value::Bool(true), "{name}: {report}");
    }
}
