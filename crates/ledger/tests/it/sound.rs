//! No token counter finds more tokens in a request than its bound has.
//!
//! The real counters merge bytes into tokens; the dearest possible one does not merge at all. So
//! the counter here takes every byte of content for a token, and adds what templates add.

use crate::vectors::{ANY, vectors};
use proptest::prelude::*;
use serde_json::{Value, json};
use tollkeep_ledger::bound::{Options, bound};
use tollkeep_llm::body::CallView;
use tollkeep_llm::demand::{Form, Known, read};

/// Bytes of all texts that a model reads: those of values, and names of members of tools.
fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(bytes_of).sum(),
        Value::Object(members) => {
            let names = members.keys().map(|name| name.len() as u64);
            names.sum::<u64>() + members.values().map(bytes_of).sum::<u64>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
    }
}

/// Roles, separators and the start of an answer, as templates write them.
fn counted(body: &Value) -> u64 {
    let messages = body["messages"].as_array().map_or(0, Vec::len) as u64;
    let contents = body["messages"].as_array().into_iter().flatten();
    let contents: u64 = contents.map(|message| bytes_of(&message["content"])).sum();
    let tools = body["tools"].as_array().map_or(0, Vec::len) as u64;
    contents + bytes_of(&body["tools"]) * u64::from(tools > 0) + 7 * messages + 12 * tools + 3
}

fn bodies() -> impl Strategy<Value = Value> {
    let text = || "(\\PC|[\\x00-\\x1f\"\\\\]|🦀|é){0,60}";
    let messages = proptest::collection::vec(text(), 0..12);
    let tools = proptest::collection::vec((text(), text()), 0..4);
    (messages, tools, any::<bool>()).prop_map(|(messages, tools, in_parts)| {
        let content = |text: &String| {
            if in_parts {
                json!([{"type": "text", "text": text}])
            } else {
                json!(text)
            }
        };
        let messages: Vec<_> = messages
            .iter()
            .map(|text| json!({"role": "user", "content": content(text)}))
            .collect();
        let tools: Vec<_> = tools
            .iter()
            .map(|(name, about)| json!({"type": "function", "function": {"name": name, "description": about, "parameters": {"type": "object"}}}))
            .collect();
        json!({"model": "v-chat", "messages": messages, "tools": tools, "max_tokens": 9})
    })
}

fn check(cases: u32) {
    let book = vectors().book();
    let at = "2026-07-01T12:00:00Z".parse().unwrap();
    let found = book.find(ANY, "v-chat", at).unwrap();
    let config = ProptestConfig::with_cases(cases);
    proptest!(config, |(body in bodies(), escaped: bool)| {
        let mut text = body.to_string();
        if escaped {
            // The same text with escapes is longer, never shorter.
            text = text.replace('é', "\\u00e9");
        }
        prop_assert!(CallView::read(text.as_bytes(), 128).is_ok());
        let bound = bound(&read(Form::Chat, text.as_bytes(), &Known::default()), found, &Options::default()).unwrap();
        prop_assert!(counted(&body) <= bound.input_tokens, "{} > {bound:?}", counted(&body));
        prop_assert_eq!(bound.output_tokens, 9);
    });
}

// LED-40 LED-47
#[test]
fn no_counter_finds_more_tokens_than_the_bound_has() {
    check(500);
}

// LED-47
#[test]
#[ignore = "soak"]
fn no_counter_finds_more_tokens_in_a_million_bodies() {
    check(1_000_000);
}

// LED-43a LED-45
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_understood_is_not_bounded() {
    let chat = |more: &str| format!(r#"{{"model":"v-chat","messages":[],{more}}}"#);
    let claude =
        |more: &str| format!(r#"{{"model":"v-claude","max_tokens":9,"messages":[],{more}}}"#);
    for (name, form, body) in [
        ("an unknown field", Form::Chat, chat(r#""plugins":[]"#)),
        (
            "a field with escapes",
            Form::Chat,
            chat(r#""to\u006fls":[]"#),
        ),
        (
            "a tool with escapes",
            Form::Messages,
            claude(r#""tools":[{"t\u0079pe":"code_execution_1","name":"x"}]"#),
        ),
        (
            "an unknown tool",
            Form::Chat,
            chat(r#""tools":[{"type":"code_interpreter"}]"#),
        ),
        (
            "a tool without type",
            Form::Chat,
            chat(r#""tools":[{"function":{}}]"#),
        ),
        (
            "an unknown part",
            Form::Chat,
            r#"{"messages":[{"content":[{"type":"video_url"}]}]}"#.to_owned(),
        ),
        ("a fraction", Form::Chat, chat(r#""n":1.5"#)),
        (
            "more than there are",
            Form::Chat,
            chat(r#""n":99999999999999999999"#),
        ),
        (
            "messages that are none",
            Form::Chat,
            r#"{"messages":{}}"#.to_owned(),
        ),
        ("a service", Form::Chat, chat(r#""service_tier":"turbo""#)),
        (
            "another model's work",
            Form::Messages,
            claude(r#""fallbacks":[]"#),
        ),
        (
            "compaction",
            Form::Messages,
            claude(r#""context_management":{}"#),
        ),
        (
            "a search without end",
            Form::Messages,
            claude(r#""tools":[{"type":"web_search_20250305","name":"s"}]"#),
        ),
        (
            "an unknown setting",
            Form::Gemini,
            r#"{"contents":[],"generationConfig":{"turbo":1}}"#.to_owned(),
        ),
        (
            "code of gemini",
            Form::Gemini,
            r#"{"contents":[],"tools":[{"codeExecution":{}}]}"#.to_owned(),
        ),
        (
            "two prompts in one",
            Form::Completions,
            r#"{"prompt":"a","echo":true}"#.to_owned(),
        ),
    ] {
        let demand = read(form, body.as_bytes(), &Known::default());
        assert!(demand.obstacle.is_some(), "{name}: {demand:?}");
    }
    let two = read(
        Form::Completions,
        br#"{"prompt":["a","b"],"n":3}"#,
        &Known::default(),
    );
    assert_eq!((two.choices, two.obstacle), (6, None));
}
