//! The ledger and the audit log prove each other: whoever writes rows of money anew is found out by
//! what the log told of them, though every row fits every other.

use crate::fixture::{UPSTREAM_KEY, chat, llm};
use crate::held::{PRICES, answer, body};
use crate::prepaid::{moved, opened, rests};
use crate::races::provider;
use crate::replicas::on;
use serde_json::{Value, json};
use tollkeep_crypto::sha256;
use tollkeep_testkit::{Gateway, Origin, Postgres, eventually, json as answer_json};

/// What a call costs.
const COST: i64 = 9 + 30;

/// What `audit verify --ledger` says, and how it ends.
fn verified(gateway: &Gateway) -> (Option<i32>, Value) {
    let folder = gateway.data_dir().display().to_string();
    let arguments = [
        "audit",
        "verify",
        "--ledger",
        "--json",
        "--data-dir",
        &folder,
    ];
    let done = gateway.cli(&arguments);
    let told = serde_json::from_slice::<Value>(&done.stdout);
    let told = told.unwrap_or_else(|error| panic!("{error}: {done:?}"));
    (done.status.code(), told["ledger"].clone())
}

/// Waits until every entry is told of, and nothing is wrong.
fn fits(gateway: &Gateway, gains: u64) -> Value {
    eventually("the log tells of every entry that moves money", || {
        let (code, ledger) = verified(gateway);
        let told = ledger["told"].as_u64() >= Some(gains);
        (code == Some(0) && told).then_some(ledger)
    })
}

/// Waits until it is found, and named so.
fn named(gateway: &Gateway, fault: &str) {
    eventually(fault, || {
        let (code, ledger) = verified(gateway);
        let faults = ledger["faults"].as_array().cloned().unwrap_or_default();
        let mut faults = faults.iter().filter_map(Value::as_str);
        (code == Some(8) && faults.any(|told| told.contains(fault))).then_some(())
    });
}

/// An account with a credit on it, from which one call was paid and given back.
fn used(gateway: &Gateway, token: &str) -> String {
    let id = opened(gateway, "usd");
    let credit = json!({"amount": {"nano_usd": 1_000}, "reason": "paid"});
    let (status, told) = moved(gateway, (&format!("{id}/credit"), "k1"), &credit);
    assert_eq!(status, 200, "{told}");
    let served = gateway.call(&chat(token, &body(false)));
    assert_eq!(served.status, 200, "{}", served.text());
    rests(gateway, &id, 1_000 - COST);
    let hold = served
        .field("x-request-id")
        .unwrap()
        .replace("req_", "hld_");
    let refund = json!({"hold": hold, "amount": {"nano_usd": COST}, "reason": "broken"});
    let (status, told) = moved(gateway, (&format!("{id}/refund"), "k2"), &refund);
    assert_eq!(status, 200, "{told}");
    id
}

// AUD-54
#[test]
fn the_entries_of_a_file_are_those_that_the_log_told_of() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (gateway, token) = llm(&origin, "openai", PRICES);
    used(&gateway, &token);
    // The credit, what the call was charged and what it cost, and the refund.
    let ledger = fits(&gateway, 4);
    let listed = gateway.cli(&[
        "ledger",
        "entries",
        "--json",
        "--data-dir",
        &gateway.data_dir().display().to_string(),
    ]);
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let listed = listed["data"].clone();
    assert_eq!(
        listed.as_array().unwrap().len() as u64,
        ledger["entries"].as_u64().unwrap(),
        "{ledger}"
    );
    for action in ["money.credit", "money.settle", "money.refund"] {
        let line = gateway.audit_line(action, |line| line["action"] == action);
        let digests = line["details"]["entry_digest"].as_str().unwrap();
        let known = |digest| {
            let mut entries = listed.as_array().unwrap().iter();
            entries.any(|entry| entry["hash"] == digest)
        };
        assert!(
            !digests.is_empty() && digests.split(' ').all(known),
            "{line}"
        );
    }
}

// AUD-54 AUD-52
#[test]
#[expect(clippy::too_many_lines, reason = "one forgery after the other")]
fn an_edited_balance_a_deleted_posting_and_an_invented_credit_are_named() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let server = Postgres::start();
    let gateway = on(&server, &provider(&origin))
        .env("UPSTREAM_KEY", UPSTREAM_KEY)
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let id = used(&gateway, &token);
    let entries = fits(&gateway, 4)["entries"].as_i64().unwrap();
    let credit = format!("credit:{id}");
    let by = |account: &str, by: i64| {
        server.ask(&format!(
            "UPDATE accounts SET balance = balance + {by} WHERE name = '{account}'"
        ));
    };
    // An edited balance.
    by(&credit, 5);
    named(&gateway, &credit);
    by(&credit, -5);
    // A deleted posting.
    let kept = server.ask(
        "DELETE FROM postings WHERE entry = 1 AND line = 1
         RETURNING tenant_id || ' ' || account || ' ' || amount",
    );
    named(&gateway, "I9: the chain of entries is broken at ent_");
    let deleted = kept.lines().next().unwrap();
    let [tenant, account, amount] = deleted.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{kept}")
    };
    server.ask(&format!(
        "INSERT INTO postings (entry, line, tenant_id, account, amount)
         VALUES (1, 1, '{tenant}', '{account}', {amount})"
    ));
    fits(&gateway, 4);
    // An invented credit, with everything that belongs to it: no row contradicts another.
    let last = server
        .ask("SELECT encode(hash, 'hex') || ' ' || at FROM entries ORDER BY number DESC LIMIT 1");
    let (hash, at) = last.split_once(' ').unwrap();
    let bytes = hash.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let before: Vec<u8> = bytes.map(byte).collect();
    let (number, entry) = (entries + 1, format!("ent_{}", "7".repeat(32)));
    let outside = format!("outside:{tenant}");
    let text = format!(
        "tollkeep-entry/1\n{number}\n{entry}\n{tenant}\ntransfer\n-\n-\n{at}\n{outside} -700\n{credit} 700\n"
    );
    let hash: String = sha256(&[&before, text.as_bytes()])
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    server.ask(&format!(
        "BEGIN;
         INSERT INTO entries (number, id, tenant_id, kind, at, hash)
           VALUES ({number}, '{entry}', '{tenant}', 'transfer', {at}, '\\x{hash}');
         INSERT INTO postings (entry, line, tenant_id, account, amount)
           VALUES ({number}, 0, '{tenant}', '{outside}', -700), ({number}, 1, '{tenant}', '{credit}', 700);
         UPDATE accounts SET balance = balance - 700 WHERE name = '{outside}';
         UPDATE accounts SET balance = balance + 700 WHERE name = '{credit}';
         UPDATE ledger_state SET entries = {number}, chain = '\\x{hash}';
         COMMIT"
    ));
    let (status, report) = gateway.api("GET", "/api/v1/ledger/check", None);
    assert_eq!((status, &report["valid"]), (200, &json!(true)), "{report}");
    named(
        &gateway,
        &format!(
            "entry {number} ({entry}, transfer) gives a payer something that no event tells of"
        ),
    );
    // The same the other way: what the log told of is gone, and nothing in the ledger shows it.
    server.ask(&format!(
        "BEGIN;
         DELETE FROM postings WHERE entry >= {entries};
         DELETE FROM entries WHERE number >= {entries};
         UPDATE accounts SET balance = coalesce(
           (SELECT sum(amount) FROM postings WHERE account = accounts.name), 0)
           + coalesce((SELECT sum(CASE accounts.kind WHEN 'payable' THEN -cost ELSE cost END)
             FROM entries WHERE accounts.kind IN ('payable', 'upstream_cost')
               AND accounts.name = accounts.kind || ':' || entries.tenant_id || ':' || entries.provider), 0);
         UPDATE ledger_state SET entries = {entries} - 1,
           chain = (SELECT hash FROM entries WHERE number = {entries} - 1);
         COMMIT"
    ));
    named(&gateway, "tells of an entry that the ledger does not have");
}
