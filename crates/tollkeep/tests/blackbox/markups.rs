//! Markups: what calls are charged beyond what their upstream asks.

use crate::fixture::{chat, llm};
use crate::held::{PRICES, answer, body, bound, budget, settled};
use serde_json::{Value, json};
use tollkeep_testkit::{Gate, Gateway, Origin, PATIENCE, Step, eventually, json as answer_json};

/// What a call costs by [`PRICES`], and a tenth more, rounded up.
const COST: i64 = 9 + 30;
const MARKED_UP: i64 = 43;

fn marked_up(cost: i64) -> i64 {
    (cost * 11 + 9) / 10
}

/// [`PRICES`] with these further entries.
fn prices(more: &str) -> String {
    PRICES.replacen("overrides: [", &format!("overrides: [{more}, "), 1)
}

fn plain() -> Origin {
    Origin::start(|_| answer_json(&answer(9, 30)))
}

fn strict(limit_nano_usd: i64) -> Value {
    json!({"unit": "usd", "limit": {"nano_usd": limit_nano_usd}, "durability": "strict"})
}

/// The newest of so many usage records.
fn record(gateway: &Gateway, records: usize) -> Value {
    eventually("a usage record", || {
        let (_, page) = gateway.api("GET", "/api/v1/usage/records", None);
        let rows = page["data"].as_array().cloned().unwrap_or_default();
        (rows.len() == records).then(|| rows[0].clone())
    })
}

fn costs(record: &Value) -> [Value; 2] {
    ["cost_nano_usd", "upstream_cost_nano_usd"].map(|name| record[name].clone())
}

// LED-34 LED-80
#[test]
fn a_call_is_charged_with_the_markup_and_what_its_upstream_asks_is_kept_beside() {
    let own = r#"{ markup: "11/10", provider: openai }"#;
    let origin = plain();
    let (gateway, token) = llm(&origin, "openai", &prices(own));
    let id = budget(&gateway, &strict(1_000_000));
    let call = gateway.call(&chat(&token, &body(false)));
    assert_eq!(call.status, 200, "{}", call.text());
    settled(&gateway, &id, MARKED_UP);
    let line = eventually("its usage line", || gateway.usage_lines().pop());
    assert_eq!(costs(&line), [json!(MARKED_UP), json!(COST)], "{line}");
    let record = record(&gateway, 1);
    assert_eq!(costs(&record), [json!(MARKED_UP), json!(COST)], "{record}");
    assert_eq!(record["bound_nano_usd"], marked_up(bound(&body(false))));
    let (_, sums) = gateway.api("GET", "/api/v1/usage?group_by=provider", None);
    let sum = &sums["data"][0];
    assert_eq!(costs(sum), [json!(MARKED_UP), json!(COST)], "{sums}");
    assert_eq!(sum["upstream_cost_usd"], "0.000000039", "{sums}");
    let (_, spent) = gateway.api("GET", "/api/v1/spend/project/default", None);
    assert_eq!(spent["spent_nano_usd"], MARKED_UP, "{spent}");
    assert_eq!(spent["upstream_cost_nano_usd"], COST, "{spent}");
    let (_, shown) = gateway.api("GET", "/api/v1/prices/m?provider=openai", None);
    assert_eq!(shown["markup"], "11/10", "{shown}");
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

// LED-34 LED-40 LED-60
#[test]
fn a_budget_bounds_calls_with_the_markup_in() {
    let most = marked_up(bound(&body(false)));
    let own = r#"{ markup: "11/10", provider: openai }"#;
    for (durability, limit, status) in [
        ("strict", most - 1, 402),
        ("strict", most, 200),
        ("lease", most - 1, 402),
        ("lease", most, 200),
    ] {
        let origin = plain();
        let (gateway, token) = llm(&origin, "openai", &prices(own));
        let mut wanted = strict(limit);
        wanted["durability"] = json!(durability);
        budget(&gateway, &wanted);
        let call = gateway.call(&chat(&token, &body(false)));
        assert_eq!(call.status, status, "{durability} {limit}: {}", call.text());
        assert_eq!(origin.count(), usize::from(status == 200));
    }
}

// LED-34 LED-52
#[test]
fn a_call_whose_usage_nobody_tells_is_charged_its_bound_with_the_markup() {
    let origin = Origin::start(|_| {
        let mut told = answer(9, 30);
        told.as_object_mut().unwrap().remove("usage");
        answer_json(&told)
    });
    let own = r#"{ markup: "11/10", provider: openai }"#;
    let (gateway, token) = llm(&origin, "openai", &prices(own));
    let id = budget(&gateway, &strict(1_000_000));
    assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
    settled(&gateway, &id, marked_up(bound(&body(false))));
    let record = record(&gateway, 1);
    assert_eq!(record["quality"], "unknown", "{record}");
    let most = bound(&body(false));
    assert_eq!(
        costs(&record),
        [json!(marked_up(most)), json!(most)],
        "{record}"
    );
    assert_eq!(record["markup"], "11/10", "{record}");
}

/// What is booked of calls to the provider: what it is owed, within bounds and beyond.
fn booked(gateway: &Gateway) -> [i64; 3] {
    let (status, page) = gateway.api("GET", "/api/v1/ledger/accounts", None);
    assert_eq!(status, 200, "{page}");
    let accounts = page["data"].as_array().unwrap();
    ["payable", "upstream_cost", "overrun"].map(|kind| {
        let of = accounts.iter().filter(|account| account["kind"] == kind);
        of.map(|account| account["balance"].as_i64().unwrap()).sum()
    })
}

// LED-34 LED-52 LED-84
#[test]
fn a_bill_that_comes_later_is_charged_with_the_markup_of_its_call() {
    let origin = Origin::start(|_| {
        let mut told = answer(9, 30);
        told.as_object_mut().unwrap().remove("usage");
        answer_json(&told)
    });
    let own = r#"{ markup: "11/10", provider: openai }"#;
    let (gateway, token) = llm(&origin, "openai", &prices(own));
    let most = bound(&body(false));
    for (durability, bill) in [("strict", COST), ("lease", most + 10), ("lease", 0)] {
        let [owed, cost, overrun] = booked(&gateway);
        let mut wanted = strict(1_000_000);
        wanted["durability"] = json!(durability);
        wanted["name"] = json!(format!("{durability} {bill}"));
        let id = budget(&gateway, &wanted);
        let call = gateway.call(&chat(&token, &body(false)));
        assert_eq!(call.status, 200, "{}", call.text());
        settled(&gateway, &id, marked_up(most));
        assert_eq!(
            booked(&gateway),
            [owed - most, cost + most, overrun],
            "no markup is owed"
        );
        let request = call.field("x-request-id").unwrap();
        let hold = format!("hld_{}", request.strip_prefix("req_").unwrap());
        let bill_usd = format!("$0.{bill:09}");
        let said = [
            "hold", "settle", &hold, &bill_usd, "--reason", "its bill", "--yes",
        ];
        let said = gateway.cli(&said);
        assert!(said.status.success(), "{said:?}");
        settled(&gateway, &id, marked_up(bill));
        // The budget has room for all of it, so nothing is nobody's.
        let want = [owed - bill, cost + bill, overrun];
        assert_eq!(booked(&gateway), want, "{durability} {bill}");
        let (_, page) = gateway.api(
            "GET",
            &format!("/api/v1/usage/records?request={request}"),
            None,
        );
        let record = &page["data"][0];
        let asked = if bill > 0 { json!(bill) } else { Value::Null };
        assert_eq!(costs(record), [json!(marked_up(bill)), asked], "{record}");
        assert_eq!(record["is_corrected"], true, "{record}");
        assert_eq!(
            gateway
                .api("DELETE", &format!("/api/v1/budgets/{id}"), None)
                .0,
            204
        );
    }
    let (_, spent) = gateway.api("GET", "/api/v1/spend/project/default", None);
    assert_eq!(spent["upstream_cost_nano_usd"], COST + most + 10, "{spent}");
    let checked = gateway.cli(&["ledger", "check"]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

fn put(gateway: &Gateway, id: &str, markup: &Value) -> (u16, Value) {
    let path = format!("/api/v1/prices/overrides/{id}");
    gateway.api("PUT", &path, Some(&json!({ "override": markup })))
}

// LED-32 LED-34
#[test]
fn the_closest_markup_holds_from_the_next_call_on_and_one_under_way_keeps_its_own() {
    let gate = Gate::default();
    let hold = gate.clone();
    let origin = Origin::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let waits = body["user"] == "waits";
        let mut steps: Vec<_> = waits
            .then(|| Step::Wait(hold.clone()))
            .into_iter()
            .collect();
        steps.extend(answer_json(&answer(9, 30)));
        steps
    });
    let own = r#"{ markup: "2/1", provider: openai }"#;
    let (gateway, token) = llm(&origin, "openai", &prices(own));
    let (_, page) = gateway.api("GET", "/api/v1/tokens", None);
    let about = &page["data"][0];
    let call = |want: i64, calls: usize| {
        assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
        let record = record(&gateway, calls);
        assert_eq!(costs(&record), [json!(want), json!(COST)], "{record}");
    };
    call(2 * COST, 1);
    let of = |factor: &str, whose: &str, id: &Value| json!({"markup": factor, whose: id});
    let project = of("3/1", "project", &about["project_id"]);
    assert_eq!(put(&gateway, "project", &project).0, 200);
    call(3 * COST, 2);
    let line = of("4/1", "token", &about["lineage"]);
    let (status, told) = put(&gateway, "line", &line);
    assert_eq!(status, 200, "{told} {about}");
    call(4 * COST, 3);
    assert_eq!(
        put(&gateway, "token", &of("5/1", "token", &about["id"])).0,
        200
    );
    call(5 * COST, 4);
    // What is of the same calls stands once.
    let (status, problem) = put(
        &gateway,
        "again",
        &of("6/1", "project", &about["project_id"]),
    );
    assert_eq!(status, 409, "{problem}");
    assert!(problem.to_string().contains("`project`"), "{problem}");
    // It goes before that of the settings.
    let provider = of("7/1", "provider", &json!("openai"));
    assert_eq!(put(&gateway, "provider", &provider).0, 200);
    let mut client = gateway.connect();
    let slow = body(false).replacen('{', r#"{"user":"waits","#, 1);
    let id = budget(&gateway, &strict(1_000_000));
    assert!(client.send(&chat(&token, &slow)));
    eventually("it is under way", || (origin.count() == 5).then_some(()));
    for id in ["token", "line", "project"] {
        assert!(gateway.cli(&["price", "unset", id]).status.success());
    }
    gate.open();
    assert_eq!(client.answer(PATIENCE).unwrap().status, 200);
    settled(&gateway, &id, 5 * COST);
    assert_eq!(gateway.call(&chat(&token, &body(false))).status, 200);
    settled(&gateway, &id, 5 * COST + 7 * COST);
    let listed = gateway.cli(&["price", "overrides", "--output", "table"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("7/1"), "{listed}");
}

// LED-34
#[test]
fn a_markup_that_is_none_is_refused() {
    let (gateway, _) = llm(&plain(), "openai", PRICES);
    for (name, markup) in [
        (
            "less than one",
            json!({"markup": "9/10", "provider": "openai"}),
        ),
        ("a float", json!({"markup": 1.1, "provider": "openai"})),
        ("nobody's", json!({"markup": "11/10"})),
        ("a slug", json!({"markup": "11/10", "project": "default"})),
        ("a route's", json!({"markup": "11/10", "route": "llm"})),
    ] {
        let (status, problem) = put(&gateway, "m", &markup);
        assert_eq!(status, 422, "{name}: {problem}");
    }
    let (_, list) = gateway.api("GET", "/api/v1/prices/overrides", None);
    assert_eq!(list, json!([]));
}
