//! Closed parts of the log beside the file: their names, their forms, their first records.

use super::{AuditFile, Place};
use crate::chain::{Link, parse_hash};
use crate::{in_order, open_log};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_observe::closed::{closed_part, closed_path};
use tollkeep_types::{StreamId, WallMillis};

/// A longer line is none of ours.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// What the first record of a file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct First {
    pub(crate) at: WallMillis,
    pub(crate) stream: StreamId,
    pub(crate) seq: u64,
    /// The hash of the record before it.
    pub(crate) prev: [u8; 32],
}

#[derive(serde::Deserialize)]
struct FirstRecord {
    timestamp: WallMillis,
    stream: StreamId,
    seq: u64,
    prev: String,
}

/// A closed part of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// The number of its first record, by its name.
    pub(crate) first_seq: u64,
    started: String,
    pub(crate) form: Form,
}

/// How a closed part stands there. Where a crash left two forms of one, the first of these counts:
/// the next is made of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Form {
    /// As it was written.
    Plain,
    /// Compressed.
    Packed,
    /// Sealed, as it was: one that was compressed before it was to be sealed has both endings.
    Sealed,
}

impl Form {
    /// The endings that forms have, behind those of the file. Longer ones first.
    const ENDINGS: [(&str, Self); 5] = [
        (".zst.enc", Self::Sealed),
        (".gz.enc", Self::Sealed),
        (".enc", Self::Sealed),
        (".gz", Self::Packed),
        ("", Self::Plain),
    ];

    /// The name without the ending of its form, and the form.
    fn of(name: &str) -> (&str, Self) {
        let mut all = Self::ENDINGS.iter();
        let found = all.find_map(|(ending, form)| Some((name.strip_suffix(ending)?, *form)));
        found.unwrap_or((name, Self::Plain))
    }
}

/// The first record of a file, in whatever form it is.
pub(crate) fn first_record(path: &Path, key: Option<&ArchiveKey>) -> io::Result<Option<First>> {
    let mut line = Vec::new();
    let input = open_log(path, key)?;
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(parse_first(&line))
}

fn parse_first(line: &[u8]) -> Option<First> {
    let record: FirstRecord = serde_json::from_slice(line).ok()?;
    Some(First {
        at: record.timestamp,
        stream: record.stream,
        seq: record.seq,
        prev: parse_hash(&record.prev)?,
    })
}

impl Segment {
    /// Lets go of it, in all its forms: it may get another one meanwhile.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let name = self.path.to_string_lossy();
        let (plain, _) = Form::of(&name);
        for (ending, _) in Form::ENDINGS.iter().rev() {
            match std::fs::remove_file(format!("{plain}{ending}")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Place {
    /// Where the file goes that begins with this record.
    pub(crate) fn segment_path(&self, first: First) -> PathBuf {
        closed_path(&self.path, first.at, first.seq)
    }

    /// What a name says, if it is that of a closed part.
    fn closed_part(&self, name: &str) -> Option<(String, u64, Form)> {
        let (plain, form) = Form::of(name);
        let (started, seq) = closed_part(&self.path, plain)?;
        Some((started.to_owned(), seq, form))
    }

    /// Whether that is a form of a closed part that was being made, by the ending of such.
    pub(super) fn is_unfinished(&self, path: &Path, ending: &str) -> bool {
        let name = path.file_name().and_then(OsStr::to_str);
        let name = name.and_then(|name| name.strip_suffix(ending));
        name.is_some_and(|name| self.closed_part(name).is_some())
    }

    /// The closed parts beside the file, the oldest first.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.dir())? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            if let Some((started, first_seq, form)) = self.closed_part(name) {
                found.push(Segment {
                    path,
                    first_seq,
                    started,
                    form,
                });
            }
        }
        // By time first: a stream that had to begin anew counts from one again.
        found.sort_by(|a, b| {
            let key = |one: &Segment| (one.started.clone(), one.first_seq, one.form);
            key(a).cmp(&key(b))
        });
        found.dedup_by(|a, b| a.started == b.started && a.first_seq == b.first_seq);
        Ok(found)
    }

    /// The end of the part that was closed last, for a file that was just begun: by our own
    /// rotation, or by somebody else's.
    pub(crate) fn last_closed(&self) -> Option<(StreamId, Link)> {
        let own = self.segments().ok()?.into_iter().rev();
        let own = own.map(|segment| (segment.path, segment.form));
        let own = own.into_iter().find(|(_, form)| *form != Form::Packed);
        let moved = self
            .moved_away()
            .into_iter()
            .filter(|path| !is_packed(path))
            .map(|path| (path, Form::Plain));
        let closed = own.into_iter().chain(moved);
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified());
        let closed = closed.filter_map(|(path, form)| Some((modified(&path).ok()?, path, form)));
        let (_, newest, form) = closed.max()?;
        if form == Form::Sealed {
            let input = open_log(&newest, self.key.as_ref()).ok()?;
            return super::tail::last_read(input).ok().flatten();
        }
        let file = File::open(newest).ok()?;
        super::tail::last_of(&file).ok().flatten()
    }

    /// Files that somebody gave another name: `audit.log.1`, `audit.log-20261122.gz`.
    fn moved_away(&self) -> Vec<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let is_moved = |path: &PathBuf| {
            let other = path.file_name().unwrap_or_default().to_string_lossy();
            let end = other.strip_prefix(&*name).unwrap_or_default();
            let end = end.trim_end_matches(".gz").trim_end_matches(".zst");
            let is_number =
                |end: &str| !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit() || b == b'-');
            let end = end.strip_prefix(['.', '-']);
            end.is_some_and(is_number)
        };
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(is_moved).collect()
    }
}

fn is_packed(path: &Path) -> bool {
    let end = path.extension().and_then(OsStr::to_str);
    matches!(end, Some("gz" | "zst"))
}

/// Every file of a log, by the file that is written: closed ones, those that others moved away, and
/// itself. In the order of their first records; those that are sealed and don't open with the key come
/// last.
///
/// # Errors
/// The folder can't be read.
pub fn log_files(path: &Path, key: Option<&ArchiveKey>) -> io::Result<Vec<PathBuf>> {
    let place = Place {
        path: path.to_owned(),
        mode: 0,
        key: key.cloned(),
    };
    let closed = place.segments()?.into_iter().map(|segment| segment.path);
    let moved = place.moved_away();
    let own = std::fs::metadata(&place.path).is_ok_and(|data| data.is_file());
    let own = own.then(|| place.path.clone());
    Ok(in_order(closed.chain(moved).chain(own).collect(), key))
}

impl AuditFile {
    /// How long it is.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether this is still the file of that name.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (own, named) = (self.file.metadata(), std::fs::metadata(path));
        let id = |data: &std::fs::Metadata| (data.dev(), data.ino());
        matches!((own, named), (Ok(own), Ok(named)) if id(&own) == id(&named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place {
            path: dir.join("audit.log"),
            mode: 0o600,
            key: None,
        }
    }

    // AUD-60 AUD-63
    #[test]
    fn closed_parts_are_known_by_their_names_the_oldest_first() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let first = |at, seq| First {
            at: WallMillis(at),
            stream: StreamId::from_bytes([7; 16]),
            seq,
            prev: [0; 32],
        };
        let path = place.segment_path(first(1_795_342_530_123, 12));
        assert!(path.ends_with("audit-20261122T101530Z-12.log"), "{path:?}");
        for name in [
            "audit-20261122T101530Z-12.log.gz",
            "audit-20261122T101530Z-9.log",
            "audit-20261121T101530Z-700.log",
            "audit.log",
            "audit-x.log",
            "audit.log.torn-20261122T101530123Z",
            "other-20261122T101530Z-1.log",
            "audit-20261122T101530Z-12.log.gz.part",
            "audit-20261122T101530Z-30.log.zst.enc",
            "audit-20261122T101530Z-31.log.gz.enc",
            "audit-20261122T101530Z-32.log.enc",
            "audit-20261122T101530Z-33.log.zst.enc.part",
            "audit-20261122T101530Z-34.log",
            "audit-20261122T101530Z-34.log.gz",
            "audit-20261122T101530Z-34.log.zst.enc",
        ] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = place.segments().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|segment| (segment.first_seq, segment.form))
            .collect();
        let want = [
            (700, Form::Plain),
            (9, Form::Plain),
            (12, Form::Packed),
            (30, Form::Sealed),
            (31, Form::Sealed),
            (32, Form::Sealed),
            (34, Form::Plain),
        ];
        assert_eq!(found, want);
    }
}
