//! Where records of the audit log are kept: in the file, in the database, in both, and how the two are
//! brought together.

use crate::callers::{bearer, chat, models, served};
use crate::operators::made;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tollkeep_testkit::{Builder, Gateway, Origin, Signal, eventually};

/// A gateway whose audit log is set by the environment alone.
fn by_environment(variables: &[(&str, &str)]) -> Builder {
    let builder = models(&Origin::plain()).in_file("audit.file");
    let set = |builder: Builder, (name, value): &(&str, &str)| builder.env(name, *value);
    variables.iter().fold(builder, set)
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.data_dir().join("audit.log")
}

fn status(gateway: &Gateway, path: &str) -> (u16, Value) {
    gateway.api("GET", path, None)
}

/// The events of the API, the last first.
fn events(gateway: &Gateway, query: &str) -> Vec<Value> {
    let (status, list) = status(gateway, &format!("/api/v1/audit?limit=200&{query}"));
    assert_eq!(status, 200, "{list}");
    list["data"].as_array().unwrap().clone()
}

/// Stops in order.
fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    let ended = gateway.wait_exit(tollkeep_testkit::PATIENCE);
    assert!(ended.unwrap().success(), "{}", gateway.stderr());
}

/// What is wrong with records.
pub(crate) fn faults(lines: &str) -> Vec<tollkeep_audit::Fault> {
    let mut verifier = tollkeep_audit::Verifier::default();
    verifier.read("records", lines.as_bytes()).unwrap();
    verifier.finish().faults
}

// AUD-20
#[test]
fn by_default_records_are_in_the_file_and_in_the_database() {
    let gateway = by_environment(&[]).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    let created = &events(&gateway, "action=project.create")[0];
    assert!(gateway.audit_lines().contains(created), "the same record");
    let (status, sums) = status(&gateway, "/api/v1/audit/stats?by=action&action=project.*");
    assert_eq!(status, 200);
    assert_eq!(
        sums["data"],
        json!([{ "action": "project.create", "events": 1 }])
    );
}

// AUD-20 AUD-22
#[test]
fn switched_off_nothing_is_kept_and_that_is_said() {
    for word in ["false", "0", "No", "OFF"] {
        let gateway = by_environment(&[("AUDIT_ENABLED", word)]).start();
        made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
        assert!(!file(&gateway).exists());
        let (code, problem) = status(&gateway, "/api/v1/audit");
        assert_eq!((code, &problem["code"]), (503, &json!("audit_db_disabled")));
        assert_eq!(status(&gateway, "/api/v1/status").1["audit"], "off");
        let told = gateway.stderr();
        assert_eq!(told.matches("Audit is off").count(), 1, "{told}");
    }
}

// AUD-20
#[test]
fn without_the_database_the_file_is_asked() {
    let gateway = by_environment(&[("AUDIT_STORE_IN_DB", "false")]).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    let created = &events(&gateway, "action=project.create")[0];
    assert!(gateway.audit_lines().contains(created));
    for path in ["/api/v1/audit/stats", "/api/v1/audit?follow=true"] {
        let (code, problem) = status(&gateway, path);
        assert_eq!((code, &problem["code"]), (503, &json!("audit_db_disabled")));
    }
}

// AUD-20 AUD-50
#[test]
fn without_a_file_the_database_has_the_whole_chain() {
    let mut gateway = by_environment(&[("AUDIT_LOG_FILE", "")]).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    assert!(!file(&gateway).exists());
    stop(&mut gateway);
    let gateway = gateway.restart().unwrap();
    made(&gateway, "/api/v1/projects", &json!({ "name": "b" }));
    assert!(!file(&gateway).exists());
    let all = eventually("the start is in the database", || {
        let all = events(&gateway, "");
        let starts = all.iter().filter(|event| event["action"] == "system.start");
        (starts.count() == 2).then_some(all)
    });
    let mut all: Vec<&Value> = all.iter().collect();
    all.sort_by_key(|event| event["seq"].as_u64());
    let lines: String = all.iter().map(|event| format!("{event}\n")).collect();
    assert_eq!(faults(&lines), [], "one chain over both lives");
    assert_eq!(all[0]["seq"], 1);
    assert_eq!(
        all.iter()
            .filter(|event| event["action"] == "project.create")
            .count(),
        2
    );
}

// AUD-20 AUD-21
#[test]
fn settings_that_would_keep_nothing_are_refused() {
    for (name, variables, want) in [
        (
            "nowhere",
            &[("AUDIT_LOG_FILE", ""), ("AUDIT_STORE_IN_DB", "no")][..],
            "records would be kept nowhere",
        ),
        (
            "no folder",
            &[
                ("AUDIT_LOG_FILE", "nowhere/audit.log"),
                ("AUDIT_CREATE_DIR", "off"),
            ],
            "audit directory `nowhere`",
        ),
        (
            "no switch",
            &[("AUDIT_ENABLED", "maybe")],
            "want `true` or `false`",
        ),
        (
            "no switch either",
            &[("AUDIT_STORE_IN_DB", "2")],
            "want `true` or `false`",
        ),
    ] {
        let Err(refused) = by_environment(variables).try_start() else {
            panic!("{name}: it started");
        };
        assert_eq!(refused.code, Some(3), "{name}");
        assert!(refused.stderr.contains(want), "{name}: {}", refused.stderr);
    }
}

// AUD-83
#[test]
fn masking_cannot_be_switched_off() {
    let gateway = by_environment(&[("MASK_API_KEYS", "false")]).start();
    assert!(gateway.stderr().contains("MASK_API_KEYS has no effect"));
    let token = gateway.mint_token(&json!({}));
    assert!(!fs::read_to_string(file(&gateway)).unwrap().contains(&token));
}

// AUD-83
#[test]
fn the_log_tells_more_for_a_while_and_who_asked_for_it_is_recorded() {
    let gateway = models(&Origin::plain())
        .set("logging.level", "warn")
        .start();
    let level = || status(&gateway, "/api/v1/log-level").1["level"].clone();
    assert_eq!(level(), "warn");
    let done = gateway.cli(&["log", "level", "debug", "--for", "2s"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(level(), "debug");
    assert!(gateway.stderr().contains("tells from `debug` on"));
    let event = &events(&gateway, "action=config.reload")[0];
    assert_eq!(event["details"]["changed"], "logging.level debug for 2 s");
    eventually("it is as before", || (level() == "warn").then_some(()));
    let body = json!({ "level": "debug", "for": "25h" });
    assert_eq!(gateway.api("PUT", "/api/v1/log-level", Some(&body)).0, 422);
    let wrong = gateway.cli(&["log", "level", "loud"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert_eq!(level(), "warn");
}

// AUD-42
#[test]
fn lines_that_the_file_lost_come_back_from_the_database() {
    let (_origin, mut gateway, token) = served();
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    for name in ["a", "b", "c"] {
        made(&gateway, "/api/v1/projects", &json!({ "name": name }));
    }
    stop(&mut gateway);
    let path = file(&gateway);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let kept = lines[..lines.len() - 4].join("\n") + "\n";
    fs::write(&path, kept + "{\"torn\":").unwrap();
    let mut gateway = gateway.restart().unwrap();
    stop(&mut gateway);
    let healed = fs::read_to_string(&path).unwrap();
    assert!(healed.starts_with(&whole), "every line as it was");
    assert_eq!(faults(&healed), []);
    assert!(healed.contains("\"torn_bytes\":8"));
}

// AUD-42
#[test]
fn records_that_the_database_lacks_come_from_the_file() {
    let mut gateway = by_environment(&[("AUDIT_STORE_IN_DB", "false")]).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    stop(&mut gateway);
    let folder = tempfile::tempdir().unwrap();
    copy(gateway.folder(), folder.path());
    let gateway = by_environment(&[]).folder(folder.path()).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "b" }));
    let lines = gateway.audit_lines();
    eventually("all is in the database", || {
        let all = events(&gateway, "");
        lines.iter().all(|line| all.contains(line)).then_some(())
    });
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("data"))
        .arg(to)
        .status();
    assert!(copied.unwrap().success());
}

// AUD-72
#[test]
fn commands_list_count_and_follow_what_happens() {
    let gateway = models(&Origin::plain()).start();
    for name in ["a", "b"] {
        made(&gateway, "/api/v1/projects", &json!({ "name": name }));
    }
    let text = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    };
    let since = ["audit", "list", "--since", "2h", "--action", "project.*"];
    let list: Value = serde_json::from_str(&text(&[&since[..], &["--json"]].concat())).unwrap();
    let list = list["data"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["action"], "project.create");
    let id = list[0]["id"].as_str().unwrap();
    let one: Value = serde_json::from_str(&text(&["audit", "get", id, "--json"])).unwrap();
    assert_eq!(one, list[0]);
    let by = [
        "audit",
        "stats",
        "--by",
        "action,result",
        "--action",
        "project.*",
        "--json",
    ];
    let stats: Value = serde_json::from_str(&text(&by)).unwrap();
    assert_eq!(
        stats["data"],
        json!([{ "action": "project.create", "result": "success", "events": 2 }])
    );
    let tail = text(&[
        "audit",
        "tail",
        "-n",
        "1",
        "--action",
        "project.*",
        "--json",
    ]);
    assert_eq!(tail.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&tail).unwrap(), list[0]);
}

// AUD-71 AUD-72
#[test]
fn who_follows_is_told_each_event_once_and_is_recorded_once() {
    let gateway = models(&Origin::plain()).start();
    made(&gateway, "/api/v1/projects", &json!({ "name": "a" }));
    let begin = "/api/v1/audit?follow=true&action=project.create";
    let (mut seen, mut path) = (Vec::new(), begin.to_owned());
    let mut more = ["b", "c"].iter();
    eventually("all three are told", || {
        let (status, part) = gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{part}");
        let told = part["data"].as_array().unwrap().iter();
        seen.extend(told.map(|event| event["id"].as_str().unwrap().to_owned()));
        path = format!("{begin}&cursor={}", part["next_cursor"].as_str().unwrap());
        if let Some(name) = more.next() {
            made(&gateway, "/api/v1/projects", &json!({ "name": name }));
        }
        (seen.len() >= 3).then_some(())
    });
    let mut all: Vec<String> = events(&gateway, "action=project.create")
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    all.reverse();
    assert_eq!(seen, all);
    let looks = events(&gateway, "action=audit.list").len();
    assert_eq!(looks, 2, "of the beginning, and of the list before this");
    let forged = format!("{begin}&cursor=1.evt_1.00000000000000000000000000000000");
    assert_eq!(status(&gateway, &forged).0, 400);
}

// AUD-62
#[test]
fn old_records_leave_the_database_by_a_signed_record_alone() {
    let gateway = models(&Origin::plain()).start();
    for name in ["a", "b"] {
        made(&gateway, "/api/v1/projects", &json!({ "name": name }));
    }
    let of = |action: &str| events(&gateway, &format!("action={action}"));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let json_of = |arguments: &[&str]| {
        let output = gateway.cli(arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let tried = json_of(&["audit", "prune", "--before", "1s", "--dry-run", "--json"]);
    assert!(tried["records"].as_u64().unwrap() >= 2, "{tried}");
    assert_eq!(of("project.create").len(), 2, "nothing is gone");
    let done = json_of(&["audit", "prune", "--before", "1s", "--json"]);
    eventually("they are gone", || {
        of("project.create").is_empty().then_some(())
    });
    let pruned = &of("audit.prune");
    let details = &pruned
        .iter()
        .find(|event| event["result"] == "success")
        .unwrap()["details"];
    let chain = &done["chains"][0];
    assert_eq!(details["through_seq"], chain["through_seq"]);
    assert_eq!(details["head"], chain["head"]);
    assert_eq!(details["count"], chain["records"]);
    assert!(details["sig"].is_string(), "{details}");
    let line = gateway.audit_line("the last that went", |line| {
        line["seq"] == chain["through_seq"]
    });
    assert_eq!(line["hash"], chain["head"]);
    let (_, owner) = crate::operators::key(&gateway, &json!({ "name": "k", "role": "admin" }));
    let body = json!({ "before": "90d" });
    let refused = crate::operators::ask(&gateway, &owner, "POST /api/v1/audit/prune", Some(&body));
    assert_eq!(refused.status, 403);
}

// AUD-62
#[test]
fn records_of_a_project_that_is_held_stay() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = models(&Origin::plain()).folder(folder.path()).start();
    let project = made(&gateway, "/api/v1/projects", &json!({ "name": "held" }));
    stop(&mut gateway);
    let hold = format!(
        "audit: {{ hold: [{{ project: {project}, until: \"2999-01-01T00:00:00Z\" }}], \
         retention: 60s }}\n"
    );
    let config = fs::read_to_string(gateway.config_file()).unwrap() + &hold;
    let held = crate::fixture::gateway(config).env("PROVIDER_KEY", crate::callers::PROVIDER_KEY);
    let gateway = held.folder(folder.path()).start();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let body = json!({ "before": "1s" });
    let (status, done) = gateway.api("POST", "/api/v1/audit/prune?dry_run=true", Some(&body));
    assert_eq!(status, 200, "{done}");
    let created = &events(&gateway, "action=project.create")[0];
    let through = done["chains"][0]["through_seq"].as_u64().unwrap();
    assert_eq!(through + 1, created["seq"].as_u64().unwrap());
}
