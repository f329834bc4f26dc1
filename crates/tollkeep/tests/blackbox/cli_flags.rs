//! Flags that all commands have, remembered gateways, completion and manual pages.

use crate::callers::models;
use crate::fixture::TOLLKEEP;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tollkeep_testkit::{Gateway, MANAGEMENT_KEY, Origin};

fn gateway() -> Gateway {
    models(&Origin::plain()).start()
}

/// A command of a user with this home, in a folder without a gateway.
fn at_home(home: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(TOLLKEEP)
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut pipe, stdin.as_bytes()).ok();
    drop(pipe);
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

// ID-110 ID-111
#[test]
fn an_answer_is_printed_in_the_form_that_is_asked_for() {
    let gateway = gateway();
    for name in ["one", "two"] {
        gateway.cli(&["project", "create", name]);
    }
    let print = |form: &str| out(&gateway.cli(&["project", "list", "--output", form]));
    let table = print("table");
    assert!(
        table.lines().count() == 4 && table.contains("SLUG"),
        "{table}"
    );
    assert!(!table.contains(".") || table.contains(" UTC"), "{table}");
    let json: Value = serde_json::from_str(&print("json")).unwrap();
    assert_eq!(json["data"].as_array().map(Vec::len), Some(3));
    let lines: Vec<Value> = print("jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(Some(&lines), json["data"].as_array());
    let csv = print("csv");
    assert!(csv.lines().count() == 4 && csv.contains(",slug,"), "{csv}");
    let yaml = print("yaml");
    assert!(yaml.starts_with("data:\n  -\n"), "{yaml}");
    assert!(yaml.contains("    slug: \"one\"\n"), "{yaml}");
    let mistaken = gateway.cli(&["project", "list", "--output", "xml"]);
    assert_eq!((code(&mistaken), out(&mistaken)), (Some(2), String::new()));
    let both = gateway.cli(&["project", "list", "--output", "yaml", "--json"]);
    assert_eq!(code(&both), Some(2));
}

// ID-110
#[test]
fn a_gateway_is_reached_by_socket_by_address_and_not_for_ever() {
    let gateway = gateway();
    let folder = tempfile::tempdir().unwrap();
    let socket = gateway.data_dir().join("tollkeep.sock");
    let socket = socket.to_str().unwrap();
    let by_socket = at_home(folder.path(), &["whoami", "--socket", socket], "");
    assert_eq!(code(&by_socket), Some(0), "{}", err(&by_socket));
    let nowhere = at_home(folder.path(), &["whoami", "--socket", "/nowhere.sock"], "");
    assert_eq!(code(&nowhere), Some(7));
    let both = ["whoami", "--socket", socket, "--url", "http://127.0.0.1:1"];
    assert_eq!(code(&at_home(folder.path(), &both, "")), Some(2));
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let key = folder.path().join("key");
    fs::write(&key, MANAGEMENT_KEY).unwrap();
    let late = [
        "whoami",
        "--url",
        &url,
        "--key-file",
        key.to_str().unwrap(),
        "--timeout",
        "100ms",
    ];
    let late = at_home(folder.path(), &late, "");
    assert_eq!(code(&late), Some(7));
    assert!(
        err(&late).contains("no answer within 100ms"),
        "{}",
        err(&late)
    );
    let wrong = at_home(folder.path(), &["whoami", "--timeout", "soon"], "");
    assert_eq!(code(&wrong), Some(2));
}

// ID-110
#[test]
fn yes_is_understood_everywhere() {
    let gateway = gateway();
    let token = gateway.cli(&["token", "create", "--yes"]);
    let token: Value = serde_json::from_slice(&token.stdout).unwrap();
    let id = token["id"].as_str().unwrap();
    assert_eq!(
        code(&gateway.cli(&["token", "revoke", id])),
        Some(2),
        "nobody can be asked"
    );
    assert_eq!(
        code(&gateway.cli(&["--yes", "token", "revoke", id])),
        Some(0)
    );
    let plain = gateway.cli(&["token", "--no-color", "--help"]);
    assert!(!out(&plain).contains('\u{1b}'));
}

// ID-110
#[test]
fn what_is_only_to_be_tried_changes_nothing() {
    let gateway = gateway();
    let tried = gateway.cli(&["project", "create", "dry", "--dry-run"]);
    let listed = out(&gateway.cli(&["project", "list"]));
    assert!(!listed.contains("\"dry\""), "{listed} {}", err(&tried));
    let read = gateway.cli(&["project", "list", "--dry-run"]);
    assert_eq!(code(&read), Some(0), "reading changes nothing anyway");
}

// ID-110
#[test]
fn a_gateway_is_remembered_with_its_key_and_forgotten() {
    let gateway = gateway();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let url = format!("http://{}", gateway.management());
    let wrong = at_home(home, &["login", "--url", &url], "mgt-wrong\n");
    assert_eq!(code(&wrong), Some(5), "{}", err(&wrong));
    let file = home.join(".config/tollkeep/profiles.json");
    assert!(!file.exists(), "what does not work is not kept");
    let key = format!("{MANAGEMENT_KEY}\n");
    let done = at_home(home, &["login", "--url", &url, "--as", "production"], &key);
    assert_eq!(code(&done), Some(0), "{}", err(&done));
    assert!(!(out(&done) + &err(&done)).contains(MANAGEMENT_KEY));
    let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let who = ["whoami", "--profile", "production"];
    assert_eq!(code(&at_home(home, &who, "")), Some(0));
    assert_eq!(
        code(&at_home(home, &["whoami"], "")),
        Some(7),
        "it is not the default"
    );
    // The words of llm-router: the deployment by its name.
    let made = [
        "worker-key",
        "--env=production",
        "--generate-master-key=true",
        "--master-key-length=64",
        "--master-key-prefix=gw_",
    ];
    let made = at_home(home, &made, "");
    assert_eq!(code(&made), Some(0), "{}", err(&made));
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["secret"].as_str().unwrap().starts_with("gw_"));
    assert_eq!(
        code(&at_home(home, &["login", "--url", &url], &key)),
        Some(0)
    );
    assert_eq!(code(&at_home(home, &["whoami"], "")), Some(0), "now it is");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let wide = at_home(home, &who, "");
    assert_eq!(code(&wide), Some(3));
    assert!(err(&wide).contains("chmod 0600"), "{}", err(&wide));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    for (arguments, want) in [
        (&["logout"][..], 0),
        (&["logout"], 4),
        (&["whoami"], 7),
        (&["logout", "--profile", "production"], 0),
        (&who, 3),
        (&["login", "--url", &url, "--as", "a/b"], 2),
        (&["login"], 2),
    ] {
        assert_eq!(
            code(&at_home(home, arguments, "")),
            Some(want),
            "{arguments:?}"
        );
    }
    fs::write(&file, "nonsense").unwrap();
    assert_eq!(code(&at_home(home, &who, "")), Some(3));
}

/// What a shell is told of a line of words, the last of which is being typed.
fn completed(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(TOLLKEEP);
    command
        .args(["--", "tollkeep"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .env("_TOLLKEEP_COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
    out(&output)
}

// ID-113
#[test]
fn shells_are_told_commands_and_ids() {
    let gateway = gateway();
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = at_home(folder.path(), &["completion", shell], "");
        assert_eq!(code(&script), Some(0), "{shell}");
        assert!(out(&script).contains("_TOLLKEEP_COMPLETE"), "{shell}");
    }
    assert_eq!(
        code(&at_home(folder.path(), &["completion", "cmd"], "")),
        Some(2)
    );
    let token = gateway.cli(&["token", "create", "--name", "ci"]);
    let token: Value = serde_json::from_slice(&token.stdout).unwrap();
    let id = token["id"].as_str().unwrap();
    let here = gateway.folder();
    assert!(completed(here, &["va"]).contains("vault"));
    assert!(completed(here, &["vault", "re"]).contains("rekey"));
    assert!(completed(here, &["token", "get", "tid_"]).contains(id));
    assert!(completed(here, &["token", "create", "--project", "def"]).contains("default"));
    assert!(!completed(here, &["token", "get", "xyz"]).contains(id));
    let data = gateway.data_dir();
    let far = ["token", "get", "--data-dir", data.to_str().unwrap(), "tid_"];
    assert!(
        completed(folder.path(), &far).contains(id),
        "where the line says"
    );
    // Nobody is there: the shell is told of nothing, and at once.
    let began = std::time::Instant::now();
    assert!(!completed(folder.path(), &["token", "get", "tid_"]).contains("tid_0"));
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

// ID-113
#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let page = at_home(folder.path(), &["man"], "");
    assert!(out(&page).contains(".TH tollkeep 1"), "{}", out(&page));
    let at = folder.path().to_str().unwrap();
    assert_eq!(
        code(&at_home(folder.path(), &["man", "--dir", at], "")),
        Some(0)
    );
    for page in [
        "tollkeep.1",
        "tollkeep-token-create.1",
        "tollkeep-vault-rekey.1",
    ] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let nowhere = at_home(folder.path(), &["man", "--dir", "/nowhere/at/all"], "");
    assert_eq!(code(&nowhere), Some(3));
}
