//! What a budget lost with its gateway, and how it is given back.

use crate::fixture::{chat, llm};
use crate::held::{PRICES, answer, body, budget, sums};
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, eventually, json as answer_json};

fn unresolved(gateway: &Gateway) -> Vec<Value> {
    let (status, page) = gateway.api("GET", "/api/v1/ledger/unresolved", None);
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

// LED-74 LED-84 LED-86
#[test]
fn what_was_lost_with_a_gateway_is_given_back_once_on_evidence() {
    let origin = Origin::start(|_| answer_json(&answer(9, 30)));
    let (mut gateway, token) = llm(&origin, "openai", PRICES);
    let id = budget(&gateway, &json!({"unit": "usd", "limit": "$100.00"}));
    let call = chat(&token, &body(false));
    let mut calls = 0;
    eventually("calls are paid from a slice", || {
        assert_eq!(gateway.call(&call).status, 200);
        calls += 1;
        (sums(&gateway, &id)[2] > 0).then_some(())
    });
    assert_eq!(unresolved(&gateway), [] as [Value; 0]);
    gateway.kill();
    let gateway = gateway.restart().unwrap();
    let slice = eventually("the slice is lost", || unresolved(&gateway).pop());
    let in_doubt = slice["in_doubt"].as_i64().unwrap();
    let [spent, _, leased] = sums(&gateway, &id);
    assert_eq!(leased, 0);
    assert!(in_doubt > 0 && spent >= in_doubt, "{slice}");
    let lost = gateway.audit_line("the loss", |event| event["action"] == "money.lease_lost");
    assert_eq!(lost["details"]["lease"], slice["id"], "{lost}");
    assert_eq!(lost["details"]["amount"], json!(in_doubt), "{lost}");
    assert_eq!(slice["budget_id"], json!(id));
    assert_eq!(slice["unit"], json!("usd"));
    let slice = slice["id"].as_str().unwrap().to_owned();
    let place = format!("/api/v1/ledger/unresolved/{slice}/resolve");
    for (body, want) in [
        (json!({}), 422),
        (json!({"evidence": "  "}), 422),
        (json!({"evidence": "seen", "used": 1.5}), 422),
        (json!({"evidence": "seen", "used": "$101"}), 409),
    ] {
        let (status, problem) = gateway.api("POST", &place, Some(&body));
        assert_eq!(status, want, "{body}: {problem}");
    }
    let tried = format!("{place}?dry_run=true");
    let evidence = json!({"evidence": "the provider's bill of today"});
    assert_eq!(gateway.api("POST", &tried, Some(&evidence)).0, 200);
    assert_eq!(sums(&gateway, &id)[0], spent, "a trial changes nothing");
    let resolve = |used: &str| {
        gateway.cli(&[
            "ledger",
            "resolve",
            &slice,
            "--yes",
            "--evidence",
            "the bill",
            "--used",
            used,
        ])
    };
    let done = resolve("$0.000000100");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(sums(&gateway, &id)[0], spent - in_doubt + 100);
    assert_eq!(unresolved(&gateway), [] as [Value; 0]);
    let again = resolve("$0.000000100");
    assert_ne!(again.status.code(), Some(0), "{again:?}");
    assert_eq!(sums(&gateway, &id)[0], spent - in_doubt + 100);
    let told = gateway.audit_line("an audit event", |event| {
        event["details"]["reason"] == json!("the bill")
    });
    assert_eq!(told["action"], json!("money.adjust"), "{told}");
    assert_eq!(told["details"]["name"], json!(slice));
    assert_eq!(told["details"]["units"], json!(in_doubt - 100));
    for check in [["ledger", "check"], ["ledger", "unresolved"]] {
        let checked = gateway.cli(&check);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }
}
