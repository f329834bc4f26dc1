//! Closed files of the audit log that are sealed: who still reads them, and who does not.

use crate::callers::models;
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tollkeep_testkit::{
    Builder, Gateway, Origin, PATIENCE, Signal, Step, eventually, ok, wait_until,
};

/// Seals small files and signs often.
fn sealing(origin: &Origin) -> Builder {
    models(origin)
        .set("audit.checkpoint_every.events", "20")
        .set("audit.rotate.size", "64KiB")
        .set("audit.encrypt", "true")
}

fn act(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        assert_eq!(gateway.api("GET", "/api/v1/projects", None).0, 200);
    }
}

/// The closed files, by name.
fn closed(gateway: &Gateway) -> BTreeSet<String> {
    let entries = fs::read_dir(gateway.data_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("audit-2")).collect()
}

/// How many there are; one may stand there in two forms for a moment.
fn count(closed: &BTreeSet<String>) -> usize {
    let parts = closed.iter().filter_map(|name| name.split('.').next());
    parts.collect::<BTreeSet<_>>().len()
}

/// Waits until so many files are closed and all of them are sealed.
fn all_sealed(gateway: &Gateway, least: usize) -> BTreeSet<String> {
    let sealed = wait_until(PATIENCE, || {
        let closed = closed(gateway);
        let are_sealed = closed.iter().all(|name| name.ends_with(".log.zst.enc"));
        (are_sealed && closed.len() >= least).then_some(closed)
    });
    sealed.unwrap_or_else(|| panic!("{:?} {}", closed(gateway), gateway.stderr()))
}

fn fill(gateway: &Gateway, files: usize) -> BTreeSet<String> {
    for _ in 0..60 {
        if count(&closed(gateway)) >= files {
            return all_sealed(gateway, files);
        }
        act(gateway, 25);
    }
    panic!("not so many files: {:?}", closed(gateway));
}

fn stop(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    let ended = gateway.wait_exit(Duration::from_secs(20));
    assert!(ended.unwrap().success(), "{}", gateway.stderr());
}

/// Runs a command beside the gateway, whose settings have secrets of an environment that this one has
/// not: where keys and store are is what the defaults say.
fn run(gateway: &Gateway, arguments: &[&str]) -> (i32, String, String) {
    let config = gateway.folder().join("beside.yaml");
    fs::write(&config, "# Nothing but the defaults.\n").unwrap();
    let mut arguments = arguments.to_vec();
    if arguments.first() == Some(&"audit") {
        arguments.extend(["--config", "beside.yaml"]);
    }
    let done = gateway.cli(&arguments);
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

fn records(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Asserts that the whole log is there, as it was written; gives its lines.
fn assert_whole(gateway: &Gateway) -> Vec<Value> {
    let (done, text, told) = run(gateway, &["audit", "cat"]);
    assert_eq!(done, 0, "{told}");
    let lines = records(&text);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number as u64 + 1, "{line}");
    }
    let (done, told, problem) = run(gateway, &["audit", "verify", "--json"]);
    assert_eq!(done, 0, "{told} {problem}");
    lines
}

// AUD-63
#[test]
fn closed_files_are_sealed_and_the_log_stays_whole_for_whoever_has_the_key() {
    let is_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_up);
    let hook = Origin::start(move |_| {
        if seen.load(Ordering::Relaxed) {
            return ok(b"");
        }
        let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        vec![Step::Send(busy.to_vec())]
    });
    let sinks = json!([{
        "name": "s", "type": "webhook", "url": format!("{}/audit", hook.url()),
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "allow_private": ["127.0.0.1/32"],
    }]);
    let mut gateway = sealing(&Origin::plain())
        .set("audit.sinks", sinks.to_string())
        .start();
    let sealed = fill(&gateway, 3);
    for name in &sealed {
        let raw = fs::read(gateway.data_dir().join(name)).unwrap();
        let shows = |word: &[u8]| raw.windows(word.len()).any(|part| part == word);
        assert!(!shows(b"project.list") && !shows(b"\"hash\""), "{name}");
    }
    let lines = assert_whole(&gateway);
    let first = sealed.first().unwrap();
    let path = gateway.data_dir().join(first);
    let (done, text, _) = run(&gateway, &["audit", "cat", path.to_str().unwrap()]);
    assert_eq!((done, &records(&text)[0]), (0, &lines[0]));
    let (_, checked) = gateway.api("POST", "/api/v1/audit/verify", Some(&json!({})));
    assert_eq!(checked["valid"], true, "{checked}");
    let export = ["audit", "export", "--from", "1h", "--to", "0s", "--out"];
    let export = [&export[..], &["all.jsonl", "--signed"]].concat();
    let (done, told, problem) = run(&gateway, &export);
    assert_eq!(done, 0, "{told} {problem}");
    let exported = fs::read_to_string(gateway.folder().join("all.jsonl")).unwrap();
    assert!(records(&exported).starts_with(&lines));
    let (done, ..) = run(&gateway, &["audit", "verify", "all.jsonl", "manifest.json"]);
    assert_eq!(done, 0);
    // What a sink lacks stands in sealed files now.
    is_up.store(true, Ordering::Relaxed);
    eventually("the sink gets what it lacked", || {
        let taken = hook.requests();
        let text = taken
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body));
        let text = text.collect::<String>();
        let ids: BTreeSet<_> = records(&text)
            .iter()
            .map(|line| line["id"].to_string())
            .collect();
        let wanted = lines
            .iter()
            .filter(|line| line["action"] != "audit.checkpoint");
        let mut wanted = wanted.skip(1);
        wanted
            .all(|line| ids.contains(&line["id"].to_string()))
            .then_some(())
    });
    stop(&mut gateway);
    assert_whole(&gateway);
}

// AUD-63
#[test]
fn elsewhere_a_sealed_file_says_that_it_is_sealed() {
    let mut gateway = sealing(&Origin::plain()).start();
    let sealed = fill(&gateway, 2);
    stop(&mut gateway);
    let elsewhere = tempfile::tempdir().unwrap();
    let name = sealed.first().unwrap();
    fs::copy(gateway.data_dir().join(name), elsewhere.path().join(name)).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(TOLLKEEP);
        let command = command.args(arguments).env_clear();
        let done = command.current_dir(elsewhere.path()).output().unwrap();
        assert_eq!(done.stdout, b"", "nothing of it is told");
        (
            done.status.code().unwrap(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    for arguments in [["audit", "cat", name], ["audit", "verify", name]] {
        let (done, told) = run(&arguments);
        assert_eq!(done, 3, "{told}");
        assert!(told.contains(name) && told.contains("is sealed"), "{told}");
    }
    // Another gateway's key opens nothing of it.
    let mut other = sealing(&Origin::plain()).start();
    fill(&other, 1);
    stop(&mut other);
    let foreign = elsewhere.path().join(name);
    let (done, text, told) = self::run(&other, &["audit", "cat", foreign.to_str().unwrap()]);
    assert_eq!((done, &*text), (3, ""), "{told}");
    assert!(told.contains("under another key"), "{told}");
    // One that was changed is no log.
    let path = gateway.data_dir().join(name);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    for arguments in [["audit", "cat"], ["audit", "verify"]] {
        let (done, _, told) = self::run(&gateway, &arguments);
        assert_eq!(done, 3, "{told}");
        assert!(told.contains("was changed or cut off"), "{told}");
    }
}

// AUD-63 ID-66
#[test]
fn a_new_key_of_the_vault_opens_what_was_sealed_before_and_without_any_nothing_starts() {
    let mut gateway = sealing(&Origin::plain()).start();
    fill(&gateway, 2);
    let (done, _, told) = run(&gateway, &["vault", "rekey", "--kek", "new", "--deep"]);
    assert_eq!(done, 0, "{told}");
    stop(&mut gateway);
    let keys = gateway.data_dir().join("keys");
    fs::remove_file(keys.join("kek-1")).unwrap();
    assert_whole(&gateway);
    // Also when nothing more is to be sealed.
    let mut gateway = gateway.restart().unwrap();
    act(&gateway, 3);
    let (_, checked) = gateway.api("POST", "/api/v1/audit/verify", Some(&json!({})));
    assert_eq!(checked["valid"], true, "{checked}");
    stop(&mut gateway);
    fs::rename(keys.join("kek-2"), gateway.folder().join("kek-2")).unwrap();
    let (done, _, told) = run(&gateway, &["audit", "cat"]);
    assert_eq!(done, 3, "{told}");
    let refused = gateway.restart().err().expect("no start without the key");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
}

// AUD-63
#[test]
fn whenever_it_is_killed_while_it_seals_nothing_is_lost_and_nothing_plain_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let start = || sealing(&Origin::plain()).folder(folder.path()).start();
    let mut gateway = start();
    for turn in 0..6_u64 {
        let before = count(&closed(&gateway));
        while count(&closed(&gateway)) == before {
            act(&gateway, 20);
        }
        // The moments are spread over what sealing takes.
        std::thread::sleep(Duration::from_millis(turn * 3));
        gateway.kill();
        drop(gateway);
        gateway = start();
    }
    let sealed = all_sealed(&gateway, 6);
    let unfinished = fs::read_dir(gateway.data_dir()).unwrap();
    let unfinished = unfinished
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "part"));
    assert_eq!(unfinished.collect::<Vec<PathBuf>>(), Vec::<PathBuf>::new());
    assert!(sealed.len() >= 6);
    assert_whole(&gateway);
}

// AUD-63
#[test]
fn what_was_closed_plain_or_compressed_before_is_sealed_too() {
    let folder = tempfile::tempdir().unwrap();
    let start = |seals: bool| {
        sealing(&Origin::plain())
            .folder(folder.path())
            .set("audit.encrypt", seals.to_string())
            .start()
    };
    let mut gateway = start(false);
    while count(&closed(&gateway)) < 3 {
        act(&gateway, 25);
    }
    stop(&mut gateway);
    drop(gateway);
    let gateway = start(true);
    eventually("all are sealed", || {
        let all = closed(&gateway);
        all.iter().all(|name| name.ends_with(".enc")).then_some(())
    });
    assert_whole(&gateway);
}

// AUD-63
#[test]
fn sealing_needs_files_that_the_gateway_closes() {
    for (key, value) in [("audit.rotate", "off"), ("audit.file", "")] {
        let refused = sealing(&Origin::plain())
            .set(key, value)
            .in_file("audit.rotate.size")
            .try_start();
        let refused = refused.err().expect("it does not start");
        assert_eq!(refused.code, Some(3));
        assert!(
            refused.stderr.contains("audit.encrypt"),
            "{}",
            refused.stderr
        );
    }
}
