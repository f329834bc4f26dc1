//! Whether events can be written now, answered without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tollkeep_types::MonoNanos;

use crate::durable::Durable;
use crate::{OnFailure, Require};

/// Nothing waits.
const NOTHING: u64 = u64::MAX;

/// Whether events can be written now.
#[derive(Debug)]
pub struct AuditHealth {
    file: Part,
    /// Well, where there is none.
    database: Part,
    require: Require,
    /// Whether there is a database beside the file.
    is_double: AtomicBool,
    deadline_ns: u64,
    on_failure: OnFailure,
    /// How far the file can be read by others.
    pub(crate) durable: Durable,
}

/// One place that records must get to.
#[derive(Debug)]
struct Part {
    failing: AtomicBool,
    /// More waits for it than is good.
    full: AtomicBool,
    /// Since when the oldest thing has been waiting for it.
    waiting_since: AtomicU64,
}

impl Part {
    const fn new() -> Self {
        Self {
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NOTHING),
        }
    }

    fn is_well(&self, now: MonoNanos, deadline_ns: u64) -> bool {
        let since = self.waiting_since.load(Ordering::Relaxed);
        !self.failing.load(Ordering::Relaxed)
            && !self.full.load(Ordering::Relaxed)
            && now.0.saturating_sub(since) <= deadline_ns
    }

    fn wait(&self, since: Option<MonoNanos>) {
        let since = since.map_or(NOTHING, |at| at.0);
        self.waiting_since.store(since, Ordering::Relaxed);
    }
}

impl AuditHealth {
    pub(crate) fn new(deadline: Duration, on_failure: OnFailure, require: Require) -> Self {
        Self {
            file: Part::new(),
            database: Part::new(),
            require,
            is_double: AtomicBool::new(false),
            deadline_ns: u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX),
            on_failure,
            durable: Durable::default(),
        }
    }

    /// Whether the last write worked and nothing waits past its deadline.
    pub fn writable(&self, now: MonoNanos) -> bool {
        let is_well = |part: &Part| part.is_well(now, self.deadline_ns);
        match self.require {
            Require::Any if self.is_double.load(Ordering::Relaxed) => is_well(&self.file),
            Require::Any | Require::All => is_well(&self.file) && is_well(&self.database),
        }
    }

    /// Whether the data plane may admit a request: writable, or the settings say to serve anyway
    /// and count what is lost.
    pub fn accepting(&self, now: MonoNanos) -> bool {
        match self.on_failure {
            OnFailure::Closed => self.writable(now),
            OnFailure::Open => true,
        }
    }

    /// Whether records can be kept in the database now; true where they are not to be.
    pub fn database_writable(&self, now: MonoNanos) -> bool {
        self.database.is_well(now, self.deadline_ns)
    }

    /// Whether the disk of the file has too little room left for more records. Whoever watches the
    /// disk says so; nothing is admitted then, while what is due can still be written.
    pub fn set_disk_full(&self, full: bool) {
        self.file.full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn set_double(&self) {
        self.is_double.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        self.file.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether an event that somebody waits for would fail.
    pub(crate) fn is_failing(&self) -> bool {
        let database = self.database.failing.load(Ordering::Relaxed);
        let tolerated = self.require == Require::Any && self.is_double.load(Ordering::Relaxed);
        self.file.failing.load(Ordering::Relaxed) || (database && !tolerated)
    }

    pub(crate) fn set_waiting(&self, since: Option<MonoNanos>) {
        self.file.wait(since);
    }

    pub(crate) fn set_database_failing(&self, failing: bool) {
        self.database.failing.store(failing, Ordering::Relaxed);
    }

    pub(crate) fn set_database_full(&self, full: bool) {
        self.database.full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn set_database_waiting(&self, since: Option<MonoNanos>) {
        self.database.wait(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_nanos(100);

    // AUD-41
    #[test]
    fn a_failed_or_hanging_write_closes_the_door() {
        let health = AuditHealth::new(DEADLINE, OnFailure::Closed, Require::All);
        assert!(health.accepting(MonoNanos(u64::MAX)));
        health.set_waiting(Some(MonoNanos(50)));
        assert!(health.accepting(MonoNanos(150)));
        assert!(!health.accepting(MonoNanos(151)));
        health.set_waiting(None);
        assert!(health.accepting(MonoNanos(151)));
        health.set_failing(true);
        assert!(!health.accepting(MonoNanos(0)));
    }

    // AUD-40
    #[test]
    fn in_open_mode_calls_are_served_and_the_fault_still_shows() {
        let health = AuditHealth::new(DEADLINE, OnFailure::Open, Require::All);
        health.set_failing(true);
        assert!(health.accepting(MonoNanos(0)));
        assert!(!health.writable(MonoNanos(0)));
    }

    // AUD-43
    #[test]
    fn a_failing_database_closes_the_door_unless_one_place_is_enough() {
        for (require, is_double, want) in [
            (Require::All, true, false),
            (Require::Any, true, true),
            (Require::Any, false, false),
        ] {
            let health = AuditHealth::new(DEADLINE, OnFailure::Closed, require);
            if is_double {
                health.set_double();
            }
            health.set_database_failing(true);
            assert_eq!(health.writable(MonoNanos(0)), want, "{require:?}");
            assert_eq!(health.is_failing(), !want, "{require:?}");
            health.set_database_failing(false);
            health.set_database_waiting(Some(MonoNanos(50)));
            assert_eq!(
                health.writable(MonoNanos(151)),
                want,
                "{require:?}: it hangs"
            );
            assert!(health.writable(MonoNanos(150)));
        }
    }
}
