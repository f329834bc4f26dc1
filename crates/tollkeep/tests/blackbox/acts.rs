//! What operators do is recorded, durably, before they are told that it is done.

use crate::callers::models;
use crate::records::assert_event_form;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin};

/// Does something, and gives the answer and the event that is there by then: no waiting.
fn act(gateway: &Gateway, request: &str, body: &Value, action: &str) -> (Value, Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let (status, answer) = gateway.api(method, path, Some(body));
    assert!(matches!(status, 200 | 201), "{request}: {status} {answer}");
    let event = gateway.audit_lines().pop().unwrap();
    assert_event_form(action, &event);
    let details = &event["details"];
    for (name, told, want) in [
        ("action", &event["action"], action),
        ("result", &event["result"], "success"),
        ("actor", &event["actor"], "management"),
        ("class", &event["class"], "management"),
        ("address", &event["client_ip"], "127.0.0.1"),
        ("method", &details["http_method"], method),
        (
            "endpoint",
            &details["endpoint"],
            path.split('?').next().unwrap(),
        ),
    ] {
        assert_eq!(told, want, "{request}: {name}");
    }
    (answer, event)
}

// AUD-2 AUD-40
#[test]
fn every_act_of_an_operator_is_in_the_file_before_the_answer() {
    let gateway = models(&Origin::plain()).start();
    let none = Value::Null;
    let named = json!({ "name": "Team A" });
    let (project, event) = act(&gateway, "POST /api/v1/projects", &named, "project.create");
    assert_eq!(event["project_id"], project["id"]);
    act(&gateway, "GET /api/v1/projects", &none, "project.list");
    act(
        &gateway,
        "GET /api/v1/projects/team-a",
        &none,
        "project.read",
    );
    let members = json!({ "project": "team-a", "duration_minutes": 60, "max_requests": 7 });
    let (token, event) = act(&gateway, "POST /api/v1/tokens", &members, "token.create");
    let details = &event["details"];
    assert_eq!(event["project_id"], project["id"]);
    assert_eq!(details["token_ref"], token["id"]);
    assert_eq!(details["duration_minutes"], 60);
    assert_eq!(details["max_requests"], 7);
    let masked = tollkeep_audit::mask(token["secret"].as_str().unwrap());
    assert_eq!(details["token_id"], masked);
    let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
    act(&gateway, "GET /api/v1/tokens?limit=1", &none, "token.list");
    act(&gateway, &format!("GET {path}"), &none, "token.read");
    act(
        &gateway,
        &format!("POST {path}/rotate"),
        &json!({}),
        "token.rotate",
    );
    act(
        &gateway,
        &format!("POST {path}/revoke"),
        &json!({}),
        "token.revoke",
    );
}

#[test]
fn a_failed_login_of_an_operator_is_recorded_with_where_it_came_from() {
    let gateway = models(&Origin::plain()).start();
    let (host, key) = (gateway.management(), "mgt-not-a-key");
    let request = format!(
        "GET /api/v1/status HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    let answer = tollkeep_testkit::Client::connect(host).call(request.as_bytes());
    assert_eq!(answer.status, 401);
    let event = gateway.audit_line("the failure", |line| line["action"] == "management.auth");
    assert_event_form("management.auth", &event);
    assert_eq!(event["request_id"].as_str(), answer.field("x-request-id"));
    for (told, want) in [
        (&event["result"], "failure"),
        (&event["class"], "security"),
        (&event["actor"], "anonymous"),
        (&event["client_ip"], "127.0.0.1"),
        (&event["details"]["endpoint"], "/api/v1/status"),
    ] {
        assert_eq!(told, want, "{event}");
    }
    assert!(!event.to_string().contains(key), "{event}");
}

// AUD-11
#[test]
fn a_change_that_was_refused_is_recorded_with_why() {
    let gateway = models(&Origin::plain()).start();
    let unknown = "/api/v1/tokens/tid_00000000000070008000000000000000";
    let project = json!({ "name": "Twice" });
    act(
        &gateway,
        "POST /api/v1/projects",
        &project,
        "project.create",
    );
    for (path, body, status, action, reason) in [
        (
            "/api/v1/projects",
            project,
            409,
            "project.create",
            "conflict",
        ),
        (
            "/api/v1/tokens",
            json!({ "ttl": 5 }),
            422,
            "token.create",
            "invalid",
        ),
        (
            &format!("{unknown}/revoke"),
            json!({}),
            404,
            "token.revoke",
            "not_found",
        ),
        (
            &format!("{unknown}/rotate"),
            json!({}),
            404,
            "token.rotate",
            "not_found",
        ),
    ] {
        let (told, problem) = gateway.api("POST", path, Some(&body));
        assert_eq!(told, status, "{problem}");
        let id = problem["request_id"].clone();
        let event = gateway.audit_line(path, |line| line["request_id"] == id);
        assert_event_form(path, &event);
        assert_eq!(event["action"], action, "{path}");
        assert_eq!(event["result"], "denied", "{path}");
        assert_eq!(event["reason"], reason, "{path}");
        assert_eq!(event["details"]["status_code"], status, "{path}");
    }
}
