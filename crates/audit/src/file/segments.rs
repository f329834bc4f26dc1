//! Closed parts of the log beside the file: their names, their first records, their compression.

use super::{AuditFile, Place};
use crate::chain::{Link, parse_hash};
use crate::in_order;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
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
    pub(crate) is_packed: bool,
}

/// `20261122T101530Z`.
fn compact(at: WallMillis) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let mut name: String = seconds
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    name.push('Z');
    name
}

/// The first record of a file, compressed or not.
pub(crate) fn first_record(path: &Path) -> io::Result<Option<First>> {
    let mut input = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let packed = input.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if packed {
        let unpacked = GzDecoder::new(input).take(LINE_BYTES_MAX);
        BufReader::new(unpacked).read_until(b'\n', &mut line)?;
    } else {
        input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    }
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

impl Place {
    /// Where the file goes that begins with this record.
    pub(crate) fn segment_path(&self, first: First) -> PathBuf {
        let (stem, extension) = self.name_parts();
        let name = format!("{stem}-{}-{}{extension}", compact(first.at), first.seq);
        self.path.with_file_name(name)
    }

    /// `audit` and `.log`.
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let stem = text(self.path.file_stem()).unwrap_or_default();
        let extension = text(self.path.extension());
        (
            stem,
            extension.map_or_else(String::new, |extension| format!(".{extension}")),
        )
    }

    /// The closed parts beside the file, the oldest first.
    pub(crate) fn segments(&self) -> io::Result<Vec<Segment>> {
        let (stem, extension) = self.name_parts();
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.dir())? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(OsStr::to_str) else {
                continue;
            };
            let packed = name.strip_suffix(".gz");
            let parsed = packed
                .unwrap_or(name)
                .strip_suffix(&extension)
                .and_then(|name| name.strip_prefix(&stem)?.strip_prefix('-'))
                .and_then(|name| name.split_once('-'));
            let Some((started, seq)) = parsed else {
                continue;
            };
            if let Ok(first_seq) = seq.parse() {
                let (started, is_packed) = (started.to_owned(), packed.is_some());
                found.push(Segment {
                    path,
                    first_seq,
                    started,
                    is_packed,
                });
            }
        }
        // By time first: a stream that had to begin anew counts from one again.
        found.sort_by(|a, b| {
            let key = |one: &Segment| (one.started.clone(), one.first_seq, one.is_packed);
            key(a).cmp(&key(b))
        });
        Ok(found)
    }

    /// The end of the part that was closed last, for a file that was just begun: by our own
    /// rotation, or by somebody else's.
    pub(crate) fn last_closed(&self) -> Option<(StreamId, Link)> {
        let own = self.segments().ok()?;
        let own = own.into_iter().rev().find(|segment| !segment.is_packed);
        let own = own.map(|segment| segment.path);
        let moved = self
            .moved_away()
            .into_iter()
            .filter(|path| !is_packed(path));
        let closed = own.into_iter().chain(moved);
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|data| data.modified());
        let closed = closed.filter_map(|path| Some((modified(&path).ok()?, path)));
        let (_, newest) = closed.max()?;
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
/// itself. In the order of their first records.
///
/// # Errors
/// The folder can't be read.
pub fn log_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (path, mode) = (path.to_owned(), 0);
    let place = Place { path, mode };
    let closed = place.segments()?.into_iter().map(|segment| segment.path);
    let moved = place.moved_away();
    let own = std::fs::metadata(&place.path).is_ok_and(|data| data.is_file());
    let own = own.then(|| place.path.clone());
    Ok(in_order(closed.chain(moved).chain(own).collect()))
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

/// Of zlib-rs the best bargain: half the time of its default level for a twentieth more bytes.
const LEVEL: Compression = Compression::new(2);

/// Compresses closed parts, each wholly before its plain text goes.
pub(crate) fn pack(segments: &[Segment]) -> io::Result<()> {
    for segment in segments.iter().filter(|segment| !segment.is_packed) {
        let mut packed = segment.path.as_os_str().to_owned();
        packed.push(".gz");
        let packed = PathBuf::from(packed);
        let mut partly = packed.as_os_str().to_owned();
        partly.push(".part");
        let partly = PathBuf::from(partly);
        let mut input = match File::open(&segment.path) {
            // It was old enough to be deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => BufReader::with_capacity(64 << 10, opened?),
        };
        let out = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partly)?;
        let mut encoder = GzEncoder::new(out, LEVEL);
        io::copy(&mut input, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        std::fs::rename(&partly, &packed)?;
        if let Some(dir) = packed.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir)?.sync_all()?;
        }
        match std::fs::remove_file(&segment.path) {
            // It was old enough meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::remove_file(&packed)?,
            removed => removed?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &Path) -> Place {
        Place {
            path: dir.join("audit.log"),
            mode: 0o600,
        }
    }

    // AUD-60
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
        ] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let found = place.segments().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|segment| (segment.first_seq, segment.is_packed))
            .collect();
        assert_eq!(found, [(700, false), (9, false), (12, true)]);
    }

    // AUD-60
    #[test]
    fn a_part_is_compressed_whole_and_still_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let line = include_str!("../../tests/data/every_action.jsonl");
        let path = dir.path().join("audit-20261122T101530Z-2.log");
        std::fs::write(&path, line).unwrap();
        let before = first_record(&path).unwrap().unwrap();
        pack(&place.segments().unwrap()).unwrap();
        assert!(!path.exists());
        let [packed] = &place.segments().unwrap()[..] else {
            panic!("one part");
        };
        assert!(packed.is_packed);
        assert_eq!(first_record(&packed.path).unwrap(), Some(before));
        let mut text = String::new();
        let file = File::open(&packed.path).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, line);
    }
}
