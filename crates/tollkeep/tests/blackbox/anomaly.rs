//! Unusual uses of tokens, as operators and callers see them. What is unusual when is tested with
//! a clock of its own, in the policy and beside the job that judges.

use crate::callers::{
    answer, assert_unauthenticated, bearer, chat, made, models, post_json, record_of,
};
use serde_json::{Value, json};
use std::time::Duration;
use tollkeep_testkit::{Builder, Gateway, Origin, eventually, wait_until};

/// Asks for a model that is not there.
fn probe(gateway: &Gateway, token: &str) -> u16 {
    let body = json!({ "model": "another", "messages": [] });
    let request = post_json("/v1/chat/completions", &bearer(token), &body);
    gateway.call(&request).status
}

fn count(gateway: &Gateway, signal: &str) -> String {
    let name = format!("tollkeep_anomalies_total{{signal=\"{signal}\"}} ");
    let text = gateway.metrics_text();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or("0").to_owned()
}

fn watched(origin: &Origin) -> Builder {
    models(origin)
        .set("anomaly.signals.policy_probe.floor", "4")
        .set("anomaly.signals.error_ratio.action", "off")
}

fn violations(gateway: &Gateway) -> Vec<Value> {
    let mut events = gateway.audit_lines();
    events.retain(|event| event["action"] == "security_violation");
    events
}

// ID-40 ID-41
#[test]
fn a_token_that_probes_is_told_of_once_and_suspended_where_that_is_wanted() {
    let origin = Origin::start(answer);
    let gateway = watched(&origin)
        .set("anomaly.signals.policy_probe.action", "suspend")
        .start();
    let (id, token) = made(&gateway, &json!({}));
    let (_, other) = made(&gateway, &json!({}));
    for _ in 0..3 {
        assert_eq!(probe(&gateway, &other), 404);
    }
    let mut is_taken = true;
    let record = eventually("it is suspended", || {
        // A minute may begin between any two of them.
        is_taken = is_taken && probe(&gateway, &token) == 404;
        let record = record_of(&gateway, &id);
        (record["status"] == "suspended").then_some(record)
    });
    assert_eq!(record["suspended_by"], "gateway");
    assert_eq!(record["suspended_reason"], "anomaly.policy_probe");
    assert!(record["suspended_at"].is_string());
    let refused = gateway.call(&chat(&bearer(&token), "hi"));
    assert_unauthenticated("suspended", &refused);
    let event = gateway.audit_line("the violation", |event| {
        event["action"] == "security_violation"
    });
    assert_eq!(event["details"]["kind"], "anomaly.policy_probe", "{event}");
    assert_eq!(event["details"]["token_ref"], id.as_str(), "{event}");
    assert!(event["details"]["count"].as_u64().unwrap() >= 4, "{event}");
    let event = gateway.audit_line("the suspension", |event| event["action"] == "token.suspend");
    assert_eq!(event["actor"], "system", "{event}");
    assert_eq!(event["reason"], "anomaly.policy_probe", "{event}");
    assert_eq!(count(&gateway, "policy_probe"), "1");
    // Whoever resumes it is believed: the same minute does not count twice.
    let done = gateway.cli(&["token", "resume", &id]);
    assert!(done.status.success(), "{done:?}");
    for _ in 0..6 {
        assert_eq!(probe(&gateway, &token), 404);
    }
    let again = wait_until(Duration::from_secs(5), || {
        (count(&gateway, "policy_probe") != "1" || violations(&gateway).len() > 1).then_some(())
    });
    assert_eq!(again, None, "told of once in a quarter of an hour");
    let record = record_of(&gateway, &id);
    assert_eq!(
        (&record["status"], &record["suspended_by"]),
        (&json!("active"), &json!(null))
    );
    assert_eq!(gateway.call(&chat(&bearer(&other), "hi")).status, 200);
}

// ID-41
#[test]
fn what_is_only_to_be_told_of_suspends_nobody_and_is_not_told_of_again_after_a_restart() {
    let origin = Origin::start(answer);
    let gateway = watched(&origin).start();
    let (id, token) = made(&gateway, &json!({}));
    eventually("it is told of", || {
        assert_eq!(probe(&gateway, &token), 404);
        (count(&gateway, "policy_probe") == "1").then_some(())
    });
    assert_eq!(record_of(&gateway, &id)["status"], "active");
    let gateway = gateway.restart().unwrap();
    for _ in 0..5 {
        assert_eq!(probe(&gateway, &token), 404);
    }
    let again = wait_until(Duration::from_secs(5), || {
        (count(&gateway, "policy_probe") != "0").then_some(())
    });
    assert_eq!(again, None, "it was, before the restart");
    assert_eq!(violations(&gateway).len(), 1);
}

// ID-40
#[test]
fn nobody_looks_where_that_is_switched_off() {
    let origin = Origin::start(answer);
    let gateway = watched(&origin).set("anomaly.enabled", "false").start();
    let (_, token) = made(&gateway, &json!({}));
    for _ in 0..9 {
        assert_eq!(probe(&gateway, &token), 404);
    }
    let fired = wait_until(Duration::from_secs(5), || {
        (count(&gateway, "policy_probe") != "0").then_some(())
    });
    assert_eq!(fired, None);
}
