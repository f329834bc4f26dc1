//! An independent reading of the chain, from the text of the lines alone: JSON is parsed, made
//! canonical and hashed without any code of the crate.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use tollkeep_crypto::sha256;

/// What the lines so far said of their streams.
#[derive(Clone, Default)]
pub(crate) struct Verifier(HashMap<String, (u64, String)>);

impl Verifier {
    /// Whether the line proves itself and is what follows the one before.
    pub(crate) fn accept(&mut self, line: &[u8]) -> bool {
        let Some((stream, seq, prev, hash)) = record(line) else {
            return false;
        };
        let start = || (0, "0".repeat(64));
        let (last_seq, last_hash) = self.0.entry(stream).or_insert_with(start);
        let follows = seq == *last_seq + 1 && prev == *last_hash;
        (*last_seq, *last_hash) = (seq, hash);
        follows
    }
}

/// The place of the first line that is not what follows the one before.
pub(crate) fn first_fault(log: &[u8]) -> Option<usize> {
    let mut verifier = Verifier::default();
    let mut lines = log.split_inclusive(|byte| *byte == b'\n');
    lines.position(|line| match line.strip_suffix(b"\n") {
        Some(line) => !verifier.accept(line),
        None => true,
    })
}

/// Stream, number, previous hash and own hash of a line that proves itself.
fn record(line: &[u8]) -> Option<(String, u64, String, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut record: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
    let Some(Value::String(hash)) = record.remove("hash") else {
        return None;
    };
    let prev = record.get("prev")?.as_str()?.to_owned();
    let mut bytes = vec![0x01];
    for at in 0..32 {
        bytes.push(u8::from_str_radix(prev.get(2 * at..2 * at + 2)?, 16).ok()?);
    }
    bytes.extend(canonical(&Value::Object(record.clone().into_iter().collect())).bytes());
    let computed: String = sha256(&[&bytes])
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let stream = record.get("stream")?.as_str()?.to_owned();
    let seq = record.get("seq")?.as_u64()?;
    (computed == hash && text == as_written(&record, &hash)).then_some((stream, seq, prev, hash))
}

/// RFC 8785: sorted names, and strings as this JSON library writes them.
fn canonical(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members = sorted.into_iter().map(|(name, value)| {
                format!("{}:{}", Value::from(name.as_str()), canonical(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(_) => panic!("no arrays in a record"),
    }
}

/// Details in the order they are written.
const DETAILS: &[&str] = &[
    "http_method",
    "endpoint",
    "entry_digest",
    "duration_minutes",
    "duration_ms",
    "token_id",
    "user_agent",
    "reason",
    "error",
];

/// The line as it must have been written: the hash covers what a line says, this covers how.
fn as_written(record: &BTreeMap<String, Value>, hash: &str) -> String {
    let mut members = Vec::new();
    for name in [
        "timestamp",
        "action",
        "actor",
        "project_id",
        "request_id",
        "correlation_id",
        "client_ip",
        "result",
        "details",
        "id",
        "tenant_id",
        "actor_id",
        "class",
        "reason",
        "stream",
        "seq",
        "prev",
    ] {
        match record.get(name) {
            Some(Value::Object(details)) => {
                let known = DETAILS
                    .iter()
                    .filter(|key| details.contains_key(**key))
                    .copied();
                let others = details
                    .keys()
                    .map(String::as_str)
                    .filter(|key| !DETAILS.contains(key));
                let written = known
                    .chain(others)
                    .map(|key| format!("\"{key}\":{}", escaped(&details[key])));
                members.push(format!(
                    "\"details\":{{{}}}",
                    written.collect::<Vec<_>>().join(",")
                ));
            }
            Some(value) => members.push(format!("\"{name}\":{}", escaped(value))),
            None => {}
        }
    }
    format!("{{{},\"hash\":\"{hash}\"}}", members.join(","))
}

/// A value with everything escaped that could be mistaken for something else.
fn escaped(value: &Value) -> String {
    let Value::String(text) = value else {
        return value.to_string();
    };
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fffd}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
