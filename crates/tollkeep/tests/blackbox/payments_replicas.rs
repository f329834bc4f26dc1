//! Many callers show the same proofs to one gateway, and to two on one PostgreSQL: each proof is settled
//! once and delivered once.

use crate::fixture::{gateway, head};
use crate::payments::{checks, required, selling};
use crate::replicas::on;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{Facilitator, Gateway, Origin, Payer, Postgres, ok};

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
