//! What payments buy that lasts longer than one call: sessions, their tokens and their balances.

use crate::callers::{bearer, get};
use crate::fixture::gateway;
use crate::paid_fixture::{Facilitator, PAYEE, asked, open, proof, shown, signed};
use crate::payments::checks;
use serde_json::{Value, json};
use std::thread;
use tollkeep_testkit::{Answer, Builder, Gateway, Origin, Step, eventually, ok};

/// A gateway that sells these routes without money, before `origin`.
pub(crate) fn config(origin: &Origin, routes: &str) -> String {
    let url = origin.url();
    format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n\
         payments: {{ sandbox: true }}\n\
         routes:\n{routes}"
    )
}

/// The same, whose upstream is not left alone for failing.
pub(crate) fn patient(origin: &Origin, routes: &str) -> String {
    config(origin, routes).replace("allow_private:", "breaker: off, allow_private:")
}

pub(crate) fn shop(origin: &Origin, routes: &str) -> Builder {
    gateway(config(origin, routes))
}

/// A cent, of which each call takes four tenths.
const METERED: &str = "  \"GET /x\": { upstream: origin, price: \"$0.01\", billing: { model: metered, unit_cost: \"$0.004\" } }\n";

/// The line that shows the session of an answer.
pub(crate) fn token_of(answer: &Answer) -> String {
    let token = answer.field("x-session-token").expect("a token");
    format!("X-Session-Token: {token}\r\n")
}

/// Pays for this path: the answer.
pub(crate) fn bought(gateway: &Gateway, path: &str) -> Answer {
    let unpaid = open(gateway, &get(path, ""));
    gateway.call(&get(path, &shown(&proof(&unpaid))))
}

/// An upstream that is away.
pub(crate) fn failing() -> Vec<Step> {
    vec![Step::Send(
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
    )]
}

fn told(answer: &Answer) -> (u16, String, Option<&str>) {
    (
        answer.status,
        answer.code(),
        answer.field("x-session-balance"),
    )
}

fn api(gateway: &Gateway, path: &str) -> Value {
    let (status, told) = gateway.api("GET", path, None);
    assert_eq!(status, 200, "{told}");
    told
}

/// Waits until nothing is set aside any more, and the books agree.
pub(crate) fn rests(gateway: &Gateway) {
    eventually("no call is under way", || {
        let page = api(gateway, "/api/v1/payment-sessions");
        let rows = page["data"].as_array().unwrap();
        rows.iter().all(|row| row["held"] == "0").then_some(())
    });
    checks(gateway);
}

// PAY-75 PAY-77 PAY-90
#[test]
fn a_deposit_is_used_up_call_by_call() {
    let origin = Origin::plain();
    let gateway = shop(&origin, METERED).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let said = asked(&unpaid)["resource"]["description"].to_string();
    assert!(said.contains("each call takes $0.004"), "{said}");
    let proof = shown(&proof(&unpaid));
    let first = gateway.call(&get("/x", &proof));
    assert_eq!(told(&first), (200, String::new(), Some("1")), "{first:?}");
    assert!(first.field("payment-response").is_some());
    assert_eq!(first.field("x-tollkeep-payment"), Some("charged"));
    let expires = first.field("x-session-expires").unwrap();
    assert!(expires.ends_with('Z') && expires.len() == 24, "{expires}");
    let token = token_of(&first);
    let second = gateway.call(&get("/x", &token));
    assert_eq!(told(&second), (200, String::new(), Some("0")), "{second:?}");
    for line in [&token, &proof] {
        let third = gateway.call(&get("/x", line));
        assert_eq!(third.status, 402, "{third:?}");
        assert_eq!(third.code(), "insufficient_balance");
        assert_eq!(asked(&third)["accepts"][0]["amount"], "10000");
    }
    assert_eq!(origin.count(), 2);
    for request in origin.requests() {
        let names = request.fields.iter().map(|(name, _)| name.to_lowercase());
        let ours = |name: String| name.starts_with("x-session") || name.starts_with("payment");
        assert!(!names.into_iter().any(ours), "{request:?}");
    }
    rests(&gateway);
    let earned = api(&gateway, "/api/v1/revenue?by=route");
    assert_eq!(earned[0]["amount"], "8000", "{earned}");
    let owed = api(&gateway, "/api/v1/credits");
    assert_eq!(owed[0]["amount"], "2000", "{owed}");
    let payments = api(&gateway, "/api/v1/payments");
    assert_eq!(payments["data"][0]["state"], "spent", "{payments}");
}

// PAY-75
#[test]
fn the_same_proof_leads_to_the_same_session() {
    let origin = Origin::plain();
    let gateway = shop(&origin, METERED).start();
    let proof = shown(&proof(&open(&gateway, &get("/x", ""))));
    let first = gateway.call(&get("/x", &proof));
    let again = gateway.call(&get("/x", &proof));
    assert_eq!(told(&again), (200, String::new(), Some("0")), "{again:?}");
    assert_eq!(token_of(&first), token_of(&again));
    let sessions = api(&gateway, "/api/v1/payment-sessions");
    assert_eq!(sessions["data"].as_array().unwrap().len(), 1, "{sessions}");
    // Also by a gateway that was started anew.
    let gateway = gateway.restart().unwrap();
    open(&gateway, &get("/x", ""));
    let later = gateway.call(&get("/x", &proof));
    assert_eq!(later.code(), "insufficient_balance", "{later:?}");
    rests(&gateway);
}

// PAY-75 PAY-71
#[test]
fn a_first_call_that_fails_leaves_its_money_in_the_session() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/x?fail" => failing(),
        _ => ok(b"ha"),
    });
    let gateway = shop(&origin, METERED).start();
    let failed = bought(&gateway, "/x?fail");
    assert_eq!(told(&failed), (503, String::new(), Some("2")), "{failed:?}");
    assert_eq!(
        failed.field("x-tollkeep-payment"),
        Some("refunded_to_balance")
    );
    let token = token_of(&failed);
    rests(&gateway);
    for left in ["1", "0"] {
        let served = gateway.call(&get("/x", &token));
        assert_eq!(told(&served), (200, String::new(), Some(left)));
    }
    rests(&gateway);
}

// PAY-76
#[test]
fn a_token_of_another_route_or_a_forged_one_opens_nothing() {
    let origin = Origin::plain();
    let two = format!("{METERED}{}", METERED.replace("/x", "/y"));
    let gateway = shop(&origin, &two).start();
    let served = bought(&gateway, "/x");
    let token = token_of(&served);
    let mut forged = served.field("x-session-token").unwrap().to_owned();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'E' } else { 'A' });
    let csn = token.replace("ses-", "csn-");
    for (path, line) in [
        ("/y", token.clone()),
        ("/x", format!("X-Session-Token: {forged}\r\n")),
        ("/x", csn),
        ("/x", "X-Session-Token: \r\n".to_owned()),
        ("/x", "X-Session-Token: ses-\r\n".to_owned()),
    ] {
        let answer = gateway.call(&get(path, &line));
        assert_eq!(answer.status, 402, "{line}: {answer:?}");
        assert_eq!(answer.code(), "invalid_session", "{line}");
        assert!(answer.field("payment-required").is_some());
    }
    let twice = gateway.call(&get("/x", &format!("{token}{token}")));
    assert_eq!(twice.status, 400, "{twice:?}");
    assert_eq!(origin.count(), 1);
}

// PAY-77
#[test]
fn a_bucket_gives_its_calls_and_a_pass_any_number() {
    let origin = Origin::plain();
    let routes = "  \"GET /bucket\": { upstream: origin, price: \"$0.01\", billing: { model: token_bucket, tokenBudget: 3 } }\n  \
         \"GET /pass\": { upstream: origin, price: \"$0.01\", billing: { model: time_pass, durationMinutes: 60 } }\n  \
         \"GET /time\": { upstream: origin, price: \"$0.01\", pricing: { model: time, duration: 1h } }\n";
    let gateway = shop(&origin, routes).start();
    let first = bought(&gateway, "/bucket");
    assert_eq!(told(&first), (200, String::new(), Some("2")), "{first:?}");
    for (status, code, left) in [
        (200, "", Some("1")),
        (200, "", Some("0")),
        (402, "insufficient_balance", Some("0")),
    ] {
        let answer = gateway.call(&get("/bucket", &token_of(&first)));
        assert_eq!(told(&answer), (status, code.to_owned(), left));
    }
    for path in ["/pass", "/time"] {
        let first = bought(&gateway, path);
        for _ in 0..20 {
            let answer = gateway.call(&get(path, &token_of(&first)));
            assert_eq!(told(&answer), (200, String::new(), None), "{path}");
        }
    }
    rests(&gateway);
    let earned = api(&gateway, "/api/v1/revenue?by=rail");
    assert_eq!(earned[0]["amount"], "30000", "{earned}");
}

// PAY-77
#[test]
fn a_hundred_calls_at_once_on_a_balance_for_ten_are_ten_deliveries() {
    let origin = Origin::plain();
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.01\", billing: { model: metered, unit_cost: \"$0.001\" } }\n";
    let gateway = shop(&origin, route).start();
    let first = bought(&gateway, "/x");
    let token = token_of(&first);
    let served = thread::scope(|scope| {
        let callers: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| gateway.call(&get("/x", &token)).status))
            .collect();
        let told: Vec<u16> = callers.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(
            told.iter().all(|status| matches!(status, 200 | 402)),
            "{told:?}"
        );
        told.into_iter().filter(|status| *status == 200).count()
    });
    assert_eq!((served, origin.count()), (9, 10));
    rests(&gateway);
}

fn per_kb(origin: &Origin, price: &str) -> Gateway {
    let route = format!(
        "  \"GET /*\": {{ upstream: origin, price: \"{price}\", billing: {{ model: per_kb, unit_cost: \"$0.001\", hold_step: 4KiB }} }}\n"
    );
    shop(origin, &route).start()
}

// PAY-77
#[test]
fn bytes_are_paid_by_the_kib_and_end_where_the_balance_does() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/small" => ok(&[b'a'; 1025]),
        "/chunked" => vec![
            Step::Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()),
            Step::Send(b"4000\r\n".to_vec()),
            Step::Send(vec![b'c'; 0x4000]),
            Step::Send(b"\r\n0\r\n\r\n".to_vec()),
        ],
        _ => ok(&vec![b'b'; 64 * 1024]),
    });
    // Ten KiB.
    let gateway = per_kb(&origin, "$0.01");
    let small = bought(&gateway, "/small");
    assert_eq!((small.status, small.body.len()), (200, 1025));
    rests(&gateway);
    let earned = api(&gateway, "/api/v1/revenue");
    assert_eq!(earned[0]["amount"], "2000", "two KiB: {earned}");
    for (path, had) in [("/chunked", 8 * 1024), ("/large", 8 * 1024)] {
        let mut token = token_of(&small);
        if path == "/large" {
            let large = bought(&gateway, "/small");
            token = token_of(&large);
        }
        let cut = gateway.call(&get(path, &token));
        assert_eq!(cut.status, 200, "{path}");
        assert_ne!(cut.end, tollkeep_testkit::BodyEnd::Whole, "{path}");
        assert_eq!(cut.body.len(), had, "{path}");
        rests(&gateway);
        let spent = gateway.call(&get(path, &token));
        assert_eq!(spent.code(), "insufficient_balance", "{path}");
    }
    let earned = api(&gateway, "/api/v1/revenue");
    assert_eq!(earned[0]["amount"], "20000", "{earned}");
}

// PAY-77
#[test]
fn an_event_stream_says_that_its_balance_has_ended() {
    let origin = Origin::start(|_| {
        let event = format!("data: {}\n\n", "e".repeat(1000));
        let mut steps = vec![Step::Send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec(),
        )];
        steps.extend((0..40).map(|_| Step::Send(event.clone().into_bytes())));
        steps.push(Step::Close);
        steps
    });
    let gateway = per_kb(&origin, "$0.01");
    let stream = bought(&gateway, "/events");
    assert_eq!(stream.status, 200);
    assert_eq!(stream.end, tollkeep_testkit::BodyEnd::Whole);
    let text = stream.text();
    let (events, last) = text.split_once("event: payment_required\n").unwrap();
    assert_eq!(
        events.matches("data: ").count(),
        10,
        "whole events for ten KiB"
    );
    let data: Value = serde_json::from_str(last.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(data["code"], "insufficient_balance");
    assert_eq!(data["balance"], 0);
    assert!(
        data["topup"].as_str().unwrap().ends_with("/events"),
        "{data}"
    );
    rests(&gateway);
}

// PAY-77a PAY-13
#[test]
fn an_access_token_is_charged_what_a_call_costs() {
    let origin = Origin::start(|request| match request.target.as_str() {
        "/one?fail" => failing(),
        _ => ok(b"ha"),
    });
    let routes = "  \"GET /one\": { upstream: origin, price: \"$0.01\", access: token_or_payment }\n  \
         \"GET /own\": { upstream: origin, price: \"$0.02\", access: token }\n  \
         \"GET /metered\": { upstream: origin, price: \"$0.10\", access: token_or_payment, billing: { model: metered, unit_cost: \"$0.003\" } }\n  \
         \"GET /pass\": { upstream: origin, price: \"$0.10\", access: token_or_payment, token_price: \"$0.004\", billing: { model: time_pass, durationMinutes: 5 } }\n";
    let gateway = shop(&origin, routes).start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let line = bearer(&token);
    let body = json!({
        "name": "calls", "scope": { "project": "default" }, "limit": "$0.05", "window": "lifetime",
    });
    let budget = crate::budgets::made(&gateway, &body);
    let place = format!("/api/v1/budgets/{}/windows", crate::budgets::id(&budget));
    let spent = |want: i64| {
        eventually("it is charged", || {
            let windows = api(&gateway, &place);
            (windows[0]["spent"] == want * 1_000_000 && windows[0]["reserved"] == 0).then_some(())
        });
    };
    for (path, status, want) in [
        ("/one", 200, 10),
        ("/one?fail", 503, 10),
        ("/own", 200, 30),
        ("/metered", 200, 33),
        ("/pass", 200, 37),
        ("/one", 200, 47),
    ] {
        let answer = gateway.call(&get(path, &line));
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        spent(want);
    }
    let short = gateway.call(&get("/one", &line));
    assert_eq!(
        (short.status, short.code().as_str()),
        (402, "budget_exhausted")
    );
    checks(&gateway);
}

// PAY-78
#[test]
fn a_payer_with_a_pass_is_served_for_a_fresh_signature_that_is_not_settled() {
    let (facilitator, origin) = (Facilitator::start(), Origin::plain());
    let route = "  \"GET /x\": { upstream: origin, price: \"$0.01\", billing: { model: time_pass, durationMinutes: 60 } }\n";
    let gateway = crate::paid_fixture::shop(&origin, &facilitator, route).start();
    let unpaid = open(&gateway, &get("/x", ""));
    let first = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(first.status, 200, "{first:?}");
    let again = shown(&proof(&unpaid));
    let second = gateway.call(&get("/x", &again));
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(token_of(&second), token_of(&first));
    assert_eq!(facilitator.asked("/settle"), 1);
    let burnt = gateway.call(&get("/x", &again));
    assert_eq!(burnt.code(), "payment_already_used", "{burnt:?}");
    // Who is somebody else pays.
    let mut other = proof(&unpaid);
    other["payload"] = signed(1, 10_000);
    assert_eq!(gateway.call(&get("/x", &shown(&other))).status, 200);
    assert_eq!(facilitator.asked("/settle"), 2);
    rests(&gateway);
}

// PAY-79
#[test]
fn a_session_is_used_up_as_it_was_bought() {
    let origin = Origin::plain();
    let gateway = shop(&origin, METERED).start();
    let token = token_of(&bought(&gateway, "/x"));
    gateway.configure(config(&origin, &METERED.replace("$0.004", "$0.009")));
    eventually("the price is another", || {
        let unpaid = gateway.call(&get("/x", ""));
        let said = asked(&unpaid)["resource"]["description"].to_string();
        said.contains("$0.009").then_some(())
    });
    let served = gateway.call(&get("/x", &token));
    assert_eq!(told(&served), (200, String::new(), Some("0")), "{served:?}");
    rests(&gateway);
}

// PAY-75 PAY-96 AUD-10
#[test]
fn an_operator_sees_sessions_and_ends_them() {
    let origin = Origin::plain();
    let gateway = shop(&origin, METERED).start();
    let token = token_of(&bought(&gateway, "/x"));
    let listed = gateway.cli(&["payment", "sessions", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let session = &listed["data"][0];
    for (member, want) in [
        ("model", json!("metered")),
        ("state", json!("open")),
        ("route", json!("GET /x")),
        ("paid", json!("10000")),
        ("balance", json!("6000")),
        ("unit_cost", json!("4000")),
    ] {
        assert_eq!(session[member], want, "{member}: {session}");
    }
    let id = session["id"].as_str().unwrap();
    let ended = gateway.cli(&["payment", "revoke-session", id, "--yes", "--json"]);
    assert!(ended.status.success(), "{ended:?}");
    let refused = gateway.call(&get("/x", &token));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "invalid_session")
    );
    let owed = api(&gateway, "/api/v1/credits");
    assert_eq!(owed[0]["amount"], "6000", "{owed}");
    for action in ["session.open", "session.close"] {
        let event = gateway.audit_line(action, |event| event["action"] == action);
        assert_eq!(event["details"]["name"], id, "{event}");
        assert_eq!(event["class"], "money", "{event}");
        assert!(event["details"]["entry_digest"].is_null(), "{event}");
    }
    rests(&gateway);
}
