//! Two gateways on one PostgreSQL: receipts of calls of either are given by both, and a credential that
//! is cut on one ends the calls that the other makes with it, whose holds end too.

use crate::budgets::made;
use crate::callers::{bearer, get};
use crate::fixture::{TOLLKEEP, chat, post};
use crate::held::{PRICES, answer, body, bound, sums};
use crate::operators::made as made_at;
use crate::races::passes_models;
use crate::replicas::on;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};
use tollkeep_testkit::{
    Gate, Gateway, Origin, PATIENCE, Postgres, Step, eventually, json as answer_json,
};

const SECRET: &str = "sk-cut-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
const COST: i64 = 39;

/// Two replicas before a provider that has no credential but the one that is added.
fn pair(server: &Postgres, origin: &Origin, more: &str) -> [Gateway; 2] {
    let url = origin.url();
    let config = format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n{PRICES}{more}"
    );
    [on(server, &config).start(), on(server, &config).start()]
}

/// The receipts of a request, as this replica gives them.
fn receipts(gateway: &Gateway, token: &str, request: &str) -> Vec<String> {
    let place = format!("/.well-known/tollkeep/receipts/{request}");
    let answer = eventually("receipts", || {
        let answer = gateway.call(&get(&place, &bearer(token)));
        (answer.status == 200).then_some(answer)
    });
    let answer = answer.json();
    let all = answer["receipts"].as_array().unwrap().iter();
    all.map(|text| text.as_str().unwrap().to_owned()).collect()
}

// LED-82 LED-83
#[test]
fn receipts_of_either_replica_are_given_by_both_and_checked_with_the_keys_of_any() {
    let (origin, server) = (
        Origin::start(|_| answer_json(&answer(9, 30))),
        Postgres::start(),
    );
    let gateways = pair(&server, &origin, "ledger: { receipts: all }\n");
    let limit =
        json!({"name": "all", "scope": {"project": "default"}, "limit": "$1", "window": "day"});
    made(&gateways[0], &limit);
    let credential = json!({"provider": "openai", "secret": SECRET});
    made_at(&gateways[0], "/api/v1/credentials", &credential);
    let token = gateways[0].mint_token(&json!({"project": "default"}));
    eventually("both know it", || {
        passes_models(&gateways[1], &token).then_some(())
    });
    let mut requests = Vec::new();
    for _ in 0..4 {
        for gateway in &gateways {
            let answer = gateway.call(&chat(&token, &body(false)));
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(
                answer.field("x-tollkeep-max-output").is_some(),
                "a budget counts it"
            );
            requests.push(answer.field("x-request-id").unwrap().to_owned());
        }
    }
    let mut texts = Vec::new();
    for request in &requests {
        let [one, other] = gateways.each_ref().map(|of| receipts(of, &token, request));
        assert_eq!(one, other, "both give the same");
        assert_eq!(one.len(), 1);
        texts.extend(one);
    }
    let keys = gateways.each_ref().map(|gateway| {
        let keys = gateway.call(&get("/.well-known/tollkeep/receipt-keys", ""));
        assert_eq!(keys.status, 200, "{}", keys.text());
        keys.text()
    });
    assert_eq!(keys[0], keys[1]);
    let folder = tempfile::tempdir().unwrap();
    let [keys_file, file] = ["keys.json", "receipts"].map(|name| folder.path().join(name));
    std::fs::write(&keys_file, &keys[1]).unwrap();
    std::fs::write(&file, texts.join("\n")).unwrap();
    let run = Command::new(TOLLKEEP)
        .args(["receipt", "verify", "--json", "--keys"])
        .arg(&keys_file)
        .arg(&file)
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(
        (run.status.code(), &found["receipts"]),
        (Some(0), &json!(8)),
        "{found}"
    );
}

// LED-52 LED-58
#[test]
fn a_credential_that_is_cut_on_one_replica_ends_what_the_other_does_with_it_and_its_hold() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let mut steps = answer_json(&answer(9, 30));
        if request.text().contains("wait") {
            steps.insert(0, Step::Wait(held.clone()));
        }
        steps
    });
    let server = Postgres::start();
    let [one, other] = pair(&server, &origin, "");
    let limit = json!({"name": "all", "scope": {"project": "default"}, "limit": {"nano_usd": 1_000_000},
        "window": "day", "durability": "strict"});
    let id = made(&one, &limit)["id"].as_str().unwrap().to_owned();
    let credential = json!({"provider": "openai", "secret": SECRET});
    let credential = made_at(&one, "/api/v1/credentials", &credential);
    let token = one.mint_token(&json!({"project": "default"}));
    eventually("both know it", || {
        passes_models(&other, &token).then_some(())
    });
    let call = chat(&token, &body(false));
    let first = other.call(&call);
    assert_eq!(first.status, 200, "{first:?}");
    let waits = body(false).replace("hi", "wait");
    let mut waiting = other.connect();
    assert!(waiting.send(&chat(&token, &waits)));
    origin.wait_for(2);
    eventually("one is written, and the other is held", || {
        (sums(&one, &id) == [COST, bound(&waits), 0]).then_some(())
    });
    let path = format!("/api/v1/credentials/{credential}?in_flight=cut");
    let (status, told) = one.api("DELETE", &path, None);
    assert!((200..300).contains(&status), "{told}");
    let began = Instant::now();
    let answer = waiting.answer(PATIENCE).unwrap();
    assert_eq!(
        (answer.status, &*answer.code()),
        (503, "credential_unavailable")
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    // Nobody knows what the upstream made of it: all of it is charged, and none of it is out any more.
    eventually("its hold ends", || {
        (sums(&one, &id) == [COST + bound(&waits), 0, 0]).then_some(())
    });
    assert_eq!(other.call(&call).status, 503, "no credential is left");
    assert_eq!(one.call(&call).status, 503);
    eventually("what is not sent costs nothing", || {
        (sums(&one, &id) == [COST + bound(&waits), 0, 0]).then_some(())
    });
    gate.open();
    for gateway in [&one, &other] {
        let checked = gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
}

// LED-60
#[test]
fn what_was_made_before_a_token_is_in_force_wherever_the_token_is_known() {
    let (origin, server) = (
        Origin::start(|_| answer_json(&answer(9, 30))),
        Postgres::start(),
    );
    let proxies = "server: { trusted_proxies: [\"127.0.0.1/32\"] }\n";
    let [one, other] = pair(&server, &origin, proxies);
    let credential = json!({"provider": "openai", "secret": SECRET});
    made_at(&one, "/api/v1/credentials", &credential);
    let mut addresses = 1_u16..;
    for round in 0..20 {
        let metadata = json!({ "round": round.to_string() });
        let limit = json!({"name": format!("round-{round}"), "scope": {"metadata": metadata},
            "limit": {"nano_usd": 1}, "window": "day"});
        made(&one, &limit);
        let token = one.mint_token(&json!({"project": "default", "metadata": metadata}));
        // Each from elsewhere: whoever shows unknown tokens for long is locked out.
        let call = |[high, low]: [u8; 2]| {
            let lines = format!(
                "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nX-Forwarded-For: 198.18.{high}.{low}\r\n"
            );
            post("/v1/chat/completions", &lines, body(false).as_bytes())
        };
        let answer = eventually("the other knows the token", || {
            let answer = other.call(&call(addresses.next()?.to_be_bytes()));
            // On a busy machine a replica may have heard nothing for so long that it lets nobody in.
            let waits = answer.status == 401 || *answer.code() == *"auth_unavailable";
            (!waits).then_some(answer)
        });
        assert_eq!(
            (answer.status, &*answer.code()),
            (402, "budget_exhausted"),
            "round {round}: {}",
            answer.text()
        );
    }
}
