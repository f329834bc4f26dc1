//! Upstreams that break their own contract: more output than the cap that was written into the call.
//! What was seen is recorded in full, its payer pays the bound at most, and the model waits until
//! somebody has looked. Upstreams that keep to it are never taken for such.

use crate::fixture::{chat, gateway, llm, llm_call};
use crate::held::{CAP, PRICES, answer, body, bound, budget, delta, end_of_stream, settled, sums};
use serde_json::{Value, json};
use tollkeep_testkit::{
    Gate, Gateway, Origin, Step, chunk, chunked_head, eventually, json as answer_json,
};

/// The record of the last call.
fn last_record(gateway: &Gateway) -> Value {
    eventually("its record", || {
        let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
        page["data"].get(0).cloned()
    })
}

fn quarantined(gateway: &Gateway) -> Vec<String> {
    let (status, list) = gateway.api("GET", "/api/v1/quarantine", None);
    assert_eq!(status, 200, "{list}");
    let models = list.as_array().unwrap().iter();
    models
        .map(|one| one["model"].as_str().unwrap().to_owned())
        .collect()
}

fn is_quarantined(gateway: &Gateway, model: &str) {
    eventually("the model is in quarantine", || {
        quarantined(gateway)
            .iter()
            .any(|one| one == model)
            .then_some(())
    });
}

/// Nothing was seen that would be one: what is told of the call is written by then.
fn no_overrun(gateway: &Gateway, name: &str) {
    eventually("its end is recorded", || {
        let told = gateway.audit_lines();
        told.iter()
            .any(|line| line["action"] == "money.settle")
            .then_some(())
    });
    let told = gateway.audit_lines();
    let is_one = |line: &Value| line["action"] == "ledger.overrun";
    assert!(!told.iter().any(is_one), "{name}: {told:?}");
    assert_eq!(quarantined(gateway), Vec::<String>::new(), "{name}");
}

fn checked(gateway: &Gateway) {
    let (_, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!(report["valid"], true, "{report}");
}

// LED-53 LED-57
#[test]
fn the_disobedient_sandbox_is_stopped_booked_and_quarantined_in_every_dialect() {
    const SAID: &str = "sandbox:disobey=10,gap=1; write something";
    let chat = json!({"model": "sandbox-1", "stream": true, "max_completion_tokens": 50,
        "messages": [{"role": "user", "content": SAID}]});
    let messages = json!({"model": "sandbox-1", "stream": true, "max_tokens": 50,
        "messages": [{"role": "user", "content": SAID}]});
    let responses =
        json!({"model": "sandbox-1", "stream": true, "max_output_tokens": 50, "input": SAID});
    for (path, call, told, end) in [
        (
            "/v1/chat/completions",
            chat,
            "budget_exhausted",
            "data: [DONE]",
        ),
        ("/v1/messages", messages, "billing_error", "message_stop"),
        (
            "/v1/responses",
            responses,
            "budget_exhausted",
            "response.completed",
        ),
    ] {
        let gateway = gateway("sandbox: { upstream: true }\n").start();
        let token = gateway.mint_token(&json!({"project": "default"}));
        let limit = json!({"unit": "usd", "limit": "$0.01"});
        let id = budget(&gateway, &limit);
        let request = llm_call(path, &token, &call.to_string());
        let streamed = gateway.call(&request);
        assert_eq!(streamed.status, 200, "{path}: {}", streamed.text());
        let text = streamed.text();
        assert!(text.contains(told), "{path}: {text}");
        assert!(!text.contains(end), "{path}: {text}");
        let record = last_record(&gateway);
        assert_eq!(record["quality"], "estimated", "{path}: {record}");
        is_quarantined(&gateway, "sandbox-1");
        gateway.audit_line("the overrun", |line| line["action"] == "ledger.overrun");
        let [spent, reserved, leased] = sums(&gateway, &id);
        assert!(
            spent + reserved + leased <= 10_000_000,
            "{path}: over its limit"
        );
        let refused = gateway.call(&request);
        let code = refused.field("x-tollkeep-error");
        assert_eq!(
            code,
            Some("cost_not_boundable"),
            "{path}: {}",
            refused.text()
        );
        checked(&gateway);
    }
}

fn events_of(text: &str, times: usize) -> Vec<Step> {
    let mut steps = vec![chunked_head("text/event-stream")];
    steps.extend((0..times).map(|_| delta(text)));
    steps
}

// LED-53 LED-57
#[test]
fn a_stream_beyond_its_cap_is_an_overrun_and_its_model_waits_to_be_looked_after() {
    let gate = Gate::default();
    let hold = gate.clone();
    let origin = Origin::start(move |_| {
        let mut steps = events_of("word ", 2 * usize::try_from(CAP).unwrap());
        steps.push(Step::Wait(hold.clone()));
        steps
    });
    for durability in ["lease", "strict"] {
        let (gateway, token) = llm(&origin, "openai", PRICES);
        let rules = json!({"unit": "usd", "limit": {"nano_usd": 1_000}, "durability": durability});
        let id = budget(&gateway, &rules);
        let call = body(true);
        let stopped = gateway.call(&chat(&token, &call)).text();
        assert!(
            stopped.contains("budget_exhausted"),
            "{durability}: {stopped}"
        );
        let record = last_record(&gateway);
        let number = |name: &str| {
            record[name]
                .as_i64()
                .unwrap_or_else(|| panic!("{name}: {record}"))
        };
        assert_eq!(record["quality"], "estimated", "{record}");
        assert_eq!(number("cost_nano_usd"), bound(&call), "{record}");
        assert!(
            number("upstream_cost_nano_usd") > bound(&call),
            "as much as was seen: {record}"
        );
        settled(&gateway, &id, bound(&call));
        is_quarantined(&gateway, "m");
        let event = gateway.audit_line("the overrun", |line| line["action"] == "ledger.overrun");
        assert_eq!(event["details"]["model"], "m", "{event}");
        assert!(gateway.metrics_text().contains("tollkeep_overruns_total 1"));
        let refused = gateway.call(&chat(&token, &call));
        assert_eq!(
            (refused.status, &*refused.code()),
            (400, "cost_not_boundable")
        );
        let acked = gateway.cli(&["price", "ack", "m", "--provider", "openai"]);
        assert!(acked.status.success(), "{acked:?}");
        assert_eq!(gateway.call(&chat(&token, &call)).status, 200);
        checked(&gateway);
    }
    gate.open();
}

// LED-53
#[test]
fn more_tokens_than_the_cap_are_an_overrun_where_tokens_alone_are_counted() {
    // No price: its tokens are bounded all the same.
    let origin = Origin::start(|_| answer_json(&answer(9, 5_000)));
    for durability in ["lease", "strict"] {
        let (gateway, token) = llm(&origin, "openai", "");
        let most = bound(&body(false));
        let rules = json!({"unit": "tokens", "limit": 3 * most, "durability": durability});
        let id = budget(&gateway, &rules);
        assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
        is_quarantined(&gateway, "m");
        gateway.audit_line("the overrun", |line| line["action"] == "ledger.overrun");
        settled(&gateway, &id, most);
        let refused = gateway.call(&chat(&token, &body(false)));
        assert_eq!(
            (refused.status, &*refused.code()),
            (400, "cost_not_boundable"),
            "{durability}"
        );
        checked(&gateway);
    }
}

// LED-53
#[test]
fn more_output_than_the_cap_is_an_overrun_though_the_call_cost_less_than_its_bound() {
    let origin = Origin::start(|_| answer_json(&answer(1, CAP + 1)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(&gateway, &json!({"unit": "usd", "limit": "$0.01"}));
    assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
    is_quarantined(&gateway, "m");
    eventually("what it cost is paid", || {
        (sums(&gateway, &id)[0] == CAP + 2).then_some(())
    });
}

// LED-53 LED-57
#[test]
fn a_stream_of_which_nothing_else_is_known_is_an_overrun_too_and_charged_its_bound() {
    let event = |kind: &str, rest: &str| {
        chunk(format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n").as_bytes())
    };
    // It never tells its usage.
    let origin = Origin::start(move |_| {
        let mut steps = vec![chunked_head("text/event-stream")];
        let text = ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}";
        steps.extend((0..400).map(|_| event("content_block_delta", text)));
        steps.push(Step::Hang);
        steps
    });
    let (gateway, token) = llm(&origin, "anthropic", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let call = body(true);
    let stopped = gateway
        .call(&llm_call("/v1/messages", &token, &call))
        .text();
    assert!(stopped.contains("event: error"), "{stopped}");
    assert_eq!(last_record(&gateway)["quality"], "unknown");
    settled(&gateway, &id, bound(&call));
    is_quarantined(&gateway, "m");
    checked(&gateway);
}

// LED-57
#[test]
fn an_upstream_that_keeps_to_its_cap_is_never_stopped_nor_taken_for_one_that_does_not() {
    let spaces = " ".repeat(128);
    let dashes = "-".repeat(64);
    let all = usize::try_from(CAP).unwrap();
    let letters = "a word ".repeat(all / 2);
    let letters: Vec<_> = letters
        .chars()
        .map(|letter| delta(letter.encode_utf8(&mut [0; 4])))
        .collect();
    let thought = |text: &str| {
        chunk(format!("data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning\":\"{text}\",\"reasoning_details\":[{{\"text\":\"{text}\"}}]}}}}]}}\n\n").as_bytes())
    };
    let rows = [
        (
            "a token of many spaces",
            (0..all).map(|_| delta(&spaces)).collect(),
        ),
        (
            "a token of many dashes",
            (0..all).map(|_| delta(&dashes)).collect(),
        ),
        ("letter by letter", letters),
        ("word by word", (0..all).map(|_| delta(" word")).collect()),
        (
            "what it thought, told in more words",
            (0..3 * all).map(|_| thought(" in other words")).collect(),
        ),
        ("no word of its own", vec![]),
    ];
    for (name, steps) in rows {
        let origin = Origin::start(move |_| {
            let mut all = vec![chunked_head("text/event-stream")];
            all.extend(steps.iter().cloned());
            all.extend(end_of_stream(9, CAP));
            all
        });
        let (gateway, token) = llm(&origin, "openai", PRICES);
        let id = budget(
            &gateway,
            &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
        );
        let answer = gateway.call(&chat(&token, &body(true)));
        let text = answer.text();
        assert!(text.ends_with("data: [DONE]\n\n"), "{name}: {text}");
        settled(&gateway, &id, 9 + CAP);
        no_overrun(&gateway, name);
    }
}

// LED-53
#[test]
fn who_hangs_up_or_is_cut_off_makes_no_overrun() {
    let cut = Origin::start(|_| {
        let mut steps = events_of(" word", 20);
        steps.push(Step::Close);
        steps
    });
    let (gateway, token) = llm(&cut, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$0.01", "durability": "strict"}),
    );
    let answer = gateway.call(&chat(&token, &body(true)));
    assert!(!answer.text().contains("[DONE]"));
    settled(&gateway, &id, bound(&body(true)));
    assert_eq!(last_record(&gateway)["quality"], "estimated");
    no_overrun(&gateway, "cut off");
}

// LED-53
#[test]
fn what_a_credentials_own_server_does_puts_no_model_in_quarantine_for_others() {
    let (honest, own) = (
        Origin::start(|_| answer_json(&answer(9, 30))),
        Origin::start(|_| answer_json(&answer(9, 5_000))),
    );
    let (gateway, token) = llm(&honest, "openai", PRICES);
    let place = json!({"provider": "openai", "secret": "sk-own-Zq8kTm2vXw7pLs4n", "priority": 5,
        "base_url": format!("{}/v1", own.url())});
    let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&place));
    assert_eq!(status, 201, "{made}");
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$1", "durability": "strict"}),
    );
    let call = body(false);
    for _ in 0..2 {
        assert_eq!(gateway.call(&chat(&token, &call)).status, 200);
    }
    assert_eq!((own.count(), honest.count()), (2, 0));
    settled(&gateway, &id, 2 * bound(&call));
    gateway.audit_line("the overrun", |line| line["action"] == "ledger.overrun");
    assert_eq!(quarantined(&gateway), Vec::<String>::new());
    checked(&gateway);
}
