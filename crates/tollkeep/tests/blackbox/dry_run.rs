//! `?dry_run=true`: every change can be tried, and nothing is changed by that.

use crate::openapi::{assert_described, document, operations};
use crate::operators::{ask, code};
use crate::rights::{ROWS, World, world};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, MANAGEMENT_KEY, eventually};

/// Path and body of an operation of the table.
fn sent(world: &World, path: &str, (place, body): (&str, &str)) -> (String, Option<Value>) {
    let parts = path.split('/');
    let path: Vec<_> = parts
        .map(|part| match part.starts_with('{') {
            true => &*world.ids[place],
            false => part,
        })
        .collect();
    let body = body.replace("PROJECT", &world.ids["project"]);
    (path.join("/"), serde_json::from_str(&body).ok())
}

/// Everything that can be read.
fn seen(world: &World, document: &Value) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for operation in operations(document) {
        let id = operation.id.trim_end_matches("_v0");
        let row = ROWS.iter().find(|row| row.0 == id).unwrap();
        // Records grow, and a price is told with the instant it is for.
        let is_left_out = operation.path.contains("/audit") || id == "price_show";
        if operation.method == "GET" && !is_left_out {
            let (path, _) = sent(world, &operation.path, (row.1, row.2));
            let answer = ask(&world.gateway, MANAGEMENT_KEY, &format!("GET {path}"), None);
            // Of problems, the request's id is its own.
            let text = match answer.status {
                200 => answer.text(),
                status => status.to_string(),
            };
            seen.push((path, text));
        }
    }
    seen
}

fn last_event(world: &World) -> Value {
    world.gateway.audit_lines().pop().unwrap()
}

// ID-105
#[test]
fn no_operation_changes_anything_when_it_is_tried() {
    let mut world = world();
    let entry = json!({ "ip": "198.51.100.0/24" });
    let made = ["deny", "allow"].map(|list| {
        let path = format!("/api/v1/security/ip-{list}list");
        let mut entry = entry.clone();
        entry["ip"] = json!("127.0.0.0/8");
        entry["force"] = json!(true);
        let body = if list == "allow" {
            &entry
        } else {
            &json!({ "ip": "198.51.100.0/24" })
        };
        let (status, made) = world.gateway.api("POST", &path, Some(body));
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    });
    let document = document(&world.gateway);
    let before = seen(&world, &document);
    let (mut done, mut unseen) = (Vec::new(), Vec::new());
    for operation in operations(&document) {
        let id = operation.id.trim_end_matches("_v0").to_owned();
        let row = ROWS.iter().find(|row| row.0 == id).unwrap();
        if operation.method == "GET" {
            continue;
        }
        let entry = usize::from(id.starts_with("ip_allow"));
        world.ids.insert("entry", made[entry].clone());
        let (path, body) = sent(&world, &operation.path, (row.1, row.2));
        let start = format!("{} {path}?dry_run=true", operation.method);
        let answer = ask(&world.gateway, MANAGEMENT_KEY, &start, body.as_ref());
        let name = format!("{start}: {}", answer.text());
        assert_ne!(answer.status, 201, "{name}");
        assert!(answer.status < 500, "{name}");
        assert_described(&document, &operation, &answer);
        if answer.status < 300 {
            assert_eq!(answer.field("tollkeep-dry-run"), Some("true"), "{name}");
            assert_eq!(answer.field("location"), None, "{name}");
            let event = last_event(&world);
            assert_eq!(event["details"]["dry_run"], true, "{name}: {event}");
            done.push(id);
        }
        // Everything is a lot to read each time.
        unseen.push(name);
        if unseen.len() == 8 {
            assert_eq!(before, seen(&world, &document), "one of {unseen:?}");
            unseen.clear();
        }
    }
    assert_eq!(before, seen(&world, &document), "one of {unseen:?}");
    assert!(done.len() > 20, "{done:?}");
    for id in [
        "project_create",
        "token_revoke",
        "key_rotate",
        "ip_deny_remove",
        "tls_reload",
    ] {
        assert!(
            done.iter().any(|done| done == id),
            "{id} was refused: {done:?}"
        );
    }
}

fn tried(world: &World, start: &str, body: &Value) -> Answer {
    ask(&world.gateway, MANAGEMENT_KEY, start, Some(body))
}

// ID-105
#[test]
fn what_would_change_is_told_as_if_it_had() {
    let world = world();
    let token = &world.ids["token"];
    // Two changes in one request: the second sees the first.
    let path = format!("PATCH /manage/tokens/{token}?dry_run=true");
    let both = tried(
        &world,
        &path,
        &json!({ "is_active": false, "max_requests": 3 }),
    );
    let told = both.json();
    assert_eq!(
        (&told["is_active"], &told["max_requests"]),
        (&json!(false), &json!(3))
    );
    let real = ask(
        &world.gateway,
        MANAGEMENT_KEY,
        &format!("GET /manage/tokens/{token}"),
        None,
    );
    assert_eq!(real.json()["is_active"], true);
    // What can't be done can't be tried.
    let new = json!({ "name": "twice" });
    assert_eq!(tried(&world, "POST /api/v1/projects", &new).status, 201);
    let twice = tried(&world, "POST /api/v1/projects?dry_run=true", &new);
    assert_eq!((twice.status, code(&twice)), (409, "conflict".to_owned()));
    eventually("the refusal is recorded as a trial's", || {
        (last_event(&world)["details"]["dry_run"] == true).then_some(())
    });
    let wrong = tried(
        &world,
        "POST /api/v1/projects?dry_run=true",
        &json!({ "name": 5 }),
    );
    assert_eq!(wrong.status, 422);
    // A text that is shown for a trial is none that works, or ever will.
    let would = tried(&world, "POST /api/v1/tokens?dry_run=true", &json!({}));
    assert_eq!(would.status, 200, "{}", would.text());
    let secret = would.json()["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret, format!("tok-{}", "x".repeat(49)));
    let missing = format!(
        "GET /api/v1/tokens/{}",
        would.json()["id"].as_str().unwrap()
    );
    assert_eq!(
        ask(&world.gateway, MANAGEMENT_KEY, &missing, None).status,
        404
    );
    let maintenance = json!({ "enabled": true, "message": "soon" });
    let would = tried(&world, "PUT /api/v1/maintenance?dry_run=true", &maintenance);
    assert_eq!(
        (
            would.json()["enabled"].clone(),
            would.json()["message"].clone()
        ),
        (json!(true), json!("soon"))
    );
}

// ID-105
#[test]
fn a_trial_that_is_said_another_way_is_refused_and_changes_nothing() {
    let world = world();
    for query in [
        "dry_run=yes",
        "dry_run",
        "dry_run=true&dry_run=true",
        "dryrun=true",
        "dry_run=True",
    ] {
        let refused = tried(
            &world,
            &format!("POST /api/v1/projects?{query}"),
            &json!({ "name": "q" }),
        );
        assert_eq!(refused.status, 400, "{query}: {}", refused.text());
    }
    let real = tried(
        &world,
        "POST /api/v1/projects?dry_run=false",
        &json!({ "name": "q" }),
    );
    assert_eq!(real.status, 201, "{}", real.text());
    let read = ask(
        &world.gateway,
        MANAGEMENT_KEY,
        "GET /api/v1/projects?dry_run=true",
        None,
    );
    assert_eq!(read.status, 400, "reading needs no trial");
}

// ID-105
#[test]
fn whoever_may_not_do_it_may_not_try_it() {
    let world = world();
    let (_, viewer) = world
        .keys
        .iter()
        .find(|(letter, _)| *letter == 'V')
        .unwrap();
    let new = json!({ "name": "n" });
    let refused = ask(
        &world.gateway,
        viewer,
        "POST /api/v1/projects?dry_run=true",
        Some(&new),
    );
    assert_eq!(
        (refused.status, code(&refused)),
        (403, "forbidden".to_owned())
    );
}
