//! A gateway that sells is killed at any moment, again and again: nobody's money is taken twice or kept
//! for nothing, no proof is delivered twice, and the books agree with the facilitator.

use crate::fixture::{Dice, gateway, head};
use crate::payments::{checks, required, selling};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Client, Facilitator, Gateway, Origin, PATIENCE, Payer, Signal, Step, eventually, ok,
};

/// Payers at the same time.
const PAYERS: u8 = 4;
/// What each call costs, in units of the token.
const CENT: u64 = 10_000;
/// A kill comes within so many milliseconds of the first proof.
const KILL_WITHIN_MS: usize = 300;

/// What a payer knows of a proof that it has shown.
struct Bought {
    request: Vec<u8>,
    /// It had a whole answer.
    is_served: bool,
}

/// One who pays for call after call until the gateway is gone, and always knows what it showed.
fn buy(gateway: &Gateway, (payer, offer): (&Payer, &str), nonces: &AtomicU64) -> Vec<Bought> {
    let mut bought: Vec<Bought> = Vec::new();
    let mut client = Client::connect(gateway.data());
    loop {
        let nonce = nonces.fetch_add(1, Ordering::Relaxed);
        let line = format!("PAYMENT-SIGNATURE: {}\r\n", payer.pay(offer, nonce));
        let request = head("GET /joke", &line);
        let is_sent = client.send(&request);
        let answer = is_sent.then(|| client.answer(PATIENCE).ok()).flatten();
        let is_served = answer.as_ref().is_some_and(|answer| answer.status == 200);
        bought.push(Bought { request, is_served });
        match answer {
            Some(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            None => return bought,
        }
    }
}

/// Shows a proof until it is known what becomes of it; whether it was served.
fn show_again(gateway: &Gateway, request: &[u8]) -> bool {
    eventually("what becomes of a proof", || {
        let answer = gateway.call(request);
        match (answer.status, answer.code().as_str()) {
            (200, _) => Some(true),
            (402, "payment_already_used") => Some(false),
            (503 | 409, _) => {
                assert_eq!(answer.field("payment-required"), None, "asked to pay again");
                None
            }
            _ => panic!("{} {}", answer.status, answer.text()),
        }
    })
}

/// How often the long form kills.
const KILLS: &str = "PAID_KILLS";
/// When money is taken.
const MODES: [&str; 2] = ["before-response", "after-response"];

/// A gateway that takes money so is killed so often.
fn kill_often(rounds: usize, settlement: &str) {
    let facilitator = Facilitator::start();
    let origin = Origin::start(|_| {
        let mut steps = ok(b"ha");
        steps.insert(0, Step::Sleep(Duration::from_millis(2)));
        steps
    });
    let config = selling(&facilitator, &origin, "");
    let cent = "price: \"$0.01\"";
    let config = config.replace(cent, &format!("{cent}, settlement: {settlement}"));
    let mut gateway = gateway(config).start();
    let (mut dice, nonces) = (Dice::new(11), AtomicU64::new(0));
    let mut proofs = 0_usize;
    let (mut served_again, mut served_never) = (0, 0);
    for _ in 0..rounds {
        let offer = required(&gateway);
        let wait = Duration::from_millis(u64::try_from(dice.below(KILL_WITHIN_MS)).unwrap());
        let bought: Vec<Bought> = thread::scope(|scope| {
            let payers: Vec<_> = (0..PAYERS)
                .map(|number| {
                    let (gateway, offer, nonces) = (&gateway, &offer, &nonces);
                    scope.spawn(move || buy(gateway, (&Payer::new(number + 10), offer), nonces))
                })
                .collect();
            let began = Instant::now();
            while began.elapsed() < wait {
                thread::yield_now();
            }
            gateway.signal(Signal::KILL);
            payers
                .into_iter()
                .flat_map(|payer| payer.join().unwrap())
                .collect()
        });
        gateway.kill();
        gateway = gateway.restart().unwrap();
        required(&gateway);
        proofs += bought.len();
        for one in &bought {
            let is_served = show_again(&gateway, &one.request);
            assert!(!(one.is_served && is_served), "delivered twice");
            served_again += usize::from(is_served);
            served_never += usize::from(!one.is_served && !is_served);
        }
    }
    // Each proof was shown until it was spent, so each was settled, and once.
    assert_eq!(facilitator.settled(), proofs);
    let earned = (CENT * u64::try_from(proofs).unwrap()).to_string();
    eventually("all of it is earned", || {
        let (status, revenue) = gateway.api("GET", "/api/v1/revenue?by=route", None);
        assert_eq!(status, 200, "{revenue}");
        (revenue[0]["amount"] == *earned).then_some(())
    });
    checks(&gateway);
    eprintln!(
        "{settlement}: {rounds} kills, {proofs} proofs: {served_again} served later, {served_never} cut off"
    );
}

// PAY-1 PAY-2 PAY-3 PAY-60 PAY-61
#[test]
fn killed_at_any_moment_it_takes_no_money_twice_and_keeps_none_for_nothing() {
    for settlement in MODES {
        kill_often(2, settlement);
    }
}

// PAY-1 PAY-2 PAY-3 PAY-60 PAY-61
#[test]
#[ignore = "soak: PAID_KILLS, two hundred"]
fn killed_two_hundred_times_it_takes_no_money_twice_and_keeps_none_for_nothing() {
    let kills = std::env::var(KILLS).map_or(200, |kills| kills.parse().unwrap());
    thread::scope(|scope| {
        for settlement in MODES {
            scope.spawn(move || kill_often(kills / MODES.len(), settlement));
        }
    });
}
