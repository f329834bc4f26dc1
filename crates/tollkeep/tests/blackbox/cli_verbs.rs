//! Every verb of the command line: as a table, as JSON, and how it ends.

use crate::callers::models;
use crate::openapi::document;
use crate::operators::ask;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Output;
use tollkeep_testkit::{Gateway, Origin};

/// A command with what stands for things that are there in capitals, a word that its table has
/// (nothing: it prints nothing), and its exit code for something that is not there.
type Row = (&'static str, &'static str, Option<i32>);

/// Nothing of what it names can be missing.
const NONE: Option<i32> = None;

/// In an order in which nothing takes away what a later one needs.
const ROWS: &[Row] = &[
    ("status", "version", NONE),
    ("whoami", "owner", NONE),
    ("project list", "default", NONE),
    ("project create UNIQUE", "UNIQUE", NONE),
    ("project get PROJECT", "PROJECT", Some(4)),
    ("project update PROJECT --name UNIQUE", "UNIQUE", Some(4)),
    ("tenant list", "default", NONE),
    ("tenant create UNIQUE", "UNIQUE", NONE),
    ("tenant get TENANT", "active", Some(4)),
    ("tenant update TENANT --name UNIQUE", "UNIQUE", Some(4)),
    ("tenant suspend TENANT", "suspended", Some(4)),
    ("tenant resume TENANT", "active", Some(4)),
    ("tenant delete TENANT --yes", "", Some(4)),
    ("token create --name UNIQUE", "UNIQUE", NONE),
    ("token list", "STATUS", NONE),
    ("token get TOKEN", "tid_", Some(4)),
    ("token update TOKEN --name renamed", "renamed", Some(4)),
    ("token suspend TOKEN", "suspended", Some(4)),
    ("token resume TOKEN", "active", Some(4)),
    ("token rotate TOKEN", "tid_", Some(4)),
    ("token revoke TOKEN --yes", "revoked", Some(4)),
    ("project revoke-tokens PROJECT --yes", "", Some(4)),
    ("key create UNIQUE --role viewer", "UNIQUE", NONE),
    ("key list", "NAME", NONE),
    ("key get KEY", "viewer", Some(4)),
    ("key update KEY --name renamed", "renamed", Some(4)),
    ("key rotate KEY", "mky_", Some(4)),
    ("key revoke KEY --yes", "", Some(4)),
    ("service-token create --name UNIQUE", "svc_", NONE),
    ("service-token list", "NAME", NONE),
    ("service-token rotate SERVICE", "svc_", Some(4)),
    ("service-token revoke SERVICE --yes", "", Some(4)),
    ("credential providers", "openai", NONE),
    ("credential pool", "none", NONE),
    (
        "operator create UNIQUE --role viewer --no-password",
        "UNIQUE",
        NONE,
    ),
    ("operator list", "NAME", NONE),
    ("operator get OPERATOR", "viewer", Some(4)),
    (
        "operator update OPERATOR --email a@b.example",
        "a@b.example",
        Some(4),
    ),
    ("operator disable OPERATOR --yes", "disabled", Some(4)),
    ("operator enable OPERATOR", "active", Some(4)),
    ("operator sessions OPERATOR", "none", Some(4)),
    ("operator delete OPERATOR --yes", "", Some(4)),
    ("breaker list", "none", NONE),
    ("cooldown list", "none", NONE),
    ("cooldown clear", "", NONE),
    ("ledger check", "entries followed: 0", NONE),
    ("ip deny 192.0.2.1", "192.0.2.1", NONE),
    ("ip list", "192.0.2.1", NONE),
    ("ip allow 192.0.2.1", "192.0.2.1", NONE),
    ("ip remove 192.0.2.1", "", Some(4)),
    ("lockout list", "none", NONE),
    ("lockout clear LOCKED", "", Some(4)),
    ("maintenance status", "no", NONE),
    ("maintenance on --message later", "later", NONE),
    ("maintenance off", "", NONE),
    ("config get", "providers:", NONE),
    ("config reload", "generation", NONE),
    ("tls reload", "", NONE),
    ("vault status", "kek-1", NONE),
    ("vault rekey", "done", NONE),
    ("job list", "vault.rekey", NONE),
    ("job get JOB", "done", Some(4)),
    ("job wait JOB", "done", Some(4)),
];

/// What has the place of a word in capitals.
fn made(gateway: &Gateway, command: &str) -> Value {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = gateway.cli(&words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The command, with things of its own in it and their number to tell names apart.
fn filled(gateway: &Gateway, command: &str, number: usize) -> String {
    let id = |command: &str| {
        let made = made(gateway, command);
        made["id"].as_str().unwrap().to_owned()
    };
    let mut filled = command.replace("UNIQUE", &format!("n-{number}"));
    for (word, make) in [
        ("PROJECT", "project create"),
        ("TENANT", "tenant create"),
        ("KEY", "key create --role viewer"),
        ("OPERATOR", "operator create --role viewer --no-password"),
        ("SERVICE", "service-token create --name"),
        ("TOKEN", "token create --name"),
    ] {
        let is_there = filled.split_whitespace().any(|part| part == word);
        if is_there {
            filled = filled.replace(word, &id(&format!("{make} made-{number}")));
        }
    }
    if filled.split_whitespace().any(|part| part == "LOCKED") {
        let failed = ask(gateway, "mgt-of-nobody", "GET /api/v1/whoami", None);
        assert_eq!(failed.status, 401);
        filled = filled.replace("LOCKED", "127.0.0.1");
    }
    if filled.split_whitespace().any(|part| part == "JOB") {
        let begun = made(gateway, "vault rekey --no-wait");
        let job = begun["job"].as_str().unwrap();
        made(gateway, &format!("job wait {job}"));
        filled = filled.replace("JOB", job);
    }
    filled
}

fn run(gateway: &Gateway, command: &str, further: &[&str]) -> Output {
    let mut words: Vec<_> = command.split_whitespace().collect();
    words.extend(further);
    gateway.cli(&words)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The command for things that are not there.
fn missing(command: &str) -> String {
    let words = command.split_whitespace().map(|word| match word {
        "PROJECT" => "prj_00000000000070008000000000000000",
        "TENANT" => "ten_00000000000070008000000000000000",
        "TOKEN" => "tid_00000000000070008000000000000000",
        "KEY" => "mky_00000000000070008000000000000000",
        "OPERATOR" => "opr_00000000000070008000000000000000",
        "SERVICE" => "svc_00000000000070008000000000000000",
        "LOCKED" => "192.0.2.200",
        "JOB" => "job_00000000000070008000000000000000",
        other => other,
    });
    words.collect::<Vec<_>>().join(" ")
}

// ID-110 ID-111 ID-112
#[test]
fn every_verb_prints_tables_and_json_and_ends_with_its_code() {
    let gateway = models(&Origin::plain()).start();
    for (number, (command, word, absent)) in ROWS.iter().enumerate() {
        let number = number * 2;
        let table = run(
            &gateway,
            &filled(&gateway, command, number),
            &["--output", "table"],
        );
        let shown = text(&table.stdout);
        let name = format!("{command}: {shown}{}", text(&table.stderr));
        assert_eq!(table.status.code(), Some(0), "{name}");
        assert!(!shown.starts_with('{'), "{name}");
        let word = word.replace("UNIQUE", &format!("n-{number}"));
        let word = word.replace("PROJECT", "prj_");
        assert!(shown.contains(&word), "{name}");
        let again = filled(&gateway, command, number + 1).replace("192.0.2.1", "192.0.2.2");
        let json = run(&gateway, &again, &["--json"]);
        assert_eq!(json.status.code(), Some(0), "{name}");
        let printed = text(&json.stdout);
        for line in printed.lines() {
            let read: Result<Value, _> = serde_json::from_str(line);
            assert!(read.is_ok(), "{command}: {printed}");
        }
        assert!(printed.lines().count() <= 1, "{command}: {printed}");
        if let Some(code) = absent {
            let refused = run(&gateway, &missing(command), &[]);
            assert_eq!(refused.status.code(), Some(*code), "{command}");
            assert!(refused.stdout.is_empty(), "{command}");
            assert!(text(&refused.stderr).starts_with("tollkeep: "), "{command}");
        }
        // Nobody is there, and nobody says so in JSON.
        let unreachable = run(&gateway, &missing(command), &["--data-dir", "/nowhere"]);
        assert_eq!(unreachable.status.code(), Some(7), "{command}");
        assert!(unreachable.stdout.is_empty(), "{command}");
    }
}

// ID-110
#[test]
fn every_command_of_the_api_knows_the_flags_of_all() {
    let gateway = models(&Origin::plain()).start();
    let document = document(&gateway);
    let paths = document["paths"].as_object().unwrap();
    let methods = paths.values().filter_map(Value::as_object);
    let commands: BTreeSet<_> = methods
        .flat_map(|methods| methods.values())
        .filter_map(|operation| operation["x-tollkeep-command"].as_str())
        .filter(|command| !command.starts_with("manage") && *command != "openapi")
        .collect();
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        let help = run(&gateway, command, &["--help"]);
        let told = text(&help.stdout);
        assert_eq!(help.status.code(), Some(0), "{command}");
        for flag in [
            "--url",
            "--key-file",
            "--profile",
            "--socket",
            "--json",
            "--output",
            "--dry-run",
            "--timeout",
        ] {
            assert!(told.contains(flag), "{command} {flag}");
        }
    }
}
