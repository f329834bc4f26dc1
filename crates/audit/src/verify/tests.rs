//! What is done to a file, and what is said of it.

use super::*;
use tollkeep_crypto::sha256;

const FILE: &str = include_str!("../../tests/data/every_action.jsonl");

/// The examples up to those that are signed, which say nothing true of this chain.
fn lines() -> Vec<String> {
    let lines = FILE.lines().map(str::to_owned);
    lines
        .take_while(|line| !line.contains("\"audit.checkpoint\""))
        .collect()
}

fn report(lines: &[String]) -> Report {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut verifier = Verifier::default().of_a_part();
    verifier.read("audit.log", text.as_bytes()).unwrap();
    verifier.finish()
}

fn found(lines: &[String]) -> Vec<(u64, FaultKind)> {
    let faults = report(lines).faults.into_iter();
    faults.map(|fault| (fault.line, fault.what)).collect()
}

type Change = fn(&mut Vec<String>);
type Found = &'static [(u64, FaultKind)];

/// What may be done to a file, and what is found of it.
const DONE: &[(&str, Change, Found)] = &[
    (
        "a word",
        |lines| lines[4] = lines[4].replace("success", "failure"),
        &[(5, FaultKind::Edited)],
    ),
    (
        "its number",
        |lines| lines[4] = lines[4].replace("\"seq\":6", "\"seq\":7"),
        &[(5, FaultKind::Edited)],
    ),
    (
        "its hash",
        |lines| {
            let hash = member(&lines[4], "hash").to_owned();
            lines[4] = lines[4].replace(&hash, &"0".repeat(64));
        },
        &[(5, FaultKind::Edited)],
    ),
    (
        "its chain",
        |lines| {
            lines[4] = lines[4]
                .replace("aus_", "aus_f")
                .replacen("aus_f0", "aus_f", 1);
        },
        &[(5, FaultKind::Edited)],
    ),
    (
        "a key twice",
        |lines| lines[4] = lines[4].replacen('{', "{\"action\":\"x\",", 1),
        &[(5, FaultKind::Unreadable)],
    ),
    (
        "a blank",
        |lines| lines[4] = lines[4].replacen(',', ", ", 1),
        &[(5, FaultKind::Unreadable)],
    ),
    (
        "an escape that says the same",
        |lines| {
            lines[4] = lines[4]
                .replacen("\"action\":\"", "\"action\":\"\\u0074", 1)
                .replacen("\\u0074t", "\\u0074", 1);
        },
        &[(5, FaultKind::Edited)],
    ),
    (
        "one deleted",
        |lines| drop(lines.remove(4)),
        &[(5, FaultKind::Missing(1))],
    ),
    (
        "two deleted",
        |lines| drop(lines.drain(4..6)),
        &[(5, FaultKind::Missing(2))],
    ),
    (
        "two swapped",
        |lines| lines.swap(4, 5),
        &[(6, FaultKind::Reordered)],
    ),
    (
        "one twice",
        |lines| lines.insert(5, lines[4].clone()),
        &[(6, FaultKind::Twice)],
    ),
    (
        "one put in",
        |lines| lines.insert(5, "{}".to_owned()),
        &[(6, FaultKind::Unreadable)],
    ),
    (
        "written anew",
        |lines| lines[4] = anew(&lines[4], "\"actor\":\"", "\"actor\":\"x"),
        &[(6, FaultKind::Replaced)],
    ),
    (
        "another put in",
        |lines| lines.insert(5, after(&lines[4])),
        &[(7, FaultKind::OtherThere)],
    ),
];

// AUD-50 AUD-52
#[test]
fn what_was_done_to_a_file_is_found_in_its_line() {
    let whole = lines();
    assert_eq!(found(&whole), []);
    for (name, change, want) in DONE {
        let mut lines = whole.clone();
        change(&mut lines);
        assert_ne!(lines, whole, "{name}: nothing was done");
        assert_eq!(found(&lines), *want, "{name}");
    }
}

fn member<'l>(line: &'l str, name: &str) -> &'l str {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
    rest.trim_start_matches('"')
        .split(['"', ',', '}'])
        .next()
        .unwrap()
}

/// A record with something changed and its hash made right again.
fn anew(line: &str, from: &str, to: &str) -> String {
    let (said, _) = line.rsplit_once(",\"hash\":").unwrap();
    let said = said.replacen(from, to, 1);
    let mut members: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&format!("{said}}}")).unwrap();
    if let Some(serde_json::Value::Object(details)) = members.get_mut("details") {
        details.sort_keys();
    }
    let prev = parse_hash(member(line, "prev")).unwrap();
    let canonical = serde_json::to_vec(&members).unwrap();
    let hash = hex(&sha256(&[&[1], &prev, &canonical]));
    format!(
        "{said},\"hash\":\"{}\"}}",
        std::str::from_utf8(&hash).unwrap()
    )
}

/// A record that follows this one and was never written by us.
fn after(line: &str) -> String {
    let seq: u64 = member(line, "seq").parse().unwrap();
    let (hash, prev) = (member(line, "hash"), member(line, "prev"));
    let line = line.replace(prev, hash);
    anew(
        &line,
        &format!("\"seq\":{seq}"),
        &format!("\"seq\":{}", seq + 1),
    )
}

// AUD-52
#[test]
fn a_torn_last_line_is_told() {
    let mut verifier = Verifier::default().of_a_part();
    verifier.read("f", FILE.trim_end().as_bytes()).unwrap();
    let report = verifier.finish();
    let what = report.faults.last().map(|fault| fault.what);
    assert_eq!(what, Some(FaultKind::Torn));
}

// AUD-52
#[test]
fn parts_of_a_chain_prove_each_other_in_any_order() {
    let whole = lines();
    let text = |part: &[String]| {
        part.iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let parts = [text(&whole[..8]), text(&whole[8..20]), text(&whole[20..])];
    let read = |order: &[usize]| {
        let mut verifier = Verifier::default().of_a_part();
        for at in order {
            verifier
                .read(&at.to_string(), parts[*at].as_bytes())
                .unwrap();
        }
        verifier.finish()
    };
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let report = read(&order);
        assert!(report.is_clean(), "{order:?}: {:?}", report.faults);
        assert_eq!(report.records, whole.len() as u64);
        let [stream] = &report.streams[..] else {
            panic!("one chain");
        };
        assert_eq!(stream.last - stream.first + 1, report.records);
    }
    let without = read(&[2, 0]);
    let [fault] = &without.faults[..] else {
        panic!("{:?}", without.faults);
    };
    assert_eq!(
        (&*fault.file, fault.line, fault.what),
        ("2", 1, FaultKind::Missing(12))
    );
    let twice = read(&[0, 1, 1, 2]);
    assert_eq!(twice.faults_in_all, 1, "{:?}", twice.faults);
    assert_eq!(twice.faults[0].what, FaultKind::Twice);
}

// AUD-52
#[test]
fn what_comes_before_the_first_record_is_missed_unless_it_is_a_part() {
    let whole = lines();
    let text: String = whole.iter().map(|line| format!("{line}\n")).collect();
    let mut verifier = Verifier::default();
    verifier.read("f", text.as_bytes()).unwrap();
    // The file of examples begins with the second record.
    let report = verifier.finish();
    let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "f:1: record 2 is the first of its chain here: 1 record before it are missing, and no signed prune says so"
        ]
    );
}

// AUD-52
#[test]
fn endless_garbage_takes_no_endless_memory() {
    let mut verifier = Verifier::default();
    let garbage = vec![b'x'; 3 << 20];
    verifier.read("f", &*garbage).unwrap();
    let lines = b"[]\n".repeat(10_000);
    verifier.read("g", &*lines).unwrap();
    let report = verifier.finish();
    assert!(report.faults_in_all > 10_000);
    assert_eq!(report.faults.len(), 100);
}
