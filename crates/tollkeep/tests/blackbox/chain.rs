//! The audit file proves itself, and the commands of llm-proxy's page work on it.

use crate::callers::{bearer, chat, served};
use crate::records::assert_event_form;
use serde_json::{Map, Value, json};
use std::fs;
use std::process::{Command, Stdio};
use tollkeep_testkit::{Gateway, eventually};

/// RFC 8785, for records: no fractions, and keys and escapes within ASCII.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            let members: Vec<_> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", json!(key), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(_) => panic!("no lists in records"),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// Recomputes every link of the chain; the number of records.
pub(crate) fn verify(gateway: &Gateway) -> usize {
    let lines = gateway.audit_lines();
    let mut prev = "0".repeat(64);
    for (seq, line) in (1_u64..).zip(&lines) {
        assert_event_form("chain", line);
        assert_eq!(
            (line["seq"].as_u64(), line["prev"].as_str()),
            (Some(seq), Some(&*prev)),
            "{line}"
        );
        assert_eq!(line["stream"], lines[0]["stream"]);
        let mut members: Map<String, Value> = line.as_object().unwrap().clone();
        let hash = members.remove("hash").unwrap();
        let digits = prev.as_bytes().chunks(2);
        let digit = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let previous: Vec<u8> = digits.map(digit).collect();
        let record = canonical(&Value::Object(members));
        let digest = tollkeep_crypto::sha256(&[&[1], &previous, record.as_bytes()]);
        prev = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, Value::from(prev.clone()), "{line}");
    }
    lines.len()
}

// AUD-50 AUD-35
#[test]
fn every_record_follows_from_the_one_before_it_also_across_a_restart() {
    let (_origin, gateway, token) = served();
    let hostile = "\u{7f}\u{1b}[31m\"},{\"action\":\"forged\u{2028}\u{202e}\\";
    for agent in ["plain", hostile, &"a".repeat(4000)] {
        let lines = format!(
            "{}user-agent: {}\r\n",
            bearer(&token),
            agent.replace(['\u{7f}', '\u{1b}'], "\t")
        );
        assert_eq!(gateway.call(&chat(&lines, "hi")).status, 200);
    }
    let calls = |gateway: &Gateway| {
        let lines = gateway.audit_lines();
        lines
            .iter()
            .filter(|line| line["action"] == "proxy_request")
            .count()
    };
    eventually("three calls", || (calls(&gateway) == 3).then_some(()));
    let raw = fs::read_to_string(gateway.data_dir().join("audit.log")).unwrap();
    assert!(!raw.contains("\u{2028}") && !raw.contains("\u{202e}"));
    assert_eq!(raw.lines().count(), verify(&gateway), "an event is a line");
    let before = verify(&gateway);
    let gateway = gateway.restart().unwrap();
    eventually("the start", || {
        (gateway.audit_lines().len() >= before + 2).then_some(())
    });
    verify(&gateway);
}

/// The output of a shell command in the data folder.
fn shell(gateway: &Gateway, command: &str) -> String {
    let mut run = Command::new("sh");
    run.args(["-c", command]).current_dir(gateway.data_dir());
    String::from_utf8(run.output().unwrap().stdout).unwrap()
}

// AUD-5
#[test]
fn the_commands_of_llm_proxys_page_find_what_they_say() {
    let (_origin, gateway, token) = served();
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    for _ in 0..2 {
        assert_eq!(gateway.call(&chat(&bearer("tok-wrong"), "hi")).status, 401);
    }
    eventually("all events", || {
        let lines = gateway.audit_lines();
        (lines
            .iter()
            .filter(|line| line["action"] == "proxy_request")
            .count()
            == 3)
            .then_some(())
    });
    let failed = shell(
        &gateway,
        r#"grep '"result":"failure"' audit.log | grep "token.access""#,
    );
    assert_eq!(failed.lines().count(), 2, "{failed}");
    let project = gateway.api("GET", "/api/v1/projects/default", None).1["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let of_project = shell(
        &gateway,
        &format!(r#"grep '"project_id":"{project}"' audit.log"#),
    );
    let actions: Vec<_> = of_project
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["action"].clone())
        .collect();
    assert_eq!(
        actions,
        [
            "token.create",
            "token.access",
            "proxy_request",
            "project.read"
        ],
        "{of_project}"
    );
    if Command::new("jq")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("not run: the command with jq, which is not here");
        return;
    }
    let listed = shell(
        &gateway,
        r#"grep "token\." audit.log | jq '.timestamp, .action, .result'"#,
    );
    let words: Vec<_> = listed
        .lines()
        .filter(|line| !line.contains("Z\""))
        .collect();
    let want = [
        r#""token.create""#,
        r#""success""#,
        r#""token.access""#,
        r#""success""#,
        r#""token.access""#,
        r#""failure""#,
        r#""token.access""#,
        r#""failure""#,
    ];
    assert_eq!(words, want, "{listed}");
}
