//! `ETag` and `If-Match`: nobody overwrites what they have not seen.

use crate::callers::{chat, models, served};
use crate::operators::code;
use crate::replicas::pair;
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Client, Gateway, MANAGEMENT_KEY, Origin, Postgres, eventually};

/// A request with this `If-Match`.
fn send(gateway: &Gateway, start: &str, if_match: &str, body: Option<&Value>) -> Answer {
    let body = body.map(Value::to_string).unwrap_or_default();
    let lines = match if_match {
        "" => String::new(),
        tags => format!("if-match: {tags}\r\n"),
    };
    let request = format!(
        "{start} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n{lines}\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.management(),
        body.len()
    );
    Client::connect(gateway.management()).call(request.as_bytes())
}

fn tag(answer: &Answer) -> String {
    let tag = answer.field("etag");
    tag.unwrap_or_else(|| panic!("no ETag: {}", answer.text()))
        .to_owned()
}

fn project(gateway: &Gateway) -> (String, String) {
    let made = send(
        gateway,
        "POST /api/v1/projects",
        "",
        Some(&json!({ "name": "p" })),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let path = made.field("location").unwrap().to_owned();
    (path, tag(&made))
}

// ID-105
#[test]
fn a_change_is_made_to_the_version_that_was_seen_or_not_at_all() {
    let gateway = models(&Origin::plain()).start();
    let (path, first) = project(&gateway);
    let read = || send(&gateway, &format!("GET {path}"), "", None);
    assert_eq!(tag(&read()), first, "what was made is what is read");
    let patch = |tags: &str, name: &str| {
        send(
            &gateway,
            &format!("PATCH {path}"),
            tags,
            Some(&json!({ "name": name })),
        )
    };
    let changed = patch(&first, "q");
    assert_eq!(changed.status, 200, "{}", changed.text());
    let second = tag(&changed);
    assert_ne!(second, first);
    assert_eq!(tag(&read()), second);
    for (name, tags, want) in [
        ("the version before", first.clone(), 412),
        ("a weak one", format!("W/{second}"), 412),
        ("another among others", format!("\"x\", {first}"), 412),
        ("no list", "x".to_owned(), 400),
        ("half a tag", "\"x".to_owned(), 400),
        ("nothing", ",".to_owned(), 400),
    ] {
        let refused = patch(&tags, "r");
        assert_eq!(refused.status, want, "{name}: {}", refused.text());
        assert_eq!(tag(&read()), second, "{name}");
    }
    assert_eq!(code(&patch("\"x\"", "r")), "precondition_failed");
    assert_eq!(patch(&format!("\"x\", {second}"), "r").status, 200);
    assert_eq!(patch("*", "s").status, 200);
    assert_eq!(patch("", "t").status, 200);
    let missing = "PATCH /api/v1/projects/prj_00000000000070008000000000000000";
    let missing = send(&gateway, missing, "*", Some(&json!({ "name": "u" })));
    assert_eq!(missing.status, 404, "nothing there, whatever is expected");
    let refused = gateway.audit_lines();
    let refused = refused
        .iter()
        .filter(|event| event["reason"] == "precondition_failed");
    assert_eq!(refused.count(), 4);
}

// ID-105
#[test]
fn every_kind_of_thing_has_a_version() {
    let gateway = models(&Origin::plain()).start();
    let tenant = made(&gateway, "/api/v1/tenants", &json!({ "name": "a" }));
    let token = made(&gateway, "/api/v1/tokens", &json!({ "project": "default" }));
    let other = made(&gateway, "/api/v1/tokens", &json!({}));
    let key = made(
        &gateway,
        "/api/v1/keys",
        &json!({ "name": "k", "role": "viewer" }),
    );
    let rename = json!({ "name": "renamed" });
    for (path, method, body) in [
        (format!("/api/v1/tenants/{tenant}"), "PATCH", Some(&rename)),
        (format!("/api/v1/tokens/{token}"), "PATCH", Some(&rename)),
        (format!("/api/v1/keys/{key}"), "PATCH", Some(&rename)),
        (
            "/api/v1/maintenance".to_owned(),
            "PUT",
            Some(&json!({ "enabled": true })),
        ),
        (
            "/manage/projects/default".to_owned(),
            "PATCH",
            Some(&json!({ "name": "d" })),
        ),
        (
            format!("/manage/tokens/{token}"),
            "PATCH",
            Some(&json!({ "max_requests": 5 })),
        ),
        // What is done to a thing is done to its version.
        (
            format!("/api/v1/tokens/{token}"),
            "POST /suspend",
            Some(&json!({})),
        ),
        (format!("/manage/tokens/{other}"), "DELETE", None),
    ] {
        let seen = tag(&send(&gateway, &format!("GET {path}"), "", None));
        let (method, below) = method.split_once(' ').unwrap_or((method, ""));
        let start = format!("{method} {path}{below}");
        let stale = send(&gateway, &start, "\"0123\"", body);
        assert_eq!(stale.status, 412, "{start}: {}", stale.text());
        let fresh = send(&gateway, &start, &seen, body);
        assert!(fresh.status < 300, "{start}: {}", fresh.text());
        let again = send(&gateway, &start, &seen, body);
        assert_eq!(again.status, 412, "{start}: {}", again.text());
    }
    let list = send(&gateway, "GET /api/v1/projects", "", None);
    assert_eq!(list.field("etag"), None);
    let create = send(&gateway, "POST /api/v1/projects", "*", Some(&rename));
    assert_eq!(create.status, 400, "{}", create.text());
}

fn made(gateway: &Gateway, path: &str, members: &Value) -> String {
    let made = send(gateway, &format!("POST {path}"), "", Some(members));
    assert_eq!(made.status, 201, "{}", made.text());
    let read = send(
        gateway,
        &format!("GET {}", made.field("location").unwrap()),
        "",
        None,
    );
    assert_eq!(tag(&made), tag(&read), "{path}");
    made.json()["id"].as_str().unwrap().to_owned()
}

// ID-105
#[test]
fn of_many_who_saw_one_version_one_changes_it() {
    let gateway = models(&Origin::plain()).start();
    let (path, seen) = project(&gateway);
    assert_eq!(winners([&gateway, &gateway], &path, &seen), 1);
}

/// How many of those who change a version at once do so.
fn winners(gateways: [&Gateway; 2], path: &str, seen: &str) -> usize {
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let each = (0..16).map(|number| {
            let gateway = gateways[number % 2];
            scope.spawn(move || {
                let body = json!({ "name": format!("by {number}") });
                send(gateway, &format!("PATCH {path}"), seen, Some(&body)).status
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let odd = statuses.iter().find(|status| !matches!(status, 200 | 412));
    assert_eq!(odd, None, "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

// ID-105
#[test]
fn of_many_at_two_replicas_one_changes_it() {
    let server = Postgres::start();
    let [one, other] = pair(&server, "");
    let (path, seen) = project(&one);
    let read = send(&other, &format!("GET {path}"), "", None);
    assert_eq!(tag(&read), seen, "the version is the same everywhere");
    assert_eq!(winners([&one, &other], &path, &seen), 1);
}

// ID-105
#[test]
fn being_used_is_no_new_version() {
    let (_origin, gateway, _) = served();
    let (id, token) = crate::callers::made(&gateway, &json!({ "project": "default" }));
    let path = format!("GET /api/v1/tokens/{id}");
    let before = tag(&send(&gateway, &path, "", None));
    let call = chat(&format!("Authorization: Bearer {token}\r\n"), "hello");
    assert_eq!(gateway.call(&call).status, 200);
    let used = eventually("the use is on record", || {
        let read = send(&gateway, &path, "", None);
        (read.json()["request_count"] == 1).then_some(read)
    });
    assert_eq!(tag(&used), before);
}

// ID-105
#[test]
fn settings_may_want_a_version_with_every_change() {
    let gateway = models(&Origin::plain())
        .set("management.require_if_match", "true")
        .start();
    let (path, seen) = project(&gateway);
    let rename = json!({ "name": "q" });
    let bare = send(&gateway, &format!("PATCH {path}"), "", Some(&rename));
    assert_eq!(
        (bare.status, code(&bare)),
        (428, "if_match_required".to_owned())
    );
    let named = send(&gateway, &format!("PATCH {path}"), &seen, Some(&rename));
    assert_eq!(named.status, 200, "{}", named.text());
    // What is made anew, and what can't be read as one thing, has nothing to name.
    let made = send(
        &gateway,
        "POST /api/v1/projects",
        "",
        Some(&json!({ "name": "r" })),
    );
    assert_eq!(made.status, 201);
    let entry = json!({ "ip": "192.0.2.9" });
    send(
        &gateway,
        "POST /api/v1/security/ip-denylist",
        "",
        Some(&entry),
    );
    let gone = send(
        &gateway,
        "DELETE /api/v1/security/ip-denylist/192.0.2.9",
        "",
        None,
    );
    assert_eq!(gone.status, 204, "{}", gone.text());
}
