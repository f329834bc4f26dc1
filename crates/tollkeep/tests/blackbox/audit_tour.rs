//! A tour of all that operators and callers can do: each leaves the events it should, each once.

use crate::callers::{bearer, chat, served};
use crate::openapi::{document, operations};
use crate::operators::ask;
use crate::rights::{ROWS, world};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tollkeep_testkit::{Gateway, eventually};

/// What each operation leaves behind, asked for by the owner with what the table of roles sends: the
/// status, and the actions with their results.
const EVENTS: &str = include_str!("data/audit_tour.txt");

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

/// Every line that is written by now: the last act is in the file when it is answered.
fn settled(gateway: &Gateway) -> Vec<Value> {
    let marker = gateway.api("GET", "/api/v1/audit?limit=1", None);
    assert_eq!(marker.0, 200);
    gateway.audit_lines()
}

// AUD-10 AUD-11
#[test]
fn every_operation_leaves_its_events_once() {
    let world = world();
    let document = document(&world.gateway);
    let all = operations(&document);
    let (_, owner) = world
        .keys
        .iter()
        .find(|(letter, _)| *letter == 'O')
        .unwrap();
    let mut requests = Vec::new();
    for (id, place, body, _) in ROWS {
        let operation = all.iter().find(|operation| operation.id == *id).unwrap();
        let place = world.ids[place].as_str();
        let parts = operation.path.split('/');
        let parts: Vec<_> = parts
            .map(|part| if part.starts_with('{') { place } else { part })
            .collect();
        let path = parts.join("/");
        let body = body.replace("PROJECT", &world.ids["project"]);
        let body: Option<Value> = serde_json::from_str(&body).ok();
        let start = format!("{} {path}", operation.method);
        let answer = ask(&world.gateway, owner, &start, body.as_ref());
        let request = answer.field("x-request-id").unwrap_or_default().to_owned();
        requests.push((*id, answer.status, request));
    }
    let lines = settled(&world.gateway);
    let mut told = String::new();
    for (id, status, request) in requests {
        let events = events_of(&lines, &request).join(", ");
        writeln!(told, "{id} {status}: {events}").unwrap();
    }
    let id = |line: &'static str| (line.split(' ').next().unwrap(), line);
    let wanted: BTreeMap<_, _> = EVENTS.lines().map(id).collect();
    for line in told.lines() {
        let id = line.split(' ').next().unwrap();
        match wanted.get(id) {
            Some(want) => assert_eq!(line, *want, "\n{told}"),
            None => assert!(line.matches(", ").count() == 0, "{line}"),
        }
    }
    let is_there = |id: &&str| ROWS.iter().any(|(row, ..)| row == id);
    assert!(wanted.len() > 100 && wanted.keys().all(is_there), "{told}");
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
            &["token.access failure"],
        ),
        ("none", chat("", "hi"), &["token.access failure"]),
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
        (lines.iter().filter(of_call).count() >= 4).then_some(lines)
    });
    for (id, (name, want)) in &asked {
        let lines: Vec<Value> = lines.iter().filter(of_call).cloned().collect();
        assert_eq!(events_of(&lines, id), *want, "{name}: {}", json!(lines));
    }
}
