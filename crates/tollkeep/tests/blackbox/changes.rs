//! Changes of tokens, projects and tenants, in force on the next call.

use crate::callers::{answer, bearer, call_to, made, models, record_of};
use serde_json::{Value, json};
use std::process::Output;
use tollkeep_testkit::{Gateway, Origin};

fn patch(gateway: &Gateway, path: &str, members: &Value) -> (u16, Value) {
    gateway.api("PATCH", path, Some(members))
}

fn chat(gateway: &Gateway, token: &str) -> u16 {
    let call = call_to("/v1/chat/completions", &bearer(token), "hi");
    gateway.call(&call).status
}

fn served() -> (Origin, Gateway) {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    (origin, gateway)
}

// ID-3 ID-90
#[test]
fn every_member_of_a_token_is_written_shown_and_in_force_on_the_next_call() {
    let (_origin, gateway) = served();
    let (id, token) = made(&gateway, &json!({}));
    let path = format!("/api/v1/tokens/{id}");
    let members = json!({
        "name": "n", "owner": "alice", "idle_ttl": "2h", "max_requests": 50, "limits": {"burst": 9},
        "bindings": {"models": ["gpt-*"]}, "policy": {"allowed_models": ["gpt-4o"]},
        "permissions": ["usage.read"], "metadata": {"team": "a"}, "self_rotate": true,
    });
    let (status, changed) = patch(&gateway, &path, &members);
    assert_eq!(status, 200, "{changed}");
    let shown = record_of(&gateway, &id);
    for (name, value) in members.as_object().unwrap() {
        assert_eq!((&shown[name], &changed[name]), (value, value), "{name}");
    }
    let told = gateway.audit_line("the change", |line| line["action"] == "token.update");
    let want =
        "name,owner,max_requests,idle_ttl,limits,bindings,policy,permissions,self_rotate,metadata";
    assert_eq!(told["details"]["changed"], want, "{told}");
    for (change, back, status) in [
        (
            json!({"bindings": {"models": ["o3"]}}),
            json!({"bindings": null}),
            404,
        ),
        (
            json!({"bindings": {"ips": ["192.0.2.0/24"]}}),
            json!({"bindings": {}}),
            403,
        ),
        (
            json!({"policy": {"allowed_models": ["o3"]}}),
            json!({"policy": null}),
            404,
        ),
        (
            json!({"policy": {"allowed_methods": []}}),
            json!({"policy": {}}),
            405,
        ),
        (
            json!({"max_requests": 1}),
            json!({"max_requests": null}),
            429,
        ),
    ] {
        assert_eq!(chat(&gateway, &token), 200, "before {change}");
        assert_eq!(patch(&gateway, &path, &change).0, 200, "{change}");
        assert_eq!(chat(&gateway, &token), status, "{change}");
        assert_eq!(patch(&gateway, &path, &back).0, 200, "{back}");
    }
    let cleared = json!({"idle_ttl": null, "limits": null, "permissions": null, "metadata": null});
    let (_, cleared) = patch(&gateway, &path, &cleared);
    let left = [
        &cleared["idle_ttl"],
        &cleared["limits"],
        &cleared["permissions"],
        &cleared["metadata"],
    ];
    assert_eq!(left, [&Value::Null, &json!({}), &json!([]), &json!({})]);
    assert_eq!(cleared["owner"], "alice", "what is not named stays");
}

// ID-101
#[test]
fn what_can_not_be_taken_changes_nothing_and_is_told_with_its_place() {
    let (_origin, gateway) = served();
    let (id, _) = made(&gateway, &json!({"name": "before"}));
    let project = "/api/v1/projects/default";
    let (token, tenant) = (format!("/api/v1/tokens/{id}"), "/api/v1/tenants/default");
    for (path, members, place) in [
        (
            token.as_str(),
            json!({"permissions": ["root"]}),
            "/permissions",
        ),
        (
            &token,
            json!({"permissions": ["debug.routing"]}),
            "/permissions",
        ),
        (&token, json!({"self_rotate": 1}), "/self_rotate"),
        (&token, json!({"policy": {"when": "tru"}}), "/policy/when"),
        (&token, json!({"policy": {"max_n": 0}}), "/policy/max_n"),
        (&token, json!({"policy": []}), "/policy"),
        (
            &token,
            json!({"policy": {"param_whitelist": {"/~": ["x"]}}}),
            "/policy/param_whitelist/~1~0",
        ),
        (
            &token,
            json!({"bindings": {"models": []}}),
            "/bindings/models",
        ),
        (&token, json!({"limits": {"burst": 0}}), "/limits"),
        (&token, json!({"idle_ttl": "soon"}), "/idle_ttl"),
        (&token, json!({"budgets": []}), "/budgets"),
        (&token, json!({"project_id": "prj_x"}), "/project_id"),
        (
            &token,
            json!({"metadata": {"a": "x".repeat(5000)}}),
            "/metadata",
        ),
        (
            project,
            json!({"policy": {"allowed_origins": ["*"]}}),
            "/policy/allowed_origins",
        ),
        (tenant, json!({"status": "deleted"}), "/status"),
    ] {
        let mut members = members;
        members["name"] = "after".into();
        let (status, problem) = patch(&gateway, path, &members);
        assert_eq!(status, 422, "{members}: {problem}");
        assert_eq!(problem["errors"][0]["path"], place, "{members}: {problem}");
    }
    assert_eq!(record_of(&gateway, &id)["name"], "before");
    for path in [&token, project, tenant] {
        assert_eq!(patch(&gateway, path, &json!({})).0, 400, "{path}");
    }
    for (path, slug) in [(project, "A"), (tenant, "other")] {
        let status = patch(&gateway, path, &json!({ "slug": slug })).0;
        assert!(matches!(status, 409 | 422), "{path} {status}");
    }
}

// ID-3
#[test]
fn limits_of_project_and_tenant_bind_tokens_that_are_in_use() {
    let (_origin, gateway) = served();
    let (_, token) = made(&gateway, &json!({}));
    for path in ["/api/v1/projects/default", "/api/v1/tenants/default"] {
        assert_eq!(chat(&gateway, &token), 200, "{path}");
        let limits = json!({"requests_per_minute": 1, "burst": 1});
        let (status, told) = patch(
            &gateway,
            path,
            &json!({ "limits": limits, "metadata": {"a": "b"} }),
        );
        assert_eq!(
            (status, &told["limits"], &told["metadata"]),
            (200, &limits, &json!({"a": "b"}))
        );
        chat(&gateway, &token);
        assert_eq!(chat(&gateway, &token), 429, "{path}");
        assert_eq!(patch(&gateway, path, &json!({ "limits": null })).0, 200);
        assert_eq!(chat(&gateway, &token), 200, "{path}");
    }
}

// ID-3
#[test]
fn a_deleted_project_is_gone_with_its_tokens_and_its_name_is_free() {
    let (_origin, gateway) = served();
    let project = json!({ "name": "Team", "slug": "team" });
    let (_, made_project) = gateway.api("POST", "/api/v1/projects", Some(&project));
    let (id, token) = made(&gateway, &json!({ "project": "team" }));
    assert_eq!(chat(&gateway, &token), 200);
    assert_eq!(gateway.api("DELETE", "/manage/projects/team", None).0, 405);
    assert_eq!(gateway.api("DELETE", "/api/v1/projects/team", None).0, 204);
    assert_eq!(chat(&gateway, &token), 401);
    let path = format!("/api/v1/projects/{}", made_project["id"].as_str().unwrap());
    for (method, path) in [
        ("GET", path.as_str()),
        ("DELETE", &path),
        ("GET", "/api/v1/projects/team"),
    ] {
        assert_eq!(gateway.api(method, path, None).0, 404, "{method} {path}");
    }
    let record = record_of(&gateway, &id);
    assert_eq!(
        (&record["status"], &record["revoked_reason"]),
        (&json!("revoked"), &json!("the project was deleted"))
    );
    let listed = gateway.api("GET", "/api/v1/projects", None).1;
    assert!(!listed.to_string().contains("Team"), "{listed}");
    let again = gateway.api("POST", "/api/v1/projects", Some(&project));
    assert_eq!(again.0, 201, "{}", again.1);
    let line = gateway.audit_line("the deletion", |line| line["action"] == "project.delete");
    assert_eq!(line["details"]["revoked_count"], 1, "{line}");
    let gateway = gateway.restart().unwrap();
    assert_eq!(chat(&gateway, &token), 401);
}

// ID-4
#[test]
fn the_tokens_of_a_deleted_tenant_end_in_their_records_too() {
    let (_origin, gateway) = served();
    let (status, _) = gateway.api(
        "POST",
        "/api/v1/tenants",
        Some(&json!({ "name": "a", "metadata": {"x": "y"} })),
    );
    assert_eq!(status, 201);
    let project = json!({ "name": "p", "tenant": "a" });
    let (_, project) = gateway.api("POST", "/api/v1/projects", Some(&project));
    let (id, token) = made(&gateway, &json!({ "project": project["id"] }));
    assert_eq!(chat(&gateway, &token), 200);
    assert_eq!(gateway.api("DELETE", "/api/v1/tenants/a", None).0, 204);
    assert_eq!(chat(&gateway, &token), 401);
    assert_eq!(
        record_of(&gateway, &id)["revoked_reason"],
        "the tenant was deleted"
    );
}

fn done(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

// ID-110 ID-112
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn everything_is_changed_by_commands_too() {
    let (_origin, gateway) = served();
    let (id, _) = made(&gateway, &json!({}));
    let file = gateway.folder().join("policy.json");
    std::fs::write(&file, r#"{"denied_models":["o3"]}"#).unwrap();
    let from_file = format!("@{}", file.display());
    let cli = |arguments: &str| {
        let arguments: Vec<_> = arguments
            .split(' ')
            .map(|word| word.replace("ID", &id).replace("FILE", &from_file))
            .collect();
        gateway.cli(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let token = done(&cli(
        "token update ID --idle-ttl 2h --burst 3 --policy {\"allowed_models\":[\"gpt-*\"]} --bindings {\"methods\":[\"POST\"]} --permission usage.read --metadata team=a --owner bob --self-rotate true",
    ));
    assert_eq!(
        (&token["idle_ttl"], &token["limits"]),
        (&json!("2h"), &json!({"burst": 3}))
    );
    assert_eq!(
        (&token["policy"], &token["bindings"]),
        (
            &json!({"allowed_models": ["gpt-*"]}),
            &json!({"methods": ["POST"]})
        )
    );
    assert_eq!(
        (&token["permissions"], &token["metadata"], &token["owner"]),
        (&json!(["usage.read"]), &json!({"team": "a"}), &json!("bob"))
    );
    assert_eq!(token["self_rotate"], true);
    let token = done(&cli(
        "token update ID --idle-ttl none --no-limits --policy none --bindings none --permission none",
    ));
    assert_eq!(
        (&token["idle_ttl"], &token["limits"], &token["policy"]),
        (&Value::Null, &json!({}), &Value::Null)
    );
    assert_eq!(
        (&token["bindings"], &token["permissions"]),
        (&json!({}), &json!([]))
    );
    let project = done(&cli(
        "project create Team --policy FILE --metadata a=b --burst 2",
    ));
    assert_eq!(
        (&project["policy"], &project["metadata"]),
        (&json!({"denied_models": ["o3"]}), &json!({"a": "b"}))
    );
    let project = done(&cli(
        "project update team --slug crew --policy none --metadata c=d=e",
    ));
    assert_eq!(
        (&project["slug"], &project["policy"], &project["metadata"]),
        (&json!("crew"), &Value::Null, &json!({"c": "d=e"}))
    );
    done(&cli("project delete crew --yes"));
    let tenant = done(&cli(
        "tenant create Acme --policy FILE --requests-per-second 5",
    ));
    assert_eq!(
        (&tenant["policy"], &tenant["limits"]),
        (
            &json!({"denied_models": ["o3"]}),
            &json!({"requests_per_second": 5})
        )
    );
    let tenant = done(&cli(
        "tenant update acme --slug acme2 --name Acme2 --metadata a=b",
    ));
    assert_eq!(
        (&tenant["slug"], &tenant["name"], &tenant["metadata"]),
        (&json!("acme2"), &json!("Acme2"), &json!({"a": "b"}))
    );
    for (command, code, told) in [
        ("token update ID --policy {", 2, "--policy"),
        ("token update ID --policy @/nowhere", 2, "/nowhere"),
        ("token update ID --metadata x", 2, "NAME=VALUE"),
        ("token update ID --policy {\"max_n\":0}", 3, "max_n"),
        ("project delete nothing --yes", 4, ""),
        ("project delete default", 2, "--yes"),
    ] {
        let output = cli(command);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{command}: {text}");
        assert!(text.contains(told), "{command}: {text}");
    }
}
