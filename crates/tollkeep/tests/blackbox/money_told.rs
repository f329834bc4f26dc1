//! What of money is told to operators: metrics of holds and slices, events of what is taken aside.

use crate::fixture::{chat, llm};
use crate::held::{PRICES, body, bound, budget, settled};
use crate::spending::{call, origin, served};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, eventually, json as answer};

/// The value of a sample.
fn sample(gateway: &Gateway, name: &str) -> Option<f64> {
    let text = gateway.metrics_text();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

fn counted(gateway: &Gateway, name: &str, want: f64) {
    eventually(name, || (sample(gateway, name) == Some(want)).then_some(()));
}

fn action(line: &Value, action: &str) -> bool {
    line["action"] == action
}

// LED-85 LED-86
#[test]
fn a_budget_with_room_tells_of_its_slices_and_not_of_each_hold() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: all, limit: \"$10\", window: month }] }\n";
    let (gateway, token) = served(&origin, "", budget);
    // Those before the first slice are held one by one.
    let mut alone = 0.0;
    eventually("a slice", || {
        assert_eq!(call(&gateway, &token).status, 200);
        alone += 1.0;
        (sample(&gateway, "tollkeep_leases{state=\"active\"}") == Some(1.0)).then_some(())
    });
    for _ in 0..2 {
        assert_eq!(call(&gateway, &token).status, 200);
    }
    let calls = alone + 2.0;
    counted(&gateway, "tollkeep_hold_seconds_count", calls);
    counted(&gateway, "tollkeep_bound_ratio_count", calls);
    counted(&gateway, "tollkeep_holds{state=\"open\"}", 0.0);
    counted(&gateway, "tollkeep_holds{state=\"unwritten\"}", 0.0);
    counted(&gateway, "tollkeep_overruns_total", 0.0);
    counted(&gateway, "tollkeep_unresolved_nano_usd", 0.0);
    let used = sample(&gateway, "tollkeep_bound_ratio_sum").unwrap() / calls;
    assert!(used > 0.0 && used < 1.0, "a part of the bound: {used}");
    assert!(sample(&gateway, "tollkeep_ledger_flush_seconds_count").unwrap() >= 2.0);
    let lease = gateway.audit_line("a slice", |line| action(line, "money.lease"));
    let details = &lease["details"];
    assert!(
        details["lease"].as_str().unwrap().starts_with("lse_"),
        "{lease}"
    );
    assert!(
        details["budget"].as_str().unwrap().starts_with("bud_"),
        "{lease}"
    );
    assert!(details["amount"].as_u64().unwrap() > 0, "{lease}");
    let holds = gateway.audit_lines();
    let holds = holds.iter().filter(|line| action(line, "money.hold"));
    assert!(
        f64::from(u32::try_from(holds.count()).unwrap()) <= alone,
        "those that slices bear have no event of their own"
    );
}

// LED-85 LED-86
#[test]
fn a_tight_budget_tells_of_each_hold_and_of_what_it_refuses() {
    let origin = origin();
    let budget = "budgets: { list: [{ name: all, limit: \"$0.001\", window: month }] }\n";
    let (gateway, token) = served(&origin, "", budget);
    let refused = eventually("a refusal", || {
        let answer = call(&gateway, &token);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 402, "{}", refused.text());
    counted(
        &gateway,
        "tollkeep_budget_refusals_total{unit=\"usd\"}",
        1.0,
    );
    let held = gateway.audit_line("a hold", |line| action(line, "money.hold"));
    let hold = held["details"]["hold"].clone();
    assert!(
        held["details"]["bound"].as_u64().unwrap() > 35_000,
        "{held}"
    );
    let settled = gateway.audit_line("its end", |line| {
        action(line, "money.settle") && line["details"]["hold"] == hold
    });
    assert_eq!(settled["details"]["amount"], 35_000, "{settled}");
    assert_eq!(
        sample(&gateway, "tollkeep_leases{state=\"active\"}"),
        Some(0.0)
    );
}

// LED-13 LED-33 LED-86
#[test]
fn what_has_no_price_and_what_cannot_be_is_recorded() {
    let origin = Origin::start(|request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let prompt = if asked["model"] == "gpt-4o" { -1 } else { 10 };
        answer(&json!({
            "object": "chat.completion", "model": asked["model"], "choices": [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": 1, "total_tokens": 11},
        }))
    });
    let (gateway, token) = llm(&origin, "openai", "");
    let ask = |model: &str| {
        let body =
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]}}"#);
        assert_eq!(gateway.call(&chat(&token, &body)).status, 200);
    };
    for model in ["nobody-knows", "nobody-knows", "gpt-4o"] {
        ask(model);
    }
    let odd = gateway.audit_line("nonsense", |line| action(line, "ledger.usage_implausible"));
    assert_eq!(odd["details"]["model"], "gpt-4o", "{odd}");
    let unpriced = gateway.audit_line("no price", |line| action(line, "ledger.unpriced"));
    assert_eq!(unpriced["details"]["model"], "nobody-knows", "{unpriced}");
    assert_eq!(unpriced["details"]["provider"], "openai", "{unpriced}");
    let lines = gateway.audit_lines();
    let told = lines
        .iter()
        .filter(|line| action(line, "ledger.unpriced"))
        .count();
    assert_eq!(told, 1, "once a minute for a project");
}

/// What calls to all providers and models cost by the metrics, of this quality.
pub(crate) fn spent(gateway: &Gateway, quality: &str) -> i64 {
    let (text, label) = (gateway.metrics_text(), format!("quality=\"{quality}\""));
    let lines = text.lines();
    let lines = lines.filter(|line| line.starts_with("tollkeep_spend_nano_usd_total{"));
    let lines = lines.filter(|line| line.contains(&label));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok());
    values.sum()
}

// LED-85
#[test]
fn a_cost_that_nobody_says_is_counted_as_it_is_charged() {
    // Nobody says what it cost: all of its bound is charged.
    let silent = Origin::start(|_| answer(&json!({"id": "x", "model": "m", "choices": []})));
    let (gateway, token) = llm(&silent, "openai", PRICES);
    let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
    let id = budget(&gateway, &rules);
    assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
    settled(&gateway, &id, bound(&body(false)));
    eventually("what is charged", || {
        let unknown = spent(&gateway, "unknown");
        (unknown == bound(&body(false))).then_some(())
    });
    assert_eq!(spent(&gateway, "reported"), 0);
}

// LED-63 LED-86
#[test]
fn steps_of_a_budget_are_told_once_with_whose_it_is_and_what_is_used() {
    let origin = Origin::start(|_| answer(&crate::held::answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let rules = json!({"unit": "requests", "limit": 4, "window": "month", "durability": "strict",
        "warn": [50, 80, 100]});
    let id = budget(&gateway, &rules);
    let (_, projects) = gateway.api("GET", "/api/v1/projects", None);
    let tenant = &projects["data"][0]["tenant_id"];
    for _ in 0..4 {
        assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
    }
    let used_up = gateway.audit_line("it is used up", |line| action(line, "budget.exhausted"));
    let details = &used_up["details"];
    assert_eq!(
        (&details["spent"], &details["limit"]),
        (&json!(4), &json!(4)),
        "{used_up}"
    );
    let lines = gateway.audit_lines();
    let steps: Vec<_> = lines
        .iter()
        .filter(|line| action(line, "budget.threshold"))
        .collect();
    let told = steps.iter().map(|line| {
        let details = &line["details"];
        assert_eq!(
            (&details["budget"], &line["tenant_id"]),
            (&json!(id), tenant),
            "{line}"
        );
        let end = details["window_end"].as_str().unwrap();
        assert!(end.ends_with("-01T00:00:00.000Z"), "{line}");
        (
            details["percent"].as_u64().unwrap(),
            details["spent"].as_u64().unwrap(),
        )
    });
    assert_eq!(told.collect::<Vec<_>>(), [(50, 2), (80, 4), (100, 4)]);
    let times = |what: &str| lines.iter().filter(|line| action(line, what)).count();
    assert_eq!(times("budget.exhausted"), 1);
    // Each hold is told of with its call.
    let hold = lines
        .iter()
        .find(|line| action(line, "money.hold"))
        .unwrap();
    assert_eq!(&hold["tenant_id"], tenant, "{hold}");
    assert!(
        hold["request_id"].as_str().unwrap().starts_with("req_"),
        "{hold}"
    );
    assert_eq!(
        (&hold["details"]["model"], &hold["details"]["provider"]),
        (&json!("m"), &json!("openai")),
        "{hold}"
    );
}
