//! Limits of tokens a minute, of callers and of providers: counted by what a call can use at most, and
//! corrected to what it used.

use crate::fixture::{chat, llm, llm_call};
use crate::spending::{call, origin, served};
use serde_json::json;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, Origin, eventually, json as answer};

/// A call that passes within so long.
fn passes_within(gateway: &Gateway, token: &str, most: Duration) {
    let began = Instant::now();
    eventually("a call that passes", || {
        (call(gateway, token).status == 200).then_some(())
    });
    assert!(began.elapsed() < most, "{:?}", began.elapsed());
}

fn number(answer: &Answer, name: &str) -> u64 {
    let value = answer.field(name).unwrap_or_else(|| panic!("{name}"));
    value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
}

// LED-62 EDGE-87
#[test]
fn a_caller_s_tokens_a_minute_are_taken_at_the_bound_and_given_back() {
    let origin = origin();
    let (gateway, _) = llm(&origin, "openai", "");
    let token =
        gateway.mint_token(&json!({"project": "default", "limits": {"tokens_per_minute": 1_000}}));
    let first = call(&gateway, &token);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(number(&first, "x-ratelimit-limit-tokens"), 1_000);
    let left = number(&first, "x-ratelimit-remaining-tokens");
    assert!((500..990).contains(&left), "less than its bound: {left}");
    assert!(first.field("x-ratelimit-reset-tokens").is_some());
    // Fewer than a call can use: it passes while nothing is owed, and so one at a time.
    let token =
        gateway.mint_token(&json!({"project": "default", "limits": {"tokens_per_minute": 150}}));
    assert_eq!(call(&gateway, &token).status, 200);
    let calls = origin.count();
    let refused = call(&gateway, &token);
    assert_eq!(
        (refused.status, &*refused.code()),
        (429, "rate_limited"),
        "{}",
        refused.text()
    );
    assert_eq!(
        refused.field("ratelimit-policy"),
        Some("\"token\";q=150;w=60")
    );
    assert_eq!(
        origin.count(),
        calls,
        "a call that is refused does not go out"
    );
    // Its bound would be owed for more than a minute, the eleven tokens it used for five seconds.
    passes_within(&gateway, &token, Duration::from_secs(40));
}

// EDGE-87
#[test]
fn messages_tell_what_is_left_of_tokens_in_their_words() {
    let origin = Origin::start(|_| {
        answer(&json!({
            "type": "message", "model": "claude-sonnet-4-5", "content": [],
            "usage": {"input_tokens": 10, "output_tokens": 1},
        }))
    });
    let (gateway, _) = llm(&origin, "anthropic", "");
    let token =
        gateway.mint_token(&json!({"project": "default", "limits": {"tokens_per_day": 50_000}}));
    let ask = r#"{"model":"claude-sonnet-4-5","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#;
    let told = gateway.call(&llm_call("/v1/messages", &token, ask));
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(number(&told, "anthropic-ratelimit-tokens-limit"), 50_000);
    assert!(number(&told, "anthropic-ratelimit-tokens-remaining") < 50_000);
    let reset = told.field("anthropic-ratelimit-tokens-reset").unwrap();
    assert!(reset.ends_with('Z') && reset.contains('T'), "{reset}");
}

// LED-62 LLM-R61
#[test]
fn the_minute_of_a_provider_is_kept_as_the_configuration_of_others_says_it() {
    let origin = origin();
    let rate = "    rate_limit: { requests_per_minute: 100000, tokens_per_minute: 1000 }\n";
    let (gateway, token) = served(&origin, rate, "");
    assert_eq!(call(&gateway, &token).status, 200);
    let refused = call(&gateway, &token);
    assert_eq!(
        (refused.status, &*refused.code()),
        (429, "model_cooldown"),
        "{}",
        refused.text()
    );
    assert!((1..=12).contains(&number(&refused, "retry-after")));
    passes_within(&gateway, &token, Duration::from_secs(8));
    // A tenth of its calls at once.
    let rate = "    rateLimit: { requests_per_minute: 30 }\n";
    let (gateway, token) = served(&origin, rate, "");
    let statuses: Vec<_> = (0..4).map(|_| call(&gateway, &token).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    // What was refused for its form is not counted: it never went out.
    let wrong = gateway.call(&chat(&token, "{"));
    assert_eq!(wrong.status, 400);
}

// LED-62
#[test]
fn limits_of_tokens_go_with_budgets() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: all, limit: \"$10\", window: month }] }\n";
    let (gateway, _) = served(&origin, "", budget);
    let token =
        gateway.mint_token(&json!({"project": "default", "limits": {"tokens_per_minute": 150}}));
    assert_eq!(call(&gateway, &token).status, 200);
    assert_eq!(call(&gateway, &token).status, 429);
    // What was taken aside for the call that was refused is free again.
    eventually("nothing is reserved", || {
        let (_, page) = gateway.api("GET", "/api/v1/budgets", None);
        let id = page["data"][0]["id"].as_str()?.to_owned();
        let (_, windows) = gateway.api("GET", &format!("/api/v1/budgets/{id}/windows"), None);
        (windows[0]["spent"] == 35_000 && windows[0]["reserved"] == 0).then_some(())
    });
}
