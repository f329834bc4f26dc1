//! Credentials by other ways than the API: files, the command line, the shapes of other gateways;
//! and what becomes of one whose secret can't be opened.

use crate::fixture::{chat, gateway};
use crate::operators::{ask, made};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin, Request, Signal, eventually, ok};

const ONE: &str = "sk-one-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";
const TWO: &str = "sk-two-Hn5tBq1wEz7rYk3mUj9xCs4vPd8gLa2o";
const BODY: &str = r#"{"model":"gpt-4o","messages":[]}"#;

fn shown(request: &Request) -> String {
    let field = request.field("authorization").unwrap_or_default();
    field.trim_start_matches("Bearer ").to_owned()
}

fn config(origin: &Origin) -> String {
    let url = origin.url();
    format!(
        "providers:\n  openai:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n"
    )
}

/// The key that a call goes out with; `None` if there is none.
fn key_of(gateway: &Gateway, origin: &Origin, token: &str) -> Option<String> {
    let answer = gateway.call(&chat(token, BODY));
    (answer.status == 200).then(|| shown(&origin.last()))
}

fn list(gateway: &Gateway) -> Vec<Value> {
    let (status, listed) = gateway.api("GET", "/api/v1/credentials", None);
    assert_eq!(status, 200, "{listed}");
    listed["data"].as_array().unwrap().clone()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn write(path: &Path, text: &str) {
    // Written beside and renamed, as careful writers do.
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    set_mode(&beside, 0o600);
    fs::rename(&beside, path).unwrap();
}

// ID-72
#[test]
fn files_of_the_folder_become_credentials_at_start_and_when_they_change() {
    let origin = Origin::start(|_| ok(b"{}"));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("auths");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    let first = dir.join("codex-main.json");
    let text = |secret: &str, priority: i32| {
        json!({ "type": "api_key", "token": secret, "priority": priority }).to_string()
    };
    write(&first, &text(ONE, 0));
    write(&dir.join("nobody.json"), &text(TWO, 0));
    write(
        &dir.join("openai-broken.json"),
        "{\"token\":\"sk-secret-that-is-cut",
    );
    fs::write(dir.join("README.md"), "not one").unwrap();
    let auths = format!("auth_dir: \"{}\"\n", dir.display());
    let gateway = gateway(config(&origin) + &auths).start();
    let token = gateway.mint_token(&json!({}));
    assert_eq!(key_of(&gateway, &origin, &token).as_deref(), Some(ONE));
    let kept = list(&gateway);
    let [kept] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(
        (&kept["file"], &kept["provider"]),
        (&json!("codex-main.json"), &json!("openai"))
    );
    write(&first, &text(TWO, 3));
    eventually("the changed file", || {
        let key = key_of(&gateway, &origin, &token)?;
        (key == TWO && list(&gateway)[0]["priority"] == 3).then_some(())
    });
    let changed = list(&gateway);
    assert_eq!(
        (changed.len(), &changed[0]["id"]),
        (1, &kept["id"]),
        "the same one"
    );
    write(&dir.join("openai-2.json"), &text(ONE, 9));
    eventually("the new file", || {
        (key_of(&gateway, &origin, &token).as_deref() == Some(ONE)).then_some(())
    });
    assert_eq!(
        fs::read_to_string(&first).unwrap(),
        text(TWO, 3),
        "files stay"
    );
    let gateway = gateway.restart().unwrap();
    assert_eq!(list(&gateway).len(), 2, "nothing is added twice");
    let said = gateway.stderr();
    for part in ["nobody.json is not used", "openai-broken.json is not used"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("sk-secret") && !said.contains(ONE), "{said}");
}

// ID-68 ID-72
#[test]
fn a_folder_that_others_may_read_is_told_of() {
    let origin = Origin::start(|_| ok(b"{}"));
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("auths");
    fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o755);
    let file = dir.join("openai.json");
    write(
        &file,
        &json!({ "type": "api_key", "token": ONE }).to_string(),
    );
    let auths = format!("auth_dir: \"{}\"\n", dir.display());
    let open = gateway(config(&origin) + &auths).start();
    let said = open.stderr();
    let want = format!("chmod 0700 {}", dir.display());
    assert!(said.contains(&want), "{said}");
    drop(open);
    set_mode(&dir, 0o700);
    set_mode(&file, 0o644);
    let open = gateway(config(&origin) + &auths).start();
    let said = open.stderr();
    let want = format!("chmod 0600 {}", file.display());
    assert!(said.contains(&want), "{said}");
}

fn done(gateway: &Gateway, arguments: &[&str], input: &str) -> Value {
    let output = gateway.cli_with(arguments, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

// ID-110 ID-70
#[test]
#[expect(clippy::too_many_lines, reason = "a line for each command")]
fn credentials_are_managed_from_a_script() {
    let origin = Origin::start(|request| match shown(request).as_str() {
        ONE => ok(b"{}"),
        _ => vec![tollkeep_testkit::Step::Send(
            b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
        )],
    });
    let gateway = gateway(config(&origin)).start();
    let add = [
        "credential",
        "add",
        "--provider",
        "openai",
        "--label",
        "main",
        "--priority",
        "-2",
    ];
    let more = [
        "--model",
        "gpt-4o=fast",
        "--model",
        "o3*",
        "--exclude",
        "o3-pro",
    ];
    let made = done(&gateway, &[&add[..], &more].concat(), &format!("{ONE}\n"));
    let id = made["id"].as_str().unwrap();
    assert_eq!(
        (&made["label"], &made["priority"], &made["models"]),
        (
            &json!("main"),
            &json!(-2),
            &json!([{ "name": "gpt-4o", "alias": "fast" }, { "name": "o3*" }])
        )
    );
    assert!(!made.to_string().contains(ONE));
    let listed = done(
        &gateway,
        &["credentials", "list", "--provider", "openai"],
        "",
    );
    assert_eq!(listed["data"][0]["id"], made["id"]);
    let tested = done(&gateway, &["credential", "test", id], "");
    assert_eq!(tested["status_class"], "2xx");
    for (verb, status) in [
        ("disable", "disabled"),
        ("enable", "active"),
        ("cooldown", "cooling"),
        ("recover", "active"),
    ] {
        let changed = done(&gateway, &["credential", verb, id], "");
        assert_eq!(changed["status"], status, "{verb}");
    }
    let updated = done(
        &gateway,
        &["credential", "update", id, "--all-models", "--weight", "7"],
        "",
    );
    assert_eq!(
        (&updated["models"], &updated["weight"]),
        (&json!([]), &json!(7))
    );
    let secret = gateway.folder().join("secret");
    fs::write(&secret, TWO).unwrap();
    let file = secret.to_str().unwrap();
    let rotated = done(
        &gateway,
        &["credential", "rotate", id, "--secret-file", file],
        "",
    );
    assert_ne!(rotated["token_hint"], made["token_hint"]);
    assert_eq!(
        done(&gateway, &["credential", "get", id], "")["id"],
        made["id"]
    );
    for (name, arguments, code) in [
        ("a test that fails", vec!["credential", "test", id], 8),
        (
            "no secret",
            vec!["credential", "add", "--provider", "openai"],
            2,
        ),
        (
            "a secret as an argument",
            vec!["credential", "add", "--provider", "openai", "--secret", ONE],
            2,
        ),
        ("nothing asked", vec!["credential", "delete", id], 2),
        (
            "unknown",
            vec!["credential", "get", "crd_00000000000070008000000000000000"],
            4,
        ),
    ] {
        let output = gateway.cli(&arguments);
        assert_eq!(output.status.code(), Some(code), "{name}");
    }
    done(&gateway, &["credential", "delete", id, "--yes"], "");
    assert_eq!(list(&gateway), Vec::<Value>::new());
}

// ID-100 ID-70
#[test]
fn a_project_of_llm_proxy_has_a_key_of_its_own() {
    let origin = Origin::start(|_| ok(b"{}"));
    let gateway = gateway(config(&origin)).start();
    let post = |body: &Value| gateway.api("POST", "/manage/projects", Some(body));
    let (status, project) = post(&json!({ "name": "one", "api_key": ONE }));
    assert_eq!(status, 201, "{project}");
    let masked = project["api_key"].as_str().unwrap();
    assert!(
        masked.contains("****") && !project.to_string().contains(ONE),
        "{project}"
    );
    let id = project["id"].as_str().unwrap();
    let token = gateway.mint_token(&json!({ "project": id }));
    assert_eq!(key_of(&gateway, &origin, &token).as_deref(), Some(ONE));
    let (_, other) = post(&json!({ "name": "other", "openai_api_key": TWO }));
    let other = gateway.mint_token(&json!({ "project": other["id"] }));
    assert_eq!(key_of(&gateway, &origin, &other).as_deref(), Some(TWO));
    let none = made(&gateway, "/manage/projects", &json!({ "name": "none" }));
    let none = gateway.mint_token(&json!({ "project": none }));
    assert_eq!(key_of(&gateway, &origin, &none), None);
    let path = format!("/manage/projects/{id}");
    let changed = gateway.api("PATCH", &path, Some(&json!({ "api_key": TWO })));
    assert_eq!(changed.0, 200, "{}", changed.1);
    assert_ne!(changed.1["api_key"], project["api_key"]);
    assert_eq!(key_of(&gateway, &origin, &token).as_deref(), Some(TWO));
    assert_eq!(list(&gateway).len(), 2, "it was changed, not added");
    let shown = gateway.api("GET", "/manage/projects", None).1;
    let hints = shown.as_array().unwrap().iter();
    assert_eq!(hints.filter(|one| one["api_key"].is_string()).count(), 2);
    let (status, refused) = post(&json!({ "name": "masked", "api_key": masked }));
    assert_eq!((status, &refused["code"]), (400, &json!("looks_masked")));
    let (status, _) = post(&json!({ "name": "masked" }));
    assert_eq!(status, 201, "a refused one was not made");
    let made = done(
        &gateway,
        &[
            "manage",
            "project",
            "create",
            "--name",
            "cli",
            "--api-key",
            "-",
        ],
        ONE,
    );
    assert!(made["api_key"].as_str().unwrap().contains("****"), "{made}");
}

// ID-100
#[test]
fn the_families_of_cliproxyapi_tell_which_build_it_is() {
    let gateway = gateway(config(&Origin::plain())).start();
    for path in ["/v0/management/auths", "/v0/management/nothing"] {
        let answer = ask(&gateway, MANAGEMENT_KEY, &format!("GET {path}"), None);
        for name in ["x-cpa-version", "x-cpa-commit", "x-cpa-build-date"] {
            assert!(answer.field(name).is_some(), "{path} {name}");
        }
    }
    let own = ask(&gateway, MANAGEMENT_KEY, "GET /api/v1/credentials", None);
    assert_eq!(own.field("x-cpa-version"), None);
}

// ID-67
#[test]
fn a_credential_that_can_not_be_opened_is_passed_over_and_told_of() {
    let origin = Origin::start(|_| ok(b"{}"));
    let gateway = gateway(config(&origin)).start();
    let token = gateway.mint_token(&json!({}));
    let add = |secret: &str, priority: i32| {
        let body = json!({ "provider": "openai", "secret": secret, "priority": priority });
        made(&gateway, "/api/v1/credentials", &body)
    };
    let (bad, good) = (add(ONE, 5), add(TWO, 0));
    let mut gateway = gateway;
    gateway.signal(Signal::TERM);
    assert!(gateway.wait_exit(Duration::from_secs(20)).is_some());
    spoil_secret(&gateway.data_dir().join("tollkeep.db"), &bad);
    let gateway = gateway.restart().unwrap();
    let status = |id: &str| {
        let path = format!("/api/v1/credentials/{id}");
        gateway.api("GET", &path, None).1["status"].clone()
    };
    assert_eq!(
        (status(&bad), status(&good)),
        (json!("unreadable"), json!("active"))
    );
    assert_eq!(key_of(&gateway, &origin, &token).as_deref(), Some(TWO));
    let told = gateway.audit_line("vault.open_failed", |line| {
        line["action"] == "vault.open_failed"
    });
    assert_eq!(told["details"]["name"], json!(bad), "{told}");
    let path = format!("/api/v1/credentials/{good}/disable");
    gateway.api("POST", &path, Some(&json!({})));
    let none = gateway.call(&chat(&token, BODY));
    assert_eq!(none.status, 503, "{}", none.text());
    let path = format!("/api/v1/credentials/{bad}/rotate");
    let (status, _) = gateway.api("POST", &path, Some(&json!({ "secret": ONE })));
    assert_eq!(status, 200);
    assert_eq!(key_of(&gateway, &origin, &token).as_deref(), Some(ONE));
}

/// Changes a byte of the sealed text in the row of this id, wherever the file has it.
fn spoil_secret(database: &Path, id: &str) {
    let mut bytes = fs::read(database).unwrap();
    let find = |bytes: &[u8], text: &[u8]| {
        let all = bytes.windows(text.len()).enumerate();
        let found = all.filter(|(_, part)| *part == text);
        found.map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut spoilt = 0;
    for at in find(&bytes, id.as_bytes()) {
        let row = &bytes[at..(at + 300).min(bytes.len())];
        if let Some(sealed) = find(row, b"enc:v2:").first() {
            let byte = &mut bytes[at + sealed + 60];
            *byte = if *byte == b'A' { b'B' } else { b'A' };
            spoilt += 1;
        }
    }
    assert!(spoilt > 0, "there is one");
    fs::write(database, bytes).unwrap();
}
