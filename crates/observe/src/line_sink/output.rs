//! What lines are written to: a stream, or a file that is found again when it was moved or removed,
//! and closed under a name of its own when it is full.

use crate::closed::{closed_part, closed_path, stamp};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tollkeep_types::{Clock, MonoNanos, WallMillis};

/// When a file of lines is closed, and what becomes of closed ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rotation {
    /// Bytes of a file at most, but for what is written at once.
    pub size_bytes: u64,
    /// Closed files that are kept at most.
    pub keep: usize,
    /// How long a closed file is kept.
    pub keep_for: Duration,
}

/// How long a rotation that failed is left alone.
const TRY_AGAIN_NS: u64 = 60_000_000_000;

/// How often is looked for closed files that are too old, where no rotation does it.
const LOOK_EVERY_NS: u64 = 3_600_000_000_000;

/// Files that are closed in the same second at most.
const SAME_SECOND_MAX: u64 = 10_000;

/// How long to leave a descriptor alone that somebody else made non-blocking and that is full.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

/// How often files were asked to be opened again.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Lets every sink open its file again by its name before it writes the next line: somebody moved
/// the file away (OPS-102).
pub fn reopen_files() {
    OPENED.fetch_add(1, Ordering::Relaxed);
}

/// What lines are written to.
pub(super) enum Output {
    Stream(Box<dyn Write + Send>),
    File(Box<LineFile>),
}

impl Output {
    /// Writes whole lines. What came of them before an error is closed by a line feed later.
    pub(super) fn write(&mut self, bytes: &[u8], clock: &dyn Clock) -> io::Result<()> {
        match self {
            Self::Stream(out) => write_whole(out, bytes).map_err(|(_, error)| error),
            Self::File(file) => file.write(bytes, clock),
        }
    }
}

/// A file that is found by its name.
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
    /// How often files had been asked to be opened again when this was opened.
    opened: u64,
    rotation: Option<Rotation>,
    /// A line at its end is not whole.
    is_torn: bool,
    /// When a rotation is tried again, and when is looked for old files.
    rest_until: MonoNanos,
    look_at: MonoNanos,
}

impl LineFile {
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        // Read before: what is asked for meanwhile is done once more.
        let opened = OPENED.load(Ordering::Relaxed);
        let is_torn = ends_torn(path);
        Ok(Self {
            file: open_file(path)?,
            path: path.to_owned(),
            opened,
            rotation,
            is_torn,
            rest_until: MonoNanos(0),
            look_at: MonoNanos(0),
        })
    }

    fn write(&mut self, bytes: &[u8], clock: &dyn Clock) -> io::Result<()> {
        let found = self.find_again()?;
        // Pipes and devices have no length and leave nothing behind.
        if let Some(rotation) = self.rotation.filter(|_| found.is_file()) {
            let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            // An empty file takes lines of any length.
            let is_full = found.len() > 0 && found.len().saturating_add(more) > rotation.size_bytes;
            self.keep_up((rotation, is_full), clock);
        }
        if self.is_torn {
            write_whole(&mut self.file, b"\n").map_err(|(_, error)| error)?;
            self.is_torn = false;
        }
        write_whole(&mut self.file, bytes).map_err(|(written, error)| {
            self.is_torn = written > 0;
            error
        })
    }

    /// Opens the file by its name again if that was asked for, or if it was removed: nobody would
    /// read what is written then. What is known of it.
    fn find_again(&mut self) -> io::Result<Metadata> {
        let wanted = OPENED.load(Ordering::Relaxed);
        if wanted != std::mem::replace(&mut self.opened, wanted) {
            // One that can't be opened stays the one it was.
            drop(self.open_by_name());
        }
        let found = self.file.metadata()?;
        if found.nlink() > 0 {
            return Ok(found);
        }
        self.open_by_name()?;
        self.file.metadata()
    }

    fn open_by_name(&mut self) -> io::Result<()> {
        self.file = open_file(&self.path)?;
        self.is_torn = ends_torn(&self.path);
        Ok(())
    }

    /// Closes the file if it is full, and lets go of closed ones.
    fn keep_up(&mut self, (rotation, is_full): (Rotation, bool), clock: &dyn Clock) {
        let now = clock.mono();
        if is_full && now >= self.rest_until {
            match self.rotate(clock.wall()) {
                Ok(()) => self.look_at = now,
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!("The log file `{path}` can't be rotated and grows on: {error}");
                    self.rest_until = after(now, TRY_AGAIN_NS);
                }
            }
        }
        if now >= self.look_at {
            self.look_at = after(now, LOOK_EVERY_NS);
            if let Err(error) = prune(&self.place(), rotation, clock.wall()) {
                let path = self.path.display();
                tracing::warn!("Old files of the log `{path}` can't be deleted: {error}");
            }
        }
    }

    /// Closes the file under a name of its own and begins the next.
    fn rotate(&mut self, now: WallMillis) -> io::Result<()> {
        let place = self.place();
        if !is_at(&self.file, &place) {
            // Somebody moved it away.
            return self.open_by_name();
        }
        let closed = free_name(&place, now)?;
        fs::rename(&place, &closed)?;
        if let Err(error) = self.open_by_name() {
            // The name must not be missing.
            if !place.exists() {
                fs::rename(&closed, &place)?;
            }
            return Err(error);
        }
        Ok(())
    }

    /// Where it really is: a link stays one.
    fn place(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }
}

/// A name that no closed file has, nor one had that was closed in the same second and is deleted.
fn free_name(place: &Path, now: WallMillis) -> io::Result<PathBuf> {
    let this_second = stamp(now);
    let closed = closed_files(place)?.into_iter();
    let same = closed.filter(|(stamp, ..)| *stamp == this_second);
    let last = same.map(|(_, number, _)| number).max().unwrap_or_default();
    if last >= SAME_SECOND_MAX {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    Ok(closed_path(place, now, last.saturating_add(1)))
}

/// The closed files beside it, by when and as which one they were closed.
fn closed_files(place: &Path) -> io::Result<Vec<(String, u64, PathBuf)>> {
    let mut closed = Vec::new();
    for entry in fs::read_dir(place.parent().unwrap_or(place))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let part = name.and_then(|name| closed_part(place, name));
        if let Some((stamp, number)) = part {
            closed.push((stamp.to_owned(), number, path.clone()));
        }
    }
    closed.sort_unstable();
    Ok(closed)
}

/// Lets go of closed files that are too many or too old; of all that it can.
fn prune(place: &Path, rotation: Rotation, now: WallMillis) -> io::Result<()> {
    let closed = closed_files(place)?;
    let too_many = closed.len().saturating_sub(rotation.keep);
    let kept = u64::try_from(rotation.keep_for.as_millis()).unwrap_or(u64::MAX);
    let oldest = stamp(WallMillis(now.0.saturating_sub(kept)));
    let mut result = Ok(());
    for (number, (stamp, _, path)) in closed.iter().enumerate() {
        if number < too_many || *stamp < oldest {
            result = result.and(remove(path));
        }
    }
    result
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether this is still the file of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let id = |data: &Metadata| (data.dev(), data.ino());
    let (own, named) = (file.metadata(), fs::metadata(path));
    matches!((own, named), (Ok(own), Ok(named)) if id(&own) == id(&named))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// Whether the last line of a file is not whole: the disk was full, or the power gone.
fn ends_torn(path: &Path) -> bool {
    let is_file = fs::metadata(path).is_ok_and(|data| data.is_file());
    // A pipe would be waited for.
    let last = is_file.then(|| {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        io::Result::Ok(last != *b"\n")
    });
    // An empty one has no end.
    last.is_some_and(|last| last.unwrap_or(false))
}

/// Writes everything; if that can't be done, how much was written, and why no more.
fn write_whole(out: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(len) => written = written.saturating_add(len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(FULL_PIPE_PAUSE);
            }
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

const fn after(at: MonoNanos, ns: u64) -> MonoNanos {
    MonoNanos(at.0.saturating_add(ns))
}
