//! The files of the log from a record on, behind their writer.

use crate::file::first_record;
use crate::{log_files, open_log};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_types::StreamId;

/// A longer line is none of ours.
const LINE_BYTES_MAX: usize = 256 << 10;
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// A record that was read.
pub(super) struct Read {
    pub(super) record: Map<String, Value>,
    /// Where it stands.
    pub(super) at: (StreamId, u64),
    /// Records before it that are not there any more.
    pub(super) missed: u64,
}

impl Read {
    /// Whether it tells of that.
    pub(super) fn is(&self, action: &str) -> bool {
        self.record.get("action").and_then(Value::as_str) == Some(action)
    }
}

/// The files, read on from a record.
pub(super) struct Source {
    log: PathBuf,
    /// What opens closed files that are sealed.
    key: Option<ArchiveKey>,
    at: Option<(StreamId, u64)>,
    open: Option<Open>,
    rest: VecDeque<PathBuf>,
    /// The record it goes on behind has not come yet: what stands before it was read long ago.
    seeks: bool,
}

enum Open {
    /// Of another name than the log's: it is read to its end.
    Closed(Box<dyn BufRead>),
    /// The one that is written.
    Live(Live),
}

struct Live {
    file: File,
    /// Where in the file `held` begins.
    offset: u64,
    held: Vec<u8>,
    /// What of it was read, and before the last line.
    used: usize,
    used_before: usize,
}

/// Whether a record may be read.
enum Judged {
    /// It was read before, or is none.
    Skip,
    /// It may be taken back yet.
    NotYet,
    Next(Read),
}

/// Chain and number of a record.
pub(super) fn place_of(line: &[u8]) -> Option<(StreamId, u64)> {
    place(&serde_json::from_slice(line).ok()?)
}

fn place(record: &Map<String, Value>) -> Option<(StreamId, u64)> {
    let stream = record.get("stream")?.as_str()?.parse().ok()?;
    Some((stream, record.get("seq")?.as_u64()?))
}

impl Source {
    /// Behind this record, or from the first that there is.
    pub(super) fn new(
        (log, key): (PathBuf, Option<ArchiveKey>),
        at: Option<(StreamId, u64)>,
    ) -> Self {
        Self {
            log,
            key,
            at,
            open: None,
            rest: VecDeque::new(),
            seeks: at.is_some(),
        }
    }

    /// Looks for the files anew: somebody may have moved them.
    pub(super) fn reopen(&mut self) {
        self.open = None;
        self.rest.clear();
    }

    /// The next record, if it is one of those that stay.
    pub(super) fn next(&mut self, durable: (StreamId, u64)) -> io::Result<Option<Read>> {
        loop {
            if self.open.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let Some(line) = self.line()? else {
                if self.rest.is_empty() {
                    // What it goes on behind is in none of them.
                    self.seeks = false;
                    if matches!(self.open, Some(Open::Closed(_))) {
                        self.open = None;
                    }
                    return Ok(None);
                }
                self.open = None;
                continue;
            };
            match self.judge(&line, durable) {
                Judged::Skip => {}
                Judged::NotYet => {
                    self.unread();
                    return Ok(None);
                }
                Judged::Next(read) => {
                    self.at = Some(read.at);
                    return Ok(Some(read));
                }
            }
        }
    }

    fn judge(&mut self, line: &[u8], durable: (StreamId, u64)) -> Judged {
        let Ok(record) = serde_json::from_slice::<Map<String, Value>>(line) else {
            return Judged::Skip;
        };
        let Some((stream, seq)) = place(&record) else {
            return Judged::Skip;
        };
        let missed = match self.at {
            Some((own, read)) if own == stream => {
                self.seeks = false;
                if seq <= read {
                    return Judged::Skip;
                }
                seq - read - 1
            }
            Some(_) if self.seeks => return Judged::Skip,
            Some(_) => seq.saturating_sub(1),
            None => 0,
        };
        if stream == durable.0 && seq > durable.1 {
            return Judged::NotYet;
        }
        Judged::Next(Read {
            record,
            at: (stream, seq),
            missed,
        })
    }

    /// Opens the next file; false if there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            self.rest = self.files()?.into();
        }
        let Some(path) = self.rest.pop_front() else {
            return Ok(false);
        };
        self.open = Some(if path == self.log {
            Open::Live(Live::open(&path)?)
        } else {
            Open::Closed(open_log(&path, self.key.as_ref())?)
        });
        Ok(true)
    }

    /// The files that may have what was not read yet.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = log_files(&self.log, self.key.as_ref())?;
        let Some((stream, read)) = self.at else {
            return Ok(files);
        };
        let is_before = |path: &PathBuf| {
            let first = first_record(path, self.key.as_ref()).ok().flatten();
            first.is_some_and(|first| first.stream == stream && first.seq <= read.saturating_add(1))
        };
        let begin = files.iter().rposition(is_before).unwrap_or(0);
        Ok(files.split_off(begin))
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        match &mut self.open {
            Some(Open::Live(live)) => live.line(),
            Some(Open::Closed(input)) => {
                let mut line = Vec::new();
                let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
                input.take(most).read_until(b'\n', &mut line)?;
                // A torn line was cut off: it is none.
                Ok(line.pop_if(|last| *last == b'\n').map(|_| line))
            }
            None => Ok(None),
        }
    }

    /// Lets the last line come again.
    fn unread(&mut self) {
        match &mut self.open {
            Some(Open::Live(live)) => live.unread(),
            // It is looked for anew.
            Some(Open::Closed(_)) | None => self.reopen(),
        }
    }
}

impl Live {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            offset: 0,
            held: Vec::new(),
            used: 0,
            used_before: 0,
        })
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let fresh = self.held.get(self.used..).unwrap_or_default();
            if let Some(len) = memchr::memchr(b'\n', fresh) {
                let line = fresh.get(..len).unwrap_or_default().to_vec();
                self.used_before = self.used;
                self.used += len + 1;
                return Ok(Some(line));
            }
            if fresh.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a line is too long",
                ));
            }
            self.forget_used();
            if !self.read_more()? {
                // The end of it may be taken back and written otherwise.
                self.held.clear();
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<bool> {
        let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        if self.file.metadata()?.len() < self.offset {
            // Somebody copied it and cut it off.
            (self.offset, self.held) = (0, Vec::new());
            return Ok(true);
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = self.file.read_at(&mut chunk, self.offset + held)?;
        self.held
            .extend_from_slice(chunk.get(..read).unwrap_or_default());
        Ok(read > 0)
    }

    fn forget_used(&mut self) {
        self.offset += u64::try_from(self.used).unwrap_or(0);
        self.held.drain(..self.used.min(self.held.len()));
        (self.used, self.used_before) = (0, 0);
    }

    fn unread(&mut self) {
        self.used = self.used_before;
        self.forget_used();
        self.held.clear();
    }
}
