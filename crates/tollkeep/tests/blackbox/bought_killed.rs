//! Sessions while gateways are killed, and while two of them serve the same one: nothing is had that is
//! not charged, and nothing is charged that was not had.

use crate::bought::{bought, config, rests, token_of};
use crate::callers::{bearer, get};
use crate::fixture::{Dice, gateway};
use crate::held::{budget, settled};
use crate::prepaid::{moved, opened};
use crate::replicas::on;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Answer, Client, Gateway, Origin, PATIENCE, Postgres, Signal, Step, ok, wait_until,
};

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

/// The amount in the first row of sums.
pub(crate) fn amount(gateway: &Gateway, path: &str) -> u64 {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{told}");
    let amount = told[0]["amount"].as_str();
    amount.map_or(0, |amount| amount.parse().unwrap())
}

/// What is used up while gateways are killed.
pub(crate) struct Killing {
    /// What is sold.
    pub(crate) routes: String,
    /// Calls that take of it, the cheapest first, and what each is worth, in units.
    pub(crate) calls: &'static [(&'static str, u64)],
    /// What there is of it, in the same, of which buying takes one.
    pub(crate) worth: u64,
    /// So many of a token are one of these.
    pub(crate) unit: u64,
}

/// Calls by turns until the gateway is gone, or nothing is left for the cheapest: what it was served
/// is worth, and that of an answer that was waited for and did not come.
fn use_up(mut client: Client, token: &str, calls: &[(&'static str, u64)]) -> (u64, u64) {
    let mut served = 0;
    for (turn, (path, worth)) in calls.iter().cycle().enumerate() {
        let is_sent = client.send(&get(path, token));
        match is_sent.then(|| client.answer(PATIENCE).ok()).flatten() {
            None => return (served, *worth),
            Some(answer) if answer.status == 200 => served += worth,
            Some(answer) => {
                assert_eq!(answer.code(), "insufficient_balance", "{}", answer.text());
                if turn % calls.len() == 0 {
                    break;
                }
            }
        }
    }
    (served, 0)
}

/// Kills the gateway again and again while callers use up what was bought, until nothing is left: after
/// each kill what is charged is what was had, and the rest is there.
pub(crate) fn kill_often(killing: &Killing, buy: impl Fn(&Gateway) -> Answer) {
    let origin = Origin::start(|_| {
        let mut steps = ok(b"ha");
        steps.insert(0, Step::Sleep(Duration::from_millis(1)));
        steps
    });
    let mut gateway = gateway(config(&origin, &killing.routes)).start();
    let first = buy(&gateway);
    assert_eq!(first.status, 200, "{first:?}");
    let token = token_of(&first);
    let (mut dice, mut served, mut lost, mut kills) = (Dice::new(5), 1, 0, 0);
    loop {
        let wait = u64::try_from(dice.below(KILL_WITHIN_MS)).unwrap();
        let wait = Duration::from_millis(5 + wait);
        let clients = [(); CALLERS].map(|()| gateway.connect());
        let had: Vec<(u64, u64)> = thread::scope(|scope| {
            let use_up = |client| scope.spawn(|| use_up(client, &token, killing.calls));
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
        let charged = amount(&gateway, "/api/v1/revenue?by=route") / killing.unit;
        // What was being answered when the gateway was killed may have been charged and lost.
        assert!(served <= charged, "{served} were had, {charged} charged");
        assert!(
            charged <= served + lost,
            "{charged} charged, {served} had, {lost} lost"
        );
        let left = amount(&gateway, "/api/v1/credits") / killing.unit;
        assert_eq!(charged + left, killing.worth);
        if left == 0 {
            break;
        }
    }
    eprintln!(
        "{kills} kills: {served} of {} were had whole",
        killing.worth
    );
}

fn kill_deposit(calls: u64) {
    let killing = Killing {
        routes: route(calls),
        calls: &[("/x", 1)],
        worth: calls,
        unit: UNIT,
    };
    kill_often(&killing, |gateway| bought(gateway, "/x"));
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
fn killed_at_any_moment_it_charges_what_was_had_and_keeps_the_rest() {
    kill_deposit(50);
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
#[ignore = "soak: many kills"]
fn killed_for_long_it_charges_what_was_had_and_keeps_the_rest() {
    kill_deposit(20_000);
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

// LED-52 LED-55
#[test]
fn a_price_that_a_token_pays_is_charged_when_nobody_lived_to_tell_and_can_be_put_right_once() {
    const PRICE: i64 = 20_000_000;
    const PAID_IN: i64 = 5 * PRICE;
    let origin = Origin::start(|_| vec![Step::Hang]);
    let route = "  \"GET /own\": { upstream: origin, price: \"$0.02\", access: token }\n";
    let mut gateway = gateway(config(&origin, route))
        .set("ledger.hold_grace", "30s")
        .set("upstreams.origin.timeouts.total_ms", "5s")
        .start();
    let token = gateway.mint_token(&json!({"project": "default"}));
    let id = budget(
        &gateway,
        &json!({"unit": "usd", "limit": "$1", "durability": "strict"}),
    );
    let account = opened(&gateway, "usd");
    let paid = json!({"amount": {"nano_usd": PAID_IN}, "reason": "paid in"});
    let (status, said) = moved(&gateway, (&format!("{account}/credit"), "one"), &paid);
    assert!(status < 300, "{status} {said}");
    let mut caller = gateway.connect();
    assert!(caller.send(&get("/own", &bearer(&token))));
    origin.wait_for(1);
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    let (place, holds) = (
        format!("/api/v1/accounts/{account}"),
        "/api/v1/holds?state=unknown",
    );
    let is_over = wait_until(Duration::from_secs(120), || {
        let (_, now) = gateway.api("GET", &place, None);
        (now["held"] == 0).then_some(now["balance"].clone())
    });
    assert_eq!(
        is_over,
        Some(json!(PAID_IN - PRICE)),
        "its price is charged"
    );
    settled(&gateway, &id, PRICE);
    gateway.audit_line("it is told", |line| line["action"] == "money.settle");
    let (_, unknown) = gateway.api("GET", holds, None);
    let hold = unknown["data"][0]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{unknown}"));
    let put_right = gateway.cli(&[
        "hold",
        "release",
        hold,
        "--yes",
        "--reason",
        "nothing came back",
    ]);
    assert!(put_right.status.success(), "{put_right:?}");
    settled(&gateway, &id, 0);
    let (_, now) = gateway.api("GET", &place, None);
    assert_eq!(now["balance"], PAID_IN, "{now}");
    let again = gateway.cli(&["hold", "release", hold, "--yes", "--reason", "twice"]);
    assert!(!again.status.success(), "{again:?}");
    rests(&gateway);
}
