//! Whether the process is going away: one flag that every worker and acceptor sees.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The state of a graceful stop.
#[derive(Default)]
pub struct Drain {
    draining: AtomicBool,
    live: AtomicUsize,
    changed: Notify,
}

impl Drain {
    /// Stops accepting; answers from now on close their connection.
    pub fn begin(&self) {
        self.draining.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether a stop has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until a stop begins.
    pub async fn begun(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_draining() {
                return;
            }
            changed.await;
        }
    }

    /// Live connections of all workers.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn opened(&self) {
        self.live.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn closed(&self) {
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.changed.notify_waiters();
        }
    }

    /// Waits until no connection is left.
    pub async fn empty(&self) {
        loop {
            let changed = self.changed.notified();
            if self.live() == 0 {
                return;
            }
            changed.await;
        }
    }
}
