//! Policies on calls: wherever one stands, it holds, and what it refuses reaches no upstream.

use crate::callers::{answer, bearer, call_to, get, made, models, post_json};
use crate::fixture::{before, free, gateway};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tollkeep_testkit::{Answer, Gateway, Origin, PATIENCE, eventually};

/// Where a policy may stand.
const PLACES: [&str; 3] = ["token", "project", "tenant"];

/// Puts a policy, or with `null` none, to the one place.
fn put(gateway: &Gateway, place: &str, token: &str, policy: &Value) {
    let path = match place {
        "token" => format!("/api/v1/tokens/{token}"),
        "project" => "/api/v1/projects/default".to_owned(),
        _ => "/api/v1/tenants/default".to_owned(),
    };
    let (status, told) = gateway.api("PATCH", &path, Some(&json!({ "policy": policy })));
    assert_eq!(status, 200, "{place}: {told}");
    assert_eq!(told["policy"], *policy, "{place}");
    assert_eq!(
        gateway.api("GET", &path, None).1["policy"],
        *policy,
        "{place}"
    );
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

/// The code that a body tells in the dialect of chat.
fn body_code(answer: &Answer) -> Value {
    answer.json()["error"]["code"].clone()
}

// ID-90 ID-92
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_policy_holds_at_once_wherever_it_stands_and_until_it_is_taken_away() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let (id, token) = made(&gateway, &json!({}));
    let chat = |content: &str| call_to("/v1/chat/completions", &bearer(&token), content);
    let rows = [
        (
            json!({"allowed_methods": ["GET"]}),
            405,
            "method_not_allowed",
        ),
        (
            json!({"allowed_endpoints": ["/v1/chat/complet"]}),
            404,
            "endpoint_not_found",
        ),
        (json!({"allowed_models": []}), 404, "model_not_found"),
        (json!({"denied_models": ["gpt-*"]}), 404, "model_not_found"),
        (
            json!({"required_headers": ["origin"]}),
            400,
            "origin_required",
        ),
        (
            json!({"required_headers": ["x-team"]}),
            400,
            "header_required",
        ),
        (json!({"allowed_origins": []}), 403, "origin_not_allowed"),
        (
            json!({"param_whitelist": {"model": ["o*"]}}),
            400,
            "param_not_allowed",
        ),
        (
            json!({"param_required": ["seed"]}),
            400,
            "param_not_allowed",
        ),
        (
            json!({"max_output_tokens": 8, "on_excess": "refuse"}),
            400,
            "limit_exceeded",
        ),
        (json!({"max_input_tokens": 5}), 400, "limit_exceeded"),
    ];
    for place in PLACES {
        for (policy, status, code) in &rows {
            put(&gateway, place, &id, policy);
            let calls = origin.count();
            let answer = gateway.call(&chat("hi"));
            assert_eq!(
                told(&answer),
                (*status, (*code).to_owned()),
                "{place} {policy}: {}",
                answer.text()
            );
            assert_eq!(origin.count(), calls, "{place} {policy}");
            if answer.status == 405 {
                assert_eq!(answer.field("allow"), Some(""), "the route takes no GET");
            }
            assert!(
                answer.json()["error"]["message"].is_string(),
                "{place} {policy}"
            );
        }
        put(&gateway, place, &id, &Value::Null);
        assert_eq!(gateway.call(&chat("hi")).status, 200, "{place}");
    }
    let line = gateway.audit_line("the refusal", |line| {
        line["details"]["reason"] == "policy_limit"
            || line["details"]["error_code"] == "policy_limit"
            || line.to_string().contains("policy_limit")
    });
    assert_eq!(line["action"], "token.access", "{line}");
}

// ID-90
#[test]
fn policies_of_settings_and_routes_hold_for_tokens_and_for_strangers() {
    let origin = Origin::plain();
    let routes = format!(
        "{}{}{}",
        free("ANY /free").replace(
            " }\n",
            ", policy: { allowedMethods: [GET, PUT], allow_tools: false } }\n"
        ),
        "  \"ANY /token\": { upstream: origin }\n",
        free("ANY /whole"),
    );
    let policy =
        "policy: { allowed_endpoints: [\"/%66ree\", /token], required_headers: [X-Team] }\n";
    let gateway = gateway(before(&origin, &routes) + policy).start();
    let token = gateway.mint_token(&json!({}));
    let team = "x-team: a\r\n";
    let by_token = format!("{}{team}", bearer(&token));
    for (name, start, lines, want) in [
        ("free", "GET /free", team, (200, "")),
        ("another method", "PUT /free", team, (200, "")),
        (
            "a method too many",
            "DELETE /free",
            team,
            (405, "method_not_allowed"),
        ),
        ("no field", "GET /free", "", (400, "header_required")),
        (
            "no endpoint",
            "GET /whole",
            team,
            (404, "endpoint_not_found"),
        ),
        (
            "with a token",
            "DELETE /token",
            by_token.as_str(),
            (200, ""),
        ),
        (
            "a bad token comes first",
            "GET /token",
            "authorization: Bearer tok-x\r\n",
            (401, "invalid_token"),
        ),
    ] {
        let answer = gateway.call(&crate::fixture::head(start, lines));
        assert_eq!(told(&answer), (want.0, want.1.to_owned()), "{name}");
        if answer.status == 405 {
            assert_eq!(answer.field("allow"), Some("GET, PUT"), "{name}");
        }
    }
}

// ID-90
#[test]
fn every_policy_must_allow_a_call() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).set("policy.denied_models", "o3").start();
    let (id, token) = made(
        &gateway,
        &json!({"policy": {"allowed_models": ["gpt-4o*", "o3", "claude-3"]}}),
    );
    put(
        &gateway,
        "project",
        &id,
        &json!({"allowed_models": ["gpt-*", "o3"]}),
    );
    put(
        &gateway,
        "tenant",
        &id,
        &json!({"denied_models": ["*-mini"]}),
    );
    let call = |model: &str| {
        let body = json!({ "model": model, "messages": [] });
        gateway.call(&post_json("/v1/chat/completions", &bearer(&token), &body))
    };
    assert_eq!(call("gpt-4o").status, 200);
    let unknown = call("gpt-9");
    for denied in [
        "o3",
        "claude-3",
        "gpt-4o-mini",
        "openai/gpt-4o-mini",
        "openai/o3",
    ] {
        let answer = call(denied);
        assert_eq!(
            told(&answer),
            (404, "model_not_found".to_owned()),
            "{denied}"
        );
        assert_eq!(
            answer.json(),
            unknown.json(),
            "{denied} is told as if it did not exist"
        );
    }
    let list = gateway.call(&get("/v1/models", &bearer(&token)));
    let names: Vec<_> = list.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].clone())
        .collect();
    assert_eq!(names, ["gpt-4o"]);
    for (name, want) in [("gpt-4o", 200), ("o3", 404)] {
        let one = gateway.call(&get(&format!("/v1/models/{name}"), &bearer(&token)));
        assert_eq!(one.status, want, "{name}");
    }
}

// ID-90 ID-92
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn features_that_are_off_are_refused_in_the_dialect_of_the_call() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let part = |part: Value| json!({"messages": [{"role": "user", "content": [part]}]});
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    let rows = [
        (
            "allow_stream",
            json!({"stream": true, "messages": []}),
            "/v1/chat/completions",
        ),
        (
            "allow_tools",
            json!({"tools": [{"type": "function"}], "messages": []}),
            "/v1/chat/completions",
        ),
        (
            "allow_images",
            image("data:image/png;base64,AA"),
            "/v1/chat/completions",
        ),
        (
            "allow_remote_urls",
            image("https://a.example/x.png"),
            "/v1/chat/completions",
        ),
        (
            "allow_files",
            part(json!({"type": "document", "source": {"type": "base64", "data": "AA"}})),
            "/v1/messages",
        ),
        (
            "allow_web_search",
            json!({"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            "/v1/messages",
        ),
    ];
    for (key, body, path) in rows {
        let mut body = body;
        let is_anthropic = path == "/v1/messages";
        body["model"] = if is_anthropic {
            "claude-3".into()
        } else {
            "gpt-4o".into()
        };
        body["max_tokens"] = 9.into();
        let call = |policy: Value| {
            let token = gateway.mint_token(&json!({ "policy": policy }));
            gateway.call(&post_json(path, &bearer(&token), &body))
        };
        let refused = call(json!({ key: false }));
        assert_eq!(
            told(&refused),
            (400, "feature_not_allowed".to_owned()),
            "{key}"
        );
        if is_anthropic {
            assert_eq!(
                refused.json()["error"]["type"],
                "invalid_request_error",
                "{key}"
            );
        } else {
            assert_eq!(body_code(&refused), "feature_not_allowed", "{key}");
        }
        assert_eq!(call(json!({ key: true })).status, 200, "{key}");
        let mut others = json!({"allow_stream": false, "allow_tools": false, "allow_images": false,
            "allow_files": false, "allow_web_search": false, "allow_remote_urls": false});
        // What comes with it is allowed too.
        for allowed in [key, "allow_tools", "allow_images"] {
            others[allowed] = true.into();
        }
        assert_eq!(call(others).status, 200, "{key} alone");
    }
}

// ID-90 LLM-40
#[test]
fn a_call_that_asks_for_too_much_is_brought_down_and_otherwise_sent_as_it_is() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let sent = |policy: Value, path: &str, body: &str| {
        let token = gateway.mint_token(&json!({ "policy": policy }));
        let lines = format!("{}content-type: application/json\r\n", bearer(&token));
        let answer = gateway.call(&crate::fixture::post(path, &lines, body.as_bytes()));
        (
            answer.status,
            if answer.status == 200 {
                origin.last().text()
            } else {
                answer.code()
            },
        )
    };
    let (chat, messages) = ("/v1/chat/completions", "/v1/messages");
    let body = r#"{"model": "gpt-4o", "max_tokens" : 900, "n":4, "messages":[] }"#;
    let five = json!({"max_output_tokens": 5});
    for (policy, path, body, want) in [
        (five.clone(), chat, body, Ok(body.replace("900", "5"))),
        (
            json!({"max_output_tokens": 900}),
            chat,
            body,
            Ok(body.to_owned()),
        ),
        (
            json!({"max_output_tokens": 5, "on_excess": "refuse"}),
            chat,
            body,
            Err("limit_exceeded"),
        ),
        (json!({"max_n": 2}), chat, body, Err("limit_exceeded")),
        (
            json!({"max_n": 2, "on_excess": "clamp"}),
            chat,
            body,
            Ok(body.replace("\"n\":4", "\"n\":2")),
        ),
        (
            five.clone(),
            chat,
            r#"{"model":"gpt-4o"}"#,
            Ok(r#"{"max_completion_tokens":5,"model":"gpt-4o"}"#.to_owned()),
        ),
        (
            five,
            messages,
            r#"{"max_tokens":7,"model":"claude-3"}"#,
            Ok(r#"{"max_tokens":5,"model":"claude-3"}"#.to_owned()),
        ),
        (
            json!({"max_tools": 0}),
            chat,
            r#"{"model":"gpt-4o","tools":[{}]}"#,
            Err("limit_exceeded"),
        ),
    ] {
        let want = want.map_or_else(|code| (400, code.to_owned()), |body| (200, body));
        assert_eq!(sent(policy.clone(), path, body), want, "{policy} {body}");
    }
}

// EDGE-47
#[test]
fn rules_on_the_query_read_what_the_upstream_reads() {
    let origin = Origin::plain();
    let rule = "policy: { param_whitelist: { query.size: [m, \"x l\", 7] }, param_required: [query.size] }";
    let route = free("ANY /x").replace(" }\n", &format!(", {rule} }}\n"));
    let gateway = gateway(before(&origin, &route)).start();
    for (target, want) in [
        ("/x?size=m", (200, "")),
        ("/x?a=1&a=2&size=x+l", (200, "")),
        ("/x?s%69ze=x%20l", (200, "")),
        ("/x?size=7", (200, "")),
        ("/x?size=s", (400, "param_not_allowed")),
        ("/x", (400, "param_not_allowed")),
        ("/x?size=m&size=m", (400, "duplicate_key")),
        ("/x?size=m&s%69ze=s", (400, "duplicate_key")),
    ] {
        let answer = gateway.call(&get(target, ""));
        assert_eq!(told(&answer), (want.0, want.1.to_owned()), "{target}");
        if want.0 == 200 {
            assert_eq!(origin.last().target, target, "byte for byte");
        }
    }
}

// ID-90
#[test]
fn a_policy_in_the_settings_is_taken_over_when_they_are_loaded_again() {
    let origin = Origin::plain();
    let config = |policy: &str| before(&origin, &free("GET /x")) + policy;
    let gateway = gateway(config("")).start();
    assert_eq!(gateway.call(&get("/x", "")).status, 200);
    gateway.configure(config("policy: { allowed_methods: [] }\n"));
    let refused = || (gateway.call(&get("/x", "")).status == 405).then_some(());
    eventually("the new policy holds", refused);
    gateway.configure(config(
        "policy: { allowed_methods: [GET], when: \"tru\" }\n",
    ));
    let told = gateway.cli(&[
        "config",
        "check",
        "--config",
        gateway.config_file().to_str().unwrap(),
    ]);
    let told =
        String::from_utf8_lossy(&told.stderr).into_owned() + &String::from_utf8_lossy(&told.stdout);
    assert!(
        told.contains("policy.when: column 1: there is no `tru`"),
        "{told}"
    );
}

// ID-110
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_request_is_explained_without_being_sent() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).set("policy.denied_models", "o3").start();
    let (id, _) = made(
        &gateway,
        &json!({"policy": {"allowed_methods": ["POST"]}, "limits": {"burst": 3}}),
    );
    let project = json!({"policy": {"allowed_endpoints": ["/v1"]}, "limits": {"concurrency": 4}});
    assert_eq!(
        gateway
            .api("PATCH", "/api/v1/projects/default", Some(&project))
            .0,
        200
    );
    let chat = "/v1/chat/completions";
    for (arguments, route, upstream, refused) in [
        (vec!["POST", chat], "POST /v1/chat/completions", "", ""),
        (
            vec!["POST", chat, "--model", "gpt-4o"],
            "POST /v1/chat/completions",
            "openai",
            "",
        ),
        (
            vec!["POST", chat, "--model", "openai/o3"],
            "POST /v1/chat/completions",
            "openai",
            "model_not_found",
        ),
        (
            vec!["POST", chat, "--model", "nothing"],
            "POST /v1/chat/completions",
            "",
            "model_not_found",
        ),
        (
            vec!["GET", "https://gateway.example/plain?a=b"],
            "ANY /plain",
            "origin",
            "",
        ),
        (
            vec!["GET", "/plain", "--token", &id],
            "ANY /plain",
            "origin",
            "method_not_allowed",
        ),
        (
            vec!["POST", "/plain", "--token", &id],
            "ANY /plain",
            "origin",
            "endpoint_not_found",
        ),
        (vec!["GET", chat], "", "", "method_not_allowed"),
        (vec!["GET", "/nowhere"], "", "", "endpoint_not_found"),
        (vec!["GET", "/a/../b"], "", "", "bad_request"),
        (vec!["get", "/plain"], "", "", "method_unknown"),
    ] {
        let arguments = [vec!["route", "explain"], arguments].concat();
        let output = gateway.cli(&arguments);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        let got = (text("route"), text("upstream"), text("refused"));
        assert_eq!(
            got,
            (route.into(), upstream.into(), refused.into()),
            "{arguments:?}"
        );
        if arguments.contains(&"--token") {
            assert_eq!(
                told["limits"],
                json!({"concurrency": 4, "burst": 3}),
                "{told}"
            );
            let on: Vec<_> = told["policies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|policy| policy["on"].clone())
                .collect();
            assert_eq!(on, ["settings", "project", "token"], "{told}");
        }
    }
    assert_eq!(origin.count(), 0, "nothing was sent");
    for (arguments, code) in [
        (["GET", "/x", "--token", "tid_x"], 4),
        (["GET", "/x", "--mode", "x"], 2),
    ] {
        let output = gateway.cli(&[vec!["route", "explain"], arguments.to_vec()].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}

// ID-90 ID-33
#[test]
fn a_policy_is_known_to_all_replicas_within_a_second() {
    use crate::replicas::{pair, routes, status};
    let (origin, server) = (Origin::plain(), tollkeep_testkit::Postgres::start());
    let gateways = pair(&server, &routes(&origin));
    let (id, token) = made(&gateways[0], &json!({}));
    eventually("the other replica knows the token", || {
        (status(&gateways[1], &token) == 200).then_some(())
    });
    for place in PLACES {
        put(&gateways[0], place, &id, &json!({"allowed_methods": []}));
        let began = Instant::now();
        assert_eq!(status(&gateways[0], &token), 405, "{place}");
        eventually("the other replica knows the policy", || {
            (status(&gateways[1], &token) == 405).then_some(())
        });
        assert!(
            began.elapsed() < Duration::from_secs(2).min(PATIENCE),
            "{place}"
        );
        put(&gateways[0], place, &id, &Value::Null);
        eventually("the other replica knows that it is gone", || {
            (status(&gateways[1], &token) == 200).then_some(())
        });
    }
}
