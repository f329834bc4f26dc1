//! Maintenance: callers are told to come back in their own dialect, what runs finishes, operators
//! and probes go on.

use crate::callers::stream;
use crate::fixture::{before, chat, free, gateway, head, llm, llm_call};
use serde_json::{Value, json};
use tollkeep_testkit::{Answer, Client, Gate, Gateway, Origin, PATIENCE, eventually};

/// The block of the cliproxyapi++ page, as it stands there.
const PAGE: &str =
    "server:\n  maintenance_mode: true\n  message: \"Scheduled maintenance in progress\"\n";

const PLACES: [&str; 2] = ["/api/v1/maintenance", "/v0/management/maintenance"];

fn switch(gateway: &Gateway, place: &str, body: &Value) -> Value {
    let (status, state) = gateway.api("PUT", place, Some(body));
    assert_eq!(status, 200, "{state}");
    state
}

#[track_caller]
fn assert_told(name: &str, answer: &Answer, seconds: &str) {
    assert_eq!(answer.status, 503, "{name}: {}", answer.text());
    assert_eq!(
        answer.field("x-tollkeep-error"),
        Some("maintenance"),
        "{name}"
    );
    assert_eq!(answer.field("retry-after"), Some(seconds), "{name}");
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{name}");
}

fn probe(gateway: &Gateway, path: &str) -> (u16, String) {
    let answer = gateway.call(&head(&format!("GET {path}"), ""));
    (answer.status, answer.text())
}

// EDGE-130
#[test]
fn the_page_s_block_tells_every_dialect_and_reaches_nobody() {
    let origin = Origin::plain();
    let config = format!(
        "{PAGE}  maintenance_retry_after_s: 30\n{}",
        before(&origin, &free("GET /x"))
    );
    let gateway = gateway(config).set("sandbox.upstream", "true").start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    let text = "Scheduled maintenance in progress";
    let plain = gateway.call(&head("GET /x", ""));
    assert_told("plain", &plain, "30");
    assert_eq!(
        plain.json(),
        json!({ "error": text, "code": "maintenance" })
    );
    let body = r#"{"model":"m","messages":[]}"#;
    let of_chat = gateway.call(&chat(&token, body));
    assert_told("chat", &of_chat, "30");
    assert_eq!(of_chat.json()["error"]["message"], text);
    assert_eq!(of_chat.json()["error"]["type"], "server_error");
    assert_eq!(of_chat.json()["error"]["code"], "maintenance");
    let anthropic = gateway.call(&llm_call("/v1/messages", &token, body));
    assert_told("anthropic", &anthropic, "30");
    assert_eq!(anthropic.json()["error"]["type"], "api_error");
    assert_eq!(anthropic.json()["error"]["message"], text);
    for (name, request) in [
        ("no such path", head("GET /nowhere", "")),
        (
            "a wrong token",
            head("GET /v1/models", "X-Api-Key: tok-x\r\n"),
        ),
        ("a path that is none", head("GET /a/../b", "")),
        ("about the server", head("OPTIONS *", "")),
    ] {
        assert_told(name, &gateway.call(&request), "30");
    }
    assert_eq!(origin.count(), 0);
    let of_form = gateway.call(&head("GET /x", "Content-Length: x\r\n"));
    assert_eq!(of_form.status, 400, "framing comes first");
}

// EDGE-130
#[test]
fn probes_tell_of_it_and_operators_go_on() {
    let gateway = gateway(PAGE).start();
    let (status, health) = probe(&gateway, "/health");
    let health: Value = serde_json::from_str(&health).unwrap();
    assert_eq!((status, &health["maintenance"]), (200, &json!(true)));
    assert_eq!(probe(&gateway, "/live").0, 200);
    let (status, ready) = probe(&gateway, "/ready");
    assert_eq!(status, 503);
    assert!(ready.contains("\"maintenance\""), "{ready}");
    assert_eq!(
        gateway.api("GET", "/api/v1/status", None).1["maintenance"],
        true
    );
    assert!(gateway.metrics_text().contains("tollkeep_"));
    let (_, state) = gateway.api("GET", PLACES[0], None);
    assert_eq!(
        (&state["enabled"], &state["source"], &state["retry_after_s"]),
        (&json!(true), &json!("file"), &json!(120))
    );
    // The settings' word stays when an operator says off.
    let state = switch(&gateway, PLACES[0], &json!({ "enabled": false }));
    assert_eq!(
        (&state["enabled"], &state["source"]),
        (&json!(true), &json!("file"))
    );
    assert_eq!(probe(&gateway, "/ready").0, 503);
}

// EDGE-130
#[test]
fn an_operator_switches_it_at_once_and_it_outlives_a_restart() {
    let origin = Origin::plain();
    let config = format!(
        "server: {{ trusted_proxies: [\"127.0.0.1/32\"], maintenance_allow_ips: [\"10.0.0.0/8\"] }}\n{}",
        before(&origin, &free("GET /x"))
    );
    let mut gateway = gateway(config).start();
    let call = |gateway: &Gateway, client: &str| {
        let lines = format!("X-Forwarded-For: {client}\r\n");
        gateway.call(&head("GET /x", &lines))
    };
    for place in PLACES {
        assert_eq!(call(&gateway, "203.0.113.1").status, 200, "{place}");
        let on = json!({ "enabled": true, "message": "Back at noon", "retry_after_s": 7 });
        let state = switch(&gateway, place, &on);
        assert_eq!(state["source"], "runtime", "{state}");
        assert_eq!(state["by"], "env", "{state}");
        gateway = gateway.restart().unwrap();
        let told = call(&gateway, "203.0.113.1");
        assert_told(place, &told, "7");
        assert_eq!(told.json()["error"], "Back at noon");
        assert_eq!(
            call(&gateway, "10.1.1.1").status,
            200,
            "served all the same"
        );
        assert_eq!(probe(&gateway, "/ready").0, 503, "{place}");
        let off = switch(&gateway, place, &json!({ "enabled": false }));
        assert_eq!(
            (&off["enabled"], &off["source"]),
            (&json!(false), &Value::Null)
        );
        assert_eq!(probe(&gateway, "/ready").0, 200, "{place}");
    }
    for action in ["maintenance.on", "maintenance.off"] {
        let events = gateway.audit_lines();
        let told = events.iter().filter(|event| event["action"] == action);
        assert_eq!(told.count(), 2, "{action}");
    }
    let on = gateway.audit_line("the message", |event| event["action"] == "maintenance.on");
    assert_eq!(on["details"]["message"], "Back at noon", "{on}");
}

// EDGE-130
#[test]
fn what_runs_finishes() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| stream(Some(&held)));
    let (gateway, token) = llm(&origin, "openai", "");
    let body = r#"{"model":"gpt-4o","stream":true,"messages":[]}"#;
    let mut running = Client::connect(gateway.data());
    running.send(&chat(&token, body));
    assert_eq!(running.head(PATIENCE).unwrap().status, 200);
    switch(&gateway, PLACES[0], &json!({ "enabled": true }));
    let next = gateway.call(&chat(&token, body));
    assert_told("the next", &next, "120");
    gate.open();
    let mut whole = Vec::new();
    eventually("the end of the stream", || {
        whole.extend(running.bytes(PATIENCE).ok()?);
        String::from_utf8_lossy(&whole)
            .contains("[DONE]")
            .then_some(())
    });
    assert_eq!(origin.count(), 1);
}

// EDGE-130
#[test]
fn commands_switch_it_and_what_they_may_not_say_is_refused() {
    let origin = Origin::plain();
    let gateway = gateway(before(&origin, &free("GET /x"))).start();
    let run = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        (output.status.code().unwrap(), value)
    };
    let (code, state) = run(&["maintenance", "status"]);
    assert_eq!((code, &state["enabled"]), (0, &json!(false)));
    let (code, state) = run(&[
        "maintenance",
        "on",
        "--message",
        "Later",
        "--retry-after",
        "5",
    ]);
    assert_eq!((code, &state["message"]), (0, &json!("Later")));
    assert_told("on", &gateway.call(&head("GET /x", "")), "5");
    assert_eq!(run(&["maintenance", "off"]).0, 0);
    assert_eq!(gateway.call(&head("GET /x", "")).status, 200);
    for (name, body, place) in [
        ("nothing said", json!({}), "/enabled"),
        ("no switch", json!({ "enabled": "yes" }), "/enabled"),
        (
            "too long",
            json!({ "enabled": true, "message": "m".repeat(501) }),
            "/message",
        ),
        (
            "two lines",
            json!({ "enabled": true, "message": "a\nb" }),
            "/message",
        ),
        (
            "never",
            json!({ "enabled": true, "retry_after_s": 0 }),
            "/retry_after_s",
        ),
    ] {
        let (status, problem) = gateway.api("PUT", PLACES[0], Some(&body));
        assert_eq!(status, 422, "{name}");
        assert_eq!(problem["errors"][0]["path"], place, "{name}: {problem}");
    }
}
