//! Copies of the audit log for others, and its lines in the words of cliproxyapi++.

use crate::callers::{answer, bearer, chat, models};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tollkeep_testkit::{Gateway, Origin, eventually};

const HEADER: &str = "timestamp,action,actor,actor_id,project_id,request_id,client_ip,result,reason,http_method,\
                      endpoint,status_code,token_id,token_ref,duration_ms,model,provider,amount,currency,details";

fn run(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    let done = gateway.cli(arguments);
    let told = [done.stdout, done.stderr].concat();
    (
        done.status.code().unwrap(),
        String::from_utf8(told).unwrap(),
    )
}

fn export(gateway: &Gateway, format: &str, out: &Path) {
    let out = out.to_str().unwrap();
    let arguments = [
        "audit", "export", "--from", "2h", "--format", format, "--out", out, "--signed",
    ];
    let (done, told) = run(gateway, &arguments);
    assert_eq!(done, 0, "{told}");
}

// AUD-73 AUD-52
#[test]
fn a_signed_copy_is_verified_elsewhere_and_no_other_is() {
    let gateway = models(&Origin::plain()).start();
    for number in 0..5 {
        let name = json!({ "name": format!("=p{number}") });
        assert_eq!(gateway.api("POST", "/api/v1/projects", Some(&name)).0, 201);
    }
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    fs::write(&keys, gateway.cli(&["audit", "keys"]).stdout).unwrap();
    let copy = folder.path().join("copy.jsonl");
    export(&gateway, "jsonl", &copy);
    let manifest = folder.path().join("manifest.json");
    let verify = || {
        let paths = [&copy, &manifest, &keys].map(|path| path.to_str().unwrap().to_owned());
        let [copy, manifest, keys] = &paths;
        let (done, told) = run(
            &gateway,
            &["audit", "verify", copy, manifest, "--public-key", keys],
        );
        (done, told)
    };
    assert_eq!(verify().0, 0, "{}", verify().1);
    let text = fs::read_to_string(&copy).unwrap();
    let log = fs::read_to_string(gateway.data_dir().join("audit.log")).unwrap();
    assert!(log.starts_with(&text), "as it was written");
    let event = gateway.audit_line("the export", |line| line["action"] == "audit.export");
    assert_eq!(event["details"]["file"], "copy.jsonl");
    // Cut, edited, or with another list.
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&copy, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let (done, told) = verify();
    assert!(
        done == 8 && told.contains("not what the manifest lists"),
        "{told}"
    );
    fs::write(&copy, text.replacen("project.create", "project.delete", 1)).unwrap();
    assert_eq!(verify().0, 8);
    fs::write(&copy, &text).unwrap();
    let listed = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        listed.replacen("\"records\": ", "\"records\": 1", 1),
    )
    .unwrap();
    let (done, told) = verify();
    assert!(done == 8 && told.contains("wrong signature"), "{told}");
}

// AUD-73 AUD-35
#[test]
fn a_table_has_the_promised_columns_and_no_formulas() {
    let gateway = models(&Origin::plain()).start();
    let name = json!({ "name": "=HYPERLINK(\"http://x\")" });
    assert_eq!(gateway.api("POST", "/api/v1/projects", Some(&name)).0, 201);
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("audit.csv");
    export(&gateway, "csv", &table);
    let text = fs::read_to_string(&table).unwrap();
    assert_eq!(text.lines().next(), Some(HEADER));
    for row in text.lines().skip(1) {
        assert!(row.starts_with('"') && row.ends_with('"'), "{row}");
        let fields: Vec<&str> = row
            .strip_prefix('"')
            .unwrap()
            .strip_suffix('"')
            .unwrap()
            .split("\",\"")
            .collect();
        assert!(fields.len() >= 20, "{row}");
        let starts = ['=', '+', '-', '@'];
        assert!(
            !fields.iter().any(|field| field.starts_with(starts)),
            "{row}"
        );
    }
    assert!(text.contains("project.create"));
    let list = folder.path().join("audit.json");
    export(&gateway, "json", &list);
    let list: Vec<Value> = serde_json::from_str(&fs::read_to_string(&list).unwrap()).unwrap();
    assert!(list.iter().any(|event| event["action"] == "project.create"));
    // A table is printed too, and what is no time or no order is refused.
    let (done, told) = run(
        &gateway,
        &["audit", "export", "--from", "1h", "--format", "csv"],
    );
    assert!(done == 0 && told.starts_with(HEADER), "{told}");
    assert_eq!(run(&gateway, &["audit", "export", "--from", "soon"]).0, 2);
    assert_eq!(
        run(&gateway, &["audit", "export", "--from", "1h", "--to", "2h"]).0,
        2
    );
    assert_eq!(
        run(&gateway, &["audit", "export", "--from", "1h", "--signed"]).0,
        2
    );
}

// AUD-73
#[test]
fn the_api_gives_the_list_and_the_records_if_asked() {
    let gateway = models(&Origin::plain()).start();
    let mut asked =
        json!({ "start_time": "2020-01-01T00:00:00Z", "end_time": "2100-01-01T00:00:00Z" });
    let (status, manifest) = gateway.api("POST", "/api/v1/audit/export", Some(&asked));
    assert_eq!(status, 200, "{manifest}");
    assert!(manifest["records"].as_u64() > Some(1) && manifest["sig"].is_string());
    assert_eq!(manifest["text"], Value::Null);
    asked["with_text"] = json!(true);
    let (_, with_text) = gateway.api("POST", "/api/v1/audit/export", Some(&asked));
    let text = with_text["text"].as_str().unwrap();
    let records = with_text["records"].as_u64().unwrap();
    assert_eq!(text.lines().count() as u64, records);
    asked["format"] = json!("xml");
    let (status, refused) = gateway.api("POST", "/api/v1/audit/export", Some(&asked));
    assert_eq!(status, 422, "{refused}");
}

fn shell(gateway: &Gateway, command: &str) -> String {
    let mut run = Command::new("sh");
    run.args(["-c", command]).current_dir(gateway.data_dir());
    String::from_utf8(run.output().unwrap().stdout).unwrap()
}

// AUD-3 AUD-4 AUD-5
#[test]
fn the_commands_of_cliproxyapis_page_find_what_they_say() {
    let origin = Origin::start(answer);
    let gateway = models(&origin)
        .set("audit.format", "cliproxy")
        .set("audit.events", r#"["auth_failure","security_violation"]"#)
        .set("audit.user_id", "off")
        .set("audit.cliproxy_millis", "true")
        .start();
    let token = gateway.mint_token(&json!({}));
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    for _ in 0..2 {
        assert_eq!(gateway.call(&chat(&bearer("tok-wrong"), "hi")).status, 401);
    }
    let failures = || shell(&gateway, r#"grep "auth_failure" audit.log"#);
    eventually("both failures", || {
        (failures().lines().count() == 2).then_some(())
    });
    for line in failures().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["result"], "invalid_token", "{line}");
        assert_eq!(line["user_id"], Value::Null);
        let time = line["timestamp"].as_str().unwrap();
        assert_eq!(time.len(), "2026-02-19T23:00:00.000Z".len(), "{time}");
    }
    assert_eq!(
        shell(&gateway, r#"grep "provider_request" audit.log"#),
        "",
        "not chosen"
    );
    assert_eq!(
        shell(
            &gateway,
            "grep -c '\"event_type\":\"config_change\"' audit.log"
        )
        .trim(),
        "2",
        "config.load and token.create"
    );
    let (done, told) = run(&gateway, &["audit", "verify"]);
    assert_eq!(done, 0, "{told}");
    let jq = Command::new("jq")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if jq.is_err() {
        eprintln!("not run: the command with jq, which is not here");
        return;
    }
    let pretty = shell(&gateway, "cat audit.log | jq '.'");
    assert!(
        pretty.matches("\"event_type\": \"auth_failure\"").count() == 2,
        "{pretty}"
    );
    let wrong = models(&origin)
        .set("audit.events", r#"["logins"]"#)
        .try_start();
    let wrong = wrong.err().expect("refused").stderr;
    assert!(
        wrong.contains("audit.events") && wrong.contains("auth_success"),
        "{wrong}"
    );
}
