//! The ledger's half of `tollkeep audit verify --ledger`: whether the running gateway's entries are
//! those that the audit log told of (AUD-54).
//!
//! Each event that moved money has the hashes of its entries, and each checkpoint the end of their
//! chain. Whoever changes rows of the ledger can write its whole chain anew, but not the log.

use super::client::Client;
use crate::system::SystemClock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead};
use std::path::PathBuf;
use tollkeep_audit::open_log;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_types::{Clock as _, WallMillis};

/// Entries that are asked for at once.
const ENTRIES_AT_ONCE: usize = 10_000;
/// An entry's event may take so long to be in the log.
const ON_ITS_WAY_MS: u64 = 5_000;
/// Faults of one sort that are told one by one.
const TOLD_MAX: usize = 20;

type Hash = [u8; 32];

/// What the log tells of the ledger.
#[derive(Default)]
pub(super) struct Told {
    /// Hashes of entries, and the sequence number of the event that has each.
    entries: HashMap<Hash, u64>,
    /// Ends of the chain that checkpoints have: the number of the entry, its hash, and where it is.
    heads: BTreeMap<u64, (String, u64)>,
    /// When the first record was written: what is older may have been deleted from the log.
    since: Option<WallMillis>,
}

/// What a comparison found.
#[derive(Default)]
pub(super) struct Compared {
    entries: u64,
    told: u64,
    heads: u64,
    faults: Vec<String>,
    faults_in_all: u64,
}

impl Told {
    /// Reads what the files tell.
    pub(super) fn read(files: &[PathBuf], key: Option<&ArchiveKey>) -> io::Result<Self> {
        let mut told = Self::default();
        for path in files {
            let (mut input, mut line) = (open_log(path, key)?, String::new());
            while read_line(&mut input, &mut line)? {
                told.take(&line);
            }
        }
        Ok(told)
    }

    /// Takes in one line; one that can't be read is the verifier's to blame.
    fn take(&mut self, line: &str) {
        let of_money = line.contains("\"entry_digest\":\"");
        let of_chain = line.contains("\"ledger_head\":\"");
        if !of_money && !of_chain && self.since.is_some() {
            return;
        }
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            return;
        };
        if let Some(at) = record.get("timestamp").and_then(time) {
            self.since = Some(self.since.map_or(at, |since| since.min(at)));
        }
        let seq = record.get("seq").and_then(Value::as_u64).unwrap_or(0);
        let detail = |name: &str| record.pointer(&format!("/details/{name}"))?.as_str();
        let digests = detail("entry_digest").unwrap_or_default();
        for digest in digests.split_ascii_whitespace() {
            self.entries.extend(hash(digest).map(|hash| (hash, seq)));
        }
        if let Some((number, head)) = detail("ledger_head").and_then(|head| head.split_once(':'))
            && let Ok(number) = number.parse()
        {
            self.heads.insert(number, (head.to_owned(), seq));
        }
    }

    /// Compares it with the entries of the running gateway, which also looks at its own rows.
    ///
    /// # Errors
    /// The gateway can't be asked.
    pub(super) fn compare(mut self, client: &Client) -> anyhow::Result<Compared> {
        let mut found = Compared::default();
        let report = client.get("/api/v1/ledger/check")?;
        let violations = report.get("violations").and_then(Value::as_array);
        for violation in violations.into_iter().flatten() {
            found.blame(violation.as_str().unwrap_or_default().to_owned());
        }
        let settled = SystemClock::new().wall().0.saturating_sub(ON_ITS_WAY_MS);
        let (mut after, mut is_old) = (0, true);
        loop {
            let path = format!("/api/v1/ledger/entries?after={after}&limit={ENTRIES_AT_ONCE}");
            let page = client.get(&path)?;
            let page = page.as_array().map(Vec::as_slice).unwrap_or_default();
            for entry in page {
                after = entry.get("number").and_then(Value::as_u64).unwrap_or(after);
                let at = entry.get("at").and_then(time).unwrap_or_default();
                // Times never go back along the chain: what comes after one that is not old is not.
                is_old &= self.since.is_some_and(|since| at < since);
                self.judge(entry, !is_old && at.0 < settled, &mut found);
            }
            if page.len() < ENTRIES_AT_ONCE {
                break;
            }
        }
        self.left_over(after, &mut found);
        Ok(found)
    }

    fn judge(&mut self, entry: &Value, must_be_told: bool, found: &mut Compared) {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = entry.get("number").and_then(Value::as_u64).unwrap_or(0);
        found.entries += 1;
        if let Some((head, seq)) = self.heads.remove(&number) {
            found.heads += 1;
            if head != text("hash") {
                found.blame(format!(
                    "entry {number} ({}) or one before it is not what checkpoint {seq} ends with",
                    text("id")
                ));
            }
        }
        let is_told = hash(text("hash")).is_some_and(|hash| self.entries.remove(&hash).is_some());
        found.told += u64::from(is_told);
        let is_gain = entry.get("is_gain").and_then(Value::as_bool);
        if !is_told && must_be_told && is_gain == Some(true) {
            found.blame(format!(
                "entry {number} ({}, {}) gives a payer something that no event tells of",
                text("id"),
                text("kind")
            ));
        }
    }

    /// What the log tells of and the ledger has not.
    fn left_over(self, last: u64, found: &mut Compared) {
        for (number, (_, seq)) in self.heads {
            found.blame(format!(
                "checkpoint {seq} ends with entry {number}, and the ledger with entry {last}"
            ));
        }
        let mut events: Vec<_> = self.entries.into_values().collect();
        events.sort_unstable();
        for seq in events {
            found.blame(format!(
                "event {seq} tells of an entry that the ledger does not have, or has otherwise"
            ));
        }
    }
}

impl Compared {
    fn blame(&mut self, fault: String) {
        self.faults_in_all += 1;
        if self.faults.len() < TOLD_MAX {
            self.faults.push(fault);
        }
    }

    /// How many faults were found, also those that are not told one by one.
    pub(super) const fn faults_in_all(&self) -> u64 {
        self.faults_in_all
    }

    /// For a reader.
    pub(super) fn print(&self) {
        for fault in &self.faults {
            println!("ledger: {fault}");
        }
        println!(
            "ledger: {} entries, {} told of by events, {} ends signed, {} faults",
            self.entries, self.told, self.heads, self.faults_in_all
        );
    }

    /// As JSON.
    pub(super) fn shown(&self) -> Value {
        json!({
            "entries": self.entries,
            "told": self.told,
            "heads": self.heads,
            "faults": self.faults,
            "faults_in_all": self.faults_in_all,
        })
    }
}

/// The next line; bytes that are no text are the verifier's to blame.
fn read_line(input: &mut dyn BufRead, line: &mut String) -> io::Result<bool> {
    let mut bytes = std::mem::take(line).into_bytes();
    bytes.clear();
    let read = input.read_until(b'\n', &mut bytes)?;
    *line = String::from_utf8(bytes).unwrap_or_default();
    Ok(read > 0)
}

fn time(written: &Value) -> Option<WallMillis> {
    serde_json::from_value(written.clone()).ok()
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
