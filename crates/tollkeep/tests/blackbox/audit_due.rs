//! No change without its record: what could not be recorded before its answer is recorded after it,
//! and after a crash too.

use crate::callers::models;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use tollkeep_testkit::{Builder, Gateway, Origin, eventually};

/// What the names of projects begin with that fill the log.
const FILLING: &str = "filling-";

fn builder(origin: &Origin, folder: &Path) -> Builder {
    models(origin)
        .folder(folder)
        .set("audit.store_in_db", "false")
        .set("logging.level", "warn")
}

/// A change that is in the store and whose record hangs: the request's id.
fn unrecorded(gateway: &Gateway) -> String {
    let mut number = 0;
    let refused = eventually("a record that hangs", || {
        number += 1;
        let change = json!({ "name": format!("{FILLING}{number:0150}") });
        let (status, told) = gateway.api("POST", "/api/v1/projects", Some(&change));
        (status != 201).then_some((status, told))
    });
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert_eq!(refused.1["code"], "audit_unavailable");
    refused.1["request_id"].as_str().unwrap().to_owned()
}

fn is_filling(project: &Value) -> bool {
    let name = project["name"].as_str().unwrap();
    name.starts_with(FILLING)
}

/// How many projects were made, as the store says.
fn made(gateway: &Gateway) -> usize {
    let (mut all, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/projects?limit=200{cursor}");
        let (status, page) = gateway.api("GET", &path, None);
        assert_eq!(status, 200, "{page}");
        let page_of = page["data"].as_array().unwrap();
        all += page_of.iter().filter(|one| is_filling(one)).count();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

// AUD-40
#[test]
fn a_change_that_a_crash_left_without_a_record_is_recorded_at_the_next_start() {
    let origin = Origin::plain();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("audit.pipe");
    let created = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(&pipe)
        .status();
    assert!(created.unwrap().success());
    let opening = pipe.clone();
    let opened = thread::spawn(move || File::open(opening).unwrap());
    let mut gateway = builder(&origin, folder.path())
        .set("audit.file", pipe.display().to_string())
        .start();
    // Nobody reads: the pipe fills up, and a record hangs.
    let stalled = opened.join().unwrap();
    let request = unrecorded(&gateway);
    gateway.kill();
    drop((stalled, gateway));

    let again = || builder(&origin, folder.path());
    let gateway = again().start();
    // Of those before it the pipe can't be asked, so they may be told again.
    let late = gateway.audit_line("the late record", |line| line["request_id"] == request);
    assert_eq!(late["reason"], "recorded_late");
    assert_eq!(late["action"], "project.create");
    assert_eq!(late["result"], "success");
    assert_eq!(late["class"], "management");
    assert_eq!(late["details"]["http_method"], "POST");
    assert_eq!(late["details"]["endpoint"], "/api/v1/projects");
    assert_eq!(late["actor"], "management");
    assert!(made(&gateway) > 0, "the change stayed");

    // Only once, and nothing that was recorded is recorded again.
    let made_now = json!({ "name": "recorded" });
    assert_eq!(
        gateway.api("POST", "/api/v1/projects", Some(&made_now)).0,
        201
    );
    drop(gateway);
    let gateway = again().start();
    gateway.audit_line("a further start", |line| line["action"] == "system.start");
    let changed = json!({ "name": "after" });
    assert_eq!(
        gateway.api("POST", "/api/v1/projects", Some(&changed)).0,
        201
    );
    let mut late = gateway.audit_lines();
    late.retain(|line| line["request_id"] == request);
    assert_eq!(late.len(), 1, "{late:?}");
}
