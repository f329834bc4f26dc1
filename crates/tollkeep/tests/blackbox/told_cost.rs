//! What a call cost is told with its answer, to those who ask or where the settings say so.

use crate::bought::{failing, shop};
use crate::callers::{bearer, get};
use crate::fixture::{TOLLKEEP, llm, post};
use crate::spending::{call, origin, served};
use serde_json::json;
use std::process::Command;
use tollkeep_testkit::{Answer, Gateway, Origin, chunk, chunked_head, eventually, ok};

/// A budget that many calls fit.
const BUDGET: &str = "budgets: { list: [{ name: all, limit: \"$10\", window: month }] }\n";
const EXPOSED: &str = "llm: { expose_cost: true }\n";
const ASK: &str =
    r#"{"model":"gpt-4o","max_completion_tokens":10,"messages":[{"role":"user","content":"hi"}]}"#;
/// 10 × $2.50/M + 1 × $10/M.
const COST: &str = "0.000035000";

fn asked(gateway: &Gateway, token: &str, body: &str, more: &str) -> Answer {
    let lines = format!("{}Content-Type: application/json\r\n{more}", bearer(token));
    gateway.call(&post("/v1/chat/completions", &lines, body.as_bytes()))
}

/// Answers with a stream that tells its usage.
fn streaming() -> Origin {
    Origin::start(|_| {
        let event = |data: &str| chunk(format!("data: {data}\n\n").as_bytes());
        let usage = r#"{"model":"gpt-4o","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":1,"total_tokens":11}}"#;
        vec![
            chunked_head("text/event-stream"),
            event(r#"{"model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hi"}}]}"#),
            event(usage),
            event("[DONE]"),
            chunk(b""),
        ]
    })
}

// LED-81
#[test]
fn an_answer_tells_its_cost_where_settings_say_so() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", BUDGET);
    let silent = call(&gateway, &token);
    for name in [
        "x-tollkeep-cost",
        "x-tollkeep-hold",
        "x-tollkeep-budget-remaining",
    ] {
        assert_eq!(silent.field(name), None, "nothing is told unasked");
    }
    let (gateway, token) = served(&origin, "", &format!("{BUDGET}{EXPOSED}"));
    let answer = call(&gateway, &token);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("x-tollkeep-cost"), Some(COST));
    let hold = answer.field("x-tollkeep-hold").unwrap().to_owned();
    let left = answer.field("x-tollkeep-budget-remaining").unwrap();
    let (dollars, nano) = left.split_once('.').unwrap();
    assert!(
        matches!(dollars, "9" | "10") && nano.len() == 9,
        "an amount: {left}"
    );
    // Somebody who may not see amounts sees hundredths.
    let other = gateway.mint_token(&json!({"project": "default"}));
    let answer = call(&gateway, &other);
    let left = answer.field("x-tollkeep-budget-remaining").unwrap();
    let percent: u32 = left.strip_suffix('%').unwrap().parse().unwrap();
    assert!((90..=100).contains(&percent), "{left}");
    // The hold is the one that is kept.
    let found = eventually("the hold", || {
        let (_, record) = gateway.api("GET", "/api/v1/usage/records", None);
        let records = record["data"].as_array().cloned().unwrap_or_default();
        records.into_iter().find(|record| record["hold"] == *hold)
    });
    assert_eq!(found["cost_usd"], COST, "{found}");
}

// LED-81
#[test]
fn a_call_that_no_budget_counts_tells_its_cost_and_no_hold() {
    let origin = origin();
    let (gateway, token) = llm(&origin, "openai", EXPOSED);
    let answer = call(&gateway, &token);
    assert_eq!(answer.field("x-tollkeep-cost"), Some(COST));
    assert_eq!(answer.field("x-tollkeep-hold"), None);
    assert_eq!(answer.field("x-tollkeep-budget-remaining"), None);
}

// LED-81 LED-82
#[test]
fn a_stream_tells_its_cost_and_its_receipt_before_its_end_to_those_who_ask() {
    let origin = streaming();
    let (gateway, token) = served(&origin, "", &format!("{BUDGET}{EXPOSED}"));
    let body = ASK.replace("\"model\"", "\"stream\":true,\"model\"");
    let plain = asked(&gateway, &token, &body, "");
    assert!(
        plain.text().ends_with("data: [DONE]\n\n"),
        "{}",
        plain.text()
    );
    assert!(!plain.text().contains("tollkeep"), "{}", plain.text());
    assert!(
        plain.field("x-tollkeep-hold").is_some(),
        "the head knows the hold"
    );
    assert_eq!(plain.field("x-tollkeep-cost"), None, "and not the cost");
    let told = asked(&gateway, &token, &body, "X-Tollkeep-Receipt: inline\r\n");
    let text = told.text();
    let end = text
        .strip_suffix("\n\ndata: [DONE]\n\n")
        .unwrap_or_else(|| panic!("{text}"));
    let mut lines = end.lines().rev();
    let receipt = lines
        .next()
        .and_then(|line| line.strip_prefix(": tollkeep-receipt "));
    let receipt = receipt.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(
        lines.next(),
        Some(&*format!(": tollkeep-cost {COST}")),
        "{text}"
    );
    // It is the receipt that can be had later too.
    let request = told.field("x-request-id").unwrap();
    let path = format!("/.well-known/tollkeep/receipts/{request}");
    let later = gateway.call(&get(&path, &bearer(&token)));
    assert_eq!(later.json()["receipts"], json!([receipt]));
    let cost = eventually("the usage line", || {
        let lines = gateway.usage_lines();
        let line = lines
            .into_iter()
            .find(|line| line["request_id"] == *request)?;
        Some(line["cost_usd"].clone())
    });
    assert_eq!(cost, COST);
}

// LED-82 LED-83
#[test]
fn a_receipt_comes_with_a_whole_answer_and_is_checked_with_the_keys_of_the_gateway() {
    let origin = origin();
    let (gateway, token) = served(&origin, "", BUDGET);
    let answer = asked(&gateway, &token, ASK, "x-tollkeep-receipt: inline\r\n");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.field("x-tollkeep-receipt").unwrap();
    assert_eq!(
        answer.field("x-tollkeep-cost"),
        None,
        "that is another setting"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("receipt");
    std::fs::write(&file, receipt).unwrap();
    let url = format!("http://{}", gateway.data());
    let verify = |more: &[&str]| {
        let run = Command::new(TOLLKEEP)
            .args(["receipt", "verify", "--json"])
            .arg(&file)
            .args(more)
            .output()
            .unwrap();
        (run.status.code(), String::from_utf8(run.stdout).unwrap())
    };
    let (code, told) = verify(&["--url", &url]);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("\"reckoned\": 1") || told.contains("\"reckoned\":1"),
        "{told}"
    );
    assert_eq!(verify(&[]).0, Some(2), "keys are needed");
    let broken = receipt.replacen('e', "f", 1);
    std::fs::write(&file, broken).unwrap();
    assert_eq!(verify(&["--url", &url]).0, Some(8));
    let without = asked(&gateway, &token, ASK, "x-tollkeep-receipt: later\r\n");
    assert_eq!(without.field("x-tollkeep-receipt"), None);
}

// LED-82
#[test]
fn where_no_receipts_are_made_there_is_no_key_for_them() {
    let origin = origin();
    let (gateway, token) = served(
        &origin,
        "",
        &format!("{BUDGET}ledger: {{ receipts: \"off\" }}\n"),
    );
    let answer = asked(&gateway, &token, ASK, "x-tollkeep-receipt: inline\r\n");
    assert_eq!(
        (answer.status, answer.field("x-tollkeep-receipt")),
        (200, None)
    );
    let store = std::fs::read(gateway.data_dir().join("tollkeep.db")).unwrap();
    let wal = std::fs::read(gateway.data_dir().join("tollkeep.db-wal")).unwrap_or_default();
    let name = b"ledger.receipt_key";
    let has = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    assert!(!has(&store) && !has(&wal));
}

// LED-81 PAY-77a
#[test]
fn a_route_that_says_so_tells_tokens_what_they_are_charged_and_others_do_not() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/told?fail" => failing(),
        _ => ok(b"ha"),
    });
    let priced = "price: \"$0.01\", access: token_or_payment";
    let routes = format!(
        "  \"GET /told\": {{ upstream: origin, {priced}, expose_cost: true }}\n  \
         \"GET /own\": {{ upstream: origin, price: \"$0.02\", access: token, expose_cost: true }}\n  \
         \"GET /silent\": {{ upstream: origin, {priced} }}\n"
    );
    // What surfaces tell says nothing of routes.
    let gateway = shop(&origin, &routes)
        .set("llm.expose_cost", "true")
        .start();
    let token = gateway.mint_token(&json!({"project": "default"}));
    let told = |path: &str| {
        let answer = gateway.call(&get(path, &bearer(&token)));
        let names = [
            "x-tollkeep-cost",
            "x-tollkeep-hold",
            "x-tollkeep-budget-remaining",
        ];
        names.map(|name| answer.field(name).map(str::to_owned))
    };
    let [cost, hold, left] = told("/told");
    assert_eq!(
        (cost.as_deref(), hold, left),
        (Some("0.010000000"), None, None)
    );
    let budget = json!({
        "name": "calls", "scope": {"project": "default"}, "limit": "$1", "window": "lifetime",
    });
    crate::budgets::made(&gateway, &budget);
    for (path, want) in [
        ("/told", Some("0.010000000")),
        ("/own", Some("0.020000000")),
        ("/told?fail", Some("0.000000000")),
        ("/silent", None),
    ] {
        let [cost, hold, left] = told(path);
        assert_eq!(cost.as_deref(), want, "{path}");
        assert_eq!(
            (hold.is_some(), left.is_some()),
            (want.is_some(), want.is_some()),
            "{path}"
        );
        assert!(left.is_none_or(|left| left.ends_with('%')), "{path}");
    }
}

// LED-81
#[test]
fn a_route_that_charges_no_token_can_not_tell_what_that_costs() {
    let origin = Origin::plain();
    for route in ["access: free", "access: token", "price: \"$0.01\""] {
        let route = format!("  \"GET /x\": {{ upstream: origin, {route}, expose_cost: true }}\n");
        let Err(refused) = shop(&origin, &route).try_start() else {
            panic!("{route}: it started");
        };
        let want = "expose_cost: has no effect: no access token is charged";
        assert!(refused.stderr.contains(want), "{route}: {}", refused.stderr);
    }
}
