//! Lines to a file or stream by a thread of their own, so that no caller ever waits for a pipe.

mod queue;

use crate::json;
use crate::metrics::LogMeter;
use queue::{Entry, Queue};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tollkeep_types::Clock;

pub(crate) use queue::Urgency;
pub use queue::{BYTES_MAX, LINES_MAX};

/// Where lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LineOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, made with 0600.
    File(PathBuf),
}

/// Lines to a file or stream by a thread of their own. Cheap to clone; the thread ends with the
/// last clone.
#[derive(Clone)]
pub struct LineSink(Arc<Door>);

struct Door(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    idle: Condvar,
    meter: LogMeter,
    clock: Arc<dyn Clock>,
}

impl LineSink {
    /// Opens the output and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened or the thread not started.
    pub fn open(output: &LineOutput, clock: Arc<dyn Clock>, meter: LogMeter) -> io::Result<Self> {
        // The descriptor is duplicated past the buffer and lock of the standard library: a
        // stuck writer must not hold what anybody else waits for.
        let opened = OPENED.load(Ordering::Relaxed);
        let file = match output {
            LineOutput::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
            LineOutput::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
            LineOutput::File(path) => open_file(path)?,
        };
        let place = match output {
            LineOutput::Stdout | LineOutput::Stderr => None,
            LineOutput::File(path) => Some((path.clone(), opened)),
        };
        Self::start((Box::new(file), place), clock, meter)
    }

    fn start(
        (mut out, mut place): (Box<dyn Write + Send>, Option<(PathBuf, u64)>),
        clock: Arc<dyn Clock>,
        meter: LogMeter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            filled: Condvar::new(),
            idle: Condvar::new(),
            meter,
            clock,
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || writer.write_until_closed(&mut out, &mut place))?;
        Ok(Self(Arc::new(Door(shared))))
    }

    /// Takes `lines` whole lines out of `buffer`, which comes back empty with room in it. Never
    /// waits; when too many wait, the oldest are dropped and counted.
    pub fn send(&self, buffer: &mut Vec<u8>, lines: usize) {
        self.push(buffer, lines, Urgency::Ordinary);
    }

    /// As [`Self::send`]; urgent lines are dropped only when there is no ordinary one to drop.
    pub(crate) fn push(&self, buffer: &mut Vec<u8>, lines: usize, urgency: Urgency) {
        if buffer.is_empty() {
            return;
        }
        let shared = &self.0.0;
        let mut queue = shared.lock();
        let bytes = std::mem::replace(buffer, queue.spare());
        let lost = queue.push(Entry { bytes, lines }, urgency);
        drop(queue);
        shared.filled.notify_one();
        if lost > 0 {
            shared.meter.dropped(lost);
        }
    }

    /// Waits until everything is written, at most `patience`; says whether it is.
    pub fn flush(&self, patience: Duration) -> bool {
        let shared = &self.0.0;
        let waited = shared
            .idle
            .wait_timeout_while(shared.lock(), patience, |queue| !queue.is_idle())
            .unwrap_or_else(PoisonError::into_inner);
        waited.0.is_idle()
    }
}

/// How often files were asked to be opened again.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Lets every sink open its file again by its name before it writes the next line: somebody moved
/// the file away (OPS-102).
pub fn reopen_files() {
    OPENED.fetch_add(1, Ordering::Relaxed);
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.filled.notify_one();
    }
}

impl Shared {
    /// A panic while the lock was held leaves the queue whole: nothing in it can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(
        &self,
        out: &mut Box<dyn Write + Send>,
        place: &mut Option<(PathBuf, u64)>,
    ) {
        while let Some(entry) = self.next() {
            if let Some((path, opened)) = place {
                let wanted = OPENED.load(Ordering::Relaxed);
                // One that can't be opened stays the one it was.
                if wanted != std::mem::replace(opened, wanted)
                    && let Ok(file) = open_file(path)
                {
                    *out = Box::new(file);
                }
            }
            if write_whole(out, &entry.bytes).is_err() {
                self.meter.dropped(entry.lines);
                self.lock().dropped += entry.lines;
            }
            let told = self.lock().written(entry.bytes);
            if told > 0 {
                // Lost as well if even this cannot be written; the counter has it anyway.
                let _lost = write_whole(out, &self.drop_note(told));
            }
            let mut queue = self.lock();
            queue.busy = false;
            if queue.is_idle() {
                self.idle.notify_all();
            }
        }
    }

    /// The next lines to write, waiting for them; `None` when nobody can send any more.
    fn next(&self) -> Option<Entry> {
        let mut queue = self
            .filled
            .wait_while(self.lock(), |queue| queue.is_empty() && !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let entry = queue.pop()?;
        queue.busy = true;
        Some(entry)
    }

    fn drop_note(&self, lines: usize) -> Vec<u8> {
        let mut out = b"{\"timestamp\":\"".to_vec();
        out.extend_from_slice(&self.clock.wall().rfc3339_millis());
        out.extend_from_slice(b"\",\"level\":\"warn\",\"msg\":\"log lines were dropped\",\"target\":\"log\",\"dropped\":");
        json::number(&mut out, u64::try_from(lines).unwrap_or(u64::MAX));
        out.extend_from_slice(b"}\n");
        out
    }
}

/// How long to leave a descriptor alone that somebody else made non-blocking and that is full.
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

fn write_whole(out: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => bytes = bytes.get(len..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(FULL_PIPE_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
