//! What a request leaves behind: one audit event, one access line, and one usage record if a model
//! was asked, on every outcome.

use crate::callers::{answer, bearer, call_to, chat, get, models, post_json};
use crate::fixture::head;
use serde_json::{Value, json};
use tollkeep_testkit::{Gateway, Origin, eventually};

/// A kind of call, and what it must leave behind.
struct Row {
    name: &'static str,
    request: Vec<u8>,
    /// `None`: the caller hangs up instead of waiting.
    status: Option<u16>,
    outcome: &'static str,
    /// Result and reason of the `proxy_request` event; `None` where there was no route.
    event: Option<(&'static str, Option<&'static str>)>,
    /// Quality of the usage record.
    usage: Option<&'static str>,
}

fn rows(token: &str) -> Vec<Row> {
    let lines = |name: &str| format!("{}x-correlation-id: {name}\r\n", bearer(token));
    let streamed = |content: &str| {
        let message = json!([{ "role": "user", "content": content }]);
        json!({ "model": "gpt-4o", "stream": true, "messages": message })
    };
    let row = |name, request, status, outcome, event, usage| Row {
        name,
        request,
        status: Some(status),
        outcome,
        event,
        usage,
    };
    let served = Some(("success", None));
    let denied = |reason| Some(("denied", Some(reason)));
    let error = |reason| Some(("error", Some(reason)));
    let path = "/v1/chat/completions";
    let unnamed = |name: &str| format!("x-correlation-id: {name}\r\n");
    vec![
        row(
            "served",
            chat(&lines("served"), "hi"),
            200,
            "served",
            served,
            Some("reported"),
        ),
        row(
            "streamed",
            post_json(path, &lines("streamed"), &streamed("hi")),
            200,
            "served",
            served,
            Some("reported"),
        ),
        row(
            "messages",
            call_to("/v1/messages", &lines("messages"), "hi"),
            200,
            "served",
            served,
            Some("reported"),
        ),
        row(
            "models",
            get("/v1/models", &lines("models")),
            200,
            "served",
            served,
            None,
        ),
        row(
            "plain",
            call_to("/plain", &lines("plain"), "hi"),
            200,
            "served",
            served,
            None,
        ),
        row(
            "no-token",
            chat(&unnamed("no-token"), "hi"),
            401,
            "refused",
            denied("invalid_token"),
            None,
        ),
        row(
            "no-model",
            post_json(path, &lines("no-model"), &json!({ "model": "nope" })),
            404,
            "refused",
            denied("model_not_found"),
            None,
        ),
        row(
            "no-json",
            post_json(path, &lines("no-json"), &Value::Null),
            400,
            "refused",
            denied("invalid_json"),
            None,
        ),
        row(
            "too-large",
            too_large(&lines("too-large")),
            413,
            "refused",
            denied("body_too_large"),
            None,
        ),
        row(
            "no-route",
            get("/nothing", &lines("no-route")),
            404,
            "refused",
            None,
            None,
        ),
        row(
            "no-host",
            get("/plain", "").replaced("127.0.0.1", "evil.example", "no-host"),
            421,
            "refused",
            None,
            None,
        ),
        row(
            "failed",
            chat(&lines("failed"), "do:500"),
            502,
            "upstream_error",
            error("upstream_error"),
            Some("released"),
        ),
        row(
            "closed",
            chat(&lines("closed"), "do:close"),
            502,
            "upstream_error",
            error("upstream_error"),
            Some("unknown"),
        ),
        row(
            "slow",
            chat(&lines("slow"), "do:hang"),
            504,
            "timeout",
            error("timeout"),
            Some("unknown"),
        ),
        row(
            "cut",
            post_json(path, &lines("cut"), &streamed("do:cut")),
            200,
            "cut",
            error("upstream_protocol"),
            Some("unknown"),
        ),
        Row {
            status: None,
            ..row(
                "gone",
                chat(&lines("gone"), "do:hang"),
                0,
                "caller_gone",
                error("caller_gone"),
                Some("unknown"),
            )
        },
    ]
}

/// A body that is refused from its head alone.
fn too_large(lines: &str) -> Vec<u8> {
    let length = 21 * 1024 * 1024;
    let lines = format!("{lines}content-type: application/json\r\ncontent-length: {length}\r\n");
    head("POST /v1/chat/completions", &lines)
}

trait Replaced {
    fn replaced(self, text: &str, other: &str, name: &str) -> Self;
}

impl Replaced for Vec<u8> {
    /// Another Host, and the name of the row.
    fn replaced(self, text: &str, other: &str, name: &str) -> Self {
        let request = String::from_utf8(self).unwrap().replace(text, other);
        let named = format!("\r\nx-correlation-id: {name}\r\n\r\n");
        request.replacen("\r\n\r\n", &named, 1).into_bytes()
    }
}

/// Sends a row's request; the id of the request, if the caller waited for an answer.
fn send(gateway: &Gateway, origin: &Origin, row: &Row) -> Option<String> {
    let mut caller = gateway.connect();
    if let Some(status) = row.status {
        let answer = caller.call(&row.request);
        assert_eq!(answer.status, status, "{}: {}", row.name, answer.text());
        return Some(answer.field("x-request-id").unwrap().to_owned());
    }
    let before = origin.count();
    caller.send(&row.request);
    origin.wait_for(before + 1);
    None
}

fn of_request<'a>(lines: &'a [Value], id: &str) -> Vec<&'a Value> {
    lines
        .iter()
        .filter(|line| line["request_id"] == id)
        .collect()
}

// AUD-13 AUD-81 AUD-2
#[test]
fn every_outcome_leaves_one_event_one_access_line_and_one_usage_record_of_an_asked_model() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).start();
    let token = gateway.mint_token(&json!({}));
    let rows = rows(&token);
    let ids: Vec<_> = rows
        .iter()
        .map(|row| send(&gateway, &origin, row))
        .collect();
    let access = eventually("all access lines", || {
        Some(gateway.access_lines()).filter(|lines| lines.len() >= rows.len())
    });
    // The stop flushes everything, so that a second record of anything would be there too.
    let expected = rows.iter().filter(|row| row.event.is_some()).count();
    let calls = || {
        gateway
            .audit_lines()
            .into_iter()
            .filter(|line| line["action"] == "proxy_request")
    };
    eventually("all events", || (calls().count() >= expected).then_some(()));
    let (events, usage) = (gateway.audit_lines(), gateway.usage_lines());
    let gone = calls()
        .find(|line| line["correlation_id"] == "gone")
        .unwrap();
    for (row, id) in rows.iter().zip(ids) {
        let id = id.unwrap_or_else(|| gone["request_id"].as_str().unwrap().to_owned());
        check_access(row, &of_request(&access, &id));
        check_events(row, &of_request(&events, &id));
        let records = of_request(&usage, &id);
        let qualities: Vec<_> = records.iter().map(|record| &record["quality"]).collect();
        assert_eq!(
            qualities,
            row.usage.into_iter().collect::<Vec<_>>(),
            "{}: usage",
            row.name
        );
        for record in records {
            assert_eq!(
                (&record["outcome"], &record["status"]),
                (&json!(row.outcome), &json!(row.status.unwrap_or(0))),
                "{}",
                row.name
            );
        }
    }
    assert_eq!((access.len(), calls().count()), (rows.len(), expected));
}

fn check_access(row: &Row, lines: &[&Value]) {
    let [line] = lines else {
        panic!("{}: {} access lines", row.name, lines.len())
    };
    assert_eq!(
        (&line["outcome"], &line["status"]),
        (&json!(row.outcome), &json!(row.status.unwrap_or(0))),
        "{}: {line}",
        row.name
    );
    let order = [
        "timestamp",
        "level",
        "msg",
        "request_id",
        "method",
        "route",
        "status",
        "latency_ms",
        "ttft_ms",
        "upstream_ms",
        "bytes_in",
        "bytes_out",
        "project_id",
        "token_ref",
        "provider",
        "model",
        "tokens",
        "outcome",
        "client_ip",
    ];
    assert_in_order(row.name, line, &order);
    assert_eq!(
        (&line["level"], &line["msg"]),
        (&json!("info"), &json!("request")),
        "{}",
        row.name
    );
    let tokens = (row.usage == Some("reported")).then(|| &line["tokens"]["input"]);
    assert!(
        tokens.is_none_or(|tokens| tokens.as_u64() > Some(0)),
        "{}: {line}",
        row.name
    );
}

fn check_events(row: &Row, lines: &[&Value]) {
    let calls: Vec<_> = lines
        .iter()
        .filter(|line| line["action"] == "proxy_request")
        .collect();
    assert_eq!(
        calls.len(),
        usize::from(row.event.is_some()),
        "{}: {lines:?}",
        row.name
    );
    for (line, (result, reason)) in calls.iter().zip(row.event) {
        let told = (&line["result"], line.get("reason").and_then(Value::as_str));
        assert_eq!(told, (&json!(result), reason), "{}: {line}", row.name);
        assert_eq!(line["correlation_id"], row.name);
        assert_eq!(
            line["details"]["status_code"],
            json!(row.status.unwrap_or(0)),
            "{}",
            row.name
        );
        assert_eq!(line["class"], "access");
        let actor = if row.name == "no-token" {
            "anonymous"
        } else {
            "client"
        };
        assert_eq!(line["actor"], actor, "{}", row.name);
    }
    for line in lines {
        assert_event_form(row.name, line);
    }
}

/// The keys of a line are some of `order`, in that order.
fn assert_in_order(name: &str, line: &Value, order: &[&str]) {
    let places = line.as_object().unwrap().keys().map(|key| {
        let place = order.iter().position(|known| known == key);
        place.unwrap_or_else(|| panic!("{name}: `{key}` is unknown: {line}"))
    });
    assert!(places.is_sorted(), "{name}: {line}");
}

/// The form of llm-proxy's events, and what is ours behind it.
pub fn assert_event_form(name: &str, line: &Value) {
    let order = [
        "timestamp",
        "action",
        "actor",
        "project_id",
        "request_id",
        "correlation_id",
        "client_ip",
        "result",
        "details",
        "id",
        "tenant_id",
        "actor_id",
        "class",
        "reason",
        "stream",
        "seq",
        "prev",
        "hash",
    ];
    assert_in_order(name, line, &order);
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    let stamp = text("timestamp");
    assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{name}: {stamp}");
    assert!(
        text("id").starts_with("evt_") && text("stream").starts_with("aus_"),
        "{name}: {line}"
    );
    if let Some(details) = line["details"].as_object() {
        assert!(details.len() <= 24, "{name}: {line}");
        for value in details.values() {
            assert!(
                !value.is_object() && !value.is_array(),
                "{name}: details are flat: {line}"
            );
        }
    }
    if let Some(masked) = line["details"]["token_id"].as_str() {
        let stars = masked.strip_prefix("tok-").and_then(|body| body.get(4..8));
        assert_eq!(
            (masked.len(), stars),
            (16, Some("****")),
            "{name}: {masked}"
        );
        assert_eq!(
            line["actor"] == "client",
            line["details"]["token_ref"] == line["actor_id"],
            "{name}"
        );
    }
}

// AUD-11 AUD-2
#[test]
fn what_operators_do_is_recorded_before_they_are_told() {
    let origin = Origin::plain();
    let gateway = models(&origin).start();
    let act = |method: &str, path: &str, body: Value, want: u16, action: &str| {
        let (status, answer) = gateway.api(method, path, Some(&body));
        assert_eq!(status, want, "{method} {path}: {answer}");
        // Already there: no waiting.
        let lines = gateway.audit_lines();
        let line = lines.last().unwrap();
        assert_eq!(
            (&line["action"], &line["result"]),
            (&json!(action), &json!("success")),
            "{line}"
        );
        assert_eq!(
            (&line["actor"], &line["client_ip"]),
            (&json!("management"), &json!("127.0.0.1"))
        );
        assert_eq!(
            (&line["details"]["http_method"], &line["class"]),
            (&json!(method), &json!("management"))
        );
        let endpoint = path.split('?').next().unwrap();
        assert_eq!(line["details"]["endpoint"], endpoint);
        assert_event_form(action, line);
        (answer, line.clone())
    };
    let none = || Value::Null;
    let (project, line) = act(
        "POST",
        "/api/v1/projects",
        json!({ "name": "Team A" }),
        201,
        "project.create",
    );
    assert_eq!(line["project_id"], project["id"]);
    act("GET", "/api/v1/projects", none(), 200, "project.list");
    act(
        "GET",
        "/api/v1/projects/team-a",
        none(),
        200,
        "project.read",
    );
    let members = json!({ "project": "team-a", "duration_minutes": 60, "max_requests": 7 });
    let (token, line) = act("POST", "/api/v1/tokens", members, 201, "token.create");
    assert_eq!(
        (
            &line["details"]["duration_minutes"],
            &line["details"]["max_requests"]
        ),
        (&json!(60), &json!(7))
    );
    assert_eq!(
        (&line["project_id"], &line["details"]["token_ref"]),
        (&project["id"], &token["id"])
    );
    let secret = token["secret"].as_str().unwrap();
    assert_eq!(line["details"]["token_id"], tollkeep_audit::mask(secret));
    let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
    act("GET", "/api/v1/tokens?limit=1", none(), 200, "token.list");
    act("GET", &path, none(), 200, "token.read");
    act(
        "POST",
        &format!("{path}/rotate"),
        json!({}),
        200,
        "token.rotate",
    );
    act(
        "POST",
        &format!("{path}/revoke"),
        json!({}),
        200,
        "token.revoke",
    );
}
