//! The thread that gives records to the database, and its patience with one that fails.

use super::pace::Pace;
use super::reconcile::{Numbered, seq_of};
use super::{Awaited, BATCH_RECORDS, DatabaseError, DatabaseStore, PROBE_EVERY, Shared, Turn};
use crate::file::{Place, first_record, log_files};
use crate::queue::{What, as_u64};
use crate::{Action, Actor, Event, Key, Outcome, Value, open_log};
use std::collections::VecDeque;
use std::io::{BufRead, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tollkeep_types::{MonoNanos, StreamId};

/// A longer line is none of ours.
const LINE_BYTES_MAX: usize = 256 << 10;

/// How often a file may be moved between the look for it and its opening.
const MOVED_MAX: usize = 100;

/// The thread's own.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Arc<dyn DatabaseStore>,
    pub(super) stream: Option<StreamId>,
    /// The database has all records up to this one.
    pub(super) through: u64,
    pub(super) failing_since: Option<MonoNanos>,
    /// Where records can be read again later, and the database's work is taken from that of calls.
    pub(super) pace: Option<Pace>,
}

impl Keeper {
    pub(super) fn run(mut self) {
        loop {
            match self.shared.next() {
                Turn::Awaited(awaited) => self.keep_awaited(awaited),
                Turn::Lines(lines) => self.keep_lines(lines),
                Turn::CatchUp => self.catch_up(),
                Turn::Probe => self.probe(),
                Turn::Stop => break,
            }
            self.show_lag(false);
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

    /// Shows how many records the database lacks: those that wait, or, where it is behind, all that the
    /// file has more.
    fn show_lag(&self, is_behind: bool) {
        let queue = &self.shared.queue;
        let (waiting, left_out) = self.shared.waiting();
        let lag = match queue.health.durable.last() {
            Some((_, last)) if is_behind || left_out => last.saturating_sub(self.through),
            Some(_) | None => waiting,
        };
        queue.meter.database_lag(lag);
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
        let through = lines.lines().next_back().and_then(seq_of);
        self.begin();
        match self.keep(&lines, through) {
            Ok(()) => self.through = through.unwrap_or(self.through),
            Err(error) => {
                self.shared.give_back(lines);
                return self.fail(&error);
            }
        }
        self.give_way();
    }

    fn begin(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.begin();
        }
    }

    /// Lets calls have the CPU if they need it, and what somebody waits for come before the next batch.
    fn give_way(&mut self) {
        let mut rest = self.pace.as_ref().map_or(Duration::ZERO, Pace::rest);
        while let Some(awaited) = self.shared.rest(rest) {
            self.keep_awaited(awaited);
            rest = Duration::ZERO;
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
        let Some(place) = self.shared.file.clone() else {
            return;
        };
        if !std::fs::metadata(&place.path).is_ok_and(|about| about.is_file()) {
            tracing::error!(
                "The audit file can't be read again: records are missing in the database"
            );
            return;
        }
        if let Err(problem) = self.read_all(&place) {
            // Somebody may have moved a file meanwhile.
            tracing::warn!("The audit file can't be read for the database yet: {problem}");
            self.shared.leave_to_file();
            thread::sleep(PROBE_EVERY);
        }
    }

    /// Reads the closed files too that have something the database lacks. While one is read, others are
    /// closed under names of their own: so what comes next is looked for anew behind each.
    fn read_all(&mut self, place: &Place) -> Result<(), String> {
        let (mut before, mut moved) = (None, 0);
        while let Some((path, first)) = self.next_file(place, before)? {
            if !self.read_on(&path, (place, first))? {
                moved += 1;
                if moved > MOVED_MAX {
                    return Err("its files are moved all the time".to_owned());
                }
                continue;
            }
            if path == place.path {
                break;
            }
            before = Some(first);
        }
        Ok(())
    }

    /// The file behind the one that begins with this record, and its own first record. At first the one
    /// that has what the database lacks, or, where that is gone, the first there is.
    fn next_file(
        &mut self,
        place: &Place,
        before: Option<u64>,
    ) -> Result<Option<(PathBuf, u64)>, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut files = Vec::new();
        for path in log_files(&place.path, place.key.as_ref()).map_err(told)? {
            match first_record(&path, place.key.as_ref()) {
                Ok(first) => files.extend(first.map(|first| (path, first))),
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(told(error)),
                // Sealed under another key, or broken: the others are read all the same.
                Err(error) => tracing::warn!("{path:?} can't be read for the database: {error}"),
            }
        }
        let newest = files.last().map(|(_, first)| first.stream);
        let stream = self.stream.or(newest);
        self.stream = stream;
        let ours = files.into_iter();
        let ours = ours.filter(|(_, first)| Some(first.stream) == stream);
        let mut ours: VecDeque<_> = ours.map(|(path, first)| (path, first.seq)).collect();
        match before {
            Some(before) => ours.retain(|(_, first)| *first > before),
            None => {
                let lacks = self.through.saturating_add(1);
                while ours.get(1).is_some_and(|(_, next)| *next <= lacks) {
                    ours.pop_front();
                }
            }
        }
        Ok(ours.pop_front())
    }

    /// Reads a file; false if another one has its name by now.
    fn read_on(&mut self, path: &Path, (place, first): (&Place, u64)) -> Result<bool, String> {
        let told = |error: std::io::Error| error.to_string();
        let mut file = open_log(path, place.key.as_ref()).map_err(told)?;
        let (mut batch, mut records) = (String::new(), 0);
        let (mut line, mut is_first) = (String::new(), true);
        loop {
            line.clear();
            let is_over = file.read_line(&mut line).map_err(told)? == 0 || !line.ends_with('\n');
            if line.len() > LINE_BYTES_MAX {
                return Err("a line is too long".to_owned());
            }
            if std::mem::take(&mut is_first) && seq_of(&line) != Some(first) {
                return Ok(false);
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
                return Ok(true);
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
        let through = batch.lines().next_back().and_then(seq_of);
        self.begin();
        if let Err(error) = self.keep(batch, through) {
            self.fail(&error);
            return Err(error.0);
        }
        self.through = through.unwrap_or(self.through);
        self.show_lag(true);
        self.give_way();
        Ok(())
    }
}
