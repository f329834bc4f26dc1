//! Payments that their payers name: what was answered is sent once more for the very proof, and
//! nobody pays twice.

use crate::callers::get;
use crate::fixture::gateway;
use crate::paid_fixture::{
    CENT, Facilitator, PAYEE, Settles, asked, encode, open, proof, shop, shown,
};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_testkit::{Answer, Gateway, Origin, eventually};

const NAME: &str = "order_0123456789abcdef";

fn named(mut proof: Value, name: &str) -> Value {
    proof["extensions"] =
        json!({ "payment-identifier": { "info": { "required": false, "id": name } } });
    proof
}

/// Asks until nobody works on it any more.
fn at_last(gateway: &Gateway, request: &[u8]) -> Answer {
    eventually("the payment is settled", || {
        let answer = gateway.call(request);
        (answer.code() != "payment_in_progress").then_some(answer)
    })
}

/// An origin whose every answer is another.
fn counting() -> Origin {
    let count = AtomicU64::new(0);
    Origin::start(move |_| {
        let at = count.fetch_add(1, Ordering::Relaxed);
        tollkeep_testkit::json(&json!({ "at": at }))
    })
}

// PAY-114
#[test]
fn every_challenge_of_version_two_offers_to_name_what_is_bought() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = asked(&open(&gateway, &get("/x", "")));
    let declared = &unpaid["extensions"]["payment-identifier"];
    assert_eq!(declared["info"], json!({ "required": false }));
    let id = json!({ "type": "string", "minLength": 16, "maxLength": 128 });
    assert_eq!(declared["schema"]["properties"]["id"], id);
    // What stock clients send back: the extension as it was told, without a name.
    let mut proof = proof(&open(&gateway, &get("/x", "")));
    proof["extensions"] = unpaid["extensions"].clone();
    assert_eq!(gateway.call(&get("/x", &shown(&proof))).status, 200);
}

// PAY-114
#[test]
fn a_challenge_says_how_to_ask_where_strangers_are_told_of_the_route() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = "  \"GET,POST /x\": { upstream: origin, price: \"$0.01\" }\n  \
                  \"GET /y\": { upstream: origin, price: \"$0.01\", discoverable: false }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    let bazaar = |request: &[u8]| {
        let told = asked(&open(&gateway, request));
        told["extensions"].get("bazaar").cloned()
    };
    let by_query = bazaar(&get("/x", "")).unwrap();
    assert_eq!(
        by_query["info"]["input"],
        json!({ "type": "http", "method": "GET" })
    );
    let by_body = bazaar(&crate::fixture::post("/x", "", b"{}")).unwrap();
    assert_eq!(by_body["info"]["input"]["method"], "POST");
    assert_eq!(by_body["info"]["input"]["bodyType"], "json");
    assert_eq!(bazaar(&get("/y", "")), None);
}

// PAY-135
#[test]
fn the_very_proof_gets_the_stored_answer_and_receipt_and_pays_once() {
    let (origin, facilitator) = (counting(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let request = get("/x", &shown(&named(proof(&unpaid), NAME)));
    let first = gateway.call(&request);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.field("x-tollkeep-replayed"), None);
    for _ in 0..3 {
        let again = at_last(&gateway, &request);
        assert_eq!(again.status, 200, "{again:?}");
        assert_eq!(again.body, first.body);
        for field in ["payment-response", "content-type", "cache-control"] {
            assert!(again.field(field).is_some(), "{field}");
            assert_eq!(again.field(field), first.field(field), "{field}");
        }
        assert_eq!(again.field("x-tollkeep-replayed"), Some("true"));
        assert_eq!(again.field("x-tollkeep-payment"), Some("charged"));
    }
    assert_eq!(
        (origin.count(), facilitator.asked("/settle")),
        (1, 1),
        "asked and paid once"
    );
}

// PAY-135
#[test]
fn a_name_stands_for_one_proof_and_one_request() {
    let (origin, facilitator) = (counting(), Facilitator::start());
    let routes = "  \"GET /x\": { upstream: origin, price: \"$0.01\" }\n  \
                  \"GET /y\": { upstream: origin, price: \"$0.01\" }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let first = shown(&named(proof(&unpaid), NAME));
    assert_eq!(gateway.call(&get("/x", &first)).status, 200);
    assert_eq!(at_last(&gateway, &get("/x", &first)).status, 200);
    // Another proof by the same name, the same proof elsewhere: nobody is asked for money.
    let other = shown(&named(proof(&unpaid), NAME));
    for (what, request) in [
        ("another proof", get("/x", &other)),
        ("another route", get("/y", &first)),
        ("another query", get("/x?a=1", &first)),
    ] {
        let answer = gateway.call(&request);
        let told = (answer.status, answer.code());
        assert_eq!(
            told,
            (409, "payment_identifier_conflict".to_owned()),
            "{what}"
        );
        assert_eq!(answer.field("payment-required"), None, "{what}");
    }
    assert_eq!((origin.count(), facilitator.asked("/settle")), (1, 1));
    // Another name, or another payer: something else.
    let unlike = shown(&named(proof(&unpaid), "order_fedcba9876543210"));
    assert_eq!(gateway.call(&get("/x", &unlike)).status, 200);
    assert_eq!(origin.count(), 2);
}

// PAY-135
#[test]
fn a_name_under_which_nothing_was_bought_is_free_again() {
    let (origin, facilitator) = (counting(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    facilitator.settles(Settles::No);
    let refused = gateway.call(&get("/x", &shown(&named(proof(&unpaid), NAME))));
    assert_eq!(refused.code(), "settlement_failed");
    facilitator.settles(Settles::Yes);
    let paid = gateway.call(&get("/x", &shown(&named(proof(&unpaid), NAME))));
    assert_eq!(paid.status, 200, "{paid:?}");
}

// PAY-135
#[test]
fn while_nobody_knows_the_very_proof_is_pending() {
    let (origin, facilitator) = (counting(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.settle_wait", "300ms")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    facilitator.settles(Settles::Garbled);
    let request = get("/x", &shown(&named(proof(&unpaid), NAME)));
    for _ in 0..2 {
        let answer = gateway.call(&request);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "payment_pending")
        );
        assert_eq!(answer.field("payment-required"), None);
    }
    assert_eq!(origin.count(), 0);
}

// PAY-135
#[test]
fn long_and_streamed_bodies_are_not_kept_and_the_rest_is_told() {
    let long = "x".repeat(64 * 1024 + 1);
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/long" => tollkeep_testkit::with_fields("Content-Type: text/plain\r\n", long.as_bytes()),
        _ => tollkeep_testkit::with_fields("Content-Type: text/event-stream\r\n", b"data: 1\n\n"),
    });
    let facilitator = Facilitator::start();
    let routes = "  \"GET /long\": { upstream: origin, price: \"$0.01\" }\n  \
                  \"GET /stream\": { upstream: origin, price: \"$0.01\" }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    for path in ["/long", "/stream"] {
        let unpaid = open(&gateway, &get(path, ""));
        let request = get(
            path,
            &shown(&named(proof(&unpaid), &format!("{NAME}{}", path.len()))),
        );
        let first = gateway.call(&request);
        assert_eq!(first.status, 200);
        assert!(!first.body.is_empty());
        let again = at_last(&gateway, &request);
        assert_eq!(again.status, 200, "{path}: {again:?}");
        assert!(again.body.is_empty(), "{path}");
        assert_eq!(
            again.field("payment-response"),
            first.field("payment-response")
        );
    }
    assert_eq!(origin.count(), 2);
}

// PAY-135
#[test]
fn where_names_are_required_none_and_a_bad_one_are_400_before_anything_is_asked() {
    let origin = Origin::plain();
    let url = origin.url();
    let gateway = gateway(format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ sandbox: true, x402: {{ identifier: required }} }}\nroutes:\n{CENT}"
    ))
    .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let declared = &asked(&unpaid)["extensions"]["payment-identifier"];
    assert_eq!(declared["info"], json!({ "required": true }));
    let none = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(
        (none.status, none.code().as_str()),
        (400, "payment_identifier_required")
    );
    for bad in ["short", "0123456789abcdef!", "0123456789abcde\u{e9}"] {
        let answer = gateway.call(&get("/x", &shown(&named(proof(&unpaid), bad))));
        let told = (answer.status, answer.code());
        assert_eq!(told, (400, "invalid_payment".to_owned()), "{bad}");
    }
    // Version 1 has no word for it.
    let one = json!({ "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
        "payload": crate::paid_fixture::signed(1, 10_000) });
    let one = gateway.call(&get("/x", &format!("X-PAYMENT: {}\r\n", encode(&one))));
    assert_eq!(one.code(), "payment_identifier_required");
    assert_eq!(origin.count(), 0);
    let good = gateway.call(&get("/x", &shown(&named(proof(&unpaid), NAME))));
    assert_eq!(good.status, 200);
}
