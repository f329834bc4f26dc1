//! Conditions of policies, in CEL: what does not hold reaches no upstream.

use crate::callers::{answer, bearer, get, made, models, post_json};
use crate::fixture::{before, free, gateway, head};
use serde_json::json;
use tollkeep_testkit::Origin;

// ID-90 ID-92
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_call_of_a_model_must_meet_the_conditions_that_bind_it() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let (id, token) = made(&gateway, &json!({}));
    let call = |model: &str, content: &str, lines: &str| {
        let lines = format!("{}{lines}", bearer(&token));
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": content }] });
        gateway.call(&post_json("/v1/chat/completions", &lines, &body))
    };
    let long = "word ".repeat(600);
    for (when, model, content, lines, want) in [
        ("model.startsWith('gpt-4o')", "gpt-4o", "hi", "", 200),
        ("model.startsWith('gpt-4o')", "openai/o3", "hi", "", 403),
        ("tokens_in < 500", "gpt-4o", "hi", "", 200),
        ("tokens_in < 500", "gpt-4o", &long, "", 403),
        ("model != 'o3' || tokens_in < 500", "gpt-4o", &long, "", 200),
        (
            "caller.project == 'default' && caller.known",
            "gpt-4o",
            "hi",
            "",
            200,
        ),
        ("caller.ip == '127.0.0.1'", "gpt-4o", "hi", "", 200),
        (
            "now > timestamp('2020-01-01T00:00:00Z')",
            "gpt-4o",
            "hi",
            "",
            200,
        ),
        (
            "now > timestamp('2120-01-01T00:00:00Z')",
            "gpt-4o",
            "hi",
            "",
            403,
        ),
        (
            "request.headers['x-team'] in ['blue']",
            "gpt-4o",
            "hi",
            "x-team: blue\r\n",
            200,
        ),
        (
            "request.headers['x-team'] in ['blue']",
            "gpt-4o",
            "hi",
            "x-team: red\r\n",
            403,
        ),
        // What is not there can't be compared, which is a no.
        (
            "request.headers['x-team'] != 'red'",
            "gpt-4o",
            "hi",
            "",
            403,
        ),
        (
            "!('authorization' in request.headers)",
            "gpt-4o",
            "hi",
            "",
            200,
        ),
        (
            "request.path == '/v1/chat/completions' && request.size < 10",
            "gpt-4o",
            "hi",
            "",
            403,
        ),
    ] {
        let path = format!("/api/v1/tokens/{id}");
        let (status, told) = gateway.api("PATCH", &path, Some(&json!({"policy": {"when": when}})));
        assert_eq!(
            (status, &told["policy"]["when"]),
            (200, &json!(when)),
            "{told}"
        );
        let before = origin.count();
        let answer = call(model, content, lines);
        assert_eq!(answer.status, want, "{when}: {}", answer.text());
        assert_eq!(origin.count() - before, usize::from(want == 200), "{when}");
        if want == 403 {
            assert_eq!(answer.code(), "policy_denied", "{when}");
            let said = answer.json()["error"]["message"].clone();
            assert_eq!(said, "Not allowed.", "{when}");
        }
    }
    let denied = gateway.audit_line("what could not be said", |line| {
        line.to_string().contains("policy_when_missing")
    });
    assert_eq!(denied["action"], "token.access", "{denied}");
    let lists = json!({"policy": {"when": "model == ''"}});
    assert_eq!(
        gateway
            .api("PATCH", &format!("/api/v1/tokens/{id}"), Some(&lists))
            .0,
        200
    );
    assert_eq!(
        gateway.call(&get("/v1/models", &bearer(&token))).status,
        200
    );
    assert_eq!(call("gpt-4o", "hi", "").status, 403);
}

// ID-90
#[test]
fn conditions_stand_on_settings_routes_projects_and_tenants() {
    let origin = Origin::plain();
    let routes = format!(
        "{}{}",
        free("ANY /free").replace(" }\n", ", policy: { when: \"request.query == 'a=b'\" } }\n"),
        "  \"ANY /token\": { upstream: origin }\n",
    );
    let policy = "policy: { when: \"request.method != 'DELETE'\" }\n";
    let gateway = gateway(before(&origin, &routes) + policy).start();
    let token = bearer(&gateway.mint_token(&json!({})));
    for (start, lines, want) in [
        ("GET /free?a=b", "", 200),
        ("GET /free", "", 403),
        ("DELETE /free?a=b", "", 403),
        ("GET /token", token.as_str(), 200),
        ("DELETE /token", token.as_str(), 403),
    ] {
        assert_eq!(gateway.call(&head(start, lines)).status, want, "{start}");
    }
    for place in ["/api/v1/projects/default", "/api/v1/tenants/default"] {
        let put = |policy| gateway.api("PATCH", place, Some(&json!({ "policy": policy })));
        assert_eq!(
            put(json!({"when": "request.path == '/other'"})).0,
            200,
            "{place}"
        );
        assert_eq!(
            gateway.call(&head("GET /token", &token)).status,
            403,
            "{place}"
        );
        assert_eq!(put(json!(null)).0, 200, "{place}");
        assert_eq!(
            gateway.call(&head("GET /token", &token)).status,
            200,
            "{place}"
        );
    }
}

// ID-90
#[test]
fn what_is_no_condition_is_refused_before_it_stands_anywhere() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, "")).start();
    let wrong = json!({"policy": {"when": "caller.known && modl == 'x'"}});
    let (status, told) = gateway.api("POST", "/api/v1/tokens", Some(&wrong));
    assert_eq!(
        (status, &told["errors"][0]["path"]),
        (422, &json!("/policy/when")),
        "{told}"
    );
    let said = told["errors"][0]["message"].as_str().unwrap();
    assert!(said.contains("column 17: there is no `modl`"), "{said}");
}
