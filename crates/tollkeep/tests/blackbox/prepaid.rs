//! Prepaid accounts: calls have to fit them and are charged to them; operators pay in and out, give
//! back, and put right.

use crate::fixture::{chat, llm};
use crate::held::{PRICES, answer, at_once, body};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_testkit::{Client, Gateway, MANAGEMENT_KEY, Origin, eventually, json as answer_json};

const PLACE: &str = "/api/v1/accounts";
/// What a call costs.
const COST: i64 = 9 + 30;

fn project(gateway: &Gateway) -> String {
    let (_, page) = gateway.api("GET", "/api/v1/projects", None);
    page["data"][0]["id"].as_str().unwrap().to_owned()
}

pub(crate) fn opened(gateway: &Gateway, unit: &str) -> String {
    let body = json!({"holder": project(gateway), "name": "prepaid", "unit": unit});
    let (status, made) = gateway.api("POST", PLACE, Some(&body));
    assert_eq!(status, 201, "{made}");
    assert_eq!((&made["balance"], &made["unit"]), (&json!(0), &json!(unit)));
    made["id"].as_str().unwrap().to_owned()
}

fn account(gateway: &Gateway, id: &str) -> Value {
    let (status, account) = gateway.api("GET", &format!("{PLACE}/{id}"), None);
    assert_eq!(status, 200, "{account}");
    account
}

/// Moves something under this key of idempotency: the status, and what is answered.
pub(crate) fn moved(gateway: &Gateway, (path, key): (&str, &str), body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let request = format!(
        "POST {PLACE}/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n\
         idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        gateway.management(),
        body.len()
    );
    let answer = Client::connect(gateway.management()).call(request.as_bytes());
    (answer.status, answer.json())
}

/// Waits until so much is there and nothing is held.
pub(crate) fn rests(gateway: &Gateway, id: &str, balance: i64) {
    eventually("the balance", || {
        let now = account(gateway, id);
        (now["balance"] == balance && now["held"] == 0).then_some(())
    });
}

fn checks(gateway: &Gateway) {
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
}

// LED-65a LED-65 LED-66 LED-84
#[test]
#[expect(clippy::too_many_lines, reason = "a life, step by step")]
fn calls_are_paid_from_an_account_that_operators_fill_and_empty() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let call = chat(&token, &body(false));
    assert_eq!(
        gateway.call(&call).status,
        200,
        "nothing has to be fitted yet"
    );
    let id = opened(&gateway, "usd");
    let refused = gateway.call(&call);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "budget_exhausted")
    );
    assert_eq!(origin.count(), 1, "an empty account pays nothing");
    let paid = gateway.cli(&[
        "account",
        "credit",
        &id,
        "0.000001",
        "--reason",
        "invoice 7",
        "--yes",
        "--json",
    ]);
    assert!(paid.status.success(), "{paid:?}");
    let served = gateway.call(&call);
    assert_eq!(served.status, 200, "{}", served.text());
    rests(&gateway, &id, 1_000 - COST);
    let hold = served
        .field("x-request-id")
        .unwrap()
        .replace("req_", "hld_");
    // Never twice under one key, and never more than is there.
    let credit = json!({"amount": {"nano_usd": 100}, "unit": "usd", "reason": "again"});
    let path = format!("{id}/credit");
    for (key, body, status) in [
        ("k1", credit.clone(), 200),
        ("k1", credit.clone(), 200),
        (
            "k2",
            json!({"amount": {"nano_usd": 0}, "reason": "nothing"}),
            422,
        ),
        ("k3", json!({"amount": {"nano_usd": 1}, "reason": " "}), 422),
        ("k4", json!({"amount": 5, "reason": "no money"}), 422),
    ] {
        let (got, told) = moved(&gateway, (&path, key), &body);
        assert_eq!(got, status, "{key}: {told}");
    }
    let (status, told) = gateway.api("POST", &format!("{PLACE}/{path}"), Some(&credit));
    assert_eq!(status, 400, "{told}");
    assert!(
        told["detail"].as_str().unwrap().contains("Idempotency-Key"),
        "{told}"
    );
    let left = 1_000 - COST + 100;
    assert_eq!(account(&gateway, &id)["balance"], left);
    let much = json!({"amount": {"nano_usd": left + 1}, "reason": "too much"});
    assert_eq!(
        moved(&gateway, (&format!("{id}/debit"), "d1"), &much).0,
        409
    );
    // A call is given back once, and no more than it was charged.
    let refund =
        |nano: i64| json!({"hold": hold, "amount": {"nano_usd": nano}, "reason": "broken"});
    let path = format!("{id}/refund");
    for (key, nano, status) in [("r1", COST + 1, 409), ("r2", COST, 200), ("r3", 1, 409)] {
        let (got, told) = moved(&gateway, (&path, key), &refund(nano));
        assert_eq!(got, status, "{key}: {told}");
    }
    let adjust = json!({"amount": {"nano_usd": 50}, "direction": "down", "reason": "a mistake"});
    let (status, told) = moved(&gateway, (&format!("{id}/adjust"), "a1"), &adjust);
    assert_eq!((status, &told["balance"]), (200, &json!(1_050)), "{told}");
    checks(&gateway);
    let (_, entries) = gateway.api("GET", &format!("{PLACE}/{id}/entries"), None);
    let sides: Vec<(i64, String)> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let with = entry["with"].as_str().unwrap().to_owned();
            (entry["amount"].as_i64().unwrap(), with)
        })
        .collect();
    let moved_by_hand: Vec<_> = sides.iter().filter(|(_, with)| with != "held").collect();
    let want = [
        (-50, "operator_loss"),
        (COST, "refunds"),
        (100, "outside"),
        (1_000, "outside"),
    ];
    let want: Vec<_> = want.map(|(amount, with)| (amount, with.to_owned())).into();
    assert_eq!(moved_by_hand, want.iter().collect::<Vec<_>>());
    for action in [
        "account.open",
        "money.credit",
        "money.refund",
        "money.adjust",
    ] {
        let line = gateway.audit_line(action, |line| {
            line["action"] == action && line["result"] == "success"
        });
        assert_eq!(line["details"]["name"], id.as_str(), "{line}");
    }
    // It is closed when nothing is on it, and then nobody has to fit it.
    let place = format!("{PLACE}/{id}");
    assert_eq!(gateway.api("DELETE", &place, None).0, 409);
    let rest = json!({"amount": {"nano_usd": 1_050}, "reason": "paid out"});
    assert_eq!(
        moved(&gateway, (&format!("{id}/debit"), "d2"), &rest).0,
        200
    );
    assert_eq!(gateway.call(&call).status, 402);
    assert_eq!(gateway.api("DELETE", &place, None).0, 204);
    assert_eq!(
        gateway.call(&call).status,
        200,
        "nothing has to be fitted any more"
    );
    assert_eq!(
        moved(&gateway, (&format!("{id}/credit"), "k9"), &credit).0,
        409
    );
    checks(&gateway);
}

// LED-2
#[test]
fn an_account_has_one_unit_for_life() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let tokens = opened(&gateway, "tokens");
    let usd = opened(&gateway, "usd");
    for (key, unit, amount, status) in [
        ("one", "usd", json!(1_000), 422),
        ("two", "usd", json!("$1"), 422),
        ("three", "tokens", json!("$1"), 422),
        ("four", "tokens", json!(1_000), 200),
    ] {
        let credit = json!({"amount": amount, "unit": unit, "reason": "paid"});
        let (got, told) = moved(&gateway, (&format!("{tokens}/credit"), key), &credit);
        assert_eq!(got, status, "{unit} {amount}: {told}");
    }
    let body = json!({"holder": project(&gateway), "name": "another", "unit": "tokens"});
    assert_eq!(
        gateway.api("POST", PLACE, Some(&body)).0,
        409,
        "one of each unit"
    );
    // A call has to fit both, and each is charged in its own unit.
    let call = chat(&token, &crate::held::body(false));
    assert_eq!(
        gateway.call(&call).status,
        402,
        "tokens alone are not enough"
    );
    let credit = json!({"amount": {"nano_usd": 5_000}, "reason": "paid"});
    assert_eq!(
        moved(&gateway, (&format!("{usd}/credit"), "u"), &credit).0,
        200
    );
    assert_eq!(gateway.call(&call).status, 200);
    rests(&gateway, &tokens, 1_000 - COST);
    rests(&gateway, &usd, 5_000 - COST);
    checks(&gateway);
}

// LED-65a LED-72
#[test]
fn of_a_crowd_as_many_are_served_as_were_paid_for() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    let id = opened(&gateway, "requests");
    let credit = json!({"amount": 5, "reason": "five calls"});
    assert_eq!(
        moved(&gateway, (&format!("{id}/credit"), "k"), &credit).0,
        200
    );
    let statuses = at_once(&gateway, &token, 32);
    assert_eq!(statuses, BTreeMap::from([(200, 5), (402, 27)]));
    assert_eq!(origin.count(), 5);
    rests(&gateway, &id, 0);
    checks(&gateway);
}

// LED-65a
#[test]
fn an_account_pays_for_its_holder_alone_and_stays_through_a_restart() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, other) = llm(&origin, "openai", PRICES);
    let (_, made) = gateway.api(
        "POST",
        "/api/v1/tokens",
        Some(&json!({"project": "default"})),
    );
    let (token, tid) = (
        made["secret"].as_str().unwrap(),
        made["id"].as_str().unwrap(),
    );
    let body = json!({"holder": tid, "name": "ada"});
    let (status, account) = gateway.api("POST", PLACE, Some(&body));
    assert_eq!(status, 201, "{account}");
    let id = account["id"].as_str().unwrap();
    let (mine, theirs) = (
        chat(token, &crate::held::body(false)),
        chat(&other, &crate::held::body(false)),
    );
    assert_eq!(gateway.call(&mine).status, 402);
    assert_eq!(gateway.call(&theirs).status, 200);
    let credit = json!({"amount": "$1", "from": "promo", "reason": "welcome"});
    assert_eq!(
        moved(&gateway, (&format!("{id}/credit"), "k"), &credit).0,
        200
    );
    assert_eq!(gateway.call(&mine).status, 200);
    rests(&gateway, id, 1_000_000_000 - COST);
    let gateway = gateway.restart().unwrap();
    rests(&gateway, id, 1_000_000_000 - COST);
    assert_eq!(gateway.call(&mine).status, 200);
    rests(&gateway, id, 1_000_000_000 - 2 * COST);
    for holder in [
        "tid_00000000000070008000000000000000",
        "prj_nothing",
        "nobody",
    ] {
        let body = json!({"holder": holder, "name": "n"});
        let (status, told) = gateway.api("POST", PLACE, Some(&body));
        assert_eq!(status, 422, "{holder}: {told}");
    }
    checks(&gateway);
}
