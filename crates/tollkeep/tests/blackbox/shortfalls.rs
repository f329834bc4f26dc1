//! Budgets that keep a limit roughly, calls that are made smaller until they fit, models that billed
//! more than their bound, and attempts that failed.

use crate::fixture::{chat, llm, post};
use crate::held::{CAP, PRICES, answer, body, bound, budget, settled, sums};
use crate::spending::served;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tollkeep_testkit::{Gateway, Origin, Step, eventually, json as answer_json};

/// An error of the upstream, with this body.
fn with_status(status: u16, body: &Value) -> Vec<Step> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send((head + &body).into_bytes())]
}

fn sent(origin: &Origin) -> Value {
    serde_json::from_slice(&origin.last().body).unwrap()
}

// LED-45
#[test]
fn a_soft_budget_takes_a_guess_and_is_overspent_by_what_is_under_way_alone() {
    let origin = Origin::start(|_| answer_json(&answer(9, 5_000)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(
        &gateway,
        &json!({"unit": "tokens", "limit": 1_000, "enforcement": "soft"}),
    );
    let call = json!({"model": "m", "max_tokens": CAP, "messages": [], "a_new_field": 1});
    let served = gateway.call(&chat(&token, &call.to_string()));
    assert_eq!(
        served.status,
        200,
        "what can't be bounded is guessed: {}",
        served.text()
    );
    assert_eq!(sent(&origin), call, "and goes out as it came");
    settled(&gateway, &id, 5_009);
    gateway.audit_line("the overshoot", |line| line["action"] == "budget.overshoot");
    let refused = gateway.call(&chat(&token, &call.to_string()));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "budget_exhausted")
    );
    assert_eq!(origin.count(), 1);
    let (_, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!(report["valid"], true, "{report}");
}

// LED-45
#[test]
fn a_soft_budget_of_money_wants_a_price_and_a_hard_one_beside_it_wants_a_bound() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$1", "enforcement": "soft"}),
    );
    let call = |model: &str| {
        let call = json!({"model": model, "messages": [], "a_new_field": 1}).to_string();
        let answer = gateway.call(&chat(&token, &call));
        (answer.status, answer.text())
    };
    assert_eq!(call("m").0, 200);
    let (status, told) = call("unheard-of");
    assert!(status == 400 && told.contains("model_not_priced"), "{told}");
    let hard = json!({"name": "hard", "unit": "tokens", "limit": 100_000});
    budget(&gateway, &hard);
    let (status, told) = call("m");
    assert!(
        status == 400 && told.contains("cost_not_boundable"),
        "{told}"
    );
}

// LED-45
#[test]
fn a_call_is_made_smaller_until_it_fits_but_not_below_the_least() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let call =
        json!({"model": "m", "max_tokens": 1_000, "messages": [{"role": "user", "content": "hi"}]});
    let call = call.to_string();
    let input = bound(&call) - CAP;
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": {"nano_usd": input + 300}, "on_short": "shrink"}),
    );
    let served = gateway.call(&chat(&token, &call));
    assert_eq!(served.status, 200, "{}", served.text());
    assert_eq!(
        sent(&origin)["max_tokens"],
        300,
        "as much as there is room for"
    );
    assert_eq!(served.field("x-tollkeep-max-output"), Some("300"));
    settled(&gateway, &id, 39);
    // With 39 gone, 261 are left for output: one more call fits, and then none.
    assert_eq!(gateway.call(&chat(&token, &call)).status, 200);
    assert_eq!(sent(&origin)["max_tokens"], 261);
    settled(&gateway, &id, 2 * 39);
    let refused = gateway.call(&chat(&token, &call));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "budget_exhausted")
    );
    assert_eq!(refused.field("x-tollkeep-budget"), Some(id.as_str()));
    assert_eq!(origin.count(), 2);
}

// LED-45
#[test]
fn the_least_cap_and_the_end_of_a_hold_are_as_the_settings_say() {
    let origin = Origin::start(|_| vec![Step::Hang]);
    let config = format!(
        "{PRICES}budgets: {{ min_output_cap: 20 }}\nledger: {{ hold_grace: 45s, durability: strict }}\n"
    );
    let (gateway, token) = llm(&origin, "openai", &config);
    let call = body(false);
    let limit = bound(&call) - CAP + 20;
    let rules = json!({"unit": "usd", "limit": {"nano_usd": limit}, "on_short": "shrink"});
    let id = budget(&gateway, &rules);
    let mut client = gateway.connect();
    assert!(client.send(&chat(&token, &call)));
    origin.wait_for(1);
    assert_eq!(sent(&origin)["max_tokens"], 20);
    assert_eq!(sums(&gateway, &id)[1], limit);
    let (_, holds) = gateway.api("GET", "/api/v1/holds?state=committed", None);
    let time = |name: &str| {
        let text = holds["data"][0][name].as_str().unwrap();
        text.parse::<tollkeep_types::WallMillis>().unwrap().0
    };
    // As long as the longest call, an hour, and the grace.
    assert_eq!(time("expires_at") - time("at"), 3_645_000, "{holds}");
}

// LED-51
#[test]
fn a_hold_is_there_for_as_long_as_its_call_may_take_and_two_minutes() {
    let origin = Origin::start(|_| vec![Step::Hang]);
    for (times, lives) in [
        ("", 3_720_000),
        ("    timeouts: { total_ms: 100s }\n", 220_000),
    ] {
        let url = origin.url();
        let gateway = crate::fixture::gateway(format!(
            "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n\
             {times}    credentials: [{{ secret: none }}]\n{PRICES}"
        ));
        let gateway = gateway.start();
        let token = gateway.mint_token(&json!({ "project": "default" }));
        budget(
            &gateway,
            &json!({"unit": "usd", "limit": "$1", "durability": "strict"}),
        );
        let (mut client, sent) = (gateway.connect(), origin.count());
        assert!(client.send(&chat(&token, &body(false))));
        origin.wait_for(sent + 1);
        let (_, holds) = gateway.api("GET", "/api/v1/holds?state=committed", None);
        let time = |name: &str| {
            let text = holds["data"][0][name].as_str().unwrap();
            text.parse::<tollkeep_types::WallMillis>().unwrap().0
        };
        assert_eq!(time("expires_at") - time("at"), lives, "{holds}");
    }
}

fn overrun(gateway: &Gateway, token: &str) {
    let served = gateway.call(&chat(token, &body(false)));
    assert_eq!(served.status, 200, "{}", served.text());
}

// LED-53 LED-80 LED-81 LED-82 LED-85
#[test]
fn what_an_upstream_asks_beyond_the_bound_is_told_beside_what_the_payer_is_charged() {
    let origin = Origin::start(|_| answer_json(&answer(9, 5_000)));
    let most = bound(&body(false));
    for inline in ["", "x-tollkeep-receipt: inline\r\n"] {
        let config = format!("{PRICES}llm: {{ expose_cost: true }}\n");
        let (gateway, token) = llm(&origin, "openai", &config);
        let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
        let id = budget(&gateway, &rules);
        let lines =
            format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{inline}");
        let call = post("/v1/chat/completions", &lines, body(false).as_bytes());
        let served = gateway.call(&call);
        assert_eq!(served.status, 200, "{}", served.text());
        let told = served.field("x-tollkeep-cost");
        assert_eq!(told, Some(&*format!("0.{most:09}")), "{inline}");
        settled(&gateway, &id, most);
        let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
        let row = &page["data"][0];
        let line = eventually("its usage line", || gateway.usage_lines().pop());
        let (_, sums) = gateway.api("GET", "/api/v1/usage", None);
        for told in [row, &line, &sums["data"][0]] {
            assert_eq!(told["cost_nano_usd"], most, "{told}");
            assert_eq!(told["upstream_cost_nano_usd"], 5_009, "{told}");
        }
        let request = row["request_id"].as_str().unwrap();
        let place = format!("/.well-known/tollkeep/receipts/{request}");
        let line = format!("Authorization: Bearer {token}\r\n");
        let receipts = gateway.call(&crate::callers::get(&place, &line)).json();
        let cost = &crate::receipts::payload(receipts["receipts"][0].as_str().unwrap())["cost"];
        assert_eq!(
            (&cost["amount"], &cost["bound"]),
            (&json!(most), &json!(most)),
            "{cost}"
        );
        assert_eq!(cost["upstream"], 5_009, "{cost}");
        eventually("the metrics say it too", || {
            (crate::money_told::spent(&gateway, "reported") == most).then_some(())
        });
    }
}

// LED-53
#[test]
fn a_model_that_billed_more_than_its_bound_is_left_alone_until_somebody_looks() {
    let origin = Origin::start(|_| answer_json(&answer(9, 5_000)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
    let id = budget(&gateway, &rules);
    overrun(&gateway, &token);
    let most = bound(&body(false));
    settled(&gateway, &id, most);
    gateway.audit_line("the overrun", |line| line["action"] == "ledger.overrun");
    let refuses = |gateway: &Gateway| {
        eventually("the model is refused", || {
            let refused = gateway.call(&chat(&token, &body(false)));
            (refused.code() == "cost_not_boundable").then_some(refused.status)
        })
    };
    assert_eq!(refuses(&gateway), 400);
    let gateway = gateway.restart().unwrap();
    assert_eq!(refuses(&gateway), 400, "also after a restart");
    let listed = gateway.cli(&["price", "quarantine", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (&listed["data"][0]["provider"], &listed["data"][0]["model"]),
        (&json!("openai"), &json!("m")),
        "{listed}"
    );
    assert!(
        !gateway
            .cli(&["price", "ack", "unheard-of"])
            .status
            .success()
    );
    let acked = gateway.cli(&["price", "ack", "m", "--provider", "openai"]);
    assert!(acked.status.success(), "{acked:?}");
    gateway.audit_line("who looked", |line| line["action"] == "price.ack");
    overrun(&gateway, &token);
    let (_, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!(report["valid"], true, "{report}");
}

// LED-53
#[test]
fn without_quarantine_such_a_model_goes_on_being_charged_its_bound() {
    let origin = Origin::start(|_| answer_json(&answer(9, 5_000)));
    let config = format!("{PRICES}budgets: {{ quarantine: false }}\n");
    let (gateway, token) = llm(&origin, "openai", &config);
    let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
    let id = budget(&gateway, &rules);
    overrun(&gateway, &token);
    eventually("it is noticed", || {
        let (_, listed) = gateway.api("GET", "/api/v1/quarantine", None);
        (listed[0]["model"] == "m").then_some(())
    });
    overrun(&gateway, &token);
    settled(&gateway, &id, 2 * bound(&body(false)));
}

/// A gateway with two credentials, whose upstream fails the first attempt of each call in this way.
fn failing(
    first: impl Fn() -> Vec<Step> + Send + Sync + 'static,
    config: &str,
) -> (Origin, Gateway, String) {
    let calls = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match calls.fetch_add(1, Ordering::Relaxed) % 2 {
        0 => first(),
        _ => answer_json(&answer(9, 30)),
    });
    let second = "    # another\n";
    let (gateway, token) = served(&origin, second, &format!("{PRICES}{config}"));
    let body = json!({"provider": "openai", "secret": "sk-second-Zq8kTm2vXw7pLs4n"});
    let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&body));
    assert_eq!(status, 201, "{made}");
    (origin, gateway, token)
}

// LED-54 LED-85
#[test]
fn an_attempt_that_was_billed_stays_charged_and_one_that_was_not_is_free() {
    let billed = || {
        with_status(
            503,
            &json!({"error": {"message": "m"}, "usage": {"prompt_tokens": 9, "completion_tokens": 11, "total_tokens": 20}}),
        )
    };
    let free = || with_status(503, &json!({"error": {"message": "m"}}));
    for (name, first, spent) in [
        (
            "billed",
            Box::new(billed) as Box<dyn Fn() -> Vec<Step> + Send + Sync>,
            20 + 39,
        ),
        ("free", Box::new(free), 39),
    ] {
        let (origin, gateway, token) = failing(first, "");
        let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
        let id = budget(&gateway, &rules);
        let served = gateway.call(&chat(&token, &body(false)));
        assert_eq!(served.status, 200, "{name}: {}", served.text());
        assert_eq!(origin.count(), 2, "{name}");
        settled(&gateway, &id, spent);
        eventually("the metrics say it too", || {
            (crate::money_told::spent(&gateway, "reported") == spent).then_some(())
        });
    }
}

// LED-54
#[test]
fn where_settings_say_so_the_operator_bears_what_failed_attempts_were_billed() {
    let billed = || {
        with_status(
            503,
            &json!({"error": {"message": "m"}, "usage": {"prompt_tokens": 9, "completion_tokens": 11, "total_tokens": 20}}),
        )
    };
    let config = "budgets: { charge_failed_attempts: false }\n";
    for durability in ["strict", "lease"] {
        let (origin, gateway, token) = failing(billed, config);
        let rules = json!({"unit": "usd", "limit": "$1", "durability": durability});
        let id = budget(&gateway, &rules);
        let served = gateway.call(&chat(&token, &body(false)));
        assert_eq!(served.status, 200, "{durability}: {}", served.text());
        assert_eq!(origin.count(), 2, "{durability}");
        eventually("the answer alone is paid for", || {
            (sums(&gateway, &id)[0] == 39).then_some(())
        });
        let rows = eventually("both attempts are told", || {
            let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
            let rows = page["data"].as_array().cloned().unwrap_or_default();
            (rows.len() == 2).then_some(rows)
        });
        let of = |attempt: u32| rows.iter().find(|row| row["attempt"] == attempt).unwrap();
        let told = |attempt: u32| {
            let row = of(attempt);
            (
                row["cost_nano_usd"].clone(),
                row["upstream_cost_nano_usd"].clone(),
            )
        };
        assert_eq!(told(1), (json!(0), json!(20)), "{rows:?}");
        assert_eq!(told(2), (json!(39), Value::Null), "{rows:?}");
        let checked = gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
}

// LED-54
#[test]
fn a_call_whose_only_attempt_failed_costs_its_payer_nothing_where_the_operator_bears_that() {
    let origin = Origin::start(|_| {
        with_status(
            500,
            &json!({"error": {"message": "m"}, "usage": {"prompt_tokens": 9, "completion_tokens": 11, "total_tokens": 20}}),
        )
    });
    for (config, cost) in [
        ("", 20),
        ("budgets: { charge_failed_attempts: false }\n", 0),
    ] {
        let (gateway, token) = llm(&origin, "openai", &format!("{PRICES}{config}"));
        let rules = json!({"unit": "usd", "limit": "$1", "durability": "strict"});
        let id = budget(&gateway, &rules);
        assert!(gateway.call(&chat(&token, &body(false))).status >= 500);
        let row = eventually("its record", || {
            let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
            page["data"].get(0).cloned()
        });
        assert_eq!(row["cost_nano_usd"], cost, "{config}: {row}");
        settled(&gateway, &id, cost);
    }
}

// LED-54
#[test]
fn without_room_for_another_attempt_the_first_failure_is_final() {
    let billed = || {
        with_status(
            503,
            &json!({"error": {"message": "m"}, "usage": {"prompt_tokens": 9, "completion_tokens": 11, "total_tokens": 20}}),
        )
    };
    let (origin, gateway, token) = failing(billed, "");
    let most = bound(&body(false));
    let rules = json!({"unit": "usd", "limit": {"nano_usd": 2 * most - 1}, "durability": "strict"});
    let id = budget(&gateway, &rules);
    let failed = gateway.call(&chat(&token, &body(false)));
    assert!(failed.status >= 500, "{}: {}", failed.status, failed.text());
    assert_eq!(origin.count(), 1, "the second attempt was not made");
    settled(&gateway, &id, 20);
}

#[test]
fn a_call_that_more_budgets_count_than_can_be_taken_at_once_is_refused_whole() {
    const MOST: usize = 32;
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let ids: Vec<String> = (0..MOST)
        .map(|number| {
            let rules = json!({"name": format!("b{number}"), "unit": "usd", "limit": "$1"});
            budget(&gateway, &rules)
        })
        .collect();
    let served = gateway.call(&chat(&token, &body(false)));
    assert_eq!(served.status, 200, "{}", served.text());
    for id in &ids {
        settled(&gateway, id, 39);
    }
    let last = budget(
        &gateway,
        &json!({"name": "one more", "unit": "usd", "limit": "$1"}),
    );
    let refused = gateway.call(&chat(&token, &body(false)));
    assert_eq!(
        (refused.status, &*refused.code()),
        (400, "cost_not_boundable"),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("32 budgets"), "{}", refused.text());
    assert_eq!(origin.count(), 1);
    assert_eq!(
        sums(&gateway, &ids[0])[0],
        39,
        "nothing is taken of the others"
    );
    // What counts other calls alone stands in nobody's way.
    let (status, gone) = gateway.api("DELETE", &format!("/api/v1/budgets/{last}"), None);
    assert!(status < 300, "{status} {gone}");
    let other =
        json!({"name": "one more", "unit": "usd", "limit": "$1", "scope": {"model": "else"}});
    budget(&gateway, &other);
    assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
}
