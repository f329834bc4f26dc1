//! How far the file can be trusted: records up to there are on disk and are not taken back any more.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tollkeep_types::StreamId;

/// The last record that stays, and whoever waits for the next.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    last: Mutex<Option<(StreamId, u64)>>,
    changed: Condvar,
}

impl Durable {
    fn lock(&self) -> MutexGuard<'_, Option<(StreamId, u64)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records up to this one stay.
    pub(crate) fn set(&self, last: (StreamId, u64)) {
        *self.lock() = Some(last);
        self.changed.notify_all();
    }

    /// The last record that stays.
    pub(crate) fn last(&self) -> Option<(StreamId, u64)> {
        *self.lock()
    }

    /// Waits until it is another one than this, or somebody wakes those who wait, or it takes too
    /// long.
    pub(crate) fn wait(&self, known: Option<(StreamId, u64)>, patience: Duration) {
        let last = self.lock();
        if *last == known {
            drop(self.changed.wait_timeout(last, patience));
        }
    }

    /// Lets everybody who waits look again.
    pub(crate) fn wake(&self) {
        // Whoever looked just before waits by now.
        drop(self.lock());
        self.changed.notify_all();
    }
}
