//! Whether the process is alive, and whether it wants traffic.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use tollkeep_types::MonoNanos;

/// Why the process does not want traffic.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// It is going down.
    Draining,
    /// The store cannot be reached.
    Store,
    /// Audit events cannot be written.
    Audit,
    /// The vault holds no usable key.
    Vault,
}

impl Reason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Draining, Self::Store, Self::Audit, Self::Vault];

    /// The word in `/ready`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Store => "store",
            Self::Audit => "audit",
            Self::Vault => "vault",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Asked at `/ready`: whether the reason holds now.
pub type Check = Box<dyn Fn(MonoNanos) -> bool + Send + Sync>;

/// Whether the process is alive, and whether it wants traffic.
pub struct Health {
    flags: AtomicU32,
    checks: Vec<(Reason, Check)>,
    beats: Box<[AtomicU64]>,
}

/// A worker that has not shown itself for this long is stuck.
pub const HEARTBEAT_NS_MAX: u64 = 5_000_000_000;

impl Health {
    /// Health of a process with that many workers; `checks` tell of reasons that come and go by
    /// themselves.
    pub fn new(workers: usize, now: MonoNanos, checks: Vec<(Reason, Check)>) -> Self {
        Self {
            flags: AtomicU32::new(0),
            checks,
            beats: (0..workers).map(|_| AtomicU64::new(now.0)).collect(),
        }
    }

    /// From now on the process does not want traffic, for this reason.
    pub fn raise(&self, reason: Reason) {
        self.flags.fetch_or(reason.bit(), Ordering::Relaxed);
    }

    /// The reason is gone.
    pub fn clear(&self, reason: Reason) {
        self.flags.fetch_and(!reason.bit(), Ordering::Relaxed);
    }

    /// Why the process does not want traffic now; empty if it does.
    pub fn reasons(&self, now: MonoNanos) -> Vec<Reason> {
        let raised = self.flags.load(Ordering::Relaxed);
        let holds = |reason: &Reason| {
            raised & reason.bit() != 0
                || self
                    .checks
                    .iter()
                    .any(|(of, check)| of == reason && check(now))
        };
        Reason::ALL.into_iter().filter(holds).collect()
    }

    /// A worker shows that it is not stuck.
    pub fn beat(&self, worker: usize, now: MonoNanos) {
        if let Some(beat) = self.beats.get(worker) {
            beat.store(now.0, Ordering::Relaxed);
        }
    }

    /// Whether every worker has shown itself lately.
    pub fn live(&self, now: MonoNanos) -> bool {
        self.beats
            .iter()
            .all(|beat| now.since(MonoNanos(beat.load(Ordering::Relaxed))) < HEARTBEAT_NS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // OPS-50
    #[test]
    fn every_reason_is_told_and_only_while_it_holds() {
        let audit: Check = Box::new(|now| now.0 > 10);
        let health = Health::new(0, MonoNanos(0), vec![(Reason::Audit, audit)]);
        assert_eq!(health.reasons(MonoNanos(0)), []);
        health.raise(Reason::Draining);
        assert_eq!(
            health.reasons(MonoNanos(11)),
            [Reason::Draining, Reason::Audit]
        );
        health.clear(Reason::Draining);
        assert_eq!(health.reasons(MonoNanos(0)), []);
    }

    // OPS-50
    #[test]
    fn one_stuck_worker_is_enough_to_be_dead() {
        let health = Health::new(2, MonoNanos(0), Vec::new());
        let later = MonoNanos(HEARTBEAT_NS_MAX);
        assert!(health.live(MonoNanos(HEARTBEAT_NS_MAX - 1)));
        health.beat(0, later);
        assert!(!health.live(later));
        health.beat(1, later);
        assert!(health.live(later));
    }
}
