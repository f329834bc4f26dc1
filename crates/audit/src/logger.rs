//! The door to the audit: who hands over an event, and what they are told.

use crate::appender::{Appender, EventSink};
use crate::database::{self, Database, Standing, patience_of};
use crate::encode::Shown;
use crate::file::{AuditFile, Found, Place};
use crate::queue::{End, Queue, What};
use crate::signing::{PRUNE, signed};
use crate::verdict::{Deadlines, NotDurable, Pending, Verdict};
use crate::writer::{Rotation, Upkeep, Writer};
use crate::{
    Action, Actor, ActorId, AuditHealth, Chosen, Cliproxy, DatabaseStore, Event, IpMask, Key,
    Outcome, Require, Signing, Value,
};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tollkeep_crypto::archive::ArchiveKey;
use tollkeep_observe::metrics::AuditMeter;
use tollkeep_observe::redact::Redactor;
use tollkeep_types::{Clock, Entropy, EventId, StreamId};

/// What happens to calls when their events cannot be written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnFailure {
    /// They are refused.
    #[default]
    Closed,
    /// They are served; lost events are counted and the number is written later.
    Open,
}

/// How much of a `User-Agent` is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UserAgentDetail {
    /// Up to 200 characters.
    #[default]
    Full,
    /// The first product's name.
    Family,
    /// Nothing.
    Off,
}

/// Where and how events are written.
#[derive(Clone, Debug)]
pub struct LoggerConfig {
    /// The file; empty for none, where a database keeps the records.
    pub file_path: PathBuf,
    /// What keeps records beside the file, or instead of it.
    pub database_store: Option<Arc<dyn DatabaseStore>>,
    /// Which of the two must have a record.
    pub require: Require,
    /// Whether a missing directory is made (0700) at start.
    pub create_dir: bool,
    /// Permission bits of a new file; an existing one with more is refused. At most 0640.
    pub mode: u32,
    /// How much of a client's address is written.
    pub ip_mask: IpMask,
    /// How much of a `User-Agent` is written.
    pub user_agent: UserAgentDetail,
    /// What is masked in texts strangers had a hand in.
    pub redactor: Redactor,
    /// How long an append may take before it counts as failed.
    pub deadline: Duration,
    /// What happens to calls when their events cannot be written.
    pub on_failure: OnFailure,
    /// How many events may wait.
    pub queue_events: usize,
    /// Whether lines are written in the words of cliproxyapi++ instead of llm-proxy's.
    pub cliproxy: Option<Cliproxy>,
    /// Which calls are written.
    pub events: Chosen,
    /// How the log is signed; not, if there is no key.
    pub signing: Option<Signing>,
    /// When the file is closed and the next begun; never, if others do that.
    pub rotation: Option<Rotation>,
    /// What closed files are sealed with, if they are or were.
    pub archive_key: Option<ArchiveKey>,
}

impl Default for LoggerConfig {
    fn default() -> Self {
        Self {
            file_path: PathBuf::from("./data/audit.log"),
            database_store: None,
            require: Require::All,
            create_dir: true,
            mode: 0o600,
            ip_mask: IpMask::Off,
            user_agent: UserAgentDetail::Full,
            redactor: Redactor::default(),
            deadline: Duration::from_millis(250),
            on_failure: OnFailure::Closed,
            queue_events: 8192,
            cliproxy: None,
            events: Chosen::All,
            signing: None,
            rotation: None,
            archive_key: None,
        }
    }
}

/// What the logger is given from outside.
#[derive(Clone)]
pub struct Means {
    /// Times of events and of waiting.
    pub clock: Arc<dyn Clock>,
    /// Ids of events.
    pub entropy: Arc<dyn Entropy>,
    /// Where events, failures and the queue are counted.
    pub meter: AuditMeter,
}

/// Why an event is not durable, or the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The directory is missing and may not be made.
    #[error("the audit directory `{0}` does not exist and `audit.create_dir` is off")]
    NoDirectory(PathBuf),
    /// The file or its directory cannot be written.
    #[error("the audit file `{path}` is not writable by uid {uid}: {source}")]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Who tried.
        uid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read what is in the file.
    #[error("the audit file `{path}` has mode {found:04o}, wider than {allowed:04o}: run chmod")]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
        /// What they may be.
        allowed: u32,
    },
    /// The settings ask for a file others could write or everybody read.
    #[error("audit.mode {0:04o} is wider than 0640")]
    ModeSetting(u32),
    /// Closed files are to be sealed, and there is no key for that.
    #[error("closed audit files are to be sealed, and there is no key")]
    NoArchiveKey,
    /// Neither a file nor a database is there.
    #[error("the audit log has neither a file nor a database")]
    Nowhere,
    /// The database does not say where the log stands.
    #[error("the database can't tell where the audit log stands: {0}")]
    Database(String),
    /// Two writers would tear the chain.
    #[error("the audit file `{0}` is in use by another process")]
    InUse(PathBuf),
    /// No thread for the writer.
    #[error("the audit writer could not be started: {0}")]
    Thread(#[source] io::Error),
    /// The writer is behind and the queue full.
    #[error("the audit queue is full")]
    QueueFull,
    /// Writing fails at the moment.
    #[error("audit events cannot be written at the moment")]
    Unavailable,
    /// The writer hangs.
    #[error("the audit event was not durable in time")]
    Deadline,
    /// The logger was stopped.
    #[error("the audit log is closed")]
    Stopped,
}

/// Where a durable event stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The event.
    pub id: EventId,
    /// Its chain.
    pub stream: StreamId,
    /// Its place in the chain.
    pub seq: u64,
}

/// Writes a worker's records as events; runs in the writer thread.
pub type Batch = Box<dyn FnOnce(&mut EventSink<'_>) + Send>;

/// The audit log of this process. Cheap to share behind an [`Arc`]; stopped when dropped.
pub struct Logger {
    queue: Arc<Queue>,
    deadlines: Arc<Deadlines>,
    /// How long the end of the writer is waited for.
    patience: Duration,
    signing: Option<Signing>,
}

/// The beginning of a stream that is about to be deleted in the database.
#[derive(Clone, Copy, Debug)]
pub struct PrunedRecords<'p> {
    /// The stream.
    pub stream: &'p str,
    /// The number of the last that goes.
    pub through: u64,
    /// The hash of that, in hex.
    pub head: &'p str,
    /// How many go.
    pub records: u64,
}

impl Logger {
    /// Opens the file, continues its chain, starts the writer. A pipe without a reader or a full
    /// disk is no error here: the log starts as failing and heals by itself.
    ///
    /// # Errors
    /// The directory or file is missing, not writable, too widely readable or in use.
    pub fn new(config: LoggerConfig, means: Means) -> Result<Self, AuditError> {
        let file = Some(config.file_path).filter(|path| !path.as_os_str().is_empty());
        if file.is_none() && config.database_store.is_none() {
            return Err(AuditError::Nowhere);
        }
        let place = Place {
            path: file.clone().unwrap_or_else(|| PathBuf::from(NO_FILE)),
            mode: config.mode,
            key: config.archive_key,
        };
        let seals = config.rotation.is_some_and(|rotation| rotation.seal);
        if seals && place.key.is_none() {
            return Err(AuditError::NoArchiveKey);
        }
        place.prepare(config.create_dir)?;
        let mut opened = open_or_wait(&place, &means)?;
        let shown = Shown {
            ip_mask: config.ip_mask,
            user_agent: config.user_agent,
            redactor: config.redactor,
        };
        let clock = Arc::clone(&means.clock);
        let written = (config.cliproxy, config.events);
        let entropy = Arc::clone(&means.entropy);
        let appender = Appender::new(shown, written, means.clock, means.entropy);
        let (deadline, require) = (config.deadline, config.require);
        let health = Arc::new(AuditHealth::new(deadline, config.on_failure, require));
        let queue = Arc::new(Queue::new(
            health,
            means.meter,
            Arc::clone(&clock),
            config.queue_events,
        ));
        let waits = config
            .database_store
            .as_ref()
            .map(|_| patience_of(file.is_some()));
        let patience = deadline.saturating_mul(2) + waits.unwrap_or_default();
        let database = match config.database_store {
            Some(store) => {
                let standing = stand(&*store, file.as_deref(), &mut opened)?;
                if file.is_some() {
                    queue.health.set_double();
                }
                let last = opened.as_ref().and_then(|(_, found)| found.last);
                let kept = file.is_some().then(|| place.clone());
                let (by, to) = ((store, require), (&queue, kept));
                Some(Database::start(by, to, (last, standing))?)
            }
            None => None,
        };
        let signing = config.signing.clone();
        let upkeep = Upkeep::new(config.signing, config.rotation, entropy);
        let writer = Writer::new(Arc::clone(&queue), place, opened, (appender, upkeep));
        let writer = writer.beside(database);
        let deadlines = Deadlines::start(clock, config.deadline).map_err(AuditError::Thread)?;
        let logger = Self {
            queue,
            deadlines,
            patience,
            signing,
        };
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(AuditError::Thread)?;
        Ok(logger)
    }

    /// Hands over the events that `batch` will append; `events` is how many that are, and what a
    /// lost batch counts as. Never waits.
    ///
    /// # Errors
    /// The queue is full: the events are lost and counted.
    pub fn submit(&self, events: usize, batch: Batch) -> Result<(), AuditError> {
        Ok(self.queue.push(events, What::Batch(batch))?)
    }

    /// Queues one event that need not be durable before the answer. Never waits.
    ///
    /// # Errors
    /// The queue is full: the event is lost and counted.
    pub fn enqueue(&self, event: &Event<'_>) -> Result<(), AuditError> {
        let event = event.to_owned_event();
        self.submit(1, Box::new(move |sink| sink.append(&event)))
    }

    /// Writes one event that must be durable before the answer; blocks at most for the deadline.
    ///
    /// # Errors
    /// The event is not durable; the operation it tells of must not happen.
    pub fn log(&self, event: &Event<'_>) -> Result<Receipt, AuditError> {
        self.log_async(event).wait()
    }

    /// As [`Self::log`] for callers that must not block.
    pub fn log_async(&self, event: &Event<'_>) -> Pending {
        let verdict = Arc::new(Verdict::default());
        let pending = Pending::new(&verdict);
        let what = What::Durable(Box::new(event.to_owned_event()), Arc::clone(&verdict));
        match self.queue.push(1, what) {
            Ok(()) => self.deadlines.watch(&verdict),
            Err(why) => {
                verdict.decide(Err(why));
            }
        }
        pending
    }

    /// Records what is about to be deleted, signed, by whom. Nothing may be deleted before that is
    /// durable.
    pub fn log_pruned(
        &self,
        pruned: &PrunedRecords<'_>,
        (actor, id): (Actor, Option<ActorId>),
    ) -> Pending {
        let word = |text: &str| Value::OwnedWord(text.into());
        let mut details = vec![
            (Key::Stream, word(pruned.stream)),
            (Key::ThroughSeq, Value::Number(pruned.through)),
            (Key::Head, word(pruned.head)),
            (Key::Count, Value::Number(pruned.records)),
        ];
        if let Some(signing) = &self.signing {
            details = signed(&signing.signer.key(), PRUNE, details);
        }
        let mut event = Event::new(Action::AuditPrune, actor, Outcome::Success);
        if let Some(id) = id {
            event = event.with_actor_id(id);
        }
        for (key, value) in details {
            event = event.with_detail(key, value);
        }
        self.log_async(&event)
    }

    /// Opens the file by its name again, once what was handed over before is written: somebody moved
    /// it away. No record is lost and the chain goes on.
    pub fn reopen(&self) -> Pending {
        let verdict = Arc::new(Verdict::default());
        let pending = Pending::new(&verdict);
        match self.queue.push(0, What::Reopen(Arc::clone(&verdict))) {
            Ok(()) => self.deadlines.watch(&verdict),
            Err(why) => {
                verdict.decide(Err(why));
            }
        }
        pending
    }

    /// Waits until everything that was handed over before is durable, at most for the deadline.
    ///
    /// # Errors
    /// It is not.
    pub fn flush(&self) -> Result<(), AuditError> {
        let verdict = Arc::new(Verdict::default());
        let pending = Pending::new(&verdict);
        self.queue.push(0, What::Flush(Arc::clone(&verdict)))?;
        self.deadlines.watch(&verdict);
        pending.wait().map(|_| ())
    }

    /// As [`Self::stop`], for those who own it.
    ///
    /// # Errors
    /// Something queued could not be written.
    pub fn close(self) -> Result<(), AuditError> {
        self.stop()
    }

    /// Whether events can be written now.
    pub fn health(&self) -> Arc<AuditHealth> {
        Arc::clone(&self.queue.health)
    }

    /// Writes what is queued and `audit.close`, then ends the writer. Waits at most twice the
    /// deadline, and some seconds for a database.
    ///
    /// # Errors
    /// Something queued could not be written.
    pub fn stop(&self) -> Result<(), AuditError> {
        self.queue.stop();
        let end = self.queue.ended(self.patience);
        self.deadlines.close();
        match end {
            Some(End::Clean) => Ok(()),
            Some(End::Lossy) => Err(NotDurable::Unavailable.into()),
            None => Err(NotDurable::Deadline.into()),
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!("The audit log did not end cleanly: {error}");
        }
    }
}

/// Where records go when they are kept in the database alone.
const NO_FILE: &str = "/dev/null";

/// Brings the file and the database together.
fn stand(
    store: &dyn DatabaseStore,
    path: Option<&Path>,
    opened: &mut Option<(AuditFile, Found)>,
) -> Result<Option<Standing>, AuditError> {
    let Some((file, found)) = opened else {
        return Ok(None);
    };
    database::reconcile(store, path, found, |lines| {
        let mut rest = lines;
        while !rest.is_empty() {
            let written = file.write(rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        file.sync()
    })
}

/// Opens the file; `None` for faults that pass by themselves.
fn open_or_wait(place: &Place, means: &Means) -> Result<Option<(AuditFile, Found)>, AuditError> {
    match place.open(means.clock.wall()) {
        Ok(opened) => Ok(Some(opened)),
        Err(AuditError::NotWritable { source, .. }) if passes_by_itself(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A pipe nobody reads yet, a full disk or quota.
fn passes_by_itself(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno == Some(rustix::io::Errno::NXIO)
        || matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
}
