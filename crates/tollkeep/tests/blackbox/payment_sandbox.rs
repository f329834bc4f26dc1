//! Payments that move no money: real signatures, judged as ever, taken once, and marked.

use crate::callers::get;
use crate::fixture::gateway;
use crate::paid_fixture::{PAYEE, encode, open, proof, shown, signed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tollkeep_testkit::{Builder, Origin};

const MARK: (&str, Option<&str>) = ("x-tollkeep-sandbox", Some("1"));

fn shop(origin: &Origin, switch: &str) -> Builder {
    let url = origin.url();
    gateway(format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n{switch}\n\
         routes:\n  \"GET /x\": {{ upstream: origin, price: \"$0.01\" }}\n  \
         \"GET /late\": {{ upstream: origin, price: \"$0.01\", settlement: after-response }}\n"
    ))
}

fn receipt(field: Option<&str>) -> Value {
    serde_json::from_slice(&STANDARD.decode(field.expect("a receipt")).unwrap()).unwrap()
}

// PAY-89
#[test]
fn what_payers_sign_is_taken_once_without_a_chain_and_every_answer_is_marked() {
    let origin = Origin::plain();
    for switch in ["payments: { sandbox: true }", "facilitator: mock"] {
        let gateway = shop(&origin, switch).start();
        for path in ["/x", "/late"] {
            let unpaid = open(&gateway, &get(path, ""));
            assert_eq!(unpaid.field(MARK.0), MARK.1, "{switch}");
            let proof = shown(&proof(&unpaid));
            let paid = gateway.call(&get(path, &proof));
            assert_eq!(paid.status, 200, "{switch} {path}: {paid:?}");
            assert_eq!(paid.field(MARK.0), MARK.1);
            let receipt = receipt(paid.field("payment-response"));
            assert_eq!(receipt["success"], true);
            assert_eq!(receipt["network"], "eip155:84532");
            let transaction = receipt["transaction"].as_str().unwrap();
            assert!(
                transaction.starts_with("0x") && transaction.len() == 66,
                "{transaction}"
            );
            let again = tollkeep_testkit::eventually("the delivery has ended", || {
                let answer = gateway.call(&get(path, &proof));
                (answer.status != 409).then_some(answer)
            });
            assert_eq!(
                (again.status, again.code().as_str()),
                (402, "payment_already_used")
            );
            assert_eq!(again.field(MARK.0), MARK.1);
        }
        // Version 1 of the protocol, and answers that nobody pays for.
        let one = json!({
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": signed(1, 10_000),
        });
        let paid = gateway.call(&get("/x", &format!("X-PAYMENT: {}\r\n", encode(&one))));
        assert_eq!(paid.status, 200, "{paid:?}");
        for path in ["/nowhere", "/health", "/.well-known/x402"] {
            assert_eq!(gateway.call(&get(path, "")).field(MARK.0), MARK.1, "{path}");
        }
        let health = gateway.call(&get("/health", "")).json();
        assert_eq!(health["sandbox"], true);
    }
    assert_eq!(origin.count(), 6);
}

// PAY-89
#[test]
fn a_proof_that_a_chain_would_refuse_is_refused_there_too() {
    let origin = Origin::plain();
    let gateway = shop(&origin, "payments: { sandbox: true }").start();
    let unpaid = open(&gateway, &get("/x", ""));
    let good = proof(&unpaid);
    let mut other_payer = good.clone();
    other_payer["payload"]["authorization"]["from"] = signed(1, 1)["authorization"]["from"].clone();
    let mut contract = good.clone();
    contract["payload"]["signature"] = json!(format!("0x{}", "ab".repeat(100)));
    let mut less = good;
    less["payload"] = signed(0, 9_999);
    for (name, bad) in [
        ("other payer", other_payer),
        ("contract", contract),
        ("less", less),
    ] {
        let answer = gateway.call(&get("/x", &shown(&bad)));
        assert_eq!(answer.status, 402, "{name}: {answer:?}");
        assert_eq!(answer.field(MARK.0), MARK.1, "{name}");
    }
    assert_eq!(origin.count(), 0);
}

// PAY-89
#[test]
fn a_gateway_that_is_no_sandbox_marks_nothing() {
    let origin = Origin::plain();
    let facilitator = crate::paid_fixture::Facilitator::start();
    let gateway =
        crate::paid_fixture::shop(&origin, &facilitator, crate::paid_fixture::CENT).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let paid = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(paid.status, 200);
    for answer in [unpaid, paid] {
        assert_eq!(answer.field(MARK.0), None);
    }
}
