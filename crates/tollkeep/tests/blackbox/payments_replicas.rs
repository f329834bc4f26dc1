//! Many callers show the same proofs to one gateway, and to two on one PostgreSQL: each proof is settled
//! once and delivered once.

use crate::fixture::{gateway, head};
use crate::payments::{checks, required, selling};
use crate::replicas::on;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{Facilitator, Gateway, Origin, Payer, Postgres, eventually, ok};

/// Callers of one proof.
const CALLERS: usize = 64;
/// What may be wrong about a proof that others show too.
const NOT_SERVED: [u16; 3] = [402, 409, 429];

/// Each of so many proofs is shown by 64 callers at once, to these gateways by turns.
fn race(gateways: &[Gateway], proofs: u64, facilitator: &Facilitator, origin: &Origin) {
    let offers: Vec<_> = gateways.iter().map(required).collect();
    let payer = Payer::new(6);
    let before = (origin.count(), facilitator.settlements());
    for nonce in 0..proofs {
        let request = head(
            "GET /joke",
            &format!("PAYMENT-SIGNATURE: {}\r\n", payer.pay(&offers[0], nonce)),
        );
        let served = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..CALLERS {
                let (gateway, request) = (&gateways[caller % gateways.len()], &request);
                let served = &served;
                scope.spawn(move || {
                    let status = gateway.call(request).status;
                    if status == 200 {
                        served.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(NOT_SERVED.contains(&status), "{status}");
                    }
                });
            }
        });
        assert_eq!(served.into_inner(), 1, "proof {nonce}");
    }
    let proofs = usize::try_from(proofs).unwrap();
    let after = (origin.count(), facilitator.settlements());
    assert_eq!(after, (before.0 + proofs, before.1 + proofs));
    checks(&gateways[0]);
}

fn race_on_one(proofs: u64) {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let config = selling(&facilitator, &origin, "");
    race(&[gateway(config).start()], proofs, &facilitator, &origin);
}

fn race_on_two(proofs: u64) {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let server = Postgres::start();
    let config = selling(&facilitator, &origin, "");
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    race(&gateways, proofs, &facilitator, &origin);
}

// PAY-1 PAY-60 PAY-134
#[test]
fn two_replicas_deliver_once_for_a_proof_that_64_callers_show_to_both() {
    race_on_two(6);
}

// PAY-135
#[test]
fn an_answer_bought_from_one_replica_is_had_again_from_the_other() {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let server = Postgres::start();
    let config = selling(&facilitator, &origin, "");
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    let offers: Vec<_> = gateways.iter().map(required).collect();
    let payer = Payer::new(9);
    let named = |nonce, name: &str| {
        let proof = STANDARD.decode(payer.pay(&offers[0], nonce)).unwrap();
        let mut proof: Value = serde_json::from_slice(&proof).unwrap();
        let info = json!({ "required": false, "id": name });
        proof["extensions"] = json!({ "payment-identifier": { "info": info } });
        let line = format!(
            "PAYMENT-SIGNATURE: {}\r\n",
            STANDARD.encode(proof.to_string())
        );
        head("GET /joke", &line)
    };
    let request = named(1, "order_0123456789abcdef");
    assert_eq!(gateways[0].call(&request).status, 200);
    let again = eventually("it is spent", || {
        let answer = gateways[1].call(&request);
        (answer.code() != "payment_in_progress").then_some(answer)
    });
    assert_eq!((again.status, again.text().as_str()), (200, "ha"));
    assert_eq!(again.field("x-tollkeep-replayed"), Some("true"));
    let other = gateways[1].call(&named(2, "order_0123456789abcdef"));
    assert_eq!(other.code(), "payment_identifier_conflict");
    // More names than are kept of one payer: the oldest is forgotten, and not served again.
    for nonce in 3..=67 {
        let paid = gateways[0].call(&named(nonce, &format!("order_0123456789_{nonce}")));
        assert_eq!(paid.status, 200, "{nonce}: {}", paid.text());
    }
    let forgotten = gateways[1].call(&request);
    assert_eq!(forgotten.code(), "payment_already_used");
    assert_eq!((origin.count(), facilitator.settlements()), (66, 66));
    checks(&gateways[0]);
}

// PAY-1 PAY-60 PAY-134
#[test]
#[ignore = "soak: a thousand proofs"]
fn a_thousand_proofs_of_64_callers_are_delivered_a_thousand_times() {
    race_on_one(1_000);
}

// PAY-1 PAY-60 PAY-134
#[test]
#[ignore = "soak: a thousand proofs"]
fn a_thousand_proofs_of_64_callers_are_delivered_a_thousand_times_by_two_replicas() {
    race_on_two(1_000);
}
