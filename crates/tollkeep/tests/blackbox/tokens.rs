//! How tokens wither: counts, ends, bindings, rotation, revocation.

use crate::callers::{
    act, answer, assert_unauthenticated, bearer, call_to, chat, get, made, models, post_json,
    record_of, served,
};
use serde_json::{Value, json};
use std::thread;
use tollkeep_testkit::{Gateway, Origin, eventually};

/// The status of one chat call with a token.
fn called(gateway: &Gateway, token: &str) -> u16 {
    gateway.call(&chat(&bearer(token), "hi")).status
}

/// How many calls the record of a token has, once it has `count`.
fn counted(gateway: &Gateway, id: &str, count: u64) {
    eventually("the flushed count", || {
        (record_of(gateway, id)["request_count"] == count).then_some(())
    });
}

// ID-20
#[test]
fn a_hundred_callers_at_once_get_exactly_the_ten_calls_that_are_left() {
    let (origin, gateway, _) = served();
    let (id, token) = made(&gateway, &json!({ "max_requests": 10 }));
    let answers: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| gateway.call(&chat(&bearer(&token), "hi"))))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect()
    });
    let granted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((granted, origin.count()), (10, 10));
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(
            (refused.status, refused.code()),
            (429, "rate_limit_exceeded".to_owned())
        );
        assert_eq!(refused.field("x-should-retry"), Some("false"));
        assert_eq!(refused.field("retry-after"), None, "waiting does not help");
    }
    counted(&gateway, &id, 10);
}

// ID-20
#[test]
fn what_was_not_granted_does_not_count_and_what_was_sent_does() {
    let (origin, gateway, _) = served();
    let members = json!({ "max_requests": 2, "bindings": { "models": ["gpt-4o"] } });
    let (id, token) = made(&gateway, &members);
    let lines = bearer(&token);
    let model = |name: &str| json!({ "model": name, "messages": [] });
    for (name, request, want) in [
        (
            "no such model",
            post_json("/v1/chat/completions", &lines, &model("nope")),
            404,
        ),
        (
            "not its model",
            post_json("/v1/chat/completions", &lines, &model("o3")),
            404,
        ),
        (
            "no JSON",
            post_json("/v1/chat/completions", &lines, &Value::Null),
            400,
        ),
        ("no such path", get("/v1/nothing", &lines), 404),
        ("another method", get("/v1/chat/completions", &lines), 405),
        ("the gateway's own answer", get("/v1/models", &lines), 200),
    ] {
        assert_eq!(gateway.call(&request).status, want, "{name}");
    }
    assert_eq!(origin.count(), 0);
    let failed = gateway.call(&chat(&lines, "do:500"));
    assert_eq!(failed.status, 502, "granted, and failed upstream");
    assert_eq!(called(&gateway, &token), 200);
    assert_eq!(called(&gateway, &token), 429);
    assert_eq!(origin.count(), 2);
    counted(&gateway, &id, 2);
}

// ID-20
#[test]
fn a_call_that_reached_nobody_is_given_back() {
    let nobody = Origin::plain();
    let builder = models(&nobody);
    drop(nobody);
    let gateway = builder.start();
    let (id, token) = made(&gateway, &json!({ "max_requests": 1 }));
    for _ in 0..3 {
        assert_eq!(called(&gateway, &token), 502);
    }
    counted(&gateway, &id, 0);
}

// ID-20
#[test]
fn counts_survive_a_restart() {
    let (_origin, gateway, _) = served();
    let (id, token) = made(&gateway, &json!({ "max_requests": 3 }));
    assert_eq!(
        (called(&gateway, &token), called(&gateway, &token)),
        (200, 200)
    );
    counted(&gateway, &id, 2);
    let gateway = gateway.restart().unwrap();
    assert_eq!(
        (called(&gateway, &token), called(&gateway, &token)),
        (200, 429)
    );
}

#[test]
fn a_token_ends_at_its_time_and_when_it_is_not_used() {
    let (_origin, gateway, _) = served();
    let (ended_id, ended) = made(&gateway, &json!({ "ttl": "2s" }));
    let (idle_id, idle) = made(&gateway, &json!({ "idle_ttl": "2s" }));
    assert_eq!(
        (called(&gateway, &ended), called(&gateway, &idle)),
        (200, 200)
    );
    for (name, id, token) in [("time", ended_id, ended), ("idleness", idle_id, idle)] {
        eventually(name, || {
            (record_of(&gateway, &id)["status"] == "expired").then_some(())
        });
        let answer = gateway.call(&chat(&bearer(&token), "hi"));
        assert_unauthenticated(name, &answer);
        assert_eq!(record_of(&gateway, &id)["is_active"], false, "{name}");
    }
    gateway.audit_line("the reason", |line| line["reason"] == "token_expired");
}

/// Bindings, field lines that fit them and that break them, and the reason in the audit.
const BINDINGS: [(&str, &str, &str, &str); 6] = [
    (
        r#"{"ips":["192.0.2.0/24"]}"#,
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-for: 198.51.100.7",
        "binding_ip",
    ),
    (
        r#"{"ips":["192.0.2.7"]}"#,
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-for: 192.0.2.8",
        "binding_ip",
    ),
    (
        r#"{"ips":["::ffff:192.0.2.7"]}"#,
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-for: 2001:db8::7",
        "binding_ip",
    ),
    (
        r#"{"headers":{"X-Proxy-User":["al*"]}}"#,
        "x-proxy-user: alice",
        "x-proxy-user: bob",
        "binding_header",
    ),
    (
        r#"{"headers":{"x-proxy-user":["*"]}}"#,
        "x-proxy-user: a",
        "x-proxy-user: a\r\nx-proxy-user: a",
        "binding_header",
    ),
    (
        r#"{"headers":{"x-proxy-user":["*"]}}"#,
        "x-proxy-user: a",
        "x-another: a",
        "binding_header",
    ),
];

// ID-22
#[test]
fn bindings_hold_for_live_tokens_only_and_tell_nothing() {
    let origin = Origin::start(answer);
    let gateway = models(&origin)
        .set("server.trusted_proxies", "127.0.0.1/32")
        .start();
    let call = |token: &str, line: &str| {
        let lines = format!("{}{line}\r\n", bearer(token));
        gateway.call(&chat(&lines, "hi"))
    };
    for (written, fits, breaks, reason) in BINDINGS {
        let bindings: Value = serde_json::from_str(written).unwrap();
        let token = gateway.mint_token(&json!({ "bindings": bindings }));
        assert_eq!(call(&token, fits).status, 200, "{written}");
        let before = origin.count();
        let refused = call(&token, breaks);
        assert_eq!(refused.status, 403, "{written}");
        assert_eq!(refused.code(), "token_binding", "{written}");
        assert!(!refused.text().contains(reason), "{}", refused.text());
        assert_unauthenticated(written, &call("tok-dead", breaks));
        assert_eq!(origin.count(), before, "{written}");
        let id = refused.field("x-request-id").unwrap();
        let event = gateway.audit_line(written, |line| {
            line["request_id"] == id && line["action"] == "token.access"
        });
        assert_eq!(event["result"], "denied", "{written}");
        assert_eq!(event["reason"], reason, "{written}");
    }
}

// ID-22
#[test]
fn bindings_on_methods_routes_and_origins_hold() {
    let (_origin, gateway, _) = served();
    let bound = |bindings: Value| bearer(&gateway.mint_token(&json!({ "bindings": bindings })));
    let told = |request: &[u8]| {
        let answer = gateway.call(request);
        (answer.status, answer.code())
    };
    let methods = bound(json!({ "methods": ["GET"] }));
    assert_eq!(told(&get("/plain", &methods)).0, 200);
    assert_eq!(
        told(&call_to("/plain", &methods, "hi")),
        (403, "token_binding".to_owned())
    );
    let routes = bound(json!({ "routes": ["/v1/chat"] }));
    assert_eq!(told(&chat(&routes, "hi")).0, 200);
    assert_eq!(
        told(&call_to("/v1/messages", &routes, "hi")),
        (403, "token_binding".to_owned())
    );
    assert_eq!(
        told(&get("/plain", &routes)),
        (403, "token_binding".to_owned())
    );
    let origins = bound(json!({ "origins": ["https://app.example"] }));
    let from = |origin: &str| format!("{origins}origin: {origin}\r\n");
    assert_eq!(told(&chat(&from("https://app.example"), "hi")).0, 200);
    assert_eq!(told(&chat(&from("https://app.example:443"), "hi")).0, 200);
    for other in [
        "https://app.example.evil",
        "http://app.example",
        "null",
        "https://app.example:8443",
    ] {
        assert_eq!(
            told(&chat(&from(other), "hi")),
            (403, "origin_not_allowed".to_owned()),
            "{other}"
        );
    }
    let refused = gateway.call(&chat(&from("null"), "hi")).json();
    assert_eq!(refused["error"]["code"], "origin_not_allowed");
    assert_eq!(
        told(&chat(&origins, "hi")),
        (400, "origin_required".to_owned())
    );
}

// ID-22 LLM-71
#[test]
fn a_model_that_is_not_bound_is_like_one_that_is_not_there() {
    let (origin, gateway, _) = served();
    let token = bearer(&gateway.mint_token(&json!({ "bindings": { "models": ["gpt-4o*"] } })));
    let names = |lines: &str| {
        let list = gateway.call(&get("/v1/models", lines)).json();
        let ids = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(names(&token), ["gpt-4o", "gpt-4o-mini"]);
    assert_eq!(
        names(&format!("{token}anthropic-version: 2023-06-01\r\n")),
        ["gpt-4o", "gpt-4o-mini"]
    );
    let all = bearer(&gateway.mint_token(&json!({})));
    assert_eq!(names(&all), ["claude-3", "gpt-4o", "gpt-4o-mini", "o3"]);
    let mask = |text: String, model: &str| text.replace(model, "<model>");
    let shown = |model: &str| {
        let one = gateway.call(&get(&format!("/v1/models/{model}"), &token));
        let body = json!({ "model": model, "messages": [] });
        let call = gateway.call(&post_json("/v1/chat/completions", &token, &body));
        let id =
            |answer: &tollkeep_testkit::Answer| answer.field("x-request-id").unwrap().to_owned();
        let text =
            |answer: &tollkeep_testkit::Answer| mask(answer.text().replace(&id(answer), ""), model);
        (one.status, text(&one), call.status, text(&call))
    };
    assert_eq!(shown("gpt-4o").0, 200);
    let (hidden, unknown) = (shown("o3"), shown("no-such"));
    assert_eq!((hidden.0, hidden.2), (404, 404));
    assert_eq!(hidden, unknown);
    assert_eq!(origin.count(), 1);
}

// ID-30
#[test]
fn a_rotated_token_shares_its_counters_and_dies_when_its_overlap_ends() {
    let (_origin, gateway, _) = served();
    let members = json!({ "max_requests": 5, "name": "ci", "bindings": { "models": ["gpt-4o"] } });
    let (id, old) = made(&gateway, &members);
    assert_eq!((called(&gateway, &old), called(&gateway, &old)), (200, 200));
    let (status, new) = act(&gateway, &id, "rotate", &json!({ "overlap": "3s" }));
    assert_eq!(status, 200, "{new}");
    for member in [
        "name",
        "max_requests",
        "bindings",
        "project_id",
        "lineage",
        "limits",
    ] {
        assert_eq!(new[member], record_of(&gateway, &id)[member], "{member}");
    }
    let text = new["secret"].as_str().unwrap().to_owned();
    assert_ne!(text, old);
    assert_eq!(
        (called(&gateway, &old), called(&gateway, &text)),
        (200, 200),
        "both work"
    );
    assert_eq!(act(&gateway, &id, "rotate", &json!({})).0, 409, "only once");
    eventually("the end of the overlap", || {
        (record_of(&gateway, &id)["is_active"] == false).then_some(())
    });
    assert_unauthenticated("the old one", &gateway.call(&chat(&bearer(&old), "hi")));
    assert_eq!(
        (called(&gateway, &text), called(&gateway, &text)),
        (200, 429),
        "five in all"
    );
    let new_id = new["id"].as_str().unwrap();
    assert_eq!(
        act(&gateway, new_id, "rotate", &json!({ "overlap": "0s" })).0,
        200,
        "the successor"
    );
}

// ID-32
#[test]
fn a_revoked_token_is_refused_from_the_next_request_on_and_for_ever() {
    let (_origin, gateway, _) = served();
    let (id, token) = made(&gateway, &json!({}));
    let mut kept = gateway.connect();
    assert_eq!(kept.call(&chat(&bearer(&token), "hi")).status, 200);
    let (status, revoked) = act(&gateway, &id, "revoke", &json!({ "reason": "leaked" }));
    assert_eq!(status, 200, "{revoked}");
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(revoked["revoked_reason"], "leaked");
    let refused = kept.call(&chat(&bearer(&token), "hi"));
    assert_unauthenticated("on a kept connection", &refused);
    assert_eq!(act(&gateway, &id, "revoke", &json!({})).0, 200, "again");
    assert_eq!(
        act(&gateway, &id, "rotate", &json!({})).0,
        409,
        "no way back"
    );
    let gateway = gateway.restart().unwrap();
    let refused = gateway.call(&chat(&bearer(&token), "hi"));
    assert_unauthenticated("after a restart", &refused);
    assert_eq!(record_of(&gateway, &id)["status"], "revoked");
}

// ID-20
#[test]
fn a_call_that_the_rate_refused_does_not_count() {
    let (_origin, gateway, _) = served();
    let limits = json!({ "requests_per_minute": 1, "burst": 2 });
    let (id, token) = made(&gateway, &json!({ "max_requests": 3, "limits": limits }));
    let statuses: Vec<_> = (0..5).map(|_| called(&gateway, &token)).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 429]);
    counted(&gateway, &id, 2);
}

// ID-30
#[test]
fn rotation_refills_no_rate() {
    let (origin, gateway, _) = served();
    let limits = json!({ "limits": { "requests_per_minute": 1, "burst": 2 } });
    let (id, token) = made(&gateway, &limits);
    assert_eq!(
        [called(&gateway, &token), called(&gateway, &token)],
        [200, 200]
    );
    let (status, next) = act(&gateway, &id, "rotate", &json!({}));
    assert_eq!(status, 200, "{next}");
    let next = next["secret"].as_str().unwrap();
    assert_eq!(
        [called(&gateway, &token), called(&gateway, next)],
        [429, 429]
    );
    assert_eq!(origin.count(), 2);
    let (_, other) = made(&gateway, &limits);
    assert_eq!(called(&gateway, &other), 200, "another line of tokens");
}
