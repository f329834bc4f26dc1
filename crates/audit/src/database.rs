//! The database's half of the log: records that are in the file go on to it, by a thread of its own.
//!
//! The writer never waits for the database. What it hands over waits here in memory; when that is too
//! much, because more happens than the database takes, it is left to be read from the file later. A
//! record that somebody waits for goes first. Where there is no file, nothing is left out: the log
//! counts as not writable before memory is full. Where calls need all CPU, they have it, and the
//! database follows behind.

mod keeper;
mod pace;
mod reconcile;

pub(crate) use reconcile::reconcile;

use crate::chain::Link;
use crate::file::Place;
use crate::queue::{Queue, as_u64};
use crate::verdict::{NotDurable, Verdict};
use crate::{AuditError, Receipt};
use keeper::Keeper;
use pace::Pace;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tollkeep_types::StreamId;

/// Bytes of records that wait in memory at most.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Records that are given to the database at once: what its disk takes to be sure of them is shared by
/// so many, and all other changes of a file wait for their turn meanwhile, some 20 ms.
const BATCH_RECORDS: usize = 1024;

/// How often a database that fails is tried again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// What only the record of lost events has: strangers' quotes are escaped.
const GAP: &str = "\"action\":\"audit.gap\"";

/// A database that keeps records beside the file, or instead of it. Its calls block: they are made
/// by threads of the log, and are made again when they fail.
pub trait DatabaseStore: fmt::Debug + Send + Sync {
    /// Whether it is part of this process: what it works is CPU that nothing else here has.
    fn is_in_process(&self) -> bool {
        false
    }

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
    file: Option<Place>,
}

/// Records somebody waits for.
struct Awaited {
    lines: String,
    verdicts: Vec<(Arc<Verdict>, Receipt)>,
}

#[derive(Default)]
struct Waiting {
    awaited: VecDeque<Awaited>,
    /// Whole lines, in the order of the chain, and how many each has: no more than are given at once.
    lines: VecDeque<(String, usize)>,
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

impl Database {
    /// Starts the thread. The file has all up to `last`; the database stands there.
    pub(crate) fn start(
        (store, require): (Arc<dyn DatabaseStore>, Require),
        (queue, file): (&Arc<Queue>, Option<Place>),
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
        let gives_way = shared.file.is_some() && store.is_in_process();
        let pace = gives_way.then(|| Pace::new(Arc::clone(&queue.clock)));
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            store,
            stream: last.map(|(stream, _)| stream),
            through,
            failing_since: None,
            pace,
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
        self.shared.hand(&String::from_utf8_lossy(lines));
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

    fn hand(&self, lines: &str) {
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
            self.queue.add_lost(lines.lines().map(events_in).sum());
            return;
        }
        waiting.bytes += lines.len();
        split(lines, &mut waiting.lines);
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

    /// How many records wait, and whether others were left out.
    fn waiting(&self) -> (u64, bool) {
        let waiting = self.lock();
        let records = waiting.lines.iter().map(|(_, records)| records).sum();
        (as_u64(records), waiting.is_behind)
    }

    /// Lets so much time pass; earlier there is what somebody waits for, or the end of the log.
    fn rest(&self, time: Duration) -> Option<Awaited> {
        let nobody_waits =
            |waiting: &mut Waiting| waiting.awaited.is_empty() && !waiting.is_stopping;
        let rested = self
            .changed
            .wait_timeout_while(self.lock(), time, nobody_waits);
        let mut waiting = rested.unwrap_or_else(PoisonError::into_inner).0;
        waiting.awaited.pop_front()
    }

    /// Puts lines back that could not be kept.
    fn give_back(&self, lines: String) {
        let mut waiting = self.lock();
        waiting.bytes += lines.len();
        let records = lines.lines().count();
        waiting.lines.push_front((lines, records));
    }

    /// What waits is read from the file too, so that nothing before it is passed over.
    fn leave_to_file(&self) {
        let mut waiting = self.lock();
        waiting.is_behind = true;
        (waiting.lines, waiting.bytes) = (VecDeque::new(), 0);
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

/// How many events a line stands for: one that tells how many were lost stands for those.
fn events_in(line: &str) -> u64 {
    #[derive(serde::Deserialize)]
    struct Told {
        details: Details,
    }
    #[derive(serde::Deserialize)]
    struct Details {
        count: u64,
    }
    if !line.contains(GAP) {
        return 1;
    }
    serde_json::from_str::<Told>(line).map_or(1, |told| told.details.count)
}

/// Splits lines into parts of as many as are given at once.
fn split(lines: &str, into: &mut VecDeque<(String, usize)>) {
    let (mut rest, mut records) = (lines, 0);
    let mut part = 0;
    for line in lines.split_inclusive('\n') {
        (records, part) = (records + 1, part + line.len());
        if records == BATCH_RECORDS
            && let Some((whole, behind)) = rest.split_at_checked(part)
        {
            into.push_back((whole.to_owned(), records));
            (rest, records, part) = (behind, 0, 0);
        }
    }
    if !rest.is_empty() {
        into.push_back((rest.to_owned(), records));
    }
}

/// As many whole lines as are given at once, from the first on.
fn take(waiting: &mut Waiting) -> String {
    let (mut batch, mut records) = waiting.lines.pop_front().unwrap_or_default();
    while let Some((next, more)) = waiting
        .lines
        .pop_front_if(|(_, more)| records + *more <= BATCH_RECORDS)
    {
        records += more;
        batch.push_str(&next);
    }
    waiting.bytes = waiting.bytes.saturating_sub(batch.len());
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-40
    #[test]
    fn a_record_of_lost_events_stands_for_those() {
        for (line, want) in [
            (r#"{"action":"proxy_request","details":{"count":7}}"#, 1),
            (r#"{"action":"audit.gap","details":{"count":7}}"#, 7),
            (r#"{"action":"audit.gap"}"#, 1),
            (
                r#"{"action":"x","details":{"model":"\"action\":\"audit.gap\""}}"#,
                1,
            ),
        ] {
            assert_eq!(events_in(line), want, "{line}");
        }
    }
}
