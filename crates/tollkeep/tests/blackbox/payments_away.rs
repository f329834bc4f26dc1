//! A facilitator that fails and comes back: nobody is asked to pay again while nobody knows, what was
//! paid is known soon after its return, and everybody is charged once.

use crate::fixture::{gateway, head};
use crate::payments::{checks, required, selling};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Facilitator, FacilitatorMood, Gate, Gateway, Origin, Payer, ok};

/// Payers at the same time: more than failures are borne in a row.
const PAYERS: u8 = 8;
/// How long it fails in the normal form; the variable asks for more.
const AWAY_S: u64 = 3;
const AWAY: &str = "PAID_AWAY_S";
/// So soon after its return everybody is served.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// How often a payer asks.
const EVERY: Duration = Duration::from_millis(500);

/// Shows a proof: it is served, or nobody knows yet.
fn shown(gateway: &Gateway, request: &[u8]) -> bool {
    let answer = gateway.call(request);
    assert_eq!(answer.field("payment-required"), None, "asked to pay again");
    let told = (answer.status, answer.code());
    let is_served = answer.status == 200;
    let waits = matches!(told.1.as_str(), "payment_pending" | "payment_in_progress");
    assert!(is_served || waits, "{told:?} {}", answer.text());
    is_served
}

/// What each way to fail is called, and how a test ends it.
fn moods() -> Vec<(&'static str, FacilitatorMood)> {
    vec![
        ("late", FacilitatorMood::Late(Gate::default())),
        ("500", FacilitatorMood::Fails(500)),
        ("never", FacilitatorMood::Silent),
        ("cuts", FacilitatorMood::Cuts),
        ("babbles", FacilitatorMood::Babbles),
        ("pending", FacilitatorMood::Pending),
    ]
}

/// The facilitator fails so for a while, and everybody who pays meanwhile shows the proof again and
/// again, or only once it is back.
fn away(name: &str, mood: &FacilitatorMood, for_s: u64) {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = gateway(selling(&facilitator, &origin, "")).start();
    let offer = required(&gateway);
    facilitator.settle_as(mood.clone());
    let requests: Vec<Vec<u8>> = (0..PAYERS)
        .map(|payer| {
            let proof = Payer::new(60 + payer).pay(&offer, u64::from(payer));
            head("GET /joke", &format!("PAYMENT-SIGNATURE: {proof}\r\n"))
        })
        .collect();
    let gone = Instant::now();
    let served = insist(&gateway, &requests, || gone.elapsed().as_secs() < for_s);
    facilitator.settle_as(FacilitatorMood::Right);
    if let FacilitatorMood::Late(gate) = mood {
        gate.open();
    }
    let back = Instant::now();
    let mut rest = requests;
    let mut number = 0;
    rest.retain(|_| {
        number += 1;
        !served[number - 1]
    });
    let mut latest = Duration::ZERO;
    while !rest.is_empty() {
        assert!(back.elapsed() < KNOWN_WITHIN, "{name}: {} wait", rest.len());
        let served = insist(&gateway, &rest, || false);
        let mut served = served.into_iter();
        rest.retain(|_| !served.next().unwrap());
        latest = back.elapsed();
        thread::sleep(EVERY);
    }
    println!("{name}: away for {for_s} s, all served {latest:?} after its return");
    let payers = usize::from(PAYERS);
    assert_eq!(
        (facilitator.settled(), origin.count()),
        (payers, payers),
        "{name}"
    );
    checks(&gateway);
}

/// All show their proofs, once and then as long as that is so: who was served.
fn insist(gateway: &Gateway, requests: &[Vec<u8>], goes_on: impl Fn() -> bool + Sync) -> Vec<bool> {
    thread::scope(|scope| {
        let callers: Vec<_> = requests
            .iter()
            .map(|request| {
                let goes_on = &goes_on;
                scope.spawn(move || {
                    loop {
                        if shown(gateway, request) {
                            return true;
                        }
                        if !goes_on() {
                            return false;
                        }
                        thread::sleep(EVERY);
                    }
                })
            })
            .collect();
        callers.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

/// Nobody shows anything any more: what became of it is found out all the same.
fn unseen(for_s: u64) {
    let (facilitator, origin) = (Facilitator::start(), Origin::start(|_| ok(b"ha")));
    let gateway = gateway(selling(&facilitator, &origin, "")).start();
    let offer = required(&gateway);
    facilitator.settle_as(FacilitatorMood::Fails(500));
    let gone = Instant::now();
    for payer in 0..PAYERS {
        let proof = Payer::new(60 + payer).pay(&offer, u64::from(payer));
        let request = head("GET /joke", &format!("PAYMENT-SIGNATURE: {proof}\r\n"));
        assert!(!shown(&gateway, &request));
    }
    while gone.elapsed().as_secs() < for_s {
        thread::sleep(EVERY);
    }
    facilitator.settle_as(FacilitatorMood::Right);
    let back = Instant::now();
    let owed = u64::from(PAYERS) * 10_000;
    loop {
        let (_, credits) = gateway.api("GET", "/api/v1/credits", None);
        if credits[0]["amount"] == *owed.to_string() {
            break;
        }
        assert!(back.elapsed() < KNOWN_WITHIN, "{credits}");
        thread::sleep(EVERY);
    }
    println!(
        "unseen: away for {for_s} s, all known {:?} after its return",
        back.elapsed()
    );
    assert_eq!(
        (facilitator.settled(), origin.count()),
        (usize::from(PAYERS), 0)
    );
    checks(&gateway);
}

fn away_in_every_way(for_s: u64) {
    thread::scope(|scope| {
        for (name, mood) in moods() {
            scope.spawn(move || away(name, &mood, for_s));
        }
        scope.spawn(move || unseen(for_s));
    });
}

// PAY-3 PAY-62 PAY-63 PAY-133
#[test]
fn what_was_paid_is_known_soon_after_a_facilitator_is_back() {
    away_in_every_way(AWAY_S);
}

// PAY-3 PAY-62 PAY-63 PAY-133
#[test]
#[ignore = "soak: PAID_AWAY_S, a minute"]
fn what_was_paid_is_known_soon_after_a_facilitator_was_away_for_long() {
    away_in_every_way(std::env::var(AWAY).map_or(60, |away| away.parse().unwrap()));
}
