//! Credit while gateways are killed, while two of them take of the same, and where its calls take what
//! they use.

use crate::bought::{config, patient, rests, token_of};
use crate::bought_killed::{Killing, amount, kill_often};
use crate::callers::get;
use crate::credit::{asks, credited};
use crate::fixture::gateway;
use crate::paid_fixture::{Facilitator, shop};
use crate::replicas::on;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tollkeep_testkit::{Answer, Origin, Postgres, Signal, Step, ok};

/// Two routes, of which the second costs three times as much.
const TWO: &str = "  \"GET /one\": { upstream: origin, price: \"$0.0001\" }\n  \
     \"GET /three\": { upstream: origin, price: \"$0.0003\" }\n";
/// What the first takes, in units of the token.
const ONE: u64 = 100;
/// Callers of the same credit.
const CALLERS: usize = 4;

fn kill_credit(calls: u64) {
    let twice = TWO
        .replace("$0.0003", "$0.0006")
        .replace("$0.0001", "$0.0002");
    let killing = Killing {
        routes: twice,
        calls: &[("/one", 1), ("/three", 3)],
        worth: calls,
        unit: 2 * ONE,
    };
    let price = format!("${}.{:04}", calls / 5_000, calls % 5_000 * 2);
    kill_often(&killing, |gateway| credited(gateway, "/one", &price));
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
fn killed_at_any_moment_it_takes_of_credit_what_was_had_and_keeps_the_rest() {
    kill_credit(50);
}

// PAY-1 PAY-2 PAY-75 PAY-77
#[test]
#[ignore = "soak: many kills"]
fn killed_for_long_it_takes_of_credit_what_was_had_and_keeps_the_rest() {
    kill_credit(40_000);
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

/// The same for more, of which the least credit is enough for two calls.
const DEARER: &str = "  \"GET /one\": { upstream: origin, price: \"$0.005\" }\n  \
     \"GET /three\": { upstream: origin, price: \"$0.015\" }\n";

/// Status, what became of the money, and what is left.
fn told(answer: &Answer) -> (u16, Option<&str>, Option<&str>, Option<&str>) {
    (
        answer.status,
        answer.field("x-tollkeep-payment"),
        answer.field("x-tollkeep-credit"),
        answer.field("x-session-balance"),
    )
}

// PAY-2 PAY-70 PAY-71 PAY-77
#[test]
fn what_a_failed_call_is_told_to_have_back_is_there_after_a_kill_and_at_once() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/one?away" => vec![Step::Send(
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
        "/one?gone" => vec![Step::Close],
        _ => ok(b"ha"),
    });
    let mut gateway = gateway(patient(&origin, DEARER)).start();
    let first = credited(&gateway, "/one", "$0.01");
    assert_eq!(told(&first).2, Some("$0.005"), "{first:?}");
    let token = token_of(&first);
    let back = Some("refunded_to_balance");
    for (path, status) in [("/one?away", 503), ("/one?gone", 502)] {
        for _ in 0..3 {
            let failed = gateway.call(&get(path, &token));
            assert_eq!(told(&failed), (status, back, Some("$0.005"), Some("1")));
            gateway.signal(Signal::KILL);
            gateway.kill();
            gateway = gateway.restart().unwrap();
        }
        for _ in 0..20 {
            let failed = gateway.call(&get(path, &token));
            assert_eq!(told(&failed), (status, back, Some("$0.005"), Some("1")));
        }
    }
    let dear = gateway.call(&get("/three", &token));
    assert_eq!(dear.code(), "insufficient_balance");
    assert_eq!(told(&dear), (402, None, Some("$0.005"), Some("0")));
    let had = gateway.call(&get("/one", &token));
    assert_eq!(told(&had), (200, Some("charged"), Some("$0"), Some("0")));
    rests(&gateway);
}

// PAY-75 PAY-130
#[test]
fn while_nobody_settles_credit_is_used_and_its_end_is_told_without_a_challenge() {
    let origin = Origin::plain();
    let facilitator = Facilitator::start();
    let gateway = shop(&origin, &facilitator, DEARER).start();
    let first = credited(&gateway, "/one", "$0.02");
    let token = token_of(&first);
    drop(facilitator);
    let gateway = gateway.restart().unwrap();
    let had = gateway.call(&get("/one", &token));
    assert_eq!(told(&had), (200, Some("charged"), Some("$0.01"), Some("2")));
    let dear = gateway.call(&get("/three", &token));
    assert_eq!(dear.code(), "insufficient_balance", "{dear:?}");
    assert_eq!(told(&dear), (402, None, Some("$0.01"), Some("0")));
    assert_eq!(dear.field("payment-required"), None);
    // Who has bought nothing can't buy now.
    let none = gateway.call(&get("/one", ""));
    assert_eq!(
        (none.status, none.code().as_str()),
        (503, "payment_unavailable")
    );
}
