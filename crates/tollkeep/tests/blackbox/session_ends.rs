//! How sessions end, and who is told that they begin and end.

use crate::bought::{bought, config, rests, token_of};
use crate::callers::get;
use crate::fixture::gateway;
use crate::replicas::on;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, Postgres, eventually, ok};

const SECRET: &str = "a-secret-of-thirty-two-characters-1";
const METERED: &str = "  \"GET /x\": { upstream: origin, price: \"$0.01\", billing: { model: metered, unit_cost: \"$0.004\" } }\n";
const OTHER: &str = "  \"GET /y\": { upstream: origin, price: \"$0.01\" }\n";

fn webhook(told: &Origin) -> String {
    let url = told.url();
    format!(
        "webhooks: [{{ url: \"{url}/told\", secret: {SECRET}, allow_private: [\"127.0.0.1/32\"], \
         events: [session.created, session.expired] }}]\n"
    )
}

/// What the receiver was told: the events, each once by its id.
fn events(told: &Origin) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    for request in told.requests() {
        let event: Value = serde_json::from_slice(&request.body).unwrap();
        if !events.iter().any(|known| known["id"] == event["id"]) {
            events.push(event);
        }
    }
    events
}

fn named(gateway: &Gateway, action: &str) -> Vec<Value> {
    let mut lines = gateway.audit_lines();
    lines.retain(|line| line["action"] == action);
    lines
}

// PAY-79 PAY-80 AUD-10
#[test]
fn a_session_ends_with_its_route_and_what_is_left_of_it_is_owed() {
    let (origin, told) = (Origin::plain(), Origin::start(|_| ok(b"")));
    let with = |routes: &str| format!("{}{}", webhook(&told), config(&origin, routes));
    let both = format!("{METERED}{OTHER}");
    let gateway = gateway(with(&both)).start();
    let token = token_of(&bought(&gateway, "/x"));
    let began = eventually("its begin is told", || events(&told).into_iter().next());
    assert_eq!(began["event"], "session.created");
    for (member, want) in [
        ("route", json!("GET /x")),
        ("model", json!("metered")),
        ("paid", json!("10000")),
        ("balance", json!("10000")),
        ("asset", json!("USDC")),
    ] {
        assert_eq!(began["data"][member], want, "{member}: {began}");
    }
    assert!(!began.to_string().contains("ses-"), "{began}");
    let opened = named(&gateway, "session.open");
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(opened[0]["class"], "money");
    let id = began["data"]["session_id"].clone();
    assert_eq!(opened[0]["details"]["name"], id);

    // Another price, or another route that goes, ends nothing.
    gateway.configure(with(&METERED.replace("$0.01", "$0.02")));
    eventually("the other route is gone", || {
        (gateway.call(&get("/y", "")).status == 404).then_some(())
    });
    assert_eq!(gateway.call(&get("/x", &token)).status, 200);
    assert_eq!(events(&told).len(), 1);
    rests(&gateway);

    gateway.configure(with(OTHER));
    let ended = eventually("its end is told", || {
        let mut events = events(&told).into_iter();
        events.find(|event| event["event"] == "session.expired")
    });
    assert_eq!(ended["data"]["session_id"], id);
    assert_eq!(ended["data"]["reason"], "route_removed");
    assert_eq!(ended["data"]["balance"], "2000");
    let closed = gateway.audit_line("the end of the session", |line| {
        line["action"] == "session.close"
    });
    assert_eq!(closed["details"]["reason"], "route_removed");
    assert_eq!(closed["details"]["units"], 2_000);
    let (_, owed) = gateway.api("GET", "/api/v1/credits", None);
    assert_eq!(owed[0]["amount"], "2000", "{owed}");
    let (_, listed) = gateway.api("GET", "/api/v1/payment-sessions", None);
    assert_eq!(listed["data"][0]["state"], "revoked", "{listed}");

    // The route comes back, and the process is another: the session does not.
    gateway.configure(with(&both));
    let gateway = gateway.restart().unwrap();
    eventually("the route is back", || {
        (gateway.call(&get("/x", "")).status == 402).then_some(())
    });
    let refused = gateway.call(&get("/x", &token));
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (402, "invalid_session")
    );
    assert_eq!(named(&gateway, "session.close").len(), 1);
    assert_eq!(events(&told).len(), 2);
    rests(&gateway);
}

// PAY-80 AUD-10
#[test]
fn what_an_operator_ends_is_told_once() {
    let (origin, told) = (Origin::plain(), Origin::start(|_| ok(b"")));
    let text = format!("{}{}", webhook(&told), config(&origin, METERED));
    let gateway = gateway(text).start();
    bought(&gateway, "/x");
    let (_, listed) = gateway.api("GET", "/api/v1/payment-sessions", None);
    let id = listed["data"][0]["id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let ended = gateway.cli(&["payment", "revoke-session", &id, "--yes", "--json"]);
        assert!(ended.status.success(), "{ended:?}");
    }
    let ended = eventually("its end is told", || {
        let mut events = events(&told).into_iter();
        events.find(|event| event["event"] == "session.expired")
    });
    assert_eq!(ended["data"]["reason"], "revoked", "{ended}");
    let closed = named(&gateway, "session.close");
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(closed[0]["details"]["reason"], "revoked");
    rests(&gateway);
}

// PAY-79
#[test]
fn a_replica_that_is_started_with_an_old_file_ends_no_session_that_others_sell() {
    let origin = Origin::plain();
    let server = Postgres::start();
    let (with, without) = (config(&origin, METERED), config(&origin, OTHER));
    let sells = on(&server, &with).start();
    let token = token_of(&bought(&sells, "/x"));
    let stale = on(&server, &without).start();
    eventually("it tells of a route that it does not have", || {
        let said = stale.stderr();
        said.contains("There are sessions of `GET /x`")
            .then_some(())
    });
    // Nor by settings without a route that it never had.
    stale.configure(without.replace("$0.01", "$0.02"));
    eventually("it has other settings", || {
        let unpaid = stale.call(&get("/y", ""));
        unpaid.text().contains("20000").then_some(())
    });
    assert_eq!(sells.call(&get("/x", &token)).status, 200);
    // Whoever had it and is told to have it no more ends them.
    sells.configure(&without);
    eventually("its end is written down", || {
        let (_, listed) = stale.api("GET", "/api/v1/payment-sessions", None);
        (listed["data"][0]["state"] == "revoked").then_some(())
    });
    assert_eq!(named(&sells, "session.close").len(), 1);
    assert_eq!(named(&stale, "session.close").len(), 0);
    rests(&stale);
}
