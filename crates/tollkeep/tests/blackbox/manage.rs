//! Projects and tokens as llm-proxy's clients ask for them.

use crate::callers::{assert_unauthenticated, bearer, chat, models, served};
use crate::operators::ask;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin};

fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    gateway.api(method, path, Some(body))
}

/// The names of an object's members, in their order.
fn members(object: &Value) -> Vec<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn projects_are_managed_in_the_shapes_of_llm_proxy() {
    let gateway = models(&Origin::plain()).start();
    let made = json!({ "name": "Team A" });
    let (status, project) = call(&gateway, "POST", "/manage/projects", &made);
    assert_eq!(status, 201, "{project}");
    let want = [
        "id",
        "name",
        "api_key",
        "is_active",
        "deactivated_at",
        "created_at",
        "updated_at",
    ];
    assert_eq!(members(&project), want);
    assert_eq!(call(&gateway, "POST", "/manage/projects", &made).0, 409);
    let (_, list) = gateway.api("GET", "/manage/projects", None);
    assert_eq!(list.as_array().unwrap().len(), 2, "a bare list: {list}");
    let path = format!("/manage/projects/{}", project["id"].as_str().unwrap());
    assert_eq!(gateway.api("GET", &path, None).1, project);
    for (body, status) in [
        (json!({}), 400),
        (json!({ "revoke_tokens": true }), 400),
        (json!({ "is_active": true, "revoke_tokens": true }), 400),
        (json!({ "api_key": "sk-AbCd****wXyZ" }), 400),
        (json!({ "is_active": false, "revoke_tokens": true }), 200),
    ] {
        let (told, answer) = call(&gateway, "PATCH", &path, &body);
        assert_eq!(told, status, "{body}: {answer}");
        if status >= 400 {
            assert_eq!(
                answer["error"], answer["detail"],
                "their clients look there"
            );
        } else {
            assert!(answer["deactivated_at"].is_string(), "{answer}");
        }
    }
    let refused = ask(&gateway, MANAGEMENT_KEY, &format!("DELETE {path}"), None);
    assert_eq!(
        (refused.status, refused.field("allow")),
        (405, Some("GET, HEAD, PATCH"))
    );
    let token = json!({ "project_id": project["id"], "duration_minutes": 5 });
    let (status, problem) = call(&gateway, "POST", "/manage/tokens", &token);
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("project_inactive"))
    );
}

#[test]
fn tokens_are_managed_in_the_shapes_of_llm_proxy() {
    let (_origin, gateway, _) = served();
    let (_, projects) = gateway.api("GET", "/manage/projects", None);
    let project = projects[0]["id"].clone();
    for (body, status) in [
        (json!({ "project_id": project }), 422),
        (json!({ "project_id": project, "duration_minutes": 0 }), 422),
        (
            json!({ "project_id": project, "duration_minutes": 525_601 }),
            422,
        ),
        (json!({ "project_id": "prj_x", "duration_minutes": 5 }), 404),
    ] {
        let (told, answer) = call(&gateway, "POST", "/manage/tokens", &body);
        assert_eq!(told, status, "{body}: {answer}");
    }
    let body = json!({ "project_id": project, "duration_minutes": 5, "max_requests": 1 });
    let (status, made) = call(&gateway, "POST", "/manage/tokens", &body);
    assert_eq!(status, 201, "{made}");
    assert_eq!(
        members(&made),
        ["id", "token", "expires_at", "max_requests"]
    );
    let text = made["token"].as_str().unwrap().to_owned();
    let chat = || gateway.call(&chat(&bearer(&text), "hi"));
    assert_eq!([chat().status, chat().status], [200, 429]);
    let path = format!("/manage/tokens/{}", made["id"].as_str().unwrap());
    let (_, shown) = gateway.api("GET", &path, None);
    assert!(!shown.to_string().contains(&text), "masked: {shown}");
    assert_eq!(call(&gateway, "PATCH", &path, &json!({})).0, 400);
    let patch = |body: Value| call(&gateway, "PATCH", &path, &body).1;
    assert_eq!(
        patch(json!({ "max_requests": 0 }))["max_requests"],
        Value::Null
    );
    assert_eq!(chat().status, 200, "any number of calls now");
    assert_eq!(patch(json!({ "is_active": false }))["is_active"], false);
    assert_unauthenticated("switched off", &chat());
    assert_eq!(patch(json!({ "is_active": true }))["is_active"], true);
    assert_eq!(chat().status, 200);
    let listed = |query: &str| {
        let (status, list) = gateway.api("GET", &format!("/manage/tokens{query}"), None);
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().len()
    };
    assert_eq!(
        [
            listed(""),
            listed("?activeOnly=true"),
            listed("?projectId=default")
        ],
        [2, 2, 2]
    );
    for _ in 0..2 {
        assert_eq!(gateway.api("DELETE", &path, None).0, 204);
    }
    assert_unauthenticated("deleted", &chat());
    assert_eq!([listed(""), listed("?active_only=true")], [2, 1]);
}

#[test]
fn a_token_is_changed_from_its_next_call_on() {
    let (_origin, gateway, _) = served();
    let (id, text) = crate::callers::made(&gateway, &json!({ "max_requests": 1 }));
    let chat = || gateway.call(&chat(&bearer(&text), "hi")).status;
    assert_eq!([chat(), chat()], [200, 429]);
    let run = |command: &str| {
        let done = gateway.cli(&command.split(' ').collect::<Vec<_>>());
        assert!(done.status.success(), "{command}: {done:?}");
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    let changed = run(&format!(
        "token update {id} --max-requests 2 --name ci --owner ops --ttl 1h"
    ));
    assert_eq!(
        (
            &changed["max_requests"],
            &changed["name"],
            &changed["owner"]
        ),
        (&json!(2), &json!("ci"), &json!("ops"))
    );
    assert_eq!([chat(), chat()], [200, 429], "its count was not refilled");
    assert_eq!(run(&format!("token suspend {id}"))["status"], "suspended");
    assert_eq!(run(&format!("token resume {id}"))["status"], "active");
    let path = format!("/api/v1/tokens/{id}");
    for (body, status) in [
        (json!({}), 400),
        (json!({ "expires_at": null }), 422),
        (json!({ "ttl": "366d" }), 422),
        (json!({ "budgets": [] }), 422),
    ] {
        assert_eq!(call(&gateway, "PATCH", &path, &body).0, status, "{body}");
    }
    run(&format!("token revoke {id} --yes"));
    assert_eq!(
        call(&gateway, "PATCH", &path, &json!({ "name": "x" })).0,
        409
    );
}

// ID-114
#[test]
fn the_commands_of_llm_proxy_work() {
    let gateway = models(&Origin::plain()).start();
    let run = |command: &str| gateway.cli(&command.split(' ').collect::<Vec<_>>());
    let done = |command: &str| {
        let done = run(command);
        assert!(done.status.success(), "{command}: {done:?}");
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    let project = done("manage project create --name Team");
    let id = project["id"].as_str().unwrap();
    assert_eq!(done("manage project list").as_array().unwrap().len(), 2);
    assert_eq!(done(&format!("manage project get {id}"))["name"], "Team");
    let changed = done(&format!(
        "manage project update {id} --name Other --is-active true"
    ));
    assert_eq!(changed["name"], "Other");
    let generate =
        format!("manage token generate --project-id {id} --duration 60 --max-requests 9 --json");
    let token = done(&generate);
    assert!(
        token["token"].as_str().unwrap().starts_with("tok-"),
        "{token}"
    );
    assert_eq!(token["max_requests"], 9);
    let url = format!("http://{}", gateway.management());
    let by_key = run(&format!(
        "manage project list --manage-api-base-url {url} --management-token {MANAGEMENT_KEY}"
    ));
    assert!(by_key.status.success(), "{by_key:?}");
    let warned = String::from_utf8(by_key.stderr).unwrap();
    assert!(warned.contains("list of processes"), "{warned}");
    assert!(!warned.contains(MANAGEMENT_KEY));
    let done = run("manage cache purge --all");
    assert_eq!(done.status.code(), Some(3));
    let why = String::from_utf8(done.stderr).unwrap();
    assert!(why.contains("caching is disabled"), "{why}");
}
