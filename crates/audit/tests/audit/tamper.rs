//! Whoever changes a line is found out.

use crate::support::logger;
use crate::verifier::{Verifier, first_fault};
use tollkeep_audit::{Action, Actor, Event, Key, Outcome, Value};

/// A log of 200 lines.
fn log() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let logger = logger(&path);
    for number in 0..198 {
        let event = Event::new(Action::ProxyRequest, Actor::Client, Outcome::Success)
            .with_user_agent("curl/8.1 \"quoted\"")
            .with_detail(Key::Count, Value::Number(number));
        logger.enqueue(&event).unwrap();
    }
    logger.stop().unwrap();
    let log = std::fs::read(&path).unwrap();
    assert_eq!(first_fault(&log), None);
    log
}

/// What a byte is changed to.
fn edit(at: usize, byte: u8) -> u8 {
    let edit = [byte ^ 0x01, b' ', b'0', b'\n', byte ^ 0x20][at % 5];
    if edit == byte { b'"' } else { edit }
}

// AUD-50
#[test]
fn every_edit_of_one_byte_is_found_in_its_line() {
    let log = log();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let mut verifier = Verifier::default();
    std::thread::scope(|scope| {
        for (number, line) in lines.iter().enumerate() {
            let before = verifier.clone();
            assert!(verifier.accept(line.strip_suffix(b"\n").unwrap()));
            // An edited line feed joins the next line to this one.
            let next = lines.get(number + 1).copied().unwrap_or_default();
            scope.spawn(move || every_edit_is_found(&before, line, next));
        }
    });
}

fn every_edit_is_found(before: &Verifier, line: &[u8], next: &[u8]) {
    for at in 0..line.len() {
        let mut edited = [line, next].concat();
        edited[at] = edit(at, line[at]);
        let first = edited.split(|byte| *byte == b'\n').next().unwrap();
        let found = !before.clone().accept(first);
        assert!(found, "byte {at}: {}", String::from_utf8_lossy(first));
    }
}

// AUD-50
#[test]
fn lines_taken_out_put_in_or_swapped_are_found() {
    let log = log();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() - 1 {
        let mut without = lines.clone();
        without.remove(at);
        assert_eq!(
            first_fault(&without.concat()),
            Some(at),
            "line {at} taken out"
        );
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        assert_eq!(
            first_fault(&twice.concat()),
            Some(at + 1),
            "line {at} twice"
        );
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        assert_eq!(
            first_fault(&swapped.concat()),
            Some(at),
            "lines swapped at {at}"
        );
    }
}
