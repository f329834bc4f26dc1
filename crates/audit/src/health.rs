//! Whether events can be written now, answered without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tollkeep_types::MonoNanos;

use crate::OnFailure;

/// Nothing waits.
const NOTHING: u64 = u64::MAX;

/// Whether events can be written now.
#[derive(Debug)]
pub struct AuditHealth {
    failing: AtomicBool,
    /// Since when the oldest thing has been waiting for the disk.
    waiting_since: AtomicU64,
    deadline_ns: u64,
    on_failure: OnFailure,
}

impl AuditHealth {
    pub(crate) fn new(deadline: Duration, on_failure: OnFailure) -> Self {
        Self {
            failing: AtomicBool::new(false),
            waiting_since: AtomicU64::new(NOTHING),
            deadline_ns: u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX),
            on_failure,
        }
    }

    /// Whether the last write worked and nothing waits past its deadline.
    pub fn writable(&self, now: MonoNanos) -> bool {
        let since = self.waiting_since.load(Ordering::Relaxed);
        !self.failing.load(Ordering::Relaxed) && now.0.saturating_sub(since) <= self.deadline_ns
    }

    /// Whether the data plane may admit a request: writable, or the settings say to serve anyway
    /// and count what is lost.
    pub fn accepting(&self, now: MonoNanos) -> bool {
        match self.on_failure {
            OnFailure::Closed => self.writable(now),
            OnFailure::Open => true,
        }
    }

    pub(crate) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_waiting(&self, since: Option<MonoNanos>) {
        let since = since.map_or(NOTHING, |at| at.0);
        self.waiting_since.store(since, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_nanos(100);

    // AUD-41
    #[test]
    fn a_failed_or_hanging_write_closes_the_door() {
        let health = AuditHealth::new(DEADLINE, OnFailure::Closed);
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
        let health = AuditHealth::new(DEADLINE, OnFailure::Open);
        health.set_failing(true);
        assert!(health.accepting(MonoNanos(0)));
        assert!(!health.writable(MonoNanos(0)));
    }
}
