//! Records of a time, handed to somebody else: as they were written, as a table, as one document;
//! and a signed list of what was handed over.

use crate::signing::MANIFEST;
use crate::{log_files, open_log};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use tollkeep_crypto::Sha256;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_crypto::audit_key::AuditKey;
use tollkeep_types::WallMillis;

/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 256 << 10;
/// Chains whose ends are told.
const STREAMS_MAX: usize = 1_000;

/// How records are handed over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ExportFormat {
    /// Each as it was written, a line each: it proves itself.
    #[default]
    Jsonl,
    /// As one JSON list.
    Json,
    /// As a table for spreadsheets, without what proves it.
    Csv,
}

/// Its word.
impl std::str::FromStr for ExportFormat {
    type Err = NoFormat;

    fn from_str(text: &str) -> Result<Self, NoFormat> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.as_str() == text).ok_or(NoFormat)
    }
}

/// No format has that name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("want jsonl, json or csv")]
pub struct NoFormat;

impl ExportFormat {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Jsonl, Self::Json, Self::Csv];

    /// Its word, and the ending of a file of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// Which records: those from a time on, and before another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExportRange {
    /// Not before then.
    pub from: WallMillis,
    /// Before then.
    pub to: WallMillis,
    /// How they are written.
    pub format: ExportFormat,
}

/// What was handed over.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exported {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of them, as hex digits.
    pub sha256: String,
    /// Its chains.
    pub streams: Vec<ExportedStream>,
    /// The checkpoints that speak of it: of each chain the first one behind it, as they were
    /// written.
    pub checkpoints: Vec<Value>,
}

/// What was handed over of a chain.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExportedStream {
    /// Its id.
    pub stream: String,
    /// The first record and its hash.
    pub first: (u64, String),
    /// The last record and its hash.
    pub last: (u64, String),
    /// A checkpoint behind it was found.
    is_covered: bool,
}

#[derive(Deserialize)]
struct Head<'l> {
    timestamp: WallMillis,
    #[serde(borrow)]
    action: Option<&'l str>,
    stream: &'l str,
    seq: u64,
    hash: &'l str,
}

/// The columns of a table, and where each is.
const COLUMNS: [(&str, &str); 20] = [
    ("timestamp", "/timestamp"),
    ("action", "/action"),
    ("actor", "/actor"),
    ("actor_id", "/actor_id"),
    ("project_id", "/project_id"),
    ("request_id", "/request_id"),
    ("client_ip", "/client_ip"),
    ("result", "/result"),
    ("reason", "/reason"),
    ("http_method", "/details/http_method"),
    ("endpoint", "/details/endpoint"),
    ("status_code", "/details/status_code"),
    ("token_id", "/details/token_id"),
    ("token_ref", "/details/token_ref"),
    ("duration_ms", "/details/duration_ms"),
    ("model", "/details/model"),
    ("provider", "/details/provider"),
    ("amount", "/details/amount"),
    ("currency", "/details/currency"),
    ("details", "/details"),
];

/// Writes the records of a range from all files of a log, in the order they were written; constant
/// memory. The log goes on meanwhile: a range that has not ended yet gives what is there.
///
/// # Errors
/// A file can't be read, or `out` takes no more.
pub fn export(
    (log, key): (&Path, Option<&ArchiveKey>),
    range: ExportRange,
    out: &mut dyn Write,
) -> io::Result<Exported> {
    let mut exporter = Exporter {
        range,
        out,
        hash: Sha256::new(),
        told: Exported::default(),
    };
    exporter.begin()?;
    for path in log_files(log, key)? {
        let mut input = open_log(&path, key)?;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut part = (&mut input).take(LINE_BYTES_MAX);
            if part.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            exporter.take(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    }
    exporter.end()
}

struct Exporter<'a> {
    range: ExportRange,
    out: &'a mut dyn Write,
    hash: Sha256,
    told: Exported,
}

impl Exporter<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.told.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.out.write_all(bytes)
    }

    fn begin(&mut self) -> io::Result<()> {
        match self.range.format {
            ExportFormat::Jsonl => Ok(()),
            ExportFormat::Json => self.put(b"["),
            ExportFormat::Csv => {
                let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
                self.put(format!("{}\r\n", names.join(",")).as_bytes())
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> io::Result<()> {
        // What is no record of ours is no event.
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else {
            return Ok(());
        };
        if !(self.range.from..self.range.to).contains(&head.timestamp) {
            return self.cover(&head, line);
        }
        self.note(&head);
        let is_first = self.told.records == 0;
        self.told.records += 1;
        match self.range.format {
            ExportFormat::Jsonl => {
                self.put(line)?;
                self.put(b"\n")
            }
            ExportFormat::Json => {
                self.put(if is_first { b"\n" } else { b",\n" })?;
                self.put(line)
            }
            ExportFormat::Csv => {
                let record: Value = serde_json::from_slice(line)?;
                let row = COLUMNS.map(|(_, place)| field(record.pointer(place)));
                self.put(format!("{}\r\n", row.join(",")).as_bytes())
            }
        }
    }

    /// Remembers the ends of its chain.
    fn note(&mut self, head: &Head<'_>) {
        let own = (head.seq, head.hash.to_owned());
        let streams = &mut self.told.streams;
        if let Some(stream) = streams.iter_mut().find(|one| one.stream == head.stream) {
            stream.last = own;
        } else if streams.len() < STREAMS_MAX {
            streams.push(ExportedStream {
                stream: head.stream.to_owned(),
                first: own.clone(),
                last: own,
                is_covered: false,
            });
        }
    }

    /// Keeps the first checkpoint behind what was handed over.
    fn cover(&mut self, head: &Head<'_>, line: &[u8]) -> io::Result<()> {
        if head.action != Some("audit.checkpoint") {
            return Ok(());
        }
        let mut streams = self.told.streams.iter_mut();
        if let Some(stream) = streams.find(|one| one.stream == head.stream)
            && !stream.is_covered
            && head.seq > stream.last.0
        {
            stream.is_covered = true;
            self.told.checkpoints.push(serde_json::from_slice(line)?);
        }
        Ok(())
    }

    fn end(mut self) -> io::Result<Exported> {
        if self.range.format == ExportFormat::Json {
            self.put(b"\n]\n")?;
        }
        self.out.flush()?;
        let hash = self.hash.finish();
        self.told.sha256 = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.told)
    }
}

/// A field of a table: always quoted, and never a formula for who opens it (CWE-1236).
fn field(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let text: String = text.chars().filter(|c| *c != '\0').collect();
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if is_formula { "'" } else { "" };
    format!("\"{mark}{}\"", text.replace('"', "\"\""))
}

impl Exported {
    /// A signed list of what is in a file of that name: who has the public key can check it.
    pub fn manifest(&self, name: &str, range: &ExportRange, key: &AuditKey) -> Value {
        let streams = self.streams.iter().map(|stream| {
            json!({
                "first_hash": stream.first.1,
                "first_seq": stream.first.0,
                "last_hash": stream.last.1,
                "last_seq": stream.last.0,
                "stream": stream.stream,
            })
        });
        let file = json!({ "bytes": self.bytes, "name": name, "sha256": self.sha256 });
        let mut manifest = json!({
            "checkpoints": self.checkpoints,
            "files": [file],
            "format": range.format.as_str(),
            "from": range.from,
            "key_id": key.id(),
            "kind": "tollkeep-audit-manifest",
            "records": self.records,
            "streams": streams.collect::<Vec<_>>(),
            "to": range.to,
        });
        let sig = key.sign(MANIFEST, canonical(&manifest).as_bytes());
        if let Some(members) = manifest.as_object_mut() {
            members.insert("sig".to_owned(), Value::from(sig));
        }
        manifest
    }
}

/// The canonical text (RFC 8785) of a document whose keys are ASCII and whose numbers are whole.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let members = sorted
                .iter()
                .map(|(name, value)| format!("{}:{}", json!(name), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

/// A manifest as it is read again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The file, by name, and its SHA-256.
    pub files: Vec<(String, String)>,
    /// Of each chain: its id, its first number, its last, and the hash there.
    pub streams: Vec<(String, u64, u64, String)>,
    pub(crate) key_id: String,
    pub(crate) sig: String,
    pub(crate) signed: String,
}

impl Manifest {
    /// Reads one; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let mut members: Map<String, Value> = serde_json::from_str(text).ok()?;
        (members.get("kind")?.as_str()? == "tollkeep-audit-manifest").then_some(())?;
        let sig = members.remove("sig")?.as_str()?.to_owned();
        let files = members.get("files")?.as_array()?.iter();
        let files = files.map(|file| {
            let text = |name| Some(file.get(name)?.as_str()?.to_owned());
            Some((text("name")?, text("sha256")?))
        });
        Some(Self {
            files: files.collect::<Option<_>>()?,
            streams: members
                .get("streams")?
                .as_array()?
                .iter()
                .map(chain_of)
                .collect::<Option<_>>()?,
            key_id: members.get("key_id")?.as_str()?.to_owned(),
            sig,
            signed: canonical(&Value::Object(members)),
        })
    }
}

fn chain_of(stream: &Value) -> Option<(String, u64, u64, String)> {
    let text = |name| Some(stream.get(name)?.as_str()?.to_owned());
    let number = |name| stream.get(name)?.as_u64();
    Some((
        text("stream")?,
        number("first_seq")?,
        number("last_seq")?,
        text("last_hash")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-35 AUD-73
    #[test]
    fn no_field_of_a_table_is_a_formula_or_another_field() {
        for (name, value, want) in [
            ("nothing", Value::Null, r#""""#),
            ("plain", json!("GET"), r#""GET""#),
            (
                "formula",
                json!("=cmd|' /C calc'!A0"),
                r#""'=cmd|' /C calc'!A0""#,
            ),
            ("plus", json!("+1"), r#""'+1""#),
            ("minus", json!("-1"), r#""'-1""#),
            ("at", json!("@SUM(1)"), r#""'@SUM(1)""#),
            ("tab", json!("\t=1"), "\"'\t=1\""),
            ("return", json!("\r=1"), "\"'\r=1\""),
            ("quotes", json!("a\",\"b"), r#""a"",""b""#),
            ("lines", json!("a\nb"), "\"a\nb\""),
            ("number", json!(-7), r#""'-7""#),
            ("null byte", json!("\0=1"), r#""'=1""#),
            ("details", json!({"a": "b"}), r#""{""a"":""b""}""#),
        ] {
            assert_eq!(field(Some(&value)), want, "{name}");
        }
        assert_eq!(field(None), r#""""#);
    }
}
