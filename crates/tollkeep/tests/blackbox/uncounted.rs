//! Calls that no budget counts: each has a usage record all the same, and none waits for it.

use crate::callers::{bearer, get};
use crate::fixture::{UPSTREAM_KEY, chat, llm};
use crate::held::body;
use crate::races::provider;
use crate::replicas::on;
use crate::spending::{call, origin, served};
use crate::store_away::Held;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Gateway, Origin, PATIENCE, Postgres, Signal, Step, eventually, json as answer,
};

const COST: i64 = 10 * 2_500 + 10_000;

fn records(gateway: &Gateway, many: usize) -> Vec<Value> {
    eventually("usage records", || {
        let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        (rows.len() >= many).then_some(rows)
    })
}

fn only(gateway: &Gateway) -> Value {
    let rows = records(gateway, 1);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

fn spend(gateway: &Gateway) -> Value {
    gateway.api("GET", "/api/v1/spend/project/default", None).1
}

/// The same after it has stopped by itself and was started again.
fn stopped(mut gateway: Gateway) -> Gateway {
    gateway.signal(Signal::TERM);
    assert!(
        gateway
            .wait_exit(PATIENCE)
            .is_some_and(|status| status.success())
    );
    gateway.restart().unwrap()
}

// LED-11 LED-80
#[test]
fn a_call_that_no_budget_counts_is_in_usage_and_spend_with_what_it_cost() {
    let origin = origin();
    let (gateway, token) = llm(&origin, "openai", "");
    let made = call(&gateway, &token);
    assert_eq!(made.status, 200);
    let row = only(&gateway);
    for (member, want) in [
        ("hold", Value::Null),
        ("request_id", json!(made.field("x-request-id").unwrap())),
        ("attempt", json!(1)),
        ("provider", json!("openai")),
        ("model_requested", json!("gpt-4o")),
        ("model_served", json!("gpt-4o")),
        ("quality", json!("reported")),
        ("cost_nano_usd", json!(COST)),
        ("bound_nano_usd", Value::Null),
        ("tokens", json!(11)),
        ("output_tokens", json!(1)),
        ("status", json!(200)),
    ] {
        assert_eq!(row[member], want, "{member}: {row}");
    }
    assert!(
        row["price_version"].is_string() && row["started_at"].is_string(),
        "{row}"
    );
    let told = spend(&gateway);
    assert_eq!(
        (
            &told["calls"],
            &told["spent_nano_usd"],
            &told["cost_unknown_calls"]
        ),
        (&json!(1), &json!(COST), &json!(0)),
        "{told}"
    );
    let listed = gateway.cli(&["usage", "list", "--by", "model"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(
        text.contains("0.000035000") && text.contains("gpt-4o"),
        "{text}"
    );
    let request = made.field("x-request-id").unwrap();
    let asked = get(
        &format!("/.well-known/tollkeep/receipts/{request}"),
        &bearer(&token),
    );
    assert_eq!(
        gateway.call(&asked).status,
        404,
        "receipts are of what a budget counts"
    );
    // A hold can be put right; this call has none.
    let (_, holds) = gateway.api("GET", "/api/v1/holds?state=unknown", None);
    assert_eq!(holds["data"], json!([]));
    assert_eq!(gateway.cli(&["ledger", "check"]).status.code(), Some(0));
}

/// What is recorded of a call that is answered so.
fn recorded(
    config: &str,
    answered: impl Fn() -> Vec<Step> + Send + Sync + 'static,
) -> (Value, Value) {
    let origin = Origin::start(move |_| answered());
    let (gateway, token) = llm(&origin, "openai", config);
    call(&gateway, &token);
    let row = only(&gateway);
    (row, spend(&gateway))
}

// LED-11 LED-25
#[test]
fn a_cost_that_nobody_knows_is_told_as_unknown_and_never_as_zero() {
    let silent = || answer(&json!({"object": "chat.completion", "model": "gpt-4o", "choices": []}));
    let of_no_price = || {
        answer(
            &json!({"object": "chat.completion", "model": "gpt-4o", "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                "completion_tokens_details": {"audio_tokens": 5}}}),
        )
    };
    let (row, spent) = recorded("", silent);
    assert_eq!(
        (&row["quality"], &row["cost_nano_usd"], &row["cost_usd"]),
        (&json!("unknown"), &Value::Null, &Value::Null),
        "{row}"
    );
    assert_eq!(
        (
            &spent["calls"],
            &spent["cost_unknown_calls"],
            &spent["spent_nano_usd"]
        ),
        (&json!(1), &json!(1), &json!(0)),
        "{spent}"
    );
    let (row, spent) = recorded("", of_no_price);
    assert_eq!(
        (&row["quality"], &row["cost_nano_usd"], &row["tokens"]),
        (&json!("unknown"), &Value::Null, &json!(15)),
        "{row}"
    );
    assert!(row["flags"].to_string().contains("unpriced"), "{row}");
    assert_eq!(spent["cost_unknown_calls"], 1, "{spent}");
    // What was refused without usage cost nothing, and that is known.
    let refused = || {
        let text = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        vec![Step::Send(text.as_bytes().to_vec())]
    };
    let (row, spent) = recorded("", refused);
    assert_eq!(
        (&row["quality"], &row["cost_nano_usd"], &row["status"]),
        (&json!("reported"), &json!(0), &json!(400)),
        "{row}"
    );
    assert_eq!(spent["cost_unknown_calls"], 0, "{spent}");
}

// LED-11
#[test]
fn a_store_that_takes_nothing_slows_and_refuses_no_call_that_no_budget_counts() {
    let origin = origin();
    let config = "store: { busy_timeout: 100ms }\naudit: { store_in_db: false }\n";
    let (gateway, token) = llm(&origin, "openai", config);
    assert_eq!(call(&gateway, &token).status, 200);
    records(&gateway, 1);
    let held = Held::of(&gateway);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    held.let_go();
    let rows = records(&gateway, 21);
    assert_eq!(rows.len(), 21, "each once");
    assert!(
        gateway
            .metrics_text()
            .contains("\ntollkeep_usage_records_lost_total 0\n")
    );
}

// LED-11
#[test]
fn what_waits_to_be_written_is_written_before_the_gateway_has_stopped() {
    let origin = origin();
    let (gateway, token) = llm(&origin, "openai", "");
    for _ in 0..30 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    let gateway = stopped(gateway);
    let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
    assert_eq!(page["data"].as_array().map(Vec::len), Some(30), "{page}");
}

// LED-80
#[test]
fn only_calls_that_a_budget_counts_are_written_down_where_that_is_asked_for() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: a, scope: { metadata: { team: a } }, limit: \"$1\", window: month }] }\n";
    let (gateway, counted) = served(
        &origin,
        "",
        &format!("ledger: {{ usage: counted }}\n{budget}"),
    );
    let other = gateway.mint_token(&json!({"project": "default"}));
    for token in [&other, &counted, &other] {
        assert_eq!(call(&gateway, token).status, 200);
    }
    let gateway = stopped(gateway);
    let row = only(&gateway);
    assert!(row["hold"].is_string(), "{row}");
}

// LED-11
#[test]
fn a_name_that_no_server_takes_keeps_no_usage_from_being_written() {
    let server = Postgres::start();
    let origin = Origin::start(|_| {
        answer(
            &json!({"object": "chat.completion", "model": "a\0b", "choices": [],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}),
        )
    });
    let gateway = on(&server, &provider(&origin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({"project": "default"}));
    let held = gateway.mint_token(&json!({"project": "default", "metadata": {"how": "held"}}));
    let made = json!({"name": "held", "scope": {"metadata": {"how": "held"}}, "limit": "$1", "window": "month"});
    crate::budgets::made(&gateway, &made);
    for token in [&token, &held] {
        assert_eq!(gateway.call(&chat(token, &body(false))).status, 200);
    }
    let rows = records(&gateway, 2);
    assert!(
        rows.iter().all(|row| row["model_served"] == "a\u{fffd}b"),
        "{rows:?}"
    );
}
