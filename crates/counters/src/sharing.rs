//! Whether this replica counts with the others or alone (EDGE-90).
//!
//! Alone, it keeps a share of each limit, beginning with nothing saved up, as if all of it had just
//! been used: an outage that comes and goes refills nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tollkeep_types::MonoNanos;

/// Shortest time between two attempts to reach the shared counters again.
const PROBE_NS_MIN: u64 = 750_000_000;
/// What chance adds at most, so that replicas don't ask at once.
const PROBE_NS_JITTER: u64 = 500_000_000;

/// How limits are counted now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counting {
    /// With all replicas.
    Shared,
    /// By this replica, with its share.
    Alone {
        /// Since when.
        since: MonoNanos,
    },
}

/// The state that workers read and the keeper of the connection changes.
#[derive(Debug)]
pub struct Sharing {
    alone: AtomicBool,
    since: AtomicU64,
}

impl Sharing {
    /// Alone, until the shared counters are reached for the first time.
    pub const fn new(now: MonoNanos) -> Self {
        Self {
            alone: AtomicBool::new(true),
            since: AtomicU64::new(now.0),
        }
    }

    /// HOT. How limits are counted now.
    pub fn counting(&self) -> Counting {
        if !self.alone.load(Ordering::Acquire) {
            return Counting::Shared;
        }
        Counting::Alone {
            since: MonoNanos(self.since.load(Ordering::Relaxed)),
        }
    }

    /// The shared counters failed: from now on alone. Whoever finds out first says since when.
    pub fn degrade(&self, now: MonoNanos) -> Counting {
        if !self.alone.load(Ordering::Acquire) {
            self.since.fetch_max(now.0, Ordering::Relaxed);
            self.alone.store(true, Ordering::Release);
        }
        self.counting()
    }

    /// What was accepted alone is owed no more: together again.
    pub fn rejoin(&self) {
        self.alone.store(false, Ordering::Release);
    }

    /// The attempt to rejoin failed half-way, and what was accepted so far is no longer known: it
    /// counts as if all had been used.
    pub fn start_again(&self, now: MonoNanos) {
        self.since.fetch_max(now.0, Ordering::Relaxed);
        self.alone.store(true, Ordering::Release);
    }
}

/// How long to wait before the shared counters are tried again: a second, give or take a quarter.
pub const fn probe_wait_ns(random: u64) -> u64 {
    PROBE_NS_MIN + random % PROBE_NS_JITTER
}
