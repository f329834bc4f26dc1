//! What payers are told of payments of theirs, by the proof they made them with.

use crate::callers::get;
use crate::paid_fixture::{CENT, Facilitator, Settles, open, proof, shop, shown};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Gateway, Origin, Step, eventually};

fn ask(gateway: &Gateway, id: &str, lines: &str) -> Answer {
    gateway.call(&get(&format!("/.well-known/tollkeep/payments/{id}"), lines))
}

/// The id of the newest payment.
fn newest(gateway: &Gateway) -> String {
    let (status, page) = gateway.api("GET", "/api/v1/payments", None);
    assert_eq!(status, 200, "{page}");
    page["data"][0]["id"].as_str().unwrap().to_owned()
}

fn stands(gateway: &Gateway, id: &str, lines: &str, state: &str) -> Value {
    eventually(state, || {
        let told = ask(gateway, id, lines);
        assert_eq!(told.status, 200, "{told:?}");
        assert_eq!(told.field("cache-control"), Some("no-store"));
        let told = told.json();
        (told["state"] == state).then_some(told)
    })
}

// PAY-73
#[test]
fn a_payer_is_told_state_amount_receipt_and_credit_of_its_payment() {
    let facilitator = Facilitator::start();
    let origin = Origin::start(|request| match request.target.as_str() {
        "/x" => tollkeep_testkit::ok(b"goods"),
        _ => vec![Step::Send(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
    });
    let routes = format!("{CENT}  \"GET /broken\": {{ upstream: origin, price: \"$0.02\" }}\n");
    let gateway = shop(&origin, &facilitator, &routes).start();
    let line = shown(&proof(&open(&gateway, &get("/x", ""))));
    let paid = gateway.call(&get("/x", &line));
    assert_eq!(paid.status, 200);
    let told = stands(&gateway, &newest(&gateway), &line, "spent");
    assert_eq!(told["amount"], "10000");
    assert_eq!(told["received"], "10000");
    assert_eq!(told["credit"], Value::Null);
    assert_eq!(told["receipt"].as_str(), paid.field("payment-response"));
    // What was paid and not had is credit.
    let line = shown(&proof(&open(&gateway, &get("/broken", ""))));
    let broken = gateway.call(&get("/broken", &line));
    assert_eq!(broken.status, 503, "{broken:?}");
    let told = stands(&gateway, &newest(&gateway), &line, "credit");
    assert_eq!(told["credit"]["amount"], "20000");
    assert_eq!(told["credit"]["is_served"], true);
    // And what nobody knows is told as that.
    facilitator.settles(Settles::Garbled);
    let line = shown(&proof(&open(&gateway, &get("/x", ""))));
    let id = std::thread::scope(|scope| {
        let call = scope.spawn(|| gateway.call(&get("/x", &line)));
        let id = eventually("the payment is unknown", || {
            let (_, page) = gateway.api("GET", "/api/v1/payments?state=unknown", None);
            page["data"][0]["id"].as_str().map(str::to_owned)
        });
        assert_eq!(call.join().unwrap().code(), "payment_pending");
        id
    });
    let told = stands(&gateway, &id, &line, "unknown");
    assert_eq!(
        (&told["received"], &told["receipt"]),
        (&Value::Null, &Value::Null)
    );
}

// PAY-73
#[test]
fn without_its_proof_a_payment_is_not_there() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let good = proof(&unpaid);
    assert_eq!(gateway.call(&get("/x", &shown(&good))).status, 200);
    let id = newest(&gateway);
    let mut forged = good.clone();
    let signature = forged["payload"]["signature"]
        .as_str()
        .unwrap()
        .replace("1b", "1c");
    forged["payload"]["signature"] = json!(signature.replacen('a', "b", 3));
    let mut contract = good.clone();
    contract["payload"]["signature"] = json!(format!("0x{}", "ab".repeat(100)));
    let missing = ask(
        &gateway,
        "pay_0198c0ffee0070008000000000000001",
        &shown(&good),
    );
    assert_eq!(missing.status, 404);
    for (what, id, lines) in [
        ("no proof", id.as_str(), String::new()),
        ("another proof", &id, shown(&proof(&unpaid))),
        ("a forged one", &id, shown(&forged)),
        ("a contract's", &id, shown(&contract)),
        ("no base64", &id, "PAYMENT-SIGNATURE: %%%\r\n".to_owned()),
        ("no id", "x", shown(&good)),
    ] {
        let answer = ask(&gateway, id, &lines);
        assert_eq!(
            (answer.status, answer.code()),
            (404, missing.code()),
            "{what}"
        );
    }
    let limited = (0..40).map(|_| ask(&gateway, &id, "").status);
    assert!(
        limited.into_iter().any(|status| status == 429),
        "there is a limit"
    );
}
