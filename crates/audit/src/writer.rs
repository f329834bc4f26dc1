//! The writer thread: batches in, durable lines out, and patience with a broken disk.

mod upkeep;

pub use upkeep::Rotation;
pub(crate) use upkeep::Upkeep;

use crate::appender::{Appender, EventSink};
use crate::database::Database;
use crate::file::{AuditFile, Found, Place};
use crate::queue::{End, Job, Next, Queue, What, as_u64};
use crate::verdict::{NotDurable, Verdict};
use crate::{Action, Actor, Batch, Event, Key, Outcome, Receipt, Value};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tollkeep_types::MonoNanos;

/// How long written lines may wait for a sync that nobody asked for.
const SYNC_AFTER_NS: u64 = 200_000_000;

/// How often a broken file is tried again.
const PROBE_EVERY_NS: u64 = 500_000_000;

/// Written and not yet synced bytes that bring the sync forward. It bounds what is kept, and is
/// more than a busy log writes until its sync is due: a slow disk that had to sync after each of
/// many turns would fall behind for good.
const UNSYNCED_BYTES_MAX: usize = 2 << 20;

/// The writer thread's own.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    place: Place,
    /// `None` while it cannot be opened.
    file: Option<AuditFile>,
    /// What the first opening found has been told.
    introduced: bool,
    appender: Appender,
    /// How much of the appender's bytes is in the file.
    sent: usize,
    unsynced_since: Option<MonoNanos>,
    /// The kernel may have forgotten lines it took: they must be written again.
    distrusted: bool,
    failing_since: Option<MonoNanos>,
    /// Records that are in the file though their callers were told no.
    unconfirmed: u64,
    database: Option<Database>,
    upkeep: Upkeep,
}

impl Writer {
    /// A writer into `file`; without one it starts as broken and tries to open it.
    pub(crate) fn new(
        queue: Arc<Queue>,
        place: Place,
        opened: Option<(AuditFile, Found)>,
        (appender, upkeep): (Appender, Upkeep),
    ) -> Self {
        let mut writer = Self {
            queue,
            place,
            file: None,
            introduced: false,
            appender,
            sent: 0,
            unsynced_since: None,
            distrusted: false,
            failing_since: None,
            unconfirmed: 0,
            database: None,
            upkeep,
        };
        if let Some((file, found)) = opened {
            writer.file = Some(file);
            writer.introduce(&found);
        }
        writer
    }

    /// The same, with a database beside the file.
    pub(crate) fn beside(mut self, database: Option<Database>) -> Self {
        self.database = database;
        self
    }

    /// Goes on with the chain of the file and says what was found in it.
    fn introduce(&mut self, found: &Found) {
        self.introduced = true;
        if let Some((stream, last)) = found.last {
            self.appender.resume(stream, last);
        }
        self.begin_upkeep();
        let mut event = Event::new(Action::AuditOpen, Actor::System, Outcome::Success);
        if found.torn_bytes > 0 {
            event = event.with_detail(Key::TornBytes, Value::Number(found.torn_bytes));
        }
        if found.unreadable {
            event = event.with_reason("unreadable_tail");
        }
        self.appender.append(&event);
    }

    /// Writes until the queue is stopped.
    pub(crate) fn run(mut self) {
        let begun = self.write_out();
        self.judge(begun);
        if self.failing_since.is_none() {
            self.tidy();
        }
        self.queue.done();
        let mut probe_at = self.now();
        loop {
            let next = match self.failing_since {
                Some(_) => self.queue.pause(probe_at),
                None => {
                    let sync_at = self.unsynced_since.map(|at| after(at, SYNC_AFTER_NS));
                    let due = [sync_at, self.upkeep_due()].into_iter().flatten().min();
                    self.queue.next(due)
                }
            };
            match next {
                Next::Write(jobs) => self.write_jobs(jobs),
                Next::Due if self.failing_since.is_some() => self.heal(),
                Next::Due => {
                    let synced = self.keep_up().and_then(|()| self.write_out());
                    let synced = synced.and_then(|()| self.sync());
                    self.judge(synced);
                }
                Next::Stop => break,
            }
            self.queue.done();
            probe_at = after(self.now(), PROBE_EVERY_NS);
        }
        self.close();
    }

    fn now(&self) -> MonoNanos {
        self.queue.clock.mono()
    }

    /// Writes what was taken, in its order; what is left after a failure goes back.
    fn write_jobs(&mut self, mut jobs: VecDeque<Job>) {
        let mut result = Ok(());
        while result.is_ok()
            && let Some(job) = jobs.pop_front()
        {
            match job.what {
                What::Batch(batch) => self.append_batch(batch, job.events),
                What::Durable(event, verdict) => {
                    let mut unit = vec![(event, verdict)];
                    while matches!(jobs.front(), Some(job) if matches!(job.what, What::Durable(..)))
                    {
                        if let Some(Job {
                            what: What::Durable(event, verdict),
                            ..
                        }) = jobs.pop_front()
                        {
                            unit.push((event, verdict));
                        }
                    }
                    result = self.write_unit(&unit);
                }
                What::Reopen(verdict) => self.reopen_for(&verdict),
                What::Flush(verdict) => {
                    result = self.write_out().and_then(|()| self.sync());
                    let told = result.as_ref().map(|()| self.appender.last());
                    verdict.decide(told.map_err(|_| NotDurable::Unavailable));
                }
            }
        }
        self.queue.give_back(jobs);
        let result = result.and_then(|()| {
            self.note();
            self.keep_up()?;
            self.write_out()?;
            let due = self
                .unsynced_since
                .is_some_and(|at| self.now() >= after(at, SYNC_AFTER_NS));
            if due || self.appender.bytes().len() > UNSYNCED_BYTES_MAX {
                // What is written waits no longer: the time it waited is not the sync's.
                self.queue.done();
                self.sync()?;
            }
            Ok(())
        });
        self.judge(result);
    }

    /// Opens the file by its name again. If that can't be done, the one before is written on.
    fn reopen_for(&mut self, verdict: &Verdict) {
        let result = self.open_by_name();
        if let Err(error) = &result {
            let path = self.place.path.display();
            tracing::error!("The audit file `{path}` can't be opened again: {error}");
        }
        let result = result.map(|()| self.appender.last());
        verdict.decide(result.map_err(|_| NotDurable::Unavailable));
    }

    /// Lets a batch append its events. If it panics, all of it counts as lost.
    fn append_batch(&mut self, batch: Batch, events: usize) {
        let mark = self.appender.mark();
        let appender = &mut self.appender;
        let appended = catch_unwind(AssertUnwindSafe(|| {
            let mut sink = EventSink::new(appender);
            batch(&mut sink);
        }));
        if appended.is_err() {
            self.appender.rewind(&mark);
            self.queue.add_lost(as_u64(events));
            tracing::error!("A batch of {events} audit events panicked and is lost");
        }
    }

    /// Events somebody waits for: durable together, or not there at all.
    fn write_unit(&mut self, unit: &[(Box<Event<'static>>, Arc<Verdict>)]) -> io::Result<()> {
        let written = self.write_out();
        let mark = self.appender.mark();
        let mut receipts: Vec<(&Arc<Verdict>, Receipt)> = Vec::with_capacity(unit.len());
        let mut lines = None;
        let result = written.and_then(|()| {
            for (event, verdict) in unit.iter().filter(|(_, verdict)| verdict.is_open()) {
                receipts.push((verdict, self.appender.append(event)));
            }
            if receipts.is_empty() {
                return Ok(());
            }
            lines = self.appender.bytes().get(mark.len()..).map(<[u8]>::to_vec);
            self.write_out()?;
            self.sync()
        });
        if result.is_ok() {
            self.confirm(&lines.unwrap_or_default(), receipts);
            return result;
        }
        // The callers are told no, so the records must go: their operations do not happen.
        let to_cut = self.sent.saturating_sub(mark.len());
        let cut = match &self.file {
            Some(file) => file.cut_back(to_cut),
            None => Ok(()),
        };
        if cut.is_ok() {
            self.appender.rewind(&mark);
            self.sent = self.sent.min(mark.len());
        } else {
            self.unconfirmed += as_u64(receipts.len());
        }
        for (_, verdict) in unit {
            verdict.decide(Err(NotDurable::Unavailable));
        }
        result
    }

    /// Records that somebody waits for are in the file: they are told, or the database is asked first.
    fn confirm(&mut self, lines: &[u8], receipts: Vec<(&Arc<Verdict>, Receipt)>) {
        match &self.database {
            Some(database) if database.is_required() => {
                let own = |(verdict, receipt)| (Arc::clone(verdict), receipt);
                database.hand_awaited(lines, receipts.into_iter().map(own).collect());
            }
            Some(_) | None => {
                for (verdict, receipt) in receipts {
                    self.unconfirmed += u64::from(!verdict.decide(Ok(receipt)));
                }
            }
        }
    }

    /// Events of the log about itself: what was lost, and what was not confirmed.
    fn note(&mut self) {
        let lost = self.queue.take_lost();
        self.append_gap(lost);
        self.unconfirmed += self.queue.take_unconfirmed();
        if self.unconfirmed > 0 {
            self.append_recovered(0);
        }
    }

    fn append_gap(&mut self, lost: u64) {
        if lost > 0 {
            let gap = Event::new(Action::AuditGap, Actor::System, Outcome::Error)
                .with_detail(Key::Count, Value::Number(lost));
            self.appender.append(&gap);
        }
    }

    fn append_recovered(&mut self, down_ms: u64) {
        let mut event = Event::new(Action::AuditRecovered, Actor::System, Outcome::Success)
            .with_detail(Key::DownMs, Value::Number(down_ms));
        if self.unconfirmed > 0 {
            event = event.with_detail(Key::Unconfirmed, Value::Number(self.unconfirmed));
        }
        self.appender.append(&event);
        self.unconfirmed = 0;
    }

    /// Hands everything to the kernel.
    fn write_out(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        while let Some(rest) = self
            .appender
            .bytes()
            .get(self.sent..)
            .filter(|b| !b.is_empty())
        {
            self.queue.begin();
            self.sent += file.write(rest)?;
            if self.unsynced_since.is_none() {
                self.unsynced_since = Some(self.queue.clock.mono());
            }
        }
        if !file.is_regular() {
            self.settled();
        }
        Ok(())
    }

    /// Makes everything written durable.
    fn sync(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.queue.begin();
        let synced = file.sync();
        self.distrusted = synced.is_err();
        synced?;
        self.settled();
        Ok(())
    }

    /// Nothing needs to be kept any more.
    fn settled(&mut self) {
        if let Some(database) = &self.database {
            database.hand(self.appender.bytes());
        }
        self.tell_anchors();
        let last = self.appender.last();
        self.queue.health.durable.set((last.stream, last.seq));
        for (class, events) in self.appender.take_counts() {
            if events > 0 {
                self.queue.meter.written(class.as_str(), events);
            }
        }
        self.appender.forget();
        self.sent = 0;
        self.unsynced_since = None;
    }

    fn judge(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.blame(error);
        self.queue.fail();
        let path = self.place.path.display();
        tracing::error!("Audit events can't be written to `{path}`: {error}");
        self.failing_since = Some(self.now());
    }

    /// Counts a failure and gives a file up that cannot get better. A full pipe keeps its reader;
    /// whatever else befalls a pipe or device, its name must be opened again.
    fn blame(&mut self, error: &io::Error) {
        self.queue.meter.failed();
        let is_full = error.kind() == io::ErrorKind::WouldBlock;
        self.file.take_if(|file| !file.is_regular() && !is_full);
    }

    /// Tries to write again, all that was kept first.
    fn heal(&mut self) {
        let down_ms = self
            .failing_since
            .map_or(0, |at| self.now().since(at) / 1_000_000);
        if let Err(error) = self.catch_up(down_ms) {
            self.blame(&error);
            tracing::debug!("Audit events still can't be written: {error}");
            return;
        }
        self.failing_since = None;
        self.queue.health.set_failing(false);
        tracing::warn!("Audit events are written again after {down_ms} ms");
    }

    fn catch_up(&mut self, down_ms: u64) -> io::Result<()> {
        self.reopen()?;
        self.write_out()?;
        self.sync()?;
        let (mut jobs, lost) = self.queue.take_all();
        let mut written = Ok(());
        while written.is_ok()
            && let Some(job) = jobs.pop_front()
        {
            if let What::Batch(batch) = job.what {
                self.append_batch(batch, job.events);
            }
            written = self.write_out();
        }
        self.queue.give_back(jobs);
        let (mark, unconfirmed) = (self.appender.mark(), self.unconfirmed);
        let written = written.and_then(|()| {
            self.append_recovered(down_ms);
            self.append_gap(lost);
            self.write_out()?;
            self.sync()
        });
        if written.is_err() {
            // Told again next time, unless a part of it is in the file already.
            if self.sent <= mark.len() {
                self.appender.rewind(&mark);
                self.unconfirmed = unconfirmed;
                self.queue.add_lost(lost);
            }
        }
        written
    }

    /// Gets at a file that can be trusted, with what must be written again yet to be sent.
    fn reopen(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) if !file.is_lost() => {
                if self.distrusted {
                    file.cut_back(self.sent)?;
                    self.distrusted = false;
                    self.sent = 0;
                }
                return Ok(());
            }
            Some(_) | None => {}
        }
        self.file = None;
        let now = self.queue.clock.wall();
        let (file, found) = self.place.open(now).map_err(io::Error::other)?;
        if !self.introduced {
            self.introduce(&found);
        }
        let sent = self.appender.bytes().get(..self.sent).unwrap_or_default();
        self.sent = if file.is_regular() {
            0
        } else {
            // A pipe's next reader gets whole lines.
            sent.iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1)
        };
        self.distrusted = false;
        self.file = Some(file);
        Ok(())
    }

    /// Writes the last record and says how it went.
    fn close(&mut self) {
        if self.failing_since.is_some() {
            self.heal();
        } else {
            self.note();
        }
        let close = Event::new(Action::AuditClose, Actor::System, Outcome::Success);
        self.appender.append(&close);
        self.checkpoint();
        let result = self.write_out().and_then(|()| self.sync());
        let end = match (&result, self.failing_since) {
            (Ok(()), None) => End::Clean,
            (Ok(()), Some(_)) | (Err(_), _) => End::Lossy,
        };
        if let Err(error) = result {
            tracing::error!("The last audit events could not be written: {error}");
        }
        let stopped = self.database.as_ref().map(Database::stop);
        if stopped == Some(false) {
            tracing::warn!("The last audit events are not in the database yet");
        }
        // Whoever waits for the end may want to open the file.
        self.file = None;
        self.queue.end(end);
    }
}

const fn after(at: MonoNanos, ns: u64) -> MonoNanos {
    MonoNanos(at.0.saturating_add(ns))
}
