//! Budgets on calls that make images and speech, and on what only the operator knows of calls.

use crate::budgets::{id, named};
use crate::fixture::{chat, llm_call};
use crate::spending::served;
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, Origin, eventually, json as answer, with_fields};

/// Two images of the dearest sort cost $0.16, seven characters 105,000 nano-dollars.
const PRICES: &str = r#"prices:
  overrides:
    - { model: painter, provider: openai, rates: [{ from: "2025-01-01T00:00:00Z",
        base: { "image:standard:1024x1024": 40000000000, "image:hd:1024x1024": 80000000000 } }] }
    - { model: voice, provider: openai, rates: [{ from: "2025-01-01T00:00:00Z", base: { char_in: 15000000 } }] }
    - { model: runner, provider: openai, max_input: 1000, max_output: 100, rates: [{ from: "2025-01-01T00:00:00Z",
        base: { in_text: 1000000, out_text: 2000000, code_session: 30000000000 } }] }
"#;
const AUDIO: &[u8] = b"ID3\x04\x00\xff\xfb\x90 not text";

fn origin() -> Origin {
    Origin::start(|request| {
        if request.target.ends_with("/audio/speech") {
            return with_fields("content-type: audio/mpeg\r\n", AUDIO);
        }
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        if request.target.ends_with("/images/generations") {
            let made = vec![
                json!({"url": "https://x.example/1.png"});
                usize::try_from(asked["n"].as_u64().unwrap_or(1)).unwrap()
            ];
            return answer(&json!({"created": 1, "data": made}));
        }
        answer(&json!({
            "object": "chat.completion", "model": asked["model"], "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
        }))
    })
}

fn usage_line(gateway: &Gateway, model: &str) -> Value {
    eventually(model, || {
        let lines = gateway.usage_lines();
        lines.into_iter().find(|line| line["model_asked"] == model)
    })
}

fn images(gateway: &Gateway, token: &str, body: &Value) -> Answer {
    gateway.call(&llm_call(
        "/v1/images/generations",
        token,
        &body.to_string(),
    ))
}

// LED-44 LED-45
#[test]
fn images_and_speech_are_taken_aside_by_what_they_can_cost() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: all, limit: \"$0.17\", window: month }] }\n";
    let (gateway, token) = served(&origin, "", &format!("{PRICES}{budget}"));
    let ask = json!({"model": "painter", "prompt": "a cat", "n": 2});
    let made = images(&gateway, &token, &ask);
    assert_eq!(made.status, 200, "{}", made.text());
    assert_eq!(made.json()["data"].as_array().map(Vec::len), Some(2));
    let line = usage_line(&gateway, "painter");
    assert_eq!(line["cost_nano_usd"], 80_000_000, "{line}");
    eventually("what was spent", || {
        let budget = named(&gateway, "all");
        let (_, windows) = gateway.api(
            "GET",
            &format!("/api/v1/budgets/{}/windows", id(&budget)),
            None,
        );
        (windows[0]["spent"] == 80_000_000 && windows[0]["reserved"] == 0).then_some(())
    });
    // Another two may cost more than is left, though two of the usual sort would fit.
    let short = images(&gateway, &token, &ask);
    assert_eq!(
        (short.status, &*short.code()),
        (402, "budget_exhausted"),
        "{}",
        short.text()
    );
    let usual = json!({"model": "painter", "prompt": "a cat", "n": 2, "quality": "standard", "size": "1024x1024"});
    assert_eq!(images(&gateway, &token, &usual).status, 200);
    let before = origin.count();
    for (more, code) in [
        (json!({"partial_images": 3}), "cost_not_boundable"),
        (json!({"size": "1x1"}), "model_not_priced"),
    ] {
        let mut ask = ask.clone();
        for (name, value) in more.as_object().unwrap() {
            ask[name] = value.clone();
        }
        let refused = images(&gateway, &token, &ask);
        assert_eq!(
            (refused.status, &*refused.code()),
            (400, code),
            "{}",
            refused.text()
        );
        if code == "cost_not_boundable" {
            assert!(
                refused.text().contains("partial_images"),
                "{}",
                refused.text()
            );
        }
    }
    assert_eq!(origin.count(), before, "nothing that was refused went out");
    let ask = json!({"model": "voice", "voice": "alloy", "input": "Grüße 🦀"});
    let spoken = gateway.call(&llm_call("/v1/audio/speech", &token, &ask.to_string()));
    assert_eq!(spoken.status, 200, "{}", spoken.text());
    assert_eq!(spoken.field("content-type"), Some("audio/mpeg"));
    assert_eq!(spoken.body, AUDIO);
    let line = usage_line(&gateway, "voice");
    assert_eq!(line["cost_nano_usd"], 7 * 15_000, "{line}");
}

// LED-43a
#[test]
fn members_and_tools_that_the_settings_name_can_be_bounded() {
    let origin = origin();
    let list = "list: [{ name: all, limit: \"$10\", window: month }]";
    let known = "known_fields: [plugins], known_tools: [{ type: code_interpreter, unit: code_session, max_uses: 2 }, \
                 { type: local_shell, extra_tokens: 300 }]";
    let ask = |more: &str| format!(r#"{{"model":"runner","messages":[],"max_tokens":10,{more}}}"#);
    let asks = [
        ("plugins", ask(r#""plugins":[]"#)),
        (
            "code_interpreter",
            ask(r#""tools":[{"type":"code_interpreter"}]"#),
        ),
        ("local_shell", ask(r#""tools":[{"type":"local_shell"}]"#)),
    ];
    let (gateway, token) = served(&origin, "", &format!("{PRICES}budgets: {{ {list} }}\n"));
    for (name, ask) in &asks {
        let refused = gateway.call(&chat(&token, ask));
        assert_eq!(
            (refused.status, &*refused.code()),
            (400, "cost_not_boundable"),
            "{name}"
        );
        assert!(refused.text().contains(name), "{}", refused.text());
    }
    let (gateway, token) = served(
        &origin,
        "",
        &format!("{PRICES}budgets: {{ {known}, {list} }}\n"),
    );
    for (name, ask) in &asks {
        let answer = gateway.call(&chat(&token, ask));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    let other = gateway.call(&chat(&token, &ask(r#""plugin":[]"#)));
    assert_eq!(&*other.code(), "cost_not_boundable", "{}", other.text());
}

// LED-46
#[test]
fn a_bound_that_does_not_fit_is_looked_at_more_closely_before_it_is_refused() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: all, limit: \"$0.02\", window: month }] }\n";
    let (gateway, token) = served(&origin, "", budget);
    // Written with escapes the text has 12,000 bytes, which could cost $0.03; it means 4,000.
    let ask = |text: &str| {
        format!(
            r#"{{"model":"gpt-4o","max_completion_tokens":10,"messages":[{{"role":"user","content":"{text}"}}]}}"#
        )
    };
    let escaped = gateway.call(&chat(&token, &ask(&"\\u00e9".repeat(2_000))));
    assert_eq!(escaped.status, 200, "{}", escaped.text());
    let plain = gateway.call(&chat(&token, &ask(&"x".repeat(12_000))));
    assert_eq!(
        (plain.status, &*plain.code()),
        (402, "budget_exhausted"),
        "{}",
        plain.text()
    );
    let record = eventually("the record", || {
        let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
        page["data"].as_array()?.first().cloned()
    });
    assert_eq!(record["bound_method"], "texts", "{record}");
}
