//! A file that is there already.

use crate::support::{config, lines, logger, means};
use crate::verifier::first_fault;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tollkeep_audit::{Action, Actor, AuditError, Event, Logger, LoggerConfig, Outcome};

fn some_event() -> Event<'static> {
    Event::new(Action::TokenCreate, Actor::Management, Outcome::Success)
}

/// Opens the log, writes one event, closes it.
fn session(path: &Path) {
    let logger = logger(path);
    logger.log(&some_event()).unwrap();
    logger.stop().unwrap();
}

fn member(line: &str, pointer: &str) -> serde_json::Value {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    record.pointer(pointer).cloned().unwrap_or_default()
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

// AUD-50
#[test]
fn the_chain_goes_on_where_the_file_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/dirs/audit.log");
    for _ in 0..3 {
        session(&path);
    }
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    let lines = lines(&path);
    assert_eq!(lines.len(), 9);
    assert_eq!(member(&lines[8], "/seq"), 9);
    assert_eq!(member(&lines[8], "/stream"), member(&lines[0], "/stream"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

// AUD-42
#[test]
fn a_torn_line_is_put_aside_and_the_chain_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    session(&path);
    let torn = format!(r#"{{"timestamp":"2026-{}"#, "x".repeat(40_000));
    append(&path, torn.as_bytes());
    session(&path);
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    let lines = lines(&path);
    assert_eq!(member(&lines[3], "/action"), "audit.open");
    assert_eq!(member(&lines[3], "/details/torn_bytes"), torn.len());
    let aside: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|other| *other != path)
        .collect();
    let [aside] = &aside[..] else {
        panic!("one file beside: {aside:?}");
    };
    let name = aside.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("audit.log.torn-20261122T1015"), "{name}");
    assert_eq!(fs::read_to_string(aside).unwrap(), torn);
    assert_eq!(
        fs::metadata(aside).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

// AUD-42
#[test]
fn a_file_with_nothing_but_a_torn_line_begins_a_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    session(&path);
    fs::write(&path, "\0\0\0\0").unwrap();
    session(&path);
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
    let lines = lines(&path);
    assert_eq!(member(&lines[0], "/details/torn_bytes"), 4);
    assert_eq!(member(&lines[0], "/seq"), 1);
}

// AUD-42
#[test]
fn a_foreign_last_line_begins_a_new_stream_and_is_told() {
    for foreign in ["{}", "", "[[[[", r#"{"stream":"aus_x","seq":1,"hash":""}"#] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        session(&path);
        append(&path, format!("{foreign}\n").as_bytes());
        session(&path);
        let lines = lines(&path);
        assert_eq!(member(&lines[4], "/reason"), "unreadable_tail", "{foreign}");
        assert_eq!(member(&lines[4], "/seq"), 1);
    }
}

// AUD-60
#[test]
fn a_file_others_may_read_or_write_is_refused() {
    for (found, allowed, ok) in [
        (0o600, 0o600, true),
        (0o400, 0o600, true),
        (0o640, 0o640, true),
        (0o640, 0o600, false),
        (0o644, 0o640, false),
        (0o622, 0o600, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(found)).unwrap();
        let config = LoggerConfig {
            mode: allowed,
            ..config(&path)
        };
        let opened = Logger::new(config, means());
        let refused = matches!(opened, Err(AuditError::TooOpen { .. }));
        assert_eq!(refused, !ok, "{found:o} for {allowed:o}");
    }
}

// AUD-60
#[test]
fn a_mode_that_is_too_wide_is_no_setting() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o644, 0o660, 0o4600] {
        let config = LoggerConfig {
            mode,
            ..config(&dir.path().join("audit.log"))
        };
        let opened = Logger::new(config, means());
        assert!(
            matches!(opened, Err(AuditError::ModeSetting(_))),
            "{mode:o}"
        );
    }
}

// AUD-21
#[test]
fn a_missing_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = LoggerConfig {
        create_dir: false,
        ..config(&dir.path().join("nowhere/audit.log"))
    };
    let Err(error) = Logger::new(config, means()) else {
        panic!("opened");
    };
    assert!(error.to_string().contains("nowhere"), "{error}");
}

// AUD-22
#[test]
fn what_cannot_be_opened_is_said_with_the_user() {
    let dir = tempfile::tempdir().unwrap();
    let Err(error) = Logger::new(config(dir.path()), means()) else {
        panic!("a directory is no file");
    };
    let uid = rustix::process::geteuid().as_raw();
    assert!(
        error
            .to_string()
            .contains(&format!("not writable by uid {uid}")),
        "{error}"
    );
}

// AUD-50
#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let first = logger(&path);
    let second = Logger::new(config(&path), means());
    assert!(matches!(second, Err(AuditError::InUse(_))));
    first.log(&some_event()).unwrap();
    drop(first);
    session(&path);
    assert_eq!(first_fault(&fs::read(&path).unwrap()), None);
}
