//! Credentials of the store: which one a call goes out with, and what becomes of each.

use crate::fixture::{UPSTREAM_KEY, chat, gateway};
use crate::operators::{ask, code, key, made, tenant};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_testkit::{Gateway, Origin, Request, Step, with_fields};

pub(crate) const ONE: &str = "sk-one-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
pub(crate) const TWO: &str = "sk-two-Hn5tBq1wEz7rYk3mUj9xCs4vPd8gLa2o";
pub(crate) const BODY: &str = r#"{"model":"gpt-4o","messages":[]}"#;

/// The provider's key that a request came with.
fn shown(request: &Request) -> String {
    let field = request.field("authorization").unwrap_or_default();
    field.trim_start_matches("Bearer ").to_owned()
}

/// A provider that answers each key as `answer` says: a status and further field lines.
pub(crate) fn judging(
    answer: impl Fn(&str) -> (u16, &'static str) + Send + Sync + 'static,
) -> Origin {
    Origin::start(move |request| {
        let (status, fields) = answer(&shown(request));
        if status == 200 {
            return with_fields("content-type: application/json\r\n", b"{}");
        }
        let body = r#"{"error":{"message":"no","type":"x","code":null}}"#;
        let head = format!(
            "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![Step::Send(head.into_bytes())]
    })
}

/// A gateway before a provider `openai` that has no credential of its own.
pub(crate) fn bare(origin: &Origin, more: &str) -> Gateway {
    let url = origin.url();
    gateway(format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n{more}"
    ))
    .set("server.workers", "1")
    .start()
}

pub(crate) fn add(gateway: &Gateway, secret: &str, more: &Value) -> String {
    let mut body = json!({ "provider": "openai", "secret": secret });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    made(gateway, "/api/v1/credentials", &body)
}

fn one(gateway: &Gateway, id: &str) -> Value {
    let (status, found) = gateway.api("GET", &format!("/api/v1/credentials/{id}"), None);
    assert_eq!(status, 200, "{found}");
    found
}

fn act(gateway: &Gateway, id: &str, verb: &str, body: &Value) -> Value {
    let path = format!("/api/v1/credentials/{id}{verb}");
    let (status, found) = gateway.api("POST", &path, Some(body));
    assert_eq!(status, 200, "{found}");
    found
}

/// How often each key was shown in so many calls that were answered.
pub(crate) fn calls(
    gateway: &Gateway,
    origin: &Origin,
    token: &str,
    count: usize,
) -> BTreeMap<String, usize> {
    origin.forget();
    for _ in 0..count {
        let answer = gateway.call(&chat(token, BODY));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut by_key = BTreeMap::new();
    for request in origin.requests() {
        *by_key.entry(shown(&request)).or_insert(0) += 1;
    }
    by_key
}

pub(crate) fn counted(pairs: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, count)| ((*key).to_owned(), *count))
        .collect()
}

// ID-70 LLM-R3
#[test]
fn an_added_credential_serves_at_once_and_is_never_shown() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let token = gateway.mint_token(&json!({}));
    let none = gateway.call(&chat(&token, BODY));
    assert_eq!(
        (none.status, none.json()["error"]["code"].as_str()),
        (503, Some("credential_unavailable"))
    );
    let id = add(&gateway, ONE, &json!({ "label": "main" }));
    assert_eq!(calls(&gateway, &origin, &token, 2), counted(&[(ONE, 2)]));
    let found = one(&gateway, &id);
    for (member, want) in [
        ("provider", json!("openai")),
        ("type", json!("api_key")),
        ("label", json!("main")),
        ("priority", json!(0)),
        ("weight", json!(1)),
        ("status", json!("active")),
        ("project_id", Value::Null),
        ("cooldowns", json!([])),
        ("last_error_code", Value::Null),
    ] {
        assert_eq!(found[member], want, "{member}");
    }
    assert!(found["last_used_at"].is_string(), "{found}");
    assert!(!found.to_string().contains(ONE), "{found}");
    let hint = found["token_hint"].as_str().unwrap();
    assert!(hint.contains("****") && hint.len() < ONE.len(), "{hint}");
    let rotated = act(&gateway, &id, "/rotate", &json!({ "secret": TWO }));
    assert_ne!(rotated["token_hint"], found["token_hint"]);
    assert_eq!(calls(&gateway, &origin, &token, 2), counted(&[(TWO, 2)]));
    let gateway = gateway.restart().unwrap();
    assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(TWO, 1)]));
    let gone = gateway.api("DELETE", &format!("/api/v1/credentials/{id}"), None);
    assert_eq!(gone.0, 204);
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 503);
    assert_eq!(
        gateway
            .api("DELETE", &format!("/api/v1/credentials/{id}"), None)
            .0,
        404
    );
}

// ID-70 LLM-R16
#[test]
fn credentials_take_turns_by_weight_within_the_highest_priority() {
    let origin = judging(|_| (200, ""));
    let own = format!("    credentials: [{{ secret: {UPSTREAM_KEY} }}]\n");
    let gateway = bare(&origin, &own);
    let token = gateway.mint_token(&json!({}));
    let first = add(&gateway, ONE, &json!({ "weight": 3 }));
    let by_weight = counted(&[(ONE, 6), (UPSTREAM_KEY, 2)]);
    assert_eq!(
        calls(&gateway, &origin, &token, 8),
        by_weight,
        "beside the file's"
    );
    let second = add(&gateway, TWO, &json!({ "priority": 5 }));
    assert_eq!(calls(&gateway, &origin, &token, 3), counted(&[(TWO, 3)]));
    let off = act(&gateway, &second, "/disable", &json!({}));
    assert_eq!(off["status"], "disabled");
    assert_eq!(calls(&gateway, &origin, &token, 8), by_weight);
    act(&gateway, &second, "/enable", &json!({}));
    assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(TWO, 1)]));
    let path = format!("/api/v1/credentials/{second}");
    let change = json!({ "weight": 0 });
    assert_eq!(gateway.api("PATCH", &path, Some(&change)).0, 200);
    assert_eq!(
        calls(&gateway, &origin, &token, 8),
        by_weight,
        "0 leaves it out"
    );
    act(&gateway, &first, "/cooldown", &json!({ "duration": "1h" }));
    assert_eq!(one(&gateway, &first)["status"], "cooling");
    assert_eq!(
        calls(&gateway, &origin, &token, 2),
        counted(&[(UPSTREAM_KEY, 2)])
    );
    let path = format!("/api/v1/credentials/{first}/cooldown");
    assert_eq!(gateway.api("DELETE", &path, None).0, 200);
    assert_eq!(calls(&gateway, &origin, &token, 8), by_weight);
}

// ID-70
#[test]
fn a_credential_serves_its_tenant_project_and_models_alone() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let other = tenant(&gateway, "other");
    let project = |name: &str, tenant: &str| {
        let body = json!({ "name": name, "tenant": tenant });
        made(&gateway, "/api/v1/projects", &body)
    };
    let (own, beside) = (project("own", "default"), project("beside", "default"));
    let foreign = project("foreign", &other);
    let token = |project: &str| gateway.mint_token(&json!({ "project": project }));
    let (own_token, beside_token, foreign_token) = (token(&own), token(&beside), token(&foreign));
    add(&gateway, ONE, &json!({ "project": own }));
    assert_eq!(
        calls(&gateway, &origin, &own_token, 1),
        counted(&[(ONE, 1)])
    );
    for token in [&beside_token, &foreign_token] {
        assert_eq!(gateway.call(&chat(token, BODY)).status, 503);
    }
    let models = json!([{ "name": "gpt-4o-2024", "alias": "gpt-4o" }, { "name": "o3*" }]);
    add(
        &gateway,
        TWO,
        &json!({ "models": models, "excluded_models": ["o3-pro"] }),
    );
    assert_eq!(
        calls(&gateway, &origin, &beside_token, 1),
        counted(&[(TWO, 1)])
    );
    let sent: Value = serde_json::from_slice(&origin.last().body).unwrap();
    assert_eq!(sent["model"], "gpt-4o-2024");
    for (model, status) in [("o3-mini", 200), ("o3-pro", 503), ("gpt-5", 503)] {
        let body = BODY.replace("gpt-4o", model);
        let answer = gateway.call(&chat(&beside_token, &body));
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
    }
    assert_eq!(gateway.call(&chat(&foreign_token, BODY)).status, 503);
}

// LLM-R40 LLM-R42 LLM-R50 LLM-R52
#[test]
fn a_refused_credential_is_left_alone_and_another_asked_at_once() {
    for (name, status, fields, reason) in [
        ("refused", 401, "", "auth"),
        ("not paid for", 402, "", "billing"),
        ("too many calls", 429, "retry-after: 60\r\n", "rate_limit"),
        ("overloaded", 529, "", "overload"),
    ] {
        let origin = judging(move |key| match key {
            ONE => (status, fields),
            _ => (200, ""),
        });
        let gateway = bare(&origin, "");
        let token = gateway.mint_token(&json!({}));
        let bad = add(&gateway, ONE, &json!({ "priority": 1 }));
        let good = add(&gateway, TWO, &json!({}));
        assert_eq!(
            calls(&gateway, &origin, &token, 3),
            counted(&[(ONE, 1), (TWO, 3)]),
            "{name}"
        );
        let found = one(&gateway, &bad);
        assert_eq!(found["last_error_code"], reason, "{name}: {found}");
        assert_eq!(found["cooldowns"][0]["reason"], reason, "{name}: {found}");
        let forbids = reason != "overload";
        assert_eq!(found["status"] == "cooling", forbids, "{name}: {found}");
        act(&gateway, &good, "/disable", &json!({}));
        origin.forget();
        let answer = gateway.call(&chat(&token, BODY));
        let (want, asked) = match reason {
            "rate_limit" => ((429, "model_cooldown"), 0),
            "overload" => ((503, "overloaded"), 1),
            _ => ((503, "credential_unavailable"), 0),
        };
        let told = answer.json()["error"]["code"].as_str().map(str::to_owned);
        assert_eq!(
            (answer.status, told.as_deref()),
            (want.0, Some(want.1)),
            "{name}"
        );
        assert_eq!(origin.count(), asked, "{name}");
        let path = format!("/api/v1/credentials/{bad}/cooldown");
        assert_eq!(gateway.api("DELETE", &path, None).0, 200, "{name}");
        gateway.call(&chat(&token, BODY));
        assert_eq!(origin.count(), asked + 1, "{name}: tried again");
    }
}

// LLM-R53
#[test]
fn a_provider_without_cooling_is_asked_on_whatever_it_says() {
    let origin = judging(|_| (401, ""));
    for (name, more, asked) in [
        ("it cools", "    credentials: [{ secret: none }]\n", 1),
        (
            "no credential of it does",
            "    disable_cooling: true\n    credentials: [{ secret: none }]\n",
            4,
        ),
        (
            "this one does not",
            "    credentials: [{ secret: none, disable_cooling: true }]\n",
            4,
        ),
    ] {
        origin.forget();
        let gateway = bare(&origin, more);
        let token = gateway.mint_token(&json!({}));
        for _ in 0..4 {
            assert_eq!(gateway.call(&chat(&token, BODY)).status, 503, "{name}");
        }
        assert_eq!(origin.count(), asked, "{name}");
    }
}

// LLM-R1
#[test]
fn credentials_of_the_file_serve_whom_they_are_for() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(
        &origin,
        "    credentials:
      - { secret: sk-of-project, project: own, priority: 9 }
      - { secret: sk-switched-off, enabled: false, priority: 8 }
      - { secret: sk-of-models, models: [\"o3*\"], excluded_models: [o3-pro], priority: 5 }
      - { secret: sk-of-tenant, priority: 4 }
      - { secret: sk-of-all, tenant: \"*\", priority: 3 }\n",
    );
    let other = tenant(&gateway, "other");
    let project = |name: &str, tenant: &str| {
        let body = json!({ "name": name, "tenant": tenant });
        made(&gateway, "/api/v1/projects", &body)
    };
    for (project, model, want) in [
        (project("own", "default"), "gpt-4o", "sk-of-project"),
        (project("beside", "default"), "gpt-4o", "sk-of-tenant"),
        (project("more", "default"), "o3-mini", "sk-of-models"),
        (project("much more", "default"), "o3-pro", "sk-of-tenant"),
        (project("foreign", &other), "gpt-4o", "sk-of-all"),
    ] {
        let token = gateway.mint_token(&json!({ "project": project }));
        let answer = gateway.call(&chat(&token, &BODY.replace("gpt-4o", model)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(shown(&origin.last()), want, "{model}");
    }
}

// ID-71
#[test]
#[expect(clippy::too_many_lines, reason = "two tables")]
fn what_is_no_secret_is_refused_and_not_told_back() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    for (name, member, secret, status, want) in [
        (
            "masked by us",
            "secret",
            "sk-AbCd****wXyZ",
            400,
            "looks_masked",
        ),
        (
            "masked by others",
            "secret",
            "sk-AbCd…wXyZ",
            400,
            "looks_masked",
        ),
        ("cut", "secret", "sk-AbCd...", 400, "looks_masked"),
        (
            "a placeholder",
            "secret",
            "your-api-key-here",
            422,
            "invalid",
        ),
        ("with a blank", "secret", "sk-AbCd wXyZ", 422, "invalid"),
        ("empty", "secret", "", 422, "invalid"),
    ] {
        let body = json!({ "provider": "openai", member: secret });
        let (got, told) = gateway.api("POST", "/api/v1/credentials", Some(&body));
        assert_eq!((got, told["code"].as_str()), (status, Some(want)), "{name}");
        assert!(
            secret.is_empty() || !told.to_string().contains(secret),
            "{name}"
        );
        let body = json!({ "provider": "openai", "type": "api_key", "token": secret });
        let (got, _) = gateway.api("POST", "/v0/management/auths", Some(&body));
        assert_eq!(got, status, "{name}, as an auth");
    }
    for (body, status, want) in [
        (
            json!({ "provider": "openai", "secret": ONE, "type": "oauth_client" }),
            400,
            "unsupported_credential_type",
        ),
        (
            json!({ "provider": "nobody", "secret": ONE }),
            422,
            "invalid",
        ),
        (json!({ "secret": ONE }), 422, "invalid"),
        (
            json!({ "provider": "openai", "secret": ONE, "base_url": "https://10.0.0.1" }),
            422,
            "egress_refused",
        ),
        (
            json!({ "provider": "openai", "secret": ONE, "project": "nobody" }),
            404,
            "not_found",
        ),
        (
            json!({ "provider": "openai", "secret": ONE, "weight": 1_000_001 }),
            422,
            "invalid",
        ),
    ] {
        let (got, told) = gateway.api("POST", "/api/v1/credentials", Some(&body));
        assert_eq!(
            (got, told["code"].as_str()),
            (status, Some(want)),
            "{body}: {told}"
        );
    }
    assert_eq!(
        gateway.api("GET", "/api/v1/credentials", None).1["data"],
        json!([])
    );
}

// ID-71
#[test]
fn a_test_tells_the_class_of_the_answer_and_how_long_it_took() {
    let origin = judging(|key| match key {
        ONE => (200, ""),
        _ => (403, ""),
    });
    let gateway = bare(&origin, "");
    let id = add(&gateway, ONE, &json!({}));
    let test = |id: &str| act(&gateway, id, "/test", &json!({}));
    let good = test(&id);
    assert_eq!(
        (&good["status_class"], &good["problem"]),
        (&json!("2xx"), &Value::Null)
    );
    assert!(good["latency_ms"].as_u64().unwrap() < 10_000);
    assert_eq!(good.as_object().unwrap().len(), 3, "{good}");
    let asked = origin.last();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("GET", "/v1/models")
    );
    assert_eq!(shown(&asked), ONE);
    let bad = test(&add(&gateway, TWO, &json!({ "disabled": true })));
    assert_eq!(bad["status_class"], "4xx");
    drop(origin);
    let nobody = test(&id);
    assert_eq!(
        (&nobody["status_class"], &nobody["problem"]),
        (&Value::Null, &json!("connect"))
    );
}

// ID-70 LLM-R3
#[test]
fn the_auths_of_cliproxyapi_are_the_same_credentials() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let token = gateway.mint_token(&json!({}));
    let post = |token: &str, priority: i64| {
        let body =
            json!({ "provider": "codex", "type": "api_key", "token": token, "priority": priority });
        gateway.api("POST", "/v0/management/auths", Some(&body))
    };
    let (status, first) = post(ONE, 2);
    assert_eq!(status, 201, "{first}");
    let members: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
    let want = ["id", "provider", "type", "priority", "status", "token_hint"];
    assert_eq!(members, want);
    assert_eq!(
        (&first["provider"], &first["priority"]),
        (&json!("openai"), &json!(2))
    );
    assert_eq!(one(&gateway, first["id"].as_str().unwrap())["priority"], -2);
    assert_eq!(post(TWO, 1).0, 201);
    assert_eq!(
        calls(&gateway, &origin, &token, 2),
        counted(&[(TWO, 2)]),
        "lower first"
    );
    let (status, again) = post(ONE, 2);
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    let list = |path: &str| {
        gateway.api("GET", path, None).1["auths"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(list("/v0/management/auths"), 2);
    assert_eq!(list("/v0/management/auths?provider=openai"), 2);
    assert_eq!(list("/v0/management/auths/codex"), 2);
    let delete = |path: &str| gateway.api("DELETE", &format!("/v0/management/auths/{path}"), None);
    assert_eq!(delete("nobody").0, 404);
    assert_eq!(
        delete(&format!("openai?id={TWO}")),
        (200, json!({ "deleted": 1 }))
    );
    assert_eq!(delete(&format!("openai?id={TWO}")).0, 404);
    assert_eq!(calls(&gateway, &origin, &token, 1), counted(&[(ONE, 1)]));
    assert_eq!(delete("openai"), (200, json!({ "deleted": 1 })));
    assert_eq!(delete("openai"), (200, json!({ "deleted": 0 })));
    assert!(!gateway.stderr().contains(TWO));
}

// LLM-R3
#[test]
fn a_secret_goes_nowhere_but_where_it_was_given_for() {
    let (origin, thief) = (judging(|_| (200, "")), judging(|_| (200, "")));
    let config = |origin: &Origin| {
        let url = origin.url();
        format!(
            "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n"
        )
    };
    let gateway = gateway(config(&origin)).start();
    let token = gateway.mint_token(&json!({}));
    let id = add(&gateway, ONE, &json!({}));
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 200);
    gateway.configure(config(&thief));
    assert_eq!(
        gateway
            .api("POST", "/api/v1/config/reload", Some(&json!({})))
            .0,
        200
    );
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 503);
    assert_eq!(one(&gateway, &id)["status"], "unbound");
    let path = format!("/api/v1/credentials/{id}/test");
    let (status, told) = gateway.api("POST", &path, Some(&json!({})));
    assert_eq!((status, &told["code"]), (409, &json!("credential_unbound")));
    assert_eq!(thief.count(), 0);
    act(&gateway, &id, "/rotate", &json!({ "secret": ONE }));
    assert_eq!(gateway.call(&chat(&token, BODY)).status, 200);
    assert_eq!(thief.count(), 1);
}

// ID-54 ID-70
#[test]
fn a_tenants_key_sees_and_changes_its_own_credentials_alone() {
    let origin = judging(|_| (200, ""));
    let gateway = bare(&origin, "");
    let tenant = tenant(&gateway, "a");
    let own = json!({ "name": "k", "role": "tenant-admin", "tenant_id": tenant });
    let (_, own) = key(&gateway, &own);
    let foreign = add(&gateway, ONE, &json!({}));
    let start = |verb: &str, id: &str| format!("{verb} /api/v1/credentials/{id}");
    assert_eq!(
        ask(&gateway, &own, &start("GET", &foreign), None).status,
        404
    );
    assert_eq!(
        ask(&gateway, &own, &start("DELETE", &foreign), None).status,
        404
    );
    let auths = "DELETE /v0/management/auths/openai";
    assert_eq!(
        ask(&gateway, &own, auths, None).json(),
        json!({ "deleted": 0 })
    );
    let body = json!({ "provider": "openai", "secret": ONE });
    let added = ask(&gateway, &own, "POST /api/v1/credentials", Some(&body));
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(added.json()["tenant_id"], json!(tenant));
    let listed = ask(&gateway, &own, "GET /api/v1/credentials", None).json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let listed = gateway.api("GET", "/api/v1/credentials", None).1;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let viewer = json!({ "name": "v", "role": "viewer" });
    let (_, viewer) = key(&gateway, &viewer);
    let refused = ask(&gateway, &viewer, "POST /api/v1/credentials", Some(&body));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (403, "forbidden")
    );
}

// ID-70 ID-62 AUD-32
#[test]
fn each_act_is_recorded_and_no_file_holds_the_secret() {
    let origin = judging(|key| if key == ONE { (401, "") } else { (200, "") });
    let gateway = bare(&origin, "");
    let token = gateway.mint_token(&json!({}));
    let id = add(&gateway, ONE, &json!({}));
    gateway.call(&chat(&token, BODY));
    act(&gateway, &id, "/test", &json!({}));
    act(&gateway, &id, "/disable", &json!({}));
    act(&gateway, &id, "/enable", &json!({}));
    act(&gateway, &id, "/cooldown", &json!({}));
    act(&gateway, &id, "/rotate", &json!({ "secret": TWO }));
    let again = json!({ "provider": "openai", "secret": TWO });
    assert_eq!(
        gateway.api("POST", "/api/v1/credentials", Some(&again)).0,
        200
    );
    let path = format!("/api/v1/credentials/{id}");
    gateway.api("PATCH", &path, Some(&json!({ "label": "x" })));
    gateway.api("GET", &path, None);
    gateway.api("GET", "/api/v1/credentials", None);
    gateway.api("DELETE", &path, None);
    for action in [
        "create", "test", "disable", "enable", "cooldown", "rotate", "refresh", "update", "read",
        "list", "delete",
    ] {
        let action = format!("credential.{action}");
        let line = gateway.audit_line(&action, |line| line["action"] == action.as_str());
        if action != "credential.list" {
            assert_eq!(line["details"]["name"], json!(id), "{line}");
            assert_eq!(line["details"]["provider"], "openai", "{line}");
        }
    }
    let mut gateway = gateway;
    gateway.kill();
    let mut found = 0;
    for file in walkdir(gateway.folder()) {
        let bytes = std::fs::read(&file).unwrap();
        found += usize::from(bytes.windows(id.len()).any(|part| part == id.as_bytes()));
        for secret in [ONE, TWO] {
            let (start, end) = secret.split_at(secret.len() / 2);
            for part in [start, end] {
                let holds = bytes.windows(part.len()).any(|one| one == part.as_bytes());
                assert!(!holds, "{}", file.display());
            }
        }
    }
    assert!(found > 1, "the search finds what is there");
}

fn walkdir(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walkdir(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}
