//! Calls of models that are paid by the most that they can cost: what they don't use is credit of
//! whoever signed.

use crate::bought::{config, rests, token_of};
use crate::fixture::gateway;
use crate::paid_fixture::{asked, encode, proof, shown, signed};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, Origin, Step, eventually, json as answers};

/// A model of a dollar for a million tokens in, ten for a million out.
const PRICES: &str = "prices: { overrides: [{ provider: openai, model: m, max_input: 100000, \
                      max_output: 10000, rates: [{ from: \"2025-01-01T00:00:00Z\", base: { in_text: 1000000, out_text: 10000000 } }] }] }\n";
const ROUTES: &str = "  \"POST /chat\": { upstream: origin, access: payment, pricing: { model: tokens, markup_percent: 20, overpay: credit } }\n  \
     \"POST /plain\": { upstream: origin, price: \"$0.0001\" }\n";
/// What each call comes to: (20 × 1 + 50 × 10) × 1.2 millionths of a dollar.
const USED: u64 = 624;

fn shop() -> (Origin, Gateway) {
    let origin = Origin::start(|request| {
        let body = String::from_utf8_lossy(&request.body);
        if body.contains("away") {
            let away = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
            return vec![Step::Send(away.to_vec())];
        }
        answers(
            &json!({ "id": "c", "object": "chat.completion", "model": "m",
            "choices": [{ "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "hello" } }],
            "usage": { "prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70 } }),
        )
    });
    let file = format!("{PRICES}{}", config(&origin, ROUTES));
    let gateway = gateway(file).start();
    (origin, gateway)
}

fn post(path: &str, (word, most): (&str, u32), lines: &str) -> Vec<u8> {
    let body = json!({
        "model": "m", "messages": [{ "role": "user", "content": word }], "max_tokens": most,
    })
    .to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {lines}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Asks for a call of so many tokens at most, until it is sold: the answer, and what is asked for.
fn unpaid(gateway: &Gateway, most: u32) -> (Answer, u64) {
    let answer = eventually("an offer", || {
        let answer = gateway.call(&post("/chat", ("hi", most), ""));
        (answer.status == 402).then_some(answer)
    });
    let bound = asked(&answer)["accepts"][0]["amount"]
        .as_str()
        .unwrap()
        .parse();
    (answer, bound.unwrap())
}

/// What a payer signs for such a call.
fn line(answer: &Answer, payer: usize) -> String {
    let mut made = proof(answer);
    let units = made["accepted"]["amount"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    made["payload"] = signed(payer, units);
    shown(&made)
}

fn sessions(gateway: &Gateway) -> Vec<Value> {
    rests(gateway);
    let (_, page) = gateway.api("GET", "/api/v1/payment-sessions", None);
    page["data"].as_array().unwrap().clone()
}

fn balances(gateway: &Gateway) -> Vec<u64> {
    let balance = |row: &Value| row["balance"].as_str().unwrap().parse().unwrap();
    sessions(gateway).iter().map(balance).collect()
}

fn payments(gateway: &Gateway) -> Vec<(String, Value)> {
    let (_, page) = gateway.api("GET", "/api/v1/payments", None);
    let rows = page["data"].as_array().unwrap().iter();
    rows.map(|row| {
        (
            row["state"].as_str().unwrap().to_owned(),
            row["reason"].clone(),
        )
    })
    .collect()
}

// PAY-29 PAY-113
#[test]
fn what_a_call_does_not_use_is_credit_that_the_next_proof_is_paid_from() {
    let (origin, gateway) = shop();
    let (dear, most) = unpaid(&gateway, 5_000);
    let offers = asked(&dear)["accepts"].as_array().unwrap().clone();
    assert_eq!(offers.len(), 1, "the sandbox settles nothing but `exact`");
    assert_eq!(offers[0]["scheme"], "exact");
    assert_eq!(
        dear.json()["accepts"][0]["maxAmountRequired"],
        offers[0]["amount"]
    );
    let first = gateway.call(&post("/chat", ("hi", 5_000), &line(&dear, 0)));
    assert_eq!(first.status, 200, "{}", first.text());
    assert!(first.field("payment-response").is_some(), "{first:?}");
    assert_eq!(first.field("x-tollkeep-max-output"), Some("5000"));
    let token = token_of(&first);
    assert_eq!(balances(&gateway), [most - USED]);
    // The same payer signs for less than it has: nothing more is settled.
    let (cheap, _) = unpaid(&gateway, 100);
    let again = line(&cheap, 0);
    let second = gateway.call(&post("/chat", ("hi", 100), &again));
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(
        second.field("payment-response"),
        None,
        "nothing was settled"
    );
    assert_eq!(token_of(&second), token, "its token is told again");
    assert_eq!(balances(&gateway), [most - 2 * USED]);
    let burnt = ("voided".to_owned(), json!("shown for credit"));
    assert_eq!(payments(&gateway)[0], burnt);
    let replayed = gateway.call(&post("/chat", ("hi", 100), &again));
    assert_eq!(
        (replayed.status, replayed.code().as_str()),
        (402, "payment_already_used")
    );
    // Its token pays on every route of the tenant, and another payer pays itself.
    let plain = gateway.call(&post("/plain", ("hi", 1), &token));
    assert_eq!(plain.status, 200, "{plain:?}");
    let other = gateway.call(&post("/chat", ("hi", 100), &line(&cheap, 1)));
    assert_eq!(other.status, 200, "{}", other.text());
    assert!(other.field("payment-response").is_some(), "{other:?}");
    assert_ne!(token_of(&other), token);
    assert_eq!(balances(&gateway)[1], most - 2 * USED - 100);
    assert_eq!(origin.count(), 4);
    let (_, earned) = gateway.api("GET", "/api/v1/revenue?by=rail", None);
    assert_eq!(
        earned[0]["amount"],
        (3 * USED + 100).to_string(),
        "{earned}"
    );
}

// PAY-2 PAY-29 PAY-111
#[test]
fn credit_that_does_not_cover_the_bound_is_left_alone_and_a_failed_call_takes_nothing() {
    let (_origin, gateway) = shop();
    let (cheap, bound) = unpaid(&gateway, 100);
    // By version 1, and for a call that fails: all of it is credit.
    let proof = json!({
        "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": signed(0, u128::from(bound)),
    });
    let first_version = format!("X-PAYMENT: {}\r\n", encode(&proof));
    let away = gateway.call(&post("/chat", ("hi away", 100), ""));
    assert_eq!(away.status, 402);
    let failed = gateway.call(&post("/chat", ("hi", 100), &first_version));
    assert_eq!(failed.status, 200, "{}", failed.text());
    assert!(failed.field("x-payment-response").is_some(), "{failed:?}");
    assert_eq!(balances(&gateway), [bound - USED]);
    // What is left covers no other call: that is paid anew.
    let paid = gateway.call(&post("/chat", ("hi", 100), &line(&cheap, 0)));
    assert_eq!(paid.status, 200, "{}", paid.text());
    assert!(paid.field("payment-response").is_some(), "{paid:?}");
    assert_eq!(balances(&gateway), [bound - USED, bound - USED]);
    // A call that fails takes nothing.
    let away_line = line(&away, 0);
    let failed = gateway.call(&post("/chat", ("hi away", 100), &away_line));
    assert_eq!(failed.status, 503);
    assert_eq!(
        failed.field("x-tollkeep-payment"),
        Some("refunded_to_balance")
    );
    let bought: u64 = asked(&away)["accepts"][0]["amount"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(balances(&gateway)[0], bought);
    // So it serves the next one, and the same proof leads to it too.
    let served = gateway.call(&post("/chat", ("hi", 100), &line(&cheap, 0)));
    assert_eq!(
        (served.status, served.field("payment-response")),
        (200, None),
        "{}",
        served.text()
    );
    assert_eq!(balances(&gateway)[0], bought - USED);
    let again = gateway.call(&post("/chat", ("hi away", 100), &away_line));
    assert_eq!(
        (again.status, again.code().as_str()),
        (402, "insufficient_balance")
    );
}
