//! What waits for the writer: bounded, and never waited for by those who fill it.

use crate::verdict::{NotDurable, Verdict};
use crate::{AuditHealth, Batch, Event};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tollkeep_observe::metrics::AuditMeter;
use tollkeep_types::{Clock, MonoNanos};

/// How many events the writer takes at a time: all that come in while it waits for a slow sync,
/// so that one turn catches up, and few enough to be encoded long before a deadline.
pub(crate) const TURN_EVENTS: usize = 4096;

/// Something to write.
pub(crate) struct Job {
    pub(crate) since: MonoNanos,
    pub(crate) events: usize,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// Events nobody waits for.
    Batch(Batch),
    /// One event somebody waits for.
    Durable(Box<Event<'static>>, Arc<Verdict>),
    /// The file shall be opened by its name again; somebody waits for it.
    Reopen(Arc<Verdict>),
    /// What came before shall be durable; somebody waits for it.
    Flush(Arc<Verdict>),
}

/// What the writer does next.
pub(crate) enum Next {
    Write(VecDeque<Job>),
    /// The time it asked to be woken at has come.
    Due,
    /// Everything is taken and nothing more will come.
    Stop,
}

/// The queue and what everybody knows of the writer.
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    ended: Condvar,
    pub(crate) health: Arc<AuditHealth>,
    pub(crate) meter: AuditMeter,
    pub(crate) clock: Arc<dyn Clock>,
    events_max: usize,
    unconfirmed: AtomicU64,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    events: usize,
    /// Events lost since the last note about them.
    lost: u64,
    /// Since when the writer has been at what it took.
    busy_since: Option<MonoNanos>,
    stopping: bool,
    end: Option<End>,
}

/// How the writer ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Clean,
    /// Something could not be written.
    Lossy,
}

impl Queue {
    pub(crate) fn new(
        health: Arc<AuditHealth>,
        meter: AuditMeter,
        clock: Arc<dyn Clock>,
        events_max: usize,
    ) -> Self {
        Self {
            inner: Mutex::default(),
            filled: Condvar::new(),
            ended: Condvar::new(),
            health,
            meter,
            clock,
            events_max,
            unconfirmed: AtomicU64::new(0),
        }
    }

    /// Records are in the file though their callers were told no.
    pub(crate) fn add_unconfirmed(&self, records: u64) {
        self.unconfirmed.fetch_add(records, Ordering::Relaxed);
    }

    /// How many were added since this was last asked.
    pub(crate) fn take_unconfirmed(&self) -> u64 {
        self.unconfirmed.swap(0, Ordering::Relaxed)
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. What finds no room is lost and counted, unless somebody waits for it: they
    /// are told.
    pub(crate) fn push(&self, events: usize, what: What) -> Result<(), NotDurable> {
        let since = self.clock.mono();
        let mut inner = self.lock();
        if inner.stopping {
            return Err(NotDurable::Stopped);
        }
        let awaited = matches!(what, What::Durable(..) | What::Reopen(_) | What::Flush(_));
        if awaited && self.health.is_failing() {
            return Err(NotDurable::Unavailable);
        }
        if inner.events.saturating_add(events) > self.events_max {
            if !awaited {
                inner.lost = inner.lost.saturating_add(as_u64(events));
            }
            return Err(NotDurable::QueueFull);
        }
        inner.events += events;
        inner.jobs.push_back(Job {
            since,
            events,
            what,
        });
        self.show(&inner);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// The next jobs, waiting for them until `due`.
    pub(crate) fn next(&self, due: Option<MonoNanos>) -> Next {
        let mut inner = self.lock();
        loop {
            if !inner.jobs.is_empty() {
                return Next::Write(self.take(&mut inner, TURN_EVENTS));
            }
            if inner.stopping {
                return Next::Stop;
            }
            inner = match self.sleep(inner, due) {
                Ok(inner) => inner,
                Err(next) => return next,
            };
        }
    }

    /// Waits until `due` whatever comes in; for a writer that cannot write.
    pub(crate) fn pause(&self, due: MonoNanos) -> Next {
        let mut inner = self.lock();
        loop {
            if inner.stopping {
                return Next::Stop;
            }
            inner = match self.sleep(inner, Some(due)) {
                Ok(inner) => inner,
                Err(next) => return next,
            };
        }
    }

    fn sleep<'q>(
        &'q self,
        inner: MutexGuard<'q, Inner>,
        due: Option<MonoNanos>,
    ) -> Result<MutexGuard<'q, Inner>, Next> {
        let Some(due) = due else {
            let woken = self.filled.wait(inner);
            return Ok(woken.unwrap_or_else(PoisonError::into_inner));
        };
        let left = due.since(self.clock.mono());
        if left == 0 {
            return Err(Next::Due);
        }
        let woken = self.filled.wait_timeout(inner, Duration::from_nanos(left));
        Ok(woken.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn take(&self, inner: &mut Inner, events_max: usize) -> VecDeque<Job> {
        let mut taken = VecDeque::new();
        let mut events = 0;
        while events < events_max
            && let Some(job) = inner.jobs.pop_front()
        {
            events += job.events;
            inner.busy_since = inner.busy_since.or(Some(job.since));
            taken.push_back(job);
        }
        inner.events -= events;
        self.show(inner);
        taken
    }

    /// Everything that waits, and how many events were lost.
    pub(crate) fn take_all(&self) -> (VecDeque<Job>, u64) {
        let mut inner = self.lock();
        let jobs = self.take(&mut inner, usize::MAX);
        (jobs, std::mem::take(&mut inner.lost))
    }

    /// Puts jobs back that could not be written; whoever waits for one is told no.
    pub(crate) fn give_back(&self, jobs: VecDeque<Job>) {
        let mut inner = self.lock();
        for job in jobs.into_iter().rev() {
            match job.what {
                What::Batch(_) => {
                    inner.events += job.events;
                    inner.jobs.push_front(job);
                }
                What::Durable(_, verdict) | What::Reopen(verdict) | What::Flush(verdict) => {
                    verdict.decide(Err(NotDurable::Unavailable));
                }
            }
        }
        self.show(&inner);
    }

    /// Writing fails from now on: whoever waits is told no.
    pub(crate) fn fail(&self) {
        let mut inner = self.lock();
        self.health.set_failing(true);
        let jobs = self.take(&mut inner, usize::MAX);
        drop(inner);
        self.give_back(jobs);
    }

    /// The writer begins something that may hang.
    pub(crate) fn begin(&self) {
        let now = self.clock.mono();
        let mut inner = self.lock();
        inner.busy_since = inner.busy_since.or(Some(now));
        self.show(&inner);
    }

    /// The writer is done with what it took.
    pub(crate) fn done(&self) {
        let mut inner = self.lock();
        inner.busy_since = None;
        self.show(&inner);
    }

    /// How many events were lost, once nothing waits any more.
    pub(crate) fn take_lost(&self) -> u64 {
        let mut inner = self.lock();
        if inner.jobs.is_empty() {
            std::mem::take(&mut inner.lost)
        } else {
            0
        }
    }

    /// Events that were taken and could not be made into records.
    pub(crate) fn add_lost(&self, events: u64) {
        let mut inner = self.lock();
        inner.lost = inner.lost.saturating_add(events);
    }

    /// Takes no more; the writer ends when it has written what waits.
    pub(crate) fn stop(&self) {
        self.lock().stopping = true;
        self.filled.notify_one();
    }

    /// The writer has ended.
    pub(crate) fn end(&self, end: End) {
        self.lock().end = Some(end);
        self.ended.notify_all();
    }

    /// How the writer ended, waiting for it at most `patience`.
    pub(crate) fn ended(&self, patience: Duration) -> Option<End> {
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), patience, |inner| inner.end.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.end
    }

    /// Tells health and metrics what waits.
    fn show(&self, inner: &Inner) {
        let next = inner.jobs.front().map(|job| job.since);
        self.health.set_waiting(inner.busy_since.or(next));
        self.meter.queued(inner.events);
    }
}

pub(crate) fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OnFailure, Require};
    use tollkeep_types::WallMillis;

    /// Time that a test sets.
    #[derive(Default)]
    struct Set(AtomicU64);

    impl Clock for Set {
        fn mono(&self) -> MonoNanos {
            MonoNanos(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> WallMillis {
            WallMillis(0)
        }
    }

    // AUD-41
    #[test]
    fn small_batches_that_came_during_a_slow_sync_are_taken_in_one_turn() {
        let clock = Arc::new(Set::default());
        let health = Arc::new(AuditHealth::new(
            Duration::from_nanos(250),
            OnFailure::Closed,
            Require::All,
        ));
        let queue = Queue::new(
            Arc::clone(&health),
            AuditMeter::default(),
            Arc::<Set>::clone(&clock),
            8192,
        );
        queue.begin();
        for _ in 0..TURN_EVENTS / 16 {
            queue.push(16, What::Batch(Box::new(|_| {}))).unwrap();
        }
        clock.0.store(200, Ordering::Relaxed);
        assert!(health.accepting(queue.clock.mono()), "a slow sync");
        queue.done();
        let Next::Write(jobs) = queue.next(None) else {
            panic!("nothing to write");
        };
        assert_eq!(jobs.len(), TURN_EVENTS / 16);
        assert!(health.accepting(queue.clock.mono()), "they are written");
        queue.done();
        queue.begin();
        clock.0.store(400, Ordering::Relaxed);
        assert!(health.accepting(queue.clock.mono()), "the next slow sync");
        clock.0.store(451, Ordering::Relaxed);
        assert!(!health.accepting(queue.clock.mono()), "it hangs");
    }
}
