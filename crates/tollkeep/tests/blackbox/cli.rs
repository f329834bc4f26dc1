//! The command line: what it prints where nobody watches, and how it ends.

use crate::callers::{PROVIDER_KEY, bearer, get, models};
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin};

/// Runs the binary in a folder with nothing in its environment.
fn run(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(TOLLKEEP);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one JSON line on standard output of a command that went well.
fn json_of(output: &Output) -> Value {
    assert_eq!(code(output), 0, "{}", stderr(output));
    let text = stdout(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn gateway() -> Gateway {
    models(&Origin::plain()).start()
}

/// The options of a token, all at once.
const OPTIONS: &str = "--name ci --ttl 1h --max-requests 5 --requests-per-second 100 \
    --requests-per-minute 1000 --burst 10 --concurrency 3 --model gpt-4o --model o* \
    --ip 127.0.0.1 --ip 10.0.0.0/8 --project team-a";

fn done(gateway: &Gateway, command: &str) -> Value {
    json_of(&gateway.cli(&command.split_whitespace().collect::<Vec<_>>()))
}

// ID-110 ID-111 ID-112
#[test]
fn projects_are_managed_from_a_script() {
    let gateway = gateway();
    let made = json_of(&gateway.cli(&["project", "create", "Team A"]));
    assert_eq!(made["slug"], "team-a");
    assert_eq!(made["name"], "Team A");
    assert_eq!(done(&gateway, "project get team-a")["id"], made["id"]);
    let listed = done(&gateway, "projects list");
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let status = done(&gateway, "status");
    assert_eq!(
        (&status["store"], &status["audit"]),
        (&json!("ok"), &json!("ok"))
    );
    assert_eq!(
        done(&gateway, "status --json")["version"],
        env!("CARGO_PKG_VERSION")
    );
}

// ID-110 ID-111 ID-112
#[test]
fn tokens_are_managed_from_a_script_and_shown_once() {
    let gateway = gateway();
    let project = done(&gateway, "project create x --slug team-a");
    let token = done(&gateway, &format!("token create {OPTIONS}"));
    let secret = token["secret"].as_str().unwrap();
    assert_eq!(token["project_id"], project["id"]);
    assert_eq!(
        token["bindings"]["ips"],
        json!(["127.0.0.1/32", "10.0.0.0/8"])
    );
    assert_eq!(
        (&token["max_requests"], &token["limits"]["burst"]),
        (&json!(5), &json!(10))
    );
    let called = || gateway.call(&get("/v1/models", &bearer(secret))).status;
    assert_eq!(called(), 200);
    let id = token["id"].as_str().unwrap();
    let shown = done(&gateway, &format!("token get {id}"));
    assert_eq!(shown["name"], "ci");
    assert!(!shown.to_string().contains(secret), "shown once");
    let listed = done(&gateway, "tokens list --project team-a");
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let rotated = done(&gateway, &format!("token rotate {id} --overlap 1h"));
    assert_eq!(rotated["replaces"], id);
    let revoked = done(
        &gateway,
        &format!("token revoke {id} --yes --reason leaked"),
    );
    assert_eq!(revoked["revoked_reason"], "leaked");
    assert_eq!(called(), 401);
}

/// Commands that fail, their exit code, and what they say. `ID` is a token that is not there.
const FAILURES: [(&str, &str, i32, &str); 15] = [
    ("no command", "", 2, "Usage"),
    ("unknown command", "mint", 2, "unrecognized"),
    ("unknown option", "token list --all", 2, "--all"),
    ("missing argument", "token get", 2, "<ID>"),
    ("no number", "token create --max-requests many", 2, "many"),
    (
        "a destructive act without --yes",
        "token revoke ID",
        2,
        "--yes",
    ),
    ("bad input", "token create --ttl 5", 3, "/ttl"),
    (
        "two bad inputs",
        "token create --ttl 900d --ip banana",
        3,
        "/bindings/ips",
    ),
    ("unknown token", "token get ID", 4, "no such thing"),
    ("unknown project", "project get nope", 4, "no such thing"),
    (
        "a token's unknown project",
        "token create --project nope",
        4,
        "no such thing",
    ),
    ("twice the same", "project create Twice", 6, "exists"),
    (
        "no gateway here",
        "status --data-dir ./elsewhere",
        7,
        "is the gateway running",
    ),
    (
        "nobody listens",
        "status --url 127.0.0.1:1",
        7,
        "127.0.0.1:1",
    ),
    ("no address", "status --url gateway.example", 2, "--url"),
];

// ID-112
#[test]
fn every_failure_has_its_exit_code_and_says_what_to_do() {
    let gateway = gateway();
    done(&gateway, "project create Twice");
    for (name, command, want, told) in FAILURES {
        let command = command.replace("ID", "tid_00000000000070008000000000000000");
        let output = gateway.cli(&command.split_whitespace().collect::<Vec<_>>());
        assert_eq!(code(&output), want, "{name}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(told),
            "{name}: {}",
            stderr(&output)
        );
        assert_eq!(stdout(&output), "", "{name}: nothing on standard output");
    }
}

// ID-110 ID-112
#[test]
fn a_gateway_is_reached_by_address_and_key() {
    let gateway = gateway();
    let folder = tempfile::tempdir().unwrap();
    let addr = gateway.management().to_string();
    let url = format!("http://{addr}/");
    let key = |key| [("TOLLKEEP_MANAGEMENT_KEY", key)];
    let file = folder.path().join("key");
    fs::write(&file, format!("{MANAGEMENT_KEY}\n")).unwrap();
    let ask = |arguments: &[&str], env: &[(&str, &str)]| code(&run(folder.path(), arguments, env));
    assert_eq!(ask(&["status", "--url", &addr], &key(MANAGEMENT_KEY)), 0);
    assert_eq!(ask(&["status", "--url", &url], &key(MANAGEMENT_KEY)), 0);
    assert_eq!(ask(&["status", "--url", &url, "--key-file", "key"], &[]), 0);
    assert_eq!(ask(&["status", "--url", &url], &[]), 5, "no key");
    assert_eq!(
        ask(&["status", "--url", &url], &key("mgt-wrong")),
        5,
        "a wrong key"
    );
    assert_eq!(
        ask(&["status", "--url", &url, "--key-file", "nothing"], &[]),
        1,
        "no file"
    );
}

#[test]
fn help_says_what_each_command_does() {
    let folder = tempfile::tempdir().unwrap();
    for (command, told) in [
        (
            "",
            &[
                "hardened gateway",
                "demo",
                "serve",
                "config",
                "token",
                "project",
                "status",
            ][..],
        ),
        ("demo", &["built-in model", "--once", "--json", "--port"]),
        (
            "serve",
            &["Run the gateway", "--config", "--set", "TOLLKEEP_CONFIG"],
        ),
        ("config", &["check", "show", "schema", "example"]),
        (
            "config check",
            &["every fault at once", "--environment", "--json"],
        ),
        ("config show", &["secrets hidden", "--origin", "--defaults"]),
        ("validate", &["config check"]),
        ("token", &["create", "list", "get", "revoke", "rotate"]),
        (
            "token create",
            &[
                "shown once",
                "--max-requests",
                "--ttl",
                "30d",
                "--ip",
                "--model",
            ],
        ),
        ("token revoke", &["for good", "--yes", "--reason"]),
        ("token rotate", &["same settings and counters", "--overlap"]),
        ("project", &["create", "list", "get"]),
        ("status", &["doing", "--url", "--key-file", "--data-dir"]),
    ] {
        let mut arguments: Vec<_> = command.split_whitespace().collect();
        arguments.push("--help");
        let output = run(folder.path(), &arguments, &[]);
        let text = stdout(&output);
        assert_eq!(code(&output), 0, "{command}");
        for told in told {
            assert!(text.contains(told), "{command}: no `{told}` in {text}");
        }
    }
    let version = stdout(&run(folder.path(), &["--version"], &[]));
    assert_eq!(version, format!("tollkeep {}\n", env!("CARGO_PKG_VERSION")));
}

/// A file with four faults, and where each is.
const FAULTY: &str = "server:\n  port: 99999\n  prot: 1\nfoo: bar\nproviders:\n  openai:\n    credentials:\n      - secret: ${NOWHERE}\n";
const FAULTS: [&str; 4] = [
    "bad.yaml:2:9: server.port:",
    "bad.yaml:3:3: server.prot: is no known key; did you mean `port`?",
    "bad.yaml:4:1: foo:",
    "bad.yaml:8:17: providers.openai.credentials[0].secret:",
];

// OPS-1 OPS-7
#[test]
fn a_faulty_file_is_told_whole_with_lines_and_serves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), FAULTY).unwrap();
    for arguments in [
        &["serve", "--config", "bad.yaml"][..],
        &["config", "check", "bad.yaml"],
        &["config", "show", "--config", "bad.yaml"],
        &["validate", "bad.yaml"],
    ] {
        let output = run(folder.path(), arguments, &[]);
        assert_eq!(code(&output), 3, "{arguments:?}");
        for fault in FAULTS {
            assert!(
                stderr(&output).contains(fault),
                "{arguments:?}: {}",
                stderr(&output)
            );
        }
    }
    let output = run(
        folder.path(),
        &["config", "check", "--json", "bad.yaml"],
        &[],
    );
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((code(&output), &told["valid"]), (3, &Value::Bool(false)));
    assert_eq!(told["errors"].as_array().unwrap().len(), FAULTS.len());
    let missing = run(folder.path(), &["config", "check", "nothing.yaml"], &[]);
    assert!(
        code(&missing) == 3 && stderr(&missing).contains("nothing.yaml"),
        "{}",
        stderr(&missing)
    );
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

// OPS-7
#[test]
fn a_good_file_is_checked_shown_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let env = [("OPENAI_API_KEY", "sk-proj-Hq3ZxT8vLm2Kp9Wn4Rb7Yc6D")];
    let print = |arguments: &[&str]| {
        let output = run(folder.path(), arguments, &env);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    for (name, full) in [("short.yaml", None), ("full.yaml", Some("--full"))] {
        let mut arguments = vec!["config", "example"];
        arguments.extend(full);
        fs::write(folder.path().join(name), print(&arguments)).unwrap();
        assert!(
            print(&["config", "check", name]).contains("is valid"),
            "{name}"
        );
        assert!(print(&["validate", name]).contains("is valid"), "{name}");
    }
    let checked: Value =
        serde_json::from_str(&print(&["config", "check", "--json", "short.yaml"])).unwrap();
    assert_eq!(
        (&checked["valid"], &checked["errors"]),
        (&Value::Bool(true), &Value::Array(Vec::new()))
    );
    let shown = print(&[
        "config",
        "show",
        "--config",
        "short.yaml",
        "--set",
        "server.port=8080",
        "--origin",
    ]);
    assert!(
        shown.contains("8080\"  # flag") && shown.contains("credentials[0].secret"),
        "{shown}"
    );
    assert!(!shown.contains(env[0].1), "{shown}");
    let schema: Value = serde_json::from_str(&print(&["config", "schema"])).unwrap();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert!(print(&["config", "reference"]).starts_with("# Configuration reference"));
    let production = run(
        folder.path(),
        &[
            "config",
            "check",
            "--environment",
            "production",
            "short.yaml",
        ],
        &env,
    );
    assert_eq!(
        code(&production),
        3,
        "production wants more: {}",
        stdout(&production)
    );
    assert!(
        stderr(&production).contains("auth.encryption.key"),
        "{}",
        stderr(&production)
    );
}

#[test]
fn a_port_that_is_taken_is_told_with_its_address() {
    let origin = Origin::plain();
    let gateway = models(&origin).start();
    for (key, value, addr) in [
        (
            "server.port",
            gateway.data().port().to_string(),
            gateway.data(),
        ),
        (
            "management.listen",
            gateway.management().to_string(),
            gateway.management(),
        ),
        (
            "metrics.port",
            gateway.metrics().port().to_string(),
            gateway.metrics(),
        ),
    ] {
        let failed = models(&origin).set(key, value).try_start().err().unwrap();
        assert_eq!(failed.code, Some(3), "{key}: {}", failed.stderr);
        assert!(
            failed.stderr.contains(&format!("cannot listen on {addr}")),
            "{key}: {}",
            failed.stderr
        );
    }
}

/// Runs a command whose output nobody reads: of this stream, both if none is named.
fn unread(gateway: &Gateway, arguments: &[&str], both: bool) -> (Option<i32>, String) {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        std::process::Stdio::from(writer)
    };
    let mut command = Command::new(TOLLKEEP);
    command
        .args(arguments)
        .current_dir(gateway.folder())
        .env_clear()
        .env("PROVIDER_KEY", PROVIDER_KEY)
        .stdout(closed());
    if both {
        command.stderr(closed());
    }
    let output = command.output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn a_reader_that_has_gone_is_no_fault_of_a_command() {
    let origin = Origin::plain();
    let gateway = models(&origin).start();
    for command in [
        "config schema",
        "config reference",
        "config example --full",
        "config show --defaults",
        "config check",
        "token list",
        "token list --json",
        "token create --project default --name gone",
        "project list",
        "status",
        "config reload",
        "maintenance status",
        "demo --once",
        "--help",
        "--version",
    ] {
        let arguments: Vec<_> = command.split(' ').collect();
        let (code, said) = unread(&gateway, &arguments, false);
        assert_eq!(
            (code, said.contains("panicked")),
            (Some(0), false),
            "{command}: {said}"
        );
        let (code, _) = unread(&gateway, &arguments, true);
        assert_eq!(code, Some(0), "{command}");
    }
    let tokens = gateway.cli(&["token", "list"]);
    assert!(stdout(&tokens).contains("gone"), "it was made all the same");
    // What goes wrong keeps its code, whoever reads of it.
    let (code, _) = unread(&gateway, &["token", "get", "tid_none"], true);
    assert_eq!(
        code,
        Some(self::code(&gateway.cli(&["token", "get", "tid_none"])))
    );
}

#[test]
fn output_that_can_not_be_written_for_another_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = Command::new(TOLLKEEP);
    command
        .args(["config", "schema"])
        .current_dir(folder.path())
        .env_clear();
    let output = command.stdout(full).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("cannot write to standard output"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_faulty_setting_is_told_once() {
    let origin = Origin::plain();
    let gateway = models(&origin).set("reload.watch", "false").start();
    let file = fs::read_to_string(gateway.config_file()).unwrap();
    gateway.configure(format!("{file}\nmetrics: {{ path: nonsense }}\n"));
    let refused = gateway.cli(&["config", "reload"]);
    assert_eq!(code(&refused), 3);
    let told = stderr(&refused);
    assert_eq!(told.matches("metrics.path").count(), 1, "{told}");
    assert!(told.contains("tollkeep.yaml:"), "{told}");
    // A member of a request still stands with its place.
    let refused = gateway.cli(&[
        "token",
        "create",
        "--project",
        "default",
        "--name",
        &"x".repeat(300),
    ]);
    assert_eq!(
        stderr(&refused).matches("/name: at most").count(),
        1,
        "{}",
        stderr(&refused)
    );
}
