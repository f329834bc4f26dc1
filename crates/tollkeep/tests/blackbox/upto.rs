//! Payments by Permit2: all of what was signed, or so much as was delivered, when that has ended.

use crate::fixture::{gateway, head};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use tollkeep_testkit::{
    Answer, BodyEnd, Builder, Facilitator, FacilitatorMood, Gate, Gateway, Origin, Payer, Step,
    chunk, chunked_head, eventually, ok,
};

const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const USDC: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const CENT: &str = "  \"GET /x\": { upstream: origin, price: \"$0.01\", upto: true }\n";

/// A gateway that sells these routes.
fn shop(facilitator: &Facilitator, origin: &Origin, routes: &str) -> Builder {
    let (origin, facilitator) = (origin.url(), facilitator.url());
    gateway(format!(
        "upstreams:\n  origin: {{ url: \"{origin}\", allow_private: [\"127.0.0.1/32\"], \
         timeouts: {{ total_ms: 100s }} }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments:\n  settle_wait: 1s\n  x402:\n    facilitators:\n      \
         main: {{ url: \"{facilitator}\", timeouts: {{ settle: 20s }} }}\n    \
         assets: {{ base-sepolia: {{ USDP: {{ address: \"{USDC}\", name: USDC, version: \"2\", \
         decimals: 6, transfer: permit2, peg: usd }} }} }}\n\
         routes:\n{routes}"
    ))
}

fn ask(gateway: &Gateway, path: &str, proof: Option<&str>) -> Answer {
    let line = proof.map(|proof| format!("PAYMENT-SIGNATURE: {proof}\r\n"));
    gateway.call(&head(&format!("GET {path}"), &line.unwrap_or_default()))
}

/// What a 402 offers, once somebody would settle it.
fn offers(gateway: &Gateway, path: &str) -> Vec<Value> {
    eventually("an offer", || {
        let answer = ask(gateway, path, None);
        offered(&answer)
    })
}

fn offered(answer: &Answer) -> Option<Vec<Value>> {
    let field = answer.field("payment-required")?;
    let told: Value = serde_json::from_slice(&STANDARD.decode(field).unwrap()).unwrap();
    Some(told["accepts"].as_array().unwrap().clone())
}

/// Waits until the newest payment stands so.
fn stands(gateway: &Gateway, state: &str) -> Value {
    eventually(state, || {
        let (status, page) = gateway.api("GET", "/api/v1/payments", None);
        assert_eq!(status, 200, "{page}");
        let newest = page["data"][0].clone();
        (newest["state"] == state).then_some(newest)
    })
}

fn checks(gateway: &Gateway) {
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
}

// PAY-124
#[test]
fn tokens_that_permit2_moves_are_offered_checked_and_settled() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"goods")));
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.01\", \
                 accepts: [{ asset: USDP, network: base-sepolia }] }\n";
    let gateway = shop(&facilitator, &origin, route).start();
    let all = offers(&gateway, "/x");
    let offer = &all[0];
    assert_eq!((all.len(), &offer["scheme"]), (1, &json!("exact")));
    assert_eq!(offer["extra"]["assetTransferMethod"], "permit2");
    let unpaid = ask(&gateway, "/x", None).json();
    assert_eq!(unpaid.get("accepts"), None, "version 1 has no words for it");
    let payer = Payer::new(1);
    for (member, value, code) in [
        ("/permitted/token", PAYEE, "permit2_token_mismatch"),
        ("/permitted/amount", "9999", "permit2_amount_mismatch"),
        ("/spender", PAYEE, "invalid_permit2_spender"),
        ("/witness/to", USDC, "invalid_permit2_recipient_mismatch"),
        ("/nonce", "78", "invalid_permit2_signature"),
    ] {
        let proof = STANDARD.decode(payer.pay_offer(offer, 7)).unwrap();
        let mut proof: Value = serde_json::from_slice(&proof).unwrap();
        let at = format!("/payload/permit2Authorization{member}");
        *proof.pointer_mut(&at).unwrap() = value.into();
        let refused = ask(&gateway, "/x", Some(&STANDARD.encode(proof.to_string())));
        assert_eq!((refused.status, refused.code().as_str()), (402, code));
    }
    assert_eq!((facilitator.verifications(), origin.count()), (0, 0));
    facilitator.verify_as(FacilitatorMood::Refuses("permit2_allowance_required"));
    let proof = payer.pay_offer(offer, 1);
    let told = ask(&gateway, "/x", Some(&proof));
    assert_eq!(
        (told.status, told.code().as_str()),
        (412, "permit2_allowance_required")
    );
    assert!(
        offered(&told).is_some(),
        "it may pay once it has allowed it"
    );
    assert_eq!(facilitator.settlements(), 0);
    // The same proof will do then.
    facilitator.verify_as(FacilitatorMood::Right);
    let served = ask(&gateway, "/x", Some(&proof));
    assert_eq!((served.status, served.text().as_str()), (200, "goods"));
    assert!(served.field("payment-response").is_some());
    let payment = stands(&gateway, "spent");
    assert_eq!(payment["received"], "10000", "{payment}");
    assert_eq!((facilitator.settlements(), origin.count()), (1, 1));
    assert_eq!(ask(&gateway, "/x", Some(&proof)).status, 402);
    checks(&gateway);
}

// PAY-113 PAY-136
#[test]
fn what_was_delivered_whole_is_settled_at_its_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        vec![
            chunked_head("text/plain"),
            chunk(b"half "),
            Step::Wait(held.clone()),
            chunk(b"whole"),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    });
    let facilitator = Facilitator::start();
    let gateway = shop(&facilitator, &origin, CENT).start();
    let all = offers(&gateway, "/x");
    let schemes: Vec<&Value> = all.iter().map(|offer| &offer["scheme"]).collect();
    assert_eq!(schemes, ["upto", "exact"], "what costs less comes first");
    let offer = &all[0];
    assert_eq!(
        (&offer["amount"], &offer["asset"]),
        (&json!("10000"), &json!(USDC))
    );
    assert!(offer["extra"]["facilitatorAddress"].is_string());
    assert_eq!(offer["maxTimeoutSeconds"], 100 + 120);
    assert_eq!(all[1]["maxTimeoutSeconds"], 60);
    let payer = Payer::new(2);
    // Signed for too short a time: what is delivered could not be settled any more.
    let mut short = offer.clone();
    short["maxTimeoutSeconds"] = 160.into();
    let refused = ask(&gateway, "/x", Some(&payer.pay_offer(&short, 1)));
    assert_eq!(refused.code(), "permit2_deadline_expired");
    let mut other = offer.clone();
    other["extra"]["facilitatorAddress"] = PAYEE.into();
    let refused = ask(&gateway, "/x", Some(&payer.pay_offer(&other, 1)));
    assert_eq!(refused.code(), "upto_facilitator_mismatch");
    let proof = payer.pay_offer(offer, 1);
    let mut caller = gateway.connect();
    let line = format!("PAYMENT-SIGNATURE: {proof}\r\n");
    caller.send(&head("GET /x", &line));
    stands(&gateway, "serving");
    assert_eq!(facilitator.settlements(), 0, "not before its end");
    let meanwhile = ask(&gateway, "/x", Some(&proof));
    assert_eq!(meanwhile.code(), "payment_in_progress");
    gate.open();
    let served = caller.answer(Duration::from_secs(20)).unwrap();
    assert_eq!((served.status, served.text().as_str()), (200, "half whole"));
    let payment = stands(&gateway, "spent");
    assert_eq!(
        (&payment["received"], &payment["mode"]),
        (&json!("10000"), &json!("upto"))
    );
    let told = facilitator.told();
    assert_eq!((told.len(), told[0].len()), (1, 1));
    let told: Value = serde_json::from_str(&told[0][0].0).unwrap();
    assert_eq!(told["paymentRequirements"]["scheme"], "upto");
    assert_eq!(
        ask(&gateway, "/x", Some(&proof)).code(),
        "payment_already_used"
    );
    // Beside it, all of it is paid first as ever.
    let first = ask(&gateway, "/x", Some(&payer.pay_offer(&all[1], 2)));
    assert_eq!(first.status, 200);
    assert!(first.field("payment-response").is_some());
    checks(&gateway);
}

// PAY-70 PAY-136
#[test]
fn nothing_is_taken_for_nothing_and_of_what_broke_off_what_the_route_says() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/fails" => vec![Step::Close],
        _ => vec![chunked_head("text/plain"), chunk(b"half"), Step::Close],
    });
    let facilitator = Facilitator::start();
    let routes = "  \"GET /fails\": { upstream: origin, price: \"$0.01\", upto: true }\n  \
                  \"GET /credit\": { upstream: origin, price: \"$0.01\", upto: true }\n  \
                  \"GET /charge\": { upstream: origin, price: \"$0.01\", upto: true, \
                  mid_stream: charge }\n";
    let gateway = shop(&facilitator, &origin, routes).start();
    let payer = Payer::new(3);
    let failed = ask(
        &gateway,
        "/fails",
        Some(&payer.pay_offer(&offers(&gateway, "/fails")[0], 1)),
    );
    assert_eq!(failed.status, 502, "{}", failed.text());
    assert_eq!(failed.field("x-tollkeep-payment"), Some("not_charged"));
    stands(&gateway, "released");
    let broken = |path: &str, nonce| {
        let proof = payer.pay_offer(&offers(&gateway, path)[0], nonce);
        let mut client = gateway.connect();
        let line = format!("PAYMENT-SIGNATURE: {proof}\r\n");
        client.send(&head(&format!("GET {path}"), &line));
        let broken = client.answer(Duration::from_secs(20)).unwrap();
        assert_eq!((broken.status, broken.end), (200, BodyEnd::Cut), "{path}");
    };
    broken("/credit", 2);
    stands(&gateway, "released");
    assert_eq!(facilitator.settlements(), 0);
    // It is made good for once.
    broken("/credit", 2);
    stands(&gateway, "spent");
    broken("/charge", 3);
    eventually("both are settled", || {
        (facilitator.settled() == 2).then_some(())
    });
    stands(&gateway, "spent");
    checks(&gateway);
}

// PAY-136
#[test]
fn who_was_served_and_does_not_pay_is_not_served_first_again() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"goods")));
    let gateway = shop(&facilitator, &origin, CENT).start();
    let all = offers(&gateway, "/x");
    let payer = Payer::new(4);
    facilitator.settle_as(FacilitatorMood::Refuses("permit2_insufficient_balance"));
    let served = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 1)));
    assert_eq!(served.status, 200, "{}", served.text());
    let lost = stands(&gateway, "voided");
    assert_eq!(lost["reason"], "permit2_insufficient_balance", "{lost}");
    eventually("the count of what was lost", || {
        let text = gateway.metrics_text();
        let line = "tollkeep_payments_uncollected_total{rail=\"x402\"} 1";
        text.contains(line).then_some(())
    });
    facilitator.settle_as(FacilitatorMood::Right);
    let refused = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 2)));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "payment_uncollected")
    );
    let left = offered(&refused).expect("it may pay first");
    assert!(
        left.iter().all(|offer| offer["scheme"] == "exact"),
        "{left:?}"
    );
    assert_eq!(
        ask(&gateway, "/x", Some(&payer.pay_offer(&all[1], 3))).status,
        200
    );
    let other = Payer::new(5).pay_offer(&all[0], 1);
    assert_eq!(
        ask(&gateway, "/x", Some(&other)).status,
        200,
        "another payer"
    );
    assert_eq!(origin.count(), 3);
    checks(&gateway);
}

// PAY-62 PAY-136
#[test]
fn what_could_not_be_settled_at_once_is_settled_later() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"goods")));
    let gateway = shop(&facilitator, &origin, CENT).start();
    let all = offers(&gateway, "/x");
    facilitator.settle_as(FacilitatorMood::Fails(500));
    let payer = Payer::new(6);
    let proof = payer.pay_offer(&all[0], 1);
    assert_eq!(ask(&gateway, "/x", Some(&proof)).status, 200);
    stands(&gateway, "unknown");
    let again = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 2)));
    assert_eq!(again.code(), "payment_uncollected");
    let same = ask(&gateway, "/x", Some(&proof));
    assert_eq!(
        (same.status, same.code().as_str()),
        (503, "payment_pending")
    );
    facilitator.settle_as(FacilitatorMood::Right);
    let paid = stands(&gateway, "spent");
    assert_eq!(paid["received"], "10000", "{paid}");
    assert_eq!((facilitator.settled(), origin.count()), (1, 1));
    let next = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 3)));
    assert_eq!(
        next.status,
        200,
        "who has paid is served first: {}",
        next.text()
    );
    stands(&gateway, "spent");
    checks(&gateway);
}

// PAY-136 PAY-60
#[test]
fn a_gateway_that_is_killed_while_it_delivers_settles_from_the_proof_it_kept() {
    let origin = Origin::start(|_| vec![chunked_head("text/plain"), chunk(b"half"), Step::Hang]);
    let facilitator = Facilitator::start();
    let mut gateway = shop(&facilitator, &origin, CENT).start();
    let proof = Payer::new(7).pay_offer(&offers(&gateway, "/x")[0], 1);
    let mut caller = gateway.connect();
    let line = format!("PAYMENT-SIGNATURE: {proof}\r\n");
    caller.send(&head("GET /x", &line));
    stands(&gateway, "serving");
    assert_eq!(facilitator.settlements(), 0);
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    offers(&gateway, "/x");
    let paid = stands(&gateway, "spent");
    assert_eq!(paid["received"], "10000", "{paid}");
    assert_eq!((facilitator.settlements(), origin.count()), (1, 1));
    checks(&gateway);
}

// PAY-66 PAY-113
#[test]
fn a_payer_owes_no_more_than_it_may_until_it_has_paid() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"goods")));
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.60\", upto: true }\n";
    let gateway = shop(&facilitator, &origin, route).start();
    let all = offers(&gateway, "/x");
    let gate = Gate::default();
    facilitator.settle_as(FacilitatorMood::Late(gate.clone()));
    let payer = Payer::new(8);
    assert_eq!(
        ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 1))).status,
        200
    );
    stands(&gateway, "settling");
    let refused = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 2)));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "payer_limit")
    );
    assert_eq!(origin.count(), 1);
    facilitator.settle_as(FacilitatorMood::Right);
    gate.open();
    stands(&gateway, "spent");
    let next = ask(&gateway, "/x", Some(&payer.pay_offer(&all[0], 3)));
    assert_eq!(next.status, 200, "{}", next.text());
}
