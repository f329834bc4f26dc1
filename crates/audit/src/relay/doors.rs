//! Places of this machine: a file of its own, standard output.

use super::{RelayDoor, RelayLine};
use crate::AuditError;
use crate::chain::Link;
use crate::file::{AuditFile, Place};
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use tollkeep_types::{Clock, StreamId};

/// A file that lines are appended to and synced in.
pub struct FileDoor {
    place: Place,
    clock: Arc<dyn Clock>,
    stream: StreamId,
    file: Option<AuditFile>,
    /// The file has all lines up to this one.
    through: u64,
}

impl fmt::Debug for FileDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileDoor").field(&self.place.path).finish()
    }
}

impl FileDoor {
    /// The file at this path, for this chain.
    ///
    /// # Errors
    /// It is not usable.
    pub fn open(
        (path, mode): (PathBuf, u32),
        stream: StreamId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AuditError> {
        let key = None;
        let place = Place { path, mode, key };
        place.prepare(true)?;
        let mut door = Self {
            place,
            clock,
            stream,
            file: None,
            through: 0,
        };
        door.open_file()?;
        Ok(door)
    }

    fn open_file(&mut self) -> Result<(), AuditError> {
        let (file, found) = self.place.open(self.clock.wall())?;
        if let Some((stream, Link { seq, .. })) = found.last
            && stream == self.stream
        {
            self.through = self.through.max(seq);
        }
        self.file = Some(file);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut sent = 0;
        let mut write = || {
            while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
                sent += file.write(rest)?;
            }
            file.sync()
        };
        let written = write();
        if written.is_err() {
            // Half a line would be one to whoever reads it.
            file.cut_back(sent)?;
        }
        written
    }
}

impl RelayDoor for FileDoor {
    fn give(&mut self, lines: &[RelayLine]) -> Result<(), String> {
        let is_ours = |file: &AuditFile| file.is_at(&self.place.path);
        if !self.file.as_ref().is_some_and(is_ours) {
            self.file = None;
            self.open_file().map_err(|error| error.to_string())?;
        }
        let mut bytes = Vec::new();
        for line in lines.iter().filter(|line| line.seq > self.through) {
            bytes.extend_from_slice(line.text.as_bytes());
            bytes.push(b'\n');
        }
        if let Err(error) = self.write(&bytes) {
            self.file = None;
            return Err(format!("{}: {error}", self.place.path.display()));
        }
        self.through = lines
            .last()
            .map_or(self.through, |line| line.seq.max(self.through));
        Ok(())
    }
}

/// Standard output.
#[derive(Debug)]
pub struct StdoutDoor(File);

impl StdoutDoor {
    /// Past the buffer and lock of the standard library: whoever is stuck here must not hold what
    /// others need.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl RelayDoor for StdoutDoor {
    fn give(&mut self, lines: &[RelayLine]) -> Result<(), String> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line.text.as_bytes());
            bytes.push(b'\n');
        }
        self.0
            .write_all(&bytes)
            .map_err(|error| format!("standard output: {error}"))
    }
}
