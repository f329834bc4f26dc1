//! Credit while gateways are killed, while two of them take of the same, and where its calls take what
//! they use.

use crate::bought::{config, rests, token_of};
use crate::callers::get;
use crate::credit::{asks, credited};
use crate::fixture::{Dice, gateway};
use crate::replicas::on;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Client, Gateway, Origin, PATIENCE, Postgres, Signal, Step, ok};

/// Two routes, of which the second costs three times as much.
const TWO: &str = "  \"GET /one\": { upstream: origin, price: \"$0.0001\" }\n  \
     \"GET /three\": { upstream: origin, price: \"$0.0003\" }\n";
/// What the first takes, in units of the token.
const ONE: u64 = 100;
/// Callers of the same credit.
const CALLERS: usize = 4;
/// A kill comes within so many milliseconds.
const KILL_WITHIN_MS: usize = 60;

fn amount(gateway: &Gateway, path: &str) -> u64 {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{told}");
    let amount = told[0]["amount"].as_str();
    amount.map_or(0, |amount| amount.parse().unwrap())
}

/// Calls both routes by turns until the gateway is gone, or nothing is left for the cheaper one: what
/// it was served is worth, and how often it waited for an answer that did not come.
fn use_up(mut client: Client, token: &str) -> (u64, u64) {
    let mut served = 0;
    for turn in 0_u64.. {
        let (path, worth) = match turn % 2 {
            0 => ("/one", 1),
            _ => ("/three", 3),
        };
        let is_sent = client.send(&get(path, token));
        match is_sent.then(|| client.answer(PATIENCE).ok()).flatten() {
            None => return (served, worth),
            Some(answer) if answer.status == 200 => served += worth,
            Some(answer) => {
                assert_eq!(answer.code(), "insufficient_balance", "{}", answer.text());
                if path == "/one" {
                    break;
                }
            }
        }
    }
    (served, 0)
}

fn kill_often(calls: u64) {
    let origin = Origin::start(|_| {
        let mut steps = ok(b"ha");
        steps.insert(0, Step::Sleep(Duration::from_millis(1)));
        steps
    });
    let mut gateway = gateway(config(&origin, TWO)).start();
    let price = format!("${}.{:04}", calls / 10_000, calls % 10_000);
    let first = credited(&gateway, "/one", &price);
    assert_eq!(first.status, 200, "{first:?}");
    let token = token_of(&first);
    let (mut dice, mut served, mut lost, mut kills) = (Dice::new(6), 1, 0, 0);
    loop {
        let wait = u64::try_from(dice.below(KILL_WITHIN_MS)).unwrap();
        let wait = Duration::from_millis(5 + wait);
        let clients = [(); CALLERS].map(|()| gateway.connect());
        let had: Vec<(u64, u64)> = thread::scope(|scope| {
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
        served += had.iter().map(|(served, _)| served).sum::<u64>();
        lost += had.iter().map(|(_, lost)| lost).sum::<u64>();
        gateway.kill();
        gateway = gateway.restart().unwrap();
        rests(&gateway);
        kills += 1;
        let charged = amount(&gateway, "/api/v1/revenue?by=route") / ONE;
        // What was being answered when the gateway was killed may have been charged and lost.
        assert!(served <= charged, "{served} were had, {charged} charged");
        assert!(
            charged <= served + lost,
            "{charged} charged, {served} had, {lost} lost"
        );
        let left = amount(&gateway, "/api/v1/credits") / ONE;
        assert_eq!(charged + left, calls);
        if left == 0 {
            break;
        }
    }
    eprintln!("{kills} kills: {served} of {calls} were had whole");
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
fn killed_at_any_moment_it_takes_of_credit_what_was_had_and_keeps_the_rest() {
    kill_often(120);
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
#[ignore = "soak: many kills"]
fn killed_for_long_it_takes_of_credit_what_was_had_and_keeps_the_rest() {
    kill_often(40_000);
}

// PAY-1 PAY-75 PAY-77
#[test]
fn two_replicas_take_of_one_credit_what_it_is_enough_for() {
    let origin = Origin::plain();
    let server = Postgres::start();
    let config = config(&origin, &TWO.replace("$0.0003", "$0.0001"));
    let gateways = [on(&server, &config).start(), on(&server, &config).start()];
    let first = credited(&gateways[0], "/one", "$0.01");
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.field("x-session-balance"), Some("99"));
    let token = token_of(&first);
    let served = AtomicUsize::new(1);
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let gateway = &gateways[caller % gateways.len()];
            let (token, served) = (&token, &served);
            scope.spawn(move || {
                for turn in 0..50 {
                    let path = ["/one", "/three"][turn % 2];
                    let status = gateway.call(&get(path, token)).status;
                    if status == 200 {
                        served.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(status, 402);
                    }
                }
            });
        }
    });
    assert_eq!((served.into_inner(), origin.count()), (100, 100));
    for gateway in &gateways {
        rests(gateway);
        assert_eq!(amount(gateway, "/api/v1/revenue"), 100 * ONE);
        let spent = gateway.call(&get("/one", &format!("{token}{}", asks("$0.01"))));
        assert_eq!(spent.code(), "insufficient_balance");
    }
}
