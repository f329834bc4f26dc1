//! A tour of what callers do: each call leaves the events it should, each once.

use crate::callers::{bearer, chat, served};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_testkit::eventually;

/// The events of a request, as `action result`, once they are there.
fn events_of(lines: &[Value], request: &str) -> Vec<String> {
    let of_request = lines.iter().filter(|line| line["request_id"] == *request);
    of_request
        // Who signs in is told of once in ten minutes.
        .filter(|line| line["action"] != "management.auth")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            format!("{} {}", text("action"), text("result"))
        })
        .collect()
}

// AUD-13 AUD-10
#[test]
fn every_call_leaves_one_event_however_it_ends() {
    let (_origin, gateway, token) = served();
    let good = bearer(&token);
    let calls: [(&str, Vec<u8>, &[&str]); 5] = [
        ("served", chat(&good, "hi"), &["proxy_request success"]),
        ("broken", chat(&good, "do:500"), &["proxy_request error"]),
        (
            "wrong",
            chat(&bearer("tok-wrong"), "hi"),
            &["token.access failure", "proxy_request denied"],
        ),
        (
            "none",
            chat("", "hi"),
            &["token.access failure", "proxy_request denied"],
        ),
        (
            "nowhere",
            b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_vec(),
            &[],
        ),
    ];
    let mut asked = BTreeMap::new();
    for (name, request, want) in &calls {
        let answer = gateway.call(request);
        let id = answer.field("x-request-id").unwrap().to_owned();
        asked.insert(id, (*name, *want));
    }
    let of_call = |line: &&Value| {
        let action = line["action"].as_str().unwrap();
        action == "proxy_request" || action.starts_with("token.access")
    };
    let lines = eventually("all is written", || {
        let lines = gateway.audit_lines();
        (lines.iter().filter(of_call).count() == 6).then_some(lines)
    });
    for (id, (name, want)) in &asked {
        let lines: Vec<Value> = lines.iter().filter(of_call).cloned().collect();
        assert_eq!(events_of(&lines, id), *want, "{name}: {}", json!(lines));
    }
}
