//! Access that ends: for good or for a while, and what becomes of answers on their way.

use crate::callers::{
    PROVIDER_KEY, act, assert_unauthenticated, bearer, chat, made, models, post_json, record_of,
    served, stream,
};
use crate::operators::tenant;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Client, Gate, Gateway, Origin, Step, chunk, chunked_head};

/// Answers run until the gate opens.
struct World {
    gateway: Gateway,
    gate: Gate,
    _origin: Origin,
}

fn world() -> World {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target.as_str() {
        "/plain" => vec![
            chunked_head("application/octet-stream"),
            chunk(b"first"),
            Step::Wait(held.clone()),
            chunk(b"second"),
            chunk(b""),
        ],
        _ => stream(Some(&held)),
    });
    World {
        gateway: models(&origin).start(),
        gate,
        _origin: origin,
    }
}

/// A call whose answer is on its way.
struct Running {
    client: Client,
    answer: Answer,
}

impl Running {
    fn begin(gateway: &Gateway, path: &str, token: &str) -> Self {
        let model = if path == "/v1/messages" {
            "claude-3"
        } else {
            "gpt-4o"
        };
        let body = json!({ "model": model, "max_tokens": 9, "stream": true,
            "messages": [{ "role": "user", "content": "hi" }] });
        let mut client = gateway.connect();
        client.send(&post_json(path, &bearer(token), &body));
        let mut answer = client.head(Duration::from_secs(10)).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(client.piece(&mut answer).is_some(), "{path} runs");
        Self { client, answer }
    }

    /// What comes until the end, and how long that takes.
    fn rest(mut self) -> (String, Duration, bool) {
        let began = Instant::now();
        let mut rest = Vec::new();
        while let Some(piece) = self.client.piece(&mut self.answer) {
            rest.extend_from_slice(&piece);
        }
        let is_whole = self.answer.end != tollkeep_testkit::BodyEnd::Cut;
        (String::from_utf8(rest).unwrap(), began.elapsed(), is_whole)
    }
}

/// Does something to a gateway.
fn done(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = gateway.api(method, path, Some(body));
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

// ID-34
#[test]
fn a_running_stream_ends_with_an_event_when_its_token_is_revoked() {
    let world = world();
    for (path, word) in [
        ("/v1/chat/completions", "\"code\":\"access_revoked\""),
        ("/v1/messages", "event: error"),
    ] {
        let (id, token) = made(&world.gateway, &json!({}));
        let (_, other) = made(&world.gateway, &json!({}));
        let cut = Running::begin(&world.gateway, path, &token);
        let kept = Running::begin(&world.gateway, path, &other);
        assert_eq!(act(&world.gateway, &id, "revoke", &json!({})).0, 200);
        let (rest, took, is_whole) = cut.rest();
        assert!(rest.contains(word), "{path}: {rest}");
        assert!(took < Duration::from_secs(1), "{path}: {took:?}");
        assert!(is_whole, "{path} ends regularly");
        assert!(!rest.contains(PROVIDER_KEY));
        let usage = tollkeep_testkit::eventually("its usage line", || {
            let lines = world.gateway.usage_lines();
            lines.into_iter().find(|line| line["outcome"] == "cut")
        });
        assert_eq!(usage["status"], 200, "{usage}");
        drop(kept);
    }
}

// ID-34
#[test]
fn others_streams_go_on_and_so_do_those_that_may_finish() {
    let world = world();
    let (id, token) = made(&world.gateway, &json!({}));
    let (other, of_other) = made(&world.gateway, &json!({}));
    let path = "/v1/chat/completions";
    let finishing = Running::begin(&world.gateway, path, &token);
    let untouched = Running::begin(&world.gateway, path, &of_other);
    let finish = json!({ "in_flight": "finish" });
    assert_eq!(act(&world.gateway, &id, "revoke", &finish).0, 200);
    assert_unauthenticated(
        "a new call",
        &world.gateway.call(&chat(&bearer(&token), "hi")),
    );
    // Another one's end is seen by every worker after that of the first.
    let (third, of_third) = made(&world.gateway, &json!({}));
    let cut = Running::begin(&world.gateway, path, &of_third);
    assert_eq!(act(&world.gateway, &third, "suspend", &json!({})).0, 200);
    assert!(cut.rest().0.contains("access_revoked"));
    world.gate.open();
    for running in [finishing, untouched] {
        let (rest, _, _) = running.rest();
        assert!(
            rest.contains("[DONE]") && !rest.contains("access_revoked"),
            "{rest}"
        );
    }
    assert_eq!(record_of(&world.gateway, &other)["status"], "active");
}

// ID-34
#[test]
fn a_body_without_events_is_cut_so_that_it_does_not_look_whole() {
    let world = world();
    let (id, token) = made(&world.gateway, &json!({}));
    let running = Running::begin(&world.gateway, "/plain", &token);
    assert_eq!(act(&world.gateway, &id, "revoke", &json!({})).0, 200);
    let (rest, took, is_whole) = running.rest();
    assert_eq!((rest.as_str(), is_whole), ("", false));
    assert!(took < Duration::from_secs(1), "{took:?}");
}

// ID-3 ID-4 ID-34
#[test]
fn what_ends_a_project_or_tenant_ends_its_streams() {
    let world = world();
    let gateway = &world.gateway;
    let tenant = tenant(gateway, "a");
    let body = json!({ "name": "p", "tenant": tenant });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&body));
    let project = project["id"].as_str().unwrap();
    let (projects, tenants) = (
        format!("/api/v1/projects/{project}"),
        format!("/api/v1/tenants/{tenant}"),
    );
    let path = "/v1/chat/completions";
    let token = gateway.mint_token(&json!({ "project": project }));
    for (off, on) in [
        (
            ("PATCH", projects.clone(), json!({ "is_active": false })),
            ("PATCH", projects.clone(), json!({ "is_active": true })),
        ),
        (
            ("POST", format!("{tenants}/suspend"), json!({})),
            ("POST", format!("{tenants}/resume"), json!({})),
        ),
    ] {
        let running = Running::begin(gateway, path, &token);
        done(gateway, off.0, &off.1, &off.2);
        let (rest, took, _) = running.rest();
        assert!(rest.contains("access_revoked"), "{}: {rest}", off.1);
        assert!(took < Duration::from_secs(1), "{took:?}");
        let refused = gateway.call(&chat(&bearer(&token), "hi"));
        assert_eq!(refused.status, 403, "{}", refused.text());
        done(gateway, on.0, &on.1, &on.2);
    }
    let running = Running::begin(gateway, path, &token);
    let all = done(
        gateway,
        "POST",
        &format!("{projects}/tokens/revoke"),
        &json!({}),
    );
    assert_eq!(all["revoked_count"], 1);
    assert!(running.rest().0.contains("access_revoked"));
}

// ID-36
#[test]
fn a_suspended_token_is_refused_like_any_other_until_it_is_resumed() {
    let (_origin, gateway, _) = served();
    let (id, token) = made(&gateway, &json!({ "max_requests": 2 }));
    let call = || gateway.call(&chat(&bearer(&token), "hi"));
    assert_eq!(call().status, 200);
    for _ in 0..2 {
        let (status, record) = act(&gateway, &id, "suspend", &json!({}));
        assert_eq!((status, &record["status"]), (200, &json!("suspended")));
        assert_eq!(record["is_active"], false);
        assert_unauthenticated("suspended", &call());
    }
    // Counts are on disk twice a second.
    tollkeep_testkit::eventually("the count", || {
        (record_of(&gateway, &id)["request_count"] == 1).then_some(())
    });
    let gateway = gateway.restart().unwrap();
    let call = || gateway.call(&chat(&bearer(&token), "hi"));
    assert_unauthenticated("after a restart", &call());
    for _ in 0..2 {
        let (status, record) = act(&gateway, &id, "resume", &json!({}));
        assert_eq!((status, &record["status"]), (200, &json!("active")));
    }
    assert_eq!(call().status, 200);
    assert_eq!(call().status, 429, "its count was not refilled");
    assert_eq!(act(&gateway, &id, "revoke", &json!({})).0, 200);
    for verb in ["suspend", "resume"] {
        assert_eq!(act(&gateway, &id, verb, &json!({})).0, 409, "{verb}");
    }
}

// ID-36
#[test]
fn a_token_that_was_replaced_goes_on_ending_when_it_is_resumed() {
    let (_origin, gateway, _) = served();
    let (id, token) = made(&gateway, &json!({}));
    assert_eq!(
        act(&gateway, &id, "rotate", &json!({ "overlap": "1h" })).0,
        200
    );
    for (verb, status) in [("suspend", 401), ("resume", 200)] {
        assert_eq!(act(&gateway, &id, verb, &json!({})).0, 200);
        let answer = gateway.call(&chat(&bearer(&token), "hi"));
        assert_eq!(answer.status, status, "{verb}");
    }
    assert_eq!(record_of(&gateway, &id)["status"], "rotating");
}

// ID-35
#[test]
fn all_tokens_of_a_project_end_at_once_and_are_counted() {
    let (_origin, gateway, other) = served();
    let project = json!({ "name": "p" });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&project));
    let id = project["id"].as_str().unwrap();
    let tokens: Vec<_> = (0..3)
        .map(|_| made(&gateway, &json!({ "project": id })))
        .collect();
    assert_eq!(act(&gateway, &tokens[0].0, "revoke", &json!({})).0, 200);
    let path = format!("/api/v1/projects/{id}/tokens/revoke");
    for (revoked, already) in [(2, 1), (0, 3)] {
        let told = done(&gateway, "POST", &path, &json!({ "reason": "leaked" }));
        let want = json!({ "revoked_count": revoked, "already_revoked_count": already,
            "total_tokens": 3 });
        assert_eq!(told, want);
    }
    let gateway = gateway.restart().unwrap();
    for (id, token) in &tokens {
        let answer = gateway.call(&chat(&bearer(token), "hi"));
        assert_unauthenticated("revoked", &answer);
        assert_eq!(record_of(&gateway, id)["status"], "revoked");
    }
    assert_eq!(
        record_of(&gateway, &tokens[1].0)["revoked_reason"],
        "leaked"
    );
    assert_eq!(gateway.call(&chat(&bearer(&other), "hi")).status, 200);
    let event = gateway.audit_line("the batch", |event| event["action"] == "token.revoke_batch");
    assert_eq!(event["details"]["revoked_count"], 2, "{event}");
    let done = gateway.cli(&[
        "project",
        "revoke-tokens",
        "default",
        "--yes",
        "--let-finish",
    ]);
    assert!(done.status.success(), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["revoked_count"], 1);
}

// ID-30 ID-32 ID-36
#[test]
fn each_of_a_rotating_pair_ends_by_itself_and_for_good() {
    let (_origin, gateway, _) = served();
    let called = |gateway: &Gateway, token: &str| gateway.call(&chat(&bearer(token), "hi")).status;
    let pair = || {
        let (id, old) = made(&gateway, &json!({}));
        let (status, new) = act(&gateway, &id, "rotate", &json!({ "overlap": "1h" }));
        assert_eq!(status, 200, "{new}");
        let text = |member: &str| new[member].as_str().unwrap().to_owned();
        ((id, old), (text("id"), text("secret")))
    };
    let delete = |id: &str| {
        gateway
            .api("DELETE", &format!("/manage/tokens/{id}"), None)
            .0
    };
    let (old, new) = pair();
    assert_eq!(delete(&old.0), 204);
    assert_eq!(
        (called(&gateway, &old.1), called(&gateway, &new.1)),
        (401, 200)
    );
    assert_eq!(act(&gateway, &old.0, "rotate", &json!({})).0, 409);
    assert_eq!(delete(&new.0), 204);
    let (second_old, second_new) = pair();
    assert_eq!(delete(&second_new.0), 204);
    let both = [&second_old.1, &second_new.1].map(|token| called(&gateway, token));
    assert_eq!(
        both,
        [200, 401],
        "the one that was replaced works to its end"
    );
    assert_eq!(act(&gateway, &second_old.0, "suspend", &json!({})).0, 200);
    for verb in ["rotate", "suspend"] {
        let (status, _) = act(&gateway, &second_new.0, verb, &json!({}));
        assert_eq!(status, 409, "{verb}");
    }
    let gateway = gateway.restart().unwrap();
    for (name, token) in [
        ("old", &old.1),
        ("new", &new.1),
        ("suspended", &second_old.1),
        ("deleted", &second_new.1),
    ] {
        let answer = gateway.call(&chat(&bearer(token), "hi"));
        assert_unauthenticated(name, &answer);
    }
}

// ID-36
#[test]
fn a_suspended_token_can_not_be_replaced_and_tells_who_suspended_it_and_why() {
    let (_origin, gateway, _) = served();
    let (id, _) = made(&gateway, &json!({ "self_rotate": true }));
    let done = gateway.cli(&["token", "suspend", &id, "--reason", "odd calls"]);
    assert!(done.status.success(), "{done:?}");
    let record = record_of(&gateway, &id);
    assert_eq!(record["suspended_reason"], "odd calls");
    assert!(
        record["suspended_by"].is_string() && record["suspended_at"].is_string(),
        "{record}"
    );
    // Whoever comes later changes neither.
    let again = json!({ "reason": "another" });
    assert_eq!(
        act(&gateway, &id, "suspend", &again).1["suspended_reason"],
        "odd calls"
    );
    assert_eq!(act(&gateway, &id, "rotate", &json!({})).0, 409);
    let (_, resumed) = act(&gateway, &id, "resume", &json!({}));
    for member in ["suspended_by", "suspended_reason", "suspended_at"] {
        assert_eq!(resumed[member], Value::Null, "{member}");
    }
    assert_eq!(act(&gateway, &id, "rotate", &json!({})).0, 200);
}
