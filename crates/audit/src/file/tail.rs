//! The end of an existing file: where its chain stands, and a line that a crash tore.

use super::Found;
use crate::chain::{Link, parse_hash};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tollkeep_types::{StreamId, WallMillis};

/// How far back the last line is looked for. Ours are far shorter.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// How much is read at a time.
const CHUNK_BYTES: u64 = 16 << 10;

/// The members of a record that the next one needs.
#[derive(serde::Deserialize)]
struct LastRecord {
    stream: StreamId,
    seq: u64,
    hash: String,
}

/// Puts a torn last line aside and reads the last whole one.
pub(super) fn read(file: &File, path: &Path, now: WallMillis) -> io::Result<Found> {
    let len = file.metadata()?.len();
    let end = line_feed_before(file, len, 0)?.map_or(0, |at| at + 1);
    let mut found = Found::default();
    if end < len {
        put_aside(file, end, &torn_path(path, now))?;
        file.set_len(end)?;
        file.sync_all()?;
        found.torn_bytes = len - end;
    }
    if end == 0 {
        return Ok(found);
    }
    found.last = link_before(file, end)?;
    found.unreadable = found.last.is_none();
    Ok(found)
}

/// Where the chain stands at the end of a file that is not written any more.
pub(super) fn last_of(file: &File) -> io::Result<Option<(StreamId, Link)>> {
    let len = file.metadata()?.len();
    match line_feed_before(file, len, 0)? {
        Some(at) => link_before(file, at + 1),
        None => Ok(None),
    }
}

/// As [`last_of`], of what can only be read from its beginning on.
pub(super) fn last_read(mut input: impl BufRead) -> io::Result<Option<(StreamId, Link)>> {
    let (mut last, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        let mut part = (&mut input).take(LINE_BYTES_MAX);
        if part.read_until(b'\n', &mut line)? == 0 {
            return Ok(last_link(&last));
        }
        if line.last() == Some(&b'\n') {
            std::mem::swap(&mut last, &mut line);
        }
    }
}

/// What the line says that ends at this place.
fn link_before(file: &File, end: u64) -> io::Result<Option<(StreamId, Link)>> {
    let earliest = end.saturating_sub(LINE_BYTES_MAX);
    let start = line_feed_before(file, end - 1, earliest)?.map_or(earliest, |at| at + 1);
    let mut line = vec![0; usize::try_from(end - 1 - start).unwrap_or(0)];
    file.read_exact_at(&mut line, start)?;
    Ok(last_link(&line))
}

fn last_link(line: &[u8]) -> Option<(StreamId, Link)> {
    let record: LastRecord = serde_json::from_slice(line).ok()?;
    let hash = parse_hash(&record.hash)?;
    let seq = record.seq;
    Some((record.stream, Link { seq, hash }))
}

/// The place of the last line feed in `earliest..before`.
fn line_feed_before(file: &File, before: u64, earliest: u64) -> io::Result<Option<u64>> {
    let mut end = before;
    let mut chunk = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or(0)];
    while end > earliest {
        let start = end.saturating_sub(CHUNK_BYTES).max(earliest);
        let wanted = usize::try_from(end - start).unwrap_or(0);
        let bytes = chunk.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(bytes, start)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(start + u64::try_from(at).unwrap_or(0)));
        }
        end = start;
    }
    Ok(None)
}

/// `audit.log.torn-20261122T101530123Z`.
fn torn_path(path: &Path, now: WallMillis) -> PathBuf {
    let time: String = now
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".torn-{time}"));
    name.into()
}

fn put_aside(file: &File, start: u64, to: &Path) -> io::Result<()> {
    let mut copy = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(to)?;
    let mut rest = From { file, at: start };
    io::copy(&mut rest, &mut copy)?;
    copy.sync_all()
}

/// A file from a place on, without moving anybody's cursor.
struct From<'a> {
    file: &'a File,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(out, self.at)?;
        self.at += u64::try_from(len).unwrap_or(0);
        Ok(len)
    }
}
