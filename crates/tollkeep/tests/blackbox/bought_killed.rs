//! Sessions while gateways are killed, and while two of them serve the same one: nothing is had that is
//! not charged, and nothing is charged that was not had.

use crate::bought::{bought, config, rests, token_of};
use crate::callers::get;
use crate::fixture::{Dice, gateway};
use crate::replicas::on;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Client, Gateway, Origin, PATIENCE, Postgres, Signal, Step, ok};

/// Callers of one session.
const CALLERS: usize = 4;
/// A kill comes within so many milliseconds.
const KILL_WITHIN_MS: usize = 60;
/// What a call takes, in units of the token.
const UNIT: u64 = 100;

fn route(calls: u64) -> String {
    let price = calls * UNIT;
    format!(
        "  \"GET /x\": {{ upstream: origin, price: {{ asset: USDC, amount: \"{price}\" }}, billing: {{ model: metered, unit_cost: {{ asset: USDC, amount: \"{UNIT}\" }} }} }}\n"
    )
}

fn amount(gateway: &Gateway, path: &str) -> u64 {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{told}");
    told[0]["amount"]
        .as_str()
        .map_or(0, |amount| amount.parse().unwrap())
}

/// Calls until the gateway is gone, or nothing is left: how often it was served, and whether it was
/// told that nothing is left.
fn use_up(mut client: Client, token: &str) -> (usize, bool) {
    let mut served = 0;
    loop {
        let is_sent = client.send(&get("/x", token));
        match is_sent.then(|| client.answer(PATIENCE).ok()).flatten() {
            None => return (served, false),
            Some(answer) if answer.status == 200 => served += 1,
            Some(answer) => {
                assert_eq!(answer.code(), "insufficient_balance", "{}", answer.text());
                return (served, true);
            }
        }
    }
}

fn kill_often(calls: u64) {
    let origin = Origin::start(|_| {
        let mut steps = ok(b"ha");
        steps.insert(0, Step::Sleep(Duration::from_millis(1)));
        steps
    });
    let mut gateway = gateway(config(&origin, &route(calls))).start();
    let first = bought(&gateway, "/x");
    assert_eq!(first.status, 200, "{first:?}");
    let token = token_of(&first);
    let (mut dice, mut served, mut kills) = (Dice::new(5), 1, 0);
    loop {
        let wait = u64::try_from(dice.below(KILL_WITHIN_MS)).unwrap();
        let wait = Duration::from_millis(5 + wait);
        let clients = [(); CALLERS].map(|()| gateway.connect());
        let had: Vec<(usize, bool)> = thread::scope(|scope| {
            let use_up = |client| scope.spawn(|| use_up(client, &token));
            let callers: Vec<_> = clients.into_iter().map(use_up).collect();
            let began = Instant::now();
            while began.elapsed() < wait {
                thread::yield_now();
            }
            gateway.signal(Signal::KILL);
            let had = callers.into_iter().map(|caller| caller.join().unwrap());
            had.collect()
        });
        served += had.iter().map(|(served, _)| served).sum::<usize>();
        gateway.kill();
        gateway = gateway.restart().unwrap();
        rests(&gateway);
        kills += 1;
        let charged = amount(&gateway, "/api/v1/revenue?by=route") / UNIT;
        let charged = usize::try_from(charged).unwrap();
        // What was being answered when the gateway was killed may have been charged and lost.
        assert!(served <= charged, "{served} were had, {charged} charged");
        assert!(
            charged <= served + kills * CALLERS,
            "{charged} charged, {served} had"
        );
        let left = amount(&gateway, "/api/v1/credits") / UNIT;
        assert_eq!(u64::try_from(charged).unwrap() + left, calls);
        if left == 0 {
            break;
        }
    }
    eprintln!("{kills} kills: {served} of {calls} calls were had whole");
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
fn killed_at_any_moment_it_charges_what_was_had_and_keeps_the_rest() {
    kill_often(120);
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
#[ignore = "soak: many kills"]
fn killed_for_long_it_charges_what_was_had_and_keeps_the_rest() {
    kill_often(20_000);
}

// PAY-1 PAY-77
#[test]
fn two_replicas_give_what_one_balance_is_enough_for() {
    let origin = Origin::plain();
    let server = Postgres::start();
    let config = config(&origin, &route(10));
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    let first = bought(&gateways[0], "/x");
    assert_eq!(first.status, 200, "{first:?}");
    let token = token_of(&first);
    let served = AtomicUsize::new(1);
    thread::scope(|scope| {
        for caller in 0..100 {
            let gateway = &gateways[caller % gateways.len()];
            let (token, served) = (&token, &served);
            scope.spawn(move || {
                let status = gateway.call(&get("/x", token)).status;
                if status == 200 {
                    served.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert_eq!(status, 402);
                }
            });
        }
    });
    assert_eq!((served.into_inner(), origin.count()), (10, 10));
    for gateway in &gateways {
        rests(gateway);
        assert_eq!(amount(gateway, "/api/v1/revenue"), 10 * UNIT);
    }
}
