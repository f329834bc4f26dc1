//! Further places that records go to: what is wanted of the log, in a chain of its own.
//!
//! A relay reads the audit file behind its writer, so whatever befalls the place it gives to, neither
//! the writer nor a call waits: what could not be given yet stands in the file. How far it came is on
//! disk, and what it gives is reckoned from the file alone, so that after a crash the same lines come
//! again rather than none.

mod doors;
mod source;
mod state;
mod syslog;
mod wanted;
mod words;

pub use doors::{FileDoor, StdoutDoor};
pub use syslog::syslog_messages;
pub use wanted::{NoSuchEvent, Wanted};

use crate::backwards::Backwards;
use crate::health::AuditHealth;
use crate::{Cliproxy, Signer};
use source::{Read, Source};
use state::State;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_observe::metrics::SinkMeter;
use tollkeep_types::{Clock, Entropy, StreamId};
use words::Words;

/// Records that are given at once.
const BATCH_RECORDS: usize = 512;
/// Bytes that are given at once, more or less a line.
const BATCH_BYTES: usize = 1 << 20;
/// Records that are looked at before what was found is given.
const LOOKED_AT_MAX: usize = 8_192;
/// How long a relay sleeps at most while nothing happens.
const IDLE: Duration = Duration::from_millis(500);
/// How long it waits after a failure: at first, and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Records that were looked at and not wanted, before that is remembered.
const UNWANTED_MAX: u64 = 4_096;

/// What a relay is.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// What it is called, in what is told of it.
    pub name: String,
    /// The audit file.
    pub log: PathBuf,
    /// The file in which it remembers how far it came.
    pub state: PathBuf,
    /// The words it gives: those of the file, or of cliproxyapi++, for which the file must have
    /// llm-proxy's.
    pub cliproxy: Option<Cliproxy>,
    /// What is given.
    pub wanted: Wanted,
    /// What signs where its chain stands.
    pub signer: Option<Signer>,
    /// What opens closed files that are sealed.
    pub archive_key: Option<ArchiveKey>,
}

/// A line that is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayLine {
    /// The record, without a line feed.
    pub text: String,
    /// Its number in the chain of the relay.
    pub seq: u64,
    /// What it tells of.
    pub action: String,
    /// When that was.
    pub timestamp: String,
    /// How it came out.
    pub result: String,
}

/// A place that lines are given to. Its calls block: they are made by a thread of the relay's own.
pub trait RelayDoor: Send {
    /// Gives lines; those that were taken before a failure are given again.
    ///
    /// # Errors
    /// Not all of them were taken.
    fn give(&mut self, lines: &[RelayLine]) -> Result<(), String>;
}

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// What it remembers is not to be read or written.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The audit file is none that can be read again.
    #[error("{0} can't be read again: sinks need a plain file")]
    NoFile(PathBuf),
    /// There is no thread for it.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A relay before the log is opened.
#[derive(Debug)]
pub struct Prepared {
    config: RelayConfig,
    state: State,
}

/// A relay at work.
#[derive(Debug)]
pub struct Relay {
    stopping: Arc<AtomicBool>,
    health: Arc<AuditHealth>,
    over: Receiver<bool>,
}

impl Relay {
    /// Reads how far it came. One that is new begins with what comes from now on, so this is done
    /// before the log is opened.
    ///
    /// # Errors
    /// That can't be read or written.
    pub fn prepare(
        config: RelayConfig,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Prepared, RelayError> {
        let broken = |source| RelayError::State {
            path: config.state.clone(),
            source,
        };
        if std::fs::metadata(&config.log).is_ok_and(|about| !about.is_file()) {
            return Err(RelayError::NoFile(config.log));
        }
        let known = State::load(&config.state).map_err(broken)?;
        let state = match known {
            Some(state) => state,
            None => {
                let last = last_of(&config.log).map_err(|source| RelayError::State {
                    path: config.log.clone(),
                    source,
                })?;
                let state = State::new(StreamId::new(clock, entropy), last);
                state.save(&config.state).map_err(broken)?;
                state
            }
        };
        Ok(Prepared { config, state })
    }
}

impl Prepared {
    /// The chain of the relay.
    pub fn stream(&self) -> StreamId {
        self.state.stream()
    }

    /// Begins to give what the log has, and what comes.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(
        self,
        door: Box<dyn RelayDoor>,
        health: Arc<AuditHealth>,
        meter: SinkMeter,
    ) -> Result<Relay, RelayError> {
        let stopping = Arc::new(AtomicBool::new(false));
        let (ended, over) = channel();
        let worker = Worker {
            words: Words::new(&self.state),
            state: self.state,
            config: self.config,
            door,
            health: Arc::clone(&health),
            meter,
            stopping: Arc::clone(&stopping),
            is_failing: false,
        };
        thread::Builder::new()
            .name("audit-sink".to_owned())
            .spawn(move || {
                let was_all = worker.run();
                // Whoever waited may have gone.
                let _gone = ended.send(was_all);
            })
            .map_err(RelayError::Thread)?;
        Ok(Relay {
            stopping,
            health,
            over,
        })
    }
}

impl Relay {
    /// Gives what the log still has, and ends. Only after the log is closed.
    pub fn wind_up(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.health.durable.wake();
    }

    /// Waits so long until it has ended; whether all was given.
    pub fn wait_end(&self, patience: Duration) -> bool {
        self.over.recv_timeout(patience).unwrap_or(false)
    }
}

/// Where the log ends; `None` if there is nothing in it.
fn last_of(log: &Path) -> io::Result<Option<(StreamId, u64)>> {
    let opened = match Backwards::open(log, None) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let Some(mut lines) = opened else {
        return Ok(None);
    };
    while let Some((_, line)) = lines.next()? {
        if let Some(place) = source::place_of(&line) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The relay's thread's own.
struct Worker {
    config: RelayConfig,
    state: State,
    words: Words,
    door: Box<dyn RelayDoor>,
    health: Arc<AuditHealth>,
    meter: SinkMeter,
    stopping: Arc<AtomicBool>,
    is_failing: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// What one turn brought.
enum Turn {
    /// Records were read.
    Went,
    /// There is nothing new.
    Nothing,
    /// It was told to end.
    Stopped,
}

impl Worker {
    /// Gives until it is told to end; whether all was given then.
    fn run(mut self) -> bool {
        let files = (self.config.log.clone(), self.config.archive_key.clone());
        let mut source = Source::new(files, self.state.read);
        let mut pause = PAUSE_FIRST;
        loop {
            let seen = self.health.durable.last();
            self.show_lag(seen);
            match self.turn(&mut source, seen) {
                Ok(Turn::Went) => pause = PAUSE_FIRST,
                Ok(Turn::Stopped) => return false,
                Ok(Turn::Nothing) if self.is_stopping() => {
                    self.keep_state();
                    return self.state.read == self.health.durable.last();
                }
                Ok(Turn::Nothing) => self.health.durable.wait(seen, IDLE),
                Err(error) => {
                    self.fail(&format!("the audit file can't be read: {error}"));
                    if !self.rest(&mut pause) {
                        return false;
                    }
                    source.reopen();
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn show_lag(&self, durable: Option<(StreamId, u64)>) {
        let lag = match (durable, self.state.read) {
            (Some((stream, seq)), Some((own, read))) if stream == own => seq.saturating_sub(read),
            (Some((_, seq)), _) => seq,
            (None, _) => 0,
        };
        self.meter.lag(lag);
    }

    /// Reads on, and gives what is wanted.
    fn turn(&mut self, source: &mut Source, durable: Option<(StreamId, u64)>) -> io::Result<Turn> {
        let Some(durable) = durable else {
            return Ok(Turn::Nothing);
        };
        let mut words = self.words;
        let (mut lines, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        let (mut read, mut missed) = (self.state.read, 0);
        while lines.len() < BATCH_RECORDS && bytes < BATCH_BYTES && looked_at < LOOKED_AT_MAX {
            let Some(next) = source.next(durable)? else {
                break;
            };
            looked_at += 1;
            read = Some(next.at);
            missed += next.missed;
            let before = lines.len();
            self.take(&mut words, next, &mut lines);
            bytes += lines
                .iter()
                .skip(before)
                .map(|line: &RelayLine| line.text.len())
                .sum::<usize>();
        }
        if looked_at == 0 {
            if self.state.read != Some(durable) {
                source.reopen();
            }
            return Ok(Turn::Nothing);
        }
        if missed > 0 {
            let name = &self.config.name;
            tracing::error!(
                "The audit sink `{name}` was too far behind: {missed} records are gone"
            );
            self.meter.missed(missed);
        }
        if !lines.is_empty() && !self.give(&lines) {
            return Ok(Turn::Stopped);
        }
        let unwanted = self.state.unkept + u64::try_from(looked_at).unwrap_or(u64::MAX);
        self.words = words;
        self.state.read = read;
        self.state.own = words.link();
        self.state.unkept = unwanted;
        if !lines.is_empty() || unwanted > UNWANTED_MAX {
            self.keep_state();
        }
        Ok(Turn::Went)
    }

    /// The lines that a record becomes.
    fn take(&self, words: &mut Words, next: Read, lines: &mut Vec<RelayLine>) {
        if next.missed > 0 {
            lines.push(words.gap(&self.config, &next));
        }
        if next.is("audit.checkpoint") {
            lines.extend(words.checkpoint(&self.config, &next));
        } else if self.config.wanted.has(&next.record) {
            lines.push(words.line(&self.config, next.record));
        }
    }

    /// Gives lines until they are taken; whether they were, before it was told to end.
    fn give(&mut self, lines: &[RelayLine]) -> bool {
        let mut pause = PAUSE_FIRST;
        while let Err(problem) = self.door.give(lines) {
            self.fail(&problem);
            if !self.rest(&mut pause) {
                return false;
            }
        }
        self.meter.given(lines.len());
        if std::mem::take(&mut self.is_failing) {
            self.meter.failing(false);
            tracing::warn!("The audit sink `{}` takes records again", self.config.name);
        }
        true
    }

    fn fail(&mut self, problem: &str) {
        self.meter.failed();
        if !std::mem::replace(&mut self.is_failing, true) {
            self.meter.failing(true);
            tracing::error!(
                "The audit sink `{}` takes nothing: {problem}",
                self.config.name
            );
        }
    }

    /// Waits before another try; false if it is told to end.
    fn rest(&mut self, pause: &mut Duration) -> bool {
        let mut left = *pause;
        while !left.is_zero() && !self.is_stopping() {
            let part = left.min(IDLE);
            thread::sleep(part);
            left -= part;
            self.show_lag(self.health.durable.last());
        }
        *pause = pause.saturating_mul(2).min(PAUSE_MAX);
        !self.is_stopping()
    }

    fn keep_state(&mut self) {
        self.state.unkept = 0;
        if let Err(error) = self.state.save(&self.config.state) {
            let path = self.config.state.display();
            tracing::error!("How far an audit sink came can't be written to `{path}`: {error}");
        }
    }
}
