//! The configuration that cliproxyapi++'s guide prints, with its lines indented again and nothing
//! else changed: it loads whole, and what it says of providers is kept.

use crate::fixture::{self, TOLLKEEP, llm_call};
use crate::killed::server_with_clock;
use crate::moved_clocks::set_clock;
use crate::replicas::on;
use serde_json::{Value, json};
use std::process::Command;
use tollkeep_testkit::{Answer, Builder, Gateway, Origin, eventually, json as answer_json};

/// All its blocks in one file.
const PAGE: &str = include_str!("data/cliproxyapi.yaml");
/// The block of its chapter on quotas alone.
const QUOTA: &str = "providers:
  claude:
    quota:
      limit: 1000000 # Tokens per month
      reset: \"monthly\"
";
const KEY: &str = "sk-ant-api03-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1eUi5o";
/// What most calls use, in and out: a quarter of a million.
const USED: (usize, u32) = (190_000, 60_000);

/// What the page says of providers.
fn providers() -> String {
    let section = PAGE.lines().skip_while(|line| *line != "providers:");
    let rest = section.skip(1).take_while(|line| line.starts_with(' '));
    let lines: Vec<_> = std::iter::once("providers:").chain(rest).collect();
    assert_eq!(lines.len(), 12, "the section was cut out whole");
    lines.join("\n") + "\n"
}

/// Says that a call used a token for each byte of its text, and all that it may write.
fn origin() -> Origin {
    Origin::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let text = asked["messages"][0]["content"].as_str().unwrap();
        answer_json(&json!({
            "type": "message", "model": "claude-sonnet-4-5", "content": [],
            "usage": {"input_tokens": text.len(), "output_tokens": asked["max_tokens"]},
        }))
    })
}

/// The gateway of the page, with the upstream of the test; its credential comes as the page sends it.
fn served(builder: Builder, origin: &Origin) -> (Gateway, String) {
    let gateway = builder
        .set("providers.claude.base_url", origin.url())
        .set("providers.claude.allow_private", "127.0.0.1/32")
        .start();
    let auth = json!({"provider": "claude", "type": "api_key", "token": KEY});
    let (status, told) = gateway.api("POST", "/v0/management/auths", Some(&auth));
    assert!(matches!(status, 200 | 201), "{told}");
    let token = gateway.mint_token(&json!({ "project": "default" }));
    (gateway, token)
}

/// A call that can use so many tokens and a little more.
fn call(gateway: &Gateway, token: &str, (input, output): (usize, u32)) -> Answer {
    let ask = json!({"model": "claude-sonnet-4-5", "max_tokens": output,
                     "messages": [{"role": "user", "content": "a".repeat(input)}]});
    gateway.call(&llm_call("/v1/messages", token, &ask.to_string()))
}

/// The seconds a refusal says to wait.
fn cooled(refused: &Answer) -> u64 {
    let code = refused.code();
    assert_eq!(
        (refused.status, &*code),
        (429, "model_cooldown"),
        "{}",
        refused.text()
    );
    refused.field("retry-after").unwrap().parse().unwrap()
}

// LED-62 OPS-6
#[test]
fn the_configuration_of_the_cliproxyapi_page_is_valid_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(TOLLKEEP);
        command.env_clear().env(
            "CLIPROXY_ENCRYPTION_KEY",
            "6f1d2c3b4a5968778695a4b3c2d1e0f00f1e2d3c4b5a69788796a5b4c3d2e1f0",
        );
        command.args(["validate", "--config"]).arg(&file);
        let told = command.output().unwrap();
        let errors = String::from_utf8_lossy(&told.stderr).into_owned();
        (told.status.code(), errors)
    };
    let (code, told) = check(PAGE);
    assert_eq!(code, Some(0), "{told}");
    // What it leaves to be done is said.
    for provider in ["claude", "openai"] {
        let waits = format!("providers.{provider}: has no usable credential");
        assert!(told.contains(&waits), "{told}");
    }
    for (written, wrong) in [
        ("reset: \"monthly\"", "reset: \"fortnightly\""),
        ("tokens_per_minute: 100000", "tokens_per_minute: -1"),
        ("limit: 1000000", "limit: 1000000.5"),
    ] {
        let (code, told) = check(&PAGE.replacen(written, wrong, 1));
        assert_ne!(code, Some(0), "{wrong}");
        assert!(told.contains("providers.claude."), "{wrong}: {told}");
    }
}

// LED-62
#[test]
fn the_quota_of_the_cliproxyapi_page_is_kept_to_the_token_and_begins_anew_with_the_month() {
    let (origin, server) = (origin(), server_with_clock());
    set_clock(&server, "2037-11-29T12:00:00Z");
    let (gateway, token) = served(on(&server, QUOTA), &origin);
    let until_refused = || {
        let before = origin.count();
        let refused = eventually("a refusal", || {
            let answer = call(&gateway, &token, USED);
            (!matches!(answer.status, 200 | 503)).then_some(answer)
        });
        (origin.count() - before, refused)
    };
    let quota = || {
        let (_, found) = gateway.api("GET", "/api/v1/budgets", None);
        let id = found["data"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(found["data"][0]["limit"], json!(1_000_000), "{found}");
        let (_, windows) = gateway.api("GET", &format!("/api/v1/budgets/{id}/windows"), None);
        windows
    };
    // Four would use a million, and could use a little more: so the fourth stays out.
    let (passed, refused) = until_refused();
    assert_eq!(passed, 3, "{}", refused.text());
    let wait = cooled(&refused);
    assert!((1..=3_600).contains(&wait), "{wait}");
    // A smaller call still fits, and is counted.
    let smaller = call(&gateway, &token, (180_000, 60_000));
    assert_eq!(smaller.status, 200, "{}", smaller.text());
    set_clock(&server, "2037-11-30T23:59:00Z");
    cooled(&call(&gateway, &token, USED));
    set_clock(&server, "2037-12-01T00:00:05Z");
    assert_eq!(until_refused().0, 3, "a new month");
    let windows = eventually("both months", || {
        let windows = quota();
        (windows[0]["spent"] == 750_000).then_some(windows)
    });
    assert_eq!(windows[1]["spent"], 990_000, "{windows}");
    assert_eq!(windows[0]["start"], "2037-12-01T00:00:00.000Z", "{windows}");
    assert_eq!(windows[1]["start"], "2037-11-01T00:00:00.000Z", "{windows}");
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-62
#[test]
fn the_minute_of_the_cliproxyapi_page_is_kept_by_calls_and_by_tokens() {
    let origin = origin();
    let (gateway, token) = served(fixture::gateway(providers()), &origin);
    // Of its 100 000 tokens a minute this one uses 250 000: it owes them for two minutes and a half.
    let first = call(&gateway, &token, USED);
    assert_eq!(first.status, 200, "{}", first.text());
    let wait = cooled(&call(&gateway, &token, (10, 10)));
    assert!((100..=150).contains(&wait), "{wait}");
    assert_eq!(origin.count(), 1);
    let (_, budgets) = gateway.api("GET", "/api/v1/budgets", None);
    assert_eq!(budgets["data"][0]["origin"], "quota", "{budgets}");
    // Of its 100 calls a minute a tenth may come at once.
    let (gateway, token) = served(fixture::gateway(providers()), &origin);
    let refused = eventually("a refusal", || {
        let answer = call(&gateway, &token, (10, 10));
        (answer.status != 200).then_some(answer)
    });
    let passed = origin.count() - 1;
    assert!((10..20).contains(&passed), "{passed}");
    let wait = cooled(&refused);
    assert!((1..=2).contains(&wait), "{wait}");
}
