//! `Idempotency-Key`: what is sent twice is done once, and answered twice.

use crate::callers::models;
use crate::operators::{code, key};
use crate::replicas::pair;
use serde_json::{Value, json};
use std::fs;
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, Postgres};

/// A POST by this management key, with this idempotency key.
fn post(gateway: &Gateway, by: &str, (path, key): (&str, &str), body: &Value) -> Answer {
    send(
        gateway,
        by,
        path,
        &format!("idempotency-key: {key}\r\n"),
        body,
    )
}

fn send(gateway: &Gateway, by: &str, path: &str, lines: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {by}\r\n{lines}\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.management(),
        body.len()
    );
    Client::connect(gateway.management()).call(request.as_bytes())
}

fn count(gateway: &Gateway, path: &str) -> usize {
    let (status, page) = gateway.api("GET", &format!("{path}?limit=200"), None);
    assert_eq!(status, 200);
    page["data"].as_array().unwrap().len()
}

const PROJECTS: &str = "/api/v1/projects";
const TOKENS: &str = "/api/v1/tokens";

// ID-104
#[test]
fn what_is_sent_twice_is_done_once_and_answered_twice() {
    let gateway = models(&Origin::plain()).start();
    let new = json!({ "name": "once" });
    let by = MANAGEMENT_KEY;
    let first = post(&gateway, by, (PROJECTS, "k1"), &new);
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(first.field("idempotency-replayed"), None);
    let again = post(&gateway, by, (PROJECTS, "k1"), &new);
    assert_eq!((again.status, again.text()), (201, first.text()));
    assert_eq!(again.field("idempotency-replayed"), Some("true"));
    for name in ["location", "etag", "content-type"] {
        assert_eq!(again.field(name), first.field(name), "{name}");
        assert!(first.field(name).is_some(), "{name}");
    }
    assert_ne!(again.field("x-request-id"), first.field("x-request-id"));
    assert_eq!(count(&gateway, PROJECTS), 2, "`default` and this one");
    let other = post(&gateway, by, (PROJECTS, "k1"), &json!({ "name": "other" }));
    assert_eq!(
        (other.status, code(&other)),
        (422, "idempotency_key_reused".to_owned())
    );
    let query = post(&gateway, by, ("/api/v1/projects?dry_run=false", "k1"), &new);
    assert_eq!(code(&query), "idempotency_key_reused");
    // Another place, another key, another owner: another request.
    let token = json!({ "project": "once" });
    assert_eq!(post(&gateway, by, (TOKENS, "k1"), &token).status, 201);
    assert_eq!(post(&gateway, by, (TOKENS, "k2"), &token).status, 201);
    let (_, owner) = key(&gateway, &json!({ "name": "o", "role": "owner" }));
    assert_eq!(post(&gateway, &owner, (TOKENS, "k1"), &token).status, 201);
    assert_eq!(count(&gateway, TOKENS), 3);
    // A trial is not the request, and the seeds' families have keys too.
    let trial = format!("{PROJECTS}?dry_run=true");
    assert_eq!(
        post(&gateway, by, (&trial, "k1"), &new).status,
        409,
        "the name is taken"
    );
    let minutes = json!({ "project_id": "once", "duration_minutes": 5 });
    let made = [1, 2].map(|_| post(&gateway, by, ("/manage/tokens", "k1"), &minutes).text());
    assert_eq!(made[0], made[1]);
}

// ID-104
#[test]
fn a_secret_is_given_again_to_who_was_given_it_and_kept_from_everybody_else() {
    let gateway = models(&Origin::plain()).start();
    let first = post(&gateway, MANAGEMENT_KEY, (TOKENS, "secret-1"), &json!({}));
    let secret = first.json()["secret"].as_str().unwrap().to_owned();
    let (id, owner) = key(&gateway, &json!({ "name": "o", "role": "owner" }));
    let by_owner = post(&gateway, &owner, (TOKENS, "secret-2"), &json!({}));
    assert_eq!(by_owner.status, 201);
    let mut kept = Vec::new();
    for file in fs::read_dir(gateway.data_dir()).unwrap() {
        kept.extend(fs::read(file.unwrap().path()).unwrap_or_default());
    }
    for planted in [&*secret, "secret-1", "secret-2"] {
        let found = kept
            .windows(planted.len())
            .any(|bytes| bytes == planted.as_bytes());
        assert!(!found, "{planted} is on disk");
    }
    // On disk it survives the process.
    let gateway = gateway.restart().unwrap();
    let again = post(&gateway, MANAGEMENT_KEY, (TOKENS, "secret-1"), &json!({}));
    assert_eq!(again.json()["secret"], *secret);
    let replayed = gateway.audit_line("the replay", |event| event["reason"] == "replayed");
    assert_eq!(replayed["action"], "token.create");
    // The key's text is another one: nobody can open what was sealed under the one before, and
    // nobody makes a second token.
    let path = format!("/api/v1/keys/{id}/rotate");
    let (_, rotated) = gateway.api("POST", &path, Some(&json!({})));
    let rotated = rotated["secret"].as_str().unwrap();
    let before = count(&gateway, TOKENS);
    let lost = post(&gateway, rotated, (TOKENS, "secret-2"), &json!({}));
    assert_eq!((lost.status, code(&lost)), (409, "conflict".to_owned()));
    let still = post(&gateway, &owner, (TOKENS, "secret-2"), &json!({}));
    assert_eq!(
        still.text(),
        by_owner.text(),
        "by the old text, while it works"
    );
    assert_eq!(count(&gateway, TOKENS), before);
}

// ID-104
#[test]
fn a_request_that_was_refused_may_be_mended_and_sent_again() {
    let gateway = models(&Origin::plain()).start();
    let by = MANAGEMENT_KEY;
    let wrong = post(&gateway, by, (PROJECTS, "k"), &json!({ "nmae": "x" }));
    assert_eq!(wrong.status, 422);
    let taken = post(&gateway, by, (PROJECTS, "k"), &json!({ "name": "default" }));
    assert_eq!(taken.status, 409, "{}", taken.text());
    assert_eq!(taken.field("idempotency-replayed"), None);
    let made = post(&gateway, by, (PROJECTS, "k"), &json!({ "name": "mended" }));
    assert_eq!(made.status, 201, "{}", made.text());
    let (_, viewer) = key(&gateway, &json!({ "name": "v", "role": "viewer" }));
    let refused = post(&gateway, &viewer, (PROJECTS, "k"), &json!({ "name": "y" }));
    assert_eq!(refused.status, 403);
    for (name, lines) in [
        ("empty", "idempotency-key: \r\n".to_owned()),
        (
            "too long",
            format!("idempotency-key: {}\r\n", "k".repeat(201)),
        ),
        ("with a space", "idempotency-key: a b\r\n".to_owned()),
        ("not ASCII", "idempotency-key: k\u{e4}\r\n".to_owned()),
        (
            "twice",
            "idempotency-key: a\r\nidempotency-key: a\r\n".to_owned(),
        ),
    ] {
        let refused = send(&gateway, by, PROJECTS, &lines, &json!({ "name": "z" }));
        assert_eq!(refused.status, 400, "{name}: {}", refused.text());
    }
    let longest = "k".repeat(200);
    let made = post(
        &gateway,
        by,
        (PROJECTS, &longest),
        &json!({ "name": "long" }),
    );
    assert_eq!(made.status, 201);
}

/// Sends one request sixteen times at once; what was answered.
fn crowd(gateways: [&Gateway; 2]) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let each = (0..16).map(|number| {
            let gateway = gateways[number % 2];
            scope.spawn(move || post(gateway, MANAGEMENT_KEY, (TOKENS, "crowd"), &json!({})))
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn assert_once(gateways: [&Gateway; 2]) {
    let answers = crowd(gateways);
    for answer in &answers {
        match answer.status {
            201 => {}
            409 => assert_eq!(answer.field("retry-after"), Some("1")),
            status => panic!("{status}: {}", answer.text()),
        }
    }
    let done = answers.iter().filter(|answer| answer.status == 201);
    let first = done
        .clone()
        .filter(|answer| answer.field("idempotency-replayed").is_none());
    assert_eq!(first.count(), 1);
    let again = post(gateways[1], MANAGEMENT_KEY, (TOKENS, "crowd"), &json!({}));
    assert!(done.clone().all(|answer| answer.text() == again.text()));
    assert_eq!(again.field("idempotency-replayed"), Some("true"));
    assert_eq!(count(gateways[0], TOKENS), 1);
}

// ID-104
#[test]
fn of_many_at_once_one_is_carried_out() {
    let gateway = models(&Origin::plain()).start();
    assert_once([&gateway, &gateway]);
}

// ID-104
#[test]
fn of_many_at_two_replicas_one_is_carried_out() {
    let server = Postgres::start();
    let [one, other] = pair(&server, "");
    assert_once([&one, &other]);
    // A tenant's own key marks what it did too, though it sees no such rows.
    let (_, tenant) = one.api("POST", "/api/v1/tenants", Some(&json!({ "name": "a" })));
    let members = json!({ "name": "t", "role": "tenant-admin", "tenant_id": tenant["id"] });
    let (_, bound) = key(&one, &members);
    let new = json!({ "name": "of a" });
    let made = post(&one, &bound, (PROJECTS, "k"), &new);
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        post(&other, &bound, (PROJECTS, "k"), &new).text(),
        made.text()
    );
    let acted = "SELECT count(*) FROM idempotency WHERE acted_at IS NOT NULL";
    assert_eq!(server.ask(acted).trim(), "2");
}

// ID-104
#[test]
fn an_answer_is_kept_for_who_went_away() {
    let gateway = models(&Origin::plain()).start();
    for number in 0..20 {
        let key = format!("gone-{number}");
        let body = json!({ "name": key }).to_string();
        let request = format!(
            "POST {PROJECTS} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n\
             idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            gateway.management(),
            body.len()
        );
        let mut client = Client::connect(gateway.management());
        assert!(client.send(request.as_bytes()));
        drop(client);
        let answer = tollkeep_testkit::eventually("an answer", || {
            let answer = post(
                &gateway,
                MANAGEMENT_KEY,
                (PROJECTS, &key),
                &json!({ "name": key }),
            );
            (answer.status != 409).then_some(answer)
        });
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    assert_eq!(count(&gateway, PROJECTS), 21);
}
