//! An audit log that can't be written closes the gateway, which opens by itself when it can.

use crate::audit_kept::faults;
use crate::callers::{answer, bearer, chat, models};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Gateway, Origin, PATIENCE, Postgres, Signal, eventually};

/// Longest answer of a gateway that can't write: the deadline and 50 ms, and room for a busy
/// machine.
const SOON: Duration = Duration::from_secs(2);

fn ready(gateway: &Gateway) -> (u16, String) {
    let answer = gateway.call(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    (answer.status, answer.text())
}

/// Asserts that nothing is admitted or changed, and that this is told without delay.
fn assert_closed(gateway: &Gateway, token: &str) {
    let began = Instant::now();
    let refused = gateway.call(&chat(&bearer(token), "hi"));
    assert_eq!(
        (refused.status, refused.code()),
        (503, "audit_unavailable".to_owned())
    );
    assert!(refused.field("retry-after").is_some());
    let (status, problem) = gateway.api("POST", "/api/v1/tokens", Some(&json!({ "name": "lost" })));
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("audit_unavailable"))
    );
    assert_eq!(
        ready(gateway),
        (
            503,
            r#"{"status":"unready","reasons":["audit"]}"#.to_owned()
        )
    );
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(
        gateway.metrics_text().contains("tollkeep_requests_total"),
        "metrics stay"
    );
}

/// A pipe in a folder.
fn pipe(folder: &Path) -> PathBuf {
    let pipe = folder.join("audit.pipe");
    let made = Command::new("mkfifo")
        .args(["-m", "600"])
        .arg(&pipe)
        .status();
    assert!(made.unwrap().success());
    pipe
}

/// The lines of a pipe as they come.
fn lines_of(pipe: File) -> mpsc::Receiver<Value> {
    let (lines, read) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if lines.send(serde_json::from_str(&line).unwrap()).is_err() {
                return;
            }
        }
    });
    read
}

// AUD-40 AUD-41
#[test]
fn a_pipe_without_a_reader_refuses_calls_until_somebody_reads() {
    let origin = Origin::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let gateway = models(&origin)
        .set("audit.file", pipe.display().to_string())
        .start();
    assert_closed(&gateway, "tok-any");
    assert_eq!(origin.count(), 0);
    let read = lines_of(File::open(&pipe).unwrap());
    eventually("ready", || (ready(&gateway).0 == 200).then_some(()));
    let token = gateway.mint_token(&json!({ "name": "kept" }));
    assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    let mut actions = Vec::new();
    while !actions.contains(&json!("proxy_request")) {
        actions.push(read.recv_timeout(PATIENCE).unwrap()["action"].clone());
    }
    assert!(actions.contains(&json!("audit.recovered")), "{actions:?}");
    let (_, list) = gateway.api("GET", "/api/v1/tokens", None);
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["name"].clone())
        .collect();
    assert_eq!(names, ["kept"], "what was refused is not there");
}

// AUD-41
#[test]
fn a_reader_that_stalls_refuses_calls_in_time_and_loses_nothing_when_it_goes_on() {
    let origin = Origin::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let opening = pipe.clone();
    let opened = thread::spawn(move || File::open(opening).unwrap());
    let gateway = models(&origin)
        .set("audit.file", pipe.display().to_string())
        .start();
    let stalled = opened.join().unwrap();
    eventually("ready", || (ready(&gateway).0 == 200).then_some(()));
    let token = gateway.mint_token(&json!({}));
    let mut slowest = Duration::ZERO;
    let refused = eventually("a full pipe", || {
        let began = Instant::now();
        let answer = gateway.call(&chat(&bearer(&token), "hi"));
        slowest = slowest.max(began.elapsed());
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.status, 503);
    assert_eq!(refused.code(), "audit_unavailable");
    assert!(slowest < SOON, "{slowest:?}");
    assert_eq!(ready(&gateway).0, 503);
    let served = origin.count();
    let read = lines_of(stalled);
    eventually("ready again", || (ready(&gateway).0 == 200).then_some(()));
    let (mut calls, mut seq) = (0, 0);
    while calls < served {
        let line = read.recv_timeout(PATIENCE).unwrap();
        seq += 1;
        assert_eq!(line["seq"], seq, "no record is lost or there twice: {line}");
        let of_call = line["action"] == "proxy_request" && line["result"] == "success";
        calls += usize::from(of_call);
    }
}

// AUD-40 AUD-41
#[test]
fn a_full_disk_refuses_calls_and_the_gateway_lives() {
    let origin = Origin::start(answer);
    let gateway = models(&origin).set("audit.file", "/dev/full").start();
    assert_closed(&gateway, "tok-any");
    assert_eq!(origin.count(), 0);
    let health = gateway.call(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(health.status, 200, "it lives");
}

// AUD-40
#[test]
fn a_gateway_that_was_told_to_serves_calls_without_its_log_and_changes_nothing() {
    let origin = Origin::start(answer);
    let folder = tempfile::tempdir().unwrap();
    let first = models(&origin).folder(folder.path()).start();
    let token = first.mint_token(&json!({}));
    drop(first);
    let pipe = pipe(folder.path());
    let open = models(&origin)
        .folder(folder.path())
        .set("audit.access_on_failure", "open");
    let gateway = open.set("audit.file", pipe.display().to_string()).start();
    for _ in 0..3 {
        assert_eq!(gateway.call(&chat(&bearer(&token), "hi")).status, 200);
    }
    assert_eq!(ready(&gateway).0, 503, "but it says so");
    let (status, problem) = gateway.api("POST", "/api/v1/tokens", Some(&json!({})));
    assert_eq!(
        (status, &problem["code"]),
        (503, &json!("audit_unavailable")),
        "changes are not open"
    );
    eventually("access lines, which don't wait for the audit", || {
        (gateway.access_lines().len() >= 3).then_some(())
    });
}

/// A gateway on a server, whose audit log must be in the database in the time of the defaults.
fn on_server(server: &Postgres, origin: &Origin) -> Gateway {
    crate::replicas::on(server, &crate::replicas::routes(origin))
        .set("audit.require", "all")
        .set("audit.deadline", "250ms")
        .set("auth.on_stale", "open")
        .start()
}

// AUD-40 AUD-41 AUD-43
#[test]
fn a_database_that_hangs_refuses_calls_and_changes_in_time_and_loses_nothing() {
    let (origin, server) = (Origin::plain(), Postgres::start());
    let gateway = on_server(&server, &origin);
    let token = gateway.mint_token(&json!({ "project": "default" }));
    assert_eq!(crate::replicas::status(&gateway, &token), 200);
    server.signal(Signal::STOP);
    let mut slowest = Duration::ZERO;
    eventually("calls are refused", || {
        let began = Instant::now();
        let status = crate::replicas::status(&gateway, &token);
        slowest = slowest.max(began.elapsed());
        (status == 503).then_some(())
    });
    for _ in 0..5 {
        let began = Instant::now();
        let change = Some(json!({ "name": "lost" }));
        let (status, problem) = gateway.api("POST", "/api/v1/tokens", change.as_ref());
        slowest = slowest.max(began.elapsed());
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("audit_unavailable"))
        );
        assert_eq!(crate::replicas::status(&gateway, &token), 503);
    }
    assert!(slowest < SOON, "{slowest:?}");
    assert!(
        ready(&gateway).1.contains("\"audit\""),
        "{:?}",
        ready(&gateway)
    );
    server.signal(Signal::CONT);
    eventually("it heals", || {
        (crate::replicas::status(&gateway, &token) == 200).then_some(())
    });
    gateway.mint_token(&json!({ "project": "default" }));
    let lines = eventually("the database has what the file has", || {
        let lines = gateway.audit_lines();
        let count = server.ask("SELECT count(*) FROM audit_events");
        (count.trim() == lines.len().to_string()).then_some(lines)
    });
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(faults(&lines), []);
    assert!(!lines.contains("audit.gap"), "nothing was lost");
    assert!(lines.contains("\"kind\":\"database\"") || !lines.contains("audit.recovered"));
}

// AUD-43
#[test]
fn where_the_file_is_enough_a_killed_database_refuses_no_call() {
    let (origin, mut server) = (Origin::plain(), Postgres::start());
    let gateway = crate::replicas::on(&server, &crate::replicas::routes(&origin))
        .set("auth.on_stale", "open")
        .start();
    let token = gateway.mint_token(&json!({ "project": "default" }));
    server.kill();
    for _ in 0..20 {
        assert_eq!(crate::replicas::status(&gateway, &token), 200);
        thread::sleep(Duration::from_millis(50));
    }
    server.restart();
    eventually("the database has what the file has", || {
        let count = server.ask("SELECT count(*) FROM audit_events");
        (count.trim() == gateway.audit_lines().len().to_string()).then_some(())
    });
}
