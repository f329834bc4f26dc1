//! The audit file: opened once, appended to, never waited for at opening.

mod pack;
mod segments;
mod tail;

use crate::AuditError;
use crate::chain::Link;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_types::{StreamId, WallMillis};

pub(crate) use pack::{Packing, pack_closed};
pub use segments::log_files;
pub(crate) use segments::{First, Segment, first_record};

/// What was found at the end of an existing file.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    /// The chain to go on with.
    pub(crate) last: Option<(StreamId, Link)>,
    /// The last whole line is not a record of ours, so its chain cannot be continued.
    pub(crate) unreadable: bool,
    /// Bytes of a torn last line that were cut off and put aside.
    pub(crate) torn_bytes: u64,
}

/// Where the file is and how open it may be.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) mode: u32,
    /// What opens closed parts that are sealed.
    pub(crate) key: Option<ArchiveKey>,
}

/// The open file.
pub(crate) struct AuditFile {
    file: File,
    /// Not a pipe or device: it has a length, it can be synced and cut.
    regular: bool,
}

/// The widest mode a new file may be given.
const MODE_MAX: u32 = 0o640;

impl Place {
    /// Checks the settings and makes or finds the directory. Done once, at start: a directory
    /// that vanishes later is a fault to be seen, not to be papered over.
    pub(crate) fn prepare(&self, create_dir: bool) -> Result<(), AuditError> {
        if self.mode & !MODE_MAX != 0 {
            return Err(AuditError::ModeSetting(self.mode));
        }
        let dir = self.dir();
        if dir.is_dir() {
            return Ok(());
        }
        if !create_dir {
            return Err(AuditError::NoDirectory(dir.to_owned()));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| self.not_writable(error))
    }

    pub(crate) fn dir(&self) -> &Path {
        match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            Some(_) | None => Path::new("."),
        }
    }

    /// Opens the file, cuts a torn line off and reads where its chain stands. A pipe without a
    /// reader is not waited for.
    pub(crate) fn open(&self, now: WallMillis) -> Result<(AuditFile, Found), AuditError> {
        let before = std::fs::metadata(&self.path);
        let is_new = before.is_err();
        let regular = before.map_or(true, |metadata| metadata.is_file());
        // A pipe opened for reading too would have a reader: ourselves.
        let access = if regular {
            OFlags::RDWR | OFlags::CREATE
        } else {
            OFlags::WRONLY
        };
        let flags = access | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.path, flags, Mode::from_raw_mode(self.mode));
        let file = File::from(opened.map_err(|error| self.not_writable(error.into()))?);
        let stat = rustix::fs::fstat(&file).map_err(|error| self.not_writable(error.into()))?;
        if is_regular(&stat) != regular {
            return Err(self.not_writable(io::ErrorKind::InvalidInput.into()));
        }
        let opened = AuditFile { file, regular };
        if !regular {
            return Ok((opened, Found::default()));
        }
        self.refuse_wide(&stat)?;
        self.lock(&opened.file)?;
        let mut found =
            tail::read(&opened.file, &self.path, now).map_err(|error| self.not_writable(error))?;
        if found.last.is_none() && !found.unreadable {
            found.last = self.last_closed();
        }
        if is_new {
            // Without this a power cut could leave the lines and take the name.
            File::open(self.dir())
                .and_then(|dir| dir.sync_all())
                .map_err(|error| self.not_writable(error))?;
        }
        Ok((opened, found))
    }

    fn refuse_wide(&self, stat: &Stat) -> Result<(), AuditError> {
        let found = stat.st_mode & 0o777;
        if found & !self.mode == 0 {
            return Ok(());
        }
        Err(AuditError::TooOpen {
            path: self.path.clone(),
            found,
            allowed: self.mode,
        })
    }

    /// Two writers would tear the chain. Where locks are not supported nothing is refused.
    fn lock(&self, file: &File) -> Result<(), AuditError> {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Err(AuditError::InUse(self.path.clone())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn not_writable(&self, source: io::Error) -> AuditError {
        AuditError::NotWritable {
            path: self.path.clone(),
            uid: rustix::process::geteuid().as_raw(),
            source,
        }
    }
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl AuditFile {
    /// Writes a part of `bytes`; returns how much.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Makes what was written durable, in a file that can still be found.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if !self.regular {
            return Ok(());
        }
        rustix::fs::fdatasync(&self.file)?;
        if self.is_lost() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed",
            ));
        }
        Ok(())
    }

    /// Whether the name is gone, so that nobody would ever read what is written.
    pub(crate) fn is_lost(&self) -> bool {
        self.regular
            && self
                .file
                .metadata()
                .is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Whether it has a length: not a pipe or device.
    pub(crate) const fn is_regular(&self) -> bool {
        self.regular
    }

    /// Takes the last `bytes` back. They are ours: nobody else appends.
    pub(crate) fn cut_back(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        if !self.regular {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let len = self.file.metadata()?.len();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.file.set_len(len.saturating_sub(bytes))
    }
}
