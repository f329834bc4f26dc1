//! For what credentials are left alone, as operators see it and end it.

use crate::fixture::{chat, llm};
use crate::operators::{ask, code};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tollkeep_testkit::{
    BodyEnd, Gate, Gateway, MANAGEMENT_KEY, Origin, PATIENCE, Step, chunk, chunked_head,
};

const BODY: &str = r#"{"model":"m","messages":[]}"#;
const PLACE: &str = "/api/v1/cooldowns";

/// An origin that answers every call with this status.
fn origin(status: &Arc<AtomicU16>) -> Origin {
    let status = Arc::clone(status);
    Origin::start(move |_| {
        let status = status.load(Ordering::Relaxed);
        let head = format!(
            "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        vec![Step::Send(head.into_bytes())]
    })
}

fn rows(gateway: &Gateway, query: &str) -> Vec<Value> {
    let (status, page) = gateway.api("GET", &format!("{PLACE}{query}"), None);
    assert_eq!(status, 200, "{page}");
    page["data"].as_array().unwrap().clone()
}

fn cli(gateway: &Gateway, line: &str) {
    let ran = gateway.cli(&line.split(' ').collect::<Vec<_>>());
    assert!(ran.status.success(), "{line}: {ran:?}");
}

// LLM-R55
#[test]
fn what_a_credential_met_is_listed_and_forgotten() {
    let status = Arc::new(AtomicU16::new(401));
    let origin = origin(&status);
    let (gateway, token) = llm(&origin, "openai", "");
    let call = || gateway.call(&chat(&token, BODY)).status;
    assert_eq!(rows(&gateway, ""), [] as [Value; 0]);
    assert_eq!(call(), 503);
    let [row] = &rows(&gateway, "")[..] else {
        panic!("one cool-down");
    };
    assert_eq!(
        (&row["provider"], &row["reason"]),
        (&json!("openai"), &json!("auth"))
    );
    assert_eq!(
        (&row["source"], &row["model"]),
        (&json!("default"), &Value::Null)
    );
    let name = row["credential"].as_str().unwrap().to_owned();
    assert_eq!(
        rows(&gateway, &format!("?provider=openai&credential={name}")).len(),
        1
    );
    assert_eq!(rows(&gateway, "?provider=other"), [] as [Value; 0]);
    status.store(200, Ordering::Relaxed);
    assert_eq!(call(), 503, "it is left alone");
    assert_eq!(origin.count(), 1);
    // What is tried, or meant for others, ends nothing.
    cli(&gateway, "cooldown clear --dry-run");
    cli(&gateway, "cooldown clear --provider other");
    cli(&gateway, "cooldown clear --model m");
    assert_eq!(call(), 503);
    cli(
        &gateway,
        &format!("cooldown clear --provider openai --credential {name}"),
    );
    assert_eq!(call(), 200);
    assert_eq!(rows(&gateway, ""), [] as [Value; 0]);
    let event = gateway.audit_line("the end", |event| event["action"] == "credential.cooldown");
    assert_eq!(event["details"]["provider"], "openai", "{event}");
}

// LLM-R55
#[test]
fn a_provider_is_left_alone_for_as_long_as_an_operator_says() {
    let status = Arc::new(AtomicU16::new(200));
    let origin = origin(&status);
    let (gateway, token) = llm(&origin, "openai", "");
    let call = || gateway.call(&chat(&token, BODY)).status;
    let added =
        json!({ "provider": "openai", "secret": "sk-another-4kfX0wq8Zt2LsV7pQ", "priority": -1 });
    let (made, stored) = gateway.api("POST", "/api/v1/credentials", Some(&added));
    assert_eq!(made, 201, "{stored}");
    let id = stored["id"].as_str().unwrap();
    let one = || {
        gateway
            .api("GET", &format!("/api/v1/credentials/{id}"), None)
            .1
    };
    cli(&gateway, "cooldown set openai --seconds 600 --dry-run");
    assert_eq!(call(), 200);
    cli(&gateway, "cooldown set openai --seconds 600");
    assert_eq!(call(), 429);
    assert_eq!(one()["status"], "cooling");
    let found = rows(&gateway, "");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().all(|row| row["reason"] == "manual"),
        "{found:?}"
    );
    // One of them serves again; the other one does once it is let.
    cli(&gateway, &format!("cooldown clear --credential {id}"));
    assert_eq!((one()["status"].clone(), call()), (json!("active"), 200));
    assert_eq!(rows(&gateway, "").len(), 1);
    let old = ask(
        &gateway,
        MANAGEMENT_KEY,
        "DELETE /manage/routing/cooldowns",
        None,
    );
    assert_eq!(old.status, 204);
    assert_eq!(rows(&gateway, ""), [] as [Value; 0]);
    for (body, want) in [
        (
            json!({ "provider": "other", "seconds": 1 }),
            (404, "not_found"),
        ),
        (
            json!({ "provider": "openai", "seconds": 0 }),
            (422, "invalid"),
        ),
        (
            json!({ "provider": "openai", "seconds": 1, "model": "m" }),
            (422, "invalid"),
        ),
        (json!({ "seconds": 1 }), (422, "invalid")),
    ] {
        let answer = ask(
            &gateway,
            MANAGEMENT_KEY,
            &format!("POST {PLACE}"),
            Some(&body),
        );
        assert_eq!(
            (answer.status, &*code(&answer)),
            want,
            "{body}: {}",
            answer.text()
        );
    }
    assert_eq!(call(), 200);
}

// ID-3
#[test]
fn a_deleted_project_takes_the_credentials_along_that_were_its_own() {
    let status = Arc::new(AtomicU16::new(200));
    let origin = origin(&status);
    let (gateway, _) = llm(&origin, "openai", "");
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&json!({ "name": "gone" })));
    let own = json!({
        "provider": "openai", "secret": "sk-another-4kfX0wq8Zt2LsV7pQ", "project": project["id"]
    });
    let (made, stored) = gateway.api("POST", "/api/v1/credentials", Some(&own));
    assert_eq!(made, 201, "{stored}");
    let place = format!("/api/v1/projects/{}", project["id"].as_str().unwrap());
    assert_eq!(gateway.api("DELETE", &place, None).0, 204);
    let place = format!("/api/v1/credentials/{}", stored["id"].as_str().unwrap());
    assert_eq!(gateway.api("GET", &place, None).0, 404);
    gateway.audit_line("its deletion", |event| {
        event["action"] == "credential.delete" && event["details"]["name"] == stored["id"]
    });
}

/// A stream that began and goes on until the gate opens.
fn began(gate: &Gate) -> Vec<Step> {
    vec![
        chunked_head("text/event-stream"),
        chunk(b"data: {\"choices\":[]}\n\n"),
        Step::Wait(gate.clone()),
        chunk(b"data: [DONE]\n\n"),
        chunk(b""),
    ]
}

// ID-70
#[test]
fn calls_on_their_way_with_a_deleted_credential_finish_or_are_cut_as_it_is_said() {
    let gate = Gate::default();
    let answering = gate.clone();
    let origin = Origin::start(move |request| match request.field("authorization") {
        Some(key) if key.contains("hangs") => vec![Step::Hang],
        _ => began(&answering),
    });
    let (gateway, token) = llm(&origin, "openai", "");
    let add = |secret: &str, priority: i32| {
        let body = json!({ "provider": "openai", "secret": secret, "priority": priority });
        let (status, made) = gateway.api("POST", "/api/v1/credentials", Some(&body));
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let open = || {
        let mut client = gateway.connect();
        assert!(client.send(&chat(&token, body)));
        let mut answer = client.head(PATIENCE).unwrap();
        assert_eq!(answer.status, 200);
        assert!(client.piece(&mut answer).is_some());
        (client, answer)
    };
    let other = open();
    let first = add("sk-first-4kfX0wq8Zt2LsV7pQm", 5);
    let (mut client, mut answer) = open();
    cli(&gateway, &format!("credential delete {first} --cut --yes"));
    let told = client.piece(&mut answer).unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("credential_unavailable"), "{told}");
    assert!(client.piece(&mut answer).is_none());
    assert_eq!(answer.end, BodyEnd::Whole, "in an orderly way");

    // One whose answer has not begun is told so too.
    let hangs = add("sk-hangs-4kfX0wq8Zt2LsV7pQm", 5);
    let before = origin.count();
    let mut waiting = gateway.connect();
    assert!(waiting.send(&chat(&token, body)));
    origin.wait_for(before + 1);
    let place = format!("DELETE /v0/management/auths/openai?id={hangs}&in_flight=cut");
    assert_eq!(ask(&gateway, MANAGEMENT_KEY, &place, None).status, 200);
    let refused = waiting.answer(PATIENCE).unwrap();
    let code = refused.json()["error"]["code"].clone();
    assert_eq!(
        (refused.status, code),
        (503, json!("credential_unavailable"))
    );

    // Others go on, and so does one of whose credential nothing was said.
    let second = add("sk-second-4kfX0wq8Zt2LsV7pQm", 5);
    let finishing = open();
    cli(&gateway, &format!("credential delete {second} --yes"));
    let bad = format!("DELETE /api/v1/credentials/{second}?in_flight=never");
    assert!(matches!(
        ask(&gateway, MANAGEMENT_KEY, &bad, None).status,
        400 | 422
    ));
    gate.open();
    for (mut client, mut answer) in [other, finishing] {
        let mut rest = Vec::new();
        while let Some(piece) = client.piece(&mut answer) {
            rest.extend(piece);
        }
        assert_eq!(answer.end, BodyEnd::Whole);
        assert!(rest.ends_with(b"data: [DONE]\n\n"));
    }
}
