//! Many callers show the same proofs to one gateway, and to two on one PostgreSQL: each proof is settled
//! once and delivered once.

use crate::fixture::{gateway, head};
use crate::payments::{checks, required, selling};
use crate::replicas::on;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{Facilitator, Gateway, Origin, Payer, Postgres, eventually, ok};

/// What a call costs, in units of the token.
const CENT: u64 = 10_000;
/// Callers of one proof.
const CALLERS: usize = 64;
/// What may be wrong about a proof that others show too.
const NOT_SERVED: [u16; 3] = [402, 409, 429];
/// What those are told who come too many at once for the database.
const LATE: [&str; 2] = ["payment_unavailable", "payment_pending"];

/// Proofs that are raced for at the same time in the long forms, each by a payer of its own.
const LANES: u8 = 4;
/// How many proofs the long forms show.
const PROOFS: &str = "PAID_PROOFS";

fn many_proofs() -> u64 {
    std::env::var(PROOFS).map_or(1_000, |proofs| proofs.parse().unwrap())
}

/// 64 callers show a proof at once, to these gateways by turns. Who is told that nothing could be kept
/// just now comes again, as it is told to: how many were.
fn race_for(gateways: &[Gateway], request: &[u8]) -> usize {
    let (served, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let gateway = &gateways[caller % gateways.len()];
            let (served, late) = (&served, &late);
            scope.spawn(move || {
                let answer = eventually("an answer", || {
                    let answer = gateway.call(request);
                    let is_late = answer.status == 503;
                    if is_late {
                        late.fetch_add(1, Ordering::Relaxed);
                        assert!(LATE.contains(&answer.code().as_str()), "{}", answer.text());
                        assert_eq!(answer.field("payment-required"), None);
                    }
                    (!is_late).then_some(answer)
                });
                if answer.status == 200 {
                    served.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert!(NOT_SERVED.contains(&answer.status), "{}", answer.text());
                }
            });
        }
    });
    let (served, late) = (served.into_inner(), late.into_inner());
    // Who was to come again may have met the others who did: then the proof is still good.
    if served == 0 && late > 0 {
        eventually("the only delivery", || {
            (gateways[0].call(request).status == 200).then_some(())
        });
        return late;
    }
    assert_eq!(served, 1, "{late} came too many at once");
    late
}

/// So many proofs, in lanes at the same time: each is settled once and delivered once.
fn race(
    gateways: &[Gateway],
    (proofs, lanes): (u64, u8),
    facilitator: &Facilitator,
    origin: &Origin,
) {
    let offers: Vec<_> = gateways.iter().map(required).collect();
    let (next, late) = (AtomicU64::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for lane in 0..lanes {
            let (offer, next, late) = (&offers[0], &next, &late);
            scope.spawn(move || {
                let payer = Payer::new(40 + lane);
                loop {
                    let nonce = next.fetch_add(1, Ordering::Relaxed);
                    if nonce >= proofs {
                        return;
                    }
                    let line = format!("PAYMENT-SIGNATURE: {}\r\n", payer.pay(offer, nonce));
                    let came_again = race_for(gateways, &head("GET /joke", &line));
                    late.fetch_add(came_again, Ordering::Relaxed);
                }
            });
        }
    });
    let proofs = usize::try_from(proofs).unwrap();
    assert_eq!(
        (origin.count(), facilitator.settlements()),
        (proofs, proofs)
    );
    assert_eq!(facilitator.settled(), proofs);
    // What every payer has less, and the payee more.
    let earned = (CENT * u64::try_from(proofs).unwrap()).to_string();
    eventually("all of it is earned", || {
        let (status, revenue) = gateways[0].api("GET", "/api/v1/revenue?by=route", None);
        assert_eq!(status, 200, "{revenue}");
        (revenue[0]["amount"] == *earned).then_some(())
    });
    checks(&gateways[0]);
}

/// On a file, or on a server for this many replicas.
fn race_on(replicas: Option<usize>, proofs: u64, lanes: u8) {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let config = selling(&facilitator, &origin, "");
    let Some(replicas) = replicas else {
        let gateways = [gateway(config).start()];
        return race(&gateways, (proofs, lanes), &facilitator, &origin);
    };
    let server = Postgres::start();
    let gateways: Vec<_> = (0..replicas)
        .map(|_| on(&server, &config).start())
        .collect();
    race(&gateways, (proofs, lanes), &facilitator, &origin);
}

// PAY-1 PAY-60 PAY-134
#[test]
fn two_replicas_deliver_once_for_a_proof_that_64_callers_show_to_both() {
    race_on(Some(2), 6, 1);
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
#[ignore = "soak: PAID_PROOFS, a thousand"]
fn a_thousand_proofs_of_64_callers_are_delivered_a_thousand_times() {
    race_on(None, many_proofs(), LANES);
}

// PAY-1 PAY-60 PAY-134
#[test]
#[ignore = "soak: PAID_PROOFS, a thousand"]
fn a_thousand_proofs_of_64_callers_are_delivered_a_thousand_times_on_postgresql() {
    race_on(Some(1), many_proofs(), LANES);
}

// PAY-1 PAY-60 PAY-134
#[test]
#[ignore = "soak: PAID_PROOFS, a thousand"]
fn a_thousand_proofs_of_64_callers_are_delivered_a_thousand_times_by_two_replicas() {
    race_on(Some(2), many_proofs(), LANES);
}
