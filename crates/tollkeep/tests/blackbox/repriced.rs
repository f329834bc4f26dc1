//! Proofs that were made before a price changed: which of them still do, for how long, and what they
//! are good for when they don't.

use crate::bought::{config, rests, token_of};
use crate::callers::get;
use crate::fixture::gateway;
use crate::paid_fixture::{PAYEE, asked, encode, open, proof, shown, signed};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, Origin, Step, eventually, ok};

/// Somebody else who is paid.
const OTHER: &str = "0x90F79bf6EB2c4f870365E785982E1f101E93b906";

/// The shop at this price of `/x`.
fn at(origin: &Origin, price: &str, more: &str) -> String {
    let route = format!("  \"GET /x\": {{ upstream: origin, price: \"{price}\"{more} }}\n");
    config(origin, &route)
}

/// A proof of version 1 for so many units.
fn first_version(units: u128) -> String {
    let proof = json!({
        "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": signed(0, units),
    });
    format!("X-PAYMENT: {}\r\n", encode(&proof))
}

fn pay(gateway: &Gateway, line: &str) -> (u16, String) {
    let answer = gateway.call(&get("/x", line));
    (answer.status, answer.code())
}

fn asked_units(answer: &Answer) -> Value {
    asked(answer)["accepts"][0]["amount"].clone()
}

fn asks_for(gateway: &Gateway, units: &str) {
    eventually("the price is another", || {
        let unpaid = gateway.call(&get("/x", ""));
        (unpaid.status == 402 && asked_units(&unpaid) == units).then_some(())
    });
}

fn no(code: &str) -> (u16, String) {
    (402, code.to_owned())
}

const MISMATCH: &str = "invalid_exact_evm_payload_authorization_value_mismatch";

// PAY-65 PAY-111
#[test]
fn version_1_is_taken_at_the_price_before_this_one_and_at_no_earlier_one() {
    let origin = Origin::plain();
    let gateway = gateway(at(&origin, "$0.01", "")).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let without_quote = {
        let mut proof = proof(&unpaid);
        proof["accepted"]["extra"]
            .as_object_mut()
            .unwrap()
            .remove("quote");
        shown(&proof)
    };
    let (kept, late) = (first_version(10_000), first_version(10_000));
    gateway.configure(at(&origin, "$0.02", ""));
    asks_for(&gateway, "20000");
    for (name, line, want) in [
        ("the price before", kept.clone(), (200, String::new())),
        (
            "the price of now",
            first_version(20_000),
            (200, String::new()),
        ),
        ("neither", first_version(15_000), no(MISMATCH)),
        ("more than both", first_version(30_000), no(MISMATCH)),
        ("nothing", first_version(0), no(MISMATCH)),
        (
            "version 2 that brings no quote",
            without_quote,
            no("invalid_payment_requirements"),
        ),
        ("once", kept, no("payment_already_used")),
    ] {
        assert_eq!(pay(&gateway, &line), want, "{name}");
    }
    // Other settings are no other prices.
    let with_more =
        at(&origin, "$0.02", "") + "  \"GET /y\": { upstream: origin, price: \"$0.05\" }\n";
    gateway.configure(with_more);
    eventually("there is one route more", || {
        (gateway.call(&get("/y", "")).status == 402).then_some(())
    });
    assert_eq!(pay(&gateway, &first_version(10_000)).0, 200);
    gateway.configure(at(&origin, "$0.03", ""));
    asks_for(&gateway, "30000");
    assert_eq!(pay(&gateway, &late), no(MISMATCH), "two prices ago");
    assert_eq!(pay(&gateway, &first_version(20_000)).0, 200);
    assert_eq!(origin.count(), 4);
    rests(&gateway);
}

// PAY-65
#[test]
fn the_price_before_ends_with_its_time_and_buys_nothing_else_than_it_did() {
    let origin = Origin::plain();
    let soon = |price: &str, more: &str| {
        let config = at(&origin, price, more);
        config.replace("sandbox: true", "sandbox: true, quote_ttl: 2s")
    };
    let gateway = gateway(soon("$0.01", "")).start();
    open(&gateway, &get("/x", ""));
    gateway.configure(soon("$0.02", ""));
    asks_for(&gateway, "20000");
    eventually("it is over", || {
        let (status, code) = pay(&gateway, &first_version(10_000));
        if status == 200 {
            return None;
        }
        assert_eq!((status, code.as_str()), (402, MISMATCH));
        Some(())
    });
    // What was the price of a call is not that of a pass.
    let pass = ", billing: { model: time_pass, durationMinutes: 60 }";
    let quoted = shown(&proof(&gateway.call(&get("/x", ""))));
    gateway.configure(soon("$5", pass));
    asks_for(&gateway, "5000000");
    assert_eq!(pay(&gateway, &first_version(20_000)), no(MISMATCH));
    assert_eq!(pay(&gateway, &quoted), no("price_mismatch"));
    let bought = gateway.call(&get("/x", &first_version(5_000_000)));
    assert_eq!(bought.status, 200, "{bought:?}");
    assert!(token_of(&bought).len() > 30);
    // Whoever is not asked to pay was told no price.
    gateway.configure(soon("$0", ", rate_limit: { requests: 100, window: 1s }"));
    eventually("it is free", || {
        (gateway.call(&get("/x", "")).status == 200).then_some(())
    });
    gateway.configure(soon("$0.02", ""));
    asks_for(&gateway, "20000");
    assert_eq!(pay(&gateway, &first_version(0)), no(MISMATCH));
    rests(&gateway);
}

// PAY-2 PAY-65
#[test]
fn what_was_paid_for_is_had_whatever_has_become_of_its_price_and_its_payee() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/x?away" => vec![Step::Send(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
        _ => ok(b"ha"),
    });
    let away = |line: &str| get("/x?away", line);
    let patient = |price: &str| {
        at(&origin, price, "").replace("allow_private:", "breaker: off, allow_private:")
    };
    let gateway = gateway(patient("$0.01")).start();
    let unpaid = open(&gateway, &away(""));
    let mut bare = proof(&unpaid);
    bare["accepted"]["extra"]
        .as_object_mut()
        .unwrap()
        .remove("quote");
    let lines = [first_version(10_000), shown(&proof(&unpaid)), shown(&bare)];
    for line in &lines {
        assert_eq!(gateway.call(&away(line)).status, 503);
    }
    let elsewhere = |price: &str| patient(price).replace(PAYEE, OTHER);
    for (price, units) in [("$0.02", "20000"), ("$0.03", "30000")] {
        gateway.configure(elsewhere(price));
        asks_for(&gateway, units);
    }
    let is_owed = |payments: u64| {
        eventually("credit is kept", || {
            let (_, told) = gateway.api("GET", "/api/v1/credits", None);
            (told[0]["payments"] == payments).then_some(())
        });
    };
    is_owed(3);
    for line in &lines {
        // It was for another request, and is less than this one costs.
        let other = gateway.call(&get("/x", line));
        assert_eq!(other.status, 402, "{other:?}");
        // The same is tried again for nothing.
        assert_eq!(gateway.call(&away(line)).status, 503, "{line}");
    }
    is_owed(3);
    // Nobody has paid that, so nothing is had for it.
    for line in [first_version(10_000), first_version(40_000)] {
        assert_eq!(gateway.call(&away(&line)).status, 402);
    }
    let (_, payments) = gateway.api("GET", "/api/v1/payments", None);
    assert_eq!(
        payments["data"].as_array().map(Vec::len),
        Some(3),
        "{payments}"
    );
    rests(&gateway);
}
