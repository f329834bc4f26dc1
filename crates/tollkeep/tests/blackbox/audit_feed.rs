//! The audit log as a stream: all of it line by line, and what happens as it does.

use crate::callers::{bearer, models};
use serde_json::{Value, json};
use std::collections::HashSet;
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, PATIENCE};

/// Asks for records in another form than a page.
fn ask(gateway: &Gateway, query: &str, fields: &str) -> (Client, Answer) {
    let mut client = Client::connect(gateway.management());
    let request = format!(
        "GET /api/v1/audit?{query} HTTP/1.1\r\nhost: {}\r\n{}{fields}\r\n",
        gateway.management(),
        bearer(MANAGEMENT_KEY)
    );
    assert!(client.send(request.as_bytes()));
    let head = client.head(PATIENCE).unwrap();
    (client, head)
}

/// What a stream says until it says this.
fn until(client: &mut Client, answer: &mut Answer, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let piece = client.piece(answer).expect("the stream goes on");
        text.push_str(&String::from_utf8(piece).unwrap());
    }
    text
}

fn project(gateway: &Gateway, name: &str) -> String {
    let (status, made) = gateway.api("POST", "/api/v1/projects", Some(&json!({ "name": name })));
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

// AUD-71
#[test]
fn all_that_fits_is_given_line_by_line_beyond_a_page() {
    let gateway = models(&Origin::plain()).start();
    let projects: HashSet<_> = (0..205)
        .map(|number| project(&gateway, &format!("p{number}")))
        .collect();
    let lines = |query: &str| {
        let kind = "accept: application/x-ndjson\r\n";
        let (mut client, mut answer) = ask(&gateway, query, kind);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/x-ndjson"));
        let mut text = Vec::new();
        while let Some(piece) = client.piece(&mut answer) {
            text.extend(piece);
        }
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let made = lines("action=project.create");
    let ids = made
        .iter()
        .map(|line| line["project_id"].as_str().unwrap().to_owned());
    assert_eq!(ids.collect::<HashSet<_>>(), projects);
    assert_eq!(made.len(), 205, "each once");
    let seqs: Vec<_> = made
        .iter()
        .map(|line| line["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|one, next| one > next), "the last first");
    assert!(
        gateway.audit_lines().contains(&made[0]),
        "the record as it was written"
    );
    assert_eq!(lines("action=project.create&limit=3").len(), 3);
    assert_eq!(lines("action=project.nothing").len(), 0);
}

// AUD-71
#[test]
fn what_happens_is_told_as_it_does_and_goes_on_where_it_was() {
    let gateway = models(&Origin::plain()).start();
    let first = project(&gateway, "first");
    let events = "accept: text/event-stream\r\n";
    let query = "follow=true&action=project.create";
    let (mut client, mut answer) = ask(&gateway, query, events);
    assert_eq!(answer.field("content-type"), Some("text/event-stream"));
    let told = until(&mut client, &mut answer, &first);
    let id = told
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    let data = told
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["id"], id);
    let second = project(&gateway, "second");
    let told = until(&mut client, &mut answer, &second);
    assert!(!told.contains(&first), "once: {told}");
    drop(client);
    let again = format!("{events}last-event-id: {id}\r\n");
    let (mut client, mut answer) = ask(&gateway, query, &again);
    let told = until(&mut client, &mut answer, &second);
    assert!(!told.contains(&first), "from there on: {told}");
    // Lines follow too.
    let lines = "accept: application/x-ndjson\r\n";
    let (mut client, mut answer) = ask(&gateway, query, lines);
    let third = project(&gateway, "third");
    let told = until(&mut client, &mut answer, &third);
    for line in told.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["action"], "project.create");
    }
}
