//! `tollkeep origin verify`: what an origin's operator learns of a request that was refused.

use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SECRET: &str = "tollkeep-origin-key-a-0123456789abcdef0123";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(TOLLKEEP);
    command.args(["origin", "verify"]).args(arguments);
    command.current_dir(folder).env_clear().env("KEY", SECRET);
    command.env("BOLTHUB", "bolthub-compat-secret-0123456789abcdef");
    command.output().unwrap()
}

/// Exit code, and the JSON line on standard output.
fn verdict(output: &Output) -> (i32, Value) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
    (output.status.code().unwrap(), value)
}

fn vectors(of: &str) -> Vec<Value> {
    let text = include_str!("../../../../examples/origin-verifiers/vectors.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[of]["cases"].as_array().unwrap().clone()
}

/// A request as it is received, line ends as given.
fn written(case: &Value, fields: &[(String, String)], end: &str) -> Vec<u8> {
    use base64::Engine as _;
    let text = |name: &str| case[name].as_str().unwrap();
    let mut bytes = format!("{} {} HTTP/1.1{end}", text("method"), text("target")).into_bytes();
    for (name, value) in fields {
        bytes.extend_from_slice(format!("{name}: {value}{end}").as_bytes());
    }
    bytes.extend_from_slice(end.as_bytes());
    let body = base64::prelude::BASE64_STANDARD.decode(text("body_b64"));
    bytes.extend_from_slice(&body.unwrap());
    bytes
}

fn pairs(of: &Value) -> Vec<(String, String)> {
    let members = of.as_object().unwrap().iter();
    members
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

// EDGE-122
#[test]
fn requests_in_a_file_get_the_verdicts_of_the_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("received.http");
    for case in vectors("tollkeep_v1") {
        let received = &case["received"];
        let mut fields = pairs(&received["headers"]);
        fields.push((
            "Host".to_owned(),
            received["authority"].as_str().unwrap().to_owned(),
        ));
        let value = case["signature_header"].as_str().unwrap().to_owned();
        fields.push(("X-Tollkeep-Signature".to_owned(), value));
        fs::write(&file, written(received, &fields, "\r\n")).unwrap();
        let at = tollkeep_at(case["verify_at"].as_u64().unwrap() * 1_000);
        let mut arguments = vec!["--request", "received.http", "--at", &at];
        for (id, secret) in pairs(&case["keys"]) {
            let path = folder.path().join(&id);
            fs::write(&path, secret).unwrap();
            arguments.push("--key");
            arguments.push(format!("{id}=file:{}", path.display()).leak());
        }
        let (code, got) = verdict(&run(folder.path(), &arguments));
        // The command remembers nothing.
        let want = case["reason"]
            .as_str()
            .filter(|reason| *reason != "replayed");
        assert_eq!(code, if want.is_some() { 8 } else { 0 }, "{}", case["name"]);
        assert_eq!(got["reason"].as_str(), want, "{}", case["name"]);
        assert_eq!(got["form"], "v1");
    }
}

/// `2026-11-22T10:15:30.250Z` of these milliseconds.
fn tollkeep_at(ms: u64) -> String {
    let days = ms / 86_400_000;
    // Of the vectors' day alone: 2026-11-22.
    assert_eq!(days, 20_779);
    let rest = ms % 86_400_000;
    let (hours, minutes, seconds) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60);
    format!(
        "2026-11-22T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z",
        rest % 1_000
    )
}

// EDGE-120 EDGE-122
#[test]
fn bolthub_requests_are_checked_in_the_path_form_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("received.http");
    let encoded: Vec<_> = vectors("bolthub")
        .into_iter()
        .filter(|case| case["target_sent"] == "/v1/caf%C3%A9")
        .collect();
    assert_eq!(encoded.len(), 3);
    for mut case in encoded {
        case["target"] = case["target_sent"].clone();
        let fields = pairs(&case["headers"]);
        // Heads that were pasted have lost their CRs.
        fs::write(&file, written(&case, &fields, "\n")).unwrap();
        let at = tollkeep_at(case["verify_at_ms"].as_u64().unwrap());
        let form = match case["verifier_path"].as_str().unwrap() {
            "/v1/café" => "decoded",
            _ => "raw",
        };
        let arguments = [
            "--request",
            "received.http",
            "--at",
            &at,
            "--path-form",
            form,
            "--key",
            "a=env:BOLTHUB",
        ];
        let (code, got) = verdict(&run(folder.path(), &arguments));
        let valid = case["valid"].as_bool().unwrap();
        assert_eq!(
            (code, got["valid"].as_bool()),
            (if valid { 0 } else { 8 }, Some(valid)),
            "{}",
            case["name"]
        );
        assert_eq!(got["form"], "bolthub");
    }
}

// EDGE-122
#[test]
fn a_request_can_be_told_by_flags() {
    let folder = tempfile::tempdir().unwrap();
    let case = &vectors("tollkeep_v1")[1];
    let signature = format!(
        "X-Tollkeep-Signature: {}",
        case["signature_header"].as_str().unwrap()
    );
    let at = tollkeep_at(case["verify_at"].as_u64().unwrap() * 1_000);
    let id = format!(
        "x-request-id: {}",
        case["received"]["headers"]["x-request-id"]
            .as_str()
            .unwrap()
    );
    let flags = |target: &str, key: &str| {
        let arguments = [
            "--target",
            target,
            "-H",
            "Host: origin.example:8443",
            "-H",
            &id,
            "-H",
            &signature,
            "--key",
            key,
            "--at",
            &at,
        ];
        verdict(&run(folder.path(), &arguments))
    };
    let target = case["received"]["target"].as_str().unwrap();
    let (code, got) = flags(target, "k2026a=env:KEY");
    assert_eq!(code, 0);
    assert_eq!(
        got,
        json!({ "form": "v1", "valid": true, "key": "k2026a", "reason": null })
    );
    assert_eq!(flags("/v1/data", "k2026a=env:KEY").1["reason"], "mismatch");
    assert_eq!(flags(target, "other=env:KEY").1["reason"], "unknown_key");
}

// EDGE-122
#[test]
fn what_can_not_be_checked_is_said_without_telling_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("no-end"),
        "GET / HTTP/1.1\r\nHost: a\r\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("chunked"),
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .unwrap();
    let short = "GET / HTTP/1.1\r\n\r\n";
    fs::write(folder.path().join("unsigned"), short).unwrap();
    for (name, arguments, want) in [
        (
            "no key",
            &["--target", "/", "--key", SECRET][..],
            "--key: want `ID=env:NAME` or `ID=file:/path`",
        ),
        (
            "a secret for a source",
            &["--target", "/", "--key", &format!("a={SECRET}")],
            "--key: want `env:NAME` or `file:/path`",
        ),
        (
            "no variable",
            &["--target", "/", "--key", "a=env:NONE"],
            "`NONE` is not set",
        ),
        (
            "no file",
            &["--request", "nowhere", "--key", "a=env:KEY"],
            "cannot read nowhere",
        ),
        (
            "no end",
            &["--request", "no-end", "--key", "a=env:KEY"],
            "no empty line",
        ),
        (
            "chunks",
            &["--request", "chunked", "--key", "a=env:KEY"],
            "stands in chunks",
        ),
        (
            "no signature",
            &["--request", "unsigned", "--key", "a=env:KEY"],
            "neither X-Tollkeep-Signature nor",
        ),
        (
            "a bad target",
            &["--target", "/a b", "--key", "a=env:KEY"],
            "the first line is not",
        ),
        (
            "a bad field",
            &["--target", "/", "-H", "no colon", "--key", "a=env:KEY"],
            "a field line is not",
        ),
    ] {
        let output = run(folder.path(), arguments);
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(3), "{name}: {said}");
        assert!(
            said.contains(want) && !said.contains(SECRET),
            "{name}: {said}"
        );
    }
}
