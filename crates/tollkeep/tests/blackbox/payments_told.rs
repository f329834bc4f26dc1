//! What operators are told of payments: events with the hashes of their entries, and how long parts of
//! them take.

use crate::callers::get;
use crate::paid_fixture::{CENT, Facilitator, Settles, open, proof, shop, shown};
use serde_json::{Value, json};
use std::fs;
use tollkeep_testkit::{Gateway, Origin, eventually};

/// What the log says of payments, in its order, but of callers and what they are asked.
fn told(gateway: &Gateway) -> Vec<Value> {
    let mut lines = gateway.audit_lines();
    lines.retain(|line| {
        let action = line["action"].as_str().unwrap();
        let is_other = ["payment.challenge", "proxy_request"].contains(&action);
        line["details"]["rail"] == "x402" && !is_other
    });
    lines
}

fn words(lines: &[Value]) -> Vec<(String, String)> {
    let word = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let words = lines.iter();
    words
        .map(|line| (word(line, "action"), word(line, "result")))
        .collect()
}

fn wait_for(gateway: &Gateway, want: &[(&str, &str)]) -> Vec<Value> {
    let want: Vec<_> = want
        .iter()
        .map(|(action, result)| ((*action).to_owned(), (*result).to_owned()))
        .collect();
    let mut seen = Vec::new();
    let found = tollkeep_testkit::wait_until(tollkeep_testkit::PATIENCE, || {
        seen = told(gateway);
        (words(&seen) == want).then(|| seen.clone())
    });
    found.unwrap_or_else(|| panic!("{seen:?}"))
}

// AUD-10 AUD-54 PAY-95
#[test]
fn a_paid_request_is_told_with_the_entries_that_it_made() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("audit.checkpoint_every.events", "5")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    let asked = gateway.audit_line("the first caller that is asked to pay", |line| {
        line["action"] == "payment.challenge"
    });
    assert_eq!(asked["details"]["count"], 1, "{asked}");
    let paid = gateway.call(&get("/x", &shown(&proof(&unpaid))));
    assert_eq!(paid.status, 200, "{}", paid.text());
    let lines = wait_for(
        &gateway,
        &[
            ("payment.verify", "success"),
            ("payment.settle", "success"),
            ("money.settle", "success"),
        ],
    );
    let (_, entries) = gateway.api("GET", "/api/v1/ledger/entries?after=0&limit=100", None);
    let hashes = entries.as_array().unwrap().iter();
    let hashes: Vec<_> = hashes.map(|entry| entry["hash"].clone()).collect();
    for (line, of_entry) in lines.iter().zip([false, true, true]) {
        let details = &line["details"];
        assert_eq!(
            (&line["class"], &details["units"]),
            (&json!("money"), &json!(10_000))
        );
        assert_eq!(details["payment"], lines[0]["details"]["payment"], "{line}");
        assert_eq!(details["route"], "GET /x");
        let digest = &details["entry_digest"];
        assert_eq!(hashes.contains(digest), of_entry, "{line} {entries}");
    }
    let text = gateway.metrics_text();
    for phase in ["verify", "settle", "deliver"] {
        let name = "tollkeep_payment_seconds_count";
        let sample = format!("{name}{{rail=\"x402\",phase=\"{phase}\"}} 1");
        assert!(text.contains(&sample), "{sample}: {text}");
    }
    // Who invents an entry, or changes one that was told of, is found out.
    let arguments = ["audit", "verify", "--ledger", "--json"];
    let checked = eventually("the log and the ledger fit", || {
        let checked = gateway.cli(&arguments);
        checked.status.success().then_some(checked)
    });
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(checked["ledger"]["faults"], json!([]), "{checked}");
}

// AUD-10
#[test]
fn what_is_refused_and_what_nobody_knows_is_told_once() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("payments.settle_wait", "1s")
        .start();
    let unpaid = open(&gateway, &get("/x", ""));
    facilitator.settles(Settles::Garbled);
    let request = get("/x", &shown(&proof(&unpaid)));
    assert_eq!(gateway.call(&request).status, 503);
    facilitator.settles(Settles::Yes);
    let lines = wait_for(
        &gateway,
        &[
            ("payment.verify", "success"),
            ("payment.unknown", "error"),
            ("payment.resolve", "success"),
        ],
    );
    let digest = lines[2]["details"]["entry_digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64, "{lines:?}");
    let log = fs::read_to_string(gateway.data_dir().join("audit.log")).unwrap();
    assert!(!log.contains("\"payer\""), "who pays is not told");
}
