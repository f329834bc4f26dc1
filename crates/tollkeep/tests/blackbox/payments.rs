//! What becomes of payments: one proof, one delivery; money taken for nothing is credit; where nobody
//! knows, nobody is asked to pay again.

use crate::fixture::{gateway, head};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tollkeep_testkit::{
    Answer, Builder, Facilitator, FacilitatorMood, Gate, Gateway, Origin, Payer, Step, eventually,
    json as answer_json, ok, wait_until,
};

/// Who is paid.
const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

fn shop(facilitator: &Facilitator, origin: &Origin, payments: &str) -> Builder {
    gateway(selling(facilitator, origin, payments))
}

/// A route that costs a cent, and who settles it.
pub(crate) fn selling(facilitator: &Facilitator, origin: &Origin, payments: &str) -> String {
    let (origin, facilitator) = (origin.url(), facilitator.url());
    format!(
        "upstreams:\n  origin: {{ url: \"{origin}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments:\n  settle_wait: 1s\n  x402:\n    facilitators:\n      \
         main: {{ url: \"{facilitator}\", timeouts: {{ settle: 2s }} }}\n{payments}\
         routes:\n  \"GET /joke\": {{ upstream: origin, price: \"$0.01\" }}\n"
    )
}

pub(crate) fn ask(gateway: &Gateway, proof: Option<&str>) -> Answer {
    let line = proof.map(|proof| format!("PAYMENT-SIGNATURE: {proof}\r\n"));
    gateway.call(&head("GET /joke", &line.unwrap_or_default()))
}

/// What is asked for, once somebody would settle it.
pub(crate) fn required(gateway: &Gateway) -> String {
    eventually("an offer", || {
        let answer = ask(gateway, None);
        let field = answer.field("payment-required")?.to_owned();
        assert_eq!(answer.status, 402, "{}", answer.text());
        Some(field)
    })
}

fn payments(gateway: &Gateway) -> Vec<Value> {
    let (status, page) = gateway.api("GET", "/api/v1/payments", None);
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

/// Waits until the only payment stands so.
fn stands(gateway: &Gateway, state: &str) -> Value {
    eventually(state, || {
        let all = payments(gateway);
        assert!(all.len() <= 1, "{all:?}");
        all.into_iter().find(|payment| payment["state"] == state)
    })
}

pub(crate) fn checks(gateway: &Gateway) {
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
}

// PAY-60 PAY-61 PAY-96
#[test]
fn a_payment_is_settled_delivered_and_earned() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(1).pay(&required(&gateway), 1);
    let answer = ask(&gateway, Some(&proof));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text(), "ha");
    assert!(answer.field("payment-response").is_some());
    let payment = stands(&gateway, "spent");
    assert_eq!(payment["quoted"], "10000", "{payment}");
    assert_eq!(payment["received"], "10000", "{payment}");
    assert_eq!(payment["route"], "GET /joke", "{payment}");
    let again = ask(&gateway, Some(&proof));
    assert_eq!(
        (again.status, again.code().as_str()),
        (402, "payment_already_used")
    );
    assert_eq!((origin.count(), facilitator.settlements()), (1, 1));
    let (status, revenue) = gateway.api("GET", "/api/v1/revenue?by=route", None);
    assert_eq!(status, 200, "{revenue}");
    assert_eq!(revenue[0]["amount"], "10000", "{revenue}");
    checks(&gateway);
}

// PAY-1 PAY-134
#[test]
fn one_proof_of_many_callers_is_settled_and_delivered_once() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = shop(&facilitator, &origin, "").start();
    let required = required(&gateway);
    for nonce in 0..4 {
        let proof = Payer::new(2).pay(&required, nonce);
        let served = thread::scope(|scope| {
            let callers: Vec<_> = (0..64)
                .map(|_| scope.spawn(|| ask(&gateway, Some(&proof)).status))
                .collect();
            let told: Vec<u16> = callers.into_iter().map(|it| it.join().unwrap()).collect();
            for status in &told {
                assert!(matches!(status, 200 | 402 | 409 | 429), "{status}");
            }
            told.into_iter().filter(|status| *status == 200).count()
        });
        assert_eq!(served, 1, "{nonce}");
    }
    assert_eq!((origin.count(), facilitator.settlements()), (4, 4));
    checks(&gateway);
}

// PAY-2 PAY-4
#[test]
fn money_for_nothing_is_credit_that_the_same_proof_is_served_for_once() {
    let facilitator = Facilitator::start();
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let origin = Origin::start(move |_| {
        if fails.load(Ordering::Relaxed) {
            vec![Step::Close]
        } else {
            ok(b"ha")
        }
    });
    let gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(3).pay(&required(&gateway), 1);
    let failed = ask(&gateway, Some(&proof));
    assert_eq!(failed.status, 502, "{}", failed.text());
    assert!(
        failed.field("payment-response").is_some(),
        "{}",
        failed.text()
    );
    stands(&gateway, "credit");
    let (status, credits) = gateway.api("GET", "/api/v1/credits", None);
    assert_eq!(status, 200, "{credits}");
    assert_eq!(credits[0]["amount"], "10000", "{credits}");
    checks(&gateway);
    failing.store(false, Ordering::Relaxed);
    let served = ask(&gateway, Some(&proof));
    assert_eq!(served.status, 200, "{}", served.text());
    assert!(served.field("payment-response").is_some());
    stands(&gateway, "spent");
    assert_eq!(ask(&gateway, Some(&proof)).status, 402);
    assert_eq!(facilitator.settlements(), 1);
    checks(&gateway);
}

// PAY-3 PAY-62 PAY-63 PAY-133
#[test]
fn while_nobody_knows_nobody_is_asked_to_pay_again() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = shop(&facilitator, &origin, "").start();
    let required = required(&gateway);
    let proof = Payer::new(4).pay(&required, 1);
    for mood in [
        FacilitatorMood::Cuts,
        FacilitatorMood::Babbles,
        FacilitatorMood::OtherPayer,
    ] {
        facilitator.settle_as(mood);
        let unknown = ask(&gateway, Some(&proof));
        assert_eq!(
            (unknown.status, unknown.code().as_str()),
            (503, "payment_pending"),
            "{}",
            unknown.text()
        );
        assert_eq!(unknown.field("payment-required"), None);
        assert!(
            unknown.json()["payment_id"].is_string(),
            "{}",
            unknown.text()
        );
    }
    stands(&gateway, "unknown");
    facilitator.settle_as(FacilitatorMood::Right);
    // Whoever shows the proof has it found out.
    let served = eventually("the answer", || {
        let answer = ask(&gateway, Some(&proof));
        assert_eq!(answer.field("payment-required"), None);
        (answer.status == 200).then_some(answer)
    });
    assert!(served.field("payment-response").is_some());
    assert_eq!((origin.count(), facilitator.settled()), (1, 1));
    // Told the same each time, under the same key.
    let told = facilitator.told();
    let first = &told[0][0];
    assert!(told[0].len() > 1 && told[0].iter().all(|it| it == first));
    checks(&gateway);
}

// PAY-2 PAY-3 PAY-63
#[test]
fn what_was_paid_outlasts_the_time_of_its_signature() {
    let facilitator = Facilitator::start();
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let origin = Origin::start(move |_| match fails.load(Ordering::Relaxed) {
        true => vec![Step::Close],
        false => ok(b"ha"),
    });
    let gateway = shop(&facilitator, &origin, "").start();
    let offer = offered(&required(&gateway));
    let ends = now_s() + 16;
    let [credit, unknown, unseen] =
        [31, 32, 33].map(|payer| Payer::new(payer).pay_until(&offer, 1, ends));
    assert_eq!(ask(&gateway, Some(&credit)).status, 502);
    // It answers, so that it is not left alone for a while.
    facilitator.settle_as(FacilitatorMood::OtherPayer);
    assert_eq!(ask(&gateway, Some(&unknown)).status, 503);
    let is_over = || (now_s() > ends).then_some(());
    wait_until(Duration::from_secs(60), is_over).expect("the end of what was signed");
    // What bought nothing buys nothing now.
    let refused = ask(&gateway, Some(&unseen));
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert!(
        refused.code().ends_with("valid_before"),
        "{}",
        refused.text()
    );
    assert!(refused.field("payment-required").is_some());
    // Nobody is asked to pay again while nobody knows.
    let pending = ask(&gateway, Some(&unknown));
    assert_eq!(
        (pending.status, pending.code().as_str()),
        (503, "payment_pending")
    );
    assert_eq!(pending.field("payment-required"), None);
    failing.store(false, Ordering::Relaxed);
    facilitator.settle_as(FacilitatorMood::Right);
    let before = facilitator.settled();
    assert_eq!(ask(&gateway, Some(&credit)).text(), "ha");
    assert_eq!(facilitator.settled(), before);
    assert_eq!(
        ask(&gateway, Some(&credit)).code().as_str(),
        "payment_already_used"
    );
    let served = eventually("the answer", || {
        let answer = ask(&gateway, Some(&unknown));
        assert_eq!(answer.field("payment-required"), None);
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(served.text(), "ha");
    checks(&gateway);
}

// PAY-2
#[test]
fn a_signature_that_only_the_chain_can_judge_redeems_what_it_bought_alone() {
    let facilitator = Facilitator::start();
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let origin = Origin::start(move |_| match fails.load(Ordering::Relaxed) {
        true => vec![Step::Close],
        false => ok(b"ha"),
    });
    let gateway = shop(&facilitator, &origin, "    smart_wallets: true\n").start();
    let signed = Payer::new(34).pay(&required(&gateway), 1);
    // What a stranger makes of what the chain tells everybody.
    let of_contract = |byte: &str| {
        let proof = BASE64_STANDARD.decode(&signed).unwrap();
        let mut proof: Value = serde_json::from_slice(&proof).unwrap();
        proof["payload"]["signature"] = format!("0x{}", byte.repeat(96)).into();
        BASE64_STANDARD.encode(proof.to_string())
    };
    let (own, forged) = (of_contract("11"), of_contract("22"));
    assert_eq!(ask(&gateway, Some(&own)).status, 502);
    stands(&gateway, "credit");
    failing.store(false, Ordering::Relaxed);
    let calls = origin.count();
    let refused = ask(&gateway, Some(&forged));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "payment_already_used"),
        "{}",
        refused.text()
    );
    assert_eq!(origin.count(), calls);
    assert_eq!(ask(&gateway, Some(&own)).text(), "ha");
    checks(&gateway);
}

fn offered(required: &str) -> Value {
    let required = BASE64_STANDARD.decode(required).unwrap();
    let required: Value = serde_json::from_slice(&required).unwrap();
    required["accepts"][0].clone()
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

// PAY-60 PAY-62
#[test]
fn a_killed_gateway_loses_no_money_and_takes_none_twice() {
    let facilitator = Facilitator::start();
    let origin = Origin::start(|_| answer_json(&json!({ "joke": true })));
    let mut gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(5).pay(&required(&gateway), 1);
    let gate = Gate::default();
    facilitator.settle_as(FacilitatorMood::Late(gate.clone()));
    let mut caller = gateway.connect();
    let line = format!("PAYMENT-SIGNATURE: {proof}\r\n");
    caller.send(&head("GET /joke", &line));
    eventually("the settlement", || {
        (facilitator.settlements() == 1).then_some(())
    });
    gateway.kill();
    gate.open();
    facilitator.settle_as(FacilitatorMood::Right);
    let gateway = gateway.restart().unwrap();
    required_after(&gateway);
    stands(&gateway, "credit");
    let served = ask(&gateway, Some(&proof));
    assert_eq!(served.status, 200, "{}", served.text());
    stands(&gateway, "spent");
    assert_eq!((origin.count(), facilitator.settled()), (1, 1));
    checks(&gateway);
}

fn required_after(gateway: &Gateway) {
    assert!(!required(gateway).is_empty());
}

// PAY-130
#[test]
fn what_no_facilitator_takes_is_not_offered() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    facilitator.take_only(json!([
        { "x402Version": 2, "scheme": "exact", "network": "eip155:8453" }
    ]));
    let gateway = shop(&facilitator, &origin, "").start();
    eventually("the question", || (facilitator.asked() > 0).then_some(()));
    let nobody = ask(&gateway, None);
    assert_eq!(nobody.status, 503, "{}", nobody.text());
    assert_eq!(nobody.field("payment-required"), None);
    assert_eq!((facilitator.settlements(), origin.count()), (0, 0));
}

// PAY-132
#[test]
fn the_next_facilitator_is_told_only_where_the_first_was_never_reached() {
    for verify in ["local_only", "local_then_facilitator"] {
        let (first, second) = (Facilitator::start(), Facilitator::start());
        let origin = Origin::start(|_| ok(b"ha"));
        let more = format!(
            "      spare: {{ url: \"{}\" }}\n    verify: {verify}\n",
            second.url()
        );
        let gateway = shop(&first, &origin, &more).start();
        let required = required(&gateway);
        eventually("both are asked", || (second.asked() > 0).then_some(()));
        first.settle_as(FacilitatorMood::Cuts);
        let proof = Payer::new(8).pay(&required, 1);
        assert_eq!(ask(&gateway, Some(&proof)).status, 503);
        assert_eq!((first.settled(), second.settlements()), (1, 0), "{verify}");
        drop(first);
        let other = Payer::new(8).pay(&required, 2);
        let served = ask(&gateway, Some(&other));
        assert_eq!(served.status, 200, "{verify}: {}", served.text());
        assert_eq!(second.settlements(), 1, "{verify}");
    }
}

// PAY-131 PAY-133
#[test]
fn a_refused_proof_is_refused_and_one_that_was_not_verified_may_come_again() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = shop(&facilitator, &origin, "").start();
    let required = required(&gateway);
    let proof = Payer::new(6).pay(&required, 1);
    facilitator.verify_as(FacilitatorMood::Refuses("insufficient_funds"));
    let refused = ask(&gateway, Some(&proof));
    assert_eq!(refused.status, 402, "{}", refused.text());
    assert_eq!(facilitator.settlements(), 0);
    facilitator.verify_as(FacilitatorMood::Fails(500));
    let unavailable = ask(&gateway, Some(&proof));
    assert_eq!(
        (unavailable.status, unavailable.code().as_str()),
        (503, "payment_unavailable")
    );
    stands(&gateway, "released");
    facilitator.verify_as(FacilitatorMood::Right);
    facilitator.settle_as(FacilitatorMood::Pending);
    let served = ask(&gateway, Some(&proof));
    assert_eq!(served.status, 200, "{}", served.text());
    facilitator.settle_as(FacilitatorMood::Refuses("insufficient_funds"));
    let other = Payer::new(6).pay(&required, 2);
    let voided = ask(&gateway, Some(&other));
    assert_eq!(
        (voided.status, voided.code().as_str()),
        (402, "settlement_failed")
    );
    let spent = ask(&gateway, Some(&other));
    assert_eq!(
        (spent.status, spent.code().as_str()),
        (402, "payment_already_used")
    );
    checks(&gateway);
}

// PAY-62 PAY-95 PAY-96
#[test]
fn an_operator_decides_what_nobody_can_find_out() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = shop(&facilitator, &origin, "").start();
    let proof = Payer::new(7).pay(&required(&gateway), 1);
    facilitator.settle_as(FacilitatorMood::Fails(500));
    assert_eq!(ask(&gateway, Some(&proof)).status, 503);
    let unknown = stands(&gateway, "unknown");
    let id = unknown["id"].as_str().unwrap();
    let payer = unknown["payer"].as_str().unwrap();
    assert_eq!(payer.to_lowercase(), Payer::new(7).address());
    eventually("the count of what nobody knows", || {
        let text = gateway.metrics_text();
        let counts = text.contains("tollkeep_payment_unknown 1")
            && text.contains("tollkeep_payments_total{rail=\"x402\",state=\"unknown\"} 1");
        counts.then_some(())
    });
    let list = gateway.cli(&["payment", "list", "--state", "unknown", "--json"]);
    assert!(
        String::from_utf8_lossy(&list.stdout).contains(id),
        "{list:?}"
    );
    for wrong in [
        json!({ "as": "settled" }),
        json!({ "as": "spent", "evidence": "seen on the chain" }),
    ] {
        let path = format!("/api/v1/payments/{id}/resolve");
        assert_eq!(gateway.api("POST", &path, Some(&wrong)).0, 422, "{wrong}");
    }
    let resolved = gateway.cli(&[
        "payment",
        "resolve",
        id,
        "--as",
        "settled",
        "--evidence",
        "seen in block 7",
        "--yes",
        "--json",
    ]);
    assert!(resolved.status.success(), "{resolved:?}");
    let credit = stands(&gateway, "credit");
    assert_eq!(credit["reason"], "seen in block 7", "{credit}");
    let served = ask(&gateway, Some(&proof));
    assert_eq!(served.status, 200, "{}", served.text());
    let path = format!("/api/v1/payments/{id}/resolve");
    let late = json!({ "as": "voided", "evidence": "too late" });
    assert_eq!(gateway.api("POST", &path, Some(&late)).0, 409);
    let line = gateway.audit_line("the decision", |line| {
        line["action"] == "payment.resolve" && line["result"] == "success"
    });
    assert!(line.to_string().contains("seen in block 7"), "{line}");
    checks(&gateway);
}
