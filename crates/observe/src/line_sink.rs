//! Lines to a file or stream by a thread of their own, so that no caller ever waits for a pipe.

mod output;
mod queue;

use crate::json;
use crate::metrics::LogMeter;
use output::{LineFile, Output};
use queue::{Entry, Queue};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tollkeep_types::Clock;

pub use output::{Rotation, reopen_files};
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
    /// The same, closed and begun anew when it is full.
    Rotated(PathBuf, Rotation),
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
        let stream = |own| Output::Stream(Box::new(File::from(own)));
        let file = |path, rotation| LineFile::open(path, rotation).map(Box::new);
        let output = match output {
            LineOutput::Stdout => stream(io::stdout().as_fd().try_clone_to_owned()?),
            LineOutput::Stderr => stream(io::stderr().as_fd().try_clone_to_owned()?),
            LineOutput::File(path) => Output::File(file(path, None)?),
            LineOutput::Rotated(path, rotation) => Output::File(file(path, Some(*rotation))?),
        };
        Self::start(output, clock, meter)
    }

    fn start(mut output: Output, clock: Arc<dyn Clock>, meter: LogMeter) -> io::Result<Self> {
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
            .spawn(move || writer.write_until_closed(&mut output))?;
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

    /// What it counts in.
    pub fn meter(&self) -> LogMeter {
        self.0.0.meter.clone()
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

    fn write_until_closed(&self, output: &mut Output) {
        while let Some(entry) = self.next() {
            if output.write(&entry.bytes, &*self.clock).is_err() {
                self.meter.dropped(entry.lines);
                self.lock().dropped += entry.lines;
            }
            let told = self.lock().written(entry.bytes);
            if told > 0 && output.write(&self.drop_note(told), &*self.clock).is_err() {
                // Told behind what can be written again.
                self.lock().dropped += told;
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

#[cfg(test)]
mod tests;
