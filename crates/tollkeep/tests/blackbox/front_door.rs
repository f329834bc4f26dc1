//! The front door: a second factor before anybody is identified.

use crate::fixture::{TOLLKEEP, before, free, gateway, head, llm, post};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use tollkeep_testkit::{Answer, Builder, Client, Gateway, MANAGEMENT_KEY, Origin, eventually};

const DOOR: &str = "server: { front_door: { service_token: {} } }\n";

fn behind(origin: &Origin, door: &str) -> Builder {
    let routes = ["GET /x", "POST /x", "GET /open/*"].map(free).concat();
    gateway(format!("{door}{}", before(origin, &routes)))
}

/// A new service token: id and secret.
fn made(gateway: &Gateway, members: &Value) -> (String, String) {
    let (status, made) = gateway.api("POST", "/api/v1/service-tokens", Some(members));
    assert_eq!(status, 201, "{made}");
    pair(&made)
}

fn pair(made: &Value) -> (String, String) {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

fn fields((id, secret): &(String, String)) -> String {
    format!("CF-Access-Client-Id: {id}\r\nCF-Access-Client-Secret: {secret}\r\n")
}

/// What a caller can tell one answer from another by.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let fields = answer
        .fields
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.to_lowercase().as_str()));
    (
        answer.status,
        fields.cloned().collect(),
        answer.body.clone(),
    )
}

// EDGE-125 EDGE-127
#[test]
fn who_shows_no_service_token_stays_outside_and_learns_nothing() {
    let origin = Origin::plain();
    let gateway = behind(&origin, DOOR).start();
    let token = made(&gateway, &json!({ "name": "ci" }));
    let other = made(&gateway, &json!({}));
    let management = made(&gateway, &json!({ "door": "management" }));
    let get = |lines: &str| gateway.call(&head("GET /x", lines));
    assert_eq!(get(&fields(&token)).status, 200);
    let (id, secret) = &token;
    let nobody = "svc_00000000000000000000000000000000".to_owned();
    let mixed = |id: &str, secret: &str| fields(&(id.to_owned(), secret.to_owned()));
    let none = told(&get(""));
    assert_eq!(none.0, 403);
    let body: Value = serde_json::from_slice(&none.2).unwrap();
    assert_eq!(
        body,
        json!({ "error": "Not allowed.", "code": "front_door_refused" })
    );
    for (name, lines) in [
        ("an unknown id", mixed(&nobody, secret)),
        ("no id at all", mixed("x", secret)),
        ("another's secret", mixed(id, &other.1)),
        ("a wrong secret", mixed(id, &secret.to_uppercase())),
        ("an empty secret", mixed(id, "")),
        ("the token of another door", fields(&management)),
        ("half of it", format!("CF-Access-Client-Id: {id}\r\n")),
        (
            "the other half",
            format!("CF-Access-Client-Secret: {secret}\r\n"),
        ),
        ("twice", format!("{}{}", fields(&token), fields(&token))),
        (
            "two secrets",
            format!("{}CF-Access-Client-Secret: x\r\n", fields(&token)),
        ),
        (
            "not text",
            "CF-Access-Client-Id: \u{e9}\r\nCF-Access-Client-Secret: \u{e9}\r\n".to_owned(),
        ),
    ] {
        assert_eq!(told(&get(&lines)), none, "{name}");
    }
    assert_eq!(origin.count(), 1);
    let event = gateway.audit_line("the refusal", |event| {
        event["action"] == "security_violation"
    });
    assert_eq!(event["reason"], "front_door");
    assert!(
        gateway
            .metrics_text()
            .contains("tollkeep_refusals_total{code=\"front_door_refused\",listener=\"data\"} 12")
    );
}

// EDGE-125 EDGE-127
#[test]
fn it_stands_before_routes_credentials_preflights_and_probes() {
    let origin = Origin::plain();
    let cors = "server: { front_door: { service_token: {} }, cors: { allowed_origins: [\"https://a.example\"] } }\n";
    let gateway = behind(&origin, cors).start();
    let token = fields(&made(&gateway, &json!({})));
    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n";
    for (name, start, lines, open) in [
        ("a route that is not there", "GET /nowhere", "", 404),
        (
            "a bad credential",
            "GET /v1/models",
            "Authorization: Bearer x\r\n",
            404,
        ),
        ("a method that is not there", "DELETE /x", "", 405),
        ("a preflight", "OPTIONS /x", preflight, 204),
        ("no path", "OPTIONS *", "", 204),
        ("a probe", "GET /health", "", 200),
        ("another", "GET /live", "", 200),
        ("one more", "HEAD /ready", "", 200),
    ] {
        assert_eq!(gateway.call(&head(start, lines)).status, 403, "{name}");
        let lines = format!("{lines}{token}");
        assert_eq!(gateway.call(&head(start, &lines)).status, open, "{name}");
    }
    let bad = gateway.call(&head("GET /a//b", ""));
    assert_eq!(bad.status, 400, "what is no path is told first");
}

// EDGE-125 EDGE-127
#[test]
fn only_paths_behind_it_are_asked_and_health_only_if_it_is_listed() {
    let origin = Origin::plain();
    let door = "server: { front_door: { service_token: {}, exempt: [/health, /open/*] } }\n";
    let gateway = behind(&origin, door).start();
    let status = |path: &str| gateway.call(&head(&format!("GET {path}"), "")).status;
    for (path, want) in [
        ("/x", 403),
        ("/open/a", 200),
        ("/open", 403),
        ("/health", 200),
        ("/live", 403),
        ("/open/%2e%2e/x", 400),
    ] {
        assert_eq!(status(path), want, "{path}");
    }
    let door = "server: { front_door: { service_token: {}, paths: [/open/*] } }\n";
    let gateway = behind(&origin, door).start();
    let status = |path: &str| gateway.call(&head(&format!("GET {path}"), "")).status;
    for (path, want) in [
        ("/x", 200),
        ("/open/a", 403),
        ("/%6Fpen/a", 403),
        ("/open", 403),
        ("/health", 200),
    ] {
        assert_eq!(status(path), want, "{path}");
    }
}

// EDGE-127
#[test]
fn its_fields_go_neither_upstream_nor_into_any_record() {
    let origin = Origin::plain();
    let door = "server: { front_door: { service_token: { id_header: X-Door, secret_header: X-Door-Key }, exempt: [/open/*] } }\n";
    let gateway = behind(&origin, door).start();
    let (id, secret) = made(&gateway, &json!({}));
    let lines = format!("x-door: {id}\r\nX-DOOR-KEY: {secret}\r\nX-Other: kept\r\n");
    assert_eq!(gateway.call(&post("/x", &lines, b"{}")).status, 200);
    // Also where nobody looks at them.
    assert_eq!(gateway.call(&head("GET /open/a", &lines)).status, 200);
    assert_eq!(
        gateway
            .call(&head(
                "GET /x",
                &format!("X-Door: {id}\r\nX-Door-Key: wrong-{secret}\r\n")
            ))
            .status,
        403
    );
    for request in origin.requests() {
        assert_eq!(request.field("x-other"), Some("kept"));
        assert_eq!(
            (request.field("x-door"), request.field("x-door-key")),
            (None, None)
        );
    }
    eventually("three access lines", || {
        (gateway.access_lines().len() >= 3).then_some(())
    });
    assert_nowhere(&gateway, &secret);
}

/// No file of the gateway holds the text.
fn assert_nowhere(gateway: &Gateway, text: &str) {
    let mut folders = vec![gateway.folder().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                let found = bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes());
                assert!(!found, "{}", path.display());
            }
        }
    }
}

// EDGE-127 LLM-6
#[test]
fn a_provider_gets_no_field_of_the_door_even_if_it_is_listed() {
    let origin = Origin::plain();
    let door = "    forward_headers: [x-door, x-kept]\nserver: { front_door: { service_token: { id_header: x-door, secret_header: x-door-key } } }\n";
    let (gateway, token) = llm(&origin, "openai", door);
    let (id, secret) = made(&gateway, &json!({}));
    let lines = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nX-Door: {id}\r\nX-Door-Key: {secret}\r\nX-Kept: 1\r\n"
    );
    gateway.call(&post(
        "/v1/chat/completions",
        &lines,
        b"{\"model\":\"m\",\"messages\":[]}",
    ));
    let got = origin.last();
    assert_eq!(
        (got.field("x-door"), got.field("x-kept")),
        (None, Some("1"))
    );
}

// EDGE-125
#[test]
fn rotated_secrets_overlap_and_revoked_ones_end_at_once() {
    let origin = Origin::plain();
    let gateway = behind(&origin, DOOR).start();
    let old = made(&gateway, &json!({ "ttl": "30d" }));
    let rotate = |overlap: &str| {
        let path = format!("/api/v1/service-tokens/{}/rotate", old.0);
        let (status, made) = gateway.api("POST", &path, Some(&json!({ "overlap": overlap })));
        assert_eq!(status, 200, "{made}");
        pair(&made)
    };
    // On one open connection: what changes takes effect with the next request.
    let mut client = gateway.connect();
    let mut status = |token: &(String, String)| client.call(&head("GET /x", &fields(token))).status;
    assert_eq!(status(&old), 200);
    let second = rotate("1h");
    assert_eq!(second.0, old.0, "the id stays");
    assert_eq!((status(&old), status(&second)), (200, 200));
    let third = rotate("0s");
    assert_eq!([&old, &second, &third].map(&mut status), [403, 403, 200]);
    let path = format!("/api/v1/service-tokens/{}/revoke", old.0);
    let (code, revoked) = gateway.api("POST", &path, None);
    assert_eq!((code, revoked["status"].as_str()), (200, Some("revoked")));
    assert_eq!(status(&third), 403);
    let short = made(&gateway, &json!({ "ttl": "1s" }));
    eventually("its end", || (status(&short) == 403).then_some(()));
    let (_, all) = gateway.api("GET", "/api/v1/service-tokens", None);
    let statuses: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["expired", "revoked"]);
    assert!(!all.to_string().contains(&third.1));
    let kept = made(&gateway, &json!({}));
    let gateway = gateway.restart().unwrap();
    assert_eq!(
        gateway.call(&head("GET /x", &fields(&kept))).status,
        200,
        "after a crash"
    );
    assert_eq!(gateway.call(&head("GET /x", &fields(&third))).status, 403);
}

// EDGE-125
#[test]
fn one_who_is_turned_away_is_debited_like_any_other() {
    let origin = Origin::plain();
    let limit = "server: { front_door: { service_token: {} }, security: { rate_limiting: { requests_per_second: 1, burst: 3, scope: unproven } } }\n";
    let gateway = behind(&origin, limit)
        .set("server.security.rate_limiting.enabled", "true")
        .start();
    let mut client = gateway.connect();
    let mut statuses: Vec<_> = (0..8)
        .map(|_| client.call(&head("GET /x", "")).status)
        .collect();
    statuses.dedup();
    assert_eq!(statuses[..2], [403, 429]);
}

/// One request to the management listener.
fn managed(gateway: &Gateway, path: &str, lines: &str) -> Answer {
    let host = gateway.management();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{lines}connection: close\r\n\r\n");
    Client::connect(host).call(request.as_bytes())
}

// EDGE-125 EDGE-127 ID-125
#[test]
fn management_has_a_door_of_its_own_and_the_local_socket_none() {
    let door = "sandbox: { upstream: true }\nmanagement: { front_door: { service_token: {} } }\n";
    let gateway = gateway(door).start();
    let key = format!("authorization: Bearer {MANAGEMENT_KEY}\r\n");
    let made = |door: &str| {
        let output = gateway.cli(&[
            "service-token",
            "create",
            "--door",
            door,
            "--data-dir",
            "./data",
        ]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        pair(&serde_json::from_slice(&output.stdout).unwrap())
    };
    let (own, data) = (fields(&made("management")), fields(&made("data")));
    let get = |path: &str, lines: &str| {
        let answer = managed(&gateway, path, lines);
        let code = answer.json()["code"].as_str().map(str::to_owned);
        (answer.status, code)
    };
    let refused = (403, Some("front_door_refused".to_owned()));
    for (name, path, lines) in [
        ("nothing", "/api/v1/status", String::new()),
        ("the key alone", "/api/v1/status", key.clone()),
        (
            "a wrong key",
            "/api/v1/status",
            "authorization: Bearer x\r\n".to_owned(),
        ),
        (
            "the key, and the other door's token",
            "/api/v1/status",
            format!("{key}{data}"),
        ),
        ("a path that is not there", "/nowhere", key.clone()),
        ("a probe", "/health", String::new()),
        ("twice", "/api/v1/status", format!("{key}{own}{own}")),
    ] {
        assert_eq!(get(path, &lines), refused, "{name}");
    }
    assert_eq!(get("/api/v1/status", &format!("{key}{own}")).0, 200);
    assert_eq!(
        get("/api/v1/status", &own),
        (401, Some("unauthorized".to_owned()))
    );
    assert_eq!(get("/health", &own).0, 200);
    assert_eq!(
        gateway.call(&head("GET /health", "")).status,
        200,
        "the data door is another"
    );
    let event = gateway.audit_line("the refusal", |event| {
        event["action"] == "security_violation"
    });
    assert_eq!(event["reason"], "front_door");
    let own = own.split(": ").last().unwrap().trim().to_owned();
    assert_nowhere(&gateway, &own);
}

// EDGE-125
#[test]
fn service_tokens_are_managed_from_a_script() {
    let gateway = gateway("sandbox: { upstream: true }\n").start();
    let run = |arguments: &str| {
        let output = gateway.cli(&arguments.split_whitespace().collect::<Vec<_>>());
        let text = String::from_utf8(output.stdout).unwrap();
        (
            output.status.code().unwrap(),
            serde_json::from_str::<Value>(&text).unwrap_or_default(),
        )
    };
    let (code, made) = run("service-token create --name ci --ttl 30d");
    assert_eq!(
        (code, &made["name"], &made["door"]),
        (0, &json!("ci"), &json!("data"))
    );
    assert!(made["secret"].as_str().unwrap().starts_with("svs-"));
    let id = made["id"].as_str().unwrap();
    let (code, rotated) = run(&format!("service-token rotate {id} --overlap 1h"));
    assert_eq!((code, &rotated["status"]), (0, &json!("rotating")));
    assert_ne!(rotated["secret"], made["secret"]);
    let (_, all) = run("service-token list");
    assert_eq!(all["data"][0]["id"], json!(id));
    assert_eq!(all["data"][0]["secret"], Value::Null);
    assert_eq!(
        run(&format!("service-token revoke {id}")).0,
        2,
        "asks first"
    );
    let (code, revoked) = run(&format!("service-token revoke {id} --yes"));
    assert_eq!((code, &revoked["status"]), (0, &json!("revoked")));
    assert_eq!(run(&format!("service-token rotate {id}")).0, 6);
    assert_eq!(run("service-token revoke svc_x --yes").0, 4);
    assert_eq!(run("service-token create --ttl 4000d").0, 3);
    for action in ["create", "rotate", "list", "revoke"] {
        let wanted = format!("service_token.{action}");
        gateway.audit_line(&wanted, |event| event["action"] == wanted.as_str());
    }
}

// EDGE-125
#[test]
fn the_api_says_what_is_wrong_with_a_service_token() {
    let gateway = gateway("sandbox: { upstream: true }\n").start();
    for (name, members) in [
        ("a door that is none", json!({ "door": "back" })),
        (
            "no end before now",
            json!({ "expires_at": "2020-01-01T00:00:00Z" }),
        ),
        ("no end after ten years", json!({ "ttl": "4000d" })),
        ("an unknown member", json!({ "secret": "mine" })),
    ] {
        let (status, problem) = gateway.api("POST", "/api/v1/service-tokens", Some(&members));
        assert_eq!(
            (status, &problem["code"]),
            (422, &json!("invalid")),
            "{name}"
        );
    }
    let (status, eternal) = gateway.api(
        "POST",
        "/api/v1/service-tokens",
        Some(&json!({ "ttl": null })),
    );
    assert_eq!((status, &eternal["expires_at"]), (201, &Value::Null));
}

// EDGE-125
#[test]
fn a_door_that_nothing_opens_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for (name, door, want) in [
        (
            "no factor",
            "{ paths: [/x] }",
            "server.front_door: names paths, but no factor",
        ),
        (
            "one field twice",
            "{ service_token: { id_header: x-a, secret_header: X-A } }",
            "is the field of the id too",
        ),
        (
            "a field that is taken",
            "{ service_token: { id_header: authorization } }",
            "can't carry a factor",
        ),
        (
            "a field that is ours",
            "{ service_token: { id_header: host } }",
            "is written by the gateway",
        ),
        (
            "a path that is none",
            "{ service_token: {}, paths: [v1] }",
            "want a path such as",
        ),
        (
            "certificates that nobody is asked for",
            "{ mtls: { subjects: [\"CN=a\"] } }",
            "set `server.tls.client_auth` to `optional` or `required`",
        ),
    ] {
        let file = folder.path().join("tollkeep.yaml");
        fs::write(&file, format!("server: {{ front_door: {door} }}\n")).unwrap();
        let mut command = Command::new(TOLLKEEP);
        let output = command
            .args(["config", "check"])
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        assert!(said.contains(want), "{name}: {said}");
    }
}
