//! Whether a file is what was written: every record by its own hash, and by the one before it.

use crate::chain::parse_hash;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, Read};
use tollkeep_crypto::sha256;

/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// Faults that are told; the others are counted.
const TOLD_MAX: usize = 100;
/// Streams that are followed at once.
const STREAMS_MAX: usize = 64;

/// What was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Whole records, good or not.
    pub records: u64,
    /// The first faults.
    pub faults: Vec<ChainFault>,
    /// How many there are in all.
    pub faults_in_all: u64,
    /// Number and hash of the last good record.
    pub head: Option<(u64, String)>,
}

/// Something wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChainFault {
    /// Its line, from 1.
    pub line: u64,
    /// The number that the record has, if it has one.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: ChainFaultKind,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChainFaultKind {
    /// It is no record.
    Unreadable,
    /// It has no end.
    Torn,
    /// Its hash is not that of what it says.
    Edited,
    /// Records before it are missing.
    Missing,
    /// It does not follow the record before it, which has the number before its own.
    Replaced,
    /// Its number was there already.
    OutOfOrder,
}

impl ChainFaultKind {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "is no record",
            Self::Torn => "is torn off",
            Self::Edited => "was edited",
            Self::Missing => "follows records that are missing",
            Self::Replaced => "does not follow the record before it",
            Self::OutOfOrder => "has a number that was there before",
        }
    }
}

/// Reads records to the end, in constant memory. The first of each stream may be any, as files are
/// parts of what was written.
///
/// # Errors
/// It can't be read.
pub fn verify(file: impl BufRead) -> io::Result<Verified> {
    let (mut found, mut file) = (Verified::default(), file);
    let mut streams: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut number = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut part = (&mut file).take(LINE_BYTES_MAX);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        number += 1;
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        let fault = match (is_whole, Record::read(&line)) {
            (false, _) => Some((None, ChainFaultKind::Torn)),
            (true, None) => Some((None, ChainFaultKind::Unreadable)),
            (true, Some(record)) => {
                found.records += 1;
                let last = streams.get(&record.stream);
                let fault = record.fault(last);
                if fault.is_none() {
                    found.head = Some((record.seq, record.hash.clone()));
                }
                if streams.len() < STREAMS_MAX || streams.contains_key(&record.stream) {
                    streams.insert(record.stream, (record.seq, record.hash));
                }
                fault.map(|what| (Some(record.seq), what))
            }
        };
        if let Some((seq, what)) = fault {
            found.faults_in_all += 1;
            if found.faults.len() < TOLD_MAX {
                let line = number;
                found.faults.push(ChainFault { line, seq, what });
            }
        }
    }
}

struct Record {
    stream: String,
    seq: u64,
    prev: String,
    hash: String,
    /// What the record says has this hash.
    real: Option<[u8; 32]>,
}

impl Record {
    fn read(line: &[u8]) -> Option<Self> {
        let Json::Object(mut members) = serde_json::from_slice(line).ok()? else {
            return None;
        };
        let text = |name| match members.get(name) {
            Some(Json::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let (stream, prev, hash) = (text("stream")?, text("prev")?, text("hash")?);
        let Some(Json::Number(seq)) = members.get("seq") else {
            return None;
        };
        let seq = seq.parse().ok()?;
        members.remove("hash");
        let mut canonical = String::new();
        Json::Object(members).write(&mut canonical);
        let real = parse_hash(&prev).map(|prev| sha256(&[&[1], &prev, canonical.as_bytes()]));
        Some(Self {
            stream,
            seq,
            prev,
            hash,
            real,
        })
    }

    fn fault(&self, last: Option<&(u64, String)>) -> Option<ChainFaultKind> {
        if self.real.is_none() || self.real != parse_hash(&self.hash) {
            return Some(ChainFaultKind::Edited);
        }
        let (seq, hash) = last?;
        match self.seq.checked_sub(*seq) {
            None | Some(0) => Some(ChainFaultKind::OutOfOrder),
            Some(1) => (self.prev != *hash).then_some(ChainFaultKind::Replaced),
            Some(_) => Some(ChainFaultKind::Missing),
        }
    }
}

/// JSON as records have it: numbers as they are written, and no key twice, which could be read
/// in two ways.
enum Json {
    Word(&'static str),
    Number(String),
    Text(String),
    Object(BTreeMap<String, Self>),
}

impl Json {
    /// Appends it in the canonical form (RFC 8785). Keys are ASCII, so bytes are in its order.
    fn write(&self, out: &mut String) {
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Number(digits) => out.push_str(digits),
            Self::Text(text) => out.push_str(&serde_json::Value::from(text.as_str()).to_string()),
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Json, E> {
        Ok(Json::Word(if yes { "true" } else { "false" }))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Json, A::Error> {
        Err(A::Error::custom("no lists in records"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.insert(name, members.next_value()?).is_some() {
                return Err(A::Error::custom("a key is there twice"));
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../tests/data/every_action.jsonl");

    fn found(lines: &[String]) -> Vec<(u64, ChainFaultKind)> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let found = verify(text.as_bytes()).unwrap();
        let faults = found.faults.iter();
        faults.map(|fault| (fault.line, fault.what)).collect()
    }

    // AUD-50
    #[test]
    fn what_was_done_to_a_file_is_found() {
        use ChainFaultKind::{Edited, Missing, OutOfOrder, Unreadable};
        let whole: Vec<String> = FILE.lines().map(str::to_owned).collect();
        assert_eq!(found(&whole), []);
        let part = whole.get(10..20).unwrap();
        assert_eq!(found(part), [], "a part proves itself");
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = whole.clone();
            change(&mut lines);
            found(&lines)
        };
        let edit = |lines: &mut Vec<String>| lines[4] = lines[4].replace("success", "failure");
        assert_eq!(with(&edit), [(5, Edited)]);
        let twice =
            |lines: &mut Vec<String>| lines[4] = lines[4].replacen('{', "{\"action\":\"x\",", 1);
        assert_eq!(with(&twice), [(5, Unreadable), (6, Missing)]);
        assert_eq!(with(&|lines| drop(lines.remove(4))), [(5, Missing)]);
        assert_eq!(
            with(&|lines| lines.swap(4, 5)),
            [(5, Missing), (6, OutOfOrder), (7, Missing)]
        );
        let again = |lines: &mut Vec<String>| lines.insert(5, lines[4].clone());
        assert_eq!(with(&again), [(6, OutOfOrder)]);
        assert_eq!(
            with(&|lines| lines.insert(5, "{}".to_owned())),
            [(6, Unreadable)]
        );
        let torn = verify(FILE.trim_end().as_bytes()).unwrap();
        assert_eq!(
            torn.faults.last().map(|fault| fault.what),
            Some(ChainFaultKind::Torn)
        );
        let whole = verify(FILE.as_bytes()).unwrap();
        assert_eq!(whole.records, u64::try_from(FILE.lines().count()).unwrap());
        assert!(whole.head.is_some_and(|(seq, _)| seq >= whole.records));
    }

    #[test]
    fn one_who_makes_a_record_anew_breaks_the_next() {
        let mut lines: Vec<String> = FILE.lines().take(6).map(str::to_owned).collect();
        let Json::Object(mut members) = serde_json::from_str(&lines[4]).unwrap() else {
            panic!("no object");
        };
        members.insert("actor".to_owned(), Json::Text("nobody".to_owned()));
        members.remove("hash");
        let Some(Json::Text(prev)) = members.get("prev") else {
            panic!("no prev");
        };
        let prev = parse_hash(prev).unwrap();
        let mut canonical = String::new();
        Json::Object(members).write(&mut canonical);
        let hash = sha256(&[&[1], &prev, canonical.as_bytes()]);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        canonical.insert_str(1, &format!("\"hash\":\"{hash}\","));
        lines[4] = canonical;
        assert_eq!(found(&lines), [(6, ChainFaultKind::Replaced)]);
    }
}
