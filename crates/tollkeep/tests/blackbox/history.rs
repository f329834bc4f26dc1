//! The audit log as operators ask for it, and as it proves itself.

use crate::callers::{bearer, chat, models, served};
use crate::operators::{ask, code, key, made, tenant};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::Write;
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, eventually};

fn get(gateway: &Gateway, by: &str, path: &str) -> Value {
    let answer = ask(gateway, by, &format!("GET {path}"), None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn actions(list: &Value) -> Vec<&str> {
    let events = list.as_array().unwrap().iter();
    events
        .map(|event| event["action"].as_str().unwrap())
        .collect()
}

// AUD-71
#[test]
fn events_are_found_by_what_they_say_the_last_first() {
    let (_origin, gateway, token) = served();
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    for name in ["a", "b"] {
        made(&gateway, "/api/v1/projects", &json!({ "name": name }));
    }
    eventually("the call is recorded", || {
        let list = get(
            &gateway,
            MANAGEMENT_KEY,
            "/api/v1/audit?action=proxy_request",
        );
        (list["data"].as_array().unwrap().len() == 1).then_some(())
    });
    let of = |query: &str| {
        get(&gateway, MANAGEMENT_KEY, &format!("/api/v1/audit?{query}"))["data"].clone()
    };
    assert_eq!(
        actions(&of("action=project.create,token.create")),
        ["project.create", "project.create", "token.create"]
    );
    assert_eq!(
        actions(&of("action=token.*&outcome=success&class=management")),
        ["token.create"]
    );
    assert_eq!(
        actions(&of("action=project.create&project_id=a")),
        ["project.create"]
    );
    assert_eq!(
        of("action=project.create&start_time=2100-01-01T00:00:00Z"),
        json!([])
    );
    assert_eq!(
        of("action=project.create&end_time=2000-01-01T00:00:00Z"),
        json!([])
    );
    assert_eq!(
        actions(&of("path=/api/v1/proj*&method=POST")),
        ["project.create", "project.create"]
    );
    assert_eq!(of("client_ip=192.0.2.9"), json!([]));
    assert_eq!(of("search=PROXY_request")[0]["action"], "proxy_request");
    let event = of("action=proxy_request")[0].clone();
    let one = get(
        &gateway,
        MANAGEMENT_KEY,
        &format!("/api/v1/audit/{}", event["id"].as_str().unwrap()),
    );
    assert_eq!(one, event, "as it is in the file");
    assert!(gateway.audit_lines().contains(&one));
    for (query, want) in [
        ("start_time=yesterday", 400),
        ("limit=201", 400),
        ("limit=0", 400),
        ("cursor=0.1.00", 400),
        ("colour=red", 400),
        ("project_id=nobody", 404),
    ] {
        let refused = ask(
            &gateway,
            MANAGEMENT_KEY,
            &format!("GET /api/v1/audit?{query}"),
            None,
        );
        assert_eq!(refused.status, want, "{query}: {}", refused.text());
    }
    let missing = "GET /api/v1/audit/evt_00000000000070008000000000000000";
    assert_eq!(ask(&gateway, MANAGEMENT_KEY, missing, None).status, 404);
}

// AUD-71 ID-103
#[test]
fn pages_of_events_are_whole_while_more_are_written() {
    let gateway = models(&Origin::plain()).start();
    for number in 0..25 {
        made(
            &gateway,
            "/api/v1/projects",
            &json!({ "name": format!("p{number}") }),
        );
    }
    let (mut seen, mut behind) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit?action=project.create&limit=4{behind}");
        // Each reading is itself an event, written behind the cursor.
        let page = get(&gateway, MANAGEMENT_KEY, &path);
        let events = page["data"].as_array().unwrap();
        assert!(events.len() <= 4);
        seen.extend(events.iter().map(|event| event["seq"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(cursor) => behind = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted_by(|one, next| one > next), "{seen:?}");
    let other = ask(
        &gateway,
        MANAGEMENT_KEY,
        &format!("GET /api/v1/audit?limit=4{behind}"),
        None,
    );
    assert_eq!(
        (other.status, code(&other)),
        (400, "bad_cursor".to_owned()),
        "of another list"
    );
    // As llm-proxy pages.
    let page = |query: &str| {
        get(
            &gateway,
            MANAGEMENT_KEY,
            &format!("/manage/audit?action=project.create&{query}"),
        )
    };
    let third = page("page=3&page_size=10");
    assert_eq!(third["events"].as_array().unwrap().len(), 5);
    assert_eq!(
        third["pagination"],
        json!({ "page": 3, "page_size": 10, "total_count": 25, "total_capped": false,
            "total_pages": 3, "has_next": false, "has_prev": true })
    );
    let first = page("");
    assert_eq!(first["events"].as_array().unwrap().len(), 20);
    let event = &first["events"][0];
    assert_eq!(
        (
            &event["outcome"],
            &event["method"],
            &event["path"],
            &event["metadata"]["endpoint"]
        ),
        (
            &json!("success"),
            &json!("POST"),
            &json!("/api/v1/projects"),
            &json!("/api/v1/projects")
        )
    );
    let path = format!("/manage/audit/{}", event["id"].as_str().unwrap());
    assert_eq!(get(&gateway, MANAGEMENT_KEY, &path), *event);
    assert_eq!(page("page=999999")["events"], json!([]));
}

// AUD-71 ID-54
#[test]
fn a_key_of_one_tenant_sees_that_tenants_events_alone() {
    let gateway = models(&Origin::plain()).start();
    let (a, b) = (tenant(&gateway, "a"), tenant(&gateway, "b"));
    for tenant in [&a, &b] {
        made(
            &gateway,
            "/api/v1/projects",
            &json!({ "name": "p", "tenant": tenant }),
        );
    }
    let members = json!({ "name": "k", "role": "viewer", "tenant_id": a });
    let (_, own) = key(&gateway, &members);
    let list = get(&gateway, &own, "/api/v1/audit");
    let events = list["data"].as_array().unwrap();
    assert!(events.len() >= 2, "{list}");
    assert!(events.iter().all(|event| event["tenant_id"] == a), "{list}");
    let foreign = get(
        &gateway,
        MANAGEMENT_KEY,
        "/api/v1/audit?action=project.create",
    );
    let foreign = foreign["data"].as_array().unwrap().iter();
    let foreign = foreign
        .clone()
        .find(|event| event["tenant_id"] == b)
        .unwrap();
    let id = foreign["id"].as_str().unwrap();
    for path in [format!("/api/v1/audit/{id}"), format!("/manage/audit/{id}")] {
        assert_eq!(
            ask(&gateway, &own, &format!("GET {path}"), None).status,
            404,
            "{path}"
        );
    }
    let counted = get(&gateway, &own, &format!("/manage/audit?search={b}"));
    assert_eq!(counted["pagination"]["total_count"], 0);
}

// AUD-71
#[test]
fn without_a_file_to_read_there_is_nothing_to_list() {
    let gateway = models(&Origin::plain())
        .set("audit.enabled", "false")
        .start();
    for path in ["/api/v1/audit", "/manage/audit"] {
        let refused = ask(&gateway, MANAGEMENT_KEY, &format!("GET {path}"), None);
        assert_eq!(
            (refused.status, code(&refused)),
            (503, "audit_db_disabled".to_owned())
        );
    }
}

// AUD-50 AUD-72
#[test]
fn the_command_lists_events_and_tells_a_file_that_was_edited() {
    let gateway = models(&Origin::plain()).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    let run = |arguments: &[&str]| {
        let done = gateway.cli(arguments);
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        (
            done.status.code(),
            serde_json::from_str::<Value>(&told).unwrap_or(Value::Null),
        )
    };
    let (done, list) = run(&["audit", "list", "--since", "2h", "--action", "project.*"]);
    assert_eq!(
        (done, actions(&list["data"])),
        (Some(0), vec!["project.create"])
    );
    let (_, none) = run(&["audit", "list", "--since", "2h", "--result", "failure"]);
    assert_eq!(none["data"], json!([]));
    let id = list["data"][0]["id"].as_str().unwrap();
    assert_eq!(run(&["audit", "get", id]).1["id"], id);
    assert_eq!(run(&["audit", "get", "evt_0"]).0, Some(4));
    assert_eq!(run(&["audit", "list", "--since", "soon"]).0, Some(2));
    let file = gateway.data_dir().join("audit.log");
    let path = file.to_str().unwrap();
    let (done, whole) = run(&["audit", "verify", path]);
    assert_eq!((done, &whole["valid"]), (Some(0), &json!(true)), "{whole}");
    let copy = gateway.folder().join("copy.log");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&copy, text.replacen("project.create", "project.delete", 1)).unwrap();
    let (done, edited) = run(&["audit", "verify", copy.to_str().unwrap()]);
    assert_eq!((done, &edited["valid"]), (Some(8), &json!(false)));
    let fault = &edited["faults"][0];
    assert_eq!(fault["problem"], "was edited", "{edited}");
    let mut torn = OpenOptions::new().append(true).open(&copy).unwrap();
    torn.write_all(b"{\"timestamp\":").unwrap();
    let (_, torn) = run(&["audit", "verify", copy.to_str().unwrap()]);
    assert_eq!(torn["faults"][1]["problem"], "is torn off");
    assert_eq!(run(&["audit", "verify", "/nowhere/audit.log"]).0, Some(3));
}

#[test]
fn there_is_no_cache_to_purge() {
    let gateway = models(&Origin::plain()).start();
    let url = json!({ "method": "GET", "url": "/v1/models" });
    let purged = ask(
        &gateway,
        MANAGEMENT_KEY,
        "POST /manage/cache/purge",
        Some(&url),
    );
    assert_eq!(purged.status, 400);
    assert_eq!(purged.json()["error"], "caching is disabled");
    let wrong = json!({ "url": "/v1/models" });
    let wrong = ask(
        &gateway,
        MANAGEMENT_KEY,
        "POST /manage/cache/purge",
        Some(&wrong),
    );
    assert_eq!(wrong.status, 422);
    let done = gateway.cli(&["cache", "purge", "--request-url", "/v1/models"]);
    assert_eq!(done.status.code(), Some(3));
}

#[test]
fn what_other_gateways_offer_and_this_one_does_not_says_why() {
    let gateway = models(&Origin::plain()).start();
    for start in [
        "GET /v0/management/auth-files",
        "POST /v0/management/api-call",
        "DELETE /v0/management/plugins/x",
    ] {
        let gone = ask(&gateway, MANAGEMENT_KEY, start, None);
        assert_eq!(
            (gone.status, code(&gone)),
            (410, "not_offered".to_owned()),
            "{start}"
        );
        assert_eq!(gone.json()["error"], gone.json()["detail"]);
        assert_eq!(ask(&gateway, "", start, None).status, 401, "{start}");
    }
}
