//! The database's half of the log: records that are in the file go on to it, by a thread of its own.
//!
//! The writer never waits for the database. What it hands over waits here in memory; when that is too
//! much, because more happens than the database takes, it is left to be read from the file later. A
//! record that somebody waits for goes first. Where there is no file, nothing is left out: the log
//! counts as not writable before memory is full.

use crate::chain::{Link, parse_hash};
use crate::file::{Found, first_record, log_files};
use crate::queue::{Queue, What, as_u64};
use crate::verdict::{NotDurable, Verdict};
use crate::{Action, Actor, AuditError, Event, Key, Outcome, Receipt, Value, Verifier, open_log};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fmt;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tollkeep_types::StreamId;

/// Bytes of records that wait in memory at most.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Records that are given to the database at once.
const BATCH_RECORDS: usize = 256;

/// Records that are asked of the database at once.
const LINES_AT_ONCE: usize = 500;

/// How often a database that fails is tried again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// A longer line is none of ours.
const LINE_BYTES_MAX: usize = 256 << 10;

/// A database that keeps records beside the file, or instead of it. Its calls block: they are made
/// by threads of the log, and are made again when they fail.
pub trait DatabaseStore: fmt::Debug + Send + Sync {
    /// Keeps records, given as whole lines: all of them, or none. Those that are there already stay
    /// as they are. If no record before them is missing, `through` is the number of the last.
    ///
    /// # Errors
    /// They are not kept.
    fn keep(&self, lines: &str, through: Option<u64>) -> Result<(), DatabaseError>;

    /// Where a stream stands, or without one the stream that this place wrote last.
    ///
    /// # Errors
    /// Nobody can tell.
    fn standing(&self, stream: Option<StreamId>) -> Result<Option<Standing>, DatabaseError>;

    /// Lines of a stream behind a number, in their order, at most so many.
    ///
    /// # Errors
    /// They can't be read.
    fn lines_after(
        &self,
        stream: StreamId,
        seq: u64,
        records: usize,
    ) -> Result<String, DatabaseError>;
}

/// Why the database does not do as it should, for the operator.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(pub String);

/// Where a stream stands in the database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The stream.
    pub stream: StreamId,
    /// The number of its last record.
    pub seq: u64,
    /// The hash of that.
    pub hash: [u8; 32],
    /// No record up to this one is missing.
    pub through: u64,
}

/// Which of file and database must have a record so that it counts as kept, where there are both.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Require {
    /// Both.
    #[default]
    All,
    /// The file; the database gets what it lacks later.
    Any,
}

/// What the writer hands over to.
pub(crate) struct Database {
    shared: Arc<Shared>,
    require: Require,
}

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    queue: Arc<Queue>,
    /// Where records can be read again; nowhere if there is no file.
    file: Option<PathBuf>,
}

/// Records somebody waits for.
struct Awaited {
    lines: String,
    verdicts: Vec<(Arc<Verdict>, Receipt)>,
}

#[derive(Default)]
struct Waiting {
    awaited: VecDeque<Awaited>,
    /// Whole lines, in the order of the chain.
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines were left out since the database had all: the file must be read.
    is_behind: bool,
    is_failing: bool,
    is_stopping: bool,
    is_over: bool,
}

/// What the thread does next.
enum Turn {
    Awaited(Awaited),
    Lines(String),
    /// Reads the file.
    CatchUp,
    /// Looks whether a database that failed works again.
    Probe,
    Stop,
}

/// The thread's own.
struct Keeper {
    shared: Arc<Shared>,
    store: Arc<dyn DatabaseStore>,
    stream: Option<StreamId>,
    /// The database has all records up to this one.
    through: u64,
    failing_since: Option<tollkeep_types::MonoNanos>,
}

/// Brings file and database together before anything new is written: what the file lacks is
/// appended to it, and a file that is new goes on with the chain. Gives where the database stands.
pub(crate) fn reconcile(
    store: &dyn DatabaseStore,
    path: Option<&Path>,
    found: &mut Found,
    append: impl FnOnce(&[u8]) -> std::io::Result<()>,
) -> Result<Option<Standing>, AuditError> {
    let failed = |error: DatabaseError| AuditError::Database(error.0);
    if found.unreadable {
        return Ok(None);
    }
    let Some((stream, last)) = found.last else {
        let standing = store.standing(None).map_err(failed)?;
        found.last = standing.map(|at| (at.stream, at.link()));
        return Ok(standing);
    };
    let standing = store.standing(Some(stream)).map_err(failed)?;
    let Some(at) = standing.filter(|at| at.seq > last.seq) else {
        return Ok(standing);
    };
    let missing = missing(store, stream, last).map_err(failed)?;
    let Some(lines) = missing else {
        tracing::error!(
            "The database has records of the audit log after {} that do not follow it; they are left \
             alone and a new stream begins",
            last.seq
        );
        found.last = None;
        return Ok(None);
    };
    let records = lines.lines().count();
    if let Some(path) = path {
        append(lines.as_bytes()).map_err(|source| AuditError::NotWritable {
            path: path.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            source,
        })?;
        tracing::warn!("{records} audit records that the file lacked came from the database");
    }
    found.last = Some((stream, at.link()));
    Ok(Some(at))
}

impl Standing {
    const fn link(&self) -> Link {
        Link {
            seq: self.seq,
            hash: self.hash,
        }
    }
}

/// What of a stream the database has behind a record; `None` if it does not follow that record.
fn missing(
    store: &dyn DatabaseStore,
    stream: StreamId,
    last: Link,
) -> Result<Option<String>, DatabaseError> {
    let (mut all, mut seq) = (String::new(), last.seq);
    loop {
        let lines = store.lines_after(stream, seq, LINES_AT_ONCE)?;
        let Some(end) = lines.lines().last().and_then(seq_of) else {
            break;
        };
        all.push_str(&lines);
        seq = end;
    }
    let follows = all.lines().next().and_then(prev_of) == Some(last.hash);
    let mut verifier = Verifier::default().of_a_part();
    let read = verifier.read("the database", all.as_bytes());
    let is_whole = read.is_ok() && verifier.finish().is_clean();
    Ok((follows && is_whole).then_some(all))
}

#[derive(Deserialize)]
struct Numbered<'l> {
    seq: u64,
    #[serde(borrow)]
    prev: &'l str,
    #[serde(borrow)]
    stream: &'l str,
}

fn seq_of(line: &str) -> Option<u64> {
    let record: Numbered<'_> = serde_json::from_str(line).ok()?;
    Some(record.seq)
}

fn prev_of(line: &str) -> Option<[u8; 32]> {
    let record: Numbered<'_> = serde_json::from_str(line).ok()?;
    parse_hash(record.prev)
}

impl Database {
    /// Starts the thread. The file has all up to `last`; the database stands there.
    pub(crate) fn start(
        (store, require): (Arc<dyn DatabaseStore>, Require),
        (queue, file): (&Arc<Queue>, Option<PathBuf>),
        (last, standing): (Option<(StreamId, Link)>, Option<Standing>),
    ) -> Result<Self, AuditError> {
        let through = standing.map_or(0, |at| at.through);
        let waiting = Waiting {
            is_behind: file.is_some() && last.is_some_and(|(_, last)| last.seq > through),
            ..Waiting::default()
        };
        let shared = Arc::new(Shared {
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
            queue: Arc::clone(queue),
            file,
        });
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            store,
            stream: last.map(|(stream, _)| stream),
            through,
            failing_since: None,
        };
        thread::Builder::new()
            .name("audit-database".to_owned())
            .spawn(move || keeper.run())
            .map_err(AuditError::Thread)?;
        Ok(Self { shared, require })
    }

    /// Whether a record that somebody waits for must be here too.
    pub(crate) fn is_required(&self) -> bool {
        self.require == Require::All || self.shared.file.is_none()
    }

    /// Hands over lines that are in the file. Never waits.
    pub(crate) fn hand(&self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let lines = String::from_utf8_lossy(lines).into_owned();
        self.shared.hand(lines);
    }

    /// Hands over lines that somebody waits for; whoever does is told when they are kept.
    pub(crate) fn hand_awaited(&self, lines: &[u8], verdicts: Vec<(Arc<Verdict>, Receipt)>) {
        let lines = String::from_utf8_lossy(lines).into_owned();
        self.shared.hand_awaited(Awaited { lines, verdicts });
    }

    /// Waits until all that was handed over is kept, not for too long; whether it is.
    pub(crate) fn stop(&self) -> bool {
        let shared = &self.shared;
        let patience = patience_of(shared.file.is_some());
        shared.lock().is_stopping = true;
        shared.changed.notify_all();
        let waited = shared
            .changed
            .wait_timeout_while(shared.lock(), patience, |waiting| !waiting.is_over);
        let waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        waiting.is_over && waiting.lines.is_empty() && !waiting.is_behind
    }
}

/// How long the last records are waited for. What is in the file is read from there at the next start.
pub(crate) const fn patience_of(has_file: bool) -> Duration {
    Duration::from_secs(if has_file { 1 } else { 5 })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand(&self, lines: String) {
        let mut waiting = self.lock();
        let is_full = waiting.bytes + lines.len() > WAITING_BYTES_MAX;
        if self.file.is_some() {
            if waiting.is_behind {
                return;
            }
            if is_full {
                tracing::warn!("The database is behind the audit file, which is read for it");
                waiting.is_behind = true;
                return;
            }
        } else if is_full {
            drop(waiting);
            self.queue.add_lost(as_u64(lines.lines().count()));
            return;
        }
        waiting.bytes += lines.len();
        waiting.lines.push_back(lines);
        self.show(&waiting);
        drop(waiting);
        self.changed.notify_all();
    }

    fn hand_awaited(&self, awaited: Awaited) {
        let mut waiting = self.lock();
        if waiting.is_failing || waiting.is_stopping {
            drop(waiting);
            return self.refuse(awaited);
        }
        waiting.awaited.push_back(awaited);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Tells whoever waits that a record is not kept, though it is in the file.
    fn refuse(&self, awaited: Awaited) {
        self.queue.add_unconfirmed(as_u64(awaited.verdicts.len()));
        for (verdict, _) in awaited.verdicts {
            verdict.decide(Err(NotDurable::Unavailable));
        }
    }

    /// Without a file, what waits must not become too much.
    fn show(&self, waiting: &Waiting) {
        if self.file.is_none() {
            let is_full = waiting.bytes > WAITING_BYTES_MAX / 2;
            self.queue.health.set_database_full(is_full);
        }
    }

    fn next(&self) -> Turn {
        let mut waiting = self.lock();
        loop {
            if waiting.is_failing {
                let stopping = waiting.is_stopping;
                let woken = self
                    .changed
                    .wait_timeout_while(waiting, PROBE_EVERY, |waiting| {
                        waiting.is_stopping == stopping
                    });
                let woken = woken.unwrap_or_else(PoisonError::into_inner).0;
                return match woken.is_stopping && stopping {
                    true => Turn::Stop,
                    false => Turn::Probe,
                };
            }
            if let Some(awaited) = waiting.awaited.pop_front() {
                return Turn::Awaited(awaited);
            }
            if !waiting.lines.is_empty() {
                let lines = take(&mut waiting);
                self.show(&waiting);
                return Turn::Lines(lines);
            }
            if waiting.is_behind && !waiting.is_stopping {
                // What comes from now on waits here again; what came before is in the file.
                waiting.is_behind = false;
                return Turn::CatchUp;
            }
            if waiting.is_stopping {
                return Turn::Stop;
            }
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts lines back that could not be kept.
    fn give_back(&self, lines: String) {
        let mut waiting = self.lock();
        waiting.bytes += lines.len();
        waiting.lines.push_front(lines);
    }

    fn set_behind(&self) {
        self.lock().is_behind = true;
    }

    /// From now on nothing is kept until a probe says otherwise.
    fn fail(&self) {
        let mut waiting = self.lock();
        waiting.is_failing = true;
        let awaited = std::mem::take(&mut waiting.awaited);
        drop(waiting);
        awaited.into_iter().for_each(|awaited| self.refuse(awaited));
        self.queue.health.set_database_failing(true);
        self.queue.meter.failed();
    }
}

/// As many whole lines as are given at once, from the first on.
fn take(waiting: &mut Waiting) -> String {
    let mut batch = waiting.lines.pop_front().unwrap_or_default();
    let mut records = batch.lines().count();
    while records < BATCH_RECORDS
        && let Some(next) = waiting.lines.pop_front()
    {
        records += next.lines().count();
        batch.push_str(&next);
    }
    if records > BATCH_RECORDS {
        let end = batch.match_indices('\n').nth(BATCH_RECORDS - 1);
        let rest = end.map(|(at, _)| at + 1).map(|end| batch.split_off(end));
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            waiting.lines.push_front(rest);
        }
    }
    waiting.bytes = waiting.bytes.saturating_sub(batch.len());
    batch
}

impl Keeper {
    fn run(mut self) {
        loop {
            match self.shared.next() {
                Turn::Awaited(awaited) => self.keep_awaited(awaited),
                Turn::Lines(lines) => self.keep_lines(lines),
                Turn::CatchUp => self.catch_up(),
                Turn::Probe => self.probe(),
                Turn::Stop => break,
            }
        }
        let mut waiting = self.shared.lock();
        waiting.is_over = true;
        let awaited = std::mem::take(&mut waiting.awaited);
        drop(waiting);
        awaited
            .into_iter()
            .for_each(|awaited| self.shared.refuse(awaited));
        self.shared.changed.notify_all();
    }

    /// Gives lines to the database, watched.
    fn keep(&self, lines: &str, through: Option<u64>) -> Result<(), DatabaseError> {
        let health = &self.shared.queue.health;
        health.set_database_waiting(Some(self.shared.queue.clock.mono()));
        let kept = self.store.keep(lines, through);
        health.set_database_waiting(None);
        kept
    }

    fn keep_awaited(&mut self, awaited: Awaited) {
        if awaited
            .verdicts
            .iter()
            .all(|(verdict, _)| !verdict.is_open())
        {
            return self
                .shared
                .queue
                .add_unconfirmed(as_u64(awaited.verdicts.len()));
        }
        match self.keep(&awaited.lines, None) {
            Ok(()) => {
                let late = awaited.verdicts.into_iter();
                let late = late.filter(|(verdict, receipt)| !verdict.decide(Ok(*receipt)));
                self.shared.queue.add_unconfirmed(as_u64(late.count()));
            }
            Err(error) => {
                self.shared.refuse(awaited);
                self.fail(&error);
            }
        }
    }

    fn keep_lines(&mut self, lines: String) {
        let through = lines.lines().last().and_then(seq_of);
        match self.keep(&lines, through) {
            Ok(()) => self.through = through.unwrap_or(self.through),
            Err(error) => {
                self.shared.give_back(lines);
                self.fail(&error);
            }
        }
    }

    fn fail(&mut self, error: &DatabaseError) {
        tracing::error!("Audit events can't be kept in the database: {error}");
        self.failing_since = Some(self.shared.queue.clock.mono());
        self.shared.fail();
    }

    /// Looks whether the database works again, and says so.
    fn probe(&mut self) {
        if let Err(error) = self.keep("", None) {
            tracing::debug!("Audit events still can't be kept in the database: {error}");
            return;
        }
        let queue = &self.shared.queue;
        let since = self.failing_since.take();
        let down_ms = since.map_or(0, |at| queue.clock.mono().since(at) / 1_000_000);
        self.shared.lock().is_failing = false;
        queue.health.set_database_failing(false);
        tracing::warn!("Audit events are kept in the database again after {down_ms} ms");
        let recovered = Event::new(Action::AuditRecovered, Actor::System, Outcome::Success)
            .with_detail(Key::Kind, Value::Word("database"))
            .with_detail(Key::DownMs, Value::Number(down_ms));
        let batch = Box::new(move |sink: &mut crate::EventSink<'_>| sink.append(&recovered));
        if let Err(why) = queue.push(1, What::Batch(batch)) {
            // It is counted like all that finds no room.
            tracing::debug!("The recovery of the database is not recorded: {why:?}");
        }
    }

    /// Reads from the file what the database lacks, up to its end.
    fn catch_up(&mut self) {
        let Some(path) = self.shared.file.clone() else {
            return;
        };
        if !std::fs::metadata(&path).is_ok_and(|about| about.is_file()) {
            tracing::error!(
                "The audit file can't be read again: records are missing in the database"
            );
            return;
        }
        if let Err(problem) = self.read_all(&path) {
            // Somebody may have moved a file meanwhile.
            tracing::warn!("The audit file can't be read for the database yet: {problem}");
            self.shared.set_behind();
            thread::sleep(PROBE_EVERY);
        }
    }

    /// Reads the closed files too that have something the database lacks.
    fn read_all(&mut self, path: &Path) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let files = log_files(path).map_err(told)?;
        for (number, file) in files.iter().enumerate() {
            let next = files.get(number + 1);
            let next = next.and_then(|next| first_record(next).ok().flatten());
            let is_known = next.is_some_and(|next| {
                Some(next.stream) == self.stream && next.seq <= self.through.saturating_add(1)
            });
            if !is_known {
                self.read_on(open_log(file).map_err(told)?)?;
            }
        }
        Ok(())
    }

    fn read_on(&mut self, mut file: impl BufRead) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let (mut batch, mut records) = (String::new(), 0);
        let mut line = String::new();
        loop {
            line.clear();
            let is_over = file.read_line(&mut line).map_err(told)? == 0 || !line.ends_with('\n');
            if line.len() > LINE_BYTES_MAX {
                return Err("a line is too long".to_owned());
            }
            if !is_over && self.is_missing(&line) {
                batch.push_str(&line);
                records += 1;
            }
            if records == BATCH_RECORDS || (is_over && records > 0) {
                self.keep_read(&batch)?;
                batch.clear();
                records = 0;
            }
            if is_over {
                return Ok(());
            }
        }
    }

    /// Whether a line is of the stream, behind what the database has.
    fn is_missing(&mut self, line: &str) -> bool {
        let Ok(record) = serde_json::from_str::<Numbered<'_>>(line) else {
            return false;
        };
        let Ok(stream) = record.stream.parse::<StreamId>() else {
            return false;
        };
        *self.stream.get_or_insert(stream) == stream && record.seq > self.through
    }

    fn keep_read(&mut self, batch: &str) -> Result<(), String> {
        let through = batch.lines().last().and_then(seq_of);
        if let Err(error) = self.keep(batch, through) {
            self.shared.set_behind();
            self.fail(&error);
            return Err(error.0);
        }
        self.through = through.unwrap_or(self.through);
        Ok(())
    }
}
