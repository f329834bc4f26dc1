//! What an auditor holds in hand: signed files, in whatever way they were rotated.

use crate::callers::models;
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_testkit::{Builder, Gateway, Origin, Signal, eventually};

/// Signs often.
fn signing(builder: Builder) -> Builder {
    builder.set("audit.checkpoint_every.events", "5")
}

/// Something that is recorded.
fn act(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        assert_eq!(gateway.api("GET", "/api/v1/projects", None).0, 200);
    }
}

fn run(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    let done = gateway.cli(arguments);
    let told = [done.stdout, done.stderr].concat();
    (
        done.status.code().unwrap(),
        String::from_utf8(told).unwrap(),
    )
}

/// What a command prints, kept in a file.
fn kept(gateway: &Gateway, name: &str, arguments: &[&str]) -> String {
    let done = gateway.cli(arguments);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let path = gateway.folder().join(name);
    fs::write(&path, done.stdout).unwrap();
    path.to_str().unwrap().to_owned()
}

fn verify(gateway: &Gateway, arguments: &[&str]) -> (i32, Value) {
    let all = [&["audit", "verify", "--json"], arguments].concat();
    let done = gateway.cli(&all);
    let told = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| {
        panic!("{}", String::from_utf8_lossy(&done.stderr));
    });
    (done.status.code().unwrap(), told)
}

fn codes(told: &Value) -> Vec<&str> {
    let faults = told["faults"].as_array().unwrap().iter();
    faults
        .map(|fault| fault["code"].as_str().unwrap())
        .collect()
}

// AUD-51 AUD-52 AUD-53
#[test]
fn an_auditor_checks_files_with_a_published_key_and_without_the_gateway() {
    let mut gateway = signing(models(&Origin::plain())).start();
    act(&gateway, 20);
    let keys = kept(&gateway, "keys.json", &["audit", "keys"]);
    eventually("checkpoints in the store", || {
        let all = gateway.api("GET", "/api/v1/audit/checkpoints", None).1;
        let all = all["checkpoints"].as_array().unwrap().first().cloned();
        all.filter(|one| one["details"]["seq"].as_u64() > Some(20))
    });
    let known = kept(&gateway, "known", &["audit", "checkpoints"]);
    let with = ["--public-key", &*keys, "--checkpoint", &*known];
    let (done, asked) = run(&gateway, &["audit", "check"]);
    assert!(done == 0 && asked.contains("\"valid\":true"), "{asked}");
    let (done, live) = verify(&gateway, &[&with[..], &["--db"]].concat());
    assert_eq!(done, 0, "{live}");
    gateway.signal(Signal::TERM);
    gateway
        .wait_exit(std::time::Duration::from_secs(20))
        .unwrap();
    let (done, whole) = verify(&gateway, &with);
    assert_eq!((done, codes(&whole)), (0, vec![]), "{whole}");
    assert!(whole["checkpoints"].as_u64() >= Some(5), "{whole}");
    assert_eq!(whole["streams"][0]["unsigned_tail"], 0);
    let limits = whole["limits"].as_str().unwrap();
    assert!(
        limits.contains("vault key") && limits.contains("audit.anchor"),
        "{limits}"
    );
    let log = gateway.data_dir().join("audit.log");
    let text = fs::read_to_string(&log).unwrap();
    let told_at = |what: &str, text: String, line: u64| {
        fs::write(&log, text).unwrap();
        let (done, told) = verify(&gateway, &with);
        let first = (
            codes(&told)[0].to_owned(),
            told["faults"][0]["line"].as_u64(),
        );
        assert_eq!((done, first), (8, (what.to_owned(), Some(line))), "{told}");
    };
    told_at(
        "edited",
        text.replacen("project.list", "project.read", 1),
        line_of(&text, "project.list"),
    );
    let lines: Vec<&str> = text.lines().collect();
    told_at("truncated", lines[..6].join("\n") + "\n", 6);
    told_at(
        "missing",
        [&lines[..7], &lines[8..]].concat().join("\n") + "\n",
        8,
    );
    told_at("no_beginning", lines[3..].join("\n") + "\n", 1);
    fs::write(&log, lines[3..].join("\n") + "\n").unwrap();
    assert_eq!(verify(&gateway, &[&with[..], &["--part"]].concat()).0, 0);
    let (done, told) = run(&gateway, &["audit", "verify", "--public-key", &known]);
    assert_eq!(done, 3, "{told}");
}

fn line_of(text: &str, word: &str) -> u64 {
    text.lines().position(|line| line.contains(word)).unwrap() as u64 + 1
}

// AUD-51
#[test]
fn a_new_key_is_signed_by_the_one_before_also_across_a_restart() {
    let gateway = signing(models(&Origin::plain())).start();
    act(&gateway, 10);
    let old = kept(&gateway, "old.json", &["audit", "keys"]);
    let rotated = kept(&gateway, "rotated.json", &["audit", "rotate-key"]);
    let list: Value = serde_json::from_str(&fs::read_to_string(&rotated).unwrap()).unwrap();
    let keys = list["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "{list}");
    assert_eq!(keys[1]["previous"], keys[0]["kid"]);
    act(&gateway, 10);
    let gateway = gateway.restart().unwrap();
    act(&gateway, 10);
    let (_, again) = gateway.api("GET", "/api/v1/audit/keys", None);
    assert_eq!(again, list);
    let signers: Vec<Value> = gateway
        .audit_lines()
        .iter()
        .filter(|line| line["action"] == "audit.checkpoint")
        .map(|line| line["details"]["key_id"].clone())
        .collect();
    let first = signers.iter().filter(|id| **id == keys[0]["kid"]).count();
    assert!(first > 0 && signers.len() > first + 1, "{signers:?}");
    assert!(signers[first..].iter().all(|id| *id == keys[1]["kid"]));
    for trusted in [&old, &rotated] {
        let (done, told) = verify(&gateway, &["--public-key", trusted]);
        assert_eq!(done, 0, "{told}");
    }
    let dry = gateway.cli(&["audit", "rotate-key", "--dry-run"]);
    assert!(dry.status.success());
    assert_eq!(
        gateway.api("GET", "/api/v1/audit/keys", None).1,
        list,
        "only asked about"
    );
}

// AUD-51
#[test]
fn checkpoints_are_kept_elsewhere_as_they_were_written() {
    let hook = Origin::plain();
    let url = format!("{}/anchor", hook.url());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("anchors");
    let gateway = signing(models(&Origin::plain()))
        .set("audit.anchor.file", file.to_str().unwrap())
        .set("audit.anchor.url", url)
        .set("audit.anchor.token", "anchor-1234567890")
        .set("audit.anchor.allow_private", "127.0.0.1/32")
        .start();
    act(&gateway, 20);
    hook.wait_for(1);
    eventually("three lines", || {
        let text = fs::read_to_string(&file).unwrap_or_default();
        (text.lines().count() >= 3).then_some(())
    });
    for line in fs::read_to_string(&file).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(gateway.audit_lines().contains(&record), "{line}");
    }
    // Whoever is told is told the last of those that came together.
    let told = eventually("the last line is told", || {
        let request = hook.requests().pop()?;
        let body = String::from_utf8(request.body.clone()).unwrap();
        let kept = fs::read_to_string(&file).unwrap();
        (kept.lines().last() == Some(&*body)).then_some(request)
    });
    assert_eq!(told.target, "/anchor");
    let authorization = told.field("authorization");
    assert_eq!(authorization, Some("Bearer anchor-1234567890"));
    let keys = kept(&gateway, "keys.json", &["audit", "keys"]);
    let anchors = file.to_str().unwrap();
    let (done, told) = verify(&gateway, &["--public-key", &keys, "--checkpoint", anchors]);
    assert_eq!(done, 0, "{told}");
}

/// The files of the log.
fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let entries = fs::read_dir(gateway.data_dir()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("audit") && name.contains(".log")
    };
    paths.filter(is_log).collect()
}

// AUD-60
#[test]
fn a_full_file_is_closed_compressed_and_in_the_end_deleted_with_a_signature() {
    let gateway = signing(models(&Origin::plain()))
        .set("audit.rotate.size", "64KiB")
        .set("audit.rotate.keep", "3")
        .start();
    let pruned = |gateway: &Gateway| {
        let lines = gateway.audit_lines();
        lines.iter().any(|line| line["action"] == "audit.prune")
    };
    for _ in 0..40 {
        act(&gateway, 25);
        if pruned(&gateway) {
            break;
        }
    }
    eventually("closed ones are compressed", || {
        let packed = files(&gateway).into_iter();
        let packed = packed.filter(|path| path.extension().is_some_and(|end| end == "gz"));
        (packed.count() == 2).then_some(())
    });
    let keys = kept(&gateway, "keys.json", &["audit", "keys"]);
    let (done, told) = verify(&gateway, &["--public-key", &keys]);
    assert_eq!(done, 0, "{told}");
    assert!(
        told["streams"][0]["pruned_through"].as_u64() > Some(10),
        "{told}"
    );
    assert_eq!(files(&gateway).len(), 4);
    let (status, asked) = gateway.api("POST", "/api/v1/audit/verify", Some(&json!({})));
    assert_eq!((status, &asked["valid"]), (200, &json!(true)), "{asked}");
}

// AUD-61
#[test]
fn a_moved_file_is_written_on_until_signal_or_command() {
    let gateway = signing(models(&Origin::plain()))
        .set("audit.rotate", "off")
        .start();
    let log = gateway.data_dir().join("audit.log");
    for (number, signal) in [(1, Some(Signal::HUP)), (2, Some(Signal::USR1)), (3, None)] {
        act(&gateway, 5);
        let moved = gateway.data_dir().join(format!("audit.log.{number}"));
        fs::rename(&log, &moved).unwrap();
        let before = fs::read_to_string(&moved).unwrap().lines().count();
        act(&gateway, 5);
        assert!(!log.exists());
        let after = fs::read_to_string(&moved).unwrap().lines().count();
        assert!(after >= before + 5, "{before} {after}");
        match signal {
            Some(signal) => gateway.signal(signal),
            None => assert_eq!(run(&gateway, &["audit", "reopen"]), (0, String::new())),
        }
        eventually("the file is there again", || log.exists().then_some(()));
    }
    act(&gateway, 5);
    let keys = kept(&gateway, "keys.json", &["audit", "keys"]);
    let (done, told) = verify(&gateway, &["--public-key", &keys]);
    assert_eq!((done, &told["files"]), (0, &json!(4)), "{told}");
}

fn logrotate() -> Option<PathBuf> {
    let places = ["/usr/sbin/logrotate", "/usr/bin/logrotate"].into_iter();
    let mut places = places.map(PathBuf::from);
    places.find(|path| path.exists())
}

/// The shipped file, for this gateway and this user.
fn shipped(gateway: &Gateway) -> String {
    let text = include_str!("../../../../deploy/logrotate/tollkeep");
    let folder = gateway.data_dir();
    let folder = folder.to_str().unwrap();
    text.replace("/var/lib/tollkeep", folder)
        .replace("create 0600 tollkeep tollkeep", "create 0600")
        .replace(
            "        tollkeep audit",
            &format!("        {TOLLKEEP} audit"),
        )
}

fn rotate_under_load(turns: usize) {
    let Some(logrotate) = logrotate() else {
        eprintln!("not run: logrotate is not here");
        return;
    };
    let gateway = signing(models(&Origin::plain()))
        .set("audit.rotate", "off")
        .start();
    let conf = gateway.folder().join("logrotate.conf");
    fs::write(&conf, shipped(&gateway)).unwrap();
    let gateway = Arc::new(gateway);
    let done = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (gateway, done) = (Arc::clone(&gateway), Arc::clone(&done));
            std::thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    act(&gateway, 1);
                }
            })
        })
        .collect();
    for _ in 0..turns {
        rotate(&logrotate, &gateway, &conf);
    }
    done.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|load| load.join().unwrap());
    let keys = kept(&gateway, "keys.json", &["audit", "keys"]);
    // The shipped file keeps ninety.
    let part: &[&str] = if turns > 90 { &["--part"] } else { &[] };
    let (done, told) = verify(&gateway, &[&["--public-key", &keys], part].concat());
    assert_eq!((done, codes(&told)), (0, vec![]), "{told}");
    assert_eq!(told["files"], json!(turns.min(90) + 1), "{told}");
}

fn rotate(logrotate: &Path, gateway: &Gateway, conf: &Path) {
    let state = gateway.folder().join("logrotate.state");
    let mut command = Command::new(logrotate);
    command.args(["--force", "--state"]).arg(state).arg(conf);
    let done = command.output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{told}");
}

// AUD-61
#[test]
fn logrotate_with_the_shipped_file_loses_no_record() {
    rotate_under_load(4);
}

// AUD-61
#[test]
#[ignore = "minutes"]
fn a_hundred_turns_of_logrotate_lose_no_record() {
    rotate_under_load(100);
}
